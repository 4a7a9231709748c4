/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/process.h"

#include "base/mem.h"
#include "tests/unit/test.h"

TEST(the_four_groups_of_a_process_are_read)
{
	uint32_t gids[4] = {0};

	CHECK(process_status_gids(
		"Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t10\t20\t30\t4294967295\nFDSize:\t1\n", gids));
	CHECK_UINT(gids[0], 10);
	CHECK_UINT(gids[1], 20);
	CHECK_UINT(gids[2], 30);
	CHECK_UINT(gids[3], UINT32_MAX);
}

/* A process chooses its name, and the name is in the same file. */
TEST(what_is_no_line_of_groups_is_none)
{
	static const char *const bad[] = {
		"",
		"Name:\tGid:\t1\t2\t3\t4\n",
		"Name:\tx\nGid:\t1\t2\t3\n",
		"Name:\tx\nGid:\t1\t2\t3\t4294967296\n",
		"Name:\tx\nGid:\t1\t2\t3\t4\t5\n",
		"Name:\tx\nGid:\t-1\t2\t3\t4\n",
		"Name:\tx\nGid:\t99999999999999999999999\t2\t3\t4\n",
	};
	uint32_t gids[4];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(!process_status_gids(bad[i], gids));
}
