/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who runs where, and what of it each node must know (FORMATS "view.json"). Pure: no store, no
 * clock, no log; policy and placements go in, the bytes of views and the nodes that a change
 * concerns come out.
 *
 * A placement is what one source says (API, file, a node's own report). In force are those within
 * the bounds of signed policy whose identity nothing of higher rank pins: an identity placed by API
 * or file is where they say and nowhere else. Node N's view names the identities in force there,
 * and for every identity that some rule puts opposite one of these - in either direction - each of
 * its placements on other nodes, and these nodes. Nothing else: a node learns of nobody it cannot
 * talk to.
 *
 * Index: identity -> placements, node -> identities, and policy's own identity -> rules. One
 * placement changed visits the rules of its identity and the nodes that host its counterparts
 * ("touched"); views are written out only when somebody wants them.
 *
 * Node addresses: what its agent reports, within bounds and not held by another node (an agent
 * cannot take over the address of a host that is alive, nor keep one that policy gives to another
 * and not to it; attestation is at one of these or nowhere); explicit addresses of placements; and
 * single addresses of a policy entry that names exactly this node.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "rules/policy.h"
#include "rules/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIEWS_NODES_MAX      100000
#define VIEWS_IDENTITIES_MAX 200000
#define VIEWS_PLACES_MAX     20000 /* of one identity */
#define VIEWS_HOSTED_MAX     20000 /* identities on one node */
#define REPORT_HOLD_S        900   /* three missed reports: another node may report the address */
#define VIEWS_NONE           UINT32_MAX

/* In the order of their rank. Numbers are in the database. */
enum place_source { PLACE_API = 0, PLACE_FILE = 1, PLACE_REPORT = 2 };
const char *place_source_name(enum place_source source);

struct place {
	enum place_source source;
	uint32_t node;
	struct addr *addresses; /* none: all of the node's */
	size_t address_count;
};

/* A placement in force. Sorted by the node's name. */
struct site {
	uint32_t node;
	const char *name; /* of the node, borrowed */
	struct addr *addresses;
	size_t address_count;
	char *json; /* the addresses as they stand in views; NULL: the node's */
};

struct place_identity {
	char *path;
	uint32_t at;    /* views_identity_at() */
	uint32_t index; /* in policy, or VIEWS_NONE */
	struct place *places;
	size_t place_count, place_cap;
	size_t by_source[3]; /* how many of them */
	struct site *sites;
	size_t site_count, site_cap;
};

struct place_node {
	char *name;
	uint32_t at; /* views_node_at() */
	bool shut;   /* banned, or revoked by signed policy: nothing of it is in force */
	const struct node_bound **bounds; /* entries of policy whose pattern matches */
	size_t bound_count;
	struct addr *reported;
	size_t reported_count;
	int64_t reported_at;
	size_t contested; /* reported, but another node holds them */
	uint64_t losses;  /* addresses that another node took over: rises */
	bool has_attest;
	struct addr attest_address;
	uint16_t attest_port;
	struct addr *addresses; /* in force, sorted */
	size_t address_count;
	char *json;
	uint32_t *hosted; /* identities in force here */
	size_t hosted_count, hosted_cap;
	uint64_t touched, listed; /* epochs */
};

struct views;

struct views *views_new(void);
void views_free(struct views *v);
void views_freep(struct views **v);

/*
 * Borrowed until the next call or views_free(); NULL: none, nothing is in force. Touches no node:
 * everybody is concerned.
 */
int views_set_policy(struct views *v, const struct policy *policy);
const struct policy *views_policy(const struct views *v);

/* Finds or adds; VIEWS_NONE when memory runs out or there are too many. */
uint32_t views_node(struct views *v, const char *name);
uint32_t views_find_node(const struct views *v, const char *name);
const struct place_node *views_node_at(const struct views *v, uint32_t node);
uint32_t views_node_count(const struct views *v);
const struct place_identity *views_find_identity(const struct views *v, const char *path);
/* All that were ever placed, in no order; NULL behind the last. */
const struct place_identity *views_identity_at(const struct views *v, uint32_t at);

/*
 * Whether signed policy lets this identity be at this node with these addresses: 0, -ENOENT (no
 * such identity), -EACCES (bounds), with a sentence that names the bound. Works before there is a
 * placement; a node nobody has heard of is judged by its name.
 */
int views_check_place(const struct views *v, const char *path, const char *node,
		      const struct addr *addresses, size_t count, struct err *err);
/* Whether signed policy gives the node this address, and no other node that is alive has it. */
bool views_may_have(const struct views *v, uint32_t node, const struct addr *a, int64_t now);
/* The same for one stored placement; also -EEXIST: something of higher rank pins the identity. */
int views_check_stored(const struct views *v, const struct place_identity *id,
		       const struct place *p, struct err *err);

/* --- changes: each touches the nodes whose view it may change --------------------------------- */

/* -E2BIG: beyond a limit above, and nothing has changed. */
int views_place(struct views *v, const char *path, const char *node, enum place_source source,
		const struct addr *addresses, size_t count);
/* Unknown ones are ignored. */
int views_unplace(struct views *v, const char *path, const char *node, enum place_source source);
struct views_attest {
	bool present;
	struct addr address;
	uint16_t port;
};
int views_report(struct views *v, uint32_t node, const struct addr *addresses, size_t count,
		 const struct views_attest *attest, int64_t now);
int views_shut(struct views *v, uint32_t node, bool shut);

/* The same set, by hand: where an identity and its counterparts are; where a rule's parties are. */
int views_touch_identity(struct views *v, uint32_t policy_index);
int views_touch_rule(struct views *v, uint32_t rule);
void views_touch_all(struct views *v);
const uint32_t *views_touched(const struct views *v, size_t *ret_count);
void views_untouch(struct views *v); /* empties the set */

/* --- what a node must know --------------------------------------------------------------------*/

/*
 * Marks the identities that the node's view is about: those placed there and their counterparts,
 * placed or not. The next two ask about the node marked last.
 */
int views_know(struct views *v, uint32_t node);
bool views_knows(const struct views *v, uint32_t policy_index);
bool views_rule_here(const struct views *v, uint32_t node, uint32_t rule);
bool views_hosts(const struct views *v, uint32_t node, uint32_t policy_index);

/*
 * The view from its "placed" on: {"version":1,"node":NODE,"sequence":N, goes in front. The same
 * state makes the same bytes. -E2BIG above the limits of a view.
 */
int views_write(struct views *v, uint32_t node, struct buf *b);
void views_write_front(struct buf *b, const char *node, uint64_t sequence);
