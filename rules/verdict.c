/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/verdict.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "rules/verdict_match.h"

/* --- essentials ------------------------------------------------------------------------------ */

static bool unit_holds(const struct host_unit *u, const struct flow_end *end)
{
	return end->has_socket && u->level >= 1 && u->level <= CGROUP_LEVEL_MAX &&
	       u->cgroup_id != 0 && end->cgroups[u->level - 1] == u->cgroup_id;
}

static bool essential_owner_ok(const struct essential *e, const struct host *host,
			       const struct flow_end *end)
{
	for (size_t i = 0; i < e->by_count; i++) {
		for (size_t j = 0; j < host->unit_count; j++) {
			if (str_eq(host->units[j].unit, e->by[i]) &&
			    unit_holds(&host->units[j], end))
				return true;
		}
	}
	return e->by_count == 0;
}

/* Traffic of the kernel itself has no socket at this host; loopback has one at least at one end. */
static bool kernel_essential(const struct essential *e, const struct flow *f)
{
	const struct flow_end *local = f->direction == FLOW_OUT ? &f->source : &f->destination;
	bool has_ports = f->l4proto == IPPROTO_TCP || f->l4proto == IPPROTO_UDP;

	if (f->direction == FLOW_LOOPBACK || local->has_socket)
		return false;
	if (!has_ports)
		return e->l4proto == f->l4proto;
	return (e->service.kind == SERVICE_TCP || e->service.kind == SERVICE_UDP) &&
	       e->l4proto == f->l4proto && e->service.first <= f->dport &&
	       f->dport <= e->service.last;
}

static bool essential_permits(const struct essential *e, const struct host *host,
			      const struct flow *f, const struct service *s)
{
	switch (e->direction) {
	case ESSENTIAL_OUT:
		return f->direction != FLOW_IN && s != NULL && service_covers(&e->service, s) &&
		       prefix_contains(&e->far, &f->dst) && essential_owner_ok(e, host, &f->source);
	case ESSENTIAL_IN:
		return f->direction == FLOW_IN && s != NULL && service_covers(&e->service, s) &&
		       prefix_contains(&e->far, &f->src) &&
		       essential_owner_ok(e, host, &f->destination);
	case ESSENTIAL_KERNEL:
		return kernel_essential(e, f);
	}
	return false;
}

static bool is_essential(const struct compile_input *in, const struct host *host,
			 const struct flow *f, const struct service *s)
{
	for (size_t i = 0; in->essentials != NULL && i < in->essentials->count; i++) {
		if (essential_permits(&in->essentials->entries[i], host, f, s))
			return true;
	}
	return false;
}

/* --- ends ------------------------------------------------------------------------------------ */

/* What a local end says to a flow that no rule permits. */
enum vote { VOTE_PASS, VOTE_RECORD, VOTE_DENY };

static enum vote end_vote(const struct compile_input *in, enum node_mode mode, int owner)
{
	const struct policy *p = in->policy;

	if (owner == OWNER_NONE)
		return mode == MODE_ENFORCE ? VOTE_DENY : VOTE_PASS;
	if (mode == MODE_OBSERVE)
		return VOTE_RECORD;
	if (p->identities[owner].observe && !owner_is_misplaced(in, owner) &&
	    !identity_is_contained(in, (uint32_t)owner))
		return VOTE_RECORD;
	return VOTE_DENY;
}

struct judged {
	const struct compile_input *in;
	const struct host *host;
	const struct flow *flow;
	enum node_mode mode;
	struct question q;
	struct match match;
	bool refused; /* the far node was asked, and the answer is no reason to open */
	bool watched; /* which a rule in observe mode only records */
};

static enum reason refusal_reason(const struct judged *j, int owner, const struct flow_end *local,
				  const struct side *far)
{
	if (j->match.stage >= STAGE_CONDITION)
		return j->match.reason;
	if (owner_is_misplaced(j->in, owner))
		return REASON_NOT_PLACED;
	if (owner == OWNER_NONE)
		return local->has_socket ? REASON_NO_IDENTITY : REASON_NO_SOCKET;
	if (far->address != NULL && !side_is_known(&j->q, far))
		return REASON_UNKNOWN_PEER;
	return REASON_NO_RULE;
}

/* All misplaced ones share one mark in the kernel, so none has an answer of its own. */
static enum deny_answer answer_of(const struct judged *j, int owner, bool egress)
{
	return owner_answer(j->in->policy, owner_is_misplaced(j->in, owner) ? OWNER_NONE : owner,
			    egress);
}

static void apply_vote(enum vote vote, enum reason reason, struct verdict *v)
{
	switch (vote) {
	case VOTE_PASS:
		v->decision = DECISION_ALLOWED;
		v->reason = REASON_UNCLAIMED;
		break;
	case VOTE_RECORD:
		v->decision = DECISION_WOULD_DENY;
		v->reason = reason;
		break;
	case VOTE_DENY:
		v->decision = DECISION_DENIED;
		v->reason = reason;
		break;
	}
}

/* A rule permits it, or is in observe mode and would not. */
static void take_match(const struct match *m, struct verdict *v)
{
	v->rule = m->rule;
	v->nearest = -1;
	v->reason = m->reason;
	v->decision = m->stage == STAGE_HOLDS ? DECISION_ALLOWED : DECISION_WOULD_DENY;
	v->lease_end = m->end;
	memcpy(v->fails_on, m->fails_on, sizeof(v->fails_on));
}

/* One local end, the other far away. */
static void refuse_remote(const struct judged *j, struct verdict *v)
{
	bool egress = j->flow->direction == FLOW_OUT;
	const struct side *local = egress ? &j->q.from : &j->q.to;
	const struct side *far = egress ? &j->q.to : &j->q.from;
	const struct flow_end *end = egress ? &j->flow->source : &j->flow->destination;
	enum vote vote = end_vote(j->in, j->mode, local->identity);

	if (j->watched && vote == VOTE_DENY)
		vote = VOTE_RECORD;
	/* Echo to this node that some rule is about, but not now: the node has no say, the rule
	 * has. */
	if (local->node && j->match.stage >= STAGE_CONDITION)
		vote = j->mode == MODE_OBSERVE ? VOTE_RECORD : VOTE_DENY;
	apply_vote(vote, refusal_reason(j, local->identity, end, far), v);
	if (v->decision != DECISION_DENIED)
		return;
	v->answer = answer_of(j, local->identity, egress);
	/* Who was named by its own host is told at once, unless the called one itself is silent. */
	if (j->refused && !egress &&
	    j->in->policy->identities[local->identity].deny_in != DENY_DROP)
		v->answer = DENY_REJECT;
}

/*
 * At output the kernel knows where a loopback packet goes, at input who gets it (R12). What permits
 * a caller to talk to somebody here on that service lets the packet leave; then the receiver's end
 * judges.
 */
static int match_anybody_here(const struct judged *j, struct match *ret, struct err *err)
{
	struct question q = j->q;

	*ret = (struct match){.rule = -1};
	if (q.from.identity == OWNER_NONE || !address_is_own(j->in, &j->flow->dst))
		return 0;
	q.to = (struct side){.identity = OWNER_NONE, .node = true};
	q.trust = TRUST_MEASURED;
	return match_rules(&q, ret, err);
}

/* Processes without identity have no say, in no mode: a host must not be cut off from itself (R13).
 */
static enum vote loopback_vote(const struct judged *j, int owner)
{
	return owner == OWNER_NONE ? VOTE_PASS : end_vote(j->in, j->mode, owner);
}

static int refuse_loopback(const struct judged *j, struct verdict *v, struct err *err)
{
	int caller = j->q.from.identity, called = j->q.to.identity;
	enum vote caller_vote = loopback_vote(j, caller);
	enum vote called_vote = loopback_vote(j, called);
	struct match anybody;
	bool leaves;
	int r;

	r = match_anybody_here(j, &anybody, err);
	if (r < 0)
		return r;
	leaves = anybody.stage >= STAGE_WATCHED;
	/*
	 * A datagram that nobody receives: the kernel says so to the caller. And what the caller's
	 * own identity receives in the place of another: a conduit has one set of ends, and nothing
	 * is gained by talking to oneself.
	 */
	if (leaves && ((caller == called && caller != OWNER_NONE) ||
		       (j->flow->l4proto == IPPROTO_UDP && !j->flow->destination.has_socket))) {
		take_match(&anybody, v);
		return 0;
	}
	/* On a conduit, a receiver that is nobody is recorded or refused as its caller is (R12). */
	if (leaves && called == OWNER_NONE)
		called_vote = caller_vote;
	apply_vote(caller_vote > called_vote ? caller_vote : called_vote,
		   leaves ? REASON_RECEIVER_CHANGED
			  : refusal_reason(j, caller, &j->flow->source, &j->q.to),
		   v);
	if (j->match.stage >= STAGE_CONDITION)
		v->reason = j->match.reason;
	/* Both are processes of this host; at the receiver the caller is told at once, always. */
	if (v->decision == DECISION_DENIED)
		v->answer = caller_vote == VOTE_DENY && !leaves ? answer_of(j, caller, true)
								: DENY_REJECT;
	return 0;
}

/* --- decision -------------------------------------------------------------------------------- */

static bool flow_service(const struct flow *f, struct service *ret)
{
	*ret = (struct service){.first = f->dport, .last = f->dport};
	switch (f->l4proto) {
	case IPPROTO_TCP:
		ret->kind = SERVICE_TCP;
		return true;
	case IPPROTO_UDP:
		ret->kind = SERVICE_UDP;
		return true;
	case IPPROTO_ICMP:
		*ret = (struct service){.kind = SERVICE_ICMP_ECHO};
		return f->dport == ICMP_ECHO;
	case IPPROTO_ICMPV6:
		*ret = (struct service){.kind = SERVICE_ICMPV6_ECHO};
		return f->dport == ICMP6_ECHO_REQUEST;
	default:
		return false;
	}
}

static struct side local_side(const struct compile_input *in, int owner)
{
	return (struct side){.identity = owner, .misplaced = owner_is_misplaced(in, owner)};
}

static struct side caller_side(const struct compile_input *in, const struct host *host,
			       const struct flow *f)
{
	if (f->direction == FLOW_IN)
		return (struct side){.identity = OWNER_NONE, .address = &f->src};
	return local_side(in, owner_of_caller(in, host, &f->source));
}

static struct side called_side(const struct compile_input *in, const struct host *host,
			       const struct flow *f, bool echo)
{
	if (f->direction == FLOW_OUT)
		return (struct side){.identity = OWNER_NONE, .address = &f->dst};
	if (echo)
		return (struct side){.identity = OWNER_NONE, .node = true};
	return local_side(in, owner_of_listener(in, host, &f->destination, f->l4proto, f->dport));
}

/* Loopback conduits exist for the addresses of this host only (127.0.0.53 is not among them). */
static bool rules_may_match(const struct judged *j, bool has_service)
{
	const struct flow *f = j->flow;

	return has_service && (f->direction != FLOW_LOOPBACK || address_is_own(j->in, &f->dst));
}

/* --- asking the far node --------------------------------------------------------------------- */

static int match_with(const struct judged *j, enum trust trust, struct match *ret, struct err *err)
{
	struct question q = j->q;

	q.trust = trust;
	return match_rules(&q, ret, err);
}

static void refuse(struct judged *j, enum reason reason, const char *text)
{
	j->match.stage = STAGE_CONDITION;
	j->match.reason = reason;
	(void)snprintf(j->match.fails_on, sizeof(j->match.fails_on), "%s", text);
}

/* Its own node says who it is; addresses of networks it may have besides. */
static int match_vouched(struct judged *j, struct err *err)
{
	struct side *far = j->q.egress ? &j->q.to : &j->q.from;
	struct match plain, all;
	int r;

	far->identity = (int)j->flow->vouched;
	far->vouched = true;
	r = match_with(j, TRUST_VOUCHED, &plain, err);
	if (r >= 0)
		r = match_with(j, TRUST_MEASURED, &all, err);
	if (r < 0)
		return r;
	/* The best unconditional answer counts: measuring matters where it opens more. */
	if (plain.stage < STAGE_HOLDS && all.stage > plain.stage) {
		j->refused = !j->flow->measured;
		j->match = j->refused ? plain : all;
		if (j->refused)
			refuse(j, REASON_NOT_MEASURED, "assurance: it runs what is not approved");
		return 0;
	}
	j->match = plain;
	if (plain.stage >= STAGE_WATCHED)
		return 0;
	j->refused = true;
	if (plain.stage < STAGE_CONDITION)
		refuse(j, REASON_ATTEST_REFUSED, "no rule is for the identity that was named");
	return 0;
}

static int match_answer(struct judged *j, struct err *err)
{
	int r = 0;

	switch (j->flow->answer) {
	case ANSWER_ASSUMED:
		break;
	case ANSWER_VOUCHED:
		return match_vouched(j, err);
	case ANSWER_REFUSED:
		j->refused = true;
		refuse(j, REASON_ATTEST_REFUSED, "the far host does not vouch for it");
		break;
	case ANSWER_NONE:
		r = match_with(j, TRUST_UNAVAILABLE, &j->match, err);
		if (r >= 0 && j->match.stage < STAGE_WATCHED)
			refuse(j, REASON_ATTEST_UNAVAILABLE, "the far host cannot be asked");
		break;
	}
	return r;
}

/*
 * Where a rule asks for more than an address, or somebody there was contained while another's rule
 * keeps the door open, the far node is asked first (R19), and its answer decides.
 */
static int match_flow(struct judged *j, struct err *err)
{
	struct asking asking = {0};
	struct match bare;
	int r;

	r = match_with(j, TRUST_MEASURED, &j->match, err);
	if (r < 0 || j->flow->direction == FLOW_LOOPBACK)
		return r;
	r = match_with(j, TRUST_ADDRESS, &bare, err);
	if (r < 0)
		return r;
	asking = question_asks(&j->q);
	if (j->q.egress)
		asking.asks = asking.asks && bare.stage < STAGE_HOLDS;
	else if (bare.stage >= STAGE_WATCHED && !service_is_echo(&j->q.service))
		asking.asks = asking.asks || question_has_contained_neighbours(&j->q);
	if (!asking.asks) {
		j->match = bare;
		return 0;
	}
	if (j->match.stage < STAGE_WATCHED)
		return 0;
	r = match_answer(j, err);
	j->watched = asking.watched && j->match.stage < STAGE_WATCHED;
	return r;
}

static int conclude(const struct judged *j, struct verdict *v, struct err *err)
{
	const struct match *m = &j->match;

	if (m->stage >= STAGE_WATCHED) {
		take_match(m, v);
		return 0;
	}
	if (m->stage > STAGE_NOWHERE) {
		v->nearest = m->rule;
		memcpy(v->fails_on, m->fails_on, sizeof(v->fails_on));
	}
	if (j->flow->direction == FLOW_LOOPBACK)
		return refuse_loopback(j, v, err);
	refuse_remote(j, v);
	return 0;
}

int verdict_decide(const struct compile_input *in, const struct host *host, enum node_mode mode,
		   const struct flow *flow, struct verdict *ret, struct err *err)
{
	struct judged j = {.in = in, .host = host, .flow = flow, .mode = mode};
	struct verdict v = {.rule = -1, .nearest = -1};
	bool has_service = flow_service(flow, &j.q.service);
	int r;

	if (flow->src.family != flow->dst.family)
		return err_set(err, EINVAL, "source and destination are of different families");
	j.q.in = in;
	j.q.from = caller_side(in, host, flow);
	j.q.to = called_side(in, host, flow, has_service && service_is_echo(&j.q.service));
	j.q.same_node = flow->direction == FLOW_LOOPBACK;
	j.q.egress = flow->direction != FLOW_IN;
	v.from_identity = side_identity(&j.q, &j.q.from);
	v.to_identity = side_identity(&j.q, &j.q.to);
	if (is_essential(in, host, flow, has_service ? &j.q.service : NULL)) {
		v.reason = REASON_ESSENTIAL;
		*ret = v;
		return 0;
	}
	j.match.rule = -1;
	if (rules_may_match(&j, has_service)) {
		r = match_flow(&j, err);
		if (r < 0)
			return r;
	}
	r = conclude(&j, &v, err);
	if (r < 0)
		return r;
	*ret = v;
	return 0;
}
