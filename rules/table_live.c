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
	table_accept_errors(b);
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

/*
 * Without a heartbeat, or without queues, the kernel itself goes to what opens when nobody can be
 * asked (R11). The mark says so from now on, and leases end by themselves.
 */
static void unavailable(struct builder *b)
{
	CHAIN(b, "unavailable");
	RULE(b, table_value(STMT_CT_MARK_OR, MARK_UNAVAILABLE));
	for (int on = 1; on >= 0; on--) {
		uint8_t slot = on ? SLOT_B : SLOT_A;
		struct stmt which =
			on ? switched_on(SET_CANDIDATE_ON) : not(switched_on(SET_CANDIDATE_ON));

		RULE(b, which, mark_in_slot(SET_LEASED, slot), accept_it());
		RULE(b, which, mark_in_slot(SET_OPEN_IF_UNAVAILABLE, slot), accept_it());
	}
	RULE(b, go("deny_attest"));
}

/* The meter bounds our own work; who may hold how many packets is decided where they are held. */
static void ask_chain(struct builder *b, const char *name, uint16_t offset)
{
	static const struct {
		enum set_kind kind;
		enum load saddr;
	} meters[] = {{SET_ASKED4, LOAD_SADDR4}, {SET_ASKED6, LOAD_SADDR6}};

	if (b->t->shape.queue != QUEUE_NONE) {
		CHAIN(b, "%s_queue", name);
		RULE(b, count_as("questions"));
		/* What is asked about; only a verdict's own mark comes back (R9). */
		RULE(b, table_plain(STMT_META_MARK_FROM_CT));
		RULE(b, table_value(STMT_QUEUE, (uint32_t)b->t->shape.queue_first + offset));
	}
	CHAIN(b, "%s", name);
	if (b->t->shape.queue == QUEUE_NONE) {
		RULE(b, go("unavailable"));
		return;
	}
	RULE(b, not(switched_on(SET_AGENT_ALIVE)), go("unavailable"));
	for (size_t i = 0; i < sizeof(meters) / sizeof(meters[0]); i++) {
		struct stmt meter = table_keyed(STMT_UPDATE, table_set(meters[i].kind, SLOT_A, 0),
						KEY(meters[i].saddr));

		meter.value = TABLE_ASKS_PER_SECOND;
		meter.mask = TABLE_ASKS_BURST;
		RULE(b, meter, go("%s_queue", name));
	}
	RULE(b, count_as("unasked"), go("unasked"));
}

/*
 * The far node is asked who is calling, before anything reaches anybody. A bare SYN on an entry
 * that has seen a reply asks nothing: it may be forged (R1). Other packets belong to a flow that
 * ran before the question was put, or to nobody: they wait in silence, in either direction, until
 * the agent has asked about the flow and marked it; their retransmission passes then.
 */
static void ask(struct builder *b)
{
	char name[CHAIN_NAME_MAX];

	CHAIN(b, "unasked");
	RULE(b, switched_on(SET_OBSERVE_ON), go("would_attest"));
	if (b->t->shape.trial)
		RULE(b, not(switched_on(SET_TRIAL_ON)), go("would_attest"));
	RULE(b, mark_in(SET_OBSERVE_WHO), go("would_attest"));
	table_ask_watched(b, "would_attest");
	RULE(b, drop_it());
	unavailable(b);
	ask_chain(b, "ask_syn", TABLE_QUEUE_ATTEST);
	ask_chain(b, "ask_datagram", TABLE_QUEUE_DATAGRAM);
	CHAIN(b, "%s", live_chain(name, LIVE_ASK));
	table_accept_errors(b);
	RULE(b, table_plain(STMT_SYN_ONLY), state_is(TABLE_STATE_ESTABLISHED), go("deny_resync"));
	RULE(b, table_plain(STMT_SYN_ONLY), go("ask_syn"));
	RULE(b, proto_is(IPPROTO_UDP), is_original(), go("ask_datagram"));
	RULE(b, go("unasked"));
}

void table_live_chains(struct builder *b)
{
	singles(b);
	ask(b);
	pairs(b);
}
