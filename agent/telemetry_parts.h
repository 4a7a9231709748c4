/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files that explain a flow share (telemetry_explain.c, telemetry_ends.c); nobody else
 * includes it.
 */
#pragma once

#include "agent/attested.h"
#include "agent/telemetry_explain.h"
#include "agent/workload.h"

/* One end of a flow, as far as this host knows it. */
struct known_end {
	bool has_socket;
	struct socket_info socket;
	struct flow_end end;
	char cgroup[WORKLOAD_PATH_MAX];
	int identity; /* of the policy in force; -1 */
	bool ambiguous, has_uid;
};

/* Flows that passed unasked and were told of, by a hash of their ends. */
#define UNASKED_MAX 64

struct explainer {
	struct agent *agent;
	struct owner *owner;
	struct known_end from, to;
	struct attested_texts texts;
	uint64_t unasked[UNASKED_MAX];
	size_t unasked_next;
};

/* What a message is about, turned so that `from` opened the flow. */
struct about {
	struct addr src, dst;
	uint16_t sport, dport; /* dport: the type for ICMP */
	uint8_t l4proto;
	bool ports, loopback;
	bool from_here, to_here;
	uint32_t ifindex, mark;
};

/* --- telemetry_ends.c --- */

/* The policy that new flows are judged by. */
enum slot explain_slot(const struct agent *a);
/* False for what no rule can name. */
bool explain_service(const struct about *b, struct service *ret);

/* Fills from and to of the explainer, as far as this host can know them. */
void ends_find(struct explainer *x, const struct about *b, const struct logged *l);
/*
 * A process group of the identity in the place of a socket that is gone. Which one it was is only
 * known where there is one.
 */
void ends_know_workload(struct explainer *x, struct known_end *k);

/* Of another host: by the mapping, NULL or -1 where that does not say. */
const char *ends_node(const struct agent *a, const struct addr *addr);
/* Who is called at an address of another node: the one that serves it there, or the only one. */
int ends_called(const struct agent *a, const struct about *b);
