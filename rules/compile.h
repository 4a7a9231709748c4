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
	CONDUIT_OBSERVED = 16 /* best rule in observe mode */
};

#define RULE_NONE UINT32_MAX

/* 28 bytes; sorted by number. Indices are into the generation. */
struct conduit {
	uint32_t number;
	uint32_t from, to; /* parties */
	struct service service;
	uint32_t rule;     /* first by name that holds, or that would; RULE_NONE for essentials */
	uint8_t verdict;   /* enum live_verdict, one of the singles */
	uint8_t assurance; /* enum assurance: what the rule asks for */
	uint8_t flags;
};

struct lease {
	uint32_t number;
	struct wall end; /* latest end among the rules that hold now */
};

/* An identity that is placed here: its mark, and how it answers where nothing permits. */
struct local_identity {
	uint32_t index; /* in the policy */
	uint32_t mark;
	char *path, *name;
	bool observe;
	enum deny_answer deny_out, deny_in; /* resolved: never DENY_DEFAULT */
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
	struct lease *leases; /* sorted by number; LEASED or LEASED_WATCHED and open now */
	size_t lease_count, lease_cap;
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
};

struct overlay_quarantine {
	char *identity; /* path */
	char *keep;     /* network that stays reachable, or NULL */
	char *reason;
};

/* What operators and heads took away, on top of any generation. Never touches essentials. */
struct overlay {
	struct overlay_revoked *revoked;
	size_t revoked_count;
	struct overlay_quarantine *quarantined;
	size_t quarantined_count;
};
void overlay_done(struct overlay *o);

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
 * again, not cut (R16); one that finds no conduit ends all the same. Sorted; caller frees.
 */
int generation_rederive(const struct generation *old, const struct generation *new_,
			uint32_t **ret_numbers, size_t *ret_count);
