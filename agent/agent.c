/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/agent.h"

#include "agent/adoption.h"
#include "agent/attest.h"
#include "agent/attest_port.h"
#include "agent/conntrack.h"
#include "agent/control.h"
#include "agent/controller_address.h"
#include "agent/courier_link.h"
#include "agent/document_store.h"
#include "agent/documents.h"
#include "agent/editions.h"
#include "agent/evidence.h"
#include "agent/heartbeat.h"
#include "agent/held.h"
#include "agent/loading.h"
#include "agent/log_upload.h"
#include "agent/metrics.h"
#include "agent/node_key.h"
#include "agent/overlay.h"
#include "agent/peers.h"
#include "agent/questions.h"
#include "agent/repair.h"
#include "agent/status_report.h"
#include "agent/store.h"
#include "agent/telemetry.h"
#include "agent/usage.h"
#include "agent/vouch.h"
#include "agent/watcher.h"
#include "agent/workload.h"
#include "base/file.h"
#include "base/json.h"
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

#define LIVE_SIZE_FIRST     65536U
#define MEASURE_AT_START_MS 1000

/* --- state on disk ------------------------------------------------------------------------ */

void agent_damaged(struct agent *a, const char *text)
{
	log_error("%s", text);
	if (!a->damage)
		a->damage = json_array();
	(void)json_array_append_new(a->damage, json_string(text));
}

static void on_damaged(void *user, const char *text)
{
	agent_damaged(user, text);
}

int agent_save_state(struct agent *a, struct err *err)
{
	struct store_state st = {
		.confirmed = a->confirmed.revision,
		.candidate = a->candidate.revision,
		.falls_back = a->candidate_falls_back,
		.borders = a->borders.revision,
		.last_revision = a->last_revision,
		.mode = a->mode,
		.mode_before = a->mode_before,
		.mode_until = a->mode_until,
		.view_sequence = a->view_kept,
		.wall_highest = a->wall_highest,
	};

	/* The next start must not take what is missing for what never was. */
	if (a->held)
		return 0;
	(void)snprintf(st.borders_manifest, sizeof(st.borders_manifest), "%s", a->borders.manifest);
	if (a->confirmed.of_manifest)
		(void)snprintf(st.confirmed_manifest, sizeof(st.confirmed_manifest), "%s",
			       a->confirmed.digest);
	if (a->candidate.of_manifest)
		(void)snprintf(st.candidate_manifest, sizeof(st.candidate_manifest), "%s",
			       a->candidate.digest);
	return store_state_write(a->store, &st, err);
}

int agent_save(struct agent *a, struct err *err)
{
	int r = agent_save_state(a, err);

	if (r >= 0 && !a->held)
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

static int open_stores(struct agent *a, struct err *err)
{
	bool is_signed = config_is_signed(&a->config);
	int r = store_open(a->config.state_dir, a->config.run_dir, &a->store, err);

	if (r < 0)
		return r;
	r = document_store_open(a->config.state_dir, is_signed, &a->document_store, err);
	if (r < 0 && r != -ENOMEM && is_signed) {
		/* A disk that takes nothing: what can be read, is. */
		agent_damaged(a, err->text);
		r = document_store_open(a->config.state_dir, false, &a->document_store, err);
	}
	if (r < 0)
		return r;
	document_store_set_spare(a->document_store, store_spare(a->store));
	return store_mend(a->store, on_damaged, a, err);
}

static int load_disk(struct agent *a, struct err *err)
{
	struct store_state st = {0};
	int r;

	r = open_stores(a, err);
	if (r >= 0)
		r = state_load(a, &st, err);
	if (r >= 0)
		r = editions_load(a, &st, err);
	/* A signed view may have a smaller number than the one that it took over from. */
	if (r >= 0)
		r = loading_view_stored(a, config_is_signed(&a->config) ? 0 : st.view_sequence,
					err);
	if (r >= 0 && st.view_sequence && !a->view->sequence)
		a->held |= HELD_VIEW;
	/* An agent that is fresh beside a table that is not. */
	if (r >= 0 && !st.known && config_is_signed(&a->config))
		a->held |= HELD_POLICY | HELD_VIEW;
	if (r >= 0)
		r = load_numbers(a, err);
	if (r >= 0)
		load_mode(a, &st);
	return r < 0 ? r : documents_new(a, &a->documents, err);
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
	return nft_is_judging(a->nft, &a->shape, &a->enforcing, err);
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
		/* It cuts at its own borders for as long as it is there. */
		agent_borders_of(a, &a->candidate);
		edition_done(&a->departing);
		a->candidate_on = true;
		if (!a->candidate_falls_back.s)
			a->candidate_falls_back.s = wall_now().s + (int64_t)(left / 1000);
		a->candidate_ends.ns = mono_now().ns + (int64_t)left * 1000000;
		return 0;
	}
	if (on) {
		log_info("revision %" PRIu64 " was being confirmed; finishing",
			 a->candidate.revision);
		edition_done(&a->departing);
		a->departing = a->confirmed;
		a->confirmed = a->candidate;
		a->doubling = true;
	} else {
		log_warn("revision %" PRIu64 " was not confirmed in time; the kernel fell back",
			 a->candidate.revision);
		agent_history(a, a->candidate.revision, a->candidate.digest, "kernel",
			      "not confirmed in time", "rolled_back");
		edition_done(&a->departing);
		a->departing = a->candidate;
	}
	memset(&a->candidate, 0, sizeof(a->candidate));
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
	if (r >= 0)
		r = evidence_open(a, &a->evidence, err);
	/* What was closed or claimed by an executable's digest stays so through a restart. */
	if (r >= 0)
		evidence_settle(a->evidence, MEASURE_AT_START_MS);
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

/* What is in force, or what is left of it, into the kernel. */
static int start_policy(struct agent *a, struct err *err)
{
	int r = agent_reconcile_now(a, DIRTY_POLICY | DIRTY_HOST | DIRTY_SHAPE, err);

	if (r >= 0)
		r = finish_doubling(a, err);
	if (r >= 0 && !a->enforcing)
		r = first_enforcement(a, err);
	if (r >= 0)
		r = nft_heartbeat(a->nft, err);
	return r < 0 ? r : agent_mode_apply(a, err);
}

static int start_ruleset(struct agent *a, struct err *err)
{
	int r;

	r = agent_mode_recover(a, err);
	if (r < 0)
		return r;
	/* Before anything gets a number: those that flows carry, and those of revoked conduits. */
	agent_numbers_hold(a);
	r = overlay_load(a, err);
	if (r >= 0)
		r = settle_candidate(a, err);
	if (r >= 0)
		r = start_workloads(a, err);
	if (r >= 0 && a->documents)
		r = documents_load(a->documents, err);
	if (r < 0)
		return r;
	agent_borders_recall(a);
	a->starting = false;
	if (!a->applied || !a->enforcing)
		a->held = 0;
	if (a->held)
		return held_begin(a, err);
	r = overlay_adopt(a, err);
	return r < 0 ? r : start_policy(a, err);
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
	struct agent *a = user;
	struct err err = {{0}};

	(void)s;
	(void)si;
	(void)loading_view(a, &err);
	documents_tick(a->documents);
	agent_touch(a, DIRTY_HOST | DIRTY_POLICY);
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

static void on_record(void *user, const json_t *record)
{
	const struct agent *a = user;
	size_t len = 0;
	CLEANUP(freep) char *line = json_text(record, &len);

	if (line && a->log_upload)
		log_upload_add(a->log_upload, line, len);
}

/* A node that proves who it is: to the controller, to its peers. */
static bool has_certificate(const struct agent *a)
{
	const struct config *c = &a->config;

	return (a->documents && c->controller_url) ||
	       (c->svid_cert && c->svid_key && c->svid_bundle);
}

/*
 * Connections that are vouched for. Without a certificate nobody is asked or answered, and what
 * would be asked about is unavailable.
 */
static int start_vouching(struct agent *a, struct err *err)
{
	int r = 0;

	if (has_certificate(a))
		r = node_key_new(a, &a->node_key, err);
	if (r >= 0)
		r = vouch_open(a, &a->vouch, err);
	if (r >= 0)
		r = peers_open(a, &a->peers, err);
	if (r < 0)
		return r;
	peers_answer_by_vouch(a->peers);
	return attest_open(a, &a->attest, err);
}

/* Whom documents come from, and who is told. */
static int start_controller(struct agent *a, struct err *err)
{
	int r = 0;

	if (!a->documents)
		return 0;
	if (a->config.controller_url) {
		r = status_report_new(a, &a->report, err);
		if (r >= 0)
			r = log_upload_new(a, &a->log_upload, err);
		if (r >= 0 && telemetry_watch(a->telemetry, on_record, a) < 0)
			r = err_set(err, ENOSPC, "log upload: too many watchers of decisions");
		if (r >= 0)
			r = courier_link_new(a, &a->link, err);
		if (r >= 0)
			r = controller_address_start(a->controller_address, err);
	}
	return r < 0 ? r : documents_start(a->documents, err);
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
		r = start_vouching(a, err);
	if (r >= 0)
		r = start_controller(a, err);
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
	a->starting = true;
	memset(take_config, 0, sizeof(*take_config));
	a->started = mono_now();
	*ret = a;
	return 0;
}

int agent_start(struct agent *a, struct err *err)
{
	int r = controller_address_new(a, &a->controller_address, err);

	if (r >= 0)
		r = start_loop(a, err);
	if (r >= 0)
		r = load_disk(a, err);
	if (r >= 0)
		r = controller_address_load(a->controller_address, err);
	if (r >= 0)
		r = attest_port_load(a, err);
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
	if (r < 0)
		return r;
	/* A full disk, or a read-only one: `status` says so, and what is in force is. */
	if (agent_save(a, err) < 0)
		log_error("the next start would know less: %s", err->text);
	(void)loading_view(a, err);
	return write_pid(a, err);
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
	documents_end(a->documents);
	agent_waiters_cancel(a);
	metrics_free(a->metrics);
	control_free(a->control);
	heartbeat_stop(a);
	/* What follows may still tell them something. */
	courier_link_free(TAKE_PTR(a->link));
	log_upload_free(TAKE_PTR(a->log_upload));
	status_report_free(TAKE_PTR(a->report));
	attest_free(TAKE_PTR(a->attest));
	peers_free(TAKE_PTR(a->peers));
	vouch_free(TAKE_PTR(a->vouch));
	evidence_free(TAKE_PTR(a->evidence));
	node_key_free(TAKE_PTR(a->node_key));
	controller_address_free(TAKE_PTR(a->controller_address));
	documents_free(TAKE_PTR(a->documents));
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
	edition_done(&a->departing);
	overlay_done(&a->overlay);
	view_free(a->view);
	numbers_free(a->conduit_numbers);
	numbers_free(a->identity_numbers);
	store_free(a->store);
	document_store_free(a->document_store);
	free(a->view_error);
	free(a->state_problem);
	json_decref(a->damage);
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
