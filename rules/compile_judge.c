/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What all claims over a segment say together (R18): open while any rule opens it, with the best
 * unconditional answer; else with the latest end; else recorded if a rule in observe mode covers
 * it. Claims of a ghost have no say, but take part in the name and in what is told apart.
 */
#include "rules/compile_parts.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define JUDGED_STACK 32
#define LIST_MAX     8000000

/* Arbitrary and fixed: only equality within one compilation matters. */
static const uint64_t cover_key[2] = {0x6261696c69776963, 0x6b2d636f76657273};

/* --- name ------------------------------------------------------------------------------------ */

static uint32_t width(const struct service *s)
{
	return (uint32_t)s->last - s->first;
}

/* Sign as strcmp(): the one that names the conduit comes first. */
static int name_order(const struct pass *p, const struct claim *a, const struct claim *b)
{
	const struct far_end *x, *y;
	int order;

	if (a->network != b->network)
		return a->network ? 1 : -1;
	if (a->network && width(&a->service) != width(&b->service))
		return width(&a->service) < width(&b->service) ? -1 : 1;
	if (a->network && a->prefix_len != b->prefix_len)
		return a->prefix_len > b->prefix_len ? -1 : 1;
	if (a->named != b->named)
		return a->named ? -1 : 1;
	if (a->subject != b->subject && p->kind != PASS_ESSENTIAL) {
		x = &p->c->subjects[a->subject];
		y = &p->c->subjects[b->subject];
		order = strcmp(x->key, y->key);
		if (order != 0)
			return order;
	}
	if (a->subject != b->subject)
		return a->subject < b->subject ? -1 : 1;
	if (a->node != b->node)
		return a->node < b->node ? -1 : 1;
	return service_cmp(&a->service, &b->service);
}

const struct claim *pass_winner(const struct pass *p, const struct claim *const *covering,
				size_t count)
{
	const struct claim *winner = covering[0];

	for (size_t i = 1; i < count; i++)
		if (name_order(p, covering[i], winner) < 0)
			winner = covering[i];
	return winner;
}

const struct claim *pass_winner_of(const struct pass *p, const struct claim *const *covering,
				   size_t count, bool ghost)
{
	const struct claim *winner = NULL;

	for (size_t i = 0; i < count; i++)
		if (covering[i]->ghost == ghost &&
		    (!winner || name_order(p, covering[i], winner) < 0))
			winner = covering[i];
	return winner;
}

/* --- verdict --------------------------------------------------------------------------------- */

/* Rules that hold are told before those that would; the first by name of each. */
static int tell_class(const struct claim *c)
{
	if (c->state >= PAIR_LEASED)
		return 0;
	return c->state == PAIR_WATCHED ? 1 : 2;
}

static bool is_told_before(const struct place *place, const struct claim *a, const struct claim *b)
{
	if (tell_class(a) != tell_class(b))
		return tell_class(a) < tell_class(b);
	return place->rule_rank[a->rule] < place->rule_rank[b->rule];
}

void pass_sum_add(const struct pass *p, struct sum *s, const struct claim *claim)
{
	const struct place *place = &p->c->real;
	int64_t end;

	if (claim->ghost)
		return;
	if (p->kind == PASS_ESSENTIAL) {
		s->best = PAIR_HOLDS;
		return;
	}
	if (claim->state > s->best)
		s->best = claim->state;
	if (claim->state != PAIR_CUT && place->policy->rules[claim->rule].observe)
		s->watched = true;
	end = claim->state == PAIR_LEASED ? claim->end : 0;
	if (end > s->end)
		s->end = end;
	if (!s->told || is_told_before(place, claim, s->told))
		s->told = claim;
}

static uint8_t sum_verdict(const struct sum *s)
{
	switch (s->best) {
	case PAIR_HOLDS:
		return LIVE_ACCEPT;
	case PAIR_LEASED:
		return s->watched ? LIVE_LEASED_WATCHED : LIVE_LEASED;
	case PAIR_WATCHED:
		return LIVE_WATCHED;
	case PAIR_CUT:
	case PAIR_CLOSED:
		return LIVE_NONE;
	}
	return LIVE_NONE;
}

void pass_sum_tell(const struct pass *p, const struct sum *s, struct outcome *o)
{
	o->verdict = sum_verdict(s);
	o->end = s->best == PAIR_LEASED ? s->end : 0;
	o->rule = RULE_NONE;
	if (s->told) {
		const struct rule *rule = &p->c->real.policy->rules[s->told->rule];

		o->rule = s->told->rule;
		o->assurance = (uint8_t)rule->assurance;
		o->observed = rule->observe;
	}
}

/* --- loopback -------------------------------------------------------------------------------- */

static int list_add(struct pass *p, uint32_t subject)
{
	if (vec_grow(&p->list, &p->list_cap, p->list_count + 1, sizeof(*p->list), LIST_MAX) < 0)
		return compile_no_memory(p->c);
	p->list[p->list_count++] = subject;
	return 0;
}

/*
 * Several identities of this host may listen on the port, and at output nobody knows which does
 * (R12). Those whose own rules are open are listed as receivers. A lease of one must not be
 * stretched by the other's permission, so the shortest counts: with the agent alive it is compiled
 * again then, with the agent dead less is open rather than more.
 */
static void merge_receiver(struct outcome *all, const struct outcome *one, size_t before)
{
	static const uint8_t rank[] = {
		[LIVE_NONE] = 0,   [LIVE_WATCHED] = 1, [LIVE_LEASED_WATCHED] = 2,
		[LIVE_ACCEPT] = 3, [LIVE_LEASED] = 4,
	};

	if (before == 0 || rank[one->verdict] > rank[all->verdict]) {
		*all = *one;
		return;
	}
	if (one->verdict != all->verdict)
		return;
	if ((one->verdict == LIVE_LEASED && one->end < all->end) ||
	    (one->verdict == LIVE_LEASED_WATCHED && one->end > all->end))
		all->end = one->end;
}

/* What the rules to one receiver say, of the real policy. */
static struct outcome receiver_outcome(const struct pass *p, const struct claim *const *covering,
				       size_t count, uint32_t subject)
{
	struct sum s = {0};
	struct outcome one = {0};

	for (size_t i = 0; i < count; i++)
		if (covering[i]->subject == subject)
			pass_sum_add(p, &s, covering[i]);
	pass_sum_tell(p, &s, &one);
	return one;
}

static int judge_receivers(struct pass *p, const struct claim *const *covering, size_t count,
			   struct hit *hit)
{
	hit->list_first = (uint32_t)p->list_count;
	for (size_t i = 0; i < count; i++) {
		struct outcome one;
		bool seen = false;
		int r;

		for (size_t j = 0; j < i; j++)
			seen = seen || covering[j]->subject == covering[i]->subject;
		if (seen)
			continue;
		one = receiver_outcome(p, covering, count, covering[i]->subject);
		if (one.verdict == LIVE_NONE)
			continue;
		merge_receiver(&hit->outcome, &one, p->list_count - hit->list_first);
		r = list_add(p, covering[i]->subject);
		if (r < 0)
			return r;
	}
	hit->list_count = (uint32_t)(p->list_count - hit->list_first);
	return 0;
}

/* A claim of one of the policies to somebody whom no claim of it before this one names. */
static bool names_another(const struct claim *const *covering, size_t i, bool ghost)
{
	bool seen = covering[i]->ghost != ghost;

	for (size_t j = 0; j < i && !seen; j++)
		seen = covering[j]->ghost == ghost && covering[j]->subject == covering[i]->subject;
	return !seen;
}

/*
 * A number tells who may be called, and not only after whom it is named: a flow to one must not
 * live on as a flow to another. 0: just `subject`. Names are each policy's own here, so that a flow
 * keeps its number while the other policy comes and goes.
 */
static uint64_t called_by(const struct pass *p, const struct claim *const *covering, size_t count,
			  uint32_t subject, bool ghost)
{
	uint64_t called = 0;
	bool only = true;

	for (size_t i = 0; i < count; i++) {
		const char *key = p->c->subjects[covering[i]->subject].key;

		if (!names_another(covering, i, ghost))
			continue;
		only = only && covering[i]->subject == subject;
		called += siphash(cover_key, key, strlen(key));
	}
	return only ? 0 : called;
}

/*
 * Flows that the other policy let begin go on if each of those that it lets be called may be called
 * here too: the number does not tell which of them a flow goes to.
 */
static int judge_other(struct pass *p, const struct claim *const *covering, size_t count,
		       struct hit *hit)
{
	const struct claim *winner = pass_winner_of(p, covering, count, true);
	struct other_called other = {.list_first = (uint32_t)p->list_count};
	int r = 0;

	if (!winner)
		return 0;
	other.subject = winner->subject;
	other.called = called_by(p, covering, count, winner->subject, true);
	if (other.subject == hit->subject && other.called == hit->called)
		return 0;
	for (size_t i = 0; i < count && r == 0; i++) {
		struct outcome one;

		if (!names_another(covering, i, true))
			continue;
		one = receiver_outcome(p, covering, count, covering[i]->subject);
		if (one.verdict == LIVE_NONE)
			return 0;
		merge_receiver(&other.outcome, &one, other.list_count++);
		r = list_add(p, covering[i]->subject);
	}
	if (r == 0 && vec_grow(&p->others, &p->other_cap, p->other_count + 1, sizeof(*p->others),
			       LIST_MAX) < 0)
		r = compile_no_memory(p->c);
	if (r < 0)
		return r;
	p->others[p->other_count++] = other;
	hit->other = (uint32_t)p->other_count;
	return 0;
}

int pass_judge_called(struct pass *p, const struct claim *const *covering, size_t count,
		      struct hit *hit)
{
	hit->called = called_by(p, covering, count, hit->subject, false);
	return judge_other(p, covering, count, hit);
}

/* --- cover ----------------------------------------------------------------------------------- */

struct contribution {
	uint64_t origin; /* ghost or not, rule */
	uint32_t subject, node;
};

static int contribution_cmp(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct contribution));
}

/* The claims as a set, whatever order they came in and however often one was written down. */
static int cover_of(struct pass *p, const struct claim *const *covering, size_t count,
		    uint64_t *ret)
{
	struct contribution stack[JUDGED_STACK];
	CLEANUP(freep) struct contribution *heap = NULL;
	struct contribution *all = stack;
	size_t kept = 0;

	if (count > JUDGED_STACK) {
		heap = mem_calloc(count, sizeof(*heap));
		if (!heap)
			return compile_no_memory(p->c);
		all = heap;
	}
	for (size_t i = 0; i < count; i++)
		all[i] = (struct contribution){
			.origin = (uint64_t)covering[i]->ghost << 32 | covering[i]->rule,
			.subject = covering[i]->subject,
			.node = covering[i]->node,
		};
	sort_items(all, count, sizeof(*all), contribution_cmp);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || contribution_cmp(&all[kept - 1], &all[i]) != 0)
			all[kept++] = all[i];
	*ret = siphash(cover_key, all, kept * sizeof(*all));
	return 0;
}

static int list_essentials(struct pass *p, const struct claim *const *covering, size_t count,
			   struct hit *hit)
{
	int r = 0;

	hit->list_first = (uint32_t)p->list_count;
	for (size_t i = 0; i < count && r == 0; i++)
		r = list_add(p, covering[i]->subject);
	hit->list_count = (uint32_t)count;
	return r;
}

int pass_judge(struct pass *p, const struct claim *const *covering, size_t count,
	       struct hit *ret_hit)
{
	struct sum s = {0};
	int r;

	for (size_t i = 0; i < count; i++)
		pass_sum_add(p, &s, covering[i]);
	pass_sum_tell(p, &s, &ret_hit->outcome);
	r = cover_of(p, covering, count, &ret_hit->cover);
	if (r == 0 && (p->kind == PASS_IN || p->kind == PASS_OUT))
		r = pass_judge_asked(p, covering, count, &s, ret_hit);
	if (r == 0 && p->kind == PASS_LOOPBACK && !service_is_echo(&covering[0]->service))
		r = judge_receivers(p, covering, count, ret_hit);
	if (r == 0 && p->kind == PASS_ESSENTIAL)
		r = list_essentials(p, covering, count, ret_hit);
	return r;
}
