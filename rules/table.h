/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The chains of the kernel table, as data (DESIGN sections 2 and 3, findings R1 to R58).
 *
 * table_build() turns a shape into sets, counters, chains and rules; a rule is a list of
 * statements, each with exactly one nft spelling and one expression form. Two back ends read this:
 * rules/ruleset_text (nft syntax) and agent/nft_expr (libnftnl). Nothing here depends on policy:
 * how many rules there are depends on the cgroup levels in use alone.
 *
 * Fails closed: a statement that cannot be evaluated (no conntrack entry, no socket) ends its rule,
 * and every path ends in a denial. Only the observe chains accept what nothing permitted.
 *
 * A chain that an element of `live` can lead to must not look `live` up again: the kernel refuses
 * such a loop (EMLINK, R5). The kernel walks every path of gotos and jumps whenever an element with
 * a chain is added (nft_chain_validate), and on each path every element of `live`: so the base
 * chains alone look it up, and classification comes back to them with a mark.
 */
#pragma once

#include "base/err.h"
#include "rules/ruleset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Parts of packets that keys are made of. */
enum load {
	LOAD_CT_MARK,
	LOAD_SADDR4,
	LOAD_DADDR4,
	LOAD_SADDR6,
	LOAD_DADDR6,
	LOAD_L4PROTO,
	LOAD_SPORT, /* first two bytes of any transport header: type and code for ICMP */
	LOAD_DPORT, /* the next two */
	LOAD_ICMP_TYPE,
	LOAD_ICMPV6_TYPE,
	LOAD_CGROUP, /* of the socket, ancestor at a level */
	LOAD_UID,
	LOAD_NFPROTO,
};

enum stmt_kind {
	/* Matches: the rule goes on when they hold. */
	STMT_L4PROTO, /* value; may be inverted */
	STMT_NFPROTO, /* value: AF_INET, AF_INET6 */
	STMT_IIF_LO,
	STMT_OIF_LO,
	STMT_IIF_NONE, /* hook output; inverted: hook input */
	STMT_HAS_UID,  /* a process sends: kernel sockets have no file (meta skuid) */
	STMT_SYN_ONLY, /* tcp flags & (fin | syn | rst | ack) == syn; may be inverted */
	STMT_SYN_RAW,  /* the same, for packets known to be TCP: without a test of the protocol */
	STMT_SYN_ACK,
	STMT_RST,
	STMT_CT_STATE,    /* value: bits TABLE_STATE_* */
	STMT_CT_REPLY,    /* ct direction reply; inverted: original */
	STMT_CT_EXPECTED, /* ct status expected */
	STMT_WILDCARD,    /* value 0 or 1: both break when there is no full socket */
	STMT_HOP_LIMIT,   /* value, IPv6 */
	STMT_ICMP_TYPE,   /* value */
	STMT_ICMPV6_TYPE, /* value */
	STMT_SADDR6_LINK_LOCAL,
	STMT_SADDR6_ANY, /* :: */
	STMT_PKTTYPE,    /* value: PACKET_BROADCAST, PACKET_MULTICAST */
	STMT_CT_MARK,    /* (ct mark & mask) == value; may be inverted */
	STMT_META_MARK,  /* (meta mark & mask) == value; may be inverted */
	STMT_LOOKUP,     /* key in set; may be inverted */
	STMT_LIMIT,      /* value per second, mask = burst */
	/* Statements. */
	STMT_SET_CT_MARK,       /* value */
	STMT_SET_CT_MARK_MAP,   /* from set by key; breaks when the key is missing */
	STMT_CT_MARK_OR,        /* value */
	STMT_CT_MARK_FROM_META, /* meta mark & mask */
	STMT_SET_META_MARK,     /* value */
	STMT_META_MARK_FROM_CT, /* meta mark set ct mark */
	/* Element with key into a dynamic set; value: limit per second or 0, mask: its burst. */
	STMT_UPDATE,
	STMT_COUNTER, /* name */
	STMT_LOG,     /* name: prefix */
	/* Verdicts. */
	STMT_VMAP, /* verdict of set by key */
	STMT_ACCEPT,
	STMT_DROP,
	STMT_RETURN,
	STMT_JUMP, /* name */
	STMT_GOTO, /* name */
	STMT_REJECT_RST,
	STMT_REJECT_ADMIN, /* icmpx admin-prohibited */
	STMT_QUEUE,        /* value: number */
};

#define TABLE_STATE_INVALID     1U
#define TABLE_STATE_ESTABLISHED 2U
#define TABLE_STATE_RELATED     4U
#define TABLE_STATE_NEW         8U
#define TABLE_STATE_UNTRACKED   64U

/* Constant sets beside those of ruleset.h. */
enum table_const_set {
	TABLE_SET_NONE_CGROUP = 1, /* empty: "!= @no_cgroup" holds for every cgroup there is */
	TABLE_SET_PORTED,          /* tcp, udp */
};
#define TABLE_NO_CGROUP "no_cgroup"
#define TABLE_PORTED    "ported"

struct stmt {
	uint8_t kind; /* enum stmt_kind */
	bool invert;
	uint8_t const_set; /* enum table_const_set instead of set, or 0 */
	struct set_ref set;
	uint8_t loads[SET_FIELDS_MAX]; /* enum load */
	uint8_t load_count;
	uint8_t level; /* of LOAD_CGROUP */
	uint32_t value, mask;
	char name[CHAIN_NAME_MAX]; /* chain, counter or log prefix */
};

struct table_rule {
	size_t first, count; /* range of struct table.stmts */
};

struct table_chain {
	char name[CHAIN_NAME_MAX];
	uint8_t hook;        /* 0: none; else TABLE_HOOK_* */
	size_t first, count; /* range of struct table.rules */
};

#define TABLE_HOOK_INPUT  2 /* NF_INET_LOCAL_IN + 1 */
#define TABLE_HOOK_OUTPUT 4 /* NF_INET_LOCAL_OUT + 1 */
#define TABLE_CHAIN_OUT   "out"
#define TABLE_CHAIN_IN    "in"

/* Whole rulesets: about 500 rules for three levels. */
#define TABLE_STMTS_MAX  16384
#define TABLE_CHAINS_MAX 512

#define TABLE_COUNTERS 8
extern const char *const table_counters[TABLE_COUNTERS];

/* Questions to far nodes for each source address: bounds our own work, never a busy client. */
#define TABLE_ASKS_PER_SECOND 20000
#define TABLE_ASKS_BURST      4000

/* Kernel-side state: length of life of an element that the packet path adds. */
#define TABLE_DYNAMIC_MS 10000

/* Log lines: NFLOG prefix "bw:DECISION:WHY", the hook is in the packet header of the message. */
#define TABLE_LOG_PREFIX  "bw:"
#define TABLE_LOG_SNAPLEN 96
enum table_log_decision { TABLE_LOG_DENY, TABLE_LOG_WOULD, TABLE_LOG_WATCH };
enum table_log_why {
	TABLE_LOG_RULE,      /* no conduit for this local end: no rule, or nobody's process */
	TABLE_LOG_ENDED,     /* its conduit is not live: revoked, lease ended, rule gone */
	TABLE_LOG_END,       /* another local end than the conduit's: receiver changed */
	TABLE_LOG_UNKNOWN,   /* unknown cgroup, and nobody could be asked */
	TABLE_LOG_UNTRACKED, /* no valid conntrack entry */
	TABLE_LOG_ATTEST,    /* the far node was asked and did not vouch, or could not be asked */
	TABLE_LOG_RESYNC,    /* bare SYN on a live entry: see whether a new socket has the tuple */
	TABLE_LOG_WHY_COUNT,
};
/* -EINVAL when the prefix is not one of ours. */
int table_log_parse(const char *prefix, enum table_log_decision *ret_decision,
		    enum table_log_why *ret_why);

struct table {
	struct table_shape shape;
	struct set_ref *sets; /* in the order of kinds; those the shape has */
	size_t set_count, set_cap;
	struct table_chain *chains; /* base chains last */
	size_t chain_count, chain_cap;
	struct table_rule *rules;
	size_t rule_count, rule_cap;
	struct stmt *stmts;
	size_t stmt_count, stmt_cap;
};

int table_build(const struct table_shape *shape, struct table **ret, struct err *err);
void table_free(struct table *t);
void table_freep(struct table **t);

/* Which queue asks what (FORMATS, queues). */
#define TABLE_QUEUE_WHO      0 /* unknown cgroups, listeners by uid or without a socket */
#define TABLE_QUEUE_ATTEST   1
#define TABLE_QUEUE_DATAGRAM 2

/* nft's name of a set's data type: "mark . ipv4_addr . inet_proto . inet_service". */
#define TABLE_TYPE_MAX 96
const char *table_key_type(char buf[TABLE_TYPE_MAX], enum set_kind kind);
