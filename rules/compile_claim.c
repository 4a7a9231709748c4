/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Claims of one local identity in one direction: rule by rule, party by party, address by address.
 */
#include "rules/compile_parts.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

void pass_done(struct pass *p)
{
	free(p->claims);
	free(p->hits);
	free(p->list);
	free(p->others);
	free(p->vouchees);
}

void pass_begin(struct pass *p, enum pass_kind kind, uint32_t local)
{
	p->kind = kind;
	p->local = local;
	p->claim_count = 0;
	p->hit_count = 0;
	p->list_count = 0;
	p->other_count = 0;
	p->vouchee_count = 0;
	p->vouchee_cover = 0;
}

int pass_add_claim(struct pass *p, const struct claim *claim)
{
	if (vec_grow(&p->claims, &p->claim_cap, p->claim_count + 1, sizeof(*p->claims),
		     CLAIMS_MAX) < 0)
		return compile_no_memory(p->c);
	p->claims[p->claim_count++] = *claim;
	return 0;
}

/* --- demands --------------------------------------------------------------------------------- */

/*
 * Beyond an address somebody must vouch: for the caller at ingress, for the listener at egress.
 * Networks are addresses and nothing else. Behind an echo there is no socket that anybody could
 * vouch for, so such a rule pings only where it would open without an answer, too.
 */
static void demand(struct claim *claim, const struct rule *rule, enum assurance assurance)
{
	claim->ask = assurance > ASSURANCE_MAPPED ? (uint8_t)assurance : 0;
	claim->spare = rule->on_unavailable == ON_UNAVAILABLE_ALLOW;
}

static void demand_of_echo(struct claim *claim, const struct place *place)
{
	const struct rule *rule = &place->policy->rules[claim->rule];

	if (claim->ask != 0 && !claim->spare && claim->state > PAIR_WATCHED)
		claim->state = rule->observe ? PAIR_WATCHED : PAIR_CLOSED;
	claim->ask = 0;
}

/* --- services -------------------------------------------------------------------------------- */

/* At ingress echo requests are the node's business and have a pass of their own. */
static bool is_wanted(const struct pass *p, const struct service *s)
{
	switch (p->kind) {
	case PASS_IN:
		return !service_is_echo(s);
	case PASS_IN_ECHO:
		return service_is_echo(s);
	case PASS_OUT:
	case PASS_LOOPBACK:
	case PASS_ESSENTIAL:
		return true;
	}
	return true;
}

static bool family_fits(const struct service *s, const struct addr *a)
{
	if (s->kind == SERVICE_ICMP_ECHO)
		return a->family != AF_INET6;
	if (s->kind == SERVICE_ICMPV6_ECHO)
		return a->family != AF_INET;
	return true;
}

static bool intersect(const struct service *a, const struct service *b, struct service *ret)
{
	if (!service_overlaps(a, b))
		return false;
	ret->kind = a->kind;
	ret->first = a->first > b->first ? a->first : b->first;
	ret->last = a->last < b->last ? a->last : b->last;
	return true;
}

/* A destination's own list, then its placement's: each may only narrow (R34). */
struct served {
	const struct service *serves, *services;
	size_t serves_count, service_count;
	bool has_services;
};

static int add_narrowed(struct pass *p, struct claim *claim, const struct service *service,
			const struct served *s)
{
	int r = 0;

	claim->named = claim->named || s->has_services;
	if (!s->has_services) {
		claim->service = *service;
		return pass_add_claim(p, claim);
	}
	for (size_t i = 0; i < s->service_count && r == 0; i++)
		if (intersect(service, &s->services[i], &claim->service))
			r = pass_add_claim(p, claim);
	return r;
}

/* One claim for each part of the rule's service that the destination serves. */
static int add_served(struct pass *p, const struct claim *like, const struct service *service,
		      const struct served *s)
{
	struct claim claim = *like;
	struct service part;
	int r = 0;

	/* Echo is addressed to the node (R6): what a workload serves does not bound it. */
	if (service_is_echo(service)) {
		claim.service = *service;
		demand_of_echo(&claim, claim.ghost ? &p->c->ghost : &p->c->real);
		return family_fits(service, &like->first) ? pass_add_claim(p, &claim) : 0;
	}
	if (s->serves_count == 0)
		return add_narrowed(p, &claim, service, s);
	claim.named = true;
	for (size_t i = 0; i < s->serves_count && r == 0; i++)
		if (intersect(service, &s->serves[i], &part))
			r = add_narrowed(p, &claim, &part, s);
	return r;
}

/* --- far ends -------------------------------------------------------------------------------- */

static int claim_network(struct pass *p, const struct place *place, const struct claim *like,
			 uint32_t network, const struct rule *rule, const struct served *served)
{
	const struct network *n = &place->policy->networks[network];
	struct claim claim = *like;
	int r = 0;

	claim.network = true;
	claim.subject = place->subject_of_network[network];
	claim.node = NO_INDEX;
	for (size_t i = 0; i < n->prefix_count; i++) {
		prefix_range(&n->prefixes[i], &claim.first, &claim.last);
		claim.prefix_len = n->prefixes[i].len;
		for (size_t j = 0; j < rule->service_count && r == 0; j++)
			if (is_wanted(p, &rule->services[j]))
				r = add_served(p, &claim, &rule->services[j], served);
	}
	return r;
}

static int claim_located(struct pass *p, const struct place *place, const struct claim *like,
			 const struct located *at, const struct rule *rule,
			 const struct served *served)
{
	struct claim claim = *like;
	int r = 0;

	claim.subject = place->subject_of_identity[at->identity];
	claim.node = at->node;
	claim.first = at->addr;
	claim.last = at->addr;
	for (size_t i = 0; i < rule->service_count && r == 0; i++) {
		const struct service *service = &rule->services[i];

		if (is_wanted(p, service) && (!at->of_node || service_is_echo(service)))
			r = add_served(p, &claim, service, served);
	}
	return r;
}

static struct served served_there(const struct place *place, const struct compile *c,
				  const struct located *at)
{
	const struct identity *id = &place->policy->identities[at->identity];
	const struct view_peer *peer = &c->in->view->peers[at->peer];

	return (struct served){
		.serves = id->serves,
		.serves_count = id->serves_count,
		.has_services = peer->has_services,
		.services = peer->services,
		.service_count = peer->service_count,
	};
}

/* --- egress ---------------------------------------------------------------------------------- */

static int claim_destination(struct pass *p, struct place *place, uint32_t rule,
			     const struct party_ref *from, const struct party_ref *to)
{
	static const struct served everything = {0};
	const struct rule *model = &place->policy->rules[rule];
	struct claim like = {.rule = rule, .ghost = place->ghost};
	struct pair pair = {0};
	int r;

	r = compile_pair_state(p->c, place, rule, from, to, true, &pair);
	if (r < 0)
		return r;
	like.state = (uint8_t)pair.state;
	like.end = pair.end;
	if (to->kind == PARTY_IDENTITY && model->callee_attested)
		demand(&like, model, ASSURANCE_ATTESTED);
	if (to->kind == PARTY_NETWORK)
		return claim_network(p, place, &like, to->index, model, &everything);
	for (uint32_t i = place->located_first[to->index];
	     i < place->located_first[to->index + 1] && r == 0; i++) {
		struct served served = served_there(place, p->c, &place->located[i]);

		r = claim_located(p, place, &like, &place->located[i], model, &served);
	}
	return r;
}

/* Nothing to do for an identity that is nowhere: most parties of a label expression. */
static bool is_somewhere(const struct place *place, const struct party_ref *party)
{
	return party->kind == PARTY_NETWORK ||
	       place->located_first[party->index] < place->located_first[party->index + 1];
}

static uint32_t identity_of_local(const struct pass *p, const struct place *place)
{
	const struct local_identity *l = &p->c->g->locals[p->local];

	return place->ghost ? name_index_find(&place->paths, l->path) : l->index;
}

int pass_claim_out(struct pass *p, struct place *place)
{
	struct party_ref from = {.kind = PARTY_IDENTITY, .index = identity_of_local(p, place)};
	int r = 0;

	for (uint32_t i = place->out_first[p->local]; i < place->out_first[p->local + 1]; i++) {
		const struct rule *rule = &place->policy->rules[place->out_rules[i]];

		for (size_t j = 0; j < rule->to_party_count && r == 0; j++)
			if (is_somewhere(place, &rule->to_parties[j]))
				r = claim_destination(p, place, place->out_rules[i], &from,
						      &rule->to_parties[j]);
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- loopback -------------------------------------------------------------------------------- */

/* Addresses of this host are all alike; they are filled in when elements are written. */
static int claim_here(struct pass *p, struct place *place, uint32_t rule,
		      const struct party_ref *from, const struct party_ref *to)
{
	const struct rule *model = &place->policy->rules[rule];
	const struct identity *id = &place->policy->identities[to->index];
	const struct served served = {.serves = id->serves, .serves_count = id->serves_count};
	struct claim like = {.rule = rule,
			     .ghost = place->ghost,
			     .node = NODE_HERE,
			     .subject = place->subject_of_identity[to->index]};
	struct pair pair = {0};
	int r;

	r = compile_pair_state(p->c, place, rule, from, to, true, &pair);
	like.state = (uint8_t)pair.state;
	like.end = pair.end;
	for (size_t i = 0; i < model->service_count && r == 0; i++)
		r = add_served(p, &like, &model->services[i], &served);
	return r;
}

int pass_claim_loopback(struct pass *p, struct place *place)
{
	struct party_ref from = {.kind = PARTY_IDENTITY, .index = identity_of_local(p, place)};
	int r = 0;

	for (uint32_t i = place->out_first[p->local]; i < place->out_first[p->local + 1]; i++) {
		const struct rule *rule = &place->policy->rules[place->out_rules[i]];

		for (size_t j = 0; j < rule->to_party_count && r == 0; j++) {
			const struct party_ref *to = &rule->to_parties[j];

			if (to->kind == PARTY_IDENTITY && place->here[to->index])
				r = claim_here(p, place, place->out_rules[i], &from, to);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- ingress --------------------------------------------------------------------------------- */

static int claim_source(struct pass *p, struct place *place, uint32_t rule, const struct pair *pair,
			const struct party_ref *from, const struct served *served)
{
	const struct rule *model = &place->policy->rules[rule];
	struct claim like = {.rule = rule,
			     .ghost = place->ghost,
			     .state = (uint8_t)pair->state,
			     .end = pair->end};
	int r = 0;

	if (from->kind == PARTY_NETWORK)
		return claim_network(p, place, &like, from->index, model, served);
	demand(&like, model, model->assurance);
	for (uint32_t i = place->located_first[from->index];
	     i < place->located_first[from->index + 1] && r == 0; i++)
		r = claim_located(p, place, &like, &place->located[i], model, served);
	return r;
}

int pass_claim_in(struct pass *p, struct place *place)
{
	struct party_ref to = {.kind = PARTY_IDENTITY, .index = identity_of_local(p, place)};
	struct served served = {0};
	int r = 0;

	if (to.index == NO_INDEX)
		return 0;
	served.serves = place->policy->identities[to.index].serves;
	served.serves_count = place->policy->identities[to.index].serves_count;
	for (uint32_t i = place->in_first[p->local]; i < place->in_first[p->local + 1]; i++) {
		const struct rule *rule = &place->policy->rules[place->in_rules[i]];

		for (size_t j = 0; j < rule->from_party_count && r == 0; j++) {
			const struct party_ref *from = &rule->from_parties[j];
			struct pair pair = {0};

			if (!is_somewhere(place, from))
				continue;
			r = compile_pair_state(p->c, place, place->in_rules[i], from, &to, false,
					       &pair);
			if (r == 0)
				r = claim_source(p, place, place->in_rules[i], &pair, from,
						 &served);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* An echo request reaches a node if it may reach any identity there: the best of them answers. */
static int best_pair(struct pass *p, struct place *place, uint32_t rule,
		     const struct party_ref *from, bool *ret_any, struct pair *ret)
{
	const struct rule *model = &place->policy->rules[rule];

	*ret = (struct pair){.state = PAIR_CUT};
	*ret_any = false;
	for (size_t i = 0; i < model->to_party_count; i++) {
		const struct party_ref *to = &model->to_parties[i];
		struct pair pair = {0};
		int r;

		if (to->kind != PARTY_IDENTITY || !place->here[to->index])
			continue;
		r = compile_pair_state(p->c, place, rule, from, to, false, &pair);
		if (r < 0)
			return r;
		*ret_any = true;
		if (pair.state > ret->state || (pair.state == ret->state && pair.end > ret->end))
			*ret = pair;
	}
	return 0;
}

static bool has_echo(const struct rule *rule)
{
	for (size_t i = 0; i < rule->service_count; i++)
		if (service_is_echo(&rule->services[i]))
			return true;
	return false;
}

int pass_claim_in_echo(struct pass *p, struct place *place)
{
	static const struct served everything = {0};

	for (size_t i = 0; i < place->policy->rule_count; i++) {
		const struct rule *rule = &place->policy->rules[i];

		for (size_t j = 0; has_echo(rule) && j < rule->from_party_count; j++) {
			struct pair pair = {0};
			bool any = false;
			int r = 0;

			if (is_somewhere(place, &rule->from_parties[j]))
				r = best_pair(p, place, (uint32_t)i, &rule->from_parties[j], &any,
					      &pair);
			if (r == 0 && any)
				r = claim_source(p, place, (uint32_t)i, &pair,
						 &rule->from_parties[j], &everything);
			if (r < 0)
				return r;
		}
	}
	return 0;
}
