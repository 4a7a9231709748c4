/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/questions.h"

#include "agent/attest.h"
#include "agent/lookup.h"
#include "agent/owner.h"
#include "agent/peers.h"
#include "agent/telemetry.h"
#include "agent/workload.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "rules/marks.h"
#include "rules/table.h"

#include <errno.h>
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>

/* Packets whose cgroup is being entered; answered together after one transaction. */
#define WAITING_MAX 1024

struct waiting {
	uint16_t queue;
	uint32_t id;
	bool port; /* has MARK_PORT_ASK for a packet mark, which is nobody else's business */
};

/*
 * Flows whose packet was repeated lately although nothing was entered for it. If it comes again,
 * the sets have no answer (a loopback packet whose receiver is no end of its conduit): repeating it
 * for ever would spend the cgroup's meter, so it is dropped.
 */
#define REPEATED_MAX 64
#define REPEATED_MS  500

struct repeated {
	uint64_t flow;
	struct mono when;
};

/* A port whose listeners disagree is in no list: looking for it again and again finds the same. */
#define LISTENERS_MS 50

struct questions {
	struct owner *owner;
	struct mono listeners_read;
	struct repeated repeated[REPEATED_MAX];
	struct waiting waiting[WAITING_MAX];
	size_t waiting_count;
};

static void tuple_of(const struct queue_packet *p, struct socket_tuple *t)
{
	bool out = p->hook == NF_INET_LOCAL_OUT;

	*t = (struct socket_tuple){
		.l4proto = p->packet.l4proto,
		.local = out ? p->packet.src : p->packet.dst,
		.remote = out ? p->packet.dst : p->packet.src,
		.local_port = out ? p->packet.sport : p->packet.dport,
		.remote_port = out ? p->packet.dport : p->packet.sport,
		.ifindex = out ? p->ifindex_out : p->ifindex_in,
	};
}

static void answer(struct agent *a, const struct queue_packet *p, enum queue_answer what,
		   enum reason reason)
{
	(void)queue_verdict(a->queue, p->queue, p->id, what, false, 0, reason);
	if (what == QUEUE_DROP)
		telemetry_refused(a->telemetry, p, reason);
}

static enum slot slot_in_force(const struct agent *a)
{
	return a->candidate_on ? SLOT_B : SLOT_A;
}

/* Both slots must know the cgroup: the switch between them may come at any packet. */
static int resolve_both(struct agent *a, const struct socket_info *s, struct workload_answer *ret,
			bool *ret_changed)
{
	struct workload_answer other;
	int r;

	r = workloads_resolve(a->workloads, slot_in_force(a), s->cgroup_id, s->uid, ret);
	*ret_changed = r >= 0 && ret->host_changed;
	if (r < 0 || !a->candidate.policy)
		return r;
	if (workloads_resolve(a->workloads, slot_in_force(a) == SLOT_A ? SLOT_B : SLOT_A,
			      s->cgroup_id, s->uid, &other) >= 0)
		*ret_changed |= other.host_changed;
	return r;
}

static void wait_for_element(struct agent *a, const struct queue_packet *p)
{
	struct questions *q = a->questions;

	if (q->waiting_count == WAITING_MAX) {
		answer(a, p, QUEUE_DROP, REASON_QUEUE_FULL);
		return;
	}
	q->waiting[q->waiting_count++] =
		(struct waiting){p->queue, p->id, p->mark == MARK_PORT_ASK};
	a->dirty |= DIRTY_HOST;
}

/* The packet gets the mark that the sets would have given it, had the kernel known the listener. */
static void answer_conduit(struct agent *a, const struct queue_packet *p, int identity)
{
	const struct generation *gen = agent_edition(a)->gen;
	const struct conduit *c = NULL;
	uint32_t mark;

	if (identity < 0) {
		mark = a->mode == MODE_ENFORCE ? 0 : a->shape.unclaimed_mark;
	} else {
		c = lookup_conduit(gen, (uint32_t)identity,
				   p->hook == NF_INET_LOCAL_OUT ? LOOKUP_OUT : LOOKUP_IN,
				   p->hook == NF_INET_LOCAL_OUT ? &p->packet.dst : &p->packet.src,
				   p->packet.l4proto, p->packet.dport);
		mark = c ? c->number : 0;
	}
	if (!mark && a->mode == MODE_OBSERVE)
		mark = a->shape.unclaimed_mark;
	if (!mark)
		answer(a, p, QUEUE_DROP, identity < 0 ? REASON_UNCLAIMED : REASON_NO_RULE);
	else
		(void)queue_verdict(a->queue, p->queue, p->id, QUEUE_REPEAT, true,
				    MARK_VERDICT | mark, c ? REASON_PERMITTED : REASON_UNCLAIMED);
}

static uint64_t flow_hash(const struct queue_packet *p)
{
	const struct packet *k = &p->packet;
	uint8_t key[sizeof(k->src.bytes) * 2 + 6];

	memcpy(key, k->src.bytes, sizeof(k->src.bytes));
	memcpy(key + sizeof(k->src.bytes), k->dst.bytes, sizeof(k->dst.bytes));
	memcpy(key + 32, &k->sport, sizeof(k->sport));
	memcpy(key + 34, &k->dport, sizeof(k->dport));
	key[36] = k->l4proto;
	key[37] = p->hook;
	return hash_bytes(key, sizeof(key));
}

/* Entered since this packet was queued, so the sets can say it now; once. */
static void repeat_once(struct agent *a, const struct queue_packet *p)
{
	uint64_t flow = flow_hash(p);
	struct repeated *r = &a->questions->repeated[flow % REPEATED_MAX];
	struct mono now = mono_now();
	bool again = r->flow == flow && mono_ms_since(r->when, now) < REPEATED_MS;

	*r = (struct repeated){flow, now};
	if (again)
		answer(a, p, QUEUE_DROP, REASON_RECEIVER_CHANGED);
	else
		answer(a, p, QUEUE_REPEAT, REASON_PERMITTED);
}

/* The kernel may answer with a listener on the source port of a connection that is gone. */
static bool is_owner(const struct queue_packet *p, const struct socket_info *s)
{
	return p->hook != NF_INET_LOCAL_OUT || s->state != SOCKET_LISTEN;
}

static void on_unknown(struct agent *a, const struct queue_packet *p)
{
	struct workload_answer w = {0};
	struct socket_tuple t;
	struct socket_info s;
	bool changed = false;

	tuple_of(p, &t);
	if (p->unsupported || owner_find(a->questions->owner, &t, &s) < 0 || !is_owner(p, &s)) {
		answer(a, p, QUEUE_DROP, REASON_NO_SOCKET);
		return;
	}
	if (resolve_both(a, &s, &w, &changed) < 0 || w.what == WORKLOAD_GONE) {
		answer(a, p, QUEUE_DROP, REASON_UNKNOWN_CGROUP);
		return;
	}
	if (w.what == WORKLOAD_AMBIGUOUS) {
		answer(a, p, QUEUE_DROP, REASON_AMBIGUOUS);
		return;
	}
	/* Another packet of this burst may have changed the host: its element is not in yet. */
	if (changed || ((a->dirty & DIRTY_HOST) && a->questions->waiting_count && w.enterable))
		wait_for_element(a, p);
	else if (p->hook == NF_INET_LOCAL_IN && (w.ask_listener || w.has_uid || !w.enterable))
		answer_conduit(a, p, w.what == WORKLOAD_IDENTITY ? w.identity : -1);
	else if (w.enterable)
		repeat_once(a, p);
	else
		answer(a, p, QUEUE_DROP, REASON_UNKNOWN_CGROUP);
}

/* The list of listeners has changed: the sets can judge this packet as soon as they have it. */
static bool listeners_changed(struct agent *a)
{
	struct questions *q = a->questions;

	if (q->listeners_read.ns && mono_ms_since(q->listeners_read, mono_now()) < LISTENERS_MS)
		return false;
	q->listeners_read = mono_now();
	return workloads_listeners(a->workloads) > 0;
}

/*
 * The kernel found no full socket for this SYN: a closed port, or a TIME_WAIT socket behind which
 * somebody listens whom the list does not have yet (R21). Whose he is, the list will say; a port
 * that has no listener answers for itself, as nobody's.
 */
static void on_port(struct agent *a, const struct queue_packet *p)
{
	struct socket_tuple t = {.l4proto = p->packet.l4proto,
				 .local = p->packet.dst,
				 .local_port = p->packet.dport,
				 .ifindex = p->ifindex_in};
	struct workload_answer w = {0};
	struct socket_info s;
	bool changed = false;
	int r = owner_find(a->questions->owner, &t, &s);

	if (r == -ENOENT)
		answer_conduit(a, p, -1);
	else if (r < 0)
		answer(a, p, QUEUE_DROP, REASON_NO_SOCKET);
	else if (resolve_both(a, &s, &w, &changed) < 0 || w.what == WORKLOAD_GONE)
		answer(a, p, QUEUE_DROP, REASON_UNKNOWN_CGROUP);
	else if (w.what == WORKLOAD_AMBIGUOUS)
		answer(a, p, QUEUE_DROP, REASON_AMBIGUOUS);
	else if (changed || ((a->dirty & DIRTY_HOST) && a->questions->waiting_count) ||
		 (w.what == WORKLOAD_IDENTITY && listeners_changed(a)))
		wait_for_element(a, p);
	else
		answer_conduit(a, p, w.what == WORKLOAD_IDENTITY ? w.identity : -1);
}

/* Held for the far host's word; before that part runs, and at the end, nobody can ask. */
static void on_held(struct agent *a, const struct queue_packet *p)
{
	if (a->attest)
		attest_packet(a->attest, p);
	else
		(void)queue_verdict(a->queue, p->queue, p->id, QUEUE_DROP, false, 0,
				    REASON_ATTEST_UNAVAILABLE);
}

static void on_packet(void *user, const struct queue_packet *p)
{
	struct agent *a = user;

	if (p->queue == a->config.queue_first && p->mark == MARK_PORT_ASK && !p->unsupported &&
	    p->hook == NF_INET_LOCAL_IN)
		on_port(a, p);
	else if (p->queue == a->config.queue_first)
		on_unknown(a, p);
	else
		on_held(a, p);
}

static void on_burst_end(void *user)
{
	struct agent *a = user;
	struct questions *q = a->questions;
	struct err err = {{0}};
	int r;

	peers_flush(a->peers);
	if (!q->waiting_count)
		return;
	r = agent_reconcile_now(a, DIRTY_HOST, &err);
	for (size_t i = 0; i < q->waiting_count; i++)
		(void)queue_verdict(a->queue, q->waiting[i].queue, q->waiting[i].id,
				    r < 0 ? QUEUE_DROP : QUEUE_REPEAT, q->waiting[i].port, 0,
				    r < 0 ? REASON_UNKNOWN_CGROUP : REASON_PERMITTED);
	q->waiting_count = 0;
}

static const struct queue_handler handler = {.packet = on_packet, .burst_end = on_burst_end};

/* Unknown cgroups, attestation, datagrams. */
#define QUESTION_QUEUES (TABLE_QUEUE_DATAGRAM + 1)

int questions_open(struct agent *a, struct err *err)
{
	struct queue_config config = {
		.first = a->config.queue_first,
		.count = QUESTION_QUEUES,
		.max_pending = a->config.queue_max_pending,
	};
	int r;

	a->questions = mem_calloc(1, sizeof(*a->questions));
	if (!a->questions)
		return err_set(err, ENOMEM, "out of memory");
	r = owner_open(&a->questions->owner, err);
	if (r < 0 || a->shape.queue == QUEUE_NONE)
		return r;
	a->question_handler = handler;
	a->question_handler.user = a;
	return queue_open(&config, a->event, &a->question_handler, &a->queue, err);
}

void questions_close(struct agent *a)
{
	queue_free(a->queue);
	a->queue = NULL;
	if (a->questions)
		owner_free(a->questions->owner);
	free(a->questions);
	a->questions = NULL;
}
