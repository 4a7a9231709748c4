/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who holds a socket, and what it runs: by the descriptors of processes (facts/identity: holder
 * check). The socket's cgroup is that of the process which made it; a descriptor that was passed
 * on, or a process that was moved, is found as "nobody in this cgroup holds it".
 *
 * Milliseconds, proportional to the descriptors in the cgroup: run by a worker, never on the loop.
 * A process of the cgroup that shares its socket with one outside is that process's doing and goes
 * unseen: an approved executable is trusted with what it does. Unseen, too, is who has it in an
 * io_uring, on its way through a Unix socket, or in a thread with descriptors of its own.
 */
#pragma once

#include "agent/exe_file.h"
#include "agent/worker.h"

#define HOLDER_EXES_MAX  8       /* different executables that hold one socket; more are too many */
#define HOLDER_LINKS_MAX 1048576 /* descriptors that are looked at for one socket */
#define HOLDER_DEPTH_MAX 16

enum holder_found {
	HOLDER_INSIDE,  /* `exes` are what holders in the cgroup run */
	HOLDER_OUTSIDE, /* only `outsider`, a process of another cgroup */
	HOLDER_NOBODY,
	HOLDER_TOO_MANY, /* to tell */
	HOLDER_FAILED,
};

struct holder_exe {
	int fd; /* O_PATH */
	struct exe_key key;
	bool deleted;
	pid_t pid; /* one of those that run it */
};

struct holder_search {
	int cgroup_fd;
	uint32_t inode;
	bool outside; /* look for a holder everywhere else, if there is none in the cgroup */
	/* result */
	enum holder_found found;
	struct holder_exe exes[HOLDER_EXES_MAX];
	size_t exe_count;
	pid_t outsider;
	/* scratch */
	uint32_t links;
	bool vanished;
	bool (*ending)(const void *user);
	const void *user;
};

void holder_search_run(struct holder_search *s);
/* Closes what it holds; the cgroup's descriptor too. */
void holder_search_done(struct holder_search *s);
