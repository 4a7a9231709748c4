/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The last decided questions, small: an answer with its texts is three kilobytes, and of most
 * nobody ever asks. Who was vouched for is kept apart from the rest, so that a flood of forged
 * packets does not take the words from the records of those who are let in.
 */
#include "agent/attest_parts.h"
#include "agent/container.h"
#include "base/mem.h"
#include "base/text.h"

#include <linux/netfilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECALL_MAX 256 /* of each kind: half a megabyte in all */
#define RECALL_MS  30000

struct recalled {
	struct pending_key key;
	struct mono when;
	uint64_t held_us, rtt_us;
	uint32_t number;
	enum reason reason;
	char status[32], node[NODE_NAME_MAX], check[192], identity[256];
	/* Of the answer. */
	bool answered, has_sha256, has_fsverity;
	uint8_t evidence;
	uint16_t answer_status;
	uint32_t match, uid, evidence_age_ms;
	uint64_t cgroup_id, cookie, view_sequence;
	char unit[128], container_id[CONTAINER_ID_MAX], pod_uid[CONTAINER_POD_MAX];
	uint8_t sha256[PEER_DIGEST_LEN], fsverity[PEER_DIGEST_LEN];
};

enum { RING_VOUCHED, RING_OTHERS, RINGS };

struct ring {
	struct recalled *at;
	size_t next;
};

struct recall {
	struct agent *agent;
	struct ring rings[RINGS];
	struct attest_record out;
	struct peer_answer answer;
};

struct recall *recall_new(struct agent *a)
{
	struct recall *r = mem_calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->agent = a;
	for (size_t i = 0; i < RINGS; i++) {
		r->rings[i].at = mem_calloc(RECALL_MAX, sizeof(*r->rings[i].at));
		if (!r->rings[i].at) {
			recall_free(r);
			return NULL;
		}
	}
	return r;
}

void recall_free(struct recall *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < RINGS; i++)
		free(r->rings[i].at);
	free(r);
}

/* As much as fits: not snprintf(), this is on the path of every connection. */
static void copy(char *to, size_t size, const char *from)
{
	size_t len = strnlen(from, size - 1);

	memcpy(to, from, len);
	to[len] = '\0';
}

/* It goes to logs and screens: what is not plain text is left out. */
static void copy_plain(char *to, size_t size, const char *from)
{
	copy(to, size, from);
	for (const char *p = to; *p; p++) {
		if (*p <= ' ' || *p > '~')
			to[0] = '\0';
	}
}

static void keep_answer(struct recalled *k, const struct peer_answer *a)
{
	k->answered = a != NULL;
	if (!a)
		return;
	k->answer_status = a->status;
	k->match = a->match;
	k->uid = a->uid;
	k->cgroup_id = a->cgroup_id;
	k->cookie = a->cookie;
	k->evidence = a->evidence;
	k->evidence_age_ms = a->evidence_age_ms;
	k->view_sequence = a->view_sequence;
	k->has_sha256 = a->has_sha256;
	k->has_fsverity = a->has_fsverity;
	memcpy(k->sha256, a->sha256, sizeof(k->sha256));
	memcpy(k->fsverity, a->fsverity, sizeof(k->fsverity));
	copy_plain(k->unit, sizeof(k->unit), a->unit);
	/* Half an id names nothing. */
	copy(k->container_id, sizeof(k->container_id),
	     container_id_ok(a->container_id) ? a->container_id : "");
	if (!container_pod_uid(a->pod_uid, strlen(a->pod_uid), k->pod_uid))
		k->pod_uid[0] = '\0';
}

void recall_add(struct recall *r, const struct recall_entry *e)
{
	struct ring *ring = &r->rings[e->reason == REASON_PERMITTED ? RING_VOUCHED : RING_OTHERS];
	struct recalled *k = &ring->at[ring->next++ % RECALL_MAX];

	k->key = *e->key;
	k->when = e->now;
	k->held_us = (uint64_t)(e->now.ns - e->since.ns) / 1000;
	k->rtt_us = e->rtt_us;
	k->number = e->number;
	k->reason = e->reason;
	copy(k->status, sizeof(k->status), e->status);
	copy(k->node, sizeof(k->node), e->node);
	copy(k->check, sizeof(k->check), e->check);
	copy(k->identity, sizeof(k->identity), e->identity);
	keep_answer(k, e->answer);
}

static void answer_out(struct recall *r, const struct recalled *k)
{
	struct peer_answer *a = &r->answer;

	a->status = k->answer_status;
	a->match = k->match;
	a->uid = k->uid;
	a->cgroup_id = k->cgroup_id;
	a->cookie = k->cookie;
	a->evidence = k->evidence;
	a->evidence_age_ms = k->evidence_age_ms;
	a->view_sequence = k->view_sequence;
	a->has_sha256 = k->has_sha256;
	a->has_fsverity = k->has_fsverity;
	memcpy(a->sha256, k->sha256, sizeof(a->sha256));
	memcpy(a->fsverity, k->fsverity, sizeof(a->fsverity));
	memcpy(a->unit, k->unit, sizeof(k->unit));
	memcpy(a->container_id, k->container_id, sizeof(k->container_id));
	memcpy(a->pod_uid, k->pod_uid, sizeof(k->pod_uid));
}

static const struct attest_record *out(struct recall *r, const struct recalled *k)
{
	r->out = (struct attest_record){
		.packet = {.src = k->key.src,
			   .dst = k->key.dst,
			   .sport = k->key.sport,
			   .dport = k->key.dport,
			   .l4proto = k->key.l4proto,
			   .tcp_seq = k->key.isn},
		.number = k->number,
		.reason = k->reason,
		.status = k->status,
		.asked = k->node,
		.check = k->check,
		.answer = k->answered ? &r->answer : NULL,
		.held_us = k->held_us,
		.rtt_us = k->rtt_us,
	};
	copy(r->out.identity, sizeof(r->out.identity), k->identity);
	if (k->answered)
		answer_out(r, k);
	return &r->out;
}

/* The i-th newest, NULL when there is none or it is too old to be meant. */
static const struct recalled *newest(const struct ring *r, size_t i, struct mono now)
{
	const struct recalled *k;

	if (i >= RECALL_MAX || i >= r->next)
		return NULL;
	k = &r->at[(r->next - 1 - i) % RECALL_MAX];
	return mono_ms_since(k->when, now) < RECALL_MS ? k : NULL;
}

static bool is_flow(const struct pending_key *k, const struct packet *p)
{
	return k->l4proto == p->l4proto && k->sport == p->sport && k->dport == p->dport &&
	       addr_eq(&k->src, &p->src) && addr_eq(&k->dst, &p->dst);
}

/* What is looked for: a flow, or whoever it is between. */
struct wanted {
	const struct packet *flow;
	const char *from, *to;
	uint16_t dport;
};

/* The local end is that of the conduit that asked. */
static bool is_between(const struct agent *a, const struct recalled *k, const struct wanted *w)
{
	bool listener = k->key.hook == NF_INET_LOCAL_OUT;
	const struct generation *gen = NULL;
	const struct conduit *c =
		k->key.dport == w->dport ? agent_conduit(a, k->number, &gen) : NULL;
	const char *local;

	if (!c)
		return false;
	local = gen->parties[listener ? c->from : c->to].identity;
	return local && str_eq(local, listener ? w->from : w->to) &&
	       str_eq(k->identity, listener ? w->to : w->from);
}

static const struct recalled *newest_like(const struct recall *r, const struct ring *ring,
					  const struct wanted *w, struct mono now)
{
	const struct recalled *k;

	for (size_t i = 0; (k = newest(ring, i, now)); i++) {
		if (w->flow ? is_flow(&k->key, w->flow) : is_between(r->agent, k, w))
			return k;
	}
	return NULL;
}

static const struct attest_record *recall(struct recall *r, const struct wanted *w)
{
	const struct recalled *best = NULL;
	struct mono now = mono_now();

	for (size_t i = 0; i < RINGS; i++) {
		const struct recalled *k = newest_like(r, &r->rings[i], w, now);

		if (k && (!best || k->when.ns > best->when.ns))
			best = k;
	}
	return best ? out(r, best) : NULL;
}

const struct attest_record *attest_recall(struct attest *t, const struct packet *flow)
{
	struct wanted w = {.flow = flow};

	return t ? recall(t->recall, &w) : NULL;
}

const struct attest_record *attest_recall_identity(struct attest *t, const char *from_path,
						   const char *to_path, uint16_t dport)
{
	struct wanted w = {.from = from_path, .to = to_path, .dport = dport};

	return t ? recall(t->recall, &w) : NULL;
}
