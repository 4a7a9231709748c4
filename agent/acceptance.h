/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whether an answer lets a held connection go, and as which conduit (DESIGN section 4). Pure.
 *
 * In this order, and the first that fails is told: the peer's SVID is that of the node which the
 * signed view has at the address; its key is one that signed policy pins, where it pins any; the
 * answer is OK for the exact tuple, in SYN_SENT where that is asked; the trust domain is ours; the
 * placement lets that node vouch for the identity, at that address, within the bounds of policy;
 * policy has a conduit from it; and where the rule says measured, the holder was found and its
 * executable's digest is a reference value of the identity.
 */
#pragma once

#include "agent/peer_frame.h"
#include "agent/view_index.h"
#include "controller-client/svid.h"
#include "rules/compile.h"
#include "rules/verdict.h"

enum acceptance_check {
	ACCEPT_NODE,      /* the stream's SVID is the node's */
	ACCEPT_KEY,       /* pinned by `nodes: spki` */
	ACCEPT_STATUS,    /* OK */
	ACCEPT_TUPLE,     /* TUPLE, and SYN_SENT unless listener, established, datagram */
	ACCEPT_DOMAIN,    /* our trust domain */
	ACCEPT_PLACEMENT, /* the view places the identity at that node and address */
	ACCEPT_POLICY,    /* a conduit from that identity */
	ACCEPT_MEASURED,  /* holder and reference digest, where the rule asks */
	ACCEPT_CHECKS,
};
const char *acceptance_name(enum acceptance_check c);

struct acceptance_input {
	const struct policy *policy; /* that gen was compiled from */
	const struct view_index *view;
	const struct generation *gen;
	const struct conduit *asked; /* whose live element asked; NULL: none, policy refuses */
	const struct peer_query *query;
	const char *node; /* that was asked */
	const struct svid *svid;
	const struct peer_answer *answer;
	bool explain; /* details of checks that passed, too: for people, not for each connection */
};

struct acceptance {
	bool accepted;
	uint32_t number; /* conduit of the flow, without flag bits; when accepted */
	enum acceptance_check failed;
	enum reason reason; /* permitted, attest_refused, not_measured, unknown_peer, ... */
	char status[32];    /* word behind attest_refused:, or ""; see acceptance.c */
	char detail[256];   /* of the failed check, for people */
	char identity[256]; /* path the peer named, "" if none */
	struct {
		enum { CHECK_NOT_REACHED, CHECK_FAILED, CHECK_PASSED, CHECK_NOT_ASKED } result;
		char detail[128];
	} checks[ACCEPT_CHECKS];
};

void acceptance_judge(const struct acceptance_input *in, struct acceptance *ret);
