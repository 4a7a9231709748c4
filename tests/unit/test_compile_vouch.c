/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Conduits that ask: who asks, where answers lead, what opens without one, what outlives an edit.
 */
#include "rules/compile.h"

#include "base/mem.h"
#include "base/text.h"
#include "rules/marks.h"
#include "tests/unit/compile_fixture.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <string.h>

#define REFERENCE                                                                                  \
	", reference: [\"00000000000000000000000000000000000000000000000000000000000000a1\"]"
#define PEOPLE                                                                                     \
	TOP ID("api", "") ID("settlement", REFERENCE) ID("reporting", REFERENCE) ID("backup", "")
#define LAN                     "networks:\n  - {name: lan, cidrs: [\"10.0.0.0/24\"]}\n"
#define ATTESTED                ", assurance: attested"
#define MEASURED                ", assurance: measured"
#define CALLS(name, from, more) RULE(name, from, "api", "tcp/8443", more)
#define PAY                     "10.0.0.5"

/* api is here; settlement, reporting and backup are at one address of one node. */
static void world(struct compiled *f, const char *text)
{
	compiled_init(f, text);
	compiled_place(f, "prod/api", "10.0.0.1");
	compiled_peer(f, "prod/settlement", "n-1", PAY, NULL);
	compiled_peer(f, "prod/reporting", "n-1", PAY, NULL);
	compiled_peer(f, "prod/backup", "n-1", PAY, NULL);
	compiled_run(f);
}

static const struct conduit *conduit_at(const struct compiled *f, bool in, const char *local,
					const char *address, const char *service)
{
	struct addr a = fixture_addr(address);
	struct service s = fixture_service(service);

	return generation_find(f->g, compiled_find(f, in, compiled_mark(f, local), &a, &s, SLOT_A));
}

/* What a flow of the asking conduit becomes when this identity is vouched for: "-" refused. */
static const char *vouched(struct compiled *f, const struct conduit *asked, const char *path)
{
	const struct conduit *c = generation_vouched(f->g, asked, path);
	char comment[CONDUIT_COMMENT_MAX];

	if (!c)
		return "-";
	(void)snprintf(f->text, sizeof(f->text), "%s: %s%s", conduit_comment(comment, f->g, c),
		       live_name(compiled_live(f, c->number | MARK_VOUCHED)),
		       c->assurance == ASSURANCE_MEASURED ? ", measured" : "");
	return f->text;
}

static const char *unavailable(const struct compiled *f, const struct conduit *asked)
{
	return live_name(compiled_live(f, asked->number | MARK_UNAVAILABLE));
}

#define CHECK_VOUCHED(f, asked, who, expected)                                                     \
	CHECK_STR(vouched((f), (asked), "prod/" who), (expected))

/* --- who asks -------------------------------------------------------------------------------- */

TEST(the_node_asks_and_the_identity_goes_on)
{
	CLEANUP(compiled_done) struct compiled f;
	const struct conduit *n;

	world(&f, PEOPLE "rules:\n" CALLS("calls", "settlement", ATTESTED));
	n = conduit_at(&f, true, "api", PAY, "tcp/8443");
	CHECK_STR(compiled_in(&f, "api", PAY, "tcp/8443"), "n-1 > api tcp/8443: ask");
	CHECK(compiled_has_mark(&f, SET_PENDING, n->number));
	CHECK_VOUCHED(&f, n, "settlement", "settlement > api tcp/8443: accept");
	CHECK_VOUCHED(&f, n, "reporting", "-");
	CHECK_STR(unavailable(&f, n), "none");
	CHECK(!generation_wants_evidence(f.g, n));
	/* Bare numbers of identities, and the node's with both bits, are on no live flow. */
	CHECK_UINT(compiled_live(&f, generation_vouched(f.g, n, "prod/settlement")->number),
		   LIVE_NONE);
	CHECK_UINT(compiled_live(&f, n->number | MARK_NOT_VOUCHED), LIVE_NONE);
}

TEST(a_mapped_neighbour_is_asked_first_and_remains_the_fallback)
{
	CLEANUP(compiled_done) struct compiled f;
	const struct conduit *n;

	world(&f, PEOPLE "rules:\n" CALLS("calls", "settlement", ATTESTED)
			  CALLS("reads", "reporting", ""));
	n = conduit_at(&f, true, "api", PAY, "tcp/8443");
	CHECK_UINT(n->verdict, LIVE_ASK);
	CHECK_VOUCHED(&f, n, "settlement", "settlement > api tcp/8443: accept");
	CHECK_VOUCHED(&f, n, "reporting", "reporting > api tcp/8443: accept");
	CHECK_VOUCHED(&f, n, "backup", "-");
	CHECK_STR(unavailable(&f, n), "accept");
}

TEST(without_any_rule_that_demands_more_nobody_is_asked)
{
	CLEANUP(compiled_done) struct compiled f;

	world(&f,
	      PEOPLE LAN "rules:\n" CALLS("reads", "reporting", "") CALLS("scrapes", "lan", ""));
	CHECK_STR(compiled_in(&f, "api", PAY, "tcp/8443"), "n-1 > api tcp/8443: accept");
	CHECK_UINT(compiled_count(&f, SET_PENDING), 0);
	CHECK_UINT(f.g->link_count, 0);
}

TEST(a_question_does_not_come_and_go_with_a_window)
{
	CLEANUP(compiled_done) struct compiled f;
	const struct conduit *n;

	world(&f, PEOPLE "rules:\n" CALLS("calls", "settlement", ATTESTED EXPIRED)
			  CALLS("reads", "reporting", ""));
	n = conduit_at(&f, true, "api", PAY, "tcp/8443");
	CHECK_UINT(n->verdict, LIVE_ASK);
	CHECK_VOUCHED(&f, n, "settlement", "settlement > api tcp/8443: none");
	CHECK_VOUCHED(&f, n, "reporting", "reporting > api tcp/8443: accept");
}

TEST(what_nothing_opens_is_not_asked_about)
{
	CLEANUP(compiled_done) struct compiled f;

	world(&f, PEOPLE "rules:\n" CALLS("calls", "settlement", ATTESTED EXPIRED));
	CHECK_STR(compiled_in(&f, "api", PAY, "tcp/8443"), "n-1 > api tcp/8443: none");
}

TEST(allow_opens_when_nobody_can_be_asked)
{
	CLEANUP(compiled_done) struct compiled f;
	const struct conduit *n;

	world(&f,
	      PEOPLE "rules:\n" CALLS("calls", "settlement", ATTESTED ", on_unavailable: allow"));
	n = conduit_at(&f, true, "api", PAY, "tcp/8443");
	CHECK_STR(unavailable(&f, n), "accept");
	CHECK(compiled_has_mark(&f, SET_OPEN_IF_UNAVAILABLE, n->number | MARK_UNAVAILABLE));
	CHECK(!compiled_has_mark(&f, SET_OPEN_IF_UNAVAILABLE, n->number));
}

TEST(a_network_lets_in_whoever_is_named_and_nobody_who_was_contained)
{
	CLEANUP(compiled_done) struct compiled f;
	const struct conduit *n;

	world(&f, PEOPLE LAN "rules:\n" CALLS("calls", "settlement", ATTESTED)
			  CALLS("scrapes", "lan", ""));
	n = conduit_at(&f, true, "api", PAY, "tcp/8443");
	CHECK_VOUCHED(&f, n, "backup", "n-1 > api tcp/8443: accept");
	CHECK_VOUCHED(&f, n, "settlement", "settlement > api tcp/8443: accept");
	compiled_quarantine(&f, "prod/backup", NULL);
	compiled_quarantine(&f, "prod/settlement", NULL);
	compiled_run(&f);
	n = conduit_at(&f, true, "api", PAY, "tcp/8443");
	CHECK_VOUCHED(&f, n, "backup", "-");
	CHECK_VOUCHED(&f, n, "settlement", "settlement > api tcp/8443: none");
	CHECK_VOUCHED(&f, n, "reporting", "n-1 > api tcp/8443: accept");
}

TEST(quarantine_of_one_makes_its_whole_node_ask)
{
	CLEANUP(compiled_done) struct compiled f;
	const struct conduit *n;

	world(&f, PEOPLE "rules:\n" CALLS("reads", "reporting", ""));
	CHECK_STR(compiled_in(&f, "api", PAY, "tcp/8443"), "n-1 > api tcp/8443: accept");
	/* It has no rule itself; but behind its address nobody tells it from reporting. */
	compiled_quarantine(&f, "prod/backup", NULL);
	compiled_run(&f);
	n = conduit_at(&f, true, "api", PAY, "tcp/8443");
	CHECK_UINT(n->verdict, LIVE_ASK);
	CHECK_VOUCHED(&f, n, "reporting", "reporting > api tcp/8443: accept");
	CHECK_VOUCHED(&f, n, "backup", "-");
}

/* --- measured -------------------------------------------------------------------------------- */

TEST(measured_is_asked_for_where_it_opens_more)
{
	CLEANUP(compiled_done) struct compiled f;
	const struct conduit *n;

	world(&f, PEOPLE "rules:\n" CALLS("pays", "settlement", MEASURED) CALLS(
			  "reads", "reporting", ATTESTED) CALLS("more", "reporting", MEASURED));
	n = conduit_at(&f, true, "api", PAY, "tcp/8443");
	CHECK(generation_wants_evidence(f.g, n));
	CHECK_VOUCHED(&f, n, "settlement", "settlement > api tcp/8443: accept, measured");
	CHECK_VOUCHED(&f, n, "reporting", "reporting > api tcp/8443: accept");
	/* As soon as the rule that does not measure has ended, the other one is what counts. */
	f.policy->rules[1].has_expires = true;
	f.policy->rules[1].expires.s = f.in.now.s - 1;
	compiled_run(&f);
	n = conduit_at(&f, true, "api", PAY, "tcp/8443");
	CHECK_VOUCHED(&f, n, "reporting", "reporting > api tcp/8443: accept, measured");
}

TEST(what_runs_unapproved_here_loses_its_measured_rules)
{
	static const char *const bad[] = {"prod/settlement", NULL};
	CLEANUP(compiled_done) struct compiled f;

	compiled_init(&f, PEOPLE "rules:\n" CALLS("pays", "settlement", MEASURED)
				  RULE("local", "settlement", "reporting", "tcp/1", MEASURED)
					  RULE("other", "settlement", "api", "tcp/80", ATTESTED));
	compiled_place(&f, "prod/settlement", "10.0.0.1");
	compiled_place(&f, "prod/reporting", "10.0.0.1");
	compiled_peer(&f, "prod/api", "n-1", "10.0.0.9", NULL);
	compiled_run(&f);
	CHECK_STR(compiled_out(&f, "settlement", "10.0.0.9", "tcp/8443"),
		  "settlement > api tcp/8443: accept");
	f.in.unmeasured = bad;
	compiled_run(&f);
	CHECK_STR(compiled_out(&f, "settlement", "10.0.0.9", "tcp/8443"),
		  "settlement > api tcp/8443: none");
	CHECK_STR(compiled_loopback(&f, "settlement", "10.0.0.1", "tcp/1", "reporting"),
		  "settlement > reporting tcp/1: none");
	CHECK_STR(compiled_out(&f, "settlement", "10.0.0.9", "tcp/80"),
		  "settlement > api tcp/80: accept");
}

/* --- egress ---------------------------------------------------------------------------------- */

static const char calling[] = PEOPLE
	"rules:\n" RULE("books", "api", "settlement", "tcp/7000, udp/7001", ", callee: attested")
		RULE("sends", "api", "reporting", "tcp/7002", ATTESTED);

TEST(a_caller_asks_who_listens_and_is_its_own_witness)
{
	CLEANUP(compiled_done) struct compiled f;
	const struct conduit *c;

	world(&f, calling);
	CHECK_STR(compiled_out(&f, "api", PAY, "tcp/7000"), "api > settlement tcp/7000: ask");
	CHECK_STR(compiled_out(&f, "api", PAY, "udp/7001"), "api > settlement udp/7001: ask");
	CHECK_STR(compiled_out(&f, "api", PAY, "tcp/7002"), "api > reporting tcp/7002: accept");
	c = conduit_at(&f, false, "api", PAY, "tcp/7000");
	CHECK(c->flags & CONDUIT_CALLEE);
	CHECK(generation_vouched(f.g, c, "prod/settlement") == c);
	CHECK_UINT(compiled_live(&f, c->number | MARK_VOUCHED), LIVE_ACCEPT);
	CHECK_VOUCHED(&f, c, "backup", "-");
}

TEST(nobody_is_asked_who_listens_where_another_rule_opens_it)
{
	CLEANUP(compiled_done) struct compiled f;

	world(&f,
	      PEOPLE "rules:\n" RULE("asks", "api", "settlement", "tcp/7000", ", callee: attested")
		      RULE("just", "api", "settlement", "tcp/7000", ""));
	CHECK_STR(compiled_out(&f, "api", PAY, "tcp/7000"), "api > settlement tcp/7000: accept");
}

TEST(nobody_vouches_for_an_echo)
{
	CLEANUP(compiled_done) struct compiled f;

	world(&f, PEOPLE "rules:\n" RULE("a", "settlement", "api", "icmp/echo", ATTESTED));
	CHECK_STR(compiled_in_echo(&f, PAY, "icmp/echo"), "n-1 > pay-1 icmp/echo: none");
	f.policy->rules[0].on_unavailable = ON_UNAVAILABLE_ALLOW;
	compiled_run(&f);
	CHECK_STR(compiled_in_echo(&f, PAY, "icmp/echo"), "n-1 > pay-1 icmp/echo: accept");
}

/* --- elements -------------------------------------------------------------------------------- */

TEST(datagrams_have_elements_of_answers_only)
{
	CLEANUP(compiled_done) struct compiled f;
	const struct conduit *n, *m;
	uint64_t api;

	world(&f, PEOPLE "rules:\n" RULE("a", "settlement", "api", "udp/9000",
					 ATTESTED ", on_unavailable: allow"));
	n = conduit_at(&f, true, "api", PAY, "udp/9000");
	m = generation_vouched(f.g, n, "prod/settlement");
	api = compiled_cgroup(&f, "api");
	CHECK_UINT(compiled_live_udp(&f, n->number, api), LIVE_NONE);
	CHECK_UINT(compiled_live_udp(&f, n->number | MARK_UNAVAILABLE, api), LIVE_ACCEPT);
	CHECK_UINT(compiled_live_udp(&f, m->number | MARK_VOUCHED, api), LIVE_ACCEPT);
}

TEST(a_lease_is_of_the_mark_that_it_ends)
{
	CLEANUP(compiled_done) struct compiled f;
	const struct conduit *n, *m;

	world(&f, PEOPLE "rules:\n" CALLS("calls", "settlement", ATTESTED EXPIRES)
			  CALLS("reads", "reporting", ""));
	n = conduit_at(&f, true, "api", PAY, "tcp/8443");
	m = generation_vouched(f.g, n, "prod/settlement");
	CHECK_UINT(compiled_live(&f, m->number | MARK_VOUCHED), LIVE_LEASED);
	CHECK(compiled_lease(&f, m->number | MARK_VOUCHED) > f.in.now.s);
	CHECK_INT(compiled_lease(&f, m->number), 0);
	CHECK_INT(compiled_lease(&f, n->number), 0);
}

TEST(a_revoked_conduit_of_a_node_ends_whom_it_let_in)
{
	CLEANUP(compiled_done) struct compiled f;
	const struct conduit *n, *m;
	char number[16];

	world(&f, PEOPLE "rules:\n" CALLS("calls", "settlement", ATTESTED EXPIRES));
	n = conduit_at(&f, true, "api", PAY, "tcp/8443");
	(void)snprintf(number, sizeof(number), "%u", n->number);
	compiled_revoke(&f, REVOKED_CONDUIT, number);
	compiled_run(&f);
	n = conduit_at(&f, true, "api", PAY, "tcp/8443");
	m = generation_vouched(f.g, n, "prod/settlement");
	CHECK_UINT(compiled_live(&f, n->number), LIVE_NONE);
	CHECK_UINT(compiled_live(&f, m->number | MARK_VOUCHED), LIVE_NONE);
	CHECK_UINT(f.g->lease_count, 0);
}

TEST(silence_towards_the_unvouched_is_an_identitys_own_choice)
{
	CLEANUP(compiled_done) struct compiled f;
	const struct conduit *n;

	world(&f, PEOPLE "rules:\n" CALLS("calls", "settlement", ATTESTED));
	CHECK_UINT(compiled_count(&f, SET_DENY_IN_DROP), 0);
	f.policy->identities[0].deny_in = DENY_DROP;
	compiled_run(&f);
	n = conduit_at(&f, true, "api", PAY, "tcp/8443");
	CHECK(compiled_has_mark(&f, SET_DENY_IN_DROP, n->number | MARK_NOT_VOUCHED));
	CHECK_UINT(compiled_count(&f, SET_DENY_IN_DROP), 1);
}

TEST(who_observes_is_known_under_every_mark_that_may_be_refused)
{
	CLEANUP(compiled_done) struct compiled f;
	const struct conduit *n, *m;

	world(&f, PEOPLE "rules:\n" CALLS("calls", "settlement", ATTESTED ", mode: observe"));
	n = conduit_at(&f, true, "api", PAY, "tcp/8443");
	CHECK(compiled_has_mark(&f, SET_ASK_WATCHED, n->number));
	CHECK(compiled_has_mark(&f, SET_ASK_WATCHED, n->number | MARK_UNAVAILABLE));
	CHECK(compiled_has_mark(&f, SET_ASK_WATCHED, n->number | MARK_NOT_VOUCHED));
	CHECK(!compiled_has_mark(&f, SET_OBSERVE_WHO, n->number | MARK_NOT_VOUCHED));
	f.policy->identities[0].observe = true;
	f.policy->rules[0].observe = false;
	f.policy->rules[0].has_expires = true;
	f.policy->rules[0].expires.s = f.in.now.s + 60;
	compiled_run(&f);
	n = conduit_at(&f, true, "api", PAY, "tcp/8443");
	m = generation_vouched(f.g, n, "prod/settlement");
	CHECK_UINT(compiled_count(&f, SET_ASK_WATCHED), 0);
	CHECK(compiled_has_mark(&f, SET_OBSERVE_WHO, n->number | MARK_NOT_VOUCHED));
	CHECK(compiled_has_mark(&f, SET_OBSERVE_WHO, n->number | MARK_UNAVAILABLE));
	CHECK(compiled_has_mark(&f, SET_OBSERVE_WHO, m->number | MARK_VOUCHED));
}

/* --- changes --------------------------------------------------------------------------------- */

static const char mapped_text[] = PEOPLE "rules:\n" CALLS("calls", "settlement", "");
static const char attested_text[] = PEOPLE "rules:\n" CALLS("calls", "settlement", ATTESTED);

/* Compiles `text` with the borders of the other; numbers are kept. */
static struct generation *generation_of(struct compiled *f, const struct policy *policy,
					const struct policy *other)
{
	struct compile_input in = f->in;
	struct generation *g = NULL;

	in.policy = policy;
	in.also_cut = other;
	CHECK_OK(compile_generation(&in, f->numbers, f->identities, &g, &f->err), &f->err);
	return g;
}

TEST(a_flow_keeps_its_mark_over_a_switch_and_back)
{
	CLEANUP(compiled_done) struct compiled f, other;
	CLEANUP(generation_freep) struct generation *a = NULL, *b = NULL;
	CLEANUP(ruleset_freep) struct ruleset *r = NULL;
	const struct set_items *live;
	const struct conduit *n, *m;
	const uint8_t *record;
	uint32_t mark;

	world(&f, mapped_text);
	world(&other, attested_text);
	a = generation_of(&f, f.policy, other.policy);
	b = generation_of(&f, other.policy, f.policy);
	n = generation_find(b, conduit_at(&f, true, "api", PAY, "tcp/8443")->number);
	CHECK(n && n->verdict == LIVE_ASK);
	m = generation_vouched(b, n, "prod/settlement");
	/* Vouched for under the candidate: known to the confirmed policy, open as its address is.
	 */
	CHECK(generation_find(a, m->number)->vouched == LIVE_ACCEPT);
	CHECK(generation_find(a, n->number)->unavailable == LIVE_ACCEPT);
	CHECK_OK(ruleset_build(a, b, &f.host, &f.host, &f.shape, &r, &f.err), &f.err);
	live = ruleset_find(r, (struct set_ref){.kind = SET_LIVE});
	record = set_items_find(live, &n->number);
	CHECK_UINT(record[set_value_offset(SET_LIVE)], live_pair(LIVE_ACCEPT, LIVE_ASK));
	mark = m->number | MARK_VOUCHED;
	record = set_items_find(live, &mark);
	CHECK_UINT(record[set_value_offset(SET_LIVE)], LIVE_ACCEPT);
}

static bool has_number(const uint32_t *list, size_t count, uint32_t number)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == number)
			return true;
	return false;
}

TEST(a_rule_that_begins_to_ask_names_the_flows_to_ask_about)
{
	CLEANUP(compiled_done) struct compiled f, other;
	CLEANUP(generation_freep) struct generation *a = NULL, *b = NULL;
	CLEANUP(freep) uint32_t *numbers = NULL, *none = NULL;
	uint32_t n;
	size_t count = 0;

	world(&f, mapped_text);
	world(&other, attested_text);
	n = conduit_at(&f, true, "api", PAY, "tcp/8443")->number;
	a = generation_of(&f, f.policy, NULL);
	b = generation_of(&f, other.policy, NULL);
	CHECK_INT(generation_begins_to_ask(a, b, &numbers, &count), 0);
	CHECK_UINT(count, 1);
	CHECK_UINT(numbers[0], n);
	CHECK_INT(generation_begins_to_ask(b, b, &none, &count), 0);
	CHECK_UINT(count, 0);
}

TEST(a_rule_that_stops_asking_lets_vouched_flows_go_on_by_address)
{
	CLEANUP(compiled_done) struct compiled f, other;
	CLEANUP(generation_freep) struct generation *a = NULL, *b = NULL;
	CLEANUP(freep) uint32_t *marks = NULL;
	const struct conduit *n, *m;
	size_t count = 0;

	world(&f, attested_text);
	world(&other, mapped_text);
	a = generation_of(&f, f.policy, NULL);
	b = generation_of(&f, other.policy, NULL);
	n = generation_find(a, conduit_at(&f, true, "api", PAY, "tcp/8443")->number);
	m = generation_vouched(a, n, "prod/settlement");
	CHECK_INT(generation_rederive(a, b, &marks, &count), 0);
	CHECK(has_number(marks, count, m->number | MARK_VOUCHED));
	CHECK(!has_number(marks, count, m->number));
	CHECK(!has_number(marks, count, n->number));
}

TEST(flows_of_a_listener_that_is_no_longer_asked_for_go_on)
{
	CLEANUP(compiled_done) struct compiled f, other;
	CLEANUP(generation_freep) struct generation *a = NULL, *b = NULL;
	CLEANUP(freep) uint32_t *marks = NULL;
	uint32_t number;
	size_t count = 0;

	world(&f, PEOPLE "rules:\n" RULE("books", "api", "settlement", "tcp/7000",
					 ", callee: attested, on_unavailable: allow"));
	world(&other, PEOPLE "rules:\n" RULE("books", "api", "settlement", "tcp/7000", ""));
	a = generation_of(&f, f.policy, NULL);
	b = generation_of(&f, other.policy, NULL);
	number = conduit_at(&f, false, "api", PAY, "tcp/7000")->number;
	CHECK_INT(generation_rederive(a, b, &marks, &count), 0);
	CHECK_UINT(count, 2);
	CHECK(has_number(marks, count, number | MARK_VOUCHED));
	CHECK(has_number(marks, count, number | MARK_UNAVAILABLE));
}

TEST(vouched_flows_of_a_rule_that_went_end_although_others_are_asked_about)
{
	CLEANUP(compiled_done) struct compiled f, other;
	CLEANUP(generation_freep) struct generation *a = NULL, *b = NULL;
	CLEANUP(freep) uint32_t *marks = NULL;
	const struct conduit *m;
	size_t count = 0;

	world(&f, PEOPLE "rules:\n" CALLS("calls", "settlement", ATTESTED)
			  CALLS("reads", "reporting", ATTESTED));
	world(&other, PEOPLE "rules:\n" CALLS("reads", "reporting", ATTESTED));
	a = generation_of(&f, f.policy, NULL);
	b = generation_of(&f, other.policy, NULL);
	m = generation_vouched(a, conduit_at(&f, true, "api", PAY, "tcp/8443"), "prod/settlement");
	CHECK_INT(generation_rederive(a, b, &marks, &count), 0);
	CHECK(!has_number(marks, count, m->number | MARK_VOUCHED));
}

TEST(a_rule_that_begins_to_measure_asks_again)
{
	CLEANUP(compiled_done) struct compiled f, other;
	CLEANUP(generation_freep) struct generation *a = NULL, *b = NULL;
	CLEANUP(freep) uint32_t *marks = NULL, *numbers = NULL;
	const struct conduit *n, *m;
	size_t count = 0;

	world(&f, attested_text);
	world(&other, PEOPLE "rules:\n" CALLS("calls", "settlement", MEASURED));
	a = generation_of(&f, f.policy, NULL);
	b = generation_of(&f, other.policy, NULL);
	n = conduit_at(&f, true, "api", PAY, "tcp/8443");
	m = generation_vouched(a, n, "prod/settlement");
	/* Another number: who was only vouched for is not measured. */
	CHECK(!generation_find(b, m->number));
	CHECK_INT(generation_rederive(a, b, &marks, &count), 0);
	CHECK(has_number(marks, count, m->number | MARK_VOUCHED));
	CHECK_INT(generation_begins_to_ask(a, b, &numbers, &count), 0);
	CHECK(has_number(numbers, count, n->number));
}
