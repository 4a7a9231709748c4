/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The answer of `why`: decision, rule, why so, what to change, what to try. */
#include "agent/why_parts.h"

#include "agent/evidence.h"
#include "agent/lookup.h"
#include "agent/telemetry.h"
#include "agent/verbs.h"
#include "agent/why_attest.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/verdict_asks.h"
#include "rules/verdict_json.h"
#include "rules/verdict_text.h"

#include <stdio.h>
#include <string.h>

#define FOREIGN_NAMED_MAX 8

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
	const struct addr *caller = why_address(y, &y->from);
	const struct addr *called = why_address(y, &y->to);
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
	int from = why_shown(y, &y->from);
	int to = why_shown(y, &y->to);

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

/* A question that nobody answered ends in silence: the next packet asks again. */
static bool is_silent(const struct why *y)
{
	return y->v.reason == REASON_ATTEST_TIMEOUT || y->v.reason == REASON_PEER_BUSY;
}

static void put_question(const struct why *y, struct buf *b)
{
	const char *word = y->record.status[0] ? ":" : "";

	why_question_because(&y->record, b);
	buf_printf(b, " (%s%s%s); mode %s", reason_name(y->v.reason), word, y->record.status,
		   mode_name(y->agent->mode));
	if (y->v.decision == DECISION_DENIED && is_silent(y))
		buf_puts(b, "; dropped in silence, so that the next try asks again");
	else if (y->v.decision == DECISION_WOULD_DENY)
		buf_puts(b, "; recorded and let pass");
}

/* Both are named, and this node has no part in it: asked here, the policy alone answers. */
static bool is_elsewhere(const struct why *y)
{
	const struct identity *all = y->edition->policy->identities;
	int from = why_shown(y, &y->from), to = why_shown(y, &y->to);

	return from >= 0 && to >= 0 && !y->recorded && !why_where(y, &y->from, all[from].path) &&
	       !why_where(y, &y->to, all[to].path);
}

static void put_because(const struct why *y, struct buf *b)
{
	if (y->recorded && why_is_question(y->v.reason)) {
		put_question(y, b);
		return;
	}
	/* Nobody was asked who would answer: a record, or an end that is nowhere. */
	if (y->v.decision != DECISION_ALLOWED && y->v.answer == DENY_DEFAULT &&
	    (y->recorded || y->v.reason == REASON_NOT_PLACED))
		buf_printf(b, "%s (%s); mode %s", verdict_meaning(&y->v), reason_name(y->v.reason),
			   mode_name(y->agent->mode));
	else
		verdict_because(&y->v, y->agent->mode, b);
	if (y->allowed_now)
		buf_puts(b, "; it would be allowed now");
	if (is_elsewhere(y))
		buf_puts(b, "; by policy alone, as this node knows neither: ask where they run");
	if (!y->recorded && y->record.evidence.asked && y->record.reason != REASON_PERMITTED)
		buf_printf(b, "; their newest connection was not vouched for (%s%s%s)",
			   reason_name((enum reason)y->record.reason),
			   y->record.status[0] ? ":" : "", y->record.status);
}

/* Names where there are names, addresses where there are none: as records know their ends. */
static const char *seen_name(const struct why *y, const struct why_end *e, char buf[ADDR_TEXT_MAX])
{
	int id = why_shown(y, e);

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

static void put_advice(const struct why *y, struct buf *b)
{
	if (y->recorded)
		why_question_advice(&y->record, b);
	if (!b->len && !y->allowed_now)
		verdict_to_allow(y->edition->policy, &y->v, b);
}

static json_t *reason_json(const struct why *y)
{
	const char *name = reason_name(y->v.reason);

	return y->recorded && y->record.status[0] ? json_sprintf("%s:%s", name, y->record.status)
						  : json_string(name);
}

static json_t *text_json(struct buf *b)
{
	json_t *text = b->r == 0 && b->len ? json_host_string(b->data) : json_null();

	buf_done(b);
	return text;
}

static json_t *asks_json(const struct why *y)
{
	const struct policy *p = y->edition->policy;
	struct buf b;
	int from = why_shown(y, &y->from), to = why_shown(y, &y->to);

	buf_init(&b, ANSWER_TEXT_MAX);
	if (y->v.rule >= 0 && !y->recorded)
		verdict_asks(p, &p->rules[y->v.rule], from, to,
			     why_where(y, &y->from, from >= 0 ? p->identities[from].path : NULL),
			     why_where(y, &y->to, to >= 0 ? p->identities[to].path : NULL), &b);
	return text_json(&b);
}

static json_t *next_json(const struct why *y)
{
	struct buf b;

	buf_init(&b, ANSWER_TEXT_MAX);
	if (y->recorded)
		why_question_next(&y->record, &b);
	return text_json(&b);
}

/* Processes of a caller here that run what is none of its reference values (UC-18). */
static json_t *executables_json(const struct why *y)
{
	int from = why_shown(y, &y->from);
	json_t *all = y->agent->evidence ? evidence_problems(y->agent->evidence) : NULL, *e;
	json_t *list = json_array();
	size_t i;

	json_array_foreach(all, i, e) {
		const char *path = json_string_value(json_object_get(e, "identity"));

		if (from >= 0 && path && y->v.reason == REASON_NOT_MEASURED &&
		    str_eq(path, y->edition->policy->identities[from].path))
			(void)json_array_append(list, e);
	}
	json_decref(all);
	return list;
}

/* Which check failed, what was said, what would be asked, what to try. */
static void add_question(const struct why *y, json_t *o)
{
	(void)json_object_set_new(o, "reason", reason_json(y));
	(void)json_object_set_new(o, "evidence", record_evidence_json(&y->record.evidence));
	(void)json_object_set_new(o, "failed", why_failed(&y->record, y->agent->config.node));
	(void)json_object_set_new(o, "asks", asks_json(y));
	(void)json_object_set_new(o, "next", next_json(y));
	(void)json_object_set_new(o, "executables", executables_json(y));
}

/* What the rule asks for, or of a flow that was recorded how well its far end was known. */
static const char *assurance_word(const struct why *y, const struct rule *rule)
{
	if (y->recorded)
		return record_assurance_name((enum record_assurance)y->record.assurance);
	return rule ? assurance_name(rule->assurance) : "none";
}

json_t *why_answer(const struct why *y)
{
	const struct policy *p = y->edition->policy;
	const struct verdict *v = &y->v;
	const struct rule *rule = v->rule >= 0 ? &p->rules[v->rule] : NULL;
	const struct conduit *c = find_conduit(y);
	CLEANUP(buf_done) struct buf because = {0}, allow = {0};
	const char *text = y->service_text;
	char at[POS_TEXT_MAX];
	json_t *known = json_array(), *foreign, *o;

	buf_init(&because, ANSWER_TEXT_MAX);
	buf_init(&allow, ANSWER_TEXT_MAX);
	put_because(y, &because);
	foreign = foreign_json(y, &because);
	put_advice(y, &allow);
	why_known(y, &y->from, known);
	why_known(y, &y->to, known);
	o = json_pack(
		"{s:s,s:o,s:o,s:s,s:o,s:s?,s:s?,s:o,s:s,s:s,s:s,s:s?,s:s,s:s,s:s,s:o,s:o,s:o,s:o}",
		"decision", decision_name(v->decision), "from", why_end_json(y, &y->from), "to",
		why_end_json(y, &y->to), "service", text, "conduit",
		c ? json_integer((json_int_t)c->number) : json_null(), "rule",
		rule ? rule->name : NULL, "position", rule ? line_format(at, p, &rule->pos) : NULL,
		"nearest", verdict_nearest_json(p, v), "assurance", assurance_word(y, rule),
		"reason", reason_name(v->reason), "mode", mode_name(y->agent->mode), "answer",
		answer_word(v), "because", because.data ? because.data : "", "advice",
		allow.data ? allow.data : "", "to_allow", allow.data ? allow.data : "", "known_by",
		known, "lease_ends", wall_json(v->lease_end), "foreign", foreign, "seen",
		seen_json(y, text));
	if (o)
		add_question(y, o);
	return o;
}
