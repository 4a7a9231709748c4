/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/usage.h"

#include "agent/store.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sorted.h"
#include "base/text.h"
#include "rules/marks.h"
#include "rules/numbers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Counters read per second while a round is going on, and the pause between rounds. */
#define USAGE_BATCH       500
#define USAGE_PAUSE_BEATS 600
#define USAGE_FILE        "usage"
#define USAGE_TEXT_MAX    (64U << 20)
#define KEY_TEXT_LEN      (2 * (size_t)NUMBER_KEY_LEN)

struct usage {
	struct agent *agent;
	struct usage_entry *entries; /* sorted by number */
	size_t count, cap;
	size_t next; /* conduit of the generation that the round has come to */
	uint64_t pause;
};

/* --- entries ------------------------------------------------------------------------------ */

static size_t position(const struct usage *u, uint32_t number)
{
	return sorted_first_u32(u->entries, u->count, sizeof(*u->entries),
				offsetof(struct usage_entry, number), number);
}

const struct usage_entry *usage_find(const struct usage *u, uint32_t number)
{
	size_t at = position(u, number);

	return at < u->count && u->entries[at].number == number ? &u->entries[at] : NULL;
}

static struct usage_entry *take_entry(struct usage *u, uint32_t number)
{
	size_t at = position(u, number);

	if (at < u->count && u->entries[at].number == number)
		return &u->entries[at];
	if (vec_grow(&u->entries, &u->cap, u->count + 1, sizeof(*u->entries), CONDUITS_MAX) < 0)
		return NULL;
	memmove(&u->entries[at + 1], &u->entries[at], (u->count - at) * sizeof(*u->entries));
	u->count++;
	u->entries[at] = (struct usage_entry){.number = number};
	return &u->entries[at];
}

/* Numbers that no generation has any more say nothing to anybody. */
static void forget_gone(struct usage *u)
{
	const struct generation *gen;
	size_t kept = 0;

	for (size_t i = 0; i < u->count; i++) {
		if (agent_conduit(u->agent, u->entries[i].number, &gen))
			u->entries[kept++] = u->entries[i];
	}
	u->count = kept;
}

/* --- counters ----------------------------------------------------------------------------- */

/* Of one conduit: its elements of `live` and those of `live_udp`, by what the mark says. */
struct sum {
	struct usage_count of[USAGE_ELEMENTS];
};

static const uint32_t element_bits[USAGE_ELEMENTS] = {0, MARK_VOUCHED, MARK_UNAVAILABLE};

/* A conduit that only the other policy opens may have an element too: the bare one is looked for.
 */
static bool has_element(const struct conduit *c, size_t which)
{
	const uint8_t verdicts[USAGE_ELEMENTS] = {LIVE_ACCEPT, c->vouched, c->unavailable};

	return verdicts[which] != LIVE_NONE;
}

/* Counters start again from zero when an element is replaced, each by itself. */
static uint64_t add_count(struct usage_entry *e, size_t which, const struct usage_count *now)
{
	struct usage_count *before = &e->counters[which];
	bool again = now->packets < before->packets;
	uint64_t more = again ? now->packets : now->packets - before->packets;

	e->packets += more;
	e->bytes += again ? now->bytes : now->bytes - before->bytes;
	*before = *now;
	return more;
}

static int add_sum(struct usage *u, uint32_t number, const struct sum *s, uint32_t now)
{
	struct usage_entry *e;
	uint64_t more = 0, seen = 0;

	for (size_t i = 0; i < USAGE_ELEMENTS; i++)
		seen += s->of[i].packets;
	if (!seen && !usage_find(u, number))
		return 0;
	e = take_entry(u, number);
	if (!e)
		return -ENOMEM;
	for (size_t i = 0; i < USAGE_ELEMENTS; i++)
		more += add_count(e, i, &s->of[i]);
	if (more)
		e->last_used = now;
	return 0;
}

static int read_live(struct usage *u, const struct conduit *conduits, size_t n, size_t which,
		     struct sum *sums, struct err *err)
{
	CLEANUP(freep) struct nft_counter *c = mem_calloc(n, sizeof(*c));
	CLEANUP(freep) uint32_t *keys = mem_calloc(n, sizeof(*keys));
	CLEANUP(freep) size_t *whose = mem_calloc(n, sizeof(*whose));
	size_t count = 0;
	int r;

	if (!c || !keys || !whose)
		return err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		if (!has_element(&conduits[i], which))
			continue;
		keys[count] = conduits[i].number | element_bits[which];
		whose[count++] = i;
	}
	r = !count ? 0
		   : nft_counters(u->agent->nft, (struct set_ref){.kind = SET_LIVE},
				  (const uint8_t *)keys, count, c, err);
	for (size_t i = 0; i < count && r >= 0; i++) {
		sums[whose[i]].of[which].packets += c[i].packets;
		sums[whose[i]].of[which].bytes += c[i].bytes;
	}
	return r;
}

/* First record of a set sorted by mark whose mark is at least `number`. */
static size_t first_record(const struct set_items *s, size_t stride, uint32_t number)
{
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		uint32_t mark;

		memcpy(&mark, s->bytes + middle * stride, sizeof(mark));
		/* Records are ordered by bytes of the key, as set_items_find() wants them. */
		if (memcmp(&mark, &number, sizeof(mark)) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Datagrams are counted at (conduit . cgroup). */
static int read_udp(struct usage *u, const struct set_items *s, uint32_t number,
		    struct usage_count *sum, struct err *err)
{
	size_t stride = set_stride(SET_LIVE_UDP);
	int r = 0;

	for (size_t i = first_record(s, stride, number); i < s->count && r >= 0; i++) {
		const uint8_t *record = s->bytes + i * stride;
		struct nft_counter c = {0};

		if (memcmp(record, &number, sizeof(number)) != 0)
			break;
		r = nft_counters(u->agent->nft, s->ref, record, 1, &c, err);
		sum->packets += c.packets;
		sum->bytes += c.bytes;
	}
	return r;
}

static int read_flows(struct usage *u, const struct set_items *s, const struct conduit *c,
		      struct sum *sum, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < USAGE_ELEMENTS && r >= 0; i++) {
		if (has_element(c, i))
			r = read_udp(u, s, c->number | element_bits[i], &sum->of[i], err);
	}
	return r;
}

static int read_datagrams(struct usage *u, const struct conduit *conduits, size_t n,
			  struct sum *sums, struct err *err)
{
	const struct ruleset *applied = u->agent->applied;
	int r = 0;

	for (size_t k = 0; applied && k < applied->set_count; k++) {
		if (applied->sets[k].ref.kind != SET_LIVE_UDP)
			continue;
		for (size_t i = 0; i < n && r >= 0; i++) {
			if (conduits[i].service.kind == SERVICE_UDP)
				r = read_flows(u, &applied->sets[k], &conduits[i], &sums[i], err);
		}
	}
	return r;
}

static int look(struct usage *u, const struct conduit *conduits, size_t n, struct err *err)
{
	CLEANUP(freep) struct sum *sums = mem_calloc(n, sizeof(*sums));
	uint32_t now = (uint32_t)wall_now().s;
	int r = 0;

	if (!sums)
		return err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < USAGE_ELEMENTS && r >= 0; i++)
		r = read_live(u, conduits, n, i, sums, err);
	if (r >= 0)
		r = read_datagrams(u, conduits, n, sums, err);
	for (size_t i = 0; i < n && r >= 0; i++)
		r = add_sum(u, conduits[i].number, &sums[i], now);
	return r;
}

/* --- rounds ------------------------------------------------------------------------------- */

static size_t batch_at(const struct generation *gen, size_t at)
{
	size_t left = gen && gen->conduit_count > at ? gen->conduit_count - at : 0;

	return left > USAGE_BATCH ? USAGE_BATCH : left;
}

void usage_tick(struct usage *u)
{
	const struct generation *gen = agent_edition(u->agent)->gen;
	struct err err = {{0}};
	size_t n;

	if (u->pause) {
		u->pause--;
		return;
	}
	n = batch_at(gen, u->next);
	if (n && look(u, gen->conduits + u->next, n, &err) < 0)
		log_debug("usage: %s", err.text);
	u->next += n;
	if (batch_at(gen, u->next))
		return;
	u->next = 0;
	u->pause = USAGE_PAUSE_BEATS;
	forget_gone(u);
	if (usage_save(u, &err) < 0)
		log_debug("usage: %s", err.text);
}

int usage_refresh(struct usage *u, struct err *err)
{
	const struct generation *gen = agent_edition(u->agent)->gen;
	size_t n;
	int r = 0;

	for (size_t at = 0; r >= 0 && (n = batch_at(gen, at)) > 0; at += n)
		r = look(u, gen->conduits + at, n, err);
	return r;
}

/* --- on disk: "KEY LAST_USED" a line ------------------------------------------------------- */

int usage_save(struct usage *u, struct err *err)
{
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, USAGE_TEXT_MAX);
	for (size_t i = 0; i < u->count; i++) {
		char text[KEY_TEXT_LEN + 1];
		struct number_key key;

		if (numbers_key(u->agent->conduit_numbers, u->entries[i].number, &key) < 0)
			continue;
		hex_format(key.bytes, sizeof(key.bytes), text);
		buf_printf(&b, "%s %u\n", text, u->entries[i].last_used);
	}
	if (b.r < 0)
		return err_set(err, -b.r, "usage: %s", strerror(-b.r));
	return store_text_write(u->agent->store, USAGE_FILE, b.data ? b.data : "", b.len, err);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool key_parse(const char *text, struct number_key *ret)
{
	for (size_t i = 0; i < NUMBER_KEY_LEN; i++) {
		int high = hex_digit(text[2 * i]);
		int low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);

		if (low < 0)
			return false;
		ret->bytes[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* A line that makes no sense, or of a conduit that is no more, is passed over. */
static void recall_line(struct usage *u, const char *line)
{
	struct number_key key;
	struct usage_entry *e;
	uint32_t number, when;

	if (strlen(line) <= KEY_TEXT_LEN + 1 || line[KEY_TEXT_LEN] != ' ' ||
	    !key_parse(line, &key) || text_u32(line + KEY_TEXT_LEN + 1, 1, UINT32_MAX, &when) < 0 ||
	    numbers_find(u->agent->conduit_numbers, &key, &number) < 0)
		return;
	e = take_entry(u, number);
	if (e)
		e->last_used = when;
}

static void recall(struct usage *u)
{
	CLEANUP(freep) char *text = NULL;
	char *line, *rest;

	if (store_text_read(u->agent->store, USAGE_FILE, USAGE_TEXT_MAX, &text, NULL) < 0)
		return;
	rest = text;
	while ((line = strsep(&rest, "\n")))
		recall_line(u, line);
}

int usage_new(struct agent *a, struct usage **ret, struct err *err)
{
	struct usage *u = mem_calloc(1, sizeof(*u));

	if (!u)
		return err_set(err, ENOMEM, "out of memory");
	u->agent = a;
	recall(u);
	*ret = u;
	return 0;
}

void usage_free(struct usage *u)
{
	if (!u)
		return;
	free(u->entries);
	free(u);
}
