/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/addr.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

size_t addr_len(const struct addr *a)
{
	return a->family == AF_INET6 ? sizeof(struct in6_addr) : sizeof(struct in_addr);
}

static bool is_v4_mapped(const struct addr *a)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(a->bytes, mapped, sizeof(mapped)) == 0;
}

int addr_parse(const char *text, struct addr *ret)
{
	struct addr a = {0};

	if (text == NULL)
		return -EINVAL;
	a.family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
	if (inet_pton(a.family, text, a.bytes) != 1)
		return -EINVAL;
	if (a.family == AF_INET6 && is_v4_mapped(&a))
		return -EINVAL;
	*ret = a;
	return 0;
}

const char *addr_format(char buf[ADDR_TEXT_MAX], const struct addr *a)
{
	if (a->family == 0 || inet_ntop(a->family, a->bytes, buf, ADDR_TEXT_MAX) == NULL)
		(void)snprintf(buf, ADDR_TEXT_MAX, "-");
	return buf;
}

int addr_cmp(const struct addr *a, const struct addr *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return memcmp(a->bytes, b->bytes, addr_len(a));
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
	return addr_cmp(a, b) == 0;
}

bool addr_is_loopback(const struct addr *a)
{
	static const uint8_t v6_loopback[16] = {[15] = 1};

	if (a->family == AF_INET)
		return a->bytes[0] == 127;
	return a->family == AF_INET6 && memcmp(a->bytes, v6_loopback, sizeof(v6_loopback)) == 0;
}

bool addr_is_multicast_or_broadcast(const struct addr *a)
{
	static const uint8_t broadcast[4] = {0xff, 0xff, 0xff, 0xff};

	if (a->family == AF_INET)
		return (a->bytes[0] & 0xf0) == 0xe0 ||
		       memcmp(a->bytes, broadcast, sizeof(broadcast)) == 0;
	return a->family == AF_INET6 && a->bytes[0] == 0xff;
}

/* Mask of the bits of byte i that belong to the network. */
static uint8_t byte_mask(unsigned len, size_t i)
{
	size_t bit = i * 8;

	if (len >= bit + 8)
		return 0xff;
	if (len <= bit)
		return 0;
	return (uint8_t)(0xff << (8 - (len - bit)));
}

int prefix_parse(const char *text, struct prefix *ret)
{
	char copy[PREFIX_TEXT_MAX];
	struct prefix p = {0};
	uint32_t len;
	char *slash;
	int r;

	if (text == NULL || strnlen(text, sizeof(copy)) >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, strlen(text) + 1);
	slash = strchr(copy, '/');
	if (slash != NULL)
		*slash++ = '\0';
	r = addr_parse(copy, &p.addr);
	if (r < 0)
		return r;
	len = (uint32_t)addr_len(&p.addr) * 8;
	if (slash != NULL && text_u32(slash, 0, len, &len) < 0)
		return -EINVAL;
	p.len = (uint8_t)len;

	for (size_t i = 0; i < addr_len(&p.addr); i++) {
		if ((p.addr.bytes[i] & ~byte_mask(p.len, i)) != 0)
			return -EINVAL;
	}
	*ret = p;
	return 0;
}

const char *prefix_format(char buf[PREFIX_TEXT_MAX], const struct prefix *p)
{
	char text[ADDR_TEXT_MAX];

	(void)snprintf(buf, PREFIX_TEXT_MAX, "%s/%u", addr_format(text, &p->addr), p->len);
	return buf;
}

bool prefix_contains(const struct prefix *p, const struct addr *a)
{
	if (p->addr.family != a->family)
		return false;
	for (size_t i = 0; i < addr_len(a); i++) {
		if (((p->addr.bytes[i] ^ a->bytes[i]) & byte_mask(p->len, i)) != 0)
			return false;
	}
	return true;
}

bool prefix_covers(const struct prefix *outer, const struct prefix *inner)
{
	return outer->len <= inner->len && prefix_contains(outer, &inner->addr);
}

void prefix_range(const struct prefix *p, struct addr *ret_first, struct addr *ret_last)
{
	*ret_first = p->addr;
	*ret_last = p->addr;
	for (size_t i = 0; i < addr_len(&p->addr); i++)
		ret_last->bytes[i] |= (uint8_t)~byte_mask(p->len, i);
}
