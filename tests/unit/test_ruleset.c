/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Records, keys and names of the intermediate form, and plans that lead from one to the next. */
#include "rules/ruleset.h"

#include "base/mem.h"
#include "rules/marks.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static struct set_ref ref_of(enum set_kind kind, enum slot slot, uint8_t level)
{
	return (struct set_ref){.kind = (uint8_t)kind, .slot = (uint8_t)slot, .level = level};
}

static void add(struct ruleset *r, struct set_ref ref, const struct key *key, const void *value)
{
	uint8_t record[2 * SET_KEY_MAX + 8] = {0};
	struct set_items *s = ruleset_set(r, ref);
	size_t offset = set_value_offset(ref.kind);

	CHECK(s != NULL);
	memcpy(record, key->bytes, set_key_len(ref.kind));
	if (value)
		memcpy(record + offset, value, set_stride(ref.kind) - offset);
	CHECK_INT(set_items_add(s, record), 0);
}

static void add_live(struct ruleset *r, uint32_t mark, uint8_t verdict)
{
	struct key k;

	key_init(&k);
	key_u32(&k, mark);
	add(r, ref_of(SET_LIVE, SLOT_A, 0), &k, &verdict);
}

static void add_lease(struct ruleset *r, uint32_t mark, int64_t end)
{
	struct key k;

	key_init(&k);
	key_u32(&k, mark);
	add(r, ref_of(SET_LEASED, SLOT_A, 0), &k, &end);
}

static void add_end(struct ruleset *r, enum set_kind kind, uint32_t mark, uint64_t cgroup)
{
	static const uint8_t accept = LIVE_ACCEPT;
	struct key k;

	key_init(&k);
	key_u32(&k, mark);
	key_cgroup(&k, cgroup);
	add(r, ref_of(kind, SLOT_A, 2), &k, kind == SET_LIVE_UDP ? &accept : NULL);
}

static void add_who(struct ruleset *r, uint64_t cgroup, uint32_t mark)
{
	struct key k;

	key_init(&k);
	key_cgroup(&k, cgroup);
	add(r, ref_of(SET_WHO_CGROUP, SLOT_A, 2), &k, &mark);
}

static void sort(struct ruleset *r)
{
	struct err err;

	CHECK_OK(ruleset_sort(r, &err), &err);
}

/* --- records --------------------------------------------------------------------------------- */

TEST(set_records_have_the_kernels_lengths)
{
	static const struct {
		enum set_kind kind;
		size_t key, stride;
	} cases[] = {
		{SET_WHO_UID, 4, 8},
		{SET_WHO_CGROUP, 8, 12},
		{SET_WHO_CGROUP_UID, 12, 16},
		{SET_LISTENERS, 8, 12},
		{SET_OUT4, 16, 20},
		{SET_OUT6, 28, 32},
		{SET_OUT_ANY4, 12, 16},
		{SET_OUT_ANY6, 24, 28},
		{SET_OUT_NET4, 16, 36},
		{SET_OUT_NET6, 28, 60},
		{SET_OUT_ECHO4, 12, 16},
		{SET_IN_ECHO6, 20, 24},
		{SET_IN_ECHO_NET4, 8, 20},
		{SET_ENDS, 12, 12},
		{SET_TW_ENDS, 12, 12},
		{SET_ESSENTIAL_OUT4, 12, 28},
		{SET_ESSENTIAL_KERNEL, 8, 20},
		{SET_ESSENTIAL_PROTO, 1, 5},
		{SET_LIVE, 4, 5},
		{SET_LIVE_UDP, 12, 13},
		{SET_LEASED, 4, 12},
		{SET_NODE_CONDUITS, 4, 4},
		{SET_AGENT_ALIVE, 1, 1},
		{SET_DENIED6, 44, 44},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CHECK_UINT(set_key_len(cases[i].kind), cases[i].key);
		CHECK_UINT(set_stride(cases[i].kind), cases[i].stride);
	}
}

TEST(every_set_has_a_spec_and_fits_a_name)
{
	char name[SET_NAME_MAX];

	for (int kind = 0; kind < SET_KIND_COUNT; kind++) {
		const struct set_spec *spec = set_spec((enum set_kind)kind);

		CHECK(spec->name != NULL);
		CHECK(spec->field_count > 0 && spec->field_count <= SET_FIELDS_MAX);
		(void)set_name(name, ref_of((enum set_kind)kind, SLOT_B, 16));
		CHECK(strlen(name) + 4 < SET_NAME_MAX);
	}
}

TEST(set_names_carry_level_and_slot)
{
	char name[SET_NAME_MAX];

	CHECK_STR(set_name(name, ref_of(SET_OUT4, SLOT_A, 0)), "out4_a");
	CHECK_STR(set_name(name, ref_of(SET_WHO_CGROUP, SLOT_B, 2)), "who_c2_b");
	CHECK_STR(set_name(name, ref_of(SET_LIVE_UDP, SLOT_A, 12)), "live_udp12");
	CHECK_STR(set_name(name, ref_of(SET_LIVE, SLOT_A, 0)), "live");
}

TEST(keys_are_laid_out_as_the_kernels_registers)
{
	struct addr a = {.family = AF_INET, .bytes = {10, 0, 0, 9}};
	const uint8_t tail[] = {10, 0, 0, 9, IPPROTO_TCP, 0, 0, 0, 0x20, 0xfb, 0, 0};
	uint32_t mark = 0x40000001;
	struct key k;

	key_init(&k);
	key_u32(&k, mark);
	key_addr(&k, &a);
	key_u8(&k, IPPROTO_TCP);
	key_port(&k, 8443);
	CHECK_UINT(k.len, set_key_len(SET_OUT4));
	CHECK_MEM(k.bytes, &mark, sizeof(mark));
	CHECK_MEM(k.bytes + 4, tail, sizeof(tail));
}

TEST(sorting_collapses_equal_records_and_refuses_two_values)
{
	CLEANUP(ruleset_freep) struct ruleset *r = ruleset_new();
	const struct set_items *s;
	struct err err;

	add_live(r, 3, LIVE_ACCEPT);
	add_live(r, 1, LIVE_ACCEPT);
	add_live(r, 3, LIVE_ACCEPT);
	sort(r);
	s = ruleset_find(r, ref_of(SET_LIVE, SLOT_A, 0));
	CHECK_UINT(s->count, 2);
	CHECK(set_items_find(s, &(uint32_t){1}) != NULL);
	CHECK(set_items_find(s, &(uint32_t){2}) == NULL);
	CHECK(set_items_find(s, &(uint32_t){3}) != NULL);

	add_live(r, 3, LIVE_LEASED);
	CHECK_INT(ruleset_sort(r, &err), -EEXIST);
	CHECK_STR(err.text, "set live: key 03000000 has two values");
}

TEST(shared_records_outlive_either_ruleset_and_are_copied_before_a_change)
{
	struct ruleset *a = ruleset_new(), *b = ruleset_new();
	struct set_items *x, *y;

	add_live(a, 1, LIVE_ACCEPT);
	add_live(a, 2, LIVE_ACCEPT);
	sort(a);
	x = ruleset_set(a, ref_of(SET_LIVE, SLOT_A, 0));
	y = ruleset_set(b, ref_of(SET_LIVE, SLOT_A, 0));
	CHECK_INT(set_items_share(y, x), 0);
	CHECK(x->bytes == y->bytes);
	add_live(b, 3, LIVE_ACCEPT);
	CHECK(x->bytes != y->bytes);
	CHECK_UINT(x->count, 2);
	CHECK_UINT(y->count, 3);
	ruleset_free(b);
	b = ruleset_new();
	y = ruleset_set(b, ref_of(SET_LIVE, SLOT_A, 0));
	CHECK_INT(set_items_share(y, x), 0);
	ruleset_free(a);
	sort(b);
	CHECK(set_items_find(y, &(uint32_t){2}) != NULL);
	ruleset_free(b);
}

TEST(live_pairs_name_both_generations)
{
	static const struct {
		uint8_t confirmed, candidate;
		const char *name, *chain;
	} cases[] = {
		{LIVE_ACCEPT, LIVE_ACCEPT, "accept", NULL},
		{LIVE_LEASED, LIVE_LEASED, "leased", "leased"},
		{LIVE_WATCHED, LIVE_WATCHED, "watched", "watched"},
		{LIVE_LEASED_WATCHED, LIVE_LEASED_WATCHED, "leased", "leased_watched"},
		{LIVE_NONE, LIVE_ACCEPT, "added", "added"},
		{LIVE_ACCEPT, LIVE_NONE, "removed", "removed"},
		{LIVE_NONE, LIVE_LEASED, "added", "pair_0_2"},
		{LIVE_ACCEPT, LIVE_LEASED, "accept", "pair_1_2"},
	};
	char chain[CHAIN_NAME_MAX];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t v = live_pair(cases[i].confirmed, cases[i].candidate);

		CHECK_UINT(live_confirmed(v), cases[i].confirmed);
		CHECK_UINT(live_candidate(v), cases[i].candidate);
		CHECK_STR(live_name(v), cases[i].name);
		CHECK_STR(live_chain(chain, v), cases[i].chain);
	}
}

/* --- plans ----------------------------------------------------------------------------------- */

static const char *const phase_names[PLAN_PHASE_COUNT] = {"cut", "live", "classify", "rederive",
							  "lazy"};

/* One line per operation: "cut -live 00000001". */
static const char *plan_text(char buf[2048], const struct plan *p)
{
	size_t at = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < p->op_count; i++) {
		const struct plan_op *op = &p->ops[i];
		char name[SET_NAME_MAX];
		uint32_t head;

		memcpy(&head, op->record, sizeof(head));
		at += (size_t)snprintf(buf + at, 2048 - at, "%s %c%s %u\n", phase_names[op->phase],
				       op->action == PLAN_ADD ? '+' : '-', set_name(name, op->ref),
				       head);
	}
	return buf;
}

static void check_plan(struct ruleset *old, struct ruleset *new_, const uint32_t *rederive,
		       size_t count, const char *expected)
{
	CLEANUP(plan_freep) struct plan *p = NULL;
	char buf[2048];
	struct err err;

	sort(old);
	sort(new_);
	CHECK_OK(plan_make(old, new_, rederive, count, &p, &err), &err);
	CHECK_STR(plan_text(buf, p), expected);
	CHECK(plan_is_empty(p) == (expected[0] == '\0'));
}

TEST(equal_rulesets_need_no_plan)
{
	CLEANUP(ruleset_freep) struct ruleset *a = ruleset_new(), *b = ruleset_new();

	add_live(a, 1, LIVE_ACCEPT);
	add_who(a, 7, 0x40000001);
	add_who(b, 7, 0x40000001);
	add_live(b, 1, LIVE_ACCEPT);
	check_plan(a, b, NULL, 0, "");
}

TEST(an_empty_table_changes_its_shape)
{
	CLEANUP(ruleset_freep) struct ruleset *new_ = ruleset_new();
	CLEANUP(plan_freep) struct plan *p = NULL;
	struct err err;

	CHECK_OK(plan_make(NULL, new_, NULL, 0, &p, &err), &err);
	CHECK(p->shape_changed);
	CHECK(!plan_is_empty(p));
}

TEST(every_field_of_the_shape_counts)
{
	CLEANUP(ruleset_freep) struct ruleset *old = ruleset_new(), *new_ = ruleset_new();
	struct table_shape *s = &new_->shape;
	struct err err;

	for (int i = 0; i < 9; i++) {
		CLEANUP(plan_freep) struct plan *p = NULL;

		*s = old->shape;
		s->levels ^= i == 0;
		s->queue ^= i == 1;
		s->queue_first ^= i == 2;
		s->nflog_group ^= i == 3;
		s->unclaimed_mark ^= i == 4;
		s->unclaimed ^= i == 5;
		s->trial ^= i == 6;
		s->live_size ^= i == 7;
		s->table[0] = i == 8 ? 'x' : '\0';
		CHECK_OK(plan_make(old, new_, NULL, 0, &p, &err), &err);
		CHECK(p->shape_changed);
	}
}

TEST(a_conduit_that_goes_is_cut_first_and_its_ends_last)
{
	CLEANUP(ruleset_freep) struct ruleset *old = ruleset_new(), *new_ = ruleset_new();

	add_live(old, 1, LIVE_ACCEPT);
	add_live(old, 1 | MARK_VOUCHED, LIVE_ACCEPT);
	add_end(old, SET_LIVE_UDP, 1, 7);
	add_end(old, SET_ENDS, 1, 7);
	add_live(old, 2, LIVE_LEASED);
	add_lease(old, 2, 100);
	check_plan(old, new_, NULL, 0,
		   "cut -leased_a 2\n"
		   "cut -live_udp2 1\n"
		   "cut -live 1\n"
		   "cut -live 268435457\n"
		   "cut -live 2\n"
		   "lazy -ends2_a 1\n");
}

TEST(a_new_conduit_is_whole_before_live_refers_to_it)
{
	CLEANUP(ruleset_freep) struct ruleset *old = ruleset_new(), *new_ = ruleset_new();

	add_live(new_, 1, LIVE_LEASED);
	add_lease(new_, 1, 100);
	add_end(new_, SET_LIVE_UDP, 1, 7);
	add_end(new_, SET_ENDS, 1, 7);
	add_who(new_, 7, 0x40000001);
	check_plan(old, new_, NULL, 0,
		   "live +ends2_a 1\n"
		   "live +leased_a 1\n"
		   "live +live_udp2 1\n"
		   "live +live 1\n"
		   "classify +who_c2_a 7\n");
}

TEST(a_restarted_service_is_classified_before_its_fast_paths)
{
	CLEANUP(ruleset_freep) struct ruleset *old = ruleset_new(), *new_ = ruleset_new();

	add_live(old, 1, LIVE_ACCEPT);
	add_live(new_, 1, LIVE_ACCEPT);
	add_end(old, SET_ENDS, 1, 7);
	add_end(old, SET_LIVE_UDP, 1, 7);
	add_who(old, 7, 0x40000001);
	add_end(new_, SET_ENDS, 1, 8);
	add_end(new_, SET_LIVE_UDP, 1, 8);
	add_who(new_, 8, 0x40000001);
	check_plan(old, new_, NULL, 0,
		   "classify -who_c2_a 7\n"
		   "classify +who_c2_a 8\n"
		   "lazy -ends2_a 1\n"
		   "lazy +ends2_a 1\n"
		   "lazy -live_udp2 1\n"
		   "lazy +live_udp2 1\n");
}

TEST(rederived_numbers_are_announced_before_they_go)
{
	CLEANUP(ruleset_freep) struct ruleset *old = ruleset_new(), *new_ = ruleset_new();
	const uint32_t rederive[] = {1, 3};

	add_live(old, 1, LIVE_ACCEPT);
	add_live(old, 1 | MARK_UNAVAILABLE, LIVE_ACCEPT);
	add_end(old, SET_LIVE_UDP, 1, 7);
	add_live(old, 2, LIVE_ACCEPT);
	add_live(new_, 4, LIVE_ACCEPT);
	check_plan(old, new_, rederive, ARRAY_LEN(rederive),
		   "cut -live 2\n"
		   "live +live 4\n"
		   "rederive +rederive 1\n"
		   "rederive +rederive 536870913\n"
		   "rederive -live_udp2 1\n"
		   "rederive -live 1\n"
		   "rederive -live 536870913\n");
}

TEST(a_number_that_stays_is_not_rederived)
{
	CLEANUP(ruleset_freep) struct ruleset *old = ruleset_new(), *new_ = ruleset_new();
	const uint32_t rederive[] = {1};

	add_live(old, 1, LIVE_ACCEPT);
	add_live(new_, 1, LIVE_ACCEPT);
	check_plan(old, new_, rederive, 1, "");
}

TEST(a_changed_verdict_is_a_deletion_with_its_addition)
{
	CLEANUP(ruleset_freep) struct ruleset *old = ruleset_new(), *new_ = ruleset_new();

	add_live(old, 1, LIVE_ACCEPT);
	add_live(old, 2, LIVE_ACCEPT);
	add_live(new_, 1, LIVE_WATCHED);
	add_live(new_, 2, LIVE_LEASED);
	add_lease(new_, 2, 100);
	check_plan(old, new_, NULL, 0,
		   "live +leased_a 2\n"
		   "live -live 1\n"
		   "live +live 1\n"
		   "live -live 2\n"
		   "live +live 2\n");
}

TEST(a_lease_goes_after_the_verdict_that_asked_for_it)
{
	CLEANUP(ruleset_freep) struct ruleset *old = ruleset_new(), *new_ = ruleset_new();

	add_live(old, 1, LIVE_LEASED);
	add_lease(old, 1, 100);
	add_live(new_, 1, LIVE_ACCEPT);
	check_plan(old, new_, NULL, 0,
		   "live -live 1\n"
		   "live +live 1\n"
		   "lazy -leased_a 1\n");
}

TEST(a_renewed_lease_leaves_live_alone)
{
	CLEANUP(ruleset_freep) struct ruleset *old = ruleset_new(), *new_ = ruleset_new();

	add_live(old, 1, LIVE_LEASED);
	add_lease(old, 1, 100);
	add_live(new_, 1, LIVE_LEASED);
	add_lease(new_, 1, 200);
	check_plan(old, new_, NULL, 0,
		   "live -leased_a 1\n"
		   "live +leased_a 1\n");
}

TEST(a_lease_that_ends_early_is_cut)
{
	CLEANUP(ruleset_freep) struct ruleset *old = ruleset_new(), *new_ = ruleset_new();

	add_live(old, 1, LIVE_LEASED);
	add_lease(old, 1, 100);
	add_live(new_, 1, LIVE_LEASED);
	check_plan(old, new_, NULL, 0, "cut -leased_a 1\n");
}

static void add_net(struct ruleset *r, uint8_t first, uint8_t last, uint32_t mark)
{
	uint8_t record[2 * SET_KEY_MAX + 8] = {0};
	struct set_items *s = ruleset_set(r, ref_of(SET_IN_ECHO_NET4, SLOT_A, 0));
	struct addr a = {.family = AF_INET, .bytes = {first}};
	struct addr b = {.family = AF_INET, .bytes = {last, 255, 255, 255}};
	struct key key, end;

	key_init(&key);
	key_addr(&key, &a);
	key_u8(&key, 8);
	key_init(&end);
	key_addr(&end, &b);
	key_u8(&end, 8);
	memcpy(record, key.bytes, key.len);
	memcpy(record + key.len, end.bytes, end.len);
	memcpy(record + 2 * key.len, &mark, sizeof(mark));
	CHECK_INT(set_items_add(s, record), 0);
}

TEST(old_intervals_go_before_new_ones_come)
{
	CLEANUP(ruleset_freep) struct ruleset *old = ruleset_new(), *new_ = ruleset_new();

	add_net(old, 10, 19, 1);
	add_net(old, 20, 29, 1);
	add_net(new_, 5, 25, 1);
	add_net(new_, 26, 29, 2);
	check_plan(old, new_, NULL, 0,
		   "classify -in_echo_net4_a 10\n"
		   "classify -in_echo_net4_a 20\n"
		   "classify +in_echo_net4_a 5\n"
		   "classify +in_echo_net4_a 26\n");
}

OOM_TEST(plan_survives_missing_memory)
{
	CLEANUP(ruleset_freep) struct ruleset *old = NULL, *new_ = NULL;
	CLEANUP(plan_freep) struct plan *p = NULL;
	uint8_t record[5] = {1, 0, 0, 0, LIVE_ACCEPT};
	struct set_items *s;
	struct err err;

	old = ruleset_new();
	new_ = ruleset_new();
	if (!old || !new_)
		return -ENOMEM;
	s = ruleset_set(new_, ref_of(SET_LIVE, SLOT_A, 0));
	if (!s || set_items_add(s, record) < 0)
		return -ENOMEM;
	return plan_make(old, new_, NULL, 0, &p, &err);
}
