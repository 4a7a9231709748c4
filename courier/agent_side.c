/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "courier/agent_side.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/release.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#define PREFIX_LEN    8
#define READ_MAX      (256U << 10)
#define KEEP_MAX      (64U << 10)
#define OUT_MAX       (COURIER_BODY_MAX + (8U << 20))
#define RETRY_FIRST_S 1
#define RETRY_LAST_S  10

struct agent_side {
	struct agent_side_handler handler;
	sd_event *event;
	sd_event_source *io, *retry;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	int fd;
	char *in;
	size_t in_len, in_cap, need;
	struct buf out;
	size_t sent;
	unsigned failures;
	bool told; /* that there is no agent */
};

static void again(struct agent_side *s)
{
	uint64_t wait = RETRY_FIRST_S + s->failures;

	s->failures++;
	if (wait > RETRY_LAST_S)
		wait = RETRY_LAST_S;
	(void)sd_event_source_set_time_relative(s->retry, wait * 1000000);
	(void)sd_event_source_set_enabled(s->retry, SD_EVENT_ONESHOT);
}

static void reset_input(struct agent_side *s)
{
	if (s->in_cap > KEEP_MAX) {
		free(TAKE_PTR(s->in));
		s->in_cap = 0;
	}
	s->in_len = 0;
	s->need = PREFIX_LEN;
}

static void hang_up(struct agent_side *s)
{
	s->io = sd_event_source_disable_unref(s->io);
	closep(&s->fd);
	s->fd = -1;
	reset_input(s);
	buf_done(&s->out);
	buf_init(&s->out, OUT_MAX);
	s->sent = 0;
	s->handler.closed(s->handler.user);
	again(s);
}

/* --- output ------------------------------------------------------------------------------- */

static bool flush(struct agent_side *s)
{
	while (s->sent < s->out.len) {
		ssize_t n = send(s->fd, s->out.data + s->sent, s->out.len - s->sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN) {
			(void)sd_event_source_set_io_events(s->io, EPOLLIN | EPOLLOUT);
			return true;
		}
		if (n < 0)
			return false;
		s->sent += (size_t)n;
	}
	buf_done(&s->out);
	buf_init(&s->out, OUT_MAX);
	s->sent = 0;
	(void)sd_event_source_set_io_events(s->io, EPOLLIN);
	return true;
}

/* Written at the next turn of the loop: the caller may be in the middle of something. */
void agent_side_send(struct agent_side *s, json_t *take_header, const void *body, size_t len)
{
	if (s->fd >= 0 && take_header) {
		courier_frame_write(&s->out, take_header, body, len);
		(void)sd_event_source_set_io_events(s->io, EPOLLIN | EPOLLOUT);
	}
	json_decref(take_header);
}

/* --- input -------------------------------------------------------------------------------- */

/* 1: the frame may be whole, 0: nothing more now, negative: the connection is over. */
static int read_some(struct agent_side *s)
{
	size_t want = s->need - s->in_len;
	ssize_t n;

	if (want > READ_MAX)
		want = READ_MAX;
	if (vec_grow(&s->in, &s->in_cap, s->in_len + want, 1,
		     (size_t)2 * AGENT_SIDE_BODY_MAX + COURIER_HEADER_MAX) < 0)
		return -ENOMEM;
	n = recv(s->fd, s->in + s->in_len, want, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	s->in_len += (size_t)n;
	return s->in_len == s->need;
}

static int take_frame(struct agent_side *s, struct err *err)
{
	struct courier_frame f = {0};
	size_t used = 0, need = 0;
	int r = courier_frame_read(s->in, s->in_len, AGENT_SIDE_BODY_MAX, &f, &used, &need, err);

	if (r == 0 && need <= s->in_len)
		return err_set(err, EBADMSG, "a frame that does not end");
	if (r == 0)
		s->need = need;
	if (r <= 0)
		return r;
	s->failures = 0;
	s->told = false;
	r = s->handler.frame(s->handler.user, &f, err);
	courier_frame_done(&f);
	reset_input(s);
	return r;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *user)
{
	struct agent_side *s = user;
	struct err err = {{0}};
	int r = 0;

	(void)source;
	(void)fd;
	/* Something that would not fit: the agent has not read for long, or wants too much. */
	if (s->out.r < 0 || ((revents & EPOLLOUT) && !flush(s))) {
		hang_up(s);
		return 0;
	}
	if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return 0;
	r = read_some(s);
	if (r == 1)
		r = take_frame(s, &err);
	if (r >= 0)
		return 0;
	if (r != -ECONNRESET)
		log_warn("agent: %s", err.text[0] ? err.text : strerror(-r));
	else if (!s->told)
		log_info("agent: it has hung up");
	s->told = true;
	hang_up(s);
	return 0;
}

/* --- connecting --------------------------------------------------------------------------- */

static int try_connect(struct agent_side *s)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", s->path);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	r = sd_event_add_io(s->event, &s->io, fd, EPOLLIN, on_io, s);
	if (r < 0)
		return r;
	s->fd = take_fd(&fd);
	agent_side_send(s,
			json_pack("{s:s,s:i,s:s}", "type", "hello", "version", COURIER_VERSION,
				  "release", RELEASE),
			NULL, 0);
	return 0;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *user)
{
	struct agent_side *s = user;
	int r = try_connect(s);

	(void)source;
	(void)usec;
	if (r >= 0)
		return 0;
	if (!s->told)
		log_warn("agent: %s: %s; tried again until it is there", s->path, strerror(-r));
	s->told = true;
	again(s);
	return 0;
}

int agent_side_new(sd_event *event, const char *socket_path,
		   const struct agent_side_handler *handler, struct agent_side **ret,
		   struct err *err)
{
	struct agent_side *s;
	int r;

	if (strlen(socket_path) >= sizeof(s->path))
		return err_set(err, ENAMETOOLONG, "%s: too long for a socket", socket_path);
	s = mem_calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, ENOMEM, "out of memory");
	s->handler = *handler;
	s->event = event;
	s->fd = -1;
	s->need = PREFIX_LEN;
	buf_init(&s->out, OUT_MAX);
	(void)snprintf(s->path, sizeof(s->path), "%s", socket_path);
	r = sd_event_add_time_relative(event, &s->retry, CLOCK_MONOTONIC, 0, 0, on_retry, s);
	if (r < 0) {
		agent_side_free(s);
		return err_set(err, -r, "event loop: %s", strerror(-r));
	}
	*ret = s;
	return 0;
}

void agent_side_free(struct agent_side *s)
{
	if (!s)
		return;
	sd_event_source_disable_unref(s->io);
	sd_event_source_disable_unref(s->retry);
	closep(&s->fd);
	buf_done(&s->out);
	free(s->in);
	free(s);
}
