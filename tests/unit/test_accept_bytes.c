/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bytes that are no documents: junk, truncations, bits that flip. */
#include "controller-client/accept.h"

#include "base/mem.h"
#include "tests/unit/accept_fixture.h"
#include "tests/unit/test.h"

#include <stdlib.h>
#include <string.h>

TEST(malformed_inside_a_good_signature)
{
	static const struct {
		const char *from, *to;
	} cases[] = {
		{"\"sequence\": 977", "\"sequence\": 977, \"sequence\": 978"},
		{"\"pay-1\"", "\"pay-1\\u0000\""},
		{"\"ann\"}]}", "\"ann\"}]} {}"},
		{"\"ann\"}]}", "\"ann\"}]}x"},
		{"{\"percent\": 5}", "{\"x\": [[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}"},
		{"\"sequence\": 977", "\"sequence\": 99999999999999999999999999"},
		{"\"sequence\": 977", "\"sequence\": 9.77e2"},
		{"\"sequence\": 977", "\"sequence\": true"},
		{"\"urgent\"", "\"urgent\xff\""},
		{"\"urgent\": false", "\"urgent\": false, \"admin\": true"},
	};
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		attempt_head_text_refused(
			&f, document_replace(document_head_text(977), cases[i].from, cases[i].to),
			REFUSAL_MALFORMED);
}

TEST(base64_junk)
{
	CLEANUP(document_fixture_done) struct document_fixture f;
	CLEANUP(freep) char *text = document_head_text(977);
	static const struct {
		const char *from, *to;
	} cases[] = {
		{"\"payload\":\"", "\"payload\":\" "}, {"\"payload\":\"", "\"payload\":\"*"},
		{"\"payload\":\"", "\"payload\":\"="}, {"\"payload\":\"", "\"payload\":\"-+"},
		{"\"sig\":\"", "\"sig\":\"\\n"},       {"\"sig\":\"", "\"sig\":\"="},
	};

	document_fixture_setup(&f);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(freep)
		char *envelope =
			document_replace(document_sign(DSSE_TYPE_HEAD, text, &f.controller),
					 cases[i].from, cases[i].to);

		attempt_head_refused(&f, envelope, REFUSAL_MALFORMED);
	}
}

TEST(truncated_at_every_byte)
{
	CLEANUP(document_fixture_done) struct document_fixture f;
	CLEANUP(freep) char *text = document_head_text(977);
	CLEANUP(freep) char *envelope = NULL;
	struct known before;

	document_fixture_setup(&f);
	before = f.known;
	envelope = document_sign(DSSE_TYPE_HEAD, text, &f.controller);
	for (size_t n = 0; n + 1 < strlen(envelope); n++) {
		CLEANUP(freep) char *exact = malloc(n > 0 ? n : 1);
		struct head h = {0};
		struct attempt a;

		memcpy(exact, envelope, n);
		a = attempt_head(&f, exact, n, &h);
		attempt_check(&a, &before, &f.known, REFUSAL_MALFORMED);
	}
}

/*
 * One bit in each byte, another from byte to byte: every byte of the envelope is either signed,
 * or its own undoing, or a hint.
 */
TEST(bit_flipped_at_every_byte)
{
	CLEANUP(document_fixture_done) struct document_fixture f;
	CLEANUP(freep) char *text = document_head_text(977);
	CLEANUP(freep) char *envelope = NULL;
	struct known before;
	size_t accepted = 0;

	document_fixture_setup(&f);
	before = f.known;
	envelope = document_sign(DSSE_TYPE_HEAD, text, &f.controller);
	for (size_t i = 0; envelope[i] != '\0'; i++) {
		CLEANUP(head_done) struct head h = {0};
		struct attempt a;
		char saved = envelope[i];

		envelope[i] ^= (char)(1 << i % 7);
		a = attempt_head(&f, envelope, strlen(envelope), &h);
		if (a.r == 1) {
			CHECK_UINT(h.sequence, 977);
			CHECK_STR(h.node, "pay-1");
			accepted++;
			f.known = before;
		} else {
			CHECK(a.why == REFUSAL_MALFORMED || a.why == REFUSAL_SIGNATURE ||
			      a.why == REFUSAL_TYPE);
			CHECK_MEM(&f.known, &before, sizeof(before));
		}
		envelope[i] = saved;
	}
	CHECK(accepted <= strlen("keyid") + 64);
}

TEST(bit_flipped_in_a_manifest_is_not_what_the_head_names)
{
	CLEANUP(document_fixture_done) struct document_fixture f;
	CLEANUP(freep) char *text = document_manifest_text(12, 9);
	CLEANUP(freep) char *envelope = NULL;
	struct head_pointer want;

	document_fixture_setup(&f);
	envelope = document_sign(DSSE_TYPE_MANIFEST, text, &f.policy);
	want = document_pointer(12, envelope);
	for (size_t i = 0; envelope[i] != '\0'; i++) {
		char saved = envelope[i];

		envelope[i] ^= (char)(1 << i % 7);
		if (envelope[i] != '\0')
			attempt_manifest_refused(&f, &want, envelope, REFUSAL_MIX);
		envelope[i] = saved;
	}
}
