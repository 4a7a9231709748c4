/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/window.h"

#include <errno.h>
#include <string.h>

#define DAY_MINUTES   1440
#define WEEK_DAYS     7
#define HORIZON_DAYS  400
#define LOOKBACK_DAYS 2 /* a window that began the day before yesterday has ended */

/* Days since 1970-01-01 of a date of the Gregorian calendar, and back. */
static int64_t day_number(const struct civil *c)
{
	int64_t y = c->month <= 2 ? c->year - 1 : c->year;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * (c->month + (c->month > 2 ? -3 : 9)) + 2) / 5 + c->day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void day_date(int64_t number, struct civil *ret)
{
	int64_t z = number + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t day = z - era * 146097;
	int64_t of_era = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	int64_t of_year = day - (365 * of_era + of_era / 4 - of_era / 100);
	int64_t month = (5 * of_year + 2) / 153;

	ret->day = (int)(of_year - (153 * month + 2) / 5 + 1);
	ret->month = (int)(month < 10 ? month + 3 : month - 9);
	ret->year = (int)(of_era + era * 400 + (ret->month <= 2 ? 1 : 0));
}

/* 1970-01-01 was a Thursday, 3. */
static int day_weekday(int64_t number)
{
	return (int)(((number + 3) % WEEK_DAYS + WEEK_DAYS) % WEEK_DAYS);
}

static int instant(const struct window *w, const struct local_time *lt, int64_t day, int minute,
		   struct wall *ret)
{
	struct civil c = {0};

	if (minute >= DAY_MINUTES) {
		day++;
		minute -= DAY_MINUTES;
	}
	day_date(day, &c);
	c.minute = minute;
	c.weekday = day_weekday(day);
	return lt->from_civil(lt->user, w->zone, &c, ret);
}

/*
 * The window that begins on the day; empty (start = end) on other days, and where a clock change
 * swallows it.
 */
static int window_of_day(const struct window *w, const struct local_time *lt, int64_t day,
			 struct wall *ret_start, struct wall *ret_end)
{
	int end = w->to_min <= w->from_min ? w->to_min + DAY_MINUTES : w->to_min;
	int r;

	*ret_start = *ret_end = (struct wall){0};
	if ((w->days & (1U << day_weekday(day))) == 0)
		return 0;
	r = instant(w, lt, day, w->from_min, ret_start);
	if (r < 0)
		return r;
	return instant(w, lt, day, end, ret_end);
}

int window_state(const struct window *w, const struct local_time *lt, struct wall t, bool *ret_open,
		 struct wall *ret_change)
{
	struct civil today;
	int64_t day, last;
	bool open = false;
	struct wall open_until = {0};
	int r = lt->to_civil(lt->user, w->zone, t, &today);

	if (r < 0)
		return r;
	day = day_number(&today) - LOOKBACK_DAYS;
	last = day + LOOKBACK_DAYS + HORIZON_DAYS;
	for (; day <= last; day++) {
		struct wall start, end;

		r = window_of_day(w, lt, day, &start, &end);
		if (r < 0)
			return r;
		if (end.s <= start.s || end.s <= t.s)
			continue;
		if (open ? start.s > open_until.s : start.s > t.s) {
			*ret_open = open;
			*ret_change = open ? open_until : start;
			return 0;
		}
		open = true;
		if (end.s > open_until.s)
			open_until = end;
	}
	*ret_open = open;
	/* Still open at the horizon: windows that touch for ever, or the only one has just begun.
	 */
	*ret_change = open && open_until.s < t.s + (int64_t)(HORIZON_DAYS - LOOKBACK_DAYS) * 86400
			      ? open_until
			      : (struct wall){0};
	return 0;
}
