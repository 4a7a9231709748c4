/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/acceptance.h"

#include "base/mem.h"
#include "tests/unit/compile_fixture.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define GOOD_HEX  "1111111111111111111111111111111111111111111111111111111111111111"
#define KEY_HEX   "2222222222222222222222222222222222222222222222222222222222222222"
#define OTHER_HEX "3333333333333333333333333333333333333333333333333333333333333333"

/*
 * This node is pay-1 and b listens here. From cli-1, 10.0.0.5, a may call it, m may when measured,
 * c is known there and may nothing; d may run on other nodes only. Nodes called pin-* are pinned.
 */
#define PEOPLE    TOP ID("a", "") ID("b", ", serves: [tcp/80]") ID("c", "")
#define ELSEWHERE ID("d", ", placement: {nodes: [\"srv-*\"]}")
#define MEASURED  ID("m", ", reference: [\"" GOOD_HEX "\"]")
#define NODES                                                                                      \
	"nodes:\n"                                                                                 \
	"  - {pattern: \"pay-*\", addresses: [\"10.0.0.0/24\"]}\n"                                 \
	"  - {pattern: \"cli-*\", addresses: [\"10.0.0.0/28\"]}\n"                                 \
	"  - {pattern: \"pin-*\", addresses: [\"10.0.0.0/24\"], spki: [\"" KEY_HEX "\"]}\n"
#define IDENTITIES PEOPLE ELSEWHERE MEASURED NODES "rules:\n"
#define ATTESTED   ", assurance: attested"
#define RULES                                                                                      \
	RULE("a-b", "a", "b", "tcp/80", ATTESTED)                                                  \
	RULE("d-b", "d", "b", "tcp/80", ATTESTED)                                                  \
	RULE("m-b", "m", "b", "tcp/80", ", assurance: measured")

struct bench {
	struct compiled f;
	struct view_index *index;
	struct acceptance_input in;
	struct peer_query query;
	struct peer_answer answer;
	struct svid svid;
	struct acceptance result;
};

static void bench_done(struct bench *b)
{
	view_index_free(b->index);
	compiled_done(&b->f);
}

static const struct conduit *asked(struct compiled *f, const char *service)
{
	struct addr from = fixture_addr("10.0.0.5");
	struct service s = fixture_service(service);

	return generation_find(f->g,
			       compiled_find(f, true, compiled_mark(f, "b"), &from, &s, SLOT_A));
}

static void set_text_sized(char *to, size_t size, const char *text)
{
	(void)snprintf(to, size, "%s", text);
}
#define set_text(field, text) set_text_sized(field, sizeof(field), text)

static void say(struct bench *b, const char *spiffe_id)
{
	(void)snprintf(b->answer.spiffe_id, sizeof(b->answer.spiffe_id), "%s", spiffe_id);
}

static void bench_begin(struct bench *b, const char *policy, const char *service)
{
	memset(b, 0, sizeof(*b));
	policy_fixture_attests = true;
	compiled_init(&b->f, policy);
	compiled_place(&b->f, "prod/b", NULL);
	compiled_node(&b->f, "cli-1", "10.0.0.5 10.0.0.6");
	compiled_node(&b->f, "pin-1", "10.0.0.7");
	compiled_peer(&b->f, "prod/a", "cli-1", "10.0.0.5", NULL);
	compiled_peer(&b->f, "prod/c", "cli-1", "10.0.0.5", NULL);
	compiled_peer(&b->f, "prod/m", "cli-1", "10.0.0.5", NULL);
	compiled_peer(&b->f, "prod/d", "cli-1", "10.0.0.5", NULL);
	compiled_run(&b->f);
	b->index = view_index_new(b->f.view);
	CHECK(b->index != NULL);
	b->query = (struct peer_query){.l4proto = IPPROTO_TCP,
				       .src = fixture_addr("10.0.0.5"),
				       .dst = fixture_addr("10.0.0.1"),
				       .sport = 40000,
				       .dport = 80};
	b->answer.match = PEER_MATCH_TUPLE | PEER_MATCH_SYN_SENT;
	b->svid.role = SVID_NODE;
	set_text(b->svid.id, "spiffe://acme.example/bailiwick/node/cli-1");
	set_text(b->svid.trust_domain, "acme.example");
	set_text(b->svid.name, "cli-1");
	set_text(b->svid.key_id, OTHER_HEX);
	b->in = (struct acceptance_input){
		.policy = b->f.policy,
		.view = b->index,
		.gen = b->f.g,
		.asked = asked(&b->f, service),
		.query = &b->query,
		.node = "cli-1",
		.svid = &b->svid,
		.answer = &b->answer,
		.explain = true,
	};
	say(b, "spiffe://acme.example/prod/a");
}

static void judge(struct bench *b)
{
	acceptance_judge(&b->in, &b->result);
}

/* One thing is wrong, everything before it right: this check and no other is the one that fails. */
static void check_fails(struct bench *b, enum acceptance_check check, enum reason reason,
			const char *status)
{
	judge(b);
	CHECK(!b->result.accepted);
	CHECK_STR(acceptance_name(b->result.failed), acceptance_name(check));
	CHECK_STR(reason_name(b->result.reason), reason_name(reason));
	CHECK_STR(b->result.status, status);
	CHECK(b->result.detail[0] != '\0');
	for (size_t i = 0; i < ACCEPT_CHECKS; i++) {
		if (i < check)
			CHECK(b->result.checks[i].result == CHECK_PASSED ||
			      b->result.checks[i].result == CHECK_NOT_ASKED);
		else if (i == check)
			CHECK_INT(b->result.checks[i].result, CHECK_FAILED);
		else
			CHECK_INT(b->result.checks[i].result, CHECK_NOT_REACHED);
	}
}

static void check_accepted(struct bench *b, const char *conduit)
{
	char text[CONDUIT_COMMENT_MAX];
	const struct conduit *c;

	judge(b);
	if (!b->result.accepted)
		test_fail(__FILE__, __LINE__, "not accepted: %s", b->result.detail);
	CHECK_INT(b->result.reason, REASON_PERMITTED);
	c = generation_find(b->f.g, b->result.number);
	CHECK(c != NULL);
	CHECK_STR(conduit_comment(text, b->f.g, c), conduit);
}

TEST(the_right_answer_makes_the_flow_the_identitys)
{
	CLEANUP(bench_done) struct bench b;

	bench_begin(&b, IDENTITIES RULES, "tcp/80");
	check_accepted(&b, "a > b tcp/80");
	CHECK_STR(b.result.identity, "prod/a");
	CHECK(b.result.number != b.in.asked->number);
	CHECK_INT(b.result.checks[ACCEPT_KEY].result, CHECK_NOT_ASKED);
	CHECK_INT(b.result.checks[ACCEPT_MEASURED].result, CHECK_NOT_ASKED);
}

TEST(who_answers_must_be_the_node_that_was_asked)
{
	CLEANUP(bench_done) struct bench b;

	bench_begin(&b, IDENTITIES RULES, "tcp/80");
	b.in.svid = NULL;
	check_fails(&b, ACCEPT_NODE, REASON_ATTEST_REFUSED, "wrong_node");
	b.in.svid = &b.svid;
	set_text(b.svid.name, "cli-2");
	check_fails(&b, ACCEPT_NODE, REASON_ATTEST_REFUSED, "wrong_node");
	set_text(b.svid.name, "cli-1");
	b.svid.role = SVID_COURIER;
	check_fails(&b, ACCEPT_NODE, REASON_ATTEST_REFUSED, "wrong_node");
	b.svid.role = SVID_NODE;
	set_text(b.svid.trust_domain, "other.example");
	check_fails(&b, ACCEPT_NODE, REASON_ATTEST_REFUSED, "wrong_node");
}

TEST(a_pinned_node_must_have_one_of_its_keys)
{
	CLEANUP(bench_done) struct bench b;

	bench_begin(&b, IDENTITIES RULES, "tcp/80");
	b.in.node = "pin-1";
	set_text(b.svid.name, "pin-1");
	b.query.src = fixture_addr("10.0.0.7");
	check_fails(&b, ACCEPT_KEY, REASON_ATTEST_REFUSED, "wrong_key");
	set_text(b.svid.key_id, KEY_HEX);
	judge(&b);
	CHECK_INT(b.result.checks[ACCEPT_KEY].result, CHECK_PASSED);
	CHECK_INT(b.result.failed, ACCEPT_PLACEMENT);
}

TEST(every_status_but_ok_is_a_refusal)
{
	CLEANUP(bench_done) struct bench b;

	bench_begin(&b, IDENTITIES RULES, "tcp/80");
	for (uint16_t status = 1; status < PEER_STATUS_COUNT; status++) {
		b.answer.status = status;
		check_fails(&b, ACCEPT_STATUS, REASON_ATTEST_REFUSED, peer_status_name(status));
	}
	b.answer.status = 12;
	check_fails(&b, ACCEPT_STATUS, REASON_ATTEST_REFUSED, "unknown");
	b.answer.status = UINT16_MAX;
	check_fails(&b, ACCEPT_STATUS, REASON_ATTEST_REFUSED, "unknown");
}

TEST(the_socket_must_be_of_this_tuple_and_connecting)
{
	CLEANUP(bench_done) struct bench b;

	bench_begin(&b, IDENTITIES RULES, "tcp/80");
	b.answer.match = 0;
	check_fails(&b, ACCEPT_TUPLE, REASON_ATTEST_REFUSED, "no_match");
	b.answer.match = PEER_MATCH_SYN_SENT | PEER_MATCH_ISN | PEER_MATCH_HOLDER;
	check_fails(&b, ACCEPT_TUPLE, REASON_ATTEST_REFUSED, "no_match");
	b.answer.match = PEER_MATCH_TUPLE;
	check_fails(&b, ACCEPT_TUPLE, REASON_ATTEST_REFUSED, "no_match");
	/* What has no handshake to be in needs none. */
	b.query.flags = PEER_ESTABLISHED;
	check_accepted(&b, "a > b tcp/80");
	b.query.flags = 0;
	b.query.l4proto = IPPROTO_UDP;
	check_accepted(&b, "a > b tcp/80");
	b.answer.match = 0;
	check_fails(&b, ACCEPT_TUPLE, REASON_ATTEST_REFUSED, "no_match");
}

TEST(the_identity_must_be_named_rightly_and_be_of_our_trust_domain)
{
	static const struct {
		const char *id, *status;
	} bad[] = {
		{"", "no_identity"},
		{"prod/a", "bad_identity"},
		{"spiffe://acme.example", "bad_identity"},
		{"spiffe://acme.example/", "bad_identity"},
		{"spiffe://acme.example/prod//a", "bad_identity"},
		{"spiffe://acme.example/prod/../prod/a", "bad_identity"},
		{"spiffe://acme.example/prod/a ", "bad_identity"},
		{"spiffe://acme.example/prod/a\n", "bad_identity"},
		{"spiffe://acme.example/prod/\xc3\xa4", "bad_identity"},
		{"spiffe://acme.example/prod/\xff\xfe", "bad_identity"},
		{"spiffe://acme.example/prod/a\x1b[2J", "bad_identity"},
		{"SPIFFE://acme.example/prod/a", "bad_identity"},
		{"https://acme.example/prod/a", "bad_identity"},
		{"spiffe://other.example/prod/a", "other_domain"},
		{"spiffe://acme.example.org/prod/a", "other_domain"},
		{"spiffe://acme.exampl/prod/a", "other_domain"},
	};
	CLEANUP(bench_done) struct bench b;

	bench_begin(&b, IDENTITIES RULES, "tcp/80");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		say(&b, bad[i].id);
		check_fails(&b, ACCEPT_DOMAIN, REASON_ATTEST_REFUSED, bad[i].status);
		CHECK_STR(b.result.identity, "");
	}
}

TEST(a_path_longer_than_any_of_policy_is_refused)
{
	CLEANUP(bench_done) struct bench b;
	char id[400] = "spiffe://acme.example/";

	bench_begin(&b, IDENTITIES RULES, "tcp/80");
	memset(id + strlen(id), 'x', sizeof(id) - strlen(id) - 1);
	id[sizeof(id) - 1] = '\0';
	say(&b, id);
	check_fails(&b, ACCEPT_DOMAIN, REASON_ATTEST_REFUSED, "bad_identity");
}

TEST(a_node_vouches_only_for_what_is_placed_on_it_at_that_address)
{
	CLEANUP(bench_done) struct bench b;

	bench_begin(&b, IDENTITIES RULES, "tcp/80");
	/* Placed on this node, not on that one. */
	say(&b, "spiffe://acme.example/prod/b");
	check_fails(&b, ACCEPT_PLACEMENT, REASON_ATTEST_REFUSED, "not_placed");
	/* Unknown to everybody. */
	say(&b, "spiffe://acme.example/prod/nobody");
	check_fails(&b, ACCEPT_PLACEMENT, REASON_ATTEST_REFUSED, "not_placed");
	/* The node itself is no workload. */
	say(&b, "spiffe://acme.example/bailiwick/node/cli-1");
	check_fails(&b, ACCEPT_PLACEMENT, REASON_ATTEST_REFUSED, "not_placed");
	/* Placed there, but at another address of it. */
	say(&b, "spiffe://acme.example/prod/a");
	b.query.src = fixture_addr("10.0.0.6");
	check_fails(&b, ACCEPT_PLACEMENT, REASON_ATTEST_REFUSED, "not_placed");
	/* The view gives the address to nobody, or to another node. */
	b.query.src = fixture_addr("10.0.0.9");
	check_fails(&b, ACCEPT_PLACEMENT, REASON_UNKNOWN_PEER, "");
	b.query.src = fixture_addr("10.0.0.7");
	check_fails(&b, ACCEPT_PLACEMENT, REASON_UNKNOWN_PEER, "");
}

TEST(a_view_cannot_place_what_policy_does_not_let_run_there)
{
	CLEANUP(bench_done) struct bench b;

	bench_begin(&b, IDENTITIES RULES, "tcp/80");
	say(&b, "spiffe://acme.example/prod/d");
	check_fails(&b, ACCEPT_PLACEMENT, REASON_ATTEST_REFUSED, "not_placed");
	CHECK_CONTAINS(b.result.detail, "policy has no prod/d that may run on cli-1");
}

TEST(policy_must_have_a_rule_from_whoever_is_vouched_for)
{
	CLEANUP(bench_done) struct bench b;

	bench_begin(&b, IDENTITIES RULES, "tcp/80");
	say(&b, "spiffe://acme.example/prod/c");
	check_fails(&b, ACCEPT_POLICY, REASON_NO_RULE, "");
	CHECK_STR(b.result.identity, "prod/c");
	CHECK_STR(b.result.detail, "policy: no rule lets prod/c do this");
	say(&b, "spiffe://acme.example/prod/a");
	b.in.asked = NULL;
	check_fails(&b, ACCEPT_POLICY, REASON_NO_RULE, "");
}

TEST(a_rule_that_is_closed_now_lets_nobody_in)
{
	CLEANUP(bench_done) struct bench b;

	bench_begin(&b, IDENTITIES RULES, "tcp/80");
	compiled_revoke(&b.f, REVOKED_IDENTITY, "prod/a");
	compiled_run(&b.f);
	b.in.gen = b.f.g;
	b.in.asked = asked(&b.f, "tcp/80");
	check_fails(&b, ACCEPT_POLICY, REASON_NO_RULE, "");
}

TEST(measured_wants_holder_appraisal_and_reference_digest)
{
	CLEANUP(bench_done) struct bench b;

	bench_begin(&b, IDENTITIES RULES, "tcp/80");
	say(&b, "spiffe://acme.example/prod/m");
	memset(b.answer.sha256, 0x11, sizeof(b.answer.sha256));
	b.answer.has_sha256 = true;
	b.answer.evidence = PEER_EVIDENCE_AFFIRMING;
	check_fails(&b, ACCEPT_MEASURED, REASON_NOT_MEASURED, "");
	b.answer.match |= PEER_MATCH_HOLDER;
	check_accepted(&b, "m > b tcp/80");
	b.answer.evidence = PEER_EVIDENCE_WARNING;
	check_accepted(&b, "m > b tcp/80");
	b.answer.evidence = PEER_EVIDENCE_NONE;
	check_fails(&b, ACCEPT_MEASURED, REASON_NOT_MEASURED, "");
	b.answer.evidence = PEER_EVIDENCE_CONTRAINDICATED;
	check_fails(&b, ACCEPT_MEASURED, REASON_NOT_MEASURED, "");
	b.answer.evidence = 3;
	check_fails(&b, ACCEPT_MEASURED, REASON_NOT_MEASURED, "");
	b.answer.evidence = PEER_EVIDENCE_AFFIRMING;
	b.answer.sha256[31] ^= 1;
	check_fails(&b, ACCEPT_MEASURED, REASON_NOT_MEASURED, "");
	b.answer.sha256[31] ^= 1;
	b.answer.has_sha256 = false;
	check_fails(&b, ACCEPT_MEASURED, REASON_NOT_MEASURED, "");
}

TEST(a_rule_from_a_network_is_for_whoever_is_there)
{
	CLEANUP(bench_done) struct bench b;

	bench_begin(
		&b,
		IDENTITIES RULES RULE("net-b", "lan", "b", "tcp/80",
				      "") "networks:\n  - {name: lan, cidrs: [\"10.0.0.0/29\"]}\n",
		"tcp/80");
	check_accepted(&b, "a > b tcp/80");
	/* Known without a rule of its own, unknown to the view, nobody at all: all are let in. */
	say(&b, "spiffe://acme.example/prod/c");
	judge(&b);
	CHECK(b.result.accepted);
	CHECK_UINT(b.result.number, b.in.asked->number);
	say(&b, "spiffe://acme.example/prod/nobody");
	judge(&b);
	CHECK(b.result.accepted);
	say(&b, "");
	b.answer.status = PEER_NO_IDENTITY;
	b.answer.match = 0;
	judge(&b);
	CHECK(b.result.accepted);
	/* But not whom its own host does not let out, and not by an impostor's word. */
	b.answer.status = PEER_EGRESS_DENIED;
	check_fails(&b, ACCEPT_STATUS, REASON_ATTEST_REFUSED, "egress_denied");
	b.answer.status = PEER_NO_IDENTITY;
	set_text(b.svid.name, "cli-2");
	check_fails(&b, ACCEPT_NODE, REASON_ATTEST_REFUSED, "wrong_node");
}

TEST(the_listener_must_be_whom_the_rule_calls)
{
	CLEANUP(bench_done) struct bench b;
	struct service s = fixture_service("tcp/90");
	struct addr far = fixture_addr("10.0.0.5");

	bench_begin(&b,
		    TOP ID("a", ", serves: [tcp/90]") ID("b", "") ID("c", ", serves: [tcp/90]")
			    ID("d", "") ID("m", "") "rules:\n" RULE("b-a", "b", "a", "tcp/90",
								    ", callee: attested"),
		    "tcp/80");
	b.query.src = fixture_addr("10.0.0.1");
	b.query.dst = far;
	b.query.dport = 90;
	b.query.flags = PEER_LISTENER;
	b.answer.match = PEER_MATCH_TUPLE;
	b.in.asked = generation_find(
		b.f.g, compiled_find(&b.f, false, compiled_mark(&b.f, "b"), &far, &s, SLOT_A));
	CHECK(b.in.asked != NULL);
	CHECK_INT(b.in.asked->verdict, LIVE_ASK);
	check_accepted(&b, "b > a tcp/90");
	CHECK_UINT(b.result.number, b.in.asked->number);
	say(&b, "spiffe://acme.example/prod/c");
	check_fails(&b, ACCEPT_POLICY, REASON_NO_RULE, "");
	say(&b, "");
	check_fails(&b, ACCEPT_DOMAIN, REASON_ATTEST_REFUSED, "no_identity");
	b.answer.status = PEER_NO_IDENTITY;
	check_fails(&b, ACCEPT_STATUS, REASON_ATTEST_REFUSED, "no_identity");
	b.answer.status = PEER_OK;
	say(&b, "spiffe://acme.example/prod/a");
	b.query.dst = fixture_addr("10.0.0.6");
	check_fails(&b, ACCEPT_PLACEMENT, REASON_ATTEST_REFUSED, "not_placed");
}
