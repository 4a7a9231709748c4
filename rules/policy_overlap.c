/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One rule against another. A conduit is open while any rule opens it, with the best unconditional
 * answer of all; so a rule that asks less lowers what a narrower one demands, without a word. That
 * word is said here.
 */
#include "rules/policy_build.h"

#include "base/mem.h"

#include <errno.h>
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

/* Both lists are sorted. */
static bool lists_meet(struct policy *p, const struct rule *a, const struct rule *b)
{
	size_t i = 0, j = 0;

	if (a->to_list == b->to_list)
		return a->to_party_count > 0;
	while (i < a->to_party_count && j < b->to_party_count && policy_may_work(p)) {
		int c = party_cmp(&a->to_parties[i], &b->to_parties[j]);

		if (c == 0)
			return true;
		i += c < 0;
		j += c > 0;
	}
	return false;
}

/* Among the rules that share this from: list, one that asks less for some of the same. */
static const struct rule *lowering_in(struct policy *p, const struct rule *narrow,
				      const struct party_list *l)
{
	for (size_t i = 0; i < l->from_rule_count && policy_may_work(p); i++) {
		const struct rule *broad = &p->rules[l->from_rules[i]];

		if (broad->assurance < narrow->assurance && !broad->damaged &&
		    services_overlap(broad, narrow) && lists_meet(p, broad, narrow))
			return broad;
	}
	return NULL;
}

/* Lists that share a caller with the rule, each looked at once: `seen` holds the rule's number. */
static const struct rule *find_lowering(struct policy *p, const struct rule *rule, uint32_t *seen)
{
	uint32_t number = (uint32_t)(rule - p->rules) + 1;

	for (size_t i = 0; i < rule->from_party_count; i++) {
		const struct party_ref *caller = &rule->from_parties[i];
		size_t party =
			caller->index + (caller->kind == PARTY_NETWORK ? p->identity_count : 0);

		for (uint32_t at = p->index.start[party]; at < p->index.start[party + 1]; at++) {
			uint32_t list = p->index.at[at];
			const struct rule *other;

			if (seen[list] == number || !policy_may_work(p))
				continue;
			seen[list] = number;
			other = lowering_in(p, rule, &p->lists[list]);
			if (other != NULL)
				return other;
		}
	}
	return NULL;
}

static void check_lowered(struct policy *p, const struct rule *rule, uint32_t *seen)
{
	const struct rule *other = find_lowering(p, rule, seen);
	char place[PLACE_TEXT_MAX];

	if (other != NULL)
		policy_warn(p, &rule->pos,
			    "rule \"%s\" demands %s, but \"%s\" (%s) opens some of the same "
			    "for %s" ADVISE
			    "narrow that rule, or set min_assurance: on the identity",
			    rule->name, assurance_name(rule->assurance), other->name,
			    policy_place(place, p, &other->pos, &rule->pos),
			    assurance_name(other->assurance));
}

int policy_check_overlaps(struct policy *p)
{
	CLEANUP(freep) uint32_t *seen = mem_calloc(p->list_count, sizeof(*seen));

	if (seen == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < p->rule_count; i++) {
		const struct rule *rule = &p->rules[i];

		if (rule->assurance > ASSURANCE_MAPPED && !rule->damaged)
			check_lowered(p, rule, seen);
	}
	return 0;
}
