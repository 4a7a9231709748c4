/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What has a network of its own on this host: containers, units and the like whose processes live
 * in another network namespace than the agent's. No packet of theirs passes this host's output and
 * input hooks as a socket's, so no identity covers them; `doctor` names them.
 *
 * Walks /proc once, some milliseconds; racy, and never used for a decision.
 */
#pragma once

#include "agent/workload.h"

#include <jansson.h>

#define CONTAINER_SCAN_MAX 256 /* that are named; further ones are counted */

/*
 * [{cgroup, unit, runtime, container, pod, pid}], each cgroup once; new reference, NULL without
 * memory. *ret_more: how many there are besides.
 */
json_t *containers_apart(struct workloads *w, size_t *ret_more);
