/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/verbs.h"

#include "agent/conntrack.h"
#include "agent/doctor.h"
#include "agent/documents.h"
#include "agent/overlay.h"
#include "agent/store.h"
#include "agent/telemetry.h"
#include "agent/watcher.h"
#include "agent/workload.h"
#include "base/release.h"

#include <string.h>

static const char *state_word(const struct agent *a)
{
	if (a->drift || !a->enforcing)
		return "degraded";
	if (a->candidate.policy)
		return "probation";
	return documents_stale(a->documents) ? "stale" : "ready";
}

static json_t *features_json(const struct agent *a)
{
	const struct nft_features *f = nft_features(a->nft);

	return json_pack("{s:b,s:b,s:b,s:b,s:b,s:b,s:b}", "owner", f->owner, "persist", f->persist,
			 "lease_renewal", f->renewal, "destroy", f->destroy, "queue_native",
			 f->queue_native, "queue_xt", f->queue_xt, "fs_verity",
			 doctor_has_verity());
}

static json_t *queue_json(const struct agent *a)
{
	struct queue_depth depth = {0};
	const struct queue_counters *c;

	if (!a->queue)
		return json_pack("{s:i,s:i,s:i,s:i,s:i}", "depth", 0, "max", 0, "held", 0,
				 "timeouts", 0, "drops", 0);
	c = queue_counters(a->queue);
	(void)queue_depth(a->queue, &depth);
	return json_pack("{s:I,s:I,s:I,s:I,s:I}", "depth", (json_int_t)depth.waiting, "max",
			 (json_int_t)a->config.queue_max_pending, "held", (json_int_t)c->held,
			 "timeouts", (json_int_t)c->expired, "drops",
			 (json_int_t)(depth.queue_dropped + depth.user_dropped + c->enobufs));
}

static json_t *problems_json(struct agent *a)
{
	json_t *list = json_array();
	size_t n = workloads_problem_count(a->workloads, SLOT_A);

	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(
			list, json_string(workloads_problem(a->workloads, SLOT_A, i)));
	if (a->state_problem)
		(void)json_array_append_new(list, json_string(a->state_problem));
	if (a->damage)
		(void)json_array_extend(list, a->damage);
	if (store_problem(a->store))
		(void)json_array_append_new(list, json_string(store_problem(a->store)));
	return list;
}

static json_t *view_errors_json(const struct agent *a)
{
	/* On trial it is the candidate that the view was made for. */
	const struct generation *gen = agent_edition(a)->gen;
	json_t *list = json_array();

	if (a->view_error)
		(void)json_array_append_new(list, json_string(a->view_error));
	for (size_t i = 0; gen && i < gen->refused_count; i++)
		(void)json_array_append_new(list, json_string(gen->refused[i]));
	return list;
}

struct tally {
	json_int_t conduits, attested, leased;
};

/* The conduit of the node that asks is there once more for each who may be vouched for. */
static bool is_attested(const struct conduit *c)
{
	bool asks = c->verdict == LIVE_ASK && !(c->flags & CONDUIT_CALLEE);

	return c->assurance > ASSURANCE_MAPPED && !asks && !(c->flags & CONDUIT_ESSENTIAL);
}

static bool is_leased(uint8_t verdict)
{
	return verdict == LIVE_LEASED || verdict == LIVE_LEASED_WATCHED;
}

static struct tally count_conduits(const struct generation *gen)
{
	struct tally t = {0};

	for (size_t i = 0; gen && i < gen->conduit_count; i++) {
		const struct conduit *c = &gen->conduits[i];

		t.conduits++;
		t.attested += is_attested(c);
		t.leased += is_leased(c->verdict != LIVE_NONE ? c->verdict : c->vouched);
	}
	return t;
}

static json_t *leases_next(const struct agent *a, const struct generation *gen,
			   struct wall *ret_end)
{
	const struct lease *next = NULL;
	char comment[CONDUIT_COMMENT_MAX];
	const struct conduit *c;

	ret_end->s = 0;
	for (size_t i = 0; gen && i < gen->lease_count; i++) {
		if (!next || gen->leases[i].end.s < next->end.s)
			next = &gen->leases[i];
	}
	c = next ? generation_find(gen, next->number) : NULL;
	if (!c)
		return json_null();
	*ret_end = next->end;
	return json_pack("{s:I,s:s}", "in_s", (json_int_t)(next->end.s - agent_now(a).s), "conduit",
			 conduit_comment(comment, gen, c));
}

static json_t *conntrack_json(void)
{
	struct ct_usage u = {0};

	(void)conntrack_usage(&u);
	return json_pack("{s:I,s:I}", "used", (json_int_t)u.used, "max", (json_int_t)u.max);
}

static json_int_t unclaimed_flows(const struct agent *a)
{
	struct nft_counter named[NFT_NAMED_COUNT] = {0};
	struct err err = {{0}};

	if (nft_named_counters(a->nft, named, &err) < 0)
		return 0;
	return (json_int_t)named[NFT_UNCLAIMED_FLOWS].packets;
}

static void add_policy(struct agent *a, json_t *o)
{
	const struct edition *e = agent_edition(a);

	(void)json_object_set_new(o, "policy_revision", json_integer((json_int_t)e->revision));
	(void)json_object_set_new(o, "policy_digest", json_string(e->digest));
	(void)json_object_set_new(o, "applied",
				  json_pack("{s:o,s:s,s:s}", "when", wall_json(e->when), "who",
					    e->who, "reason", e->reason));
	(void)json_object_set_new(o, "generation", generation_json(a));
	(void)json_object_set_new(o, "pending", json_boolean(watcher_pending(a->watcher)));
	(void)json_object_set_new(o, "view_sequence", json_integer((json_int_t)a->view_enforced));
	(void)json_object_set_new(o, "view_age_s",
				  a->view_when.s ? json_integer(wall_now().s - a->view_when.s)
						 : json_null());
	(void)json_object_set_new(o, "view_errors", view_errors_json(a));
}

static void add_counts(struct agent *a, json_t *o)
{
	const struct generation *gen = agent_edition(a)->gen;
	struct tally t = count_conduits(gen);
	struct telemetry_rates rates = {0};
	struct wall end;

	telemetry_rates(a->telemetry, &rates);
	(void)json_object_set_new(o, "conduits", json_integer(t.conduits));
	(void)json_object_set_new(o, "attested", json_integer(t.attested));
	(void)json_object_set_new(o, "leased", json_integer(t.leased));
	(void)json_object_set_new(o, "identities",
				  json_integer(gen ? (json_int_t)gen->local_count : 0));
	(void)json_object_set_new(o, "leases_next", leases_next(a, gen, &end));
	(void)json_object_set_new(o, "leases_next_end", wall_json(end));
	(void)json_object_set_new(o, "allowed_per_minute", json_integer((json_int_t)rates.allowed));
	(void)json_object_set_new(o, "denied_per_minute", json_integer((json_int_t)rates.denied));
	(void)json_object_set_new(o, "would_deny_per_minute",
				  json_integer((json_int_t)rates.would_deny));
	(void)json_object_set_new(o, "unclaimed_flows", json_integer(unclaimed_flows(a)));
}

static void add_kernel(struct agent *a, json_t *o)
{
	(void)json_object_set_new(o, "drift", a->drift ? json_string(a->drift) : json_null());
	(void)json_object_set_new(o, "repairs", json_integer((json_int_t)a->repairs));
	(void)json_object_set_new(o, "features", features_json(a));
	(void)json_object_set_new(o, "table",
				  json_pack("{s:s,s:b,s:b}", "name", a->config.table, "owned",
					    nft_is_owned(a->nft), "persistent",
					    nft_features(a->nft)->persist));
	(void)json_object_set_new(o, "forwarded", json_string("not_enforced"));
	(void)json_object_set_new(o, "conntrack", conntrack_json());
	(void)json_object_set_new(o, "queue", queue_json(a));
	(void)json_object_set_new(o, "clock_trusted", json_boolean(a->clock_trusted));
	(void)json_object_set_new(
		o, "heartbeat_age",
		json_real((double)mono_ms_since(a->heartbeat_last, mono_now()) / 1000));
	documents_status(a->documents, &a->config, o);
	attestation_status(a, o);
}

static void run_status(struct request *q)
{
	struct agent *a = q->agent;
	json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:I}", "node", a->config.node, "release", RELEASE,
			      "mode", mode_name(a->mode), "state", state_word(a), "uptime_s",
			      (json_int_t)(mono_ms_since(a->started, mono_now()) / 1000));

	(void)json_object_set_new(o, "mode_until", wall_json(a->mode_until));
	add_policy(a, o);
	add_counts(a, o);
	add_kernel(a, o);
	(void)json_object_set_new(o, "problems", problems_json(a));
	(void)json_object_set_new(o, "overlay", overlay_json(a));
	request_reply(q, !a->enforcing ? EXIT_NOT_ENFORCING : a->drift ? EXIT_DRIFT : EXIT_OK, o);
}

const struct verb verb_status = {.name = "status", .run = run_status};

static void run_version(struct request *q)
{
	request_reply(
		q, EXIT_OK,
		json_pack("{s:s,s:o}", "release", RELEASE, "features", features_json(q->agent)));
}

const struct verb verb_version = {.name = "version", .run = run_version};

static void run_history(struct request *q)
{
	json_t *changes = store_history(q->agent->store);

	request_reply(q, EXIT_OK, json_pack("{s:o}", "changes", changes ? changes : json_array()));
}

const struct verb verb_history = {.name = "history", .run = run_history};
