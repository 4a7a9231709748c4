/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/vouch.h"

#include "agent/evidence.h"
#include "agent/lookup.h"
#include "agent/vouch_asker.h"
#include "agent/vouch_socket.h"
#include "agent/workload.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/marks.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PENDING_MAX     1024 /* answers that wait for evidence; more are BUSY */
#define PLACE_NAMES_MAX 4096
#define REFUSAL_MAX     256
/* Reading the sockets of one port costs 0.1 ms or more, whoever asks. */
#define DUMPS_PER_SECOND 500
/*
 * What one asking node may have of all that. A node that was taken over asks about one connection
 * without end, and the others' are to be measured nevertheless.
 */
#define DUMPS_PER_ASKER    200
#define PENDING_PER_ASKER  256
#define PENDING_PER_SOCKET 4
#define ASKER_SLOTS        64 /* by hash: two nodes may share one */
#define RIVALS_MAX         64

/* What a cgroup id is called. Ids are not used again and cgroups are not renamed. */
struct place_names {
	char unit[PEER_TEXT_MAX + 1], container_id[PEER_TEXT_MAX + 1], pod_uid[PEER_TEXT_MAX + 1];
};

/* An answer that waits for evidence. */
struct pending {
	struct vouch *vouch;
	struct pending *next, *previous;
	struct peer_answer answer;
	char *identity; /* path */
	char asker[NODE_NAME_MAX];
	vouch_done done;
	void *user;
};

struct vouch {
	struct agent *agent;
	struct owner *owner;
	struct asker_index *askers;
	struct map *names; /* cgroup id -> struct place_names */
	struct pending *pending;
	size_t pending_count;
	struct mono second; /* in which these were made: */
	uint32_t dumps, dumps_of[ASKER_SLOTS];
	char refusal[REFUSAL_MAX];
};

/* Everything of one question. */
struct inquiry {
	struct vouch *v;
	const struct edition *edition;
	enum slot slot;
	const char *asker;
	const struct peer_query *query;
	const struct addr *far; /* the asking node's end, as it is on the wire */
	struct vouch_socket found;
	const struct local_identity *local;
	struct peer_answer *answer;
};

int vouch_open(struct agent *a, struct vouch **ret, struct err *err)
{
	struct vouch *v = mem_calloc(1, sizeof(*v));
	int r;

	if (!v)
		return err_set(err, ENOMEM, "answers to peers: out of memory");
	v->agent = a;
	v->names = map_new(PLACE_NAMES_MAX, free);
	v->askers = asker_index_new();
	r = v->names && v->askers ? owner_open(&v->owner, err)
				  : err_set(err, ENOMEM, "answers to peers: out of memory");
	if (r < 0) {
		vouch_free(v);
		return r;
	}
	*ret = v;
	return 0;
}

static void pending_free(struct pending *p)
{
	struct vouch *v = p->vouch;

	if (p->next)
		p->next->previous = p->previous;
	if (p->previous)
		p->previous->next = p->next;
	else
		v->pending = p->next;
	v->pending_count--;
	free(p->identity);
	free(p);
}

void vouch_free(struct vouch *v)
{
	if (!v)
		return;
	while (v->pending) {
		evidence_cancel(v->agent->evidence, v->pending);
		pending_free(v->pending);
	}
	owner_free(v->owner);
	asker_index_free(v->askers);
	map_free(v->names);
	free(v);
}

const char *vouch_last_refusal(const struct vouch *v)
{
	return v ? v->refusal : "";
}

__attribute__((format(printf, 3, 4))) static enum peer_status
refuse(struct vouch *v, enum peer_status status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(v->refusal, sizeof(v->refusal), fmt, ap);
	va_end(ap);
	return status;
}

/* --- who may ask, and about what ------------------------------------------------------------- */

static bool address_is_mine(const struct agent *a, const struct addr *addr)
{
	if (addr_is_loopback(addr))
		return false;
	if (workloads_address_is_own(a->workloads, addr))
		return true;
	/* One that a router in front translates to us: a placement's, not an interface's. */
	for (size_t i = 0; i < a->view->placed_count; i++) {
		const struct view_placed *p = &a->view->placed[i];

		for (size_t k = 0; k < p->address_count; k++)
			if (addr_eq(&p->addresses[k], addr))
				return true;
	}
	return false;
}

/* -1 = no further address to try. */
static const struct addr *candidate(const struct peer_query *q, size_t i)
{
	if (i == 0)
		return &q->dst;
	if ((q->flags & (PEER_DNAT_OK | PEER_LISTENER)) != PEER_DNAT_OK || i > q->alt_dst_count ||
	    i > PEER_ALT_DST_MAX)
		return NULL;
	return &q->alt_dst[i - 1];
}

/*
 * Whether policy has anybody here whom somebody at that address may call at this port. A node that
 * was taken over must not learn from us what else listens here: port by port, there is no
 * difference between what is not for it and what is not there.
 */
static bool may_be_called(const struct inquiry *q, const struct addr *far, uint16_t port)
{
	const struct generation *g = q->edition->gen;

	for (size_t i = 0; i < g->local_count; i++)
		if (lookup_conduit(g, g->locals[i].index, LOOKUP_IN, far, q->query->l4proto, port))
			return true;
	return false;
}

static enum peer_status refuse_port(struct inquiry *q, const struct addr *far, uint16_t port)
{
	char text[ADDR_TEXT_MAX];

	return refuse(q->v, PEER_NO_SOCKET, "policy lets nobody at %s call port %u here",
		      addr_format(text, far), port);
}

static bool asks_about_listener(const struct inquiry *q)
{
	return (q->query->flags & PEER_LISTENER) != 0;
}

/*
 * Before the socket table is looked at, so that the time tells nothing either. Of a connection that
 * stands the port is known behind NAT only, below.
 */
static enum peer_status look_up(struct inquiry *q, const struct addr *dst, const struct addr *mine)
{
	struct vouch *v = q->v;
	bool established = (q->query->flags & PEER_ESTABLISHED) != 0;
	uint16_t port = q->query->dport;
	enum peer_status status;

	if (asks_about_listener(q) && !established && !may_be_called(q, q->far, port))
		return refuse_port(q, q->far, port);
	status = vouch_socket_find(v->owner, v->agent->conntrack, q->query, dst,
				   workloads_interface_of(v->agent->workloads, mine), &q->found);
	if (status != PEER_OK)
		return refuse(v, status, "%s", q->found.refusal);
	port = q->found.socket.tuple.local_port;
	if (asks_about_listener(q) && established && !may_be_called(q, q->far, port))
		return refuse_port(q, q->far, port);
	return PEER_OK;
}

/*
 * The asking node is told about nothing but traffic with itself (R46). To questions about others it
 * gets the answer that a tuple without a socket gets, before anything was looked up: neither the
 * status nor the time tells it what runs here or whom this host talks to.
 */
static enum peer_status find_socket(struct inquiry *q)
{
	struct vouch *v = q->v;
	bool listener = asks_about_listener(q);
	const struct addr *mine = listener ? &q->query->dst : &q->query->src;
	enum peer_status status = PEER_NO_SOCKET, first = PEER_OK;
	const struct addr *dst;

	for (size_t i = 0; (dst = candidate(q->query, i)) != NULL; i++) {
		const struct addr *far = listener ? &q->query->src : dst;
		char text[ADDR_TEXT_MAX];
		int r = asker_owns(v->askers, v->agent->view, q->edition, q->asker, far);

		if (r < 0)
			return refuse(v, PEER_INTERNAL, "out of memory");
		if (r == 0 || workloads_address_is_own(v->agent->workloads, far))
			status = refuse(v, PEER_NO_SOCKET, "%s is no address of node '%s' here",
					addr_format(text, far), q->asker);
		else if (!address_is_mine(v->agent, mine))
			return refuse(v, PEER_NOT_MY_ADDRESS, "%s is no address of this node",
				      addr_format(text, mine));
		else {
			q->far = far;
			status = look_up(q, dst, mine);
		}
		if (status == PEER_OK)
			return PEER_OK;
		/* The nearest miss is told: a socket in another state says more than none. */
		if (first == PEER_OK || first == PEER_NO_SOCKET)
			first = status;
	}
	return first == PEER_OK ? status : first;
}

/* --- whose it is ----------------------------------------------------------------------------- */

static const struct local_identity *local_of(const struct generation *g, uint32_t index)
{
	for (size_t i = 0; i < g->local_count; i++)
		if (g->locals[i].index == index)
			return &g->locals[i];
	return NULL;
}

/* Looks for other sockets that may send this tuple. */
struct rivals {
	const struct inquiry *q;
	unsigned seen;
	bool found;
};

/*
 * Whether a datagram from an address of this host could be this socket's. Neither the address that
 * it is bound to nor the peer that it is connected to binds what it sends: sendto(2) names another
 * peer, IP_PKTINFO (ip(7)) another address.
 */
static bool may_send(const struct socket_info *s, const struct addr *src)
{
	return !s->v6only || src->family == AF_INET6;
}

static int look_for_rival(void *user, const struct socket_info *s)
{
	struct rivals *r = user;
	const struct socket_info *mine = &r->q->found.socket;
	struct workload_answer w;

	if (s->cookie == mine->cookie || !may_send(s, &r->q->found.local) ||
	    (s->cgroup_id == mine->cgroup_id && s->uid == mine->uid))
		return 0;
	/* The children of a service may share its port. */
	r->found = ++r->seen > RIVALS_MAX ||
		   workloads_resolve(r->q->v->agent->workloads, r->q->slot, s->cgroup_id, s->uid,
				     &w) < 0 ||
		   w.what != WORKLOAD_IDENTITY || (uint32_t)w.identity != r->q->local->index;
	return r->found;
}

static bool may_dump(struct vouch *v, const char *asker)
{
	uint32_t *of = &v->dumps_of[hash_bytes(asker, strlen(asker)) % ASKER_SLOTS];
	struct mono now = mono_now();

	if (mono_ms_since(v->second, now) >= 1000) {
		v->second = now;
		v->dumps = 0;
		memset(v->dumps_of, 0, sizeof(v->dumps_of));
	}
	return ++*of <= DUMPS_PER_ASKER && ++v->dumps <= DUMPS_PER_SECOND;
}

static enum peer_status check_rivals(struct inquiry *q)
{
	struct vouch *v = q->v;
	struct rivals rivals = {.q = q};
	int r;

	if (!may_dump(v, q->asker))
		return refuse(v, PEER_BUSY, "too many questions about shared ports");
	r = owner_dump_port(v->owner, IPPROTO_UDP, q->found.socket.tuple.local_port, look_for_rival,
			    &rivals);
	if (r < 0)
		return refuse(v, PEER_BUSY, "the socket table could not be read whole");
	return rivals.found ? refuse(v, PEER_AMBIGUOUS, "another process sends from the same port")
			    : PEER_OK;
}

static bool lease_runs(const struct inquiry *q, uint32_t number)
{
	const struct generation *g = q->edition->gen;
	struct wall now = agent_now(q->v->agent);

	for (size_t i = 0; i < g->lease_count; i++)
		if (g->leases[i].number == number)
			return g->leases[i].end.s > now.s;
	return false;
}

static bool verdict_opens(const struct inquiry *q, uint8_t verdict, uint32_t number)
{
	return verdict == LIVE_ACCEPT || verdict == LIVE_WATCHED ||
	       verdict == LIVE_LEASED_WATCHED || verdict == LIVE_ASK ||
	       (verdict == LIVE_LEASED && lease_runs(q, number));
}

static bool conduit_opens(const struct inquiry *q, const struct conduit *c)
{
	return c && (verdict_opens(q, c->verdict, c->number) ||
		     verdict_opens(q, c->vouched, c->number | MARK_VOUCHED) ||
		     verdict_opens(q, c->vouched, c->number) ||
		     verdict_opens(q, c->unavailable, c->number | MARK_UNAVAILABLE));
}

/*
 * Also where it only observes the kernel marks what an identity that may do so sends. A flow that
 * has no mark although this one's would have one was begun by another, whose socket may be closed
 * by now. Conduits that ask and observe are without a mark when nobody could be asked.
 */
static bool began_another(const struct inquiry *q)
{
	const struct vouch_socket *s = &q->found;
	const struct conduit *c;

	if (!q->v->agent->enforcing || s->flow.mark != 0 || !addr_eq(&s->flow.src, &s->local) ||
	    s->flow.sport != s->socket.tuple.local_port)
		return false;
	c = lookup_conduit(q->edition->gen, q->local->index, LOOKUP_OUT, q->far, q->query->l4proto,
			   q->query->dport);
	return conduit_opens(q, c) && c->verdict != LIVE_ASK && c->vouched != LIVE_ASK;
}

/*
 * Two processes may send from one UDP port when both allow it, and the socket table names only one
 * of them. The kernel saw the sender: its conduit is in the mark of the flow. Where this host only
 * observes and nothing here permits the flow there is no mark, and everybody at that port counts.
 */
static enum peer_status check_sender(struct inquiry *q)
{
	uint32_t mark = q->found.flow.mark & MARK_NUMBER_MASK;
	const struct generation *g = NULL;
	const struct conduit *c;

	if (q->query->l4proto != IPPROTO_UDP || asks_about_listener(q))
		return PEER_OK;
	if (mark >= MARK_UNCLAIMED_MIN && mark <= MARK_UNCLAIMED_MAX)
		return refuse(q->v, PEER_AMBIGUOUS,
			      "a process without an identity sends from the same port");
	if (began_another(q))
		return refuse(q->v, PEER_AMBIGUOUS,
			      "another process began this flow, by the kernel's own mark");
	c = agent_conduit(q->v->agent, mark, &g);
	if (!c || !(c->flags & CONDUIT_OUT) || !g->parties[c->from].identity)
		return check_rivals(q);
	if (str_eq(g->parties[c->from].identity, q->local->path))
		return PEER_OK;
	return refuse(q->v, PEER_AMBIGUOUS, "%s sends from the same port",
		      g->parties[c->from].identity);
}

static enum peer_status find_identity(struct inquiry *q)
{
	struct vouch *v = q->v;
	const struct socket_info *s = &q->found.socket;
	struct workload_answer w;
	int r = workloads_resolve(v->agent->workloads, q->slot, s->cgroup_id, s->uid, &w);

	if (r < 0)
		return refuse(v, PEER_INTERNAL, "the socket's cgroup: %s", strerror(-r));
	switch (w.what) {
	case WORKLOAD_IDENTITY:
		break;
	case WORKLOAD_NOBODY:
		return refuse(v, PEER_NO_IDENTITY, "no identity claims the process");
	case WORKLOAD_AMBIGUOUS:
		return refuse(v, PEER_AMBIGUOUS, "two identities claim the process");
	case WORKLOAD_GONE:
		return refuse(v, PEER_NO_IDENTITY, "the cgroup of the socket is gone");
	}
	if (w.ingress_only && !asks_about_listener(q))
		return refuse(v, PEER_NO_IDENTITY,
			      "the socket is of a socket unit, which is a listener only");
	q->local = local_of(q->edition->gen, (uint32_t)w.identity);
	if (!q->local)
		return refuse(v, PEER_NO_IDENTITY, "%s is not placed on this node",
			      q->edition->policy->identities[w.identity].path);
	return check_sender(q);
}

/* --- this node's own policy ------------------------------------------------------------------ */

/* Then the asking node decides alone. A quarantined identity is not only watched any more. */
static bool only_observes(const struct inquiry *q)
{
	return q->v->agent->mode == MODE_OBSERVE || q->local->observe;
}

static enum peer_status check_policy(struct inquiry *q)
{
	bool listener = asks_about_listener(q);
	uint16_t port = listener ? q->found.socket.tuple.local_port : q->query->dport;
	const struct conduit *c;
	char text[ADDR_TEXT_MAX];

	c = lookup_conduit(q->edition->gen, q->local->index, listener ? LOOKUP_IN : LOOKUP_OUT,
			   q->far, q->query->l4proto, port);
	if (conduit_opens(q, c) || only_observes(q))
		return PEER_OK;
	return refuse(q->v, PEER_EGRESS_DENIED, "policy here closes %s %s %s to %s/%u",
		      q->local->path, listener ? "from" : "to", addr_format(text, q->far),
		      q->query->l4proto == IPPROTO_TCP ? "tcp" : "udp", port);
}

/* --- what is told ---------------------------------------------------------------------------- */

static const struct place_names *names_of(struct vouch *v, uint64_t cgroup_id)
{
	struct place_names *n = map_get(v->names, &cgroup_id, sizeof(cgroup_id));
	struct workload_place place;

	if (n)
		return n;
	if (workloads_cgroup_place(v->agent->workloads, cgroup_id, &place) < 0)
		return NULL;
	n = mem_calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	(void)snprintf(n->unit, sizeof(n->unit), "%s", place.unit);
	(void)snprintf(n->container_id, sizeof(n->container_id), "%s", place.container.id);
	(void)snprintf(n->pod_uid, sizeof(n->pod_uid), "%s", place.container.pod_uid);
	if (map_count(v->names) >= PLACE_NAMES_MAX)
		map_clear(v->names);
	if (map_put(v->names, &cgroup_id, sizeof(cgroup_id), n) < 0) {
		free(n);
		return NULL;
	}
	return n;
}

static void tell_names(struct inquiry *q)
{
	const struct place_names *n = names_of(q->v, q->found.socket.cgroup_id);
	struct peer_answer *a = q->answer;

	if (!n)
		return;
	memcpy(a->unit, n->unit, sizeof(a->unit));
	memcpy(a->container_id, n->container_id, sizeof(a->container_id));
	memcpy(a->pod_uid, n->pod_uid, sizeof(a->pod_uid));
}

static enum peer_status tell_identity(struct inquiry *q)
{
	static const char scheme[] = "spiffe://";
	const char *domain = q->edition->policy->trust_domain, *path = q->local->path;
	size_t domain_len = strlen(domain), path_len = strlen(path);
	char *at = q->answer->spiffe_id;

	if (sizeof(scheme) + domain_len + 1 + path_len > sizeof(q->answer->spiffe_id))
		return refuse(q->v, PEER_INTERNAL, "the SPIFFE ID is too long");
	/* Not snprintf(): on the path of every connection. */
	memcpy(at, scheme, sizeof(scheme) - 1);
	at += sizeof(scheme) - 1;
	memcpy(at, domain, domain_len);
	at += domain_len;
	*at++ = '/';
	memcpy(at, path, path_len + 1);
	tell_names(q);
	return PEER_OK;
}

/* The answer without evidence. */
static enum peer_status inquire(struct inquiry *q)
{
	const struct agent *a = q->v->agent;
	enum peer_status status;

	if (q->query->l4proto != IPPROTO_TCP && q->query->l4proto != IPPROTO_UDP)
		return refuse(q->v, PEER_NO_SOCKET, "neither TCP nor UDP");
	if (!a->view || !q->edition->gen || !a->workloads || !a->conntrack)
		return refuse(q->v, PEER_BUSY, "this node is still starting");
	q->answer->view_sequence = a->view->sequence;
	status = find_socket(q);
	if (status == PEER_OK)
		status = find_identity(q);
	if (status != PEER_OK)
		return status;
	q->answer->match = q->found.match;
	status = tell_identity(q);
	/* Who it was is told also where it may not: the other end writes the refusal down. */
	return status == PEER_OK ? check_policy(q) : status;
}

/* --- evidence -------------------------------------------------------------------------------- */

static bool is_reference(const struct identity *id, const uint8_t digest[PEER_DIGEST_LEN])
{
	char hex[2 * PEER_DIGEST_LEN + 1];

	hex_format(digest, PEER_DIGEST_LEN, hex);
	for (size_t i = 0; i < id->reference_count; i++)
		if (str_eq(id->reference[i], hex))
			return true;
	return false;
}

/* Appraised by the policy of now: it may have changed since the question came. */
static enum peer_evidence appraise(const struct agent *a, const char *path, const struct digest *d)
{
	const struct policy *policy = agent_edition(a)->policy;
	int index = policy ? policy_find_identity(policy, path) : -ENOENT;
	const struct identity *id = index >= 0 ? &policy->identities[index] : NULL;

	if (d->deleted && a->config.deleted_exe == DELETED_EXE_DENY)
		return PEER_EVIDENCE_CONTRAINDICATED;
	if (!d->has_sha256 || !id || id->reference_count == 0)
		return PEER_EVIDENCE_NONE;
	if (!is_reference(id, d->sha256))
		return PEER_EVIDENCE_CONTRAINDICATED;
	return d->deleted ? PEER_EVIDENCE_WARNING : PEER_EVIDENCE_AFFIRMING;
}

static void tell_digest(const struct agent *a, const char *path, const struct digest *d,
			struct peer_answer *answer)
{
	int64_t age = mono_ms_since(d->when, mono_now());

	answer->match |= PEER_MATCH_HOLDER;
	answer->evidence = (uint8_t)appraise(a, path, d);
	answer->evidence_age_ms = age < 0 ? 0 : age > UINT32_MAX ? UINT32_MAX : (uint32_t)age;
	answer->has_sha256 = d->has_sha256;
	answer->has_fsverity = d->has_fsverity;
	memcpy(answer->sha256, d->sha256, sizeof(answer->sha256));
	memcpy(answer->fsverity, d->fsverity, sizeof(answer->fsverity));
}

static void on_evidence(void *user, enum peer_status status, const struct digest *digest)
{
	struct pending *p = user;
	struct vouch *v = p->vouch;
	struct peer_answer answer = p->answer;
	vouch_done done = p->done;
	void *done_user = p->user;

	answer.status = (uint16_t)status;
	if (status == PEER_OK && digest)
		tell_digest(v->agent, p->identity, digest, &answer);
	else
		(void)refuse(v, status, "%s", evidence_last_refusal(v->agent->evidence));
	pending_free(p);
	done(done_user, &answer);
}

static bool may_measure(const struct inquiry *q)
{
	unsigned sockets = 0, all = 0;

	for (const struct pending *p = q->v->pending; p; p = p->next) {
		if (!str_eq(p->asker, q->asker))
			continue;
		all++;
		sockets += p->answer.cookie == q->answer->cookie;
	}
	return sockets < PENDING_PER_SOCKET && all < PENDING_PER_ASKER &&
	       q->v->pending_count < PENDING_MAX;
}

/* True when the answer comes later. */
static bool wait_for_evidence(struct inquiry *q, vouch_done done, void *user)
{
	struct vouch *v = q->v;
	struct pending *p;

	q->answer->uid = q->found.socket.uid;
	q->answer->cgroup_id = q->found.socket.cgroup_id;
	q->answer->cookie = q->found.socket.cookie;
	if (!v->agent->evidence)
		return false;
	p = may_measure(q) ? mem_calloc(1, sizeof(*p)) : NULL;
	if (p)
		p->identity = mem_strdup(q->local->path);
	if (!p || !p->identity) {
		free(p);
		q->answer->status = (uint16_t)refuse(v, PEER_BUSY, "too many measurements");
		return false;
	}
	p->vouch = v;
	(void)snprintf(p->asker, sizeof(p->asker), "%s", q->asker);
	p->answer = *q->answer;
	p->done = done;
	p->user = user;
	p->next = v->pending;
	if (p->next)
		p->next->previous = p;
	v->pending = p;
	v->pending_count++;
	evidence_of_socket(v->agent->evidence, &q->found.socket, q->query->budget_ms, on_evidence,
			   p);
	return true;
}

void vouch_answer(struct vouch *v, const char *asking_node, const struct peer_query *query,
		  vouch_done done, void *user)
{
	struct peer_answer answer = {.uid = UINT32_MAX};
	const struct agent *a = v->agent;
	struct inquiry q = {
		.v = v,
		.edition = agent_edition(a),
		.asker = asking_node,
		.query = query,
		.answer = &answer,
	};

	q.slot = q.edition == &a->candidate ? SLOT_B : SLOT_A;
	v->refusal[0] = '\0';
	answer.status = (uint16_t)inquire(&q);
	if (answer.status == PEER_OK && (query->flags & PEER_WANT_EVIDENCE) != 0 &&
	    wait_for_evidence(&q, done, user))
		return;
	done(user, &answer);
}

void vouch_cancel(struct vouch *v, void *user)
{
	struct pending *next;

	for (struct pending *p = v->pending; p; p = next) {
		next = p->next;
		if (p->user != user)
			continue;
		evidence_cancel(v->agent->evidence, p);
		pending_free(p);
	}
}
