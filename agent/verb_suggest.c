/* SPDX-License-Identifier: GPL-3.0-or-later */
/* suggest: rules that would permit what was seen (UC-46). */
#include "agent/verbs.h"

#include "agent/node_key.h"
#include "agent/peers.h"
#include "agent/suggest.h"
#include "agent/telemetry.h"

#include <errno.h>

/* Whether this node could ask others, and others this one. */
static bool vouches(const struct agent *a)
{
	return a->attest && a->peers && a->node_key && node_key_svid(a->node_key) &&
	       !peers_listen_error(a->peers);
}

static void run_suggest(struct request *q)
{
	const struct agent *a = q->agent;
	const struct observed *o = telemetry_observed(a->telemetry);
	int64_t seconds = request_int(q, "since_s", 0);
	struct wall since = {seconds > 0 ? wall_now().s - seconds : 0};
	struct err err = {{0}};
	json_t *result;

	if (!o || !agent_edition(a)->policy) {
		err_set(&err, ENOENT, "nothing is observed on this node yet");
		request_fail(q, EXIT_ERROR, &err, NULL);
		return;
	}
	result = suggest_json(agent_edition(a)->policy, a->view, o, since, vouches(a));
	if (!result) {
		err_set(&err, ENOMEM, "out of memory");
		request_fail(q, EXIT_ERROR, &err, NULL);
		return;
	}
	(void)json_object_set_new(result, "node", json_string(a->config.node));
	request_reply(q, EXIT_OK, result);
}

const struct verb verb_suggest = {.name = "suggest", .run = run_suggest};
