/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a policy opens, without an agent: conduits of the view's node, or pairs of identities. */
#pragma once

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "cli/offline.h"

#include <jansson.h>

/* Rules expand to (from, to, service); more than this is not for reading. */
#define EXPLAIN_ROWS_MAX 1000000

/*
 * *ret is an array. With a view: the node's conduits, as `conduits` lists them. Without: one entry
 * per rule, party pair and service, {from, to, service, rule, verdict, assurance, conditions}.
 */
int explain_json(const struct offline *o, struct wall now, json_t **ret, struct err *err);

/* Under which conditions a rule opens anything: "attested; unavailable: allow; until ...". */
void explain_conditions(const struct rule *rule, struct buf *b);
