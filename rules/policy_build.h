/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of the policy parser share and nobody else sees: the state between
 * policy_add_text() and policy_finish(), and how findings are reported. Functions return 0 or
 * -ENOMEM (-E2BIG); what is wrong with the policy goes to the findings.
 */
#pragma once

#include "base/hash.h"
#include "rules/policy.h"
#include "rules/policy_schema.h"
#include "rules/yaml_tree.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct named_device {
	char *name;
	struct pos pos;
};

/* What the checks ask of a list of parties again and again; indices, or NO_PARTY. */
#define NO_PARTY UINT32_MAX
struct list_summary {
	uint32_t first_identity, first_network;
	uint32_t critical;      /* first identity with tier=critical or tier=high */
	uint32_t highest_floor; /* identity with the highest min_assurance */
	uint32_t unmeasurable;  /* first identity without reference values */
	uint32_t claimed;       /* first one that a user can claim for any of its processes (R39) */
};

struct policy_build {
	size_t file_cap, identity_cap, rule_cap, network_cap, node_cap, separation_cap, finding_cap;
	struct named_device *devices;
	size_t device_count, device_cap;
	struct pos trust_domain_pos, deny_out_pos, deny_in_pos, assurance_pos;
	/* Part of a file could not be read: names that seem to be missing may be in there. */
	bool names_incomplete;
	size_t errors_kept, warnings_kept;
	int r; /* sticky: reporting a finding failed */

	/* During policy_finish(): */
	const struct policy_features *features;
	struct wall now;
	struct list_summary *summaries; /* one per list */
	size_t list_cap;
	const char **names; /* what a subject may name, for suggestions */
	size_t name_count;
	uint64_t work; /* steps of checks that could grow with the square of the policy */
	bool work_told;
};

#define POLICY_WORK_MAX (8U << 20)

/* ---- findings (policy.c) ---- */

/* Stands in a format between what is wrong and what would be right. Never in a text of a file. */
#define ADVISE "\f"

void policy_error(struct policy *p, const struct pos *pos, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void policy_warn(struct policy *p, const struct pos *pos, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* False when another finding would only be counted: costly suggestions are not worth their time. */
bool policy_wants_error(const struct policy *p);
bool policy_wants_warning(const struct policy *p);

/*
 * Counts a step of work that could grow with the square of the policy. False once there was too
 * much of it: the check gives up, with one warning that says so.
 */
bool policy_may_work(struct policy *p);

/* "line 5", or "other.yaml:5" when that is another file than `here`. */
#define PLACE_TEXT_MAX 320
const char *policy_place(char buf[PLACE_TEXT_MAX], const struct policy *p, const struct pos *there,
			 const struct pos *here);

void policy_build_free(struct policy_build *b);
void policy_build_freep(struct policy_build **b);

/* ---- reading (policy_load.c, policy_load_rule.c) ---- */

struct pos policy_pos(const struct policy *p, const struct yaml_tree_node *n);
/* Position of a key rather than of its value. */
struct pos policy_key_pos(const struct policy *p, const struct yaml_tree_node *n);
int policy_load(struct policy *p, struct raw_policy *raw, const struct yaml_tree_node *root);
int policy_load_rule(struct policy *p, struct raw_rule *raw, const struct yaml_tree_node *n);
int policy_load_separation(struct policy *p, struct raw_separation *raw,
			   const struct yaml_tree_node *n);
int policy_load_labels(struct policy *p, char **texts, size_t count,
		       const struct yaml_tree_node *list, struct label **ret, size_t *ret_count);
int policy_load_services(struct policy *p, char **texts, size_t count,
			 const struct yaml_tree_node *list, struct service **ret,
			 size_t *ret_count);
void policy_check_name(struct policy *p, const char *name, const struct yaml_tree_node *object);
void policy_refuse_later(struct policy *p, const struct yaml_tree_node *object, const char *key);

/* ---- checking (policy_finish() calls them in this order) ---- */

int policy_check_identities(struct policy *p);  /* policy_identity.c: names, paths, claims */
int policy_resolve(struct policy *p);           /* policy_resolve.c: subjects to parties */
int policy_check_rules(struct policy *p);       /* policy_rule.c */
int policy_check_overlaps(struct policy *p);    /* policy_overlap.c: one rule against another */
int policy_check_separations(struct policy *p); /* policy_separation.c */

/* For a policy without errors. */
void policy_summarize_mapped(struct policy *p);

/* Whether two identities may run on one node, as far as their placement says. */
bool placements_overlap(const struct identity *a, const struct identity *b);
