/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/service.h"

#include "base/text.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define PORT_MAX         65535
#define PORT_DIGITS_MAX  5
#define ICMP_ECHO_TYPE   8   /* RFC 792 */
#define ICMPV6_ECHO_TYPE 128 /* RFC 4443 section 4.1 */

static int port_parse(const char *text, size_t len, uint16_t *ret)
{
	char digits[PORT_DIGITS_MAX + 1];
	uint32_t port = 0;

	if (len == 0 || len > PORT_DIGITS_MAX)
		return -EINVAL;
	memcpy(digits, text, len);
	digits[len] = '\0';
	if (text_u32(digits, 1, PORT_MAX, &port) < 0)
		return -EINVAL;
	*ret = (uint16_t)port;
	return 0;
}

static int ports_parse(const char *text, struct service *s)
{
	const char *dash = strchr(text, '-');
	size_t len = strlen(text);

	if (str_eq(text, "any")) {
		s->first = 0;
		s->last = PORT_MAX;
		return 0;
	}
	if (!dash) {
		if (port_parse(text, len, &s->first) < 0)
			return -EINVAL;
		s->last = s->first;
		return 0;
	}
	if (port_parse(text, (size_t)(dash - text), &s->first) < 0 ||
	    port_parse(dash + 1, strlen(dash + 1), &s->last) < 0)
		return -EINVAL;
	return s->first < s->last ? 0 : -EINVAL;
}

int service_parse(const char *text, struct service *ret)
{
	struct service s = {0};

	if (str_eq(text, "icmp/echo")) {
		s.kind = SERVICE_ICMP_ECHO;
	} else if (str_eq(text, "icmpv6/echo")) {
		s.kind = SERVICE_ICMPV6_ECHO;
	} else if (str_starts(text, "tcp/") || str_starts(text, "udp/")) {
		s.kind = text[0] == 't' ? SERVICE_TCP : SERVICE_UDP;
		if (ports_parse(text + strlen("tcp/"), &s) < 0)
			return -EINVAL;
	} else {
		return -EINVAL;
	}
	*ret = s;
	return 0;
}

const char *service_format(char buf[SERVICE_TEXT_MAX], const struct service *s)
{
	const char *proto = s->kind == SERVICE_TCP ? "tcp" : "udp";

	if (service_is_echo(s))
		(void)snprintf(buf, SERVICE_TEXT_MAX, "%s/echo",
			       s->kind == SERVICE_ICMP_ECHO ? "icmp" : "icmpv6");
	else if (s->kind == SERVICE_PROTOCOL)
		(void)snprintf(buf, SERVICE_TEXT_MAX, "proto/%u", s->first);
	else if (service_is_any(s))
		(void)snprintf(buf, SERVICE_TEXT_MAX, "%s/any", proto);
	else if (s->first == s->last)
		(void)snprintf(buf, SERVICE_TEXT_MAX, "%s/%u", proto, s->first);
	else
		(void)snprintf(buf, SERVICE_TEXT_MAX, "%s/%u-%u", proto, s->first, s->last);
	return buf;
}

bool service_is_any(const struct service *s)
{
	return !service_is_echo(s) && s->first == 0 && s->last == PORT_MAX;
}

bool service_is_echo(const struct service *s)
{
	return s->kind == SERVICE_ICMP_ECHO || s->kind == SERVICE_ICMPV6_ECHO;
}

bool service_covers(const struct service *outer, const struct service *inner)
{
	return outer->kind == inner->kind && outer->first <= inner->first &&
	       inner->last <= outer->last;
}

bool service_overlaps(const struct service *a, const struct service *b)
{
	return a->kind == b->kind && a->first <= b->last && b->first <= a->last;
}

int service_cmp(const struct service *a, const struct service *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->first != b->first)
		return a->first < b->first ? -1 : 1;
	if (a->last != b->last)
		return a->last < b->last ? -1 : 1;
	return 0;
}

uint8_t service_l4proto(const struct service *s)
{
	static const uint8_t proto[] = {
		[SERVICE_TCP] = IPPROTO_TCP,
		[SERVICE_UDP] = IPPROTO_UDP,
		[SERVICE_ICMP_ECHO] = IPPROTO_ICMP,
		[SERVICE_ICMPV6_ECHO] = IPPROTO_ICMPV6,
	};

	if (s->kind == SERVICE_PROTOCOL)
		return (uint8_t)s->first;
	return s->kind < sizeof(proto) ? proto[s->kind] : 0;
}

uint8_t service_icmp_type(const struct service *s)
{
	if (s->kind == SERVICE_ICMP_ECHO)
		return ICMP_ECHO_TYPE;
	return s->kind == SERVICE_ICMPV6_ECHO ? ICMPV6_ECHO_TYPE : 0;
}
