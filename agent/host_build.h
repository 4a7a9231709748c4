/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From places to struct host: one pass over the known cgroups. Part of agent/workload.c.
 */
#pragma once

#include "agent/place.h"
#include "rules/host.h"

#define HOST_ENTRIES_MAX  (4UL * CGROUPS_MAX)
#define HOST_PROBLEMS_MAX 64

/* A listening socket, by the known cgroup that holds it. */
struct known_listener {
	uint64_t cgroup_id;
	uint32_t uid;
	uint16_t port;
};

/* A cgroup outside of the root that was asked about. */
struct outside_cgroup {
	uint64_t id;
	uint8_t level;
	char *path;
};

struct host_input {
	const struct addr *addresses;
	size_t address_count;
	const struct known_listener *listeners; /* TCP */
	size_t listener_count;
	const struct outside_cgroup *outside;
	size_t outside_count;
};

struct problem_list {
	char **texts;
	size_t count, cap;
	size_t more; /* above HOST_PROBLEMS_MAX */
};
void problem_add(struct problem_list *l, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void problem_list_done(struct problem_list *l);

/* Both results are filled anew; on failure they are as before. */
int host_build(const struct place_context *x, const struct host_input *in, struct host *ret_host,
	       struct problem_list *ret_problems);
