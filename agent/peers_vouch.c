/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The answering side meets agent/vouch.h. */
#include "agent/vouch.h"

#include "agent/peers_parts.h"

static void answer_by_vouch(void *user, const char *node, const struct peer_query *query,
			    void (*done)(void *ticket, const struct peer_answer *answer),
			    void *ticket)
{
	struct agent *a = user;

	vouch_answer(a->vouch, node, query, done, ticket);
}

static void cancel_by_vouch(void *user, void *ticket)
{
	struct agent *a = user;

	vouch_cancel(a->vouch, ticket);
}

void peers_answer_by_vouch(struct peers *p)
{
	p->answerer = (struct peers_answerer){answer_by_vouch, cancel_by_vouch, p->agent};
}
