/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The operator API: what `bailiwick-controller VERB` asks. JSON objects in, strictly decoded, JSON
 * objects out; bailiwick-controller(8) documents it. Each write has the operator's name from the
 * certificate in the audit log.
 */
#include "base/base64.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/csr.h"
#include "controller/exchange.h"
#include "controller/setup.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHO_TEXT_MAX      (NODE_NAME_MAX + 16)
#define TEXT_MAX          1024
#define PATH_MAX_TEXT     4096
#define ADDRESSES_MAX     VIEW_ADDRESSES_MAX
#define TOKEN_TEXT_MAX    256
#define TOKEN_TTL_DEFAULT 600
#define TOKEN_TTL_MAX     (365LL * 86400)
#define TOKEN_USES_MAX    1000000
#define SECONDS_MAX       (3650LL * 86400)
#define PEM_MAX           (16U << 10)
#define WHAT              "request"
#define OPERATOR_PATH     "/bailiwick/operator/"

struct order {
	struct exchange *x;
	struct core *core;
	const char *who;
	const struct svid *asks;
	struct json_object in;
	json_t *result;
	struct err *err;
};

/* Every order ends its reading here: an unknown member may be a misspelt one. */
static bool complete(struct order *o)
{
	return json_finish(&o->in) >= 0;
}

static int64_t optional_int(struct order *o, const char *key, int64_t min, int64_t max,
			    int64_t otherwise)
{
	if (json_object_get(o->in.object, key) == NULL)
		return otherwise;
	return json_take_int(&o->in, key, min, max);
}

static bool optional_true(struct order *o, const char *key)
{
	json_t *value = json_object_get(o->in.object, key);

	if (value == NULL)
		return false;
	if (!json_is_boolean(value))
		(void)json_fail(&o->in, key, "true or false would be right");
	else if (o->in.taken_count < ARRAY_LEN(o->in.taken))
		o->in.taken[o->in.taken_count++] = key;
	return json_is_true(value);
}

/* ---- nodes and tokens ---- */

static int order_nodes(struct order *o)
{
	o->result = core_node_list(o->core, o->err);
	return o->result == NULL ? -EIO : 0;
}

/* A poll that is parked is told at once, not at the end of its wait. */
static int node_result(struct order *o, int r, const char *what)
{
	if (r >= 0)
		(void)polls_wake(o->x->server->polls, o->x->match.arg);
	if (r >= 0)
		o->result = json_pack("{s:i, s:s, s:s}", "version", 1, "node", o->x->match.arg,
				      "state", what);
	return r;
}

static int order_evict(struct order *o)
{
	if (!complete(o))
		return o->in.r;
	return node_result(o, core_node_evict(o->core, o->x->match.arg, o->who, o->err), "evicted");
}

static int order_ban(struct order *o)
{
	bool ban = o->x->match.route == ROUTE_OP_BAN;

	if (!complete(o))
		return o->in.r;
	return node_result(o, core_node_ban(o->core, o->x->match.arg, ban, o->who, o->err),
			   ban ? "banned" : "not banned");
}

static int order_forget(struct order *o)
{
	const char *reason = json_take_string(&o->in, "reason", TEXT_MAX);
	int r;

	if (!complete(o))
		return o->in.r;
	r = core_node_forget(o->core, o->x->match.arg, reason, o->who, &o->result, o->err);
	if (r >= 0)
		(void)polls_wake(o->x->server->polls, o->x->match.arg);
	return r;
}

static json_t *policy_pins(struct order *o)
{
	json_t *trust = core_trust(o->core), *pins = json_array(), *pem;
	size_t i;

	json_array_foreach(json_object_get(json_object_get(trust, "policy"), "keys"), i, pem) {
		struct public_key key = {0};

		if (public_key_parse(json_string_value(pem), json_string_length(pem), "policy key",
				     &key, NULL) < 0)
			continue;
		(void)json_array_append_new(pins, json_string(key.id));
		public_key_done(&key);
	}
	json_decref(trust);
	return pins;
}

/* The line to paste on the host. */
static json_t *enroll_line(struct order *o, const char *token, const json_t *pins)
{
	CLEANUP(buf_done) struct buf b = {0};
	json_t *pin;
	size_t i;

	buf_init(&b, PATH_MAX_TEXT);
	buf_printf(&b, "bailiwick enroll --url %s --token %s --pin sha256:%s", o->x->server->url,
		   token, o->x->server->pin);
	json_array_foreach(pins, i, pin) {
		buf_printf(&b, " --policy-pin sha256:%s", json_string_value(pin));
	}
	return b.r < 0 ? NULL : json_string(b.data);
}

static int order_token(struct order *o)
{
	const char *node = json_take_string(&o->in, "node", NODE_NAME_MAX - 1);
	int64_t ttl = optional_int(o, "ttl_s", 1, TOKEN_TTL_MAX, TOKEN_TTL_DEFAULT);
	int64_t uses = optional_int(o, "uses", 1, TOKEN_USES_MAX, 1);
	char token[TOKEN_TEXT_MAX], expires[RFC3339_TEXT_MAX];
	struct wall end;
	json_t *pins;
	int r;

	if (!complete(o))
		return o->in.r;
	r = core_token_create(o->core, node, ttl, uses, o->who, token, sizeof(token), o->err);
	if (r < 0)
		return r;
	end.s = wall_now().s + ttl;
	pins = policy_pins(o);
	o->result = json_pack("{s:i, s:s, s:s, s:s, s:I, s:s, s:s+, s:o, s:o}", "version", 1,
			      "node", node, "token", token, "expires", rfc3339_format(expires, end),
			      "uses", (json_int_t)uses, "url", o->x->server->url, "pin",
			      "sha256:", o->x->server->pin, "command", enroll_line(o, token, pins),
			      "policy_pins", pins);
	return 0;
}

/* ---- mapping ---- */

static int order_place(struct order *o)
{
	const char *identity = json_take_string(&o->in, "identity", TEXT_MAX);
	const char *node = json_take_string(&o->in, "node", NODE_NAME_MAX - 1);
	json_t *list = json_may_array(&o->in, "addresses", ADDRESSES_MAX), *value;
	bool remove = optional_true(o, "remove");
	const char *addresses[ADDRESSES_MAX];
	size_t count = 0, i;

	json_array_foreach(list, i, value) {
		if (!json_is_string(value))
			return json_fail(&o->in, "addresses", "an address is a string");
		addresses[count++] = json_string_value(value);
	}
	if (!complete(o))
		return o->in.r;
	return core_place(o->core, identity, node, addresses, count, remove, o->who, &o->result,
			  o->err);
}

/* ---- policy ---- */

static int order_blob(struct order *o)
{
	const struct buf *body = &o->x->body;
	char digest[SHA256_HEX_LEN];
	int r = core_blob_put(o->core, body->data != NULL ? body->data : "", body->len, digest,
			      o->err);

	if (r >= 0)
		o->result = json_pack("{s:i, s:s}", "version", 1, "sha256", digest);
	return r;
}

static int order_publish(struct order *o)
{
	const struct buf *body = &o->x->body;

	return core_publish(o->core, body->data != NULL ? body->data : "", body->len, o->who,
			    &o->result, o->err);
}

static int order_export(struct order *o)
{
	const char *dir = json_take_string(&o->in, "directory", PATH_MAX_TEXT);

	if (server_export_of(o->x->server, o->x))
		return server_export_end(o->x->server, &o->result, o->err);
	if (!complete(o))
		return o->in.r;
	if (*dir != '/' || strstr(dir, "/../") != NULL || str_ends(dir, "/.."))
		return err_set(o->err, EINVAL,
			       "directory: an absolute path without '..' would be "
			       "right");
	return server_export_begin(o->x->server, o->x, dir, o->err);
}

static int64_t threshold_now(struct order *o)
{
	json_t *trust = core_trust(o->core);
	json_t *policy = json_object_get(trust, "policy");
	int64_t threshold = json_integer_value(json_object_get(policy, "threshold"));

	json_decref(trust);
	return threshold > 0 ? threshold : 1;
}

static int order_key(struct order *o)
{
	const char *pem = json_take_string(&o->in, "pem", PEM_MAX);
	int64_t threshold = optional_int(o, "threshold", 1, KEYRING_MAX, threshold_now(o));
	int r;

	if (!complete(o))
		return o->in.r;
	r = core_policy_key_add(o->core, pem, strlen(pem), (uint32_t)threshold, o->who, o->err);
	if (r >= 0)
		o->result = core_trust(o->core);
	return r;
}

/* ---- at once ---- */

static int order_quarantine(struct order *o)
{
	const char *identity = json_take_string(&o->in, "identity", TEXT_MAX);
	const char *keep = json_may_string(&o->in, "keep", TEXT_MAX);
	const char *reason = json_take_string(&o->in, "reason", TEXT_MAX);

	if (!complete(o))
		return o->in.r;
	return core_quarantine(o->core, identity, keep, reason, o->who, &o->result, o->err);
}

static int order_release(struct order *o)
{
	const char *identity = json_take_string(&o->in, "identity", TEXT_MAX);
	const char *reason = json_take_string(&o->in, "reason", TEXT_MAX);

	if (!complete(o))
		return o->in.r;
	return core_release(o->core, identity, reason, o->who, &o->result, o->err);
}

static int order_revoke(struct order *o)
{
	const char *kind = json_take_string(&o->in, "kind", TEXT_MAX);
	const char *name = json_take_string(&o->in, "name", TEXT_MAX);
	int64_t seconds = optional_int(o, "for_s", 1, SECONDS_MAX, 0);
	const char *reason = json_take_string(&o->in, "reason", TEXT_MAX);

	if (!complete(o))
		return o->in.r;
	return core_revoke(o->core, kind, name, seconds, reason, o->who, &o->result, o->err);
}

static int order_grant(struct order *o)
{
	const char *rule = json_take_string(&o->in, "rule", TEXT_MAX);
	const char *from = json_take_string(&o->in, "from", TEXT_MAX);
	const char *to = json_take_string(&o->in, "to", TEXT_MAX);
	int64_t seconds = json_take_int(&o->in, "for_s", 1, SECONDS_MAX);
	const char *reason = json_take_string(&o->in, "reason", TEXT_MAX);

	if (!complete(o))
		return o->in.r;
	return core_grant(o->core, rule, from, to, seconds, reason, o->who, &o->result, o->err);
}

/* ---- reading ---- */

static int order_status(struct order *o)
{
	o->result = core_fleet_status(o->core, o->err);
	return o->result == NULL ? -EIO : 0;
}

static int order_evidence(struct order *o)
{
	uint64_t action;

	if (text_u64(o->x->match.arg, 1, INT64_MAX, &action) < 0)
		return err_set(o->err, ENOENT, "'%s' is no number of an action", o->x->match.arg);
	o->result = core_evidence(o->core, (int64_t)action, o->err);
	return o->result == NULL ? -ENOENT : 0;
}

/* ---- operators ---- */

static int order_operators(struct order *o)
{
	o->result = core_operator_list(o->core, o->asks, o->err);
	return o->result == NULL ? -EIO : 0;
}

static int read_request(struct order *o, const char *text, struct public_key *ret)
{
	CLEANUP(freep) uint8_t *der = NULL;
	size_t len;
	int r = base64_decode_wrapped(text, strlen(text), CSR_MAX, &der, &len);

	if (r < 0)
		return err_set(o->err, EINVAL, "request: no PKCS#10 message in base64");
	r = csr_check(der, len, ret, o->err);
	/* Whoever asks is known; it is what they brought that is wrong. */
	return r == -EKEYREJECTED ? -EINVAL : r;
}

static int issue_operator(struct order *o, const struct public_key *key, X509 **ret)
{
	const char *name = o->x->match.arg;
	char path[ROUTE_ARG_MAX + sizeof(OPERATOR_PATH)];
	struct ca_leaf leaf = {
		.key = key->pkey, .path = path, .common_name = name, .life_s = CA_OPERATOR_TTL_S};
	int r;

	if (str_eq(name, SETUP_OPERATOR))
		return err_set(o->err, EEXIST,
			       "'" SETUP_OPERATOR "' is whoever is at the controller's machine; "
			       "another name would be right");
	r = core_operator_may(o->core, name, key->id, o->who, o->err);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), OPERATOR_PATH "%s", name);
	return ca_issue(o->x->server->ca, &leaf, wall_now(), ret, o->err);
}

static int pem_of(X509 *cert, char **ret, struct err *err)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	int r = chain == NULL || sk_X509_push(chain, cert) <= 0
			? err_set(err, ENOMEM, "out of memory")
			: svid_chain_pem(chain, ret, err);

	sk_X509_free(chain);
	return r;
}

/* The record comes last: one that was never handed out would stand in the way of the next try. */
static int hand_out(struct order *o, X509 *cert)
{
	CLEANUP(freep) char *leaf = NULL;
	CLEANUP(freep) char *root = NULL;
	char expires[RFC3339_TEXT_MAX];
	struct server *s = o->x->server;
	struct svid svid;
	int r = svid_read(cert, &svid, o->err);

	if (r >= 0)
		r = pem_of(cert, &leaf, o->err);
	if (r >= 0)
		r = pem_of(ca_root(s->ca), &root, o->err);
	if (r < 0)
		return r;
	o->result =
		json_pack("{s:i,s:s,s:s,s:s,s:s,s:s,s:s}", "version", 1, "operator", svid.name,
			  "serial", svid.serial, "expires", rfc3339_format(expires, svid.not_after),
			  "url", s->url, "certificate", leaf, "ca", root);
	if (o->result == NULL)
		return err_set(o->err, ENOMEM, "out of memory");
	r = core_operator_issued(o->core, &svid, o->who, o->err);
	if (r >= 0)
		log_info("operator %s made a certificate for operator %s", o->who, svid.name);
	return r;
}

static int order_operator_add(struct order *o)
{
	const char *request = json_take_string(&o->in, "request", CSR_MAX * 3 / 2);
	CLEANUP(public_key_done) struct public_key key = {0};
	X509 *cert;
	int r;

	if (!complete(o))
		return o->in.r;
	r = read_request(o, request, &key);
	if (r >= 0)
		r = issue_operator(o, &key, &cert);
	if (r < 0)
		return r;
	r = hand_out(o, cert);
	X509_free(cert);
	return r;
}

/* The pair in the data directory is replaced in the same breath: nobody there is shut out. */
static int order_operator_revoke(struct order *o)
{
	const char *reason = json_take_string(&o->in, "reason", TEXT_MAX);
	bool force = optional_true(o, "force");
	int r;

	if (!complete(o))
		return o->in.r;
	r = core_operator_revoke(o->core, o->x->match.arg, force, reason, o->who, &o->result,
				 o->err);
	if (r >= 0)
		(void)json_object_set_new(o->result, "renewed",
					  json_boolean(server_renew(o->x->server)));
	return r;
}

/* raw: the body is no object but the thing itself. */
static const struct {
	int (*run)(struct order *o);
	bool raw;
} orders[ROUTE_COUNT] = {
	[ROUTE_OP_STATUS] = {order_status, false},
	[ROUTE_OP_NODES] = {order_nodes, false},
	[ROUTE_OP_EVICT] = {order_evict, false},
	[ROUTE_OP_BAN] = {order_ban, false},
	[ROUTE_OP_UNBAN] = {order_ban, false},
	[ROUTE_OP_FORGET] = {order_forget, false},
	[ROUTE_OP_TOKEN] = {order_token, false},
	[ROUTE_OP_PLACE] = {order_place, false},
	[ROUTE_OP_BLOB] = {order_blob, true},
	[ROUTE_OP_PUBLISH] = {order_publish, true},
	[ROUTE_OP_EXPORT] = {order_export, false},
	[ROUTE_OP_KEY] = {order_key, false},
	[ROUTE_OP_QUARANTINE] = {order_quarantine, false},
	[ROUTE_OP_RELEASE] = {order_release, false},
	[ROUTE_OP_REVOKE] = {order_revoke, false},
	[ROUTE_OP_GRANT] = {order_grant, false},
	[ROUTE_OP_EVIDENCE] = {order_evidence, false},
	[ROUTE_OP_OPERATORS] = {order_operators, false},
	[ROUTE_OP_OPERATOR_ADD] = {order_operator_add, false},
	[ROUTE_OP_OPERATOR_REVOKE] = {order_operator_revoke, false},
};

static int read_object(struct order *o, json_t **ret)
{
	const struct buf *body = &o->x->body;
	json_t *object = NULL;
	int r;

	if (body->len == 0) {
		object = json_object();
		r = object == NULL ? err_set(o->err, ENOMEM, "out of memory") : 0;
	} else {
		r = json_parse_strict(body->data, body->len, WHAT, &object, o->err);
	}
	if (r < 0)
		return r;
	json_object_begin(&o->in, object, WHAT, "", o->err);
	*ret = object;
	return o->in.r;
}

enum MHD_Result handle_operator(struct exchange *x)
{
	char who[WHO_TEXT_MAX];
	struct err err = {{0}};
	struct svid svid;
	struct order o = {.x = x, .core = x->server->core, .who = who, .asks = &svid, .err = &err};
	json_t *object = NULL;
	int r = peer_get(x, &svid, &err);

	if (r >= 0) {
		(void)snprintf(who, sizeof(who), "%s", svid.name);
		if (x->info->post && !orders[x->match.route].raw)
			r = read_object(&o, &object);
	}
	if (r >= 0)
		r = orders[x->match.route].run(&o);
	json_decref(object);
	if (r < 0) {
		json_decref(o.result);
		return exchange_error(x, r, &err);
	}
	if (x->state == EXCHANGE_PARKED)
		return MHD_YES;
	return exchange_json(x, 200, o.result);
}
