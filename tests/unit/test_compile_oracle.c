/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Random policies and views: what the compiled sets say of a flow, looked up as the kernel does,
 * must be what the oracle says from the policy alone. Seeds are printed with what differs.
 */
#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/compile.h"
#include "rules/marks.h"
#include "rules/verdict.h"
#include "tests/unit/compile_fixture.h"
#include "tests/unit/test.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define WORLDS          300
#define FLOWS_PER_WORLD 400
#define IDENTITIES      7
#define NETWORKS        4

static uint64_t state;

/* xorshift64*: the same on every machine. */
static unsigned pick(unsigned below)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (unsigned)((state * 0x2545f4914f6cdd1dU) >> 33) % below;
}

#define PICK(list) ((list)[pick(ARRAY_LEN(list))])

static const char *const services[] = {"tcp/80",     "tcp/443",   "tcp/80-90", "tcp/85-443",
				       "udp/53",     "udp/50-60", "icmp/echo", "icmpv6/echo",
				       "tcp/1-1024", "udp/1-1024"};
static const char *const wide_services[] = {"tcp/any", "udp/any",   "tcp/1-60000", "tcp/443",
					    "udp/53",  "icmp/echo", "icmpv6/echo"};
static const char *const addresses[] = {"10.0.0.9", "10.0.0.10", "10.1.0.1", "fd00::9",
					"fd00:1::1"};
static const char *const far_addresses[] = {"10.0.0.9",  "10.0.0.10", "10.1.0.1", "fd00::9",
					    "fd00:1::1", "10.0.0.8",  "10.1.0.2", "10.255.255.255",
					    "8.8.8.8",   "11.0.0.0",  "fd00::8",  "2001:db8::1",
					    "10.9.0.17", "0.0.0.1"};
static const char *const cidrs[] = {"0.0.0.0/0",   "::/0",      "10.0.0.0/8",   "10.1.0.0/16",
				    "10.0.0.8/29", "fd00::/64", "10.9.0.16/28", "fd00:1::1/128"};
static const char *const conditions[] = {
	"",
	"",
	"",
	"",
	", expires: 2027-01-01T00:00:00Z",
	", expires: 2026-01-01T00:00:00Z",
	", mode: observe",
	", mode: observe, expires: 2026-01-01T00:00:00Z",
	", window: {days: [mon], from: \"10:00\", to: \"12:00\", zone: UTC}",
	", window: {days: [sun], from: \"00:00\", to: \"12:00\", zone: UTC}"};

static const char *const assurances[] = {"",
					 "",
					 ", assurance: attested",
					 ", assurance: attested, on_unavailable: allow",
					 ", assurance: measured",
					 ", callee: attested",
					 ", assurance: attested, callee: attested",
					 ", callee: attested, on_unavailable: allow"};

/* Names may repeat in a list; policies refuse that, so lists are made of distinct numbers. */
static void add_list(struct buf *b, bool networks)
{
	unsigned below = networks ? NETWORKS : IDENTITIES, first = pick(below);
	unsigned count = 1 + pick(below > 3 ? 3 : below);

	for (unsigned i = 0; i < count; i++)
		buf_printf(b, "%s%s%u", i > 0 ? ", " : "", networks ? "n" : "i",
			   (first + i) % below);
}

static void add_services(struct buf *b, bool wide)
{
	unsigned count = 1 + pick(2);
	const char *first = NULL;

	for (unsigned i = 0; i < count; i++) {
		const char *s = wide ? PICK(wide_services) : PICK(services);

		if (first && str_eq(first, s))
			continue;
		buf_printf(b, "%s%s", first ? ", " : "", s);
		first = s;
	}
}

static void add_rule(struct buf *b, unsigned i)
{
	unsigned kind = pick(5);
	const char *condition = PICK(conditions);

	buf_printf(b, "  - {name: r%u, from: [", i);
	add_list(b, kind == 3);
	buf_puts(b, "], to: [");
	add_list(b, kind == 4);
	buf_puts(b, "], services: [");
	add_services(b, kind >= 3);
	buf_printf(b, "], purpose: p, owner: o%s", condition);
	/* A grant names two identities, and observe mode would make it pointless. */
	if (kind < 3 && !strstr(condition, "observe") && pick(3) == 0)
		buf_puts(b, ", grantable: {max: 8h}");
	if (kind < 3)
		buf_puts(b, PICK(assurances));
	buf_printf(b, "%s}\n", pick(4) == 0 ? ", on_stale: end" : "");
}

static void make_policy(struct buf *b)
{
	unsigned rules = 1 + pick(8);

	buf_puts(b, "trust_domain: acme.example\ndefaults: {assurance: mapped}\nidentities:\n");
	for (unsigned i = 0; i < IDENTITIES; i++) {
		buf_printf(b, "  - {name: i%u, path: p/i%u, workload: [{unit: i%u.service}]", i, i,
			   i);
		buf_printf(b, ", reference: [\"%064x\"]", i + 1);
		if (pick(10) == 0)
			buf_puts(b, ", min_assurance: attested");
		if (pick(3) == 0) {
			buf_puts(b, ", serves: [");
			add_services(b, pick(2) == 0);
			buf_puts(b, "]");
		}
		if (pick(5) == 0)
			buf_puts(b, ", mode: observe");
		if (pick(4) == 0)
			buf_puts(b, ", labels: [vendor=x]");
		if (pick(6) == 0)
			buf_puts(b, ", placement: {nodes: [\"n-1\", \"pay-*\"]}");
		buf_puts(b, "}\n");
	}
	buf_puts(b, "networks:\n");
	for (unsigned i = 0; i < NETWORKS; i++) {
		unsigned first = pick(ARRAY_LEN(cidrs));

		buf_printf(b, "  - {name: n%u, cidrs: [\"%s\", \"%s\"]}\n", i, cidrs[first],
			   cidrs[(first + 1 + pick(ARRAY_LEN(cidrs) - 1)) % ARRAY_LEN(cidrs)]);
	}
	if (pick(4) == 0)
		buf_puts(b,
			 "nodes:\n"
			 "  - {pattern: \"pay-*\"}\n"
			 "  - {pattern: \"n-1\", addresses: [\"10.0.0.0/24\", \"fd00::/64\"]}\n"
			 "  - {pattern: \"n-*\", addresses: [\"10.1.0.0/16\", \"fd00:1::/64\"]}\n");
	buf_puts(b, "rules:\n");
	for (unsigned i = 0; i < rules; i++)
		add_rule(b, i);
}

/* Some of them fit, most do not: of other rules, of other parties, ended. */
static void make_grants(struct compiled *f)
{
	static const int64_t ends[] = {60, 7200, 100000, -60, 0};
	static const int64_t stale[] = {0, 0, 3600, -1};
	static const int64_t seen[] = {0, 0, 7 * 3600, 9 * 3600};
	unsigned count = pick(24);
	int64_t end = PICK(stale);
	char rule[8], from[16], to[16];

	for (unsigned i = 0; i < count; i++) {
		(void)snprintf(rule, sizeof(rule), "r%u", pick(4));
		(void)snprintf(from, sizeof(from), "p/i%u", pick(IDENTITIES + 1));
		(void)snprintf(to, sizeof(to), "p/i%u", pick(IDENTITIES));
		compiled_grant(f, rule, from, to, PICK(ends));
		f->overlay.grants[i].since.s = f->in.now.s - PICK(seen);
	}
	f->in.stale_end.s = end != 0 ? f->in.now.s + end : 0;
}

static void make_view(struct compiled *f)
{
	char path[16], node[16], both[64];

	for (unsigned i = 0; i < IDENTITIES; i++) {
		(void)snprintf(path, sizeof(path), "p/i%u", i);
		if (pick(2) == 0)
			compiled_place(f, path, pick(2) == 0 ? NULL : "10.0.0.1");
		if (pick(3) == 0)
			continue;
		(void)snprintf(node, sizeof(node), "n-%u", 1 + pick(2));
		(void)snprintf(both, sizeof(both), "%s%s%s", PICK(addresses),
			       pick(2) == 0 ? " " : "", pick(2) == 0 ? "" : "");
		both[strcspn(both, " ")] = '\0';
		compiled_peer(f, path, node, both, pick(4) == 0 ? PICK(services) : NULL);
		if (pick(3) == 0)
			compiled_peer(f, path, node, PICK(addresses), NULL);
	}
	if (pick(2) == 0)
		compiled_node(f, "n-1", "10.0.0.9 fd00::9 10.0.0.8");
	if (pick(4) == 0)
		compiled_essential(f, ESSENTIAL_OUT, "10.0.0.0/28", "udp/53", NULL);
	if (pick(4) == 0)
		compiled_essential(f, ESSENTIAL_OUT, "10.0.0.9/32", "udp/50-60", NULL);
	if (pick(4) == 0)
		compiled_essential(f, ESSENTIAL_IN, "10.1.0.0/16", "tcp/80", NULL);
	if (pick(5) == 0)
		compiled_revoke(f, REVOKED_IDENTITY, "p/i1");
	if (pick(5) == 0)
		compiled_revoke(f, REVOKED_RULE, "r0");
	if (pick(6) == 0)
		compiled_revoke(f, REVOKED_LABEL, "vendor=x");
	if (pick(5) == 0)
		compiled_quarantine(f, "p/i2", pick(2) == 0 ? "n0" : NULL);
	make_grants(f);
}

/* --- one flow -------------------------------------------------------------------------------- */

static struct flow_end end_of(const struct compiled *f, unsigned identity)
{
	struct flow_end end = {.has_socket = true};
	char name[8];

	(void)snprintf(name, sizeof(name), "i%u", identity);
	end.cgroups[0] = 1;
	end.cgroups[1] = compiled_cgroup(f, name);
	return end;
}

/* As the agent answers, and the kernel looks its mark up: see rules/marks.h. */
static uint32_t answered(const struct compiled *f, uint32_t number, const struct flow *flow)
{
	const struct conduit *asked = generation_find(f->g, number), *vouched;

	if (!flow || compiled_live(f, number) != LIVE_ASK)
		return number;
	CHECK(compiled_has_mark(f, SET_PENDING, number));
	switch (flow->answer) {
	case ANSWER_NONE:
		return number | MARK_UNAVAILABLE;
	case ANSWER_VOUCHED:
		vouched =
			generation_vouched(f->g, asked, f->policy->identities[flow->vouched].path);
		if (vouched && vouched->vouched != LIVE_NONE &&
		    (flow->measured || flow->direction == FLOW_OUT ||
		     vouched->assurance != ASSURANCE_MEASURED))
			return vouched->number | MARK_VOUCHED;
		break;
	case ANSWER_REFUSED:
	case ANSWER_ASSUMED:
		break;
	}
	return number | MARK_NOT_VOUCHED;
}

/* One decision for the kernel: what live says, or else the mode of whoever's mark is left. */
static enum decision decide(const struct compiled *f, uint32_t number, uint32_t local_mark,
			    const struct flow *flow)
{
	uint32_t mark = answered(f, number, flow);
	bool asked = mark != number;

	switch (compiled_live(f, mark)) {
	case LIVE_ACCEPT:
		return DECISION_ALLOWED;
	case LIVE_LEASED:
	case LIVE_LEASED_WATCHED:
		CHECK(compiled_lease(f, mark) > f->in.now.s);
		return DECISION_ALLOWED;
	case LIVE_WATCHED:
		return DECISION_WOULD_DENY;
	default:
		break;
	}
	return compiled_has_mark(f, SET_OBSERVE_WHO, mark != 0 ? mark : local_mark) ||
			       (asked && compiled_has_mark(f, SET_ASK_WATCHED, mark))
		       ? DECISION_WOULD_DENY
		       : DECISION_DENIED;
}

/* The receiver has a say too, and must be one of the conduit's. */
static enum decision decide_received(const struct compiled *f, const struct service *s,
				     uint32_t number, uint32_t mark, unsigned listener)
{
	enum decision caller = decide(f, number, mark, NULL), called;
	uint64_t cgroup;
	char name[8];
	bool received;

	(void)snprintf(name, sizeof(name), "i%u", listener);
	cgroup = compiled_cgroup(f, name);
	received = s->kind == SERVICE_UDP ? compiled_live_udp(f, number, cgroup) != LIVE_NONE
					  : compiled_is_end(f, number, cgroup);
	if (received)
		return caller;
	called = compiled_has_mark(f, SET_OBSERVE_WHO, compiled_mark(f, name)) ? DECISION_WOULD_DENY
									       : DECISION_DENIED;
	if (compiled_live(f, number) != LIVE_NONE)
		caller = compiled_has_mark(f, SET_OBSERVE_WHO, mark) ? DECISION_WOULD_DENY
								     : DECISION_DENIED;
	return caller > called ? caller : called;
}

/* What the sets say of an identity without a number: nothing, or that it is not placed here. */
static enum decision without_number(const struct compiled *f, unsigned identity)
{
	char name[8];
	struct key k;

	(void)snprintf(name, sizeof(name), "i%u", identity);
	key_init(&k);
	key_cgroup(&k, compiled_cgroup(f, name));
	for (uint8_t level = 1; level <= CGROUP_LEVEL_MAX; level++) {
		if (compiled_has(f, SET_WHO_CGROUP, SLOT_A, level, &k))
			return DECISION_DENIED;
	}
	return DECISION_ALLOWED;
}

static enum decision kernel_says(const struct compiled *f, const struct flow *flow,
				 const struct service *s, unsigned local, unsigned listener)
{
	bool in = flow->direction == FLOW_IN;
	char name[8];
	uint32_t mark, number;

	number = compiled_find_essential(f, in, in ? &flow->src : &flow->dst, s);
	if (number != 0)
		return decide(f, number, 0, NULL);
	(void)snprintf(name, sizeof(name), "i%u", local);
	mark = compiled_mark(f, name);
	if (in && service_is_echo(s)) {
		number = compiled_find(f, true, 0, &flow->src, s, SLOT_A);
		return decide(f, number, 0, NULL);
	}
	if (mark == 0)
		return without_number(f, local);
	(void)snprintf(name, sizeof(name), "i%u", listener);
	if (flow->direction == FLOW_LOOPBACK && !service_is_echo(s) && compiled_mark(f, name) == 0)
		return without_number(f, listener);
	number = compiled_find(f, in, mark, in ? &flow->src : &flow->dst, s, SLOT_A);
	if (flow->direction != FLOW_LOOPBACK || service_is_echo(s))
		return decide(f, number, mark, flow);
	return decide_received(f, s, number, mark, listener);
}

/* Both say until when, where one permission and not several identities at one port decide. */
static void check_end(const struct compiled *f, const struct flow *flow, const struct service *s,
		      unsigned local, const struct verdict *v, unsigned seed)
{
	bool in = flow->direction == FLOW_IN;
	uint32_t mark = 0, number;
	char name[8];
	int64_t end;

	if (flow->direction == FLOW_LOOPBACK || v->decision != DECISION_ALLOWED || v->rule < 0)
		return;
	(void)snprintf(name, sizeof(name), "i%u", local);
	if (!in || !service_is_echo(s))
		mark = compiled_mark(f, name);
	number = compiled_find(f, in, mark, in ? &flow->src : &flow->dst, s, SLOT_A);
	number = answered(f, number, flow);
	end = compiled_lease(f, number);
	if (end != v->lease_end.s)
		test_fail(__FILE__, __LINE__, "seed %u: conduit %u ends %+lld, oracle %+lld", seed,
			  number, (long long)(end - f->in.now.s),
			  (long long)(v->lease_end.s - f->in.now.s));
}

/* Several nodes at one address: whose agent is asked depends on names. */
static bool is_shared(const struct compiled *f, const struct flow *flow)
{
	const struct addr *far = flow->direction == FLOW_IN ? &flow->src : &flow->dst;
	const char *node = NULL;

	for (size_t i = 0; i < f->view->peer_count && flow->direction != FLOW_LOOPBACK; i++) {
		const struct view_peer *p = &f->view->peers[i];

		for (size_t j = 0; j < p->address_count; j++) {
			if (!addr_eq(&p->addresses[j], far))
				continue;
			if (node && !str_eq(node, p->node))
				return true;
			node = p->node;
		}
	}
	return false;
}

/* Several listeners at one port of one address, a mistake of policy: who is meant is not told. */
static bool is_crowded(const struct compiled *f, const struct flow *flow, const struct service *s,
		       unsigned local)
{
	unsigned count = 0;
	char name[8];
	const struct conduit *c;

	(void)snprintf(name, sizeof(name), "i%u", local);
	if (flow->direction != FLOW_OUT || compiled_mark(f, name) == 0)
		return false;
	c = generation_find(f->g,
			    compiled_find(f, false, compiled_mark(f, name), &flow->dst, s, SLOT_A));
	for (size_t i = 0; c && (c->flags & CONDUIT_ASKED) && i < f->view->peer_count; i++) {
		const struct view_peer *p = &f->view->peers[i];

		for (size_t j = 0; j < p->address_count; j++)
			count += addr_eq(&p->addresses[j], &flow->dst);
	}
	return count > 1;
}

static void check_flow(const struct compiled *f, unsigned seed, const char *policy_text)
{
	static const char *const own[] = {"127.0.0.1", "10.0.0.1", "fd00::1", "::1"};
	static const char *const asked[] = {
		"tcp/80", "tcp/85",    "tcp/443",  "tcp/90",      "tcp/60000", "udp/53",   "udp/50",
		"udp/60", "icmp/echo", "tcp/1024", "icmpv6/echo", "udp/61",    "tcp/65535"};
	unsigned local = pick(IDENTITIES), listener = pick(IDENTITIES);
	const char *far = PICK(far_addresses), *service = PICK(asked);
	struct service s = fixture_service(service);
	struct flow flow = {.direction = (enum flow_direction)pick(3)};
	struct verdict v;
	struct err err;
	enum decision kernel;

	if (flow.direction == FLOW_LOOPBACK)
		far = PICK(own);
	flow.src = fixture_addr(far);
	flow.dst = fixture_addr(far);
	if (service_is_echo(&s) && (s.kind == SERVICE_ICMP_ECHO) != (flow.src.family == AF_INET))
		return;
	if (flow.direction == FLOW_IN)
		flow.dst = fixture_addr(flow.src.family == AF_INET ? "10.0.0.1" : "fd00::1");
	else
		flow.src = fixture_addr(flow.dst.family == AF_INET ? "10.0.0.1" : "fd00::1");
	flow.l4proto = service_l4proto(&s);
	flow.dport = service_is_echo(&s) ? service_icmp_type(&s) : s.first;
	if (flow.direction != FLOW_IN)
		flow.source = end_of(f, local);
	if (flow.direction == FLOW_LOOPBACK)
		flow.destination = end_of(f, listener);
	if (flow.direction == FLOW_IN && !service_is_echo(&s))
		flow.destination = end_of(f, local);

	flow.answer = (enum flow_answer)(ANSWER_VOUCHED + pick(3));
	flow.vouched = pick(IDENTITIES);
	flow.measured = pick(2) == 0;
	if (is_shared(f, &flow) || is_crowded(f, &flow, &s, local))
		return;
	CHECK_OK(verdict_decide(&f->in, &f->host, MODE_SELECTIVE, &flow, &v, &err), &err);
	/* A receiver without identity is judged by chains, not by sets. */
	if (flow.direction == FLOW_LOOPBACK && (v.from_identity < 0 || v.to_identity < 0) &&
	    v.reason != REASON_ESSENTIAL && !service_is_echo(&s))
		return;
	if (flow.direction == FLOW_IN && service_is_echo(&s) && v.decision == DECISION_ALLOWED &&
	    v.reason == REASON_UNCLAIMED)
		v.decision = DECISION_DENIED;
	check_end(f, &flow, &s, local, &v, seed);
	kernel = kernel_says(f, &flow, &s, local, listener);
	/*
	 * A caller is an end of its own loopback conduits, in both directions: it may also sit at
	 * the other end, which gains it nothing.
	 */
	if (flow.direction == FLOW_LOOPBACK && listener == local)
		return;
	/* Of two possible receivers one holds and one is only watched: not told apart at output. */
	if (flow.direction == FLOW_LOOPBACK && kernel == DECISION_ALLOWED &&
	    v.decision == DECISION_WOULD_DENY)
		return;
	if (kernel != v.decision)
		test_fail(__FILE__, __LINE__,
			  "seed %u: %s i%u %s %s (listener i%u): compiled %s, oracle %s (%s)\n%s",
			  seed, flow.direction == FLOW_IN ? "in to" : "out from", local, far,
			  service, listener, decision_name(kernel), decision_name(v.decision),
			  reason_name(v.reason), policy_text);
}

/* Policies may refuse "any" between identities; compiler and oracle are asked all the same. */
static void widen(const struct compiled *f)
{
	for (size_t i = 0; i < f->policy->rule_count; i++) {
		struct rule *r = &f->policy->rules[i];

		for (size_t j = 0; j < r->service_count; j++)
			if (r->services[j].last == 1024 && r->services[j].first == 1 &&
			    pick(2) == 0)
				r->services[j] = (struct service){.kind = r->services[j].kind,
								  .last = UINT16_MAX};
	}
}

static void check_world(unsigned seed)
{
	CLEANUP(compiled_done) struct compiled f;
	CLEANUP(buf_done) struct buf text;

	state = seed * 0x9e3779b97f4a7c15U + 1;
	for (unsigned i = 0; i < 4; i++)
		(void)pick(2);
	buf_init(&text, 1 << 20);
	make_policy(&text);
	compiled_init(&f, text.data);
	widen(&f);
	make_view(&f);
	compiled_run(&f);
	for (unsigned i = 0; i < FLOWS_PER_WORLD; i++)
		check_flow(&f, seed, text.data);
}

TEST(compiled_sets_agree_with_the_oracle)
{
	for (unsigned seed = 1; seed <= WORLDS; seed++)
		check_world(seed);
}

/* --- changes --------------------------------------------------------------------------------- */

struct found {
	uint32_t number;
	bool open;
	uint8_t party_type;
	char node[NODE_NAME_MAX];
};

/* Conduit of a flow between nodes, and whether it is open. */
static struct found find(const struct compiled *f, bool in, const char *name, const char *far,
			 const char *service, enum slot slot)
{
	struct service s = fixture_service(service);
	struct addr a = fixture_addr(far);
	uint32_t mark = in && service_is_echo(&s) ? 0 : compiled_mark(f, name);
	const struct conduit *c;
	const struct party *p;
	struct found found = {0};

	if (mark == 0 && !service_is_echo(&s))
		return found;
	found.number = compiled_find(f, in, mark, &a, &s, slot);
	c = found.number != 0 ? generation_find(f->g, found.number) : NULL;
	if (!c)
		return found;
	p = &f->g->parties[in ? c->from : c->to];
	found.open = c->verdict != LIVE_NONE;
	found.party_type = p->type;
	(void)snprintf(found.node, sizeof(found.node), "%s", p->node ? p->node : "");
	return found;
}

static bool is_listed(const uint32_t *numbers, size_t count, uint32_t number)
{
	for (size_t i = 0; i < count; i++)
		if (numbers[i] == number)
			return true;
	return false;
}

static void check_change(const struct compiled *old, const struct compiled *new_,
			 const uint32_t *rederive, size_t count, unsigned seed)
{
	static const char *const asked[] = {"tcp/80", "tcp/85",    "tcp/443",  "udp/53",
					    "udp/55", "icmp/echo", "tcp/60000"};
	const char *far = PICK(far_addresses), *service = PICK(asked);
	bool in = pick(2) == 0;
	struct found before, after;
	const struct conduit *c;
	char name[8];

	(void)snprintf(name, sizeof(name), "i%u", pick(IDENTITIES));
	if (str_eq(service, "icmp/echo") && strchr(far, ':'))
		return;
	before = find(old, in, name, far, service, SLOT_A);
	after = find(new_, in, name, far, service, SLOT_A);
	if (!before.open)
		return;
	c = generation_find(new_->g, before.number);
	/* A live flow must not outlive its permission. */
	if (!after.open && c && c->verdict != LIVE_NONE)
		test_fail(__FILE__, __LINE__, "seed %u: %s %s %s %s: conduit %u still passes it",
			  seed, name, in ? "from" : "to", far, service, before.number);
	/* An identity that came to stand inside a network leaves the network's conduit as it is. */
	if (c)
		return;
	/* One that remains permitted must go on, unless its other end moved. */
	if (!after.open || after.number == before.number ||
	    is_listed(rederive, count, before.number))
		return;
	if (before.party_type == PARTY_TYPE_NETWORK || after.party_type == PARTY_TYPE_NETWORK ||
	    str_eq(before.node, after.node))
		test_fail(__FILE__, __LINE__,
			  "seed %u: %s %s %s %s: conduit %u is cut, not rederived", seed, name,
			  in ? "from" : "to", far, service, before.number);
}

static void take_policy(struct compiled *f)
{
	CLEANUP(buf_done) struct buf text;

	buf_init(&text, 1 << 20);
	make_policy(&text);
	compiled_policy(f, text.data);
	widen(f);
}

static void begin_pair(struct compiled *a, struct compiled *b, unsigned seed)
{
	static const char start[] = "trust_domain: acme.example\n";

	state = seed * 0xd1342543de82ef95U + 1;
	for (unsigned i = 0; i < 4; i++)
		(void)pick(2);
	compiled_init(a, start);
	compiled_init(b, start);
	numbers_free(b->numbers);
	numbers_free(b->identities);
	b->numbers = a->numbers;
	b->identities = a->identities;
	take_policy(a);
	make_view(a);
}

static void end_pair(struct compiled *b)
{
	b->numbers = NULL;
	b->identities = NULL;
}

TEST(changes_cut_what_ends_and_keep_what_remains)
{
	for (unsigned seed = 1; seed <= WORLDS; seed++) {
		CLEANUP(compiled_done) struct compiled a, b;
		CLEANUP(freep) uint32_t *rederive = NULL;
		size_t count = 0;

		begin_pair(&a, &b, seed);
		compiled_run(&a);
		/* Half of the changes are of the view alone. */
		if (seed % 2 == 0) {
			take_policy(&b);
		} else {
			policy_free(b.policy);
			b.policy = a.policy;
			b.in.policy = a.policy;
		}
		make_view(&b);
		compiled_run(&b);
		CHECK_INT(generation_rederive(a.g, b.g, &rederive, &count), 0);
		for (unsigned i = 0; i < FLOWS_PER_WORLD; i++)
			check_change(&a, &b, rederive, count, seed);
		if (b.policy == a.policy)
			b.policy = NULL;
		end_pair(&b);
	}
}

static void check_pair(const struct compiled *a, const struct compiled *b, unsigned seed)
{
	static const char *const asked[] = {"tcp/80", "tcp/85",    "tcp/443",  "udp/53",
					    "udp/55", "icmp/echo", "tcp/60000"};
	const char *far = PICK(far_addresses), *service = PICK(asked);
	bool in = pick(2) == 0;
	struct found x, y;
	char name[8];

	(void)snprintf(name, sizeof(name), "i%u", pick(IDENTITIES));
	if (str_eq(service, "icmp/echo") && strchr(far, ':'))
		return;
	x = find(a, in, name, far, service, SLOT_A);
	y = find(b, in, name, far, service, SLOT_A);
	if (x.number != 0 && y.number != 0 && x.number != y.number)
		test_fail(__FILE__, __LINE__, "seed %u: %s %s %s %s: conduits %u and %u", seed,
			  name, in ? "from" : "to", far, service, x.number, y.number);
}

static bool receives(const struct generation *g, uint32_t number, uint32_t mark)
{
	for (size_t i = 0; i < g->receiver_count; i++)
		if (g->receivers[i].number == number && g->receivers[i].mark == mark)
			return true;
	return false;
}

/* On loopback nobody whom the other policy does not let be called keeps a flow through the switch.
 */
static void check_here(const struct compiled *a, const struct compiled *b, unsigned seed)
{
	static const char *const asked[] = {"tcp/80", "tcp/85", "tcp/443", "tcp/60000"};
	const char *service = PICK(asked);
	struct found x, y;
	const struct conduit *c;
	char name[8];

	(void)snprintf(name, sizeof(name), "i%u", pick(IDENTITIES));
	x = find(a, false, name, "127.0.0.1", service, SLOT_A);
	y = find(b, false, name, "127.0.0.1", service, SLOT_A);
	c = x.number != 0 ? generation_find(b->g, x.number) : NULL;
	if (!x.open || !c || c->verdict == LIVE_NONE || x.number == y.number)
		return;
	for (size_t i = 0; i < a->g->local_count; i++) {
		uint32_t mark = a->g->locals[i].mark;

		if (receives(a->g, x.number, mark) && !receives(b->g, y.number, mark))
			test_fail(__FILE__, __LINE__, "seed %u: %s %s: %s keeps conduit %u", seed,
				  name, service, a->g->locals[i].name, x.number);
	}
}

/* The borders of the other policy come and go: what remains permitted is judged again. */
static void check_borders(const struct compiled *both, unsigned seed)
{
	CLEANUP(generation_freep) struct generation *g = NULL;
	CLEANUP(ruleset_freep) struct ruleset *r = NULL;
	CLEANUP(freep) uint32_t *there = NULL;
	CLEANUP(freep) uint32_t *back = NULL;
	struct compiled alone = *both;
	size_t there_count = 0, back_count = 0;
	struct err err;

	alone.in.also_cut = NULL;
	CHECK_OK(compile_generation(&alone.in, both->numbers, both->identities, &g, &err), &err);
	CHECK_OK(ruleset_build(g, NULL, &both->host, NULL, &both->shape, &r, &err), &err);
	alone.g = g;
	alone.r = r;
	CHECK_INT(generation_rederive(g, both->g, &there, &there_count), 0);
	CHECK_INT(generation_rederive(both->g, g, &back, &back_count), 0);
	for (unsigned i = 0; i < FLOWS_PER_WORLD / 4; i++) {
		check_change(&alone, both, there, there_count, seed);
		check_change(both, &alone, back, back_count, seed);
	}
}

TEST(a_packet_has_one_conduit_in_both_policies_of_a_probation)
{
	for (unsigned seed = 1; seed <= WORLDS; seed++) {
		CLEANUP(compiled_done) struct compiled a, b;
		struct err err;

		begin_pair(&a, &b, seed);
		take_policy(&b);
		b.in.view = a.view;
		a.in.also_cut = b.policy;
		b.in.also_cut = a.policy;
		CHECK_OK(compile_generation(&a.in, a.numbers, a.identities, &a.g, &err), &err);
		CHECK_OK(compile_generation(&b.in, a.numbers, a.identities, &b.g, &err), &err);
		CHECK_OK(ruleset_build(a.g, NULL, &a.host, NULL, &a.shape, &a.r, &err), &err);
		CHECK_OK(ruleset_build(b.g, NULL, &b.host, NULL, &b.shape, &b.r, &err), &err);
		for (unsigned i = 0; i < FLOWS_PER_WORLD; i++)
			check_pair(&a, &b, seed);
		for (unsigned i = 0; i < FLOWS_PER_WORLD; i++)
			check_here(&a, &b, seed);
		check_borders(&a, seed);
		check_borders(&b, seed);
		/* Borders of the other policy change names, never decisions. */
		for (unsigned i = 0; i < FLOWS_PER_WORLD; i++)
			check_flow(&a, seed, "(with the borders of another policy)");
		end_pair(&b);
	}
}
