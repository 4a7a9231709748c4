/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/nft_table.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "rules/marks.h"

struct nft_apply {
	struct nft *n;
	struct nft_apply_input in;
	struct table *table;  /* of the new shape */
	struct table *before; /* sets of the old shape; NULL on a first load */
	struct batch batch;   /* of its own: other transactions may come in between */
	bool chains;          /* still to be sent, with the next transaction */
	bool resize;          /* live and live_udp are made anew with another size */
	bool gone;            /* sets of the old shape are deleted with the last transaction */
	size_t chunk, next;
	size_t first;     /* of the transaction being written */
	uint32_t *barred; /* revoked meanwhile; a few */
	size_t barred_count;
	struct nft_fault fault;
	int r; /* of the transaction being written */
};

static bool table_has(const struct table *t, struct set_ref ref)
{
	for (size_t i = 0; i < t->set_count; i++) {
		if (t->sets[i].kind == ref.kind && t->sets[i].slot == ref.slot &&
		    t->sets[i].level == ref.level)
			return true;
	}
	return false;
}

static bool is_live(uint8_t kind)
{
	return kind == SET_LIVE || kind == SET_LIVE_UDP;
}

/* --- chains ---------------------------------------------------------------------------------- */

static void put_live_sets_gone(struct nft_apply *a, struct batch *b)
{
	char name[SET_NAME_MAX];

	for (size_t i = 0; i < a->before->set_count; i++) {
		if (is_live(a->before->sets[i].kind))
			nft_put_delete(b, NFT_MSG_DELSET, a->n->table, NFTA_SET_NAME,
				       set_name(name, a->before->sets[i]), (struct batch_item){0});
	}
}

static void put_live_elements(struct nft_apply *a, struct batch *b)
{
	struct nft_elements list = {.b = b, .table = a->n->table};

	for (size_t i = 0; i < a->in.new_->set_count; i++) {
		const struct set_items *s = &a->in.new_->sets[i];
		size_t stride = set_stride(s->ref.kind);

		for (size_t k = 0; is_live(s->ref.kind) && k < s->count; k++) {
			struct nft_element e = {.ref = s->ref,
						.record = s->bytes + k * stride,
						.add = true,
						.labels = a->in.labels,
						.now_ms = a->in.now_ms,
						.index = SIZE_MAX};

			(void)nft_put_element(&list, &e);
		}
	}
}

static void put_chains(struct nft_apply *a, struct batch *b)
{
	const struct table *t = a->table;

	/* Base chains are made once; their rules come with nft_enforce(), or again now. */
	for (size_t i = 0; i < t->chain_count; i++) {
		if (t->chains[i].hook == 0 || a->before == NULL)
			nft_put_chain(b, t, i, false);
	}
	for (size_t i = 0; i < t->chain_count && a->r == 0; i++) {
		for (size_t k = 0; k < t->chains[i].count && a->r == 0; k++) {
			struct batch_item item = {.kind = BATCH_RULE, .index = i, .count = k};

			if (t->chains[i].hook == 0 || a->n->armed)
				a->r = nft_put_rule(b, t, i, k, item);
		}
	}
	/* A half-written table must not be sent. */
	if (a->r < 0)
		b->r = a->r;
}

/*
 * All rules are replaced in one transaction, so the packet path sees one set of chains or the
 * other. Elements of `live` hold on to their chains, which therefore stay.
 */
static void put_head(void *user, struct batch *b)
{
	struct nft_apply *a = user;
	const struct table *t = a->table;

	a->r = 0;
	if (!a->chains)
		return;
	if (a->before != NULL)
		nft_put_delete(b, NFT_MSG_DELRULE, a->n->table, 0, NULL, (struct batch_item){0});
	if (a->resize)
		put_live_sets_gone(a, b);
	nft_put_counters(b, a->n->table);
	nft_put_const_sets(b, a->n->table);
	for (size_t i = 0; i < t->set_count; i++)
		nft_put_set(b, &t->shape, t->sets[i], i);
	put_chains(a, b);
	if (a->resize)
		put_live_elements(a, b);
}

static bool is_last(const struct nft_apply *a)
{
	return a->first + a->chunk >= a->in.plan->op_count;
}

static void put_tail(void *user, struct batch *b)
{
	struct nft_apply *a = user;
	char name[SET_NAME_MAX];

	if (!a->gone || !is_last(a))
		return;
	for (size_t i = 0; i < a->before->set_count; i++) {
		struct set_ref ref = a->before->sets[i];

		if (!table_has(a->table, ref))
			nft_put_delete(b, NFT_MSG_DELSET, a->n->table, NFTA_SET_NAME,
				       set_name(name, ref), (struct batch_item){0});
	}
}

/* --- elements -------------------------------------------------------------------------------- */

static bool is_barred(const struct nft_apply *a, const struct plan_op *op)
{
	uint32_t mark;

	/* live_udp alone would let the datagrams of a revoked conduit pass. */
	if (op->action != PLAN_ADD || !is_live(op->ref.kind))
		return false;
	memcpy(&mark, op->record, sizeof(mark));
	for (size_t i = 0; i < a->barred_count; i++) {
		if (a->barred[i] == (mark & MARK_NUMBER_MASK))
			return true;
	}
	return false;
}

static bool element(void *user, size_t i, struct nft_element *ret)
{
	const struct nft_apply *a = user;
	const struct plan_op *op = &a->in.plan->ops[a->first + i];

	/* What lives in a set that goes, or that is filled as a whole, needs no operation. */
	if (op->action == PLAN_DEL && a->gone && !table_has(a->table, op->ref))
		return false;
	if (a->resize && is_live(op->ref.kind))
		return false;
	if (a->barred_count && is_barred(a, op))
		return false;
	*ret = (struct nft_element){.ref = op->ref,
				    .record = op->record,
				    .add = op->action == PLAN_ADD,
				    .labels = a->in.labels,
				    .now_ms = a->in.now_ms};
	return true;
}

/* --- steps ----------------------------------------------------------------------------------- */

/* Without new chains the elements are all there is to say; building tables would cost more. */
static int prepare(struct nft_apply *a, struct err *err)
{
	const struct table_shape *old = a->in.old ? &a->in.old->shape : NULL;
	const struct table_shape *shape = &a->in.new_->shape;
	struct table_shape known = *shape;
	int r;

	if (strcmp(shape->table, a->n->table) != 0)
		return err_set(err, EINVAL, "a ruleset for table '%s' was given for table '%s'",
			       shape->table, a->n->table);
	a->resize = old != NULL && old->live_size != shape->live_size;
	a->gone = old != NULL && (old->levels & ~shape->levels) != 0;
	a->chains = a->in.chains || a->in.plan->shape_changed || old == NULL || a->resize ||
		    old->levels != shape->levels;
	if (!a->chains)
		return 0;
	r = table_build(shape, &a->table, err);
	if (r < 0 || old == NULL)
		return r;
	/* Only the sets of the old shape matter; its mark may be missing after a restart. */
	known.levels = old->levels;
	return table_build(&known, &a->before, err);
}

int nft_apply_begin(struct nft *n, const struct nft_apply_input *in, struct nft_apply **ret,
		    struct err *err)
{
	CLEANUP(nft_apply_freep) struct nft_apply *a = mem_calloc(1, sizeof(*a));
	int r;

	if (a == NULL)
		return err_set(err, ENOMEM, "out of memory");
	a->n = n;
	a->in = *in;
	a->chunk = in->quiet ? NFT_CHUNK_QUIET : NFT_CHUNK_LIVE;
	batch_init(&a->batch);
	r = prepare(a, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(a);
	return 0;
}

int nft_apply_step(struct nft_apply *a, struct err *err)
{
	size_t total = a->in.plan->op_count, left = total - a->next;
	struct nft_send s = {.head = put_head,
			     .tail = put_tail,
			     .element = element,
			     .user = a,
			     .table = a->table};
	int r;

	if (left == 0 && !a->chains)
		return 0;
	a->first = a->next;
	s.count = left < a->chunk ? left : a->chunk;
	r = nft_send(a->n, &a->batch, &s, &a->fault, err);
	if (r < 0)
		return r;
	a->chains = false;
	a->next += s.count;
	return a->next < total ? 1 : 0;
}

int nft_apply_bar(struct nft_apply *a, const uint32_t *numbers, size_t count)
{
	uint32_t *all = reallocarray(a->barred, a->barred_count + count, sizeof(*all));

	if (all == NULL)
		return -ENOMEM;
	memcpy(all + a->barred_count, numbers, count * sizeof(*all));
	a->barred = all;
	a->barred_count += count;
	return 0;
}

const struct nft_fault *nft_apply_fault(const struct nft_apply *a)
{
	return &a->fault;
}

size_t nft_apply_done_ops(const struct nft_apply *a)
{
	return a->next;
}

void nft_apply_free(struct nft_apply *a)
{
	if (a == NULL)
		return;
	table_free(a->table);
	table_free(a->before);
	batch_done(&a->batch);
	free(a->barred);
	free(a);
}

void nft_apply_freep(struct nft_apply **a)
{
	nft_apply_free(*a);
	*a = NULL;
}

int nft_apply(struct nft *n, const struct nft_apply_input *in, struct nft_fault *ret_fault,
	      struct err *err)
{
	CLEANUP(nft_apply_freep) struct nft_apply *a = NULL;
	int r = nft_apply_begin(n, in, &a, err);

	if (r < 0)
		return r;
	do {
		r = nft_apply_step(a, err);
	} while (r > 0);
	if (r < 0 && ret_fault != NULL)
		*ret_fault = a->fault;
	return r;
}
