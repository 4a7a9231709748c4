/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What nodes and their couriers ask: trust, head, manifests, blobs; and what they report. */
#include "base/base64.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/manifest.h"
#include "controller-client/static_path.h"
#include "controller/exchange.h"
#include "controller/unpack.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ETAG_TEXT_MAX     104
#define PREFER_TEXT_MAX   24
#define LOGS_UNPACKED_MAX (4U << 20)
#define LOGS_DROPPED_MAX  1000000000000 /* what sums up without end is no number of records */
#define REFRESH_HINT_S    3600
#define NO_POLICY_RETRY_S 5
#define TYPE_JSON         "application/json"
#define TYPE_BYTES        "application/octet-stream"
/* A P-256 point, uncompressed: 4, X, Y. */
#define COORDINATE_LEN 32
#define POINT_LEN      (1 + 2 * COORDINATE_LEN)

/* ---- trust: for anybody ---- */

static enum MHD_Result small_document(struct exchange *x, json_t *take)
{
	char etag[ETAG_TEXT_MAX] = "\"", *text = take == NULL ? NULL : json_text(take, NULL);
	uint8_t digest[SHA256_LEN];
	const struct answer_header headers[] = {
		{"ETag", etag}, {"Cache-Control", "max-age=300"}, {NULL, NULL}};

	json_decref(take);
	if (text == NULL || sha256(text, strlen(text), digest) < 0) {
		free(text);
		return exchange_later(x, 503, "out_of_memory", 1, "out of memory");
	}
	hex_format(digest, sizeof(digest), etag + 1);
	etag[1 + 2 * sizeof(digest)] = '"';
	etag[2 + 2 * sizeof(digest)] = '\0';
	if (!http_etag_matches(exchange_header(x, "If-None-Match"), etag))
		return exchange_bytes(x, 200, TYPE_JSON, text, strlen(text), headers);
	free(text);
	return exchange_empty(x, 304, headers);
}

enum MHD_Result handle_trust(struct exchange *x)
{
	return small_document(x, core_trust(x->server->core));
}

/* JWK (RFC 7518) has base64url without padding. */
static json_t *base64url(const void *bytes, size_t len)
{
	CLEANUP(freep) char *text = base64_encode(bytes, len);
	size_t end = 0;

	if (text == NULL)
		return NULL;
	for (; text[end] != '\0' && text[end] != '='; end++) {
		if (text[end] == '+')
			text[end] = '-';
		else if (text[end] == '/')
			text[end] = '_';
	}
	return json_stringn(text, end);
}

static json_t *jwk_of(X509 *root)
{
	unsigned char *point = NULL, *der = NULL;
	size_t point_len = EVP_PKEY_get1_encoded_public_key(X509_get0_pubkey(root), &point);
	int len = i2d_X509(root, &der);
	CLEANUP(freep) char *text = len > 0 ? base64_encode(der, (size_t)len) : NULL;
	json_t *jwk = NULL;

	OPENSSL_free(der);
	if (text != NULL && point_len == POINT_LEN)
		jwk = json_pack("{s:s, s:s, s:s, s:o, s:o, s:[s]}", "kty", "EC", "use", "x509-svid",
				"crv", "P-256", "x", base64url(point + 1, COORDINATE_LEN), "y",
				base64url(point + 1 + COORDINATE_LEN, COORDINATE_LEN), "x5c", text);
	OPENSSL_free(point);
	return jwk;
}

/* SPIFFE Trust Domain and Bundle, section 4. */
enum MHD_Result handle_trust_bundle(struct exchange *x)
{
	return small_document(x, json_pack("{s:[o], s:i, s:i}", "keys",
					   jwk_of(ca_root(x->server->ca)), "spiffe_sequence", 1,
					   "spiffe_refresh_hint", REFRESH_HINT_S));
}

/* ---- the head ---- */

/*
 * wait to wait and a sixteenth, so that what was woken together does not come back together; and
 * one more, because the second that runs already is not a whole one.
 */
static uint32_t spread(uint32_t wait)
{
	uint8_t random = 0;

	(void)RAND_bytes(&random, sizeof(random));
	return wait + 1 + (wait / 16) * random / 255;
}

static enum MHD_Result park(struct exchange *x, const char *node, uint32_t wait)
{
	int r = polls_park(x->server->polls, &x->waiter, node, spread(wait));

	if (r < 0)
		return exchange_later(x, 503, "busy", 1, "too many polls are under way");
	x->state = EXCHANGE_PARKED;
	x->conn->due_s = 0;
	MHD_suspend_connection(x->connection);
	return MHD_YES;
}

static enum MHD_Result send_head(struct exchange *x, const char *node,
				 const struct answer_header *headers, char *etag)
{
	struct err err = {{0}};
	const char *text;
	char *copy;
	uint64_t sequence;
	size_t len;
	int r = core_head(x->server->core, node, &text, &len, &sequence, &err);

	if (r == -ENOENT)
		return exchange_later(x, 503, "no_policy", NO_POLICY_RETRY_S, "%s", err.text);
	if (r < 0)
		return exchange_error(x, r, &err);
	copy = mem_strndup(text, len);
	if (copy == NULL)
		return exchange_later(x, 503, "out_of_memory", 1, "out of memory");
	(void)snprintf(etag, ETAG_TEXT_MAX, "\"%" PRIu64 "\"", sequence);
	x->server->counters.heads_sent++;
	return exchange_bytes(x, 200, TYPE_JSON, copy, len, headers);
}

/*
 * A node that nothing has been published for waits too, and is told to come back: 404 would tell
 * its courier that this is a static server.
 */
enum MHD_Result handle_head(struct exchange *x)
{
	char etag[ETAG_TEXT_MAX], applied[PREFER_TEXT_MAX];
	uint32_t wait = http_prefer_wait(exchange_header(x, "Prefer"), POLL_WAIT_MAX);
	const struct answer_header headers[] = {{"ETag", etag},
						{"Cache-Control", "private, no-cache"},
						{"Preference-Applied", wait > 0 ? applied : NULL},
						{NULL, NULL}};
	struct err err = {{0}};
	struct svid svid;
	uint64_t sequence;
	bool known;
	int r = peer_get(x, &svid, &err);

	/* Banned or evicted while the poll was parked. */
	if (r < 0)
		return exchange_error(x, r, &err);
	sequence = core_head_sequence(x->server->core, svid.name);
	(void)snprintf(etag, sizeof(etag), "\"%" PRIu64 "\"", sequence);
	(void)snprintf(applied, sizeof(applied), "wait=%" PRIu32, wait);
	known = sequence > 0 && http_etag_matches(exchange_header(x, "If-None-Match"), etag);
	if ((known || sequence == 0) && wait > 0 && x->state == EXCHANGE_READING &&
	    !x->server->stopping)
		return park(x, svid.name, wait);
	if (known)
		return exchange_empty(x, 304, headers);
	return send_head(x, svid.name, headers, etag);
}

/* ---- immutable documents ---- */

enum MHD_Result handle_manifest(struct exchange *x)
{
	char etag[ETAG_TEXT_MAX], *text;
	struct err err = {{0}};
	uint64_t revision;
	size_t len;
	int r;

	if (text_u64(x->match.arg, 1, DOCUMENT_NUMBER_MAX, &revision) < 0)
		return exchange_problem(x, 404, "not_found", "'%s' is no revision", x->match.arg);
	r = core_manifest(x->server->core, revision, &text, &len, &err);
	if (r < 0)
		return exchange_error(x, r, &err);
	(void)snprintf(etag, sizeof(etag), "\"manifest-%" PRIu64 "\"", revision);
	return exchange_immutable(x, TYPE_JSON, text, len, etag);
}

enum MHD_Result handle_blob(struct exchange *x)
{
	char etag[ETAG_TEXT_MAX], *bytes;
	struct err err = {{0}};
	struct svid svid;
	size_t len;
	int r;

	if (!sha256_hex_ok(x->match.arg))
		return exchange_problem(x, 404, "not_found", "'%s' is no SHA-256 digest",
					x->match.arg);
	r = peer_get(x, &svid, &err);
	if (r >= 0)
		r = core_blob(x->server->core, svid.name, x->match.arg, &bytes, &len, &err);
	if (r < 0)
		return exchange_error(x, r, &err);
	(void)snprintf(etag, sizeof(etag), "\"%s\"", x->match.arg);
	return exchange_immutable(x, TYPE_BYTES, bytes, len, etag);
}

/* ---- from nodes ---- */

enum MHD_Result handle_status(struct exchange *x)
{
	struct err err = {{0}};
	struct svid svid;
	int r = peer_get(x, &svid, &err);

	if (r >= 0)
		r = core_status(x->server->core, svid.name,
				x->body.data != NULL ? x->body.data : "", x->body.len, &err);
	return r < 0 ? exchange_error(x, r, &err) : exchange_empty(x, 204, NULL);
}

/* A hint only, and the node's own word: what is no number says nothing. */
static void take_dropped(struct exchange *x, const char *node)
{
	const char *text = exchange_header(x, "Bailiwick-Dropped");
	uint64_t dropped;

	if (text != NULL && text_u64(text, 0, LOGS_DROPPED_MAX, &dropped) == 0)
		x->server->counters.logs_dropped +=
			core_log_dropped(x->server->core, node, dropped);
}

enum MHD_Result handle_logs(struct exchange *x)
{
	CLEANUP(freep) char *text = NULL;
	struct err err = {{0}};
	struct svid svid;
	size_t len;
	int r = peer_get(x, &svid, &err);

	if (r >= 0)
		r = gzip_unpack(x->body.data, x->body.len, LOGS_UNPACKED_MAX, &text, &len, &err);
	if (r >= 0)
		r = core_log(x->server->core, svid.name, text, len, &err);
	if (r >= 0)
		take_dropped(x, svid.name);
	return r < 0 ? exchange_error(x, r, &err) : exchange_empty(x, 204, NULL);
}
