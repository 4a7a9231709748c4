/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/usage.h"

#include "agent/store.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "rules/numbers.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Counters read per second while a round is going on, and the pause between rounds. */
#define USAGE_BATCH       500
#define USAGE_PAUSE_BEATS 600
#define USAGE_FILE        "usage.json"

struct usage {
	struct agent *agent;
	struct usage_entry *entries; /* sorted by number */
	size_t count, cap;
	size_t next; /* conduit that the round has come to */
	uint64_t pause;
	json_t *stored; /* {key hex: [last_used, since]}, taken up when the conduit is first seen */
};

static int by_number(const void *key, const void *element)
{
	uint32_t x = *(const uint32_t *)key, y = ((const struct usage_entry *)element)->number;

	return x < y ? -1 : x > y;
}

const struct usage_entry *usage_find(const struct usage *u, uint32_t number)
{
	return u->count ? bsearch(&number, u->entries, u->count, sizeof(*u->entries), by_number)
			: NULL;
}

static bool key_text(const struct usage *u, uint32_t number, char text[2 * NUMBER_KEY_LEN + 1])
{
	struct number_key key;

	if (numbers_key(u->agent->conduit_numbers, number, &key) < 0)
		return false;
	hex_format(key.bytes, sizeof(key.bytes), text);
	return true;
}

static void recall(struct usage *u, struct usage_entry *e)
{
	char text[2 * NUMBER_KEY_LEN + 1];
	const json_t *kept = key_text(u, e->number, text) ? json_object_get(u->stored, text) : NULL;

	e->since = (uint32_t)wall_now().s;
	if (!json_is_array(kept))
		return;
	e->last_used = (uint32_t)json_integer_value(json_array_get(kept, 0));
	if (json_integer_value(json_array_get(kept, 1)) > 0)
		e->since = (uint32_t)json_integer_value(json_array_get(kept, 1));
}

/* The entries follow the conduits of the generation in force; both are sorted by number. */
static int follow(struct usage *u, const struct generation *gen)
{
	struct usage_entry *fresh = mem_calloc(gen->conduit_count, sizeof(*fresh));
	size_t old = 0;

	if (!fresh)
		return -ENOMEM;
	for (size_t i = 0; i < gen->conduit_count; i++) {
		uint32_t number = gen->conduits[i].number;

		while (old < u->count && u->entries[old].number < number)
			old++;
		if (old < u->count && u->entries[old].number == number) {
			fresh[i] = u->entries[old];
		} else {
			fresh[i].number = number;
			recall(u, &fresh[i]);
		}
	}
	free(u->entries);
	u->entries = fresh;
	u->count = gen->conduit_count;
	return 0;
}

static bool same_conduits(const struct usage *u, const struct generation *gen)
{
	if (u->count != gen->conduit_count)
		return false;
	for (size_t i = 0; i < u->count; i++) {
		if (u->entries[i].number != gen->conduits[i].number)
			return false;
	}
	return true;
}

/* Counters start again from zero when an element is replaced. */
static void add_counter(struct usage_entry *e, uint64_t packets, uint64_t bytes, uint32_t now)
{
	bool again = packets < e->counter_packets;
	uint64_t more = again ? packets : packets - e->counter_packets;

	e->packets += more;
	e->bytes += again ? bytes : bytes - e->counter_bytes;
	e->counter_packets = packets;
	e->counter_bytes = bytes;
	if (more)
		e->last_used = now;
}

struct sums {
	uint64_t packets[USAGE_BATCH], bytes[USAGE_BATCH];
};

static int read_live(struct usage *u, size_t first, size_t n, struct sums *sums, struct err *err)
{
	CLEANUP(freep) struct nft_counter *c = mem_calloc(n, sizeof(*c));
	CLEANUP(freep) uint32_t *keys = mem_calloc(n, sizeof(*keys));
	int r;

	if (!c || !keys)
		return err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++)
		keys[i] = u->entries[first + i].number;
	r = nft_counters(u->agent->nft, (struct set_ref){.kind = SET_LIVE}, (const uint8_t *)keys,
			 n, c, err);
	for (size_t i = 0; i < n && r >= 0; i++) {
		sums->packets[i] += c[i].packets;
		sums->bytes[i] += c[i].bytes;
	}
	return r;
}

/* Datagrams are counted at (conduit . cgroup); records are sorted by conduit. */
static int read_udp_set(struct usage *u, const struct set_items *s, size_t first, size_t n,
			struct sums *sums, struct err *err)
{
	size_t stride = set_stride(SET_LIVE_UDP);

	for (size_t i = 0; i < s->count; i++) {
		struct nft_counter c;
		const struct usage_entry *e;
		uint32_t number;
		size_t at;

		memcpy(&number, s->bytes + i * stride, sizeof(number));
		e = usage_find(u, number);
		if (!e)
			continue;
		at = (size_t)(e - u->entries);
		if (at < first || at >= first + n)
			continue;
		if (nft_counters(u->agent->nft, s->ref, s->bytes + i * stride, 1, &c, err) < 0)
			continue;
		sums->packets[at - first] += c.packets;
		sums->bytes[at - first] += c.bytes;
	}
	return 0;
}

static int look(struct usage *u, size_t first, size_t n, struct err *err)
{
	CLEANUP(freep) struct sums *sums = mem_calloc(1, sizeof(*sums));
	const struct ruleset *applied = u->agent->applied;
	uint32_t now = (uint32_t)wall_now().s;
	int r;

	if (!sums)
		return err_set(err, ENOMEM, "out of memory");
	r = read_live(u, first, n, sums, err);
	for (size_t i = 0; applied && i < applied->set_count && r >= 0; i++) {
		if (applied->sets[i].ref.kind == SET_LIVE_UDP)
			r = read_udp_set(u, &applied->sets[i], first, n, sums, err);
	}
	for (size_t i = 0; i < n && r >= 0; i++)
		add_counter(&u->entries[first + i], sums->packets[i], sums->bytes[i], now);
	return r;
}

static int prepare(struct usage *u)
{
	const struct generation *gen = agent_edition(u->agent)->gen;

	if (!gen)
		return 0;
	return same_conduits(u, gen) ? 0 : follow(u, gen);
}

void usage_tick(struct usage *u)
{
	struct err err = {{0}};
	size_t n;

	if (u->pause) {
		u->pause--;
		return;
	}
	if (u->next == 0 && prepare(u) < 0)
		return;
	n = u->count > u->next ? u->count - u->next : 0;
	if (n > USAGE_BATCH)
		n = USAGE_BATCH;
	if (n && look(u, u->next, n, &err) < 0)
		log_debug("usage: %s", err.text);
	u->next += n;
	if (u->next < u->count)
		return;
	u->next = 0;
	u->pause = USAGE_PAUSE_BEATS;
	if (usage_save(u, &err) < 0)
		log_debug("usage: %s", err.text);
}

int usage_refresh(struct usage *u, struct err *err)
{
	int r = prepare(u);

	for (size_t i = 0; i < u->count && r >= 0; i += USAGE_BATCH) {
		size_t n = u->count - i;

		r = look(u, i, n > USAGE_BATCH ? USAGE_BATCH : n, err);
	}
	return r;
}

int usage_save(struct usage *u, struct err *err)
{
	json_t *all = json_object();
	int r;

	for (size_t i = 0; i < u->count; i++) {
		const struct usage_entry *e = &u->entries[i];
		char text[2 * NUMBER_KEY_LEN + 1];

		if (key_text(u, e->number, text))
			(void)json_object_set_new(
				all, text,
				json_pack("[I,I]", (json_int_t)e->last_used, (json_int_t)e->since));
	}
	r = store_json_write(u->agent->store, USAGE_FILE, all, err);
	json_decref(all);
	return r;
}

int usage_new(struct agent *a, struct usage **ret, struct err *err)
{
	struct usage *u = mem_calloc(1, sizeof(*u));

	if (!u)
		return err_set(err, ENOMEM, "out of memory");
	u->agent = a;
	if (store_json_read(a->store, USAGE_FILE, &u->stored, NULL) < 0 ||
	    !json_is_object(u->stored)) {
		json_decref(u->stored);
		u->stored = json_object();
	}
	*ret = u;
	return 0;
}

void usage_free(struct usage *u)
{
	if (!u)
		return;
	json_decref(u->stored);
	free(u->entries);
	free(u);
}
