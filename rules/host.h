/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the agent knows of its own host, as plain values: the compiler's and the oracle's third
 * input beside policy and view. Filled by agent/workload.c; tests fill it by hand.
 */
#pragma once

#include "base/addr.h"
#include "rules/service.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CGROUP_LEVEL_MAX 16 /* deeper cgroups are known by their ancestor at this level */

/* Processes of one identity: a cgroup, a uid, or both. */
struct host_workload {
	uint32_t identity;  /* index into policy->identities */
	uint64_t cgroup_id; /* inode number of the cgroup directory; 0 = any cgroup (uid only) */
	uint8_t level;      /* depth from the real cgroup root, 1.. */
	bool has_uid;
	bool ingress_only; /* cgroup of foo.socket: its listeners belong to foo.service (R41) */
	uint32_t uid;
};

/* A cgroup that was looked at and belongs to no identity. */
struct host_nobody {
	uint64_t cgroup_id;
	uint8_t level;
	bool ask_listener; /* an identity that only a uid distinguishes may listen here (R20) */
};

/* A listening socket of an identity, for packets that meet a TIME_WAIT socket (R21). */
struct host_listener {
	uint32_t identity;
	uint8_t l4proto;
	uint16_t port;
};

/* cgroups of a unit that an essential names under `by:`. */
struct host_unit {
	char *unit;
	uint64_t cgroup_id;
	uint8_t level;
};

struct host {
	struct addr *addresses; /* of all interfaces, loopback ones included */
	size_t address_count;
	struct host_workload *workloads;
	size_t workload_count;
	struct host_nobody *nobodies;
	size_t nobody_count;
	struct host_listener *listeners;
	size_t listener_count;
	struct host_unit *units;
	size_t unit_count;
};

void host_done(struct host *h);
