/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A start that cannot know what was in force: policy, view or head are neither in state_dir nor
 * among their copies (spare.h), and the kernel judges by them. What would be compiled from the rest
 * would open what the head closed, or cut off what policy permits. So the kernel's table is left as
 * it is, flows go on and stay denied, and the agent waits for what is missing. Meanwhile it is to
 * the kernel as if it were dead: no heartbeat, so questions get the answer of nobody.
 *
 * Nothing is written that the next start would take for knowledge. Where the kernel has no table,
 * there is nothing to keep, and nothing is held.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>

struct agent;

/* What is missing, in agent.held. */
enum { HELD_POLICY = 1, HELD_VIEW = 2, HELD_HEAD = 4 };

/* At start, instead of the first reconciliation, where something is missing. */
int held_begin(struct agent *a, struct err *err);
/* A head was accepted. */
void held_head_came(struct agent *a);
/* False, with the reason, while something is missing: nothing may be sent to the kernel. */
bool held_over(struct agent *a, struct err *err);
