/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Flows that an observing host let pass before it knew whose they were, from real sockets. */
#include "agent/telemetry_explain.h"

#include "base/mem.h"
#include "tests/unit/cgroup_fixture.h"
#include "tests/unit/test.h"
#include "tests/unit/vouch_fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define USER_A 4711

static const char policy[] =
	"trust_domain: acme.example\n"
	"defaults: {assurance: mapped}\n"
	"identities:\n"
	"  - {name: a, path: p/a, workload: [{unit: a.service}]}\n"
	"  - {name: b, path: p/b, workload: [{unit: b.service}]}\n"
	"  - {name: c, path: p/c, workload: [{unit: c.service}]}\n"
	"rules:\n"
	"  - {name: a-b, from: [a], to: [b], services: [tcp/7000], purpose: p, owner: o}\n";

struct bench {
	struct vouch_bench b;
	struct owner *owner;
	struct explainer *x;
};

static void bench_init(struct bench *t)
{
	struct err err = {{0}};

	memset(t, 0, sizeof(*t));
	vouch_bench_init(&t->b, policy);
	t->b.agent.mode = MODE_OBSERVE;
	t->b.agent.enforcing = true;
	(void)snprintf(t->b.agent.config.node, sizeof(t->b.agent.config.node), "a-1");
	CHECK_OK(owner_open(&t->owner, &err), &err);
	CHECK_OK(explainer_new(&t->b.agent, t->owner, &t->x, &err), &err);
}

static void bench_done(struct bench *t)
{
	explainer_free(t->x);
	owner_free(t->owner);
	vouch_bench_done(&t->b);
}

#define BENCH(t)                                                                                   \
	CLEANUP(bench_done) struct bench t;                                                        \
	bench_init(&t)

/* A connection that a process of this group has just begun, as conntrack tells of it. */
static struct ct_flow begin(struct bench *t, const char *cgroup)
{
	const struct client c = {
		.family = AF_INET, .type = SOCK_STREAM, .to = FAR_TEXT, .to_port = FAR_PORT};
	struct ct_flow tuple = {.l4proto = IPPROTO_TCP, .dport = FAR_PORT}, f;
	struct err err = {{0}};

	fixture_make(cgroup);
	tuple.sport = client_start(cgroup, USER_A, &c, NULL);
	CHECK_INT(addr_parse(HERE_TEXT, &tuple.src), 0);
	CHECK_INT(addr_parse(FAR_TEXT, &tuple.dst), 0);
	CHECK_OK(conntrack_find(t->b.agent.conntrack, &tuple, &f, &err), &err);
	CHECK_UINT(f.mark, 0);
	return f;
}

/* The line of the kernel's log about the first packet of that flow. */
static struct logged line_of(const struct ct_flow *f)
{
	return (struct logged){
		.decision = TABLE_LOG_WOULD,
		.why = TABLE_LOG_UNKNOWN,
		.out = true,
		.packet = {.src = f->src,
			   .dst = f->dst,
			   .sport = f->sport,
			   .dport = f->dport,
			   .l4proto = f->l4proto,
			   .tcp_flags = PACKET_TCP_SYN},
	};
}

static void check_permitted(const struct record *d)
{
	CHECK_INT(d->decision, DECISION_ALLOWED);
	CHECK_STR(reason_name((enum reason)d->reason), "permitted");
	CHECK_STR(d->rule, "a-b");
	CHECK(d->conduit != 0);
	CHECK_STR(d->from.identity, "p/a");
	CHECK_STR(d->to.identity, "p/b");
	CHECK_STR(d->service, "tcp/7000");
	CHECK_INT(d->direction, RECORD_OUT);
	CHECK_INT(d->assurance, RECORD_MAPPED);
}

TEST(what_passed_unasked_and_a_rule_permits_is_told_by_the_log_once)
{
	BENCH(t);
	struct ct_flow f = begin(&t, "a.service");
	struct logged l = line_of(&f);
	struct record d;

	CHECK_INT(explain_logged(t.x, &l, &d), 0);
	check_permitted(&d);
	CHECK_INT(explain_logged(t.x, &l, &d), -ENOENT);
	CHECK_INT(explain_flow(t.x, &f, &d), -ENOENT);
}

/* The log tells of one flow in ten seconds for each service. */
TEST(what_passed_unasked_and_a_rule_permits_is_told_by_its_event)
{
	BENCH(t);
	struct ct_flow f = begin(&t, "a.service");
	struct logged l = line_of(&f);
	struct record d;

	CHECK_INT(explain_flow(t.x, &f, &d), 0);
	check_permitted(&d);
	CHECK_INT(explain_logged(t.x, &l, &d), -ENOENT);
	f = begin(&t, "a.service");
	CHECK_INT(explain_flow(t.x, &f, &d), 0);
}

TEST(a_process_without_an_identity_that_passed_unasked_is_told_of)
{
	BENCH(t);
	struct ct_flow f = begin(&t, "stray.service");
	struct record d;

	CHECK_INT(explain_flow(t.x, &f, &d), 0);
	CHECK_INT(d.decision, DECISION_ALLOWED);
	CHECK_STR(reason_name((enum reason)d.reason), "unclaimed");
	CHECK(d.from.identity == NULL && d.rule == NULL);
	CHECK_CONTAINS(d.from.cgroup, "stray.service");
}

TEST(what_no_rule_permits_is_told_as_such_and_by_the_log_alone)
{
	BENCH(t);
	struct ct_flow f = begin(&t, "c.service");
	struct logged l = line_of(&f);
	struct record d;

	CHECK_INT(explain_flow(t.x, &f, &d), -ENOENT);
	CHECK_INT(explain_logged(t.x, &l, &d), 0);
	CHECK_INT(d.decision, DECISION_WOULD_DENY);
	CHECK_STR(d.from.identity, "p/c");
}

TEST(a_flow_without_a_mark_is_no_news_where_questions_are_asked)
{
	BENCH(t);
	struct ct_flow f = begin(&t, "a.service");
	struct record d;

	t.b.agent.mode = MODE_SELECTIVE;
	CHECK_INT(explain_flow(t.x, &f, &d), -ENOENT);
	t.b.agent.mode = MODE_OBSERVE;
	t.b.agent.enforcing = false;
	CHECK_INT(explain_flow(t.x, &f, &d), -ENOENT);
	t.b.agent.enforcing = true;
	CHECK_INT(explain_flow(t.x, &f, &d), 0);
}
