/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Numbers are stable, never doubled, and rest before they are used again. */
#include "rules/numbers.h"

#include "base/buf.h"
#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct number_key key_of(unsigned i)
{
	struct number_key key;
	char text[32];

	(void)snprintf(text, sizeof(text), "conduit %u", i);
	number_key_of(text, &key);
	return key;
}

static uint32_t get(struct numbers *n, unsigned i)
{
	struct number_key key = key_of(i);
	uint32_t number = 0;

	CHECK_INT(numbers_get(n, &key, &number), 0);
	return number;
}

TEST(numbers_rise_and_stay)
{
	CLEANUP(numbers_freep) struct numbers *n = numbers_new(1, 1000);

	for (unsigned i = 0; i < 500; i++)
		CHECK_UINT(get(n, i), i + 1);
	for (unsigned i = 0; i < 500; i++)
		CHECK_UINT(get(n, i), i + 1);
	CHECK_UINT(numbers_count(n), 500);
}

TEST(numbers_find_gives_nothing_new)
{
	CLEANUP(numbers_freep) struct numbers *n = numbers_new(1, 10);
	struct number_key key = key_of(1);
	uint32_t number = 77;

	CHECK_INT(numbers_find(n, &key, &number), -ENOENT);
	CHECK_UINT(get(n, 2), 1);
	CHECK_INT(numbers_find(n, &key, &number), -ENOENT);
	CHECK_UINT(number, 77);
}

/* A plan that nobody applies, however large, leaves no trace. */
TEST(numbers_of_a_trial_are_taken_back)
{
	CLEANUP(numbers_freep) struct numbers *n = numbers_new(1, 3000);
	struct numbers_mark mark = numbers_mark(n);
	struct number_key key = key_of(2000);
	uint32_t number = 0;

	CHECK_UINT(get(n, 1), 1);
	numbers_forget_since(n, &mark);
	CHECK_UINT(numbers_count(n), 0);
	CHECK_UINT(get(n, 2), 1);
	CHECK_UINT(get(n, 3), 2);
	for (unsigned round = 0; round < 3; round++) {
		mark = numbers_mark(n);
		for (unsigned i = 100; i < 3098; i++)
			(void)get(n, i);
		CHECK_INT(numbers_key(n, 3000, &key), 0);
		numbers_forget_since(n, &mark);
		CHECK_INT(numbers_key(n, 3000, &key), -ENOENT);
	}
	key = key_of(2000);
	CHECK_INT(numbers_find(n, &key, &number), -ENOENT);
	CHECK_UINT(get(n, 2), 1);
	CHECK_UINT(get(n, 3), 2);
	CHECK_UINT(get(n, 4), 3);
}

TEST(numbers_run_out_and_say_so)
{
	CLEANUP(numbers_freep) struct numbers *n = numbers_new(5, 7);
	struct number_key key = key_of(4);
	uint32_t number;

	CHECK_UINT(get(n, 1), 5);
	CHECK_UINT(get(n, 2), 6);
	CHECK_UINT(get(n, 3), 7);
	CHECK_INT(numbers_get(n, &key, &number), -ENOSPC);
	CHECK_UINT(get(n, 2), 6);
}

TEST(swept_numbers_are_used_again_only_at_the_end_of_the_range)
{
	CLEANUP(numbers_freep) struct numbers *n = numbers_new(1, 6);

	for (unsigned i = 1; i <= 4; i++)
		CHECK_UINT(get(n, i), i);
	numbers_sweep_begin(n);
	numbers_keep(n, 2);
	numbers_keep(n, 4);
	numbers_keep(n, 99);
	CHECK_UINT(numbers_sweep_end(n), 2);
	CHECK_UINT(get(n, 10), 5);
	CHECK_UINT(get(n, 11), 6);
	CHECK_UINT(get(n, 12), 1);
	CHECK_UINT(get(n, 13), 3);
	CHECK_UINT(get(n, 2), 2);
	CHECK_UINT(get(n, 4), 4);
}

TEST(numbers_made_during_a_sweep_are_in_use)
{
	CLEANUP(numbers_freep) struct numbers *n = numbers_new(1, 100);

	CHECK_UINT(get(n, 1), 1);
	numbers_sweep_begin(n);
	CHECK_UINT(get(n, 2), 2);
	CHECK_UINT(numbers_sweep_end(n), 1);
	CHECK_UINT(get(n, 2), 2);
	CHECK_UINT(numbers_count(n), 1);
}

TEST(a_number_never_gets_a_second_key)
{
	CLEANUP(numbers_freep) struct numbers *n = numbers_new(1, 100);
	struct number_key one = key_of(1), two = key_of(2);

	CHECK_INT(numbers_put(n, &one, 7), 0);
	CHECK_INT(numbers_put(n, &one, 7), 0);
	CHECK_INT(numbers_put(n, &one, 8), -EEXIST);
	CHECK_INT(numbers_put(n, &two, 7), -EEXIST);
	CHECK_INT(numbers_put(n, &two, 101), -ERANGE);
	CHECK_INT(numbers_put(n, &two, 0), -ERANGE);
	CHECK_UINT(get(n, 3), 8);
}

TEST(a_digest_of_zeros_is_no_key)
{
	CLEANUP(numbers_freep) struct numbers *n = numbers_new(1, 100);
	struct number_key none = {{0}};
	uint32_t number;

	CHECK_INT(numbers_get(n, &none, &number), -ENOMEM);
	CHECK_INT(numbers_put(n, &none, 1), -ERANGE);
}

TEST(numbers_survive_as_text)
{
	CLEANUP(numbers_freep) struct numbers *a = numbers_new(1, 1000), *b = numbers_new(1, 1000);
	CLEANUP(buf_done) struct buf text;
	struct err err;

	buf_init(&text, 1 << 20);
	for (unsigned i = 0; i < 100; i++)
		(void)get(a, i);
	numbers_format(a, &text);
	CHECK_OK(numbers_parse(b, text.data, text.len, &err), &err);
	for (unsigned i = 0; i < 100; i++)
		CHECK_UINT(get(b, i), get(a, i));
	CHECK_UINT(get(b, 1000), 101);
}

TEST(a_broken_text_leaves_nothing_behind)
{
#define LINE "00112233445566778899aabbccddeeff 5\n"
	static const char *const cases[] = {
		"x\n",
		LINE "00112233445566778899aabbccddeef0 5\n",
		LINE "00112233445566778899aabbccddeeff 6\n",
		LINE "00112233445566778899aabbccddeef0 05\n",
		LINE "00112233445566778899aabbccddeef0 -5\n",
		LINE "00112233445566778899aabbccddeef0 1001\n",
		LINE "00112233445566778899AABBCCDDEEF0 6\n",
		LINE "00000000000000000000000000000000 6\n",
		LINE "00112233445566778899aabbccddeef0 6",
		LINE "00112233445566778899aabbccddeef 6\n",
		LINE "\n",
	};
	CLEANUP(numbers_freep) struct numbers *n = numbers_new(1, 1000);
	struct err err;

	CHECK_UINT(get(n, 1), 1);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CHECK(numbers_parse(n, cases[i], strlen(cases[i]), &err) < 0);
		CHECK_CONTAINS(err.text, i == 1 ? "number 5" : "line ");
		CHECK_UINT(numbers_count(n), 1);
	}
	CHECK_OK(numbers_parse(n, LINE, strlen(LINE), &err), &err);
	CHECK_UINT(numbers_count(n), 2);
	CHECK_UINT(get(n, 2), 6);
}

OOM_TEST(numbers_survive_missing_memory)
{
	CLEANUP(numbers_freep) struct numbers *n = numbers_new(1, 1000);
	int r = n ? 0 : -ENOMEM;

	for (unsigned i = 0; i < 200 && r == 0; i++) {
		struct number_key key = key_of(i);
		uint32_t number;

		r = numbers_get(n, &key, &number);
		if (r == 0)
			CHECK_UINT(number, i + 1);
	}
	return r;
}
