/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/window.h"

#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MON_TO_FRI 0x1f
#define EVERY_DAY  0x7f

static struct window window(uint8_t days, unsigned from, unsigned to, const char *zone)
{
	struct window w = {.days = days, .from_min = (uint16_t)from, .to_min = (uint16_t)to};

	(void)snprintf(w.zone, sizeof(w.zone), "%s", zone);
	return w;
}

/* change == NULL: the answer never changes. */
static void check_state(const struct window *w, const char *at, bool open, const char *change)
{
	char text[RFC3339_TEXT_MAX];
	struct wall t = {0}, when = {0};
	bool is_open = !open;

	CHECK_INT(rfc3339_parse(at, &t), 0);
	CHECK_INT(window_state(w, zone_local_time(), t, &is_open, &when), 0);
	CHECK_INT(is_open, open);
	CHECK_STR(when.s == 0 ? "never" : rfc3339_format(text, when),
		  change == NULL ? "never" : change);
}

TEST(a_window_of_one_day_opens_and_closes)
{
	struct window w = window(EVERY_DAY, 9 * 60, 17 * 60, "UTC");

	check_state(&w, "2026-11-18T08:59:59Z", false, "2026-11-18T09:00:00Z");
	check_state(&w, "2026-11-18T09:00:00Z", true, "2026-11-18T17:00:00Z");
	check_state(&w, "2026-11-18T16:59:59Z", true, "2026-11-18T17:00:00Z");
	check_state(&w, "2026-11-18T17:00:00Z", false, "2026-11-19T09:00:00Z");
}

TEST(a_night_belongs_to_the_day_on_which_it_begins)
{
	struct window w = window(MON_TO_FRI, 18 * 60, 6 * 60, "UTC");

	/* 2026-11-20 is a Friday: its night ends on Saturday. */
	check_state(&w, "2026-11-21T05:00:00Z", true, "2026-11-21T06:00:00Z");
	check_state(&w, "2026-11-21T06:00:00Z", false, "2026-11-23T18:00:00Z");
	/* Monday before dawn would be Sunday's night. */
	check_state(&w, "2026-11-23T05:00:00Z", false, "2026-11-23T18:00:00Z");
}

TEST(windows_that_touch_are_one)
{
	struct window always = window(EVERY_DAY, 0, 0, "UTC");
	struct window weekdays = window(MON_TO_FRI, 0, 0, "UTC");
	struct window midnight = window(MON_TO_FRI, 0, 24 * 60, "UTC");

	check_state(&always, "2026-11-18T12:00:00Z", true, NULL);
	check_state(&weekdays, "2026-11-18T12:00:00Z", true, "2026-11-21T00:00:00Z");
	check_state(&weekdays, "2026-11-21T00:00:00Z", false, "2026-11-23T00:00:00Z");
	check_state(&midnight, "2026-11-18T12:00:00Z", true, "2026-11-21T00:00:00Z");
}

TEST(a_window_without_days_never_opens)
{
	struct window w = window(0, 9 * 60, 17 * 60, "UTC");

	check_state(&w, "2026-11-18T12:00:00Z", false, NULL);
}

TEST(windows_follow_the_clock_on_the_wall)
{
	struct window w = window(EVERY_DAY, 9 * 60, 17 * 60, "Europe/Berlin");

	if (!zone_known("Europe/Berlin"))
		test_skip("no tz data on this host");
	check_state(&w, "2026-01-15T07:59:59Z", false, "2026-01-15T08:00:00Z");
	check_state(&w, "2026-07-15T07:00:00Z", true, "2026-07-15T15:00:00Z");
	/* The night of the change is an hour shorter. */
	check_state(&w, "2026-03-28T20:00:00Z", false, "2026-03-29T07:00:00Z");
}

TEST(a_window_inside_a_skipped_hour_does_not_open)
{
	struct window w = window(1U << 6, 130, 170, "Europe/Berlin"); /* Sundays, 02:10 to 02:50 */

	if (!zone_known("Europe/Berlin"))
		test_skip("no tz data on this host");
	check_state(&w, "2026-03-29T01:00:00Z", false, "2026-04-05T00:10:00Z");
}

TEST(leap_days_and_year_ends_are_ordinary)
{
	struct window w = window(1U << 1, 23 * 60, 60, "UTC"); /* Tuesdays, 23:00 to 01:00 */

	check_state(&w, "2028-02-29T23:30:00Z", true, "2028-03-01T01:00:00Z"); /* a Tuesday */
	check_state(&w, "2024-12-31T23:30:00Z", true, "2025-01-01T01:00:00Z"); /* a Tuesday */
}

TEST(an_unknown_zone_is_an_error)
{
	struct window w = window(EVERY_DAY, 0, 60, "Nowhere/Town");
	struct wall t = {0}, change;
	bool open;

	CHECK_INT(window_state(&w, zone_local_time(), t, &open, &change), -EINVAL);
}

/* Minute by minute over two months that hold a clock change: state and change agree. */
TEST(the_announced_change_is_the_real_one)
{
	struct window w = window(MON_TO_FRI, 22 * 60, 3 * 60, "Europe/Berlin");
	const struct local_time *lt = zone_local_time();
	struct wall t = {0}, announced = {0};
	bool open = false;

	if (!zone_known("Europe/Berlin"))
		test_skip("no tz data on this host");
	CHECK_INT(rfc3339_parse("2026-03-15T00:00:00Z", &t), 0);
	for (int step = 0; step < 12; step++) {
		bool before = false, after = false;
		struct wall change, last;

		CHECK_INT(window_state(&w, lt, t, &open, &announced), 0);
		CHECK(announced.s > t.s);
		last = (struct wall){announced.s - 1};
		CHECK_INT(window_state(&w, lt, last, &before, &change), 0);
		CHECK_INT(before, open);
		CHECK_INT(change.s, announced.s);
		CHECK_INT(window_state(&w, lt, announced, &after, &change), 0);
		CHECK_INT(after, !open);
		t = announced;
	}
}
