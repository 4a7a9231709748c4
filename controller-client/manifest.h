/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The manifest (FORMATS "Signed documents"): which policy, signed by the policy keys, offline.
 * Decoding is strict: unknown members are errors but for what stands under `ext`, and a name in
 * `requires` that this release does not know refuses the document and names it.
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "rules/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MANIFEST_MAX             (512U << 10)
#define MANIFEST_BLOBS_MAX       256
#define MANIFEST_BLOB_SIZE_MAX   (16U << 20)
#define MANIFEST_POLICY_SIZE_MAX (64U << 20) /* of all blobs */
#define MANIFEST_REVOKED_MAX     10000
#define MANIFEST_REQUIRES_MAX    64
#define MANIFEST_NAME_MAX        128 /* of a blob: [A-Za-z0-9._-], not beginning with '.' */
#define MANIFEST_COMMENT_MAX     1024
#define DOCUMENT_NUMBER_MAX      INT64_MAX

struct blob_ref {
	char name[MANIFEST_NAME_MAX];
	char sha256[SHA256_HEX_LEN];
	uint64_t size;
};

struct manifest {
	char *trust_domain;
	uint64_t revision, rollback_floor; /* 1.. ; 0 <= floor <= revision */
	struct wall issued, expires;
	struct blob_ref *policy;
	size_t policy_count;
	char **requires;
	size_t requires_count;
	char **revoked_nodes;
	size_t revoked_node_count;
	char *comment; /* may be NULL */
};
void manifest_done(struct manifest *m);

/* Of verified bytes. -EBADMSG, -EPROTONOSUPPORT (version), -ENOTSUP (requires), -E2BIG, -ENOMEM. */
int manifest_decode(const uint8_t *text, size_t len, struct manifest *ret, struct err *err);
/* JSON text; caller frees. What manifest_decode() would refuse is refused with its error. */
int manifest_encode(const struct manifest *m, char **ret, size_t *ret_len, struct err *err);
/* Names a version-1 agent of this release can honour; NULL-terminated. */
extern const char *const manifest_features[];
