/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Views as bytes. Paths, node names and addresses have no character that JSON would escape
 * (path_fault(), node_name_ok(), addr_format()), so they are written as they are.
 */
#include "controller/views_parts.h"

#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int know(struct views *v, uint32_t index)
{
	int r;

	if (v->known_at[index] == v->know_epoch)
		return 0;
	v->known_at[index] = v->know_epoch;
	r = vec_grow(&v->known, &v->known_cap, v->known_count + 1, sizeof(*v->known),
		     POLICY_IDENTITIES_MAX);
	if (r == 0)
		v->known[v->known_count++] = v->rank[index];
	return r;
}

/* Rules share their lists of parties: each is gone through once. */
static int know_list(struct views *v, uint32_t list)
{
	const struct party_list *l = &v->policy->lists[list];
	int r = 0;

	if (v->known_list_at[list] == v->know_epoch)
		return 0;
	v->known_list_at[list] = v->know_epoch;
	for (size_t i = 0; i < l->count && r == 0; i++)
		if (l->parties[i].kind == PARTY_IDENTITY)
			r = know(v, l->parties[i].index);
	return r;
}

static int know_counterparts(struct views *v, uint32_t index)
{
	const struct party_ref party = {PARTY_IDENTITY, index};
	struct rule_iter it;
	uint32_t rule;
	int r = 0;

	policy_rules_from(v->policy, party, &it);
	while (r == 0 && policy_next_rule(v->policy, &it, &rule))
		r = know_list(v, v->policy->rules[rule].to_list);
	policy_rules_to(v->policy, party, &it);
	while (r == 0 && policy_next_rule(v->policy, &it, &rule))
		r = know_list(v, v->policy->rules[rule].from_list);
	return r;
}

static void next_epoch(struct views *v)
{
	v->know_epoch++;
	v->known_count = 0;
}

int views_know(struct views *v, uint32_t node)
{
	const struct place_node *n = v->nodes[node];
	int r = 0;

	next_epoch(v);
	for (size_t i = 0; v->policy && i < n->hosted_count && r == 0; i++) {
		uint32_t index = v->identities[n->hosted[i]]->index;

		r = know_counterparts(v, index);
	}
	/* Known, but no peers: unless a rule puts them opposite somebody here. */
	for (size_t i = 0; v->policy && i < n->hosted_count; i++)
		v->known_at[v->identities[n->hosted[i]]->index] = v->know_epoch;
	return r;
}

bool views_knows(const struct views *v, uint32_t policy_index)
{
	return v->known_at[policy_index] == v->know_epoch;
}

bool views_hosts(const struct views *v, uint32_t node, uint32_t policy_index)
{
	const struct place_node *n = v->nodes[node];

	for (size_t i = 0; i < n->hosted_count; i++)
		if (v->identities[n->hosted[i]]->index == policy_index)
			return true;
	return false;
}

static int order_parties(const void *a, const void *b)
{
	const struct party_ref *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static bool party_here(const struct views *v, uint32_t node, const struct party_ref *parties,
		       size_t count)
{
	const struct place_node *n = v->nodes[node];

	for (size_t i = 0; i < n->hosted_count && count > 0; i++) {
		const struct party_ref wanted = {PARTY_IDENTITY,
						 v->identities[n->hosted[i]]->index};

		if (bsearch(&wanted, parties, count, sizeof(*parties), order_parties))
			return true;
	}
	return false;
}

bool views_rule_here(const struct views *v, uint32_t node, uint32_t rule)
{
	const struct rule *u = &v->policy->rules[rule];

	return party_here(v, node, u->from_parties, u->from_party_count) ||
	       party_here(v, node, u->to_parties, u->to_party_count);
}

/* --- writing --------------------------------------------------------------------------------- */

static int order_numbers(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static const struct place_identity *of_rank(const struct views *v, uint32_t rank)
{
	uint32_t at = v->placed_as[v->by_rank[rank]];

	return at != VIEWS_NONE ? v->identities[at] : NULL;
}

/* Identities in force here, by rank, in v->opposite. */
static int sort_hosted(struct views *v, const struct place_node *n)
{
	int r = vec_grow(&v->opposite, &v->opposite_cap, n->hosted_count, sizeof(*v->opposite),
			 POLICY_IDENTITIES_MAX);

	v->opposite_count = 0;
	for (size_t i = 0; i < n->hosted_count && r == 0; i++)
		v->opposite[v->opposite_count++] = v->rank[v->identities[n->hosted[i]]->index];
	if (v->opposite_count > 0)
		qsort(v->opposite, v->opposite_count, sizeof(*v->opposite), order_numbers);
	return r;
}

static int write_placed(struct views *v, uint32_t node, struct buf *b)
{
	const struct place_node *here = v->nodes[node];
	int r = sort_hosted(v, here);

	buf_puts(b, "\"placed\":[");
	for (size_t i = 0; i < v->opposite_count && r == 0; i++) {
		const struct place_identity *id = of_rank(v, v->opposite[i]);
		const struct site *s = id ? views_site_at(id, here) : NULL;

		if (!id)
			return -EINVAL; /* sort_hosted() takes none that nobody has placed */
		buf_puts(b, i > 0 ? ",\n" : "");
		buf_puts(b, "{\"identity\":\"");
		buf_puts(b, id->path);
		buf_putc(b, '"');
		if (s && s->json) {
			buf_puts(b, ",\"addresses\":");
			buf_puts(b, s->json);
		}
		buf_putc(b, '}');
	}
	buf_puts(b, "]");
	return r;
}

static int list_node(struct views *v, uint32_t node)
{
	struct place_node *n = v->nodes[node];
	int r;

	if (n->listed == v->list_epoch)
		return 0;
	r = vec_grow(&v->listed, &v->listed_cap, v->listed_count + 1, sizeof(struct place_node *),
		     VIEW_ENTRIES_MAX);
	if (r < 0)
		return r;
	n->listed = v->list_epoch;
	v->listed[v->listed_count++] = n;
	return 0;
}

static void write_peer(const struct place_identity *id, const struct place_node *n,
		       const char *addresses, const char *comma, struct buf *b)
{
	buf_puts(b, comma);
	buf_puts(b, "{\"identity\":\"");
	buf_puts(b, id->path);
	buf_puts(b, "\",\"node\":\"");
	buf_puts(b, n->name);
	buf_puts(b, "\",\"addresses\":");
	buf_puts(b, addresses);
	buf_putc(b, '}');
}

/* An identity on a node that nobody knows an address of is not there yet. */
static int write_peers(struct views *v, uint32_t node, struct buf *b)
{
	size_t count = 0;
	int r = 0;

	buf_puts(b, ",\n\"peers\":[");
	for (size_t i = 0; i < v->known_count; i++) {
		const struct place_identity *id = of_rank(v, v->known[i]);

		for (size_t j = 0; id && j < id->site_count && r == 0; j++) {
			const struct site *s = &id->sites[j];
			const struct place_node *n = v->nodes[s->node];

			if (s->node == node || n->address_count == 0)
				continue;
			if (++count > VIEW_ENTRIES_MAX)
				return -E2BIG;
			write_peer(id, n, s->json ? s->json : n->json, count > 1 ? ",\n" : "", b);
			r = list_node(v, s->node);
		}
	}
	buf_puts(b, "]");
	return r;
}

static int order_nodes(const void *a, const void *b)
{
	const struct place_node *x, *y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return strcmp(x->name, y->name);
}

/* Peers would call whoever answers there: it has to be an address of the node's own. */
static bool attests(const struct place_node *n)
{
	bool own = false;

	for (size_t i = 0; i < n->address_count && !own; i++)
		own = addr_eq(&n->addresses[i], &n->attest_address);
	return n->has_attest && own;
}

static void write_nodes(struct views *v, struct buf *b)
{
	char text[ADDR_TEXT_MAX];

	if (v->listed_count > 0)
		qsort(v->listed, v->listed_count, sizeof(struct place_node *), order_nodes);
	buf_puts(b, ",\n\"nodes\":[");
	for (size_t i = 0; i < v->listed_count; i++) {
		const struct place_node *n = v->listed[i];

		buf_puts(b, i > 0 ? ",\n{\"node\":\"" : "{\"node\":\"");
		buf_puts(b, n->name);
		buf_puts(b, "\",\"addresses\":");
		buf_puts(b, n->json);
		if (attests(n)) {
			buf_puts(b, ",\"attest\":{\"address\":\"");
			buf_puts(b, addr_format(text, &n->attest_address));
			buf_printf(b, "\",\"port\":%u}", n->attest_port);
		}
		buf_putc(b, '}');
	}
	buf_puts(b, "],\n\"devices\":[]}\n");
}

void views_write_front(struct buf *b, const char *node, uint64_t sequence)
{
	buf_printf(b, "{\"version\":1,\"node\":\"%s\",\"sequence\":%" PRIu64 ",\n", node, sequence);
}

int views_write(struct views *v, uint32_t node, struct buf *b)
{
	int r;

	r = views_know(v, node);
	if (r < 0)
		return r;
	v->list_epoch++;
	v->listed_count = 0;
	if (v->known_count > 0)
		qsort(v->known, v->known_count, sizeof(*v->known), order_numbers);
	r = write_placed(v, node, b);
	if (r == 0)
		r = write_peers(v, node, b);
	if (r < 0)
		return r;
	write_nodes(v, b);
	return b->r;
}
