/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Questions that the kernel holds packets for: the first connection of a cgroup that no element
 * knows, and a listener that only its uid makes somebody's (R20). The answer to the first is an
 * element and NF_REPEAT, so that the packet is judged by the sets; to the second a mark. A packet
 * whose socket or cgroup is gone is dropped.
 *
 * All queues are read here; packets of the other two, held for the far host's word, go to attest.h.
 */
#pragma once

#include "agent/agent.h"
#include "agent/queue.h"

int questions_open(struct agent *a, struct err *err);
void questions_close(struct agent *a);
