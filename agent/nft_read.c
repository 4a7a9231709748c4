/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/nft_table.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#define REQUEST_MAX     65536
#define READ_BUFFER_MAX 65536 /* the kernel fills messages up to what the reader takes, 32 KiB */

static void write_request(struct nft *n, const struct nft_request *r, void *buf)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g;

	h->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | r->type);
	/* A dump ends by itself; one object is followed by an acknowledgement. */
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | (r->flags ? r->flags : NLM_F_ACK));
	h->nlmsg_seq = ++n->read_seq;
	g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
	g->nfgen_family = r->family ? r->family : NFPROTO_INET;
	g->version = NFNETLINK_V0;
	/* The table's name is attribute 1 of every kind of object. */
	if (r->table != NULL)
		mnl_attr_put_strz(h, 1, r->table);
	if (r->name_attr != 0)
		mnl_attr_put_strz(h, r->name_attr, r->name);
	if (r->put != NULL)
		r->put(h, r->user);
}

/* What an earlier request that failed half-way left behind must not answer this one. */
static void drain(struct mnl_socket *s)
{
	char buf[64];

	while (recv(mnl_socket_get_fd(s), buf, sizeof(buf), MSG_DONTWAIT | MSG_TRUNC) >= 0 ||
	       errno == ENOBUFS || errno == EINTR)
		continue;
}

int nft_read(struct nft *n, const struct nft_request *r)
{
	static _Thread_local _Alignas(struct nlmsghdr) char buf[READ_BUFFER_MAX];
	int more = MNL_CB_OK;

	drain(n->reader);
	write_request(n, r, buf);
	if (mnl_socket_sendto(n->reader, buf, ((struct nlmsghdr *)buf)->nlmsg_len) < 0)
		return -errno;
	while (more > MNL_CB_STOP) {
		ssize_t len = mnl_socket_recvfrom(n->reader, buf, sizeof(buf));

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return -errno;
		more = mnl_cb_run(buf, (size_t)len, n->read_seq, mnl_socket_get_portid(n->reader),
				  r->take, r->user);
		if (more < 0)
			return errno == EINTR ? -EAGAIN : -errno;
	}
	return 0;
}

/* --- attributes ------------------------------------------------------------------------------ */

static const struct nlattr *find_attr(const void *first, const char *end, uint16_t type)
{
	const struct nlattr *a = first;

	while (mnl_attr_ok(a, (int)(end - (const char *)a))) {
		if (mnl_attr_get_type(a) == type)
			return a;
		a = mnl_attr_next(a);
	}
	return NULL;
}

const struct nlattr *nft_attr(const struct nlmsghdr *h, uint16_t type)
{
	return find_attr(mnl_nlmsg_get_payload_offset(h, sizeof(struct nfgenmsg)),
			 mnl_nlmsg_get_payload_tail(h), type);
}

const struct nlattr *nft_attr_nested(const struct nlattr *nest, uint16_t type)
{
	const char *payload;

	if (nest == NULL)
		return NULL;
	payload = mnl_attr_get_payload(nest);
	return find_attr(payload, payload + mnl_attr_get_payload_len(nest), type);
}

uint32_t nft_attr_u32(const struct nlattr *a, uint32_t otherwise)
{
	if (a == NULL || mnl_attr_get_payload_len(a) < sizeof(uint32_t))
		return otherwise;
	return ntohl(mnl_attr_get_u32(a));
}

uint64_t nft_attr_u64(const struct nlattr *a, uint64_t otherwise)
{
	if (a == NULL || mnl_attr_get_payload_len(a) < sizeof(uint64_t))
		return otherwise;
	return be64toh(mnl_attr_get_u64(a));
}

const char *nft_attr_text(const struct nlattr *a)
{
	if (a == NULL || mnl_attr_validate(a, MNL_TYPE_NUL_STRING) < 0)
		return "";
	return mnl_attr_get_str(a);
}
