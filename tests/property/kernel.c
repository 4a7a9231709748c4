/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A world into the kernel, as the agent does it: compile, merge, difference, transactions. */
#include "tests/property/property.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/nft.h"
#include "base/mem.h"
#include "rules/marks.h"
#include "tests/property/mutate.h"

#define TABLE         "bwprop"
#define LIVE_SIZE     4096
#define NFLOG_GROUP   7190
#define EPOCHS        16
#define DUMP_TRIES    5
#define MS_PER_SECOND 1000

struct kernel {
	struct nft *nft;
	struct numbers *conduits, *identities;
	struct generation *confirmed, *candidate;
	struct ruleset *applied;
	unsigned epoch;
};

int kernel_open(struct kernel **ret, struct err *err)
{
	struct kernel *k = mem_calloc(1, sizeof(*k));
	int r;

	if (k == NULL)
		return err_set(err, ENOMEM, "out of memory");
	k->conduits = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	k->identities = numbers_new(MARK_IDENTITY_MIN, MARK_IDENTITY_MAX);
	r = nft_open(TABLE, &k->nft, err);
	if (r >= 0)
		r = nft_probe(k->nft, err);
	if (r < 0) {
		kernel_close(k);
		return r;
	}
	*ret = k;
	return 0;
}

static void forget(struct kernel *k)
{
	ruleset_freep(&k->applied);
	generation_freep(&k->confirmed);
	generation_freep(&k->candidate);
}

void kernel_close(struct kernel *k)
{
	if (k == NULL)
		return;
	if (k->nft != NULL)
		(void)nft_delete_table(k->nft, NULL);
	nft_close(k->nft);
	forget(k);
	numbers_free(k->conduits);
	numbers_free(k->identities);
	free(k);
}

static int compile(struct kernel *k, const struct world *w, bool candidate, struct generation **ret,
		   struct err *err)
{
	struct compile_input in;

	world_input(w, candidate, &in);
	return compile_generation(&in, k->conduits, k->identities, ret, err);
}

static void shape_of(struct kernel *k, const struct world *w, struct table_shape *ret)
{
	*ret = (struct table_shape){.table = TABLE,
				    .queue = (uint8_t)nft_queue_kind(k->nft),
				    .queue_first = PROPERTY_QUEUE,
				    .nflog_group = NFLOG_GROUP,
				    .unclaimed_mark = MARK_UNCLAIMED_MIN + k->epoch++ % EPOCHS,
				    .unclaimed = w->mode == MODE_ENFORCE ? UNCLAIMED_DENY
									 : UNCLAIMED_PASS,
				    .live_size = LIVE_SIZE};
	for (size_t i = 0; i < w->host.workload_count; i++) {
		if (w->host.workloads[i].level > 0)
			ret->levels |= 1U << (w->host.workloads[i].level - 1);
	}
	for (size_t i = 0; i < w->host.nobody_count; i++)
		ret->levels |= 1U << (w->host.nobodies[i].level - 1);
	for (size_t i = 0; i < w->host.unit_count; i++)
		ret->levels |= 1U << (w->host.units[i].level - 1);
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int add_rederived(const struct generation *old, const struct generation *new_,
			 uint32_t **numbers, size_t *count, size_t *cap)
{
	CLEANUP(freep) uint32_t *more = NULL;
	size_t more_count = 0;
	int r = generation_rederive(old, new_, &more, &more_count);

	if (r >= 0)
		r = vec_grow(numbers, cap, *count + more_count + 1, sizeof(**numbers),
			     CONDUITS_MAX);
	for (size_t i = 0; r >= 0 && i < more_count; i++)
		(*numbers)[(*count)++] = more[i];
	return r;
}

/*
 * Numbers whose flows are classified again: those of services that were cut up differently, also
 * where the candidate that judged until now is gone, and that of unclaimed flows, because processes
 * may have got an identity.
 */
static int rederived(const struct kernel *k, const struct generation *confirmed, uint32_t **ret,
		     size_t *ret_count)
{
	CLEANUP(freep) uint32_t *numbers = NULL;
	size_t count = 0, cap = 0, kept = 0;
	int r;

	if (k->applied == NULL)
		return 0;
	r = add_rederived(k->confirmed, confirmed, &numbers, &count, &cap);
	if (r >= 0 && k->candidate != NULL)
		r = add_rederived(k->candidate, confirmed, &numbers, &count, &cap);
	if (r < 0)
		return r;
	numbers[count++] = k->applied->shape.unclaimed_mark;
	qsort(numbers, count, sizeof(*numbers), by_number);
	for (size_t i = 0; i < count; i++) {
		if (kept == 0 || numbers[kept - 1] != numbers[i])
			numbers[kept++] = numbers[i];
	}
	*ret = TAKE_PTR(numbers);
	*ret_count = kept;
	return 0;
}

static bool is_live(const struct ruleset *r, uint32_t number)
{
	const struct set_items *live = ruleset_find(r, (struct set_ref){.kind = SET_LIVE});

	return live != NULL && set_items_find(live, &number) != NULL;
}

/* As the agent does: they stay until they are live again. */
static int keep_rederive(const struct kernel *k, struct ruleset *target, const uint32_t *more,
			 size_t count, struct err *err)
{
	const struct set_ref ref = {.kind = SET_REDERIVE};
	const struct set_items *old = k->applied == NULL ? NULL : ruleset_find(k->applied, ref);
	size_t old_count = old == NULL ? 0 : old->count;
	struct set_items *s = ruleset_set(target, ref);
	int r = s == NULL ? -ENOMEM : 0;

	for (size_t i = 0; i < old_count + count && r >= 0; i++) {
		uint32_t number = 0;

		if (i < old_count)
			memcpy(&number, old->bytes + i * sizeof(number), sizeof(number));
		else
			number = more[i - old_count];
		if (!is_live(target, number))
			r = set_items_add(s, &number);
	}
	if (r < 0)
		return err_set(err, -r, "out of memory");
	return ruleset_sort(target, err);
}

static int send_plan(struct kernel *k, const struct world *w, const struct plan *plan,
		     const struct ruleset *target, struct err *err)
{
	struct nft_apply_input in = {.plan = plan,
				     .old = k->applied,
				     .new_ = target,
				     .now_ms = w->now.s * MS_PER_SECOND,
				     .quiet = k->applied == NULL};
	struct nft_fault fault = {0};
	int r;

	r = nft_apply(k->nft, &in, &fault, err);
	if (r < 0)
		return err_prefix(err, r, "kernel refused %s", fault.object);
	return k->applied == NULL ? nft_enforce(k->nft, &target->shape, err) : 0;
}

uint32_t kernel_unclaimed(const struct kernel *k)
{
	return k->applied->shape.unclaimed_mark;
}

/* The test is the agent: what it does not know of listeners does not exist. */
void kernel_heartbeat(const struct kernel *k, bool on)
{
	if (on)
		(void)nft_switch_set(k->nft, SET_AGENT_ALIVE, 3600 * MS_PER_SECOND, NULL);
	else
		(void)nft_switch_clear(k->nft, SET_AGENT_ALIVE, NULL);
}

static int set_switches(struct kernel *k, const struct world *w, struct err *err)
{
	int r = nft_switch_set(k->nft, SET_AGENT_ALIVE, 3600 * MS_PER_SECOND, err);

	if (r < 0)
		return r;
	if (w->mode == MODE_OBSERVE)
		r = nft_switch_set(k->nft, SET_OBSERVE_ON, 0, err);
	else
		r = nft_switch_clear(k->nft, SET_OBSERVE_ON, err);
	if (r < 0)
		return r;
	if (world_judged_by_candidate(w))
		return nft_switch_set(k->nft, SET_CANDIDATE_ON, 3600 * MS_PER_SECOND, err);
	return nft_switch_clear(k->nft, SET_CANDIDATE_ON, err);
}

static int restart(struct kernel *k, struct err *err)
{
	enum nft_found found;
	int r = nft_delete_table(k->nft, err);

	forget(k);
	return r < 0 ? r : nft_start(k->nft, &found, err);
}

static int change(struct kernel *k, const struct world *w, struct generation *confirmed,
		  struct ruleset *target, struct err *err)
{
	CLEANUP(plan_freep) struct plan *plan = NULL;
	CLEANUP(freep) uint32_t *rederive = NULL;
	size_t count = 0;
	int r = rederived(k, confirmed, &rederive, &count);

	if (r < 0)
		return err_set(err, -r, "rederive: %s", strerror(-r));
	r = keep_rederive(k, target, rederive, count, err);
	if (r >= 0)
		r = plan_make(k->applied, target, rederive, count, &plan, err);
	if (r >= 0)
		r = send_plan(k, w, plan, target, err);
	return r;
}

const struct generation *kernel_generation(const struct kernel *k, const struct world *w)
{
	return world_judged_by_candidate(w) ? k->candidate : k->confirmed;
}

int kernel_apply(struct kernel *k, const struct world *w, bool fresh, unsigned mutation,
		 struct rng *r, struct err *err)
{
	CLEANUP(generation_freep) struct generation *confirmed = NULL;
	CLEANUP(generation_freep) struct generation *candidate = NULL;
	CLEANUP(ruleset_freep) struct ruleset *target = NULL;
	struct table_shape shape;
	int e = compile(k, w, false, &confirmed, err);

	if (e >= 0 && w->has_candidate)
		e = compile(k, w, true, &candidate, err);
	if (e < 0)
		return err_prefix(err, e, "compile");
	shape_of(k, w, &shape);
	e = ruleset_build(confirmed, candidate, &w->host, candidate == NULL ? NULL : &w->host,
			  &shape, &target, err);
	if (e >= 0)
		e = mutate(target, mutation, r, err);
	if (e >= 0 && (fresh || k->applied == NULL))
		e = restart(k, err);
	if (e >= 0)
		e = change(k, w, confirmed, target, err);
	if (e >= 0)
		e = set_switches(k, w, err);
	if (e < 0)
		return e;
	forget(k);
	k->applied = TAKE_PTR(target);
	k->confirmed = TAKE_PTR(confirmed);
	k->candidate = TAKE_PTR(candidate);
	return 0;
}

static bool is_lease(const struct plan_op *op)
{
	return op->ref.kind == SET_LEASED;
}

int kernel_audit(struct kernel *k, const struct world *w, struct err *err)
{
	struct nft_dump_input in = {.now_ms = w->now.s * MS_PER_SECOND};
	CLEANUP(ruleset_freep) struct ruleset *read = NULL;
	CLEANUP(plan_freep) struct plan *plan = NULL;
	char name[SET_NAME_MAX];
	int r = -EAGAIN;

	for (int i = 0; i < DUMP_TRIES && r == -EAGAIN; i++)
		r = nft_dump(k->nft, &in, &read, err);
	if (r >= 0)
		r = plan_make(read, k->applied, NULL, 0, &plan, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < plan->op_count; i++) {
		const struct plan_op *op = &plan->ops[i];

		/* Ends of leases come back rounded. */
		if (is_lease(op))
			continue;
		return err_set(err, EBADMSG, "the kernel's %s %s an element (of %zu differences)",
			       set_name(name, op->ref), op->action == PLAN_ADD ? "lacks" : "has",
			       plan->op_count);
	}
	return 0;
}
