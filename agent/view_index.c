/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/view_index.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#define EMPTY   UINT32_MAX
#define OF_PEER 0x80000000u

/* Open addressing; several peers of one identity and node stand one behind the other. */
struct slots {
	uint32_t *at;
	uint32_t mask;
};

struct view_index {
	const struct view *view;
	size_t node_count, peer_count;
	uint64_t sequence;
	struct slots nodes, peers;
	struct slots owners; /* by node and address; OF_PEER: of that entry of the peers */
};

static uint64_t mix(uint64_t a, uint64_t b)
{
	return a ^ (b * 0x9e3779b97f4a7c15ULL);
}

static uint64_t node_hash(const char *node)
{
	return hash_bytes(node, strlen(node));
}

static uint64_t peer_hash(const char *identity, const char *node)
{
	return mix(hash_bytes(identity, strlen(identity)), node_hash(node));
}

static uint64_t owner_hash(const char *node, const struct addr *a)
{
	return mix(hash_bytes(a->bytes, addr_len(a)), node_hash(node));
}

static int slots_init(struct slots *s, size_t count)
{
	uint32_t size = 4;

	while (size < 2 * count)
		size *= 2;
	s->at = mem_calloc(size, sizeof(*s->at));
	s->mask = size - 1;
	if (!s->at)
		return -1;
	memset(s->at, 0xff, size * sizeof(*s->at));
	return 0;
}

static void slots_put(struct slots *s, uint64_t hash, size_t index)
{
	uint32_t i = (uint32_t)hash & s->mask;

	while (s->at[i] != EMPTY)
		i = (i + 1) & s->mask;
	s->at[i] = (uint32_t)index;
}

static size_t address_count(const struct view *v)
{
	size_t n = 0;

	for (size_t i = 0; i < v->node_count; i++)
		n += v->nodes[i].address_count;
	for (size_t i = 0; i < v->peer_count; i++)
		n += v->peers[i].address_count;
	return n;
}

static void enter(struct view_index *x, const struct view *v)
{
	for (size_t i = 0; i < v->node_count; i++) {
		const struct view_node *n = &v->nodes[i];

		slots_put(&x->nodes, node_hash(n->node), i);
		for (size_t k = 0; k < n->address_count; k++)
			slots_put(&x->owners, owner_hash(n->node, &n->addresses[k]), i);
	}
	for (size_t i = 0; i < v->peer_count; i++) {
		const struct view_peer *p = &v->peers[i];

		slots_put(&x->peers, peer_hash(p->identity, p->node), i);
		for (size_t k = 0; k < p->address_count; k++)
			slots_put(&x->owners, owner_hash(p->node, &p->addresses[k]), i | OF_PEER);
	}
}

struct view_index *view_index_new(const struct view *view)
{
	CLEANUP(view_index_freep) struct view_index *x = mem_calloc(1, sizeof(*x));

	if (!x || slots_init(&x->nodes, view ? view->node_count : 0) < 0 ||
	    slots_init(&x->peers, view ? view->peer_count : 0) < 0 ||
	    slots_init(&x->owners, view ? address_count(view) : 0) < 0)
		return NULL;
	x->view = view;
	x->node_count = view ? view->node_count : 0;
	x->peer_count = view ? view->peer_count : 0;
	x->sequence = view ? view->sequence : 0;
	if (view)
		enter(x, view);
	return TAKE_PTR(x);
}

bool view_index_is_of(const struct view_index *x, const struct view *view)
{
	return x->view == view &&
	       (!view || (x->sequence == view->sequence && x->node_count == view->node_count &&
			  x->peer_count == view->peer_count));
}

void view_index_free(struct view_index *x)
{
	if (!x)
		return;
	free(x->nodes.at);
	free(x->peers.at);
	free(x->owners.at);
	free(x);
}

void view_index_freep(struct view_index **x)
{
	view_index_free(*x);
	*x = NULL;
}

static bool has_address(const struct addr *list, size_t count, const struct addr *a)
{
	for (size_t i = 0; i < count; i++) {
		if (addr_eq(&list[i], a))
			return true;
	}
	return false;
}

const struct view_node *view_index_node(const struct view_index *x, const char *node)
{
	uint32_t i = (uint32_t)node_hash(node) & x->nodes.mask;

	for (; x->nodes.at[i] != EMPTY; i = (i + 1) & x->nodes.mask) {
		const struct view_node *n = &x->view->nodes[x->nodes.at[i]];

		if (str_eq(n->node, node))
			return n;
	}
	return NULL;
}

static bool entry_owns(const struct view *v, uint32_t entry, const char *node, const struct addr *a)
{
	const struct view_node *n;

	if (entry & OF_PEER) {
		const struct view_peer *p = &v->peers[entry & ~OF_PEER];

		return str_eq(p->node, node) && has_address(p->addresses, p->address_count, a);
	}
	n = &v->nodes[entry];
	return str_eq(n->node, node) && has_address(n->addresses, n->address_count, a);
}

bool view_index_owns(const struct view_index *x, const char *node, const struct addr *a)
{
	uint32_t i = (uint32_t)owner_hash(node, a) & x->owners.mask;

	for (; x->owners.at[i] != EMPTY; i = (i + 1) & x->owners.mask) {
		if (entry_owns(x->view, x->owners.at[i], node, a))
			return true;
	}
	return false;
}

enum view_placed_at view_index_placed(const struct view_index *x, const char *identity,
				      const char *node, const struct addr *a)
{
	uint32_t i = (uint32_t)peer_hash(identity, node) & x->peers.mask;
	enum view_placed_at found = VIEW_NOT_PLACED;

	for (; x->peers.at[i] != EMPTY; i = (i + 1) & x->peers.mask) {
		const struct view_peer *p = &x->view->peers[x->peers.at[i]];

		if (!str_eq(p->identity, identity) || !str_eq(p->node, node))
			continue;
		if (has_address(p->addresses, p->address_count, a))
			return VIEW_PLACED;
		found = VIEW_ELSEWHERE;
	}
	return found;
}
