/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Answers to other nodes' questions: who owns this connection on this host, by this kernel's own
 * socket table (DESIGN section 4, facts of RATS: this agent is attester and verifier, the asking
 * one the relying party).
 *
 * Told is only what the asking node may know (R46): it must own the tuple's far end in this node's
 * view. uid and evidence are told only when it asks for evidence. A socket that is not found, or
 * found in another state than the question is about, is an answer, too: a denial over there.
 */
#pragma once

#include "agent/agent.h"
#include "agent/peer_frame.h"

struct vouch;

int vouch_open(struct agent *a, struct vouch **ret, struct err *err);
void vouch_free(struct vouch *v);

/*
 * `done` is called exactly once, perhaps before this returns: at once without PEER_WANT_EVIDENCE,
 * else when the executable's digest is known or the budget is spent. Not after vouch_cancel() for
 * the same user. Takes some 30 us without evidence.
 */
typedef void (*vouch_done)(void *user, const struct peer_answer *answer);
void vouch_answer(struct vouch *v, const char *asking_node, const struct peer_query *query,
		  vouch_done done, void *user);
void vouch_cancel(struct vouch *v, void *user);

/* Which check failed, for people and logs, of the last answer that was not PEER_OK; "" if none. */
const char *vouch_last_refusal(const struct vouch *v);
