/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "courier/cache.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/static_path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENTRIES_MAX 8192
#define FILE_MODE   0600

struct cache {
	int dir;
	uint64_t max;
};

struct entry {
	char name[SHA256_HEX_LEN];
	uint64_t size;
	struct timespec used;
};

int cache_open(const char *dir, uint64_t max_bytes, struct cache **ret, struct err *err)
{
	struct cache *c = mem_calloc(1, sizeof(*c));

	if (!c)
		return err_set(err, ENOMEM, "out of memory");
	c->max = max_bytes;
	c->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->dir < 0) {
		int code = errno;

		free(c);
		return err_set(err, code, "%s: %s", dir, strerror(code));
	}
	*ret = c;
	return 0;
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	closep(&c->dir);
	free(c);
}

static bool is_of(const char *sha256_hex, const void *bytes, size_t len)
{
	uint8_t digest[SHA256_LEN];
	char hex[SHA256_HEX_LEN];

	if (sha256(bytes, len, digest) < 0)
		return false;
	hex_format(digest, sizeof(digest), hex);
	return str_eq(hex, sha256_hex);
}

int cache_get(struct cache *c, const char *sha256, uint64_t size, char **ret, size_t *ret_len)
{
	CLEANUP(freep) char *bytes = NULL;
	size_t len = 0;

	if (!sha256_hex_ok(sha256) || size > c->max ||
	    file_read(c->dir, sha256, (size_t)size, &bytes, &len, NULL) < 0)
		return -ENOENT;
	if (len != size || !is_of(sha256, bytes, len)) {
		(void)unlinkat(c->dir, sha256, 0);
		return -ENOENT;
	}
	(void)utimensat(c->dir, sha256, NULL, AT_SYMLINK_NOFOLLOW);
	*ret = TAKE_PTR(bytes);
	*ret_len = len;
	return 0;
}

static int by_use(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->used.tv_sec != y->used.tv_sec)
		return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
	return x->used.tv_nsec < y->used.tv_nsec ? -1 : x->used.tv_nsec > y->used.tv_nsec;
}

/* Files of ours; what a crash left half-written is removed. */
static size_t list(const struct cache *c, struct entry *entries, uint64_t *ret_bytes)
{
	int fd = openat(c->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;
	size_t n = 0;

	*ret_bytes = 0;
	while (d && (e = readdir(d)) && n < ENTRIES_MAX) {
		struct stat st;

		if (e->d_name[0] == '.' || fstatat(c->dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (!S_ISREG(st.st_mode) || !sha256_hex_ok(e->d_name)) {
			(void)unlinkat(c->dir, e->d_name, 0);
			continue;
		}
		memcpy(entries[n].name, e->d_name, sizeof(entries[n].name));
		entries[n].size = (uint64_t)st.st_size;
		entries[n].used = st.st_mtim;
		*ret_bytes += entries[n++].size;
	}
	if (d)
		(void)closedir(d);
	else
		closep(&fd);
	return n;
}

static void make_room(struct cache *c, size_t len)
{
	CLEANUP(freep) struct entry *entries = mem_calloc(ENTRIES_MAX, sizeof(*entries));
	uint64_t bytes = 0;
	size_t n = entries ? list(c, entries, &bytes) : 0;

	if (n)
		qsort(entries, n, sizeof(*entries), by_use);
	for (size_t i = 0; i < n && (bytes + len > c->max || n - i >= ENTRIES_MAX - 1); i++) {
		(void)unlinkat(c->dir, entries[i].name, 0);
		bytes -= entries[i].size;
	}
}

/* No fsync: a file that a crash damaged is found out by its name. */
static int write_file(const struct cache *c, const char *name, const char *bytes, size_t len)
{
	CLEANUP(closep)
	int fd = openat(c->dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
			FILE_MODE);

	if (fd < 0)
		return -errno;
	while (len) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

void cache_put(struct cache *c, const char *sha256, const void *bytes, size_t len)
{
	char name[SHA256_HEX_LEN + 4];
	int r;

	if (!sha256_hex_ok(sha256) || len > c->max)
		return;
	make_room(c, len);
	(void)snprintf(name, sizeof(name), "%s.new", sha256);
	r = write_file(c, name, bytes, len);
	if (r >= 0 && renameat(c->dir, name, c->dir, sha256) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlinkat(c->dir, name, 0);
		log_debug("cache: %s", strerror(-r));
	}
}
