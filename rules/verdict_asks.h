/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whose word a rule wants before a connection may pass, in words: what `why` says of an attested
 * rule before anybody has connected. Pure text, in the agent and in the command alike.
 */
#pragma once

#include "base/buf.h"
#include "rules/policy.h"

/*
 * "each connection: pay-1's agent must vouch for settlement; without its word it is denied
 * (attest_unavailable)". Nothing where nobody is asked: mapped, or both ends on one node, whose own
 * kernel vouches. from, to: indices of identities or -1; nodes may be NULL.
 */
void verdict_asks(const struct policy *p, const struct rule *rule, int from, int to,
		  const char *from_node, const char *to_node, struct buf *b);
