/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * In the place of another node's agent: it has any certificate, and answers as it is told.
 *
 *   hostile_peer [--netns PATH] [--cgroup DIR] KIND ADDRESS PORT --cert FILE --key FILE
 *                [--node NAME] [--identity SPIFFE-ID] [--status N] [--match BITS] [--delay MS]
 *                [--evidence N] [--sha256 HEX]
 *
 * KIND, what becomes of each question:
 *   answer    an answer as the options say (default: OK, every match bit), after --delay
 *   deaf      none: the stream stands, pings are answered
 *   mute      TCP is accepted, TLS never begins
 *   hangup    the stream is closed
 *   garbage   random bytes        length    a frame longer than any may be
 *   half      half an answer      other     an answer to a question that nobody asked
 *   twice     a refusal, then OK  early     OK for the next thousand questions, before they come
 *   nohello   OK without a HELLO  old       TLS 1.2 only
 *   plain     an answer without TLS
 *
 * Says "listening", "stream", "query ..." and "answered", one a line. A process per stream.
 */
#include "tests/tools/peer.h"

#include <netinet/in.h>
#include <openssl/rand.h>
#include <poll.h>
#include <sys/prctl.h>

#define BACKLOG     64
#define EARLY_COUNT 1000
#define MATCH_ALL   0x3fu

static struct {
	const char *cert, *key, *node, *identity, *sha256;
	uint32_t status, match, delay, evidence;
} arg = {.node = "nobody", .identity = "", .match = MATCH_ALL};

static const struct opt opts[] = {
	{"cert", OPT_TEXT, {.text = &arg.cert}},
	{"key", OPT_TEXT, {.text = &arg.key}},
	{"node", OPT_TEXT, {.text = &arg.node}},
	{"identity", OPT_TEXT, {.text = &arg.identity}},
	{"status", OPT_NUMBER, {.number = &arg.status}},
	{"match", OPT_NUMBER, {.number = &arg.match}},
	{"delay", OPT_NUMBER, {.number = &arg.delay}},
	{"evidence", OPT_NUMBER, {.number = &arg.evidence}},
	{"sha256", OPT_TEXT, {.text = &arg.sha256}},
};

static bool hex_bytes(const char *text, uint8_t *ret, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char pair[5] = {'0', 'x', text[2 * i], text[2 * i] ? text[2 * i + 1] : 0, 0};
		uint32_t value;

		if (!hex_number(pair, &value))
			return false;
		ret[i] = (uint8_t)value;
	}
	return text[2 * len] == '\0';
}

static bool send_answer(struct stream *s, uint64_t id, uint32_t status)
{
	struct peer_answer a = {.status = (uint16_t)status,
				.match = arg.match,
				.uid = 0,
				.cgroup_id = 1,
				.cookie = 1,
				.evidence = (uint8_t)arg.evidence,
				.view_sequence = 1};
	struct buf b;

	(void)snprintf(a.spiffe_id, sizeof(a.spiffe_id), "%s", arg.identity);
	if (arg.sha256 != NULL) {
		a.has_sha256 = true;
		if (!hex_bytes(arg.sha256, a.sha256, sizeof(a.sha256)))
			tool_die(EXIT_USAGE, "--sha256: '%s' is no digest", arg.sha256);
	}
	buf_init(&b, PEER_READ_MAX);
	peer_answer_encode(&b, id, &a);
	return stream_send(s, &b);
}

static bool send_half(struct stream *s, uint64_t id)
{
	struct peer_answer a = {.status = PEER_OK, .match = arg.match};
	struct buf b;
	bool sent;

	buf_init(&b, PEER_READ_MAX);
	peer_answer_encode(&b, id, &a);
	sent = b.r == 0 && stream_write(s, b.data, b.len / 2);
	buf_done(&b);
	return sent;
}

static bool send_garbage(struct stream *s)
{
	uint8_t bytes[512];

	return RAND_bytes(bytes, sizeof(bytes)) == 1 && stream_write(s, bytes, sizeof(bytes));
}

/* A header whose length no frame may have, and as many bytes. */
static bool send_length(struct stream *s, uint64_t id)
{
	static uint8_t zeros[PEER_BODY_MAX * 2];
	struct buf b;

	buf_init(&b, PEER_READ_MAX);
	peer_bare_encode(&b, PEER_PONG, id);
	if (b.r != 0)
		return false;
	b.data[3] = PEER_ANSWER;
	b.data[4] = 0x7f;
	return stream_send(s, &b) && stream_write(s, zeros, sizeof(zeros));
}

/* False: the stream is over. */
static bool answer(struct stream *s, const char *kind, uint64_t id)
{
	if (arg.delay > 0)
		(void)poll(NULL, 0, (int)arg.delay);
	if (str_eq(kind, "deaf") || str_eq(kind, "early"))
		return true;
	if (str_eq(kind, "hangup"))
		return false;
	if (str_eq(kind, "garbage"))
		return send_garbage(s);
	if (str_eq(kind, "length"))
		return send_length(s, id);
	if (str_eq(kind, "half"))
		return send_half(s, id);
	if (str_eq(kind, "other"))
		return send_answer(s, id ^ 0x5555, PEER_OK);
	if (str_eq(kind, "twice"))
		return send_answer(s, id, PEER_NO_SOCKET) && send_answer(s, id, PEER_OK);
	return send_answer(s, id, arg.status);
}

static bool take_frame(struct stream *s, const char *kind, const struct frame *f)
{
	struct peer_query q;
	char text[160];
	struct buf b;

	if (f->header.type == PEER_PING) {
		buf_init(&b, PEER_READ_MAX);
		peer_bare_encode(&b, PEER_PONG, f->header.id);
		return stream_send(s, &b);
	}
	if (f->header.type != PEER_QUERY)
		return true;
	if (peer_query_decode(f->body, f->header.body_len, &q) < 0) {
		printf("malformed query\n");
		return false;
	}
	printf("query %s\n", query_text(text, sizeof(text), &q));
	if (!answer(s, kind, f->header.id))
		return false;
	printf("answered\n");
	return true;
}

static void talk(struct stream *s, const char *kind)
{
	struct frame f;

	printf("stream\n");
	if (!str_eq(kind, "nohello") && !send_hello(s, arg.node))
		return;
	for (uint64_t id = 0; str_eq(kind, "early") && id < EARLY_COUNT; id++) {
		if (!send_answer(s, id, PEER_OK))
			break;
	}
	while (stream_frame(s, &f) && take_frame(s, kind, &f))
		;
	printf("over: %s\n", tls_error());
}

static void serve_stream(SSL_CTX *ctx, int fd, const char *kind)
{
	struct stream s = {.ssl = SSL_new(ctx), .fd = fd};

	if (str_eq(kind, "mute")) {
		printf("connected\n");
		(void)poll(NULL, 0, -1);
	}
	if (str_eq(kind, "plain")) {
		(void)send(fd, "BW\1\2 answer", 11, MSG_NOSIGNAL);
		return;
	}
	if (s.ssl == NULL || SSL_set_fd(s.ssl, fd) != 1 || SSL_accept(s.ssl) != 1) {
		printf("no stream: %s\n", tls_error());
		return;
	}
	talk(&s, kind);
	(void)SSL_shutdown(s.ssl);
}

static int listen_at(const char *address, uint32_t port)
{
	struct endpoint e;
	int fd;

	endpoint_set(&e, address, port);
	fd = socket(e.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		tool_die(EXIT_BROKEN, "socket: %s", strerror(errno));
	sock_on(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
	if (e.sa.ss_family == AF_INET6)
		sock_on(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0, "IPV6_V6ONLY");
	if (bind(fd, (const struct sockaddr *)&e.sa, e.len) < 0 || listen(fd, BACKLOG) < 0)
		tool_die(EXIT_BROKEN, "%s %u: %s", address, port, strerror(errno));
	printf("listening %s %u\n", address, port);
	return fd;
}

static const char *const kinds[] = {"answer",  "deaf", "mute",  "hangup", "garbage",
				    "length",  "half", "other", "twice",  "early",
				    "nohello", "old",  "plain"};

int main(int argc, char **argv)
{
	static const struct peer_tool tool = {"hostile_peer", kinds, ARRAY_LEN(kinds), opts,
					      ARRAY_LEN(opts)};
	struct peer_call call;
	SSL_CTX *ctx;
	int fd;

	peer_call_parse(&tool, argc, argv, &call);
	(void)signal(SIGCHLD, SIG_IGN);
	ctx = peer_context(&call, true, arg.cert, arg.key);
	fd = listen_at(call.address, call.port);
	for (;;) {
		int peer = accept(fd, NULL, NULL);

		if (peer < 0)
			continue;
		if (fork() == 0) {
			/* Streams end with the one who listens, as an agent's do. */
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			(void)close(fd);
			(void)alarm(TOOL_LIFE_MAX_S);
			serve_stream(ctx, peer, call.kind);
			(void)fflush(stdout);
			_exit(0);
		}
		(void)close(peer);
	}
}
