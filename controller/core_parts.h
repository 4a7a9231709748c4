/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside of the controller's core: the picture in memory and who changes it.
 *
 * A change goes check -> transaction (rows and audit line) -> commit -> picture -> heads -> wake.
 * Where the picture cannot be changed after the commit (no memory), `lost` makes the next call
 * build it again from the store. Heads are derived: they are signed when asked for, kept in memory,
 * and saved once a second. `clean` in the store says that all of them were saved; after a kill, or
 * with a copy made of a running database, every head and view gets a new number when it is next
 * asked for, so no node ever sees a number twice with different content.
 */
#pragma once

#include "controller-client/head.h"
#include "controller-client/key.h"
#include "controller-client/manifest.h"
#include "controller/core.h"
#include "controller/heads_cache.h"
#include "controller/place_files.h"
#include "controller/report.h"
#include "controller/store.h"
#include "controller/views.h"
#include "rules/policy.h"

#define CORE_PATH_MAX      4096
#define CORE_WHO_MAX       256
#define CORE_ACTIONS_MAX   4096 /* in force at a time: the lists of a head hold as many */
#define HEAD_LIFE_S        86400
#define HEADS_EVALUATE_MAX 64 /* a change that concerns more nodes writes no views by itself */
#define HEADS_EVALUATE_BYTES                                                                       \
	(256U << 10)          /* nor a large one: it is written when it is asked for               \
			       */
#define URGENT_NODES_MAX  100 /* a change of so few needs no splay */
#define HEADS_UNSAVED_MAX 256
#define MANIFESTS_KEPT    16
#define BLOBS_LOOSE_MAX   1024
#define SHUTDOWN_MARK     "clean"

enum node_state {
	NODE_EXPECTED, /* named by a placement only */
	NODE_ACTIVE,
	NODE_EVICTED,
	NODE_BANNED,
};
const char *node_state_name(enum node_state state);

struct head_state {
	/* The one signed last: */
	uint64_t sequence;
	struct wall issued, expires;
	bool urgent;
	char content[SHA256_HEX_LEN]; /* of everything but sequence and times */
	uint64_t view_sequence, view_size;
	char view_content[SHA256_HEX_LEN]; /* of the view without its sequence */
	char view_sha256[SHA256_HEX_LEN];
	char *envelope;
	size_t envelope_len;
	bool unsaved;
	/* What comes next: */
	bool pending; /* something of it has changed: next_sequence is promised */
	bool unsure;  /* the view may have changed: it is written out to see */
	bool renew;   /* its view needs a new number even if it has not changed */
	bool next_urgent;
	uint64_t next_sequence;
};

struct reported_place {
	char *identity;
	struct addr *addresses;
	size_t address_count;
};

struct node_record {
	enum node_state state;
	int64_t changed, valid_from, seen;
	bool stored;    /* has a row */
	json_t *report; /* what status shows of the last one */
	bool report_unsaved;
	uint64_t losses_saved;         /* place_node.losses when it was saved */
	struct reported_place *places; /* as stored */
	size_t place_count;
	uint64_t logs_dropped; /* as it said last; not stored: it says so again */
	int64_t owes_until_ms; /* core_node_charge() */
	bool recalled;         /* valid_from is also that of whoever had the name before */
	struct head_state head;
};

enum action_kind {
	ACTION_QUARANTINE = 0,
	ACTION_REVOKE_RULE = 1,
	ACTION_REVOKE_IDENTITY = 2,
	ACTION_REVOKE_LABEL = 3,
	ACTION_GRANT = 4,
};
const char *action_kind_name(enum action_kind kind);

struct action {
	int64_t id;
	enum action_kind kind;
	char *target;                          /* identity, rule or label */
	char *keep, *from, *to, *reason, *who; /* keep, from, to may be NULL */
	struct wall at, until;                 /* 0: until released */
};

struct core {
	struct core_config config;
	char *dir, *trust_domain;
	struct store *store;
	struct private_key key; /* signs heads */
	struct keyring policy_keys;
	struct policy *policy;
	struct manifest manifest;
	struct map *revoked;                  /* nodes that signed policy revokes */
	char manifest_sha256[SHA256_HEX_LEN]; /* of the envelope in force; "" without a policy */
	struct views *views;
	struct node_record **nodes; /* by the index of views */
	size_t node_count, node_cap;
	struct action *actions; /* in force */
	size_t action_count, action_cap;
	struct heads_cache *cache;
	struct place_files files;
	size_t unsaved; /* heads */
	bool lost;
	uint64_t loads;   /* how often the picture was built: indices of nodes are of one only */
	bool save_failed; /* said already */
	int64_t pruned_at;
	uint64_t sequence_floor; /* no node's first head is below the last of one that is forgotten
				  */
	int64_t (*now_ms)(void); /* wall clock; tests have their own */
};

int64_t core_now_ms(const struct core *c);
struct wall core_now(const struct core *c);
/* To be called first by everything that reads or changes the picture. */
int core_ready(struct core *c, struct err *err);
/* The record of a node, made where missing; NULL when memory runs out or the name is none. */
struct node_record *core_node(struct core *c, const char *name, uint32_t *ret_node);
struct node_record *core_node_at(struct core *c, uint32_t node);
/* To be asked before a new name is stored: what the picture cannot hold would stop the next load.
 */
int core_node_fits(const struct core *c, const char *name, struct err *err);
/* Adds one that nothing but its certificate has told of (an existing PKI). */
int core_node_store(struct core *c, uint32_t node, struct err *err);
/*
 * What a node makes the controller do costs it time: rows on the disk, heads of others to be signed
 * again. Who owes too much is told to come back (-EAGAIN), so that one that is taken over neither
 * fills the disk nor keeps the whole fleet awake.
 */
#define CHARGE_OWED_MAX_MS 120000
#define CHARGE_REPORT_MS   100
#define CHARGE_WRITE_MS    1000
#define CHARGE_PLACE_MS    50
#define CHARGE_FLOW_MS     2
#define CHARGE_HEAD_MS     2 /* of another node, changed by this one */
#define CHARGE_CERT_MS     3000
int core_node_may(struct core *c, struct node_record *n, const char *name, struct err *err);
void core_node_charge(struct core *c, struct node_record *n, int64_t ms);
/* -EPERM banned, -EACCES evicted. */
int core_node_admitted(const struct node_record *n, const char *name, struct err *err);
int core_node_put(struct core *c, const char *name, enum node_state state, struct err *err);

/* forget.c */
#define SEQUENCE_FLOOR "sequence_floor"
/* To be asked before valid_from is: whoever has the name after another is not let in by his. */
int core_node_recall(struct core *c, struct node_record *n, const char *name, struct err *err);
/*
 * For lists: one flag a node. Off for those that are but a name in memory, of no placement and no
 * row. Caller frees; NULL: no memory.
 */
bool *core_nodes_listed(const struct core *c, size_t *ret_count);
/* logs.c */
void core_log_forget(const struct core *c, const char *node);

/* core_load.c */
int core_load(struct core *c, struct err *err);
void core_unload(struct core *c);
int core_load_policy(struct core *c, struct err *err);
int core_policy_build(struct core *c, const struct manifest *m, struct wall now,
		      struct policy **ret, struct err *err);
/* Takes policy (may be NULL) and manifest, whatever happens. */
int core_policy_use(struct core *c, struct policy *take, struct manifest *take_manifest,
		    const char *sha256);
void core_shut_nodes(struct core *c);
bool core_node_revoked(const struct core *c, const char *node); /* by signed policy */

/* core_write.c: one transaction with its audit line. detail is borrowed, may be NULL. */
int core_write_begin(struct core *c, const char *who, const char *verb, const char *subject,
		     json_t *detail, struct err *err);
int core_write_end(struct core *c, int r, struct err *err);
int check_node_name(const char *node, struct err *err);
int check_text(const char *what, const char *text, size_t max, bool needed, struct err *err);
/* Index in the policy, or -ENOENT with "did you mean". */
int find_identity(const struct core *c, const char *name, struct err *err);
int find_rule(const struct core *c, const char *name, struct err *err);
int find_network(const struct core *c, const char *name, struct err *err);
const char *addresses_format(const struct addr *addresses, size_t count, char **ret);
int addresses_parse(const char *text, struct addr **ret, size_t *ret_count);
json_t *addresses_json(const struct addr *addresses, size_t count);
json_t *time_json(int64_t s); /* RFC 3339, or null for 0 */

/* heads.c */
/* Those that views_touched() lists; empties the list. Returns how many heads change. */
size_t heads_changed(struct core *c, bool urgent);
void heads_all_changed(struct core *c); /* another policy */
int head_make_current(struct core *c, uint32_t node, struct err *err);
uint64_t head_sequence(struct core *c, uint32_t node);
uint64_t head_sequence_known(const struct core *c, uint32_t node);
int heads_save(struct core *c, struct err *err);
/* At the end: also says of which nodes the next head is not made yet. */
int heads_save_all(struct core *c, struct err *err);
/* A report says that the node knows newer ones than we do: an old copy of the database. */
void head_catch_up(struct core *c, uint32_t node, uint64_t head, uint64_t view);
/* Bytes of the node's view with this digest; caller frees. */
int head_view(struct core *c, uint32_t node, const char *sha256, char **ret, size_t *ret_len,
	      struct err *err);
/* heads_overlay.c: what of the actions in force concerns the node marked by views_know(). */
int head_overlay(struct core *c, uint32_t node, struct overlay *ret);

/* actions.c */
json_t *action_json(const struct action *a);
void action_done(struct action *a);
void actions_expire(struct core *c);

/* issue_nodes.c */
json_t *nodes_json(struct core *c);

/* evidence.c: within a transaction */
int evidence_add(struct core *c, const char *node, const json_t *cut, struct err *err);

/* report_take.c */
void reported_places_free(struct reported_place *places, size_t count);
int reports_save(struct core *c, struct err *err);
/* Addresses and attestation port from the report kept in the store. */
/* For the store: the last report and what the node holds of it. Caller frees; NULL: no memory. */
char *report_text(const struct core *c, uint32_t node);
int report_restore(struct core *c, uint32_t node, const json_t *kept, int64_t at);

json_t *places_outside(struct core *c); /* publish.c */

/* place.c: what a file or a report says now, against what it said before. */
struct place_order {
	const char *identity, *node;
	const struct addr *addresses;
	size_t address_count;
	bool remove;
};
int place_store(struct core *c, const struct place_order *o, enum place_source source,
		struct err *err);
int place_apply(struct core *c, const struct place_order *o, enum place_source source);
