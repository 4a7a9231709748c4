/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/telemetry_explain.h"
#include "agent/telemetry_nflog.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netfilter/nfnetlink_log.h>

#define MESSAGE_MAX 1024

/* 10.77.0.11:51544 > 10.77.0.21:8443, SYN */
static const uint8_t syn[] = {
	0x45, 0,    0,    40,   0, 0, 0x40, 0, 64, 6, 0, 0, 10,   77,   0,    11,   10, 77, 0, 21,
	0xc9, 0x58, 0x20, 0xfb, 0, 0, 0,    1, 0,  0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0,  0,  0, 0,
};

struct message {
	_Alignas(struct nlmsghdr) char bytes[MESSAGE_MAX];
};

static struct nlmsghdr *message(struct message *m, const char *prefix, uint8_t hook)
{
	struct nfulnl_msg_packet_hdr header = {.hw_protocol = htons(0x0800), .hook = hook};
	struct nlmsghdr *h = mnl_nlmsg_put_header(m->bytes);
	struct nfgenmsg *g;

	h->nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET;
	g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
	g->nfgen_family = AF_INET;
	mnl_attr_put(h, NFULA_PACKET_HDR, sizeof(header), &header);
	mnl_attr_put_strz(h, NFULA_PREFIX, prefix);
	mnl_attr_put_u32(h, NFULA_MARK, htonl(0x40000002));
	mnl_attr_put_u32(h, NFULA_IFINDEX_OUTDEV, htonl(3));
	mnl_attr_put_u32(h, NFULA_UID, htonl(34));
	mnl_attr_put_u32(h, NFULA_SEQ, htonl(7));
	mnl_attr_put(h, NFULA_PAYLOAD, sizeof(syn), syn);
	return h;
}

TEST(a_logged_packet_is_read)
{
	struct nflog_packet p;
	struct message m;

	CHECK_INT(nflog_message_parse(message(&m, "bw:deny:rule", NF_INET_LOCAL_OUT), &p), 0);
	CHECK_STR(p.prefix, "bw:deny:rule");
	CHECK_UINT(p.hook, NF_INET_LOCAL_OUT);
	CHECK_UINT(p.mark, 0x40000002);
	CHECK_UINT(p.ifindex_out, 3);
	CHECK(p.has_uid && p.uid == 34);
	CHECK(p.has_seq && p.seq == 7);
	CHECK_UINT(p.len, sizeof(syn));
	CHECK_MEM(p.payload, syn, sizeof(syn));
}

/* What the flow was when it was judged; nested, among other attributes. */
TEST(the_mark_of_the_flow_is_read)
{
	struct nflog_packet p;
	struct message m;
	struct nlmsghdr *h = message(&m, "bw:would:rule", NF_INET_LOCAL_OUT);
	struct nlattr *ct;

	CHECK_INT(nflog_message_parse(h, &p), 0);
	CHECK_UINT(p.ct_mark, 0);
	ct = mnl_attr_nest_start(h, NFULA_CT);
	mnl_attr_put_u32(h, CTA_STATUS, htonl(8));
	mnl_attr_put_u32(h, CTA_MARK, htonl(0x40000003));
	mnl_attr_nest_end(h, ct);
	CHECK_INT(nflog_message_parse(h, &p), 0);
	CHECK_UINT(p.ct_mark, 0x40000003);
	h = message(&m, "bw:would:rule", NF_INET_LOCAL_OUT);
	ct = mnl_attr_nest_start(h, NFULA_CT);
	mnl_attr_put_u8(h, CTA_MARK, 1);
	mnl_attr_nest_end(h, ct);
	CHECK_INT(nflog_message_parse(h, &p), 0);
	CHECK_UINT(p.ct_mark, 0);
}

TEST(a_long_prefix_is_cut)
{
	char prefix[200];
	struct nflog_packet p;
	struct message m;

	memset(prefix, 'p', sizeof(prefix) - 1);
	prefix[sizeof(prefix) - 1] = '\0';
	CHECK_INT(nflog_message_parse(message(&m, prefix, NF_INET_LOCAL_IN), &p), 0);
	CHECK_UINT(strlen(p.prefix), NFLOG_PREFIX_MAX - 1);
}

TEST(a_message_without_packet_is_refused)
{
	_Alignas(struct nlmsghdr) char bytes[MESSAGE_MAX];
	struct nlmsghdr *h = mnl_nlmsg_put_header(bytes);
	struct nflog_packet p;

	CHECK_INT(nflog_message_parse(h, &p), -EBADMSG);
	(void)mnl_nlmsg_put_extra_header(h, sizeof(struct nfgenmsg));
	CHECK_INT(nflog_message_parse(h, &p), -EBADMSG);
	mnl_attr_put_u8(h, NFULA_PACKET_HDR, 1); /* too short */
	mnl_attr_put(h, NFULA_PAYLOAD, sizeof(syn), syn);
	CHECK_INT(nflog_message_parse(h, &p), -EBADMSG);
}

TEST(prefixes_say_what_the_chains_decided)
{
	static const struct {
		const char *prefix;
		int r;
		enum table_log_decision decision;
		enum table_log_why why;
	} rows[] = {
		{"bw:deny:rule", 0, TABLE_LOG_DENY, TABLE_LOG_RULE},
		{"bw:deny:ended", 0, TABLE_LOG_DENY, TABLE_LOG_ENDED},
		{"bw:deny:end", 0, TABLE_LOG_DENY, TABLE_LOG_END},
		{"bw:deny:unknown", 0, TABLE_LOG_DENY, TABLE_LOG_UNKNOWN},
		{"bw:deny:untracked", 0, TABLE_LOG_DENY, TABLE_LOG_UNTRACKED},
		{"bw:deny:resync", 0, TABLE_LOG_DENY, TABLE_LOG_RESYNC},
		{"bw:would:rule", 0, TABLE_LOG_WOULD, TABLE_LOG_RULE},
		{"bw:watch:rule", 0, TABLE_LOG_WATCH, TABLE_LOG_RULE},
		{"bw:deny:", -EINVAL, 0, 0},
		{"bw:deny:ruler", -EINVAL, 0, 0},
		{"foreign firewall: ", -EINVAL, 0, 0},
		{"", -EINVAL, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct nflog_packet p = {
			.hook = NF_INET_LOCAL_OUT, .payload = syn, .len = sizeof(syn)};
		struct logged l;

		(void)snprintf(p.prefix, sizeof(p.prefix), "%s", rows[i].prefix);
		CHECK_INT(logged_parse(&p, &l), rows[i].r);
		if (rows[i].r < 0)
			continue;
		CHECK_INT(l.decision, rows[i].decision);
		CHECK_INT(l.why, rows[i].why);
		CHECK(l.out);
		CHECK_UINT(l.packet.dport, 8443);
	}
}

TEST(a_packet_that_is_cut_short_is_no_line)
{
	for (size_t len = 0; len < 32; len++) {
		struct nflog_packet p = {.prefix = "bw:deny:rule", .payload = syn, .len = len};
		struct logged l;

		CHECK_INT(logged_parse(&p, &l), -EBADMSG);
	}
}

TEST(the_interface_is_that_of_the_hook)
{
	struct nflog_packet p = {.prefix = "bw:would:rule",
				 .hook = NF_INET_LOCAL_IN,
				 .ifindex_in = 4,
				 .payload = syn,
				 .len = sizeof(syn)};
	struct logged l;

	CHECK_INT(logged_parse(&p, &l), 0);
	CHECK(!l.out);
	CHECK_UINT(l.ifindex, 4);
}
