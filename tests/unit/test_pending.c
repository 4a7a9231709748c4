/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/pending.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define SECOND 1000000000LL

static const struct mono start = {SECOND};

static struct mono later(int64_t ms)
{
	return (struct mono){start.ns + ms * 1000000};
}

/* Host 10.0.0.HOST calls 10.0.1.1:8443. */
static struct pending_key key(uint8_t host, uint16_t sport, uint32_t isn)
{
	return (struct pending_key){
		.src = {.family = AF_INET, .bytes = {10, 0, 0, host}},
		.dst = {.family = AF_INET, .bytes = {10, 0, 1, 1}},
		.sport = sport,
		.dport = 8443,
		.isn = isn,
		.l4proto = IPPROTO_TCP,
		.hook = NF_INET_LOCAL_IN,
	};
}

static enum pending_result add(struct pending *t, struct pending_key k, uint32_t id)
{
	struct pending_entry *e;

	return pending_add(t, &k, (struct pending_packet){1, id}, start, later(800), &e);
}

TEST(a_retransmission_joins_the_question_that_is_out)
{
	CLEANUP(pending_freep) struct pending *t = pending_new(8, 8);
	struct pending_entry *first, *second;
	struct pending_key k = key(5, 40000, 77);

	CHECK(t != NULL);
	CHECK_INT(pending_add(t, &k, (struct pending_packet){1, 10}, start, later(800), &first),
		  PENDING_NEW);
	CHECK_INT(pending_add(t, &k, (struct pending_packet){1, 11}, later(5), later(900), &second),
		  PENDING_JOINED);
	CHECK(first == second);
	CHECK_UINT(first->packet_count, 2);
	CHECK_UINT(first->packets[1].id, 11);
	/* The question is as old as its first packet. */
	CHECK_INT(first->since.ns, start.ns);
	CHECK_INT(first->deadline.ns, later(800).ns);
	CHECK_UINT(pending_count(t), 1);
	CHECK_UINT(pending_of_source(t, &k.src), 1);
}

TEST(each_part_of_the_key_makes_another_question)
{
	CLEANUP(pending_freep) struct pending *t = pending_new(16, 16);
	struct pending_key k[8];

	for (size_t i = 0; i < ARRAY_LEN(k); i++)
		k[i] = key(5, 40000, 77);
	k[1].isn = 78;
	k[2].sport = 40001;
	k[3].dport = 8444;
	k[4].src.bytes[3] = 6;
	k[5].dst.bytes[3] = 2;
	k[6].l4proto = IPPROTO_UDP;
	k[7].hook = NF_INET_LOCAL_OUT;
	for (uint32_t i = 0; i < ARRAY_LEN(k); i++)
		CHECK_INT(add(t, k[i], i), PENDING_NEW);
	for (uint32_t i = 0; i < ARRAY_LEN(k); i++)
		CHECK_UINT(pending_find(t, &k[i])->packets[0].id, i);
}

TEST(a_flow_holds_so_many_packets_and_no_more)
{
	CLEANUP(pending_freep) struct pending *t = pending_new(4, 4);
	struct pending_key k = key(5, 40000, 0);

	CHECK_INT(add(t, k, 0), PENDING_NEW);
	for (uint32_t i = 1; i < PENDING_PACKETS_MAX; i++)
		CHECK_INT(add(t, k, i), PENDING_JOINED);
	CHECK_INT(add(t, k, 99), PENDING_PACKETS_FULL);
	CHECK_UINT(pending_find(t, &k)->packet_count, PENDING_PACKETS_MAX);
}

TEST(one_address_cannot_fill_the_table)
{
	CLEANUP(pending_freep) struct pending *t = pending_new(8, 3);
	struct pending_key k = key(5, 3, 0);

	for (uint16_t i = 0; i < 3; i++)
		CHECK_INT(add(t, key(5, i, 0), i), PENDING_NEW);
	CHECK_INT(add(t, k, 3), PENDING_SOURCE_FULL);
	CHECK_UINT(pending_of_source(t, &k.src), 3);
	/* Neither its own retransmissions nor other hosts suffer. */
	CHECK_INT(add(t, key(5, 1, 0), 4), PENDING_JOINED);
	CHECK_INT(add(t, key(6, 3, 0), 5), PENDING_NEW);
	k = key(5, 0, 0);
	pending_remove(t, pending_find(t, &k));
	CHECK_INT(add(t, key(5, 3, 0), 6), PENDING_NEW);
}

/* The more is taken, the less one of them gets: nodes that answer late leave room for others. */
TEST(a_few_addresses_cannot_fill_a_large_table)
{
	CLEANUP(pending_freep) struct pending *t = pending_new(64, 16);
	unsigned held[4] = {0};

	for (uint8_t host = 0; host < ARRAY_LEN(held); host++)
		while (add(t, key(host, (uint16_t)held[host], 0), 1) == PENDING_NEW)
			held[host]++;
	CHECK_UINT(held[0], 16);
	CHECK_UINT(held[2], 16);
	CHECK_UINT(held[3], 8);
	for (uint16_t i = 0; i < 4; i++)
		CHECK_INT(add(t, key(9, i, 0), 1), PENDING_NEW);
	CHECK_INT(add(t, key(9, 4, 0), 1), PENDING_SOURCE_FULL);
}

TEST(of_a_connection_that_leaves_the_far_address_counts)
{
	CLEANUP(pending_freep) struct pending *t = pending_new(8, 1);
	struct pending_key a = key(5, 1, 0), b = key(5, 2, 0);

	a.hook = b.hook = NF_INET_LOCAL_OUT;
	b.dst.bytes[3] = 9;
	CHECK_INT(add(t, a, 1), PENDING_NEW);
	CHECK_INT(add(t, b, 2), PENDING_NEW);
	CHECK_UINT(pending_of_source(t, &a.dst), 1);
	CHECK_UINT(pending_of_source(t, &a.src), 0);
}

TEST(a_full_table_takes_nothing_new)
{
	CLEANUP(pending_freep) struct pending *t = pending_new(2, 2);

	CHECK_INT(add(t, key(1, 1, 0), 1), PENDING_NEW);
	CHECK_INT(add(t, key(2, 1, 0), 2), PENDING_NEW);
	CHECK_INT(add(t, key(3, 1, 0), 3), PENDING_FULL);
	CHECK_INT(add(t, key(2, 1, 0), 4), PENDING_JOINED);
	CHECK_UINT(pending_count(t), 2);
	CHECK_UINT(pending_max(t), 2);
}

TEST(what_ends_first_is_due_first)
{
	CLEANUP(pending_freep) struct pending *t = pending_new(8, 8);
	static const int64_t ends[] = {500, 100, 300, 200, 400};
	struct pending_entry *e;

	for (uint16_t i = 0; i < ARRAY_LEN(ends); i++) {
		struct pending_key k = key(5, i, 0);

		CHECK_INT(pending_add(t, &k, (struct pending_packet){1, i}, start, later(ends[i]),
				      &e),
			  PENDING_NEW);
	}
	CHECK(pending_due(t, later(99)) == NULL);
	for (int64_t ms = 100; ms <= 500; ms += 100) {
		e = pending_due(t, later(ms));
		CHECK(e != NULL);
		CHECK_INT(e->deadline.ns, later(ms).ns);
		CHECK(pending_first(t) == e);
		pending_remove(t, e);
		CHECK(pending_due(t, later(ms)) == NULL);
	}
	CHECK(pending_first(t) == NULL);
}

TEST(limits_of_nothing_are_refused)
{
	CHECK(pending_new(0, 1) == NULL);
	CHECK(pending_new(1, 0) == NULL);
	CHECK(pending_new(UINT32_MAX, 1) == NULL);
}

/* --- against a model that does everything the long way --------------------------------------- */

#define MODEL_MAX   24
#define PER_SOURCE  7
#define STEPS       200000
#define HOSTS       5
#define PORTS       6
#define RANDOM_SEED 0x2545f4914f6cdd1dULL

struct model {
	struct pending_key keys[MODEL_MAX];
	struct pending_packet packets[MODEL_MAX][PENDING_PACKETS_MAX];
	uint8_t packet_count[MODEL_MAX];
	struct mono deadline[MODEL_MAX];
	size_t count;
};

static uint64_t random_state = RANDOM_SEED;

static uint32_t draw(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 32) % below;
}

static bool same(const struct pending_key *a, const struct pending_key *b)
{
	return a->isn == b->isn && a->sport == b->sport && a->hook == b->hook &&
	       memcmp(a->src.bytes, b->src.bytes, 16) == 0 &&
	       memcmp(a->dst.bytes, b->dst.bytes, 16) == 0;
}

static const struct addr *far_end(const struct pending_key *k)
{
	return k->hook == NF_INET_LOCAL_OUT ? &k->dst : &k->src;
}

static size_t model_of_source(const struct model *m, const struct addr *a)
{
	size_t n = 0;

	for (size_t i = 0; i < m->count; i++)
		n += addr_eq(far_end(&m->keys[i]), a);
	return n;
}

static size_t model_find(const struct model *m, const struct pending_key *k)
{
	size_t i = 0;

	while (i < m->count && !same(&m->keys[i], k))
		i++;
	return i;
}

static enum pending_result model_add(struct model *m, const struct pending_key *k,
				     struct pending_packet p, struct mono deadline)
{
	size_t i = model_find(m, k);

	if (i < m->count && m->packet_count[i] == PENDING_PACKETS_MAX)
		return PENDING_PACKETS_FULL;
	if (i < m->count) {
		m->packets[i][m->packet_count[i]++] = p;
		return PENDING_JOINED;
	}
	if (m->count == MODEL_MAX)
		return PENDING_FULL;
	if (model_of_source(m, far_end(k)) == PER_SOURCE)
		return PENDING_SOURCE_FULL;
	m->keys[i] = *k;
	m->packets[i][0] = p;
	m->packet_count[i] = 1;
	m->deadline[i] = deadline;
	m->count++;
	return PENDING_NEW;
}

static void model_remove(struct model *m, size_t i)
{
	m->count--;
	m->keys[i] = m->keys[m->count];
	memcpy(m->packets[i], m->packets[m->count], sizeof(m->packets[i]));
	m->packet_count[i] = m->packet_count[m->count];
	m->deadline[i] = m->deadline[m->count];
}

static void compare(const struct pending *t, const struct model *m)
{
	int64_t first = INT64_MAX;
	bool used[MODEL_MAX] = {false};

	CHECK_UINT(pending_count(t), m->count);
	for (size_t i = 0; i < m->count; i++) {
		const struct pending_entry *e = pending_find(t, &m->keys[i]);
		uint32_t index;

		CHECK(e != NULL);
		index = pending_index(t, e);
		CHECK(index < MODEL_MAX && !used[index]);
		used[index] = true;
		CHECK_UINT(e->packet_count, m->packet_count[i]);
		CHECK_MEM(e->packets, m->packets[i],
			  m->packet_count[i] * sizeof(struct pending_packet));
		CHECK_INT(e->deadline.ns, m->deadline[i].ns);
		CHECK_UINT(pending_of_source(t, far_end(&m->keys[i])),
			   model_of_source(m, far_end(&m->keys[i])));
		if (m->deadline[i].ns < first)
			first = m->deadline[i].ns;
	}
	CHECK(m->count ? pending_first(t)->deadline.ns == first : pending_first(t) == NULL);
}

static struct pending_key draw_key(void)
{
	struct pending_key k = key((uint8_t)draw(HOSTS), (uint16_t)draw(PORTS), draw(2));

	if (draw(4) == 0)
		k.hook = NF_INET_LOCAL_OUT;
	if (draw(4) == 0)
		k.dst.bytes[3] = (uint8_t)draw(3);
	return k;
}

static void step(struct pending *t, struct model *m, uint32_t id, struct mono now)
{
	struct mono deadline = {now.ns + draw(50)};
	struct pending_packet p = {(uint16_t)draw(2), id};
	struct pending_key k = draw_key();
	struct pending_entry *e = NULL;
	size_t at;

	if (draw(3)) {
		CHECK_INT(pending_add(t, &k, p, now, deadline, &e), model_add(m, &k, p, deadline));
		return;
	}
	e = draw(2) ? pending_due(t, now) : pending_find(t, &k);
	if (!e)
		return;
	at = model_find(m, &e->key);
	CHECK(at < m->count);
	pending_remove(t, e);
	model_remove(m, at);
}

TEST(whatever_comes_the_table_agrees_with_a_naive_one)
{
	CLEANUP(pending_freep) struct pending *t = pending_new(MODEL_MAX, PER_SOURCE);
	struct model m = {.count = 0};
	struct mono now = start;

	CHECK(t != NULL);
	for (uint32_t i = 0; i < STEPS; i++) {
		now.ns += draw(3);
		step(t, &m, i, now);
		if (i % 16 == 0)
			compare(t, &m);
	}
}

OOM_TEST(pending_new_gives_back_what_it_had)
{
	struct pending *t = pending_new(64, 8);

	pending_free(t);
	return t ? 0 : -ENOMEM;
}
