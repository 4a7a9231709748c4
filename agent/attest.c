/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/attest.h"

#include "agent/attest_parts.h"
#include "agent/telemetry.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/marks.h"

#include <errno.h>
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>

/*
 * The deadline's timer is left running when its packet is answered, so that a connection costs no
 * second timer call; it then finds nothing to do, at most once per ATTEST_HOLD_MS.
 */
#define TIMER_ACCURACY_US 1000
/* The queue's own deadline is the net below this one. */
#define QUEUE_SPARE_MS 400
/* The peers' deadline comes first: it knows what the silence says about the peer. */
#define ATTEST_BUDGET_MS (ATTEST_HOLD_MS - 20)
/* Each costs a look at the socket table; drops of a flood are counted, not told one by one. */
#define TOLD_PER_SECOND 50

/* --- whom to ask ----------------------------------------------------------------------------- */

static bool local_observes(const struct generation *gen, const struct party *local)
{
	for (size_t low = 0, high = gen->local_count; local->identity && low < high;) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(gen->locals[middle].path, local->identity);

		if (order == 0)
			return gen->locals[middle].observe;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

void attest_target_fill(const struct attest *t, const struct conduit *c,
			const struct generation *gen, bool out, struct attest_target *ret)
{
	const struct agent *a = t->agent;
	const struct party *far = &gen->parties[out ? c->to : c->from];
	const struct party *local = &gen->parties[out ? c->from : c->to];

	*ret = (struct attest_target){
		.conduit = c,
		.gen = gen,
		.edition = gen == a->candidate.gen ? &a->candidate : &a->confirmed,
		.node = far->node,
		.listener = out,
		.observe = a->mode == MODE_OBSERVE ||
			   (c->flags & (CONDUIT_OBSERVED | CONDUIT_ASK_WATCHED)) ||
			   local_observes(gen, local),
	};
}

bool attest_target(const struct attest *t, uint32_t number, bool out, struct attest_target *ret)
{
	const struct generation *gen = NULL;
	const struct conduit *c = agent_conduit(t->agent, number, &gen);

	if (!c || c->verdict != LIVE_ASK)
		return false;
	attest_target_fill(t, c, gen, out, ret);
	return true;
}

const struct view_index *attest_view(struct attest *t)
{
	const struct view *now = t->agent->view;

	if (!t->view || !view_index_is_of(t->view, now)) {
		view_index_free(t->view);
		t->view = view_index_new(now);
	}
	return t->view;
}

void attest_view_changed(struct attest *t)
{
	if (!t)
		return;
	view_index_free(t->view);
	t->view = NULL;
}

void attest_query(const struct attest_target *target, const struct pending_key *key, uint32_t flags,
		  struct peer_query *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->l4proto = key->l4proto;
	ret->src = key->src;
	ret->dst = key->dst;
	ret->sport = key->sport;
	ret->dport = key->dport;
	ret->isn = target->listener ? 0 : key->isn;
	ret->flags = flags;
	if (target->listener)
		ret->flags |= PEER_LISTENER;
	else if (target->conduit && generation_wants_evidence(target->gen, target->conduit))
		ret->flags |= PEER_WANT_EVIDENCE;
	ret->budget_ms = ATTEST_BUDGET_MS;
	ret->policy_revision = target->edition->revision;
}

void attest_judge(struct attest *t, const struct attest_target *target,
		  const struct peer_query *query, const struct peer_reply *reply, bool explain,
		  struct acceptance *ret)
{
	struct acceptance_input in = {
		.policy = target->edition->policy,
		.view = attest_view(t),
		.gen = target->gen,
		.asked = target->conduit,
		.query = query,
		.node = target->node,
		.svid = reply->svid,
		.answer = reply->answer,
		.explain = explain,
	};

	if (in.view && in.policy) {
		acceptance_judge(&in, ret);
		return;
	}
	memset(ret, 0, sizeof(*ret));
	ret->reason = REASON_STALE_VIEW;
}

void attest_ask(struct attest *t, const char *node, const struct peer_query *query, peer_done done,
		void *user, uint64_t *ret_ticket)
{
	static const struct peer_reply nobody = {
		.outcome = PEER_NO_SVID, .detail = "the peer protocol does not run on this node"};

	if (t->agent->peers) {
		peers_ask(t->agent->peers, node, query, done, user, ret_ticket);
		return;
	}
	*ret_ticket = 0;
	done(user, &nobody);
}

/* --- verdicts -------------------------------------------------------------------------------- */

static bool is_out(const struct pending_key *k)
{
	return k->hook == NF_INET_LOCAL_OUT;
}

/* The kernel records what it refuses; what is dropped here it never sees again. */
static void tell_dropped(struct attest *t, const struct pending_key *k, const struct question *q,
			 enum reason reason)
{
	struct queue_packet p = {
		.hook = k->hook,
		.mark = q->number,
		.packet = {.src = k->src,
			   .dst = k->dst,
			   .sport = k->sport,
			   .dport = k->dport,
			   .l4proto = k->l4proto,
			   .tcp_flags = k->l4proto == IPPROTO_TCP ? PACKET_TCP_SYN : 0,
			   .tcp_seq = k->isn},
	};
	struct mono now = mono_now();

	if (is_out(k))
		p.ifindex_out = q->ifindex;
	else
		p.ifindex_in = q->ifindex;
	if (mono_ms_since(t->told_second, now) >= 1000) {
		t->told_second = now;
		t->told = 0;
	}
	if (t->told++ < TOLD_PER_SECOND)
		telemetry_refused(t->agent->telemetry, &p, reason);
}

static void verdict(struct attest *t, struct pending_packet p, const struct attest_decision *d)
{
	(void)queue_verdict(t->agent->queue, p.queue, p.id, d->mark ? QUEUE_REPEAT : QUEUE_DROP,
			    d->mark != 0, d->mark, d->reason);
}

static void count(struct attest *t, const struct attest_decision *d)
{
	struct attest_counters *c = &t->counters;

	switch (d->finding) {
	case ATTEST_VOUCHED:
		c->vouched++;
		break;
	case ATTEST_REFUSED:
		c->refused++;
		break;
	case ATTEST_UNAVAILABLE:
		c->unavailable++;
		break;
	case ATTEST_SILENT:
		if (d->reason == REASON_PEER_BUSY)
			c->busy++;
		else
			c->timed_out++;
		break;
	}
}

/* Ends the question: every packet that waits for it has its verdict now, and the entry is free. */
static void conclude(struct attest *t, struct question *q, const struct attest_decision *d,
		     struct recall_entry *told)
{
	struct pending_entry *e = q->entry;
	struct mono now;

	for (uint8_t i = 0; i < e->packet_count; i++)
		verdict(t, e->packets[i], d);
	now = mono_now();
	if (told->answer)
		t->latencies[t->answered++ % ATTEST_LATENCIES] =
			(uint32_t)((now.ns - e->since.ns) / 1000);
	count(t, d);
	told->key = &e->key;
	told->number = q->number;
	told->reason = d->reason;
	told->status = d->status;
	told->since = e->since;
	told->now = now;
	recall_add(t->recall, told);
	if (!d->mark)
		tell_dropped(t, &e->key, q, d->reason);
	pending_remove(t->pending, e);
}

static const char *outcome_text(const struct peer_reply *r)
{
	switch (r->outcome) {
	case PEER_ANSWERED:
		return "";
	case PEER_TIMED_OUT:
		return "no answer in time";
	case PEER_UNREACHABLE:
		return "cannot be reached";
	case PEER_NO_AGENT:
		return "the mapping gives no agent there";
	case PEER_NO_SVID:
		return "this node has no certificate to ask with";
	case PEER_OVERLOADED:
		return "too many questions";
	}
	return "";
}

/* Who would be let in goes to another listener by now. */
static bool is_let_in_elsewhere(struct attest *t, const struct question *q,
				const struct attest_target *target, const struct attest_decision *d)
{
	const struct pending_key *k = &q->entry->key;

	return (d->finding == ATTEST_VOUCHED || d->finding == ATTEST_UNAVAILABLE) && !is_out(k) &&
	       !attest_still_listens(t, target, k, q->ifindex);
}

static void on_reply(void *user, const struct peer_reply *reply)
{
	struct question *q = user;
	struct attest *t = q->attest;
	const struct pending_key *k = &q->entry->key;
	struct recall_entry told = {.rtt_us = reply->rtt_us, .answer = reply->answer};
	struct acceptance judged = {0};
	struct attest_target target = {0};
	struct attest_decision d;
	struct peer_query query;
	/* Policy may have changed while the question was out. */
	bool asks = attest_target(t, q->number, is_out(k), &target) && target.node;

	q->ticket = 0;
	if (asks && reply->outcome == PEER_ANSWERED) {
		attest_query(&target, k, 0, &query);
		attest_judge(t, &target, &query, reply, false, &judged);
	}
	attest_decide(reply->outcome, reply->answer, &judged, asks ? q->number : 0,
		      asks && target.observe, &d);
	told.node = target.node ? target.node : "";
	told.identity = judged.identity;
	told.check = judged.detail;
	if (reply->outcome != PEER_ANSWERED)
		told.check =
			reply->detail && reply->detail[0] ? reply->detail : outcome_text(reply);
	if (is_let_in_elsewhere(t, q, &target, &d)) {
		attest_decide_unasked(REASON_RECEIVER_CHANGED, q->number, target.observe, &d);
		told.check = "another process listens there than when the packet came";
	}
	conclude(t, q, &d, &told);
}

/* --- deadlines ------------------------------------------------------------------------------- */

static void expire(struct attest *t, struct pending_entry *e)
{
	static const struct peer_reply late = {.outcome = PEER_TIMED_OUT, .detail = ""};
	struct question *q = &t->questions[pending_index(t->pending, e)];

	if (q->ticket && t->agent->peers)
		peers_cancel(t->agent->peers, q->ticket);
	on_reply(q, &late);
}

static void arm(struct attest *t)
{
	const struct pending_entry *e = pending_first(t->pending);
	int r;

	if (!e || t->timer_runs)
		return;
	r = sd_event_source_set_time(t->timer, (uint64_t)e->deadline.ns / 1000 + 1);
	if (r >= 0)
		r = sd_event_source_set_enabled(t->timer, SD_EVENT_ONESHOT);
	if (r < 0)
		log_error("attestation: deadline timer: %s", strerror(-r));
	else
		t->timer_runs = true;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *user)
{
	struct attest *t = user;
	struct pending_entry *e;

	(void)s;
	(void)usec;
	t->timer_runs = false;
	while ((e = pending_due(t->pending, mono_now())))
		expire(t, e);
	arm(t);
	return 0;
}

/* --- packets --------------------------------------------------------------------------------- */

static void key_of(const struct queue_packet *p, struct pending_key *ret)
{
	const struct packet *k = &p->packet;

	*ret = (struct pending_key){
		.src = k->src,
		.dst = k->dst,
		.sport = k->sport,
		.dport = k->dport,
		.isn = k->l4proto == IPPROTO_TCP ? k->tcp_seq : 0,
		.l4proto = k->l4proto,
		.hook = p->hook,
	};
}

/* The table sends nothing else; a packet that cannot open a flow is not worth a question. */
static bool opens_flow(const struct queue_packet *p)
{
	const uint8_t flags = PACKET_TCP_SYN | PACKET_TCP_ACK | PACKET_TCP_RST | PACKET_TCP_FIN;

	if (p->unsupported || (p->hook != NF_INET_LOCAL_IN && p->hook != NF_INET_LOCAL_OUT))
		return false;
	if (p->packet.l4proto == IPPROTO_TCP)
		return (p->packet.tcp_flags & flags) == PACKET_TCP_SYN;
	return p->packet.l4proto == IPPROTO_UDP;
}

/* A packet that gets no entry: its verdict now. */
static void refuse(struct attest *t, const struct queue_packet *p,
		   const struct attest_target *target, enum reason reason)
{
	struct question q = {.number = p->mark,
			     .ifindex =
				     p->hook == NF_INET_LOCAL_OUT ? p->ifindex_out : p->ifindex_in};
	struct recall_entry told = {.number = p->mark,
				    .reason = reason,
				    .status = "",
				    .node = target->node ? target->node : "",
				    .check = "",
				    .identity = "",
				    .since = mono_now()};
	struct attest_decision d;
	struct pending_key key;

	attest_decide_unasked(reason, target->conduit ? p->mark : 0, target->observe, &d);
	verdict(t, (struct pending_packet){p->queue, p->id}, &d);
	key_of(p, &key);
	told.key = &key;
	told.now = told.since;
	recall_add(t->recall, &told);
	if (!d.mark)
		tell_dropped(t, &key, &q, reason);
}

/*
 * While a load is in progress the kernel may ask for a number that the generation in force does not
 * know yet: the retransmission will find it.
 */
static void refuse_unknown(struct attest *t, const struct queue_packet *p,
			   const struct attest_target *target)
{
	if (t->agent->job)
		(void)queue_verdict(t->agent->queue, p->queue, p->id, QUEUE_DROP, false, 0,
				    REASON_ATTEST_TIMEOUT);
	else
		refuse(t, p, target, REASON_NO_RULE);
}

static void ask(struct attest *t, const struct queue_packet *p, struct pending_entry *e,
		const struct attest_target *target)
{
	struct question *q = &t->questions[pending_index(t->pending, e)];
	struct peer_query query;

	*q = (struct question){
		.attest = t,
		.entry = e,
		.number = p->mark,
		.ifindex = is_out(&e->key) ? p->ifindex_out : p->ifindex_in,
	};
	attest_query(target, &e->key, 0, &query);
	t->counters.asked++;
	arm(t);
	/* May be answered before it returns: neither entry nor question is looked at afterwards. */
	attest_ask(t, target->node, &query, on_reply, q, &q->ticket);
}

static void hold(struct attest *t, const struct queue_packet *p, const struct pending_key *key,
		 const struct attest_target *target)
{
	struct mono now = mono_now();
	struct mono deadline = {now.ns + ATTEST_HOLD_MS * ATTEST_NS_PER_MS};
	struct mono net = {deadline.ns + QUEUE_SPARE_MS * ATTEST_NS_PER_MS};
	struct pending_entry *e = NULL;
	struct pending_packet packet = {p->queue, p->id};

	(void)queue_hold_until(t->agent->queue, p->queue, p->id, net);
	switch (pending_add(t->pending, key, packet, now, deadline, &e)) {
	case PENDING_NEW:
		ask(t, p, e, target);
		return;
	case PENDING_JOINED:
		t->counters.joined++;
		return;
	case PENDING_FULL:
	case PENDING_PACKETS_FULL:
		refuse(t, p, target, REASON_QUEUE_FULL);
		return;
	case PENDING_SOURCE_FULL:
		t->counters.per_source++;
		refuse(t, p, target, REASON_PEER_BUSY);
		return;
	}
}

/* Held under another number than it has now: what was asked about it is not the question any more.
 */
static bool is_outdated(const struct attest *t, const struct pending_entry *e,
			const struct queue_packet *p)
{
	return t->questions[pending_index(t->pending, e)].number != p->mark;
}

/*
 * The first one goes on when the answer is there, and TCP needs no more of the same. Nor may more
 * go on: kernel 6.1 ties what comes back from the queue to the entry that the first one has
 * confirmed meanwhile (nf_conntrack_update()), and the table, which takes a verdict for an entry
 * that asks and for no other, would ask about the connection again.
 */
static void drop_again(struct attest *t, const struct queue_packet *p)
{
	t->counters.joined++;
	(void)queue_verdict(t->agent->queue, p->queue, p->id, QUEUE_DROP, false, 0, REASON_RESYNC);
}

void attest_packet(struct attest *t, const struct queue_packet *p)
{
	struct attest_target target = {0};
	const struct view_index *view;
	struct pending_entry *e;
	struct pending_key key;

	if (!opens_flow(p)) {
		(void)queue_verdict(t->agent->queue, p->queue, p->id, QUEUE_DROP, false, 0,
				    REASON_WRONG_STATE);
		return;
	}
	key_of(p, &key);
	if (!attest_target(t, p->mark, is_out(&key), &target)) {
		refuse_unknown(t, p, &target);
		return;
	}
	view = attest_view(t);
	if (!target.node || !view ||
	    !view_index_owns(view, target.node, is_out(&key) ? &key.dst : &key.src)) {
		refuse(t, p, &target, REASON_UNKNOWN_PEER);
		return;
	}
	e = pending_find(t->pending, &key);
	if (e && is_outdated(t, e, p))
		expire(t, e);
	else if (e && key.l4proto == IPPROTO_TCP) {
		drop_again(t, p);
		return;
	}
	hold(t, p, &key, &target);
}

/* --- counters -------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

void attest_counters(const struct attest *t, struct attest_counters *ret)
{
	uint32_t sorted[ATTEST_LATENCIES];
	size_t n = t->answered < ATTEST_LATENCIES ? (size_t)t->answered : ATTEST_LATENCIES;

	*ret = t->counters;
	ret->held_now = pending_count(t->pending);
	ret->held_max = pending_max(t->pending);
	if (!n)
		return;
	memcpy(sorted, t->latencies, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), by_value);
	ret->p50_us = sorted[n / 2];
	ret->p99_us = sorted[n - 1 - n / 100];
}

/* --- life ------------------------------------------------------------------------------------ */

void attest_tick(struct attest *t)
{
	if (t)
		attest_flows_tick(t->flows);
}

int attest_open(struct agent *a, struct attest **ret, struct err *err)
{
	struct attest *t = mem_calloc(1, sizeof(*t));
	uint32_t max = a->config.queue_max_pending;
	int r = -ENOMEM;

	if (!t)
		return err_set(err, ENOMEM, "attestation: out of memory");
	t->agent = a;
	t->pending = pending_new(max, max < ATTEST_PER_SOURCE_MAX ? max : ATTEST_PER_SOURCE_MAX);
	t->questions = mem_calloc(max, sizeof(*t->questions));
	t->recall = recall_new(a);
	t->flows = attest_flows_new(t);
	t->listeners = attest_listeners_new(err);
	if (t->pending && t->questions && t->recall && t->flows && t->listeners)
		r = sd_event_add_time_relative(a->event, &t->timer, CLOCK_MONOTONIC, 0,
					       TIMER_ACCURACY_US, on_timer, t);
	if (r >= 0)
		r = sd_event_source_set_enabled(t->timer, SD_EVENT_OFF);
	if (r < 0) {
		attest_free(t);
		return err_set(err, -r, "attestation: %s", strerror(-r));
	}
	*ret = t;
	return 0;
}

/* What is still held the kernel drops when the queue is closed. */
static void forget_held(struct attest *t)
{
	struct pending_entry *e;

	while (t->pending && (e = pending_first(t->pending))) {
		struct question *q = &t->questions[pending_index(t->pending, e)];

		if (q->ticket && t->agent->peers)
			peers_cancel(t->agent->peers, q->ticket);
		pending_remove(t->pending, e);
	}
}

void attest_free(struct attest *t)
{
	if (!t)
		return;
	attest_pings_free(t);
	forget_held(t);
	attest_flows_free(t->flows);
	attest_listeners_free(t->listeners);
	sd_event_source_disable_unref(t->timer);
	pending_free(t->pending);
	free(t->questions);
	recall_free(t->recall);
	view_index_free(t->view);
	free(t);
}
