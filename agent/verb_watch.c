/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/verbs.h"

#include "agent/telemetry.h"

#include <errno.h>

/* When the client is gone the request goes with it: it must not be touched after request_line(). */
static void on_record(void *user, const json_t *record)
{
	(void)request_line(user, record);
}

static void run_watch(struct request *q)
{
	struct err err = {{0}};
	int r = telemetry_watch(q->agent->telemetry, on_record, q);

	if (r < 0) {
		(void)err_set(&err, -r, "%d watchers are there already; end one of them",
			      TELEMETRY_WATCHERS_MAX);
		request_fail(q, EXIT_ERROR, &err, NULL);
		return;
	}
	(void)request_stream(q);
}

static void gone_watch(struct request *q)
{
	telemetry_unwatch(q->agent->telemetry, q);
}

const struct verb verb_watch = {.name = "watch", .run = run_watch, .gone = gone_watch};
