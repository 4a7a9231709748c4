/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/first_seen.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define FIRST_SEEN_FILE "grants-seen.json"

struct seen {
	char *rule, *from, *to;
	int64_t until, since;
};

struct seen_list {
	struct seen *items;
	size_t count, cap;
	struct map *by_key; /* position + 1 in items */
};

static void seen_done(struct seen *s)
{
	free(s->rule);
	free(s->from);
	free(s->to);
}

static void list_done(struct seen_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		seen_done(&l->items[i]);
	free(l->items);
	map_free(l->by_key);
}

static char *key_of(const char *rule, const char *from, const char *to, int64_t until)
{
	return mem_printf("%s\n%s\n%s\n%" PRId64, rule, from, to, until);
}

static int list_add(struct seen_list *l, const char *rule, const char *from, const char *to,
		    int64_t until, int64_t since)
{
	CLEANUP(freep) char *key = key_of(rule, from, to, until);
	struct seen s = {.rule = mem_strdup(rule),
			 .from = mem_strdup(from),
			 .to = mem_strdup(to),
			 .until = until,
			 .since = since};
	int r = -ENOMEM;

	if (key && s.rule && s.from && s.to)
		r = vec_grow(&l->items, &l->cap, l->count + 1, sizeof(*l->items),
			     FIRST_SEEN_MAX + STORE_OVERLAY_MAX);
	if (r >= 0)
		r = map_put_str(l->by_key, key, (void *)(uintptr_t)(l->count + 1));
	if (r < 0) {
		seen_done(&s);
		return r;
	}
	l->items[l->count++] = s;
	return 0;
}

/* *ret is NULL for one that is new. */
static int list_find(const struct seen_list *l, const struct overlay_grant *g,
		     const struct seen **ret)
{
	CLEANUP(freep) char *key = key_of(g->rule, g->from, g->to, g->until.s);
	uintptr_t at;

	if (!key)
		return -ENOMEM;
	at = (uintptr_t)map_get_str(l->by_key, key);
	*ret = at ? &l->items[at - 1] : NULL;
	return 0;
}

/* --- on disk ------------------------------------------------------------------------------- */

static int read_one(json_t *value, struct seen_list *l, struct err *err)
{
	struct json_object o;
	const char *rule, *from, *to;
	int64_t until, since;
	int r;

	json_object_begin(&o, value, FIRST_SEEN_FILE, "grants", err);
	rule = json_take_string(&o, "rule", STORE_OVERLAY_TEXT_MAX);
	from = json_take_string(&o, "from", STORE_OVERLAY_TEXT_MAX);
	to = json_take_string(&o, "to", STORE_OVERLAY_TEXT_MAX);
	until = json_take_int(&o, "until", 0, INT64_MAX);
	since = json_take_int(&o, "since", 1, INT64_MAX);
	r = json_finish(&o);
	if (r >= 0)
		r = list_add(l, rule, from, to, until, since);
	return r;
}

static int list_read(struct store *s, struct seen_list *l, struct err *err)
{
	CLEANUP(json_decrefp) json_t *json = NULL;
	struct json_object o;
	json_t *grants;
	int r;

	r = store_json_read(s, FIRST_SEEN_FILE, &json, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	json_object_begin(&o, json, FIRST_SEEN_FILE, "", err);
	grants = json_take_array(&o, "grants", FIRST_SEEN_MAX);
	r = json_finish(&o);
	for (size_t i = 0; r >= 0 && i < json_array_size(grants); i++)
		r = read_one(json_array_get(grants, i), l, err);
	return r;
}

static int by_since(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;

	return x->since > y->since ? -1 : x->since < y->since;
}

/* What has ended opens nothing any more; of the rest the newest. */
static int list_write(struct store *s, struct seen_list *l, struct wall now, struct err *err)
{
	CLEANUP(json_decrefp) json_t *grants = json_array();
	CLEANUP(json_decrefp) json_t *json = NULL;
	bool whole = true;

	if (l->count > 1)
		qsort(l->items, l->count, sizeof(*l->items), by_since);
	for (size_t i = 0; i < l->count && whole && json_array_size(grants) < FIRST_SEEN_MAX; i++) {
		const struct seen *e = &l->items[i];

		if (e->until <= now.s)
			continue;
		whole = json_array_append_new(grants,
					      json_pack("{s:s,s:s,s:s,s:I,s:I}", "rule", e->rule,
							"from", e->from, "to", e->to, "until",
							(json_int_t)e->until, "since",
							(json_int_t)e->since)) == 0;
	}
	if (whole)
		json = json_pack("{s:O}", "grants", grants);
	return store_json_write(s, FIRST_SEEN_FILE, json, err);
}

/* --- the whole ----------------------------------------------------------------------------- */

static int fill_from(struct seen_list *l, struct overlay_grant *grants, size_t count,
		     struct wall now, bool *ret_new)
{
	int r = 0;

	for (size_t i = 0; i < count && r >= 0; i++) {
		const struct overlay_grant *g = &grants[i];
		const struct seen *known = NULL;

		if (g->since.s != 0)
			continue;
		r = list_find(l, g, &known);
		grants[i].since.s = known ? known->since : now.s;
		if (known || r < 0)
			continue;
		*ret_new = true;
		r = list_add(l, g->rule, g->from, g->to, g->until.s, now.s);
	}
	return r;
}

static bool all_known(const struct overlay_grant *grants, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (grants[i].since.s == 0)
			return false;
	}
	return true;
}

int first_seen_fill(struct store *s, struct overlay_grant *grants, size_t count, struct wall now,
		    struct err *err)
{
	CLEANUP(list_done) struct seen_list l = {0};
	bool new_ones = false;
	int r, filled = -ENOMEM;

	if (all_known(grants, count))
		return 0;
	l.by_key = map_new(FIRST_SEEN_MAX + STORE_OVERLAY_MAX, NULL);
	r = l.by_key ? list_read(s, &l, err) : err_set(err, ENOMEM, "out of memory");
	if (l.by_key)
		filled = fill_from(&l, grants, count, now, &new_ones);
	for (size_t i = 0; i < count; i++) {
		if (grants[i].since.s == 0)
			grants[i].since = now;
	}
	if (r >= 0 && filled < 0)
		r = err_set(err, -filled, "out of memory");
	/* A file that cannot be read is replaced: what it said is lost either way. */
	if (new_ones && filled >= 0) {
		int written = list_write(s, &l, now, r < 0 ? NULL : err);

		r = r < 0 ? r : written;
	}
	return r;
}
