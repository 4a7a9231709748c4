/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who may enrol and whose certificate counts. A token is `tok_ID.SECRET`: 130 random bits, of which
 * the store keeps the SHA-256 (a random secret needs no slow hash), compared in constant time.
 *
 * Certificates: the first use of a newer one of the same role supersedes the older ones, not its
 * issue: an answer that got lost leaves the old one good. Evict and ban refuse all there are; ban
 * refuses tokens too. Certificates that were issued elsewhere (an existing PKI) are known by their
 * node's name, and by their date after an eviction.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/core_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN_PREFIX   "tok_"
#define TOKEN_ID_LEN   6
#define TOKEN_TRIES    8
#define SECRET_LEN     26 /* of 5 bits: 130 */
#define TOKEN_TTL_MAX  (365LL * 86400)
#define TOKEN_USES_MAX 100000
#define RANDOM_LEN     (TOKEN_ID_LEN + SECRET_LEN)

enum cert_state { CERT_ISSUED = 0, CERT_USED = 1, CERT_SUPERSEDED = 2, CERT_REFUSED = 3 };

struct token {
	char id[sizeof(TOKEN_PREFIX) + TOKEN_ID_LEN];
	char secret[SECRET_LEN + 1];
};

struct token_row {
	bool found;
	char secret_sha256[SHA256_HEX_LEN];
	char node[NODE_NAME_MAX], used_from[128];
	int64_t uses, used, expires, used_at;
};

static int secret_digest(const char *secret, char ret[SHA256_HEX_LEN])
{
	uint8_t sha[SHA256_LEN];

	if (sha256(secret, strlen(secret), sha) < 0)
		return -ENOMEM;
	hex_format(sha, sizeof(sha), ret);
	return 0;
}

/* --- making ---------------------------------------------------------------------------------- */

static void base32(const uint8_t *random, size_t count, char *ret)
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";

	for (size_t i = 0; i < count; i++)
		ret[i] = digits[random[i] & 31];
	ret[count] = '\0';
}

static int token_make(struct token *t, struct err *err)
{
	uint8_t random[RANDOM_LEN];

	if (RAND_bytes(random, sizeof(random)) != 1)
		return err_set(err, EIO, "no random numbers");
	memcpy(t->id, TOKEN_PREFIX, sizeof(TOKEN_PREFIX));
	base32(random, TOKEN_ID_LEN, t->id + strlen(TOKEN_PREFIX));
	base32(random + TOKEN_ID_LEN, SECRET_LEN, t->secret);
	OPENSSL_cleanse(random, sizeof(random));
	return 0;
}

static int token_check(const struct core *c, const char *node, int64_t ttl, int64_t uses,
		       struct err *err)
{
	uint32_t at;
	int r = check_node_name(node, err);

	if (r < 0)
		return r;
	if (ttl < 1 || ttl > TOKEN_TTL_MAX)
		return err_set(err, EINVAL, "a token for %" PRId64 " s; 1s to 365d would be right",
			       ttl);
	if (uses < 1 || uses > TOKEN_USES_MAX)
		return err_set(err, EINVAL, "a token for %" PRId64 " uses; 1 to %d would be right",
			       uses, TOKEN_USES_MAX);
	at = views_find_node(c->views, node);
	if (at < c->node_count && c->nodes[at] && c->nodes[at]->state == NODE_BANNED)
		return err_set(err, EPERM,
			       "node '%s' is banned; letting it back first would be right", node);
	return 0;
}

static int token_store(struct core *c, const struct token *t, const char *node, int64_t expires,
		       int64_t uses, const char *who, struct err *err)
{
	json_t *detail = json_pack("{s:s,s:I,s:o}", "token", t->id, "uses", (json_int_t)uses,
				   "expires", time_json(expires));
	char hash[SHA256_HEX_LEN];
	int r;

	r = secret_digest(t->secret, hash);
	if (r == 0)
		r = core_write_begin(c, who, "token-create", node, detail, err);
	json_decref(detail);
	if (r < 0)
		return r;
	r = store_order(c->store, STORE_TOKEN_ADD, err, store_text(t->id), store_text(hash),
			store_text(node), store_int(uses), store_int(expires),
			store_int(core_now(c).s), store_text(who ? who : ""));
	return core_write_end(c, r, err);
}

int core_token_create(struct core *c, const char *node, int64_t ttl, int64_t uses, const char *who,
		      char *ret_token, size_t token_size, struct err *err)
{
	struct token t;
	int r;

	r = core_ready(c, err);
	if (r == 0)
		r = token_check(c, node, ttl, uses, err);
	/* Ids are short, for people: among tens of thousands two may be the same. */
	for (int try = 0; r == 0 && try < TOKEN_TRIES; try++) {
		r = token_make(&t, err);
		if (r == 0)
			r = token_store(c, &t, node, core_now(c).s + ttl, uses, who, err);
		if (r != -EEXIST)
			break;
		r = try + 1 < TOKEN_TRIES ? 0 : r;
	}
	if (r == 0 && snprintf(ret_token, token_size, "%s.%s", t.id, t.secret) >= (int)token_size)
		r = err_set(err, E2BIG, "token longer than the room for it");
	OPENSSL_cleanse(&t, sizeof(t));
	return r;
}

/* --- using ----------------------------------------------------------------------------------- */

static int token_parse(const char *text, struct token *ret)
{
	size_t id_len = strlen(TOKEN_PREFIX) + TOKEN_ID_LEN;

	if (!text || strlen(text) != id_len + 1 + SECRET_LEN || text[id_len] != '.' ||
	    !str_starts(text, TOKEN_PREFIX))
		return -EINVAL;
	memcpy(ret->id, text, id_len);
	ret->id[id_len] = '\0';
	memcpy(ret->secret, text + id_len + 1, SECRET_LEN + 1);
	return 0;
}

static int take_token(void *user, const struct store_row *row)
{
	struct token_row *t = user;

	t->found = true;
	(void)snprintf(t->secret_sha256, sizeof(t->secret_sha256), "%s", store_row_text(row, 0));
	(void)snprintf(t->node, sizeof(t->node), "%s", store_row_text(row, 1));
	t->uses = store_row_int(row, 2);
	t->used = store_row_int(row, 3);
	t->expires = store_row_int(row, 4);
	t->used_at = store_row_int(row, 5);
	(void)snprintf(t->used_from, sizeof(t->used_from), "%s", store_row_text(row, 6));
	return 0;
}

static int token_judge(struct core *c, const struct token *t, const struct token_row *row,
		       struct err *err)
{
	char at[RFC3339_TEXT_MAX], hash[SHA256_HEX_LEN];
	uint32_t node;

	/* An unknown id costs the same comparison as a wrong secret. */
	if (secret_digest(t->secret, hash) < 0)
		return err_set(err, ENOMEM, "out of memory");
	if (CRYPTO_memcmp(hash, row->secret_sha256, sizeof(hash)) != 0 || !row->found)
		return err_set(err, EKEYREJECTED, "unknown token, or its secret is wrong");
	node = views_find_node(c->views, row->node);
	if (node < c->node_count && c->nodes[node] && c->nodes[node]->state == NODE_BANNED)
		return err_set(err, EPERM, "node '%s' is banned", row->node);
	if (row->used >= row->uses)
		return err_set(
			err, EALREADY,
			"token %s was used up by node '%s' from %s at %s; a new one would be "
			"right",
			t->id, row->node, row->used_from,
			rfc3339_format(at, (struct wall){row->used_at}));
	if (core_now(c).s >= row->expires)
		return err_set(err, ETIME, "token %s expired at %s; a new one would be right",
			       t->id, rfc3339_format(at, (struct wall){row->expires}));
	return 0;
}

int core_token_use(struct core *c, const char *token, const char *from_address, char *ret_node,
		   size_t node_size, struct err *err)
{
	struct token_row row = {.secret_sha256 = ""};
	const char *from = from_address ? from_address : "";
	struct token t;
	int r;

	r = core_ready(c, err);
	if (r < 0)
		return r;
	if (token_parse(token, &t) < 0)
		return err_set(err, EKEYREJECTED, "not a token; tok_ID.SECRET would be one");
	r = store_ask(c->store, STORE_TOKEN_GET, take_token, &row, err, store_text(t.id));
	if (r >= 0)
		r = token_judge(c, &t, &row, err);
	OPENSSL_cleanse(t.secret, sizeof(t.secret));
	if (r == 0 && strlen(row.node) >= node_size)
		r = err_set(err, E2BIG, "no room for the node's name");
	if (r == 0)
		r = core_write_begin(c, from, "token-use", t.id, NULL, err);
	if (r < 0)
		return r;
	r = store_order(c->store, STORE_TOKEN_USE, err, store_text(t.id), store_int(core_now(c).s),
			store_text(from));
	if (r == 0)
		r = err_set(err, EALREADY, "token %s was used up meanwhile", t.id);
	r = core_write_end(c, r, err);
	if (r == 0)
		(void)snprintf(ret_node, node_size, "%s", row.node);
	return r;
}

void core_token_return(struct core *c, const char *token)
{
	struct err err = {{0}};
	struct token t;
	int r;

	if (core_ready(c, &err) < 0 || token_parse(token, &t) < 0)
		return;
	OPENSSL_cleanse(t.secret, sizeof(t.secret));
	r = core_write_begin(c, "controller", "token-return", t.id, NULL, &err);
	if (r == 0) {
		r = store_order(c->store, STORE_TOKEN_RETURN, &err, store_text(t.id));
		r = core_write_end(c, r, &err);
	}
	if (r < 0)
		log_warn("controller: token %s stays used: %s", t.id, err.text);
}

/* --- certificates ----------------------------------------------------------------------------- */

struct cert_row {
	bool found;
	char node[NODE_NAME_MAX];
	int64_t role, issued, state;
};

static int take_cert(void *user, const struct store_row *row)
{
	struct cert_row *k = user;

	k->found = true;
	(void)snprintf(k->node, sizeof(k->node), "%s", store_row_text(row, 0));
	k->role = store_row_int(row, 1);
	k->issued = store_row_int(row, 2);
	k->state = store_row_int(row, 4);
	return 0;
}

static bool of_a_node(const struct svid *s)
{
	return s->role == SVID_NODE || s->role == SVID_COURIER;
}

static int judge_node(const struct core *c, const struct svid *s, struct err *err)
{
	uint32_t at = views_find_node(c->views, s->name);
	const struct node_record *n = at < c->node_count ? c->nodes[at] : NULL;

	if (n && n->state == NODE_BANNED)
		return err_set(err, EPERM, "node '%s' is banned", s->name);
	if (core_node_revoked(c, s->name))
		return err_set(err, EPERM, "node '%s' is revoked by signed policy", s->name);
	return 0;
}

/* The first use of a newer one ends the older ones. */
static int first_use(struct core *c, const struct svid *s, const struct cert_row *k,
		     struct err *err)
{
	int r = store_begin(c->store, err);

	if (r < 0)
		return r;
	r = store_order(c->store, STORE_CERT_USED, err, store_text(s->serial));
	if (r >= 0)
		r = store_order(c->store, STORE_CERTS_SUPERSEDE, err, store_text(s->name),
				store_int(s->role), store_int(k->issued), store_text(s->serial));
	return core_write_end(c, r, err);
}

static int evicted(const struct svid *s, struct err *err)
{
	return err_set(err, EACCES, "node '%s' was evicted; enrolling it again would be right",
		       s->name);
}

static int judge_recorded(struct core *c, const struct svid *s, const struct cert_row *k,
			  struct err *err)
{
	switch (k->state) {
	case CERT_ISSUED:
		return first_use(c, s, k, err);
	case CERT_USED:
		return 0;
	case CERT_SUPERSEDED:
		return err_set(err, EACCES,
			       "this certificate of '%s' was superseded by a newer one", s->name);
	default: /* the number is from the database */
		return evicted(s, err);
	}
}

/* Issued elsewhere: good unless it is older than the last eviction. */
static int judge_foreign(struct core *c, const struct svid *s, struct err *err)
{
	struct node_record *n;
	uint32_t node;
	int r;

	n = core_node(c, s->name, &node);
	if (!n)
		return err_set(err, ENOMEM, "out of memory, or too many nodes");
	r = core_node_recall(c, n, s->name, err);
	if (r < 0)
		return r;
	if (s->not_before.s < n->valid_from)
		return evicted(s, err);
	return n->state == NODE_ACTIVE ? 0 : core_node_store(c, node, err);
}

int core_cert_check(struct core *c, const struct svid *s, struct err *err)
{
	struct cert_row k = {.found = false};
	int r;

	r = core_ready(c, err);
	if (r == 0 && s->role == SVID_OPERATOR)
		return core_operator_check(c, s, err);
	if (r < 0 || !of_a_node(s))
		return r;
	r = check_node_name(s->name, err);
	if (r == 0)
		r = judge_node(c, s, err);
	if (r == 0)
		r = store_ask(c->store, STORE_CERT_GET, take_cert, &k, err, store_text(s->serial));
	if (r < 0)
		return r;
	if (k.found && str_eq(k.node, s->name) && k.role == (int64_t)s->role)
		return judge_recorded(c, s, &k, err);
	return judge_foreign(c, s, err);
}

static int cert_store(struct core *c, const struct svid *s, struct err *err)
{
	json_t *detail = json_pack("{s:s,s:s,s:o}", "serial", s->serial, "spiffe_id", s->id,
				   "not_after", time_json(s->not_after.s));
	int64_t now = core_now(c).s;
	int r;

	r = core_write_begin(c, "controller", "issue", s->id, detail, err);
	json_decref(detail);
	if (r < 0)
		return r;
	r = store_order(c->store, STORE_CERT_ADD, err, store_text(s->serial), store_text(s->name),
			store_int(s->role), store_int(now), store_int(s->not_after.s),
			store_text(s->key_id));
	if (r >= 0 && s->role == SVID_NODE)
		r = core_node_put(c, s->name, NODE_ACTIVE, err);
	return core_write_end(c, r, err);
}

/* The record in memory, after the commit. */
static void enrolled(struct core *c, const struct svid *s)
{
	struct node_record *n;
	uint32_t node;

	n = core_node(c, s->name, &node);
	if (!n) {
		c->lost = true;
		return;
	}
	n->state = NODE_ACTIVE;
	n->stored = true;
	n->changed = core_now(c).s;
}

int core_cert_issued(struct core *c, const struct svid *s, struct err *err)
{
	struct node_record *n = NULL;
	uint32_t node;
	int r;

	r = core_ready(c, err);
	if (r == 0 && of_a_node(s)) {
		r = check_node_name(s->name, err);
		node = r == 0 ? views_find_node(c->views, s->name) : VIEWS_NONE;
		if (r == 0)
			r = core_node_fits(c, s->name, err);
		n = node < c->node_count ? c->nodes[node] : NULL;
		if (r == 0 && n && n->state == NODE_BANNED)
			r = err_set(err, EPERM, "node '%s' is banned", s->name);
		if (r == 0 && n)
			r = core_node_may(c, n, s->name, err);
	}
	if (r == 0)
		r = cert_store(c, s, err);
	if (r == 0 && n)
		core_node_charge(c, n, CHARGE_CERT_MS);
	if (r == 0 && s->role == SVID_NODE)
		enrolled(c, s);
	return r;
}
