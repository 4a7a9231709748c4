/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Layout of the conntrack mark (DESIGN sections 2 and 3; R2, R7, R8 of the datapath review).
 *
 * The mark names what a flow is. 0 = not classified. While a packet is being classified the same
 * field carries an identity number; those are in a range that `live` never holds, so a packet that
 * leaves classification early is not accepted.
 */
#pragma once

#include <stdint.h>

#define MARK_CONDUIT_MIN 0x00000001u
#define MARK_CONDUIT_MAX 0x0ffffeffu

/*
 * Flows of processes without an identity. The number in use changes ("epoch") whenever a process
 * group gains or loses an identity, so that such flows are classified again.
 */
#define MARK_UNCLAIMED_MIN 0x0fffff00u
#define MARK_UNCLAIMED_MAX 0x0fffffdfu

#define MARK_RESERVED_MIN 0x0ffffff0u
/* Pending: the agent is asked which identity listens (R20). */
#define MARK_LISTENER_ASK 0x0ffffff2u
#define MARK_LO_PENDING   0x0ffffff3u /* loopback, unclaimed sender: the receiver is to be judged */
/* Pending: the agent is asked whether anybody listens behind a TIME_WAIT socket (R21). */
#define MARK_PORT_ASK 0x0ffffff4u
#define MARK_REFUSED  0x0ffffffeu /* lets the RST of a refused packet out (R7) */

#define MARK_VOUCHED     0x10000000u /* the far host vouched for this very flow */
#define MARK_UNAVAILABLE 0x20000000u /* let through because nobody could vouch */
/* Both: the question about this flow was answered, and not in its favour. Never in `live`. */
#define MARK_NOT_VOUCHED 0x30000000u
#define MARK_NUMBER_MASK 0x0fffffffu

#define MARK_IDENTITY_MIN       0x40000001u
#define MARK_IDENTITY_MAX       0x7fffff00u
#define MARK_IDENTITY_UNCLAIMED 0x7ffffff0u /* a process group that was looked at and has none */
#define MARK_IDENTITY_ASK       0x7ffffff1u /* the same, but a uid may have a listener there */
/*
 * A process group of an identity that policy lets run here and the view does not place here. It is
 * not unclaimed: taking a placement away must never set a workload free (R34).
 */
#define MARK_IDENTITY_MISPLACED 0x7ffffff3u
#define MARK_IDENTITY_NOBODY    0x7ffffff2u /* no socket at all: kernel traffic, closed ports */

/* Packet mark of a queue verdict, honoured only on an entry that is pending (R9). */
#define MARK_VERDICT 0x80000000u
