/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Views and heads of the controller: who is told what, when, and with which number. */
#include "controller/core.h"

#include "base/mem.h"
#include "base/text.h"
#include "tests/unit/core_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR_MS (3600 * 1000LL)

static void place_all(struct core_fixture *f)
{
	CHECK_OK(core_put(f, "prod/web", "n1", "10.0.0.1"), &f->err);
	CHECK_OK(core_put(f, "prod/api", "n2", "10.0.0.2 fd00::2"), &f->err);
	CHECK_OK(core_put(f, "prod/db", "n4", NULL), &f->err);
	CHECK_OK(core_put(f, "ops/log", "n5", "10.0.0.5"), &f->err);
	CHECK_OK(core_put(f, "ops/lone", "m1", "10.1.0.1"), &f->err);
}

TEST(no_head_before_a_policy)
{
	struct core_fixture f;
	const char *text;
	uint64_t sequence;
	size_t len;

	core_setup(&f);
	CHECK_INT(core_head(f.core, "n1", &text, &len, &sequence, &f.err), -ENOENT);
	CHECK_UINT(core_head_sequence(f.core, "n1"), 0);
	CHECK_INT(core_put(&f, "prod/web", "n1", NULL), -ENOENT);
	CHECK_CONTAINS(f.err.text, "no policy is published yet");
	core_teardown(&f);
}

TEST(a_view_names_those_whom_rules_put_opposite)
{
	struct core_fixture f;

	core_setup_published(&f);
	place_all(&f);
	CHECK_STR(core_view_text(&f, "n1"), "web | log@n5 api@n2");
	CHECK_STR(core_view_text(&f, "n2"), "api | log@n5 db@n4 web@n1");
	CHECK_STR(core_view_text(&f, "n4"), "db | log@n5 api@n2");
	CHECK_STR(core_view_text(&f, "n5"), "log | api@n2 db@n4 web@n1");
	CHECK_STR(core_view_text(&f, "m1"), "lone |");
	/* Nobody is placed there: it learns of nobody. */
	CHECK_STR(core_view_text(&f, "n9"), "|");
	core_teardown(&f);
}

TEST(who_is_on_the_same_node_is_placed_and_no_peer)
{
	struct core_fixture f;

	core_setup_published(&f);
	place_all(&f);
	CHECK_OK(core_put(&f, "prod/api", "n1", NULL), &f.err);
	CHECK_STR(core_view_text(&f, "n1"), "api web | log@n5 api@n2 db@n4");
	core_teardown(&f);
}

TEST(a_view_has_addresses_of_placements_and_nodes)
{
	CLEANUP(view_freep) struct view *v = NULL;
	const struct view_node *n;
	struct core_fixture f;

	core_setup_published(&f);
	place_all(&f);
	v = core_view_of(&f, "n2");
	CHECK_UINT(v->placed[0].address_count, 2);
	/* Of n4 policy knows one address; the placement names none. */
	CHECK_STR(v->peers[1].identity, "prod/db");
	CHECK_UINT(v->peers[1].address_count, 1);
	CHECK_UINT(v->peers[1].addresses[0].bytes[3], 4);
	CHECK(!v->peers[1].has_services);
	n = view_find_node(v, "n5");
	CHECK(n && n->address_count == 1 && !n->has_attest);
	core_teardown(&f);
}

TEST(a_peer_without_any_address_is_not_there_yet)
{
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/web", "n1", "10.0.0.1"), &f.err);
	CHECK_OK(core_put(&f, "prod/api", "n2", NULL), &f.err);
	CHECK_STR(core_view_text(&f, "n1"), "web |");
	core_forget_woken(&f);
	CHECK_OK(core_report_of(&f, "n2", "\"addresses\":[\"10.0.0.2\"]"), &f.err);
	CHECK(core_woke(&f, "n1"));
	CHECK_STR(core_view_text(&f, "n1"), "web | api@n2");
	core_teardown(&f);
}

TEST(the_attestation_port_comes_from_the_report)
{
	CLEANUP(view_freep) struct view *v = NULL;
	struct core_fixture f;

	core_setup_published(&f);
	place_all(&f);
	core_forget_woken(&f);
	CHECK_OK(core_report_of(&f, "n2",
				"\"attest\":{\"address\":\"10.0.0.2\",\"port\":7113},"
				"\"addresses\":[\"10.0.0.2\"]"),
		 &f.err);
	CHECK(core_woke(&f, "n1") && core_woke(&f, "n4") && !core_woke(&f, "m1"));
	v = core_view_of(&f, "n1");
	CHECK(view_find_node(v, "n2")->has_attest);
	CHECK_UINT(view_find_node(v, "n2")->attest_port, 7113);
	core_teardown(&f);
}

TEST(a_placement_wakes_only_those_it_concerns)
{
	struct core_fixture f;
	uint64_t before[5];
	static const char *const nodes[] = {"n1", "n2", "n4", "n5", "m1"};

	core_setup_published(&f);
	place_all(&f);
	for (size_t i = 0; i < ARRAY_LEN(nodes); i++)
		before[i] = core_sequence_of(&f, nodes[i]);
	core_forget_woken(&f);
	/* web moves: api and log have it in their views, db and lone do not. */
	CHECK_OK(core_put(&f, "prod/web", "n3", "10.0.0.3"), &f.err);
	CHECK_UINT(f.woken_count, 3);
	CHECK(core_woke(&f, "n2") && core_woke(&f, "n3") && core_woke(&f, "n5"));
	CHECK_UINT(core_head_sequence(f.core, "n1"), before[0]);
	CHECK(core_head_sequence(f.core, "n2") > before[1]);
	CHECK_UINT(core_head_sequence(f.core, "n4"), before[2]);
	CHECK(core_head_sequence(f.core, "n5") > before[3]);
	CHECK_UINT(core_head_sequence(f.core, "m1"), before[4]);
	CHECK_INT(json_integer_value(json_object_get(f.answer, "heads_changed")), 3);
	core_teardown(&f);
}

TEST(the_same_placement_again_changes_no_head)
{
	struct core_fixture f;
	uint64_t before;

	core_setup_published(&f);
	place_all(&f);
	before = core_sequence_of(&f, "n1");
	core_clock_add(5000);
	core_forget_woken(&f);
	CHECK_OK(core_put(&f, "prod/web", "n1", "10.0.0.1"), &f.err);
	CHECK_OK(core_put(&f, "prod/api", "n2", "fd00::2 10.0.0.2"), &f.err);
	CHECK_UINT(f.woken_count, 0);
	CHECK_UINT(core_sequence_of(&f, "n1"), before);
	core_teardown(&f);
}

TEST(a_view_keeps_its_number_while_only_the_head_changes)
{
	struct core_fixture f;
	struct head a, b, c;

	core_setup_published(&f);
	place_all(&f);
	core_head_of(&f, "n1", &a);
	core_clock_add(1000);
	json_decref(f.answer);
	f.answer = NULL;
	CHECK_OK(core_quarantine(f.core, "web", NULL, "test", "op", &f.answer, &f.err), &f.err);
	core_head_of(&f, "n1", &b);
	CHECK(b.sequence > a.sequence);
	CHECK_UINT(b.view_sequence, a.view_sequence);
	CHECK_STR(b.view_sha256, a.view_sha256);
	core_clock_add(1000);
	CHECK_OK(core_put(&f, "prod/api", "n3", "10.0.0.3"), &f.err);
	core_head_of(&f, "n1", &c);
	CHECK(c.view_sequence > b.view_sequence);
	CHECK_UINT(c.view_sequence, c.sequence);
	head_done(&a);
	head_done(&b);
	head_done(&c);
	core_teardown(&f);
}

TEST(a_few_are_told_without_splay)
{
	struct core_fixture f;
	struct head h;

	core_setup_published(&f);
	place_all(&f);
	core_head_of(&f, "n1", &h);
	CHECK(h.urgent);
	head_done(&h);
	/* Signed again at half of its life, nothing has changed: no hurry. */
	core_clock_add(16 * HOUR_MS);
	core_head_of(&f, "n1", &h);
	CHECK(!h.urgent);
	head_done(&h);
	core_teardown(&f);
}

TEST(the_first_head_of_a_node_comes_without_splay)
{
	struct core_fixture f;
	struct head h;

	core_setup_published(&f);
	CHECK_OK(core_report_of(&f, "n1", ""), &f.err);
	core_head_of(&f, "n1", &h);
	CHECK(h.urgent);
	head_done(&h);
	core_reopen(&f, false);
	core_clock_add(16 * HOUR_MS);
	core_head_of(&f, "n1", &h);
	CHECK(!h.urgent);
	head_done(&h);
	core_teardown(&f);
}

TEST(a_placement_beyond_the_limit_stops_nothing)
{
	struct core_fixture f;
	char name[32];

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/api", "n2", "10.0.0.2"), &f.err);
	for (unsigned i = 0; i < VIEWS_PLACES_MAX; i++) {
		(void)snprintf(name, sizeof(name), "x%u", i);
		CHECK_INT(views_place(f.core->views, "prod/web", name, PLACE_REPORT, NULL, 0), 0);
	}
	CHECK_OK(core_report_of(&f, "n1", "\"workloads\":[{\"identity\":\"prod/web\"}]"), &f.err);
	CHECK(!f.core->lost);
	CHECK_STR(core_view_text(&f, "n1"), "|");
	CHECK_OK(core_put(&f, "ops/log", "n1", "10.0.0.1"), &f.err);
	CHECK_STR(core_view_text(&f, "n1"), "log | api@n2");
	core_teardown(&f);
}

TEST(a_head_is_signed_again_at_half_of_its_life_when_asked_for)
{
	struct core_fixture f;
	struct head a, b;

	core_setup_published(&f);
	place_all(&f);
	core_head_of(&f, "n1", &a);
	core_clock_add(11 * HOUR_MS);
	CHECK_UINT(core_head_sequence(f.core, "n1"), a.sequence);
	core_clock_add(5 * HOUR_MS);
	CHECK(core_head_sequence(f.core, "n1") > a.sequence);
	core_head_of(&f, "n1", &b);
	CHECK(b.sequence > a.sequence && b.expires.s > a.expires.s);
	CHECK_INT(b.expires.s - b.issued.s, 86400);
	CHECK_STR(b.view_sha256, a.view_sha256);
	head_done(&a);
	head_done(&b);
	core_teardown(&f);
}

TEST(a_placement_outside_the_bounds_names_the_bound)
{
	static const struct {
		const char *identity, *node, *address, *says;
		int r;
	} cases[] = {
		{"prod/web", "m1", NULL, "bounds 'prod/web' to nodes n*; 'm1' is none of these",
		 -EACCES},
		{"ops/log", "x1", NULL, "no entry of 'nodes' in signed policy matches node 'x1'",
		 -EACCES},
		{"prod/db", "n1", NULL, "nodes with the label disk=ssd, which 'n1' has not",
		 -EACCES},
		{"prod/web", "n1", "10.1.0.1",
		 "10.1.0.1 is outside the addresses that signed policy gives node 'n1'", -EACCES},
		{"prod/web", "n1", "10.0.0.1 10.0.1.1", "10.0.1.1 is outside", -EACCES},
		{"prod/wob", "n1", NULL, "did you mean 'prod/web'?", -ENOENT},
		{"prod/web", "n1", "127.0.0.1", "not the address of a host", -EINVAL},
		{"prod/web", "n1", "224.0.0.1", "not the address of a host", -EINVAL},
		{"prod/web", "n1", "0.0.0.0", "not the address of a host", -EINVAL},
		{"prod/web", "n1", "10.0.0", "not an address", -EINVAL},
		{"prod/web", "n 1", NULL, "no node name", -EINVAL},
		{"prod/web", "../../etc/passwd", NULL, "no node name", -EINVAL},
		{"", "n1", NULL, "identity is missing", -EINVAL},
	};
	struct core_fixture f;

	core_setup_published(&f);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CHECK_INT(core_put(&f, cases[i].identity, cases[i].node, cases[i].address),
			  cases[i].r);
		CHECK_CONTAINS(f.err.text, cases[i].says);
	}
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM placements"), 0);
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM audit WHERE verb = 'place'"), 0);
	core_teardown(&f);
}

TEST(a_placement_is_taken_back_by_whom_it_was_made)
{
	struct core_fixture f;

	core_setup_published(&f);
	place_all(&f);
	CHECK_INT(core_take(&f, "prod/web", "n2"), -ENOENT);
	CHECK_OK(core_take(&f, "prod/web", "n1"), &f.err);
	CHECK_STR(core_view_text(&f, "n2"), "api | log@n5 db@n4");
	CHECK_STR(core_view_text(&f, "n1"), "|");
	CHECK_INT(core_take(&f, "prod/web", "n1"), -ENOENT);
	core_teardown(&f);
}

TEST(another_policy_leaves_out_what_it_does_not_let_be)
{
	CLEANUP(freep) char *narrower = NULL;
	const char *at = strstr(core_policy, "10.0.0.0/24");
	struct core_fixture f;
	json_t *outside;

	core_setup_published(&f);
	place_all(&f);
	narrower = mem_strdup(core_policy);
	memcpy(narrower + (at - core_policy), "10.0.0.2/32", strlen("10.0.0.2/32"));
	CHECK_OK(core_publish_next(&f, 2, narrower), &f.err);
	outside = json_object_get(f.answer, "outside");
	CHECK_UINT(json_array_size(outside), 2);
	CHECK_STR(core_view_text(&f, "n2"), "api | db@n4");
	CHECK_STR(core_view_text(&f, "n1"), "|");
	/* They come back with a policy that lets them. */
	CHECK_OK(core_publish_next(&f, 3, core_policy), &f.err);
	CHECK_STR(core_view_text(&f, "n2"), "api | log@n5 db@n4 web@n1");
	core_teardown(&f);
}

/* --- numbers --------------------------------------------------------------------------------- */

TEST(a_clean_restart_makes_no_new_head)
{
	struct core_fixture f;
	struct head a, b;

	core_setup_published(&f);
	place_all(&f);
	core_head_of(&f, "n1", &a);
	core_clock_add(60000);
	core_reopen(&f, false);
	CHECK_UINT(core_head_sequence(f.core, "n1"), a.sequence);
	core_head_of(&f, "n1", &b);
	CHECK_UINT(b.sequence, a.sequence);
	CHECK_STR(core_view_text(&f, "n1"), "web | log@n5 api@n2");
	head_done(&a);
	head_done(&b);
	core_teardown(&f);
}

TEST(a_change_that_nobody_fetched_is_not_lost_by_a_restart)
{
	struct core_fixture f;
	uint64_t before;

	core_setup_published(&f);
	place_all(&f);
	before = core_sequence_of(&f, "n1");
	core_clock_add(1000);
	CHECK_OK(core_put(&f, "prod/api", "n3", "10.0.0.3"), &f.err);
	core_reopen(&f, false);
	CHECK(core_head_sequence(f.core, "n1") > before);
	CHECK_STR(core_view_text(&f, "n1"), "web | log@n5 api@n2 api@n3");
	core_teardown(&f);
}

/* A head that was handed out and never saved: its number must not come again. */
TEST(fast_forward_after_a_kill_no_number_is_used_twice)
{
	struct core_fixture f;
	struct head a, b;

	core_setup_published(&f);
	place_all(&f);
	core_clock_add(1000);
	core_head_of(&f, "n1", &a);
	core_clock_add(1);
	core_reopen(&f, true);
	CHECK(core_head_sequence(f.core, "n1") > a.sequence);
	core_head_of(&f, "n1", &b);
	CHECK(b.sequence > a.sequence && b.view_sequence > a.view_sequence);
	head_done(&a);
	head_done(&b);
	core_teardown(&f);
}

/* There and back again between two savings: what the node got in between must not count more. */
TEST(mix_and_match_after_a_kill_a_view_gets_a_new_number_even_if_it_is_as_it_was)
{
	struct core_fixture f;
	struct head there, back;

	core_setup_published(&f);
	place_all(&f);
	(void)core_sequence_of(&f, "n1");
	core_tick(f.core);
	core_clock_add(1000);
	CHECK_OK(core_put(&f, "prod/api", "n3", "10.0.0.3"), &f.err);
	core_head_of(&f, "n1", &there);
	CHECK_OK(core_take(&f, "prod/api", "n3"), &f.err);
	core_clock_add(1000);
	core_reopen(&f, true);
	core_head_of(&f, "n1", &back);
	CHECK(back.sequence > there.sequence);
	CHECK(back.view_sequence > there.view_sequence);
	head_done(&there);
	head_done(&back);
	core_teardown(&f);
}

/* The clock went back, too: the node says what it knows, and gets what is newer. */
TEST(rollback_of_the_database_is_healed_by_what_nodes_report)
{
	struct core_fixture f;
	char members[128];
	struct head a, b;

	core_setup_published(&f);
	place_all(&f);
	core_clock_add(HOUR_MS);
	core_head_of(&f, "n1", &a);
	core_clock_add(-2 * HOUR_MS);
	core_reopen(&f, true);
	core_head_of(&f, "n1", &b);
	CHECK(b.sequence < a.sequence);
	head_done(&b);
	core_forget_woken(&f);
	(void)snprintf(members, sizeof(members), "\"head_sequence\":%llu,\"view_sequence\":%llu",
		       (unsigned long long)a.sequence, (unsigned long long)a.view_sequence);
	CHECK_OK(core_report_of(&f, "n1", members), &f.err);
	core_head_of(&f, "n1", &b);
	CHECK(b.sequence > a.sequence && b.view_sequence > a.view_sequence);
	head_done(&a);
	head_done(&b);
	core_teardown(&f);
}

TEST(a_node_cannot_run_its_numbers_out)
{
	struct core_fixture f;
	uint64_t before;

	core_setup_published(&f);
	place_all(&f);
	before = core_sequence_of(&f, "n1");
	CHECK_OK(core_report_of(&f, "n1", "\"head_sequence\":9223372036854775807"), &f.err);
	CHECK_UINT(core_sequence_of(&f, "n1"), before);
	core_teardown(&f);
}

TEST(numbers_rise_while_the_clock_stands_still)
{
	struct core_fixture f;
	uint64_t last = 0;

	core_setup_published(&f);
	place_all(&f);
	for (int i = 0; i < 20; i++) {
		CHECK_OK(core_put(&f, "prod/web", i % 2 ? "n1" : "n3",
				  i % 2 ? "10.0.0.7" : "10.0.0.8"),
			 &f.err);
		if (i % 2)
			CHECK_OK(core_take(&f, "prod/web", "n3"), &f.err);
		CHECK(core_sequence_of(&f, "n2") > last);
		last = core_sequence_of(&f, "n2");
	}
	core_teardown(&f);
}

/* --- blobs ----------------------------------------------------------------------------------- */

TEST(a_view_is_its_own_nodes_only)
{
	CLEANUP(freep) char *bytes = NULL;
	struct core_fixture f;
	struct head h;
	size_t len;

	core_setup_published(&f);
	place_all(&f);
	core_head_of(&f, "n1", &h);
	CHECK_INT(core_blob(f.core, "n2", h.view_sha256, &bytes, &len, &f.err), -ENOENT);
	CHECK_INT(core_blob(f.core, NULL, h.view_sha256, &bytes, &len, &f.err), -ENOENT);
	CHECK_INT(core_blob(f.core, "nobody", h.view_sha256, &bytes, &len, &f.err), -ENOENT);
	CHECK_INT(core_blob(f.core, "n1", "../../controller.key", &bytes, &len, &f.err), -EINVAL);
	head_done(&h);
	core_teardown(&f);
}

TEST(a_view_that_was_named_is_still_served_after_the_next_change)
{
	CLEANUP(freep) char *bytes = NULL;
	struct core_fixture f;
	struct head h;
	size_t len;

	core_setup_published(&f);
	place_all(&f);
	core_head_of(&f, "n1", &h);
	CHECK_OK(core_put(&f, "prod/api", "n3", "10.0.0.3"), &f.err);
	CHECK(core_sequence_of(&f, "n1") > h.sequence);
	CHECK_OK(core_blob(f.core, "n1", h.view_sha256, &bytes, &len, &f.err), &f.err);
	head_done(&h);
	core_teardown(&f);
}

TEST(a_view_is_served_after_a_restart)
{
	struct core_fixture f;

	core_setup_published(&f);
	place_all(&f);
	CHECK(core_sequence_of(&f, "n2") > 0);
	core_reopen(&f, false);
	/* The cache is empty: it is written again, to the same bytes. */
	CHECK_STR(core_view_text(&f, "n2"), "api | log@n5 db@n4 web@n1");
	core_teardown(&f);
}

TEST(the_trust_of_agents_names_both_kinds_of_keys)
{
	struct core_fixture f;
	json_t *t;

	core_setup(&f);
	t = core_trust(f.core);
	CHECK_STR(json_string_value(json_object_get(t, "trust_domain")), "acme.example");
	CHECK_UINT(json_array_size(json_object_get(json_object_get(t, "policy"), "keys")), 1);
	CHECK_UINT(json_array_size(json_object_get(json_object_get(t, "controller"), "keys")), 1);
	json_decref(t);
	core_teardown(&f);
}
