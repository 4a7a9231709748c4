/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/property/property.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "rules/verdict_match.h"

#define TRIES           400
#define WANTED          390 /* tries for a flow of the kind that is wanted; then any */
#define TRIES_PER_RULE  50
#define WANTS_PERMITTED 4  /* of ten: permitted by a rule */
#define WANTS_RULE      7  /* and those that a rule nearly permits */
#define WANTS_ASKED     10 /* and those that somebody far away is asked about */

static const char *const seen_names[SEEN_COUNT] = {"open", "refused", "silent"};

const char *seen_name(enum seen s)
{
	return seen_names[s];
}

static const struct addr *draw_address(struct rng *r, bool here, uint8_t family, bool loopback)
{
	for (;;) {
		const struct place *p = &places[draw(r, place_count)];

		if ((p->host == HOST_HERE) == here && (family == 0 || p->addr.family == family) &&
		    (loopback || !addr_is_loopback(&p->addr)))
			return &p->addr;
	}
}

static void end_of_actor(const struct actor *a, const struct stage *s, struct flow_end *ret)
{
	*ret = (struct flow_end){.has_socket = a != NULL};
	if (a == NULL)
		return;
	ret->uid = a->uid;
	for (unsigned i = 0; i < CGROUP_LEVEL_MAX && i < s->cgroups[a->cgroup].level; i++)
		ret->cgroups[i] = s->cgroups[a->cgroup].ids[i];
}

/* Protocol and port; `like` is a service of a rule to keep to, NULL = any. */
static void draw_service(struct flow *f, const struct service *like, struct rng *r)
{
	uint32_t kind = draw(r, 10);
	bool echo = like == NULL ? kind == 9 : service_is_echo(like);
	bool tcp = like == NULL ? kind < 5 : like->kind == SERVICE_TCP;

	if (echo) {
		f->l4proto = f->src.family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6;
		f->dport = f->src.family == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
		return;
	}
	f->l4proto = tcp ? IPPROTO_TCP : IPPROTO_UDP;
	do
		f->dport = ports[draw(r, port_count)];
	while (like != NULL && (f->dport < like->first || f->dport > like->last));
}

static bool is_echo(const struct flow *f)
{
	return f->l4proto == IPPROTO_ICMP || f->l4proto == IPPROTO_ICMPV6;
}

static const struct actor *listener(const struct world *w, const struct stage *s,
				    const struct flow *f)
{
	int kind = f->l4proto == IPPROTO_TCP ? 0 : 1;

	for (size_t i = 0; !is_echo(f) && i < port_count; i++) {
		if (ports[i] == f->dport)
			return w->listeners[kind][i] < 0 ? NULL : &s->actors[w->listeners[kind][i]];
	}
	return NULL;
}

/* Mostly somebody who is there, as an honest node would say. */
static void draw_answer(struct flow *f, struct rng *r, const struct world *w)
{
	static const enum flow_answer answers[] = {ANSWER_VOUCHED, ANSWER_VOUCHED, ANSWER_VOUCHED,
						   ANSWER_REFUSED, ANSWER_NONE};
	const struct addr *far = f->direction == FLOW_OUT ? &f->dst : &f->src;
	uint32_t first = draw(r, PEERS_MAX);

	f->answer = answers[draw(r, ARRAY_LEN(answers))];
	f->vouched = draw(r, w->model.identity_count);
	f->measured = chance(r, 70);
	for (size_t i = 0; i < w->view.peer_count && !chance(r, 5); i++) {
		const struct view_peer *p = &w->peers[(first + i) % w->view.peer_count];

		for (size_t j = 0; j < p->address_count; j++) {
			if (!addr_eq(&p->addresses[j], far))
				continue;
			f->vouched = (uint32_t)(p->identity[sizeof("prod/i") - 1] - '0');
			return;
		}
	}
}

/* An address at which somebody is placed far away. */
static const struct addr *draw_peer_address(struct rng *r, const struct world *w, uint8_t family)
{
	for (int i = 0; i < TRIES_PER_RULE && w->view.peer_count > 0; i++) {
		const struct view_peer *p = &w->peers[draw(r, w->view.peer_count)];
		const struct addr *a = &p->addresses[draw(r, p->address_count)];

		if (family == 0 || a->family == family)
			return a;
	}
	return draw_address(r, false, family, false);
}

static void draw_flow(struct probe *p, enum flow_direction direction, const struct service *like,
		      bool peer, struct rng *r, const struct world *w, const struct stage *s)
{
	struct flow *f = &p->flow;

	*p = (struct probe){.fd = -1, .seen = SEEN_SILENT};
	f->direction = direction;
	f->dst = *draw_address(r, f->direction != FLOW_OUT, 0, f->direction == FLOW_LOOPBACK);
	if (peer && f->direction == FLOW_OUT)
		f->dst = *draw_peer_address(r, w, 0);
	if (f->direction == FLOW_LOOPBACK)
		f->src = f->dst;
	else if (peer && f->direction == FLOW_IN)
		f->src = *draw_peer_address(r, w, f->dst.family);
	else
		f->src = *draw_address(r, f->direction == FLOW_OUT, f->dst.family, false);
	draw_service(f, like, r);
	draw_answer(f, r, w);
	if (f->direction != FLOW_IN)
		p->caller = &s->actors[draw(r, s->actor_count)];
	if (f->direction != FLOW_OUT)
		p->called = listener(w, s, f);
	end_of_actor(p->caller, s, &f->source);
	end_of_actor(p->called, s, &f->destination);
}

static bool uid_decides(const struct flow_end *end, const struct world *w)
{
	for (size_t i = 0; i < w->host.nobody_count; i++) {
		const struct host_nobody *n = &w->host.nobodies[i];

		if (n->ask_listener && end->cgroups[n->level - 1] == n->cgroup_id)
			return true;
	}
	return false;
}

/*
 * Unknown cgroups are questions. Where only a uid tells whose a receiving socket is, the kernel
 * asks the agent, and there is none (R20): for listeners, and for answers to flows that are
 * observed and so carry no mark.
 */
static bool is_left_to_others(const struct probe *p, const struct world *w)
{
	const struct flow *f = &p->flow;

	if ((p->caller != NULL && w->unknown[p->caller->cgroup]) ||
	    (p->called != NULL && w->unknown[p->called->cgroup]))
		return true;
	/* Recorded at the caller; the wrong receiver's answer is its own, with its own mode. */
	if (f->l4proto == IPPROTO_UDP && p->verdict.decision == DECISION_WOULD_DENY &&
	    p->verdict.reason == REASON_RECEIVER_CHANGED)
		return true;
	if (f->l4proto == IPPROTO_UDP && p->caller != NULL && uid_decides(&f->source, w) &&
	    p->verdict.from_identity >= 0)
		return true;
	if (f->direction != FLOW_OUT && f->destination.has_socket &&
	    uid_decides(&f->destination, w))
		return true;
	return f->direction != FLOW_IN && p->verdict.decision == DECISION_WOULD_DENY &&
	       w->mode != MODE_OBSERVE && uid_decides(&f->source, w);
}

/* Two identities here that the caller may reach on one port: the policy's mistake (R56). */
static int is_ambiguous(const struct probe *p, const struct compile_input *in,
			const struct world *w, bool *ret, struct err *err)
{
	struct question q = {
		.in = in,
		.same_node = true,
		.service = {.kind = p->flow.l4proto == IPPROTO_TCP ? SERVICE_TCP : SERVICE_UDP,
			    .first = p->flow.dport,
			    .last = p->flow.dport}};
	unsigned count = 0;

	*ret = false;
	if (p->flow.direction != FLOW_LOOPBACK || is_echo(&p->flow))
		return 0;
	q.from.identity = owner_of_caller(in, &w->host, &p->flow.source);
	for (uint32_t i = 0; q.from.identity >= 0 && i < in->policy->identity_count; i++) {
		struct match m;
		int r;

		q.to.identity = (int)i;
		if (!identity_is_placed_here(in, i))
			continue;
		r = match_rules(&q, &m, err);
		if (r < 0)
			return r;
		count += m.stage >= STAGE_CONDITION;
	}
	*ret = count > 1;
	return 0;
}

static bool is_at(const struct view_peer *p, const struct addr *a)
{
	for (size_t i = 0; i < p->address_count; i++) {
		if (addr_eq(&p->addresses[i], a))
			return true;
	}
	return false;
}

/*
 * Questions go to one node. Where several stand at an address, or several listen there, which is
 * a mistake of view or policy (R56), it depends on names who is asked.
 */
static bool is_shared(const struct probe *p, const struct world *w)
{
	bool out = p->flow.direction == FLOW_OUT;
	const struct addr *far = out ? &p->flow.dst : &p->flow.src;
	const struct view_peer *first = NULL;

	if (p->flow.direction == FLOW_LOOPBACK || is_echo(&p->flow))
		return false;
	for (size_t i = 0; i < w->view.peer_count; i++) {
		const struct view_peer *peer = &w->peers[i];

		if (!is_at(peer, far))
			continue;
		if (first != NULL && !str_eq(first->node, peer->node))
			return true;
		first = peer;
	}
	return false;
}

/* Several identities behind one service of one address, one of whom is asked for. */
static int is_crowded(const struct probe *p, const struct compile_input *in, bool *ret,
		      struct err *err)
{
	struct question q = {
		.in = in,
		.egress = true,
		.trust = TRUST_MEASURED,
		.service = {.kind = p->flow.l4proto == IPPROTO_TCP ? SERVICE_TCP : SERVICE_UDP,
			    .first = p->flow.dport,
			    .last = p->flow.dport}};
	unsigned count = 0;

	*ret = false;
	if (p->flow.direction != FLOW_OUT || is_echo(&p->flow) || p->verdict.from_identity < 0)
		return 0;
	q.from.identity = p->verdict.from_identity;
	q.to.address = &p->flow.dst;
	q.to.identity = OWNER_NONE;
	if (!question_asks(&q).asks)
		return 0;
	for (uint32_t i = 0; i < in->policy->identity_count; i++) {
		struct match m;
		int r;

		q.to.identity = (int)i;
		q.to.vouched = true;
		r = match_rules(&q, &m, err);
		if (r < 0)
			return r;
		count += m.stage >= STAGE_CONDITION;
	}
	*ret = count > 1;
	return 0;
}

static enum seen expectation(const struct probe *p)
{
	const struct flow *f = &p->flow;

	/* Whoever sends a datagram is told by EPERM alone; an ICMP answer is not counted on. */
	if (p->verdict.decision == DECISION_DENIED && f->l4proto != IPPROTO_TCP)
		return SEEN_SILENT;
	if (p->verdict.decision == DECISION_DENIED)
		return p->verdict.answer == DENY_REJECT ? SEEN_REFUSED : SEEN_SILENT;
	if (f->direction == FLOW_OUT || is_echo(f) || p->called != NULL)
		return SEEN_OPEN;
	return SEEN_REFUSED; /* nobody listens, and the caller is told */
}

/* What kinds of flows are worth more than their share: permitted ones are rare among random ones.
 */
static void settle_probe(struct probe *p, const struct policy *policy)
{
	const struct rule *rule = p->verdict.rule < 0 ? NULL : &policy->rules[p->verdict.rule];

	p->expected = expectation(p);
	p->by_network = false;
	for (size_t i = 0; rule != NULL && i < rule->from_party_count; i++)
		p->by_network |= rule->from_parties[i].kind == PARTY_NETWORK;
	for (size_t i = 0; rule != NULL && i < rule->to_party_count; i++)
		p->by_network |= rule->to_parties[i].kind == PARTY_NETWORK;
}

/* Somebody far away is asked about it, or would be. */
static bool is_asked(const struct probe *p, const struct policy *policy)
{
	const struct verdict *v = &p->verdict;
	const struct rule *rule = v->rule >= 0 ? &policy->rules[v->rule] : NULL;

	if (v->reason == REASON_ATTEST_REFUSED || v->reason == REASON_ATTEST_UNAVAILABLE ||
	    v->reason == REASON_ALLOWED_UNAVAILABLE || v->reason == REASON_NOT_MEASURED)
		return !is_echo(&p->flow);
	if (rule == NULL || is_echo(&p->flow) || p->flow.direction == FLOW_LOOPBACK)
		return false;
	return p->flow.direction == FLOW_IN ? rule->assurance > ASSURANCE_MAPPED
					    : rule->callee_attested;
}

static bool is_wanted(const struct probe *p, uint32_t want, const struct policy *policy)
{
	const struct verdict *v = &p->verdict;

	if (want >= WANTS_ASKED)
		return is_asked(p, policy);

	if (want < WANTS_PERMITTED)
		return v->decision == DECISION_ALLOWED && v->rule >= 0;
	if (want < WANTS_RULE)
		return v->rule < 0 && v->nearest >= 0 && v->reason != REASON_NOT_PLACED;
	if (want == WANTS_RULE)
		return v->reason == REASON_ESSENTIAL || v->decision == DECISION_WOULD_DENY;
	return true;
}

/*
 * A service of some rule, so that what the flow is for is chosen before who and where. Permitted
 * flows are rare among random ones; this way each kind of rule gets its share.
 */
static const struct service *draw_like(const struct policy *p, struct rng *r)
{
	const struct rule *rule;

	if (p->rule_count == 0)
		return NULL;
	rule = &p->rules[draw(r, p->rule_count)];
	return &rule->services[draw(r, rule->service_count)];
}

bool probe_draw(struct probe *p, struct rng *r, const struct world *w, const struct stage *s,
		struct err *err)
{
	static const enum flow_direction directions[] = {FLOW_OUT, FLOW_OUT, FLOW_IN, FLOW_IN,
							 FLOW_LOOPBACK};
	enum flow_direction direction = directions[draw(r, ARRAY_LEN(directions))];
	const struct service *like = NULL;
	uint32_t want = draw(r, 14);
	struct compile_input in;
	bool ambiguous;

	world_input(w, world_judged_by_candidate(w), &in);
	for (int i = 0; i < TRIES; i++) {
		if ((want < WANTS_RULE || want >= WANTS_ASKED) && i % TRIES_PER_RULE == 0)
			like = draw_like(in.policy, r);
		draw_flow(p, direction, like, want >= WANTS_ASKED, r, w, s);
		if (verdict_decide(&in, &w->host, w->mode, &p->flow, &p->verdict, err) < 0)
			return false;
		if (is_left_to_others(p, w) || is_shared(p, w) ||
		    is_ambiguous(p, &in, w, &ambiguous, err) < 0 || ambiguous ||
		    is_crowded(p, &in, &ambiguous, err) < 0 || ambiguous)
			continue;
		if (!is_wanted(p, want, in.policy) && i < WANTED)
			continue;
		settle_probe(p, in.policy);
		return true;
	}
	return false;
}

bool probe_again(struct probe *p, const struct world *w, struct err *err)
{
	struct compile_input in;
	bool ambiguous;

	world_input(w, world_judged_by_candidate(w), &in);
	if (verdict_decide(&in, &w->host, w->mode, &p->flow, &p->verdict, err) < 0 ||
	    is_left_to_others(p, w) || is_shared(p, w) ||
	    is_ambiguous(p, &in, w, &ambiguous, err) < 0 || ambiguous ||
	    is_crowded(p, &in, &ambiguous, err) < 0 || ambiguous)
		return false;
	settle_probe(p, in.policy);
	return true;
}

static void actor_format(struct buf *b, const struct actor *a, int identity)
{
	if (identity >= 0)
		buf_printf(b, " i%d", identity);
	if (a != NULL)
		buf_printf(b, " (actor in cgroup %u, uid %u)", a->cgroup, a->uid);
}

void probe_format(const struct probe *p, const struct world *w, struct buf *b)
{
	static const char *const directions[] = {"out", "in", "loopback"};
	static const char *const answers[] = {"assumed", "vouched", "refused", "none"};
	const struct policy *policy = w->policies[world_judged_by_candidate(w)];
	const struct verdict *v = &p->verdict;
	char src[ADDR_TEXT_MAX], dst[ADDR_TEXT_MAX];

	buf_printf(b, "%s %s", directions[p->flow.direction], addr_format(src, &p->flow.src));
	actor_format(b, p->caller, v->from_identity);
	buf_printf(b, " > %s", addr_format(dst, &p->flow.dst));
	actor_format(b, p->called, v->to_identity);
	buf_printf(b, " proto %u port %u sport %u: oracle %s %s, so %s; kernel: %s%s",
		   p->flow.l4proto, p->flow.dport, p->sport, decision_name(v->decision),
		   reason_name(v->reason), seen_name(p->expected), seen_name(p->seen), p->note);
	if (p->flow.direction != FLOW_LOOPBACK)
		buf_printf(b, "; answer %s%s", answers[p->flow.answer],
			   p->flow.measured ? ", measured" : "");
	if (p->flow.answer == ANSWER_VOUCHED)
		buf_printf(b, " i%u", p->flow.vouched);
	if (v->rule >= 0)
		buf_printf(b, "; rule %s", policy->rules[v->rule].name);
	if (v->nearest >= 0)
		buf_printf(b, "; nearest %s fails on %s", policy->rules[v->nearest].name,
			   v->fails_on);
}
