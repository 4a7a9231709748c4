/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is measured, in the text format of Prometheus 0.0.4. */
#include "agent/metrics.h"

#include "agent/conntrack.h"
#include "agent/queue.h"
#include "agent/telemetry.h"
#include "agent/workload.h"
#include "base/mem.h"
#include "base/release.h"

#include <inttypes.h>

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
		[NFT_QUESTIONS] = "questions",
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
	put_decisions(a, b);
	put_table(a, b);
	put_queue(a, b);
	put_host(a, b);
}
