/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/exchange.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A client that is refused gets to see why only when what it sends has been read: closing before
 * that makes its kernel throw the answer away. Larger bodies than this are not waited for.
 */
#define DISCARD_MAX (1U << 20)

static enum MHD_Result (*const handlers[ROUTE_COUNT])(struct exchange *x) = {
	[ROUTE_CACERTS] = handle_cacerts,
	[ROUTE_ENROLL] = handle_enroll,
	[ROUTE_REENROLL] = handle_reenroll,
	[ROUTE_COURIER_ENROLL] = handle_courier_enroll,
	[ROUTE_TRUST] = handle_trust,
	[ROUTE_TRUST_BUNDLE] = handle_trust_bundle,
	[ROUTE_HEAD] = handle_head,
	[ROUTE_MANIFEST] = handle_manifest,
	[ROUTE_BLOB] = handle_blob,
	[ROUTE_STATUS] = handle_status,
	[ROUTE_LOGS] = handle_logs,
	[ROUTE_OP_STATUS] = handle_operator,
	[ROUTE_OP_NODES] = handle_operator,
	[ROUTE_OP_EVICT] = handle_operator,
	[ROUTE_OP_BAN] = handle_operator,
	[ROUTE_OP_UNBAN] = handle_operator,
	[ROUTE_OP_FORGET] = handle_operator,
	[ROUTE_OP_TOKEN] = handle_operator,
	[ROUTE_OP_PLACE] = handle_operator,
	[ROUTE_OP_BLOB] = handle_operator,
	[ROUTE_OP_PUBLISH] = handle_operator,
	[ROUTE_OP_EXPORT] = handle_operator,
	[ROUTE_OP_KEY] = handle_operator,
	[ROUTE_OP_QUARANTINE] = handle_operator,
	[ROUTE_OP_RELEASE] = handle_operator,
	[ROUTE_OP_REVOKE] = handle_operator,
	[ROUTE_OP_GRANT] = handle_operator,
	[ROUTE_OP_EVIDENCE] = handle_operator,
	[ROUTE_OP_OPERATORS] = handle_operator,
	[ROUTE_OP_OPERATOR_ADD] = handle_operator,
	[ROUTE_OP_OPERATOR_REVOKE] = handle_operator,
	[ROUTE_HEALTHZ] = handle_admin,
	[ROUTE_READYZ] = handle_admin,
	[ROUTE_METRICS] = handle_admin,
};

const char *exchange_header(const struct exchange *x, const char *name)
{
	return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

struct exchange *exchange_of_waiter(struct waiter *w)
{
	return (struct exchange *)((char *)w - offsetof(struct exchange, waiter));
}

/* ---- refusals: known at the first step, given when the client is ready to read them ---- */

struct refusal {
	struct problem_kind kind;
	unsigned retry_s;
	struct err detail;
};

__attribute__((format(printf, 5, 6))) static void refuse(struct exchange *x, unsigned status,
							 const char *code, unsigned retry_s,
							 const char *fmt, ...)
{
	struct refusal *refusal = mem_calloc(1, sizeof(*refusal));
	va_list ap;

	x->refused = true;
	x->refusal = refusal;
	if (refusal == NULL)
		return;
	refusal->kind = (struct problem_kind){status, code};
	refusal->retry_s = retry_s;
	va_start(ap, fmt);
	(void)vsnprintf(refusal->detail.text, sizeof(refusal->detail.text), fmt, ap);
	va_end(ap);
}

static enum MHD_Result give_refusal(struct exchange *x)
{
	const struct refusal *refusal = x->refusal;

	if (refusal == NULL)
		return MHD_NO;
	return exchange_later(x, refusal->kind.status, refusal->kind.code, refusal->retry_s, "%s",
			      refusal->detail.text);
}

static void refuse_peer(struct exchange *x, int r, const struct err *err)
{
	struct problem_kind kind = problem_of_error(r);

	if (r == -ENOENT)
		kind = (struct problem_kind){401, "no_certificate"};
	else if (r == -ETIME)
		kind = (struct problem_kind){401, "expired_certificate"};
	else if (kind.status != 403 && kind.status < 500)
		kind = (struct problem_kind){401, "bad_certificate"};
	refuse(x, kind.status, kind.code, kind.status >= 500, "%s", err->text);
}

static void authorize(struct exchange *x)
{
	enum route_need need = x->info->need;
	struct err err = {{0}};
	struct svid svid;
	int r;

	if (need == ROUTE_ANYONE || need == ROUTE_ADMIN)
		return;
	r = peer_get(x, &svid, &err);
	if (r < 0)
		refuse_peer(x, r, &err);
	else if (need == ROUTE_NODE && svid.role != SVID_NODE && svid.role != SVID_COURIER)
		refuse(x, 403, "forbidden", 0,
		       "this is for nodes and their couriers; %.256s is neither", svid.id);
	else if (need == ROUTE_OPERATOR && svid.role != SVID_OPERATOR)
		refuse(x, 403, "forbidden", 0, "this is for operators; %.256s is none", svid.id);
}

static bool declares_more_than(const struct exchange *x, uint64_t max)
{
	const char *length = exchange_header(x, "Content-Length");
	uint64_t n;

	return length != NULL && text_u64(length, 0, max, &n) == -ERANGE;
}

/* Nodes never take the room that an operator's order needs. */
static bool no_room(const struct exchange *x, size_t size)
{
	size_t max =
		x->info->need == ROUTE_OPERATOR ? SERVER_BODIES_MAX : SERVER_BODIES_MAX / 4 * 3;

	return x->server->body_bytes + size > max;
}

/* What can be said from the headers: x->refused, or whose handler it is. */
static void judge(struct listener *l, struct exchange *x, const char *url, const char *method)
{
	switch (route_find(method, url, l->admin, &x->match)) {
	case ROUTE_UNKNOWN:
		refuse(x, 404, "not_found", 0, "there is nothing at this path");
		return;
	case ROUTE_METHOD:
		refuse(x, 405, "method", 0, "%s is right here", route_allow(x->match.route));
		return;
	case ROUTE_FOUND:
		break;
	}
	x->info = route_info(x->match.route);
	x->server->counters.by_route[x->match.route]++;
	if (x->server->stopping)
		refuse(x, 503, "stopping", 1, "this server is going down");
	else if (declares_more_than(x, x->info->body_max))
		refuse(x, 413, "too_large", 0, "at most %zu bytes are taken here",
		       x->info->body_max);
	else if (x->info->post && no_room(x, 1))
		refuse(x, 503, "busy", 1, "too many requests are under way");
	else
		authorize(x);
}

/* libmicrohttpd takes an answer before the body or behind it, and closes in the first case. */
static bool reads_body(const struct exchange *x)
{
	return !declares_more_than(x, DISCARD_MAX);
}

static enum MHD_Result first_step(struct listener *l, struct MHD_Connection *connection,
				  const char *url, const char *method, void **context)
{
	struct conn *conn = conn_of(connection);
	struct exchange *x = conn == NULL ? NULL : mem_calloc(1, sizeof(*x));

	if (x == NULL)
		return MHD_NO;
	x->server = l->server;
	x->conn = conn;
	x->connection = connection;
	*context = x;
	conn->due_s = server_seconds() + SERVER_BODY_S;
	judge(l, x, url, method);
	if (x->refused)
		return reads_body(x) ? MHD_YES : give_refusal(x);
	buf_init(&x->body, x->info->body_max);
	return MHD_YES;
}

/* ---- body, last step ---- */

static void drop_body(struct exchange *x)
{
	x->server->body_bytes -= x->body_bytes;
	x->body_bytes = 0;
	buf_done(&x->body);
	buf_init(&x->body, 0);
}

static enum MHD_Result take_body(struct exchange *x, const char *upload, size_t size)
{
	if (!x->refused && size > x->info->body_max - x->body.len)
		refuse(x, 413, "too_large", 0, "at most %zu bytes are taken here",
		       x->info->body_max);
	/* Bodies that all began in time grow together. */
	if (!x->refused && no_room(x, size)) {
		drop_body(x);
		refuse(x, 503, "busy", 1, "too many requests are under way");
	}
	if (x->refused) {
		x->discarded += size;
		return x->discarded > DISCARD_MAX ? MHD_NO : MHD_YES;
	}
	buf_add(&x->body, upload, size);
	x->server->body_bytes += size;
	x->body_bytes += size;
	return MHD_YES;
}

static enum MHD_Result last_step(struct exchange *x)
{
	enum MHD_Result result;

	if (x->refused)
		return give_refusal(x);
	if (x->body.r < 0)
		return exchange_later(x, 503, "out_of_memory", 1, "out of memory");
	result = handlers[x->match.route](x);
	if (x->state == EXCHANGE_ANSWERED)
		drop_body(x);
	return result;
}

enum MHD_Result exchange_access(void *user, struct MHD_Connection *connection, const char *url,
				const char *method, const char *version, const char *upload,
				size_t *upload_size, void **context)
{
	struct listener *l = user;
	struct exchange *x = *context;

	(void)version;
	if (x == NULL)
		return first_step(l, connection, url, method, context);
	if (*upload_size > 0) {
		size_t size = *upload_size;

		*upload_size = 0;
		return take_body(x, upload, size);
	}
	return x->state == EXCHANGE_ANSWERED ? MHD_YES : last_step(x);
}

/* Slots are few: whoever has shown no certificate does not keep one between requests. */
static int64_t idle_s(const struct exchange *x)
{
	bool known = x->conn->peer != NULL || (x->info != NULL && x->info->need == ROUTE_ADMIN);

	return known ? SERVER_IDLE_S : SERVER_HEADERS_S;
}

void exchange_completed(void *user, struct MHD_Connection *connection, void **context,
			enum MHD_RequestTerminationCode how)
{
	struct exchange *x = *context;

	(void)user;
	(void)connection;
	(void)how;
	if (x == NULL)
		return;
	polls_remove(x->server->polls, &x->waiter);
	if (server_export_of(x->server, x))
		server_export_drop(x->server);
	x->conn->due_s = server_seconds() + idle_s(x);
	drop_body(x);
	buf_done(&x->body);
	free(x->refusal);
	free(x);
	*context = NULL;
}
