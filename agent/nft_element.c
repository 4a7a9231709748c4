/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/nft_table.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "rules/marks.h"

#define CUT_MAX 4194304

/* --- lists of elements ----------------------------------------------------------------------- */

struct element_list {
	struct nft_element *items;
	size_t count, cap;
	/* Records that exist nowhere else: marks and leases. */
	uint8_t (*own)[SET_KEY_MAX];
};

static void element_list_done(struct element_list *l)
{
	free(l->items);
	free(l->own);
}

static int list_add(struct element_list *l, struct set_ref ref, const uint8_t *record, bool add)
{
	int r = vec_grow(&l->items, &l->cap, l->count + 1, sizeof(*l->items), CUT_MAX);

	if (r == 0)
		l->items[l->count++] =
			(struct nft_element){.ref = ref, .record = record, .add = add};
	return r;
}

static bool list_element(void *user, size_t i, struct nft_element *ret)
{
	const struct element_list *l = user;

	*ret = l->items[i];
	return true;
}

static int send_list(struct nft *n, struct element_list *l, struct err *err)
{
	struct nft_send s = {.element = list_element, .user = l, .count = l->count};

	return nft_send(n, &n->batch, &s, NULL, err);
}

int nft_element_add(struct nft *n, struct set_ref ref, const uint8_t *record,
		    const struct nft_labels *labels, int64_t now_ms, struct err *err)
{
	struct nft_element e = {
		.ref = ref, .record = record, .add = true, .labels = labels, .now_ms = now_ms};
	struct element_list l = {.items = &e, .count = 1};

	return send_list(n, &l, err);
}

int nft_element_del(struct nft *n, struct set_ref ref, const uint8_t *record, struct err *err)
{
	struct nft_element e = {.ref = ref, .record = record};
	struct element_list l = {.items = &e, .count = 1};

	return send_list(n, &l, err);
}

/* --- cutting --------------------------------------------------------------------------------- */

/* First record whose key is not below the mark; keys are compared as bytes. */
static size_t lower_bound(const struct set_items *s, uint32_t mark)
{
	size_t stride = set_stride(s->ref.kind), low = 0, high = s->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (memcmp(s->bytes + middle * stride, &mark, sizeof(mark)) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int cut_in_set(struct element_list *l, const struct set_items *s, uint32_t mark)
{
	size_t stride = set_stride(s->ref.kind);
	int r = 0;

	for (size_t i = lower_bound(s, mark); i < s->count && r == 0; i++) {
		const uint8_t *record = s->bytes + i * stride;

		if (memcmp(record, &mark, sizeof(mark)) != 0)
			break;
		r = list_add(l, s->ref, record, false);
	}
	return r;
}

static int cut_number(struct element_list *l, const struct ruleset *applied, uint32_t mark)
{
	int r = 0;

	for (size_t i = 0; i < applied->set_count && r == 0; i++) {
		const struct set_items *s = &applied->sets[i];

		if (s->ref.kind == SET_LIVE || s->ref.kind == SET_LIVE_UDP ||
		    s->ref.kind == SET_LEASED)
			r = cut_in_set(l, s, mark);
	}
	return r;
}

int nft_cut(struct nft *n, const struct ruleset *applied, const uint32_t *numbers, size_t count,
	    struct err *err)
{
	static const uint32_t bits[] = {0, MARK_VOUCHED, MARK_UNAVAILABLE};
	CLEANUP(element_list_done) struct element_list l = {0};
	int r = 0;

	for (size_t i = 0; i < count && r == 0; i++) {
		for (size_t k = 0; k < ARRAY_LEN(bits) && r == 0; k++)
			r = cut_number(&l, applied, numbers[i] | bits[k]);
	}
	if (r < 0)
		return err_set(err, -r, "cutting %zu conduits", count);
	return send_list(n, &l, err);
}

/* --- leases ---------------------------------------------------------------------------------- */

static int renew_in_place(struct nft *n, struct set_ref ref, uint32_t number, uint64_t left_ms,
			  struct err *err)
{
	struct batch *b = &n->batch;
	char name[SET_NAME_MAX];
	struct nlattr *list, *element, *key;
	struct nlmsghdr *h;

	batch_begin(b);
	h = batch_message(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE, (struct batch_item){0});
	if (h != NULL) {
		mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_TABLE, n->table);
		mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_SET, set_name(name, ref));
		list = mnl_attr_nest_start(h, NFTA_SET_ELEM_LIST_ELEMENTS);
		element = mnl_attr_nest_start(h, NFTA_LIST_ELEM);
		key = mnl_attr_nest_start(h, NFTA_SET_ELEM_KEY);
		mnl_attr_put(h, NFTA_DATA_VALUE, sizeof(number), &number);
		mnl_attr_nest_end(h, key);
		/* Both: with the same timeout alone the kernel leaves the expiry as it is. */
		attr_be64(h, NFTA_SET_ELEM_TIMEOUT, left_ms);
		attr_be64(h, NFTA_SET_ELEM_EXPIRATION, left_ms);
		mnl_attr_nest_end(h, element);
		mnl_attr_nest_end(h, list);
	}
	batch_end(b);
	return nft_commit(n, b, "a new end for a lease", err);
}

int nft_lease_renew(struct nft *n, enum slot slot, uint32_t number, int64_t end_ms, int64_t now_ms,
		    struct err *err)
{
	struct set_ref ref = {.kind = SET_LEASED, .slot = (uint8_t)slot};
	uint8_t record[sizeof(uint32_t) + sizeof(int64_t)] = {0};
	struct nft_element e[2] = {{.ref = ref, .record = record},
				   {.ref = ref, .record = record, .add = true}};
	struct element_list l = {.items = e, .count = 2};

	memcpy(record, &number, sizeof(number));
	if (end_ms <= now_ms)
		l.count = 1;
	else
		e[1].timeout_ms = (uint64_t)(end_ms - now_ms);
	if (end_ms > now_ms && n->features.renewal)
		return renew_in_place(n, ref, number, e[1].timeout_ms, err);
	return send_list(n, &l, err);
}

int nft_listeners_renew(struct nft *n, const struct ruleset *applied, struct err *err)
{
	CLEANUP(element_list_done) struct element_list l = {0};
	int r = 0;

	/* Deleted and added: kernel 6.1 ignores a renewal, and what has expired is added again. */
	for (int add = 0; add <= 1; add++) {
		for (size_t i = 0; i < applied->set_count; i++) {
			const struct set_items *s = &applied->sets[i];
			size_t stride = set_stride(s->ref.kind);

			if (s->ref.kind != SET_LISTENERS && s->ref.kind != SET_TW_ENDS)
				continue;
			for (size_t k = 0; k < s->count && r == 0; k++)
				r = list_add(&l, s->ref, s->bytes + k * stride, add != 0);
		}
	}
	if (r < 0)
		return err_set(err, -r, "renewing the listeners");
	return send_list(n, &l, err);
}

/* --- switches -------------------------------------------------------------------------------- */

static void put_switch(struct batch *b, const char *table, const char *name, uint64_t timeout_ms)
{
	static const uint8_t families[] = {NFPROTO_IPV4, NFPROTO_IPV6};
	struct nlmsghdr *h =
		batch_message(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE, (struct batch_item){0});
	struct nlattr *list, *element, *key;

	if (h == NULL)
		return;
	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_TABLE, table);
	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_SET, name);
	list = mnl_attr_nest_start(h, NFTA_SET_ELEM_LIST_ELEMENTS);
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		element = mnl_attr_nest_start(h, NFTA_LIST_ELEM);
		key = mnl_attr_nest_start(h, NFTA_SET_ELEM_KEY);
		mnl_attr_put(h, NFTA_DATA_VALUE, 1, &families[i]);
		mnl_attr_nest_end(h, key);
		if (timeout_ms > 0)
			attr_be64(h, NFTA_SET_ELEM_TIMEOUT, timeout_ms);
		mnl_attr_nest_end(h, element);
	}
	mnl_attr_nest_end(h, list);
}

/*
 * The set is flushed and filled in one transaction: that works alike for elements that are there,
 * that have expired and that never were, on every kernel.
 */
static int change_switch(struct nft *n, enum set_kind which, bool on, uint64_t timeout_ms,
			 struct err *err)
{
	const char *name = set_spec(which)->name;
	struct batch *b = &n->batch;

	batch_begin(b);
	nft_put_delete(b, NFT_MSG_DELSETELEM, n->table, NFTA_SET_ELEM_LIST_SET, name,
		       (struct batch_item){0});
	if (on)
		put_switch(b, n->table, name, timeout_ms);
	batch_end(b);
	return nft_commit(n, b, name, err);
}

int nft_switch_set(struct nft *n, enum set_kind which, uint64_t timeout_ms, struct err *err)
{
	return change_switch(n, which, true, timeout_ms, err);
}

int nft_switch_clear(struct nft *n, enum set_kind which, struct err *err)
{
	return change_switch(n, which, false, 0, err);
}

int nft_heartbeat(struct nft *n, struct err *err)
{
	return nft_switch_set(n, SET_AGENT_ALIVE, NFT_HEARTBEAT_MS, err);
}

struct switch_state {
	bool on;
	uint64_t left_ms;
};

static void put_switch_key(struct nlmsghdr *h, void *user)
{
	struct nlattr *list = mnl_attr_nest_start(h, NFTA_SET_ELEM_LIST_ELEMENTS);
	struct nlattr *element = mnl_attr_nest_start(h, NFTA_LIST_ELEM);
	struct nlattr *key = mnl_attr_nest_start(h, NFTA_SET_ELEM_KEY);
	uint8_t family = NFPROTO_IPV4;

	(void)user;
	mnl_attr_put(h, NFTA_DATA_VALUE, 1, &family);
	mnl_attr_nest_end(h, key);
	mnl_attr_nest_end(h, element);
	mnl_attr_nest_end(h, list);
}

static int take_switch(const struct nlmsghdr *h, void *user)
{
	struct switch_state *s = user;
	const struct nlattr *list = nft_attr(h, NFTA_SET_ELEM_LIST_ELEMENTS);
	const struct nlattr *element = nft_attr_nested(list, NFTA_LIST_ELEM);

	if (element == NULL)
		return MNL_CB_OK;
	s->on = true;
	s->left_ms = nft_attr_u64(nft_attr_nested(element, NFTA_SET_ELEM_EXPIRATION), 0);
	/* In its last millisecond it still is one that ends; 0 means for good. */
	if (s->left_ms == 0 && nft_attr_u64(nft_attr_nested(element, NFTA_SET_ELEM_TIMEOUT), 0) > 0)
		s->left_ms = 1;
	return MNL_CB_OK;
}

int nft_switch_get(struct nft *n, enum set_kind which, bool *ret_on, uint64_t *ret_left_ms,
		   struct err *err)
{
	struct switch_state s = {0};
	struct nft_request r = {.type = NFT_MSG_GETSETELEM,
				.table = n->table,
				.name_attr = NFTA_SET_ELEM_LIST_SET,
				.name = set_spec(which)->name,
				.put = put_switch_key,
				.take = take_switch,
				.user = &s};
	int e = nft_read(n, &r);

	if (e < 0 && e != -ENOENT)
		return err_set(err, -e, "reading %s: %s", set_spec(which)->name, strerror(-e));
	*ret_on = s.on;
	*ret_left_ms = s.left_ms;
	return 0;
}
