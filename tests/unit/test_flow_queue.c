/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whose running flows are asked about, and when. */
#include "agent/flow_queue.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const struct mono now = {1000};

static void queue_freep(struct flow_queue **q)
{
	flow_queue_free(*q);
}

TEST(a_node_that_never_answers_delays_only_its_own_flows)
{
	CLEANUP(queue_freep) struct flow_queue *q = flow_queue_new();
	static struct flow_place silent[100], other[2];
	unsigned asked = 0;

	for (unsigned i = 0; i < 100; i++)
		CHECK_INT(flow_queue_join(q, "silent", &silent[i]), 0);
	while (flow_queue_next(q, now))
		asked++;
	CHECK_UINT(asked, FLOW_QUEUE_NODE_FLIGHT_MAX);
	CHECK_INT(flow_queue_join(q, "other", &other[0]), 0);
	CHECK_INT(flow_queue_join(q, "other", &other[1]), 0);
	CHECK(flow_queue_next(q, now) == &other[0]);
	CHECK(flow_queue_next(q, now) == &other[1]);
	CHECK(!flow_queue_next(q, now));
	/* An answer makes room for the same node's next. */
	flow_queue_leave(q, &silent[3]);
	CHECK(flow_queue_next(q, now) == &silent[FLOW_QUEUE_NODE_FLIGHT_MAX]);
	CHECK(!flow_queue_next(q, now));
}

TEST(what_waits_for_later_does_not_hold_up_another_nodes_flows)
{
	CLEANUP(queue_freep) struct flow_queue *q = flow_queue_new();
	static struct flow_place late, due;
	struct mono later = {now.ns + 5};

	CHECK_INT(flow_queue_join(q, "a", &late), 0);
	CHECK(flow_queue_next(q, now) == &late);
	flow_queue_again(q, &late, later);
	CHECK_INT(flow_queue_join(q, "b", &due), 0);
	CHECK(flow_queue_next(q, now) == &due);
	CHECK(!flow_queue_next(q, now));
	CHECK(flow_queue_next(q, later) == &late);
}

TEST(a_node_cannot_have_all_the_places_that_wait)
{
	CLEANUP(queue_freep) struct flow_queue *q = flow_queue_new();
	struct flow_place *many = calloc(FLOW_QUEUE_NODE_MAX + 2, sizeof(*many));
	unsigned drained = 0;

	CHECK(many != NULL);
	for (unsigned i = 0; i < FLOW_QUEUE_NODE_MAX; i++)
		CHECK_INT(flow_queue_join(q, "greedy", &many[i]), 0);
	CHECK_INT(flow_queue_join(q, "greedy", &many[FLOW_QUEUE_NODE_MAX]), -E2BIG);
	CHECK_INT(flow_queue_join(q, "other", &many[FLOW_QUEUE_NODE_MAX + 1]), 0);
	CHECK(flow_queue_next(q, now) == &many[0]);
	while (flow_queue_drain(q))
		drained++;
	CHECK_UINT(drained, FLOW_QUEUE_NODE_MAX + 1);
	free(many);
}

TEST(all_nodes_together_are_asked_so_much_and_no_more)
{
	CLEANUP(queue_freep) struct flow_queue *q = flow_queue_new();
	static struct flow_place places[FLOW_QUEUE_FLIGHT_MAX + 16];
	unsigned asked = 0, emptied = 0;
	char name[32];

	for (unsigned i = 0; i < FLOW_QUEUE_FLIGHT_MAX + 16; i++) {
		(void)snprintf(name, sizeof(name), "n%u", i / 8);
		CHECK_INT(flow_queue_join(q, name, &places[i]), 0);
	}
	while (flow_queue_next(q, now))
		asked++;
	CHECK_UINT(asked, FLOW_QUEUE_FLIGHT_MAX);
	/* Nodes that are done with are forgotten, and may come back. */
	while (flow_queue_drain(q))
		emptied++;
	CHECK_UINT(emptied, FLOW_QUEUE_FLIGHT_MAX + 16);
	CHECK(!flow_queue_next(q, now));
	CHECK_INT(flow_queue_join(q, "n0", &places[0]), 0);
	CHECK(flow_queue_next(q, now) == &places[0]);
}
