/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The kernel's flow table as the agent needs it (libnetfilter_conntrack): what flows there are and
 * what their marks say, marking at adoption (R22), deleting an entry at resync (R1), NEW events as
 * the source of "allowed" decisions (R57). Works in the network namespace of the opening thread.
 */
#pragma once

#include "base/addr.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct conntrack;

#define CT_STATE_MAX 16

/* Original direction as conntrack has it: it may be reversed for flows older than conntrack. */
struct ct_flow {
	struct addr src, dst;  /* before NAT; reply_* is what answers come from and to */
	uint16_t sport, dport; /* icmp: id, and type in icmp_type */
	struct addr reply_src, reply_dst;
	uint16_t reply_sport, reply_dport;
	uint8_t l4proto, icmp_type;
	uint32_t mark;
	bool seen_reply, assured;
	uint64_t packets, bytes;  /* both directions; 0 where nf_conntrack_acct is off */
	char state[CT_STATE_MAX]; /* "ESTABLISHED", "" for datagrams */
};

int conntrack_open(struct conntrack **ret, struct err *err);
void conntrack_free(struct conntrack *c);
void conntrack_freep(struct conntrack **c);

/* Every entry of both families. The callback returns 0 to go on. */
int conntrack_dump(struct conntrack *c, int (*flow)(void *user, const struct ct_flow *f),
		   void *user, struct err *err);
/* The entry that this tuple is a direction of. -ENOENT when there is none. */
int conntrack_find(struct conntrack *c, const struct ct_flow *tuple, struct ct_flow *ret,
		   struct err *err);
int conntrack_set_mark(struct conntrack *c, const struct ct_flow *tuple, uint32_t mark,
		       struct err *err);
int conntrack_delete(struct conntrack *c, const struct ct_flow *tuple, struct err *err);

struct ct_usage {
	uint64_t used, max;
};
int conntrack_usage(struct ct_usage *ret);

/*
 * NEW events, on a socket of its own. Lost events (ENOBUFS) are counted, not hidden. At most `rate`
 * callbacks a second; the rest is counted in skipped: one by one up to five times the rate, above
 * that by samples, for listening has its price in the kernel.
 */
struct ct_event_counters {
	uint64_t seen, skipped, lost;
};
int conntrack_listen(struct conntrack *c, sd_event *event, uint32_t rate,
		     void (*flow)(void *user, const struct ct_flow *f), void *user,
		     struct err *err);
const struct ct_event_counters *conntrack_event_counters(const struct conntrack *c);
