/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What one cgroup is under one policy: which claims are anchored there and hold now, whether an
 * element may say it, and whose a socket in it is. Is cgroup->data; agent/workload.c drives it.
 *
 * Everything here is local: a cgroup and its ancestors (at most CGROUP_LEVEL_MAX), so that a
 * thousand restarts cost a thousand looks. Whatever could not be found out makes a cgroup not
 * enterable: it stays a question, and questions without an answer are refused.
 */
#pragma once

#include "agent/cgroup.h"
#include "agent/claim.h"
#include "agent/process.h"
#include "base/clock.h"
#include "rules/ruleset.h"

#include <stdbool.h>
#include <stdint.h>

#define PLACE_CLAIMS_MAX 64   /* anchored at one cgroup; more are an ambiguity */
#define PLACE_SETTLE_MS  1000 /* a new cgroup's processes are still changing their executables */

/* One policy in use. */
struct place_context {
	enum slot slot;
	const struct policy *policy; /* NULL: no claims */
	struct claims *claims;
	struct cgroup_tree *tree;
	bool deleted_exe_ok;
	process_digest_fn digest; /* NULL: no executable is known by its bytes */
	void *digest_user;
};

struct place_claim {
	uint32_t claim;
	bool ingress_only;
	bool delegated; /* refused: no user named below a delegated cgroup (R39) */
	bool holds;
};

struct place_slot {
	struct place_claim *claims;
	uint8_t count;
	bool open; /* something below may be claimed: not entered itself (R24) */
	bool look_below;
	bool conditional; /* some claim depends on processes */
	bool pending;     /* and may begin to hold at any moment: not entered as somebody else's */
	bool ambiguous;
	bool failed;      /* could not be evaluated */
	uint32_t blocked; /* ambiguous cgroups below */
	const char *essential_unit;
};

/* cgroup->data. */
struct place {
	struct mono since;
	struct place_slot slots[2];
};

void place_init(struct cgroup *c, struct mono now);
void place_done(struct cgroup *c);
struct place_slot *place_slot(const struct cgroup *c, enum slot slot);

/* Finds the claims of a cgroup anew. -ENOMEM leaves it not enterable. */
int place_evaluate(const struct place_context *x, struct cgroup *c, struct mono now);
/* Undoes what place_evaluate() told the ancestors; before the cgroup or the policy goes. */
void place_forget(const struct place_context *x, struct cgroup *c);
/* Reads the processes again where a claim depends on them. True when something changed. */
bool place_recheck(const struct place_context *x, struct cgroup *c, struct mono now);

/* The nearest cgroup from here upwards where a claim holds; NULL = none. */
const struct cgroup *place_holder(const struct cgroup *c, enum slot slot);
/* Whether one element may stand for everything in this cgroup. */
bool place_enterable(const struct cgroup *c, enum slot slot);
/* Whether this cgroup has an element of its own: enterable, and its parent's does not say it. */
bool place_emits(const struct cgroup *c, enum slot slot);

enum place_owner { PLACE_NOBODY, PLACE_IDENTITY, PLACE_AMBIGUOUS };
struct place_judgement {
	enum place_owner owner;
	uint32_t identity;
	bool has_uid; /* by its uid */
	bool ingress_only;
	bool ask_listener; /* by its uid, another socket in the same cgroup may be somebody else's
			    */
};
/* Whose a socket of this uid is; c NULL for cgroups that are not known (outside of the root). */
struct place_judgement place_judge(const struct place_context *x, const struct cgroup *c,
				   uint32_t uid);
