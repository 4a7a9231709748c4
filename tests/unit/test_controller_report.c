/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a node says of itself: read with care, believed within bounds. */
#include "controller/report.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/core.h"
#include "tests/unit/core_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FRONT "{\"version\":1,\"node\":\"n1\""

static const char whole[] =
	FRONT ",\"head_sequence\":7,\"policy_revision\":3,\"policy_digest\":\"ab\","
	      "\"view_sequence\":5,\"mode\":\"enforce\",\"state\":\"ready\","
	      "\"errors\":[\"one\",{\"code\":\"rollback\"}],\"addresses\":[\"10.0.0.1\","
	      "\"fd00::1\",\"10.0.0.1\",\"127.0.0.1\",\"fe80::1\"],\"attest\":null,"
	      "\"workloads\":[{\"identity\":\"prod/web\",\"addresses\":[\"10.0.0.1\"],"
	      "\"services\":[]}],\"cut\":[{\"src\":\"10.0.0.1:1\"}],\"later\":{\"x\":1}}";

static bool decodes(const void *bytes, size_t len)
{
	struct report r;
	struct err err;

	if (report_decode(bytes, len, "n1", &r, &err) < 0)
		return false;
	report_done(&r);
	return true;
}

TEST(a_report_is_read_and_what_is_no_hosts_address_dropped)
{
	struct err err = {{0}};
	struct report r;

	CHECK_OK(report_decode(whole, strlen(whole), "n1", &r, &err), &err);
	CHECK_UINT(r.head_sequence, 7);
	CHECK_UINT(r.view_sequence, 5);
	CHECK_UINT(r.address_count, 2);
	CHECK(r.has_workloads && !r.has_attest);
	CHECK_UINT(r.workload_count, 1);
	CHECK_UINT(json_array_size(r.cut), 1);
	CHECK_STR(json_string_value(json_object_get(r.kept, "mode")), "enforce");
	CHECK_UINT(json_array_size(json_object_get(r.kept, "errors")), 2);
	CHECK(json_object_get(r.kept, "later") == NULL);
	report_done(&r);
}

TEST(a_report_cut_anywhere_is_refused)
{
	CHECK_TRUNCATIONS(whole, strlen(whole), decodes);
}

TEST(a_report_with_wrong_kinds_is_refused)
{
	static const char *const cases[] = {
		"[]",
		"{}",
		"{\"version\":2,\"node\":\"n1\"}",
		"{\"version\":1,\"node\":\"n2\"}",
		FRONT ",\"head_sequence\":-1}",
		FRONT ",\"head_sequence\":\"7\"}",
		FRONT ",\"head_sequence\":1.5}",
		FRONT ",\"addresses\":\"10.0.0.1\"}",
		FRONT ",\"addresses\":[\"10.0.0\"]}",
		FRONT ",\"addresses\":[7]}",
		FRONT ",\"workloads\":{}}",
		FRONT ",\"workloads\":[7]}",
		FRONT ",\"workloads\":[{\"identity\":\"\"}]}",
		FRONT ",\"workloads\":[{\"identity\":\"a\",\"addresses\":[\"x\"]}]}",
		FRONT ",\"cut\":[7]}",
		FRONT ",\"cut\":7}",
		FRONT ",\"attest\":{\"address\":\"10.0.0.1\",\"port\":0}}",
		FRONT ",\"attest\":{\"address\":\"127.0.0.1\",\"port\":7113}}",
		FRONT ",\"mode\":\"a\",\"mode\":\"b\"}",
	};
	struct err err;
	struct report r;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		CHECK_INT(report_decode(cases[i], strlen(cases[i]), "n1", &r, &err), -EBADMSG);
}

TEST(a_report_that_is_too_large_is_refused)
{
	CLEANUP(freep) char *large = mem_calloc(REPORT_MAX + 2, 1);
	struct err err;
	struct report r;

	memset(large, ' ', REPORT_MAX + 1);
	CHECK_INT(report_decode(large, REPORT_MAX + 1, "n1", &r, &err), -E2BIG);
}

OOM_TEST(a_report_out_of_memory)
{
	struct err err = {{0}};
	struct report r;
	int result = report_decode(whole, strlen(whole), "n1", &r, &err);

	if (result == 0)
		report_done(&r);
	return result == -EBADMSG && mem_has_failed() ? -ENOMEM : result;
}

/* --- placements by report ----------------------------------------------------------------------
 */

#define WEB_HERE(address)                                                                          \
	"\"addresses\":[\"" address "\"],\"workloads\":[{\"identity\":\"prod/web\","               \
	"\"addresses\":[\"" address "\"]}]"

#define WEB_SOMEWHERE(address)                                                                     \
	"\"addresses\":[\"" address "\"],\"workloads\":[{\"identity\":\"prod/web\"}]"

TEST(reports_place_what_nothing_pins)
{
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/api", "n2", "10.0.0.2"), &f.err);
	core_forget_woken(&f);
	CHECK_OK(core_report_of(&f, "n1", WEB_HERE("10.0.0.1")), &f.err);
	CHECK(core_woke(&f, "n2"));
	CHECK_STR(core_view_text(&f, "n2"), "api | web@n1");
	CHECK_STR(core_view_text(&f, "n1"), "web | api@n2");
	core_reopen(&f, true);
	CHECK_STR(core_view_text(&f, "n2"), "api | web@n1");
	core_teardown(&f);
}

TEST(an_operator_outranks_a_report_and_moves_what_it_placed)
{
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/api", "n2", "10.0.0.2"), &f.err);
	CHECK_OK(core_report_of(&f, "n1", WEB_HERE("10.0.0.1")), &f.err);
	CHECK_INT(core_take(&f, "prod/web", "n1"), -EEXIST);
	CHECK_CONTAINS(f.err.text, "the agent of 'n1' reports");
	CHECK_OK(core_put(&f, "prod/web", "n3", "10.0.0.3"), &f.err);
	CHECK_STR(core_view_text(&f, "n2"), "api | web@n3");
	CHECK_STR(core_view_text(&f, "n1"), "|");
	CHECK_OK(core_report_of(&f, "n1", WEB_HERE("10.0.0.1")), &f.err);
	CHECK_STR(core_view_text(&f, "n2"), "api | web@n3");
	/* Taken back, the report counts again. */
	CHECK_OK(core_take(&f, "prod/web", "n3"), &f.err);
	CHECK_STR(core_view_text(&f, "n2"), "api | web@n1");
	core_teardown(&f);
}

TEST(a_workload_that_is_reported_no_more_is_gone)
{
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/api", "n2", "10.0.0.2"), &f.err);
	CHECK_OK(core_report_of(&f, "n1", WEB_HERE("10.0.0.1")), &f.err);
	/* Nothing said of workloads: nothing changes. */
	CHECK_OK(core_report_of(&f, "n1", "\"addresses\":[\"10.0.0.1\"]"), &f.err);
	CHECK_STR(core_view_text(&f, "n2"), "api | web@n1");
	CHECK_OK(core_report_of(&f, "n1", "\"workloads\":[]"), &f.err);
	CHECK_STR(core_view_text(&f, "n2"), "api |");
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM placements WHERE source = 2"), 0);
	core_teardown(&f);
}

TEST(a_report_places_nothing_outside_the_bounds)
{
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/api", "n2", "10.0.0.2"), &f.err);
	/* m1 must not run web; n1 has no such address; ghost is nobody. */
	CHECK_OK(core_report_of(&f, "m1", WEB_HERE("10.1.0.1")), &f.err);
	CHECK_STR(core_view_text(&f, "n2"), "api |");
	CHECK_OK(core_report_of(&f, "n1", WEB_HERE("192.0.2.1")), &f.err);
	CHECK_STR(core_view_text(&f, "n2"), "api |");
	CHECK_OK(core_report_of(&f, "n1",
				"\"workloads\":[{\"identity\":\"ghost\"},"
				"{\"identity\":\"'; DROP TABLE nodes; --\"}]"),
		 &f.err);
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM placements WHERE source = 2"), 0);
	core_teardown(&f);
}

TEST(a_node_cannot_take_the_address_of_another_that_is_alive)
{
	CLEANUP(view_freep) struct view *v = NULL, *after = NULL;
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/api", "n2", NULL), &f.err);
	CHECK_OK(core_report_of(&f, "n2", "\"addresses\":[\"10.0.0.2\"]"), &f.err);
	CHECK_OK(core_report_of(&f, "n1", WEB_HERE("10.0.0.1")), &f.err);
	CHECK_OK(core_report_of(&f, "n3",
				"\"addresses\":[\"10.0.0.2\",\"10.0.0.3\"],"
				"\"workloads\":[{\"identity\":\"ops/log\"}]"),
		 &f.err);
	v = core_view_of(&f, "n1");
	CHECK_UINT(view_find_node(v, "n3")->address_count, 1);
	CHECK_UINT(view_find_node(v, "n2")->address_count, 1);
	/* n2 has not been heard of for a while: the address may have moved. */
	core_clock_add((REPORT_HOLD_S + 1) * 1000LL);
	CHECK_OK(core_report_of(&f, "n3", "\"addresses\":[\"10.0.0.2\",\"10.0.0.3\"]"), &f.err);
	after = core_view_of(&f, "n1");
	CHECK_UINT(view_find_node(after, "n3")->address_count, 2);
	CHECK(view_find_node(after, "n2") == NULL);
	core_teardown(&f);
}

TEST(who_claims_an_address_beyond_its_bounds_keeps_nobody_else_from_it)
{
	CLEANUP(view_freep) struct view *v = NULL, *after = NULL;
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/api", "n2", NULL), &f.err);
	CHECK_OK(core_report_of(&f, "m1", "\"addresses\":[\"10.0.0.1\"]"), &f.err);
	CHECK_OK(core_report_of(&f, "n1", WEB_SOMEWHERE("10.0.0.1")), &f.err);
	v = core_view_of(&f, "n2");
	CHECK(view_find_node(v, "n1") != NULL);
	/* Nor does it get it when n1 has not been heard of for a while. */
	core_clock_add((REPORT_HOLD_S + 1) * 1000LL);
	CHECK_OK(core_report_of(&f, "m1", "\"addresses\":[\"10.0.0.1\"]"), &f.err);
	after = core_view_of(&f, "n2");
	CHECK(view_find_node(after, "n1") != NULL);
	core_teardown(&f);
}

TEST(a_node_attests_at_its_own_address_or_nowhere)
{
	CLEANUP(view_freep) struct view *v = NULL;
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/api", "n2", NULL), &f.err);
	CHECK_OK(core_report_of(&f, "n1",
				WEB_HERE("10.0.0.1") ",\"attest\":{\"address\":\"10.9.0.1\","
						     "\"port\":22}"),
		 &f.err);
	v = core_view_of(&f, "n2");
	CHECK(view_find_node(v, "n1") != NULL);
	CHECK(!view_find_node(v, "n1")->has_attest);
	core_teardown(&f);
}

TEST(a_workload_is_not_at_the_address_of_another_node_that_is_alive)
{
	CLEANUP(view_freep) struct view *v = NULL;
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/api", "n2", NULL), &f.err);
	CHECK_OK(core_report_of(&f, "n2", "\"addresses\":[\"10.0.0.2\"]"), &f.err);
	CHECK_OK(core_report_of(&f, "n1",
				"\"addresses\":[\"10.0.0.1\"],\"workloads\":[{\"identity\":"
				"\"prod/web\",\"addresses\":[\"10.0.0.2\",\"10.0.0.11\"]}]"),
		 &f.err);
	v = core_view_of(&f, "n2");
	CHECK_UINT(v->peer_count, 1);
	CHECK_UINT(v->peers[0].address_count, 1);
	CHECK_UINT(v->peers[0].addresses[0].bytes[3], 11);
	core_teardown(&f);
}

TEST(reports_place_nothing_when_that_is_off)
{
	struct core_fixture f;

	core_setup_published(&f);
	f.core->config.reports_place = false;
	CHECK_OK(core_report_of(&f, "n1", WEB_HERE("10.0.0.1")), &f.err);
	CHECK_STR(core_view_text(&f, "n1"), "|");
	core_teardown(&f);
}

TEST(the_same_report_again_writes_nothing_to_the_audit_log)
{
	struct core_fixture f;
	int64_t before;

	core_setup_published(&f);
	CHECK_OK(core_report_of(&f, "n1", WEB_HERE("10.0.0.1")), &f.err);
	before = core_sql(&f, "SELECT count(*) FROM audit");
	for (int i = 0; i < 5; i++)
		CHECK_OK(core_report_of(&f, "n1", WEB_HERE("10.0.0.1")), &f.err);
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM audit"), before);
	core_teardown(&f);
}

TEST(what_a_node_reported_last_is_shown_after_a_restart)
{
	struct core_fixture f;
	json_t *list, *node;

	core_setup_published(&f);
	CHECK_OK(core_report_of(&f, "n1",
				"\"addresses\":[\"10.0.0.1\"],\"mode\":\"observe\","
				"\"errors\":[\"view: refused\"]"),
		 &f.err);
	core_tick(f.core);
	core_reopen(&f, true);
	list = core_node_list(f.core, &f.err);
	node = json_array_get(json_object_get(list, "nodes"), 0);
	CHECK_STR(json_string_value(json_object_get(node, "node")), "n1");
	CHECK_UINT(json_array_size(json_object_get(node, "addresses")), 1);
	CHECK_STR(json_string_value(json_object_get(json_object_get(node, "report"), "mode")),
		  "observe");
	json_decref(list);
	core_teardown(&f);
}

TEST(a_node_that_never_stops_changing_things_has_to_wait)
{
	struct core_fixture f;
	int64_t rows;
	int r = 0;

	core_setup_published(&f);
	for (int i = 0; r == 0 && i < 1000; i++)
		r = core_report_of(&f, "n1",
				   i % 2 == 0 ? WEB_HERE("10.0.0.1") : WEB_HERE("10.0.0.3"));
	CHECK_INT(r, -EAGAIN);
	rows = core_sql(&f, "SELECT count(*) FROM audit WHERE verb = 'report'");
	CHECK(rows > 50 && rows < 200);
	/* The others do not notice; and it is not for ever. */
	CHECK_OK(core_report_of(&f, "n2", WEB_HERE("10.0.0.2")), &f.err);
	core_clock_add(2000);
	CHECK_OK(core_report_of(&f, "n1", WEB_HERE("10.0.0.4")), &f.err);
	core_teardown(&f);
}

/* --- logs ------------------------------------------------------------------------------------ */

TEST(decision_records_are_kept_a_line_each)
{
	static const char records[] = "[{\"decision\":\"denied\"},{\"decision\":\"allowed\"}]";
	struct core_fixture f;
	char path[512];
	char line[256];
	size_t lines = 0;
	FILE *file;

	core_setup(&f);
	CHECK_OK(core_log(f.core, "n1", records, strlen(records), &f.err), &f.err);
	CHECK_OK(core_log(f.core, "n1", records, strlen(records), &f.err), &f.err);
	(void)snprintf(path, sizeof(path), "%s/logs/n1.jsonl", f.dir);
	file = fopen(path, "re");
	CHECK(file != NULL);
	while (fgets(line, sizeof(line), file))
		lines++;
	(void)fclose(file);
	CHECK_UINT(lines, 4);
	CHECK_INT(core_log(f.core, "../n1", records, strlen(records), &f.err), -EINVAL);
	CHECK_INT(core_log(f.core, "n1", "{}", 2, &f.err), -EINVAL);
	CHECK_INT(core_log(f.core, "n1", "[7]", 3, &f.err), -EINVAL);
	CHECK_INT(core_log(f.core, "n1", "[{}", 3, &f.err), -EINVAL);
	core_teardown(&f);
}

TEST(what_a_node_has_lost_is_counted_also_over_a_start_of_its_agent)
{
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/api", "n1", "10.0.0.1"), &f.err);
	CHECK_UINT(core_log_dropped(f.core, "n1", 0), 0);
	CHECK_UINT(core_log_dropped(f.core, "n1", 7), 7);
	CHECK_UINT(core_log_dropped(f.core, "n1", 7), 0);
	CHECK_UINT(core_log_dropped(f.core, "n1", 9), 2);
	CHECK_UINT(core_log_dropped(f.core, "n1", 3), 3);
	CHECK_UINT(core_log_dropped(f.core, "nobody", 3), 0);
	core_teardown(&f);
}

TEST(a_log_that_has_grown_is_put_aside)
{
	CLEANUP(buf_done) struct buf b;
	char path[512], record[8192];
	struct core_fixture f;

	core_setup(&f);
	memset(record, 'x', sizeof(record));
	buf_init(&b, 16 << 20);
	buf_putc(&b, '[');
	for (size_t i = 0; i < 400; i++)
		buf_printf(&b, "%s{\"reason\":\"%.*s\"}", i > 0 ? "," : "", (int)sizeof(record),
			   record);
	buf_putc(&b, ']');
	for (size_t i = 0; i < 3; i++)
		CHECK_OK(core_log(f.core, "n1", b.data, b.len, &f.err), &f.err);
	CHECK_OK(core_log(f.core, "n1", "[{}]", 4, &f.err), &f.err);
	(void)snprintf(path, sizeof(path), "%s/logs/n1.jsonl.1", f.dir);
	CHECK_INT(access(path, F_OK), 0);
	core_teardown(&f);
}

TEST(logs_that_would_fill_the_memory_are_refused)
{
	CLEANUP(buf_done) struct buf b;
	struct core_fixture f;

	core_setup(&f);
	buf_init(&b, 4 << 20);
	buf_puts(&b, "[{}");
	while (b.len < (3 << 20))
		buf_puts(&b, ",{}");
	buf_puts(&b, "]");
	CHECK_INT(core_log(f.core, "n1", b.data, b.len, &f.err), -E2BIG);
	CHECK_CONTAINS(f.err.text, "objects");
	core_teardown(&f);
}
