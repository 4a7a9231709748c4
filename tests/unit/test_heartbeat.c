/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/heartbeat.h"

#include "tests/unit/test.h"

#define DAY    86400LL
#define SECOND 1000000000LL
#define NOW    1800000000LL

struct scene {
	struct wall highest;
	struct mono leapt, mono;
};

/* So many seconds later the wall clock says `now`, and goes on for as long. */
static void beat(struct scene *s, int64_t now, int64_t seconds)
{
	for (int64_t i = 0; i < seconds; i += 10) {
		s->mono.ns += 10 * SECOND;
		heartbeat_raise(&s->highest, &s->leapt, (struct wall){now + i}, s->mono);
	}
}

TEST(the_newest_time_follows_a_clock_that_goes)
{
	struct scene s = {.highest.s = NOW, .mono.ns = SECOND};

	beat(&s, NOW + 10, 100);
	CHECK_INT(s.highest.s, NOW + 100);
	/* Off for a night. */
	beat(&s, NOW + DAY / 2, 10);
	CHECK_INT(s.highest.s, NOW + DAY / 2);
	/* Set back: it stays. */
	beat(&s, NOW - DAY, 7200);
	CHECK_INT(s.highest.s, NOW + DAY / 2);
}

TEST(a_leap_of_the_clock_that_is_taken_back_is_forgotten)
{
	struct scene s = {.highest.s = NOW, .mono.ns = SECOND};

	beat(&s, NOW + 3650 * DAY, 3000);
	CHECK_INT(s.highest.s, NOW);
	beat(&s, NOW + 3000, 100);
	CHECK_INT(s.highest.s, NOW + 3090);
	/* And the next one begins its hour anew. */
	beat(&s, NOW + 3650 * DAY, 3000);
	CHECK_INT(s.highest.s, NOW + 3090);
}

TEST(a_leap_that_stands_for_an_hour_is_the_time)
{
	struct scene s = {.highest.s = NOW, .mono.ns = SECOND};

	beat(&s, NOW + 7 * DAY, 3600);
	CHECK_INT(s.highest.s, NOW);
	beat(&s, NOW + 7 * DAY + 3600, 20);
	CHECK_INT(s.highest.s, NOW + 7 * DAY + 3610);
	/* A fresh host has nothing to compare with, and its battery may be dead all the same. */
	s = (struct scene){.mono.ns = SECOND};
	beat(&s, NOW, 3600);
	CHECK_INT(s.highest.s, 0);
	beat(&s, NOW + 3600, 20);
	CHECK_INT(s.highest.s, NOW + 3610);
}

static int64_t time_of(int64_t now, int64_t highest, int64_t raised_s, int64_t boot_s)
{
	return heartbeat_time((struct wall){now}, (struct wall){highest},
			      (struct mono){raised_s * SECOND}, (struct mono){boot_s * SECOND})
		.s;
}

TEST(a_clock_that_was_set_back_is_not_the_time)
{
	CHECK_INT(time_of(NOW + 5, NOW, 0, 900), NOW + 5);
	CHECK_INT(time_of(NOW - 100, NOW, 0, 900), NOW);
	CHECK(time_of(0, 0, 0, 900) > 0); /* the release is the least that it can be */
}

TEST(while_the_clock_is_held_back_time_goes_on)
{
	CHECK_INT(time_of(NOW - DAY, NOW, 900, 900), NOW);
	CHECK_INT(time_of(NOW - DAY, NOW, 900, 1500), NOW + 600);
	CHECK_INT(time_of(NOW + 700, NOW, 900, 1500), NOW + 700);
	/* A machine that was started again counts from its start. */
	CHECK_INT(time_of(NOW - DAY, NOW, 900, 100), NOW);
}
