/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Policy, and a node's view where there is one, read from a directory: what `check --explain` and
 * `why --policy` work on without an agent.
 */
#pragma once

#include "base/addr.h"
#include "base/err.h"
#include "cli/policy_files.h"
#include "cli/source.h"
#include "rules/compile.h"
#include "rules/policy.h"
#include "rules/view.h"

#include <stddef.h>

struct offline {
	struct policy_files files;
	struct policy *policy;  /* NULL when it could not be read at all */
	struct view *view;      /* NULL: there is no view.json */
	struct addr *addresses; /* of the view's own node */
	size_t address_count;
	struct source source; /* where a word was a signed tree */
};

void offline_done(struct offline *o);

/*
 * Adds what a word names (cli/source.h; trust may be NULL) and, unless there is a view already,
 * DIR/view.json. One signed tree only. Errors as source_read().
 */
int offline_add(struct offline *o, const char *word, const struct keyring *trust, struct err *err);
/* -EINVAL with o->policy set: its findings hold errors. */
int offline_check(struct offline *o, enum policy_names names, struct wall now, struct err *err);
/* Both, for one word. */
int offline_read(struct offline *o, const char *path, enum policy_names names, struct wall now,
		 struct err *err);

/* Input of compiler and oracle; borrows from o. */
void offline_input(const struct offline *o, struct wall now, struct compile_input *ret);
