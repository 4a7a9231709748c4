/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/conntrack_message.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define MESSAGE_MAX 1024

struct message {
	_Alignas(struct nlmsghdr) char bytes[MESSAGE_MAX];
};

static struct ct_flow flow(const char *src, const char *dst, uint8_t l4proto)
{
	struct ct_flow f = {.sport = 51544, .dport = 8443, .l4proto = l4proto};

	CHECK_INT(addr_parse(src, &f.src), 0);
	CHECK_INT(addr_parse(dst, &f.dst), 0);
	return f;
}

static struct nlmsghdr *request(struct message *m, const struct ct_flow *tuple)
{
	struct nlmsghdr *h = NULL;

	CHECK_INT(ct_message_request(m->bytes, IPCTNL_MSG_CT_NEW, 0, 1, tuple, &h), 0);
	return h;
}

/* A request's tuple is laid out as that of an answer. */
static void add_reply(struct nlmsghdr *h, const struct ct_flow *f)
{
	struct nlattr *nest = mnl_attr_nest_start(h, CTA_TUPLE_REPLY);
	struct nlattr *inner = mnl_attr_nest_start(h, CTA_TUPLE_IP);
	bool v6 = f->src.family == AF_INET6;

	mnl_attr_put(h, v6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, addr_len(&f->src), f->src.bytes);
	mnl_attr_put(h, v6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, addr_len(&f->dst), f->dst.bytes);
	mnl_attr_nest_end(h, inner);
	inner = mnl_attr_nest_start(h, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(h, CTA_PROTO_NUM, f->l4proto);
	mnl_attr_put_u16(h, CTA_PROTO_SRC_PORT, htons(f->sport));
	mnl_attr_put_u16(h, CTA_PROTO_DST_PORT, htons(f->dport));
	mnl_attr_nest_end(h, inner);
	mnl_attr_nest_end(h, nest);
}

static void add_counters(struct nlmsghdr *h, uint16_t type, uint64_t packets, uint64_t bytes)
{
	struct nlattr *nest = mnl_attr_nest_start(h, type);

	mnl_attr_put_u64(h, CTA_COUNTERS_PACKETS, htobe64(packets));
	mnl_attr_put_u64(h, CTA_COUNTERS_BYTES, htobe64(bytes));
	mnl_attr_nest_end(h, nest);
}

static struct nlmsghdr *entry(struct message *m, const struct ct_flow *orig,
			      const struct ct_flow *reply)
{
	struct nlmsghdr *h = request(m, orig);
	struct nlattr *info, *tcp;

	add_reply(h, reply);
	mnl_attr_put_u32(h, CTA_MARK, htonl(9));
	mnl_attr_put_u32(h, CTA_STATUS, htonl(IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED));
	add_counters(h, CTA_COUNTERS_ORIG, 3, 180);
	add_counters(h, CTA_COUNTERS_REPLY, 2, 120);
	info = mnl_attr_nest_start(h, CTA_PROTOINFO);
	tcp = mnl_attr_nest_start(h, CTA_PROTOINFO_TCP);
	mnl_attr_put_u8(h, CTA_PROTOINFO_TCP_STATE, TCP_CONNTRACK_ESTABLISHED);
	mnl_attr_nest_end(h, tcp);
	mnl_attr_nest_end(h, info);
	return h;
}

static void check_both_families(const char *src, const char *dst)
{
	struct ct_flow orig = flow(src, dst, IPPROTO_TCP), f;
	struct ct_flow reply = flow(dst, src, IPPROTO_TCP);
	struct message m;

	reply.sport = 8443;
	reply.dport = 51544;
	CHECK_INT(ct_message_parse(entry(&m, &orig, &reply), &f), 0);
	CHECK(addr_eq(&f.src, &orig.src));
	CHECK(addr_eq(&f.dst, &orig.dst));
	CHECK_UINT(f.sport, 51544);
	CHECK_UINT(f.dport, 8443);
	CHECK(addr_eq(&f.reply_src, &orig.dst));
	CHECK_UINT(f.reply_sport, 8443);
	CHECK_UINT(f.l4proto, IPPROTO_TCP);
	CHECK_UINT(f.mark, 9);
	CHECK(f.seen_reply);
	CHECK(f.assured);
	CHECK_UINT(f.packets, 5);
	CHECK_UINT(f.bytes, 300);
	CHECK_STR(f.state, "ESTABLISHED");
}

TEST(an_entry_is_read)
{
	check_both_families("10.77.0.11", "10.77.0.21");
	check_both_families("fd00::11", "fd00::21");
}

TEST(an_echo_has_id_and_type_instead_of_ports)
{
	struct ct_flow orig = flow("10.0.0.1", "10.0.0.2", IPPROTO_ICMP), f;
	struct message m;
	struct nlmsghdr *h;

	orig.sport = 77;
	orig.icmp_type = 8;
	h = request(&m, &orig);
	add_reply(h, &orig);
	CHECK_INT(ct_message_parse(h, &f), 0);
	CHECK_UINT(f.icmp_type, 8);
	CHECK_UINT(f.sport, 77);
	CHECK_UINT(f.dport, 0);
	CHECK_STR(f.state, "");
}

TEST(an_entry_without_tuples_is_refused)
{
	struct ct_flow f, orig = flow("10.0.0.1", "10.0.0.2", IPPROTO_TCP);
	struct message m;

	CHECK_INT(ct_message_parse(request(&m, NULL), &f), -EAFNOSUPPORT);
	CHECK_INT(ct_message_parse(request(&m, &orig), &f), -EBADMSG);
}

/* Whatever length the header claims, nothing behind it is read (see check-san). */
TEST(every_truncation_of_an_entry_is_survived)
{
	struct ct_flow orig = flow("fd00::11", "fd00::21", IPPROTO_TCP), f;
	struct message m;
	struct nlmsghdr *h = entry(&m, &orig, &orig);
	size_t whole = h->nlmsg_len;

	for (size_t len = sizeof(*h); len < whole; len += 4) {
		CLEANUP(freep) struct nlmsghdr *cut = mem_calloc(1, len);

		memcpy(cut, m.bytes, len);
		cut->nlmsg_len = (uint32_t)len;
		(void)ct_message_parse(cut, &f);
	}
	CHECK_INT(ct_message_parse(h, &f), 0);
}

/* Deleting without one flushes the table. */
TEST(every_request_about_a_flow_has_its_tuple)
{
	for (unsigned l4proto = 0; l4proto <= UINT8_MAX; l4proto++) {
		struct ct_flow orig = flow("10.0.0.1", "10.0.0.2", (uint8_t)l4proto), f;
		struct message m;
		struct nlmsghdr *h;

		orig.icmp_type = (uint8_t)l4proto;
		h = request(&m, &orig);
		CHECK(h->nlmsg_len <= CT_MESSAGE_MAX);
		add_reply(h, &orig);
		CHECK_INT(ct_message_parse(h, &f), 0);
		CHECK(addr_eq(&f.src, &orig.src));
		CHECK(addr_eq(&f.dst, &orig.dst));
		CHECK_UINT(f.l4proto, l4proto);
	}
}

TEST(echoes_of_every_type_can_be_asked_about)
{
	for (unsigned type = 0; type <= UINT8_MAX; type++) {
		struct ct_flow orig = flow("fd00::1", "fd00::2", IPPROTO_ICMPV6), f;
		struct message m;
		struct nlmsghdr *h;

		orig.icmp_type = (uint8_t)type;
		h = request(&m, &orig);
		add_reply(h, &orig);
		CHECK_INT(ct_message_parse(h, &f), 0);
		CHECK_UINT(f.icmp_type, type);
		CHECK_UINT(f.sport, 51544);
	}
}

TEST(a_request_about_no_ip_flow_is_not_built)
{
	struct ct_flow f = flow("10.0.0.1", "10.0.0.2", IPPROTO_TCP);
	struct nlmsghdr *h = NULL;
	struct message m;

	f.dst.family = AF_INET6;
	CHECK_INT(ct_message_request(m.bytes, IPCTNL_MSG_CT_DELETE, 0, 1, &f, &h), -EAFNOSUPPORT);
	f.src.family = f.dst.family = AF_UNIX;
	CHECK_INT(ct_message_request(m.bytes, IPCTNL_MSG_CT_DELETE, 0, 1, &f, &h), -EAFNOSUPPORT);
	CHECK(h == NULL);
}

TEST(a_flow_without_addresses_is_never_deleted)
{
	struct conntrack *c = NULL;
	struct ct_flow none = {.l4proto = IPPROTO_TCP};
	struct err err = {{0}};

	CHECK_OK(conntrack_open(&c, &err), &err);
	CHECK_INT(conntrack_delete(c, &none, &err), -EINVAL);
	CHECK_CONTAINS(err.text, "two addresses");
	conntrack_free(c);
}
