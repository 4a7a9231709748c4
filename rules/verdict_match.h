/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Parts of the oracle: who owns a local end, who may stand behind an address, and how far a rule
 * gets with a question. Private to rules/verdict*.c; the compiler must not use it, because the
 * oracle is the check on the compiler.
 */
#pragma once

#include "rules/verdict.h"

/* --- who (verdict_who.c) --------------------------------------------------------------------- */

/* Whether the view puts the identity on this node and policy lets it. */
bool identity_is_placed_here(const struct compile_input *in, uint32_t identity);
/* Whether policy lets the identity run on this node, placed or not. */
bool identity_may_be_here(const struct compile_input *in, uint32_t identity);
/* Whether the peer is this identity, placed within the bounds of policy at this address. */
bool peer_is_at(const struct compile_input *in, const struct view_peer *peer, uint32_t identity,
		const struct addr *a);
/* The same with every address of the peer's node: echo requests are addressed to nodes (R6). */
bool peer_node_is_at(const struct compile_input *in, const struct view_peer *peer,
		     uint32_t identity, const struct addr *a);
/* Addresses that loopback conduits have: 127.0.0.1, ::1, the host's and its placements'. */
bool address_is_own(const struct compile_input *in, const struct addr *a);
bool network_contains(const struct network *n, const struct addr *a);

#define OWNER_NONE (-1)

/*
 * Owner of an opening or sending process: an identity placed here, or one that only policy lets be
 * here. No rule speaks of the latter, whose flows are denied (`not_placed`).
 */
int owner_of_caller(const struct compile_input *in, const struct host *host,
		    const struct flow_end *end);
/* Owner of a listening process: the kernel knows its cgroup only, the agent its uid too (R20). */
int owner_of_listener(const struct compile_input *in, const struct host *host,
		      const struct flow_end *end, uint8_t l4proto, uint16_t port);
bool owner_is_misplaced(const struct compile_input *in, int owner);

/*
 * An operator revoked or quarantined the identity: then its observe mode is over, because
 * containing an incident must not only be recorded.
 */
bool identity_is_contained(const struct compile_input *in, uint32_t identity);

/* How an end refuses: the identity's answer, else the policy's. */
enum deny_answer owner_answer(const struct policy *p, int owner, bool egress);

/* --- how far a rule gets (verdict_match.c) ---------------------------------------------------- */

/* One end of a conversation, as rules see it. */
struct side {
	int identity;               /* whose end it is, where that is known; OWNER_NONE */
	bool misplaced;             /* the local owner is not placed here: no rule is about it */
	bool node;                  /* this node: any identity placed here (echo requests) */
	const struct addr *address; /* a far end: who is placed there, and networks around it */
	bool vouched;               /* `identity` is who its own node says, at `address` */
};

/* How much is known of a far end, and so which rules may count. */
enum trust {
	TRUST_ADDRESS,     /* nobody was asked: rules that ask for more are closed */
	TRUST_UNAVAILABLE, /* nobody could be asked: those with on_unavailable: allow are open */
	TRUST_VOUCHED,     /* it is vouched for, not measured */
	TRUST_MEASURED,    /* and runs what policy approves */
};

struct question {
	const struct compile_input *in;
	struct side from, to;
	struct service service;
	enum trust trust;
	bool egress;    /* the caller's host judges */
	bool same_node; /* both ends on one host: its own kernel vouches for both */
};

/* Nearest to a permission last. */
enum reach {
	STAGE_NOWHERE, /* several of from, to and services fail */
	STAGE_NETWORK, /* services fail, and one end matches as part of a network only */
	STAGE_TO,
	STAGE_FROM,
	STAGE_SERVICES,
	STAGE_SERVED, /* the rule has the service, but the destination does not serve it */
	STAGE_CONDITION,
	STAGE_WATCHED, /* a condition fails, but the rule is in observe mode */
	STAGE_HOLDS,
};

struct match {
	enum reach stage;
	int rule;           /* index, -1 = the policy has no rule */
	enum reason reason; /* from STAGE_CONDITION on */
	struct wall end;    /* STAGE_HOLDS: when permission ends; 0 = never */
	char fails_on[sizeof(((struct verdict *)0)->fails_on)];
};

/*
 * The best match of all rules: of those that hold the first by name, with the latest end of all
 * that hold; else the nearest, first by name.
 */
int match_rules(const struct question *q, struct match *ret, struct err *err);

/*
 * Whether the far node is asked before the flow may begin, because of rules alone; and whether one
 * of those that ask only observes.
 */
struct asking {
	bool asks, watched;
};
struct asking question_asks(const struct question *q);
/* Somebody on a node of those who may call from here was revoked or quarantined by name. */
bool question_has_contained_neighbours(const struct question *q);

/* The identity of a side: its owner, or the first that is placed at its address; OWNER_NONE. */
int side_identity(const struct question *q, const struct side *side);
/* Whether some identity or network of the policy is known to stand there. */
bool side_is_known(const struct question *q, const struct side *side);

/* For texts: name of the identity, or who is at the address, or "unclaimed". */
#define SIDE_NAME_MAX 128
const char *side_name(char buf[SIDE_NAME_MAX], const struct question *q, const struct side *side);
