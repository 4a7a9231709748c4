/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * When this host first saw each grant of the controller. A grant opens its pair for no longer than
 * the rule's `max` from then, however far away its `until` is; kept in state_dir, so that neither a
 * restart nor a head that leaves it out for a while begins the time again.
 */
#pragma once

#include "agent/store.h"

#define FIRST_SEEN_MAX 16384 /* grants remembered; the oldest are forgotten */

/*
 * Fills `since` where it is 0. It is filled in any case, with `now` for those that are new or not
 * known; an error says that a restart may begin their time again.
 */
int first_seen_fill(struct store *s, struct overlay_grant *grants, size_t count, struct wall now,
		    struct err *err);
