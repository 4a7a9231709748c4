/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Selectors of a policy, indexed for the question "which identities claim this cgroup path, and can
 * anything below it be claimed". Pure: names of users and groups are resolved through a callback.
 *
 * An entry of a workload is one claim. It is anchored at the topmost cgroup where all its path
 * selectors (unit, slice, cgroup, container, pod) hold; an entry without any is `pathless` and
 * holds wherever its processes are (exe, exe_sha256, fsverity, group) or everywhere (user alone).
 */
#pragma once

#include "agent/container.h"
#include "agent/unit.h"
#include "base/err.h"
#include "rules/essentials.h"
#include "rules/policy.h"
#include "rules/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLAIMS_MAX       200000
#define CLAIM_PATH_MAX   4096
#define CLAIM_DIGEST_LEN 32

struct claim {
	uint32_t identity;                  /* index in the policy */
	const struct workload_entry *entry; /* borrowed from the policy */
	bool has_uid, has_gid;
	uint32_t uid, gid;
	const char *exe;               /* absolute path, borrowed; NULL = any */
	bool has_sha256, has_fsverity; /* of the executable */
	uint8_t sha256[CLAIM_DIGEST_LEN], fsverity[CLAIM_DIGEST_LEN];
	bool placed; /* false: policy lets the identity run here, the view does not place it */
	bool pathless;
	bool seen; /* scratch of the caller: a cgroup has it */
};

/* Users and groups by name or number: 0, or -ENOENT. */
struct claim_names {
	int (*user)(void *user, const char *name, uint32_t *ret_uid);
	int (*group)(void *user, const char *name, uint32_t *ret_gid);
	void *user_data;
};

struct claims; /* borrows the policy and the essentials */

/*
 * Claims of the identities that policy lets run here, placed by `view` or not (a workload whose
 * placement is taken away must not become unclaimed, and so free); none without policy or view. By
 * user alone only placed ones claim. An entry whose
 * user or group is unknown, or that contradicts itself, can hold nowhere: it is left out and told
 * to `problem`.
 */
int claims_new(const struct policy *policy, const struct view *view,
	       const struct essentials *essentials, const struct claim_names *names,
	       void (*problem)(void *user, const char *text), void *problem_user,
	       struct claims **ret_claims, struct err *err);
void claims_free(struct claims *c);
void claims_freep(struct claims **c);

size_t claims_count(const struct claims *c);
struct claim *claims_at(struct claims *c, size_t index);
/* A condition on processes that the kernel cannot look up. */
bool claim_is_conditional(const struct claim *c);

/* A cgroup below the cgroup root: its path ("" = the root itself) and what that says. */
struct claim_place {
	const char *path;
	struct unit_place unit;
	struct container_place container;
};
void claim_place_init(struct claim_place *ret_place, const char *path);

/* Claims anchored at this place, one call each; a negative answer ends it and is returned. */
typedef int (*claim_fn)(void *user, uint32_t claim);
/* With the flag: by socket activation, at ingress only (R41). */
typedef int (*claim_anchor_fn)(void *user, uint32_t claim, bool ingress_only);
int claims_anchored(const struct claims *c, const struct claim_place *place, claim_anchor_fn fn,
		    void *user);
/* Claims that only their processes (executable, group) tell. */
int claims_pathless(const struct claims *c, claim_fn fn, void *user);
/* Claims of a uid alone. */
int claims_of_uid(const struct claims *c, uint32_t uid, claim_fn fn, void *user);
bool claims_have_uid_only(const struct claims *c);
bool claims_have_pathless(const struct claims *c);

/*
 * Whether a claim may be anchored strictly below, or be a unit that an essential names: then this
 * cgroup is not entered itself (R24).
 */
bool claims_open_below(const struct claims *c, const struct claim_place *place);
/* Whether cgroups strictly below must be known at all. */
bool claims_look_below(const struct claims *c, const struct claim_place *place);
/* The unit that an essential names and this cgroup is (foo.socket is foo.service too), or NULL. */
const char *claims_essential_unit(const struct claims *c, const struct claim_place *place);

/* "unit settlement.service, user settlement" for messages. */
#define CLAIM_TEXT_MAX 512
const char *claim_format(char buf[CLAIM_TEXT_MAX], const struct claim *c);
/* "a//b/" and "/a/b" become "a/b". Its components; -EINVAL for "..", "." and too long ones. */
int claim_path_normalize(const char *path, char ret_path[CLAIM_PATH_MAX]);
