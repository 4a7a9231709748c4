/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Polls that are to be answered, in slices of the event loop. After a change of policy these are
 * thousands, and each answer is a signature: in one go nobody else would be heard for seconds.
 * Those that an operator's order concerns (a quarantine) need not wait for the others' turn.
 */
#pragma once

#include "controller/polls.h"

#include <systemd/sd-event.h>

struct woken_ops {
	void (*resume)(void *user, struct waiter *w); /* w is out of the queue */
	bool (*urgent)(void *user, const struct waiter *w);
	void (*ran)(void *user); /* after each slice */
};

struct woken; /* opaque */

/* Borrows loop and ops. -ENOMEM, or what sd-event says. */
int woken_new(sd_event *loop, const struct woken_ops *ops, void *user, size_t at_once,
	      struct woken **ret);
void woken_free(struct woken *q); /* NULL is fine; nobody may wait */

/* Uses slot_next of w, which must stay where it is until it is resumed. */
void woken_add(struct woken *q, struct waiter *w);
/* Somebody has become urgent: from the next slice on they come first. */
void woken_sort(struct woken *q);
/* A slice soon, also when nobody waits. */
void woken_soon(struct woken *q);
/* Everybody, now. */
void woken_drain(struct woken *q);
