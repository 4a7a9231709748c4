/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/suggest.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Callers of one node that may be meant; more say nothing any more. */
#define CANDIDATES_MAX 64
#define PARTIES_MAX    (CANDIDATES_MAX + OBSERVED_PEERS_MAX)
#define NAME_ROOM      24 /* for what makes a name unique */

/* --- one end, as a rule names it ----------------------------------------------------------- */

struct end {
	const char *names[PARTIES_MAX];
	struct party_ref refs[PARTIES_MAX];
	size_t count;
	struct prefix unknown[OBSERVED_PEERS_MAX]; /* in no network of the policy */
	size_t unknown_count;
	bool doubtful; /* one of several; which one is not known here */
};

struct suggesting {
	const struct policy *policy;
	const struct view *view;
	bool vouches; /* this node could ask and answer */
	json_t *rules, *networks, *unclaimed, *left;
	json_t *by_ends;                    /* both ends, as JSON, to their rule */
	json_t *rule_names, *network_names; /* taken by proposals */
	uint64_t covered, uncovered, permitted;
	/*
	 * Something did not fit into memory: there is no proposal, for a rule with half its
	 * networks would be signed as if it were whole.
	 */
	bool failed;
};

static void append(struct suggesting *s, json_t *list, json_t *take)
{
	s->failed |= json_array_append_new(list, take) < 0;
}

static void end_add(struct end *e, enum party_kind kind, uint32_t index, const char *name)
{
	for (size_t i = 0; i < e->count; i++) {
		if (e->refs[i].kind == kind && e->refs[i].index == index)
			return;
	}
	if (e->count == PARTIES_MAX)
		return;
	e->refs[e->count] = (struct party_ref){.kind = kind, .index = index};
	e->names[e->count++] = name;
}

static bool prefixes_cover(const struct network *n, const struct prefix *p)
{
	for (size_t i = 0; i < n->prefix_count; i++) {
		if (prefix_covers(&n->prefixes[i], p))
			return true;
	}
	return false;
}

static uint8_t narrowest_of(const struct network *n, const struct prefix *p)
{
	uint8_t len = 0;

	for (size_t i = 0; i < n->prefix_count; i++) {
		if (prefix_covers(&n->prefixes[i], p) && n->prefixes[i].len > len)
			len = n->prefixes[i].len;
	}
	return len;
}

/* The narrowest network of the policy around it: a rule to that one asks for the least. */
static void add_address(const struct policy *p, const struct prefix *peer, struct end *e)
{
	const struct network *best = NULL;

	for (size_t i = 0; i < p->network_count; i++) {
		const struct network *n = &p->networks[i];

		if (prefixes_cover(n, peer) &&
		    (!best || narrowest_of(n, peer) > narrowest_of(best, peer)))
			best = n;
	}
	if (best)
		end_add(e, PARTY_NETWORK, (uint32_t)(best - p->networks), best->name);
	else
		e->unknown[e->unknown_count++] = *peer;
}

static void add_addresses(const struct policy *p, const struct observed_entry *entry, struct end *e)
{
	for (size_t i = 0; i < entry->peer_count; i++)
		add_address(p, &entry->peers[i], e);
}

static bool is_among(const struct observed_entry *entry, const struct view_peer *peer)
{
	for (size_t i = 0; i < entry->peer_count; i++) {
		for (size_t k = 0; k < peer->address_count; k++) {
			if (prefix_contains(&entry->peers[i], &peer->addresses[k]))
				return true;
		}
	}
	return entry->peer_count == 0;
}

/* An address cannot tell two identities of one node apart (R19); their own host can. */
static void add_node(const struct suggesting *s, const struct observed_entry *entry,
		     const char *node, struct end *e)
{
	const struct view *v = s->view;

	for (size_t i = 0; v && i < v->peer_count && e->count < CANDIDATES_MAX; i++) {
		int id;

		if (!str_eq(v->peers[i].node, node) || !is_among(entry, &v->peers[i]))
			continue;
		id = policy_find_identity(s->policy, v->peers[i].identity);
		if (id >= 0)
			end_add(e, PARTY_IDENTITY, (uint32_t)id, s->policy->identities[id].name);
	}
	e->doubtful = e->count > 1;
	if (e->count == 0)
		add_addresses(s->policy, entry, e);
}

/* False: nothing that a rule could name. */
static bool resolve(const struct suggesting *s, const struct observed_entry *entry,
		    const struct observed_party *party, struct end *e)
{
	int id;

	*e = (struct end){.count = 0};
	switch ((enum observed_kind)party->kind) {
	case OBSERVED_IDENTITY:
		id = policy_find_identity(s->policy, party->name);
		if (id >= 0)
			end_add(e, PARTY_IDENTITY, (uint32_t)id, s->policy->identities[id].name);
		break;
	case OBSERVED_PROCESS:
		return false;
	case OBSERVED_NODE:
		add_node(s, entry, party->name, e);
		break;
	case OBSERVED_ADDRESS:
		add_addresses(s->policy, entry, e);
		break;
	}
	return e->count + e->unknown_count > 0;
}

/* --- what a rule says already --------------------------------------------------------------- */

static bool names_party(const struct party_ref *parties, size_t count, const struct party_ref *ref)
{
	for (size_t i = 0; i < count; i++) {
		if (parties[i].kind == ref->kind && parties[i].index == ref->index)
			return true;
	}
	return false;
}

static bool rule_covers(const struct rule *r, const struct party_ref *from,
			const struct party_ref *to, const struct service *service)
{
	if (!names_party(r->from_parties, r->from_party_count, from) ||
	    !names_party(r->to_parties, r->to_party_count, to))
		return false;
	for (size_t i = 0; i < r->service_count; i++) {
		if (service_covers(&r->services[i], service))
			return true;
	}
	return false;
}

static bool pair_is_covered(const struct policy *p, const struct party_ref *from,
			    const struct party_ref *to, const struct service *service)
{
	for (size_t i = 0; i < p->rule_count; i++) {
		if (rule_covers(&p->rules[i], from, to, service))
			return true;
	}
	return false;
}

/* Of a doubtful end one is enough: its node may call, whoever it is. */
static bool is_covered(const struct policy *p, const struct end *from, const struct end *to,
		       const struct service *service)
{
	size_t covered = 0;

	if (from->unknown_count + to->unknown_count > 0)
		return false;
	for (size_t i = 0; i < from->count; i++) {
		for (size_t k = 0; k < to->count; k++)
			covered += pair_is_covered(p, &from->refs[i], &to->refs[k], service);
	}
	if (from->doubtful || to->doubtful)
		return covered > 0;
	return covered == from->count * to->count;
}

/* --- names --------------------------------------------------------------------------------- */

/* Identities and networks share one name space; rules have their own. */
static bool is_taken(const struct suggesting *s, bool rule, const char *name)
{
	if (json_object_get(rule ? s->rule_names : s->network_names, name))
		return true;
	if (rule)
		return policy_find_rule(s->policy, name) >= 0;
	return policy_find_identity(s->policy, name) >= 0 ||
	       policy_find_network(s->policy, name) >= 0;
}

/* A name that nothing has yet; what does not fit is cut. */
static char *new_name(struct suggesting *s, bool rule, const char *wanted)
{
	char *name = mem_printf("%.*s", POLICY_NAME_MAX - NAME_ROOM, wanted);

	for (unsigned n = 2; name && is_taken(s, rule, name); n++) {
		free(name);
		name = mem_printf("%.*s-%u", POLICY_NAME_MAX - NAME_ROOM, wanted, n);
	}
	if (name &&
	    json_object_set_new(rule ? s->rule_names : s->network_names, name, json_true()) < 0) {
		free(name);
		return NULL;
	}
	return name;
}

/* --- rules --------------------------------------------------------------------------------- */

static json_t *prefixes_json(struct suggesting *s, const struct prefix *p, size_t count)
{
	json_t *list = json_array();
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < count; i++)
		append(s, list, json_string(prefix_format(text, &p[i])));
	return list;
}

/* An address as itself. */
static const char *peer_format(char buf[PREFIX_TEXT_MAX], const struct prefix *p)
{
	(void)prefix_format(buf, p);
	if (p->len == 8 * addr_len(&p->addr))
		buf[strcspn(buf, "/")] = '\0';
	return buf;
}

static json_t *peers_json(struct suggesting *s, const struct observed_entry *entry)
{
	json_t *list = json_array();
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < entry->peer_count; i++)
		append(s, list, json_string(peer_format(text, &entry->peers[i])));
	return list;
}

static json_t *time_json(int64_t s)
{
	char text[RFC3339_TEXT_MAX];

	return json_string(rfc3339_format(text, (struct wall){s}));
}

/* "api-tcp-8443" and what comes behind: a slash is no letter of a name. */
static char *service_name(const struct end *known, const char *service, const char *behind)
{
	char *name =
		mem_printf("%.64s-%s%s", known->count ? known->names[0] : "host", service, behind);
	char *slash = name ? strchr(name, '/') : NULL;

	if (slash)
		*slash = '-';
	return name;
}

/* The new network of an end, or NULL when it needs none. */
static char *add_network(struct suggesting *s, const struct end *e, const struct end *other,
			 const char *service, bool is_from)
{
	CLEANUP(freep) char *wanted = NULL;
	char *name;

	if (e->unknown_count == 0)
		return NULL;
	wanted = service_name(other, service, is_from ? "-callers" : "-servers");
	name = wanted ? new_name(s, false, wanted) : NULL;
	if (name)
		append(s, s->networks,
		       json_pack("{s:s,s:o}", "name", name, "cidrs",
				 prefixes_json(s, e->unknown, e->unknown_count)));
	else
		s->failed = true;
	return name;
}

static json_t *names_json(struct suggesting *s, const struct end *e, const char *network)
{
	json_t *list = json_array();

	for (size_t i = 0; i < e->count; i++)
		append(s, list, json_string(e->names[i]));
	if (network)
		append(s, list, json_string(network));
	return list;
}

static const char *first_name(const json_t *list)
{
	const char *name = json_string_value(json_array_get(list, 0));

	return name ? name : "somebody";
}

/* "settlement-calls-api"; what one name says, the other need not say again. */
static char *rule_name(const char *from, const char *to)
{
	size_t len = strlen(to);

	if (strncmp(from, to, len) == 0 && from[len] == '-')
		return mem_strdup(from);
	len = strlen(from);
	if (strncmp(to, from, len) == 0 && to[len] == '-')
		to += len + 1;
	return mem_printf("%.48s-calls-%.48s", from, to);
}

/* Whether somebody answers on each other node where the identity runs. */
static bool has_agents(const struct suggesting *s, const char *path)
{
	for (size_t i = 0; s->view && i < s->view->peer_count; i++) {
		const struct view_node *n;

		if (!str_eq(s->view->peers[i].identity, path))
			continue;
		n = view_find_node(s->view, s->view->peers[i].node);
		if (!n || !n->has_attest)
			return false;
	}
	return true;
}

static bool end_may_vouch(const struct suggesting *s, const struct end *e)
{
	bool may = e->unknown_count == 0;

	for (size_t i = 0; i < e->count && may; i++)
		may = e->refs[i].kind == PARTY_IDENTITY &&
		      has_agents(s, s->policy->identities[e->refs[i].index].path);
	return may;
}

/* No socket stands behind an echo: nobody can vouch for it (R6). */
static bool may_be_attested(const struct suggesting *s, const struct end *from,
			    const struct end *to, const char *service)
{
	return s->vouches && !str_starts(service, "icmp") && end_may_vouch(s, from) &&
	       end_may_vouch(s, to);
}

static json_t *new_rule(struct suggesting *s, json_t *from, json_t *to, bool doubtful,
			const char *assurance)
{
	CLEANUP(freep) char *wanted = rule_name(first_name(from), first_name(to));
	CLEANUP(freep) char *name = wanted ? new_name(s, true, wanted) : NULL;
	json_t *rule = NULL;

	if (name)
		rule = json_pack("{s:s,s:O,s:O,s:[],s:I,s:n,s:n,s:[],s:b,s:s}", "name", name,
				 "from", from, "to", to, "services", "flows", (json_int_t)0,
				 "first", "last", "peers", "doubtful", doubtful, "assurance",
				 assurance);
	if (rule && json_array_append_new(s->rules, rule) < 0)
		return NULL;
	return rule;
}

static void add_unique(struct suggesting *s, json_t *list, const char *text)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		if (str_eq(json_string_value(json_array_get(list, i)), text))
			return;
	}
	append(s, list, json_string(text));
}

/* RFC 3339 in UTC sorts as text. */
static void widen_time(struct suggesting *s, json_t *rule, const char *key, int64_t at,
		       bool earliest)
{
	const char *old = json_string_value(json_object_get(rule, key));
	char text[RFC3339_TEXT_MAX];
	int order;

	(void)rfc3339_format(text, (struct wall){at});
	order = old ? strcmp(text, old) : 0;
	if (!old || (earliest ? order < 0 : order > 0))
		s->failed |= json_object_set_new(rule, key, json_string(text)) < 0;
}

static void count_into(struct suggesting *s, json_t *rule, const struct observed_entry *entry)
{
	json_t *peers = json_object_get(rule, "peers");
	char text[PREFIX_TEXT_MAX];
	json_int_t flows = json_integer_value(json_object_get(rule, "flows"));

	s->failed |= json_object_set_new(rule, "flows",
					 json_integer(flows + (json_int_t)entry->flows)) < 0;
	widen_time(s, rule, "first", entry->first, true);
	widen_time(s, rule, "last", entry->last, false);
	add_unique(s, json_object_get(rule, "services"), entry->service);
	for (size_t i = 0; i < entry->peer_count && json_array_size(peers) < OBSERVED_PEERS_MAX;
	     i++)
		add_unique(s, peers, peer_format(text, &entry->peers[i]));
}

static int propose(struct suggesting *s, const struct observed_entry *entry, const struct end *from,
		   const struct end *to)
{
	CLEANUP(freep) char *from_network = add_network(s, from, to, entry->service, true);
	CLEANUP(freep) char *to_network = add_network(s, to, from, entry->service, false);
	CLEANUP(json_decrefp) json_t *from_names = names_json(s, from, from_network);
	CLEANUP(json_decrefp) json_t *to_names = names_json(s, to, to_network);
	const char *assurance =
		may_be_attested(s, from, to, entry->service) ? "attested" : "mapped";
	CLEANUP(json_decrefp)
	json_t *ends = json_pack("[O,O,s]", from_names, to_names, assurance);
	size_t key_len = 0;
	CLEANUP(freep) char *key = ends ? json_text(ends, &key_len) : NULL;
	json_t *rule = key ? json_object_get(s->by_ends, key) : NULL;

	if (!key)
		return -ENOMEM;
	if (!rule) {
		rule = new_rule(s, from_names, to_names, from->doubtful || to->doubtful, assurance);
		if (!rule || json_object_set(s->by_ends, key, rule) < 0)
			return -ENOMEM;
	}
	count_into(s, rule, entry);
	s->covered += entry->flows;
	return 0;
}

/* --- what no rule can be written for -------------------------------------------------------- */

static const char *party_text(const struct observed_party *p)
{
	return p->kind == OBSERVED_ADDRESS ? "unknown" : p->name;
}

static int leave(struct suggesting *s, const struct observed_entry *entry, const char *why)
{
	s->uncovered += entry->flows;
	return json_array_append_new(
		s->left, json_pack("{s:o,s:o,s:s,s:I,s:o,s:o,s:o,s:s}", "from",
				   json_host_string(party_text(&entry->from)), "to",
				   json_host_string(party_text(&entry->to)), "service",
				   entry->service, "flows", (json_int_t)entry->flows, "first",
				   time_json(entry->first), "last", time_json(entry->last), "peers",
				   peers_json(s, entry), "why", why));
}

/* A process of this host that no identity claims: it needs a name before a rule. */
static int list_unclaimed(struct suggesting *s, const struct observed_entry *entry, bool calls)
{
	const struct observed_party *process = calls ? &entry->from : &entry->to;
	const struct observed_party *other = calls ? &entry->to : &entry->from;

	s->uncovered += entry->flows;
	return json_array_append_new(
		s->unclaimed,
		json_pack("{s:o,s:s,s:o,s:s,s:I,s:o,s:o,s:o}", "cgroup",
			  json_host_string(process->name), "direction", calls ? "out" : "in",
			  "other", json_host_string(party_text(other)), "service", entry->service,
			  "flows", (json_int_t)entry->flows, "first", time_json(entry->first),
			  "last", time_json(entry->last), "peers", peers_json(s, entry)));
}

static int consider(struct suggesting *s, const struct observed_entry *entry)
{
	struct end from, to;
	struct service service;

	if (entry->from.kind == OBSERVED_PROCESS)
		return list_unclaimed(s, entry, true);
	if (entry->to.kind == OBSERVED_PROCESS)
		return list_unclaimed(s, entry, false);
	if (service_parse(entry->service, &service) < 0)
		return leave(s, entry,
			     str_ends(entry->service, "/high")
				     ? "ports chosen anew each time; name those that are served"
				     : "no rule can name this protocol");
	if (!resolve(s, entry, &entry->from, &from) || !resolve(s, entry, &entry->to, &to))
		return leave(s, entry, "the policy has no such identity any more");
	if (is_covered(s->policy, &from, &to, &service)) {
		s->permitted += entry->flows;
		return 0;
	}
	return propose(s, entry, &from, &to);
}

/* --- the whole ----------------------------------------------------------------------------- */

static int by_flows(const void *a, const void *b)
{
	json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "flows"));
	json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "flows"));

	return x > y ? -1 : x < y;
}

/* What is used most first: that is what the reader must get right. */
static int sort_rules(struct suggesting *s)
{
	json_t *rules = s->rules;
	size_t count = json_array_size(rules);
	CLEANUP(freep) json_t **all = mem_calloc(count, sizeof(json_t *));

	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		all[i] = json_incref(json_array_get(rules, i));
	if (count > 1)
		qsort(all, count, sizeof(json_t *), by_flows);
	(void)json_array_clear(rules);
	for (size_t i = 0; i < count; i++)
		append(s, s->rules, all[i]);
	return 0;
}

static json_t *totals_json(const struct suggesting *s, const struct observed_totals *t)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "flows", (json_int_t)t->flows, "permitted",
			 (json_int_t)(t->permitted + s->permitted), "proposed",
			 (json_int_t)s->covered, "left", (json_int_t)s->uncovered, "unattributed",
			 (json_int_t)t->unattributed, "overflow", (json_int_t)t->overflow);
}

static void suggesting_done(struct suggesting *s)
{
	json_decref(s->rules);
	json_decref(s->networks);
	json_decref(s->unclaimed);
	json_decref(s->left);
	json_decref(s->by_ends);
	json_decref(s->rule_names);
	json_decref(s->network_names);
}

json_t *suggest_json(const struct policy *p, const struct view *v, const struct observed *o,
		     struct wall since, bool vouches)
{
	CLEANUP(suggesting_done)
	struct suggesting s = {.policy = p,
			       .view = v,
			       .vouches = vouches,
			       .rules = json_array(),
			       .networks = json_array(),
			       .unclaimed = json_array(),
			       .left = json_array(),
			       .by_ends = json_object(),
			       .rule_names = json_object(),
			       .network_names = json_object()};
	const struct observed_totals *t = observed_totals(o);
	int r = s.rules && s.networks && s.unclaimed && s.left && s.by_ends && s.rule_names &&
				s.network_names
			? 0
			: -ENOMEM;

	for (size_t i = 0; r >= 0 && i < observed_count(o); i++) {
		if (observed_at(o, i)->last >= since.s)
			r = consider(&s, observed_at(o, i));
	}
	if (r >= 0)
		r = sort_rules(&s);
	if (r < 0 || s.failed)
		return NULL;
	return json_pack("{s:s,s:o,s:O,s:O,s:O,s:O,s:o}", "trust_domain", p->trust_domain, "since",
			 time_json(t->since > since.s ? t->since : since.s), "rules", s.rules,
			 "networks", s.networks, "unclaimed", s.unclaimed, "left", s.left, "totals",
			 totals_json(&s, t));
}
