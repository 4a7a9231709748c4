/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/conntrack_message.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* Of the size that they are copied with: this is read for every attested connection. */
static const char tcp_states[][CT_STATE_MAX] = {
	[TCP_CONNTRACK_NONE] = "NONE",         [TCP_CONNTRACK_SYN_SENT] = "SYN_SENT",
	[TCP_CONNTRACK_SYN_RECV] = "SYN_RECV", [TCP_CONNTRACK_ESTABLISHED] = "ESTABLISHED",
	[TCP_CONNTRACK_FIN_WAIT] = "FIN_WAIT", [TCP_CONNTRACK_CLOSE_WAIT] = "CLOSE_WAIT",
	[TCP_CONNTRACK_LAST_ACK] = "LAST_ACK", [TCP_CONNTRACK_TIME_WAIT] = "TIME_WAIT",
	[TCP_CONNTRACK_CLOSE] = "CLOSE",       [TCP_CONNTRACK_SYN_SENT2] = "SYN_SENT2",
};

/* --- decoding -------------------------------------------------------------------------------- */

/*
 * By hand: nfct_nlmsg_parse() of libnetfilter_conntrack 1.0.9 ends the process ("ABI breakage")
 * when an attribute is too short, copies names of helpers and security contexts as strings whether
 * or not they end, and notes what is in CTA_PROTOINFO in a table too small for all types it lets
 * through. What would have to be checked before is as long as this, and has to follow the library.
 * The inputs are in tests/fuzz/corpus/netlink.
 */

struct attrs {
	const struct nlattr **list;
	uint16_t max;
};

static int keep_attr(const struct nlattr *attr, void *user)
{
	const struct attrs *a = user;
	uint16_t type = mnl_attr_get_type(attr);

	if (type <= a->max)
		a->list[type] = attr;
	return MNL_CB_OK;
}

static int parse_nested(const struct nlattr *nest, const struct nlattr **list, uint16_t max)
{
	struct attrs a = {list, max};

	return mnl_attr_parse_nested(nest, keep_attr, &a) == MNL_CB_OK ? 0 : -EBADMSG;
}

static bool has(const struct nlattr *attr, size_t bytes)
{
	return attr && mnl_attr_get_payload_len(attr) >= bytes;
}

static int read_addr(const struct nlattr *attr, uint8_t family, struct addr *ret)
{
	size_t len = family == AF_INET6 ? 16 : 4;

	if (!has(attr, len))
		return -EBADMSG;
	ret->family = family;
	memcpy(ret->bytes, mnl_attr_get_payload(attr), len);
	return 0;
}

struct tuple {
	struct addr src, dst;
	uint16_t sport, dport;
	uint8_t l4proto, icmp_type;
};

static int read_ip(const struct nlattr *nest, uint8_t family, struct tuple *t)
{
	const struct nlattr *ip[CTA_IP_MAX + 1] = {0};
	bool v6 = family == AF_INET6;
	int r;

	if (!nest || parse_nested(nest, ip, CTA_IP_MAX) < 0)
		return -EBADMSG;
	r = read_addr(ip[v6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC], family, &t->src);
	return r < 0 ? r : read_addr(ip[v6 ? CTA_IP_V6_DST : CTA_IP_V4_DST], family, &t->dst);
}

static uint16_t read_port(const struct nlattr *attr)
{
	return has(attr, sizeof(uint16_t)) ? ntohs(mnl_attr_get_u16(attr)) : 0;
}

static int read_proto(const struct nlattr *nest, struct tuple *t)
{
	const struct nlattr *p[CTA_PROTO_MAX + 1] = {0};
	bool v6;

	if (!nest || parse_nested(nest, p, CTA_PROTO_MAX) < 0 || !has(p[CTA_PROTO_NUM], 1))
		return -EBADMSG;
	t->l4proto = mnl_attr_get_u8(p[CTA_PROTO_NUM]);
	t->sport = read_port(p[CTA_PROTO_SRC_PORT]);
	t->dport = read_port(p[CTA_PROTO_DST_PORT]);
	v6 = t->l4proto == IPPROTO_ICMPV6;
	if (t->l4proto != IPPROTO_ICMP && !v6)
		return 0;
	t->sport = read_port(p[v6 ? CTA_PROTO_ICMPV6_ID : CTA_PROTO_ICMP_ID]);
	t->dport = 0;
	if (has(p[v6 ? CTA_PROTO_ICMPV6_TYPE : CTA_PROTO_ICMP_TYPE], 1))
		t->icmp_type = mnl_attr_get_u8(p[v6 ? CTA_PROTO_ICMPV6_TYPE : CTA_PROTO_ICMP_TYPE]);
	return 0;
}

static int read_tuple(const struct nlattr *nest, uint8_t family, struct tuple *ret)
{
	const struct nlattr *t[CTA_TUPLE_MAX + 1] = {0};
	int r;

	if (!nest || parse_nested(nest, t, CTA_TUPLE_MAX) < 0)
		return -EBADMSG;
	r = read_ip(t[CTA_TUPLE_IP], family, ret);
	return r < 0 ? r : read_proto(t[CTA_TUPLE_PROTO], ret);
}

static void read_state(const struct nlattr *nest, struct ct_flow *f)
{
	const struct nlattr *info[CTA_PROTOINFO_MAX + 1] = {0};
	const struct nlattr *tcp[CTA_PROTOINFO_TCP_MAX + 1] = {0};
	uint8_t state;

	if (!nest || parse_nested(nest, info, CTA_PROTOINFO_MAX) < 0 || !info[CTA_PROTOINFO_TCP] ||
	    parse_nested(info[CTA_PROTOINFO_TCP], tcp, CTA_PROTOINFO_TCP_MAX) < 0 ||
	    !has(tcp[CTA_PROTOINFO_TCP_STATE], 1))
		return;
	state = mnl_attr_get_u8(tcp[CTA_PROTOINFO_TCP_STATE]);
	if (state < ARRAY_LEN(tcp_states))
		memcpy(f->state, tcp_states[state], sizeof(f->state));
}

static void add_counters(const struct nlattr *nest, struct ct_flow *f)
{
	const struct nlattr *c[CTA_COUNTERS_MAX + 1] = {0};

	if (!nest || parse_nested(nest, c, CTA_COUNTERS_MAX) < 0)
		return;
	if (has(c[CTA_COUNTERS_PACKETS], sizeof(uint64_t)))
		f->packets += be64toh(mnl_attr_get_u64(c[CTA_COUNTERS_PACKETS]));
	if (has(c[CTA_COUNTERS_BYTES], sizeof(uint64_t)))
		f->bytes += be64toh(mnl_attr_get_u64(c[CTA_COUNTERS_BYTES]));
}

static uint32_t read_u32(const struct nlattr *attr)
{
	return has(attr, sizeof(uint32_t)) ? ntohl(mnl_attr_get_u32(attr)) : 0;
}

static void fill(struct ct_flow *f, const struct tuple *orig, const struct tuple *reply)
{
	*f = (struct ct_flow){
		.src = orig->src,
		.dst = orig->dst,
		.sport = orig->sport,
		.dport = orig->dport,
		.reply_src = reply->src,
		.reply_dst = reply->dst,
		.reply_sport = reply->sport,
		.reply_dport = reply->dport,
		.l4proto = orig->l4proto,
		.icmp_type = orig->icmp_type,
	};
}

int ct_message_parse(const struct nlmsghdr *h, struct ct_flow *ret)
{
	const struct nlattr *list[CTA_MAX + 1] = {0};
	struct attrs a = {list, CTA_MAX};
	struct tuple orig = {0}, reply = {0};
	const struct nfgenmsg *g;
	uint32_t status;
	int r;

	/* libmnl rounds the length up and would read behind an odd one. */
	if (h->nlmsg_len % MNL_ALIGNTO || mnl_nlmsg_get_payload_len(h) < sizeof(*g))
		return -EBADMSG;
	g = mnl_nlmsg_get_payload(h);
	if (g->nfgen_family != AF_INET && g->nfgen_family != AF_INET6)
		return -EAFNOSUPPORT;
	if (mnl_attr_parse(h, sizeof(*g), keep_attr, &a) != MNL_CB_OK)
		return -EBADMSG;
	r = read_tuple(list[CTA_TUPLE_ORIG], g->nfgen_family, &orig);
	if (r >= 0)
		r = read_tuple(list[CTA_TUPLE_REPLY], g->nfgen_family, &reply);
	if (r < 0)
		return r;
	fill(ret, &orig, &reply);
	ret->mark = read_u32(list[CTA_MARK]);
	status = read_u32(list[CTA_STATUS]);
	ret->seen_reply = (status & IPS_SEEN_REPLY) != 0;
	ret->assured = (status & IPS_ASSURED) != 0;
	read_state(list[CTA_PROTOINFO], ret);
	add_counters(list[CTA_COUNTERS_ORIG], ret);
	add_counters(list[CTA_COUNTERS_REPLY], ret);
	return 0;
}

/* --- requests -------------------------------------------------------------------------------- */

static void entry_freep(struct nf_conntrack **entry)
{
	if (*entry)
		nfct_destroy(*entry);
	*entry = NULL;
}

static void set_addr(struct nf_conntrack *entry, enum nf_conntrack_attr attr, const struct addr *a)
{
	uint32_t words[4] = {0};

	memcpy(words, a->bytes, addr_len(a));
	nfct_set_attr(entry, attr, words);
}

static void set_tuple(struct nf_conntrack *entry, const struct ct_flow *f)
{
	bool v6 = f->src.family == AF_INET6;

	if (f->l4proto == IPPROTO_ICMP || f->l4proto == IPPROTO_ICMPV6) {
		/*
		 * Before the family: once that is known the library looks up the type of an answer,
		 * behind the end of its table for most types.
		 */
		nfct_set_attr_u8(entry, ATTR_ICMP_TYPE, f->icmp_type);
		nfct_set_attr_u8(entry, ATTR_ICMP_CODE, 0);
		nfct_set_attr_u16(entry, ATTR_ICMP_ID, htons(f->sport));
	} else {
		nfct_set_attr_u16(entry, ATTR_ORIG_PORT_SRC, htons(f->sport));
		nfct_set_attr_u16(entry, ATTR_ORIG_PORT_DST, htons(f->dport));
	}
	nfct_set_attr_u8(entry, ATTR_ORIG_L3PROTO, f->src.family);
	nfct_set_attr_u8(entry, ATTR_ORIG_L4PROTO, f->l4proto);
	set_addr(entry, v6 ? ATTR_ORIG_IPV6_SRC : ATTR_ORIG_IPV4_SRC, &f->src);
	set_addr(entry, v6 ? ATTR_ORIG_IPV6_DST : ATTR_ORIG_IPV4_DST, &f->dst);
}

static int put_tuple(struct nlmsghdr *h, const struct ct_flow *tuple)
{
	CLEANUP(entry_freep) struct nf_conntrack *entry = NULL;

	if ((tuple->src.family != AF_INET && tuple->src.family != AF_INET6) ||
	    tuple->dst.family != tuple->src.family)
		return -EAFNOSUPPORT;
	entry = nfct_new();
	if (!entry)
		return -ENOMEM;
	set_tuple(entry, tuple);
	/* What the library cannot build it leaves out; deleting without a tuple flushes the table.
	 */
	if (nfct_nlmsg_build(h, entry) < 0 ||
	    mnl_nlmsg_get_payload_len(h) == sizeof(struct nfgenmsg))
		return -EAFNOSUPPORT;
	return 0;
}

int ct_message_request(void *buf, uint16_t type, uint16_t flags, uint32_t seq,
		       const struct ct_flow *tuple, struct nlmsghdr **ret)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g;
	int r = 0;

	h->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	h->nlmsg_seq = seq;
	g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
	g->nfgen_family = tuple ? tuple->src.family : AF_UNSPEC;
	g->version = NFNETLINK_V0;
	if (tuple)
		r = put_tuple(h, tuple);
	if (r == 0)
		*ret = h;
	return r;
}
