/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inside of controller/views*.c. */
#pragma once

#include "base/hash.h"
#include "controller/views.h"

struct exact_bound {
	const char *name;
	const struct node_bound *bound;
};

struct views {
	const struct policy *policy;
	bool bulk; /* everything is being worked out: nobody is touched */
	struct place_node **nodes;
	size_t node_count, node_cap;
	struct place_identity **identities;
	size_t identity_count, identity_cap;
	struct map *node_by_name, *identity_by_path; /* records of the arrays above */
	struct map *holders;                         /* reported address -> node */

	/* Of the policy: */
	uint32_t *placed_as;      /* its identity -> ours, or VIEWS_NONE */
	uint32_t *rank, *by_rank; /* its identities in the order of their paths */
	uint64_t *known_at, *known_list_at, *opposite_at, *opposite_list_at; /* epochs */
	struct exact_bound *exact; /* entries without `*`, by name */
	size_t exact_count;
	const struct node_bound **wild;
	size_t wild_count;

	uint64_t know_epoch, opposite_epoch, touch_epoch, list_epoch;
	uint32_t *known; /* ranks of what was marked last */
	size_t known_count, known_cap;
	uint32_t *opposite; /* indices of policy */
	size_t opposite_count, opposite_cap;
	uint32_t *touched;
	size_t touched_count, touched_cap;
	struct place_node **listed; /* nodes of the view being written */
	size_t listed_count, listed_cap;
};

int views_touch(struct views *v, uint32_t node);
/* Nodes that host somebody whom a rule puts opposite this identity. */
int views_touch_opposite(struct views *v, uint32_t policy_index);
int views_touch_counterparts(struct views *v, const struct place_node *n);
/* Identities that rules put opposite this one, in v->opposite. */
int views_opposite(struct views *v, uint32_t policy_index);

/* views_bounds.c */
int views_bounds_set(struct views *v); /* after another policy */
void views_bounds_done(struct views *v);
int views_bounds_of(struct views *v, struct place_node *n);
bool views_address_ok(const struct place_node *n, const struct addr *a);

/* views_sites.c: what is in force, worked out again; what it changes for others is touched. */
int views_refresh_identity(struct views *v, struct place_identity *id);
/* The same when only what is said of one node has changed, and nothing about who pins it. */
int views_refresh_site(struct views *v, struct place_identity *id, uint32_t node);
bool views_pinned(const struct place_identity *id); /* by an operator or a file */
int views_refresh_node(struct views *v, struct place_node *n);
void views_sites_done(struct place_identity *id);
const struct site *views_site_at(const struct place_identity *id, const struct place_node *n);
char *views_addresses_json(const struct addr *addresses, size_t count);
