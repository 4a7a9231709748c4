/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/zone.h"

#include "tests/unit/test.h"

#include <errno.h>

static struct civil civil_at(const char *zone, const char *utc)
{
	const struct local_time *lt = zone_local_time();
	struct civil c = {0};
	struct wall t = {0};

	CHECK_INT(rfc3339_parse(utc, &t), 0);
	CHECK_INT(lt->to_civil(lt->user, zone, t, &c), 0);
	return c;
}

static void check_instant(const char *zone, struct civil c, const char *expected)
{
	const struct local_time *lt = zone_local_time();
	char text[RFC3339_TEXT_MAX];
	struct wall t = {0};

	CHECK_INT(lt->from_civil(lt->user, zone, &c, &t), 0);
	CHECK_STR(rfc3339_format(text, t), expected);
}

static void need_tzdata(void)
{
	if (!zone_known("Europe/Berlin"))
		test_skip("no tz data on this host");
}

TEST(berlin_is_ahead_by_one_hour_in_winter_and_two_in_summer)
{
	struct civil c;

	need_tzdata();
	c = civil_at("Europe/Berlin", "2026-01-15T23:30:00Z");
	CHECK_INT(c.day, 16);
	CHECK_INT(c.minute, 30);
	CHECK_INT(c.weekday, 4);
	c = civil_at("Europe/Berlin", "2026-07-15T12:00:00Z");
	CHECK_INT(c.minute, 14 * 60);
}

TEST(zones_do_not_mix_when_asked_in_turn)
{
	need_tzdata();
	CHECK_INT(civil_at("Asia/Tokyo", "2026-07-15T12:00:00Z").minute, 21 * 60);
	CHECK_INT(civil_at("UTC", "2026-07-15T12:00:00Z").minute, 12 * 60);
	CHECK_INT(civil_at("Asia/Tokyo", "2026-07-15T12:00:00Z").minute, 21 * 60);
}

TEST(civil_time_converts_back)
{
	need_tzdata();
	check_instant("Europe/Berlin",
		      (struct civil){.year = 2026, .month = 1, .day = 16, .minute = 30},
		      "2026-01-15T23:30:00Z");
	check_instant("America/New_York",
		      (struct civil){.year = 2026, .month = 7, .day = 4, .minute = 720},
		      "2026-07-04T16:00:00Z");
}

TEST(a_skipped_time_is_the_instant_of_the_change)
{
	need_tzdata();
	/* On 2026-03-29 clocks go from 02:00 to 03:00, at 01:00 UTC. */
	check_instant("Europe/Berlin",
		      (struct civil){.year = 2026, .month = 3, .day = 29, .minute = 150},
		      "2026-03-29T01:00:00Z");
	check_instant("Europe/Berlin",
		      (struct civil){.year = 2026, .month = 3, .day = 29, .minute = 119},
		      "2026-03-29T00:59:00Z");
	check_instant("Europe/Berlin",
		      (struct civil){.year = 2026, .month = 3, .day = 29, .minute = 180},
		      "2026-03-29T01:00:00Z");
}

TEST(a_doubled_time_is_the_later_one)
{
	need_tzdata();
	/* On 2026-10-25 clocks go from 03:00 back to 02:00, at 01:00 UTC. */
	check_instant("Europe/Berlin",
		      (struct civil){.year = 2026, .month = 10, .day = 25, .minute = 150},
		      "2026-10-25T01:30:00Z");
	check_instant("Europe/Berlin",
		      (struct civil){.year = 2026, .month = 10, .day = 25, .minute = 119},
		      "2026-10-24T23:59:00Z");
}

TEST(unknown_and_malformed_zones_are_refused)
{
	const struct local_time *lt = zone_local_time();
	struct wall t = {0};
	struct civil c;

	CHECK(zone_known("UTC"));
	CHECK(!zone_known("Europe/Berlln"));
	CHECK(!zone_known(""));
	CHECK(!zone_known("../../../etc/passwd"));
	CHECK(!zone_known("/etc/localtime"));
	CHECK(!zone_known("Europe"));
	CHECK(!zone_known("tzdata.zi"));
	CHECK_INT(lt->to_civil(lt->user, "Mars/Olympus", t, &c), -EINVAL);
	CHECK_INT(lt->to_civil(lt->user, "UTC", t, &c), 0);
	CHECK_INT(c.year, 1970);
	CHECK_INT(c.weekday, 3);
}
