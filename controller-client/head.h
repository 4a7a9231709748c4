/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The head (FORMATS "Signed documents"): one per node, signed by the controller's online keys. It
 * points at a manifest and at this node's view, and carries what acts at once. Strict like the
 * manifest.
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "rules/compile.h"
#include "rules/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAD_MAX         (512U << 10)
#define HEAD_ENTRIES_MAX 4096 /* of a list */
#define HEAD_TEXT_MAX    1024 /* reasons, names */

struct head_pointer {
	uint64_t revision;           /* 0: absent */
	char sha256[SHA256_HEX_LEN]; /* of the manifest's envelope */
};

struct head {
	char *trust_domain, *node;
	uint64_t sequence;
	struct wall issued, expires;
	bool urgent;
	struct head_pointer stable, candidate;
	char view_sha256[SHA256_HEX_LEN];
	uint64_t view_size, view_sequence;
	/* quarantine, revoked and grants, as the compiler takes them; a grant's who = approver */
	struct overlay overlay;
};
void head_done(struct head *h);

/*
 * Of verified bytes; errors as manifest_decode(). `requires` may stand there, with the meaning it
 * has in the manifest. All of the overlay is from_head.
 */
int head_decode(const uint8_t *text, size_t len, struct head *ret, struct err *err);
/*
 * JSON text; caller frees. What head_decode() would refuse is refused with its error; a revoked
 * conduit number means something on one host only and has no form here (-EINVAL).
 */
int head_encode(const struct head *h, char **ret, size_t *ret_len, struct err *err);
