/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One request and its answer. libmicrohttpd calls exchange_access() for each step: headers are
 * there, a piece of the body is there, all of it is there, the parked request was resumed. Who may
 * ask is settled at the first step, before any of the body is read.
 *
 * Handlers end in exactly one exchange_* answer, or park.
 */
#pragma once

#include "base/buf.h"
#include "controller/server.h"

#include <jansson.h>

enum exchange_state {
	EXCHANGE_READING,
	EXCHANGE_PARKED,
	EXCHANGE_WOKEN, /* resumed, the handler is called again */
	EXCHANGE_ANSWERED,
};

struct refusal;
struct exchange {
	struct server *server;
	struct conn *conn;
	struct MHD_Connection *connection;
	const struct route_info *info; /* NULL: no such route */
	struct route_match match;
	enum exchange_state state;
	bool refused;
	struct refusal *refusal; /* given when the body has come; NULL: out of memory */
	struct buf body;
	size_t body_bytes; /* of it counted in server.body_bytes */
	size_t discarded;
	struct waiter waiter; /* of polls.h */
};

enum MHD_Result exchange_access(void *user, struct MHD_Connection *connection, const char *url,
				const char *method, const char *version, const char *upload,
				size_t *upload_size, void **context);
void exchange_completed(void *user, struct MHD_Connection *connection, void **context,
			enum MHD_RequestTerminationCode how);
struct exchange *exchange_of_waiter(struct waiter *w);

/* A header of the request, or NULL. */
const char *exchange_header(const struct exchange *x, const char *name);

/* ---- answers ---- */

struct answer_header {
	const char *name, *value;
};

/* Bytes that free() frees; taken also on failure. headers ends with a NULL name; may be NULL. */
enum MHD_Result exchange_bytes(struct exchange *x, unsigned status, const char *type,
			       char *take_bytes, size_t len, const struct answer_header *headers);
enum MHD_Result exchange_empty(struct exchange *x, unsigned status,
			       const struct answer_header *headers);
/* Steals the reference. */
enum MHD_Result exchange_json(struct exchange *x, unsigned status, json_t *take);
/* Immutable content with its digest as entity tag: Range, If-None-Match, shared between clients. */
enum MHD_Result exchange_immutable(struct exchange *x, const char *type, char *take_bytes,
				   size_t len, const char *etag);
/* RFC 9457. code is stable: for programs. */
enum MHD_Result exchange_problem(struct exchange *x, unsigned status, const char *code,
				 const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* The same with Retry-After. */
enum MHD_Result exchange_later(struct exchange *x, unsigned status, const char *code,
			       unsigned seconds, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
/* An error of core.h. */
enum MHD_Result exchange_error(struct exchange *x, int r, const struct err *err);

struct problem_kind {
	unsigned status;
	const char *code;
};
struct problem_kind problem_of_error(int r);
const char *problem_title(unsigned status);
/* The document; caller frees; NULL when out of memory. */
char *problem_text(unsigned status, const char *code, const char *detail);

/* ---- handlers, by file ---- */

/* est.c */
enum MHD_Result handle_cacerts(struct exchange *x);
enum MHD_Result handle_enroll(struct exchange *x);
enum MHD_Result handle_reenroll(struct exchange *x);
enum MHD_Result handle_courier_enroll(struct exchange *x);
/* node_routes.c */
enum MHD_Result handle_trust(struct exchange *x);
enum MHD_Result handle_trust_bundle(struct exchange *x);
enum MHD_Result handle_head(struct exchange *x);
enum MHD_Result handle_manifest(struct exchange *x);
enum MHD_Result handle_blob(struct exchange *x);
enum MHD_Result handle_status(struct exchange *x);
enum MHD_Result handle_logs(struct exchange *x);
/* operator.c */
enum MHD_Result handle_operator(struct exchange *x);
/* health.c */
enum MHD_Result handle_admin(struct exchange *x);

/* answer_cache.c: answers that many clients get, kept once. */
struct shared_answers *shared_answers_new(void);
void shared_answers_free(struct shared_answers *s);
/* The response kept under this tag, or NULL; borrowed. */
struct MHD_Response *shared_answers_find(struct shared_answers *s, const char *tag);
/* Keeps it (a reference of the caller's becomes the table's). */
void shared_answers_put(struct shared_answers *s, const char *tag, size_t len,
			struct MHD_Response *take);

/* peer.c: who is asking; checked against the core each time. */
int peer_get(struct exchange *x, struct svid *ret, struct err *err);
/* Roots that may vouch for nodes: our own, then those of --node-ca. Calls until one succeeds. */
int peer_roots_try(const struct server *s,
		   int (*attempt)(void *user, struct stack_st_X509 *roots, struct err *err),
		   void *user, bool *ret_own, struct err *err);
