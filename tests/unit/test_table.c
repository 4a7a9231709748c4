/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/marks.h"
#include "rules/ruleset_text.h"
#include "rules/table.h"

#define TEXT_MAX  (4U << 20)
#define DEPTH_MAX 16 /* NFT_JUMP_STACK_SIZE: gotos count too when the kernel validates */

static struct table_shape shape_of(uint32_t levels, enum queue_kind queue)
{
	return (struct table_shape){.table = "bailiwick",
				    .levels = levels,
				    .queue = (uint8_t)queue,
				    .queue_first = 7100,
				    .nflog_group = 7100,
				    .unclaimed_mark = MARK_UNCLAIMED_MIN,
				    .live_size = 65536};
}

static struct table *table_of(const struct table_shape *shape)
{
	struct table *t = NULL;
	struct err err;

	CHECK_OK(table_build(shape, &t, &err), &err);
	return t;
}

static size_t chain_index(const struct table *t, const char *name)
{
	for (size_t i = 0; i < t->chain_count; i++) {
		if (str_eq(t->chains[i].name, name))
			return i;
	}
	return SIZE_MAX;
}

static bool leads_on(const struct stmt *s)
{
	return s->kind == STMT_GOTO || s->kind == STMT_JUMP;
}

static const struct stmt *stmt_at(const struct table *t, const struct table_chain *c, size_t rule,
				  size_t i)
{
	return &t->stmts[t->rules[c->first + rule].first + i];
}

/* --- structure ------------------------------------------------------------------------------- */

TEST(every_chain_that_is_named_is_there_once)
{
	for (enum queue_kind queue = QUEUE_NONE; queue <= QUEUE_XT; queue++) {
		struct table_shape shape = shape_of(0x15, queue);
		CLEANUP(table_freep) struct table *t = table_of(&shape);

		for (size_t i = 0; i < t->stmt_count; i++) {
			if (leads_on(&t->stmts[i]) && chain_index(t, t->stmts[i].name) == SIZE_MAX)
				test_fail(__FILE__, __LINE__, "there is no chain '%s'",
					  t->stmts[i].name);
		}
		for (size_t i = 0; i < t->chain_count; i++)
			CHECK_UINT(chain_index(t, t->chains[i].name), i);
	}
}

TEST(every_verdict_of_live_has_its_chain)
{
	struct table_shape shape = shape_of(0x2, QUEUE_NONE);
	CLEANUP(table_freep) struct table *t = table_of(&shape);
	char name[CHAIN_NAME_MAX];

	for (uint8_t a = LIVE_NONE; a <= LIVE_ASK; a++) {
		for (uint8_t b = LIVE_NONE; b <= LIVE_ASK; b++) {
			const char *chain = live_chain(name, live_pair(a, b));

			if (a == b && a <= LIVE_ACCEPT)
				continue;
			CHECK(chain != NULL);
			CHECK(chain_index(t, chain) != SIZE_MAX);
		}
	}
	CHECK(chain_index(t, live_chain(name, LIVE_REFUSED_REPLY)) != SIZE_MAX);
}

/* Depth-first over gotos and jumps; verdicts of `live` lead to all chains that elements may name.
 */
static size_t depth_from(const struct table *t, size_t chain, size_t depth, bool *looks_up_live)
{
	const struct table_chain *c = &t->chains[chain];
	size_t deepest = depth;

	CHECK(depth <= DEPTH_MAX);
	for (size_t k = 0; k < c->count; k++) {
		for (size_t i = 0; i < t->rules[c->first + k].count; i++) {
			const struct stmt *s = stmt_at(t, c, k, i);
			size_t below;

			if (s->kind == STMT_VMAP && looks_up_live != NULL)
				*looks_up_live = true;
			if (!leads_on(s))
				continue;
			below = depth_from(t, chain_index(t, s->name), depth + 1, looks_up_live);
			deepest = below > deepest ? below : deepest;
		}
	}
	return deepest;
}

TEST(what_live_leads_to_never_looks_live_up_again)
{
	struct table_shape shape = shape_of(0x1f, QUEUE_XT);
	CLEANUP(table_freep) struct table *t = table_of(&shape);
	char name[CHAIN_NAME_MAX];

	for (unsigned int v = LIVE_LEASED; v < LIVE_PAIR_BASE + 48U; v++) {
		const char *chain = live_chain(name, (uint8_t)v);
		bool again = false;

		if (chain == NULL || chain_index(t, chain) == SIZE_MAX)
			continue;
		(void)depth_from(t, chain_index(t, chain), 1, &again);
		CHECK(!again);
	}
}

TEST(no_path_is_deeper_than_the_kernel_allows)
{
	struct table_shape shape = shape_of(0x1f, QUEUE_XT);
	CLEANUP(table_freep) struct table *t = NULL;
	size_t verdicts, base;
	bool ignored = false;

	shape.trial = true;
	shape.unclaimed = UNCLAIMED_DENY;
	t = table_of(&shape);
	base = depth_from(t, chain_index(t, TABLE_CHAIN_IN), 0, &ignored);
	verdicts = depth_from(t, chain_index(t, "leased_watched"), 2, NULL);
	CHECK(base <= DEPTH_MAX);
	CHECK(verdicts <= DEPTH_MAX);
}

static bool ends_for_good(const struct stmt *s)
{
	return s->kind == STMT_GOTO || s->kind == STMT_DROP || s->kind == STMT_REJECT_ADMIN;
}

TEST(base_chains_end_in_a_denial_of_their_own)
{
	struct table_shape shape = shape_of(0x2, QUEUE_NONE);
	CLEANUP(table_freep) struct table *t = table_of(&shape);
	static const char *const names[] = {TABLE_CHAIN_IN, TABLE_CHAIN_OUT};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const struct table_chain *c = &t->chains[chain_index(t, names[i])];
		const struct table_rule *last = &t->rules[c->first + c->count - 1];

		CHECK_UINT(last->count, 1);
		CHECK_STR(t->stmts[last->first].name, "unjudged");
	}
	for (size_t i = 0; i < t->chain_count; i++) {
		const struct table_chain *c = &t->chains[i];
		const struct table_rule *last;

		if (!str_starts(c->name, "deny_") && !str_starts(c->name, "would_") &&
		    !str_eq(c->name, "unjudged") && !str_eq(c->name, "denied"))
			continue;
		last = &t->rules[c->first + c->count - 1];
		CHECK(ends_for_good(&t->stmts[last->first + last->count - 1]) ||
		      str_starts(c->name, "would_"));
	}
}

TEST(rules_repeat_per_level_and_not_otherwise)
{
	struct table_shape one = shape_of(0x1, QUEUE_XT), two = shape_of(0x3, QUEUE_XT);
	struct table_shape three = shape_of(0x7, QUEUE_XT);
	CLEANUP(table_freep) struct table *a = table_of(&one), *b = table_of(&two);
	CLEANUP(table_freep) struct table *c = table_of(&three);

	CHECK_UINT(c->rule_count - b->rule_count, b->rule_count - a->rule_count);
	CHECK_UINT(a->chain_count, c->chain_count);
}

/* The deepest match must come last, because it overwrites (R24). */
TEST(levels_are_looked_up_from_the_root_down)
{
	struct table_shape shape = shape_of(0x15, QUEUE_NONE);
	CLEANUP(table_freep) struct table *t = table_of(&shape);
	const struct table_chain *c = &t->chains[chain_index(t, "whose_in_a")];
	uint8_t last = 0;

	for (size_t k = 0; k < c->count; k++) {
		const struct stmt *s = stmt_at(t, c, k, 0);

		if (s->kind != STMT_SET_CT_MARK_MAP)
			continue;
		CHECK(s->level > last);
		last = s->level;
	}
	CHECK_UINT(last, 5);
}

/* th dport is the checksum in ICMP (R6): every key with a port stands behind a test of protocol. */
TEST(ports_are_looked_up_for_tcp_and_udp_only)
{
	struct table_shape shape = shape_of(0x2, QUEUE_NONE);
	CLEANUP(table_freep) struct table *t = table_of(&shape);

	for (size_t i = 0; i < t->chain_count; i++) {
		const struct table_chain *c = &t->chains[i];
		bool tested = false;

		for (size_t k = 0; k < c->count; k++) {
			for (size_t s = 0; s < t->rules[c->first + k].count; s++) {
				const struct stmt *m = stmt_at(t, c, k, s);
				bool ports = false;

				tested = tested || m->const_set == TABLE_SET_PORTED ||
					 (m->kind == STMT_L4PROTO && !m->invert);
				for (uint8_t f = 0; f < m->load_count; f++)
					ports = ports || m->loads[f] == LOAD_DPORT ||
						m->loads[f] == LOAD_SPORT;
				if (ports && m->kind == STMT_SET_CT_MARK_MAP && !tested)
					test_fail(__FILE__, __LINE__,
						  "chain %s looks up a port untested", c->name);
			}
		}
	}
}

TEST(the_packet_mark_is_written_only_for_the_queue)
{
	struct table_shape shape = shape_of(0x2, QUEUE_XT);
	CLEANUP(table_freep) struct table *t = table_of(&shape);

	for (size_t i = 0; i < t->chain_count; i++) {
		const struct table_chain *c = &t->chains[i];

		for (size_t k = 0; k < c->count; k++) {
			if (stmt_at(t, c, k, 0)->kind == STMT_SET_META_MARK)
				CHECK(str_ends(c->name, "queue") ||
				      str_ends(c->name, "queue_udp") ||
				      str_eq(c->name, "answered"));
		}
	}
}

TEST(a_shape_without_a_mark_for_unclaimed_flows_is_refused)
{
	struct table_shape shape = shape_of(0x2, QUEUE_NONE);
	struct table *t = NULL;
	struct err err;

	shape.unclaimed_mark = 7;
	CHECK_INT(table_build(&shape, &t, &err), -EINVAL);
	CHECK(t == NULL);
}

/* --- logs ------------------------------------------------------------------------------------ */

TEST(log_prefixes_are_read_back)
{
	struct table_shape shape = shape_of(0x2, QUEUE_NONE);
	CLEANUP(table_freep) struct table *t = table_of(&shape);
	enum table_log_decision decision;
	enum table_log_why why;
	size_t logs = 0;

	for (size_t i = 0; i < t->stmt_count; i++) {
		if (t->stmts[i].kind != STMT_LOG)
			continue;
		CHECK_INT(table_log_parse(t->stmts[i].name, &decision, &why), 0);
		logs++;
	}
	CHECK(logs > 0);
	CHECK_INT(table_log_parse("bw:deny:resync", &decision, &why), 0);
	CHECK_INT(decision, TABLE_LOG_DENY);
	CHECK_INT(why, TABLE_LOG_RESYNC);
	CHECK_INT(table_log_parse("bw:deny:", &decision, &why), -EINVAL);
	CHECK_INT(table_log_parse("", &decision, &why), -EINVAL);
	CHECK_INT(table_log_parse("bw:deny:rules", &decision, &why), -EINVAL);
}

/* --- text ------------------------------------------------------------------------------------ */

static void compare_golden(const struct table *t, const char *path)
{
	CLEANUP(freep) char *want = NULL;
	CLEANUP(buf_done) struct buf b;
	struct err err;
	size_t len;

	buf_init(&b, TEXT_MAX);
	table_text(t, &b);
	CHECK_INT(b.r, 0);
	if (getenv("GOLDEN_UPDATE") != NULL)
		CHECK_OK(file_write_durable(AT_FDCWD, path, b.data, b.len, 0644, &err), &err);
	CHECK_OK(file_read(AT_FDCWD, path, TEXT_MAX, &want, &len, &err), &err);
	CHECK_STR(b.data, want);
}

TEST(selective_table_is_as_recorded)
{
	struct table_shape shape = shape_of(0x8, QUEUE_NATIVE);
	CLEANUP(table_freep) struct table *t = table_of(&shape);

	compare_golden(t, "tests/golden/table/selective.nft");
}

TEST(enforced_trial_table_is_as_recorded)
{
	struct table_shape shape = shape_of(0x6, QUEUE_XT);
	CLEANUP(table_freep) struct table *t = NULL;

	shape.unclaimed = UNCLAIMED_DENY;
	shape.trial = true;
	t = table_of(&shape);
	compare_golden(t, "tests/golden/table/enforce-trial.nft");
}

static void check_key_text(enum set_kind kind, const uint8_t *record, const char *want)
{
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, TEXT_MAX);
	record_key_text(kind, record, NULL, &b);
	CHECK_STR(b.data, want);
}

TEST(keys_are_written_as_nft_takes_them)
{
	struct addr v4, v6;
	struct key k;
	uint8_t range[2 * SET_KEY_MAX];

	CHECK_INT(addr_parse("10.0.0.9", &v4), 0);
	CHECK_INT(addr_parse("fd00::9", &v6), 0);
	key_init(&k);
	key_u32(&k, 0x40000001);
	key_addr(&k, &v4);
	key_u8(&k, IPPROTO_TCP);
	key_port(&k, 8443);
	check_key_text(SET_OUT4, k.bytes, "0x40000001 . 10.0.0.9 . tcp . 8443");
	memcpy(range, k.bytes, k.len);
	memcpy(range + k.len, k.bytes, k.len);
	check_key_text(SET_OUT_NET4, range, "0x40000001 . 10.0.0.9 . tcp . 8443");
	range[k.len + 7] = 255;
	check_key_text(SET_OUT_NET4, range, "0x40000001 . 10.0.0.9-10.0.0.255 . tcp . 8443");
	key_init(&k);
	key_addr(&k, &v6);
	key_u8(&k, 128);
	check_key_text(SET_IN_ECHO6, k.bytes, "fd00::9 . 128");
	key_init(&k);
	key_cgroup(&k, 4711);
	key_u32(&k, 1001);
	check_key_text(SET_WHO_CGROUP_UID, k.bytes, "4711 . 1001");
}

static const char *known_path(void *user, uint64_t id)
{
	(void)user;
	return id == 4711 ? "system.slice/api.service" : NULL;
}

TEST(cgroups_are_paths_where_they_are_known)
{
	CLEANUP(ruleset_freep) struct ruleset *r = ruleset_new();
	struct ruleset_names names = {.cgroup_path = known_path, .now_s = 1000};
	struct set_items *who, *leased;
	uint32_t mark = 0x40000001;
	int64_t end = 1090;
	struct key k;
	uint8_t record[16];
	CLEANUP(buf_done) struct buf b;
	struct err err;

	r->shape = shape_of(0x2, QUEUE_NONE);
	who = ruleset_set(r, (struct set_ref){.kind = SET_WHO_CGROUP, .level = 2});
	CHECK(who != NULL);
	key_init(&k);
	key_cgroup(&k, 4711);
	memcpy(record, k.bytes, k.len);
	memcpy(record + k.len, &mark, sizeof(mark));
	CHECK_INT(set_items_add(who, record), 0);
	leased = ruleset_set(r, (struct set_ref){.kind = SET_LEASED});
	CHECK(leased != NULL);
	memcpy(record, &mark, sizeof(mark));
	memcpy(record + sizeof(mark), &end, sizeof(end));
	CHECK_INT(set_items_add(leased, record), 0);
	CHECK_OK(ruleset_sort(r, &err), &err);
	buf_init(&b, TEXT_MAX);
	CHECK_OK(ruleset_text(r, &names, &b, &err), &err);
	CHECK_CONTAINS(b.data, "\t\"system.slice/api.service\" : 0x40000001,\n");
	CHECK_CONTAINS(b.data, "\t0x40000001 timeout 90s,\n");
}

/* --- memory ---------------------------------------------------------------------------------- */

OOM_TEST(building_a_table_without_memory)
{
	struct table_shape shape = shape_of(0x6, QUEUE_XT);
	CLEANUP(table_freep) struct table *t = NULL;

	return table_build(&shape, &t, NULL);
}
