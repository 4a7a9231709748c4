/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/lookup.h"

#include <netinet/in.h>
#include <string.h>

/* Order of the chains egress_* and ingress_*: exact, any port, networks. */
static const enum set_kind order[2][2][3] = {
	[LOOKUP_OUT] = {{SET_OUT4, SET_OUT_ANY4, SET_OUT_NET4},
			{SET_OUT6, SET_OUT_ANY6, SET_OUT_NET6}},
	[LOOKUP_IN] = {{SET_IN4, SET_IN_ANY4, SET_IN_NET4}, {SET_IN6, SET_IN_ANY6, SET_IN_NET6}},
};

static const struct local_identity *find_local(const struct generation *g, uint32_t identity)
{
	for (size_t i = 0; i < g->local_count; i++) {
		if (g->locals[i].index == identity)
			return &g->locals[i];
	}
	return NULL;
}

/* Intervals do not overlap, so the first record whose fields all hold the key's is the one. */
static const uint8_t *find_interval(const struct set_items *s, const struct key *k)
{
	size_t stride = set_stride(s->ref.kind);

	for (size_t i = 0; i < s->count; i++) {
		const uint8_t *from = s->bytes + i * stride, *to = from + k->len;
		bool inside = true;

		for (size_t f = 0, at = 0; inside && f < set_spec(s->ref.kind)->field_count; f++) {
			size_t len = set_spec(s->ref.kind)->fields[f] == FIELD_ADDR6 ? 16 : 4;

			/* Network order compares as bytes; marks are single points. */
			inside = memcmp(k->bytes + at, from + at, len) >= 0 &&
				 memcmp(k->bytes + at, to + at, len) <= 0;
			at += len;
		}
		if (inside)
			return from;
	}
	return NULL;
}

static const uint8_t *find_record(const struct generation *g, enum set_kind kind,
				  const struct key *k)
{
	const struct set_items *s =
		ruleset_find(g->classify, (struct set_ref){.kind = (uint8_t)kind});

	if (!s)
		return NULL;
	return set_spec(kind)->interval ? find_interval(s, k) : set_items_find(s, k->bytes);
}

const struct conduit *lookup_conduit(const struct generation *g, uint32_t identity,
				     enum lookup_direction direction, const struct addr *far,
				     uint8_t l4proto, uint16_t port)
{
	const struct local_identity *local = g ? find_local(g, identity) : NULL;

	if (!local)
		return NULL;
	for (size_t i = 0; i < 3; i++) {
		enum set_kind kind = order[direction][far->family == AF_INET6][i];
		const uint8_t *record;
		uint32_t number;
		struct key k;

		key_init(&k);
		key_u32(&k, local->mark);
		key_addr(&k, far);
		key_u8(&k, l4proto);
		if (set_spec(kind)->field_count == 4)
			key_port(&k, port);
		record = find_record(g, kind, &k);
		if (!record)
			continue;
		memcpy(&number, record + set_value_offset(kind), sizeof(number));
		return generation_find(g, number);
	}
	return NULL;
}
