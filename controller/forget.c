/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Nodes that were removed for good. Three things must outlive them: certificates that they had are
 * refused under the name's next bearer, too (recorded ones by their state, those of an existing PKI
 * by date: STORE_FORGOTTEN_*); numbers of heads go on from theirs, or agents of the next would call
 * it a rollback; and the audit log.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/core_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REASON_MAX  1025
#define NUMBER_TEXT 24

/* --- whoever has the name afterwards ---------------------------------------------------------- */

static int take_valid_from(void *user, const struct store_row *row)
{
	int64_t *ret = user;

	*ret = store_row_int(row, 0);
	return 0;
}

int core_node_recall(struct core *c, struct node_record *n, const char *name, struct err *err)
{
	int64_t from = 0;
	int r;

	if (n->recalled)
		return 0;
	r = store_ask(c->store, STORE_FORGOTTEN_GET, take_valid_from, &from, err, store_text(name));
	if (r < 0)
		return r;
	if (from > n->valid_from)
		n->valid_from = from;
	n->recalled = true;
	return 0;
}

bool *core_nodes_listed(const struct core *c, size_t *ret_count)
{
	size_t count = views_node_count(c->views);
	bool *listed = mem_calloc(count + 1, sizeof(*listed));
	const struct place_identity *id;

	*ret_count = listed ? count : 0;
	if (!listed)
		return NULL;
	for (uint32_t i = 0; i < count; i++)
		listed[i] = i < c->node_count && c->nodes[i] && c->nodes[i]->stored;
	for (uint32_t i = 0; (id = views_identity_at(c->views, i)) != NULL; i++)
		for (size_t j = 0; j < id->place_count; j++)
			listed[id->places[j].node] = true;
	return listed;
}

/* --- forgetting ------------------------------------------------------------------------------- */

static int check_state(const struct node_record *n, const char *name, struct err *err)
{
	if (n->state == NODE_EVICTED)
		return 0;
	if (n->state == NODE_BANNED)
		return err_set(
			err, EEXIST,
			"node '%s' is banned, which forgetting would end; 'node unban' first "
			"would be right",
			name);
	return err_set(err, EEXIST,
		       "node '%s' is %s; 'node evict' first would be right: it may still be there",
		       name, node_state_name(n->state));
}

static int check_places(const struct core *c, uint32_t node, const char *name, struct err *err)
{
	const struct place_identity *id;

	for (uint32_t i = 0; (id = views_identity_at(c->views, i)) != NULL; i++)
		for (size_t j = 0; j < id->place_count; j++)
			if (id->places[j].node == node && id->places[j].source != PLACE_REPORT)
				return err_set(err, EEXIST,
					       "'%s' is placed on '%s' by %s; taking that away "
					       "first would be right",
					       id->path, name,
					       id->places[j].source == PLACE_FILE ? "a file"
										  : "the API");
	return 0;
}

static uint64_t last_number(const struct head_state *h)
{
	return h->pending && h->next_sequence > h->sequence ? h->next_sequence : h->sequence;
}

static int write_floor(struct core *c, const struct node_record *n, struct err *err)
{
	uint64_t last = last_number(&n->head);
	char text[NUMBER_TEXT];

	if (last <= c->sequence_floor)
		return 0;
	(void)snprintf(text, sizeof(text), "%" PRIu64, last);
	return store_order(c->store, STORE_META_PUT, err, store_text(SEQUENCE_FLOOR),
			   store_text(text));
}

static int write_forget(struct core *c, uint32_t node, const char *reason, const char *who,
			struct err *err)
{
	static const enum store_query deletions[] = {STORE_NODE_DEL, STORE_HEAD_DEL,
						     STORE_TOKENS_DEL};
	const struct node_record *n = c->nodes[node];
	const char *name = views_node_at(c->views, node)->name;
	json_t *detail =
		json_pack("{s:s,s:I}", "reason", reason, "head", (json_int_t)last_number(&n->head));
	int r = core_write_begin(c, who, "node-forget", name, detail, err);

	json_decref(detail);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(deletions) && r >= 0; i++)
		r = store_order(c->store, deletions[i], err, store_text(name));
	for (size_t i = 0; i < n->place_count && r >= 0; i++)
		r = store_order(c->store, STORE_PLACEMENT_DEL, err,
				store_text(n->places[i].identity), store_text(name),
				store_int(PLACE_REPORT));
	if (r >= 0)
		r = store_order(c->store, STORE_FORGOTTEN_PUT, err, store_text(name),
				store_int(n->valid_from));
	if (r >= 0)
		r = write_floor(c, n, err);
	return core_write_end(c, r, err);
}

/* The record stays, as of a name that nobody has: others are numbered by their place in the list.
 */
static void blank(struct core *c, uint32_t node)
{
	struct node_record *n = c->nodes[node];
	const char *name = views_node_at(c->views, node)->name;
	const struct views_attest nowhere = {.present = false};
	uint64_t last = last_number(&n->head);

	for (size_t i = 0; i < n->place_count; i++)
		if (views_unplace(c->views, n->places[i].identity, name, PLACE_REPORT) < 0)
			c->lost = true;
	if (views_report(c->views, node, NULL, 0, &nowhere, core_now(c).s) < 0)
		c->lost = true;
	if (n->head.unsaved)
		c->unsaved--;
	if (last > c->sequence_floor)
		c->sequence_floor = last;
	json_decref(n->report);
	reported_places_free(n->places, n->place_count);
	free(n->head.envelope);
	*n = (struct node_record){.state = NODE_EXPECTED,
				  .valid_from = n->valid_from,
				  .recalled = true,
				  .owes_until_ms = n->owes_until_ms,
				  .head = {.unsure = true,
					   .next_urgent = true,
					   .sequence = c->sequence_floor,
					   .view_sequence = c->sequence_floor}};
}

int core_node_forget(struct core *c, const char *node, const char *reason, const char *who,
		     json_t **ret, struct err *err)
{
	uint32_t at;
	int r = core_ready(c, err);

	if (r == 0)
		r = check_node_name(node, err);
	if (r == 0)
		r = check_text("reason", reason, REASON_MAX, true, err);
	if (r < 0)
		return r;
	at = views_find_node(c->views, node);
	if (at == VIEWS_NONE || at >= c->node_count || !c->nodes[at] || !c->nodes[at]->stored)
		return err_set(err, ENOENT, "no node '%s' is known; 'node list' shows them", node);
	r = check_state(c->nodes[at], node, err);
	if (r == 0)
		r = check_places(c, at, node, err);
	if (r == 0)
		r = core_node_recall(c, c->nodes[at], node, err);
	if (r == 0)
		r = write_forget(c, at, reason, who, err);
	if (r < 0)
		return r;
	blank(c, at);
	core_log_forget(c, node);
	(void)heads_changed(c, false);
	*ret = json_pack("{s:i,s:s,s:s}", "version", 1, "node", node, "state", "forgotten");
	return *ret ? 0 : err_set(err, ENOMEM, "out of memory");
}
