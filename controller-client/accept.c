/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/accept.h"

#include "base/mem.h"
#include "base/text.h"
#include "controller-client/view_decode.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

const char *refusal_code(enum refusal r)
{
	switch (r) {
	case REFUSAL_NONE:
		return "none";
	case REFUSAL_MALFORMED:
		return "malformed";
	case REFUSAL_TYPE:
		return "wrong_type";
	case REFUSAL_SIGNATURE:
		return "signature";
	case REFUSAL_NODE:
		return "wrong_node";
	case REFUSAL_TRUST_DOMAIN:
		return "wrong_trust_domain";
	case REFUSAL_ROLLBACK:
		return "rollback";
	case REFUSAL_FREEZE:
		return "freeze";
	case REFUSAL_MIX:
		return "mix_and_match";
	case REFUSAL_DIGEST:
		return "digest";
	case REFUSAL_SIZE:
		return "oversize";
	case REFUSAL_REQUIRES:
		return "requires";
	case REFUSAL_REVOKED_NODE:
		return "revoked_node";
	}
	return "none";
}

/* What a decoder's error means. Out of memory is no refusal: the same bytes may pass next time. */
static int refused(int r, enum refusal *ret_why)
{
	static const struct {
		int r;
		enum refusal why;
	} reasons[] = {
		{-EBADMSG, REFUSAL_MALFORMED},
		{-EPROTONOSUPPORT, REFUSAL_MALFORMED},
		{-ENOTSUP, REFUSAL_REQUIRES},
		{-EPROTOTYPE, REFUSAL_TYPE},
		{-EKEYREJECTED, REFUSAL_SIGNATURE},
		{-E2BIG, REFUSAL_SIZE},
		{-EXDEV, REFUSAL_NODE},
		{-ESTALE, REFUSAL_ROLLBACK},
	};

	*ret_why = REFUSAL_NONE;
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
		if (reasons[i].r == r)
			*ret_why = reasons[i].why;
	}
	return r;
}

/* ---- keys ---- */

/* 1 when these are other keys than `known` says; the first keys ever drop nothing. */
static int match_keys(char known[SHA256_HEX_LEN], const struct keyring *keys, bool *ret_replaced)
{
	static const struct keyring none;
	char digest[SHA256_HEX_LEN];
	int r = keyring_digest(keys != NULL ? keys : &none, digest);

	if (r < 0)
		return r;
	*ret_replaced = false;
	if (strcmp(known, digest) == 0)
		return 0;
	*ret_replaced = known[0] != '\0';
	memcpy(known, digest, sizeof(digest));
	return 1;
}

int known_match_keys(struct known *k, const struct accept_context *c)
{
	struct known next = *k;
	bool policy_replaced, controller_replaced;
	int policy = match_keys(next.policy_keys, c->policy, &policy_replaced);
	int controller = match_keys(next.controller_keys, c->controller, &controller_replaced);

	if (policy < 0 || controller < 0)
		return policy < 0 ? policy : controller;
	if (policy_replaced) {
		next.highest_revision = 0;
		next.rollback_floor = 0;
	}
	/* head_expires stays: until a head under the new keys comes, the mapping grows old. */
	if (controller_replaced) {
		next.head_sequence = 0;
		next.view_sequence = 0;
	}
	*k = next;
	return policy || controller;
}

/* ---- head ---- */

static int open_document(const char *text, size_t len, const char *type, const char *what,
			 const struct keyring *keys, uint8_t **ret, size_t *ret_len,
			 enum refusal *ret_why, struct err *err)
{
	static const struct keyring none;
	int r = dsse_verify(text, len, type, what, keys != NULL ? keys : &none, ret, ret_len, err);

	return r < 0 ? refused(r, ret_why) : 0;
}

static int check_trust_domain(const struct accept_context *c, const char *what, const char *name,
			      enum refusal *ret_why, struct err *err)
{
	if (c->trust_domain == NULL || strcmp(c->trust_domain, name) == 0)
		return 0;
	*ret_why = REFUSAL_TRUST_DOMAIN;
	return err_set(err, EXDEV, "%s: of trust domain %s; this node is in %s", what, name,
		       c->trust_domain);
}

static int check_head_names(const struct accept_context *c, const struct head *h,
			    enum refusal *ret_why, struct err *err)
{
	int r = check_trust_domain(c, "head", h->trust_domain, ret_why, err);

	if (r < 0)
		return r;
	if (strcmp(h->node, c->node) == 0)
		return 0;
	*ret_why = REFUSAL_NODE;
	return err_set(err, EXDEV, "head: written for node %s; this is %s", h->node, c->node);
}

/* Signature, form, names: what is true of a head whenever it is looked at. */
static int open_head(const struct accept_context *c, const char *text, size_t len, struct head *ret,
		     enum refusal *ret_why, struct err *err)
{
	CLEANUP(freep) uint8_t *payload = NULL;
	struct head h = {0};
	size_t payload_len = 0;
	int r;

	*ret_why = REFUSAL_NONE;
	r = open_document(text, len, DSSE_TYPE_HEAD, "head", c->controller, &payload, &payload_len,
			  ret_why, err);
	if (r < 0)
		return r;
	r = head_decode(payload, payload_len, &h, err);
	if (r < 0)
		return refused(r, ret_why);
	r = check_head_names(c, &h, ret_why, err);
	if (r < 0) {
		head_done(&h);
		return r;
	}
	*ret = h;
	return 0;
}

static int check_head_age(const struct known *k, const struct accept_context *c,
			  const struct head *h, enum refusal *ret_why, struct err *err)
{
	char until[RFC3339_TEXT_MAX];

	if (h->sequence < k->head_sequence) {
		*ret_why = REFUSAL_ROLLBACK;
		return err_set(err, ESTALE,
			       "head: sequence %" PRIu64 " is older than %" PRIu64
			       ", which was accepted",
			       h->sequence, k->head_sequence);
	}
	if (h->expires.s <= c->now.s) {
		*ret_why = REFUSAL_FREEZE;
		return err_set(err, ETIME,
			       "head: expired at %s; somebody holds newer ones back, or the "
			       "controller does not run",
			       rfc3339_format(until, h->expires));
	}
	/* The same sequence says nothing new, whatever else it says. */
	if (h->sequence > k->head_sequence && h->view_sequence < k->view_sequence) {
		*ret_why = REFUSAL_ROLLBACK;
		return err_set(err, ESTALE,
			       "head: view sequence %" PRIu64 " is older than %" PRIu64
			       ", which was accepted",
			       h->view_sequence, k->view_sequence);
	}
	return h->sequence > k->head_sequence;
}

int accept_head(struct known *k, const struct accept_context *c, const char *text, size_t len,
		struct head *ret, enum refusal *ret_why, struct err *err)
{
	struct head h = {0};
	int r = open_head(c, text, len, &h, ret_why, err);

	if (r < 0)
		return r;
	r = check_head_age(k, c, &h, ret_why, err);
	if (r <= 0) {
		head_done(&h);
		return r;
	}
	k->head_sequence = h.sequence;
	k->head_expires = h.expires;
	k->view_sequence = h.view_sequence;
	*ret = h;
	return 1;
}

/* ---- manifest ---- */

static int check_named(const struct head_pointer *want, const char *text, size_t len,
		       enum refusal *ret_why, struct err *err)
{
	uint8_t digest[SHA256_LEN];
	char hex[SHA256_HEX_LEN];

	*ret_why = REFUSAL_NONE;
	if (len > DSSE_ENVELOPE_MAX) {
		*ret_why = REFUSAL_SIZE;
		return err_set(err, E2BIG, "manifest: larger than %u KiB", DSSE_ENVELOPE_MAX >> 10);
	}
	if (sha256(text, len, digest) < 0)
		return err_set(err, ENOMEM, "manifest: out of memory");
	hex_format(digest, sizeof(digest), hex);
	if (strcmp(hex, want->sha256) == 0)
		return 0;
	*ret_why = REFUSAL_MIX;
	return err_set(err, EBADMSG,
		       "manifest: SHA-256 %.16s... is not %.16s..., which the head names", hex,
		       want->sha256);
}

static int check_revision(const struct known *k, const struct head_pointer *want,
			  const struct manifest *m, enum refusal *ret_why, struct err *err)
{
	if (m->revision != want->revision) {
		*ret_why = REFUSAL_MIX;
		return err_set(err, EBADMSG,
			       "manifest: revision %" PRIu64 "; the head names %" PRIu64,
			       m->revision, want->revision);
	}
	if (m->revision <= k->highest_revision && m->revision < k->rollback_floor) {
		*ret_why = REFUSAL_ROLLBACK;
		return err_set(err, ESTALE,
			       "manifest: revision %" PRIu64 " is below %" PRIu64
			       ", the rollback floor of revision %" PRIu64,
			       m->revision, k->rollback_floor, k->highest_revision);
	}
	return 0;
}

static int check_not_revoked(const struct accept_context *c, const struct manifest *m,
			     enum refusal *ret_why, struct err *err)
{
	for (size_t i = 0; i < m->revoked_node_count; i++) {
		if (strcmp(m->revoked_nodes[i], c->node) != 0)
			continue;
		*ret_why = REFUSAL_REVOKED_NODE;
		return err_set(err, EACCES, "manifest: revision %" PRIu64 " revokes this node, %s",
			       m->revision, c->node);
	}
	return 0;
}

static int check_manifest(const struct known *k, const struct accept_context *c,
			  const struct head_pointer *want, const struct manifest *m,
			  enum refusal *ret_why, struct err *err)
{
	int r = check_trust_domain(c, "manifest", m->trust_domain, ret_why, err);

	if (r == 0)
		r = check_revision(k, want, m, ret_why, err);
	return r == 0 ? check_not_revoked(c, m, ret_why, err) : r;
}

/*
 * The floor is that of the newest manifest: one that is re-entered, being older, neither lowers it
 * nor raises it.
 */
static void remember(struct known *k, const struct manifest *m)
{
	if (m->revision <= k->highest_revision)
		return;
	k->highest_revision = m->revision;
	k->rollback_floor = m->rollback_floor;
}

int accept_manifest(struct known *k, const struct accept_context *c,
		    const struct head_pointer *want, const char *text, size_t len,
		    struct manifest *ret, bool *ret_expired, enum refusal *ret_why, struct err *err)
{
	CLEANUP(freep) uint8_t *payload = NULL;
	struct manifest m = {0};
	size_t payload_len = 0;
	int r = check_named(want, text, len, ret_why, err);

	if (r == 0)
		r = open_document(text, len, DSSE_TYPE_MANIFEST, "manifest", c->policy, &payload,
				  &payload_len, ret_why, err);
	if (r < 0)
		return r;
	r = manifest_decode(payload, payload_len, &m, err);
	if (r < 0)
		return refused(r, ret_why);
	r = check_manifest(k, c, want, &m, ret_why, err);
	if (r < 0) {
		manifest_done(&m);
		return r;
	}
	remember(k, &m);
	*ret_expired = m.expires.s <= c->now.s;
	*ret = m;
	return 0;
}

/* ---- blobs ---- */

int accept_blob(const char *sha256_hex, uint64_t size, const void *bytes, size_t len,
		enum refusal *ret_why, struct err *err)
{
	uint8_t digest[SHA256_LEN];
	char hex[SHA256_HEX_LEN];

	*ret_why = REFUSAL_NONE;
	if (len > size) {
		*ret_why = REFUSAL_SIZE;
		return err_set(err, E2BIG, "blob %.16s...: %zu bytes; %" PRIu64 " would be right",
			       sha256_hex, len, size);
	}
	if (sha256(bytes, len, digest) < 0)
		return err_set(err, ENOMEM, "blob %.16s...: out of memory", sha256_hex);
	hex_format(digest, sizeof(digest), hex);
	if (len == size && strcmp(hex, sha256_hex) == 0)
		return 0;
	*ret_why = REFUSAL_DIGEST;
	return err_set(err, EBADMSG,
		       "blob %.16s...: %zu bytes with SHA-256 %.16s... are not those that were "
		       "signed for",
		       sha256_hex, len, hex);
}

int accept_view(const struct accept_context *c, const struct head *head, const void *bytes,
		size_t len, struct view **ret, enum refusal *ret_why, struct err *err)
{
	CLEANUP(view_freep) struct view *v = NULL;
	int r = accept_blob(head->view_sha256, head->view_size, bytes, len, ret_why, err);

	if (r < 0)
		return r;
	r = view_decode(bytes, len, c->node, head->view_sequence, &v, err);
	if (r < 0)
		return refused(r, ret_why);
	if (v->sequence != head->view_sequence) {
		*ret_why = REFUSAL_MIX;
		return err_set(err, EBADMSG,
			       "view.json: sequence %" PRIu64 "; the head names %" PRIu64,
			       v->sequence, head->view_sequence);
	}
	*ret = TAKE_PTR(v);
	return 0;
}
