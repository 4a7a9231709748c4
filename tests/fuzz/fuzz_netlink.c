/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Messages of the kernel's flow table and log: whatever they claim, nothing behind them is read. */
#include "tests/fuzz/fuzz.h"

#include "agent/conntrack_message.h"
#include "agent/telemetry_explain.h"
#include "agent/telemetry_nflog.h"

#include <libmnl/libmnl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void check_flow(const struct nlmsghdr *h)
{
	struct ct_flow f;

	if (ct_message_parse(h, &f) < 0)
		return;
	if (f.src.family != f.dst.family || f.src.family != f.reply_src.family ||
	    (f.src.family != AF_INET && f.src.family != AF_INET6))
		abort();
	if (memchr(f.state, '\0', sizeof(f.state)) == NULL)
		abort();
}

static void check_log(const struct nlmsghdr *h)
{
	const char *end = (const char *)h + h->nlmsg_len;
	struct nflog_packet p;
	struct logged l;

	if (nflog_message_parse(h, &p) < 0)
		return;
	if ((const char *)p.payload < (const char *)h || (const char *)p.payload + p.len > end ||
	    memchr(p.prefix, '\0', sizeof(p.prefix)) == NULL)
		abort();
	(void)logged_parse(&p, &l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nlmsghdr *h;

	if (size < sizeof(*h))
		return 0;
	/* Exactly as long as it says: a sanitizer sees the first byte too many. */
	h = malloc(size);
	if (h == NULL)
		return 0;
	memcpy(h, data, size);
	h->nlmsg_len = (uint32_t)size;
	check_flow(h);
	check_log(h);
	free(h);
	return 0;
}
