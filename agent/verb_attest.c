/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Attested connections as people see them: `attest ping` asks another node's agent and tells each
 * check; `status` tells what is held, who answers, and what is wrong on this side.
 */
#include "agent/verbs.h"

#include "agent/attest.h"
#include "agent/evidence.h"
#include "agent/node_key.h"
#include "agent/peers.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <string.h>

#define NO_AGENT_NAMED_MAX 16

/* --- status ------------------------------------------------------------------------------- */

/* Nodes to whose agents some stream stands, whoever opened it: a node that is only asked opens
 * none. */
static json_int_t connected_nodes(const json_t *peers)
{
	json_t *nodes = json_object(), *peer;
	json_int_t count;
	size_t i;

	json_array_foreach(peers, i, peer) {
		const char *node = json_string_value(json_object_get(peer, "node"));

		if (node && str_eq(json_string_value(json_object_get(peer, "state")), "connected"))
			(void)json_object_set_new(nodes, node, json_true());
	}
	count = (json_int_t)json_object_size(nodes);
	json_decref(nodes);
	return count;
}

static json_t *counters_json(const struct agent *a, const json_t *peers)
{
	struct attest_counters c = {0};
	const struct peers_counters *p = a->peers ? peers_counters(a->peers) : NULL;

	attest_counters(a->attest, &c);
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:s?}", "held",
			 (json_int_t)c.held_now, "max", (json_int_t)c.held_max, "asked",
			 (json_int_t)c.asked, "vouched", (json_int_t)c.vouched, "refused",
			 (json_int_t)c.refused, "timed_out", (json_int_t)c.timed_out, "unavailable",
			 (json_int_t)c.unavailable, "busy", (json_int_t)c.busy, "joined",
			 (json_int_t)c.joined, "per_source", (json_int_t)c.per_source, "p50_us",
			 (json_int_t)c.p50_us, "p99_us", (json_int_t)c.p99_us, "peers_known",
			 (json_int_t)(p ? p->known : 0), "peers_connected", connected_nodes(peers),
			 "listen_error", a->peers ? peers_listen_error(a->peers) : NULL);
}

static bool asks(const struct generation *gen, const struct conduit *c, const char *node)
{
	uint32_t far = c->flags & CONDUIT_IN ? c->from : c->to;

	return c->verdict == LIVE_ASK && gen->parties[far].node &&
	       str_eq(gen->parties[far].node, node);
}

/*
 * Nobody there will ever vouch, and the rules go by their on_unavailable (R47).
 */
json_t *attestation_no_agent(const struct agent *a)
{
	const struct generation *gen = agent_edition(a)->gen;
	json_t *list = json_array();

	for (size_t i = 0; a->view && gen && i < a->view->node_count; i++) {
		const struct view_node *n = &a->view->nodes[i];
		bool asked = false;

		if (n->has_attest || json_array_size(list) >= NO_AGENT_NAMED_MAX)
			continue;
		for (size_t k = 0; k < gen->conduit_count && !asked; k++)
			asked = asks(gen, &gen->conduits[k], n->node);
		if (asked)
			(void)json_array_append_new(list, json_string(n->node));
	}
	return list;
}

void attestation_status(struct agent *a, json_t *o)
{
	json_t *peers = a->peers ? peers_status(a->peers) : NULL;
	json_t *problems = a->evidence ? evidence_problems(a->evidence) : NULL;

	if (!peers)
		peers = json_array();
	if (a->attest)
		(void)json_object_set_new(o, "attestation", counters_json(a, peers));
	(void)json_object_set_new(o, "peers", peers);
	(void)json_object_set_new(o, "no_agent", attestation_no_agent(a));
	(void)json_object_set_new(o, "evidence", problems ? problems : json_array());
	if (a->node_key)
		(void)json_object_set_new(o, "svid", node_key_status(a->node_key));
}

/* --- attest ping -------------------------------------------------------------------------- */

static bool all_passed(const json_t *result)
{
	const json_t *checks = json_object_get(result, "checks"), *check;
	size_t i;

	json_array_foreach(checks, i, check) {
		if (json_is_false(json_object_get(check, "ok")))
			return false;
	}
	return json_array_size(checks) > 0;
}

static void on_pinged(void *user, json_t *result)
{
	struct request *q = user;
	struct err err = {{0}};

	if (result) {
		request_reply(q, all_passed(result) ? EXIT_OK : EXIT_DENIED, result);
		return;
	}
	(void)err_set(&err, ECANCELED, "no result: the agent is ending, or out of memory");
	request_fail(q, EXIT_ERROR, &err, NULL);
}

static int ping(struct request *q, struct err *err)
{
	const char *action = request_string(q, "action"), *node = request_string(q, "node");

	if (!action || !str_eq(action, "ping") || !node)
		return err_set(err, EINVAL,
			       "action and node are needed; action ping would be right");
	if (str_eq(node, q->agent->config.node))
		return err_set(err, EINVAL, "%s is this node: its own kernel vouches for both ends",
			       node);
	if (!q->agent->attest)
		return err_set(err, ENOENT, "nothing is attested on this node");
	return attest_ping(q->agent->attest, node, request_string(q, "tuple"), on_pinged, q, err);
}

static void run_attest(struct request *q)
{
	struct err err = {{0}};

	if (ping(q, &err) < 0)
		request_fail(q, EXIT_ERROR, &err, NULL);
}

const struct verb verb_attest = {.name = "attest", .run = run_attest};
