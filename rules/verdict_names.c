/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Words of FORMATS, "Decision record", and of the modes. */
#include "rules/verdict.h"

#include <errno.h>

#include "base/mem.h"
#include "base/text.h"

static const char *const reason_names[REASON_COUNT] = {
	[REASON_PERMITTED] = "permitted",
	[REASON_ESSENTIAL] = "essential",
	[REASON_NO_RULE] = "no_rule",
	[REASON_NO_IDENTITY] = "no_identity",
	[REASON_NOT_PLACED] = "not_placed",
	[REASON_LEASE_ENDED] = "lease_ended",
	[REASON_OUTSIDE_WINDOW] = "outside_window",
	[REASON_REVOKED] = "revoked",
	[REASON_QUARANTINED] = "quarantined",
	[REASON_ATTEST_TIMEOUT] = "attest_timeout",
	[REASON_ATTEST_REFUSED] = "attest_refused",
	[REASON_ATTEST_UNAVAILABLE] = "attest_unavailable",
	[REASON_ALLOWED_UNAVAILABLE] = "allowed_unavailable",
	[REASON_NOT_MEASURED] = "not_measured",
	[REASON_QUEUE_FULL] = "queue_full",
	[REASON_PEER_BUSY] = "peer_busy",
	[REASON_UNKNOWN_PEER] = "unknown_peer",
	[REASON_UNKNOWN_CGROUP] = "unknown_cgroup",
	[REASON_UNCLAIMED] = "unclaimed",
	[REASON_NO_SOCKET] = "no_socket",
	[REASON_WRONG_STATE] = "wrong_state",
	[REASON_AMBIGUOUS] = "ambiguous",
	[REASON_RECEIVER_CHANGED] = "receiver_changed",
	[REASON_RESYNC] = "resync",
	[REASON_EXPECTED] = "expected",
	[REASON_UNTRACKED] = "untracked",
	[REASON_FOREIGN_MARK] = "foreign_mark",
	[REASON_NOT_OWNER] = "not_owner",
	[REASON_STALE_VIEW] = "stale_view",
	[REASON_MALFORMED] = "malformed",
};

static const char *const mode_names[] = {
	[MODE_OBSERVE] = "observe",
	[MODE_SELECTIVE] = "selective",
	[MODE_ENFORCE] = "enforce",
};

const char *reason_name(enum reason r)
{
	return reason_names[r];
}

const char *decision_name(enum decision d)
{
	switch (d) {
	case DECISION_ALLOWED:
		return "allowed";
	case DECISION_WOULD_DENY:
		return "would_deny";
	case DECISION_DENIED:
		return "denied";
	}
	return "denied";
}

const char *mode_name(enum node_mode m)
{
	return mode_names[m];
}

int mode_parse(const char *text, enum node_mode *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(mode_names); i++) {
		if (str_eq(text, mode_names[i])) {
			*ret = (enum node_mode)i;
			return 0;
		}
	}
	return -EINVAL;
}
