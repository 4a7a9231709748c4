/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Civil time in named time zones (tz database). The conversions are an interface, so that pure code
 * takes them as an argument; zone_local_time() is the implementation on glibc.
 */
#pragma once

#include "base/clock.h"

#include <stdbool.h>

#define ZONE_NAME_MAX 64 /* with the NUL */

struct civil {
	int year, month, day; /* 1..12, 1..31 */
	int minute;           /* of the day */
	int weekday;          /* 0 = Monday */
};

struct local_time {
	/* UTC to civil time in the zone; -EINVAL for an unknown zone. */
	int (*to_civil)(void *user, const char *zone, struct wall t, struct civil *ret);
	/*
	 * Civil to UTC (weekday is not looked at); a time skipped by a clock change is the instant
	 * of the change, a doubled one the later.
	 */
	int (*from_civil)(void *user, const char *zone, const struct civil *c, struct wall *ret);
	void *user;
};

/*
 * By glibc, which knows one zone at a time: the calls set TZ of this process, so they belong to one
 * thread, and nothing else in it may rely on TZ. The pointer is to constant data.
 */
const struct local_time *zone_local_time(void);

/* A name of letters, digits and /_+- for which this host has tz data. "UTC" is always known. */
bool zone_known(const char *name);
