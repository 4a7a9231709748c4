/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What there is: identities, conduits, flows. */
#include "agent/verbs.h"

#include "agent/conntrack.h"
#include "agent/usage.h"
#include "agent/workload.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/marks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOWS_LISTED_MAX 20000

/* --- identities --------------------------------------------------------------------------- */

static json_t *addresses_json(const struct agent *a, const char *path)
{
	const struct view *v = a->view;
	char text[ADDR_TEXT_MAX];
	json_t *list = json_array();

	for (size_t i = 0; i < v->placed_count; i++) {
		if (!str_eq(v->placed[i].identity, path))
			continue;
		for (size_t k = 0; k < v->placed[i].address_count; k++)
			(void)json_array_append_new(
				list, json_string(addr_format(text, &v->placed[i].addresses[k])));
	}
	return list;
}

static json_t *labels_json(const struct identity *id)
{
	json_t *list = json_array();

	for (size_t i = 0; i < id->label_count; i++)
		(void)json_array_append_new(
			list, json_sprintf("%s=%s", id->labels[i].key, id->labels[i].value));
	return list;
}

static json_t *workload_json(struct agent *a, const struct host_workload *w)
{
	struct workload_place place = {.unit = ""};
	char path[WORKLOAD_PATH_MAX] = "";
	json_t *o = json_object();

	if (w->cgroup_id) {
		(void)workloads_cgroup_path(a->workloads, w->cgroup_id, path, sizeof(path));
		(void)workloads_cgroup_place(a->workloads, w->cgroup_id, &place);
	}
	(void)json_object_set_new(o, "cgroup", w->cgroup_id ? json_host_string(path) : json_null());
	(void)json_object_set_new(o, "cgroup_id", json_integer((json_int_t)w->cgroup_id));
	(void)json_object_set_new(o, "uid", w->has_uid ? json_integer(w->uid) : json_null());
	(void)json_object_set_new(o, "unit", json_host_string(place.unit));
	(void)json_object_set_new(o, "container", json_string(place.container.id));
	(void)json_object_set_new(o, "pod", json_string(place.container.pod_uid));
	return o;
}

static json_t *workloads_json(struct agent *a, enum slot slot, uint32_t index)
{
	const struct host *host = workloads_host(a->workloads, slot);
	json_t *list = json_array();

	for (size_t i = 0; host && i < host->workload_count; i++) {
		if (host->workloads[i].identity == index) {
			struct host_workload w = host->workloads[i];

			(void)json_array_append_new(list, workload_json(a, &w));
			/* Naming a cgroup may look at the tree: the list is asked for again. */
			host = workloads_host(a->workloads, slot);
		}
	}
	return list;
}

static void run_identities(struct request *q)
{
	struct agent *a = q->agent;
	const struct edition *e = agent_edition(a);
	enum slot slot = e == &a->candidate ? SLOT_B : SLOT_A;
	json_t *list = json_array();

	for (size_t i = 0; e->gen && i < e->gen->local_count; i++) {
		const struct local_identity *l = &e->gen->locals[i];
		const struct identity *id = &e->policy->identities[l->index];

		(void)json_array_append_new(
			list,
			json_pack("{s:s,s:s,s:I,s:o,s:o,s:o}", "identity", id->path, "name",
				  id->name, "number", (json_int_t)(l->mark - MARK_IDENTITY_MIN + 1),
				  "workloads", workloads_json(a, slot, l->index), "addresses",
				  addresses_json(a, id->path), "labels", labels_json(id)));
	}
	request_reply(q, EXIT_OK, json_pack("{s:o}", "identities", list));
}

const struct verb verb_identities = {.name = "identities", .run = run_identities};

/* --- conduits ----------------------------------------------------------------------------- */

static const char *party_type_word(uint8_t type)
{
	switch ((enum party_type)type) {
	case PARTY_TYPE_IDENTITY:
		return "identity";
	case PARTY_TYPE_NODE:
		return "node";
	case PARTY_TYPE_NETWORK:
		return "network";
	case PARTY_TYPE_UNCLAIMED:
		return "unclaimed";
	}
	return "unclaimed";
}

static json_t *string_or_null(const char *s)
{
	return s ? json_string(s) : json_null();
}

json_t *party_json(const struct generation *gen, uint32_t party)
{
	const struct party *p = &gen->parties[party];

	return json_pack("{s:o,s:o,s:o,s:s}", "identity", string_or_null(p->identity), "name",
			 string_or_null(p->name), "node", string_or_null(p->node), "type",
			 party_type_word(p->type));
}

static const char *direction_word(const struct conduit *c)
{
	if (c->flags & CONDUIT_LOOPBACK)
		return "loopback";
	return c->flags & CONDUIT_IN ? "in" : "out";
}

static int lease_cmp(const void *key, const void *lease)
{
	uint32_t mark = *(const uint32_t *)key, other = ((const struct lease *)lease)->number;

	return mark < other ? -1 : mark > other;
}

/* Each element of a conduit may have its lease; that of what the address alone earns is told first.
 */
static struct wall lease_end(const struct generation *gen, uint32_t number)
{
	static const uint32_t bits[] = {0, MARK_VOUCHED, MARK_UNAVAILABLE};

	for (size_t i = 0; i < ARRAY_LEN(bits) && gen->lease_count; i++) {
		uint32_t mark = number | bits[i];
		const struct lease *l =
			bsearch(&mark, gen->leases, gen->lease_count, sizeof(*l), lease_cmp);

		if (l)
			return l->end;
	}
	return (struct wall){0};
}

/* What `live` says of a number with these bits, both generations together; NULL: nothing. */
static const char *live_word(const struct agent *a, uint32_t mark)
{
	const struct set_items *live =
		a->applied ? ruleset_find(a->applied, (struct set_ref){.kind = SET_LIVE}) : NULL;
	const uint8_t *record = live ? set_items_find(live, &mark) : NULL;

	return record ? live_name(record[set_value_offset(SET_LIVE)]) : NULL;
}

/*
 * The verdict as the two generations together make it (added, removed), or the plain one. Where the
 * address alone earns nothing, it is that of flows that were vouched for. What is not in `live` is
 * a lease that does not hold now (without an end), or was taken away.
 */
static const char *verdict_word(const struct agent *a, const struct conduit *c)
{
	const struct policy *p = agent_edition(a)->policy;
	const struct rule *rule = c->rule == RULE_NONE || !p ? NULL : &p->rules[c->rule];
	const char *word = live_word(a, c->number);

	if (!word)
		word = live_word(a, c->number | MARK_VOUCHED);
	if (word)
		return word;
	return rule && (rule->has_window || rule->has_expires) ? live_name(LIVE_LEASED) : "removed";
}

static const char *rule_word(const struct generation *gen, const struct conduit *c)
{
	if (c->flags & CONDUIT_ESSENTIAL)
		return "essential";
	return c->rule == RULE_NONE ? NULL : gen->rule_names[c->rule];
}

/* What an essential is for: why: of agent.yaml, dns, controller; of several the first. */
static const char *essential_word(const struct agent *a, const struct conduit *c)
{
	const struct essentials *all = &a->config.essentials;

	for (size_t i = 0; i < all->count && (c->flags & CONDUIT_ESSENTIAL); i++) {
		const struct essential *e = &all->entries[i];
		bool there = e->direction == ESSENTIAL_OUT  ? !(c->flags & CONDUIT_IN)
			     : e->direction == ESSENTIAL_IN ? !(c->flags & CONDUIT_OUT)
							    : true;

		if (there && e->service.kind == c->service.kind &&
		    e->service.first == c->service.first && e->service.last == c->service.last)
			return e->why;
	}
	return NULL;
}

/* What the rule asks for. Essentials are no rules: they go by addresses. */
static const char *assurance_word(const struct conduit *c)
{
	return assurance_name(c->assurance == ASSURANCE_DEFAULT ? ASSURANCE_MAPPED : c->assurance);
}

static json_t *conduit_json(struct agent *a, const struct generation *gen, const struct conduit *c)
{
	char service[SERVICE_TEXT_MAX];
	const struct usage_entry *u = usage_find(a->usage, c->number);
	json_t *o = json_pack(
		"{s:I,s:o,s:o,s:s,s:o,s:s,s:s,s:o,s:I,s:I,s:b}", "conduit", (json_int_t)c->number,
		"from", party_json(gen, c->from), "to", party_json(gen, c->to), "service",
		service_format(service, &c->service), "rule", string_or_null(rule_word(gen, c)),
		"verdict", verdict_word(a, c), "assurance", assurance_word(c), "lease_ends",
		wall_json(lease_end(gen, c->number)), "packets", (json_int_t)(u ? u->packets : 0),
		"bytes", (json_int_t)(u ? u->bytes : 0), "essential",
		(c->flags & CONDUIT_ESSENTIAL) != 0);

	(void)json_object_set_new(o, "direction", json_string(direction_word(c)));
	(void)json_object_set_new(o, "why", string_or_null(essential_word(a, c)));
	(void)json_object_set_new(o, "vouched",
				  string_or_null(live_word(a, c->number | MARK_VOUCHED)));
	(void)json_object_set_new(o, "unavailable",
				  string_or_null(live_word(a, c->number | MARK_UNAVAILABLE)));
	(void)json_object_set_new(o, "callee",
				  json_string(c->flags & CONDUIT_CALLEE ? "attested" : "mapped"));
	(void)json_object_set_new(o, "last_used_s",
				  u && u->last_used ? json_integer(wall_now().s - u->last_used)
						    : json_null());
	return o;
}

static bool unused_since(const struct agent *a, const struct conduit *c, int64_t seconds)
{
	const struct usage_entry *u = usage_find(a->usage, c->number);
	int64_t limit = wall_now().s - seconds;

	/* Flows on what asks go on as the conduit of whoever was vouched for. */
	if ((c->flags & CONDUIT_ESSENTIAL) ||
	    (c->verdict == LIVE_ASK && !(c->flags & CONDUIT_CALLEE)))
		return false;
	return !u || u->last_used < limit;
}

static const char *zone_of(const struct policy *p, const struct generation *gen, uint32_t party)
{
	const char *path = gen->parties[party].identity;
	int i = path ? policy_find_identity(p, path) : -1;
	const char *zone =
		i < 0 ? NULL
		      : label_value(p->identities[i].labels, p->identities[i].label_count, "zone");

	return zone ? zone : "-";
}

static json_t *find_zone(json_t *zones, const char *from, const char *to)
{
	size_t i;
	json_t *z;

	json_array_foreach(zones, i, z) {
		if (str_eq(json_string_value(json_object_get(z, "from")), from) &&
		    str_eq(json_string_value(json_object_get(z, "to")), to))
			return json_object_get(z, "conduits");
	}
	z = json_pack("{s:s,s:s,s:[]}", "from", from, "to", to, "conduits");
	(void)json_array_append_new(zones, z);
	return json_object_get(z, "conduits");
}

static void run_conduits(struct request *q)
{
	struct agent *a = q->agent;
	const struct edition *e = agent_edition(a);
	const struct generation *gen = e->gen;
	int64_t unused = request_int(q, "unused_s", 0);
	json_t *list = json_array(), *zones = json_array(), *o;
	struct err err = {{0}};

	if (usage_refresh(a->usage, &err) < 0)
		log_warn("usage: %s", err.text);
	for (size_t i = 0; gen && i < gen->conduit_count; i++) {
		const struct conduit *c = &gen->conduits[i];
		json_t *one;

		if (unused && !unused_since(a, c, unused))
			continue;
		one = conduit_json(a, gen, c);
		if (request_bool(q, "by_zone"))
			(void)json_array_append(find_zone(zones, zone_of(e->policy, gen, c->from),
							  zone_of(e->policy, gen, c->to)),
						one);
		(void)json_array_append_new(list, one);
	}
	o = json_pack("{s:o}", "conduits", list);
	if (request_bool(q, "by_zone"))
		(void)json_object_set(o, "zones", zones);
	json_decref(zones);
	request_reply(q, EXIT_OK, o);
}

const struct verb verb_conduits = {.name = "conduits", .run = run_conduits};

/* --- flows -------------------------------------------------------------------------------- */

struct listing {
	struct agent *agent;
	json_t *list;
	size_t count;
};

static int list_flow(void *user, const struct ct_flow *f)
{
	struct listing *l = user;

	if (!f->mark || f->mark == MARK_REFUSED || l->count++ >= FLOWS_LISTED_MAX)
		return 0;
	(void)json_array_append_new(l->list, agent_flow_json(l->agent, &f->src, f->sport, &f->dst,
							     f->dport, f->l4proto, f->mark,
							     f->packets, f->bytes, f->state));
	return 0;
}

static void run_flows(struct request *q)
{
	struct listing l = {.agent = q->agent, .list = json_array()};
	struct err err = {{0}};

	if (conntrack_dump(q->agent->conntrack, list_flow, &l, &err) < 0) {
		json_decref(l.list);
		request_fail(q, EXIT_ERROR, &err, NULL);
		return;
	}
	request_reply(q, EXIT_OK,
		      json_pack("{s:o,s:I}", "flows", l.list, "total", (json_int_t)l.count));
}

const struct verb verb_flows = {.name = "flows", .run = run_flows};
