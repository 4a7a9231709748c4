/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whose packet: the socket's cgroup and uid become an identity mark (scratch, never in `live`).
 *
 * 0 = a cgroup nobody has looked at yet (a question), MARK_IDENTITY_UNCLAIMED = looked at,
 * nobody's; MARK_IDENTITY_NOBODY = no socket: kernel traffic, closed ports, TIME_WAIT sockets of
 * nobody.
 */
#include "rules/table_build.h"

#include <netinet/in.h>

/* Deepest match wins (R24); at one depth cgroup with uid over cgroup. */
static void by_cgroup(struct builder *b, uint8_t slot, bool with_uid)
{
	FOR_LEVELS(b, level)
	{
		RULE(b, map_mark(table_set(SET_WHO_CGROUP, slot, level), LOAD_CGROUP));
		if (with_uid)
			RULE(b, map_mark(table_set(SET_WHO_CGROUP_UID, slot, level), LOAD_CGROUP,
					 LOAD_UID));
	}
}

/*
 * A uid alone names an identity only where no cgroup does, and never in an unknown cgroup: that
 * may be the new one of a unit that has just been restarted.
 */
static void whose_out(struct builder *b, uint8_t slot)
{
	const char *s = SLOT_SUFFIX(slot);

	CHAIN(b, "whose_uid_%s", s);
	RULE(b, set_mark(MARK_IDENTITY_UNCLAIMED));
	RULE(b, map_mark(table_set(SET_WHO_UID, slot, 0), LOAD_UID));
	CHAIN(b, "whose_out_%s", s);
	RULE(b, set_mark(0));
	by_cgroup(b, slot, true);
	RULE(b, mark_is(MARK_IDENTITY_UNCLAIMED), go("whose_uid_%s", s));
	RULE(b, mark_is(MARK_IDENTITY_ASK), go("whose_uid_%s", s));
	RULE(b, not(mark_is(0)), back());
	RULE(b, has_cgroup(1), back());
	/* Processes in the root cgroup. Sockets of the kernel itself have no file, hence no uid. */
	RULE(b, table_plain(STMT_HAS_UID), go("whose_uid_%s", s));
	RULE(b, go("whose_kernel"));
}

/*
 * The listener's cgroup. nft_socket finds full sockets only: a SYN that meets a TIME_WAIT socket is
 * looked up by its port in what the agent keeps of the listeners (R21).
 */
static void whose_in(struct builder *b, uint8_t slot)
{
	const char *s = SLOT_SUFFIX(slot);

	CHAIN(b, "whose_in_%s", s);
	RULE(b, set_mark(0));
	by_cgroup(b, slot, false);
	RULE(b, not(mark_is(0)), back());
	RULE(b, has_cgroup(1), back());
	RULE(b, table_value(STMT_WILDCARD, 0), set_mark(MARK_IDENTITY_UNCLAIMED), back());
	RULE(b, table_value(STMT_WILDCARD, 1), set_mark(MARK_IDENTITY_UNCLAIMED), back());
	RULE(b, set_mark(MARK_IDENTITY_NOBODY));
	RULE(b, proto_is(IPPROTO_TCP),
	     map_mark(table_set(SET_LISTENERS, slot, 0), LOAD_L4PROTO, LOAD_DPORT));
}

/*
 * Traffic that the kernel sends itself (R25): by either port, because WireGuard's peers may use any
 * port of their own; by protocol where there are no ports.
 */
static void kernel_traffic(struct builder *b)
{
	struct set_ref ports = table_set(SET_ESSENTIAL_KERNEL, SLOT_A, 0);

	CHAIN(b, "kernel_ports");
	RULE(b, has_ports(), map_mark(ports, LOAD_L4PROTO, LOAD_SPORT));
	RULE(b, has_ports(), map_mark(ports, LOAD_L4PROTO, LOAD_DPORT));
	RULE(b, map_mark(table_set(SET_ESSENTIAL_PROTO, SLOT_A, 0), LOAD_L4PROTO));
	CHAIN(b, "kernel_listener");
	RULE(b, proto_is(IPPROTO_UDP), map_mark(ports, LOAD_L4PROTO, LOAD_DPORT));
	CHAIN(b, "whose_kernel");
	RULE(b, set_mark(MARK_IDENTITY_NOBODY));
	RULE(b, go("kernel_ports"));
}

/* Which essentials' owners are known (R49); one of another process is no essential. */
static void essential_owner(struct builder *b)
{
	CHAIN(b, "essential_owner");
	RULE(b, not(mark_in(SET_ESSENTIAL_OWNED)), back());
	FOR_LEVELS(b, level)
	RULE(b, found_in(table_set(SET_ESSENTIAL_ENDS, SLOT_A, level), LOAD_CT_MARK, LOAD_CGROUP),
	     back());
	RULE(b, set_mark(0));
}

/*
 * Processes without an identity pass on a reserved conduit, or are refused like anybody; between
 * themselves on this host they always pass, so that enforcement does not cut a host off from
 * itself (R13).
 */
static void unclaimed(struct builder *b)
{
	bool pass = b->t->shape.unclaimed == UNCLAIMED_PASS;

	CHAIN(b, "unclaimed_pass");
	/* A flow that ran before it was judged: the other end is still to be looked at. */
	RULE(b, table_plain(STMT_OIF_LO), not(table_plain(STMT_SYN_ONLY)),
	     set_mark(MARK_LO_PENDING), accept_it());
	RULE(b, state_is(TABLE_STATE_NEW), count_as("unclaimed"));
	RULE(b, set_mark(b->t->shape.unclaimed_mark));
	CHAIN(b, "unclaimed");
	if (!pass) {
		RULE(b, is_input(), back());
		RULE(b, not(table_plain(STMT_OIF_LO)), back());
	}
	RULE(b, mark_is(MARK_IDENTITY_UNCLAIMED), go("unclaimed_pass"));
	/*
	 * A SYN without a full socket meets a closed port, or a TIME_WAIT socket behind which
	 * anybody may listen. The list of listeners tells only while an agent lives to keep it, and
	 * who began to listen since it was made is the agent's to say (R21).
	 */
	RULE(b, is_input(), table_plain(STMT_SYN_ONLY), mark_is(MARK_IDENTITY_NOBODY),
	     not(switched_on(SET_AGENT_ALIVE)), back());
	if (pass && b->t->shape.queue != QUEUE_NONE)
		RULE(b, is_input(), table_plain(STMT_SYN_ONLY), mark_is(MARK_IDENTITY_NOBODY),
		     go("port"));
	RULE(b, mark_is(MARK_IDENTITY_NOBODY), go("unclaimed_pass"));
}

void table_whose(struct builder *b)
{
	kernel_traffic(b);
	essential_owner(b);
	unclaimed(b);
	FOR_SLOTS(slot)
	{
		whose_out(b, slot);
		whose_in(b, slot);
	}
	table_by_slot(b, "whose_out");
	table_by_slot(b, "whose_in");
}
