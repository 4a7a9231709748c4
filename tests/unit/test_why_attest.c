/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Words of `why` about questions: complete, on the right host, the same in the manual. */
#include "agent/why_attest.h"

#include "agent/peer_frame.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/verdict_asks.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define PAGE_MAX (1U << 20)
#define TEXT_MAX 4096

/* Of agent/acceptance.c, where the far agent says ok and is not believed. */
static const char *const own_words[] = {"wrong_node",   "wrong_key",    "no_match",
					"bad_identity", "other_domain", "not_placed"};

static struct record refused(const char *status)
{
	struct record r = {.decision = DECISION_DENIED, .reason = REASON_ATTEST_REFUSED};

	(void)snprintf(r.status, sizeof(r.status), "%s", status);
	r.evidence = (struct record_evidence){
		.asked = "pay-1", .status = status, .check = "status: pay-1 says so"};
	return r;
}

static const char *text_of(struct buf *b, void (*put)(const struct record *r, struct buf *b),
			   const struct record *r)
{
	buf_init(b, TEXT_MAX);
	put(r, b);
	return b->len ? b->data : "";
}

static void check_status_words(const char *status, const char *page)
{
	struct record r = refused(status);
	CLEANUP(buf_done) struct buf because = {0}, advice = {0}, next = {0};
	char line[64];

	CHECK_CONTAINS(text_of(&because, why_question_because, &r),
		       "pay-1's agent does not vouch for it: ");
	CHECK_CONTAINS(text_of(&advice, why_question_advice, &r), "pay-1");
	CHECK(strchr(advice.data, '%') == NULL);
	CHECK_STR(text_of(&next, why_question_next, &r), "bailiwick attest ping pay-1");
	(void)snprintf(line, sizeof(line), "\n.It Li %s\n", status);
	CHECK_CONTAINS(page, line);
}

TEST(every_status_has_a_meaning_an_advice_and_a_place_in_the_manual)
{
	CLEANUP(freep) char *page = NULL;
	struct err err = {0};
	size_t len;

	CHECK_OK(file_read(AT_FDCWD, "man/bailiwick-decisions.5", PAGE_MAX, &page, &len, &err),
		 &err);
	for (uint16_t s = PEER_OK + 1; s < PEER_STATUS_COUNT; s++)
		check_status_words(peer_status_name(s), page);
	for (size_t i = 0; i < ARRAY_LEN(own_words); i++)
		check_status_words(own_words[i], page);
}

/* An agent of a later release may say more. */
TEST(a_status_that_nobody_knows_is_still_explained)
{
	struct record r = refused("unknown");
	CLEANUP(buf_done) struct buf because = {0}, advice = {0};

	CHECK_STR(text_of(&because, why_question_because, &r),
		  "pay-1's agent does not vouch for it");
	CHECK_STR(text_of(&advice, why_question_advice, &r), "");
}

static void check_failed(const struct record *r, const char *check, const char *node,
			 const char *detail)
{
	json_t *o = why_failed(r, "api-1");

	CHECK_STR(json_string_value(json_object_get(o, "check")), check);
	CHECK_STR(json_string_value(json_object_get(o, "node")), node);
	CHECK_STR(json_string_value(json_object_get(o, "detail")), detail);
	json_decref(o);
}

TEST(a_failed_check_is_told_with_the_host_it_failed_on)
{
	struct record r = refused("no_socket");
	json_t *o;

	check_failed(&r, "status", "pay-1", "pay-1 says so");
	r.evidence.check = "placement: the mapping does not place it there";
	check_failed(&r, "placement", "api-1", "the mapping does not place it there");
	r.reason = REASON_ATTEST_UNAVAILABLE;
	r.evidence.check = "Connection refused";
	check_failed(&r, "connection", "pay-1", "Connection refused");
	r.reason = REASON_ATTEST_TIMEOUT;
	r.evidence.check = "no answer within 800 ms";
	check_failed(&r, "answer", "pay-1", "no answer within 800 ms");
	r.evidence = (struct record_evidence){.asked = NULL};
	o = why_failed(&r, "api-1");
	CHECK(json_is_null(o));
	json_decref(o);
}

static const char policy_text[] =
	"trust_domain: acme.example\n"
	"identities:\n"
	"  - {name: settlement, path: prod/settlement, workload: [{unit: s.service}]}\n"
	"  - {name: api, path: prod/api, workload: [{unit: a.service}], serves: [tcp/8443]}\n"
	"rules:\n"
	"  - {name: m, from: [settlement], to: [api], services: [tcp/8443], assurance: mapped,\n"
	"     purpose: p, owner: o}\n";

static const char *asks(struct policy *p, const char *from_node, const char *to_node)
{
	static char text[TEXT_MAX];
	CLEANUP(buf_done) struct buf b = {0};

	buf_init(&b, TEXT_MAX);
	verdict_asks(p, &p->rules[0], 0, 1, from_node, to_node, &b);
	(void)snprintf(text, sizeof(text), "%s", b.len ? b.data : "");
	return text;
}

TEST(why_says_whose_word_a_rule_wants)
{
	CLEANUP(policy_freep) struct policy *p = policy_sound(policy_text);
	struct rule *r = &p->rules[0];

	CHECK_STR(asks(p, "pay-1", "api-1"), "");
	r->assurance = ASSURANCE_ATTESTED;
	CHECK_STR(asks(p, "pay-1", "api-1"),
		  "for each connection pay-1's agent must vouch for settlement; where nobody can "
		  "say, it is denied (attest_unavailable)");
	CHECK_STR(asks(p, NULL, NULL),
		  "for each connection the agent of the caller's node must vouch for settlement; "
		  "where nobody can say, it is denied (attest_unavailable)");
	CHECK_STR(asks(p, "api-1", "api-1"), "");
	r->on_unavailable = ON_UNAVAILABLE_ALLOW;
	r->callee_attested = true;
	CHECK_STR(asks(p, "pay-1", "api-1"),
		  "for each connection pay-1's agent must vouch for settlement, and api-1's agent "
		  "that api listens there; where nobody can say, it passes (allowed_unavailable)");
	r->on_unavailable = ON_UNAVAILABLE_DENY;
	r->callee_attested = false;
	r->assurance = ASSURANCE_MEASURED;
	CHECK_STR(asks(p, "pay-1", "api-1"),
		  "for each connection pay-1's agent must vouch for settlement and for its "
		  "executable (0 reference values); where nobody can say, it is denied "
		  "(attest_unavailable)");
}
