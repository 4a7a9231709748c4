/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Parts of the answer of `why` (FORMATS) that a running agent and a policy on disk give alike. */
#pragma once

#include "rules/verdict.h"

#include <jansson.h>

/* Field `nearest`: the rule that came closest and what it fails on, null for none; new reference.
 */
json_t *verdict_nearest_json(const struct policy *p, const struct verdict *v);
