/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What operators take away on top of policy: revocations and quarantines. They close live flows at
 * their next packet, outlive restarts, and never touch essentials.
 */
#pragma once

#include "agent/agent.h"

int overlay_revoke(struct agent *a, const char *kind, const char *name, int64_t seconds,
		   const char *reason, reconciled call, void *user, struct err *err);
int overlay_quarantine(struct agent *a, const char *identity, const char *keep, const char *reason,
		       reconciled call, void *user, struct err *err);
/* Ends the quarantine of an identity and revocations that name it. */
int overlay_release(struct agent *a, const char *identity, reconciled call, void *user,
		    struct err *err);
