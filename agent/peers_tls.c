/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * TLS of peer streams: 1.3 only (RFC 8446), both sides with an X.509-SVID of the node's own trust
 * domain. Nothing of a session is kept: resumption would skip the check of the certificate, and
 * early data could be replayed. OpenSSL's own look at the chain is replaced by svid_verify(), which
 * knows what SPIFFE demands beyond it (X509-SVID, section 5) and which roots count for whom.
 */
#include "agent/node_key.h"
#include "agent/peers_parts.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define CIPHERS            "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS             "X25519:P-256"
#define SECURITY_LEVEL_MIN 2

static const unsigned char alpn[] = "\x12" PEER_ALPN;

/* --- who is at the other end -------------------------------------------------------------- */

static const char *place_refusal(const struct stream *s, const struct svid *svid)
{
	const struct agent *a = s->peers->agent;

	if (svid->role != SVID_NODE)
		return "is not the name of a node";
	if (s->peer && !str_eq(svid->name, s->peer->node))
		return "is another node than the one asked";
	if (str_eq(svid->name, a->config.node))
		return "is this node's own name";
	if (!a->view || !view_find_node(a->view, svid->name))
		return "is no node of this node's view";
	if (!peers_key_ok(peers_policy(s->peers), svid->name, svid->key_id))
		return "has a key that policy does not pin for it";
	return NULL;
}

/* rest: what came behind the leaf, may be NULL. */
static int verify(struct stream *s, X509 *leaf, STACK_OF(X509) * rest, struct svid *ret,
		  struct err *err)
{
	struct peers *p = s->peers;
	struct node_key_pair own;
	const char *refusal;
	int r;

	if (!p->agent->node_key || !node_key_pair(p->agent->node_key, &own))
		return err_set(err, ENOENT, "this node has no certificate");
	r = svid_verify(leaf, rest, own.roots, own.svid->trust_domain, agent_now(p->agent), ret,
			err);
	if (r < 0)
		return r;
	refusal = place_refusal(s, ret);
	return refusal ? err_set(err, EPERM, "%s %s", ret->id, refusal) : 0;
}

/* SSL_get_peer_cert_chain() has the leaf among them on one side and not on the other. */
static STACK_OF(X509) * behind_leaf(STACK_OF(X509) * sent, X509 *leaf)
{
	STACK_OF(X509) *rest = sk_X509_new_null();

	for (int i = 0; rest && i < sk_X509_num(sent); i++) {
		X509 *cert = sk_X509_value(sent, i);

		if ((i > 0 || X509_cmp(cert, leaf) != 0) && sk_X509_push(rest, cert) <= 0) {
			sk_X509_free(rest);
			return NULL;
		}
	}
	return rest;
}

static int check(struct stream *s, X509 *leaf, STACK_OF(X509) * sent, struct svid *ret,
		 struct err *err)
{
	STACK_OF(X509) *rest = behind_leaf(sent, leaf);
	int r = rest ? verify(s, leaf, rest, ret, err) : err_set(err, ENOMEM, "out of memory");

	sk_X509_free(rest); /* the certificates are the connection's */
	return r;
}

/* In place of X509_verify_cert(): 1 = accepted. */
static int on_certificate(X509_STORE_CTX *ctx, void *user)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct stream *s = SSL_get_app_data(ssl);
	X509 *leaf = X509_STORE_CTX_get0_cert(ctx);
	struct svid *svid = mem_calloc(1, sizeof(*svid));
	struct err err = {{0}};
	int r;

	(void)user;
	r = svid ? check(s, leaf, X509_STORE_CTX_get0_untrusted(ctx), svid, &err) : -ENOMEM;
	if (r >= 0) {
		free(s->svid);
		s->svid = svid;
		X509_STORE_CTX_set_error(ctx, X509_V_OK);
		return 1;
	}
	free(svid);
	stream_refuse(s, err.text[0] ? err.text : "out of memory");
	X509_STORE_CTX_set_error(ctx, r == -ETIME ? X509_V_ERR_CERT_HAS_EXPIRED
						  : X509_V_ERR_APPLICATION_VERIFICATION);
	return 0;
}

static struct wall first_of(struct wall a, struct wall b)
{
	return a.s < b.s ? a : b;
}

int peers_tls_check(struct stream *s)
{
	const unsigned char *chosen = NULL;
	unsigned len = 0;
	const char *wrong = NULL;

	SSL_get0_alpn_selected(s->ssl, &chosen, &len);
	if (len != strlen(PEER_ALPN) || memcmp(chosen, PEER_ALPN, len) != 0)
		wrong = "does not speak " PEER_ALPN;
	else if (SSL_version(s->ssl) != TLS1_3_VERSION)
		wrong = "does not speak TLS 1.3";
	else if (!s->svid || SSL_session_reused(s->ssl))
		wrong = "showed no certificate";
	if (wrong) {
		stream_refuse(s, wrong);
		return -EPERM;
	}
	s->expires = first_of(s->svid->not_after, s->peers->key_expires);
	return 0;
}

bool peers_tls_recheck(struct stream *s)
{
	struct svid svid = {.role = SVID_OTHER};
	X509 *leaf = s->ssl ? SSL_get0_peer_certificate(s->ssl) : NULL;
	struct err err = {{0}};

	if (leaf && check(s, leaf, SSL_get_peer_cert_chain(s->ssl), &svid, &err) >= 0)
		return true;
	stream_refuse(s, err.text);
	return false;
}

/* --- contexts ----------------------------------------------------------------------------- */

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		   const unsigned char *in, unsigned in_len, void *user)
{
	(void)ssl;
	(void)user;
	/* RFC 7301: names, each behind its length. */
	for (unsigned at = 0; at < in_len; at += 1U + in[at]) {
		unsigned len = in[at];

		if (len > in_len - at - 1)
			break;
		if (len == alpn[0] && memcmp(in + at + 1, alpn + 1, len) == 0) {
			*out = in + at + 1;
			*out_len = (unsigned char)len;
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/*
 * Key updates and tickets may come without end (RFC 8446, 4.6), and SSL_read() goes on until there
 * is data. Without its descriptor it fails.
 */
static void on_message(int write_p, int version, int type, const void *bytes, size_t len, SSL *ssl,
		       void *user)
{
	struct stream *s = SSL_get_app_data(ssl);

	(void)version;
	(void)bytes;
	(void)len;
	(void)user;
	if (write_p || type != SSL3_RT_HANDSHAKE || !s || s->state != STREAM_OPEN)
		return;
	if (++s->tls_messages == PEERS_TLS_MESSAGES + 1)
		(void)BIO_set_fd(SSL_get_rbio(ssl), -1, BIO_NOCLOSE);
}

static bool set_certificate(SSL_CTX *ctx, const struct node_key_pair *own)
{
	X509 *leaf = sk_X509_value(own->chain, 0);
	STACK_OF(X509) *rest = behind_leaf(own->chain, leaf);
	bool ok = rest && SSL_CTX_use_cert_and_key(ctx, leaf, own->key, rest, 1) == 1;

	sk_X509_free(rest);
	return ok;
}

static bool set_protocol(SSL_CTX *ctx)
{
	char groups[] = GROUPS; /* the macro below casts const away */

	/*
	 * RELEASE_BUFFERS: an idle stream has no 32 KiB of buffers. The rest of a partial write is
	 * written from wherever it lies then.
	 */
	(void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
					    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					    SSL_MODE_NO_AUTO_CHAIN);
	(void)SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
					       SSL_OP_NO_COMPRESSION |
					       SSL_OP_CIPHER_SERVER_PREFERENCE);
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_max_early_data(ctx, 0);
	SSL_CTX_set_security_level(ctx, SECURITY_LEVEL_MIN);
	SSL_CTX_set_max_cert_list(ctx, PEERS_CHAIN_BYTES);
	SSL_CTX_set_read_ahead(ctx, 1); /* a record in one system call, not two */
	return SSL_CTX_set_num_tickets(ctx, 0) == 1 &&
	       SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_ciphersuites(ctx, CIPHERS) == 1 &&
	       SSL_CTX_set1_groups_list(ctx, groups) == 1;
}

static SSL_CTX *make_context(const SSL_METHOD *method, const struct node_key_pair *own)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (!ctx || !set_protocol(ctx) || !set_certificate(ctx, own) ||
	    SSL_CTX_set_alpn_protos(ctx, alpn, sizeof(alpn) - 1) != 0) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, on_certificate, NULL);
	SSL_CTX_set_msg_callback(ctx, on_message);
	return ctx;
}

void peers_tls_done(struct peers *p)
{
	SSL_CTX_free(TAKE_PTR(p->client));
	SSL_CTX_free(TAKE_PTR(p->server));
	p->key_known = false;
}

void peers_tls_refresh(struct peers *p)
{
	struct node_key_pair own;

	if (!p->agent->node_key || !node_key_pair(p->agent->node_key, &own)) {
		peers_tls_done(p);
		return;
	}
	if (p->key_known && own.generation == p->key_generation)
		return;
	peers_tls_done(p);
	ERR_clear_error();
	p->client = make_context(TLS_client_method(), &own);
	p->server = make_context(TLS_server_method(), &own);
	p->key_expires = own.svid->not_after;
	p->key_generation = own.generation;
	p->key_known = p->key_changed = true;
	if (!p->client || !p->server) {
		log_error("peers: TLS with this node's certificate: %s",
			  ERR_reason_error_string(ERR_peek_last_error()));
		SSL_CTX_free(TAKE_PTR(p->client));
		SSL_CTX_free(TAKE_PTR(p->server));
	}
	ERR_clear_error();
}

bool peers_tls_usable(struct peers *p)
{
	return p->client && p->server && agent_now(p->agent).s < p->key_expires.s;
}
