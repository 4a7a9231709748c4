/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mode, revoke, quarantine, release: what an operator decides on the spot. */
#include "agent/verbs.h"

#include "agent/overlay.h"
#include "agent/telemetry.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FOR_MAX_S (3650LL * 86400)

static int check_reason(const struct request *q, const char **ret, struct err *err)
{
	*ret = request_string(q, "reason");
	if (!*ret || !**ret || strlen(*ret) > 200)
		return err_set(err, EINVAL, "--reason TEXT is required, at most 200 bytes");
	return 0;
}

static int check_for(const struct request *q, int64_t *ret, struct err *err)
{
	*ret = request_int(q, "for_s", 0);
	return *ret < 0 || *ret > FOR_MAX_S ? err_set(err, EINVAL, "--for: out of range") : 0;
}

static void add_cut(json_t *o, const struct cut_list *cut)
{
	if (cut && cut->flows)
		(void)json_object_set(o, "cut", cut->flows);
	else
		(void)json_object_set_new(o, "cut", json_array());
	(void)json_object_set_new(o, "cut_total", json_integer(cut ? (json_int_t)cut->count : 0));
}

/* --- mode --------------------------------------------------------------------------------- */

static void mode_done(void *user, int r, const struct err *err, const struct cut_list *cut)
{
	struct request *q = user;
	struct agent *a = q->agent;
	json_t *o;

	if (r < 0) {
		request_fail(q, EXIT_ERROR, err, NULL);
		return;
	}
	agent_history(a, agent_edition(a)->revision, agent_edition(a)->digest, q->who,
		      request_string(q, "reason"), request_string(q, "mode"));
	o = json_pack("{s:s,s:o}", "mode", mode_name(a->mode), "until", wall_json(a->mode_until));
	add_cut(o, cut);
	request_reply(q, EXIT_OK, o);
}

static void run_mode(struct request *q)
{
	struct agent *a = q->agent;
	const char *word = request_string(q, "mode"), *reason;
	enum node_mode mode;
	struct err err = {{0}};
	int64_t seconds;
	int r;

	r = check_reason(q, &reason, &err);
	if (r >= 0)
		r = check_for(q, &seconds, &err);
	if (r >= 0 && (!word || mode_parse(word, &mode) < 0))
		r = err_set(&err, EINVAL, "mode observe, selective or enforce");
	if (r >= 0)
		r = agent_mode_set(a, mode, seconds, request_bool(q, "force"), mode_done, q, &err);
	if (r < 0)
		request_refuse(q, r, &err);
}

const struct verb verb_mode = {.name = "mode", .changes = true, .run = run_mode};

/* --- revoke, quarantine, release ----------------------------------------------------------- */

/* "revoke settlement-calls-api: contract ended" in the history. */
static void note(const struct request *q)
{
	const struct edition *e = agent_edition(q->agent);
	const char *what = request_string(q, "name");
	char outcome[192];

	if (!what)
		what = request_string(q, "identity");
	(void)snprintf(outcome, sizeof(outcome), "%s %s", q->verb, what ? what : "");
	agent_history(q->agent, e->revision, e->digest, q->who, request_string(q, "reason"),
		      outcome);
}

static void overlay_done_cb(void *user, int r, const struct err *err, const struct cut_list *cut)
{
	struct request *q = user;
	int64_t seconds = request_int(q, "for_s", 0);
	json_t *o;

	if (r < 0) {
		request_fail(q, EXIT_ERROR, err, NULL);
		return;
	}
	o = json_object();
	add_cut(o, cut);
	log_warn("%s by %s: %zu flows cut", q->verb, q->who, cut ? cut->count : 0);
	note(q);
	if (strcmp(q->verb, "revoke") == 0)
		(void)json_object_set_new(
			o, "until",
			wall_json(
				(struct wall){seconds > 0 ? agent_now(q->agent).s + seconds : 0}));
	if (request_string(q, "keep"))
		(void)json_object_set_new(o, "keep", json_string(request_string(q, "keep")));
	if (strcmp(q->verb, "release") == 0 &&
	    overlay_is_held_by_head(q->agent, request_string(q, "kind"), request_string(q, "name")))
		(void)json_object_set_new(o, "note",
					  json_string("the controller still holds it; there: "
						      "bailiwick-controller release"));
	else if (q->agent->mode == MODE_OBSERVE)
		(void)json_object_set_new(o, "note",
					  json_string("this node observes: nothing is cut until "
						      "bailiwick mode selective or enforce"));
	request_reply(q, EXIT_OK, o);
}

static void run_revoke(struct request *q)
{
	const char *kind = request_string(q, "kind"), *name = request_string(q, "name"), *reason;
	struct err err = {{0}};
	int64_t seconds;
	int r;

	r = check_reason(q, &reason, &err);
	if (r >= 0)
		r = check_for(q, &seconds, &err);
	if (r >= 0 && (!kind || !name))
		r = err_set(&err, EINVAL, "revoke rule|identity|label|conduit NAME");
	if (r >= 0)
		r = overlay_revoke(q->agent, kind, name, seconds, reason, overlay_done_cb, q, &err);
	if (r < 0)
		request_refuse(q, r, &err);
}

const struct verb verb_revoke = {.name = "revoke", .changes = true, .run = run_revoke};

static void run_quarantine(struct request *q)
{
	const char *identity = request_string(q, "identity"), *reason;
	struct err err = {{0}};
	int r = check_reason(q, &reason, &err);

	if (r >= 0 && !identity)
		r = err_set(&err, EINVAL, "quarantine identity PATH");
	if (r >= 0)
		r = overlay_quarantine(q->agent, identity, request_string(q, "keep"), reason,
				       overlay_done_cb, q, &err);
	if (r < 0)
		request_refuse(q, r, &err);
}

const struct verb verb_quarantine = {.name = "quarantine", .changes = true, .run = run_quarantine};

static void run_release(struct request *q)
{
	const char *kind = request_string(q, "kind"), *name = request_string(q, "name"), *reason;
	struct err err = {{0}};
	int r = check_reason(q, &reason, &err);

	if (r >= 0 && (!kind || !name))
		r = err_set(&err, EINVAL, "release rule|identity|label|conduit NAME");
	if (r >= 0)
		r = overlay_release(q->agent, kind, name, overlay_done_cb, q, &err);
	if (r < 0)
		request_refuse(q, r, &err);
}

const struct verb verb_release = {.name = "release", .changes = true, .run = run_release};
