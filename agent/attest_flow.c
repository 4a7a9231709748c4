/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Flows that run already and whose far end nobody has vouched for: found at adoption, or when a
 * rule begins to ask; and tuples whose socket may be a new one (R1). No packet is held for them:
 * the kernel drops theirs in silence until the entry's mark says more, and TCP sends again.
 */
#include "agent/attest_parts.h"
#include "agent/flow_queue.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "rules/marks.h"

#include <errno.h>
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPTS_MAX  5 /* a second apart, then 2, 4, 8 */
#define SCANS         3 /* of the flow table, after something began to ask */
#define SCAN_APART_MS 2000
#define SCANS_SLOWER  4   /* each twice as far apart, for those that wait */
#define SCAN_SHARE    100 /* of the time between two scans, one may compute so much less */

struct running {
	struct flow_place place; /* first: this is what the queue gives back */
	struct attest_flows *of;
	struct ct_flow tuple; /* as conntrack has it */
	uint32_t number;
	bool syn; /* a bare SYN met it: is there a new socket? */
	uint8_t attempts;
	uint64_t ticket;
	struct pending_key key; /* as whoever opened it would say it; also the one in by_key */
};

struct attest_flows {
	struct attest *attest;
	struct map *by_key;
	struct flow_queue *queue;
	unsigned scans_left, slower;
	struct mono next_scan;
	bool overflow, pumping;
};

static void forget(struct running *w)
{
	flow_queue_leave(w->of->queue, &w->place);
	(void)map_del(w->of->by_key, &w->key, sizeof(w->key));
	free(w);
}

/* --- what becomes of them -------------------------------------------------------------------- */

/* Unless the entry has become another one meanwhile. */
static void mark(struct running *w, uint32_t new_mark)
{
	struct conntrack *ct = w->of->attest->agent->conntrack;
	struct ct_flow found;
	struct err err = {{0}};

	if (conntrack_find(ct, &w->tuple, &found, &err) < 0 || found.mark != w->number)
		return;
	if (conntrack_set_mark(ct, &w->tuple, new_mark, &err) < 0)
		log_warn("attestation of a running flow: %s", err.text);
}

/* The far host has a connecting socket of this tuple: the entry is of a connection that is gone. */
static void resync(struct running *w, const struct acceptance *judged,
		   const struct peer_reply *reply)
{
	struct err err = {{0}};
	int r;

	if (reply->outcome != PEER_ANSWERED ||
	    (!judged->accepted && judged->failed <= ACCEPT_TUPLE) ||
	    !(reply->answer->match & PEER_MATCH_SYN_SENT))
		return;
	r = conntrack_delete(w->of->attest->agent->conntrack, &w->tuple, &err);
	if (r < 0 && r != -ENOENT)
		log_warn("resync: the old flow stays, its port must wait: %s", err.text);
}

/* Whether it is done with. */
static bool settle(struct running *w, const struct attest_target *target,
		   const struct acceptance *judged, const struct peer_reply *reply)
{
	struct attest_decision d;

	attest_decide(reply->outcome, reply->answer, judged, w->number, false, &d);
	switch (d.finding) {
	case ATTEST_VOUCHED:
		mark(w, d.mark & ~MARK_VERDICT);
		return true;
	case ATTEST_REFUSED:
		return true;
	case ATTEST_UNAVAILABLE:
		if (target->conduit->unavailable == LIVE_NONE)
			return false;
		mark(w, d.mark & ~MARK_VERDICT);
		return true;
	case ATTEST_SILENT:
		return false;
	}
	return true;
}

static void record(struct running *w, const struct attest_target *target,
		   const struct acceptance *judged, const struct peer_reply *reply)
{
	struct mono now = mono_now();
	struct recall_entry e = {
		.key = &w->key,
		.number = w->number,
		.reason = judged->reason,
		.status = judged->status,
		.node = target->node,
		.check = judged->detail,
		.identity = judged->identity,
		.answer = reply->answer,
		.since = now,
		.now = now,
		.rtt_us = reply->rtt_us,
	};

	if (reply->outcome == PEER_ANSWERED && !w->syn)
		recall_add(w->of->attest->recall, &e);
}

static void again_later(struct attest_flows *f, struct running *w)
{
	struct mono due;

	if (++w->attempts >= ATTEMPTS_MAX) {
		forget(w);
		return;
	}
	due.ns = mono_now().ns + (1000LL << (w->attempts - 1)) * ATTEST_NS_PER_MS;
	flow_queue_again(f->queue, &w->place, due);
}

static void pump(struct attest_flows *f);

/*
 * A tuple that a bare SYN met runs on a conduit that was vouched for, whose own number asks nobody:
 * only whether the far node has a new socket is to be known, whosever it is.
 */
static bool find_target(const struct attest *t, uint32_t number, bool syn,
			struct attest_target *ret)
{
	const struct generation *gen = NULL;
	const struct conduit *c = agent_conduit(t->agent, number, &gen);

	if (!c || (!syn && c->verdict != LIVE_ASK))
		return false;
	attest_target_fill(t, c, gen, (c->flags & CONDUIT_OUT) != 0, ret);
	return ret->node != NULL;
}

static void on_reply(void *user, const struct peer_reply *reply)
{
	struct running *w = user;
	struct attest_flows *f = w->of;
	struct acceptance judged = {0};
	struct attest_target target;
	struct peer_query query;
	bool done = true;

	w->ticket = 0;
	if (find_target(f->attest, w->number, w->syn, &target)) {
		if (reply->outcome == PEER_ANSWERED) {
			attest_query(&target, &w->key, PEER_ESTABLISHED, &query);
			attest_judge(f->attest, &target, &query, reply, false, &judged);
		}
		record(w, &target, &judged, reply);
		if (w->syn)
			resync(w, &judged, reply);
		else
			done = settle(w, &target, &judged, reply);
	}
	if (done)
		forget(w);
	else
		again_later(f, w);
	pump(f);
}

static void fly(struct attest_flows *f, struct running *w)
{
	struct attest_target target;
	struct peer_query query;

	if (!find_target(f->attest, w->number, w->syn, &target)) {
		forget(w);
		return;
	}
	attest_query(&target, &w->key, PEER_ESTABLISHED, &query);
	attest_ask(f->attest, target.node, &query, on_reply, w, &w->ticket);
}

/* Answers that come at once call it again from below. */
static void pump(struct attest_flows *f)
{
	struct flow_place *p;

	if (f->pumping)
		return;
	f->pumping = true;
	while ((p = flow_queue_next(f->queue, mono_now())) != NULL)
		fly(f, (struct running *)p);
	f->pumping = false;
}

/* --- which ----------------------------------------------------------------------------------- */

/* The far end opened it, or this host: conntrack may have it the wrong way round (R22). */
static bool orient(struct attest *t, const struct ct_flow *f, const struct attest_target *target,
		   struct pending_key *ret)
{
	const struct view_index *view = attest_view(t);
	bool out = target->listener, as_is;

	if (!view)
		return false;
	as_is = view_index_owns(view, target->node, out ? &f->dst : &f->src);
	if (!as_is && !view_index_owns(view, target->node, out ? &f->src : &f->dst))
		return false;
	/* All of it, padding too: it is a key of bytes. */
	memset(ret, 0, sizeof(*ret));
	ret->src = as_is ? f->src : f->dst;
	ret->dst = as_is ? f->dst : f->src;
	ret->sport = as_is ? f->sport : f->dport;
	ret->dport = as_is ? f->dport : f->sport;
	ret->l4proto = f->l4proto;
	ret->hook = out ? NF_INET_LOCAL_OUT : NF_INET_LOCAL_IN;
	return true;
}

static void add(struct attest_flows *f, const struct ct_flow *tuple, uint32_t number, bool syn)
{
	struct attest_target target;
	struct pending_key key;
	struct running *w;

	if ((tuple->l4proto != IPPROTO_TCP && tuple->l4proto != IPPROTO_UDP) ||
	    !find_target(f->attest, number, syn, &target) ||
	    !orient(f->attest, tuple, &target, &key) || map_get(f->by_key, &key, sizeof(key)))
		return;
	w = mem_calloc(1, sizeof(*w));
	if (!w || map_put(f->by_key, &key, sizeof(key), w) < 0) {
		free(w);
		f->overflow = true;
		return;
	}
	*w = (struct running){.of = f, .tuple = *tuple, .number = number, .syn = syn};
	memcpy(&w->key, &key, sizeof(key));
	if (flow_queue_join(f->queue, target.node, &w->place) < 0) {
		(void)map_del(f->by_key, &key, sizeof(key));
		free(w);
		f->overflow = true;
	}
}

void attest_flow(struct attest *t, const struct ct_flow *flow, uint32_t number, bool syn)
{
	if (!t)
		return;
	add(t->flows, flow, number, syn);
	pump(t->flows);
}

static int on_entry(void *user, const struct ct_flow *f)
{
	struct attest_flows *flows = user;
	const struct generation *gen = NULL;
	const struct conduit *c;

	if (!f->mark || f->mark > MARK_CONDUIT_MAX)
		return 0;
	c = agent_conduit(flows->attest->agent, f->mark, &gen);
	if (c && c->verdict == LIVE_ASK)
		add(flows, f, f->mark, false);
	return 0;
}

static bool asks(const struct generation *gen)
{
	for (size_t i = 0; gen && i < gen->conduit_count; i++) {
		if (gen->conduits[i].verdict == LIVE_ASK)
			return true;
	}
	return false;
}

/* Not where it can find nothing: a large flow table takes its time. */
static void scan(struct attest_flows *f)
{
	struct agent *a = f->attest->agent;
	struct computed began = computed_now();
	struct err err = {{0}};
	int64_t apart;

	f->overflow = false;
	f->scans_left--;
	if (a->enforcing && (asks(a->confirmed.gen) || asks(a->candidate.gen)) &&
	    conntrack_dump(a->conntrack, on_entry, f, &err) < 0)
		log_warn("running flows are not asked about: %s", err.text);
	if (f->overflow && f->scans_left == 0)
		f->scans_left = 1;
	/* What others compute meanwhile is none of its price: flows wait for the next one. */
	apart = SCAN_SHARE * (computed_now().ns - began.ns);
	if (apart < (SCAN_APART_MS << f->slower) * ATTEST_NS_PER_MS)
		apart = (SCAN_APART_MS << f->slower) * ATTEST_NS_PER_MS;
	f->next_scan.ns = mono_now().ns + apart;
	pump(f);
}

void attest_flows_again(struct attest *t)
{
	if (!t)
		return;
	t->flows->scans_left = SCANS;
	t->flows->slower = 0;
	scan(t->flows);
}

/*
 * Flows whose conduit went come onto one that asks with their next packet, and until that has a
 * number nobody sees where they belong. Looked for as long as there are any, and twice after;
 * less and less often, for those that nobody vouches for are asked about each time.
 */
static bool wait_for_packets(const struct agent *a)
{
	const struct set_items *s =
		a->applied ? ruleset_find(a->applied, (struct set_ref){.kind = SET_REDERIVE})
			   : NULL;

	return s && s->count > 0;
}

void attest_flows_tick(struct attest_flows *f)
{
	if (f->scans_left < SCANS - 1 && wait_for_packets(f->attest->agent)) {
		f->scans_left = SCANS - 1;
		f->slower += f->slower < SCANS_SLOWER;
	}
	if (f->scans_left && mono_now().ns >= f->next_scan.ns)
		scan(f);
	pump(f);
}

/* --- life ------------------------------------------------------------------------------------ */

struct attest_flows *attest_flows_new(struct attest *t)
{
	struct attest_flows *f = mem_calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->attest = t;
	/* Questions that a process before this one had asked are asked again. */
	f->scans_left = SCANS;
	f->by_key = map_new(FLOW_QUEUE_MAX, NULL);
	f->queue = flow_queue_new();
	if (!f->by_key || !f->queue) {
		attest_flows_free(f);
		return NULL;
	}
	return f;
}

void attest_flows_free(struct attest_flows *f)
{
	struct flow_place *p;

	if (!f)
		return;
	while (f->queue && (p = flow_queue_drain(f->queue)) != NULL) {
		struct running *w = (struct running *)p;

		if (w->ticket && f->attest->agent->peers)
			peers_cancel(f->attest->agent->peers, w->ticket);
		free(w);
	}
	flow_queue_free(f->queue);
	map_free(f->by_key);
	free(f);
}
