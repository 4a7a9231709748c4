/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which numbers went because their conduit was cut up differently (R16). To name one too many is
 * harmless: its flows are judged anew and end if nothing permits them. To forget one costs packets
 * of flows that remain allowed.
 */
#include "rules/compile.h"

#include "base/mem.h"
#include "base/sorted.h"
#include "base/text.h"
#include "rules/marks.h"

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

/* The bare number of a vouchee is on no flow; flags say the rest: see conduit_is_vouchee(). */
static bool is_vouchee(const struct end_view *v)
{
	return !(v->conduit->flags & (CONDUIT_OUT | CONDUIT_ESSENTIAL)) &&
	       v->far->type == PARTY_TYPE_IDENTITY;
}

/*
 * Who was vouched for may go on under another number of the same identity, or where an address is
 * enough; not on a question that has no answer for it.
 */
static bool may_hold_vouched(const struct end_view *heir, const struct end_view *gone)
{
	if (is_vouchee(heir))
		return str_eq(heir->far->identity, gone->far->identity);
	return heir->conduit->verdict != LIVE_ASK || heir->conduit->vouched != LIVE_NONE;
}

static bool may_share_flows(const struct end_view *heir, const struct end_view *gone)
{
	if (!service_overlaps(&heir->conduit->service, &gone->conduit->service))
		return false;
	if (is_vouchee(gone) && !may_hold_vouched(heir, gone))
		return false;
	return heir->far->type == PARTY_TYPE_NETWORK || gone->far->type == PARTY_TYPE_NETWORK ||
	       str_eq(node_of(heir), node_of(gone));
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

/* Of those that classification leads to. */
static struct end_view *views_of(const struct generation *g, size_t *ret_count)
{
	struct end_view *all = mem_calloc(g->conduit_count, sizeof(*all));
	size_t count = 0;

	if (!all)
		return NULL;
	for (size_t i = 0; i < g->conduit_count; i++)
		if (!g->conduits[i].of_other)
			all[count++] = view_of(g, &g->conduits[i]);
	if (count > 1)
		qsort(all, count, sizeof(*all), view_cmp);
	*ret_count = count;
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

static bool mark_is_observed(const struct generation *g, uint32_t mark)
{
	const struct party local = {.mark = mark};

	return is_observed(g, &local);
}

/* Receivers of a loopback conduit; they are sorted by number. */
static const struct receiver *receivers_of(const struct generation *g, uint32_t number,
					   size_t *ret_count)
{
	size_t low = sorted_first_u32(g->receivers, g->receiver_count, sizeof(*g->receivers),
				      offsetof(struct receiver, number), number);
	size_t count = 0;

	while (low + count < g->receiver_count && g->receivers[low + count].number == number)
		count++;
	*ret_count = count;
	/* No arithmetic on the NULL of a generation without receivers. */
	return count ? g->receivers + low : NULL;
}

static bool is_receiver(const struct receiver *list, size_t count, uint32_t mark)
{
	for (size_t i = 0; i < count; i++) {
		if (list[i].mark == mark)
			return true;
	}
	return false;
}

/* Everybody who may have the flows of `gone` may have those of `heir`. */
static bool keeps_receivers(const struct generation *old, const struct generation *new_,
			    const struct end_view *gone, const struct end_view *heir)
{
	bool observed = is_observed(new_, gone->local);
	size_t before, after;
	const struct receiver *had = receivers_of(old, gone->conduit->number, &before);
	const struct receiver *has = receivers_of(new_, heir->conduit->number, &after);

	for (size_t i = 0; i < before; i++) {
		if (!is_receiver(has, after, had[i].mark) &&
		    !(observed && mark_is_observed(new_, had[i].mark)))
			return false;
	}
	return true;
}

/*
 * On loopback the receiver is looked at when a flow begins (R12), not at each packet. So flows must
 * not be classified again into a conduit to somebody else on this host: that would let them run on
 * to a receiver whose permission went.
 */
static bool would_change_hands(const struct generation *old, const struct generation *new_,
			       const struct end_view *all, size_t count,
			       const struct end_view *gone)
{
	if (!(gone->conduit->flags & CONDUIT_LOOPBACK))
		return false;
	for (size_t i = lower_bound(all, count, gone, true);
	     i < count && side_cmp(&all[i], gone) == 0; i++) {
		if (service_overlaps(&all[i].conduit->service, &gone->conduit->service) &&
		    !keeps_receivers(old, new_, gone, &all[i]))
			return true;
	}
	return false;
}

struct marks {
	uint32_t *items;
	size_t count, cap;
};

static void marks_done(struct marks *m)
{
	free(m->items);
}

static int marks_add(struct marks *m, uint32_t mark)
{
	/* Three for each conduit at most. */
	if (vec_grow(&m->items, &m->cap, m->count + 1, sizeof(*m->items), 3 * CONDUITS_MAX) < 0)
		return -ENOMEM;
	m->items[m->count++] = mark;
	return 0;
}

static int mark_cmp(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void marks_give(struct marks *m, uint32_t **ret, size_t *ret_count)
{
	if (m->count > 1)
		qsort(m->items, m->count, sizeof(*m->items), mark_cmp);
	*ret = TAKE_PTR(m->items);
	*ret_count = m->count;
}

/* What flows of a conduit may be marked with. */
static int add_marks_of(struct marks *m, const struct end_view *gone)
{
	const struct conduit *c = gone->conduit;
	int r = 0;

	if (!is_vouchee(gone))
		r = marks_add(m, c->number);
	if (r == 0 && (is_vouchee(gone) || (c->flags & CONDUIT_ASKED)))
		r = marks_add(m, c->number | MARK_VOUCHED);
	if (r == 0 && !is_vouchee(gone) && (c->flags & CONDUIT_ASKED))
		r = marks_add(m, c->number | MARK_UNAVAILABLE);
	return r;
}

/*
 * Where nobody is asked any more, flows that were vouched for, or let through because nobody could,
 * go on by their address alone.
 */
static int add_unasked(struct marks *m, const struct conduit *before, const struct conduit *now)
{
	int r = 0;

	if (!(before->flags & CONDUIT_ASKED) || (now->flags & CONDUIT_ASKED))
		return 0;
	if (before->vouched != LIVE_NONE)
		r = marks_add(m, before->number | MARK_VOUCHED);
	if (r == 0 && before->unavailable != LIVE_NONE)
		r = marks_add(m, before->number | MARK_UNAVAILABLE);
	return r;
}

int generation_rederive(const struct generation *old, const struct generation *new_,
			uint32_t **ret_numbers, size_t *ret_count)
{
	size_t count = 0;
	CLEANUP(freep) struct end_view *all = views_of(new_, &count);
	CLEANUP(marks_done) struct marks marks = {0};

	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < old->conduit_count; i++) {
		struct end_view gone = view_of(old, &old->conduits[i]);
		const struct conduit *now = generation_find(new_, old->conduits[i].number);

		if (now && add_unasked(&marks, &old->conduits[i], now) < 0)
			return -ENOMEM;
		if (now || (!lives_on(all, count, &gone) && !is_observed(new_, gone.local)) ||
		    would_change_hands(old, new_, all, count, &gone))
			continue;
		if (add_marks_of(&marks, &gone) < 0)
			return -ENOMEM;
	}
	marks_give(&marks, ret_numbers, ret_count);
	return 0;
}

/* --- questions that are new ------------------------------------------------------------------ */

static bool asks_in(const struct generation *g, uint32_t number)
{
	const struct conduit *c = g ? generation_find(g, number) : NULL;

	return c && c->verdict == LIVE_ASK;
}

int generation_begins_to_ask(const struct generation *old, const struct generation *new_,
			     uint32_t **ret_numbers, size_t *ret_count)
{
	CLEANUP(marks_done) struct marks marks = {0};
	size_t kept = 0;
	int r = 0;

	for (size_t i = 0; i < new_->conduit_count && r == 0; i++)
		if (new_->conduits[i].verdict == LIVE_ASK &&
		    !asks_in(old, new_->conduits[i].number))
			r = marks_add(&marks, new_->conduits[i].number);
	for (size_t i = 0; old && i < old->link_count && r == 0; i++)
		if (asks_in(new_, old->links[i].asked) &&
		    !generation_find(new_, old->links[i].number))
			r = marks_add(&marks, old->links[i].asked);
	if (r < 0)
		return r;
	if (marks.count > 1)
		qsort(marks.items, marks.count, sizeof(*marks.items), mark_cmp);
	for (size_t i = 0; i < marks.count; i++)
		if (kept == 0 || marks.items[kept - 1] != marks.items[i])
			marks.items[kept++] = marks.items[i];
	marks.count = kept;
	marks_give(&marks, ret_numbers, ret_count);
	return 0;
}
