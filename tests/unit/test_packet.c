/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/packet.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define PACKET_BYTES 1024

struct bytes {
	uint8_t data[PACKET_BYTES];
	size_t len;
};

static void put(struct bytes *b, const void *data, size_t len)
{
	memcpy(b->data + b->len, data, len);
	b->len += len;
}

static void put16(struct bytes *b, uint16_t v)
{
	put(b, (uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2);
}

static void put_ip4(struct bytes *b, uint8_t words, uint16_t total, uint16_t fragment,
		    uint8_t proto)
{
	put(b, (uint8_t[]){(uint8_t)(0x40 | words), 0}, 2);
	put16(b, total);
	put16(b, 0x1234);
	put16(b, fragment);
	put(b, (uint8_t[]){64, proto, 0, 0, 10, 0, 0, 5, 10, 0, 0, 9}, 12);
	for (unsigned i = 5; i < words; i++)
		put(b, (uint8_t[]){1, 1, 1, 0}, 4);
}

static void put_ip6(struct bytes *b, uint16_t payload, uint8_t next)
{
	static const uint8_t src[16] = {0xfd, [15] = 5}, dst[16] = {0xfd, [15] = 9};

	put(b, (uint8_t[]){0x60, 0, 0, 0}, 4);
	put16(b, payload);
	put(b, (uint8_t[]){next, 255}, 2);
	put(b, src, 16);
	put(b, dst, 16);
}

static void put_tcp(struct bytes *b, uint8_t words, uint8_t flags)
{
	put16(b, 40000);
	put16(b, 8443);
	put(b, (uint8_t[]){1, 2, 3, 4, 0, 0, 0, 0, (uint8_t)(words << 4), flags, 1, 0, 0, 0, 0, 0},
	    16);
}

static void put_udp(struct bytes *b, uint16_t len)
{
	put16(b, 40000);
	put16(b, 53);
	put16(b, len);
	put16(b, 0);
}

static struct bytes tcp4(void)
{
	struct bytes b = {0};

	put_ip4(&b, 5, 40, 0, IPPROTO_TCP);
	put_tcp(&b, 5, PACKET_TCP_SYN);
	return b;
}

/* Hop-by-hop, routing, destination options, fragment, AH, then TCP. */
static struct bytes tcp6_with_extensions(void)
{
	struct bytes b = {0};

	put_ip6(&b, 8 + 24 + 8 + 8 + 12 + 20, IPPROTO_HOPOPTS);
	put(&b, (uint8_t[8]){IPPROTO_ROUTING, 0}, 8);
	put(&b, (uint8_t[24]){IPPROTO_DSTOPTS, 2}, 24);
	put(&b, (uint8_t[8]){IPPROTO_FRAGMENT, 0}, 8);
	put(&b, (uint8_t[8]){IPPROTO_AH, 0, 0, 0}, 8);
	put(&b, (uint8_t[12]){IPPROTO_TCP, 1}, 12);
	put_tcp(&b, 5, PACKET_TCP_SYN | PACKET_TCP_ACK);
	return b;
}

static int parse(const struct bytes *b, struct packet *p)
{
	return packet_parse(b->data, b->len, p);
}

static bool accepts(const void *data, size_t len)
{
	struct packet p;

	return packet_parse(data, len, &p) == 0;
}

TEST(tcp_over_ipv4_is_read)
{
	struct bytes b = tcp4();
	struct packet p;
	char text[PACKET_TEXT_MAX];

	CHECK_INT(parse(&b, &p), 0);
	CHECK_INT(p.l4proto, IPPROTO_TCP);
	CHECK_INT(p.sport, 40000);
	CHECK_INT(p.dport, 8443);
	CHECK_INT(p.tcp_flags, PACKET_TCP_SYN);
	CHECK_UINT(p.tcp_seq, 0x01020304);
	CHECK_INT(p.hop_limit, 64);
	CHECK(!p.fragment);
	CHECK_STR(packet_format(text, &p), "tcp 10.0.0.5:40000 > 10.0.0.9:8443");
}

TEST(options_of_ipv4_are_skipped)
{
	struct bytes b = {0};
	struct packet p;

	put_ip4(&b, 15, 60 + 20, 0, IPPROTO_TCP);
	put_tcp(&b, 5, PACKET_TCP_SYN);
	CHECK_INT(parse(&b, &p), 0);
	CHECK_INT(p.dport, 8443);
}

TEST(extension_headers_of_ipv6_are_followed)
{
	struct bytes b = tcp6_with_extensions();
	struct packet p;

	CHECK_INT(parse(&b, &p), 0);
	CHECK_INT(p.l4proto, IPPROTO_TCP);
	CHECK_INT(p.dport, 8443);
	CHECK_INT(p.src.family, AF_INET6);
	CHECK_INT(p.dst.bytes[15], 9);
	CHECK_INT(p.tcp_flags, PACKET_TCP_SYN | PACKET_TCP_ACK);
}

TEST(udp_is_read)
{
	struct bytes b = {0};
	struct packet p;

	put_ip6(&b, 8, IPPROTO_UDP);
	put_udp(&b, 8);
	CHECK_INT(parse(&b, &p), 0);
	CHECK_INT(p.l4proto, IPPROTO_UDP);
	CHECK_INT(p.dport, 53);
}

TEST(echo_is_read_and_other_icmp_is_unsupported)
{
	static const struct {
		uint8_t version, type;
		int r;
	} cases[] = {
		{4, 8, 0},   {4, 0, 0},   {4, 3, -EPROTONOSUPPORT},   {4, 128, -EPROTONOSUPPORT},
		{6, 128, 0}, {6, 129, 0}, {6, 135, -EPROTONOSUPPORT}, {6, 8, -EPROTONOSUPPORT},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct bytes b = {0};
		struct packet p;

		if (cases[i].version == 4)
			put_ip4(&b, 5, 28, 0, IPPROTO_ICMP);
		else
			put_ip6(&b, 8, IPPROTO_ICMPV6);
		put(&b, (uint8_t[]){cases[i].type, 0, 0, 0, 0x12, 0x34, 0, 1}, 8);
		CHECK_INT(parse(&b, &p), cases[i].r);
		if (cases[i].r == 0)
			CHECK_UINT(p.icmp_id, 0x1234);
		CHECK_INT(p.icmp_type, cases[i].type);
	}
}

TEST(every_truncation_of_a_packet_is_refused)
{
	struct bytes simple = tcp4(), extended = tcp6_with_extensions();

	CHECK_TRUNCATIONS(simple.data, simple.len, accepts);
	CHECK_TRUNCATIONS(extended.data, extended.len, accepts);
}

TEST(a_copy_shorter_than_the_packet_is_enough)
{
	struct bytes b = {0};
	struct packet p;

	put_ip4(&b, 5, 1500, 0, IPPROTO_TCP);
	put_tcp(&b, 8, PACKET_TCP_SYN);
	CHECK_INT(parse(&b, &p), 0);
	CHECK_INT(p.dport, 8443);
}

TEST(bytes_behind_the_packet_are_no_header_of_it)
{
	struct bytes b = {0};
	struct packet p;

	put_ip4(&b, 5, 20, 0, IPPROTO_TCP);
	put_tcp(&b, 5, PACKET_TCP_SYN);
	CHECK_INT(parse(&b, &p), -EBADMSG);
	b.len = 0;
	put_ip6(&b, 19, IPPROTO_TCP);
	put_tcp(&b, 5, PACKET_TCP_SYN);
	CHECK_INT(parse(&b, &p), -EBADMSG);
}

TEST(fragments_without_ports_are_refused)
{
	struct bytes b = {0};
	struct packet p;

	put_ip4(&b, 5, 40, 1, IPPROTO_TCP);
	put_tcp(&b, 5, PACKET_TCP_SYN);
	CHECK_INT(parse(&b, &p), -EBADMSG);

	b.len = 0;
	put_ip6(&b, 8 + 20, IPPROTO_FRAGMENT);
	put(&b, (uint8_t[8]){IPPROTO_TCP, 0, 0, 8}, 8);
	put_tcp(&b, 5, PACKET_TCP_SYN);
	CHECK_INT(parse(&b, &p), -EBADMSG);
}

TEST(a_first_fragment_says_so)
{
	struct bytes b = {0};
	struct packet p;

	put_ip4(&b, 5, 40, 0x2000, IPPROTO_TCP);
	put_tcp(&b, 5, PACKET_TCP_SYN);
	CHECK_INT(parse(&b, &p), 0);
	CHECK(p.fragment);

	b.len = 0;
	put_ip6(&b, 8 + 20, IPPROTO_FRAGMENT);
	put(&b, (uint8_t[8]){IPPROTO_TCP, 0, 0, 1}, 8);
	put_tcp(&b, 5, PACKET_TCP_SYN);
	CHECK_INT(parse(&b, &p), 0);
	CHECK(p.fragment);
}

TEST(malformed_headers_are_refused)
{
	struct packet p;

	for (unsigned version = 0; version < 16; version++) {
		struct bytes b = tcp4();

		b.data[0] = (uint8_t)(version << 4 | 5);
		if (version != 4)
			CHECK_INT(parse(&b, &p), -EBADMSG);
	}
	for (unsigned words = 0; words < 5; words++) {
		struct bytes b = tcp4();

		b.data[0] = (uint8_t)(0x40 | words);
		CHECK_INT(parse(&b, &p), -EBADMSG);
		b = tcp4();
		b.data[32] = (uint8_t)(words << 4);
		CHECK_INT(parse(&b, &p), -EBADMSG);
	}
	CHECK_INT(packet_parse("", 0, &p), -EBADMSG);
}

TEST(a_packet_shorter_than_its_own_header_is_refused)
{
	for (uint8_t total = 0; total < 20; total++) {
		struct bytes b = tcp4();
		struct packet p;

		b.data[3] = total;
		CHECK_INT(parse(&b, &p), -EBADMSG);
	}
}

TEST(a_udp_length_below_its_header_is_refused)
{
	for (uint16_t len = 0; len < 8; len++) {
		struct bytes b = {0};
		struct packet p;

		put_ip4(&b, 5, 28, 0, IPPROTO_UDP);
		put_udp(&b, len);
		CHECK_INT(parse(&b, &p), -EBADMSG);
	}
}

TEST(a_chain_of_extension_headers_is_bounded)
{
	struct bytes b = {0};
	struct packet p;

	put_ip6(&b, (PACKET_EXTENSIONS_MAX + 1) * 8 + 20, IPPROTO_DSTOPTS);
	for (unsigned i = 0; i < PACKET_EXTENSIONS_MAX; i++)
		put(&b, (uint8_t[8]){IPPROTO_DSTOPTS, 0}, 8);
	put(&b, (uint8_t[8]){IPPROTO_TCP, 0}, 8);
	put_tcp(&b, 5, PACKET_TCP_SYN);
	CHECK_INT(parse(&b, &p), -EBADMSG);

	/* One less is accepted, as long as the sum of their bytes is. */
	b.len = 0;
	put_ip6(&b, PACKET_EXTENSIONS_MAX * 8 + 20, IPPROTO_DSTOPTS);
	for (unsigned i = 1; i < PACKET_EXTENSIONS_MAX; i++)
		put(&b, (uint8_t[8]){IPPROTO_DSTOPTS, 0}, 8);
	put(&b, (uint8_t[8]){IPPROTO_TCP, 0}, 8);
	put_tcp(&b, 5, PACKET_TCP_SYN);
	CHECK_INT(parse(&b, &p), 0);
}

TEST(extension_headers_above_their_bytes_are_refused)
{
	struct bytes b = {0};
	struct packet p;

	put_ip6(&b, PACKET_EXTENSION_BYTES_MAX + 8 + 20, IPPROTO_DSTOPTS);
	put(&b,
	    (uint8_t[PACKET_EXTENSION_BYTES_MAX + 8]){IPPROTO_TCP, PACKET_EXTENSION_BYTES_MAX / 8},
	    PACKET_EXTENSION_BYTES_MAX + 8);
	put_tcp(&b, 5, PACKET_TCP_SYN);
	CHECK_INT(parse(&b, &p), -EBADMSG);
}

TEST(hop_by_hop_options_come_first_or_never)
{
	struct bytes b = {0};
	struct packet p;

	put_ip6(&b, 8 + 8 + 20, IPPROTO_DSTOPTS);
	put(&b, (uint8_t[8]){IPPROTO_HOPOPTS, 0}, 8);
	put(&b, (uint8_t[8]){IPPROTO_TCP, 0}, 8);
	put_tcp(&b, 5, PACKET_TCP_SYN);
	CHECK_INT(parse(&b, &p), -EBADMSG);
}

TEST(other_protocols_are_unsupported_and_named)
{
	static const uint8_t protocols[] = {IPPROTO_SCTP,   IPPROTO_GRE,     IPPROTO_ESP,
					    IPPROTO_ICMPV6, IPPROTO_UDPLITE, 255};

	for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
		struct bytes b = {0};
		struct packet p = {0};

		put_ip4(&b, 5, 40, 0, protocols[i]);
		put_tcp(&b, 5, PACKET_TCP_SYN);
		CHECK_INT(parse(&b, &p), -EPROTONOSUPPORT);
		CHECK_INT(p.l4proto, protocols[i]);
		CHECK_INT(p.src.family, AF_INET);
	}
}

TEST(a_refused_packet_leaves_the_result_alone)
{
	struct bytes b = tcp4();
	struct packet p = {.dport = 7};

	b.data[0] = 0x44;
	CHECK_INT(parse(&b, &p), -EBADMSG);
	CHECK_INT(p.dport, 7);
}
