/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One rule against another. A conduit is open while any rule opens it, with the best unconditional
 * answer of all; so a rule that asks less lowers what a narrower one demands, without a word. That
 * word is said here.
 */
#include "rules/policy_build.h"

#include <stddef.h>

static bool services_overlap(const struct rule *a, const struct rule *b)
{
	for (size_t i = 0; i < a->service_count; i++) {
		for (size_t j = 0; j < b->service_count; j++) {
			if (service_overlaps(&a->services[i], &b->services[j]))
				return true;
		}
	}
	return false;
}

static int party_cmp(const struct party_ref *x, const struct party_ref *y)
{
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

/* Both sorted. NULL when they have nobody in common. */
static const struct party_ref *common_party(const struct rule *a, const struct rule *b)
{
	size_t i = 0, j = 0;

	while (i < a->to_party_count && j < b->to_party_count) {
		int c = party_cmp(&a->to_parties[i], &b->to_parties[j]);

		if (c == 0)
			return &a->to_parties[i];
		if (c < 0)
			i++;
		else
			j++;
	}
	return NULL;
}

static bool lowers(const struct rule *broad, const struct rule *narrow)
{
	return broad != narrow && broad->assurance < narrow->assurance && !broad->damaged &&
	       services_overlap(broad, narrow) && common_party(broad, narrow) != NULL;
}

/* The first rule found that lowers this one, for one of its callers. */
static const struct rule *find_lowering(struct policy *p, const struct rule *rule,
					const struct party_ref *caller)
{
	struct rule_iter it;
	uint32_t i;

	policy_rules_from(p, *caller, &it);
	while (policy_next_rule(p, &it, &i)) {
		if (!policy_may_work(p))
			return NULL;
		if (lowers(&p->rules[i], rule))
			return &p->rules[i];
	}
	return NULL;
}

static void check_lowered(struct policy *p, const struct rule *rule)
{
	char place[PLACE_TEXT_MAX];

	for (size_t i = 0; i < rule->from_party_count; i++) {
		const struct rule *other = find_lowering(p, rule, &rule->from_parties[i]);

		if (other == NULL)
			continue;
		policy_warn(p, &rule->pos,
			    "rule \"%s\" demands %s, but \"%s\" (%s) opens some of the same for %s"
			    ADVISE "narrow that rule, or set min_assurance: on the identity",
			    rule->name, assurance_name(rule->assurance), other->name,
			    policy_place(place, p, &other->pos, &rule->pos),
			    assurance_name(other->assurance));
		return;
	}
}

int policy_check_overlaps(struct policy *p)
{
	for (size_t i = 0; i < p->rule_count; i++) {
		const struct rule *rule = &p->rules[i];

		if (rule->assurance > ASSURANCE_MAPPED && !rule->damaged)
			check_lowered(p, rule);
	}
	return 0;
}
