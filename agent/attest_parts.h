/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of the attestation engine share: attest.c (held packets), attest_listener.c (who
 * takes them), attest_flow.c (flows that run already), attest_recall.c (what was decided lately),
 * attest_ping.c. For these files only; others include attest.h.
 */
#pragma once

#include "agent/acceptance.h"
#include "agent/attest.h"
#include "agent/attest_decide.h"
#include "agent/peers.h"
#include "agent/pending.h"
#include "agent/view_index.h"

#define ATTEST_NS_PER_MS 1000000LL

struct attest_flows;
struct attest_listeners;
struct attest_pings;
struct recall;

/* A held packet's question, beside its entry of the pending table. */
struct question {
	struct attest *attest;
	struct pending_entry *entry;
	uint64_t ticket;
	uint32_t number, ifindex;
};

#define ATTEST_LATENCIES 1024 /* of so many last answers p50 and p99 are told */

struct attest {
	struct agent *agent;
	struct pending *pending;
	struct question *questions; /* by pending_index() */
	sd_event_source *timer;
	bool timer_runs;
	struct view_index *view;
	struct recall *recall;
	struct attest_flows *flows;
	struct attest_listeners *listeners;
	struct attest_pings *pings;
	struct attest_counters counters;
	uint32_t latencies[ATTEST_LATENCIES]; /* us */
	uint64_t answered;
	struct mono told_second; /* decision records of drops, bounded per second */
	uint32_t told;
};

/* Whom a conduit asks about whom, by the generation of now. */
struct attest_target {
	const struct conduit *conduit;
	const struct generation *gen;
	const struct edition *edition;
	const char *node; /* whose agent is asked; NULL = nobody's */
	bool listener;    /* the called end is asked about */
	bool observe;     /* this end denies nothing */
};

void attest_target_fill(const struct attest *t, const struct conduit *c,
			const struct generation *gen, bool out, struct attest_target *ret);
/* False: no generation has that number, or it asks no more. */
bool attest_target(const struct attest *t, uint32_t number, bool out, struct attest_target *ret);
/* The view of now; NULL: out of memory. */
const struct view_index *attest_view(struct attest *t);
void attest_query(const struct attest_target *target, const struct pending_key *key, uint32_t flags,
		  struct peer_query *ret);
/* What the checks say to a reply; target, and view, are those of now. */
void attest_judge(struct attest *t, const struct attest_target *target,
		  const struct peer_query *query, const struct peer_reply *reply, bool explain,
		  struct acceptance *ret);
/* peers_ask(), or the answer of a node that has no SVID when there are no peers. */
void attest_ask(struct attest *t, const char *node, const struct peer_query *query, peer_done done,
		void *user, uint64_t *ret_ticket);

/* --- attest_listener.c ------------------------------------------------------------------------ */

struct attest_listeners *attest_listeners_new(struct err *err);
void attest_listeners_free(struct attest_listeners *l);
/* Whether a packet that was held at input still comes to whom it was judged for, or to nobody. */
bool attest_still_listens(struct attest *t, const struct attest_target *target,
			  const struct pending_key *k, uint32_t ifindex);

/* --- attest_recall.c -------------------------------------------------------------------------- */

struct recall *recall_new(struct agent *a);
void recall_free(struct recall *r);
struct recall_entry {
	const struct pending_key *key;
	uint32_t number;
	enum reason reason;
	const char *status, *node, *check, *identity;
	const struct peer_answer *answer; /* may be NULL */
	struct mono since, now;
	uint64_t rtt_us;
};
void recall_add(struct recall *r, const struct recall_entry *e);

/* --- attest_flow.c ---------------------------------------------------------------------------- */

struct attest_flows *attest_flows_new(struct attest *t);
void attest_flows_free(struct attest_flows *f);
void attest_flows_tick(struct attest_flows *f);

/* --- attest_ping.c ---------------------------------------------------------------------------- */

void attest_pings_free(struct attest *t);
