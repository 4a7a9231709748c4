/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/telemetry_nflog.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_log/libnetfilter_log.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdio.h>
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

struct nflog_reader {
	struct mnl_socket *netlink;
	sd_event_source *io;
	void (*packet)(void *user, const struct nflog_packet *p);
	void *user;
	uint16_t group;
	uint32_t seq; /* of our requests */
	bool seq_known, overrun, carries_flows;
	uint32_t next_seq; /* of the kernel's packets */
	uint64_t lost;
	_Alignas(struct nlmsghdr) char buffer[RECEIVE_BYTES];
};

/* --- messages -------------------------------------------------------------------------------- */

/* Lengths were checked by nflog_nlmsg_parse(); what is absent is zero. */
static uint32_t attr_be32(const struct nlattr *attr)
{
	return attr ? ntohl(mnl_attr_get_u32(attr)) : 0;
}

static int take_ct_mark(const struct nlattr *attr, void *user)
{
	uint32_t *mark = user;

	if (mnl_attr_get_type(attr) == CTA_MARK && mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
		*mark = attr_be32(attr);
	return MNL_CB_OK;
}

static uint32_t ct_mark_of(const struct nlattr *ct)
{
	uint32_t mark = 0;

	if (ct)
		(void)mnl_attr_parse_nested(ct, take_ct_mark, &mark);
	return mark;
}

int nflog_message_parse(const struct nlmsghdr *h, struct nflog_packet *ret)
{
	struct nlattr *attr[NFULA_MAX + 1] = {NULL};
	const struct nfulnl_msg_packet_hdr *header;

	/* libmnl rounds the length up and would read behind an odd one. */
	if (h->nlmsg_len % MNL_ALIGNTO || mnl_nlmsg_get_payload_len(h) < sizeof(struct nfgenmsg) ||
	    nflog_nlmsg_parse(h, attr) != MNL_CB_OK)
		return -EBADMSG;
	if (!attr[NFULA_PACKET_HDR] || !attr[NFULA_PAYLOAD])
		return -EBADMSG;
	header = mnl_attr_get_payload(attr[NFULA_PACKET_HDR]);
	*ret = (struct nflog_packet){
		.hook = header->hook,
		.mark = attr_be32(attr[NFULA_MARK]),
		.ct_mark = ct_mark_of(attr[NFULA_CT]),
		.ifindex_in = attr_be32(attr[NFULA_IFINDEX_INDEV]),
		.ifindex_out = attr_be32(attr[NFULA_IFINDEX_OUTDEV]),
		.has_uid = attr[NFULA_UID] != NULL,
		.uid = attr_be32(attr[NFULA_UID]),
		.has_seq = attr[NFULA_SEQ] != NULL,
		.seq = attr_be32(attr[NFULA_SEQ]),
		.payload = mnl_attr_get_payload(attr[NFULA_PAYLOAD]),
		.len = mnl_attr_get_payload_len(attr[NFULA_PAYLOAD]),
	};
	if (attr[NFULA_PREFIX])
		(void)snprintf(ret->prefix, sizeof(ret->prefix), "%s",
			       mnl_attr_get_str(attr[NFULA_PREFIX]));
	return 0;
}

/* --- configuration --------------------------------------------------------------------------- */

static struct nlmsghdr *config_request(struct nflog_reader *n, char *buf)
{
	struct nlmsghdr *h = nflog_nlmsg_put_header(buf, NFULNL_MSG_CONFIG, AF_UNSPEC, n->group);

	h->nlmsg_flags |= NLM_F_ACK;
	h->nlmsg_seq = ++n->seq;
	return h;
}

/* Packets that come before the last acknowledgement are not lost unseen: their numbers are. */
static bool find_ack(struct nflog_reader *n, size_t len, int *ret)
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

static int config_send(struct nflog_reader *n, const struct nlmsghdr *h)
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

static int bind_group(struct nflog_reader *n)
{
	_Alignas(struct nlmsghdr) char buf[CONFIG_BYTES];
	struct nlmsghdr *h = config_request(n, buf);

	(void)nflog_attr_put_cfg_cmd(h, NFULNL_CFG_CMD_BIND);
	return config_send(n, h);
}

/*
 * Each packet is sent at once: the kernel would otherwise gather them for a second, and what a
 * resync asks about has an answer now. The rules' own limit bounds how many there are.
 */
static int configure_with(struct nflog_reader *n, uint16_t flags)
{
	_Alignas(struct nlmsghdr) char buf[CONFIG_BYTES];
	struct nlmsghdr *h = config_request(n, buf);

	(void)nflog_attr_put_cfg_mode(h, NFULNL_COPY_PACKET, NFLOG_COPY_RANGE);
	mnl_attr_put_u32(h, NFULA_CFG_NLBUFSIZ, htonl(BUFFER_IN_KERNEL));
	mnl_attr_put_u32(h, NFULA_CFG_QTHRESH, htonl(1));
	mnl_attr_put_u16(h, NFULA_CFG_FLAGS, htons(flags));
	return config_send(n, h);
}

/* With the flow's mark where the kernel can: then short-lived callers have names in records. */
static int configure(struct nflog_reader *n)
{
	int r = configure_with(n, NFULNL_CFG_F_SEQ | NFULNL_CFG_F_CONNTRACK);

	n->carries_flows = r >= 0;
	return r < 0 ? configure_with(n, NFULNL_CFG_F_SEQ) : r;
}

/* --- reading --------------------------------------------------------------------------------- */

static void count_gap(struct nflog_reader *n, const struct nflog_packet *p)
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

static void take_messages(struct nflog_reader *n, size_t len)
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
	struct nflog_reader *n = user;

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

static int open_netlink(struct nflog_reader *n, struct err *err)
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

int nflog_reader_open(uint16_t group, sd_event *event,
		      void (*packet)(void *user, const struct nflog_packet *p), void *user,
		      struct nflog_reader **ret, struct err *err)
{
	struct nflog_reader *n = mem_calloc(1, sizeof(*n));
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
		nflog_reader_free(n);
		return r;
	}
	*ret = n;
	return 0;
}

void nflog_reader_free(struct nflog_reader *n)
{
	if (!n)
		return;
	sd_event_source_disable_unref(n->io);
	if (n->netlink)
		mnl_socket_close(n->netlink);
	free(n);
}

uint64_t nflog_reader_lost(const struct nflog_reader *n)
{
	return n->lost;
}

bool nflog_reader_carries_flows(const struct nflog_reader *n)
{
	return n && n->carries_flows;
}
