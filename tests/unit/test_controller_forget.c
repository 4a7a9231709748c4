/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Nodes that were removed for good, and who has their names afterwards. */
#include "base/mem.h"
#include "base/text.h"
#include "controller/core.h"
#include "tests/unit/core_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define REPORTED "\"addresses\":[\"10.0.0.9\"]"

static struct svid node_of(struct core_fixture *f, const char *name, const char *serial)
{
	int64_t now = core_now(f->core).s;
	struct svid s = {.role = SVID_NODE, .not_before = {now - 60}, .not_after = {now + 86400}};

	(void)snprintf(s.name, sizeof(s.name), "%s", name);
	(void)snprintf(s.id, sizeof(s.id), "spiffe://acme.example/bailiwick/node/%s", name);
	(void)snprintf(s.serial, sizeof(s.serial), "%s", serial);
	return s;
}

static int forget(struct core_fixture *f, const char *name)
{
	f->err = (struct err){{0}};
	json_decref(f->answer);
	f->answer = NULL;
	return core_node_forget(f->core, name, "scrapped", "op", &f->answer, &f->err);
}

static size_t listed(struct core_fixture *f)
{
	json_t *list = core_node_list(f->core, &f->err);
	size_t count = json_array_size(json_object_get(list, "nodes"));

	json_decref(list);
	return count;
}

static void enrolled(struct core_fixture *f, const char *name, const char *serial)
{
	struct svid s = node_of(f, name, serial);

	CHECK_OK(core_cert_issued(f->core, &s, &f->err), &f->err);
	CHECK_OK(core_cert_check(f->core, &s, &f->err), &f->err);
}

static void evicted(struct core_fixture *f, const char *name)
{
	CHECK_OK(core_node_evict(f->core, name, "op", &f->err), &f->err);
}

TEST(a_forgotten_node_is_in_no_list_any_more)
{
	char token[64];
	struct core_fixture f;

	core_setup_published(&f);
	enrolled(&f, "n9", "01");
	CHECK_OK(core_report_of(&f, "n9", REPORTED), &f.err);
	CHECK_OK(core_token_create(f.core, "n9", 600, 1, "op", token, sizeof(token), &f.err),
		 &f.err);
	evicted(&f, "n9");
	CHECK_UINT(listed(&f), 1);
	CHECK_OK(forget(&f, "n9"), &f.err);
	CHECK_UINT(listed(&f), 0);
	CHECK_INT(core_sql(&f, "SELECT (SELECT count(*) FROM nodes) +"
			       " (SELECT count(*) FROM heads) + (SELECT count(*) FROM tokens)"),
		  0);
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM audit WHERE verb = 'node-forget' AND"
			       " who = 'op' AND subject = 'n9' AND detail LIKE '%scrapped%'"),
		  1);
	CHECK_INT(forget(&f, "n9"), -ENOENT);
	core_reopen(&f, false);
	CHECK_UINT(listed(&f), 0);
	core_teardown(&f);
}

TEST(only_an_evicted_node_that_nobody_places_is_forgotten)
{
	struct core_fixture f;

	core_setup_published(&f);
	enrolled(&f, "n1", "01");
	CHECK_INT(forget(&f, "n1"), -EEXIST);
	CHECK_CONTAINS(f.err.text, "node evict");
	CHECK_OK(core_node_ban(f.core, "n1", true, "op", &f.err), &f.err);
	CHECK_INT(forget(&f, "n1"), -EEXIST);
	CHECK_CONTAINS(f.err.text, "is banned");
	CHECK_OK(core_node_ban(f.core, "n1", false, "op", &f.err), &f.err);
	CHECK_OK(core_put(&f, "web", "n1", "10.0.0.1"), &f.err);
	CHECK_INT(forget(&f, "n1"), -EEXIST);
	CHECK_CONTAINS(f.err.text, "by the API");
	CHECK_OK(core_take(&f, "web", "n1"), &f.err);
	CHECK_OK(forget(&f, "n1"), &f.err);
	core_teardown(&f);
}

/* An agent of the next would call a lower number a rollback. */
static void check_numbers(bool restarted)
{
	struct core_fixture f;
	uint64_t before;

	core_setup_published(&f);
	enrolled(&f, "n1", "01");
	before = core_sequence_of(&f, "n1");
	CHECK(before > 0);
	evicted(&f, "n1");
	CHECK_OK(forget(&f, "n1"), &f.err);
	/* Where the clock goes on, time alone would do. */
	core_clock_add(-3600LL * 1000);
	if (restarted)
		core_reopen(&f, true);
	enrolled(&f, "n1", "02");
	CHECK(core_sequence_of(&f, "n1") > before);
	CHECK_UINT(listed(&f), 1);
	core_teardown(&f);
}

TEST(numbers_of_heads_never_go_back_for_a_name)
{
	check_numbers(false);
}

TEST(numbers_of_heads_never_go_back_for_a_name_over_a_restart)
{
	check_numbers(true);
}

TEST(a_certificate_of_the_forgotten_stays_refused_when_the_name_is_given_again)
{
	struct core_fixture f;
	struct svid old, foreign;

	core_setup_published(&f);
	old = node_of(&f, "n1", "01");
	foreign = node_of(&f, "n1", "f0"); /* of an existing PKI: not on record */
	enrolled(&f, "n1", "01");
	evicted(&f, "n1");
	CHECK_OK(forget(&f, "n1"), &f.err);
	CHECK_INT(core_cert_check(f.core, &old, &f.err), -EACCES);
	CHECK_INT(core_cert_check(f.core, &foreign, &f.err), -EACCES);
	core_reopen(&f, true);
	CHECK_INT(core_cert_check(f.core, &foreign, &f.err), -EACCES);
	CHECK_UINT(listed(&f), 0);
	core_clock_add(5000);
	enrolled(&f, "n1", "02");
	CHECK_INT(core_cert_check(f.core, &old, &f.err), -EACCES);
	CHECK_INT(core_cert_check(f.core, &foreign, &f.err), -EACCES);
	core_reopen(&f, true);
	CHECK_INT(core_cert_check(f.core, &foreign, &f.err), -EACCES);
	core_teardown(&f);
}

TEST(an_address_of_the_forgotten_is_free_and_what_it_reported_is_gone)
{
	struct core_fixture f;

	core_setup_published(&f);
	enrolled(&f, "n1", "01");
	enrolled(&f, "n2", "02");
	CHECK_OK(core_report_of(&f, "n1",
				"\"addresses\":[\"10.0.0.1\"],\"workloads\":[{\"identity\":"
				"\"prod/web\",\"addresses\":[\"10.0.0.1\"]}]"),
		 &f.err);
	evicted(&f, "n1");
	CHECK_OK(forget(&f, "n1"), &f.err);
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM placements"), 0);
	CHECK_UINT(
		views_node_at(f.core->views, views_find_node(f.core->views, "n1"))->reported_count,
		0);
	core_teardown(&f);
}

/* It was never more than a name in a placement. */
TEST(a_node_that_only_a_placement_named_goes_with_it)
{
	struct core_fixture f;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "web", "n1", "10.0.0.1"), &f.err);
	CHECK_UINT(listed(&f), 1);
	CHECK_OK(core_take(&f, "web", "n1"), &f.err);
	CHECK_UINT(listed(&f), 0);
	core_teardown(&f);
}
