/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Messages of nfnetlink_conntrack (net/netfilter/nf_conntrack_netlink.c) as plain values;
 * requests are built by libnetfilter_conntrack. Pure: no socket, so that it can be tested and
 * fuzzed.
 */
#pragma once

#include "agent/conntrack.h"

#include <libmnl/libmnl.h>

#define CT_MESSAGE_MAX 512

/*
 * The entry that a message of the kernel describes. -EBADMSG when it has no tuples or when an
 * attribute is too short; -EAFNOSUPPORT for families other than IP.
 */
int ct_message_parse(const struct nlmsghdr *h, struct ct_flow *ret);

/*
 * A request about the entry that `tuple` is a direction of, or about all (NULL); buf has
 * CT_MESSAGE_MAX bytes. -ENOMEM; -EAFNOSUPPORT when the tuple's addresses are not of one IP family.
 */
int ct_message_request(void *buf, uint16_t type, uint16_t flags, uint32_t seq,
		       const struct ct_flow *tuple, struct nlmsghdr **ret);
