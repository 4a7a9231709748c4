/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/vouch_asker.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/verdict_match.h"

#include <errno.h>
#include <stdlib.h>

#define NODE_ADDRESSES_MAX 65536

struct node_addresses {
	struct addr *list;
	size_t count, cap;
};

struct asker_index {
	struct map *nodes; /* name -> struct node_addresses */
	/* What they were worked out from. */
	const struct view *view;
	uint64_t sequence, serial;
	size_t node_count, peer_count;
};

static void node_addresses_free(void *value)
{
	struct node_addresses *n = value;

	free(n->list);
	free(n);
}

struct asker_index *asker_index_new(void)
{
	struct asker_index *x = mem_calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->nodes = map_new(ASKERS_MAX, node_addresses_free);
	if (!x->nodes) {
		free(x);
		return NULL;
	}
	return x;
}

void asker_index_free(struct asker_index *x)
{
	if (!x)
		return;
	map_free(x->nodes);
	free(x);
}

/* A view has a number of its own; nodes that were revoked leave it and shorten its lists. */
static void follow(struct asker_index *x, const struct view *view, const struct edition *edition)
{
	if (x->view == view && x->sequence == view->sequence && x->serial == edition->serial &&
	    x->node_count == view->node_count && x->peer_count == view->peer_count)
		return;
	map_clear(x->nodes);
	x->view = view;
	x->sequence = view->sequence;
	x->serial = edition->serial;
	x->node_count = view->node_count;
	x->peer_count = view->peer_count;
}

static bool bound_has(const struct node_bound *b, const struct addr *a)
{
	for (size_t i = 0; i < b->address_count; i++)
		if (prefix_contains(&b->addresses[i], a))
			return true;
	return b->address_count == 0;
}

/* A policy without `nodes` sets no bounds; it is only accepted unsigned. */
static bool within_bounds(const struct policy *p, const char *node, const struct addr *a)
{
	for (size_t i = 0; i < p->node_count; i++)
		if (text_glob(p->nodes[i].pattern, node) && bound_has(&p->nodes[i], a))
			return true;
	return p->node_count == 0;
}

static int add(struct node_addresses *n, const struct policy *policy, const char *node,
	       const struct addr *addresses, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int r;

		if (!within_bounds(policy, node, &addresses[i]))
			continue;
		r = vec_grow(&n->list, &n->cap, n->count + 1, sizeof(*n->list), NODE_ADDRESSES_MAX);
		if (r == -E2BIG)
			return 0;
		if (r < 0)
			return r;
		n->list[n->count++] = addresses[i];
	}
	return 0;
}

/* An entry that policy does not let be there counts for nothing. */
static int add_peer(struct node_addresses *n, const struct view *view, const struct policy *policy,
		    const struct view_peer *p)
{
	const struct compile_input in = {.policy = policy, .view = view};
	int identity = policy_find_identity(policy, p->identity), r = 0;

	for (size_t i = 0; identity >= 0 && i < p->address_count && r == 0; i++)
		if (peer_is_at(&in, p, (uint32_t)identity, &p->addresses[i]))
			r = add(n, policy, p->node, &p->addresses[i], 1);
	return r;
}

static int addr_order(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

static int work_out(const struct view *view, const struct policy *policy, const char *node,
		    struct node_addresses *n)
{
	const struct view_node *vn = view_find_node(view, node);
	int r = vn ? add(n, policy, node, vn->addresses, vn->address_count) : 0;

	for (size_t i = 0; vn && i < view->peer_count && r == 0; i++)
		if (str_eq(view->peers[i].node, node))
			r = add_peer(n, view, policy, &view->peers[i]);
	if (r == 0 && n->count > 0)
		qsort(n->list, n->count, sizeof(*n->list), addr_order);
	return r;
}

static const struct node_addresses *find(struct asker_index *x, const struct view *view,
					 const struct policy *policy, const char *node)
{
	struct node_addresses *n = map_get_str(x->nodes, node);

	if (n)
		return n;
	if (map_count(x->nodes) >= ASKERS_MAX)
		map_clear(x->nodes);
	n = mem_calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	if (work_out(view, policy, node, n) < 0 || map_put_str(x->nodes, node, n) < 0) {
		node_addresses_free(n);
		return NULL;
	}
	return n;
}

int asker_owns(struct asker_index *x, const struct view *view, const struct edition *edition,
	       const char *node, const struct addr *a)
{
	const struct node_addresses *n;

	follow(x, view, edition);
	n = find(x, view, edition->policy, node);
	if (!n)
		return -ENOMEM;
	return n->count > 0 && bsearch(a, n->list, n->count, sizeof(*n->list), addr_order) != NULL;
}
