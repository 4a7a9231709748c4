/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/manifest.h"

#include "base/mem.h"
#include "tests/unit/document_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static int decode(const char *text, struct manifest *ret, struct err *err)
{
	return manifest_decode((const uint8_t *)text, strlen(text), ret, err);
}

TEST(manifest_of_the_format_document)
{
	CLEANUP(manifest_done) struct manifest m = {0};
	CLEANUP(freep) char *text = document_manifest_text(12, 9);
	struct err err = {0};

	CHECK_OK(decode(text, &m, &err), &err);
	CHECK_STR(m.trust_domain, "acme.example");
	CHECK_UINT(m.revision, 12);
	CHECK_UINT(m.rollback_floor, 9);
	CHECK_INT(m.issued.s, 1798761600);
	CHECK_INT(m.expires.s, 1814400000);
	CHECK_UINT(m.policy_count, 1);
	CHECK_STR(m.policy[0].name, "payments.json");
	CHECK_STR(m.policy[0].sha256, HEX);
	CHECK_UINT(m.policy[0].size, 1234);
	CHECK_UINT(m.requires_count, 1);
	CHECK_STR(m.requires[0], "mapped");
	CHECK_UINT(m.revoked_node_count, 1);
	CHECK_STR(m.revoked_nodes[0], "pay-9");
	CHECK_STR(m.comment, "January");
}

static bool accepts(const void *bytes, size_t len)
{
	struct manifest m = {0};
	bool good = manifest_decode(bytes, len, &m, NULL) == 0;

	manifest_done(&m);
	return good;
}

TEST(every_truncation_of_a_manifest_is_refused)
{
	CLEANUP(freep) char *text = document_manifest_text(12, 9);

	CHECK_TRUNCATIONS(text, strlen(text), accepts);
}

TEST(mistakes_in_a_manifest)
{
	static const struct {
		const char *from, *to, *error;
	} cases[] = {
		{"\"version\": 1, ", "", "manifest: version: missing"},
		{"\"version\": 1", "\"version\": 0", "manifest: version: 0 is out of range"},
		{"\"version\": 1", "\"version\": 1.0", "version: not a whole number"},
		{"\"acme.example\"", "\"Acme.example\"",
		 "manifest: trust_domain: not a trust domain"},
		{"\"acme.example\"", "\"\"", "trust_domain: not a trust domain"},
		{"\"acme.example\"", "\"a\\u0000b\"", "manifest:1:"},
		{"\"acme.example\"", "null", "trust_domain: not a string"},
		{"\"revision\": 12", "\"revision\": 0",
		 "manifest: revision: 0 is out of range; 1 to"},
		{"\"revision\": 12", "\"revision\": -1", "revision: -1 is out of range"},
		{"\"revision\": 12", "\"revision\": 12.5", "revision: not a whole number"},
		{"\"revision\": 12", "\"revision\": 1e3", "revision: not a whole number"},
		{"\"revision\": 12", "\"revision\": \"12\"", "revision: not a whole number"},
		{"\"revision\": 12", "\"revision\": 9223372036854775808", "too big integer"},
		{"\"revision\": 12", "\"revision\": 1e999", "real number overflow"},
		{"\"revision\": 12", "\"revision\": 12, \"revision\": 13", "duplicate object key"},
		{"_floor\": 9", "_floor\": 13",
		 "rollback_floor: above the manifest's own revision"},
		{"_floor\": 9", "_floor\": -1", "rollback_floor: -1 is out of range; 0 to"},
		{"2027-01-01T00:00:00Z", "2027-01-01", "manifest: issued: not a time"},
		{"2027-01-01T00:00:00Z", "2027-01-01T00:00:00+00:00", "issued: not a time"},
		{"2027-07-01T00:00:00Z", "2027-02-30T00:00:00Z", "expires: not a time"},
		{"2027-07-01T00:00:00Z", "2027-01-01T00:00:00Z",
		 "manifest: expires: not later than issued"},
		{"\"requires\": [\"mapped\"]", "\"requires\": null", "requires: not an array"},
		{"\"requires\": [\"mapped\"],", "", "requires: missing"},
		{"[\"mapped\"]", "[7]", "manifest: requires: not a list of names"},
		{"[\"mapped\"]", "[\"\"]", "requires: not a list of names"},
		{"\"payments.json\"", "\"../payments.json\"",
		 "manifest: policy[0].name: not a file"},
		{"\"payments.json\"", "\"..\"", "policy[0].name: not a file's name"},
		{"\"payments.json\"", "\".hidden\"", "policy[0].name: not a file's name"},
		{"\"payments.json\"", "\"a/b\"", "policy[0].name: not a file's name"},
		{"\"payments.json\"", "\"\"", "policy[0].name: not a file's name"},
		{HEX, "0123", "policy[0].sha256: not a SHA-256"},
		{"0123456789abcdef\"", "0123456789ABCDEF\"", "policy[0].sha256: not a SHA-256"},
		{"\"size\": 1234", "\"size\": 0",
		 "policy[0].size: 0 is out of range; 1 to 16777216"},
		{"\"size\": 1234", "\"size\": 16777217",
		 "policy[0].size: 16777217 is out of range"},
		{"\"size\": 1234", "\"sise\": 1234", "policy[0].size: missing"},
		{"\"size\": 1234", "\"size\": 1234, \"url\": \"x\"",
		 "manifest: policy[0]: unknown member 'url'"},
		{"\"size\": 1234}]", "\"size\": 1234}, 7]", "policy[1]: not an object"},
		{"\"size\": 1234}]",
		 "\"size\": 1234}, {\"name\": \"payments.json\", \"sha256\": \"" HEX
		 "\", \"size\": 1}]",
		 "policy[1].name: payments.json is there already"},
		{"[{\"name\": \"payments.json\", \"sha256\": \"" HEX "\", \"size\": 1234}]", "[]",
		 "manifest: policy: empty; at least one blob would be right"},
		{"[\"pay-9\"]", "[\"pay 9\"]", "revoked_nodes: entry 0 is not a node name"},
		{"[\"pay-9\"]", "[\"pay-9\", 9]", "revoked_nodes: entry 1 is not a node name"},
		{"\"January\"", "\"a\\u001b[31m\"", "comment: control characters"},
		{"\"January\"", "null", "comment: not a string"},
		{"\"comment\"", "\"coment\"", "manifest: unknown member 'coment'"},
		{"\"comment\": \"January\"", "\"ext\": 7", "ext: not an object"},
		{"\"comment\": \"January\"", "\"ext\": {\"a\": 1, \"a\": 2}",
		 "duplicate object key"},
		{"\"comment\": \"January\"", "\"ext\": {\"a\": [[[[[[[[[[[[[[[]]]]]]]]]]]]]]]}",
		 "nested deeper than 16"},
		{"\"January\"}", "\"January\"} {}", "end of file expected"},
		{"\"January\"}", "\"\xff\"}", "manifest:"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(freep)
		char *text =
			document_replace(document_manifest_text(12, 9), cases[i].from, cases[i].to);
		struct manifest m = {0};
		struct err err = {0};

		CHECK_INT(decode(text, &m, &err), -EBADMSG);
		CHECK_CONTAINS(err.text, cases[i].error);
		CHECK(m.trust_domain == NULL && m.policy == NULL && m.requires == NULL);
	}
}

TEST(what_a_manifest_may_have_or_lack)
{
	static const struct {
		const char *from, *to;
	} cases[] = {
		{", \"comment\": \"January\"", ""},
		{"\"comment\": \"January\"", "\"ext\": {\"vendor\": {\"any\": [1.5, null]}}"},
		{"[\"mapped\"]", "[]"},
		{"[\"mapped\"]", "[\"mapped\", \"grantable\", \"on_stale\"]"},
		{"[\"pay-9\"]", "[]"},
		{"_floor\": 9", "_floor\": 0"},
		{"_floor\": 9", "_floor\": 12"},
		{"\"revision\": 12", "\"revision\": 9223372036854775807"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(freep)
		char *text =
			document_replace(document_manifest_text(12, 9), cases[i].from, cases[i].to);
		CLEANUP(manifest_done) struct manifest m = {0};
		struct err err = {0};

		CHECK_OK(decode(text, &m, &err), &err);
	}
}

TEST(unknown_requires_is_refused_and_named)
{
	CLEANUP(freep)
	char *text = document_replace(document_manifest_text(12, 9), "[\"mapped\"]",
				      "[\"mapped\", \"attested\", \"zones\"]");
	struct manifest m = {0};
	struct err err = {0};

	CHECK_INT(decode(text, &m, &err), -ENOTSUP);
	CHECK_STR(err.text, "manifest: requires 'zones', which this release does not have; a "
			    "newer release would be right");
}

TEST(what_a_newer_manifest_requires_is_told_before_its_unknown_members)
{
	CLEANUP(freep)
	char *text = document_replace(document_manifest_text(12, 9), "[\"mapped\"]",
				      "[\"zones\"], \"zones\": {}");
	CLEANUP(freep)
	char *second = document_replace(document_manifest_text(12, 9), "\"version\": 1",
					"\"version\": 2, \"x\": 1");
	struct manifest m = {0};
	struct err err = {0};

	CHECK_INT(decode(text, &m, &err), -ENOTSUP);
	CHECK_CONTAINS(err.text, "manifest: requires 'zones'");
	CHECK_INT(decode(second, &m, &err), -EPROTONOSUPPORT);
	CHECK_STR(err.text, "manifest: version 2; this release reads version 1");
}

/* A manifest with count members of a list, each printed by `format` with its index. */
static char *with_list(const char *from, const char *format, size_t count)
{
	size_t room = count * (strlen(format) + 16) + 3, at = 1;
	CLEANUP(freep) char *list = mem_calloc(room, 1);

	CHECK(list != NULL);
	list[0] = '[';
	for (size_t i = 0; i < count; i++) {
		at += (size_t)snprintf(list + at, room - at, "%s", i > 0 ? "," : "");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		at += (size_t)snprintf(list + at, room - at, format, i);
#pragma GCC diagnostic pop
	}
	list[at] = ']';
	return document_replace(document_manifest_text(12, 9), from, list);
}

TEST(lists_are_bounded)
{
	static const char blob[] = "{\"name\":\"b%zu\",\"sha256\":\"" HEX "\",\"size\":1}";
	static const char one[] =
		"[{\"name\": \"payments.json\", \"sha256\": \"" HEX "\", \"size\": 1234}]";
	static const struct {
		const char *from, *format;
		size_t max;
	} cases[] = {
		{one, blob, MANIFEST_BLOBS_MAX},
		{"[\"pay-9\"]", "\"n%zu\"", MANIFEST_REVOKED_MAX},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(freep) char *full = with_list(cases[i].from, cases[i].format, cases[i].max);
		CLEANUP(freep)
		char *over = with_list(cases[i].from, cases[i].format, cases[i].max + 1);
		CLEANUP(manifest_done) struct manifest m = {0};
		struct manifest none = {0};
		struct err err = {0};

		CHECK_OK(decode(full, &m, &err), &err);
		CHECK_INT(decode(over, &none, &err), -EBADMSG);
		CHECK_CONTAINS(err.text, "more than");
	}
}

TEST(blobs_are_bounded_together)
{
	CLEANUP(freep)
	char *text = with_list("[{\"name\": \"payments.json\", \"sha256\": \"" HEX
			       "\", \"size\": 1234}]",
			       "{\"name\":\"b%zu\",\"sha256\":\"" HEX "\",\"size\":16777216}", 5);
	struct manifest m = {0};
	struct err err = {0};

	CHECK_INT(decode(text, &m, &err), -EBADMSG);
	CHECK_CONTAINS(err.text, "manifest: policy: more than 64 MiB in all");
}

TEST(an_oversize_manifest_is_not_parsed)
{
	CLEANUP(freep) char *text = mem_calloc(MANIFEST_MAX + 2, 1);
	struct manifest m = {0};
	struct err err = {0};

	CHECK(text != NULL);
	memset(text, '[', MANIFEST_MAX + 1);
	CHECK_INT(decode(text, &m, &err), -E2BIG);
	CHECK_STR(err.text, "manifest: larger than 512 KiB");
}

TEST(a_manifest_written_is_the_one_read)
{
	CLEANUP(freep) char *text = document_manifest_text(12, 9);
	CLEANUP(manifest_done) struct manifest m = {0}, back = {0};
	CLEANUP(freep) char *first = NULL;
	CLEANUP(freep) char *second = NULL;
	struct err err = {0};
	size_t len = 0;

	CHECK_OK(decode(text, &m, &err), &err);
	CHECK_OK(manifest_encode(&m, &first, &len, &err), &err);
	CHECK_UINT(len, strlen(first));
	CHECK_OK(decode(first, &back, &err), &err);
	CHECK_OK(manifest_encode(&back, &second, &len, &err), &err);
	CHECK_STR(second, first);
	CHECK_CONTAINS(first, "\"revision\":12,\"rollback_floor\":9,"
			      "\"issued\":\"2027-01-01T00:00:00Z\"");
}

TEST(what_nodes_would_refuse_is_not_written)
{
	CLEANUP(freep) char *text = document_manifest_text(12, 9);
	CLEANUP(manifest_done) struct manifest m = {0};
	struct err err = {0};
	char *out = NULL;
	size_t len = 0;

	CHECK_OK(decode(text, &m, &err), &err);
	m.revision = 8;
	CHECK_INT(manifest_encode(&m, &out, &len, &err), -EBADMSG);
	CHECK_CONTAINS(err.text, "rollback_floor");
	m.revision = 12;
	m.requires[0][0] = 'x';
	CHECK_INT(manifest_encode(&m, &out, &len, &err), -ENOTSUP);
	m.requires[0][0] = 'm';
	m.policy[0].sha256[0] = '\0';
	CHECK_INT(manifest_encode(&m, &out, &len, &err), -EBADMSG);
	CHECK(out == NULL);
}

OOM_TEST(manifest_when_memory_runs_out)
{
	static const char text[] =
		"{\"version\":1,\"trust_domain\":\"t\",\"revision\":1,\"rollback_floor\":0,"
		"\"issued\":\"2027-01-01T00:00:00Z\",\"expires\":\"2027-07-01T00:00:00Z\","
		"\"requires\":[\"mapped\"],\"policy\":[{\"name\":\"a\",\"sha256\":\"" HEX
		"\",\"size\":1}],\"revoked_nodes\":[\"a\",\"b\"],\"comment\":\"c\"}";
	CLEANUP(manifest_done) struct manifest m = {0};
	CLEANUP(freep) char *out = NULL;
	size_t len = 0;
	int r = decode(text, &m, NULL);

	return r < 0 ? r : manifest_encode(&m, &out, &len, NULL);
}
