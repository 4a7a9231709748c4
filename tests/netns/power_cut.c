/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Power cuts, for LD_PRELOAD: what a program writes below POWER_DIR is followed step by step (open,
 * write, fsync, rename, unlink, mkdir), and at step POWER_CUT_AT the process dies by SIGKILL. With
 * POWER_LOSES set it takes with it what a disk may lose then: data that was not fsynced is cut to
 * nothing, and names that were made, moved or removed in a directory that was not fsynced since are
 * as they were. POWER_LOG gets the number of steps, and their names.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPS_MAX   512
#define FILES_MAX 64

enum kind { MADE, MOVED, REMOVED };

/* A change of names that is not on disk yet. */
struct op {
	enum kind kind;
	char dir[PATH_MAX]; /* whose fsync makes it durable */
	char name[PATH_MAX], from[PATH_MAX];
	char backup[PATH_MAX]; /* what was at name before; "" = nothing */
};

static struct op ops[OPS_MAX];
static int op_count, step, backups;
static int unsynced[FILES_MAX]; /* descriptors of files whose data is not on disk */
static int unsynced_count;

static const char *base(void)
{
	return getenv("POWER_DIR");
}

static void *next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

static bool path_of(int dir_fd, const char *name, char ret[PATH_MAX])
{
	char link[64], dir[PATH_MAX - 256];
	ssize_t n;

	if (name[0] == '/' || dir_fd == AT_FDCWD) {
		(void)snprintf(ret, PATH_MAX, "%s", name);
	} else {
		(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dir_fd);
		n = readlink(link, dir, sizeof(dir) - 1);
		if (n < 0)
			return false;
		dir[n] = '\0';
		if (name[0] == '\0' || strcmp(name, ".") == 0)
			(void)snprintf(ret, PATH_MAX, "%s", dir);
		else
			(void)snprintf(ret, PATH_MAX, "%s/%.200s", dir, name);
	}
	return base() && strncmp(ret, base(), strlen(base())) == 0;
}

static void dir_of(const char *path, char ret[PATH_MAX])
{
	char *slash;

	(void)snprintf(ret, PATH_MAX, "%s", path);
	slash = strrchr(ret, '/');
	if (slash)
		*slash = '\0';
}

/* --- the cut ------------------------------------------------------------------------------ */

static void undo(const struct op *op)
{
	int (*rename_real)(const char *, const char *) = next("rename");
	int (*unlink_real)(const char *) = next("unlink");

	switch (op->kind) {
	case MADE:
		(void)unlink_real(op->name);
		break;
	case MOVED:
		(void)rename_real(op->name, op->from);
		break;
	case REMOVED:
		break;
	}
	if (op->backup[0])
		(void)rename_real(op->backup, op->name);
}

static void lose(void)
{
	for (int i = 0; i < unsynced_count; i++)
		(void)ftruncate(unsynced[i], 0);
	for (int i = op_count; i-- > 0;)
		undo(&ops[i]);
}

static void count(const char *what, const char *path)
{
	const char *at = getenv("POWER_CUT_AT"), *log = getenv("POWER_LOG");
	char line[PATH_MAX + 64];
	int (*open_real)(const char *, int, ...) = next("open");
	ssize_t (*write_real)(int, const void *, size_t) = next("write");
	int fd, n, last = 0;

	step++;
	if (log) {
		fd = open_real(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		n = snprintf(line, sizeof(line), "%d %s %s\n", step, what, path);
		(void)!write_real(fd, line, (size_t)n);
		(void)close(fd);
	}
	if (!at || sscanf(at, "%9d", &last) != 1 || step != last)
		return;
	if (getenv("POWER_LOSES"))
		lose();
	(void)kill(getpid(), SIGKILL);
	pause();
}

/* Keeps what is at path, which is about to go. */
static void back_up(const char *path, char ret[PATH_MAX])
{
	ret[0] = '\0';
	if (access(path, F_OK) < 0)
		return;
	(void)snprintf(ret, PATH_MAX, "%.3000s/../backup-%d-%d", base(), (int)getpid(), backups++);
	if (link(path, ret) < 0)
		ret[0] = '\0';
}

static struct op *op_add(enum kind kind, const char *path)
{
	struct op *op = &ops[op_count < OPS_MAX ? op_count++ : OPS_MAX - 1];

	memset(op, 0, sizeof(*op));
	op->kind = kind;
	(void)snprintf(op->name, sizeof(op->name), "%s", path);
	dir_of(path, op->dir);
	return op;
}

/* --- system calls ------------------------------------------------------------------------- */

static void opened(int fd, int flags, const char *path, bool was_there)
{
	if (fd < 0 || !(flags & O_CREAT))
		return;
	if (!was_there)
		(void)op_add(MADE, path);
	if (unsynced_count < FILES_MAX)
		unsynced[unsynced_count++] = fcntl(fd, F_DUPFD_CLOEXEC, 100);
}

int openat(int dir_fd, const char *name, int flags, ...)
{
	int (*real)(int, const char *, int, ...) = next("openat");
	char path[PATH_MAX];
	mode_t mode = 0;
	bool ours, there;
	va_list ap;
	int fd;

	va_start(ap, flags);
	if (flags & (O_CREAT | O_TMPFILE))
		mode = va_arg(ap, mode_t);
	va_end(ap);
	ours = (flags & O_CREAT) && path_of(dir_fd, name, path);
	there = ours && access(path, F_OK) == 0;
	if (ours)
		count("open", path);
	fd = real(dir_fd, name, flags, mode);
	if (ours)
		opened(fd, flags, path, there);
	return fd;
}

int openat64(int dir_fd, const char *name, int flags, ...);
int openat64(int dir_fd, const char *name, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	va_start(ap, flags);
	if (flags & (O_CREAT | O_TMPFILE))
		mode = va_arg(ap, mode_t);
	va_end(ap);
	return openat(dir_fd, name, flags, mode);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
	ssize_t (*real)(int, const void *, size_t) = next("write");
	char path[PATH_MAX];

	/* Half of it is there when the power goes. */
	if (path_of(fd, "", path)) {
		if (len > 1)
			(void)!real(fd, bytes, len / 2);
		count("write", path);
		if (len > 1)
			return real(fd, (const char *)bytes + len / 2, len - len / 2) < 0
				       ? -1
				       : (ssize_t)len;
	}
	return real(fd, bytes, len);
}

static void data_synced(int fd)
{
	struct stat a, b;

	if (fstat(fd, &a) < 0)
		return;
	for (int i = 0; i < unsynced_count; i++) {
		if (fstat(unsynced[i], &b) < 0 || a.st_ino != b.st_ino || a.st_dev != b.st_dev)
			continue;
		(void)close(unsynced[i]);
		unsynced[i--] = unsynced[--unsynced_count];
	}
}

static void names_synced(const char *dir)
{
	int kept = 0;

	for (int i = 0; i < op_count; i++) {
		if (strcmp(ops[i].dir, dir) != 0) {
			ops[kept++] = ops[i];
			continue;
		}
		if (ops[i].backup[0]) {
			int (*unlink_real)(const char *) = next("unlink");

			(void)unlink_real(ops[i].backup);
		}
	}
	op_count = kept;
}

int fsync(int fd)
{
	int (*real)(int) = next("fsync");
	char path[PATH_MAX];
	struct stat st;
	bool ours = path_of(fd, "", path);
	int r;

	if (ours)
		count("fsync", path);
	r = real(fd);
	if (ours && r == 0 && fstat(fd, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			names_synced(path);
		else
			data_synced(fd);
	}
	return r;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	int (*real)(int, const char *, int, const char *) = next("renameat");
	char from_path[PATH_MAX], path[PATH_MAX], backup[PATH_MAX];
	struct op *op;
	int r;

	if (!path_of(from_fd, from, from_path) || !path_of(to_fd, to, path))
		return real(from_fd, from, to_fd, to);
	count("rename", path);
	back_up(path, backup);
	r = real(from_fd, from, to_fd, to);
	if (r == 0) {
		op = op_add(MOVED, path);
		(void)snprintf(op->from, sizeof(op->from), "%s", from_path);
		(void)snprintf(op->backup, sizeof(op->backup), "%s", backup);
	}
	return r;
}

int unlinkat(int dir_fd, const char *name, int flags)
{
	int (*real)(int, const char *, int) = next("unlinkat");
	char path[PATH_MAX], backup[PATH_MAX];
	struct op *op;
	int r;

	if (flags || !path_of(dir_fd, name, path) || access(path, F_OK) < 0)
		return real(dir_fd, name, flags);
	count("unlink", path);
	back_up(path, backup);
	r = real(dir_fd, name, flags);
	if (r == 0) {
		op = op_add(REMOVED, path);
		(void)snprintf(op->backup, sizeof(op->backup), "%s", backup);
	}
	return r;
}
