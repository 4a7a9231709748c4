/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * ICMP errors. An error is no conversation of its own: it ends at the socket that sent what it
 * quotes, and conntrack gives it the entry of that flow (RELATED; nothing else of these protocols
 * is), in the direction of the quoted packet. So it passes as its flow does (R6), and never is
 * classified: that would look for a rule that permits the error, and write the answer into the mark
 * of the flow. Nor is it recorded: what became of the flow has its own record.
 *
 * About what conntrack does not know it is INVALID, and stays out.
 */
#include "rules/table_build.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>

/* From here on the packet is no error about a tracked flow. */
static void leave_errors(struct builder *b, const char *to)
{
	RULE(b, proto_is(IPPROTO_ICMP), state_is(TABLE_STATE_RELATED), go("%s", to));
	RULE(b, proto_is(IPPROTO_ICMPV6), state_is(TABLE_STATE_RELATED), go("%s", to));
}

void table_accept_errors(struct builder *b)
{
	RULE(b, proto_is(IPPROTO_ICMP), state_is(TABLE_STATE_RELATED), accept_it());
	RULE(b, proto_is(IPPROTO_ICMPV6), state_is(TABLE_STATE_RELATED), accept_it());
}

void table_skip_errors(struct builder *b)
{
	RULE(b, proto_is(IPPROTO_ICMP), state_is(TABLE_STATE_RELATED), back());
	RULE(b, proto_is(IPPROTO_ICMPV6), state_is(TABLE_STATE_RELATED), back());
}

/*
 * What the kernel says itself: of a refused datagram, of a closed port, and as a router of what it
 * forwards, which this table does not judge. It quotes what was judged already, and carries the
 * mark of that flow, which may be refused, somebody else's, or unknown to conntrack. Only those
 * without an owner (no file, no uid) are the kernel's. Asked who owns them, a rule ends (meta skuid
 * knows no socket), so those that have an owner are turned back. Whether it redirects is a router's
 * own setting (send_redirects).
 *
 * On loopback nothing comes in that did not go out.
 */
static void kernel_errors(struct builder *b)
{
	static const uint8_t types4[] = {ICMP_DEST_UNREACH, ICMP_TIME_EXCEEDED, ICMP_PARAMETERPROB};
	static const uint8_t types6[] = {ICMP6_DST_UNREACH, ICMP6_PACKET_TOO_BIG,
					 ICMP6_TIME_EXCEEDED, ICMP6_PARAM_PROB};

	CHAIN(b, "errors");
	for (size_t i = 0; i < sizeof(types4); i++)
		RULE(b, table_value(STMT_ICMP_TYPE, types4[i]), accept_it());
	for (size_t i = 0; i < sizeof(types6); i++)
		RULE(b, table_value(STMT_ICMPV6_TYPE, types6[i]), accept_it());
	CHAIN(b, "errors_out");
	RULE(b, table_plain(STMT_HAS_UID), back());
	RULE(b, table_value(STMT_ICMP_TYPE, ICMP_REDIRECT), accept_it());
	RULE(b, table_value(STMT_ICMPV6_TYPE, ND_REDIRECT), accept_it());
	RULE(b, jump("errors"));
}

/*
 * From the network. A flow without a mark is one of somebody who is observed (R14), or a refused
 * one whose entry has not ended yet: the socket tells which. The mark is the scratch for that, and
 * is 0 again afterwards.
 */
static void error_in(struct builder *b)
{
	CHAIN(b, "error_passes");
	RULE(b, set_mark(0), accept_it());
	CHAIN(b, "error_unmarked");
	RULE(b, jump("whose_in"));
	RULE(b, mark_in(SET_OBSERVE_WHO), go("error_passes"));
	RULE(b, mark_is(MARK_IDENTITY_ASK), go("error_passes"));
	if (b->t->shape.unclaimed == UNCLAIMED_PASS) {
		RULE(b, mark_is(MARK_IDENTITY_UNCLAIMED), go("error_passes"));
		RULE(b, mark_is(MARK_IDENTITY_NOBODY), go("error_passes"));
	}
	RULE(b, set_mark(0), count_as("denied"), drop_it());
	CHAIN(b, "error_in");
	RULE(b, switched_on(SET_OBSERVE_ON), accept_it());
	if (b->t->shape.trial)
		RULE(b, not(switched_on(SET_TRIAL_ON)), accept_it());
	RULE(b, mark_is(0), go("error_unmarked"));
	RULE(b, mark_in(SET_REDERIVE), accept_it());
	RULE(b, mark_in(SET_OBSERVE_WHO), accept_it());
	RULE(b, live());
	RULE(b, count_as("denied"), drop_it());
}

/*
 * By a process with a raw socket, about anybody's flow: where that has no mark, the process is
 * judged, without a trace in the mark.
 */
static void error_owned(struct builder *b)
{
	CHAIN(b, "error_owned");
	RULE(b, mark_in(SET_REDERIVE), set_mark(0));
	RULE(b, live());
	RULE(b, not(mark_is(0)), go("unjudged"));
	RULE(b, jump("whose_out"));
	RULE(b, mark_is(0), go("unknown"));
	if (b->t->shape.unclaimed == UNCLAIMED_PASS)
		RULE(b, mark_is(MARK_IDENTITY_UNCLAIMED), go("error_passes"));
	RULE(b, go("deny_rule"));
}

void table_errors(struct builder *b)
{
	kernel_errors(b);
	error_in(b);
	error_owned(b);
}

void table_judge_errors(struct builder *b, bool in)
{
	if (in)
		RULE(b, table_plain(STMT_IIF_LO), jump("errors"));
	else
		RULE(b, jump("errors_out"));
	leave_errors(b, in ? "error_in" : "error_owned");
}
