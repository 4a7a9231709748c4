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
	uint32_t *subject_of_identity; /* in compile.subjects */
	uint32_t *subject_of_network;
	struct located *located; /* sorted by identity, node, address */
	size_t located_count, located_cap;
	uint32_t *located_first; /* per identity, and one more */
	struct rule_state *rules;
	uint32_t *rule_rank; /* by name */
	/* what the overlay takes away */
	bool *rule_revoked, *identity_revoked, *network_revoked, *identity_quarantined;
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
	const char **nodes; /* names in peers, sorted, unique */
	char **node_texts;  /* the generation's own, made at first use */
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
/* How far the rule gets for this pair. Works out the rule's windows when first asked. */
int compile_pair_state(struct compile *c, struct place *p, uint32_t rule,
		       const struct party_ref *from, const struct party_ref *to, bool same_node,
		       enum pair_state *ret);

/* --- passes ---------------------------------------------------------------------------------- */

struct claim {
	struct addr first, last; /* family 0: this host */
	struct service service;
	uint8_t prefix_len;
	uint8_t state; /* enum pair_state */
	bool network;
	bool named; /* the identity says which ports it serves, and this is among them */
	bool ghost;
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

enum hit_mode { HIT_EXACT, HIT_ANY, HIT_NET };

/* A rectangle of addresses and ports whose packets belong to one conduit. */
struct hit {
	uint8_t mode;       /* enum hit_mode */
	uint8_t party_type; /* of the far end */
	uint32_t subject, node;
	struct service service;
	uint64_t cover; /* equal for equal sets of claims */
	struct addr first, last;
	uint16_t port_first, port_last;
	struct outcome outcome;
	uint32_t list_first, list_count; /* subjects: receivers, or essentials that cover it */
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
const struct claim *pass_winner(const struct pass *p, const struct claim *const *covering,
				size_t count);
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
