/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The intermediate form: what the kernel table `inet bailiwick` shall contain, as data.
 *
 * A ruleset is a shape (which chains and sets exist, section "table" in rules/table.h) and the
 * elements of each set. Elements of one set are fixed-size records in one sorted array: key, end of
 * the key's interval where the set has intervals, value. Two rulesets are compared by merging.
 * 100,000 conduits cost a few dozen bytes each.
 *
 * Byte layouts are those of the kernel's registers: every field of a concatenation padded with
 * zeros to four bytes; marks, uids and cgroup ids in host order; addresses and ports in network
 * order (linux/netfilter/nf_tables.h; net/netfilter/nft_socket.c: 8 bytes of cgroup id).
 */
#pragma once

#include "base/err.h"
#include "rules/host.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sets and maps of the table. Per slot: SLOT_A confirmed, SLOT_B candidate. Per level: cgroup
 * depth. */
enum set_kind {
	/* whose packet; value: identity mark */
	SET_WHO_UID,        /* uid                                       slot        */
	SET_WHO_CGROUP,     /* cgroup                                    slot, level */
	SET_WHO_CGROUP_UID, /* cgroup . uid                              slot, level */
	SET_LISTENERS,      /* l4proto . port                            slot        */
	/* which conduit; value: conduit mark. Keys begin with the identity mark */
	SET_OUT4, /* mark . ip daddr . l4proto . th dport       slot */
	SET_OUT6,
	SET_OUT_ANY4, /* mark . ip daddr . l4proto                  slot */
	SET_OUT_ANY6,
	SET_OUT_NET4, /* as SET_OUT4, intervals                     slot */
	SET_OUT_NET6,
	SET_OUT_ECHO4, /* mark . ip daddr . icmp type                slot */
	SET_OUT_ECHO6,
	SET_OUT_ECHO_NET4, /* the same with intervals                    slot */
	SET_OUT_ECHO_NET6,
	SET_IN4, /* mark . ip saddr . l4proto . th dport       slot */
	SET_IN6,
	SET_IN_ANY4,
	SET_IN_ANY6,
	SET_IN_NET4,
	SET_IN_NET6,
	SET_IN_ECHO4, /* ip saddr . icmp type: a node, no socket    slot */
	SET_IN_ECHO6,
	SET_IN_ECHO_NET4, /* the same with intervals                    slot */
	SET_IN_ECHO_NET6,
	/* which local ends a conduit may have */
	SET_ENDS,    /* mark . cgroup                              slot, level */
	SET_TW_ENDS, /* mark . l4proto . port                      slot */
	/* essentials; value: conduit mark; intervals */
	SET_ESSENTIAL_OUT4, /* ip daddr . l4proto . th dport */
	SET_ESSENTIAL_OUT6,
	SET_ESSENTIAL_IN4, /* ip saddr . l4proto . th dport */
	SET_ESSENTIAL_IN6,
	SET_ESSENTIAL_KERNEL, /* l4proto . port: packets without a socket, either port */
	SET_ESSENTIAL_PROTO,  /* l4proto: the same for protocols without ports */
	SET_ESSENTIAL_OWNED,  /* mark: only the owners in SET_ESSENTIAL_ENDS may use it */
	SET_ESSENTIAL_ENDS,   /* mark . cgroup                            level */
	/* what policy thinks of a flow now; value: enum live_verdict */
	SET_LIVE,                /* mark, counter */
	SET_LIVE_UDP,            /* mark . cgroup, counter                       level */
	SET_LEASED,              /* mark; value: end of the lease                slot */
	SET_PENDING,             /* mark: its live element asks */
	SET_REDERIVE,            /* mark: classify its flows again */
	SET_OPEN_IF_UNAVAILABLE, /* mark, with its flag: open without lease  slot */
	SET_ASK_WATCHED,         /* mark: a rule that asks only observes      slot */
	SET_NODE_CONDUITS,       /* mark: no local end to check */
	SET_BY_USER,             /* mark: datagrams; only its caller's uid says whose it is (R20) */
	SET_OBSERVE_WHO,         /* mark: identities and conduits in observe mode */
	SET_DENY_OUT_DROP,       /* mark: answer drop instead of reject at egress */
	SET_DENY_IN_REJECT,      /* mark: answer reject instead of drop at ingress */
	SET_DENY_IN_DROP,        /* mark: drop even who was asked about and not vouched for */
	SET_ANSWERING, /* l4proto; value: MARK_REFUSED; missing while the table is torn down */
	/* switches and state; the agent and the kernel handle their elements, rulesets do not */
	SET_AGENT_ALIVE,
	SET_CANDIDATE_ON,
	SET_OBSERVE_ON,
	SET_TRIAL_ON,
	SET_ASKED,
	SET_ASKED4, /* questions to far nodes, by source address */
	SET_ASKED6,
	SET_DENIED4,
	SET_DENIED6,
	SET_KIND_COUNT,
};

enum slot { SLOT_A, SLOT_B };

/* Fields of keys, in kernel order. */
enum field {
	FIELD_MARK,      /* 4 */
	FIELD_ADDR4,     /* 4 */
	FIELD_ADDR6,     /* 16 */
	FIELD_L4PROTO,   /* 1, padded to 4 in a concatenation */
	FIELD_PORT,      /* 2, padded */
	FIELD_ICMP_TYPE, /* 1, padded */
	FIELD_CGROUP,    /* 8 */
	FIELD_UID,       /* 4 */
	FIELD_NFPROTO,   /* 1 */
};

enum set_value { VALUE_NONE, VALUE_MARK, VALUE_VERDICT, VALUE_LEASE };

#define SET_FIELDS_MAX 5
#define SET_KEY_MAX    28

struct set_spec {
	const char *name; /* without suffixes for slot and level */
	enum field fields[SET_FIELDS_MAX];
	uint8_t field_count;
	uint8_t value; /* enum set_value */
	bool per_slot, per_level, interval, timeout, dynamic, counter;
	uint32_t size; /* 0 = none given */
};

const struct set_spec *set_spec(enum set_kind kind);
size_t set_key_len(enum set_kind kind);
/* Bytes of one element: key, end of interval (same length) if any, value (4, 1, 8 or 0). */
size_t set_stride(enum set_kind kind);
size_t set_value_offset(enum set_kind kind);

struct set_ref {
	uint8_t kind;  /* enum set_kind */
	uint8_t slot;  /* enum slot, SLOT_A where the kind has none */
	uint8_t level; /* 0 where the kind has none */
};

#define SET_NAME_MAX 32
/* "out4_a", "who_c2_b" (level 2, candidate), "live", "live_udp2". */
const char *set_name(char buf[SET_NAME_MAX], struct set_ref ref);

/*
 * Verdicts of `live`. A pair says what the confirmed and the candidate generation think; it is
 * resolved in the kernel by the presence of the element candidate_on (R15). LIVE_NONE: no element.
 */
enum live_verdict {
	LIVE_NONE,
	LIVE_ACCEPT,
	LIVE_LEASED,         /* accept while its lease lives, else deny */
	LIVE_WATCHED,        /* accept and record: the rule is in observe mode and does not hold */
	LIVE_LEASED_WATCHED, /* accept while its lease lives, else accept and record */
	LIVE_ASK,            /* the far node is asked first, about each new flow */
	LIVE_REFUSED_REPLY,  /* reserved mark of a refused packet: RST only */
	LIVE_SINGLE_COUNT,
	LIVE_PAIR_BASE = 16, /* + confirmed * 8 + candidate, when they differ */
};

uint8_t live_pair(uint8_t confirmed, uint8_t candidate);
uint8_t live_confirmed(uint8_t verdict);
uint8_t live_candidate(uint8_t verdict);
/* Word of FORMATS: accept, leased, ask, watched, added, removed. */
const char *live_name(uint8_t verdict);
/*
 * Name of the chain an element goes to, or NULL where it is a plain accept: "leased", "watched",
 * "leased_watched", "ask", "refused_reply"; "added" and "removed" for accept in one generation and
 * nothing in the other; every other pair has a chain "pair_<confirmed>_<candidate>".
 */
#define CHAIN_NAME_MAX 32
const char *live_chain(char buf[CHAIN_NAME_MAX], uint8_t verdict);

/* Elements of one set: count records of set_stride() bytes, sorted by key, keys unique. */
struct set_items {
	struct set_ref ref;
	uint8_t *bytes;
	size_t count, cap;
	size_t *users; /* of the bytes, where rulesets share them; they are then read only */
};

/* How refusals, logs and questions are set up; changing it replaces chains, never base chains. */
enum queue_kind { QUEUE_NONE, QUEUE_NATIVE, QUEUE_XT };
enum unclaimed_answer { UNCLAIMED_PASS, UNCLAIMED_DENY };

struct table_shape {
	char table[32];
	uint32_t levels; /* bit n: cgroups of depth n+1 occur in elements */
	uint8_t queue;   /* enum queue_kind */
	uint16_t queue_first;
	uint16_t nflog_group;
	uint32_t unclaimed_mark; /* current epoch */
	uint8_t unclaimed;       /* enum unclaimed_answer: selective passes, enforce denies */
	bool trial;              /* enforcement lasts only while trial_on lives (mode --for) */
	uint32_t live_size;      /* fixed size of live and live_udp, a power of two; grows */
};

struct ruleset {
	struct table_shape shape;
	struct set_items *sets; /* sorted by ref; a set without elements may be missing */
	size_t set_count, set_cap;
};

struct ruleset *ruleset_new(void);
void ruleset_free(struct ruleset *r);
void ruleset_freep(struct ruleset **r);

/*
 * The items of a set, made if need be; NULL on -ENOMEM. The pointer is good until ruleset_set()
 * makes another set.
 */
struct set_items *ruleset_set(struct ruleset *r, struct set_ref ref);
const struct set_items *ruleset_find(const struct ruleset *r, struct set_ref ref);

/* Appends one record (stride bytes). Sorting happens once, in ruleset_sort(). */
int set_items_add(struct set_items *s, const void *record);
/*
 * Lets an empty set have the records of a sorted one of the same kind without a copy: a
 * generation's classification is the larger part of every ruleset made from it. Either may be freed
 * first.
 */
int set_items_share(struct set_items *to, struct set_items *from);
/*
 * Sorts every set. Equal records collapse. Equal keys with different values are a programming
 * error of the compiler: -EEXIST, with the key in err.
 */
int ruleset_sort(struct ruleset *r, struct err *err);
const uint8_t *set_items_find(const struct set_items *s, const void *key); /* record or NULL */

/* Key builders write a whole key and return its length. Interval keys are built twice. */
struct key {
	uint8_t bytes[SET_KEY_MAX];
	uint8_t len;
};
void key_init(struct key *k);
void key_u32(struct key *k, uint32_t host_order); /* marks, uids */
void key_addr(struct key *k, const struct addr *a);
void key_u8(struct key *k, uint8_t v);             /* padded to 4 */
void key_port(struct key *k, uint16_t host_order); /* padded to 4 */
void key_cgroup(struct key *k, uint64_t id);

/* --- difference ------------------------------------------------------------------------------ */

/*
 * Order of a plan. A cut never waits for anything; what lets flows run on comes before what takes
 * the old away, so a plan may be sent in several transactions without losing a permitted packet.
 */
enum plan_phase {
	PLAN_CUT,      /* live elements and leases that go for good */
	PLAN_ADD_LIVE, /* leases, ends and live_udp of new conduits, then live */
	PLAN_CLASSIFY, /* who, out, in: old out, new in, together */
	PLAN_REDERIVE, /* numbers to classify again, and their live elements out */
	PLAN_LAZY,     /* ends and live_udp of new processes, and what nothing refers to any more */
	PLAN_PHASE_COUNT,
};

enum plan_action { PLAN_DEL, PLAN_ADD };

/* One element. record points into the old ruleset (DEL) or the new one (ADD): both must outlive the
 * plan. */
struct plan_op {
	uint8_t phase, action;
	struct set_ref ref;
	const uint8_t *record;
};

struct plan {
	bool shape_changed; /* chains are to be replaced; sent with the first transaction */
	struct plan_op
		*ops; /* sorted by phase; within a phase deletions of a key precede its addition */
	size_t op_count, op_cap;
};

/*
 * old may be NULL (an empty table). `rederive` lists numbers (sorted) whose flows are to be
 * classified again instead of cut. A lease whose end differs is a DEL and an ADD.
 */
int plan_make(const struct ruleset *old, const struct ruleset *new_, const uint32_t *rederive,
	      size_t rederive_count, struct plan **ret, struct err *err);
void plan_free(struct plan *p);
void plan_freep(struct plan **p);
bool plan_is_empty(const struct plan *p);
