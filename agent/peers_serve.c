/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The side that is asked. Who connects is known only behind the handshake: handshakes are few at a
 * time, fewer from one address, fewer still from addresses that are no node's, and end soon. Who
 * says nothing makes room for the next; where all are in the middle of it, those of nodes that come
 * above wait in the kernel's queue. What they cost in time: agent/peers_admit.c.
 */
#include "agent/attest_port.h"
#include "agent/peers_parts.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BACKLOG        1024
#define ACCEPTS_A_TURN 16
#define LISTEN_AGAIN_S 5

/* --- answering ---------------------------------------------------------------------------- */

static void answer_with(struct stream *s, uint64_t id, enum peer_status status)
{
	struct peer_answer a = {.status = (uint16_t)status, .uid = UINT32_MAX};

	peer_answer_encode(&s->out, id, &a);
	stream_dirty(s);
}

static void served_free(struct served *v)
{
	struct stream *s = v->stream;

	*(v->previous ? &v->previous->next : &s->served) = v->next;
	if (v->next)
		v->next->previous = v->previous;
	s->served_count--;
	free(v);
}

static void on_answer(void *ticket, const struct peer_answer *answer)
{
	struct served *v = ticket;
	struct stream *s = v->stream;

	if (s->state == STREAM_OPEN) {
		peer_answer_encode(&s->out, v->id, answer);
		stream_dirty(s);
	}
	served_free(v);
}

/* A node has so many, over whatever streams. */
static bool within_rate(struct stream *s)
{
	uint32_t rate = s->peers->limits.answers_per_s;

	return bucket_take(&s->asker->answers, rate, rate, mono_now());
}

void serve_query(struct stream *s, uint64_t id, const struct peer_query *query)
{
	struct peers *p = s->peers;
	struct served *v = NULL;

	stream_used(s);
	p->counters.served++;
	if (within_rate(s) && s->served_count < PEERS_IN_FLIGHT_MAX)
		v = mem_calloc(1, sizeof(*v));
	if (!v) {
		p->counters.served_busy++;
		answer_with(s, id, PEER_BUSY);
		return;
	}
	if (!p->answerer.answer) {
		free(v);
		answer_with(s, id, PEER_INTERNAL);
		return;
	}
	*v = (struct served){.stream = s, .id = id, .next = s->served};
	if (s->served)
		s->served->previous = v;
	s->served = v;
	s->served_count++;
	p->answerer.answer(p->answerer.user, s->svid->name, query, on_answer, v);
}

void serve_stream_down(struct stream *s)
{
	struct peers *p = s->peers;

	while (s->served) {
		if (p->answerer.cancel)
			p->answerer.cancel(p->answerer.user, s->served);
		served_free(s->served);
	}
}

/* --- accepting ---------------------------------------------------------------------------- */

static bool is_silent(const struct stream *s)
{
	return !s->ssl;
}

/* Handshakes from one address, or (NULL) those of strangers or of others. */
struct crowd {
	const struct addr *address;
	bool strangers;
};

static bool belongs(const struct crowd *c, const struct stream *s)
{
	return s->state == STREAM_HANDSHAKE &&
	       (c->address ? addr_eq(c->address, &s->address) : s->stranger == c->strangers);
}

/* The one that has been silent longest, or the oldest. */
static struct stream *longest_of(const struct peers *p, const struct crowd *c, uint32_t *ret_count)
{
	struct stream *longest = NULL;

	*ret_count = 0;
	for (struct stream *s = p->serving.first; s; s = s->next) {
		if (!belongs(c, s))
			continue;
		/* The list is in the order in which they came, the oldest last. */
		if (!longest || is_silent(s) || !is_silent(longest))
			longest = s;
		++*ret_count;
	}
	return longest;
}

/*
 * Any process of a host may connect from its address, and must not keep its agent out by
 * connections on which it says nothing: the newest is let in, and another goes. The same among all
 * strangers.
 */
static void end_handshake_of(struct peers *p, const struct crowd *c, uint32_t max)
{
	struct stream *longest;
	uint32_t count;

	if (p->serving.handshakes < max)
		return;
	longest = longest_of(p, c, &count);
	if (count < max)
		return;
	p->counters.refused_streams++;
	stream_close(longest, NULL);
}

static void set_accepting(struct peers *p, bool on)
{
	p->accept_paused = !on;
	for (size_t i = 0; i < p->listener_count; i++)
		(void)sd_event_source_set_enabled(p->listeners[i].io,
						  on ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* Strangers take no room of nodes. */
static bool has_room(const struct peers *p)
{
	return p->serving.handshakes - p->serving.strangers < p->limits.handshakes_max;
}

void serve_room(struct peers *p)
{
	if (p->accept_paused && has_room(p))
		set_accepting(p, true);
}

/* A node speaks as soon as it is connected: who does not is none. */
static bool make_room(struct peers *p)
{
	const struct crowd nodes = {.strangers = false};
	struct stream *longest;
	uint32_t count;

	if (has_room(p))
		return true;
	longest = longest_of(p, &nodes, &count);
	if (!longest || !is_silent(longest))
		return false;
	p->counters.refused_streams++;
	stream_close(longest, NULL);
	return true;
}

/* Room is made by ending what is idle: a node that opens streams without end must not end others'.
 */
static void end_surplus(const struct stream *opened)
{
	struct stream *oldest = NULL;
	unsigned count = 0;

	for (struct stream *s = opened->peers->serving.first; s; s = s->next) {
		if (s == opened || s->state != STREAM_OPEN ||
		    !str_eq(s->svid->name, opened->svid->name))
			continue;
		oldest = s; /* the list is in the order of use */
		count++;
	}
	if (count < PEERS_STREAMS_A_NODE)
		return;
	stream_drain(oldest, PEER_NOTICE_BYE, "a node needs fewer streams");
	stream_close(oldest, NULL);
}

/* Not for a connection, which anybody can make: for who has shown who he is. */
static bool fits(struct stream *opened)
{
	struct peers *p = opened->peers;
	struct stream *idle;

	if (p->serving.open <= p->limits.streams_max)
		return true;
	stream_used(opened);
	idle = stream_idle(&p->serving);
	if (!idle || idle == opened)
		return false;
	stream_drain(idle, PEER_NOTICE_BYE, "others ask");
	stream_close(idle, NULL);
	return true;
}

void serve_opened(struct stream *s)
{
	end_surplus(s);
	if (!admit_opened(s) || !fits(s)) {
		s->peers->counters.refused_streams++;
		stream_drain(s, PEER_NOTICE_BYE, "too many nodes ask");
		stream_close(s, NULL);
	}
	serve_room(s->peers);
}

/* False: nobody else waits. */
static bool accept_one(struct peers *p, int listener)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	struct addr address;
	uint16_t port = 0;
	int fd = accept4(listener, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		/* No descriptor or memory for it: it would wake us up again and again. */
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			set_accepting(p, false);
		/* One that went away meanwhile is no reason to leave the others waiting. */
		return errno == ECONNABORTED || errno == EINTR;
	}
	peers_from_sockaddr(&from, &address, &port);
	if (!p->server) {
		p->counters.refused_streams++;
		(void)close(fd);
		return true;
	}
	end_handshake_of(p, &(struct crowd){.address = &address}, p->limits.handshakes_per_address);
	if (!admit_find(p, &address))
		end_handshake_of(p, &(struct crowd){.strangers = true}, p->limits.strangers_max);
	stream_accept(p, fd, &address, port);
	return true;
}

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *user)
{
	struct peers *p = user;

	(void)source;
	(void)revents;
	for (unsigned i = 0; i < ACCEPTS_A_TURN; i++) {
		if (!make_room(p)) {
			set_accepting(p, false);
			break;
		}
		if (!accept_one(p, fd))
			break;
	}
	return 0;
}

/* --- listening ---------------------------------------------------------------------------- */

static int bind_to(const struct addr *address, uint16_t port, struct err *err)
{
	const int on = 1;
	char text[ADDR_TEXT_MAX];
	struct sockaddr_storage at;
	socklen_t len = peers_sockaddr(address, port, &at);
	int fd = socket(address->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r = 0;

	/* Two sockets for the two families: so each host has what it has. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    (address->family == AF_INET6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0) ||
	    bind(fd, (const struct sockaddr *)&at, len) < 0 || listen(fd, BACKLOG) < 0)
		r = -errno;
	if (r >= 0)
		return fd;
	closep(&fd);
	return err_set(err, -r, "attest: %s port %u: %s", addr_format(text, address), port,
		       strerror(-r));
}

/* A socket that systemd kept while no agent ran, or -1. */
static int take_inherited(struct peers *p, const struct addr *address, uint16_t port)
{
	for (size_t i = 0; i < p->inherited_count; i++) {
		if (p->inherited[i] >= 0 &&
		    attest_port_is_at(p->agent, p->inherited[i], address, port))
			return take_fd(&p->inherited[i]);
	}
	return -1;
}

/* What does not listen where it should stands in the way of what will. */
static void sort_inherited(struct peers *p, const struct addr *list, size_t count)
{
	uint16_t port = p->agent->config.attest_port;

	for (size_t i = 0; i < p->inherited_count; i++) {
		bool wanted = false;

		for (size_t k = 0; k < count && p->inherited[i] >= 0 && !wanted; k++)
			wanted = attest_port_is_at(p->agent, p->inherited[i], &list[k], port);
		if (!wanted)
			closep(&p->inherited[i]);
	}
}

static int listen_at(struct peers *p, const struct addr *address, struct err *err)
{
	struct peers_listener *l = &p->listeners[p->listener_count];
	uint16_t port = p->agent->config.attest_port;
	int fd = take_inherited(p, address, port), r;

	if (fd < 0)
		fd = bind_to(address, port, err);
	if (fd < 0)
		return fd;
	r = sd_event_add_io(p->agent->event, &l->io, fd, EPOLLIN, on_accept, p);
	if (r < 0) {
		closep(&fd);
		return err_set(err, -r, "attest: %s", strerror(-r));
	}
	l->fd = fd;
	l->address = *address;
	p->listener_count++;
	attest_port_keep(fd);
	return 0;
}

static void tell_listen_error(struct peers *p, const struct err *err)
{
	if (strncmp(p->listen_error, err->text, sizeof(p->listen_error) - 1) != 0)
		log_error("%s; other nodes cannot ask this one", err->text);
	(void)snprintf(p->listen_error, sizeof(p->listen_error), "%.250s", err->text);
	p->listen_again = mono_now();
	p->listen_again.ns += LISTEN_AGAIN_S * 1000000000LL;
}

void serve_listen(struct peers *p)
{
	static const struct addr any[] = {{.family = AF_INET}, {.family = AF_INET6}};
	const struct config *c = &p->agent->config;
	const struct addr *list = c->attest_listen_count ? c->attest_listen : any;
	size_t count = c->attest_listen_count ? c->attest_listen_count : ARRAY_LEN(any);
	struct err err = {{0}};
	int r = 0;

	if (p->listener_count || !p->server || p->ending || mono_now().ns < p->listen_again.ns)
		return;
	sort_inherited(p, list, count);
	attest_port_forget();
	for (size_t i = 0; i < count && r >= 0; i++) {
		r = listen_at(p, &list[i], &err);
		if (r == -EAFNOSUPPORT && list == any)
			r = 0;
	}
	if (r >= 0 && !p->listener_count)
		r = err_set(&err, EAFNOSUPPORT, "attest: this host has neither IPv4 nor IPv6");
	if (r < 0) {
		serve_close(p);
		tell_listen_error(p, &err);
		return;
	}
	p->listen_error[0] = '\0';
	log_info("attest: other nodes may ask at port %u", c->attest_port);
}

void serve_close(struct peers *p)
{
	for (size_t i = 0; i < p->listener_count; i++) {
		sd_event_source_disable_unref(p->listeners[i].io);
		closep(&p->listeners[i].fd);
	}
	p->listener_count = 0;
	p->accept_paused = false;
}
