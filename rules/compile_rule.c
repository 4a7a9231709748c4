/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How far a rule gets now: what was revoked or quarantined, windows, expirations, assurance. Rules
 * only permit, so whatever fails here closes one pair of one rule and nothing else.
 */
#include "rules/compile_parts.h"

#include "base/mem.h"
#include "base/sorted.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- what was taken away --------------------------------------------------------------------- */

void compile_note_change(struct compile *c, int64_t at)
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

static int revoke(struct compile *c, struct place *p, const struct overlay_revoked *r)
{
	uint32_t identity;
	int rule;

	switch (r->kind) {
	case REVOKED_RULE:
		rule = policy_find_rule(p->policy, r->name);
		if (rule < 0)
			return compile_refuse(
				c, p, "revocation of rule '%s': policy has no such rule", r->name);
		p->rule_revoked[rule] = true;
		return 0;
	case REVOKED_IDENTITY:
		identity = name_index_find(&p->paths, r->name);
		if (identity == NO_INDEX)
			return compile_refuse(
				c, p, "revocation of '%s': policy has no such identity", r->name);
		p->identity_revoked[identity] = true;
		return 0;
	case REVOKED_LABEL:
		revoke_labels(p, r->name);
		return 0;
	case REVOKED_CONDUIT:
		return 0; /* numbers are known at the end only */
	}
	return 0;
}

static int held_cmp(const void *a, const void *b)
{
	const struct held *x = a, *y = b;

	if (x->identity != y->identity)
		return x->identity < y->identity ? -1 : 1;
	return x->keep < y->keep ? -1 : x->keep > y->keep;
}

static int hold(struct compile *c, struct place *p, const struct overlay_quarantine *q)
{
	uint32_t identity = name_index_find(&p->paths, q->identity);
	int network = q->keep ? policy_find_network(p->policy, q->keep) : -ENOENT;

	if (identity == NO_INDEX)
		return compile_refuse(c, p, "quarantine of '%s': policy has no such identity",
				      q->identity);
	p->identity_quarantined[identity] = true;
	p->held[p->held_count++] = (struct held){
		.identity = identity, .keep = network < 0 ? NO_INDEX : (uint32_t)network};
	if (!q->keep || network >= 0)
		return 0;
	return compile_refuse(c, p, "quarantine of '%s': policy has no network '%s' to keep",
			      q->identity, q->keep);
}

static int hold_quarantined(struct compile *c, struct place *p)
{
	const struct overlay *o = c->in->overlay;
	size_t count = o ? o->quarantined_count : 0, kept = 0;
	int r = 0;

	p->held = mem_calloc(count, sizeof(*p->held));
	if (!p->held)
		return compile_no_memory(c);
	for (size_t i = 0; i < count && r == 0; i++)
		r = hold(c, p, &o->quarantined[i]);
	sort_items(p->held, p->held_count, sizeof(*p->held), held_cmp);
	for (size_t i = 0; i < p->held_count; i++)
		if (kept == 0 || held_cmp(&p->held[kept - 1], &p->held[i]) != 0)
			p->held[kept++] = p->held[i];
	p->held_count = kept;
	return r;
}

static int apply_revocations(struct compile *c, struct place *p)
{
	const struct overlay *o = c->in->overlay;
	int r = 0;

	for (size_t i = 0; o && i < o->revoked_count && r == 0; i++) {
		struct wall until = o->revoked[i].until;

		if (until.s != 0 && c->in->now.s >= until.s)
			continue;
		compile_note_change(c, until.s);
		r = revoke(c, p, &o->revoked[i]);
	}
	return r;
}

/* Some quarantine of this identity keeps something else, or nothing. */
static bool has_other_hold(const struct place *p, const struct held *hold)
{
	size_t low = sorted_first_u32(p->held, p->held_count, sizeof(*p->held),
				      offsetof(struct held, identity), hold->identity);

	for (; low < p->held_count && p->held[low].identity == hold->identity; low++)
		if (p->held[low].keep != hold->keep)
			return true;
	return false;
}

/*
 * A quarantined identity reaches, and is reached from, the network that was kept and no other. Two
 * quarantines that keep different networks keep none.
 */
static bool is_quarantined(const struct place *p, const struct party_ref *party,
			   const struct party_ref *other)
{
	struct held wanted;

	if (party->kind != PARTY_IDENTITY || !p->identity_quarantined[party->index])
		return false;
	if (other->kind != PARTY_NETWORK)
		return true;
	wanted = (struct held){.identity = party->index, .keep = other->index};
	return has_other_hold(p, &wanted);
}

static bool is_taken_away(const struct place *p, uint32_t rule, const struct party_ref *from,
			  const struct party_ref *to)
{
	const struct party_ref *ends[] = {from, to};

	if (p->rule_revoked[rule])
		return true;
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		const bool *revoked =
			ends[i]->kind == PARTY_IDENTITY ? p->identity_revoked : p->network_revoked;

		if (revoked[ends[i]->index] || is_quarantined(p, ends[i], ends[1 - i]))
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

/* A mapping that nobody renews says less and less of who is where (R35). */
static void stale_apply(struct compile *c, const struct rule *rule, struct rule_state *s)
{
	int64_t end = c->in->stale_end.s;

	if (rule->on_stale != ON_STALE_END || end == 0)
		return;
	if (c->in->now.s >= end) {
		s->open = false;
		return;
	}
	if (s->change == 0 || end < s->change)
		s->change = end;
	if (s->end == 0 || end < s->end)
		s->end = end;
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
	stale_apply(c, rule, s);
	if (r == 0)
		compile_note_change(c, s->change);
	return r;
}

/* The called identity's floor: no rule below it opens anything (R18). */
static bool is_below_floor(const struct policy *p, const struct rule *rule,
			   const struct party_ref *to)
{
	return to->kind == PARTY_IDENTITY &&
	       p->identities[to->index].min_assurance > rule->assurance;
}

/*
 * What runs here as this identity is not approved: its own host ends what asks for it, like a
 * revocation (UC-18). Of callers elsewhere their own hosts tell.
 */
static bool is_unmeasured(const struct compile *c, const struct place *p, const struct rule *rule,
			  const struct party_ref *from)
{
	const char *const *paths = c->in->unmeasured;

	if (rule->assurance != ASSURANCE_MEASURED || from->kind != PARTY_IDENTITY ||
	    p->local_of[from->index] == NO_INDEX)
		return false;
	for (; paths && *paths; paths++)
		if (str_eq(*paths, p->policy->identities[from->index].path))
			return true;
	return false;
}

int compile_pair_state(struct compile *c, struct place *p, uint32_t rule,
		       const struct party_ref *from, const struct party_ref *to, bool from_here,
		       struct pair *ret)
{
	const struct rule *model = &p->policy->rules[rule];
	struct rule_state *s = &p->rules[rule];
	int64_t until = 0;
	int r;

	*ret = (struct pair){.state = PAIR_CUT};
	if (p->ghost)
		return 0;
	if (!s->known) {
		r = rule_now(c, model, s);
		if (r < 0)
			return r;
	}
	if (is_taken_away(p, rule, from, to) || (from_here && is_unmeasured(c, p, model, from)))
		return 0;
	if (model->grantable)
		until = compile_granted(p, rule, from, to);
	ret->end = until != 0 && (s->end == 0 || until < s->end) ? until : s->end;
	if (!s->open || is_below_floor(p->policy, model, to) || (model->grantable && until == 0))
		ret->state = model->observe ? PAIR_WATCHED : PAIR_CLOSED;
	else
		ret->state = ret->end != 0 ? PAIR_LEASED : PAIR_HOLDS;
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

static int apply_overlay(struct compile *c, struct place *p)
{
	int r = apply_revocations(c, p);

	if (r == 0)
		r = hold_quarantined(c, p);
	if (r == 0)
		r = compile_contained(c, p);
	if (r < 0)
		return r;
	contain(c, p);
	return compile_grants(c, p);
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
		r = apply_overlay(c, p);
		if (r < 0)
			return r;
	}
	r = rank_rules(c, p);
	if (r == 0)
		r = list_rules(c, p, true, &p->out_rules, &p->out_first);
	if (r == 0)
		r = list_rules(c, p, false, &p->in_rules, &p->in_first);
	return r;
}
