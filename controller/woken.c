/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/woken.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

struct woken {
	const struct woken_ops *ops;
	void *user;
	size_t at_once;
	sd_event_source *slice;
	struct waiter *first, **last; /* by slot_next */
	bool sort;
};

static struct waiter *pop(struct woken *q)
{
	struct waiter *w = q->first;

	q->first = w->slot_next;
	if (q->first == NULL)
		q->last = &q->first;
	*w = (struct waiter){0};
	return w;
}

/* Who came first stays first among those that are urgent, and among the others. */
static void put_in_order(struct woken *q)
{
	struct waiter *urgent = NULL, **urgent_last = &urgent;
	struct waiter *other = NULL, **other_last = &other;

	for (struct waiter *w = q->first, *next; w != NULL; w = next) {
		struct waiter ***last = q->ops->urgent(q->user, w) ? &urgent_last : &other_last;

		next = w->slot_next;
		w->slot_next = NULL;
		**last = w;
		*last = &w->slot_next;
	}
	*urgent_last = other;
	q->first = urgent;
	q->last = other != NULL ? other_last : urgent != NULL ? urgent_last : &q->first;
	q->sort = false;
}

static int on_slice(sd_event_source *source, uint64_t usec, void *user)
{
	struct woken *q = user;

	(void)source;
	(void)usec;
	if (q->sort)
		put_in_order(q);
	for (size_t i = 0; i < q->at_once && q->first != NULL; i++)
		q->ops->resume(q->user, pop(q));
	q->ops->ran(q->user);
	if (q->first != NULL)
		woken_soon(q);
	return 0;
}

/*
 * A timer and no deferred source: sd-event serves sources of one priority in the order in which
 * they became pending, and a deferred one is pending from its beginning. While thousands are
 * answered, nothing else of the loop would have a turn: no tick, no watchdog, no health, no signal.
 */
int woken_new(sd_event *loop, const struct woken_ops *ops, void *user, size_t at_once,
	      struct woken **ret)
{
	struct woken *q = mem_calloc(1, sizeof(*q));
	int r;

	if (q == NULL)
		return -ENOMEM;
	q->ops = ops;
	q->user = user;
	q->at_once = at_once;
	q->last = &q->first;
	r = sd_event_add_time_relative(loop, &q->slice, CLOCK_MONOTONIC, 0, 1, on_slice, q);
	if (r >= 0)
		r = sd_event_source_set_enabled(q->slice, SD_EVENT_OFF);
	if (r < 0) {
		woken_free(q);
		return r;
	}
	*ret = q;
	return 0;
}

void woken_free(struct woken *q)
{
	if (q == NULL)
		return;
	sd_event_source_disable_unref(q->slice);
	free(q);
}

void woken_add(struct woken *q, struct waiter *w)
{
	w->slot_next = NULL;
	*q->last = w;
	q->last = &w->slot_next;
	woken_soon(q);
}

void woken_sort(struct woken *q)
{
	q->sort = true;
}

void woken_soon(struct woken *q)
{
	(void)sd_event_source_set_time_relative(q->slice, 0);
	(void)sd_event_source_set_enabled(q->slice, SD_EVENT_ONESHOT);
}

void woken_drain(struct woken *q)
{
	while (q->first != NULL)
		q->ops->resume(q->user, pop(q));
}
