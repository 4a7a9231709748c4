/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/telemetry_nflog.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define RECEIVE_BYTES       16384
#define RECEIVES_PER_WAKEUP 64 /* then the loop turns: the heartbeat must not starve */
#define RCVBUF_BYTES        (1U << 20)
#define CONFIG_BYTES        256
#define CONFIG_ANSWERS_MAX  1024
#define BUFFER_IN_KERNEL    8192
/* Before work on cgroups and policy, after the heartbeat. */
#define NFLOG_PRIORITY (SD_EVENT_PRIORITY_IMPORTANT / 2)

struct nflog {
	struct mnl_socket *netlink;
	sd_event_source *io;
	void (*packet)(void *user, const struct nflog_packet *p);
	void *user;
	uint16_t group;
	uint32_t seq; /* of our requests */
	bool seq_known, overrun;
	uint32_t next_seq; /* of the kernel's packets */
	uint64_t lost;
	_Alignas(struct nlmsghdr) char buffer[RECEIVE_BYTES];
};

/* --- messages -------------------------------------------------------------------------------- */

static int keep_attr(const struct nlattr *attr, void *user)
{
	const struct nlattr **list = user;
	uint16_t type = mnl_attr_get_type(attr);

	if (type <= NFULA_MAX)
		list[type] = attr;
	return MNL_CB_OK;
}

static bool take_u32(const struct nlattr *attr, uint32_t *ret)
{
	if (!attr || mnl_attr_get_payload_len(attr) < sizeof(uint32_t))
		return false;
	*ret = ntohl(mnl_attr_get_u32(attr));
	return true;
}

static void take_prefix(const struct nlattr *attr, char prefix[NFLOG_PREFIX_MAX])
{
	size_t len = attr ? mnl_attr_get_payload_len(attr) : 0;

	if (len >= NFLOG_PREFIX_MAX)
		len = NFLOG_PREFIX_MAX - 1;
	if (len)
		memcpy(prefix, mnl_attr_get_payload(attr), len);
	prefix[len] = '\0';
}

int nflog_message_parse(const struct nlmsghdr *h, struct nflog_packet *ret)
{
	const struct nlattr *list[NFULA_MAX + 1] = {0};
	const struct nfulnl_msg_packet_hdr *header;
	struct nflog_packet p = {.hook = 0};

	/* libmnl rounds the length up and would read behind an odd one. */
	if (h->nlmsg_len % MNL_ALIGNTO || mnl_nlmsg_get_payload_len(h) < sizeof(struct nfgenmsg) ||
	    mnl_attr_parse(h, sizeof(struct nfgenmsg), keep_attr, list) != MNL_CB_OK)
		return -EBADMSG;
	if (!list[NFULA_PACKET_HDR] || !list[NFULA_PAYLOAD] ||
	    mnl_attr_get_payload_len(list[NFULA_PACKET_HDR]) < sizeof(*header))
		return -EBADMSG;
	header = mnl_attr_get_payload(list[NFULA_PACKET_HDR]);
	p.hook = header->hook;
	p.payload = mnl_attr_get_payload(list[NFULA_PAYLOAD]);
	p.len = mnl_attr_get_payload_len(list[NFULA_PAYLOAD]);
	take_prefix(list[NFULA_PREFIX], p.prefix);
	(void)take_u32(list[NFULA_MARK], &p.mark);
	(void)take_u32(list[NFULA_IFINDEX_INDEV], &p.ifindex_in);
	(void)take_u32(list[NFULA_IFINDEX_OUTDEV], &p.ifindex_out);
	p.has_uid = take_u32(list[NFULA_UID], &p.uid);
	p.has_seq = take_u32(list[NFULA_SEQ], &p.seq);
	*ret = p;
	return 0;
}

/* --- configuration --------------------------------------------------------------------------- */

static struct nlmsghdr *config_request(struct nflog *n, void *buf)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g;

	h->nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	h->nlmsg_seq = ++n->seq;
	g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
	g->nfgen_family = AF_UNSPEC;
	g->version = NFNETLINK_V0;
	g->res_id = htons(n->group);
	return h;
}

/* Packets that come before the last acknowledgement are not lost unseen: their numbers are. */
static bool find_ack(struct nflog *n, size_t len, int *ret)
{
	const struct nlmsghdr *h = (const struct nlmsghdr *)n->buffer;
	int left = (int)len;

	for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
		const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);

		if (h->nlmsg_type != NLMSG_ERROR || h->nlmsg_seq != n->seq ||
		    mnl_nlmsg_get_payload_len(h) < sizeof(*e))
			continue;
		*ret = e->error;
		return true;
	}
	return false;
}

static int config_send(struct nflog *n, const struct nlmsghdr *h)
{
	if (mnl_socket_sendto(n->netlink, h, h->nlmsg_len) < 0)
		return -errno;
	for (int i = 0; i < CONFIG_ANSWERS_MAX; i++) {
		ssize_t got = mnl_socket_recvfrom(n->netlink, n->buffer, sizeof(n->buffer));
		int r;

		if (got < 0 && errno != EINTR && errno != ENOBUFS)
			return -errno;
		if (got > 0 && find_ack(n, (size_t)got, &r))
			return r;
	}
	return -ETIMEDOUT;
}

static int bind_group(struct nflog *n)
{
	_Alignas(struct nlmsghdr) char buf[CONFIG_BYTES];
	struct nfulnl_msg_config_cmd cmd = {.command = NFULNL_CFG_CMD_BIND};
	struct nlmsghdr *h = config_request(n, buf);

	mnl_attr_put(h, NFULA_CFG_CMD, sizeof(cmd), &cmd);
	return config_send(n, h);
}

/*
 * Each packet is sent at once: the kernel would otherwise gather them for a second, and what a
 * resync asks about has an answer now. The rules' own limit bounds how many there are.
 */
static int configure(struct nflog *n)
{
	_Alignas(struct nlmsghdr) char buf[CONFIG_BYTES];
	struct nfulnl_msg_config_mode mode = {.copy_mode = NFULNL_COPY_PACKET,
					      .copy_range = htonl(NFLOG_COPY_RANGE)};
	struct nlmsghdr *h = config_request(n, buf);

	mnl_attr_put(h, NFULA_CFG_MODE, sizeof(mode), &mode);
	mnl_attr_put_u32(h, NFULA_CFG_NLBUFSIZ, htonl(BUFFER_IN_KERNEL));
	mnl_attr_put_u32(h, NFULA_CFG_QTHRESH, htonl(1));
	mnl_attr_put_u16(h, NFULA_CFG_FLAGS, htons(NFULNL_CFG_F_SEQ));
	return config_send(n, h);
}

/* --- reading --------------------------------------------------------------------------------- */

static void count_gap(struct nflog *n, const struct nflog_packet *p)
{
	if (!p->has_seq)
		return;
	if (n->seq_known && p->seq != n->next_seq)
		n->lost += p->seq - n->next_seq;
	else if (n->overrun)
		n->lost++;
	n->seq_known = true;
	n->overrun = false;
	n->next_seq = p->seq + 1;
}

static void take_messages(struct nflog *n, size_t len)
{
	const struct nlmsghdr *h = (const struct nlmsghdr *)n->buffer;
	int left = (int)len;
	struct nflog_packet p;

	for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
		if (h->nlmsg_type != (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET) ||
		    nflog_message_parse(h, &p) < 0)
			continue;
		count_gap(n, &p);
		n->packet(n->user, &p);
	}
}

static int on_packets(sd_event_source *s, int fd, uint32_t revents, void *user)
{
	struct nflog *n = user;

	(void)s;
	(void)revents;
	for (int i = 0; i < RECEIVES_PER_WAKEUP; i++) {
		ssize_t got = recv(fd, n->buffer, sizeof(n->buffer), MSG_DONTWAIT);

		if (got < 0 && errno == ENOBUFS)
			n->overrun = true;
		else if (got <= 0)
			break;
		else
			take_messages(n, (size_t)got);
	}
	return 0;
}

static int open_netlink(struct nflog *n, struct err *err)
{
	int size = RCVBUF_BYTES, r;

	n->netlink = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!n->netlink || mnl_socket_bind(n->netlink, 0, MNL_SOCKET_AUTOPID) < 0)
		return err_set(err, errno, "NFLOG: cannot open NETLINK_NETFILTER: %s",
			       strerror(errno));
	(void)setsockopt(mnl_socket_get_fd(n->netlink), SOL_SOCKET, SO_RCVBUFFORCE, &size,
			 sizeof(size));
	r = bind_group(n);
	if (r == -EBUSY || r == -EPERM)
		return err_set(err, EBUSY,
			       "another program reads NFLOG group %u; another nflog_group would be "
			       "right",
			       n->group);
	if (r >= 0)
		r = configure(n);
	return r < 0 ? err_set(err, -r, "NFLOG group %u: %s", n->group, strerror(-r)) : 0;
}

int nflog_open(uint16_t group, sd_event *event,
	       void (*packet)(void *user, const struct nflog_packet *p), void *user,
	       struct nflog **ret, struct err *err)
{
	struct nflog *n = mem_calloc(1, sizeof(*n));
	int r;

	if (!n)
		return err_set(err, ENOMEM, "NFLOG: out of memory");
	n->group = group;
	n->packet = packet;
	n->user = user;
	r = open_netlink(n, err);
	if (r >= 0) {
		r = sd_event_add_io(event, &n->io, mnl_socket_get_fd(n->netlink), EPOLLIN,
				    on_packets, n);
		if (r >= 0)
			/* Sockets of short connections live for less than anything else takes. */
			r = sd_event_source_set_priority(n->io, NFLOG_PRIORITY);
		if (r < 0)
			r = err_set(err, -r, "NFLOG: %s", strerror(-r));
	}
	if (r < 0) {
		nflog_free(n);
		return r;
	}
	*ret = n;
	return 0;
}

void nflog_free(struct nflog *n)
{
	if (!n)
		return;
	sd_event_source_disable_unref(n->io);
	if (n->netlink)
		mnl_socket_close(n->netlink);
	free(n);
}

uint64_t nflog_lost(const struct nflog *n)
{
	return n->lost;
}
