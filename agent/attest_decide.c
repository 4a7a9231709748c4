/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/attest_decide.h"

#include "rules/marks.h"

#include <stdio.h>

static void say(struct attest_decision *d, enum attest_finding finding, uint32_t mark,
		enum reason reason, const char *status)
{
	*d = (struct attest_decision){.finding = finding, .reason = reason};
	d->mark = mark ? MARK_VERDICT | mark : 0;
	(void)snprintf(d->status, sizeof(d->status), "%s", status);
}

/* A drop, which an end that only observes must not suffer. */
static void say_silent(struct attest_decision *d, enum reason reason, const char *status,
		       uint32_t number, bool observe)
{
	say(d, ATTEST_SILENT, observe && number ? number | MARK_NOT_VOUCHED : 0, reason, status);
}

static void decide_answer(const struct peer_answer *answer, const struct acceptance *accepted,
			  uint32_t number, bool observe, struct attest_decision *ret)
{
	if (accepted->accepted)
		say(ret, ATTEST_VOUCHED, accepted->number | MARK_VOUCHED, REASON_PERMITTED, "");
	/* Only from whom we know to be the node: an impostor's refusal is a refusal. */
	else if (accepted->failed == ACCEPT_STATUS && answer->status == PEER_BUSY)
		say_silent(ret, REASON_PEER_BUSY, "", number, observe);
	else if (accepted->failed == ACCEPT_STATUS && answer->status == PEER_INTERNAL)
		say_silent(ret, REASON_ATTEST_REFUSED, accepted->status, number, observe);
	else
		say(ret, ATTEST_REFUSED, number | MARK_NOT_VOUCHED, accepted->reason,
		    accepted->status);
}

void attest_decide(enum peer_outcome outcome, const struct peer_answer *answer,
		   const struct acceptance *accepted, uint32_t number, bool observe,
		   struct attest_decision *ret)
{
	if (!number) {
		say_silent(ret, REASON_NO_RULE, "", 0, observe);
		return;
	}
	switch (outcome) {
	case PEER_ANSWERED:
		decide_answer(answer, accepted, number, observe, ret);
		return;
	case PEER_TIMED_OUT:
		break;
	case PEER_UNREACHABLE:
	case PEER_NO_AGENT:
	case PEER_NO_SVID:
		say(ret, ATTEST_UNAVAILABLE, number | MARK_UNAVAILABLE, REASON_ATTEST_UNAVAILABLE,
		    "");
		return;
	case PEER_OVERLOADED:
		say_silent(ret, REASON_PEER_BUSY, "", number, observe);
		return;
	}
	say_silent(ret, REASON_ATTEST_TIMEOUT, "", number, observe);
}

void attest_decide_unasked(enum reason reason, uint32_t number, bool observe,
			   struct attest_decision *ret)
{
	say_silent(ret, reason, "", number, observe);
}
