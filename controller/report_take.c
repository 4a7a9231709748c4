/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a node's report changes: its addresses and attestation port, where identities run (if
 * reports may place), evidence of flows it cut. Placements and evidence are in the store before the
 * node gets its answer; the rest is shown, and saved once a second.
 */
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/core_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void reported_places_free(struct reported_place *places, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(places[i].identity);
		free(places[i].addresses);
	}
	free(places);
}

struct taking {
	struct core *c;
	const char *node;
	uint32_t at;
	const struct report *report;
	struct reported_place *now; /* what policy lets be placed here, of what was reported */
	size_t now_count;
	struct place_order *orders; /* against what was stored; texts are borrowed */
	size_t order_count, order_cap;
};

static void taking_done(struct taking *t)
{
	reported_places_free(t->now, t->now_count);
	free(t->orders);
}

/* --- placements ------------------------------------------------------------------------------- */

static const struct reported_place *find(const struct reported_place *places, size_t count,
					 const char *identity)
{
	for (size_t i = 0; i < count; i++)
		if (str_eq(places[i].identity, identity))
			return &places[i];
	return NULL;
}

/*
 * Addresses outside the bounds, and those of other nodes, are left out; without any left, it is
 * where the node is.
 */
static int keep_within(const struct taking *t, const struct report_workload *w,
		       struct reported_place *p)
{
	p->addresses = mem_calloc(w->address_count, sizeof(*p->addresses));
	if (!p->addresses)
		return -ENOMEM;
	for (size_t i = 0; i < w->address_count; i++)
		if (views_may_have(t->c->views, t->at, &w->addresses[i], core_now(t->c).s))
			p->addresses[p->address_count++] = w->addresses[i];
	return 0;
}

static int take_workload(struct taking *t, const struct report_workload *w)
{
	const struct policy *p = t->c->policy;
	int index = policy_find_identity(p, w->identity);
	const char *path = index >= 0 ? p->identities[index].path : NULL;
	struct reported_place *place = &t->now[t->now_count];

	if (!path || find(t->now, t->now_count, path) ||
	    views_check_place(t->c->views, path, t->node, NULL, 0, NULL) < 0)
		return 0;
	place->identity = mem_strdup(path);
	if (!place->identity)
		return -ENOMEM;
	t->now_count++;
	return keep_within(t, w, place);
}

static bool same_addresses(const struct reported_place *a, const struct reported_place *b)
{
	if (a->address_count != b->address_count)
		return false;
	for (size_t i = 0; i < a->address_count; i++)
		if (!addr_eq(&a->addresses[i], &b->addresses[i]))
			return false;
	return true;
}

static int order(struct taking *t, const struct reported_place *p, bool remove)
{
	int r = vec_grow(&t->orders, &t->order_cap, t->order_count + 1, sizeof(*t->orders),
			 (size_t)2 * REPORT_WORKLOADS_MAX);

	if (r == 0)
		t->orders[t->order_count++] = (struct place_order){
			p->identity, t->node, p->addresses, p->address_count, remove};
	return r;
}

static int compare(struct taking *t)
{
	const struct node_record *n = t->c->nodes[t->at];
	int r = 0;

	for (size_t i = 0; i < t->now_count && r == 0; i++) {
		const struct reported_place *was =
			find(n->places, n->place_count, t->now[i].identity);

		if (!was || !same_addresses(was, &t->now[i]))
			r = order(t, &t->now[i], false);
	}
	for (size_t i = 0; i < n->place_count && r == 0; i++)
		if (!find(t->now, t->now_count, n->places[i].identity))
			r = order(t, &n->places[i], true);
	return r;
}

/* Without a policy nothing can be judged, and what was known stays. */
static int judge_places(struct taking *t)
{
	const struct report *report = t->report;
	int r = 0;

	if (!t->c->config.reports_place || !report->has_workloads || !t->c->policy)
		return 0;
	t->now = mem_calloc(report->workload_count, sizeof(*t->now));
	if (!t->now)
		return -ENOMEM;
	for (size_t i = 0; i < report->workload_count && r == 0; i++)
		r = take_workload(t, &report->workloads[i]);
	return r < 0 ? r : compare(t);
}

static json_t *orders_json(const struct taking *t)
{
	json_t *placed = json_array(), *removed = json_array();

	for (size_t i = 0; i < t->order_count; i++)
		(void)json_array_append_new(t->orders[i].remove ? removed : placed,
					    json_string(t->orders[i].identity));
	return json_pack("{s:o,s:o,s:I}", "placed", placed, "removed", removed, "cut",
			 (json_int_t)json_array_size(t->report->cut));
}

static int write_changes(struct taking *t, struct err *err)
{
	size_t flows = json_array_size(t->report->cut);
	struct core *c = t->c;
	json_t *detail;
	int r;

	core_node_charge(c, c->nodes[t->at], CHARGE_REPORT_MS);
	if (t->order_count == 0 && flows == 0)
		return 0;
	core_node_charge(c, c->nodes[t->at],
			 CHARGE_WRITE_MS + CHARGE_PLACE_MS * (int64_t)t->order_count +
				 CHARGE_FLOW_MS * (int64_t)flows);
	detail = orders_json(t);
	r = core_write_begin(c, t->node, "report", t->node, detail, err);
	json_decref(detail);
	if (r < 0)
		return r;
	for (size_t i = 0; i < t->order_count && r >= 0; i++)
		r = place_store(c, &t->orders[i], PLACE_REPORT, err);
	if (r >= 0)
		r = evidence_add(c, t->node, t->report->cut, err);
	return core_write_end(c, r, err);
}

/* --- after the commit ------------------------------------------------------------------------- */

static void apply(struct taking *t)
{
	struct core *c = t->c;
	struct node_record *n = c->nodes[t->at];
	const struct report *report = t->report;
	const struct views_attest attest = {report->has_attest, report->attest_address,
					    report->attest_port};

	if (views_report(c->views, t->at, report->addresses, report->address_count, &attest,
			 core_now(c).s) < 0)
		c->lost = true;
	for (size_t i = 0; i < t->order_count; i++)
		(void)place_apply(c, &t->orders[i], PLACE_REPORT);
	if (t->now) {
		reported_places_free(n->places, n->place_count);
		n->places = TAKE_PTR(t->now);
		n->place_count = t->now_count;
		t->now_count = 0;
	}
	json_decref(n->report);
	n->report = json_incref(report->kept);
	n->seen = core_now(c).s;
	n->report_unsaved = true;
	head_catch_up(c, t->at, report->head_sequence, report->view_sequence);
	core_node_charge(c, n, CHARGE_HEAD_MS * (int64_t)heads_changed(c, false));
}

static int take(struct taking *t, struct err *err)
{
	int r = judge_places(t);

	if (r < 0)
		return err_set(err, -r, "status: %s", strerror(-r));
	r = write_changes(t, err);
	if (r == 0)
		apply(t);
	return r;
}

int core_status(struct core *c, const char *node, const char *json, size_t len, struct err *err)
{
	struct taking t = {.c = c, .node = node};
	struct report report = {0};
	struct node_record *n;
	int r;

	r = core_ready(c, err);
	if (r == 0)
		r = check_node_name(node, err);
	if (r == 0)
		r = report_decode(json, len, node, &report, err);
	if (r < 0)
		return r == -EBADMSG ? -EINVAL : r;
	t.report = &report;
	n = core_node(c, node, &t.at);
	if (!n)
		r = err_set(err, ENOMEM, "out of memory, or too many nodes");
	else
		r = core_node_admitted(n, node, err);
	if (r == 0)
		r = core_node_may(c, n, node, err);
	if (r == 0)
		r = core_node_store(c, t.at, err);
	if (r == 0)
		r = take(&t, err);
	taking_done(&t);
	report_done(&report);
	return r;
}

/* --- the store ------------------------------------------------------------------------------- */

#define HELD "held"

/*
 * With the addresses that the node holds, for who said so first cannot be told from what everybody
 * said last: a node that reports another's address would have it after the next start.
 */
char *report_text(const struct core *c, uint32_t node)
{
	const struct place_node *p = views_node_at(c->views, node);
	const struct node_record *n = node < c->node_count ? c->nodes[node] : NULL;
	CLEANUP(json_decrefp) json_t *o = n && n->report ? json_copy(n->report) : json_object();
	CLEANUP(json_decrefp) json_t *held = json_array();
	char text[ADDR_TEXT_MAX];

	for (size_t i = 0; i < p->reported_count; i++) {
		if (json_array_append_new(held, json_string(addr_format(text, &p->reported[i]))) <
		    0)
			return NULL;
	}
	return json_object_set(o, HELD, held) < 0 ? NULL : json_text(o, NULL);
}

static bool is_unsaved(const struct core *c, uint32_t node)
{
	const struct node_record *n = c->nodes[node];

	return n && (n->report_unsaved ||
		     (n->report && n->losses_saved != views_node_at(c->views, node)->losses));
}

int reports_save(struct core *c, struct err *err)
{
	bool begun = false;
	int r = 0;

	for (uint32_t i = 0; i < c->node_count && r >= 0; i++) {
		struct node_record *n = c->nodes[i];
		CLEANUP(freep) char *text = NULL;

		if (!is_unsaved(c, i))
			continue;
		text = report_text(c, i);
		if (!text)
			r = err_set(err, ENOMEM, "out of memory");
		if (r == 0 && !begun) {
			r = store_begin(c->store, err);
			if (r < 0)
				return r;
			begun = true;
		}
		if (r >= 0)
			r = store_order(c->store, STORE_NODE_REPORT, err,
					store_text(views_node_at(c->views, i)->name),
					store_int(n->seen), store_text(text));
	}
	if (begun)
		r = core_write_end(c, r, err);
	for (uint32_t i = 0; i < c->node_count && r == 0 && begun; i++) {
		if (!c->nodes[i])
			continue;
		c->nodes[i]->report_unsaved = false;
		c->nodes[i]->losses_saved = views_node_at(c->views, i)->losses;
	}
	return r < 0 ? r : 0;
}

int report_restore(struct core *c, uint32_t node, const json_t *kept, int64_t at)
{
	const json_t *held = json_object_get(kept, HELD);
	const json_t *list = held ? held : json_object_get(kept, "addresses");
	const json_t *attest = json_object_get(kept, "attest");
	const char *address = json_string_value(json_object_get(attest, "address"));
	struct addr addresses[VIEW_ADDRESSES_MAX];
	struct views_attest a = {0};
	size_t count = 0;

	for (size_t i = 0; i < json_array_size(list) && count < VIEW_ADDRESSES_MAX; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		count += text && addr_parse(text, &addresses[count]) == 0;
	}
	a.port = (uint16_t)json_integer_value(json_object_get(attest, "port"));
	a.present = address && a.port > 0 && addr_parse(address, &a.address) == 0;
	return views_report(c->views, node, addresses, count, &a, at);
}
