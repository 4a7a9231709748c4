/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NS_PER_S  1000000000LL
#define NS_PER_MS 1000000LL
#define S_PER_DAY 86400LL
#define YEAR_MIN  1970
#define YEAR_MAX  9999
#define WALL_MAX  253402300799LL /* 9999-12-31T23:59:59Z */

struct civil {
	int64_t year;
	int64_t month, day; /* from 1 */
	int64_t hour, minute, second;
};

static struct mono read_clock(clockid_t id)
{
	struct timespec ts = {0};

	/* Cannot fail for the clocks used here (clock_gettime(2)). */
	(void)clock_gettime(id, &ts);
	return (struct mono){.ns = ts.tv_sec * NS_PER_S + ts.tv_nsec};
}

struct mono mono_now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

struct mono boottime_now(void)
{
	return read_clock(CLOCK_BOOTTIME);
}

struct computed computed_now(void)
{
	return (struct computed){.ns = read_clock(CLOCK_THREAD_CPUTIME_ID).ns};
}

struct wall wall_now(void)
{
	return (struct wall){.s = read_clock(CLOCK_REALTIME).ns / NS_PER_S};
}

int64_t mono_ms_since(struct mono then, struct mono now)
{
	return (now.ns - then.ns) / NS_PER_MS;
}

/*
 * Days since 1970-01-01 in the proleptic Gregorian calendar. Years are counted from March so that
 * the leap day is the last of the year and the lengths of the months before it are regular.
 */
static int64_t days_from_civil(int64_t year, int64_t month, int64_t day)
{
	int64_t y = month > 2 ? year : year - 1;
	int64_t m = month > 2 ? month - 3 : month + 9;

	return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static struct civil civil_from_seconds(int64_t s)
{
	int64_t days = s / S_PER_DAY, rest = s % S_PER_DAY;
	struct civil c = {.hour = rest / 3600, .minute = rest / 60 % 60, .second = rest % 60};

	/* At most one year below the truth, then at most one step up: 366 days bound each year. */
	c.year = YEAR_MIN + days / 366;
	while (days_from_civil(c.year + 1, 1, 1) <= days)
		c.year++;
	c.month = 1;
	while (c.month < 12 && days_from_civil(c.year, c.month + 1, 1) <= days)
		c.month++;
	c.day = days - days_from_civil(c.year, c.month, 1) + 1;
	return c;
}

/* Fixed-width decimal field, -1 when a character is no digit. */
static int64_t digits(const char *s, int count)
{
	int64_t value = 0;

	for (int i = 0; i < count; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -1;
		value = value * 10 + (s[i] - '0');
	}
	return value;
}

static int64_t month_days(int64_t year, int64_t month)
{
	int64_t next =
		month < 12 ? days_from_civil(year, month + 1, 1) : days_from_civil(year + 1, 1, 1);

	return next - days_from_civil(year, month, 1);
}

int rfc3339_parse(const char *text, struct wall *ret)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:ddZ";
	struct civil c;

	if (text == NULL || strnlen(text, sizeof(shape)) != sizeof(shape) - 1)
		return -EINVAL;
	for (size_t i = 0; shape[i] != '\0'; i++) {
		if (shape[i] == 'd' ? digits(text + i, 1) < 0 : text[i] != shape[i])
			return -EINVAL;
	}
	c.year = digits(text, 4);
	c.month = digits(text + 5, 2);
	c.day = digits(text + 8, 2);
	c.hour = digits(text + 11, 2);
	c.minute = digits(text + 14, 2);
	c.second = digits(text + 17, 2);

	if (c.year < YEAR_MIN || c.month < 1 || c.month > 12)
		return -EINVAL;
	/* A leap second has no place in Unix time, so :60 is refused. */
	if (c.day < 1 || c.day > month_days(c.year, c.month) || c.hour > 23 || c.minute > 59 ||
	    c.second > 59)
		return -EINVAL;

	ret->s = days_from_civil(c.year, c.month, c.day) * S_PER_DAY + c.hour * 3600 +
		 c.minute * 60 + c.second;
	return 0;
}

static struct civil civil_clamped(int64_t s)
{
	if (s < 0)
		s = 0;
	if (s > WALL_MAX)
		s = WALL_MAX;
	return civil_from_seconds(s);
}

const char *rfc3339_format(char buf[RFC3339_TEXT_MAX], struct wall t)
{
	struct civil c = civil_clamped(t.s);

	(void)snprintf(buf, RFC3339_TEXT_MAX, "%04d-%02d-%02dT%02d:%02d:%02dZ", (int)c.year,
		       (int)c.month, (int)c.day, (int)c.hour, (int)c.minute, (int)c.second);
	return buf;
}

const char *rfc3339_format_ms(char buf[RFC3339_TEXT_MAX], int64_t unix_ms)
{
	struct civil c = civil_clamped(unix_ms / 1000);
	int ms = unix_ms < 0 ? 0 : (int)(unix_ms % 1000);

	(void)snprintf(buf, RFC3339_TEXT_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (int)c.year,
		       (int)c.month, (int)c.day, (int)c.hour, (int)c.minute, (int)c.second, ms);
	return buf;
}
