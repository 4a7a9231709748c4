/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the elements of `live` lead to. None of these chains may look `live` up (R5).
 */
#include "rules/table_build.h"

#include <netinet/in.h>

static void singles(struct builder *b)
{
	char name[CHAIN_NAME_MAX];

	CHAIN(b, "%s", live_chain(name, LIVE_WATCHED));
	RULE(b, is_original(), jump("log_watch_rule"));
	RULE(b, accept_it());
	CHAIN(b, "%s", live_chain(name, LIVE_LEASED));
	RULE(b, switched_on(SET_CANDIDATE_ON), mark_in_slot(SET_LEASED, SLOT_B), accept_it());
	RULE(b, not(switched_on(SET_CANDIDATE_ON)), mark_in_slot(SET_LEASED, SLOT_A), accept_it());
	RULE(b, go("deny_ended"));
	CHAIN(b, "%s", live_chain(name, LIVE_LEASED_WATCHED));
	RULE(b, switched_on(SET_CANDIDATE_ON), mark_in_slot(SET_LEASED, SLOT_B), accept_it());
	RULE(b, not(switched_on(SET_CANDIDATE_ON)), mark_in_slot(SET_LEASED, SLOT_A), accept_it());
	RULE(b, go("%s", live_chain(name, LIVE_WATCHED)));
	/* The answer to a refused packet carries its entry; nothing else of that entry passes (R7).
	 */
	CHAIN(b, "%s", live_chain(name, LIVE_REFUSED_REPLY));
	RULE(b, table_plain(STMT_RST), accept_it());
	RULE(b, drop_it());
}

static void go_single(struct builder *b, uint8_t verdict, bool on_candidate)
{
	char name[CHAIN_NAME_MAX];
	struct stmt to = accept_it();

	if (verdict == LIVE_NONE)
		to = go("deny_ended");
	else if (verdict != LIVE_ACCEPT)
		to = go("%s", live_chain(name, verdict));
	if (on_candidate)
		RULE(b, switched_on(SET_CANDIDATE_ON), to);
	else
		RULE(b, to);
}

/* Generations that differ are told apart by one element with a timeout: the switch (R15). */
static void pairs(struct builder *b)
{
	for (uint8_t confirmed = LIVE_NONE; confirmed < LIVE_REFUSED_REPLY; confirmed++) {
		for (uint8_t candidate = LIVE_NONE; candidate < LIVE_REFUSED_REPLY; candidate++) {
			char name[CHAIN_NAME_MAX];

			if (confirmed == candidate)
				continue;
			CHAIN(b, "%s", live_chain(name, live_pair(confirmed, candidate)));
			go_single(b, candidate, true);
			go_single(b, confirmed, false);
		}
	}
}

static void queue_chain(struct builder *b, const char *name, uint16_t offset)
{
	CHAIN(b, "%s", name);
	/* Only the verdict's own mark may come back (R9). */
	RULE(b, table_value(STMT_SET_META_MARK, 0));
	if (b->t->shape.queue != QUEUE_NONE)
		RULE(b, table_value(STMT_QUEUE, (uint32_t)b->t->shape.queue_first + offset));
	else
		RULE(b, go("unavailable"));
}

/*
 * The far host is asked who is calling. Without a heartbeat the kernel itself goes to the rule's
 * on_unavailable; a queue that is full, or that nobody reads, drops (R11).
 */
static void ask(struct builder *b)
{
	char name[CHAIN_NAME_MAX];

	CHAIN(b, "unavailable");
	RULE(b, mark_in(SET_OPEN_IF_UNAVAILABLE), table_value(STMT_CT_MARK_OR, MARK_UNAVAILABLE),
	     accept_it());
	RULE(b, go("deny_ended"));
	queue_chain(b, "ask_queue", TABLE_QUEUE_ATTEST);
	queue_chain(b, "ask_queue_udp", TABLE_QUEUE_DATAGRAM);
	CHAIN(b, "%s", live_chain(name, LIVE_ASK));
	RULE(b, not(switched_on(SET_AGENT_ALIVE)), go("unavailable"));
	RULE(b, table_plain(STMT_SYN_ONLY), go("ask_queue"));
	RULE(b, proto_is(IPPROTO_UDP), go("ask_queue_udp"));
	RULE(b, go("deny_ended"));
}

void table_live_chains(struct builder *b)
{
	singles(b);
	ask(b);
	pairs(b);
}
