/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The kernel table `inet bailiwick` (or whatever agent.yaml calls it): from plans to batches.
 *
 * One `struct nft` holds the one netlink socket that owns the table; every change goes over it
 * (net/netfilter/nf_tables_api.c: a foreign portid gets EPERM). Reading has a socket of its own.
 * A transaction is applied whole or not at all, so on any error the kernel keeps what it had:
 * traffic is judged by the last state that was acknowledged. Nothing here loosens on failure.
 *
 * Blocking: a transaction is sent and its answer read before the call returns (tens of
 * microseconds for one element, about 4 us for each further one). Large plans are resumable:
 * nft_apply_step() sends one transaction, so that a revocation can be sent in between.
 */
#pragma once

#include "base/err.h"
#include "rules/numbers.h"
#include "rules/ruleset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nft;

/* What this kernel can, found by trial transactions in a throw-away table. */
struct nft_features {
	bool owner;        /* table flag owner */
	bool persist;      /* table flag persist, with owner */
	bool renewal;      /* re-adding an element renews its timeout */
	bool destroy;      /* NFT_MSG_DESTROYSETELEM */
	bool queue_native; /* expression `queue` */
	bool queue_xt;     /* xt target NFQUEUE through nft_compat */
};

/* `table` as in table_shape. Opens the sockets only. */
int nft_open(const char *table, struct nft **ret, struct err *err);
void nft_close(struct nft *n); /* closing drops the owner flag; with persist the table stays */
void nft_closep(struct nft **n);

/* Run once, before nft_start(). Leaves nothing behind. */
int nft_probe(struct nft *n, struct err *err);
const struct nft_features *nft_features(const struct nft *n);
/* QUEUE_NATIVE where the kernel has it, else QUEUE_XT, else QUEUE_NONE. */
enum queue_kind nft_queue_kind(const struct nft *n);

enum nft_found {
	NFT_FOUND_NOTHING, /* table was created: first load */
	NFT_FOUND_TABLE,   /* a table was there and is ours now, contents kept; see nft_dump() */
	NFT_FOUND_FOREIGN, /* there, but without our base chains: replaced, as a first load */
};

/*
 * Creates the table (owned and persistent; unowned where the kernel has no persist, R37), or
 * adopts the orphan of an earlier agent. The packet path does not change yet. -EPERM when another
 * process owns it.
 */
int nft_start(struct nft *n, enum nft_found *ret_found, struct err *err);
bool nft_is_owned(const struct nft *n);

/* --- plans ----------------------------------------------------------------------------------- */

/*
 * Names for the elements of `live`, written into their user data: a comment for people and the key
 * from which numbers are rebuilt. Return false for numbers without a name. Borrowed during an
 * apply.
 */
struct nft_labels {
	bool (*label)(void *user, uint32_t number, char comment[128], struct number_key *ret_key);
	void *user;
};

struct nft_apply_input {
	const struct plan *plan;
	const struct ruleset *old; /* what the kernel holds; NULL after NFT_FOUND_NOTHING/FOREIGN */
	const struct ruleset *new_;      /* its shape decides chains and sets */
	const struct nft_labels *labels; /* may be NULL */
	int64_t now_ms;                  /* unix time in ms: lease timeouts are computed from it */
	bool chains; /* replace the chains even if the plan does not ask (restart, repair) */
	bool quiet;  /* not judged by packets yet (first load, unswitched slot): chunks of 10,000 */
};

#define NFT_CHUNK_LIVE  1000
#define NFT_CHUNK_QUIET 10000

/* The element or chain that the kernel refused; number is its mark (0 if it has none). */
struct nft_fault {
	bool has_element;
	uint8_t action; /* enum plan_action */
	struct set_ref ref;
	uint8_t key[SET_KEY_MAX];
	uint8_t key_len;
	uint32_t number;
	char object[64]; /* "element of out4_a", "rule 3 of chain deny", "set live" */
};

struct nft_apply;

/*
 * A plan as a list of transactions: one when it has at most NFT_CHUNK_LIVE operations, else chunks
 * in phase order. Everything that `in` points to must outlive the apply.
 */
int nft_apply_begin(struct nft *n, const struct nft_apply_input *in, struct nft_apply **ret,
		    struct err *err);
/*
 * Sends the next transaction: 1 when there are more, 0 when all are in the kernel, -errno when this
 * one was refused (it had no effect; earlier ones did: make a new plan from nft_dump(), or go on
 * with the old one). Deleting what is gone already (an expired lease) is no error.
 */
int nft_apply_step(struct nft_apply *a, struct err *err);
/* From here on these numbers are not opened: they were revoked during the apply. */
int nft_apply_bar(struct nft_apply *a, const uint32_t *numbers, size_t count);
const struct nft_fault *nft_apply_fault(const struct nft_apply *a);
size_t nft_apply_done_ops(const struct nft_apply *a);
void nft_apply_free(struct nft_apply *a);
void nft_apply_freep(struct nft_apply **a);

/* begin and all steps. ret_fault may be NULL. */
int nft_apply(struct nft *n, const struct nft_apply_input *in, struct nft_fault *ret_fault,
	      struct err *err);

/*
 * The last transaction of a load: rules of the base chains and policy drop. From here on packets
 * are judged. Called again it changes nothing that packets could see.
 */
int nft_enforce(struct nft *n, const struct table_shape *shape, struct err *err);
/* Base chains emptied, policy accept: packets are not judged. The rest of the table stays. */
int nft_disarm(struct nft *n, struct err *err);
/* Success when there is none. */
int nft_delete_table(struct nft *n, struct err *err);

/*
 * One element at once, beside any apply in progress (new cgroup, revocation). `record` is
 * set_stride() bytes. Adding what is there with the same value and deleting what is gone succeed.
 */
int nft_element_add(struct nft *n, struct set_ref ref, const uint8_t *record,
		    const struct nft_labels *labels, int64_t now_ms, struct err *err);
int nft_element_del(struct nft *n, struct set_ref ref, const uint8_t *record, struct err *err);
/* Deletes these marks from `live`, `live_udp*` and `leased_*` in one transaction; missing ones are
 * fine. */
int nft_cut(struct nft *n, const struct ruleset *applied, const uint32_t *numbers, size_t count,
	    struct err *err);
/* A new end for leases that the kernel already holds (R2: counters of `live` are not touched). */
int nft_lease_renew(struct nft *n, enum slot slot, uint32_t number, int64_t end_ms, int64_t now_ms,
		    struct err *err);

/*
 * Listeners and their time-wait ends live for 5 s without this, so that nobody inherits the port of
 * a listener whose agent has died (R21). Call it every 2 s; cheap, and nothing when there are none.
 */
int nft_listeners_renew(struct nft *n, const struct ruleset *applied, struct err *err);

/* --- switches -------------------------------------------------------------------------------- */

/* which: SET_AGENT_ALIVE, SET_CANDIDATE_ON, SET_OBSERVE_ON, SET_TRIAL_ON. timeout 0 = for good. */
int nft_switch_set(struct nft *n, enum set_kind which, uint64_t timeout_ms, struct err *err);
int nft_switch_clear(struct nft *n, enum set_kind which, struct err *err);
/* *ret_left_ms: time to its end, 0 = permanent. */
int nft_switch_get(struct nft *n, enum set_kind which, bool *ret_on, uint64_t *ret_left_ms,
		   struct err *err);

#define NFT_HEARTBEAT_MS 2000
int nft_heartbeat(struct nft *n, struct err *err); /* agent_alive for NFT_HEARTBEAT_MS */

/* --- reading --------------------------------------------------------------------------------- */

struct nft_dump_input {
	int64_t now_ms; /* lease ends are computed from it */
	/* User data of each element of `live` that carries some; may be NULL. */
	void (*label)(void *user, uint32_t number, const char *comment,
		      const struct number_key *key /* NULL if none */);
	void *user;
	bool skip_classify; /* audit of what judges flows only: live, live_udp, ends, leases */
};

/*
 * What the kernel holds. The shape of the result has `table`, `levels` and `live_size` only. Sets
 * of switches and kernel state are left out. Quadratic for large sets (kernel.md D): at start and
 * for an audit after a foreign change. -EAGAIN when the table changed meanwhile, try again.
 */
int nft_dump(struct nft *n, const struct nft_dump_input *in, struct ruleset **ret, struct err *err);

/* Base chains ours, hooked at priority 0 with policy drop and not empty, jumping as they should. */
int nft_check_chains(struct nft *n, const struct table_shape *shape, bool *ret_ok, struct err *err);
/*
 * Whether the base chains judge already, whatever the chains behind them say: those of another mode
 * or release are replaced in one transaction, so their flows must not be taken for older ones.
 */
int nft_is_judging(struct nft *n, const struct table_shape *shape, bool *ret, struct err *err);

struct nft_counter {
	uint64_t packets, bytes;
	bool found;
};
/* Element counters by key (`live`: marks; `live_udp`: mark . cgroup), keys side by side. */
int nft_counters(struct nft *n, struct set_ref ref, const uint8_t *keys, size_t count,
		 struct nft_counter *ret, struct err *err);

enum nft_named {
	NFT_REFUSED,
	NFT_DENIED,
	NFT_WOULD_DENY,
	NFT_RESYNCED,
	NFT_LOG_LOST,
	NFT_UNCLAIMED_FLOWS,
	NFT_QUESTIONS,
	NFT_UNASKED, /* above the limit of questions per source */
	NFT_NAMED_COUNT
};
int nft_named_counters(struct nft *n, struct nft_counter ret[NFT_NAMED_COUNT], struct err *err);

/* --- who else meddles ------------------------------------------------------------------------ */

enum nft_foreign_kind {
	NFT_FOREIGN_CT_MARK, /* writes the conntrack mark */
	NFT_FOREIGN_NOTRACK,
	NFT_FOREIGN_HELPER,
	NFT_FOREIGN_ZONE,
	NFT_FOREIGN_BASE_CHAIN, /* at input or output, earlier than ours */
};
const char *nft_foreign_name(enum nft_foreign_kind kind);

struct nft_foreign {
	uint8_t kind; /* enum nft_foreign_kind */
	uint8_t family;
	char table[64], chain[64];
};
/* Rules of nf_tables only (iptables-nft included). Calls back for each finding. */
int nft_scan_foreign(struct nft *n, void (*found)(void *user, const struct nft_foreign *f),
		     void *user, struct err *err);

enum nft_event_kind {
	NFT_EVENT_OURS_CHANGED, /* somebody else changed our table: audit and repair */
	NFT_EVENT_OURS_GONE,    /* somebody else deleted our table */
	NFT_EVENT_LOST,         /* events were lost: audit */
	NFT_EVENT_OTHER,        /* another table changed: scan again for mark writers, at leisure */
};

struct nft_event {
	uint8_t kind; /* enum nft_event_kind */
	uint32_t pid; /* of the changer, 0 = unknown */
	char process[32];
};

struct nft_monitor;

int nft_monitor_open(const struct nft *n, struct nft_monitor **ret, struct err *err);
int nft_monitor_fd(const struct nft_monitor *m); /* poll for reading */
/* Reads what is there and calls back once per foreign transaction. -EAGAIN never comes out. */
int nft_monitor_read(struct nft_monitor *m, void (*event)(void *user, const struct nft_event *e),
		     void *user, struct err *err);
void nft_monitor_free(struct nft_monitor *m);
void nft_monitor_freep(struct nft_monitor **m);
