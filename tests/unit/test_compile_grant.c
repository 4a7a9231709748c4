/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Grants and stale mappings: what opens, until when, and what never opens. */
#include "tests/unit/compile_fixture.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include "base/mem.h"
#include "rules/marks.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HOUR 3600
/* The rule of FIXTURE_NOW_S ends six weeks later; the window closes after twelve hours. */
#define WINDOW          ", window: {days: [sun], from: \"00:00\", to: \"12:00\", zone: UTC}"
#define GRANTABLE(more) RULE("jit", "a, b", "x, y", "tcp/5432", ", grantable: {max: 30d}" more)
#define PEOPLE          ID("a", "") ID("b", "") ID("x", "") ID("y", "")

static void world(struct compiled *f, const char *policy)
{
	compiled_init(f, policy);
	compiled_place(f, "prod/a", NULL);
	compiled_place(f, "prod/b", NULL);
	compiled_peer(f, "prod/x", "db-1", "10.0.0.9", NULL);
	compiled_peer(f, "prod/y", "db-2", "10.0.0.10", NULL);
}

#define CHECK_TO(f, who, where, verdict) CHECK_STR(compiled_out(f, who, where, "tcp/5432"), verdict)

TEST(a_grantable_rule_opens_nothing_by_itself)
{
	CLEANUP(compiled_done) struct compiled f;

	world(&f, TOP PEOPLE "rules:\n" GRANTABLE(""));
	compiled_run(&f);
	CHECK_TO(&f, "a", "10.0.0.9", "a > x tcp/5432: none");
	CHECK_TO(&f, "b", "10.0.0.10", "b > y tcp/5432: none");
	CHECK_UINT(f.g->lease_count, 0);
	CHECK_INT(f.g->next_change.s, 0);
}

TEST(a_grant_opens_its_pair_and_no_other_until_its_end)
{
	CLEANUP(compiled_done) struct compiled f;

	world(&f, TOP PEOPLE "rules:\n" GRANTABLE(""));
	compiled_grant(&f, "jit", "prod/a", "prod/x", HOUR);
	compiled_run(&f);
	CHECK_TO(&f, "a", "10.0.0.9", "a > x tcp/5432: leased");
	CHECK_TO(&f, "a", "10.0.0.10", "a > y tcp/5432: none");
	CHECK_TO(&f, "b", "10.0.0.9", "b > x tcp/5432: none");
	CHECK_UINT(f.g->lease_count, 1);
	CHECK_INT(f.g->leases[0].end.s, FIXTURE_NOW_S + HOUR);
	CHECK_INT(f.g->next_change.s, FIXTURE_NOW_S + HOUR);
	CHECK_UINT(f.g->refused_count, 0);
	f.in.now.s += HOUR;
	compiled_run(&f);
	CHECK_TO(&f, "a", "10.0.0.9", "a > x tcp/5432: none");
	CHECK_INT(f.g->next_change.s, 0);
}

TEST(of_two_grants_for_a_pair_the_longer_one_counts)
{
	CLEANUP(compiled_done) struct compiled f;

	world(&f, TOP PEOPLE "rules:\n" GRANTABLE(""));
	compiled_grant(&f, "jit", "prod/a", "prod/x", HOUR);
	compiled_grant(&f, "jit", "prod/a", "prod/x", 3 * HOUR);
	compiled_grant(&f, "jit", "prod/a", "prod/x", 2 * HOUR);
	compiled_run(&f);
	CHECK_UINT(f.g->lease_count, 1);
	CHECK_INT(f.g->leases[0].end.s, FIXTURE_NOW_S + 3 * HOUR);
	CHECK_INT(f.g->next_change.s, FIXTURE_NOW_S + HOUR);
}

TEST(a_grant_is_no_longer_than_what_it_opens)
{
	static const struct {
		const char *rules;
		int64_t stale, end; /* from now; 0 = none */
	} cases[] = {
		{GRANTABLE(""), 0, 720 * HOUR},
		{GRANTABLE(", expires: 2026-11-23T00:00:00Z"), 0, 24 * HOUR},
		{GRANTABLE(WINDOW), 0, 12 * HOUR},
		{GRANTABLE(", on_stale: end"), 0, 720 * HOUR},
		{GRANTABLE(", on_stale: end"), HOUR, HOUR},
		{GRANTABLE(", on_stale: end" WINDOW), 24 * HOUR, 12 * HOUR},
		{GRANTABLE(", on_stale: keep"), HOUR, 720 * HOUR},
	};
	static const char head[] = TOP PEOPLE "rules:\n";

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(compiled_done) struct compiled f;
		char text[2048];

		(void)snprintf(text, sizeof(text), "%s%s", head, cases[i].rules);
		world(&f, text);
		compiled_grant(&f, "jit", "prod/a", "prod/x", 720 * HOUR);
		f.in.stale_end.s = cases[i].stale ? FIXTURE_NOW_S + cases[i].stale : 0;
		compiled_run(&f);
		CHECK_TO(&f, "a", "10.0.0.9", "a > x tcp/5432: leased");
		CHECK_UINT(f.g->lease_count, 1);
		CHECK_INT(f.g->leases[0].end.s, FIXTURE_NOW_S + cases[i].end);
	}
}

TEST(a_grant_is_no_longer_than_the_rule_allows_from_when_it_was_seen)
{
	static const struct {
		int64_t since, until, end; /* from now; since 0 = just now */
	} cases[] = {
		{0, HOUR, HOUR},
		{0, 31 * 24 * HOUR, 30 * 24 * HOUR},
		{-24 * HOUR, 1000 * HOUR, 29 * 24 * HOUR},
		{-31 * 24 * HOUR, 1000 * HOUR, 0},
		/* A clock that was set back makes nothing longer. */
		{24 * HOUR, 1000 * HOUR, 30 * 24 * HOUR},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(compiled_done) struct compiled f;

		world(&f, TOP PEOPLE "rules:\n" GRANTABLE(""));
		compiled_grant(&f, "jit", "prod/a", "prod/x", cases[i].until);
		if (cases[i].since != 0)
			f.overlay.grants[0].since.s = FIXTURE_NOW_S + cases[i].since;
		compiled_run(&f);
		CHECK_UINT(f.g->lease_count, cases[i].end != 0);
		if (cases[i].end != 0)
			CHECK_INT(f.g->leases[0].end.s, FIXTURE_NOW_S + cases[i].end);
	}
}

TEST(a_grant_opens_no_closed_window_and_no_expired_rule)
{
	static const char *const rules[] = {
		GRANTABLE(", expires: 2026-01-01T00:00:00Z"),
		GRANTABLE(", window: {days: [mon], from: \"10:00\", to: \"12:00\", zone: UTC}"),
		GRANTABLE(", on_stale: end"),
	};
	static const char head[] = TOP PEOPLE "rules:\n";

	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		CLEANUP(compiled_done) struct compiled f;
		char text[2048];

		(void)snprintf(text, sizeof(text), "%s%s", head, rules[i]);
		world(&f, text);
		compiled_grant(&f, "jit", "prod/a", "prod/x", HOUR);
		f.in.stale_end.s = FIXTURE_NOW_S;
		compiled_run(&f);
		CHECK_TO(&f, "a", "10.0.0.9", "a > x tcp/5432: none");
	}
}

TEST(a_grant_outside_of_policy_is_refused_with_a_sentence)
{
	static const struct {
		const char *rule, *from, *to, *says;
	} cases[] = {
		{"jot", "prod/a", "prod/x",
		 "grant of 'jot' for 'prod/a' > 'prod/x': policy has no such rule"},
		{"open", "prod/a", "prod/x",
		 "grant of 'open' for 'prod/a' > 'prod/x': policy does not mark the rule "
		 "grantable"},
		{"jit", "prod/a", "prod/nobody",
		 "grant of 'jit' for 'prod/a' > 'prod/nobody': policy has no such identity"},
		{"jit", "prod/x", "prod/a",
		 "grant of 'jit' for 'prod/x' > 'prod/a': the caller is not under from: of the "
		 "rule"},
		{"jit", "prod/a", "prod/b",
		 "grant of 'jit' for 'prod/a' > 'prod/b': the called one is not under to: of the "
		 "rule"},
	};
	static const char text[] =
		TOP PEOPLE "rules:\n" GRANTABLE("") RULE("open", "b", "y", "tcp/80", "");

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(compiled_done) struct compiled f;

		world(&f, text);
		compiled_grant(&f, cases[i].rule, cases[i].from, cases[i].to, HOUR);
		compiled_run(&f);
		CHECK_UINT(f.g->refused_count, 1);
		CHECK_STR(f.g->refused[0], cases[i].says);
		CHECK_UINT(f.g->lease_count, 0);
		CHECK_TO(&f, "a", "10.0.0.9", "a > x tcp/5432: none");
	}
}

TEST(quarantine_and_revocation_beat_a_grant)
{
	static const struct {
		int kind;
		const char *name;
	} cases[] = {
		{-1, "prod/a"},
		{-1, "prod/x"},
		{REVOKED_RULE, "jit"},
		{REVOKED_IDENTITY, "prod/x"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(compiled_done) struct compiled f;

		world(&f, TOP PEOPLE "rules:\n" GRANTABLE(""));
		compiled_grant(&f, "jit", "prod/a", "prod/x", HOUR);
		if (cases[i].kind < 0)
			compiled_quarantine(&f, cases[i].name, NULL);
		else
			compiled_revoke(&f, cases[i].kind, cases[i].name);
		compiled_run(&f);
		CHECK_TO(&f, "a", "10.0.0.9", "a > x tcp/5432: none");
	}
}

TEST(a_grant_does_not_lower_a_floor)
{
	CLEANUP(compiled_done) struct compiled f;

	world(&f, TOP PEOPLE "rules:\n" GRANTABLE(""));
	compiled_grant(&f, "jit", "prod/a", "prod/x", HOUR);
	f.policy->identities[policy_find_identity(f.policy, "x")].min_assurance =
		ASSURANCE_ATTESTED;
	compiled_run(&f);
	CHECK_TO(&f, "a", "10.0.0.9", "a > x tcp/5432: none");
}

TEST(a_plain_rule_is_not_shortened_by_a_grant)
{
	CLEANUP(compiled_done) struct compiled f;

	world(&f, TOP PEOPLE "rules:\n" GRANTABLE("") RULE("open", "a", "x", "tcp/5432", ""));
	compiled_grant(&f, "jit", "prod/a", "prod/x", HOUR);
	compiled_run(&f);
	CHECK_TO(&f, "a", "10.0.0.9", "a > x tcp/5432: accept");
}

TEST(a_called_host_opens_the_same_pair)
{
	CLEANUP(compiled_done) struct compiled f;

	compiled_init(&f, TOP PEOPLE "rules:\n" GRANTABLE(""));
	compiled_place(&f, "prod/x", NULL);
	compiled_place(&f, "prod/y", NULL);
	compiled_peer(&f, "prod/a", "ops-1", "10.0.0.9", NULL);
	compiled_peer(&f, "prod/b", "ops-2", "10.0.0.10", NULL);
	compiled_grant(&f, "jit", "prod/a", "prod/x", HOUR);
	compiled_run(&f);
	CHECK_STR(compiled_in(&f, "x", "10.0.0.9", "tcp/5432"), "ops-1 > x tcp/5432: leased");
	CHECK_STR(compiled_in(&f, "y", "10.0.0.9", "tcp/5432"), "ops-1 > y tcp/5432: none");
	CHECK_STR(compiled_in(&f, "x", "10.0.0.10", "tcp/5432"), "ops-2 > x tcp/5432: none");
}

TEST(a_stale_mapping_ends_the_rules_that_say_so)
{
	CLEANUP(compiled_done) struct compiled f;

	world(&f, TOP PEOPLE "rules:\n" RULE("ends", "a", "x", "tcp/5432", ", on_stale: end")
			  RULE("keeps", "b", "x", "tcp/5432", ""));
	compiled_run(&f);
	CHECK_TO(&f, "a", "10.0.0.9", "a > x tcp/5432: accept");
	f.in.stale_end.s = FIXTURE_NOW_S + HOUR;
	compiled_run(&f);
	CHECK_TO(&f, "a", "10.0.0.9", "a > x tcp/5432: leased");
	CHECK_TO(&f, "b", "10.0.0.9", "b > x tcp/5432: accept");
	CHECK_UINT(f.g->lease_count, 1);
	CHECK_INT(f.g->leases[0].end.s, FIXTURE_NOW_S + HOUR);
	CHECK_INT(f.g->next_change.s, FIXTURE_NOW_S + HOUR);
	f.in.now.s += HOUR;
	compiled_run(&f);
	CHECK_TO(&f, "a", "10.0.0.9", "a > x tcp/5432: none");
	CHECK_TO(&f, "b", "10.0.0.9", "b > x tcp/5432: accept");
}

/* A controller's head may hold thousands; they cost a sort, not a search per conduit. */
TEST(thousands_of_grants_and_quarantines_compile_at_once)
{
	CLEANUP(compiled_done) struct compiled f;
	char name[32];

	world(&f, TOP PEOPLE "rules:\n" GRANTABLE(""));
	for (unsigned i = 0; i < 4096; i++) {
		(void)snprintf(name, sizeof(name), "prod/n%u", i);
		compiled_grant(&f, "jit", "prod/a", i % 2 ? name : "prod/x", HOUR + i);
		compiled_quarantine(&f, i % 2 ? name : "prod/b", i % 4 ? name : NULL);
	}
	compiled_run(&f);
	CHECK_TO(&f, "a", "10.0.0.9", "a > x tcp/5432: leased");
	CHECK_INT(f.g->leases[0].end.s, FIXTURE_NOW_S + HOUR + 4094);
	CHECK_UINT(f.g->refused_count, REFUSED_MAX);
}

OOM_TEST(grants_survive_missing_memory)
{
	static struct compiled f;
	static bool ready;
	CLEANUP(generation_freep) struct generation *g = NULL;
	CLEANUP(numbers_freep) struct numbers *numbers = NULL, *identities = NULL;

	if (!ready) {
		mem_fail_after(0);
		world(&f, TOP PEOPLE "rules:\n" GRANTABLE(""));
		compiled_grant(&f, "jit", "prod/a", "prod/x", HOUR);
		compiled_grant(&f, "jot", "prod/a", "prod/x", HOUR);
		compiled_quarantine(&f, "prod/b", NULL);
		ready = true;
		mem_fail_after(1);
	}
	numbers = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	identities = numbers_new(MARK_IDENTITY_MIN, MARK_IDENTITY_MAX);
	if (!numbers || !identities)
		return -ENOMEM;
	return compile_generation(&f.in, numbers, identities, &g, &f.err);
}
