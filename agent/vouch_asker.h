/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which addresses are an asking node's, by the view in force within the bounds of policy: those of
 * the node, and those at which the view places identities there (the compiler's rule, R34). Worked
 * out once per node, because a peer may ask thousands of times a second. Part of agent/vouch.c.
 */
#pragma once

#include "agent/agent.h"

#define ASKERS_MAX 4096 /* nodes kept; then all are worked out anew */

struct asker_index;

struct asker_index *asker_index_new(void); /* NULL: out of memory */
void asker_index_free(struct asker_index *x);
/* 1, 0, or -ENOMEM. */
int asker_owns(struct asker_index *x, const struct view *view, const struct edition *edition,
	       const char *node, const struct addr *a);
