/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/nft_table.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

#ifndef NFT_SET_CONCAT
#define NFT_SET_CONCAT 0x80
#endif

/* Type numbers of nft (nftables, include/datatype.h): part of its ABI, read back when it lists. */
enum nft_type {
	TYPE_NFPROTO = 2,
	TYPE_IPADDR = 7,
	TYPE_IP6ADDR = 8,
	TYPE_INET_PROTOCOL = 12,
	TYPE_INET_SERVICE = 13,
	TYPE_ICMP_TYPE = 14,
	TYPE_MARK = 19,
	TYPE_UID = 24,
	TYPE_ICMP6_TYPE = 29,
	TYPE_CGROUPV2 = 46,
};
#define TYPE_BITS  6
#define ORDERS_MAX 32

static const struct {
	uint8_t type, len;
} fields[] = {
	[FIELD_MARK] = {TYPE_MARK, 4},         [FIELD_ADDR4] = {TYPE_IPADDR, 4},
	[FIELD_ADDR6] = {TYPE_IP6ADDR, 16},    [FIELD_L4PROTO] = {TYPE_INET_PROTOCOL, 1},
	[FIELD_PORT] = {TYPE_INET_SERVICE, 2}, [FIELD_ICMP_TYPE] = {TYPE_ICMP_TYPE, 1},
	[FIELD_CGROUP] = {TYPE_CGROUPV2, 8},   [FIELD_UID] = {TYPE_UID, 4},
	[FIELD_NFPROTO] = {TYPE_NFPROTO, 1},
};

static uint32_t key_type(const struct set_spec *spec)
{
	uint32_t type = 0;
	bool v6 = false;

	for (uint8_t i = 0; i < spec->field_count; i++) {
		enum field field = spec->fields[i];

		v6 = v6 || field == FIELD_ADDR6;
		type = type << TYPE_BITS |
		       (field == FIELD_ICMP_TYPE && v6 ? TYPE_ICMP6_TYPE : fields[field].type);
	}
	return type;
}

static uint32_t set_flags(const struct set_spec *spec)
{
	uint32_t flags = 0;

	if (spec->value == VALUE_MARK || spec->value == VALUE_VERDICT)
		flags |= NFT_SET_MAP;
	if (spec->interval)
		flags |= NFT_SET_INTERVAL | NFT_SET_CONCAT;
	if (spec->timeout)
		flags |= NFT_SET_TIMEOUT;
	if (spec->dynamic)
		flags |= NFT_SET_EVAL;
	return flags;
}

static void put_desc(struct nlmsghdr *h, const struct set_spec *spec, uint32_t size)
{
	struct nlattr *desc = mnl_attr_nest_start(h, NFTA_SET_DESC), *concat;

	if (size > 0)
		attr_be32(h, NFTA_SET_DESC_SIZE, size);
	if (spec->interval) {
		concat = mnl_attr_nest_start(h, NFTA_SET_DESC_CONCAT);
		for (uint8_t i = 0; i < spec->field_count; i++) {
			struct nlattr *field = mnl_attr_nest_start(h, NFTA_LIST_ELEM);

			attr_be32(h, NFTA_SET_FIELD_LEN, fields[spec->fields[i]].len);
			mnl_attr_nest_end(h, field);
		}
		mnl_attr_nest_end(h, concat);
	}
	mnl_attr_nest_end(h, desc);
}

static void put_counter_expr(struct nlmsghdr *h)
{
	struct nlattr *x = mnl_attr_nest_start(h, NFTA_SET_EXPR), *data;

	mnl_attr_put_strz(h, NFTA_EXPR_NAME, "counter");
	data = mnl_attr_nest_start(h, NFTA_EXPR_DATA);
	mnl_attr_nest_end(h, data);
	mnl_attr_nest_end(h, x);
}

/* Byte orders of single keys and of data, without which nft lists marks the wrong way round. */
enum nft_byteorder { ORDER_NONE, ORDER_HOST, ORDER_NETWORK };

static void put_orders(struct nlmsghdr *h, uint32_t key, uint32_t data)
{
	struct nftnl_udata_buf *u = nftnl_udata_buf_alloc(ORDERS_MAX);

	/* Only people reading `nft list` miss it when memory is short. */
	if (u == NULL)
		return;
	if (nftnl_udata_put_u32(u, NFTNL_UDATA_SET_KEYBYTEORDER, key) &&
	    nftnl_udata_put_u32(u, NFTNL_UDATA_SET_DATABYTEORDER, data))
		mnl_attr_put(h, NFTA_SET_USERDATA, nftnl_udata_buf_len(u), nftnl_udata_buf_data(u));
	nftnl_udata_buf_free(u);
}

static uint32_t key_order(const struct set_spec *spec)
{
	if (spec->field_count > 1)
		return ORDER_NONE;
	switch (spec->fields[0]) {
	case FIELD_MARK:
	case FIELD_UID:
	case FIELD_CGROUP:
	case FIELD_NFPROTO:
		return ORDER_HOST;
	case FIELD_ADDR4:
	case FIELD_ADDR6:
	case FIELD_L4PROTO:
	case FIELD_PORT:
	case FIELD_ICMP_TYPE:
		return ORDER_NETWORK;
	}
	return ORDER_NONE;
}

static struct nlmsghdr *put_set_head(struct batch *b, const char *table, const char *name,
				     uint32_t flags, uint32_t type, uint32_t len, uint32_t id)
{
	struct nlmsghdr *h = batch_message(b, NFT_MSG_NEWSET, NLM_F_CREATE,
					   (struct batch_item){.kind = BATCH_SET, .index = id});

	if (h == NULL)
		return NULL;
	mnl_attr_put_strz(h, NFTA_SET_TABLE, table);
	mnl_attr_put_strz(h, NFTA_SET_NAME, name);
	attr_be32(h, NFTA_SET_FLAGS, flags);
	attr_be32(h, NFTA_SET_KEY_TYPE, type);
	attr_be32(h, NFTA_SET_KEY_LEN, len);
	attr_be32(h, NFTA_SET_ID, id);
	return h;
}

void nft_put_set(struct batch *b, const struct table_shape *shape, struct set_ref ref, size_t index)
{
	const struct set_spec *spec = set_spec(ref.kind);
	bool sized = ref.kind == SET_LIVE || ref.kind == SET_LIVE_UDP;
	uint32_t size = sized ? shape->live_size : spec->size;
	char name[SET_NAME_MAX];
	struct nlmsghdr *h;

	h = put_set_head(b, shape->table, set_name(name, ref), set_flags(spec), key_type(spec),
			 (uint32_t)set_key_len(ref.kind), (uint32_t)index);
	if (h == NULL)
		return;
	if (spec->value == VALUE_MARK) {
		attr_be32(h, NFTA_SET_DATA_TYPE, TYPE_MARK);
		attr_be32(h, NFTA_SET_DATA_LEN, sizeof(uint32_t));
	} else if (spec->value == VALUE_VERDICT) {
		attr_be32(h, NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT);
	}
	if (size > 0 || spec->interval)
		put_desc(h, spec, size);
	put_orders(h, key_order(spec), spec->value == VALUE_MARK ? ORDER_HOST : ORDER_NONE);
	if (spec->dynamic)
		attr_be64(h, NFTA_SET_TIMEOUT, TABLE_DYNAMIC_MS);
	if (spec->counter)
		put_counter_expr(h);
}

static void put_plain_element(struct nlmsghdr *h, const void *key, uint16_t len)
{
	struct nlattr *element = mnl_attr_nest_start(h, NFTA_LIST_ELEM), *value;

	value = mnl_attr_nest_start(h, NFTA_SET_ELEM_KEY);
	mnl_attr_put(h, NFTA_DATA_VALUE, len, key);
	mnl_attr_nest_end(h, value);
	mnl_attr_nest_end(h, element);
}

#define CONST_SET_ID 0x10000

void nft_put_const_sets(struct batch *b, const char *table)
{
	static const uint8_t ported[] = {IPPROTO_TCP, IPPROTO_UDP};
	struct nlmsghdr *h;
	struct nlattr *list;

	(void)put_set_head(b, table, TABLE_NO_CGROUP, 0, TYPE_CGROUPV2, sizeof(uint64_t),
			   CONST_SET_ID);
	(void)put_set_head(b, table, TABLE_PORTED, 0, TYPE_INET_PROTOCOL, 1, CONST_SET_ID + 1);
	h = batch_message(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE, (struct batch_item){0});
	if (h == NULL)
		return;
	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_TABLE, table);
	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_SET, TABLE_PORTED);
	list = mnl_attr_nest_start(h, NFTA_SET_ELEM_LIST_ELEMENTS);
	for (size_t i = 0; i < sizeof(ported); i++)
		put_plain_element(h, &ported[i], 1);
	mnl_attr_nest_end(h, list);
}

void nft_put_counters(struct batch *b, const char *table)
{
	for (size_t i = 0; i < TABLE_COUNTERS; i++) {
		struct nlmsghdr *h =
			batch_message(b, NFT_MSG_NEWOBJ, NLM_F_CREATE, (struct batch_item){0});
		struct nlattr *data;

		if (h == NULL)
			return;
		mnl_attr_put_strz(h, NFTA_OBJ_TABLE, table);
		mnl_attr_put_strz(h, NFTA_OBJ_NAME, table_counters[i]);
		attr_be32(h, NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
		data = mnl_attr_nest_start(h, NFTA_OBJ_DATA);
		mnl_attr_nest_end(h, data);
	}
}

void nft_put_table(struct batch *b, const char *table, uint32_t flags)
{
	struct nlmsghdr *h =
		batch_message(b, NFT_MSG_NEWTABLE, NLM_F_CREATE, (struct batch_item){0});

	if (h == NULL)
		return;
	mnl_attr_put_strz(h, NFTA_TABLE_NAME, table);
	attr_be32(h, NFTA_TABLE_FLAGS, flags);
}

void nft_put_chain(struct batch *b, const struct table *t, size_t chain, bool enforce)
{
	const struct table_chain *c = &t->chains[chain];
	struct nlattr *hook;
	struct nlmsghdr *h;

	h = batch_message(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE,
			  (struct batch_item){.kind = BATCH_CHAIN, .index = chain});
	if (h == NULL)
		return;
	mnl_attr_put_strz(h, NFTA_CHAIN_TABLE, t->shape.table);
	mnl_attr_put_strz(h, NFTA_CHAIN_NAME, c->name);
	if (c->hook == 0)
		return;
	hook = mnl_attr_nest_start(h, NFTA_CHAIN_HOOK);
	attr_be32(h, NFTA_HOOK_HOOKNUM, c->hook - 1U);
	attr_be32(h, NFTA_HOOK_PRIORITY, 0);
	mnl_attr_nest_end(h, hook);
	attr_be32(h, NFTA_CHAIN_POLICY, enforce ? NF_DROP : NF_ACCEPT);
	mnl_attr_put_strz(h, NFTA_CHAIN_TYPE, "filter");
}

/* NFTA_*_TABLE is 1 for tables' parts of all kinds (linux/netfilter/nf_tables.h). */
void nft_put_delete(struct batch *b, uint16_t type, const char *table, uint16_t name_attr,
		    const char *name, struct batch_item item)
{
	struct nlmsghdr *h = batch_message(b, type, 0, item);

	if (h == NULL)
		return;
	mnl_attr_put_strz(h, NFTA_CHAIN_TABLE, table);
	if (name != NULL)
		mnl_attr_put_strz(h, name_attr, name);
}

/* --- elements -------------------------------------------------------------------------------- */

void nft_key_swap(enum set_kind kind, uint8_t *record)
{
	const struct set_spec *spec = set_spec(kind);
	size_t key_len = set_key_len(kind);

	if (!spec->interval || spec->fields[0] != FIELD_MARK)
		return;
	for (int i = 0; i < 2; i++) {
		uint32_t mark;

		memcpy(&mark, record + (size_t)i * key_len, sizeof(mark));
		mark = htonl(mark);
		memcpy(record + (size_t)i * key_len, &mark, sizeof(mark));
	}
}

static void put_value(struct nlmsghdr *h, uint16_t attr, const void *bytes, size_t len)
{
	struct nlattr *nest = mnl_attr_nest_start(h, attr);

	mnl_attr_put(h, NFTA_DATA_VALUE, len, bytes);
	mnl_attr_nest_end(h, nest);
}

static void put_verdict(struct nlmsghdr *h, uint8_t live)
{
	struct nlattr *data = mnl_attr_nest_start(h, NFTA_SET_ELEM_DATA), *verdict;
	char name[CHAIN_NAME_MAX];
	const char *chain = live_chain(name, live);

	verdict = mnl_attr_nest_start(h, NFTA_DATA_VERDICT);
	attr_be32(h, NFTA_VERDICT_CODE, (uint32_t)(chain ? NFT_GOTO : NF_ACCEPT));
	if (chain != NULL)
		mnl_attr_put_strz(h, NFTA_VERDICT_CHAIN, chain);
	mnl_attr_nest_end(h, verdict);
	mnl_attr_nest_end(h, data);
}

/* Comment as nft writes it, then the key of the number under a type of our own. */
static void put_user_data(struct nlmsghdr *h, const struct nft_labels *labels, uint32_t number)
{
	struct number_key key;
	char comment[128] = "";
	uint8_t data[4 + sizeof(comment) + sizeof(key)];
	size_t text, len = 0;

	if (labels == NULL || !labels->label(labels->user, number, comment, &key))
		return;
	text = strnlen(comment, sizeof(comment) - 1) + 1;
	data[len++] = NFTNL_UDATA_SET_ELEM_COMMENT;
	data[len++] = (uint8_t)text;
	memcpy(data + len, comment, text);
	data[len + text - 1] = '\0';
	len += text;
	data[len++] = NFT_UDATA_KEY;
	data[len++] = sizeof(key);
	memcpy(data + len, &key, sizeof(key));
	len += sizeof(key);
	mnl_attr_put(h, NFTA_SET_ELEM_USERDATA, len, data);
}

static uint64_t timeout_of(const struct nft_element *e)
{
	int64_t end_s;

	if (e->timeout_ms > 0)
		return e->timeout_ms;
	if (e->ref.kind != SET_LEASED)
		return set_spec(e->ref.kind)->timeout ? NFT_LISTENER_MS : 0;
	memcpy(&end_s, e->record + set_value_offset(SET_LEASED), sizeof(end_s));
	if (end_s > INT64_MAX / 1000 || end_s * 1000 <= e->now_ms)
		return 0;
	return (uint64_t)(end_s * 1000 - e->now_ms);
}

static void put_one(struct nlmsghdr *h, const struct nft_element *e, uint64_t timeout_ms)
{
	const struct set_spec *spec = set_spec(e->ref.kind);
	size_t key_len = set_key_len(e->ref.kind), offset = set_value_offset(e->ref.kind);
	struct nlattr *element = mnl_attr_nest_start(h, NFTA_LIST_ELEM);
	uint8_t key[2 * SET_KEY_MAX];
	uint32_t number = 0;

	memcpy(key, e->record, offset);
	nft_key_swap(e->ref.kind, key);
	put_value(h, NFTA_SET_ELEM_KEY, key, key_len);
	if (spec->interval)
		put_value(h, NFTA_SET_ELEM_KEY_END, key + key_len, key_len);
	if (e->add && spec->value == VALUE_MARK)
		put_value(h, NFTA_SET_ELEM_DATA, e->record + offset, sizeof(uint32_t));
	if (e->add && spec->value == VALUE_VERDICT)
		put_verdict(h, e->record[offset]);
	if (e->add && timeout_ms > 0)
		attr_be64(h, NFTA_SET_ELEM_TIMEOUT, timeout_ms);
	if (e->add && e->ref.kind == SET_LIVE) {
		memcpy(&number, e->record, sizeof(number));
		put_user_data(h, e->labels, number);
	}
	mnl_attr_nest_end(h, element);
}

static void start_list(struct nft_elements *l, const struct nft_element *e)
{
	uint16_t type = NFT_MSG_NEWSETELEM;
	char name[SET_NAME_MAX];
	struct nlmsghdr *h;

	if (!e->add)
		type = l->destroy ? NFT_MSG_DESTROY_SETELEM : NFT_MSG_DELSETELEM;
	h = batch_message(l->b, type, e->add ? NLM_F_CREATE : 0,
			  (struct batch_item){.kind = BATCH_ELEMENTS,
					      .index = e->index,
					      .may_be_missing = !e->add});
	l->ref = e->ref;
	l->add = e->add;
	l->started = h != NULL;
	if (h == NULL)
		return;
	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_TABLE, l->table);
	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_SET, set_name(name, e->ref));
	l->b->list = mnl_attr_nest_start(h, NFTA_SET_ELEM_LIST_ELEMENTS);
}

static bool fits(const struct nft_elements *l, const struct nft_element *e)
{
	return l->started && !l->precise && l->b->list != NULL && l->add == e->add &&
	       l->ref.kind == e->ref.kind && l->ref.slot == e->ref.slot &&
	       l->ref.level == e->ref.level && l->b->list->nla_len < BATCH_LIST_MAX;
}

bool nft_put_element(struct nft_elements *l, const struct nft_element *e)
{
	uint64_t timeout_ms = e->add ? timeout_of(e) : 0;

	if (e->add && set_spec(e->ref.kind)->timeout && timeout_ms == 0)
		return false;
	if (!fits(l, e))
		start_list(l, e);
	if (l->b->r < 0 || l->b->list == NULL)
		return true;
	put_one(l->b->open, e, timeout_ms);
	/* The list grows with each element; its length must be right at any time. */
	mnl_attr_nest_end(l->b->open, l->b->list);
	l->b->items[l->b->item_count - 1].count++;
	return true;
}
