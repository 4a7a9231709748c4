/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Claims overlap; a packet must belong to one conduit, and its verdict must be that of all claims
 * which cover it. The kernel asks an exact map, then one for all ports of an address, then one of
 * networks, and takes the first answer. So everything that covers an address takes part where that
 * address is entered, and the intervals of networks are cut until none overlaps another.
 */
#include "rules/compile_parts.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HITS_MAX   8000000
#define ACTIVE_MAX 8000000
/* Ports of one address that become elements of their own; with more it is entered by intervals. */
#define EXACT_PORTS_MAX 4096

struct claim_list {
	const struct claim **items;
	size_t count, cap;
};

/* Addresses that the same claims cover. */
struct interval {
	struct addr first, last;
	size_t active_first, active_count;
};

struct intervals {
	struct interval *items;
	size_t count, cap;
	struct claim_list active; /* of all intervals, one after the other */
};

struct cut {
	struct pass *p;
	struct claim_list hosts, nets, wide, covering, open;
	struct intervals intervals;
	uint32_t *borders;
	size_t border_count, border_cap;
	size_t cells;
	bool any_taken; /* of the address at hand */
};

static int no_memory(const struct cut *x)
{
	return compile_no_memory(x->p->c);
}

static int list_add(const struct cut *x, struct claim_list *l, const struct claim *claim)
{
	if (vec_grow(&l->items, &l->cap, l->count + 1, sizeof(*l->items), ACTIVE_MAX) < 0)
		return no_memory(x);
	l->items[l->count++] = claim;
	return 0;
}

/* --- ports ----------------------------------------------------------------------------------- */

static int by_port(const void *a, const void *b)
{
	const struct claim *x = *(const struct claim *const *)a;
	const struct claim *y = *(const struct claim *const *)b;

	return service_cmp(&x->service, &y->service);
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int find_borders(struct cut *x)
{
	const struct claim_list *l = &x->covering;
	size_t kept = 0;

	if (vec_grow(&x->borders, &x->border_cap, 2 * l->count, sizeof(*x->borders),
		     2 * ACTIVE_MAX) < 0)
		return no_memory(x);
	for (size_t i = 0; i < l->count; i++) {
		x->borders[2 * i] = l->items[i]->service.first;
		x->borders[2 * i + 1] = l->items[i]->service.last + 1U;
	}
	sort_items(x->borders, 2 * l->count, sizeof(*x->borders), by_number);
	for (size_t i = 0; i < 2 * l->count; i++)
		if (kept == 0 || x->borders[kept - 1] != x->borders[i])
			x->borders[kept++] = x->borders[i];
	x->border_count = kept;
	return 0;
}

/* Claims of `open` that end before the port go. */
static void close_claims(struct claim_list *open, uint32_t port)
{
	size_t kept = 0;

	for (size_t i = 0; i < open->count; i++)
		if (open->items[i]->service.last >= port)
			open->items[kept++] = open->items[i];
	open->count = kept;
}

/* Calls take() for each run of ports that the same claims of x->covering cover (x->open). */
static int cut_ports(struct cut *x, const struct addr *first, const struct addr *last,
		     int (*take)(struct cut *x, const struct addr *first, const struct addr *last,
				 uint16_t port_first, uint16_t port_last))
{
	struct claim_list *l = &x->covering;
	size_t next = 0;
	int r;

	sort_items(l->items, l->count, sizeof(*l->items), by_port);
	r = find_borders(x);
	x->open.count = 0;
	for (size_t i = 0; i + 1 < x->border_count && r == 0; i++) {
		uint32_t port = x->borders[i];

		close_claims(&x->open, port);
		while (next < l->count && l->items[next]->service.first <= port && r == 0)
			r = list_add(x, &x->open, l->items[next++]);
		if (r == 0 && x->open.count > 0)
			r = take(x, first, last, (uint16_t)port, (uint16_t)(x->borders[i + 1] - 1));
	}
	return r;
}

static int add_hit(struct cut *x, struct hit *hit, enum hit_mode mode)
{
	struct pass *p = x->p;

	hit->mode = (uint8_t)mode;
	if (vec_grow(&p->hits, &p->hit_cap, p->hit_count + 1, sizeof(*p->hits), HITS_MAX) < 0)
		return no_memory(x);
	p->hits[p->hit_count++] = *hit;
	return 0;
}

struct open_facts {
	bool any_only; /* only services that mean all ports */
	bool host;     /* an identity is there, not only a network around it */
	bool real;     /* not only borders of the other policy */
};

static struct open_facts facts_of(const struct claim_list *open)
{
	struct open_facts f = {.any_only = true};

	for (size_t i = 0; i < open->count; i++) {
		f.any_only = f.any_only && service_is_any(&open->items[i]->service);
		f.host = f.host || !open->items[i]->network;
		f.real = f.real || !open->items[i]->ghost;
	}
	return f;
}

/* A hit for the claims now open, named after the winner. */
static int judge_open(struct cut *x, const struct open_facts *f, struct hit *ret)
{
	const struct claim *winner = pass_winner(x->p, x->open.items, x->open.count);
	bool called = x->p->kind == PASS_LOOPBACK && !service_is_echo(&winner->service);
	int r;

	if (called)
		winner = pass_winner_of(x->p, x->open.items, x->open.count, false);

	ret->party_type = winner->network ? PARTY_TYPE_NETWORK : PARTY_TYPE_IDENTITY;
	ret->subject = winner->subject;
	ret->node = winner->node;
	ret->service = winner->service;
	r = pass_judge(x->p, x->open.items, x->open.count, ret);
	if (r < 0 || winner->network)
		return r;
	if (called) {
		r = pass_judge_called(x->p, x->open.items, x->open.count, ret);
		if (r < 0)
			return r;
	}
	/* An unvouched source, and whoever answers an echo request, is the node (R6, R19). */
	if (x->p->kind == PASS_IN || x->p->kind == PASS_IN_ECHO ||
	    service_is_echo(&winner->service)) {
		ret->party_type = PARTY_TYPE_NODE;
		ret->subject = NO_INDEX;
	}
	if (!f->any_only && !service_is_echo(&winner->service)) {
		ret->service.first = ret->port_first;
		ret->service.last = ret->port_last;
	}
	return 0;
}

static int take_host(struct cut *x, const struct addr *first, const struct addr *last,
		     uint16_t port_first, uint16_t port_last)
{
	struct hit hit = {
		.first = *first, .last = *last, .port_first = port_first, .port_last = port_last};
	struct open_facts f = facts_of(&x->open);
	int r;

	if (!f.host || !f.real)
		return 0;
	/* All that is left of "any" after the other ports are cut out is one element. */
	if (f.any_only && x->any_taken)
		return 0;
	x->any_taken = x->any_taken || f.any_only;
	r = judge_open(x, &f, &hit);
	return r < 0 ? r : add_hit(x, &hit, f.any_only ? HIT_ANY : HIT_EXACT);
}

static int take_net(struct cut *x, const struct addr *first, const struct addr *last,
		    uint16_t port_first, uint16_t port_last)
{
	struct hit hit = {
		.first = *first, .last = *last, .port_first = port_first, .port_last = port_last};
	struct open_facts f = facts_of(&x->open);
	int r;

	if (!f.real)
		return 0;
	if (++x->cells > NETWORK_CELLS_MAX)
		return err_set(x->p->c->err, E2BIG,
			       "networks and services overlap in more than %d ways; fewer, larger "
			       "networks would be right",
			       NETWORK_CELLS_MAX);
	r = judge_open(x, &f, &hit);
	return r < 0 ? r : add_hit(x, &hit, HIT_NET);
}

/* --- addresses ------------------------------------------------------------------------------- */

bool compile_addr_next(const struct addr *a, struct addr *ret)
{
	*ret = *a;
	for (size_t i = addr_len(a); i > 0; i--)
		if (++ret->bytes[i - 1] != 0)
			return true;
	return false;
}

struct addr compile_addr_previous(const struct addr *a)
{
	struct addr before = *a;

	for (size_t i = addr_len(a); i > 0; i--)
		if (before.bytes[i - 1]-- != 0)
			break;
	return before;
}

static int by_first(const void *a, const void *b)
{
	const struct claim *x = *(const struct claim *const *)a;
	const struct claim *y = *(const struct claim *const *)b;
	int order = addr_cmp(&x->first, &y->first);

	return order != 0 ? order : service_cmp(&x->service, &y->service);
}

static int by_addr(const void *a, const void *b)
{
	return addr_cmp(a, b);
}

static int find_starts(struct cut *x, struct addr **ret, size_t *ret_count)
{
	const struct claim_list *nets = &x->nets;
	struct addr *starts = mem_calloc(2 * nets->count, sizeof(*starts));
	size_t count = 0, kept = 0;

	if (!starts)
		return no_memory(x);
	for (size_t i = 0; i < nets->count; i++) {
		starts[count++] = nets->items[i]->first;
		if (compile_addr_next(&nets->items[i]->last, &starts[count]))
			count++;
	}
	sort_items(starts, count, sizeof(*starts), by_addr);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || !addr_eq(&starts[kept - 1], &starts[i]))
			starts[kept++] = starts[i];
	*ret = starts;
	*ret_count = kept;
	return 0;
}

static int add_interval(struct cut *x, const struct addr *first, const struct addr *next)
{
	struct intervals *all = &x->intervals;
	struct interval i = {
		.first = *first, .active_first = all->active.count, .active_count = x->open.count};
	int r = 0;

	if (next)
		i.last = compile_addr_previous(next);
	else
		/* Only a claim that ends at the last address of all is still open here. */
		i.last = x->open.items[0]->last;
	for (size_t j = 0; j < x->open.count && r == 0; j++)
		r = list_add(x, &all->active, x->open.items[j]);
	if (r < 0)
		return r;
	if (vec_grow(&all->items, &all->cap, all->count + 1, sizeof(*all->items), ACTIVE_MAX) < 0)
		return no_memory(x);
	all->items[all->count++] = i;
	return 0;
}

/* Sweeps over the networks' borders. */
static int make_intervals(struct cut *x)
{
	CLEANUP(freep) struct addr *starts = NULL;
	size_t count = 0, next = 0;
	int r;

	x->intervals.count = 0;
	x->intervals.active.count = 0;
	x->open.count = 0;
	sort_items(x->nets.items, x->nets.count, sizeof(*x->nets.items), by_first);
	r = find_starts(x, &starts, &count);
	for (size_t i = 0; i < count && r == 0; i++) {
		size_t kept = 0;

		for (size_t j = 0; j < x->open.count; j++)
			if (addr_cmp(&x->open.items[j]->last, &starts[i]) >= 0)
				x->open.items[kept++] = x->open.items[j];
		x->open.count = kept;
		while (next < x->nets.count &&
		       addr_cmp(&x->nets.items[next]->first, &starts[i]) <= 0 && r == 0)
			r = list_add(x, &x->open, x->nets.items[next++]);
		if (r == 0 && x->open.count > 0)
			r = add_interval(x, &starts[i], i + 1 < count ? &starts[i + 1] : NULL);
	}
	return r;
}

static const struct interval *interval_of(const struct intervals *all, const struct addr *a)
{
	size_t low = 0, high = all->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (addr_cmp(&all->items[middle].last, a) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < all->count && addr_cmp(&all->items[low].first, a) <= 0)
		return &all->items[low];
	return NULL;
}

static int cover(struct cut *x, const struct interval *i)
{
	int r = 0;

	for (size_t j = 0; i && j < i->active_count && r == 0; j++)
		r = list_add(x, &x->covering, x->intervals.active.items[i->active_first + j]);
	return r;
}

/* --- hosts, then networks -------------------------------------------------------------------- */

static bool fits_exact(const struct claim_list *covering)
{
	uint32_t ports = 0;
	bool any = false;

	for (size_t i = 0; i < covering->count; i++)
		any = any || (!covering->items[i]->network &&
			      service_is_any(&covering->items[i]->service));
	for (size_t i = 0; i < covering->count; i++) {
		const struct claim *claim = covering->items[i];

		if (service_is_any(&claim->service) || (claim->network && !any))
			continue;
		ports += claim->service.last - claim->service.first + 1U;
		if (ports > EXACT_PORTS_MAX)
			return false;
	}
	return true;
}

static int cut_host(struct cut *x, size_t first, size_t last)
{
	const struct addr *a = &x->hosts.items[first]->first;
	int r = 0;

	x->any_taken = false;
	x->covering.count = 0;
	for (size_t i = first; i < last && r == 0; i++)
		r = list_add(x, &x->covering, x->hosts.items[i]);
	if (r == 0)
		r = cover(x, interval_of(&x->intervals, a));
	if (r < 0)
		return r;
	if (fits_exact(&x->covering))
		return cut_ports(x, a, a, take_host);
	for (size_t i = first; i < last && r == 0; i++)
		r = list_add(x, &x->wide, x->hosts.items[i]);
	return r;
}

static int cut_hosts(struct cut *x)
{
	size_t first = 0;
	int r = 0;

	sort_items(x->hosts.items, x->hosts.count, sizeof(*x->hosts.items), by_first);
	while (first < x->hosts.count && r == 0) {
		size_t last = first + 1;

		while (last < x->hosts.count &&
		       addr_eq(&x->hosts.items[first]->first, &x->hosts.items[last]->first))
			last++;
		r = cut_host(x, first, last);
		first = last;
	}
	return r;
}

static int cut_nets(struct cut *x)
{
	int r = 0;

	for (size_t i = 0; i < x->intervals.count && r == 0; i++) {
		const struct interval *at = &x->intervals.items[i];

		x->covering.count = 0;
		r = cover(x, at);
		if (r == 0)
			r = cut_ports(x, &at->first, &at->last, take_net);
	}
	return r;
}

/* Claims of one protocol and one address family. */
static int cut_block(struct cut *x)
{
	int r;

	r = make_intervals(x);
	if (r == 0)
		r = cut_hosts(x);
	if (r < 0 || x->wide.count == 0)
		return r < 0 ? r : cut_nets(x);
	for (size_t i = 0; i < x->wide.count && r == 0; i++)
		r = list_add(x, &x->nets, x->wide.items[i]);
	if (r == 0)
		r = make_intervals(x);
	return r < 0 ? r : cut_nets(x);
}

static bool same_block(const struct claim *a, const struct claim *b)
{
	return a->service.kind == b->service.kind && a->first.family == b->first.family;
}

static int block_order(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;

	if (x->service.kind != y->service.kind)
		return x->service.kind < y->service.kind ? -1 : 1;
	if (x->first.family != y->first.family)
		return x->first.family < y->first.family ? -1 : 1;
	return 0;
}

static void cut_done(struct cut *x)
{
	free(x->hosts.items);
	free(x->nets.items);
	free(x->wide.items);
	free(x->covering.items);
	free(x->open.items);
	free(x->intervals.items);
	free(x->intervals.active.items);
	free(x->borders);
}

int pass_cut(struct pass *p)
{
	CLEANUP(cut_done) struct cut x = {.p = p};
	size_t first = 0;
	int r = 0;

	if (p->claim_count == 0)
		return 0;
	sort_items(p->claims, p->claim_count, sizeof(*p->claims), block_order);
	while (first < p->claim_count && r == 0) {
		size_t i;

		x.hosts.count = x.nets.count = x.wide.count = 0;
		for (i = first;
		     i < p->claim_count && same_block(&p->claims[first], &p->claims[i]) && r == 0;
		     i++)
			r = list_add(&x, p->claims[i].network ? &x.nets : &x.hosts, &p->claims[i]);
		first = i;
		if (r == 0)
			r = cut_block(&x);
	}
	return r;
}
