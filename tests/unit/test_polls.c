/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/polls.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct done {
	struct waiter *list[64];
	size_t count;
};

static void on_done(void *user, struct waiter *w)
{
	struct done *d = user;

	CHECK(w->node == NULL);
	CHECK(d->count < ARRAY_LEN(d->list));
	d->list[d->count++] = w;
}

TEST(only_the_node_that_changed_is_woken)
{
	struct done done = {.count = 0};
	struct polls *p = polls_new(on_done, &done);
	struct waiter pay = {0}, api = {0}, second = {0};

	CHECK_INT(polls_park(p, &pay, "pay-1", 55), 0);
	CHECK_INT(polls_park(p, &api, "api-1", 55), 0);
	CHECK_INT(polls_park(p, &second, "pay-1", 55), 0);
	CHECK_UINT(polls_count(p), 3);
	CHECK_UINT(polls_wake(p, "pay-1"), 2);
	CHECK_UINT(done.count, 2);
	CHECK(done.list[0] != &api && done.list[1] != &api);
	CHECK_UINT(polls_wake(p, "pay-1"), 0);
	CHECK_UINT(polls_wake(p, "nobody"), 0);
	polls_remove(p, &api);
	CHECK_UINT(polls_count(p), 0);
	polls_remove(p, &api);
	polls_free(p);
}

TEST(a_wait_ends_after_its_seconds_and_not_before)
{
	struct done done = {.count = 0};
	struct polls *p = polls_new(on_done, &done);
	struct waiter one = {0}, longest = {0};

	for (int i = 0; i < 100; i++)
		polls_tick(p);
	CHECK_INT(polls_park(p, &one, "a", 3), 0);
	CHECK_INT(polls_park(p, &longest, "b", POLL_SLOTS - 1), 0);
	polls_tick(p);
	polls_tick(p);
	CHECK_UINT(done.count, 0);
	polls_tick(p);
	CHECK_UINT(done.count, 1);
	CHECK(done.list[0] == &one);
	for (int i = 3; i < POLL_SLOTS - 2; i++)
		polls_tick(p);
	CHECK_UINT(done.count, 1);
	polls_tick(p);
	CHECK_UINT(done.count, 2);
	polls_free(p);
}

TEST(the_oldest_poll_of_a_node_gives_way)
{
	struct done done = {.count = 0};
	struct polls *p = polls_new(on_done, &done);
	struct waiter w[POLLS_PER_NODE_MAX + 2] = {{0}};

	for (size_t i = 0; i < ARRAY_LEN(w); i++)
		CHECK_INT(polls_park(p, &w[i], "a", 55), 0);
	CHECK_UINT(polls_count(p), POLLS_PER_NODE_MAX);
	CHECK_UINT(done.count, 2);
	CHECK(done.list[0] == &w[0] && done.list[1] == &w[1]);
	polls_wake_all(p);
	CHECK_UINT(polls_count(p), 0);
	polls_free(p);
}

TEST(a_poll_that_went_away_leaves_the_others_in_their_lists)
{
	struct done done = {.count = 0};
	struct polls *p = polls_new(on_done, &done);
	struct waiter w[3] = {{0}};

	for (size_t i = 0; i < ARRAY_LEN(w); i++)
		CHECK_INT(polls_park(p, &w[i], "a", 5), 0);
	polls_remove(p, &w[1]);
	CHECK_UINT(polls_wake(p, "a"), 2);
	CHECK_UINT(done.count, 2);
	for (int i = 0; i < POLL_SLOTS; i++)
		polls_tick(p);
	CHECK_UINT(done.count, 2);
	polls_free(p);
}

TEST(a_name_that_is_too_long_is_not_parked)
{
	struct done done = {.count = 0};
	struct polls *p = polls_new(on_done, &done);
	struct waiter w = {0};
	char name[NODE_NAME_MAX + 8];

	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	CHECK_INT(polls_park(p, &w, name, 5), -EINVAL);
	CHECK_UINT(polls_count(p), 0);
	polls_free(p);
}

OOM_TEST(parking_without_memory_is_refused)
{
	struct done done = {.count = 0};
	struct polls *p = polls_new(on_done, &done);
	struct waiter w = {0};
	int r;

	if (p == NULL)
		return -ENOMEM;
	r = polls_park(p, &w, "pay-1", 5);
	polls_remove(p, &w);
	polls_free(p);
	return r;
}
