/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/explain.h"

#include "base/mem.h"
#include "base/text.h"
#include "base/zone.h"
#include "rules/marks.h"
#include "rules/window.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- with a view: the compiler's own answer ---- */

static json_t *party_json(const struct party *p)
{
	static const char *const types[] = {
		[PARTY_TYPE_IDENTITY] = "identity",
		[PARTY_TYPE_NODE] = "node",
		[PARTY_TYPE_NETWORK] = "network",
		[PARTY_TYPE_UNCLAIMED] = "unclaimed",
	};

	return json_pack("{s:s?, s:s?, s:s?, s:s}", "identity", p->identity, "name", p->name,
			 "node", p->node, "type", types[p->type]);
}

static int lease_cmp(const void *key, const void *item)
{
	uint32_t number = *(const uint32_t *)key, other = ((const struct lease *)item)->number;

	return number < other ? -1 : number > other;
}

static json_t *conduit_json(const struct generation *g, const struct conduit *c)
{
	uint32_t mark = c->number | (conduit_is_vouchee(g, c) ? MARK_VOUCHED : 0);
	const struct lease *lease = g->lease_count > 0 ? bsearch(&mark, g->leases, g->lease_count,
								 sizeof(*g->leases), lease_cmp)
						       : NULL;
	const char *rule = c->rule < g->rule_count ? g->rule_names[c->rule] : NULL;
	char service[SERVICE_TEXT_MAX], ends[RFC3339_TEXT_MAX];

	return json_pack("{s:I, s:o, s:o, s:s, s:s?, s:s, s:s, s:s?, s:I, s:I, s:b}", "conduit",
			 (json_int_t)c->number, "from", party_json(&g->parties[c->from]), "to",
			 party_json(&g->parties[c->to]), "service",
			 service_format(service, &c->service), "rule", rule, "verdict",
			 live_name(c->verdict != LIVE_NONE ? c->verdict : c->vouched), "assurance",
			 assurance_name((enum assurance)c->assurance), "lease_ends",
			 lease != NULL ? rfc3339_format(ends, lease->end) : NULL, "packets",
			 (json_int_t)0, "bytes", (json_int_t)0, "essential",
			 (c->flags & CONDUIT_ESSENTIAL) != 0);
}

static int explain_node(const struct offline *o, struct wall now, json_t *rows, struct err *err)
{
	CLEANUP(numbers_freep)
	struct numbers *conduits = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	CLEANUP(numbers_freep)
	struct numbers *identities = numbers_new(MARK_IDENTITY_MIN, MARK_IDENTITY_MAX);
	CLEANUP(generation_freep) struct generation *g = NULL;
	struct compile_input in;
	int r;

	if (conduits == NULL || identities == NULL)
		return err_set(err, ENOMEM, "out of memory");
	offline_input(o, now, &in);
	r = compile_generation(&in, conduits, identities, &g, err);
	for (size_t i = 0; r == 0 && i < g->conduit_count; i++)
		r = json_array_append_new(rows, conduit_json(g, &g->conduits[i]));
	return r == -1 ? err_set(err, ENOMEM, "out of memory") : r;
}

/* ---- without: what the rules say ---- */

struct rule_state {
	const char *verdict; /* accept, leased, watched; or why it is closed now */
	struct buf conditions;
};

static void put_window(const struct window *w, struct buf *b)
{
	static const char *const days[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
	const char *separator = "";

	buf_puts(b, "; ");
	for (size_t i = 0; i < ARRAY_LEN(days) && w->days != 0x7f; i++) {
		if ((w->days & 1U << i) == 0)
			continue;
		buf_printf(b, "%s%s", separator, days[i]);
		separator = ",";
	}
	buf_printf(b, "%s%02d:%02d-%02d:%02d %s", w->days != 0x7f ? " " : "", w->from_min / 60,
		   w->from_min % 60, w->to_min / 60, w->to_min % 60, w->zone);
}

void explain_conditions(const struct rule *rule, struct buf *b)
{
	char text[RFC3339_TEXT_MAX], duration[DURATION_TEXT_MAX];

	buf_puts(b, assurance_name(rule->assurance));
	if (rule->callee_attested)
		buf_puts(b, "; callee: attested");
	if (rule->assurance != ASSURANCE_MAPPED || rule->callee_attested)
		buf_puts(b, rule->on_unavailable == ON_UNAVAILABLE_ALLOW ? "; unavailable: allow"
									 : "");
	if (rule->has_expires)
		buf_printf(b, "; until %s", rfc3339_format(text, rule->expires));
	if (rule->has_window)
		put_window(&rule->window, b);
	if (rule->grantable)
		buf_printf(b, "; only by a grant, at most %s",
			   duration_format(duration, rule->grant_max_s));
	if (rule->on_stale == ON_STALE_END)
		buf_puts(b, "; ends when the mapping is stale");
	if (rule->observe)
		buf_puts(b, "; mode observe");
}

static int rule_state(const struct rule *rule, struct wall now, struct rule_state *s,
		      struct err *err)
{
	bool open = true;
	struct wall change;
	int r = 0;

	explain_conditions(rule, &s->conditions);
	if (rule->has_window)
		r = window_state(&rule->window, zone_local_time(), now, &open, &change);
	if (r < 0)
		return err_set(err, -r, "rule %s: time zone %s is not known on this host",
			       rule->name, rule->window.zone);
	if (rule->observe)
		s->verdict = "watched";
	else if (rule->has_expires && rule->expires.s <= now.s)
		s->verdict = "lease_ended";
	else if (!open)
		s->verdict = "outside_window";
	else if (rule->grantable)
		s->verdict = "not_granted";
	else
		s->verdict = rule->has_expires || rule->has_window ? "leased" : "accept";
	return 0;
}

static json_t *ref_json(const struct policy *p, const struct party_ref *ref)
{
	const struct identity *id;

	if (ref->kind == PARTY_NETWORK)
		return json_pack("{s:n, s:s, s:n, s:s}", "identity", "name",
				 p->networks[ref->index].name, "node", "type", "network");
	id = &p->identities[ref->index];
	return json_pack("{s:s, s:s, s:n, s:s}", "identity", id->path, "name", id->name, "node",
			 "type", "identity");
}

static int explain_pair(const struct policy *p, const struct rule *rule, const struct rule_state *s,
			const struct party_ref *from, const struct party_ref *to, json_t *rows)
{
	/* Whatever the rule says, the called identity's floor closes it. */
	bool too_little = to->kind == PARTY_IDENTITY &&
			  p->identities[to->index].min_assurance > rule->assurance;
	char service[SERVICE_TEXT_MAX];
	int r = 0;

	for (size_t i = 0; r == 0 && i < rule->service_count; i++)
		r = json_array_append_new(
			rows,
			json_pack("{s:o, s:o, s:s, s:s, s:s, s:s, s:s}", "from", ref_json(p, from),
				  "to", ref_json(p, to), "service",
				  service_format(service, &rule->services[i]), "rule", rule->name,
				  "verdict", too_little ? "min_assurance" : s->verdict, "assurance",
				  assurance_name(rule->assurance), "conditions",
				  s->conditions.data));
	return r;
}

static int explain_rule(const struct policy *p, const struct rule *rule, struct wall now,
			json_t *rows, struct err *err)
{
	struct rule_state s = {0};
	int r;

	buf_init(&s.conditions, ERR_TEXT_MAX);
	r = rule_state(rule, now, &s, err);
	if (r == 0)
		r = s.conditions.r;
	for (size_t i = 0; r == 0 && i < rule->from_party_count; i++) {
		for (size_t j = 0; r == 0 && j < rule->to_party_count; j++)
			r = explain_pair(p, rule, &s, &rule->from_parties[i], &rule->to_parties[j],
					 rows);
	}
	buf_done(&s.conditions);
	if (r == -1)
		return err_set(err, ENOMEM, "out of memory");
	if (r == 0 && json_array_size(rows) > EXPLAIN_ROWS_MAX)
		return err_set(err, E2BIG, "more than %d conduits", EXPLAIN_ROWS_MAX);
	return r;
}

int explain_json(const struct offline *o, struct wall now, json_t **ret, struct err *err)
{
	json_t *rows = json_array();
	int r = 0;

	if (rows == NULL)
		return err_set(err, ENOMEM, "out of memory");
	if (o->view != NULL)
		r = explain_node(o, now, rows, err);
	for (size_t i = 0; r == 0 && o->view == NULL && i < o->policy->rule_count; i++)
		r = explain_rule(o->policy, &o->policy->rules[i], now, rows, err);
	if (r < 0) {
		json_decref(rows);
		return r;
	}
	*ret = rows;
	return 0;
}
