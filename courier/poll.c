/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The head: a long poll at /v1/head; where a server does not have that, a static file, asked for
 * now and then with the ETag of the one that was passed on last.
 */
#include "courier/courier.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/dsse.h"
#include "controller-client/static_path.h"
#include "courier/pace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONG_PATH        "v1/head"
#define STATIC_TIMEOUT_S 30
#define STATIC_RECHECK   20     /* every so many polls: is it a controller now? */
#define NO_POLICY_MS     5000   /* a controller that has no policy yet */
#define REPEAT_MS        300000 /* a head that was not taken is brought again so often */
#define STRING_(x)       #x
#define STRING(x)        STRING_(x)

struct poll {
	struct courier *courier;
	sd_event_source *timer;
	struct http_request *request;
	struct backoff backoff;
	bool running;
	bool is_static;
	unsigned polls, quick;
	char etag[HTTP_ETAG_MAX];
	uint8_t last[SHA256_LEN]; /* of the body that was passed on */
	bool passed;              /* and the agent has not said that it is in force */
	struct mono passed_at;
};

static void start(struct poll *p);

static void in_ms(struct poll *p, int64_t ms)
{
	(void)sd_event_source_set_time_relative(p->timer, (uint64_t)ms * 1000);
	(void)sd_event_source_set_enabled(p->timer, SD_EVENT_ONESHOT);
}

/* --- answers ------------------------------------------------------------------------------ */

static void trouble(struct poll *p, const struct http_answer *a, const char *text)
{
	p->quick = 0;
	courier_contact(p->courier, false, text);
	in_ms(p, backoff_next(&p->backoff, a->retry_after_s, courier_random()));
}

static void answered(struct poll *p, const struct http_answer *a, bool changed, const char *text)
{
	struct poll_end e = {.changed = changed, .waited = a->waited, .took_ms = a->took_ms};

	backoff_reset(&p->backoff);
	credential_worked(p->courier->credential);
	p->quick = changed ? p->quick + 1 : 0;
	e.quick = p->quick;
	courier_contact(p->courier, true, text);
	in_ms(p, poll_pause(&e, courier_random()));
}

static void pass_on(struct poll *p, const struct http_answer *a)
{
	uint8_t digest[SHA256_LEN];
	bool changed;

	if (sha256(a->body.data ? a->body.data : "", a->body.len, digest) < 0) {
		trouble(p, a, "out of memory");
		return;
	}
	(void)snprintf(p->etag, sizeof(p->etag), "%s", a->etag);
	/* The same again, with another ETag or with none: no news. */
	changed = memcmp(digest, p->last, sizeof(digest)) != 0;
	if (changed || p->passed) {
		memcpy(p->last, digest, sizeof(digest));
		p->passed = true;
		p->passed_at = mono_now();
		agent_side_send(p->courier->agent, json_pack("{s:s}", "type", "head"), a->body.data,
				a->body.len);
	}
	answered(p, a, changed, "");
}

/* A controller that says so itself is there, and works; it has no policy yet. */
static void no_policy(struct poll *p, const struct http_answer *a)
{
	backoff_reset(&p->backoff);
	credential_worked(p->courier->credential);
	courier_contact(p->courier, true, a->error);
	in_ms(p, NO_POLICY_MS + (int64_t)(courier_random() % NO_POLICY_MS));
}

static void not_found(struct poll *p, const struct http_answer *a)
{
	p->is_static = !p->is_static;
	p->etag[0] = '\0';
	p->polls = 0;
	if (p->is_static) {
		start(p);
		return;
	}
	trouble(p, a, "HTTP 404: neither /" LONG_PATH " nor a static head is there");
}

/*
 * A controller has taken the static server's place, and says so. Not asked at once: what answers
 * both paths so, one with a problem and one without, would be asked without end.
 */
static void controller_again(struct poll *p, const struct http_answer *a)
{
	p->is_static = false;
	p->etag[0] = '\0';
	in_ms(p, backoff_next(&p->backoff, a->retry_after_s, courier_random()));
}

static void on_answer(void *user, struct http_answer *a)
{
	struct poll *p = user;

	p->request = NULL;
	if (a->broken || a->status == 0) {
		trouble(p, a, a->error[0] ? a->error : "no answer");
		return;
	}
	if (a->problem && a->status == 404 && p->is_static) {
		controller_again(p, a);
		return;
	}
	if (a->problem && (a->status == 404 || str_eq(a->code, "no_policy"))) {
		no_policy(p, a);
		return;
	}
	switch (a->status) {
	case 200:
		pass_on(p, a);
		return;
	case 304:
		answered(p, a, false, "");
		return;
	case 404:
		not_found(p, a);
		return;
	case 401:
	case 403:
		credential_refused(p->courier->credential);
		break;
	default:
		break;
	}
	trouble(p, a, a->error[0] ? a->error : "an answer that makes no sense");
}

/* --- requests ----------------------------------------------------------------------------- */

static bool bring_again(const struct poll *p)
{
	return p->passed && mono_ms_since(p->passed_at, mono_now()) > REPEAT_MS;
}

static void start(struct poll *p)
{
	char path[STATIC_PATH_MAX], match[HTTP_ETAG_MAX + 32] = "";
	CLEANUP(freep) char *url = NULL;
	bool is_static = p->is_static && ++p->polls % STATIC_RECHECK != 0;
	struct http_call call = {
		.max = DSSE_ENVELOPE_MAX,
		.timeout_s = is_static ? STATIC_TIMEOUT_S : PACE_POLL_TIMEOUT_S,
		.done = on_answer,
		.user = p,
	};
	size_t n = 0;

	/* Seen from here on as what it is asked as: not_found() goes to the other one. */
	p->is_static = is_static;
	url = courier_url(p->courier,
			  is_static ? static_path_head(path, p->courier->node) : LONG_PATH);
	call.url = url;
	if (bring_again(p))
		p->etag[0] = '\0';
	if (p->etag[0]) {
		(void)snprintf(match, sizeof(match), "If-None-Match: %s", p->etag);
		call.headers[n++] = match;
	}
	if (!is_static)
		call.headers[n++] = "Prefer: wait=" STRING(PACE_WAIT_S);
	p->request = url ? http_start(p->courier->http, &call) : NULL;
	if (!p->request)
		in_ms(p, backoff_next(&p->backoff, -1, courier_random()));
}

static int on_timer(sd_event_source *s, uint64_t usec, void *user)
{
	struct poll *p = user;

	(void)s;
	(void)usec;
	if (p->running && !p->request)
		start(p);
	return 0;
}

void poll_configure(struct poll *p, uint64_t sequence)
{
	poll_stop(p);
	p->is_static = false;
	p->passed = false;
	p->polls = p->quick = 0;
	memset(p->last, 0, sizeof(p->last));
	p->etag[0] = '\0';
	/* A controller's ETag is the sequence; for others it is one that matches nothing. */
	if (sequence)
		(void)snprintf(p->etag, sizeof(p->etag), "\"%" PRIu64 "\"", sequence);
	backoff_reset(&p->backoff);
}

void poll_start(struct poll *p)
{
	if (p->running)
		return;
	p->running = true;
	start(p);
}

void poll_resume(struct poll *p)
{
	if (p->running && !p->request)
		start(p);
}

void poll_stop(struct poll *p)
{
	http_cancel(TAKE_PTR(p->request));
	p->running = false;
	(void)sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
}

void poll_taken(struct poll *p, uint64_t sequence)
{
	(void)sequence;
	p->passed = false;
}

int poll_new(struct courier *c, struct poll **ret, struct err *err)
{
	struct poll *p = mem_calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_set(err, ENOMEM, "out of memory");
	p->courier = c;
	r = sd_event_add_time_relative(c->event, &p->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY_US,
				       on_timer, p);
	if (r >= 0)
		r = sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
	if (r < 0) {
		poll_free(p);
		return err_set(err, -r, "event loop: %s", strerror(-r));
	}
	*ret = p;
	return 0;
}

void poll_free(struct poll *p)
{
	if (!p)
		return;
	http_cancel(p->request);
	sd_event_source_disable_unref(p->timer);
	free(p);
}
