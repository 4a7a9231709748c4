/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the peers of the tests share: TLS streams of the peer protocol with any certificate, and
 * whole frames on them. Blocking, one stream per process; the codec is the agent's own
 * (agent/peer_frame.h), so that lies are told in the right words.
 */
#pragma once

#include "agent/peer_frame.h"
#include "tests/tools/tool.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#define PEER_READ_MAX (PEER_HEADER_LEN + PEER_BODY_MAX)

struct stream {
	SSL *ssl;
	int fd;
};

struct frame {
	struct peer_header header;
	uint8_t body[PEER_BODY_MAX];
};

TOOL_FN const char *tls_error(void)
{
	unsigned long code = ERR_peek_last_error();
	const char *text = code != 0 ? ERR_reason_error_string(code) : NULL;

	return text != NULL ? text : "closed";
}

/* cert and key may be NULL: then none is shown. The other side's is never checked. */
TOOL_FN SSL_CTX *tls_context(bool server, const char *cert, const char *key)
{
	SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());

	if (ctx == NULL)
		tool_die(EXIT_BROKEN, "no TLS context");
	if (cert != NULL && (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1 ||
			     SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1))
		tool_die(EXIT_BROKEN, "%s, %s: %s", cert, key, tls_error());
	return ctx;
}

TOOL_FN int take_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
		      const unsigned char *in, unsigned in_len, void *user)
{
	(void)ssl;
	(void)user;
	if (in_len < 1)
		return SSL_TLSEXT_ERR_NOACK;
	*ret_len = in[0];
	*ret = in + 1;
	return SSL_TLSEXT_ERR_OK;
}

TOOL_FN int any_certificate(int ok, X509_STORE_CTX *store)
{
	(void)ok;
	(void)store;
	return 1;
}

TOOL_FN void tls_alpn(SSL_CTX *ctx, bool server, const char *name)
{
	unsigned char wire[64];
	size_t len = strlen(name);

	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, any_certificate);
	if (server) {
		SSL_CTX_set_alpn_select_cb(ctx, take_alpn, NULL);
		return;
	}
	if (len + 1 > sizeof(wire))
		tool_die(EXIT_USAGE, "'%s' is too long", name);
	wire[0] = (unsigned char)len;
	memcpy(wire + 1, name, len);
	(void)SSL_CTX_set_alpn_protos(ctx, wire, (unsigned)len + 1);
}

TOOL_FN bool stream_write(struct stream *s, const void *bytes, size_t len)
{
	return len > 0 && SSL_write(s->ssl, bytes, (int)len) == (int)len;
}

/* Takes what the buffer holds. */
TOOL_FN bool stream_send(struct stream *s, struct buf *b)
{
	bool sent = b->r == 0 && stream_write(s, b->data, b->len);

	buf_done(b);
	return sent;
}

TOOL_FN bool stream_read(struct stream *s, void *ret, size_t len)
{
	uint8_t *at = ret;

	while (len > 0) {
		int n = SSL_read(s->ssl, at, (int)len);

		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

/* The next frame; false when the other side has closed or talks nonsense. */
TOOL_FN bool stream_frame(struct stream *s, struct frame *ret)
{
	uint8_t head[PEER_HEADER_LEN];

	return stream_read(s, head, sizeof(head)) &&
	       peer_header_decode(head, sizeof(head), &ret->header) == 0 &&
	       ret->header.body_len <= PEER_BODY_MAX &&
	       stream_read(s, ret->body, ret->header.body_len);
}

TOOL_FN bool send_hello(struct stream *s, const char *node)
{
	struct peer_hello h = {.version_min = PEER_VERSION,
			       .version_max = PEER_VERSION,
			       .release = "test",
			       .policy_revision = 1,
			       .in_flight_max = 256};
	struct timespec t;
	struct buf b;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	h.wall_ms = (uint64_t)t.tv_sec * 1000;
	(void)snprintf(h.node, sizeof(h.node), "%s", node);
	buf_init(&b, PEER_READ_MAX);
	peer_hello_encode(&b, &h);
	return stream_send(s, &b);
}

TOOL_FN const char *query_text(char *buf, size_t size, const struct peer_query *q)
{
	char src[ADDR_TEXT_MAX], dst[ADDR_TEXT_MAX];

	(void)snprintf(buf, size, "%s %s %u > %s %u flags %u isn %u",
		       q->l4proto == IPPROTO_TCP ? "tcp" : "udp", addr_format(src, &q->src),
		       q->sport, addr_format(dst, &q->dst), q->dport, q->flags, q->isn);
	return buf;
}

/* What both peers are told: [place] KIND ADDRESS PORT [option]... */
struct peer_call {
	const char *kind, *address;
	uint32_t port;
};

struct peer_tool {
	const char *name;
	const char *const *kinds;
	size_t kind_count;
	const struct opt *opts;
	size_t opt_count;
};

/* Goes to the place, too. */
TOOL_FN void peer_call_parse(const struct peer_tool *tool, int argc, char **argv,
			     struct peer_call *ret)
{
	struct place place;
	int at = place_parse(argc, argv, &place);
	int left = opts_parse(argv + at, argc - at, tool->opts, tool->opt_count);
	char **words = argv + at;
	bool known = false;

	for (size_t i = 0; left == 3 && i < tool->kind_count; i++)
		known = known || str_eq(tool->kinds[i], words[0]);
	if (!known || text_u32(words[2], 1, UINT16_MAX, &ret->port) < 0)
		tool_die(EXIT_USAGE, "usage: %s [place] KIND ADDRESS PORT [option]...", tool->name);
	ret->kind = words[0];
	ret->address = words[1];
	place_enter(&place);
	(void)signal(SIGPIPE, SIG_IGN);
}

/* The kind "old" speaks nothing newer than TLS 1.2. */
TOOL_FN SSL_CTX *peer_context(const struct peer_call *call, bool server, const char *cert,
			      const char *key)
{
	SSL_CTX *ctx = tls_context(server, cert, key);

	tls_alpn(ctx, server, PEER_ALPN);
	if (server)
		(void)SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	if (str_eq(call->kind, "old"))
		(void)SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	return ctx;
}
