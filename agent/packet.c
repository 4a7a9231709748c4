/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/packet.h"

#include "base/cursor.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define IP4_HEADER_LEN     20
#define IP4_MORE_FRAGMENTS 0x2000
#define IP4_OFFSET_MASK    0x1fff
#define IP6_OFFSET_MASK    0xfff8
#define IP6_MORE_FRAGMENTS 0x0001
#define TCP_WORDS_MIN      5
#define UDP_HEADER_LEN     8

#define ICMP4_ECHO_REPLY   0
#define ICMP4_ECHO_REQUEST 8
#define ICMP6_ECHO_REQUEST 128
#define ICMP6_ECHO_REPLY   129

static void take_addr(struct cursor *c, uint8_t family, struct addr *ret)
{
	size_t len = family == AF_INET ? 4 : 16;
	const uint8_t *bytes = cursor_bytes(c, len);

	ret->family = family;
	if (bytes != NULL)
		memcpy(ret->bytes, bytes, len);
}

/*
 * Cuts the cursor down to what the IP header calls the packet: bytes behind it (padding of the link
 * layer) are no header of it. A copy shorter than the packet stays as it is.
 */
static int limit(struct cursor *c, size_t want)
{
	if (c->left > want)
		c->left = want;
	return c->r;
}

static int parse_ip4(struct cursor *c, struct packet *p)
{
	size_t header_len = (size_t)(cursor_u8(c) & 0x0f) * 4;
	uint16_t total_len, fragment;

	cursor_skip(c, 1);
	total_len = cursor_be16(c);
	cursor_skip(c, 2);
	fragment = cursor_be16(c);
	p->hop_limit = cursor_u8(c);
	p->l4proto = cursor_u8(c);
	cursor_skip(c, 2);
	take_addr(c, AF_INET, &p->src);
	take_addr(c, AF_INET, &p->dst);
	if (c->r < 0 || header_len < IP4_HEADER_LEN || total_len < header_len)
		return -EBADMSG;

	/* A later fragment has no ports; conntrack reassembles, so none should ever come here. */
	if ((fragment & IP4_OFFSET_MASK) != 0)
		return -EBADMSG;
	p->fragment = (fragment & IP4_MORE_FRAGMENTS) != 0;
	cursor_skip(c, header_len - IP4_HEADER_LEN);
	return limit(c, total_len - header_len);
}

/* One extension header. Its length in bytes, or -EBADMSG. */
static int skip_extension(struct cursor *c, uint8_t type, struct packet *p)
{
	uint16_t fragment;
	size_t len;

	p->l4proto = cursor_u8(c);
	if (type == IPPROTO_FRAGMENT) {
		cursor_skip(c, 1);
		fragment = cursor_be16(c);
		cursor_skip(c, 4);
		if ((fragment & IP6_OFFSET_MASK) != 0)
			return -EBADMSG;
		p->fragment = p->fragment || (fragment & IP6_MORE_FRAGMENTS) != 0;
		return c->r < 0 ? -EBADMSG : 8;
	}

	len = cursor_u8(c);
	len = type == IPPROTO_AH ? (len + 2) * 4 : (len + 1) * 8;
	cursor_skip(c, len - 2);
	return c->r < 0 ? -EBADMSG : (int)len;
}

static bool is_extension(uint8_t type)
{
	return type == IPPROTO_HOPOPTS || type == IPPROTO_ROUTING || type == IPPROTO_FRAGMENT ||
	       type == IPPROTO_AH || type == IPPROTO_DSTOPTS;
}

static int parse_ip6(struct cursor *c, struct packet *p)
{
	size_t bytes = 0;
	uint16_t payload_len;
	int r;

	cursor_skip(c, 4);
	payload_len = cursor_be16(c);
	p->l4proto = cursor_u8(c);
	p->hop_limit = cursor_u8(c);
	take_addr(c, AF_INET6, &p->src);
	take_addr(c, AF_INET6, &p->dst);
	if (limit(c, payload_len) < 0)
		return -EBADMSG;

	for (unsigned n = 0; is_extension(p->l4proto); n++) {
		/* Hop-by-hop options may only come first (RFC 8200, section 4.1). */
		if (n == PACKET_EXTENSIONS_MAX || (n > 0 && p->l4proto == IPPROTO_HOPOPTS))
			return -EBADMSG;
		r = skip_extension(c, p->l4proto, p);
		if (r < 0)
			return r;
		bytes += (size_t)r;
		if (bytes > PACKET_EXTENSION_BYTES_MAX)
			return -EBADMSG;
	}
	return 0;
}

static int parse_tcp(struct cursor *c, struct packet *p)
{
	uint8_t words;

	p->sport = cursor_be16(c);
	p->dport = cursor_be16(c);
	p->tcp_seq = cursor_be32(c);
	cursor_skip(c, 4);
	words = cursor_u8(c) >> 4;
	p->tcp_flags = cursor_u8(c);
	cursor_skip(c, 6);
	return c->r < 0 || words < TCP_WORDS_MIN ? -EBADMSG : 0;
}

static int parse_udp(struct cursor *c, struct packet *p)
{
	uint16_t len;

	p->sport = cursor_be16(c);
	p->dport = cursor_be16(c);
	len = cursor_be16(c);
	cursor_skip(c, 2);
	return c->r < 0 || len < UDP_HEADER_LEN ? -EBADMSG : 0;
}

static bool is_echo(const struct packet *p)
{
	if (p->l4proto == IPPROTO_ICMP)
		return p->icmp_type == ICMP4_ECHO_REQUEST || p->icmp_type == ICMP4_ECHO_REPLY;
	return p->icmp_type == ICMP6_ECHO_REQUEST || p->icmp_type == ICMP6_ECHO_REPLY;
}

static int parse_icmp(struct cursor *c, struct packet *p)
{
	p->icmp_type = cursor_u8(c);
	cursor_skip(c, 3);
	if (c->r < 0)
		return -EBADMSG;
	if (!is_echo(p))
		return -EPROTONOSUPPORT;
	p->icmp_id = cursor_be16(c);
	cursor_skip(c, 2);
	return c->r < 0 ? -EBADMSG : 0;
}

static int parse_transport(struct cursor *c, struct packet *p)
{
	uint8_t icmp = p->src.family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6;

	if (p->l4proto == IPPROTO_TCP)
		return parse_tcp(c, p);
	if (p->l4proto == IPPROTO_UDP)
		return parse_udp(c, p);
	if (p->l4proto == icmp)
		return parse_icmp(c, p);
	return -EPROTONOSUPPORT;
}

int packet_parse(const void *bytes, size_t len, struct packet *ret_packet)
{
	struct packet p = {0};
	struct cursor c;
	uint8_t version;
	int r;

	if (len == 0)
		return -EBADMSG;
	version = *(const uint8_t *)bytes >> 4;
	cursor_init(&c, bytes, len);
	if (version == 4)
		r = parse_ip4(&c, &p);
	else if (version == 6)
		r = parse_ip6(&c, &p);
	else
		r = -EBADMSG;
	if (r == 0)
		r = parse_transport(&c, &p);
	if (r == 0 || r == -EPROTONOSUPPORT)
		*ret_packet = p;
	return r;
}

const char *packet_format(char buf[PACKET_TEXT_MAX], const struct packet *p)
{
	char src[ADDR_TEXT_MAX], dst[ADDR_TEXT_MAX];

	addr_format(src, &p->src);
	addr_format(dst, &p->dst);
	if (p->l4proto == IPPROTO_TCP || p->l4proto == IPPROTO_UDP)
		(void)snprintf(buf, PACKET_TEXT_MAX, "%s %s:%u > %s:%u",
			       p->l4proto == IPPROTO_TCP ? "tcp" : "udp", src, p->sport, dst,
			       p->dport);
	else
		(void)snprintf(buf, PACKET_TEXT_MAX, "protocol %u %s > %s", p->l4proto, src, dst);
	return buf;
}
