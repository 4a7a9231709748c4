/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Long polls that wait for their node's head: found by node when the head changes, found by time
 * when their wait is over. A waiter is a member of the request that waits, so parking allocates
 * nothing but the node's entry. Times are whole seconds: a wheel of one slot per second.
 */
#pragma once

#include "rules/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POLL_WAIT_MAX 55 /* below the usual 60 s of proxies */
#define POLL_SLOTS    64 /* more than POLL_WAIT_MAX and its sixteenth */
/*
 * A courier that lost its connection polls again while the old poll is still parked here: a parked
 * client that went away is noticed only at the end of its wait. The oldest one goes.
 */
#define POLLS_PER_NODE_MAX 4
#define POLL_NODES_MAX     200000

struct poll_node;
struct waiter {
	struct waiter *node_prev, *node_next; /* newest first */
	struct waiter *slot_prev, *slot_next;
	struct poll_node *node; /* NULL: not parked */
	uint8_t slot;
};

struct polls; /* opaque */

/* done is called for each waiter that was woken or timed out; it is out of every list by then. */
struct polls *polls_new(void (*done)(void *user, struct waiter *w), void *user);
void polls_free(struct polls *p); /* nobody may be parked */

/* Parks for `seconds` (1 to POLL_SLOTS - 1). -ENOMEM, -E2BIG. */
int polls_park(struct polls *p, struct waiter *w, const char *node, uint32_t seconds);
void polls_remove(struct polls *p, struct waiter *w); /* fine when it is not parked */
size_t polls_wake(struct polls *p, const char *node); /* how many */
void polls_wake_all(struct polls *p);
/* Once a second. */
void polls_tick(struct polls *p);

size_t polls_count(const struct polls *p);
