/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is wrong with a policy, as `check` prints it: `file:line:col: message; advice`, sorted by
 * place, warnings marked, a summary last.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "cli/policy_files.h"
#include "rules/policy.h"

#include <jansson.h>
#include <stddef.h>

/* {errors: [...], warnings: [...], more_errors?, identities?, rules?, files?}: lines and a summary.
 */
void findings_render(const json_t *result, struct buf *b);

/* The object of `check` for a policy that policy_finish() has seen. NULL when out of memory. */
json_t *findings_json(const struct policy *p);
