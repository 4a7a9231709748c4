/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How far a rule gets now: what was revoked or quarantined, windows, expirations, assurance. Rules
 * only permit, so whatever fails here closes one pair of one rule and nothing else.
 */
#include "rules/compile_parts.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- what was taken away --------------------------------------------------------------------- */

static void note_change(struct compile *c, int64_t at)
{
	struct wall *next = &c->g->next_change;

	if (at > c->in->now.s && (next->s == 0 || at < next->s))
		next->s = at;
}

static void revoke_labels(struct place *p, const char *expression)
{
	const struct policy *policy = p->policy;

	for (size_t i = 0; i < policy->identity_count; i++)
		if (expression_matches(expression, policy->identities[i].labels,
				       policy->identities[i].label_count))
			p->identity_revoked[i] = true;
	for (size_t i = 0; i < policy->network_count; i++)
		if (expression_matches(expression, policy->networks[i].labels,
				       policy->networks[i].label_count))
			p->network_revoked[i] = true;
}

static void revoke(struct place *p, const struct overlay_revoked *r)
{
	uint32_t identity;

	switch (r->kind) {
	case REVOKED_RULE:
		for (size_t i = 0; i < p->policy->rule_count; i++)
			if (str_eq(p->policy->rules[i].name, r->name))
				p->rule_revoked[i] = true;
		break;
	case REVOKED_IDENTITY:
		identity = name_index_find(&p->paths, r->name);
		if (identity != NO_INDEX)
			p->identity_revoked[identity] = true;
		break;
	case REVOKED_LABEL:
		revoke_labels(p, r->name);
		break;
	case REVOKED_CONDUIT:
		break; /* numbers are known at the end only */
	}
}

static void apply_overlay(struct compile *c, struct place *p)
{
	const struct overlay *o = c->in->overlay;

	for (size_t i = 0; o && i < o->revoked_count; i++) {
		struct wall until = o->revoked[i].until;

		if (until.s != 0 && c->in->now.s >= until.s)
			continue;
		note_change(c, until.s);
		revoke(p, &o->revoked[i]);
	}
	for (size_t i = 0; o && i < o->quarantined_count; i++) {
		uint32_t identity = name_index_find(&p->paths, o->quarantined[i].identity);

		if (identity != NO_INDEX)
			p->identity_quarantined[identity] = true;
	}
}

/* A quarantined identity reaches, and is reached from, the network that was kept and no other. */
static bool is_quarantined(const struct compile *c, const struct place *p,
			   const struct party_ref *party, const struct party_ref *other)
{
	const struct overlay *o = c->in->overlay;
	const struct policy *policy = p->policy;

	if (party->kind != PARTY_IDENTITY || !p->identity_quarantined[party->index])
		return false;
	for (size_t i = 0; o && i < o->quarantined_count; i++) {
		const struct overlay_quarantine *q = &o->quarantined[i];

		if (!str_eq(q->identity, policy->identities[party->index].path))
			continue;
		if (!q->keep || other->kind != PARTY_NETWORK ||
		    !str_eq(q->keep, policy->networks[other->index].name))
			return true;
	}
	return false;
}

static bool is_taken_away(const struct compile *c, const struct place *p, uint32_t rule,
			  const struct party_ref *from, const struct party_ref *to)
{
	const struct party_ref *ends[] = {from, to};

	if (p->rule_revoked[rule])
		return true;
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		const bool *revoked =
			ends[i]->kind == PARTY_IDENTITY ? p->identity_revoked : p->network_revoked;

		if (revoked[ends[i]->index] || is_quarantined(c, p, ends[i], ends[1 - i]))
			return true;
	}
	return false;
}

/* --- conditions of time ---------------------------------------------------------------------- */

static int window_apply(struct compile *c, const struct rule *rule, struct rule_state *s)
{
	const struct compile_input *in = c->in;
	struct wall change = {0};
	bool open = false;
	int r = -EINVAL;

	if (!rule->has_window)
		return 0;
	if (!in->clock_trusted) {
		s->open = s->open && rule->on_clock_loss == ON_CLOCK_LOSS_OPEN;
		return 0;
	}
	if (in->local_time)
		r = window_state(&rule->window, in->local_time, in->now, &open, &change);
	if (r < 0)
		return err_set(c->err, -r, "rule '%s': time zone '%s' is not known on this host",
			       rule->name, rule->window.zone);
	if (change.s != 0 && (s->change == 0 || change.s < s->change))
		s->change = change.s;
	if (open && change.s != 0 && (s->end == 0 || change.s < s->end))
		s->end = change.s;
	s->open = s->open && open;
	return 0;
}

static int rule_now(struct compile *c, const struct rule *rule, struct rule_state *s)
{
	int r;

	*s = (struct rule_state){.known = true, .open = true};
	if (rule->has_expires) {
		s->open = c->in->now.s < rule->expires.s;
		s->end = s->open ? rule->expires.s : 0;
		s->change = s->end;
	}
	r = window_apply(c, rule, s);
	if (r == 0)
		note_change(c, s->change);
	return r;
}

/*
 * Between nodes only the caller's own agent can vouch for more than an address, and none can be
 * asked: such a rule opens what its on_unavailable says. One kernel vouches for both ends of
 * loopback; networks are addresses and nothing else.
 */
static bool is_unassured(const struct policy *p, const struct rule *rule,
			 const struct party_ref *from, const struct party_ref *to, bool same_node)
{
	if (to->kind == PARTY_IDENTITY && p->identities[to->index].min_assurance > rule->assurance)
		return true;
	if (rule->assurance <= ASSURANCE_MAPPED || same_node || from->kind == PARTY_NETWORK ||
	    to->kind == PARTY_NETWORK)
		return false;
	return rule->on_unavailable != ON_UNAVAILABLE_ALLOW;
}

int compile_pair_state(struct compile *c, struct place *p, uint32_t rule,
		       const struct party_ref *from, const struct party_ref *to, bool same_node,
		       enum pair_state *ret)
{
	const struct rule *model = &p->policy->rules[rule];
	struct rule_state *s = &p->rules[rule];
	int r;

	if (p->ghost) {
		*ret = PAIR_CUT;
		return 0;
	}
	if (!s->known) {
		r = rule_now(c, model, s);
		if (r < 0)
			return r;
	}
	if (is_taken_away(c, p, rule, from, to))
		*ret = PAIR_CUT;
	else if (!s->open || is_unassured(p->policy, model, from, to, same_node))
		*ret = model->observe ? PAIR_WATCHED : PAIR_CLOSED;
	else
		*ret = s->end != 0 ? PAIR_LEASED : PAIR_HOLDS;
	return 0;
}

/* --- rules of each local identity ------------------------------------------------------------ */

static void count_rules(const struct place *p, const struct party_ref *parties, size_t count,
			uint32_t *counts)
{
	for (size_t i = 0; i < count; i++) {
		if (parties[i].kind != PARTY_IDENTITY)
			continue;
		if (p->local_of[parties[i].index] != NO_INDEX)
			counts[p->local_of[parties[i].index] + 1]++;
	}
}

static void fill_rules(const struct place *p, const struct party_ref *parties, size_t count,
		       uint32_t rule, uint32_t *next, uint32_t *list)
{
	for (size_t i = 0; i < count; i++) {
		if (parties[i].kind != PARTY_IDENTITY)
			continue;
		if (p->local_of[parties[i].index] != NO_INDEX)
			list[next[p->local_of[parties[i].index]]++] = rule;
	}
}

static int list_rules(struct compile *c, const struct place *p, bool out, uint32_t **ret_list,
		      uint32_t **ret_first)
{
	const struct policy *policy = p->policy;
	size_t locals = c->g->local_count;
	CLEANUP(freep) uint32_t *first = mem_calloc(locals + 1, sizeof(*first));
	CLEANUP(freep) uint32_t *next = mem_calloc(locals + 1, sizeof(*next));
	uint32_t *list;

	if (!first || !next)
		return compile_no_memory(c);
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct rule *r = &policy->rules[i];

		count_rules(p, out ? r->from_parties : r->to_parties,
			    out ? r->from_party_count : r->to_party_count, first);
	}
	for (size_t i = 0; i < locals; i++)
		first[i + 1] += first[i];
	memcpy(next, first, (locals + 1) * sizeof(*next));
	list = mem_calloc(first[locals], sizeof(*list));
	if (!list)
		return compile_no_memory(c);
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct rule *r = &policy->rules[i];

		fill_rules(p, out ? r->from_parties : r->to_parties,
			   out ? r->from_party_count : r->to_party_count, (uint32_t)i, next, list);
	}
	*ret_list = list;
	*ret_first = TAKE_PTR(first);
	return 0;
}

static int rank_rules(struct compile *c, struct place *p)
{
	struct name_index names = {0};

	p->rule_rank = mem_calloc(p->policy->rule_count, sizeof(*p->rule_rank));
	names.entries = mem_calloc(p->policy->rule_count, sizeof(*names.entries));
	if (!p->rule_rank || !names.entries) {
		name_index_done(&names);
		return compile_no_memory(c);
	}
	for (size_t i = 0; i < p->policy->rule_count; i++)
		names.entries[names.count++] =
			(struct name_entry){.name = p->policy->rules[i].name, .index = (uint32_t)i};
	name_index_sort(&names);
	for (size_t i = 0; i < names.count; i++)
		p->rule_rank[names.entries[i].index] = (uint32_t)i;
	name_index_done(&names);
	return 0;
}

/* Containing an incident must not only be recorded: it ends an identity's observe mode. */
static void contain(struct compile *c, const struct place *p)
{
	for (size_t i = 0; i < c->g->local_count; i++) {
		struct local_identity *l = &c->g->locals[i];

		if (p->identity_revoked[l->index] || p->identity_quarantined[l->index])
			l->observe = false;
	}
}

int compile_rule_states(struct compile *c, struct place *p)
{
	const struct policy *policy = p->policy;
	int r;

	p->rules = mem_calloc(policy->rule_count, sizeof(*p->rules));
	p->rule_revoked = mem_calloc(policy->rule_count, sizeof(bool));
	p->identity_revoked = mem_calloc(policy->identity_count, sizeof(bool));
	p->identity_quarantined = mem_calloc(policy->identity_count, sizeof(bool));
	p->network_revoked = mem_calloc(policy->network_count, sizeof(bool));
	if (!p->rules || !p->rule_revoked || !p->identity_revoked || !p->identity_quarantined ||
	    !p->network_revoked)
		return compile_no_memory(c);
	if (!p->ghost) {
		apply_overlay(c, p);
		contain(c, p);
	}
	r = rank_rules(c, p);
	if (r == 0)
		r = list_rules(c, p, true, &p->out_rules, &p->out_first);
	if (r == 0)
		r = list_rules(c, p, false, &p->in_rules, &p->in_first);
	return r;
}
