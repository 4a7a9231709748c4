/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Once a second: the element agent_alive is renewed (without it the kernel stops asking, R11), the
 * clock is looked at, and what is due is done. It is the agent's only wake-up when nothing happens.
 */
#pragma once

#include "agent/agent.h"

int heartbeat_start(struct agent *a, struct err *err);
void heartbeat_stop(struct agent *a);
/* Sets a->clock_trusted and a->wall_highest from the clocks now. */
void heartbeat_clock(struct agent *a);
