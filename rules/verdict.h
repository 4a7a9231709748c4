/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The oracle: what should happen to the first packet of a flow, decided from policy alone, in the
 * most direct way: no numbers, no sets, no generations. The property test demands that the kernel
 * agrees with it, packet by packet; `why` explains with it.
 */
#pragma once

#include "rules/compile.h"

enum flow_direction { FLOW_OUT, FLOW_IN, FLOW_LOOPBACK };
enum node_mode { MODE_OBSERVE, MODE_SELECTIVE, MODE_ENFORCE };

/* A local end as the kernel sees it: cgroup ancestors from level 1 on, and the socket's uid. */
struct flow_end {
	bool has_socket;
	uint64_t cgroups[CGROUP_LEVEL_MAX]; /* 0 ends the list */
	uint32_t uid;
};

/*
 * What comes back when the far node is asked about this flow (DESIGN section 4). Assumed: somebody
 * who may is vouched for, as far as anybody at that address may.
 */
enum flow_answer { ANSWER_ASSUMED, ANSWER_VOUCHED, ANSWER_REFUSED, ANSWER_NONE };

struct flow {
	enum flow_direction direction;
	struct addr src, dst;
	uint8_t l4proto;
	uint16_t dport;              /* or icmp type for an echo request */
	struct flow_end source;      /* FLOW_OUT, FLOW_LOOPBACK */
	struct flow_end destination; /* FLOW_IN, FLOW_LOOPBACK */
	enum flow_answer answer;
	uint32_t vouched; /* ANSWER_VOUCHED: identity of the far end, index in the policy */
	bool measured;    /* and its executable is one of the reference values */
};

enum decision { DECISION_ALLOWED, DECISION_WOULD_DENY, DECISION_DENIED };

/* Closed list of FORMATS, "Decision record". */
enum reason {
	REASON_PERMITTED,
	REASON_ESSENTIAL,
	REASON_NO_RULE,
	REASON_NO_IDENTITY,
	REASON_NOT_PLACED,
	REASON_LEASE_ENDED,
	REASON_OUTSIDE_WINDOW,
	REASON_REVOKED,
	REASON_QUARANTINED,
	REASON_ATTEST_TIMEOUT,
	REASON_ATTEST_REFUSED,
	REASON_ATTEST_UNAVAILABLE,
	REASON_ALLOWED_UNAVAILABLE,
	REASON_NOT_MEASURED,
	REASON_QUEUE_FULL,
	REASON_PEER_BUSY,
	REASON_UNKNOWN_PEER,
	REASON_UNKNOWN_CGROUP,
	REASON_UNCLAIMED,
	REASON_NO_SOCKET,
	REASON_WRONG_STATE,
	REASON_AMBIGUOUS,
	REASON_RECEIVER_CHANGED,
	REASON_RESYNC,
	REASON_EXPECTED,
	REASON_UNTRACKED,
	REASON_FOREIGN_MARK,
	REASON_NOT_OWNER,
	REASON_STALE_VIEW,
	REASON_MALFORMED,
	REASON_COUNT,
};
const char *reason_name(enum reason r);
const char *decision_name(enum decision d);
const char *mode_name(enum node_mode m);
int mode_parse(const char *text, enum node_mode *ret);

struct verdict {
	enum decision decision;
	enum reason reason;
	enum deny_answer answer;        /* of a denial: DENY_REJECT or DENY_DROP */
	int from_identity, to_identity; /* index in the policy or -1 */
	int rule;                       /* that decided, or -1 */
	int nearest;                    /* rule that came nearest to a denied flow, or -1 */
	char fails_on[160];             /* what of `nearest` fails: "from: caller is backup" */
	struct wall lease_end;          /* 0 = none */
};

int verdict_decide(const struct compile_input *in, const struct host *host, enum node_mode mode,
		   const struct flow *flow, struct verdict *ret, struct err *err);

/* The same for names: two parties and a service, as `why SRC DST SERVICE` asks. */
struct verdict_question {
	int from_identity, to_identity;               /* -1: not an identity */
	const char *from_node, *to_node;              /* NULL = wherever placed */
	const struct addr *from_address, *to_address; /* NULL = those of the placement */
	struct service service;
};
int verdict_explain(const struct compile_input *in, enum node_mode mode,
		    const struct verdict_question *q, struct verdict *ret, struct err *err);
