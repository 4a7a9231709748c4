/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * DSSE 1.0.2 envelopes (github.com/secure-systems-lab/dsse): what is signed is
 * PAE(type, body) = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body. keyid is a hint, unknown
 * members are ignored, base64 may be standard or URL-safe; distinct *keys* are counted, not
 * signatures; only the verified bytes are parsed, the envelope is never read again.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "controller-client/key.h"

#include <stddef.h>
#include <stdint.h>

#define DSSE_ENVELOPE_MAX   (1U << 20)
#define DSSE_SIGNATURES_MAX 64
#define DSSE_TRIES_MAX      64 /* verifications for one envelope; a right keyid needs one */

#define DSSE_TYPE_MANIFEST "application/vnd.bailiwick.manifest.v1+json"
#define DSSE_TYPE_HEAD     "application/vnd.bailiwick.head.v1+json"
#define DSSE_TYPE_PROOF    "application/vnd.bailiwick.proof.v1+json"

void dsse_pae(struct buf *b, const char *type, const void *body, size_t len);

/*
 * Verifies under the keyring and hands the payload over (NUL after it; caller frees). `what` names
 * the document in errors. -EBADMSG malformed; -EPROTOTYPE another payload type; -EKEYREJECTED fewer
 * distinct keys than the threshold; -E2BIG; -ENOMEM. A keyring without keys or with threshold 0
 * verifies nothing (-EKEYREJECTED).
 */
int dsse_verify(const char *text, size_t len, const char *type, const char *what,
		const struct keyring *keys, uint8_t **ret_payload, size_t *ret_len,
		struct err *err);

/* For proofs and for tools that show what is inside: *no signature is looked at*. */
int dsse_open_unverified(const char *text, size_t len, const char *type, uint8_t **ret_payload,
			 size_t *ret_len, struct err *err);

struct dsse_signature {
	char keyid[SHA256_HEX_LEN];
	uint8_t bytes[KEY_SIGNATURE_MAX];
	size_t len;
};
/* Envelope as JSON text, one line and a newline; caller frees. */
int dsse_make(const char *type, const void *body, size_t len,
	      const struct dsse_signature *signatures, size_t count, char **ret, size_t *ret_len,
	      struct err *err);
/* Signs with one private key and makes the envelope. */
int dsse_sign(const char *type, const void *body, size_t len, const struct private_key *key,
	      char **ret, size_t *ret_len, struct err *err);
/*
 * Adds a signature to an envelope (payload and other signatures stay byte for byte the same
 * values); one by the same keyid is replaced.
 */
int dsse_add(const char *text, size_t len, const struct dsse_signature *signature, char **ret,
	     size_t *ret_len, struct err *err);
