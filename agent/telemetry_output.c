/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/telemetry_output.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define FILE_MODE      0640

struct output {
	enum decisions_log where;
	char *file;
	int fd;
	bool torn; /* the last line was not written whole */
	dev_t device;
	ino_t inode;
};

/* --- file ------------------------------------------------------------------------------------ */

static int open_file(struct output *o)
{
	CLEANUP(closep)
	int fd = open(o->file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
		      FILE_MODE);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	closep(&o->fd);
	o->fd = take_fd(&fd);
	o->device = st.st_dev;
	o->inode = st.st_ino;
	o->torn = false;
	return 0;
}

/* logrotate moved it, or somebody removed it: the name says where lines belong. */
static bool still_there(const struct output *o)
{
	struct stat st;

	return o->fd >= 0 && stat(o->file, &st) == 0 && st.st_dev == o->device &&
	       st.st_ino == o->inode;
}

static int write_line(struct output *o, int fd, const char *head, const char *line, size_t len)
{
	struct iovec v[] = {
		{(void *)(uintptr_t) "\n", o->torn ? 1 : 0},
		{(void *)(uintptr_t)head, strlen(head)},
		{(void *)(uintptr_t)line, len},
		{(void *)(uintptr_t) "\n", 1},
	};
	size_t want = v[0].iov_len + v[1].iov_len + len + 1;
	ssize_t n = writev(fd, v, ARRAY_LEN(v));

	if (n < 0)
		return -errno;
	o->torn = (size_t)n != want;
	return o->torn ? -ENOSPC : 0;
}

static int to_file(struct output *o, const char *line, size_t len)
{
	int r = still_there(o) ? 0 : open_file(o);

	return r < 0 ? r : write_line(o, o->fd, "", line, len);
}

/* --- journal --------------------------------------------------------------------------------- */

/*
 * The journal's own datagrams (systemd.io/JOURNAL_NATIVE_PROTOCOL): sd_journal_sendv() would wait
 * for a journal that hangs, and with it the agent's heartbeat.
 */
static int to_journal(struct output *o, int priority, const char *line, size_t len)
{
	static const struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET};
	char head[96];
	struct iovec v[] = {
		{head, 0}, {(void *)(uintptr_t)line, len}, {(void *)(uintptr_t) "\n", 1}};
	struct msghdr m = {.msg_name = (void *)(uintptr_t)&to,
			   .msg_namelen = sizeof(to),
			   .msg_iov = v,
			   .msg_iovlen = ARRAY_LEN(v)};

	v[0].iov_len =
		(size_t)snprintf(head, sizeof(head),
				 "SYSLOG_IDENTIFIER=bailiwickd\nPRIORITY=%d\nMESSAGE=", priority);
	if (sendmsg(o->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	if (errno != ENOENT && errno != ECONNREFUSED)
		return -errno;
	/* No journal here: as the rest of the log. */
	(void)snprintf(head, sizeof(head), "<%d>", priority);
	return write_line(o, STDERR_FILENO, getenv("JOURNAL_STREAM") ? head : "", line, len);
}

int output_line(struct output *o, int priority, const char *line, size_t len)
{
	switch (o->where) {
	case DECISIONS_JOURNAL:
		return to_journal(o, priority, line, len);
	case DECISIONS_STDOUT:
		return write_line(o, STDOUT_FILENO, "", line, len);
	case DECISIONS_FILE:
		return to_file(o, line, len);
	}
	return -EINVAL;
}

int output_new(enum decisions_log where, const char *file, struct output **ret, struct err *err)
{
	struct output *o = mem_calloc(1, sizeof(*o));

	if (!o)
		return err_set(err, ENOMEM, "out of memory");
	o->where = where;
	o->fd = -1;
	if (where == DECISIONS_JOURNAL)
		o->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (where == DECISIONS_FILE)
		o->file = mem_strdup(file);
	if (where == DECISIONS_FILE && !o->file) {
		output_free(o);
		return err_set(err, ENOMEM, "out of memory");
	}
	*ret = o;
	return 0;
}

void output_free(struct output *o)
{
	if (!o)
		return;
	closep(&o->fd);
	free(o->file);
	free(o);
}
