/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/agent.h"

#include "agent/conntrack.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "rules/marks.h"

#include <errno.h>
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

	for (size_t i = 0; s && i < s->count && r >= 0; i++) {
		uint32_t number;

		memcpy(&number, s->bytes + i * sizeof(number), sizeof(number));
		if (map_get(seen, &number, sizeof(number))) {
			numbers_keep(a->conduit_numbers, number);
			memcpy(s->bytes + kept++ * sizeof(number), &number, sizeof(number));
		} else {
			r = nft_element_del(a->nft, ref, (const uint8_t *)&number, err);
		}
	}
	if (s && r >= 0)
		s->count = kept;
	return r;
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
	if (r < 0)
		/* Nothing is forgotten on half an answer: a sweep that is begun anew keeps all. */
		return r;
	freed = numbers_sweep_end(a->conduit_numbers);
	if (freed)
		log_debug("%zu conduit numbers are free again", freed);
	return 0;
}
