/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/clock.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>
#include <time.h>

TEST(times_are_parsed)
{
	static const struct {
		const char *text;
		int64_t s;
	} cases[] = {
		{"1970-01-01T00:00:00Z", 0},
		{"2000-02-29T12:34:56Z", 951827696},
		{"2026-11-21T20:00:00Z", 1795291200},
		{"2100-03-01T00:00:00Z", 4107542400},
		{"9999-12-31T23:59:59Z", 253402300799},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char buf[RFC3339_TEXT_MAX];
		struct wall t = {-1};

		CHECK_INT(rfc3339_parse(cases[i].text, &t), 0);
		CHECK_INT(t.s, cases[i].s);
		CHECK_STR(rfc3339_format(buf, t), cases[i].text);
	}
}

TEST(what_is_no_utc_time_is_refused)
{
	static const char *const wrong[] = {
		"",
		"2026-11-21",
		"2026-11-21T20:00:00",
		"2026-11-21T20:00:00+00:00",
		"2026-11-21T20:00:00z",
		"2026-11-21 20:00:00Z",
		"2026-11-21T20:00:00.5Z",
		"2026-11-21T20:00:00ZZ",
		"2026-13-01T00:00:00Z",
		"2026-00-01T00:00:00Z",
		"2026-02-29T00:00:00Z",
		"2100-02-29T00:00:00Z",
		"2026-04-31T00:00:00Z",
		"2026-01-00T00:00:00Z",
		"2026-01-01T24:00:00Z",
		"2026-01-01T00:60:00Z",
		"2016-12-31T23:59:60Z",
		"1969-12-31T23:59:59Z",
		"2026-1a-01T00:00:00Z",
	};
	struct wall t = {77};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		if (rfc3339_parse(wrong[i], &t) != -EINVAL)
			test_fail(__FILE__, __LINE__, "'%s' was accepted", wrong[i]);
	}
	CHECK_INT(rfc3339_parse(NULL, &t), -EINVAL);
	CHECK_INT(t.s, 77);
}

static bool accepts_time(const void *bytes, size_t len)
{
	char text[64] = {0};
	struct wall t;

	memcpy(text, bytes, len);
	return rfc3339_parse(text, &t) == 0;
}

TEST(every_truncation_of_a_time_is_refused)
{
	CHECK_TRUNCATIONS("2026-11-21T20:00:00Z", 20, accepts_time);
}

TEST(every_day_agrees_with_the_c_library)
{
	for (int64_t s = 0; s < 253402300800LL; s += 86400LL * 13 + 7919) {
		char ours[RFC3339_TEXT_MAX], theirs[RFC3339_TEXT_MAX];
		time_t t = s;
		struct tm tm;
		struct wall back;

		CHECK(gmtime_r(&t, &tm) != NULL);
		CHECK(strftime(theirs, sizeof(theirs), "%Y-%m-%dT%H:%M:%SZ", &tm) > 0);
		CHECK_STR(rfc3339_format(ours, (struct wall){s}), theirs);
		CHECK_INT(rfc3339_parse(ours, &back), 0);
		CHECK_INT(back.s, s);
	}
}

TEST(milliseconds_are_shown_and_bounds_clamped)
{
	char buf[RFC3339_TEXT_MAX];

	CHECK_STR(rfc3339_format_ms(buf, 951827696007), "2000-02-29T12:34:56.007Z");
	CHECK_STR(rfc3339_format_ms(buf, -1), "1970-01-01T00:00:00.000Z");
	CHECK_STR(rfc3339_format(buf, (struct wall){-1}), "1970-01-01T00:00:00Z");
	CHECK_STR(rfc3339_format(buf, (struct wall){INT64_MAX}), "9999-12-31T23:59:59Z");
	CHECK_UINT(strlen(rfc3339_format_ms(buf, INT64_MAX)), 24);
}

TEST(clocks_run_forward)
{
	struct mono a = mono_now(), b = mono_now(), boot = boottime_now();

	CHECK(b.ns >= a.ns);
	CHECK(boot.ns >= a.ns - 1000000000);
	CHECK(wall_now().s > 1600000000);
	CHECK_INT(mono_ms_since((struct mono){1000000}, (struct mono){5999999}), 4);
}

TEST(who_sleeps_computes_nothing)
{
	struct computed a = computed_now(), b;

	CHECK_INT(nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL), 0);
	b = computed_now();
	CHECK(b.ns >= a.ns);
	CHECK(b.ns - a.ns < 50000000);
}
