/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/vouch_socket.h"

#include <errno.h>
#include <netinet/in.h>

struct end {
	struct addr addr;
	uint16_t port;
};

/* The two ends as a socket of this host sees them. */
struct ends {
	struct end local, remote;
};

static bool end_eq(const struct end *a, const struct end *b)
{
	return a->port == b->port && addr_eq(&a->addr, &b->addr);
}

/* --- NAT of this host ------------------------------------------------------------------------ */

/*
 * An entry has two directions, and NAT lies between them. What the far node sees of us is one end
 * of one direction; our socket is the same end of the other. Asked with the packets that come to
 * us, so that the answer is the entry whose answers those are: a packet of another process that was
 * given this very port by masquerading is found as that process's, and not as that of a socket
 * which happens to have the tuple and never got a packet out.
 */
static int undo_nat(struct conntrack *ct, uint8_t l4proto, struct ends *wire, struct ct_flow *ret)
{
	const struct ct_flow incoming = {
		.src = wire->remote.addr,
		.sport = wire->remote.port,
		.dst = wire->local.addr,
		.dport = wire->local.port,
		.l4proto = l4proto,
	};
	struct end orig_src, orig_dst, reply_src, reply_dst;
	struct ct_flow f;
	int r = conntrack_find(ct, &incoming, &f, NULL);

	if (r < 0)
		return r;
	orig_src = (struct end){f.src, f.sport};
	orig_dst = (struct end){f.dst, f.dport};
	reply_src = (struct end){f.reply_src, f.reply_sport};
	reply_dst = (struct end){f.reply_dst, f.reply_dport};
	if (end_eq(&reply_src, &wire->remote) && end_eq(&reply_dst, &wire->local))
		*wire = (struct ends){orig_src, orig_dst}; /* opened here */
	else if (end_eq(&orig_src, &wire->remote) && end_eq(&orig_dst, &wire->local))
		*wire = (struct ends){reply_src, reply_dst}; /* opened over there */
	else
		return -EBADMSG;
	*ret = f;
	return 0;
}

static bool opened_here(const struct ct_flow *f, const struct ends *e)
{
	struct end src = {f->src, f->sport};

	return end_eq(&src, &e->local);
}

/*
 * Whether the question may go on to the socket table. Without an entry no packet of this flow has
 * left this host: for a socket that cannot get its packets out, or a datagram that somebody else
 * sent with our address, nobody vouches. A connection that stands proves itself by its sequence
 * numbers, and may be older than connection tracking.
 */
static enum peer_status find_flow(struct conntrack *ct, const struct peer_query *q, struct ends *e,
				  struct vouch_socket *ret)
{
	bool listener = (q->flags & PEER_LISTENER) != 0;
	bool established = (q->flags & PEER_ESTABLISHED) != 0;
	int r;

	/* Whoever asks who listens has sent nothing yet. */
	if (listener && !established)
		return PEER_OK;
	r = undo_nat(ct, q->l4proto, e, &ret->flow);
	if (r == -ENOENT && established && q->l4proto == IPPROTO_TCP)
		return PEER_OK;
	if (r == -ENOENT) {
		ret->refusal = "no packet of this flow has left this host; it is not in its "
			       "flow table";
		return PEER_NO_SOCKET;
	}
	if (r < 0) {
		ret->refusal = "the flow table could not be asked";
		return PEER_INTERNAL;
	}
	ret->has_flow = true;
	ret->match |= PEER_MATCH_CONNTRACK;
	if (!established && q->l4proto == IPPROTO_TCP && !opened_here(&ret->flow, e)) {
		ret->refusal = "this host did not open the connection";
		return PEER_WRONG_STATE;
	}
	return PEER_OK;
}

/* --- sockets --------------------------------------------------------------------------------- */

static bool is_exact(const struct socket_tuple *t, const struct ends *e)
{
	struct end local = {t->local, t->local_port}, remote = {t->remote, t->remote_port};

	return end_eq(&local, &e->local) && end_eq(&remote, &e->remote);
}

static enum peer_status failed(struct vouch_socket *ret, int r)
{
	ret->refusal =
		r == -ENOENT ? "no socket has this tuple" : "the socket table could not be asked";
	return r == -ENOENT ? PEER_NO_SOCKET : PEER_INTERNAL;
}

static enum peer_status check_tcp(const struct peer_query *q, const struct ends *e,
				  struct vouch_socket *ret)
{
	/* Without a connection the kernel answers with who listens on its source port. */
	if (ret->socket.state == SOCKET_LISTEN || !is_exact(&ret->socket.tuple, e))
		return failed(ret, -ENOENT);
	ret->match |= PEER_MATCH_TUPLE | PEER_MATCH_NETNS;
	if (ret->socket.state == SOCKET_SYN_SENT) {
		ret->match |= PEER_MATCH_SYN_SENT;
		return PEER_OK;
	}
	if ((q->flags & PEER_ESTABLISHED) != 0)
		return PEER_OK;
	ret->refusal = "the connection is not being opened, it stands already";
	return PEER_WRONG_STATE;
}

/*
 * A bound or connected socket that may send this tuple. The kernel's own look-up says which one an
 * answer would go to.
 */
static enum peer_status check_udp(const struct ends *e, struct vouch_socket *ret)
{
	const struct socket_tuple *t = &ret->socket.tuple;

	if (t->local_port != e->local.port ||
	    (t->remote_port != 0 &&
	     (t->remote_port != e->remote.port || !addr_eq(&t->remote, &e->remote.addr))))
		return failed(ret, -ENOENT);
	ret->match |= PEER_MATCH_TUPLE | PEER_MATCH_NETNS;
	return PEER_OK;
}

static enum peer_status check_listener(struct owner *o, const struct peer_query *q,
				       const struct ends *e, struct vouch_socket *ret)
{
	bool established = (q->flags & PEER_ESTABLISHED) != 0;

	/* The socket of an older connection over the same ports is not who would take a new one. */
	if (q->l4proto == IPPROTO_TCP && !established && ret->socket.state != SOCKET_LISTEN) {
		int r = owner_find_listener(o, q->l4proto, &e->local.addr, e->local.port,
					    &ret->socket);

		if (r < 0)
			return failed(ret, r);
	}
	ret->match |= PEER_MATCH_TUPLE | PEER_MATCH_NETNS;
	return PEER_OK;
}

enum peer_status vouch_socket_find(struct owner *o, struct conntrack *ct,
				   const struct peer_query *q, const struct addr *dst,
				   uint32_t interface, struct vouch_socket *ret)
{
	const struct end from = {q->src, q->sport}, to = {*dst, q->dport};
	bool listener = (q->flags & PEER_LISTENER) != 0;
	struct ends e = listener ? (struct ends){to, from} : (struct ends){from, to};
	struct socket_tuple t;
	enum peer_status status;
	int r;

	*ret = (struct vouch_socket){.refusal = ""};
	status = find_flow(ct, q, &e, ret);
	if (status != PEER_OK)
		return status;
	ret->local = e.local.addr;
	ret->remote = e.remote.addr;
	ret->remote_port = e.remote.port;
	t = (struct socket_tuple){
		.l4proto = q->l4proto,
		.local = e.local.addr,
		.remote = e.remote.addr,
		.local_port = e.local.port,
		.remote_port = e.remote.port,
		.ifindex = interface,
	};
	r = owner_find(o, &t, &ret->socket);
	if (r < 0)
		return failed(ret, r);
	if (listener)
		return check_listener(o, q, &e, ret);
	return q->l4proto == IPPROTO_TCP ? check_tcp(q, &e, ret) : check_udp(&e, ret);
}
