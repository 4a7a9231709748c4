/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/route.h"

#include "base/mem.h"
#include "base/text.h"
#include "controller-client/csr.h"
#include "controller-client/dsse.h"
#include "controller-client/manifest.h"

#include <string.h>

#define STATUS_BODY_MAX   (256U << 10)
#define LOGS_BODY_MAX     (1U << 20) /* compressed */
#define OPERATOR_BODY_MAX (64U << 10)
/* Base64 of a request of CSR_MAX bytes, and line ends. */
#define CSR_BODY_MAX (CSR_MAX * 3 / 2)

#define EST "/.well-known/est/"
#define OP  "/v1/operator/"

static const struct route_info routes[ROUTE_COUNT] = {
	[ROUTE_CACERTS] = {EST "cacerts", "cacerts", false, ROUTE_ANYONE, 0},
	[ROUTE_ENROLL] = {EST "simpleenroll", "simpleenroll", true, ROUTE_ANYONE, CSR_BODY_MAX},
	[ROUTE_REENROLL] = {EST "simplereenroll", "simplereenroll", true, ROUTE_NODE, CSR_BODY_MAX},
	[ROUTE_COURIER_ENROLL] = {EST "courier/simpleenroll", "courier", true, ROUTE_ANYONE,
				  CSR_BODY_MAX},
	[ROUTE_TRUST] = {"/v1/trust", "trust", false, ROUTE_ANYONE, 0},
	[ROUTE_TRUST_BUNDLE] = {"/v1/trust-bundle", "trust_bundle", false, ROUTE_ANYONE, 0},
	[ROUTE_HEAD] = {"/v1/head", "head", false, ROUTE_NODE, 0},
	[ROUTE_MANIFEST] = {"/v1/manifests/*", "manifest", false, ROUTE_NODE, 0},
	[ROUTE_BLOB] = {"/v1/blobs/sha256/*", "blob", false, ROUTE_NODE, 0},
	[ROUTE_STATUS] = {"/v1/status", "status", true, ROUTE_NODE, STATUS_BODY_MAX},
	[ROUTE_LOGS] = {"/v1/logs", "logs", true, ROUTE_NODE, LOGS_BODY_MAX},
	[ROUTE_OP_STATUS] = {OP "status", "op_status", false, ROUTE_OPERATOR, 0},
	[ROUTE_OP_NODES] = {OP "nodes", "op_nodes", false, ROUTE_OPERATOR, 0},
	[ROUTE_OP_EVICT] = {OP "nodes/*/evict", "op_evict", true, ROUTE_OPERATOR,
			    OPERATOR_BODY_MAX},
	[ROUTE_OP_BAN] = {OP "nodes/*/ban", "op_ban", true, ROUTE_OPERATOR, OPERATOR_BODY_MAX},
	[ROUTE_OP_UNBAN] = {OP "nodes/*/unban", "op_unban", true, ROUTE_OPERATOR,
			    OPERATOR_BODY_MAX},
	[ROUTE_OP_FORGET] = {OP "nodes/*/forget", "op_forget", true, ROUTE_OPERATOR,
			     OPERATOR_BODY_MAX},
	[ROUTE_OP_TOKEN] = {OP "tokens", "op_token", true, ROUTE_OPERATOR, OPERATOR_BODY_MAX},
	[ROUTE_OP_PLACE] = {OP "place", "op_place", true, ROUTE_OPERATOR, OPERATOR_BODY_MAX},
	[ROUTE_OP_BLOB] = {OP "blobs", "op_blob", true, ROUTE_OPERATOR, MANIFEST_BLOB_SIZE_MAX},
	[ROUTE_OP_PUBLISH] = {OP "publish", "op_publish", true, ROUTE_OPERATOR, DSSE_ENVELOPE_MAX},
	[ROUTE_OP_EXPORT] = {OP "export", "op_export", true, ROUTE_OPERATOR, OPERATOR_BODY_MAX},
	[ROUTE_OP_KEY] = {OP "policy-keys", "op_key", true, ROUTE_OPERATOR, OPERATOR_BODY_MAX},
	[ROUTE_OP_QUARANTINE] = {OP "quarantine", "op_quarantine", true, ROUTE_OPERATOR,
				 OPERATOR_BODY_MAX},
	[ROUTE_OP_RELEASE] = {OP "release", "op_release", true, ROUTE_OPERATOR, OPERATOR_BODY_MAX},
	[ROUTE_OP_REVOKE] = {OP "revoke", "op_revoke", true, ROUTE_OPERATOR, OPERATOR_BODY_MAX},
	[ROUTE_OP_GRANT] = {OP "grant", "op_grant", true, ROUTE_OPERATOR, OPERATOR_BODY_MAX},
	[ROUTE_OP_EVIDENCE] = {OP "evidence/*", "op_evidence", false, ROUTE_OPERATOR, 0},
	[ROUTE_OP_OPERATORS] = {OP "operators", "op_operators", false, ROUTE_OPERATOR, 0},
	[ROUTE_OP_OPERATOR_ADD] = {OP "operators/*/add", "op_operator_add", true, ROUTE_OPERATOR,
				   OPERATOR_BODY_MAX},
	[ROUTE_OP_OPERATOR_REVOKE] = {OP "operators/*/revoke", "op_operator_revoke", true,
				      ROUTE_OPERATOR, OPERATOR_BODY_MAX},
	[ROUTE_HEALTHZ] = {"/healthz", "healthz", false, ROUTE_ADMIN, 0},
	[ROUTE_READYZ] = {"/readyz", "readyz", false, ROUTE_ADMIN, 0},
	[ROUTE_METRICS] = {"/metrics", "metrics", false, ROUTE_ADMIN, 0},
};

static bool arg_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

static bool path_matches(const char *pattern, const char *path, char arg[ROUTE_ARG_MAX])
{
	size_t len = 0;

	arg[0] = '\0';
	for (; *pattern != '\0' && *pattern != '*'; pattern++, path++) {
		if (*pattern != *path)
			return false;
	}
	if (*pattern == '\0')
		return *path == '\0';
	while (arg_char(path[len]) && len < ROUTE_ARG_MAX - 1) {
		arg[len] = path[len];
		len++;
	}
	arg[len] = '\0';
	return len > 0 && str_eq(pattern + 1, path + len);
}

static bool method_fits(const struct route_info *info, const char *method)
{
	if (info->post)
		return str_eq(method, "POST");
	return str_eq(method, "GET") || str_eq(method, "HEAD");
}

enum route_result route_find(const char *method, const char *path, bool admin,
			     struct route_match *ret)
{
	char arg[ROUTE_ARG_MAX];

	for (size_t i = 0; i < ROUTE_COUNT; i++) {
		const struct route_info *info = &routes[i];

		if ((info->need == ROUTE_ADMIN) != admin || !path_matches(info->path, path, arg))
			continue;
		ret->route = (enum route)i;
		memcpy(ret->arg, arg, sizeof(arg));
		return method_fits(info, method) ? ROUTE_FOUND : ROUTE_METHOD;
	}
	return ROUTE_UNKNOWN;
}

const struct route_info *route_info(enum route route)
{
	return &routes[route];
}

const char *route_allow(enum route route)
{
	return routes[route].post ? "POST" : "GET, HEAD";
}
