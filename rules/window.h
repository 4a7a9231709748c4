/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Maintenance windows in civil time. Time zones come from the caller, because reading tz data is
 * I/O: agent and cli pass zone_local_time() of base/zone.h (glibc), tests pass fixed offsets.
 */
#pragma once

#include "base/clock.h"
#include "base/zone.h"
#include "rules/policy.h"

#include <stdbool.h>

/*
 * Is the window open at t? *ret_change is when that answer next changes (0 = never within 400
 * days). Open windows that touch (to = 24 hours later, seven days) are one.
 */
int window_state(const struct window *w, const struct local_time *lt, struct wall t, bool *ret_open,
		 struct wall *ret_change);
