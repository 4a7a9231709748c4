/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The view within the bounds of policy. A view may narrow, never widen (R34): an entry that names
 * an unknown identity, a node or an address outside the bounds is left out, and a sentence about it
 * kept; the rest applies.
 */
#include "rules/compile_parts.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define LOCATED_MAX  6400000
#define SUBJECTS_MAX 400000
#define OWN_MAX      65536

struct bounds {
	const struct node_bound **matching; /* patterns that match the node */
	size_t count, cap;
};

/* --- names ----------------------------------------------------------------------------------- */

void name_index_done(struct name_index *n)
{
	free(n->entries);
	*n = (struct name_index){0};
}

static int name_cmp(const void *a, const void *b)
{
	const struct name_entry *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	if (order != 0)
		return order;
	return x->index < y->index ? -1 : x->index > y->index;
}

void name_index_sort(struct name_index *n)
{
	sort_items(n->entries, n->count, sizeof(*n->entries), name_cmp);
}

uint32_t name_index_find(const struct name_index *n, const char *name)
{
	size_t low = 0, high = n->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(n->entries[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < n->count && str_eq(n->entries[low].name, name))
		return n->entries[low].index;
	return NO_INDEX;
}

/* --- refused entries ------------------------------------------------------------------------- */

/* The ghost of a policy would say the same again. */
int compile_refuse(struct compile *c, const struct place *p, const char *fmt, ...)
{
	struct generation *g = c->g;
	char text[ERR_TEXT_MAX];
	va_list ap;
	int r;

	if (p->ghost || g->refused_count >= REFUSED_MAX)
		return 0;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	r = vec_grow(&g->refused, &g->refused_cap, g->refused_count + 1, sizeof(*g->refused),
		     REFUSED_MAX);
	if (r < 0)
		return compile_no_memory(c);
	g->refused[g->refused_count] = generation_text(g, text);
	if (!g->refused[g->refused_count])
		return compile_no_memory(c);
	g->refused_count++;
	return 0;
}

/* --- bounds of policy ------------------------------------------------------------------------ */

static int bounds_of(struct compile *c, const struct policy *p, const char *node, struct bounds *b)
{
	b->count = 0;
	for (size_t i = 0; i < p->node_count; i++) {
		if (!text_glob(p->nodes[i].pattern, node))
			continue;
		if (vec_grow(&b->matching, &b->cap, b->count + 1, sizeof(struct node_bound *),
			     p->node_count) < 0)
			return compile_no_memory(c);
		b->matching[b->count++] = &p->nodes[i];
	}
	return 0;
}

/* Policy without `nodes` sets no bounds; it is only accepted unsigned. */
static bool address_in_bounds(const struct policy *p, const struct bounds *b, const struct addr *a)
{
	for (size_t i = 0; i < b->count; i++) {
		const struct node_bound *bound = b->matching[i];

		if (bound->address_count == 0)
			return true;
		for (size_t j = 0; j < bound->address_count; j++)
			if (prefix_contains(&bound->addresses[j], a))
				return true;
	}
	return p->node_count == 0;
}

static bool node_has_label(const struct bounds *b, const struct label *label)
{
	for (size_t i = 0; i < b->count; i++) {
		const char *value = label_value(b->matching[i]->labels, b->matching[i]->label_count,
						label->key);

		if (value && str_eq(value, label->value))
			return true;
	}
	return false;
}

static bool identity_may_be_on(const struct policy *p, const struct bounds *b,
			       const struct identity *id, const char *node)
{
	bool may = id->placement_node_count == 0;

	for (size_t i = 0; i < id->placement_node_count && !may; i++)
		may = text_glob(id->placement_nodes[i], node);
	for (size_t i = 0; i < id->placement_label_count && may; i++)
		may = node_has_label(b, &id->placement_labels[i]);
	return may && (p->node_count == 0 || b->count > 0);
}

/* --- this node ------------------------------------------------------------------------------- */

static int addr_order(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

static int own_add(struct compile *c, const struct addr *addresses, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (addr_is_multicast_or_broadcast(&addresses[i]))
			continue;
		if (vec_grow(&c->own, &c->own_cap, c->own_count + 1, sizeof(*c->own), OWN_MAX) < 0)
			return compile_no_memory(c);
		c->own[c->own_count++] = addresses[i];
	}
	return 0;
}

static int find_holes(struct compile *c)
{
	static const struct prefix loopback = {.addr = {.family = AF_INET, .bytes = {127}},
					       .len = 8};

	c->holes = mem_calloc(c->own_count, sizeof(*c->holes));
	if (!c->holes)
		return compile_no_memory(c);
	for (size_t i = 0; i < c->own_count; i++) {
		struct hole h = {.first = c->own[i], .last = c->own[i]};

		if (prefix_contains(&loopback, &c->own[i]))
			prefix_range(&loopback, &h.first, &h.last);
		if (c->hole_count == 0 || !addr_eq(&c->holes[c->hole_count - 1].first, &h.first))
			c->holes[c->hole_count++] = h;
	}
	return 0;
}

static int own_addresses(struct compile *c)
{
	static const struct addr loopback[] = {
		{.family = AF_INET, .bytes = {127, 0, 0, 1}},
		{.family = AF_INET6, .bytes = {[15] = 1}},
	};
	const struct view *v = c->in->view;
	size_t kept = 0;
	int r;

	r = own_add(c, loopback, ARRAY_LEN(loopback));
	if (r == 0)
		r = own_add(c, c->in->addresses, c->in->address_count);
	for (size_t i = 0; v && i < v->placed_count && r == 0; i++)
		r = own_add(c, v->placed[i].addresses, v->placed[i].address_count);
	if (r < 0)
		return r;
	sort_items(c->own, c->own_count, sizeof(*c->own), addr_order);
	for (size_t i = 0; i < c->own_count; i++)
		if (kept == 0 || !addr_eq(&c->own[kept - 1], &c->own[i]))
			c->own[kept++] = c->own[i];
	c->own_count = kept;
	return find_holes(c);
}

static bool is_own(const struct compile *c, const struct addr *a)
{
	return bsearch(a, c->own, c->own_count, sizeof(*c->own), addr_order) != NULL;
}

/* 1 = placed here within bounds, 0 = not (and why has been said). */
static int placed_ok(struct compile *c, struct place *p, const struct bounds *b,
		     const struct view_placed *placed, uint32_t *ret_identity)
{
	const char *node = c->in->view->node;
	size_t within = 0;
	char text[ADDR_TEXT_MAX];
	int r;

	*ret_identity = name_index_find(&p->paths, placed->identity);
	if (*ret_identity == NO_INDEX)
		return compile_refuse(c, p, "placed '%s': no identity of the policy has this path",
				      placed->identity);
	if (!identity_may_be_on(p->policy, b, &p->policy->identities[*ret_identity], node))
		return compile_refuse(c, p, "placed '%s': policy does not let it run on node '%s'",
				      placed->identity, node);
	for (size_t i = 0; i < placed->address_count; i++) {
		if (address_in_bounds(p->policy, b, &placed->addresses[i])) {
			within++;
			continue;
		}
		r = compile_refuse(
			c, p, "placed '%s': %s is outside the addresses of node '%s' in policy",
			placed->identity, addr_format(text, &placed->addresses[i]), node);
		if (r < 0)
			return r;
	}
	return placed->address_count == 0 || within > 0;
}

static enum deny_answer answer_of(enum deny_answer own, enum deny_answer policy,
				  enum deny_answer otherwise)
{
	if (own != DENY_DEFAULT)
		return own;
	return policy != DENY_DEFAULT ? policy : otherwise;
}

static int add_local(struct compile *c, const struct place *p, uint32_t identity)
{
	const struct identity *id = &p->policy->identities[identity];
	struct generation *g = c->g;
	struct number_key key;
	struct local_identity *l = &g->locals[g->local_count];
	int r;

	*l = (struct local_identity){
		.index = identity,
		.path = generation_text(g, id->path),
		.name = generation_text(g, id->name),
		.observe = id->observe,
		.deny_out = answer_of(id->deny_out, p->policy->deny_out, DENY_REJECT),
		.deny_in = answer_of(id->deny_in, p->policy->deny_in, DENY_DROP),
		.own_drop_in = id->deny_in == DENY_DROP,
	};
	if (!l->path || !l->name)
		return compile_no_memory(c);
	number_key_of(id->path, &key);
	r = numbers_get(c->identities, &key, &l->mark);
	if (r < 0)
		return err_set(c->err, -r, "identity '%s' gets no number: %s", id->path,
			       strerror(-r));
	g->local_count++;
	return 0;
}

/* A ghost's local identity matters where the real policy has it too. */
static void ghost_locals(struct compile *c)
{
	struct place *p = &c->ghost;

	for (size_t i = 0; i < p->policy->identity_count; i++) {
		uint32_t real = NO_INDEX;

		if (p->local_of[i] != NO_INDEX)
			real = name_index_find(&c->real.paths, p->policy->identities[i].path);
		p->local_of[i] = real != NO_INDEX ? c->real.local_of[real] : NO_INDEX;
	}
}

/* Marks placed identities; of the real policy they become the generation's locals, by path. */
static int place_locals(struct compile *c, struct place *p, struct bounds *b)
{
	const struct view *v = c->in->view;
	struct generation *g = c->g;
	size_t count = 0;
	int r;

	r = v ? bounds_of(c, p->policy, v->node, b) : 0;
	if (r < 0)
		return r;
	for (size_t i = 0; v && i < v->placed_count; i++) {
		uint32_t identity = NO_INDEX;

		r = placed_ok(c, p, b, &v->placed[i], &identity);
		if (r < 0)
			return r;
		if (r == 1 && p->local_of[identity] == NO_INDEX) {
			p->local_of[identity] = 0;
			p->here[identity] = true;
			count++;
		}
	}
	if (!p->ghost) {
		g->deny_out = answer_of(DENY_DEFAULT, p->policy->deny_out, DENY_REJECT);
		g->deny_in = answer_of(DENY_DEFAULT, p->policy->deny_in, DENY_DROP);
		g->locals = mem_calloc(count, sizeof(*g->locals));
		if (!g->locals)
			return compile_no_memory(c);
	}
	for (size_t i = 0; i < p->paths.count; i++) {
		uint32_t identity = p->paths.entries[i].index;

		if (p->local_of[identity] == NO_INDEX)
			continue;
		p->local_of[identity] = (uint32_t)g->local_count;
		r = p->ghost ? 0 : add_local(c, p, identity);
		if (r < 0)
			return r;
	}
	if (p->ghost)
		ghost_locals(c);
	return 0;
}

/* --- other nodes ----------------------------------------------------------------------------- */

/* Peers in the order of their nodes, so that each node's bounds are looked up once. */
static int node_names(struct compile *c)
{
	const struct view *v = c->in->view;
	struct name_index *by_node = &c->peers_by_node;
	size_t count = v ? v->peer_count : 0;

	c->nodes = mem_calloc(count, sizeof(*c->nodes));
	c->node_texts = mem_calloc(count, sizeof(*c->node_texts));
	by_node->entries = mem_calloc(count, sizeof(*by_node->entries));
	c->view_nodes.entries = mem_calloc(v ? v->node_count : 0, sizeof(*c->view_nodes.entries));
	if (!c->nodes || !c->node_texts || !by_node->entries || !c->view_nodes.entries)
		return compile_no_memory(c);

	for (size_t i = 0; i < count; i++)
		by_node->entries[by_node->count++] =
			(struct name_entry){.name = v->peers[i].node, .index = (uint32_t)i};
	for (size_t i = 0; v && i < v->node_count; i++)
		c->view_nodes.entries[c->view_nodes.count++] =
			(struct name_entry){.name = v->nodes[i].node, .index = (uint32_t)i};
	name_index_sort(by_node);
	name_index_sort(&c->view_nodes);
	for (size_t i = 0; i < count; i++) {
		const char *name = by_node->entries[i].name;

		if (c->node_count == 0 || !str_eq(c->nodes[c->node_count - 1], name))
			c->nodes[c->node_count++] = name;
	}
	return 0;
}

static int locate_addresses(struct compile *c, struct place *p, const struct bounds *b,
			    const struct located *like, const struct addr *addresses, size_t count)
{
	const struct view_peer *peer = &c->in->view->peers[like->peer];
	char text[ADDR_TEXT_MAX];
	int r;

	for (size_t i = 0; i < count; i++) {
		if (like->of_node &&
		    (is_own(c, &addresses[i]) || !address_in_bounds(p->policy, b, &addresses[i])))
			continue;
		if (is_own(c, &addresses[i]))
			r = compile_refuse(c, p, "peer '%s' on '%s': %s is an address of this node",
					   peer->identity, peer->node,
					   addr_format(text, &addresses[i]));
		else if (!address_in_bounds(p->policy, b, &addresses[i]))
			r = compile_refuse(
				c, p,
				"peer '%s': %s is outside the addresses of node '%s' in policy",
				peer->identity, addr_format(text, &addresses[i]), peer->node);
		else
			r = 1;
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		if (vec_grow(&p->located, &p->located_cap, p->located_count + 1,
			     sizeof(*p->located), LOCATED_MAX) < 0)
			return compile_no_memory(c);
		p->located[p->located_count] = *like;
		p->located[p->located_count++].addr = addresses[i];
	}
	return 0;
}

static int locate_peer(struct compile *c, struct place *p, const struct bounds *b, uint32_t index,
		       uint32_t node)
{
	const struct view *v = c->in->view;
	const struct view_peer *peer = &v->peers[index];
	uint32_t at = name_index_find(&c->view_nodes, peer->node);
	struct located like = {.peer = index, .node = node};
	int r;

	like.identity = name_index_find(&p->paths, peer->identity);
	if (like.identity == NO_INDEX)
		return compile_refuse(c, p, "peer '%s': no identity of the policy has this path",
				      peer->identity);
	if (str_eq(peer->node, v->node))
		return compile_refuse(c, p,
				      "peer '%s': node '%s' is this one; 'placed' would be right",
				      peer->identity, peer->node);
	if (!identity_may_be_on(p->policy, b, &p->policy->identities[like.identity], peer->node))
		return compile_refuse(c, p, "peer '%s': policy does not let it run on node '%s'",
				      peer->identity, peer->node);
	r = locate_addresses(c, p, b, &like, peer->addresses, peer->address_count);
	if (r < 0 || at == NO_INDEX)
		return r;
	like.of_node = true;
	return locate_addresses(c, p, b, &like, v->nodes[at].addresses, v->nodes[at].address_count);
}

static int located_cmp(const void *a, const void *b)
{
	const struct located *x = a, *y = b;
	int order;

	if (x->identity != y->identity)
		return x->identity < y->identity ? -1 : 1;
	if (x->node != y->node)
		return x->node < y->node ? -1 : 1;
	order = addr_cmp(&x->addr, &y->addr);
	if (order != 0)
		return order;
	if (x->of_node != y->of_node)
		return x->of_node ? 1 : -1;
	return x->peer < y->peer ? -1 : x->peer > y->peer;
}

static int place_located(struct compile *c, struct place *p, struct bounds *b)
{
	size_t identities = p->policy->identity_count, at = 0;
	uint32_t node = NO_INDEX;
	int r = 0;

	for (size_t i = 0; i < c->peers_by_node.count && r == 0; i++) {
		const struct name_entry *e = &c->peers_by_node.entries[i];

		if (i == 0 || !str_eq(c->nodes[node], e->name)) {
			node = i == 0 ? 0 : node + 1;
			r = bounds_of(c, p->policy, e->name, b);
		}
		if (r == 0)
			r = locate_peer(c, p, b, e->index, node);
	}
	if (r < 0)
		return r;
	sort_items(p->located, p->located_count, sizeof(*p->located), located_cmp);
	p->located_first = mem_calloc(identities + 1, sizeof(*p->located_first));
	if (!p->located_first)
		return compile_no_memory(c);
	for (size_t i = 0; i <= identities; i++) {
		while (at < p->located_count && p->located[at].identity < i)
			at++;
		p->located_first[i] = (uint32_t)at;
	}
	return 0;
}

/* --- subjects -------------------------------------------------------------------------------- */

static int add_subject(struct compile *c, bool network, const char *key, const char *name,
		       uint32_t *ret)
{
	if (vec_grow(&c->subjects, &c->subject_cap, c->subject_count + 1, sizeof(*c->subjects),
		     SUBJECTS_MAX) < 0)
		return compile_no_memory(c);
	c->subjects[c->subject_count] =
		(struct far_end){.network = network, .key = key, .name = name};
	*ret = (uint32_t)c->subject_count++;
	return 0;
}

static uint32_t network_find(const struct policy *p, const char *name)
{
	for (size_t i = 0; i < p->network_count; i++)
		if (str_eq(p->networks[i].name, name))
			return (uint32_t)i;
	return NO_INDEX;
}

static int place_subjects(struct compile *c, struct place *p)
{
	const struct policy *policy = p->policy;
	int r = 0;

	for (size_t i = 0; i < policy->identity_count && r == 0; i++) {
		const struct identity *id = &policy->identities[i];
		uint32_t same = p->ghost ? name_index_find(&c->real.paths, id->path) : NO_INDEX;

		if (same != NO_INDEX)
			p->subject_of_identity[i] = c->real.subject_of_identity[same];
		else
			r = add_subject(c, false, id->path, id->name, &p->subject_of_identity[i]);
	}
	for (size_t i = 0; i < policy->network_count && r == 0; i++) {
		const char *name = policy->networks[i].name;
		uint32_t same = p->ghost ? network_find(c->real.policy, name) : NO_INDEX;

		if (same != NO_INDEX)
			p->subject_of_network[i] = c->real.subject_of_network[same];
		else
			r = add_subject(c, true, name, name, &p->subject_of_network[i]);
	}
	return r;
}

/* --- the whole ------------------------------------------------------------------------------- */

static int place_init(struct compile *c, struct place *p, const struct policy *policy, bool ghost)
{
	size_t count = policy->identity_count;

	p->policy = policy;
	p->ghost = ghost;
	p->paths.entries = mem_calloc(count, sizeof(*p->paths.entries));
	p->local_of = mem_calloc(count, sizeof(*p->local_of));
	p->here = mem_calloc(count, sizeof(*p->here));
	p->subject_of_identity = mem_calloc(count, sizeof(*p->subject_of_identity));
	p->subject_of_network = mem_calloc(policy->network_count, sizeof(*p->subject_of_network));
	if (!p->paths.entries || !p->local_of || !p->here || !p->subject_of_identity ||
	    !p->subject_of_network)
		return compile_no_memory(c);
	for (size_t i = 0; i < count; i++) {
		p->paths.entries[i] = (struct name_entry){.name = policy->identities[i].path,
							  .index = (uint32_t)i};
		p->local_of[i] = NO_INDEX;
	}
	p->paths.count = count;
	name_index_sort(&p->paths);
	return 0;
}

static int place_make(struct compile *c, struct place *p, const struct policy *policy, bool ghost)
{
	struct bounds b = {0};
	int r;

	r = place_init(c, p, policy, ghost);
	if (r == 0)
		r = place_locals(c, p, &b);
	if (r == 0)
		r = place_located(c, p, &b);
	if (r == 0)
		r = place_subjects(c, p);
	if (r == 0)
		r = compile_rule_states(c, p);
	free(b.matching);
	return r;
}

int compile_places(struct compile *c)
{
	int r;

	r = own_addresses(c);
	if (r == 0)
		r = node_names(c);
	if (r == 0)
		r = place_make(c, &c->real, c->in->policy, false);
	if (r < 0 || !c->in->also_cut || c->in->also_cut == c->in->policy)
		return r;
	c->has_ghost = true;
	return place_make(c, &c->ghost, c->in->also_cut, true);
}

static void place_done(struct place *p)
{
	name_index_done(&p->paths);
	free(p->local_of);
	free(p->here);
	free(p->subject_of_identity);
	free(p->subject_of_network);
	free(p->located);
	free(p->located_first);
	free(p->rules);
	free(p->rule_rank);
	free(p->rule_revoked);
	free(p->identity_revoked);
	free(p->network_revoked);
	free(p->identity_quarantined);
	free(p->held);
	free(p->grants);
	free(p->out_rules);
	free(p->out_first);
	free(p->in_rules);
	free(p->in_first);
	*p = (struct place){0};
}

void compile_places_done(struct compile *c)
{
	place_done(&c->real);
	place_done(&c->ghost);
	name_index_done(&c->peers_by_node);
	name_index_done(&c->view_nodes);
	free(c->nodes);
	free(c->node_texts);
	free(c->node_contained);
	free(c->subjects);
	free(c->own);
	free(c->holes);
	free(c->party_slots);
}
