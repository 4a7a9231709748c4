/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Every listener of this host and whose it is, without enforcing anything (UC-6). */
#include "agent/verbs.h"

#include "agent/holders.h"
#include "agent/owner.h"
#include "agent/workload.h"
#include "base/json.h"
#include "base/mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define LISTENERS_LISTED_MAX 10000

struct inventory {
	struct agent *agent;
	enum slot slot;
	const struct policy *policy;
	json_t *list;
	size_t count;
	struct holders *holders;
};

static const char *identity_word(struct inventory *in, const struct socket_info *s)
{
	struct workload_answer w;

	if (workloads_resolve(in->agent->workloads, in->slot, s->cgroup_id, s->uid, &w) < 0)
		return "unclaimed";
	if (w.what == WORKLOAD_AMBIGUOUS)
		return "ambiguous";
	return w.what == WORKLOAD_IDENTITY ? in->policy->identities[w.identity].path : "unclaimed";
}

static int list_listener(void *user, const struct socket_info *s)
{
	struct inventory *in = user;
	struct workloads *w = in->agent->workloads;
	struct workload_place place = {.unit = ""};
	char path[WORKLOAD_PATH_MAX] = "", address[ADDR_TEXT_MAX], exe[4096] = "";

	/* A connected datagram socket serves nobody. */
	if (s->tuple.remote_port || !s->inode || in->count++ >= LISTENERS_LISTED_MAX)
		return 0;
	(void)workloads_cgroup_path(w, s->cgroup_id, path, sizeof(path));
	(void)workloads_cgroup_place(w, s->cgroup_id, &place);
	(void)holders_exe(in->holders, s->inode, exe, sizeof(exe));
	(void)json_array_append_new(
		in->list,
		json_pack("{s:s,s:s,s:i,s:o,s:o,s:I,s:o,s:s,s:s,s:s}", "proto",
			  s->tuple.l4proto == IPPROTO_TCP ? "tcp" : "udp", "address",
			  addr_format(address, &s->tuple.local), "port", (int)s->tuple.local_port,
			  "cgroup", json_host_string(path), "unit", json_host_string(place.unit),
			  "uid", (json_int_t)s->uid, "exe", json_host_string(exe), "identity",
			  identity_word(in, s), "container", place.container.id, "pod",
			  place.container.pod_uid));
	return 0;
}

static void run_inventory(struct request *q)
{
	const struct edition *e = agent_edition(q->agent);
	CLEANUP(owner_freep) struct owner *owner = NULL;
	struct inventory in = {
		.agent = q->agent,
		.slot = e == &q->agent->candidate ? SLOT_B : SLOT_A,
		.policy = e->policy,
		.list = json_array(),
	};
	struct err err = {{0}};
	int r = owner_open(&owner, &err);

	if (r >= 0)
		r = holders_new(&in.holders);
	if (r >= 0)
		r = owner_dump(owner, IPPROTO_TCP, OWNER_STATES_LISTEN, list_listener, &in);
	if (r >= 0)
		r = owner_dump(owner, IPPROTO_UDP, 1U << SOCKET_CLOSE, list_listener, &in);
	holders_free(in.holders);
	if (r < 0) {
		json_decref(in.list);
		(void)err_set(&err, -r, "sockets cannot be listed: %s", strerror(-r));
		request_fail(q, EXIT_ERROR, &err, NULL);
		return;
	}
	request_reply(q, EXIT_OK, json_pack("{s:o}", "listeners", in.list));
}

const struct verb verb_inventory = {.name = "inventory", .run = run_inventory};
