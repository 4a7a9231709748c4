/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/conntrack.h"

#include "agent/conntrack_message.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_compat.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define ANSWER_BYTES 32768
/* Kept: a question is asked for every attested connection. */
#define ANSWER_ONE_BYTES 8192
#define PROC_COUNT       "/proc/sys/net/netfilter/nf_conntrack_count"
#define PROC_MAX         "/proc/sys/net/netfilter/nf_conntrack_max"
#define PROC_BYTES_MAX   64

/*
 * Events. Above the wanted rate the socket is no longer watched but emptied EVENT_PAUSE_US apart:
 * counting a flood then costs a system call per EVENT_BATCH flows and no wake-up for each.
 *
 * An event that somebody listens for costs the kernel about 5 us, in the path of the connection:
 * a tenth of all that a new one takes. Above EVENT_AWAY times the wanted rate the group is left and
 * entered again for EVENT_WINDOW_US after each EVENT_AWAY_US; what comes then is told up to the
 * rate, and counted for the whole time.
 */
#define EVENT_RCVBUF      (2U << 20)
#define EVENT_BATCH       32
#define EVENT_BYTES       1024
#define EVENT_BATCHES_MAX 64
#define EVENT_PAUSE_US    50000
#define EVENT_AWAY_US     90000
#define EVENT_AWAY        5
#define EVENT_WINDOW_US   10000
#define EVENT_ACCURACY_US 500
#define SECOND_NS         1000000000LL

struct event_buffers {
	struct mmsghdr headers[EVENT_BATCH];
	struct iovec vectors[EVENT_BATCH];
	_Alignas(struct nlmsghdr) char bytes[EVENT_BATCH][EVENT_BYTES];
};

struct conntrack {
	struct mnl_socket *netlink;
	uint32_t port_id, seq;
	struct mnl_socket *events;
	sd_event_source *io, *timer;
	struct event_buffers *buffers;
	uint32_t rate, this_second;
	struct mono second;
	void (*flow)(void *user, const struct ct_flow *f);
	void *user;
	struct ct_event_counters counters;
	uint64_t seen_before; /* this second */
	enum { LISTEN_ALL, LISTEN_AWAY, LISTEN_WINDOW } listening;
	struct mono left, joined;
	_Alignas(struct nlmsghdr) char answer[ANSWER_ONE_BYTES];
};

/* --- sockets --------------------------------------------------------------------------------- */

static struct mnl_socket *open_socket(unsigned groups)
{
	struct mnl_socket *s = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);

	if (s && mnl_socket_bind(s, groups, MNL_SOCKET_AUTOPID) < 0) {
		int saved = errno;

		mnl_socket_close(s);
		errno = saved;
		return NULL;
	}
	return s;
}

int conntrack_open(struct conntrack **ret, struct err *err)
{
	struct conntrack *c = mem_calloc(1, sizeof(*c));

	if (!c)
		return err_set(err, ENOMEM, "flow table: out of memory");
	c->netlink = open_socket(0);
	if (!c->netlink) {
		int code = errno;

		free(c);
		return err_set(err, code, "flow table: cannot open NETLINK_NETFILTER: %s",
			       strerror(code));
	}
	c->port_id = mnl_socket_get_portid(c->netlink);
	*ret = c;
	return 0;
}

void conntrack_free(struct conntrack *c)
{
	if (!c)
		return;
	sd_event_source_disable_unref(c->io);
	sd_event_source_disable_unref(c->timer);
	if (c->events)
		mnl_socket_close(c->events);
	mnl_socket_close(c->netlink);
	free(c->buffers);
	free(c);
}

void conntrack_freep(struct conntrack **c)
{
	conntrack_free(*c);
	*c = NULL;
}

/* --- requests -------------------------------------------------------------------------------- */

struct answer {
	struct ct_flow *ret;
	bool found;
};

static int on_answer(const struct nlmsghdr *h, void *user)
{
	struct answer *a = user;

	if (a->ret && ct_message_parse(h, a->ret) == 0)
		a->found = true;
	/* Of a question this is all; what changes something is acknowledged. */
	return a->ret ? MNL_CB_STOP : MNL_CB_OK;
}

/* Sends and reads the answer or acknowledgement. 0 or -errno of the kernel. */
static int ask(struct conntrack *c, const struct nlmsghdr *request, struct answer *answer)
{
	if (mnl_socket_sendto(c->netlink, request, request->nlmsg_len) < 0)
		return -errno;
	for (;;) {
		ssize_t n = mnl_socket_recvfrom(c->netlink, c->answer, sizeof(c->answer));
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		r = mnl_cb_run(c->answer, (size_t)n, c->seq, c->port_id, on_answer, answer);
		if (r < 0 && errno == EPROTO)
			continue; /* the rest of an answer that nobody waits for any more */
		if (r <= 0)
			return r < 0 ? -errno : 0;
	}
}

/* Asks about one entry; its mark is replaced where one is given. */
static int ask_about(struct conntrack *c, uint16_t type, const struct ct_flow *tuple,
		     const uint32_t *mark, struct answer *answer)
{
	_Alignas(struct nlmsghdr) char buf[CT_MESSAGE_MAX];
	struct nlmsghdr *h;
	uint16_t flags = answer->ret ? 0 : NLM_F_ACK;
	int r = ct_message_request(buf, type, flags, ++c->seq, tuple, &h);

	if (r < 0)
		return r;
	if (mark) {
		/* libnetfilter_conntrack knows no mask: both by libmnl. */
		mnl_attr_put_u32(h, CTA_MARK, htonl(*mark));
		mnl_attr_put_u32(h, CTA_MARK_MASK, htonl(UINT32_MAX));
	}
	return ask(c, h, answer);
}

static int tuple_ok(const struct ct_flow *t, struct err *err)
{
	/* A deletion without a complete tuple would flush the whole table. */
	if (t->src.family == 0 || t->src.family != t->dst.family)
		return err_set(err, EINVAL, "flow table: a flow needs two addresses of one family");
	return 0;
}

int conntrack_find(struct conntrack *c, const struct ct_flow *tuple, struct ct_flow *ret,
		   struct err *err)
{
	struct ct_flow found;
	struct answer a = {.ret = &found};
	int r = tuple_ok(tuple, err);

	if (r < 0)
		return r;
	r = ask_about(c, IPCTNL_MSG_CT_GET, tuple, NULL, &a);
	if (r == 0 && !a.found)
		r = -ENOENT;
	if (r < 0)
		return err_set(err, -r, "flow table: %s",
			       r == -ENOENT ? "no such flow" : strerror(-r));
	*ret = found;
	return 0;
}

int conntrack_set_mark(struct conntrack *c, const struct ct_flow *tuple, uint32_t mark,
		       struct err *err)
{
	struct answer a = {0};
	int r = tuple_ok(tuple, err);

	if (r < 0)
		return r;
	/* Without NLM_F_CREATE: an entry that is gone is not made again. */
	r = ask_about(c, IPCTNL_MSG_CT_NEW, tuple, &mark, &a);
	return r < 0 ? err_set(err, -r, "flow table: marking a flow: %s", strerror(-r)) : 0;
}

int conntrack_delete(struct conntrack *c, const struct ct_flow *tuple, struct err *err)
{
	struct answer a = {0};
	int r = tuple_ok(tuple, err);

	if (r < 0)
		return r;
	r = ask_about(c, IPCTNL_MSG_CT_DELETE, tuple, NULL, &a);
	return r < 0 ? err_set(err, -r, "flow table: deleting a flow: %s", strerror(-r)) : 0;
}

/* --- dump ------------------------------------------------------------------------------------ */

struct dump {
	int (*flow)(void *user, const struct ct_flow *f);
	void *user;
	int r;
};

static int on_entry(const struct nlmsghdr *h, void *user)
{
	struct dump *d = user;
	struct ct_flow f;

	if (ct_message_parse(h, &f) < 0)
		return MNL_CB_OK;
	d->r = d->flow(d->user, &f);
	return d->r ? MNL_CB_STOP : MNL_CB_OK;
}

static int read_dump(struct mnl_socket *s, uint32_t seq, struct dump *d)
{
	CLEANUP(freep) char *buf = mem_calloc(1, ANSWER_BYTES);

	if (!buf)
		return -ENOMEM;
	for (;;) {
		ssize_t n = mnl_socket_recvfrom(s, buf, ANSWER_BYTES);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		r = mnl_cb_run(buf, (size_t)n, seq, mnl_socket_get_portid(s), on_entry, d);
		if (d->r)
			return d->r;
		if (r <= 0)
			return r < 0 ? -errno : 0;
	}
}

/* On a socket of its own: callbacks may mark and delete, and may end the dump. */
int conntrack_dump(struct conntrack *c, int (*flow)(void *user, const struct ct_flow *f),
		   void *user, struct err *err)
{
	_Alignas(struct nlmsghdr) char buf[CT_MESSAGE_MAX];
	struct dump d = {.flow = flow, .user = user};
	struct mnl_socket *s = open_socket(0);
	struct nlmsghdr *h;
	int r;

	if (!s)
		return err_set(err, errno, "flow table: %s", strerror(errno));
	r = ct_message_request(buf, IPCTNL_MSG_CT_GET, NLM_F_DUMP, ++c->seq, NULL, &h);
	if (r == 0 && mnl_socket_sendto(s, h, h->nlmsg_len) < 0)
		r = -errno;
	if (r == 0)
		r = read_dump(s, h->nlmsg_seq, &d);
	mnl_socket_close(s);
	return r < 0 ? err_set(err, -r, "flow table: %s", strerror(-r)) : r;
}

/* --- how full -------------------------------------------------------------------------------- */

static int read_number(const char *path, uint64_t *ret)
{
	CLEANUP(freep) char *text = NULL;
	size_t len;
	int r = file_read(AT_FDCWD, path, PROC_BYTES_MAX, &text, &len, NULL);

	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	return text_u64(text, 0, UINT64_MAX, ret);
}

int conntrack_usage(struct ct_usage *ret)
{
	struct ct_usage u;
	int r = read_number(PROC_COUNT, &u.used);

	if (r >= 0)
		r = read_number(PROC_MAX, &u.max);
	if (r < 0)
		return r;
	*ret = u;
	return 0;
}

/* --- events ---------------------------------------------------------------------------------- */

static void take_event(struct conntrack *c, const void *bytes, size_t len, bool cut)
{
	const struct nlmsghdr *h = bytes;
	int left = (int)len;
	struct ct_flow f;

	if (cut) {
		c->counters.seen++;
		c->counters.skipped++;
		return;
	}
	for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
		if (h->nlmsg_type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW))
			continue;
		c->counters.seen++;
		if (c->this_second >= c->rate || ct_message_parse(h, &f) < 0) {
			c->counters.skipped++;
			continue;
		}
		c->this_second++;
		c->flow(c->user, &f);
	}
}

/* Messages taken; 0 when there is nothing (more), -ENOBUFS when some were lost. */
static int take_batch(struct conntrack *c)
{
	struct event_buffers *b = c->buffers;
	int n;

	for (size_t i = 0; i < EVENT_BATCH; i++) {
		b->vectors[i] = (struct iovec){b->bytes[i], EVENT_BYTES};
		b->headers[i].msg_hdr = (struct msghdr){.msg_iov = &b->vectors[i], .msg_iovlen = 1};
	}
	n = recvmmsg(mnl_socket_get_fd(c->events), b->headers, EVENT_BATCH, MSG_DONTWAIT, NULL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++)
		take_event(c, b->bytes[i], b->headers[i].msg_len,
			   (b->headers[i].msg_hdr.msg_flags & MSG_TRUNC) != 0);
	return n;
}

static void drain(struct conntrack *c)
{
	struct mono now = mono_now();

	if (now.ns - c->second.ns >= SECOND_NS) {
		c->second = now;
		c->this_second = 0;
		c->seen_before = c->counters.seen;
	}
	for (int i = 0; i < EVENT_BATCHES_MAX; i++) {
		int n = take_batch(c);

		if (n == -ENOBUFS)
			c->counters.lost++;
		else if (n < EVENT_BATCH)
			break;
	}
}

static void come_back_in(struct conntrack *c, uint64_t usec)
{
	(void)sd_event_source_set_time_relative(c->timer, usec);
	(void)sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT);
}

static void set_member(struct conntrack *c, bool member)
{
	int group = NFNLGRP_CONNTRACK_NEW;

	if (setsockopt(mnl_socket_get_fd(c->events), SOL_NETLINK,
		       member ? NETLINK_ADD_MEMBERSHIP : NETLINK_DROP_MEMBERSHIP, &group,
		       sizeof(group)) < 0)
		c->counters.lost++;
}

static void leave(struct conntrack *c)
{
	set_member(c, false);
	c->listening = LISTEN_AWAY;
	c->left = mono_now();
	(void)sd_event_source_set_enabled(c->io, SD_EVENT_OFF);
	come_back_in(c, EVENT_AWAY_US);
}

static void pause_or_go_on(struct conntrack *c)
{
	bool flood = c->this_second >= c->rate;

	if (c->counters.seen - c->seen_before >= (uint64_t)c->rate * EVENT_AWAY) {
		leave(c);
		return;
	}
	(void)sd_event_source_set_enabled(c->io, flood ? SD_EVENT_OFF : SD_EVENT_ON);
	if (flood)
		come_back_in(c, EVENT_PAUSE_US);
}

/* What came in the window stands for what came since the last one. */
static void end_window(struct conntrack *c)
{
	uint64_t before = c->counters.seen, came;
	int64_t window, gone = c->joined.ns - c->left.ns;
	struct mono now;

	set_member(c, false);
	now = mono_now();
	window = now.ns - c->joined.ns + 1;
	drain(c);
	came = c->counters.seen - before;
	c->counters.seen += came * (uint64_t)gone / (uint64_t)window;
	c->counters.skipped += came * (uint64_t)gone / (uint64_t)window;
	c->seen_before = c->counters.seen;
	if (came * SECOND_NS / (uint64_t)window >= (uint64_t)c->rate * EVENT_AWAY / 2) {
		leave(c);
		return;
	}
	c->listening = LISTEN_ALL;
	set_member(c, true);
	pause_or_go_on(c);
}

static int on_events(sd_event_source *s, int fd, uint32_t revents, void *user)
{
	(void)s;
	(void)fd;
	(void)revents;
	drain(user);
	pause_or_go_on(user);
	return 0;
}

static int on_pause_over(sd_event_source *s, uint64_t usec, void *user)
{
	struct conntrack *c = user;

	(void)s;
	(void)usec;
	switch (c->listening) {
	case LISTEN_ALL:
		drain(c);
		pause_or_go_on(c);
		break;
	case LISTEN_AWAY:
		c->joined = mono_now();
		set_member(c, true);
		c->listening = LISTEN_WINDOW;
		come_back_in(c, EVENT_WINDOW_US);
		break;
	case LISTEN_WINDOW:
		end_window(c);
		break;
	}
	return 0;
}

static int open_events(struct conntrack *c)
{
	int size = EVENT_RCVBUF, fd;

	c->buffers = mem_calloc(1, sizeof(*c->buffers));
	if (!c->buffers)
		return -ENOMEM;
	c->events = open_socket(NF_NETLINK_CONNTRACK_NEW);
	if (!c->events)
		return -errno;
	fd = mnl_socket_get_fd(c->events);
	/* Bounded whatever the host's rmem_max says; where forcing is not allowed the default does.
	 */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	return fd;
}

int conntrack_listen(struct conntrack *c, sd_event *event, uint32_t rate,
		     void (*flow)(void *user, const struct ct_flow *f), void *user, struct err *err)
{
	int fd, r;

	if (c->events)
		return err_set(err, EBUSY, "flow events: listening already");
	c->rate = rate;
	c->flow = flow;
	c->user = user;
	fd = open_events(c);
	if (fd < 0)
		return err_set(err, -fd, "flow events: %s", strerror(-fd));
	r = sd_event_add_io(event, &c->io, fd, EPOLLIN, on_events, c);
	if (r >= 0)
		r = sd_event_add_time_relative(event, &c->timer, CLOCK_MONOTONIC, EVENT_PAUSE_US,
					       EVENT_ACCURACY_US, on_pause_over, c);
	if (r >= 0)
		r = sd_event_source_set_enabled(c->timer, SD_EVENT_OFF);
	if (r >= 0)
		/* What is told can wait; what is asked cannot. */
		r = sd_event_source_set_priority(c->io, SD_EVENT_PRIORITY_IDLE);
	return r < 0 ? err_set(err, -r, "flow events: %s", strerror(-r)) : 0;
}

const struct ct_event_counters *conntrack_event_counters(const struct conntrack *c)
{
	return &c->counters;
}
