/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A policy as a word of the command line: a file, a directory, a signed tree, or DIR@REVISION of
 * one. For `check` and `diff`.
 */
#pragma once

#include "base/err.h"
#include "cli/args.h"
#include "cli/policy_files.h"
#include "cli/signed_tree.h"
#include "controller-client/key.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct source {
	bool is_signed;
	struct signed_tree tree; /* where is_signed */
	struct signed_policy signed_policy;
};

void source_done(struct source *s);

/* Whether the word is a signed tree or a revision of one. */
bool source_is_signed(const char *word);
/*
 * Adds the policy of `word` to files. `trust` (NULL: signatures are not looked at) concerns signed
 * trees only. Errors as signed_tree_read().
 */
int source_read(struct source *s, const char *word, const struct keyring *trust,
		struct policy_files *files, struct err *err);

/*
 * --trust FILE.pub, repeated, and --threshold N into a keyring. *ret_given: there was one. A
 * threshold above the number of keys is refused.
 */
int source_trust(const struct args *a, size_t option_trust, size_t option_threshold,
		 struct keyring *ret, bool *ret_given, struct err *err);

/* {file, revision, digest, verified, trust_domain, rollback_floor, issued, expires, ...} */
json_t *source_signed_json(const struct source *s);
