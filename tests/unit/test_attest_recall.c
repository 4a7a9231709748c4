/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/attest.h"

#include "agent/attest_parts.h"
#include "base/mem.h"
#include "tests/unit/compile_fixture.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>

#define FLOOD 5000

struct bench {
	struct compiled f;
	struct agent *agent;
	struct attest attest;
	uint32_t asked;
};

static void bench_init(struct bench *b)
{
	struct addr far = fixture_addr("10.0.0.5");
	struct service s = fixture_service("tcp/80");

	memset(b, 0, sizeof(*b));
	policy_fixture_attests = true;
	compiled_init(&b->f, TOP ID("a", "") ID("b", ", serves: [tcp/80]") "rules:\n" AB(
				     "r", ", assurance: attested"));
	compiled_place(&b->f, "prod/b", NULL);
	compiled_node(&b->f, "cli-1", "10.0.0.5");
	compiled_peer(&b->f, "prod/a", "cli-1", "10.0.0.5", NULL);
	compiled_run(&b->f);
	b->agent = mem_calloc(1, sizeof(*b->agent));
	CHECK(b->agent != NULL);
	b->agent->confirmed.gen = b->f.g;
	b->attest.agent = b->agent;
	b->attest.recall = recall_new(b->agent);
	CHECK(b->attest.recall != NULL);
	b->asked = compiled_find(&b->f, true, compiled_mark(&b->f, "b"), &far, &s, SLOT_A);
	CHECK(b->asked != 0);
}

static void bench_done(struct bench *b)
{
	recall_free(b->attest.recall);
	free(b->agent);
	compiled_done(&b->f);
}

static void decided(struct bench *b, uint16_t sport, enum reason reason, const char *identity,
		    const struct peer_answer *answer)
{
	struct mono now = mono_now();
	struct pending_key k = {.src = fixture_addr("10.0.0.5"),
				.dst = fixture_addr("10.0.0.1"),
				.sport = sport,
				.dport = 80,
				.l4proto = IPPROTO_TCP,
				.hook = NF_INET_LOCAL_IN};
	struct recall_entry e = {.key = &k,
				 .number = b->asked,
				 .reason = reason,
				 .status = reason == REASON_PERMITTED ? "" : "no_socket",
				 .node = "cli-1",
				 .check = reason == REASON_PERMITTED ? "" : "status: cli-1 says so",
				 .identity = identity,
				 .answer = answer,
				 .since = {now.ns - 250000},
				 .now = now,
				 .rtt_us = 200};

	recall_add(b->attest.recall, &e);
}

static const struct attest_record *of_port(struct bench *b, uint16_t sport)
{
	struct packet p = {.src = fixture_addr("10.0.0.5"),
			   .dst = fixture_addr("10.0.0.1"),
			   .sport = sport,
			   .dport = 80,
			   .l4proto = IPPROTO_TCP};

	return attest_recall(&b->attest, &p);
}

TEST(what_was_decided_about_a_flow_can_be_told)
{
	CLEANUP(bench_done) struct bench b;
	struct peer_answer answer = {.status = PEER_OK,
				     .match = PEER_MATCH_TUPLE,
				     .uid = 34,
				     .evidence = PEER_EVIDENCE_AFFIRMING,
				     .has_sha256 = true,
				     .unit = "a.service"};
	const struct attest_record *r;

	bench_init(&b);
	memset(answer.sha256, 0xab, sizeof(answer.sha256));
	decided(&b, 1000, REASON_PERMITTED, "prod/a", &answer);
	decided(&b, 1001, REASON_ATTEST_REFUSED, "", NULL);
	r = of_port(&b, 1000);
	CHECK(r != NULL);
	CHECK_UINT(r->number, b.asked);
	CHECK_STR(r->identity, "prod/a");
	CHECK_STR(r->asked, "cli-1");
	CHECK_UINT(r->held_us, 250);
	CHECK_UINT(r->rtt_us, 200);
	CHECK(r->answer != NULL);
	CHECK_UINT(r->answer->uid, 34);
	CHECK_STR(r->answer->unit, "a.service");
	CHECK(r->answer->has_sha256);
	CHECK_MEM(r->answer->sha256, answer.sha256, sizeof(answer.sha256));
	r = of_port(&b, 1001);
	CHECK(r != NULL);
	CHECK(r->answer == NULL);
	CHECK_STR(r->status, "no_socket");
	CHECK_STR(r->check, "status: cli-1 says so");
	CHECK(of_port(&b, 1002) == NULL);
}

TEST(the_newest_decision_about_a_flow_counts)
{
	CLEANUP(bench_done) struct bench b;

	bench_init(&b);
	decided(&b, 1000, REASON_ATTEST_TIMEOUT, "", NULL);
	decided(&b, 1000, REASON_PERMITTED, "prod/a", NULL);
	CHECK_INT(of_port(&b, 1000)->reason, REASON_PERMITTED);
	decided(&b, 1000, REASON_ATTEST_REFUSED, "", NULL);
	CHECK_INT(of_port(&b, 1000)->reason, REASON_ATTEST_REFUSED);
}

TEST(who_it_was_between_finds_it_too)
{
	CLEANUP(bench_done) struct bench b;
	const struct attest_record *r;

	bench_init(&b);
	decided(&b, 1000, REASON_ATTEST_REFUSED, "prod/c", NULL);
	decided(&b, 1001, REASON_PERMITTED, "prod/a", NULL);
	r = attest_recall_identity(&b.attest, "prod/c", "prod/b", 80);
	CHECK(r != NULL);
	CHECK_UINT(r->packet.sport, 1000);
	CHECK(attest_recall_identity(&b.attest, "prod/c", "prod/b", 81) == NULL);
	CHECK(attest_recall_identity(&b.attest, "prod/c", "prod/a", 80) == NULL);
	CHECK(attest_recall_identity(NULL, "prod/c", "prod/b", 80) == NULL);
}

TEST(a_flood_of_refusals_does_not_push_out_who_was_let_in)
{
	CLEANUP(bench_done) struct bench b;

	bench_init(&b);
	decided(&b, 1000, REASON_PERMITTED, "prod/a", NULL);
	for (unsigned i = 0; i < FLOOD; i++)
		decided(&b, (uint16_t)(2000 + i), REASON_ATTEST_REFUSED, "", NULL);
	CHECK(of_port(&b, 1000) != NULL);
	CHECK(of_port(&b, 2000) == NULL);
	CHECK(of_port(&b, 2000 + FLOOD - 1) != NULL);
}

TEST(a_unit_that_is_no_plain_text_is_left_out)
{
	CLEANUP(bench_done) struct bench b;
	struct peer_answer answer = {.unit = "a\x1b[2J.service"};

	bench_init(&b);
	decided(&b, 1000, REASON_PERMITTED, "prod/a", &answer);
	CHECK_STR(of_port(&b, 1000)->answer->unit, "");
}

#define SIXTEEN "0123456789abcdef"
#define ID64    SIXTEEN SIXTEEN SIXTEEN SIXTEEN

TEST(containers_and_pods_can_be_told)
{
	CLEANUP(bench_done) struct bench b;
	struct peer_answer answer = {.container_id = ID64,
				     .pod_uid = "0f9a3b5c-8d2e-4c61-a7f4-2b6d9e1c3a58"};
	const struct attest_record *r;

	bench_init(&b);
	decided(&b, 1000, REASON_PERMITTED, "prod/a", &answer);
	r = of_port(&b, 1000);
	CHECK_STR(r->answer->container_id, answer.container_id);
	CHECK_STR(r->answer->pod_uid, answer.pod_uid);
	decided(&b, 1001, REASON_PERMITTED, "prod/a", NULL);
	CHECK(of_port(&b, 1001)->answer == NULL);
}

TEST(containers_and_pods_of_no_form_are_left_out)
{
	CLEANUP(bench_done) struct bench b;
	struct peer_answer answer = {.container_id = ID64 "0", .pod_uid = "0f9a\x1b[2J"};

	bench_init(&b);
	decided(&b, 1000, REASON_PERMITTED, "prod/a", &answer);
	CHECK_STR(of_port(&b, 1000)->answer->container_id, "");
	CHECK_STR(of_port(&b, 1000)->answer->pod_uid, "");
}

OOM_TEST(recall_without_memory)
{
	struct agent *a = mem_calloc(1, sizeof(*a));
	struct recall *r = a ? recall_new(a) : NULL;

	recall_free(r);
	free(a);
	return r ? 0 : -ENOMEM;
}
