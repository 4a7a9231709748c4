/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What changes of policy and view do to numbers, and two policies at once. */
#include "rules/compile.h"

#include "base/mem.h"
#include "tests/unit/compile_fixture.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <string.h>

#define CHECK_OUT(f, who, address, service, expected)                                              \
	CHECK_STR(compiled_out((f), (who), (address), (service)), (expected))

static const char plain[] = TOP ID("a", "") ID("b", "") "rules:\n" AB("x", "");

/* --- numbers --------------------------------------------------------------------------------- */

static uint32_t number_of(struct compiled *f, const char *who, const char *address,
			  const char *service)
{
	struct service s = fixture_service(service);
	struct addr a = fixture_addr(address);

	return compiled_find(f, false, compiled_mark(f, who), &a, &s, SLOT_A);
}

TEST(numbers_stay_when_rules_are_edited)
{
	CLEANUP(compiled_done) struct compiled f;
	uint32_t before;

	compiled_init(&f, TOP ID("a", "") ID("b", "") "rules:\n" AB("x", ""));
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9", NULL);
	compiled_run(&f);
	before = number_of(&f, "a", "10.0.0.9", "tcp/80");
	compiled_policy(&f, TOP ID("c", "") ID("b", "") ID("a", "") "rules:\n" AB("z", EXPIRES)
				    RULE("more", "a", "b", "tcp/81", ""));
	compiled_run(&f);
	CHECK_UINT(number_of(&f, "a", "10.0.0.9", "tcp/80"), before);
	CHECK(number_of(&f, "a", "10.0.0.9", "tcp/81") != before);
}

TEST(a_moved_identity_gets_other_conduits_and_the_old_flows_end)
{
	CLEANUP(compiled_done) struct compiled f;
	CLEANUP(generation_freep) struct generation *old = NULL;
	CLEANUP(freep) uint32_t *rederive = NULL;
	size_t count = 0;
	uint32_t before;

	compiled_init(&f, TOP ID("a", "") ID("b", "") "rules:\n" AB("x", ""));
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9", NULL);
	compiled_run(&f);
	before = number_of(&f, "a", "10.0.0.9", "tcp/80");
	old = TAKE_PTR(f.g);
	compiled_clear_view(&f);
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-2", "10.0.0.10", NULL);
	compiled_run(&f);
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/80", "-");
	CHECK(number_of(&f, "a", "10.0.0.10", "tcp/80") != before);
	CHECK(generation_find(f.g, before) == NULL);
	CHECK_INT(generation_rederive(old, f.g, &rederive, &count), 0);
	CHECK_UINT(count, 0);
}

TEST(an_address_that_leaves_takes_the_number_with_it)
{
	CLEANUP(compiled_done) struct compiled f;
	CLEANUP(generation_freep) struct generation *old = NULL;
	CLEANUP(freep) uint32_t *rederive = NULL;
	size_t count = 0;
	uint32_t before;

	compiled_init(&f, TOP ID("a", "") ID("b", "") "rules:\n" AB("x", ""));
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9 10.0.0.10", NULL);
	compiled_run(&f);
	before = number_of(&f, "a", "10.0.0.9", "tcp/80");
	CHECK_UINT(number_of(&f, "a", "10.0.0.10", "tcp/80"), before);
	old = TAKE_PTR(f.g);
	compiled_clear_view(&f);
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.10", NULL);
	compiled_run(&f);
	CHECK(generation_find(f.g, before) == NULL);
	CHECK_INT(generation_rederive(old, f.g, &rederive, &count), 0);
	CHECK_UINT(count, 1);
	CHECK_UINT(rederive[0], before);
}

TEST(a_conduit_that_is_cut_up_is_rederived_and_a_deleted_one_is_not)
{
#define TEN "networks: [{name: ten, cidrs: [\"10.0.0.0/8\"]}]\n"
	static const struct {
		const char *old_rules, *new_rules;
		size_t count;
	} cases[] = {
		{AB("x", ""), AB("x", ""), 0},
		{AB("x", ""), RULE("y", "a", "b", "tcp/81", ""), 0},
		{AB("x", ""), RULE("y", "a", "b", "udp/80", ""), 0},
		{RULE("x", "a", "b", "tcp/80-90", ""), RULE("x", "a", "b", "tcp/80-85", ""), 1},
		{RULE("x", "a", "b", "tcp/1-1024", ""), AB("x", ""), 1},
		{AB("x", ""), RULE("x", "a", "ten", "tcp/80", ""), 1},
		{RULE("x", "a", "ten", "tcp/80", ""), AB("x", ""), 1},
		{RULE("x", "a", "ten", "tcp/80", ""), RULE("x", "ten", "a", "tcp/80", ""), 0},
		{RULE("x", "b", "a", "tcp/80-81", ""), RULE("x", "b", "a", "tcp/80", ""), 1},
		{RULE("x", "b", "a", "icmp/echo", ""), RULE("x", "ten", "a", "icmp/echo", ""), 1},
	};
	CLEANUP(compiled_done) struct compiled f;
	char text[2048];

	compiled_init(&f, plain);
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9", NULL);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(generation_freep) struct generation *old = NULL;
		CLEANUP(freep) uint32_t *rederive = NULL;
		size_t count = 0;

		(void)snprintf(text, sizeof(text), "%s%s",
			       TOP ID("a", "") ID("b", "") TEN "rules:\n", cases[i].old_rules);
		compiled_policy(&f, text);
		compiled_run(&f);
		old = TAKE_PTR(f.g);
		(void)snprintf(text, sizeof(text), "%s%s",
			       TOP ID("a", "") ID("b", "") TEN "rules:\n", cases[i].new_rules);
		compiled_policy(&f, text);
		compiled_run(&f);
		CHECK_INT(generation_rederive(old, f.g, &rederive, &count), 0);
		CHECK_UINT(count, cases[i].count);
	}
}

/* On loopback the receiver is looked at when a flow begins: nobody inherits another's flows. */
TEST(flows_on_loopback_are_not_handed_to_another_receiver)
{
	static const struct {
		const char *old_rules, *new_rules;
		size_t count;
	} cases[] = {
		{RULE("x", "a", "b", "tcp/80-85", ""), RULE("x", "a", "b", "tcp/80", ""), 1},
		{RULE("x", "a", "b", "tcp/80-85", ""), RULE("x", "a", "c", "tcp/80", ""), 0},
		{RULE("x", "a", "b", "tcp/80-85", EXPIRED ", mode: observe"),
		 RULE("x", "a", "c", "tcp/80", EXPIRED ", mode: observe"), 0},
		{RULE("x", "a", "b", "tcp/80-85", ""),
		 RULE("x", "a", "b", "tcp/80", "") RULE("y", "a", "c", "tcp/81", ""), 0},
		{RULE("x", "a", "b, c", "tcp/80-85", ""), RULE("x", "a", "c", "tcp/80", ""), 0},
		{RULE("x", "a", "c", "tcp/80-85", ""), RULE("x", "a", "b, c", "tcp/80", ""), 1},
	};
	CLEANUP(compiled_done) struct compiled f;
	char text[2048];

	compiled_init(&f, plain);
	compiled_place(&f, "prod/a", NULL);
	compiled_place(&f, "prod/b", NULL);
	compiled_place(&f, "prod/c", NULL);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(generation_freep) struct generation *old = NULL;
		CLEANUP(freep) uint32_t *rederive = NULL;
		size_t count = 0;

		(void)snprintf(text, sizeof(text), "%s%s",
			       TOP ID("a", "") ID("b", "") ID("c", "") "rules:\n",
			       cases[i].old_rules);
		compiled_policy(&f, text);
		compiled_run(&f);
		old = TAKE_PTR(f.g);
		(void)snprintf(text, sizeof(text), "%s%s",
			       TOP ID("a", "") ID("b", "") ID("c", "") "rules:\n",
			       cases[i].new_rules);
		compiled_policy(&f, text);
		compiled_run(&f);
		CHECK_INT(generation_rederive(old, f.g, &rederive, &count), 0);
		CHECK_UINT(count, cases[i].count);
	}
}

/* --- two policies ---------------------------------------------------------------------------- */

#define WORLD_AND_TEN                                                                              \
	"networks:\n"                                                                              \
	"  - {name: world, cidrs: [\"0.0.0.0/0\"]}\n"                                              \
	"  - {name: ten, cidrs: [\"10.0.0.0/8\"]}\n"
#define SERVES_99 ", serves: [tcp/99]"

static const char confirmed_text[] = TOP ID("a", "") ID("b", "") WORLD_AND_TEN
	"rules:\n" RULE("x", "a", "b", "tcp/80-90", "") RULE("w", "a", "world", "tcp/any", "");
static const char candidate_text[] = TOP ID("a", "") ID("b", "") ID("c", SERVES_99) WORLD_AND_TEN
	"rules:\n" RULE("y", "a", "b", "tcp/85", "") RULE("w", "a", "world", "tcp/any", "")
		RULE("t", "a", "ten", "tcp/443", "") RULE("c", "a", "c", "tcp/99", "");

static void compile_both(struct compiled *f)
{
	compiled_init(f, confirmed_text);
	compiled_place(f, "prod/a", NULL);
	compiled_peer(f, "prod/b", "b-1", "10.0.0.9", NULL);
	compiled_peer(f, "prod/c", "c-1", "192.168.0.9", NULL);
}

/* The other policy's name must not make a flow to one receiver look like a flow to another. */
TEST(on_loopback_a_number_tells_who_may_be_called)
{
	CLEANUP(compiled_done) struct compiled f, g;
	struct service s = fixture_service("tcp/80");
	struct addr a = fixture_addr("127.0.0.1");
	uint32_t x, y;

	compiled_init(&f, TOP ID("a", "") ID("b", "") ID("c", "") "rules:\n" AB("x", ""));
	compiled_init(&g, TOP ID("a", "") ID("b", "")
				  ID("c", "") "rules:\n" RULE("x", "a", "c", "tcp/80", ""));
	compiled_place(&f, "prod/a", NULL);
	compiled_place(&f, "prod/b", NULL);
	compiled_place(&f, "prod/c", NULL);
	numbers_free(g.numbers);
	numbers_free(g.identities);
	g.numbers = f.numbers;
	g.identities = f.identities;
	g.in.view = f.view;
	f.in.also_cut = g.policy;
	g.in.also_cut = f.policy;
	CHECK_OK(compile_generation(&f.in, f.numbers, f.identities, &f.g, &f.err), &f.err);
	CHECK_OK(compile_generation(&g.in, f.numbers, f.identities, &g.g, &g.err), &g.err);
	CHECK_OK(ruleset_build(f.g, g.g, &f.host, &g.host, &f.shape, &f.r, &f.err), &f.err);
	x = compiled_find(&f, false, f.g->locals[0].mark, &a, &s, SLOT_A);
	y = compiled_find(&f, false, f.g->locals[0].mark, &a, &s, SLOT_B);
	CHECK(x != 0 && y != 0);
	CHECK(x != y);
	g.numbers = NULL;
	g.identities = NULL;
}

#define THREE ID("a", "") ID("b", "") ID("c", "")

/* Two policies of one node where a, b and c run, compiled with each other's borders. */
static void compile_pair_here(struct compiled *f, struct compiled *g, const char *confirmed,
			      const char *candidate)
{
	compiled_init(f, confirmed);
	compiled_init(g, candidate);
	compiled_place(f, "prod/a", NULL);
	compiled_place(f, "prod/b", NULL);
	compiled_place(f, "prod/c", NULL);
	numbers_free(g->numbers);
	numbers_free(g->identities);
	g->numbers = f->numbers;
	g->identities = f->identities;
	g->in.view = f->view;
	f->in.also_cut = g->policy;
	g->in.also_cut = f->policy;
	CHECK_OK(compile_generation(&f->in, f->numbers, f->identities, &f->g, &f->err), &f->err);
	CHECK_OK(compile_generation(&g->in, f->numbers, f->identities, &g->g, &g->err), &g->err);
	CHECK_OK(ruleset_build(f->g, g->g, &f->host, &g->host, &f->shape, &f->r, &f->err), &f->err);
	g->numbers = NULL;
	g->identities = NULL;
}

/* Which of two receivers a flow goes to is known when it begins, and not from its number. */
TEST(on_loopback_a_flow_goes_on_while_all_whom_it_may_go_to_may_be_called)
{
	static const char *const more[] = {
		/* c names the conduit, once b may be called too */
		TOP THREE "rules:\n" RULE("x", "a", "c", "tcp/80", ""),
		TOP THREE "rules:\n" RULE("x", "a", "c, b", "tcp/80", ""),
		/* an identity that the confirmed policy does not know */
		TOP ID("a", "") ID("c", "") "rules:\n" RULE("x", "a", "c", "tcp/80", ""),
		TOP THREE "rules:\n" RULE("x", "a", "c, b", "tcp/80", ""),
	};
	struct service s = fixture_service("tcp/80");
	struct addr at = fixture_addr("127.0.0.1");

	for (size_t i = 0; i < ARRAY_LEN(more); i += 2) {
		CLEANUP(compiled_done) struct compiled f, g;
		CLEANUP(generation_freep) struct generation *alone = NULL;
		uint32_t x, y;

		compile_pair_here(&f, &g, more[i], more[i + 1]);
		x = compiled_find(&f, false, f.g->locals[0].mark, &at, &s, SLOT_A);
		y = compiled_find(&f, false, f.g->locals[0].mark, &at, &s, SLOT_B);
		CHECK(x != 0 && y != 0 && x != y);
		/* The same as before: nothing is judged anew, maybe by the candidate already. */
		f.in.also_cut = NULL;
		CHECK_OK(compile_generation(&f.in, f.numbers, f.identities, &alone, &f.err),
			 &f.err);
		CHECK_UINT(alone->conduits[0].number, x);
		CHECK_UINT(compiled_live(&f, x), LIVE_ACCEPT);
		CHECK(compiled_is_end(&f, x, compiled_cgroup(&f, "c")));
		/* Who began it on probation may be with b. */
		CHECK_UINT(compiled_live(&f, y), live_pair(LIVE_NONE, LIVE_ACCEPT));
	}
}

TEST(on_loopback_a_flow_ends_where_one_may_no_longer_be_called)
{
	CLEANUP(compiled_done) struct compiled f, g;
	struct service s = fixture_service("tcp/80");
	struct addr at = fixture_addr("127.0.0.1");
	uint32_t x, y;

	compile_pair_here(&f, &g, TOP THREE "rules:\n" RULE("x", "a", "c, b", "tcp/80", ""),
			  TOP THREE "rules:\n" RULE("x", "a", "c", "tcp/80", "")
				  RULE("y", "a", "b", "tcp/80", EXPIRED));
	x = compiled_find(&f, false, f.g->locals[0].mark, &at, &s, SLOT_A);
	y = compiled_find(&f, false, f.g->locals[0].mark, &at, &s, SLOT_B);
	CHECK_UINT(x, y); /* whichever of the rules are open */
	CHECK(compiled_is_end(&f, x, compiled_cgroup(&f, "b")));
	compiled_done(&g);
	compiled_done(&f);
	compile_pair_here(&f, &g, TOP THREE "rules:\n" RULE("x", "a", "c, b", "tcp/80", ""),
			  TOP THREE "rules:\n" RULE("x", "a", "c", "tcp/80", ""));
	x = compiled_find(&f, false, f.g->locals[0].mark, &at, &s, SLOT_A);
	y = compiled_find(&f, false, f.g->locals[0].mark, &at, &s, SLOT_B);
	CHECK(x != y);
	CHECK_UINT(compiled_live(&f, x), live_pair(LIVE_ACCEPT, LIVE_NONE));
	/* It may go to c alone, whom both let be called: it outlives the fallback. */
	CHECK_UINT(compiled_live(&f, y), LIVE_ACCEPT);
	CHECK(!compiled_is_end(&f, y, compiled_cgroup(&f, "b")));
}

/* The number that the other policy gives leads nowhere here: it takes no flow's heir away. */
TEST(on_loopback_a_flow_survives_the_borders_of_a_policy_that_permits_less)
{
	CLEANUP(compiled_done) struct compiled f, g;
	CLEANUP(generation_freep) struct generation *alone = NULL;
	CLEANUP(freep) uint32_t *again = NULL;
	size_t count = 0;

	compile_pair_here(&f, &g, TOP THREE "rules:\n" RULE("x", "a", "c, b", "tcp/80-90", ""),
			  TOP THREE "rules:\n" RULE("x", "a", "c", "tcp/80", ""));
	f.in.also_cut = NULL;
	CHECK_OK(compile_generation(&f.in, f.numbers, f.identities, &alone, &f.err), &f.err);
	CHECK_UINT(alone->conduit_count, 1);
	CHECK_INT(generation_rederive(alone, f.g, &again, &count), 0);
	CHECK_UINT(count, 1);
	CHECK_UINT(again[0], alone->conduits[0].number);
}

TEST(policies_compiled_with_each_others_borders_agree_on_numbers)
{
	static const struct {
		const char *address, *service;
	} flows[] = {
		{"10.0.0.9", "tcp/80"},    {"10.0.0.9", "tcp/85"},    {"10.0.0.9", "tcp/90"},
		{"10.0.0.9", "tcp/443"},   {"10.0.0.8", "tcp/443"},   {"8.8.8.8", "tcp/443"},
		{"192.168.0.9", "tcp/99"}, {"192.168.0.9", "tcp/98"}, {"10.0.0.9", "tcp/91"},
	};
	CLEANUP(compiled_done) struct compiled f, g;
	size_t same = 0;

	compile_both(&f);
	compile_both(&g);
	numbers_free(g.numbers);
	numbers_free(g.identities);
	g.numbers = f.numbers;
	g.identities = f.identities;
	compiled_policy(&g, candidate_text);
	/* each cuts at the other's borders; the other's struct keeps its policy */
	f.in.also_cut = g.policy;
	g.in.also_cut = f.policy;
	CHECK_OK(compile_generation(&f.in, f.numbers, f.identities, &f.g, &f.err), &f.err);
	CHECK_OK(compile_generation(&g.in, f.numbers, f.identities, &g.g, &g.err), &g.err);
	CHECK_OK(ruleset_build(f.g, g.g, &f.host, &g.host, &f.shape, &f.r, &f.err), &f.err);
	for (size_t i = 0; i < ARRAY_LEN(flows); i++) {
		struct service s = fixture_service(flows[i].service);
		struct addr a = fixture_addr(flows[i].address);
		uint32_t mark = f.g->locals[0].mark;
		uint32_t x = compiled_find(&f, false, mark, &a, &s, SLOT_A);
		uint32_t y = compiled_find(&f, false, mark, &a, &s, SLOT_B);

		CHECK(x != 0 || y != 0);
		if (x != 0 && y != 0)
			CHECK_UINT(x, y);
		same += x == y;
	}
	CHECK_UINT(same, ARRAY_LEN(flows));
	g.numbers = NULL;
	g.identities = NULL;
}

TEST(live_holds_what_each_generation_thinks)
{
	CLEANUP(compiled_done) struct compiled f;
	CLEANUP(generation_freep) struct generation *candidate = NULL;
	CLEANUP(policy_freep) struct policy *policy = NULL;
	struct host host;
	uint32_t old_number, new_number;
	struct compile_input in;

	compiled_init(&f, TOP ID("a", "") ID("b", "") "rules:\n" AB("x", "") RULE(
				  "old", "a", "b", "tcp/81", "") RULE("u", "a", "b", "udp/82", ""));
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9", NULL);
	compiled_run(&f);
	old_number = number_of(&f, "a", "10.0.0.9", "tcp/81");
	policy = f.policy;
	f.policy = NULL;
	host = f.host;
	f.host = (struct host){0};
	compiled_policy(&f, TOP ID("a", "") ID("b", "") "rules:\n" AB("x", EXPIRES)
				    RULE("new", "a", "b", "tcp/83", "")
					    RULE("u", "a", "b", "udp/82", ""));
	in = f.in;
	CHECK_OK(compile_generation(&in, f.numbers, f.identities, &candidate, &f.err), &f.err);
	ruleset_free(f.r);
	f.r = NULL;
	CHECK_OK(ruleset_build(f.g, candidate, &host, &f.host, &f.shape, &f.r, &f.err), &f.err);
	host_done(&host);

	CHECK_UINT(compiled_live(&f, old_number), live_pair(LIVE_ACCEPT, LIVE_NONE));
	CHECK_UINT(compiled_live(&f, number_of(&f, "a", "10.0.0.9", "tcp/80")),
		   live_pair(LIVE_ACCEPT, LIVE_LEASED));
	CHECK_UINT(compiled_live(&f, number_of(&f, "a", "10.0.0.9", "udp/82")), LIVE_ACCEPT);
	CHECK_UINT(compiled_live_udp(&f, number_of(&f, "a", "10.0.0.9", "udp/82"),
				     compiled_cgroup(&f, "a")),
		   LIVE_ACCEPT);
	{
		struct service s = fixture_service("tcp/83");
		struct addr a = fixture_addr("10.0.0.9");

		new_number = compiled_find(&f, false, compiled_mark(&f, "a"), &a, &s, SLOT_B);
	}
	CHECK_UINT(compiled_live(&f, new_number), live_pair(LIVE_NONE, LIVE_ACCEPT));
	CHECK_UINT(number_of(&f, "a", "10.0.0.9", "tcp/83"), 0);
}

TEST(borders_of_another_policy_add_neither_conduits_nor_rules)
{
	static const char mine[] =
		TOP ID("a", "") ID("b", "") "rules:\n" RULE("m", "a", "b", "tcp/80", EXPIRED)
			RULE("c", "b", "a", "tcp/81", "");
	static const char others[] =
		TOP ID("a", "") ID("b", "") "rules:\n" RULE("p", "b", "a", "tcp/82", "")
			RULE("q", "a", "b", "tcp/80, tcp/83", "");
	CLEANUP(compiled_done) struct compiled f;

	compiled_init(&f, mine);
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9", NULL);
	f.other = policy_sound(others);
	compiled_run(&f);
	CHECK_UINT(f.g->conduit_count, 2);
	CHECK_STR(compiled_out(&f, "a", "10.0.0.9", "tcp/80"), "a > b tcp/80: none");
	CHECK_STR(compiled_out(&f, "a", "10.0.0.9", "tcp/83"), "-");
	for (size_t i = 0; i < f.g->conduit_count; i++)
		CHECK_STR(f.g->rule_names[f.g->conduits[i].rule],
			  f.g->conduits[i].flags & CONDUIT_OUT ? "m" : "c");
}
