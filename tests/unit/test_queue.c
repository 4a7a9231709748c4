/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/queue.h"

#include "base/clock.h"
#include "base/mem.h"
#include "tests/unit/cgroup_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>

#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TABLE     "queue_test"
#define FIRST     7300
#define TURN_US   20000
#define PACKETS   64
#define BATCH_MAX 65536

/* --- a chain whose only rule queues everything -------------------------------------------------
 */

/* struct xt_NFQ_info_v3; owned by the expression afterwards. */
struct target_info {
	uint16_t number, total, flags, padding;
};

static struct nlmsghdr *put(struct mnl_nlmsg_batch *b, uint16_t type, uint16_t flags, uint32_t seq)
{
	return nftnl_nlmsg_build_hdr(mnl_nlmsg_batch_current(b), type, NFPROTO_INET, flags, seq);
}

static void put_table(struct mnl_nlmsg_batch *b)
{
	struct nftnl_table *t = nftnl_table_alloc();

	CHECK(t != NULL);
	nftnl_table_set_str(t, NFTNL_TABLE_NAME, TABLE);
	nftnl_table_nlmsg_build_payload(put(b, NFT_MSG_NEWTABLE, NLM_F_CREATE, 1), t);
	nftnl_table_free(t);
	CHECK(mnl_nlmsg_batch_next(b));
}

static void put_chain(struct mnl_nlmsg_batch *b, const char *name, uint32_t hook)
{
	struct nftnl_chain *c = nftnl_chain_alloc();

	CHECK(c != NULL);
	nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, TABLE);
	nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, name);
	nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, "filter");
	nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, hook);
	nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, 0);
	nftnl_chain_nlmsg_build_payload(put(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE, 2), c);
	nftnl_chain_free(c);
	CHECK(mnl_nlmsg_batch_next(b));
}

static void put_queue_rule(struct mnl_nlmsg_batch *b, const char *chain, uint16_t number)
{
	struct target_info *info = calloc(1, sizeof(*info));
	struct nftnl_expr *e = nftnl_expr_alloc("target");
	struct nftnl_rule *r = nftnl_rule_alloc();

	CHECK(info != NULL && e != NULL && r != NULL);
	*info = (struct target_info){.number = number, .total = 1};
	nftnl_expr_set_str(e, NFTNL_EXPR_TG_NAME, "NFQUEUE");
	nftnl_expr_set_u32(e, NFTNL_EXPR_TG_REV, 3);
	nftnl_expr_set(e, NFTNL_EXPR_TG_INFO, info, sizeof(*info));
	nftnl_rule_set_str(r, NFTNL_RULE_TABLE, TABLE);
	nftnl_rule_set_str(r, NFTNL_RULE_CHAIN, chain);
	nftnl_rule_add_expr(r, e);
	nftnl_rule_nlmsg_build_payload(
		put(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK, 3), r);
	nftnl_rule_free(r);
	CHECK(mnl_nlmsg_batch_next(b));
}

/* 0, or what the kernel says against it. */
static int transact(struct mnl_nlmsg_batch *b)
{
	struct mnl_socket *s = mnl_socket_open(NETLINK_NETFILTER);
	char answer[8192];
	ssize_t n;
	int r;

	CHECK(s != NULL && mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) == 0);
	CHECK(mnl_socket_sendto(s, mnl_nlmsg_batch_head(b), mnl_nlmsg_batch_size(b)) > 0);
	n = mnl_socket_recvfrom(s, answer, sizeof(answer));
	CHECK(n > 0);
	r = mnl_cb_run(answer, (size_t)n, 0, mnl_socket_get_portid(s), NULL, NULL);
	r = r < 0 ? -errno : 0;
	(void)mnl_socket_close(s);
	return r;
}

static void delete_table(void)
{
	char buffer[4096];
	struct mnl_nlmsg_batch *b = mnl_nlmsg_batch_start(buffer, sizeof(buffer) / 2);
	struct nftnl_table *t = nftnl_table_alloc();

	CHECK(b != NULL && t != NULL);
	nftnl_batch_begin(mnl_nlmsg_batch_current(b), 0);
	(void)mnl_nlmsg_batch_next(b);
	nftnl_table_set_str(t, NFTNL_TABLE_NAME, TABLE);
	nftnl_table_nlmsg_build_payload(put(b, NFT_MSG_DELTABLE, NLM_F_ACK, 1), t);
	(void)mnl_nlmsg_batch_next(b);
	nftnl_batch_end(mnl_nlmsg_batch_current(b), 2);
	(void)mnl_nlmsg_batch_next(b);
	(void)transact(b); /* there may be none */
	nftnl_table_free(t);
	mnl_nlmsg_batch_stop(b);
}

static void queue_everything_to(uint32_t hook, uint16_t number)
{
	static char buffer[2 * BATCH_MAX];
	struct mnl_nlmsg_batch *b = mnl_nlmsg_batch_start(buffer, BATCH_MAX);
	int r;

	CHECK(b != NULL);
	delete_table();
	nftnl_batch_begin(mnl_nlmsg_batch_current(b), 0);
	CHECK(mnl_nlmsg_batch_next(b));
	put_table(b);
	put_chain(b, "c", hook);
	put_queue_rule(b, "c", number);
	nftnl_batch_end(mnl_nlmsg_batch_current(b), 4);
	CHECK(mnl_nlmsg_batch_next(b));
	r = transact(b);
	mnl_nlmsg_batch_stop(b);
	if (r == -ENOENT || r == -EOPNOTSUPP)
		test_skip("this kernel has no NFQUEUE target for nftables");
	CHECK_INT(r, 0);
}

static void queue_everything(uint32_t hook)
{
	queue_everything_to(hook, FIRST);
}

/* --- a reader -------------------------------------------------------------------------------- */

struct bench {
	sd_event *event;
	struct queue *queue;
	struct queue_handler handler;
	struct queue_packet seen[PACKETS];
	unsigned count, bursts;
	enum queue_answer answers[PACKETS]; /* of the n-th packet */
	bool hold;                          /* answer nothing */
	uint32_t mark;                      /* with each answer, when not 0 */
	int receiver, sender;
	uint16_t port;
};

static void on_packet(void *user, const struct queue_packet *p)
{
	struct bench *b = user;

	if (b->count < PACKETS)
		b->seen[b->count] = *p;
	if (!b->hold)
		CHECK_INT(queue_verdict(b->queue, p->queue, p->id,
					b->count < PACKETS ? b->answers[b->count] : QUEUE_DROP,
					b->mark != 0, b->mark, REASON_PERMITTED),
			  0);
	b->count++;
}

static void on_burst_end(void *user)
{
	struct bench *b = user;

	b->bursts++;
}

static int udp_socket(uint16_t *ret_port)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(name);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	CHECK(fd >= 0);
	CHECK_INT(bind(fd, (const struct sockaddr *)&name, sizeof(name)), 0);
	CHECK_INT(getsockname(fd, (struct sockaddr *)&name, &len), 0);
	*ret_port = ntohs(name.sin_port);
	return fd;
}

static void bench_init(struct bench *b, uint32_t hook, uint32_t max_pending, uint32_t rcvbuf)
{
	struct queue_config config = {
		.first = FIRST, .count = 2, .max_pending = max_pending, .rcvbuf_bytes = rcvbuf};
	struct err err = {0};
	uint16_t port;

	*b = (struct bench){.receiver = -1, .sender = -1};
	fixture_network();
	queue_everything(hook);
	b->handler =
		(struct queue_handler){.packet = on_packet, .burst_end = on_burst_end, .user = b};
	CHECK(sd_event_new(&b->event) >= 0);
	CHECK_OK(queue_open(&config, b->event, &b->handler, &b->queue, &err), &err);
	b->receiver = udp_socket(&b->port);
	b->sender = udp_socket(&port);
}

static void bench_done(struct bench *b)
{
	queue_free(b->queue);
	sd_event_unref(b->event);
	closep(&b->receiver);
	closep(&b->sender);
	delete_table();
}

static void send_one(const struct bench *b, char byte)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(b->port),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};

	CHECK_INT(sendto(b->sender, &byte, 1, 0, (const struct sockaddr *)&to, sizeof(to)), 1);
}

/* The next datagram, or 0. */
static char receive_one(const struct bench *b)
{
	char byte;

	return recv(b->receiver, &byte, 1, 0) == 1 ? byte : 0;
}

static void settle(struct bench *b)
{
	while (sd_event_run(b->event, TURN_US) > 0)
		;
}

/* --- tests ----------------------------------------------------------------------------------- */

TEST(a_packet_is_handed_over_with_its_sender)
{
	CLEANUP(bench_done) struct bench b;
	struct queue_depth depth;

	bench_init(&b, NF_INET_LOCAL_OUT, 100, 0);
	send_one(&b, 'x');
	CHECK_INT(queue_depth(b.queue, &depth), 0);
	CHECK_UINT(depth.waiting, 1);
	CHECK_INT(receive_one(&b), 0);
	settle(&b);
	CHECK_UINT(b.count, 1);
	CHECK_UINT(b.bursts, 1);
	CHECK_UINT(b.seen[0].queue, FIRST);
	CHECK_UINT(b.seen[0].hook, NF_INET_LOCAL_OUT);
	CHECK(b.seen[0].has_uid);
	CHECK_UINT(b.seen[0].uid, geteuid());
	CHECK_UINT(b.seen[0].ifindex_out, 1);
	CHECK_INT(b.seen[0].packet.l4proto, IPPROTO_UDP);
	CHECK_UINT(b.seen[0].packet.dport, b.port);
	CHECK_INT(receive_one(&b), 'x');
	CHECK_INT(queue_depth(b.queue, &depth), 0);
	CHECK_UINT(depth.waiting, 0);
	CHECK_UINT(queue_counters(b.queue)->by_answer[QUEUE_ACCEPT], 1);
	CHECK_UINT(queue_counters(b.queue)->by_reason[REASON_PERMITTED], 1);
}

TEST(at_input_there_is_no_sender)
{
	CLEANUP(bench_done) struct bench b;

	bench_init(&b, NF_INET_LOCAL_IN, 100, 0);
	send_one(&b, 'x');
	settle(&b);
	CHECK_UINT(b.count, 1);
	CHECK_UINT(b.seen[0].hook, NF_INET_LOCAL_IN);
	CHECK(!b.seen[0].has_uid);
	CHECK_UINT(b.seen[0].ifindex_in, 1);
	CHECK_INT(receive_one(&b), 'x');
}

TEST(a_dropped_packet_does_not_arrive)
{
	CLEANUP(bench_done) struct bench b;

	bench_init(&b, NF_INET_LOCAL_OUT, 100, 0);
	b.answers[0] = QUEUE_DROP;
	send_one(&b, 'x');
	send_one(&b, 'y');
	settle(&b);
	CHECK_UINT(b.count, 2);
	CHECK_INT(receive_one(&b), 'y');
	CHECK_UINT(queue_counters(b.queue)->by_answer[QUEUE_DROP], 1);
	CHECK_UINT(queue_counters(b.queue)->held, 0);
}

TEST(a_repeated_packet_comes_again_with_its_mark)
{
	CLEANUP(bench_done) struct bench b;

	bench_init(&b, NF_INET_LOCAL_OUT, 100, 0);
	b.answers[0] = QUEUE_REPEAT;
	b.mark = 0x80000007;
	send_one(&b, 'x');
	settle(&b);
	CHECK_UINT(b.count, 2);
	CHECK_UINT(b.seen[0].mark, 0);
	CHECK_UINT(b.seen[1].mark, 0x80000007);
	CHECK_INT(receive_one(&b), 'x');
}

TEST(verdicts_may_come_out_of_order_and_only_once)
{
	CLEANUP(bench_done) struct bench b;
	struct queue_packet *p;

	bench_init(&b, NF_INET_LOCAL_OUT, 100, 0);
	b.hold = true;
	send_one(&b, '0');
	send_one(&b, '1');
	send_one(&b, '2');
	settle(&b);
	CHECK_UINT(b.count, 3);
	CHECK_UINT(queue_counters(b.queue)->held, 3);
	for (unsigned i = 3; i-- > 0;) {
		p = &b.seen[i];
		CHECK_INT(queue_verdict(b.queue, p->queue, p->id, QUEUE_ACCEPT, false, 0,
					REASON_PERMITTED),
			  0);
		CHECK_INT(receive_one(&b), '0' + (int)i);
	}
	p = &b.seen[1];
	CHECK_INT(queue_verdict(b.queue, p->queue, p->id, QUEUE_ACCEPT, false, 0, REASON_PERMITTED),
		  -ENOENT);
	CHECK_INT(queue_verdict(b.queue, FIRST + 7, p->id, QUEUE_DROP, false, 0, REASON_PERMITTED),
		  -ENOENT);
	CHECK_UINT(queue_counters(b.queue)->refused, 2);
	CHECK_UINT(queue_counters(b.queue)->by_answer[QUEUE_ACCEPT], 3);
}

TEST(a_packet_held_too_long_is_dropped)
{
	CLEANUP(bench_done) struct bench b;
	struct mono from = mono_now();
	struct queue_depth depth;

	bench_init(&b, NF_INET_LOCAL_OUT, 100, 0);
	b.hold = true;
	send_one(&b, 'x');
	while (queue_counters(b.queue)->expired == 0 && mono_ms_since(from, mono_now()) < 10000)
		CHECK(sd_event_run(b.event, TURN_US) >= 0);
	CHECK_UINT(queue_counters(b.queue)->expired, 1);
	CHECK(mono_ms_since(from, mono_now()) >= QUEUE_HOLD_MS);
	CHECK_UINT(queue_counters(b.queue)->by_reason[REASON_ATTEST_TIMEOUT], 1);
	CHECK_UINT(queue_counters(b.queue)->held, 0);
	CHECK_INT(queue_depth(b.queue, &depth), 0);
	CHECK_UINT(depth.waiting, 0);
	CHECK_INT(receive_one(&b), 0);
}

TEST(who_waits_for_an_answer_gives_the_deadline)
{
	CLEANUP(bench_done) struct bench b;
	struct mono from = mono_now();
	struct queue_packet *p;

	bench_init(&b, NF_INET_LOCAL_OUT, 100, 0);
	b.hold = true;
	send_one(&b, 'x');
	send_one(&b, 'y');
	settle(&b);
	p = &b.seen[1];
	CHECK_INT(queue_hold_until(b.queue, p->queue, p->id,
				   (struct mono){from.ns + 2 * QUEUE_HOLD_MS * 1000000LL}),
		  0);
	CHECK_INT(queue_hold_until(b.queue, p->queue, p->id + 7, from), -ENOENT);
	while (queue_counters(b.queue)->expired == 0 && mono_ms_since(from, mono_now()) < 10000)
		CHECK(sd_event_run(b.event, TURN_US) >= 0);
	CHECK_UINT(queue_counters(b.queue)->expired, 1);
	CHECK_UINT(queue_counters(b.queue)->held_in[0], 1);
	CHECK_INT(queue_verdict(b.queue, p->queue, p->id, QUEUE_ACCEPT, false, 0, REASON_PERMITTED),
		  0);
	CHECK_INT(receive_one(&b), 'y');
	CHECK_INT(receive_one(&b), 0);
}

TEST(verdicts_of_one_burst_leave_together_and_each_is_carried_out)
{
	CLEANUP(bench_done) struct bench b;

	bench_init(&b, NF_INET_LOCAL_OUT, 200, 0);
	for (unsigned i = 0; i < PACKETS; i++)
		b.answers[i] = i % 2 ? QUEUE_DROP : QUEUE_ACCEPT;
	for (unsigned i = 0; i < PACKETS; i++)
		send_one(&b, (char)('0' + i));
	settle(&b);
	CHECK_UINT(b.count, PACKETS);
	for (unsigned i = 0; i < PACKETS; i += 2)
		CHECK_INT(receive_one(&b), (char)('0' + i));
	CHECK_INT(receive_one(&b), 0);
	CHECK_UINT(queue_counters(b.queue)->held, 0);
	CHECK_UINT(queue_counters(b.queue)->unsent, 0);
	CHECK_UINT(queue_counters(b.queue)->by_answer[QUEUE_DROP], PACKETS / 2);
}

TEST(each_queue_counts_for_itself)
{
	CLEANUP(bench_done) struct bench b;
	struct queue_packet *p;

	bench_init(&b, NF_INET_LOCAL_OUT, 100, 0);
	b.hold = true;
	send_one(&b, 'x');
	settle(&b);
	queue_everything_to(NF_INET_LOCAL_OUT, FIRST + 1);
	send_one(&b, 'y');
	send_one(&b, 'z');
	settle(&b);
	CHECK_UINT(b.count, 3);
	CHECK_UINT(queue_counters(b.queue)->held, 3);
	CHECK_UINT(queue_counters(b.queue)->held_in[0], 1);
	CHECK_UINT(queue_counters(b.queue)->held_in[1], 2);
	p = &b.seen[1];
	CHECK_UINT(p->queue, FIRST + 1);
	/* Ids of two queues are alike: the number tells whose it is. */
	CHECK_UINT(p->id, b.seen[0].id);
	CHECK_INT(queue_verdict(b.queue, p->queue, p->id, QUEUE_DROP, false, 0, REASON_NO_RULE), 0);
	CHECK_UINT(queue_counters(b.queue)->held_in[0], 1);
	CHECK_UINT(queue_counters(b.queue)->held_in[1], 1);
}

TEST(a_full_queue_drops_and_counts)
{
	CLEANUP(bench_done) struct bench b;
	struct queue_depth depth;

	bench_init(&b, NF_INET_LOCAL_OUT, 4, 0);
	for (unsigned i = 0; i < 10; i++) {
		char byte = 'x';
		struct sockaddr_in to = {.sin_family = AF_INET,
					 .sin_port = htons(b.port),
					 .sin_addr = {htonl(INADDR_LOOPBACK)}};

		(void)sendto(b.sender, &byte, 1, 0, (const struct sockaddr *)&to, sizeof(to));
	}
	CHECK_INT(queue_depth(b.queue, &depth), 0);
	CHECK_UINT(depth.waiting, 4);
	CHECK_UINT(depth.queue_dropped, 6);
	settle(&b);
	CHECK_UINT(b.count, 4);
}

TEST(the_reader_goes_on_after_losses)
{
	CLEANUP(bench_done) struct bench b;
	struct queue_depth depth;

	/* The smallest buffer the kernel grants holds a few packets only. */
	bench_init(&b, NF_INET_LOCAL_OUT, 1000, 1);
	for (unsigned i = 0; i < 60; i++) {
		char byte = 'x';
		struct sockaddr_in to = {.sin_family = AF_INET,
					 .sin_port = htons(b.port),
					 .sin_addr = {htonl(INADDR_LOOPBACK)}};

		(void)sendto(b.sender, &byte, 1, 0, (const struct sockaddr *)&to, sizeof(to));
	}
	settle(&b);
	CHECK(queue_counters(b.queue)->enobufs > 0);
	CHECK_INT(queue_depth(b.queue, &depth), 0);
	CHECK(depth.user_dropped > 0);
	CHECK_UINT(queue_counters(b.queue)->received + depth.user_dropped, 60);
	while (receive_one(&b) != 0)
		;
	b.count = 0;
	send_one(&b, 'y');
	settle(&b);
	CHECK_INT(receive_one(&b), 'y');
}

TEST(a_packet_that_cannot_be_read_is_dropped_before_anybody_is_asked)
{
	struct {
		struct iphdr ip;
		struct udphdr udp;
	} packet = {.ip = {.version = 4,
			   .ihl = 5,
			   .tot_len = htons(sizeof(packet)),
			   .ttl = 64,
			   .protocol = IPPROTO_UDP,
			   .saddr = htonl(INADDR_LOOPBACK),
			   .daddr = htonl(INADDR_LOOPBACK)},
		    .udp = {.source = htons(1), .dest = htons(2), .len = htons(3)}};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	CLEANUP(bench_done) struct bench b;
	int raw;

	bench_init(&b, NF_INET_LOCAL_OUT, 100, 0);
	raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	CHECK(raw >= 0);
	CHECK_INT(sendto(raw, &packet, sizeof(packet), 0, (const struct sockaddr *)&to, sizeof(to)),
		  sizeof(packet));
	(void)close(raw);
	settle(&b);
	CHECK_UINT(b.count, 0);
	CHECK_UINT(queue_counters(b.queue)->received, 1);
	CHECK_UINT(queue_counters(b.queue)->by_reason[REASON_MALFORMED], 1);
	CHECK_UINT(queue_counters(b.queue)->by_answer[QUEUE_DROP], 1);
}

TEST(a_queue_has_one_reader)
{
	struct queue_config config = {.first = FIRST + 1, .count = 1, .max_pending = 10};
	CLEANUP(bench_done) struct bench b;
	struct queue *second = NULL;
	struct err err = {0};

	bench_init(&b, NF_INET_LOCAL_OUT, 100, 0);
	CHECK_INT(queue_open(&config, b.event, &b.handler, &second, &err), -EBUSY);
	CHECK_CONTAINS(err.text, "queue 7301 is read by another program");
	config.count = 0;
	CHECK_INT(queue_open(&config, b.event, &b.handler, &second, &err), -EINVAL);
}
