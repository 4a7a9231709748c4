/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/base64.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/dsse.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define WHAT        "envelope"
#define PAYLOAD_MAX ((size_t)DSSE_ENVELOPE_MAX / 4 * 3)

static int no_memory(struct err *err)
{
	return err_set(err, ENOMEM, "%s: out of memory", WHAT);
}

/* One line and a newline. */
static int dump(const json_t *root, char **ret, size_t *ret_len, struct err *err)
{
	size_t len = 0;
	CLEANUP(freep) char *text = json_text(root, &len);
	char *line;

	if (text == NULL)
		return no_memory(err);
	if (len >= DSSE_ENVELOPE_MAX)
		return err_set(err, E2BIG, "%s: larger than %u KiB", WHAT, DSSE_ENVELOPE_MAX >> 10);
	line = mem_realloc(text, len + 2);
	if (line == NULL)
		return no_memory(err);
	text = NULL;
	line[len] = '\n';
	line[len + 1] = '\0';
	*ret = line;
	*ret_len = len + 1;
	return 0;
}

/* NULL when out of memory. */
static json_t *signature_json(const struct dsse_signature *s)
{
	CLEANUP(freep) char *base64 = base64_encode(s->bytes, s->len);
	json_t *entry = json_object();

	if (base64 == NULL || json_object_set_new(entry, "keyid", json_string(s->keyid)) < 0 ||
	    json_object_set_new(entry, "sig", json_string(base64)) < 0) {
		json_decref(entry);
		return NULL;
	}
	return entry;
}

static json_t *signatures_json(const struct dsse_signature *signatures, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		if (json_array_append_new(list, signature_json(&signatures[i])) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

int dsse_make(const char *type, const void *body, size_t len,
	      const struct dsse_signature *signatures, size_t count, char **ret, size_t *ret_len,
	      struct err *err)
{
	CLEANUP(json_decrefp) json_t *root = NULL;
	CLEANUP(freep) char *payload = NULL;

	if (count > DSSE_SIGNATURES_MAX)
		return err_set(err, E2BIG, "%s: more than %d signatures", WHAT,
			       DSSE_SIGNATURES_MAX);
	if (!text_utf8_ok(type, strlen(type)))
		return err_set(err, EINVAL, "%s: the payload type is not UTF-8", WHAT);
	if (len > PAYLOAD_MAX)
		return err_set(err, E2BIG, "%s: payload larger than %zu KiB", WHAT,
			       PAYLOAD_MAX >> 10);
	payload = base64_encode(body, len);
	root = json_object();
	if (payload == NULL || json_object_set_new(root, "payload", json_string(payload)) < 0 ||
	    json_object_set_new(root, "payloadType", json_string(type)) < 0 ||
	    json_object_set_new(root, "signatures", signatures_json(signatures, count)) < 0)
		return no_memory(err);
	return dump(root, ret, ret_len, err);
}

int dsse_sign(const char *type, const void *body, size_t len, const struct private_key *key,
	      char **ret, size_t *ret_len, struct err *err)
{
	CLEANUP(buf_done) struct buf pae;
	struct dsse_signature s = {0};
	int r;

	buf_init(&pae, len + strlen(type) + 64);
	dsse_pae(&pae, type, body, len);
	if (pae.r < 0)
		return no_memory(err);
	r = private_key_sign(key, pae.data, pae.len, s.bytes, &s.len, err);
	if (r < 0)
		return r;
	memcpy(s.keyid, key->public.id, sizeof(s.keyid));
	return dsse_make(type, body, len, &s, 1, ret, ret_len, err);
}

/* ---- another signature ---- */

static int put_signature(json_t *list, const struct dsse_signature *s, struct err *err)
{
	json_t *entry = signature_json(s);
	size_t i = 0;
	int r;

	if (entry == NULL)
		return no_memory(err);
	while (i < json_array_size(list) &&
	       !str_eq(json_string_value(json_object_get(json_array_get(list, i), "keyid")),
		       s->keyid))
		i++;
	if (i >= DSSE_SIGNATURES_MAX) {
		json_decref(entry);
		return err_set(err, E2BIG, "%s: more than %d signatures", WHAT,
			       DSSE_SIGNATURES_MAX);
	}
	r = i < json_array_size(list) ? json_array_set_new(list, i, entry)
				      : json_array_append_new(list, entry);
	return r < 0 ? no_memory(err) : 0;
}

int dsse_add(const char *text, size_t len, const struct dsse_signature *signature, char **ret,
	     size_t *ret_len, struct err *err)
{
	CLEANUP(json_decrefp) json_t *root = NULL;
	struct json_object o;
	json_t *list;
	int r;

	if (len > DSSE_ENVELOPE_MAX)
		return err_set(err, E2BIG, "%s: larger than %u KiB", WHAT, DSSE_ENVELOPE_MAX >> 10);
	r = json_parse_strict(text, len, WHAT, &root, err);
	if (r < 0)
		return r;
	json_object_begin(&o, root, WHAT, "", err);
	(void)json_take_string(&o, "payload", DSSE_ENVELOPE_MAX);
	(void)json_take_string(&o, "payloadType", DSSE_ENVELOPE_MAX);
	list = json_take_array(&o, "signatures", DSSE_SIGNATURES_MAX);
	if (o.r < 0)
		return o.r;
	r = put_signature(list, signature, err);
	return r < 0 ? r : dump(root, ret, ret_len, err);
}
