/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/views.h"

#include "base/mem.h"
#include "base/text.h"
#include "controller/views_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_KEY_LEN 17 /* family and bytes */

const char *place_source_name(enum place_source source)
{
	switch (source) {
	case PLACE_API:
		return "api";
	case PLACE_FILE:
		return "file";
	case PLACE_REPORT:
		return "report";
	}
	return "";
}

/* --- life ------------------------------------------------------------------------------------ */

static void node_free(struct place_node *n)
{
	free(n->name);
	free(n->bounds);
	free(n->reported);
	free(n->addresses);
	free(n->json);
	free(n->hosted);
	free(n);
}

static void identity_free(struct place_identity *id)
{
	for (size_t i = 0; i < id->place_count; i++)
		free(id->places[i].addresses);
	free(id->places);
	views_sites_done(id);
	free(id->path);
	free(id);
}

struct views *views_new(void)
{
	struct views *v = mem_calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->node_by_name = map_new(VIEWS_NODES_MAX, NULL);
	v->identity_by_path = map_new(VIEWS_IDENTITIES_MAX, NULL);
	v->holders = map_new((size_t)VIEWS_NODES_MAX * VIEW_ADDRESSES_MAX, NULL);
	v->know_epoch = v->opposite_epoch = v->touch_epoch = v->list_epoch = 1;
	if (!v->node_by_name || !v->identity_by_path || !v->holders) {
		views_free(v);
		return NULL;
	}
	return v;
}

static void policy_done(struct views *v)
{
	views_bounds_done(v);
	freep(&v->placed_as);
	freep(&v->rank);
	freep(&v->by_rank);
	freep(&v->known_at);
	freep(&v->known_list_at);
	freep(&v->opposite_at);
	freep(&v->opposite_list_at);
	v->known_count = v->opposite_count = 0;
	v->policy = NULL;
}

void views_free(struct views *v)
{
	if (!v)
		return;
	policy_done(v);
	for (size_t i = 0; i < v->node_count; i++)
		node_free(v->nodes[i]);
	for (size_t i = 0; i < v->identity_count; i++)
		identity_free(v->identities[i]);
	free(v->nodes);
	free(v->identities);
	map_free(v->node_by_name);
	map_free(v->identity_by_path);
	map_free(v->holders);
	free(v->known);
	free(v->opposite);
	free(v->touched);
	free(v->listed);
	free(v);
}

void views_freep(struct views **v)
{
	views_free(*v);
	*v = NULL;
}

/* --- names ----------------------------------------------------------------------------------- */

uint32_t views_find_node(const struct views *v, const char *name)
{
	const struct place_node *n = map_get_str(v->node_by_name, name);

	return n ? n->at : VIEWS_NONE;
}

static int node_add(struct views *v, const char *name, struct place_node *n)
{
	int r;

	n->at = (uint32_t)v->node_count;
	n->name = mem_strdup(name);
	if (!n->name)
		return -ENOMEM;
	r = vec_grow(&v->nodes, &v->node_cap, v->node_count + 1, sizeof(*v->nodes),
		     VIEWS_NODES_MAX);
	if (r == 0)
		r = views_bounds_of(v, n);
	/* Single addresses of policy; nobody is concerned yet. */
	if (r == 0)
		r = views_refresh_node(v, n);
	if (r == 0)
		r = map_put_str(v->node_by_name, name, n);
	if (r == 0)
		v->nodes[v->node_count++] = n;
	return r;
}

uint32_t views_node(struct views *v, const char *name)
{
	uint32_t at = views_find_node(v, name);
	struct place_node *n;

	if (at != VIEWS_NONE || !node_name_ok(name))
		return at;
	n = mem_calloc(1, sizeof(*n));
	if (!n)
		return VIEWS_NONE;
	if (node_add(v, name, n) < 0) {
		node_free(n);
		return VIEWS_NONE;
	}
	return n->at;
}

const struct place_node *views_node_at(const struct views *v, uint32_t node)
{
	return v->nodes[node];
}

uint32_t views_node_count(const struct views *v)
{
	return (uint32_t)v->node_count;
}

const struct place_identity *views_find_identity(const struct views *v, const char *path)
{
	return map_get_str(v->identity_by_path, path);
}

const struct place_identity *views_identity_at(const struct views *v, uint32_t at)
{
	return at < v->identity_count ? v->identities[at] : NULL;
}

const struct policy *views_policy(const struct views *v)
{
	return v->policy;
}

static void identity_resolve(struct views *v, struct place_identity *id)
{
	const struct policy *p = v->policy;
	int index = p ? policy_find_identity(p, id->path) : -ENOENT;

	id->index = VIEWS_NONE;
	/* By path only: a name of policy may look like another one's path would not. */
	if (index >= 0 && str_eq(p->identities[index].path, id->path)) {
		id->index = (uint32_t)index;
		v->placed_as[index] = id->at;
	}
}

static int identity_add(struct views *v, const char *path, struct place_identity *id)
{
	int r;

	id->at = (uint32_t)v->identity_count;
	id->path = mem_strdup(path);
	if (!id->path)
		return -ENOMEM;
	r = vec_grow(&v->identities, &v->identity_cap, v->identity_count + 1,
		     sizeof(*v->identities), VIEWS_IDENTITIES_MAX);
	if (r == 0)
		r = map_put_str(v->identity_by_path, path, id);
	if (r < 0)
		return r;
	v->identities[v->identity_count++] = id;
	identity_resolve(v, id);
	return 0;
}

static int identity_get(struct views *v, const char *path, struct place_identity **ret)
{
	struct place_identity *id = map_get_str(v->identity_by_path, path);
	int r;

	if (!id) {
		id = mem_calloc(1, sizeof(*id));
		if (!id)
			return -ENOMEM;
		r = identity_add(v, path, id);
		if (r < 0) {
			identity_free(id);
			return r;
		}
	}
	*ret = id;
	return 0;
}

/* --- another policy -------------------------------------------------------------------------- */

struct named {
	const char *path;
	uint32_t index;
};

static int by_path(const void *a, const void *b)
{
	const struct named *x = a, *y = b;

	return strcmp(x->path, y->path);
}

static int rank_identities(struct views *v, const struct policy *p)
{
	CLEANUP(freep) struct named *names = mem_calloc(p->identity_count, sizeof(*names));

	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < p->identity_count; i++)
		names[i] = (struct named){p->identities[i].path, (uint32_t)i};
	if (p->identity_count > 0)
		qsort(names, p->identity_count, sizeof(*names), by_path);
	for (size_t i = 0; i < p->identity_count; i++) {
		v->by_rank[i] = names[i].index;
		v->rank[names[i].index] = (uint32_t)i;
		v->placed_as[i] = VIEWS_NONE;
	}
	return 0;
}

static int policy_take(struct views *v, const struct policy *p)
{
	size_t n = p->identity_count;

	v->placed_as = mem_calloc(n, sizeof(*v->placed_as));
	v->rank = mem_calloc(n, sizeof(*v->rank));
	v->by_rank = mem_calloc(n, sizeof(*v->by_rank));
	v->known_at = mem_calloc(n, sizeof(*v->known_at));
	v->opposite_at = mem_calloc(n, sizeof(*v->opposite_at));
	v->known_list_at = mem_calloc(p->list_count, sizeof(*v->known_list_at));
	v->opposite_list_at = mem_calloc(p->list_count, sizeof(*v->opposite_list_at));
	if (!v->placed_as || !v->rank || !v->by_rank || !v->known_at || !v->opposite_at ||
	    !v->known_list_at || !v->opposite_list_at)
		return -ENOMEM;
	v->policy = p;
	return rank_identities(v, p);
}

int views_set_policy(struct views *v, const struct policy *policy)
{
	int r;

	/* What was in force under the old one is dropped without touching anybody. */
	policy_done(v);
	for (size_t i = 0; i < v->identity_count; i++)
		views_sites_done(v->identities[i]);
	for (size_t i = 0; i < v->node_count; i++)
		v->nodes[i]->hosted_count = 0;
	v->bulk = true;
	r = policy ? policy_take(v, policy) : 0;
	if (r == 0)
		r = views_bounds_set(v);
	for (size_t i = 0; i < v->identity_count && r == 0; i++)
		identity_resolve(v, v->identities[i]);
	for (size_t i = 0; i < v->identity_count && r == 0; i++)
		r = views_refresh_identity(v, v->identities[i]);
	for (size_t i = 0; i < v->node_count && r == 0; i++)
		r = views_refresh_node(v, v->nodes[i]);
	v->bulk = false;
	return r;
}

/* --- changes --------------------------------------------------------------------------------- */

static struct place *place_find(struct place_identity *id, uint32_t node, enum place_source source)
{
	for (size_t i = 0; i < id->place_count; i++)
		if (id->places[i].node == node && id->places[i].source == source)
			return &id->places[i];
	return NULL;
}

static int addresses_copy(const struct addr *addresses, size_t count, struct addr **ret)
{
	struct addr *copy;

	if (count > VIEW_ADDRESSES_MAX)
		return -E2BIG;
	copy = mem_calloc(count, sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	if (count > 0)
		memcpy(copy, addresses, count * sizeof(*copy));
	*ret = copy;
	return 0;
}

bool views_pinned(const struct place_identity *id)
{
	return id->by_source[PLACE_API] + id->by_source[PLACE_FILE] > 0;
}

/* An identity may be on every node there is: one of them is not worked out by way of all. */
static int refresh(struct views *v, struct place_identity *id, uint32_t node, bool was_pinned)
{
	return views_pinned(id) == was_pinned ? views_refresh_site(v, id, node)
					      : views_refresh_identity(v, id);
}

int views_place(struct views *v, const char *path, const char *node, enum place_source source,
		const struct addr *addresses, size_t count)
{
	CLEANUP(freep) struct addr *copy = NULL;
	struct place_identity *id;
	struct place *p;
	uint32_t at = views_node(v, node);
	bool pinned;
	int r;

	if (at == VIEWS_NONE)
		return v->node_count >= VIEWS_NODES_MAX ? -E2BIG : -ENOMEM;
	r = identity_get(v, path, &id);
	if (r == 0)
		r = addresses_copy(addresses, count, &copy);
	if (r < 0)
		return r;
	pinned = views_pinned(id);
	p = place_find(id, at, source);
	if (!p) {
		r = vec_grow(&id->places, &id->place_cap, id->place_count + 1, sizeof(*id->places),
			     VIEWS_PLACES_MAX);
		if (r < 0)
			return r;
		p = &id->places[id->place_count++];
		*p = (struct place){.source = source, .node = at};
		id->by_source[source]++;
	}
	free(p->addresses);
	p->addresses = TAKE_PTR(copy);
	p->address_count = count;
	return refresh(v, id, at, pinned);
}

int views_unplace(struct views *v, const char *path, const char *node, enum place_source source)
{
	struct place_identity *id = map_get_str(v->identity_by_path, path);
	uint32_t at = views_find_node(v, node);
	struct place *p = id && at != VIEWS_NONE ? place_find(id, at, source) : NULL;
	bool pinned = id && views_pinned(id);

	if (!p)
		return 0;
	free(p->addresses);
	*p = id->places[--id->place_count];
	id->by_source[source]--;
	return refresh(v, id, at, pinned);
}

static void holder_key(const struct addr *a, uint8_t key[ADDRESS_KEY_LEN])
{
	memset(key, 0, ADDRESS_KEY_LEN);
	key[0] = a->family;
	memcpy(key + 1, a->bytes, addr_len(a));
}

static void let_go(struct views *v, struct place_node *n)
{
	uint8_t key[ADDRESS_KEY_LEN];

	for (size_t i = 0; i < n->reported_count; i++) {
		holder_key(&n->reported[i], key);
		if (map_get(v->holders, key, sizeof(key)) == n)
			(void)map_del(v->holders, key, sizeof(key));
	}
	n->reported_count = 0;
}

static bool same_attest(const struct place_node *n, const struct views_attest *a)
{
	return n->has_attest == a->present &&
	       (!a->present ||
		(addr_eq(&n->attest_address, &a->address) && n->attest_port == a->port));
}

static void drop_reported(struct place_node *n, const struct addr *a)
{
	n->losses++;
	for (size_t i = 0; i < n->reported_count; i++)
		if (addr_eq(&n->reported[i], a)) {
			n->reported[i] = n->reported[--n->reported_count];
			return;
		}
}

/*
 * An address is first the one's whom signed policy gives it, then the one's who said so first and
 * is alive. Else any node could keep any other out of all views, by reporting its address.
 */
static bool keeps(const struct place_node *holder, const struct place_node *other,
		  const struct addr *a, int64_t now)
{
	bool his = views_address_ok(holder, a), others = views_address_ok(other, a);

	if (holder->shut)
		return false;
	return his == others ? now - holder->reported_at <= REPORT_HOLD_S : his;
}

bool views_may_have(const struct views *v, uint32_t node, const struct addr *a, int64_t now)
{
	const struct place_node *n = v->nodes[node], *holder;
	uint8_t key[ADDRESS_KEY_LEN];

	holder_key(a, key);
	holder = map_get(v->holders, key, sizeof(key));
	return views_address_ok(n, a) && (!holder || holder == n || !keeps(holder, n, a, now));
}

/* 1: this node holds the address now; 0: another does. */
static int take_address(struct views *v, struct place_node *n, const struct addr *a, int64_t now)
{
	uint8_t key[ADDRESS_KEY_LEN];
	struct place_node *holder;
	int r;

	holder_key(a, key);
	holder = map_get(v->holders, key, sizeof(key));
	if (holder && holder != n && keeps(holder, n, a, now))
		return 0;
	r = map_put(v->holders, key, sizeof(key), n);
	if (r < 0)
		return r;
	n->reported[n->reported_count++] = *a;
	if (holder && holder != n) {
		drop_reported(holder, a);
		r = views_refresh_node(v, holder);
	}
	return r < 0 ? r : 1;
}

static int take_addresses(struct views *v, struct place_node *n, const struct addr *addresses,
			  size_t count, int64_t now)
{
	n->contested = 0;
	for (size_t i = 0; i < count; i++) {
		int r = take_address(v, n, &addresses[i], now);

		if (r < 0)
			return r;
		n->contested += r == 0;
	}
	return 0;
}

/* Everybody who talks to somebody here has this node in his view. */
int views_touch_counterparts(struct views *v, const struct place_node *n)
{
	int r = 0;

	for (size_t i = 0; i < n->hosted_count && r == 0; i++)
		r = views_touch_opposite(v, v->identities[n->hosted[i]]->index);
	return r;
}

int views_report(struct views *v, uint32_t node, const struct addr *addresses, size_t count,
		 const struct views_attest *attest, int64_t now)
{
	struct place_node *n = v->nodes[node];
	struct addr *copy;
	int r;

	r = addresses_copy(addresses, count, &copy);
	if (r < 0)
		return r;
	let_go(v, n);
	free(n->reported);
	n->reported = copy;
	n->reported_at = now;
	r = take_addresses(v, n, addresses, count, now);
	if (r == 0 && !same_attest(n, attest)) {
		n->has_attest = attest->present;
		n->attest_address = attest->address;
		n->attest_port = attest->port;
		r = views_touch_counterparts(v, n);
	}
	return r < 0 ? r : views_refresh_node(v, n);
}

static bool placed_at(const struct place_identity *id, uint32_t node)
{
	for (size_t i = 0; i < id->place_count; i++)
		if (id->places[i].node == node)
			return true;
	return false;
}

int views_shut(struct views *v, uint32_t node, bool shut)
{
	struct place_node *n = v->nodes[node];
	int r = 0;

	if (n->shut == shut)
		return 0;
	n->shut = shut;
	for (size_t i = 0; i < v->identity_count && r == 0; i++)
		if (placed_at(v->identities[i], node))
			r = views_refresh_identity(v, v->identities[i]);
	return r < 0 ? r : views_refresh_node(v, n);
}

/* --- who is concerned ------------------------------------------------------------------------ */

int views_touch(struct views *v, uint32_t node)
{
	struct place_node *n = v->nodes[node];
	int r;

	if (n->touched == v->touch_epoch)
		return 0;
	r = vec_grow(&v->touched, &v->touched_cap, v->touched_count + 1, sizeof(*v->touched),
		     VIEWS_NODES_MAX);
	if (r < 0)
		return r;
	n->touched = v->touch_epoch;
	v->touched[v->touched_count++] = node;
	return 0;
}

void views_untouch(struct views *v)
{
	v->touch_epoch++;
	v->touched_count = 0;
}

const uint32_t *views_touched(const struct views *v, size_t *ret_count)
{
	*ret_count = v->touched_count;
	return v->touched;
}

void views_touch_all(struct views *v)
{
	for (size_t i = 0; i < v->node_count; i++)
		(void)views_touch(v, (uint32_t)i);
}

static int touch_sites(struct views *v, uint32_t policy_index)
{
	uint32_t at = v->placed_as[policy_index];
	const struct place_identity *id = at != VIEWS_NONE ? v->identities[at] : NULL;
	int r = 0;

	for (size_t i = 0; id && i < id->site_count && r == 0; i++)
		r = views_touch(v, id->sites[i].node);
	return r;
}

static int opposite_list(struct views *v, uint32_t list)
{
	const struct party_list *l = &v->policy->lists[list];

	if (v->opposite_list_at[list] == v->opposite_epoch)
		return 0;
	v->opposite_list_at[list] = v->opposite_epoch;
	for (size_t i = 0; i < l->count; i++) {
		uint32_t index = l->parties[i].index;
		int r;

		if (l->parties[i].kind != PARTY_IDENTITY ||
		    v->opposite_at[index] == v->opposite_epoch)
			continue;
		v->opposite_at[index] = v->opposite_epoch;
		r = vec_grow(&v->opposite, &v->opposite_cap, v->opposite_count + 1,
			     sizeof(*v->opposite), POLICY_IDENTITIES_MAX);
		if (r < 0)
			return r;
		v->opposite[v->opposite_count++] = index;
	}
	return 0;
}

int views_opposite(struct views *v, uint32_t policy_index)
{
	const struct party_ref party = {PARTY_IDENTITY, policy_index};
	struct rule_iter it;
	uint32_t rule;
	int r = 0;

	v->opposite_epoch++;
	v->opposite_count = 0;
	policy_rules_from(v->policy, party, &it);
	while (r == 0 && policy_next_rule(v->policy, &it, &rule))
		r = opposite_list(v, v->policy->rules[rule].to_list);
	policy_rules_to(v->policy, party, &it);
	while (r == 0 && policy_next_rule(v->policy, &it, &rule))
		r = opposite_list(v, v->policy->rules[rule].from_list);
	return r;
}

int views_touch_opposite(struct views *v, uint32_t policy_index)
{
	int r;

	if (!v->policy || policy_index == VIEWS_NONE)
		return 0;
	r = views_opposite(v, policy_index);
	for (size_t i = 0; i < v->opposite_count && r == 0; i++)
		r = touch_sites(v, v->opposite[i]);
	return r;
}

int views_touch_identity(struct views *v, uint32_t policy_index)
{
	int r = views_touch_opposite(v, policy_index);

	if (r < 0 || !v->policy || policy_index == VIEWS_NONE)
		return r;
	return touch_sites(v, policy_index);
}

static int touch_parties(struct views *v, const struct party_ref *parties, size_t count)
{
	int r = 0;

	for (size_t i = 0; i < count && r == 0; i++)
		if (parties[i].kind == PARTY_IDENTITY)
			r = touch_sites(v, parties[i].index);
	return r;
}

int views_touch_rule(struct views *v, uint32_t rule)
{
	const struct rule *u = &v->policy->rules[rule];
	int r;

	r = touch_parties(v, u->from_parties, u->from_party_count);
	return r < 0 ? r : touch_parties(v, u->to_parties, u->to_party_count);
}
