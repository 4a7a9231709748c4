/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which numbers went because their conduit was cut up differently (R16). To name one too many is
 * harmless: its flows are judged anew and end if nothing permits them. To forget one costs packets
 * of flows that remain allowed.
 */
#include "rules/compile.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A conduit seen from its local end. */
struct end_view {
	const struct party *local, *far;
	const struct conduit *conduit;
};

static struct end_view view_of(const struct generation *g, const struct conduit *c)
{
	const struct party *from = &g->parties[c->from], *to = &g->parties[c->to];
	bool out = (c->flags & CONDUIT_OUT) != 0;

	return (struct end_view){.local = out ? from : to, .far = out ? to : from, .conduit = c};
}

/* What two conduits must share to hold the same flow, apart from far end and ports. */
static int side_cmp(const struct end_view *a, const struct end_view *b)
{
	const uint8_t flags = CONDUIT_OUT | CONDUIT_IN | CONDUIT_LOOPBACK | CONDUIT_ESSENTIAL;
	int x = a->conduit->flags & flags, y = b->conduit->flags & flags;

	if (x != y)
		return x < y ? -1 : 1;
	if (a->conduit->service.kind != b->conduit->service.kind)
		return a->conduit->service.kind < b->conduit->service.kind ? -1 : 1;
	if (a->local->mark != b->local->mark)
		return a->local->mark < b->local->mark ? -1 : 1;
	return 0;
}

static const char *node_of(const struct end_view *v)
{
	return v->far->node ? v->far->node : "";
}

/* Networks have no node and stand first. */
static int view_cmp(const void *x, const void *y)
{
	const struct end_view *a = x, *b = y;
	int order = side_cmp(a, b);

	return order != 0 ? order : strcmp(node_of(a), node_of(b));
}

static bool may_share_flows(const struct end_view *a, const struct end_view *b)
{
	if (!service_overlaps(&a->conduit->service, &b->conduit->service))
		return false;
	return a->far->type == PARTY_TYPE_NETWORK || b->far->type == PARTY_TYPE_NETWORK ||
	       str_eq(node_of(a), node_of(b));
}

/* First view that is not before the wanted one, of its whole side or of one node there. */
static size_t lower_bound(const struct end_view *all, size_t count, const struct end_view *wanted,
			  bool whole_side)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = whole_side ? side_cmp(&all[middle], wanted)
				       : view_cmp(&all[middle], wanted);

		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool lives_on(const struct end_view *all, size_t count, const struct end_view *gone)
{
	/* On the node itself, then among the networks, which any far end may be in. */
	bool network = gone->far->type == PARTY_TYPE_NETWORK;

	for (size_t i = lower_bound(all, count, gone, network);
	     i < count && (network ? side_cmp(&all[i], gone) : view_cmp(&all[i], gone)) == 0; i++)
		if (may_share_flows(&all[i], gone))
			return true;
	for (size_t i = lower_bound(all, count, gone, true);
	     i < count && side_cmp(&all[i], gone) == 0 && !all[i].far->node; i++)
		if (may_share_flows(&all[i], gone))
			return true;
	return false;
}

static struct end_view *views_of(const struct generation *g)
{
	struct end_view *all = mem_calloc(g->conduit_count, sizeof(*all));

	if (!all)
		return NULL;
	for (size_t i = 0; i < g->conduit_count; i++)
		all[i] = view_of(g, &g->conduits[i]);
	if (g->conduit_count > 1)
		qsort(all, g->conduit_count, sizeof(*all), view_cmp);
	return all;
}

/* An identity in observe mode loses no flow: without a number they run on and are recorded (R14).
 */
static bool is_observed(const struct generation *g, const struct party *local)
{
	for (size_t i = 0; i < g->local_count && local->mark != 0; i++) {
		if (g->locals[i].mark == local->mark)
			return g->locals[i].observe;
	}
	return false;
}

int generation_rederive(const struct generation *old, const struct generation *new_,
			uint32_t **ret_numbers, size_t *ret_count)
{
	CLEANUP(freep) struct end_view *all = views_of(new_);
	CLEANUP(freep) uint32_t *numbers = NULL;
	size_t count = 0, cap = 0;

	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < old->conduit_count; i++) {
		struct end_view gone = view_of(old, &old->conduits[i]);

		if (generation_find(new_, old->conduits[i].number) ||
		    (!lives_on(all, new_->conduit_count, &gone) && !is_observed(new_, gone.local)))
			continue;
		if (vec_grow(&numbers, &cap, count + 1, sizeof(*numbers), CONDUITS_MAX) < 0)
			return -ENOMEM;
		numbers[count++] = old->conduits[i].number;
	}
	*ret_numbers = TAKE_PTR(numbers);
	*ret_count = count;
	return 0;
}
