/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/nft_table.h"

#include <errno.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"

#define EXPR_TEXT_MAX 512

/*
 * Are our chains what they should be? Each rule is reduced to a hash of what libnftnl says of its
 * expressions: once as we would write it, once as the kernel has it. Someone else's rule, a missing
 * one and another order all differ.
 */
struct audit {
	const struct table *t;
	size_t *seen;     /* per chain: rules so far */
	uint64_t *hashes; /* per rule, as it should be */
	bool ok;
	unsigned int base_ok;
	uint64_t hash; /* of the rule being read */
};

static int hash_expr(struct nftnl_expr *x, void *user)
{
	struct audit *a = user;
	char text[EXPR_TEXT_MAX];
	uint64_t both[2] = {a->hash, 0};
	int len = nftnl_expr_snprintf(text, sizeof(text), x, NFTNL_OUTPUT_DEFAULT, 0);

	if (len < 0)
		len = 0;
	both[1] = hash_bytes(text, strnlen(text, sizeof(text)));
	a->hash = hash_bytes(both, sizeof(both)) ^
		  hash_bytes(nftnl_expr_get_str(x, NFTNL_EXPR_NAME),
			     strlen(nftnl_expr_get_str(x, NFTNL_EXPR_NAME)));
	return 0;
}

static uint64_t hash_rule(struct audit *a, struct nftnl_rule *rule)
{
	a->hash = 0;
	(void)nftnl_expr_foreach(rule, hash_expr, a);
	return a->hash;
}

static int expect_all(struct audit *a)
{
	for (size_t i = 0; i < a->t->chain_count; i++) {
		for (size_t k = 0; k < a->t->chains[i].count; k++) {
			struct nftnl_rule *rule = NULL;
			int r = nft_build_rule(a->t, i, k, &rule);

			if (r < 0)
				return r;
			a->hashes[a->t->chains[i].first + k] = hash_rule(a, rule);
			nftnl_rule_free(rule);
		}
	}
	return 0;
}

static bool is_expected(struct audit *a, const struct nlmsghdr *h, uint64_t want)
{
	struct nftnl_rule *rule = nftnl_rule_alloc();
	bool same;

	if (rule == NULL)
		return false;
	same = nftnl_rule_nlmsg_parse(h, rule) >= 0 && hash_rule(a, rule) == want;
	nftnl_rule_free(rule);
	return same;
}

static int take_rule(const struct nlmsghdr *h, void *user)
{
	struct audit *a = user;
	const char *name = nft_attr_text(nft_attr(h, NFTA_RULE_CHAIN));
	size_t i = 0, k;

	while (i < a->t->chain_count && !str_eq(a->t->chains[i].name, name))
		i++;
	if (i == a->t->chain_count) {
		a->ok = false;
		return MNL_CB_OK;
	}
	k = a->seen[i]++;
	if (k >= a->t->chains[i].count || !is_expected(a, h, a->hashes[a->t->chains[i].first + k]))
		a->ok = false;
	return MNL_CB_OK;
}

static int take_base(const struct nlmsghdr *h, void *user)
{
	struct audit *a = user;
	const struct nlattr *hook = nft_attr(h, NFTA_CHAIN_HOOK);
	const char *name = nft_attr_text(nft_attr(h, NFTA_CHAIN_NAME));
	uint32_t number = nft_attr_u32(nft_attr_nested(hook, NFTA_HOOK_HOOKNUM), UINT32_MAX);
	uint32_t want = str_eq(name, TABLE_CHAIN_OUT) ? NF_INET_LOCAL_OUT : NF_INET_LOCAL_IN;

	if (hook == NULL ||
	    !str_eq(nft_attr_text(nft_attr(h, NFTA_CHAIN_TABLE)), a->t->shape.table))
		return MNL_CB_OK;
	if (number == want && nft_attr_u32(nft_attr_nested(hook, NFTA_HOOK_PRIORITY), 1) == 0 &&
	    nft_attr_u32(nft_attr(h, NFTA_CHAIN_POLICY), NF_ACCEPT) == NF_DROP)
		a->base_ok++;
	else
		a->ok = false;
	return MNL_CB_OK;
}

#define BASE_CHAINS 2

static int read_base(struct nft *n, struct audit *a)
{
	struct nft_request chains = {.type = NFT_MSG_GETCHAIN,
				     .flags = NLM_F_DUMP,
				     .table = n->table,
				     .take = take_base,
				     .user = a};

	return nft_read(n, &chains);
}

static int run_audit(struct nft *n, struct audit *a)
{
	struct nft_request rules = {.type = NFT_MSG_GETRULE,
				    .flags = NLM_F_DUMP,
				    .table = n->table,
				    .take = take_rule,
				    .user = a};
	int r = expect_all(a);

	a->ok = true;
	if (r == 0)
		r = read_base(n, a);
	if (r == 0)
		r = nft_read(n, &rules);
	for (size_t i = 0; i < a->t->chain_count; i++)
		a->ok = a->ok && a->seen[i] == a->t->chains[i].count;
	a->ok = a->ok && a->base_ok == BASE_CHAINS;
	return r;
}

int nft_check_chains(struct nft *n, const struct table_shape *shape, bool *ret_ok, struct err *err)
{
	CLEANUP(table_freep) struct table *t = NULL;
	CLEANUP(freep) size_t *seen = NULL;
	CLEANUP(freep) uint64_t *hashes = NULL;
	struct audit a = {0};
	int r = table_build(shape, &t, err);

	if (r < 0)
		return r;
	seen = mem_calloc(t->chain_count, sizeof(*seen));
	hashes = mem_calloc(t->rule_count, sizeof(*hashes));
	if (seen == NULL || hashes == NULL)
		return err_set(err, ENOMEM, "out of memory");
	a = (struct audit){.t = t, .seen = seen, .hashes = hashes};
	r = run_audit(n, &a);
	if (r == -ENOENT) {
		*ret_ok = false;
		return 0;
	}
	if (r < 0)
		return err_set(err, -r, "reading the chains of inet %s: %s", n->table,
			       strerror(-r));
	*ret_ok = a.ok;
	return 0;
}

int nft_is_judging(struct nft *n, const struct table_shape *shape, bool *ret, struct err *err)
{
	struct table t = {.shape = *shape};
	struct audit a = {.t = &t};
	int r = read_base(n, &a);

	if (r < 0 && r != -ENOENT)
		return err_set(err, -r, "reading the chains of inet %s: %s", n->table,
			       strerror(-r));
	*ret = a.base_ok == BASE_CHAINS;
	return 0;
}
