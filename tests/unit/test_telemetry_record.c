/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/telemetry_record.h"

#include "agent/peer_frame.h"
#include "base/mem.h"
#include "rules/marks.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHEN_MS 1795269731042 /* 2026-11-21T14:02:11.042Z */

static struct record denial(void)
{
	struct record r = {
		.time_ms = WHEN_MS,
		.last_ms = WHEN_MS,
		.decision = DECISION_DENIED,
		.reason = REASON_NO_RULE,
		.direction = RECORD_OUT,
		.assurance = RECORD_MAPPED,
		.l4proto = IPPROTO_TCP,
		.service = "tcp/8443",
		.count = 1,
		.view_sequence = 41,
		.digest = "9c1f04e2",
		.from = {.identity = "prod/payments/backup",
			 .node = "pay-1",
			 .cgroup = "/system.slice/backup.service",
			 .port = 51544,
			 .has_port = true,
			 .has_uid = true,
			 .uid = 34},
		.to = {.identity = "prod/payments/api",
		       .node = "api-1",
		       .port = 8443,
		       .has_port = true},
	};

	CHECK_INT(addr_parse("10.77.0.11", &r.from.address), 0);
	CHECK_INT(addr_parse("10.77.0.21", &r.to.address), 0);
	return r;
}

TEST(a_record_is_the_object_of_formats)
{
	struct record r = denial();
	json_t *json = record_json(&r, "pay-1", r.time_ms, 1);
	CLEANUP(freep) char *text = json_dumps(json, JSON_COMPACT);

	json_decref(json);
	CHECK_STR(text, "{\"version\":1,\"time\":\"2026-11-21T14:02:11.042Z\",\"node\":\"pay-1\","
			"\"decision\":\"denied\",\"reason\":\"no_rule\",\"conduit\":null,"
			"\"rule\":null,\"from\":{\"identity\":\"prod/payments/backup\","
			"\"node\":\"pay-1\",\"address\":\"10.77.0.11\",\"port\":51544,"
			"\"cgroup\":\"/system.slice/backup.service\",\"uid\":34},"
			"\"to\":{\"identity\":\"prod/payments/api\",\"node\":\"api-1\","
			"\"address\":\"10.77.0.21\",\"port\":8443,\"cgroup\":null,\"uid\":null},"
			"\"service\":\"tcp/8443\",\"direction\":\"out\",\"assurance\":\"mapped\","
			"\"evidence\":{},\"policy_digest\":\"9c1f04e2\",\"view_sequence\":41,"
			"\"count\":1}");
}

static struct record vouched(void)
{
	struct record r = denial();

	r.decision = DECISION_ALLOWED;
	r.reason = REASON_PERMITTED;
	r.direction = RECORD_IN;
	r.assurance = RECORD_MEASURED;
	r.evidence = (struct record_evidence){
		.asked = "pay-1",
		.status = "ok",
		.spiffe_id = "spiffe://acme.example/prod/payments/settlement",
		.unit = "settlement.service",
		.sha256 = "9c1f",
		.appraisal = "affirming",
		.match = PEER_MATCH_TUPLE | PEER_MATCH_SYN_SENT | PEER_MATCH_HOLDER,
		.rtt_us = 184,
		.held_us = 251,
	};
	return r;
}

static void check_evidence(const struct record *r, const char *expected)
{
	json_t *json = record_json(r, "api-1", r->time_ms, 1);
	CLEANUP(freep)
	char *text = json_dumps(json_object_get(json, "evidence"), JSON_COMPACT);

	json_decref(json);
	CHECK_STR(text, expected);
}

TEST(evidence_is_what_the_far_agent_said)
{
	struct record r = vouched();

	check_evidence(&r, "{\"node\":\"pay-1\",\"status\":\"ok\","
			   "\"spiffe_id\":\"spiffe://acme.example/prod/payments/settlement\","
			   "\"unit\":\"settlement.service\",\"exe_sha256\":\"9c1f\","
			   "\"appraisal\":\"affirming\","
			   "\"match\":[\"tuple\",\"syn_sent\",\"holder\"],"
			   "\"rtt_us\":184,\"held_us\":251}");
}

TEST(evidence_of_a_question_without_answer_claims_nothing)
{
	struct record r = denial();

	r.reason = REASON_ATTEST_TIMEOUT;
	r.evidence = (struct record_evidence){
		.asked = "pay-1", .check = "no answer within 800 ms", .held_us = 800123};
	check_evidence(&r, "{\"node\":\"pay-1\",\"status\":null,"
			   "\"failed\":\"no answer within 800 ms\",\"held_us\":800123}");
}

TEST(evidence_comes_back_from_json)
{
	struct record r = vouched(), back;
	json_t *json = record_json(&r, "api-1", r.time_ms, 1);

	CHECK_INT(record_from_json(json, &back), 0);
	CHECK_STR(back.evidence.asked, "pay-1");
	CHECK_STR(back.evidence.status, "ok");
	CHECK_STR(back.evidence.unit, "settlement.service");
	CHECK_STR(back.evidence.sha256, "9c1f");
	CHECK(back.evidence.fsverity == NULL && back.evidence.check == NULL);
	CHECK_UINT(back.evidence.match, r.evidence.match);
	CHECK_UINT(back.evidence.rtt_us, 184);
	CHECK_UINT(back.evidence.held_us, 251);
	CHECK_UINT(back.assurance, RECORD_MEASURED);
	json_decref(json);
}

TEST(an_unknown_match_bit_has_no_word)
{
	const char *words[RECORD_MATCH_MAX];

	CHECK_UINT(record_match_words(UINT32_MAX, words), 6);
	CHECK_UINT(record_match_words(PEER_MATCH_NETNS | 0x40000000U, words), 1);
	CHECK_STR(words[0], "netns");
}

TEST(flows_that_are_known_otherwise_are_other_records)
{
	struct record a = vouched(), b = vouched();

	CHECK(record_key(&a) == record_key(&b));
	b.assurance = RECORD_MAPPED;
	CHECK(record_key(&a) != record_key(&b));
	b = vouched();
	b.evidence.sha256 = "77aa";
	CHECK(record_key(&a) != record_key(&b));
	b = vouched();
	b.evidence.status = "no_socket";
	CHECK(record_key(&a) != record_key(&b));
	b = vouched();
	b.evidence.rtt_us = 9000;
	CHECK(record_key(&a) == record_key(&b));
}

TEST(a_packed_record_owns_its_texts)
{
	char name[] = "prod/payments/backup";
	struct record draft = denial(), *r;

	draft.from.identity = name;
	r = record_pack(&draft);
	CHECK(r != NULL);
	memset(name, 'x', sizeof(name) - 1);
	CHECK_STR(r->from.identity, "prod/payments/backup");
	CHECK_STR(r->to.node, "api-1");
	CHECK_STR(r->digest, "9c1f04e2");
	CHECK(r->rule == NULL);
	CHECK(r->to.cgroup == NULL);
	record_unref(r);
}

TEST(a_name_that_is_too_long_is_left_out)
{
	CLEANUP(freep) char *name = mem_calloc(1, RECORD_TEXT_MAX + 1);
	struct record draft = denial(), *r;

	memset(name, 'x', RECORD_TEXT_MAX);
	draft.from.cgroup = name;
	r = record_pack(&draft);
	CHECK(r->from.cgroup == NULL);
	CHECK_STR(r->from.identity, "prod/payments/backup");
	record_unref(r);
}

TEST(a_record_comes_back_from_json)
{
	struct record r = denial(), back;
	json_t *json;

	r.decision = DECISION_WOULD_DENY;
	r.reason = REASON_ATTEST_REFUSED;
	(void)snprintf(r.status, sizeof(r.status), "expired");
	r.conduit = 9;
	r.rule = "settlement-calls-api";
	json = record_json(&r, "pay-1", r.time_ms, 3);
	CHECK_STR(json_string_value(json_object_get(json, "reason")), "attest_refused:expired");
	CHECK_INT(record_from_json(json, &back), 0);
	CHECK_UINT(back.decision, DECISION_WOULD_DENY);
	CHECK_UINT(back.reason, REASON_ATTEST_REFUSED);
	CHECK_STR(back.status, "expired");
	CHECK_UINT(back.conduit, 9);
	CHECK_UINT(back.count, 3);
	CHECK_STR(back.rule, "settlement-calls-api");
	CHECK_STR(back.service, "tcp/8443");
	CHECK_UINT(back.direction, RECORD_OUT);
	CHECK_UINT(back.assurance, RECORD_MAPPED);
	CHECK(addr_eq(&back.from.address, &r.from.address));
	CHECK_UINT(back.from.port, 51544);
	CHECK(back.from.has_uid && !back.to.has_uid);
	CHECK_STR(back.from.cgroup, "/system.slice/backup.service");
	json_decref(json);
}

TEST(a_record_needs_a_decision_and_a_known_reason)
{
	static const char *const bad[] = {
		"{}",
		"{\"decision\":\"denied\"}",
		"{\"decision\":\"denied\",\"reason\":\"bad_mood\"}",
		"{\"decision\":\"maybe\",\"reason\":\"no_rule\"}",
		"{\"decision\":7,\"reason\":\"no_rule\"}",
	};
	struct record r;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		json_t *json = json_loads(bad[i], 0, NULL);

		CHECK_INT(record_from_json(json, &r), -EINVAL);
		json_decref(json);
	}
}

TEST(flows_from_other_ports_are_one_record)
{
	struct record a = denial(), b = denial();

	b.from.port++;
	b.time_ms += 1000;
	b.count = 7;
	CHECK(record_key(&a) == record_key(&b));
}

TEST(other_flows_are_other_records)
{
	struct record a = denial(), b;

	b = denial();
	b.reason = REASON_REVOKED;
	CHECK(record_key(&a) != record_key(&b));
	b = denial();
	b.decision = DECISION_WOULD_DENY;
	CHECK(record_key(&a) != record_key(&b));
	b = denial();
	b.to.address.bytes[3]++;
	CHECK(record_key(&a) != record_key(&b));
	b = denial();
	(void)snprintf(b.service, sizeof(b.service), "tcp/8444");
	CHECK(record_key(&a) != record_key(&b));
	b = denial();
	b.from.identity = "prod/payments/settlement";
	CHECK(record_key(&a) != record_key(&b));
	b = denial();
	b.from.cgroup = NULL;
	CHECK(record_key(&a) != record_key(&b));
	b = denial();
	b.digest = "77aa04e2";
	CHECK(record_key(&a) != record_key(&b));
}

/* Neither more than a flow has nor less: the rule may ask for what this flow did not need. */
TEST(assurance_is_what_the_mark_says_was_achieved)
{
	static const struct {
		uint8_t assurance, flags;
		uint32_t mark;
		enum record_assurance known;
	} rows[] = {
		{ASSURANCE_ATTESTED, CONDUIT_IN, 9 | MARK_VOUCHED, RECORD_ATTESTED},
		{ASSURANCE_MEASURED, CONDUIT_IN, 9 | MARK_VOUCHED, RECORD_MEASURED},
		{ASSURANCE_MAPPED, CONDUIT_IN, 9 | MARK_VOUCHED, RECORD_ATTESTED},
		{ASSURANCE_MEASURED, CONDUIT_OUT | CONDUIT_CALLEE, 9 | MARK_VOUCHED,
		 RECORD_ATTESTED},
		{ASSURANCE_ATTESTED, CONDUIT_IN, 9 | MARK_UNAVAILABLE, RECORD_MAPPED},
		{ASSURANCE_ATTESTED, CONDUIT_IN, 9 | MARK_NOT_VOUCHED, RECORD_MAPPED},
		{ASSURANCE_ATTESTED, CONDUIT_OUT, 9, RECORD_MAPPED},
		{ASSURANCE_ATTESTED, CONDUIT_LOOPBACK, 9, RECORD_ATTESTED},
		{ASSURANCE_MAPPED, CONDUIT_LOOPBACK, 9, RECORD_ATTESTED},
		{ASSURANCE_ATTESTED, CONDUIT_IN, MARK_IDENTITY_MIN | 9, RECORD_NONE},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct conduit c = {
			.number = 9, .assurance = rows[i].assurance, .flags = rows[i].flags};

		CHECK_STR(record_assurance_name(record_assurance_of(&c, rows[i].mark)),
			  record_assurance_name(rows[i].known));
	}
	CHECK(record_assurance_of(NULL, 9 | MARK_VOUCHED) == RECORD_NONE);
}

TEST(services_are_written_as_rules_write_them)
{
	static const struct {
		uint8_t l4proto;
		uint16_t number;
		const char *text;
	} rows[] = {
		{IPPROTO_TCP, 8443, "tcp/8443"}, {IPPROTO_UDP, 53, "udp/53"},
		{IPPROTO_ICMP, 8, "icmp/echo"},  {IPPROTO_ICMPV6, 128, "icmpv6/echo"},
		{IPPROTO_ICMP, 3, "icmp/3"},     {IPPROTO_ICMPV6, 8, "icmpv6/8"},
		{IPPROTO_GRE, 0, "proto/47"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[RECORD_SERVICE_MAX];

		record_service(text, rows[i].l4proto, rows[i].number);
		CHECK_STR(text, rows[i].text);
	}
}

TEST(addresses_have_their_port)
{
	struct record_end e = {.port = 443, .has_port = true};
	char text[RECORD_ADDRESS_MAX];

	CHECK_INT(addr_parse("fd00::1", &e.address), 0);
	CHECK_STR(record_address(text, &e), "[fd00::1]:443");
	CHECK_INT(addr_parse("10.0.0.1", &e.address), 0);
	CHECK_STR(record_address(text, &e), "10.0.0.1:443");
	e.has_port = false;
	CHECK_STR(record_address(text, &e), "10.0.0.1");
}

OOM_TEST(packing_needs_memory)
{
	struct record draft = denial(), *r = record_pack(&draft);

	record_unref(r);
	return r ? 0 : -ENOMEM;
}
