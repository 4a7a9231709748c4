/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The controller without HTTP: what is placed where, who may enrol, which documents are current,
 * what each node must know. Everything that is written is in the store before the call returns,
 * with a line in the audit log in the same transaction; a failed write changes nothing. One thread.
 *
 * How it is built. The store (controller/store.h) has everything that must survive. A picture of it
 * is in memory: policy, nodes, placements with their index (controller/views.h), heads, actions in
 * force. Reading and serving need the picture only, so a locked or full database refuses orders and
 * stops nothing else. An order goes check -> transaction -> commit -> picture -> heads -> wake;
 * where memory is too short for the picture, the next call builds it again from the store.
 *
 * Heads and views are derived: written and signed when somebody asks, kept in memory, saved once a
 * second. Numbers are milliseconds since 1970 or one more than the last, whichever is higher, so
 * they rise over kills, restarts and restored copies (controller/heads.c says how).
 *
 * Whom to believe. Policy: only what the policy keys signed, judged as agents judge it. Operators:
 * within the bounds of that policy, by names it knows. Reports of agents: placements of what
 * neither an operator nor a file pins, within the same bounds, at addresses that no other living
 * node holds; evidence, capped by node; nothing about others. A node that is banned, or revoked by
 * signed policy, is in nobody's view.
 *
 * Kept in files, not in the database: keys; placements/NAME.yaml (controller/place_files.h);
 * logs/NODE.jsonl, at most 16 MiB of decision records a node.
 *
 * Names and texts come from outside: they are checked here, whatever the caller checked.
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "controller-client/key.h"
#include "controller-client/svid.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct core;

struct core_config {
	const char *data_dir;
	bool reports_place; /* agents' own reports may place what nothing pins */
	/* The node's head has changed: whoever waits for it is to be answered. May be NULL. */
	void (*wake)(void *user, const char *node);
	void *user;
};

/* Errors of these calls, beside -ENOMEM and -EIO (store): each has one HTTP status and `code`. */
/* -EINVAL bad_request 400, -ENOENT not_found 404, -EEXIST conflict 409, -EACCES forbidden 403,
 * -EBUSY busy 503 (database locked), -ENOSPC full 507, -E2BIG too_large 413, -EALREADY used 409,
 * -EPERM banned 403, -EKEYREJECTED unauthorized 401, -EROFS read_only 503,
 * -EAGAIN too_many 429 */

/* Makes database and head-signing key where they are missing (DIR must be 0700 and ours). */
int core_init(const char *data_dir, const char *trust_domain, struct err *err);
int core_open(const struct core_config *config, struct core **ret, struct err *err);
void core_free(struct core *c);
const char *core_trust_domain(const struct core *c);
/* Keys that agents get at enrolment: {"version","trust_domain","policy":{"keys":[PEM],"threshold"},
 * "controller":{...}}; new reference. */
json_t *core_trust(struct core *c);
int core_policy_key_add(struct core *c, const char *pem, size_t len, uint32_t threshold,
			const char *who, struct err *err);

/* --- documents, for nodes ------------------------------------------------------------------ */

/* Text of the node's newest signed head; borrowed until the next call. -ENOENT: no policy yet. */
int core_head(struct core *c, const char *node, const char **ret, size_t *ret_len,
	      uint64_t *ret_sequence, struct err *err);
/* Sequence alone, cheaply: what a long poll compares with. 0 when there is none. */
uint64_t core_head_sequence(struct core *c, const char *node);
/* Its next head is one for which agents do not wait for their turn (a quarantine). */
bool core_head_urgent(const struct core *c, const char *node);
/* Caller frees. */
int core_manifest(struct core *c, uint64_t revision, char **ret, size_t *ret_len, struct err *err);
/* Policy blobs, and views of this node only (a view says who runs where): else -ENOENT. */
int core_blob(struct core *c, const char *node, const char *sha256, char **ret, size_t *ret_len,
	      struct err *err);

/* --- from nodes ----------------------------------------------------------------------------- */

int core_status(struct core *c, const char *node, const char *json, size_t len, struct err *err);
/* A JSON array of decision records, already unpacked; kept in files with a size cap. */
int core_log(struct core *c, const char *node, const char *json, size_t len, struct err *err);
/* What the node says its agent has lost since it started; gives how many records are new. */
uint64_t core_log_dropped(struct core *c, const char *node, uint64_t dropped);

/* --- nodes, tokens, certificates ------------------------------------------------------------- */

/* "tok_ab12cd.SECRET"; the store keeps a hash of the secret. ttl in seconds, uses >= 1. */
int core_token_create(struct core *c, const char *node, int64_t ttl, int64_t uses, const char *who,
		      char *ret_token, size_t token_size, struct err *err);
/*
 * Takes one use. -EKEYREJECTED unknown or wrong secret, -ETIME expired, -EALREADY used up: the text
 * says by which node and when; -EPERM the node is banned.
 */
int core_token_use(struct core *c, const char *token, const char *from_address, char *ret_node,
		   size_t node_size, struct err *err);
/* A use that led to nothing (signing failed) is given back. */
void core_token_return(struct core *c, const char *token);
/* May this node's certificate be used, or renewed? -EPERM banned, -EACCES evicted or superseded. */
int core_cert_check(struct core *c, const struct svid *s, struct err *err);
int core_cert_issued(struct core *c, const struct svid *s, struct err *err);
/* Evict: must enrol again. Ban: refused until unbanned, also with a token. */
int core_node_evict(struct core *c, const char *node, const char *who, struct err *err);
int core_node_ban(struct core *c, const char *node, bool ban, const char *who, struct err *err);
/*
 * One that was removed for good: evicted (-EEXIST otherwise) and placed nowhere by anybody else
 * than itself (-EEXIST). What it is and said goes; certificates it had stay refused, and a node
 * that enrols under its name later gets higher numbers than it had.
 */
int core_node_forget(struct core *c, const char *node, const char *reason, const char *who,
		     json_t **ret, struct err *err);
json_t *core_node_list(struct core *c, struct err *err);

/* --- operators ------------------------------------------------------------------------------- */

/*
 * Every certificate of an operator is known from its first use on, those that are issued here from
 * their issue on. -EKEYREVOKED: it was revoked, or another of its key, or all of its name up to a
 * moment that it is older than.
 */
int core_operator_check(struct core *c, const struct svid *s, struct err *err);
bool core_operator_revoked(struct core *c, const struct svid *s); /* without noting a use */
/*
 * May `who` have a certificate made for this name and key? -EINVAL bad name, -EEXIST somebody else
 * has the name or the key, -EACCES the key was revoked. One's own name is renewed.
 */
int core_operator_may(struct core *c, const char *name, const char *key_id, const char *who,
		      struct err *err);
int core_operator_issued(struct core *c, const struct svid *s, const char *who, struct err *err);
json_t *core_operator_list(struct core *c, const struct svid *asks, struct err *err);
/*
 * `which`: a name (all its certificates up to now, known or not) or a serial number (that one, and
 * others of its key). Without `force`: -ENOENT where it is not known, -EEXIST where no other
 * certificate would be left that is good.
 */
int core_operator_revoke(struct core *c, const char *which, bool force, const char *reason,
			 const char *who, json_t **ret, struct err *err);

int core_place(struct core *c, const char *identity, const char *node, const char *const *addresses,
	       size_t count, bool remove, const char *who, json_t **ret, struct err *err);
/*
 * Signed policy: the manifest's envelope; its blobs are put by core_blob_put() before. Refused when
 * the signature, a digest, the revision or the policy itself (rules/policy.h) is wrong.
 */
int core_blob_put(struct core *c, const void *bytes, size_t len, char ret_sha256[SHA256_HEX_LEN],
		  struct err *err);
int core_publish(struct core *c, const char *manifest, size_t len, const char *who, json_t **ret,
		 struct err *err);
/* Every document for every node, as a tree of files for any web server (static_path.h). */
int core_export(struct core *c, const char *dir, json_t **ret, struct err *err);
/*
 * The same in steps, between which everything else may be asked and ordered. A step takes little
 * more than its budget and gives 1 while there is more to do, 0 at the end.
 */
struct exporting;
int core_export_begin(struct core *c, const char *dir, struct exporting **ret, struct err *err);
int core_export_step(struct exporting *e, int64_t budget_us, struct err *err);
json_t *core_export_result(const struct exporting *e);
void core_export_free(struct exporting *e); /* NULL is fine */
int core_quarantine(struct core *c, const char *identity, const char *keep, const char *reason,
		    const char *who, json_t **ret, struct err *err);
/* A quarantine, or revocations: of an identity (name or path), a rule's name, a label expression.
 */
int core_release(struct core *c, const char *identity, const char *reason, const char *who,
		 json_t **ret, struct err *err);
int core_revoke(struct core *c, const char *kind, const char *name, int64_t seconds,
		const char *reason, const char *who, json_t **ret, struct err *err);
int core_grant(struct core *c, const char *rule, const char *from, const char *to, int64_t seconds,
	       const char *reason, const char *who, json_t **ret, struct err *err);
/* The fleet: policy, nodes with what they report, waiting heads, quarantines with the flows that
 * were cut, tokens, audit tail. */
json_t *core_fleet_status(struct core *c, struct err *err);
/* Evidence: flows that nodes report cut since an action (its id is in *ret of that action). */
json_t *core_evidence(struct core *c, int64_t action, struct err *err);

/* Once a second: ends grants and revocations, reads placement files, prunes. */
void core_tick(struct core *c);
