/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the controller's views cost: 10,000 identities on 2,000 nodes.
 *
 *   views full|quick
 *
 * Every identity is an application with two placements, ten to a node, that calls four others and
 * is called by as many; all of them call three services (names, logs, metrics) of three placements
 * each. So an ordinary node must know some two hundred placements, and a node of a shared service
 * all of them: both are in the figures, the second as the maximum.
 */
#include "controller/views.h"
#include "base/buf.h"
#include "bench/bench.h"
#include "rules/policy.h"

#include <malloc.h>

#define IDENTITIES_FULL  10000
#define IDENTITIES_QUICK 1000
#define PER_NODE         5 /* identities by nodes; each is placed twice */
#define CALLS            4
#define SHARED           3
#define SHARED_PLACES    3
#define CHANGES          400
#define ROUNDS           3
#define POLICY_ROOM      (64U << 20)
#define VIEW_ROOM        (64U << 20)
#define NOW_S            1795305600

struct site_plan {
	unsigned identities, nodes;
};

/* --- the fleet ------------------------------------------------------------------------------- */

static void write_identities(struct buf *b, const struct site_plan *p)
{
	static const char *const shared[SHARED] = {"names", "logs", "metrics"};

	buf_puts(b, "trust_domain: acme.example\ndefaults: {assurance: mapped}\nidentities:\n");
	for (unsigned i = 0; i < p->identities; i++)
		buf_printf(b,
			   "  - {name: app-%u, path: prod/team-%u/app-%u, labels: "
			   "[environment=prod, owner=team-%u], workload: [{unit: app-%u.service}], "
			   "serves: [tcp/8443]}\n",
			   i, i / 20, i, i / 20, i);
	for (unsigned i = 0; i < SHARED; i++)
		buf_printf(b,
			   "  - {name: %s, path: infra/%s, workload: [{unit: %s.service}], serves: "
			   "[tcp/9000]}\n",
			   shared[i], shared[i], shared[i]);
}

static void write_policy(struct buf *b, const struct site_plan *p)
{
	write_identities(b, p);
	buf_puts(b, "rules:\n");
	for (unsigned i = 0; i < p->identities; i++) {
		buf_printf(b, "  - {name: r-%u, from: [app-%u], to: [", i, i);
		for (unsigned k = 0; k < CALLS; k++)
			buf_printf(b, "%sapp-%u", k > 0 ? ", " : "",
				   (i + 1 + k * 617) % p->identities);
		buf_puts(b, "], services: [tcp/8443], purpose: p, owner: o}\n");
	}
	buf_puts(b, "  - {name: shared, from: [\"environment=prod\"], to: [names, logs, metrics], "
		    "services: [tcp/9000], purpose: p, owner: o}\n"
		    "nodes:\n  - {pattern: \"node-*\", addresses: [\"10.0.0.0/8\"]}\n");
}

static void node_of(char name[NODE_NAME_MAX], struct addr *address, unsigned node)
{
	char text[ADDR_TEXT_MAX];

	(void)snprintf(name, NODE_NAME_MAX, "node-%u", node);
	(void)snprintf(text, sizeof(text), "10.0.%u.%u", node / 250, node % 250 + 1);
	if (addr_parse(text, address) < 0)
		die("'%s' is no address", text);
}

static void place_one(struct views *v, const char *path, unsigned node)
{
	char name[NODE_NAME_MAX];
	struct addr address;

	node_of(name, &address, node);
	if (views_place(v, path, name, PLACE_API, &address, 1) < 0)
		die("no memory to place %s", path);
}

/* The second placement of an identity is half a fleet away. */
static void place_all(struct views *v, const struct site_plan *p)
{
	static const char *const shared[SHARED] = {"infra/names", "infra/logs", "infra/metrics"};
	char path[64];

	for (unsigned i = 0; i < p->identities; i++) {
		(void)snprintf(path, sizeof(path), "prod/team-%u/app-%u", i / 20, i);
		place_one(v, path, i % p->nodes);
		place_one(v, path, (i * 7 + p->nodes / 2) % p->nodes);
	}
	for (unsigned i = 0; i < SHARED; i++)
		for (unsigned k = 0; k < SHARED_PLACES; k++)
			place_one(v, shared[i], i * SHARED_PLACES + k);
}

/* --- measuring ------------------------------------------------------------------------------- */

/* In use by malloc: what reading the policy has freed would hide what the index takes. */
static double used_mb(void)
{
	struct mallinfo2 m = mallinfo2();

	return (double)(m.uordblks + m.hblkhd) / (1 << 20);
}

static void print_row(const char *id, const char *what, const char *unit, struct summary s,
		      const char *note)
{
	row_print(&(struct row){.id = id,
				.what = what,
				.unit = unit,
				.goal = "",
				.met = ROW_NO_GOAL,
				.s = s,
				.note = note});
}

static struct policy *read_policy(const struct site_plan *p)
{
	const struct policy_features features = {.attested = false};
	struct policy *policy = policy_new();
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, POLICY_ROOM);
	write_policy(&b, p);
	if (b.r < 0 || policy == NULL || policy_add_text(policy, "fleet.yaml", b.data, b.len) < 0 ||
	    policy_finish(policy, &features, (struct wall){NOW_S}) < 0)
		die("the policy: %s",
		    policy && policy->finding_count ? policy->findings[0].message : "no memory");
	return policy;
}

static void write_one(struct views *v, uint32_t node, double *ret_ms, double *ret_kb)
{
	int64_t begin = clock_ns();
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, VIEW_ROOM);
	views_write_front(&b, views_node_at(v, node)->name, 1);
	if (views_write(v, node, &b) < 0)
		die("view of node %u", node);
	*ret_ms = (double)(clock_ns() - begin) / NS_PER_MS;
	*ret_kb = (double)b.len / 1024;
}

static void measure_views(struct views *v, const struct site_plan *p)
{
	CLEANUP(freep) double *ms = mem_calloc(p->nodes, sizeof(double));
	CLEANUP(freep) double *kb = mem_calloc(p->nodes, sizeof(double));
	double all[ROUNDS];
	char note[128];

	if (ms == NULL || kb == NULL)
		die("no memory");
	for (unsigned round = 0; round < ROUNDS; round++) {
		all[round] = 0;
		for (uint32_t i = 0; i < p->nodes; i++) {
			write_one(v, i, &ms[i], &kb[i]);
			all[round] += ms[i];
		}
	}
	(void)snprintf(note, sizeof(note),
		       "%u identities on %u nodes; the maximum is a shared "
		       "service's node",
		       p->identities, p->nodes);
	print_row("view-size", "size of a node's view", "kB", summarize(kb, p->nodes), note);
	print_row("view-time", "writing one node's view", "ms", summarize(ms, p->nodes), note);
	print_row("view-all", "writing the views of all nodes", "ms", summarize(all, ROUNDS), note);
}

/* An application moves: who is concerned is found, and their views are written. */
static void measure_changes(struct views *v, const struct site_plan *p)
{
	double ms[CHANGES], nodes[CHANGES], kb, one;
	char path[64];

	for (unsigned i = 0; i < CHANGES; i++) {
		unsigned app = i * 31 % p->identities;
		const uint32_t *touched;
		int64_t begin;
		size_t count;

		(void)snprintf(path, sizeof(path), "prod/team-%u/app-%u", app / 20, app);
		views_untouch(v);
		begin = clock_ns();
		place_one(v, path, (app * 13 + 5 + i) % p->nodes);
		touched = views_touched(v, &count);
		for (size_t k = 0; k < count; k++)
			write_one(v, touched[k], &one, &kb);
		ms[i] = (double)(clock_ns() - begin) / NS_PER_MS;
		nodes[i] = (double)count;
	}
	print_row("view-change-nodes", "nodes that one placement concerns", "nodes",
		  summarize(nodes, CHANGES), NULL);
	print_row("view-change", "one placement, until all views it changes are written", "ms",
		  summarize(ms, CHANGES), "views of nodes with shared services included");
}

static double elapsed_ms(int64_t begin)
{
	return (double)(clock_ns() - begin) / NS_PER_MS;
}

int main(int argc, char **argv)
{
	bool quick = argc == 2 && strcmp(argv[1], "quick") == 0;
	unsigned identities = quick ? IDENTITIES_QUICK : IDENTITIES_FULL;
	const struct site_plan plan = {identities, identities / PER_NODE};
	double before, ms;
	struct policy *policy;
	struct views *v;
	int64_t begin;

	if (argc != 2)
		die("usage: %s full|quick", argv[0]);
	bench_begin();
	policy = read_policy(&plan);
	before = used_mb();
	v = views_new();
	if (v == NULL)
		die("no memory");
	place_all(v, &plan);
	begin = clock_ns();
	if (views_set_policy(v, policy) < 0)
		die("no memory for the index");
	ms = elapsed_ms(begin);
	print_row("view-index", "taking another policy: bounds and index of the whole fleet", "ms",
		  (struct summary){ms, ms, ms}, NULL);
	measure_views(v, &plan);
	measure_changes(v, &plan);
	ms = used_mb() - before;
	print_row("view-memory", "placements and index in memory", "MB",
		  (struct summary){ms, ms, ms}, NULL);
	views_free(v);
	policy_free(policy);
	return 0;
}
