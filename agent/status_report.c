/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/status_report.h"

#include "agent/courier_link.h"
#include "agent/documents.h"
#include "agent/log_upload.h"
#include "agent/node_key.h"
#include "agent/peers.h"
#include "agent/verbs.h"
#include "agent/workload.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/release.h"
#include "base/text.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COALESCE_US    200000
#define PERIOD_MS      300000LL
#define PERIOD_JITTER  10 /* percent */
#define LOOK_S         5  /* what nobody tells of is looked for so often */
#define ERRORS_MAX     200
#define WORKLOADS_MAX  2000
#define SERVICES_MAX   256
#define ADDRESSES_TOLD 256
#define SHRINK_TRIES   8

struct status_report {
	struct agent *agent;
	sd_event_source *timer;
	json_t *cut;          /* array: not delivered yet */
	size_t cut_lost;      /* above CUT_LISTED_MAX */
	size_t cut_in_report; /* of the array, in the newest report */
	size_t lost_in_report;
	uint8_t told[SHA256_LEN]; /* digest of the newest report */
	struct mono sent;
	unsigned seconds;
	bool due, ever;
};

/* --- parts -------------------------------------------------------------------------------- */

static enum slot slot_of(const struct agent *a, const struct edition *e)
{
	return e == &a->candidate ? SLOT_B : SLOT_A;
}

static const char *state_of(const struct agent *a)
{
	if (a->drift || !a->enforcing)
		return "degraded";
	if (a->candidate.policy)
		return "probation";
	return documents_stale(a->documents) ? "stale" : "ready";
}

static void add_error(json_t *list, const char *code, const char *document, const char *text)
{
	if (json_array_size(list) < ERRORS_MAX)
		(void)json_array_append_new(list,
					    json_pack("{s:s,s:s,s:o}", "code", code, "document",
						      document, "text", json_host_string(text)));
}

static json_t *errors_of(struct agent *a)
{
	json_t *list = documents_errors(a->documents);
	size_t n = workloads_problem_count(a->workloads, SLOT_A);

	if (!list)
		return json_array();
	for (size_t i = 0; i < n; i++)
		add_error(list, "workload", "policy", workloads_problem(a->workloads, SLOT_A, i));
	if (a->drift)
		add_error(list, "drift", "", a->drift);
	return list;
}

static bool is_global(const struct addr *x)
{
	/* fe80::/10 and 169.254.0.0/16 mean another host on each link. */
	if (x->family == AF_INET6 && x->bytes[0] == 0xfe && (x->bytes[1] & 0xc0) == 0x80)
		return false;
	if (x->family == AF_INET && x->bytes[0] == 169 && x->bytes[1] == 254)
		return false;
	return !addr_is_loopback(x) && !addr_is_multicast_or_broadcast(x);
}

static bool in_bounds(const struct policy *p, const char *node, const struct addr *x)
{
	bool listed = false;

	for (size_t i = 0; i < p->node_count; i++) {
		const struct node_bound *b = &p->nodes[i];

		if (!text_glob(b->pattern, node))
			continue;
		listed |= b->address_count > 0;
		for (size_t k = 0; k < b->address_count; k++) {
			if (prefix_contains(&b->addresses[k], x))
				return true;
		}
	}
	return !listed;
}

/* With a policy: only those that it lets this node have. */
static json_t *addresses_of(const struct agent *a, const struct host *host, const struct policy *p)
{
	json_t *list = json_array();
	char text[ADDR_TEXT_MAX];

	for (size_t i = 0; host && i < host->address_count; i++) {
		const struct addr *x = &host->addresses[i];

		if (is_global(x) && json_array_size(list) < ADDRESSES_TOLD &&
		    (!p || in_bounds(p, a->config.node, x)))
			(void)json_array_append_new(list, json_string(addr_format(text, x)));
	}
	return list;
}

static void add_service(json_t *services, const struct host_listener *l)
{
	char text[SERVICE_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "%s/%u", l->l4proto == IPPROTO_TCP ? "tcp" : "udp",
		       (unsigned)l->port);
	for (size_t i = 0; i < json_array_size(services); i++) {
		if (str_eq(json_string_value(json_array_get(services, i)), text))
			return;
	}
	if (json_array_size(services) < SERVICES_MAX)
		(void)json_array_append_new(services, json_string(text));
}

static json_t *services_of(const struct host *host, uint32_t identity)
{
	json_t *list = json_array();

	for (size_t i = 0; i < host->listener_count; i++) {
		if (host->listeners[i].identity == identity)
			add_service(list, &host->listeners[i]);
	}
	return list;
}

/* Identities that have processes here and may be here, whether the view places them or not. */
static json_t *workloads_of(struct agent *a, const struct edition *e, const struct host *host)
{
	json_t *list = json_array();
	CLEANUP(freep) bool *seen = mem_calloc(e->policy->identity_count + 1, sizeof(bool));

	for (size_t i = 0; seen && host && i < host->workload_count; i++) {
		uint32_t identity = host->workloads[i].identity;

		if (seen[identity] || json_array_size(list) >= WORKLOADS_MAX)
			continue;
		seen[identity] = true;
		(void)json_array_append_new(list,
					    json_pack("{s:s,s:o,s:o}", "identity",
						      e->policy->identities[identity].path,
						      "addresses", addresses_of(a, host, e->policy),
						      "services", services_of(host, identity)));
	}
	return list;
}

static void add_svid(const struct agent *a, json_t *o)
{
	const struct svid *s = a->node_key ? node_key_svid(a->node_key) : NULL;

	(void)json_object_set_new(o, "spiffe_id", s ? json_string(s->id) : json_null());
	(void)json_object_set_new(o, "spiffe_expires", s ? wall_json(s->not_after) : json_null());
}

/*
 * Where other nodes ask this one. A socket that listens everywhere is at the first address that
 * this node may have.
 */
static json_t *attest_of(const struct agent *a, const struct host *host, const struct policy *p)
{
	json_t *o = a->peers ? peers_endpoint(a->peers) : NULL;
	json_t *all;

	if (json_is_object(o) && json_is_null(json_object_get(o, "address"))) {
		all = addresses_of(a, host, p);
		if (json_array_size(all) > 0)
			(void)json_object_set(o, "address", json_array_get(all, 0));
		else
			json_decref(TAKE_PTR(o));
		json_decref(all);
	}
	return o ? o : json_null();
}

/* Everything but `cut`. */
static json_t *build(struct agent *a)
{
	const struct edition *e = agent_edition(a);
	const struct host *host = workloads_host(a->workloads, slot_of(a, e));
	const struct known *known = documents_known(a->documents);
	json_t *o = json_pack("{s:i,s:s,s:s,s:I,s:I,s:s,s:I,s:I,s:s,s:s}", "version", 1, "node",
			      a->config.node, "release", RELEASE, "head_sequence",
			      (json_int_t)documents_head_sequence(a->documents), "policy_revision",
			      (json_int_t)e->revision, "policy_digest", e->digest, "view_sequence",
			      (json_int_t)a->view_enforced, "highest_revision",
			      (json_int_t)(known ? known->highest_revision : 0), "mode",
			      mode_name(a->mode), "state", state_of(a));

	if (!o)
		return NULL;
	(void)json_object_set_new(o, "errors", errors_of(a));
	(void)json_object_set_new(o, "workloads",
				  e->policy ? workloads_of(a, e, host) : json_array());
	(void)json_object_set_new(o, "addresses", addresses_of(a, host, NULL));
	(void)json_object_set_new(o, "attest", attest_of(a, host, e->policy));
	add_svid(a, o);
	(void)json_object_set_new(
		o, "log_dropped",
		json_integer(a->log_upload ? (json_int_t)log_upload_dropped(a->log_upload) : 0));
	return o;
}

/* --- sending ------------------------------------------------------------------------------ */

static json_t *first_of(const json_t *list, size_t n)
{
	json_t *copy = json_array();

	for (size_t i = 0; i < n && i < json_array_size(list); i++)
		(void)json_array_append(copy, json_array_get(list, i));
	return copy;
}

/* As many cut flows as the controller's limit leaves room for; the others follow. */
static void add_cut(struct status_report *s, json_t *o)
{
	size_t n = json_array_size(s->cut);

	for (int i = 0; i < SHRINK_TRIES; i++, n /= 2) {
		(void)json_object_set_new(o, "cut", first_of(s->cut, n));
		if (json_dumpb(o, NULL, 0, JSON_COMPACT) <= STATUS_REPORT_MAX || n == 0)
			break;
	}
	s->cut_in_report = n;
	s->lost_in_report = s->cut_lost;
	(void)json_object_set_new(o, "cut_lost", json_integer((json_int_t)s->cut_lost));
}

static int digest_of(const json_t *o, uint8_t ret[SHA256_LEN])
{
	CLEANUP(freep) char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);

	return text ? sha256(text, strlen(text), ret) : -ENOMEM;
}

static void send_now(struct status_report *s)
{
	json_t *o;

	s->due = true;
	if (!s->agent->link || !courier_link_connected(s->agent->link))
		return;
	o = build(s->agent);
	if (!o || digest_of(o, s->told) < 0) {
		json_decref(o);
		return;
	}
	add_cut(s, o);
	s->due = false;
	s->ever = true;
	s->sent = mono_now();
	courier_link_status(s->agent->link, o);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *user)
{
	(void)source;
	(void)usec;
	send_now(user);
	return 0;
}

void status_report_touch(struct status_report *s)
{
	int enabled = SD_EVENT_OFF;

	s->due = true;
	/* The first touch of many counts: a stream of changes must not put the report off. */
	if (sd_event_source_get_enabled(s->timer, &enabled) < 0 || enabled != SD_EVENT_OFF)
		return;
	(void)sd_event_source_set_time_relative(s->timer, COALESCE_US);
	(void)sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static int64_t period_ms(const char *node)
{
	uint8_t digest[SHA256_LEN];
	int64_t spread = PERIOD_MS * PERIOD_JITTER / 100;

	(void)sha256(node, strlen(node), digest);
	return PERIOD_MS - spread + 2 * spread * digest[0] / 255;
}

/* Processes, addresses and drift come and go without a word to this module. */
static bool changed(struct status_report *s)
{
	uint8_t now[SHA256_LEN];
	json_t *o = build(s->agent);
	bool differs = o && digest_of(o, now) >= 0 && memcmp(now, s->told, sizeof(now)) != 0;

	json_decref(o);
	return differs;
}

void status_report_tick(struct status_report *s)
{
	if (!s->agent->link || !courier_link_connected(s->agent->link))
		return;
	if (s->due || !s->ever ||
	    mono_ms_since(s->sent, mono_now()) > period_ms(s->agent->config.node) ||
	    (++s->seconds % LOOK_S == 0 && changed(s)))
		status_report_touch(s);
}

void status_report_cut(struct status_report *s, const struct cut_list *cut)
{
	json_t *flow;
	size_t i;

	json_array_foreach(cut->flows, i, flow) {
		if (json_array_size(s->cut) < CUT_LISTED_MAX)
			(void)json_array_append(s->cut, flow);
		else
			s->cut_lost++;
	}
	if (cut->count > json_array_size(cut->flows))
		s->cut_lost += cut->count - json_array_size(cut->flows);
	if (cut->count)
		status_report_touch(s);
}

void status_report_posted(struct status_report *s, bool ok)
{
	if (!ok) {
		/* The courier has tried what can be tried; the next change or period tells it. */
		s->cut_in_report = s->lost_in_report = 0;
		return;
	}
	for (; s->cut_in_report; s->cut_in_report--)
		(void)json_array_remove(s->cut, 0);
	s->cut_lost -= s->lost_in_report;
	s->lost_in_report = 0;
	if (json_array_size(s->cut))
		status_report_touch(s);
}

int status_report_new(struct agent *a, struct status_report **ret, struct err *err)
{
	struct status_report *s = mem_calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(err, ENOMEM, "out of memory");
	s->agent = a;
	s->cut = json_array();
	r = s->cut ? 0 : -ENOMEM;
	if (r >= 0)
		r = sd_event_add_time_relative(a->event, &s->timer, CLOCK_MONOTONIC, 0, 0, on_timer,
					       s);
	if (r >= 0)
		r = sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
	if (r < 0) {
		status_report_free(s);
		return err_set(err, -r, "status report: %s", strerror(-r));
	}
	*ret = s;
	return 0;
}

void status_report_free(struct status_report *s)
{
	if (!s)
		return;
	sd_event_source_disable_unref(s->timer);
	json_decref(s->cut);
	free(s);
}
