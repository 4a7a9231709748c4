/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/diff_changes.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/explain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TEXTS_MAX     4000000
#define CONDITION_MAX 4096
#define JOINED_MAX    (64U << 10)

enum side { OLD, NEW, SIDES };

/* ---- texts as numbers: 0 is "nothing" ---- */

struct texts {
	struct map *by_text;
	char **items;
	size_t count, cap;
};

static int texts_add(struct texts *t, const char *text, uint32_t *ret)
{
	uintptr_t known = (uintptr_t)map_get_str(t->by_text, text);
	int r;

	if (known == 0) {
		char *copy = mem_strdup(text);

		r = copy != NULL ? vec_grow(&t->items, &t->cap, t->count + 1, sizeof(*t->items),
					    TEXTS_MAX)
				 : -ENOMEM;
		if (r == 0)
			r = map_put_str(t->by_text, text, (void *)(uintptr_t)(t->count + 1));
		if (r < 0) {
			free(copy);
			return r;
		}
		t->items[t->count++] = copy;
		known = t->count;
	}
	*ret = (uint32_t)known;
	return 0;
}

static const char *text_of(const struct texts *t, uint32_t id)
{
	return id > 0 ? t->items[id - 1] : NULL;
}

/* ---- facts: one per rule, party pair and service ---- */

struct party_name {
	const char *key, *name; /* borrowed from a policy: path and name; for networks the name */
	bool network;
};

struct fact {
	uint32_t from, to; /* into parties */
	uint8_t kind;      /* enum service_kind */
	uint8_t side;      /* enum side */
	uint16_t first, last;
	uint32_t condition, rule; /* texts */
};

struct differ {
	const struct policy *policy[SIDES];
	uint32_t *party_ids[SIDES]; /* identities, then networks */
	struct party_name *parties;
	size_t party_count, party_cap;
	struct map *by_key;
	struct texts texts;
	struct fact *facts;
	size_t fact_count, fact_cap;
	/* Scratch of the sweep over one pair. */
	uint32_t *borders;
	size_t border_cap;
	uint32_t *ids;
	size_t id_cap;
	json_t *rows;
};

static void differ_done(struct differ *d)
{
	for (size_t i = 0; i < d->texts.count; i++)
		free(d->texts.items[i]);
	free(d->texts.items);
	map_free(d->texts.by_text);
	map_free(d->by_key);
	free(d->party_ids[OLD]);
	free(d->party_ids[NEW]);
	free(d->parties);
	free(d->facts);
	free(d->borders);
	free(d->ids);
}

static int party_add(struct differ *d, enum side side, size_t at, const char *key, const char *name,
		     bool network)
{
	CLEANUP(freep) char *tagged = mem_printf("%c:%s", network ? 'n' : 'i', key);
	uintptr_t known;
	int r;

	if (tagged == NULL)
		return -ENOMEM;
	known = (uintptr_t)map_get_str(d->by_key, tagged);
	if (known == 0) {
		r = vec_grow(&d->parties, &d->party_cap, d->party_count + 1, sizeof(*d->parties),
			     4U * POLICY_IDENTITIES_MAX + (1U << 21));
		if (r == 0)
			r = map_put_str(d->by_key, tagged, (void *)(d->party_count + 1));
		if (r < 0)
			return r;
		known = ++d->party_count;
	}
	/* The newer name of an identity is the one people know now. */
	d->parties[known - 1] = (struct party_name){.key = key, .name = name, .network = network};
	d->party_ids[side][at] = (uint32_t)(known - 1);
	return 0;
}

static int parties_add(struct differ *d, enum side side)
{
	const struct policy *p = d->policy[side];
	int r = 0;

	d->party_ids[side] = mem_calloc(p->identity_count + p->network_count, sizeof(uint32_t));
	if (d->party_ids[side] == NULL)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < p->identity_count; i++)
		r = party_add(d, side, i, p->identities[i].path, p->identities[i].name, false);
	for (size_t i = 0; r == 0 && i < p->network_count; i++)
		r = party_add(d, side, p->identity_count + i, p->networks[i].name,
			      p->networks[i].name, true);
	return r;
}

static uint32_t party_id(const struct differ *d, enum side side, const struct party_ref *ref)
{
	size_t at = ref->index;

	if (ref->kind == PARTY_NETWORK)
		at += d->policy[side]->identity_count;
	return d->party_ids[side][at];
}

static int fact_add(struct differ *d, const struct fact *f)
{
	int r = vec_grow(&d->facts, &d->fact_cap, d->fact_count + 1, sizeof(*d->facts),
			 (size_t)SIDES * DIFF_FACTS_MAX);

	if (r == 0)
		d->facts[d->fact_count++] = *f;
	return r;
}

/* "any" includes a port 0 that cannot be written otherwise: left out here, put back in a row. */
static uint16_t first_port(const struct service *s)
{
	return service_is_any(s) ? 1 : s->first;
}

static int rule_add(struct differ *d, enum side side, const struct rule *rule)
{
	CLEANUP(buf_done) struct buf text = {0};
	struct fact f = {.side = (uint8_t)side};
	int r;

	buf_init(&text, CONDITION_MAX);
	explain_conditions(rule, &text);
	if (rule->on_clock_loss == ON_CLOCK_LOSS_OPEN)
		buf_puts(&text, "; stays open when the clock is lost");
	r = text.r;
	if (r == 0)
		r = texts_add(&d->texts, text.data, &f.condition);
	if (r == 0)
		r = texts_add(&d->texts, rule->name, &f.rule);
	for (size_t i = 0; i < rule->from_party_count; i++) {
		f.from = party_id(d, side, &rule->from_parties[i]);
		for (size_t j = 0; j < rule->to_party_count; j++) {
			f.to = party_id(d, side, &rule->to_parties[j]);
			for (size_t k = 0; r == 0 && k < rule->service_count; k++) {
				f.kind = rule->services[k].kind;
				f.first = first_port(&rule->services[k]);
				f.last = rule->services[k].last;
				r = fact_add(d, &f);
			}
		}
	}
	return r;
}

static int facts_add(struct differ *d, enum side side)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->policy[side]->rule_count; i++)
		r = rule_add(d, side, &d->policy[side]->rules[i]);
	return r;
}

/* ---- comparing: facts in order of parties and protocol, each run swept over its ports ---- */

static int party_cmp(const struct party_name *a, const struct party_name *b)
{
	return a->network != b->network ? (int)a->network - (int)b->network
					: strcmp(a->key, b->key);
}

static int fact_cmp(const void *a, const void *b, void *user)
{
	const struct party_name *parties = user;
	const struct fact *x = a, *y = b;
	int r = 0;

	if (x->from != y->from)
		r = party_cmp(&parties[x->from], &parties[y->from]);
	if (r == 0 && x->to != y->to)
		r = party_cmp(&parties[x->to], &parties[y->to]);
	if (r == 0)
		r = (int)x->kind - (int)y->kind;
	return r != 0 ? r : (int)x->first - (int)y->first;
}

static bool same_run(const struct fact *a, const struct fact *b)
{
	return a->from == b->from && a->to == b->to && a->kind == b->kind;
}

static int number_cmp(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static size_t sort_unique(uint32_t *numbers, size_t count)
{
	size_t kept = 0;

	if (count > 1)
		qsort(numbers, count, sizeof(*numbers), number_cmp);
	for (size_t i = 0; i < count; i++) {
		if (kept == 0 || numbers[kept - 1] != numbers[i])
			numbers[kept++] = numbers[i];
	}
	return kept;
}

/* What one side says of a range of ports: conditions in alphabetical order, joined by "or". */
struct state {
	uint32_t text, rule; /* 0: not open */
};

static int text_cmp(const void *a, const void *b, void *user)
{
	const struct texts *t = user;

	return strcmp(text_of(t, *(const uint32_t *)a), text_of(t, *(const uint32_t *)b));
}

static int join(struct differ *d, size_t count, struct state *s)
{
	CLEANUP(buf_done) struct buf b = {0};

	count = sort_unique(d->ids, count);
	if (count < 2) {
		s->text = count > 0 ? d->ids[0] : 0;
		return 0;
	}
	qsort_r(d->ids, count, sizeof(*d->ids), text_cmp, &d->texts);
	buf_init(&b, JOINED_MAX);
	for (size_t i = 0; i < count; i++)
		buf_printf(&b, "%s%s", i > 0 ? " or " : "", text_of(&d->texts, d->ids[i]));
	return b.r < 0 ? b.r : texts_add(&d->texts, b.data, &s->text);
}

static int state_of(struct differ *d, const struct fact *run, size_t count, enum side side,
		    uint32_t first, struct state *s)
{
	size_t ids = 0;

	*s = (struct state){0};
	for (size_t i = 0; i < count; i++) {
		const struct fact *f = &run[i];

		if (f->first > first)
			break; /* sorted by it */
		if (f->side != side || f->last < first)
			continue;
		d->ids[ids++] = f->condition;
		if (s->rule == 0 ||
		    strcmp(text_of(&d->texts, f->rule), text_of(&d->texts, s->rule)) < 0)
			s->rule = f->rule;
	}
	return join(d, ids, s);
}

static json_t *party_json(const struct party_name *p)
{
	if (p->network)
		return json_pack("{s:n, s:s, s:s}", "identity", "name", p->name, "type", "network");
	return json_pack("{s:s, s:s, s:s}", "identity", p->key, "name", p->name, "type",
			 "identity");
}

static int row_add(struct differ *d, const struct fact *f, struct service s,
		   const struct state *before, const struct state *after)
{
	const struct party_name *from = &d->parties[f->from], *to = &d->parties[f->to];
	bool in = from->network && !to->network;
	char service[SERVICE_TEXT_MAX];
	const char *effect = before->text == 0 ? "gained" : after->text == 0 ? "lost" : "changed";

	if (json_array_size(d->rows) >= DIFF_ROWS_MAX)
		return -E2BIG;
	if (s.first == 1 && s.last == UINT16_MAX)
		s.first = 0;
	return json_array_append_new(
		       d->rows,
		       json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:s, s:s?, s:s?}", "identity",
				 in ? to->key : from->key, "peer", in ? from->key : to->key,
				 "service", service_format(service, &s), "effect", effect,
				 "direction", in ? "in" : "out", "from", party_json(from), "to",
				 party_json(to), "rule",
				 text_of(&d->texts, after->text != 0 ? after->rule : before->rule),
				 "before", text_of(&d->texts, before->text), "after",
				 text_of(&d->texts, after->text))) < 0
		       ? -ENOMEM
		       : 0;
}

static int scratch(struct differ *d, const struct fact *run, size_t count, size_t *ret_borders)
{
	int r = vec_grow(&d->borders, &d->border_cap, 2 * count, sizeof(*d->borders), SIZE_MAX);

	if (r == 0)
		r = vec_grow(&d->ids, &d->id_cap, count, sizeof(*d->ids), SIZE_MAX);
	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++) {
		d->borders[2 * i] = run[i].first;
		d->borders[2 * i + 1] = run[i].last + 1U;
	}
	*ret_borders = sort_unique(d->borders, 2 * count);
	return 0;
}

/* Neighbouring ranges that say the same are one row. */
static int sweep(struct differ *d, const struct fact *run, size_t count)
{
	struct service pending = {.kind = run->kind};
	struct state before = {0}, after = {0};
	size_t borders = 0;
	int r = scratch(d, run, count, &borders);

	for (size_t i = 0; r == 0 && i + 1 < borders; i++) {
		struct state was = {0}, is = {0};

		r = state_of(d, run, count, OLD, d->borders[i], &was);
		if (r == 0)
			r = state_of(d, run, count, NEW, d->borders[i], &is);
		if (r == 0 && was.text == before.text && is.text == after.text) {
			pending.last = (uint16_t)(d->borders[i + 1] - 1);
			continue;
		}
		if (r == 0 && before.text != after.text)
			r = row_add(d, run, pending, &before, &after);
		pending.first = (uint16_t)d->borders[i];
		pending.last = (uint16_t)(d->borders[i + 1] - 1);
		before = was;
		after = is;
	}
	if (r == 0 && before.text != after.text)
		r = row_add(d, run, pending, &before, &after);
	return r;
}

static int compare(struct differ *d)
{
	int r = 0;

	if (d->fact_count > 1)
		qsort_r(d->facts, d->fact_count, sizeof(*d->facts), fact_cmp, d->parties);
	for (size_t i = 0, n; r == 0 && i < d->fact_count; i += n) {
		for (n = 1; i + n < d->fact_count && same_run(&d->facts[i], &d->facts[i + n]); n++)
			continue;
		r = sweep(d, &d->facts[i], n);
	}
	return r;
}

int diff_changes(const struct policy *old, const struct policy *new, json_t **ret, struct err *err)
{
	CLEANUP(differ_done) struct differ d = {.policy = {old, new}};
	int r = 0;

	d.by_key = map_new(SIZE_MAX, NULL);
	d.texts.by_text = map_new(TEXTS_MAX, NULL);
	d.rows = json_array();
	if (d.by_key == NULL || d.texts.by_text == NULL || d.rows == NULL)
		r = -ENOMEM;
	for (enum side s = OLD; r == 0 && s < SIDES; s++) {
		r = parties_add(&d, s);
		if (r == 0)
			r = facts_add(&d, s);
	}
	if (r == 0)
		r = compare(&d);
	if (r < 0) {
		json_decref(d.rows);
		return r == -E2BIG ? err_set(err, E2BIG,
					     "more than %d conversations differ; compare smaller "
					     "parts, file by file",
					     DIFF_ROWS_MAX)
				   : err_set(err, -r, "%s", strerror(-r));
	}
	*ret = d.rows;
	return 0;
}
