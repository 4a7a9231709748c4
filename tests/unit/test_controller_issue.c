/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tokens, certificates, nodes that are evicted and banned. */
#include "base/mem.h"
#include "base/text.h"
#include "controller/core.h"
#include "tests/unit/core_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN_ROOM 64

static void make_token(struct core_fixture *f, const char *node, int64_t ttl, int64_t uses,
		       char token[TOKEN_ROOM])
{
	CHECK_OK(core_token_create(f->core, node, ttl, uses, "op", token, TOKEN_ROOM, &f->err),
		 &f->err);
}

static int use(struct core_fixture *f, const char *token, char node[NODE_NAME_MAX])
{
	f->err = (struct err){{0}};
	return core_token_use(f->core, token, "192.0.2.7", node, NODE_NAME_MAX, &f->err);
}

static struct svid svid_of(enum svid_role role, const char *name, const char *serial, int64_t at)
{
	struct svid s = {.role = role, .not_before = {at - 60}, .not_after = {at + 86400}};

	(void)snprintf(s.name, sizeof(s.name), "%s", name);
	(void)snprintf(s.id, sizeof(s.id), "spiffe://acme.example/bailiwick/node/%s", name);
	(void)snprintf(s.serial, sizeof(s.serial), "%s", serial);
	return s;
}

static int64_t now_s(const struct core_fixture *f)
{
	return core_now(f->core).s;
}

/* --- tokens ---------------------------------------------------------------------------------- */

TEST(a_token_is_used_once_and_says_by_whom)
{
	char token[TOKEN_ROOM], node[NODE_NAME_MAX] = "";
	struct core_fixture f;

	core_setup(&f);
	make_token(&f, "n1", 600, 1, token);
	CHECK_UINT(strlen(token), strlen("tok_ab12cd.") + 26);
	CHECK_OK(use(&f, token, node), &f.err);
	CHECK_STR(node, "n1");
	node[0] = '\0';
	CHECK_INT(use(&f, token, node), -EALREADY);
	CHECK_CONTAINS(f.err.text, "by node 'n1' from 192.0.2.7 at 2026-11-22T00:00:00Z");
	CHECK_STR(node, "");
	core_teardown(&f);
}

TEST(the_store_never_sees_the_secret)
{
	char token[TOKEN_ROOM], sql[256];
	struct core_fixture f;

	core_setup(&f);
	make_token(&f, "n1", 600, 1, token);
	(void)snprintf(sql, sizeof(sql),
		       "SELECT count(*) FROM tokens WHERE secret_sha256 LIKE '%%%s%%' OR id LIKE "
		       "'%%%s%%'",
		       strchr(token, '.') + 1, strchr(token, '.') + 1);
	CHECK_INT(core_sql(&f, sql), 0);
	(void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM audit WHERE detail LIKE '%%%s%%'",
		       strchr(token, '.') + 1);
	CHECK_INT(core_sql(&f, sql), 0);
	core_teardown(&f);
}

TEST(every_wrong_token_is_refused_the_same_way)
{
	char token[TOKEN_ROOM], wrong[TOKEN_ROOM], node[NODE_NAME_MAX];
	static const char *const nonsense[] = {"",
					       ".",
					       "tok_",
					       "tok_aaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaa",
					       "tok_aaaaaa.",
					       "' OR 1",
					       "tok_aaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaa"};
	struct core_fixture f;

	core_setup(&f);
	make_token(&f, "n1", 600, 1, token);
	for (size_t i = 0; i < ARRAY_LEN(nonsense); i++)
		CHECK_INT(use(&f, nonsense[i], node), -EKEYREJECTED);
	for (size_t i = 0; i < strlen(token); i++) {
		(void)snprintf(wrong, sizeof(wrong), "%s", token);
		wrong[i] = wrong[i] == 'a' ? 'b' : 'a';
		CHECK_INT(use(&f, wrong, node), -EKEYREJECTED);
	}
	CHECK_OK(use(&f, token, node), &f.err);
	core_teardown(&f);
}

TEST(a_token_expires)
{
	char token[TOKEN_ROOM], node[NODE_NAME_MAX];
	struct core_fixture f;

	core_setup(&f);
	make_token(&f, "n1", 600, 1, token);
	core_clock_add(600 * 1000);
	CHECK_INT(use(&f, token, node), -ETIME);
	CHECK_CONTAINS(f.err.text, "expired at 2026-11-22T00:10:00Z");
	core_teardown(&f);
}

TEST(a_token_for_several_uses_counts_them_also_over_a_kill)
{
	char token[TOKEN_ROOM], node[NODE_NAME_MAX];
	struct core_fixture f;

	core_setup(&f);
	make_token(&f, "n1", 600, 3, token);
	CHECK_OK(use(&f, token, node), &f.err);
	CHECK_OK(use(&f, token, node), &f.err);
	core_reopen(&f, true);
	CHECK_OK(use(&f, token, node), &f.err);
	CHECK_INT(use(&f, token, node), -EALREADY);
	core_teardown(&f);
}

TEST(a_use_that_led_to_nothing_is_given_back)
{
	char token[TOKEN_ROOM], node[NODE_NAME_MAX];
	struct core_fixture f;

	core_setup(&f);
	make_token(&f, "n1", 600, 1, token);
	CHECK_OK(use(&f, token, node), &f.err);
	core_token_return(f.core, token);
	CHECK_OK(use(&f, token, node), &f.err);
	CHECK_INT(use(&f, token, node), -EALREADY);
	core_token_return(f.core, "tok_aaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaa");
	core_teardown(&f);
}

TEST(a_token_needs_a_node_a_time_and_uses)
{
	static const struct {
		const char *node;
		int64_t ttl, uses;
	} cases[] = {{"", 600, 1},   {"a/b", 600, 1},     {"n1", 0, 1}, {"n1", 400LL * 86400, 1},
		     {"n1", 600, 0}, {"n1", 600, 1000000}};
	char token[TOKEN_ROOM];
	struct core_fixture f;

	core_setup(&f);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		CHECK_INT(core_token_create(f.core, cases[i].node, cases[i].ttl, cases[i].uses,
					    "op", token, sizeof(token), &f.err),
			  -EINVAL);
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM tokens"), 0);
	core_teardown(&f);
}

/* --- certificates ----------------------------------------------------------------------------- */

TEST(the_first_use_of_a_newer_certificate_ends_the_older)
{
	struct core_fixture f;
	struct svid a, b;

	core_setup(&f);
	a = svid_of(SVID_NODE, "n1", "01", now_s(&f));
	b = svid_of(SVID_NODE, "n1", "02", now_s(&f));
	CHECK_OK(core_cert_issued(f.core, &a, &f.err), &f.err);
	CHECK_OK(core_cert_check(f.core, &a, &f.err), &f.err);
	CHECK_OK(core_cert_issued(f.core, &b, &f.err), &f.err);
	/* The answer may have been lost: the old one is good until the new one is seen. */
	CHECK_OK(core_cert_check(f.core, &a, &f.err), &f.err);
	CHECK_OK(core_cert_check(f.core, &b, &f.err), &f.err);
	CHECK_INT(core_cert_check(f.core, &a, &f.err), -EACCES);
	CHECK_CONTAINS(f.err.text, "superseded");
	core_reopen(&f, true);
	CHECK_INT(core_cert_check(f.core, &a, &f.err), -EACCES);
	CHECK_OK(core_cert_check(f.core, &b, &f.err), &f.err);
	core_teardown(&f);
}

TEST(a_couriers_certificate_does_not_end_the_nodes)
{
	struct core_fixture f;
	struct svid node, courier;

	core_setup(&f);
	node = svid_of(SVID_NODE, "n1", "01", now_s(&f));
	courier = svid_of(SVID_COURIER, "n1", "02", now_s(&f));
	CHECK_OK(core_cert_issued(f.core, &node, &f.err), &f.err);
	CHECK_OK(core_cert_issued(f.core, &courier, &f.err), &f.err);
	CHECK_OK(core_cert_check(f.core, &courier, &f.err), &f.err);
	CHECK_OK(core_cert_check(f.core, &node, &f.err), &f.err);
	core_teardown(&f);
}

TEST(an_evicted_node_must_enrol_again)
{
	char token[TOKEN_ROOM], node[NODE_NAME_MAX];
	struct svid a, elsewhere, again;
	struct core_fixture f;
	const char *text;
	uint64_t sequence;
	size_t len;

	core_setup_published(&f);
	a = svid_of(SVID_NODE, "n1", "01", now_s(&f));
	elsewhere = svid_of(SVID_NODE, "n1", "f00d", now_s(&f));
	CHECK_OK(core_cert_issued(f.core, &a, &f.err), &f.err);
	CHECK_OK(core_cert_check(f.core, &elsewhere, &f.err), &f.err);
	CHECK_OK(core_node_evict(f.core, "n1", "op", &f.err), &f.err);
	CHECK_INT(core_cert_check(f.core, &a, &f.err), -EACCES);
	CHECK_INT(core_cert_check(f.core, &elsewhere, &f.err), -EACCES);
	/* A connection made before is no way around it. */
	CHECK_INT(core_head(f.core, "n1", &text, &len, &sequence, &f.err), -EACCES);
	CHECK_INT(core_report_of(&f, "n1", ""), -EACCES);
	core_reopen(&f, true);
	CHECK_INT(core_cert_check(f.core, &a, &f.err), -EACCES);
	make_token(&f, "n1", 600, 1, token);
	CHECK_OK(use(&f, token, node), &f.err);
	again = svid_of(SVID_NODE, "n1", "02", now_s(&f));
	CHECK_OK(core_cert_issued(f.core, &again, &f.err), &f.err);
	CHECK_OK(core_cert_check(f.core, &again, &f.err), &f.err);
	CHECK_INT(core_cert_check(f.core, &a, &f.err), -EACCES);
	/* That it is back does not make the old one of another PKI good. */
	CHECK_INT(core_cert_check(f.core, &elsewhere, &f.err), -EACCES);
	CHECK_OK(core_report_of(&f, "n1", ""), &f.err);
	core_teardown(&f);
}

TEST(an_evicted_node_of_an_existing_pki_is_back_with_a_newer_certificate)
{
	struct core_fixture f;
	struct svid before, after;

	core_setup_published(&f);
	before = svid_of(SVID_NODE, "n1", "f00d", now_s(&f));
	CHECK_OK(core_cert_check(f.core, &before, &f.err), &f.err);
	CHECK_OK(core_node_evict(f.core, "n1", "op", &f.err), &f.err);
	core_clock_add(3600 * 1000);
	after = svid_of(SVID_NODE, "n1", "f00e", now_s(&f));
	CHECK_OK(core_cert_check(f.core, &after, &f.err), &f.err);
	CHECK_OK(core_report_of(&f, "n1", ""), &f.err);
	CHECK_INT(core_cert_check(f.core, &before, &f.err), -EACCES);
	core_teardown(&f);
}

TEST(a_banned_node_is_refused_everything_and_is_nobodys_peer)
{
	char token[TOKEN_ROOM], node[NODE_NAME_MAX];
	struct core_fixture f;
	const char *text;
	uint64_t sequence;
	struct svid a;
	size_t len;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/web", "n1", "10.0.0.1"), &f.err);
	CHECK_OK(core_put(&f, "prod/api", "n2", "10.0.0.2"), &f.err);
	a = svid_of(SVID_COURIER, "n1", "01", now_s(&f));
	CHECK_OK(core_cert_issued(f.core, &a, &f.err), &f.err);
	make_token(&f, "n1", 600, 1, token);
	core_forget_woken(&f);
	CHECK_OK(core_node_ban(f.core, "n1", true, "op", &f.err), &f.err);
	CHECK(core_woke(&f, "n2"));
	CHECK_INT(core_cert_check(f.core, &a, &f.err), -EPERM);
	CHECK_INT(core_cert_issued(f.core, &a, &f.err), -EPERM);
	CHECK_INT(use(&f, token, node), -EPERM);
	CHECK_INT(core_token_create(f.core, "n1", 60, 1, "op", token, sizeof(token), &f.err),
		  -EPERM);
	CHECK_INT(core_head(f.core, "n1", &text, &len, &sequence, &f.err), -EPERM);
	CHECK_INT(core_report_of(&f, "n1", ""), -EPERM);
	CHECK_STR(core_view_text(&f, "n2"), "api |");
	core_reopen(&f, true);
	CHECK_INT(core_cert_check(f.core, &a, &f.err), -EPERM);
	CHECK_STR(core_view_text(&f, "n2"), "api |");
	core_teardown(&f);
}

TEST(a_ban_is_lifted_but_the_node_must_enrol_again)
{
	struct core_fixture f;
	struct svid a;

	core_setup_published(&f);
	CHECK_OK(core_put(&f, "prod/web", "n1", "10.0.0.1"), &f.err);
	CHECK_OK(core_put(&f, "prod/api", "n2", "10.0.0.2"), &f.err);
	a = svid_of(SVID_NODE, "n1", "01", now_s(&f));
	CHECK_OK(core_cert_issued(f.core, &a, &f.err), &f.err);
	CHECK_INT(core_node_ban(f.core, "n1", false, "op", &f.err), -EEXIST);
	CHECK_OK(core_node_ban(f.core, "n1", true, "op", &f.err), &f.err);
	CHECK_OK(core_node_ban(f.core, "n1", false, "op", &f.err), &f.err);
	CHECK_INT(core_cert_check(f.core, &a, &f.err), -EACCES);
	CHECK_STR(core_view_text(&f, "n2"), "api | web@n1");
	core_teardown(&f);
}

TEST(unknown_nodes_cannot_be_evicted_but_names_can_be_banned)
{
	struct core_fixture f;
	struct svid a;

	core_setup(&f);
	CHECK_INT(core_node_evict(f.core, "ghost", "op", &f.err), -ENOENT);
	CHECK_OK(core_node_ban(f.core, "ghost", true, "op", &f.err), &f.err);
	CHECK_INT(core_node_evict(f.core, "ghost", "op", &f.err), -EEXIST);
	a = svid_of(SVID_NODE, "ghost", "09", now_s(&f));
	CHECK_INT(core_cert_check(f.core, &a, &f.err), -EPERM);
	core_teardown(&f);
}

TEST(a_certificate_of_an_existing_pki_makes_the_node_known)
{
	struct core_fixture f;
	struct svid a;
	json_t *list;

	core_setup(&f);
	a = svid_of(SVID_NODE, "n7", "beef", now_s(&f));
	CHECK_OK(core_cert_check(f.core, &a, &f.err), &f.err);
	list = core_node_list(f.core, &f.err);
	CHECK_UINT(json_array_size(json_object_get(list, "nodes")), 1);
	json_decref(list);
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM nodes WHERE name = 'n7'"), 1);
	core_teardown(&f);
}

/* --- the audit log --------------------------------------------------------------------------- */

TEST(machines_lines_of_the_audit_log_go_after_ninety_days_and_operators_stay)
{
	const char *machine = "SELECT count(*) FROM audit WHERE verb = 'token-use'";
	const char *operators = "SELECT count(*) FROM audit WHERE verb = 'token-create'";
	char token[TOKEN_ROOM], node[NODE_NAME_MAX] = "";
	struct core_fixture f;

	core_setup(&f);
	make_token(&f, "n1", 600, 1, token);
	CHECK_OK(use(&f, token, node), &f.err);
	core_clock_add(89 * 86400000LL);
	core_tick(f.core);
	CHECK_INT(core_sql(&f, machine), 1);
	core_clock_add(2 * 86400000LL);
	core_tick(f.core);
	CHECK_INT(core_sql(&f, machine), 0);
	CHECK_INT(core_sql(&f, operators), 1);
	core_teardown(&f);
}
