/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/peers_parts.h"
#include "agent/queue.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define US_PER_MS 1000ULL
/* A stream is replaced at a moment of its own between these parts of its certificate's rest. */
#define REPLACE_FIRST 50 /* percent */
#define REPLACE_LAST  90

/* --- addresses ---------------------------------------------------------------------------- */

socklen_t peers_sockaddr(const struct addr *a, uint16_t port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (void *)ret;
	struct sockaddr_in6 *v6 = (void *)ret;

	memset(ret, 0, sizeof(*ret));
	ret->ss_family = a->family;
	if (a->family == AF_INET) {
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, a->bytes, sizeof(v4->sin_addr));
		return sizeof(*v4);
	}
	v6->sin6_port = htons(port);
	memcpy(&v6->sin6_addr, a->bytes, sizeof(v6->sin6_addr));
	return sizeof(*v6);
}

void peers_from_sockaddr(const struct sockaddr_storage *ss, struct addr *ret, uint16_t *ret_port)
{
	const struct sockaddr_in *v4 = (const void *)ss;
	const struct sockaddr_in6 *v6 = (const void *)ss;

	*ret = (struct addr){.family = (uint8_t)ss->ss_family};
	if (ss->ss_family == AF_INET) {
		memcpy(ret->bytes, &v4->sin_addr, sizeof(v4->sin_addr));
		*ret_port = ntohs(v4->sin_port);
	} else {
		memcpy(ret->bytes, &v6->sin6_addr, sizeof(v6->sin6_addr));
		*ret_port = ntohs(v6->sin6_port);
	}
}

/* --- lists -------------------------------------------------------------------------------- */

static struct stream_list *list_of(const struct stream *s)
{
	return s->peer ? &s->peers->asking : &s->peers->serving;
}

static void list_remove(struct stream_list *l, struct stream *s)
{
	*(s->previous ? &s->previous->next : &l->first) = s->next;
	*(s->next ? &s->next->previous : &l->last) = s->previous;
	s->next = s->previous = NULL;
}

static void list_put_first(struct stream_list *l, struct stream *s)
{
	s->previous = NULL;
	s->next = l->first;
	*(l->first ? &l->first->previous : &l->last) = s;
	l->first = s;
}

void stream_used(struct stream *s)
{
	struct stream_list *l = list_of(s);

	s->used = mono_now();
	if (l->first == s)
		return;
	list_remove(l, s);
	list_put_first(l, s);
}

struct stream *stream_idle(const struct stream_list *l)
{
	struct stream *s = l->last;

	while (s && (s->state != STREAM_OPEN || s->in_flight || s->served_count))
		s = s->previous;
	return s;
}

void stream_refuse(struct stream *s, const char *why)
{
	free(s->refusal);
	s->refusal = mem_strdup(why);
}

/* --- end ---------------------------------------------------------------------------------- */

void stream_free(struct stream *s)
{
	if (!s)
		return;
	sd_event_source_disable_unref(s->io);
	sd_event_source_disable_unref(s->timer);
	SSL_free(s->ssl);
	closep(&s->fd);
	buf_done(&s->out);
	free(s->in);
	free(s->svid);
	free(s->refusal);
	free(s);
}

static void leave(struct stream *s, enum stream_state was)
{
	struct stream_list *l = list_of(s);
	struct peers *p = s->peers;

	list_remove(l, s);
	l->count--;
	if (was == STREAM_OPEN)
		l->open--;
	else
		l->handshakes--;
	if (was != STREAM_OPEN && s->stranger)
		l->strangers--;
	admit_closed(s);
	if (s->peer && s->peer->stream == s)
		s->peer->stream = NULL;
	if (s->peer)
		s->peer->stream_count--;
	s->io = sd_event_source_disable_unref(s->io);
	s->timer = sd_event_source_disable_unref(s->timer);
	s->next_dead = p->dead;
	p->dead = s;
	peers_after(p);
}

void stream_close(struct stream *s, const char *why)
{
	struct peers *p = s->peers;
	enum stream_state was = s->state;

	if (was == STREAM_CLOSED)
		return;
	s->state = STREAM_CLOSED;
	if (was == STREAM_OPEN) {
		ERR_clear_error();
		(void)SSL_shutdown(s->ssl);
		ERR_clear_error();
	}
	leave(s, was);
	/* The far end learns of it now and not when the memory goes. */
	(void)shutdown(s->fd, SHUT_RDWR);
	if (s->peer) {
		if (why)
			(void)snprintf(s->peer->error, sizeof(s->peer->error), "%s", why);
		ask_stream_down(s, why != NULL);
	} else {
		serve_stream_down(s);
		if (was != STREAM_OPEN)
			serve_room(p);
	}
}

void stream_drain(struct stream *s, enum peer_notice_code code, const char *why)
{
	if (s->state == STREAM_CLOSED)
		return;
	if (s->state != STREAM_OPEN) {
		stream_close(s, why);
		return;
	}
	if (!s->told)
		frames_notice(s, PEER_GOAWAY, code, why ? why : "");
	s->told = true;
	s->draining = true;
	if (s->peer && s->peer->stream == s)
		s->peer->stream = NULL;
	stream_flush(s);
	if (s->state == STREAM_OPEN && s->peer && !s->in_flight)
		stream_close(s, NULL);
}

/* --- bytes out ---------------------------------------------------------------------------- */

static void set_events(struct stream *s)
{
	bool waiting = s->sent < s->out.len;

	if (s->state == STREAM_OPEN)
		(void)sd_event_source_set_io_events(s->io, (s->paused ? 0 : EPOLLIN) |
								   (waiting ? EPOLLOUT : 0));
}

static void out_reset(struct stream *s)
{
	if (s->out.cap > PEERS_OUT_KEEP) {
		buf_done(&s->out);
		buf_init(&s->out, PEERS_OUT_MAX);
	}
	s->out.len = 0;
	s->sent = 0;
}

/* 1: all is written, 0: the rest has to wait, negative: the stream is broken. */
static int write_out(struct stream *s)
{
	while (s->sent < s->out.len) {
		size_t n = 0;

		ERR_clear_error();
		if (SSL_write_ex(s->ssl, s->out.data + s->sent, s->out.len - s->sent, &n) == 1) {
			s->sent += n;
			continue;
		}
		switch (SSL_get_error(s->ssl, 0)) {
		case SSL_ERROR_WANT_READ:
		case SSL_ERROR_WANT_WRITE:
			return 0;
		default:
			return -EPIPE;
		}
	}
	return 1;
}

void stream_flush(struct stream *s)
{
	bool waited = s->paused;
	int r;

	if (s->state != STREAM_OPEN)
		return;
	if (s->out.r < 0) {
		/* Half a frame cannot be taken back. */
		stream_close(s, s->out.r == -ENOMEM ? "out of memory" : "it does not read");
		return;
	}
	if (s->out.len == 0)
		return;
	r = write_out(s);
	if (r < 0) {
		stream_close(s, "the connection broke");
		return;
	}
	if (r > 0)
		out_reset(s);
	s->paused = s->out.len - s->sent > PEERS_OUT_PAUSE;
	if (r == 0 || waited || s->paused)
		set_events(s);
}

void stream_dirty(struct stream *s)
{
	struct peers *p = s->peers;

	if (s->dirty || s->state != STREAM_OPEN)
		return;
	s->dirty = true;
	s->next_dirty = p->dirty;
	p->dirty = s;
	peers_after(p);
}

void stream_ping(struct stream *s)
{
	s->pinged = mono_now();
	s->ping_id++;
	peer_bare_encode(&s->out, PEER_PING, s->ping_id);
	stream_dirty(s);
}

/* --- bytes in ----------------------------------------------------------------------------- */

static bool keep_rest(struct stream *s, const uint8_t *rest, size_t len)
{
	uint8_t *kept = len ? mem_dup(rest, len) : NULL;

	free(s->in);
	s->in = kept;
	s->in_len = kept ? len : 0;
	return !len || kept;
}

/* What came, behind what was kept of before; frames are read where they lie. */
static void take_bytes(struct stream *s, size_t got)
{
	struct peers *p = s->peers;
	size_t len = s->in_len + got, used;

	if (s->in_len)
		memcpy(p->scratch, s->in, s->in_len);
	queue_cork(p->agent->queue, true);
	used = frames_read(s, p->scratch, len);
	queue_cork(p->agent->queue, false);
	if (s->state == STREAM_OPEN && !keep_rest(s, p->scratch + used, len - used))
		stream_close(s, "out of memory");
}

/* Bytes that were read; 0: nothing more is there, or the stream has ended. */
static size_t read_once(struct stream *s)
{
	struct peers *p = s->peers;
	size_t got = 0;

	ERR_clear_error();
	if (SSL_read_ex(s->ssl, p->scratch + s->in_len, PEERS_READ_MAX, &got) == 1) {
		s->heard = mono_now();
		take_bytes(s, got);
		return s->state == STREAM_OPEN ? got : 0;
	}
	switch (SSL_get_error(s->ssl, 0)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return 0;
	case SSL_ERROR_ZERO_RETURN:
		stream_close(s, s->draining ? NULL : "the other end closed the stream");
		return 0;
	default:
		stream_close(s, s->tls_messages > PEERS_TLS_MESSAGES ? "keys without end"
				: s->draining                        ? NULL
								     : "the connection broke");
		return 0;
	}
}

static void read_next_turn(struct stream *s)
{
	struct peers *p = s->peers;

	if (s->unread)
		return;
	s->unread = true;
	s->next_unread = p->unread;
	p->unread = s;
	peers_after(p);
}

/*
 * What OpenSSL has read already wakes nobody up, and it reads ahead: a peer that sends without end
 * would be read without end. Others, and the heartbeat, have their turn in between.
 */
static void read_some(struct stream *s)
{
	size_t bytes = 0, got;
	bool more = false;

	for (unsigned n = 1; (got = read_once(s)) > 0 && SSL_has_pending(s->ssl) && !s->paused;
	     n++) {
		bytes += got;
		more = n == PEERS_READS_A_TURN || bytes >= PEERS_READ_MAX;
		if (more)
			break;
	}
	peers_flush(s->peers);
	stream_flush(s);
	if (more && s->state == STREAM_OPEN)
		read_next_turn(s);
}

void stream_read_on(struct stream *s)
{
	s->unread = false;
	if (s->state == STREAM_OPEN && !s->paused)
		read_some(s);
}

void stream_write(struct stream *s)
{
	bool waited = s->paused;

	stream_flush(s);
	/* What OpenSSL has read meanwhile wakes nobody up. */
	if (waited && !s->paused && s->state == STREAM_OPEN && SSL_has_pending(s->ssl))
		read_some(s);
}

/* --- handshake ---------------------------------------------------------------------------- */

static struct mono replace_at(const struct stream *s)
{
	int64_t left = s->expires.s - agent_now(s->peers->agent).s;
	int64_t share = REPLACE_FIRST + peers_random(REPLACE_LAST - REPLACE_FIRST);
	struct mono at = s->since;

	/* A fleet's certificates must not be shown again all at once. */
	at.ns += left > 0 ? left * share / 100 * 1000000000 : 0;
	return at;
}

static void opened(struct stream *s)
{
	struct stream_list *l = list_of(s);
	struct peers *p = s->peers;

	s->timer = sd_event_source_disable_unref(s->timer);
	s->state = STREAM_OPEN;
	l->handshakes--;
	l->strangers -= s->stranger;
	l->open++;
	s->since = s->heard = s->used = p->untidy = mono_now();
	s->replace_at = replace_at(s);
	s->in_flight_max = PEERS_IN_FLIGHT_MAX;
	set_events(s);
	frames_hello(s);
	if (s->peer)
		ask_stream_up(s);
	else
		serve_opened(s);
	stream_flush(s);
	if (s->state == STREAM_OPEN && SSL_has_pending(s->ssl))
		read_some(s);
}

static const char *handshake_error(const struct stream *s)
{
	unsigned long code = ERR_peek_error();
	const char *text = code ? ERR_reason_error_string(code) : NULL;

	return s->refusal ? s->refusal : text ? text : "the connection broke";
}

static void refused(struct stream *s, const char *why)
{
	/* A copy: the error belongs to a queue that is cleared, the refusal to the stream. */
	char text[PEERS_DETAIL_MAX];

	(void)snprintf(text, sizeof(text), "TLS: %s", why);
	ERR_clear_error();
	s->peers->counters.refused_streams++;
	peers_log_refused(s->peers, s, text);
	stream_close(s, text);
}

/* The contexts may have gone since connect(). */
static bool start_tls(struct stream *s)
{
	SSL_CTX *ctx = s->peer ? s->peers->client : s->peers->server;

	s->ssl = ctx ? SSL_new(ctx) : NULL;
	if (!s->ssl || SSL_set_fd(s->ssl, s->fd) != 1)
		return false;
	SSL_set_app_data(s->ssl, s);
	if (s->peer)
		SSL_set_connect_state(s->ssl);
	else
		SSL_set_accept_state(s->ssl);
	s->state = STREAM_HANDSHAKE;
	return true;
}

static void handshake(struct stream *s)
{
	int r;

	ERR_clear_error();
	r = SSL_do_handshake(s->ssl);
	if (r == 1) {
		if (peers_tls_check(s) < 0)
			refused(s, handshake_error(s));
		else
			opened(s);
		return;
	}
	switch (SSL_get_error(s->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		(void)sd_event_source_set_io_events(s->io, EPOLLIN);
		return;
	case SSL_ERROR_WANT_WRITE:
		(void)sd_event_source_set_io_events(s->io, EPOLLOUT);
		return;
	default:
		refused(s, handshake_error(s));
	}
}

/*
 * Nothing is made for who has connected until he says something, and who hangs up without a word
 * has cost nobody's share.
 */
static void spoken_to(struct stream *s)
{
	char first;
	ssize_t n = recv(s->fd, &first, sizeof(first), MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		stream_close(s, NULL);
	else if (!admit_handshake(s))
		refused(s, "too many handshakes from this address");
	else if (start_tls(s))
		handshake(s);
	else
		stream_close(s, NULL);
}

static void connected(struct stream *s)
{
	int code = 0;
	socklen_t len = sizeof(code);

	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
		code = errno;
	if (code) {
		stream_close(s, strerror(code));
		return;
	}
	if (start_tls(s))
		handshake(s);
	else
		stream_close(s, "out of memory");
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *user)
{
	struct stream *s = user;

	(void)source;
	(void)fd;
	switch (s->state) {
	case STREAM_CONNECTING:
		connected(s);
		break;
	case STREAM_HANDSHAKE:
		if (s->ssl)
			handshake(s);
		else
			spoken_to(s);
		break;
	case STREAM_OPEN:
		if (revents & EPOLLOUT)
			stream_write(s);
		if (s->state == STREAM_OPEN && revents & (EPOLLIN | EPOLLHUP | EPOLLERR))
			read_some(s);
		break;
	case STREAM_CLOSED:
		break;
	}
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *user)
{
	struct stream *s = user;

	(void)source;
	(void)usec;
	stream_close(s, s->state == STREAM_CONNECTING ? "no answer from this address"
						      : "TLS took too long");
	return 0;
}

/* --- beginning ---------------------------------------------------------------------------- */

static int set_options(int fd)
{
	const int on = 1, timeout_ms = PEERS_DEAD_S * 1000;

	/* A question is one small record: it must not wait for another. */
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms)) < 0)
		return -errno;
	return 0;
}

static struct stream *stream_new(struct peers *p, struct peer *n, int take_fd, uint32_t limit_ms,
				 uint32_t events)
{
	struct stream *s = mem_calloc(1, sizeof(*s));
	int r = -ENOMEM;

	if (!s) {
		closep(&take_fd);
		return NULL;
	}
	s->peers = p;
	s->peer = n;
	s->fd = take_fd;
	s->since = mono_now();
	buf_init(&s->out, PEERS_OUT_MAX);
	r = set_options(s->fd);
	if (r >= 0)
		r = sd_event_add_io(p->agent->event, &s->io, s->fd, events, on_io, s);
	if (r >= 0)
		r = sd_event_add_time_relative(p->agent->event, &s->timer, CLOCK_MONOTONIC,
					       limit_ms * US_PER_MS, 0, on_timer, s);
	if (r < 0) {
		stream_free(s);
		return NULL;
	}
	list_put_first(list_of(s), s);
	list_of(s)->count++;
	list_of(s)->handshakes++;
	if (n)
		n->stream_count++;
	return s;
}

void stream_connect(struct peer *n, struct peers *p)
{
	struct sockaddr_storage to;
	socklen_t len = peers_sockaddr(&n->address, n->port, &to);
	int fd = socket(n->address.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct stream *s;

	n->stream = NULL;
	n->ahead = true;
	n->tried_at = mono_now();
	if (fd < 0 ||
	    (connect(fd, (const struct sockaddr *)&to, len) < 0 && errno != EINPROGRESS)) {
		(void)snprintf(n->error, sizeof(n->error), "%s", strerror(errno));
		closep(&fd);
		return;
	}
	s = stream_new(p, n, fd, p->limits.connect_ms, EPOLLOUT);
	if (!s) {
		(void)snprintf(n->error, sizeof(n->error), "out of memory");
		return;
	}
	s->state = STREAM_CONNECTING;
	s->address = n->address;
	s->port = n->port;
	n->stream = s;
}

void stream_accept(struct peers *p, int take_fd, const struct addr *address, uint16_t port)
{
	struct stream *s = stream_new(p, NULL, take_fd, p->limits.handshake_ms, EPOLLIN);

	if (!s)
		return;
	s->address = *address;
	s->port = port;
	s->state = STREAM_HANDSHAKE;
	admit_accepted(s);
}
