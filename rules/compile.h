/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From policy, view and host to elements.
 *
 *   compile_generation()  policy + view -> conduits and classification, per policy   (slow part)
 *   ruleset_build()       generations + host + overlay -> struct ruleset            (fast part)
 *
 * Rules only permit, order means nothing: a conduit is open while any rule opens it. A conduit is
 * (source party, destination party, service); services and networks are cut at each other's
 * borders so that one packet belongs to one conduit: the most specific service wins, then the most
 * specific network. At ingress the unvouched source party is the node, because an address cannot
 * tell two identities of one node apart (R19).
 *
 * Pure: no I/O, no clock; numbers are the only state that changes.
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "rules/essentials.h"
#include "rules/host.h"
#include "rules/numbers.h"
#include "rules/policy.h"
#include "rules/ruleset.h"
#include "rules/view.h"
#include "rules/window.h"

enum party_type {
	PARTY_TYPE_IDENTITY, /* identity at a node */
	PARTY_TYPE_NODE,     /* a node, unvouched: any process there; echo is addressed to nodes */
	PARTY_TYPE_NETWORK,
	PARTY_TYPE_UNCLAIMED,
};

struct party {
	uint8_t type;   /* enum party_type */
	char *identity; /* path; NULL unless an identity */
	char *name;     /* identity's or network's short name, or the node's */
	char *node;     /* NULL for networks */
	uint32_t mark;  /* identity mark of a local identity, else 0 */
};

enum {
	CONDUIT_OUT = 1,
	CONDUIT_IN = 2,
	CONDUIT_LOOPBACK = 4,
	CONDUIT_ESSENTIAL = 8,
	CONDUIT_OBSERVED = 16,    /* best rule in observe mode */
	CONDUIT_CALLEE = 32,      /* it asks who listens: `callee: attested` */
	CONDUIT_ASKED = 64,       /* in this or the other policy: its flows may carry flag bits */
	CONDUIT_ASK_WATCHED = 128 /* it asks, and a rule in observe mode is among the reasons */
};

#define RULE_NONE UINT32_MAX

/*
 * 32 bytes; sorted by number. Indices are into the generation.
 *
 * Three verdicts (enum live_verdict, one of the singles), each an element of `live` of its own
 * (R2): `verdict` what the address alone earns; `vouched` for number|MARK_VOUCHED; `unavailable`
 * for number|MARK_UNAVAILABLE. At ingress the conduit that asks is that of the node (LIVE_ASK), and
 * who is vouched for goes on as the conduit of the identity: see generation_vouched(). A conduit
 * that leaves this host and asks (`callee: attested`) is vouched for as itself.
 */
struct conduit {
	uint32_t number;
	uint32_t from, to; /* parties */
	struct service service;
	uint32_t rule; /* first by name that holds, or that would; RULE_NONE for essentials */
	uint8_t verdict, vouched, unavailable;
	uint8_t assurance; /* enum assurance: what the rule asks for */
	uint8_t flags;
	/*
	 * A loopback conduit under the number that the other policy of a probation gives it:
	 * nothing leads to it, but flows that the other one let begin go on under it.
	 */
	bool of_other;
};

struct lease {
	uint32_t number; /* with the flag bits of its mark: each live element may end by itself */
	struct wall end; /* latest end among the rules that hold now */
};

/* An identity that is placed here: its mark, and how it answers where nothing permits. */
struct local_identity {
	uint32_t index; /* in the policy */
	uint32_t mark;
	char *path, *name;
	bool observe;
	enum deny_answer deny_out, deny_in; /* resolved: never DENY_DEFAULT */
	bool own_drop_in; /* it says deny_in: drop itself: also to callers that were not vouched for
			   */
};

/* Who is vouched for on a flow of conduit `asked` goes on as conduit `number`. */
struct vouch_link {
	uint32_t asked, number;
	uint32_t party; /* the identity */
};

/*
 * A loopback conduit and an identity whose listeners may answer there: at output the receiver is a
 * guess (R12).
 */
struct receiver {
	uint32_t number;
	uint32_t mark;
};

/* A unit that may use an essential of SET_ESSENTIAL_OWNED. */
struct essential_owner {
	uint32_t number;
	char *unit;
};

struct generation {
	struct party *parties;
	size_t party_count, party_cap;
	struct conduit *conduits;
	size_t conduit_count, conduit_cap;
	struct lease *leases; /* sorted; LEASED or LEASED_WATCHED and open now */
	size_t lease_count, lease_cap;
	struct vouch_link *links; /* sorted by asked */
	size_t link_count, link_cap;
	char **contained; /* paths of identities that were revoked or quarantined */
	size_t contained_count;
	char **rule_names; /* copy, so that a generation outlives its policy */
	size_t rule_count;
	struct local_identity *locals; /* sorted by path */
	size_t local_count;
	/* Of the policy, for processes without an identity placed here; never DENY_DEFAULT. */
	enum deny_answer deny_out, deny_in;
	struct receiver *receivers; /* sorted by number */
	size_t receiver_count, receiver_cap;
	struct essential_owner *owners; /* sorted by number */
	size_t owner_count, owner_cap;
	char **refused; /* entries of the view outside the bounds of policy, as sentences */
	size_t refused_count, refused_cap;
	struct text_block *texts; /* what the names above point into */
	struct ruleset *classify; /* policy-derived sets only, SLOT_A */
	struct wall next_change;  /* when it must be compiled again: windows, leases; 0 = never */
};

struct overlay_revoked {
	enum { REVOKED_RULE, REVOKED_IDENTITY, REVOKED_LABEL, REVOKED_CONDUIT } kind;
	char *name;        /* rule name; identity path; label expression; conduit number */
	struct wall until; /* 0 = until released */
	char *reason;
	bool from_head; /* the controller's: replaced by the next head, not kept by this host */
};

struct overlay_quarantine {
	char *identity; /* path */
	char *keep;     /* network that stays reachable, or NULL */
	char *reason;
	bool from_head;
};

/*
 * Just-in-time access: one pair of identities of a rule that policy marks `grantable`. Opens
 * nothing else, and ends by a kernel timeout like any lease.
 */
struct overlay_grant {
	char *rule;
	char *from, *to; /* identities by path */
	struct wall until;
	/*
	 * When this host learned of it. It opens for no longer than the rule's `max` from then, so
	 * that whoever signs heads cannot stretch what policy allows. 0: just now.
	 */
	struct wall since;
	char *who, *reason; /* may be NULL */
	bool from_head;
};

/*
 * What operators and heads took away, on top of any generation, and what they granted. Never
 * touches essentials.
 */
struct overlay {
	struct overlay_revoked *revoked;
	size_t revoked_count;
	struct overlay_quarantine *quarantined;
	size_t quarantined_count;
	struct overlay_grant *grants;
	size_t grant_count;
};
void overlay_done(struct overlay *o);
void overlay_grant_done(struct overlay_grant *g);

struct compile_input {
	const struct policy *policy; /* finished, without errors */
	const struct view *view;
	const struct essentials *essentials; /* may be NULL */
	const struct overlay *overlay;       /* may be NULL */
	const struct addr *addresses;        /* the host's own */
	size_t address_count;
	struct wall now;
	bool clock_trusted; /* false: windows follow on_clock_loss */
	const struct local_time *local_time;
	/*
	 * When the mapping is too old for rules with `on_stale: end`: one hour after the head's
	 * expiry. They are leased until then. 0: the mapping does not grow old (no controller).
	 */
	struct wall stale_end;
	/*
	 * Identities of this host (paths, NULL-terminated; may be NULL) one of whose processes runs
	 * what is none of their reference values: `measured` rules from them are closed (UC-18).
	 */
	const char *const *unmeasured;
	/*
	 * Services and networks are cut at the borders of this policy too (NULL = none). While a
	 * candidate is on probation both policies are compiled with each other's borders: a packet
	 * then belongs to the same conduit in both, and neither the switch nor its fallback has to
	 * classify a flow again (R15, R16).
	 */
	const struct policy *also_cut;
};

#define CONDUITS_MAX      1000000
#define REFUSED_MAX       200   /* texts; later ones are dropped */
#define NETWORK_CELLS_MAX 65536 /* disjoint rectangles of networks and port ranges */

int compile_generation(const struct compile_input *in, struct numbers *conduits,
		       struct numbers *identities, struct generation **ret, struct err *err);
void generation_free(struct generation *g);
void generation_freep(struct generation **g);
/* By number, flag bits of the mark ignored; NULL when there is none. */
const struct conduit *generation_find(const struct generation *g, uint32_t number);

/*
 * The conduit of a flow on `asked` once its far node has vouched for the identity (by path): NULL
 * when policy has none. Its `vouched` verdict may still be LIVE_NONE (a window that is closed).
 */
const struct conduit *generation_vouched(const struct generation *g, const struct conduit *asked,
					 const char *identity);

/* Whether an answer must bring evidence: somebody may call there who must be measured. */
bool generation_wants_evidence(const struct generation *g, const struct conduit *asked);
/* The conduit of an identity that was vouched for: bare, its number is on no flow. */
bool conduit_is_vouchee(const struct generation *g, const struct conduit *c);
/* Of the live element that the mark's flag bits name. */
uint8_t conduit_verdict(const struct conduit *c, uint32_t mark);
/*
 * Conduits whose flows are to be asked about because they ran before the question was put: it asks
 * in `new_` and did not in `old`, or somebody was vouched for on it under another number. Sorted;
 * caller frees. old may be NULL: all that ask.
 */
int generation_begins_to_ask(const struct generation *old, const struct generation *new_,
			     uint32_t **ret_numbers, size_t *ret_count);

/* "settlement > payments-api tcp/8443": comment of the element, at most 127 bytes. */
#define CONDUIT_COMMENT_MAX 128
const char *conduit_comment(char buf[CONDUIT_COMMENT_MAX], const struct generation *g,
			    const struct conduit *c);

/*
 * Merges. `candidate` may be NULL. Classification of the candidate goes to SLOT_B; `live` is one,
 * with pairs where the two disagree. Host-derived sets (who, ends, live_udp, listeners) are built
 * here, so that a restarted service needs no compilation. `host` belongs to the confirmed policy,
 * `candidate_host` (identity indices!) to the candidate. Levels and live_size of the shape grow to
 * what the elements need.
 */
int ruleset_build(const struct generation *confirmed, const struct generation *candidate,
		  const struct host *host, const struct host *candidate_host,
		  const struct table_shape *shape, struct ruleset **ret, struct err *err);

/*
 * Numbers of `old` that `new_` no longer has although some conduit of `new_` with the same local
 * end may now hold their flows: same direction, overlapping service, and a far end that is the
 * same party, stands on the same node, or is a network on either side. Their flows are classified
 * again, not cut (R16); one that finds no conduit ends all the same. As marks, with the flag bits
 * that flows of the number may carry. Sorted; caller frees.
 */
int generation_rederive(const struct generation *old, const struct generation *new_,
			uint32_t **ret_numbers, size_t *ret_count);
