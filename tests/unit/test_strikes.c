/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/strikes.h"

#include "tests/unit/test.h"

#include <stdio.h>
#include <string.h>

#define SECOND INT64_C(1000000000)

static struct mono at(int64_t s)
{
	return (struct mono){.ns = 1000 * SECOND + s * SECOND};
}

static struct addr address(const char *text)
{
	struct addr a;

	CHECK_INT(addr_parse(text, &a), 0);
	return a;
}

TEST(after_a_burst_of_failures_one_waits)
{
	struct strikes *s = strikes_new(3, 10);
	struct addr a = address("10.0.0.1"), b = address("10.0.0.2");

	CHECK_UINT(strikes_wait(s, &a, at(0)), 0);
	for (int i = 0; i < 3; i++)
		strikes_add(s, &a, at(0));
	CHECK_UINT(strikes_wait(s, &a, at(0)), 10);
	CHECK_UINT(strikes_wait(s, &b, at(0)), 0);
	CHECK_UINT(strikes_wait(s, &a, at(4)), 6);
	CHECK_UINT(strikes_wait(s, &a, at(10)), 0);
	strikes_add(s, &a, at(10));
	CHECK_UINT(strikes_wait(s, &a, at(10)), 10);
	CHECK_UINT(strikes_wait(s, &a, at(1000)), 0);
	strikes_free(s);
}

TEST(an_ipv6_network_counts_as_one_client)
{
	struct strikes *s = strikes_new(2, 10);
	struct addr a = address("fd00::1"), b = address("fd00::ffff:2"),
		    c = address("fd00:0:0:1::1");

	strikes_add(s, &a, at(0));
	strikes_add(s, &b, at(0));
	CHECK_UINT(strikes_wait(s, &a, at(0)), 10);
	CHECK_UINT(strikes_wait(s, &c, at(0)), 0);
	strikes_free(s);
}

TEST(a_flood_of_addresses_buys_no_tries)
{
	struct strikes *s = strikes_new(2, 10);
	struct addr a = {.family = 2}, fresh = address("192.0.2.1");

	for (uint32_t i = 0; i < STRIKES_KEYS_MAX + 8; i++) {
		memcpy(a.bytes, &i, sizeof(i));
		strikes_add(s, &a, at(0));
	}
	CHECK(strikes_wait(s, &fresh, at(0)) > 0);
	/* Later they are forgotten. */
	CHECK_UINT(strikes_wait(s, &fresh, at(1000)), 0);
	strikes_add(s, &fresh, at(1000));
	strikes_add(s, &fresh, at(1000));
	CHECK_UINT(strikes_wait(s, &fresh, at(1000)), 10);
	strikes_free(s);
}
