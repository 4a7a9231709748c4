/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A service: protocol and destination ports, or an ICMP echo. Grammar (DESIGN section 6):
 * `tcp|udp "/" (port | port-port | any)`, `icmp/echo`, `icmpv6/echo`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum service_kind {
	SERVICE_TCP,
	SERVICE_UDP,
	SERVICE_ICMP_ECHO,
	SERVICE_ICMPV6_ECHO,
	SERVICE_PROTOCOL, /* essentials of the kernel only: first is the IP protocol (ESP, GRE) */
};

/* Ports between two identities become one element each, so a range is bounded. */
#define SERVICE_RANGE_MAX 1024

struct service {
	uint8_t kind;         /* enum service_kind */
	uint16_t first, last; /* inclusive; any = 0..65535; 0..0 for echo */
};

#define SERVICE_TEXT_MAX 24

int service_parse(const char *text, struct service *ret); /* -EINVAL */
const char *service_format(char buf[SERVICE_TEXT_MAX], const struct service *s);
bool service_is_any(const struct service *s);
bool service_is_echo(const struct service *s);
bool service_covers(const struct service *outer, const struct service *inner);
bool service_overlaps(const struct service *a, const struct service *b);
int service_cmp(const struct service *a, const struct service *b);
uint8_t service_l4proto(const struct service *s);   /* IPPROTO_TCP, _UDP, _ICMP, _ICMPV6 */
uint8_t service_icmp_type(const struct service *s); /* 8 or 128 */
