/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * `attest ping`: a question asked for people, over the same stream and judged by the same checks as
 * that of a held connection. Nothing is released, marked or remembered by it.
 */
#include "agent/attest_parts.h"
#include "agent/lookup.h"
#include "agent/node_key.h"
#include "agent/owner.h"
#include "agent/workload.h"
#include "base/mem.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PINGS_MAX      16
#define TUPLE_TEXT_MAX 256
#define PING_BUDGET_MS 3000 /* nobody is held by it: a first connection may take its time */
#define NO_PORT        1    /* of a tuple that nobody has */

struct ping {
	struct attest *attest;
	struct ping *next;
	char node[NODE_NAME_MAX];
	char tuple[TUPLE_TEXT_MAX]; /* "" = none */
	struct pending_key key;
	uint64_t ticket;
	attest_pinged done;
	void *user;
};

struct attest_pings {
	struct ping *first;
	unsigned count;
};

/* --- tuples ---------------------------------------------------------------------------------- */

/* "10.0.0.5:40000", "[fd00::5]:40000" */
static int parse_end(const char *text, size_t len, struct addr *ret_addr, uint16_t *ret_port)
{
	char copy[ADDR_TEXT_MAX + 8], *colon, *host = copy;
	uint64_t port;

	if (len >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	colon = strrchr(copy, ':');
	if (!colon)
		return -EINVAL;
	*colon = '\0';
	if (host[0] == '[' && colon > copy && colon[-1] == ']') {
		host++;
		colon[-1] = '\0';
	}
	if (addr_parse(host, ret_addr) < 0 || text_u64(colon + 1, 1, UINT16_MAX, &port) < 0)
		return -EINVAL;
	*ret_port = (uint16_t)port;
	return 0;
}

/* "tcp 10.0.0.5:40000 > 10.0.0.9:8443"; without a protocol it is tcp. */
static int parse_tuple(const char *text, struct pending_key *ret, struct err *err)
{
	struct pending_key k = {.l4proto = IPPROTO_TCP};
	const char *from = text, *to, *end;

	if (strncmp(text, "tcp ", 4) == 0 || strncmp(text, "udp ", 4) == 0) {
		k.l4proto = text[0] == 'u' ? IPPROTO_UDP : IPPROTO_TCP;
		from = text + 4;
	}
	end = strchr(from, '>');
	to = end ? end + 1 + strspn(end + 1, " ") : NULL;
	while (end && end > from && end[-1] == ' ')
		end--;
	if (!to || parse_end(from, (size_t)(end - from), &k.src, &k.sport) < 0 ||
	    parse_end(to, strlen(to), &k.dst, &k.dport) < 0 || k.src.family != k.dst.family)
		return err_set(err, EINVAL,
			       "the tuple cannot be read; 'tcp 10.0.0.5:40000 > 10.0.0.9:8443' "
			       "would be right");
	*ret = k;
	return 0;
}

/* Which end is here decides who is asked about: the caller there, or who listens there. */
static int direct(const struct attest *t, struct pending_key *k, struct err *err)
{
	const struct workloads *w = t->agent->workloads;

	if (workloads_address_is_own(w, &k->dst))
		k->hook = NF_INET_LOCAL_IN;
	else if (workloads_address_is_own(w, &k->src))
		k->hook = NF_INET_LOCAL_OUT;
	else
		return err_set(err, EINVAL,
			       "neither end of the tuple is an address of this node; ask on the "
			       "node that is called");
	return 0;
}

/* Nobody's: that it is answered at all is what is to be known. */
static void nobodys_tuple(struct attest *t, const struct view_node *n, struct pending_key *ret)
{
	const struct host *h = workloads_host(t->agent->workloads, SLOT_A);

	*ret = (struct pending_key){.l4proto = IPPROTO_TCP,
				    .hook = NF_INET_LOCAL_IN,
				    .sport = NO_PORT,
				    .dport = NO_PORT};
	if (n && n->address_count)
		ret->src = n->addresses[0];
	for (size_t i = 0; h && i < h->address_count; i++) {
		if (h->addresses[i].family == ret->src.family &&
		    !addr_is_loopback(&h->addresses[i])) {
			ret->dst = h->addresses[i];
			return;
		}
	}
	/* Without one of that family it is refused over there, which is an answer, too. */
	ret->dst = ret->src;
}

/* --- result ---------------------------------------------------------------------------------- */

/* ok: 1, 0, or -1 for a check that was not made. */
__attribute__((format(printf, 4, 5))) static void add_check(json_t *checks, const char *name,
							    int ok, const char *fmt, ...)
{
	char detail[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	(void)json_array_append_new(checks, json_pack("{s:s,s:o,s:s}", "name", name, "ok",
						      ok < 0 ? json_null() : json_boolean(ok),
						      "detail", detail));
}

static void add_certificate(const struct ping *p, const struct peer_reply *r, json_t *checks)
{
	const struct agent *a = p->attest->agent;
	const struct svid *s = a->node_key ? node_key_svid(a->node_key) : NULL;
	char until[RFC3339_TEXT_MAX];

	if (r->outcome == PEER_NO_SVID || !s)
		add_check(checks, "certificate", 0, "%s",
			  r->detail && r->detail[0] ? r->detail
						    : "this node has no certificate to ask with");
	else
		add_check(checks, "certificate", 1, "ours is %.200s, valid until %s", s->id,
			  rfc3339_format(until, s->not_after));
}

static void add_endpoint(const struct ping *p, const struct peer_reply *r, json_t *checks)
{
	const struct view_index *view = attest_view(p->attest);
	const struct view_node *n = view ? view_index_node(view, p->node) : NULL;
	char text[ADDR_TEXT_MAX];

	if (!n)
		add_check(checks, "endpoint", 0, "the mapping knows no node %s", p->node);
	else if (!n->has_attest || r->outcome == PEER_NO_AGENT)
		add_check(checks, "endpoint", 0,
			  "the mapping gives no endpoint of %s: it runs no agent that could vouch",
			  p->node);
	else
		add_check(checks, "endpoint", 1, "%s at %s port %u by mapping %llu", p->node,
			  addr_format(text, &n->attest_address), n->attest_port,
			  (unsigned long long)p->attest->agent->view->sequence);
}

static const char *reply_detail(const struct peer_reply *r, const char *otherwise)
{
	return r->detail && r->detail[0] ? r->detail : otherwise;
}

static void add_stream(const struct peer_reply *r, json_t *checks)
{
	switch (r->outcome) {
	case PEER_ANSWERED:
		add_check(checks, "stream", 1, "TLS 1.3, %s", PEER_ALPN);
		return;
	case PEER_TIMED_OUT:
		add_check(checks, "stream", 0, "%s", reply_detail(r, "no answer in time"));
		return;
	case PEER_UNREACHABLE:
		add_check(checks, "stream", 0, "%s", reply_detail(r, "cannot be reached"));
		return;
	case PEER_OVERLOADED:
		add_check(checks, "stream", 0, "%s", reply_detail(r, "too many questions"));
		return;
	case PEER_NO_AGENT:
	case PEER_NO_SVID:
		break;
	}
	add_check(checks, "stream", -1, "not reached");
}

static void add_judged(const struct ping *p, const struct acceptance *a, json_t *checks)
{
	/* Without a tuple the answer is about nobody. */
	size_t count = p->tuple[0] ? ACCEPT_CHECKS : ACCEPT_STATUS;

	for (size_t i = 0; i < count; i++) {
		const char *name = acceptance_name((enum acceptance_check)i);

		switch (a->checks[i].result) {
		case CHECK_PASSED:
			add_check(checks, name, 1, "%s", a->checks[i].detail);
			break;
		case CHECK_FAILED:
			add_check(checks, name, 0, "%s", a->checks[i].detail);
			break;
		case CHECK_NOT_REACHED:
			add_check(checks, name, -1, "not reached");
			break;
		case CHECK_NOT_ASKED:
			if (i == ACCEPT_KEY)
				add_check(checks, name, 1, "no key is pinned for %s", p->node);
			else
				add_check(checks, name, -1, "the rule does not ask for it");
			break;
		}
	}
}

static void add_answer(const struct ping *p, const struct peer_answer *a, json_t *checks)
{
	if (p->tuple[0])
		return;
	add_check(checks, "answer", a->status < PEER_STATUS_COUNT && a->status != PEER_INTERNAL,
		  "%s: nothing was asked about, and the agent answers",
		  peer_status_name(a->status));
}

/* --- whose connection it would be ------------------------------------------------------------ */

/* This host's end of the tuple: index in the policy in force, or -1. */
static int local_identity(const struct attest *t, const struct pending_key *k)
{
	CLEANUP(owner_freep) struct owner *owner = NULL;
	bool out = k->hook == NF_INET_LOCAL_OUT;
	struct socket_tuple tuple = {
		.l4proto = k->l4proto,
		.local = out ? k->src : k->dst,
		.remote = out ? k->dst : k->src,
		.local_port = out ? k->sport : k->dport,
		.remote_port = out ? k->dport : k->sport,
	};
	struct workload_answer w;
	struct socket_info s;

	if (owner_open(&owner, NULL) < 0 || owner_find(owner, &tuple, &s) < 0 ||
	    workloads_resolve(t->agent->workloads,
			      agent_edition(t->agent) == &t->agent->candidate ? SLOT_B : SLOT_A,
			      s.cgroup_id, s.uid, &w) < 0)
		return -1;
	return w.what == WORKLOAD_IDENTITY ? w.identity : -1;
}

static void find_target(const struct attest *t, const struct ping *p, struct attest_target *ret)
{
	const struct edition *e = agent_edition(t->agent);
	const struct pending_key *k = &p->key;
	bool out = k->hook == NF_INET_LOCAL_OUT;
	int identity = p->tuple[0] ? local_identity(t, k) : -1;
	const struct conduit *c = NULL;

	if (identity >= 0)
		c = lookup_conduit(e->gen, (uint32_t)identity, out ? LOOKUP_OUT : LOOKUP_IN,
				   out ? &k->dst : &k->src, k->l4proto, k->dport);
	*ret = (struct attest_target){
		.conduit = c, .gen = e->gen, .edition = e, .node = p->node, .listener = out};
}

/* --- asking ---------------------------------------------------------------------------------- */

static void ping_end(struct ping *p)
{
	struct attest_pings *all = p->attest->pings;
	struct ping **at = &all->first;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	all->count--;
	free(p);
}

#define PING_FLAGS (PEER_ESTABLISHED | PEER_WANT_EVIDENCE)

static void add_reply(struct ping *p, const struct peer_reply *r, json_t *checks)
{
	struct attest *t = p->attest;
	struct attest_target target;
	struct acceptance judged;
	struct peer_query query;

	add_certificate(p, r, checks);
	if (r->outcome != PEER_NO_SVID)
		add_endpoint(p, r, checks);
	add_stream(r, checks);
	if (r->outcome != PEER_ANSWERED)
		return;
	find_target(t, p, &target);
	attest_query(&target, &p->key, PING_FLAGS, &query);
	attest_judge(t, &target, &query, r, true, &judged);
	add_judged(p, &judged, checks);
	add_answer(p, r->answer, checks);
}

static void on_reply(void *user, const struct peer_reply *r)
{
	struct ping *p = user;
	json_t *checks = json_array(), *result = NULL;
	attest_pinged done = p->done;
	void *whose = p->user;

	if (checks) {
		add_reply(p, r, checks);
		result = json_pack("{s:i,s:s,s:o,s:o}", "version", 1, "node", p->node, "checks",
				   checks, "rtt_us",
				   r->outcome == PEER_ANSWERED ? json_integer((json_int_t)r->rtt_us)
							       : json_null());
	}
	if (result && p->tuple[0])
		(void)json_object_set_new(result, "tuple", json_string(p->tuple));
	ping_end(p);
	done(whose, result);
}

static int prepare(struct attest *t, struct ping *p, const char *tuple, struct err *err)
{
	const struct view_index *view = attest_view(t);
	int r;

	if (!tuple) {
		nobodys_tuple(t, view ? view_index_node(view, p->node) : NULL, &p->key);
		return 0;
	}
	if (strlen(tuple) >= sizeof(p->tuple))
		return err_set(err, EINVAL, "the tuple is too long to be one");
	(void)snprintf(p->tuple, sizeof(p->tuple), "%s", tuple);
	r = parse_tuple(tuple, &p->key, err);
	return r < 0 ? r : direct(t, &p->key, err);
}

int attest_ping(struct attest *t, const char *node, const char *tuple, attest_pinged done,
		void *user, struct err *err)
{
	struct attest_target target;
	struct peer_query query;
	struct ping *p;
	int r;

	if (!t)
		return err_set(err, EOPNOTSUPP, "attestation does not run on this node");
	if (!node_name_ok(node))
		return err_set(err, EINVAL, "that is no name of a node");
	if (!t->pings)
		t->pings = mem_calloc(1, sizeof(*t->pings));
	if (t->pings && t->pings->count >= PINGS_MAX)
		return err_set(err, EBUSY, "%d pings are on their way already", PINGS_MAX);
	p = t->pings ? mem_calloc(1, sizeof(*p)) : NULL;
	if (!p)
		return err_set(err, ENOMEM, "out of memory");
	*p = (struct ping){.attest = t, .done = done, .user = user, .next = t->pings->first};
	(void)snprintf(p->node, sizeof(p->node), "%s", node);
	t->pings->first = p;
	t->pings->count++;
	r = prepare(t, p, tuple, err);
	if (r < 0) {
		ping_end(p);
		return r;
	}
	find_target(t, p, &target);
	attest_query(&target, &p->key, PING_FLAGS, &query);
	query.budget_ms = PING_BUDGET_MS;
	attest_ask(t, p->node, &query, on_reply, p, &p->ticket);
	return 0;
}

/* Whoever asked gets its answer, which is none: it owns what it waits with. */
void attest_pings_free(struct attest *t)
{
	while (t->pings && t->pings->first) {
		struct ping *p = t->pings->first;
		attest_pinged done = p->done;
		void *whose = p->user;

		if (p->ticket && t->agent->peers)
			peers_cancel(t->agent->peers, p->ticket);
		ping_end(p);
		done(whose, NULL);
	}
	free(t->pings);
	t->pings = NULL;
}
