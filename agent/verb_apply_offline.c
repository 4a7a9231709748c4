/* SPDX-License-Identifier: GPL-3.0-or-later */
/* apply_offline: signed documents, carried by hand (agent/documents_offline.c). */
#include "agent/verbs.h"

#include "agent/documents.h"

#include <errno.h>

static void run_apply_offline(struct request *q)
{
	struct err err = {{0}};

	if (q->agent->documents) {
		documents_apply_offline(q->agent->documents, q);
		return;
	}
	(void)err_set(&err, EPERM,
		      "this node trusts no keys; trust: in agent.yaml says whose signatures count");
	request_fail(q, EXIT_DENIED, &err, NULL);
}

static void apply_offline_gone(struct request *q)
{
	documents_offline_gone(q->agent->documents, q);
}

const struct verb verb_apply_offline = {
	.name = "apply_offline",
	.changes = true,
	.run = run_apply_offline,
	.gone = apply_offline_gone,
};
