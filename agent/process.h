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
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCESS_SCAN_MAX                                                                           \
	4096 /* processes looked at in one cgroup subtree; more satisfy nothing                    \
	      */

/* What the bytes of an executable are (agent/evidence.h). */
#define PROCESS_DIGEST_LEN 32
struct process_digest {
	bool has_fsverity, deleted;
	uint8_t sha256[PROCESS_DIGEST_LEN], fsverity[PROCESS_DIGEST_LEN];
};
/* False: not known, or not yet; then it is found out, and somebody asks again. */
typedef bool (*process_digest_fn)(void *user, pid_t pid, struct process_digest *ret);

struct process_condition {
	const char *exe;                  /* absolute path; NULL = any */
	const uint8_t *sha256, *fsverity; /* of the executable; NULL = any */
	process_digest_fn digest;         /* NULL: none is known */
	void *digest_user;
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

/*
 * Every process of the cgroup behind a descriptor and of those below it, at most PROCESS_SCAN_MAX;
 * cgroup_fd of the callback is the one that lists it. enter (may be NULL) is asked about each
 * cgroup below, by its id. 0 when all were seen; -E2BIG when there are more, or deeper ones; or
 * -errno of a cgroup that cannot be read (-ENOENT, -ENODEV: the topmost is gone).
 */
int process_each(int cgroup_fd, unsigned depth_max, bool (*enter)(void *user, uint64_t cgroup_id),
		 void (*process)(void *user, int cgroup_fd, pid_t pid), void *user);
/* Whether the cgroup itself lists the process now. */
bool process_is_in(int cgroup_fd, pid_t pid);

/*
 * "/proc/PID" of a process as a directory: it goes on meaning this process when the number is
 * another's. Where the first thread has ended, which leaves neither executable nor descriptors
 * there, it is "/proc/PID/task/TID" of one that lives (proc(5)). -ENOENT, -ESRCH: none lives, or a
 * kernel thread; other errors say nothing about the process.
 */
int proc_open(pid_t pid);
/* Whether the thread behind such a directory has ended meanwhile. */
bool proc_has_ended(int proc_fd);

/* The four user ids in the text of /proc/PID/status; false when they are not there. */
bool process_status_uids(const char *status, uint32_t ret_uids[4]);
/* The four group ids in the text of /proc/PID/status; false when they are not there. */
bool process_status_gids(const char *status, uint32_t ret_gids[4]);
