/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Documents on their way in: texts become a finished policy or a view, or a list of findings.
 * What is refused changes nothing.
 */
#pragma once

#include "agent/agent.h"
#include "agent/store.h"

/* Findings of FORMATS `check`: [{file, line, column, message, advice}]; both may be NULL. */
int loading_policy(const struct agent *a, const struct store_policy *texts, struct policy **ret,
		   json_t **ret_errors, json_t **ret_warnings, struct err *err);
/* The policy of a fresh agent: nothing is permitted. */
int loading_empty_policy(const struct agent *a, struct policy **ret, struct err *err);

/* Reads the directory's policy texts (DIR/policy, trusted by ownership) into *ret. */
int loading_directory(const char *directory, struct store_policy *ret, struct err *err);

/*
 * Takes a newer DIR/view.json into use: decode, keep a copy, recompile. A refused one is reported
 * in a->view_error. Returns 1 if it was new, 0 if not, -errno.
 */
int loading_view(struct agent *a, struct err *err);
/*
 * A view that is verified already: into use, kept for the next start. The caller reconciles
 * DIRTY_POLICY. Takes the view in any case.
 */
int loading_view_use(struct agent *a, struct view *take, const char *text, size_t len,
		     struct err *err);
/* The last good copy at start. */
int loading_view_stored(struct agent *a, uint64_t min_sequence, struct err *err);
