/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/worker.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define STACK_BYTES (256U << 10)
#define JOIN_WAIT_S 2
#define THREAD_NAME 16 /* prctl(2) PR_SET_NAME, with the NUL */

struct queue_of_work {
	struct work *first, **last;
	int64_t after; /* the greatest of what is in it, or was since it was empty */
};

/* A thread, and what it does; under the worker's mutex. */
struct lane {
	struct worker *worker;
	pthread_t thread;
	struct work *at;
	struct mono since;
	bool left; /* behind: it ends when its piece does */
};

struct worker {
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	struct lane *lane;                   /* NULL: there is none */
	size_t late;                         /* lanes that were left behind; under the mutex */
	struct queue_of_work todo, finished; /* under the mutex */
	size_t load;                         /* the loop's */
	int event_fd;
	sd_event_source *source, *begin;
	atomic_bool ending;
	bool looping; /* the loop has begun: there may be a thread */
	char name[THREAD_NAME];
};

static void queue_init(struct queue_of_work *q)
{
	q->first = NULL;
	q->last = &q->first;
}

static void queue_add(struct queue_of_work *q, struct work *w)
{
	w->next = NULL;
	*q->last = w;
	q->last = &w->next;
}

static void queue_insert(struct queue_of_work *q, struct work *w)
{
	struct work **at = &q->first;

	if (!q->first || w->after >= q->after) {
		q->after = w->after;
		queue_add(q, w);
		return;
	}
	while (*at && (*at)->after <= w->after)
		at = &(*at)->next;
	if (!*at) {
		queue_add(q, w);
		return;
	}
	w->next = *at;
	*at = w;
}

static struct work *queue_take(struct queue_of_work *q)
{
	struct work *w = q->first;

	if (!w)
		return NULL;
	q->first = w->next;
	if (!q->first)
		q->last = &q->first;
	return w;
}

bool worker_is_ending(const struct worker *w)
{
	return atomic_load(&w->ending);
}

size_t worker_load(const struct worker *w)
{
	return w->load;
}

/* --- the thread ------------------------------------------------------------------------------ */

static void tell(const struct worker *w)
{
	const uint64_t one = 1;

	/* A full counter has woken the loop already. */
	if (write(w->event_fd, &one, sizeof(one)) < 0)
		return;
}

static void run_piece(struct lane *lane, struct work *work)
{
	struct worker *w = lane->worker;

	lane->at = work;
	lane->since = mono_now();
	(void)pthread_mutex_unlock(&w->mutex);
	work->run(work, w);
	(void)pthread_mutex_lock(&w->mutex);
	lane->at = NULL;
	queue_add(&w->finished, work);
	tell(w);
}

static void *run_thread(void *user)
{
	struct lane *lane = user;
	struct worker *w = lane->worker;
	struct work *work;

	(void)pthread_setname_np(pthread_self(), w->name);
	(void)pthread_mutex_lock(&w->mutex);
	while (!worker_is_ending(w) && !lane->left) {
		work = queue_take(&w->todo);
		if (work)
			run_piece(lane, work);
		else
			(void)pthread_cond_wait(&w->wake, &w->mutex);
	}
	if (lane->left) {
		w->late--;
		free(lane);
	}
	(void)pthread_mutex_unlock(&w->mutex);
	return NULL;
}

static int start_thread(struct worker *w)
{
	sigset_t all, before;
	pthread_attr_t attr;
	struct lane *lane;
	int r;

	if (w->lane || !w->looping)
		return 0;
	lane = mem_calloc(1, sizeof(*lane));
	if (!lane)
		return -ENOMEM;
	lane->worker = w;
	r = pthread_attr_init(&attr);
	if (r != 0) {
		free(lane);
		return -r;
	}
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&lane->thread, &attr, run_thread, lane);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&attr);
	if (r == 0)
		w->lane = lane;
	else
		free(lane);
	return -r;
}

static struct work *take_late(struct worker *w)
{
	struct lane *lane = w->lane;

	if (!lane || !lane->at || lane->at->limit_ms == 0 || w->late >= WORKER_LATE_MAX ||
	    mono_ms_since(lane->since, mono_now()) <= lane->at->limit_ms)
		return NULL;
	lane->left = true;
	(void)pthread_detach(lane->thread);
	w->late++;
	w->lane = NULL;
	return lane->at;
}

void worker_watch(struct worker *w)
{
	struct work *late;

	(void)pthread_mutex_lock(&w->mutex);
	late = take_late(w);
	(void)pthread_mutex_unlock(&w->mutex);
	/* It comes back through the loop at the earliest, so it is whole here. */
	if (late && late->late)
		late->late(late);
	/* Without a thread the work waits for the next look. */
	if (w->load > 0)
		(void)start_thread(w);
}

/* --- the loop -------------------------------------------------------------------------------- */

static int on_finished(sd_event_source *s, int fd, uint32_t revents, void *user)
{
	struct worker *w = user;
	struct work *list, *next;
	uint64_t count;

	(void)s;
	(void)revents;
	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return -errno;
	(void)pthread_mutex_lock(&w->mutex);
	list = w->finished.first;
	queue_init(&w->finished);
	(void)pthread_mutex_unlock(&w->mutex);
	for (; list; list = next) {
		next = list->next;
		w->load--;
		list->done(list, false);
	}
	return 0;
}

static int on_loop_began(sd_event_source *s, void *user)
{
	struct worker *w = user;

	(void)s;
	w->looping = true;
	/* Without a thread the work waits for the next piece, which tries again. */
	if (w->todo.first)
		(void)start_thread(w);
	return 0;
}

int worker_new(sd_event *event, const char *name, struct worker **ret, struct err *err)
{
	struct worker *w = mem_calloc(1, sizeof(*w));
	int r;

	if (!w)
		return err_set(err, ENOMEM, "%s: out of memory", name);
	(void)pthread_mutex_init(&w->mutex, NULL);
	(void)pthread_cond_init(&w->wake, NULL);
	queue_init(&w->todo);
	queue_init(&w->finished);
	memcpy(w->name, name, strnlen(name, THREAD_NAME - 1));
	w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = w->event_fd < 0
		    ? -errno
		    : sd_event_add_io(event, &w->source, w->event_fd, EPOLLIN, on_finished, w);
	if (r >= 0)
		r = sd_event_add_defer(event, &w->begin, on_loop_began, w);
	if (r < 0) {
		worker_free(w);
		return err_set(err, -r, "%s: %s", name, strerror(-r));
	}
	*ret = w;
	return 0;
}

int worker_put(struct worker *w, struct work *work)
{
	int r = start_thread(w);

	if (r < 0)
		return r;
	w->load++;
	(void)pthread_mutex_lock(&w->mutex);
	queue_insert(&w->todo, work);
	(void)pthread_cond_signal(&w->wake);
	(void)pthread_mutex_unlock(&w->mutex);
	return 0;
}

void worker_run_here(struct worker *w, int64_t ms)
{
	struct mono begin = mono_now();
	struct work *work;

	while (!w->looping && mono_ms_since(begin, mono_now()) < ms &&
	       (work = queue_take(&w->todo)) != NULL) {
		work->run(work, w);
		w->load--;
		work->done(work, false);
	}
}

static void drop_all(struct queue_of_work *q)
{
	struct work *work;

	while ((work = queue_take(q)) != NULL)
		work->done(work, true);
}

void worker_free(struct worker *w)
{
	struct timespec until;
	bool stuck;

	if (!w)
		return;
	sd_event_source_disable_unref(w->source);
	sd_event_source_disable_unref(w->begin);
	(void)pthread_mutex_lock(&w->mutex);
	atomic_store(&w->ending, true);
	(void)pthread_cond_signal(&w->wake);
	stuck = w->late > 0;
	(void)pthread_mutex_unlock(&w->mutex);
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += JOIN_WAIT_S;
	/* Stuck in a file system that does not answer: its memory is left to the end of the
	 * process. */
	if (w->lane && pthread_clockjoin_np(w->lane->thread, NULL, CLOCK_MONOTONIC, &until) != 0)
		return;
	free(TAKE_PTR(w->lane));
	if (stuck)
		return;
	drop_all(&w->todo);
	drop_all(&w->finished);
	(void)pthread_cond_destroy(&w->wake);
	(void)pthread_mutex_destroy(&w->mutex);
	if (w->event_fd >= 0)
		(void)close(w->event_fd);
	free(w);
}
