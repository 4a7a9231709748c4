/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/nft_batch.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"

#define SEND_OVERHEAD 32768
#define ANSWERS_MAX   32768

void batch_init(struct batch *b)
{
	*b = (struct batch){.seq = 1};
}

void batch_done(struct batch *b)
{
	free(b->bytes);
	free(b->items);
	*b = (struct batch){0};
}

static void close_message(struct batch *b)
{
	if (b->open != NULL)
		b->len += MNL_ALIGN(b->open->nlmsg_len);
	b->open = NULL;
	b->list = NULL;
}

static struct nlmsghdr *message(struct batch *b, uint16_t type, uint16_t flags, uint8_t family,
				uint16_t res_id)
{
	struct nlmsghdr *h;
	struct nfgenmsg *g;

	close_message(b);
	if (b->r < 0)
		return NULL;
	b->r = vec_grow(&b->bytes, &b->cap, b->len + BATCH_MESSAGE_MAX, 1, BATCH_BYTES_MAX);
	if (b->r < 0)
		return NULL;
	h = mnl_nlmsg_put_header(b->bytes + b->len);
	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	h->nlmsg_seq = b->seq++;
	g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
	g->nfgen_family = family;
	g->version = NFNETLINK_V0;
	g->res_id = htons(res_id);
	b->open = h;
	return h;
}

void batch_begin(struct batch *b)
{
	b->len = 0;
	b->open = NULL;
	b->list = NULL;
	b->item_count = 0;
	b->r = 0;
	(void)message(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
}

struct nlmsghdr *batch_message(struct batch *b, uint16_t type, uint16_t flags,
			       struct batch_item item)
{
	struct nlmsghdr *h;

	h = message(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, NFPROTO_INET, 0);
	if (h == NULL)
		return NULL;
	b->r = vec_grow(&b->items, &b->item_cap, b->item_count + 1, sizeof(*b->items),
			BATCH_ITEMS_MAX);
	if (b->r < 0)
		return NULL;
	item.seq = h->nlmsg_seq;
	b->items[b->item_count++] = item;
	return h;
}

/*
 * The acknowledgement is asked for on the last message: kernel 6.1 ignores the flag on BATCH_END,
 * and one on each message would overflow the receive buffer.
 */
void batch_end(struct batch *b)
{
	if (b->open != NULL && b->item_count > 0)
		b->open->nlmsg_flags |= NLM_F_ACK;
	(void)message(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	close_message(b);
}

bool batch_is_empty(const struct batch *b)
{
	return b->item_count == 0;
}

/* --- sending --------------------------------------------------------------------------------- */

/* The kernel takes a message of at most the send buffer less 32 bytes, and doubles what is set. */
static int make_room(struct mnl_socket *s, size_t len)
{
	int fd = mnl_socket_get_fd(s), size = 0;
	socklen_t size_len = sizeof(size);

	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &size_len) < 0)
		return -errno;
	if (len + SEND_OVERHEAD <= (size_t)size)
		return 0;
	size = (int)(len + SEND_OVERHEAD);
	return setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0 ? -errno : 0;
}

static const struct batch_item *find_item(const struct batch *b, uint32_t seq)
{
	size_t low = 0, high = b->item_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (b->items[middle].seq < seq)
			low = middle + 1;
		else
			high = middle;
	}
	return low < b->item_count && b->items[low].seq == seq ? &b->items[low] : NULL;
}

static int keep_message(const struct nlattr *attr, void *data)
{
	struct batch_fault *f = data;

	if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG &&
	    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
		(void)snprintf(f->text, sizeof(f->text), "%s", mnl_attr_get_str(attr));
	return MNL_CB_OK;
}

static void keep_fault(const struct nlmsghdr *h, const struct nlmsgerr *e,
		       const struct batch_item *item, struct batch_fault *f)
{
	size_t offset = sizeof(*e);

	if (f->error != 0)
		return;
	f->error = -e->error;
	f->item = item;
	if (h->nlmsg_flags & NLM_F_ACK_TLVS) {
		if (!(h->nlmsg_flags & NLM_F_CAPPED))
			offset += e->msg.nlmsg_len - sizeof(e->msg);
		(void)mnl_attr_parse(h, (unsigned int)offset, keep_message, f);
	}
}

static void take_answer(const struct batch *b, const struct nlmsghdr *h,
			const struct batch_errors *errors, struct batch_fault *f, bool *answered)
{
	const struct nlmsgerr *e;
	const struct batch_item *item;

	if (h->nlmsg_type != NLMSG_ERROR || mnl_nlmsg_get_payload_len(h) < sizeof(*e))
		return;
	e = mnl_nlmsg_get_payload(h);
	*answered = true;
	if (e->error >= 0)
		return;
	item = find_item(b, h->nlmsg_seq);
	keep_fault(h, e, item, f);
	if (errors != NULL && item != NULL)
		errors->error(errors->user, item, -e->error);
}

/* All answers are in the socket's queue when sendmsg() returns: the batch is handled inside it. */
static int read_answers(struct mnl_socket *s, const struct batch *b,
			const struct batch_errors *errors, struct batch_fault *f)
{
	_Alignas(struct nlmsghdr) char buf[ANSWERS_MAX];
	bool answered = false, lost = false;

	for (;;) {
		ssize_t n = recv(mnl_socket_get_fd(s), buf, sizeof(buf), MSG_DONTWAIT);
		const struct nlmsghdr *h = (const struct nlmsghdr *)buf;
		int left = (int)n;

		if (n < 0 && errno == ENOBUFS) {
			lost = true;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return -errno;
		for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
			if (h->nlmsg_seq < b->seq && h->nlmsg_seq >= b->seq - b->item_count - 2)
				take_answer(b, h, errors, f, &answered);
		}
	}
	if (f->error != 0)
		return -f->error;
	/* Only errors can be so many that they overflow: one acknowledgement is asked for. */
	if (lost || !answered) {
		f->error = lost ? ENOBUFS : EPROTO;
		return -f->error;
	}
	return 0;
}

int batch_send(struct mnl_socket *s, const struct batch *b, const struct batch_errors *errors,
	       struct batch_fault *ret_fault)
{
	struct batch_fault fault = {0}, *f = ret_fault != NULL ? ret_fault : &fault;
	int r;

	*f = fault;
	if (b->r < 0) {
		f->error = -b->r;
		return b->r;
	}
	r = make_room(s, b->len);
	if (r == 0 && mnl_socket_sendto(s, b->bytes, b->len) < 0)
		r = -errno;
	if (r < 0) {
		f->error = -r;
		return r;
	}
	return read_answers(s, b, errors, f);
}

void attr_be32(struct nlmsghdr *h, uint16_t type, uint32_t v)
{
	mnl_attr_put_u32(h, type, htonl(v));
}

void attr_be64(struct nlmsghdr *h, uint16_t type, uint64_t v)
{
	mnl_attr_put_u64(h, type, htobe64(v));
}
