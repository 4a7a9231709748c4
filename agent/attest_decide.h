/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From what became of a question to what becomes of the packet (DESIGN sections 4 and 8). Pure.
 *
 * The agent never refuses by itself where the kernel can: it says by a mark what it found out, and
 * mode, deny answer and on_unavailable are the kernel's. Silence is for what the next
 * retransmission may find better; where this end only observes nothing may be lost, so there
 * silence, too, becomes a mark.
 */
#pragma once

#include "agent/acceptance.h"
#include "agent/peers.h"

enum attest_finding {
	ATTEST_VOUCHED,     /* goes on as the conduit of who is vouched for */
	ATTEST_REFUSED,     /* asked and answered, not in its favour */
	ATTEST_UNAVAILABLE, /* nobody can say */
	ATTEST_SILENT,      /* too late, too busy, too full */
};

struct attest_decision {
	enum attest_finding finding;
	uint32_t mark; /* of NF_REPEAT, with MARK_VERDICT; 0: NF_DROP */
	enum reason reason;
	char status[32];
};

/*
 * number: of the conduit that asks; 0 when it is gone or asks no more, then the retransmission is
 * judged by what holds now. answer and accepted: when the outcome is PEER_ANSWERED.
 */
void attest_decide(enum peer_outcome outcome, const struct peer_answer *answer,
		   const struct acceptance *accepted, uint32_t number, bool observe,
		   struct attest_decision *ret);
/* Not asked at all, for this reason. */
void attest_decide_unasked(enum reason reason, uint32_t number, bool observe,
			   struct attest_decision *ret);
