/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/attest_decide.h"

#include "base/mem.h"
#include "rules/marks.h"
#include "tests/unit/test.h"

#include <string.h>

#define NUMBER  7U
#define VOUCHEE 9U

static struct attest_decision decide(enum peer_outcome outcome, uint16_t status, bool accepted,
				     enum acceptance_check failed, uint32_t number, bool observe)
{
	struct peer_answer answer = {.status = status};
	struct acceptance a = {.accepted = accepted,
			       .number = VOUCHEE,
			       .failed = failed,
			       .reason = REASON_ATTEST_REFUSED,
			       .status = "word"};
	struct attest_decision d;

	attest_decide(outcome, outcome == PEER_ANSWERED ? &answer : NULL, &a, number, observe, &d);
	return d;
}

TEST(who_is_vouched_for_goes_on_under_his_own_number)
{
	struct attest_decision d = decide(PEER_ANSWERED, PEER_OK, true, ACCEPT_NODE, NUMBER, false);

	CHECK_INT(d.finding, ATTEST_VOUCHED);
	CHECK_UINT(d.mark, MARK_VERDICT | MARK_VOUCHED | VOUCHEE);
	CHECK_INT(d.reason, REASON_PERMITTED);
}

TEST(a_refusal_is_told_to_the_kernel_which_answers)
{
	for (int check = 0; check < ACCEPT_CHECKS; check++) {
		struct attest_decision d = decide(PEER_ANSWERED, PEER_EGRESS_DENIED, false,
						  (enum acceptance_check)check, NUMBER, false);

		CHECK_INT(d.finding, ATTEST_REFUSED);
		CHECK_UINT(d.mark, MARK_VERDICT | MARK_NOT_VOUCHED | NUMBER);
		CHECK_INT(d.reason, REASON_ATTEST_REFUSED);
		CHECK_STR(d.status, "word");
	}
}

TEST(a_busy_or_broken_peer_is_asked_again_by_the_retransmission)
{
	struct attest_decision d =
		decide(PEER_ANSWERED, PEER_BUSY, false, ACCEPT_STATUS, NUMBER, false);

	CHECK_INT(d.finding, ATTEST_SILENT);
	CHECK_UINT(d.mark, 0);
	CHECK_INT(d.reason, REASON_PEER_BUSY);
	d = decide(PEER_ANSWERED, PEER_INTERNAL, false, ACCEPT_STATUS, NUMBER, false);
	CHECK_INT(d.finding, ATTEST_SILENT);
	CHECK_UINT(d.mark, 0);
	/* An impostor who says busy is an impostor. */
	d = decide(PEER_ANSWERED, PEER_BUSY, false, ACCEPT_NODE, NUMBER, false);
	CHECK_INT(d.finding, ATTEST_REFUSED);
}

static const struct {
	enum peer_outcome outcome;
	enum attest_finding finding;
	enum reason reason;
} outcomes[] = {
	{PEER_TIMED_OUT, ATTEST_SILENT, REASON_ATTEST_TIMEOUT},
	{PEER_OVERLOADED, ATTEST_SILENT, REASON_PEER_BUSY},
	{PEER_UNREACHABLE, ATTEST_UNAVAILABLE, REASON_ATTEST_UNAVAILABLE},
	{PEER_NO_AGENT, ATTEST_UNAVAILABLE, REASON_ATTEST_UNAVAILABLE},
	{PEER_NO_SVID, ATTEST_UNAVAILABLE, REASON_ATTEST_UNAVAILABLE},
};

TEST(without_an_answer_it_is_silence_or_the_rules_on_unavailable)
{
	for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
		struct attest_decision d =
			decide(outcomes[i].outcome, 0, false, ACCEPT_NODE, NUMBER, false);
		bool silent = outcomes[i].finding == ATTEST_SILENT;

		CHECK_INT(d.finding, outcomes[i].finding);
		CHECK_INT(d.reason, outcomes[i].reason);
		CHECK_UINT(d.mark, silent ? 0 : MARK_VERDICT | MARK_UNAVAILABLE | NUMBER);
	}
}

TEST(an_end_that_observes_loses_nothing_by_silence)
{
	struct attest_decision d;

	for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
		d = decide(outcomes[i].outcome, 0, false, ACCEPT_NODE, NUMBER, true);
		CHECK(d.mark != 0);
		CHECK_INT(d.reason, outcomes[i].reason);
	}
	d = decide(PEER_ANSWERED, PEER_BUSY, false, ACCEPT_STATUS, NUMBER, true);
	CHECK_UINT(d.mark, MARK_VERDICT | MARK_NOT_VOUCHED | NUMBER);
	attest_decide_unasked(REASON_QUEUE_FULL, NUMBER, true, &d);
	CHECK_UINT(d.mark, MARK_VERDICT | MARK_NOT_VOUCHED | NUMBER);
	attest_decide_unasked(REASON_QUEUE_FULL, NUMBER, false, &d);
	CHECK_UINT(d.mark, 0);
	CHECK_INT(d.reason, REASON_QUEUE_FULL);
}

TEST(a_number_that_went_while_the_question_was_out_opens_nothing)
{
	struct attest_decision d = decide(PEER_ANSWERED, PEER_OK, true, ACCEPT_NODE, 0, false);

	CHECK_INT(d.finding, ATTEST_SILENT);
	CHECK_UINT(d.mark, 0);
	d = decide(PEER_UNREACHABLE, 0, false, ACCEPT_NODE, 0, true);
	CHECK_UINT(d.mark, 0);
}
