/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signed documents as a directory: DIR/v1/manifests/REVISION, DIR/v1/blobs/sha256/HEX, and where a
 * controller exported it DIR/v1/heads/NODE.dsse.json (controller-client/static_path.h). The folder
 * v1 itself is understood as well. Read here for `check` and `diff`, written by `sign`.
 */
#pragma once

#include "base/err.h"
#include "base/hash.h"
#include "cli/policy_files.h"
#include "controller-client/dsse.h"
#include "controller-client/manifest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIGNED_REVISIONS_MAX 1000000

struct signed_tree {
	char *base; /* the folder that holds manifests/ */
	uint64_t *revisions;
	size_t count; /* ascending */
};

/* Whether DIR is one: has v1/manifests or manifests with revisions in it. */
bool signed_tree_is(const char *dir);
/* *ret->count is 0 where nothing was signed yet: then base is DIR/v1. */
int signed_tree_open(const char *dir, struct signed_tree *ret, struct err *err);
void signed_tree_done(struct signed_tree *t);
char *signed_tree_manifest_path(const struct signed_tree *t, uint64_t revision);

/* The envelope as it stands there. */
int signed_tree_envelope(const struct signed_tree *t, uint64_t revision, char **ret,
			 size_t *ret_len, struct err *err);

/* One revision, read. */
struct signed_policy {
	struct manifest manifest;
	char digest[SHA256_HEX_LEN]; /* of the envelope */
	char *path;                  /* of the envelope */
	bool verified;               /* signatures were looked at */
};
void signed_policy_done(struct signed_policy *s);

/*
 * Reads a revision (0: the newest) and its blobs into files, each by digest and size. With trust
 * (may be NULL) enough of these keys must have signed. -ENOENT, -EIO and the like where files
 * cannot be read; -EBADMSG, -EKEYREJECTED, -EPROTOTYPE, -ENOTSUP, -E2BIG when what they hold is
 * refused.
 */
int signed_tree_read(const struct signed_tree *t, uint64_t revision, const struct keyring *trust,
		     struct policy_files *files, struct signed_policy *ret, struct err *err);
/* Whether an error of the above means: read, and refused. */
bool signed_tree_refused(int r);

/* Writes durably; what is there already stays if it is the same bytes (blobs are immutable). */
int signed_tree_write_blob(const struct signed_tree *t, const char *sha256, const void *bytes,
			   size_t len, struct err *err);
int signed_tree_write_manifest(const struct signed_tree *t, uint64_t revision, const char *text,
			       size_t len, struct err *err);

/* "DIR@12" with DIR a signed tree: *ret_dir is the caller's. Otherwise a copy of word and 0. */
int signed_tree_word(const char *word, char **ret_dir, uint64_t *ret_revision, struct err *err);
