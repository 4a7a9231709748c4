/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Two policies compared: conversations by what they are, not by which rule says so. */
#include "cli/diff_changes.h"

#include "base/mem.h"
#include "base/text.h"
#include "cli/screen.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <string.h>

#define LINES_MAX 8192

static const char head[] =
	"trust_domain: acme.example\n"
	"defaults: {assurance: mapped}\n"
	"identities:\n"
	"  - {name: a, path: p/a, labels: [function=x], workload: [{unit: a.service}]}\n"
	"  - {name: b, path: p/b, labels: [function=x], workload: [{unit: b.service}]}\n"
	"  - {name: s, path: p/s, workload: [{unit: s.service}],\n"
	"     serves: [tcp/1-1000, udp/any, icmp/echo]}\n"
	"networks: [{name: net, cidrs: [10.0.0.0/8]}]\n"
	"rules:\n";

static struct policy *policy_with(const char *rules)
{
	CLEANUP(freep) char *text = mem_printf("%s%s", head, rules);

	return policy_sound(text);
}

/* "a>s tcp/1-9 gained r: (none) -> mapped", one a line. */
static const char *changes_between(const struct policy *old, const struct policy *new)
{
	static char lines[LINES_MAX];
	struct err err = {0};
	json_t *rows;
	size_t at = 0;

	lines[0] = '\0';
	CHECK_OK(diff_changes(old, new, &rows, &err), &err);
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);

		at += (size_t)snprintf(lines + at, sizeof(lines) - at, "%s>%s %s %s %s: %s -> %s\n",
				       field_text(row, "from.name"), field_text(row, "to.name"),
				       field_text(row, "service"), field_text(row, "effect"),
				       field_text(row, "rule"), field_text_or(row, "before", "-"),
				       field_text_or(row, "after", "-"));
	}
	json_decref(rows);
	return lines;
}

static const char *changes(const char *old_rules, const char *new_rules)
{
	CLEANUP(policy_freep) struct policy *old = policy_with(old_rules);
	CLEANUP(policy_freep) struct policy *new = policy_with(new_rules);

	return changes_between(old, new);
}

#define RULE(name, from, to, services, more)                                                       \
	"  - {name: " name ", from: [" from "], to: [" to "], services: [" services                \
	"], purpose: t, owner: o" more "}\n"

TEST(what_is_gained_and_lost_is_named_by_parties_and_service)
{
	CHECK_STR(changes(RULE("r", "a", "s", "tcp/80", ""), RULE("r", "b", "s", "tcp/80", "")),
		  "a>s tcp/80 lost r: mapped -> -\n"
		  "b>s tcp/80 gained r: - -> mapped\n");
}

TEST(another_name_or_order_of_rules_is_no_difference)
{
	CHECK_STR(changes(RULE("r", "a", "s", "tcp/80, tcp/81", "")
				  RULE("q", "b", "s", "udp/5", ""),
			  RULE("x", "b", "s", "udp/5", "") RULE("y", "a", "s", "tcp/81", "")
				  RULE("z", "a", "s", "tcp/80", "")),
		  "");
	CHECK_STR(changes(RULE("r", "\"function=x\"", "s", "tcp/80", ""),
			  RULE("r", "b, a", "s", "tcp/80", "")),
		  "");
}

TEST(ranges_are_cut_where_they_differ)
{
	CHECK_STR(changes(RULE("r", "a", "s", "tcp/1-1000", ""),
			  RULE("r", "a", "s", "tcp/1-99, tcp/101-1000", "")),
		  "a>s tcp/100 lost r: mapped -> -\n");
	CHECK_STR(changes(RULE("r", "a", "s", "tcp/10-20", ""),
			  RULE("r", "a", "s", "tcp/5-12, tcp/13-30", "")),
		  "a>s tcp/5-9 gained r: - -> mapped\n"
		  "a>s tcp/21-30 gained r: - -> mapped\n");
	CHECK_STR(changes(RULE("r", "a", "net", "udp/any", ""),
			  RULE("r", "a", "net", "udp/1-52, udp/54-65535", "")),
		  "a>net udp/53 lost r: mapped -> -\n");
	CHECK_STR(changes(RULE("r", "a", "s", "icmp/echo", ""),
			  RULE("r", "a", "net", "udp/any, tcp/1-65535", "")),
		  "a>s icmp/echo lost r: mapped -> -\n"
		  "a>net tcp/any gained r: - -> mapped\n"
		  "a>net udp/any gained r: - -> mapped\n");
	/* Together they are what one was before. */
	CHECK_STR(changes(RULE("r", "a", "s", "tcp/1-1000", ""),
			  RULE("q", "a", "s", "tcp/1-500", "")
				  RULE("r", "a", "s", "tcp/400-1000", "")),
		  "");
}

TEST(conditions_that_change_are_a_change)
{
	CHECK_STR(changes(RULE("r", "a", "s", "tcp/80", ""),
			  RULE("r", "a", "s", "tcp/80", ", expires: 2027-06-30T00:00:00Z")),
		  "a>s tcp/80 changed r: mapped -> mapped; until 2027-06-30T00:00:00Z\n");
	CHECK_STR(changes(RULE("r", "a", "s", "tcp/80", ", mode: observe"),
			  RULE("r", "a", "s", "tcp/80", "")),
		  "a>s tcp/80 changed r: mapped; mode observe -> mapped\n");
	CHECK_STR(changes(RULE("r", "a", "s", "tcp/80", ", grantable: {max: 8h}"),
			  RULE("r", "a", "s", "tcp/80", "")),
		  "a>s tcp/80 changed r: mapped; only by a grant, at most 8h -> mapped\n");
	CHECK_STR(changes(RULE("r", "a", "s", "tcp/80",
			       ", expires: 2027-06-30T00:00:00Z, on_clock_loss: open"),
			  RULE("r", "a", "s", "tcp/80", ", expires: 2027-06-30T00:00:00Z")),
		  "a>s tcp/80 changed r: mapped; until 2027-06-30T00:00:00Z; stays open when the "
		  "clock is lost -> mapped; until 2027-06-30T00:00:00Z\n");
}

TEST(all_rules_of_a_conversation_count)
{
	/* A second rule opens the same for ever. */
	CHECK_STR(changes(RULE("r", "a", "s", "tcp/80", ", expires: 2027-06-30T00:00:00Z"),
			  RULE("r", "a", "s", "tcp/80", ", expires: 2027-06-30T00:00:00Z")
				  RULE("q", "\"function=x\"", "s", "tcp/1-100", "")),
		  "a>s tcp/1-79 gained q: - -> mapped\n"
		  "a>s tcp/80 changed q: mapped; until 2027-06-30T00:00:00Z -> mapped or mapped; "
		  "until 2027-06-30T00:00:00Z\n"
		  "a>s tcp/81-100 gained q: - -> mapped\n"
		  "b>s tcp/1-100 gained q: - -> mapped\n");
}

TEST(an_identity_is_the_same_by_its_path)
{
	CLEANUP(policy_freep) struct policy *old = policy_with(RULE("r", "a", "s", "tcp/80", ""));
	CLEANUP(freep) char *text = mem_printf("%s%s", head, RULE("r", "alpha", "s", "tcp/80", ""));
	CLEANUP(policy_freep) struct policy *new = NULL;
	struct err err = {0};
	json_t *rows;

	memcpy(strstr(text, "{name: a,"), "{name: z,", strlen("{name: z,"));
	memcpy(strstr(text, "from: [alpha]"), "from: [z    ]", strlen("from: [alpha]"));
	new = policy_sound(text);
	CHECK_STR(changes_between(old, new), "");
	CHECK_OK(diff_definitions(old, new, &rows, &err), &err);
	CHECK_UINT(json_array_size(rows), 1);
	CHECK_STR(field_text(json_array_get(rows, 0), "name"), "p/a");
	CHECK_STR(field_text(json_array_get(rows, 0), "effect"), "changed");
	json_decref(rows);
}

TEST(a_network_is_never_taken_for_an_identity)
{
	CHECK_STR(changes(RULE("r", "a", "net", "tcp/80", ""), RULE("r", "a", "s", "tcp/80", "")),
		  "a>s tcp/80 gained r: - -> mapped\n"
		  "a>net tcp/80 lost r: mapped -> -\n");
}

/* ---- definitions ---- */

static const char *definitions(const char *old_text, const char *new_text)
{
	static char lines[LINES_MAX];
	CLEANUP(policy_freep) struct policy *old = policy_sound(old_text);
	CLEANUP(policy_freep) struct policy *new = policy_sound(new_text);
	struct err err = {0};
	json_t *rows;
	size_t at = 0;

	lines[0] = '\0';
	CHECK_OK(diff_definitions(old, new, &rows, &err), &err);
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i), *what = field(row, "what");

		at += (size_t)snprintf(lines + at, sizeof(lines) - at, "%s %s %s",
				       field_text(row, "kind"), field_text(row, "name"),
				       field_text(row, "effect"));
		for (size_t k = 0; k < json_array_size(what); k++) {
			const json_t *w = json_array_get(what, k);

			at += (size_t)snprintf(lines + at, sizeof(lines) - at, "; %s: %s -> %s",
					       field_text(w, "field"), field_text(w, "before"),
					       field_text(w, "after"));
		}
		at += (size_t)snprintf(lines + at, sizeof(lines) - at, "\n");
	}
	json_decref(rows);
	return lines;
}

TEST(what_names_stand_for_is_compared_too)
{
	static const char old[] =
		"trust_domain: acme.example\n"
		"defaults: {assurance: mapped, deny_out: drop}\n"
		"identities:\n"
		"  - {name: a, path: p/a, labels: [environment=prod], deny_in: reject,\n"
		"     workload: [{unit: a.service, user: root}], placement: {nodes: [n1]}}\n"
		"  - {name: b, path: p/b, workload: [{unit: b.service}], mode: observe}\n"
		"networks: [{name: net, cidrs: [10.0.0.0/8]}, {name: old, cidrs: [192.0.2.0/24]}]\n"
		"nodes: [{pattern: 'n*', addresses: [10.0.0.0/24]}, {pattern: 'n*'}]\n";
	static const char new[] =
		"trust_domain: acme.example\n"
		"defaults: {assurance: mapped}\n"
		"identities:\n"
		"  - {name: a, path: p/a, labels: [environment=test], serves: [tcp/80],\n"
		"     workload: [{unit: a.service}, {cgroup: /x}], placement: {nodes: [n1, n2]}}\n"
		"  - {name: c, path: p/c, workload: [{unit: c.service}]}\n"
		"networks: [{name: net, cidrs: [10.0.0.0/9]}]\n"
		"nodes: [{pattern: 'n*', addresses: [10.0.0.0/24]}, {pattern: 'n*',\n"
		"   addresses: [10.1.0.0/24]}]\n";

	CHECK_STR(definitions(old, old), "");
	CHECK_STR(definitions(old, new),
		  "policy defaults changed; deny_out: drop -> reject\n"
		  "identity p/a changed; workload: {unit: a.service, user: root} -> {unit: "
		  "a.service}, {cgroup: /x}; labels: environment=prod -> environment=test; serves: "
		  " -> tcp/80; placement: n1 -> n1, n2; deny_in: reject -> \n"
		  "identity p/c gained\n"
		  "identity p/b lost\n"
		  "network net changed; cidrs: 10.0.0.0/8 -> 10.0.0.0/9\n"
		  "network old lost\n"
		  "node n* changed; addresses:  -> 10.1.0.0/24\n");
}

static int both(const struct policy *old, const struct policy *new)
{
	json_t *rows = NULL;
	int r = diff_changes(old, new, &rows, NULL);

	json_decref(rows);
	rows = NULL;
	if (r == 0)
		r = diff_definitions(old, new, &rows, NULL);
	json_decref(rows);
	return r;
}

/* Policies themselves are made once, before allocations begin to fail. */
OOM_TEST(a_difference_without_memory)
{
	static struct policy *old, *new;

	if (old == NULL) {
		mem_fail_after(0);
		old = policy_with(RULE("r", "a, b", "s", "tcp/80", ""));
		new = policy_with(RULE("r", "a", "s", "tcp/80-90", "")
					  RULE("q", "a", "s", "tcp/85", ", mode: observe"));
		mem_fail_after(1);
	}
	return both(old, new);
}
