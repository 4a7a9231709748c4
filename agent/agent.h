/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The agent: owns the parts and wires their events. Logic lives in the parts and in rules/; this
 * struct is what they share. Everything runs on one sd-event loop, one thread.
 *
 * If this process dies, the kernel goes on judging by the last ruleset: flows go on or stay
 * denied, leases go on ending, a candidate policy falls back by its own timeout. Only questions
 * (unknown cgroups) are refused two seconds later, when the heartbeat element has expired.
 */
#pragma once

#include "agent/config.h"
#include "agent/nft.h"
#include "agent/queue.h"
#include "base/clock.h"
#include "base/err.h"
#include "rules/compile.h"
#include "rules/verdict.h"
#include "rules/view.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct attest;
struct conntrack;
struct control;
struct controller_address;
struct courier_link;
struct document_store;
struct documents;
struct evidence;
struct log_upload;
struct metrics;
struct node_key;
struct peers;
struct questions;
struct status_report;
struct store;
struct telemetry;
struct usage;
struct vouch;
struct watcher;
struct workloads;

/* One applied policy and what was compiled from it. */
struct edition {
	struct policy *policy;
	struct generation *gen;
	uint64_t revision;
	/* This run's own number: revisions of manifests and those of `apply` may be the same. */
	uint64_t serial;
	bool of_manifest; /* signed: revision and digest are the manifest's */
	char digest[65];
	char who[64];
	char reason[256];
	struct wall when;
};

/* What must be done again before the kernel equals the intention. */
enum { DIRTY_HOST = 1, DIRTY_POLICY = 2, DIRTY_SHAPE = 4 };

/* A flow that a change cut: evidence for the operator. */
struct cut_list {
	json_t *flows; /* array, at most CUT_LISTED_MAX */
	size_t count;
	uint32_t *early; /* conduits whose flows are listed already */
	size_t early_count;
};
#define CUT_LISTED_MAX 1000

/* Called once the intention at the time of the call is in the kernel (r = 0) or was refused. */
typedef void (*reconciled)(void *user, int r, const struct err *err, const struct cut_list *cut);

struct waiter {
	reconciled call;
	void *user;
	bool next; /* waits for the reconciliation after the one in progress */
	struct waiter *following;
};

/* A plan on its way into the kernel, in several transactions. */
struct job {
	struct plan *plan;
	struct ruleset *target;
	struct generation *confirmed, *candidate;    /* new ones, owned until done; NULL = kept */
	uint64_t confirmed_serial, candidate_serial; /* editions they were compiled from */
	unsigned dirty;                              /* that it makes clean */
	struct nft_apply_input input;
	struct nft_apply *apply;
	uint64_t view_sequence; /* compiled from */
	sd_event_source *next_step;
	struct cut_list cut;
	bool owners_changed;
	bool asks_more; /* conduits ask that did not: flows may run on them */
};

struct agent {
	struct config config;
	sd_event *event;

	struct nft *nft;
	struct nft_monitor *monitor;
	struct store *store;
	struct document_store *document_store;
	struct workloads *workloads;
	struct queue *queue;
	struct questions *questions;
	struct queue_handler question_handler;
	struct conntrack *conntrack;
	struct telemetry *telemetry;
	struct control *control;
	struct watcher *watcher;
	struct metrics *metrics;
	struct usage *usage;
	/* With `trust` only, NULL otherwise; the link only with a controller. */
	struct documents *documents;
	struct courier_link *link;
	struct controller_address *controller_address;
	struct node_key *node_key; /* also without a controller, where `svid` names files */
	struct peers *peers;
	struct attest *attest;
	struct vouch *vouch;
	struct evidence *evidence;
	struct status_report *report;
	struct log_upload *log_upload;

	struct numbers *conduit_numbers, *identity_numbers;
	struct edition confirmed, candidate; /* candidate.policy NULL = none */
	/*
	 * Numbers in the kernel may have the borders of another policy, too: of the candidate, or
	 * of the one before while a confirmation is being finished. The next start reads it.
	 */
	struct {
		uint64_t revision; /* 0 = none */
		char manifest[65]; /* its digest, "" where policy came by `apply` */
	} borders;
	/* state.json was lost or damaged: what is known instead, and from where; NULL = it was not
	 */
	char *state_problem;
	json_t *damage; /* sentences of what else was damaged or lost; NULL = nothing */
	unsigned held;  /* what is missing while the kernel's table is left as it is: held.h */
	struct edition departing; /* that policy, until the start has compiled with it */
	uint64_t last_serial;     /* of editions */
	char fell_back[256];      /* why the last candidate was given up */
	bool candidate_on;        /* the kernel's switch was set for it */
	struct wall candidate_falls_back;
	struct mono candidate_ends; /* the same, by the clock that the kernel counts with */
	bool replacing;             /* a policy is on its way in, without probation */
	bool doubling;  /* both slots hold the confirmed policy: a confirmation is being finished */
	bool finishing; /* by a reconciliation that is on its way; else it is begun again */
	struct view *view;
	char *view_error; /* why the newest view.json was refused; NULL = it was not */
	struct wall view_when;
	uint64_t view_enforced; /* sequence of the view that the kernel judges by */
	uint64_t view_kept; /* sequence of the one on disk: the next start may not ask for more */
	struct overlay overlay;
	bool overlay_unkept; /* the disk has not taken the newest one */
	bool overlay_lost;   /* it could not be read */

	enum node_mode mode, mode_before; /* before a mode with an end */
	struct wall mode_until;           /* 0 = for good */
	struct table_shape shape;
	struct ruleset *applied; /* what the kernel holds; NULL = nothing of ours */
	bool enforcing;          /* base chains judge */
	bool chains_unsure;      /* replace the chains with the next plan */
	bool applied_unsure;     /* a load broke off and `applied` could not be read back yet */
	struct nft_labels labels;
	char *drift; /* what is not as it should be; NULL = kernel equals intention */

	unsigned dirty;
	unsigned refused; /* was dirty in a reconciliation that failed; due again with the next */
	struct job *job;
	struct waiter *waiters;
	struct cut_list cut_early; /* by agent_cut_now(): told with the next reconciliation */
	sd_event_source *reconcile_source, *heartbeat_source;
	uint64_t beats;
	sd_event_source *monitor_source;
	bool foreign_changed; /* another table changed: mark writers are to be looked for again */
	uint64_t repairs;
	uint64_t last_revision;
	struct mono heartbeat_last, started;
	struct mono alive_last; /* agent_alive was renewed; 0 = no beat yet */
	struct wall wall_last;
	struct mono boottime_last;
	struct wall wall_highest; /* newest wall time seen, kept across restarts */
	struct mono wall_leapt;   /* heartbeat_raise() */
	struct mono
		wall_raised; /* boot time when wall_highest was last the time; heartbeat_time() */
	struct wall next_change; /* a window opens or a lease ends */
	struct wall change_kept; /* the one at which the time was written down */
	bool clock_trusted;
	bool starting; /* the first reconciliation is still to come */
};

/* --- agent.c --- */
int agent_new(struct config *take_config, struct agent **ret, struct err *err);
/* Loads what is on disk, takes over or makes the table, starts every part. */
int agent_start(struct agent *a, struct err *err);
int agent_run(struct agent *a);
void agent_free(struct agent *a);
void agent_freep(struct agent **a);

/* Something on disk was damaged or lost: said now, and by `status` until the agent ends. */
void agent_damaged(struct agent *a, const char *text);
/* Writes state.json. */
int agent_save(struct agent *a, struct err *err);
int agent_save_state(struct agent *a, struct err *err); /* without the numbers */
/* A line of `bailiwick history`; failures are logged. */
void agent_history(struct agent *a, uint64_t revision, const char *digest, const char *who,
		   const char *reason, const char *outcome);

/* --- heartbeat.c --- */
/*
 * The time by which rules, grants, leases, modes and documents end: max(wall clock, highest seen,
 * release). A clock that was set back reopens nothing.
 */
struct wall agent_now(const struct agent *a);

/* --- overlay.c --- */
void agent_overlay_drop(struct agent *a, size_t revoked_index);
/* Writes it to disk; a failure is logged once and tried again with each heartbeat. */
void agent_overlay_keep(struct agent *a);

/* --- reconcile.c --- */
int agent_reconcile_init(struct agent *a);
/* Marks as dirty; the work is done before the loop sleeps again. */
void agent_touch(struct agent *a, unsigned dirty);
/*
 * The same, and calls back when it is in the kernel. With a call the result is 0, and the call is
 * made exactly once, perhaps before this returns: failures, ENOMEM too, come to it and not to the
 * caller, who has given `user` away. Without one (NULL) the result is that of the first attempt.
 */
int agent_reconcile(struct agent *a, unsigned dirty, reconciled call, void *user, struct err *err);
/* At once, without the event loop: start, and a new cgroup whose packet waits in the queue. */
int agent_reconcile_now(struct agent *a, unsigned dirty, struct err *err);
void agent_job_free(struct job *j);
/* At the end: those that still wait are told so. */
void agent_waiters_cancel(struct agent *a);
int agent_dump(struct agent *a, struct err *err);

/* --- sweep.c --- */
/*
 * Numbers that no generation and no conntrack entry carries are free again, and need not be
 * classified again (R17). Now and then; reads the whole flow table.
 */
int agent_sweep(struct agent *a, struct err *err);
/*
 * At start: a number that a conntrack entry carries and no key is known for - run_dir was lost, or
 * the agent killed before it wrote - goes to no conduit before a sweep has found it gone. Without
 * this a flow that was cut would run again as the conduit that inherits its number.
 */
void agent_numbers_hold(struct agent *a);

/* --- generations.c --- */
int agent_compile(struct agent *a, struct generation **ret_confirmed,
		  struct generation **ret_candidate, struct err *err);
void agent_compile_input(const struct agent *a, const struct policy *policy,
			 struct compile_input *ret);
/* The generation that new flows are judged by now. */
const struct edition *agent_edition(const struct agent *a);
/* One change of policy at a time, each has the one before as its way back: -EBUSY. */
int agent_refuse_while_changing(const struct agent *a, struct err *err);
/*
 * These take over the edition, and call back once, when they succeed; when they fail everything
 * stays the caller's. Their call may be made before they return.
 */
int agent_candidate_start(struct agent *a, struct edition *take, int64_t seconds, reconciled call,
			  void *user, struct err *err);
int agent_policy_replace(struct agent *a, struct edition *take, reconciled call, void *user,
			 struct err *err);
int agent_confirm_finish(struct agent *a, reconciled call, void *user, struct err *err);
/* Begins it again if the kernel refused it; until then no other policy can be applied. */
void agent_confirm_retry(struct agent *a);
void agent_candidate_tick(struct agent *a);
int agent_candidate_confirm(struct agent *a, reconciled call, void *user, struct err *err);
#define CANDIDATE_NOT_IN_TIME "not confirmed in time"
int agent_candidate_rollback(struct agent *a, const char *why, reconciled call, void *user,
			     struct err *err);
void edition_done(struct edition *e);
void agent_borders_of(struct agent *a, const struct edition *e);
/*
 * At a start, before the first reconciliation: what the kernel's numbers were compiled from when
 * the last run ended in the middle of a change. Their flows are then classified again, not cut.
 */
void agent_borders_recall(struct agent *a);

/* --- modes.c --- */
/* Where state.json is lost: what the kernel does now is what was last said. */
int agent_mode_recover(struct agent *a, struct err *err);
int agent_mode_set(struct agent *a, enum node_mode mode, int64_t seconds, bool force,
		   reconciled call, void *user, struct err *err);
void agent_mode_tick(struct agent *a, struct wall now);
/* Switches in the kernel as the mode demands; called after each load. */
int agent_mode_apply(struct agent *a, struct err *err);
void agent_shape(const struct agent *a, struct table_shape *ret);

/* --- flows.c --- */
/* Adds conntrack flows whose number is in `numbers` (sorted) to the list. */
int agent_flows_of(struct agent *a, const uint32_t *numbers, size_t count, struct cut_list *cut);
/* Flows whose conduit `from` lets run and `to` does not. */
int agent_flows_lost(struct agent *a, const struct generation *from, const struct generation *to,
		     struct cut_list *cut);
/*
 * What the overlay has just closed, beside a load in progress: its flows end now, and the load does
 * not open it again. The reconciliation after the load makes it good in every set.
 */
int agent_cut_now(struct agent *a, struct err *err);
json_t *agent_flow_json(const struct agent *a, const struct addr *src, uint16_t sport,
			const struct addr *dst, uint16_t dport, uint8_t l4proto, uint32_t mark,
			uint64_t packets, uint64_t bytes, const char *state);
void cut_list_done(struct cut_list *c);
/* The conduit of a mark, in the generation in force or the other one; NULL if none. */
const struct conduit *agent_conduit(const struct agent *a, uint32_t mark,
				    const struct generation **ret_gen);
