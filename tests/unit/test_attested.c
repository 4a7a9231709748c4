/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What records say of questions: never more than was found, never less. */
#include "agent/attested.h"

#include "base/mem.h"
#include "base/text.h"
#include "tests/unit/test.h"

#include <string.h>

static struct peer_answer answer(void)
{
	struct peer_answer a = {.status = PEER_OK,
				.match = PEER_MATCH_TUPLE | PEER_MATCH_SYN_SENT,
				.uid = UINT32_MAX,
				.unit = "settlement.service"};

	return a;
}

static struct attest_record question(const struct peer_answer *a, const char *identity)
{
	struct attest_record r = {.number = 4,
				  .reason = REASON_PERMITTED,
				  .status = "",
				  .asked = "pay-1",
				  .check = "",
				  .answer = a,
				  .held_us = 251,
				  .rtt_us = 184};

	(void)snprintf(r.identity, sizeof(r.identity), "%s", identity);
	return r;
}

TEST(a_vouched_flow_has_its_answer_as_evidence)
{
	struct peer_answer a = answer();
	struct attest_record r = question(&a, "prod/payments/settlement");
	struct attested_texts texts;
	struct record_evidence e;

	a.has_sha256 = true;
	a.sha256[0] = 0x9c;
	a.evidence = PEER_EVIDENCE_WARNING;
	attested_evidence(&r, "acme.example", &texts, &e);
	CHECK_STR(e.asked, "pay-1");
	CHECK_STR(e.status, "ok");
	CHECK_STR(e.spiffe_id, "spiffe://acme.example/prod/payments/settlement");
	CHECK_STR(e.unit, "settlement.service");
	CHECK_STR(e.appraisal, "warning");
	CHECK(str_starts(e.sha256, "9c00"));
	CHECK(e.fsverity == NULL && e.check == NULL && e.container_id == NULL);
	CHECK_UINT(e.rtt_us, 184);
	CHECK_UINT(e.held_us, 251);
}

TEST(a_question_without_answer_names_nobody)
{
	struct attest_record r = question(NULL, "prod/payments/settlement");
	struct attested_texts texts;
	struct record_evidence e;

	r.reason = REASON_ATTEST_TIMEOUT;
	r.check = "no answer";
	r.held_us = UINT64_MAX;
	attested_evidence(&r, "acme.example", &texts, &e);
	CHECK_STR(e.asked, "pay-1");
	CHECK(e.status == NULL && e.spiffe_id == NULL && e.unit == NULL && e.match == 0);
	CHECK_STR(e.check, "no answer");
	CHECK_UINT(e.held_us, UINT32_MAX);
	CHECK(attested_identity(&r) == NULL);
}

/* A liar's claim is evidence; as the caller it is named when node and placement let it vouch. */
TEST(a_caller_is_named_when_only_policy_is_against_it)
{
	static const struct {
		enum reason reason;
		const char *check;
		bool named;
	} rows[] = {
		{REASON_PERMITTED, "", true},
		{REASON_NO_RULE, "policy: no rule lets it do this", true},
		{REASON_NOT_MEASURED, "measured: no reference value", true},
		{REASON_ATTEST_REFUSED, "placement: the mapping does not place it there", false},
		{REASON_UNKNOWN_PEER, "placement: no address of pay-1", false},
		{REASON_ATTEST_REFUSED, "status: pay-1 says egress_denied (6)", false},
		{REASON_ATTEST_REFUSED, "tuple: no socket at all", false},
		{REASON_ATTEST_REFUSED, "domain: another one", false},
		{REASON_ATTEST_REFUSED, "node: pay-2 answered", false},
		{REASON_ATTEST_REFUSED, "policyholder: not a check", false},
	};
	struct peer_answer a = answer();

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct attest_record r = question(&a, "prod/payments/backup");

		r.reason = rows[i].reason;
		r.check = rows[i].check;
		CHECK((attested_identity(&r) != NULL) == rows[i].named);
	}
}

TEST(checks_are_read_back_from_their_texts)
{
	const char *detail;

	for (int c = 0; c < ACCEPT_CHECKS; c++) {
		char text[64];

		(void)snprintf(text, sizeof(text), "%s: why: so",
			       acceptance_name((enum acceptance_check)c));
		CHECK_INT(attested_check(text, &detail), c);
		CHECK_STR(detail, "why: so");
	}
	CHECK_INT(attested_check("Connection refused", &detail), ACCEPT_CHECKS);
	CHECK_STR(detail, "Connection refused");
	CHECK_INT(attested_check("", &detail), ACCEPT_CHECKS);
	CHECK_STR(detail, "");
}

TEST(a_check_is_made_where_its_facts_are)
{
	CHECK(attested_is_far(ACCEPT_STATUS) && attested_is_far(ACCEPT_TUPLE));
	CHECK(attested_is_far(ACCEPT_CHECKS));
	CHECK(!attested_is_far(ACCEPT_POLICY) && !attested_is_far(ACCEPT_PLACEMENT));
}
