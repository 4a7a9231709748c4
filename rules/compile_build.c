/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Generations and the host become one ruleset. Classification exists per generation, `live` once:
 * where the two disagree its verdict is a pair (R15).
 */
#include "rules/compile_build.h"

#include "base/mem.h"
#include "base/text.h"
#include "rules/marks.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define LIVE_SIZE_MIN 65536U /* R29 */
#define LIVE_SIZE_MAX (1U << 28)

int build_no_memory(const struct build *b)
{
	return err_set(b->err, ENOMEM, "out of memory while building the ruleset");
}

int build_add(const struct build *b, struct set_ref ref, const struct key *key, const void *value)
{
	uint8_t record[2 * SET_KEY_MAX + sizeof(uint64_t)] = {0};
	size_t offset = set_value_offset(ref.kind);
	struct set_items *s = ruleset_set(b->r, ref);

	if (!s)
		return build_no_memory(b);
	memcpy(record, key->bytes, set_key_len(ref.kind));
	if (value)
		memcpy(record + offset, value, set_stride(ref.kind) - offset);
	return set_items_add(s, record) < 0 ? build_no_memory(b) : 0;
}

int build_add_mark(const struct build *b, enum set_kind kind, uint32_t mark)
{
	struct key key;

	key_init(&key);
	key_u32(&key, mark);
	return build_add(b, (struct set_ref){.kind = (uint8_t)kind}, &key, NULL);
}

/* --- classification -------------------------------------------------------------------------- */

static bool is_essential_map(uint8_t kind)
{
	return kind >= SET_ESSENTIAL_OUT4 && kind <= SET_ESSENTIAL_PROTO;
}

static int take_set(const struct build *b, const struct build_side *s, struct set_items *from)
{
	struct set_ref ref = from->ref;
	size_t stride = set_stride(ref.kind);
	struct set_items *to;
	int r = 0;

	/* Essentials are the agent's own, alike in both; their maps have no slot. */
	if (is_essential_map(ref.kind) && s != &b->sides[0])
		return 0;
	if (set_spec(ref.kind)->per_slot)
		ref.slot = (uint8_t)s->slot;
	to = ruleset_set(b->r, ref);
	if (!to)
		return build_no_memory(b);
	if (to->count == 0)
		return set_items_share(to, from) < 0 ? build_no_memory(b) : 0;
	for (size_t i = 0; i < from->count && r == 0; i++)
		r = set_items_add(to, from->bytes + i * stride);
	return r < 0 ? build_no_memory(b) : 0;
}

static int build_classify(const struct build *b)
{
	int r = 0;

	for (size_t i = 0; i < b->side_count; i++) {
		struct ruleset *classify = b->sides[i].g->classify;

		for (size_t j = 0; j < classify->set_count && r == 0; j++)
			r = take_set(b, &b->sides[i], &classify->sets[j]);
	}
	return r;
}

/* --- ends of a conduit ----------------------------------------------------------------------- */

static int add_ends(const struct build *b, const struct build_side *s, uint32_t mark,
		    struct local_ends *ret)
{
	size_t first = 0, count = mark != 0 ? build_ends_of(s, mark, &first) : 0;
	int r = 0;

	for (size_t i = first; i < first + count && r == 0; i++) {
		struct local_end end = s->ends.items[i];

		end.mark = 0; /* an end of two identities of one conduit counts once */
		r = build_ends_add(b, ret, &end);
	}
	return r;
}

static int add_receivers(const struct build *b, const struct build_side *s, uint32_t number,
			 struct local_ends *ret)
{
	const struct generation *g = s->g;
	size_t low = 0, high = g->receiver_count;
	int r = 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (g->receivers[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < g->receiver_count && g->receivers[low].number == number && r == 0; low++)
		r = add_ends(b, s, g->receivers[low].mark, ret);
	return r;
}

static int add_owners(const struct build *b, const struct build_side *s, uint32_t number,
		      struct local_ends *ret)
{
	const struct generation *g = s->g;
	int r = 0;

	for (size_t i = 0; i < g->owner_count; i++) {
		if (g->owners[i].number != number)
			continue;
		for (size_t j = 0; j < s->host->unit_count && r == 0; j++) {
			const struct host_unit *u = &s->host->units[j];
			struct local_end end = {.level = u->level, .cgroup = u->cgroup_id};

			if (str_eq(u->unit, g->owners[i].unit) && u->level >= 1 &&
			    u->level <= CGROUP_LEVEL_MAX)
				r = build_ends_add(b, ret, &end);
		}
	}
	return r;
}

/* Process groups that may be a local end of the conduit, sorted. */
static int find_ends(const struct build *b, const struct build_side *s, const struct conduit *c,
		     struct local_ends *ret)
{
	int r = 0;

	ret->count = 0;
	if (!c ||
	    (c->verdict == LIVE_NONE && c->vouched == LIVE_NONE && c->unavailable == LIVE_NONE))
		return 0;
	if (c->flags & CONDUIT_ESSENTIAL) {
		r = add_owners(b, s, c->number, ret);
	} else {
		if (c->flags & CONDUIT_OUT)
			r = add_ends(b, s, s->g->parties[c->from].mark, ret);
		if (r == 0 && (c->flags & CONDUIT_IN))
			r = add_ends(b, s, s->g->parties[c->to].mark, ret);
		if (r == 0 && (c->flags & CONDUIT_LOOPBACK))
			r = add_receivers(b, s, c->number, ret);
	}
	build_ends_sort(ret);
	return r;
}

static void end_key(uint32_t number, const struct local_end *end, struct key *ret)
{
	key_init(ret);
	key_u32(ret, number);
	key_cgroup(ret, end->cgroup);
}

static int write_mark_ends(const struct build *b, const struct build_side *s, uint32_t mark,
			   bool essential, const struct local_ends *ends)
{
	int r = 0;

	for (size_t i = 0; i < ends->count && r == 0; i++) {
		struct set_ref ref = {.kind = essential ? SET_ESSENTIAL_ENDS : SET_ENDS,
				      .slot = essential ? SLOT_A : (uint8_t)s->slot,
				      .level = ends->items[i].level};
		struct key key;

		end_key(mark, &ends->items[i], &key);
		r = build_add(b, ref, &key, NULL);
	}
	return r;
}

/*
 * A bare SYN on a live flow passes only where its mark has ends (R1): never on one that was vouched
 * for, nor while the question is open.
 */
static int write_ends(const struct build *b, const struct build_side *s, const struct conduit *c,
		      const struct local_ends *ends)
{
	bool essential = (c->flags & CONDUIT_ESSENTIAL) != 0;
	int r = 0;

	if (c->verdict != LIVE_NONE && c->verdict != LIVE_ASK)
		r = write_mark_ends(b, s, c->number, essential, ends);
	if (r == 0 && c->unavailable != LIVE_NONE)
		r = write_mark_ends(b, s, c->number | MARK_UNAVAILABLE, essential, ends);
	return r;
}

/* --- live ------------------------------------------------------------------------------------ */

static uint8_t pair_of(const struct build *b, uint8_t first, uint8_t second)
{
	return b->side_count == 1 ? first : live_pair(first, second);
}

static int end_order(const struct local_end *a, const struct local_end *b)
{
	if (a->level != b->level)
		return a->level < b->level ? -1 : 1;
	return a->cgroup < b->cgroup ? -1 : a->cgroup > b->cgroup;
}

static int add_live_udp(const struct build *b, uint32_t number, const struct local_end *end,
			uint8_t verdict)
{
	struct set_ref ref = {.kind = SET_LIVE_UDP, .level = end->level};
	struct key key;

	end_key(number, end, &key);
	return build_add(b, ref, &key, &verdict);
}

/* A process group may belong to the conduit in one generation and not in the other. */
static int merge_live_udp(const struct build *b, uint32_t number, const uint8_t verdicts[2])
{
	const struct local_ends *x = &b->found[0], *y = &b->found[1];
	size_t i = 0, j = 0;
	int r = 0;

	while (r == 0 && (i < x->count || j < y->count)) {
		int order = i == x->count   ? 1
			    : j == y->count ? -1
					    : end_order(&x->items[i], &y->items[j]);

		r = add_live_udp(b, number, order <= 0 ? &x->items[i] : &y->items[j],
				 pair_of(b, order <= 0 ? verdicts[0] : LIVE_NONE,
					 order >= 0 ? verdicts[1] : LIVE_NONE));
		i += order <= 0;
		j += order >= 0;
	}
	return r;
}

static bool is_by_user(const struct build_side *s, const struct conduit *c)
{
	uint32_t mark = c && (c->flags & CONDUIT_OUT) ? s->g->parties[c->from].mark : 0;

	for (size_t i = 0; mark != 0 && i < s->by_user_count; i++)
		if (s->by_user[i] == mark)
			return true;
	return false;
}

/*
 * The kernel does not know a receiver's uid (R20), so answers to an identity that has no cgroup
 * cannot be checked against it: they pass on the mark. What it sends is judged by uid each time.
 */
static int add_by_user(const struct build *b, const struct conduit *const found[2], uint32_t mark)
{
	for (size_t i = 0; i < b->side_count; i++)
		if (is_by_user(&b->sides[i], found[i]))
			return build_add_mark(b, SET_BY_USER, mark);
	return 0;
}

/*
 * A question is put by `live`, when a datagram has been classified: one that comes back from the
 * queue must find its answer before it finds the question again.
 */
static bool has_datagrams(const uint8_t verdicts[2])
{
	return verdicts[0] != LIVE_ASK && verdicts[1] != LIVE_ASK;
}

/* The kernel itself must know what opens while nobody can be asked; leases are in a set already. */
static int add_open_if_unavailable(const struct build *b, uint32_t mark, const uint8_t verdicts[2])
{
	int r = 0;

	for (size_t i = 0; i < b->side_count && r == 0; i++) {
		struct set_ref ref = {.kind = SET_OPEN_IF_UNAVAILABLE,
				      .slot = (uint8_t)b->sides[i].slot};
		struct key key;

		if (verdicts[i] == LIVE_NONE || verdicts[i] == LIVE_LEASED)
			continue;
		key_init(&key);
		key_u32(&key, mark);
		r = build_add(b, ref, &key, NULL);
	}
	return r;
}

/* One of the elements of a conduit, by the flag bits of its mark. */
static int build_mark(struct build *b, const struct conduit *const found[2], uint32_t mark)
{
	const struct conduit *c = found[0] ? found[0] : found[1];
	uint8_t verdicts[2] = {LIVE_NONE, LIVE_NONE}, verdict;
	struct key key;
	int r;

	for (size_t i = 0; i < b->side_count; i++)
		verdicts[i] = found[i] ? conduit_verdict(found[i], mark) : LIVE_NONE;
	verdict = pair_of(b, verdicts[0], verdicts[1]);
	if (verdict == LIVE_NONE)
		return 0;
	key_init(&key);
	key_u32(&key, mark);
	r = build_add(b, (struct set_ref){.kind = SET_LIVE}, &key, &verdict);
	if (r == 0 && (verdicts[0] == LIVE_ASK || verdicts[1] == LIVE_ASK))
		r = build_add_mark(b, SET_PENDING, mark);
	if (r == 0 && (mark & MARK_UNAVAILABLE))
		r = add_open_if_unavailable(b, mark, verdicts);
	if (r < 0 || c->service.kind != SERVICE_UDP)
		return r;
	if (has_datagrams(verdicts))
		r = merge_live_udp(b, mark, verdicts);
	return r < 0 ? r : add_by_user(b, found, mark);
}

static int build_conduit(struct build *b, const struct conduit *const found[2])
{
	const struct conduit *c = found[0] ? found[0] : found[1];
	int r = 0;

	for (size_t i = 0; i < b->side_count && r == 0; i++) {
		r = find_ends(b, &b->sides[i], found[i], &b->found[i]);
		if (r == 0 && found[i] &&
		    (c->service.kind != SERVICE_UDP || (c->flags & CONDUIT_ESSENTIAL)))
			r = write_ends(b, &b->sides[i], found[i], &b->found[i]);
	}
	if (r == 0)
		r = build_mark(b, found, c->number);
	if (r == 0)
		r = build_mark(b, found, c->number | MARK_VOUCHED);
	return r < 0 ? r : build_mark(b, found, c->number | MARK_UNAVAILABLE);
}

/* --- answers and modes ----------------------------------------------------------------------- */

static const struct local_identity *local_of_mark(const struct generation *g, uint32_t mark)
{
	for (size_t i = 0; mark != 0 && i < g->local_count; i++)
		if (g->locals[i].mark == mark)
			return &g->locals[i];
	return NULL;
}

static int add_answers(const struct build *b, uint32_t mark, bool observe, bool drop_out,
		       bool reject_in)
{
	int r = 0;

	if (observe)
		r = build_add_mark(b, SET_OBSERVE_WHO, mark);
	if (r == 0 && drop_out)
		r = build_add_mark(b, SET_DENY_OUT_DROP, mark);
	if (r == 0 && reject_in)
		r = build_add_mark(b, SET_DENY_IN_REJECT, mark);
	return r;
}

/* Under every generation, whatever the clock says. */
static bool is_always_open(const struct build *b, const struct conduit *const found[2],
			   uint32_t mark)
{
	for (size_t i = 0; i < b->side_count; i++) {
		const struct conduit *c = found[i];
		uint8_t verdict = c ? conduit_verdict(c, mark) : LIVE_NONE;

		if (!c || (!(c->flags & CONDUIT_ESSENTIAL) && verdict != LIVE_ACCEPT &&
			   verdict != LIVE_WATCHED && verdict != LIVE_LEASED_WATCHED))
			return false;
	}
	return true;
}

/*
 * A packet is refused either with its identity's mark (no conduit) or with that of a conduit that
 * is not open now; both must be known for its identity's mode and answers.
 */
static int build_mark_answers(const struct build *b, const struct build_side *s,
			      const struct conduit *c, uint32_t mark, bool always_open)
{
	const struct local_identity *from, *to, *local;
	int r;

	/* An open loopback conduit may still be refused by its receiver. */
	if (always_open && ((c->flags & CONDUIT_ESSENTIAL) || !(c->flags & CONDUIT_LOOPBACK)))
		return 0;
	from = local_of_mark(s->g, c->flags & CONDUIT_OUT ? s->g->parties[c->from].mark : 0);
	to = local_of_mark(s->g, s->g->parties[c->to].mark);
	local = from ? from : to;
	if (!local)
		return 0;
	r = add_answers(b, mark, local->observe, from && from->deny_out == DENY_DROP,
			to && to->deny_in == DENY_REJECT);
	if (r == 0 && mark == (c->number | MARK_NOT_VOUCHED) && to && to->own_drop_in)
		r = build_add_mark(b, SET_DENY_IN_DROP, mark);
	return r;
}

/* Rules differ from one generation to the other, so this is known for each. */
static int add_ask_watched(const struct build *b, const struct build_side *s,
			   const struct conduit *c)
{
	const uint32_t flags[] = {0, MARK_UNAVAILABLE, MARK_NOT_VOUCHED};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(flags) && r == 0; i++) {
		struct set_ref ref = {.kind = SET_ASK_WATCHED, .slot = (uint8_t)s->slot};
		struct key key;

		if (!c || !(c->flags & CONDUIT_ASK_WATCHED))
			return 0;
		key_init(&key);
		key_u32(&key, c->number | flags[i]);
		r = build_add(b, ref, &key, NULL);
	}
	return r;
}

static int build_conduit_answers(const struct build *b, const struct build_side *s,
				 const struct conduit *const found[2])
{
	static const uint32_t flags[] = {0, MARK_VOUCHED, MARK_UNAVAILABLE, MARK_NOT_VOUCHED};
	const struct conduit *c = found[0] ? found[0] : found[1];
	bool asked = ((found[0] ? found[0]->flags : 0) | (found[1] ? found[1]->flags : 0)) &
		     CONDUIT_ASKED;
	bool vouchee = conduit_is_vouchee(s->g, c);
	int r = 0;

	for (size_t i = 0; i < b->side_count && r == 0; i++)
		r = add_ask_watched(b, &b->sides[i], found[i]);
	for (size_t i = 0; i < ARRAY_LEN(flags) && r == 0; i++) {
		uint32_t mark = c->number | flags[i];

		if (vouchee ? flags[i] != MARK_VOUCHED : flags[i] != 0 && !asked)
			continue;
		r = build_mark_answers(b, s, c, mark, is_always_open(b, found, mark));
	}
	return r;
}

/* The confirmed generation speaks for what both have: a fallback must find its own answers. */
static int build_identity_answers(const struct build *b)
{
	int r = 0;

	for (size_t i = 0; i < b->side_count; i++) {
		const struct generation *g = b->sides[i].g;

		for (size_t j = 0; j < g->local_count && r == 0; j++) {
			const struct local_identity *l = &g->locals[j];

			if (i > 0 && local_of_mark(b->sides[0].g, l->mark))
				continue;
			r = add_answers(b, l->mark, l->observe, l->deny_out == DENY_DROP,
					l->deny_in == DENY_REJECT);
		}
	}
	return r;
}

/* --- merge ----------------------------------------------------------------------------------- */

static uint32_t next_number(const struct build *b)
{
	uint32_t number = UINT32_MAX;

	for (size_t i = 0; i < b->side_count; i++) {
		const struct build_side *s = &b->sides[i];

		if (s->next < s->g->conduit_count && s->g->conduits[s->next].number < number)
			number = s->g->conduits[s->next].number;
	}
	return number;
}

static int build_conduits(struct build *b)
{
	uint32_t number;
	int r = 0;

	while (r == 0 && (number = next_number(b)) != UINT32_MAX) {
		const struct conduit *found[2] = {NULL, NULL};
		size_t first = 0;

		for (size_t i = b->side_count; i > 0; i--) {
			struct build_side *s = &b->sides[i - 1];

			if (s->next >= s->g->conduit_count ||
			    s->g->conduits[s->next].number != number)
				continue;
			found[i - 1] = &s->g->conduits[s->next++];
			first = i - 1;
		}
		r = build_conduit(b, found);
		if (r == 0)
			r = build_conduit_answers(b, &b->sides[first], found);
	}
	return r;
}

static int build_leases(const struct build *b)
{
	int r = 0;

	for (size_t i = 0; i < b->side_count; i++) {
		const struct build_side *s = &b->sides[i];

		for (size_t j = 0; j < s->g->lease_count && r == 0; j++) {
			struct set_ref ref = {.kind = SET_LEASED, .slot = (uint8_t)s->slot};
			struct key key;

			key_init(&key);
			key_u32(&key, s->g->leases[j].number);
			r = build_add(b, ref, &key, &s->g->leases[j].end.s);
		}
	}
	return r;
}

/* --- processes without identity -------------------------------------------------------------- */

/*
 * Their mark is always in `live`: the chains give it to whom they let pass, in enforce mode between
 * themselves on loopback only (R13). Whoever stops passing them uses another mark from then on.
 */
static int build_unclaimed(struct build *b)
{
	static const uint8_t accept = LIVE_ACCEPT, refused = LIVE_REFUSED_REPLY;
	static const uint32_t mark_refused = MARK_REFUSED;
	static const uint32_t marks[] = {MARK_IDENTITY_UNCLAIMED, MARK_IDENTITY_ASK,
					 MARK_IDENTITY_NOBODY, MARK_IDENTITY_MISPLACED};
	const struct generation *g = b->sides[0].g;
	struct local_ends *all = &b->found[0];
	bool identities = false;
	struct key key;
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(marks) && r == 0; i++)
		r = add_answers(b, marks[i], false, g->deny_out == DENY_DROP,
				g->deny_in == DENY_REJECT);
	if (r < 0)
		return r;

	key_init(&key);
	key_u32(&key, MARK_REFUSED);
	r = build_add(b, (struct set_ref){.kind = SET_LIVE}, &key, &refused);
	key_init(&key);
	key_u8(&key, IPPROTO_TCP);
	if (r == 0)
		r = build_add(b, (struct set_ref){.kind = SET_ANSWERING}, &key, &mark_refused);
	/* The agent says which identity listens; the entry waits under this mark (R20). */
	if (r == 0 && b->shape->queue != QUEUE_NONE)
		r = build_add_mark(b, SET_PENDING, MARK_LISTENER_ASK);
	for (size_t i = 0; i < b->side_count; i++)
		identities |= b->sides[i].g->local_count > 0;
	if (r == 0 && b->shape->queue != QUEUE_NONE && identities)
		r = build_add_mark(b, SET_PENDING, MARK_PORT_ASK);
	if (r < 0 || b->shape->unclaimed_mark == 0)
		return r;
	key_init(&key);
	key_u32(&key, b->shape->unclaimed_mark);
	r = build_add(b, (struct set_ref){.kind = SET_LIVE}, &key, &accept);
	all->count = 0;
	for (size_t i = 0; i < b->side_count; i++)
		for (size_t j = 0; j < b->sides[i].nobody_count && r == 0; j++)
			r = build_ends_add(b, all, &b->sides[i].nobodies[j]);
	build_ends_sort(all);
	for (size_t i = 0; i < all->count && r == 0; i++)
		r = add_live_udp(b, b->shape->unclaimed_mark, &all->items[i], LIVE_ACCEPT);
	return r;
}

/* --- shape ----------------------------------------------------------------------------------- */

/* Room for an eighth more, and for elements that are replaced within one transaction. */
static uint32_t size_for(size_t elements, uint32_t size)
{
	size_t wanted = elements + elements / 8 + 4096;

	if (size < LIVE_SIZE_MIN)
		size = LIVE_SIZE_MIN;
	while (size < wanted && size < LIVE_SIZE_MAX)
		size *= 2;
	return size;
}

static void build_shape(const struct build *b)
{
	struct table_shape *shape = &b->r->shape;

	*shape = *b->shape;
	for (size_t i = 0; i < b->r->set_count; i++) {
		const struct set_items *s = &b->r->sets[i];

		if (set_spec(s->ref.kind)->per_level && s->count > 0)
			shape->levels |= 1U << (s->ref.level - 1);
		if (s->ref.kind == SET_LIVE || s->ref.kind == SET_LIVE_UDP)
			shape->live_size = size_for(s->count, shape->live_size);
	}
	shape->live_size = size_for(0, shape->live_size);
}

static void build_done(struct build *b)
{
	for (size_t i = 0; i < ARRAY_LEN(b->sides); i++) {
		build_host_done(&b->sides[i]);
		free(b->found[i].items);
	}
	ruleset_free(b->r);
}

static int build_all(struct build *b)
{
	int r;

	r = build_classify(b);
	for (size_t i = 0; i < b->side_count && r == 0; i++)
		r = build_host(b, &b->sides[i]);
	if (r == 0)
		r = build_conduits(b);
	if (r == 0)
		r = build_leases(b);
	if (r == 0)
		r = build_identity_answers(b);
	if (r == 0)
		r = build_unclaimed(b);
	if (r == 0)
		build_shape(b);
	return r < 0 ? r : ruleset_sort(b->r, b->err);
}

int ruleset_build(const struct generation *confirmed, const struct generation *candidate,
		  const struct host *host, const struct host *candidate_host,
		  const struct table_shape *shape, struct ruleset **ret, struct err *err)
{
	CLEANUP(build_done)
	struct build b = {.r = ruleset_new(), .shape = shape, .side_count = 1, .err = err};
	int r;

	if (!b.r)
		return build_no_memory(&b);
	b.sides[0] = (struct build_side){.g = confirmed, .host = host, .slot = SLOT_A};
	if (candidate) {
		b.sides[1] =
			(struct build_side){.g = candidate, .host = candidate_host, .slot = SLOT_B};
		b.side_count = 2;
	}
	r = build_all(&b);
	if (r == 0)
		*ret = TAKE_PTR(b.r);
	return r;
}
