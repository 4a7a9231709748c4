/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/heartbeat.h"

#include "agent/repair.h"
#include "agent/usage.h"
#include "agent/watcher.h"
#include "agent/workload.h"
#include "base/log.h"
#include "base/release.h"

#include <errno.h>
#include <stdlib.h>

#define BEAT_US 1000000
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
/* CLOCK_BOOTTIME ran ahead of CLOCK_MONOTONIC by so much: the machine slept (R50). */
#define SLEPT_NS 2000000000LL
/* Wall time moved against monotonic time by so much: it was set. */
#define STEPPED_S 2

void heartbeat_clock(struct agent *a)
{
	struct wall now = wall_now();
	bool trusted = now.s >= RELEASE_EPOCH && now.s + CLOCK_SLACK_S >= a->wall_highest.s;

	if (trusted && now.s > a->wall_highest.s)
		a->wall_highest = now;
	if (trusted != a->clock_trusted) {
		a->clock_trusted = trusted;
		agent_touch(a, DIRTY_POLICY);
		if (!trusted)
			log_warn("the clock is not trusted: windows follow on_clock_loss");
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

static void overlay_tick(struct agent *a, struct wall now)
{
	for (size_t i = 0; i < a->overlay.revoked_count; i++) {
		struct wall *until = &a->overlay.revoked[i].until;

		if (until->s && now.s >= until->s)
			agent_overlay_drop(a, i--);
	}
	if (a->overlay_unkept)
		agent_overlay_keep(a);
}

static void due(struct agent *a)
{
	struct wall now = wall_now();
	struct err err = {{0}};

	agent_candidate_tick(a);
	agent_mode_tick(a, now);
	overlay_tick(a, now);
	watcher_tick(a->watcher);
	usage_tick(a->usage);
	if (a->next_change.s && now.s >= a->next_change.s)
		agent_touch(a, DIRTY_POLICY);
	if (a->beats % RETRY_BEATS == 0) {
		repair_retry(a);
		agent_confirm_retry(a);
		agent_touch(a, a->refused);
	}
	if (a->beats % REFRESH_BEATS == 0 && workloads_refresh(a->workloads) > 0)
		agent_touch(a, DIRTY_HOST);
	if (a->beats % SAVE_BEATS == 0 && (agent_sweep(a, &err) < 0 || agent_save(a, &err) < 0))
		log_warn("%s", err.text);
}

static int on_beat(sd_event_source *s, uint64_t usec, void *user)
{
	struct agent *a = user;
	struct err err = {{0}};

	(void)usec;
	a->beats++;
	if (nft_heartbeat(a->nft, &err) < 0)
		log_error("heartbeat: %s", err.text);
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
