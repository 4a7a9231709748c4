/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/adoption.h"

#include "agent/attest.h"
#include "agent/conntrack.h"
#include "agent/lookup.h"
#include "agent/owner.h"
#include "agent/workload.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/marks.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORTS 65536

struct adoption {
	struct agent *agent;
	struct cut_list *cut;
	enum slot slot;
	const struct generation *gen;
	bool judged;         /* what runs has been judged before: only owners have changed */
	bool listens[PORTS]; /* TCP: somebody here listens on the port */
	size_t seen, marked, asks;
};

static int note_listener(void *user, const struct socket_info *s)
{
	((struct adoption *)user)->listens[s->tuple.local_port] = true;
	return 0;
}

static bool own_address(const struct agent *a, const struct addr *addr)
{
	const struct host *host = workloads_host(a->workloads, SLOT_A);

	if (addr_is_loopback(addr))
		return true;
	for (size_t i = 0; host && i < host->address_count; i++) {
		if (addr_eq(&host->addresses[i], addr))
			return true;
	}
	return false;
}

static bool runs(const struct conduit *c)
{
	return c && c->verdict != LIVE_NONE;
}

/* Who: the socket's identity, -1 for none. -EAGAIN when it is gone or ambiguous. */
static int identity_of(struct adoption *ad, const struct socket_info *s)
{
	struct workload_answer w;

	if (workloads_resolve(ad->agent->workloads, ad->slot, s->cgroup_id, s->uid, &w) < 0)
		return -EAGAIN;
	switch (w.what) {
	case WORKLOAD_IDENTITY:
		return w.identity;
	case WORKLOAD_NOBODY:
		return -1;
	case WORKLOAD_AMBIGUOUS:
	case WORKLOAD_GONE:
		return -EAGAIN;
	}
	return -EAGAIN;
}

static void tuple_of(const struct socket_info *s, bool inbound, struct ct_flow *f)
{
	const struct socket_tuple *t = &s->tuple;

	memset(f, 0, sizeof(*f));
	f->l4proto = t->l4proto;
	f->src = inbound ? t->remote : t->local;
	f->dst = inbound ? t->local : t->remote;
	f->sport = inbound ? t->remote_port : t->local_port;
	f->dport = inbound ? t->local_port : t->remote_port;
}

static void list_cut(struct adoption *ad, const struct ct_flow *f, uint32_t mark)
{
	if (!ad->cut->flows)
		ad->cut->flows = json_array();
	if (ad->cut->count++ < CUT_LISTED_MAX)
		(void)json_array_append_new(ad->cut->flows,
					    agent_flow_json(ad->agent, &f->src, f->sport, &f->dst,
							    f->dport, f->l4proto, mark, f->packets,
							    f->bytes, f->state));
}

/*
 * What its far host has said of a flow is more than its address says, while policy still has it and
 * the local end is the same.
 */
static bool is_vouched(const struct adoption *ad, uint32_t mark, const struct conduit *by_address)
{
	const struct conduit *c;

	if (!(mark & MARK_VOUCHED) || mark >= MARK_IDENTITY_MIN)
		return false;
	c = generation_find(ad->gen, mark);
	return c && c->vouched != LIVE_NONE && c->to == by_address->to;
}

/* Entries made before the table existed have no mark, or one that is not ours. */
static void mark_entry(struct adoption *ad, const struct ct_flow *tuple, const struct conduit *c)
{
	struct err err = {{0}};
	struct ct_flow found;

	if (conntrack_find(ad->agent->conntrack, tuple, &found, &err) < 0 ||
	    (found.mark & MARK_NUMBER_MASK) == c->number || is_vouched(ad, found.mark, c))
		return;
	if (conntrack_set_mark(ad->agent->conntrack, tuple, c->number, &err) < 0)
		log_warn("adoption: %s", err.text);
	else
		ad->marked++;
}

/*
 * A conduit that went takes its flows with it (R16): a moved identity's must end, not be judged
 * anew as those of a process without one.
 */
static bool ends_by_itself(const struct adoption *ad, uint32_t mark)
{
	uint32_t number = mark & MARK_NUMBER_MASK;

	return ad->judged && mark < MARK_IDENTITY_MIN && number <= MARK_CONDUIT_MAX &&
	       !runs(generation_find(ad->gen, number));
}

static bool is_owner(const struct agent *a, const struct essential *e, uint64_t cgroup_id)
{
	char unit[UNIT_NAME_MAX];

	if (e->by_count == 0)
		return true;
	if (workloads_cgroup_unit(a->workloads, cgroup_id, unit, sizeof(unit)) < 0)
		return false;
	for (size_t i = 0; i < e->by_count; i++) {
		if (str_eq(e->by[i], unit))
			return true;
	}
	return false;
}

/*
 * What no mode denies. Either way round: whoever listened for an open session may be gone by now.
 */
static bool is_essential(const struct agent *a, const struct socket_info *s)
{
	const struct essentials *all = &a->config.essentials;
	const struct socket_tuple *t = &s->tuple;
	enum service_kind kind = t->l4proto == IPPROTO_TCP ? SERVICE_TCP : SERVICE_UDP;

	for (size_t i = 0; i < all->count; i++) {
		const struct essential *e = &all->entries[i];
		uint16_t port = e->direction == ESSENTIAL_IN ? t->local_port : t->remote_port;

		if (e->direction != ESSENTIAL_KERNEL && e->service.kind == kind &&
		    port >= e->service.first && port <= e->service.last &&
		    prefix_contains(&e->far, &t->remote) && is_owner(a, e, s->cgroup_id))
			return true;
	}
	return false;
}

/*
 * An entry whose mark says a conduit that its socket's owner has no part in, because the process
 * group lost or changed its identity, or because somebody else wrote the mark: without one its next
 * packet is judged anew. Whether it was so.
 */
static bool unmark_entry(struct adoption *ad, const struct ct_flow *tuple, bool essential)
{
	struct agent *a = ad->agent;
	const struct generation *gen;
	const struct conduit *c;
	struct err err = {{0}};
	struct ct_flow found;

	if (conntrack_find(a->conntrack, tuple, &found, &err) < 0 || !found.mark ||
	    ends_by_itself(ad, found.mark))
		return false;
	c = agent_conduit(a, found.mark, &gen);
	if (c && (c->flags & CONDUIT_ESSENTIAL) && essential)
		return false;
	if (!c && found.mark >= MARK_RESERVED_MIN)
		return false;
	if (conntrack_set_mark(a->conntrack, tuple, 0, &err) < 0)
		log_warn("adoption: %s", err.text);
	return true;
}

static int adopt_socket(void *user, const struct socket_info *s)
{
	struct adoption *ad = user;
	struct agent *a = ad->agent;
	bool inbound = s->tuple.l4proto == IPPROTO_TCP && ad->listens[s->tuple.local_port];
	const struct conduit *c = NULL;
	struct ct_flow tuple;
	bool essential;
	int identity;

	/* Between two local sockets the one that connected decides for both (R12). */
	if (!s->tuple.remote.family || (inbound && own_address(a, &s->tuple.remote)))
		return 0;
	identity = identity_of(ad, s);
	if (identity == -EAGAIN)
		return 0;
	ad->seen++;
	tuple_of(s, inbound, &tuple);
	if (identity >= 0)
		c = lookup_conduit(ad->gen, (uint32_t)identity, inbound ? LOOKUP_IN : LOOKUP_OUT,
				   &s->tuple.remote, s->tuple.l4proto, tuple.dport);
	if (runs(c)) {
		mark_entry(ad, &tuple, c);
		/* Its packets are dropped in silence until the far host has vouched for it. */
		if (c->verdict == LIVE_ASK)
			ad->asks++;
		return 0;
	}
	essential = is_essential(a, s);
	/* What ends by itself is listed by whoever took its conduit away. */
	if (!unmark_entry(ad, &tuple, essential) && ad->judged)
		return 0;
	/* With a mark an essential runs on, without one its next packet gets it. */
	if ((identity >= 0 || a->mode == MODE_ENFORCE) && !essential)
		list_cut(ad, &tuple, c ? c->number : 0);
	return 0;
}

static int run(struct agent *a, bool judged, struct cut_list *cut, struct err *err)
{
	CLEANUP(freep) struct adoption *ad = mem_calloc(1, sizeof(*ad));
	CLEANUP(owner_freep) struct owner *owner = NULL;
	const struct edition *e = agent_edition(a);
	int r;

	if (!ad)
		return err_set(err, ENOMEM, "out of memory");
	ad->agent = a;
	ad->cut = cut;
	ad->judged = judged;
	ad->gen = e->gen;
	ad->slot = e == &a->candidate ? SLOT_B : SLOT_A;
	r = owner_open(&owner, err);
	if (r < 0)
		return r;
	r = owner_dump(owner, IPPROTO_TCP, OWNER_STATES_LISTEN, note_listener, ad);
	if (r >= 0)
		r = owner_dump(owner, IPPROTO_TCP, OWNER_STATES_CONNECTED, adopt_socket, ad);
	if (r >= 0)
		r = owner_dump(owner, IPPROTO_UDP, OWNER_STATES_CONNECTED, adopt_socket, ad);
	if (r < 0)
		return err_set(err, -r, "adoption: sockets cannot be listed: %s", strerror(-r));
	if (ad->seen)
		log_info("adoption: %zu connections seen, %zu marked, %zu without a permission",
			 ad->seen, ad->marked, cut->count);
	if (ad->asks)
		attest_flows_again(a->attest);
	return 0;
}

int adoption_run(struct agent *a, struct cut_list *cut, struct err *err)
{
	return run(a, false, cut, err);
}

int adoption_of_owners(struct agent *a, struct cut_list *cut, struct err *err)
{
	return run(a, true, cut, err);
}

/* --- obstacles ---------------------------------------------------------------------------- */

struct meddler {
	bool found;
	struct nft_foreign what;
};

static void note_meddler(void *user, const struct nft_foreign *f)
{
	struct meddler *m = user;

	if (!m->found && f->kind == NFT_FOREIGN_CT_MARK) {
		m->found = true;
		m->what = *f;
	}
}

int adoption_obstacles(struct agent *a, struct err *err)
{
	struct meddler m = {0};
	int r;

	if (!a->enforcing)
		return err_set(err, EBUSY, "the table is not in the kernel: %s",
			       a->drift ? a->drift : "see bailiwick status");
	if (!a->confirmed.revision)
		return err_set(err, EBUSY,
			       "no policy has been applied: every identity would be cut off; "
			       "bailiwick apply DIR first, or --force");
	r = nft_scan_foreign(a->nft, note_meddler, &m, err);
	if (r < 0)
		return r;
	if (m.found)
		return err_set(
			err, EBUSY,
			"table %s, chain %s writes the conntrack mark, which names flows here; "
			"remove that rule, or --force",
			m.what.table, m.what.chain);
	return 0;
}
