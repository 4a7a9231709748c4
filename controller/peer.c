/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/mem.h"
#include "base/text.h"
#include "controller/exchange.h"
#include "controller/tls.h"

#include <errno.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int peer_roots_try(const struct server *s,
		   int (*attempt)(void *user, struct stack_st_X509 *roots, struct err *err),
		   void *user, bool *ret_own, struct err *err)
{
	struct err other = {{0}};
	int r = attempt(user, ca_roots(s->ca), err);

	*ret_own = true;
	if (r >= 0 || s->node_roots == NULL || r == -ENOMEM)
		return r;
	if (attempt(user, s->node_roots, &other) < 0)
		return r;
	*ret_own = false;
	return 0;
}

struct verification {
	X509 *leaf;
	STACK_OF(X509) * rest;
	const char *trust_domain;
	struct svid svid;
};

static int verify(void *user, struct stack_st_X509 *roots, struct err *err)
{
	struct verification *v = user;

	return svid_verify(v->leaf, v->rest, roots, v->trust_domain, wall_now(), &v->svid, err);
}

/* Another PKI may speak for nodes, and for nobody else: not for operators, not for couriers. */
static int check_issuer(const struct svid *s, bool own, struct err *err)
{
	if (own || s->role == SVID_NODE)
		return 0;
	return err_set(err, EKEYREJECTED, "%.256s: the roots of --node-ca may name nodes only",
		       s->id);
}

static int identify(struct exchange *x, struct svid *ret, bool *ret_own, struct err *err)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	struct verification v = {.trust_domain = core_trust_domain(x->server->core)};
	int r;

	if (info == NULL || info->tls_session == NULL)
		return err_set(err, ENOENT, "no TLS on this connection");
	r = tls_peer((gnutls_session_t)info->tls_session, &v.leaf, &v.rest, err);
	if (r < 0)
		return r;
	r = peer_roots_try(x->server, verify, &v, ret_own, err);
	X509_free(v.leaf);
	svid_chain_free(v.rest);
	if (r >= 0)
		r = check_issuer(&v.svid, *ret_own, err);
	if (r >= 0)
		*ret = v.svid;
	return r;
}

/* struct svid has room for the longest SPIFFE ID; thousands of them would be kept. */
static struct peer *peer_new(const struct svid *s, bool own)
{
	struct peer *p = mem_calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->role = s->role;
	p->not_before = s->not_before;
	p->not_after = s->not_after;
	p->own = own;
	memcpy(p->name, s->name, sizeof(p->name));
	memcpy(p->serial, s->serial, sizeof(p->serial));
	memcpy(p->key_id, s->key_id, sizeof(p->key_id));
	return p;
}

static void peer_svid(const struct server *s, const struct peer *p, struct svid *ret)
{
	static const char *const roles[] = {
		[SVID_OTHER] = "other",           [SVID_NODE] = "node",
		[SVID_COURIER] = "courier",       [SVID_OPERATOR] = "operator",
		[SVID_CONTROLLER] = "controller",
	};
	const char *trust_domain = core_trust_domain(s->core);

	*ret = (struct svid){
		.role = p->role, .not_before = p->not_before, .not_after = p->not_after};
	(void)snprintf(ret->trust_domain, sizeof(ret->trust_domain), "%s", trust_domain);
	(void)snprintf(ret->id, sizeof(ret->id), "spiffe://%s/bailiwick/%s/%s", trust_domain,
		       roles[p->role], p->name);
	memcpy(ret->name, p->name, sizeof(ret->name));
	memcpy(ret->serial, p->serial, sizeof(ret->serial));
	memcpy(ret->key_id, p->key_id, sizeof(ret->key_id));
}

/*
 * The chain is verified once for a connection; its time, and whether the node was evicted or banned
 * meanwhile, at each request.
 */
int peer_get(struct exchange *x, struct svid *ret, struct err *err)
{
	struct conn *c = x->conn;
	struct svid svid = {0};
	bool own = false;
	int r;

	if (c->peer == NULL) {
		r = identify(x, &svid, &own, err);
		if (r < 0)
			return r;
		c->peer = peer_new(&svid, own);
		if (c->peer == NULL)
			return err_set(err, ENOMEM, "out of memory");
	}
	if (wall_now().s > c->peer->not_after.s)
		return err_set(err, ETIME, "the client certificate has expired");
	peer_svid(x->server, c->peer, &svid);
	r = core_cert_check(x->server->core, &svid, err);
	if (r < 0)
		return r;
	*ret = svid;
	return 0;
}
