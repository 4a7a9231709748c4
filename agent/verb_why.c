/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which rule decides a conversation, or came nearest, and what to change: by names, or for the last
 * denial that was recorded here. The answer is the oracle's; it speaks for this node's agent and,
 * where both ends are named, for the other end's as far as this node knows the policy.
 */
#include "agent/verbs.h"

#include "agent/lookup.h"
#include "agent/telemetry.h"
#include "agent/telemetry_record.h"
#include "agent/why_end.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/verdict_text.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_TEXT_MAX   8192
#define FOREIGN_NAMED_MAX 8

struct why {
	struct agent *agent;
	const struct edition *edition;
	struct compile_input in;
	const struct host *host;
	struct why_end from, to;
	struct service service;
	char service_text[RECORD_SERVICE_MAX];
	struct verdict v;
	bool recorded; /* v's decision and reason are those of a record */
	bool allowed_now;
};

/* --- asking ---------------------------------------------------------------------------------- */

static int prepare(struct why *y, struct agent *a, struct err *err)
{
	y->agent = a;
	y->edition = agent_edition(a);
	y->from.identity = y->to.identity = -1;
	if (!y->edition->policy)
		return err_set(err, ENOENT, "no policy is applied; bailiwick apply DIR");
	return 0;
}

/* Last, because looking at cgroups may replace the host. */
static int take_host(struct why *y, struct err *err)
{
	agent_compile_input(y->agent, y->edition->policy, &y->in);
	y->host = workloads_host(y->agent->workloads, why_slot(y->agent));
	if (!y->host)
		return err_set(err, ENOMEM, "out of memory");
	y->in.addresses = y->host->addresses;
	y->in.address_count = y->host->address_count;
	return 0;
}

/* Given, or that of the place the mapping names first. */
static const struct addr *address_of(const struct why *y, const struct why_end *e)
{
	const struct view *v = y->agent->view;

	if (e->has_address)
		return &e->address;
	for (size_t i = 0; v && e->identity >= 0 && i < v->peer_count; i++) {
		if (v->peers[i].address_count &&
		    str_eq(v->peers[i].identity, y->edition->policy->identities[e->identity].path))
			return &v->peers[i].addresses[0];
	}
	return NULL;
}

/* A process without identity and a known address: the packet that it would send or take. */
static bool is_packet(const struct why *y)
{
	const struct why_end *local = y->from.process ? &y->from : &y->to;
	const struct why_end *far = y->from.process ? &y->to : &y->from;

	return local->process && local->identity < 0 && (far->process || address_of(y, far));
}

static int ask_packet(struct why *y, struct err *err)
{
	static const struct addr here = {AF_INET, {127, 0, 0, 1}};
	const struct why_end *far = y->from.process ? &y->to : &y->from;
	struct addr address = address_of(y, far) ? *address_of(y, far) : here;
	struct flow f = {
		.direction = y->from.process && y->to.process ? FLOW_LOOPBACK
			     : y->from.process                ? FLOW_OUT
							      : FLOW_IN,
		.src = address,
		.dst = address,
		.l4proto = service_l4proto(&y->service),
		.dport = service_is_echo(&y->service) ? service_icmp_type(&y->service)
						      : y->service.first,
	};
	int r;

	why_end_flow(y->agent, &y->from, &f.source);
	why_end_flow(y->agent, &y->to, &f.destination);
	r = take_host(y, err);
	if (r < 0)
		return r;
	return verdict_decide(&y->in, y->host, y->agent->mode, &f, &y->v, err);
}

static const char *node_of(const struct why *y, const struct why_end *e)
{
	return e->node ? e->node : e->process ? y->agent->config.node : NULL;
}

static int ask_names(struct why *y, struct err *err)
{
	struct verdict_question q = {
		.from_identity = y->from.identity,
		.to_identity = y->to.identity,
		.from_node = node_of(y, &y->from),
		.to_node = node_of(y, &y->to),
		.from_address = y->from.has_address ? &y->from.address : NULL,
		.to_address = y->to.has_address ? &y->to.address : NULL,
		.service = y->service,
	};
	int r = take_host(y, err);

	return r < 0 ? r : verdict_explain(&y->in, y->agent->mode, &q, &y->v, err);
}

static bool placed_here(const struct view *v, const char *path)
{
	for (size_t i = 0; v && path && i < v->placed_count; i++) {
		if (str_eq(v->placed[i].identity, path))
			return true;
	}
	return false;
}

/* NAME@NODE: whether the mapping puts it there, as far as this node has to know. */
static bool is_placed(const struct why *y, const struct why_end *e)
{
	const struct view *v = y->agent->view;
	const char *path;

	if (e->identity < 0 || !e->node)
		return true;
	path = y->edition->policy->identities[e->identity].path;
	if (str_eq(e->node, y->agent->config.node))
		return placed_here(v, path);
	for (size_t i = 0; v && i < v->peer_count; i++) {
		if (str_eq(v->peers[i].identity, path) && str_eq(v->peers[i].node, e->node))
			return true;
	}
	return false;
}

static int ask(struct why *y, struct err *err)
{
	if (!is_placed(y, &y->from) || !is_placed(y, &y->to)) {
		y->v = (struct verdict){.decision = DECISION_DENIED,
					.reason = REASON_NOT_PLACED,
					.from_identity = y->from.identity,
					.to_identity = y->to.identity,
					.rule = -1,
					.nearest = -1};
		return 0;
	}
	return is_packet(y) ? ask_packet(y, err) : ask_names(y, err);
}

/* --- words ----------------------------------------------------------------------------------- */

static const char *peer_node(const struct view *v, const char *path, const struct why_end *e)
{
	for (size_t i = 0; v && i < v->peer_count; i++) {
		const struct view_peer *p = &v->peers[i];

		for (size_t k = 0; e->has_address && k < p->address_count; k++) {
			if (addr_eq(&p->addresses[k], &e->address))
				return p->node;
		}
		if (!e->has_address && path && str_eq(p->identity, path))
			return p->node;
	}
	return NULL;
}

/* A caller is looked for here first, a called one elsewhere: as the oracle does. */
static const char *where_is(const struct why *y, const struct why_end *e, const char *path)
{
	const struct view *v = y->agent->view;
	const char *peer = peer_node(v, path, e);

	if (node_of(y, e))
		return node_of(y, e);
	if (placed_here(v, path) && (e == &y->from || !peer) && !e->has_address)
		return y->agent->config.node;
	return peer;
}

/* The identity that stands at an address, for showing; only a unique one. */
static int identity_at(const struct why *y, const struct addr *addr)
{
	const struct view *v = y->agent->view;
	int found = -1;

	for (size_t i = 0; v && i < v->peer_count; i++) {
		for (size_t k = 0; k < v->peers[i].address_count; k++) {
			int id;

			if (!addr_eq(&v->peers[i].addresses[k], addr))
				continue;
			id = policy_find_identity(y->edition->policy, v->peers[i].identity);
			if (found >= 0 && id != found)
				return -1;
			found = id;
		}
	}
	return found < 0 ? -1 : found;
}

/* A caller behind an address is its node: nobody vouched for more (R19). */
static int shown_identity(const struct why *y, const struct why_end *e)
{
	if (e->identity >= 0 || e->process || e == &y->from)
		return e->identity;
	return e->has_address ? identity_at(y, &e->address) : -1;
}

/* The unit, mostly. */
static const char *process_name(const struct why_end *e)
{
	const char *slash = strrchr(e->cgroup, '/');

	return slash && slash[1] ? slash + 1 : "a process";
}

static json_t *end_json(const struct why *y, const struct why_end *e)
{
	int id = shown_identity(y, e);
	const struct identity *i = id >= 0 ? &y->edition->policy->identities[id] : NULL;
	const char *node = where_is(y, e, i ? i->path : NULL);
	const char *name = i ? i->name : e->process ? process_name(e) : NULL;
	char address[ADDR_TEXT_MAX];
	json_t *o = json_pack("{s:s?,s:s?,s:s?,s:s}", "identity", i ? i->path : NULL, "name", name,
			      "node", node, "type",
			      i            ? "identity"
			      : e->process ? "unclaimed"
			      : node       ? "node"
					   : "address");

	if (e->has_address)
		(void)json_object_set_new(o, "address",
					  json_string(addr_format(address, &e->address)));
	if (e->has_port)
		(void)json_object_set_new(o, "port", json_integer(e->port));
	if (e->process) {
		(void)json_object_set_new(o, "cgroup", json_host_string(e->cgroup));
		(void)json_object_set_new(o, "uid", json_integer((json_int_t)e->uid));
	}
	return o;
}

static json_t *nearest_json(const struct policy *p, const struct verdict *v)
{
	char at[POS_TEXT_MAX];
	const struct rule *rule;
	json_t *from;

	if (v->nearest < 0)
		return json_null();
	rule = &p->rules[v->nearest];
	from = json_array();
	for (size_t i = 0; i < rule->from_count; i++)
		(void)json_array_append_new(from, json_string(rule->from[i].text));
	return json_pack("{s:s,s:s,s:s,s:o}", "rule", rule->name, "position",
			 pos_format(at, p, &rule->pos), "fails_on", v->fails_on, "from", from);
}

static void known_identity(const struct why *y, const struct why_end *e, const struct identity *id,
			   struct buf *b)
{
	const char *node = where_is(y, e, id->path);

	buf_printf(b, "%s: ", id->name);
	if (!node) {
		buf_puts(b, "placed nowhere that this node knows of");
	} else if (!str_eq(node, y->agent->config.node)) {
		buf_printf(b, "mapping %llu",
			   y->agent->view ? (unsigned long long)y->agent->view->sequence : 0);
	} else if (e->process) {
		buf_printf(b, "cgroup %s, uid %u, %s's own kernel", e->cgroup, (unsigned)e->uid,
			   node);
	} else {
		if (id->workload_count)
			workload_entry_text(&id->workload[0], b);
		buf_printf(b, ", %s's own kernel", node);
	}
}

static void known_other(const struct why *y, const struct why_end *e, struct buf *b)
{
	char address[ADDR_TEXT_MAX];
	const char *node;

	if (e->process) {
		buf_printf(b, "cgroup %s, uid %u: %s", e->cgroup, (unsigned)e->uid,
			   e->ambiguous ? "two identities claim it" : "no identity claims it");
		return;
	}
	node = peer_node(y->agent->view, NULL, e);
	buf_printf(b, "%s: ", addr_format(address, &e->address));
	if (node)
		buf_printf(b, "%s by the mapping", node);
	else
		buf_puts(b, "an address alone");
}

static void add_known(const struct why *y, const struct why_end *e, json_t *list)
{
	int id = shown_identity(y, e);
	CLEANUP(buf_done) struct buf b = {0};

	buf_init(&b, ANSWER_TEXT_MAX);
	if (id >= 0)
		known_identity(y, e, &y->edition->policy->identities[id], &b);
	else if (e->process || e->has_address)
		known_other(y, e, &b);
	if (b.r == 0 && b.len)
		(void)json_array_append_new(list, json_string(b.data));
}

/* --- other tables ---------------------------------------------------------------------------- */

static void add_foreign(void *user, const struct nft_foreign *f)
{
	json_t *list = user;
	const char *family = f->family == 2 ? "ip" : f->family == 10 ? "ip6" : "inet";

	if (f->kind == NFT_FOREIGN_BASE_CHAIN && json_array_size(list) < FOREIGN_NAMED_MAX)
		(void)json_array_append_new(
			list, json_sprintf("table %s %s, chain %s", family, f->table, f->chain));
}

/* What we allow, another table may still drop: not for us to know, but to name. */
static json_t *foreign_json(const struct why *y, struct buf *because)
{
	json_t *list = json_array();
	struct err err = {{0}};

	if (y->v.decision != DECISION_ALLOWED ||
	    nft_scan_foreign(y->agent->nft, add_foreign, list, &err) < 0)
		return list;
	for (size_t i = 0; i < json_array_size(list); i++)
		buf_printf(because, "%s%s", i ? "; " : "; judged before us too by ",
			   json_string_value(json_array_get(list, i)));
	return list;
}

/* --- the answer ------------------------------------------------------------------------------ */

/* At ingress the caller is a node, at egress the called one may be a network. */
static const struct conduit *find_by_address(const struct why *y, int from, int to)
{
	const struct generation *gen = y->edition->gen;
	const struct addr *caller = address_of(y, &y->from);
	const struct addr *called = address_of(y, &y->to);
	const struct conduit *c = NULL;

	if (from >= 0 && called)
		c = lookup_conduit(gen, (uint32_t)from, LOOKUP_OUT, called,
				   service_l4proto(&y->service), y->service.first);
	if (!c && to >= 0 && caller)
		c = lookup_conduit(gen, (uint32_t)to, LOOKUP_IN, caller,
				   service_l4proto(&y->service), y->service.first);
	return c;
}

static const struct conduit *find_conduit(const struct why *y)
{
	const struct generation *gen = y->edition->gen;
	const struct policy *p = y->edition->policy;
	const struct conduit *best = NULL;
	int from = shown_identity(y, &y->from);
	int to = shown_identity(y, &y->to);

	for (size_t i = 0; gen && i < gen->conduit_count; i++) {
		const struct conduit *c = &gen->conduits[i];
		const char *has_from = gen->parties[c->from].identity;
		const char *has_to = gen->parties[c->to].identity;

		if (from < 0 || to < 0 || !has_from || !has_to ||
		    !str_eq(has_from, p->identities[from].path) ||
		    !str_eq(has_to, p->identities[to].path) ||
		    !service_covers(&c->service, &y->service))
			continue;
		if (!best || service_covers(&best->service, &c->service))
			best = c;
	}
	return best ? best : find_by_address(y, from, to);
}

static const char *answer_word(const struct verdict *v)
{
	if (v->decision != DECISION_DENIED || v->answer == DENY_DEFAULT)
		return NULL;
	return v->answer == DENY_REJECT ? "reject" : "drop";
}

static void put_because(const struct why *y, struct buf *b)
{
	/* Nobody was asked who would answer: a record, or an end that is nowhere. */
	if (y->v.decision != DECISION_ALLOWED && y->v.answer == DENY_DEFAULT &&
	    (y->recorded || y->v.reason == REASON_NOT_PLACED))
		buf_printf(b, "%s (%s); mode %s", reason_meaning(y->v.reason),
			   reason_name(y->v.reason), mode_name(y->agent->mode));
	else
		verdict_because(&y->v, y->agent->mode, b);
	if (y->allowed_now)
		buf_puts(b, "; it would be allowed now");
}

/* Names where there are names, addresses where there are none: as records know their ends. */
static const char *seen_name(const struct why *y, const struct why_end *e, char buf[ADDR_TEXT_MAX])
{
	int id = shown_identity(y, e);

	if (id >= 0)
		return y->edition->policy->identities[id].path;
	/* No record is by that name. */
	return e->has_address ? addr_format(buf, &e->address) : e->process ? "" : NULL;
}

static json_t *seen_json(const struct why *y, const char *service)
{
	char from[ADDR_TEXT_MAX], to[ADDR_TEXT_MAX];

	return telemetry_seen(y->agent->telemetry, seen_name(y, &y->from, from),
			      seen_name(y, &y->to, to), service);
}

static json_t *answer_json(const struct why *y)
{
	const struct policy *p = y->edition->policy;
	const struct verdict *v = &y->v;
	const struct rule *rule = v->rule >= 0 ? &p->rules[v->rule] : NULL;
	const struct conduit *c = find_conduit(y);
	CLEANUP(buf_done) struct buf because = {0}, allow = {0};
	const char *text = y->service_text;
	char at[POS_TEXT_MAX];
	json_t *known = json_array(), *foreign;

	buf_init(&because, ANSWER_TEXT_MAX);
	buf_init(&allow, ANSWER_TEXT_MAX);
	put_because(y, &because);
	foreign = foreign_json(y, &because);
	if (!y->allowed_now)
		verdict_to_allow(p, v, &allow);
	add_known(y, &y->from, known);
	add_known(y, &y->to, known);
	return json_pack(
		"{s:s,s:o,s:o,s:s,s:o,s:s?,s:s?,s:o,s:s,s:s,s:s,s:s?,s:s,s:s,s:s,s:o,s:o,s:o,s:o}",
		"decision", decision_name(v->decision), "from", end_json(y, &y->from), "to",
		end_json(y, &y->to), "service", text, "conduit",
		c ? json_integer((json_int_t)c->number) : json_null(), "rule",
		rule ? rule->name : NULL, "position", rule ? pos_format(at, p, &rule->pos) : NULL,
		"nearest", nearest_json(p, v), "assurance",
		rule ? assurance_name(rule->assurance) : "none", "reason", reason_name(v->reason),
		"mode", mode_name(y->agent->mode), "answer", answer_word(v), "because",
		because.data ? because.data : "", "advice", allow.data ? allow.data : "",
		"to_allow", allow.data ? allow.data : "", "known_by", known, "lease_ends",
		wall_json(v->lease_end), "foreign", foreign, "seen", seen_json(y, text));
}

static void reply(struct request *q, const struct why *y)
{
	json_t *o = answer_json(y);
	struct err err = {{0}};

	if (o) {
		request_reply(q, y->v.decision == DECISION_ALLOWED ? EXIT_OK : EXIT_DENIED, o);
		return;
	}
	(void)err_set(&err, ENOMEM, "out of memory");
	request_fail(q, EXIT_ERROR, &err, NULL);
}

/* --- by names -------------------------------------------------------------------------------- */

static int parse_words(struct request *q, struct why *y, struct err *err)
{
	const char *src = request_string(q, "src"), *dst = request_string(q, "dst");
	const char *service = request_string(q, "service");
	int r;

	if (!src || !dst || !service)
		return err_set(err, EINVAL, "src, dst and service are needed; or last");
	if (service_parse(service, &y->service) < 0)
		return err_set(err, EINVAL,
			       "%s is no service; tcp/8443, udp/53 or icmp/echo would be right",
			       service);
	(void)service_format(y->service_text, &y->service);
	r = why_end_parse(q->agent, src, &y->from, err);
	if (r >= 0)
		r = why_end_parse(q->agent, dst, &y->to, err);
	if (r >= 0)
		why_end_find_listener(q->agent, &y->service, &y->to);
	return r;
}

/* --- the last denial ------------------------------------------------------------------------- */

static void end_of_record(const struct policy *p, const struct record_end *r, const char *node,
			  struct why_end *e)
{
	e->identity = r->identity ? policy_find_identity(p, r->identity) : -1;
	if (e->identity < 0)
		e->identity = -1;
	e->has_address = r->address.family != 0;
	e->address = r->address;
	e->has_port = r->has_port;
	e->port = r->port;
	if (r->node) {
		(void)snprintf(e->text, sizeof(e->text), "%s", r->node);
		e->node = e->text;
	}
	if (!r->cgroup || !r->node || !str_eq(r->node, node))
		return;
	e->process = true;
	e->uid = r->uid;
	(void)snprintf(e->cgroup, sizeof(e->cgroup), "%s", r->cgroup);
}

static int fill_last(struct why *y, const json_t *json, struct err *err)
{
	const struct policy *p = y->edition->policy;
	struct record r;
	int result;

	if (record_from_json(json, &r) < 0)
		return err_set(err, EBADMSG, "the last record cannot be read");
	memcpy(y->service_text, r.service, sizeof(r.service));
	end_of_record(p, &r.from, y->agent->config.node, &y->from);
	end_of_record(p, &r.to, y->agent->config.node, &y->to);
	if (service_parse(r.service, &y->service) < 0)
		y->v = (struct verdict){.decision = DECISION_DENIED,
					.rule = -1,
					.nearest = -1,
					.from_identity = -1,
					.to_identity = -1};
	else if ((result = ask(y, err)) < 0)
		return result;
	y->recorded = true;
	y->allowed_now = y->v.decision == DECISION_ALLOWED;
	if (y->v.decision != r.decision)
		y->v.answer = DENY_DEFAULT;
	y->v.decision = r.decision;
	y->v.reason = r.reason;
	return 0;
}

static int ask_last(struct request *q, struct why *y, json_t **ret_record, struct err *err)
{
	*ret_record = telemetry_last_denial(q->agent->telemetry);
	if (!*ret_record)
		return err_set(err, ENOENT, "nothing was denied here since the agent started");
	return fill_last(y, *ret_record, err);
}

static void run_why(struct request *q)
{
	CLEANUP(freep) struct why *y = mem_calloc(1, sizeof(*y));
	json_t *record = NULL;
	struct err err = {{0}};
	int r = y ? prepare(y, q->agent, &err) : err_set(&err, ENOMEM, "out of memory");

	if (r >= 0 && request_bool(q, "last")) {
		r = ask_last(q, y, &record, &err);
	} else if (r >= 0) {
		r = parse_words(q, y, &err);
		if (r >= 0)
			r = ask(y, &err);
	}
	if (r < 0)
		request_fail(q, EXIT_ERROR, &err, NULL);
	else
		reply(q, y);
	json_decref(record);
}

const struct verb verb_why = {.name = "why", .run = run_why};
