/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From disk at a start: state.json and the policies that it names. Damage costs no start, and opens
 * nothing: what cannot be read is taken from its copy in run_dir (spare.h), else from what else
 * says it, and told in `status`.
 *
 * What state.json says                 if neither it nor its copy can be read
 * confirmed, candidate                 the history; where that is lost, the newest policy on disk
 * mode, and until when                 the kernel's chains and switches, else the history, else
 *                                      agent.yaml
 * last_revision                        the largest that is anywhere
 * view_sequence                        that of the view on disk
 * wall_highest                         when a file of the agent's was last written
 */
#pragma once

#include "agent/store.h"
#include "base/err.h"

struct agent;

/* A damaged file is kept aside as state.json.damaged. */
int state_load(struct agent *a, struct store_state *ret, struct err *err);
/*
 * Confirmed, candidate and the policy whose borders numbers have. A policy that cannot be read is
 * replaced by the newest that was in force before; with none left the kernel's table stays as it is
 * (held.h), for an empty policy would take every identity out of force.
 */
int editions_load(struct agent *a, const struct store_state *st, struct err *err);
