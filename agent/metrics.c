/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/metrics.h"

#include "agent/run_socket.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG   8
#define LISTENERS 2
#define PORT_MAX  65535

struct scrape {
	struct metrics *metrics;
	sd_event_source *io;
	int fd;
	struct mono since;
	char request[METRICS_REQUEST_MAX];
	size_t request_len;
	struct buf answer;
	size_t sent;
	bool answering;
};

struct metrics {
	struct agent *agent;
	struct run_socket local;
	int inet;
	sd_event_source *listeners[LISTENERS];
	struct scrape *scrapes[METRICS_CONNECTIONS_MAX];
};

/* --- one scrape ------------------------------------------------------------------------------ */

static void scrape_end(struct scrape *s)
{
	for (size_t i = 0; i < METRICS_CONNECTIONS_MAX; i++) {
		if (s->metrics->scrapes[i] == s)
			s->metrics->scrapes[i] = NULL;
	}
	sd_event_source_disable_unref(s->io);
	closep(&s->fd);
	buf_done(&s->answer);
	free(s);
}

static void send_some(struct scrape *s)
{
	while (s->sent < s->answer.len) {
		ssize_t n = send(s->fd, s->answer.data + s->sent, s->answer.len - s->sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN) {
			(void)sd_event_source_set_io_events(s->io, EPOLLOUT);
			return;
		}
		if (n < 0)
			break;
		s->sent += (size_t)n;
	}
	scrape_end(s);
}

static void answer(struct scrape *s)
{
	CLEANUP(buf_done) struct buf body = {0};
	bool get = str_starts(s->request, "GET "), found;

	found = str_starts(s->request, "GET /metrics ") || str_starts(s->request, "GET / ") ||
		str_starts(s->request, "GET /metrics?");
	buf_init(&body, METRICS_TEXT_MAX);
	buf_init(&s->answer, METRICS_TEXT_MAX + METRICS_REQUEST_MAX);
	if (found)
		metrics_text(s->metrics->agent, &body);
	else
		buf_puts(&body,
			 get ? "not here; /metrics would be right\n" : "only GET is understood\n");
	s->answering = true;
	buf_printf(&s->answer,
		   "HTTP/1.0 %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
		   "Content-Length: %zu\r\nConnection: close\r\n\r\n",
		   found ? "200 OK"
		   : get ? "404 Not Found"
			 : "405 Method Not Allowed",
		   body.len);
	buf_add(&s->answer, body.data, body.len);
	if (body.r < 0 || s->answer.r < 0)
		scrape_end(s);
	else
		send_some(s);
}

static bool request_whole(const struct scrape *s)
{
	return strstr(s->request, "\r\n\r\n") || strstr(s->request, "\n\n");
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *user)
{
	struct scrape *s = user;
	size_t room = sizeof(s->request) - 1 - s->request_len;
	ssize_t n;

	(void)source;
	if (s->answering) {
		if (revents & (EPOLLERR | EPOLLHUP))
			scrape_end(s);
		else
			send_some(s);
		return 0;
	}
	n = room ? recv(fd, s->request + s->request_len, room, MSG_DONTWAIT) : 0;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		scrape_end(s);
		return 0;
	}
	s->request_len += (size_t)n;
	s->request[s->request_len] = '\0';
	if (request_whole(s))
		answer(s);
	return 0;
}

/* --- accepting ------------------------------------------------------------------------------- */

/* A free place, or that of the oldest one if it stalls. */
static struct scrape **find_place(struct metrics *m, struct mono now)
{
	struct scrape **oldest = &m->scrapes[0];

	for (size_t i = 0; i < METRICS_CONNECTIONS_MAX; i++) {
		if (!m->scrapes[i])
			return &m->scrapes[i];
		if (m->scrapes[i]->since.ns < (*oldest)->since.ns)
			oldest = &m->scrapes[i];
	}
	if (mono_ms_since((*oldest)->since, now) < METRICS_STALL_MS)
		return NULL;
	scrape_end(*oldest);
	return oldest;
}

static int on_connect(sd_event_source *source, int listen_fd, uint32_t revents, void *user)
{
	struct metrics *m = user;
	CLEANUP(closep) int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct mono now = mono_now();
	struct scrape **place, *s;

	(void)source;
	(void)revents;
	place = fd < 0 ? NULL : find_place(m, now);
	if (!place)
		return 0;
	s = mem_calloc(1, sizeof(*s));
	if (!s)
		return 0;
	s->metrics = m;
	s->since = now;
	s->fd = take_fd(&fd);
	*place = s;
	if (sd_event_add_io(m->agent->event, &s->io, s->fd, EPOLLIN, on_io, s) < 0)
		scrape_end(s);
	else
		/* Whoever looks on waits for those who act. */
		(void)sd_event_source_set_priority(s->io, SD_EVENT_PRIORITY_IDLE);
	return 0;
}

/* --- sockets --------------------------------------------------------------------------------- */

/* "127.0.0.1:9713" or "[::1]:9713"; loopback only. */
static int parse_listen(const char *text, struct addr *ret_addr, uint16_t *ret_port)
{
	CLEANUP(freep) char *copy = mem_strdup(text);
	char *colon = copy ? strrchr(copy, ':') : NULL, *host = copy;
	uint32_t port;

	if (!colon || text_u32(colon + 1, 1, PORT_MAX, &port) < 0)
		return -EINVAL;
	*colon = '\0';
	if (*host == '[' && str_ends(host, "]")) {
		host++;
		host[strlen(host) - 1] = '\0';
	}
	if (addr_parse(host, ret_addr) < 0 || !addr_is_loopback(ret_addr))
		return -EINVAL;
	*ret_port = (uint16_t)port;
	return 0;
}

static int bind_inet(int fd, const struct addr *a, uint16_t port)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

	if (a->family == AF_INET6) {
		memcpy(&v6.sin6_addr, a->bytes, sizeof(v6.sin6_addr));
		return bind(fd, (const struct sockaddr *)&v6, sizeof(v6));
	}
	memcpy(&v4.sin_addr, a->bytes, sizeof(v4.sin_addr));
	return bind(fd, (const struct sockaddr *)&v4, sizeof(v4));
}

static int listen_inet(const char *text, struct err *err)
{
	CLEANUP(closep) int fd = -1;
	struct addr a;
	uint16_t port;
	int yes = 1;

	if (parse_listen(text, &a, &port) < 0)
		return err_set(err, EINVAL,
			       "metrics: listen: %s; a loopback address with a port, like "
			       "127.0.0.1:9713, would be right",
			       text);
	fd = socket(a.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (fd < 0 || bind_inet(fd, &a, port) < 0 || listen(fd, BACKLOG) < 0)
		return err_set(err, errno, "metrics: listen: %s: %s", text, strerror(errno));
	return take_fd(&fd);
}

static int open_listeners(struct metrics *m, struct err *err)
{
	const struct config *c = &m->agent->config;
	int r = 0;

	if (c->metrics_unix)
		r = run_socket_open(c->run_dir, "metrics.sock", &m->local, err);
	if (r >= 0 && c->metrics_listen && c->metrics_listen[0]) {
		m->inet = listen_inet(c->metrics_listen, err);
		r = m->inet;
	}
	for (size_t i = 0; i < LISTENERS && r >= 0; i++) {
		int fd = i == 0 ? m->local.fd : m->inet;

		if (fd < 0)
			continue;
		r = sd_event_add_io(m->agent->event, &m->listeners[i], fd, EPOLLIN, on_connect, m);
		if (r < 0)
			(void)err_set(err, -r, "metrics: %s", strerror(-r));
	}
	return r < 0 ? r : 0;
}

int metrics_new(struct agent *a, struct metrics **ret, struct err *err)
{
	struct metrics *m = mem_calloc(1, sizeof(*m));
	int r;

	if (!m)
		return err_set(err, ENOMEM, "metrics: out of memory");
	m->agent = a;
	m->local.fd = m->inet = -1;
	r = open_listeners(m, err);
	if (r < 0) {
		metrics_free(m);
		return r;
	}
	*ret = m;
	return 0;
}

void metrics_free(struct metrics *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < METRICS_CONNECTIONS_MAX; i++) {
		if (m->scrapes[i])
			scrape_end(m->scrapes[i]);
	}
	for (size_t i = 0; i < LISTENERS; i++)
		sd_event_source_disable_unref(m->listeners[i]);
	run_socket_done(&m->local);
	closep(&m->inet);
	free(m);
}
