/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/ruleset_text.h"

#include <inttypes.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/mem.h"

/* --- statements ------------------------------------------------------------------------------ */

static void load_text(uint8_t load, uint8_t level, struct buf *b)
{
	static const char *const names[] = {
		[LOAD_CT_MARK] = "ct mark",     [LOAD_SADDR4] = "ip saddr",
		[LOAD_DADDR4] = "ip daddr",     [LOAD_SADDR6] = "ip6 saddr",
		[LOAD_DADDR6] = "ip6 daddr",    [LOAD_L4PROTO] = "meta l4proto",
		[LOAD_SPORT] = "th sport",      [LOAD_DPORT] = "th dport",
		[LOAD_ICMP_TYPE] = "icmp type", [LOAD_ICMPV6_TYPE] = "icmpv6 type",
		[LOAD_UID] = "meta skuid",      [LOAD_NFPROTO] = "meta nfproto",
	};

	if (load == LOAD_CGROUP)
		buf_printf(b, "socket cgroupv2 level %u", level ? level : 1U);
	else
		buf_puts(b, names[load]);
}

static void key_text(const struct stmt *s, struct buf *b)
{
	for (uint8_t i = 0; i < s->load_count; i++) {
		if (i > 0)
			buf_puts(b, " . ");
		load_text(s->loads[i], s->level, b);
	}
}

static const char *set_of(const struct stmt *s, char name[SET_NAME_MAX])
{
	if (s->const_set == TABLE_SET_NONE_CGROUP)
		return TABLE_NO_CGROUP;
	if (s->const_set == TABLE_SET_PORTED)
		return TABLE_PORTED;
	return set_name(name, s->set);
}

static const char *proto_text(uint32_t proto)
{
	static const char *const names[UINT8_MAX + 1] = {
		[IPPROTO_ICMP] = "icmp", [IPPROTO_IGMP] = "igmp",     [IPPROTO_TCP] = "tcp",
		[IPPROTO_UDP] = "udp",   [IPPROTO_ICMPV6] = "icmpv6", [IPPROTO_SCTP] = "132",
	};

	return names[proto & UINT8_MAX] ? names[proto & UINT8_MAX] : "?";
}

static void state_text(uint32_t bits, struct buf *b)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} states[] = {
		{TABLE_STATE_INVALID, "invalid"},     {TABLE_STATE_ESTABLISHED, "established"},
		{TABLE_STATE_RELATED, "related"},     {TABLE_STATE_NEW, "new"},
		{TABLE_STATE_UNTRACKED, "untracked"},
	};
	const char *comma = "";

	buf_puts(b, "ct state ");
	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		if (bits & states[i].bit) {
			buf_printf(b, "%s%s", comma, states[i].name);
			comma = ",";
		}
	}
}

static void masked_text(const char *what, const struct stmt *s, struct buf *b)
{
	const char *op = s->invert ? "!= " : "";

	if (s->mask == UINT32_MAX)
		buf_printf(b, "%s %s0x%08x", what, op, s->value);
	else
		buf_printf(b, "%s & 0x%08x %s 0x%08x", what, s->mask,
			   s->invert ? "!=" : "==", s->value);
}

static void update_text(const struct stmt *s, struct buf *b)
{
	char name[SET_NAME_MAX];

	buf_printf(b, "%s @%s { ", s->value ? "update" : "add", set_of(s, name));
	key_text(s, b);
	if (s->value)
		buf_printf(b, " limit rate %u/second", s->value);
	if (s->value && s->mask)
		buf_printf(b, " burst %u packets", s->mask);
	buf_puts(b, " }");
}

/* Statements that are a constant, plain and inverted. */
static const char *const fixed[STMT_QUEUE + 1][2] = {
	[STMT_IIF_LO] = {"iif \"lo\"", "iif != \"lo\""},
	[STMT_OIF_LO] = {"oif \"lo\"", "oif != \"lo\""},
	[STMT_IIF_NONE] = {"iif 0", "iif != 0"},
	[STMT_HAS_UID] = {"meta skuid != 4294967295"},
	[STMT_SYN_ONLY] = {"tcp flags & (fin | syn | rst | ack) == syn",
			   "tcp flags & (fin | syn | rst | ack) != syn"},
	[STMT_SYN_RAW] = {"@th,104,8 & 0x17 == 0x02"},
	[STMT_SYN_ACK] = {"tcp flags & (syn | ack) == (syn | ack)"},
	[STMT_RST] = {"tcp flags & rst == rst"},
	[STMT_CT_REPLY] = {"ct direction reply", "ct direction original"},
	[STMT_CT_EXPECTED] = {"ct status expected"},
	[STMT_SADDR6_LINK_LOCAL] = {"ip6 saddr fe80::/10"},
	[STMT_SADDR6_ANY] = {"ip6 saddr ::"},
	[STMT_ACCEPT] = {"accept"},
	[STMT_DROP] = {"drop"},
	[STMT_RETURN] = {"return"},
	[STMT_REJECT_RST] = {"reject with tcp reset"},
	[STMT_REJECT_ADMIN] = {"reject with icmpx admin-prohibited"},
};

/* Statements that are a word and a number. */
static const char *const numbered[STMT_QUEUE + 1] = {
	[STMT_WILDCARD] = "socket wildcard ", [STMT_HOP_LIMIT] = "ip6 hoplimit ",
	[STMT_ICMP_TYPE] = "icmp type ",      [STMT_ICMPV6_TYPE] = "icmpv6 type ",
	[STMT_QUEUE] = "queue to ",
};

static void match_text(const struct stmt *s, struct buf *b)
{
	const char *op = s->invert ? "!= " : "";
	char name[SET_NAME_MAX];

	switch (s->kind) {
	case STMT_L4PROTO:
		buf_printf(b, "meta l4proto %s%s", op, proto_text(s->value));
		break;
	case STMT_NFPROTO:
		buf_printf(b, "meta nfproto %s", s->value == AF_INET ? "ipv4" : "ipv6");
		break;
	case STMT_CT_STATE:
		state_text(s->value, b);
		break;
	case STMT_PKTTYPE:
		buf_printf(b, "meta pkttype %s",
			   s->value == PACKET_BROADCAST ? "broadcast" : "multicast");
		break;
	case STMT_CT_MARK:
		masked_text("ct mark", s, b);
		break;
	case STMT_META_MARK:
		masked_text("meta mark", s, b);
		break;
	case STMT_LOOKUP:
		key_text(s, b);
		buf_printf(b, " %s@%s", op, set_of(s, name));
		break;
	case STMT_LIMIT:
		buf_printf(b, "limit rate %u/second burst %u packets", s->value, s->mask);
		break;
	}
}

static void action_text(const struct stmt *s, const struct table_shape *shape, struct buf *b)
{
	char name[SET_NAME_MAX];

	switch (s->kind) {
	case STMT_SET_CT_MARK:
		buf_printf(b, "ct mark set 0x%08x", s->value);
		break;
	case STMT_SET_CT_MARK_MAP:
		buf_puts(b, "ct mark set ");
		key_text(s, b);
		buf_printf(b, " map @%s", set_of(s, name));
		break;
	case STMT_CT_MARK_OR:
		buf_printf(b, "ct mark set ct mark | 0x%08x", s->value);
		break;
	case STMT_CT_MARK_FROM_META:
		buf_printf(b, "ct mark set meta mark & 0x%08x", s->mask);
		break;
	case STMT_SET_META_MARK:
		buf_printf(b, "meta mark set 0x%08x", s->value);
		break;
	case STMT_META_MARK_FROM_CT:
		buf_puts(b, "meta mark set ct mark");
		break;
	case STMT_UPDATE:
		update_text(s, b);
		break;
	case STMT_COUNTER:
		buf_printf(b, "counter name \"%s\"", s->name);
		break;
	case STMT_LOG:
		buf_printf(b, "log prefix \"%s\" group %u snaplen %u", s->name, shape->nflog_group,
			   TABLE_LOG_SNAPLEN);
		break;
	case STMT_VMAP:
		key_text(s, b);
		buf_printf(b, " vmap @%s", set_of(s, name));
		break;
	case STMT_JUMP:
		buf_printf(b, "jump %s", s->name);
		break;
	case STMT_GOTO:
		buf_printf(b, "goto %s", s->name);
		break;
	}
}

void stmt_text(const struct stmt *s, const struct table_shape *shape, struct buf *b)
{
	if (fixed[s->kind][s->invert] != NULL)
		buf_puts(b, fixed[s->kind][s->invert]);
	else if (numbered[s->kind] != NULL)
		buf_printf(b, "%s%u", numbered[s->kind], s->value);
	else if (s->kind <= STMT_LIMIT)
		match_text(s, b);
	else
		action_text(s, shape, b);
}

/* --- sets ------------------------------------------------------------------------------------ */

static uint32_t size_of(const struct set_spec *spec, enum set_kind kind,
			const struct table_shape *shape)
{
	return kind == SET_LIVE || kind == SET_LIVE_UDP ? shape->live_size : spec->size;
}

static void set_text(struct set_ref ref, const struct table_shape *shape, struct buf *b)
{
	const struct set_spec *spec = set_spec(ref.kind);
	uint32_t size = size_of(spec, ref.kind, shape);
	bool is_map = spec->value == VALUE_MARK || spec->value == VALUE_VERDICT;
	char name[SET_NAME_MAX], type[TABLE_TYPE_MAX];
	const char *comma = "";

	buf_printf(b, "\t%s %s {\n\t\ttype %s", is_map ? "map" : "set", set_name(name, ref),
		   table_key_type(type, ref.kind));
	if (is_map)
		buf_printf(b, " : %s", spec->value == VALUE_MARK ? "mark" : "verdict");
	if (size)
		buf_printf(b, "\n\t\tsize %u", size);
	if (spec->interval || spec->timeout || spec->dynamic) {
		buf_puts(b, "\n\t\tflags ");
		if (spec->interval) {
			buf_puts(b, "interval");
			comma = ",";
		}
		if (spec->dynamic) {
			buf_printf(b, "%sdynamic", comma);
			comma = ",";
		}
		if (spec->timeout)
			buf_printf(b, "%stimeout", comma);
	}
	if (spec->dynamic)
		buf_printf(b, "\n\t\ttimeout %us", TABLE_DYNAMIC_MS / 1000U);
	if (spec->counter)
		buf_puts(b, "\n\t\tcounter");
	buf_puts(b, "\n\t}\n\n");
}

static void const_sets_text(struct buf *b)
{
	buf_puts(b, "\tset " TABLE_NO_CGROUP " {\n\t\ttype cgroupsv2\n\t}\n\n");
	buf_puts(b, "\tset " TABLE_PORTED " {\n\t\ttype inet_proto\n"
		    "\t\telements = { tcp, udp }\n\t}\n\n");
}

/* --- chains ---------------------------------------------------------------------------------- */

static void rule_text(const struct table *t, const struct table_rule *rule, struct buf *b)
{
	buf_puts(b, "\t\t");
	/* nft cannot read back what it prints for the xt target, so the text has a comment. */
	if (t->stmts[rule->first].kind == STMT_QUEUE && t->shape.queue == QUEUE_XT)
		buf_puts(b, "# xt target NFQUEUE: ");
	for (size_t i = 0; i < rule->count; i++) {
		if (i > 0)
			buf_putc(b, ' ');
		stmt_text(&t->stmts[rule->first + i], &t->shape, b);
	}
	buf_putc(b, '\n');
}

static void chain_text(const struct table *t, const struct table_chain *c, struct buf *b)
{
	buf_printf(b, "\tchain %s {\n", c->name);
	if (c->hook)
		buf_printf(b, "\t\ttype filter hook %s priority filter; policy drop;\n",
			   c->hook == TABLE_HOOK_INPUT ? "input" : "output");
	for (size_t i = 0; i < c->count; i++)
		rule_text(t, &t->rules[c->first + i], b);
	buf_puts(b, "\t}\n\n");
}

void table_text(const struct table *t, struct buf *b)
{
	buf_printf(b, "table inet %s {\n", t->shape.table);
	for (size_t i = 0; i < TABLE_COUNTERS; i++)
		buf_printf(b, "\tcounter %s {\n\t}\n\n", table_counters[i]);
	const_sets_text(b);
	for (size_t i = 0; i < t->set_count; i++)
		set_text(t->sets[i], &t->shape, b);
	for (size_t i = 0; i < t->chain_count; i++)
		chain_text(t, &t->chains[i], b);
	buf_puts(b, "}\n");
}
