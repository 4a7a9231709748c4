/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the compiled sets say about packets: names of conduits, verdicts, ends, numbers. */
#include "rules/compile.h"

#include "base/mem.h"
#include "base/text.h"
#include "rules/marks.h"
#include "tests/unit/compile_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* 2027-01-01T00:00:00Z, and the noon after it. */
#define NEW_YEAR_S 1798761600

static const char plain[] = TOP ID("settlement", "") ID("api", ", serves: [tcp/8443, udp/53]")
	ID("db", "") "networks:\n"
		     "  - {name: world, cidrs: [\"0.0.0.0/0\", \"::/0\"]}\n"
		     "  - {name: office, cidrs: [\"10.9.0.0/16\"]}\n"
		     "rules:\n" RULE("calls", "settlement", "api", "tcp/8000-9000, udp/53", "")
			     RULE("logs", "settlement", "world", "tcp/6514", "")
				     RULE("back", "db", "settlement", "tcp/7000-7002", "")
					     RULE("admin", "office", "settlement", "tcp/22", "")
						     RULE("pings", "settlement", "api",
							  "icmp/echo, icmpv6/echo", "")
							     RULE("pinged", "api, office",
								  "settlement", "icmp/echo", "");

static void plain_world(struct compiled *f)
{
	compiled_init(f, plain);
	compiled_place(f, "prod/settlement", "10.0.0.1");
	compiled_peer(f, "prod/api", "api-1", "10.0.0.9 fd00::9", NULL);
	compiled_peer(f, "prod/db", "db-1", "10.0.0.17", NULL);
	compiled_run(f);
}

#define CHECK_OUT(f, who, address, service, expected)                                              \
	CHECK_STR(compiled_out((f), (who), (address), (service)), (expected))
#define CHECK_IN(f, who, address, service, expected)                                               \
	CHECK_STR(compiled_in((f), (who), (address), (service)), (expected))
#define CHECK_LO(f, who, address, service, listener, expected)                                     \
	CHECK_STR(compiled_loopback((f), (who), (address), (service), (listener)), (expected))

TEST(egress_names_the_identity_at_the_address)
{
	CLEANUP(compiled_done) struct compiled f;

	plain_world(&f);
	CHECK_OUT(&f, "settlement", "10.0.0.9", "tcp/8443", "settlement > api tcp/8443: accept");
	CHECK_OUT(&f, "settlement", "fd00::9", "tcp/8443", "settlement > api tcp/8443: accept");
	CHECK_OUT(&f, "settlement", "10.0.0.9", "udp/53", "settlement > api udp/53: accept");
	CHECK_OUT(&f, "settlement", "10.0.0.10", "tcp/8443", "-");
	CHECK_OUT(&f, "settlement", "10.0.0.17", "tcp/5432", "-");
}

TEST(a_destination_is_bounded_by_what_it_serves)
{
	CLEANUP(compiled_done) struct compiled f;

	plain_world(&f);
	CHECK_OUT(&f, "settlement", "10.0.0.9", "tcp/22", "-");
	CHECK_OUT(&f, "settlement", "10.0.0.9", "udp/54", "-");
}

TEST(a_placement_may_narrow_services_and_never_widen_them)
{
	CLEANUP(compiled_done) struct compiled f;

	plain_world(&f);
	compiled_clear_view(&f);
	compiled_place(&f, "prod/settlement", NULL);
	compiled_peer(&f, "prod/api", "api-1", "10.0.0.9", "tcp/8443 tcp/22");
	compiled_run(&f);
	CHECK_OUT(&f, "settlement", "10.0.0.9", "tcp/8443", "settlement > api tcp/8443: accept");
	CHECK_OUT(&f, "settlement", "10.0.0.9", "tcp/22", "-");
	CHECK_OUT(&f, "settlement", "10.0.0.9", "udp/53", "-");
}

TEST(networks_are_named_where_no_identity_is)
{
	CLEANUP(compiled_done) struct compiled f;

	plain_world(&f);
	CHECK_OUT(&f, "settlement", "8.8.8.8", "tcp/6514", "settlement > world tcp/6514: accept");
	CHECK_OUT(&f, "settlement", "2001:db8::1", "tcp/6514",
		  "settlement > world tcp/6514: accept");
	CHECK_OUT(&f, "settlement", "255.255.255.255", "tcp/6514",
		  "settlement > world tcp/6514: accept");
	CHECK_OUT(&f, "settlement", "8.8.8.8", "tcp/6515", "-");
	CHECK_OUT(&f, "settlement", "8.8.8.8", "udp/6514", "-");
}

TEST(no_network_means_this_host)
{
	CLEANUP(compiled_done) struct compiled f;

	plain_world(&f);
	CHECK_OUT(&f, "settlement", "10.0.0.1", "tcp/6514", "-");
	CHECK_OUT(&f, "settlement", "127.0.0.1", "tcp/6514", "-");
	CHECK_OUT(&f, "settlement", "127.9.9.9", "tcp/6514", "-");
	CHECK_OUT(&f, "settlement", "::1", "tcp/6514", "-");
	CHECK_OUT(&f, "settlement", "fd00::1", "tcp/6514", "-");
	CHECK_OUT(&f, "settlement", "10.0.0.2", "tcp/6514", "settlement > world tcp/6514: accept");
	CHECK_OUT(&f, "settlement", "128.0.0.0", "tcp/6514", "settlement > world tcp/6514: accept");
}

TEST(ingress_names_the_node)
{
	CLEANUP(compiled_done) struct compiled f;

	plain_world(&f);
	CHECK_IN(&f, "settlement", "10.0.0.17", "tcp/7001",
		 "db-1 > settlement tcp/7000-7002: accept");
	CHECK_IN(&f, "settlement", "10.0.0.17", "tcp/7003", "-");
	CHECK_IN(&f, "settlement", "10.0.0.9", "tcp/7001", "-");
	CHECK_IN(&f, "settlement", "10.9.1.1", "tcp/22", "office > settlement tcp/22: accept");
	CHECK_IN(&f, "settlement", "10.10.1.1", "tcp/22", "-");
}

TEST(echo_is_addressed_to_nodes)
{
	CLEANUP(compiled_done) struct compiled f;

	plain_world(&f);
	compiled_node(&f, "api-1", "10.0.0.9 10.0.1.9");
	compiled_run(&f);
	CHECK_OUT(&f, "settlement", "10.0.0.9", "icmp/echo",
		  "settlement > api-1 icmp/echo: accept");
	CHECK_OUT(&f, "settlement", "10.0.1.9", "icmp/echo",
		  "settlement > api-1 icmp/echo: accept");
	CHECK_OUT(&f, "settlement", "fd00::9", "icmpv6/echo",
		  "settlement > api-1 icmpv6/echo: accept");
	CHECK_OUT(&f, "settlement", "10.0.1.9", "tcp/8443", "-");
	CHECK_STR(compiled_in_echo(&f, "10.0.0.9", "icmp/echo"), "api-1 > pay-1 icmp/echo: accept");
	CHECK_STR(compiled_in_echo(&f, "10.9.0.7", "icmp/echo"),
		  "office > pay-1 icmp/echo: accept");
	CHECK_STR(compiled_in_echo(&f, "10.0.0.17", "icmp/echo"), "-");
	CHECK_STR(compiled_in_echo(&f, "fd00::9", "icmpv6/echo"), "-");
}

TEST(echo_at_ingress_has_no_local_end)
{
	CLEANUP(compiled_done) struct compiled f;
	struct service echo = fixture_service("icmp/echo");
	struct addr a = fixture_addr("10.0.0.9");
	uint32_t number;

	plain_world(&f);
	number = compiled_find(&f, true, 0, &a, &echo, SLOT_A);
	CHECK(number != 0);
	CHECK(compiled_has_mark(&f, SET_NODE_CONDUITS, number));
	CHECK(!compiled_is_end(&f, number, compiled_cgroup(&f, "settlement")));
}

/* A service that reads tcp/1 stands for tcp/any here: policies may refuse that between identities.
 */
static void widen(struct compiled *f, const char *rule)
{
	int index = policy_find_rule(f->policy, rule);

	CHECK(index >= 0);
	for (size_t i = 0; i < f->policy->rules[index].service_count; i++) {
		f->policy->rules[index].services[i].first = 0;
		f->policy->rules[index].services[i].last = UINT16_MAX;
	}
}

/* --- several rules --------------------------------------------------------------------------- */

static const char *verdict_of(struct compiled *f, const char *rules)
{
	char text[4096];
	const char *said;

	(void)snprintf(text, sizeof(text), "%s%s", TOP ID("a", "") ID("b", "") "rules:\n", rules);
	compiled_policy(f, text);
	compiled_run(f);
	said = compiled_out(f, "a", "10.0.0.9", "tcp/80");
	return strcmp(said, "-") == 0 ? said : strchr(said, ':') + 2;
}

TEST(a_conduit_is_as_open_as_its_best_rule)
{
	static const struct {
		const char *rules, *verdict;
		bool lease;
	} cases[] = {
		{AB("x", ""), "accept", false},
		{AB("x", EXPIRES), "leased", true},
		{AB("x", EXPIRED), "none", false},
		{AB("x", EXPIRED ", mode: observe"), "watched", false},
		{AB("x", EXPIRES ", mode: observe"), "leased", true},
		{AB("x", ", mode: observe"), "accept", false},
		{AB("x", EXPIRED) AB("y", EXPIRES), "leased", true},
		{AB("x", EXPIRED ", mode: observe") AB("y", ""), "accept", false},
		{AB("x", EXPIRES) AB("y", ""), "accept", false},
		{AB("x", ", window: {days: [sun], from: \"00:00\", to: \"06:00\", zone: UTC}"),
		 "leased", true},
		{AB("x", ", window: {days: [mon], from: \"00:00\", to: \"06:00\", zone: UTC}"),
		 "none", false},
	};
	CLEANUP(compiled_done) struct compiled f;
	struct service http = fixture_service("tcp/80");
	struct addr b = fixture_addr("10.0.0.9");

	compiled_init(&f, plain);
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9", NULL);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint32_t number;

		CHECK_STR(verdict_of(&f, cases[i].rules), cases[i].verdict);
		number = compiled_find(&f, false, compiled_mark(&f, "a"), &b, &http, SLOT_A);
		CHECK_INT(compiled_lease(&f, number) != 0, cases[i].lease);
	}
}

TEST(a_lease_ends_with_the_last_rule_that_holds)
{
	CLEANUP(compiled_done) struct compiled f;

	compiled_init(&f, plain);
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9", NULL);
	(void)verdict_of(&f, AB("x", EXPIRES) AB("y", ", expires: 2026-12-01T00:00:00Z"));
	CHECK_UINT(f.g->lease_count, 1);
	CHECK_INT(f.g->leases[0].end.s, NEW_YEAR_S);
	CHECK_INT(f.g->next_change.s, 1796083200); /* 2026-12-01 */
	CHECK_STR(f.g->rule_names[f.g->conduits[0].rule], "x");
}

TEST(the_rule_that_is_told_is_the_first_by_name_that_holds)
{
	CLEANUP(compiled_done) struct compiled f;

	compiled_init(&f, plain);
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9", NULL);
	(void)verdict_of(&f, AB("c", "") AB("a", EXPIRED) AB("b", EXPIRED ", mode: observe"));
	CHECK_STR(f.g->rule_names[f.g->conduits[0].rule], "c");
	(void)verdict_of(&f, AB("d", EXPIRED) AB("c", EXPIRED ", mode: observe") AB("a", EXPIRED));
	CHECK_STR(f.g->rule_names[f.g->conduits[0].rule], "c");
	CHECK(f.g->conduits[0].flags & CONDUIT_OBSERVED);
	(void)verdict_of(&f, AB("d", EXPIRED) AB("c", EXPIRED));
	CHECK_STR(f.g->rule_names[f.g->conduits[0].rule], "c");
	CHECK_UINT(f.g->conduits[0].verdict, LIVE_NONE);
}

TEST(an_untrusted_clock_follows_the_rule)
{
#define WINDOW ", window: {days: [mon], from: \"00:00\", to: \"06:00\", zone: UTC}"
	CLEANUP(compiled_done) struct compiled f;

	compiled_init(&f, plain);
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9", NULL);
	f.in.clock_trusted = false;
	CHECK_STR(verdict_of(&f, AB("x", WINDOW)), "none");
	CHECK_STR(verdict_of(&f, AB("x", WINDOW ", on_clock_loss: open")), "accept");
}

TEST(services_that_overlap_are_cut_at_each_others_borders)
{
	CLEANUP(compiled_done) struct compiled f;
	static const char text[] = TOP ID("a", "")
		ID("b", "") "rules:\n" RULE("range", "a", "b", "tcp/8000-8010", EXPIRES)
			RULE("one", "a", "b", "tcp/8005", "");

	compiled_init(&f, text);
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9", NULL);
	compiled_run(&f);
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/8004", "a > b tcp/8000-8004: leased");
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/8005", "a > b tcp/8005: accept");
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/8006", "a > b tcp/8006-8010: leased");
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/8011", "-");
	CHECK_UINT(f.g->conduit_count, 3);
}

TEST(a_port_inside_any_is_judged_by_both)
{
	CLEANUP(compiled_done) struct compiled f;
	static const char text[] =
		TOP ID("a", "") ID("b", "") "rules:\n" RULE("any", "a", "b", "tcp/1", "")
			RULE("one", "a", "b", "tcp/443", EXPIRED);

	compiled_init(&f, text);
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9", NULL);
	widen(&f, "any");
	compiled_run(&f);
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/443", "a > b tcp/443: accept");
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/442", "a > b tcp/any: accept");
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/65535", "a > b tcp/any: accept");
	CHECK_UINT(compiled_count(&f, SET_OUT_ANY4), 1);
	CHECK_UINT(compiled_count(&f, SET_OUT4), 1);
}

TEST(a_network_around_an_identity_takes_part)
{
	CLEANUP(compiled_done) struct compiled f;
	static const char text[] = TOP ID("a", "")
		ID("b", "") "networks: [{name: ten, cidrs: [\"10.0.0.0/8\"]}]\n"
			    "rules:\n" RULE("closed", "a", "b", "tcp/80, tcp/81", EXPIRED)
				    RULE("net", "a", "ten", "tcp/80, tcp/443", "");

	compiled_init(&f, text);
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9 192.168.0.9", NULL);
	compiled_run(&f);
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/80", "a > b tcp/80: accept");
	CHECK_OUT(&f, "a", "192.168.0.9", "tcp/80", "a > b tcp/80: none");
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/81", "a > b tcp/81: none");
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/443", "a > ten tcp/443: accept");
}

TEST(any_of_an_identity_leaves_networks_their_ports)
{
	CLEANUP(compiled_done) struct compiled f;
	static const char text[] = TOP ID("a", "")
		ID("b", "") "networks: [{name: ten, cidrs: [\"10.0.0.0/8\"]}]\n"
			    "rules:\n" RULE("closed", "a", "b", "tcp/1", EXPIRED)
				    RULE("net", "a", "ten", "tcp/443", "")
					    RULE("wide", "a", "ten", "udp/1000-60000", "")
						    RULE("closed-udp", "a", "b", "udp/1", EXPIRED);

	compiled_init(&f, text);
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9", NULL);
	widen(&f, "closed");
	widen(&f, "closed-udp");
	compiled_run(&f);
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/443", "a > b tcp/443: accept");
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/444", "a > b tcp/any: none");
	/* Too many ports for elements of their own: by intervals, named all the same. */
	CHECK_OUT(&f, "a", "10.0.0.9", "udp/1000", "a > b udp/1000-60000: accept");
	CHECK_OUT(&f, "a", "10.0.0.9", "udp/999", "a > b udp/any: none");
	CHECK_OUT(&f, "a", "10.0.0.9", "udp/60001", "a > b udp/any: none");
	CHECK_OUT(&f, "a", "10.0.0.8", "udp/1000", "a > ten udp/1000-60000: accept");
	CHECK_UINT(compiled_count(&f, SET_OUT_ANY4), 1);
}

TEST(the_most_specific_service_then_network_names_the_conduit)
{
	CLEANUP(compiled_done) struct compiled f;
	static const char text[] =
		TOP ID("a", "") "networks:\n"
				"  - {name: world, cidrs: [\"0.0.0.0/0\"]}\n"
				"  - {name: ten, cidrs: [\"10.0.0.0/8\"]}\n"
				"  - {name: rack, cidrs: [\"10.1.0.0/16\"]}\n"
				"rules:\n" RULE("w", "a", "world", "tcp/443, tcp/80-90", "")
					RULE("t", "a", "ten", "tcp/any", EXPIRES)
						RULE("r", "a", "rack", "tcp/443, tcp/85", EXPIRED);

	compiled_init(&f, text);
	compiled_place(&f, "prod/a", NULL);
	compiled_run(&f);
	CHECK_OUT(&f, "a", "9.0.0.0", "tcp/443", "a > world tcp/443: accept");
	CHECK_OUT(&f, "a", "10.0.0.2", "tcp/443", "a > world tcp/443: accept");
	CHECK_OUT(&f, "a", "10.1.0.0", "tcp/443", "a > rack tcp/443: accept");
	CHECK_OUT(&f, "a", "10.1.255.255", "tcp/85", "a > rack tcp/85: accept");
	CHECK_OUT(&f, "a", "10.2.0.0", "tcp/85", "a > world tcp/80-90: accept");
	CHECK_OUT(&f, "a", "10.2.0.0", "tcp/91", "a > ten tcp/any: leased");
	CHECK_OUT(&f, "a", "10.1.0.0", "tcp/1", "a > ten tcp/any: leased");
	CHECK_OUT(&f, "a", "11.0.0.0", "tcp/91", "-");
}

TEST(two_identities_at_one_address_are_told_apart_by_what_they_serve)
{
	CLEANUP(compiled_done) struct compiled f;
	static const char text[] = TOP ID("a", "") ID("b", "") ID(
		"c", ", serves: [tcp/80]") "rules:\n" RULE("to-b", "a", "b", "tcp/80, tcp/81", "")
		RULE("to-c", "a", "c", "tcp/80-82", EXPIRES);

	compiled_init(&f, text);
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "n-1", "10.0.0.9", NULL);
	compiled_peer(&f, "prod/c", "n-1", "10.0.0.9", NULL);
	compiled_run(&f);
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/80", "a > c tcp/80: accept");
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/81", "a > b tcp/81: accept");
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/82", "-");
}

/* --- loopback -------------------------------------------------------------------------------- */

static const char local_text[] = TOP ID("a", "") ID("b", ", serves: [tcp/80, udp/53]") ID("c", "")
	ID("d", "") "networks: [{name: world, cidrs: [\"0.0.0.0/0\"]}]\n"
		    "rules:\n" RULE("b", "a", "b", "tcp/80, udp/53", "")
			    RULE("world", "a", "world", "tcp/any", "")
				    RULE("c", "a", "c", "tcp/90", "")
					    RULE("d", "a", "d", "tcp/90", EXPIRED)
						    RULE("self", "c", "c", "tcp/1", "")
							    RULE("ping", "a", "b", "icmp/echo", "");

static void local_world(struct compiled *f)
{
	compiled_init(f, local_text);
	compiled_place(f, "prod/a", NULL);
	compiled_place(f, "prod/b", "10.0.0.1");
	compiled_place(f, "prod/c", NULL);
	compiled_place(f, "prod/d", NULL);
	compiled_run(f);
}

TEST(loopback_is_decided_at_output_and_checked_at_the_receiver)
{
	CLEANUP(compiled_done) struct compiled f;

	local_world(&f);
	CHECK_LO(&f, "a", "127.0.0.1", "tcp/80", "b", "a > b tcp/80: accept");
	CHECK_LO(&f, "a", "::1", "tcp/80", "b", "a > b tcp/80: accept");
	CHECK_LO(&f, "a", "10.0.0.1", "tcp/80", "b", "a > b tcp/80: accept");
	CHECK_LO(&f, "a", "fd00::1", "udp/53", "b", "a > b udp/53: accept");
	CHECK_LO(&f, "a", "127.0.0.1", "tcp/80", "c", "refused");
	CHECK_LO(&f, "a", "127.0.0.1", "udp/53", "d", "refused");
	CHECK_LO(&f, "b", "127.0.0.1", "tcp/80", "b", "-");
	CHECK_LO(&f, "c", "127.0.0.1", "tcp/1", "c", "c > c tcp/1: accept");
}

TEST(loopback_datagrams_are_checked_at_both_ends)
{
	CLEANUP(compiled_done) struct compiled f;
	struct service dns = fixture_service("udp/53");
	struct addr lo = fixture_addr("127.0.0.1");
	uint32_t number;

	local_world(&f);
	number = compiled_find(&f, false, compiled_mark(&f, "a"), &lo, &dns, SLOT_A);
	CHECK_UINT(compiled_live_udp(&f, number, compiled_cgroup(&f, "a")), LIVE_ACCEPT);
	CHECK_UINT(compiled_live_udp(&f, number, compiled_cgroup(&f, "b")), LIVE_ACCEPT);
	CHECK_UINT(compiled_live_udp(&f, number, compiled_cgroup(&f, "c")), LIVE_NONE);
	CHECK(!compiled_is_end(&f, number, compiled_cgroup(&f, "a")));
}

TEST(only_receivers_whose_own_rule_is_open_may_answer)
{
	CLEANUP(compiled_done) struct compiled f;

	local_world(&f);
	CHECK_LO(&f, "a", "127.0.0.1", "tcp/90", "c", "a > c tcp/90: accept");
	CHECK_LO(&f, "a", "127.0.0.1", "tcp/90", "d", "refused");
}

TEST(a_lease_of_one_receiver_is_not_stretched_by_another)
{
	CLEANUP(compiled_done) struct compiled f;
	static const char text[] =
		TOP ID("a", "") ID("c", "") ID("d", "") "rules:\n" RULE("c", "a", "c", "tcp/90", "")
			RULE("d", "a", "d", "tcp/90", EXPIRES);

	compiled_init(&f, text);
	compiled_place(&f, "prod/a", NULL);
	compiled_place(&f, "prod/c", NULL);
	compiled_place(&f, "prod/d", NULL);
	compiled_run(&f);
	CHECK_LO(&f, "a", "127.0.0.1", "tcp/90", "c", "a > c tcp/90: leased");
	CHECK_LO(&f, "a", "127.0.0.1", "tcp/90", "d", "a > c tcp/90: leased");
	f.in.now.s = NEW_YEAR_S;
	compiled_run(&f);
	CHECK_LO(&f, "a", "127.0.0.1", "tcp/90", "c", "a > c tcp/90: accept");
	CHECK_LO(&f, "a", "127.0.0.1", "tcp/90", "d", "refused");
}

TEST(echo_to_this_host_names_the_node)
{
	CLEANUP(compiled_done) struct compiled f;

	local_world(&f);
	CHECK_OUT(&f, "a", "127.0.0.1", "icmp/echo", "a > pay-1 icmp/echo: accept");
	CHECK_OUT(&f, "a", "10.0.0.1", "icmp/echo", "a > pay-1 icmp/echo: accept");
	CHECK_OUT(&f, "a", "10.0.0.2", "icmp/echo", "-");
}

/* The maps of ingress are asked about answers on loopback: no network is behind those. */
TEST(a_network_that_calls_does_not_mean_this_host)
{
	CLEANUP(compiled_done) struct compiled f;

	compiled_init(&f, TOP ID("a", "") "networks: [{name: ten, cidrs: [\"10.0.0.0/8\"]}]\n"
					  "rules:\n" RULE("in", "ten", "a", "udp/53", ""));
	compiled_place(&f, "prod/a", NULL);
	compiled_run(&f);
	CHECK_IN(&f, "a", "10.0.0.2", "udp/53", "ten > a udp/53: accept");
	CHECK_IN(&f, "a", "10.255.255.255", "udp/53", "ten > a udp/53: accept");
	CHECK_IN(&f, "a", "10.0.0.0", "udp/53", "ten > a udp/53: accept");
	CHECK_IN(&f, "a", "10.0.0.1", "udp/53", "-");
}

/* --- revocation ------------------------------------------------------------------------------ */

TEST(revocation_leaves_the_conduit_listed_and_shut)
{
	static const struct {
		int kind;
		const char *name;
	} cases[] = {
		{REVOKED_RULE, "calls"},
		{REVOKED_IDENTITY, "prod/api"},
		{REVOKED_IDENTITY, "prod/settlement"},
		{REVOKED_LABEL, "vendor=x"},
	};
	static const char text[] = TOP ID("settlement", "") ID("api", ", labels: [vendor=x]")
		ID("db", "") "rules:\n" RULE("calls", "settlement", "api", "tcp/80", "");

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(compiled_done) struct compiled f;

		compiled_init(&f, text);
		compiled_place(&f, "prod/settlement", NULL);
		compiled_peer(&f, "prod/api", "api-1", "10.0.0.9", NULL);
		compiled_revoke(&f, cases[i].kind, cases[i].name);
		compiled_run(&f);
		CHECK_OUT(&f, "settlement", "10.0.0.9", "tcp/80", "settlement > api tcp/80: none");
		f.overlay.revoked[0].until.s = f.in.now.s + 60;
		compiled_run(&f);
		CHECK_OUT(&f, "settlement", "10.0.0.9", "tcp/80", "settlement > api tcp/80: none");
		CHECK_INT(f.g->next_change.s, f.in.now.s + 60);
		f.in.now.s += 60;
		compiled_run(&f);
		CHECK_OUT(&f, "settlement", "10.0.0.9", "tcp/80",
			  "settlement > api tcp/80: accept");
	}
}

TEST(a_single_conduit_is_revoked_by_its_number)
{
	CLEANUP(compiled_done) struct compiled f;
	struct service https = fixture_service("tcp/8443");
	struct addr a = fixture_addr("10.0.0.9");
	char number[16];

	plain_world(&f);
	(void)snprintf(
		number, sizeof(number), "%u",
		compiled_find(&f, false, compiled_mark(&f, "settlement"), &a, &https, SLOT_A));
	compiled_revoke(&f, REVOKED_CONDUIT, number);
	compiled_run(&f);
	CHECK_OUT(&f, "settlement", "10.0.0.9", "tcp/8443", "settlement > api tcp/8443: none");
	CHECK_OUT(&f, "settlement", "10.0.0.9", "udp/53", "settlement > api udp/53: accept");
}

TEST(quarantine_keeps_one_network_and_every_essential)
{
	CLEANUP(compiled_done) struct compiled f;
	static const char text[] = TOP ID("a", "")
		ID("b", "") "networks:\n"
			    "  - {name: world, cidrs: [\"0.0.0.0/0\"]}\n"
			    "  - {name: forensics, cidrs: [\"10.66.0.0/16\"]}\n"
			    "rules:\n" RULE("b", "a", "b", "tcp/80", "")
				    RULE("w", "a", "world", "tcp/443", "")
					    RULE("f", "a", "forensics", "tcp/443", "")
						    RULE("in", "b", "a", "tcp/7000", "");

	compiled_init(&f, text);
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9", NULL);
	compiled_essential(&f, ESSENTIAL_OUT, "10.0.0.53/32", "udp/53", NULL);
	compiled_quarantine(&f, "prod/a", "forensics");
	compiled_run(&f);
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/80", "a > b tcp/80: none");
	CHECK_OUT(&f, "a", "8.8.8.8", "tcp/443", "a > world tcp/443: none");
	CHECK_OUT(&f, "a", "10.66.0.1", "tcp/443", "a > forensics tcp/443: accept");
	CHECK_IN(&f, "a", "10.0.0.9", "tcp/7000", "b-1 > a tcp/7000: none");
	CHECK(f.g->conduits[0].flags & CONDUIT_ESSENTIAL);
	CHECK_UINT(compiled_live(&f, f.g->conduits[0].number), LIVE_ACCEPT);
}

TEST(quarantine_of_a_peer_leaves_its_neighbours_rules)
{
	CLEANUP(compiled_done) struct compiled f;
	static const char text[] =
		TOP ID("a", "") ID("b", "") ID("c", "") "rules:\n" RULE("b", "b", "a", "tcp/80", "")
			RULE("c", "c", "a", "tcp/80", "");

	compiled_init(&f, text);
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "n-1", "10.0.0.9", NULL);
	compiled_peer(&f, "prod/c", "n-1", "10.0.0.9", NULL);
	compiled_quarantine(&f, "prod/b", NULL);
	compiled_run(&f);
	CHECK_IN(&f, "a", "10.0.0.9", "tcp/80", "n-1 > a tcp/80: ask");
	CHECK_STR(f.g->rule_names[f.g->conduits[0].rule], "c");
}

/* --- assurance ------------------------------------------------------------------------------- */

TEST(a_caller_knows_itself)
{
	CLEANUP(compiled_done) struct compiled f;

	compiled_init(&f, TOP ID("a", "") ID("b", "") "rules:\n" AB("x", ""));
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9", NULL);
	f.policy->rules[0].assurance = ASSURANCE_ATTESTED;
	compiled_run(&f);
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/80", "a > b tcp/80: accept");
	f.policy->identities[1].min_assurance = ASSURANCE_MEASURED;
	compiled_run(&f);
	CHECK_OUT(&f, "a", "10.0.0.9", "tcp/80", "a > b tcp/80: none");
}

/* --- bounds ---------------------------------------------------------------------------------- */

#define BOUNDS                                                                                     \
	"nodes:\n"                                                                                 \
	"  - {pattern: \"pay-*\", addresses: [\"10.0.0.0/29\"]}\n"                                 \
	"  - {pattern: \"b-*\", addresses: [\"10.0.0.8/29\"]}\n"                                   \
	"  - {pattern: \"c-*\"}\n"
#define PLACED_B ", placement: {nodes: [\"b-*\"]}"

static const char bounded[] = TOP ID("a", "") ID("b", PLACED_B) BOUNDS "rules:\n" AB("x", "")
	RULE("y", "b", "a", "tcp/81", "");

TEST(a_view_never_widens_what_policy_bounds)
{
	static const struct {
		const char *identity, *node, *address, *verdict, *refused;
	} cases[] = {
		{"prod/b", "b-1", "10.0.0.9", "a > b tcp/80: accept", NULL},
		{"prod/b", "b-1", "10.0.0.17", "-",
		 "peer 'prod/b': 10.0.0.17 is outside the addresses of node 'b-1' in policy"},
		{"prod/b", "c-1", "10.0.0.17", "-",
		 "peer 'prod/b': policy does not let it run on node 'c-1'"},
		{"prod/b", "evil", "10.0.0.9", "-",
		 "peer 'prod/b': policy does not let it run on node 'evil'"},
		{"prod/b", "pay-1", "10.0.0.2", "-",
		 "peer 'prod/b': node 'pay-1' is this one; 'placed' would be right"},
		{"prod/evil", "b-1", "10.0.0.9", "-",
		 "peer 'prod/evil': no identity of the policy has this path"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(compiled_done) struct compiled f;

		compiled_init(&f, bounded);
		compiled_place(&f, "prod/a", "10.0.0.1");
		compiled_peer(&f, cases[i].identity, cases[i].node, cases[i].address, NULL);
		compiled_run(&f);
		CHECK_OUT(&f, "a", cases[i].address, "tcp/80", cases[i].verdict);
		CHECK_UINT(f.g->refused_count, cases[i].refused ? 1 : 0);
		if (cases[i].refused)
			CHECK_STR(f.g->refused[0], cases[i].refused);
	}
}

TEST(an_identity_outside_its_placement_is_not_here)
{
	CLEANUP(compiled_done) struct compiled f;

	compiled_init(&f, bounded);
	compiled_place(&f, "prod/a", "10.0.0.9");
	compiled_place(&f, "prod/b", NULL);
	compiled_place(&f, "prod/ghost", NULL);
	compiled_run(&f);
	CHECK_UINT(f.g->local_count, 0);
	CHECK_UINT(f.g->conduit_count, 0);
	CHECK_UINT(f.g->refused_count, 3);
	CHECK_STR(f.g->refused[0],
		  "placed 'prod/a': 10.0.0.9 is outside the addresses of node 'pay-1' in policy");
	CHECK_STR(f.g->refused[1], "placed 'prod/b': policy does not let it run on node 'pay-1'");
	CHECK_STR(f.g->refused[2], "placed 'prod/ghost': no identity of the policy has this path");
}

TEST(an_address_of_this_node_is_nobody_elses)
{
	CLEANUP(compiled_done) struct compiled f;

	plain_world(&f);
	compiled_peer(&f, "prod/api", "api-2", "10.0.0.1", NULL);
	compiled_run(&f);
	CHECK_OUT(&f, "settlement", "10.0.0.1", "tcp/8443", "-");
	CHECK_STR(f.g->refused[0],
		  "peer 'prod/api' on 'api-2': 10.0.0.1 is an address of this node");
}

/* --- twice, and without memory --------------------------------------------------------------- */

TEST(the_same_input_twice_is_the_same_ruleset)
{
	CLEANUP(compiled_done) struct compiled f;
	CLEANUP(ruleset_freep) struct ruleset *old = NULL;
	CLEANUP(plan_freep) struct plan *p = NULL;
	struct err err;

	plain_world(&f);
	old = TAKE_PTR(f.r);
	compiled_run(&f);
	CHECK_OK(plan_make(old, f.r, NULL, 0, &p, &err), &err);
	CHECK(plan_is_empty(p));
}

OOM_TEST(compilation_survives_missing_memory)
{
	static struct compiled f;
	static bool ready;
	CLEANUP(generation_freep) struct generation *g = NULL;
	CLEANUP(ruleset_freep) struct ruleset *ruleset = NULL;
	CLEANUP(numbers_freep) struct numbers *numbers = NULL, *identities = NULL;
	int r;

	if (!ready) {
		mem_fail_after(0);
		plain_world(&f);
		ready = true;
		mem_fail_after(1);
	}
	numbers = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	identities = numbers_new(MARK_IDENTITY_MIN, MARK_IDENTITY_MAX);
	if (!numbers || !identities)
		return -ENOMEM;
	r = compile_generation(&f.in, numbers, identities, &g, &f.err);
	if (r < 0)
		return r;
	return ruleset_build(g, NULL, &f.host, NULL, &f.shape, &ruleset, &f.err);
}
