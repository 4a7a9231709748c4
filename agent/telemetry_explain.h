/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From what the kernel tells (a logged packet, a new flow) to a decision record: whose socket,
 * which identity, who stands at the far end, and by which rule or for want of which. The decision
 * is the kernel's; the reason is found by asking the oracle the same question again.
 *
 * The socket of a refused connection is often gone before the message is read. Then the kernel's
 * own classification, which the deny chains put into the packet mark, says whose it was.
 */
#pragma once

#include "agent/agent.h"
#include "agent/conntrack.h"
#include "agent/packet.h"
#include "agent/queue.h"
#include "agent/telemetry_nflog.h"
#include "agent/telemetry_record.h"
#include "rules/table.h"

struct owner;
struct explainer;

int explainer_new(struct agent *a, struct owner *owner, struct explainer **ret, struct err *err);
void explainer_free(struct explainer *x);

/* A packet of the log as it was read. */
struct logged {
	enum table_log_decision decision;
	enum table_log_why why;
	struct packet packet;
	bool out, unsupported; /* hook output; a protocol without ports */
	bool has_uid;
	uint32_t uid, mark, ct_mark;
	uint32_t ifindex;
};
/* -EINVAL: not a line of ours. -EBADMSG: the packet cannot be read. */
int logged_parse(const struct nflog_packet *p, struct logged *ret);

/*
 * Texts of the draft are borrowed until the next call of anything: pack it at once. 0, or -ENOENT
 * when there is nothing to tell.
 */
int explain_logged(struct explainer *x, const struct logged *l, struct record *ret_draft);
/* A packet of the queue that the agent refused with this reason. */
int explain_refused(struct explainer *x, const struct queue_packet *p, enum reason reason,
		    struct record *ret_draft);
int explain_flow(struct explainer *x, const struct ct_flow *f, struct record *ret_draft);
