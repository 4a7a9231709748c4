/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which handler a method and a path belong to. Paths are compared byte by byte as they came: there
 * is no unescaping, no "." or "..", no double slash, so there is one way to write each.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum route {
	ROUTE_CACERTS,
	ROUTE_ENROLL,
	ROUTE_REENROLL,
	ROUTE_COURIER_ENROLL,
	ROUTE_TRUST,
	ROUTE_TRUST_BUNDLE,
	ROUTE_HEAD,
	ROUTE_MANIFEST,
	ROUTE_BLOB,
	ROUTE_STATUS,
	ROUTE_LOGS,
	ROUTE_OP_STATUS,
	ROUTE_OP_NODES,
	ROUTE_OP_EVICT,
	ROUTE_OP_BAN,
	ROUTE_OP_UNBAN,
	ROUTE_OP_FORGET,
	ROUTE_OP_TOKEN,
	ROUTE_OP_PLACE,
	ROUTE_OP_BLOB,
	ROUTE_OP_PUBLISH,
	ROUTE_OP_EXPORT,
	ROUTE_OP_KEY,
	ROUTE_OP_QUARANTINE,
	ROUTE_OP_RELEASE,
	ROUTE_OP_REVOKE,
	ROUTE_OP_GRANT,
	ROUTE_OP_EVIDENCE,
	ROUTE_OP_OPERATORS,
	ROUTE_OP_OPERATOR_ADD,
	ROUTE_OP_OPERATOR_REVOKE,
	ROUTE_HEALTHZ,
	ROUTE_READYZ,
	ROUTE_METRICS,
	ROUTE_COUNT
};

/* Who may ask: the handler is not called for anybody else. */
enum route_need { ROUTE_ANYONE, ROUTE_NODE, ROUTE_OPERATOR, ROUTE_ADMIN };

#define ROUTE_ARG_MAX  96
#define ROUTE_PATH_MAX 256

struct route_info {
	const char *path; /* at most one "*": a segment that is the handler's argument */
	const char *name; /* in metrics */
	bool post;        /* else GET and HEAD */
	enum route_need need;
	size_t body_max;
};

struct route_match {
	enum route route;
	char arg[ROUTE_ARG_MAX]; /* [A-Za-z0-9._-]+, "" when the route has none */
};

enum route_result {
	ROUTE_FOUND,
	ROUTE_UNKNOWN,
	ROUTE_METHOD, /* the path exists, for another method */
};

/* admin: the paths of the admin listener, which are on no other. */
enum route_result route_find(const char *method, const char *path, bool admin,
			     struct route_match *ret);
const struct route_info *route_info(enum route route);
/* "GET, HEAD" or "POST". */
const char *route_allow(enum route route);
