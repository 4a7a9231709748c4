/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which rule decides a conversation, or came nearest, and what to change: by names, or for the last
 * denial that was recorded here. The answer is the oracle's; it speaks for this node's agent and,
 * where both ends are named, for the other end's as far as this node knows the policy.
 */
#include "agent/verbs.h"

#include "agent/attest.h"
#include "agent/telemetry.h"
#include "agent/why_attest.h"
#include "agent/why_parts.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

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
const struct addr *why_address(const struct why *y, const struct why_end *e)
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

	return local->process && local->identity < 0 && (far->process || why_address(y, far));
}

static int ask_packet(struct why *y, struct err *err)
{
	static const struct addr here = {AF_INET, {127, 0, 0, 1}};
	const struct why_end *far = y->from.process ? &y->to : &y->from;
	struct addr address = why_address(y, far) ? *why_address(y, far) : here;
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

static int ask_names(struct why *y, struct err *err)
{
	struct verdict_question q = {
		.from_identity = y->from.identity,
		.to_identity = y->to.identity,
		.from_node = why_node(y, &y->from),
		.to_node = why_node(y, &y->to),
		.from_address = y->from.has_address ? &y->from.address : NULL,
		.to_address = y->to.has_address ? &y->to.address : NULL,
		.service = y->service,
	};
	int r = take_host(y, err);

	return r < 0 ? r : verdict_explain(&y->in, y->agent->mode, &q, &y->v, err);
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
		return why_placed_here(v, path);
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

/* --- the answer ------------------------------------------------------------------------------ */

static void reply(struct request *q, const struct why *y)
{
	json_t *o = why_answer(y);
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

/* Of a local end that nobody knows any more the oracle only says what anybody may. */
static bool is_known_here(const struct why *y, const struct record *r)
{
	const struct why_end *local = r->direction == RECORD_IN ? &y->to : &y->from;

	return local->identity >= 0 || local->process;
}

/*
 * The oracle knows who may call whom; whether somebody vouched for one connection it does not. A
 * question is decided by the rule that asked.
 */
static void take_rule(struct why *y, const struct record *r)
{
	const struct policy *p = y->edition->policy;

	if (!why_is_question((enum reason)r->reason))
		return;
	y->allowed_now = false;
	y->v.rule = y->v.nearest = -1;
	for (size_t i = 0; r->rule && i < p->rule_count; i++) {
		if (str_eq(p->rules[i].name, r->rule))
			y->v.rule = (int)i;
	}
}

static int fill_last(struct why *y, const json_t *json, struct err *err)
{
	const struct policy *p = y->edition->policy;
	struct record r;
	int result;

	if (record_from_json(json, &r) < 0)
		return err_set(err, EBADMSG, "the last record cannot be read");
	y->record = r;
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
	y->allowed_now = y->v.decision == DECISION_ALLOWED && is_known_here(y, &r);
	if (y->v.decision != r.decision)
		y->v.answer = DENY_DEFAULT;
	y->v.decision = r.decision;
	y->v.reason = r.reason;
	take_rule(y, &r);
	return 0;
}

static int ask_last(struct request *q, struct why *y, json_t **ret_record, struct err *err)
{
	*ret_record = telemetry_last_denial(q->agent->telemetry);
	if (!*ret_record)
		return err_set(err, ENOENT, "nothing was denied here since the agent started");
	return fill_last(y, *ret_record, err);
}

/* Somebody was asked about the newest connection between the two not long ago. */
static void recall(struct why *y)
{
	const struct policy *p = y->edition->policy;
	int from = why_shown(y, &y->from), to = why_shown(y, &y->to);
	const struct attest_record *r;

	if (!y->agent->attest || from < 0 || to < 0 || service_is_echo(&y->service))
		return;
	r = attest_recall_identity(y->agent->attest, p->identities[from].path,
				   p->identities[to].path, y->service.first);
	if (!r)
		return;
	attested_evidence(r, p->trust_domain, &y->texts, &y->record.evidence);
	y->record.reason = (uint8_t)r->reason;
	(void)snprintf(y->record.status, sizeof(y->record.status), "%s", r->status);
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
		if (r >= 0)
			recall(y);
	}
	if (r < 0)
		request_fail(q, EXIT_ERROR, &err, NULL);
	else
		reply(q, y);
	json_decref(record);
}

const struct verb verb_why = {.name = "why", .run = run_why};
