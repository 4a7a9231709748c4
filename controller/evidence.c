/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Flows that nodes cut, each filed under the action it is evidence of: the newest one in force, or
 * ended within the last minutes, that touches one of its ends. Nodes say what they cut, not why in
 * our words, so what matches nothing is filed under action 0 (a placement moved, another policy).
 * A report that comes again because its answer got lost adds nothing.
 */
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/core_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EVIDENCE_LISTED_MAX 10000
#define EVIDENCE_NODE_MAX   20000 /* the newest: one node must not push out what others know */

static int identity_of(const struct core *c, const json_t *flow, const char *end)
{
	const json_t *v = json_object_get(flow, end);
	const char *name = json_string_value(v);

	if (!name)
		name = json_string_value(json_object_get(v, "identity"));
	return name && c->policy ? policy_find_identity(c->policy, name) : -ENOENT;
}

static int network_of(const struct core *c, const json_t *flow, const char *end)
{
	const char *name = json_string_value(json_object_get(flow, end));

	return name && c->policy ? policy_find_network(c->policy, name) : -ENOENT;
}

struct ends {
	int from, to;                 /* identities, or negative */
	int from_network, to_network; /* or negative */
	const char *rule;
};

static bool has_path(const struct core *c, int identity, const char *path)
{
	return identity >= 0 && str_eq(c->policy->identities[identity].path, path);
}

static bool end_has_label(const struct core *c, int identity, int network, const char *expression)
{
	const struct policy *p = c->policy;

	if (identity >= 0)
		return expression_matches(expression, p->identities[identity].labels,
					  p->identities[identity].label_count);
	return network >= 0 && expression_matches(expression, p->networks[network].labels,
						  p->networks[network].label_count);
}

static bool is_party(const struct party_ref *parties, size_t count, int identity, int network)
{
	for (size_t i = 0; i < count; i++) {
		int wanted = parties[i].kind == PARTY_IDENTITY ? identity : network;

		if (wanted >= 0 && parties[i].index == (uint32_t)wanted)
			return true;
	}
	return false;
}

static bool under_rule(const struct core *c, const struct ends *e, const char *name)
{
	int at = policy_find_rule(c->policy, name);
	const struct rule *u;

	if (e->rule)
		return str_eq(e->rule, name);
	if (at < 0)
		return false;
	u = &c->policy->rules[at];
	return is_party(u->from_parties, u->from_party_count, e->from, e->from_network) &&
	       is_party(u->to_parties, u->to_party_count, e->to, e->to_network);
}

static bool explains(const struct core *c, const struct action *a, const struct ends *e)
{
	switch (a->kind) {
	case ACTION_QUARANTINE:
	case ACTION_REVOKE_IDENTITY:
		return has_path(c, e->from, a->target) || has_path(c, e->to, a->target);
	case ACTION_REVOKE_RULE:
		return under_rule(c, e, a->target);
	case ACTION_REVOKE_LABEL:
		return end_has_label(c, e->from, e->from_network, a->target) ||
		       end_has_label(c, e->to, e->to_network, a->target);
	case ACTION_GRANT:
		return false;
	}
	return false;
}

static int64_t action_of(const struct core *c, const json_t *flow)
{
	const struct ends e = {
		.from = identity_of(c, flow, "from"),
		.to = identity_of(c, flow, "to"),
		.from_network = network_of(c, flow, "from"),
		.to_network = network_of(c, flow, "to"),
		.rule = json_string_value(json_object_get(flow, "rule")),
	};

	for (size_t i = c->action_count; c->policy && i-- > 0;)
		if (explains(c, &c->actions[i], &e))
			return c->actions[i].id;
	return 0;
}

static int take_count(void *user, const struct store_row *row)
{
	*(int64_t *)user = store_row_int(row, 0);
	return 0;
}

int evidence_add(struct core *c, const char *node, const json_t *cut, struct err *err)
{
	int64_t kept = 0;
	json_t *flow;
	size_t i;
	int r = 0;

	json_array_foreach(cut, i, flow) {
		CLEANUP(freep) char *text = json_text(flow, NULL);

		if (!text)
			return err_set(err, ENOMEM, "out of memory");
		if (strlen(text) > REPORT_FLOW_MAX)
			continue;
		r = store_order(c->store, STORE_EVIDENCE_ADD, err, store_int(action_of(c, flow)),
				store_text(node), store_int(core_now(c).s), store_text(text));
		if (r < 0)
			return r;
	}
	if (json_array_size(cut) > 0)
		r = store_ask(c->store, STORE_EVIDENCE_OF_NODE, take_count, &kept, err,
			      store_text(node));
	if (r >= 0 && kept > EVIDENCE_NODE_MAX)
		r = store_order(c->store, STORE_EVIDENCE_OF_NODE_PRUNE, err, store_text(node),
				store_int(EVIDENCE_NODE_MAX));
	return r < 0 ? r : 0;
}

/* --- reading --------------------------------------------------------------------------------- */

static int take_flow(void *user, const struct store_row *row)
{
	json_t *list = user, *flow;
	size_t len;
	const char *text = store_row_bytes(row, 2, &len);

	flow = json_loadb(text, len, 0, NULL);
	if (!json_is_object(flow)) {
		json_decref(flow);
		return 0;
	}
	(void)json_object_set_new(flow, "node", json_string(store_row_text(row, 0)));
	(void)json_object_set_new(flow, "at", time_json(store_row_int(row, 1)));
	return json_array_append_new(list, flow) < 0 ? -ENOMEM : 0;
}

json_t *core_evidence(struct core *c, int64_t action, struct err *err)
{
	json_t *list, *o;
	int r;

	if (core_ready(c, err) < 0)
		return NULL;
	list = json_array();
	r = list ? store_ask(c->store, STORE_EVIDENCE, take_flow, list, err, store_int(action),
			     store_int(EVIDENCE_LISTED_MAX))
		 : err_set(err, ENOMEM, "out of memory");
	if (r < 0) {
		json_decref(list);
		return NULL;
	}
	o = json_pack("{s:i,s:I,s:o}", "version", 1, "action", (json_int_t)action, "cut", list);
	if (!o)
		(void)err_set(err, ENOMEM, "out of memory");
	return o;
}
