/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Certificates of operators: known from their first use, refused once revoked. */
#include "base/mem.h"
#include "base/text.h"
#include "controller/core.h"
#include "tests/unit/core_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BACKDATE_S 300

static struct svid operator_of(struct core_fixture *f, const char *name, const char *serial,
			       const char *key)
{
	int64_t now = core_now(f->core).s;
	struct svid s = {.role = SVID_OPERATOR, .not_before = {now}, .not_after = {now + 86400}};

	(void)snprintf(s.name, sizeof(s.name), "%s", name);
	(void)snprintf(s.serial, sizeof(s.serial), "%s", serial);
	(void)snprintf(s.key_id, sizeof(s.key_id), "%s", key);
	return s;
}

static int check(struct core_fixture *f, const struct svid *s)
{
	f->err = (struct err){{0}};
	return core_cert_check(f->core, s, &f->err);
}

static int revoke(struct core_fixture *f, const char *which, bool force)
{
	f->err = (struct err){{0}};
	json_decref(f->answer);
	f->answer = NULL;
	return core_operator_revoke(f->core, which, force, "key stolen", "bob", &f->answer,
				    &f->err);
}

TEST(a_revoked_operator_is_refused_at_the_next_request)
{
	struct svid alice, bob;
	struct core_fixture f;

	core_setup(&f);
	alice = operator_of(&f, "alice", "0a11", "k1");
	bob = operator_of(&f, "bob", "0b0b", "k2");
	CHECK_OK(check(&f, &alice), &f.err);
	CHECK_OK(check(&f, &bob), &f.err);
	CHECK_OK(revoke(&f, "alice", false), &f.err);
	CHECK_INT(check(&f, &alice), -EKEYREVOKED);
	CHECK_CONTAINS(f.err.text, "operator 'alice' was revoked at 2026-11-22T00:00:00Z");
	CHECK_CONTAINS(f.err.text, "one with a new key would be right");
	CHECK(strstr(f.err.text, "stolen") == NULL);
	CHECK_OK(check(&f, &bob), &f.err);
	core_reopen(&f, true);
	CHECK_INT(check(&f, &alice), -EKEYREVOKED);
	core_teardown(&f);
}

TEST(a_name_takes_also_what_was_never_used_and_leaves_what_comes_later)
{
	struct svid bob, hidden, later;
	struct core_fixture f;

	core_setup(&f);
	bob = operator_of(&f, "bob", "0b0b", "k2");
	hidden = operator_of(&f, "alice", "0a22", "k3");
	CHECK_OK(check(&f, &bob), &f.err);
	CHECK_INT(revoke(&f, "alice", false), -ENOENT);
	CHECK_OK(revoke(&f, "alice", true), &f.err);
	CHECK_INT(check(&f, &hidden), -EKEYREVOKED);
	core_clock_add(2000);
	later = operator_of(&f, "alice", "0a33", "k4");
	CHECK_OK(check(&f, &later), &f.err);
	core_teardown(&f);
}

TEST(a_serial_takes_its_key_and_nothing_else_of_the_name)
{
	struct svid old, same_key, other;
	struct core_fixture f;

	core_setup(&f);
	old = operator_of(&f, "alice", "00aB11", "k1");
	same_key = operator_of(&f, "carol", "0c0c", "k1");
	other = operator_of(&f, "alice", "0a22", "k2");
	CHECK_OK(check(&f, &old), &f.err);
	CHECK_OK(check(&f, &other), &f.err);
	CHECK_OK(revoke(&f, "AB11", false), &f.err);
	CHECK_INT(check(&f, &old), -EKEYREVOKED);
	CHECK_INT(check(&f, &same_key), -EKEYREVOKED);
	CHECK_OK(check(&f, &other), &f.err);
	core_teardown(&f);
}

TEST(the_last_operator_is_not_locked_out_without_force)
{
	struct svid alice, over;
	struct core_fixture f;

	core_setup(&f);
	alice = operator_of(&f, "alice", "0a11", "k1");
	over = operator_of(&f, "bob", "0b0b", "k2");
	over.not_after.s = over.not_before.s + 10;
	CHECK_OK(check(&f, &alice), &f.err);
	CHECK_OK(check(&f, &over), &f.err);
	core_clock_add(60000);
	CHECK_INT(revoke(&f, "alice", false), -EEXIST);
	CHECK_CONTAINS(f.err.text, "--force");
	CHECK_OK(check(&f, &alice), &f.err);
	CHECK_OK(revoke(&f, "alice", true), &f.err);
	CHECK_INT(check(&f, &alice), -EKEYREVOKED);
	core_teardown(&f);
}

TEST(what_is_issued_here_after_a_revocation_counts_although_it_is_dated_back)
{
	struct svid old, anew;
	struct core_fixture f;

	core_setup(&f);
	old = operator_of(&f, "local", "0a11", "k1");
	CHECK_OK(check(&f, &old), &f.err);
	CHECK_OK(revoke(&f, "local", true), &f.err);
	CHECK(core_operator_revoked(f.core, &old));
	anew = operator_of(&f, "local", "0a22", "k2");
	anew.not_before.s -= BACKDATE_S;
	CHECK_OK(core_operator_issued(f.core, &anew, "controller", &f.err), &f.err);
	CHECK_OK(check(&f, &anew), &f.err);
	core_teardown(&f);
}

TEST(a_revocation_is_in_the_audit_log_and_in_the_list)
{
	struct svid alice, bob;
	struct core_fixture f;
	json_t *list, *one;

	core_setup(&f);
	alice = operator_of(&f, "alice", "0a11", "k1");
	bob = operator_of(&f, "bob", "0b0b", "k2");
	CHECK_OK(check(&f, &alice), &f.err);
	CHECK_OK(check(&f, &bob), &f.err);
	CHECK_OK(revoke(&f, "alice", false), &f.err);
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM audit WHERE verb = 'operator-revoke' AND"
			       " who = 'bob' AND subject = 'alice' AND"
			       " detail LIKE '%key stolen%'"),
		  1);
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM audit WHERE verb = 'operator-new'"), 2);
	list = core_operator_list(f.core, &bob, &f.err);
	one = json_array_get(json_object_get(list, "operators"), 0);
	CHECK_STR(json_string_value(json_object_get(one, "state")), "revoked");
	CHECK_STR(json_string_value(json_object_get(one, "revoked_by")), "bob");
	one = json_array_get(json_object_get(list, "operators"), 1);
	CHECK(json_is_true(json_object_get(one, "asks")));
	json_decref(list);
	core_teardown(&f);
}

/* bob asks. */
static int may(struct core_fixture *f, const char *name, const char *key)
{
	f->err = (struct err){{0}};
	return core_operator_may(f->core, name, key, "bob", &f->err);
}

TEST(another_operator_is_known_from_the_issue_and_can_be_revoked)
{
	struct svid bob, alice;
	struct core_fixture f;

	core_setup(&f);
	bob = operator_of(&f, "bob", "0b0b", "k2");
	CHECK_OK(check(&f, &bob), &f.err);
	CHECK_OK(may(&f, "alice", "k1"), &f.err);
	alice = operator_of(&f, "alice", "0a11", "k1");
	CHECK_OK(core_operator_issued(f.core, &alice, "bob", &f.err), &f.err);
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM audit WHERE verb = 'operator-issue' AND"
			       " who = 'bob' AND subject = 'alice' AND detail LIKE '%0a11%'"),
		  1);
	CHECK_OK(revoke(&f, "alice", false), &f.err);
	CHECK_INT(check(&f, &alice), -EKEYREVOKED);
	core_teardown(&f);
}

TEST(a_name_that_is_taken_is_renewed_by_its_owner_and_by_nobody_else)
{
	struct core_fixture f;
	struct svid s;

	core_setup(&f);
	s = operator_of(&f, "alice", "0a11", "k1");
	CHECK_OK(check(&f, &s), &f.err);
	s = operator_of(&f, "bob", "0b0b", "k2");
	CHECK_OK(check(&f, &s), &f.err);
	CHECK_INT(may(&f, "alice", "k3"), -EEXIST);
	CHECK_CONTAINS(f.err.text, "operator 'alice' has a certificate that is good until 2026");
	CHECK_OK(may(&f, "bob", "k3"), &f.err);
	CHECK_OK(may(&f, "bob", "k2"), &f.err);
	core_clock_add(86400LL * 1000 + 1000); /* both are over */
	CHECK_OK(may(&f, "alice", "k3"), &f.err);
	core_teardown(&f);
}

TEST(a_revoked_name_may_come_back_with_another_key_only)
{
	struct core_fixture f;
	struct svid s;

	core_setup(&f);
	s = operator_of(&f, "alice", "0a11", "k1");
	CHECK_OK(check(&f, &s), &f.err);
	CHECK_OK(revoke(&f, "alice", true), &f.err);
	CHECK_INT(may(&f, "alice", "k1"), -EACCES);
	CHECK_CONTAINS(f.err.text, "this key was revoked");
	CHECK_INT(may(&f, "carol", "k1"), -EACCES);
	CHECK_OK(may(&f, "alice", "k9"), &f.err);
	core_teardown(&f);
}

TEST(two_operators_do_not_share_a_key_and_names_are_names)
{
	char longest[NODE_NAME_MAX + 1];
	struct core_fixture f;
	struct svid s;

	core_setup(&f);
	s = operator_of(&f, "alice", "0a11", "k1");
	CHECK_OK(check(&f, &s), &f.err);
	CHECK_INT(may(&f, "carol", "k1"), -EEXIST);
	CHECK_CONTAINS(f.err.text, "this is the key of operator 'alice'");
	CHECK_INT(may(&f, "carol/x", "k3"), -EINVAL);
	CHECK_INT(may(&f, "", "k3"), -EINVAL);
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	CHECK_INT(may(&f, longest, "k3"), -EINVAL);
	CHECK_CONTAINS(f.err.text, "at most 63 of them would be right");
	core_teardown(&f);
}

/* A node may have an operator's name; they have nothing to do with each other. */
TEST(an_evicted_node_of_the_same_name_takes_no_operator_along)
{
	struct core_fixture f;
	struct svid alice, node;

	core_setup(&f);
	alice = operator_of(&f, "alice", "0a11", "k1");
	node = operator_of(&f, "alice", "0d0d", "k5");
	node.role = SVID_NODE;
	CHECK_OK(core_cert_issued(f.core, &node, &f.err), &f.err);
	CHECK_OK(check(&f, &alice), &f.err);
	CHECK_OK(core_node_evict(f.core, "alice", "bob", &f.err), &f.err);
	CHECK_OK(check(&f, &alice), &f.err);
	core_teardown(&f);
}
