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

struct scan {
	int cgroup_fd;
	const struct process_condition *condition;
	struct stat exe; /* the condition's file; st_ino 0 = there is none now */
	struct stat root;
	unsigned seen;
	bool differs;
};

/* --- one process ----------------------------------------------------------------------------- */

bool process_status_gids(const char *status, uint32_t ret_gids[4])
{
	const char *p = strstr(status, "\nGid:");

	if (p == NULL)
		return false;
	p += strlen("\nGid:");
	for (size_t i = 0; i < 4; i++) {
		uint64_t value = 0;

		p += strspn(p, " \t");
		if (*p < '0' || *p > '9')
			return false;
		for (; *p >= '0' && *p <= '9' && value <= UINT32_MAX; p++)
			value = value * 10 + (uint64_t)(*p - '0');
		if (value > UINT32_MAX)
			return false;
		ret_gids[i] = (uint32_t)value;
	}
	return *p == '\n' || *p == '\0';
}

static bool is_zombie(const char *status)
{
	const char *line = strstr(status, "\nState:");

	if (line == NULL)
		return false;
	line += strlen("\nState:");
	line += strspn(line, " \t");
	return *line == 'Z' || *line == 'X';
}

/* The path still says which file it was; /usr/bin/x upgraded under a running x. */
static bool is_deleted_exe(const struct scan *s, const char *pid, const struct stat *exe)
{
	char path[64], target[PATH_MAX];
	struct stat root;
	size_t len = strlen(s->condition->exe);
	ssize_t n;

	if (!s->condition->deleted_exe_ok || exe->st_nlink != 0)
		return false;
	/* Under another root the same path is another file. */
	(void)snprintf(path, sizeof(path), "/proc/%s/root", pid);
	if (stat(path, &root) < 0 || root.st_dev != s->root.st_dev || root.st_ino != s->root.st_ino)
		return false;
	(void)snprintf(path, sizeof(path), "/proc/%s/exe", pid);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	return (size_t)n == len + strlen(DELETED) && strncmp(target, s->condition->exe, len) == 0 &&
	       str_eq(target + len, DELETED);
}

static bool exe_matches(const struct scan *s, const char *pid)
{
	struct stat exe;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%s/exe", pid);
	if (stat(path, &exe) < 0)
		return false;
	if (s->exe.st_ino != 0 && exe.st_dev == s->exe.st_dev && exe.st_ino == s->exe.st_ino)
		return true;
	return is_deleted_exe(s, pid, &exe);
}

static bool gid_matches(const struct scan *s, const char *status)
{
	uint32_t gids[4];

	if (!process_status_gids(status, gids))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(gids); i++)
		if (gids[i] != s->condition->gid)
			return false;
	return true;
}

static void scan_process(struct scan *s, const char *pid)
{
	CLEANUP(freep) char *status = NULL;
	char path[64];
	size_t len = 0;

	(void)snprintf(path, sizeof(path), "/proc/%s/status", pid);
	/* Gone since cgroup.procs was read, or dead and waiting for its parent: owns no socket. */
	if (file_read(AT_FDCWD, path, STATUS_BYTES_MAX, &status, &len, NULL) < 0 ||
	    is_zombie(status))
		return;
	if (++s->seen > PROCESS_SCAN_MAX || (s->condition->exe != NULL && !exe_matches(s, pid)) ||
	    (s->condition->has_gid && !gid_matches(s, status)))
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
		/* "0" is a process of another pid namespace: it cannot be looked at. */
		if (str_eq(pid, "0"))
			s->differs = true;
		else
			scan_process(s, pid);
	}
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

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
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

	if (condition->exe != NULL && stat(condition->exe, &s.exe) < 0)
		s.exe.st_ino = 0;
	if (stat("/", &s.root) < 0)
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
