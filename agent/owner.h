/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which socket owns a flow: exact questions and dumps by sock_diag (net/ipv4/inet_diag.c,
 * net/ipv4/udp_diag.c), about 3 us each, no procfs. The network namespace is that of the thread
 * that called owner_open().
 *
 * The cgroup and the uid are those of the socket, that is of its creator. A socket that is not
 * found or has no inode any more (orphan, TIME_WAIT) has no owner: the caller denies.
 */
#pragma once

#include "base/addr.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct owner; /* an open NETLINK_SOCK_DIAG socket */

struct socket_tuple {
	uint8_t l4proto;           /* IPPROTO_TCP or IPPROTO_UDP */
	struct addr local, remote; /* one family; remote family 0 = none */
	uint16_t local_port, remote_port;
	uint32_t ifindex; /* where the packet travels, for sockets bound to a device; 0 = any */
};

/* Values of the kernel's enum (include/net/tcp_states.h). */
enum socket_state {
	SOCKET_ESTABLISHED = 1,
	SOCKET_SYN_SENT = 2,
	SOCKET_SYN_RECV = 3,
	SOCKET_FIN_WAIT2 = 5,
	SOCKET_TIME_WAIT = 6,
	SOCKET_CLOSE = 7, /* an unconnected UDP socket */
	SOCKET_LISTEN = 10,
};

struct socket_info {
	struct socket_tuple tuple; /* as the kernel gave it; v4-mapped addresses are IPv4 here */
	uint8_t state;             /* enum socket_state */
	bool v6only;               /* an IPv6 socket that takes no IPv4 */
	uint32_t uid;
	uint32_t inode;     /* 0: no process holds it */
	uint64_t cgroup_id; /* 0: unknown */
	uint64_t cookie;
};

int owner_open(struct owner **ret_owner, struct err *err);
void owner_free(struct owner *o);
void owner_freep(struct owner **o);

/*
 * The socket that sends or receives packets of this tuple, `local` being this host's end. For a TCP
 * tuple in TIME_WAIT the listener that would take the next SYN is answered (R21); for a TCP tuple
 * without a connection the kernel itself answers the listener. 0; -ENOENT when there is none or it
 * has no owner any more; other negative values when the kernel could not be asked.
 */
int owner_find(struct owner *o, const struct socket_tuple *t, struct socket_info *ret_info);

/* Who would take a new connection or datagram at this address and port. As owner_find(). */
int owner_find_listener(struct owner *o, uint8_t l4proto, const struct addr *local, uint16_t port,
			struct socket_info *ret_info);

/* State masks for owner_dump(). */
#define OWNER_STATES_ALL    UINT32_MAX
#define OWNER_STATES_LISTEN (1U << SOCKET_LISTEN)
/* Connections with a peer: everything but listeners, TIME_WAIT and closed. */
#define OWNER_STATES_CONNECTED                                                                     \
	(OWNER_STATES_ALL &                                                                        \
	 ~((1U << SOCKET_LISTEN) | (1U << SOCKET_TIME_WAIT) | (1U << SOCKET_CLOSE)))

/* Returns 0 to go on, anything else ends the dump with that value. */
typedef int (*owner_dump_fn)(void *user, const struct socket_info *info);

/*
 * Every IPv4 and IPv6 socket of a protocol in these states. Sockets that come or go during the dump
 * may be missed or seen twice; -EAGAIN when the kernel says that the dump is inconsistent.
 */
int owner_dump(struct owner *o, uint8_t l4proto, uint32_t states, owner_dump_fn fn, void *user);

/* The same for sockets at one local port, which the kernel picks out. */
int owner_dump_port(struct owner *o, uint8_t l4proto, uint16_t local_port, owner_dump_fn fn,
		    void *user);

/*
 * Aborts one connection (SOCK_DESTROY): both ends see an error. The cookie guards against a tuple
 * used again meanwhile. -EOPNOTSUPP where the kernel has no INET_DIAG_DESTROY; -ENOENT when gone.
 */
int owner_destroy(struct owner *o, const struct socket_info *info);
