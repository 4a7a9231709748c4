/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How a denial is recorded and answered, and what observing means.
 *
 * A chain per reason, so that the log prefix tells it. A flow that is refused in observe mode is
 * accepted with mark 0 and logged once in 10 s; mark 0 is classified again at each packet, so a
 * rule added later adopts it (R14).
 */
#include "rules/table_build.h"

#include <errno.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <netinet/in.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

#define LOG_PER_SECOND 100
#define LOG_BURST      200

static const char *const decisions[] = {
	[TABLE_LOG_DENY] = "deny",
	[TABLE_LOG_WOULD] = "would",
	[TABLE_LOG_WATCH] = "watch",
};

static const char *const reasons[TABLE_LOG_WHY_COUNT] = {
	[TABLE_LOG_RULE] = "rule",
	[TABLE_LOG_ENDED] = "ended",
	[TABLE_LOG_END] = "end",
	[TABLE_LOG_UNKNOWN] = "unknown",
	[TABLE_LOG_UNTRACKED] = "untracked",
	[TABLE_LOG_ATTEST] = "attest",
	[TABLE_LOG_RESYNC] = "resync",
};

int table_log_parse(const char *prefix, enum table_log_decision *ret_decision,
		    enum table_log_why *ret_why)
{
	char want[CHAIN_NAME_MAX];

	for (int d = TABLE_LOG_DENY; d <= TABLE_LOG_WATCH; d++) {
		for (int w = 0; w < TABLE_LOG_WHY_COUNT; w++) {
			struct stmt s = table_named(STMT_LOG, TABLE_LOG_PREFIX "%s:%s",
						    decisions[d], reasons[w]);

			memcpy(want, s.name, sizeof(want));
			if (!str_eq(prefix, want))
				continue;
			*ret_decision = (enum table_log_decision)d;
			*ret_why = (enum table_log_why)w;
			return 0;
		}
	}
	return -EINVAL;
}

/*
 * One line per flow and 10 s. The limit comes before the insertion, so a flood neither fills the
 * set nor hides other denials for long (R28). The mark tells identities of this host apart: one
 * that is denied all the time must not hide another's denials. Protocols without ports have type
 * and code, or what their header begins with, as the last field.
 */
static void log_flows(struct builder *b, uint8_t set, int saddr, int daddr, int last,
		      struct stmt ported, const char *decision, const char *why)
{
	struct set_ref ref = table_set(set, SLOT_A, 0);
	const int key[] = {LOAD_CT_MARK, saddr, daddr, LOAD_L4PROTO, last, -1};
	struct stmt limit = table_mask(STMT_LIMIT, LOG_BURST, LOG_PER_SECOND);

	/* What comes from outside has a budget of its own: its senders cost an attacker nothing. */
	for (int in = 0; in <= 1; in++)
		RULE(b, in ? is_input() : is_output(), ported,
		     not(table_keyed(STMT_LOOKUP, ref, key)), limit,
		     table_keyed(STMT_UPDATE, ref, key),
		     table_named(STMT_LOG, TABLE_LOG_PREFIX "%s:%s", decision, why));
}

/*
 * A flow that was logged within 10 s, once more: who it was is the far node's to say and no part of
 * the key, and one process there must not hide another. A budget of its own, so that a flood of
 * such leaves those alone that are new.
 */
static void log_again(struct builder *b, const char *decision, const char *why)
{
	const struct stmt first[] = {table_plain(STMT_SYN_ONLY), proto_is(IPPROTO_UDP)};
	struct stmt limit = table_mask(STMT_LIMIT, LOG_BURST, LOG_PER_SECOND);
	struct stmt line = table_named(STMT_LOG, TABLE_LOG_PREFIX "%s:%s", decision, why);

	/* The later packets of what is let pass were not asked about. */
	for (size_t i = 0; i < ARRAY_LEN(first); i++) {
		RULE(b, first[i],
		     found_in(table_set(SET_DENIED4, SLOT_A, 0), LOAD_CT_MARK, LOAD_SADDR4,
			      LOAD_DADDR4, LOAD_L4PROTO, LOAD_DPORT),
		     limit, line, back());
		RULE(b, first[i],
		     found_in(table_set(SET_DENIED6, SLOT_A, 0), LOAD_CT_MARK, LOAD_SADDR6,
			      LOAD_DADDR6, LOAD_L4PROTO, LOAD_DPORT),
		     limit, line, back());
	}
}

static void log_chain(struct builder *b, enum table_log_decision d, enum table_log_why w)
{
	const char *decision = decisions[d], *why = reasons[w];

	CHAIN(b, "log_%s_%s", decision, why);
	/* Each SYN is a question to the agent (R1); an untracked packet has no mark to tell it by.
	 */
	if (w == TABLE_LOG_RESYNC || w == TABLE_LOG_UNTRACKED) {
		RULE(b, table_mask(STMT_LIMIT, LOG_BURST, LOG_PER_SECOND),
		     table_named(STMT_LOG, TABLE_LOG_PREFIX "%s:%s", decision, why), back());
		RULE(b, count_as("log_lost"));
		return;
	}
	/* The lease of the flow that it is about has ended. */
	if (w == TABLE_LOG_ENDED)
		table_skip_errors(b);
	if (w == TABLE_LOG_ATTEST)
		log_again(b, decision, why);
	log_flows(b, SET_DENIED4, LOAD_SADDR4, LOAD_DADDR4, LOAD_DPORT, has_ports(), decision, why);
	log_flows(b, SET_DENIED6, LOAD_SADDR6, LOAD_DADDR6, LOAD_DPORT, has_ports(), decision, why);
	log_flows(b, SET_DENIED4, LOAD_SADDR4, LOAD_DADDR4, LOAD_SPORT, not(has_ports()), decision,
		  why);
	log_flows(b, SET_DENIED6, LOAD_SADDR6, LOAD_DADDR6, LOAD_SPORT, not(has_ports()), decision,
		  why);
	RULE(b, go("log_rest"));
}

/* Whatever is still not in the set was swallowed by the limit. */
static void log_rest(struct builder *b)
{
	struct set_ref v4 = table_set(SET_DENIED4, SLOT_A, 0);
	struct set_ref v6 = table_set(SET_DENIED6, SLOT_A, 0);

	CHAIN(b, "log_rest");
	RULE(b, has_ports(),
	     not(found_in(v4, LOAD_CT_MARK, LOAD_SADDR4, LOAD_DADDR4, LOAD_L4PROTO, LOAD_DPORT)),
	     count_as("log_lost"));
	RULE(b, has_ports(),
	     not(found_in(v6, LOAD_CT_MARK, LOAD_SADDR6, LOAD_DADDR6, LOAD_L4PROTO, LOAD_DPORT)),
	     count_as("log_lost"));
	RULE(b, not(has_ports()),
	     not(found_in(v4, LOAD_CT_MARK, LOAD_SADDR4, LOAD_DADDR4, LOAD_L4PROTO, LOAD_SPORT)),
	     count_as("log_lost"));
	RULE(b, not(has_ports()),
	     not(found_in(v6, LOAD_CT_MARK, LOAD_SADDR6, LOAD_DADDR6, LOAD_L4PROTO, LOAD_SPORT)),
	     count_as("log_lost"));
}

/*
 * A refused packet takes a reserved mark first: the RST that the next statement makes carries the
 * same conntrack entry and passes our own chains by that mark (R7). For other protocols the scratch
 * of classification is wiped, so that an entry that was confirmed long ago is classified again
 * when policy changes.
 *
 * The mark comes from a map: when somebody deletes or flushes the table, the kernel makes the
 * elements of maps inactive while packets still go through the chains (nft_map_deactivate()), so
 * `live` knows nobody. No connection may be reset for that; its packet is lost and comes again.
 */
static void answers(struct builder *b)
{
	CHAIN(b, "answer");
	RULE(b, proto_is(IPPROTO_TCP), map_mark(table_set(SET_ANSWERING, SLOT_A, 0), LOAD_L4PROTO),
	     table_plain(STMT_REJECT_RST));
	RULE(b, proto_is(IPPROTO_TCP), drop_it());
	RULE(b, is_identity(), set_mark(0));
	RULE(b, table_plain(STMT_REJECT_ADMIN));
	CHAIN(b, "silence");
	RULE(b, is_identity(), set_mark(0));
	RULE(b, drop_it());
	CHAIN(b, "refuse");
	RULE(b, count_as("refused"));
	RULE(b, mark_in(SET_DENY_OUT_DROP), go("silence"));
	RULE(b, go("answer"));
	CHAIN(b, "denied");
	RULE(b, is_output(), go("refuse"));
	RULE(b, count_as("denied"));
	/* A caller on this very host is told at once that nothing answers there. */
	RULE(b, table_plain(STMT_IIF_LO), go("answer"));
	RULE(b, mark_in(SET_DENY_IN_REJECT), go("answer"));
	RULE(b, go("silence"));
	/* The caller's own host has said who it is, so telling it at once betrays nothing. */
	CHAIN(b, "denied_asked");
	RULE(b, is_input(), is_not_vouched(), not(mark_in(SET_DENY_IN_DROP)), count_as("denied"),
	     go("answer"));
	RULE(b, go("denied"));
}

static void observed(struct builder *b)
{
	CHAIN(b, "observed");
	RULE(b, count_as("would_deny"));
	RULE(b, set_mark(0), accept_it());
}

/*
 * observe_who holds identities (no conduit was found: the mark is the local end's) and conduits.
 * With mode --for the kernel itself falls back to observing when trial_on ends.
 */
static void deny_chain(struct builder *b, enum table_log_why w)
{
	const char *why = reasons[w];

	log_chain(b, TABLE_LOG_DENY, w);
	log_chain(b, TABLE_LOG_WOULD, w);
	CHAIN(b, "would_%s", why);
	RULE(b, jump("log_would_%s", why));
	if (w == TABLE_LOG_RESYNC) /* never touches the mark (R1) */
		RULE(b, count_as("would_deny"), accept_it());
	else
		RULE(b, go("observed"));
	CHAIN(b, "deny_%s", why);
	RULE(b, switched_on(SET_OBSERVE_ON), go("would_%s", why));
	if (b->t->shape.trial)
		RULE(b, not(switched_on(SET_TRIAL_ON)), go("would_%s", why));
	RULE(b, mark_in(SET_OBSERVE_WHO), go("would_%s", why));
	if (w == TABLE_LOG_ATTEST)
		table_ask_watched(b, "would_attest");
	/*
	 * The socket of a refused connection is gone before the agent reads the log. The packet
	 * ends here, so its own mark may carry what was found out about it.
	 */
	RULE(b, table_plain(STMT_META_MARK_FROM_CT));
	RULE(b, jump("log_deny_%s", why));
	if (w == TABLE_LOG_RESYNC)
		RULE(b, count_as("denied"), drop_it());
	else if (w == TABLE_LOG_ATTEST)
		RULE(b, go("denied_asked"));
	else
		RULE(b, go("denied"));
}

void table_answers(struct builder *b)
{
	log_rest(b);
	answers(b);
	observed(b);
	for (int w = 0; w < TABLE_LOG_WHY_COUNT; w++)
		deny_chain(b, (enum table_log_why)w);
	/* No element of live for this mark: was it classified at all? */
	CHAIN(b, "unjudged");
	RULE(b, is_identity(), go("deny_rule"));
	RULE(b, state_is(TABLE_STATE_INVALID | TABLE_STATE_UNTRACKED), go("deny_untracked"));
	/* Asked about, and not vouched for; or nobody could say. */
	RULE(b, mark_has(MARK_UNAVAILABLE), go("deny_attest"));
	RULE(b, go("deny_ended"));
	log_chain(b, TABLE_LOG_WATCH, TABLE_LOG_RULE);
}
