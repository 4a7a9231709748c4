/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The least that a queue can cost: every SYN that comes in goes to user space and is accepted there
 * without a look at it. In the current network namespace:
 *
 *   accept_all QUEUE      says "listening", until it is killed
 *
 * Conntrack is on, since a queue firewall asks for new connections only; the rule is written as the
 * agent writes its own, natively or through the xt target, whichever this kernel has.
 */
#include "agent/nft_table.h"
#include "bench/bench.h"

#include <arpa/inet.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define TABLE         "acceptall"
#define RECEIVE_BYTES 65536
#define MESSAGE_BYTES 256
#define SOCKET_BYTES  (8 << 20)
#define QUEUE_LEN     4096
#define LIFE_S        3600

static const char text_chain[] =
	"table inet " TABLE
	" { chain in { type filter hook input priority 0; policy accept; }; }\n";

static void rule_add(uint16_t queue)
{
	struct stmt stmts[] = {
		{.kind = STMT_L4PROTO, .value = IPPROTO_TCP},
		{.kind = STMT_SYN_RAW},
		{.kind = STMT_CT_STATE, .value = TABLE_STATE_NEW},
		{.kind = STMT_QUEUE, .value = queue},
	};
	struct table_rule rule = {.count = ARRAY_LEN(stmts)};
	struct table_chain chain = {.name = TABLE_CHAIN_IN, .count = 1};
	struct table t = {
		.shape = {.table = TABLE},
		.chains = &chain,
		.chain_count = 1,
		.rules = &rule,
		.rule_count = 1,
		.stmts = stmts,
		.stmt_count = ARRAY_LEN(stmts),
	};
	struct nft *n = NULL;
	struct batch b;
	struct err err = {{0}};

	need(nft_open(TABLE, &n, &err), &err, "open netlink");
	need(nft_probe(n, &err), &err, "probe the kernel");
	t.shape.queue = (uint8_t)nft_queue_kind(n);
	if (t.shape.queue == QUEUE_NONE)
		die("this kernel cannot queue packets");
	batch_init(&b);
	batch_begin(&b);
	need(nft_put_rule(&b, &t, 0, 0, (struct batch_item){.kind = BATCH_RULE}), &err, "rule");
	batch_end(&b);
	need(nft_commit(n, &b, "to queue every SYN", &err), &err, "rule");
	batch_done(&b);
	nft_close(n);
}

static struct mnl_socket *queue_bind(uint16_t queue)
{
	_Alignas(struct nlmsghdr) char buffer[MESSAGE_BYTES];
	struct mnl_socket *s = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	struct nlmsghdr *h = nfq_nlmsg_put(buffer, NFQNL_MSG_CONFIG, queue);
	int bytes = SOCKET_BYTES;

	if (s == NULL || mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0)
		die("netlink: %s", strerror(errno));
	(void)setsockopt(mnl_socket_get_fd(s), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	nfq_nlmsg_cfg_put_cmd(h, AF_UNSPEC, NFQNL_CFG_CMD_BIND);
	nfq_nlmsg_cfg_put_params(h, NFQNL_COPY_META, 0);
	nfq_nlmsg_cfg_put_qmaxlen(h, QUEUE_LEN);
	mnl_attr_put_u32(h, NFQA_CFG_FLAGS, htonl(NFQA_CFG_F_GSO));
	mnl_attr_put_u32(h, NFQA_CFG_MASK, htonl(NFQA_CFG_F_GSO));
	if (mnl_socket_sendto(s, h, h->nlmsg_len) < 0 ||
	    mnl_socket_recvfrom(s, buffer, sizeof(buffer)) < 0 ||
	    mnl_cb_run(buffer, sizeof(*h) + sizeof(struct nlmsgerr), 0, 0, NULL, NULL) < 0)
		die("queue %u: %s", queue, strerror(errno));
	return s;
}

static void accept_packet(struct mnl_socket *s, const struct nlmsghdr *packet)
{
	_Alignas(struct nlmsghdr) char buffer[MESSAGE_BYTES];
	const struct nfgenmsg *g = mnl_nlmsg_get_payload(packet);
	struct nlattr *attr[NFQA_MAX + 1] = {NULL};
	struct nfqnl_msg_packet_hdr header;
	struct nlmsghdr *h;

	if (nfq_nlmsg_parse(packet, attr) < 0 || attr[NFQA_PACKET_HDR] == NULL)
		die("a packet without a number");
	memcpy(&header, mnl_attr_get_payload(attr[NFQA_PACKET_HDR]), sizeof(header));
	h = nfq_nlmsg_put(buffer, NFQNL_MSG_VERDICT, ntohs(g->res_id));
	nfq_nlmsg_verdict_put(h, (int)ntohl(header.packet_id), NF_ACCEPT);
	(void)mnl_socket_sendto(s, h, h->nlmsg_len);
}

static _Noreturn void accept_all(struct mnl_socket *s)
{
	static _Alignas(struct nlmsghdr) char buffer[RECEIVE_BYTES];

	for (;;) {
		const struct nlmsghdr *h = (const struct nlmsghdr *)buffer;
		ssize_t n = mnl_socket_recvfrom(s, buffer, sizeof(buffer));
		int len = (int)n;

		if (n < 0 && errno != EINTR && errno != ENOBUFS)
			die("queue: %s", strerror(errno));
		for (; n > 0 && mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len)) {
			if (h->nlmsg_type == (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
				accept_packet(s, h);
		}
	}
}

int main(int argc, char **argv)
{
	struct mnl_socket *s;
	uint16_t queue;

	if (argc != 2)
		die("usage: accept_all QUEUE");
	bench_begin();
	(void)alarm(LIFE_S);
	queue = (uint16_t)argument_number("QUEUE", argv[1], 0, UINT16_MAX);
	nft_text(text_chain, strlen(text_chain));
	s = queue_bind(queue);
	rule_add(queue);
	(void)puts("listening");
	(void)fflush(stdout);
	accept_all(s);
}
