/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/property/property.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "base/zone.h"

/* SplitMix64 (Steele, Lea, Flood 2014): one word of state, so a seed is the whole run. */
uint32_t draw(struct rng *r, size_t n)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (uint32_t)((z ^ (z >> 31)) % n);
}

bool chance(struct rng *r, unsigned percent)
{
	return draw(r, 100) < percent;
}

char identity_paths[IDENTITIES_MAX][16] = {"prod/i0", "prod/i1", "prod/i2", "prod/i3",
					   "prod/i4", "prod/i5", "prod/i6", "prod/i7"};

const uint16_t ports[] = {1001, 1002, 1003, 1004, 1005, 2000};
const size_t port_count = ARRAY_LEN(ports);

static const char *const rule_services[] = {
	"tcp/1001",      "tcp/1002",      "tcp/2000",  "tcp/1002-1004", "tcp/1001-1005",
	"tcp/any",       "tcp/1003-2000", "udp/1001",  "udp/1002",      "udp/2000",
	"udp/1002-1004", "udp/any",       "icmp/echo", "icmpv6/echo",
};
static const char *const served[] = {"tcp/1001", "tcp/1002-1003", "tcp/any", "tcp/2000",
				     "udp/1001", "udp/1002-1004", "udp/any"};
static const char *const cidrs[] = {
	"10.77.0.0/24", "10.77.0.8/30", "10.77.0.11", "10.78.0.0/16", "10.78.0.9", "10.0.0.0/8",
	"fd77::/64",    "fd77::8/126",  "fd78::a",    "fd00::/8",     "0.0.0.0/0", "::/0",
};
static const struct {
	const char *name;
	const char *v4, *v6;
} remote_nodes[] = {{"n-1", "10.77.0.9", "fd77::9"},
		    {"n-2", "10.77.0.10", "fd77::a"},
		    {"n-3", "10.78.0.9", "fd78::9"},
		    {"n-4", "10.78.0.10", "fd78::a"}};

static struct addr address(const char *text)
{
	struct addr a = {0};

	(void)addr_parse(text, &a);
	return a;
}

/* --- policy ---------------------------------------------------------------------------------- */

static void draw_identity(struct model_identity *id, struct rng *r)
{
	*id = (struct model_identity){0};
	if (chance(r, 40)) {
		id->serves_count = 1 + draw(r, TEXTS_MAX);
		for (size_t i = 0; i < id->serves_count; i++)
			id->serves[i] =
				served[(draw(r, ARRAY_LEN(served)) + i) % ARRAY_LEN(served)];
	}
	if (chance(r, 15))
		id->placement = chance(r, 50) ? "h-*" : "n-*";
	id->observe = chance(r, 10);
	id->vendor = chance(r, 20);
	if (chance(r, 20))
		id->deny_out = chance(r, 50) ? DENY_DROP : DENY_REJECT;
	if (chance(r, 20))
		id->deny_in = chance(r, 50) ? DENY_DROP : DENY_REJECT;
	if (chance(r, 8))
		id->floor = ASSURANCE_ATTESTED;
	id->unmeasured = chance(r, 15);
}

static bool has_network(const struct model_rule *rule)
{
	return rule->from[0] >= IDENTITIES_MAX || rule->to[0] >= IDENTITIES_MAX;
}

/* Between identities a service has at most SERVICE_RANGE_MAX ports. */
static void bound_services(struct model_rule *rule)
{
	for (size_t i = 0; i < rule->service_count && !has_network(rule); i++) {
		if (str_ends(rule->services[i], "/any"))
			rule->services[i] = rule_services[4];
	}
	for (size_t i = 1; i < rule->service_count; i++) {
		if (rule->services[i] == rule->services[0])
			rule->service_count = i;
	}
}

/* Two different services never have the same text, because their places in the list differ. */
static void draw_services(struct model_rule *rule, struct rng *r)
{
	uint32_t first = draw(r, ARRAY_LEN(rule_services));

	rule->service_count = 1 + draw(r, TEXTS_MAX);
	for (size_t i = 0; i < rule->service_count; i++)
		rule->services[i] = rule_services[(first + i * 5) % ARRAY_LEN(rule_services)];
	bound_services(rule);
}

static void draw_parties(int parties[2], const struct model *m, struct rng *r, bool network)
{
	parties[0] = (int)draw(r, m->identity_count);
	parties[1] = -1;
	if (network)
		parties[0] = IDENTITIES_MAX + (int)draw(r, m->network_count);
	else if (chance(r, 30))
		parties[1] = (parties[0] + 1) % (int)m->identity_count;
}

/* Networks are addresses and nothing else: nobody vouches for them. */
static void draw_assurance(struct model_rule *rule, struct rng *r)
{
	rule->assurance = ASSURANCE_MAPPED;
	if (has_network(rule))
		return;
	if (chance(r, 50))
		rule->assurance = chance(r, 25) ? ASSURANCE_MEASURED : ASSURANCE_ATTESTED;
	rule->callee = chance(r, 25);
	rule->open_unavailable = rule->assurance != ASSURANCE_MEASURED && chance(r, 30);
}

static void draw_rule(struct model_rule *rule, const struct model *m, unsigned id, struct rng *r)
{
	static const int expiries[] = {24, 1000, -1};
	uint32_t kind = draw(r, 10);

	*rule = (struct model_rule){.id = id};
	draw_parties(rule->from, m, r, kind == 0);
	draw_parties(rule->to, m, r, kind == 1 || kind == 2);
	draw_services(rule, r);
	if (chance(r, 20))
		rule->expires = expiries[draw(r, ARRAY_LEN(expiries))];
	if (chance(r, 20))
		rule->window = chance(r, 50) ? 1 : -1;
	rule->observe = chance(r, 10);
	rule->open_on_clock_loss = chance(r, 30);
	rule->grantable = kind > 2 && !rule->observe && chance(r, 25);
	rule->ends_stale = chance(r, 20);
	draw_assurance(rule, r);
}

static void draw_rules(struct world *w, struct model *m, struct rng *r)
{
	m->rule_count = 4 + draw(r, RULES_MAX - 4);
	for (size_t i = 0; i < m->rule_count; i++)
		draw_rule(&m->rules[i], m, w->next_rule++ % 1000, r);
}

static void draw_model(struct world *w, struct model *m, struct rng *r)
{
	*m = (struct model){.identity_count = 4 + draw(r, IDENTITIES_MAX - 3),
			    .network_count = NETWORKS_MAX};
	for (size_t i = 0; i < m->identity_count; i++)
		draw_identity(&m->identities[i], r);
	for (size_t i = 0; i < m->network_count; i++) {
		uint32_t first = draw(r, ARRAY_LEN(cidrs));

		m->networks[i][0] = cidrs[first];
		if (chance(r, 50))
			m->networks[i][1] = cidrs[(first + 5) % ARRAY_LEN(cidrs)];
	}
	m->nodes = chance(r, 40) ? 0 : draw(r, NODE_TEXTS);
	m->drop_out = chance(r, 20);
	m->reject_in = chance(r, 20);
	draw_rules(w, m, r);
}

/* One to three edits, as people make them. */
static void edit_model(struct world *w, struct model *m, struct rng *r)
{
	for (unsigned n = 1 + draw(r, 3); n > 0; n--) {
		struct model_rule *rule = &m->rules[draw(r, m->rule_count)];

		switch (draw(r, 7)) {
		case 6:
			draw_assurance(rule, r);
			break;
		case 0:
			draw_services(rule, r);
			break;
		case 1:
			rule->observe = !rule->observe && !rule->grantable;
			break;
		case 2:
			rule->expires = chance(r, 50) ? -1 : 24;
			break;
		case 3:
			draw_parties(rule->to, m, r, false);
			rule->callee = rule->callee && !has_network(rule);
			bound_services(rule);
			break;
		case 4:
			if (m->rule_count < RULES_MAX)
				draw_rule(&m->rules[m->rule_count++], m, w->next_rule++ % 1000, r);
			break;
		default:
			if (m->rule_count > 3)
				*rule = m->rules[--m->rule_count];
			break;
		}
	}
}

/* --- view ------------------------------------------------------------------------------------ */

static void draw_placed(struct world *w, struct rng *r)
{
	struct view *v = &w->view;

	v->placed = w->placed;
	v->placed_count = 0;
	for (size_t i = 0; i < w->model.identity_count; i++) {
		struct view_placed *p = &w->placed[v->placed_count];

		if (!chance(r, 70))
			continue;
		*p = (struct view_placed){.identity = identity_paths[i],
					  .addresses = w->placed_addresses[v->placed_count]};
		if (chance(r, 50)) {
			p->addresses[0] = address("10.77.0.1");
			p->addresses[1] = address("fd77::1");
			p->address_count = 2;
		}
		v->placed_count++;
	}
}

static void draw_peer_services(struct world *w, struct view_peer *peer, size_t n, struct rng *r)
{
	peer->services = w->peer_services[n];
	if (!chance(r, 25))
		return;
	peer->has_services = true;
	peer->service_count = draw(r, 3);
	for (size_t i = 0; i < peer->service_count; i++)
		(void)service_parse(served[draw(r, ARRAY_LEN(served))], &w->peer_services[n][i]);
}

/* An identity somewhere else, mostly at its node's addresses, sometimes beside them. */
static void draw_peer(struct world *w, size_t identity, struct rng *r)
{
	size_t n = w->view.peer_count, node = draw(r, ARRAY_LEN(remote_nodes));
	struct view_peer *p = &w->peers[n];

	for (size_t i = 0; i < n; i++) {
		if (w->peers[i].identity == identity_paths[identity] &&
		    w->peers[i].node == remote_nodes[node].name)
			return;
	}
	*p = (struct view_peer){.identity = identity_paths[identity],
				.node = (char *)(uintptr_t)remote_nodes[node].name,
				.addresses = w->peer_addresses[n],
				.address_count = 2};
	p->addresses[0] = address(remote_nodes[node].v4);
	p->addresses[1] = address(remote_nodes[node].v6);
	if (chance(r, 15))
		p->addresses[p->address_count++] = address("10.77.0.11");
	draw_peer_services(w, p, n, r);
	w->view.peer_count++;
}

static void draw_view(struct world *w, struct rng *r)
{
	struct view *v = &w->view;

	*v = (struct view){.node = (char *)(uintptr_t)HERE, .peers = w->peers, .nodes = w->nodes};
	draw_placed(w, r);
	for (size_t i = 0; i < w->model.identity_count; i++) {
		for (unsigned n = draw(r, 4); n > 0; n--)
			draw_peer(w, i, r);
	}
	v->node_count = ARRAY_LEN(remote_nodes);
	for (size_t i = 0; i < v->node_count; i++) {
		w->node_addresses[i][0] = address(remote_nodes[i].v4);
		w->node_addresses[i][1] = address(remote_nodes[i].v6);
		w->nodes[i] = (struct view_node){.node = (char *)(uintptr_t)remote_nodes[i].name,
						 .addresses = w->node_addresses[i],
						 .address_count = 2};
	}
}

/* --- host ------------------------------------------------------------------------------------ */

static bool workload_taken(const struct world *w, const struct model_workload *m)
{
	for (size_t i = 0; i < w->workload_count; i++) {
		if (w->workloads[i].cgroup == m->cgroup && w->workloads[i].uid == m->uid)
			return true;
	}
	return false;
}

static void draw_workload(struct world *w, size_t identity, struct rng *r, const struct stage *s)
{
	const struct actor *a = &s->actors[draw(r, s->actor_count)];
	struct model_workload m = {.identity = (int)identity, .cgroup = (int)a->cgroup};

	switch (draw(r, 6)) {
	case 0:
		m.cgroup = -1;
		m.uid = a->uid;
		break;
	case 1:
		m.uid = a->uid;
		break;
	case 2:
		m.cgroup = (int)draw(r, s->cgroup_count);
		break;
	default:
		break;
	}
	if (w->workload_count < WORKLOADS_MAX && !workload_taken(w, &m))
		w->workloads[w->workload_count++] = m;
}

static void draw_host(struct world *w, struct rng *r, const struct stage *s)
{
	w->workload_count = 0;
	for (size_t i = 0; i < w->model.identity_count; i++) {
		draw_workload(w, i, r, s);
		if (chance(r, 30))
			draw_workload(w, i, r, s);
	}
}

static void draw_listeners(struct world *w, struct rng *r, const struct stage *s)
{
	for (int kind = 0; kind < 2; kind++) {
		for (size_t i = 0; i < port_count; i++)
			w->listeners[kind][i] = chance(r, 80) ? (int)draw(r, s->actor_count) : -1;
	}
}

/* --- essentials and overlay ------------------------------------------------------------------ */

static void draw_essentials(struct world *w, struct rng *r)
{
	struct essential *e = w->essential;

	memset(e, 0, sizeof(w->essential));
	/* The sentinel: its arrival says that whatever was sent before has arrived or never will.
	 */
	e[0] = (struct essential){.direction = ESSENTIAL_OUT,
				  .service = {SERVICE_UDP, SENTINEL_PORT, SENTINEL_PORT}};
	(void)prefix_parse(SENTINEL_TO, &e[0].far);
	e[1] = (struct essential){.direction = ESSENTIAL_IN, .service = {SERVICE_TCP, 2000, 2000}};
	(void)prefix_parse("10.77.0.12", &e[1].far);
	e[2] = (struct essential){.direction = ESSENTIAL_OUT,
				  .service = {SERVICE_UDP, 1001, 1001},
				  .by = {(char *)(uintptr_t) "essential.service"},
				  .by_count = 1};
	(void)prefix_parse("fd78::/64", &e[2].far);
	e[3] = (struct essential){.direction = ESSENTIAL_IN,
				  .service = {SERVICE_UDP, 1002, 1005},
				  .by = {(char *)(uintptr_t) "essential.service"},
				  .by_count = 1};
	(void)prefix_parse("10.78.0.0/24", &e[3].far);
	w->essentials = (struct essentials){e, 1 + draw(r, ESSENTIALS_N)};
}

static void draw_revocation(struct world *w, size_t i, struct rng *r)
{
	struct overlay_revoked *x = &w->revoked[i];
	char *name = w->overlay_names[i];
	size_t size = sizeof(w->overlay_names[i]);

	*x = (struct overlay_revoked){.name = name};
	switch (draw(r, 3)) {
	case 0:
		x->kind = REVOKED_RULE;
		(void)snprintf(name, size, "r%03u",
			       w->model.rules[draw(r, w->model.rule_count)].id);
		break;
	case 1:
		x->kind = REVOKED_IDENTITY;
		(void)snprintf(name, size, "%s", identity_paths[draw(r, w->model.identity_count)]);
		break;
	default:
		x->kind = REVOKED_LABEL;
		(void)snprintf(name, size, "vendor=x");
		break;
	}
	if (chance(r, 30))
		x->until.s = w->now.s + (chance(r, 50) ? 7200 : -60);
}

static int one_of(const int parties[2], struct rng *r)
{
	return parties[parties[1] >= 0 && chance(r, 50)];
}

/* Mostly what a grantable rule foresees; also other rules, other parties, ended ones. */
static void draw_grant(struct world *w, size_t i, struct rng *r)
{
	const struct model *m = &w->model;
	const struct model_rule *rule = &m->rules[draw(r, m->rule_count)];
	struct overlay_grant *g = &w->grants[i];
	int from, to;

	for (unsigned tries = 0; tries < 6 && !rule->grantable; tries++)
		rule = &m->rules[draw(r, m->rule_count)];
	from = chance(r, 85) ? one_of(rule->from, r) : (int)draw(r, m->identity_count);
	to = chance(r, 85) ? one_of(rule->to, r) : (int)draw(r, m->identity_count);
	(void)snprintf(w->grant_rules[i], sizeof(w->grant_rules[i]), "r%03u", rule->id);
	*g = (struct overlay_grant){.rule = w->grant_rules[i],
				    .from = identity_paths[from % IDENTITIES_MAX],
				    .to = identity_paths[to % IDENTITIES_MAX]};
	g->until.s = w->now.s + (chance(r, 80) ? 7200 : -60);
}

static void draw_grants(struct world *w, struct rng *r)
{
	w->overlay.grants = w->grants;
	w->overlay.grant_count = draw(r, GRANTS_MAX + 1);
	for (size_t i = 0; i < w->overlay.grant_count; i++)
		draw_grant(w, i, r);
	w->stale = chance(r, 60) ? 0 : chance(r, 50) ? 1 : -1;
}

static void draw_overlay(struct world *w, struct rng *r)
{
	w->overlay.revoked = w->revoked;
	w->overlay.revoked_count = 0;
	w->overlay.quarantined = w->quarantined;
	w->overlay.quarantined_count = 0;
	if (chance(r, 30)) {
		w->overlay.revoked_count = 1 + draw(r, OVERLAY_MAX);
		for (size_t i = 0; i < w->overlay.revoked_count; i++)
			draw_revocation(w, i, r);
	}
	if (chance(r, 20)) {
		char *keep = w->overlay_names[OVERLAY_MAX];

		(void)snprintf(keep, sizeof(w->overlay_names[0]), "w%u",
			       draw(r, w->model.network_count));
		w->quarantined[0] = (struct overlay_quarantine){
			.identity = identity_paths[draw(r, w->model.identity_count)],
			.keep = chance(r, 60) ? keep : NULL};
		w->overlay.quarantined_count = 1;
	}
}

/* --- world ----------------------------------------------------------------------------------- */

static void draw_mode(struct world *w, struct rng *r)
{
	static const enum node_mode modes[] = {MODE_SELECTIVE, MODE_SELECTIVE, MODE_SELECTIVE,
					       MODE_SELECTIVE, MODE_ENFORCE,   MODE_ENFORCE,
					       MODE_ENFORCE,   MODE_OBSERVE};

	w->mode = modes[draw(r, ARRAY_LEN(modes))];
	w->clock_trusted = !chance(r, 15);
}

static void draw_candidate(struct world *w, struct rng *r)
{
	w->has_candidate = chance(r, 35);
	w->candidate_on = w->has_candidate && chance(r, 60);
	w->candidate = w->model;
	if (w->has_candidate)
		edit_model(w, &w->candidate, r);
}

void world_draw(struct world *w, struct rng *r, const struct stage *s)
{
	w->now = wall_now();
	w->steady = false;
	draw_model(w, &w->model, r);
	draw_view(w, r);
	draw_host(w, r, s);
	draw_listeners(w, r, s);
	draw_essentials(w, r);
	draw_overlay(w, r);
	draw_grants(w, r);
	draw_mode(w, r);
	draw_candidate(w, r);
}

/* A rule under which flows run begins to ask. */
static void tighten(struct world *w, struct rng *r)
{
	for (size_t i = 0; i < w->model.rule_count; i++) {
		struct model_rule *rule = &w->model.rules[i];

		if (w->tighten != (int)rule->id || has_network(rule))
			continue;
		rule->assurance = ASSURANCE_ATTESTED;
		rule->callee = rule->callee || chance(r, 50);
	}
}

void world_change(struct world *w, struct rng *r, const struct stage *s)
{
	w->now = wall_now();
	if (w->has_candidate && chance(r, 50))
		w->model = w->candidate; /* confirmed */
	if (chance(r, 60))
		edit_model(w, &w->model, r);
	tighten(w, r);
	w->steady = chance(r, 60);
	if (!w->steady) {
		draw_view(w, r);
		draw_host(w, r, s);
	}
	if (chance(r, 30))
		draw_overlay(w, r);
	if (chance(r, 40))
		draw_grants(w, r);
	if (chance(r, 40)) {
		bool observed = w->mode == MODE_OBSERVE;

		draw_mode(w, r);
		/* What was let through while nothing was denied, the agent's adoption judges. */
		w->steady = w->steady && (!observed || w->mode == MODE_OBSERVE);
	}
	draw_listeners(w, r, s);
	draw_candidate(w, r);
}
