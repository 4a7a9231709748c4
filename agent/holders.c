/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/holders.h"

#include "base/mem.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct holder {
	uint32_t inode;
	pid_t pid;
};

struct holders {
	struct holder *entries; /* sorted by inode */
	size_t count, cap;
};

static int by_inode(const void *a, const void *b)
{
	uint32_t x = ((const struct holder *)a)->inode, y = ((const struct holder *)b)->inode;

	return x < y ? -1 : x > y;
}

/* "socket:[12345]" */
static int socket_inode(const char *link, uint32_t *ret)
{
	char digits[32];
	size_t len = strlen(link);

	if (!str_starts(link, "socket:[") || link[len - 1] != ']' || len - 9 >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, link + 8, len - 9);
	digits[len - 9] = '\0';
	return text_u32(digits, 1, UINT32_MAX, ret);
}

static int walk_process(struct holders *h, pid_t pid)
{
	char path[64], link[64];
	struct dirent *e;
	DIR *d;
	int r = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	if (!d)
		return 0;
	while (r >= 0 && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);
		uint32_t inode;

		if (n <= 0)
			continue;
		link[n] = '\0';
		if (socket_inode(link, &inode) < 0)
			continue;
		r = vec_grow(&h->entries, &h->cap, h->count + 1, sizeof(*h->entries), HOLDERS_MAX);
		if (r >= 0)
			h->entries[h->count++] = (struct holder){inode, pid};
	}
	(void)closedir(d);
	return r;
}

int holders_new(struct holders **ret)
{
	struct holders *h = mem_calloc(1, sizeof(*h));
	struct dirent *e;
	DIR *d;
	int r = 0;

	if (!h)
		return -ENOMEM;
	d = opendir("/proc");
	if (!d) {
		r = -errno;
		free(h);
		return r;
	}
	while (r >= 0 && (e = readdir(d))) {
		uint32_t pid;

		if (text_u32(e->d_name, 1, INT32_MAX, &pid) == 0)
			r = walk_process(h, (pid_t)pid);
	}
	(void)closedir(d);
	if (r < 0) {
		holders_free(h);
		return r;
	}
	if (h->count)
		qsort(h->entries, h->count, sizeof(*h->entries), by_inode);
	*ret = h;
	return 0;
}

void holders_free(struct holders *h)
{
	if (!h)
		return;
	free(h->entries);
	free(h);
}

pid_t holders_find(const struct holders *h, uint32_t inode)
{
	struct holder key = {.inode = inode};
	const struct holder *found =
		h && h->count ? bsearch(&key, h->entries, h->count, sizeof(key), by_inode) : NULL;

	return found ? found->pid : -ENOENT;
}

int holders_exe(const struct holders *h, uint32_t inode, char *ret_path, size_t size)
{
	pid_t pid = holders_find(h, inode);
	char path[64];
	ssize_t n;

	if (pid < 0)
		return pid;
	(void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	n = readlink(path, ret_path, size - 1);
	if (n < 0)
		return -errno;
	ret_path[n] = '\0';
	return 0;
}
