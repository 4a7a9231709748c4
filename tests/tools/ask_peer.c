/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Asks an agent as another node's agent would, with any certificate, about any connection; or
 * molests it:
 *
 *   ask_peer [--netns PATH] [--cgroup DIR] KIND ADDRESS PORT [--cert FILE --key FILE] [--node NAME]
 *            [--from ADDRESS] [--udp] [--src ADDRESS --sport N --dst ADDRESS --dport N]
 *            [--flags N] [--count N] [--timeout MS]
 *
 * KIND:
 *   ask       --count questions, each when the last is answered; prints each answer:
 *             "answer STATUS match N uid N identity ID evidence N"
 *   flood     --count questions as fast as it goes: "flood: N ok, N busy, N other"
 *   garbage   random bytes instead of frames      length  a frame longer than any may be
 *   slow      one byte of a question a second     nohello a question before HELLO
 *   half      TLS begins and is not ended         answers answers that nobody asked for
 *   many      --count streams at once, held       old     TLS 1.2 only
 *
 * The exit status is 0 when an answer came, 6 when the agent closed the stream, 4 when it neither
 * answers nor closes, 3 when no stream came to be.
 */
#include "tests/tools/peer.h"

#include <openssl/rand.h>
#include <poll.h>

#define STREAMS_MAX     4096
#define FLOOD_IN_FLIGHT 200

static struct {
	const char *cert, *key, *node, *from, *src, *dst;
	uint32_t sport, dport, flags, count, timeout;
	bool udp;
} arg = {.node = "nobody", .count = 1, .timeout = 3000, .src = "0.0.0.0", .dst = "0.0.0.0"};

static const struct opt opts[] = {
	{"cert", OPT_TEXT, {.text = &arg.cert}},
	{"key", OPT_TEXT, {.text = &arg.key}},
	{"node", OPT_TEXT, {.text = &arg.node}},
	{"from", OPT_TEXT, {.text = &arg.from}},
	{"src", OPT_TEXT, {.text = &arg.src}},
	{"dst", OPT_TEXT, {.text = &arg.dst}},
	{"sport", OPT_NUMBER, {.number = &arg.sport}},
	{"dport", OPT_NUMBER, {.number = &arg.dport}},
	{"flags", OPT_NUMBER, {.number = &arg.flags}},
	{"count", OPT_NUMBER, {.number = &arg.count}},
	{"timeout", OPT_NUMBER, {.number = &arg.timeout}},
	{"udp", OPT_FLAG, {.flag = &arg.udp}},
};

static int connect_to(const char *address, uint32_t port)
{
	struct timeval patience = {.tv_sec = arg.timeout / 1000,
				   .tv_usec = arg.timeout % 1000 * 1000};
	struct endpoint e, from;
	int fd;

	endpoint_set(&e, address, port);
	fd = socket(e.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		tool_die(EXIT_BROKEN, "socket: %s", strerror(errno));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (arg.from != NULL) {
		endpoint_set(&from, arg.from, 0);
		if (bind(fd, (const struct sockaddr *)&from.sa, from.len) < 0)
			tool_die(EXIT_BROKEN, "--from %s: %s", arg.from, strerror(errno));
	}
	if (connect(fd, (const struct sockaddr *)&e.sa, e.len) < 0)
		tool_die(EXIT_REFUSED, "no stream: %s", strerror(errno));
	return fd;
}

static bool open_stream(SSL_CTX *ctx, const char *address, uint32_t port, struct stream *ret)
{
	ret->fd = connect_to(address, port);
	ret->ssl = SSL_new(ctx);
	return ret->ssl != NULL && SSL_set_fd(ret->ssl, ret->fd) == 1 && SSL_connect(ret->ssl) == 1;
}

/* How a stream ended, told by exit status. */
__attribute__((noreturn)) static void ended(void)
{
	bool waited = errno == EAGAIN || errno == EWOULDBLOCK;

	printf("%s\n", waited ? "silence" : "closed");
	(void)fflush(stdout);
	_exit(waited ? EXIT_TIMEOUT : EXIT_RESET);
}

static struct peer_query the_query(void)
{
	struct peer_query q = {.l4proto = arg.udp ? IPPROTO_UDP : IPPROTO_TCP,
			       .sport = (uint16_t)arg.sport,
			       .dport = (uint16_t)arg.dport,
			       .flags = arg.flags,
			       .budget_ms = 700,
			       .policy_revision = 1};

	if (addr_parse(arg.src, &q.src) < 0 || addr_parse(arg.dst, &q.dst) < 0)
		tool_die(EXIT_USAGE, "--src or --dst is no address");
	return q;
}

static bool send_query(struct stream *s, uint64_t id)
{
	struct peer_query q = the_query();
	struct buf b;

	buf_init(&b, PEER_READ_MAX);
	peer_query_encode(&b, id, &q);
	return stream_send(s, &b);
}

/* The next answer; pings meanwhile are answered. */
static void next_answer(struct stream *s, struct peer_answer *ret)
{
	struct frame f;
	struct buf b;

	for (;;) {
		errno = 0;
		if (!stream_frame(s, &f))
			ended();
		if (f.header.type == PEER_ANSWER &&
		    peer_answer_decode(f.body, f.header.body_len, ret) == 0)
			return;
		if (f.header.type != PEER_PING)
			continue;
		buf_init(&b, PEER_READ_MAX);
		peer_bare_encode(&b, PEER_PONG, f.header.id);
		(void)stream_send(s, &b);
	}
}

static void ask(struct stream *s)
{
	struct peer_answer a;

	for (uint32_t i = 0; i < arg.count; i++) {
		if (!send_query(s, i + 1))
			ended();
		next_answer(s, &a);
		printf("answer %s match %u uid %d identity %s evidence %u\n",
		       peer_status_name(a.status), a.match, (int)a.uid, a.spiffe_id, a.evidence);
	}
}

static void flood(struct stream *s)
{
	unsigned long by[3] = {0};
	struct peer_answer a;

	/* As many in flight as a stream may have, so that neither side's buffers fill up. */
	for (uint32_t sent = 0, got = 0; got < arg.count;) {
		if (sent < arg.count && sent - got < FLOOD_IN_FLIGHT) {
			if (!send_query(s, ++sent))
				ended();
			continue;
		}
		next_answer(s, &a);
		by[a.status == PEER_OK ? 0 : a.status == PEER_BUSY ? 1 : 2]++;
		got++;
	}
	printf("flood: %lu ok, %lu busy, %lu other\n", by[0], by[1], by[2]);
}

static void slow(struct stream *s)
{
	struct peer_query q = the_query();
	struct buf b;

	buf_init(&b, PEER_READ_MAX);
	peer_query_encode(&b, 1, &q);
	for (size_t i = 0; b.r == 0 && i < b.len; i++) {
		if (!stream_write(s, b.data + i, 1))
			ended();
		(void)poll(NULL, 0, 1000);
	}
	buf_done(&b);
}

static void nonsense(struct stream *s, const char *kind)
{
	static uint8_t bytes[PEER_BODY_MAX * 2];
	struct peer_answer a = {.status = PEER_OK, .match = 0x3f};
	struct buf b;

	buf_init(&b, PEER_READ_MAX);
	if (str_eq(kind, "garbage")) {
		(void)RAND_bytes(bytes, sizeof(bytes));
	} else if (str_eq(kind, "length")) {
		peer_bare_encode(&b, PEER_PING, 1);
		if (b.r == 0)
			memset(b.data + 4, 0x7f, 4);
	} else {
		for (uint64_t id = 1; id <= 64; id++)
			peer_answer_encode(&b, id, &a);
	}
	if (b.len > 0 && !stream_send(s, &b))
		ended();
	if (!str_eq(kind, "answers") && !stream_write(s, bytes, sizeof(bytes)))
		ended();
	next_answer(s, &a);
}

static void many(SSL_CTX *ctx, const char *address, uint32_t port)
{
	static struct stream streams[STREAMS_MAX];
	uint32_t up = 0, alive = 0;
	struct peer_answer a;

	for (uint32_t i = 0; i < arg.count && i < STREAMS_MAX; i++) {
		if (open_stream(ctx, address, port, &streams[up]) &&
		    send_hello(&streams[up], arg.node))
			up++;
	}
	printf("streams %u\n", up);
	for (uint32_t i = 0; i < up; i++) {
		struct pollfd p = {.fd = streams[i].fd, .events = POLLRDHUP};

		alive += poll(&p, 1, 0) == 0;
	}
	printf("alive %u\n", alive);
	if (up > 0 && send_query(&streams[up - 1], 1)) {
		next_answer(&streams[up - 1], &a);
		printf("answer %s\n", peer_status_name(a.status));
	}
}

static void half(const char *address, uint32_t port)
{
	int fd = connect_to(address, port);
	uint8_t byte;

	/* A record header that promises a ClientHello. */
	(void)send(fd, "\x16\x03\x01\x02\x00\x01", 6, MSG_NOSIGNAL);
	errno = 0;
	if (recv(fd, &byte, 1, 0) <= 0)
		ended();
}

static void run_kind(SSL_CTX *ctx, const char *kind, const char *address, uint32_t port)
{
	struct stream s;

	if (str_eq(kind, "half")) {
		half(address, port);
		return;
	}
	if (str_eq(kind, "many")) {
		many(ctx, address, port);
		return;
	}
	if (!open_stream(ctx, address, port, &s))
		tool_die(EXIT_REFUSED, "no stream: %s", tls_error());
	if (!str_eq(kind, "nohello") && !send_hello(&s, arg.node))
		ended();
	if (str_eq(kind, "flood"))
		flood(&s);
	else if (str_eq(kind, "slow"))
		slow(&s);
	else if (str_eq(kind, "garbage") || str_eq(kind, "length") || str_eq(kind, "answers"))
		nonsense(&s, kind);
	else
		ask(&s);
}

static const char *const kinds[] = {"ask",     "flood", "garbage", "length", "slow",
				    "nohello", "half",  "answers", "many",   "old"};

int main(int argc, char **argv)
{
	static const struct peer_tool tool = {"ask_peer", kinds, ARRAY_LEN(kinds), opts,
					      ARRAY_LEN(opts)};
	struct peer_call call;

	peer_call_parse(&tool, argc, argv, &call);
	run_kind(peer_context(&call, false, arg.cert, arg.key), call.kind, call.address, call.port);
	return EXIT_AS_ASKED;
}
