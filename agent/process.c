/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/process.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROCS_BYTES_MAX  (PROCESS_SCAN_MAX * 12UL)
#define STATUS_BYTES_MAX 65536
#define DELETED          " (deleted)"
#define THREAD_TRIES     4 /* of a process whose threads end while they are looked for */

struct scan {
	int cgroup_fd;
	const struct process_condition *condition;
	struct statx exe; /* the condition's file; stx_ino 0 = there is none now */
	struct statx root;
	unsigned seen;
	bool differs;
};

/* --- threads --------------------------------------------------------------------------------- */

bool proc_has_ended(int proc_fd)
{
	char link[2];

	/* Memory goes first when a thread ends, and with it this link. */
	return readlinkat(proc_fd, "exe", link, sizeof(link)) < 0 &&
	       (errno == ENOENT || errno == ESRCH);
}

static int open_at(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* A thread of the process that lives; -ESRCH if there is none. */
static int open_thread(int proc_fd)
{
	int tasks = open_at(proc_fd, "task"), r = -ESRCH;
	const struct dirent *e;
	DIR *dir;

	if (tasks < 0)
		return tasks;
	dir = fdopendir(tasks);
	if (dir == NULL) {
		(void)close(tasks);
		return -ENOMEM;
	}
	while (r == -ESRCH && (e = readdir(dir)) != NULL) {
		CLEANUP(closep) int fd = e->d_name[0] == '.' ? -ESRCH : open_at(tasks, e->d_name);

		if (fd >= 0 && !proc_has_ended(fd))
			r = take_fd(&fd);
	}
	(void)closedir(dir);
	return r;
}

int proc_open(pid_t pid)
{
	CLEANUP(closep) int fd = -1;
	char path[64];
	int r = -ESRCH;

	(void)snprintf(path, sizeof(path), "/proc/%ld", (long)pid);
	fd = open_at(AT_FDCWD, path);
	if (fd < 0 || !proc_has_ended(fd))
		return take_fd(&fd);
	/* Threads that come and go all the time are not nobody. */
	for (unsigned i = 0; i < THREAD_TRIES && r == -ESRCH; i++)
		r = open_thread(fd);
	return r;
}

/* --- one process ----------------------------------------------------------------------------- */

static bool status_ids(const char *status, const char *line, uint32_t ret_ids[4])
{
	const char *p = strstr(status, line);

	if (p == NULL)
		return false;
	p += strlen(line);
	for (size_t i = 0; i < 4; i++) {
		uint64_t value = 0;

		p += strspn(p, " \t");
		if (*p < '0' || *p > '9')
			return false;
		for (; *p >= '0' && *p <= '9' && value <= UINT32_MAX; p++)
			value = value * 10 + (uint64_t)(*p - '0');
		if (value > UINT32_MAX)
			return false;
		ret_ids[i] = (uint32_t)value;
	}
	return *p == '\n' || *p == '\0';
}

bool process_status_uids(const char *status, uint32_t ret_uids[4])
{
	return status_ids(status, "\nUid:", ret_uids);
}

bool process_status_gids(const char *status, uint32_t ret_gids[4])
{
	return status_ids(status, "\nGid:", ret_gids);
}

/* What the kernel knows: a process may run a file of a file system that does not answer. */
static bool look_up(int dir_fd, const char *name, struct statx *ret)
{
	return statx(dir_fd, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, ret) ==
	       0;
}

static bool is_same_file(const struct statx *a, const struct statx *b)
{
	return a->stx_dev_major == b->stx_dev_major && a->stx_dev_minor == b->stx_dev_minor &&
	       a->stx_ino == b->stx_ino;
}

/* The path still says which file it was; /usr/bin/x upgraded under a running x. */
static bool is_deleted_exe(const struct scan *s, int proc_fd, const struct statx *exe)
{
	char target[PATH_MAX];
	struct statx root;
	size_t len = strlen(s->condition->exe);
	ssize_t n;

	if (!s->condition->deleted_exe_ok || exe->stx_nlink != 0)
		return false;
	/* Under another root the same path is another file. */
	if (!look_up(proc_fd, "root", &root) || !is_same_file(&root, &s->root))
		return false;
	n = readlinkat(proc_fd, "exe", target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	return (size_t)n == len + strlen(DELETED) && strncmp(target, s->condition->exe, len) == 0 &&
	       str_eq(target + len, DELETED);
}

static bool exe_matches(const struct scan *s, int proc_fd)
{
	struct statx exe;

	if (!look_up(proc_fd, "exe", &exe))
		return false;
	if (s->exe.stx_ino != 0 && is_same_file(&exe, &s->exe))
		return true;
	return is_deleted_exe(s, proc_fd, &exe);
}

static bool digest_matches(const struct scan *s, pid_t pid)
{
	const struct process_condition *c = s->condition;
	struct process_digest d;

	if (c->sha256 == NULL && c->fsverity == NULL)
		return true;
	if (c->digest == NULL || !c->digest(c->digest_user, pid, &d) ||
	    (d.deleted && !c->deleted_exe_ok))
		return false;
	if (c->sha256 != NULL && memcmp(c->sha256, d.sha256, sizeof(d.sha256)) != 0)
		return false;
	return c->fsverity == NULL ||
	       (d.has_fsverity && memcmp(c->fsverity, d.fsverity, sizeof(d.fsverity)) == 0);
}

static bool gid_matches(const struct scan *s, int proc_fd)
{
	CLEANUP(freep) char *status = NULL;
	uint32_t gids[4];
	size_t len = 0;

	if (file_read(proc_fd, "status", STATUS_BYTES_MAX, &status, &len, NULL) < 0 ||
	    !process_status_gids(status, gids))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(gids); i++)
		if (gids[i] != s->condition->gid)
			return false;
	return true;
}

static bool satisfies(const struct scan *s, int proc_fd, pid_t pid)
{
	return (s->condition->exe == NULL || exe_matches(s, proc_fd)) &&
	       (!s->condition->has_gid || gid_matches(s, proc_fd)) && digest_matches(s, pid);
}

static void scan_process(struct scan *s, const char *text)
{
	uint32_t number;
	pid_t pid;

	/* "0" is a process of another pid namespace: it cannot be looked at. */
	if (text_u32(text, 1, INT32_MAX, &number) < 0 || ++s->seen > PROCESS_SCAN_MAX) {
		s->differs = true;
		return;
	}
	pid = (pid_t)number;
	for (unsigned i = 0; i < THREAD_TRIES; i++) {
		CLEANUP(closep) int fd = proc_open(pid);

		/* Gone since cgroup.procs was read, or dead and waiting for its parent: owns no
		 * socket. */
		if (fd == -ENOENT || fd == -ESRCH) {
			s->seen--;
			return;
		}
		if (fd >= 0 && satisfies(s, fd, pid))
			return;
		if (fd < 0 || !proc_has_ended(fd))
			break;
	}
	s->differs = true;
}

/* --- a cgroup -------------------------------------------------------------------------------- */

static int read_procs(int cgroup_fd, const char *path, char **ret_text)
{
	char name[PATH_MAX];
	size_t len = 0;
	int n = snprintf(name, sizeof(name), "%s%scgroup.procs", path, path[0] != '\0' ? "/" : "");

	if (n < 0 || (size_t)n >= sizeof(name))
		return -ENAMETOOLONG;
	return file_read(cgroup_fd, name, PROCS_BYTES_MAX, ret_text, &len, NULL);
}

static void scan_procs(struct scan *s, const char *path)
{
	CLEANUP(freep) char *text = NULL;
	int r = read_procs(s->cgroup_fd, path, &text);
	char *next;

	/* A threaded cgroup has no cgroup.procs of its own; the domain above lists its processes.
	 */
	if (r == -EOPNOTSUPP || r == -ENOENT || r == -ENODEV)
		return;
	if (r < 0) {
		s->differs = true;
		return;
	}
	for (char *pid = text; *pid != '\0' && !s->differs; pid = next) {
		next = pid + strcspn(pid, "\n");
		if (*next == '\n')
			*next++ = '\0';
		scan_process(s, pid);
	}
}

/* A cgroup may have a name that begins with a dot. */
static bool is_dots(const char *name)
{
	return str_eq(name, ".") || str_eq(name, "..");
}

static void scan_below(struct scan *s, const char *path, unsigned depth)
{
	const struct dirent *e;
	DIR *dir;
	int fd = openat(s->cgroup_fd, path[0] == '\0' ? "." : path,
			O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	dir = fdopendir(fd);
	if (dir == NULL) {
		(void)close(fd);
		s->differs = true;
		return;
	}
	while (!s->differs && (e = readdir(dir)) != NULL) {
		char child[PATH_MAX];
		int n;

		if (e->d_type != DT_DIR || is_dots(e->d_name))
			continue;
		n = snprintf(child, sizeof(child), "%s%s%s", path, path[0] != '\0' ? "/" : "",
			     e->d_name);
		if (n < 0 || (size_t)n >= sizeof(child) || depth >= CGROUP_LEVEL_MAX) {
			s->differs = true;
			break;
		}
		scan_procs(s, child);
		scan_below(s, child, depth + 1);
	}
	(void)closedir(dir);
}

enum process_answer process_check(int cgroup_fd, const char *path,
				  const struct process_condition *condition)
{
	struct scan s = {.cgroup_fd = cgroup_fd, .condition = condition};

	if (condition->exe != NULL && !look_up(AT_FDCWD, condition->exe, &s.exe))
		s.exe.stx_ino = 0;
	if (!look_up(AT_FDCWD, "/", &s.root))
		return PROCESSES_DIFFER;
	scan_procs(&s, path);
	scan_below(&s, path, 0);
	if (s.differs)
		return PROCESSES_DIFFER;
	return s.seen == 0 ? PROCESSES_NONE : PROCESSES_SATISFY;
}

bool process_any(int cgroup_fd, const char *path)
{
	CLEANUP(freep) char *text = NULL;

	return read_procs(cgroup_fd, path, &text) == 0 && text[0] != '\0';
}

/* --- each process ---------------------------------------------------------------------------- */

struct visit {
	bool (*enter)(void *user, uint64_t cgroup_id);
	void (*process)(void *user, int cgroup_fd, pid_t pid);
	void *user;
	unsigned seen;
	bool too_many;
	int r; /* of the first cgroup that is there and cannot be read */
};

/* A cgroup that is gone meanwhile has no processes. */
static void note_unread(struct visit *v, int r)
{
	if (r < 0 && r != -ENOENT && r != -ENODEV && v->r == 0)
		v->r = r;
}

/* The next number of cgroup.procs; 0 at its end. A process of another pid namespace is a "0" too.
 */
static pid_t next_pid(char **text)
{
	char *line = *text, *end = line + strcspn(line, "\n");
	uint32_t pid = 0;

	if (*line == '\0')
		return 0;
	*text = *end == '\n' ? end + 1 : end;
	*end = '\0';
	return text_u32(line, 1, INT32_MAX, &pid) < 0 ? -1 : (pid_t)pid;
}

static int visit_procs(struct visit *v, int cgroup_fd)
{
	CLEANUP(freep) char *text = NULL;
	int r = read_procs(cgroup_fd, "", &text);
	char *at = text;
	pid_t pid;

	if (r == -EOPNOTSUPP)
		return 0; /* threaded: the domain above lists its processes */
	while (r >= 0 && !v->too_many && (pid = next_pid(&at)) != 0) {
		v->too_many = ++v->seen > PROCESS_SCAN_MAX;
		if (pid > 0 && !v->too_many)
			v->process(v->user, cgroup_fd, pid);
	}
	return r < 0 ? r : 0;
}

static void visit_below(struct visit *v, int cgroup_fd, unsigned depth);

static void visit_child(struct visit *v, int parent_fd, const char *name, unsigned depth)
{
	CLEANUP(closep)
	int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		note_unread(v, -errno);
		return;
	}
	if (v->enter != NULL && !v->enter(v->user, st.st_ino))
		return;
	/* Who may make cgroups must not hide processes in deep ones. */
	if (depth == 0) {
		v->too_many = true;
		return;
	}
	note_unread(v, visit_procs(v, fd));
	visit_below(v, fd, depth - 1);
}

static void visit_below(struct visit *v, int cgroup_fd, unsigned depth)
{
	const struct dirent *e;
	int fd = openat(cgroup_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (dir == NULL) {
		note_unread(v, -errno);
		closep(&fd);
		return;
	}
	while (!v->too_many && (e = readdir(dir)) != NULL)
		if (e->d_type == DT_DIR && !is_dots(e->d_name))
			visit_child(v, fd, e->d_name, depth);
	(void)closedir(dir);
}

int process_each(int cgroup_fd, unsigned depth_max, bool (*enter)(void *user, uint64_t cgroup_id),
		 void (*process)(void *user, int cgroup_fd, pid_t pid), void *user)
{
	struct visit v = {.enter = enter, .process = process, .user = user};
	int r = visit_procs(&v, cgroup_fd);

	if (r < 0)
		return r;
	visit_below(&v, cgroup_fd, depth_max);
	return v.too_many ? -E2BIG : v.r;
}

bool process_is_in(int cgroup_fd, pid_t pid)
{
	CLEANUP(freep) char *text = NULL;
	char *at;
	pid_t found;

	if (read_procs(cgroup_fd, "", &text) < 0)
		return false;
	at = text;
	do
		found = next_pid(&at);
	while (found != 0 && found != pid);
	return found == pid;
}
