/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reasons in words: complete, and the same list in the manual. */
#include "rules/verdict_text.h"

#include "base/file.h"
#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define PAGE_MAX (1U << 20)

TEST(every_reason_has_a_meaning_and_parses_back)
{
	for (int i = 0; i < REASON_COUNT; i++) {
		enum reason r = (enum reason)i, parsed = REASON_COUNT;

		CHECK(reason_meaning(r) != NULL && *reason_meaning(r) != '\0');
		CHECK(reason_advice(r) != NULL);
		CHECK_INT(reason_parse(reason_name(r), &parsed), 0);
		CHECK_INT(parsed, r);
	}
}

TEST(a_status_behind_a_colon_is_ignored_and_other_words_are_no_reasons)
{
	enum reason r = REASON_COUNT;

	CHECK_INT(reason_parse("attest_refused:expired", &r), 0);
	CHECK_INT(r, REASON_ATTEST_REFUSED);
	CHECK_INT(reason_parse("no_rules", &r), -ENOENT);
	CHECK_INT(reason_parse("no_rul", &r), -ENOENT);
	CHECK_INT(reason_parse("", &r), -ENOENT);
}

TEST(the_manual_lists_every_reason)
{
	CLEANUP(freep) char *page = NULL;
	struct err err = {0};
	size_t len;

	CHECK_OK(file_read(AT_FDCWD, "man/bailiwick-decisions.5", PAGE_MAX, &page, &len, &err),
		 &err);
	for (int i = 0; i < REASON_COUNT; i++) {
		char line[64];

		(void)snprintf(line, sizeof(line), "\n.It Li %s\n", reason_name((enum reason)i));
		CHECK_CONTAINS(page, line);
	}
}

TEST(because_names_mode_and_answer)
{
	const struct verdict denied = {
		.decision = DECISION_DENIED, .reason = REASON_NO_RULE, .answer = DENY_REJECT};
	const struct verdict watched = {.decision = DECISION_WOULD_DENY,
					.reason = REASON_OUTSIDE_WINDOW};
	CLEANUP(buf_done) struct buf b = {0};

	buf_init(&b, PAGE_MAX);
	verdict_because(&denied, MODE_SELECTIVE, &b);
	CHECK_STR(b.data, "no rule allows it (no_rule); mode selective; answer reject, so the "
			  "caller fails at once");
	buf_done(&b);
	verdict_because(&watched, MODE_ENFORCE, &b);
	CHECK_STR(b.data, "the rule's window is closed now (outside_window); mode enforce; "
			  "recorded and let pass, because of mode observe");
}

/* A lease that nobody granted and one that ended look alike to the kernel, not to who must act. */
TEST(a_rule_that_opens_by_grants_says_how_to_get_one)
{
	char file[] = "p.yaml", backup[] = "prod/backup", api[] = "prod/api", name[] = "jit";
	char *files[] = {file};
	struct identity identities[] = {{.path = backup}, {.path = api}};
	struct rule rules[] = {{.name = name, .grantable = true, .grant_max_s = 8 * 3600}};
	struct policy p = {.files = files,
			   .file_count = 1,
			   .identities = identities,
			   .identity_count = 2,
			   .rules = rules,
			   .rule_count = 1};
	struct verdict v = {.decision = DECISION_DENIED,
			    .reason = REASON_LEASE_ENDED,
			    .from_identity = 0,
			    .to_identity = 1,
			    .rule = -1,
			    .fails_on = "grantable: no grant is in force"};
	CLEANUP(buf_done) struct buf b = {0};

	CHECK_STR(verdict_meaning(&v), "the rule opens by grants only, and none is in force");
	buf_init(&b, PAGE_MAX);
	verdict_to_allow(&p, &v, &b);
	CHECK_CONTAINS(b.data, "for at most 8h: bailiwick-controller grant jit --from prod/backup "
			       "--to prod/api --for");
	(void)snprintf(v.fails_on, sizeof(v.fails_on), "expires: ended");
	CHECK_STR(verdict_meaning(&v), "the rule's permission has ended");
}

/* Only no_rule is answered by a change of the nearest rule; the others have an advice of their own.
 */
TEST(what_to_change_follows_from_what_fails)
{
	char file[] = "p.yaml", backup[] = "backup", api[] = "api", name[] = "r";
	char *files[] = {file};
	struct identity identities[] = {{.name = backup}, {.name = api}};
	struct rule rules[] = {{.name = name, .pos = {0, 31, 5}}};
	struct policy p = {.files = files,
			   .file_count = 1,
			   .identities = identities,
			   .identity_count = 2,
			   .rules = rules,
			   .rule_count = 1};
	struct verdict v = {.decision = DECISION_DENIED,
			    .reason = REASON_NO_RULE,
			    .from_identity = 0,
			    .to_identity = 1,
			    .rule = -1};
	static const struct {
		const char *fails_on, *expected;
	} cases[] = {
		{"from: caller is backup", "add backup to from: of p.yaml:31"},
		{"to: called is api", "add api to to: of p.yaml:31"},
		{"services: asked for tcp/1", "add the service to services: of p.yaml:31"},
		{"", "see p.yaml:31: "},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(buf_done) struct buf b = {0};

		buf_init(&b, PAGE_MAX);
		(void)snprintf(v.fails_on, sizeof(v.fails_on), "%s", cases[i].fails_on);
		verdict_to_allow(&p, &v, &b);
		CHECK_STR(b.data, cases[i].expected);
	}
}
