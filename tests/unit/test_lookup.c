/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the agent looks up must be what the kernel finds in the compiled sets. */
#include "agent/lookup.h"

#include "base/mem.h"
#include "tests/unit/compile_fixture.h"
#include "tests/unit/test.h"

#include <netinet/in.h>
#include <sys/socket.h>

/* Exact ports, all ports, ranges, and networks inside networks. */
static const char policy[] = TOP ID("a", "") ID("b", "")
	ID("c", "") "networks:\n"
		    "  - {name: wide, cidrs: [10.0.0.0/8, \"fd00::/16\"]}\n"
		    "  - {name: inner, cidrs: [10.1.0.0/16]}\n"
		    "rules:\n" AB("exact", "") RULE("all", "a", "c", "tcp/any", "")
			    RULE("out-range", "a", "wide", "tcp/1000-2000", "")
				    RULE("out-inner", "a", "inner", "tcp/1500", "")
					    RULE("in-net", "wide", "a", "udp/50-60", "")
						    RULE("in-any", "b", "a", "udp/any", "");

static const char *const far[] = {"10.0.0.9",       "10.0.0.10", "10.1.2.3",      "10.2.0.1",
				  "10.255.255.255", "11.0.0.0",  "9.255.255.255", "fd00::9",
				  "fd00::77",       "fd01::1"};
static const char *const service_texts[] = {
	"tcp/80",   "tcp/81",   "tcp/1",  "tcp/65535", "tcp/999", "tcp/1000", "tcp/1500",
	"tcp/2000", "tcp/2001", "udp/49", "udp/50",    "udp/60",  "udp/61",   "udp/80"};

static void world(struct compiled *f)
{
	compiled_init(f, policy);
	compiled_place(f, "prod/a", NULL);
	compiled_peer(f, "prod/b", "b-1", "10.0.0.9 fd00::9", NULL);
	compiled_peer(f, "prod/c", "c-1", "10.0.0.10", NULL);
	compiled_run(f);
}

static uint32_t index_of(const struct compiled *f, const char *name)
{
	int i = policy_find_identity(f->policy, name);

	CHECK(i >= 0);
	return (uint32_t)i;
}

static const struct conduit *looked_up(const struct compiled *f, enum lookup_direction direction,
				       const char *address, const char *service)
{
	struct addr a = fixture_addr(address);
	struct service s = fixture_service(service);

	return lookup_conduit(f->g, index_of(f, "a"), direction, &a,
			      s.kind == SERVICE_UDP ? IPPROTO_UDP : IPPROTO_TCP, s.first);
}

TEST(lookup_finds_what_the_sets_hold)
{
	CLEANUP(compiled_done) struct compiled f;
	size_t found = 0;

	world(&f);
	for (size_t i = 0; i < ARRAY_LEN(far) * ARRAY_LEN(service_texts) * 2; i++) {
		const char *address = far[i / 2 % ARRAY_LEN(far)];
		const char *text = service_texts[i / 2 / ARRAY_LEN(far)];
		enum lookup_direction direction = i % 2 ? LOOKUP_IN : LOOKUP_OUT;
		const struct conduit *c = looked_up(&f, direction, address, text);
		struct addr a = fixture_addr(address);
		struct service s = fixture_service(text);
		uint32_t number = compiled_find(&f, direction == LOOKUP_IN, compiled_mark(&f, "a"),
						&a, &s, SLOT_A);

		if (number != (c ? c->number : 0))
			test_fail(__FILE__, __LINE__, "%s %s %s: the sets say %u, lookup %u",
				  direction == LOOKUP_IN ? "from" : "to", address, text, number,
				  c ? c->number : 0);
		found += c != NULL;
	}
	/* Every kind of set had its turn. */
	CHECK(found > 20);
}

TEST(lookup_takes_the_exact_port_before_all_ports_before_networks)
{
	CLEANUP(compiled_done) struct compiled f;
	const struct conduit *c;

	world(&f);
	c = looked_up(&f, LOOKUP_OUT, "10.0.0.9", "tcp/80");
	CHECK(c != NULL);
	CHECK_STR(f.g->rule_names[c->rule], "exact");
	c = looked_up(&f, LOOKUP_OUT, "10.0.0.10", "tcp/1500");
	CHECK(c != NULL);
	CHECK_STR(f.g->rule_names[c->rule], "all");
	c = looked_up(&f, LOOKUP_OUT, "10.2.0.1", "tcp/1500");
	CHECK(c != NULL);
	CHECK_STR(f.g->rule_names[c->rule], "out-range");
}

TEST(lookup_knows_the_ends_of_intervals)
{
	CLEANUP(compiled_done) struct compiled f;

	world(&f);
	CHECK(looked_up(&f, LOOKUP_OUT, "10.2.0.1", "tcp/999") == NULL);
	CHECK(looked_up(&f, LOOKUP_OUT, "10.2.0.1", "tcp/1000") != NULL);
	CHECK(looked_up(&f, LOOKUP_OUT, "10.255.255.255", "tcp/2000") != NULL);
	CHECK(looked_up(&f, LOOKUP_OUT, "10.255.255.255", "tcp/2001") == NULL);
	CHECK(looked_up(&f, LOOKUP_OUT, "11.0.0.0", "tcp/1500") == NULL);
	CHECK(looked_up(&f, LOOKUP_IN, "10.2.0.1", "udp/60") != NULL);
	CHECK(looked_up(&f, LOOKUP_IN, "10.2.0.1", "tcp/60") == NULL);
}

TEST(lookup_finds_nothing_for_an_identity_that_is_not_here)
{
	CLEANUP(compiled_done) struct compiled f;
	struct addr a = fixture_addr("10.0.0.9");

	world(&f);
	CHECK(lookup_conduit(f.g, index_of(&f, "b"), LOOKUP_OUT, &a, IPPROTO_TCP, 80) == NULL);
	CHECK(lookup_conduit(f.g, UINT32_MAX, LOOKUP_OUT, &a, IPPROTO_TCP, 80) == NULL);
	CHECK(lookup_conduit(NULL, 0, LOOKUP_OUT, &a, IPPROTO_TCP, 80) == NULL);
}
