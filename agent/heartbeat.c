/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/heartbeat.h"

#include "agent/attest.h"
#include "agent/controller_address.h"
#include "agent/courier_link.h"
#include "agent/documents.h"
#include "agent/evidence.h"
#include "agent/log_upload.h"
#include "agent/node_key.h"
#include "agent/overlay.h"
#include "agent/peers.h"
#include "agent/repair.h"
#include "agent/status_report.h"
#include "agent/usage.h"
#include "agent/watcher.h"
#include "agent/workload.h"
#include "base/log.h"
#include "base/release.h"

#include <errno.h>
#include <stdlib.h>

#define BEAT_US 1000000
/* Not renewed by heartbeat_extend() before. */
#define FRESH_MS 100
/* Ports of listeners live five seconds without us (R21). */
#define LISTENER_BEATS 2
/* Executables and groups cannot be watched, only looked at again. */
#define REFRESH_BEATS 5
/* What the kernel refused is tried again: memory may have been short for a moment only. */
#define RETRY_BEATS 10
/* wall_highest is written so often, to notice a clock that starts in the past after a reboot. */
#define SAVE_BEATS 3600
/* A clock set back by less than this is still the same clock. */
#define CLOCK_SLACK_S 300
/*
 * A clock that is ahead by so much, as after a dead battery or a forged time server's word, has to
 * stand there for so long before it is remembered: what has been believed once makes every document
 * of the true present an expired one, a quarantine too.
 */
#define LEAP_S        86400
#define LEAP_STAND_MS 3600000
/* CLOCK_BOOTTIME ran ahead of CLOCK_MONOTONIC by so much: the machine slept (R50). */
#define SLEPT_NS 2000000000LL
#define NS_PER_S 1000000000LL
/* Wall time moved against monotonic time by so much: it was set. */
#define STEPPED_S 2

void heartbeat_raise(struct wall *highest, struct mono *leapt, struct wall now, struct mono mono)
{
	bool leap = now.s - highest->s > LEAP_S;

	if (leap && !leapt->ns)
		*leapt = mono;
	if (!leap)
		leapt->ns = 0;
	if (now.s <= highest->s || (leap && mono_ms_since(*leapt, mono) < LEAP_STAND_MS))
		return;
	leapt->ns = 0;
	*highest = now;
}

struct wall heartbeat_time(struct wall now, struct wall highest, struct mono raised,
			   struct mono boot)
{
	if (raised.ns && boot.ns > raised.ns)
		highest.s += (boot.ns - raised.ns) / NS_PER_S;
	if (now.s < highest.s)
		now = highest;
	if (now.s < RELEASE_EPOCH)
		now.s = RELEASE_EPOCH;
	return now;
}

struct wall agent_now(const struct agent *a)
{
	struct mono raised = a->clock_trusted ? (struct mono){0} : a->wall_raised;

	return heartbeat_time(wall_now(), a->wall_highest, raised, boottime_now());
}

/* The next start may find a clock that knows nothing: what has ended has ended for it, too. */
static void time_keep(struct agent *a)
{
	struct err err = {{0}};

	if (agent_save(a, &err) < 0)
		log_warn("the time is not kept for the next start: %s", err.text);
}

void heartbeat_clock(struct agent *a)
{
	struct wall now = wall_now();
	bool trusted = now.s >= RELEASE_EPOCH && now.s + CLOCK_SLACK_S >= a->wall_highest.s;

	if (trusted)
		heartbeat_raise(&a->wall_highest, &a->wall_leapt, now, mono_now());
	else
		a->wall_leapt.ns = 0;
	if (trusted || !a->wall_raised.ns)
		a->wall_raised = boottime_now();
	if (trusted != a->clock_trusted) {
		a->clock_trusted = trusted;
		agent_touch(a, DIRTY_POLICY);
		if (!trusted) {
			log_warn("the clock is not trusted: windows follow on_clock_loss");
			time_keep(a);
		}
	}
}

static void check_jumps(struct agent *a)
{
	struct mono mono = mono_now(), boot = boottime_now();
	struct wall now = wall_now();
	int64_t slept = (boot.ns - a->boottime_last.ns) - (mono.ns - a->heartbeat_last.ns);
	int64_t passed = (mono.ns - a->heartbeat_last.ns) / 1000000000;
	int64_t stepped = now.s - a->wall_last.s - passed;

	/* Leases run on a clock that stands still during sleep: every end is computed again. */
	if (a->boottime_last.ns &&
	    (slept > SLEPT_NS || stepped > STEPPED_S || stepped < -STEPPED_S)) {
		log_info("the clock jumped: windows and leases are computed again");
		agent_touch(a, DIRTY_POLICY);
	}
	a->boottime_last = boot;
	a->heartbeat_last = mono;
	a->wall_last = now;
}

static void controller_tick(struct agent *a)
{
	if (a->link)
		courier_link_tick(a->link);
	if (a->log_upload)
		log_upload_tick(a->log_upload);
	if (a->report)
		status_report_tick(a->report);
	controller_address_tick(a->controller_address, documents_connected(a->documents));
}

static void vouching_tick(struct agent *a)
{
	if (a->node_key)
		node_key_tick(a->node_key);
	if (a->evidence)
		evidence_tick(a->evidence);
	if (a->peers)
		peers_tick(a->peers);
	if (a->attest)
		attest_tick(a->attest);
}

static void due(struct agent *a)
{
	struct wall now = agent_now(a);
	struct err err = {{0}};

	agent_candidate_tick(a);
	agent_mode_tick(a, now);
	overlay_tick(a, now);
	watcher_tick(a->watcher);
	usage_tick(a->usage);
	documents_tick(a->documents);
	vouching_tick(a);
	controller_tick(a);
	if (a->next_change.s && now.s >= a->next_change.s) {
		agent_touch(a, DIRTY_POLICY);
		if (a->change_kept.s != a->next_change.s)
			time_keep(a);
		a->change_kept = a->next_change;
	}
	if (a->beats % RETRY_BEATS == 0) {
		repair_retry(a);
		agent_confirm_retry(a);
		agent_touch(a, a->refused);
	}
	if (a->beats % REFRESH_BEATS == 0 && workloads_refresh(a->workloads) > 0)
		agent_touch(a, DIRTY_HOST);
	if (a->beats % SAVE_BEATS == 0 && !a->held &&
	    (agent_sweep(a, &err) < 0 || agent_save(a, &err) < 0))
		log_warn("%s", err.text);
}

static void renew(struct agent *a)
{
	struct err err = {{0}};

	if (a->held)
		return;
	if (nft_heartbeat(a->nft, &err) < 0)
		log_error("heartbeat: %s", err.text);
	a->alive_last = mono_now();
}

void heartbeat_extend(struct agent *a)
{
	if (a->alive_last.ns && mono_ms_since(a->alive_last, mono_now()) >= FRESH_MS)
		renew(a);
}

static int on_beat(sd_event_source *s, uint64_t usec, void *user)
{
	struct agent *a = user;
	struct err err = {{0}};

	(void)usec;
	a->beats++;
	renew(a);
	if (a->beats % LISTENER_BEATS == 0 && a->applied &&
	    nft_listeners_renew(a->nft, a->applied, &err) < 0)
		log_error("listeners: %s", err.text);
	heartbeat_clock(a);
	check_jumps(a);
	due(a);
	return sd_event_source_set_time_relative(s, BEAT_US);
}

int heartbeat_start(struct agent *a, struct err *err)
{
	int r;

	check_jumps(a);
	r = sd_event_add_time_relative(a->event, &a->heartbeat_source, CLOCK_MONOTONIC, BEAT_US,
				       BEAT_US / 20, on_beat, a);
	if (r >= 0)
		r = sd_event_source_set_enabled(a->heartbeat_source, SD_EVENT_ON);
	if (r >= 0)
		/* Before questions: a loop that is flooded with them must not look dead. */
		r = sd_event_source_set_priority(a->heartbeat_source, SD_EVENT_PRIORITY_IMPORTANT);
	return r < 0 ? err_set(err, -r, "heartbeat timer") : 0;
}

void heartbeat_stop(struct agent *a)
{
	a->heartbeat_source = sd_event_source_disable_unref(a->heartbeat_source);
}
