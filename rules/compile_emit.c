/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Hits of one pass become conduits: those with the same far end, service and cover are one. Its
 * number is looked up under a name that holds everything the number stands for.
 */
#include "rules/compile_parts.h"

#include "base/mem.h"
#include "rules/marks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define PARTIES_MAX   2000000
#define RECEIVERS_MAX 8000000
#define OWNERS_MAX    65536

/* --- order ----------------------------------------------------------------------------------- */

static int order_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int group_cmp(const struct hit *a, const struct hit *b)
{
	int order = (int)a->party_type - (int)b->party_type;

	if (order == 0)
		order = order_u64(a->subject, b->subject);
	if (order == 0)
		order = order_u64(a->node, b->node);
	if (order == 0)
		order = service_cmp(&a->service, &b->service);
	return order != 0 ? order : order_u64(a->cover, b->cover);
}

static int hit_cmp(const void *x, const void *y)
{
	const struct hit *a = x, *b = y;
	int order = group_cmp(a, b);

	if (order == 0)
		order = addr_cmp(&a->first, &b->first);
	return order != 0 ? order : order_u64(a->port_first, b->port_first);
}

/* --- names ----------------------------------------------------------------------------------- */

static void name_party(struct compile *c, uint32_t party)
{
	const struct party *p = &c->g->parties[party];

	switch ((enum party_type)p->type) {
	case PARTY_TYPE_IDENTITY:
		buf_printf(&c->name, "identity %s at %s", p->identity, p->node);
		return;
	case PARTY_TYPE_NODE:
		buf_printf(&c->name, "node %s", p->node);
		return;
	case PARTY_TYPE_NETWORK:
		buf_printf(&c->name, "network %s", p->name);
		return;
	case PARTY_TYPE_UNCLAIMED:
		buf_puts(&c->name, "unclaimed");
		return;
	}
}

static void name_addr(struct buf *b, const struct addr *a)
{
	char hex[2 * sizeof(a->bytes) + 1];

	hex_format(a->bytes, addr_len(a), hex);
	buf_puts(b, hex);
}

/* This host's own addresses are not in the name: at loopback the receiver itself is checked. */
static void name_hit(struct buf *b, const struct hit *h)
{
	buf_putc(b, ' ');
	if (h->first.family != 0) {
		name_addr(b, &h->first);
		if (!addr_eq(&h->first, &h->last)) {
			buf_putc(b, '-');
			name_addr(b, &h->last);
		}
	}
	buf_printf(b, ":%u-%u", h->port_first, h->port_last);
}

static void name_begin(struct compile *c, const char *what, uint32_t from, uint32_t to,
		       const struct service *service)
{
	char text[SERVICE_TEXT_MAX];

	c->name.len = 0;
	buf_printf(&c->name, "%s ", what);
	name_party(c, from);
	buf_puts(&c->name, " > ");
	name_party(c, to);
	buf_printf(&c->name, " %s", service_format(text, service));
}

/* --- elements -------------------------------------------------------------------------------- */

int compile_element(struct compile *c, enum set_kind kind, const struct key *key,
		    const struct key *end, uint32_t number)
{
	uint8_t record[2 * SET_KEY_MAX + sizeof(uint64_t)] = {0};
	struct set_items *s = ruleset_set(c->g->classify, (struct set_ref){.kind = (uint8_t)kind});
	size_t key_len = set_key_len(kind);

	if (!s)
		return compile_no_memory(c);
	memcpy(record, key->bytes, key_len);
	if (set_spec(kind)->interval)
		memcpy(record + key_len, end->bytes, key_len);
	if (set_spec(kind)->value == VALUE_MARK)
		memcpy(record + set_value_offset(kind), &number, sizeof(number));
	return set_items_add(s, record) < 0 ? compile_no_memory(c) : 0;
}

/* Rows of set kinds: each has one set for IPv4 and one for IPv6, in this order. */
static enum set_kind kind_of(const struct pass *p, const struct hit *h, uint8_t family)
{
	enum { ROW_EXACT, ROW_ANY, ROW_NET, ROW_ECHO, ROW_ECHO_NET } row = ROW_EXACT;
	unsigned base = p->kind == PASS_IN || p->kind == PASS_IN_ECHO ? SET_IN4 : SET_OUT4;

	if (service_is_echo(&h->service))
		row = h->mode == HIT_NET ? ROW_ECHO_NET : ROW_ECHO;
	else if (h->mode != HIT_EXACT)
		row = h->mode == HIT_ANY ? ROW_ANY : ROW_NET;
	return (enum set_kind)(base + 2U * row + (family == AF_INET6));
}

static enum set_kind essential_kind_of(const struct pass *p, uint8_t family)
{
	switch (p->direction) {
	case ESSENTIAL_OUT:
		return family == AF_INET6 ? SET_ESSENTIAL_OUT6 : SET_ESSENTIAL_OUT4;
	case ESSENTIAL_IN:
		return family == AF_INET6 ? SET_ESSENTIAL_IN6 : SET_ESSENTIAL_IN4;
	case ESSENTIAL_KERNEL:
		return SET_ESSENTIAL_KERNEL;
	}
	return SET_ESSENTIAL_KERNEL;
}

static void make_key(const struct pass *p, const struct hit *h, const struct addr *a, uint16_t port,
		     struct key *k)
{
	key_init(k);
	if (p->local != NO_INDEX)
		key_u32(k, p->c->g->locals[p->local].mark);
	if (a->family != 0)
		key_addr(k, a);
	if (service_is_echo(&h->service)) {
		key_u8(k, service_icmp_type(&h->service));
		return;
	}
	key_u8(k, service_l4proto(&h->service));
	if (h->mode != HIT_ANY)
		key_port(k, port);
}

static int write_rectangle(struct pass *p, const struct hit *h, const struct addr *first,
			   const struct addr *last, uint32_t number)
{
	enum set_kind kind = p->kind == PASS_ESSENTIAL ? essential_kind_of(p, first->family)
						       : kind_of(p, h, first->family);
	struct key key, end;

	make_key(p, h, first, h->port_first, &key);
	make_key(p, h, last, h->port_last, &end);
	return compile_element(p->c, kind, &key, &end, number);
}

/*
 * No network means this host itself: a rule to 0.0.0.0/0 does not open its neighbours on the same
 * host, whose identities loopback conduits name. At ingress the maps are asked about answers on
 * loopback too: one from 0.0.0.0/0 must not give them a conduit whose ends their caller is not
 * among.
 */
static int write_network(struct pass *p, const struct hit *h, uint32_t number)
{
	bool holes = p->kind == PASS_OUT || p->kind == PASS_IN;
	struct addr at = h->first, before;
	int r = 0;

	for (size_t i = 0; holes && i < p->c->hole_count && r == 0; i++) {
		const struct hole *hole = &p->c->holes[i];

		if (addr_cmp(&hole->last, &at) < 0)
			continue;
		if (hole->first.family != at.family || addr_cmp(&hole->first, &h->last) > 0)
			break;
		before = compile_addr_previous(&hole->first);
		if (addr_cmp(&hole->first, &at) > 0)
			r = write_rectangle(p, h, &at, &before, number);
		if (!compile_addr_next(&hole->last, &at) || addr_cmp(&at, &h->last) > 0)
			return r;
	}
	return r < 0 ? r : write_rectangle(p, h, &at, &h->last, number);
}

static int write_host(struct pass *p, const struct hit *h, const struct addr *a, uint32_t number)
{
	enum set_kind kind = kind_of(p, h, a->family);
	uint32_t last = h->mode == HIT_ANY ? h->port_first : h->port_last;
	struct key key;
	int r = 0;

	if (h->mode == HIT_NET)
		return write_rectangle(p, h, a, a, number);
	for (uint32_t port = h->port_first; port <= last && r == 0; port++) {
		make_key(p, h, a, (uint16_t)port, &key);
		r = compile_element(p->c, kind, &key, NULL, number);
	}
	return r;
}

static int write_here(struct pass *p, const struct hit *h, uint32_t number)
{
	const struct compile *c = p->c;
	int r = 0;

	for (size_t i = 0; i < c->own_count && r == 0; i++) {
		bool v6 = c->own[i].family == AF_INET6;

		if (service_is_echo(&h->service) && v6 != (h->service.kind == SERVICE_ICMPV6_ECHO))
			continue;
		r = write_host(p, h, &c->own[i], number);
	}
	return r;
}

static int write_hit(struct pass *p, const struct hit *h, uint32_t number)
{
	if (p->kind == PASS_ESSENTIAL)
		return write_rectangle(p, h, &h->first, &h->last, number);
	if (h->first.family == 0)
		return write_here(p, h, number);
	return h->mode == HIT_NET ? write_network(p, h, number)
				  : write_host(p, h, &h->first, number);
}

void pass_name_group(struct compile *c, const char *what, const struct conduit *conduit,
		     const struct hit *hits, size_t count)
{
	name_begin(c, what, conduit->from, conduit->to, &conduit->service);
	for (size_t i = 0; i < count; i++)
		name_hit(&c->name, &hits[i]);
}

static int write_mark(struct compile *c, enum set_kind kind, uint32_t number)
{
	struct key key;

	key_init(&key);
	key_u32(&key, number);
	return compile_element(c, kind, &key, NULL, 0);
}

/* --- conduits -------------------------------------------------------------------------------- */

int compile_conduit(struct compile *c, const char *name, const struct conduit *like,
		    uint32_t *ret_number)
{
	struct generation *g = c->g;
	struct number_key key;
	int r;

	number_key_of(name, &key);
	r = numbers_get(c->numbers, &key, ret_number);
	if (r == -ENOSPC)
		return err_set(c->err, ENOSPC,
			       "all conduit numbers are in use; fewer conduits, or "
			       "conntrack entries that end, would free some");
	if (r < 0)
		return compile_no_memory(c);
	if (vec_grow(&g->conduits, &g->conduit_cap, g->conduit_count + 1, sizeof(*g->conduits),
		     CONDUITS_MAX) < 0)
		return g->conduit_count >= CONDUITS_MAX
			       ? err_set(c->err, E2BIG, "policy makes more than %d conduits",
					 CONDUITS_MAX)
			       : compile_no_memory(c);
	g->conduits[g->conduit_count] = *like;
	g->conduits[g->conduit_count++].number = *ret_number;
	return 0;
}

int compile_add_lease(struct compile *c, uint32_t mark, uint8_t verdict, int64_t end)
{
	struct generation *g = c->g;

	if (verdict != LIVE_LEASED && verdict != LIVE_LEASED_WATCHED)
		return 0;
	if (vec_grow(&g->leases, &g->lease_cap, g->lease_count + 1, sizeof(*g->leases),
		     CONDUITS_MAX) < 0)
		return compile_no_memory(c);
	g->leases[g->lease_count++] = (struct lease){.number = mark, .end = {.s = end}};
	return 0;
}

static int add_receivers(struct pass *p, uint32_t first, uint32_t count, uint32_t number)
{
	const struct place *place = &p->c->real;
	struct generation *g = p->c->g;

	for (uint32_t i = 0; i < count; i++) {
		const struct far_end *s = &p->c->subjects[p->list[first + i]];
		uint32_t local = place->local_of[name_index_find(&place->paths, s->key)];

		if (vec_grow(&g->receivers, &g->receiver_cap, g->receiver_count + 1,
			     sizeof(*g->receivers), RECEIVERS_MAX) < 0)
			return compile_no_memory(p->c);
		g->receivers[g->receiver_count++] =
			(struct receiver){.number = number, .mark = g->locals[local].mark};
	}
	return 0;
}

/* Everybody may use an essential that one entry gives to everybody. */
static int add_owners(struct pass *p, const struct hit *h, uint32_t number)
{
	const struct essentials *all = p->c->in->essentials;
	struct generation *g = p->c->g;

	for (uint32_t i = 0; i < h->list_count; i++)
		if (all->entries[p->list[h->list_first + i]].by_count == 0)
			return write_mark(p->c, SET_NODE_CONDUITS, number);
	for (uint32_t i = 0; i < h->list_count; i++) {
		const struct essential *e = &all->entries[p->list[h->list_first + i]];

		for (size_t j = 0; j < e->by_count; j++) {
			char *unit = generation_text(g, e->by[j]);

			if (!unit || vec_grow(&g->owners, &g->owner_cap, g->owner_count + 1,
					      sizeof(*g->owners), OWNERS_MAX) < 0)
				return compile_no_memory(p->c);
			g->owners[g->owner_count++] =
				(struct essential_owner){.number = number, .unit = unit};
		}
	}
	return write_mark(p->c, SET_ESSENTIAL_OWNED, number);
}

/* Each live element may end by itself. */
static int add_leases(struct compile *c, uint32_t number, const struct hit *h)
{
	int r = compile_add_lease(c, number, h->outcome.verdict, h->outcome.end);

	if (r == 0)
		r = compile_add_lease(c, number | MARK_VOUCHED, h->vouched.verdict, h->vouched.end);
	return r < 0 ? r
		     : compile_add_lease(c, number | MARK_UNAVAILABLE, h->unavailable.verdict,
					 h->unavailable.end);
}

static const char *pass_name(const struct pass *p)
{
	switch (p->kind) {
	case PASS_OUT:
		return "out";
	case PASS_LOOPBACK:
		return "loopback";
	case PASS_IN:
		return "in";
	case PASS_IN_ECHO:
		return "in-echo";
	case PASS_ESSENTIAL:
		return p->direction == ESSENTIAL_OUT  ? "essential-out"
		       : p->direction == ESSENTIAL_IN ? "essential-in"
						      : "essential-kernel";
	}
	return "";
}

static uint8_t pass_flags(const struct pass *p)
{
	switch (p->kind) {
	case PASS_OUT:
		return CONDUIT_OUT;
	case PASS_LOOPBACK:
		return CONDUIT_OUT | CONDUIT_LOOPBACK;
	case PASS_IN:
	case PASS_IN_ECHO:
		return CONDUIT_IN;
	case PASS_ESSENTIAL:
		return CONDUIT_ESSENTIAL |
		       (p->direction == ESSENTIAL_IN    ? CONDUIT_IN
			: p->direction == ESSENTIAL_OUT ? CONDUIT_OUT
							: CONDUIT_OUT | CONDUIT_IN);
	}
	return 0;
}

static uint8_t flags_of(const struct pass *p, const struct hit *h)
{
	unsigned flags = pass_flags(p);

	flags |= h->outcome.observed ? CONDUIT_OBSERVED : 0U;
	flags |= h->asked ? CONDUIT_ASKED : 0U;
	flags |= h->watched ? CONDUIT_ASK_WATCHED : 0U;
	flags |= h->asks && p->kind == PASS_OUT ? CONDUIT_CALLEE : 0U;
	return (uint8_t)flags;
}

static int find_parties(struct pass *p, const struct hit *h, struct conduit *conduit)
{
	struct compile *c = p->c;
	bool from_here = (pass_flags(p) & CONDUIT_OUT) != 0;
	uint32_t here = 0, there = 0;
	int r;

	r = p->local != NO_INDEX ? compile_local_party(c, p->local, &here)
				 : compile_party(c, PARTY_TYPE_NODE, NO_INDEX, NODE_HERE, &here);
	if (r == 0)
		r = compile_party(c, p->kind == PASS_ESSENTIAL ? PARTY_TYPE_NETWORK : h->party_type,
				  p->kind == PASS_ESSENTIAL ? SUBJECT_ESSENTIAL : h->subject,
				  p->kind == PASS_ESSENTIAL ? NO_INDEX : h->node, &there);
	conduit->from = from_here ? here : there;
	conduit->to = from_here ? there : here;
	return r;
}

/* What of the service the group really has: less, where a part of it is another conduit. */
static struct service group_service(const struct hit *hits, size_t count)
{
	struct service s = hits[0].service;
	uint16_t first = hits[0].port_first, last = hits[0].port_last;

	if (service_is_echo(&s) || service_is_any(&s))
		return s;
	for (size_t i = 1; i < count; i++) {
		first = hits[i].port_first < first ? hits[i].port_first : first;
		last = hits[i].port_last > last ? hits[i].port_last : last;
	}
	s.first = first;
	s.last = last;
	return s;
}

static void name_called(struct pass *p, const struct conduit *conduit, const struct hit *hits,
			size_t count, uint64_t called)
{
	pass_name_group(p->c, pass_name(p), conduit, hits, count);
	if (called != 0)
		buf_printf(&p->c->name, " called %016" PRIx64, called);
}

/* The same under the other policy's number. */
static int emit_other(struct pass *p, const struct hit *hits, size_t count,
		      const struct conduit *like)
{
	const struct other_called *other = &p->others[hits[0].other - 1];
	const struct outcome *o = &other->outcome;
	struct conduit conduit = *like;
	uint32_t number = 0;
	int r;

	conduit.rule = o->rule;
	conduit.verdict = o->verdict;
	conduit.assurance = o->assurance;
	conduit.flags = (uint8_t)(pass_flags(p) | (o->observed ? CONDUIT_OBSERVED : 0));
	conduit.of_other = true;
	r = compile_party(p->c, PARTY_TYPE_IDENTITY, other->subject, NODE_HERE, &conduit.to);
	if (r < 0)
		return r;
	name_called(p, &conduit, hits, count, other->called);
	if (p->c->name.r < 0)
		return compile_no_memory(p->c);
	r = compile_conduit(p->c, p->c->name.data, &conduit, &number);
	if (r == 0)
		r = compile_add_lease(p->c, number, o->verdict, o->end);
	return r < 0 ? r : add_receivers(p, other->list_first, other->list_count, number);
}

static int emit_group(struct pass *p, const struct hit *hits, size_t count)
{
	const struct outcome *o = &hits[0].outcome;
	struct compile *c = p->c;
	struct conduit conduit = {
		.service = group_service(hits, count),
		.rule = o->rule,
		.verdict = o->verdict,
		.vouched = hits[0].vouched.verdict,
		.unavailable = hits[0].unavailable.verdict,
		.assurance = o->assurance,
		.flags = flags_of(p, &hits[0]),
	};
	uint32_t number = 0;
	int r;

	r = find_parties(p, &hits[0], &conduit);
	if (r < 0)
		return r;
	name_called(p, &conduit, hits, count, hits[0].called);
	for (uint32_t i = 0; p->kind == PASS_ESSENTIAL && i < hits[0].list_count; i++) {
		const struct essential *e =
			&c->in->essentials->entries[p->list[hits[0].list_first + i]];

		for (size_t j = 0; j < e->by_count; j++)
			buf_printf(&c->name, " by %s", e->by[j]);
	}
	if (c->name.r < 0)
		return compile_no_memory(c);
	r = compile_conduit(c, c->name.data, &conduit, &number);
	for (size_t i = 0; i < count && r == 0; i++)
		r = write_hit(p, &hits[i], number);
	if (r == 0)
		r = add_leases(c, number, &hits[0]);
	if (r == 0 && hits[0].asked)
		r = pass_emit_vouchees(p, hits, count, number, &conduit);
	if (r == 0 && p->kind == PASS_LOOPBACK)
		r = add_receivers(p, hits[0].list_first, hits[0].list_count, number);
	if (r == 0 && hits[0].other != 0)
		r = emit_other(p, hits, count, &conduit);
	if (r == 0 && p->kind == PASS_ESSENTIAL)
		r = add_owners(p, &hits[0], number);
	if (r == 0 && p->kind == PASS_IN_ECHO)
		r = write_mark(c, SET_NODE_CONDUITS, number);
	return r;
}

int pass_emit(struct pass *p)
{
	size_t first = 0;
	int r = 0;

	sort_items(p->hits, p->hit_count, sizeof(*p->hits), hit_cmp);
	while (first < p->hit_count && r == 0) {
		size_t last = first + 1;

		while (last < p->hit_count && group_cmp(&p->hits[first], &p->hits[last]) == 0)
			last++;
		r = emit_group(p, &p->hits[first], last - first);
		first = last;
	}
	return r;
}

/* --- parties --------------------------------------------------------------------------------- */

struct party_slot {
	uint64_t key;
	uint32_t party; /* plus one; 0 = free */
};

#define PARTY_SLOTS_MIN 256

static size_t slot_of(const struct party_slot *slots, size_t count, uint64_t key)
{
	size_t at = (size_t)(key * 0x9e3779b97f4a7c15U >> 32) & (count - 1);

	while (slots[at].party != 0 && slots[at].key != key)
		at = (at + 1) & (count - 1);
	return at;
}

static int grow_slots(struct compile *c)
{
	size_t count = c->party_slot_count > 0 ? 2 * c->party_slot_count : PARTY_SLOTS_MIN;
	struct party_slot *slots;

	if (c->g->party_count + 1 < c->party_slot_count / 4 * 3)
		return 0;
	slots = mem_calloc(count, sizeof(*slots));
	if (!slots)
		return compile_no_memory(c);
	for (size_t i = 0; i < c->party_slot_count; i++)
		if (c->party_slots[i].party != 0)
			slots[slot_of(slots, count, c->party_slots[i].key)] = c->party_slots[i];
	free(c->party_slots);
	c->party_slots = slots;
	c->party_slot_count = count;
	return 0;
}

static char *node_text(struct compile *c, uint32_t node)
{
	if (node == NO_INDEX)
		return NULL;
	if (node == NODE_HERE)
		return c->node_here;
	if (!c->node_texts[node])
		c->node_texts[node] = generation_text(c->g, c->nodes[node]);
	return c->node_texts[node];
}

/* Names are the generation's own: it outlives policy and view. */
static bool fill_party(struct compile *c, uint32_t subject, uint32_t node, struct party *p)
{
	struct far_end *s;

	p->node = node_text(c, node);
	if (node != NO_INDEX && !p->node)
		return false;
	if (p->type == PARTY_TYPE_NODE) {
		p->name = p->node;
		return true;
	}
	if (subject == SUBJECT_ESSENTIAL) {
		p->name = generation_text(c->g, "essential");
		return p->name != NULL;
	}
	s = &c->subjects[subject];
	if (!s->key_text)
		s->key_text = generation_text(c->g, s->key);
	if (!s->name_text)
		s->name_text = generation_text(c->g, s->name);
	p->identity = s->network ? NULL : s->key_text;
	p->name = s->name_text;
	return s->key_text && s->name_text;
}

static uint32_t local_mark(const struct compile *c, uint32_t subject)
{
	uint32_t identity = name_index_find(&c->real.paths, c->subjects[subject].key);
	uint32_t local = identity != NO_INDEX ? c->real.local_of[identity] : NO_INDEX;

	return local != NO_INDEX ? c->g->locals[local].mark : 0;
}

int compile_party(struct compile *c, enum party_type type, uint32_t subject, uint32_t node,
		  uint32_t *ret)
{
	uint64_t key = (uint64_t)(type == PARTY_TYPE_NODE ? NO_INDEX : subject) << 32 | node;
	struct generation *g = c->g;
	struct party party = {.type = (uint8_t)type};
	size_t at;
	int r;

	r = grow_slots(c);
	if (r < 0)
		return r;
	at = slot_of(c->party_slots, c->party_slot_count, key);
	if (c->party_slots[at].party != 0) {
		*ret = c->party_slots[at].party - 1;
		return 0;
	}
	if (!fill_party(c, subject, node, &party) ||
	    vec_grow(&g->parties, &g->party_cap, g->party_count + 1, sizeof(*g->parties),
		     PARTIES_MAX) < 0)
		return compile_no_memory(c);
	if (type == PARTY_TYPE_IDENTITY && node == NODE_HERE)
		party.mark = local_mark(c, subject);
	*ret = (uint32_t)g->party_count;
	g->parties[g->party_count++] = party;
	c->party_slots[at] = (struct party_slot){.key = key, .party = *ret + 1};
	return 0;
}

int compile_local_party(struct compile *c, uint32_t local, uint32_t *ret)
{
	uint32_t identity = c->g->locals[local].index;

	return compile_party(c, PARTY_TYPE_IDENTITY, c->real.subject_of_identity[identity],
			     NODE_HERE, ret);
}
