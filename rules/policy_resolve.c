/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From what stands under from: and to: to lists of parties. Labels are indexed once, so that an
 * expression costs what it selects and not the number of identities; rules that say the same share
 * one list. Ends with the index "which rules concern this party".
 */
#include "rules/policy_build.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/policy_expression.h"
#include "rules/policy_grammar.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABELS_MAX     8000000
#define LIST_KEY_MAX   (8U << 20)
#define LISTS_MAX      (2U * POLICY_RULES_MAX)
#define LABEL_TEXT_MAX (LABEL_KEY_MAX + 1 + LABEL_VALUE_MAX + 1)

/* The identities with one label, ascending. */
struct members {
	uint32_t *ids;
	size_t count, cap;
	char text[]; /* "key=value" */
};

struct resolver {
	struct policy *p;
	struct map *by_label; /* "key=value" to struct members */
	struct map *by_text;  /* subjects of a list to the index + 1 of the list */
	uint32_t *seen;       /* per party: the list that took it in last, plus one */
	struct party_ref *found;
	size_t found_count, found_cap;
	size_t total; /* parties in all lists */
	struct buf key;
	bool faulty; /* a subject of the list at hand was refused */
};

static void members_free(void *m)
{
	free(((struct members *)m)->ids);
	free(m);
}

static void resolver_done(struct resolver *r)
{
	map_free(r->by_label);
	map_free(r->by_text);
	free(r->seen);
	free(r->found);
	buf_done(&r->key);
}

/* ---- labels ---- */

static int member_add(struct resolver *r, const struct label *l, uint32_t identity)
{
	char text[LABEL_TEXT_MAX];
	struct members *m;
	int e;

	(void)snprintf(text, sizeof(text), "%s=%s", l->key, l->value);
	m = map_get_str(r->by_label, text);
	if (m == NULL) {
		m = mem_calloc(1, sizeof(*m) + strlen(text) + 1);
		if (m == NULL)
			return -ENOMEM;
		memcpy(m->text, text, strlen(text) + 1);
		e = map_put_str(r->by_label, text, m);
		if (e < 0) {
			free(m);
			return e;
		}
	}
	e = vec_grow(&m->ids, &m->cap, m->count + 1, sizeof(*m->ids), POLICY_IDENTITIES_MAX);
	if (e == 0)
		m->ids[m->count++] = identity;
	return e;
}

static int labels_index(struct resolver *r)
{
	int e = 0;

	for (uint32_t i = 0; i < r->p->identity_count; i++) {
		const struct identity *id = &r->p->identities[i];

		for (size_t j = 0; j < id->label_count && e == 0; j++)
			e = member_add(r, &id->labels[j], i);
	}
	return e;
}

static const struct members *members_of(const struct resolver *r, const struct expression_term *t,
					const char *value, size_t len)
{
	char text[LABEL_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "%.*s=%.*s", (int)t->key_len, t->key, (int)len, value);
	return map_get_str(r->by_label, text);
}

static size_t term_size(const struct resolver *r, struct expression_term t)
{
	const char *value;
	size_t len, size = 0;

	while (expression_next_value(&t, &value, &len)) {
		const struct members *m = members_of(r, &t, value, len);

		size += m != NULL ? m->count : 0;
	}
	return size;
}

/* ---- collecting parties ---- */

static int found_add(struct resolver *r, enum party_kind kind, uint32_t index)
{
	struct policy *p = r->p;
	size_t at = index + (kind == PARTY_NETWORK ? p->identity_count : 0);
	uint32_t stamp = (uint32_t)p->list_count + 1;
	int e;

	if (r->seen[at] == stamp)
		return 0;
	r->seen[at] = stamp;
	e = vec_grow(&r->found, &r->found_cap, r->found_count + 1, sizeof(*r->found),
		     POLICY_PARTIES_MAX);
	if (e == 0)
		r->found[r->found_count++] = (struct party_ref){.kind = kind, .index = index};
	return e;
}

/* The identities of one term, those of them that the whole expression selects. */
static int term_collect(struct resolver *r, const char *text, struct expression_term t)
{
	const char *value;
	size_t len;
	int e = 0;

	while (expression_next_value(&t, &value, &len)) {
		const struct members *m = members_of(r, &t, value, len);

		for (size_t i = 0; m != NULL && i < m->count && e == 0; i++) {
			const struct identity *id = &r->p->identities[m->ids[i]];

			if (expression_matches(text, id->labels, id->label_count))
				e = found_add(r, PARTY_IDENTITY, m->ids[i]);
		}
	}
	return e;
}

static void check_expression_keys(struct resolver *r, const struct subject *s)
{
	struct expression_term t;
	const char *at = s->text, *meant;
	char key[LABEL_KEY_MAX + 1];

	while (expression_next_term(&at, &t)) {
		(void)snprintf(key, sizeof(key), "%.*s", (int)t.key_len, t.key);
		meant = label_key_meant(key);
		if (meant == NULL)
			continue;
		r->faulty = true;
		policy_error(r->p, &s->pos,
			     "unknown label key \"%s\"" ADVISE "did you mean \"%s\"?", key, meant);
	}
}

/* The label that is there and looks most like one that is not. */
static const char *nearest_label(const struct resolver *r, const char *wanted)
{
	struct map_iter it = {0};
	const char *best = NULL;
	unsigned best_distance = 3;

	while (map_next(r->by_label, &it)) {
		const struct members *m = it.value;
		unsigned distance = text_distance(wanted, m->text, best_distance - 1);

		if (distance < best_distance) {
			best_distance = distance;
			best = m->text;
		}
	}
	return best;
}

static void warn_empty(struct resolver *r, const struct subject *s)
{
	char quoted[YAML_QUOTE_MAX];
	const char *near;

	if (!policy_wants_warning(r->p) || r->p->build->names_incomplete || r->faulty)
		return;
	near = nearest_label(r, s->text);
	if (near != NULL && !str_eq(near, s->text))
		policy_warn(r->p, &s->pos, "no identity has %s" ADVISE "did you mean \"%s\"?",
			    yaml_quote(quoted, s->text), near);
	else
		policy_warn(r->p, &s->pos,
			    "%s selects no identity, so this opens nothing" ADVISE
			    "correct it, or label the identities meant",
			    yaml_quote(quoted, s->text));
}

static int resolve_expression(struct resolver *r, const struct subject *s)
{
	size_t before = r->found_count, smallest = SIZE_MAX;
	struct expression_term t, best = {0};
	const char *at = s->text;
	struct err err;
	int e;

	if (!expression_check(s->text, &err)) {
		r->faulty = true;
		policy_error(r->p, &s->pos,
			     "%s" ADVISE
			     "write key=value, \"key=value|value\" or several with commas",
			     err.text);
		return 0;
	}
	check_expression_keys(r, s);
	while (expression_next_term(&at, &t)) {
		size_t size = term_size(r, t);

		if (size < smallest) {
			smallest = size;
			best = t;
		}
	}
	e = term_collect(r, s->text, best);
	if (e == 0 && r->found_count == before && (before == 0 || smallest == 0))
		warn_empty(r, s);
	return e;
}

/* ---- names ---- */

static const char *near_name(const struct policy *p, const char *name)
{
	return text_nearest(name, p->build->names, p->build->name_count);
}

static const struct pos *named_pos(const struct policy *p, const char *name)
{
	int i = policy_find_identity(p, name);

	if (i >= 0)
		return &p->identities[i].pos;
	i = policy_find_network(p, name);
	return i >= 0 ? &p->networks[i].pos : NULL;
}

static bool is_device(const struct policy *p, const char *name)
{
	for (size_t i = 0; i < p->build->device_count; i++) {
		if (str_eq(p->build->devices[i].name, name))
			return true;
	}
	return false;
}

static void refuse_name(struct resolver *r, const struct subject *s)
{
	struct policy *p = r->p;
	char quoted[YAML_QUOTE_MAX], place[PLACE_TEXT_MAX];
	const char *near;
	int by_path;

	r->faulty = true;
	if (looks_like_address(s->text)) {
		policy_error(p, &s->pos,
			     "%s is an address, not an identity" ADVISE
			     "give the peer an identity, or declare the range under networks: "
			     "and name that",
			     yaml_quote(quoted, s->text));
		return;
	}
	if (!policy_wants_error(p)) {
		p->error_count++;
		return;
	}
	/* Devices are refused once, where they are declared. */
	if (p->build->names_incomplete || is_device(p, s->text))
		return;
	by_path = policy_find_identity(p, s->text);
	near = by_path >= 0 ? p->identities[by_path].name : near_name(p, s->text);
	if (near != NULL)
		policy_error(p, &s->pos,
			     "no identity is called %s" ADVISE "did you mean \"%s\" (%s)?",
			     yaml_quote(quoted, s->text), near,
			     policy_place(place, p, named_pos(p, near), &s->pos));
	else
		policy_error(p, &s->pos,
			     "no identity or network is called %s" ADVISE
			     "declare it, or write a label expression like environment=prod",
			     yaml_quote(quoted, s->text));
}

static int resolve_subject(struct resolver *r, const struct subject *s)
{
	uintptr_t i;

	if (strchr(s->text, '=') != NULL)
		return resolve_expression(r, s);
	i = (uintptr_t)map_get_str(r->p->parties_by_name, s->text);
	if (i == 0) {
		refuse_name(r, s);
		return 0;
	}
	if (i - 1 < r->p->identity_count)
		return found_add(r, PARTY_IDENTITY, (uint32_t)(i - 1));
	return found_add(r, PARTY_NETWORK, (uint32_t)(i - 1 - r->p->identity_count));
}

/* ---- lists ---- */

static int party_cmp(const void *a, const void *b)
{
	const struct party_ref *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

/*
 * Below user@UID.service every process of that user may go where it likes, so a cgroup there says
 * what the user says (R39).
 */
static bool is_claimed(const struct identity *id)
{
	for (size_t i = 0; i < id->workload_count; i++) {
		const struct workload_entry *e = &id->workload[i];

		for (size_t j = 0; j < e->selector_count; j++)
			if (e->selectors[j].kind == SELECTOR_CGROUP &&
			    strstr(e->selectors[j].value, "/user@") != NULL)
				return true;
	}
	return false;
}

static void summarize(struct policy *p, const struct party_list *l, struct list_summary *s)
{
	*s = (struct list_summary){NO_PARTY, NO_PARTY, NO_PARTY, NO_PARTY, NO_PARTY, NO_PARTY};
	for (size_t i = 0; i < l->count; i++) {
		uint32_t index = l->parties[i].index;
		const struct identity *id;
		const char *tier;

		if (l->parties[i].kind == PARTY_NETWORK) {
			if (s->first_network == NO_PARTY)
				s->first_network = index;
			continue;
		}
		id = &p->identities[index];
		if (s->first_identity == NO_PARTY)
			s->first_identity = index;
		tier = label_value(id->labels, id->label_count, "tier");
		if (s->critical == NO_PARTY && (str_eq(tier, "critical") || str_eq(tier, "high")))
			s->critical = index;
		if (s->highest_floor == NO_PARTY ||
		    id->min_assurance > p->identities[s->highest_floor].min_assurance)
			s->highest_floor = index;
		if (s->unmeasurable == NO_PARTY && id->reference_count == 0)
			s->unmeasurable = index;
		if (s->claimed == NO_PARTY && is_claimed(id))
			s->claimed = index;
	}
}

static int list_keep(struct resolver *r, uint32_t *ret_list)
{
	struct policy *p = r->p;
	struct policy_build *b = p->build;
	size_t cap = b->list_cap;
	struct party_list *l;
	int e;

	e = vec_grow(&p->lists, &b->list_cap, p->list_count + 1, sizeof(*p->lists), LISTS_MAX);
	if (e == 0)
		e = vec_grow(&b->summaries, &cap, p->list_count + 1, sizeof(*b->summaries),
			     LISTS_MAX);
	if (e < 0)
		return e;
	l = &p->lists[p->list_count];
	l->parties = mem_calloc(r->found_count, sizeof(*l->parties));
	if (l->parties == NULL)
		return -ENOMEM;
	if (r->found_count > 0)
		memcpy(l->parties, r->found, r->found_count * sizeof(*l->parties));
	if (r->found_count > 1)
		qsort(l->parties, r->found_count, sizeof(*l->parties), party_cmp);
	l->count = r->found_count;
	summarize(p, l, &b->summaries[p->list_count]);
	*ret_list = (uint32_t)p->list_count++;
	return 0;
}

static int list_key(struct resolver *r, const struct subject *subjects, size_t count)
{
	r->key.len = 0;
	for (size_t i = 0; i < count; i++) {
		buf_puts(&r->key, subjects[i].text);
		buf_putc(&r->key, '\n');
	}
	return r->key.r;
}

static int resolve_side(struct resolver *r, const struct subject *subjects, size_t count,
			uint32_t *ret_list)
{
	uintptr_t known;
	int e = list_key(r, subjects, count);

	if (e < 0)
		return e;
	known = (uintptr_t)map_get(r->by_text, r->key.data, r->key.len);
	if (known > 0) {
		*ret_list = (uint32_t)(known - 1);
		return 0;
	}
	r->found_count = 0;
	r->faulty = false;
	for (size_t i = 0; i < count && e == 0; i++)
		e = resolve_subject(r, &subjects[i]);
	r->total += r->found_count;
	if (e == 0 && r->total > POLICY_PARTIES_MAX)
		e = -E2BIG;
	if (e == 0)
		e = list_keep(r, ret_list);
	/* Each rule that repeats a mistake or selects nothing is told so at its own line. */
	if (e < 0 || r->faulty || r->found_count == 0 || r->key.len == 0)
		return e;
	return map_put(r->by_text, r->key.data, r->key.len, (void *)((uintptr_t)*ret_list + 1));
}

static int resolve_rules(struct resolver *r)
{
	struct policy *p = r->p;
	int e = 0;

	for (size_t i = 0; i < p->rule_count && e == 0; i++) {
		struct rule *rule = &p->rules[i];

		e = resolve_side(r, rule->from, rule->from_count, &rule->from_list);
		if (e == 0)
			e = resolve_side(r, rule->to, rule->to_count, &rule->to_list);
		if (e == -E2BIG) {
			policy_error(p, &rule->pos,
				     "the rules up to here select more than %u parties" ADVISE
				     "use fewer or narrower expressions",
				     POLICY_PARTIES_MAX);
			return -E2BIG;
		}
	}
	return e;
}

/* ---- the way back: rules of a list, lists of a party ---- */

static int rules_of_lists(struct policy *p)
{
	for (size_t i = 0; i < p->rule_count; i++) {
		p->lists[p->rules[i].from_list].from_rule_count++;
		p->lists[p->rules[i].to_list].to_rule_count++;
	}
	for (size_t i = 0; i < p->list_count; i++) {
		struct party_list *l = &p->lists[i];

		l->from_rules = mem_calloc(l->from_rule_count, sizeof(*l->from_rules));
		l->to_rules = mem_calloc(l->to_rule_count, sizeof(*l->to_rules));
		if (l->from_rules == NULL || l->to_rules == NULL)
			return -ENOMEM;
		l->from_rule_count = 0;
		l->to_rule_count = 0;
	}
	for (uint32_t i = 0; i < p->rule_count; i++) {
		struct rule *rule = &p->rules[i];
		struct party_list *from = &p->lists[rule->from_list];
		struct party_list *to = &p->lists[rule->to_list];

		from->from_rules[from->from_rule_count++] = i;
		to->to_rules[to->to_rule_count++] = i;
		rule->from_parties = from->parties;
		rule->from_party_count = from->count;
		rule->to_parties = to->parties;
		rule->to_party_count = to->count;
	}
	return 0;
}

static uint32_t party_number(const struct policy *p, const struct party_ref *ref)
{
	return ref->index + (ref->kind == PARTY_NETWORK ? (uint32_t)p->identity_count : 0);
}

static int lists_of_parties(struct policy *p)
{
	struct party_index *x = &p->index;
	size_t total = 0;

	x->party_count = (uint32_t)(p->identity_count + p->network_count);
	for (size_t i = 0; i < p->list_count; i++)
		total += p->lists[i].count;
	x->start = mem_calloc((size_t)x->party_count + 2, sizeof(*x->start));
	x->at = mem_calloc(total, sizeof(*x->at));
	if (x->start == NULL || x->at == NULL)
		return -ENOMEM;
	/* Counted two places up, summed, and moved down by one while filling in. */
	for (size_t i = 0; i < p->list_count; i++) {
		for (size_t j = 0; j < p->lists[i].count; j++)
			x->start[party_number(p, &p->lists[i].parties[j]) + 2]++;
	}
	for (uint32_t i = 2; i < x->party_count + 2; i++)
		x->start[i] += x->start[i - 1];
	for (uint32_t i = 0; i < p->list_count; i++) {
		for (size_t j = 0; j < p->lists[i].count; j++)
			x->at[x->start[party_number(p, &p->lists[i].parties[j]) + 1]++] = i;
	}
	return 0;
}

/* ---- all ---- */

static int names_collect(struct policy *p)
{
	struct policy_build *b = p->build;

	b->names = mem_calloc(p->identity_count + p->network_count, sizeof(*b->names));
	if (b->names == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < p->identity_count; i++)
		b->names[b->name_count++] = p->identities[i].name;
	for (size_t i = 0; i < p->network_count; i++)
		b->names[b->name_count++] = p->networks[i].name;
	return 0;
}

int policy_resolve(struct policy *p)
{
	CLEANUP(resolver_done) struct resolver r = {.p = p};
	int e;

	buf_init(&r.key, LIST_KEY_MAX);
	r.by_label = map_new(LABELS_MAX, members_free);
	r.by_text = map_new(LISTS_MAX, NULL);
	r.seen = mem_calloc(p->identity_count + p->network_count, sizeof(*r.seen));
	if (r.by_label == NULL || r.by_text == NULL || r.seen == NULL)
		return -ENOMEM;
	e = names_collect(p);
	if (e == 0)
		e = labels_index(&r);
	if (e == 0)
		e = resolve_rules(&r);
	if (e == 0)
		e = rules_of_lists(p);
	return e < 0 ? e : lists_of_parties(p);
}
