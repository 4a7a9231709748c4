/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which documents a node takes (facts: TUF's attacks, OPA's omissions). Pure: bytes, keys, what is
 * known so far and the time go in, a verdict comes out; nothing is stored here. Order: head, then
 * the manifest it names, then blobs and view by digest. Whatever is refused leaves `known` as it
 * was. Each refusal has a code for reports and tests: the attack's name.
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "controller-client/dsse.h"
#include "controller-client/head.h"
#include "controller-client/manifest.h"

/* What survives restarts (state_dir); zeroed for a fresh node. */
struct known {
	char policy_keys[SHA256_HEX_LEN], controller_keys[SHA256_HEX_LEN]; /* keyring_digest() */
	uint64_t head_sequence;                                            /* newest accepted */
	struct wall head_expires;
	uint64_t highest_revision; /* of accepted manifests */
	uint64_t rollback_floor;   /* of the newest accepted manifest */
	uint64_t view_sequence;    /* newest accepted */
};

struct accept_context {
	const struct keyring *policy, *controller;
	const char *trust_domain; /* NULL: any (and then that of the policy counts) */
	const char *node;
	struct wall now; /* max(wall clock, highest wall time seen, release) */
};

enum refusal {
	REFUSAL_NONE,
	REFUSAL_MALFORMED,    /* "malformed": not a document, or not one of this version */
	REFUSAL_TYPE,         /* "wrong_type": another payload type */
	REFUSAL_SIGNATURE,    /* "signature": too few trusted keys */
	REFUSAL_NODE,         /* "wrong_node": another node's head */
	REFUSAL_TRUST_DOMAIN, /* "wrong_trust_domain" */
	REFUSAL_ROLLBACK,     /* "rollback": sequence fell, or revision below what may be */
	REFUSAL_FREEZE,       /* "freeze": an expired head, newer than ours or not */
	REFUSAL_MIX,          /* "mix_and_match": digest or revision is not what the head names */
	REFUSAL_DIGEST,       /* "digest": bytes are not those that were signed for */
	REFUSAL_SIZE,         /* "oversize" */
	REFUSAL_REQUIRES,     /* "requires": needs what this release has not */
	REFUSAL_REVOKED_NODE, /* "revoked_node": the manifest revokes this node */
};
const char *refusal_code(enum refusal r);

/*
 * Called at start: another set of keys drops what was known under the old ones (FORMATS: the way
 * back from a fast-forward). 1: *k has changed and is to be stored; 0; -ENOMEM.
 */
int known_match_keys(struct known *k, const struct accept_context *c);

/*
 * Of all below: -ENOMEM comes with REFUSAL_NONE, the same bytes may pass later. Any other error has
 * its *ret_why.
 */

/*
 * 1: newer, *ret filled and k->head_sequence, head_expires moved on; 0: the one we have (same
 * sequence); negative: refused, *ret_why says by which rule. An expired head is refused (freeze)
 * and `known` keeps the expiry of the last good one, which is what makes the node stale. A head
 * of the same sequence with other content is no change either: the first one counts, so that
 * whoever holds the controller key cannot alternate between two truths.
 */
int accept_head(struct known *k, const struct accept_context *c, const char *text, size_t len,
		struct head *ret, enum refusal *ret_why, struct err *err);
/*
 * The manifest that the head names. On success highest_revision and floor move on. Re-entering the
 * revision in force is fine. An expired manifest is accepted and *ret_expired set (stale, alarm).
 */
int accept_manifest(struct known *k, const struct accept_context *c,
		    const struct head_pointer *want, const char *text, size_t len,
		    struct manifest *ret, bool *ret_expired, enum refusal *ret_why,
		    struct err *err);
/* Bytes of a blob against its digest and size. */
int accept_blob(const char *sha256, uint64_t size, const void *bytes, size_t len,
		enum refusal *ret_why, struct err *err);
/* The view blob that the head names: digest and size, form, node, and the sequence of the head. */
int accept_view(const struct accept_context *c, const struct head *head, const void *bytes,
		size_t len, struct view **ret, enum refusal *ret_why, struct err *err);
