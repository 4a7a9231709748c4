/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "rules/table_build.h"

#define LEVEL_1_BIT 1

const char *const table_counters[TABLE_COUNTERS] = {
	"refused",  "denied",    "would_deny", "resynced",
	"log_lost", "unclaimed", "questions",  "unasked",
};

/* --- statements ------------------------------------------------------------------------------ */

struct stmt table_plain(enum stmt_kind kind)
{
	return (struct stmt){.kind = (uint8_t)kind};
}

struct stmt table_value(enum stmt_kind kind, uint32_t value)
{
	return (struct stmt){.kind = (uint8_t)kind, .value = value};
}

struct stmt table_mask(enum stmt_kind kind, uint32_t mask, uint32_t value)
{
	return (struct stmt){.kind = (uint8_t)kind, .mask = mask, .value = value};
}

struct stmt table_named(enum stmt_kind kind, const char *fmt, ...)
{
	struct stmt s = {.kind = (uint8_t)kind};
	va_list ap;

	va_start(ap, fmt);
	/* Names are constants of this program; one that is cut fails in the kernel by name. */
	(void)vsnprintf(s.name, sizeof(s.name), fmt, ap);
	va_end(ap);
	return s;
}

struct stmt table_not(struct stmt s)
{
	s.invert = !s.invert;
	return s;
}

struct set_ref table_set(enum set_kind kind, uint8_t slot, uint8_t level)
{
	return (struct set_ref){.kind = (uint8_t)kind, .slot = slot, .level = level};
}

struct stmt table_keyed(enum stmt_kind kind, struct set_ref set, const int *loads)
{
	struct stmt s = {.kind = (uint8_t)kind, .set = set, .level = set.level};

	while (s.load_count < SET_FIELDS_MAX && loads[s.load_count] >= 0) {
		s.loads[s.load_count] = (uint8_t)loads[s.load_count];
		s.load_count++;
	}
	return s;
}

struct stmt table_mark_in_slot(enum set_kind kind, uint8_t slot)
{
	return found_in(table_set(kind, slot, 0), LOAD_CT_MARK);
}

struct stmt table_mark_in(enum set_kind kind)
{
	return mark_in_slot(kind, SLOT_A);
}

struct stmt table_switched_on(enum set_kind kind)
{
	return found_in(table_set(kind, SLOT_A, 0), LOAD_NFPROTO);
}

/*
 * nft 1.0.6 takes no number where a cgroup is compared, only a path. "Not in an empty set" holds
 * for every packet whose socket has an ancestor at that level, and breaks for all others.
 */
struct stmt table_has_cgroup(uint8_t level)
{
	struct stmt s = table_keyed(STMT_LOOKUP, table_set(0, SLOT_A, level), KEY(LOAD_CGROUP));

	s.const_set = TABLE_SET_NONE_CGROUP;
	s.invert = true;
	return s;
}

struct stmt table_has_ports(void)
{
	struct stmt s = table_keyed(STMT_LOOKUP, table_set(0, SLOT_A, 0), KEY(LOAD_L4PROTO));

	s.const_set = TABLE_SET_PORTED;
	return s;
}

struct stmt table_live(void)
{
	return verdict_of(table_set(SET_LIVE, SLOT_A, 0), LOAD_CT_MARK);
}

/* --- chains and rules ------------------------------------------------------------------------ */

static struct table_chain *new_chain(struct builder *b)
{
	struct table *t = b->t;
	struct table_chain *c;

	if (b->r < 0)
		return NULL;
	b->r = vec_grow(&t->chains, &t->chain_cap, t->chain_count + 1, sizeof(*t->chains),
			TABLE_CHAINS_MAX);
	if (b->r < 0)
		return NULL;
	c = &t->chains[t->chain_count++];
	*c = (struct table_chain){.first = t->rule_count};
	return c;
}

void table_add_chain(struct builder *b, const char *fmt, ...)
{
	struct table_chain *c = new_chain(b);
	va_list ap;

	if (c == NULL)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(c->name, sizeof(c->name), fmt, ap);
	va_end(ap);
}

void table_add_base(struct builder *b, const char *name, uint8_t hook)
{
	struct table_chain *c;

	table_add_chain(b, "%s", name);
	if (b->r < 0)
		return;
	c = &b->t->chains[b->t->chain_count - 1];
	c->hook = hook;
}

void table_add_rule(struct builder *b, const struct stmt *stmts, size_t count)
{
	struct table *t = b->t;

	if (b->r < 0)
		return;
	b->r = vec_grow(&t->rules, &t->rule_cap, t->rule_count + 1, sizeof(*t->rules),
			TABLE_STMTS_MAX);
	if (b->r < 0)
		return;
	b->r = vec_grow(&t->stmts, &t->stmt_cap, t->stmt_count + count, sizeof(*t->stmts),
			TABLE_STMTS_MAX);
	if (b->r < 0)
		return;
	memcpy(&t->stmts[t->stmt_count], stmts, count * sizeof(*stmts));
	t->rules[t->rule_count++] = (struct table_rule){.first = t->stmt_count, .count = count};
	t->stmt_count += count;
	t->chains[t->chain_count - 1].count++;
}

void table_by_slot(struct builder *b, const char *name)
{
	CHAIN(b, "%s", name);
	RULE(b, switched_on(SET_CANDIDATE_ON), go("%s_b", name));
	RULE(b, go("%s_a", name));
}

void table_ask_watched(struct builder *b, const char *to)
{
	RULE(b, switched_on(SET_CANDIDATE_ON), mark_in_slot(SET_ASK_WATCHED, SLOT_B), go("%s", to));
	RULE(b, not(switched_on(SET_CANDIDATE_ON)), mark_in_slot(SET_ASK_WATCHED, SLOT_A),
	     go("%s", to));
}

/* --- sets ------------------------------------------------------------------------------------ */

static void add_set(struct builder *b, uint8_t kind, uint8_t slot, uint8_t level)
{
	struct table *t = b->t;

	if (b->r < 0)
		return;
	b->r = vec_grow(&t->sets, &t->set_cap, t->set_count + 1, sizeof(*t->sets),
			SET_KIND_COUNT * 2 * 32);
	if (b->r == 0)
		t->sets[t->set_count++] = table_set(kind, slot, level);
}

/* Level 1 has a meter in any case: an unknown cgroup may be anywhere. */
static uint32_t levels_of(const struct table_shape *shape, uint8_t kind)
{
	return kind == SET_ASKED ? shape->levels | LEVEL_1_BIT : shape->levels;
}

static void add_sets(struct builder *b)
{
	for (uint8_t kind = 0; kind < SET_KIND_COUNT; kind++) {
		const struct set_spec *spec = set_spec(kind);
		uint32_t levels = spec->per_level ? levels_of(&b->t->shape, kind) : 1;

		for (uint8_t slot = SLOT_A; slot <= (spec->per_slot ? SLOT_B : SLOT_A); slot++) {
			for (uint8_t level = 0; level < 32; level++) {
				if (levels & 1U << level)
					add_set(b, kind, slot,
						spec->per_level ? (uint8_t)(level + 1) : 0);
			}
		}
	}
}

const char *table_key_type(char buf[TABLE_TYPE_MAX], enum set_kind kind)
{
	static const char *const names[] = {
		[FIELD_MARK] = "mark",         [FIELD_ADDR4] = "ipv4_addr",
		[FIELD_ADDR6] = "ipv6_addr",   [FIELD_L4PROTO] = "inet_proto",
		[FIELD_PORT] = "inet_service", [FIELD_ICMP_TYPE] = "icmp_type",
		[FIELD_CGROUP] = "cgroupsv2",  [FIELD_UID] = "uid",
		[FIELD_NFPROTO] = "nf_proto",
	};
	const struct set_spec *spec = set_spec(kind);
	bool v6 = false;
	size_t len = 0;

	buf[0] = '\0';
	for (uint8_t i = 0; i < spec->field_count; i++) {
		const char *name = names[spec->fields[i]];
		int n;

		v6 = v6 || spec->fields[i] == FIELD_ADDR6;
		if (spec->fields[i] == FIELD_ICMP_TYPE && v6)
			name = "icmpv6_type";
		n = snprintf(buf + len, TABLE_TYPE_MAX - len, "%s%s", i ? " . " : "", name);
		if (n < 0 || (size_t)n >= TABLE_TYPE_MAX - len)
			break;
		len += (size_t)n;
	}
	return buf;
}

/* --- the whole ------------------------------------------------------------------------------- */

int table_build(const struct table_shape *shape, struct table **ret, struct err *err)
{
	CLEANUP(table_freep) struct table *t = mem_calloc(1, sizeof(*t));
	struct builder b = {.t = t};

	if (t == NULL)
		return err_set(err, ENOMEM, "out of memory");
	if (shape->unclaimed_mark < MARK_UNCLAIMED_MIN ||
	    shape->unclaimed_mark > MARK_UNCLAIMED_MAX)
		return err_set(err, EINVAL, "%#x is no mark for unclaimed flows",
			       shape->unclaimed_mark);
	t->shape = *shape;
	add_sets(&b);
	table_answers(&b);
	table_live_chains(&b);
	table_whose(&b);
	table_which(&b);
	table_questions(&b);
	table_paths(&b);
	if (b.r < 0)
		return err_set(err, -b.r, "the chains of the kernel table could not be made");
	*ret = TAKE_PTR(t);
	return 0;
}

void table_free(struct table *t)
{
	if (t == NULL)
		return;
	free(t->sets);
	free(t->chains);
	free(t->rules);
	free(t->stmts);
	free(t);
}

void table_freep(struct table **t)
{
	table_free(*t);
	*t = NULL;
}
