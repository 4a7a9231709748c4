/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The oracle asked by name. Two hosts judge a conversation: the caller's at egress, the called
 * one's at ingress. Both are asked, each with the end it owns known and the other as an address,
 * and the first that refuses gives the answer.
 */
#include "rules/verdict.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "rules/verdict_match.h"

/* Where an end is: its node's name and address, NULL while nothing is known of them. */
struct place {
	bool here;
	const char *node;
	const struct addr *address;
};

static bool node_asked(const char *asked, const char *node)
{
	return asked == NULL || str_eq(asked, node);
}

static bool place_here(const struct compile_input *in, uint32_t identity, struct place *ret)
{
	const struct view *v = in->view;

	if (!identity_is_placed_here(in, identity))
		return false;
	*ret = (struct place){.here = true, .node = v->node};
	for (size_t i = 0; i < v->placed_count; i++) {
		if (str_eq(v->placed[i].identity, in->policy->identities[identity].path) &&
		    v->placed[i].address_count > 0)
			ret->address = &v->placed[i].addresses[0];
	}
	for (size_t i = 0; ret->address == NULL && i < in->address_count; i++) {
		if (!addr_is_loopback(&in->addresses[i]))
			ret->address = &in->addresses[i];
	}
	return true;
}

static bool place_at_peer(const struct compile_input *in, uint32_t identity, const char *node,
			  const struct addr *address, struct place *ret)
{
	const struct view *v = in->view;

	for (size_t i = 0; i < v->peer_count; i++) {
		const struct view_peer *peer = &v->peers[i];

		for (size_t j = 0; node_asked(node, peer->node) && j < peer->address_count; j++) {
			const struct addr *a = &peer->addresses[j];

			if (!peer_is_at(in, peer, identity, a) ||
			    (address != NULL && !addr_eq(address, a)))
				continue;
			*ret = (struct place){.node = peer->node, .address = a};
			return true;
		}
	}
	return false;
}

/* `here_first`: a caller is looked for on this node, a called one elsewhere. */
static struct place find_place(const struct compile_input *in, int identity, const char *node,
			       const struct addr *address, bool here_first)
{
	struct place p = {.node = node, .address = address};
	uint32_t id = (uint32_t)identity;
	bool here;

	if (identity < 0 || in->view == NULL)
		return p;
	here = node_asked(node, in->view->node) && (address == NULL || address_is_own(in, address));
	if (here && here_first && place_here(in, id, &p))
		return p;
	if (place_at_peer(in, id, node, address, &p))
		return p;
	if (here && !here_first)
		(void)place_here(in, id, &p);
	return p;
}

struct explained {
	const struct compile_input *in;
	enum node_mode mode;
	struct service service;
	int from, to;
	struct place from_place, to_place;
};

static bool same_node(const struct explained *e)
{
	return e->from >= 0 && e->to >= 0 && e->from_place.node != NULL &&
	       e->to_place.node != NULL && str_eq(e->from_place.node, e->to_place.node);
}

/* Records a refusal by the owner of one end; false when that end lets it pass. */
static bool refused_by(const struct explained *e, int owner, bool egress, struct verdict *v)
{
	const struct policy *p = e->in->policy;

	if (owner >= 0 &&
	    (e->mode == MODE_OBSERVE ||
	     (p->identities[owner].observe && !identity_is_contained(e->in, (uint32_t)owner)))) {
		v->decision = DECISION_WOULD_DENY;
		return true;
	}
	if (owner < 0 && e->mode != MODE_ENFORCE) {
		v->decision = DECISION_ALLOWED;
		v->reason = REASON_UNCLAIMED;
		return false;
	}
	v->decision = DECISION_DENIED;
	v->answer = owner_answer(p, owner, egress);
	return true;
}

static void take_match(const struct match *m, struct verdict *v)
{
	memcpy(v->fails_on, m->fails_on, sizeof(v->fails_on));
	if (m->stage >= STAGE_WATCHED)
		v->rule = m->rule;
	else if (m->stage > STAGE_NOWHERE)
		v->nearest = m->rule;
	if (m->stage >= STAGE_CONDITION)
		v->reason = m->reason;
	else
		v->reason = REASON_NO_RULE;
	if (m->stage == STAGE_HOLDS && m->end.s != 0 &&
	    (v->lease_end.s == 0 || m->end.s < v->lease_end.s))
		v->lease_end = m->end;
}

/*
 * One host's judgement. 1 = it refuses (v is filled), 0 = it lets pass, -errno. A peer that this
 * node must know and does not has no address that the kernel could match.
 */
static int judge_end(const struct explained *e, bool egress, struct verdict *v, struct err *err)
{
	const struct place *near = egress ? &e->from_place : &e->to_place;
	const struct place *far = egress ? &e->to_place : &e->from_place;
	bool one_host = same_node(e);
	struct question q = {
		.in = e->in,
		.from = {.identity = e->from, .address = egress ? NULL : e->from_place.address},
		.to = {.identity = e->to, .address = egress ? e->to_place.address : NULL},
		.service = e->service,
		.trust = (egress ? e->to : e->from) >= 0 ? TRUST_MEASURED : TRUST_UNAVAILABLE,
		.egress = egress,
		.same_node = one_host};
	struct match m;
	int r;

	if (one_host)
		q.from.address = q.to.address = NULL;
	r = match_rules(&q, &m, err);
	if (r < 0)
		return r;
	take_match(&m, v);
	if (m.stage >= STAGE_WATCHED && near->here && !one_host && far->address == NULL &&
	    (egress ? e->to : e->from) >= 0) {
		v->reason = REASON_UNKNOWN_PEER;
		v->nearest = m.rule;
		v->rule = -1;
		(void)snprintf(v->fails_on, sizeof(v->fails_on), "%s: %s is placed nowhere",
			       egress ? "to" : "from",
			       e->in->policy->identities[egress ? e->to : e->from].name);
	} else if (m.stage == STAGE_HOLDS) {
		return 0;
	} else if (m.stage == STAGE_WATCHED) {
		v->decision = DECISION_WOULD_DENY;
		return 0;
	}
	return refused_by(e, egress ? e->from : e->to, egress, v);
}

int verdict_explain(const struct compile_input *in, enum node_mode mode,
		    const struct verdict_question *q, struct verdict *ret, struct err *err)
{
	struct explained e = {.in = in,
			      .mode = mode,
			      .service = q->service,
			      .from = q->from_identity,
			      .to = q->to_identity};
	struct verdict v = {.rule = -1, .nearest = -1};
	int r = 0;

	e.from_place = find_place(in, e.from, q->from_node, q->from_address, true);
	e.to_place = find_place(in, e.to, q->to_node, q->to_address, false);
	v.from_identity = e.from;
	v.to_identity = e.to;
	if (e.from >= 0 || e.to < 0)
		r = judge_end(&e, true, &v, err);
	if (r == 0 && e.to >= 0 && !same_node(&e)) {
		struct verdict caller = v;

		r = judge_end(&e, false, &v, err);
		if (r == 0 && caller.decision == DECISION_WOULD_DENY)
			v = caller;
		else if (r == 0 && e.from >= 0)
			v.rule = caller.rule;
	}
	if (r < 0)
		return r;
	*ret = v;
	return 0;
}
