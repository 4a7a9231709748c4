/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/file.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_STEP      16384
#define TREE_DEPTH_MAX 64

static int fail(struct err *err, const char *verb, const char *path)
{
	int code = errno;

	return err_set(err, code, "%s '%s': %s", verb, path, strerror(code));
}

/* Reads to the end of the file; -EFBIG when there is a byte behind max. */
static int read_all(int fd, size_t max, char **ret_text, size_t *ret_len)
{
	CLEANUP(freep) char *text = NULL;
	size_t len = 0, cap = 0;

	for (;;) {
		ssize_t n;
		int r;

		/* One byte more than allowed, to see whether it is there, and one for the NUL. */
		r = vec_grow(&text, &cap, len + READ_STEP < max + 1 ? len + READ_STEP + 1 : max + 2,
			     1, max + 2);
		if (r < 0)
			return r;
		n = read(fd, text + len, cap - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return -EFBIG;
	}
	text[len] = '\0';
	*ret_text = TAKE_PTR(text);
	*ret_len = len;
	return 0;
}

static int read_open(int fd, const char *path, size_t max, char **ret_text, size_t *ret_len,
		     struct err *err)
{
	int r = read_all(fd, max, ret_text, ret_len);

	if (r == -EFBIG)
		return err_set(err, EFBIG, "read '%s': larger than %zu bytes", path, max);
	if (r < 0)
		return err_set(err, -r, "read '%s': %s", path, strerror(-r));
	return 0;
}

/* Opens a regular file; *ret_mode are its permissions. flags: O_NOFOLLOW or 0. */
static int open_regular(int dir_fd, const char *path, size_t max, int flags, mode_t *ret_mode,
			struct err *err)
{
	CLEANUP(closep) int fd = -1;
	struct stat st;

	if (max > SSIZE_MAX - 2)
		return err_set(err, EINVAL, "read '%s': a limit of %zu bytes is none", path, max);
	fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fail(err, "read", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, EINVAL, "read '%s': not a regular file", path);
	*ret_mode = st.st_mode & 07777;
	return take_fd(&fd);
}

int file_read(int dir_fd, const char *path, size_t max, char **ret_text, size_t *ret_len,
	      struct err *err)
{
	mode_t mode = 0;
	CLEANUP(closep) int fd = open_regular(dir_fd, path, max, 0, &mode, err);

	return fd < 0 ? fd : read_open(fd, path, max, ret_text, ret_len, err);
}

int file_read_itself(int dir_fd, const char *path, size_t max, char **ret_text, size_t *ret_len,
		     struct err *err)
{
	mode_t mode = 0;
	CLEANUP(closep) int fd = open_regular(dir_fd, path, max, O_NOFOLLOW, &mode, err);

	return fd < 0 ? fd : read_open(fd, path, max, ret_text, ret_len, err);
}

int file_read_secret(int dir_fd, const char *path, size_t max, char **ret_text, size_t *ret_len,
		     struct err *err)
{
	mode_t mode = 0;
	CLEANUP(closep) int fd = open_regular(dir_fd, path, max, 0, &mode, err);

	if (fd < 0)
		return fd;
	if ((mode & (S_IRWXG | S_IRWXO)) != 0)
		return err_set(err, EACCES,
			       "read '%s': others may read it (mode %04o), and it is a secret; "
			       "0600 would be right",
			       path, (unsigned)mode);
	return read_open(fd, path, max, ret_text, ret_len, err);
}

static int write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Creates `name` in dir_fd with these bytes, on disk when it returns. */
static int write_new(int dir_fd, const char *name, const void *bytes, size_t len, mode_t mode)
{
	CLEANUP(closep) int fd = -1;
	int r;

	/* A leftover of a process that died with this pid. */
	(void)unlinkat(dir_fd, name, 0);
	fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = write_all(fd, bytes, len);
	if (r < 0)
		return r;
	/* By hand, because the umask would have taken bits away. */
	if (fchmod(fd, mode) < 0 || fsync(fd) < 0)
		return -errno;
	return close(take_fd(&fd)) < 0 ? -errno : 0;
}

/* Opens the directory that holds path; *ret_name is path's last component. */
static int open_parent(int dir_fd, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	CLEANUP(freep) char *parent = NULL;
	int fd;

	*ret_name = slash != NULL ? slash + 1 : path;
	if (slash == NULL)
		parent = mem_strdup(".");
	else
		parent = mem_strndup(path, slash > path ? (size_t)(slash - path) : 1);
	if (parent == NULL)
		return -ENOMEM;
	fd = openat(dir_fd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int file_write_durable(int dir_fd, const char *path, const void *bytes, size_t len, mode_t mode,
		       struct err *err)
{
	CLEANUP(closep) int parent = -1;
	CLEANUP(freep) char *temporary = NULL;
	const char *name;
	int r;

	r = open_parent(dir_fd, path, &name);
	if (r < 0)
		return err_set(err, -r, "write '%s': %s", path, strerror(-r));
	parent = r;
	temporary = mem_printf(".%s.%d.new", name, (int)getpid());
	if (temporary == NULL)
		return err_set(err, ENOMEM, "write '%s': out of memory", path);

	r = write_new(parent, temporary, bytes, len, mode);
	if (r == 0 && renameat(parent, temporary, parent, name) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlinkat(parent, temporary, 0);
		return err_set(err, -r, "write '%s': %s", path, strerror(-r));
	}
	/* The rename itself is lost in a power cut until the directory is on disk. */
	if (fsync(parent) < 0)
		return fail(err, "sync the directory of", path);
	return 0;
}

static int make_one(const char *path, mode_t mode, struct err *err)
{
	struct stat st;

	if (mkdir(path, mode) == 0)
		return 0;
	if (errno != EEXIST || stat(path, &st) < 0)
		return fail(err, "create directory", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ENOTDIR, "create directory '%s': it is not a directory", path);
	return 0;
}

int dir_make(const char *path, mode_t mode, struct err *err)
{
	CLEANUP(freep) char *copy = mem_strdup(path);
	int r;

	if (copy == NULL)
		return err_set(err, ENOMEM, "create directory '%s': out of memory", path);
	for (char *p = copy; *p != '\0'; p++) {
		if (*p != '/' || p == copy)
			continue;
		*p = '\0';
		r = make_one(copy, mode, err);
		if (r < 0)
			return r;
		*p = '/';
	}
	return make_one(copy, mode, err);
}

/* Empties the directory open as fd, which it closes. */
static int tree_empty(int fd, unsigned depth);

static int tree_remove_entry(int dir_fd, const char *name, unsigned depth)
{
	int fd, r;

	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (depth == 0)
		return -ELOOP;
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	r = tree_empty(fd, depth - 1);
	if (r < 0)
		return r;
	return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

static int tree_empty(int fd, unsigned depth)
{
	DIR *dir = fdopendir(fd);
	struct dirent *entry;
	int r = 0;

	if (dir == NULL) {
		r = -errno;
		(void)close(fd);
		return r;
	}
	while (r == 0 && (entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		r = tree_remove_entry(dirfd(dir), entry->d_name, depth);
	}
	(void)closedir(dir);
	return r;
}

int tree_remove(int dir_fd, const char *path, struct err *err)
{
	int r = tree_remove_entry(dir_fd, path, TREE_DEPTH_MAX);

	if (r < 0)
		return err_set(err, -r, "remove '%s': %s", path, strerror(-r));
	return 0;
}
