/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/buf.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

TEST(pieces_are_joined_and_terminated)
{
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, 1000);
	CHECK_STR(b.data, "");
	buf_puts(&b, "rule ");
	buf_putc(&b, '#');
	buf_printf(&b, "%d %s", 12, "x");
	buf_add(&b, "abc", 2);
	CHECK_INT(b.r, 0);
	CHECK_STR(b.data, "rule #12 xab");
	CHECK_UINT(b.len, 12);
}

TEST(the_maximum_is_hard_and_the_error_sticks)
{
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, 5);
	buf_puts(&b, "12345");
	CHECK_INT(b.r, 0);
	buf_puts(&b, "");
	CHECK_INT(b.r, 0);
	buf_putc(&b, '6');
	CHECK_INT(b.r, -E2BIG);
	CHECK_UINT(b.len, 5);
	buf_printf(&b, "%s", "");
	CHECK(buf_take(&b) == NULL);
}

TEST(printf_is_all_or_nothing)
{
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, 6);
	buf_puts(&b, "ab");
	buf_printf(&b, "%s", "cdefg");
	CHECK_INT(b.r, -E2BIG);
	CHECK_STR(b.data, "ab");
}

TEST(a_large_text_grows_in_steps)
{
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, 100000);
	for (int i = 0; i < 100000; i++)
		buf_putc(&b, (char)('a' + i % 26));
	CHECK_INT(b.r, 0);
	CHECK_UINT(strlen(b.data), 100000);
	buf_putc(&b, 'x');
	CHECK_INT(b.r, -E2BIG);
}

TEST(taking_empties_the_buffer)
{
	CLEANUP(buf_done) struct buf b;
	CLEANUP(freep) char *nothing = NULL;
	CLEANUP(freep) char *text = NULL;

	buf_init(&b, 10);
	nothing = buf_take(&b);
	CHECK_STR(nothing, "");
	buf_puts(&b, "abc");
	text = buf_take(&b);
	CHECK_STR(text, "abc");
	CHECK_UINT(b.len, 0);
	buf_puts(&b, "1234567890");
	CHECK_INT(b.r, 0);
}

TEST(an_unlimited_buffer_does_not_wrap)
{
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, SIZE_MAX - 1);
	buf_puts(&b, "x");
	CHECK_INT(b.r, 0);
	buf_add(&b, "", SIZE_MAX - 1);
	CHECK_INT(b.r, -E2BIG);
}

TEST(bytes_may_be_zero)
{
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, 10);
	buf_add(&b, "a\0b", 3);
	CHECK_UINT(b.len, 3);
	CHECK_MEM(b.data, "a\0b", 4);
}

OOM_TEST(a_failed_growth_sticks)
{
	CLEANUP(buf_done) struct buf b;
	CLEANUP(freep) char *text = NULL;

	buf_init(&b, 10000);
	for (int i = 0; i < 500; i++)
		buf_printf(&b, "%d,", i);
	text = buf_take(&b);
	CHECK((text == NULL) == (b.r != 0));
	return b.r;
}
