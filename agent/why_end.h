/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One end of a `why` question: an identity's name or path (NAME@NODE), an address with or without
 * port, a cgroup, or a process.
 */
#pragma once

#include "agent/agent.h"
#include "agent/workload.h"

#define WHY_WORD_MAX 320

struct why_end {
	char text[WHY_WORD_MAX]; /* what node may point into */
	int identity;            /* of the policy in force; -1 */
	const char *node;        /* asked for, or NULL */
	bool has_address, has_port;
	struct addr address;
	uint16_t port;
	bool process; /* one on this host: the next three are known */
	uint64_t cgroup_id;
	uint32_t uid;
	char cgroup[WORKLOAD_PATH_MAX];
	bool ambiguous;
};

/* -EINVAL with what would be right. */
int why_end_parse(struct agent *a, const char *word, struct why_end *ret, struct err *err);

/* Who listens at an address of this host; the end becomes that process. */
void why_end_find_listener(struct agent *a, const struct service *service, struct why_end *e);

/* As the oracle wants a local end. */
void why_end_flow(struct agent *a, const struct why_end *e, struct flow_end *ret);

enum slot why_slot(const struct agent *a);
