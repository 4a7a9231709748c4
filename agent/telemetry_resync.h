/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A bare SYN met a live conntrack entry and was dropped (R1). When the socket table shows that the
 * tuple has a new owner, the old entry is deleted, and the retransmission is judged as a first
 * packet. A forged SYN finds the old socket still there, and nothing happens. An entry that the far
 * host has vouched for ends only when that host has a new socket.
 */
#pragma once

#include "agent/conntrack.h"
#include "agent/owner.h"
#include "agent/telemetry_explain.h"

struct resync_counters {
	uint64_t deleted; /* entries whose tuple has a new owner */
	uint64_t kept;    /* forged, or nothing to be seen */
	uint64_t asked;   /* the far host is asked: it vouched for the flow that is there */
	uint64_t limited; /* not looked at: too many in this second */
};

struct resync {
	struct agent *agent;
	struct conntrack *conntrack;
	struct owner *owner;
	struct mono second;
	uint32_t this_second;
	struct resync_counters counters;
};

#define RESYNC_PER_SECOND 100

void resync_look(struct resync *s, const struct logged *l, struct mono now);
