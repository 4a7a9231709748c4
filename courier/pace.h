/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * When to ask again. Pure: random numbers and times go in. A fleet of couriers must neither hammer
 * a controller that is in trouble nor come back at one moment when it recovers (facts section 5).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* sd-event takes 250 ms unless told: each step of a change would wait for so long. */
#define TIMER_ACCURACY_US 1000

#define PACE_BACKOFF_FIRST_MS  1000
#define PACE_BACKOFF_LAST_MS   300000
#define PACE_RETRY_AFTER_MAX_S 3600 /* a server may not send us away for longer */
#define PACE_POLL_MIN_MS       1000 /* between two polls when the first one brought nothing */
#define PACE_STATIC_MS         30000
#define PACE_STATIC_JITTER     25 /* percent */
#define PACE_WAIT_S            55 /* Prefer: wait=; below the idle limit of most proxies */
#define PACE_POLL_TIMEOUT_S    (PACE_WAIT_S + 20)
#define PACE_QUICK_HEADS       5 /* so many heads may come one upon the other */

struct backoff {
	unsigned failures;
};

/*
 * Milliseconds until the next attempt after one more failure: full jitter, between 1 s and a bound
 * that doubles up to 300 s. What the server asked for (Retry-After, seconds; negative: nothing)
 * wins.
 */
int64_t backoff_next(struct backoff *b, int64_t retry_after_s, uint64_t random);
void backoff_reset(struct backoff *b);

struct poll_end {
	bool changed;    /* a new head came */
	bool waited;     /* the server holds polls (Preference-Applied) */
	int64_t took_ms; /* from the request to the answer */
	unsigned quick;  /* heads that came one upon the other, this one included */
};
/* Milliseconds until the next poll after one that was answered. */
int64_t poll_pause(const struct poll_end *e, uint64_t random);
