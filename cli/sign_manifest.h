/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The terms under which policy is signed: what `sign` was told, and what was signed before. */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "cli/args.h"
#include "cli/sign_blobs.h"
#include "cli/signed_tree.h"
#include "controller-client/manifest.h"

/* Options of `sign`; from OPTION_REVISION on they are about the manifest. */
enum {
	OPTION_KEY,
	OPTION_PUBLIC,
	OPTION_OUT,
	OPTION_REVISION,
	OPTION_FLOOR,
	OPTION_EXPIRES,
	OPTION_ISSUED,
	OPTION_COMMENT,
	OPTION_REVOKE_NODE,
	OPTION_UNREVOKE_NODE,
	OPTION_REQUIRES,
	OPTION_COUNT,
};

struct sign_terms {
	const struct args *args;
	const struct sign_blobs *blobs;
	const struct signed_tree *tree;  /* where it goes */
	const struct manifest *previous; /* the newest there; revision 0: none */
	struct wall now;
};

/*
 * Fills *m, which the caller frees in any case. Revision and floor follow those of before, revoked
 * nodes stay revoked; -EINVAL says what is wrong and what would be right.
 */
int sign_manifest(const struct sign_terms *t, struct manifest *m, struct err *err);
