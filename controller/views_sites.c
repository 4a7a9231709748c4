/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From what sources say to what is in force: sites of an identity, addresses of a node. Each is
 * worked out whole from its sources, compared with what was in force, and only a difference touches
 * anybody.
 */
#include "controller/views_parts.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESSES_JSON_MAX (VIEW_ADDRESSES_MAX * (ADDR_TEXT_MAX + 3) + 3)
#define COLLECTED_MAX      4096 /* addresses of one node before doubles go */

struct sites {
	struct site *at;
	size_t count, cap;
};

static void sites_free(struct site *sites, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(sites[i].addresses);
		free(sites[i].json);
	}
	free(sites);
}

void views_sites_done(struct place_identity *id)
{
	sites_free(id->sites, id->site_count);
	id->sites = NULL;
	id->site_count = id->site_cap = 0;
}

char *views_addresses_json(const struct addr *addresses, size_t count)
{
	CLEANUP(buf_done) struct buf b;
	char text[ADDR_TEXT_MAX];

	buf_init(&b, ADDRESSES_JSON_MAX);
	buf_putc(&b, '[');
	for (size_t i = 0; i < count; i++) {
		buf_puts(&b, i > 0 ? ",\"" : "\"");
		buf_puts(&b, addr_format(text, &addresses[i]));
		buf_putc(&b, '"');
	}
	buf_putc(&b, ']');
	return buf_take(&b);
}

static int order_addresses(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

static size_t sort_unique(struct addr *addresses, size_t count)
{
	size_t kept = 0;

	if (count > 0)
		qsort(addresses, count, sizeof(*addresses), order_addresses);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || !addr_eq(&addresses[kept - 1], &addresses[i]))
			addresses[kept++] = addresses[i];
	return kept;
}

static bool same_addresses(const struct addr *a, size_t a_count, const struct addr *b,
			   size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++)
		if (!addr_eq(&a[i], &b[i]))
			return false;
	return true;
}

/* --- sites ----------------------------------------------------------------------------------- */

static int site_fill(struct site *s, const struct views *v, const struct place *p)
{
	s->node = p->node;
	s->name = v->nodes[p->node]->name;
	if (p->address_count == 0)
		return 0;
	s->addresses = mem_calloc(p->address_count, sizeof(*s->addresses));
	if (!s->addresses)
		return -ENOMEM;
	memcpy(s->addresses, p->addresses, p->address_count * sizeof(*s->addresses));
	s->address_count = sort_unique(s->addresses, p->address_count);
	s->json = views_addresses_json(s->addresses, s->address_count);
	return s->json ? 0 : -ENOMEM;
}

/* The place of highest rank on its node speaks. Reports are out anyway where something pins. */
static bool outranked(const struct place_identity *id, const struct place *p)
{
	if (id->by_source[PLACE_API] == 0 || id->by_source[PLACE_FILE] == 0)
		return false;
	for (size_t i = 0; i < id->place_count; i++)
		if (id->places[i].node == p->node && id->places[i].source < p->source)
			return true;
	return false;
}

static int order_sites(const void *a, const void *b)
{
	const struct site *x = a, *y = b;

	return strcmp(x->name, y->name);
}

const struct site *views_site_at(const struct place_identity *id, const struct place_node *n)
{
	const struct site wanted = {.name = n->name};

	if (id->site_count == 0)
		return NULL;
	return bsearch(&wanted, id->sites, id->site_count, sizeof(*id->sites), order_sites);
}

static int collect_sites(struct views *v, const struct place_identity *id, struct sites *s)
{
	int r = 0;

	for (size_t i = 0; i < id->place_count && r == 0; i++) {
		const struct place *p = &id->places[i];

		if (views_check_stored(v, id, p, NULL) < 0 || outranked(id, p))
			continue;
		r = vec_grow(&s->at, &s->cap, s->count + 1, sizeof(*s->at), VIEWS_PLACES_MAX);
		if (r == 0)
			r = site_fill(&s->at[s->count++], v, p);
	}
	if (s->count > 0)
		qsort(s->at, s->count, sizeof(*s->at), order_sites);
	return r;
}

static bool same_site(const struct site *a, const struct site *b)
{
	return a && b &&
	       same_addresses(a->addresses, a->address_count, b->addresses, b->address_count);
}

static bool same_sites(const struct place_identity *id, const struct sites *s)
{
	if (id->site_count != s->count)
		return false;
	for (size_t i = 0; i < s->count; i++)
		if (id->sites[i].node != s->at[i].node || !same_site(&id->sites[i], &s->at[i]))
			return false;
	return true;
}

static void unhost(struct place_node *n, uint32_t identity)
{
	for (size_t i = 0; i < n->hosted_count; i++)
		if (n->hosted[i] == identity) {
			n->hosted[i] = n->hosted[--n->hosted_count];
			return;
		}
}

static int host(struct place_node *n, uint32_t identity)
{
	int r = vec_grow(&n->hosted, &n->hosted_cap, n->hosted_count + 1, sizeof(*n->hosted),
			 VIEWS_HOSTED_MAX);

	if (r == 0)
		n->hosted[n->hosted_count++] = identity;
	return r;
}

/*
 * The node that gained the identity, lost it, or has it at other addresses. Explicit addresses of
 * placements are addresses of the node, too.
 */
static int node_changed(struct views *v, const struct place_identity *id, uint32_t node, bool had,
			bool has)
{
	struct place_node *n = v->nodes[node];
	int r = 0;

	if (had && !has)
		unhost(n, id->at);
	if (has && !had)
		r = host(n, id->at);
	if (r < 0 || v->bulk)
		return r;
	r = views_touch(v, node);
	return r < 0 ? r : views_refresh_node(v, n);
}

static int put_in_force(struct views *v, struct place_identity *id, struct sites *s)
{
	struct place_identity old = {.sites = id->sites, .site_count = id->site_count};
	int r = 0;

	id->sites = s->at;
	id->site_count = s->count;
	id->site_cap = s->cap;
	*s = (struct sites){.at = old.sites, .count = old.site_count}; /* freed by the caller */
	for (size_t i = 0; i < old.site_count && r == 0; i++)
		if (!views_site_at(id, v->nodes[old.sites[i].node]))
			r = node_changed(v, id, old.sites[i].node, true, false);
	for (size_t i = 0; i < id->site_count && r == 0; i++) {
		const struct site *before = views_site_at(&old, v->nodes[id->sites[i].node]);

		if (!same_site(before, &id->sites[i]))
			r = node_changed(v, id, id->sites[i].node, before != NULL, true);
	}
	if (r == 0 && !v->bulk)
		r = views_touch_opposite(v, id->index);
	return r;
}

int views_refresh_identity(struct views *v, struct place_identity *id)
{
	struct sites s = {0};
	int r;

	r = v->policy ? collect_sites(v, id, &s) : 0;
	if (r == 0 && !same_sites(id, &s))
		r = put_in_force(v, id, &s);
	sites_free(s.at, s.count);
	return r;
}

static const struct place *place_in_force(const struct views *v, const struct place_identity *id,
					  uint32_t node)
{
	const struct place *found = NULL;

	for (size_t i = 0; i < id->place_count; i++) {
		const struct place *p = &id->places[i];

		if (p->node == node && (!found || p->source < found->source) &&
		    views_check_stored(v, id, p, NULL) == 0)
			found = p;
	}
	return found;
}

/* Where the node's site is, or would be. */
static size_t site_position(const struct place_identity *id, const struct place_node *n)
{
	size_t low = 0, high = id->site_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(id->sites[middle].name, n->name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* One comes, goes or is another; `take` may be NULL. */
static void site_put(struct place_identity *id, size_t at, bool had, struct site *take)
{
	size_t behind = id->site_count - at - (had ? 1 : 0);

	if (had) {
		free(id->sites[at].addresses);
		free(id->sites[at].json);
	}
	if (had != (take != NULL))
		memmove(&id->sites[at + (take ? 1 : 0)], &id->sites[at + (had ? 1 : 0)],
			behind * sizeof(*id->sites));
	if (take)
		id->sites[at] = *take;
	id->site_count = at + behind + (take ? 1 : 0);
}

int views_refresh_site(struct views *v, struct place_identity *id, uint32_t node)
{
	const struct place *p = v->policy ? place_in_force(v, id, node) : NULL;
	const struct site *before = views_site_at(id, v->nodes[node]);
	size_t at = site_position(id, v->nodes[node]);
	bool had = before != NULL;
	struct site s = {0};
	int r = 0;

	if (!p && !had)
		return 0;
	if (p)
		r = site_fill(&s, v, p);
	if (r == 0 && p && !had)
		r = vec_grow(&id->sites, &id->site_cap, id->site_count + 1, sizeof(*id->sites),
			     VIEWS_PLACES_MAX);
	if (r < 0 || (p && same_site(before, &s))) {
		free(s.addresses);
		free(s.json);
		return r;
	}
	site_put(id, at, had, p ? &s : NULL);
	r = node_changed(v, id, node, had, p != NULL);
	return r < 0 ? r : views_touch_opposite(v, id->index);
}

/* --- addresses ------------------------------------------------------------------------------- */

struct collected {
	struct addr *at;
	size_t count, cap;
};

static int collect(struct collected *c, const struct addr *a)
{
	int r;

	if (c->count >= COLLECTED_MAX)
		return 0;
	r = vec_grow(&c->at, &c->cap, c->count + 1, sizeof(*c->at), COLLECTED_MAX);
	if (r == 0)
		c->at[c->count++] = *a;
	return r;
}

static int collect_explicit(struct views *v, const struct place_node *n, struct collected *c)
{
	int r = 0;

	for (size_t i = 0; i < n->hosted_count && r == 0; i++) {
		const struct site *s = views_site_at(v->identities[n->hosted[i]], n);

		for (size_t k = 0; s && k < s->address_count && r == 0; k++)
			r = collect(c, &s->addresses[k]);
	}
	return r;
}

/* `{pattern: pay-1, addresses: [10.0.0.5]}` says where pay-1 is; a pattern or a range does not. */
static int collect_signed(const struct place_node *n, struct collected *c)
{
	int r = 0;

	for (size_t i = 0; i < n->bound_count; i++) {
		const struct node_bound *b = n->bounds[i];

		if (!str_eq(b->pattern, n->name))
			continue;
		for (size_t j = 0; j < b->address_count && r == 0; j++)
			if (b->addresses[j].len == addr_len(&b->addresses[j].addr) * 8)
				r = collect(c, &b->addresses[j].addr);
	}
	return r;
}

static int collect_addresses(struct views *v, const struct place_node *n, struct collected *c)
{
	int r = 0;

	if (n->shut)
		return 0;
	for (size_t i = 0; i < n->reported_count && r == 0; i++)
		if (views_address_ok(n, &n->reported[i]))
			r = collect(c, &n->reported[i]);
	if (r == 0)
		r = collect_explicit(v, n, c);
	if (r == 0)
		r = collect_signed(n, c);
	if (r < 0)
		return r;
	c->count = sort_unique(c->at, c->count);
	if (c->count > VIEW_ADDRESSES_MAX)
		c->count = VIEW_ADDRESSES_MAX;
	return 0;
}

int views_refresh_node(struct views *v, struct place_node *n)
{
	struct collected c = {0};
	char *json;
	int r;

	r = collect_addresses(v, n, &c);
	if (r < 0 || (n->json && same_addresses(n->addresses, n->address_count, c.at, c.count))) {
		free(c.at);
		return r;
	}
	json = views_addresses_json(c.at, c.count);
	if (!json) {
		free(c.at);
		return -ENOMEM;
	}
	free(n->addresses);
	free(n->json);
	n->addresses = c.at;
	n->address_count = c.count;
	n->json = json;
	return v->bulk ? 0 : views_touch_counterparts(v, n);
}
