/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/repair.h"

#include "agent/attest.h"
#include "agent/conntrack.h"
#include "base/log.h"
#include "base/mem.h"
#include "rules/marks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define REFUSED_FLOWS_MAX 16384

/* At least a little: what has no end would be confirmed. */
static uint64_t candidate_left_ms(const struct agent *a)
{
	int64_t left = mono_ms_since(mono_now(), a->candidate_ends);

	return left > 0 ? (uint64_t)left : 1;
}

static int load_again(struct agent *a, bool from_nothing, struct err *err)
{
	enum nft_found found;
	int r;

	/* A load in progress knows nothing of the change: its end is not what is there. */
	if (a->job)
		(void)agent_reconcile_now(a, 0, err);
	if (from_nothing) {
		ruleset_free(a->applied);
		a->applied = NULL;
		a->applied_unsure = false;
		a->enforcing = false;
		r = nft_start(a->nft, &found, err);
	} else {
		r = agent_dump(a, err);
	}
	a->chains_unsure = true;
	if (r >= 0)
		r = agent_reconcile_now(a, DIRTY_HOST, err);
	if (r >= 0)
		r = nft_heartbeat(a->nft, err);
	if (r >= 0)
		r = agent_mode_apply(a, err);
	if (r >= 0 && a->candidate_on)
		r = nft_switch_set(a->nft, SET_CANDIDATE_ON, candidate_left_ms(a), err);
	if (r >= 0)
		r = nft_enforce(a->nft, &a->shape, err);
	a->enforcing = r >= 0;
	return r;
}

static int repair(struct agent *a, bool from_nothing, struct err *err)
{
	int r = load_again(a, from_nothing, err);

	if (r == -ENOENT)
		r = load_again(a, true, err);
	if (r < 0) {
		freep(&a->drift);
		a->drift = mem_strdup(err->text);
	}
	return r;
}

struct refused {
	struct ct_flow *flows;
	size_t count, cap;
};

static int on_refused(void *user, const struct ct_flow *f)
{
	struct refused *list = user;

	if (f->mark != MARK_REFUSED)
		return 0;
	/* More than the limit: those wait until their entries end. */
	if (vec_grow(&list->flows, &list->cap, list->count + 1, sizeof(*f), REFUSED_FLOWS_MAX) == 0)
		list->flows[list->count++] = *f;
	return 0;
}

/*
 * While somebody deletes the table, packets still come through its chains and find `live` empty:
 * flows that policy permits are refused in that moment. Without the mark of that they are
 * classified anew at their next packet; what was refused rightly is refused again.
 */
static void judge_refused_again(struct agent *a)
{
	struct refused list = {0};
	struct err err = {{0}};

	if (conntrack_dump(a->conntrack, on_refused, &list, &err) < 0)
		log_warn("flows that were refused meanwhile stay so: %s", err.text);
	for (size_t i = 0; i < list.count; i++)
		(void)conntrack_set_mark(a->conntrack, &list.flows[i], 0, &err);
	free(list.flows);
	/* Those that were vouched for are asked about, once their next packet has a number again.
	 */
	if (list.count > 0)
		attest_flows_again(a->attest);
}

static void note_repaired(struct agent *a)
{
	judge_refused_again(a);
	a->repairs++;
	log_warn("table %s repaired", a->config.table);
}

static void on_foreign(void *user, const struct nft_event *e)
{
	struct agent *a = user;
	struct err err = {{0}};
	int r;

	switch ((enum nft_event_kind)e->kind) {
	case NFT_EVENT_OURS_GONE:
	case NFT_EVENT_OURS_CHANGED:
		log_error("ALERT: table %s was %s by %s (pid %" PRIu32 "); repairing",
			  a->config.table, e->kind == NFT_EVENT_OURS_GONE ? "deleted" : "changed",
			  e->process[0] ? e->process : "somebody", e->pid);
		break;
	case NFT_EVENT_LOST:
		log_warn("table events were lost; reading the table back");
		break;
	case NFT_EVENT_OTHER:
		a->foreign_changed = true;
		return;
	}
	r = repair(a, e->kind == NFT_EVENT_OURS_GONE, &err);
	if (r < 0)
		log_error("ALERT: not repaired: %s", err.text);
	else if (e->kind != NFT_EVENT_LOST)
		note_repaired(a);
}

void repair_retry(struct agent *a)
{
	struct err err = {{0}};

	if (a->enforcing)
		return;
	if (repair(a, false, &err) < 0)
		log_error("ALERT: still not repaired: %s", err.text);
	else
		note_repaired(a);
}

static int on_events(sd_event_source *s, int fd, uint32_t revents, void *user)
{
	struct agent *a = user;
	struct err err = {{0}};

	(void)s;
	(void)fd;
	(void)revents;
	if (nft_monitor_read(a->monitor, on_foreign, a, &err) < 0)
		log_warn("table events: %s", err.text);
	return 0;
}

int repair_start(struct agent *a, struct err *err)
{
	int r = nft_monitor_open(a->nft, &a->monitor, err);

	if (r < 0)
		return r;
	r = sd_event_add_io(a->event, &a->monitor_source, nft_monitor_fd(a->monitor), EPOLLIN,
			    on_events, a);
	return r < 0 ? err_set(err, -r, "table events") : 0;
}

void repair_stop(struct agent *a)
{
	a->monitor_source = sd_event_source_disable_unref(a->monitor_source);
	nft_monitor_free(a->monitor);
	a->monitor = NULL;
}
