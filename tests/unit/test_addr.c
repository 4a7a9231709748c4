/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/addr.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <sys/socket.h>

static struct addr address(const char *text)
{
	struct addr a = {0};

	CHECK_INT(addr_parse(text, &a), 0);
	return a;
}

static struct prefix network(const char *text)
{
	struct prefix p = {0};

	CHECK_INT(prefix_parse(text, &p), 0);
	return p;
}

TEST(addresses_are_parsed_and_printed)
{
	static const char *const same[] = {"10.0.0.5", "0.0.0.0",          "255.255.255.255",
					   "::",       "fd00::5",          "::1",
					   "fe80::1",  "2001:db8::1:0:0:1"};
	char buf[ADDR_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_LEN(same); i++) {
		struct addr a = address(same[i]);

		CHECK_STR(addr_format(buf, &a), same[i]);
	}
	CHECK_STR(addr_format(buf, &(struct addr){0}), "-");
}

TEST(what_is_no_address_is_refused)
{
	static const char *const wrong[] = {
		"",          "10.0.0",          "10.0.0.256",   "10.0.0.5/32",
		"010.0.0.1", " 10.0.0.1",       "10.0.0.1 ",    "fd00::5%lo",
		"fd00:::1",  "::ffff:10.0.0.1", "::ffff:a00:1", "host",
		":",         "1.2.3.4.5",       "0x7f.1"};
	struct addr a = {.family = 99};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		if (addr_parse(wrong[i], &a) != -EINVAL)
			test_fail(__FILE__, __LINE__, "'%s' was accepted", wrong[i]);
	}
	CHECK_INT(addr_parse(NULL, &a), -EINVAL);
	CHECK_INT(a.family, 99);
}

TEST(order_is_family_then_bytes)
{
	struct addr low = address("10.0.0.5"), high = address("10.0.1.0"), v6 = address("::1");

	CHECK(addr_cmp(&low, &high) < 0);
	CHECK(addr_cmp(&high, &low) > 0);
	CHECK(addr_cmp(&high, &v6) < 0);
	CHECK(addr_eq(&low, &low));
	CHECK(!addr_eq(&low, &high));
	low.bytes[8] = 0xee; /* behind an IPv4 address nothing counts */
	CHECK(addr_eq(&low, &(struct addr){.family = AF_INET, .bytes = {10, 0, 0, 5}}));
}

TEST(special_addresses_are_known)
{
	static const struct {
		const char *text;
		bool loopback, many;
	} cases[] = {
		{"127.0.0.1", true, false},
		{"127.255.0.1", true, false},
		{"128.0.0.1", false, false},
		{"::1", true, false},
		{"::2", false, false},
		{"224.0.0.1", false, true},
		{"239.255.255.255", false, true},
		{"240.0.0.1", false, false},
		{"255.255.255.255", false, true},
		{"255.255.255.254", false, false},
		{"ff02::1", false, true},
		{"fe80::1", false, false},
		{"7f00::", false, false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct addr a = address(cases[i].text);

		if (addr_is_loopback(&a) != cases[i].loopback ||
		    addr_is_multicast_or_broadcast(&a) != cases[i].many)
			test_fail(__FILE__, __LINE__, "%s is taken for something else",
				  cases[i].text);
	}
}

TEST(prefixes_are_parsed_and_printed)
{
	char buf[PREFIX_TEXT_MAX];
	struct prefix p;

	p = network("10.0.0.0/8");
	CHECK_STR(prefix_format(buf, &p), "10.0.0.0/8");
	p = network("10.0.0.5");
	CHECK_STR(prefix_format(buf, &p), "10.0.0.5/32");
	p = network("0.0.0.0/0");
	CHECK_STR(prefix_format(buf, &p), "0.0.0.0/0");
	p = network("2001:db8::/33");
	CHECK_STR(prefix_format(buf, &p), "2001:db8::/33");
	p = network("fd00::5");
	CHECK_STR(prefix_format(buf, &p), "fd00::5/128");
}

TEST(host_bits_and_odd_lengths_are_refused)
{
	static const char *const wrong[] = {
		"10.0.0.1/8",
		"10.0.0.0/33",
		"10.0.0.0/",
		"10.0.0.0/08",
		"10.0.0.0/-1",
		"fd00::/129",
		"fd00::1/64",
		"/8",
		"10.0.0.0/8/8",
		"10.0.0.128/24",
		"10.0.0.0/ 8",
		"2001:db8:8000::/32",
		"2001:0db8:0000:0000:0000:0000:0000:0000:0000:0000:0000/12"};
	struct prefix p = {.len = 99};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		if (prefix_parse(wrong[i], &p) != -EINVAL)
			test_fail(__FILE__, __LINE__, "'%s' was accepted", wrong[i]);
	}
	CHECK_INT(p.len, 99);
}

TEST(prefixes_contain_and_cover)
{
	struct prefix ten = network("10.0.0.0/8"), odd = network("10.16.0.0/13");
	struct prefix all = network("0.0.0.0/0"), all6 = network("::/0");
	struct addr inside = address("10.23.255.255"), outside = address("10.24.0.0");
	struct addr v6 = address("a00::");

	CHECK(prefix_contains(&odd, &inside));
	CHECK(!prefix_contains(&odd, &outside));
	CHECK(prefix_contains(&all, &outside));
	CHECK(!prefix_contains(&all, &v6));
	CHECK(prefix_contains(&all6, &v6));
	CHECK(prefix_covers(&ten, &odd));
	CHECK(prefix_covers(&ten, &ten));
	CHECK(!prefix_covers(&odd, &ten));
	CHECK(!prefix_covers(&all6, &ten));
}

TEST(ranges_run_from_the_first_to_the_last_address)
{
	char first[ADDR_TEXT_MAX], last[ADDR_TEXT_MAX];
	struct prefix odd = network("10.16.0.0/13"), all6 = network("::/0");
	struct addr a, b;

	prefix_range(&odd, &a, &b);
	CHECK_STR(addr_format(first, &a), "10.16.0.0");
	CHECK_STR(addr_format(last, &b), "10.23.255.255");
	prefix_range(&all6, &a, &b);
	CHECK_STR(addr_format(first, &a), "::");
	CHECK_STR(addr_format(last, &b), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
}
