/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Maintenance windows in civil time. Time zones come from the caller, because reading tz data is
 * I/O: agent and cli pass the functions of base/zone.h (glibc), tests pass fixed offsets.
 */
#pragma once

#include "base/clock.h"
#include "rules/policy.h"

#include <stdbool.h>

struct civil {
	int year, month, day; /* 1..12, 1..31 */
	int minute;	      /* of the day */
	int weekday;	      /* 0 = Monday */
};

struct local_time {
	/* UTC to civil time in the zone; -EINVAL for an unknown zone. */
	int (*to_civil)(void *user, const char *zone, struct wall t, struct civil *ret);
	/* Civil to UTC; a time skipped by a clock change is the instant of the change, a doubled one the later. */
	int (*from_civil)(void *user, const char *zone, const struct civil *c, struct wall *ret);
	void *user;
};

/*
 * Is the window open at t? *ret_change is when that answer next changes (0 = never within 400 days).
 * Open windows that touch (to = 24 hours later, seven days) are one.
 */
int window_state(const struct window *w, const struct local_time *lt, struct wall t, bool *ret_open,
		 struct wall *ret_change);
