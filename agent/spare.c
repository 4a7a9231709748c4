/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/spare.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPARE_DIR_MODE 0700
#define SPARE_MODE     0600
#define SPARE_TEXT_MAX (128U << 20)
#define SPARE_NAME_MAX 160
#define HEADER_LEN     SHA256_HEX_LEN /* hex digits and a line end */
#define SLASH          '%'            /* all copies are in one directory */
#define ASIDE          ".damaged"

/* In the order in which they are looked at. */
enum { PLACE_RUN, PLACE_STATE, PLACES };

struct spare {
	int fds[PLACES]; /* -1: there is no place for copies */
};

int spare_directory(int dir_fd, const char *name, struct err *err)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (S_ISDIR(st.st_mode))
			return 0;
		spare_aside(dir_fd, name);
	}
	if (mkdirat(dir_fd, name, SPARE_DIR_MODE) < 0)
		return err_set(err, errno, "%s: %s", name, strerror(errno));
	return 0;
}

static int open_place(int dir_fd)
{
	if (spare_directory(dir_fd, SPARE_DIR, NULL) < 0)
		return -1;
	return openat(dir_fd, SPARE_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

int spare_open(int run_fd, int state_fd, struct spare **ret, struct err *err)
{
	struct spare *s = mem_calloc(1, sizeof(*s));

	if (!s)
		return err_set(err, ENOMEM, "out of memory");
	s->fds[PLACE_RUN] = open_place(run_fd);
	s->fds[PLACE_STATE] = open_place(state_fd);
	*ret = s;
	return 0;
}

void spare_free(struct spare *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < PLACES; i++)
		closep(&s->fds[i]);
	free(s);
}

/* --- one copy ------------------------------------------------------------------------------- */

static void flatten(char ret[SPARE_NAME_MAX], const char *name, char from, char to)
{
	(void)snprintf(ret, SPARE_NAME_MAX, "%.*s", SPARE_NAME_MAX - 1, name);
	for (char *p = ret; *p; p++)
		if (*p == from)
			*p = to;
}

static int header_of(const void *bytes, size_t len, char ret[HEADER_LEN])
{
	uint8_t digest[SHA256_LEN];
	int r = sha256(bytes, len, digest);

	if (r < 0)
		return r;
	hex_format(digest, sizeof(digest), ret);
	ret[HEADER_LEN - 1] = '\n';
	return 0;
}

/* One that would not come back from its flat form as it was has no copy. */
static bool is_keepable(const char *name)
{
	return strlen(name) < SPARE_NAME_MAX && !strchr(name, SLASH);
}

/* What is closed says nothing else after a reboot: it has a copy on the disk, too. */
static bool is_twice(const char *flat)
{
	return str_eq(flat, "overlay.json") || str_eq(flat, "documents%head.dsse.json");
}

static void remove_at(int fd, const char *flat)
{
	if (fd >= 0)
		(void)unlinkat(fd, flat, 0);
}

void spare_remove(struct spare *s, const char *name)
{
	char flat[SPARE_NAME_MAX];

	flatten(flat, name, '/', SLASH);
	for (size_t i = 0; s && i < PLACES; i++)
		remove_at(s->fds[i], flat);
}

static void remove_below_at(int fd, const char *flat)
{
	CLEANUP(closep)
	int dir_fd = fd < 0 ? -1 : openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = dir_fd < 0 ? NULL : fdopendir(dir_fd);
	const struct dirent *e;

	if (!d)
		return;
	dir_fd = -1;
	while ((e = readdir(d))) {
		if (str_starts(e->d_name, flat))
			remove_at(fd, e->d_name);
	}
	(void)closedir(d);
}

void spare_remove_below(struct spare *s, const char *directory)
{
	char below[SPARE_NAME_MAX], flat[SPARE_NAME_MAX];

	(void)snprintf(below, sizeof(below), "%s/", directory);
	flatten(flat, below, '/', SLASH);
	for (size_t i = 0; s && i < PLACES; i++)
		remove_below_at(s->fds[i], flat);
}

static int write_at(int fd, const char *flat, const void *bytes, size_t len)
{
	CLEANUP(freep) char *text = NULL;
	char header[HEADER_LEN];
	int r;

	if (len > SPARE_TEXT_MAX) {
		remove_at(fd, flat);
		return 0;
	}
	text = mem_calloc(HEADER_LEN + len, 1);
	r = text ? header_of(bytes, len, header) : -ENOMEM;
	if (r < 0)
		return r;
	memcpy(text, header, HEADER_LEN);
	if (len)
		memcpy(text + HEADER_LEN, bytes, len);
	r = file_write_durable(fd, flat, text, HEADER_LEN + len, SPARE_MODE, NULL);
	if (r == -ENOMEM)
		return r;
	/* An older one would pass for the newest. */
	if (r < 0)
		remove_at(fd, flat);
	return 0;
}

int spare_write(struct spare *s, const char *name, const void *bytes, size_t len, struct err *err)
{
	char flat[SPARE_NAME_MAX];
	int r = 0;

	if (!is_keepable(name))
		return 0;
	flatten(flat, name, '/', SLASH);
	for (size_t i = 0; s && i < PLACES && r >= 0; i++)
		if (s->fds[i] >= 0 && (i == PLACE_RUN || is_twice(flat)))
			r = write_at(s->fds[i], flat, bytes, len);
	return r < 0 ? err_set(err, -r, "%s: out of memory", name) : 0;
}

static int read_at(int fd, const char *flat, size_t max, char **ret_text, size_t *ret_len)
{
	CLEANUP(freep) char *text = NULL;
	char header[HEADER_LEN];
	size_t len = 0;
	int r = fd < 0 ? -ENOENT : file_read_itself(fd, flat, max + HEADER_LEN, &text, &len, NULL);

	if (r >= 0 && len >= HEADER_LEN)
		r = header_of(text + HEADER_LEN, len - HEADER_LEN, header);
	if (r == -ENOMEM)
		return r;
	if (r < 0 || len < HEADER_LEN || memcmp(text, header, HEADER_LEN) != 0)
		return -ENOENT;
	len -= HEADER_LEN;
	memmove(text, text + HEADER_LEN, len + 1);
	*ret_text = TAKE_PTR(text);
	*ret_len = len;
	return 0;
}

int spare_read(struct spare *s, const char *name, size_t max, char **ret_text, size_t *ret_len)
{
	char flat[SPARE_NAME_MAX];
	int r = -ENOENT;

	if (!is_keepable(name))
		return r;
	flatten(flat, name, '/', SLASH);
	for (size_t i = 0; s && i < PLACES && r == -ENOENT; i++)
		r = read_at(s->fds[i], flat, max, ret_text, ret_len);
	return r;
}

int spare_or_file(struct spare *s, const char *name, int dir_fd, const char *file, size_t max,
		  char **ret_text, size_t *ret_len, struct err *err)
{
	int r = spare_read(s, name, max, ret_text, ret_len);

	if (r == -ENOMEM)
		return err_set(err, ENOMEM, "%s: out of memory", name);
	if (r >= 0)
		return 0;
	r = file_read(dir_fd, file, max, ret_text, ret_len, err);
	if (r < 0)
		return r;
	/* The first start of this boot: from now on there is one. */
	r = spare_write(s, name, *ret_text, *ret_len, err);
	if (r < 0)
		freep(ret_text);
	return r;
}

/* --- mending -------------------------------------------------------------------------------- */

/* Of what was there before, nothing is. False: there is no such name. */
static bool aside_of(int dir_fd, const char *name, char ret[SPARE_NAME_MAX + sizeof(ASIDE)])
{
	/* The beginning of a path is another one, perhaps the directory that all of it is in. */
	if (strlen(name) >= SPARE_NAME_MAX)
		return false;
	(void)snprintf(ret, SPARE_NAME_MAX + sizeof(ASIDE), "%s" ASIDE, name);
	(void)tree_remove(dir_fd, ret, NULL);
	return true;
}

void spare_aside(int dir_fd, const char *name)
{
	char aside[SPARE_NAME_MAX + sizeof(ASIDE)];

	if (aside_of(dir_fd, name, aside))
		(void)renameat(dir_fd, name, dir_fd, aside);
}

/* On a full disk the old one stays: it may be whole, and what a reboot begins with. */
static int replace(int dir_fd, const char *name, const char *text, size_t len, struct err *err)
{
	char aside[SPARE_NAME_MAX + sizeof(ASIDE)];
	bool linked = aside_of(dir_fd, name, aside) && linkat(dir_fd, name, dir_fd, aside, 0) == 0;
	int r = file_write_durable(dir_fd, name, text, len, SPARE_MODE, err);

	if (r < 0 && linked)
		(void)unlinkat(dir_fd, aside, 0);
	if (r != -EISDIR)
		return r;
	spare_aside(dir_fd, name);
	return file_write_durable(dir_fd, name, text, len, SPARE_MODE, err);
}

struct mending {
	struct spare *spare;
	int state_fd;
	void (*told)(void *user, const char *text);
	void *user;
};

static void tell(const struct mending *m, const char *name, const char *cause, const char *failed)
{
	char text[ERR_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "%.150s was damaged or lost (%.150s); its copy %s%.100s",
		       name, cause,
		       failed ? "is used, and would be lost with a reboot: " : "takes its place",
		       failed ? failed : "");
	m->told(m->user, text);
}

/* The copies themselves, where one of two is gone, damaged, or older than the one that is read. */
static int mend_copies(const struct mending *m, const char *name, const char *text, size_t len)
{
	CLEANUP(freep) char *found = NULL;
	char flat[SPARE_NAME_MAX];
	int r = 0;

	flatten(flat, name, '/', SLASH);
	for (size_t i = 0; i < PLACES && is_twice(flat) && r >= 0; i++) {
		size_t found_len = 0;

		if (m->spare->fds[i] < 0)
			continue;
		freep(&found);
		r = read_at(m->spare->fds[i], flat, SPARE_TEXT_MAX, &found, &found_len);
		if (r == -ENOENT || (r >= 0 && (found_len != len || memcmp(found, text, len) != 0)))
			r = write_at(m->spare->fds[i], flat, text, len);
	}
	return r;
}

/* Those that a name goes through, where they are lost or something else is there. */
static void make_directories(int dir_fd, const char *name)
{
	char path[SPARE_NAME_MAX];

	(void)snprintf(path, sizeof(path), "%s", name);
	for (char *p = strchr(path, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		(void)spare_directory(dir_fd, path, NULL);
		*p = '/';
	}
}

static int mend(const struct mending *m, const char *name)
{
	CLEANUP(freep) char *text = NULL;
	CLEANUP(freep) char *found = NULL;
	struct err cause = {{0}}, err = {{0}};
	size_t len = 0, found_len = 0;
	int r = spare_read(m->spare, name, SPARE_TEXT_MAX, &text, &len);

	if (r == -ENOENT) {
		spare_remove(m->spare, name);
		return 0;
	}
	if (r >= 0)
		r = mend_copies(m, name, text, len);
	if (r < 0)
		return r;
	r = file_read(m->state_fd, name, SPARE_TEXT_MAX, &found, &found_len, &cause);
	if (r == -ENOMEM || (r >= 0 && found_len == len && memcmp(found, text, len) == 0))
		return r;
	if (r >= 0)
		(void)err_set(&cause, EBADMSG, "it is not what was written last");
	make_directories(m->state_fd, name);
	r = replace(m->state_fd, name, text, len, &err);
	if (r == -ENOMEM)
		return r;
	tell(m, name, cause.text, r < 0 ? err.text : NULL);
	return 0;
}

static int mend_place(const struct mending *m, int place_fd)
{
	int fd = place_fd < 0 ? -1 : openat(place_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	char name[SPARE_NAME_MAX];
	int r = 0;

	if (!d) {
		closep(&fd);
		return 0;
	}
	while (r >= 0 && (e = readdir(d))) {
		flatten(name, e->d_name, SLASH, '/');
		/* With a dot begin writes that were broken off. */
		if (name[0] != '.' && !str_starts(name, SPARE_SVID) && !str_eq(name, "state.json"))
			r = mend(m, name);
	}
	(void)closedir(d);
	return r;
}

int spare_mend(struct spare *s, int state_fd, void (*told)(void *user, const char *text),
	       void *user, struct err *err)
{
	const struct mending m = {.spare = s, .state_fd = state_fd, .told = told, .user = user};
	int r = 0;

	for (size_t i = 0; i < PLACES && r >= 0; i++)
		r = mend_place(&m, s->fds[i]);
	return r < 0 ? err_set(err, -r, "state directory: %s", strerror(-r)) : 0;
}
