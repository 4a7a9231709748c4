/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table's parts as messages: sets, chains, rules, elements. Inside of agent/nft*.c.
 */
#pragma once

#include "agent/nft.h"
#include "agent/nft_batch.h"
#include "rules/table.h"

#ifndef NFT_TABLE_F_PERSIST
#define NFT_TABLE_F_PERSIST 0x4U
#endif
#define NFT_MSG_DESTROY_SETELEM 30 /* NFT_MSG_DESTROYSETELEM, younger than Debian 12's headers */

/* Listeners are forgotten when nobody renews them (R21). */
#define NFT_LISTENER_MS 5000

struct nft {
	char table[32];
	struct mnl_socket *writer; /* owns the table: every change goes over it */
	struct mnl_socket *reader;
	struct nft_features features;
	bool owned;
	bool armed; /* base chains have rules and policy drop */
	uint32_t read_seq;
	struct batch batch; /* memory for small transactions */
};

/* Private type of element user data: 16 bytes of number key behind nft's own comment. */
#define NFT_UDATA_KEY 0xb7

/* Names of the statement's set. */
const char *nft_stmt_set(const struct stmt *s, char name[SET_NAME_MAX]);

struct nftnl_rule;
int nft_build_rule(const struct table *t, size_t chain, size_t rule, struct nftnl_rule **ret);
int nft_put_rule(struct batch *b, const struct table *t, size_t chain, size_t rule,
		 struct batch_item item);
void nft_put_table(struct batch *b, const char *table, uint32_t flags);
void nft_put_counters(struct batch *b, const char *table);
/* Set ref of a shape; sets already there stay as they are. */
void nft_put_set(struct batch *b, const struct table_shape *shape, struct set_ref ref,
		 size_t index);
void nft_put_const_sets(struct batch *b, const char *table);
void nft_put_chain(struct batch *b, const struct table *t, size_t chain, bool enforce);
void nft_put_delete(struct batch *b, uint16_t type, const char *table, uint16_t name_attr,
		    const char *name, struct batch_item item);

struct nft_element {
	struct set_ref ref;
	const uint8_t *record;
	bool add;
	const struct nft_labels *labels;
	int64_t now_ms;
	uint64_t timeout_ms; /* 0: by the record's lease and now_ms */
	size_t index;        /* operation, for faults */
};

/*
 * Elements one after another: those that follow each other in one set and direction share a message
 * unless `precise`, where each has its own so that the kernel's answer names it. False when the
 * element needs no message (a lease that has ended).
 */
struct nft_elements {
	struct batch *b;
	const char *table;
	bool destroy, precise;
	struct set_ref ref;
	bool add, started;
};
bool nft_put_element(struct nft_elements *list, const struct nft_element *e);

/*
 * One transaction: what head writes, elements [0, count) as element() gives them, what tail writes.
 * Deleting what is missing is no error. On failure `fault` says what the kernel refused.
 */
struct nft_send {
	void (*head)(void *user, struct batch *b); /* may be NULL */
	void (*tail)(void *user, struct batch *b); /* may be NULL */
	/* False: this one is not to be sent. */
	bool (*element)(void *user, size_t i, struct nft_element *ret);
	void *user;
	size_t count;
	const struct table *table; /* for names in faults; may be NULL */
};
int nft_send(struct nft *n, struct batch *b, const struct nft_send *s, struct nft_fault *fault,
	     struct err *err);
/* For transactions without elements. */
int nft_commit(struct nft *n, struct batch *b, const char *what, struct err *err);

/* --- reading --- */

struct nft_request {
	uint16_t type, flags; /* NLM_F_DUMP, or 0 for one object */
	uint8_t family;       /* 0: inet */
	const char *table;    /* NULL: all */
	uint16_t name_attr;   /* of name; 0: none */
	const char *name;
	void (*put)(struct nlmsghdr *h, void *user); /* more attributes; may be NULL */
	mnl_cb_t take;                               /* each answer */
	void *user;
};
/* -ENOENT when the object is not there; -EAGAIN when a dump was interrupted by a change. */
int nft_read(struct nft *n, const struct nft_request *r);
/* Attribute as it is, or NULL; top-level attributes of an nf_tables message. */
const struct nlattr *nft_attr(const struct nlmsghdr *h, uint16_t type);
const struct nlattr *nft_attr_nested(const struct nlattr *nest, uint16_t type);
uint32_t nft_attr_u32(const struct nlattr *a, uint32_t otherwise);
uint64_t nft_attr_u64(const struct nlattr *a, uint64_t otherwise);
/* "" when it is no string. */
const char *nft_attr_text(const struct nlattr *a);

/* Key bytes as the kernel has them in that set, and back. */
void nft_key_swap(enum set_kind kind, uint8_t *record);
