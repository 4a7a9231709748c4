/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A handshake costs a millisecond, most of it before the other end has shown anything. So it is
 * paid for by the address at first: each address of a node of the view has a share of its own, and
 * all other addresses have a small one between them, also at a time (agent/peers_serve.c) and in
 * the order in which the loop does things. Who then shows the certificate of a node pays himself,
 * and his address has its part back: behind a router there may be many.
 *
 * Whoever is beyond the share of a node's address has what strangers have, and is not turned away
 * as long as there is some of that: a process that is not to ask shares its address with the agent
 * that is.
 */
#include "agent/peers_parts.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S      1000000000LL
#define ADDRESSES_MAX ((size_t)VIEW_ENTRIES_MAX * 4)
#define SUBNET_V6_LEN 8 /* bytes: a host has at least a /64 to take addresses from */

/* --- buckets ------------------------------------------------------------------------------ */

bool bucket_take(struct bucket *b, uint32_t per_s, uint32_t burst, struct mono now)
{
	int64_t cost = NS_PER_S / per_s;
	int64_t full = b->full_ns > now.ns ? b->full_ns : now.ns;

	if (full + cost - now.ns > burst * cost)
		return false;
	b->full_ns = full + cost;
	return true;
}

static void bucket_give(struct bucket *b, uint32_t per_s)
{
	b->full_ns -= NS_PER_S / per_s;
}

/* --- addresses of nodes ------------------------------------------------------------------- */

static int address_order(const void *a, const void *b)
{
	const struct admit_address *x = a, *y = b;

	return addr_cmp(&x->address, &y->address);
}

struct admit_address *admit_find(struct peers *p, const struct addr *a)
{
	const struct admit_address key = {.address = *a};

	return p->address_count
		       ? bsearch(&key, p->addresses, p->address_count, sizeof(key), address_order)
		       : NULL;
}

static size_t address_count(const struct view_node *n)
{
	return n->address_count + n->has_attest;
}

static const struct addr *address_at(const struct view_node *n, size_t i)
{
	return i < n->address_count ? &n->addresses[i] : &n->attest_address;
}

/* What an address has used up stays used up. */
static void keep_used(struct peers *p, struct admit_address *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct admit_address *before = admit_find(p, &list[i].address);

		if (before)
			list[i].handshakes = before->handshakes;
	}
}

int admit_view(struct peers *p)
{
	const struct view *v = p->agent->view;
	struct admit_address *list = NULL;
	size_t count = 0, cap = 0;
	int r = 0;

	for (size_t i = 0; v && i < v->node_count && r >= 0; i++) {
		const struct view_node *n = &v->nodes[i];

		if (str_eq(n->node, p->agent->config.node))
			continue;
		for (size_t k = 0; k < address_count(n) && r >= 0; k++) {
			r = vec_grow(&list, &cap, count + 1, sizeof(*list), ADDRESSES_MAX);
			if (r >= 0)
				list[count++] = (struct admit_address){*address_at(n, k), {0}};
		}
	}
	if (r == -ENOMEM) {
		free(list);
		return r;
	}
	if (count)
		qsort(list, count, sizeof(*list), address_order);
	keep_used(p, list, count);
	free(p->addresses);
	p->addresses = list;
	p->address_count = count;
	return 0;
}

/* --- before anybody is known -------------------------------------------------------------- */

static struct bucket *stranger_of(struct peers *p, const struct addr *a)
{
	size_t len = addr_len(a) > SUBNET_V6_LEN ? SUBNET_V6_LEN : addr_len(a);

	return &p->stranger[hash_bytes(a->bytes, len) % PEERS_STRANGER_SLOTS];
}

/* The loop does everything else first. */
static void be_stranger(struct stream *s)
{
	s->stranger = true;
	s->peers->serving.strangers++;
	(void)sd_event_source_set_priority(s->io, SD_EVENT_PRIORITY_IDLE);
}

void admit_accepted(struct stream *s)
{
	if (!admit_find(s->peers, &s->address))
		be_stranger(s);
}

bool admit_handshake(struct stream *s)
{
	struct peers *p = s->peers;
	struct admit_address *a = s->stranger ? NULL : admit_find(p, &s->address);
	struct mono now = mono_now();

	if (a && bucket_take(&a->handshakes, PEERS_ADDRESS_PER_S, PEERS_ADDRESS_BURST, now))
		return true;
	if (!s->stranger)
		be_stranger(s);
	return bucket_take(stranger_of(p, &s->address), PEERS_STRANGER_PER_S, PEERS_STRANGER_BURST,
			   now) &&
	       bucket_take(&p->strangers, PEERS_STRANGERS_PER_S, PEERS_STRANGERS_BURST, now);
}

/* --- when it is --------------------------------------------------------------------------- */

static struct asker *asker_of(struct peers *p, const char *node)
{
	struct asker *k = map_get_str(p->askers, node);

	if (k)
		return k;
	k = mem_calloc(1, sizeof(*k));
	if (!k)
		return NULL;
	(void)snprintf(k->node, sizeof(k->node), "%s", node);
	if (map_put_str(p->askers, node, k) < 0) {
		free(k);
		return NULL;
	}
	k->next = p->first_asker;
	p->first_asker = k;
	return k;
}

static void give_back(struct stream *s)
{
	struct admit_address *a = s->stranger ? NULL : admit_find(s->peers, &s->address);

	if (a) {
		bucket_give(&a->handshakes, PEERS_ADDRESS_PER_S);
	} else {
		bucket_give(stranger_of(s->peers, &s->address), PEERS_STRANGER_PER_S);
		bucket_give(&s->peers->strangers, PEERS_STRANGERS_PER_S);
	}
}

bool admit_opened(struct stream *s)
{
	struct asker *k = asker_of(s->peers, s->svid->name);

	if (!k)
		return false;
	if (s->stranger)
		(void)sd_event_source_set_priority(s->io, SD_EVENT_PRIORITY_NORMAL);
	s->asker = k;
	k->stream_count++;
	if (bucket_take(&k->handshakes, PEERS_NODE_PER_S, PEERS_NODE_BURST, mono_now()))
		give_back(s);
	return true;
}

void admit_closed(struct stream *s)
{
	if (s->asker)
		s->asker->stream_count--;
	s->asker = NULL;
}

void admit_forget(struct peers *p)
{
	struct asker **at = &p->first_asker;
	int64_t now = mono_now().ns;

	while (*at) {
		struct asker *k = *at;

		if (k->stream_count || k->handshakes.full_ns > now || k->answers.full_ns > now) {
			at = &k->next;
			continue;
		}
		*at = k->next;
		(void)map_del_str(p->askers, k->node);
	}
}

void admit_done(struct peers *p)
{
	map_free(p->askers);
	free(p->addresses);
}
