/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Packets, answers and deadlines in any order: every packet leaves the table exactly once. */
#include "tests/fuzz/fuzz.h"

#include "agent/pending.h"

#include <netinet/in.h>

#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define MAX        16
#define PER_SOURCE 6
#define IDS        65536

struct state {
	struct pending *table;
	struct mono now;
	uint32_t next_id, held;
	bool waits[IDS];
	uint32_t entries, of_source[8];
};

/* Few hosts and ports, so that flows meet. */
static struct pending_key key_of(uint8_t byte)
{
	return (struct pending_key){
		.src = {.family = AF_INET, .bytes = {10, 0, 0, byte & 3}},
		.dst = {.family = AF_INET, .bytes = {10, 0, 1, byte & 3}},
		.sport = byte >> 2 & 7,
		.dport = 1,
		.isn = byte >> 5 & 1,
		.l4proto = IPPROTO_TCP,
		.hook = byte >> 6 & 1 ? NF_INET_LOCAL_OUT : NF_INET_LOCAL_IN,
	};
}

static uint32_t *source_of(struct state *s, const struct pending_key *k)
{
	return &s->of_source[k->hook == NF_INET_LOCAL_OUT ? 4 + (k->dst.bytes[3] & 3)
							  : k->src.bytes[3] & 3];
}

static void add(struct state *s, uint8_t byte, uint8_t ms)
{
	struct pending_key k = key_of(byte);
	struct mono deadline = {s->now.ns + ms};
	struct pending_packet p = {0, s->next_id};
	bool known = pending_find(s->table, &k) != NULL;
	struct pending_entry *e = NULL;

	switch (pending_add(s->table, &k, p, s->now, deadline, &e)) {
	case PENDING_NEW:
		if (known || *source_of(s, &k) >= PER_SOURCE || s->entries >= MAX)
			abort();
		s->entries++;
		++*source_of(s, &k);
		break;
	case PENDING_JOINED:
		if (!known)
			abort();
		break;
	case PENDING_FULL:
		if (known || s->entries != MAX)
			abort();
		return;
	case PENDING_SOURCE_FULL:
		if (known || *source_of(s, &k) != PER_SOURCE)
			abort();
		return;
	case PENDING_PACKETS_FULL:
		if (!known)
			abort();
		return;
	}
	if (e->packets[e->packet_count - 1].id != s->next_id)
		abort();
	s->waits[s->next_id++] = true;
	s->held++;
}

static void end(struct state *s, struct pending_entry *e)
{
	for (uint8_t i = 0; i < e->packet_count; i++) {
		if (!s->waits[e->packets[i].id])
			abort();
		s->waits[e->packets[i].id] = false;
		s->held--;
	}
	s->entries--;
	--*source_of(s, &e->key);
	pending_remove(s->table, e);
}

static void expire(struct state *s, uint8_t ms)
{
	struct pending_entry *e;
	int64_t last = INT64_MIN;

	s->now.ns += ms;
	while ((e = pending_due(s->table, s->now))) {
		if (e->deadline.ns < last || e->deadline.ns > s->now.ns)
			abort();
		last = e->deadline.ns;
		end(s, e);
	}
	e = pending_first(s->table);
	if (e && e->deadline.ns <= s->now.ns)
		abort();
}

static void answer(struct state *s, uint8_t byte)
{
	struct pending_key k = key_of(byte);
	struct pending_entry *e = pending_find(s->table, &k);

	if (e)
		end(s, e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct state s;

	memset(&s, 0, sizeof(s));
	s.table = pending_new(MAX, PER_SOURCE);
	if (!s.table)
		return 0;
	for (size_t i = 0; i + 2 < size && s.next_id < IDS; i += 3) {
		switch (data[i] & 3) {
		case 0:
		case 1:
			add(&s, data[i + 1], data[i + 2]);
			break;
		case 2:
			answer(&s, data[i + 1]);
			break;
		case 3:
			expire(&s, data[i + 2]);
			break;
		}
		if (pending_count(s.table) != s.entries)
			abort();
	}
	expire(&s, 255);
	if (s.held || s.entries || pending_count(s.table))
		abort();
	pending_free(s.table);
	return 0;
}
