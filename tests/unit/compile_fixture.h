/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Compilation in tests: a policy from YAML, a view and a host from short texts, and lookups that do
 * what the kernel does with the compiled sets: exact map, map for all ports, intervals, live.
 */
#pragma once

#include "rules/compile.h"

#define FIXTURE_NODE         "pay-1"
#define FIXTURE_CGROUP_LEVEL 2
#define FIXTURE_UNCLAIMED    0x0fffff00u
#define FIXTURE_TEXT_MAX     160
#define FIXTURE_LIST_MAX     16 /* addresses or services in one text */

/* Pieces of policies. */
#define TOP                                                                                        \
	"trust_domain: acme.example\n"                                                             \
	"defaults: {assurance: mapped}\n"                                                          \
	"identities:\n"
#define ID(name, more)                                                                             \
	"  - {name: " name ", path: prod/" name ", workload: [{unit: " name ".service}]" more "}\n"
#define RULE(name, from, to, services, more)                                                       \
	"  - {name: " name ", from: [" from "], to: [" to "], services: [" services                \
	"], purpose: p, owner: o" more "}\n"
#define EXPIRES ", expires: 2027-01-01T00:00:00Z"
#define EXPIRED ", expires: 2026-01-01T00:00:00Z"

/* Identity a calls b. */
#define AB(name, more) RULE(name, "a", "b", "tcp/80", more)

struct compiled {
	struct policy *policy;
	struct policy *other; /* also_cut */
	struct view *view;
	struct host host;
	struct overlay overlay;
	struct essentials essentials;
	struct compile_input in;
	struct numbers *numbers, *identities;
	struct generation *g;
	struct ruleset *r;
	struct table_shape shape;
	struct err err;
	char text[FIXTURE_TEXT_MAX];
};

/* Node pay-1 with 10.0.0.1 and fd00::1, "now" of policy tests, clock trusted, UTC. */
void compiled_init(struct compiled *f, const char *policy_text);
void compiled_done(struct compiled *f);
/* Takes another policy; the view stays. */
void compiled_policy(struct compiled *f, const char *policy_text);

/* Lists are separated by spaces; addresses may be NULL. */
void compiled_place(struct compiled *f, const char *path, const char *addresses);
void compiled_peer(struct compiled *f, const char *path, const char *node, const char *addresses,
		   const char *services);
void compiled_node(struct compiled *f, const char *node, const char *addresses);
void compiled_clear_view(struct compiled *f);
void compiled_revoke(struct compiled *f, int kind, const char *name);
void compiled_quarantine(struct compiled *f, const char *path, const char *keep);
/* Ends so many seconds from now. */
void compiled_grant(struct compiled *f, const char *rule, const char *from, const char *to,
		    int64_t seconds);
void compiled_essential(struct compiled *f, enum essential_direction direction, const char *far,
			const char *service, const char *by);

/* Every identity of the policy runs in a cgroup of its own. */
uint64_t compiled_cgroup(const struct compiled *f, const char *identity);
/* Compiles and builds; the old generation and ruleset are dropped. The plain one must succeed. */
int compiled_try(struct compiled *f);
void compiled_run(struct compiled *f);

/*
 * What the kernel finds, as "settlement > api tcp/8443: accept", "-" without a conduit. Verdict
 * "none": a conduit without an element.
 */
const char *compiled_out(struct compiled *f, const char *identity, const char *address,
			 const char *service);
const char *compiled_in(struct compiled *f, const char *identity, const char *address,
			const char *service);
/* At output and again at input, where the listener is looked at: "refused" if it may not. */
const char *compiled_loopback(struct compiled *f, const char *identity, const char *address,
			      const char *service, const char *listener);
const char *compiled_in_echo(struct compiled *f, const char *address, const char *service);

/* The parts: 0 without a conduit; LIVE_NONE without an element. */
uint32_t compiled_mark(const struct compiled *f, const char *identity);
uint32_t compiled_find(const struct compiled *f, bool in, uint32_t mark, const struct addr *a,
		       const struct service *s, enum slot slot);
uint32_t compiled_find_essential(const struct compiled *f, bool in, const struct addr *a,
				 const struct service *s);
uint8_t compiled_live(const struct compiled *f, uint32_t number);
bool compiled_has(const struct compiled *f, enum set_kind kind, enum slot slot, uint8_t level,
		  const struct key *key);
bool compiled_has_mark(const struct compiled *f, enum set_kind kind, uint32_t mark);
bool compiled_is_end(const struct compiled *f, uint32_t number, uint64_t cgroup);
uint8_t compiled_live_udp(const struct compiled *f, uint32_t number, uint64_t cgroup);
int64_t compiled_lease(const struct compiled *f, uint32_t number);
size_t compiled_count(const struct compiled *f, enum set_kind kind);

struct addr fixture_addr(const char *text);
struct service fixture_service(const char *text);
