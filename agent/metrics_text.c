/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is measured, in the text format of Prometheus 0.0.4. */
#include "agent/metrics.h"

#include "agent/attest.h"
#include "agent/conntrack.h"
#include "agent/documents.h"
#include "agent/evidence.h"
#include "agent/peers.h"
#include "agent/queue.h"
#include "agent/telemetry.h"
#include "agent/workload.h"
#include "base/mem.h"
#include "base/release.h"
#include "base/text.h"

#include <inttypes.h>

#define PEERS_NAMED_MAX 256 /* lines; the rest are in the sums */

enum kind { GAUGE, COUNTER };

static void head(struct buf *b, const char *name, enum kind kind, const char *help)
{
	buf_printf(b, "# HELP bailiwick_%s %s\n# TYPE bailiwick_%s %s\n", name, help, name,
		   kind == COUNTER ? "counter" : "gauge");
}

static void one(struct buf *b, const char *name, enum kind kind, const char *help, uint64_t value)
{
	head(b, name, kind, help);
	buf_printf(b, "bailiwick_%s %" PRIu64 "\n", name, value);
}

static void labelled(struct buf *b, const char *name, const char *label, const char *value,
		     uint64_t n)
{
	buf_printf(b, "bailiwick_%s{%s=\"%s\"} %" PRIu64 "\n", name, label, value, n);
}

/* Label values: backslash, quote and newline are escaped. */
static void escaped(struct buf *b, const char *text)
{
	for (; *text; text++) {
		if (*text == '\n')
			buf_puts(b, "\\n");
		else if (*text == '"' || *text == '\\')
			buf_printf(b, "\\%c", *text);
		else
			buf_putc(b, *text);
	}
}

static void put_info(const struct agent *a, struct buf *b)
{
	static const enum node_mode modes[] = {MODE_OBSERVE, MODE_SELECTIVE, MODE_ENFORCE};

	head(b, "info", GAUGE, "The agent: node, release, digest of the policy in force.");
	buf_puts(b, "bailiwick_info{node=\"");
	escaped(b, a->config.node);
	buf_printf(b, "\",release=\"%s\",policy_digest=\"%s\"} 1\n", RELEASE,
		   agent_edition(a)->digest);
	head(b, "mode", GAUGE, "1 for the mode in force.");
	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		labelled(b, "mode", "mode", mode_name(modes[i]), a->mode == modes[i]);
}

static void put_state(const struct agent *a, struct buf *b)
{
	const struct edition *e = agent_edition(a);
	int64_t beat = mono_ms_since(a->heartbeat_last, mono_now());

	one(b, "enforcing", GAUGE, "1 while our base chains judge.", a->enforcing);
	one(b, "drift", GAUGE, "1 while the kernel differs from the intention.", a->drift != NULL);
	one(b, "repairs_total", COUNTER, "Foreign changes of our table that were mended.",
	    a->repairs);
	one(b, "policy_revision", GAUGE, "Revision of the policy in force.", e->revision);
	one(b, "candidate", GAUGE, "1 while a policy is on probation.",
	    a->candidate.policy != NULL);
	one(b, "view_sequence", GAUGE, "Sequence of the mapping in force.", a->view_enforced);
	one(b, "conduits", GAUGE, "Conduits of the policy in force on this node.",
	    e->gen ? e->gen->conduit_count : 0);
	one(b, "identities", GAUGE, "Identities placed here.", e->gen ? e->gen->local_count : 0);
	one(b, "leases", GAUGE, "Conduits whose permission has an end.",
	    e->gen ? e->gen->lease_count : 0);
	one(b, "clock_trusted", GAUGE, "1 while windows go by the clock.", a->clock_trusted);
	head(b, "heartbeat_age_seconds", GAUGE,
	     "Time since the heartbeat in the kernel was renewed.");
	buf_printf(b, "bailiwick_heartbeat_age_seconds %" PRId64 ".%03" PRId64 "\n", beat / 1000,
		   beat % 1000);
}

static void put_refused(void *user, const char *code, uint64_t count)
{
	labelled(user, "documents_refused_total", "code", code, count);
}

static void put_documents(const struct agent *a, struct buf *b)
{
	int64_t age = documents_head_age(a->documents);

	if (!a->documents)
		return;
	if (age >= 0)
		one(b, "head_age", GAUGE, "Seconds since the newest head was signed.",
		    (uint64_t)age);
	one(b, "head_sequence", GAUGE, "Sequence of the head in force.",
	    documents_head_sequence(a->documents));
	one(b, "stale", GAUGE, "1 while the newest head, or the policy, has expired.",
	    documents_stale(a->documents));
	head(b, "documents_refused_total", COUNTER, "Documents that were refused, by reason.");
	documents_refusals(a->documents, put_refused, b);
}

static void put_decisions(struct agent *a, struct buf *b)
{
	const struct telemetry_counters *t = telemetry_counters(a->telemetry);
	const struct telemetry_totals *d = telemetry_totals(a->telemetry);

	head(b, "decisions_total", COUNTER, "Flows recorded, by decision.");
	labelled(b, "decisions_total", "decision", "allowed", d->allowed);
	labelled(b, "decisions_total", "decision", "would_deny", d->would_deny);
	labelled(b, "decisions_total", "decision", "denied", d->denied);
	one(b, "records_total", COUNTER, "Decision records written.", t->records);
	head(b, "records_lost_total", COUNTER, "Records that were not made or not kept, by place.");
	labelled(b, "records_lost_total", "place", "nflog", t->nflog_lost);
	labelled(b, "records_lost_total", "place", "ring", t->ring_dropped);
	labelled(b, "records_lost_total", "place", "output", t->write_failed);
	labelled(b, "records_lost_total", "place", "flow_events",
		 conntrack_event_counters(a->conntrack)->lost);
	head(b, "resync_total", COUNTER, "SYNs that met a live flow, by what was done with it.");
	labelled(b, "resync_total", "flow", "deleted", d->resync_deleted);
	labelled(b, "resync_total", "flow", "kept", d->resync_kept);
	labelled(b, "resync_total", "flow", "limited", d->resync_limited);
}

static void put_table(struct agent *a, struct buf *b)
{
	static const char *const names[NFT_NAMED_COUNT] = {
		[NFT_REFUSED] = "refused",       [NFT_DENIED] = "denied",
		[NFT_WOULD_DENY] = "would_deny", [NFT_RESYNCED] = "resynced",
		[NFT_LOG_LOST] = "log_lost",     [NFT_UNCLAIMED_FLOWS] = "unclaimed",
		[NFT_QUESTIONS] = "questions",   [NFT_UNASKED] = "unasked",
	};
	struct nft_counter c[NFT_NAMED_COUNT] = {0};

	if (nft_named_counters(a->nft, c, NULL) < 0)
		return;
	head(b, "table_packets_total", COUNTER, "Packets that the kernel's own counters saw.");
	for (size_t i = 0; i < NFT_NAMED_COUNT; i++)
		labelled(b, "table_packets_total", "counter", names[i], c[i].packets);
}

static void put_queue(const struct agent *a, struct buf *b)
{
	const struct queue_counters *c = a->queue ? queue_counters(a->queue) : NULL;
	struct queue_depth depth = {0};

	if (!c)
		return;
	(void)queue_depth(a->queue, &depth);
	one(b, "queue_waiting", GAUGE, "Packets in the kernel's queues.", depth.waiting);
	one(b, "queue_held", GAUGE, "Packets without a verdict.", c->held);
	one(b, "queue_received_total", COUNTER, "Packets asked about.", c->received);
	one(b, "queue_expired_total", COUNTER, "Packets held too long and dropped.", c->expired);
	one(b, "queue_dropped_total", COUNTER, "Packets dropped because a queue was full.",
	    depth.queue_dropped + depth.user_dropped);
	head(b, "queue_verdicts_total", COUNTER, "Verdicts given, by reason.");
	for (int i = 0; i < REASON_COUNT; i++) {
		if (c->by_reason[i])
			labelled(b, "queue_verdicts_total", "reason", reason_name((enum reason)i),
				 c->by_reason[i]);
	}
}

static void put_attestation(const struct agent *a, struct buf *b)
{
	struct attest_counters c = {0};

	if (!a->attest)
		return;
	attest_counters(a->attest, &c);
	one(b, "attest_held", GAUGE, "Connections that wait for somebody's word.", c.held_now);
	one(b, "attest_held_max", GAUGE, "How many may wait at a time.", c.held_max);
	one(b, "attest_asked_total", COUNTER, "Questions about a connection.", c.asked);
	head(b, "attest_outcomes_total", COUNTER, "What came of them.");
	labelled(b, "attest_outcomes_total", "outcome", "vouched", c.vouched);
	labelled(b, "attest_outcomes_total", "outcome", "refused", c.refused);
	labelled(b, "attest_outcomes_total", "outcome", "timed_out", c.timed_out);
	labelled(b, "attest_outcomes_total", "outcome", "unavailable", c.unavailable);
	labelled(b, "attest_outcomes_total", "outcome", "busy", c.busy);
	one(b, "attest_joined_total", COUNTER, "Packets that joined a question.", c.joined);
	one(b, "attest_per_source_total", COUNTER,
	    "Packets dropped because their source had its share of questions.", c.per_source);
	head(b, "attest_held_microseconds", GAUGE, "From held to verdict, of the last answers.");
	labelled(b, "attest_held_microseconds", "quantile", "0.5", c.p50_us);
	labelled(b, "attest_held_microseconds", "quantile", "0.99", c.p99_us);
}

static void put_peer_rtts(const struct agent *a, struct buf *b)
{
	json_t *peers = peers_status(a->peers), *peer;
	size_t i, n = 0;

	head(b, "peer_rtt_microseconds", GAUGE, "Round trip of the last answer, by node.");
	json_array_foreach(peers, i, peer) {
		const char *node = json_string_value(json_object_get(peer, "node"));
		const char *way = json_string_value(json_object_get(peer, "direction"));
		const json_t *rtt = json_object_get(peer, "rtt_us");

		if (!node || !str_eq(way, "out") || !json_is_integer(rtt) ||
		    !json_integer_value(rtt) || n++ >= PEERS_NAMED_MAX)
			continue;
		buf_puts(b, "bailiwick_peer_rtt_microseconds{node=\"");
		escaped(b, node);
		buf_printf(b, "\"} %" PRId64 "\n", (int64_t)json_integer_value(rtt));
	}
	json_decref(peers);
}

static void put_peers(const struct agent *a, struct buf *b)
{
	const struct peers_counters *c = a->peers ? peers_counters(a->peers) : NULL;

	if (!c)
		return;
	one(b, "peers_known", GAUGE, "Nodes whose agent may be asked.", c->known);
	one(b, "peers_connected", GAUGE, "Of these, streams that stand.", c->connected);
	one(b, "peers_listening", GAUGE, "1 while others can ask this node.",
	    peers_listen_error(a->peers) == NULL);
	head(b, "peer_questions_total", COUNTER, "Questions to other nodes, by outcome.");
	labelled(b, "peer_questions_total", "outcome", "answered", c->answered);
	labelled(b, "peer_questions_total", "outcome", "timed_out", c->timed_out);
	labelled(b, "peer_questions_total", "outcome", "unreachable", c->unreachable);
	labelled(b, "peer_questions_total", "outcome", "overloaded", c->overloaded);
	one(b, "peer_served_total", COUNTER, "Questions of other nodes.", c->served);
	one(b, "peer_served_busy_total", COUNTER, "Of these, put off.", c->served_busy);
	one(b, "peer_streams_refused_total", COUNTER,
	    "Streams whose certificate or handshake was refused.", c->refused_streams);
	put_peer_rtts(a, b);
}

static void put_evidence(const struct agent *a, struct buf *b)
{
	struct evidence_counters c = {0};
	json_t *problems;

	if (!a->evidence)
		return;
	problems = evidence_problems(a->evidence);
	one(b, "evidence_problems", GAUGE, "Executables that are not what they should be.",
	    json_array_size(problems));
	json_decref(problems);
	evidence_counters(a->evidence, &c);
	head(b, "evidence_total", COUNTER, "Executables and sockets looked at, by what was done.");
	labelled(b, "evidence_total", "what", "hashed", c.hashed);
	labelled(b, "evidence_total", "what", "failed", c.failed);
	labelled(b, "evidence_total", "what", "cached", c.cached);
	labelled(b, "evidence_total", "what", "searched", c.searched);
	labelled(b, "evidence_total", "what", "mismatched", c.mismatched);
	labelled(b, "evidence_total", "what", "too_late", c.too_late);
}

static void put_host(struct agent *a, struct buf *b)
{
	struct workloads_counters w;
	struct ct_usage u = {0};

	workloads_counters(a->workloads, &w);
	one(b, "cgroups", GAUGE, "Control groups known.", w.cgroups);
	one(b, "cgroup_events_total", COUNTER, "Changes of control groups seen.", w.events);
	one(b, "cgroup_overflows_total", COUNTER, "Times that all were walked again.", w.overflows);
	one(b, "cgroups_lost_total", COUNTER, "Control groups above the limit: refused.", w.lost);
	if (conntrack_usage(&u) < 0)
		return;
	one(b, "conntrack_entries", GAUGE, "Entries of the kernel's flow table.", u.used);
	one(b, "conntrack_entries_max", GAUGE, "How many it takes.", u.max);
}

void metrics_text(struct agent *a, struct buf *b)
{
	put_info(a, b);
	put_state(a, b);
	put_documents(a, b);
	put_decisions(a, b);
	put_table(a, b);
	put_queue(a, b);
	put_attestation(a, b);
	put_peers(a, b);
	put_evidence(a, b);
	put_host(a, b);
}
