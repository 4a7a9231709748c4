/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/client.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_NAME   "control.sock"
#define READ_STEP     65536
#define EXIT_CODE_MAX 5

void reply_done(struct reply *r)
{
	json_decref(r->result);
	json_decref(r->findings);
	free(r->error);
	*r = (struct reply){0};
}

/*
 * sun_path holds 107 bytes. A longer directory is reached through a descriptor, whose /proc name is
 * short; *ret_dir then must stay open until connected.
 */
static int socket_address(const char *run_dir, struct sockaddr_un *ret, int *ret_dir)
{
	int n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/" SOCKET_NAME, run_dir);

	ret->sun_family = AF_UNIX;
	if (n >= 0 && (size_t)n < sizeof(ret->sun_path))
		return 0;
	*ret_dir = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*ret_dir < 0)
		return -errno;
	(void)snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/" SOCKET_NAME,
		       *ret_dir);
	return 0;
}

static int connect_error(const char *run_dir, int code, struct err *err)
{
	if (code == ENOENT || code == ECONNREFUSED)
		return err_set(err, code,
			       "the agent is not running here: nobody listens at %s/" SOCKET_NAME
			       "; start it with 'systemctl start bailiwickd', or name its run "
			       "directory with -C",
			       run_dir);
	if (code == EACCES || code == EPERM)
		return err_set(err, code,
			       "%s/" SOCKET_NAME ": not permitted; be root, or a member of group "
			       "bailiwick for the verbs that only read",
			       run_dir);
	if (code == EAGAIN)
		return err_set(err, ETIMEDOUT,
			       "%s/" SOCKET_NAME ": the agent does not accept connections; see "
			       "'journalctl -u bailiwickd'",
			       run_dir);
	return err_set(err, code, "%s/" SOCKET_NAME ": %s", run_dir, strerror(code));
}

int client_connect(const char *run_dir, int *ret_fd, struct err *err)
{
	const struct timeval wait = {.tv_sec = CLIENT_TIMEOUT_S};
	CLEANUP(closep) int fd = -1;
	CLEANUP(closep) int dir = -1;
	struct sockaddr_un sa = {0};
	int r;

	r = socket_address(run_dir, &sa, &dir);
	if (r < 0)
		return connect_error(run_dir, -r, err);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return connect_error(run_dir, errno, err);
	/* For AF_UNIX the send timeout also bounds connect() when the backlog is full. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0 ||
	    connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return connect_error(run_dir, errno, err);
	*ret_fd = take_fd(&fd);
	return 0;
}

static int lost(int code, struct err *err)
{
	if (code == EAGAIN)
		return err_set(
			err, ETIMEDOUT,
			"no answer from the agent within %d s; see 'journalctl -u bailiwickd'",
			CLIENT_TIMEOUT_S);
	return err_set(err, code, "connection to the agent: %s", strerror(code));
}

int client_send(int fd, const char *verb, json_t *args, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	json_t *request;
	size_t len, done = 0;

	request = json_pack("{s:i, s:s, s:O?}", "version", 1, "verb", verb, "args", args);
	if (request == NULL)
		return err_set(err, ENOMEM, "out of memory");
	if (args == NULL)
		(void)json_object_set_new(request, "args", json_object());
	text = json_dumps(request, JSON_COMPACT);
	json_decref(request);
	if (text == NULL)
		return err_set(err, ENOMEM, "out of memory");
	len = strlen(text);
	if (len >= CLIENT_REQUEST_MAX)
		return err_set(err, E2BIG,
			       "the policy is too large for one request: %zu bytes, at "
			       "most %u",
			       len, CLIENT_REQUEST_MAX);
	text[len] = '\n'; /* in place of the NUL: the request ends with its line */
	while (done < len + 1) {
		ssize_t n = send(fd, text + done, len + 1 - done, MSG_NOSIGNAL);

		/* A refusal may arrive before all is sent: go and read it. */
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return 0;
		if (n < 0 && errno != EINTR)
			return lost(errno, err);
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int reply_decode(const char *text, size_t len, struct reply *ret, struct err *err)
{
	CLEANUP(reply_done) struct reply reply = {0};
	const char *error;
	json_t *root, *result;
	int64_t code;
	int r;

	r = json_parse_strict(text, len, "reply of the agent", &root, err);
	if (r < 0)
		return r;
	code = json_integer_value(json_object_get(root, "exit"));
	error = json_string_value(json_object_get(root, "error"));
	result = json_object_get(root, "result");
	reply.ok = json_is_true(json_object_get(root, "ok"));
	reply.exit = code >= 0 && code <= EXIT_CODE_MAX ? (int)code : 1;
	reply.findings = json_incref(json_object_get(root, "findings"));
	if (reply.ok && json_is_object(result))
		reply.result = json_incref(result);
	else if (!reply.ok && error != NULL)
		reply.error = mem_strdup(error);
	else
		r = err_set(err, EBADMSG,
			    "reply of the agent: neither a result nor an error; are "
			    "agent and command of one release?");
	if (r == 0 && !reply.ok && reply.error == NULL)
		r = err_set(err, ENOMEM, "out of memory");
	if (r == 0 && !reply.ok && reply.exit == 0)
		reply.exit = 1;
	json_decref(root);
	if (r < 0)
		return r;
	*ret = reply;
	reply = (struct reply){0};
	return 0;
}

int client_exchange(int fd, const char *verb, json_t *args, struct reply *ret, struct err *err)
{
	CLEANUP(buf_done) struct buf b = {0};
	CLEANUP(freep) char *step = mem_calloc(1, READ_STEP);
	int r;

	if (step == NULL)
		return err_set(err, ENOMEM, "out of memory");
	buf_init(&b, CLIENT_REPLY_MAX);
	r = client_send(fd, verb, args, err);
	if (r < 0)
		return r;
	for (;;) {
		ssize_t n = recv(fd, step, READ_STEP, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return lost(errno, err);
		if (n == 0)
			break;
		buf_add(&b, step, (size_t)n);
		if (b.r < 0)
			return err_set(err, -b.r, "reply of the agent: %s", strerror(-b.r));
	}
	if (b.len == 0 || b.data[b.len - 1] != '\n')
		return err_set(err, EPIPE,
			       "the agent closed the connection in the middle of its "
			       "answer; see 'journalctl -u bailiwickd'");
	return reply_decode(b.data, b.len - 1, ret, err);
}

/* ---- streams ---- */

struct stream {
	int fd;
	char *bytes; /* the line that is not complete yet */
	size_t len, cap;
	int (*on_line)(void *user, const char *line, size_t len);
	void *user;
	struct err *err;
};

static int stream_lines(struct stream *s, size_t fresh)
{
	size_t begin = 0, scan = s->len;
	int r = 0;

	s->len += fresh;
	for (; r == 0 && scan < s->len; scan++) {
		if (s->bytes[scan] != '\n')
			continue;
		s->bytes[scan] = '\0';
		r = s->on_line(s->user, s->bytes + begin, scan - begin);
		begin = scan + 1;
	}
	s->len -= begin;
	memmove(s->bytes, s->bytes + begin, s->len);
	return r;
}

/* 1: go on, 0: the agent has closed. */
static int stream_read(struct stream *s)
{
	ssize_t n;
	int r;

	r = vec_grow(&s->bytes, &s->cap, s->len + 1, 1, CLIENT_LINE_MAX);
	if (r < 0)
		return err_set(s->err, -r, "the agent sent a line above %u bytes", CLIENT_LINE_MAX);
	n = recv(s->fd, s->bytes + s->len, s->cap - s->len, MSG_DONTWAIT);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 1;
	if (n < 0)
		return lost(errno, s->err);
	if (n == 0)
		return 0;
	r = stream_lines(s, (size_t)n);
	return r != 0 ? r : 1;
}

static int stream_loop(struct stream *s, int signals)
{
	struct pollfd fds[] = {{.fd = s->fd, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
	int r = 1;

	while (r > 0) {
		if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
			return lost(errno, s->err);
		if (fds[1].revents != 0)
			return 0;
		if (fds[0].revents != 0)
			r = stream_read(s);
	}
	return r;
}

int client_stream(int fd, int (*on_line)(void *user, const char *line, size_t len), void *user,
		  struct err *err)
{
	struct stream s = {.fd = fd, .on_line = on_line, .user = user, .err = err};
	CLEANUP(closep) int signals = -1;
	sigset_t set, old;
	int r;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, &old);
	signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	r = signals < 0 ? lost(errno, err) : stream_loop(&s, signals);
	free(s.bytes);
	if (signals >= 0) {
		/* Taken out, or it would end the process when it is let in again. */
		struct signalfd_siginfo info;

		while (read(signals, &info, sizeof(info)) > 0)
			continue;
	}
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}
