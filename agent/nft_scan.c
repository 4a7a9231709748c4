/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/nft_table.h"

#include <errno.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

/*
 * Who else meddles with what our marks and hooks rely on (R8, R27): rules of other tables that
 * write the conntrack mark, set zones or helpers, or switch tracking off, and base chains that run
 * before ours. iptables-nft's targets count; rules of the old iptables are not visible here.
 */
struct scan {
	const struct nft *n;
	void (*found)(void *user, const struct nft_foreign *f);
	void *user;
	struct nft_foreign where;
};

const char *nft_foreign_name(enum nft_foreign_kind kind)
{
	static const char *const names[] = {
		[NFT_FOREIGN_CT_MARK] = "writes the conntrack mark",
		[NFT_FOREIGN_NOTRACK] = "switches connection tracking off",
		[NFT_FOREIGN_HELPER] = "attaches a conntrack helper",
		[NFT_FOREIGN_ZONE] = "sets a conntrack zone",
		[NFT_FOREIGN_BASE_CHAIN] = "runs before our chains",
	};

	return names[kind];
}

static void tell(struct scan *s, enum nft_foreign_kind kind)
{
	s->where.kind = (uint8_t)kind;
	s->found(s->user, &s->where);
}

static void look_ct(struct scan *s, const struct nftnl_expr *x)
{
	if (!nftnl_expr_is_set(x, NFTNL_EXPR_CT_SREG))
		return;
	switch (nftnl_expr_get_u32(x, NFTNL_EXPR_CT_KEY)) {
	case NFT_CT_MARK:
		tell(s, NFT_FOREIGN_CT_MARK);
		break;
	case NFT_CT_ZONE:
		tell(s, NFT_FOREIGN_ZONE);
		break;
	}
}

#define XT_CT_NOTRACK 1U

static void look_target(struct scan *s, const struct nftnl_expr *x)
{
	const char *name = nftnl_expr_get_str(x, NFTNL_EXPR_TG_NAME);
	uint32_t len = 0;
	const void *info = nftnl_expr_get(x, NFTNL_EXPR_TG_INFO, &len);
	uint16_t flags = 0;

	if (str_eq(name, "CONNMARK") || str_eq(name, "CONNSECMARK"))
		tell(s, NFT_FOREIGN_CT_MARK);
	if (str_eq(name, "NOTRACK"))
		tell(s, NFT_FOREIGN_NOTRACK);
	if (!str_eq(name, "CT") || info == NULL || len < 4 * sizeof(uint16_t))
		return;
	/* struct xt_ct_target_info: flags, zone, events, helper[] */
	memcpy(&flags, info, sizeof(flags));
	tell(s, flags & XT_CT_NOTRACK ? NFT_FOREIGN_NOTRACK : NFT_FOREIGN_HELPER);
}

static int look_expr(struct nftnl_expr *x, void *user)
{
	struct scan *s = user;
	const char *name = nftnl_expr_get_str(x, NFTNL_EXPR_NAME);

	if (str_eq(name, "ct"))
		look_ct(s, x);
	else if (str_eq(name, "notrack"))
		tell(s, NFT_FOREIGN_NOTRACK);
	else if (str_eq(name, "target"))
		look_target(s, x);
	else if (str_eq(name, "objref") &&
		 nftnl_expr_get_u32(x, NFTNL_EXPR_OBJREF_IMM_TYPE) == NFT_OBJECT_CT_HELPER)
		tell(s, NFT_FOREIGN_HELPER);
	return 0;
}

static bool is_foreign(struct scan *s, const struct nlmsghdr *h, const char *table,
		       const char *chain)
{
	const struct nfgenmsg *g = mnl_nlmsg_get_payload(h);

	if (g->nfgen_family == NFPROTO_INET && str_eq(table, s->n->table))
		return false;
	s->where = (struct nft_foreign){.family = g->nfgen_family};
	(void)snprintf(s->where.table, sizeof(s->where.table), "%s", table);
	(void)snprintf(s->where.chain, sizeof(s->where.chain), "%s", chain);
	return true;
}

static int take_foreign_rule(const struct nlmsghdr *h, void *user)
{
	struct scan *s = user;
	struct nftnl_rule *rule;

	if (!is_foreign(s, h, nft_attr_text(nft_attr(h, NFTA_RULE_TABLE)),
			nft_attr_text(nft_attr(h, NFTA_RULE_CHAIN))))
		return MNL_CB_OK;
	rule = nftnl_rule_alloc();
	if (rule != NULL && nftnl_rule_nlmsg_parse(h, rule) >= 0)
		(void)nftnl_expr_foreach(rule, look_expr, s);
	if (rule != NULL)
		nftnl_rule_free(rule);
	return MNL_CB_OK;
}

static bool is_ip(uint8_t family)
{
	return family == NFPROTO_INET || family == NFPROTO_IPV4 || family == NFPROTO_IPV6;
}

static int take_foreign_chain(const struct nlmsghdr *h, void *user)
{
	struct scan *s = user;
	const struct nlattr *hook = nft_attr(h, NFTA_CHAIN_HOOK);
	uint32_t number, priority;

	if (hook == NULL || !is_foreign(s, h, nft_attr_text(nft_attr(h, NFTA_CHAIN_TABLE)),
					nft_attr_text(nft_attr(h, NFTA_CHAIN_NAME))))
		return MNL_CB_OK;
	number = nft_attr_u32(nft_attr_nested(hook, NFTA_HOOK_HOOKNUM), UINT32_MAX);
	priority = nft_attr_u32(nft_attr_nested(hook, NFTA_HOOK_PRIORITY), 0);
	if (is_ip(s->where.family) && (int32_t)priority < 0 &&
	    (number == NF_INET_LOCAL_IN || number == NF_INET_LOCAL_OUT))
		tell(s, NFT_FOREIGN_BASE_CHAIN);
	return MNL_CB_OK;
}

int nft_scan_foreign(struct nft *n, void (*found)(void *user, const struct nft_foreign *f),
		     void *user, struct err *err)
{
	static const uint8_t families[] = {NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6};
	struct scan s = {.n = n, .found = found, .user = user};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(families) && r == 0; i++) {
		struct nft_request chains = {.type = NFT_MSG_GETCHAIN,
					     .flags = NLM_F_DUMP,
					     .family = families[i],
					     .take = take_foreign_chain,
					     .user = &s};
		struct nft_request rules = {.type = NFT_MSG_GETRULE,
					    .flags = NLM_F_DUMP,
					    .family = families[i],
					    .take = take_foreign_rule,
					    .user = &s};

		r = nft_read(n, &chains);
		if (r == 0)
			r = nft_read(n, &rules);
	}
	if (r < 0)
		return err_set(err, -r, "reading the tables of others: %s", strerror(-r));
	return 0;
}
