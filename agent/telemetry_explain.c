/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/telemetry_explain.h"

#include "agent/lookup.h"
#include "agent/owner.h"
#include "agent/telemetry_parts.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/marks.h"

#include <errno.h>
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOPBACK_IFINDEX 1

int explainer_new(struct agent *a, struct owner *owner, struct explainer **ret, struct err *err)
{
	struct explainer *x = mem_calloc(1, sizeof(*x));

	if (!x)
		return err_set(err, ENOMEM, "out of memory");
	x->agent = a;
	x->owner = owner;
	*ret = x;
	return 0;
}

void explainer_free(struct explainer *x)
{
	free(x);
}

/* --- the log line ---------------------------------------------------------------------------- */

int logged_parse(const struct nflog_packet *p, struct logged *ret)
{
	struct logged l = {
		.mark = p->mark, .ct_mark = p->ct_mark, .has_uid = p->has_uid, .uid = p->uid};
	int r = table_log_parse(p->prefix, &l.decision, &l.why);

	if (r < 0)
		return r;
	r = packet_parse(p->payload, p->len, &l.packet);
	if (r < 0 && r != -EPROTONOSUPPORT)
		return r;
	l.unsupported = r < 0;
	l.out = p->hook == NF_INET_LOCAL_OUT;
	l.ifindex = l.out ? p->ifindex_out : p->ifindex_in;
	*ret = l;
	return 0;
}

/* --- which way round ------------------------------------------------------------------------- */

static void turn(struct about *b)
{
	struct addr addr = b->src;
	uint16_t port = b->sport;
	bool here = b->from_here;

	b->src = b->dst;
	b->dst = addr;
	b->sport = b->dport;
	b->dport = port;
	b->from_here = b->to_here;
	b->to_here = here;
}

static void about_packet(const struct logged *l, struct about *b)
{
	const struct packet *p = &l->packet;
	bool ports = !l->unsupported && (p->l4proto == IPPROTO_TCP || p->l4proto == IPPROTO_UDP);

	*b = (struct about){
		.src = p->src,
		.dst = p->dst,
		.sport = ports ? p->sport : 0,
		.dport = ports ? p->dport : p->icmp_type,
		.l4proto = p->l4proto,
		.ports = ports,
		.loopback = l->ifindex == LOOPBACK_IFINDEX,
		.from_here = l->out,
		.to_here = !l->out,
		.ifindex = l->ifindex,
	};
	/* Deny chains copy the entry's mark there; what is let pass has somebody else's mark. */
	if (l->decision == TABLE_LOG_DENY && l->why != TABLE_LOG_UNTRACKED)
		b->mark = l->mark;
	else if (l->decision == TABLE_LOG_WOULD)
		b->mark = l->ct_mark;
	if (b->loopback) {
		b->from_here = b->to_here = true;
		b->ifindex = 0;
	}
}

/* Whether the end of this host is one that others call. */
static bool is_listener(struct explainer *x, const struct about *b)
{
	struct socket_info s;

	return owner_find_listener(x->owner, b->l4proto, b->from_here ? &b->src : &b->dst,
				   b->from_here ? b->sport : b->dport, &s) == 0;
}

/*
 * A packet of a live flow may be an answer. Conntrack knows who opened it, but it may have seen the
 * flow in the wrong direction first (R22): then the conduit knows, or the listening socket.
 */
static void turn_to_opener(struct explainer *x, const struct logged *l, struct about *b)
{
	const struct generation *gen = NULL;
	const struct conduit *c;
	struct ct_flow tuple = {.src = b->src,
				.dst = b->dst,
				.sport = b->ports ? b->sport : l->packet.icmp_id,
				.dport = b->ports ? b->dport : 0,
				.l4proto = b->l4proto,
				.icmp_type = l->packet.icmp_type};
	struct ct_flow f;
	bool answer;

	if (l->packet.l4proto == IPPROTO_TCP &&
	    (l->packet.tcp_flags & (PACKET_TCP_SYN | PACKET_TCP_ACK)) == PACKET_TCP_SYN &&
	    l->why != TABLE_LOG_RESYNC)
		return;
	if (l->unsupported || conntrack_find(x->agent->conntrack, &tuple, &f, NULL) < 0)
		return;
	/* The entry of a refused flow has got another mark since. */
	if (l->decision != TABLE_LOG_DENY && b->mark == 0)
		b->mark = f.mark;
	answer = !addr_eq(&f.src, &b->src) || (b->ports && f.sport != b->sport);
	c = agent_conduit(x->agent, b->mark, &gen);
	if (c && !b->loopback && (c->flags & (CONDUIT_OUT | CONDUIT_IN)))
		answer = ((c->flags & CONDUIT_OUT) != 0) != b->from_here;
	else if (b->l4proto == IPPROTO_TCP && !b->loopback)
		answer = is_listener(x, b) == b->from_here;
	if (answer && b->ports)
		turn(b);
}

/* --- reasons --------------------------------------------------------------------------------- */

static void flow_of(const struct explainer *x, const struct about *b, struct flow *f)
{
	*f = (struct flow){
		.direction = b->loopback    ? FLOW_LOOPBACK
			     : b->from_here ? FLOW_OUT
					    : FLOW_IN,
		.src = b->src,
		.dst = b->dst,
		.l4proto = b->l4proto,
		.dport = b->dport,
		.source = x->from.end,
		.destination = x->to.end,
	};
}

/* By names: for a local end whose socket is gone, but not its identity. */
static int ask_by_name(const struct compile_input *in, enum node_mode mode,
		       const struct explainer *x, const struct about *b, struct verdict *v)
{
	struct verdict_question q = {
		.from_identity = x->from.identity,
		.to_identity = x->to.identity,
		.from_node = b->from_here ? x->agent->config.node : NULL,
		.to_node = b->to_here ? x->agent->config.node : NULL,
		.from_address = &b->src,
		.to_address = &b->dst,
	};

	if (!explain_service(b, &q.service))
		return -EINVAL;
	return verdict_explain(in, mode, &q, v, NULL);
}

/* By one of the two policies that may be loaded: what the ends are is looked up in its slot. */
static int ask_edition(const struct explainer *x, const struct about *b, const struct edition *e,
		       enum slot slot, struct verdict *v)
{
	struct agent *a = x->agent;
	const struct known_end *local = b->from_here ? &x->from : &x->to;
	const struct host *host;
	struct compile_input in;
	struct flow f;

	if (!e->policy)
		return -ENOENT;
	agent_compile_input(a, e->policy, &in);
	host = workloads_host(a->workloads, slot);
	if (!host)
		return -ENOMEM;
	in.addresses = host->addresses;
	in.address_count = host->address_count;
	if (!local->end.has_socket && local->identity >= 0)
		return ask_by_name(&in, a->mode, x, b, v);
	flow_of(x, b, &f);
	return verdict_decide(&in, host, a->mode, &f, v, NULL);
}

static int ask_oracle(const struct explainer *x, const struct about *b, struct verdict *v)
{
	return ask_edition(x, b, agent_edition(x->agent), explain_slot(x->agent), v);
}

/* A conduit was found once and is not live any more. */
static enum reason ended_reason(const struct verdict *v, const struct conduit *c)
{
	if (v->decision != DECISION_ALLOWED)
		return v->reason;
	if (!c)
		return REASON_WRONG_STATE;
	switch ((enum live_verdict)c->verdict) {
	case LIVE_LEASED:
	case LIVE_LEASED_WATCHED:
		return REASON_LEASE_ENDED;
	case LIVE_ASK:
		return REASON_ATTEST_UNAVAILABLE;
	case LIVE_NONE:
	case LIVE_ACCEPT:
	case LIVE_WATCHED:
	case LIVE_REFUSED_REPLY:
	case LIVE_SINGLE_COUNT:
	case LIVE_PAIR_BASE:
		break;
	}
	return REASON_WRONG_STATE;
}

static enum reason find_reason(const struct logged *l, const struct verdict *v,
			       const struct conduit *c, const struct known_end *local)
{
	switch (l->why) {
	case TABLE_LOG_RULE:
		return v->decision != DECISION_ALLOWED ? v->reason : REASON_NO_RULE;
	case TABLE_LOG_ENDED:
		return ended_reason(v, c);
	case TABLE_LOG_END:
		return REASON_RECEIVER_CHANGED;
	case TABLE_LOG_UNKNOWN:
		return local->ambiguous ? REASON_AMBIGUOUS : REASON_UNKNOWN_CGROUP;
	case TABLE_LOG_ATTEST: /* unless the question itself says more: take_question() */
		return REASON_ATTEST_UNAVAILABLE;
	case TABLE_LOG_UNTRACKED:
		/* Nobody can tell an entry kept out from a packet that fits none: TCP mostly is
		 * the latter. */
		return l->packet.l4proto == IPPROTO_TCP ? REASON_WRONG_STATE : REASON_UNTRACKED;
	case TABLE_LOG_RESYNC:
		return REASON_RESYNC;
	case TABLE_LOG_WHY_COUNT:
		break;
	}
	return REASON_NO_RULE;
}

/* --- drafts ---------------------------------------------------------------------------------- */

static void draft_end(const struct agent *a, const struct known_end *k, bool here, int identity,
		      const struct about *b, bool is_from, struct record_end *e)
{
	const struct policy *p = agent_edition(a)->policy;

	*e = (struct record_end){
		.address = is_from ? b->src : b->dst,
		.port = is_from ? b->sport : b->dport,
		.has_port = b->ports,
	};
	if (here && k->identity >= 0)
		identity = k->identity;
	/* A caller whom nobody vouched for is its node: an address cannot tell who it is (R19). */
	if (identity < 0 && !here && !is_from)
		identity = ends_called(a, b);
	if (p && identity >= 0 && (size_t)identity < p->identity_count)
		e->identity = p->identities[identity].path;
	e->node = here ? a->config.node : ends_node(a, &e->address);
	if (here && k->cgroup[0])
		e->cgroup = k->cgroup;
	e->has_uid = here && k->has_uid;
	e->uid = k->end.uid;
}

static void draft_common(const struct explainer *x, const struct about *b, int from, int to,
			 struct record *d)
{
	const struct agent *a = x->agent;
	const struct edition *e = agent_edition(a);

	d->count = 1;
	d->l4proto = b->l4proto;
	d->direction = b->from_here ? RECORD_OUT : RECORD_IN;
	record_service(d->service, b->l4proto, b->dport);
	d->digest = e->digest[0] ? e->digest : NULL;
	d->view_sequence = a->view ? a->view->sequence : 0;
	draft_end(a, &x->from, b->from_here, from, b, true, &d->from);
	draft_end(a, &x->to, b->to_here, to, b, false, &d->to);
}

static int party_identity(const struct agent *a, const struct generation *gen,
			  const struct conduit *c, bool from)
{
	const char *path = c ? gen->parties[from ? c->from : c->to].identity : NULL;

	return path && agent_edition(a)->policy
		       ? policy_find_identity(agent_edition(a)->policy, path)
		       : -1;
}

static const char *rule_of(const struct generation *gen, const struct conduit *c)
{
	return c && c->rule != RULE_NONE && c->rule < gen->rule_count ? gen->rule_names[c->rule]
								      : NULL;
}

/* How well the far end is known: loopback by this host's own kernel, others by their address. */
static uint8_t assurance_of(const struct about *b, const struct conduit *c, const struct record *d)
{
	const struct record_end *far = b->from_here ? &d->to : &d->from;
	enum record_assurance known = record_assurance_of(c, b->mark);

	if (b->loopback)
		return far->identity ? RECORD_ATTESTED : RECORD_NONE;
	if (known > RECORD_MAPPED)
		return (uint8_t)known;
	return far->identity || far->node ? RECORD_MAPPED : RECORD_NONE;
}

/* --- questions about the flow ---------------------------------------------------------------- */

static const struct attest_record *recall(const struct explainer *x, const struct about *b)
{
	struct packet p = {.src = b->src,
			   .dst = b->dst,
			   .sport = b->sport,
			   .dport = b->dport,
			   .l4proto = b->l4proto};

	return x->agent->attest && b->ports ? attest_recall(x->agent->attest, &p) : NULL;
}

/* Whether the question is the one that gave the flow its mark, and not one about the same ports. */
static bool is_about(const struct attest_record *r, const struct generation *gen,
		     const struct conduit *c, uint32_t mark)
{
	const char *from = gen->parties[c->from].identity, *to = gen->parties[c->to].identity;

	if ((mark & MARK_NOT_VOUCHED) != MARK_VOUCHED)
		return r->number == c->number && r->reason != REASON_PERMITTED;
	return r->reason == REASON_PERMITTED &&
	       (str_eq(r->identity, from) || str_eq(r->identity, to));
}

static void take_evidence(struct explainer *x, const struct attest_record *r, struct record *d)
{
	const struct policy *p = agent_edition(x->agent)->policy;

	attested_evidence(r, p ? p->trust_domain : "", &x->texts, &d->evidence);
}

/* What is said of a flow that runs, by the question that was asked before it did. */
static void add_evidence(struct explainer *x, const struct about *b, const struct generation *gen,
			 const struct conduit *c, struct record *d)
{
	const struct attest_record *r;

	if (!c || !(b->mark & MARK_NOT_VOUCHED))
		return;
	r = recall(x, b);
	if (r && is_about(r, gen, c, b->mark))
		take_evidence(x, r, d);
}

/*
 * A question that went against the flow, or was never answered. Its own record says why; where that
 * is gone, or the kernel decided because nobody asked, the mark does.
 */
static void take_question(struct explainer *x, const struct about *b, const struct conduit *c,
			  const struct generation *gen, const enum reason *given, struct record *d)
{
	const struct policy *p = agent_edition(x->agent)->policy;
	const struct attest_record *r = recall(x, b);
	struct record_end *far = b->from_here ? &d->to : &d->from;
	const char *path;
	int identity;

	/* Another question about the same ports is none about this packet. */
	if (r && (given ? r->reason != *given : r->reason == REASON_PERMITTED))
		r = NULL;
	path = r ? attested_identity(r) : NULL;
	identity = p && path ? policy_find_identity(p, path) : -1;
	if (r) {
		d->reason = (uint8_t)r->reason;
		(void)snprintf(d->status, sizeof(d->status), "%s",
			       r->reason == REASON_ATTEST_REFUSED ? r->status : "");
		take_evidence(x, r, d);
	} else if (given) {
		d->reason = (uint8_t)*given;
	} else {
		d->reason = (b->mark & MARK_NOT_VOUCHED) == MARK_NOT_VOUCHED
				    ? REASON_ATTEST_REFUSED
				    : REASON_ATTEST_UNAVAILABLE;
	}
	d->rule = d->reason == REASON_NO_RULE ? NULL : rule_of(gen, c);
	if (identity < 0)
		return;
	far->identity = p->identities[identity].path;
	d->assurance = RECORD_ATTESTED;
}

/* The conduit that the flow had, or the one that its ends would have. */
static const struct conduit *conduit_of(const struct explainer *x, const struct about *b,
					const struct generation **ret_gen)
{
	const struct conduit *c = agent_conduit(x->agent, b->mark, ret_gen);
	const struct known_end *local = b->from_here ? &x->from : &x->to;

	if (c || local->identity < 0 || b->loopback)
		return c;
	*ret_gen = agent_edition(x->agent)->gen;
	return lookup_conduit(*ret_gen, (uint32_t)local->identity,
			      b->from_here ? LOOKUP_OUT : LOOKUP_IN,
			      b->from_here ? &b->dst : &b->src, b->l4proto, b->dport);
}

/* The socket may be gone; the conduit knows whose it was. */
static void know_parties(struct explainer *x, const struct about *b, const struct generation *gen,
			 const struct conduit *c)
{
	struct known_end *local = b->from_here ? &x->from : &x->to;

	if (local->has_socket || local->end.has_socket)
		return;
	local->identity = party_identity(x->agent, gen, c, b->from_here);
	if (local->identity >= 0)
		ends_know_workload(x, local);
}

static const struct known_end *local_end(const struct explainer *x, const struct about *b)
{
	return b->from_here ? &x->from : &x->to;
}

/* --- what nobody was asked about ------------------------------------------------------------- */

/*
 * A host that observes lets the first packet of a new cgroup pass without a question. What would
 * have been denied is what the answer would have said, and that is known by now.
 */
static bool nobody_was_asked(const struct logged *l)
{
	return l->decision == TABLE_LOG_WOULD && l->why == TABLE_LOG_UNKNOWN;
}

/* The first of the two that tell of such a flow: the log and the flow's own event. */
static bool is_news(struct explainer *x, const struct about *b)
{
	uint8_t key[2 * sizeof(b->src.bytes) + 6] = {b->src.family, b->l4proto};
	uint64_t flow;

	memcpy(key + 2, &b->sport, sizeof(b->sport));
	memcpy(key + 4, &b->dport, sizeof(b->dport));
	memcpy(key + 6, b->src.bytes, sizeof(b->src.bytes));
	memcpy(key + 6 + sizeof(b->src.bytes), b->dst.bytes, sizeof(b->dst.bytes));
	flow = hash_bytes(key, sizeof(key));
	for (size_t i = 0; i < UNASKED_MAX; i++) {
		if (x->unasked[i] == flow)
			return false;
	}
	x->unasked[x->unasked_next++ % UNASKED_MAX] = flow;
	return true;
}

/*
 * Policy lets it pass, so nothing denies it later either, and the mark that its next packet gets
 * makes no event: this is all that is ever told of it.
 */
static int explain_unasked(struct explainer *x, struct about *b, const struct verdict *v,
			   struct record *ret_draft)
{
	const struct agent *a = x->agent;
	const struct policy *policy = agent_edition(a)->policy;
	const struct generation *gen = NULL;
	const struct conduit *c = v->reason == REASON_ESSENTIAL ? NULL : conduit_of(x, b, &gen);
	struct record d = {.decision = DECISION_ALLOWED, .reason = (uint8_t)v->reason};

	/* The far end's host has the last word, and is asked at the next packet. */
	if (c && (c->verdict == LIVE_ASK || c->vouched == LIVE_ASK))
		return -ENOENT;
	if (local_end(x, b)->ambiguous || !is_news(x, b))
		return -ENOENT;
	b->mark = c ? c->number : 0;
	d.conduit = b->mark;
	d.rule = v->rule >= 0 ? policy->rules[v->rule].name : rule_of(gen, c);
	draft_common(x, b, party_identity(a, gen, c, true), party_identity(a, gen, c, false), &d);
	d.assurance = assurance_of(b, c, &d);
	*ret_draft = d;
	return 0;
}

/*
 * Whether the policy on probation is what denies it. Whoever sends what the one before would not
 * have let through either, and may be anybody in the network, says nothing of the new one.
 */
static bool is_by_candidate(const struct explainer *x, const struct about *b,
			    const struct verdict *v)
{
	const struct agent *a = x->agent;
	struct verdict before;

	if (agent_edition(a) != &a->candidate || v->decision == DECISION_ALLOWED)
		return false;
	/*
	 * Whom nobody hears was called in vain before, too. A caller who is gone and was none of
	 * the identities that the kernel knows again is anybody: one datagram, and the socket
	 * closed.
	 */
	if (!local_end(x, b)->end.has_socket)
		return false;
	return ask_edition(x, b, &a->confirmed, SLOT_A, &before) < 0 ||
	       before.decision == DECISION_ALLOWED;
}

/* A later packet of a flow that was asked about, told of, and let pass: mark 0 is judged anew. */
static bool is_told(const struct explainer *x, const struct logged *l, const struct about *b)
{
	bool first = b->l4proto != IPPROTO_TCP ||
		     (l->packet.tcp_flags & (PACKET_TCP_SYN | PACKET_TCP_ACK)) == PACKET_TCP_SYN;

	return l->why == TABLE_LOG_ATTEST && l->decision == TABLE_LOG_WOULD && !first &&
	       recall(x, b) != NULL;
}

/* given: the reason where the agent itself decided. */
static int explain(struct explainer *x, const struct logged *l, const enum reason *given,
		   struct record *ret_draft)
{
	struct verdict v = {.decision = DECISION_DENIED,
			    .reason = REASON_NO_RULE,
			    .rule = -1,
			    .nearest = -1,
			    .from_identity = -1,
			    .to_identity = -1};
	const struct policy *policy = agent_edition(x->agent)->policy;
	const struct generation *gen = NULL;
	struct record d = {.refs = 0};
	const struct conduit *c;
	struct about b;
	bool asked;

	about_packet(l, &b);
	turn_to_opener(x, l, &b);
	if (is_told(x, l, &b))
		return -ENOENT;
	ends_find(x, &b, l);
	c = agent_conduit(x->agent, b.mark, &gen);
	if (c)
		know_parties(x, &b, gen, c);
	asked = ask_oracle(x, &b, &v) == 0 && local_end(x, &b)->end.has_socket;
	c = conduit_of(x, &b, &gen);
	d.decision = l->decision == TABLE_LOG_DENY ? DECISION_DENIED : DECISION_WOULD_DENY;
	d.reason = (uint8_t)find_reason(l, &v, c, local_end(x, &b));
	/* The kernel knows that much of a process that is gone. */
	if (l->why == TABLE_LOG_RULE && b.mark == MARK_IDENTITY_MISPLACED)
		d.reason = REASON_NOT_PLACED;
	/* A socket of a protocol that cannot be looked up by, or one that is gone. */
	if (d.reason == REASON_NO_SOCKET && b.mark == MARK_IDENTITY_UNCLAIMED)
		d.reason = REASON_NO_IDENTITY;
	if (asked && nobody_was_asked(l)) {
		if (v.decision == DECISION_ALLOWED)
			return explain_unasked(x, &b, &v, ret_draft);
		d.reason = (uint8_t)v.reason;
	}
	d.conduit = c ? c->number : 0;
	if (v.rule >= 0)
		d.rule = policy->rules[v.rule].name;
	else if (d.reason != REASON_NO_RULE)
		d.rule = rule_of(gen, c);
	draft_common(x, &b, party_identity(x->agent, gen, c, true),
		     party_identity(x->agent, gen, c, false), &d);
	if (b.loopback && !l->out)
		d.direction = RECORD_IN;
	d.assurance = assurance_of(&b, c, &d);
	if (l->why == TABLE_LOG_ATTEST) {
		v.decision = DECISION_DENIED;
		take_question(x, &b, c, gen, given, &d);
	} else if (given) {
		d.reason = (uint8_t)*given;
	}
	d.by_candidate = is_by_candidate(x, &b, &v);
	*ret_draft = d;
	return 0;
}

int explain_logged(struct explainer *x, const struct logged *l, struct record *ret_draft)
{
	return explain(x, l, NULL, ret_draft);
}

int explain_refused(struct explainer *x, const struct queue_packet *p, enum reason reason,
		    struct record *ret_draft)
{
	bool asked = p->queue != x->agent->config.queue_first + TABLE_QUEUE_WHO;
	struct logged l = {
		.decision = TABLE_LOG_DENY,
		.why = asked ? TABLE_LOG_ATTEST : TABLE_LOG_UNKNOWN,
		.mark = asked ? p->mark : 0, /* its conduit: the kernel copied it there */
		.packet = p->packet,
		.out = p->hook == NF_INET_LOCAL_OUT,
		.unsupported = p->unsupported,
		.has_uid = p->has_uid,
		.uid = p->uid,
		.ifindex = p->hook == NF_INET_LOCAL_OUT ? p->ifindex_out : p->ifindex_in,
	};

	return explain(x, &l, &reason, ret_draft);
}

/* --- allowed flows --------------------------------------------------------------------------- */

static bool is_own(struct agent *a, const struct addr *addr)
{
	const struct host *host = workloads_host(a->workloads, explain_slot(a));

	for (size_t i = 0; host && i < host->address_count; i++) {
		if (addr_eq(&host->addresses[i], addr))
			return true;
	}
	return addr_is_loopback(addr);
}

static void about_flow(struct explainer *x, const struct ct_flow *f, struct about *b)
{
	bool ports = f->l4proto == IPPROTO_TCP || f->l4proto == IPPROTO_UDP;

	*b = (struct about){
		.src = f->src,
		.dst = f->reply_src, /* behind destination NAT, where classification looks */
		.sport = ports ? f->sport : 0,
		.dport = ports ? f->reply_sport : f->icmp_type,
		.l4proto = f->l4proto,
		.ports = ports,
		.mark = f->mark,
	};
	b->from_here = is_own(x->agent, &b->src);
	b->to_here = is_own(x->agent, &b->dst);
	b->loopback = b->from_here && b->to_here;
}

/*
 * Most flows without a mark are such as would be denied, of which the log tells. Of those that
 * policy lets pass it tells one in ten seconds for each far service, whoever they are.
 */
static int explain_unmarked(struct explainer *x, const struct ct_flow *f, struct record *ret_draft)
{
	const struct generation *gen = NULL;
	const struct known_end *local;
	struct verdict v;
	struct about b;

	if (f->mark != 0 || !x->agent->enforcing || x->agent->mode != MODE_OBSERVE)
		return -ENOENT;
	about_flow(x, f, &b);
	ends_find(x, &b, NULL);
	local = local_end(x, &b);
	/* Before the oracle, which looks at every rule. */
	if (!local->end.has_socket || (local->identity >= 0 && !conduit_of(x, &b, &gen)))
		return -ENOENT;
	if (ask_oracle(x, &b, &v) < 0 || v.decision != DECISION_ALLOWED)
		return -ENOENT;
	return explain_unasked(x, &b, &v, ret_draft);
}

int explain_flow(struct explainer *x, const struct ct_flow *f, struct record *ret_draft)
{
	bool unclaimed = f->mark >= MARK_UNCLAIMED_MIN && f->mark <= MARK_UNCLAIMED_MAX;
	const struct generation *gen = NULL;
	const struct conduit *c = agent_conduit(x->agent, f->mark, &gen);
	struct record d = {.decision = DECISION_ALLOWED};
	struct about b;

	/* Mark 0: passed because the mode observes. Others are pending. */
	if (!c && !unclaimed)
		return explain_unmarked(x, f, ret_draft);
	about_flow(x, f, &b);
	ends_find(x, &b, NULL);
	if (c)
		know_parties(x, &b, gen, c);
	d.reason = unclaimed                                          ? REASON_UNCLAIMED
		   : (c->flags & CONDUIT_ESSENTIAL)                   ? REASON_ESSENTIAL
		   : (f->mark & MARK_NOT_VOUCHED) == MARK_UNAVAILABLE ? REASON_ALLOWED_UNAVAILABLE
								      : REASON_PERMITTED;
	d.conduit = c ? c->number : 0;
	d.rule = rule_of(gen, c);
	draft_common(x, &b, party_identity(x->agent, gen, c, true),
		     party_identity(x->agent, gen, c, false), &d);
	d.assurance = assurance_of(&b, c, &d);
	add_evidence(x, &b, gen, c, &d);
	*ret_draft = d;
	return 0;
}
