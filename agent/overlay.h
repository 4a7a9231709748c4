/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What operators of this host and the controller's heads change on top of policy: revocations and
 * quarantines, which close live flows at their next packet and never touch essentials; grants,
 * which open a pair that policy foresees for a while.
 *
 * Operators' entries outlive restarts by this host's own file. Those of the head are replaced as a
 * whole by the next head, are not written here (the head itself is kept), and cannot be taken back
 * on this host: an intruder with root here must not lift what the fleet's operators ordered.
 */
#pragma once

#include "agent/agent.h"

/* --- overlay_load.c --- */
/* What was written last. Damage costs no start; -ENOMEM. */
int overlay_load(struct agent *a, struct err *err);
/* After damage, with policy and view, before the first reconciliation: what the kernel knows. */
int overlay_adopt(struct agent *a, struct err *err);

/* --- overlay.c --- */
int overlay_revoke(struct agent *a, const char *kind, const char *name, int64_t seconds,
		   const char *reason, reconciled call, void *user, struct err *err);
int overlay_quarantine(struct agent *a, const char *identity, const char *keep, const char *reason,
		       reconciled call, void *user, struct err *err);
/*
 * Ends the operators' revocations of that kind and name, and of an identity its quarantine. What
 * left the policy meanwhile can still be released, an identity by its path. -EPERM when only the
 * controller holds it.
 */
int overlay_release(struct agent *a, const char *kind, const char *name, reconciled call,
		    void *user, struct err *err);
/* The controller revokes that, or quarantines it; an identity by name or path. */
bool overlay_is_held_by_head(const struct agent *a, const char *kind, const char *name);
/* What is taken away, and what is granted, for people: [{kind, name, until, reason, by}]. */
json_t *overlay_json(const struct agent *a);
/*
 * Opens a rule marked `grantable` for one pair, no longer than its `max`. A newer grant for a pair
 * takes the place of the operators' older one.
 */
int overlay_grant_add(struct agent *a, const char *rule, const char *from, const char *to,
		      int64_t seconds, const char *who, const char *reason, reconciled call,
		      void *user, struct err *err);
/*
 * What the newest head says, in place of what the one before said; operators' own entries stay.
 * Takes the contents of *take (left empty). Flows it ends are in the cut list of the call.
 */
int overlay_set_head(struct agent *a, struct overlay *take, reconciled call, void *user,
		     struct err *err);
/* Drops what has ended, writes what could not be written. Once a second. */
void overlay_tick(struct agent *a, struct wall now);

/* Never before a time that this host has seen: a clock that is set back stretches nothing. */
struct wall overlay_now(const struct agent *a);

/* For overlay_head.c: what was changed in memory goes into force. */
int overlay_enforce(struct agent *a, reconciled call, void *user, struct err *err);
