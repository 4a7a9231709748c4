/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What two policies say differently: which conversation between which parties is gained, lost or
 * held under other conditions, whatever the rules that say so are called; and which definitions
 * (identities, networks, nodes, defaults, separations) changed, because the same rule about another
 * process is another rule. Identities are the same by their path, networks by their name.
 *
 * Where rules name overlapping port ranges, ports are cut at each other's borders: a range that
 * lost one port shows as that port.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "rules/policy.h"

#include <jansson.h>

/* (from, to, service) of all rules of one policy; more than this is not for reading. */
#define DIFF_FACTS_MAX 4000000
#define DIFF_ROWS_MAX  1000000

/*
 * *ret is an array of {identity, peer, service, effect (gained, lost, changed), direction (out,
 * in), from, to, rule, before, after}, sorted by parties and service. Policies without errors.
 */
int diff_changes(const struct policy *old, const struct policy *new, json_t **ret, struct err *err);

/* *ret is an array of {kind, name, effect, what: [{field, before, after}]}. */
int diff_definitions(const struct policy *old, const struct policy *new, json_t **ret,
		     struct err *err);
