/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Policy, and a node's view where there is one, read from a directory: what `check --explain` and
 * `why --policy` work on without an agent.
 */
#pragma once

#include "base/addr.h"
#include "base/err.h"
#include "cli/findings.h"
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
};

void offline_done(struct offline *o);

/*
 * Reads DIR as policy_files_read() does, and DIR/view.json. -EINVAL with o->policy set: its
 * findings hold errors.
 */
int offline_read(struct offline *o, const char *path, enum policy_names names, struct wall now,
		 struct err *err);

/* Input of compiler and oracle; borrows from o. */
void offline_input(const struct offline *o, struct wall now, struct compile_input *ret);
