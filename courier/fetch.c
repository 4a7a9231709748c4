/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Manifests and blobs that the agent wants: from the cache, or fetched, few at a time. What came of
 * a blob before the connection broke is kept and the rest asked for; names are digests, so the rest
 * fits or the whole is thrown away.
 */
#include "courier/courier.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/static_path.h"
#include "courier/pace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOBS_MAX        1024
#define ACTIVE_MAX      4
#define TRIES_MAX       8
#define WRONG_TRIES_MAX 2

struct job {
	struct fetch *fetch;
	bool is_blob;
	uint64_t revision;
	char sha256[SHA256_HEX_LEN];
	uint64_t max; /* of a blob: its size */
	struct buf partial;
	struct http_request *request;
	struct backoff backoff;
	struct mono due;
	struct job *next;
};

struct fetch {
	struct courier *courier;
	sd_event_source *timer;
	struct job *jobs;
	size_t count, active;
};

static void pump(struct fetch *f);

/* --- jobs --------------------------------------------------------------------------------- */

/* One that is in no list any more. */
static void job_free(struct job *j)
{
	j->fetch->count--;
	if (j->request)
		j->fetch->active--;
	http_cancel(j->request);
	buf_done(&j->partial);
	free(j);
}

static void job_end(struct job *j)
{
	struct job **at = &j->fetch->jobs;

	while (*at != j)
		at = &(*at)->next;
	*at = j->next;
	job_free(j);
}

static void end_all(struct fetch *f)
{
	while (f->jobs) {
		struct job *j = f->jobs;

		f->jobs = j->next;
		job_free(j);
	}
}

static const char *job_name(const struct job *j, char buf[SHA256_HEX_LEN])
{
	if (j->is_blob)
		(void)snprintf(buf, SHA256_HEX_LEN, "%s", j->sha256);
	else
		(void)snprintf(buf, SHA256_HEX_LEN, "%" PRIu64, j->revision);
	return buf;
}

static void job_failed(struct job *j, int status, const char *text)
{
	char name[SHA256_HEX_LEN];

	courier_failed(j->fetch->courier, j->is_blob ? "blob" : "manifest", job_name(j, name),
		       status, text);
	job_end(j);
}

static bool same(const struct job *a, const struct job *b)
{
	return a->is_blob == b->is_blob &&
	       (a->is_blob ? str_eq(a->sha256, b->sha256) : a->revision == b->revision);
}

static void arm(struct fetch *f)
{
	struct mono now = mono_now(), due = {.ns = INT64_MAX};

	for (const struct job *j = f->jobs; j; j = j->next) {
		if (!j->request && j->due.ns < due.ns)
			due = j->due;
	}
	if (due.ns == INT64_MAX || f->active >= ACTIVE_MAX) {
		(void)sd_event_source_set_enabled(f->timer, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time_relative(
		f->timer, due.ns > now.ns ? (uint64_t)(due.ns - now.ns) / 1000 + 1 : 0);
	(void)sd_event_source_set_enabled(f->timer, SD_EVENT_ONESHOT);
}

/* --- answers ------------------------------------------------------------------------------ */

static void deliver(struct job *j, const void *bytes, size_t len)
{
	struct courier *c = j->fetch->courier;
	json_t *header = j->is_blob ? json_pack("{s:s,s:s}", "type", "blob", "sha256", j->sha256)
				    : json_pack("{s:s,s:I}", "type", "manifest", "revision",
						(json_int_t)j->revision);

	agent_side_send(c->agent, header, bytes, len);
	job_end(j);
}

static void retry(struct job *j, const struct http_answer *a, const char *text)
{
	if (j->backoff.failures >= TRIES_MAX) {
		job_failed(j, a->status, text);
		return;
	}
	j->due.ns = mono_now().ns +
		    backoff_next(&j->backoff, a->retry_after_s, courier_random()) * 1000000;
}

/* Bytes that came are put behind those that were there; from another place they are of no use. */
static void collect(struct job *j, const struct http_answer *a)
{
	if (a->status == 206 && a->ranged && a->range_start == j->partial.len) {
		buf_add(&j->partial, a->body.data, a->body.len);
	} else {
		buf_done(&j->partial);
		buf_init(&j->partial, (size_t)j->max);
		if (a->status == 200)
			buf_add(&j->partial, a->body.data, a->body.len);
	}
	if (j->partial.r < 0) {
		buf_done(&j->partial);
		buf_init(&j->partial, (size_t)j->max);
	}
}

static bool is_whole(const struct job *j)
{
	uint8_t digest[SHA256_LEN];
	char hex[SHA256_HEX_LEN];

	if (!j->is_blob)
		return true;
	if (j->partial.len != j->max ||
	    sha256(j->partial.data ? j->partial.data : "", j->partial.len, digest) < 0)
		return false;
	hex_format(digest, sizeof(digest), hex);
	return str_eq(hex, j->sha256);
}

/* Once may be an accident on the way; a server that repeats it is told of. */
static void wrong(struct job *j, const struct http_answer *a)
{
	static const char text[] = "not the bytes that its name says";

	if (j->backoff.failures >= WRONG_TRIES_MAX)
		job_failed(j, a->status, text);
	else
		retry(j, a, text);
}

static void come(struct job *j, const struct http_answer *a)
{
	struct cache *cache = j->fetch->courier->cache;

	if (!is_whole(j)) {
		buf_done(&j->partial);
		buf_init(&j->partial, (size_t)j->max);
		wrong(j, a);
		return;
	}
	if (j->is_blob && cache)
		cache_put(cache, j->sha256, j->partial.data, j->partial.len);
	deliver(j, j->partial.data, j->partial.len);
}

static bool is_final(const struct http_answer *a)
{
	return a->too_large ||
	       (a->status >= 300 && a->status < 500 && a->status != 401 && a->status != 403 &&
		a->status != 408 && a->status != 416 && a->status != 425 && a->status != 429);
}

static void on_answer(void *user, struct http_answer *a)
{
	struct job *j = user;
	struct fetch *f = j->fetch;
	size_t before = j->partial.len;

	j->request = NULL;
	f->active--;
	if (a->status == 401 || a->status == 403)
		credential_refused(f->courier->credential);
	if (!a->too_large && (a->status == 200 || a->status == 206 || a->status == 416))
		collect(j, a);
	if (!a->broken && (a->status == 200 || a->status == 206)) {
		come(j, a);
	} else if (is_final(a)) {
		job_failed(j, a->status, a->error);
	} else {
		/* What gets on, however slowly, is no failure. */
		if (j->partial.len > before)
			backoff_reset(&j->backoff);
		retry(j, a, a->error[0] ? a->error : "no answer");
	}
	pump(f);
}

/* --- requests ----------------------------------------------------------------------------- */

static void start(struct job *j)
{
	struct courier *c = j->fetch->courier;
	char path[STATIC_PATH_MAX];
	CLEANUP(freep)
	char *url = courier_url(c, j->is_blob ? static_path_blob(path, j->sha256)
					      : static_path_manifest(path, j->revision));
	struct http_call call = {
		.url = url,
		.max = (size_t)j->max,
		.offset = j->is_blob ? j->partial.len : 0,
		.done = on_answer,
		.user = j,
	};

	j->request = url ? http_start(c->http, &call) : NULL;
	if (j->request)
		j->fetch->active++;
	else
		j->due.ns =
			mono_now().ns + backoff_next(&j->backoff, -1, courier_random()) * 1000000;
}

static void pump(struct fetch *f)
{
	struct mono now = mono_now();

	for (struct job *j = f->jobs; j && f->active < ACTIVE_MAX; j = j->next) {
		if (!j->request && j->due.ns <= now.ns)
			start(j);
	}
	arm(f);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *user)
{
	(void)s;
	(void)usec;
	pump(user);
	return 0;
}

static bool from_cache(struct job *j)
{
	struct cache *cache = j->fetch->courier->cache;
	CLEANUP(freep) char *bytes = NULL;
	size_t len = 0;

	if (!j->is_blob || !cache || cache_get(cache, j->sha256, j->max, &bytes, &len) < 0)
		return false;
	deliver(j, bytes, len);
	return true;
}

static void add(struct fetch *f, const struct job *what)
{
	struct job **at = &f->jobs, *j;

	for (; *at; at = &(*at)->next) {
		if (same(*at, what))
			return;
	}
	j = f->count < JOBS_MAX ? mem_calloc(1, sizeof(*j)) : NULL;
	if (!j)
		return;
	*j = *what;
	j->fetch = f;
	buf_init(&j->partial, (size_t)j->max);
	*at = j;
	f->count++;
	if (!from_cache(j))
		pump(f);
}

void fetch_manifest(struct fetch *f, uint64_t revision, uint64_t max)
{
	const struct job j = {.revision = revision, .max = max};

	add(f, &j);
}

void fetch_blob(struct fetch *f, const char *sha256, uint64_t size)
{
	struct job j = {.is_blob = true, .max = size};

	if (!sha256_hex_ok(sha256))
		return;
	(void)snprintf(j.sha256, sizeof(j.sha256), "%s", sha256);
	add(f, &j);
}

void fetch_stop(struct fetch *f)
{
	end_all(f);
	arm(f);
}

int fetch_new(struct courier *c, struct fetch **ret, struct err *err)
{
	struct fetch *f = mem_calloc(1, sizeof(*f));
	int r;

	if (!f)
		return err_set(err, ENOMEM, "out of memory");
	f->courier = c;
	r = sd_event_add_time_relative(c->event, &f->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY_US,
				       on_timer, f);
	if (r >= 0)
		r = sd_event_source_set_enabled(f->timer, SD_EVENT_OFF);
	if (r < 0) {
		fetch_free(f);
		return err_set(err, -r, "event loop: %s", strerror(-r));
	}
	*ret = f;
	return 0;
}

void fetch_free(struct fetch *f)
{
	if (!f)
		return;
	end_all(f);
	sd_event_source_disable_unref(f->timer);
	free(f);
}
