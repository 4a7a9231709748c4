/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Nodes: evicted, banned, listed. */
#include "base/mem.h"
#include "base/text.h"
#include "controller/core_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int write_state(struct core *c, uint32_t node, enum node_state state, int64_t valid_from,
		       const char *verb, const char *who, struct err *err)
{
	const char *name = views_node_at(c->views, node)->name;
	const struct node_record *n = c->nodes[node];
	CLEANUP(freep) char *report = report_text(c, node);
	int r;

	if (!report)
		return err_set(err, ENOMEM, "out of memory");
	r = core_write_begin(c, who, verb, name, NULL, err);
	if (r < 0)
		return r;
	r = store_order(c->store, STORE_NODE_PUT, err, store_text(name),
			store_text(node_state_name(state)), store_int(core_now(c).s),
			store_int(valid_from), store_int(n->seen), store_text(report));
	if (r >= 0 && state != NODE_ACTIVE)
		r = store_order(c->store, STORE_CERTS_REFUSE, err, store_text(name));
	return core_write_end(c, r, err);
}

static int find_node(struct core *c, const char *name, uint32_t *ret, struct err *err)
{
	uint32_t node;
	int r;

	r = core_ready(c, err);
	if (r == 0)
		r = check_node_name(name, err);
	if (r < 0)
		return r;
	node = views_find_node(c->views, name);
	if (node == VIEWS_NONE || !core_node_at(c, node))
		return err_set(err, ENOENT, "no node '%s' is known; 'node list' shows them", name);
	*ret = node;
	return 0;
}

static int change_state(struct core *c, uint32_t node, enum node_state state, const char *verb,
			const char *who, struct err *err)
{
	struct node_record *n = c->nodes[node];
	/* What was issued up to this second is refused, wherever it was issued. */
	int64_t valid_from = state == NODE_ACTIVE ? n->valid_from : core_now(c).s + 1;
	int r;

	r = write_state(c, node, state, valid_from, verb, who, err);
	if (r < 0)
		return r;
	n->state = state;
	n->stored = true;
	n->valid_from = valid_from;
	n->changed = core_now(c).s;
	core_shut_nodes(c);
	(void)heads_changed(c, true);
	return 0;
}

int core_node_evict(struct core *c, const char *node, const char *who, struct err *err)
{
	uint32_t at = 0;
	int r;

	r = find_node(c, node, &at, err);
	if (r < 0)
		return r;
	if (c->nodes[at]->state == NODE_BANNED)
		return err_set(err, EEXIST, "node '%s' is banned, which is more", node);
	return change_state(c, at, NODE_EVICTED, "node-evict", who, err);
}

int core_node_ban(struct core *c, const char *node, bool ban, const char *who, struct err *err)
{
	struct node_record *n;
	uint32_t at;
	int r;

	r = core_ready(c, err);
	if (r == 0)
		r = check_node_name(node, err);
	if (r < 0)
		return r;
	/* A name that nobody has may be banned before somebody gets it. */
	n = core_node(c, node, &at);
	if (!n)
		return err_set(err, ENOMEM, "out of memory, or too many nodes");
	if (!ban && n->state != NODE_BANNED)
		return err_set(err, EEXIST, "node '%s' is not banned", node);
	/* Back it must enrol again: its certificates stay refused. */
	return change_state(c, at, ban ? NODE_BANNED : NODE_EVICTED,
			    ban ? "node-ban" : "node-unban", who, err);
}

/* --- listing --------------------------------------------------------------------------------- */

static json_t *state_json(const struct core *c, uint32_t node, const struct node_record *n)
{
	const struct place_node *p = views_node_at(c->views, node);
	json_int_t known = json_integer_value(json_object_get(n->report, "head_sequence"));
	uint64_t sequence = head_sequence_known(c, node);

	return json_pack("{s:s,s:s,s:o,s:o,s:I,s:I,s:b,s:o,s:I,s:I,s:I}", "node", p->name, "state",
			 node_state_name(n->state), "since", time_json(n->changed), "last_seen",
			 time_json(n->seen), "head", (json_int_t)sequence, "head_reported", known,
			 "current", (int)(sequence > 0 && (uint64_t)known == sequence), "addresses",
			 addresses_json(p->addresses, p->address_count), "placed",
			 (json_int_t)p->hosted_count, "addresses_of_others",
			 (json_int_t)p->contested, "log_records_dropped",
			 (json_int_t)n->logs_dropped);
}

json_t *nodes_json(struct core *c)
{
	json_t *list = json_array();
	size_t count = 0;
	CLEANUP(freep) bool *listed = core_nodes_listed(c, &count);

	for (uint32_t i = 0; i < count; i++) {
		struct node_record *n = listed[i] ? core_node_at(c, i) : NULL;
		json_t *one = n ? state_json(c, i, n) : NULL;

		if (one && n->report)
			(void)json_object_set(one, "report", n->report);
		if (one)
			(void)json_array_append_new(list, one);
	}
	return list;
}

json_t *core_node_list(struct core *c, struct err *err)
{
	json_t *list;

	if (core_ready(c, err) < 0)
		return NULL;
	list = json_pack("{s:i,s:o}", "version", 1, "nodes", nodes_json(c));
	if (!list)
		(void)err_set(err, ENOMEM, "out of memory");
	return list;
}
