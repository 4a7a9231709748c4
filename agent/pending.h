/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packets that wait for an answer about their flow: a bounded table keyed by hook, tuple and
 * initial sequence number. Further datagrams of a flow join the entry that is there, and whoever
 * has the same SYN again finds it, so that one flow is one question. Deadlines are in a heap; one
 * far address holds at most so many entries, so that a single host cannot fill the table, and no
 * more than are free in a table of four shares or more, so that a few hosts cannot.
 *
 * Pure: time is the caller's. Everything is allocated when the table is made. An entry's address is
 * valid until pending_remove(); who removes it gives its packets their verdicts.
 */
#pragma once

#include "base/addr.h"
#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PENDING_PACKETS_MAX 8 /* of one entry; more of them are the caller's to refuse */

struct pending;

/* As the packet says: src is whoever opens the flow. */
struct pending_key {
	struct addr src, dst;
	uint16_t sport, dport;
	uint32_t isn; /* 0 for datagrams */
	uint8_t l4proto;
	uint8_t hook; /* NF_INET_LOCAL_IN: src is the far end; NF_INET_LOCAL_OUT: dst is */
};

struct pending_packet {
	uint16_t queue;
	uint32_t id;
};

struct pending_entry {
	struct pending_key key;
	struct pending_packet packets[PENDING_PACKETS_MAX];
	uint8_t packet_count;
	struct mono since, deadline;
	uint32_t place[4]; /* the table's own: chains and heap */
};

enum pending_result {
	PENDING_NEW,
	PENDING_JOINED,
	PENDING_FULL,        /* no entry is free */
	PENDING_SOURCE_FULL, /* the far address holds its share */
	PENDING_PACKETS_FULL /* the flow has as many packets here as it may */
};

/* NULL: out of memory, or a limit of 0. */
struct pending *pending_new(uint32_t max, uint32_t per_source_max);
void pending_free(struct pending *t);
void pending_freep(struct pending **t);

/* NEW and JOINED give the entry; the other results leave everything as it was. */
enum pending_result pending_add(struct pending *t, const struct pending_key *key,
				struct pending_packet packet, struct mono now, struct mono deadline,
				struct pending_entry **ret_entry);
struct pending_entry *pending_find(const struct pending *t, const struct pending_key *key);
void pending_remove(struct pending *t, struct pending_entry *entry);

/* The entry that ends first; NULL when there is none. */
struct pending_entry *pending_first(const struct pending *t);
/* The entry that ends first, if its deadline has come. */
struct pending_entry *pending_due(const struct pending *t, struct mono now);

/* 0 .. max-1, the same for as long as the entry lives: a place beside it for the caller's own. */
uint32_t pending_index(const struct pending *t, const struct pending_entry *entry);
uint32_t pending_count(const struct pending *t);
uint32_t pending_max(const struct pending *t);
uint32_t pending_of_source(const struct pending *t, const struct addr *far);
