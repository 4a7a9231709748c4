/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One HTTPS conversation with a server that is known by the pin of its CA; libcurl, blocking. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stddef.h>

#define PINNED_ANSWER_MAX (256U << 10)

struct pinned_http;

/* pin: 64 hex digits. Both are borrowed. */
int pinned_http_new(const char *url, const char *pin, struct pinned_http **ret, struct err *err);
void pinned_http_free(struct pinned_http *h);
void pinned_http_freep(struct pinned_http **h);

struct pinned_answer {
	long status;
	struct buf body; /* of the caller: buf_done() */
	char code[32];   /* of a problem (RFC 9457), "" = none */
	char detail[320];
};
void pinned_answer_done(struct pinned_answer *a);
/*
 * body NULL: GET. user and password NULL: none. -EIO no answer, -EKEYREJECTED another server than
 * the pinned one; any status is a success here.
 */
int pinned_http_ask(struct pinned_http *h, const char *path, const char *body, const char *type,
		    const char *user, const char *password, struct pinned_answer *ret,
		    struct err *err);
/* The pinned CA as PEM, once there was an answer; caller frees. */
int pinned_http_ca(const struct pinned_http *h, char **ret, struct err *err);
