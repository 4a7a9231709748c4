/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Conduits that ask (DESIGN section 4, R2, R18, R19).
 *
 * At ingress an address does not tell a node's identities apart. As soon as one of them needs a
 * rule that says attested, or was contained while another's rule keeps the door open, every
 * connection from there is asked about first. The answer leads to the conduit of the identity, the
 * vouchee, whose only live element is number|MARK_VOUCHED. Without an answer the mapped rules and
 * those with on_unavailable: allow count.
 *
 * While two policies are live both make the same vouchees, whichever of them asks: so a flow keeps
 * its mark over the switch and over its fallback (R15).
 */
#include "rules/compile_parts.h"

#include "base/mem.h"
#include "base/sorted.h"
#include "base/text.h"
#include "rules/marks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VOUCHEES_MAX 8000000

/* --- containment ----------------------------------------------------------------------------- */

/* Contained identities are known to whoever accepts answers, and make their nodes ask. */
int compile_contained(struct compile *c, const struct place *p)
{
	struct generation *g = c->g;
	size_t count = 0;

	c->node_contained = mem_calloc(c->node_count, sizeof(*c->node_contained));
	if (!c->node_contained)
		return compile_no_memory(c);
	for (size_t i = 0; i < p->policy->identity_count; i++) {
		struct far_end *s = &c->subjects[p->subject_of_identity[i]];

		s->contained = p->identity_revoked[i] || p->identity_quarantined[i];
		count += s->contained;
		for (uint32_t j = p->located_first[i]; s->contained && j < p->located_first[i + 1];
		     j++)
			c->node_contained[p->located[j].node] = true;
	}
	g->contained = mem_calloc(count, sizeof(*g->contained));
	if (!g->contained)
		return compile_no_memory(c);
	for (size_t i = 0; i < p->policy->identity_count; i++) {
		struct far_end *s = &c->subjects[p->subject_of_identity[i]];

		if (!s->contained)
			continue;
		if (!s->key_text)
			s->key_text = generation_text(g, s->key);
		if (!s->key_text)
			return compile_no_memory(c);
		g->contained[g->contained_count++] = s->key_text;
	}
	return 0;
}

/* --- what a segment earns -------------------------------------------------------------------- */

struct heard {
	struct sum base;  /* asks nobody: addresses alone */
	struct sum spare; /* and what opens when nobody can be asked */
	struct sum nets;  /* networks alone */
	bool asked, asks; /* in either policy; in this one */
	bool contained, watched;
};

static const struct rule *rule_of(const struct pass *p, const struct claim *claim)
{
	return &p->c->real.policy->rules[claim->rule];
}

static void hear(const struct pass *p, const struct claim *claim, struct heard *h)
{
	if (claim->ask != 0) {
		h->asked = true;
		if (claim->ghost)
			return;
		h->asks = true;
		h->watched |= claim->state != PAIR_CUT && rule_of(p, claim)->observe;
		if (claim->spare)
			pass_sum_add(p, &h->spare, claim);
		return;
	}
	pass_sum_add(p, &h->base, claim);
	pass_sum_add(p, &h->spare, claim);
	if (claim->network)
		pass_sum_add(p, &h->nets, claim);
	else if (!claim->ghost && p->kind == PASS_IN)
		h->contained |= p->c->node_contained[claim->node];
}

static struct earned earned_by(const struct pass *p, const struct sum *s)
{
	struct outcome o = {0};

	pass_sum_tell(p, s, &o);
	return (struct earned){.verdict = o.verdict, .end = o.end};
}

static bool vouchees_known(struct pass *p, const struct hit *hit)
{
	return p->vouchee_count > 0 && p->vouchee_cover == hit->cover &&
	       p->vouchee_node == hit->node;
}

/* --- vouchees -------------------------------------------------------------------------------- */

static int add_vouchee(struct pass *p, const struct vouchee *v)
{
	if (vec_grow(&p->vouchees, &p->vouchee_cap, p->vouchee_count + 1, sizeof(*p->vouchees),
		     VOUCHEES_MAX) < 0)
		return compile_no_memory(p->c);
	p->vouchees[p->vouchee_count++] = *v;
	return 0;
}

/* Rules of one identity, and networks around its address. */
struct own_sums {
	struct sum plain, all; /* without those that say measured; with them */
	bool has_plain, has_measured;
};

static void own_sums_of(const struct pass *p, const struct claim *const *covering, size_t count,
			uint32_t subject, struct own_sums *ret)
{
	bool contained = p->c->subjects[subject].contained;

	*ret = (struct own_sums){0};
	for (size_t i = 0; i < count; i++) {
		const struct claim *claim = covering[i];
		bool measured = claim->ask == ASSURANCE_MEASURED;

		if (!claim->network && claim->subject != subject)
			continue;
		ret->has_plain |= !measured;
		ret->has_measured |= measured;
		/* No network lets in who was contained by name. */
		if (contained)
			continue;
		pass_sum_add(p, &ret->all, claim);
		if (!measured)
			pass_sum_add(p, &ret->plain, claim);
	}
}

/* The best unconditional answer counts: measuring is asked for only where it opens more. */
static bool must_measure(const struct own_sums *s)
{
	if (!s->has_plain)
		return true;
	return s->has_measured && s->plain.best < PAIR_LEASED && s->all.best > s->plain.best;
}

static int judge_vouchee(struct pass *p, const struct claim *const *covering, size_t count,
			 uint32_t subject, const struct hit *hit)
{
	struct own_sums s;
	int r = 0;

	own_sums_of(p, covering, count, subject, &s);
	for (int measured = 0; measured <= 1 && r == 0; measured++) {
		struct vouchee v = {.subject = subject, .measured = measured};

		if (!(measured ? s.has_measured : s.has_plain))
			continue;
		pass_sum_tell(p, measured ? &s.all : &s.plain, &v.outcome);
		v.leads = must_measure(&s) == (measured != 0);
		/* Who is not asked about earns what anybody at the address earns. */
		if (!hit->asks) {
			v.outcome.verdict = hit->outcome.verdict;
			v.outcome.end = hit->outcome.end;
		}
		r = add_vouchee(p, &v);
	}
	return r;
}

static bool may_be_vouchee(const struct claim *claim, const struct hit *hit)
{
	return !claim->network && claim->node == hit->node;
}

static int judge_vouchees(struct pass *p, const struct claim *const *covering, size_t count,
			  struct hit *hit)
{
	int r = 0;

	if (vouchees_known(p, hit)) {
		hit->list_first = p->vouchee_first;
		hit->list_count = (uint32_t)p->vouchee_count - hit->list_first;
		return 0;
	}
	hit->list_first = (uint32_t)p->vouchee_count;
	for (size_t i = 0; i < count && r == 0; i++) {
		bool seen = !may_be_vouchee(covering[i], hit);

		for (size_t j = 0; j < i && !seen; j++)
			seen = may_be_vouchee(covering[j], hit) &&
			       covering[j]->subject == covering[i]->subject;
		if (!seen)
			r = judge_vouchee(p, covering, count, covering[i]->subject, hit);
	}
	hit->list_count = (uint32_t)p->vouchee_count - hit->list_first;
	p->vouchee_cover = hit->cover;
	p->vouchee_node = hit->node;
	p->vouchee_first = hit->list_first;
	return r;
}

/* Listeners besides the one that the conduit is named after, whom rules let be called there. */
static int judge_listeners(struct pass *p, const struct claim *const *covering, size_t count,
			   struct hit *hit)
{
	int r = 0;

	hit->list_first = (uint32_t)p->vouchee_count;
	for (size_t i = 0; i < count && r == 0; i++) {
		struct vouchee v = {.subject = covering[i]->subject, .leads = true};
		bool wanted = !covering[i]->ghost && covering[i]->ask != 0 &&
			      covering[i]->state > PAIR_CLOSED && v.subject != hit->subject;

		for (size_t j = hit->list_first; j < p->vouchee_count && wanted; j++)
			wanted = p->vouchees[j].subject != v.subject;
		if (wanted)
			r = add_vouchee(p, &v);
	}
	hit->list_count = (uint32_t)p->vouchee_count - hit->list_first;
	return r;
}

int pass_judge_asked(struct pass *p, const struct claim *const *covering, size_t count,
		     const struct sum *all, struct hit *hit)
{
	struct heard h = {0};

	for (size_t i = 0; i < count; i++)
		hear(p, covering[i], &h);
	if (h.contained && h.base.best > PAIR_CLOSED)
		h.asked = h.asks = true;
	if (!h.asked)
		return 0;
	/* Who listens behind an address is asked only where no rule opens it without. */
	if (p->kind == PASS_OUT)
		h.asks = h.asks && h.base.best < PAIR_LEASED;
	hit->asked = true;
	hit->asks = h.asks;
	hit->watched = h.asks && h.watched;
	if (h.asks) {
		hit->vouched = earned_by(p, p->kind == PASS_OUT ? all : &h.nets);
		hit->unavailable = earned_by(p, &h.spare);
		hit->outcome.verdict = all->best > PAIR_CLOSED ? LIVE_ASK : LIVE_NONE;
		hit->outcome.end = 0;
	} else {
		pass_sum_tell(p, &h.base, &hit->outcome);
		hit->vouched = hit->unavailable = earned_by(p, &h.base);
	}
	return p->kind == PASS_IN ? judge_vouchees(p, covering, count, hit)
				  : judge_listeners(p, covering, count, hit);
}

/* --- conduits -------------------------------------------------------------------------------- */

static int add_link(struct pass *p, uint32_t asked, uint32_t number, uint32_t party)
{
	struct generation *g = p->c->g;

	if (vec_grow(&g->links, &g->link_cap, g->link_count + 1, sizeof(*g->links), VOUCHEES_MAX) <
	    0)
		return compile_no_memory(p->c);
	g->links[g->link_count++] =
		(struct vouch_link){.asked = asked, .number = number, .party = party};
	return 0;
}

static int emit_vouchee(struct pass *p, const struct hit *hits, size_t count, uint32_t asked,
			const struct conduit *like, const struct vouchee *v)
{
	struct compile *c = p->c;
	struct conduit conduit = *like;
	uint32_t number = 0;
	int r;

	conduit.rule = v->outcome.rule;
	conduit.verdict = LIVE_NONE;
	conduit.unavailable = LIVE_NONE;
	conduit.vouched = v->outcome.verdict;
	conduit.assurance = v->measured ? ASSURANCE_MEASURED : v->outcome.assurance;
	conduit.flags = (uint8_t)(CONDUIT_IN | (v->outcome.observed ? CONDUIT_OBSERVED : 0));
	r = compile_party(c, PARTY_TYPE_IDENTITY, v->subject, hits[0].node, &conduit.from);
	if (r < 0)
		return r;
	pass_name_group(c, v->measured ? "measured" : "vouched", &conduit, hits, count);
	if (c->name.r < 0)
		return compile_no_memory(c);
	r = compile_conduit(c, c->name.data, &conduit, &number);
	if (r == 0)
		r = compile_add_lease(c, number | MARK_VOUCHED, conduit.vouched, v->outcome.end);
	return r < 0 || !v->leads ? r : add_link(p, asked, number, conduit.from);
}

int pass_emit_vouchees(struct pass *p, const struct hit *hits, size_t count, uint32_t asked,
		       const struct conduit *like)
{
	int r = 0;

	for (uint32_t i = 0; i < hits[0].list_count && r == 0; i++) {
		const struct vouchee *v = &p->vouchees[hits[0].list_first + i];
		uint32_t party = 0;

		if (p->kind == PASS_IN) {
			r = emit_vouchee(p, hits, count, asked, like, v);
			continue;
		}
		r = compile_party(p->c, PARTY_TYPE_IDENTITY, v->subject, hits[0].node, &party);
		if (r == 0)
			r = add_link(p, asked, asked, party);
	}
	return r;
}

/* --- lookups --------------------------------------------------------------------------------- */

static size_t first_link(const struct generation *g, uint32_t asked)
{
	return sorted_first_u32(g->links, g->link_count, sizeof(*g->links),
				offsetof(struct vouch_link, asked), asked);
}

static bool is_contained(const struct generation *g, const char *identity)
{
	for (size_t i = 0; i < g->contained_count; i++)
		if (str_eq(g->contained[i], identity))
			return true;
	return false;
}

const struct conduit *generation_vouched(const struct generation *g, const struct conduit *asked,
					 const char *identity)
{
	for (size_t i = first_link(g, asked->number);
	     i < g->link_count && g->links[i].asked == asked->number; i++) {
		const char *named = g->parties[g->links[i].party].identity;

		if (named && str_eq(named, identity))
			return generation_find(g, g->links[i].number);
	}
	if (is_contained(g, identity) || asked->vouched == LIVE_NONE)
		return NULL;
	/* Networks let in whoever is there; a listener must be the one that is called. */
	if (asked->flags & CONDUIT_OUT) {
		const char *called = g->parties[asked->to].identity;

		return called && str_eq(called, identity) ? asked : NULL;
	}
	return asked;
}

bool generation_wants_evidence(const struct generation *g, const struct conduit *asked)
{
	for (size_t i = first_link(g, asked->number);
	     i < g->link_count && g->links[i].asked == asked->number; i++) {
		const struct conduit *c = generation_find(g, g->links[i].number);

		if (c && c->assurance == ASSURANCE_MEASURED)
			return true;
	}
	return false;
}

bool conduit_is_vouchee(const struct generation *g, const struct conduit *c)
{
	return !(c->flags & (CONDUIT_OUT | CONDUIT_ESSENTIAL)) &&
	       g->parties[c->from].type == PARTY_TYPE_IDENTITY;
}

uint8_t conduit_verdict(const struct conduit *c, uint32_t mark)
{
	switch (mark & MARK_NOT_VOUCHED) {
	case 0:
		return c->verdict;
	case MARK_VOUCHED:
		return c->vouched;
	case MARK_UNAVAILABLE:
		return c->unavailable;
	}
	return LIVE_NONE;
}

/* Nobody who was let in through it stays. */
void compile_close(struct generation *g, struct conduit *conduit)
{
	bool node = g->parties[conduit->from].type == PARTY_TYPE_NODE;

	conduit->verdict = conduit->vouched = conduit->unavailable = LIVE_NONE;
	for (size_t i = 0; i < g->conduit_count && node && (conduit->flags & CONDUIT_ASKED); i++) {
		struct conduit *c = &g->conduits[i];

		if (conduit_is_vouchee(g, c) && c->to == conduit->to &&
		    str_eq(g->parties[c->from].node, g->parties[conduit->from].node) &&
		    service_cmp(&c->service, &conduit->service) == 0)
			c->vouched = LIVE_NONE;
	}
}
