/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Enrolment over Secure Transport (RFC 7030): the parts that a node needs. Who gets which name is
 * decided by a token, by the client's certificate or by a proof that the old key signed, never by
 * the request.
 */
#include "base/base64.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/csr.h"
#include "controller-client/proof.h"
#include "controller/exchange.h"

#include <errno.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN_TEXT_MAX 256
#define PATH_TEXT_MAX  (NODE_NAME_MAX + 32)
#define LINE_LEN       64
#define TYPE_PKCS7     "application/pkcs7-mime; smime-type=certs-only"
#define TYPE_PKCS10    "application/pkcs10"
#define PROOF_HEADER   "Bailiwick-Proof"

struct request {
	struct exchange *x;
	uint8_t *der;
	size_t der_len;
	struct public_key key;
};

static void request_done(struct request *q)
{
	free(q->der);
	public_key_done(&q->key);
}

/* ---- answers ---- */

/* RFC 7030, section 4.1.3: base64 of the DER, in lines. */
static char *wrapped(const uint8_t *der, size_t len)
{
	CLEANUP(freep) char *text = base64_encode(der, len);
	CLEANUP(buf_done) struct buf b = {0};
	size_t left = text == NULL ? 0 : strlen(text);

	buf_init(&b, 2 * left + 2);
	for (const char *at = text; left > 0;) {
		size_t n = left < LINE_LEN ? left : LINE_LEN;

		buf_add(&b, at, n);
		buf_putc(&b, '\n');
		at += n;
		left -= n;
	}
	return text == NULL ? NULL : buf_take(&b);
}

static enum MHD_Result send_certs(struct exchange *x, struct stack_st_X509 *certs)
{
	static const struct answer_header headers[] = {{"Content-Transfer-Encoding", "base64"},
						       {"Cache-Control", "no-store"},
						       {NULL, NULL}};
	CLEANUP(freep) uint8_t *der = NULL;
	struct err err = {{0}};
	char *text;
	size_t len;
	int r = ca_pkcs7(certs, &der, &len, &err);

	if (r < 0)
		return exchange_error(x, r, &err);
	text = wrapped(der, len);
	if (text == NULL)
		return exchange_later(x, 503, "out_of_memory", 1, "out of memory");
	return exchange_bytes(x, 200, TYPE_PKCS7, text, strlen(text), headers);
}

enum MHD_Result handle_cacerts(struct exchange *x)
{
	return send_certs(x, ca_roots(x->server->ca));
}

/* ---- requests ---- */

/* The answer has been given when this is false. */
static bool read_request(struct exchange *x, struct request *q, enum MHD_Result *ret)
{
	const char *type = exchange_header(x, "Content-Type");
	struct err err = {{0}};
	int r;

	q->x = x;
	if (type != NULL && !http_type_is(type, TYPE_PKCS10)) {
		*ret = exchange_problem(x, 415, "content_type", TYPE_PKCS10 " would be right");
		return false;
	}
	r = base64_decode_wrapped(x->body.data != NULL ? x->body.data : "", x->body.len, CSR_MAX,
				  &q->der, &q->der_len);
	if (r < 0)
		(void)err_set(&err, -r, "the body is no certificate request in base64");
	else
		r = csr_check(q->der, q->der_len, &q->key, &err);
	if (r < 0)
		*ret = exchange_error(x, r, &err);
	return r >= 0;
}

static int issue(struct request *q, const char *kind, const char *node, X509 **ret, struct err *err)
{
	struct server *s = q->x->server;
	char path[PATH_TEXT_MAX];
	struct ca_leaf leaf = {.key = q->key.pkey,
			       .path = path,
			       .common_name = node,
			       .life_s = s->config->svid_ttl_s};
	struct svid svid;
	X509 *cert;
	int r;

	(void)snprintf(path, sizeof(path), "/bailiwick/%s/%s", kind, node);
	r = ca_issue(s->ca, &leaf, wall_now(), &cert, err);
	if (r < 0)
		return r;
	r = svid_read(cert, &svid, err);
	/* What is not on record could not be taken back. */
	if (r >= 0)
		r = core_cert_issued(s->core, &svid, err);
	if (r < 0) {
		X509_free(cert);
		return r;
	}
	s->counters.certificates++;
	*ret = cert;
	return 0;
}

static enum MHD_Result send_cert(struct exchange *x, X509 *take)
{
	STACK_OF(X509) *certs = sk_X509_new_null();
	enum MHD_Result result;

	if (certs == NULL || sk_X509_push(certs, take) <= 0) {
		X509_free(take);
		sk_X509_free(certs);
		return exchange_later(x, 503, "out_of_memory", 1, "out of memory");
	}
	result = send_certs(x, certs);
	svid_chain_free(certs);
	return result;
}

static enum MHD_Result issue_and_send(struct request *q, const char *kind, const char *node)
{
	struct err err = {{0}};
	X509 *cert;
	int r = issue(q, kind, node, &cert, &err);

	return r < 0 ? exchange_error(q->x, r, &err) : send_cert(q->x, cert);
}

/* ---- proofs ---- */

struct proof_attempt {
	const struct request *q;
	const char *text, *audience;
	size_t len;
	enum proof_purpose purpose;
	struct svid svid;
	bool expired;
};

static int attempt_proof(void *user, struct stack_st_X509 *roots, struct err *err)
{
	struct proof_attempt *a = user;
	struct server *s = a->q->x->server;

	return proof_check(a->text, a->len, a->purpose, a->q->der, a->q->der_len, roots,
			   core_trust_domain(s->core), a->audience, wall_now(), &a->svid,
			   &a->expired, err);
}

/*
 * The host that the client has reached, if that is a name of ours. A proof is made out to it: taken
 * from the request alone, another controller could pass proofs on that were made out to itself.
 */
static int audience_of(const struct exchange *x, char ret[HTTP_HOST_MAX], struct err *err)
{
	if (http_host(exchange_header(x, "Host"), ret) < 0 || !server_has_name(x->server, ret))
		return err_set(err, EXDEV,
			       "the request is for a host that this controller is not known as; "
			       "--name adds one");
	return 0;
}

static int check_proof(const struct request *q, enum proof_purpose purpose, struct svid *ret,
		       bool *ret_expired, struct err *err)
{
	const char *header = exchange_header(q->x, PROOF_HEADER);
	CLEANUP(freep) uint8_t *text = NULL;
	char audience[HTTP_HOST_MAX];
	struct proof_attempt a = {.q = q, .purpose = purpose, .audience = audience};
	bool own;
	int r;

	if (header == NULL)
		return err_set(err, EKEYREJECTED, "no " PROOF_HEADER " header");
	r = audience_of(q->x, audience, err);
	if (r < 0)
		return r;
	r = base64_decode(header, strlen(header), PROOF_MAX, &text, &a.len);
	if (r < 0)
		return err_set(err, -r, PROOF_HEADER ": not base64, or too long");
	a.text = (const char *)text;
	r = peer_roots_try(q->x->server, attempt_proof, &a, &own, err);
	/* proof.h says EPERM for a proof of something else; here that means banned. */
	if (r == -EPERM)
		r = -EKEYREJECTED;
	if (r < 0)
		return r;
	if (a.svid.role != SVID_NODE)
		return err_set(err, EKEYREJECTED, "%.256s is no node; only a node may prove",
			       a.svid.id);
	r = core_cert_check(q->x->server->core, &a.svid, err);
	if (r < 0)
		return r;
	*ret = a.svid;
	*ret_expired = a.expired;
	return 0;
}

/* ---- enrolment ---- */

static enum MHD_Result limited(struct exchange *x, uint32_t wait)
{
	x->server->counters.tokens_limited++;
	return exchange_later(x, 429, "too_many_tries", wait,
			      "too many wrong tokens or proofs from this address");
}

/* A store that fails is not the client's fault. */
static void count_failure(struct exchange *x, int r)
{
	if (problem_of_error(r).status >= 500)
		return;
	x->server->counters.tokens_refused++;
	strikes_add(x->server->tokens, &x->conn->address, mono_now());
}

static enum MHD_Result enroll_by_token(struct request *q, const char *token)
{
	struct exchange *x = q->x;
	struct server *s = x->server;
	char address[ADDR_TEXT_MAX], node[NODE_NAME_MAX];
	struct err err = {{0}};
	X509 *cert;
	int r = core_token_use(s->core, token, addr_format(address, &x->conn->address), node,
			       sizeof(node), &err);

	if (r < 0) {
		count_failure(x, r);
		return exchange_error(x, r, &err);
	}
	r = issue(q, "node", node, &cert, &err);
	if (r < 0) {
		core_token_return(s->core, token);
		return exchange_error(x, r, &err);
	}
	log_info("node %s enrolled from %s", node, address);
	return send_cert(x, cert);
}

/*
 * A proof that holds is taken whatever else came from this address: behind one address there may be
 * a host that guesses and a thousand whose couriers have just been started.
 */
static enum MHD_Result proof_refused(struct exchange *x, int r, const struct err *err)
{
	uint32_t wait = strikes_wait(x->server->tokens, &x->conn->address, mono_now());

	if (wait > 0 && problem_of_error(r).status < 500)
		return limited(x, wait);
	count_failure(x, r);
	return exchange_error(x, r, err);
}

static enum MHD_Result enroll_by_proof(struct request *q, enum proof_purpose purpose,
				       const char *kind)
{
	struct err err = {{0}};
	struct svid svid;
	bool expired = false;
	int r = check_proof(q, purpose, &svid, &expired, &err);

	if (r < 0)
		return proof_refused(q->x, r, &err);
	if (expired)
		log_info("node %s renews with a certificate that has expired", svid.name);
	return issue_and_send(q, kind, svid.name);
}

/* For anybody: with a token; or with a proof by the old key, which may have expired. */
enum MHD_Result handle_enroll(struct exchange *x)
{
	CLEANUP(request_done) struct request q = {0};
	char token[TOKEN_TEXT_MAX] = "";
	uint32_t wait = strikes_wait(x->server->tokens, &x->conn->address, mono_now());
	bool proof = exchange_header(x, PROOF_HEADER) != NULL;
	enum MHD_Result result;

	if (wait > 0 && !proof)
		return limited(x, wait);
	/* Before the request's signature is checked: that costs more than everything else. */
	if (!proof && http_basic(exchange_header(x, "Authorization"), token, sizeof(token)) < 0)
		return exchange_problem(x, 401, "unauthorized",
					"no token: HTTP Basic with its id and its secret, or a "
					"proof, would be right");
	if (!read_request(x, &q, &result)) {
		OPENSSL_cleanse(token, sizeof(token));
		return result;
	}
	if (proof)
		return enroll_by_proof(&q, PROOF_RENEW, "node");
	result = enroll_by_token(&q, token);
	OPENSSL_cleanse(token, sizeof(token));
	return result;
}

enum MHD_Result handle_courier_enroll(struct exchange *x)
{
	CLEANUP(request_done) struct request q = {0};
	enum MHD_Result result;

	if (!read_request(x, &q, &result))
		return result;
	return enroll_by_proof(&q, PROOF_COURIER, "courier");
}

/* The courier carries what the node proves; it has no say in whose certificate that is. */
static enum MHD_Result reenroll_by_courier(struct request *q, const struct svid *courier)
{
	struct err err = {{0}};
	struct svid svid;
	bool expired;
	int r = check_proof(q, PROOF_RENEW, &svid, &expired, &err);

	if (r < 0)
		return exchange_error(q->x, r, &err);
	if (!str_eq(svid.name, courier->name))
		return exchange_problem(q->x, 403, "forbidden",
					"the courier of %s brings a request of %s", courier->name,
					svid.name);
	return issue_and_send(q, "node", svid.name);
}

enum MHD_Result handle_reenroll(struct exchange *x)
{
	CLEANUP(request_done) struct request q = {0};
	enum MHD_Result result;
	struct err err = {{0}};
	struct svid svid;
	int r;

	if (!read_request(x, &q, &result))
		return result;
	r = peer_get(x, &svid, &err);
	if (r < 0)
		return exchange_error(x, r, &err);
	if (svid.role == SVID_COURIER)
		return reenroll_by_courier(&q, &svid);
	return issue_and_send(&q, "node", svid.name);
}
