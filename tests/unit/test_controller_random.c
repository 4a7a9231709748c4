/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Random orders, reports and policies. After each one, what every node must know is worked out from
 * scratch: whose changed was woken and gets it, nobody else was (but for another policy, which
 * concerns everybody), and a controller that starts anew from the store says the same.
 */
#include "base/mem.h"
#include "base/text.h"
#include "controller/core.h"
#include "tests/unit/core_fixture.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS     160
#define TRUTH_MAX (1U << 20)

static const char *const nodes[] = {"n1", "n2", "n3", "n4", "n5", "m1", "m2"};
static const char *const identities[] = {"prod/web", "prod/api", "prod/db", "ops/log", "ops/lone"};
#define NODES ARRAY_LEN(nodes)

/* Rules by label come and go, bounds grow and shrink, an identity is not always there. */
#define FRONT                                                                                      \
	"trust_domain: acme.example\ndefaults: {assurance: mapped}\nidentities:\n"                 \
	"  - {name: web, path: prod/web, labels: [environment=prod],"                              \
	" workload: [{unit: w.service}],"                                                          \
	" placement: {nodes: [\"n*\"]}}\n"                                                         \
	"  - {name: log, path: ops/log, workload: [{unit: l.service}], serves: [tcp/6514]}\n"
#define BACK                                                                                       \
	"networks:\n"                                                                              \
	"  - {name: world, cidrs: [\"0.0.0.0/0\"], labels: [vendor=w]}\n"                          \
	"  - {name: forensics, cidrs: [\"10.9.0.0/24\"]}\n"
static const char *const policies[] = {
	NULL, /* core_policy */
	FRONT
	"  - {name: api, path: prod/api, labels: [environment=prod, vendor=x],"
	" workload: [{unit: a.service}], serves: [tcp/80]}\n"
	"  - {name: db, path: prod/db, labels: [environment=prod], workload: [{unit: d.service}],"
	" serves: [tcp/5432]}\n"
	"  - {name: lone, path: ops/lone, labels: [environment=prod],"
	" workload: [{unit: o.service}]}\n"
	"rules:\n"
	"  - {name: web-api, from: [\"environment=prod\"], to: [api, world], services: [tcp/80],"
	" purpose: p, owner: o}\n"
	"  - {name: break-glass, from: [log], to: [db], services: [tcp/5432], purpose: p, owner: o,"
	" grantable: {max: 2h}}\n" BACK
	"nodes:\n  - {pattern: \"*\", addresses: [\"10.0.0.0/8\"]}\n",
	FRONT
	"  - {name: api, path: prod/api, labels: [vendor=x], workload: [{unit: a.service}],"
	" serves: [tcp/80], placement: {nodes: [\"n2\", \"n3\"]}}\n"
	"  - {name: db, path: prod/db, workload: [{unit: d.service}], serves: [tcp/5432]}\n"
	"rules:\n"
	"  - {name: out, from: [db], to: [world], services: [tcp/443], purpose: p, owner: o}\n"
	"  - {name: logs, from: [web, db], to: [log, db], services: [tcp/5432, tcp/6514],"
	" purpose: p, owner: o}\n"
	"  - {name: break-glass, from: [web], to: [db, api], services: [tcp/5432], purpose: p,"
	" owner: o, grantable: {max: 2h}}\n" BACK
	"nodes:\n  - {pattern: \"n*\", addresses: [\"10.0.0.0/30\"]}\n"
	"  - {pattern: m1, addresses: [\"10.1.0.1\"]}\n",
};

struct random_run {
	struct core_fixture f;
	uint64_t state, revision;
	char *before[NODES]; /* truth */
	uint64_t sequence[NODES];
	bool fetched[NODES]; /* the newest head: not a banned node's */
	size_t done;         /* orders that were not refused */
};

/* xorshift64*: the same on every machine. */
static uint32_t below(struct random_run *t, uint32_t limit)
{
	t->state ^= t->state >> 12;
	t->state ^= t->state << 25;
	t->state ^= t->state >> 27;
	return (uint32_t)((t->state * 0x2545f4914f6cdd1dULL) >> 33) % limit;
}

/* --- what a node must know, from nothing but the picture ---------------------------------------
 */

static void put_overlay(struct buf *b, const struct overlay *o)
{
	for (size_t i = 0; i < o->quarantined_count; i++)
		buf_printf(b, "q %s %s\n", o->quarantined[i].identity,
			   o->quarantined[i].keep ? o->quarantined[i].keep : "-");
	for (size_t i = 0; i < o->revoked_count; i++)
		buf_printf(b, "r %d %s %lld\n", (int)o->revoked[i].kind, o->revoked[i].name,
			   (long long)o->revoked[i].until.s);
	for (size_t i = 0; i < o->grant_count; i++)
		buf_printf(b, "g %s %s %s %lld\n", o->grants[i].rule, o->grants[i].from,
			   o->grants[i].to, (long long)o->grants[i].until.s);
}

static char *truth(struct core *c, const char *node)
{
	uint32_t at = views_node(c->views, node);
	struct overlay o = {0};
	struct buf b;

	buf_init(&b, TRUTH_MAX);
	buf_printf(&b, "%s\n", c->manifest_sha256);
	CHECK_INT(views_write(c->views, at, &b), 0);
	CHECK_INT(head_overlay(c, at, &o), 0);
	put_overlay(&b, &o);
	overlay_done(&o);
	return buf_take(&b);
}

/* The same placements and reports, in a picture that saw no change. */
static void check_from_scratch(struct core *c, const char *node)
{
	CLEANUP(views_freep) struct views *fresh = views_new();
	const struct place_identity *id;
	CLEANUP(buf_done) struct buf had, made;

	for (uint32_t i = 0; i < views_node_count(c->views); i++) {
		const struct place_node *n = views_node_at(c->views, i);
		const struct views_attest attest = {n->has_attest, n->attest_address,
						    n->attest_port};

		CHECK_INT(views_report(fresh, views_node(fresh, n->name), n->reported,
				       n->reported_count, &attest, n->reported_at),
			  0);
	}
	for (uint32_t i = 0; (id = views_identity_at(c->views, i)) != NULL; i++)
		for (size_t j = 0; j < id->place_count; j++)
			CHECK_INT(views_place(fresh, id->path,
					      views_node_at(c->views, id->places[j].node)->name,
					      id->places[j].source, id->places[j].addresses,
					      id->places[j].address_count),
				  0);
	for (uint32_t i = 0; i < views_node_count(c->views); i++)
		CHECK_INT(views_shut(fresh, i, views_node_at(c->views, i)->shut), 0);
	CHECK_INT(views_set_policy(fresh, c->policy), 0);
	buf_init(&had, TRUTH_MAX);
	buf_init(&made, TRUTH_MAX);
	CHECK_INT(views_write(c->views, views_node(c->views, node), &had), 0);
	CHECK_INT(views_write(fresh, views_node(fresh, node), &made), 0);
	CHECK_STR(had.data, made.data);
}

/* --- steps ------------------------------------------------------------------------------------ */

static int publish(struct random_run *t)
{
	const char *text = policies[below(t, ARRAY_LEN(policies))];

	return core_publish_next(&t->f, ++t->revision, text ? text : core_policy);
}

static int report(struct random_run *t)
{
	char text[2048], address[64] = "";
	size_t used = 0;

	used += (size_t)snprintf(text, sizeof(text), "\"addresses\":[");
	for (uint32_t i = 0, n = below(t, 3); i < n; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s\"10.%u.0.%u\"",
					 i > 0 ? "," : "", below(t, 2), below(t, 8) + 1);
	used += (size_t)snprintf(text + used, sizeof(text) - used, "]");
	if (below(t, 3) == 0)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 ",\"attest\":{\"address\":\"10.0.0.%u\",\"port\":%u}",
					 below(t, 8) + 1, below(t, 2) + 7000);
	if (below(t, 4) != 0) {
		used += (size_t)snprintf(text + used, sizeof(text) - used, ",\"workloads\":[");
		for (uint32_t i = 0, n = below(t, 4); i < n; i++) {
			if (below(t, 2) == 0)
				(void)snprintf(address, sizeof(address),
					       ",\"addresses\":[\"10.0.0.%u\"]", below(t, 8) + 1);
			used += (size_t)snprintf(text + used, sizeof(text) - used,
						 "%s{\"identity\":\"%s\"%s}", i > 0 ? "," : "",
						 identities[below(t, ARRAY_LEN(identities))],
						 address);
		}
		(void)snprintf(text + used, sizeof(text) - used, "]");
	}
	return core_report_of(&t->f, nodes[below(t, NODES)], text);
}

static int place(struct random_run *t, bool remove)
{
	const char *identity = identities[below(t, ARRAY_LEN(identities))];
	const char *node = nodes[below(t, NODES)];
	char address[32];

	(void)snprintf(address, sizeof(address), "10.0.0.%u", below(t, 8) + 1);
	if (remove)
		return core_take(&t->f, identity, node);
	return core_put(&t->f, identity, node, below(t, 2) == 0 ? address : NULL);
}

static int revoke(struct random_run *t)
{
	static const char *const what[][2] = {
		{"rule", "web-api"},           {"rule", "logs"},
		{"label", "vendor=x"},         {"label", "vendor=w"},
		{"label", "environment=prod"}, {"identity", "prod/db"}};
	const char *const *one = what[below(t, ARRAY_LEN(what))];

	return core_revoke(t->f.core, one[0], one[1], below(t, 2) * 60, "test", "test",
			   &t->f.answer, &t->f.err);
}

static int release(struct random_run *t)
{
	static const char *const names[] = {"web-api",          "logs",    "vendor=x", "vendor=w",
					    "environment=prod", "prod/db", "prod/web", "prod/api",
					    "ops/log"};

	return core_release(t->f.core, names[below(t, ARRAY_LEN(names))], "test", "test",
			    &t->f.answer, &t->f.err);
}

static int order(struct random_run *t)
{
	struct core_fixture *f = &t->f;

	switch (below(t, 9)) {
	case 0:
		return core_quarantine(f->core, identities[below(t, ARRAY_LEN(identities))],
				       below(t, 2) ? "forensics" : NULL, "test", "test", &f->answer,
				       &f->err);
	case 1:
	case 2:
		return release(t);
	case 3:
		return revoke(t);
	case 4:
		return core_grant(f->core, "break-glass", below(t, 2) ? "ops/log" : "prod/web",
				  below(t, 2) ? "prod/db" : "prod/api", 60, "test", "test",
				  &f->answer, &f->err);
	case 5:
		return core_node_ban(f->core, nodes[below(t, NODES)], below(t, 2) != 0, "test",
				     &f->err);
	case 6:
		core_clock_add(below(t, 2) ? 61 * 1000LL : (REPORT_HOLD_S + 1) * 1000LL);
		core_tick(f->core);
		return 0;
	case 7:
		return place(t, true);
	default:
		return place(t, false);
	}
}

/* --- the run ---------------------------------------------------------------------------------- */

static bool head_is_there(struct random_run *t, const char *node)
{
	uint64_t sequence;
	const char *text;
	size_t len;

	return core_head(t->f.core, node, &text, &len, &sequence, NULL) == 0;
}

static void remember(struct random_run *t)
{
	for (size_t i = 0; i < NODES; i++) {
		free(t->before[i]);
		t->before[i] = truth(t->f.core, nodes[i]);
		t->fetched[i] = head_is_there(t, nodes[i]);
		t->sequence[i] = core_head_sequence(t->f.core, nodes[i]);
	}
	core_forget_woken(&t->f);
}

static void check_node(struct random_run *t, size_t i, bool everybody)
{
	CLEANUP(freep) char *now = truth(t->f.core, nodes[i]);
	bool changed = !str_eq(now, t->before[i]);

	if (changed)
		CHECK(core_woke(&t->f, nodes[i]));
	if (changed && t->fetched[i])
		CHECK(core_head_sequence(t->f.core, nodes[i]) > t->sequence[i]);
	if (!changed && t->fetched[i] && !everybody)
		CHECK(!core_woke(&t->f, nodes[i]));
	check_from_scratch(t->f.core, nodes[i]);
	if (head_is_there(t, nodes[i])) /* view and head agree */
		(void)core_view_text(&t->f, nodes[i]);
}

static void check_restart(struct random_run *t, bool killed)
{
	char *had[NODES];

	for (size_t i = 0; i < NODES; i++)
		had[i] = truth(t->f.core, nodes[i]);
	core_tick(t->f.core);
	core_reopen(&t->f, killed);
	for (size_t i = 0; i < NODES; i++) {
		CLEANUP(freep) char *now = truth(t->f.core, nodes[i]);

		CHECK_STR(now, had[i]);
		free(had[i]);
	}
}

static void run(uint64_t seed)
{
	struct random_run t = {.state = seed, .revision = 1};

	core_setup_published(&t.f);
	for (size_t i = 0; i < NODES; i++)
		CHECK_OK(core_report_of(&t.f, nodes[i], ""), &t.f.err);
	for (size_t step = 0; step < STEPS; step++) {
		uint32_t kind = below(&t, 10);
		int r;

		remember(&t);
		json_decref(TAKE_PTR(t.f.answer));
		if (kind == 0)
			r = publish(&t);
		else
			r = kind < 5 ? report(&t) : order(&t);
		t.done += r == 0;
		for (size_t i = 0; i < NODES; i++)
			check_node(&t, i, kind == 0);
		if (step % 20 == 19)
			check_restart(&t, step % 40 == 19);
	}
	CHECK(t.done > STEPS / 3);
	for (size_t i = 0; i < NODES; i++)
		free(t.before[i]);
	core_teardown(&t.f);
}

TEST(whoever_must_know_is_told_and_nobody_else_1)
{
	run(0x9e3779b97f4a7c15ULL);
}

TEST(whoever_must_know_is_told_and_nobody_else_2)
{
	run(0xbf58476d1ce4e5b9ULL);
}

TEST(whoever_must_know_is_told_and_nobody_else_3)
{
	run(0x94d049bb133111ebULL);
}
