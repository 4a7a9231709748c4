/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/text.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

TEST(strings_compare_null_only_with_null)
{
	CHECK(str_eq("a", "a"));
	CHECK(!str_eq("a", "b"));
	CHECK(!str_eq("a", NULL));
	CHECK(!str_eq(NULL, "a"));
	CHECK(str_eq(NULL, NULL));
	CHECK(str_starts("ssh.service", "ssh"));
	CHECK(!str_starts("ss", "ssh"));
	CHECK(str_ends("ssh.service", ".service"));
	CHECK(!str_ends("service", ".service"));
	CHECK(str_ends("x", ""));
}

TEST(numbers_are_plain_decimal)
{
	static const char *const wrong[] = {"",    "-1",  "+1",  " 1",  "1 ", "01", "00",
					    "0x1", "1e3", "1.0", "abc", "1a", "\t1"};
	uint64_t value = 77;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		CHECK_INT(text_u64(wrong[i], 0, UINT64_MAX, &value), -EINVAL);
	CHECK_INT(text_u64(NULL, 0, 1, &value), -EINVAL);
	CHECK_UINT(value, 77);
	CHECK_INT(text_u64("0", 0, 9, &value), 0);
	CHECK_UINT(value, 0);
	CHECK_INT(text_u64("18446744073709551615", 0, UINT64_MAX, &value), 0);
	CHECK_UINT(value, UINT64_MAX);
}

TEST(numbers_keep_their_bounds)
{
	uint64_t value = 77;
	uint32_t small = 77;

	CHECK_INT(text_u64("18446744073709551616", 0, UINT64_MAX, &value), -ERANGE);
	CHECK_INT(text_u64("99999999999999999999999", 0, UINT64_MAX, &value), -ERANGE);
	CHECK_INT(text_u64("4", 5, 9, &value), -ERANGE);
	CHECK_INT(text_u64("10", 5, 9, &value), -ERANGE);
	CHECK_UINT(value, 77);
	CHECK_INT(text_u32("65536", 1, 65535, &small), -ERANGE);
	CHECK_INT(text_u32("4294967296", 0, UINT32_MAX, &small), -ERANGE);
	CHECK_UINT(small, 77);
	CHECK_INT(text_u32("65535", 1, 65535, &small), 0);
	CHECK_UINT(small, 65535);
}

TEST(durations_have_one_unit)
{
	static const struct {
		const char *text;
		int r;
		int64_t seconds;
	} cases[] = {
		{"90s", 0, 90},
		{"10m", 0, 600},
		{"8h", 0, 28800},
		{"30d", 0, 2592000},
		{"1s", 0, 1},
		{"3650d", 0, 315360000},
		{"3651d", -ERANGE, 0},
		{"0s", -ERANGE, 0},
		{"99999999999999999999d", -ERANGE, 0},
		{"315360001s", -ERANGE, 0},
		{"", -EINVAL, 0},
		{"10", -EINVAL, 0},
		{"m", -EINVAL, 0},
		{"10M", -EINVAL, 0},
		{"10mm", -EINVAL, 0},
		{"1h30m", -EINVAL, 0},
		{"-1s", -EINVAL, 0},
		{"010m", -EINVAL, 0},
		{"1 s", -EINVAL, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int64_t seconds = 0;

		CHECK_INT(text_duration(cases[i].text, &seconds), cases[i].r);
		CHECK_INT(seconds, cases[i].seconds);
	}
	CHECK_INT(text_duration(NULL, NULL), -EINVAL);
}

TEST(durations_are_shown_short)
{
	char buf[DURATION_TEXT_MAX];

	CHECK_STR(duration_format(buf, 0), "0s");
	CHECK_STR(duration_format(buf, -5), "0s");
	CHECK_STR(duration_format(buf, 90), "90s");
	CHECK_STR(duration_format(buf, 120), "2min");
	CHECK_STR(duration_format(buf, 41 * 60 + 59), "41min");
	CHECK_STR(duration_format(buf, 36 * 3600), "36h");
	CHECK_STR(duration_format(buf, 180LL * 86400), "180d");
	CHECK_STR(duration_format(buf, INT64_MAX), "106751991167300d");
}

TEST(globs_match_whole_strings)
{
	static const struct {
		const char *pattern, *text;
		bool matches;
	} cases[] = {
		{"*", "", true},
		{"", "", true},
		{"", "a", false},
		{"pay-*", "pay-1", true},
		{"pay-*", "pay-", true},
		{"pay-*", "xpay-1", false},
		{"*-1", "pay-1", true},
		{"*-1", "pay-12", false},
		{"a*b*c", "aXbYc", true},
		{"a*b*c", "aXbY", false},
		{"**", "x", true},
		{"a*a", "a", false},
		{"[a]", "a", false},
		{"?", "a", false},
		{"*ab", "aab", true},
		{"pay-1", "pay-1", true},
		{"pay", "pay-1", false},
		{"a*", "b", false},
		{"*.example", "x.example", true},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (text_glob(cases[i].pattern, cases[i].text) != cases[i].matches)
			test_fail(__FILE__, __LINE__, "'%s' and '%s': expected %d",
				  cases[i].pattern, cases[i].text, cases[i].matches);
	}
}

TEST(a_hostile_glob_ends_in_time)
{
	CLEANUP(freep) char *text = mem_calloc(20001, 1);
	CLEANUP(freep) char *pattern = mem_calloc(2001, 1);

	CHECK(text != NULL && pattern != NULL);
	memset(text, 'a', 20000);
	for (size_t i = 0; i < 2000; i += 2) {
		pattern[i] = 'a';
		pattern[i + 1] = '*';
	}
	pattern[1999] = 'b';
	CHECK(!text_glob(pattern, text));
}

TEST(utf8_is_checked_as_rfc_3629)
{
	static const struct {
		const char *bytes;
		size_t len;
		bool ok;
	} cases[] = {
		{"", 0, true},
		{"abc", 3, true},
		{"\xc3\xa9", 2, true},
		{"\xe2\x82\xac", 3, true},
		{"\xf0\x9f\x98\x80", 4, true},
		{"\xf4\x8f\xbf\xbf", 4, true},
		{"a\0b", 3, false},
		{"\xc3", 1, false},
		{"\xe2\x82", 2, false},
		{"\xf0\x9f\x98", 3, false},
		{"\x80", 1, false},
		{"\xc0\x80", 2, false},
		{"\xc1\xbf", 2, false},
		{"\xe0\x9f\xbf", 3, false},
		{"\xf0\x8f\xbf\xbf", 4, false},
		{"\xed\xa0\x80", 3, false},
		{"\xf4\x90\x80\x80", 4, false},
		{"\xf5\x80\x80\x80", 4, false},
		{"\xc3\x28", 2, false},
		{"\xff", 1, false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (text_utf8_ok(cases[i].bytes, cases[i].len) != cases[i].ok)
			test_fail(__FILE__, __LINE__, "case %zu: expected %d", i, cases[i].ok);
	}
}

TEST(distance_counts_edits_and_swaps)
{
	char longer[TEXT_DISTANCE_MAX + 2];

	CHECK_UINT(text_distance("enforce", "enforce", 3), 0);
	CHECK_UINT(text_distance("enforce", "enfroce", 3), 1);
	CHECK_UINT(text_distance("", "abc", 5), 3);
	CHECK_UINT(text_distance("abc", "", 5), 3);
	CHECK_UINT(text_distance("kitten", "sitting", 5), 3);
	CHECK_UINT(text_distance("kitten", "sitting", 1), 2);
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	CHECK_UINT(text_distance(longer, longer, 2), 3);
	longer[TEXT_DISTANCE_MAX] = '\0';
	CHECK_UINT(text_distance(longer, longer, 2), 0);
}

TEST(the_nearest_word_is_suggested)
{
	static const char *const modes[] = {"observe", "selective", "enforce"};
	static const char *const units[] = {"in", "out", "any"};

	CHECK_STR(text_nearest("enfroce", modes, ARRAY_LEN(modes)), "enforce");
	CHECK_STR(text_nearest("obsrv", modes, ARRAY_LEN(modes)), "observe");
	CHECK(text_nearest("permissive", modes, ARRAY_LEN(modes)) == NULL);
	CHECK_STR(text_nearest("ot", units, ARRAY_LEN(units)), "out");
	CHECK(text_nearest("xy", units, ARRAY_LEN(units)) == NULL);
	CHECK(text_nearest("x", NULL, 0) == NULL);
}
