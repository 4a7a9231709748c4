/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Parts of ruleset_build(), private to rules/compile_build.c and rules/compile_host.c: generations
 * and the host become one ruleset.
 */
#pragma once

#include "rules/compile.h"

/* A process group of a local identity. */
struct local_end {
	uint32_t mark; /* of the identity */
	uint8_t level;
	uint64_t cgroup;
};

struct local_ends {
	struct local_end *items;
	size_t count, cap;
};

/* One generation with its host, in its slot. */
struct build_side {
	const struct generation *g;
	const struct host *host;
	enum slot slot;
	uint32_t *by_index;     /* locals in the order of their policy indices */
	struct local_ends ends; /* sorted by mark, level, cgroup; unique */
	uint32_t *by_user;      /* marks of identities that some workload knows by its uid alone */
	size_t by_user_count;
	struct local_end *nobodies;
	size_t nobody_count;
	size_t next; /* position in g->conduits while merging */
};

struct build {
	struct ruleset *r;
	const struct table_shape *shape;
	struct build_side sides[2];
	size_t side_count;
	struct local_ends found[2]; /* ends of the conduit at hand, for each side */
	struct err *err;
};

int build_no_memory(const struct build *b);
int build_add(const struct build *b, struct set_ref ref, const struct key *key, const void *value);
int build_add_mark(const struct build *b, enum set_kind kind, uint32_t mark);
int build_ends_add(const struct build *b, struct local_ends *l, const struct local_end *end);
/* Sorts by mark, level and cgroup, and drops repetitions. */
void build_ends_sort(struct local_ends *l);

/* Sets up the side's lookups and writes who, listeners and nobodies. */
int build_host(const struct build *b, struct build_side *s);
void build_host_done(struct build_side *s);
/* The ends of one identity: [*ret_first, *ret_first + count). */
size_t build_ends_of(const struct build_side *s, uint32_t mark, size_t *ret_first);
