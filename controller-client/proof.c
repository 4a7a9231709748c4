/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/proof.h"

#include "base/base64.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/dsse.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define WHAT              "proof"
#define CERTIFICATES_MAX  (1 + SVID_CHAIN_MAX)
#define CERTIFICATE_MAX   (16U << 10)
#define CERTIFICATE_CHARS ((size_t)(CERTIFICATE_MAX + 2) / 3 * 4)

static const char *const purposes[] = {[PROOF_COURIER] = "courier", [PROOF_RENEW] = "renew"};

/* Payload as it was read; strings are borrowed from json. */
struct proof {
	json_t *json;
	const char *purpose, *csr_sha256, *controller;
	struct wall time;
	STACK_OF(X509) * chain; /* leaf first */
};

static void proof_done(struct proof *p)
{
	json_decref(p->json);
	svid_chain_free(p->chain);
	*p = (struct proof){0};
}

/* --- audience ----------------------------------------------------------------------------- */

static bool is_host_char(char c, bool bracketed)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
	       (bracketed ? c == ':' : c == '-' || c == '_');
}

int proof_audience(const char *url, char ret[PROOF_AUDIENCE_MAX])
{
	static const char scheme[] = "https://";
	char host[PROOF_AUDIENCE_MAX];
	bool bracketed;
	size_t len = 0;

	if (!str_starts(url, scheme))
		return -EINVAL;
	url += sizeof(scheme) - 1;
	bracketed = *url == '[';
	url += bracketed;
	for (; len < sizeof(host) - 1; len++) {
		char c = url[len];

		host[len] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
		if (!is_host_char(host[len], bracketed))
			break;
	}
	url += len;
	if (len == 0 || (bracketed && *url++ != ']') || !(*url == '\0' || strchr(":/", *url)))
		return -EINVAL;
	memcpy(ret, host, len);
	ret[len] = '\0';
	return 0;
}

/* --- making ------------------------------------------------------------------------------- */

static int csr_digest(const uint8_t *csr, size_t len, char ret[SHA256_HEX_LEN], struct err *err)
{
	uint8_t digest[SHA256_LEN];

	if (sha256(csr, len, digest) < 0)
		return err_set(err, ENOMEM, "out of memory");
	hex_format(digest, sizeof(digest), ret);
	return 0;
}

static json_t *chain_json(STACK_OF(X509) * chain)
{
	json_t *list = json_array();

	for (int i = 0; i < sk_X509_num(chain) && i < CERTIFICATES_MAX; i++) {
		unsigned char *der = NULL;
		int len = i2d_X509(sk_X509_value(chain, i), &der);
		CLEANUP(freep) char *text = len > 0 ? base64_encode(der, (size_t)len) : NULL;

		OPENSSL_free(der);
		if (text == NULL || json_array_append_new(list, json_string(text)) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

int proof_make(enum proof_purpose purpose, const uint8_t *csr, size_t csr_len,
	       STACK_OF(X509) * chain, const struct private_key *key, const char *audience,
	       struct wall now, char **ret, size_t *ret_len, struct err *err)
{
	char digest[SHA256_HEX_LEN], time[RFC3339_TEXT_MAX];
	CLEANUP(freep) char *text = NULL;
	json_t *payload, *certificates;
	int r = csr_digest(csr, csr_len, digest, err);

	if (r < 0)
		return r;
	certificates = chain_json(chain);
	payload = certificates ? json_pack("{s:i,s:s,s:s,s:s,s:s,s:o}", "version", 1, "purpose",
					   purposes[purpose], "csr_sha256", digest, "controller",
					   audience, "time", rfc3339_format(time, now),
					   "certificates", certificates)
			       : NULL;
	text = payload ? json_text(payload, NULL) : NULL;
	json_decref(payload);
	if (text == NULL)
		return err_set(err, ENOMEM, "out of memory");
	return dsse_sign(DSSE_TYPE_PROOF, text, strlen(text), key, ret, ret_len, err);
}

/* --- reading ------------------------------------------------------------------------------ */

static int read_certificate(struct json_object *o, const char *text, STACK_OF(X509) * chain)
{
	CLEANUP(freep) uint8_t *der = NULL;
	const unsigned char *at;
	size_t len = 0;
	X509 *cert;

	if (text == NULL || strlen(text) > CERTIFICATE_CHARS ||
	    base64_decode(text, strlen(text), CERTIFICATE_MAX, &der, &len) < 0)
		return json_fail(o, "certificates", "not base64 of a certificate");
	at = der;
	cert = d2i_X509(NULL, &at, (long)len);
	if (cert == NULL || at != der + len || sk_X509_push(chain, cert) <= 0) {
		X509_free(cert);
		return json_fail(o, "certificates", "not a certificate in DER");
	}
	return 0;
}

static void read_chain(struct json_object *o, struct proof *p)
{
	json_t *list = json_take_array(o, "certificates", CERTIFICATES_MAX), *value;
	size_t i;

	if (o->r < 0)
		return;
	p->chain = sk_X509_new_null();
	if (p->chain == NULL || json_array_size(list) == 0) {
		(void)json_fail(o, "certificates", "empty");
		return;
	}
	json_array_foreach(list, i, value) {
		if (read_certificate(o, json_string_value(value), p->chain) < 0)
			return;
	}
}

static int proof_decode(const uint8_t *text, size_t len, struct proof *p, struct err *err)
{
	struct json_object o;
	const char *time;
	int r = json_parse_strict((const char *)text, len, WHAT, &p->json, err);

	if (r < 0)
		return r;
	json_object_begin(&o, p->json, WHAT, NULL, err);
	(void)json_take_int(&o, "version", 1, 1);
	p->purpose = json_take_string(&o, "purpose", 16);
	p->csr_sha256 = json_take_string(&o, "csr_sha256", SHA256_HEX_LEN - 1);
	p->controller = json_take_string(&o, "controller", PROOF_AUDIENCE_MAX - 1);
	time = json_take_string(&o, "time", RFC3339_TEXT_MAX);
	if (time != NULL && rfc3339_parse(time, &p->time) < 0)
		(void)json_fail(&o, "time", "not a time; 2027-01-31T00:00:00Z would be right");
	read_chain(&o, p);
	ERR_clear_error();
	return json_finish(&o);
}

/* --- checking ----------------------------------------------------------------------------- */

static int open_unverified(const char *text, size_t len, struct proof *p, struct err *err)
{
	CLEANUP(freep) uint8_t *payload = NULL;
	size_t payload_len = 0;
	int r;

	if (len > PROOF_MAX)
		return err_set(err, E2BIG, "%s: longer than %u bytes", WHAT, PROOF_MAX);
	r = dsse_open_unverified(text, len, DSSE_TYPE_PROOF, &payload, &payload_len, err);
	return r < 0 ? r : proof_decode(payload, payload_len, p, err);
}

/*
 * The chain to the roots. What is signed is looked at only after this: a certificate that nobody
 * vouches for gets no signature computed.
 */
static int check_chain(const struct proof *p, enum proof_purpose purpose, STACK_OF(X509) * roots,
		       const char *trust_domain, struct wall now, struct svid *ret,
		       bool *ret_expired, struct err *err)
{
	X509 *leaf = sk_X509_value(p->chain, 0);
	CLEANUP(svid_chain_freep) STACK_OF(X509) *rest = X509_chain_up_ref(p->chain);
	struct wall at = now;
	struct svid s;
	int r = svid_read(leaf, &s, err);

	if (r < 0)
		return r;
	if (rest == NULL)
		return err_set(err, ENOMEM, "out of memory");
	X509_free(sk_X509_shift(rest));
	*ret_expired = now.s >= s.not_after.s;
	if (*ret_expired && purpose != PROOF_RENEW)
		return err_set(err, ETIME, "the certificate of %s has expired", s.id);
	if (*ret_expired && now.s - s.not_after.s > PROOF_EXPIRED_S)
		return err_set(err, ETIME,
			       "the certificate of %s expired more than %d days ago; enrol again "
			       "with a token",
			       s.id, (int)(PROOF_EXPIRED_S / 86400));
	/* An expired one must have been good just before its end: at it, it is not any more. */
	if (*ret_expired)
		at.s = s.not_after.s - 1;
	r = svid_verify(leaf, rest, roots, trust_domain, at, ret, err);
	if (r >= 0 && ret->role != SVID_NODE)
		r = err_set(err, EPERM, "%s is no node; only a node may prove", ret->id);
	return r;
}

static int check_signature(const char *text, size_t len, const struct proof *claimed,
			   struct proof *ret, struct err *err)
{
	EVP_PKEY *pkey = X509_get0_pubkey(sk_X509_value(claimed->chain, 0));
	CLEANUP(keyring_done) struct keyring ring = {.threshold = 1};
	CLEANUP(freep) uint8_t *payload = NULL;
	struct public_key key = {0};
	size_t payload_len = 0;
	int r = public_key_from(pkey, &key, err);

	if (r >= 0)
		r = keyring_add(&ring, &key, err);
	if (r < 0) {
		public_key_done(&key);
		return r == -ENOTSUP ? -EKEYREJECTED : r;
	}
	r = dsse_verify(text, len, DSSE_TYPE_PROOF, WHAT, &ring, &payload, &payload_len, err);
	if (r >= 0)
		r = proof_decode(payload, payload_len, ret, err);
	/* Only verified bytes count: the key must be that of the certificate *they* name. */
	if (r >= 0 && X509_cmp(sk_X509_value(claimed->chain, 0), sk_X509_value(ret->chain, 0)) != 0)
		r = err_set(err, EKEYREJECTED, "%s: signed by another certificate's key", WHAT);
	return r;
}

static int check_words(const struct proof *p, enum proof_purpose purpose, const char *csr_sha256,
		       const char *audience, struct wall now, struct err *err)
{
	char quoted[LOG_QUOTE_MAX];

	if (!str_eq(p->purpose, purposes[purpose]))
		return err_set(err, EPERM, "%s: made for the purpose %s; %s would be right", WHAT,
			       log_quote(quoted, p->purpose), purposes[purpose]);
	if (!str_eq(p->csr_sha256, csr_sha256))
		return err_set(err, EPERM, "%s: made for another certificate request", WHAT);
	if (!str_eq(p->controller, audience))
		return err_set(err, EPERM, "%s: made out to %s; %s would be right", WHAT,
			       log_quote(quoted, p->controller), audience);
	if (p->time.s < now.s - PROOF_SKEW_S || p->time.s > now.s + PROOF_SKEW_S)
		return err_set(err, ETIME,
			       "%s: made %" PRId64 " s %s; at most %d s would be right (are both "
			       "clocks right?)",
			       WHAT, p->time.s < now.s ? now.s - p->time.s : p->time.s - now.s,
			       p->time.s < now.s ? "ago" : "in the future", PROOF_SKEW_S);
	return 0;
}

static int check(const char *text, size_t len, enum proof_purpose purpose, const char *csr_sha256,
		 STACK_OF(X509) * roots, const char *trust_domain, const char *audience,
		 struct wall now, struct svid *ret, bool *ret_expired, struct err *err)
{
	CLEANUP(proof_done) struct proof claimed = {0};
	CLEANUP(proof_done) struct proof verified = {0};
	int r = open_unverified(text, len, &claimed, err);

	if (r >= 0)
		r = check_chain(&claimed, purpose, roots, trust_domain, now, ret, ret_expired, err);
	if (r >= 0)
		r = check_signature(text, len, &claimed, &verified, err);
	return r < 0 ? r : check_words(&verified, purpose, csr_sha256, audience, now, err);
}

int proof_check(const char *text, size_t len, enum proof_purpose purpose, const uint8_t *csr,
		size_t csr_len, STACK_OF(X509) * roots, const char *trust_domain,
		const char *audience, struct wall now, struct svid *ret, bool *ret_expired,
		struct err *err)
{
	char digest[SHA256_HEX_LEN];
	struct svid s;
	bool expired = false;
	int r = csr_digest(csr, csr_len, digest, err);

	if (r >= 0)
		r = check(text, len, purpose, digest, roots, trust_domain, audience, now, &s,
			  &expired, err);
	if (r < 0)
		return r;
	*ret = s;
	*ret_expired = expired;
	return 0;
}
