/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * path_trusted(): walks a path as the kernel would, symbolic links included, and looks at every
 * component on the way. Looking only at the real path would miss a link that somebody else may
 * turn elsewhere tomorrow.
 */
#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS_MAX 40 /* as the kernel's own limit, path_resolution(7) */

struct walk {
	char done[PATH_MAX]; /* resolved and trusted so far, without a final slash */
	char rest[PATH_MAX]; /* still to walk */
	unsigned links;
	uid_t owner;
	struct err *err;
};

static int check_one(const struct walk *w, const char *path, const struct stat *st, bool last)
{
	bool others_write = (st->st_mode & (S_IWGRP | S_IWOTH)) != 0;

	if (st->st_uid != 0 && st->st_uid != w->owner)
		return err_set(w->err, EPERM, "'%s' belongs to uid %u; uid %u would be right", path,
			       (unsigned)st->st_uid, (unsigned)w->owner);
	/* The mode of a link means nothing: whoever owns its directory can replace it. */
	if (S_ISLNK(st->st_mode) || !others_write)
		return 0;
	/* In a sticky directory nobody can rename or remove what belongs to us. */
	if (!last && S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX) != 0)
		return 0;
	return err_set(w->err, EPERM,
		       "'%s' may be written by others (mode %04o); 'chmod go-w' would be right",
		       path, (unsigned)(st->st_mode & 07777));
}

static int too_long(const struct walk *w)
{
	return err_set(w->err, ENAMETOOLONG, "'%s/%s': path too long", w->done, w->rest);
}

/* Puts the link's target in front of what remains; an absolute one starts again from the root. */
static int follow(struct walk *w, const char *link)
{
	char target[PATH_MAX], joined[PATH_MAX];
	ssize_t n = readlink(link, target, sizeof(target) - 1);

	if (n < 0)
		return err_set(w->err, errno, "read link '%s': %s", link, strerror(errno));
	target[n] = '\0';
	if (++w->links > LINKS_MAX)
		return err_set(w->err, ELOOP, "'%s': too many symbolic links", link);
	if (snprintf(joined, sizeof(joined), "%s/%s", target, w->rest) >= (int)sizeof(joined))
		return too_long(w);
	memcpy(w->rest, joined, sizeof(w->rest));
	if (target[0] == '/')
		w->done[0] = '\0';
	return 0;
}

/* Takes the first component off w->rest; false at the end. */
static bool next_component(struct walk *w, char name[NAME_MAX + 1], bool *ret_too_long)
{
	size_t skip = strspn(w->rest, "/");
	size_t len = strcspn(w->rest + skip, "/");

	*ret_too_long = len > NAME_MAX;
	if (len == 0 || len > NAME_MAX)
		return false;
	memcpy(name, w->rest + skip, len);
	name[len] = '\0';
	memmove(w->rest, w->rest + skip + len, strlen(w->rest + skip + len) + 1);
	return true;
}

static void go_up(struct walk *w)
{
	char *slash = strrchr(w->done, '/');

	if (slash != NULL)
		*slash = '\0';
}

static int step(struct walk *w, const char *name)
{
	char path[PATH_MAX];
	struct stat st;
	int r;

	if (strcmp(name, ".") == 0)
		return 0;
	if (strcmp(name, "..") == 0) {
		go_up(w);
		return 0;
	}
	if (snprintf(path, sizeof(path), "%s/%s", w->done, name) >= (int)sizeof(path))
		return too_long(w);
	if (lstat(path, &st) < 0)
		return err_set(w->err, errno, "'%s': %s", path, strerror(errno));
	r = check_one(w, path, &st, false);
	if (r < 0)
		return r;
	if (S_ISLNK(st.st_mode))
		return follow(w, path);
	memcpy(w->done, path, sizeof(w->done));
	return 0;
}

/* Where the walk ended there is no sticky exception: "/tmp/." is /tmp. */
static int check_end(const struct walk *w)
{
	const char *end = w->done[0] != '\0' ? w->done : "/";
	struct stat st;

	if (lstat(end, &st) < 0)
		return err_set(w->err, errno, "'%s': %s", end, strerror(errno));
	return check_one(w, end, &st, true);
}

static int walk_begin(struct walk *w, const char *path)
{
	char here[PATH_MAX] = "";
	struct stat st;

	if (path[0] != '/' && getcwd(here, sizeof(here)) == NULL)
		return err_set(w->err, errno, "current directory: %s", strerror(errno));
	if (snprintf(w->rest, sizeof(w->rest), "%s/%s", here, path) >= (int)sizeof(w->rest))
		return too_long(w);
	if (stat("/", &st) < 0)
		return err_set(w->err, errno, "'/': %s", strerror(errno));
	return check_one(w, "/", &st, false);
}

int path_trusted(const char *path, uid_t owner, struct err *err)
{
	struct walk w = {.owner = owner, .err = err};
	char name[NAME_MAX + 1];
	bool name_too_long = false;
	int r;

	r = walk_begin(&w, path);
	while (r == 0 && next_component(&w, name, &name_too_long))
		r = step(&w, name);
	if (r < 0)
		return r;
	if (name_too_long)
		return too_long(&w);
	return check_end(&w);
}
