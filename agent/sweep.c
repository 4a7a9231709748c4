/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/agent.h"

#include "agent/conntrack.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/marks.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct sweeping {
	struct agent *agent;
	struct map *seen; /* numbers that conntrack entries carry */
	int r;
};

#define SWEEP_NUMBERS_MAX 4000000

static int note_flow(void *user, const struct ct_flow *f)
{
	struct sweeping *s = user;
	uint32_t number = f->mark & MARK_NUMBER_MASK;

	if (!f->mark || f->mark >= MARK_IDENTITY_MIN)
		return 0;
	numbers_keep(s->agent->conduit_numbers, number);
	s->r = map_put(s->seen, &number, sizeof(number), s);
	return s->r;
}

static void keep_generation(struct agent *a, const struct generation *g)
{
	for (size_t i = 0; g && i < g->conduit_count; i++)
		numbers_keep(a->conduit_numbers, g->conduits[i].number);
}

/* Numbers in `rederive` that no flow carries any more leave the set. */
static int forget_rederived(struct agent *a, const struct map *seen, struct err *err)
{
	const struct set_ref ref = {.kind = SET_REDERIVE};
	const struct set_items *old = a->applied ? ruleset_find(a->applied, ref) : NULL;
	struct set_items *s = old ? ruleset_set(a->applied, ref) : NULL;
	size_t kept = 0;
	int r = 0;

	for (size_t i = 0; s && i < s->count; i++) {
		uint32_t number;
		bool keep;

		memcpy(&number, s->bytes + i * sizeof(number), sizeof(number));
		keep = r < 0 || map_get(seen, &number, sizeof(number));
		if (!keep)
			r = nft_element_del(a->nft, ref, (const uint8_t *)&number, err);
		/* One that could not be deleted stays, so that this stays what the kernel has. */
		if (!keep && r >= 0)
			continue;
		numbers_keep(a->conduit_numbers, number);
		memcpy(s->bytes + kept++ * sizeof(number), &number, sizeof(number));
	}
	if (s)
		s->count = kept;
	return r;
}

/* One that is not compiled now must be found again when it is. */
static void keep_revoked(struct agent *a)
{
	for (size_t i = 0; i < a->overlay.revoked_count; i++) {
		const struct overlay_revoked *e = &a->overlay.revoked[i];
		uint32_t number;

		if (e->kind == REVOKED_CONDUIT && text_u32(e->name, 1, UINT32_MAX, &number) == 0)
			numbers_keep(a->conduit_numbers, number);
	}
}

int agent_sweep(struct agent *a, struct err *err)
{
	CLEANUP(map_freep) struct map *seen = map_new(SWEEP_NUMBERS_MAX, NULL);
	struct sweeping s = {.agent = a, .seen = seen};
	size_t freed;
	int r;

	/* A job's target names numbers that no generation of ours has yet. */
	if (!seen || a->job)
		return seen ? 0 : err_set(err, ENOMEM, "out of memory");
	numbers_sweep_begin(a->conduit_numbers);
	r = conntrack_dump(a->conntrack, note_flow, &s, err);
	if (r >= 0)
		r = s.r;
	if (r >= 0)
		r = forget_rederived(a, seen, err);
	keep_generation(a, a->confirmed.gen);
	keep_generation(a, a->candidate.gen);
	keep_revoked(a);
	if (r < 0)
		/* Nothing is forgotten on half an answer: a sweep that is begun anew keeps all. */
		return r;
	freed = numbers_sweep_end(a->conduit_numbers);
	if (freed)
		log_debug("%zu conduit numbers are free again", freed);
	return 0;
}

/* --- start ---------------------------------------------------------------------------------- */

#define HOLD_TRIES 5

struct holding {
	struct agent *agent;
	uint32_t last; /* many flows, few conduits */
	size_t held;
	int r;
};

static int hold_number(void *user, const struct ct_flow *f)
{
	struct holding *h = user;
	struct numbers *numbers = h->agent->conduit_numbers;
	uint32_t number = f->mark & MARK_NUMBER_MASK;
	struct number_key key;
	char name[64];

	if (!f->mark || f->mark >= MARK_IDENTITY_MIN || number > MARK_CONDUIT_MAX ||
	    number == h->last || numbers_key(numbers, number, &key) == 0)
		return 0;
	h->last = number;
	/* No conduit is called so: their names begin with parties. */
	(void)snprintf(name, sizeof(name), "(held by conntrack) %u", number);
	number_key_of(name, &key);
	h->r = numbers_put(numbers, &key, number);
	if (h->r == 0)
		h->held++;
	return h->r == -EEXIST ? 0 : h->r;
}

void agent_numbers_hold(struct agent *a)
{
	struct holding h = {.agent = a};
	struct err err = {{0}};
	int r = -EAGAIN;

	for (int i = 0; i < HOLD_TRIES && (r == -EAGAIN || r == -EINTR); i++)
		r = conntrack_dump(a->conntrack, hold_number, &h, &err);
	if (r < 0 || (h.r < 0 && h.r != -EEXIST))
		log_warn("numbers that flows carry are not known: %s", err.text);
	else if (h.held)
		log_info("%zu numbers of unknown flows are held back", h.held);
}
