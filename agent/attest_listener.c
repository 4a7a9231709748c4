/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The kernel knew who listens when it put the question. A packet is held for up to 0.8 s, and once
 * it is let go nothing asks again whose socket it comes to: a listener that ended meanwhile must
 * not leave its callers to whoever took its port. Looked at when the answer has come, in
 * microseconds; what is left between this look and the verdict is the time of the packets of one
 * burst.
 */
#include "agent/attest_parts.h"
#include "agent/owner.h"
#include "agent/workload.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SEEN_SLOTS 64
/* Whose a socket is costs more than finding it, and changes only when policy or its cgroup do. */
#define SEEN_MS 1000

struct seen {
	uint64_t cookie, serial, identity; /* its hash */
	struct mono when;
};

struct attest_listeners {
	struct owner *owner;
	struct seen seen[SEEN_SLOTS];
};

struct attest_listeners *attest_listeners_new(struct err *err)
{
	struct attest_listeners *l = mem_calloc(1, sizeof(*l));

	if (l && owner_open(&l->owner, err) < 0)
		attest_listeners_free(TAKE_PTR(l));
	return l;
}

void attest_listeners_free(struct attest_listeners *l)
{
	if (!l)
		return;
	owner_free(l->owner);
	free(l);
}

static bool is_of(struct agent *a, const struct attest_target *target, const char *identity,
		  const struct socket_info *s)
{
	enum slot slot = target->edition == &a->candidate ? SLOT_B : SLOT_A;
	struct workload_answer w;

	return workloads_resolve(a->workloads, slot, s->cgroup_id, s->uid, &w) >= 0 &&
	       w.what == WORKLOAD_IDENTITY && w.identity >= 0 &&
	       str_eq(target->edition->policy->identities[w.identity].path, identity);
}

bool attest_still_listens(struct attest *t, const struct attest_target *target,
			  const struct pending_key *k, uint32_t ifindex)
{
	const char *identity = target->gen->parties[target->conduit->to].identity;
	struct socket_tuple tuple = {
		.l4proto = k->l4proto,
		.local = k->dst,
		.remote = k->src,
		.local_port = k->dport,
		.remote_port = k->sport,
		.ifindex = ifindex,
	};
	struct mono now = mono_now();
	struct socket_info s;
	struct seen *seen;
	uint64_t hash;
	int r;

	if (!identity || !t->agent->workloads)
		return true;
	r = owner_find(t->listeners->owner, &tuple, &s);
	if (r < 0)
		return r == -ENOENT; /* nobody: the port answers for itself */
	hash = hash_bytes(identity, strlen(identity));
	seen = &t->listeners->seen[s.cookie % SEEN_SLOTS];
	if (seen->cookie == s.cookie && seen->serial == target->edition->serial &&
	    seen->identity == hash && mono_ms_since(seen->when, now) < SEEN_MS)
		return true;
	if (!is_of(t->agent, target, identity, &s))
		return false;
	*seen = (struct seen){s.cookie, target->edition->serial, hash, now};
	return true;
}
