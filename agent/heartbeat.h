/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Once a second: the element agent_alive is renewed (without it the kernel stops asking, R11), the
 * clock is looked at, and what is due is done. It is the agent's only wake-up when nothing happens.
 */
#pragma once

#include "agent/agent.h"

int heartbeat_start(struct agent *a, struct err *err);
void heartbeat_stop(struct agent *a);
/*
 * Around a step that a large document makes long: the loop does not turn meanwhile, but it is no
 * sign that nobody would answer. Does nothing before the first beat, and when the element is fresh.
 */
void heartbeat_extend(struct agent *a);
#define HEARTBEAT_LARGE_BYTES 1000000 /* of a document, from where on a step is that long */
#define HEARTBEAT_LARGE_PEERS 5000
/* Sets a->clock_trusted and a->wall_highest from the clocks now. */
void heartbeat_clock(struct agent *a);
/*
 * What ends goes by this: never before the newest time seen, which goes on from `raised` (boot
 * time; 0 = it stands) while the clock itself is not trusted. Else a clock that is held back would
 * renew a lease with each load.
 */
struct wall heartbeat_time(struct wall now, struct wall highest, struct mono raised,
			   struct mono boot);
/*
 * *highest follows the wall clock, a leap of more than a day only once it has stood for an hour.
 * *leapt: since when it stands there; 0 = no leap.
 */
void heartbeat_raise(struct wall *highest, struct mono *leapt, struct wall now, struct mono mono);
