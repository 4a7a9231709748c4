/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A controller's core in a directory of its own: keys, a policy that is signed and published, a
 * clock of its own, and a list of whom it woke.
 */
#pragma once

#include "controller-client/head.h"
#include "controller-client/key.h"
#include "controller/core_parts.h"

#define FIXTURE_WOKEN_MAX 64

/* Identities web, api, db, log, lone; web calls api, api calls db, everybody of prod logs. */
extern const char *const core_policy;

struct core_fixture {
	struct core *core;
	char dir[256];
	struct private_key key, other_key;
	struct err err;
	char woken[FIXTURE_WOKEN_MAX][NODE_NAME_MAX];
	size_t woken_count;
	json_t *answer; /* of the order made last */
};

/* An empty one: keys, no policy. */
void core_setup(struct core_fixture *f);
/* With core_policy as revision 1. */
void core_setup_published(struct core_fixture *f);
void core_teardown(struct core_fixture *f);
/* Ends as it should, or as if killed; then opens it again. */
void core_reopen(struct core_fixture *f, bool killed);

/* The fixture's clock, in milliseconds; starts at FIXTURE_NOW_S. */
void core_clock_set(int64_t ms);
void core_clock_add(int64_t ms);

struct core_manifest_of {
	uint64_t revision, floor;
	const char *trust_domain, *policy;
	const char *revoked_node;
	int64_t issued, expires; /* 0: now, in a year */
};
/* Signs with `key` and publishes; the blob is uploaded first. */
int core_publish_of(struct core_fixture *f, const struct private_key *key,
		    const struct core_manifest_of *m);
int core_publish_next(struct core_fixture *f, uint64_t revision, const char *policy);

/* addresses: by spaces, may be NULL. */
int core_put(struct core_fixture *f, const char *identity, const char *node, const char *addresses);
int core_take(struct core_fixture *f, const char *identity, const char *node);
int core_report_of(struct core_fixture *f, const char *node, const char *members);

/* Must be there. Verified with the controller's key. */
void core_head_of(struct core_fixture *f, const char *node, struct head *ret);
uint64_t core_sequence_of(struct core_fixture *f, const char *node);
struct view *core_view_of(struct core_fixture *f, const char *node);
/* "placed | peers" as "a b | c@n2 d@n3". */
const char *core_view_text(struct core_fixture *f, const char *node);
bool core_woke(const struct core_fixture *f, const char *node);
void core_forget_woken(struct core_fixture *f);
/* One number from the database, by a connection of its own. */
int64_t core_sql(struct core_fixture *f, const char *sql);
