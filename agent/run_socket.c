/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/run_socket.h"

#include "agent/control.h"
#include "base/mem.h"

#include <errno.h>
#include <grp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 16

/* In bailiwickd.service the socket is born with the group, and chown(2) is not let through. */
static int give_to_group(const char *path)
{
	const struct group *g = getgrnam(CONTROL_GROUP);
	struct stat st;

	if (!g || (stat(path, &st) == 0 && st.st_gid == g->gr_gid))
		return 0;
	return chown(path, (uid_t)-1, g->gr_gid);
}

static int listen_at(const char *path, bool to_all, struct stat *ret_made)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	(void)unlink(path);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	/* The mode keeps strangers out; the peer's credentials decide. */
	if (chmod(path, to_all ? 0666 : 0660) < 0 || (!to_all && give_to_group(path) < 0) ||
	    listen(fd, BACKLOG) < 0 || lstat(path, ret_made) < 0)
		return -errno;
	return take_fd(&fd);
}

static int open_named(const char *dir, const char *name, bool to_all, struct run_socket *ret,
		      struct err *err)
{
	CLEANUP(freep) char *path = mem_printf("%s/%s", dir, name);
	struct stat made;
	int fd;

	if (!path)
		return err_set(err, ENOMEM, "out of memory");
	if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return err_set(err, ENAMETOOLONG, "%s: too long for a socket; a shorter run_dir",
			       path);
	fd = listen_at(path, to_all, &made);
	if (fd < 0)
		return err_set(err, -fd, "%s: %s", path, strerror(-fd));
	*ret = (struct run_socket){
		.fd = fd,
		.path = TAKE_PTR(path),
		.dev = made.st_dev,
		.ino = made.st_ino,
		.changed = made.st_ctim,
	};
	return 0;
}

int run_socket_open(const char *dir, const char *name, struct run_socket *ret, struct err *err)
{
	return open_named(dir, name, false, ret, err);
}

int run_socket_open_to_all(const char *dir, const char *name, struct run_socket *ret,
			   struct err *err)
{
	return open_named(dir, name, true, ret, err);
}

static bool is_ours(const struct run_socket *s)
{
	struct stat st;

	return lstat(s->path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_dev == s->dev &&
	       st.st_ino == s->ino && st.st_ctim.tv_sec == s->changed.tv_sec &&
	       st.st_ctim.tv_nsec == s->changed.tv_nsec;
}

void run_socket_done(struct run_socket *s)
{
	if (s->path && is_ours(s))
		(void)unlink(s->path);
	closep(&s->fd);
	free(s->path);
	s->path = NULL;
}
