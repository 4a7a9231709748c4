/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/dsse.h"

#include "base/base64.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TYPE_MAX      256
#define SIGNATURE_MAX 8192 /* as text: other signers may use larger algorithms beside ours */
#define KEYID_MAX     1024
#define ITEM_PATH_MAX 40
#define PAE_EXTRA     (TYPE_MAX + 64)

/* An envelope taken apart. Texts and the list are borrowed from root. */
struct envelope {
	json_t *root;
	const char *payload, *type;
	size_t payload_len;
	json_t *signatures;
};

static void envelope_done(struct envelope *e)
{
	json_decref(e->root);
}

/* ---- reading ---- */

static int envelope_parse(const char *text, size_t len, const char *what, struct envelope *ret,
			  struct err *err)
{
	struct envelope e = {0};
	struct json_object o;
	int r;

	if (len > DSSE_ENVELOPE_MAX)
		return err_set(err, E2BIG, "%s: larger than %u KiB", what, DSSE_ENVELOPE_MAX >> 10);
	r = json_parse_strict(text, len, what, &e.root, err);
	if (r < 0)
		return r;
	/* Other members are allowed by DSSE and mean nothing here: no json_finish(). */
	json_object_begin(&o, e.root, what, "", err);
	e.payload = json_take_string(&o, "payload", DSSE_ENVELOPE_MAX);
	e.type = json_take_string(&o, "payloadType", TYPE_MAX);
	e.signatures = json_take_array(&o, "signatures", DSSE_SIGNATURES_MAX);
	if (o.r < 0) {
		envelope_done(&e);
		return o.r;
	}
	e.payload_len = json_string_length(json_object_get(e.root, "payload"));
	*ret = e;
	return 0;
}

static int envelope_payload(const struct envelope *e, const char *what, uint8_t **ret,
			    size_t *ret_len, struct err *err)
{
	int r = base64_decode(e->payload, e->payload_len, DSSE_ENVELOPE_MAX, ret, ret_len);

	if (r == -ENOMEM)
		return err_set(err, ENOMEM, "%s: out of memory", what);
	return r < 0 ? err_set(err, EBADMSG, "%s: payload: not base64", what) : 0;
}

static int type_check(const struct envelope *e, const char *type, const char *what, struct err *err)
{
	if (str_eq(e->type, type))
		return 0;
	return err_set(err, EPROTOTYPE, "%s: payload type '%.100s'; '%s' would be right", what,
		       e->type, type);
}

/* ---- signatures ---- */

struct signature {
	const char *keyid; /* may be NULL */
	uint8_t bytes[KEY_SIGNATURE_MAX];
	size_t len; /* 0: longer than any that our keys make */
};

static int signature_read(const struct envelope *e, size_t i, const char *what,
			  struct signature *ret, struct err *err)
{
	CLEANUP(freep) uint8_t *bytes = NULL;
	char path[ITEM_PATH_MAX];
	struct json_object o;
	const char *sig;
	int r;

	*ret = (struct signature){0};
	(void)snprintf(path, sizeof(path), "signatures[%zu]", i);
	json_object_begin(&o, json_array_get(e->signatures, i), what, path, err);
	ret->keyid = json_may_string(&o, "keyid", KEYID_MAX);
	sig = json_take_string(&o, "sig", SIGNATURE_MAX);
	if (o.r < 0)
		return o.r;
	r = base64_decode(sig, strlen(sig), KEY_SIGNATURE_MAX, &bytes, &ret->len);
	if (r == -E2BIG)
		return 0;
	if (r == -ENOMEM)
		return err_set(err, ENOMEM, "%s: out of memory", what);
	if (r < 0)
		return json_fail(&o, "sig", "not base64");
	memcpy(ret->bytes, bytes, ret->len);
	return 0;
}

/* The keyid only says where to look first; a name that nobody here has says nothing. */
static bool is_hinted(const struct keyring *keys, const char *keyid)
{
	for (size_t i = 0; i < keys->count && keyid != NULL; i++) {
		if (strcmp(keys->keys[i].id, keyid) == 0)
			return true;
	}
	return false;
}

/*
 * Marks the key that made the signature. The same key again marks nothing new. Each try hashes the
 * whole payload, so whoever may send envelopes gets no more than *tries of them.
 */
static void signature_count(const struct signature *s, const struct keyring *keys,
			    const struct buf *pae, bool signed_by[KEYRING_MAX], unsigned *tries)
{
	bool hinted = is_hinted(keys, s->keyid);

	for (size_t i = 0; i < keys->count && s->len > 0 && *tries > 0; i++) {
		const struct public_key *key = &keys->keys[i];

		if (signed_by[i] || (hinted && strcmp(key->id, s->keyid) != 0))
			continue;
		--*tries;
		if (public_key_verify(key, pae->data, pae->len, s->bytes, s->len)) {
			signed_by[i] = true;
			return;
		}
	}
}

static uint32_t count_keys(const bool signed_by[KEYRING_MAX])
{
	uint32_t count = 0;

	for (size_t i = 0; i < KEYRING_MAX; i++)
		count += signed_by[i];
	return count;
}

static int signatures_check(const struct envelope *e, const struct keyring *keys,
			    const struct buf *pae, const char *what, struct err *err)
{
	bool signed_by[KEYRING_MAX] = {false};
	unsigned tries = DSSE_TRIES_MAX;
	struct signature s;
	int r;

	/* All of them are read, so that junk is told from a missing signature. */
	for (size_t i = 0; i < json_array_size(e->signatures); i++) {
		r = signature_read(e, i, what, &s, err);
		if (r < 0)
			return r;
		if (count_keys(signed_by) < keys->threshold)
			signature_count(&s, keys, pae, signed_by, &tries);
	}
	if (keys->threshold > 0 && count_keys(signed_by) >= keys->threshold)
		return 0;
	return err_set(err, EKEYREJECTED,
		       "%s: signed by %u of the %zu trusted keys; %u of them would be right", what,
		       count_keys(signed_by), keys->count,
		       keys->threshold > 0 ? keys->threshold : 1);
}

void dsse_pae(struct buf *b, const char *type, const void *body, size_t len)
{
	buf_printf(b, "DSSEv1 %zu %s %zu ", strlen(type), type, len);
	buf_add(b, body, len);
}

static int envelope_verify(const struct envelope *e, const char *type, const char *what,
			   const struct keyring *keys, uint8_t **ret_payload, size_t *ret_len,
			   struct err *err)
{
	CLEANUP(freep) uint8_t *payload = NULL;
	CLEANUP(buf_done) struct buf pae;
	size_t len = 0;
	int r;

	buf_init(&pae, DSSE_ENVELOPE_MAX + PAE_EXTRA);
	r = type_check(e, type, what, err);
	if (r < 0)
		return r;
	r = envelope_payload(e, what, &payload, &len, err);
	if (r < 0)
		return r;
	dsse_pae(&pae, type, payload, len);
	if (pae.r < 0)
		return err_set(err, -pae.r, "%s: %s", what, strerror(-pae.r));
	r = signatures_check(e, keys, &pae, what, err);
	if (r < 0)
		return r;
	*ret_payload = TAKE_PTR(payload);
	*ret_len = len;
	return 0;
}

int dsse_verify(const char *text, size_t len, const char *type, const char *what,
		const struct keyring *keys, uint8_t **ret_payload, size_t *ret_len, struct err *err)
{
	struct envelope e = {0};
	int r = envelope_parse(text, len, what, &e, err);

	if (r < 0)
		return r;
	r = envelope_verify(&e, type, what, keys, ret_payload, ret_len, err);
	envelope_done(&e);
	return r;
}

int dsse_open_unverified(const char *text, size_t len, const char *type, uint8_t **ret_payload,
			 size_t *ret_len, struct err *err)
{
	struct envelope e = {0};
	int r = envelope_parse(text, len, "envelope", &e, err);

	if (r < 0)
		return r;
	r = type_check(&e, type, "envelope", err);
	if (r == 0)
		r = envelope_payload(&e, "envelope", ret_payload, ret_len, err);
	envelope_done(&e);
	return r;
}
