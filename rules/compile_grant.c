/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Just-in-time access. Signed policy says which rules may be opened and for how long; a grant only
 * picks one pair of identities of such a rule (R36). What a grant asks beyond that opens nothing
 * and is reported, so a thief of the controller gains no access that policy does not foresee.
 *
 * Grants are looked up by pair: a head full of them costs a sort and nothing per conduit.
 */
#include "rules/compile_parts.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int granted_cmp(const void *a, const void *b)
{
	const struct granted *x = a, *y = b;

	if (x->rule != y->rule)
		return x->rule < y->rule ? -1 : 1;
	if (x->from != y->from)
		return x->from < y->from ? -1 : 1;
	return x->to < y->to ? -1 : x->to > y->to;
}

static int party_cmp(const void *a, const void *b)
{
	const struct party_ref *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static bool is_party(const struct party_ref *parties, size_t count, uint32_t identity)
{
	struct party_ref wanted = {.kind = PARTY_IDENTITY, .index = identity};

	return count > 0 && bsearch(&wanted, parties, count, sizeof(wanted), party_cmp) != NULL;
}

/* The grant's own end, or the longest that the rule allows from when it was first seen. */
static int64_t end_of(const struct overlay_grant *grant, const struct rule *rule, struct wall now)
{
	struct wall since = grant->since.s != 0 && grant->since.s < now.s ? grant->since : now;
	int64_t longest = since.s + rule->grant_max_s;

	return grant->until.s < longest ? grant->until.s : longest;
}

/* What policy has against the grant, or NULL; fills *ret when it has nothing. */
static const char *fault_of(const struct place *p, const struct overlay_grant *grant,
			    struct wall now, struct granted *ret)
{
	int rule = policy_find_rule(p->policy, grant->rule);
	const struct rule *model;

	if (rule < 0)
		return "policy has no such rule";
	model = &p->policy->rules[rule];
	if (!model->grantable)
		return "policy does not mark the rule grantable";
	*ret = (struct granted){.rule = (uint32_t)rule,
				.from = name_index_find(&p->paths, grant->from),
				.to = name_index_find(&p->paths, grant->to),
				.until = end_of(grant, model, now)};
	if (ret->from == NO_INDEX || ret->to == NO_INDEX)
		return "policy has no such identity";
	if (!is_party(model->from_parties, model->from_party_count, ret->from))
		return "the caller is not under from: of the rule";
	if (!is_party(model->to_parties, model->to_party_count, ret->to))
		return "the called one is not under to: of the rule";
	return NULL;
}

/* Of two grants for one pair the longer one counts. */
static void unite(struct place *p)
{
	size_t kept = 0;

	sort_items(p->grants, p->grant_count, sizeof(*p->grants), granted_cmp);
	for (size_t i = 0; i < p->grant_count; i++) {
		struct granted *g = &p->grants[i];

		if (kept == 0 || granted_cmp(&p->grants[kept - 1], g) != 0)
			p->grants[kept++] = *g;
		else if (g->until > p->grants[kept - 1].until)
			p->grants[kept - 1].until = g->until;
	}
	p->grant_count = kept;
}

int compile_grants(struct compile *c, struct place *p)
{
	const struct overlay *o = c->in->overlay;
	size_t count = o ? o->grant_count : 0;
	int r = 0;

	p->grants = mem_calloc(count, sizeof(*p->grants));
	if (!p->grants)
		return compile_no_memory(c);
	for (size_t i = 0; i < count && r == 0; i++) {
		const struct overlay_grant *grant = &o->grants[i];
		struct granted resolved;
		const char *fault;

		if (grant->until.s <= c->in->now.s)
			continue;
		fault = fault_of(p, grant, c->in->now, &resolved);
		if (fault) {
			r = compile_refuse(c, p, "grant of '%s' for '%s' > '%s': %s", grant->rule,
					   grant->from, grant->to, fault);
			continue;
		}
		if (resolved.until <= c->in->now.s)
			continue;
		p->grants[p->grant_count++] = resolved;
		compile_note_change(c, resolved.until);
	}
	unite(p);
	return r;
}

int64_t compile_granted(const struct place *p, uint32_t rule, const struct party_ref *from,
			const struct party_ref *to)
{
	struct granted wanted = {.rule = rule, .from = from->index, .to = to->index};
	const struct granted *found;

	if (p->grant_count == 0 || from->kind != PARTY_IDENTITY || to->kind != PARTY_IDENTITY)
		return 0;
	found = bsearch(&wanted, p->grants, p->grant_count, sizeof(wanted), granted_cmp);
	return found ? found->until : 0;
}
