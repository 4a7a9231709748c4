/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The policy as people write it (DESIGN section 6, FORMATS "Policy"): model, parser, validation.
 *
 * A policy is read from one or more YAML texts. policy_add_text() collects what it finds, with all
 * errors in one pass; policy_finish() validates across files, resolves names and expressions, and
 * only a policy without errors may be compiled. Everything is owned by the struct policy; indices
 * (identity 3, rule 7) are positions in its arrays and are stable after policy_finish().
 *
 * Pure: no I/O, no clock. The caller reads the files and passes `now` where a date matters.
 */
#pragma once

#include "base/addr.h"
#include "base/clock.h"
#include "base/err.h"
#include "rules/service.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POLICY_TEXT_MAX       (32U << 20)
#define POLICY_IDENTITIES_MAX 100000
#define POLICY_RULES_MAX      100000
#define POLICY_NAME_MAX       128
#define POLICY_ERRORS_MAX     200 /* further ones are counted; warnings likewise, by themselves */
#define POLICY_PARTIES_MAX    (16U << 20) /* of all lists together */

/* Where something was written. file indexes policy->files; line and column count from 1; 0 =
 * nowhere. */
struct pos {
	uint32_t file, line, column;
};

/* An identity's or a rule's answer when it refuses. */
enum deny_answer { DENY_DEFAULT, DENY_REJECT, DENY_DROP };
enum assurance { ASSURANCE_DEFAULT, ASSURANCE_MAPPED, ASSURANCE_ATTESTED, ASSURANCE_MEASURED };
enum on_unavailable { ON_UNAVAILABLE_DENY, ON_UNAVAILABLE_ALLOW };
enum on_clock_loss { ON_CLOCK_LOSS_CLOSE, ON_CLOCK_LOSS_OPEN };
enum on_stale { ON_STALE_KEEP, ON_STALE_END };

struct label {
	char *key, *value;
	struct pos pos;
};

enum selector_kind {
	SELECTOR_UNIT,
	SELECTOR_SLICE,
	SELECTOR_CGROUP,
	SELECTOR_USER,
	SELECTOR_GROUP,
	SELECTOR_EXE,
	SELECTOR_CONTAINER,
	SELECTOR_POD,
	SELECTOR_EXE_SHA256,
	SELECTOR_FSVERITY,
};

struct selector {
	enum selector_kind kind;
	char *value;
	struct pos pos;
};

/* One entry under `workload:`; all selectors of an entry must hold. */
struct workload_entry {
	struct selector *selectors;
	size_t selector_count;
	struct pos pos;
};

struct identity {
	char *name;
	char *path; /* "prod/payments/settlement"; SPIFFE ID is spiffe://<trust domain>/<path> */
	struct label *labels;
	size_t label_count;
	struct workload_entry *workload;
	size_t workload_count;
	struct service *serves;
	size_t serves_count;
	char **placement_nodes; /* patterns; none = any listed node */
	size_t placement_node_count;
	struct label *placement_labels; /* of the node */
	size_t placement_label_count;
	bool observe;
	enum deny_answer deny_out, deny_in; /* DENY_DEFAULT = policy default */
	enum assurance min_assurance;       /* ASSURANCE_DEFAULT = no floor */
	char **reference;                   /* SHA-256 of approved executables, lower-case hex */
	size_t reference_count;
	bool damaged; /* something of it was refused by the parser: no follow-on errors about it */
	struct pos pos, path_pos, min_assurance_pos;
};

struct network {
	char *name;
	struct prefix *prefixes;
	size_t prefix_count;
	struct label *labels;
	size_t label_count;
	bool damaged; /* as in struct identity */
	struct pos pos;
};

struct node_bound {
	char *pattern;
	struct prefix *addresses;
	size_t address_count;
	struct label *labels;
	size_t label_count;
	char **spki; /* lower-case hex SHA-256, later checked against node keys */
	size_t spki_count;
	struct pos pos;
};

enum party_kind { PARTY_IDENTITY, PARTY_NETWORK };

struct party_ref {
	enum party_kind kind;
	uint32_t index; /* into identities or networks */
};

/* A name or a label expression as written, with its position. */
struct subject {
	char *text;
	struct pos pos;
};

/* An access of more than this is no exception any more, it is a rule. */
#define RULE_GRANT_MAX_S (30LL * 86400)

#define WINDOW_ZONE_MAX 64
struct window {
	uint8_t days;               /* bit 0 = Monday; the day on which the window begins */
	uint16_t from_min, to_min;  /* minutes since midnight, local; to <= from ends next day */
	char zone[WINDOW_ZONE_MAX]; /* tz database name */
};

struct rule {
	char *name;
	struct subject *from, *to;
	size_t from_count, to_count;
	/* Resolved, sorted, unique; borrowed from policy->lists (rules that say the same share
	 * one). */
	const struct party_ref *from_parties, *to_parties;
	size_t from_party_count, to_party_count;
	uint32_t from_list, to_list; /* indices of these lists */
	struct service *services;
	size_t service_count;
	char *purpose, *owner, *ticket, *review;
	enum assurance assurance; /* resolved: never ASSURANCE_DEFAULT after policy_finish() */
	bool observe;
	bool has_expires;
	struct wall expires;
	bool has_window;
	struct window window;
	/* The caller's host asks who listens before the first byte leaves. */
	bool callee_attested;
	enum on_unavailable on_unavailable;
	enum on_clock_loss on_clock_loss;
	enum on_stale on_stale;
	/* Opens nothing but pairs of identities that a grant names, each for at most so long. */
	bool grantable;
	int64_t grant_max_s;
	bool damaged; /* as in struct identity */
	struct pos pos, services_pos, assurance_pos, callee_pos, window_pos, grantable_pos;
};

struct separation_exception {
	char *rule, *reason, *owner;
	struct wall expires;
	struct pos pos;
};

struct separation {
	char *label;
	struct separation_exception *except;
	size_t except_count;
	struct pos pos;
};

enum finding_level { FINDING_ERROR, FINDING_WARNING };

/* One thing wrong, for people: message says what is wrong, advice what would be right (may be
 * NULL). */
struct finding {
	enum finding_level level;
	struct pos pos;
	char *message, *advice;
};

/* The parties of one `from:` or `to:`, and the rules in which it stands there. */
struct party_list {
	struct party_ref *parties;
	size_t count;
	uint32_t *from_rules, *to_rules;
	size_t from_rule_count, to_rule_count;
};

/* Which lists a party is in: those of party p are at[start[p]] to at[start[p + 1]] (exclusive). */
struct party_index {
	uint32_t *start, *at;
	uint32_t party_count;
};

struct map;

struct policy {
	char **files; /* names as given to policy_add_text() */
	size_t file_count;
	char *trust_domain;
	enum deny_answer deny_out, deny_in; /* of defaults: reject, drop */
	enum assurance assurance;           /* of defaults: attested */
	struct identity *identities;
	size_t identity_count;
	struct rule *rules;
	size_t rule_count;
	struct network *networks;
	size_t network_count;
	struct node_bound *nodes;
	size_t node_count;
	struct separation *separations;
	size_t separation_count;
	struct finding *findings;
	size_t finding_count;
	size_t error_count; /* findings that are errors, those above POLICY_ERRORS_MAX included */
	size_t warning_count;
	/* Filled by policy_finish(): */
	struct party_list *lists;
	size_t list_count;
	struct party_index index;
	struct map *parties_by_name, *identities_by_path, *rules_by_name;
	struct policy_build *build; /* parser's own state, gone after policy_finish() */
};

/* What this node's release can do; what is absent is refused with "not available on this node yet".
 */
struct policy_features {
	bool attested; /* peers' agents vouch; without, a rule between nodes must say mapped */
	/* Whether a window's time zone exists; NULL: not looked at. */
	bool (*zone_known)(void *user, const char *zone);
	void *user;
};

struct policy *policy_new(void);
void policy_free(struct policy *p);
void policy_freep(struct policy **p);

/*
 * Parses one text (need not be NUL-terminated). Findings are collected in p; the return value is
 * only about resources: 0, -ENOMEM, -E2BIG.
 */
int policy_add_text(struct policy *p, const char *file_name, const char *text, size_t len);

/*
 * Validates the whole and resolves subjects. `now` decides which expirations are past.
 * Returns 0 when there is no error, -EINVAL when findings hold errors, -ENOMEM.
 */
int policy_finish(struct policy *p, const struct policy_features *features, struct wall now);

/* "payments.yaml:31:7", or "payments.yaml" without a line. */
#define POS_TEXT_MAX 320
const char *pos_format(char buf[POS_TEXT_MAX], const struct policy *p, const struct pos *pos);
/* -EINVAL; what is found wrong first, and how much is: "2 errors; first: p.yaml:3:5: ...". */
int policy_first_error(const struct policy *p, const char *before, struct err *err);

/*
 * Walks the rules in which a party stands under from: (or to:), without visiting others. Each rule
 * comes once; the order is not that of the file.
 */
struct rule_iter {
	uint32_t at, end, next;
	bool to;
};
void policy_rules_from(const struct policy *p, struct party_ref party, struct rule_iter *ret_iter);
void policy_rules_to(const struct policy *p, struct party_ref party, struct rule_iter *ret_iter);
bool policy_next_rule(const struct policy *p, struct rule_iter *iter, uint32_t *ret_rule);

/*
 * Lookups after policy_finish(), -ENOENT when absent. By name, or by path where names fail. A name
 * that another identity has as its path is refused by policy_finish().
 */
int policy_find_identity(const struct policy *p, const char *name_or_path);
int policy_find_network(const struct policy *p, const char *name);
int policy_find_rule(const struct policy *p, const char *name);
/* What may have been meant by a name that nothing has; NULL: nothing near, or no memory. */
const char *policy_nearest_identity(const struct policy *p, const char *name);
const char *policy_nearest_rule(const struct policy *p, const char *name);

/*
 * A label expression selects identities (a network is an address range and must be named):
 * term *("," term), term = key "=" value *("|" value); all terms hold, a
 * missing label matches nothing. expression_check() says whether the text is one.
 */
bool expression_check(const char *text, struct err *err);
bool expression_matches(const char *text, const struct label *labels, size_t label_count);
const char *label_value(const struct label *labels, size_t label_count, const char *key);

/* Words of FORMATS. */
const char *assurance_name(enum assurance a); /* "mapped", "attested", "measured" */
const char *selector_name(enum selector_kind k);
