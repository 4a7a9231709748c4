/* SPDX-License-Identifier: GPL-3.0-or-later */
/* grant: a rule that policy marks grantable, for one pair and a while (UC-39). */
#include "agent/verbs.h"

#include "agent/overlay.h"
#include "agent/workload.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define REASON_TEXT_MAX 200

/* The grant of these names that the operators of this host gave; it was there a moment ago. */
static const struct overlay_grant *find_grant(const struct agent *a, const char *rule, int from,
					      int to)
{
	const struct policy *p = agent_edition(a)->policy;

	for (size_t i = 0; i < a->overlay.grant_count; i++) {
		const struct overlay_grant *g = &a->overlay.grants[i];

		if (!g->from_head && str_eq(g->rule, rule) && from >= 0 && to >= 0 &&
		    str_eq(g->from, p->identities[from].path) &&
		    str_eq(g->to, p->identities[to].path))
			return g;
	}
	return NULL;
}

/* Something that the grant does not lift: quarantine, window, an assurance nobody can give. */
static bool is_held_back(const struct verdict *v)
{
	static const enum reason reasons[] = {
		REASON_REVOKED,
		REASON_QUARANTINED,
		REASON_OUTSIDE_WINDOW,
		REASON_LEASE_ENDED,
		REASON_STALE_VIEW,
		REASON_ATTEST_REFUSED,
		REASON_ATTEST_UNAVAILABLE,
	};

	for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
		if (v->reason == reasons[i])
			return v->decision != DECISION_ALLOWED;
	}
	return false;
}

/* What the oracle says of the pair now: when it ends, or why it does not open. */
static void add_effect(const struct agent *a, json_t *o, const struct rule *rule, int from, int to,
		       struct wall *until)
{
	const struct host *host = workloads_host(a->workloads, SLOT_A);
	struct verdict_question q = {.from_identity = from, .to_identity = to};
	struct compile_input in;
	struct verdict v;

	if (!host || rule->service_count == 0)
		return;
	q.service = rule->services[0];
	agent_compile_input(a, agent_edition(a)->policy, &in);
	if (verdict_explain(&in, a->mode, &q, &v, NULL) < 0)
		return;
	if (is_held_back(&v))
		(void)json_object_set_new(o, "note",
					  json_sprintf("does not open yet: %s (%s)", v.fails_on,
						       reason_name(v.reason)));
	else if (v.decision == DECISION_ALLOWED && v.lease_end.s && v.lease_end.s < until->s)
		*until = v.lease_end;
}

static void note(const struct request *q)
{
	const struct edition *e = agent_edition(q->agent);
	char outcome[192];

	(void)snprintf(outcome, sizeof(outcome), "grant %s for %s > %s", request_string(q, "rule"),
		       request_string(q, "from"), request_string(q, "to"));
	agent_history(q->agent, e->revision, e->digest, q->who, request_string(q, "reason"),
		      outcome);
}

static void granted(void *user, int r, const struct err *err, const struct cut_list *cut)
{
	struct request *q = user;
	const struct policy *p = agent_edition(q->agent)->policy;
	const char *name = request_string(q, "rule");
	int rule = policy_find_rule(p, name);
	int from = policy_find_identity(p, request_string(q, "from"));
	int to = policy_find_identity(p, request_string(q, "to"));
	const struct overlay_grant *g = find_grant(q->agent, name, from, to);
	struct wall until = g ? g->until : (struct wall){0};
	json_t *o;

	(void)cut;
	if (r < 0) {
		request_fail(q, EXIT_ERROR, err, NULL);
		return;
	}
	log_warn("grant of \"%s\" for %s > %s by %s", name, request_string(q, "from"),
		 request_string(q, "to"), q->who);
	note(q);
	o = json_object();
	if (g && rule >= 0)
		add_effect(q->agent, o, &p->rules[rule], from, to, &until);
	(void)json_object_set_new(o, "until", wall_json(until));
	request_reply(q, EXIT_OK, o);
}

static int check_arguments(const struct request *q, struct err *err)
{
	const char *reason = request_string(q, "reason");

	if (!request_string(q, "rule") || !request_string(q, "from") || !request_string(q, "to"))
		return err_set(err, EINVAL, "grant RULE --from IDENTITY --to IDENTITY");
	if (request_int(q, "for_s", 0) < 1)
		return err_set(err, EINVAL, "--for DURATION is required");
	if (!reason || !*reason || strlen(reason) > REASON_TEXT_MAX)
		return err_set(err, EINVAL, "--reason TEXT is required, at most %d bytes",
			       REASON_TEXT_MAX);
	return 0;
}

static void run_grant(struct request *q)
{
	struct err err = {{0}};
	int r = check_arguments(q, &err);

	if (r >= 0)
		r = overlay_grant_add(q->agent, request_string(q, "rule"),
				      request_string(q, "from"), request_string(q, "to"),
				      request_int(q, "for_s", 0), q->who,
				      request_string(q, "reason"), granted, q, &err);
	if (r < 0)
		request_refuse(q, r, &err);
}

const struct verb verb_grant = {.name = "grant", .changes = true, .run = run_grant};
