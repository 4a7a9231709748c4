/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Quarantine, revocation, grants, release, and the flows that come back as evidence. */
#include "base/mem.h"
#include "base/text.h"
#include "controller/core.h"
#include "tests/unit/core_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void place_all(struct core_fixture *f)
{
	CHECK_OK(core_put(f, "prod/web", "n1", "10.0.0.1"), &f->err);
	CHECK_OK(core_put(f, "prod/api", "n2", "10.0.0.2"), &f->err);
	CHECK_OK(core_put(f, "prod/db", "n4", NULL), &f->err);
	CHECK_OK(core_put(f, "ops/log", "n5", "10.0.0.5"), &f->err);
	CHECK_OK(core_put(f, "ops/lone", "m1", "10.1.0.1"), &f->err);
	(void)core_sequence_of(f, "n1");
	(void)core_sequence_of(f, "n2");
	(void)core_sequence_of(f, "n4");
	(void)core_sequence_of(f, "n5");
	(void)core_sequence_of(f, "m1");
	core_forget_woken(f);
	core_clock_add(1000);
}

static void forget(struct core_fixture *f)
{
	json_decref(f->answer);
	f->answer = NULL;
	f->err = (struct err){{0}};
}

static int quarantine(struct core_fixture *f, const char *identity, const char *keep)
{
	forget(f);
	return core_quarantine(f->core, identity, keep, "stolen key", "op", &f->answer, &f->err);
}

static int revoke(struct core_fixture *f, const char *kind, const char *name, int64_t seconds)
{
	forget(f);
	return core_revoke(f->core, kind, name, seconds, "contract ended", "op", &f->answer,
			   &f->err);
}

static int release(struct core_fixture *f, const char *name)
{
	forget(f);
	return core_release(f->core, name, "cleared", "op", &f->answer, &f->err);
}

static int grant(struct core_fixture *f, const char *rule, const char *from, const char *to,
		 int64_t seconds)
{
	forget(f);
	return core_grant(f->core, rule, from, to, seconds, "incident 7", "op", &f->answer,
			  &f->err);
}

static int64_t action_id(const struct core_fixture *f)
{
	return json_integer_value(json_object_get(f->answer, "action"));
}

/* "quarantines revocations grants" of a node's head. */
static const char *counts(struct core_fixture *f, const char *node)
{
	static char text[64];
	struct head h;

	core_head_of(f, node, &h);
	(void)snprintf(text, sizeof(text), "%zu %zu %zu", h.overlay.quarantined_count,
		       h.overlay.revoked_count, h.overlay.grant_count);
	head_done(&h);
	return text;
}

TEST(quarantine_stands_in_the_heads_of_those_it_concerns)
{
	struct core_fixture f;
	struct head h;

	core_setup_published(&f);
	place_all(&f);
	CHECK_OK(quarantine(&f, "web", "forensics"), &f.err);
	CHECK_UINT(f.woken_count, 3);
	CHECK(core_woke(&f, "n1") && core_woke(&f, "n2") && core_woke(&f, "n5"));
	core_head_of(&f, "n2", &h);
	CHECK(h.urgent);
	CHECK_STR(h.overlay.quarantined[0].identity, "prod/web");
	CHECK_STR(h.overlay.quarantined[0].keep, "forensics");
	CHECK_STR(h.overlay.quarantined[0].reason, "stolen key");
	head_done(&h);
	CHECK_STR(counts(&f, "n4"), "0 0 0");
	CHECK_STR(counts(&f, "m1"), "0 0 0");
	CHECK_INT(json_integer_value(json_object_get(f.answer, "nodes")), 3);
	core_teardown(&f);
}

TEST(a_node_that_becomes_concerned_gets_the_quarantine_too)
{
	struct core_fixture f;

	core_setup_published(&f);
	place_all(&f);
	CHECK_OK(quarantine(&f, "web", NULL), &f.err);
	CHECK_STR(counts(&f, "n6"), "0 0 0");
	CHECK_OK(core_put(&f, "prod/api", "n6", "10.0.0.6"), &f.err);
	CHECK_STR(counts(&f, "n6"), "1 0 0");
	core_teardown(&f);
}

TEST(a_quarantine_survives_a_kill_and_ends_by_release)
{
	struct core_fixture f;

	core_setup_published(&f);
	place_all(&f);
	CHECK_OK(quarantine(&f, "prod/web", NULL), &f.err);
	CHECK_INT(quarantine(&f, "web", NULL), -EEXIST);
	core_reopen(&f, true);
	CHECK_STR(counts(&f, "n1"), "1 0 0");
	core_forget_woken(&f);
	CHECK_OK(release(&f, "web"), &f.err);
	CHECK(core_woke(&f, "n1") && core_woke(&f, "n2"));
	CHECK_STR(counts(&f, "n1"), "0 0 0");
	CHECK_INT(release(&f, "web"), -ENOENT);
	core_reopen(&f, true);
	CHECK_STR(counts(&f, "n1"), "0 0 0");
	core_teardown(&f);
}

/* Then a new policy is urgent for nobody. */
static void place_many(struct core_fixture *f)
{
	char node[16], address[24];

	for (int i = 0; i <= URGENT_NODES_MAX; i++) {
		(void)snprintf(node, sizeof(node), "m%d", i);
		(void)snprintf(address, sizeof(address), "10.1.0.%d", i + 1);
		CHECK_OK(core_put(f, "ops/lone", node, address), &f->err);
		(void)core_sequence_of(f, node);
	}
	core_clock_add(1000);
}

TEST(while_a_policy_goes_out_a_quarantine_is_urgent_for_those_it_concerns)
{
	struct core_fixture f;
	struct head h;

	core_setup_published(&f);
	place_all(&f);
	place_many(&f);
	CHECK(!core_head_urgent(f.core, "n1"));
	CHECK_OK(core_publish_next(&f, 2, core_policy), &f.err);
	CHECK(!core_head_urgent(f.core, "n1") && !core_head_urgent(f.core, "m7"));
	(void)core_sequence_of(&f, "m1");
	CHECK_OK(quarantine(&f, "prod/web", NULL), &f.err);
	CHECK(core_head_urgent(f.core, "n1") && core_head_urgent(f.core, "n2"));
	CHECK(!core_head_urgent(f.core, "n4") && !core_head_urgent(f.core, "m7"));
	CHECK(!core_head_urgent(f.core, "nobody"));
	/* Both at once, whatever was promised first. */
	core_head_of(&f, "n1", &h);
	CHECK_UINT(h.stable.revision, 2);
	CHECK_UINT(h.overlay.quarantined_count, 1);
	CHECK(h.urgent);
	head_done(&h);
	CHECK(!core_head_urgent(f.core, "n1"));
	core_head_of(&f, "m7", &h);
	CHECK_UINT(h.stable.revision, 2);
	CHECK_UINT(h.overlay.quarantined_count, 0);
	CHECK(!h.urgent);
	head_done(&h);
	core_teardown(&f);
}

TEST(orders_with_unknown_names_are_refused_with_a_suggestion)
{
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_INT(quarantine(&f, "wbe", NULL), -ENOENT);
	CHECK_CONTAINS(f.err.text, "did you mean 'web'?");
	CHECK_INT(quarantine(&f, "web", "forensic"), -ENOENT);
	CHECK_CONTAINS(f.err.text, "did you mean 'forensics'?");
	CHECK_INT(revoke(&f, "rule", "web-apo", 0), -ENOENT);
	CHECK_CONTAINS(f.err.text, "did you mean 'web-api'?");
	CHECK_INT(revoke(&f, "label", "vendor", 0), -EINVAL);
	CHECK_INT(revoke(&f, "planet", "mars", 0), -EINVAL);
	CHECK_INT(revoke(&f, "rule", "web-api", -5), -EINVAL);
	CHECK_INT(core_quarantine(f.core, "web", NULL, "", "op", &f.answer, &f.err), -EINVAL);
	CHECK_INT(core_quarantine(f.core, "web", NULL, "a\nb", "op", &f.answer, &f.err), -EINVAL);
	CHECK_INT(core_quarantine(f.core, "web", NULL, "\xff", "op", &f.answer, &f.err), -EINVAL);
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM actions"), 0);
	core_teardown(&f);
}

TEST(a_revoked_rule_concerns_its_two_ends)
{
	struct core_fixture f;
	struct head h;

	core_setup_published(&f);
	place_all(&f);
	CHECK_OK(revoke(&f, "rule", "web-api", 0), &f.err);
	CHECK_UINT(f.woken_count, 2);
	CHECK(core_woke(&f, "n1") && core_woke(&f, "n2"));
	core_head_of(&f, "n1", &h);
	CHECK_INT(h.overlay.revoked[0].kind, REVOKED_RULE);
	CHECK_STR(h.overlay.revoked[0].name, "web-api");
	CHECK_INT(h.overlay.revoked[0].until.s, 0);
	head_done(&h);
	core_teardown(&f);
}

TEST(a_revoked_label_concerns_all_who_know_a_bearer)
{
	struct core_fixture f;

	core_setup_published(&f);
	place_all(&f);
	CHECK_OK(revoke(&f, "label", "vendor=x", 0), &f.err);
	CHECK_STR(counts(&f, "n1"), "0 1 0");
	CHECK_STR(counts(&f, "n2"), "0 1 0");
	CHECK_STR(counts(&f, "n4"), "0 1 0");
	CHECK_STR(counts(&f, "m1"), "0 0 0");
	CHECK_OK(release(&f, "vendor=x"), &f.err);
	CHECK_STR(counts(&f, "n2"), "0 0 0");
	core_teardown(&f);
}

TEST(a_revocation_ends_by_itself)
{
	struct core_fixture f;

	core_setup_published(&f);
	place_all(&f);
	CHECK_OK(revoke(&f, "identity", "api", 60), &f.err);
	CHECK_STR(counts(&f, "n2"), "0 1 0");
	core_clock_add(59000);
	core_tick(f.core);
	CHECK_STR(counts(&f, "n2"), "0 1 0");
	core_clock_add(1000);
	core_forget_woken(&f);
	core_tick(f.core);
	CHECK(core_woke(&f, "n2"));
	CHECK_STR(counts(&f, "n2"), "0 0 0");
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM actions WHERE ended = 0"), 0);
	core_teardown(&f);
}

TEST(a_grant_stays_within_what_signed_policy_marks)
{
	struct core_fixture f;
	struct head h;

	core_setup_published(&f);
	place_all(&f);
	CHECK_INT(grant(&f, "web-api", "web", "api", 60), -EACCES);
	CHECK_CONTAINS(f.err.text, "does not mark rule 'web-api' grantable");
	CHECK_INT(grant(&f, "break-glass", "log", "db", 3 * 3600), -EACCES);
	CHECK_CONTAINS(f.err.text, "at most");
	CHECK_INT(grant(&f, "break-glass", "log", "db", 0), -EACCES);
	CHECK_INT(grant(&f, "break-glass", "web", "db", 60), -EACCES);
	CHECK_CONTAINS(f.err.text, "not among 'from'");
	CHECK_INT(grant(&f, "break-glass", "log", "api", 60), -EACCES);
	CHECK_OK(grant(&f, "break-glass", "ops/log", "db", 3600), &f.err);
	CHECK_INT(grant(&f, "break-glass", "log", "db", 60), -EEXIST);
	core_head_of(&f, "n5", &h);
	CHECK_UINT(h.overlay.grant_count, 1);
	CHECK_STR(h.overlay.grants[0].from, "ops/log");
	CHECK_STR(h.overlay.grants[0].to, "prod/db");
	CHECK_STR(h.overlay.grants[0].who, "op");
	head_done(&h);
	CHECK_STR(counts(&f, "n4"), "0 0 1");
	CHECK_STR(counts(&f, "n1"), "0 0 0");
	core_clock_add(3600 * 1000);
	core_tick(f.core);
	CHECK_STR(counts(&f, "n4"), "0 0 0");
	core_teardown(&f);
}

/* --- evidence -------------------------------------------------------------------------------- */

static size_t evidence_count(struct core_fixture *f, int64_t action)
{
	json_t *e = core_evidence(f->core, action, &f->err);
	size_t count;

	CHECK(e != NULL);
	count = json_array_size(json_object_get(e, "cut"));
	json_decref(e);
	return count;
}

TEST(flows_that_were_cut_come_back_as_evidence_of_their_action)
{
	struct core_fixture f;
	int64_t of_web, of_db;

	core_setup_published(&f);
	place_all(&f);
	CHECK_OK(quarantine(&f, "web", NULL), &f.err);
	of_web = action_id(&f);
	CHECK_OK(revoke(&f, "rule", "api-db", 0), &f.err);
	of_db = action_id(&f);
	CHECK_OK(
		core_report_of(
			&f, "n2",
			"\"cut\":["
			"{\"from\":\"web\",\"to\":\"api\",\"src\":\"10.0.0.1:4711\"},"
			"{\"from\":\"prod/api\",\"to\":\"prod/db\"},"
			"{\"from\":{\"identity\":\"prod/web\"},\"to\":{\"identity\":\"prod/api\"}},"
			"{\"from\":\"lone\",\"to\":\"world\"},"
			"{\"from\":7,\"to\":null}]"),
		&f.err);
	CHECK_UINT(evidence_count(&f, of_web), 2);
	CHECK_UINT(evidence_count(&f, of_db), 1);
	CHECK_UINT(evidence_count(&f, 0), 2);
	CHECK_UINT(evidence_count(&f, 99), 0);
	core_reopen(&f, true);
	CHECK_UINT(evidence_count(&f, of_web), 2);
	core_teardown(&f);
}

TEST(a_report_that_comes_twice_is_evidence_once)
{
	static const char cut[] = "\"cut\":[{\"from\":\"web\",\"to\":\"api\",\"bytes\":7}]";
	struct core_fixture f;

	core_setup_published(&f);
	place_all(&f);
	CHECK_OK(quarantine(&f, "web", NULL), &f.err);
	CHECK_OK(core_report_of(&f, "n1", cut), &f.err);
	CHECK_OK(core_report_of(&f, "n1", cut), &f.err);
	CHECK_OK(core_report_of(&f, "n2", cut), &f.err);
	CHECK_UINT(evidence_count(&f, action_id(&f)), 2);
	core_teardown(&f);
}

/* 5 reports of 4096 are more than a node may have. */
static void report_many(struct core_fixture *f, const char *node)
{
	for (int report = 0; report < 5; report++) {
		CLEANUP(buf_done) struct buf b;

		buf_init(&b, 1 << 20);
		buf_printf(&b, "{\"version\":1,\"node\":\"%s\",\"cut\":[{\"n\":0}", node);
		for (int i = 1; i < 4096; i++)
			buf_printf(&b, ",{\"n\":%d}", 4096 * report + i);
		buf_puts(&b, "]}");
		CHECK_OK(core_status(f->core, node, b.data, b.len, &f->err), &f->err);
	}
}

TEST(a_node_that_cut_too_much_loses_its_own_oldest_evidence)
{
	struct core_fixture f;

	core_setup_published(&f);
	place_all(&f);
	CHECK_OK(core_report_of(&f, "n1", "\"cut\":[{\"n\":1}]"), &f.err);
	report_many(&f, "n2");
	CHECK_OK(quarantine(&f, "web", NULL), &f.err);
	CHECK_OK(core_report_of(&f, "n2", "\"cut\":[{\"from\":\"web\",\"to\":\"api\"}]"), &f.err);
	CHECK_UINT(evidence_count(&f, action_id(&f)), 1);
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM evidence WHERE node = 'n1'"), 1);
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM evidence WHERE node = 'n2'"), 20000);
	core_teardown(&f);
}

TEST(evidence_says_node_and_flow)
{
	struct core_fixture f;
	json_t *e, *flow;

	core_setup_published(&f);
	place_all(&f);
	CHECK_OK(quarantine(&f, "web", NULL), &f.err);
	CHECK_OK(core_report_of(&f, "n1",
				"\"cut\":[{\"from\":\"web\",\"to\":\"api\","
				"\"dst\":\"10.0.0.2:80\"}]"),
		 &f.err);
	e = core_evidence(f.core, action_id(&f), &f.err);
	flow = json_array_get(json_object_get(e, "cut"), 0);
	CHECK_STR(json_string_value(json_object_get(flow, "node")), "n1");
	CHECK_STR(json_string_value(json_object_get(flow, "dst")), "10.0.0.2:80");
	CHECK(json_is_string(json_object_get(flow, "at")));
	json_decref(e);
	core_teardown(&f);
}

TEST(the_status_of_the_fleet_lists_what_is_in_force)
{
	struct core_fixture f;
	json_t *s, *one;

	core_setup_published(&f);
	place_all(&f);
	CHECK_OK(quarantine(&f, "web", NULL), &f.err);
	CHECK_OK(core_report_of(&f, "n1", "\"cut\":[{\"from\":\"web\",\"to\":\"api\"}]"), &f.err);
	s = core_fleet_status(f.core, &f.err);
	CHECK(s != NULL);
	one = json_array_get(json_object_get(s, "actions"), 0);
	CHECK_STR(json_string_value(json_object_get(one, "kind")), "quarantine");
	CHECK_INT(json_integer_value(json_object_get(one, "cut")), 1);
	CHECK_UINT(json_array_size(json_object_get(s, "nodes")), 5);
	CHECK_UINT(json_array_size(json_object_get(s, "placements")), 5);
	CHECK(json_array_size(json_object_get(s, "audit")) > 5);
	json_decref(s);
	core_teardown(&f);
}
