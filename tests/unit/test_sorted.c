/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/sorted.h"

#include "tests/unit/test.h"

struct item {
	char letter;
	uint32_t number;
};

static size_t first(const struct item *items, size_t count, uint32_t key)
{
	return sorted_first_u32(items, count, sizeof(*items), offsetof(struct item, number), key);
}

TEST(the_first_that_is_not_below)
{
	static const struct item items[] = {{'a', 1}, {'b', 3},           {'c', 3},
					    {'d', 3}, {'e', 0x80000000u}, {'f', UINT32_MAX}};

	CHECK_UINT(first(items, 6, 0), 0);
	CHECK_UINT(first(items, 6, 1), 0);
	CHECK_UINT(first(items, 6, 2), 1);
	CHECK_UINT(first(items, 6, 3), 1);
	CHECK_UINT(first(items, 6, 4), 4);
	CHECK_UINT(first(items, 6, 0x80000001u), 5);
	CHECK_UINT(first(items, 6, UINT32_MAX), 5);
	CHECK_UINT(first(items, 5, UINT32_MAX), 5);
	CHECK_UINT(first(items, 1, 1), 0);
	CHECK_UINT(first(NULL, 0, 7), 0);
}
