/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/store.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OVERLAY_FILE "overlay.json"

static const char *const kinds[] = {
	[REVOKED_RULE] = "rule",
	[REVOKED_IDENTITY] = "identity",
	[REVOKED_LABEL] = "label",
	[REVOKED_CONDUIT] = "conduit",
};

static int copy_text(char **target, const char *text)
{
	*target = mem_strdup(text ? text : "");
	return *target ? 0 : -ENOMEM;
}

/* --- conduits by key ------------------------------------------------------------------------ */

#define KEY_TEXT_LEN ((size_t)2 * NUMBER_KEY_LEN)

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The number that this key has now, given if it has none, as the overlay writes it. */
static int number_of_key(struct numbers *conduits, const char *text, char **ret_name)
{
	struct number_key key;
	uint32_t number;
	int r;

	if (strlen(text) != KEY_TEXT_LEN)
		return -EBADMSG;
	for (size_t i = 0; i < NUMBER_KEY_LEN; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EBADMSG;
		key.bytes[i] = (uint8_t)(high << 4 | low);
	}
	r = numbers_get(conduits, &key, &number);
	if (r < 0)
		return r;
	*ret_name = mem_printf("%u", number);
	return *ret_name ? 0 : -ENOMEM;
}

static int add_key(json_t *entry, struct numbers *conduits, const char *name)
{
	char text[KEY_TEXT_LEN + 1];
	struct number_key key;
	uint32_t number;

	if (text_u32(name, 1, UINT32_MAX, &number) < 0 || numbers_key(conduits, number, &key) < 0)
		return 0;
	hex_format(key.bytes, sizeof(key.bytes), text);
	return json_object_set_new(entry, "key", json_string(text));
}

/* --- reading and writing --------------------------------------------------------------------- */

static int read_revoked(json_t *value, struct numbers *conduits, struct overlay_revoked *ret,
			struct err *err)
{
	struct json_object o;
	const char *kind, *name, *key, *reason;
	int r;

	json_object_begin(&o, value, OVERLAY_FILE, "revoked", err);
	kind = json_take_string(&o, "kind", 16);
	name = json_take_string(&o, "name", STORE_OVERLAY_TEXT_MAX);
	key = json_may_string(&o, "key", KEY_TEXT_LEN);
	reason = json_take_string(&o, "reason", STORE_OVERLAY_TEXT_MAX);
	ret->until.s = json_take_int(&o, "until", 0, INT64_MAX);
	r = json_finish(&o);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (!str_eq(kinds[i], kind))
			continue;
		ret->kind = (typeof(ret->kind))i;
		r = key ? number_of_key(conduits, key, &ret->name) : copy_text(&ret->name, name);
		if (r >= 0)
			r = copy_text(&ret->reason, reason);
		return r < 0 ? err_set(err, -r, "%s: %s", OVERLAY_FILE, strerror(-r)) : 0;
	}
	return err_set(err, EBADMSG, "%s: unknown kind of revocation", OVERLAY_FILE);
}

static int read_quarantine(json_t *value, struct overlay_quarantine *ret, struct err *err)
{
	struct json_object o;
	const char *identity, *keep, *reason;
	int r;

	json_object_begin(&o, value, OVERLAY_FILE, "quarantined", err);
	identity = json_take_string(&o, "identity", STORE_OVERLAY_TEXT_MAX);
	keep = json_may_string(&o, "keep", STORE_OVERLAY_TEXT_MAX);
	reason = json_take_string(&o, "reason", STORE_OVERLAY_TEXT_MAX);
	r = json_finish(&o);
	if (r >= 0)
		r = copy_text(&ret->identity, identity);
	if (r >= 0 && keep)
		r = copy_text(&ret->keep, keep);
	return r < 0 ? r : copy_text(&ret->reason, reason);
}

static int read_grant(json_t *value, struct overlay_grant *ret, struct err *err)
{
	struct json_object o;
	const char *rule, *from, *to, *who, *reason;
	int r;

	json_object_begin(&o, value, OVERLAY_FILE, "grants", err);
	rule = json_take_string(&o, "rule", STORE_OVERLAY_TEXT_MAX);
	from = json_take_string(&o, "from", STORE_OVERLAY_TEXT_MAX);
	to = json_take_string(&o, "to", STORE_OVERLAY_TEXT_MAX);
	who = json_take_string(&o, "who", STORE_OVERLAY_TEXT_MAX);
	reason = json_take_string(&o, "reason", STORE_OVERLAY_TEXT_MAX);
	ret->until.s = json_take_int(&o, "until", 1, INT64_MAX);
	ret->since.s = json_take_int(&o, "since", 1, INT64_MAX);
	r = json_finish(&o);
	if (r >= 0)
		r = copy_text(&ret->rule, rule);
	if (r >= 0)
		r = copy_text(&ret->from, from);
	if (r >= 0)
		r = copy_text(&ret->to, to);
	if (r >= 0)
		r = copy_text(&ret->who, who);
	return r < 0 ? r : copy_text(&ret->reason, reason);
}

struct lists {
	json_t *revoked, *quarantined, *grants; /* borrowed; the last one may be absent */
};

static int read_lists(const struct lists *lists, struct numbers *conduits, struct overlay *ret,
		      struct err *err)
{
	json_t *revoked = lists->revoked, *quarantined = lists->quarantined;
	int r = 0;

	ret->revoked = mem_calloc(json_array_size(revoked), sizeof(*ret->revoked));
	ret->quarantined = mem_calloc(json_array_size(quarantined), sizeof(*ret->quarantined));
	ret->grants = mem_calloc(json_array_size(lists->grants), sizeof(*ret->grants));
	if (!ret->revoked || !ret->quarantined || !ret->grants)
		return err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < json_array_size(revoked) && r >= 0; i++)
		r = read_revoked(json_array_get(revoked, i), conduits,
				 &ret->revoked[ret->revoked_count++], err);
	for (size_t i = 0; i < json_array_size(quarantined) && r >= 0; i++)
		r = read_quarantine(json_array_get(quarantined, i),
				    &ret->quarantined[ret->quarantined_count++], err);
	for (size_t i = 0; i < json_array_size(lists->grants) && r >= 0; i++)
		r = read_grant(json_array_get(lists->grants, i), &ret->grants[ret->grant_count++],
			       err);
	return r;
}

int store_overlay_read(struct store *s, struct numbers *conduits, struct overlay *ret,
		       struct err *err)
{
	CLEANUP(json_decrefp) json_t *json = NULL;
	struct overlay read = {0};
	struct json_object o;
	struct lists lists = {0};
	int r;

	memset(ret, 0, sizeof(*ret));
	r = store_json_read(s, OVERLAY_FILE, &json, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	json_object_begin(&o, json, OVERLAY_FILE, "", err);
	lists.revoked = json_take_array(&o, "revoked", STORE_OVERLAY_MAX);
	lists.quarantined = json_take_array(&o, "quarantined", STORE_OVERLAY_MAX);
	lists.grants = json_may_array(&o, "grants", STORE_OVERLAY_MAX);
	r = json_finish(&o);
	if (r >= 0)
		r = read_lists(&lists, conduits, &read, err);
	if (r < 0) {
		overlay_done(&read);
		return r;
	}
	*ret = read;
	return 0;
}

static json_t *revoked_json(const struct overlay_revoked *e, struct numbers *conduits)
{
	json_t *entry =
		json_pack("{s:s,s:s,s:s,s:I}", "kind", kinds[e->kind], "name", e->name, "reason",
			  e->reason ? e->reason : "", "until", (json_int_t)e->until.s);

	if (entry && e->kind == REVOKED_CONDUIT && add_key(entry, conduits, e->name) < 0) {
		json_decref(entry);
		return NULL;
	}
	return entry;
}

static json_t *quarantine_json(const struct overlay_quarantine *e)
{
	const char *reason = e->reason ? e->reason : "";

	if (!e->keep)
		return json_pack("{s:s,s:s}", "identity", e->identity, "reason", reason);
	return json_pack("{s:s,s:s,s:s}", "identity", e->identity, "reason", reason, "keep",
			 e->keep);
}

static json_t *grant_json(const struct overlay_grant *e)
{
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:I}", "rule", e->rule, "from", e->from, "to",
			 e->to, "who", e->who ? e->who : "", "reason", e->reason ? e->reason : "",
			 "until", (json_int_t)e->until.s, "since", (json_int_t)e->since.s);
}

/*
 * All or nothing: an entry that is missing on disk would be one that the next start releases. What
 * a head says is kept as that head.
 */
int store_overlay_write(struct store *s, struct numbers *conduits, const struct overlay *ov,
			struct err *err)
{
	CLEANUP(json_decrefp) json_t *revoked = json_array();
	CLEANUP(json_decrefp) json_t *quarantined = json_array();
	CLEANUP(json_decrefp) json_t *grants = json_array();
	CLEANUP(json_decrefp) json_t *json = NULL;
	bool whole = true;

	for (size_t i = 0; i < ov->revoked_count && whole; i++)
		whole = ov->revoked[i].from_head ||
			json_array_append_new(revoked, revoked_json(&ov->revoked[i], conduits)) ==
				0;
	for (size_t i = 0; i < ov->quarantined_count && whole; i++)
		whole = ov->quarantined[i].from_head ||
			json_array_append_new(quarantined, quarantine_json(&ov->quarantined[i])) ==
				0;
	for (size_t i = 0; i < ov->grant_count && whole; i++)
		whole = ov->grants[i].from_head ||
			json_array_append_new(grants, grant_json(&ov->grants[i])) == 0;
	if (whole)
		json = json_pack("{s:O,s:O,s:O}", "revoked", revoked, "quarantined", quarantined,
				 "grants", grants);
	return store_json_write(s, OVERLAY_FILE, json, err);
}
