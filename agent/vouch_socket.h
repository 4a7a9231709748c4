/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which socket of this host a question is about: undoes NAT of this host by its flow table, then
 * asks the socket table for the exact tuple (facts/identity: 8.3). Part of agent/vouch.c.
 *
 * Every failure is a refusal with a text; nothing is guessed. Sockets of other network namespaces
 * are never looked at.
 */
#pragma once

#include "agent/conntrack.h"
#include "agent/owner.h"
#include "agent/peer_frame.h"

struct vouch_socket {
	struct socket_info socket;
	uint32_t match; /* PEER_MATCH_* */
	bool has_flow;  /* this host's entry of the flow: */
	struct ct_flow flow;
	/* The flow's ends as a socket here sees them. */
	struct addr local, remote;
	uint16_t remote_port;
	const char *refusal; /* of a status other than PEER_OK; static text */
};

/*
 * `dst`: the query's destination, or one of its alt_dst. `interface`: of this node's address, for
 * sockets that are bound to a device; 0 = any.
 */
enum peer_status vouch_socket_find(struct owner *o, struct conntrack *ct,
				   const struct peer_query *q, const struct addr *dst,
				   uint32_t interface, struct vouch_socket *ret);
