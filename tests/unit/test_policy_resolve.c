/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Subjects to parties, separations, warnings, several files, lookups. */
#include "rules/policy.h"

#include "base/buf.h"
#include "base/mem.h"
#include "rules/policy_grammar.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TOP "trust_domain: acme.example\ndefaults: {assurance: mapped}\n"
#define ID(name, labels)                                                                           \
	"  - {name: " name ", path: p/" name ", workload: [{unit: " name                           \
	".service}], labels: [" labels "]}\n"
/* Lines 3 to 8. */
#define WORLD  "networks: [{name: world, cidrs: [0.0.0.0/0]}, "
#define LAN    "{name: lan, cidrs: [10.0.0.0/8], labels: [environment=prod]}]\n"
#define A      ID("a", "environment=prod, function=web")
#define B      ID("b", "environment=prod, function=db")
#define C      ID("c", "environment=test, function=web")
#define D      ID("d", "function=web")
#define PEOPLE TOP "identities:\n" A B C D WORLD LAN
#define RULE(name, from, to)                                                                       \
	"  - {name: " name ", from: [" from "], to: [" to                                          \
	"], services: [tcp/1], purpose: p, owner: "                                                \
	"o}\n"

static const char *parties(char buf[256], const struct policy *p, const struct party_ref *refs,
			   size_t count)
{
	size_t at = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < count; i++)
		at += (size_t)snprintf(buf + at, 256 - at, "%s%s", i > 0 ? " " : "",
				       refs[i].kind == PARTY_NETWORK
					       ? p->networks[refs[i].index].name
					       : p->identities[refs[i].index].name);
	return buf;
}

TEST(subjects_select_parties)
{
	static const struct {
		const char *subjects, *parties;
	} cases[] = {
		{"a", "a"},
		{"c, a, c, a", "a c"},
		{"world, b", "b world"},
		{"\"environment=prod\"", "a b"}, /* a network is never selected, only named */
		{"\"environment=prod,function=web\"", "a"},
		{"\"function=web,environment=prod\"", "a"},
		{"\"environment=prod|test\"", "a b c"},
		{"\"environment=prod|test,function=db|web\"", "a b c"},
		{"\"function=web\"", "a c d"},
		{"\"function=db\", c, \"environment=test\"", "b c"},
		{"\"environment=test\", \"environment=test\"", "c"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(freep)
		char *text = mem_printf("%srules:\n  - {name: r, from: [%s], to: [b], "
					"services: [tcp/1], purpose: p, owner: o}\n",
					PEOPLE, cases[i].subjects);
		CLEANUP(policy_freep) struct policy *p = policy_sound(text);
		const struct rule *r = &p->rules[0];
		char buf[256];

		CHECK_STR(parties(buf, p, r->from_parties, r->from_party_count), cases[i].parties);
		CHECK_STR(parties(buf, p, r->to_parties, r->to_party_count), "b");
	}
}

TEST(expressions_match_labels)
{
	struct label labels[] = {
		{.key = (char *)(uintptr_t) "environment", .value = (char *)(uintptr_t) "prod"},
		{.key = (char *)(uintptr_t) "pci", .value = (char *)(uintptr_t) "yes"}};

	CHECK(expression_matches("environment=prod", labels, 2));
	CHECK(expression_matches("environment=test|prod,pci=yes", labels, 2));
	CHECK(!expression_matches("environment=pro", labels, 2));
	CHECK(!expression_matches("environment=prod2", labels, 2));
	CHECK(!expression_matches("environmen=prod", labels, 2));
	CHECK(!expression_matches("environment=prod,zone=a", labels, 2));
	CHECK(!expression_matches("environment=prod", labels, 0));
	CHECK(expression_check("a=b|c,d=e", NULL));
	CHECK(!expression_check("a", NULL));
	CHECK(!expression_check("", NULL));
	CHECK(!expression_check("a=b,,c=d", NULL));
}

TEST(separation_refuses_rules_that_join)
{
	static const struct {
		const char *rules, *errors;
	} cases[] = {
		{RULE("r", "a", "b"), ""},
		{RULE("r", "c", "c"), ""},
		{RULE("r", "a", "lan"), ""},
		{RULE("r", "a", "c"),
		 "p.yaml:11:5: rule \"r\" joins environment=prod (a) and environment=test (c); "
		 "list "
		 "it under except, or split it\n"},
		{RULE("r", "c", "lan"),
		 "p.yaml:11:5: rule \"r\" joins environment=test (c) and environment=prod (lan); "
		 "list it under except, or split it\n"},
		{RULE("r", "\"environment=prod|test\"", "b"),
		 "p.yaml:11:5: rule \"r\" joins environment=test (c) and environment=prod (b); "
		 "list "
		 "it under except, or split it\n"},
		{RULE("r", "b", "\"environment=prod|test\""),
		 "p.yaml:11:5: rule \"r\" joins environment=prod (b) and environment=test (c); "
		 "list "
		 "it under except, or split it\n"},
		{RULE("r", "d", "a"),
		 "p.yaml:11:22: rule \"r\": \"d\" has no label environment, by which rules are "
		 "separated; label it, or list the rule under except\n"},
		{RULE("r", "a", "world"),
		 "p.yaml:11:31: rule \"r\": \"world\" has no label environment, by which rules are "
		 "separated; label it, or list the rule under except\n"},
		{RULE("r", "a, \"function=web\"", "world, b"),
		 "p.yaml:11:5: rule \"r\" joins environment=test (c) and environment=prod (b); "
		 "list "
		 "it under except, or split it\n"
		 "p.yaml:11:25: rule \"r\": \"d\" has no label environment, by which rules are "
		 "separated; label it, or list the rule under except\n"
		 "p.yaml:11:47: rule \"r\": \"world\" has no label environment, by which rules are "
		 "separated; label it, or list the rule under except\n"},
		{RULE("x", "a", "c"), ""},
		{RULE("x", "d", "world"), ""},
	};
	char out[FINDINGS_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(freep)
		char *text = mem_printf(
			"%sseparations: [{label: environment, except: [{rule: x, reason: q, "
			"owner: o, "
			"expires: 2027-01-01T00:00:00Z}]}]\nrules:\n%s%s",
			PEOPLE, cases[i].rules,
			strstr(cases[i].rules, "name: x") != NULL ? "" : RULE("x", "a", "b"));
		CLEANUP(policy_freep) struct policy *p = policy_of(text);

		CHECK(p != NULL);
		CHECK_STR(findings_text(out, p, FINDING_ERROR), cases[i].errors);
	}
}

TEST(separation_exceptions_end_and_name_rules)
{
	static const struct {
		const char *except, *errors;
	} cases[] = {
		{"{rule: joint, reason: q, owner: o, expires: 2027-01-01T00:00:00Z}", ""},
		{"{rule: joint, reason: q, owner: o, expires: 2026-11-22T00:00:00Z}",
		 "p.yaml:9:45: the exception for rule \"joint\" ended at 2026-11-22T00:00:00Z; "
		 "remove "
		 "the rule, or decide anew and set a later end\n"},
		{"{rule: joit, reason: q, owner: o, expires: 2027-01-01T00:00:00Z}",
		 "p.yaml:9:45: no rule is called \"joit\"; did you mean \"joint\"?\n"
		 "p.yaml:11:5: rule \"joint\" joins environment=prod (a) and environment=test (c); "
		 "list it under except, or split it\n"},
		{"{rule: joint, reason: q, owner: o, expires: soon}",
		 "p.yaml:9:89: \"soon\" is not a time; write it in UTC, like "
		 "2027-06-30T00:00:00Z\n"},
		{"{rule: joint, reason: q, owner: o}",
		 "p.yaml:9:45: expires is missing; add expires:\n"},
	};
	char out[FINDINGS_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(freep)
		char *text = mem_printf(
			"%sseparations: [{label: environment, except: [%s]}]\nrules:\n%s", PEOPLE,
			cases[i].except, RULE("joint", "a", "c"));
		CLEANUP(policy_freep) struct policy *p = policy_of(text);

		CHECK(p != NULL);
		CHECK_STR(findings_text(out, p, FINDING_ERROR), cases[i].errors);
	}
}

TEST(separations_of_one_label_share_exceptions)
{
	CLEANUP(policy_freep)
	struct policy *p = policy_of(
		PEOPLE
		"separations: [{label: environment}, {label: environment, except: [{rule: r, "
		"reason: q, owner: o, expires: 2027-01-01T00:00:00Z}]}, {label: function}]\n"
		"rules:\n" RULE("r", "a", "c"));
	char out[FINDINGS_TEXT_MAX];

	CHECK_STR(findings_text(out, p, FINDING_ERROR), "");
}

TEST(separation_label_misspelt)
{
	CLEANUP(policy_freep)
	struct policy *p = policy_of(PEOPLE "separations: [{label: enviroment}]\n");
	char out[FINDINGS_TEXT_MAX];

	CHECK_STR(findings_text(out, p, FINDING_ERROR),
		  "p.yaml:9:23: unknown label key \"enviroment\"; did you mean \"environment\"?\n");
}

/* ---- warnings ---- */

TEST(warnings)
{
	static const struct {
		const char *text, *warnings;
	} cases[] = {
		{PEOPLE, ""},
		{PEOPLE "rules:\n" RULE("r", "\"environment=prof\"", "world"),
		 "p.yaml:10:22: no identity has \"environment=prof\"; did you mean "
		 "\"environment=prod\"?\n"},
		{PEOPLE "rules:\n" RULE("r", "\"quite=different\"", "world"),
		 "p.yaml:10:22: \"quite=different\" selects no identity, so this opens nothing; "
		 "correct it, or label the identities meant\n"},
		{PEOPLE "rules: [{name: r, from: [a], to: [world], services: [tcp/1], purpose: p, "
			"owner: o,\n  expires: 2026-11-22T00:00:00Z, review: 2026-01-31}]\n",
		 "p.yaml:9:9: rule \"r\" has expired and opens nothing; remove it, or give it a "
		 "later "
		 "expires:\n"
		 "p.yaml:9:9: rule \"r\" is due for review since 2026-01-31; review it and set the "
		 "next date\n"},
		{PEOPLE "rules:\n" RULE("r", "a", "b") RULE("s", "b", "a"),
		 "p.yaml:10:5: 2 rules are mapped: the called host admits every process of the "
		 "caller's node, and only the caller's own agent tells its processes apart; demand "
		 "attested where that is too little\n"},
		{TOP "identities:\n" ID("a", "tier=critical") "networks: [{name: w, cidrs: "
							      "[10.0.0.0/8]}]\nrules:\n" RULE(
								      "r", "a", "w"),
		 "p.yaml:7:5: rule \"r\" rests on addresses alone (mapped), and \"a\" has "
		 "tier=critical; keep the network narrow\n"},
		{TOP "identities:\n"
		     "  - {name: a, path: a, workload: [{unit: a.service, user: u}]}\n"
		     "  - {name: b, path: b, workload: [{unit: b.service, user: u}]}\n",
		 "p.yaml:5:59: user \"u\" runs \"b\" and \"a\" (line 4): one account, several "
		 "identities; give each an account, or tell them apart by unit\n"},
		{TOP "identities:\n"
		     "  - {name: a, path: a, workload: [{unit: a.service}], serves: [tcp/80]}\n"
		     "  - {name: b, path: b, workload: [{unit: b.service}], serves: [tcp/80-90]}\n",
		 "p.yaml:5:5: \"b\" and \"a\" (line 4) both serve tcp/80-90 and may be placed on "
		 "one "
		 "node; keep their nodes apart with placement:, or their ports\n"},
		{TOP "identities:\n"
		     "  - {name: a, path: a, workload: [{unit: a.service}], placement: {nodes: "
		     "[x-*]}}\nnodes: [{pattern: \"y-*\"}]\n",
		 "p.yaml:4:5: no node under nodes: matches \"x-*\", where \"a\" may be placed; "
		 "list "
		 "the node, or correct the pattern\n"},
		{TOP "identities:\n"
		     "  - {name: a, path: a, workload: [{unit: a.service}], serves: [tcp/80]}\n"
		     "networks: [{name: w, cidrs: [10.0.0.0/8]}]\nrules:\n" RULE("r", "w", "a"),
		 "p.yaml:7:45: rule \"r\": nobody under to: serves tcp/1; add it to serves: of the "
		 "destination, or correct it here\n"},
	};
	char out[FINDINGS_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(policy_freep) struct policy *p = policy_sound(cases[i].text);

		CHECK_STR(findings_text(out, p, FINDING_WARNING), cases[i].warnings);
		CHECK(p->warning_count == 0 || cases[i].warnings[0] != '\0');
	}
}

static struct policy *policy_attesting(const char *text)
{
	struct policy_features features = {.attested = true};
	struct policy *p = policy_new();

	CHECK(p != NULL);
	CHECK_INT(policy_add_text(p, "p.yaml", text, strlen(text)), 0);
	CHECK_INT(policy_finish(p, &features, (struct wall){.s = FIXTURE_NOW_S}), 0);
	return p;
}

TEST(broad_rule_that_lowers_a_narrow_one_is_named)
{
	CLEANUP(policy_freep)
	struct policy *p = policy_attesting(
		PEOPLE
		"rules:\n"
		"  - {name: narrow, from: [a], to: [b], services: [tcp/5], assurance: "
		"attested, purpose: p, owner: o}\n"
		"  - {name: other-port, from: [a], to: [b], services: [tcp/9], purpose: p, "
		"owner: o}\n"
		"  - {name: other-way, from: [b], to: [a], services: [tcp/5], purpose: p, "
		"owner: o}\n"
		"  - {name: broad, from: [\"function=web\"], to: [c, b], services: [tcp/1-9], "
		"purpose: p, owner: o}\n");
	char out[FINDINGS_TEXT_MAX];

	CHECK_CONTAINS(
		findings_text(out, p, FINDING_WARNING),
		"p.yaml:10:5: rule \"narrow\" demands attested, but \"broad\" (line 13) opens "
		"some of the same for mapped; narrow that rule, or set min_assurance: on the "
		"identity\n");
	CHECK(strstr(out, "\"other-port\" (line") == NULL);
	CHECK(strstr(out, "\"other-way\" (line") == NULL);
}

TEST(floor_above_a_rule_is_named)
{
	static const char text[] = TOP "identities:\n" ID(
		"a", "x=y") "  - {name: b, path: b, workload: [{unit: b.service}],\n"
			    "     min_assurance: attested}\n"
			    "rules:\n" RULE("r", "a", "b");
	CLEANUP(policy_freep) struct policy *p = policy_attesting(text);
	char out[FINDINGS_TEXT_MAX];

	CHECK_CONTAINS(findings_text(out, p, FINDING_WARNING),
		       "p.yaml:8:5: rule \"r\" (mapped) opens nothing for \"b\", whose "
		       "min_assurance is attested; raise the rule's assurance\n");
}

/* ---- windows' zones ---- */

static bool only_berlin(void *user, const char *zone)
{
	(*(int *)user)++;
	return strcmp(zone, "Europe/Berlin") == 0;
}

TEST(unknown_time_zone_is_refused)
{
	static const char text[] = TOP
		"identities:\n" ID("a", "x=y") "rules: [{name: r, from: [a], to: [a], services: "
					       "[tcp/1], purpose: p, owner: o,\n"
					       "  window: {days: [sun], from: \"01:00\", to: "
					       "\"02:00\", zone: Europe/Bonn}}]\n";
	int asked = 0;
	struct policy_features features = {.zone_known = only_berlin, .user = &asked};
	CLEANUP(policy_freep) struct policy *p = policy_new();
	char out[FINDINGS_TEXT_MAX];

	CHECK_INT(policy_add_text(p, "p.yaml", text, strlen(text)), 0);
	CHECK_INT(policy_finish(p, &features, (struct wall){.s = FIXTURE_NOW_S}), -EINVAL);
	CHECK_STR(findings_text(out, p, FINDING_ERROR),
		  "p.yaml:6:59: no time zone is called \"Europe/Bonn\"; write a name of the tz "
		  "database, like Europe/Berlin\n");
	CHECK_INT(asked, 1);
}

/* ---- several files ---- */

TEST(files_are_joined)
{
	static const char one[] = "trust_domain: acme.example\nrules:\n" RULE("r", "a", "b");
	static const char two[] = TOP "identities:\n" ID("a", "x=y");
	static const char three[] = "trust_domain: acme.example\ndefaults: {assurance: mapped, "
				    "deny_in: reject}\nidentities:\n" ID("b", "x=y");
	struct policy_features features = {.attested = false};
	CLEANUP(policy_freep) struct policy *p = policy_new();
	char out[FINDINGS_TEXT_MAX];

	CHECK_INT(policy_add_text(p, "1.yaml", one, strlen(one)), 0);
	CHECK_INT(policy_add_text(p, "2.yaml", two, strlen(two)), 0);
	CHECK_INT(policy_add_text(p, "3.json", three, strlen(three)), 0);
	(void)policy_finish(p, &features, (struct wall){.s = FIXTURE_NOW_S});
	CHECK_STR(findings_text(out, p, FINDING_ERROR), "");
	CHECK_UINT(p->file_count, 3);
	CHECK_UINT(p->identity_count, 2);
	CHECK_INT(p->deny_in, DENY_REJECT);
	CHECK_INT(p->deny_out, DENY_REJECT);
	CHECK_UINT(p->identities[1].pos.file, 2);
	CHECK_UINT(p->rules[0].to_party_count, 1);
}

TEST(files_that_contradict)
{
	static const char one[] =
		TOP "identities:\n" ID("a", "x=y") "rules:\n" RULE("r", "bb", "a");
	static const char two[] = "trust_domain: other.example\ndefaults: {assurance: attested, "
				  "deny_in: drop}\nidentities:\n" ID("a", "x=y") ID("bb2", "x=y");
	struct policy_features features = {.attested = false};
	CLEANUP(policy_freep) struct policy *p = policy_new();
	char out[FINDINGS_TEXT_MAX];

	CHECK_INT(policy_add_text(p, "1.yaml", one, strlen(one)), 0);
	CHECK_INT(policy_add_text(p, "2.yaml", two, strlen(two)), 0);
	CHECK_INT(policy_finish(p, &features, (struct wall){.s = FIXTURE_NOW_S}), -EINVAL);
	CHECK_STR(
		findings_text(out, p, FINDING_ERROR),
		"1.yaml:6:22: no identity is called \"bb\"; did you mean \"bb2\" (2.yaml:5)?\n"
		"2.yaml:1:15: trust_domain \"other.example\" contradicts \"acme.example\" "
		"(1.yaml:1); one policy has one trust domain\n"
		"2.yaml:2:23: defaults: assurance contradicts 1.yaml:2; all files must agree on "
		"it\n"
		"2.yaml:4:5: the name \"a\" is taken (1.yaml:4); identities, networks and devices "
		"need names that differ\n"
		"2.yaml:4:21: the path \"p/a\" belongs to \"a\" (1.yaml:4); each identity needs a "
		"path of its own\n"
		"2.yaml:4:37: \"a\" and \"a\" (1.yaml:4) claim the same process: both take "
		"unit=a.service; add a selector to each that the other does not share, or place "
		"them on different nodes\n");
}

TEST(no_file_is_no_policy)
{
	struct policy_features features = {.attested = false};
	CLEANUP(policy_freep) struct policy *p = policy_new();

	CHECK_INT(policy_finish(p, &features, (struct wall){.s = FIXTURE_NOW_S}), -EINVAL);
}

/* ---- lookups ---- */

TEST(lookups_by_name_and_path)
{
	CLEANUP(policy_freep)
	struct policy *p =
		policy_sound(PEOPLE "rules:\n" RULE("r", "a", "world") RULE("s", "a", "b"));

	CHECK_INT(policy_find_identity(p, "b"), 1);
	CHECK_INT(policy_find_identity(p, "p/c"), 2);
	CHECK_INT(policy_find_identity(p, "world"), -ENOENT);
	CHECK_INT(policy_find_identity(p, "p"), -ENOENT);
	CHECK_INT(policy_find_network(p, "lan"), 1);
	CHECK_INT(policy_find_network(p, "a"), -ENOENT);
	CHECK_INT(policy_find_rule(p, "s"), 1);
	CHECK_INT(policy_find_rule(p, "t"), -ENOENT);
}

static uint32_t rules_mask(const struct policy *p, enum party_kind kind, uint32_t index, bool to)
{
	struct party_ref ref = {.kind = kind, .index = index};
	struct rule_iter it;
	uint32_t rule, mask = 0;

	if (to)
		policy_rules_to(p, ref, &it);
	else
		policy_rules_from(p, ref, &it);
	while (policy_next_rule(p, &it, &rule)) {
		CHECK((mask & 1U << rule) == 0);
		mask |= 1U << rule;
	}
	return mask;
}

TEST(rules_of_a_party)
{
	CLEANUP(policy_freep)
	struct policy *p = policy_sound(
		PEOPLE "rules:\n" RULE("r0", "a", "world") RULE("r1", "\"function=web\"", "b, a")
			RULE("r2", "a", "a") RULE("r3", "world", "b") RULE("r4", "a, c", "b, a"));

	CHECK_UINT(rules_mask(p, PARTY_IDENTITY, 0, false), 1 | 2 | 4 | 16);
	CHECK_UINT(rules_mask(p, PARTY_IDENTITY, 0, true), 2 | 4 | 16);
	CHECK_UINT(rules_mask(p, PARTY_IDENTITY, 1, false), 0);
	CHECK_UINT(rules_mask(p, PARTY_IDENTITY, 1, true), 2 | 8 | 16);
	CHECK_UINT(rules_mask(p, PARTY_IDENTITY, 2, false), 2 | 16);
	CHECK_UINT(rules_mask(p, PARTY_IDENTITY, 3, false), 2);
	CHECK_UINT(rules_mask(p, PARTY_NETWORK, 0, true), 1);
	CHECK_UINT(rules_mask(p, PARTY_NETWORK, 0, false), 8);
	CHECK_UINT(rules_mask(p, PARTY_NETWORK, 1, true), 0);
	/* Rules that say the same share a list. */
	CHECK(p->rules[1].to_parties == p->rules[4].to_parties);
}

/* ---- grammar ---- */

TEST(patterns_that_meet)
{
	static const struct {
		const char *a, *b;
		bool meet;
	} cases[] = {
		{"a", "a", true},        {"a", "b", false},        {"a", "ab", false},
		{"*", "anything", true}, {"*", "*", true},         {"pay-*", "api-*", false},
		{"pay-*", "*-1", true},  {"a*b", "ab", true},      {"a*b", "a", false},
		{"a*", "*b", true},      {"a*c", "b*c", false},    {"*a*", "b", false},
		{"a**", "a", true},      {"x*y*z", "xz*yz", true}, {"x*1", "x*2", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CHECK_INT(patterns_overlap(cases[i].a, cases[i].b), cases[i].meet);
		CHECK_INT(patterns_overlap(cases[i].b, cases[i].a), cases[i].meet);
	}
}

TEST(many_identities_and_rules_in_little_time)
{
	CLEANUP(buf_done) struct buf b;
	clock_t start;

	buf_init(&b, 32U << 20);
	buf_puts(&b, TOP "identities:\n");
	for (int i = 0; i < 10000; i++)
		buf_printf(&b,
			   "  - {name: i%d, path: p/i%d, labels: [environment=prod, function=f%d], "
			   "workload: [{unit: u%d.service}], serves: [tcp/80], placement: {nodes: "
			   "[n%d]}}\n",
			   i, i, i % 100, i, i);
	buf_puts(&b, "rules:\n");
	for (int i = 0; i < 10000; i++)
		buf_printf(&b,
			   "  - {name: r%d, from: [\"environment=prod,function=f%d\"], to: "
			   "[i%d], services: [tcp/80], purpose: p, owner: o}\n",
			   i, i % 100, i);
	buf_puts(&b, "separations: [{label: environment}]\n");
	CHECK_INT(b.r, 0);
	start = clock();
	{
		CLEANUP(policy_freep) struct policy *p = policy_sound(b.data);

		CHECK_UINT(p->rule_count, 10000);
		CHECK_UINT(p->list_count, 10100);
		CHECK_UINT(p->rules[9999].from_party_count, 100);
	}
	/* 0.4 s when it was written, and 30 times that under valgrind; the square would be hours.
	 */
	CHECK((clock() - start) / CLOCKS_PER_SEC < 60);
}
