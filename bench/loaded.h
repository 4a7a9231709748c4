/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The real table in the kernel: a compiled fleet through agent/nft, as an agent loads it at start.
 */
#pragma once

#include "agent/nft.h"
#include "bench/fleet.h"

/* What an agent writes beside an element: its name, and the key of its number. */
BENCH_FN bool label_of(void *user, uint32_t number, char comment[128], struct number_key *ret_key)
{
	const struct compiled *c = user;
	const struct conduit *conduit = generation_find(c->gen, number);

	if (conduit == NULL)
		return false;
	(void)conduit_comment(comment, c->gen, conduit);
	return numbers_key(c->conduits, conduit->number, ret_key) == 0;
}

BENCH_FN struct nft_labels compiled_labels(struct compiled *c)
{
	return (struct nft_labels){.label = label_of, .user = c};
}

/* Into the current namespace; packets are judged when it returns. Time is that of the load. */
BENCH_FN struct nft *load(struct compiled *c, int64_t *ret_ns)
{
	const struct nft_labels labels = compiled_labels(c);
	CLEANUP(plan_freep) struct plan *plan = NULL;
	struct nft_apply_input in = {
		.new_ = c->rules,
		.labels = &labels,
		.now_ms = unix_ms(),
		.quiet = true,
	};
	struct nft *n = NULL;
	struct nft_fault fault = {0};
	enum nft_found found;
	struct err err = {{0}};
	int64_t began;

	need(nft_open(c->shape.table, &n, &err), &err, "open netlink");
	need(nft_probe(n, &err), &err, "probe the kernel");
	need(nft_start(n, &found, &err), &err, "make the table");
	began = clock_ns();
	need(plan_make(NULL, c->rules, NULL, 0, &plan, &err), &err, "plan");
	in.plan = plan;
	if (nft_apply(n, &in, &fault, &err) < 0)
		die("load: %s (%s)", err.text, fault.object);
	*ret_ns = clock_ns() - began;
	need(nft_enforce(n, &c->rules->shape, &err), &err, "enforce");
	return n;
}
