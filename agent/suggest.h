/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From conversations that were seen to rules that would permit them: a proposal for a person to
 * read, fill in and sign, never something that opens anything. Pure.
 *
 * Both ends must have names. A far end that is only a node stands for the identities placed there,
 * an address for the network of the policy around it, or for a new one that holds what was seen.
 * What nobody can write a rule for - a process that no identity claims, ports chosen anew each
 * time - is listed apart, so that it is not forgotten.
 */
#pragma once

#include "agent/observed.h"
#include "rules/policy.h"
#include "rules/view.h"

#include <jansson.h>

/*
 * FORMATS "suggest": {rules, networks, unclaimed, left, totals}. Conversations last seen before
 * `since` are left out. NULL: out of memory. v may be NULL.
 *
 * A rule asks for `attested` where somebody could vouch: identities on both sides, an agent on each
 * node where one of them runs, and on this one (vouches: it has a certificate and may be asked).
 */
json_t *suggest_json(const struct policy *p, const struct view *v, const struct observed *o,
		     struct wall since, bool vouches);
