/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Parts of the compiler, private to rules/compile*.c.
 *
 *   places   what of the view lies within the bounds of a policy: who is here, who is where
 *   claims   "this rule covers these addresses and ports", one local identity and direction at a
 *            time (a pass)
 *   cutting  claims overlap; addresses and ports are cut so that each packet belongs to exactly
 *            one hit, judged by all claims that cover it
 *   hits     equal ones become a conduit; each is written as elements
 *
 * A conduit's number is a function of its parties, its service and the very addresses that lead to
 * it. So a number never silently comes to mean less than it did when a flow was given it: an
 * address that leaves a placement or a network takes the number with it, and the flows are
 * classified again (generation_rederive()).
 */
#pragma once

#include "base/hash.h"
#include "rules/compile.h"

#include <stdlib.h>

#define NO_INDEX UINT32_MAX

/* An empty array may be NULL, which qsort() must not see. */
static inline void sort_items(void *items, size_t count, size_t size,
			      int (*order)(const void *, const void *))
{
	if (count > 1)
		qsort(items, count, size, order);
}

/* --- names ----------------------------------------------------------------------------------- */

/* A name and a position, sorted by name, for lookups that do not depend on the size. */
struct name_index {
	struct name_entry {
		const char *name;
		uint32_t index;
	} * entries;
	size_t count;
};

void name_index_done(struct name_index *n);
void name_index_sort(struct name_index *n);
uint32_t name_index_find(const struct name_index *n, const char *name); /* NO_INDEX if absent */

/*
 * An identity or a network of either policy, the same subject if path or name are the same: a
 * packet's conduit must have one name whichever policy is looked at.
 */
struct far_end {
	bool network;
	bool contained;             /* revoked or quarantined by the overlay */
	const char *key, *name;     /* path or network name; short name */
	char *key_text, *name_text; /* the generation's own, made at first use */
};

/* --- places ---------------------------------------------------------------------------------- */

/* An address at which an identity stands on another node. */
struct located {
	uint32_t identity; /* in the policy */
	uint32_t node;     /* in compile.nodes */
	uint32_t peer;     /* in the view */
	bool of_node;      /* address of the node, not of the placement: for echo only (R6) */
	struct addr addr;
};

enum pair_state {
	PAIR_CUT,     /* revoked, quarantined */
	PAIR_CLOSED,  /* a condition does not hold */
	PAIR_WATCHED, /* the same, but the rule is in observe mode */
	PAIR_LEASED,  /* holds until the rule's end */
	PAIR_HOLDS,
};

/* How far a rule gets for one pair of parties, and until when. */
struct pair {
	enum pair_state state;
	int64_t end; /* PAIR_LEASED */
};

/* A grant in force, resolved; indices in the policy. */
struct granted {
	uint32_t rule, from, to;
	int64_t until;
};

/* A quarantine: everything but this network, NO_INDEX = everything. */
struct held {
	uint32_t identity, keep;
};

struct rule_state {
	bool known, open;
	int64_t end;    /* of what is open; 0 = none */
	int64_t change; /* when this state changes; 0 = never */
};

/* A policy as it applies on this node. */
struct place {
	const struct policy *policy;
	bool ghost; /* compile_input.also_cut: gives borders, permits nothing */
	struct name_index paths;
	uint32_t *local_of;            /* per identity: in generation.locals, or NO_INDEX */
	bool *here;                    /* per identity: placed on this node, also a ghost's own */
	uint32_t *subject_of_identity; /* in compile.subjects */
	uint32_t *subject_of_network;
	struct located *located; /* sorted by identity, node, address */
	size_t located_count, located_cap;
	uint32_t *located_first; /* per identity, and one more */
	struct rule_state *rules;
	uint32_t *rule_rank; /* by name */
	/* what the overlay takes away */
	bool *rule_revoked, *identity_revoked, *network_revoked, *identity_quarantined;
	struct held *held; /* sorted, unique */
	size_t held_count;
	struct granted *grants; /* and gives: sorted by rule, from, to; unique */
	size_t grant_count;
	/* per local identity: rules that name it, [first[l], first[l + 1]) of the list */
	uint32_t *out_rules, *out_first, *in_rules, *in_first;
};

struct compile {
	const struct compile_input *in;
	struct numbers *numbers, *identities;
	struct generation *g;
	struct place real, ghost;
	bool has_ghost;
	struct name_index peers_by_node, view_nodes;
	const char **nodes;   /* names in peers, sorted, unique */
	bool *node_contained; /* an identity that was contained stands there */
	char **node_texts;    /* the generation's own, made at first use */
	size_t node_count;
	char *node_here;
	struct far_end *subjects;
	size_t subject_count, subject_cap;
	struct addr *own; /* addresses of this host, loopback ones included; sorted */
	size_t own_count, own_cap;
	struct hole { /* what no network means: own addresses and 127.0.0.0/8 */
		struct addr first, last;
	} * holes;
	size_t hole_count;
	struct party_slot *party_slots; /* hash table */
	size_t party_slot_count;
	struct buf name; /* of the conduit at hand */
	struct err *err;
};

/* Text that lives as long as the generation; NULL on -ENOMEM. */
char *generation_text(struct generation *g, const char *text);
void generation_texts_free(struct generation *g);

int compile_no_memory(struct compile *c);
int compile_places(struct compile *c);
void compile_places_done(struct compile *c);
/* What the overlay takes away, order of names, rules of each local identity. */
int compile_rule_states(struct compile *c, struct place *p);
/*
 * How far the rule gets for this pair, whoever is to be asked besides. Works out the rule's windows
 * when first asked.
 */
int compile_pair_state(struct compile *c, struct place *p, uint32_t rule,
		       const struct party_ref *from, const struct party_ref *to, bool from_here,
		       struct pair *ret);
/* When the policy must be compiled again, if that is sooner than what is known. */
void compile_note_change(struct compile *c, int64_t at);
/* A sentence about something outside the bounds of policy. Only the first policy speaks. */
int compile_refuse(struct compile *c, const struct place *p, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

int compile_grants(struct compile *c, struct place *p);
/* Until when a grantable rule is open for this pair; 0: it is not. */
int64_t compile_granted(const struct place *p, uint32_t rule, const struct party_ref *from,
			const struct party_ref *to);

/* --- passes ---------------------------------------------------------------------------------- */

struct claim {
	struct addr first, last; /* family 0: this host */
	struct service service;
	int64_t end; /* of a lease */
	uint8_t prefix_len;
	uint8_t state; /* enum pair_state */
	bool network;
	bool named; /* the identity says which ports it serves, and this is among them */
	bool ghost;
	uint8_t ask;      /* enum assurance: beyond the address somebody must vouch; 0 = nobody */
	bool spare;       /* it opens when nobody can be asked, too */
	uint32_t rule;    /* in its policy */
	uint32_t subject; /* the far end */
	uint32_t node;    /* where that stands; NO_INDEX for networks */
};

enum pass_kind { PASS_OUT, PASS_LOOPBACK, PASS_IN, PASS_IN_ECHO, PASS_ESSENTIAL };

struct outcome {
	uint8_t verdict, assurance;
	bool observed;
	uint32_t rule; /* of the real policy */
	int64_t end;
};

/* What a flow earns that was vouched for, or for which nobody could be asked. */
struct earned {
	int64_t end;
	uint8_t verdict;
};

/* An identity of the far node, and what its flows earn once it is vouched for. */
struct vouchee {
	uint32_t subject;
	bool measured; /* its executable is to be approved as well */
	bool leads;    /* what an answer leads to; else it is there for the other policy's flows */
	struct outcome outcome;
};

/* Whom the other policy lets be called on a loopback hit, all of whom this one lets be called too.
 */
struct other_called {
	uint64_t called;
	uint32_t subject; /* after whom it names the conduit */
	struct outcome outcome;
	uint32_t list_first, list_count; /* subjects */
};

enum hit_mode { HIT_EXACT, HIT_ANY, HIT_NET };

/* A rectangle of addresses and ports whose packets belong to one conduit. */
struct hit {
	uint8_t mode;       /* enum hit_mode */
	uint8_t party_type; /* of the far end */
	uint32_t subject, node;
	struct service service;
	uint64_t cover; /* equal for equal sets of claims */
	/* Loopback: whom rules let be called, where that is not just `subject`; else 0. */
	uint64_t called;
	struct addr first, last;
	uint16_t port_first, port_last;
	uint32_t other; /* loopback: in pass.others, plus one; 0 = none */
	struct outcome outcome;
	bool asked;   /* in one of the policies, so its flows may carry flag bits */
	bool asks;    /* in this one */
	bool watched; /* a rule in observe mode asks */
	struct earned vouched, unavailable;
	/* Subjects: receivers, or essentials that cover it; vouchees where it is asked. */
	uint32_t list_first, list_count;
};

struct pass {
	struct compile *c;
	enum pass_kind kind;
	uint32_t local;                     /* in generation.locals, NO_INDEX = the node */
	enum essential_direction direction; /* PASS_ESSENTIAL */
	struct claim *claims;
	size_t claim_count, claim_cap;
	struct hit *hits;
	size_t hit_count, hit_cap;
	uint32_t *list;
	size_t list_count, list_cap;
	struct other_called *others;
	size_t other_count, other_cap;
	struct vouchee *vouchees;
	size_t vouchee_count, vouchee_cap;
	/* Of the hit before, whose vouchees are those of the next as a rule. */
	uint64_t vouchee_cover;
	uint32_t vouchee_node, vouchee_first;
};

#define CLAIMS_MAX 8000000

void pass_done(struct pass *p);
void pass_begin(struct pass *p, enum pass_kind kind, uint32_t local);
int pass_add_claim(struct pass *p, const struct claim *claim);

int pass_claim_out(struct pass *p, struct place *place);
int pass_claim_loopback(struct pass *p, struct place *place);
int pass_claim_in(struct pass *p, struct place *place);
int pass_claim_in_echo(struct pass *p, struct place *place);
/* From claims to hits. */
int pass_cut(struct pass *p);
/* What all claims that cover a segment say together, and which far end it is named after. */
int pass_judge(struct pass *p, const struct claim *const *covering, size_t count,
	       struct hit *ret_hit);

/* What several claims say together. */
struct sum {
	enum pair_state best;
	bool watched;
	int64_t end;
	const struct claim *told; /* whose rule is reported */
};
void pass_sum_add(const struct pass *p, struct sum *s, const struct claim *claim);
void pass_sum_tell(const struct pass *p, const struct sum *s, struct outcome *ret);
/* What changes where the far node is asked. The hit has its far end, outcome and cover. */
int pass_judge_asked(struct pass *p, const struct claim *const *covering, size_t count,
		     const struct sum *all, struct hit *hit);
/* Writes conduits of those who may be vouched for, and how `asked` leads to them. */
int pass_emit_vouchees(struct pass *p, const struct hit *hits, size_t count, uint32_t asked,
		       const struct conduit *like);
/* Into compile.name: kind, parties, service; then what addresses and ports lead to it. */
void pass_name_group(struct compile *c, const char *what, const struct conduit *conduit,
		     const struct hit *hits, size_t count);
int compile_add_lease(struct compile *c, uint32_t mark, uint8_t verdict, int64_t end);
/* A conduit that was revoked by its number: nothing of it stays open. */
void compile_close(struct generation *g, struct conduit *conduit);
/* Who stands where, of those whom the overlay contained. */
int compile_contained(struct compile *c, const struct place *p);
/*
 * Names the called ones of a loopback hit, whichever of their rules are open now; and those of the
 * other policy, where that makes another number of it. The hit has its outcome and far end.
 */
int pass_judge_called(struct pass *p, const struct claim *const *covering, size_t count,
		      struct hit *hit);
const struct claim *pass_winner(const struct pass *p, const struct claim *const *covering,
				size_t count);
/* Of the claims of one of the policies; NULL when it has none. */
const struct claim *pass_winner_of(const struct pass *p, const struct claim *const *covering,
				   size_t count, bool ghost);
/* From hits to conduits and elements. */
int pass_emit(struct pass *p);

int compile_essentials(struct compile *c, struct pass *p);
int compile_conduit(struct compile *c, const char *name, const struct conduit *like,
		    uint32_t *ret_number);
int compile_element(struct compile *c, enum set_kind kind, const struct key *key,
		    const struct key *end, uint32_t number);

bool compile_addr_next(const struct addr *a, struct addr *ret); /* false after the last address */
struct addr compile_addr_previous(const struct addr *a);

/* --- parties --------------------------------------------------------------------------------- */

#define SUBJECT_ESSENTIAL (NO_INDEX - 1)
#define NODE_HERE         (NO_INDEX - 1)

/* Position in generation.parties, made if need be. */
int compile_party(struct compile *c, enum party_type type, uint32_t subject, uint32_t node,
		  uint32_t *ret);
int compile_local_party(struct compile *c, uint32_t local, uint32_t *ret);
