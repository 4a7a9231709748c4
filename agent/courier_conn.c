/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/courier_conn.h"

#include "agent/courier_link.h"
#include "agent/run_socket.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define READ_MAX   (256U << 10) /* in one turn of the loop */
#define KEEP_MAX   (64U << 10)  /* a larger buffer is given back after its frame */
#define PREFIX_LEN 8            /* two lengths */
/*
 * Frames that nobody asked for: heads, contacts, requests for proofs. A long one costs more,
 * because it is verified before anybody knows what it is worth; so does a caller that makes us wake
 * up for every few bytes, whatever they belong to.
 */
#define ALLOWANCE_MAX      64LL
#define ALLOWANCE_REFILL_S 8
#define FRAME_COST         1000 /* allowance is counted in thousandths */
#define BYTES_PER_FRAME    (64U << 10)
#define DRIBBLE_MAX        512 /* bytes of a read that is hardly worth it */
#define DRIBBLE_COST       5
#define PAUSE_US           250000
#define COMPLAIN_MS        10000
#define REFUSED_LOG_MS     60000
/* Anybody on this host may call: each caller must not cost a look through the host's directories.
 */
#define UID_LOOK_MS 10000

struct courier_conn {
	struct courier_conn_handler handler;
	sd_event *event;
	const char *user;
	struct run_socket listener;
	sd_event_source *listen_source, *io, *pause;
	int fd;
	char *in;
	size_t in_len, in_cap, need;
	struct buf out;
	size_t sent;
	int64_t allowance; /* in thousandths; of all connections, one after the other */
	struct mono refilled, refused, complained;
	unsigned complaints;
	uid_t uid; /* of the courier's user, as it was looked up: */
	bool uid_found;
	struct mono uid_looked;
};

bool courier_uid(const char *user, uid_t *ret)
{
	const struct passwd *pw = getpwnam(user);
	uint32_t number = 0;

	/* 2^32 - 1 is "no user" to the kernel. */
	if (!pw && text_u32(user, 0, UINT32_MAX - 1, &number) < 0)
		return false;
	*ret = pw ? pw->pw_uid : (uid_t)number;
	return true;
}

/* --- life of a connection ----------------------------------------------------------------- */

static void reset_input(struct courier_conn *c)
{
	if (c->in_cap > KEEP_MAX) {
		free(TAKE_PTR(c->in));
		c->in_cap = 0;
	}
	c->in_len = 0;
	c->need = PREFIX_LEN;
}

static void hang_up(struct courier_conn *c)
{
	bool was_open = c->fd >= 0;

	c->io = sd_event_source_disable_unref(c->io);
	c->pause = sd_event_source_disable_unref(c->pause);
	closep(&c->fd);
	c->fd = -1;
	free(TAKE_PTR(c->in));
	c->in_cap = 0;
	reset_input(c);
	buf_done(&c->out);
	buf_init(&c->out, COURIER_CONN_OUT_MAX);
	c->sent = 0;
	if (was_open)
		c->handler.closed(c->handler.user);
}

static void set_events(struct courier_conn *c)
{
	uint32_t events = (c->pause ? 0 : EPOLLIN) | (c->sent < c->out.len ? EPOLLOUT : 0);

	(void)sd_event_source_set_io_events(c->io, events);
}

/* --- allowance ---------------------------------------------------------------------------- */

static int on_pause_over(sd_event_source *s, uint64_t usec, void *user)
{
	struct courier_conn *c = user;

	(void)s;
	(void)usec;
	c->pause = sd_event_source_disable_unref(c->pause);
	set_events(c);
	return 0;
}

static void refill(struct courier_conn *c)
{
	struct mono now = mono_now();

	c->allowance += mono_ms_since(c->refilled, now) * ALLOWANCE_REFILL_S;
	if (c->allowance > ALLOWANCE_MAX * FRAME_COST)
		c->allowance = ALLOWANCE_MAX * FRAME_COST;
	c->refilled = now;
}

/*
 * When nothing is left it is not read from until there is something again; the socket's buffer
 * fills, and it waits.
 */
static void spend(struct courier_conn *c, int64_t cost)
{
	uint64_t pause_us;

	refill(c);
	c->allowance -= cost;
	/* The next courier, an honest one perhaps, waits for seconds and not for hours. */
	if (c->allowance < -ALLOWANCE_MAX * FRAME_COST)
		c->allowance = -ALLOWANCE_MAX * FRAME_COST;
	if (c->allowance >= FRAME_COST || c->pause)
		return;
	pause_us = (uint64_t)(FRAME_COST - c->allowance) * 1000 / ALLOWANCE_REFILL_S;
	if (pause_us < PAUSE_US)
		pause_us = PAUSE_US;
	if (sd_event_add_time_relative(c->event, &c->pause, CLOCK_MONOTONIC, pause_us, 0,
				       on_pause_over, c) >= 0)
		set_events(c);
}

/* --- output ------------------------------------------------------------------------------- */

static bool flush(struct courier_conn *c)
{
	while (c->sent < c->out.len) {
		ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return false;
		c->sent += (size_t)n;
	}
	if (c->sent == c->out.len) {
		buf_done(&c->out);
		buf_init(&c->out, COURIER_CONN_OUT_MAX);
		c->sent = 0;
	}
	set_events(c);
	return true;
}

bool courier_conn_send(struct courier_conn *c, json_t *take_header, const void *body, size_t len)
{
	bool sent = false;

	if (c->fd >= 0 && take_header && len < COURIER_CONN_OUT_MAX - c->out.len) {
		courier_frame_write(&c->out, take_header, body, len);
		sent = c->out.r >= 0;
		/* Half a frame cannot be taken back. */
		if (!sent || !flush(c))
			hang_up(c);
	}
	json_decref(take_header);
	return sent && c->fd >= 0;
}

size_t courier_conn_waiting(const struct courier_conn *c)
{
	return c->out.len - c->sent;
}

bool courier_conn_is_open(const struct courier_conn *c)
{
	return c->fd >= 0;
}

/* --- input -------------------------------------------------------------------------------- */

/* 1: the frame may be whole, 0: nothing more now, negative: the connection is over. */
static int read_some(struct courier_conn *c)
{
	size_t want = c->need - c->in_len;
	ssize_t n;

	if (want > READ_MAX)
		want = READ_MAX;
	if (vec_grow(&c->in, &c->in_cap, c->in_len + want, 1,
		     (size_t)2 * COURIER_BODY_MAX + COURIER_HEADER_MAX) < 0)
		return -ENOMEM;
	n = recv(c->fd, c->in + c->in_len, want, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	c->in_len += (size_t)n;
	if ((size_t)n < want && n < DRIBBLE_MAX)
		spend(c, DRIBBLE_COST);
	return c->in_len == c->need;
}

static int take_frame(struct courier_conn *c, struct err *err)
{
	struct courier_frame f = {0};
	size_t used = 0, need = 0;
	int64_t cost;
	int r = courier_frame_read(c->in, c->in_len, c->handler.body_max(c->handler.user), &f,
				   &used, &need, err);

	if (r < 0)
		return r;
	if (r == 0) {
		if (need <= c->in_len)
			return err_set(err, EBADMSG, "a frame that does not end");
		c->need = need;
		return 0;
	}
	cost = FRAME_COST + (int64_t)(f.len * FRAME_COST / BYTES_PER_FRAME);
	r = c->handler.frame(c->handler.user, &f, err);
	courier_frame_done(&f);
	/* The handler may have hung up by sending. */
	if (c->fd < 0)
		return 0;
	reset_input(c);
	if (r == 1)
		spend(c, cost);
	return r < 0 ? r : 0;
}

static void complain(struct courier_conn *c, const char *text)
{
	struct mono now = mono_now();

	c->complaints++;
	if (c->complained.ns && mono_ms_since(c->complained, now) < COMPLAIN_MS)
		return;
	log_warn("courier: %s; hung up on it (%u times)", text, c->complaints);
	c->complained = now;
}

/* One frame a turn at most: packets that wait in queues come in between. */
static int on_io(sd_event_source *s, int fd, uint32_t revents, void *user)
{
	struct courier_conn *c = user;
	struct err err = {{0}};
	int r = 0;

	(void)s;
	(void)fd;
	if ((revents & EPOLLOUT) && !flush(c)) {
		hang_up(c);
		return 0;
	}
	if (revents & EPOLLOUT && c->out.len == 0)
		c->handler.drained(c->handler.user);
	if (c->fd < 0 || !(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return 0;
	/* While it pauses: what it had to say before it left is lost with it. */
	r = c->pause ? -ECONNRESET : read_some(c);
	if (r == 1)
		r = take_frame(c, &err);
	if (r < 0 && r != -ECONNRESET)
		complain(c, err.text[0] ? err.text : strerror(-r));
	if (r < 0)
		hang_up(c);
	return 0;
}

/* --- accepting ---------------------------------------------------------------------------- */

/* Users come and go while the agent runs. */
static bool is_courier(struct courier_conn *c, uid_t uid)
{
	struct mono now = mono_now();

	if (!c->uid_looked.ns || mono_ms_since(c->uid_looked, now) > UID_LOOK_MS) {
		c->uid_found = courier_uid(c->user, &c->uid);
		c->uid_looked = now;
	}
	return c->uid_found && uid == c->uid;
}

static bool welcome(struct courier_conn *c, const struct ucred *peer)
{
	struct mono now = mono_now();

	if (c->fd < 0 && (peer->uid == 0 || is_courier(c, peer->uid)))
		return true;
	if (!c->refused.ns || mono_ms_since(c->refused, now) > REFUSED_LOG_MS) {
		c->refused = now;
		if (c->fd >= 0)
			log_warn("courier: a second one (pid %d) was sent away", (int)peer->pid);
		else
			log_warn("courier: uid %u (pid %d) was sent away; root or user %s would be "
				 "right",
				 (unsigned)peer->uid, (int)peer->pid, c->user);
	}
	return false;
}

static int on_connect(sd_event_source *s, int listen_fd, uint32_t revents, void *user)
{
	struct courier_conn *c = user;
	struct ucred peer;
	socklen_t len = sizeof(peer);
	CLEANUP(closep) int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)s;
	(void)revents;
	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ||
	    !welcome(c, &peer))
		return 0;
	if (sd_event_add_io(c->event, &c->io, fd, EPOLLIN, on_io, c) < 0)
		return 0;
	c->fd = take_fd(&fd);
	/* Whoever hangs up and calls again has no more than before. */
	spend(c, FRAME_COST);
	c->handler.opened(c->handler.user);
	return 0;
}

int courier_conn_new(sd_event *event, const char *run_dir, const char *courier_user,
		     const struct courier_conn_handler *handler, struct courier_conn **ret,
		     struct err *err)
{
	struct courier_conn *c = mem_calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_set(err, ENOMEM, "out of memory");
	c->fd = c->listener.fd = -1;
	c->event = event;
	c->handler = *handler;
	c->user = courier_user;
	c->allowance = ALLOWANCE_MAX * FRAME_COST;
	c->refilled = mono_now();
	buf_init(&c->out, COURIER_CONN_OUT_MAX);
	reset_input(c);
	r = run_socket_open_to_all(run_dir, COURIER_SOCKET, &c->listener, err);
	if (r >= 0)
		r = sd_event_add_io(event, &c->listen_source, c->listener.fd, EPOLLIN, on_connect,
				    c);
	if (r < 0) {
		courier_conn_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void courier_conn_free(struct courier_conn *c)
{
	if (!c)
		return;
	/* The owner goes too: it is not called any more. */
	sd_event_source_disable_unref(c->io);
	sd_event_source_disable_unref(c->pause);
	sd_event_source_disable_unref(c->listen_source);
	closep(&c->fd);
	run_socket_done(&c->listener);
	free(c->in);
	buf_done(&c->out);
	free(c);
}
