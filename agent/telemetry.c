/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/telemetry.h"

#include "agent/conntrack.h"
#include "agent/observed.h"
#include "agent/owner.h"
#include "agent/telemetry_explain.h"
#include "agent/telemetry_nflog.h"
#include "agent/telemetry_output.h"
#include "agent/telemetry_record.h"
#include "agent/telemetry_resync.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Flows told apart at one time; a power of two. Two that share a place end each other's record. */
#define RECENT_MAX         1024
#define RECENT_MS          10000
#define RECENT_SWEEP_US    5000000
#define ALLOWED_PER_SECOND 200
#define RATE_SECONDS       60
#define DECISIONS          3

/* Flows of the last ten seconds: the first was told at once, the rest is told when they are over.
 */
struct recent {
	uint64_t key;
	struct record *record;
	struct mono first;
	uint32_t pending;
};

struct rate {
	int64_t second;
	uint64_t flows[DECISIONS];
};

struct watcher_slot {
	telemetry_watch_fn fn;
	void *user;
};

struct telemetry {
	struct agent *agent;
	struct owner *owner;
	struct explainer *explainer;
	struct nflog_reader *nflog;
	struct output *output;
	struct observed *observed;
	struct resync resync;
	sd_event_source *sweep;
	bool sweeping;
	struct record
		*ring[TELEMETRY_RING_MAX]; /* denials only: allowed flows would push them out */
	size_t ring_next;
	struct recent recent[RECENT_MAX];
	struct rate rates[RATE_SECONDS];
	uint64_t skipped_seen; /* of the event source, up to here in rates */
	struct watcher_slot watchers[TELEMETRY_WATCHERS_MAX];
	struct telemetry_counters counters;
	struct telemetry_totals totals;
};

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- rates ----------------------------------------------------------------------------------- */

static void count_flows(struct telemetry *t, enum decision d, uint64_t n)
{
	int64_t second = mono_now().ns / 1000000000;
	struct rate *r = &t->rates[second % RATE_SECONDS];
	uint64_t *const totals[DECISIONS] = {
		[DECISION_ALLOWED] = &t->totals.allowed,
		[DECISION_WOULD_DENY] = &t->totals.would_deny,
		[DECISION_DENIED] = &t->totals.denied,
	};

	if (r->second != second)
		*r = (struct rate){.second = second};
	r->flows[d] += n;
	*totals[d] += n;
}

/* What flooded was not looked at one by one, but it was let through. */
static void count_skipped(struct telemetry *t)
{
	uint64_t skipped = conntrack_event_counters(t->agent->conntrack)->skipped;

	if (skipped > t->skipped_seen)
		count_flows(t, DECISION_ALLOWED, skipped - t->skipped_seen);
	t->skipped_seen = skipped;
}

void telemetry_rates(struct telemetry *t, struct telemetry_rates *ret)
{
	int64_t second = mono_now().ns / 1000000000;
	uint64_t sums[DECISIONS] = {0};

	count_skipped(t);
	for (size_t i = 0; i < RATE_SECONDS; i++) {
		if (t->rates[i].second <= second - RATE_SECONDS)
			continue;
		for (size_t d = 0; d < DECISIONS; d++)
			sums[d] += t->rates[i].flows[d];
	}
	*ret = (struct telemetry_rates){.allowed = sums[DECISION_ALLOWED],
					.denied = sums[DECISION_DENIED],
					.would_deny = sums[DECISION_WOULD_DENY]};
}

/* --- out ------------------------------------------------------------------------------------- */

/* As in syslog(3): a denial is something to look at. */
static int priority_of(enum decision d)
{
	switch (d) {
	case DECISION_ALLOWED:
		return 6;
	case DECISION_WOULD_DENY:
		return 5;
	case DECISION_DENIED:
		break;
	}
	return 4;
}

static void tell(struct telemetry *t, const json_t *json, enum decision d)
{
	size_t len = 0;
	CLEANUP(freep) char *line = json ? json_text(json, &len) : NULL;

	t->counters.records++;
	if (!line || output_line(t->output, priority_of(d), line, len) < 0)
		t->counters.write_failed++;
	for (size_t i = 0; json && i < TELEMETRY_WATCHERS_MAX; i++) {
		/* A watcher that is gone takes itself out while it is being told. */
		if (t->watchers[i].fn)
			t->watchers[i].fn(t->watchers[i].user, json);
	}
}

static void tell_record(struct telemetry *t, const struct record *r, int64_t time_ms,
			uint32_t count)
{
	json_t *json = record_json(r, t->agent->config.node, time_ms, count);

	tell(t, json, (enum decision)r->decision);
	json_decref(json);
}

/* --- one record per flow and ten seconds ----------------------------------------------------- */

static void recent_end(struct telemetry *t, struct recent *e)
{
	if (e->record && e->pending)
		tell_record(t, e->record, e->record->last_ms, e->pending);
	record_unref(e->record);
	*e = (struct recent){0};
}

static int on_sweep(sd_event_source *s, uint64_t usec, void *user)
{
	struct telemetry *t = user;
	struct mono now = mono_now();
	bool more = false;

	(void)usec;
	for (size_t i = 0; i < RECENT_MAX; i++) {
		struct recent *e = &t->recent[i];

		if (e->record && mono_ms_since(e->first, now) >= RECENT_MS)
			recent_end(t, e);
		more |= e->record != NULL;
	}
	t->sweeping = more;
	if (!more)
		return 0;
	(void)sd_event_source_set_time_relative(s, RECENT_SWEEP_US);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static void sweep_later(struct telemetry *t)
{
	if (t->sweeping)
		return;
	t->sweeping = true;
	(void)sd_event_source_set_time_relative(t->sweep, RECENT_SWEEP_US);
	(void)sd_event_source_set_enabled(t->sweep, SD_EVENT_ONESHOT);
}

static void ring_add(struct telemetry *t, struct record *r)
{
	struct record **place = &t->ring[t->ring_next++ % TELEMETRY_RING_MAX];

	if (*place)
		t->counters.ring_dropped++;
	record_unref(*place);
	*place = record_ref(r);
}

static bool known_already(struct telemetry *t, struct recent *e, uint64_t key,
			  const struct record *draft)
{
	if (!e->record || e->key != key || mono_ms_since(e->first, mono_now()) >= RECENT_MS)
		return false;
	e->pending += draft->count;
	e->record->count += draft->count;
	e->record->last_ms = now_ms();
	e->record->from.port = draft->from.port;
	sweep_later(t);
	return true;
}

/* The draft's texts are borrowed; json is the record as it was made elsewhere, or NULL. */
static void take(struct telemetry *t, const struct record *draft, const json_t *json)
{
	uint64_t key = record_key(draft);
	struct recent *e = &t->recent[key % RECENT_MAX];
	struct record *r;

	count_flows(t, (enum decision)draft->decision, draft->count);
	t->counters.by_candidate += draft->by_candidate;
	if (t->observed)
		observed_note(t->observed, draft, wall_now());
	if (known_already(t, e, key, draft))
		return;
	recent_end(t, e);
	r = record_pack(draft);
	if (!r) {
		t->counters.ring_dropped++;
		return;
	}
	r->time_ms = r->last_ms = now_ms();
	*e = (struct recent){.key = key, .record = r, .first = mono_now()};
	if (r->decision != DECISION_ALLOWED)
		ring_add(t, r);
	if (json)
		tell(t, json, (enum decision)r->decision);
	else
		tell_record(t, r, r->time_ms, r->count);
	/* A watcher that was told may have ended this agent's interest, not the record's. */
	sweep_later(t);
}

void telemetry_record(struct telemetry *t, json_t *record)
{
	char when[RFC3339_TEXT_MAX];
	struct record draft;

	if (!record)
		return;
	if (!json_object_get(record, "time"))
		(void)json_object_set_new(record, "time",
					  json_string(rfc3339_format_ms(when, now_ms())));
	if (!json_object_get(record, "node"))
		(void)json_object_set_new(record, "node", json_string(t->agent->config.node));
	if (record_from_json(record, &draft) < 0)
		log_error("a decision record without decision or reason is not kept");
	else
		take(t, &draft, record);
	json_decref(record);
}

void telemetry_refused(struct telemetry *t, const struct queue_packet *p, enum reason reason)
{
	struct record draft;

	if (t && explain_refused(t->explainer, p, reason, &draft) == 0)
		take(t, &draft, NULL);
}

/* --- in -------------------------------------------------------------------------------------- */

static void on_logged(void *user, const struct nflog_packet *p)
{
	struct telemetry *t = user;
	struct record draft;
	struct logged l;

	t->counters.nflog_lost = nflog_reader_lost(t->nflog);
	if (logged_parse(p, &l) < 0)
		return;
	if (l.why == TABLE_LOG_RESYNC)
		resync_look(&t->resync, &l, mono_now());
	if (explain_logged(t->explainer, &l, &draft) == 0)
		take(t, &draft, NULL);
}

static void on_flow(void *user, const struct ct_flow *f)
{
	struct telemetry *t = user;
	struct record draft;

	if (explain_flow(t->explainer, f, &draft) == 0)
		take(t, &draft, NULL);
}

/* --- questions ------------------------------------------------------------------------------- */

json_t *telemetry_last_denial(struct telemetry *t)
{
	const struct record *r = NULL;

	for (size_t i = 0; i < TELEMETRY_RING_MAX; i++) {
		/* From the newest on: of two in one millisecond the later one. */
		const struct record *other =
			t->ring[(t->ring_next + 2 * TELEMETRY_RING_MAX - 1 - i) %
				TELEMETRY_RING_MAX];

		if (other && (!r || other->last_ms > r->last_ms))
			r = other;
	}
	return !r ? NULL : record_json(r, t->agent->config.node, r->last_ms, r->count);
}

/* A name is an identity's path; an end without identity goes by its address. */
static bool is_called(const struct record_end *e, const char *name)
{
	char text[ADDR_TEXT_MAX];

	if (!name || (e->identity && str_eq(e->identity, name)))
		return true;
	return e->address.family && str_eq(addr_format(text, &e->address), name);
}

/* Time of day; with the date where it was not today. */
static json_t *clock_json(int64_t ms)
{
	char text[RFC3339_TEXT_MAX], today[RFC3339_TEXT_MAX];

	(void)rfc3339_format(text, (struct wall){ms / 1000});
	(void)rfc3339_format(today, wall_now());
	text[19] = '\0';
	return json_string(memcmp(text, today, 10) == 0 ? text + 11 : text);
}

json_t *telemetry_seen(struct telemetry *t, const char *from, const char *to, const char *service)
{
	const struct record *first = NULL, *last = NULL;
	char address[RECORD_ADDRESS_MAX];
	json_int_t count = 0;

	for (size_t i = 0; i < TELEMETRY_RING_MAX; i++) {
		const struct record *r = t->ring[i];

		if (!r || !is_called(&r->from, from) || !is_called(&r->to, to) ||
		    (service && !str_eq(service, r->service)))
			continue;
		count += r->count;
		if (!first || r->time_ms < first->time_ms)
			first = r;
		if (!last || r->last_ms > last->last_ms)
			last = r;
	}
	if (!last)
		return json_pack("{s:i}", "count", 0);
	(void)record_address(address, &last->from);
	return json_pack("{s:I,s:o,s:o,s:s}", "count", count, "since", clock_json(first->time_ms),
			 "last", json_sprintf("from %s", address), "from", address);
}

const struct telemetry_counters *telemetry_counters(const struct telemetry *t)
{
	return &t->counters;
}

bool telemetry_carries_flows(const struct telemetry *t)
{
	return nflog_reader_carries_flows(t->nflog);
}

const struct observed *telemetry_observed(const struct telemetry *t)
{
	return t->observed;
}

const struct telemetry_totals *telemetry_totals(struct telemetry *t)
{
	count_skipped(t);
	t->totals.resync_deleted = t->resync.counters.deleted;
	t->totals.resync_kept = t->resync.counters.kept;
	t->totals.resync_limited = t->resync.counters.limited;
	return &t->totals;
}

/* --- watchers -------------------------------------------------------------------------------- */

int telemetry_watch(struct telemetry *t, telemetry_watch_fn fn, void *user)
{
	for (size_t i = 0; i < TELEMETRY_WATCHERS_MAX; i++) {
		if (t->watchers[i].fn)
			continue;
		t->watchers[i] = (struct watcher_slot){fn, user};
		return 0;
	}
	return -EBUSY;
}

void telemetry_unwatch(struct telemetry *t, void *user)
{
	for (size_t i = 0; i < TELEMETRY_WATCHERS_MAX; i++) {
		if (t->watchers[i].fn && t->watchers[i].user == user)
			t->watchers[i] = (struct watcher_slot){0};
	}
}

/* --- life ------------------------------------------------------------------------------------ */

/* Records are evidence, not enforcement: without a source the agent runs on and says so. */
static void open_sources(struct telemetry *t)
{
	struct agent *a = t->agent;
	struct err err = {{0}};

	if (nflog_reader_open(a->config.nflog_group, a->event, on_logged, t, &t->nflog, &err) < 0)
		log_error("denials are not recorded: %s", err.text);
	if (conntrack_listen(a->conntrack, a->event, ALLOWED_PER_SECOND, on_flow, t, &err) < 0)
		log_error("allowed flows are not recorded: %s", err.text);
}

static int open_parts(struct telemetry *t, struct err *err)
{
	struct agent *a = t->agent;
	int r;

	r = owner_open(&t->owner, err);
	if (r >= 0)
		r = explainer_new(a, t->owner, &t->explainer, err);
	if (r >= 0)
		r = output_new(a->config.decisions, a->config.decisions_file, &t->output, err);
	if (r >= 0 && a->store)
		r = observed_new(a->store, a->event, a->config.node, &t->observed, err);
	if (r < 0)
		return r;
	r = sd_event_add_time_relative(a->event, &t->sweep, CLOCK_MONOTONIC, RECENT_SWEEP_US,
				       RECENT_SWEEP_US, on_sweep, t);
	if (r >= 0)
		r = sd_event_source_set_enabled(t->sweep, SD_EVENT_OFF);
	return r < 0 ? err_set(err, -r, "telemetry timer: %s", strerror(-r)) : 0;
}

int telemetry_new(struct agent *a, struct telemetry **ret, struct err *err)
{
	struct telemetry *t = mem_calloc(1, sizeof(*t));
	int r;

	if (!t)
		return err_set(err, ENOMEM, "telemetry: out of memory");
	t->agent = a;
	r = open_parts(t, err);
	if (r < 0) {
		telemetry_free(t);
		return r;
	}
	t->resync.agent = a;
	t->resync.conntrack = a->conntrack;
	t->resync.owner = t->owner;
	open_sources(t);
	*ret = t;
	return 0;
}

void telemetry_free(struct telemetry *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < RECENT_MAX && t->output; i++)
		recent_end(t, &t->recent[i]);
	for (size_t i = 0; i < TELEMETRY_RING_MAX; i++)
		record_unref(t->ring[i]);
	nflog_reader_free(t->nflog);
	sd_event_source_disable_unref(t->sweep);
	output_free(t->output);
	observed_free(t->observed);
	explainer_free(t->explainer);
	owner_free(t->owner);
	free(t);
}
