/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/verdict_match.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* A text that is cut is still right: it is a line of a screen. */
__attribute__((format(printf, 2, 3))) static void say(struct match *m, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(m->fails_on, sizeof(m->fails_on), fmt, ap);
	va_end(ap);
}

/* --- parties --------------------------------------------------------------------------------- */

static bool identity_is_at(const struct question *q, uint32_t identity, const struct addr *a)
{
	const struct view *v = q->in->view;

	for (size_t i = 0; v != NULL && i < v->peer_count; i++) {
		if (peer_is_at(q->in, &v->peers[i], identity, a) ||
		    (service_is_echo(&q->service) &&
		     peer_node_is_at(q->in, &v->peers[i], identity, a)))
			return true;
	}
	return false;
}

/*
 * A network is whoever is at its addresses; but not one who was contained by name, and a listener
 * that was asked for must be the one that is called.
 */
static bool is_known_better(const struct question *q, const struct side *side)
{
	return side->vouched &&
	       (q->egress || identity_is_contained(q->in, (uint32_t)side->identity));
}

static bool side_is(const struct question *q, const struct side *side, const struct party_ref *ref)
{
	if (ref->kind == PARTY_NETWORK)
		return side->address != NULL && !is_known_better(q, side) &&
		       network_contains(&q->in->policy->networks[ref->index], side->address);
	if (side->vouched)
		return (uint32_t)side->identity == ref->index &&
		       identity_is_at(q, ref->index, side->address);
	if (side->identity >= 0)
		return !side->misplaced && (uint32_t)side->identity == ref->index;
	if (side->node)
		return identity_is_placed_here(q->in, ref->index);
	return side->address != NULL && identity_is_at(q, ref->index, side->address);
}

enum standing { NOT_MEANT, MEANT_AS_NETWORK, MEANT_BY_NAME };

static enum standing standing_of(const struct question *q, const struct side *side,
				 const struct party_ref *refs, size_t count)
{
	enum standing standing = NOT_MEANT;

	for (size_t i = 0; i < count; i++) {
		if (!side_is(q, side, &refs[i]))
			continue;
		if (refs[i].kind == PARTY_IDENTITY)
			return MEANT_BY_NAME;
		standing = MEANT_AS_NETWORK;
	}
	return standing;
}

int side_identity(const struct question *q, const struct side *side)
{
	uint32_t count = (uint32_t)q->in->policy->identity_count;

	if (side->identity >= 0 || side->address == NULL)
		return side->identity;
	for (uint32_t i = 0; i < count; i++) {
		if (identity_is_at(q, i, side->address))
			return (int)i;
	}
	return OWNER_NONE;
}

bool side_is_known(const struct question *q, const struct side *side)
{
	const struct policy *p = q->in->policy;

	if (side_identity(q, side) != OWNER_NONE)
		return true;
	for (size_t i = 0; side->address != NULL && i < p->network_count; i++) {
		if (network_contains(&p->networks[i], side->address))
			return true;
	}
	return false;
}

const char *side_name(char buf[SIDE_NAME_MAX], const struct question *q, const struct side *side)
{
	int identity = side_identity(q, side);
	char text[ADDR_TEXT_MAX];

	if (side->identity >= 0)
		(void)snprintf(buf, SIDE_NAME_MAX, "%s", q->in->policy->identities[identity].name);
	else if (identity >= 0)
		(void)snprintf(buf, SIDE_NAME_MAX, "%s at %s",
			       q->in->policy->identities[identity].name,
			       addr_format(text, side->address));
	else if (side->address != NULL)
		(void)snprintf(buf, SIDE_NAME_MAX, "%s", addr_format(text, side->address));
	else
		(void)snprintf(buf, SIDE_NAME_MAX, "%s", side->node ? "this node" : "unclaimed");
	return buf;
}

/* --- services -------------------------------------------------------------------------------- */

static bool any_covers(const struct service *list, size_t count, const struct service *s)
{
	for (size_t i = 0; i < count; i++) {
		if (service_covers(&list[i], s))
			return true;
	}
	return false;
}

/*
 * What a destination serves bounds a rule: the identity's list, narrowed by its placement; a view
 * never widens (R34). Echo is addressed to the node, so no list bounds it (R6).
 */
static bool party_serves(const struct question *q, const struct party_ref *to)
{
	const struct identity *id;
	const struct view *v = q->in->view;
	bool placed = false;

	if (to->kind == PARTY_NETWORK || service_is_echo(&q->service))
		return true;
	id = &q->in->policy->identities[to->index];
	if (id->serves_count > 0 && !any_covers(id->serves, id->serves_count, &q->service))
		return false;
	if (q->to.address == NULL)
		return true;
	for (size_t i = 0; v != NULL && i < v->peer_count; i++) {
		const struct view_peer *peer = &v->peers[i];

		if (!peer_is_at(q->in, peer, to->index, q->to.address))
			continue;
		if (!peer->has_services ||
		    any_covers(peer->services, peer->service_count, &q->service))
			return true;
		placed = true;
	}
	return !placed;
}

/* --- conditions ------------------------------------------------------------------------------ */

static bool still(const struct compile_input *in, struct wall until)
{
	return until.s == 0 || in->now.s < until.s;
}

static bool party_has_labels(const struct policy *p, const struct party_ref *ref, const char *expr)
{
	if (ref->kind == PARTY_NETWORK)
		return expression_matches(expr, p->networks[ref->index].labels,
					  p->networks[ref->index].label_count);
	return expression_matches(expr, p->identities[ref->index].labels,
				  p->identities[ref->index].label_count);
}

static bool revocation_hits(const struct policy *p, const struct overlay_revoked *r,
			    const struct rule *rule, const struct party_ref *party)
{
	switch (r->kind) {
	case REVOKED_RULE:
		return str_eq(r->name, rule->name);
	case REVOKED_IDENTITY:
		return party->kind == PARTY_IDENTITY &&
		       str_eq(r->name, p->identities[party->index].path);
	case REVOKED_LABEL:
		return party_has_labels(p, party, r->name);
	case REVOKED_CONDUIT:
		return false; /* by number: whoever knows numbers looks there first */
	}
	return false;
}

bool identity_is_contained(const struct compile_input *in, uint32_t identity)
{
	const struct party_ref party = {.kind = PARTY_IDENTITY, .index = identity};
	const char *path = in->policy->identities[identity].path;
	const struct overlay *o = in->overlay;

	for (size_t i = 0; o != NULL && i < o->revoked_count; i++) {
		if (o->revoked[i].kind != REVOKED_RULE && still(in, o->revoked[i].until) &&
		    revocation_hits(in->policy, &o->revoked[i], NULL, &party))
			return true;
	}
	for (size_t i = 0; o != NULL && i < o->quarantined_count; i++) {
		if (str_eq(o->quarantined[i].identity, path))
			return true;
	}
	return false;
}

static bool revoked(const struct question *q, const struct rule *rule,
		    const struct party_ref *party, struct match *m)
{
	const struct overlay *o = q->in->overlay;

	for (size_t i = 0; o != NULL && i < o->revoked_count; i++) {
		if (!still(q->in, o->revoked[i].until) ||
		    !revocation_hits(q->in->policy, &o->revoked[i], rule, party))
			continue;
		m->reason = REASON_REVOKED;
		say(m, "revoked: %s, %s", o->revoked[i].name,
		    o->revoked[i].reason == NULL ? "no reason given" : o->revoked[i].reason);
		return true;
	}
	return false;
}

/* A quarantined identity reaches, and is reached from, the kept network and nobody else. */
static bool quarantined(const struct question *q, const struct party_ref *party,
			const struct party_ref *other, struct match *m)
{
	const struct overlay *o = q->in->overlay;
	const struct policy *p = q->in->policy;

	if (party->kind != PARTY_IDENTITY)
		return false;
	for (size_t i = 0; o != NULL && i < o->quarantined_count; i++) {
		const struct overlay_quarantine *z = &o->quarantined[i];

		if (!str_eq(z->identity, p->identities[party->index].path))
			continue;
		if (z->keep != NULL && other->kind == PARTY_NETWORK &&
		    str_eq(z->keep, p->networks[other->index].name))
			continue;
		m->reason = REASON_QUARANTINED;
		say(m, "quarantined: %s, %s", p->identities[party->index].name,
		    z->reason == NULL ? "no reason given" : z->reason);
		return true;
	}
	return false;
}

static bool expired(const struct question *q, const struct rule *rule, struct match *m)
{
	char text[RFC3339_TEXT_MAX];

	if (!rule->has_expires)
		return false;
	if (q->in->now.s < rule->expires.s) {
		m->end = rule->expires;
		return false;
	}
	m->reason = REASON_LEASE_ENDED;
	say(m, "expires: ended %s", rfc3339_format(text, rule->expires));
	return true;
}

/* 1 = closed, 0 = open, -errno. Without a trusted clock the rule itself says which (R50). */
static int window_closed(const struct question *q, const struct rule *rule, struct match *m,
			 struct err *err)
{
	char text[RFC3339_TEXT_MAX];
	struct wall change = {0};
	bool open = false;
	int r;

	if (!rule->has_window)
		return 0;
	m->reason = REASON_OUTSIDE_WINDOW;
	if (!q->in->clock_trusted) {
		say(m, "window: the clock is not trusted");
		return rule->on_clock_loss == ON_CLOCK_LOSS_OPEN ? 0 : 1;
	}
	r = window_state(&rule->window, q->in->local_time, q->in->now, &open, &change);
	if (r < 0)
		return err_set(err, -r, "rule '%s': time zone '%s' is not known on this host",
			       rule->name, rule->window.zone);
	if (open) {
		if (change.s != 0 && (m->end.s == 0 || change.s < m->end.s))
			m->end = change;
		return 0;
	}
	if (change.s == 0)
		say(m, "window: closed");
	else
		say(m, "window: closed until %s", rfc3339_format(text, change));
	return 1;
}

/* A sooner end of what holds now. */
static void ends_by(struct match *m, struct wall end)
{
	if (m->end.s == 0 || end.s < m->end.s)
		m->end = end;
}

/* The view has not been confirmed for too long, and the rule does not trust it any more. */
static bool too_old(const struct question *q, const struct rule *rule, struct match *m)
{
	char text[RFC3339_TEXT_MAX];

	if (rule->on_stale != ON_STALE_END || q->in->stale_end.s == 0)
		return false;
	if (q->in->now.s < q->in->stale_end.s) {
		ends_by(m, q->in->stale_end);
		return false;
	}
	m->reason = REASON_STALE_VIEW;
	say(m, "on_stale: the mapping is too old since %s", rfc3339_format(text, q->in->stale_end));
	return true;
}

/* A grant never opens for longer than its rule's max, counted from when this host heard of it. */
static struct wall granted_until(const struct overlay_grant *g, const struct rule *rule,
				 struct wall now)
{
	struct wall cap = {rule->grant_max_s};

	cap.s += g->since.s == 0 || g->since.s > now.s ? now.s : g->since.s;
	return g->until.s > cap.s ? cap : g->until;
}

/* The latest of the grants for exactly this rule and these two. */
static bool ungranted(const struct question *q, const struct rule *rule,
		      const struct party_ref *from, const struct party_ref *to, struct match *m)
{
	const struct overlay *o = q->in->overlay;
	const struct policy *p = q->in->policy;
	struct wall until = {0};

	if (!rule->grantable)
		return false;
	m->reason = REASON_LEASE_ENDED;
	say(m, "grantable: no grant is in force");
	if (from->kind != PARTY_IDENTITY || to->kind != PARTY_IDENTITY)
		return true;
	for (size_t i = 0; o != NULL && i < o->grant_count; i++) {
		const struct overlay_grant *g = &o->grants[i];

		if (str_eq(g->rule, rule->name) &&
		    str_eq(g->from, p->identities[from->index].path) &&
		    str_eq(g->to, p->identities[to->index].path) &&
		    granted_until(g, rule, q->in->now).s > until.s)
			until = granted_until(g, rule, q->in->now);
	}
	if (q->in->now.s >= until.s) {
		say(m, "grantable: no grant for %.48s > %.48s is in force",
		    p->identities[from->index].name, p->identities[to->index].name);
		return true;
	}
	ends_by(m, until);
	return false;
}

/* Its own host ends what runs here and is not approved, like a revocation (UC-18). */
static bool unmeasured(const struct question *q, const struct rule *rule,
		       const struct party_ref *from, struct match *m)
{
	const char *const *paths = q->in->unmeasured;

	if (rule->assurance != ASSURANCE_MEASURED || from->kind != PARTY_IDENTITY || !q->egress)
		return false;
	for (; paths != NULL && *paths != NULL; paths++) {
		if (!str_eq(*paths, q->in->policy->identities[from->index].path))
			continue;
		m->reason = REASON_NOT_MEASURED;
		say(m, "assurance: what runs as %s is none of its reference values",
		    q->in->policy->identities[from->index].name);
		return true;
	}
	return false;
}

/* The host of either end knows that end; one kernel knows both; addresses are only addresses. */
static enum assurance demanded(const struct question *q, const struct rule *rule,
			       const struct party_ref *from, const struct party_ref *to)
{
	if (q->same_node)
		return ASSURANCE_MAPPED;
	if (q->egress)
		return rule->callee_attested && to->kind == PARTY_IDENTITY ? ASSURANCE_ATTESTED
									   : ASSURANCE_MAPPED;
	return from->kind == PARTY_IDENTITY ? rule->assurance : ASSURANCE_MAPPED;
}

/* How well the far end must be known. Behind an echo there is no socket to vouch for. */
static bool unassured(const struct question *q, const struct rule *rule,
		      const struct party_ref *from, const struct party_ref *to, struct match *m)
{
	const struct policy *p = q->in->policy;
	enum assurance floor = ASSURANCE_MAPPED;

	if (to->kind == PARTY_IDENTITY)
		floor = p->identities[to->index].min_assurance;
	if (floor > rule->assurance) {
		m->reason = REASON_ATTEST_REFUSED;
		say(m, "assurance: %s asks for %s, the rule for %s", p->identities[to->index].name,
		    assurance_name(floor), assurance_name(rule->assurance));
		return true;
	}
	if (demanded(q, rule, from, to) <= ASSURANCE_MAPPED)
		return false;
	if (q->trust == TRUST_MEASURED && !service_is_echo(&q->service))
		return false;
	if (q->trust == TRUST_VOUCHED && !service_is_echo(&q->service)) {
		if (demanded(q, rule, from, to) != ASSURANCE_MEASURED)
			return false;
		m->reason = REASON_NOT_MEASURED;
		say(m, "assurance: the caller's executable is not approved");
		return true;
	}
	if (rule->on_unavailable == ON_UNAVAILABLE_ALLOW &&
	    (q->trust == TRUST_UNAVAILABLE || service_is_echo(&q->service))) {
		m->reason = REASON_ALLOWED_UNAVAILABLE;
		return false;
	}
	m->reason = REASON_ATTEST_UNAVAILABLE;
	say(m, "%s: nobody vouches for the %s", q->egress ? "callee" : "assurance",
	    q->egress ? "listener" : "caller");
	return true;
}

/* No rule in observe mode gives this back. */
static bool taken_away(const struct question *q, const struct rule *rule,
		       const struct party_ref *from, const struct party_ref *to, struct match *m)
{
	return revoked(q, rule, from, m) || revoked(q, rule, to, m) ||
	       quarantined(q, from, to, m) || quarantined(q, to, from, m) ||
	       unmeasured(q, rule, from, m);
}

/* 1 = they hold or are only watched, 0 = they do not, -errno. */
static int conditions(const struct question *q, const struct rule *rule,
		      const struct party_ref *from, const struct party_ref *to, struct match *m,
		      struct err *err)
{
	int r;

	m->stage = STAGE_CONDITION;
	if (taken_away(q, rule, from, to, m))
		return 0;
	if (expired(q, rule, m)) {
		m->stage = rule->observe ? STAGE_WATCHED : STAGE_CONDITION;
		return rule->observe;
	}
	r = window_closed(q, rule, m, err);
	if (r < 0)
		return r;
	if (r == 1) {
		m->stage = rule->observe ? STAGE_WATCHED : STAGE_CONDITION;
		return rule->observe;
	}
	if (too_old(q, rule, m) || ungranted(q, rule, from, to, m)) {
		m->stage = rule->observe ? STAGE_WATCHED : STAGE_CONDITION;
		return rule->observe;
	}
	m->reason = REASON_PERMITTED;
	if (unassured(q, rule, from, to, m)) {
		m->stage = rule->observe ? STAGE_WATCHED : STAGE_CONDITION;
		return rule->observe;
	}
	m->stage = STAGE_HOLDS;
	m->fails_on[0] = '\0';
	return 1;
}

/* --- rules ----------------------------------------------------------------------------------- */

/* Of two that hold, the later end; no end at all is latest. */
static struct wall later_end(struct wall a, struct wall b)
{
	if (a.s == 0 || b.s == 0)
		return (struct wall){0};
	return a.s > b.s ? a : b;
}

static int match_pair(const struct question *q, const struct rule *rule,
		      const struct party_ref *from, const struct party_ref *to, struct match *best,
		      struct err *err)
{
	struct match m = {.rule = best->rule};
	int r;

	if (!side_is(q, &q->from, from) || !side_is(q, &q->to, to))
		return 0;
	if (!party_serves(q, to)) {
		if (best->stage >= STAGE_SERVED)
			return 0;
		best->stage = STAGE_SERVED;
		say(best, "services: %s does not serve it there",
		    q->in->policy->identities[to->index].name);
		return 0;
	}
	r = conditions(q, rule, from, to, &m, err);
	if (r < 0)
		return r;
	/* Pairs of one rule end apart where grants opened them. */
	if (m.stage == STAGE_HOLDS && best->stage == STAGE_HOLDS)
		best->end = later_end(best->end, m.end);
	else if (m.stage > best->stage)
		*best = m;
	return 0;
}

static int match_pairs(const struct question *q, const struct rule *rule, struct match *m,
		       struct err *err)
{
	for (size_t i = 0; i < rule->from_party_count; i++) {
		for (size_t j = 0; j < rule->to_party_count; j++) {
			int r = match_pair(q, rule, &rule->from_parties[i], &rule->to_parties[j], m,
					   err);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int match_rule(const struct question *q, uint32_t index, struct match *ret, struct err *err)
{
	const struct rule *rule = &q->in->policy->rules[index];
	enum standing from = standing_of(q, &q->from, rule->from_parties, rule->from_party_count);
	enum standing to = standing_of(q, &q->to, rule->to_parties, rule->to_party_count);
	bool service = any_covers(rule->services, rule->service_count, &q->service);
	char name[SIDE_NAME_MAX], text[SERVICE_TEXT_MAX];

	*ret = (struct match){.rule = (int)index, .stage = STAGE_NOWHERE};
	if (from != NOT_MEANT && to != NOT_MEANT && service)
		return match_pairs(q, rule, ret, err);
	if (from != NOT_MEANT && to != NOT_MEANT) {
		ret->stage = from == to ? STAGE_SERVICES : STAGE_NETWORK;
		say(ret, "services: asked for %s", service_format(text, &q->service));
	} else if (to != NOT_MEANT && service) {
		ret->stage = STAGE_FROM;
		say(ret, "from: caller is %s", side_name(name, q, &q->from));
	} else if (from != NOT_MEANT && service) {
		ret->stage = STAGE_TO;
		say(ret, "to: called is %s", side_name(name, q, &q->to));
	}
	return 0;
}

static bool is_better(const struct policy *p, const struct match *m, const struct match *best)
{
	if (best->rule < 0 || m->stage != best->stage)
		return best->rule < 0 || m->stage > best->stage;
	return strcmp(p->rules[m->rule].name, p->rules[best->rule].name) < 0;
}

int match_rules(const struct question *q, struct match *ret, struct err *err)
{
	const struct policy *p = q->in->policy;
	struct match best = {.rule = -1};
	struct wall end = {0};
	bool holds = false;

	for (uint32_t i = 0; i < p->rule_count; i++) {
		struct match m;
		int r = match_rule(q, i, &m, err);

		if (r < 0)
			return r;
		if (m.stage == STAGE_HOLDS) {
			end = holds ? later_end(end, m.end) : m.end;
			holds = true;
		}
		if (is_better(p, &m, &best))
			best = m;
	}
	best.end = end;
	*ret = best;
	return 0;
}

/* --- who is asked ---------------------------------------------------------------------------- */

/* Whatever the clock says: a question that comes and goes with a window would cut flows. */
static void ask_pairs(const struct question *q, const struct rule *rule, struct asking *ret)
{
	for (size_t i = 0; i < rule->from_party_count; i++) {
		for (size_t j = 0; j < rule->to_party_count; j++) {
			const struct party_ref *from = &rule->from_parties[i];
			const struct party_ref *to = &rule->to_parties[j];
			struct match m = {.rule = -1};

			if (demanded(q, rule, from, to) <= ASSURANCE_MAPPED ||
			    !side_is(q, &q->from, from) || !side_is(q, &q->to, to) ||
			    !party_serves(q, to))
				continue;
			ret->asks = true;
			if (rule->observe && !taken_away(q, rule, from, to, &m))
				ret->watched = true;
		}
	}
}

struct asking question_asks(const struct question *q)
{
	const struct policy *p = q->in->policy;
	struct asking ret = {0};

	for (size_t i = 0; i < p->rule_count && !service_is_echo(&q->service); i++) {
		if (any_covers(p->rules[i].services, p->rules[i].service_count, &q->service))
			ask_pairs(q, &p->rules[i], &ret);
	}
	return ret;
}

/* Within the bounds of policy at any address of that node. */
static bool stands_on(const struct compile_input *in, uint32_t identity, const char *node)
{
	const struct view *v = in->view;

	for (size_t i = 0; i < v->peer_count; i++) {
		const struct view_peer *peer = &v->peers[i];
		const struct view_node *n = view_find_node(v, peer->node);

		if (!str_eq(peer->node, node))
			continue;
		for (size_t j = 0; j < peer->address_count; j++)
			if (peer_is_at(in, peer, identity, &peer->addresses[j]))
				return true;
		for (size_t j = 0; n != NULL && j < n->address_count; j++)
			if (peer_node_is_at(in, peer, identity, &n->addresses[j]))
				return true;
	}
	return false;
}

static bool somebody_contained_on(const struct compile_input *in, const char *node)
{
	for (uint32_t i = 0; i < in->policy->identity_count; i++) {
		if (identity_is_contained(in, i) && stands_on(in, i, node))
			return true;
	}
	return false;
}

static bool meets_contained(const struct question *q, uint32_t caller)
{
	const struct view *v = q->in->view;

	for (size_t i = 0; v != NULL && i < v->peer_count; i++) {
		if (peer_is_at(q->in, &v->peers[i], caller, q->from.address) &&
		    somebody_contained_on(q->in, v->peers[i].node))
			return true;
	}
	return false;
}

/* Only nodes of those whom some rule lets call this service here. */
bool question_has_contained_neighbours(const struct question *q)
{
	const struct policy *p = q->in->policy;

	for (size_t i = 0; i < p->rule_count; i++) {
		const struct rule *rule = &p->rules[i];
		bool called = false;

		if (!any_covers(rule->services, rule->service_count, &q->service))
			continue;
		for (size_t j = 0; j < rule->to_party_count && !called; j++)
			called = side_is(q, &q->to, &rule->to_parties[j]) &&
				 party_serves(q, &rule->to_parties[j]);
		for (size_t j = 0; called && j < rule->from_party_count; j++)
			if (rule->from_parties[j].kind == PARTY_IDENTITY &&
			    side_is(q, &q->from, &rule->from_parties[j]) &&
			    meets_contained(q, rule->from_parties[j].index))
				return true;
	}
	return false;
}
