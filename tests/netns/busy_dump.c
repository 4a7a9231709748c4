/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A machine whose processors are others' just then, for LD_PRELOAD: when the flow table has been
 * asked for, a fifth of a second goes by.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <time.h>

#include <libmnl/libmnl.h>

#define GET_FLOWS ((NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET)

ssize_t mnl_socket_sendto(const struct mnl_socket *s, const void *request, size_t len)
{
	ssize_t (*next)(const struct mnl_socket *, const void *, size_t) =
		(ssize_t(*)(const struct mnl_socket *, const void *, size_t))dlsym(
			RTLD_NEXT, "mnl_socket_sendto");
	const struct nlmsghdr *h = request;
	ssize_t r = next(s, request, len); /* the kernel has begun to fill the answer */

	if (len >= sizeof(*h) && h->nlmsg_type == GET_FLOWS && (h->nlmsg_flags & NLM_F_DUMP))
		(void)nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
	return r;
}
