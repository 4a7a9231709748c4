/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Difference of two rulesets as data: merges of sorted arrays, then one sort by phase. Nothing is
 * copied; an operation points at the record it is about.
 */
#include "rules/ruleset.h"

#include "base/mem.h"
#include "base/text.h"
#include "rules/marks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PLAN_OPS_MAX 33554432

struct diff {
	const struct ruleset *old, *new_;
	const uint32_t *rederive;
	size_t rederive_count;
	struct plan *plan;
};

void plan_free(struct plan *p)
{
	if (!p)
		return;
	free(p->ops);
	free(p);
}

void plan_freep(struct plan **p)
{
	plan_free(*p);
	*p = NULL;
}

bool plan_is_empty(const struct plan *p)
{
	return !p->shape_changed && p->op_count == 0;
}

static bool shape_eq(const struct table_shape *a, const struct table_shape *b)
{
	return str_eq(a->table, b->table) && a->levels == b->levels && a->queue == b->queue &&
	       a->queue_first == b->queue_first && a->nflog_group == b->nflog_group &&
	       a->unclaimed_mark == b->unclaimed_mark && a->unclaimed == b->unclaimed &&
	       a->trial == b->trial && a->live_size == b->live_size;
}

static uint32_t record_mark(const uint8_t *record)
{
	uint32_t mark;

	memcpy(&mark, record, sizeof(mark));
	return mark;
}

static bool is_listed(const struct diff *d, uint32_t mark)
{
	size_t low = 0, high = d->rederive_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (d->rederive[middle] == mark)
			return true;
		if (d->rederive[middle] < mark)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* By its mark, or by its number, which stands for all of them. */
static bool is_rederived(const struct diff *d, uint32_t mark)
{
	return is_listed(d, mark) || is_listed(d, mark & MARK_NUMBER_MASK);
}

/* Verdict of a mark in a ruleset's live, LIVE_NONE without an element. */
static uint8_t live_of(const struct ruleset *r, uint32_t mark)
{
	const struct set_items *live =
		r ? ruleset_find(r, (struct set_ref){.kind = SET_LIVE}) : NULL;
	const uint8_t *record = live ? set_items_find(live, &mark) : NULL;

	return record ? record[set_value_offset(SET_LIVE)] : LIVE_NONE;
}

static bool needs_lease(uint8_t verdict)
{
	uint8_t halves[] = {live_confirmed(verdict), live_candidate(verdict)};

	for (size_t i = 0; i < ARRAY_LEN(halves); i++)
		if (halves[i] == LIVE_LEASED || halves[i] == LIVE_LEASED_WATCHED)
			return true;
	return false;
}

/* The element goes and nothing takes its place. */
static enum plan_phase phase_of_deletion(const struct diff *d, uint8_t kind, const uint8_t *record)
{
	switch (kind) {
	case SET_LIVE:
		return is_rederived(d, record_mark(record)) ? PLAN_REDERIVE : PLAN_CUT;
	case SET_LIVE_UDP:
		if (live_of(d->new_, record_mark(record)) != LIVE_NONE)
			return PLAN_LAZY;
		return is_rederived(d, record_mark(record)) ? PLAN_REDERIVE : PLAN_CUT;
	case SET_OPEN_IF_UNAVAILABLE:
		/* While nobody can be asked this is what lets a first packet in. */
		return PLAN_CUT;
	case SET_LEASED:
		/* A lease that outlives its use must not go before the verdict stops asking for it.
		 */
		if (is_rederived(d, record_mark(record)) ||
		    (live_of(d->new_, record_mark(record)) != LIVE_NONE &&
		     !needs_lease(live_of(d->new_, record_mark(record)))))
			return PLAN_LAZY;
		return PLAN_CUT;
	case SET_ENDS:
	case SET_TW_ENDS:
	case SET_ESSENTIAL_OWNED:
	case SET_ESSENTIAL_ENDS:
	case SET_PENDING:
	case SET_REDERIVE:
	case SET_NODE_CONDUITS:
	case SET_BY_USER:
		return PLAN_LAZY;
	}
	return PLAN_CLASSIFY; /* who, which conduit, answers and modes */
}

/* The element comes, or comes with another value. */
static enum plan_phase phase_of_addition(const struct diff *d, uint8_t kind, const uint8_t *record)
{
	switch (kind) {
	case SET_ENDS:
	case SET_LIVE_UDP:
		/*
		 * Of a conduit that is already open only the fast path waits for these; of a new
		 * one, packets would be lost if classification came first.
		 */
		return live_of(d->old, record_mark(record)) != LIVE_NONE &&
				       live_of(d->old, record_mark(record)) ==
					       live_of(d->new_, record_mark(record))
			       ? PLAN_LAZY
			       : PLAN_ADD_LIVE;
	case SET_LIVE:
	case SET_LEASED:
	case SET_TW_ENDS:
	case SET_ESSENTIAL_OWNED:
	case SET_ESSENTIAL_ENDS:
	case SET_PENDING:
	case SET_OPEN_IF_UNAVAILABLE:
	case SET_NODE_CONDUITS:
	case SET_BY_USER:
		return PLAN_ADD_LIVE;
	case SET_REDERIVE:
		return PLAN_REDERIVE;
	}
	return PLAN_CLASSIFY;
}

static int add_op(struct diff *d, enum plan_phase phase, enum plan_action action,
		  struct set_ref ref, const uint8_t *record)
{
	struct plan *p = d->plan;
	int r = vec_grow(&p->ops, &p->op_cap, p->op_count + 1, sizeof(*p->ops), PLAN_OPS_MAX);

	if (r < 0)
		return r;
	p->ops[p->op_count++] = (struct plan_op){
		.phase = (uint8_t)phase, .action = (uint8_t)action, .ref = ref, .record = record};
	return 0;
}

static bool keeps_rederive(const struct ruleset *r, const uint8_t *record)
{
	const struct set_items *s = ruleset_find(r, (struct set_ref){.kind = SET_REDERIVE});

	return s && set_items_find(s, record);
}

static int gone(struct diff *d, struct set_ref ref, const uint8_t *record)
{
	enum plan_phase phase = phase_of_deletion(d, ref.kind, record);
	int r = 0;

	/*
	 * The live record begins with the number, which is a whole record of `rederive`. A caller
	 * that keeps such numbers in its rulesets gets the addition from the comparison itself.
	 */
	if (ref.kind == SET_LIVE && phase == PLAN_REDERIVE && !keeps_rederive(d->new_, record))
		r = add_op(d, phase, PLAN_ADD, (struct set_ref){.kind = SET_REDERIVE}, record);
	return r < 0 ? r : add_op(d, phase, PLAN_DEL, ref, record);
}

static int changed(struct diff *d, struct set_ref ref, const uint8_t *old, const uint8_t *new_)
{
	enum plan_phase phase = phase_of_addition(d, ref.kind, new_);
	int r;

	/* Deletion and addition belong together; a changed interval is a new key's business. */
	r = add_op(d, phase, PLAN_DEL, ref, old);
	return r < 0 ? r : add_op(d, phase, PLAN_ADD, ref, new_);
}

static int merge_set(struct diff *d, struct set_ref ref, const struct set_items *old,
		     const struct set_items *new_)
{
	size_t stride = set_stride(ref.kind), key_len = set_key_len(ref.kind);
	size_t old_count = old ? old->count : 0, new_count = new_ ? new_->count : 0;
	size_t i = 0, j = 0;
	int r = 0;

	while (r == 0 && (i < old_count || j < new_count)) {
		const uint8_t *a = i < old_count ? old->bytes + i * stride : NULL;
		const uint8_t *b = j < new_count ? new_->bytes + j * stride : NULL;
		int order = !a ? 1 : !b ? -1 : memcmp(a, b, key_len);

		if (order < 0)
			r = gone(d, ref, a);
		else if (order > 0)
			r = add_op(d, phase_of_addition(d, ref.kind, b), PLAN_ADD, ref, b);
		else if (memcmp(a, b, stride) != 0)
			r = changed(d, ref, a, b);
		i += order <= 0;
		j += order >= 0;
	}
	return r;
}

static int ref_order(struct set_ref a, struct set_ref b)
{
	uint32_t x = (uint32_t)a.kind << 16 | (uint32_t)a.slot << 8 | a.level;
	uint32_t y = (uint32_t)b.kind << 16 | (uint32_t)b.slot << 8 | b.level;

	return x < y ? -1 : x > y;
}

static int merge_sets(struct diff *d)
{
	const struct set_items *a = d->old ? d->old->sets : NULL;
	const struct set_items *a_end = a ? a + d->old->set_count : NULL;
	const struct set_items *b = d->new_->sets;
	const struct set_items *b_end = b ? b + d->new_->set_count : NULL;
	int r = 0;

	while (r == 0 && (a != a_end || b != b_end)) {
		int order = a == a_end ? 1 : b == b_end ? -1 : ref_order(a->ref, b->ref);

		if (order < 0)
			r = merge_set(d, a->ref, a, NULL);
		else if (order > 0)
			r = merge_set(d, b->ref, NULL, b);
		else
			r = merge_set(d, a->ref, a, b);
		if (order <= 0)
			a++;
		if (order >= 0)
			b++;
	}
	return r;
}

/*
 * Sets in the order in which a phase wants them. What `live` sends packets to, or what is looked up
 * after it, is there before `live` refers to it; `rederive` before its live elements go.
 */
static unsigned set_rank(uint8_t kind)
{
	switch (kind) {
	case SET_REDERIVE:
		return 0;
	case SET_LIVE_UDP:
		return SET_KIND_COUNT + 1;
	case SET_LIVE:
		return SET_KIND_COUNT + 2;
	}
	return kind + 1U;
}

static int record_order(const struct plan_op *a, const struct plan_op *b)
{
	int order = memcmp(a->record, b->record, set_key_len(a->ref.kind));

	if (set_spec(a->ref.kind)->interval && a->action != b->action)
		return a->action < b->action ? -1 : 1;
	if (order != 0)
		return order;
	return (int)a->action - (int)b->action;
}

static int op_cmp(const void *x, const void *y)
{
	const struct plan_op *a = x, *b = y;
	unsigned rank_a, rank_b;
	int order;

	if (a->phase != b->phase)
		return a->phase < b->phase ? -1 : 1;
	rank_a = set_rank(a->ref.kind);
	rank_b = set_rank(b->ref.kind);
	if (rank_a != rank_b)
		return rank_a < rank_b ? -1 : 1;
	order = ref_order(a->ref, b->ref);
	return order != 0 ? order : record_order(a, b);
}

int plan_make(const struct ruleset *old, const struct ruleset *new_, const uint32_t *rederive,
	      size_t rederive_count, struct plan **ret, struct err *err)
{
	CLEANUP(plan_freep) struct plan *plan = mem_calloc(1, sizeof(*plan));
	struct diff d = {.old = old,
			 .new_ = new_,
			 .rederive = rederive,
			 .rederive_count = rederive_count,
			 .plan = plan};
	int r;

	if (!plan)
		return err_set(err, ENOMEM, "out of memory while comparing rulesets");
	plan->shape_changed = !old || !shape_eq(&old->shape, &new_->shape);
	r = merge_sets(&d);
	if (r < 0)
		return err_set(err, -r, "%s while comparing rulesets",
			       r == -ENOMEM ? "out of memory" : "too many differences");
	if (plan->op_count > 1)
		qsort(plan->ops, plan->op_count, sizeof(*plan->ops), op_cmp);
	*ret = TAKE_PTR(plan);
	return 0;
}
