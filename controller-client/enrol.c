/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/enrol.h"

#include "base/base64.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/csr.h"
#include "controller-client/pinned_http.h"
#include "controller-client/proof.h"
#include "controller-client/static_path.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRUST_PATH    "v1/trust"
#define CACERTS_PATH  ".well-known/est/cacerts"
#define ENROLL_PATH   ".well-known/est/simpleenroll"
#define TYPE_PKCS10   "application/pkcs10"
#define TOKEN_PART    128
#define URL_MAX       1024
#define KEY_PEM_MAX   4096
#define TRUST_WHAT    "the controller's trust"
#define STATUS_OK     200
#define STATUS_LATER  202
#define CHAIN_DER_MAX SVID_CHAIN_FILE_MAX

void enrol_result_done(struct enrol_result *r)
{
	for (size_t i = 0; i < r->policy_key_count; i++)
		public_key_done(&r->policy_keys[i]);
	for (size_t i = 0; i < r->controller_key_count; i++)
		public_key_done(&r->controller_keys[i]);
	private_key_done(&r->key);
	free(r->cert_pem);
	free(r->bundle_pem);
	free(r->ca_pem);
	*r = (struct enrol_result){0};
}

const char *pin_hex(const char *text)
{
	const char *hex = str_starts(text, PIN_PREFIX) ? text + strlen(PIN_PREFIX) : text;

	return sha256_hex_ok(hex) ? hex : NULL;
}

/* --- answers ------------------------------------------------------------------------------ */

static int code_of(const struct pinned_answer *a)
{
	static const struct {
		const char *code;
		int error;
	} codes[] = {{"used", EALREADY},
		     {"expired", ETIME},
		     {"banned", EPERM},
		     {"forbidden", EPERM},
		     {"unauthorized", EKEYREJECTED},
		     {"bad_request", EINVAL}};

	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		if (str_eq(codes[i].code, a->code))
			return codes[i].error;
	}
	return a->status == 401 ? EKEYREJECTED : EIO;
}

/* 0 for 200; a sentence otherwise. */
static int check_status(const struct pinned_answer *a, const struct enrol_request *rq,
			const char *path, struct err *err)
{
	const char *node = rq->node != NULL ? rq->node : "NODE";
	int code = code_of(a);

	if (a->status == STATUS_OK)
		return 0;
	if (a->status == STATUS_LATER)
		return err_set(err, EAGAIN,
			       "the controller waits for somebody's approval; the "
			       "same again later would be right");
	if (a->detail[0] == '\0')
		return err_set(err, code,
			       "%s/%s: HTTP %ld; the URL of a bailiwick-controller "
			       "would be right",
			       rq->url, path, a->status);
	if (code == EALREADY || code == ETIME || code == EKEYREJECTED)
		return err_set(err, code,
			       "%s; make another with: bailiwick-controller token create --node %s",
			       a->detail, node);
	return err_set(err, code, "the controller refuses: %s", a->detail);
}

static int ask(struct pinned_http *h, const struct enrol_request *rq, const char *path,
	       struct pinned_answer *ret, struct err *err)
{
	int r = pinned_http_ask(h, path, NULL, NULL, NULL, NULL, ret, err);

	return r < 0 ? r : check_status(ret, rq, path, err);
}

static int read_pkcs7(const struct pinned_answer *a, STACK_OF(X509) * *ret, struct err *err)
{
	CLEANUP(freep) uint8_t *der = NULL;
	size_t len = 0;

	if (a->body.len == 0 ||
	    base64_decode_wrapped(a->body.data, a->body.len, CHAIN_DER_MAX, &der, &len) < 0)
		return err_set(err, EBADMSG, "the controller's answer is not base64");
	return svid_chain_from_pkcs7(der, len, ret, err);
}

/* --- trust -------------------------------------------------------------------------------- */

static bool is_pinned(const struct enrol_request *rq, const char *keyid)
{
	for (size_t i = 0; i < rq->policy_pin_count; i++) {
		const char *hex = pin_hex(rq->policy_pins[i]);

		if (hex != NULL && str_eq(hex, keyid))
			return true;
	}
	return false;
}

static int take_key(const char *pem, const struct enrol_request *pinned_by,
		    struct public_key keys[KEYRING_MAX], size_t *count, struct err *err)
{
	struct public_key key = {0};
	int r = public_key_parse(pem, strlen(pem), TRUST_WHAT, &key, err);

	if (r < 0)
		return r;
	/* The policy key must not be taken on the word of a controller: it is what limits it. */
	if (pinned_by != NULL && !is_pinned(pinned_by, key.id)) {
		public_key_done(&key);
		return 0;
	}
	for (size_t i = 0; i < *count; i++) {
		if (!str_eq(keys[i].id, key.id))
			continue;
		public_key_done(&key);
		return err_set(err, EBADMSG, TRUST_WHAT ": the same key twice");
	}
	keys[(*count)++] = key;
	return 0;
}

static uint32_t take_role(struct json_object *o, const char *role,
			  const struct enrol_request *pinned_by,
			  struct public_key keys[KEYRING_MAX], size_t *count)
{
	struct json_object inner;
	json_t *value = json_take_object(o, role), *list, *pem;
	uint32_t threshold;
	size_t i;

	if (value == NULL)
		return 0;
	json_object_begin(&inner, value, TRUST_WHAT, role, o->err);
	list = json_take_array(&inner, "keys", KEYRING_MAX);
	threshold = (uint32_t)json_take_int(&inner, "threshold", 1, KEYRING_MAX);
	json_array_foreach(list, i, pem) {
		const char *text = json_string_value(pem);
		int r = 0;

		if (inner.r == 0 && (text == NULL || strlen(text) > KEY_PEM_MAX))
			(void)json_fail(&inner, "keys", "not a key in PEM");
		if (inner.r == 0)
			r = take_key(text, pinned_by, keys, count, o->err);
		if (r < 0)
			inner.r = r;
	}
	if (inner.r < 0)
		o->r = inner.r;
	return threshold;
}

static int check_pins(const struct enrol_request *rq, const struct enrol_result *r, struct err *err)
{
	for (size_t i = 0; i < rq->policy_pin_count; i++) {
		const char *hex = pin_hex(rq->policy_pins[i]);
		bool found = false;

		if (hex == NULL)
			return err_set(err, EINVAL,
				       "--policy-pin: not a keyid; 64 lower-case hex digits would "
				       "be right");
		for (size_t k = 0; k < r->policy_key_count; k++)
			found |= str_eq(r->policy_keys[k].id, hex);
		if (!found)
			return err_set(
				err, EKEYREJECTED,
				"the controller's policy is not signed by the key %s: it has "
				"no such policy key; is the pin right, and the controller?",
				hex);
	}
	return 0;
}

int enrol_trust_decode(const char *text, size_t len, const struct enrol_request *rq,
		       struct enrol_result *r, char trust_domain[256], struct err *err)
{
	struct json_object o;
	const char *domain;
	json_t *json = NULL;
	int code = json_parse_strict(text, len, TRUST_WHAT, &json, err);

	if (code < 0)
		return code;
	json_object_begin(&o, json, TRUST_WHAT, NULL, err);
	(void)json_take_int(&o, "version", 1, 1);
	domain = json_take_string(&o, "trust_domain", 255);
	if (domain != NULL && !trust_domain_ok(domain))
		(void)json_fail(&o, "trust_domain", "not the name of one");
	r->policy_threshold = take_role(&o, "policy", rq, r->policy_keys, &r->policy_key_count);
	r->controller_threshold =
		take_role(&o, "controller", NULL, r->controller_keys, &r->controller_key_count);
	if (o.r == 0 &&
	    (r->controller_key_count == 0 || r->controller_threshold > r->controller_key_count))
		(void)json_fail(&o, "controller", "no key, or fewer than the threshold");
	code = o.r;
	if (code == 0)
		(void)snprintf(trust_domain, 256, "%s", domain);
	json_decref(json);
	if (code < 0)
		return code;
	if (r->policy_key_count > 0 && r->policy_threshold > r->policy_key_count)
		return err_set(err, EKEYREJECTED,
			       "policy needs %u signatures, but only %zu of its keys are pinned; "
			       "more --policy-pin would be right",
			       r->policy_threshold, r->policy_key_count);
	return check_pins(rq, r, err);
}

static int get_trust(struct pinned_http *h, const struct enrol_request *rq, struct enrol_result *r,
		     char trust_domain[256], struct err *err)
{
	CLEANUP(pinned_answer_done) struct pinned_answer a = {0};
	int code = ask(h, rq, TRUST_PATH, &a, err);

	return code < 0 ? code
			: enrol_trust_decode(a.body.data != NULL ? a.body.data : "", a.body.len, rq,
					     r, trust_domain, err);
}

static int get_roots(struct pinned_http *h, const struct enrol_request *rq, struct enrol_result *r,
		     STACK_OF(X509) * *ret, struct err *err)
{
	CLEANUP(pinned_answer_done) struct pinned_answer a = {0};
	CLEANUP(svid_chain_freep) STACK_OF(X509) *roots = NULL;
	int code = ask(h, rq, CACERTS_PATH, &a, err);

	if (code >= 0)
		code = read_pkcs7(&a, &roots, err);
	if (code >= 0)
		code = svid_chain_pem(roots, &r->bundle_pem, err);
	if (code < 0)
		return code;
	*ret = TAKE_PTR(roots);
	return 0;
}

/* --- certificate -------------------------------------------------------------------------- */

static int split_token(const char *token, char id[TOKEN_PART], char secret[TOKEN_PART],
		       struct err *err)
{
	const char *dot = strchr(token, '.');

	if (dot == NULL || dot == token || dot[1] == '\0' || dot - token >= TOKEN_PART ||
	    strlen(dot + 1) >= TOKEN_PART || strpbrk(token, ":\r\n \t") != NULL)
		return err_set(err, EINVAL,
			       "not a token; tok_ID.SECRET, as bailiwick-controller "
			       "token create prints it, would be right");
	(void)snprintf(id, TOKEN_PART, "%.*s", (int)(dot - token), token);
	(void)snprintf(secret, TOKEN_PART, "%s", dot + 1);
	return 0;
}

static int request_certificate(struct pinned_http *h, const struct enrol_request *rq,
			       const struct private_key *key, STACK_OF(X509) * *ret,
			       struct err *err)
{
	CLEANUP(pinned_answer_done) struct pinned_answer a = {0};
	CLEANUP(freep) uint8_t *csr = NULL;
	CLEANUP(freep) char *body = NULL;
	char id[TOKEN_PART], secret[TOKEN_PART];
	size_t len = 0;
	int r = split_token(rq->token, id, secret, err);

	if (r >= 0)
		r = csr_make(key, rq->node != NULL ? rq->node : "node", &csr, &len, err);
	if (r >= 0 && (body = base64_encode(csr, len)) == NULL)
		r = err_set(err, ENOMEM, "out of memory");
	if (r >= 0)
		r = pinned_http_ask(h, ENROLL_PATH, body, TYPE_PKCS10, id, secret, &a, err);
	OPENSSL_cleanse(secret, sizeof(secret));
	if (r >= 0)
		r = check_status(&a, rq, ENROLL_PATH, err);
	return r < 0 ? r : read_pkcs7(&a, ret, err);
}

static int check_certificate(STACK_OF(X509) * chain, STACK_OF(X509) * roots,
			     const struct enrol_request *rq, const char *trust_domain,
			     struct enrol_result *r, struct err *err)
{
	CLEANUP(svid_chain_freep) STACK_OF(X509) *rest = X509_chain_up_ref(chain);
	X509 *leaf = sk_X509_value(chain, 0);
	int code;

	if (rest == NULL)
		return err_set(err, ENOMEM, "out of memory");
	X509_free(sk_X509_shift(rest));
	if (EVP_PKEY_eq(X509_get0_pubkey(leaf), r->key.pkey) != 1)
		return err_set(err, EBADMSG, "the controller certified another key than ours");
	code = svid_verify(leaf, rest, roots, trust_domain, wall_now(), &r->svid, err);
	if (code < 0)
		return code;
	if (r->svid.role != SVID_NODE)
		return err_set(err, EBADMSG, "the controller made us %s, which is no node",
			       r->svid.id);
	if (rq->node != NULL && !str_eq(rq->node, r->svid.name))
		return err_set(err, EPERM,
			       "the token is for node %s, and this is node %s; nothing was "
			       "written. A token for %s would be right",
			       r->svid.name, rq->node, rq->node);
	return 0;
}

static int converse(struct pinned_http *h, const struct enrol_request *rq, struct enrol_result *r,
		    struct err *err)
{
	CLEANUP(svid_chain_freep) STACK_OF(X509) *roots = NULL;
	CLEANUP(svid_chain_freep) STACK_OF(X509) *chain = NULL;
	char trust_domain[256];
	int code = get_trust(h, rq, r, trust_domain, err);

	if (code >= 0)
		code = get_roots(h, rq, r, &roots, err);
	if (code >= 0)
		code = pinned_http_ca(h, &r->ca_pem, err);
	if (code >= 0)
		code = private_key_generate(KEY_P256, &r->key, err);
	if (code >= 0)
		code = request_certificate(h, rq, &r->key, &chain, err);
	if (code >= 0)
		code = check_certificate(chain, roots, rq, trust_domain, r, err);
	return code < 0 ? code : svid_chain_pem(chain, &r->cert_pem, err);
}

static bool is_plain(const char *url)
{
	for (const char *p = url; *p != '\0'; p++) {
		if (*p <= ' ' || *p >= 0x7f || *p == '"' || *p == '\\')
			return false;
	}
	return strlen(url) <= URL_MAX;
}

int enrol(const struct enrol_request *rq, struct enrol_result *ret, struct err *err)
{
	CLEANUP(pinned_http_freep) struct pinned_http *h = NULL;
	struct enrol_result result = {0};
	char host[PROOF_AUDIENCE_MAX], id[TOKEN_PART], secret[TOKEN_PART];
	const char *pin = pin_hex(rq->pin);
	int r;

	/* It is written into agent.yaml, in quotes. */
	if (proof_audience(rq->url, host) < 0 || !is_plain(rq->url))
		return err_set(err, EINVAL, "--url %.200s: https://HOST[:PORT] would be right",
			       rq->url);
	if (pin == NULL)
		return err_set(err, EINVAL,
			       "--pin: sha256: and 64 lower-case hex digits would be right");
	r = split_token(rq->token, id, secret, err);
	OPENSSL_cleanse(secret, sizeof(secret));
	if (r >= 0)
		r = pinned_http_new(rq->url, pin, &h, err);
	if (r >= 0)
		r = converse(h, rq, &result, err);
	if (r < 0) {
		enrol_result_done(&result);
		return r;
	}
	*ret = result;
	return 0;
}
