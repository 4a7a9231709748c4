/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The courier's own certificate: a key that is made anew with each connection to the agent and
 * never leaves memory, a request, the agent's proof that this node asks, EST (RFC 7030, label
 * "courier"). Without one the courier goes on: a static server asks for none.
 */
#include "courier/courier.h"

#include "base/base64.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "controller-client/csr.h"
#include "controller-client/svid.h"
#include "courier/pace.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENROL_PATH     ".well-known/est/courier/simpleenroll"
#define TIMEOUT_S      60
#define PROOF_WAIT_MS  30000
#define STATIC_MS      3600000 /* no such thing at this server: asked again so seldom */
#define HALF_MIN_MS    5000
#define ERROR_TEXT_MAX 256

struct credential {
	struct courier *courier;
	sd_event_source *timer;
	struct private_key key;
	uint8_t *csr;
	size_t csr_len;
	struct http_request *request;
	struct backoff backoff;
	bool active, held, resolved; /* resolved: polls may begin, with a certificate or without */
	bool unasked;                /* the server asked for none, a static one */
};

static void in_ms(struct credential *k, int64_t ms)
{
	(void)sd_event_source_set_time_relative(k->timer, (uint64_t)ms * 1000);
	(void)sd_event_source_set_enabled(k->timer, SD_EVENT_ONESHOT);
}

static void resolve(struct credential *k)
{
	if (!k->resolved)
		poll_start(k->courier->poll);
	k->resolved = true;
	if (!k->held)
		return;
	poll_resume(k->courier->poll);
	post_resume(k->courier->post);
}

static void give_up(struct credential *k, int64_t wait_ms)
{
	in_ms(k, wait_ms);
	resolve(k);
}

/* --- answer ------------------------------------------------------------------------------- */

static int install(struct credential *k, STACK_OF(X509) * chain, struct err *err)
{
	X509 *leaf = sk_X509_value(chain, 0);
	char *key_pem = NULL;
	CLEANUP(freep) char *pem = NULL;
	int r;

	if (EVP_PKEY_eq(X509_get0_pubkey(leaf), k->key.pkey) != 1)
		return err_set(err, EBADMSG, "a certificate of another key");
	r = svid_chain_pem(chain, &pem, err);
	if (r < 0)
		return r;
	key_pem = private_key_pem(&k->key);
	r = key_pem ? http_set_identity(k->courier->http, pem, key_pem) : -ENOMEM;
	if (key_pem)
		OPENSSL_cleanse(key_pem, strlen(key_pem));
	free(key_pem);
	return r < 0 ? err_set(err, ENOMEM, "out of memory") : 0;
}

/* Half of what is left, a little earlier or later. */
static int64_t half_life_ms(const X509 *leaf)
{
	int days = 0, seconds = 0;
	int64_t half = 0;

	if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(leaf)) == 1)
		half = ((int64_t)days * 86400 + seconds) * 500;
	half += half / 10 - (int64_t)(courier_random() % (uint64_t)(half > 0 ? half / 5 + 1 : 1));
	return half < HALF_MIN_MS ? HALF_MIN_MS : half;
}

static int take_answer(struct credential *k, const struct http_answer *a, int64_t *ret_next_ms,
		       struct err *err)
{
	CLEANUP(svid_chain_freep) STACK_OF(X509) *chain = NULL;
	CLEANUP(freep) uint8_t *der = NULL;
	size_t len = 0;
	int r;

	if (a->body.len == 0 ||
	    base64_decode_wrapped(a->body.data, a->body.len, HTTP_SMALL_MAX, &der, &len) < 0)
		return err_set(err, EBADMSG, "not base64");
	r = svid_chain_from_pkcs7(der, len, &chain, err);
	if (r >= 0)
		r = install(k, chain, err);
	if (r >= 0)
		*ret_next_ms = half_life_ms(sk_X509_value(chain, 0));
	return r;
}

static bool is_static(const struct http_answer *a)
{
	return !a->problem &&
	       (a->status == 403 || a->status == 404 || a->status == 405 || a->status == 501);
}

static void on_enrolled(void *user, struct http_answer *a)
{
	struct credential *k = user;
	struct err err = {{0}};
	int64_t next_ms = 0;

	k->request = NULL;
	if (is_static(a)) {
		log_debug("controller: a static server, no certificate");
		k->unasked = true;
		give_up(k, STATIC_MS);
		return;
	}
	if (!a->broken && a->status == 200 && take_answer(k, a, &next_ms, &err) >= 0) {
		log_debug("certificate obtained");
		k->held = true;
		give_up(k, next_ms);
		return;
	}
	if (err.text[0])
		(void)snprintf(a->error, sizeof(a->error), "certificate: %.*s", ERROR_TEXT_MAX,
			       err.text);
	if (a->error[0] == '\0')
		(void)snprintf(a->error, sizeof(a->error), "certificate: HTTP %d", a->status);
	courier_contact(k->courier, false, a->error);
	give_up(k, backoff_next(&k->backoff, a->retry_after_s, courier_random()));
}

/* --- request ------------------------------------------------------------------------------ */

static void enrol(struct credential *k, const void *proof, size_t len)
{
	CLEANUP(freep) char *url = courier_url(k->courier, ENROL_PATH);
	CLEANUP(freep) char *proof_text = base64_encode(proof, len);
	CLEANUP(freep) char *csr_text = base64_encode(k->csr, k->csr_len);
	CLEANUP(freep) char *header = NULL;

	if (proof_text)
		header = mem_printf("Bailiwick-Proof: %s", proof_text);
	if (url && csr_text && header)
		k->request =
			http_start(k->courier->http,
				   &(struct http_call){
					   .url = url,
					   .headers = {"Content-Type: application/pkcs10",
						       "Content-Transfer-Encoding: base64", header},
					   .post = true,
					   .body = csr_text,
					   .body_len = strlen(csr_text),
					   .max = HTTP_SMALL_MAX,
					   .timeout_s = TIMEOUT_S,
					   .anonymous = true,
					   .done = on_enrolled,
					   .user = k,
				   });
	if (!k->request)
		give_up(k, backoff_next(&k->backoff, -1, courier_random()));
}

void credential_proof(struct credential *k, const void *proof, size_t len, const char *error)
{
	if (!k->active || !k->csr || k->request)
		return;
	if (len == 0) {
		log_info("agent: no proof: %s", error ? error : "");
		give_up(k, backoff_next(&k->backoff, -1, courier_random()));
		return;
	}
	enrol(k, proof, len);
}

static void ask(struct credential *k)
{
	struct err err = {{0}};
	int r;

	http_cancel(TAKE_PTR(k->request));
	private_key_done(&k->key);
	k->key = (struct private_key){0};
	free(TAKE_PTR(k->csr));
	r = private_key_generate(KEY_P256, &k->key, &err);
	if (r >= 0)
		r = csr_make(&k->key, k->courier->node, &k->csr, &k->csr_len, &err);
	if (r < 0) {
		log_warn("certificate: %s", err.text);
		give_up(k, backoff_next(&k->backoff, -1, courier_random()));
		return;
	}
	in_ms(k, PROOF_WAIT_MS);
	agent_side_send(k->courier->agent, json_pack("{s:s}", "type", "csr"), k->csr, k->csr_len);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *user)
{
	struct credential *k = user;

	(void)s;
	(void)usec;
	if (k->active && !k->request)
		ask(k);
	return 0;
}

void credential_start(struct credential *k)
{
	credential_stop(k);
	k->active = true;
	ask(k);
}

void credential_stop(struct credential *k)
{
	http_cancel(TAKE_PTR(k->request));
	private_key_done(&k->key);
	k->key = (struct private_key){0};
	free(TAKE_PTR(k->csr));
	k->active = k->held = k->resolved = k->unasked = false;
	backoff_reset(&k->backoff);
	(void)sd_event_source_set_enabled(k->timer, SD_EVENT_OFF);
}

void credential_refused(struct credential *k)
{
	/* Without one the next attempt is set already; a controller may have taken the place of a
	 * static server, though. */
	if (!k->active || (!k->held && !k->unasked))
		return;
	k->held = k->unasked = false;
	(void)http_set_identity(k->courier->http, NULL, NULL);
	in_ms(k, backoff_next(&k->backoff, -1, courier_random()));
}

/*
 * Not when it is issued: a controller that issues certificates and then refuses them would be asked
 * for one each second.
 */
void credential_worked(struct credential *k)
{
	if (k->held)
		backoff_reset(&k->backoff);
}

bool credential_held(const struct credential *k)
{
	return k->held;
}

int credential_new(struct courier *c, struct credential **ret, struct err *err)
{
	struct credential *k = mem_calloc(1, sizeof(*k));
	int r;

	if (!k)
		return err_set(err, ENOMEM, "out of memory");
	k->courier = c;
	r = sd_event_add_time_relative(c->event, &k->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY_US,
				       on_timer, k);
	if (r >= 0)
		r = sd_event_source_set_enabled(k->timer, SD_EVENT_OFF);
	if (r < 0) {
		credential_free(k);
		return err_set(err, -r, "event loop: %s", strerror(-r));
	}
	*ret = k;
	return 0;
}

void credential_free(struct credential *k)
{
	if (!k)
		return;
	http_cancel(k->request);
	private_key_done(&k->key);
	free(k->csr);
	sd_event_source_disable_unref(k->timer);
	free(k);
}
