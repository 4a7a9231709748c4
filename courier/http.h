/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * HTTPS requests by libcurl's multi interface on an sd-event loop. TLS 1.2 or newer, checked
 * against the CA that the agent gave and nothing else; no redirects; no cookies; proxies as the
 * environment says (https_proxy, no_proxy). Bodies are bounded while they come in.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#define HTTP_ETAG_MAX  128
#define HTTP_ERROR_MAX 320
#define HTTP_CODE_MAX  32
#define HTTP_URL_MAX   2048
/* Bodies of answers that are no documents: problems (RFC 9457), certificates. */
#define HTTP_SMALL_MAX (64U << 10)
#define HTTP_HEADERS   8

struct http;
struct http_request;

struct http_answer {
	int status; /* 0: none */
	/* What went wrong, for people; "" when the answer came whole and is a success. */
	char error[HTTP_ERROR_MAX];
	bool broken; /* the answer is not whole */
	bool too_large;
	bool problem;             /* application/problem+json */
	char code[HTTP_CODE_MAX]; /* of the problem, "" = none */
	bool waited;              /* Preference-Applied: wait */
	bool ranged;              /* 206, from range_start on */
	uint64_t range_start;
	char etag[HTTP_ETAG_MAX]; /* as it came, "" = none */
	int64_t retry_after_s;    /* -1: none */
	struct buf body;
	int64_t took_ms;
};

struct http_call {
	const char *url;                   /* copied, as all of these */
	const char *headers[HTTP_HEADERS]; /* "Name: value"; NULL ends them */
	bool post;
	const void *body;
	size_t body_len;
	size_t max;         /* of a successful answer's body */
	uint64_t offset;    /* only what lies behind */
	unsigned timeout_s; /* 0: as long as something comes */
	bool anonymous;     /* without our certificate */
	/* Exactly one call, unless it was cancelled. The request is gone afterwards. */
	void (*done)(void *user, struct http_answer *a);
	void *user;
};

int http_new(sd_event *event, struct http **ret, struct err *err);
void http_free(struct http *h); /* requests are cancelled */
/* PEM; empty: the host's own CAs. Requests after this use it. */
int http_set_ca(struct http *h, const char *pem, size_t len);
/* PEM of our certificate and key; NULL: none. */
int http_set_identity(struct http *h, const char *cert_pem, const char *key_pem);
/* NULL when it cannot be begun (memory). */
struct http_request *http_start(struct http *h, const struct http_call *call);
void http_cancel(struct http_request *r);

/* "HTTP 403: banned" from status and problem; into a->error. Pure; for tests. */
void http_explain(struct http_answer *a);
