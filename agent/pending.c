/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/pending.h"

#include "base/hash.h"
#include "base/mem.h"

#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

/* Of an entry's place[]. */
enum { NEXT, HEAP, SOURCE, SLOT };

/* What one far address holds. As many as entries: each of them has at least one. */
struct source {
	struct addr addr;
	uint32_t count, next;
};

/* Chains of indices; heads are twice the entries, rounded up to a power of two. */
struct pending {
	uint32_t max, per_source_max, count, mask;
	struct pending_entry *entries;
	struct source *sources;
	uint32_t *heads, *source_heads;
	uint32_t *heap; /* of entries, the earliest deadline first */
	uint32_t free_entry, free_source;
};

/* --- keys ------------------------------------------------------------------------------------ */

#define KEY_BYTES 43

static size_t put(uint8_t *to, size_t at, const void *bytes, size_t len)
{
	memcpy(to + at, bytes, len);
	return at + len;
}

/* No padding and one family: equal keys are equal bytes. */
static uint32_t key_slot(const struct pending *t, const struct pending_key *k)
{
	uint8_t bytes[KEY_BYTES];
	size_t at = 0;

	at = put(bytes, at, k->src.bytes, sizeof(k->src.bytes));
	at = put(bytes, at, k->dst.bytes, sizeof(k->dst.bytes));
	at = put(bytes, at, &k->sport, sizeof(k->sport));
	at = put(bytes, at, &k->dport, sizeof(k->dport));
	at = put(bytes, at, &k->isn, sizeof(k->isn));
	bytes[at++] = k->src.family;
	bytes[at++] = k->l4proto;
	bytes[at++] = k->hook;
	return (uint32_t)hash_bytes(bytes, at) & t->mask;
}

static bool key_eq(const struct pending_key *a, const struct pending_key *b)
{
	return a->isn == b->isn && a->sport == b->sport && a->dport == b->dport &&
	       a->l4proto == b->l4proto && a->hook == b->hook && addr_eq(&a->src, &b->src) &&
	       addr_eq(&a->dst, &b->dst);
}

static const struct addr *far_of(const struct pending_key *k)
{
	return k->hook == NF_INET_LOCAL_OUT ? &k->dst : &k->src;
}

/* --- sources --------------------------------------------------------------------------------- */

static uint32_t source_slot(const struct pending *t, const struct addr *a)
{
	return (uint32_t)hash_bytes(a->bytes, addr_len(a)) & t->mask;
}

static uint32_t source_find(const struct pending *t, const struct addr *a, uint32_t slot)
{
	uint32_t i = t->source_heads[slot];

	while (i != NONE && !addr_eq(&t->sources[i].addr, a))
		i = t->sources[i].next;
	return i;
}

/* A table of few shares is one source's whole if nobody else comes. */
#define SHARES_MIN 4

/*
 * A few addresses of nodes that answer late must not take everything between them: in a large table
 * none holds more than is free.
 */
static uint32_t share_of_one(const struct pending *t)
{
	uint32_t spare = t->max - t->count;

	if (t->max / SHARES_MIN < t->per_source_max || spare > t->per_source_max)
		return t->per_source_max;
	return spare;
}

/* NONE when the address has its share. */
static uint32_t source_take(struct pending *t, const struct addr *a)
{
	uint32_t slot = source_slot(t, a), i = source_find(t, a, slot);

	if (i == NONE) {
		i = t->free_source;
		t->free_source = t->sources[i].next;
		t->sources[i] =
			(struct source){.addr = *a, .count = 0, .next = t->source_heads[slot]};
		t->source_heads[slot] = i;
	}
	if (t->sources[i].count >= share_of_one(t))
		return NONE;
	t->sources[i].count++;
	return i;
}

static void source_give(struct pending *t, uint32_t i)
{
	struct source *s = &t->sources[i];
	uint32_t *at = &t->source_heads[source_slot(t, &s->addr)];

	if (--s->count > 0)
		return;
	while (*at != i)
		at = &t->sources[*at].next;
	*at = s->next;
	s->next = t->free_source;
	t->free_source = i;
}

/* --- deadlines ------------------------------------------------------------------------------- */

static bool earlier(const struct pending *t, uint32_t a, uint32_t b)
{
	return t->entries[a].deadline.ns < t->entries[b].deadline.ns;
}

static void heap_set(struct pending *t, uint32_t at, uint32_t entry)
{
	t->heap[at] = entry;
	t->entries[entry].place[HEAP] = at;
}

static void heap_up(struct pending *t, uint32_t at)
{
	uint32_t entry = t->heap[at];

	while (at > 0 && earlier(t, entry, t->heap[(at - 1) / 2])) {
		heap_set(t, at, t->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_set(t, at, entry);
}

static void heap_down(struct pending *t, uint32_t at)
{
	uint32_t entry = t->heap[at];

	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child >= t->count)
			break;
		if (child + 1 < t->count && earlier(t, t->heap[child + 1], t->heap[child]))
			child++;
		if (!earlier(t, t->heap[child], entry))
			break;
		heap_set(t, at, t->heap[child]);
		at = child;
	}
	heap_set(t, at, entry);
}

/* --- entries --------------------------------------------------------------------------------- */

static struct pending_entry *find_in(const struct pending *t, const struct pending_key *key,
				     uint32_t slot)
{
	uint32_t i = t->heads[slot];

	while (i != NONE && !key_eq(&t->entries[i].key, key))
		i = t->entries[i].place[NEXT];
	return i == NONE ? NULL : &t->entries[i];
}

struct pending_entry *pending_find(const struct pending *t, const struct pending_key *key)
{
	return t->count ? find_in(t, key, key_slot(t, key)) : NULL;
}

static enum pending_result join(struct pending_entry *e, struct pending_packet packet,
				struct pending_entry **ret_entry)
{
	if (e->packet_count == PENDING_PACKETS_MAX)
		return PENDING_PACKETS_FULL;
	e->packets[e->packet_count++] = packet;
	*ret_entry = e;
	return PENDING_JOINED;
}

static struct pending_entry *enter(struct pending *t, const struct pending_key *key, uint32_t slot,
				   uint32_t source)
{
	uint32_t i = t->free_entry;
	struct pending_entry *e = &t->entries[i];

	t->free_entry = e->place[NEXT];
	e->key = *key;
	e->place[SOURCE] = source;
	e->place[SLOT] = slot;
	e->place[NEXT] = t->heads[slot];
	t->heads[slot] = i;
	return e;
}

enum pending_result pending_add(struct pending *t, const struct pending_key *key,
				struct pending_packet packet, struct mono now, struct mono deadline,
				struct pending_entry **ret_entry)
{
	uint32_t slot = key_slot(t, key), source;
	struct pending_entry *e = find_in(t, key, slot);

	if (e)
		return join(e, packet, ret_entry);
	if (t->count == t->max)
		return PENDING_FULL;
	source = source_take(t, far_of(key));
	if (source == NONE)
		return PENDING_SOURCE_FULL;
	e = enter(t, key, slot, source);
	e->packets[0] = packet;
	e->packet_count = 1;
	e->since = now;
	e->deadline = deadline;
	t->heap[t->count++] = pending_index(t, e);
	heap_up(t, t->count - 1);
	*ret_entry = e;
	return PENDING_NEW;
}

void pending_remove(struct pending *t, struct pending_entry *entry)
{
	uint32_t i = pending_index(t, entry), hole = entry->place[HEAP];
	uint32_t *at = &t->heads[entry->place[SLOT]];

	while (*at != i)
		at = &t->entries[*at].place[NEXT];
	*at = entry->place[NEXT];
	t->count--;
	if (hole != t->count) {
		heap_set(t, hole, t->heap[t->count]);
		heap_up(t, hole);
		heap_down(t, hole);
	}
	source_give(t, entry->place[SOURCE]);
	entry->packet_count = 0;
	entry->place[NEXT] = t->free_entry;
	t->free_entry = i;
}

struct pending_entry *pending_first(const struct pending *t)
{
	return t->count ? &t->entries[t->heap[0]] : NULL;
}

struct pending_entry *pending_due(const struct pending *t, struct mono now)
{
	struct pending_entry *e = pending_first(t);

	return e && e->deadline.ns <= now.ns ? e : NULL;
}

/* --- life ------------------------------------------------------------------------------------ */

/* The one used last is used next: of a large table only a few pages are ever touched. */
static void chain_free(struct pending *t)
{
	for (uint32_t i = 0; i <= t->mask; i++)
		t->heads[i] = t->source_heads[i] = NONE;
	for (uint32_t i = 0; i < t->max; i++) {
		t->entries[i].place[NEXT] = i + 1 < t->max ? i + 1 : NONE;
		t->sources[i].next = i + 1 < t->max ? i + 1 : NONE;
	}
}

struct pending *pending_new(uint32_t max, uint32_t per_source_max)
{
	CLEANUP(pending_freep) struct pending *t = NULL;
	uint32_t size = 2;

	if (max == 0 || max > UINT32_MAX / 4 || per_source_max == 0)
		return NULL;
	t = mem_calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	while (size < 2 * max)
		size *= 2;
	t->max = max;
	t->per_source_max = per_source_max;
	t->mask = size - 1;
	t->entries = mem_calloc(max, sizeof(*t->entries));
	t->sources = mem_calloc(max, sizeof(*t->sources));
	t->heads = mem_calloc(size, sizeof(*t->heads));
	t->source_heads = mem_calloc(size, sizeof(*t->source_heads));
	t->heap = mem_calloc(max, sizeof(*t->heap));
	if (!t->entries || !t->sources || !t->heads || !t->source_heads || !t->heap)
		return NULL;
	chain_free(t);
	return TAKE_PTR(t);
}

void pending_free(struct pending *t)
{
	if (!t)
		return;
	free(t->entries);
	free(t->sources);
	free(t->heads);
	free(t->source_heads);
	free(t->heap);
	free(t);
}

void pending_freep(struct pending **t)
{
	pending_free(*t);
	*t = NULL;
}

/* --- looks ----------------------------------------------------------------------------------- */

uint32_t pending_index(const struct pending *t, const struct pending_entry *entry)
{
	return (uint32_t)(entry - t->entries);
}

uint32_t pending_count(const struct pending *t)
{
	return t->count;
}

uint32_t pending_max(const struct pending *t)
{
	return t->max;
}

uint32_t pending_of_source(const struct pending *t, const struct addr *far)
{
	uint32_t i = source_find(t, far, source_slot(t, far));

	return i == NONE ? 0 : t->sources[i].count;
}
