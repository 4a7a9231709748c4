/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/holder.h"

#include "agent/process.h"
#include "base/mem.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOCKET_LINK_MAX 32 /* "socket:[4294967295]" */
#define LOOKS_MAX       3

/* --- one process ----------------------------------------------------------------------------- */

/* 1 = holds it, 0 = not, -errno = gone or not to be looked at. */
static int process_holds(struct holder_search *s, int proc_fd)
{
	char wanted[SOCKET_LINK_MAX], link[SOCKET_LINK_MAX];
	int fd = openat(proc_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	const struct dirent *e;
	DIR *dir;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		(void)close(fd);
		return -ENOMEM;
	}
	(void)snprintf(wanted, sizeof(wanted), "socket:[%u]", s->inode);
	while (r == 0 && s->links < HOLDER_LINKS_MAX && (e = readdir(dir)) != NULL) {
		ssize_t n;

		if (e->d_name[0] == '.')
			continue;
		s->links++;
		n = readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);
		if (n <= 0)
			continue;
		link[n] = '\0';
		r = str_eq(link, wanted);
	}
	(void)closedir(dir);
	return r;
}

static void add_exe(struct holder_search *s, int *take_exe, const struct exe_key *key, bool deleted,
		    pid_t pid)
{
	for (size_t i = 0; i < s->exe_count; i++) {
		if (!exe_key_eq(&s->exes[i].key, key))
			continue;
		s->exes[i].deleted = s->exes[i].deleted || deleted;
		return;
	}
	if (s->exe_count == HOLDER_EXES_MAX) {
		s->found = HOLDER_TOO_MANY;
		return;
	}
	s->exes[s->exe_count++] = (struct holder_exe){
		.fd = take_fd(take_exe), .key = *key, .deleted = deleted, .pid = pid};
}

/*
 * The number was a process of this cgroup when the list was read, and is one after everything about
 * it was read: numbers are used again, directories of /proc are not.
 */
static bool is_still_in(int cgroup_fd, int proc_fd, pid_t pid)
{
	char link[2];

	return process_is_in(cgroup_fd, pid) && readlinkat(proc_fd, "exe", link, sizeof(link)) >= 0;
}

static bool is_gone(int r)
{
	return r == -ENOENT || r == -ESRCH;
}

static void look_inside(void *user, int cgroup_fd, pid_t pid)
{
	struct holder_search *s = user;
	CLEANUP(closep) int proc_fd = proc_open(pid);
	CLEANUP(closep) int exe_fd = -1;
	struct exe_key key;
	bool deleted;
	int holds = proc_fd < 0 ? proc_fd : process_holds(s, proc_fd);

	/* Whom nobody may look at might hold it, and might run anything. */
	if (holds < 0 && !is_gone(holds))
		s->found = HOLDER_FAILED;
	if (holds <= 0)
		return;
	exe_fd = exe_open(proc_fd, &key, &deleted);
	if (exe_fd < 0 || !is_still_in(cgroup_fd, proc_fd, pid)) {
		s->vanished = true;
		return;
	}
	if (s->found == HOLDER_NOBODY)
		s->found = HOLDER_INSIDE;
	add_exe(s, &exe_fd, &key, deleted, pid);
}

/* --- everybody else -------------------------------------------------------------------------- */

/* Only to tell people what happened; whoever it is, the answer is no. */
static void look_outside(struct holder_search *s)
{
	const struct dirent *e;
	DIR *dir = opendir("/proc");

	while (dir && s->found == HOLDER_NOBODY && !s->ending(s->user) &&
	       s->links < HOLDER_LINKS_MAX && (e = readdir(dir)) != NULL) {
		CLEANUP(closep) int proc_fd = -1;
		uint32_t pid;

		if (text_u32(e->d_name, 1, INT32_MAX, &pid) < 0)
			continue;
		proc_fd = proc_open((pid_t)pid);
		if (proc_fd < 0 || process_holds(s, proc_fd) <= 0)
			continue;
		s->found = HOLDER_OUTSIDE;
		s->outsider = (pid_t)pid;
	}
	if (dir)
		(void)closedir(dir);
}

void holder_search_run(struct holder_search *s)
{
	int r;

	s->found = HOLDER_NOBODY;
	/* One that had it, and could not be seen through: it has ended, or is another thread. */
	s->vanished = true;
	r = 0;
	for (unsigned i = 0; i < LOOKS_MAX && s->vanished && r == 0; i++) {
		s->vanished = false;
		r = process_each(s->cgroup_fd, HOLDER_DEPTH_MAX, NULL, look_inside, s);
	}
	if (r == -E2BIG || s->links >= HOLDER_LINKS_MAX)
		s->found = HOLDER_TOO_MANY;
	else if (r < 0 || s->vanished)
		s->found = HOLDER_FAILED;
	if (s->found == HOLDER_NOBODY && s->outside)
		look_outside(s);
}

void holder_search_done(struct holder_search *s)
{
	for (size_t i = 0; i < s->exe_count; i++)
		closep(&s->exes[i].fd);
	s->exe_count = 0;
	closep(&s->cgroup_fd);
	s->cgroup_fd = -1;
}
