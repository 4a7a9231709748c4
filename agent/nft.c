/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/nft.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/nft_table.h"
#include "base/mem.h"
#include "base/text.h"

/* --- sockets --------------------------------------------------------------------------------- */

static int open_socket(struct mnl_socket **ret, struct err *err)
{
	struct mnl_socket *s = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	int on = 1;

	if (s == NULL)
		return err_set(err, errno, "netlink socket: %s", strerror(errno));
	if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0) {
		int r = -errno;

		(void)mnl_socket_close(s);
		return err_set(err, -r, "netlink socket: %s", strerror(-r));
	}
	/* Short answers, with the kernel's words where it has some. */
	(void)mnl_socket_setsockopt(s, NETLINK_CAP_ACK, &on, sizeof(on));
	(void)mnl_socket_setsockopt(s, NETLINK_EXT_ACK, &on, sizeof(on));
	*ret = s;
	return 0;
}

int nft_open(const char *table, struct nft **ret, struct err *err)
{
	CLEANUP(nft_closep) struct nft *n = mem_calloc(1, sizeof(*n));
	int r;

	if (n == NULL)
		return err_set(err, ENOMEM, "out of memory");
	batch_init(&n->batch);
	if (strlen(table) >= sizeof(n->table))
		return err_set(err, EINVAL, "the table name '%s' has more than %zu characters",
			       table, sizeof(n->table) - 1);
	memcpy(n->table, table, strlen(table));
	r = open_socket(&n->writer, err);
	if (r == 0)
		r = open_socket(&n->reader, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(n);
	return 0;
}

void nft_close(struct nft *n)
{
	if (n == NULL)
		return;
	if (n->writer != NULL)
		(void)mnl_socket_close(n->writer);
	if (n->reader != NULL)
		(void)mnl_socket_close(n->reader);
	batch_done(&n->batch);
	free(n);
}

void nft_closep(struct nft **n)
{
	nft_close(*n);
	*n = NULL;
}

const struct nft_features *nft_features(const struct nft *n)
{
	return &n->features;
}

enum queue_kind nft_queue_kind(const struct nft *n)
{
	if (n->features.queue_native)
		return QUEUE_NATIVE;
	return n->features.queue_xt ? QUEUE_XT : QUEUE_NONE;
}

bool nft_is_owned(const struct nft *n)
{
	return n->owned;
}

int nft_commit(struct nft *n, struct batch *b, const char *what, struct err *err)
{
	struct batch_fault fault;
	int r = batch_send(n->writer, b, NULL, &fault);

	if (r < 0)
		return err_set(err, -r, "the kernel refused %s: %s%s%s", what, strerror(-r),
			       fault.text[0] ? "; " : "", fault.text);
	return 0;
}

/* --- the table ------------------------------------------------------------------------------- */

struct found {
	bool exists, has_out, has_in, drops;
	uint32_t flags, owner;
};

static int take_table(const struct nlmsghdr *h, void *user)
{
	struct found *f = user;

	f->exists = true;
	f->flags = nft_attr_u32(nft_attr(h, NFTA_TABLE_FLAGS), 0);
	f->owner = nft_attr_u32(nft_attr(h, NFTA_TABLE_OWNER), 0);
	return MNL_CB_OK;
}

static int take_chain(const struct nlmsghdr *h, void *user)
{
	struct found *f = user;
	const struct nlattr *hook = nft_attr(h, NFTA_CHAIN_HOOK);
	const char *name = nft_attr_text(nft_attr(h, NFTA_CHAIN_NAME));
	uint32_t number;

	if (hook == NULL)
		return MNL_CB_OK;
	number = nft_attr_u32(nft_attr_nested(hook, NFTA_HOOK_HOOKNUM), UINT32_MAX);
	if (str_eq(name, TABLE_CHAIN_OUT) && number == NF_INET_LOCAL_OUT)
		f->has_out = true;
	if (str_eq(name, TABLE_CHAIN_IN) && number == NF_INET_LOCAL_IN)
		f->has_in = true;
	f->drops = nft_attr_u32(nft_attr(h, NFTA_CHAIN_POLICY), NF_ACCEPT) == NF_DROP;
	return MNL_CB_OK;
}

static int look(struct nft *n, struct found *f)
{
	static const char *const chains[] = {TABLE_CHAIN_OUT, TABLE_CHAIN_IN};
	struct nft_request table = {
		.type = NFT_MSG_GETTABLE, .table = n->table, .take = take_table, .user = f};
	int r = nft_read(n, &table);

	*f = r < 0 ? (struct found){0} : *f;
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	for (size_t i = 0; i < ARRAY_LEN(chains); i++) {
		struct nft_request chain = {.type = NFT_MSG_GETCHAIN,
					    .table = n->table,
					    .name_attr = NFTA_CHAIN_NAME,
					    .name = chains[i],
					    .take = take_chain,
					    .user = f};

		r = nft_read(n, &chain);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return 0;
}

static uint32_t table_flags(const struct nft *n)
{
	/* An owned table without persist would vanish with this process: fail open (R37). */
	return n->features.persist ? NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST : 0;
}

static int create(struct nft *n, bool replace, struct err *err)
{
	struct batch *b = &n->batch;
	int r;

	batch_begin(b);
	if (replace)
		nft_put_delete(b, NFT_MSG_DELTABLE, n->table, 0, NULL, (struct batch_item){0});
	nft_put_table(b, n->table, table_flags(n));
	batch_end(b);
	r = nft_commit(n, b, "to create the table", err);
	if (r == 0)
		n->owned = n->features.persist;
	return r;
}

static int adopt(struct nft *n, const struct found *f, struct err *err)
{
	struct batch *b = &n->batch;
	int r;

	n->armed = f->drops;
	n->owned = false;
	/* A table that was made without flags cannot be owned later (EOPNOTSUPP): it is watched. */
	if (!(f->flags & NFT_TABLE_F_PERSIST) || !n->features.persist)
		return 0;
	batch_begin(b);
	nft_put_table(b, n->table, table_flags(n));
	batch_end(b);
	r = nft_commit(n, b, "to take over the table of an earlier agent", err);
	if (r == 0)
		n->owned = true;
	return r;
}

int nft_start(struct nft *n, enum nft_found *ret_found, struct err *err)
{
	struct found f = {0};
	bool ours;
	int r = look(n, &f);

	if (r < 0)
		return err_set(err, -r, "reading the table inet %s: %s", n->table, strerror(-r));
	if (f.owner != 0 && f.owner != mnl_socket_get_portid(n->writer))
		return err_set(err, EPERM,
			       "the table inet %s belongs to another process (netlink port %u); "
			       "stop it, or choose another name under `table`",
			       n->table, f.owner);
	ours = f.has_out && f.has_in;
	if (f.exists && ours)
		r = adopt(n, &f, err);
	else
		r = create(n, f.exists, err);
	if (r < 0)
		return r;
	if (!f.exists)
		*ret_found = NFT_FOUND_NOTHING;
	else
		*ret_found = ours ? NFT_FOUND_TABLE : NFT_FOUND_FOREIGN;
	if (*ret_found != NFT_FOUND_TABLE)
		n->armed = false;
	return 0;
}

/* --- base chains ----------------------------------------------------------------------------- */

static void put_policy(struct batch *b, const char *table, const char *chain, uint32_t policy)
{
	struct nlmsghdr *h = batch_message(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE,
					   (struct batch_item){.kind = BATCH_OTHER});

	if (h == NULL)
		return;
	mnl_attr_put_strz(h, NFTA_CHAIN_TABLE, table);
	mnl_attr_put_strz(h, NFTA_CHAIN_NAME, chain);
	attr_be32(h, NFTA_CHAIN_POLICY, policy);
}

static int put_base_rules(struct batch *b, const struct table *t)
{
	int r = 0;

	for (size_t i = 0; i < t->chain_count && r == 0; i++) {
		if (t->chains[i].hook == 0)
			continue;
		nft_put_delete(b, NFT_MSG_DELRULE, t->shape.table, NFTA_RULE_CHAIN,
			       t->chains[i].name, (struct batch_item){0});
		put_policy(b, t->shape.table, t->chains[i].name, NF_DROP);
		for (size_t k = 0; k < t->chains[i].count && r == 0; k++)
			r = nft_put_rule(b, t, i, k, (struct batch_item){.kind = BATCH_RULE});
	}
	return r;
}

int nft_enforce(struct nft *n, const struct table_shape *shape, struct err *err)
{
	CLEANUP(table_freep) struct table *t = NULL;
	struct batch *b = &n->batch;
	int r = table_build(shape, &t, err);

	if (r < 0)
		return r;
	batch_begin(b);
	r = put_base_rules(b, t);
	if (r < 0)
		return err_set(err, -r, "out of memory");
	batch_end(b);
	r = nft_commit(n, b, "the rules of the base chains", err);
	if (r == 0)
		n->armed = true;
	return r;
}

int nft_disarm(struct nft *n, struct err *err)
{
	static const char *const chains[] = {TABLE_CHAIN_OUT, TABLE_CHAIN_IN};
	struct batch *b = &n->batch;
	int r;

	batch_begin(b);
	for (size_t i = 0; i < ARRAY_LEN(chains); i++) {
		put_policy(b, n->table, chains[i], NF_ACCEPT);
		nft_put_delete(b, NFT_MSG_DELRULE, n->table, NFTA_RULE_CHAIN, chains[i],
			       (struct batch_item){0});
	}
	batch_end(b);
	r = nft_commit(n, b, "to empty the base chains", err);
	if (r == 0)
		n->armed = false;
	return r;
}

int nft_delete_table(struct nft *n, struct err *err)
{
	struct batch *b = &n->batch;
	struct batch_fault fault;
	int r;

	batch_begin(b);
	nft_put_delete(b, NFT_MSG_DELTABLE, n->table, 0, NULL, (struct batch_item){0});
	batch_end(b);
	r = batch_send(n->writer, b, NULL, &fault);
	if (r < 0 && r != -ENOENT)
		return err_set(err, -r, "the kernel refused to delete the table inet %s: %s",
			       n->table, strerror(-r));
	n->owned = false;
	n->armed = false;
	return 0;
}
