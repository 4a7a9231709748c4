/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/unpack.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define MAX (1U << 20)

static size_t pack(const void *bytes, size_t len, uint8_t *ret, size_t size)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes,
		      .avail_in = (uInt)len,
		      .next_out = ret,
		      .avail_out = (uInt)size};

	CHECK_INT(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	CHECK_INT(deflate(&z, Z_FINISH), Z_STREAM_END);
	(void)deflateEnd(&z);
	return z.total_out;
}

static bool unpacks(const void *bytes, size_t len)
{
	CLEANUP(freep) char *text = NULL;
	struct err err;
	size_t n;

	return gzip_unpack(bytes, len, MAX, &text, &n, &err) == 0;
}

TEST(what_was_packed_comes_out)
{
	static const char said[] = "[{\"decision\": \"allowed\"}]";
	uint8_t packed[256];
	size_t len = pack(said, sizeof(said) - 1, packed, sizeof(packed)), n;
	CLEANUP(freep) char *text = NULL;
	struct err err = {{0}};

	CHECK_OK(gzip_unpack(packed, len, MAX, &text, &n, &err), &err);
	CHECK_UINT(n, sizeof(said) - 1);
	CHECK_STR(text, said);
	CHECK_TRUNCATIONS(packed, len, unpacks);
	packed[len] = 0;
	CHECK_INT(gzip_unpack(packed, len + 1, MAX, &text, &n, &err), -EBADMSG);
}

TEST(a_bomb_is_refused_at_its_limit)
{
	size_t size = 8U << 20, len, n;
	CLEANUP(freep) uint8_t *packed = mem_calloc(1, 64U << 10);
	CLEANUP(freep) uint8_t *zeros = mem_calloc(1, size);
	CLEANUP(freep) char *text = NULL;
	struct err err = {{0}};

	len = pack(zeros, size, packed, 64U << 10);
	CHECK(len < 10000);
	CHECK_INT(gzip_unpack(packed, len, MAX, &text, &n, &err), -E2BIG);
	CHECK_INT(gzip_unpack(packed, len, size - 1, &text, &n, &err), -E2BIG);
	CHECK_OK(gzip_unpack(packed, len, size, &text, &n, &err), &err);
	CHECK_UINT(n, size);
}

TEST(what_is_no_gzip_is_refused)
{
	static const char plain[] = "[]";
	CLEANUP(freep) char *text = NULL;
	struct err err = {{0}};
	size_t n;

	CHECK_INT(gzip_unpack(plain, 2, MAX, &text, &n, &err), -EBADMSG);
	CHECK_INT(gzip_unpack(plain, 0, MAX, &text, &n, &err), -EBADMSG);
}
