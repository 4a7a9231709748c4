/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/nft_table.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/text.h"

/*
 * Events of a transaction are its objects, then one NEWGEN with a number that rises by one
 * (net/netfilter/nf_tables_api.c, nf_tables_gen_notify). A gap, or ENOBUFS, means that events were
 * lost.
 */
/* Every element of a load comes back as an event: some 100 bytes, 250,000 in one transaction. */
#define MONITOR_BUFFER_BYTES (64 << 20)
#define READ_MAX             32768

struct nft_monitor {
	struct mnl_socket *socket;
	char table[32];
	uint32_t own_port;
	bool has_generation;
	uint32_t generation;
	/* The transaction being read. */
	bool touched, gone, foreign;
};

int nft_monitor_open(const struct nft *n, struct nft_monitor **ret, struct err *err)
{
	CLEANUP(nft_monitor_freep) struct nft_monitor *m = mem_calloc(1, sizeof(*m));
	int group = NFNLGRP_NFTABLES, size = MONITOR_BUFFER_BYTES;

	if (m == NULL)
		return err_set(err, ENOMEM, "out of memory");
	memcpy(m->table, n->table, sizeof(m->table));
	m->own_port = mnl_socket_get_portid(n->writer);
	m->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (m->socket == NULL || mnl_socket_bind(m->socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_setsockopt(m->socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		return err_set(err, errno, "listening for changes of nftables: %s",
			       strerror(errno));
	/* A smaller buffer only loses events sooner, and that is noticed. */
	(void)setsockopt(mnl_socket_get_fd(m->socket), SOL_SOCKET, SO_RCVBUFFORCE, &size,
			 sizeof(size));
	*ret = TAKE_PTR(m);
	return 0;
}

int nft_monitor_fd(const struct nft_monitor *m)
{
	return mnl_socket_get_fd(m->socket);
}

static void note_object(struct nft_monitor *m, const struct nlmsghdr *h, uint8_t type)
{
	const struct nfgenmsg *g = mnl_nlmsg_get_payload(h);

	m->foreign = true;
	/* The table's name is attribute 1 of every kind of object. */
	if (g->nfgen_family != NFPROTO_INET || !str_eq(nft_attr_text(nft_attr(h, 1)), m->table))
		return;
	m->touched = true;
	if (type == NFT_MSG_DELTABLE)
		m->gone = true;
	if (type == NFT_MSG_NEWTABLE)
		m->gone = false;
}

static void end_transaction(struct nft_monitor *m, const struct nlmsghdr *h,
			    void (*event)(void *user, const struct nft_event *e), void *user)
{
	uint32_t generation = nft_attr_u32(nft_attr(h, NFTA_GEN_ID), 0);
	bool own = h->nlmsg_pid == m->own_port;
	struct nft_event e = {.kind = NFT_EVENT_OTHER};

	e.pid = nft_attr_u32(nft_attr(h, NFTA_GEN_PROC_PID), 0);
	(void)snprintf(e.process, sizeof(e.process), "%s",
		       nft_attr_text(nft_attr(h, NFTA_GEN_PROC_NAME)));
	if (m->has_generation && generation != m->generation + 1)
		event(user, &(struct nft_event){.kind = NFT_EVENT_LOST});
	m->generation = generation;
	m->has_generation = true;
	if (m->touched)
		e.kind = m->gone ? NFT_EVENT_OURS_GONE : NFT_EVENT_OURS_CHANGED;
	if (m->foreign && !own)
		event(user, &e);
	m->touched = m->gone = m->foreign = false;
}

static void take_event(struct nft_monitor *m, const struct nlmsghdr *h,
		       void (*event)(void *user, const struct nft_event *e), void *user)
{
	uint8_t type = (uint8_t)NFNL_MSG_TYPE(h->nlmsg_type);

	if (NFNL_SUBSYS_ID(h->nlmsg_type) != NFNL_SUBSYS_NFTABLES ||
	    mnl_nlmsg_get_payload_len(h) < sizeof(struct nfgenmsg))
		return;
	if (type == NFT_MSG_NEWGEN)
		end_transaction(m, h, event, user);
	else if (h->nlmsg_pid != m->own_port)
		note_object(m, h, type);
}

int nft_monitor_read(struct nft_monitor *m, void (*event)(void *user, const struct nft_event *e),
		     void *user, struct err *err)
{
	_Alignas(struct nlmsghdr) char buf[READ_MAX];

	for (;;) {
		ssize_t n = recv(mnl_socket_get_fd(m->socket), buf, sizeof(buf), 0);
		const struct nlmsghdr *h = (const struct nlmsghdr *)buf;
		int left = (int)n;

		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ENOBUFS) {
			m->has_generation = false;
			event(user, &(struct nft_event){.kind = NFT_EVENT_LOST});
			continue;
		}
		if (n < 0)
			return err_set(err, errno, "reading changes of nftables: %s",
				       strerror(errno));
		for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left))
			take_event(m, h, event, user);
	}
}

void nft_monitor_free(struct nft_monitor *m)
{
	if (m == NULL)
		return;
	if (m->socket != NULL)
		(void)mnl_socket_close(m->socket);
	free(m);
}

void nft_monitor_freep(struct nft_monitor **m)
{
	nft_monitor_free(*m);
	*m = NULL;
}
