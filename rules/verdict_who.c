/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/verdict_match.h"

#include <netinet/in.h>

#include "base/text.h"

/* --- bounds of policy ------------------------------------------------------------------------ */

static bool bound_has_address(const struct node_bound *b, const struct addr *a)
{
	for (size_t i = 0; i < b->address_count; i++) {
		if (prefix_contains(&b->addresses[i], a))
			return true;
	}
	return b->address_count == 0;
}

/* A policy without `nodes` sets no bounds; it is only accepted unsigned. a == NULL: the name only.
 */
static bool node_within_bounds(const struct policy *p, const char *node, const struct addr *a)
{
	for (size_t i = 0; i < p->node_count; i++) {
		const struct node_bound *b = &p->nodes[i];

		if (text_glob(b->pattern, node) && (a == NULL || bound_has_address(b, a)))
			return true;
	}
	return p->node_count == 0;
}

static bool node_has_label(const struct policy *p, const char *node, const struct label *label)
{
	for (size_t i = 0; i < p->node_count; i++) {
		const struct node_bound *b = &p->nodes[i];
		const char *value;

		if (!text_glob(b->pattern, node))
			continue;
		value = label_value(b->labels, b->label_count, label->key);
		if (value != NULL && str_eq(value, label->value))
			return true;
	}
	return false;
}

static bool identity_may_be_on(const struct policy *p, const struct identity *id, const char *node)
{
	bool matches = id->placement_node_count == 0;

	for (size_t i = 0; i < id->placement_node_count && !matches; i++)
		matches = text_glob(id->placement_nodes[i], node);
	for (size_t i = 0; i < id->placement_label_count && matches; i++)
		matches = node_has_label(p, node, &id->placement_labels[i]);
	return matches;
}

static bool within_bounds(const struct policy *p, uint32_t identity, const char *node,
			  const struct addr *a)
{
	return identity_may_be_on(p, &p->identities[identity], node) &&
	       node_within_bounds(p, node, a);
}

/* --- places ---------------------------------------------------------------------------------- */

static bool list_has(const struct addr *list, size_t count, const struct addr *a)
{
	for (size_t i = 0; i < count; i++) {
		if (addr_eq(&list[i], a))
			return true;
	}
	return false;
}

static bool placed_within_bounds(const struct compile_input *in, const struct view_placed *placed,
				 uint32_t identity)
{
	if (placed->address_count == 0)
		return within_bounds(in->policy, identity, in->view->node, NULL);
	for (size_t i = 0; i < placed->address_count; i++) {
		if (within_bounds(in->policy, identity, in->view->node, &placed->addresses[i]))
			return true;
	}
	return false;
}

bool identity_is_placed_here(const struct compile_input *in, uint32_t identity)
{
	const struct view *v = in->view;

	for (size_t i = 0; v != NULL && i < v->placed_count; i++) {
		if (str_eq(v->placed[i].identity, in->policy->identities[identity].path) &&
		    placed_within_bounds(in, &v->placed[i], identity))
			return true;
	}
	return false;
}

bool identity_may_be_here(const struct compile_input *in, uint32_t identity)
{
	return in->view != NULL && within_bounds(in->policy, identity, in->view->node, NULL);
}

bool peer_is_at(const struct compile_input *in, const struct view_peer *peer, uint32_t identity,
		const struct addr *a)
{
	return str_eq(peer->identity, in->policy->identities[identity].path) &&
	       list_has(peer->addresses, peer->address_count, a) &&
	       within_bounds(in->policy, identity, peer->node, a);
}

bool peer_node_is_at(const struct compile_input *in, const struct view_peer *peer,
		     uint32_t identity, const struct addr *a)
{
	const struct view_node *node = view_find_node(in->view, peer->node);

	return str_eq(peer->identity, in->policy->identities[identity].path) && node != NULL &&
	       list_has(node->addresses, node->address_count, a) &&
	       within_bounds(in->policy, identity, peer->node, a);
}

bool address_is_own(const struct compile_input *in, const struct addr *a)
{
	static const struct addr loopback4 = {AF_INET, {127, 0, 0, 1}};
	static const struct addr loopback6 = {AF_INET6, {[15] = 1}};

	if (addr_eq(a, &loopback4) || addr_eq(a, &loopback6) ||
	    list_has(in->addresses, in->address_count, a))
		return true;
	for (size_t i = 0; in->view != NULL && i < in->view->placed_count; i++) {
		if (list_has(in->view->placed[i].addresses, in->view->placed[i].address_count, a))
			return true;
	}
	return false;
}

bool network_contains(const struct network *n, const struct addr *a)
{
	for (size_t i = 0; i < n->prefix_count; i++) {
		if (prefix_contains(&n->prefixes[i], a))
			return true;
	}
	return false;
}

/* --- owners ---------------------------------------------------------------------------------- */

static bool cgroup_matches(const struct host_workload *w, const struct flow_end *end)
{
	return w->level >= 1 && w->level <= CGROUP_LEVEL_MAX &&
	       end->cgroups[w->level - 1] == w->cgroup_id;
}

/* How specific a workload is: deeper wins, then cgroup with uid over cgroup, a uid alone is last.
 */
static int workload_rank(const struct host_workload *w)
{
	if (w->cgroup_id == 0)
		return 1;
	return 2 * w->level + (w->has_uid ? 1 : 0);
}

struct look {
	bool uid_known, listening;
};

static bool workload_matches(const struct compile_input *in, const struct host_workload *w,
			     const struct flow_end *end, struct look look)
{
	if (w->ingress_only && !look.listening)
		return false;
	if (w->has_uid && (!look.uid_known || w->uid != end->uid))
		return false;
	if (w->cgroup_id != 0 ? !cgroup_matches(w, end) : !w->has_uid)
		return false;
	if (identity_is_placed_here(in, w->identity))
		return true;
	/* A uid alone is no claim of an identity that is elsewhere: users are not fleet-wide. */
	return w->cgroup_id != 0 && identity_may_be_here(in, w->identity);
}

static int owner_look(const struct compile_input *in, const struct host *host,
		      const struct flow_end *end, struct look look)
{
	int owner = OWNER_NONE, best = 0;

	if (!end->has_socket)
		return OWNER_NONE;
	for (size_t i = 0; i < host->workload_count; i++) {
		const struct host_workload *w = &host->workloads[i];

		if (workload_rank(w) > best && workload_matches(in, w, end, look)) {
			best = workload_rank(w);
			owner = (int)w->identity;
		}
	}
	return owner;
}

int owner_of_caller(const struct compile_input *in, const struct host *host,
		    const struct flow_end *end)
{
	return owner_look(in, host, end, (struct look){.uid_known = true});
}

int owner_of_listener(const struct compile_input *in, const struct host *host,
		      const struct flow_end *end, uint8_t l4proto, uint16_t port)
{
	int owner;

	/* A TIME_WAIT socket and a closed port look alike to the kernel; the table of listeners
	 * answers for both (R21). */
	for (size_t i = 0; !end->has_socket && i < host->listener_count; i++) {
		const struct host_listener *l = &host->listeners[i];

		if (l->l4proto == l4proto && l->port == port &&
		    identity_may_be_here(in, l->identity))
			return (int)l->identity;
	}
	owner = owner_look(in, host, end, (struct look){.listening = true});
	if (owner == OWNER_NONE)
		owner = owner_look(in, host, end,
				   (struct look){.listening = true, .uid_known = true});
	return owner;
}

bool owner_is_misplaced(const struct compile_input *in, int owner)
{
	return owner != OWNER_NONE && !identity_is_placed_here(in, (uint32_t)owner);
}

enum deny_answer owner_answer(const struct policy *p, int owner, bool egress)
{
	enum deny_answer answer = DENY_DEFAULT;

	if (owner != OWNER_NONE)
		answer = egress ? p->identities[owner].deny_out : p->identities[owner].deny_in;
	if (answer == DENY_DEFAULT)
		answer = egress ? p->deny_out : p->deny_in;
	if (answer == DENY_DEFAULT)
		answer = egress ? DENY_REJECT : DENY_DROP;
	return answer;
}
