/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who stands at the two ends of a flow: by socket, by the kernel's own mark, by the mapping. */
#include "agent/telemetry_parts.h"

#include "agent/owner.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/marks.h"

#include <netinet/in.h>
#include <string.h>

enum slot explain_slot(const struct agent *a)
{
	return agent_edition(a) == &a->candidate ? SLOT_B : SLOT_A;
}

bool explain_service(const struct about *b, struct service *ret)
{
	char text[RECORD_SERVICE_MAX];

	record_service(text, b->l4proto, b->dport);
	return service_parse(text, ret) == 0;
}

/* --- ends ------------------------------------------------------------------------------------ */

static void know_socket(struct explainer *x, const struct socket_info *s, struct known_end *k)
{
	struct agent *a = x->agent;
	struct workload_answer w;

	k->has_socket = true;
	k->socket = *s;
	k->end.has_socket = true;
	k->end.uid = s->uid;
	k->has_uid = true;
	if (workloads_cgroup_line(a->workloads, s->cgroup_id, k->cgroup, sizeof(k->cgroup),
				  k->end.cgroups, ARRAY_LEN(k->end.cgroups)) < 0)
		k->cgroup[0] = '\0';
	if (workloads_resolve(a->workloads, explain_slot(a), s->cgroup_id, s->uid, &w) < 0)
		return;
	if (w.host_changed) /* nobody else is told of it: a question would repeat for ever */
		agent_touch(a, DIRTY_HOST);
	k->identity = w.what == WORKLOAD_IDENTITY ? w.identity : -1;
	k->ambiguous = w.what == WORKLOAD_AMBIGUOUS;
}

static void find_caller(struct explainer *x, const struct about *b)
{
	struct socket_tuple t = {.l4proto = b->l4proto,
				 .local = b->src,
				 .remote = b->dst,
				 .local_port = b->sport,
				 .remote_port = b->dport,
				 .ifindex = b->ifindex};
	struct socket_info s;

	if (owner_find(x->owner, &t, &s) == 0)
		know_socket(x, &s, &x->from);
}

static void find_called(struct explainer *x, const struct about *b)
{
	struct socket_tuple t = {.l4proto = b->l4proto,
				 .local = b->dst,
				 .remote = b->src,
				 .local_port = b->dport,
				 .remote_port = b->sport,
				 .ifindex = b->ifindex};
	struct socket_info s;

	/* The accepted socket may be gone; who listens is who was called, as the kernel has it. */
	if (owner_find(x->owner, &t, &s) == 0 ||
	    (b->l4proto == IPPROTO_TCP &&
	     owner_find_listener(x->owner, b->l4proto, &b->dst, b->dport, &s) == 0))
		know_socket(x, &s, &x->to);
}

/* The identity that the kernel found, where the socket is gone. */
static int identity_of_mark(const struct agent *a, uint32_t mark)
{
	const struct generation *gen = agent_edition(a)->gen;

	if (mark < MARK_IDENTITY_MIN || mark > MARK_IDENTITY_MAX)
		return -1;
	for (size_t i = 0; gen && i < gen->local_count; i++) {
		if (gen->locals[i].mark == mark)
			return (int)gen->locals[i].index;
	}
	return -1;
}

static bool is_local(const struct generation *gen, uint32_t identity)
{
	for (size_t i = 0; i < gen->local_count; i++) {
		if (gen->locals[i].index == identity)
			return true;
	}
	return false;
}

/*
 * Of a process whose identity is not placed here the kernel says just that. Whose it is can still
 * be told where only one such identity has processes here.
 */
static int misplaced_identity(const struct agent *a, const struct known_end *k)
{
	const struct host *host = workloads_host(a->workloads, explain_slot(a));
	const struct generation *gen = agent_edition(a)->gen;
	int found = -1;

	for (size_t i = 0; host && gen && i < host->workload_count; i++) {
		const struct host_workload *w = &host->workloads[i];

		if (w->cgroup_id == 0 || is_local(gen, w->identity) ||
		    (w->has_uid && k->has_uid && w->uid != k->end.uid))
			continue;
		if (found >= 0 && found != (int)w->identity)
			return -1;
		found = (int)w->identity;
	}
	return found;
}

void ends_know_workload(struct explainer *x, struct known_end *k)
{
	struct agent *a = x->agent;
	const struct host *host = workloads_host(a->workloads, explain_slot(a));
	struct host_workload found = {0};
	uint64_t line[CGROUP_LEVEL_MAX];
	size_t count = 0;

	for (size_t i = 0; host && i < host->workload_count; i++) {
		const struct host_workload *w = &host->workloads[i];

		if ((int)w->identity != k->identity || w->ingress_only || w->level == 0 ||
		    w->level > CGROUP_LEVEL_MAX ||
		    (w->has_uid && k->has_uid && w->uid != k->end.uid))
			continue;
		if (count++ == 0)
			found = *w;
	}
	if (count == 0)
		return;
	k->end.has_socket = true;
	k->end.cgroups[found.level - 1] = found.cgroup_id;
	if (found.has_uid)
		k->end.uid = found.uid;
	if (count > 1 || workloads_cgroup_line(a->workloads, found.cgroup_id, k->cgroup,
					       sizeof(k->cgroup), line, ARRAY_LEN(line)) < 0)
		k->cgroup[0] = '\0';
	else
		k->has_uid |= found.has_uid;
}

void ends_find(struct explainer *x, const struct about *b, const struct logged *l)
{
	bool sockets = b->l4proto == IPPROTO_TCP || b->l4proto == IPPROTO_UDP;
	struct known_end *local = b->from_here ? &x->from : &x->to;

	memset(&x->from, 0, sizeof(x->from));
	memset(&x->to, 0, sizeof(x->to));
	x->from.identity = x->to.identity = -1;
	if (b->from_here && sockets)
		find_caller(x, b);
	if (b->to_here && sockets)
		find_called(x, b);
	if (local->has_socket)
		return;
	if (l && l->has_uid && l->out) {
		local->end.uid = l->uid;
		local->has_uid = true;
	}
	if (local->identity < 0)
		local->identity = b->mark == MARK_IDENTITY_MISPLACED
					  ? misplaced_identity(x->agent, local)
					  : identity_of_mark(x->agent, b->mark);
	if (local->identity >= 0)
		ends_know_workload(x, local);
}

/* --- far ends -------------------------------------------------------------------------------- */

const char *ends_node(const struct agent *a, const struct addr *addr)
{
	const struct view *v = a->view;

	for (size_t i = 0; v && i < v->node_count; i++) {
		for (size_t k = 0; k < v->nodes[i].address_count; k++) {
			if (addr_eq(&v->nodes[i].addresses[k], addr))
				return v->nodes[i].node;
		}
	}
	for (size_t i = 0; v && i < v->peer_count; i++) {
		for (size_t k = 0; k < v->peers[i].address_count; k++) {
			if (addr_eq(&v->peers[i].addresses[k], addr))
				return v->peers[i].node;
		}
	}
	return NULL;
}

static bool serves(const struct view_peer *peer, const struct identity *id, const struct service *s)
{
	const struct service *list = peer->has_services ? peer->services : id->serves;
	size_t count = peer->has_services ? peer->service_count : id->serves_count;

	for (size_t i = 0; i < count; i++) {
		if (service_covers(&list[i], s))
			return true;
	}
	return false;
}

int ends_called(const struct agent *a, const struct about *b)
{
	const struct view *v = a->view;
	const struct policy *p = agent_edition(a)->policy;
	struct service service;
	int only = -1;
	size_t count = 0;

	if (!b->ports || !explain_service(b, &service))
		return -1;
	for (size_t i = 0; v && p && i < v->peer_count; i++) {
		for (size_t k = 0; k < v->peers[i].address_count; k++) {
			int id;

			if (!addr_eq(&v->peers[i].addresses[k], &b->dst))
				continue;
			id = policy_find_identity(p, v->peers[i].identity);
			if (id >= 0 && serves(&v->peers[i], &p->identities[id], &service))
				return id;
			only = id;
			count++;
		}
	}
	return count == 1 ? only : -1;
}
