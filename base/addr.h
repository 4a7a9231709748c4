/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * IP addresses and prefixes. IPv4 and IPv6 are kept apart: ::ffff:a.b.c.d is refused on input,
 * because the kernel's tables would never see it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct addr {
	uint8_t family;    /* AF_INET or AF_INET6, 0 = none */
	uint8_t bytes[16]; /* network order; IPv4 uses the first four */
};

struct prefix {
	struct addr addr; /* host bits zero */
	uint8_t len;
};

#define ADDR_TEXT_MAX   48
#define PREFIX_TEXT_MAX 56

size_t addr_len(const struct addr *a);              /* 4 or 16 */
int addr_parse(const char *text, struct addr *ret); /* -EINVAL */
const char *addr_format(char buf[ADDR_TEXT_MAX], const struct addr *a);
int addr_cmp(const struct addr *a, const struct addr *b); /* total order: family, then bytes */
bool addr_eq(const struct addr *a, const struct addr *b);
bool addr_is_loopback(const struct addr *a);
bool addr_is_multicast_or_broadcast(const struct addr *a); /* 224/4, 255.255.255.255, ff00::/8 */

/* "10.0.0.0/8", or an address (full length). Host bits must be zero: -EINVAL. */
int prefix_parse(const char *text, struct prefix *ret);
const char *prefix_format(char buf[PREFIX_TEXT_MAX], const struct prefix *p);
bool prefix_contains(const struct prefix *p, const struct addr *a);
bool prefix_covers(const struct prefix *outer, const struct prefix *inner);
void prefix_range(const struct prefix *p, struct addr *ret_first, struct addr *ret_last);
