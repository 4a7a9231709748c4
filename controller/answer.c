/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/exchange.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Copies of a smaller answer cost less than looking for one that is kept. */
#define SHARED_SIZE_MIN 4096
/*
 * Heads and other small answers go out whatever is under way: one node that fetches slowly must not
 * keep the news from all the others. What they add up to is bounded by connections.
 */
#define SMALL_SIZE_MAX  (64U << 10)
#define NUMBER_TEXT_MAX 24
#define RANGE_TEXT_MAX  80
#define RETRY_STORE_S   2
#define RETRY_SHARE_S   10
#define PROBLEM_TYPE    "application/problem+json"

/* ---- memory of answers under way ---- */

struct sent {
	struct server *server;
	char *bytes;
	size_t len;
};

static void sent_free(void *user)
{
	struct sent *sent = user;

	sent->server->answer_bytes -= sent->len;
	free(sent->bytes);
	free(sent);
}

static bool too_much(const struct exchange *x, size_t len)
{
	return len > SMALL_SIZE_MAX && x->info->need != ROUTE_OPERATOR &&
	       x->server->answer_bytes + len > SERVER_ANSWERS_MAX;
}

/* Takes the bytes; NULL when out of memory. */
static struct MHD_Response *response_of(struct server *s, char *take_bytes, size_t len)
{
	struct sent *sent = mem_calloc(1, sizeof(*sent));
	struct MHD_Response *response;

	if (sent == NULL) {
		free(take_bytes);
		return NULL;
	}
	*sent = (struct sent){.server = s, .bytes = take_bytes, .len = len};
	s->answer_bytes += len;
	response = MHD_create_response_from_buffer_with_free_callback_cls(len, take_bytes,
									  sent_free, sent);
	if (response == NULL)
		sent_free(sent);
	return response;
}

/* ---- sending ---- */

static bool add_header(struct MHD_Response *response, const char *name, const char *value)
{
	return MHD_add_response_header(response, name, value) == MHD_YES;
}

static bool add_headers(struct MHD_Response *response, const struct answer_header *headers)
{
	for (; headers != NULL && headers->name != NULL; headers++) {
		if (headers->value != NULL && !add_header(response, headers->name, headers->value))
			return false;
	}
	return true;
}

/* Borrows the response. Without one the connection is closed: there is nothing left to say. */
static enum MHD_Result send_response(struct exchange *x, unsigned status,
				     struct MHD_Response *response)
{
	struct server *s = x->server;
	enum MHD_Result result;

	if (response == NULL)
		return MHD_NO;
	result = MHD_queue_response(x->connection, status, response);
	if (result != MHD_YES)
		return result;
	x->state = EXCHANGE_ANSWERED;
	x->conn->due_s = server_seconds() + SERVER_ANSWER_S;
	if (status / 100 < ARRAY_LEN(s->counters.answers))
		s->counters.answers[status / 100]++;
	return MHD_YES;
}

static enum MHD_Result send_once(struct exchange *x, unsigned status, struct MHD_Response *take,
				 const struct answer_header *headers)
{
	enum MHD_Result result = MHD_NO;

	if (take == NULL)
		return MHD_NO;
	if (add_headers(take, headers))
		result = send_response(x, status, take);
	MHD_destroy_response(take);
	return result;
}

enum MHD_Result exchange_bytes(struct exchange *x, unsigned status, const char *type,
			       char *take_bytes, size_t len, const struct answer_header *headers)
{
	struct MHD_Response *response;

	if (status < 300 && too_much(x, len)) {
		free(take_bytes);
		return exchange_later(x, 503, "busy", 1, "too many answers are under way");
	}
	response = response_of(x->server, take_bytes, len);
	if (response != NULL && !add_header(response, "Content-Type", type)) {
		MHD_destroy_response(response);
		return MHD_NO;
	}
	return send_once(x, status, response, headers);
}

enum MHD_Result exchange_empty(struct exchange *x, unsigned status,
			       const struct answer_header *headers)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);

	return send_once(x, status, response, headers);
}

enum MHD_Result exchange_json(struct exchange *x, unsigned status, json_t *take)
{
	static const struct answer_header headers[] = {{"Cache-Control", "no-store"}, {NULL, NULL}};
	char *text = take == NULL ? NULL : json_text(take, NULL);

	json_decref(take);
	if (text == NULL)
		return exchange_later(x, 503, "out_of_memory", RETRY_STORE_S, "out of memory");
	return exchange_bytes(x, status, "application/json", text, strlen(text), headers);
}

/* ---- immutable content ---- */

static enum MHD_Result send_part(struct exchange *x, const char *type, char *take_bytes,
				 size_t whole, uint64_t first, uint64_t len,
				 const struct answer_header *common)
{
	char range[RANGE_TEXT_MAX];
	struct answer_header headers[] = {
		common[0], common[1], common[2], {"Content-Range", range}, {NULL, NULL}};

	(void)snprintf(range, sizeof(range), "bytes %" PRIu64 "-%" PRIu64 "/%zu", first,
		       first + len - 1, whole);
	memmove(take_bytes, take_bytes + first, (size_t)len);
	return exchange_bytes(x, 206, type, take_bytes, (size_t)len, headers);
}

/* Many clients fetch the same policy at the same time: one copy serves them all. */
static enum MHD_Result send_shared(struct exchange *x, const char *type, char *take_bytes,
				   size_t len, const char *etag,
				   const struct answer_header *headers)
{
	struct shared_answers *shared = x->server->shared;
	struct MHD_Response *response = shared_answers_find(shared, etag);

	if (response != NULL) {
		free(take_bytes);
		return send_response(x, 200, response);
	}
	if (too_much(x, len)) {
		free(take_bytes);
		return exchange_later(x, 503, "busy", 1, "too many answers are under way");
	}
	response = response_of(x->server, take_bytes, len);
	if (response == NULL)
		return MHD_NO;
	if (!add_header(response, "Content-Type", type) || !add_headers(response, headers)) {
		MHD_destroy_response(response);
		return MHD_NO;
	}
	shared_answers_put(shared, etag, len, response);
	return send_response(x, 200, response);
}

enum MHD_Result exchange_immutable(struct exchange *x, const char *type, char *take_bytes,
				   size_t len, const char *etag)
{
	const struct answer_header headers[] = {
		{"ETag", etag},
		{"Cache-Control", "private, max-age=31536000, immutable"},
		{"Accept-Ranges", "bytes"},
		{NULL, NULL}};
	const char *if_range = exchange_header(x, "If-Range");
	const char *range = exchange_header(x, "Range");
	uint64_t first = 0, part = 0;

	if (http_etag_matches(exchange_header(x, "If-None-Match"), etag)) {
		free(take_bytes);
		return exchange_empty(x, 304, headers);
	}
	if (if_range != NULL && !str_eq(if_range, etag))
		range = NULL;
	switch (http_range(range, len, &first, &part)) {
	case HTTP_RANGE_PART:
		return send_part(x, type, take_bytes, len, first, part, headers);
	case HTTP_RANGE_OUTSIDE:
		free(take_bytes);
		return exchange_problem(x, 416, "range", "the content has %zu bytes", len);
	case HTTP_RANGE_NONE:
		break;
	}
	if (len >= SHARED_SIZE_MIN)
		return send_shared(x, type, take_bytes, len, etag, headers);
	return exchange_bytes(x, 200, type, take_bytes, len, headers);
}

/* ---- problems ---- */

static enum MHD_Result send_problem(struct exchange *x, unsigned status, const char *code,
				    unsigned retry_s, const char *detail)
{
	char retry[NUMBER_TEXT_MAX];
	const struct answer_header headers[] = {
		{"Cache-Control", "no-store"},
		{"Retry-After", retry_s > 0 ? retry : NULL},
		{"Allow", status == 405 ? route_allow(x->match.route) : NULL},
		{"WWW-Authenticate",
		 str_eq(code, "unauthorized") ? "Basic realm=\"enrolment\"" : NULL},
		{NULL, NULL}};
	char *text = problem_text(status, code, detail);

	(void)snprintf(retry, sizeof(retry), "%u", retry_s);
	if (text == NULL)
		return exchange_empty(x, status, headers);
	return exchange_bytes(x, status, PROBLEM_TYPE, text, strlen(text), headers);
}

enum MHD_Result exchange_problem(struct exchange *x, unsigned status, const char *code,
				 const char *fmt, ...)
{
	struct err detail = {{0}};
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(detail.text, sizeof(detail.text), fmt, ap);
	va_end(ap);
	return send_problem(x, status, code, 0, detail.text);
}

enum MHD_Result exchange_later(struct exchange *x, unsigned status, const char *code,
			       unsigned seconds, const char *fmt, ...)
{
	struct err detail = {{0}};
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(detail.text, sizeof(detail.text), fmt, ap);
	va_end(ap);
	return send_problem(x, status, code, seconds, detail.text);
}

enum MHD_Result exchange_error(struct exchange *x, int r, const struct err *err)
{
	struct problem_kind kind = problem_of_error(r);

	if (kind.status == 429)
		return exchange_later(x, kind.status, kind.code, RETRY_SHARE_S, "%s", err->text);
	if (kind.status < 500)
		return exchange_problem(x, kind.status, kind.code, "%s", err->text);
	x->server->counters.store_failures++;
	/* Thousands of clients may meet the same failure: one line a second. */
	if (x->server->store_failed_s != server_seconds())
		log_error("%s: %s; the client is told to come back", x->info->name, err->text);
	x->server->store_failed_s = server_seconds();
	/* Where the database lies is nobody's business but the operators'. */
	return exchange_later(x, kind.status, kind.code, RETRY_STORE_S, "%s",
			      x->info->need == ROUTE_OPERATOR ? err->text
							      : "the controller's store failed; "
								"nothing was changed");
}
