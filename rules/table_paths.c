/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The path of a packet: base chains and what they lead to. A bare SYN of a new entry and a first
 * datagram are classified; everything else is one lookup.
 */
#include "rules/table_build.h"

#include <linux/if_packet.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>

#define HOP_LIMIT_LOCAL      255
#define MLD2_LISTENER_REPORT 143

/* --- built-in essentials --------------------------------------------------------------------- */

/* Neighbour discovery is not tracked, hence has no mark; hop limit 255 proves the same link. */
static void neighbours(struct builder *b)
{
	static const uint8_t discovery[] = {ND_ROUTER_SOLICIT, ND_ROUTER_ADVERT,
					    ND_NEIGHBOR_SOLICIT, ND_NEIGHBOR_ADVERT};
	static const uint8_t listeners[] = {MLD_LISTENER_QUERY, MLD_LISTENER_REPORT,
					    MLD_LISTENER_REDUCTION, MLD2_LISTENER_REPORT};

	CHAIN(b, "discovery");
	RULE(b, table_value(STMT_HOP_LIMIT, HOP_LIMIT_LOCAL), accept_it());
	CHAIN(b, "multicast_listeners");
	RULE(b, table_plain(STMT_SADDR6_LINK_LOCAL), accept_it());
	RULE(b, table_plain(STMT_SADDR6_ANY), accept_it());
	CHAIN(b, "neighbours");
	for (size_t i = 0; i < sizeof(discovery); i++)
		RULE(b, table_value(STMT_ICMPV6_TYPE, discovery[i]), go("discovery"));
	for (size_t i = 0; i < sizeof(listeners); i++)
		RULE(b, table_value(STMT_ICMPV6_TYPE, listeners[i]), go("multicast_listeners"));
	RULE(b, proto_is(IPPROTO_IGMP), accept_it());
}

/* --- first packets --------------------------------------------------------------------------- */

/*
 * A TCP packet in mid-stream whose entry has no mark may be of either direction: conntrack calls
 * the direction "original" that it saw first (R22). No connection can be opened without a SYN, so
 * trying the other direction too opens nothing.
 */
static struct stmt mid_stream(void)
{
	return not(table_plain(STMT_SYN_ONLY));
}

/*
 * An answer without a socket (RST, echo reply) to a packet that was let through: the flow of an
 * identity that is being observed. It gets no mark either.
 */
static void answer_of_kernel(struct builder *b)
{
	if (b->t->shape.unclaimed == UNCLAIMED_DENY)
		RULE(b, mark_is(MARK_IDENTITY_NOBODY), set_mark(0), accept_it());
}

/*
 * A datagram of an entry's second direction, which nothing permits as an answer: the entry is of a
 * flow that ran before conntrack looked, and the answers were seen first. It is let through as it
 * would be without any entry. In the first direction nothing of the kind is tried: there the same
 * lookup would let a service speak to whoever has not asked it.
 */
static void turned_datagram(struct builder *b, bool in)
{
	struct stmt udp = proto_is(IPPROTO_UDP);

	RULE(b, is_identity(), udp, jump(in ? "ingress" : "egress"));
	/*
	 * What `live` leads to would take it for an answer to somebody who was not asked about. A
	 * chain this deep in the output path leaves no room for it (NFT_JUMP_STACK_SIZE): a callee
	 * of such a flow is asked about when the agent looks through the entries.
	 */
	if (in)
		RULE(b, udp, mark_in(SET_PENDING), go("ask_datagram"));
}

static void classify_out(struct builder *b)
{
	CHAIN(b, "classify_out");
	RULE(b, jump("whose_out"));
	RULE(b, mark_is(0), go("unknown"));
	RULE(b, jump("egress"));
	RULE(b, is_identity(), mid_stream(), jump("ingress_back"));
	RULE(b, go("unclaimed"));
	CHAIN(b, "classify_back_out");
	RULE(b, jump("whose_out"));
	RULE(b, mark_is(0), go("unknown"));
	RULE(b, jump("ingress_back"));
	RULE(b, is_identity(), mid_stream(), jump("egress"));
	turned_datagram(b, false);
	answer_of_kernel(b);
	RULE(b, go("unclaimed"));
}

/*
 * nft_socket does not look into half-open sockets either: the packet that completes a handshake
 * seems to have none. Without a mark its SYN was observed, and the flow must stay without (R14).
 */
static void completes_handshake(struct builder *b)
{
	RULE(b, mark_is(MARK_IDENTITY_NOBODY), state_is(TABLE_STATE_ESTABLISHED), mid_stream(),
	     set_mark(0), accept_it());
}

/* Datagrams to a group reach every socket on the port, so they are never an identity's (R26). */
static void classify_in(struct builder *b)
{
	CHAIN(b, "receiver");
	RULE(b, jump("whose_in"));
	/* Sockets of tunnels belong to whoever set the tunnel up, often to nobody known. */
	RULE(b, mark_is(MARK_IDENTITY_UNCLAIMED), jump("kernel_listener"));
	RULE(b, mark_is(0), jump("kernel_listener"));
	RULE(b, mark_is(0), go("unknown"));
	CHAIN(b, "classify_in");
	RULE(b, jump("receiver"));
	RULE(b, mark_is(MARK_IDENTITY_NOBODY), jump("kernel_ports"));
	RULE(b, table_value(STMT_PKTTYPE, PACKET_BROADCAST), go("unclaimed"));
	RULE(b, table_value(STMT_PKTTYPE, PACKET_MULTICAST), go("unclaimed"));
	RULE(b, jump("ingress"));
	RULE(b, is_identity(), mid_stream(), jump("egress_back"));
	RULE(b, mark_is(MARK_IDENTITY_ASK), go("listener"));
	completes_handshake(b);
	RULE(b, go("unclaimed"));
	CHAIN(b, "classify_back_in");
	RULE(b, jump("receiver"));
	RULE(b, mark_is(MARK_IDENTITY_NOBODY), jump("kernel_ports"));
	RULE(b, jump("egress_back"));
	RULE(b, is_identity(), mid_stream(), jump("ingress"));
	turned_datagram(b, true);
	RULE(b, mark_is(MARK_IDENTITY_ASK), go("listener"));
	answer_of_kernel(b);
	RULE(b, go("unclaimed"));
}

/* These come back with the mark of a conduit, or of the identity that has none: see base(). */
static void first_chain(struct builder *b, const char *name, const char *essential,
			const char *classify)
{
	CHAIN(b, "%s", name);
	RULE(b, set_mark(0));
	RULE(b, jump("%s", essential));
	RULE(b, not(mark_is(0)), back());
	RULE(b, go("%s", classify));
}

/* --- loopback -------------------------------------------------------------------------------- */

/*
 * Output has judged this very packet; at input the only question is whether the receiver is the one
 * that the conduit names (R12). Nothing here looks `live` up.
 */
static void loopback_ends(struct builder *b, uint8_t slot)
{
	CHAIN(b, "lo_ends_%s", SLOT_SUFFIX(slot));
	FOR_LEVELS(b, level)
	RULE(b, found_in(table_set(SET_ENDS, slot, level), LOAD_CT_MARK, LOAD_CGROUP), accept_it());
}

static void loopback_in(struct builder *b)
{
	struct stmt udp = proto_is(IPPROTO_UDP);

	CHAIN(b, "lo_in");
	RULE(b, mark_is(0), go("lo_unjudged"));
	RULE(b, mark_in(SET_NODE_CONDUITS), accept_it());
	RULE(b, mark_in(SET_ESSENTIAL_OWNED), accept_it());
	RULE(b, mark_in(SET_REDERIVE), accept_it());
	RULE(b, mark_is(b->t->shape.unclaimed_mark), go("lo_unclaimed"));
	RULE(b, mark_is(MARK_LO_PENDING), go("lo_unclaimed"));
	RULE(b, jump("lo_ends"));
	RULE(b, table_value(STMT_WILDCARD, 0), go("unknown_end"));
	RULE(b, table_value(STMT_WILDCARD, 1), go("unknown_end"));
	RULE(b, udp, accept_it()); /* no receiver: the kernel answers */
	RULE(b, switched_on(SET_CANDIDATE_ON),
	     found_in(table_set(SET_TW_ENDS, SLOT_B, 0), LOAD_CT_MARK, LOAD_L4PROTO, LOAD_DPORT),
	     accept_it());
	RULE(b, not(switched_on(SET_CANDIDATE_ON)),
	     found_in(table_set(SET_TW_ENDS, SLOT_A, 0), LOAD_CT_MARK, LOAD_L4PROTO, LOAD_DPORT),
	     accept_it());
	RULE(b, go("deny_end"));
}

static void loopback_others(struct builder *b)
{
	uint32_t mark = b->t->shape.unclaimed_mark;

	/* From nobody's process: to nobody's. The identity stays in the mark for observe_who. */
	CHAIN(b, "lo_unclaimed_pass");
	RULE(b, set_mark(mark), accept_it());
	CHAIN(b, "lo_unclaimed");
	RULE(b, jump("whose_in"));
	completes_handshake(b);
	RULE(b, mark_is(MARK_IDENTITY_UNCLAIMED), go("lo_unclaimed_pass"));
	RULE(b, mark_is(MARK_IDENTITY_NOBODY), go("lo_unclaimed_pass"));
	RULE(b, mark_is(0), set_mark(mark), go("unknown"));
	RULE(b, mark_is(MARK_IDENTITY_ASK), go("listener"));
	RULE(b, go("deny_end"));
	/*
	 * The sender is being observed and found somebody else than the conduit names: recorded
	 * where the receiver is nobody or is observed too, refused where it is enforced. One that
	 * is not known yet is left to the next try.
	 */
	CHAIN(b, "lo_observed");
	RULE(b, jump("whose_in"));
	RULE(b, mark_is(MARK_IDENTITY_UNCLAIMED), go("would_end"));
	RULE(b, mark_is(MARK_IDENTITY_NOBODY), go("would_end"));
	RULE(b, mark_is(MARK_IDENTITY_ASK), go("would_end"));
	RULE(b, mark_is(0), drop_it());
	RULE(b, go("deny_end"));
	/* The sender is being observed: its packets have no mark and must get none (R14). */
	CHAIN(b, "lo_unjudged_pass");
	RULE(b, set_mark(0), accept_it());
	CHAIN(b, "lo_unjudged");
	RULE(b, jump("whose_in"));
	RULE(b, mark_is(MARK_IDENTITY_UNCLAIMED), go("lo_unjudged_pass"));
	RULE(b, mark_is(MARK_IDENTITY_NOBODY), go("lo_unjudged_pass"));
	RULE(b, mark_is(MARK_IDENTITY_ASK), go("lo_unjudged_pass"));
	RULE(b, mark_is(0), go("unknown"));
	RULE(b, go("deny_end"));
}

/*
 * Answers on loopback. Maps of ingress do not know who is behind 127.0.0.1, so a receiver that
 * answers must be an end of the conduit; everything else is decided when the caller speaks.
 */
static void loopback_out(struct builder *b)
{
	CHAIN(b, "lo_reply_out");
	RULE(b, mark_in(SET_REDERIVE), accept_it());
	RULE(b, mark_is(b->t->shape.unclaimed_mark), go("back_out"));
	RULE(b, mark_is(0), go("back_out"));
	RULE(b, not(proto_is(IPPROTO_UDP)), back());
	RULE(b, not(mark_in(SET_ESSENTIAL_OWNED)), go("is_end"));
	CHAIN(b, "lo_out");
	RULE(b, mark_is(MARK_LO_PENDING), set_mark(0));
	RULE(b, is_original(), go("slow_known_out"));
	RULE(b, go("lo_reply_out"));
}

/* --- bare SYN on a live entry ---------------------------------------------------------------- */

/* Comes back when the local end is one of the conduit's, else the flow is refused. */
static void is_end(struct builder *b, uint8_t slot)
{
	CHAIN(b, "is_end_%s", SLOT_SUFFIX(slot));
	FOR_LEVELS(b, level)
	RULE(b, found_in(table_set(SET_ENDS, slot, level), LOAD_CT_MARK, LOAD_CGROUP), back());
	RULE(b, table_plain(STMT_SYN_ONLY), go("deny_resync"));
	RULE(b, go("unknown_end"));
}

/*
 * Conntrack hands a SYN on an established entry on as `established`: a forged one must not touch
 * the mark (R1). It passes in the original direction only, on an unvouched conduit whose local end
 * is still the same; else it is dropped and told to the agent, who deletes the entry if a new
 * socket has the tuple.
 */
static void resync(struct builder *b)
{
	uint32_t mark = b->t->shape.unclaimed_mark;

	CHAIN(b, "resync_unclaimed");
	RULE(b, is_output(), jump("whose_out"));
	RULE(b, is_input(), jump("whose_in"));
	RULE(b, mark_is(MARK_IDENTITY_UNCLAIMED), set_mark(mark), accept_it());
	RULE(b, mark_is(MARK_IDENTITY_NOBODY), set_mark(mark), accept_it());
	RULE(b, set_mark(mark), go("deny_resync"));
	CHAIN(b, "resync");
	RULE(b, count_as("resynced"));
	RULE(b, is_reply(), go("deny_resync"));
	RULE(b, mark_is(mark), go("resync_unclaimed"));
	RULE(b, mark_has(MARK_VOUCHED), go("deny_resync"));
	RULE(b, not(mark_in(SET_NODE_CONDUITS)), go("is_end"));
}

/* A SYN that did not get through must leave the entry of a flow that ran as it is (R1). */
static void syn_unjudged(struct builder *b)
{
	CHAIN(b, "syn_unjudged");
	RULE(b, state_is(TABLE_STATE_ESTABLISHED), not(mark_is(0)), not(is_identity()),
	     go("deny_resync"));
	RULE(b, go("unjudged"));
}

static void syn_chain(struct builder *b, bool in)
{
	CHAIN(b, in ? "syn_in" : "syn_out");
	if (in) /* back from the queue: NF_REPEAT (R9) */
		RULE(b, mark_in(SET_PENDING), has_verdict(), go("answered"));
	if (in)
		RULE(b, table_plain(STMT_IIF_LO), go("lo_in"));
	RULE(b, state_is(TABLE_STATE_ESTABLISHED), not(mark_is(0)), go("resync"));
	RULE(b, state_is(TABLE_STATE_ESTABLISHED), is_reply(), go("resync"));
	if (!in)
		RULE(b, mark_in(SET_PENDING), has_verdict(), go("answered"));
	RULE(b, go(in ? "first_in" : "first_out"));
}

/* --- everything that is not in live ---------------------------------------------------------- */

/* The verdict's own mark, on a pending entry only (R9); what came back is judged by today's sets.
 */
static void answered(struct builder *b)
{
	CHAIN(b, "answered");
	RULE(b, table_mask(STMT_CT_MARK_FROM_META, MARK_NUMBER_MASK | MARK_NOT_VOUCHED, 0));
	RULE(b, table_value(STMT_SET_META_MARK, 0));
}

/*
 * Datagrams whose local end is not known to live_udp are classified again by their real local end,
 * in both directions (R3): a socket that took over the port gets what it is entitled to itself.
 */
static void slow_out(struct builder *b)
{
	CHAIN(b, "slow_known_out");
	RULE(b, mark_in(SET_REDERIVE), set_mark(0));
	RULE(b, proto_is(IPPROTO_UDP), set_mark(0));
	RULE(b, not(mark_is(0)), back());
	RULE(b, is_original(), go("first_out"));
	RULE(b, go("back_out"));
	CHAIN(b, "slow_out");
	RULE(b, jump("neighbours"));
	RULE(b, state_is(TABLE_STATE_INVALID | TABLE_STATE_UNTRACKED), go("deny_untracked"));
	RULE(b, proto_is(IPPROTO_UDP), mark_in(SET_PENDING), has_verdict(), go("answered"));
	/*
	 * A SYN|ACK belongs to a half-open socket, which nft_socket does not look into. Without a
	 * mark it answers a SYN that was observed, and gets none either (R14).
	 */
	RULE(b, table_plain(STMT_SYN_ACK), is_reply(), mark_is(0), accept_it());
	RULE(b, table_plain(STMT_OIF_LO), go("lo_out"));
	RULE(b, go("slow_known_out"));
}

static void slow_in(struct builder *b)
{
	CHAIN(b, "again_in");
	RULE(b, set_mark(0));
	RULE(b, is_original(), go("first_in"));
	RULE(b, go("back_in"));
	/* No receiver: the kernel itself answers, on the conduit. */
	CHAIN(b, "udp_receiver");
	RULE(b, table_value(STMT_WILDCARD, 0), go("again_in"));
	RULE(b, table_value(STMT_WILDCARD, 1), go("again_in"));
	CHAIN(b, "slow_in");
	RULE(b, jump("neighbours"));
	RULE(b, state_is(TABLE_STATE_INVALID | TABLE_STATE_UNTRACKED), go("deny_untracked"));
	RULE(b, proto_is(IPPROTO_UDP), mark_in(SET_PENDING), has_verdict(), go("answered"));
	RULE(b, table_plain(STMT_IIF_LO), go("lo_in"));
	RULE(b, mark_in(SET_REDERIVE), go("again_in"));
	RULE(b, mark_is(0), go("again_in"));
	RULE(b, is_reply(), mark_in(SET_BY_USER), back());
	RULE(b, proto_is(IPPROTO_UDP), go("udp_receiver"));
}

/*
 * A ping goes by its identifier, which its sender may choose: whoever takes that of another within
 * the half minute that conntrack keeps it has the other's entry. SCTP's receiver is not known to
 * nft_socket, so that the entry of what comes in is nobody's, and the server's answers are on it.
 * So owners are looked at as those of datagrams are (R3), and judged anew where the conduit is not
 * theirs. Not those of other protocols: a tunnel's packet keeps the socket of what it carries.
 */
static void owner(struct builder *b, uint8_t slot)
{
	CHAIN(b, "owner_%s", SLOT_SUFFIX(slot));
	FOR_LEVELS(b, level)
	RULE(b, found_in(table_set(SET_ENDS, slot, level), LOAD_CT_MARK, LOAD_CGROUP), back());
	RULE(b, not(mark_in(SET_NODE_CONDUITS)), set_mark(0));
}

static void judge_owners(struct builder *b)
{
	static const uint8_t protos[] = {IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_SCTP};

	for (size_t i = 0; i < sizeof(protos); i++)
		RULE(b, proto_is(protos[i]), table_plain(STMT_HAS_UID), not(mark_is(0)),
		     jump("owner"));
}

/* --- base chains ----------------------------------------------------------------------------- */

/*
 * Flows that helpers expect inherit the mark of their master and must not live on it (R4).
 * live_udp is asked before the protocol: others have no mark of it, but ICMP errors that quote a
 * datagram, and their socket is the datagram's.
 */
static void datagram_chain(struct builder *b, bool in)
{
	const char *slow = in ? "slow_in" : "slow_out";

	CHAIN(b, in ? "other_in" : "other_out");
	table_judge_errors(b, in);
	RULE(b, state_is(TABLE_STATE_INVALID | TABLE_STATE_UNTRACKED), jump("%s", slow));
	RULE(b, mark_in(SET_REDERIVE), set_mark(0));
	if (!in)
		judge_owners(b);
	RULE(b, mark_is(0), jump("%s", slow));
	RULE(b, live());
	RULE(b, go("unjudged"));
	CHAIN(b, in ? "expected_in" : "expected_out");
	/* Back from the queue: classified again, it would only be asked about again. */
	RULE(b, mark_in(SET_PENDING), has_verdict(), back());
	table_skip_errors(b);
	RULE(b, go(in ? "first_in" : "first_out"));
	CHAIN(b, in ? "datagram_in" : "datagram_out");
	RULE(b, table_plain(STMT_CT_EXPECTED), is_original(),
	     jump(in ? "expected_in" : "expected_out"));
	FOR_LEVELS(b, level)
	RULE(b, verdict_of(table_set(SET_LIVE_UDP, SLOT_A, level), LOAD_CT_MARK, LOAD_CGROUP));
	RULE(b, not(proto_is(IPPROTO_UDP)), go(in ? "other_in" : "other_out"));
	RULE(b, not(mark_in(SET_NODE_CONDUITS)), jump("%s", slow));
	RULE(b, live());
	RULE(b, go("unjudged"));
}

/*
 * The path of every packet: each expression spared is about one per cent of a packet. Bare SYNs
 * come back classified; other packets are classified when `live` does not know their mark, and are
 * looked up once more.
 */
static void base(struct builder *b, bool in)
{
	table_add_base(b, in ? TABLE_CHAIN_IN : TABLE_CHAIN_OUT,
		       in ? TABLE_HOOK_INPUT : TABLE_HOOK_OUTPUT);
	RULE(b, not(proto_is(IPPROTO_TCP)), go(in ? "datagram_in" : "datagram_out"));
	RULE(b, table_plain(STMT_SYN_RAW), jump(in ? "syn_in" : "syn_out"));
	RULE(b, live());
	RULE(b, table_plain(STMT_SYN_RAW), go("syn_unjudged"));
	RULE(b, jump(in ? "slow_in" : "slow_out"));
	RULE(b, live());
	RULE(b, go("unjudged"));
}

void table_paths(struct builder *b)
{
	neighbours(b);
	table_errors(b);
	classify_out(b);
	classify_in(b);
	first_chain(b, "first_out", "essential_out", "classify_out");
	first_chain(b, "back_out", "essential_in_back", "classify_back_out");
	first_chain(b, "first_in", "essential_in", "classify_in");
	first_chain(b, "back_in", "essential_out_back", "classify_back_in");
	FOR_SLOTS(slot)
	{
		loopback_ends(b, slot);
		is_end(b, slot);
		owner(b, slot);
	}
	table_by_slot(b, "lo_ends");
	table_by_slot(b, "is_end");
	table_by_slot(b, "owner");
	loopback_in(b);
	loopback_others(b);
	loopback_out(b);
	resync(b);
	answered(b);
	slow_out(b);
	slow_in(b);
	syn_unjudged(b);
	for (int in = 0; in <= 1; in++) {
		syn_chain(b, in != 0);
		datagram_chain(b, in != 0);
	}
	base(b, false);
	base(b, true);
}
