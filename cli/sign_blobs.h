/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Policy files into blobs: checked as people wrote them, and once more as they will be read. */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "cli/policy_files.h"
#include "controller-client/manifest.h"

struct sign_blobs {
	struct policy_files files, json; /* as written; the same as blobs, in the same order */
	struct blob_ref *refs;           /* one per file */
	struct policy *policy;           /* of files; NULL when they could not be read at all */
};

void sign_blobs_done(struct sign_blobs *b);

/* -EINVAL with b->policy set and errors in it: its findings tell what is wrong. */
int sign_blobs_read(struct sign_blobs *b, const char *path, struct wall now, struct err *err);
