/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Views as a pure thing: no store, no heads; and the picture in memory when memory is short. */
#include "controller/views.h"

#include "base/mem.h"
#include "base/text.h"
#include "controller-client/view_decode.h"
#include "controller/core.h"
#include "tests/unit/core_fixture.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct addr address_of(const char *text)
{
	struct addr a;

	CHECK_INT(addr_parse(text, &a), 0);
	return a;
}

static void put(struct views *v, const char *path, const char *node, const char *address)
{
	struct addr a = address_of(address);

	CHECK_INT(views_place(v, path, node, PLACE_API, &a, 1), 0);
}

static char *text_of(struct views *v, const char *node)
{
	struct buf b;

	buf_init(&b, 1 << 20);
	views_write_front(&b, node, 1);
	CHECK_INT(views_write(v, views_node(v, node), &b), 0);
	return buf_take(&b);
}

static size_t touched(struct views *v)
{
	size_t count;

	(void)views_touched(v, &count);
	views_untouch(v);
	return count;
}

TEST(the_order_of_placements_does_not_show_in_the_bytes)
{
	static const char *const placed[][3] = {{"prod/web", "n1", "10.0.0.1"},
						{"prod/web", "n3", "10.0.0.3"},
						{"prod/api", "n2", "10.0.0.2"},
						{"ops/log", "n5", "10.0.0.5"},
						{"prod/api", "n6", "10.0.0.6"}};
	CLEANUP(policy_freep) struct policy *p = policy_sound(core_policy);
	CLEANUP(freep) char *first = NULL;

	for (size_t start = 0; start < ARRAY_LEN(placed); start++) {
		CLEANUP(views_freep) struct views *v = views_new();
		CLEANUP(freep) char *text = NULL;

		/* The policy before some of them, after the others. */
		for (size_t i = 0; i < ARRAY_LEN(placed); i++) {
			const char *const *one = placed[(start + i) % ARRAY_LEN(placed)];

			if (i == 2)
				CHECK_INT(views_set_policy(v, p), 0);
			put(v, one[0], one[1], one[2]);
		}
		text = text_of(v, "n1");
		if (first)
			CHECK_STR(text, first);
		else
			first = TAKE_PTR(text);
	}
}

TEST(without_a_policy_nothing_is_in_force)
{
	CLEANUP(policy_freep) struct policy *p = policy_sound(core_policy);
	CLEANUP(views_freep) struct views *v = views_new();
	CLEANUP(freep) char *text = NULL;

	put(v, "prod/web", "n1", "10.0.0.1");
	put(v, "prod/api", "n2", "10.0.0.2");
	CHECK_UINT(touched(v), 0);
	text = text_of(v, "n1");
	CHECK_CONTAINS(text, "\"placed\":[]");
	CHECK_INT(views_set_policy(v, p), 0);
	CHECK_INT(views_set_policy(v, NULL), 0);
	free(TAKE_PTR(text));
	text = text_of(v, "n1");
	CHECK_CONTAINS(text, "\"placed\":[]");
}

TEST(a_rule_among_equals_makes_them_peers_of_each_other)
{
	CLEANUP(policy_freep)
	struct policy *p = policy_sound(
		"trust_domain: acme.example\ndefaults: {assurance: mapped}\nidentities:\n"
		"  - {name: db, path: prod/db, workload: [{unit: d.service}], serves: [tcp/1]}\n"
		"rules:\n  - {name: replicate, from: [db], to: [db], services: [tcp/1],"
		" purpose: p, owner: o}\n"
		"nodes:\n  - {pattern: \"*\"}\n");
	CLEANUP(views_freep) struct views *v = views_new();
	CLEANUP(view_freep) struct view *view = NULL;
	CLEANUP(freep) char *text = NULL;

	CHECK_INT(views_set_policy(v, p), 0);
	put(v, "prod/db", "a", "10.0.0.1");
	put(v, "prod/db", "b", "10.0.0.2");
	put(v, "prod/db", "c", "10.0.0.3");
	CHECK_UINT(touched(v), 3);
	text = text_of(v, "b");
	CHECK_INT(view_decode(text, strlen(text), "b", 0, &view, NULL), 0);
	CHECK_UINT(view->placed_count, 1);
	CHECK_UINT(view->peer_count, 2);
	CHECK_STR(view->peers[0].node, "a");
	CHECK_STR(view->peers[1].node, "c");
}

TEST(only_what_changes_is_touched)
{
	CLEANUP(policy_freep) struct policy *p = policy_sound(core_policy);
	CLEANUP(views_freep) struct views *v = views_new();
	const struct views_attest none = {0};
	struct addr a = address_of("10.0.0.5");

	CHECK_INT(views_set_policy(v, p), 0);
	put(v, "prod/web", "n1", "10.0.0.1");
	put(v, "prod/api", "n2", "10.0.0.2");
	put(v, "ops/lone", "m1", "10.1.0.1");
	views_untouch(v);
	put(v, "ops/lone", "m2", "10.1.0.2");
	/* That lone is on m1, too, is no reason to tell m1. */
	CHECK_UINT(touched(v), 1);
	/* Nobody is on n5: its addresses are nobody's business. */
	CHECK_INT(views_report(v, views_node(v, "n5"), &a, 1, &none, 0), 0);
	CHECK_UINT(touched(v), 0);
	CHECK_INT(views_report(v, views_node(v, "n5"), &a, 1, &none, 1), 0);
	CHECK_UINT(touched(v), 0);
	/* An address of n2 more: web has it in its view. */
	CHECK_INT(views_report(v, views_node(v, "n2"),
			       &(struct addr){.family = a.family, .bytes = {10, 0, 0, 22}}, 1,
			       &none, 1),
		  0);
	CHECK(touched(v) >= 1);
	CHECK_INT(views_unplace(v, "prod/web", "nowhere", PLACE_API), 0);
	CHECK_INT(views_unplace(v, "prod/web", "n1", PLACE_FILE), 0);
	CHECK_UINT(touched(v), 0);
}

TEST(names_that_would_break_a_view_never_get_into_it)
{
	CLEANUP(views_freep) struct views *v = views_new();

	CHECK_UINT(views_node(v, "a\"b"), VIEWS_NONE);
	CHECK_UINT(views_node(v, ""), VIEWS_NONE);
	CHECK_UINT(views_node(v, "a b"), VIEWS_NONE);
	CHECK(views_node(v, "a.b_c-1") != VIEWS_NONE);
}

static int cycle(struct policy *p)
{
	struct views *v = views_new();
	struct addr a = {.family = 2, .bytes = {10, 0, 0, 1}};
	const struct views_attest none = {0};
	struct buf b;
	int r = v ? 0 : -ENOMEM;

	buf_init(&b, 1 << 20);
	if (r == 0)
		r = views_place(v, "prod/web", "n1", PLACE_API, &a, 1);
	if (r == 0)
		r = views_set_policy(v, p);
	if (r == 0)
		r = views_place(v, "prod/api", "n2", PLACE_REPORT, NULL, 0);
	a.bytes[3] = 2;
	if (r == 0)
		r = views_report(v, views_find_node(v, "n2"), &a, 1, &none, 1);
	if (r == 0)
		r = views_write(v, views_find_node(v, "n1"), &b);
	if (r == 0)
		r = views_unplace(v, "prod/api", "n2", PLACE_REPORT);
	buf_done(&b);
	views_free(v);
	return r;
}

OOM_TEST(views_out_of_memory)
{
	static struct policy *p;

	/* Read once, outside of what is tried. */
	if (!p) {
		mem_fail_after(0);
		p = policy_sound(core_policy);
		mem_fail_after(1);
	}
	return cycle(p);
}

/* Memory runs out at any point of an order: store and picture say the same afterwards. */
TEST(short_memory_leaves_store_and_picture_in_step)
{
	struct core_fixture f;
	char address[32], sql[160];
	bool failed = true;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/api", "n2", "10.0.0.2"), &f.err);
	for (size_t n = 1; failed; n++) {
		CLEANUP(view_freep) struct view *v = NULL;
		int64_t stored;
		const char *const list[] = {address};
		json_t *answer = NULL;

		(void)snprintf(address, sizeof(address), "10.0.0.%zu", n % 200 + 10);
		mem_fail_after(n);
		(void)core_place(f.core, "prod/web", "n1", list, 1, false, "test", &answer, NULL);
		failed = mem_has_failed();
		mem_fail_after(0);
		json_decref(answer);
		(void)snprintf(sql, sizeof(sql),
			       "SELECT count(*) FROM placements WHERE addresses = '%s'", address);
		stored = core_sql(&f, sql);
		v = core_view_of(&f, "n2");
		if (stored == 0) {
			CHECK(v->peer_count == 0 ||
			      v->peers[0].addresses[0].bytes[3] != n % 200 + 10);
		} else {
			CHECK_UINT(v->peer_count, 1);
			CHECK_UINT(v->peers[0].addresses[0].bytes[3], n % 200 + 10);
		}
	}
	core_teardown(&f);
}
