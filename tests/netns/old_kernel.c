/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A kernel without NFT_TABLE_F_PERSIST (before 6.9), for LD_PRELOAD: the flag is changed on its way
 * into one that no kernel knows, which is refused as the real one would be (nf_tables_newtable()).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <arpa/inet.h>

#define FLAG_PERSIST 0x4U
#define FLAG_UNKNOWN 0x80U
#define NEWTABLE     ((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_NEWTABLE)

static void spoil_table(unsigned char *message, uint32_t len)
{
	uint32_t at = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct nfgenmsg)), flags;
	struct nlattr a;

	for (; at + sizeof(a) <= len; at += NLA_ALIGN(a.nla_len)) {
		memcpy(&a, message + at, sizeof(a));
		if (a.nla_len < sizeof(a))
			return;
		if ((a.nla_type & NLA_TYPE_MASK) != NFTA_TABLE_FLAGS)
			continue;
		memcpy(&flags, message + at + NLA_HDRLEN, sizeof(flags));
		if (ntohl(flags) & FLAG_PERSIST)
			flags = htonl(FLAG_UNKNOWN);
		memcpy(message + at + NLA_HDRLEN, &flags, sizeof(flags));
	}
}

static void spoil(unsigned char *bytes, size_t len)
{
	struct nlmsghdr h;

	for (size_t at = 0; at + sizeof(h) <= len; at += NLMSG_ALIGN(h.nlmsg_len)) {
		memcpy(&h, bytes + at, sizeof(h));
		if (h.nlmsg_len < sizeof(h) || at + h.nlmsg_len > len)
			return;
		if (h.nlmsg_type == NEWTABLE)
			spoil_table(bytes + at, h.nlmsg_len);
	}
}

static int is_netlink(int fd)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);

	return getsockname(fd, (struct sockaddr *)&a, &len) == 0 && a.ss_family == AF_NETLINK;
}

ssize_t sendto(int fd, const void *bytes, size_t len, int flags, const struct sockaddr *to,
	       socklen_t to_len)
{
	ssize_t (*next)(int, const void *, size_t, int, const struct sockaddr *, socklen_t) =
		(ssize_t(*)(int, const void *, size_t, int, const struct sockaddr *,
			    socklen_t))dlsym(RTLD_NEXT, "sendto");

	if (is_netlink(fd))
		spoil((unsigned char *)(uintptr_t)bytes, len);
	return next(fd, bytes, len, flags, to, to_len);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	ssize_t (*next)(int, const struct msghdr *, int) =
		(ssize_t(*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");

	for (size_t i = 0; is_netlink(fd) && i < m->msg_iovlen; i++)
		spoil(m->msg_iov[i].iov_base, m->msg_iov[i].iov_len);
	return next(fd, m, flags);
}
