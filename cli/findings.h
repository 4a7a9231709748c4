/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is wrong with a policy, as `check` prints it: `file:line:col: message; advice`, sorted by
 * place, warnings marked, a summary last. And the files a policy is made of.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "rules/policy.h"

#include <jansson.h>
#include <stddef.h>

/* {errors: [...], warnings: [...], more_errors?, identities?, rules?, files?}: lines and a summary.
 */
void findings_render(const json_t *result, struct buf *b);

/* The object of `check` for a policy that policy_finish() has seen. NULL when out of memory. */
json_t *findings_json(const struct policy *p);

#define POLICY_FILES_MAX 10000

struct policy_file {
	char *path;       /* as given, or found below what was given */
	const char *name; /* last component of path */
	char *text;
	size_t len;
};

struct policy_files {
	struct policy_file *entries;
	size_t count, cap, total; /* total bytes */
};

void policy_files_done(struct policy_files *f);

/*
 * A file; or a directory: its policy/ if there is one, else itself, every *.yaml in it, by name. An
 * empty directory is an error, since a policy without rules would cut everything.
 */
int policy_files_read(struct policy_files *f, const char *path, struct err *err);

/* Show files by path as found, or by name alone as the agent does. */
enum policy_names { POLICY_BY_PATH, POLICY_BY_NAME };

/* All files parsed and validated as this release's node would. -EINVAL: findings hold errors. */
int policy_files_check(const struct policy_files *f, enum policy_names names, struct wall now,
		       struct policy **ret, struct err *err);
