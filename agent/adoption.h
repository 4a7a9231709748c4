/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Enforcing on a busy host without resetting a permitted flow (R22): every connected socket's
 * conduit is computed and written into its conntrack entry, entries that conntrack picked up in the
 * wrong direction included, while the table still only observes. Datagrams of sockets that serve
 * many need none of it: the kernel's chains judge their next one (rules/table_paths.c,
 * turned_datagram()).
 */
#pragma once

#include "agent/agent.h"

/*
 * Marks what is permitted; flows of identities that nothing permits are listed: enforcing cuts
 * them. 0 or -errno (the caller then stays in observe).
 */
int adoption_run(struct agent *a, struct cut_list *cut, struct err *err);

/*
 * Process groups gained, lost or changed identities while the table enforces: flows that run on a
 * conduit their owner has no part in any more are judged anew; those whose conduit went end.
 */
int adoption_of_owners(struct agent *a, struct cut_list *cut, struct err *err);

/*
 * Reasons not to enforce: another writer of the conntrack mark (named), no policy, no table.
 * -EBUSY with the reason and what --force would mean.
 */
int adoption_obstacles(struct agent *a, struct err *err);
