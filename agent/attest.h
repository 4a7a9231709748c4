/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Held connections: a packet of a conduit whose rule says `attested` waits in the kernel while the
 * far node's agent is asked who owns it (`callee: attested`: who listens there). Accepted only for
 * that very packet's flow; nothing positive is remembered (DESIGN section 4).
 *
 * The answer goes back as NF_REPEAT with a mark (rules/marks.h): number|MARK_VOUCHED,
 * number|MARK_UNAVAILABLE, or number|MARK_NOT_VOUCHED, and the kernel decides by `live`, mode and
 * deny answer what becomes of it. A time-out is a silent drop: the retransmitted SYN asks again.
 * Every packet gets exactly one verdict and one reason.
 *
 * When this process dies, what is held is dropped by the kernel, and two seconds later the kernel
 * itself goes to the rule's on_unavailable.
 */
#pragma once

#include "agent/agent.h"
#include "agent/conntrack.h"
#include "agent/peer_frame.h"
#include "agent/queue.h"

#define ATTEST_HOLD_MS        800 /* below the first SYN retransmission */
#define ATTEST_PER_SOURCE_MAX 256 /* held from one address: one node cannot fill the table */

struct attest;

int attest_open(struct agent *a, struct attest **ret, struct err *err);
void attest_free(struct attest *t);

/* A packet of the attestation or datagram queue; its packet mark is the conduit number. */
void attest_packet(struct attest *t, const struct queue_packet *p);
void attest_tick(struct attest *t); /* once a second */

/* --- flows that run already ------------------------------------------------------------------- */

/*
 * Asks about a flow without a held packet (PEER_ESTABLISHED): at adoption, when a rule that did
 * not ask begins to, and for a bare SYN that met a live entry (R1, then `syn`). When vouched for,
 * the entry gets number|MARK_VOUCHED; with `syn` and a new socket over there, it is deleted, so
 * that the retransmission is judged as new. Bounded; what does not fit is asked about later.
 */
void attest_flow(struct attest *t, const struct ct_flow *flow, uint32_t number, bool syn);
/*
 * Some number has begun to ask, or flows may have come onto one that asks: the flow table is looked
 * through for flows on the bare number of a conduit that asks, and these are asked about; again
 * after a few seconds, for those whose next packet only then puts them there. t may be NULL.
 */
void attest_flows_again(struct attest *t);

/* Another view is in force: call before the old one is freed. t may be NULL. */
void attest_view_changed(struct attest *t);

/* --- what people see -------------------------------------------------------------------------- */

/* One decided question, for decision records and `why`. Borrowed until the next call. */
struct attest_record {
	struct packet packet;
	uint32_t number; /* of the conduit that asked */
	enum reason reason;
	const char *status; /* word behind attest_refused:, or "" */
	const char *asked;  /* node */
	const char *check;  /* that failed, for people: "policy: backup has no rule to ..." */
	char identity[256]; /* path, "" = none was named */
	const struct peer_answer *answer; /* NULL: none came */
	uint64_t held_us, rtt_us;
};
/* The newest question about this flow of the last seconds; NULL if there is none. */
const struct attest_record *attest_recall(struct attest *t, const struct packet *flow);
const struct attest_record *attest_recall_identity(struct attest *t, const char *from_path,
						   const char *to_path, uint16_t dport);

struct attest_counters {
	uint64_t held_now, held_max; /* max: limit */
	uint64_t asked, vouched, refused, timed_out, unavailable, busy, joined, per_source;
	uint64_t p50_us, p99_us; /* of the last answers, from held to verdict */
};
void attest_counters(const struct attest *t, struct attest_counters *ret);

/*
 * `attest ping NODE [TUPLE]`: every check, one by one; done once, with a new reference. NULL: out
 * of memory, or the agent ends.
 */
typedef void (*attest_pinged)(void *user, json_t *result);
int attest_ping(struct attest *t, const char *node, const char *tuple, attest_pinged done,
		void *user, struct err *err);
