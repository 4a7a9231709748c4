/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside of rules/table*.c: how rules are written down. One C line is one rule:
 *
 *	RULE(b, mark_is(0), go("unknown"));
 *
 * Errors are sticky in b->r; nothing here affects traffic before a back end loads it.
 */
#pragma once

#include "rules/marks.h"
#include "rules/table.h"

struct builder {
	struct table *t;
	int r; /* sticky: 0 or -errno */
};

/* Rules added afterwards belong to this chain. */
void table_add_chain(struct builder *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void table_add_base(struct builder *b, const char *name, uint8_t hook);
void table_add_rule(struct builder *b, const struct stmt *stmts, size_t count);
#define CHAIN(b, ...) table_add_chain((b), __VA_ARGS__)
#define RULE(b, ...)                                                                               \
	table_add_rule((b), (const struct stmt[]){__VA_ARGS__},                                    \
		       sizeof((const struct stmt[]){__VA_ARGS__}) / sizeof(struct stmt))

#define SLOT_SUFFIX(slot) ((slot) == SLOT_A ? "a" : "b")
#define FOR_SLOTS(slot)   for (uint8_t slot = SLOT_A; slot <= SLOT_B; slot++)
/* Shallow first: what is found later overwrites, so the deepest match wins. */
#define FOR_LEVELS(b, level)                                                                       \
	for (uint8_t level = 1; level <= 32; level++)                                              \
		if ((b)->t->shape.levels & 1U << (level - 1U))

struct stmt table_plain(enum stmt_kind kind);
struct stmt table_value(enum stmt_kind kind, uint32_t value);
struct stmt table_mask(enum stmt_kind kind, uint32_t mask, uint32_t value);
struct stmt table_named(enum stmt_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
struct stmt table_not(struct stmt s);

struct set_ref table_set(enum set_kind kind, uint8_t slot, uint8_t level);
/* loads ends with -1. LOAD_CGROUP takes the level of the reference, or 1. */
struct stmt table_keyed(enum stmt_kind kind, struct set_ref set, const int *loads);
#define KEY(...) ((const int[]){__VA_ARGS__, -1})

#define go(...)              table_named(STMT_GOTO, __VA_ARGS__)
#define jump(...)            table_named(STMT_JUMP, __VA_ARGS__)
#define accept_it()          table_plain(STMT_ACCEPT)
#define drop_it()            table_plain(STMT_DROP)
#define back()               table_plain(STMT_RETURN)
#define count_as(counter)    table_named(STMT_COUNTER, "%s", (counter))
#define map_mark(set, ...)   table_keyed(STMT_SET_CT_MARK_MAP, (set), KEY(__VA_ARGS__))
#define found_in(set, ...)   table_keyed(STMT_LOOKUP, (set), KEY(__VA_ARGS__))
#define verdict_of(set, ...) table_keyed(STMT_VMAP, (set), KEY(__VA_ARGS__))

#define proto_is(p)    table_value(STMT_L4PROTO, (p))
#define state_is(bits) table_value(STMT_CT_STATE, (bits))
#define mark_is(m)     table_mask(STMT_CT_MARK, UINT32_MAX, (m))
/* Any of these bits. */
#define mark_has(bits) table_not(table_mask(STMT_CT_MARK, (bits), 0))
#define set_mark(m)    table_value(STMT_SET_CT_MARK, (m))
#define is_identity()  mark_has(0x40000000u)
/* Both bits: what was asked about, and not vouched for. */
#define is_not_vouched() table_mask(STMT_CT_MARK, MARK_NOT_VOUCHED, MARK_NOT_VOUCHED)
#define is_reply()       table_plain(STMT_CT_REPLY)
#define is_original()    table_not(table_plain(STMT_CT_REPLY))
#define is_output()      table_plain(STMT_IIF_NONE)
#define is_input()       table_not(table_plain(STMT_IIF_NONE))
#define has_verdict()    table_not(table_mask(STMT_META_MARK, MARK_VERDICT, 0))

#define not(s) table_not(s)

struct stmt table_mark_in(enum set_kind kind); /* ct mark @kind */
struct stmt table_mark_in_slot(enum set_kind kind, uint8_t slot);
struct stmt table_switched_on(enum set_kind kind); /* meta nfproto @kind */
struct stmt table_has_cgroup(uint8_t level);       /* a socket below the root cgroup */
struct stmt table_has_ports(void);
struct stmt table_live(void); /* ct mark vmap @live */

#define mark_in(kind)            table_mark_in(kind)
#define mark_in_slot(kind, slot) table_mark_in_slot((kind), (slot))
#define switched_on(kind)        table_switched_on(kind)
#define has_cgroup(level)        table_has_cgroup(level)
#define has_ports()              table_has_ports()
#define live()                   table_live()

/* Chain `name`: to name_b while the candidate generation is switched on, else to name_a (R15). */
void table_by_slot(struct builder *b, const char *name);
/* To chain `to` where a rule in observe mode is among those that ask. */
void table_ask_watched(struct builder *b, const char *to);

/*
 * ICMP errors about flows, see table_errors.c: where those of one hook are judged, and what keeps
 * them from being taken for packets of their flow.
 */
void table_judge_errors(struct builder *b, bool in);
void table_accept_errors(struct builder *b);
void table_skip_errors(struct builder *b);

/* Parts, each in its own file. */
void table_answers(struct builder *b);     /* log, observe, deny, answer */
void table_live_chains(struct builder *b); /* what elements of live lead to */
void table_whose(struct builder *b);       /* local end -> identity mark */
void table_which(struct builder *b);       /* identity, far end, service -> conduit mark */
void table_questions(struct builder *b);
void table_errors(struct builder *b);
void table_paths(struct builder *b); /* base chains and what they lead to */
