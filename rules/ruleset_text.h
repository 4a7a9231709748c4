/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Rulesets and plans as nft syntax (nft 1.0.6): for people, goldens and `nft -f`. The kernel is
 * never fed this way; agent/nft sends the same table through libnftnl.
 *
 * nft takes cgroups by path only, so a text whose elements name cgroups can be loaded when
 * `cgroup_path` knows them all; others are printed as numbers, as nft itself lists removed ones.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "rules/compile.h"
#include "rules/table.h"

struct ruleset_names {
	const struct generation *confirmed, *candidate; /* for comments; may be NULL */
	/* Path below /sys/fs/cgroup, or NULL when unknown. Valid until the next call. */
	const char *(*cgroup_path)(void *user, uint64_t id);
	void *user;
	int64_t now_s; /* leases are printed as what is left of them; 0: as permanent */
};

/* The whole table with its elements. Errors of memory are in b->r. */
int ruleset_text(const struct ruleset *r, const struct ruleset_names *names, struct buf *b,
		 struct err *err);
/* Sets, counters and chains only. */
void table_text(const struct table *t, struct buf *b);
/* One statement, as inside a rule; for error messages. */
void stmt_text(const struct stmt *s, const struct table_shape *shape, struct buf *b);
/* "0x40000001 . 10.0.0.9 . tcp . 8443": the key of a record, intervals as nft writes them. */
void record_key_text(enum set_kind kind, const uint8_t *record, const struct ruleset_names *names,
		     struct buf *b);
/* "add element inet bailiwick live { 0x00000064 : accept comment "..." }", one line an operation.
 */
void plan_text(const struct plan *p, const struct ruleset *new_, const struct ruleset_names *names,
	       struct buf *b);
