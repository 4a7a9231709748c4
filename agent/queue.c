/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/queue.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RECEIVE_BYTES       65536
#define RECEIVE_MESSAGES    16
#define MESSAGE_BYTES       (RECEIVE_BYTES / RECEIVE_MESSAGES) /* a packet's is far smaller */
#define RECEIVES_PER_WAKEUP 8 /* then the loop turns: the heartbeat must not starve */
#define RCVBUF_MIN          (1U << 20)
#define RCVBUF_PER_PACKET   1024 /* copy, attributes, and the kernel's own accounting */
/* sd-event's own choice would be a quarter of a second. */
#define TIMER_ACCURACY_US  10000
#define CONFIG_BYTES       512
#define VERDICT_BYTES      128
#define VERDICTS_BYTES     8192 /* of one burst, in one system call */
#define CONFIG_ANSWERS_MAX 4096
#define PROC_BYTES_MAX     65536
#define PROC_FIELDS        9
#define MS_NS              1000000LL

/* A packet in the kernel's hands. */
struct held {
	bool used;
	uint32_t id;
	struct mono deadline;
};

/*
 * Ids of a queue count up, and the kernel holds at most max_pending packets of it: the slot of an
 * id is its low bits. What still sits there when a new one comes was held while thousands were
 * answered.
 */
struct one_queue {
	uint16_t number;
	struct held *held;
	uint32_t mask;
	uint32_t held_count;
};

struct queue {
	struct mnl_socket *netlink;
	sd_event *event;
	sd_event_source *io, *timer;
	const struct queue_handler *handler;
	uint16_t first, count;
	struct one_queue queues[QUEUE_NUMBERS_MAX];
	struct queue_counters counters;
	uint32_t seq;
	bool opening, reading, corked;
	char *buffer;
	size_t verdicts_len;
	_Alignas(struct nlmsghdr) char verdicts[VERDICTS_BYTES];
};

/* --- verdicts -------------------------------------------------------------------------------- */

static struct one_queue *queue_by_number(struct queue *q, uint16_t number)
{
	if (number < q->first || number - q->first >= q->count)
		return NULL;
	return &q->queues[number - q->first];
}

static uint32_t kernel_verdict(enum queue_answer answer)
{
	switch (answer) {
	case QUEUE_ACCEPT:
		return NF_ACCEPT;
	case QUEUE_REPEAT:
		return NF_REPEAT;
	case QUEUE_DROP:
		break;
	}
	return NF_DROP;
}

/*
 * The kernel takes the messages of one datagram one by one, so the verdicts of a burst cost one
 * system call. Each is carried out before the call returns.
 */
static void send_verdicts(struct queue *q)
{
	size_t len = q->verdicts_len, at = 0;

	q->verdicts_len = 0;
	if (len == 0 || mnl_socket_sendto(q->netlink, q->verdicts, len) >= 0)
		return;
	/* Too little memory for all of them together: one by one. */
	while (at < len) {
		const struct nlmsghdr *h =
			(const struct nlmsghdr *)(const void *)(q->verdicts + at);

		if (mnl_socket_sendto(q->netlink, h, h->nlmsg_len) < 0)
			q->counters.unsent++;
		at += MNL_ALIGN(h->nlmsg_len);
	}
}

static void put_verdict(struct queue *q, uint16_t number, uint32_t id, uint32_t verdict,
			const uint32_t *mark)
{
	struct nlmsghdr *h;

	if (q->verdicts_len + VERDICT_BYTES > sizeof(q->verdicts))
		send_verdicts(q);
	h = nfq_nlmsg_put(q->verdicts + q->verdicts_len, NFQNL_MSG_VERDICT, number);
	nfq_nlmsg_verdict_put(h, (int)id, (int)verdict);
	if (mark != NULL)
		nfq_nlmsg_verdict_put_mark(h, *mark);
	q->verdicts_len += MNL_ALIGN(h->nlmsg_len);
	if (!q->reading && !q->corked)
		send_verdicts(q);
}

void queue_cork(struct queue *q, bool cork)
{
	if (q == NULL)
		return;
	q->corked = cork;
	if (!cork && !q->reading)
		send_verdicts(q);
}

static void answer_held(struct queue *q, struct one_queue *one, struct held *held,
			enum queue_answer answer, const uint32_t *mark, enum reason reason)
{
	held->used = false;
	one->held_count--;
	q->counters.held--;
	q->counters.held_in[one->number - q->first]--;
	q->counters.by_answer[answer]++;
	q->counters.by_reason[reason]++;
	put_verdict(q, one->number, held->id, kernel_verdict(answer), mark);
}

/* A packet that waits for its verdict; NULL, and counted, when there is none of this id. */
static struct held *find_held(struct queue *q, struct one_queue *one, uint32_t id)
{
	struct held *held = one != NULL ? &one->held[id & one->mask] : NULL;

	if (held != NULL && held->used && held->id == id)
		return held;
	q->counters.refused++;
	return NULL;
}

int queue_verdict(struct queue *q, uint16_t queue, uint32_t id, enum queue_answer answer,
		  bool has_mark, uint32_t mark, enum reason reason)
{
	struct one_queue *one = queue_by_number(q, queue);
	struct held *held = find_held(q, one, id);

	if (held == NULL)
		return -ENOENT;
	answer_held(q, one, held, answer, has_mark ? &mark : NULL,
		    reason < REASON_COUNT ? reason : REASON_MALFORMED);
	return 0;
}

int queue_hold_until(struct queue *q, uint16_t queue, uint32_t id, struct mono deadline)
{
	struct held *held = find_held(q, queue_by_number(q, queue), id);

	if (held == NULL)
		return -ENOENT;
	held->deadline = deadline;
	return 0;
}

/* --- deadlines ------------------------------------------------------------------------------- */

static void expire_queue(struct queue *q, struct one_queue *one, struct mono now)
{
	for (uint32_t i = 0; i <= one->mask && one->held_count > 0; i++) {
		struct held *held = &one->held[i];

		if (!held->used || held->deadline.ns > now.ns)
			continue;
		q->counters.expired++;
		answer_held(q, one, held, QUEUE_DROP, NULL, REASON_ATTEST_TIMEOUT);
	}
}

static int arm_timer(struct queue *q)
{
	int r = sd_event_source_set_time_relative(q->timer, QUEUE_HOLD_MS * 1000ULL);

	return r < 0 ? r : sd_event_source_set_enabled(q->timer, SD_EVENT_ONESHOT);
}

/* Runs only while packets are held: an idle agent does not wake up for this. */
static int on_timer(sd_event_source *source, uint64_t usec, void *user)
{
	struct queue *q = user;
	struct mono now = mono_now();

	(void)source;
	(void)usec;
	for (uint16_t i = 0; i < q->count; i++)
		expire_queue(q, &q->queues[i], now);
	return q->counters.held > 0 ? arm_timer(q) : 0;
}

/* --- packets --------------------------------------------------------------------------------- */

/* Lengths were checked by nfq_nlmsg_parse(); what is absent is zero. */
static uint32_t attr_be32(const struct nlattr *a)
{
	return a != NULL ? ntohl(mnl_attr_get_u32(a)) : 0;
}

/* False when the message cannot be answered: no packet id. */
static bool read_message(const struct nlmsghdr *h, struct queue_packet *p,
			 const struct nlattr **ret_payload)
{
	const struct nfgenmsg *g = mnl_nlmsg_get_payload(h);
	struct nlattr *attr[NFQA_MAX + 1] = {NULL};
	struct nfqnl_msg_packet_hdr header;

	if (mnl_nlmsg_get_payload_len(h) < sizeof(*g) || nfq_nlmsg_parse(h, attr) < 0 ||
	    attr[NFQA_PACKET_HDR] == NULL ||
	    mnl_attr_get_payload_len(attr[NFQA_PACKET_HDR]) < sizeof(header))
		return false;
	memcpy(&header, mnl_attr_get_payload(attr[NFQA_PACKET_HDR]), sizeof(header));
	p->queue = ntohs(g->res_id);
	p->id = ntohl(header.packet_id);
	p->hook = header.hook;
	p->mark = attr_be32(attr[NFQA_MARK]);
	p->ifindex_in = attr_be32(attr[NFQA_IFINDEX_INDEV]);
	p->ifindex_out = attr_be32(attr[NFQA_IFINDEX_OUTDEV]);
	p->has_uid = attr[NFQA_UID] != NULL;
	p->uid = attr_be32(attr[NFQA_UID]);
	*ret_payload = attr[NFQA_PAYLOAD];
	return true;
}

/* Enters the packet; an older one in its slot is dropped. */
static void hold(struct queue *q, struct one_queue *one, uint32_t id)
{
	struct held *held = &one->held[id & one->mask];

	if (held->used) {
		q->counters.expired++;
		answer_held(q, one, held, QUEUE_DROP, NULL, REASON_QUEUE_FULL);
	}
	one->held_count++;
	q->counters.held++;
	q->counters.held_in[one->number - q->first]++;
	*held = (struct held){
		.used = true, .id = id, .deadline = {mono_now().ns + QUEUE_HOLD_MS * MS_NS}};
}

static void take_packet(struct queue *q, const struct nlmsghdr *h)
{
	const struct nlattr *payload = NULL;
	struct queue_packet p = {0};
	struct one_queue *one;
	int r = -EBADMSG;

	if (!read_message(h, &p, &payload))
		return;
	one = queue_by_number(q, p.queue);
	if (one == NULL)
		return;

	q->counters.received++;
	hold(q, one, p.id);
	if (q->opening) {
		/* The caller does not have us yet; a SYN comes again. */
		(void)queue_verdict(q, p.queue, p.id, QUEUE_DROP, false, 0, REASON_QUEUE_FULL);
		return;
	}
	if (payload != NULL)
		r = packet_parse(mnl_attr_get_payload(payload), mnl_attr_get_payload_len(payload),
				 &p.packet);
	if (r < 0 && r != -EPROTONOSUPPORT) {
		(void)queue_verdict(q, p.queue, p.id, QUEUE_DROP, false, 0, REASON_MALFORMED);
		return;
	}
	p.unsupported = r < 0;
	q->handler->packet(q->handler->user, &p);
}

static void take_messages(struct queue *q, const void *bytes, int len)
{
	const struct nlmsghdr *h = bytes;

	for (; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len))
		if (h->nlmsg_type == (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
			take_packet(q, h);
}

/* Packets that were there, at most RECEIVE_MESSAGES, by one system call; or -errno. */
static int receive_some(struct queue *q, int fd)
{
	struct mmsghdr messages[RECEIVE_MESSAGES] = {0};
	struct iovec parts[RECEIVE_MESSAGES];
	int n;

	for (size_t i = 0; i < RECEIVE_MESSAGES; i++) {
		parts[i] = (struct iovec){q->buffer + i * MESSAGE_BYTES, MESSAGE_BYTES};
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	n = recvmmsg(fd, messages, RECEIVE_MESSAGES, MSG_DONTWAIT, NULL);
	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++)
		take_messages(q, q->buffer + (size_t)i * MESSAGE_BYTES, (int)messages[i].msg_len);
	return n;
}

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *user)
{
	struct queue *q = user;
	uint64_t before = q->counters.received;

	(void)source;
	(void)events;
	q->reading = true;
	for (unsigned i = 0; i < RECEIVES_PER_WAKEUP; i++) {
		int n = receive_some(q, fd);

		/* The kernel dropped and counted those packets; the rest is still to be read. */
		if (n == -ENOBUFS)
			q->counters.enobufs++;
		else if (n < RECEIVE_MESSAGES)
			break;
	}
	if (q->counters.received != before && q->handler->burst_end != NULL)
		q->handler->burst_end(q->handler->user);
	q->reading = false;
	send_verdicts(q);
	if (q->counters.held > 0 && sd_event_source_get_enabled(q->timer, NULL) == 0)
		return arm_timer(q);
	return 0;
}

/* --- opening --------------------------------------------------------------------------------- */

/* Packets of queues bound earlier may come before the answer. */
static int await_ack(struct queue *q)
{
	for (unsigned i = 0; i < CONFIG_ANSWERS_MAX; i++) {
		const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)q->buffer;
		const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
		ssize_t n = recv(mnl_socket_get_fd(q->netlink), q->buffer, RECEIVE_BYTES, 0);

		if (n < 0 && (errno == EINTR || errno == ENOBUFS))
			continue;
		if (n < 0)
			return -errno;
		if (mnl_nlmsg_ok(h, (int)n) && h->nlmsg_type == NLMSG_ERROR &&
		    h->nlmsg_seq == q->seq && mnl_nlmsg_get_payload_len(h) >= sizeof(*e))
			return e->error;
		take_messages(q, q->buffer, (int)n);
	}
	return -EPROTO;
}

static int bind_queue(struct queue *q, uint16_t number, uint32_t max_pending)
{
	_Alignas(struct nlmsghdr) char buffer[CONFIG_BYTES];
	/* GSO: a packet is not cut up before we see it; its checksum may be partial, we check none.
	 */
	uint32_t flags = htonl(NFQA_CFG_F_UID_GID | NFQA_CFG_F_GSO);
	uint32_t mask = htonl(NFQA_CFG_F_UID_GID | NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN);
	struct nlmsghdr *h = nfq_nlmsg_put(buffer, NFQNL_MSG_CONFIG, number);

	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	h->nlmsg_seq = ++q->seq;
	nfq_nlmsg_cfg_put_cmd(h, AF_UNSPEC, NFQNL_CFG_CMD_BIND);
	nfq_nlmsg_cfg_put_params(h, NFQNL_COPY_PACKET, QUEUE_COPY_RANGE);
	nfq_nlmsg_cfg_put_qmaxlen(h, max_pending);
	mnl_attr_put_u32(h, NFQA_CFG_FLAGS, flags);
	mnl_attr_put_u32(h, NFQA_CFG_MASK, mask);
	if (mnl_socket_sendto(q->netlink, h, h->nlmsg_len) < 0)
		return -errno;
	return await_ack(q);
}

static int open_socket(struct queue *q, const struct queue_config *config, struct err *err)
{
	uint64_t want = config->rcvbuf_bytes;
	int fd, bytes;

	q->netlink = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (q->netlink == NULL || mnl_socket_bind(q->netlink, 0, MNL_SOCKET_AUTOPID) < 0)
		return err_set(err, errno, "queue: cannot open a netlink socket: %s",
			       strerror(errno));
	fd = mnl_socket_get_fd(q->netlink);
	if (want == 0) {
		want = (uint64_t)config->max_pending * RCVBUF_PER_PACKET * config->count;
		if (want < RCVBUF_MIN)
			want = RCVBUF_MIN;
	}
	bytes = want > INT32_MAX / 2 ? INT32_MAX / 2 : (int)want;
	/* FORCE needs CAP_NET_ADMIN in the initial user namespace; less is only more losses,
	 * counted. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	return 0;
}

static int init_queue(struct one_queue *one, uint16_t number, uint32_t max_pending)
{
	uint32_t size = 1;

	/* Twice what the kernel may hold, so that ids that wrap never meet a live one. */
	while (size < max_pending * 2)
		size *= 2;
	one->number = number;
	one->held = mem_calloc(size, sizeof(*one->held));
	one->mask = size - 1;
	return one->held == NULL ? -ENOMEM : 0;
}

static int bind_all(struct queue *q, const struct queue_config *config, struct err *err)
{
	for (uint16_t i = 0; i < q->count; i++) {
		uint16_t number = (uint16_t)(q->first + i);
		int r;

		if (init_queue(&q->queues[i], number, config->max_pending) < 0)
			return err_set(err, ENOMEM, "queue: out of memory");
		r = bind_queue(q, number, config->max_pending);
		if (r == -EPERM || r == -EBUSY)
			return err_set(err, EBUSY,
				       "queue %u is read by another program, or CAP_NET_ADMIN is "
				       "missing; another queues.first would be right",
				       number);
		if (r < 0)
			return err_set(err, -r, "queue %u: %s", number, strerror(-r));
	}
	return 0;
}

static int add_sources(struct queue *q)
{
	int r = sd_event_add_io(q->event, &q->io, mnl_socket_get_fd(q->netlink), EPOLLIN,
				on_readable, q);

	if (r < 0)
		return r;
	r = sd_event_add_time_relative(q->event, &q->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY_US,
				       on_timer, q);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(q->timer, SD_EVENT_OFF);
}

int queue_open(const struct queue_config *config, sd_event *event,
	       const struct queue_handler *handler, struct queue **ret_queue, struct err *err)
{
	CLEANUP(queue_freep) struct queue *q = NULL;
	int r;

	if (config->count == 0 || config->count > QUEUE_NUMBERS_MAX ||
	    config->first > UINT16_MAX - config->count || config->max_pending == 0 ||
	    config->max_pending > QUEUE_PENDING_MAX)
		return err_set(err, EINVAL, "queue: numbers or lengths out of range");
	q = mem_calloc(1, sizeof(*q));
	if (q == NULL)
		return err_set(err, ENOMEM, "queue: out of memory");
	q->buffer = mem_calloc(1, RECEIVE_BYTES);
	if (q->buffer == NULL)
		return err_set(err, ENOMEM, "queue: out of memory");
	q->handler = handler;
	q->first = config->first;
	q->count = config->count;
	q->event = sd_event_ref(event);

	q->opening = true;
	r = open_socket(q, config, err);
	if (r == 0)
		r = bind_all(q, config, err);
	if (r < 0)
		return r;
	q->opening = false;
	r = add_sources(q);
	if (r < 0)
		return err_set(err, -r, "queue: event loop: %s", strerror(-r));
	*ret_queue = TAKE_PTR(q);
	return 0;
}

void queue_free(struct queue *q)
{
	if (q == NULL)
		return;
	sd_event_source_disable_unref(q->io);
	sd_event_source_disable_unref(q->timer);
	sd_event_unref(q->event);
	if (q->netlink != NULL)
		mnl_socket_close(q->netlink);
	for (size_t i = 0; i < QUEUE_NUMBERS_MAX; i++)
		free(q->queues[i].held);
	free(q->buffer);
	free(q);
}

void queue_freep(struct queue **q)
{
	queue_free(*q);
	*q = NULL;
}

/* --- counters -------------------------------------------------------------------------------- */

const struct queue_counters *queue_counters(const struct queue *q)
{
	return &q->counters;
}

/* One line: queue, portid, waiting, copy mode, copy range, queue dropped, user dropped, id, 1. */
static bool take_line(const char *line, uint64_t fields[PROC_FIELDS])
{
	for (size_t i = 0; i < PROC_FIELDS; i++) {
		uint64_t value = 0;

		line += strspn(line, " \t");
		if (*line < '0' || *line > '9')
			return false;
		for (; *line >= '0' && *line <= '9'; line++)
			value = value * 10 + (uint64_t)(*line - '0');
		fields[i] = value;
	}
	return true;
}

int queue_depth(const struct queue *q, struct queue_depth *ret_depth)
{
	CLEANUP(freep) char *text = NULL;
	struct queue_depth depth = {0};
	uint64_t fields[PROC_FIELDS];
	size_t len = 0;
	int r = file_read(AT_FDCWD, "/proc/self/net/netfilter/nfnetlink_queue", PROC_BYTES_MAX,
			  &text, &len, NULL);

	if (r < 0)
		return r;
	for (const char *line = text; *line != '\0'; line += strcspn(line, "\n")) {
		line += strspn(line, "\n");
		if (!take_line(line, fields) || fields[0] < q->first ||
		    fields[0] - q->first >= q->count)
			continue;
		depth.waiting += fields[2];
		depth.queue_dropped += fields[5];
		depth.user_dropped += fields[6];
	}
	*ret_depth = depth;
	return 0;
}
