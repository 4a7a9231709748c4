/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/peers_fixture.h"

#include "base/file.h"
#include "base/mem.h"
#include "controller-client/svid.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LIFE_S    86400
#define BACK_S    300
#define LOOKS     4 /* ticks until node_key looks at its files again */
#define LONG_MS   60000
#define WAIT_US   1000
#define NS_PER_MS 1000000LL

/* --- certificates ------------------------------------------------------------------------- */

struct cert_spec world_spec(const char *san)
{
	struct cert_spec spec = NODE_SPEC;

	spec.cn = "node";
	spec.san = san;
	spec.from = wall_now().s - FIXTURE_NOW.s - BACK_S;
	spec.to = wall_now().s - FIXTURE_NOW.s + LIFE_S;
	return spec;
}

X509 *world_cert(const struct world *w, const struct cert_spec *spec, EVP_PKEY *key)
{
	return fixture_cert(spec, key, w->ca, w->ca_key);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	struct err err = {{0}};

	CHECK_OK(file_write_durable(AT_FDCWD, path, text, strlen(text), mode, &err), &err);
}

static void write_cert(const char *path, X509 *cert)
{
	STACK_OF(X509) *stack = fixture_stack(cert, NULL);
	CLEANUP(freep) char *pem = NULL;
	struct err err = {{0}};

	CHECK_OK(svid_chain_pem(stack, &pem, &err), &err);
	write_file(path, pem, 0644);
	svid_chain_free(stack);
}

static void write_key(const char *path, EVP_PKEY *pkey)
{
	struct private_key key;
	CLEANUP(freep) char *pem = NULL;

	fixture_private(pkey, &key);
	pem = private_key_pem(&key);
	CHECK(pem != NULL);
	write_file(path, pem, 0600);
	private_key_done(&key);
}

void end_certify(struct end *h, const char *san, int64_t from, int64_t to)
{
	struct cert_spec spec = world_spec(san);

	spec.from = wall_now().s - FIXTURE_NOW.s + from;
	spec.to = wall_now().s - FIXTURE_NOW.s + to;
	X509_free(h->cert);
	EVP_PKEY_free(h->key);
	h->key = fixture_key();
	h->cert = world_cert(h->world, &spec, h->key);
	write_key(h->key_path, h->key);
	write_cert(h->cert_path, h->cert);
	write_cert(h->bundle_path, h->world->ca);
}

void end_look(struct end *h)
{
	for (int i = 0; i < LOOKS; i++)
		node_key_tick(h->agent.node_key);
}

/* --- hosts -------------------------------------------------------------------------------- */

static void on_question(void *user, const char *node, const struct peer_query *query,
			void (*done)(void *ticket, const struct peer_answer *answer), void *ticket)
{
	struct end *h = user;
	const struct peer_answer answer = {.status =
						   h->answers == ANSWER_BUSY ? PEER_BUSY : PEER_OK,
					   .match = PEER_MATCH_TUPLE | PEER_MATCH_SYN_SENT,
					   .uid = query->isn,
					   .spiffe_id = "spiffe://acme.example/prod/settlement"};

	h->asked++;
	h->query = *query;
	(void)snprintf(h->asker, sizeof(h->asker), "%s", node);
	if (h->answers != ANSWER_LATER) {
		done(ticket, &answer);
		return;
	}
	CHECK(h->held_count < REPLIES_MAX);
	h->held_done = done;
	h->held[h->held_count++] = ticket;
}

static void on_cancel(void *user, void *ticket)
{
	struct end *h = user;

	h->cancelled++;
	for (size_t i = 0; i < h->held_count; i++) {
		if (h->held[i] == ticket)
			h->held[i] = h->held[--h->held_count];
	}
}

void end_sees(struct end *h, const char *node, uint16_t port)
{
	struct view *v = &h->view;
	struct view_node *n = NULL;

	for (size_t i = 0; i < v->node_count; i++) {
		if (strcmp(v->nodes[i].node, node) == 0)
			n = &v->nodes[i];
	}
	if (!n) {
		CHECK(v->node_count < WORLD_NODES_MAX);
		n = &v->nodes[v->node_count++];
		n->node = mem_strdup(node);
	}
	n->has_attest = port != 0;
	n->attest_port = port;
	CHECK_INT(addr_parse("127.0.0.1", &n->attest_address), 0);
	n->addresses = &n->attest_address;
	n->address_count = 1;
	v->sequence++;
}

static void end_prepare(struct world *w, struct end *h, const char *name)
{
	char san[128];
	struct config *c = &h->agent.config;

	h->world = w;
	(void)snprintf(h->name, sizeof(h->name), "%s", name);
	h->dir = mem_printf("%s/%s", test_dir(), name);
	h->key_path = mem_printf("%s/key.pem", h->dir);
	h->cert_path = mem_printf("%s/cert.pem", h->dir);
	h->bundle_path = mem_printf("%s/bundle.pem", h->dir);
	CHECK_INT(dir_make(h->dir, 0700, NULL), 0);
	(void)snprintf(c->node, sizeof(c->node), "%s", name);
	c->svid_key = h->key_path;
	c->svid_cert = h->cert_path;
	c->svid_bundle = h->bundle_path;
	c->state_dir = h->dir;
	c->run_dir = h->dir;
	CHECK_INT(addr_parse("127.0.0.1", &c->attest_listen[0]), 0);
	c->attest_listen_count = 1;
	h->agent.event = w->event;
	h->view.node = h->name;
	h->view.nodes = h->nodes;
	h->agent.view = &h->view;
	(void)snprintf(san, sizeof(san), "URI:spiffe://acme.example/bailiwick/node/%s", name);
	end_certify(h, san, -BACK_S, LIFE_S);
}

void world_open(struct world *w, struct end *h)
{
	struct sockaddr_in at;
	socklen_t len = sizeof(at);
	struct err err = {{0}};

	(void)w;
	if (!h->agent.node_key)
		CHECK_OK(node_key_new(&h->agent, &h->agent.node_key, &err), &err);
	CHECK_OK(peers_open(&h->agent, &h->peers, &err), &err);
	h->agent.peers = h->peers;
	h->peers->answerer = (struct peers_answerer){on_question, on_cancel, h};
	/* A machine that is slow, as under valgrind, is none that does not answer. */
	h->peers->limits.connect_ms = LONG_MS;
	h->peers->limits.handshake_ms = LONG_MS;
	if (!h->peers->listener_count)
		return;
	CHECK_INT(getsockname(h->peers->listeners[0].fd, (struct sockaddr *)&at, &len), 0);
	h->port = ntohs(at.sin_port);
}

void world_prepare(struct world *w)
{
	struct cert_spec ca = CA_SPEC;

	memset(w, 0, sizeof(*w));
	(void)signal(SIGPIPE, SIG_IGN);
	CHECK(sd_event_new(&w->event) >= 0);
	ca.from = wall_now().s - FIXTURE_NOW.s - LIFE_S;
	ca.to = wall_now().s - FIXTURE_NOW.s + 9LL * LIFE_S;
	w->ca_key = fixture_key();
	w->ca = fixture_cert(&ca, w->ca_key, NULL, NULL);
	end_prepare(w, &w->a, "pay-1");
	end_prepare(w, &w->b, "api-1");
}

void world_make(struct world *w)
{
	world_prepare(w);
	end_sees(&w->b, "pay-1", 0);
	world_open(w, &w->b);
	end_sees(&w->a, "api-1", w->b.port);
	world_open(w, &w->a);
}

static void end_done(struct end *h)
{
	peers_free(h->peers);
	node_key_free(h->agent.node_key);
	for (size_t i = 0; i < h->view.node_count; i++)
		free(h->nodes[i].node);
	X509_free(h->cert);
	EVP_PKEY_free(h->key);
	free(h->dir);
	free(h->key_path);
	free(h->cert_path);
	free(h->bundle_path);
}

void world_done(struct world *w)
{
	end_done(&w->a);
	end_done(&w->b);
	X509_free(w->ca);
	EVP_PKEY_free(w->ca_key);
	sd_event_unref(w->event);
}

void world_turn(struct world *w)
{
	CHECK(sd_event_run(w->event, WAIT_US) >= 0);
}

void world_for(struct world *w, int64_t ms)
{
	struct mono end = mono_now();

	end.ns += ms * NS_PER_MS;
	while (mono_now().ns < end.ns)
		world_turn(w);
}

/* --- questions ---------------------------------------------------------------------------- */

struct peer_query world_query(uint32_t budget_ms)
{
	struct peer_query q = {
		.l4proto = IPPROTO_TCP, .sport = 40000, .dport = 8443, .budget_ms = budget_ms};

	CHECK_INT(addr_parse("10.0.0.1", &q.src), 0);
	CHECK_INT(addr_parse("10.0.0.2", &q.dst), 0);
	return q;
}

void world_reply(void *user, const struct peer_reply *reply)
{
	struct replies *r = user;

	r->count++;
	r->by_outcome[reply->outcome]++;
	r->last.outcome = reply->outcome;
	r->last.has_svid = reply->svid != NULL;
	r->last.uid = reply->answer ? reply->answer->uid : 0;
	CHECK((reply->answer != NULL) == (reply->outcome == PEER_ANSWERED));
	(void)snprintf(r->last.svid_name, sizeof(r->last.svid_name), "%s",
		       reply->svid ? reply->svid->name : "");
	(void)snprintf(r->last.detail, sizeof(r->last.detail), "%s", reply->detail);
}

uint64_t world_ask(struct world *w, const char *node, uint32_t budget_ms)
{
	static uint32_t isn;
	struct peer_query q = world_query(budget_ms);
	uint64_t ticket = 0;

	q.isn = ++isn;
	peers_ask(w->a.peers, node, &q, world_reply, &w->replies, &ticket);
	return ticket;
}

/* --- an end made by hand ------------------------------------------------------------------ */

static int accept_any(X509_STORE_CTX *ctx, void *user)
{
	(void)ctx;
	(void)user;
	return 1;
}

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		       const unsigned char *in, unsigned in_len, void *user)
{
	(void)ssl;
	(void)user;
	(void)in_len;
	*out = in + 1;
	*out_len = in[0];
	return SSL_TLSEXT_ERR_OK;
}

void raw_make(struct raw *r, bool server, X509 *cert, EVP_PKEY *key, X509 *more)
{
	static const unsigned char alpn[] = "\x12" PEER_ALPN;

	memset(r, 0, sizeof(*r));
	r->listener = r->fd = -1;
	r->server = server;
	buf_init(&r->out, 1U << 20);
	r->ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	CHECK(r->ctx != NULL);
	SSL_CTX_set_security_level(r->ctx, 0);
	SSL_CTX_set_verify(r->ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(r->ctx, accept_any, NULL);
	(void)SSL_CTX_set_mode(r->ctx, SSL_MODE_NO_AUTO_CHAIN);
	if (cert) {
		CHECK_INT(SSL_CTX_use_certificate(r->ctx, cert), 1);
		CHECK_INT(SSL_CTX_use_PrivateKey(r->ctx, key), 1);
		if (more)
			CHECK_INT(SSL_CTX_add1_chain_cert(r->ctx, more), 1);
	}
	CHECK_INT(SSL_CTX_set_alpn_protos(r->ctx, alpn, sizeof(alpn) - 1), 0);
	SSL_CTX_set_alpn_select_cb(r->ctx, select_alpn, NULL);
}

void raw_start(struct raw *r)
{
	CHECK(fcntl(r->fd, F_SETFL, O_NONBLOCK) == 0);
	r->ssl = SSL_new(r->ctx);
	CHECK_INT(SSL_set_fd(r->ssl, r->fd), 1);
	if (r->server)
		SSL_set_accept_state(r->ssl);
	else
		SSL_set_connect_state(r->ssl);
	r->shaken = r->ended = false;
	r->in_len = 0;
}

void raw_connect(struct raw *r, uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_INT(connect(r->fd, (const struct sockaddr *)&to, sizeof(to)), 0);
	raw_start(r);
}

uint16_t raw_listen(struct raw *r)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);

	r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CHECK_INT(bind(r->listener, (const struct sockaddr *)&at, len), 0);
	CHECK_INT(listen(r->listener, 16), 0);
	CHECK_INT(getsockname(r->listener, (struct sockaddr *)&at, &len), 0);
	return ntohs(at.sin_port);
}

void raw_close(struct raw *r)
{
	SSL_free(TAKE_PTR(r->ssl));
	closep(&r->fd);
	r->fd = -1;
}

static void take_in(struct raw *r)
{
	size_t got = 0;

	if (r->in_len < sizeof(r->in) &&
	    SSL_read_ex(r->ssl, r->in + r->in_len, sizeof(r->in) - r->in_len, &got) == 1) {
		r->in_len += got;
		return;
	}
	switch (SSL_get_error(r->ssl, 0)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return;
	default:
		r->ended = true;
	}
}

void raw_step(struct raw *r)
{
	size_t n = 0;

	ERR_clear_error();
	if (r->fd < 0 && r->listener >= 0) {
		r->fd = accept(r->listener, NULL, NULL);
		if (r->fd >= 0)
			raw_start(r);
	}
	if (r->fd < 0 || r->ended)
		return;
	if (!r->shaken) {
		int code = SSL_do_handshake(r->ssl);

		r->shaken = code == 1;
		if (code != 1) {
			int error = SSL_get_error(r->ssl, code);

			r->ended = error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE;
			return;
		}
	}
	if (r->sent < r->out.len &&
	    SSL_write_ex(r->ssl, r->out.data + r->sent, r->out.len - r->sent, &n) == 1)
		r->sent += n;
	take_in(r);
}

void raw_done(struct raw *r)
{
	raw_close(r);
	SSL_CTX_free(r->ctx);
	closep(&r->listener);
	buf_done(&r->out);
}

void raw_hello(struct raw *r, const char *node)
{
	struct peer_hello h = {
		.version_min = 1, .version_max = 1, .release = "raw", .in_flight_max = 256};

	(void)snprintf(h.node, sizeof(h.node), "%s", node);
	peer_hello_encode(&r->out, &h);
}

bool raw_frame(struct raw *r, struct peer_header *ret, uint8_t *ret_body)
{
	struct peer_header h;
	size_t len;

	if (peer_header_decode(r->in, r->in_len, &h) < 0 ||
	    r->in_len < PEER_HEADER_LEN + h.body_len)
		return false;
	len = PEER_HEADER_LEN + h.body_len;
	memcpy(ret_body, r->in + PEER_HEADER_LEN, h.body_len);
	memmove(r->in, r->in + len, r->in_len - len);
	r->in_len -= len;
	*ret = h;
	return true;
}
