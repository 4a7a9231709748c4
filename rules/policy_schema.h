/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The policy as libcyaml loads it, and the schema that both readings of a file follow
 * (rules/yaml_typed.h). Fields are those of FORMATS; the "later" ones are here so that they can be
 * refused by name. Lives only inside policy_add_text().
 */
#pragma once

#include "rules/policy.h"

#include <cyaml/cyaml.h>
#include <stdint.h>

enum policy_mode { MODE_NORMAL, MODE_OBSERVE };
enum policy_callee { CALLEE_ABSENT, CALLEE_MAPPED, CALLEE_ATTESTED };

/* A list of strings, as libcyaml wants it: pointer and count side by side. */
#define RAW_LIST(member)                                                                           \
	char **member;                                                                             \
	uint32_t member##_count

struct raw_defaults {
	enum deny_answer deny_out, deny_in;
	enum assurance assurance;
};

struct raw_workload {
	char *selectors[SELECTOR_FSVERITY + 1]; /* by enum selector_kind */
};

struct raw_placement {
	RAW_LIST(nodes);
	RAW_LIST(labels);
};

struct raw_identity {
	char *name, *path;
	struct raw_workload *workload;
	uint32_t workload_count;
	RAW_LIST(labels);
	RAW_LIST(serves);
	struct raw_placement *placement;
	enum policy_mode mode;
	enum deny_answer deny_out, deny_in;
	enum assurance min_assurance;
	RAW_LIST(reference);
};

struct raw_window {
	int *days; /* 0 = Monday */
	uint32_t days_count;
	char *from, *to, *zone;
};

struct raw_grantable {
	char *max;
};

struct raw_rule {
	char *name;
	RAW_LIST(from);
	RAW_LIST(to);
	RAW_LIST(services);
	char *purpose, *owner, *expires, *ticket, *review, *max_flows;
	enum assurance assurance;
	enum policy_callee callee;
	enum policy_mode mode;
	struct raw_window *window;
	enum on_unavailable on_unavailable;
	enum on_clock_loss on_clock_loss;
	enum on_stale on_stale;
	struct raw_grantable *grantable;
};

struct raw_exception {
	char *rule, *reason, *owner, *expires;
};

struct raw_separation {
	char *label;
	struct raw_exception *except;
	uint32_t except_count;
};

struct raw_network {
	char *name;
	RAW_LIST(cidrs);
	RAW_LIST(labels);
};

struct raw_node {
	char *pattern;
	RAW_LIST(addresses);
	RAW_LIST(spki);
	RAW_LIST(labels);
};

struct raw_device {
	char *name, *gateway, *interface, *mac;
	RAW_LIST(addresses);
	RAW_LIST(serves);
	RAW_LIST(labels);
};

struct raw_policy {
	char *trust_domain;
	struct raw_defaults *defaults;
	struct raw_identity *identities;
	uint32_t identities_count;
	struct raw_rule *rules;
	uint32_t rules_count;
	struct raw_separation *separations;
	uint32_t separations_count;
	struct raw_network *networks;
	uint32_t networks_count;
	struct raw_node *nodes;
	uint32_t nodes_count;
	struct raw_device *devices;
	uint32_t devices_count;
};

extern const cyaml_schema_value_t policy_schema;
