/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/head.h"

#include "base/mem.h"
#include "tests/unit/document_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static int decode(const char *text, struct head *ret, struct err *err)
{
	return head_decode((const uint8_t *)text, strlen(text), ret, err);
}

TEST(head_of_the_format_document)
{
	CLEANUP(head_done) struct head h = {0};
	CLEANUP(freep) char *text = document_head_text(977);
	struct err err = {0};

	CHECK_OK(decode(text, &h, &err), &err);
	CHECK_STR(h.trust_domain, "acme.example");
	CHECK_STR(h.node, "pay-1");
	CHECK_UINT(h.sequence, 977);
	CHECK_INT(h.issued.s, 1799971200);
	CHECK_INT(h.expires.s - h.issued.s, 86400);
	CHECK(!h.urgent);
	CHECK_UINT(h.stable.revision, 12);
	CHECK_STR(h.stable.sha256, HEX);
	CHECK_UINT(h.candidate.revision, 13);
	CHECK_STR(h.view_sha256, HEX);
	CHECK_UINT(h.view_size, 2048);
	CHECK_UINT(h.view_sequence, 41);
}

TEST(what_acts_at_once_comes_as_an_overlay_of_the_head)
{
	CLEANUP(freep)
	char *text = document_replace(
		document_head_text(977), "\"until\": null}",
		"\"until\": null}, {\"identity\": \"prod/x\", \"reason\": \"\", \"until\": "
		"\"2027-01-15T12:00:00Z\"}, {\"label\": \"vendor=x,tier=high|low\", \"reason\": "
		"\"r\", \"until\": null}");
	CLEANUP(head_done) struct head h = {0};
	const struct overlay *o = &h.overlay;
	struct err err = {0};

	CHECK_OK(decode(text, &h, &err), &err);
	CHECK_UINT(o->quarantined_count, 1);
	CHECK_STR(o->quarantined[0].identity, "prod/ci/builder");
	CHECK_STR(o->quarantined[0].keep, "forensics");
	CHECK_STR(o->quarantined[0].reason, "strange");
	CHECK(o->quarantined[0].from_head);
	CHECK_UINT(o->revoked_count, 3);
	CHECK_INT(o->revoked[0].kind, REVOKED_RULE);
	CHECK_STR(o->revoked[0].name, "vendor-x");
	CHECK_STR(o->revoked[0].reason, "contract ended");
	CHECK_INT(o->revoked[0].until.s, 0);
	CHECK_INT(o->revoked[1].kind, REVOKED_IDENTITY);
	CHECK_STR(o->revoked[1].name, "prod/x");
	CHECK_INT(o->revoked[1].until.s, 1800014400);
	CHECK_INT(o->revoked[2].kind, REVOKED_LABEL);
	CHECK_STR(o->revoked[2].name, "vendor=x,tier=high|low");
	CHECK(o->revoked[0].from_head && o->revoked[2].from_head);
	CHECK_UINT(o->grant_count, 1);
	CHECK_STR(o->grants[0].rule, "break-glass-db");
	CHECK_STR(o->grants[0].from, "ops/oncall");
	CHECK_STR(o->grants[0].to, "prod/orders/db");
	CHECK_STR(o->grants[0].who, "ann");
	CHECK(o->grants[0].reason == NULL && o->grants[0].from_head);
	CHECK_INT(o->grants[0].until.s, 1800043200);
}

static bool accepts(const void *bytes, size_t len)
{
	struct head h = {0};
	bool good = head_decode(bytes, len, &h, NULL) == 0;

	head_done(&h);
	return good;
}

TEST(every_truncation_of_a_head_is_refused)
{
	CLEANUP(freep) char *text = document_head_text(977);

	CHECK_TRUNCATIONS(text, strlen(text), accepts);
}

#define CANDIDATE "{\"revision\": 13, \"sha256\": \"" HEX "\", \"rollout\": {\"percent\": 5}}"
#define RULE      "\"rule\": \"vendor-x\""

TEST(mistakes_in_a_head)
{
	static const struct {
		const char *from, *to, *error;
	} cases[] = {
		{"\"pay-1\"", "\"pay/1\"", "head: node: not a node name"},
		{"\"sequence\": 977", "\"sequence\": 0", "head: sequence: 0 is out of range; 1 to"},
		{"\"sequence\": 977", "\"sequence\": 9223372036854775808", "too big integer"},
		{"\"sequence\": 977", "\"sequence\": -9223372036854775808", "out of range"},
		{"2027-01-16T00:00:00Z", "2027-01-15T00:00:00Z", "head: expires: not later than"},
		{"2027-01-16T00:00:00Z", "2027-01-14T00:00:00Z", "head: expires: not later than"},
		{"\"urgent\": false", "\"urgent\": 0", "head: urgent: neither true nor false"},
		{"\"urgent\": false", "\"urgent\": null", "urgent: neither true nor false"},
		{"\"urgent\": false,", "", "head: urgent: missing"},
		{"\"stable\": {\"revision\": 12", "\"stable\": {\"revision\": 0",
		 "head: stable.revision: 0 is out of range"},
		{"\"stable\": {\"revision\": 12", "\"stable\": {\"x\": 1, \"revision\": 12",
		 "head: stable: unknown member 'x'"},
		{"\"stable\": {\"revision\": 12, \"sha256\": \"" HEX "\"}", "\"stable\": null",
		 "head: stable: not an object"},
		{"\"candidate\": " CANDIDATE ",", "", "head: candidate: missing"},
		{CANDIDATE, "7", "head: candidate: not an object"},
		{CANDIDATE, "{}", "head: candidate.revision: missing"},
		{", \"rollout\": {\"percent\": 5}", "", "candidate.rollout: missing"},
		{"{\"percent\": 5}", "5", "candidate.rollout: not an object"},
		{"\"size\": 2048", "\"size\": 0", "head: view.size: 0 is out of range; 1 to"},
		{"\"size\": 2048", "\"size\": 67108865", "view.size: 67108865 is out of range"},
		{"\"sequence\": 41", "\"sequence\": -1", "view.sequence: -1 is out of range"},
		{"\"sequence\": 41", "\"sequence\": 41, \"url\": \"\"",
		 "head: view: unknown member"},
		{"\"prod/ci/builder\"", "\"/prod\"", "quarantine[0].identity: begins with '/'"},
		{"\"prod/ci/builder\"", "\"a/../b\"", "quarantine[0].identity: has a segment"},
		{"\"prod/ci/builder\"", "\"bailiwick/node/x\"", "quarantine[0].identity: is below"},
		{"\"forensics\"", "\"10.0.0.0/8\"", "head: quarantine[0].keep: is not a name"},
		{"\"forensics\"", "null", "quarantine[0].keep: not a string"},
		{"\"strange\"", "\"a\\nb\"", "quarantine[0].reason: control characters"},
		{", \"reason\": \"strange\"", "", "quarantine[0].reason: missing"},
		{"\"reason\": \"strange\"}]", "\"reason\": \"strange\"}, []]",
		 "quarantine[1]: not an object"},
		{RULE, "\"x\": 1", "revoked[0]: exactly one of rule, identity and label"},
		{RULE, RULE ", \"label\": \"a=b\"",
		 "revoked[0]: exactly one of rule, identity and"},
		{RULE, RULE ", \"identity\": \"a\"", "revoked[0]: exactly one of rule, identity"},
		{RULE, "\"rule\": \"\"", "revoked[0].rule: is not a name"},
		{RULE, "\"rule\": null", "revoked[0].rule: not a string"},
		{RULE, "\"label\": \"vendor\"", "head: revoked[0].label: "},
		{RULE, "\"label\": \"\"", "head: revoked[0].label: "},
		{RULE, "\"identity\": \"\"", "head: revoked[0].identity: has an empty segment"},
		{RULE, "\"conduit\": \"7\"", "revoked[0]: exactly one of"},
		{"\"until\": null", "\"until\": 0", "revoked[0].until: not a string"},
		{", \"until\": null", "", "revoked[0].until: missing"},
		{"\"until\": null", "\"until\": \"soon\"", "revoked[0].until: not a time"},
		{"2027-01-15T20:00:00Z", "", "grants[0].until: not a time"},
		{"\"until\": \"2027-01-15T20:00:00Z\"", "\"until\": null",
		 "grants[0].until: not a string"},
		{"\"ops/oncall\"", "\"ops//oncall\"", "grants[0].from: has an empty segment"},
		{", \"to\": \"prod/orders/db\"", "", "grants[0].to: missing"},
		{"\"approver\": \"ann\"", "\"approver\": \"ann\", \"from_head\": false",
		 "grants[0]: unknown member 'from_head'"},
		{"\"grants\": [", "\"grants\": {}, \"more\": [", "head: grants: not an array"},
		{"\"version\": 1", "\"version\": 1, \"on_stale\": \"keep\"",
		 "head: unknown member 'on_stale'"},
		{"\"version\": 1", "\"version\": 1, \"version\": 1", "duplicate object key"},
		{"\"version\": 1", "\"version\": 1, \"requires\": {}", "requires: not an array"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(freep)
		char *text = document_replace(document_head_text(977), cases[i].from, cases[i].to);
		struct head h = {0};
		struct err err = {0};

		CHECK_INT(decode(text, &h, &err), -EBADMSG);
		CHECK_CONTAINS(err.text, cases[i].error);
		CHECK(h.node == NULL && h.overlay.revoked == NULL);
	}
}

TEST(what_a_head_may_have_or_lack)
{
	static const struct {
		const char *from, *to;
	} cases[] = {
		{CANDIDATE, "null"},
		{"{\"percent\": 5}", "{\"any\": [1.5, null, {\"x\": true}]}"},
		{"\"urgent\": false", "\"urgent\": true"},
		{", \"keep\": \"forensics\"", ""},
		{"\"until\": null", "\"until\": \"2027-01-15T20:00:00Z\""},
		{"\"version\": 1", "\"version\": 1, \"requires\": [\"mapped\"]"},
		{"\"version\": 1", "\"version\": 1, \"ext\": {}"},
		{"\"sequence\": 977", "\"sequence\": 9223372036854775807"},
		{"\"sequence\": 41", "\"sequence\": 0"},
		{"\"strange\"", "\"\xe2\x80\x9cquoted\xe2\x80\x9d\""},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(freep)
		char *text = document_replace(document_head_text(977), cases[i].from, cases[i].to);
		CLEANUP(head_done) struct head h = {0};
		struct err err = {0};

		CHECK_OK(decode(text, &h, &err), &err);
	}
}

TEST(unknown_requires_of_a_head_is_refused_and_named)
{
	CLEANUP(freep)
	char *text = document_replace(document_head_text(977), "\"version\": 1",
				      "\"version\": 1, \"requires\": [\"rings\"], \"rings\": []");
	struct head h = {0};
	struct err err = {0};

	CHECK_INT(decode(text, &h, &err), -ENOTSUP);
	CHECK_CONTAINS(err.text, "head: requires 'rings'");
}

static void fill(struct head *h, struct overlay_revoked *revoked, size_t count)
{
	h->overlay.revoked = revoked;
	h->overlay.revoked_count = count;
}

TEST(lists_of_a_head_are_bounded)
{
	static char name[] = "r", reason[] = "";
	CLEANUP(freep)
	struct overlay_revoked *many = mem_calloc(HEAD_ENTRIES_MAX + 1, sizeof(*many));
	CLEANUP(freep) char *text = document_head_text(977);
	CLEANUP(freep) char *full = NULL;
	struct head h = {0}, wide;
	struct err err = {0};
	char *over = NULL;
	size_t len = 0;

	CHECK(many != NULL);
	for (size_t i = 0; i <= HEAD_ENTRIES_MAX; i++)
		many[i] = (struct overlay_revoked){.name = name, .reason = reason};
	CHECK_OK(decode(text, &h, &err), &err);
	wide = h;
	fill(&wide, many, HEAD_ENTRIES_MAX);
	CHECK_OK(head_encode(&wide, &full, &len, &err), &err);
	fill(&wide, many, HEAD_ENTRIES_MAX + 1);
	CHECK_INT(head_encode(&wide, &over, &len, &err), -EBADMSG);
	CHECK_CONTAINS(err.text, "head: revoked: more than 4096 entries");
	CHECK(over == NULL);
	head_done(&h);
}

TEST(an_oversize_head_is_not_parsed)
{
	CLEANUP(freep) char *text = mem_calloc(HEAD_MAX + 2, 1);
	struct head h = {0};
	struct err err = {0};

	CHECK(text != NULL);
	memset(text, '[', HEAD_MAX + 1);
	CHECK_INT(decode(text, &h, &err), -E2BIG);
	CHECK_STR(err.text, "head: larger than 512 KiB");
}

TEST(a_head_written_is_the_one_read)
{
	CLEANUP(freep) char *text = document_head_text(977);
	CLEANUP(head_done) struct head h = {0}, back = {0};
	CLEANUP(freep) char *first = NULL;
	CLEANUP(freep) char *second = NULL;
	struct err err = {0};
	size_t len = 0;

	CHECK_OK(decode(text, &h, &err), &err);
	CHECK_OK(head_encode(&h, &first, &len, &err), &err);
	CHECK_UINT(len, strlen(first));
	CHECK_OK(decode(first, &back, &err), &err);
	CHECK_OK(head_encode(&back, &second, &len, &err), &err);
	CHECK_STR(second, first);
	CHECK_CONTAINS(first, "\"quarantine\":[{\"identity\":\"prod/ci/builder\","
			      "\"keep\":\"forensics\",\"reason\":\"strange\"}],"
			      "\"revoked\":[{\"rule\":\"vendor-x\",\"reason\":\"contract ended\","
			      "\"until\":null}]");
}

TEST(a_conduit_number_has_no_place_in_a_head)
{
	static char seven[] = "7", reason[] = "";
	struct overlay_revoked conduit = {.kind = REVOKED_CONDUIT, .name = seven, .reason = reason};
	CLEANUP(freep) char *text = document_head_text(977);
	struct head h = {0}, with;
	struct err err = {0};
	char *out = NULL;
	size_t len = 0;

	CHECK_OK(decode(text, &h, &err), &err);
	with = h;
	fill(&with, &conduit, 1);
	CHECK_INT(head_encode(&with, &out, &len, &err), -EINVAL);
	CHECK_CONTAINS(err.text, "a conduit number means nothing on other hosts");
	with = h;
	with.view_size = 0;
	CHECK_INT(head_encode(&with, &out, &len, &err), -EBADMSG);
	CHECK(out == NULL);
	head_done(&h);
}

OOM_TEST(head_when_memory_runs_out)
{
	static const char text[] =
		"{\"version\":1,\"trust_domain\":\"t\",\"node\":\"n\",\"sequence\":1,"
		"\"issued\":\"2027-01-01T00:00:00Z\",\"expires\":\"2027-07-01T00:00:00Z\","
		"\"urgent\":true,\"stable\":{\"revision\":1,\"sha256\":\"" HEX "\"},"
		"\"candidate\":{\"revision\":2,\"sha256\":\"" HEX "\",\"rollout\":{}},"
		"\"view\":{\"sha256\":\"" HEX "\",\"size\":1,\"sequence\":0},"
		"\"quarantine\":[{\"identity\":\"a\",\"keep\":\"k\",\"reason\":\"r\"}],"
		"\"revoked\":[{\"label\":\"a=b\",\"reason\":\"r\",\"until\":null}],"
		"\"grants\":[{\"rule\":\"g\",\"from\":\"a\",\"to\":\"b\","
		"\"until\":\"2027-07-01T00:00:00Z\",\"approver\":\"x\"}]}";
	CLEANUP(head_done) struct head h = {0};
	CLEANUP(freep) char *out = NULL;
	size_t len = 0;
	int r = decode(text, &h, NULL);

	return r < 0 ? r : head_encode(&h, &out, &len, NULL);
}
