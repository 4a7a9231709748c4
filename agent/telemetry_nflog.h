/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * NFLOG reader (net/netfilter/nfnetlink_log.c, libnetfilter_log): packets that the table's log
 * statements copy to a group of this network namespace. A group nobody reads loses its packets and
 * nothing else: no verdict depends on it.
 */
#pragma once

#include "base/err.h"

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#define NFLOG_PREFIX_MAX 64
#define NFLOG_COPY_RANGE 128 /* the rules copy less */

struct nflog_packet {
	char prefix[NFLOG_PREFIX_MAX];
	uint8_t hook;  /* NF_INET_* */
	uint32_t mark; /* packet mark, 0 = none */
	/*
	 * Of the flow while it was being judged: whose it is. Kept by the message alone where the
	 * socket is gone and the flow passed without a mark. 0 = none.
	 */
	uint32_t ct_mark;
	uint32_t ifindex_in, ifindex_out;
	bool has_uid, has_seq;
	uint32_t uid, seq;
	const void *payload; /* from the network header on; in the message */
	size_t len;
};

/* -EBADMSG when something that every message has is missing or too short. */
int nflog_message_parse(const struct nlmsghdr *h, struct nflog_packet *ret);

struct nflog_reader;

/* -EBUSY when another program of this network namespace reads the group. */
int nflog_reader_open(uint16_t group, sd_event *event,
		      void (*packet)(void *user, const struct nflog_packet *p), void *user,
		      struct nflog_reader **ret, struct err *err);
void nflog_reader_free(struct nflog_reader *n);
/* Whether packets come with the mark of their flow; the kernel's glue is that of NFQA_CT, too. */
bool nflog_reader_carries_flows(const struct nflog_reader *n);
/* Packets that the kernel could not hand over: gaps in its numbering. */
uint64_t nflog_reader_lost(const struct nflog_reader *n);
