/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/cursor.h"

#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

static const uint8_t message[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
				  0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f};

TEST(integers_are_big_endian)
{
	struct cursor c;

	cursor_init(&c, message, sizeof(message));
	CHECK_UINT(cursor_u8(&c), 0x01);
	CHECK_UINT(cursor_be16(&c), 0x0203);
	CHECK_UINT(cursor_be32(&c), 0x04050607);
	CHECK_UINT(cursor_be64(&c), 0x08090a0b0c0d0e0fULL);
	CHECK_UINT(c.left, 0);
	CHECK_INT(c.r, 0);
}

static bool decode_all(const void *bytes, size_t len)
{
	struct cursor c;

	cursor_init(&c, bytes, len);
	(void)cursor_u8(&c);
	(void)cursor_be16(&c);
	(void)cursor_be32(&c);
	(void)cursor_be64(&c);
	return c.r == 0;
}

TEST(every_truncation_is_refused)
{
	CHECK_TRUNCATIONS(message, sizeof(message), decode_all);
}

TEST(after_an_error_nothing_is_read_and_zeros_come)
{
	struct cursor c;

	cursor_init(&c, message, 3);
	CHECK_UINT(cursor_be32(&c), 0);
	CHECK_INT(c.r, -EBADMSG);
	CHECK_UINT(cursor_u8(&c), 0);
	CHECK(cursor_bytes(&c, 0) == NULL);
	CHECK_UINT(c.left, 3);
	CHECK(c.p == message);
}

TEST(bytes_point_into_the_input)
{
	struct cursor c;

	cursor_init(&c, message, sizeof(message));
	cursor_skip(&c, 4);
	CHECK(cursor_bytes(&c, 3) == message + 4);
	CHECK_UINT(cursor_u8(&c), 8);
	cursor_skip(&c, 8);
	CHECK_INT(c.r, -EBADMSG);
}

TEST(a_huge_length_cannot_wrap)
{
	struct cursor c;

	cursor_init(&c, message, sizeof(message));
	CHECK(cursor_bytes(&c, SIZE_MAX) == NULL);
	CHECK_INT(c.r, -EBADMSG);
}

TEST(an_empty_input_may_be_null)
{
	struct cursor c;

	cursor_init(&c, NULL, 0);
	(void)cursor_bytes(&c, 0);
	CHECK_INT(c.r, 0);
	(void)cursor_u8(&c);
	CHECK_INT(c.r, -EBADMSG);
}
