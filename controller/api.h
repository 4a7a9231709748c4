/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The verbs' end of the operator API: HTTPS by libcurl, with the operator's certificate. Bounded in
 * time and size, no redirects. On the controller's own machine the address it listens on is used
 * whatever its name resolves to; its certificate is checked all the same.
 */
#pragma once

#include "base/err.h"
#include "controller/command.h"

#include <jansson.h>
#include <stddef.h>

#define API_REPLY_MAX     (512U << 20)
#define API_CONNECT_MS    5000
#define API_TIMEOUT_MS    300000
#define API_ENDPOINT_MAX  1024
#define API_CONTENT_JSON  "application/json"
#define API_CONTENT_BYTES "application/octet-stream"

struct api; /* opaque */

int api_open(const struct console *c, struct api **ret, struct err *err);
void api_free(struct api *a);
void api_freep(struct api **a);

/*
 * body NULL: GET. The error is the server's own words where it has answered; -ECONNREFUSED and the
 * like where it has not.
 */
int api_send(struct api *a, const char *path, const void *body, size_t len, const char *type,
	     json_t **ret, struct err *err);
/* HTTP status of the last answer; 0 when there was none, or nothing was asked (api NULL). */
long api_status(const struct api *api);
int api_get(struct api *a, const char *path, json_t **ret, struct err *err);
/* Borrows body; NULL is an empty object. */
int api_post(struct api *a, const char *path, const json_t *body, json_t **ret, struct err *err);
