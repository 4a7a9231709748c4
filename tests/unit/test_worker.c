/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/worker.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURN_US   1000000
#define TURNS_MAX 1000
#define PIECES    100

struct piece {
	struct work work;
	unsigned number;
	pthread_t ran_in;
	bool blocked; /* SIGTERM in the thread */
	bool ran, done, dropped;
	atomic_bool *hold; /* waits until this is false, or the worker ends */
};

static unsigned order[PIECES], finished;

static void run_piece(struct work *w, struct worker *worker)
{
	struct piece *p = (struct piece *)w;
	sigset_t set;

	while (p->hold != NULL && atomic_load(p->hold) && !worker_is_ending(worker))
		(void)usleep(1000);
	p->ran = true;
	p->ran_in = pthread_self();
	(void)pthread_sigmask(SIG_SETMASK, NULL, &set);
	p->blocked = sigismember(&set, SIGTERM) == 1;
}

static void piece_done(struct work *w, bool dropped)
{
	struct piece *p = (struct piece *)w;

	p->done = true;
	p->dropped = dropped;
	if (finished < PIECES)
		order[finished] = p->number;
	finished++;
}

static struct piece piece(unsigned number)
{
	return (struct piece){.work = {.run = run_piece, .done = piece_done}, .number = number};
}

static sd_event *loop(void)
{
	sd_event *event = NULL;

	CHECK(sd_event_new(&event) >= 0);
	finished = 0;
	return event;
}

static struct worker *worker_on(sd_event *event)
{
	struct worker *w = NULL;
	struct err err = {{0}};

	CHECK_OK(worker_new(event, "test", &w, &err), &err);
	return w;
}

static void turn_until(sd_event *event, unsigned count)
{
	for (unsigned i = 0; finished < count; i++) {
		CHECK(i < TURNS_MAX);
		CHECK(sd_event_run(event, TURN_US) >= 0);
	}
}

TEST(pieces_come_back_through_the_loop_in_order)
{
	sd_event *event = loop();
	struct worker *w = worker_on(event);
	struct piece pieces[PIECES];

	for (unsigned i = 0; i < PIECES; i++) {
		pieces[i] = piece(i);
		CHECK_INT(worker_put(w, &pieces[i].work), 0);
	}
	CHECK_UINT(worker_load(w), PIECES);
	turn_until(event, PIECES);
	for (unsigned i = 0; i < PIECES; i++) {
		CHECK_UINT(order[i], i);
		CHECK(pieces[i].ran && pieces[i].done && !pieces[i].dropped);
		/* Not in the loop's thread, and signals are the loop's. */
		CHECK(!pthread_equal(pieces[i].ran_in, pthread_self()));
		CHECK(pieces[i].blocked);
	}
	CHECK_UINT(worker_load(w), 0);
	worker_free(w);
	sd_event_unref(event);
}

TEST(pieces_that_take_less_come_first)
{
	static const int64_t after[] = {7, 9, 3, 7, 12, 1, 9};
	static const unsigned expected[] = {5, 2, 0, 3, 1, 6, 4};
	sd_event *event = loop();
	struct worker *w = worker_on(event);
	struct piece pieces[7];

	for (unsigned i = 0; i < 7; i++) {
		pieces[i] = piece(i);
		pieces[i].work.after = after[i];
		CHECK_INT(worker_put(w, &pieces[i].work), 0);
	}
	worker_run_here(w, TURN_US);
	CHECK_UINT(finished, 7);
	for (unsigned i = 0; i < 7; i++)
		CHECK_UINT(order[i], expected[i]);
	worker_free(w);
	(void)sd_event_unref(event);
}

TEST(there_is_no_thread_before_the_loop_turns)
{
	sd_event *event = loop();
	struct worker *w = worker_on(event);
	struct piece here = piece(1), later = piece(2);

	CHECK_INT(worker_put(w, &here.work), 0);
	(void)usleep(20000);
	CHECK(!here.ran);
	/* What a start cannot wait for a thread for is done by the caller. */
	worker_run_here(w, 1000);
	CHECK(here.done && pthread_equal(here.ran_in, pthread_self()));
	CHECK_INT(worker_put(w, &later.work), 0);
	turn_until(event, 2);
	CHECK(!pthread_equal(later.ran_in, pthread_self()));
	worker_run_here(w, 1000);
	worker_free(w);
	sd_event_unref(event);
}

TEST(a_worker_that_goes_gives_everything_back)
{
	sd_event *event = loop();
	struct worker *w = worker_on(event);
	struct piece first = piece(1), second = piece(2);
	atomic_bool hold = true;

	first.hold = &hold;
	CHECK_INT(worker_put(w, &first.work), 0);
	CHECK_INT(worker_put(w, &second.work), 0);
	CHECK(sd_event_run(event, 0) >= 0);
	worker_free(w);
	CHECK(first.done && first.dropped);
	CHECK(second.done && second.dropped && !second.ran);
	sd_event_unref(event);
}

OOM_TEST(a_worker_without_memory_is_refused)
{
	sd_event *event = loop();
	struct worker *w = NULL;
	struct err err = {{0}};
	int r = worker_new(event, "test", &w, &err);

	if (r >= 0)
		worker_free(w);
	sd_event_unref(event);
	return r;
}

static unsigned late;

static void piece_late(struct work *w)
{
	CHECK(!((struct piece *)w)->done);
	late++;
}

TEST(a_piece_that_is_late_is_left_behind)
{
	sd_event *event = loop();
	struct worker *w = worker_on(event);
	atomic_bool hold = true;
	struct piece slow = piece(1), next = piece(2), after = piece(3);

	late = 0;
	slow.hold = &hold;
	slow.work.limit_ms = 1;
	slow.work.late = piece_late;
	CHECK_INT(worker_put(w, &slow.work), 0);
	CHECK_INT(worker_put(w, &next.work), 0);
	for (unsigned i = 0; finished < 1; i++) {
		CHECK(i < TURNS_MAX);
		(void)sd_event_run(event, 10000);
		worker_watch(w);
	}
	CHECK(next.done && !slow.done);
	CHECK_UINT(late, 1);
	/* When it ends all the same it comes back like any other. */
	atomic_store(&hold, false);
	turn_until(event, 2);
	CHECK(slow.done && !slow.dropped);
	CHECK_INT(worker_put(w, &after.work), 0);
	turn_until(event, 3);
	CHECK(!pthread_equal(after.ran_in, slow.ran_in));
	worker_watch(w);
	CHECK_UINT(late, 1);
	CHECK_UINT(worker_load(w), 0);
	worker_free(w);
	sd_event_unref(event);
}

TEST(so_many_are_left_behind_and_no_more)
{
	sd_event *event = loop();
	struct worker *w = worker_on(event);
	atomic_bool hold = true;
	struct piece slow[WORKER_LATE_MAX + 1];

	late = 0;
	for (unsigned i = 0; i <= WORKER_LATE_MAX; i++) {
		slow[i] = piece(i);
		slow[i].hold = &hold;
		slow[i].work.limit_ms = 1;
		slow[i].work.late = piece_late;
		CHECK_INT(worker_put(w, &slow[i].work), 0);
	}
	for (unsigned i = 0; i < 3 * WORKER_LATE_MAX || late < WORKER_LATE_MAX; i++) {
		CHECK(i < TURNS_MAX);
		(void)sd_event_run(event, 10000);
		worker_watch(w);
	}
	CHECK_UINT(late, WORKER_LATE_MAX);
	atomic_store(&hold, false);
	turn_until(event, WORKER_LATE_MAX + 1);
	worker_free(w);
	sd_event_unref(event);
}
