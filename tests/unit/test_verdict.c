/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/verdict.h"

#include "tests/unit/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

/*
 * Node pay-1 (10.0.0.1): settlement and backup are placed here, agent (known by uid only) and
 * watcher (in observe mode) too; api is at api-1 and api-2, db at api-2, stray is placed where
 * policy does not let it be.
 */
static const char policy_text[] =
	"trust_domain: acme.example\n"
	"defaults: {assurance: mapped}\n"
	"identities:\n"
	"  - {name: settlement, path: prod/settlement, workload: [{unit: settlement.service}],\n"
	"     labels: [environment=prod, vendor=x], placement: {nodes: [\"pay-*\"]}}\n"
	"  - {name: backup, path: prod/backup, workload: [{unit: backup.service}],\n"
	"     labels: [environment=prod], deny_out: drop, deny_in: reject}\n"
	"  - {name: agent, path: prod/agent, workload: [{user: agent}],\n"
	"     labels: [environment=prod]}\n"
	"  - {name: watcher, path: prod/watcher, workload: [{unit: watcher.service}],\n"
	"     labels: [environment=prod], mode: observe}\n"
	"  - {name: api, path: prod/api, workload: [{unit: api.service}],\n"
	"     labels: [environment=prod], serves: [tcp/8443, tcp/9000-9010, udp/53]}\n"
	"  - {name: db, path: prod/db, workload: [{unit: db.service}],\n"
	"     labels: [environment=prod]}\n"
	"  - {name: stray, path: prod/stray, workload: [{unit: stray.service}],\n"
	"     labels: [environment=prod], placement: {nodes: [\"lab-*\"]}}\n"
	"networks:\n"
	"  - {name: world, cidrs: [\"0.0.0.0/0\", \"::/0\"]}\n"
	"  - {name: office, cidrs: [\"10.9.0.0/16\"]}\n"
	"  - {name: forensics, cidrs: [\"10.66.0.0/16\"]}\n"
	"nodes:\n"
	"  - {pattern: \"pay-*\", addresses: [\"10.0.0.0/29\"]}\n"
	"  - {pattern: \"api-*\", addresses: [\"10.0.0.8/29\", \"fd00::/64\"]}\n"
	"rules:\n"
	"  - {name: b-calls-api, from: [settlement], to: [api], services: [tcp/8443, udp/53],\n"
	"     purpose: p, owner: o}\n"
	"  - {name: a-calls-api, from: [settlement], to: [api], services: [tcp/8443],\n"
	"     purpose: p, owner: o, expires: 2027-01-01T00:00:00Z}\n"
	"  - {name: late, from: [settlement], to: [db], services: [tcp/5432],\n"
	"     purpose: p, owner: o, expires: 2026-06-01T00:00:00Z}\n"
	"  - {name: nightly, from: [backup], to: [db], services: [tcp/5432],\n"
	"     purpose: p, owner: o,\n"
	"     window: {days: [mon, tue, wed, thu, fri], from: \"18:00\",\n"
	"              to: \"06:00\", zone: UTC}}\n"
	"  - {name: tried, from: [backup], to: [db], services: [tcp/6000], purpose: p, owner: o,\n"
	"     mode: observe, expires: 2026-06-01T00:00:00Z}\n"
	"  - {name: logs, from: [agent, settlement], to: [world], services: [tcp/6514],\n"
	"     purpose: p, owner: o}\n"
	"  - {name: office-in, from: [office], to: [backup],\n"
	"     services: [tcp/22], purpose: p, owner: o}\n"
	"  - {name: api-back, from: [api], to: [settlement], services: [tcp/7000-7010],\n"
	"     purpose: p, owner: o}\n"
	"  - {name: local, from: [backup], to: [settlement], services: [tcp/7000],\n"
	"     purpose: p, owner: o}\n"
	"  - {name: pings, from: [settlement], to: [api], services: [icmp/echo, icmpv6/echo],\n"
	"     purpose: p, owner: o}\n"
	"  - {name: pinged, from: [db], to: [settlement], services: [icmp/echo],\n"
	"     purpose: p, owner: o}\n"
	"  - {name: forensic, from: [settlement], to: [forensics], services: [tcp/any],\n"
	"     purpose: p, owner: o}\n"
	"  - {name: to-stray, from: [settlement], to: [stray], services: [tcp/1234],\n"
	"     purpose: p, owner: o}\n";

#define NOW          "2026-11-18T12:00:00Z" /* a Wednesday at noon */
#define UID_AGENT    1001
#define UID_SOMEBODY 1002

enum { CG_SYSTEM = 10, CG_SETTLEMENT = 100, CG_BACKUP, CG_WATCHER, CG_STRAY, CG_OTHER, CG_CHILD };

struct world {
	struct policy *policy;
	struct view view;
	struct host host;
	struct overlay overlay;
	struct essentials essentials;
	struct compile_input in;
};

/* The structs own their texts and so have no const. */
static char *text(const char *s)
{
	return (char *)(uintptr_t)s;
}

static struct addr address(const char *text)
{
	struct addr a = {0};

	if (addr_parse(text, &a) < 0)
		test_fail(__FILE__, __LINE__, "'%s' is no address", text);
	return a;
}

static uint32_t identity(const struct world *w, const char *name)
{
	int i = policy_find_identity(w->policy, name);

	if (i < 0)
		test_fail(__FILE__, __LINE__, "no identity '%s'", name);
	return (uint32_t)i;
}

static void make_policy(struct world *w)
{
	static const struct policy_features features = {.attested = true};
	char pos[POS_TEXT_MAX];
	int r;

	CHECK_INT(rfc3339_parse(NOW, &w->in.now), 0);
	w->policy = policy_new();
	CHECK(w->policy != NULL);
	CHECK_INT(policy_add_text(w->policy, "p.yaml", policy_text, sizeof(policy_text) - 1), 0);
	r = policy_finish(w->policy, &features, w->in.now);
	for (size_t i = 0; r < 0 && i < w->policy->finding_count; i++) {
		const struct finding *f = &w->policy->findings[i];

		if (f->level == FINDING_ERROR)
			test_fail(__FILE__, __LINE__, "%s: %s", pos_format(pos, w->policy, &f->pos),
				  f->message);
	}
	CHECK_INT(r, 0);
}

static void make_view(struct world *w)
{
	static struct addr own[3], api1[2], api2[1], db[1], stray[1], pay2[1], far[1];
	static struct service narrow[] = {{SERVICE_TCP, 8443, 8443}};
	static struct view_placed placed[4];
	static struct view_peer peers[5];
	static struct view_node nodes[2];

	own[0] = address("10.0.0.1");
	own[1] = address("127.0.0.1");
	own[2] = address("::1");
	api1[0] = address("10.0.0.9");
	api1[1] = address("fd00::9");
	api2[0] = address("10.0.0.10");
	db[0] = address("10.0.0.10");
	stray[0] = address("10.0.0.11");
	pay2[0] = address("10.0.0.2");
	far[0] = address("10.5.5.5");
	placed[0] = (struct view_placed){text("prod/settlement"), own, 1};
	placed[1] = (struct view_placed){text("prod/backup"), NULL, 0};
	placed[2] = (struct view_placed){text("prod/agent"), NULL, 0};
	placed[3] = (struct view_placed){text("prod/watcher"), NULL, 0};
	peers[0] = (struct view_peer){text("prod/api"), text("api-1"), api1, 2, false, NULL, 0};
	peers[1] = (struct view_peer){text("prod/api"), text("api-2"), api2, 1, true, narrow, 1};
	peers[2] = (struct view_peer){text("prod/db"), text("api-2"), db, 1, false, NULL, 0};
	peers[3] = (struct view_peer){text("prod/stray"), text("api-1"), stray, 1, false, NULL, 0};
	peers[4] = (struct view_peer){text("prod/api"), text("api-9"), far, 1, false, NULL, 0};
	nodes[0] = (struct view_node){.node = text("api-1"), .addresses = api1, .address_count = 2};
	nodes[1] = (struct view_node){.node = text("pay-2"), .addresses = pay2, .address_count = 1};
	w->view = (struct view){.node = text("pay-1"),
				.placed = placed,
				.placed_count = ARRAY_LEN(placed),
				.peers = peers,
				.peer_count = ARRAY_LEN(peers),
				.nodes = nodes,
				.node_count = ARRAY_LEN(nodes)};
	w->in.addresses = own;
	w->in.address_count = ARRAY_LEN(own);
}

static void make_host(struct world *w)
{
	static struct host_workload workloads[5];
	static struct host_unit units[1];

	workloads[0] = (struct host_workload){
		identity(w, "settlement"), CG_SETTLEMENT, 2, false, false, 0};
	workloads[1] = (struct host_workload){identity(w, "backup"), CG_BACKUP, 2, false, false, 0};
	workloads[2] = (struct host_workload){identity(w, "agent"), 0, 0, true, false, UID_AGENT};
	workloads[3] =
		(struct host_workload){identity(w, "watcher"), CG_WATCHER, 2, false, false, 0};
	workloads[4] = (struct host_workload){identity(w, "stray"), CG_STRAY, 2, false, false, 0};
	units[0] = (struct host_unit){text("resolved.service"), CG_OTHER, 2};
	w->host = (struct host){.workloads = workloads,
				.workload_count = ARRAY_LEN(workloads),
				.units = units,
				.unit_count = ARRAY_LEN(units)};
}

static void make_world(struct world *w)
{
	memset(w, 0, sizeof(*w));
	make_policy(w);
	make_view(w);
	make_host(w);
	w->in.policy = w->policy;
	w->in.view = &w->view;
	w->in.overlay = &w->overlay;
	w->in.essentials = &w->essentials;
	w->in.clock_trusted = true;
	w->in.local_time = zone_local_time();
}

/* "settlement", "other", "agent" (other's cgroup, agent's uid), ...; "-" = no socket. */
static struct flow_end end_of(const char *who)
{
	static const struct {
		const char *who;
		uint64_t cgroup;
		uint32_t uid;
	} ends[] = {
		{"settlement", CG_SETTLEMENT, 0},
		{"backup", CG_BACKUP, 0},
		{"backup+uid", CG_BACKUP, UID_AGENT},
		{"watcher", CG_WATCHER, 0},
		{"stray", CG_STRAY, 0},
		{"agent", CG_OTHER, UID_AGENT},
		{"other", CG_OTHER, UID_SOMEBODY},
	};

	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		if (str_eq(who, ends[i].who))
			return (struct flow_end){
				true, {CG_SYSTEM, ends[i].cgroup, CG_CHILD}, ends[i].uid};
	}
	CHECK_STR(who, "-");
	return (struct flow_end){0};
}

struct row {
	enum node_mode mode;
	enum flow_direction direction;
	const char *caller, *src, *called, *dst, *service;
	enum decision decision;
	enum reason reason;
	const char *rule;     /* that decided, or NULL */
	const char *fails_on; /* starts so, or NULL */
};

static struct flow flow_of(const struct row *row)
{
	struct flow f = {.direction = row->direction};
	struct service s;

	f.src = address(row->src);
	f.dst = address(row->dst);
	f.source = end_of(row->caller);
	f.destination = end_of(row->called);
	CHECK_INT(service_parse(row->service, &s), 0);
	f.l4proto = service_l4proto(&s);
	f.dport = service_is_echo(&s) ? service_icmp_type(&s) : s.first;
	return f;
}

static struct verdict decide(const struct world *w, const struct row *row)
{
	struct flow f = flow_of(row);
	struct verdict v = {0};
	struct err err;

	CHECK_OK(verdict_decide(&w->in, &w->host, row->mode, &f, &v, &err), &err);
	return v;
}

static void check_row(const struct world *w, const struct row *row)
{
	struct verdict v = decide(w, row);
	char what[128], got[128];

	(void)snprintf(what, sizeof(what), "%s %s>%s %s: %s %s", mode_name(row->mode), row->caller,
		       row->called, row->service, decision_name(row->decision),
		       reason_name(row->reason));
	(void)snprintf(got, sizeof(got), "%s %s>%s %s: %s %s", mode_name(row->mode), row->caller,
		       row->called, row->service, decision_name(v.decision), reason_name(v.reason));
	CHECK_STR(got, what);
	if (row->rule != NULL) {
		CHECK(v.rule >= 0);
		CHECK_STR(w->policy->rules[v.rule].name, row->rule);
	}
	if (row->fails_on != NULL)
		CHECK_CONTAINS(v.fails_on, row->fails_on);
}

static void check_rows(const struct row *rows, size_t count)
{
	struct world w;

	make_world(&w);
	for (size_t i = 0; i < count; i++)
		check_row(&w, &rows[i]);
	policy_free(w.policy);
}

#define OUT  FLOW_OUT
#define IN   FLOW_IN
#define LO   FLOW_LOOPBACK
#define SEL  MODE_SELECTIVE
#define ENF  MODE_ENFORCE
#define OBS  MODE_OBSERVE
#define YES  DECISION_ALLOWED
#define NO   DECISION_DENIED
#define WELL DECISION_WOULD_DENY
#define US   "10.0.0.1"
#define API  "10.0.0.9"
#define API2 "10.0.0.10"

TEST(egress_is_decided_by_owner_address_and_service)
{
	static const struct row rows[] = {
		{SEL, OUT, "settlement", US, "-", API, "tcp/8443", YES, REASON_PERMITTED,
		 "a-calls-api", NULL},
		{SEL, OUT, "backup", US, "-", API, "tcp/8443", NO, REASON_NO_RULE, NULL,
		 "from: caller is backup"},
		{SEL, OUT, "settlement", US, "-", API, "tcp/8444", NO, REASON_NO_RULE, NULL,
		 "services: asked for tcp/8444"},
		{SEL, OUT, "settlement", US, "-", API, "udp/53", YES, REASON_PERMITTED,
		 "b-calls-api", NULL},
		/* the placement at api-2 is narrowed to tcp/8443 */
		{SEL, OUT, "settlement", US, "-", API2, "udp/53", NO, REASON_NO_RULE, NULL,
		 "services: api does not serve it there"},
		{SEL, OUT, "settlement", US, "-", API2, "tcp/8443", YES, REASON_PERMITTED, NULL,
		 NULL},
		{SEL, OUT, "settlement", "fd00::1", "-", "fd00::9", "tcp/8443", YES,
		 REASON_PERMITTED, NULL, NULL},
		{SEL, OUT, "settlement", US, "-", "10.0.0.2", "tcp/8443", NO, REASON_NO_RULE, NULL,
		 "to: called is 10.0.0.2"},
	};

	check_rows(rows, ARRAY_LEN(rows));
}

TEST(places_outside_the_bounds_of_policy_do_not_count)
{
	static const struct row rows[] = {
		/* stray may only be on lab-* */
		{SEL, OUT, "settlement", US, "-", "10.0.0.11", "tcp/1234", NO, REASON_NO_RULE, NULL,
		 "to: called is 10.0.0.11"},
		/* 10.5.5.5 is not an address of api-* */
		{SEL, OUT, "settlement", US, "-", "10.5.5.5", "tcp/8443", NO, REASON_NO_RULE, NULL,
		 NULL},
		{ENF, OUT, "stray", US, "-", API, "tcp/8443", NO, REASON_NO_IDENTITY, NULL, NULL},
	};

	check_rows(rows, ARRAY_LEN(rows));
}

TEST(networks_are_parties_by_address_and_are_not_bound_by_what_others_serve)
{
	static const struct row rows[] = {
		{SEL, OUT, "settlement", US, "-", "192.0.2.1", "tcp/6514", YES, REASON_PERMITTED,
		 "logs", NULL},
		{SEL, OUT, "settlement", US, "-", API, "tcp/6514", YES, REASON_PERMITTED, "logs",
		 NULL},
		{SEL, IN, "-", "10.9.1.1", "backup", US, "tcp/22", YES, REASON_PERMITTED,
		 "office-in", NULL},
		{SEL, IN, "-", "10.8.1.1", "backup", US, "tcp/22", NO, REASON_NO_RULE, NULL,
		 "from: caller is 10.8.1.1"},
	};

	check_rows(rows, ARRAY_LEN(rows));
}

TEST(a_uid_is_known_at_egress_and_cgroups_win_over_it)
{
	static const struct row rows[] = {
		{SEL, OUT, "agent", US, "-", "192.0.2.1", "tcp/6514", YES, REASON_PERMITTED, "logs",
		 NULL},
		{SEL, OUT, "backup+uid", US, "-", "192.0.2.1", "tcp/6514", NO, REASON_NO_RULE, NULL,
		 "from: caller is backup"},
	};

	check_rows(rows, ARRAY_LEN(rows));
}

TEST(a_deeper_workload_wins_and_a_uid_wins_at_the_same_depth)
{
	struct row row = {SEL,        OUT, "settlement",     US,   "-", API,
			  "tcp/8443", YES, REASON_PERMITTED, NULL, NULL};
	struct host_workload workloads[2];
	struct world w;

	make_world(&w);
	workloads[0] = (struct host_workload){
		identity(&w, "settlement"), CG_SETTLEMENT, 2, false, false, 0};
	workloads[1] = (struct host_workload){identity(&w, "backup"), CG_CHILD, 3, false, false, 0};
	w.host.workloads = workloads;
	w.host.workload_count = 2;
	CHECK_INT(decide(&w, &row).from_identity, identity(&w, "backup"));
	workloads[1] =
		(struct host_workload){identity(&w, "backup"), CG_SETTLEMENT, 2, true, false, 0};
	CHECK_INT(decide(&w, &row).from_identity, identity(&w, "backup"));
	workloads[1].uid = 5;
	CHECK_INT(decide(&w, &row).from_identity, identity(&w, "settlement"));
	workloads[1] = (struct host_workload){identity(&w, "backup"), CG_CHILD, 3, false, true, 0};
	CHECK_INT(decide(&w, &row).from_identity, identity(&w, "settlement"));
	row = (struct row){SEL, IN, "-", API, "settlement", US, "tcp/7000", NO, 0, NULL, NULL};
	CHECK_INT(decide(&w, &row).to_identity, identity(&w, "backup"));
	policy_free(w.policy);
}

TEST(ingress_is_decided_by_the_listener_and_any_identity_at_the_source)
{
	static const struct row rows[] = {
		{SEL, IN, "-", API, "settlement", US, "tcp/7003", YES, REASON_PERMITTED, "api-back",
		 NULL},
		{SEL, IN, "-", API2, "settlement", US, "tcp/7003", YES, REASON_PERMITTED,
		 "api-back", NULL},
		{SEL, IN, "-", API, "backup", US, "tcp/7003", NO, REASON_NO_RULE, NULL,
		 "to: called is backup"},
		{SEL, IN, "-", "10.0.0.2", "settlement", US, "tcp/7003", NO, REASON_NO_RULE, NULL,
		 NULL},
		{SEL, IN, "-", API, "other", US, "tcp/7003", YES, REASON_UNCLAIMED, NULL, NULL},
		{SEL, IN, "-", API, "-", US, "tcp/7003", YES, REASON_UNCLAIMED, NULL, NULL},
		{ENF, IN, "-", API, "other", US, "tcp/7003", NO, REASON_NO_IDENTITY, NULL, NULL},
		{ENF, IN, "-", API, "-", US, "tcp/7003", NO, REASON_NO_SOCKET, NULL, NULL},
	};

	check_rows(rows, ARRAY_LEN(rows));
}

TEST(echo_requests_are_addressed_to_nodes)
{
	static const struct row rows[] = {
		{SEL, OUT, "settlement", US, "-", API, "icmp/echo", YES, REASON_PERMITTED, "pings",
		 NULL},
		{SEL, OUT, "settlement", "fd00::1", "-", "fd00::9", "icmpv6/echo", YES,
		 REASON_PERMITTED, "pings", NULL},
		{SEL, OUT, "backup", US, "-", API, "icmp/echo", NO, REASON_NO_RULE, NULL, NULL},
		{SEL, IN, "-", API2, "-", US, "icmp/echo", YES, REASON_PERMITTED, "pinged", NULL},
		{ENF, IN, "-", API2, "-", US, "icmp/echo", YES, REASON_PERMITTED, "pinged", NULL},
		{ENF, IN, "-", API, "-", US, "icmp/echo", NO, REASON_NO_SOCKET, NULL, NULL},
		{SEL, IN, "-", API, "-", US, "icmp/echo", YES, REASON_UNCLAIMED, NULL, NULL},
	};

	check_rows(rows, ARRAY_LEN(rows));
}

TEST(both_ends_of_a_loopback_flow_are_judged)
{
	static const struct row rows[] = {
		{SEL, LO, "backup", "127.0.0.1", "settlement", "127.0.0.1", "tcp/7000", YES,
		 REASON_PERMITTED, "local", NULL},
		{SEL, LO, "backup", US, "settlement", US, "tcp/7000", YES, REASON_PERMITTED, NULL,
		 NULL},
		{SEL, LO, "backup", "::1", "settlement", "::1", "tcp/7000", YES, REASON_PERMITTED,
		 NULL, NULL},
		{SEL, LO, "backup", "127.0.0.1", "settlement", "127.0.0.2", "tcp/7000", NO,
		 REASON_NO_RULE, NULL, NULL},
		{SEL, LO, "settlement", "127.0.0.1", "backup", "127.0.0.1", "tcp/7000", NO,
		 REASON_NO_RULE, NULL, NULL},
		{SEL, LO, "backup", "127.0.0.1", "other", "127.0.0.1", "tcp/7000", NO,
		 REASON_RECEIVER_CHANGED, NULL, NULL},
		{SEL, LO, "other", "127.0.0.1", "settlement", "127.0.0.1", "tcp/7000", NO,
		 REASON_NO_IDENTITY, NULL, NULL},
		{SEL, LO, "other", "127.0.0.1", "other", "127.0.0.1", "tcp/7000", YES,
		 REASON_UNCLAIMED, NULL, NULL},
		{ENF, LO, "other", "127.0.0.1", "other", "127.0.0.53", "udp/53", YES,
		 REASON_UNCLAIMED, NULL, NULL},
		{OBS, LO, "other", "127.0.0.1", "settlement", "127.0.0.1", "tcp/7000", WELL,
		 REASON_NO_IDENTITY, NULL, NULL},
		{SEL, LO, "watcher", "127.0.0.1", "settlement", "127.0.0.1", "tcp/1", NO,
		 REASON_NO_RULE, NULL, NULL},
		{SEL, LO, "watcher", "127.0.0.1", "other", "127.0.0.1", "tcp/1", WELL,
		 REASON_NO_RULE, NULL, NULL},
	};

	check_rows(rows, ARRAY_LEN(rows));
}

TEST(modes_of_node_identity_and_rule)
{
	static const struct row rows[] = {
		{OBS, OUT, "backup", US, "-", API, "tcp/8443", WELL, REASON_NO_RULE, NULL, NULL},
		{OBS, OUT, "other", US, "-", API, "tcp/8443", YES, REASON_UNCLAIMED, NULL, NULL},
		{SEL, OUT, "other", US, "-", API, "tcp/8443", YES, REASON_UNCLAIMED, NULL, NULL},
		{ENF, OUT, "other", US, "-", API, "tcp/8443", NO, REASON_NO_IDENTITY, NULL, NULL},
		{ENF, OUT, "-", US, "-", API, "tcp/8443", NO, REASON_NO_SOCKET, NULL, NULL},
		{ENF, OUT, "watcher", US, "-", API, "tcp/1", WELL, REASON_NO_RULE, NULL, NULL},
		{SEL, OUT, "backup", US, "-", API2, "tcp/6000", WELL, REASON_LEASE_ENDED, "tried",
		 "expires: ended 2026-06-01T00:00:00Z"},
		{SEL, OUT, "backup", US, "-", "203.0.113.9", "tcp/1", NO, REASON_NO_RULE, NULL,
		 NULL},
	};

	check_rows(rows, ARRAY_LEN(rows));
}

TEST(conditions_end_a_permission)
{
	static const struct row rows[] = {
		{SEL, OUT, "settlement", US, "-", API2, "tcp/5432", NO, REASON_LEASE_ENDED, NULL,
		 "expires: ended 2026-06-01T00:00:00Z"},
		{SEL, OUT, "backup", US, "-", API2, "tcp/5432", NO, REASON_OUTSIDE_WINDOW, NULL,
		 "window: closed until 2026-11-18T18:00:00Z"},
	};

	check_rows(rows, ARRAY_LEN(rows));
}

TEST(without_a_trusted_clock_windows_follow_the_rule)
{
	struct row row = {SEL,
			  OUT,
			  "backup",
			  US,
			  "-",
			  API2,
			  "tcp/5432",
			  NO,
			  REASON_OUTSIDE_WINDOW,
			  NULL,
			  "window: the clock is not trusted"};
	struct verdict v;
	struct world w;

	make_world(&w);
	w.in.clock_trusted = false;
	check_row(&w, &row);
	w.policy->rules[policy_find_rule(w.policy, "nightly")].on_clock_loss = ON_CLOCK_LOSS_OPEN;
	v = decide(&w, &row);
	CHECK_INT(v.decision, DECISION_ALLOWED);
	CHECK_INT(v.lease_end.s, 0);
	policy_free(w.policy);
}

TEST(the_lease_is_the_latest_end_of_all_rules_that_hold)
{
	struct row row = {SEL, OUT, "backup", US, "-", API2, "tcp/5432", YES, 0, NULL, NULL};
	char when[RFC3339_TEXT_MAX];
	struct rule *tried;
	struct world w;

	make_world(&w);
	CHECK_INT(rfc3339_parse("2026-11-18T20:00:00Z", &w.in.now), 0);
	CHECK_STR(rfc3339_format(when, decide(&w, &row).lease_end), "2026-11-19T06:00:00Z");
	/* a second rule for the same, ending after the window, then before */
	tried = &w.policy->rules[policy_find_rule(w.policy, "tried")];
	tried->services[0] = (struct service){SERVICE_TCP, 5432, 5432};
	CHECK_INT(rfc3339_parse("2026-12-01T00:00:00Z", &tried->expires), 0);
	CHECK_STR(rfc3339_format(when, decide(&w, &row).lease_end), "2026-12-01T00:00:00Z");
	CHECK_INT(rfc3339_parse("2026-11-18T21:00:00Z", &tried->expires), 0);
	CHECK_STR(rfc3339_format(when, decide(&w, &row).lease_end), "2026-11-19T06:00:00Z");
	row.caller = "settlement";
	row.dst = API;
	row.service = "tcp/8443";
	CHECK_INT(decide(&w, &row).lease_end.s, 0);
	policy_free(w.policy);
}

TEST(revocations_take_away_until_they_end)
{
	static const struct row allowed = {SEL,      OUT, "settlement",     US,   "-", API,
					   "udp/53", YES, REASON_PERMITTED, NULL, NULL};
	struct row denied = allowed;
	struct overlay_revoked r = {.reason = text("contract ended")};
	struct world w;

	denied.decision = NO;
	denied.reason = REASON_REVOKED;
	denied.fails_on = "contract ended";
	make_world(&w);
	w.overlay.revoked = &r;
	w.overlay.revoked_count = 1;
	r.kind = REVOKED_RULE;
	r.name = text("b-calls-api");
	check_row(&w, &denied);
	r.name = text("logs");
	check_row(&w, &allowed);
	r.kind = REVOKED_IDENTITY;
	r.name = text("prod/api");
	check_row(&w, &denied);
	r.kind = REVOKED_LABEL;
	r.name = text("vendor=x");
	check_row(&w, &denied);
	r.until = (struct wall){w.in.now.s + 1};
	check_row(&w, &denied);
	r.until = w.in.now;
	check_row(&w, &allowed);
	policy_free(w.policy);
}

TEST(quarantine_leaves_the_kept_network_only)
{
	static const struct row keep = {
		SEL,       OUT, "settlement",     US,         "-", "10.66.0.1",
		"tcp/443", YES, REASON_PERMITTED, "forensic", NULL};
	static const struct row out = {SEL,
				       OUT,
				       "settlement",
				       US,
				       "-",
				       API,
				       "tcp/8443",
				       NO,
				       REASON_QUARANTINED,
				       NULL,
				       "quarantined: settlement, odd"};
	static const struct row in = {
		SEL,  IN,  "-", API, "settlement", US, "tcp/7000", NO, REASON_QUARANTINED,
		NULL, NULL};
	struct overlay_quarantine q = {.identity = text("prod/settlement"),
				       .keep = text("forensics"),
				       .reason = text("odd")};
	struct row kept_denied = keep;
	struct world w;

	make_world(&w);
	w.overlay.quarantined = &q;
	w.overlay.quarantined_count = 1;
	check_row(&w, &keep);
	check_row(&w, &out);
	check_row(&w, &in);
	q.keep = NULL;
	kept_denied.decision = NO;
	kept_denied.reason = REASON_QUARANTINED;
	kept_denied.rule = NULL;
	check_row(&w, &kept_denied);
	policy_free(w.policy);
}

TEST(essentials_pass_for_their_owners_whatever_was_taken_away)
{
	static const struct row dns = {ENF,      OUT, "other",          US,   "-", "10.0.0.53",
				       "udp/53", YES, REASON_ESSENTIAL, NULL, NULL};
	static const struct row others = {SEL,      OUT, "settlement",   US,   "-", "10.0.0.53",
					  "udp/53", NO,  REASON_NO_RULE, NULL, NULL};
	static const struct row ssh = {
		ENF, IN, "-", "10.9.0.3", "other", US, "tcp/22", YES, REASON_ESSENTIAL, NULL, NULL};
	static const struct row kernel = {
		ENF, OUT, "-", US, "-", API, "udp/51820", YES, REASON_ESSENTIAL, NULL, NULL};
	static const struct row forged = {
		ENF, OUT, "other", US, "-", API, "udp/51820", NO, REASON_NO_IDENTITY, NULL, NULL};
	struct essential e[3] = {
		{.direction = ESSENTIAL_OUT, .service = {SERVICE_UDP, 53, 53}, .by_count = 1},
		{.direction = ESSENTIAL_IN, .service = {SERVICE_TCP, 22, 22}},
		{.direction = ESSENTIAL_KERNEL,
		 .service = {SERVICE_UDP, 51820, 51820},
		 .l4proto = IPPROTO_UDP},
	};
	struct overlay_quarantine q = {.identity = text("prod/settlement")};
	struct world w;

	make_world(&w);
	e[0].by[0] = text("resolved.service");
	CHECK_INT(prefix_parse("10.0.0.53", &e[0].far), 0);
	CHECK_INT(prefix_parse("10.9.0.0/24", &e[1].far), 0);
	w.essentials = (struct essentials){e, ARRAY_LEN(e)};
	w.overlay.quarantined = &q;
	w.overlay.quarantined_count = 1;
	check_row(&w, &dns);
	check_row(&w, &others);
	check_row(&w, &ssh);
	check_row(&w, &kernel);
	check_row(&w, &forged);
	policy_free(w.policy);
}

TEST(the_answer_is_that_of_the_local_end)
{
	struct row row = {SEL, OUT, "settlement", US, "-", API, "tcp/1", NO, 0, NULL, NULL};
	struct world w;

	make_world(&w);
	CHECK_INT(decide(&w, &row).answer, DENY_REJECT);
	row.caller = "backup";
	CHECK_INT(decide(&w, &row).answer, DENY_DROP);
	row = (struct row){SEL, IN, "-", API, "settlement", US, "tcp/1", NO, 0, NULL, NULL};
	CHECK_INT(decide(&w, &row).answer, DENY_DROP);
	row.called = "backup";
	CHECK_INT(decide(&w, &row).answer, DENY_REJECT);
	/* on loopback: at output unless the caller may go there, then at the receiver */
	row = (struct row){SEL, LO, "settlement", US, "backup", US, "tcp/1", NO, 0, NULL, NULL};
	CHECK_INT(decide(&w, &row).answer, DENY_REJECT);
	row = (struct row){SEL, LO, "backup", US, "watcher", US, "tcp/7000", NO, 0, NULL, NULL};
	CHECK_INT(decide(&w, &row).answer, DENY_REJECT);
	policy_free(w.policy);
}

TEST(an_assurance_floor_and_unvouched_callers_are_refused)
{
	struct row row = {SEL,      OUT, "settlement",     US,   "-", API,
			  "udp/53", YES, REASON_PERMITTED, NULL, NULL};
	struct rule *rule;
	struct world w;

	make_world(&w);
	rule = &w.policy->rules[policy_find_rule(w.policy, "b-calls-api")];
	w.policy->identities[identity(&w, "api")].min_assurance = ASSURANCE_ATTESTED;
	row.decision = NO;
	row.reason = REASON_ATTEST_REFUSED;
	row.fails_on = "assurance: api asks for attested, the rule for mapped";
	check_row(&w, &row);
	rule->assurance = ASSURANCE_ATTESTED;
	row.decision = YES; /* what leaves is known; the called host asks */
	row.reason = REASON_PERMITTED;
	row.fails_on = NULL;
	check_row(&w, &row);
	policy_free(w.policy);
}

TEST(families_must_agree)
{
	struct row row = {SEL, OUT, "settlement", US, "-", "fd00::9", "tcp/1", NO, 0, NULL, NULL};
	struct verdict v;
	struct world w;
	struct flow f;

	make_world(&w);
	f = flow_of(&row);
	CHECK_INT(verdict_decide(&w.in, &w.host, SEL, &f, &v, NULL), -EINVAL);
	policy_free(w.policy);
}

/* --- why ------------------------------------------------------------------------------------- */

static struct verdict explain(const struct world *w, const char *from, const char *to,
			      const char *service)
{
	struct verdict_question q = {.from_identity = -1, .to_identity = -1};
	struct verdict v = {0};
	struct err err;

	if (from != NULL)
		q.from_identity = (int)identity(w, from);
	if (to != NULL)
		q.to_identity = (int)identity(w, to);
	CHECK_INT(service_parse(service, &q.service), 0);
	CHECK_OK(verdict_explain(&w->in, MODE_SELECTIVE, &q, &v, &err), &err);
	return v;
}

TEST(why_names_the_rule_that_decides_or_comes_nearest)
{
	struct verdict v;
	struct world w;

	make_world(&w);
	v = explain(&w, "settlement", "api", "tcp/8443");
	CHECK_INT(v.decision, DECISION_ALLOWED);
	CHECK_STR(w.policy->rules[v.rule].name, "a-calls-api");
	v = explain(&w, "backup", "api", "tcp/8443");
	CHECK_INT(v.decision, DECISION_DENIED);
	CHECK_INT(v.reason, REASON_NO_RULE);
	CHECK_INT(v.rule, -1);
	CHECK_STR(w.policy->rules[v.nearest].name, "a-calls-api");
	CHECK_STR(v.fails_on, "from: caller is backup");
	v = explain(&w, "backup", "settlement", "tcp/7000");
	CHECK_INT(v.decision, DECISION_ALLOWED);
	v = explain(&w, "backup", "db", "tcp/5432");
	CHECK_INT(v.reason, REASON_OUTSIDE_WINDOW);
	CHECK_STR(w.policy->rules[v.nearest].name, "nightly");
	v = explain(&w, "settlement", "stray", "tcp/1234");
	CHECK_INT(v.decision, DECISION_DENIED);
	CHECK_INT(v.reason, REASON_UNKNOWN_PEER);
	CHECK_STR(v.fails_on, "to: stray is placed nowhere");
	v = explain(&w, "watcher", "api", "tcp/8443");
	CHECK_INT(v.decision, DECISION_WOULD_DENY);
	policy_free(w.policy);
}

TEST(why_works_from_a_policy_alone)
{
	struct verdict v;
	struct world w;

	make_world(&w);
	w.in.view = NULL;
	v = explain(&w, "settlement", "api", "tcp/8443");
	CHECK_INT(v.decision, DECISION_ALLOWED);
	v = explain(&w, "backup", "api", "tcp/8443");
	CHECK_STR(v.fails_on, "from: caller is backup");
	policy_free(w.policy);
}

TEST(why_takes_addresses)
{
	struct addr far = address("192.0.2.7");
	struct verdict_question q = {
		.to_identity = -1, .to_address = &far, .service = {SERVICE_TCP, 6514, 6514}};
	struct verdict v;
	struct world w;

	make_world(&w);
	q.from_identity = (int)identity(&w, "settlement");
	CHECK_INT(verdict_explain(&w.in, MODE_SELECTIVE, &q, &v, NULL), 0);
	CHECK_INT(v.decision, DECISION_ALLOWED);
	CHECK_STR(w.policy->rules[v.rule].name, "logs");
	q.service.first = q.service.last = 443;
	CHECK_INT(verdict_explain(&w.in, MODE_SELECTIVE, &q, &v, NULL), 0);
	CHECK_INT(v.decision, DECISION_DENIED);
	CHECK_STR(v.fails_on, "to: called is 192.0.2.7");
	policy_free(w.policy);
}
