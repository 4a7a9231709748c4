/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Essentials are conduits between the node and addresses. They are cut at each other's borders like
 * networks, since the kernel's interval maps must not hold overlaps; where several cover a packet,
 * the owners of all of them may use it.
 */
#include "rules/compile_parts.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static bool has_ports(const struct essential *e)
{
	if (e->direction != ESSENTIAL_KERNEL)
		return true;
	return e->l4proto == 0 || e->l4proto == IPPROTO_TCP || e->l4proto == IPPROTO_UDP;
}

static int claim_essential(struct pass *p, uint32_t index)
{
	const struct essential *e = &p->c->in->essentials->entries[index];
	struct claim claim = {.network = true,
			      .subject = index,
			      .node = NO_INDEX,
			      .service = e->service,
			      .state = PAIR_HOLDS};

	if (e->service.kind != SERVICE_TCP && e->service.kind != SERVICE_UDP)
		return err_set(p->c->err, EINVAL,
			       "essential '%s': only tcp and udp have ports; tcp/22 would be right",
			       e->why ? e->why : "");
	if (e->direction != ESSENTIAL_KERNEL) {
		prefix_range(&e->far, &claim.first, &claim.last);
		claim.prefix_len = e->far.len;
	}
	return pass_add_claim(p, &claim);
}

static int run_direction(struct compile *c, struct pass *p, enum essential_direction direction)
{
	const struct essentials *all = c->in->essentials;
	int r = 0;

	pass_begin(p, PASS_ESSENTIAL, NO_INDEX);
	p->direction = direction;
	for (size_t i = 0; i < all->count && r == 0; i++)
		if (all->entries[i].direction == direction && has_ports(&all->entries[i]))
			r = claim_essential(p, (uint32_t)i);
	if (r == 0)
		r = pass_cut(p);
	return r < 0 ? r : pass_emit(p);
}

/* Protocols without ports: ESP, GRE. */
static int add_protocol(struct compile *c, uint8_t l4proto)
{
	struct conduit conduit = {
		.service = {.kind = SERVICE_PROTOCOL, .first = l4proto, .last = l4proto},
		.rule = RULE_NONE,
		.verdict = LIVE_ACCEPT,
		.flags = CONDUIT_ESSENTIAL | CONDUIT_OUT | CONDUIT_IN,
	};
	uint32_t number = 0;
	struct key key;
	int r;

	r = compile_party(c, PARTY_TYPE_NODE, NO_INDEX, NODE_HERE, &conduit.from);
	if (r == 0)
		r = compile_party(c, PARTY_TYPE_NETWORK, SUBJECT_ESSENTIAL, NO_INDEX, &conduit.to);
	c->name.len = 0;
	buf_printf(&c->name, "essential-kernel node %s proto %u", c->node_here, l4proto);
	if (r == 0 && c->name.r < 0)
		r = compile_no_memory(c);
	if (r == 0)
		r = compile_conduit(c, c->name.data, &conduit, &number);
	key_init(&key);
	key_u8(&key, l4proto);
	if (r == 0)
		r = compile_element(c, SET_ESSENTIAL_PROTO, &key, NULL, number);
	key_init(&key);
	key_u32(&key, number);
	return r < 0 ? r : compile_element(c, SET_NODE_CONDUITS, &key, NULL, 0);
}

int compile_essentials(struct compile *c, struct pass *p)
{
	const struct essentials *all = c->in->essentials;
	bool seen[UINT8_MAX + 1] = {false};
	int r;

	if (!all)
		return 0;
	r = run_direction(c, p, ESSENTIAL_OUT);
	if (r == 0)
		r = run_direction(c, p, ESSENTIAL_IN);
	if (r == 0)
		r = run_direction(c, p, ESSENTIAL_KERNEL);
	for (size_t i = 0; i < all->count && r == 0; i++) {
		const struct essential *e = &all->entries[i];

		if (has_ports(e) || seen[e->l4proto])
			continue;
		seen[e->l4proto] = true;
		r = add_protocol(c, e->l4proto);
	}
	return r;
}
