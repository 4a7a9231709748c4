/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/woken.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define MANY    1000
#define AT_ONCE 10

struct loop {
	sd_event *event;
	struct woken *queue;
	struct waiter waiters[MANY];
	size_t resumed[MANY], count, wanted, slices;
	const struct waiter *urgent[4];
	size_t tick_at, io_at; /* how many had been resumed */
};

static void resume(void *user, struct waiter *w)
{
	struct loop *l = user;

	CHECK(w->slot_next == NULL);
	CHECK(l->count < MANY);
	l->resumed[l->count++] = (size_t)(w - l->waiters);
}

static bool urgent(void *user, const struct waiter *w)
{
	const struct loop *l = user;

	for (size_t i = 0; i < ARRAY_LEN(l->urgent); i++) {
		if (l->urgent[i] == w)
			return true;
	}
	return false;
}

static void ran(void *user)
{
	struct loop *l = user;

	l->slices++;
	if (l->count >= l->wanted)
		(void)sd_event_exit(l->event, 0);
}

static const struct woken_ops ops = {.resume = resume, .urgent = urgent, .ran = ran};

static struct loop *setup(size_t at_once)
{
	struct loop *l = mem_calloc(1, sizeof(*l));

	CHECK(l != NULL);
	CHECK(sd_event_new(&l->event) >= 0);
	CHECK_INT(woken_new(l->event, &ops, l, at_once, &l->queue), 0);
	return l;
}

static void add(struct loop *l, size_t first, size_t count)
{
	for (size_t i = first; i < first + count; i++)
		woken_add(l->queue, &l->waiters[i]);
}

static void run(struct loop *l, size_t wanted)
{
	l->wanted = wanted;
	CHECK(sd_event_loop(l->event) >= 0);
}

static void teardown(struct loop *l)
{
	woken_free(l->queue);
	sd_event_unref(l->event);
	free(l);
}

TEST(those_woken_are_resumed_in_turn_and_some_at_once)
{
	struct loop *l = setup(AT_ONCE);

	add(l, 0, 25);
	run(l, 25);
	CHECK_UINT(l->count, 25);
	CHECK_UINT(l->slices, 3);
	for (size_t i = 0; i < 25; i++)
		CHECK_UINT(l->resumed[i], i);
	teardown(l);
}

TEST(urgent_ones_come_first_and_keep_their_order)
{
	static const size_t want[] = {2, 5, 0, 1, 3, 4, 6};
	struct loop *l = setup(AT_ONCE);

	add(l, 0, 6);
	l->urgent[0] = &l->waiters[5];
	l->urgent[1] = &l->waiters[2];
	woken_sort(l->queue);
	run(l, 6);
	add(l, 6, 1); /* behind them, the queue being whole */
	l->wanted = 7;
	woken_drain(l->queue);
	CHECK_UINT(l->count, 7);
	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		CHECK_UINT(l->resumed[i], want[i]);
	teardown(l);
}

TEST(who_comes_behind_a_sorted_queue_is_not_lost)
{
	for (size_t urgent_count = 0; urgent_count <= 3; urgent_count++) {
		struct loop *l = setup(1);

		add(l, 0, 3);
		for (size_t i = 0; i < urgent_count; i++)
			l->urgent[i] = &l->waiters[2 - i];
		woken_sort(l->queue);
		l->wanted = MANY;
		CHECK(sd_event_run(l->event, UINT64_MAX) >= 0);
		CHECK_UINT(l->resumed[0], urgent_count == 0 || urgent_count == 3 ? 0
					  : urgent_count == 1                    ? 2
										 : 1);
		add(l, 3, 2);
		run(l, 5);
		CHECK_UINT(l->count, 5);
		CHECK_UINT(l->resumed[3], 3);
		CHECK_UINT(l->resumed[4], 4);
		teardown(l);
	}
}

TEST(an_empty_queue_has_a_slice_when_it_is_asked_for)
{
	struct loop *l = setup(AT_ONCE);

	woken_sort(l->queue);
	woken_soon(l->queue);
	run(l, 0);
	CHECK_UINT(l->slices, 1);
	CHECK_UINT(l->count, 0);
	teardown(l);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *user)
{
	struct loop *l = user;

	(void)source;
	(void)usec;
	l->tick_at = l->count;
	return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *user)
{
	struct loop *l = user;
	char byte;

	(void)source;
	(void)events;
	CHECK_INT(read(fd, &byte, 1), 1);
	l->io_at = l->count;
	return 0;
}

TEST(everything_else_of_the_loop_has_its_turn_while_many_are_resumed)
{
	struct loop *l = setup(AT_ONCE);
	int ends[2];

	CHECK_INT(pipe2(ends, O_CLOEXEC), 0);
	l->tick_at = l->io_at = MANY;
	add(l, 0, MANY);
	CHECK(sd_event_add_time_relative(l->event, NULL, CLOCK_MONOTONIC, 0, 1, on_tick, l) >= 0);
	CHECK(sd_event_add_io(l->event, NULL, ends[0], EPOLLIN, on_io, l) >= 0);
	CHECK_INT(write(ends[1], "x", 1), 1);
	run(l, MANY);
	CHECK_UINT(l->count, MANY);
	CHECK(l->tick_at <= (size_t)2 * AT_ONCE);
	CHECK(l->io_at <= (size_t)2 * AT_ONCE);
	(void)close(ends[0]);
	(void)close(ends[1]);
	teardown(l);
}
