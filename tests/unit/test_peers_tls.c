/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who is let in, over real handshakes: each rule of X.509-SVID (section 5) and of this protocol is
 * broken by itself, once by an end that asks and once by one that answers.
 */
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/svid.h"
#include "tests/unit/peers_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUDGET 30000
#define PAY    "URI:spiffe://acme.example/bailiwick/node/pay-1"
#define API    "URI:spiffe://acme.example/bailiwick/node/api-1"

/* --- certificates that are not right ------------------------------------------------------ */

enum signer { BY_CA, BY_OTHER_CA, BY_ITSELF, BY_NODE };

/* %s: the node's name, right but for what the case is about. */
static const struct wrong {
	const char *what;
	const char *san, *usage, *eku, *basic;
	int64_t from, to;
	enum signer signer;
	const char *error;
} wrongs[] = {
	{.what = "two URI names",
	 .san = "URI:spiffe://acme.example/bailiwick/node/%s,URI:spiffe://acme.example/a/b",
	 .error = "more than one URI"},
	{.what = "no URI name", .san = "DNS:%s.acme.example", .error = "no URI name"},
	{.what = "a CA as a leaf",
	 .basic = "critical,CA:TRUE",
	 .usage = "critical,digitalSignature,keyCertSign",
	 .error = "CA certificate"},
	{.what = "a signer's key usage",
	 .usage = "critical,digitalSignature,keyCertSign",
	 .error = "keyCertSign"},
	{.what = "no key usage", .usage = "", .error = "no keyUsage"},
	{.what = "a key usage that is not critical",
	 .usage = "digitalSignature",
	 .error = "not critical"},
	{.what = "a key that may not sign",
	 .usage = "critical,keyAgreement",
	 .error = "without digitalSignature"},
	{.what = "for servers only", .eku = "serverAuth", .error = "extended keyUsage"},
	{.what = "for clients only", .eku = "clientAuth", .error = "extended keyUsage"},
	{.what = "another trust domain",
	 .san = "URI:spiffe://other.example/bailiwick/node/%s",
	 .error = "trust domain other.example"},
	{.what = "expired", .from = -7200, .to = -60, .error = "expired"},
	{.what = "not yet valid", .from = 3600, .to = 7200, .error = "not yet valid"},
	{.what = "a courier",
	 .san = "URI:spiffe://acme.example/bailiwick/courier/%s",
	 .error = "not the name of a node"},
	{.what = "an operator",
	 .san = "URI:spiffe://acme.example/bailiwick/operator/%s",
	 .error = "not the name of a node"},
	{.what = "the controller",
	 .san = "URI:spiffe://acme.example/bailiwick/controller",
	 .error = "not the name of a node"},
	{.what = "a workload",
	 .san = "URI:spiffe://acme.example/prod/%s",
	 .error = "not the name of a node"},
	{.what = "below a node",
	 .san = "URI:spiffe://acme.example/bailiwick/node/%s/x",
	 .error = "not the name of a node"},
	{.what = "no path", .san = "URI:spiffe://acme.example", .error = "no path"},
	{.what = "a port in the name",
	 .san = "URI:spiffe://acme.example:8443/bailiwick/node/%s",
	 .error = "trust domain"},
	{.what = "another node",
	 .san = "URI:spiffe://acme.example/bailiwick/node/web-9",
	 .error = "node"},
	{.what = "an authority of its own", .signer = BY_OTHER_CA, .error = "signature failure"},
	{.what = "signed by itself", .signer = BY_ITSELF, .error = "self"},
	{.what = "signed by a node", .signer = BY_NODE, .error = ""},
};

struct shown {
	EVP_PKEY *key, *signer_key;
	X509 *cert, *signer;
};

static const char *either(const char *value, const char *standard)
{
	return !value ? standard : value[0] ? value : NULL;
}

static void shown_make(struct shown *s, const struct world *w, const struct wrong *x,
		       const char *node)
{
	struct cert_spec ca = CA_SPEC, spec;
	CLEANUP(freep) char *san = NULL;
	const char *format = x->san ? x->san : "URI:spiffe://acme.example/bailiwick/node/%s";
	const char *at = strstr(format, "%s");

	san = at ? mem_printf("%.*s%s%s", (int)(at - format), format, node, at + 2)
		 : mem_strdup(format);
	spec = world_spec(san);
	spec.usage = either(x->usage, spec.usage);
	spec.eku = either(x->eku, spec.eku);
	spec.basic = either(x->basic, spec.basic);
	if (x->to) {
		spec.from = wall_now().s - FIXTURE_NOW.s + x->from;
		spec.to = wall_now().s - FIXTURE_NOW.s + x->to;
	}
	ca.from = world_spec(PAY).from;
	ca.to = world_spec(PAY).to;
	memset(s, 0, sizeof(*s));
	s->key = fixture_key();
	s->signer_key = fixture_key();
	if (x->signer == BY_OTHER_CA) {
		s->signer = fixture_cert(&ca, s->signer_key, NULL, NULL);
	} else if (x->signer == BY_NODE) {
		struct cert_spec node_spec = world_spec(API);

		s->signer = world_cert(w, &node_spec, s->signer_key);
	}
	if (x->signer == BY_CA)
		s->cert = world_cert(w, &spec, s->key);
	else
		s->cert = fixture_cert(&spec, s->key, s->signer, s->signer_key);
}

static void shown_done(struct shown *s)
{
	X509_free(s->cert);
	X509_free(s->signer);
	EVP_PKEY_free(s->key);
	EVP_PKEY_free(s->signer_key);
}

static char last_line[1024];

static void on_log(enum log_level level, const char *line, void *user)
{
	(void)user;
	if (level <= LOG_LEVEL_WARN)
		(void)snprintf(last_line, sizeof(last_line), "%s", line);
}

/* Whoever asks with it is not let in, and it is told why. */
static void refused_as_client(const struct wrong *x)
{
	struct world w;
	struct shown s;
	struct raw r;

	world_make(&w);
	shown_make(&s, &w, x, "pay-1");
	raw_make(&r, false, s.cert, s.key, s.signer);
	last_line[0] = '\0';
	log_set_hook(on_log, NULL);
	raw_connect(&r, w.b.port);
	raw_hello(&r, "pay-1");
	RAW_UNTIL(&w, &r, r.ended);
	log_set_hook(NULL, NULL);
	if (!strstr(last_line, x->error))
		test_fail(__FILE__, __LINE__, "%s: \"%s\" is not told, but: %s", x->what, x->error,
			  last_line);
	CHECK_UINT(w.b.peers->counters.refused_streams, 1);
	CHECK_UINT(w.b.peers->serving.count, 0);
	CHECK_UINT(w.b.asked, 0);
	raw_done(&r);
	shown_done(&s);
	world_done(&w);
}

/* Whoever answers with it is not asked. */
static void refused_as_server(const struct wrong *x)
{
	struct world w;
	struct shown s;
	struct raw r;

	world_make(&w);
	shown_make(&s, &w, x, "api-1");
	raw_make(&r, true, s.cert, s.key, s.signer);
	end_sees(&w.a, "api-1", raw_listen(&r));
	peers_view_changed(w.a.peers);
	(void)world_ask(&w, "api-1", BUDGET);
	RAW_UNTIL(&w, &r, w.replies.count == 1);
	CHECK_INT(w.replies.last.outcome, PEER_UNREACHABLE);
	CHECK(!w.replies.last.has_svid);
	if (!strstr(w.replies.last.detail, x->error))
		test_fail(__FILE__, __LINE__, "%s: \"%s\" is not told, but: %s", x->what, x->error,
			  w.replies.last.detail);
	/* It has not even heard the question. */
	CHECK_UINT(r.in_len, 0);
	raw_done(&r);
	shown_done(&s);
	world_done(&w);
}

TEST(a_certificate_that_breaks_a_rule_does_not_ask)
{
	for (size_t i = 0; i < ARRAY_LEN(wrongs); i++)
		refused_as_client(&wrongs[i]);
}

TEST(a_certificate_that_breaks_a_rule_is_not_asked)
{
	for (size_t i = 0; i < ARRAY_LEN(wrongs); i++)
		refused_as_server(&wrongs[i]);
}

TEST(the_right_certificate_breaks_no_rule)
{
	static const struct wrong none = {.what = "nothing", .error = ""};
	struct peer_header h;
	uint8_t body[PEER_BODY_MAX];
	struct world w;
	struct shown s;
	struct raw r;

	world_make(&w);
	shown_make(&s, &w, &none, "pay-1");
	raw_make(&r, false, s.cert, s.key, NULL);
	raw_connect(&r, w.b.port);
	raw_hello(&r, "pay-1");
	RAW_UNTIL(&w, &r, raw_frame(&r, &h, body));
	CHECK_UINT(h.type, PEER_HELLO);
	CHECK_UINT(w.b.peers->serving.open, 1);
	CHECK_UINT(w.b.peers->counters.refused_streams, 0);
	raw_done(&r);
	shown_done(&s);
	world_done(&w);
}

/* --- protocol ----------------------------------------------------------------------------- */

struct hand {
	struct world w;
	struct shown s;
	struct raw r;
};

/* The right certificate of pay-1, by hand. */
static void hand_make(struct hand *h)
{
	static const struct wrong none = {.what = "nothing", .error = ""};

	world_make(&h->w);
	shown_make(&h->s, &h->w, &none, "pay-1");
	raw_make(&h->r, false, h->s.cert, h->s.key, NULL);
}

static void hand_done(struct hand *h)
{
	raw_done(&h->r);
	shown_done(&h->s);
	world_done(&h->w);
}

static void hand_refused(struct hand *h)
{
	raw_connect(&h->r, h->w.b.port);
	RAW_UNTIL(&h->w, &h->r, h->r.ended);
	RAW_UNTIL(&h->w, &h->r, h->w.b.peers->serving.count == 0);
	CHECK_UINT(h->w.b.peers->counters.refused_streams, 1);
	CHECK_UINT(h->w.b.asked, 0);
}

TEST(tls_1_2_is_refused)
{
	struct hand h;

	hand_make(&h);
	CHECK_INT(SSL_CTX_set_max_proto_version(h.r.ctx, TLS1_2_VERSION), 1);
	hand_refused(&h);
	hand_done(&h);
}

TEST(no_client_certificate_is_refused)
{
	struct hand h;

	hand_make(&h);
	raw_done(&h.r);
	raw_make(&h.r, false, NULL, NULL, NULL);
	hand_refused(&h);
	hand_done(&h);
}

TEST(no_alpn_is_refused)
{
	struct hand h;

	hand_make(&h);
	CHECK_INT(SSL_CTX_set_alpn_protos(h.r.ctx, NULL, 0), 0);
	hand_refused(&h);
	hand_done(&h);
}

TEST(another_alpn_is_refused)
{
	struct hand h;

	hand_make(&h);
	CHECK_INT(SSL_CTX_set_alpn_protos(h.r.ctx, (const unsigned char *)"\x02h2", 3), 0);
	hand_refused(&h);
	hand_done(&h);
}

TEST(aes_256_is_not_spoken)
{
	struct hand h;

	hand_make(&h);
	CHECK_INT(SSL_CTX_set_ciphersuites(h.r.ctx, "TLS_AES_256_GCM_SHA384"), 1);
	hand_refused(&h);
	hand_done(&h);
}

TEST(other_groups_are_not_spoken)
{
	char groups[] = "P-384:X448";
	struct hand h;

	hand_make(&h);
	CHECK_INT(SSL_CTX_set1_groups_list(h.r.ctx, groups), 1);
	hand_refused(&h);
	hand_done(&h);
}

TEST(chacha_and_p_256_are_spoken)
{
	char groups[] = "P-256";
	struct peer_header header;
	uint8_t body[PEER_BODY_MAX];
	struct hand h;

	hand_make(&h);
	CHECK_INT(SSL_CTX_set1_groups_list(h.r.ctx, groups), 1);
	CHECK_INT(SSL_CTX_set_ciphersuites(h.r.ctx, "TLS_CHACHA20_POLY1305_SHA256"), 1);
	raw_connect(&h.r, h.w.b.port);
	raw_hello(&h.r, "pay-1");
	RAW_UNTIL(&h.w, &h.r, raw_frame(&h.r, &header, body));
	CHECK_UINT(header.type, PEER_HELLO);
	hand_done(&h);
}

static int tickets;

static int on_session(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	(void)session;
	tickets++;
	return 0;
}

TEST(no_session_can_be_taken_up_again)
{
	struct peer_header header;
	uint8_t body[PEER_BODY_MAX];
	struct hand h;

	hand_make(&h);
	tickets = 0;
	(void)SSL_CTX_set_session_cache_mode(h.r.ctx, SSL_SESS_CACHE_CLIENT);
	SSL_CTX_sess_set_new_cb(h.r.ctx, on_session);
	raw_connect(&h.r, h.w.b.port);
	raw_hello(&h.r, "pay-1");
	RAW_UNTIL(&h.w, &h.r, raw_frame(&h.r, &header, body));
	CHECK_INT(tickets, 0);
	CHECK(!SSL_SESSION_is_resumable(SSL_get0_session(h.r.ssl)));
	hand_done(&h);
}

/* The public half of one key and the private one of another: a certificate that was copied. */
static EVP_PKEY *mixed_key(EVP_PKEY *public_half, EVP_PKEY *private_half)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
	EVP_PKEY *key = NULL;
	BIGNUM *d = NULL;
	OSSL_PARAM *params;
	unsigned char point[256];
	size_t len = 0;

	CHECK_INT(EVP_PKEY_get_octet_string_param(public_half, OSSL_PKEY_PARAM_PUB_KEY, point,
						  sizeof(point), &len),
		  1);
	CHECK_INT(EVP_PKEY_get_bn_param(private_half, OSSL_PKEY_PARAM_PRIV_KEY, &d), 1);
	CHECK_INT(OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0), 1);
	CHECK_INT(OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, point, len), 1);
	CHECK_INT(OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_PRIV_KEY, d), 1);
	params = OSSL_PARAM_BLD_to_param(b);
	CHECK_INT(EVP_PKEY_fromdata_init(ctx), 1);
	CHECK_INT(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params), 1);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(b);
	BN_free(d);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

TEST(a_certificate_whose_key_somebody_else_holds_is_refused)
{
	EVP_PKEY *own = fixture_key(), *mixed;
	struct hand h;

	hand_make(&h);
	mixed = mixed_key(h.s.key, own);
	raw_done(&h.r);
	raw_make(&h.r, false, h.s.cert, mixed, NULL);
	hand_refused(&h);
	EVP_PKEY_free(mixed);
	EVP_PKEY_free(own);
	hand_done(&h);
}

TEST(a_server_that_does_not_hold_its_key_is_refused)
{
	static const struct wrong none = {.what = "nothing", .error = ""};
	EVP_PKEY *own = fixture_key(), *mixed;
	struct world w;
	struct shown s;
	struct raw r;

	world_make(&w);
	shown_make(&s, &w, &none, "api-1");
	mixed = mixed_key(s.key, own);
	raw_make(&r, true, s.cert, mixed, NULL);
	end_sees(&w.a, "api-1", raw_listen(&r));
	peers_view_changed(w.a.peers);
	(void)world_ask(&w, "api-1", BUDGET);
	RAW_UNTIL(&w, &r, w.replies.count == 1);
	CHECK_INT(w.replies.last.outcome, PEER_UNREACHABLE);
	CHECK_CONTAINS(w.replies.last.detail, "signature");
	raw_done(&r);
	EVP_PKEY_free(mixed);
	EVP_PKEY_free(own);
	shown_done(&s);
	world_done(&w);
}

TEST(too_long_a_chain_is_refused)
{
	struct hand h;

	hand_make(&h);
	for (int i = 0; i < SVID_CHAIN_MAX + 1; i++)
		CHECK_INT(SSL_CTX_add1_chain_cert(h.r.ctx, h.w.ca), 1);
	hand_refused(&h);
	hand_done(&h);
}

TEST(too_many_bytes_of_a_chain_are_refused)
{
	struct hand h;

	hand_make(&h);
	for (int i = 0; i < 100; i++)
		CHECK_INT(SSL_CTX_add1_chain_cert(h.r.ctx, h.w.ca), 1);
	hand_refused(&h);
	hand_done(&h);
}

TEST(who_connects_is_known_by_the_certificate_and_not_by_its_address)
{
	struct hand h;

	/* The view has another address for pay-1 than the one it comes from. */
	hand_make(&h);
	CHECK_INT(addr_parse("10.0.0.9", &h.w.b.view.nodes[0].attest_address), 0);
	peers_view_changed(h.w.b.peers);
	raw_connect(&h.r, h.w.b.port);
	raw_hello(&h.r, "pay-1");
	RAW_UNTIL(&h.w, &h.r, h.w.b.peers->serving.open == 1);
	hand_done(&h);
}

TEST(a_node_that_is_not_in_the_view_is_refused)
{
	struct hand h;

	hand_make(&h);
	h.w.b.view.node_count = 0;
	hand_refused(&h);
	h.w.b.view.node_count = 1;
	hand_done(&h);
}

TEST(this_nodes_own_name_is_nobody_elses)
{
	static const struct wrong none = {.what = "nothing", .error = ""};
	struct hand h;

	hand_make(&h);
	shown_done(&h.s);
	shown_make(&h.s, &h.w, &none, "api-1");
	end_sees(&h.w.b, "api-1", 0);
	raw_done(&h.r);
	raw_make(&h.r, false, h.s.cert, h.s.key, NULL);
	hand_refused(&h);
	hand_done(&h);
}

TEST(a_pinned_key_is_the_only_one)
{
	char pattern[] = "pay-*", own[SHA256_HEX_LEN];
	char other[] = "0000000000000000000000000000000000000000000000000000000000000000";
	char *pins[] = {other};
	struct node_bound bound = {.pattern = pattern, .spki = pins, .spki_count = 1};
	struct policy policy = {.nodes = &bound, .node_count = 1};
	struct svid svid;
	struct hand h;

	hand_make(&h);
	h.w.b.agent.confirmed.policy = &policy;
	hand_refused(&h);
	CHECK_INT(svid_read(h.s.cert, &svid, NULL), 0);
	(void)snprintf(own, sizeof(own), "%s", svid.key_id);
	pins[0] = own;
	raw_close(&h.r);
	raw_connect(&h.r, h.w.b.port);
	raw_hello(&h.r, "pay-1");
	RAW_UNTIL(&h.w, &h.r, h.w.b.peers->serving.open == 1);
	h.w.b.agent.confirmed.policy = NULL;
	hand_done(&h);
}

/* --- certificates that change ------------------------------------------------------------- */

static void answered(struct world *w)
{
	size_t before = w->replies.count;

	(void)world_ask(w, "api-1", BUDGET);
	WORLD_UNTIL(w, w->replies.count > before);
	CHECK_STR(w->replies.last.detail, "");
}

TEST(a_stream_ends_with_its_certificate)
{
	struct world w;

	world_make(&w);
	answered(&w);
	w.a.peers->asking.first->expires.s = wall_now().s;
	peers_tick(w.a.peers);
	CHECK_UINT(w.a.peers->asking.count, 0);
	answered(&w);
	WORLD_UNTIL(&w, w.b.peers->serving.count == 1);
	w.b.peers->serving.first->expires.s = wall_now().s;
	peers_tick(w.b.peers);
	CHECK_UINT(w.b.peers->serving.count, 0);
	answered(&w);
	world_done(&w);
}

TEST(a_new_certificate_is_shown_by_the_next_stream)
{
	char before[64];
	struct world w;

	world_make(&w);
	answered(&w);
	(void)snprintf(before, sizeof(before), "%s", w.b.peers->serving.first->svid->serial);
	end_certify(&w.a, PAY, -300, 86400);
	end_look(&w.a);
	peers_tick(w.a.peers);
	/* The one that stands stays until its moment has come. */
	CHECK_UINT(w.a.peers->asking.count, 1);
	CHECK(w.a.peers->asking.first->replace_at.ns > mono_now().ns);
	w.a.peers->asking.first->replace_at.ns = 1;
	peers_tick(w.a.peers);
	answered(&w);
	WORLD_UNTIL(&w, w.b.peers->serving.count == 1);
	CHECK(!str_eq(w.b.peers->serving.first->svid->serial, before));
	world_done(&w);
}

TEST(a_pair_that_is_half_written_is_not_used)
{
	EVP_PKEY *key;
	struct world w;

	world_make(&w);
	answered(&w);
	key = w.a.key;
	CHECK_INT(EVP_PKEY_up_ref(key), 1);
	end_certify(&w.a, PAY, -300, 86400);
	/* The certificate is the new one, the key still that of before. */
	{
		struct private_key p;
		CLEANUP(freep) char *pem = NULL;

		fixture_private(key, &p);
		pem = private_key_pem(&p);
		CHECK_INT(file_write_durable(AT_FDCWD, w.a.key_path, pem, strlen(pem), 0600, NULL),
			  0);
		private_key_done(&p);
	}
	end_look(&w.a);
	peers_tick(w.a.peers);
	w.a.peers->asking.first->replace_at.ns = 1;
	peers_tick(w.a.peers);
	answered(&w);
	EVP_PKEY_free(key);
	world_done(&w);
}

TEST(another_authority_ends_what_it_did_not_sign)
{
	struct cert_spec spec = CA_SPEC;
	EVP_PKEY *key = fixture_key();
	CLEANUP(freep) char *pem = NULL;
	struct stack_st_X509 *stack;
	struct world w;
	X509 *ca;

	world_make(&w);
	answered(&w);
	spec.from = world_spec(PAY).from;
	spec.to = world_spec(PAY).to;
	ca = fixture_cert(&spec, key, NULL, NULL);
	stack = fixture_stack(w.ca, ca);
	CHECK_INT(svid_chain_pem(stack, &pem, NULL), 0);
	/* A second authority beside the first changes nothing for those of the first. */
	CHECK_INT(file_write_durable(AT_FDCWD, w.a.bundle_path, pem, strlen(pem), 0644, NULL), 0);
	end_look(&w.a);
	peers_tick(w.a.peers);
	CHECK_UINT(w.a.peers->asking.count, 1);
	answered(&w);
	svid_chain_free(stack);
	X509_free(ca);
	EVP_PKEY_free(key);
	world_done(&w);
}

TEST(an_authority_that_is_gone_ends_its_streams)
{
	struct world w;

	world_make(&w);
	answered(&w);
	/* What the answering side shows is not signed by whom this side trusts now. */
	{
		struct node_key_pair pair;
		struct cert_spec spec = CA_SPEC;
		EVP_PKEY *key = fixture_key();
		X509 *ca;

		spec.from = world_spec(PAY).from;
		spec.to = world_spec(PAY).to;
		ca = fixture_cert(&spec, key, NULL, NULL);
		X509_free(w.ca);
		EVP_PKEY_free(w.ca_key);
		w.ca = ca;
		w.ca_key = key;
		end_certify(&w.a, PAY, -300, 86400);
		end_look(&w.a);
		CHECK(node_key_pair(w.a.agent.node_key, &pair));
		CHECK(X509_cmp(sk_X509_value(pair.roots, 0), ca) == 0);
	}
	peers_tick(w.a.peers);
	CHECK_UINT(w.a.peers->asking.count, 0);
	(void)world_ask(&w, "api-1", BUDGET);
	WORLD_UNTIL(&w, w.replies.count == 2);
	CHECK_INT(w.replies.last.outcome, PEER_UNREACHABLE);
	world_done(&w);
}

/* --- what changes in the middle of a handshake ------------------------------------------------ */

/* Bytes before the last record (RFC 8446, 5.1). */
static size_t before_last(const uint8_t *bytes, size_t len)
{
	size_t at = 0, last = 0;

	while (at + 5 <= len) {
		last = at;
		at += 5U + (size_t)(bytes[at + 3] << 8 | bytes[at + 4]);
	}
	return last;
}

/* Shows its certificate, and keeps its Finished back. */
TEST(a_node_that_left_the_view_in_the_middle_of_a_handshake_has_no_stream)
{
	uint8_t bytes[16384];
	BIO *out = BIO_new(BIO_s_mem());
	struct stream *s;
	struct hand h;
	size_t kept;
	int n;

	hand_make(&h);
	raw_connect(&h.r, h.w.b.port);
	SSL_set0_wbio(h.r.ssl, out);
	while (!h.r.shaken) {
		raw_step(&h.r);
		n = h.r.shaken ? 0 : BIO_read(out, bytes, sizeof(bytes));
		if (n > 0)
			CHECK_INT(send(h.r.fd, bytes, (size_t)n, MSG_NOSIGNAL), n);
		world_turn(&h.w);
	}
	n = BIO_read(out, bytes, sizeof(bytes));
	CHECK(n > 0);
	kept = before_last(bytes, (size_t)n);
	CHECK(kept > 0);
	CHECK_INT(send(h.r.fd, bytes, kept, MSG_NOSIGNAL), kept);
	s = h.w.b.peers->serving.first;
	WORLD_UNTIL(&h.w, s->svid != NULL);
	CHECK_UINT(h.w.b.peers->serving.open, 0);
	free(h.w.b.view.nodes[0].node);
	h.w.b.view.node_count = 0;
	h.w.b.view.sequence++;
	peers_view_changed(h.w.b.peers);
	(void)send(h.r.fd, bytes + kept, (size_t)n - kept, MSG_NOSIGNAL);
	world_for(&h.w, 20);
	CHECK_UINT(h.w.b.peers->serving.count, 0);
	hand_done(&h);
}
