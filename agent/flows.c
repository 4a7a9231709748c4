/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Flows of the kernel's table with their names: what runs, what a change cuts. */
#include "agent/agent.h"

#include "agent/conntrack.h"
#include "agent/telemetry_record.h"
#include "base/log.h"
#include "base/mem.h"
#include "rules/marks.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cut_list_done(struct cut_list *c)
{
	json_decref(c->flows);
	free(c->early);
	memset(c, 0, sizeof(*c));
}

const struct conduit *agent_conduit(const struct agent *a, uint32_t mark,
				    const struct generation **ret_gen)
{
	const struct generation *gens[] = {agent_edition(a)->gen, a->confirmed.gen,
					   a->candidate.gen};
	uint32_t number = mark & MARK_NUMBER_MASK;

	if (mark >= MARK_IDENTITY_MIN)
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(gens); i++) {
		const struct conduit *c = gens[i] ? generation_find(gens[i], number) : NULL;

		if (c) {
			*ret_gen = gens[i];
			return c;
		}
	}
	return NULL;
}

static const char *party_name(const struct generation *gen, uint32_t index)
{
	const struct party *p = &gen->parties[index];

	return p->name ? p->name : p->identity ? p->identity : p->node;
}

static const char *protocol_name(uint8_t l4proto)
{
	switch (l4proto) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	case IPPROTO_ICMP:
		return "icmp";
	case IPPROTO_ICMPV6:
		return "icmpv6";
	default:
		return "other";
	}
}

static json_t *endpoint_json(const struct addr *a, uint16_t port, bool with_port)
{
	char text[ADDR_TEXT_MAX], whole[ADDR_TEXT_MAX + 10];

	(void)addr_format(text, a);
	if (!with_port)
		return json_string(text);
	(void)snprintf(whole, sizeof(whole), a->family == AF_INET6 ? "[%s]:%u" : "%s:%u", text,
		       port);
	return json_string(whole);
}

json_t *agent_flow_json(const struct agent *a, const struct addr *src, uint16_t sport,
			const struct addr *dst, uint16_t dport, uint8_t l4proto, uint32_t mark,
			uint64_t packets, uint64_t bytes, const char *state)
{
	const struct generation *gen = NULL;
	const struct conduit *c = agent_conduit(a, mark, &gen);
	bool ports = l4proto == IPPROTO_TCP || l4proto == IPPROTO_UDP;
	bool unclaimed = mark >= MARK_UNCLAIMED_MIN && mark <= MARK_UNCLAIMED_MAX;
	const char *none = unclaimed ? "unclaimed" : "unknown";
	const char *assurance = record_assurance_name(record_assurance_of(c, mark));

	return json_pack("{s:I,s:s,s:o,s:o,s:s,s:s,s:I,s:I,s:s,s:s,s:b}", "conduit",
			 (json_int_t)(mark & MARK_NUMBER_MASK), "proto", protocol_name(l4proto),
			 "src", endpoint_json(src, sport, ports), "dst",
			 endpoint_json(dst, dport, ports), "from",
			 c ? party_name(gen, c->from) : none, "to",
			 c ? party_name(gen, c->to) : none, "packets", (json_int_t)packets, "bytes",
			 (json_int_t)bytes, "state", state, "assurance", assurance, "unavailable",
			 c && (mark & MARK_NOT_VOUCHED) == MARK_UNAVAILABLE);
}

struct collecting {
	struct agent *agent;
	const uint32_t *numbers;
	size_t count;
	struct cut_list *cut;
};

static int by_number(const void *key, const void *element)
{
	uint32_t x = *(const uint32_t *)key, y = *(const uint32_t *)element;

	return x < y ? -1 : x > y;
}

static int collect(void *user, const struct ct_flow *f)
{
	struct collecting *c = user;
	uint32_t number = f->mark & MARK_NUMBER_MASK;

	if (!f->mark || f->mark >= MARK_IDENTITY_MIN ||
	    !bsearch(&number, c->numbers, c->count, sizeof(number), by_number))
		return 0;
	if (c->cut->count++ < CUT_LISTED_MAX)
		(void)json_array_append_new(c->cut->flows,
					    agent_flow_json(c->agent, &f->src, f->sport, &f->dst,
							    f->dport, f->l4proto, f->mark,
							    f->packets, f->bytes, f->state));
	return 0;
}

int agent_flows_of(struct agent *a, const uint32_t *numbers, size_t count, struct cut_list *cut)
{
	struct collecting c = {a, numbers, count, cut};
	struct err err = {{0}};
	int r;

	if (!cut->flows)
		cut->flows = json_array();
	if (!cut->flows)
		return -ENOMEM;
	r = conntrack_dump(a->conntrack, collect, &c, &err);
	if (r < 0)
		log_warn("flow table: %s", err.text);
	return r;
}

/* An address, somebody's word, or that nobody could give it: each may open a conduit. */
static bool is_open(const struct conduit *c)
{
	return c->verdict != LIVE_NONE || c->vouched != LIVE_NONE || c->unavailable != LIVE_NONE;
}

static bool runs(const struct generation *gen, uint32_t number)
{
	const struct conduit *c = gen ? generation_find(gen, number) : NULL;

	return c && is_open(c);
}

/* Numbers, ascending, that run in `from` and not in `to`. */
static int lost_numbers(const struct generation *from, const struct generation *to,
			uint32_t **ret_numbers, size_t *ret_count)
{
	CLEANUP(freep) uint32_t *numbers = NULL;
	size_t n = 0, cap = 0;

	for (size_t i = 0; i < from->conduit_count; i++) {
		const struct conduit *c = &from->conduits[i];

		if (!is_open(c) || runs(to, c->number))
			continue;
		if (vec_grow(&numbers, &cap, n + 1, sizeof(*numbers), CONDUITS_MAX) < 0)
			return -ENOMEM;
		numbers[n++] = c->number;
	}
	*ret_numbers = TAKE_PTR(numbers);
	*ret_count = n;
	return 0;
}

int agent_flows_lost(struct agent *a, const struct generation *from, const struct generation *to,
		     struct cut_list *cut)
{
	CLEANUP(freep) uint32_t *numbers = NULL;
	size_t n = 0;
	int r;

	if (!from || !to)
		return 0;
	r = lost_numbers(from, to, &numbers, &n);
	return r < 0 || !n ? r : agent_flows_of(a, numbers, n, cut);
}

/* --- beside a load ------------------------------------------------------------------------ */

/* What is only cut up differently is judged anew when the load is over. */
static void keep_final(uint32_t *numbers, size_t *count, const uint32_t *rederive, size_t n,
		       const struct generation *other)
{
	size_t kept = 0;

	for (size_t i = 0; i < *count; i++) {
		bool again = runs(other, numbers[i]);

		for (size_t k = 0; k < n && !again; k++)
			again = rederive[k] == numbers[i];
		if (!again)
			numbers[kept++] = numbers[i];
	}
	*count = kept;
}

/* A refused packet takes the number from its entry: found before the cut, or never. */
static void list_early(struct agent *a, const uint32_t *numbers, size_t count)
{
	struct cut_list *cut = &a->cut_early;
	uint32_t *early;

	if (agent_flows_of(a, numbers, count, cut) < 0)
		log_warn("flows that this change cuts cannot be listed");
	early = reallocarray(cut->early, cut->early_count + count, sizeof(*early));
	if (!early)
		return;
	memcpy(early + cut->early_count, numbers, count * sizeof(*early));
	cut->early = early;
	cut->early_count += count;
}

static int cut_lost(struct agent *a, const struct generation *from, const struct generation *to,
		    const struct generation *other, struct err *err)
{
	CLEANUP(freep) uint32_t *numbers = NULL;
	CLEANUP(freep) uint32_t *rederive = NULL;
	size_t count = 0, n = 0;
	int r;

	if (!from || !to)
		return 0;
	r = lost_numbers(from, to, &numbers, &count);
	if (r >= 0 && count)
		r = generation_rederive(from, to, &rederive, &n);
	if (r < 0)
		return err_set(err, -r, "out of memory");
	keep_final(numbers, &count, rederive, n, other);
	if (!count)
		return 0;
	list_early(a, numbers, count);
	r = nft_apply_bar(a->job->apply, numbers, count);
	if (r < 0)
		return err_set(err, -r, "out of memory");
	r = nft_cut(a->nft, a->job->target, numbers, count, err);
	return r < 0 || !a->applied ? r : nft_cut(a->nft, a->applied, numbers, count, err);
}

int agent_cut_now(struct agent *a, struct err *err)
{
	CLEANUP(generation_freep) struct generation *confirmed = NULL;
	CLEANUP(generation_freep) struct generation *candidate = NULL;
	const struct job *j = a->job;
	int r;

	if (!j || !j->apply)
		return 0;
	r = agent_compile(a, &confirmed, &candidate, err);
	if (r >= 0)
		r = cut_lost(a, j->confirmed ? j->confirmed : a->confirmed.gen, confirmed,
			     candidate, err);
	if (r >= 0)
		r = cut_lost(a, j->candidate ? j->candidate : a->candidate.gen, candidate,
			     confirmed, err);
	return r;
}
