/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/nft_table.h"

#include <errno.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

#define GET_BATCH  100 /* answers of one request fit the default receive buffer (kernel.md D) */
#define LEVELS_MAX 32

/* --- which sets ------------------------------------------------------------------------------ */

static bool is_kernel_state(uint8_t kind)
{
	return kind >= SET_AGENT_ALIVE;
}

static bool judges_flows(uint8_t kind)
{
	return kind == SET_LIVE || kind == SET_LIVE_UDP || kind == SET_ENDS || kind == SET_LEASED;
}

/* The set's name tells kind, slot and level, and nothing else does. */
static bool ref_of(const char *text, struct set_ref *ret)
{
	char name[SET_NAME_MAX];

	for (uint8_t kind = 0; kind < SET_KIND_COUNT; kind++) {
		const struct set_spec *spec = set_spec(kind);
		uint8_t first = spec->per_level ? 1 : 0, last = spec->per_level ? LEVELS_MAX : 0;

		if (!str_starts(text, spec->name))
			continue;
		for (uint8_t slot = SLOT_A; slot <= (spec->per_slot ? SLOT_B : SLOT_A); slot++) {
			for (uint8_t level = first; level <= last; level++) {
				*ret = (struct set_ref){kind, slot, level};
				if (str_eq(set_name(name, *ret), text))
					return true;
			}
		}
	}
	return false;
}

struct dump {
	const struct nft_dump_input *in;
	struct ruleset *r;
	struct set_ref refs[SET_KIND_COUNT * 2 * LEVELS_MAX];
	size_t count;
	struct set_items *items; /* of the set being read */
	int e;
};

static int take_set(const struct nlmsghdr *h, void *user)
{
	struct dump *d = user;
	const struct nlattr *desc = nft_attr(h, NFTA_SET_DESC);
	struct set_ref ref;

	if (!ref_of(nft_attr_text(nft_attr(h, NFTA_SET_NAME)), &ref) ||
	    d->count >= ARRAY_LEN(d->refs))
		return MNL_CB_OK;
	if (ref.level > 0 && ref.kind != SET_ASKED)
		d->r->shape.levels |= 1U << (ref.level - 1U);
	if (ref.kind == SET_LIVE)
		d->r->shape.live_size = nft_attr_u32(nft_attr_nested(desc, NFTA_SET_DESC_SIZE), 0);
	if (!is_kernel_state(ref.kind) && (!d->in->skip_classify || judges_flows(ref.kind)))
		d->refs[d->count++] = ref;
	return MNL_CB_OK;
}

/* --- elements -------------------------------------------------------------------------------- */

static const uint8_t *value_bytes(const struct nlattr *nest, size_t len)
{
	const struct nlattr *value = nft_attr_nested(nest, NFTA_DATA_VALUE);

	if (value == NULL || mnl_attr_get_payload_len(value) < len)
		return NULL;
	return mnl_attr_get_payload(value);
}

static uint8_t verdict_of(const struct nlattr *data)
{
	const struct nlattr *v = nft_attr_nested(data, NFTA_DATA_VERDICT);
	uint32_t code = nft_attr_u32(nft_attr_nested(v, NFTA_VERDICT_CODE), NF_DROP);
	const char *chain = nft_attr_text(nft_attr_nested(v, NFTA_VERDICT_CHAIN));
	char name[CHAIN_NAME_MAX];

	if (code == NF_ACCEPT)
		return LIVE_ACCEPT;
	if (code != (uint32_t)NFT_GOTO)
		return LIVE_NONE;
	for (unsigned int v_ = LIVE_NONE; v_ <= LIVE_PAIR_BASE + 63U; v_++) {
		const char *want = live_chain(name, (uint8_t)v_);

		if (want != NULL && str_eq(want, chain))
			return (uint8_t)v_;
	}
	return LIVE_NONE;
}

/* Rounded to whole seconds: the value that was written, unless the clock was set since. */
static int64_t lease_end(const struct nlattr *element, int64_t now_ms)
{
	uint64_t left = nft_attr_u64(nft_attr_nested(element, NFTA_SET_ELEM_EXPIRATION), 0);

	return (now_ms + (int64_t)left + 500) / 1000;
}

struct label_found {
	const char *comment;
	const struct number_key *key;
};

static void read_label(const struct nlattr *userdata, struct label_found *ret)
{
	const uint8_t *p = mnl_attr_get_payload(userdata);
	size_t left = mnl_attr_get_payload_len(userdata);

	while (left >= 2 && left - 2 >= p[1]) {
		if (p[0] == NFTNL_UDATA_SET_ELEM_COMMENT && p[1] > 0 && p[p[1] + 1] == '\0')
			ret->comment = (const char *)(p + 2);
		if (p[0] == NFT_UDATA_KEY && p[1] == sizeof(struct number_key))
			ret->key = (const struct number_key *)(p + 2);
		left -= 2U + p[1];
		p += 2 + p[1];
	}
}

static void tell_label(const struct dump *d, const struct nlattr *element, const uint8_t *record)
{
	const struct nlattr *userdata = nft_attr_nested(element, NFTA_SET_ELEM_USERDATA);
	struct label_found l = {0};
	uint32_t number;

	if (d->items->ref.kind != SET_LIVE || d->in->label == NULL || userdata == NULL)
		return;
	memcpy(&number, record, sizeof(number));
	read_label(userdata, &l);
	d->in->label(d->in->user, number, l.comment != NULL ? l.comment : "", l.key);
}

static int read_record(const struct dump *d, const struct nlattr *element, uint8_t *record)
{
	uint8_t kind = d->items->ref.kind;
	const struct set_spec *spec = set_spec(kind);
	size_t len = set_key_len(kind), offset = set_value_offset(kind);
	const struct nlattr *data = nft_attr_nested(element, NFTA_SET_ELEM_DATA);
	const uint8_t *key = value_bytes(nft_attr_nested(element, NFTA_SET_ELEM_KEY), len);
	const uint8_t *end = value_bytes(nft_attr_nested(element, NFTA_SET_ELEM_KEY_END), len);
	const uint8_t *mark = value_bytes(data, sizeof(uint32_t));
	int64_t lease;

	if (key == NULL || (spec->value == VALUE_MARK && mark == NULL))
		return -EBADMSG;
	memcpy(record, key, len);
	if (spec->interval)
		memcpy(record + len, end != NULL ? end : key, len);
	nft_key_swap(kind, record);
	if (spec->value == VALUE_MARK)
		memcpy(record + offset, mark, sizeof(uint32_t));
	if (spec->value == VALUE_VERDICT)
		record[offset] = verdict_of(data);
	if (spec->value == VALUE_LEASE) {
		lease = lease_end(element, d->in->now_ms);
		memcpy(record + offset, &lease, sizeof(lease));
	}
	return 0;
}

static void take_element(struct dump *d, const struct nlattr *element)
{
	uint8_t record[2 * SET_KEY_MAX + sizeof(uint64_t)];

	d->e = read_record(d, element, record);
	if (d->e < 0)
		return;
	tell_label(d, element, record);
	d->e = set_items_add(d->items, record);
}

static int take_elements(const struct nlmsghdr *h, void *user)
{
	struct dump *d = user;
	const struct nlattr *list = nft_attr(h, NFTA_SET_ELEM_LIST_ELEMENTS), *a;
	const char *end;

	if (list == NULL)
		return MNL_CB_OK;
	a = mnl_attr_get_payload(list);
	end = (const char *)a + mnl_attr_get_payload_len(list);
	for (; mnl_attr_ok(a, (int)(end - (const char *)a)) && d->e == 0; a = mnl_attr_next(a))
		take_element(d, a);
	return MNL_CB_OK;
}

/* --- dump ------------------------------------------------------------------------------------ */

static int read_sets(struct nft *n, struct dump *d)
{
	struct nft_request sets = {.type = NFT_MSG_GETSET,
				   .flags = NLM_F_DUMP,
				   .table = n->table,
				   .take = take_set,
				   .user = d};
	int r = nft_read(n, &sets);

	for (size_t i = 0; i < d->count && r == 0; i++) {
		char name[SET_NAME_MAX];
		struct nft_request elements = {.type = NFT_MSG_GETSETELEM,
					       .flags = NLM_F_DUMP,
					       .table = n->table,
					       .name_attr = NFTA_SET_ELEM_LIST_SET,
					       .name = set_name(name, d->refs[i]),
					       .take = take_elements,
					       .user = d};

		d->items = ruleset_set(d->r, d->refs[i]);
		if (d->items == NULL)
			return -ENOMEM;
		r = nft_read(n, &elements);
		if (r == 0)
			r = d->e;
	}
	return r;
}

static int take_gen(const struct nlmsghdr *h, void *user)
{
	uint32_t *id = user;

	*id = nft_attr_u32(nft_attr(h, NFTA_GEN_ID), 0);
	return MNL_CB_OK;
}

static uint32_t take_generation(struct nft *n, int *r)
{
	uint32_t id = 0;
	struct nft_request gen = {.type = NFT_MSG_GETGEN, .take = take_gen, .user = &id};

	*r = nft_read(n, &gen);
	return id;
}

int nft_dump(struct nft *n, const struct nft_dump_input *in, struct ruleset **ret, struct err *err)
{
	CLEANUP(ruleset_freep) struct ruleset *rules = ruleset_new();
	CLEANUP(freep) struct dump *d = mem_calloc(1, sizeof(*d));
	uint32_t before, after;
	int r;

	if (rules == NULL || d == NULL)
		return err_set(err, ENOMEM, "out of memory");
	*d = (struct dump){.in = in, .r = rules};
	memcpy(rules->shape.table, n->table, sizeof(rules->shape.table));
	before = take_generation(n, &r);
	if (r == 0)
		r = read_sets(n, d);
	/* Several dumps are one picture only if nothing changed in between. */
	after = r == 0 ? take_generation(n, &r) : before;
	if (r == 0 && before != after)
		r = -EAGAIN;
	if (r == 0)
		r = ruleset_sort(rules, err);
	if (r < 0)
		return err_set(err, -r, "reading the table inet %s: %s", n->table, strerror(-r));
	*ret = TAKE_PTR(rules);
	return 0;
}

/* --- counters -------------------------------------------------------------------------------- */

struct counters {
	struct set_ref ref;
	const uint8_t *keys;
	size_t count, answered;
	struct nft_counter *ret;
};

static void put_keys(struct nlmsghdr *h, void *user)
{
	const struct counters *c = user;
	size_t len = set_key_len(c->ref.kind);
	struct nlattr *list = mnl_attr_nest_start(h, NFTA_SET_ELEM_LIST_ELEMENTS);

	for (size_t i = 0; i < c->count; i++) {
		struct nlattr *element = mnl_attr_nest_start(h, NFTA_LIST_ELEM);
		struct nlattr *key = mnl_attr_nest_start(h, NFTA_SET_ELEM_KEY);

		mnl_attr_put(h, NFTA_DATA_VALUE, len, c->keys + i * len);
		mnl_attr_nest_end(h, key);
		mnl_attr_nest_end(h, element);
	}
	mnl_attr_nest_end(h, list);
}

/* One message per element, in the order of the request. */
static int take_counter(const struct nlmsghdr *h, void *user)
{
	struct counters *c = user;
	const struct nlattr *list = nft_attr(h, NFTA_SET_ELEM_LIST_ELEMENTS);
	const struct nlattr *element = nft_attr_nested(list, NFTA_LIST_ELEM);
	const struct nlattr *x = nft_attr_nested(element, NFTA_SET_ELEM_EXPR);
	const struct nlattr *data = nft_attr_nested(x, NFTA_EXPR_DATA);

	if (c->answered >= c->count)
		return MNL_CB_OK;
	c->ret[c->answered++] = (struct nft_counter){
		.packets = nft_attr_u64(nft_attr_nested(data, NFTA_COUNTER_PACKETS), 0),
		.bytes = nft_attr_u64(nft_attr_nested(data, NFTA_COUNTER_BYTES), 0),
		.found = element != NULL,
	};
	return MNL_CB_OK;
}

/* The kernel stops at the first missing element: that one is left out, the rest is asked again. */
int nft_counters(struct nft *n, struct set_ref ref, const uint8_t *keys, size_t count,
		 struct nft_counter *ret, struct err *err)
{
	size_t len = set_key_len(ref.kind), done = 0;
	char name[SET_NAME_MAX];

	memset(ret, 0, count * sizeof(*ret));
	while (done < count) {
		size_t part = count - done < GET_BATCH ? count - done : GET_BATCH;
		struct counters c = {
			.ref = ref, .keys = keys + done * len, .count = part, .ret = ret + done};
		struct nft_request get = {.type = NFT_MSG_GETSETELEM,
					  .table = n->table,
					  .name_attr = NFTA_SET_ELEM_LIST_SET,
					  .name = set_name(name, ref),
					  .put = put_keys,
					  .take = take_counter,
					  .user = &c};
		int r = nft_read(n, &get);

		if (r < 0 && r != -ENOENT)
			return err_set(err, -r, "reading counters of %s: %s", name, strerror(-r));
		done += c.answered + (r == -ENOENT ? 1 : 0);
		if (r == 0 && c.answered == 0)
			return err_set(err, EPROTO, "reading counters of %s: no answer", name);
	}
	return 0;
}

static int take_object(const struct nlmsghdr *h, void *user)
{
	struct nft_counter *ret = user;
	const char *name = nft_attr_text(nft_attr(h, NFTA_OBJ_NAME));
	const struct nlattr *data = nft_attr(h, NFTA_OBJ_DATA);

	for (size_t i = 0; i < TABLE_COUNTERS; i++) {
		if (!str_eq(name, table_counters[i]))
			continue;
		ret[i] = (struct nft_counter){
			.packets = nft_attr_u64(nft_attr_nested(data, NFTA_COUNTER_PACKETS), 0),
			.bytes = nft_attr_u64(nft_attr_nested(data, NFTA_COUNTER_BYTES), 0),
			.found = true,
		};
	}
	return MNL_CB_OK;
}

_Static_assert(NFT_NAMED_COUNT == TABLE_COUNTERS, "names and counters are in one order");

int nft_named_counters(struct nft *n, struct nft_counter ret[NFT_NAMED_COUNT], struct err *err)
{
	struct nft_request objects = {.type = NFT_MSG_GETOBJ,
				      .flags = NLM_F_DUMP,
				      .table = n->table,
				      .take = take_object,
				      .user = ret};
	int r;

	memset(ret, 0, NFT_NAMED_COUNT * sizeof(*ret));
	r = nft_read(n, &objects);
	if (r < 0)
		return err_set(err, -r, "reading the counters: %s", strerror(-r));
	return 0;
}
