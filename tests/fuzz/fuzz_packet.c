/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Header chains: what is accepted lies within the bytes given and has everything it claims; and a
 * copy that was cut short is refused or is the same flow, never another one.
 */
#include "tests/fuzz/fuzz.h"

#include "agent/packet.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define PREFIXES 128

static void check_accepted(const struct packet *p, size_t size)
{
	char text[PACKET_TEXT_MAX];

	if (p->src.family != AF_INET && p->src.family != AF_INET6)
		abort();
	if (p->dst.family != p->src.family)
		abort();
	/* The smallest packet with ports or an echo. */
	if (size < (p->src.family == AF_INET ? 28U : 48U))
		abort();
	switch (p->l4proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
		break;
	case IPPROTO_ICMP:
		if (p->src.family != AF_INET || (p->icmp_type != 0 && p->icmp_type != 8))
			abort();
		break;
	case IPPROTO_ICMPV6:
		if (p->src.family != AF_INET6 || (p->icmp_type != 128 && p->icmp_type != 129))
			abort();
		break;
	default:
		abort();
	}
	if (strlen(packet_format(text, p)) >= sizeof(text))
		abort();
}

/* Each from a block of its own size, so that the first byte too many is seen. */
static void check_shorter(const uint8_t *data, size_t size, int r, const struct packet *whole)
{
	for (size_t len = size > PREFIXES ? size - PREFIXES : 0; len < size; len++) {
		uint8_t *copy = malloc(len ? len : 1);
		struct packet p = {0};
		int other;

		if (!copy)
			return;
		memcpy(copy, data, len);
		other = packet_parse(copy, len, &p);
		free(copy);
		if (other == 0 && (r != 0 || memcmp(&p, whole, sizeof(p)) != 0))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct packet untouched = {.dport = 0xabcd};
	struct packet p = untouched;
	int r = packet_parse(data, size, &p);

	if (r == 0)
		check_accepted(&p, size);
	else if (r == -EBADMSG && memcmp(&p, &untouched, sizeof(p)) != 0)
		abort();
	else if (r != -EBADMSG && r != -EPROTONOSUPPORT)
		abort();
	check_shorter(data, size, r, &p);
	return 0;
}
