/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Streams to the agents of other nodes: TLS 1.3 with both sides' X.509-SVIDs (/bailiwick/node/...),
 * ALPN PEER_ALPN, no tickets, no resumption, no early data (DESIGN section 4). Queries go from the
 * connecting to the accepting side only, so there are at most two streams between two nodes.
 *
 * A node is asked at the endpoint that the view gives for it; what answers there must prove by its
 * SVID to be that node, so an address alone can delay but not vouch. Streams of nodes that left the
 * view, whose certificate ended, or whose roots changed are closed (peers_view_changed()).
 *
 * When this fails: every question ends in an outcome other than PEER_ANSWERED, and the rule's
 * on_unavailable decides. Never blocks; bounded: in flight, streams, bytes per stream.
 */
#pragma once

#include "agent/agent.h"
#include "agent/peer_frame.h"
#include "controller-client/svid.h"

#define PEERS_IN_FLIGHT_MAX  256  /* questions per stream */
#define PEERS_STREAMS_MAX    2048 /* each way; the one idle longest goes first */
#define PEERS_CONNECT_MS     400  /* connect and TLS */
#define PEERS_PING_S         15
#define PEERS_DEAD_S         45
#define PEERS_IDLE_S         600
#define PEERS_BREAK_FAILURES 3 /* within PEERS_BREAK_WINDOW_S: unreachable at once */
#define PEERS_BREAK_WINDOW_S 10
#define PEERS_BREAK_S        5 /* then a question may try; attempts without one go on meanwhile */

struct peers;

/*
 * Opens the listening sockets (attest: in agent.yaml) when the node has an SVID, and later when it
 * gets one. A port that is taken is an error that status shows; asking works without it.
 */
int peers_open(struct agent *a, struct peers **ret, struct err *err);
void peers_free(struct peers *p);
void peers_tick(struct peers *p); /* once a second: pings, idle and dead streams, re-listening */
/* Another view, policy, or SVID is in force: streams that it does not bear out are closed. */
void peers_view_changed(struct peers *p);

enum peer_outcome {
	PEER_ANSWERED,
	PEER_TIMED_OUT,   /* reached, or being reached, and no answer within the budget */
	PEER_UNREACHABLE, /* no stream: refused, TLS failed, breaker open, not the node asked for */
	PEER_NO_AGENT,    /* the view gives no endpoint for this node */
	PEER_NO_SVID,     /* this node has none itself, or it has expired */
	PEER_OVERLOADED,  /* too many questions in flight, or the peer said BUSY */
};

struct peer_reply {
	enum peer_outcome outcome;
	const struct peer_answer *answer; /* PEER_ANSWERED only; borrowed for the call */
	const struct svid *svid;          /* of the stream, NULL without one; borrowed */
	uint64_t rtt_us;
	const char *detail; /* for people; "" when there is nothing to say */
};

/*
 * Asks the agent of `node`. `done` is called exactly once, perhaps before this returns, and never
 * after peers_cancel(). ret_ticket is written before any call of done; 0 is no ticket.
 */
typedef void (*peer_done)(void *user, const struct peer_reply *reply);
void peers_ask(struct peers *p, const char *node, const struct peer_query *query, peer_done done,
	       void *user, uint64_t *ret_ticket);
/* Sends now what would be sent at the end of this turn of the loop. p may be NULL. */
void peers_flush(struct peers *p);
void peers_cancel(struct peers *p, uint64_t ticket);

/* Connects ahead of the first question. */
void peers_connect(struct peers *p, const char *node);

/* --- the answering side: agent/vouch.h -------------------------------------------------------- */

/* From now on a->vouch answers other nodes; before, they hear PEER_INTERNAL. */
void peers_answer_by_vouch(struct peers *p);

struct peers_counters {
	uint64_t asked, answered, timed_out, unreachable, overloaded; /* questions of ours */
	uint64_t served, served_busy;                                 /* questions of others */
	uint64_t refused_streams;  /* TLS or SVID checks that failed, both directions */
	uint32_t known, connected; /* nodes with an endpoint; of these, streams that stand */
};
const struct peers_counters *peers_counters(struct peers *p);
/* For status: [{node, address, port, state, direction, since, rtt_us, skew_s, error, spiffe_id}].
 */
json_t *peers_status(struct peers *p);
/* What is wrong with listening, or NULL. */
const char *peers_listen_error(const struct peers *p);
/*
 * Endpoint for the status report: {address, port}, or null; new reference. The address is null
 * where it listens at every one.
 */
json_t *peers_endpoint(const struct peers *p);
