/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Decision records: what was denied (NFLOG), what would have been, what was allowed (conntrack
 * events), with both identities, the rule and the reason (FORMATS "Decision record",
 * bailiwick-decisions(5)). Bounded everywhere: a ring of the newest records, one record per flow
 * and ten seconds, counters for what was dropped. Losing records never changes a verdict.
 */
#pragma once

#include "agent/agent.h"

#define TELEMETRY_RING_MAX     1024
#define TELEMETRY_WATCHERS_MAX 16

/* Opens the NFLOG group and the event sockets; the agent is borrowed. */
int telemetry_new(struct agent *a, struct telemetry **ret, struct err *err);
void telemetry_free(struct telemetry *t);

/* The newest denial or would-be denial: its record and what the oracle says now; NULL if none. */
json_t *telemetry_last_denial(struct telemetry *t);
/* Denials seen between these two names (NULL = any) and service: {count, since, last, from}. */
json_t *telemetry_seen(struct telemetry *t, const char *from, const char *to, const char *service);

/* A watcher gets each new record (borrowed) until telemetry_unwatch(). */
typedef void (*telemetry_watch_fn)(void *user, const json_t *record);
int telemetry_watch(struct telemetry *t, telemetry_watch_fn fn, void *user);
void telemetry_unwatch(struct telemetry *t, void *user);

struct telemetry_rates { /* in the last 60 seconds */
	uint64_t allowed, denied, would_deny;
};
void telemetry_rates(struct telemetry *t, struct telemetry_rates *ret);

struct telemetry_counters {
	uint64_t records, nflog_lost, ring_dropped, write_failed;
	uint64_t by_candidate; /* denials that the policy on probation has brought */
};
const struct telemetry_counters *telemetry_counters(const struct telemetry *t);

/* Whether the kernel sends the flow of a packet with it: then records name who is gone already. */
bool telemetry_carries_flows(const struct telemetry *t);

/* What no rule permits and was let through, for `suggest`; NULL when it is not kept. */
struct observed;
const struct observed *telemetry_observed(const struct telemetry *t);

struct telemetry_totals { /* flows since the start; resync: SYNs that met a live flow (R1) */
	uint64_t allowed, denied, would_deny;
	uint64_t resync_deleted, resync_kept, resync_limited;
};
const struct telemetry_totals *telemetry_totals(struct telemetry *t);

/* A held packet that the agent refused: the kernel logs nothing of it. t may be NULL. */
struct queue_packet;
void telemetry_refused(struct telemetry *t, const struct queue_packet *p, enum reason reason);

/* A decision the agent itself made (queue, revocation): same record, same places. Steals record. */
void telemetry_record(struct telemetry *t, json_t *record);
