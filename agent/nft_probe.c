/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/nft_table.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "rules/marks.h"

/*
 * Trial transactions in a table of our own, never version numbers (DESIGN section 3): kernels of
 * distributions carry features backwards, and 6.1 accepts and ignores a renewal.
 */
#define PROBE_SET       "probe"
#define PROBE_CHAIN     "probe"
#define RENEW_FIRST_MS  60000
#define RENEW_SECOND_MS 120000

struct probe {
	struct nft *n;
	char table[40];
	struct batch batch;
};

static void probe_done(struct probe *p)
{
	batch_done(&p->batch);
}

static int send_probe(struct probe *p)
{
	batch_end(&p->batch);
	return batch_send(p->n->writer, &p->batch, NULL, NULL);
}

static int delete_probe(struct probe *p)
{
	batch_begin(&p->batch);
	nft_put_delete(&p->batch, NFT_MSG_DELTABLE, p->table, 0, NULL, (struct batch_item){0});
	return send_probe(p);
}

static int take_nothing(const struct nlmsghdr *h, void *user)
{
	(void)h;
	(void)user;
	return MNL_CB_OK;
}

/* A transaction that is refused costs the kernel a grace period, about 14 ms: ask before. */
static void delete_leftover(struct probe *p)
{
	const struct nft_request get = {
		.type = NFT_MSG_GETTABLE, .table = p->table, .take = take_nothing};

	if (nft_read(p->n, &get) == 0)
		(void)delete_probe(p);
}

static bool can_create(struct probe *p, uint32_t flags)
{
	int r;

	batch_begin(&p->batch);
	nft_put_table(&p->batch, p->table, flags);
	r = send_probe(p);
	if (r == 0)
		(void)delete_probe(p);
	return r == 0;
}

/* --- elements -------------------------------------------------------------------------------- */

static void put_probe_set(struct probe *p)
{
	struct nlmsghdr *h = batch_message(&p->batch, NFT_MSG_NEWSET, NLM_F_CREATE,
					   (struct batch_item){.kind = BATCH_OTHER});

	if (h == NULL)
		return;
	mnl_attr_put_strz(h, NFTA_SET_TABLE, p->table);
	mnl_attr_put_strz(h, NFTA_SET_NAME, PROBE_SET);
	attr_be32(h, NFTA_SET_FLAGS, NFT_SET_TIMEOUT);
	attr_be32(h, NFTA_SET_KEY_LEN, sizeof(uint32_t));
	attr_be32(h, NFTA_SET_ID, 1);
}

static void put_probe_key(struct nlmsghdr *h, void *user)
{
	struct nlattr *list = mnl_attr_nest_start(h, NFTA_SET_ELEM_LIST_ELEMENTS);
	struct nlattr *element = mnl_attr_nest_start(h, NFTA_LIST_ELEM);
	struct nlattr *key = mnl_attr_nest_start(h, NFTA_SET_ELEM_KEY);
	const uint64_t *timeout_ms = user;
	uint32_t number = 1;

	mnl_attr_put(h, NFTA_DATA_VALUE, sizeof(number), &number);
	mnl_attr_nest_end(h, key);
	if (timeout_ms != NULL && *timeout_ms > 0)
		attr_be64(h, NFTA_SET_ELEM_TIMEOUT, *timeout_ms);
	mnl_attr_nest_end(h, element);
	mnl_attr_nest_end(h, list);
}

static int change_probe(struct probe *p, uint16_t type, uint64_t timeout_ms)
{
	struct nlmsghdr *h;

	batch_begin(&p->batch);
	h = batch_message(&p->batch, type, type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0,
			  (struct batch_item){.kind = BATCH_OTHER});
	if (h != NULL) {
		mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_TABLE, p->table);
		mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_SET, PROBE_SET);
		put_probe_key(h, &timeout_ms);
	}
	return send_probe(p);
}

struct probe_answer {
	uint64_t asked_ms; /* first member: put_probe_key() reads 0 from it */
	uint64_t timeout_ms;
};

static int take_probe(const struct nlmsghdr *h, void *user)
{
	struct probe_answer *a = user;
	const struct nlattr *list = nft_attr(h, NFTA_SET_ELEM_LIST_ELEMENTS);
	const struct nlattr *element = nft_attr_nested(list, NFTA_LIST_ELEM);

	a->timeout_ms = nft_attr_u64(nft_attr_nested(element, NFTA_SET_ELEM_TIMEOUT), 0);
	return MNL_CB_OK;
}

static bool can_renew(struct probe *p)
{
	struct probe_answer a = {0};
	struct nft_request get = {.type = NFT_MSG_GETSETELEM,
				  .table = p->table,
				  .name_attr = NFTA_SET_ELEM_LIST_SET,
				  .name = PROBE_SET,
				  .put = put_probe_key,
				  .take = take_probe,
				  .user = &a};

	if (change_probe(p, NFT_MSG_NEWSETELEM, RENEW_FIRST_MS) < 0 ||
	    change_probe(p, NFT_MSG_NEWSETELEM, RENEW_SECOND_MS) < 0 || nft_read(p->n, &get) < 0)
		return false;
	return a.timeout_ms == RENEW_SECOND_MS;
}

/* Twice: the second time there is nothing to destroy. */
static bool can_destroy(struct probe *p)
{
	return change_probe(p, NFT_MSG_DESTROY_SETELEM, 0) == 0 &&
	       change_probe(p, NFT_MSG_DESTROY_SETELEM, 0) == 0;
}

/* --- queues ---------------------------------------------------------------------------------- */

static bool can_queue(struct probe *p, enum queue_kind kind)
{
	struct stmt stmt = {.kind = STMT_QUEUE};
	struct table_rule rule = {.count = 1};
	struct table_chain chain = {.name = PROBE_CHAIN, .count = 1};
	struct table t = {.shape = {.queue = (uint8_t)kind},
			  .chains = &chain,
			  .chain_count = 1,
			  .rules = &rule,
			  .rule_count = 1,
			  .stmts = &stmt,
			  .stmt_count = 1};
	int r;

	memcpy(t.shape.table, p->table, sizeof(t.shape.table) - 1);
	batch_begin(&p->batch);
	nft_put_chain(&p->batch, &t, 0, false);
	r = nft_put_rule(&p->batch, &t, 0, 0, (struct batch_item){.kind = BATCH_OTHER});
	return r == 0 && send_probe(p) == 0;
}

int nft_probe(struct nft *n, struct err *err)
{
	CLEANUP(probe_done) struct probe p = {.n = n};
	struct nft_features *f = &n->features;
	int r;

	batch_init(&p.batch);
	/* The name is cut where it is long: it needs to be short enough and not ours. */
	(void)snprintf(p.table, sizeof(n->table), "%.20s_probe", n->table);
	delete_leftover(&p);
	*f = (struct nft_features){0};
	f->persist = can_create(&p, NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST);
	f->owner = f->persist || can_create(&p, NFT_TABLE_F_OWNER);
	batch_begin(&p.batch);
	nft_put_table(&p.batch, p.table, 0);
	put_probe_set(&p);
	r = send_probe(&p);
	if (r < 0)
		return err_set(err, -r, "this kernel takes no nftables table of ours: %s%s",
			       strerror(-r), r == -EPERM ? "; CAP_NET_ADMIN is needed" : "");
	f->renewal = can_renew(&p);
	f->destroy = can_destroy(&p);
	f->queue_native = can_queue(&p, QUEUE_NATIVE);
	f->queue_xt = can_queue(&p, QUEUE_XT);
	r = delete_probe(&p);
	if (r < 0)
		return err_set(err, -r, "deleting the table inet %s: %s", p.table, strerror(-r));
	return 0;
}
