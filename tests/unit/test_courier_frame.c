/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/courier_frame.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEADER "{\"type\":\"head\"}"
#define FRAME  "\0\0\0\x0f\0\0\0\x04" HEADER "body"

static int read_frame(const void *bytes, size_t len, struct courier_frame *f, size_t *used,
		      size_t *need, struct err *err)
{
	return courier_frame_read(bytes, len, 1024, f, used, need, err);
}

TEST(what_is_written_is_read_back)
{
	CLEANUP(json_decrefp) json_t *header = json_pack("{s:s}", "type", "head");
	CLEANUP(courier_frame_done) struct courier_frame f = {0};
	CLEANUP(buf_done) struct buf b;
	size_t used = 0, need = 0;
	struct err err = {0};

	buf_init(&b, 100);
	courier_frame_write(&b, header, "body", 4);
	CHECK_INT(b.r, 0);
	CHECK_UINT(b.len, sizeof(FRAME) - 1);
	CHECK_MEM(b.data, FRAME, sizeof(FRAME) - 1);
	CHECK_OK(read_frame(b.data, b.len, &f, &used, &need, &err), &err);
	CHECK_UINT(used, b.len);
	CHECK_UINT(f.len, 4);
	CHECK_MEM(f.body, "body", 4);
	CHECK_STR(json_string_value(json_object_get(f.header, "type")), "head");
}

TEST(one_frame_after_the_other)
{
	static const char two[] = FRAME "\0\0\0\x0f\0\0\0\0" HEADER;
	size_t used = 0, need = 0, at = 0;
	struct err err = {0};

	for (int i = 0; i < 2; i++) {
		struct courier_frame f = {0};

		CHECK_INT(read_frame(two + at, sizeof(two) - 1 - at, &f, &used, &need, &err), 1);
		CHECK_UINT(f.len, i == 0 ? 4 : 0);
		at += used;
		courier_frame_done(&f);
	}
	CHECK_UINT(at, sizeof(two) - 1);
}

TEST(every_truncation_asks_for_more)
{
	size_t whole = sizeof(FRAME) - 1;

	for (size_t n = 0; n < whole; n++) {
		struct courier_frame f = {0};
		char *exact = malloc(n > 0 ? n : 1);
		size_t used = 99, need = 0;
		struct err err = {0};

		memcpy(exact, FRAME, n);
		CHECK_INT(read_frame(exact, n, &f, &used, &need, &err), 0);
		CHECK_UINT(need, n < 8 ? 8 : whole);
		CHECK_UINT(used, 99);
		CHECK(f.header == NULL);
		free(exact);
	}
}

static int lengths(const char prefix[8], struct err *err)
{
	struct courier_frame f = {0};
	size_t used = 0, need = 0;
	int r = read_frame(prefix, 8, &f, &used, &need, err);

	CHECK(f.header == NULL);
	return r;
}

TEST(lying_lengths_are_refused_before_anything_is_read)
{
	struct err err = {0};

	CHECK_INT(lengths("\0\0\0\0\0\0\0\0", &err), -EBADMSG);
	CHECK_INT(lengths("\0\0\0\x01\0\0\0\0", &err), -EBADMSG);
	CHECK_INT(lengths("\0\0\x10\x01\0\0\0\0", &err), -E2BIG);
	CHECK_INT(lengths("\xff\xff\xff\xff\0\0\0\0", &err), -E2BIG);
	CHECK_CONTAINS(err.text, "frame: header of 4294967295 bytes; at most 4096");
	CHECK_INT(lengths("\0\0\0\x02\0\0\x04\x01", &err), -E2BIG);
	CHECK_INT(lengths("\0\0\0\x02\xff\xff\xff\xff", &err), -E2BIG);
	CHECK_INT(lengths("\xff\xff\xff\xff\xff\xff\xff\xff", &err), -E2BIG);
	CHECK_CONTAINS(err.text, "header");
	CHECK_INT(lengths("\0\0\x10\0\0\0\x04\0", &err), 0);
}

TEST(headers_are_strict_objects_with_a_type)
{
	static const char *const wrong[] = {
		"{}",
		"[]",
		"{\"type\":7}",
		"{\"type\":\"\"}",
		"{\"type\":null}",
		"{\"type\":\"a\",\"type\":\"a\"}",
		"{\"type\":\"a\"} x",
		"{\"type\":\"a\\u0000b\"}",
		"{\"type\":\"a\",\"n\":1e999}",
		"{\"type\":\"a\",\"n\":99999999999999999999}",
		"{\"type\":\"a\",\"n\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}",
		"{\"type\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
		"\"type\"",
		"xx",
	};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		size_t len = strlen(wrong[i]), used = 0, need = 0;
		struct courier_frame f = {0};
		struct err err = {0};
		char frame[128] = {0};

		frame[3] = (char)len;
		memcpy(frame + 8, wrong[i], len);
		CHECK_INT(read_frame(frame, 8 + len, &f, &used, &need, &err), -EBADMSG);
		CHECK(err.text[0] != '\0' && f.header == NULL && used == 0);
	}
}

TEST(no_half_frame_is_written)
{
	CLEANUP(json_decrefp) json_t *header = json_pack("{s:s}", "type", "head");
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, sizeof(FRAME) - 2);
	courier_frame_write(&b, header, "body", 4);
	CHECK_INT(b.r, -E2BIG);
	CHECK_UINT(b.len, 0);
}

TEST(a_header_that_nobody_would_read_is_not_written)
{
	CLEANUP(json_decrefp) json_t *header = json_object();
	CLEANUP(buf_done) struct buf b;
	char text[COURIER_HEADER_MAX + 1];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	CHECK_INT(json_object_set_new(header, "type", json_string(text)), 0);
	buf_init(&b, 1U << 20);
	courier_frame_write(&b, header, NULL, 0);
	CHECK_INT(b.r, -E2BIG);
}

OOM_TEST(frame_when_memory_runs_out)
{
	struct courier_frame f = {0};
	size_t used = 0, need = 0;
	int r = read_frame(FRAME, sizeof(FRAME) - 1, &f, &used, &need, NULL);

	courier_frame_done(&f);
	return r;
}

OOM_TEST(frame_written_when_memory_runs_out)
{
	json_t *header = json_pack("{s:s}", "type", "head");
	struct buf b;
	int r;

	buf_init(&b, 1024);
	courier_frame_write(&b, header, "body", 4);
	r = b.r;
	buf_done(&b);
	json_decref(header);
	return r;
}
