/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "courier/pace.h"

int64_t backoff_next(struct backoff *b, int64_t retry_after_s, uint64_t random)
{
	int64_t bound = PACE_BACKOFF_FIRST_MS;

	for (unsigned i = 0; i < b->failures && bound < PACE_BACKOFF_LAST_MS; i++)
		bound *= 2;
	if (bound > PACE_BACKOFF_LAST_MS)
		bound = PACE_BACKOFF_LAST_MS;
	b->failures++;
	if (retry_after_s > PACE_RETRY_AFTER_MAX_S)
		retry_after_s = PACE_RETRY_AFTER_MAX_S;
	/* Spread over a second: all were told the same. */
	if (retry_after_s >= 0)
		return retry_after_s * 1000 + (int64_t)(random % 1000);
	return PACE_BACKOFF_FIRST_MS +
	       (int64_t)(random % (uint64_t)(bound - PACE_BACKOFF_FIRST_MS + 1));
}

void backoff_reset(struct backoff *b)
{
	b->failures = 0;
}

int64_t poll_pause(const struct poll_end *e, uint64_t random)
{
	const int64_t spread = (int64_t)PACE_STATIC_MS * PACE_STATIC_JITTER / 100;
	int64_t left = PACE_POLL_MIN_MS - e->took_ms;

	/* What changed once may change again at once: that is what polls are for. */
	if (e->changed && e->quick <= PACE_QUICK_HEADS)
		return 0;
	if (e->changed || e->waited || e->took_ms >= PACE_STATIC_MS)
		return left > 0 ? left : 0;
	return PACE_STATIC_MS - spread + (int64_t)(random % (uint64_t)(2 * spread + 1));
}
