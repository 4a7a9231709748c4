/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/owner.h"

#include "base/mem.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define OWNER_BUFFER_BYTES 32768
#define OWNER_ANSWER_MAX   64 /* stale answers that are skipped before giving up */

/* linux/inet_diag.h of old systems ends earlier; the numbers are kernel interface. */
#define DIAG_SKV6ONLY  11
#define DIAG_CGROUP_ID 21
#define DIAG_DESTROY   21 /* message type SOCK_DESTROY */

struct owner {
	struct mnl_socket *netlink;
	uint32_t port_id;
	uint32_t seq;
	_Alignas(struct nlmsghdr) char buffer[OWNER_BUFFER_BYTES];
};

struct diag_request {
	struct nlmsghdr header;
	struct inet_diag_req_v2 request;
};

static const struct addr addr_none;

int owner_open(struct owner **ret_owner, struct err *err)
{
	CLEANUP(owner_freep) struct owner *o = mem_calloc(1, sizeof(*o));

	if (o == NULL)
		return err_set(err, ENOMEM, "socket table: out of memory");
	o->netlink = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	if (o->netlink == NULL || mnl_socket_bind(o->netlink, 0, MNL_SOCKET_AUTOPID) < 0)
		return err_set(err, errno, "socket table: cannot open NETLINK_SOCK_DIAG: %s",
			       strerror(errno));
	o->port_id = mnl_socket_get_portid(o->netlink);
	*ret_owner = TAKE_PTR(o);
	return 0;
}

void owner_free(struct owner *o)
{
	if (o == NULL)
		return;
	if (o->netlink != NULL)
		mnl_socket_close(o->netlink);
	free(o);
}

void owner_freep(struct owner **o)
{
	owner_free(*o);
	*o = NULL;
}

static void put_addr(uint32_t words[4], const struct addr *a)
{
	if (a->family != 0)
		memcpy(words, a->bytes, addr_len(a));
}

static void take_addr(struct addr *ret, uint8_t family, const uint32_t words[4])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	const uint8_t *bytes = (const uint8_t *)words;

	*ret = (struct addr){.family = family};
	if (family == AF_INET) {
		memcpy(ret->bytes, bytes, 4);
	} else if (memcmp(bytes, mapped, sizeof(mapped)) == 0) {
		/* An IPv6 socket that talks IPv4: on the wire and in nftables it is IPv4. */
		ret->family = AF_INET;
		memcpy(ret->bytes, bytes + 12, 4);
	} else {
		memcpy(ret->bytes, bytes, 16);
	}
}

static void request_init(struct owner *o, struct diag_request *q, uint16_t type, uint16_t flags)
{
	*q = (struct diag_request){
		.header = {.nlmsg_len = sizeof(*q),
			   .nlmsg_type = type,
			   .nlmsg_flags = NLM_F_REQUEST | flags,
			   .nlmsg_seq = ++o->seq},
	};
	q->request.idiag_states = UINT32_MAX;
	q->request.id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
	q->request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
}

static void request_tuple(struct diag_request *q, const struct socket_tuple *t)
{
	struct inet_diag_sockid *id = &q->request.id;

	q->request.sdiag_family = t->local.family;
	q->request.sdiag_protocol = t->l4proto;
	id->idiag_if = t->ifindex;
	put_addr(id->idiag_src, &t->local);
	put_addr(id->idiag_dst, &t->remote);
	id->idiag_sport = htons(t->local_port);
	id->idiag_dport = htons(t->remote_port);
}

/* udp_dump_one() reads the tuple the other way round: source is the far end. */
static struct socket_tuple as_asked(const struct socket_tuple *t)
{
	struct socket_tuple swapped = *t;

	if (t->l4proto != IPPROTO_UDP)
		return *t;
	swapped.local = t->remote;
	swapped.local.family = t->local.family;
	swapped.local_port = t->remote_port;
	swapped.remote = t->local;
	swapped.remote_port = t->local_port;
	return swapped;
}

static int take_attribute(const struct nlattr *a, void *user)
{
	struct socket_info *info = user;

	switch (mnl_attr_get_type(a)) {
	case DIAG_CGROUP_ID:
		if (mnl_attr_get_payload_len(a) == sizeof(uint64_t))
			info->cgroup_id = mnl_attr_get_u64(a);
		break;
	case DIAG_SKV6ONLY:
		if (mnl_attr_get_payload_len(a) >= 1)
			info->v6only = mnl_attr_get_u8(a) != 0;
		break;
	}
	return MNL_CB_OK;
}

static int take_message(const struct nlmsghdr *h, uint8_t l4proto, struct socket_info *ret)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(h);
	struct socket_info info = {0};

	if (mnl_nlmsg_get_payload_len(h) < sizeof(*m))
		return -EBADMSG;
	if (m->idiag_family != AF_INET && m->idiag_family != AF_INET6)
		return -EBADMSG;
	info.tuple.l4proto = l4proto;
	take_addr(&info.tuple.local, m->idiag_family, m->id.idiag_src);
	take_addr(&info.tuple.remote, m->idiag_family, m->id.idiag_dst);
	info.tuple.local_port = ntohs(m->id.idiag_sport);
	info.tuple.remote_port = ntohs(m->id.idiag_dport);
	info.tuple.ifindex = m->id.idiag_if;
	if (info.tuple.remote_port == 0)
		info.tuple.remote = addr_none;
	info.state = m->idiag_state;
	info.uid = m->idiag_uid;
	info.inode = m->idiag_inode;
	info.cookie = (uint64_t)m->id.idiag_cookie[1] << 32 | m->id.idiag_cookie[0];
	(void)mnl_attr_parse(h, sizeof(*m), take_attribute, &info);
	*ret = info;
	return 0;
}

static int message_error(const struct nlmsghdr *h)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);

	return mnl_nlmsg_get_payload_len(h) < sizeof(*e) ? -EBADMSG : e->error;
}

/* The error of a call that failed; never 0, so that what was not answered is not read. */
static int failure(void)
{
	return errno > 0 ? -errno : -EIO;
}

static int receive(struct owner *o)
{
	ssize_t n;

	do
		n = mnl_socket_recvfrom(o->netlink, o->buffer, sizeof(o->buffer));
	while (n < 0 && errno == EINTR);
	return n < 0 ? failure() : (int)n;
}

/*
 * Sends a question with one answer and returns the message in o->buffer. Answers to earlier
 * questions (a dump that was ended early) are skipped by their sequence number.
 */
static int ask(struct owner *o, const struct diag_request *q, const struct nlmsghdr **ret_answer)
{
	if (mnl_socket_sendto(o->netlink, q, sizeof(*q)) < 0)
		return failure();
	for (unsigned n = 0; n < OWNER_ANSWER_MAX; n++) {
		const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)o->buffer;
		int len = receive(o);

		if (len < 0)
			return len;
		if (!mnl_nlmsg_ok(h, len) || h->nlmsg_seq != q->header.nlmsg_seq)
			continue;
		*ret_answer = h;
		return 0;
	}
	return -EPROTO;
}

static int find_one(struct owner *o, const struct socket_tuple *t, struct socket_info *ret)
{
	const struct socket_tuple asked = as_asked(t);
	const struct nlmsghdr *answer = NULL;
	struct diag_request q;
	int r;

	request_init(o, &q, SOCK_DIAG_BY_FAMILY, 0);
	request_tuple(&q, &asked);
	r = ask(o, &q, &answer);
	if (r < 0 || answer == NULL)
		return r;
	if (answer->nlmsg_type == NLMSG_ERROR) {
		r = message_error(answer);
		return r < 0 ? r : -EPROTO;
	}
	return take_message(answer, t->l4proto, ret);
}

/* The same question without and, for a socket bound to a device, with the device. */
static int find_any_device(struct owner *o, const struct socket_tuple *t, struct socket_info *ret)
{
	struct socket_tuple plain = *t;
	int r;

	plain.ifindex = 0;
	r = find_one(o, &plain, ret);
	if (r == -ENOENT && t->ifindex != 0)
		r = find_one(o, t, ret);
	return r;
}

static bool tuple_ok(const struct socket_tuple *t)
{
	if (t->l4proto != IPPROTO_TCP && t->l4proto != IPPROTO_UDP)
		return false;
	if (t->local.family != AF_INET && t->local.family != AF_INET6)
		return false;
	return t->remote.family == 0 || t->remote.family == t->local.family;
}

int owner_find(struct owner *o, const struct socket_tuple *t, struct socket_info *ret_info)
{
	struct socket_info info = {0};
	int r;

	if (!tuple_ok(t))
		return -EINVAL;
	r = find_any_device(o, t, &info);
	if (r < 0)
		return r;
	/*
	 * A SYN may take over a tuple in TIME_WAIT, and an embryonic connection is its listener's:
	 * both are no full sockets, and the listener is found by asking without a peer.
	 */
	if ((info.state == SOCKET_TIME_WAIT || info.state == SOCKET_SYN_RECV) && info.inode == 0 &&
	    t->remote.family != 0)
		return owner_find_listener(o, t->l4proto, &t->local, t->local_port, ret_info);
	/* Without an inode nobody holds it: an orphan that only the kernel still serves. */
	if (info.inode == 0 || info.cgroup_id == 0)
		return -ENOENT;
	*ret_info = info;
	return 0;
}

int owner_find_listener(struct owner *o, uint8_t l4proto, const struct addr *local, uint16_t port,
			struct socket_info *ret_info)
{
	struct socket_tuple t = {.l4proto = l4proto, .local = *local, .local_port = port};

	return owner_find(o, &t, ret_info);
}

struct dump {
	uint8_t l4proto;
	uint16_t local_port; /* 0 = all */
	uint32_t seq;
	owner_dump_fn fn;
	void *user;
	bool done, interrupted;
	int r; /* what fn answered */
};

static int dump_messages(struct dump *d, const char *buffer, int len)
{
	const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)buffer;
	struct socket_info info;

	for (; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len)) {
		if (h->nlmsg_seq != d->seq)
			continue;
		if ((h->nlmsg_flags & NLM_F_DUMP_INTR) != 0)
			d->interrupted = true;
		if (h->nlmsg_type == NLMSG_DONE) {
			d->done = true;
			return 0;
		}
		if (h->nlmsg_type == NLMSG_ERROR)
			return message_error(h);
		/* After fn ended it, the rest is read and dropped: the socket must be empty again.
		 */
		if (d->r == 0 && take_message(h, d->l4proto, &info) == 0)
			d->r = d->fn(d->user, &info);
	}
	return 0;
}

static int dump_family(struct owner *o, struct dump *d, uint8_t family, uint32_t states)
{
	struct diag_request q;
	int r = 0;

	request_init(o, &q, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
	q.request.sdiag_family = family;
	q.request.sdiag_protocol = d->l4proto;
	q.request.idiag_states = states;
	q.request.id.idiag_sport = htons(d->local_port);
	d->seq = q.header.nlmsg_seq;
	d->done = false;
	if (mnl_socket_sendto(o->netlink, &q, sizeof(q)) < 0)
		return failure();
	while (!d->done && r == 0) {
		int len = receive(o);

		r = len < 0 ? len : dump_messages(d, o->buffer, len);
	}
	if (r < 0)
		return r;
	if (d->r != 0)
		return d->r;
	return d->interrupted ? -EAGAIN : 0;
}

static int dump_both(struct owner *o, struct dump *d, uint32_t states)
{
	int r;

	if (d->l4proto != IPPROTO_TCP && d->l4proto != IPPROTO_UDP)
		return -EINVAL;
	r = dump_family(o, d, AF_INET, states);
	if (r != 0)
		return r;
	return dump_family(o, d, AF_INET6, states);
}

int owner_dump(struct owner *o, uint8_t l4proto, uint32_t states, owner_dump_fn fn, void *user)
{
	struct dump d = {.l4proto = l4proto, .fn = fn, .user = user};

	return dump_both(o, &d, states);
}

int owner_dump_port(struct owner *o, uint8_t l4proto, uint16_t local_port, owner_dump_fn fn,
		    void *user)
{
	struct dump d = {.l4proto = l4proto, .local_port = local_port, .fn = fn, .user = user};

	return local_port == 0 ? -EINVAL : dump_both(o, &d, OWNER_STATES_ALL);
}

int owner_destroy(struct owner *o, const struct socket_info *info)
{
	const struct nlmsghdr *answer = NULL;
	struct diag_request q;
	int r;

	if (!tuple_ok(&info->tuple))
		return -EINVAL;
	/* Here the kernel takes the tuple as it is for UDP too (udp_diag_destroy()). */
	request_init(o, &q, DIAG_DESTROY, NLM_F_ACK);
	request_tuple(&q, &info->tuple);
	q.request.id.idiag_cookie[0] = (uint32_t)info->cookie;
	q.request.id.idiag_cookie[1] = (uint32_t)(info->cookie >> 32);
	r = ask(o, &q, &answer);
	if (r < 0 || answer == NULL)
		return r;
	return answer->nlmsg_type == NLMSG_ERROR ? message_error(answer) : -EPROTO;
}
