/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The files a policy is made of, read from where people keep them: files, directories with
 * directories in them, and signed trees (cli/signed_tree.h).
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "rules/policy.h"

#include <stdbool.h>
#include <stddef.h>

#define POLICY_FILES_MAX 10000
#define POLICY_DIRS_MAX  8 /* nested in each other */

struct policy_file {
	char *path; /* as given, or found below what was given: what findings show */
	char *name; /* below the directory given, '/' as '.': "payments.yaml", "eu.payments.yaml" */
	char *text;
	size_t len;
};

struct policy_files {
	struct policy_file *entries;
	size_t count, cap, total; /* total bytes */
};

void policy_files_done(struct policy_files *f);

/*
 * A file; or a directory: its policy/ if there is one, else itself, every *.yaml in it and, where
 * `nested`, in directories below, by name. An empty directory is an error, since a policy without
 * rules would cut everything; so are two files that would get the same name, and files in
 * directories below where the caller cannot take them.
 */
int policy_files_read(struct policy_files *f, const char *path, bool nested, struct err *err);

/* Takes path, name and text in any case. */
int policy_files_add(struct policy_files *f, char *take_path, char *take_name, char *take_text,
		     size_t len, struct err *err);

/* Show files by path as found, or by name alone as the agent does. */
enum policy_names { POLICY_BY_PATH, POLICY_BY_NAME };

/* All files parsed and validated as this release's node would. -EINVAL: findings hold errors. */
int policy_files_check(const struct policy_files *f, enum policy_names names, struct wall now,
		       struct policy **ret, struct err *err);
