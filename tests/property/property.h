/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The property test: the kernel decides every packet as the oracle does.
 *
 * A round draws a policy (as YAML), a view, host facts, overlay and mode, compiles them and applies
 * the difference to the round before; then flows are drawn and sent as real packets between three
 * network namespaces, by sockets of real cgroups and uids, and what became of each is compared
 * with verdict_decide(). Everything comes from one seed.
 *
 *   draw.c    the world of a round, and flows
 *   text.c    the policy of a world as YAML
 *   stage.c   namespaces, cgroups, sockets
 *   world.c   the same as structs for compiler and oracle
 *   kernel.c  into the kernel: compile, difference, netlink; mutate.c damages it on purpose
 *   flow.c    flows, and what the oracle expects of them
 *   far.c     far hosts that vouch, refuse, or say nothing
 *   theatre.c flows to packets, packets to observations
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "rules/verdict.h"

/* --- randomness ------------------------------------------------------------------------------ */

struct rng {
	uint64_t state;
};

uint32_t draw(struct rng *r, size_t n); /* 0 .. n-1 */
bool chance(struct rng *r, unsigned percent);

/* --- the stage: what exists for the whole run ------------------------------------------------- */

enum host_name { HOST_HERE, HOST_B, HOST_C, HOST_COUNT };

#define CGROUPS_MAX     16
#define ACTORS_MAX      16
#define CGROUP_PATH_MAX 256
#define PATH_DEPTH_MAX  32

struct cgroup {
	char path[CGROUP_PATH_MAX];
	uint64_t ids[PATH_DEPTH_MAX]; /* of the ancestors from level 1 on, and itself last */
	unsigned level;
};

/* A process that makes sockets on demand and hands them over: in its cgroup, with its uid. */
struct actor {
	unsigned cgroup;
	uint32_t uid;
	enum host_name host;
	int channel;
	int pid;
};

struct stage {
	struct cgroup cgroups[CGROUPS_MAX];
	size_t cgroup_count;
	struct actor actors[ACTORS_MAX]; /* here; then one for each other host */
	size_t actor_count;
	struct actor others[HOST_COUNT];
	char root[CGROUP_PATH_MAX]; /* the cgroup that is ours */
};

struct stage_names {
	const char *here, *b, *c; /* network namespaces, as paths */
	const char *cgroup;       /* ours, below the root */
};
int stage_open(struct stage *s, const struct stage_names *names, struct err *err);
void stage_close(struct stage *s);
/* A socket made by the actor; -errno. */
int actor_socket(const struct actor *a, int family, int type, int protocol);

/* Addresses as run.sh gives them. */
struct place {
	enum host_name host;
	const char *text;
	struct addr addr;
};
extern struct place places[];
extern const size_t place_count;
void places_init(void);

extern const uint16_t ports[];
extern const size_t port_count;
#define PORTS_MAX     8
#define SENTINEL_PORT 7777
#define SENTINEL_FROM "10.77.0.1"
#define SENTINEL_TO   "10.77.0.9"

/* --- the world of a round -------------------------------------------------------------------- */

#define IDENTITIES_MAX     8
#define NETWORKS_MAX       3
#define RULES_MAX          12
#define TEXTS_MAX          3
#define WORKLOADS_MAX      12
#define HOST_WORKLOADS_MAX 64
#define PEERS_MAX          32
#define OVERLAY_MAX        3
#define GRANTS_MAX         6
#define ESSENTIALS_N       4
#define NODE_TEXTS         4 /* variants of `nodes:` */
#define HERE               "h-0"

struct model_identity {
	const char *serves[TEXTS_MAX];
	size_t serves_count;
	const char *placement; /* a pattern or NULL */
	bool observe, vendor;
	enum deny_answer deny_out, deny_in;
	enum assurance floor;
	bool unmeasured; /* what runs here as this identity is not approved */
};

struct model_rule {
	unsigned id;        /* its name */
	int from[2], to[2]; /* identities; from IDENTITIES_MAX on networks; -1 = none */
	const char *services[TEXTS_MAX];
	size_t service_count;
	int expires; /* 0 = never, hours from now (may be past) */
	int window;  /* 0 = none, 1 = open now, -1 = closed now */
	bool observe, open_on_clock_loss, grantable, ends_stale;
	enum assurance assurance;
	bool callee, open_unavailable;
};

struct model {
	struct model_identity identities[IDENTITIES_MAX];
	size_t identity_count;
	const char *networks[NETWORKS_MAX][2];
	size_t network_count;
	struct model_rule rules[RULES_MAX];
	size_t rule_count;
	unsigned nodes; /* which `nodes:` it has; 0 = none */
	bool drop_out, reject_in;
};

struct model_workload {
	int identity;
	int cgroup;   /* -1 = uid alone */
	uint32_t uid; /* 0 = any */
};

struct world {
	struct model model, candidate;
	bool has_candidate, candidate_on;
	enum node_mode mode;
	bool clock_trusted;
	bool steady; /* since the round before only rules, overlay and mode have changed */
	struct wall now;
	int stale; /* 0 = the mapping does not grow old, 1 = later, -1 = it is too old now */
	unsigned next_rule;
	int tighten; /* rule (by id) that shall begin to ask; -1 = none */

	struct model_workload workloads[WORKLOADS_MAX];
	size_t workload_count;
	int listeners[2][PORTS_MAX]; /* TCP, UDP: actor, -1 = none */

	/* owned: rebuilt by world_build() */
	struct policy *policies[2];
	struct view view;
	struct view_placed placed[IDENTITIES_MAX];
	struct addr placed_addresses[IDENTITIES_MAX][2];
	struct view_peer peers[PEERS_MAX];
	struct addr peer_addresses[PEERS_MAX][3];
	struct service peer_services[PEERS_MAX][2];
	struct view_node nodes[4];
	struct addr node_addresses[4][2];
	struct addr own[16];
	struct host host;
	struct host_workload host_workloads[HOST_WORKLOADS_MAX];
	struct host_nobody host_nobodies[ACTORS_MAX];
	struct host_listener host_listeners[2 * PORTS_MAX];
	struct host_unit host_units[1];
	bool unknown[CGROUPS_MAX]; /* cgroups that no set can name: their processes ask the agent */
	struct overlay overlay;
	struct overlay_revoked revoked[OVERLAY_MAX];
	struct overlay_quarantine quarantined[OVERLAY_MAX];
	char overlay_names[2 * OVERLAY_MAX][64];
	struct overlay_grant grants[GRANTS_MAX];
	char grant_rules[GRANTS_MAX][8];
	const char *unmeasured[IDENTITIES_MAX + 1];
	struct essentials essentials;
	struct essential essential[ESSENTIALS_N];
};

extern char identity_paths[IDENTITIES_MAX][16];

/* A world from nothing; or the same with something changed, as a policy or a fleet changes. */
void world_draw(struct world *w, struct rng *r, const struct stage *s);
void world_change(struct world *w, struct rng *r, const struct stage *s);
/* Policies parsed, host facts and overlay as structs. */
int world_build(struct world *w, const struct stage *s, struct err *err);
void world_done(struct world *w);
void world_input(const struct world *w, bool candidate, struct compile_input *ret);
/* The policy that judges now. */
bool world_judged_by_candidate(const struct world *w);
void model_text(const struct model *m, struct wall now, struct buf *b);

/* --- flows ----------------------------------------------------------------------------------- */

enum seen { SEEN_OPEN, SEEN_REFUSED, SEEN_SILENT, SEEN_COUNT };
const char *seen_name(enum seen s);

struct probe {
	struct flow flow;
	const struct actor *caller, *called; /* called: NULL = nobody listens or not here */
	struct verdict verdict;
	bool by_network; /* its rule names a network */
	enum seen expected, seen;
	uint16_t sport;
	uint32_t id;
	int fd;
	int send_error;
	char note[96];
};

/* False: the oracle leaves this flow to the agent, or names are ambiguous; draw another. */
bool probe_draw(struct probe *p, struct rng *r, const struct world *w, const struct stage *s,
		struct err *err);
void probe_format(const struct probe *p, const struct world *w, struct buf *b);

/* --- far hosts ------------------------------------------------------------------------------- */

#define PROPERTY_QUEUE 7190 /* and the two after it */

struct kernel; /* what was applied, and the numbers */
struct kept;
struct far;
int far_open(const struct kernel *k, struct far **ret, struct err *err);
void far_close(struct far *f);
/* Flows that may be asked about: borrowed until the next call. */
void far_expect(struct far *f, const struct world *w, const struct probe *probes, size_t count);
void far_expect_kept(struct far *f, const struct world *w, struct kept *kept, size_t count);
bool far_pump(struct far *f);
/* Asks about kept flows that run on a number that asks. */
int far_adopt(struct far *f, struct err *err);
struct far_tally {
	uint64_t vouched, refused, unavailable, adopted, lost;
};
struct far_tally far_tally(const struct far *f);

/* --- packets --------------------------------------------------------------------------------- */

struct theatre; /* sockets that listen */
int theatre_open(const struct stage *s, struct far *far, struct theatre **ret, struct err *err);
void theatre_close(struct theatre *t);
/* Listeners of the round, here. */
int theatre_listen(struct theatre *t, const struct world *w, const struct stage *s,
		   struct err *err);
/* Sends all, waits until all have arrived or cannot any more, fills `seen`. */
int theatre_play(struct theatre *t, const struct stage *s, struct probe *probes, size_t count,
		 struct err *err);
void theatre_clear(struct theatre *t, struct probe *probes, size_t count);

/*
 * Open flows that outlive a change of rules: they run on exactly when a new flow between the same
 * ends would be allowed (R16), in both directions, whoever talks first.
 */
#define KEPT_MAX 12
struct kept {
	struct probe probe;
	int server;      /* the accepted end; -1 for datagrams */
	int error;       /* of the caller's last send */
	bool by_network; /* what permitted it before the change named a network */
};
/* Takes open flows out of the probes; *count grows. */
void theatre_keep(struct theatre *t, struct probe *probes, size_t probe_count, struct kept *kept,
		  size_t *count);
int theatre_go_on(struct theatre *t, struct kept *kept, size_t count, struct err *err);
void kept_drop(struct kept *kept, size_t *count);
/* Keeps those that are still open. */
void kept_sift(struct kept *kept, size_t *count);
/* What the oracle says now of a flow drawn before; false as in probe_draw(). */
bool probe_again(struct probe *p, const struct world *w, struct err *err);

/* --- the kernel ------------------------------------------------------------------------------ */

/* The generation that judges now. */
const struct generation *kernel_generation(const struct kernel *k, const struct world *w);
/* The mark of flows that are nobody's. */
uint32_t kernel_unclaimed(const struct kernel *k);
void kernel_heartbeat(const struct kernel *k, bool on);
int kernel_open(struct kernel **ret, struct err *err);
void kernel_close(struct kernel *k);
/* fresh: the table goes first. mutation: 0 = none. */
int kernel_apply(struct kernel *k, const struct world *w, bool fresh, unsigned mutation,
		 struct rng *r, struct err *err);
/* What the kernel holds is what was applied. */
int kernel_audit(struct kernel *k, const struct world *w, struct err *err);
