/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A thread that does one piece of work after the other, in an order the pieces tell, for what takes
 * longer than a packet may wait (agent/evidence.c). Work is handed over with a mutex and comes back
 * through the event loop; a piece belongs to whoever has it, so nothing in it needs a lock.
 *
 * A piece that takes longer than it may is left behind with its thread, and another thread goes on
 * with the rest: a file system that does not answer holds up nothing but what lies on it.
 *
 * There is no thread before the event loop turns: by then the process has given up its privileges
 * and put its system call filter on, and a thread inherits both from the one that starts it, while
 * one that is older would go on without (seccomp(2), capabilities(7)). It takes no signals.
 */
#pragma once

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct worker;

struct work {
	void (*run)(struct work *w, struct worker *worker); /* in the thread */
	/* In the loop, once; `dropped`: the worker is going, nobody wants the result. */
	void (*done)(struct work *w, bool dropped);
	/* In the loop, once, when it has taken longer than limit_ms (0: any time); done() follows
	 * if it ever ends. */
	void (*late)(struct work *w);
	int64_t limit_ms;
	int64_t after; /* pieces with less of it come first, equal ones in their order */
	struct work *next;
};

int worker_new(sd_event *event, const char *name, struct worker **ret, struct err *err);
/* Waits for the piece at hand, which should look at worker_is_ending(); calls done() for all. */
void worker_free(struct worker *w);

/* 0, or -errno when there is no thread: then the work stays the caller's. */
int worker_put(struct worker *w, struct work *work);
bool worker_is_ending(const struct worker *w);
/* Looks whether the piece at hand is late; to be called about once a second. */
#define WORKER_LATE_MAX 8 /* threads that are left behind; with more of them everything waits */
void worker_watch(struct worker *w);
/* Pieces that are not done. */
size_t worker_load(const struct worker *w);
/* Before the loop runs, while there is no thread yet: does here what waits, for so long. */
void worker_run_here(struct worker *w, int64_t ms);
