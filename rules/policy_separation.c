/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Separations: under `label: environment` no rule may join two environments, nor touch a party that
 * has none, unless an exception names it, with a reason, an owner and an end (UC-20, UC-41).
 * Each list of parties is looked at once per label, however many rules use it.
 */
#include "rules/policy_build.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/policy_expression.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What one list says under one label. NULL: nothing. */
struct values {
	const struct party_ref *first;   /* has a value */
	const struct party_ref *other;   /* has one that differs from first's */
	const struct party_ref *without; /* has none */
};

struct separator {
	struct policy *p;
	const char *label;
	struct map *excepted; /* names of rules */
	struct values *of_list;
};

static void separator_done(struct separator *s)
{
	map_free(s->excepted);
	free(s->of_list);
}

static const char *party_value(const struct separator *s, const struct party_ref *ref)
{
	if (ref->kind == PARTY_NETWORK) {
		const struct network *n = &s->p->networks[ref->index];

		return label_value(n->labels, n->label_count, s->label);
	}
	return label_value(s->p->identities[ref->index].labels,
			   s->p->identities[ref->index].label_count, s->label);
}

static const char *party_name(const struct policy *p, const struct party_ref *ref)
{
	return ref->kind == PARTY_NETWORK ? p->networks[ref->index].name
					  : p->identities[ref->index].name;
}

static bool party_damaged(const struct policy *p, const struct party_ref *ref)
{
	return ref->kind == PARTY_NETWORK ? p->networks[ref->index].damaged
					  : p->identities[ref->index].damaged;
}

static void look_at_list(struct separator *s, const struct party_list *l, struct values *v)
{
	const char *first = NULL;

	for (size_t i = 0; i < l->count; i++) {
		const char *value = party_value(s, &l->parties[i]);

		if (value == NULL && v->without == NULL && !party_damaged(s->p, &l->parties[i]))
			v->without = &l->parties[i];
		if (value != NULL && first == NULL) {
			first = value;
			v->first = &l->parties[i];
		} else if (value != NULL && v->other == NULL && !str_eq(value, first)) {
			v->other = &l->parties[i];
		}
	}
}

/* ---- exceptions ---- */

static const char *nearest_rule(struct policy *p, const char *name)
{
	CLEANUP(freep) const char **names = mem_calloc(p->rule_count, sizeof(*names));

	if (names == NULL) {
		p->build->r = -ENOMEM;
		return NULL;
	}
	for (size_t i = 0; i < p->rule_count; i++)
		names[i] = p->rules[i].name;
	return text_nearest(name, names, p->rule_count);
}

static void check_exception(struct policy *p, const struct separation_exception *e)
{
	char quoted[YAML_QUOTE_MAX], when[RFC3339_TEXT_MAX];
	const char *near;

	(void)yaml_quote(quoted, e->rule);
	if (e->rule[0] != '\0' && policy_find_rule(p, e->rule) < 0 && policy_wants_error(p) &&
	    !p->build->names_incomplete) {
		near = nearest_rule(p, e->rule);
		if (near != NULL)
			policy_error(p, &e->pos,
				     "no rule is called %s" ADVISE "did you mean \"%s\"?", quoted,
				     near);
		else
			policy_error(p, &e->pos,
				     "no rule is called %s" ADVISE "remove the exception", quoted);
	}
	if (e->expires.s <= p->build->now.s)
		policy_error(p, &e->pos,
			     "the exception for rule %s ended at %s" ADVISE
			     "remove the rule, or decide anew and set a later end",
			     quoted, rfc3339_format(when, e->expires));
}

/* An exception that has ended is reported once, as such, and not at its rule again. */
static int collect_exceptions(struct separator *s)
{
	struct policy *p = s->p;
	int r = 0;

	for (size_t i = 0; i < p->separation_count; i++) {
		const struct separation *sep = &p->separations[i];

		if (!str_eq(sep->label, s->label))
			continue;
		for (size_t j = 0; j < sep->except_count && r == 0; j++) {
			check_exception(p, &sep->except[j]);
			r = map_put_str(s->excepted, sep->except[j].rule, s);
		}
	}
	return r;
}

/* ---- rules ---- */

/* Where the party was written: the subject that names or selects it. */
static const struct pos *subject_pos(const struct policy *p, const struct rule *rule, bool to,
				     const struct party_ref *ref)
{
	const struct subject *subjects = to ? rule->to : rule->from;
	size_t count = to ? rule->to_count : rule->from_count;
	const char *name = party_name(p, ref);

	for (size_t i = 0; i < count; i++) {
		const struct identity *id;

		if (strchr(subjects[i].text, '=') == NULL) {
			if (str_eq(subjects[i].text, name))
				return &subjects[i].pos;
			continue;
		}
		if (ref->kind == PARTY_NETWORK)
			continue;
		id = &p->identities[ref->index];
		if (expression_matches(subjects[i].text, id->labels, id->label_count))
			return &subjects[i].pos;
	}
	return &rule->pos;
}

static void report_without(struct separator *s, const struct rule *rule, bool to,
			   const struct party_ref *ref)
{
	policy_error(s->p, subject_pos(s->p, rule, to, ref),
		     "rule \"%s\": \"%s\" has no label %s, by which rules are separated" ADVISE
		     "label it, or list the rule under except",
		     rule->name, party_name(s->p, ref), s->label);
}

static void report_join(struct separator *s, const struct rule *rule, const struct party_ref *from,
			const struct party_ref *to)
{
	policy_error(s->p, &rule->pos,
		     "rule \"%s\" joins %s=%s (%s) and %s=%s (%s)" ADVISE
		     "list it under except, or split it",
		     rule->name, s->label, party_value(s, from), party_name(s->p, from), s->label,
		     party_value(s, to), party_name(s->p, to));
}

static void check_rule(struct separator *s, const struct rule *rule)
{
	const struct values *from = &s->of_list[rule->from_list];
	const struct values *to = &s->of_list[rule->to_list];

	if (map_get_str(s->excepted, rule->name) != NULL)
		return;
	if (from->without != NULL)
		report_without(s, rule, false, from->without);
	if (to->without != NULL)
		report_without(s, rule, true, to->without);
	if (from->first == NULL || to->first == NULL)
		return;
	if (!str_eq(party_value(s, from->first), party_value(s, to->first)))
		report_join(s, rule, from->first, to->first);
	else if (to->other != NULL)
		report_join(s, rule, from->first, to->other);
	else if (from->other != NULL)
		report_join(s, rule, from->other, to->first);
}

static int check_label(struct policy *p, const char *label)
{
	CLEANUP(separator_done) struct separator s = {.p = p, .label = label};
	int r;

	s.excepted = map_new(POLICY_RULES_MAX, NULL);
	s.of_list = mem_calloc(p->list_count, sizeof(*s.of_list));
	if (s.excepted == NULL || s.of_list == NULL)
		return -ENOMEM;
	r = collect_exceptions(&s);
	if (r < 0)
		return r;
	for (size_t i = 0; i < p->list_count; i++)
		look_at_list(&s, &p->lists[i], &s.of_list[i]);
	for (size_t i = 0; i < p->rule_count; i++)
		check_rule(&s, &p->rules[i]);
	return 0;
}

int policy_check_separations(struct policy *p)
{
	int r = 0;

	for (size_t i = 0; i < p->separation_count && r == 0; i++) {
		bool earlier = false;

		/* Several files may separate by one label; their exceptions count together. */
		for (size_t j = 0; j < i; j++)
			earlier |= str_eq(p->separations[j].label, p->separations[i].label);
		if (!earlier && p->separations[i].label[0] != '\0')
			r = check_label(p, p->separations[i].label);
	}
	return r;
}
