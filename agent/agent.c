/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/agent.h"

#include "agent/adoption.h"
#include "agent/conntrack.h"
#include "agent/control.h"
#include "agent/heartbeat.h"
#include "agent/loading.h"
#include "agent/metrics.h"
#include "agent/questions.h"
#include "agent/repair.h"
#include "agent/store.h"
#include "agent/telemetry.h"
#include "agent/usage.h"
#include "agent/watcher.h"
#include "agent/workload.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/marks.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define LIVE_SIZE_FIRST 65536U

/* --- state on disk ------------------------------------------------------------------------ */

int agent_save(struct agent *a, struct err *err)
{
	struct store_state st = {
		.confirmed = a->confirmed.revision,
		.candidate = a->candidate.revision,
		.falls_back = a->candidate_falls_back,
		.last_revision = a->last_revision,
		.mode = a->mode,
		.mode_before = a->mode_before,
		.mode_until = a->mode_until,
		.view_sequence = a->view_kept,
		.wall_highest = a->wall_highest,
	};
	int r = store_state_write(a->store, &st, err);

	if (r >= 0)
		r = store_numbers_write(a->store, a->conduit_numbers, a->identity_numbers, err);
	return r;
}

void agent_history(struct agent *a, uint64_t revision, const char *digest, const char *who,
		   const char *reason, const char *outcome)
{
	char when[RFC3339_TEXT_MAX];
	struct err err = {{0}};
	json_t *entry = json_pack("{s:I,s:s,s:s,s:s,s:s,s:s,s:i,s:i}", "revision",
				  (json_int_t)revision, "digest", digest, "when",
				  rfc3339_format(when, wall_now()), "who", who, "reason",
				  reason ? reason : "", "outcome", outcome, "gained", 0, "lost", 0);

	if (!entry || store_history_add(a->store, entry, &err) < 0)
		log_warn("history: %s", entry ? err.text : "out of memory");
	json_decref(entry);
}

static int load_edition(struct agent *a, uint64_t revision, struct edition *ret, struct err *err)
{
	struct store_policy texts = {0};
	int r;

	r = store_policy_read(a->store, revision, &texts, err);
	if (r < 0)
		return r;
	r = loading_policy(a, &texts, &ret->policy, NULL, NULL, err);
	if (r >= 0) {
		ret->revision = texts.revision;
		ret->when = texts.when;
		(void)snprintf(ret->digest, sizeof(ret->digest), "%s", texts.digest);
		(void)snprintf(ret->who, sizeof(ret->who), "%s", texts.who);
		(void)snprintf(ret->reason, sizeof(ret->reason), "%s", texts.reason);
	}
	store_policy_done(&texts);
	return r < 0 ? err_prefix(err, r, "revision %" PRIu64, revision) : 0;
}

static int load_policies(struct agent *a, const struct store_state *st, struct err *err)
{
	int r;

	a->last_revision = st->last_revision;
	if (!st->confirmed)
		return loading_empty_policy(a, &a->confirmed.policy, err);
	r = load_edition(a, st->confirmed, &a->confirmed, err);
	if (r < 0 || !st->candidate)
		return r;
	r = load_edition(a, st->candidate, &a->candidate, err);
	if (r >= 0)
		a->candidate_falls_back = st->falls_back;
	return r;
}

static void load_mode(struct agent *a, const struct store_state *st)
{
	a->mode = st->known ? st->mode : a->config.mode;
	a->mode_before = st->known ? st->mode_before : a->mode;
	a->mode_until = st->mode_until;
	a->wall_highest = st->wall_highest;
}

static int load_numbers(struct agent *a, struct err *err)
{
	bool found = false;
	int r;

	a->conduit_numbers = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	a->identity_numbers = numbers_new(MARK_IDENTITY_MIN, MARK_IDENTITY_MAX);
	if (!a->conduit_numbers || !a->identity_numbers)
		return err_set(err, ENOMEM, "out of memory");
	r = store_numbers_read(a->store, a->conduit_numbers, a->identity_numbers, &found, err);
	if (r < 0)
		/* The elements' user data still has them; see agent_dump(). */
		log_warn("conduit numbers are read from the kernel: %s", err->text);
	return 0;
}

static int load_disk(struct agent *a, struct err *err)
{
	struct store_state st = {0};
	int r;

	r = store_open(a->config.state_dir, a->config.run_dir, &a->store, err);
	if (r >= 0)
		r = store_state_read(a->store, &st, err);
	if (r >= 0)
		r = load_policies(a, &st, err);
	if (r >= 0)
		r = loading_view_stored(a, st.view_sequence, err);
	if (r >= 0)
		r = load_numbers(a, err);
	if (r >= 0)
		load_mode(a, &st);
	return r;
}

/* --- the kernel --------------------------------------------------------------------------- */

static int start_kernel(struct agent *a, struct err *err)
{
	enum nft_found found;
	int r;

	r = nft_open(a->config.table, &a->nft, err);
	if (r >= 0)
		r = nft_probe(a->nft, err);
	if (r >= 0)
		r = nft_start(a->nft, &found, err);
	if (r < 0)
		return r;
	a->shape = (struct table_shape){
		.queue = (uint8_t)nft_queue_kind(a->nft),
		.queue_first = a->config.queue_first,
		.nflog_group = a->config.nflog_group,
		.unclaimed_mark = MARK_UNCLAIMED_MIN,
		.live_size = LIVE_SIZE_FIRST,
	};
	(void)snprintf(a->shape.table, sizeof(a->shape.table), "%s", a->config.table);
	if (found != NFT_FOUND_TABLE)
		return 0;
	log_info("table %s taken over with what it holds", a->config.table);
	r = agent_dump(a, err);
	if (r < 0)
		return r;
	a->shape.levels = a->applied->shape.levels;
	a->shape.live_size = a->applied->shape.live_size;
	return nft_check_chains(a->nft, &a->shape, &a->enforcing, err);
}

/* What the kernel did with the candidate while nobody ran. */
static int settle_candidate(struct agent *a, struct err *err)
{
	uint64_t left = 0;
	bool on = false;
	int r = a->applied ? nft_switch_get(a->nft, SET_CANDIDATE_ON, &on, &left, err) : 0;

	if (r < 0)
		return r;
	if (!a->candidate.policy) {
		a->doubling = on;
		return 0;
	}
	if (on && left) {
		a->candidate_on = true;
		a->candidate_ends.ns = mono_now().ns + (int64_t)left * 1000000;
		return 0;
	}
	if (on) {
		log_info("revision %" PRIu64 " was being confirmed; finishing",
			 a->candidate.revision);
		edition_done(&a->confirmed);
		a->confirmed = a->candidate;
		memset(&a->candidate, 0, sizeof(a->candidate));
		a->doubling = true;
	} else {
		log_warn("revision %" PRIu64 " was not confirmed in time; the kernel fell back",
			 a->candidate.revision);
		agent_history(a, a->candidate.revision, a->candidate.digest, "kernel",
			      "not confirmed in time", "rolled_back");
		edition_done(&a->candidate);
	}
	a->candidate_falls_back.s = 0;
	return 0;
}

static void on_workloads(void *user)
{
	agent_touch(user, DIRTY_HOST);
}

static int start_workloads(struct agent *a, struct err *err)
{
	struct workloads_config config = {
		.cgroup_root = a->config.cgroup_root,
		.deleted_exe_ok = a->config.deleted_exe == DELETED_EXE_WARN,
	};
	int r;

	r = workloads_new(&config, a->event, on_workloads, a, &a->workloads, err);
	if (r >= 0)
		r = workloads_set_policy(a->workloads, SLOT_A, a->confirmed.policy, a->view,
					 &a->config.essentials, err);
	if (r >= 0 && a->candidate.policy)
		r = workloads_set_policy(a->workloads, SLOT_B, a->candidate.policy, a->view,
					 &a->config.essentials, err);
	return r;
}

/*
 * The first load judges nobody: the base chains are empty until nft_enforce(), and then observe is
 * on until adoption has marked the flows that were here before (R22).
 */
static int first_enforcement(struct agent *a, struct err *err)
{
	struct cut_list cut = {0};
	int r;

	r = nft_switch_set(a->nft, SET_OBSERVE_ON, 0, err);
	if (r >= 0)
		r = nft_heartbeat(a->nft, err);
	if (r >= 0)
		r = nft_enforce(a->nft, &a->shape, err);
	if (r < 0)
		return r;
	a->enforcing = true;
	r = adoption_run(a, &cut, err);
	if (r >= 0 && cut.count && a->mode != MODE_OBSERVE)
		log_warn("%zu flows that nothing permits end now", cut.count);
	cut_list_done(&cut);
	return r;
}

static int finish_doubling(struct agent *a, struct err *err)
{
	int r;

	if (!a->doubling)
		return 0;
	r = nft_switch_clear(a->nft, SET_CANDIDATE_ON, err);
	a->doubling = false;
	return r < 0 ? r : agent_reconcile_now(a, DIRTY_POLICY, err);
}

static int start_ruleset(struct agent *a, struct err *err)
{
	int r;

	/* Before anything gets a number: those that flows carry, and those of revoked conduits. */
	agent_numbers_hold(a);
	r = store_overlay_read(a->store, a->conduit_numbers, &a->overlay, err);
	if (r >= 0)
		r = settle_candidate(a, err);
	if (r >= 0)
		r = start_workloads(a, err);
	if (r >= 0)
		r = agent_reconcile_now(a, DIRTY_POLICY | DIRTY_HOST | DIRTY_SHAPE, err);
	if (r >= 0)
		r = finish_doubling(a, err);
	if (r >= 0 && !a->enforcing)
		r = first_enforcement(a, err);
	if (r >= 0)
		r = nft_heartbeat(a->nft, err);
	return r < 0 ? r : agent_mode_apply(a, err);
}

/* --- parts -------------------------------------------------------------------------------- */

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *user)
{
	struct agent *a = user;

	(void)s;
	log_info("signal %u: ending; the kernel keeps the policy", si->ssi_signo);
	return sd_event_exit(a->event, 0);
}

static int on_hangup(sd_event_source *s, const struct signalfd_siginfo *si, void *user)
{
	struct err err = {{0}};

	(void)s;
	(void)si;
	(void)loading_view(user, &err);
	agent_touch(user, DIRTY_HOST | DIRTY_POLICY);
	return 0;
}

static int start_loop(struct agent *a, struct err *err)
{
	sigset_t set;
	int r;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_set(err, errno, "signals: %s", strerror(errno));
	(void)signal(SIGPIPE, SIG_IGN);
	r = sd_event_new(&a->event);
	if (r >= 0)
		r = sd_event_add_signal(a->event, NULL, SIGTERM, on_signal, a);
	if (r >= 0)
		r = sd_event_add_signal(a->event, NULL, SIGINT, on_signal, a);
	if (r >= 0)
		r = sd_event_add_signal(a->event, NULL, SIGHUP, on_hangup, a);
	if (r >= 0)
		r = sd_event_set_watchdog(a->event, true);
	if (r >= 0)
		r = agent_reconcile_init(a);
	return r < 0 ? err_set(err, -r, "event loop: %s", strerror(-r)) : 0;
}

static int start_parts(struct agent *a, struct err *err)
{
	int r;

	r = repair_start(a, err);
	if (r >= 0)
		r = telemetry_new(a, &a->telemetry, err);
	if (r >= 0)
		r = usage_new(a, &a->usage, err);
	if (r >= 0)
		r = watcher_new(a, &a->watcher, err);
	if (r >= 0)
		r = heartbeat_start(a, err);
	if (r >= 0)
		r = control_new(a, &a->control, err);
	return r < 0 ? r : metrics_new(a, &a->metrics, err);
}

static int write_pid(struct agent *a, struct err *err)
{
	CLEANUP(freep) char *path = mem_printf("%s/bailiwickd.pid", a->config.run_dir);
	CLEANUP(freep) char *text = mem_printf("%d\n", (int)getpid());

	if (!path || !text)
		return err_set(err, ENOMEM, "out of memory");
	return file_write_durable(AT_FDCWD, path, text, strlen(text), 0644, err);
}

int agent_new(struct config *take_config, struct agent **ret, struct err *err)
{
	struct agent *a = mem_calloc(1, sizeof(*a));

	if (!a)
		return err_set(err, ENOMEM, "out of memory");
	a->config = *take_config;
	memset(take_config, 0, sizeof(*take_config));
	a->started = mono_now();
	*ret = a;
	return 0;
}

int agent_start(struct agent *a, struct err *err)
{
	int r = start_loop(a, err);

	if (r >= 0)
		r = load_disk(a, err);
	if (r >= 0)
		r = conntrack_open(&a->conntrack, err);
	if (r >= 0)
		r = start_kernel(a, err);
	heartbeat_clock(a);
	if (r >= 0)
		r = start_ruleset(a, err);
	if (r >= 0)
		r = questions_open(a, err);
	if (r >= 0)
		r = start_parts(a, err);
	if (r >= 0)
		r = agent_save(a, err);
	if (r >= 0)
		(void)loading_view(a, err);
	return r < 0 ? r : write_pid(a, err);
}

int agent_run(struct agent *a)
{
	(void)sd_notify(0, "READY=1");
	log_info("node %s, mode %s, policy revision %" PRIu64 ", %zu conduits", a->config.node,
		 mode_name(a->mode), a->confirmed.revision,
		 a->confirmed.gen ? a->confirmed.gen->conduit_count : 0);
	return sd_event_loop(a->event);
}

void agent_free(struct agent *a)
{
	if (!a)
		return;
	/* While every part is there: requests are answered, and who owns something frees it. */
	agent_waiters_cancel(a);
	metrics_free(a->metrics);
	control_free(a->control);
	heartbeat_stop(a);
	sd_event_source_disable_unref(a->reconcile_source);
	watcher_free(a->watcher);
	usage_free(a->usage);
	telemetry_free(a->telemetry);
	repair_stop(a);
	questions_close(a);
	agent_job_free(a->job);
	cut_list_done(&a->cut_early);
	workloads_free(a->workloads);
	conntrack_free(a->conntrack);
	nft_close(a->nft);
	ruleset_free(a->applied);
	edition_done(&a->confirmed);
	edition_done(&a->candidate);
	overlay_done(&a->overlay);
	view_free(a->view);
	numbers_free(a->conduit_numbers);
	numbers_free(a->identity_numbers);
	store_free(a->store);
	free(a->view_error);
	free(a->drift);
	config_done(&a->config);
	sd_event_unref(a->event);
	free(a);
}

void agent_freep(struct agent **a)
{
	agent_free(*a);
	*a = NULL;
}
