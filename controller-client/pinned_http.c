/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/pinned_http.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/release.h"
#include "base/text.h"
#include "controller-client/svid.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_S         60
#define CONNECT_TIMEOUT_S 15
#define SEEN_TEXT_MAX     256
#define DEPTH_MAX         SVID_CHAIN_MAX

struct pinned_http {
	CURL *easy;
	const char *url, *pin;
	X509 *ca;                 /* the certificate that has the pin */
	char seen[SEEN_TEXT_MAX]; /* why the server is not the pinned one */
	char error[CURL_ERROR_SIZE];
};

/* --- the pin ------------------------------------------------------------------------------ */

static bool pin_of(X509 *cert, char ret[SHA256_HEX_LEN])
{
	unsigned char *der = NULL;
	uint8_t digest[SHA256_LEN];
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	bool ok = len > 0 && sha256(der, (size_t)len, digest) >= 0;

	OPENSSL_free(der);
	if (ok)
		hex_format(digest, sizeof(digest), ret);
	return ok;
}

/* A CA with the pin among what was presented. */
static X509 *find_pinned(struct pinned_http *h, STACK_OF(X509) * presented)
{
	char pin[SHA256_HEX_LEN] = "";

	(void)snprintf(h->seen, sizeof(h->seen), "it presents no CA certificate");
	for (int i = 0; i < sk_X509_num(presented); i++) {
		X509 *cert = sk_X509_value(presented, i);

		if (X509_check_ca(cert) == 0 || !pin_of(cert, pin))
			continue;
		if (str_eq(pin, h->pin))
			return cert;
		(void)snprintf(h->seen, sizeof(h->seen), "its CA has the pin sha256:%s", pin);
	}
	return NULL;
}

/*
 * In place of OpenSSL's own verification: the only trusted certificate is the pinned one, whatever
 * the host's CAs are, and the rest of the chain must verify to it.
 */
static int verify(X509_STORE_CTX *ctx, void *user)
{
	struct pinned_http *h = user;
	X509 *pinned = find_pinned(h, X509_STORE_CTX_get0_untrusted(ctx));
	STACK_OF(X509) *trusted = sk_X509_new_null();
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
	int ok = 0;

	if (pinned == NULL || trusted == NULL || sk_X509_push(trusted, pinned) <= 0) {
		X509_STORE_CTX_set_error(ctx, X509_V_ERR_CERT_UNTRUSTED);
		sk_X509_free(trusted);
		return 0;
	}
	X509_STORE_CTX_set0_trusted_stack(ctx, trusted);
	(void)X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
	X509_VERIFY_PARAM_set_depth(param, DEPTH_MAX);
	ok = X509_verify_cert(ctx) == 1;
	if (!ok)
		(void)snprintf(h->seen, sizeof(h->seen), "%s",
			       X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
	X509_STORE_CTX_set0_trusted_stack(ctx, NULL);
	sk_X509_free(trusted);
	if (ok && !svid_may_be_controller(X509_STORE_CTX_get0_cert(ctx))) {
		X509_STORE_CTX_set_error(ctx, X509_V_ERR_INVALID_PURPOSE);
		(void)snprintf(h->seen, sizeof(h->seen), "its certificate is that of another");
		ok = 0;
	}
	if (!ok)
		return 0;
	h->seen[0] = '\0';
	X509_free(h->ca);
	h->ca = X509_up_ref(pinned) == 1 ? pinned : NULL;
	return 1;
}

static CURLcode on_ssl_ctx(CURL *easy, void *ssl_ctx, void *user)
{
	(void)easy;
	SSL_CTX_set_cert_verify_callback(ssl_ctx, verify, user);
	return CURLE_OK;
}

/* --- conversation ------------------------------------------------------------------------- */

static size_t on_body(char *bytes, size_t size, size_t n, void *user)
{
	struct buf *b = user;

	buf_add(b, bytes, size * n);
	return b->r < 0 ? 0 : size * n;
}

int pinned_http_new(const char *url, const char *pin, struct pinned_http **ret, struct err *err)
{
	struct pinned_http *h = mem_calloc(1, sizeof(*h));

	if (h != NULL)
		h->easy = curl_easy_init();
	if (h == NULL || h->easy == NULL) {
		free(h);
		return err_set(err, ENOMEM, "out of memory");
	}
	h->url = url;
	h->pin = pin;
	*ret = h;
	return 0;
}

void pinned_http_free(struct pinned_http *h)
{
	if (h == NULL)
		return;
	curl_easy_cleanup(h->easy);
	X509_free(h->ca);
	free(h);
}

void pinned_http_freep(struct pinned_http **h)
{
	pinned_http_free(*h);
	*h = NULL;
}

void pinned_answer_done(struct pinned_answer *a)
{
	buf_done(&a->body);
}

static void set_options(struct pinned_http *h, struct pinned_answer *a)
{
	CURL *easy = h->easy;

	/* Connections are kept: one handshake, one look at the pin. */
	curl_easy_reset(easy);
	(void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
	(void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	(void)curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	(void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	(void)curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
	(void)curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	(void)curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
	(void)curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, h);
	(void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
	(void)curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
	(void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, h->error);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, &a->body);
	(void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "bailiwick/" RELEASE);
}

static int perform(struct pinned_http *h, struct err *err)
{
	char quoted[LOG_QUOTE_MAX];
	CURLcode code;

	h->error[0] = h->seen[0] = '\0';
	code = curl_easy_perform(h->easy);
	if (code == CURLE_OK)
		return 0;
	if (h->seen[0] != '\0')
		return err_set(err, EKEYREJECTED,
			       "%s is not the controller with the pin sha256:%s: %s; the pin that "
			       "bailiwick-controller token create prints would be right",
			       log_quote(quoted, h->url), h->pin, h->seen);
	return err_set(err, code == CURLE_PEER_FAILED_VERIFICATION ? EKEYREJECTED : EIO, "%s: %s",
		       log_quote(quoted, h->url),
		       h->error[0] != '\0' ? h->error : curl_easy_strerror(code));
}

/* What the controller has to say about a refusal; other bodies say nothing. */
static void read_problem(struct pinned_answer *a)
{
	const char *detail, *code;
	char quoted[LOG_QUOTE_MAX];
	json_t *o = NULL;

	if (a->status < 300 || a->body.len == 0 ||
	    json_parse_strict(a->body.data, a->body.len, "problem", &o, NULL) < 0)
		return;
	detail = json_string_value(json_object_get(o, "detail"));
	code = json_string_value(json_object_get(o, "code"));
	if (detail != NULL)
		(void)snprintf(a->detail, sizeof(a->detail), "%s", log_quote(quoted, detail));
	if (code != NULL && strlen(code) < sizeof(a->code))
		memcpy(a->code, code, strlen(code) + 1);
	json_decref(o);
}

int pinned_http_ask(struct pinned_http *h, const char *path, const char *body, const char *type,
		    const char *user, const char *password, struct pinned_answer *ret,
		    struct err *err)
{
	struct pinned_answer a = {0};
	struct curl_slist *headers = NULL;
	size_t len = strlen(h->url);
	CLEANUP(freep) char *header = mem_printf("Content-Type: %s", type != NULL ? type : "");
	CLEANUP(freep) char *url = NULL;
	int r;

	while (len > 0 && h->url[len - 1] == '/')
		len--;
	url = mem_printf("%.*s/%s", (int)len, h->url, path);
	buf_init(&a.body, PINNED_ANSWER_MAX);
	set_options(h, &a);
	if (url == NULL || header == NULL ||
	    curl_easy_setopt(h->easy, CURLOPT_URL, url) != CURLE_OK)
		return err_set(err, ENOMEM, "out of memory");
	if (body != NULL) {
		headers = curl_slist_append(NULL, header);
		headers = curl_slist_append(headers, "Content-Transfer-Encoding: base64");
		(void)curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, headers);
		(void)curl_easy_setopt(h->easy, CURLOPT_POSTFIELDS, body);
	}
	if (user != NULL) {
		(void)curl_easy_setopt(h->easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
		(void)curl_easy_setopt(h->easy, CURLOPT_USERNAME, user);
		(void)curl_easy_setopt(h->easy, CURLOPT_PASSWORD, password);
	}
	r = perform(h, err);
	(void)curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &a.status);
	(void)curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(headers);
	if (r < 0) {
		pinned_answer_done(&a);
		return r;
	}
	read_problem(&a);
	*ret = a;
	return 0;
}

int pinned_http_ca(const struct pinned_http *h, char **ret, struct err *err)
{
	CLEANUP(svid_chain_freep) STACK_OF(X509) *one = sk_X509_new_null();

	if (h->ca == NULL || one == NULL || X509_up_ref(h->ca) != 1)
		return err_set(err, ENOMEM, "out of memory");
	if (sk_X509_push(one, h->ca) <= 0) {
		X509_free(h->ca);
		return err_set(err, ENOMEM, "out of memory");
	}
	return svid_chain_pem(one, ret, err);
}
