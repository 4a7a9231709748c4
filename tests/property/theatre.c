/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Flows as packets. Everything runs on one CPU, where veth and loopback deliver in order, so a
 * sentinel datagram that is sent last and comes back says that all others have arrived or never
 * will: no waiting for what does not come.
 */
#include "tests/property/theatre.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

#define BACKLOG        512
#define SENTINEL_MS    3000
#define SENTINEL_TRIPS 2
#define SPORT_FIRST    10000
#define SPORT_LAST     60000

static socklen_t name_make(union name *n, const struct addr *a, uint16_t port)
{
	memset(n, 0, sizeof(*n));
	if (a->family == AF_INET) {
		n->in.sin_family = AF_INET;
		n->in.sin_port = htons(port);
		memcpy(&n->in.sin_addr, a->bytes, 4);
		return sizeof(n->in);
	}
	n->in6.sin6_family = AF_INET6;
	n->in6.sin6_port = htons(port);
	memcpy(&n->in6.sin6_addr, a->bytes, 16);
	return sizeof(n->in6);
}

static void option(int fd, int level, int name, int value)
{
	(void)setsockopt(fd, level, name, &value, sizeof(value));
}

/* --- receivers ------------------------------------------------------------------------------- */

static int receiver_add(struct theatre *t, const struct actor *a, bool tcp, int family, bool v6only,
			uint16_t port, bool of_round, struct err *err)
{
	struct addr any = {.family = (uint8_t)family};
	union name n;
	int fd = actor_socket(a, family, tcp ? SOCK_STREAM : SOCK_DGRAM, 0);

	if (fd < 0)
		return err_set(err, -fd, "socket: %s", strerror(-fd));
	option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (family == AF_INET6)
		option(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6only);
	/* A reply must come from the address that was asked. */
	if (!tcp && family == AF_INET)
		option(fd, IPPROTO_IP, IP_PKTINFO, 1);
	if (!tcp && family == AF_INET6)
		option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	if (t->count == RECEIVERS_MAX || bind(fd, &n.any, name_make(&n, &any, port)) < 0 ||
	    (tcp && listen(fd, BACKLOG) < 0)) {
		int r = err_set(err, errno, "listen on port %u: %s", port, strerror(errno));

		(void)close(fd);
		return r;
	}
	t->receivers[t->count++] = (struct ear){fd, family, tcp, of_round};
	return 0;
}

/* TCP for both families by one socket, as most servers do; UDP by two. */
static int receivers_add(struct theatre *t, const struct actor *a, bool tcp, uint16_t port,
			 bool of_round, struct err *err)
{
	int r;

	if (tcp)
		return receiver_add(t, a, true, AF_INET6, false, port, of_round, err);
	r = receiver_add(t, a, false, AF_INET, false, port, of_round, err);
	return r < 0 ? r : receiver_add(t, a, false, AF_INET6, true, port, of_round, err);
}

static void receivers_drop(struct theatre *t, bool all)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->count; i++) {
		if (all || t->receivers[i].of_round)
			(void)close(t->receivers[i].fd);
		else
			t->receivers[kept++] = t->receivers[i];
	}
	t->count = kept;
}

int theatre_listen(struct theatre *t, const struct world *w, const struct stage *s, struct err *err)
{
	int r = 0;

	receivers_drop(t, false);
	for (size_t i = 0; i < port_count && r >= 0; i++) {
		for (int kind = 0; kind < 2 && r >= 0; kind++) {
			if (w->listeners[kind][i] >= 0)
				r = receivers_add(t, &s->actors[w->listeners[kind][i]], kind == 0,
						  ports[i], true, err);
		}
	}
	return r;
}

static int sentinel_open(struct theatre *t, const struct stage *s, struct err *err)
{
	struct addr from, to;
	union name n;

	(void)addr_parse(SENTINEL_FROM, &from);
	(void)addr_parse(SENTINEL_TO, &to);
	t->sentinel = actor_socket(&s->others[HOST_HERE], AF_INET, SOCK_DGRAM, 0);
	if (t->sentinel < 0 || bind(t->sentinel, &n.any, name_make(&n, &from, SENTINEL_PORT)) < 0 ||
	    connect(t->sentinel, &n.any, name_make(&n, &to, SENTINEL_PORT)) < 0)
		return err_set(err, EIO, "sentinel: %s", strerror(errno));
	return 0;
}

int theatre_open(const struct stage *s, struct far *far, struct theatre **ret, struct err *err)
{
	struct theatre *t = mem_calloc(1, sizeof(*t));
	int r = 0;

	if (t == NULL)
		return err_set(err, ENOMEM, "out of memory");
	*t = (struct theatre){.far = far, .sentinel = -1, .next_id = 1, .next_sport = SPORT_FIRST};
	for (int h = HOST_B; h < HOST_COUNT && r >= 0; h++) {
		for (size_t i = 0; i < port_count && r >= 0; i++) {
			r = receivers_add(t, &s->others[h], true, ports[i], false, err);
			if (r >= 0)
				r = receivers_add(t, &s->others[h], false, ports[i], false, err);
		}
		if (r >= 0)
			r = receivers_add(t, &s->others[h], false, SENTINEL_PORT, false, err);
	}
	if (r >= 0)
		r = sentinel_open(t, s, err);
	if (r < 0) {
		theatre_close(t);
		return r;
	}
	*ret = t;
	return 0;
}

void theatre_close(struct theatre *t)
{
	if (t == NULL)
		return;
	receivers_drop(t, true);
	closep(&t->sentinel);
	free(t);
}

void abort_connection(int fd)
{
	struct linger now = {.l_onoff = 1};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	(void)close(fd);
}

static void answer_datagrams(const struct ear *r)
{
	for (;;) {
		union name from;
		char control[256];
		struct message m;
		struct iovec iov = {.iov_base = &m, .iov_len = sizeof(m)};
		struct msghdr h = {.msg_name = &from,
				   .msg_namelen = sizeof(from),
				   .msg_iov = &iov,
				   .msg_iovlen = 1,
				   .msg_control = control,
				   .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(r->fd, &h, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EBADF))
			return;
		if (n != (ssize_t)sizeof(m) || m.magic != MESSAGE_MAGIC)
			continue;
		m.id |= REPLY;
		/* The packet information that came in names the source that goes out. */
		(void)sendmsg(r->fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
}

static void take_connections(const struct ear *r)
{
	int fd;

	while ((fd = accept4(r->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		abort_connection(fd);
}

void theatre_pump(struct theatre *t, int timeout_ms)
{
	struct pollfd p[RECEIVERS_MAX];

	if (far_pump(t->far))
		timeout_ms = 0;
	for (size_t i = 0; i < t->count; i++)
		p[i] = (struct pollfd){.fd = t->receivers[i].tcp ? -1 : t->receivers[i].fd,
				       .events = POLLIN};
	if (poll(p, t->count, timeout_ms) <= 0)
		return;
	for (size_t i = 0; i < t->count; i++) {
		if (p[i].revents != 0)
			answer_datagrams(&t->receivers[i]);
	}
}

/* --- sending --------------------------------------------------------------------------------- */

static bool is_echo(const struct probe *p)
{
	return p->flow.l4proto == IPPROTO_ICMP || p->flow.l4proto == IPPROTO_ICMPV6;
}

static const struct actor *sender(const struct stage *s, const struct probe *p)
{
	if (p->caller != NULL)
		return p->caller;
	for (size_t i = 0; i < place_count; i++) {
		if (addr_eq(&places[i].addr, &p->flow.src))
			return &s->others[places[i].host];
	}
	return NULL;
}

static int probe_socket(const struct stage *s, const struct probe *p)
{
	int type = p->flow.l4proto == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM;

	return actor_socket(sender(s, p), p->flow.src.family, type,
			    is_echo(p) ? p->flow.l4proto : 0);
}

static void send_echo(struct probe *p)
{
	struct {
		struct icmphdr header;
		struct message message;
	} packet = {.header.type = p->flow.l4proto == IPPROTO_ICMP ? ICMP_ECHO : ICMP6_ECHO_REQUEST,
		    .message = {MESSAGE_MAGIC, p->id}};

	packet.header.un.echo.sequence = htons((uint16_t)p->id);
	if (send(p->fd, &packet, sizeof(packet), MSG_NOSIGNAL) < 0)
		p->send_error = errno;
}

static int probe_send(struct theatre *t, const struct stage *s, struct probe *p, struct err *err)
{
	union name n;

	p->id = t->next_id++;
	/* No tuple comes twice while conntrack may remember it. */
	p->sport = t->next_sport;
	t->next_sport = (uint16_t)(p->sport == SPORT_LAST ? SPORT_FIRST : p->sport + 1);
	p->fd = probe_socket(s, p);
	if (p->fd < 0)
		return err_set(err, -p->fd, "socket: %s", strerror(-p->fd));
	if (bind(p->fd, &n.any, name_make(&n, &p->flow.src, p->sport)) < 0)
		return err_set(err, errno, "bind: %s", strerror(errno));
	if (connect(p->fd, &n.any, name_make(&n, &p->flow.dst, is_echo(p) ? 0 : p->flow.dport)) <
		    0 &&
	    errno != EINPROGRESS)
		p->send_error = errno;
	if (p->flow.l4proto == IPPROTO_UDP) {
		struct message m = {MESSAGE_MAGIC, p->id};

		if (send(p->fd, &m, sizeof(m), MSG_NOSIGNAL) < 0)
			p->send_error = errno;
	} else if (is_echo(p)) {
		send_echo(p);
	}
	return 0;
}

/* --- seeing ---------------------------------------------------------------------------------- */

static int socket_error(int fd)
{
	int error = 0;
	socklen_t len = sizeof(error);

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ? errno : error;
}

static void see_tcp(struct probe *p)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	(void)getsockopt(p->fd, IPPROTO_TCP, TCP_INFO, &info, &len);
	if (p->send_error == 0 && info.tcpi_state == TCP_CLOSE)
		p->send_error = socket_error(p->fd);
	if (info.tcpi_state == TCP_ESTABLISHED)
		p->seen = SEEN_OPEN;
	else if (p->send_error == ECONNREFUSED)
		p->seen = SEEN_REFUSED;
	else
		p->seen = SEEN_SILENT;
}

/* Datagrams: an echo is open, and refused is what a port without a socket says. */
static void see_datagram(struct probe *p)
{
	uint8_t bytes[256];
	ssize_t n;

	if (p->seen == SEEN_OPEN)
		return;
	n = recv(p->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN && p->send_error == 0)
		p->send_error = errno;
	if (n > 0)
		p->seen = SEEN_OPEN;
	else
		p->seen = p->send_error == ECONNREFUSED ? SEEN_REFUSED : SEEN_SILENT;
}

static void probe_look(struct probe *p)
{
	if (p->flow.l4proto == IPPROTO_TCP)
		see_tcp(p);
	else
		see_datagram(p);
	(void)snprintf(p->note, sizeof(p->note), " (%s)",
		       p->send_error == 0 ? "no error" : strerror(p->send_error));
}

static bool all_as_expected(struct probe *probes, size_t count)
{
	bool all = true;

	for (size_t i = 0; i < count; i++) {
		probe_look(&probes[i]);
		all = all && probes[i].seen == probes[i].expected;
	}
	return all;
}

static int sentinel_trip(struct theatre *t, struct err *err)
{
	struct message m = {MESSAGE_MAGIC, t->next_id++}, back;
	struct mono start = mono_now();

	if (send(t->sentinel, &m, sizeof(m), MSG_NOSIGNAL) < 0)
		return err_set(err, errno, "sentinel: %s", strerror(errno));
	while (mono_ms_since(start, mono_now()) < SENTINEL_MS) {
		theatre_pump(t, 10);
		if (recv(t->sentinel, &back, sizeof(back), MSG_DONTWAIT) == (ssize_t)sizeof(back) &&
		    back.id == (m.id | REPLY))
			return 0;
	}
	return err_set(err, ETIMEDOUT, "the sentinel, an essential, did not come back");
}

int theatre_settle(struct theatre *t, struct err *err)
{
	int r = 0;

	/* What was held goes on its way when it is answered, and may be asked about again. */
	do {
		for (int i = 0; i < SENTINEL_TRIPS && r >= 0; i++)
			r = sentinel_trip(t, err);
	} while (r >= 0 && far_pump(t->far));
	return r;
}

int theatre_play(struct theatre *t, const struct stage *s, struct probe *probes, size_t count,
		 struct err *err)
{
	struct mono start;
	int r = 0;

	for (size_t i = 0; i < count && r >= 0; i++)
		r = probe_send(t, s, &probes[i], err);
	if (r >= 0)
		r = theatre_settle(t, err);
	start = mono_now();
	while (r >= 0 && !all_as_expected(probes, count) &&
	       mono_ms_since(start, mono_now()) < GRACE_MS)
		theatre_pump(t, 10);
	return r;
}

void theatre_clear(struct theatre *t, struct probe *probes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (probes[i].fd >= 0)
			abort_connection(probes[i].fd);
		probes[i].fd = -1;
	}
	for (size_t i = 0; i < t->count; i++) {
		if (t->receivers[i].tcp)
			take_connections(&t->receivers[i]);
	}
}
