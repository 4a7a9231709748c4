/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The fleet as one JSON object: `bailiwick-controller status`. */
#include "base/mem.h"
#include "base/text.h"
#include "controller/core_parts.h"

#include <errno.h>
#include <stdlib.h>

#define TOKENS_LISTED    200
#define AUDIT_LISTED     50
#define REVISIONS_LISTED 10
#define ACTIONS_LISTED   100

static json_t *policy_json(const struct core *c)
{
	const struct manifest *m = &c->manifest;
	const struct policy *p = c->policy;

	if (!p)
		return json_null();
	return json_pack("{s:I,s:s,s:I,s:o,s:o,s:b,s:I,s:I,s:I,s:I}", "revision",
			 (json_int_t)m->revision, "sha256", c->manifest_sha256, "rollback_floor",
			 (json_int_t)m->rollback_floor, "issued", time_json(m->issued.s), "expires",
			 time_json(m->expires.s), "expired", (int)(core_now(c).s >= m->expires.s),
			 "identities", (json_int_t)p->identity_count, "rules",
			 (json_int_t)p->rule_count, "networks", (json_int_t)p->network_count,
			 "node_patterns", (json_int_t)p->node_count);
}

/* --- rows of the store ------------------------------------------------------------------------ */

static int append(json_t *list, json_t *one)
{
	return json_array_append_new(list, one) < 0 ? -ENOMEM : 0;
}

static int take_token(void *user, const struct store_row *row)
{
	return append(user,
		      json_pack("{s:s,s:s,s:I,s:I,s:o,s:o,s:s,s:o,s:s}", "token",
				store_row_text(row, 0), "node", store_row_text(row, 1), "uses",
				(json_int_t)store_row_int(row, 2), "used",
				(json_int_t)store_row_int(row, 3), "expires",
				time_json(store_row_int(row, 4)), "used_at",
				time_json(store_row_int(row, 5)), "used_from",
				store_row_text(row, 6), "made_at", time_json(store_row_int(row, 7)),
				"made_by", store_row_text(row, 8)));
}

static int take_audit(void *user, const struct store_row *row)
{
	size_t len;
	const char *text = store_row_bytes(row, 5, &len);
	json_t *detail = json_loadb(text, len, 0, NULL);

	return append(user,
		      json_pack("{s:I,s:o,s:s,s:s,s:s,s:o}", "id",
				(json_int_t)store_row_int(row, 0), "at",
				time_json(store_row_int(row, 1)), "who", store_row_text(row, 2),
				"verb", store_row_text(row, 3), "subject", store_row_text(row, 4),
				"detail", detail ? detail : json_null()));
}

static int take_revision(void *user, const struct store_row *row)
{
	return append(user,
		      json_pack("{s:I,s:s,s:o,s:s}", "revision", (json_int_t)store_row_int(row, 0),
				"sha256", store_row_text(row, 1), "at",
				time_json(store_row_int(row, 2)), "who", store_row_text(row, 3)));
}

static int take_action(void *user, const struct store_row *row)
{
	int64_t kind = store_row_int(row, 1);

	if (store_row_int(row, 10) == 0 || kind < 0 || kind > ACTION_GRANT)
		return 0; /* in force: listed by themselves */
	return append(user,
		      json_pack("{s:I,s:s,s:s,s:s,s:s,s:o,s:o}", "action",
				(json_int_t)store_row_int(row, 0), "kind",
				action_kind_name((enum action_kind)kind), "target",
				store_row_text(row, 2), "reason", store_row_text(row, 6), "who",
				store_row_text(row, 7), "at", time_json(store_row_int(row, 8)),
				"ended", time_json(store_row_int(row, 10))));
}

static int add_list(struct core *c, json_t *o, const char *key, enum store_query q, int64_t limit,
		    store_row_fn *take, struct err *err)
{
	json_t *list = json_array();
	int r;

	if (!list || json_object_set_new(o, key, list) < 0)
		return err_set(err, ENOMEM, "out of memory");
	r = store_ask(c->store, q, take, list, err, store_int(limit));
	return r < 0 ? r : 0;
}

/* --- actions, with the evidence that came back -------------------------------------------------
 */

struct counting {
	json_t *list;
};

static int take_evidence_count(void *user, const struct store_row *row)
{
	const struct counting *k = user;
	json_t *one;
	size_t i;

	json_array_foreach(k->list, i, one) {
		if (json_integer_value(json_object_get(one, "action")) == store_row_int(row, 0))
			(void)json_object_set_new(one, "cut", json_integer(store_row_int(row, 1)));
	}
	return 0;
}

static int add_actions(struct core *c, json_t *o, struct err *err)
{
	struct counting k = {json_array()};
	int r = 0;

	for (size_t i = 0; i < c->action_count; i++) {
		json_t *one = action_json(&c->actions[i]);

		if (one)
			(void)json_object_set_new(one, "cut", json_integer(0));
		(void)json_array_append_new(k.list, one);
	}
	if (json_object_set_new(o, "actions", k.list) < 0)
		return err_set(err, ENOMEM, "out of memory");
	if (c->action_count > 0)
		r = store_run(c->store, STORE_EVIDENCE_COUNTS, NULL, 0, take_evidence_count, &k,
			      err);
	return r < 0 ? r : 0;
}

/* --- placements ------------------------------------------------------------------------------- */

static json_t *place_json(const struct core *c, const struct place_identity *id,
			  const struct place *p)
{
	const char *node = views_node_at(c->views, p->node)->name;
	struct err why = {{0}};
	int r = views_check_stored(c->views, id, p, &why);
	json_t *o = json_pack("{s:s,s:s,s:s,s:o,s:b}", "identity", id->path, "node", node, "source",
			      place_source_name(p->source), "addresses",
			      addresses_json(p->addresses, p->address_count), "in_force",
			      (int)(r == 0));

	if (r < 0 && o)
		(void)json_object_set_new(o, "why", json_string(why.text));
	return o;
}

static json_t *places_json(const struct core *c)
{
	const struct place_identity *id;
	json_t *list = json_array();

	for (uint32_t i = 0; (id = views_identity_at(c->views, i)) != NULL; i++)
		for (size_t j = 0; j < id->place_count; j++)
			(void)json_array_append_new(list, place_json(c, id, &id->places[j]));
	return list;
}

static json_t *files_json(const struct core *c)
{
	json_t *o = json_pack("{s:b,s:I}", "ok", (int)!c->files.failed, "placements",
			      (json_int_t)c->files.applied);

	if (c->files.failed && o)
		(void)json_object_set_new(o, "error", json_string(c->files.fault.text));
	return o;
}

static json_t *summary_json(struct core *c)
{
	json_int_t current = 0, expected = 0, total = 0;
	size_t count = 0;
	CLEANUP(freep) bool *listed = core_nodes_listed(c, &count);

	for (uint32_t i = 0; i < count; i++) {
		const struct node_record *n = listed[i] ? core_node_at(c, i) : NULL;
		uint64_t sequence = head_sequence_known(c, i);

		if (!n)
			continue;
		total++;
		expected += n->state == NODE_EXPECTED;
		current += sequence > 0 && (uint64_t)json_integer_value(json_object_get(
						   n->report, "head_sequence")) == sequence;
	}
	return json_pack("{s:I,s:I,s:I}", "nodes", total, "current", current, "not_enrolled",
			 expected);
}

json_t *core_fleet_status(struct core *c, struct err *err)
{
	json_t *o;
	int r;

	if (core_ready(c, err) < 0)
		return NULL;
	o = json_pack("{s:i,s:s,s:s,s:b,s:o,s:o,s:o,s:o,s:o}", "version", 1, "trust_domain",
		      c->trust_domain, "store", c->store->ops->name, "reports_place",
		      (int)c->config.reports_place, "policy", policy_json(c), "summary",
		      summary_json(c), "nodes", nodes_json(c), "placements", places_json(c),
		      "files", files_json(c));
	r = o ? add_actions(c, o, err) : err_set(err, ENOMEM, "out of memory");
	if (r == 0)
		r = add_list(c, o, "ended", STORE_ACTIONS_RECENT, ACTIONS_LISTED, take_action, err);
	if (r == 0)
		r = add_list(c, o, "revisions", STORE_MANIFESTS, REVISIONS_LISTED, take_revision,
			     err);
	if (r == 0)
		r = add_list(c, o, "tokens", STORE_TOKENS, TOKENS_LISTED, take_token, err);
	if (r == 0)
		r = add_list(c, o, "audit", STORE_AUDIT, AUDIT_LISTED, take_audit, err);
	if (r < 0) {
		json_decref(o);
		return NULL;
	}
	return o;
}
