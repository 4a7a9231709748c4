/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A fleet of any size, made of text: on node a-0 some applications, on many nodes b-N a store with
 * ten ports that every application may use, and the same seen from b-0. Written as the policy and
 * the view that an agent reads, and compiled by the product's own compiler, so that what is
 * measured is what is shipped.
 */
#pragma once

#include "base/buf.h"
#include "base/clock.h"
#include "bench/bench.h"
#include "controller-client/view_decode.h"
#include "rules/compile.h"
#include "rules/marks.h"
#include "rules/policy.h"

#include <netinet/in.h>

#define FLEET_TEXT_MAX    (64U << 20)
#define FLEET_APPS_MAX    10
#define FLEET_PORTS       10 /* services of the store: the last one is UDP */
#define FLEET_PORT_FIRST  8000
#define FLEET_PORT_UDP    (FLEET_PORT_FIRST + FLEET_PORTS - 1)
#define FLEET_CONDUIT_MIN FLEET_PORTS
#define FLEET_CONDUIT_MAX 200000
#define FLEET_CALLER      "a-0"
#define FLEET_CALLED      "b-0"
#define FLEET_CALLER_ADDR "10.77.0.1"
#define FLEET_CALLED_ADDR "10.77.0.2"
#define FLEET_LIVE_SIZE   1024
#define FLEET_QUEUE_FIRST 7100

struct fleet {
	bool called;     /* b-0 is looked at, otherwise a-0 */
	uint32_t apps;   /* on each caller */
	uint32_t others; /* nodes at the other end */
};

/*
 * From outside, identities of one node cannot be told apart (R19): on b-0 a conduit is (node,
 * store, service), so it takes more nodes to have as many.
 */
BENCH_FN struct fleet fleet_of(bool called, uint32_t conduits)
{
	uint32_t apps = called || conduits < FLEET_APPS_MAX * FLEET_PORTS ? 1 : FLEET_APPS_MAX;

	return (struct fleet){
		.called = called,
		.apps = apps,
		.others = conduits / (apps * FLEET_PORTS),
	};
}

BENCH_FN void fleet_services(struct buf *b)
{
	for (unsigned i = 0; i < FLEET_PORTS; i++) {
		unsigned port = FLEET_PORT_FIRST + i;

		buf_printf(b, "%s%s/%u", i > 0 ? ", " : "", port == FLEET_PORT_UDP ? "udp" : "tcp",
			   port);
	}
}

BENCH_FN void fleet_policy(const struct fleet *f, struct buf *b)
{
	buf_puts(b, "trust_domain: bench.example\nidentities:\n");
	for (uint32_t i = 0; i < f->apps; i++)
		buf_printf(b,
			   "  - {name: app%u, path: bench/app%u, workload: [{unit: app%u.service}],"
			   " placement: {nodes: [\"a-*\"]}}\n",
			   i, i, i);
	buf_puts(b, "  - {name: store, path: bench/store, workload: [{unit: store.service}],"
		    " placement: {nodes: [\"b-*\"]}, serves: [");
	fleet_services(b);
	buf_puts(b, "]}\nrules:\n  - {name: apps-use-store, from: [");
	for (uint32_t i = 0; i < f->apps; i++)
		buf_printf(b, "%sapp%u", i > 0 ? ", " : "", i);
	buf_puts(b, "], to: [store], services: [");
	fleet_services(b);
	buf_puts(b, "], assurance: mapped, purpose: benchmark, owner: bench}\n"
		    "nodes:\n"
		    "  - {pattern: \"a-*\", addresses: [\"10.0.0.0/8\"]}\n"
		    "  - {pattern: \"b-*\", addresses: [\"10.0.0.0/8\"]}\n");
}

/* The peer that really exists is number 0; the others live in 10.128.0.0/9. */
BENCH_FN void fleet_address(const struct fleet *f, uint32_t node, struct buf *b)
{
	if (node == 0)
		buf_puts(b, f->called ? FLEET_CALLER_ADDR : FLEET_CALLED_ADDR);
	else
		buf_printf(b, "10.%u.%u.%u", 128 + (node >> 16), node >> 8 & 255, node & 255);
}

BENCH_FN void fleet_peers(const struct fleet *f, struct buf *b)
{
	uint32_t apps = f->called ? f->apps : 1;
	char side = f->called ? 'a' : 'b';

	for (uint32_t node = 0; node < f->others; node++) {
		for (uint32_t app = 0; app < apps; app++) {
			buf_printf(b, "%s\n  {\"identity\": \"bench/", node + app > 0 ? "," : "");
			if (f->called)
				buf_printf(b, "app%u", app);
			else
				buf_puts(b, "store");
			buf_printf(b, "\", \"node\": \"%c-%u\", \"addresses\": [\"", side, node);
			fleet_address(f, node, b);
			buf_puts(b, "\"]}");
		}
	}
}

BENCH_FN void fleet_view(const struct fleet *f, struct buf *b)
{
	buf_printf(b, "{\"version\": 1, \"node\": \"%s\", \"sequence\": 1, \"placed\": [",
		   f->called ? FLEET_CALLED : FLEET_CALLER);
	if (f->called)
		buf_puts(b, "{\"identity\": \"bench/store\"}");
	for (uint32_t i = 0; i < f->apps && !f->called; i++)
		buf_printf(b, "%s{\"identity\": \"bench/app%u\"}", i > 0 ? ", " : "", i);
	buf_puts(b, "],\n \"peers\": [");
	fleet_peers(f, b);
	buf_puts(b, "],\n \"nodes\": [");
	for (uint32_t node = 0; node < f->others; node++) {
		buf_printf(b, "%s\n  {\"node\": \"%c-%u\", \"addresses\": [\"", node > 0 ? "," : "",
			   f->called ? 'a' : 'b', node);
		fleet_address(f, node, b);
		buf_puts(b, "\"]}");
	}
	buf_puts(b, "],\n \"devices\": []}\n");
}

/* --- compiled -------------------------------------------------------------------------------- */

/* cgroups of a host's units, below one directory of the benchmark. */
struct fleet_units {
	const char *dir;
	uint8_t level; /* of a unit, counted from the real root */
};

struct compiled {
	struct policy *policy;
	struct view *view;
	struct numbers *conduits, *identities;
	struct host host;
	struct addr address;
	struct table_shape shape;
	struct generation *gen;
	struct ruleset *rules;
};

BENCH_FN uint64_t unit_make(const struct fleet_units *units, const char *name)
{
	CLEANUP(freep) char *path = mem_printf("%s/%s", units->dir, name);
	struct stat st;

	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		die("cgroup %s: %s", path, strerror(errno));
	if (stat(path, &st) < 0)
		die("cgroup %s: %s", path, strerror(errno));
	return st.st_ino;
}

BENCH_FN void compiled_policy(struct compiled *c, const struct fleet *f)
{
	const struct policy_features features = {0};
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, FLEET_TEXT_MAX);
	fleet_policy(f, &b);
	c->policy = policy_new();
	if (b.r < 0 || c->policy == NULL || policy_add_text(c->policy, "bench", b.data, b.len) < 0)
		die("no memory for the policy");
	if (policy_finish(c->policy, &features, wall_now()) < 0)
		die("policy: %s",
		    c->policy->finding_count > 0 ? c->policy->findings[0].message : "no memory");
}

BENCH_FN void compiled_view(struct compiled *c, const struct fleet *f)
{
	CLEANUP(buf_done) struct buf b;
	struct err err = {{0}};

	buf_init(&b, FLEET_TEXT_MAX);
	fleet_view(f, &b);
	if (b.r < 0)
		die("no memory for the view");
	need(view_decode(b.data, b.len, NULL, 0, &c->view, &err), &err, "view");
}

BENCH_FN void compiled_workload(struct compiled *c, const struct fleet_units *units,
				const char *identity)
{
	CLEANUP(freep) char *unit = mem_printf("%s.service", identity);
	int index = policy_find_identity(c->policy, identity);

	if (index < 0)
		die("identity %s is not in the policy", identity);
	c->host.workloads[c->host.workload_count++] = (struct host_workload){
		.identity = (uint32_t)index,
		.cgroup_id = unit_make(units, unit),
		.level = units->level,
	};
}

BENCH_FN void compiled_host(struct compiled *c, const struct fleet *f,
			    const struct fleet_units *units)
{
	(void)addr_parse(f->called ? FLEET_CALLED_ADDR : FLEET_CALLER_ADDR, &c->address);
	c->host.addresses = mem_calloc(1, sizeof(*c->host.addresses));
	c->host.workloads = mem_calloc(FLEET_APPS_MAX, sizeof(*c->host.workloads));
	if (c->host.addresses == NULL || c->host.workloads == NULL)
		die("no memory");
	c->host.addresses[c->host.address_count++] = c->address;
	if (f->called)
		compiled_workload(c, units, "store");
	for (uint32_t i = 0; i < f->apps && !f->called; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "app%u", i);
		compiled_workload(c, units, name);
	}
}

BENCH_FN void fleet_shape(struct table_shape *ret, uint8_t queue)
{
	*ret = (struct table_shape){
		.table = "bailiwick",
		.queue = queue,
		.queue_first = FLEET_QUEUE_FIRST,
		.nflog_group = FLEET_QUEUE_FIRST,
		.unclaimed_mark = MARK_UNCLAIMED_MIN,
		.unclaimed = UNCLAIMED_DENY,
		.live_size = FLEET_LIVE_SIZE,
	};
}

/* Conduit `revoked` is left out; 0 = none. */
BENCH_FN void compiled_build(struct compiled *c, uint32_t revoked, struct generation **ret_gen,
			     struct ruleset **ret_rules)
{
	char number[16];
	struct overlay_revoked one = {.kind = REVOKED_CONDUIT, .name = number};
	const struct overlay overlay = {.revoked = &one, .revoked_count = revoked != 0};
	const struct compile_input in = {
		.policy = c->policy,
		.view = c->view,
		.overlay = &overlay,
		.addresses = &c->address,
		.address_count = 1,
		.now = wall_now(),
		.clock_trusted = true,
	};
	struct err err = {{0}};

	(void)snprintf(number, sizeof(number), "%u", revoked);
	need(compile_generation(&in, c->conduits, c->identities, ret_gen, &err), &err, "compile");
	need(ruleset_build(*ret_gen, NULL, &c->host, NULL, &c->shape, ret_rules, &err), &err,
	     "build the ruleset");
}

BENCH_FN void compiled_make(struct compiled *c, const struct fleet *f,
			    const struct fleet_units *units, uint8_t queue)
{
	*c = (struct compiled){0};
	compiled_policy(c, f);
	compiled_view(c, f);
	compiled_host(c, f, units);
	fleet_shape(&c->shape, queue);
	c->conduits = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	c->identities = numbers_new(MARK_IDENTITY_MIN, MARK_IDENTITY_MAX);
	if (c->conduits == NULL || c->identities == NULL)
		die("no memory");
	compiled_build(c, 0, &c->gen, &c->rules);
}

BENCH_FN void compiled_done(struct compiled *c)
{
	ruleset_freep(&c->rules);
	generation_freep(&c->gen);
	host_done(&c->host);
	numbers_freep(&c->conduits);
	numbers_freep(&c->identities);
	view_freep(&c->view);
	policy_freep(&c->policy);
}

BENCH_FN size_t compiled_elements(const struct ruleset *r)
{
	size_t count = 0;

	for (size_t i = 0; i < r->set_count; i++)
		count += r->sets[i].count;
	return count;
}
