/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * In which order agent/attest_flow.c asks about flows that run already. Each far node has a share
 * of what waits and of what is asked at once, and they take turns: a node that answers late or
 * never delays nobody's flows but its own.
 *
 * Pure; time is the caller's. A place belongs to its flow; here it is only linked.
 */
#pragma once

#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>

#define FLOW_QUEUE_NODE_FLIGHT_MAX 16   /* of a stream's 256 places: connections come first */
#define FLOW_QUEUE_FLIGHT_MAX      1024 /* of all nodes */
#define FLOW_QUEUE_NODE_MAX        4096 /* waiting and asked */
#define FLOW_QUEUE_MAX             32768

struct flow_queue;
struct flow_node;

struct flow_place {
	struct flow_node *node;
	struct flow_place *next;
	struct mono due;
};

struct flow_queue *flow_queue_new(void);
/* Its places are not looked at again. */
void flow_queue_free(struct flow_queue *q);

/* Waits, and is due at once. 0; -E2BIG: the node's share is used up, or all; -ENOMEM. */
int flow_queue_join(struct flow_queue *q, const char *node, struct flow_place *p);
/* Whose turn it is, if any: from now on it is being asked about. */
struct flow_place *flow_queue_next(struct flow_queue *q, struct mono now);
/* Being asked about no more: it waits again, or leaves. */
void flow_queue_again(struct flow_queue *q, struct flow_place *p, struct mono due);
void flow_queue_leave(struct flow_queue *q, struct flow_place *p);
/* One after the other, whatever they do; NULL: all have left. */
struct flow_place *flow_queue_drain(struct flow_queue *q);
