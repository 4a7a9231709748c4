/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/zone.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"

#define ZONE_DIR     "/usr/share/zoneinfo"
#define TZIF_MAGIC   "TZif" /* RFC 8536 section 3.1 */
#define DAY_SECONDS  86400
#define MINUTE_S     60
#define TM_YEAR_BASE 1900

static bool name_ok(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len >= ZONE_NAME_MAX || name[0] == '/' || strstr(name, "..") != NULL)
		return false;
	return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_+-") ==
	       len;
}

bool zone_known(const char *name)
{
	char path[sizeof(ZONE_DIR) + 1 + ZONE_NAME_MAX];
	char magic[sizeof(TZIF_MAGIC) - 1];
	CLEANUP(closep) int fd = -1;
	struct stat st;

	if (!name_ok(name))
		return false;
	if (str_eq(name, "UTC"))
		return true;
	if (snprintf(path, sizeof(path), ZONE_DIR "/%s", name) >= (int)sizeof(path))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	return read(fd, magic, sizeof(magic)) == (ssize_t)sizeof(magic) &&
	       memcmp(magic, TZIF_MAGIC, sizeof(magic)) == 0;
}

/*
 * glibc silently takes UTC for a zone without a file, so the file is looked for first. The leading
 * colon makes it read the file even where the name looks like a POSIX TZ rule ("EST5EDT").
 */
static int zone_enter(const char *zone)
{
	char tz[1 + ZONE_NAME_MAX];
	const char *current = getenv("TZ");

	if (snprintf(tz, sizeof(tz), ":%s", zone) >= (int)sizeof(tz))
		return -EINVAL;
	if (current == NULL || !str_eq(current, tz)) {
		if (!zone_known(zone))
			return -EINVAL;
		if (setenv("TZ", tz, 1) < 0)
			return -ENOMEM;
	}
	tzset();
	return 0;
}

static int local_of(int64_t t, struct tm *ret)
{
	time_t s = (time_t)t;

	return localtime_r(&s, ret) == NULL ? -ERANGE : 0;
}

static int to_civil(void *user, const char *zone, struct wall t, struct civil *ret)
{
	struct tm tm;
	int r;

	(void)user;
	r = zone_enter(zone);
	if (r < 0)
		return r;
	r = local_of(t.s, &tm);
	if (r < 0)
		return r;
	*ret = (struct civil){.year = tm.tm_year + TM_YEAR_BASE,
			      .month = tm.tm_mon + 1,
			      .day = tm.tm_mday,
			      .minute = tm.tm_hour * 60 + tm.tm_min,
			      .weekday = (tm.tm_wday + 6) % 7};
	return 0;
}

/* Seconds that the zone is ahead of UTC at t. */
static int offset_at(int64_t t, int64_t *ret)
{
	struct tm tm;
	int r = local_of(t, &tm);

	if (r < 0)
		return r;
	*ret = tm.tm_gmtoff;
	return 0;
}

/* The instant in (before, after] at which the offset stops being that of `before`. */
static int change_between(int64_t before, int64_t after, int64_t *ret)
{
	int64_t old = 0, offset = 0;
	int r = offset_at(before, &old);

	while (r == 0 && after - before > 1) {
		int64_t middle = before + (after - before) / 2;

		r = offset_at(middle, &offset);
		if (offset == old)
			before = middle;
		else
			after = middle;
	}
	if (r == 0)
		*ret = after;
	return r;
}

/*
 * mktime() leaves open what skipped and doubled times become, so they are computed: the civil time
 * is read with the offset of the day before and with that of the day after.
 */
static int from_civil(void *user, const char *zone, const struct civil *c, struct wall *ret)
{
	struct tm tm = {.tm_year = c->year - TM_YEAR_BASE,
			.tm_mon = c->month - 1,
			.tm_mday = c->day,
			.tm_min = c->minute};
	int64_t civil, early = 0, late = 0, offset = 0;
	int r;

	(void)user;
	r = zone_enter(zone);
	if (r < 0)
		return r;
	civil = timegm(&tm);
	r = offset_at(civil - DAY_SECONDS, &early);
	if (r == 0)
		r = offset_at(civil + DAY_SECONDS, &late);
	if (r == 0)
		r = offset_at(civil - late, &offset);
	if (r < 0)
		return r;
	if (offset == late) {
		ret->s = civil - late;
		return 0;
	}
	r = offset_at(civil - early, &offset);
	if (r < 0)
		return r;
	if (offset == early) {
		ret->s = civil - early;
		return 0;
	}
	return change_between(civil - DAY_SECONDS, civil + DAY_SECONDS, &ret->s);
}

const struct local_time *zone_local_time(void)
{
	static const struct local_time local_time = {to_civil, from_civil, NULL};

	return &local_time;
}
