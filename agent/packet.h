/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Headers of a queued packet, read from a bounded and possibly truncated copy (RFC 791, 8200, 4302,
 * 9293, 768, 792, 4443). Pure; every byte comes from outside.
 *
 * A packet that cannot be read to its ports is an error, and the caller drops it: nothing here
 * guesses, so that no header chain can make the agent judge another flow than the kernel sees.
 */
#pragma once

#include "base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACKET_EXTENSIONS_MAX      8   /* IPv6 extension headers that are followed */
#define PACKET_EXTENSION_BYTES_MAX 512 /* and their sum */

#define PACKET_TCP_FIN 0x01
#define PACKET_TCP_SYN 0x02
#define PACKET_TCP_RST 0x04
#define PACKET_TCP_ACK 0x10

struct packet {
	struct addr src, dst;
	uint8_t l4proto; /* behind all extension headers */
	uint8_t hop_limit;
	uint16_t sport, dport; /* TCP, UDP */
	uint8_t tcp_flags;
	uint32_t tcp_seq;
	uint8_t icmp_type; /* IPPROTO_ICMP, IPPROTO_ICMPV6 */
	uint16_t icmp_id;  /* of an echo request or reply */
	bool fragment;     /* first fragment of several; later ones are errors (no ports) */
};

/*
 * len bytes of an IP packet, the first of the network header. Returns 0; -EBADMSG when a header is
 * malformed or cut short; -EPROTONOSUPPORT for a transport protocol without ports or echo
 * (ret_packet then holds addresses and l4proto: the only case where it is written on failure).
 */
int packet_parse(const void *bytes, size_t len, struct packet *ret_packet);

/* "tcp 10.0.0.5:40000 > 10.0.0.9:8443" for messages. */
#define PACKET_TEXT_MAX 160
const char *packet_format(char buf[PACKET_TEXT_MAX], const struct packet *p);
