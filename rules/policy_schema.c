/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/policy_schema.h"

#include "rules/yaml_tree.h"

#include "base/mem.h"

#include <stddef.h>

#define LABELS_MAX      64
#define WORKLOADS_MAX   64
#define SERVICES_MAX    256
#define PATTERNS_MAX    256
#define SUBJECTS_MAX    1024
#define CIDRS_MAX       4096
#define DIGESTS_MAX     1024
#define EXCEPTIONS_MAX  10000
#define SEPARATIONS_MAX 256
#define NODES_MAX       100000
#define DAYS_MAX        7

#define REQUIRED CYAML_FLAG_DEFAULT
#define OPTIONAL CYAML_FLAG_OPTIONAL

/* A text, a list of texts, a word out of a table, a list of mappings. */
#define TEXT(key, need, type, member)                                                              \
	CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | (need), type, member, 0,                  \
			       YAML_TREE_SCALAR_MAX)
#define TEXTS(key, need, type, member, max)                                                        \
	CYAML_FIELD_SEQUENCE(key, CYAML_FLAG_POINTER | (need), type, member, &text_entry, 0, max)
#define WORD(key, type, member, words)                                                             \
	CYAML_FIELD_ENUM(key, OPTIONAL | CYAML_FLAG_STRICT, type, member, words, ARRAY_LEN(words))
#define ENTRIES(key, need, type, member, entry, max)                                               \
	CYAML_FIELD_SEQUENCE(key, CYAML_FLAG_POINTER | (need), type, member, entry, 0, max)
#define MAPPING(key, type, member, fields)                                                         \
	CYAML_FIELD_MAPPING_PTR(key, CYAML_FLAG_POINTER | OPTIONAL, type, member, fields)
#define ENTRY_OF(type, fields)                                                                     \
	{                                                                                          \
		CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, type, fields)                              \
	}

static const cyaml_schema_value_t text_entry = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, YAML_TREE_SCALAR_MAX),
};

static const cyaml_strval_t deny_words[] = {{"reject", DENY_REJECT}, {"drop", DENY_DROP}};
static const cyaml_strval_t assurance_words[] = {
	{"mapped", ASSURANCE_MAPPED},
	{"attested", ASSURANCE_ATTESTED},
	{"measured", ASSURANCE_MEASURED},
};
static const cyaml_strval_t mode_words[] = {{"observe", MODE_OBSERVE}};
static const cyaml_strval_t callee_words[] = {
	{"mapped", CALLEE_MAPPED},
	{"attested", CALLEE_ATTESTED},
};
static const cyaml_strval_t on_unavailable_words[] = {
	{"deny", ON_UNAVAILABLE_DENY},
	{"allow", ON_UNAVAILABLE_ALLOW},
};
static const cyaml_strval_t on_clock_loss_words[] = {
	{"close", ON_CLOCK_LOSS_CLOSE},
	{"open", ON_CLOCK_LOSS_OPEN},
};
static const cyaml_strval_t on_stale_words[] = {{"keep", ON_STALE_KEEP}, {"end", ON_STALE_END}};
static const cyaml_strval_t day_words[] = {
	{"mon", 0}, {"tue", 1}, {"wed", 2}, {"thu", 3}, {"fri", 4}, {"sat", 5}, {"sun", 6},
};

static const cyaml_schema_field_t defaults_fields[] = {
	WORD("deny_out", struct raw_defaults, deny_out, deny_words),
	WORD("deny_in", struct raw_defaults, deny_in, deny_words),
	WORD("assurance", struct raw_defaults, assurance, assurance_words),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t workload_fields[] = {
	TEXT("unit", OPTIONAL, struct raw_workload, selectors[SELECTOR_UNIT]),
	TEXT("slice", OPTIONAL, struct raw_workload, selectors[SELECTOR_SLICE]),
	TEXT("cgroup", OPTIONAL, struct raw_workload, selectors[SELECTOR_CGROUP]),
	TEXT("user", OPTIONAL, struct raw_workload, selectors[SELECTOR_USER]),
	TEXT("group", OPTIONAL, struct raw_workload, selectors[SELECTOR_GROUP]),
	TEXT("exe", OPTIONAL, struct raw_workload, selectors[SELECTOR_EXE]),
	TEXT("container", OPTIONAL, struct raw_workload, selectors[SELECTOR_CONTAINER]),
	TEXT("pod", OPTIONAL, struct raw_workload, selectors[SELECTOR_POD]),
	TEXT("exe_sha256", OPTIONAL, struct raw_workload, selectors[SELECTOR_EXE_SHA256]),
	TEXT("fsverity", OPTIONAL, struct raw_workload, selectors[SELECTOR_FSVERITY]),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t workload_entry = ENTRY_OF(struct raw_workload, workload_fields);

static const cyaml_schema_field_t placement_fields[] = {
	TEXTS("nodes", OPTIONAL, struct raw_placement, nodes, PATTERNS_MAX),
	TEXTS("labels", OPTIONAL, struct raw_placement, labels, LABELS_MAX),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t identity_fields[] = {
	TEXT("name", REQUIRED, struct raw_identity, name),
	TEXT("path", REQUIRED, struct raw_identity, path),
	ENTRIES("workload", REQUIRED, struct raw_identity, workload, &workload_entry,
		WORKLOADS_MAX),
	TEXTS("labels", OPTIONAL, struct raw_identity, labels, LABELS_MAX),
	TEXTS("serves", OPTIONAL, struct raw_identity, serves, SERVICES_MAX),
	MAPPING("placement", struct raw_identity, placement, placement_fields),
	WORD("mode", struct raw_identity, mode, mode_words),
	WORD("deny_out", struct raw_identity, deny_out, deny_words),
	WORD("deny_in", struct raw_identity, deny_in, deny_words),
	WORD("min_assurance", struct raw_identity, min_assurance, assurance_words),
	TEXTS("reference", OPTIONAL, struct raw_identity, reference, DIGESTS_MAX),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t identity_entry = ENTRY_OF(struct raw_identity, identity_fields);

static const cyaml_schema_value_t day_entry = {
	CYAML_VALUE_ENUM(CYAML_FLAG_STRICT, int, day_words, ARRAY_LEN(day_words)),
};

static const cyaml_schema_field_t window_fields[] = {
	ENTRIES("days", REQUIRED, struct raw_window, days, &day_entry, DAYS_MAX),
	TEXT("from", REQUIRED, struct raw_window, from),
	TEXT("to", REQUIRED, struct raw_window, to),
	TEXT("zone", REQUIRED, struct raw_window, zone),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t grantable_fields[] = {
	TEXT("max", REQUIRED, struct raw_grantable, max),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t rule_fields[] = {
	TEXT("name", REQUIRED, struct raw_rule, name),
	TEXTS("from", REQUIRED, struct raw_rule, from, SUBJECTS_MAX),
	TEXTS("to", REQUIRED, struct raw_rule, to, SUBJECTS_MAX),
	TEXTS("services", REQUIRED, struct raw_rule, services, SERVICES_MAX),
	TEXT("purpose", REQUIRED, struct raw_rule, purpose),
	TEXT("owner", REQUIRED, struct raw_rule, owner),
	WORD("assurance", struct raw_rule, assurance, assurance_words),
	WORD("callee", struct raw_rule, callee, callee_words),
	WORD("mode", struct raw_rule, mode, mode_words),
	TEXT("expires", OPTIONAL, struct raw_rule, expires),
	MAPPING("window", struct raw_rule, window, window_fields),
	WORD("on_unavailable", struct raw_rule, on_unavailable, on_unavailable_words),
	WORD("on_clock_loss", struct raw_rule, on_clock_loss, on_clock_loss_words),
	WORD("on_stale", struct raw_rule, on_stale, on_stale_words),
	MAPPING("grantable", struct raw_rule, grantable, grantable_fields),
	TEXT("max_flows", OPTIONAL, struct raw_rule, max_flows),
	TEXT("ticket", OPTIONAL, struct raw_rule, ticket),
	TEXT("review", OPTIONAL, struct raw_rule, review),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t rule_entry = ENTRY_OF(struct raw_rule, rule_fields);

static const cyaml_schema_field_t exception_fields[] = {
	TEXT("rule", REQUIRED, struct raw_exception, rule),
	TEXT("reason", REQUIRED, struct raw_exception, reason),
	TEXT("owner", REQUIRED, struct raw_exception, owner),
	TEXT("expires", REQUIRED, struct raw_exception, expires),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t exception_entry =
	ENTRY_OF(struct raw_exception, exception_fields);

static const cyaml_schema_field_t separation_fields[] = {
	TEXT("label", REQUIRED, struct raw_separation, label),
	ENTRIES("except", OPTIONAL, struct raw_separation, except, &exception_entry,
		EXCEPTIONS_MAX),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t separation_entry =
	ENTRY_OF(struct raw_separation, separation_fields);

static const cyaml_schema_field_t network_fields[] = {
	TEXT("name", REQUIRED, struct raw_network, name),
	TEXTS("cidrs", REQUIRED, struct raw_network, cidrs, CIDRS_MAX),
	TEXTS("labels", OPTIONAL, struct raw_network, labels, LABELS_MAX),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t network_entry = ENTRY_OF(struct raw_network, network_fields);

static const cyaml_schema_field_t node_fields[] = {
	TEXT("pattern", REQUIRED, struct raw_node, pattern),
	TEXTS("addresses", OPTIONAL, struct raw_node, addresses, CIDRS_MAX),
	TEXTS("spki", OPTIONAL, struct raw_node, spki, DIGESTS_MAX),
	TEXTS("labels", OPTIONAL, struct raw_node, labels, LABELS_MAX),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t node_entry = ENTRY_OF(struct raw_node, node_fields);

static const cyaml_schema_field_t device_fields[] = {
	TEXT("name", REQUIRED, struct raw_device, name),
	TEXT("gateway", REQUIRED, struct raw_device, gateway),
	TEXT("interface", REQUIRED, struct raw_device, interface),
	TEXT("mac", REQUIRED, struct raw_device, mac),
	TEXTS("addresses", REQUIRED, struct raw_device, addresses, CIDRS_MAX),
	TEXTS("serves", OPTIONAL, struct raw_device, serves, SERVICES_MAX),
	TEXTS("labels", OPTIONAL, struct raw_device, labels, LABELS_MAX),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t device_entry = ENTRY_OF(struct raw_device, device_fields);

static const cyaml_schema_field_t policy_fields[] = {
	TEXT("trust_domain", REQUIRED, struct raw_policy, trust_domain),
	MAPPING("defaults", struct raw_policy, defaults, defaults_fields),
	ENTRIES("identities", OPTIONAL, struct raw_policy, identities, &identity_entry,
		POLICY_IDENTITIES_MAX),
	ENTRIES("rules", OPTIONAL, struct raw_policy, rules, &rule_entry, POLICY_RULES_MAX),
	ENTRIES("separations", OPTIONAL, struct raw_policy, separations, &separation_entry,
		SEPARATIONS_MAX),
	ENTRIES("networks", OPTIONAL, struct raw_policy, networks, &network_entry, NODES_MAX),
	ENTRIES("nodes", OPTIONAL, struct raw_policy, nodes, &node_entry, NODES_MAX),
	ENTRIES("devices", OPTIONAL, struct raw_policy, devices, &device_entry, NODES_MAX),
	CYAML_FIELD_IGNORE("zones", OPTIONAL),
	CYAML_FIELD_END,
};

const cyaml_schema_value_t policy_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_policy, policy_fields),
};
