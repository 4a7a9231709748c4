/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/telemetry_resync.h"

#include "agent/attest.h"
#include "base/log.h"
#include "rules/marks.h"

#include <errno.h>
#include <netinet/in.h>

#define SECOND_NS 1000000000LL

static bool may_look(struct resync *s, struct mono now)
{
	if (now.ns - s->second.ns >= SECOND_NS) {
		s->second = now;
		s->this_second = 0;
	}
	if (s->this_second >= RESYNC_PER_SECOND) {
		s->counters.limited++;
		return false;
	}
	s->this_second++;
	return true;
}

/*
 * Output: whoever sends a bare SYN from here is in SYN_SENT, unless somebody forges packets on this
 * host. Input: with a connection of that tuple the kernel answers it, without one a listener, or
 * nothing.
 */
static bool has_new_owner(struct resync *s, const struct logged *l)
{
	const struct packet *p = &l->packet;
	struct socket_tuple t = {
		.l4proto = IPPROTO_TCP,
		.local = l->out ? p->src : p->dst,
		.remote = l->out ? p->dst : p->src,
		.local_port = l->out ? p->sport : p->dport,
		.remote_port = l->out ? p->dport : p->sport,
		.ifindex = l->ifindex,
	};
	struct socket_info info;
	int r = owner_find(s->owner, &t, &info);

	if (l->out)
		return r == 0 && info.state == SOCKET_SYN_SENT;
	return r == -ENOENT || (r == 0 && info.state == SOCKET_LISTEN);
}

/* Whoever can send from the address alone must not end what was vouched for. */
static bool is_vouched(struct resync *s, const struct ct_flow *tuple, uint32_t *ret_number)
{
	struct ct_flow found;

	if (!s->agent || conntrack_find(s->conntrack, tuple, &found, NULL) < 0 ||
	    !(found.mark & MARK_VOUCHED) || found.mark >= MARK_IDENTITY_MIN)
		return false;
	*ret_number = found.mark & MARK_NUMBER_MASK;
	return true;
}

void resync_look(struct resync *s, const struct logged *l, struct mono now)
{
	const struct packet *p = &l->packet;
	struct ct_flow tuple = {.src = p->src,
				.dst = p->dst,
				.sport = p->sport,
				.dport = p->dport,
				.l4proto = IPPROTO_TCP};
	struct err err = {{0}};
	uint32_t number;
	int r;

	/* Observed ones were let pass. */
	if (l->decision != TABLE_LOG_DENY || p->l4proto != IPPROTO_TCP || !may_look(s, now))
		return;
	/*
	 * Also while a socket here still holds the old connection: dropped as it was, the SYN does
	 * not reach it, and it would never hear that its other end is gone.
	 */
	if (!l->out && is_vouched(s, &tuple, &number)) {
		s->counters.asked++;
		attest_flow(s->agent->attest, &tuple, number, true);
		return;
	}
	if (!has_new_owner(s, l)) {
		s->counters.kept++;
		return;
	}
	r = conntrack_delete(s->conntrack, &tuple, &err);
	if (r == 0)
		s->counters.deleted++;
	else if (r != -ENOENT)
		log_warn("resync: the old flow stays, its port must wait: %s", err.text);
}
