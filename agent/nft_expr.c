/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/nft_table.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/xt_NFQUEUE.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/*
 * Registers of 4 bytes are numbered from 8; the first of 16 bytes is also 1, which is how nft
 * itself writes it.
 */
#define REG_FIRST NFT_REG_1
#define REG_WORD  4

#define TCP_FLAGS_OFFSET 13
#define IP4_SADDR        12
#define IP4_DADDR        16
#define IP6_HOP_LIMIT    7
#define IP6_SADDR        8
#define IP6_DADDR        24

struct emit {
	struct nftnl_rule *rule;
	const struct table_shape *shape;
	uint8_t l3, l4; /* what the rule is already known to be about */
	int r;
};

static struct nftnl_expr *expr(struct emit *e, const char *name)
{
	struct nftnl_expr *x;

	if (e->r < 0)
		return NULL;
	x = nftnl_expr_alloc(name);
	if (x == NULL) {
		e->r = -ENOMEM;
		return NULL;
	}
	nftnl_rule_add_expr(e->rule, x);
	return x;
}

static void set_u32(struct nftnl_expr *x, uint16_t type, uint32_t v)
{
	if (x != NULL)
		nftnl_expr_set_u32(x, type, v);
}

static void set_str(struct emit *e, struct nftnl_expr *x, uint16_t type, const char *text)
{
	if (x != NULL && nftnl_expr_set_str(x, type, text) < 0)
		e->r = -ENOMEM;
}

static void compare(struct emit *e, bool invert, const void *bytes, uint32_t len)
{
	struct nftnl_expr *x = expr(e, "cmp");

	set_u32(x, NFTNL_EXPR_CMP_SREG, REG_FIRST);
	set_u32(x, NFTNL_EXPR_CMP_OP, invert ? NFT_CMP_NEQ : NFT_CMP_EQ);
	if (x != NULL && nftnl_expr_set(x, NFTNL_EXPR_CMP_DATA, bytes, len) < 0)
		e->r = -ENOMEM;
}

static void compare_u8(struct emit *e, bool invert, uint8_t v)
{
	compare(e, invert, &v, sizeof(v));
}

static void compare_u32(struct emit *e, bool invert, uint32_t v)
{
	compare(e, invert, &v, sizeof(v));
}

static void mask_bits(struct emit *e, const void *mask, const void *flip, uint32_t len)
{
	struct nftnl_expr *x = expr(e, "bitwise");

	set_u32(x, NFTNL_EXPR_BITWISE_SREG, REG_FIRST);
	set_u32(x, NFTNL_EXPR_BITWISE_DREG, REG_FIRST);
	set_u32(x, NFTNL_EXPR_BITWISE_OP, NFT_BITWISE_BOOL);
	set_u32(x, NFTNL_EXPR_BITWISE_LEN, len);
	if (x != NULL && (nftnl_expr_set(x, NFTNL_EXPR_BITWISE_MASK, mask, len) < 0 ||
			  nftnl_expr_set(x, NFTNL_EXPR_BITWISE_XOR, flip, len) < 0))
		e->r = -ENOMEM;
}

static void mask_u32(struct emit *e, uint32_t mask, uint32_t flip)
{
	mask_bits(e, &mask, &flip, sizeof(mask));
}

/* --- loads ----------------------------------------------------------------------------------- */

static void load_meta(struct emit *e, uint32_t key, uint32_t reg)
{
	struct nftnl_expr *x = expr(e, "meta");

	set_u32(x, NFTNL_EXPR_META_KEY, key);
	set_u32(x, NFTNL_EXPR_META_DREG, reg);
}

static void load_ct(struct emit *e, uint32_t key, uint32_t reg)
{
	struct nftnl_expr *x = expr(e, "ct");

	set_u32(x, NFTNL_EXPR_CT_KEY, key);
	set_u32(x, NFTNL_EXPR_CT_DREG, reg);
}

static void load_payload(struct emit *e, uint32_t base, uint32_t offset, uint32_t len, uint32_t reg)
{
	struct nftnl_expr *x = expr(e, "payload");

	set_u32(x, NFTNL_EXPR_PAYLOAD_BASE, base);
	set_u32(x, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
	set_u32(x, NFTNL_EXPR_PAYLOAD_LEN, len);
	set_u32(x, NFTNL_EXPR_PAYLOAD_DREG, reg);
}

static void load_socket(struct emit *e, uint32_t key, uint8_t level, uint32_t reg)
{
	struct nftnl_expr *x = expr(e, "socket");

	set_u32(x, NFTNL_EXPR_SOCKET_KEY, key);
	set_u32(x, NFTNL_EXPR_SOCKET_DREG, reg);
	if (key == NFT_SOCKET_CGROUPV2)
		set_u32(x, NFTNL_EXPR_SOCKET_LEVEL, level ? level : 1U);
}

/* Header fields may be read only where they are what they seem: nft's own implicit matches. */
static void need_l3(struct emit *e, uint8_t family)
{
	if (e->l3 == family)
		return;
	e->l3 = family;
	load_meta(e, NFT_META_NFPROTO, REG_FIRST);
	compare_u8(e, false, family);
}

static void need_l4(struct emit *e, uint8_t proto)
{
	if (e->l4 == proto)
		return;
	e->l4 = proto;
	load_meta(e, NFT_META_L4PROTO, REG_FIRST);
	compare_u8(e, false, proto);
}

static void need(struct emit *e, uint8_t load)
{
	if (load == LOAD_SADDR4 || load == LOAD_DADDR4 || load == LOAD_ICMP_TYPE)
		need_l3(e, NFPROTO_IPV4);
	if (load == LOAD_SADDR6 || load == LOAD_DADDR6 || load == LOAD_ICMPV6_TYPE)
		need_l3(e, NFPROTO_IPV6);
	if (load == LOAD_ICMP_TYPE)
		need_l4(e, IPPROTO_ICMP);
	if (load == LOAD_ICMPV6_TYPE)
		need_l4(e, IPPROTO_ICMPV6);
}

/* Loads one part of a key into reg and returns how many bytes it takes there. */
static uint32_t load(struct emit *e, uint8_t what, uint8_t level, uint32_t reg)
{
	static const struct {
		uint8_t base, offset, len;
	} payloads[] = {
		[LOAD_SADDR4] = {NFT_PAYLOAD_NETWORK_HEADER, IP4_SADDR, 4},
		[LOAD_DADDR4] = {NFT_PAYLOAD_NETWORK_HEADER, IP4_DADDR, 4},
		[LOAD_SADDR6] = {NFT_PAYLOAD_NETWORK_HEADER, IP6_SADDR, 16},
		[LOAD_DADDR6] = {NFT_PAYLOAD_NETWORK_HEADER, IP6_DADDR, 16},
		[LOAD_SPORT] = {NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2},
		[LOAD_DPORT] = {NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2},
		[LOAD_ICMP_TYPE] = {NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1},
		[LOAD_ICMPV6_TYPE] = {NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1},
		[LOAD_NFPROTO] = {0, 0, 0},
	};

	switch (what) {
	case LOAD_CT_MARK:
		load_ct(e, NFT_CT_MARK, reg);
		return 4;
	case LOAD_L4PROTO:
		load_meta(e, NFT_META_L4PROTO, reg);
		return 1;
	case LOAD_NFPROTO:
		load_meta(e, NFT_META_NFPROTO, reg);
		return 1;
	case LOAD_UID:
		load_meta(e, NFT_META_SKUID, reg);
		return 4;
	case LOAD_CGROUP:
		load_socket(e, NFT_SOCKET_CGROUPV2, level, reg);
		return 8;
	}
	load_payload(e, payloads[what].base, payloads[what].offset, payloads[what].len, reg);
	return payloads[what].len;
}

/* Keys of interval sets are compared as bytes, so nft keeps numbers in network order there. */
static void to_network_order(struct emit *e, uint32_t reg)
{
	struct nftnl_expr *x = expr(e, "byteorder");

	set_u32(x, NFTNL_EXPR_BYTEORDER_SREG, reg);
	set_u32(x, NFTNL_EXPR_BYTEORDER_DREG, reg);
	set_u32(x, NFTNL_EXPR_BYTEORDER_OP, NFT_BYTEORDER_HTON);
	set_u32(x, NFTNL_EXPR_BYTEORDER_LEN, 4);
	set_u32(x, NFTNL_EXPR_BYTEORDER_SIZE, 4);
}

static uint32_t register_at(uint32_t word)
{
	if (word % (NFT_REG_SIZE / NFT_REG32_SIZE) == 0)
		return REG_FIRST + word / (NFT_REG_SIZE / NFT_REG32_SIZE);
	return NFT_REG32_00 + word;
}

static void load_key(struct emit *e, const struct stmt *s)
{
	bool interval = s->const_set == 0 && set_spec(s->set.kind)->interval;
	uint32_t word = 0;

	for (uint8_t i = 0; i < s->load_count; i++)
		need(e, s->loads[i]);
	for (uint8_t i = 0; i < s->load_count; i++) {
		uint32_t reg = register_at(word);

		word += (load(e, s->loads[i], s->level, reg) + REG_WORD - 1) / REG_WORD;
		if (interval && s->loads[i] == LOAD_CT_MARK)
			to_network_order(e, reg);
	}
}

const char *nft_stmt_set(const struct stmt *s, char name[SET_NAME_MAX])
{
	if (s->const_set == TABLE_SET_NONE_CGROUP)
		return TABLE_NO_CGROUP;
	if (s->const_set == TABLE_SET_PORTED)
		return TABLE_PORTED;
	return set_name(name, s->set);
}

static void lookup(struct emit *e, const struct stmt *s, int dreg)
{
	char name[SET_NAME_MAX];
	struct nftnl_expr *x;

	load_key(e, s);
	x = expr(e, "lookup");
	set_u32(x, NFTNL_EXPR_LOOKUP_SREG, REG_FIRST);
	set_str(e, x, NFTNL_EXPR_LOOKUP_SET, nft_stmt_set(s, name));
	if (dreg >= 0)
		set_u32(x, NFTNL_EXPR_LOOKUP_DREG, (uint32_t)dreg);
	set_u32(x, NFTNL_EXPR_LOOKUP_FLAGS, s->invert ? NFT_LOOKUP_F_INV : 0);
}

/* --- matches --------------------------------------------------------------------------------- */

static void match_flags_raw(struct emit *e, uint8_t mask, uint8_t value, bool invert)
{
	static const uint8_t zero;

	load_payload(e, NFT_PAYLOAD_TRANSPORT_HEADER, TCP_FLAGS_OFFSET, 1, REG_FIRST);
	mask_bits(e, &mask, &zero, 1);
	compare_u8(e, invert, value);
}

static void match_flags(struct emit *e, uint8_t mask, uint8_t value, bool invert)
{
	need_l4(e, IPPROTO_TCP);
	match_flags_raw(e, mask, value, invert);
}

static void match_bits(struct emit *e, uint32_t key, uint32_t bits)
{
	load_ct(e, key, REG_FIRST);
	mask_u32(e, bits, 0);
	compare_u32(e, true, 0);
}

static void match_marked(struct emit *e, const struct stmt *s)
{
	if (s->kind == STMT_CT_MARK)
		load_ct(e, NFT_CT_MARK, REG_FIRST);
	else
		load_meta(e, NFT_META_MARK, REG_FIRST);
	if (s->mask != UINT32_MAX)
		mask_u32(e, s->mask, 0);
	compare_u32(e, s->invert, s->value);
}

static void match_link_local(struct emit *e)
{
	static const uint8_t mask[16] = {0xff, 0xc0}, none[16], want[16] = {0xfe, 0x80};

	need_l3(e, NFPROTO_IPV6);
	load_payload(e, NFT_PAYLOAD_NETWORK_HEADER, IP6_SADDR, sizeof(want), REG_FIRST);
	mask_bits(e, mask, none, sizeof(mask));
	compare(e, false, want, sizeof(want));
}

static void match_saddr6_any(struct emit *e)
{
	static const uint8_t any[16];

	need_l3(e, NFPROTO_IPV6);
	load_payload(e, NFT_PAYLOAD_NETWORK_HEADER, IP6_SADDR, sizeof(any), REG_FIRST);
	compare(e, false, any, sizeof(any));
}

static struct nftnl_expr *limit_expr(struct emit *e, uint32_t per_second, uint32_t burst)
{
	struct nftnl_expr *x = nftnl_expr_alloc("limit");

	if (x == NULL) {
		e->r = -ENOMEM;
		return NULL;
	}
	nftnl_expr_set_u64(x, NFTNL_EXPR_LIMIT_RATE, per_second);
	nftnl_expr_set_u64(x, NFTNL_EXPR_LIMIT_UNIT, 1);
	nftnl_expr_set_u32(x, NFTNL_EXPR_LIMIT_BURST, burst);
	nftnl_expr_set_u32(x, NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKTS);
	return x;
}

static void match_meta_u8(struct emit *e, uint32_t key, const struct stmt *s)
{
	load_meta(e, key, REG_FIRST);
	compare_u8(e, s->invert, (uint8_t)s->value);
}

static void match_meta_u32(struct emit *e, uint32_t key, bool invert, uint32_t value)
{
	load_meta(e, key, REG_FIRST);
	compare_u32(e, invert, value);
}

static void match_header(struct emit *e, const struct stmt *s)
{
	uint8_t syn_mask = TH_FIN | TH_SYN | TH_RST | TH_ACK;

	switch (s->kind) {
	case STMT_SYN_ONLY:
		match_flags(e, syn_mask, TH_SYN, s->invert);
		break;
	case STMT_SYN_RAW:
		match_flags_raw(e, syn_mask, TH_SYN, false);
		break;
	case STMT_SYN_ACK:
		match_flags(e, TH_SYN | TH_ACK, TH_SYN | TH_ACK, false);
		break;
	case STMT_RST:
		match_flags(e, TH_RST, TH_RST, false);
		break;
	case STMT_HOP_LIMIT:
		need_l3(e, NFPROTO_IPV6);
		load_payload(e, NFT_PAYLOAD_NETWORK_HEADER, IP6_HOP_LIMIT, 1, REG_FIRST);
		compare_u8(e, false, (uint8_t)s->value);
		break;
	case STMT_ICMP_TYPE:
	case STMT_ICMPV6_TYPE:
		need(e, s->kind == STMT_ICMP_TYPE ? LOAD_ICMP_TYPE : LOAD_ICMPV6_TYPE);
		load_payload(e, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1, REG_FIRST);
		compare_u8(e, false, (uint8_t)s->value);
		break;
	case STMT_SADDR6_LINK_LOCAL:
		match_link_local(e);
		break;
	case STMT_SADDR6_ANY:
		match_saddr6_any(e);
		break;
	}
}

#define IFINDEX_LO 1

static void match(struct emit *e, const struct stmt *s)
{
	struct nftnl_expr *x;

	switch (s->kind) {
	case STMT_L4PROTO:
		match_meta_u8(e, NFT_META_L4PROTO, s);
		e->l4 = s->invert ? 0 : (uint8_t)s->value;
		break;
	case STMT_NFPROTO:
		match_meta_u8(e, NFT_META_NFPROTO, s);
		e->l3 = s->invert ? 0 : (uint8_t)s->value;
		break;
	case STMT_IIF_LO:
		match_meta_u32(e, NFT_META_IIF, s->invert, IFINDEX_LO);
		break;
	case STMT_OIF_LO:
		match_meta_u32(e, NFT_META_OIF, s->invert, IFINDEX_LO);
		break;
	case STMT_IIF_NONE:
		match_meta_u32(e, NFT_META_IIF, s->invert, 0);
		break;
	case STMT_HAS_UID:
		match_meta_u32(e, NFT_META_SKUID, true, UINT32_MAX);
		break;
	case STMT_CT_STATE:
		match_bits(e, NFT_CT_STATE, s->value);
		break;
	case STMT_CT_REPLY:
		load_ct(e, NFT_CT_DIRECTION, REG_FIRST);
		compare_u8(e, false, s->invert ? IP_CT_DIR_ORIGINAL : IP_CT_DIR_REPLY);
		break;
	case STMT_CT_EXPECTED:
		match_bits(e, NFT_CT_STATUS, IPS_EXPECTED);
		break;
	case STMT_WILDCARD:
		load_socket(e, NFT_SOCKET_WILDCARD, 0, REG_FIRST);
		compare_u8(e, false, (uint8_t)s->value);
		break;
	case STMT_PKTTYPE:
		match_meta_u8(e, NFT_META_PKTTYPE, s);
		break;
	case STMT_CT_MARK:
	case STMT_META_MARK:
		match_marked(e, s);
		break;
	case STMT_LOOKUP:
		lookup(e, s, -1);
		break;
	case STMT_LIMIT:
		x = limit_expr(e, s->value, s->mask);
		if (x != NULL)
			nftnl_rule_add_expr(e->rule, x);
		break;
	}
	match_header(e, s);
}

/* --- statements ------------------------------------------------------------------------------ */

static void immediate(struct emit *e, uint32_t value)
{
	struct nftnl_expr *x = expr(e, "immediate");

	set_u32(x, NFTNL_EXPR_IMM_DREG, REG_FIRST);
	if (x != NULL && nftnl_expr_set(x, NFTNL_EXPR_IMM_DATA, &value, sizeof(value)) < 0)
		e->r = -ENOMEM;
}

static void store_ct_mark(struct emit *e)
{
	struct nftnl_expr *x = expr(e, "ct");

	set_u32(x, NFTNL_EXPR_CT_KEY, NFT_CT_MARK);
	set_u32(x, NFTNL_EXPR_CT_SREG, REG_FIRST);
}

static void store_meta_mark(struct emit *e)
{
	struct nftnl_expr *x = expr(e, "meta");

	set_u32(x, NFTNL_EXPR_META_KEY, NFT_META_MARK);
	set_u32(x, NFTNL_EXPR_META_SREG, REG_FIRST);
}

static void verdict(struct emit *e, int code, const char *chain)
{
	struct nftnl_expr *x = expr(e, "immediate");

	set_u32(x, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	set_u32(x, NFTNL_EXPR_IMM_VERDICT, (uint32_t)code);
	if (chain != NULL)
		set_str(e, x, NFTNL_EXPR_IMM_CHAIN, chain);
}

#define METER_BURST 5 /* what nft takes when none is said */

static void update(struct emit *e, const struct stmt *s)
{
	char name[SET_NAME_MAX];
	struct nftnl_expr *x, *limit;

	load_key(e, s);
	x = expr(e, "dynset");
	set_u32(x, NFTNL_EXPR_DYNSET_SREG_KEY, REG_FIRST);
	set_u32(x, NFTNL_EXPR_DYNSET_OP, s->value ? NFT_DYNSET_OP_UPDATE : NFT_DYNSET_OP_ADD);
	set_str(e, x, NFTNL_EXPR_DYNSET_SET_NAME, nft_stmt_set(s, name));
	if (x != NULL) /* 0: the set's own; the kernel says so when it is read back */
		nftnl_expr_set_u64(x, NFTNL_EXPR_DYNSET_TIMEOUT, 0);
	if (s->value == 0 || x == NULL)
		return;
	limit = limit_expr(e, s->value, s->mask != 0 ? s->mask : METER_BURST);
	if (limit != NULL)
		nftnl_expr_add_expr(x, NFTNL_EXPR_DYNSET_EXPR, limit);
}

static void log_packet(struct emit *e, const struct stmt *s)
{
	struct nftnl_expr *x = expr(e, "log");

	set_str(e, x, NFTNL_EXPR_LOG_PREFIX, s->name);
	if (x != NULL)
		nftnl_expr_set_u16(x, NFTNL_EXPR_LOG_GROUP, e->shape->nflog_group);
	set_u32(x, NFTNL_EXPR_LOG_SNAPLEN, TABLE_LOG_SNAPLEN);
}

static void reject(struct emit *e, uint32_t type, uint8_t code)
{
	struct nftnl_expr *x = expr(e, "reject");

	set_u32(x, NFTNL_EXPR_REJECT_TYPE, type);
	if (x != NULL)
		nftnl_expr_set_u8(x, NFTNL_EXPR_REJECT_CODE, code);
}

#define XT_NFQUEUE_REVISION 3

/* libnftnl takes over what it is given as target info. */
static void queue_xt(struct emit *e, uint16_t number)
{
	struct nftnl_expr *x = expr(e, "target");
	struct xt_NFQ_info_v3 *info = mem_calloc(1, sizeof(*info));

	if (x == NULL || info == NULL) {
		free(info);
		e->r = -ENOMEM;
		return;
	}
	*info = (struct xt_NFQ_info_v3){.queuenum = number, .queues_total = 1};
	set_str(e, x, NFTNL_EXPR_TG_NAME, "NFQUEUE");
	set_u32(x, NFTNL_EXPR_TG_REV, XT_NFQUEUE_REVISION);
	if (nftnl_expr_set(x, NFTNL_EXPR_TG_INFO, info, sizeof(*info)) < 0) {
		free(info);
		e->r = -ENOMEM;
	}
}

static void queue_native(struct emit *e, uint16_t number)
{
	struct nftnl_expr *x = expr(e, "queue");

	if (x == NULL)
		return;
	nftnl_expr_set_u16(x, NFTNL_EXPR_QUEUE_NUM, number);
	nftnl_expr_set_u16(x, NFTNL_EXPR_QUEUE_TOTAL, 1);
}

static void action(struct emit *e, const struct stmt *s)
{
	struct nftnl_expr *x;

	switch (s->kind) {
	case STMT_SET_CT_MARK:
		immediate(e, s->value);
		store_ct_mark(e);
		break;
	case STMT_SET_CT_MARK_MAP:
		lookup(e, s, REG_FIRST);
		store_ct_mark(e);
		break;
	case STMT_CT_MARK_OR:
		load_ct(e, NFT_CT_MARK, REG_FIRST);
		mask_u32(e, ~s->value, s->value);
		store_ct_mark(e);
		break;
	case STMT_CT_MARK_FROM_META:
		load_meta(e, NFT_META_MARK, REG_FIRST);
		mask_u32(e, s->mask, 0);
		store_ct_mark(e);
		break;
	case STMT_SET_META_MARK:
		immediate(e, s->value);
		store_meta_mark(e);
		break;
	case STMT_META_MARK_FROM_CT:
		load_ct(e, NFT_CT_MARK, REG_FIRST);
		store_meta_mark(e);
		break;
	case STMT_UPDATE:
		update(e, s);
		break;
	case STMT_COUNTER:
		x = expr(e, "objref");
		set_u32(x, NFTNL_EXPR_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
		set_str(e, x, NFTNL_EXPR_OBJREF_IMM_NAME, s->name);
		break;
	case STMT_LOG:
		log_packet(e, s);
		break;
	}
}

static void conclude(struct emit *e, const struct stmt *s)
{
	switch (s->kind) {
	case STMT_VMAP:
		lookup(e, s, NFT_REG_VERDICT);
		break;
	case STMT_ACCEPT:
		verdict(e, NF_ACCEPT, NULL);
		break;
	case STMT_DROP:
		verdict(e, NF_DROP, NULL);
		break;
	case STMT_RETURN:
		verdict(e, NFT_RETURN, NULL);
		break;
	case STMT_JUMP:
		verdict(e, NFT_JUMP, s->name);
		break;
	case STMT_GOTO:
		verdict(e, NFT_GOTO, s->name);
		break;
	case STMT_REJECT_RST:
		reject(e, NFT_REJECT_TCP_RST, 0);
		break;
	case STMT_REJECT_ADMIN:
		reject(e, NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_ADMIN_PROHIBITED);
		break;
	case STMT_QUEUE:
		if (e->shape->queue == QUEUE_XT)
			queue_xt(e, (uint16_t)s->value);
		else
			queue_native(e, (uint16_t)s->value);
		break;
	}
}

int nft_build_rule(const struct table *t, size_t chain, size_t rule, struct nftnl_rule **ret)
{
	const struct table_rule *r = &t->rules[t->chains[chain].first + rule];
	struct emit e = {.rule = nftnl_rule_alloc(), .shape = &t->shape};

	if (e.rule == NULL)
		return -ENOMEM;
	if (nftnl_rule_set_str(e.rule, NFTNL_RULE_TABLE, t->shape.table) < 0 ||
	    nftnl_rule_set_str(e.rule, NFTNL_RULE_CHAIN, t->chains[chain].name) < 0)
		e.r = -ENOMEM;
	for (size_t i = 0; i < r->count && e.r == 0; i++) {
		const struct stmt *s = &t->stmts[r->first + i];

		match(&e, s);
		action(&e, s);
		conclude(&e, s);
	}
	if (e.r < 0) {
		nftnl_rule_free(e.rule);
		return e.r;
	}
	*ret = e.rule;
	return 0;
}

int nft_put_rule(struct batch *b, const struct table *t, size_t chain, size_t rule,
		 struct batch_item item)
{
	struct nftnl_rule *built = NULL;
	struct nlmsghdr *h;
	int r = nft_build_rule(t, chain, rule, &built);

	if (r < 0)
		return r;
	h = batch_message(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, item);
	if (h != NULL)
		nftnl_rule_nlmsg_build_payload(h, built);
	nftnl_rule_free(built);
	return b->r;
}
