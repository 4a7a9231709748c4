/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the processes of a cgroup are: executable and group, from cgroup.procs and /proc/PID. These
 * are no keys of the kernel's, so an answer holds for the moment at which it was read; the caller
 * reads again. Slow (about 10 us per process): never on a path that a packet waits for, except for
 * the one cgroup that a question is about.
 *
 * An executable is the file that its path names on this host, compared by device and inode: a
 * process that sees another file under this path (a container) does not satisfy it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PROCESS_SCAN_MAX                                                                           \
	4096 /* processes looked at in one cgroup subtree; more satisfy nothing                    \
	      */

struct process_condition {
	const char *exe;     /* absolute path; NULL = any */
	bool deleted_exe_ok; /* a file that was replaced since the process started still counts */
	bool has_gid;
	uint32_t gid; /* real, effective, saved and file system group are all this one */
};

enum process_answer {
	PROCESSES_NONE,    /* no process in it */
	PROCESSES_SATISFY, /* all of them do */
	PROCESSES_DIFFER,  /* at least one does not, or could not be read */
};

/* All processes of the cgroup at `path` below cgroup_fd and of the cgroups below it. */
enum process_answer process_check(int cgroup_fd, const char *path,
				  const struct process_condition *condition);

/* Whether the cgroup itself (not those below) has processes. */
bool process_any(int cgroup_fd, const char *path);

/* The four group ids in the text of /proc/PID/status; false when they are not there. */
bool process_status_gids(const char *status, uint32_t ret_gids[4]);
