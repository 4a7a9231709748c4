/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the kernel cannot answer: cgroups nobody has looked at yet, listeners that only a uid
 * separates (R20), and who listens behind a TIME_WAIT socket (R21). A meter per cgroup, or one for
 * all ports, and the heartbeat stand before each question (R11, R23). The agent puts what it found
 * into the sets and answers NF_REPEAT; the packet is judged by the sets.
 * Without an agent, or when nobody reads the queue, such packets are refused or dropped; in observe
 * mode nobody is asked and they pass.
 */
#include "rules/table_build.h"

#define ASK_PER_SECOND 20

/*
 * SYNs to closed ports come from outside and belong to no cgroup whose meter would bound them: a
 * scan must not take the queue from those who wait for their cgroup.
 */
#define PORTS_PER_SECOND 1000
#define PORTS_BURST      200

static void unless_watching(struct builder *b, const char *instead)
{
	RULE(b, switched_on(SET_OBSERVE_ON), go("%s", instead));
	if (b->t->shape.trial)
		RULE(b, not(switched_on(SET_TRIAL_ON)), go("%s", instead));
}

/* The meter counts by the deepest ancestor that the sets know levels of. */
static void metered(struct builder *b, const char *queue, const char *fail)
{
	if (b->t->shape.queue == QUEUE_NONE) {
		RULE(b, go("%s", fail));
		return;
	}
	RULE(b, not(switched_on(SET_AGENT_ALIVE)), go("%s", fail));
	for (uint8_t level = 32; level >= 1; level--) {
		struct stmt meter = table_keyed(STMT_UPDATE, table_set(SET_ASKED, SLOT_A, level),
						KEY(LOAD_CGROUP));

		if (level != 1 && !(b->t->shape.levels & 1U << (level - 1U)))
			continue;
		meter.value = ASK_PER_SECOND;
		RULE(b, meter, go("%s", queue));
		if (level != 1)
			RULE(b, has_cgroup(level), go("%s", fail));
	}
	RULE(b, go("%s", fail));
}

static void queue_to(struct builder *b)
{
	RULE(b, count_as("questions"));
	RULE(b, table_value(STMT_QUEUE, (uint32_t)b->t->shape.queue_first + TABLE_QUEUE_WHO));
}

/*
 * A SYN without a full socket, not in the list of listeners: a closed port, or a TIME_WAIT socket
 * behind which somebody has begun to listen since the list was made (R21). The packet's mark tells
 * the agent that no socket was found. Where no identity runs here there is nothing to keep from
 * anybody, the mark is not pending, and the port answers for itself. A half-open connection is no
 * full socket either: its SYN was let through, and is answered again without this one (R14).
 */
static void port_questions(struct builder *b)
{
	struct stmt limit = table_mask(STMT_LIMIT, PORTS_BURST, PORTS_PER_SECOND);

	CHAIN(b, "port_unasked");
	RULE(b, set_mark(MARK_IDENTITY_NOBODY), go("unclaimed_pass"));
	CHAIN(b, "port_queue");
	RULE(b, table_plain(STMT_META_MARK_FROM_CT));
	queue_to(b);
	CHAIN(b, "port");
	unless_watching(b, "port_unasked");
	RULE(b, state_is(TABLE_STATE_ESTABLISHED), set_mark(0), drop_it());
	RULE(b, set_mark(MARK_PORT_ASK));
	RULE(b, not(mark_in(SET_PENDING)), go("port_unasked"));
	RULE(b, limit, go("port_queue"));
	RULE(b, count_as("unasked"), set_mark(0), drop_it());
}

void table_questions(struct builder *b)
{
	bool queue = b->t->shape.queue != QUEUE_NONE;

	if (queue) {
		CHAIN(b, "who_queue");
		queue_to(b);
		CHAIN(b, "listener_queue");
		RULE(b, set_mark(MARK_LISTENER_ASK));
		RULE(b, table_value(STMT_SET_META_MARK, 0));
		queue_to(b);
		port_questions(b);
	}
	CHAIN(b, "unknown");
	unless_watching(b, "would_unknown");
	metered(b, "who_queue", "deny_unknown");
	/* Loopback: the receiver is none of the conduit's ends, but may be its new cgroup. */
	CHAIN(b, "unknown_end");
	unless_watching(b, "would_end");
	RULE(b, is_output(), mark_in(SET_OBSERVE_WHO), go("back_out"));
	RULE(b, mark_in(SET_OBSERVE_WHO), go("lo_observed"));
	metered(b, "who_queue", "deny_end");
	CHAIN(b, "listener_watched");
	RULE(b, set_mark(0), accept_it());
	CHAIN(b, "listener");
	unless_watching(b, "listener_watched");
	metered(b, "listener_queue", "deny_unknown");
}
