/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/document.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/static_path.h"
#include "rules/policy_grammar.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOCUMENT_VERSION 1
#define TRUST_DOMAIN_LEN 255
#define DOCUMENT_KEY_MAX 20

static void out_of_memory(struct json_object *o)
{
	o->r = err_set(o->err, ENOMEM, "%s: out of memory", o->what);
}

/* ---- version and what it requires ---- */

static bool is_feature(const char *name)
{
	for (size_t i = 0; manifest_features[i] != NULL; i++) {
		if (strcmp(name, manifest_features[i]) == 0)
			return true;
	}
	return false;
}

static void check_required(struct json_object *o, const json_t *value)
{
	const char *name = json_string_value(value);
	char quoted[LOG_QUOTE_MAX];

	if (name == NULL || name_fault(name) != NULL)
		(void)json_fail(o, "requires", "not a list of names");
	else if (!is_feature(name))
		o->r = err_set(o->err, ENOTSUP,
			       "%s: requires '%s', which this release does not have; a newer "
			       "release would be right",
			       o->what, log_quote(quoted, name));
}

void document_take_version(struct json_object *o, json_t *requires)
{
	int64_t version = json_take_int(o, "version", 1, INT64_MAX);

	if (o->r == 0 && version != DOCUMENT_VERSION)
		o->r = err_set(o->err, EPROTONOSUPPORT,
			       "%s: version %" PRId64 "; this release reads version %d", o->what,
			       version, DOCUMENT_VERSION);
	for (size_t i = 0; i < json_array_size(requires) && o->r == 0; i++)
		check_required(o, json_array_get(requires, i));
}

/* ---- members ---- */

char *document_copy(struct json_object *o, const char *text)
{
	char *copy;

	if (text == NULL || o->r < 0)
		return NULL;
	copy = mem_strdup(text);
	if (copy == NULL)
		out_of_memory(o);
	return copy;
}

char *document_take_trust_domain(struct json_object *o)
{
	const char *name = json_take_string(o, "trust_domain", TRUST_DOMAIN_LEN);

	if (name != NULL && (name[0] == '\0' || !trust_domain_ok(name)))
		(void)json_fail(o, "trust_domain", "not a trust domain; acme.example would be one");
	return document_copy(o, name);
}

char *document_take_node(struct json_object *o)
{
	const char *name = json_take_string(o, "node", NODE_NAME_MAX);

	if (name != NULL && !node_name_ok(name))
		(void)json_fail(o, "node",
				"not a node name; letters, digits, '.', '_', '-' and at most 63 of "
				"them would be right");
	return document_copy(o, name);
}

struct wall document_take_time(struct json_object *o, const char *key)
{
	const char *text = json_take_string(o, key, RFC3339_TEXT_MAX);
	struct wall t = {0};

	if (text != NULL && rfc3339_parse(text, &t) < 0)
		(void)json_fail(o, key, "not a time; 2027-06-30T00:00:00Z would be one");
	return t;
}

void document_take_validity(struct json_object *o, struct wall *ret_issued,
			    struct wall *ret_expires)
{
	*ret_issued = document_take_time(o, "issued");
	*ret_expires = document_take_time(o, "expires");
	if (o->r == 0 && ret_expires->s <= ret_issued->s)
		(void)json_fail(o, "expires", "not later than issued");
}

void document_take_sha256(struct json_object *o, const char *key, char ret[SHA256_HEX_LEN])
{
	const char *text = json_take_string(o, key, SHA256_HEX_LEN);

	if (text != NULL && !sha256_hex_ok(text))
		(void)json_fail(o, key, "not a SHA-256; 64 lower-case hex digits would be right");
	else if (text != NULL)
		memcpy(ret, text, SHA256_HEX_LEN);
}

uint64_t document_take_number(struct json_object *o, const char *key, uint64_t min, uint64_t max)
{
	return (uint64_t)json_take_int(o, key, (int64_t)min, (int64_t)max);
}

/* Reasons and comments end up on terminals and in logs. */
static bool has_control(const char *text)
{
	for (; *text != '\0'; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	}
	return false;
}

char *document_take_text(struct json_object *o, const char *key, size_t max)
{
	const char *text = json_take_string(o, key, max);

	if (text != NULL && has_control(text))
		(void)json_fail(o, key, "control characters in a text");
	return document_copy(o, text);
}

/* ---- objects and lists ---- */

void document_finish_inner(struct json_object *inner, struct json_object *outer)
{
	(void)json_finish(inner);
	if (inner->r < 0 && outer->r == 0)
		outer->r = inner->r;
}

void *document_array(struct json_object *o, const json_t *list, size_t size)
{
	void *items;

	if (o->r < 0)
		return NULL;
	items = mem_calloc(json_array_size(list), size);
	if (items == NULL)
		out_of_memory(o);
	return items;
}

void document_each(struct json_object *o, const char *key, json_t *list,
		   void (*fill)(struct json_object *item, void *user, size_t i), void *user)
{
	char path[DOCUMENT_PATH_MAX];
	struct json_object item;

	for (size_t i = 0; i < json_array_size(list) && o->r == 0; i++) {
		(void)snprintf(path, sizeof(path), "%.*s[%zu]", DOCUMENT_KEY_MAX, key, i);
		json_object_begin(&item, json_array_get(list, i), o->what, path, o->err);
		if (item.r == 0)
			fill(&item, user, i);
		document_finish_inner(&item, o);
	}
}

/* ---- encoding ---- */

void document_set(json_t *object, const char *key, json_t *value, int *r)
{
	if (json_object_set_new(object, key, value) < 0)
		*r = -ENOMEM;
}

json_t *document_time(struct wall t)
{
	char text[RFC3339_TEXT_MAX];

	return json_string(rfc3339_format(text, t));
}

int document_dump(json_t *take, const char *what, size_t max, char **ret, size_t *ret_len,
		  struct err *err)
{
	size_t len = 0;
	char *text = json_text(take, &len);

	json_decref(take);
	if (text == NULL)
		return err_set(err, ENOMEM, "%s: out of memory", what);
	if (len > max) {
		free(text);
		return err_set(err, E2BIG, "%s: larger than %zu KiB", what, max >> 10);
	}
	*ret = text;
	*ret_len = len;
	return 0;
}
