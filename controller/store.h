/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where the controller keeps its state. The interface is a list of named questions and orders
 * (enum store_query), each with its parameters and columns written beside it, and a table of seven
 * functions that a backend fills in. SQLite is one (store_sqlite.c, texts in store_schema.c); for
 * another database only these two files are written again: nobody else knows SQL, and no text is
 * ever put together from values, so a name that looks like SQL is a name.
 *
 * Writes stand between store_begin() and store_commit(), and a write has its line in the audit log
 * in the same transaction. A commit that fails has changed nothing; the caller's picture in memory
 * is changed after the commit only. Committed means on the disk (SQLite: WAL, synchronous=FULL).
 *
 * Errors: -EBUSY another process holds the lock, -ENOSPC full, -EROFS read-only, -EEXIST there
 * already, -EIO anything else (damaged, gone), always with a sentence.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_SCHEMA_VERSION 2
#define STORE_BUSY_MS        1500 /* how long a lock of another process is waited for */
#define STORE_VALUES_MAX     12
#define STORE_BLOB_MAX       (32U << 20)

enum store_query {
	/* key -> value */
	STORE_META_GET,
	/* key, value */
	STORE_META_PUT,
	/* -> role, key id, pem */
	STORE_KEYS,
	/* role, key id, pem */
	STORE_KEY_ADD,

	/* -> revision, sha256, envelope: the newest */
	STORE_MANIFEST_NEWEST,
	/* revision -> envelope, sha256 */
	STORE_MANIFEST_GET,
	/* limit -> revision, sha256, issued at, by whom, newest first */
	STORE_MANIFESTS,
	/* revision, sha256, envelope, at, who */
	STORE_MANIFEST_ADD,
	/* revision, sha256, name, place in the list */
	STORE_MANIFEST_BLOB_ADD,
	/* revision -> name, sha256, in the order of the manifest */
	STORE_MANIFEST_BLOBS,
	/* how many of the newest to keep */
	STORE_MANIFESTS_PRUNE,
	STORE_MANIFEST_BLOBS_PRUNE,

	/* sha256 -> bytes */
	STORE_BLOB_GET,
	/* sha256 -> 1 if there */
	STORE_BLOB_SIZE,
	/* sha256 -> 1 if a manifest names it */
	STORE_BLOB_PUBLISHED,
	/* sha256, bytes, at */
	STORE_BLOB_ADD,
	/* -> how many that no manifest names */
	STORE_BLOBS_LOOSE,
	/* before: those that no manifest names and that came before this time */
	STORE_BLOBS_PRUNE,

	/* -> name, state, changed at, valid from, last seen, report */
	STORE_NODES,
	/* the same six: adds or replaces */
	STORE_NODE_PUT,
	/* name, last seen, report */
	STORE_NODE_REPORT,
	/* name: its row, its head, its tokens; certificates stay, refused, until they end */
	STORE_NODE_DEL,
	STORE_HEAD_DEL,
	STORE_TOKENS_DEL,
	/* name, valid from: of a node that was forgotten */
	STORE_FORGOTTEN_PUT,
	/* name -> valid from */
	STORE_FORGOTTEN_GET,

	/* id -> sha256 of the secret, node, uses, used, expires, used at, used from */
	STORE_TOKEN_GET,
	/* id, sha256, node, uses, expires, made at, by whom */
	STORE_TOKEN_ADD,
	/* id, at, from: one more use */
	STORE_TOKEN_USE,
	/* id: one use less */
	STORE_TOKEN_RETURN,
	/* limit -> id, node, uses, used, expires, used at, used from, made at, by whom; newest
	   first */
	STORE_TOKENS,
	/* before: those that expired before this time */
	STORE_TOKENS_PRUNE,

	/* serial -> node, role, issued, not after, state, key id */
	STORE_CERT_GET,
	/* serial, node, role, issued, not after, key id */
	STORE_CERT_ADD,
	/* serial: it has been used */
	STORE_CERT_USED,
	/* node, role, issued, serial: older ones of the same role are superseded */
	STORE_CERTS_SUPERSEDE,
	/* node: all are refused from now on */
	STORE_CERTS_REFUSE,
	/* before: those that ended before this time */
	STORE_CERTS_PRUNE,

	/*
	 * serial, key id, name -> 1 if it is known, when it or its key was revoked (0: it was not),
	 * before when a certificate of that name that is not known is refused, last seen
	 */
	STORE_OPERATOR_GET,
	/* -> serial, name, key id, not before, not after, last seen, revoked at, by whom, reason */
	STORE_OPERATORS,
	/* serial, name, key id, not before, not after */
	STORE_OPERATOR_ADD,
	/* serial, at */
	STORE_OPERATOR_SEEN,
	/* name, at, by whom, reason: all that are known */
	STORE_OPERATOR_REVOKE_NAME,
	/* serial, at, by whom, reason: this one, and others of its key */
	STORE_OPERATOR_REVOKE_SERIAL,
	/* name, before: what is not known yet is refused if it is from before this time */
	STORE_OPERATOR_BAR,
	/* before: those that ended before this time, but for what was revoked */
	STORE_OPERATORS_PRUNE,

	/* -> identity, node, source, addresses (text, by spaces) */
	STORE_PLACEMENTS,
	/* the same four: adds or replaces */
	STORE_PLACEMENT_PUT,
	/* identity, node, source */
	STORE_PLACEMENT_DEL,

	/*
	 * -> node, sequence, issued, expires, urgent, content, view sequence, view content, view
	 * sha256, view size, envelope, 1 if what it was made from has changed
	 */
	STORE_HEADS,
	/* the same but the last, which becomes 0 */
	STORE_HEAD_PUT,
	/* node: what its head was made from has changed */
	STORE_HEAD_STALE,
	STORE_HEADS_STALE,

	/* -> id, kind, target, keep, from, to, reason, who, at, until; those in force */
	STORE_ACTIONS,
	/* limit -> the same, and ended at; newest first */
	STORE_ACTIONS_RECENT,
	/* kind, target, keep, from, to, reason, who, at, until; the row id is the action's */
	STORE_ACTION_ADD,
	/* id, ended at */
	STORE_ACTION_END,

	/* action, node, at, flow (JSON) */
	STORE_EVIDENCE_ADD,
	/* action, limit -> node, at, flow */
	STORE_EVIDENCE,
	/* -> action, how many */
	STORE_EVIDENCE_COUNTS,
	/* node -> how many */
	STORE_EVIDENCE_OF_NODE,
	/* node, how many of its newest to keep */
	STORE_EVIDENCE_OF_NODE_PRUNE,
	/* how many of the newest to keep */
	STORE_EVIDENCE_PRUNE,

	/* at, who, verb, subject, detail */
	STORE_AUDIT_ADD,
	/* limit -> id, at, who, verb, subject, detail; newest first */
	STORE_AUDIT,
	/* at -> machines' own lines from before that go; what an operator did stays */
	STORE_AUDIT_PRUNE,

	STORE_QUERIES
};

enum store_value_kind { STORE_NULL, STORE_INT, STORE_TEXT, STORE_BLOB };
struct store_value {
	enum store_value_kind kind;
	int64_t number;
	const void *bytes; /* borrowed */
	size_t len;
};
struct store_value store_int(int64_t number);
struct store_value store_text(const char *text); /* NULL is null */
struct store_value store_blob(const void *bytes, size_t len);

/* One row of an answer; what it gives is borrowed until the callback returns. */
struct store_row {
	const void *backend;
	int64_t (*number)(const struct store_row *row, int column);
	/* Never NULL: null is "". NUL behind it. */
	const char *(*text)(const struct store_row *row, int column, size_t *ret_len);
};
int64_t store_row_int(const struct store_row *row, int column);
const char *store_row_text(const struct store_row *row, int column);
const char *store_row_bytes(const struct store_row *row, int column, size_t *ret_len);

/* 0: go on; negative: stop, and that is the result. */
typedef int store_row_fn(void *user, const struct store_row *row);

struct store;

struct store_ops {
	const char *name;
	/* where: for SQLite the file. Makes it when `make` is set, and brings an older one up. */
	int (*open)(const char *where, bool make, struct store **ret, struct err *err);
	void (*close)(struct store *s);
	int (*begin)(struct store *s, struct err *err);
	int (*commit)(struct store *s, struct err *err);
	void (*rollback)(struct store *s);
	/* Number of rows (answers) or rows changed (orders), or an error. */
	int (*run)(struct store *s, enum store_query q, const struct store_value *values,
		   size_t count, store_row_fn *row, void *user, struct err *err);
	int64_t (*last_id)(struct store *s); /* of the row added last */
};
struct store {
	const struct store_ops *ops;
};

extern const struct store_ops store_sqlite;

void store_close(struct store *s); /* NULL is fine */
int store_begin(struct store *s, struct err *err);
int store_commit(struct store *s, struct err *err);
void store_rollback(struct store *s);
int store_run(struct store *s, enum store_query q, const struct store_value *values, size_t count,
	      store_row_fn *row, void *user, struct err *err);
int64_t store_last_id(struct store *s);

/* store_order(s, STORE_META_PUT, err, store_text("x"), store_text("y")) */
#define store_order(s, q, err, ...)                                                                \
	store_run((s), (q), (const struct store_value[]){__VA_ARGS__},                             \
		  sizeof((const struct store_value[]){__VA_ARGS__}) / sizeof(struct store_value),  \
		  NULL, NULL, (err))
#define store_ask(s, q, row, user, err, ...)                                                       \
	store_run((s), (q), (const struct store_value[]){__VA_ARGS__},                             \
		  sizeof((const struct store_value[]){__VA_ARGS__}) / sizeof(struct store_value),  \
		  (row), (user), (err))
