/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who the two ends of a `why` are, where they are, and how that is known. */
#include "agent/why_parts.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/verdict_text.h"

#include <string.h>

const char *why_node(const struct why *y, const struct why_end *e)
{
	return e->node ? e->node : e->process ? y->agent->config.node : NULL;
}

bool why_placed_here(const struct view *v, const char *path)
{
	for (size_t i = 0; v && path && i < v->placed_count; i++) {
		if (str_eq(v->placed[i].identity, path))
			return true;
	}
	return false;
}

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
const char *why_where(const struct why *y, const struct why_end *e, const char *path)
{
	const struct view *v = y->agent->view;
	const char *peer = peer_node(v, path, e);

	if (why_node(y, e))
		return why_node(y, e);
	if (why_placed_here(v, path) && (e == &y->from || !peer) && !e->has_address)
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
int why_shown(const struct why *y, const struct why_end *e)
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

json_t *why_end_json(const struct why *y, const struct why_end *e)
{
	int id = why_shown(y, e);
	const struct identity *i = id >= 0 ? &y->edition->policy->identities[id] : NULL;
	const char *node = why_where(y, e, i ? i->path : NULL);
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

/* Whether the far agent was asked about this end, and named it. */
static bool is_vouched(const struct why *y, const struct why_end *e, const struct identity *id)
{
	const struct record_evidence *v = &y->record.evidence;
	const char *path = v->spiffe_id ? strstr(v->spiffe_id, "://") : NULL;

	path = path ? strchr(path + 3, '/') : NULL;
	return v->asked && v->status && !e->process && path && str_eq(path + 1, id->path);
}

static void known_vouched(const struct why *y, struct buf *b)
{
	const struct record_evidence *v = &y->record.evidence;

	buf_printf(b, "%s vouched for %s connection", v->asked,
		   y->recorded ? "this" : "its newest");
	if (v->unit)
		buf_printf(b, ", unit %s", v->unit);
}

static void known_identity(const struct why *y, const struct why_end *e, const struct identity *id,
			   struct buf *b)
{
	const char *node = why_where(y, e, id->path);

	buf_printf(b, "%s: ", id->name);
	if (is_vouched(y, e, id)) {
		known_vouched(y, b);
	} else if (!node) {
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

void why_known(const struct why *y, const struct why_end *e, json_t *list)
{
	int id = why_shown(y, e);
	CLEANUP(buf_done) struct buf b = {0};

	buf_init(&b, ANSWER_TEXT_MAX);
	if (id >= 0)
		known_identity(y, e, &y->edition->policy->identities[id], &b);
	else if (e->process || e->has_address)
		known_other(y, e, &b);
	if (b.r == 0 && b.len)
		(void)json_array_append_new(list, json_string(b.data));
}
