/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One nf_tables transaction as bytes (net/netfilter/nfnetlink.c, nfnetlink_rcv_batch): begin,
 * messages, end, sent by one sendmsg and judged as a whole. Inside of agent/nft*.c.
 *
 * Elements are written as attributes here and not through libnftnl's objects: a set of 100,000
 * elements would otherwise live three times in memory. Rules and expressions use libnftnl.
 */
#pragma once

#include "base/err.h"

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a message is about, so that the kernel's answer can be told in words. */
struct batch_item {
	uint32_t seq;
	uint8_t kind;        /* enum batch_kind */
	bool may_be_missing; /* -ENOENT is as good as success */
	size_t index;        /* meaning depends on kind: first operation, chain, rule, set */
	size_t count;
};

enum batch_kind { BATCH_OTHER, BATCH_SET, BATCH_CHAIN, BATCH_RULE, BATCH_ELEMENTS };

struct batch {
	uint8_t *bytes;
	size_t len, cap;
	struct nlmsghdr *open; /* message being written: inside bytes + len */
	struct nlattr *list;   /* its list of elements */
	uint32_t seq;
	struct batch_item *items;
	size_t item_count, item_cap;
	int r; /* sticky: 0, -ENOMEM or -E2BIG */
};

#define BATCH_BYTES_MAX (512U << 20)
#define BATCH_ITEMS_MAX 4194304
/* Room for one message; an attribute is at most 65,535 bytes. */
#define BATCH_MESSAGE_MAX (96U << 10)
#define BATCH_LIST_MAX    60000

void batch_init(struct batch *b);
void batch_done(struct batch *b);
void batch_begin(struct batch *b); /* starts anew, memory is kept */
/* Header of an nf_tables message of family inet, or NULL after an error. Write attributes to it. */
struct nlmsghdr *batch_message(struct batch *b, uint16_t type, uint16_t flags,
			       struct batch_item item);
void batch_end(struct batch *b);
bool batch_is_empty(const struct batch *b); /* no message between begin and end */

/* First failing message of a transaction that was refused. */
struct batch_fault {
	int error;                     /* positive errno */
	const struct batch_item *item; /* NULL: the transaction as a whole */
	char text[128];                /* the kernel's words, or "" */
};

/*
 * Sends and reads all answers; the kernel has judged the batch when sendmsg returns. 0, or -errno
 * with *ret_fault filled. With `errors` every failing item is reported, in order.
 */
struct batch_errors {
	void (*error)(void *user, const struct batch_item *item, int error);
	void *user;
};
int batch_send(struct mnl_socket *s, const struct batch *b, const struct batch_errors *errors,
	       struct batch_fault *ret_fault);

/* Attributes in network order. */
void attr_be32(struct nlmsghdr *h, uint16_t type, uint32_t v);
void attr_be64(struct nlmsghdr *h, uint16_t type, uint64_t v);
