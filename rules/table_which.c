/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which conduit: (identity, far end, service) in the maps of the generation in force. The identity
 * is in the ct mark; a hit replaces it, so the lookups that follow miss by themselves. Ports are
 * looked up for TCP and UDP only: in ICMP the same bytes are the checksum, which the sender chooses
 * (R6).
 *
 * The `_back` chains take a packet of the other direction: same maps, ports swapped.
 */
#include "rules/table_build.h"

#include <sys/socket.h>

struct direction {
	const char *name;
	enum set_kind exact4, exact6, any4, any6, net4, net6;
	enum load addr4, addr6, port;
};

static void ports_of(struct builder *b, uint8_t slot, const struct direction *d, bool v6)
{
	struct set_ref exact = table_set(v6 ? d->exact6 : d->exact4, slot, 0);
	struct set_ref any = table_set(v6 ? d->any6 : d->any4, slot, 0);
	struct set_ref net = table_set(v6 ? d->net6 : d->net4, slot, 0);
	int addr = v6 ? d->addr6 : d->addr4, port = d->port;

	RULE(b, map_mark(exact, LOAD_CT_MARK, addr, LOAD_L4PROTO, port));
	RULE(b, not(is_identity()), back());
	RULE(b, map_mark(any, LOAD_CT_MARK, addr, LOAD_L4PROTO));
	RULE(b, map_mark(net, LOAD_CT_MARK, addr, LOAD_L4PROTO, port));
}

static void direction_chains(struct builder *b, const struct direction *d, uint8_t slot,
			     const char *echo)
{
	const char *s = SLOT_SUFFIX(slot);

	CHAIN(b, "%s6_%s", d->name, s);
	if (echo != NULL)
		RULE(b, not(has_ports()), go("%s6_%s", echo, s));
	else
		RULE(b, not(has_ports()), back());
	ports_of(b, slot, d, true);
	CHAIN(b, "%s_%s", d->name, s);
	RULE(b, table_value(STMT_NFPROTO, AF_INET6), go("%s6_%s", d->name, s));
	if (echo != NULL)
		RULE(b, not(has_ports()), go("%s4_%s", echo, s));
	else
		RULE(b, not(has_ports()), back());
	ports_of(b, slot, d, false);
}

/*
 * Echo is addressed to a node, never to a workload: at input there is no socket to ask, and the key
 * has no identity.
 */
static void echo_chains(struct builder *b, uint8_t slot)
{
	const char *s = SLOT_SUFFIX(slot);

	CHAIN(b, "echo_out4_%s", s);
	RULE(b, map_mark(table_set(SET_OUT_ECHO4, slot, 0), LOAD_CT_MARK, LOAD_DADDR4,
			 LOAD_ICMP_TYPE));
	RULE(b, map_mark(table_set(SET_OUT_ECHO_NET4, slot, 0), LOAD_CT_MARK, LOAD_DADDR4,
			 LOAD_ICMP_TYPE));
	CHAIN(b, "echo_out6_%s", s);
	RULE(b, map_mark(table_set(SET_OUT_ECHO6, slot, 0), LOAD_CT_MARK, LOAD_DADDR6,
			 LOAD_ICMPV6_TYPE));
	RULE(b, map_mark(table_set(SET_OUT_ECHO_NET6, slot, 0), LOAD_CT_MARK, LOAD_DADDR6,
			 LOAD_ICMPV6_TYPE));
	CHAIN(b, "echo_in4_%s", s);
	RULE(b, map_mark(table_set(SET_IN_ECHO4, slot, 0), LOAD_SADDR4, LOAD_ICMP_TYPE));
	RULE(b, not(is_identity()), back());
	RULE(b, map_mark(table_set(SET_IN_ECHO_NET4, slot, 0), LOAD_SADDR4, LOAD_ICMP_TYPE));
	CHAIN(b, "echo_in6_%s", s);
	RULE(b, map_mark(table_set(SET_IN_ECHO6, slot, 0), LOAD_SADDR6, LOAD_ICMPV6_TYPE));
	RULE(b, not(is_identity()), back());
	RULE(b, map_mark(table_set(SET_IN_ECHO_NET6, slot, 0), LOAD_SADDR6, LOAD_ICMPV6_TYPE));
}

static void essential_chain(struct builder *b, const char *name, enum set_kind v4, enum set_kind v6,
			    int addr4, int addr6, int port)
{
	CHAIN(b, "%s", name);
	RULE(b, not(has_ports()), back());
	RULE(b, map_mark(table_set(v4, SLOT_A, 0), addr4, LOAD_L4PROTO, port));
	RULE(b, map_mark(table_set(v6, SLOT_A, 0), addr6, LOAD_L4PROTO, port));
	RULE(b, mark_is(0), back());
	RULE(b, go("essential_owner"));
}

void table_which(struct builder *b)
{
	static const struct direction directions[] = {
		{"egress", SET_OUT4, SET_OUT6, SET_OUT_ANY4, SET_OUT_ANY6, SET_OUT_NET4,
		 SET_OUT_NET6, LOAD_DADDR4, LOAD_DADDR6, LOAD_DPORT},
		{"ingress", SET_IN4, SET_IN6, SET_IN_ANY4, SET_IN_ANY6, SET_IN_NET4, SET_IN_NET6,
		 LOAD_SADDR4, LOAD_SADDR6, LOAD_DPORT},
		{"egress_back", SET_OUT4, SET_OUT6, SET_OUT_ANY4, SET_OUT_ANY6, SET_OUT_NET4,
		 SET_OUT_NET6, LOAD_SADDR4, LOAD_SADDR6, LOAD_SPORT},
		{"ingress_back", SET_IN4, SET_IN6, SET_IN_ANY4, SET_IN_ANY6, SET_IN_NET4,
		 SET_IN_NET6, LOAD_DADDR4, LOAD_DADDR6, LOAD_SPORT},
	};
	static const char *const echoes[] = {"echo_out", "echo_in", NULL, NULL};

	FOR_SLOTS(slot)
	{
		echo_chains(b, slot);
		for (size_t i = 0; i < sizeof(directions) / sizeof(directions[0]); i++)
			direction_chains(b, &directions[i], slot, echoes[i]);
	}
	for (size_t i = 0; i < sizeof(directions) / sizeof(directions[0]); i++)
		table_by_slot(b, directions[i].name);
	essential_chain(b, "essential_out", SET_ESSENTIAL_OUT4, SET_ESSENTIAL_OUT6, LOAD_DADDR4,
			LOAD_DADDR6, LOAD_DPORT);
	essential_chain(b, "essential_in", SET_ESSENTIAL_IN4, SET_ESSENTIAL_IN6, LOAD_SADDR4,
			LOAD_SADDR6, LOAD_DPORT);
	essential_chain(b, "essential_out_back", SET_ESSENTIAL_OUT4, SET_ESSENTIAL_OUT6,
			LOAD_SADDR4, LOAD_SADDR6, LOAD_SPORT);
	essential_chain(b, "essential_in_back", SET_ESSENTIAL_IN4, SET_ESSENTIAL_IN6, LOAD_DADDR4,
			LOAD_DADDR6, LOAD_SPORT);
}
