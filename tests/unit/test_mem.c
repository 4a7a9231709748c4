/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/mem.h"

#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TEST(calloc_zeroes_and_refuses_products_that_overflow)
{
	CLEANUP(freep) unsigned char *p = mem_calloc(3, 5);
	volatile size_t huge = SIZE_MAX;

	CHECK(p != NULL);
	for (int i = 0; i < 15; i++)
		CHECK_INT(p[i], 0);
	CHECK(mem_calloc(huge, 2) == NULL);
}

TEST(an_allocation_of_nothing_is_no_failure)
{
	CLEANUP(freep) void *a = mem_calloc(0, 8);
	CLEANUP(freep) void *b = mem_calloc(8, 0);

	CHECK(a != NULL && b != NULL && a != b);
}

TEST(strings_are_copied_up_to_the_length)
{
	CLEANUP(freep) char *whole = mem_strdup("hello");
	CLEANUP(freep) char *part = mem_strndup("hello", 2);
	CLEANUP(freep) char *shorter = mem_strndup("hello", 99);
	CLEANUP(freep) char *formatted = mem_printf("%s-%d", "pay", 1);

	CHECK_STR(whole, "hello");
	CHECK_STR(part, "he");
	CHECK_STR(shorter, "hello");
	CHECK_STR(formatted, "pay-1");
}

TEST(bytes_are_copied_with_their_zeros)
{
	CLEANUP(freep) char *copy = mem_dup("a\0b", 3);
	CLEANUP(freep) char *none = mem_dup(NULL, 0);

	CHECK_MEM(copy, "a\0b", 4);
	CHECK_STR(none, "");
}

TEST(cleanup_forgets_what_it_released)
{
	char *p = mem_strdup("x");
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), copy = fd;

	freep(&p);
	CHECK(p == NULL);
	freep(&p);
	errno = ENOENT;
	closep(&fd);
	CHECK_INT(fd, -1);
	CHECK_INT(errno, ENOENT);
	CHECK_INT(fcntl(copy, F_GETFD), -1);
	closep(&fd);
}

TEST(hand_over_leaves_nothing_behind)
{
	char *p = mem_strdup("x"), *q;
	int fd = 7;

	q = TAKE_PTR(p);
	CHECK(p == NULL);
	CHECK_STR(q, "x");
	free(q);
	CHECK_INT(take_fd(&fd), 7);
	CHECK_INT(fd, -1);
}

TEST(vectors_grow_zeroed_and_keep_their_content)
{
	CLEANUP(freep) int *items = NULL;
	size_t cap = 0;

	CHECK_INT(vec_grow(&items, &cap, 1, sizeof(*items), 100), 0);
	items[0] = 42;
	CHECK_INT(vec_grow(&items, &cap, 50, sizeof(*items), 100), 0);
	CHECK(cap >= 50 && cap <= 100);
	CHECK_INT(items[0], 42);
	for (size_t i = 1; i < cap; i++)
		CHECK_INT(items[i], 0);
}

TEST(vectors_stop_at_their_maximum)
{
	CLEANUP(freep) int *items = NULL;
	size_t cap = 0;

	CHECK_INT(vec_grow(&items, &cap, 11, sizeof(*items), 10), -E2BIG);
	CHECK(items == NULL);
	CHECK_INT(vec_grow(&items, &cap, 10, sizeof(*items), 10), 0);
	CHECK_UINT(cap, 10);
	CHECK_INT(vec_grow(&items, &cap, 11, sizeof(*items), 10), -E2BIG);
	CHECK_INT(vec_grow(&items, &cap, 0, sizeof(*items), 10), 0);
}

TEST(vectors_survive_sizes_that_overflow)
{
	CLEANUP(freep) char *items = NULL;
	size_t cap = 0;

	CHECK_INT(vec_grow(&items, &cap, SIZE_MAX / 2, 16, SIZE_MAX), -ENOMEM);
	CHECK(items == NULL);
	CHECK_UINT(cap, 0);
}

TEST(the_hook_fails_exactly_the_nth_allocation)
{
	CLEANUP(freep) void *first = NULL;
	CLEANUP(freep) void *third = NULL;

	mem_fail_after(2);
	first = mem_calloc(1, 1);
	CHECK(!mem_has_failed());
	CHECK(mem_calloc(1, 1) == NULL);
	CHECK(mem_has_failed());
	third = mem_calloc(1, 1);
	mem_fail_after(0);
	CHECK(first != NULL && third != NULL);
	CHECK(!mem_has_failed());
}

OOM_TEST(growing_fails_without_losing_the_vector)
{
	CLEANUP(freep) int *items = NULL;
	size_t cap = 0;
	int r;

	r = vec_grow(&items, &cap, 4, sizeof(*items), 1000);
	if (r < 0)
		return r;
	items[3] = 7;
	r = vec_grow(&items, &cap, 400, sizeof(*items), 1000);
	CHECK_INT(items[3], 7);
	return r;
}
