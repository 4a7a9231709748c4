/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What goes up: the newest status, one chunk of decision records, a renewal of the node's
 * certificate. Each lane has at most one request under way. What a busy or absent controller does
 * not take is tried again; what it refuses is told to the agent.
 */
#include "courier/courier.h"

#include "base/base64.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "courier/pace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define TIMEOUT_S       60
#define GZIP_WINDOW     (MAX_WBITS + 16) /* zlib: a gzip header and trailer */
#define GZIP_MEMORY     8
#define STATUS_PATH     "v1/status"
#define LOG_PATH        "v1/logs"
#define REENROL_PATH    ".well-known/est/simplereenroll"
#define ENROL_PATH      ".well-known/est/simpleenroll"
#define STATUS_OK       200
#define STATUS_REDIRECT 300

struct lane {
	struct post *post;
	const char *what; /* "status", "log", "renew" */
	sd_event_source *timer;
	struct http_request *request;
	struct backoff backoff;
	bool full; /* something is to be delivered */
	uint64_t id;
	char *body;
	size_t len;
	char header[64];
	/* A status that came while an older one was under way. */
	bool next_full;
	uint64_t next_id;
	char *next_body;
	size_t next_len;
};

struct post {
	struct courier *courier;
	struct lane status, log, renew;
	char *proof; /* of the renewal, in base64 */
};

static void start(struct lane *l);

static void empty(struct lane *l)
{
	free(TAKE_PTR(l->body));
	l->full = false;
	l->header[0] = '\0';
	backoff_reset(&l->backoff);
	(void)sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
	if (!l->next_full)
		return;
	l->full = true;
	l->id = l->next_id;
	l->body = TAKE_PTR(l->next_body);
	l->len = l->next_len;
	l->next_full = false;
	start(l);
}

static void again(struct lane *l, int64_t retry_after_s)
{
	int64_t ms = backoff_next(&l->backoff, retry_after_s, courier_random());

	(void)sd_event_source_set_time_relative(l->timer, (uint64_t)ms * 1000);
	(void)sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
}

/* --- answers ------------------------------------------------------------------------------ */

static void posted(struct lane *l)
{
	struct courier *c = l->post->courier;

	courier_contact(c, true, "");
	agent_side_send(c->agent,
			json_pack("{s:s,s:s,s:I}", "type", "posted", "what", l->what, "id",
				  (json_int_t)l->id),
			NULL, 0);
	empty(l);
}

static void refused(struct lane *l, const struct http_answer *a)
{
	char name[24];

	(void)snprintf(name, sizeof(name), "%" PRIu64, l->id);
	courier_failed(l->post->courier, l->what, name, a->status,
		       a->error[0] ? a->error : "refused");
	empty(l);
}

static bool is_passing(const struct http_answer *a)
{
	return a->broken || a->status == 0 || a->status >= 500 || a->status == 408 ||
	       a->status == 425 || a->status == 429 || a->status == 401 || a->status == 403;
}

static void on_posted(void *user, struct http_answer *a)
{
	struct lane *l = user;

	l->request = NULL;
	/* What becomes of the connection after the answer is no matter. */
	if (a->status >= STATUS_OK && a->status < STATUS_REDIRECT) {
		posted(l);
		return;
	}
	if (a->status == 401 || a->status == 403)
		credential_refused(l->post->courier->credential);
	if (!is_passing(a)) {
		refused(l, a);
		return;
	}
	/* The newest status is the one worth delivering. */
	if (l->next_full)
		empty(l);
	else
		again(l, a->retry_after_s);
}

static void on_renewed(void *user, struct http_answer *a)
{
	struct lane *l = user;
	struct courier *c = l->post->courier;
	CLEANUP(freep) uint8_t *der = NULL;
	size_t len = 0;

	l->request = NULL;
	if (a->broken || a->status != 200) {
		if (a->status == 401 || a->status == 403)
			credential_refused(c->credential);
		refused(l, a);
		return;
	}
	if (a->body.len == 0 ||
	    base64_decode_wrapped(a->body.data, a->body.len, HTTP_SMALL_MAX, &der, &len) < 0) {
		(void)snprintf(a->error, sizeof(a->error), "an answer that is not base64");
		refused(l, a);
		return;
	}
	courier_contact(c, true, "");
	agent_side_send(c->agent, json_pack("{s:s}", "type", "renewed"), der, len);
	empty(l);
}

/* --- requests ----------------------------------------------------------------------------- */

static struct http_request *start_renew(struct lane *l)
{
	struct courier *c = l->post->courier;
	bool held = credential_held(c->credential);
	/* An expired certificate earns no certificate for the courier: then the proof alone. */
	CLEANUP(freep) char *url = courier_url(c, held ? REENROL_PATH : ENROL_PATH);
	CLEANUP(freep) char *header = mem_printf("Bailiwick-Proof: %s", l->post->proof);

	if (!url || !header)
		return NULL;
	return http_start(c->http, &(struct http_call){
					   .url = url,
					   .headers = {"Content-Type: application/pkcs10",
						       "Content-Transfer-Encoding: base64", header},
					   .post = true,
					   .body = l->body,
					   .body_len = l->len,
					   .max = HTTP_SMALL_MAX,
					   .timeout_s = TIMEOUT_S,
					   .done = on_renewed,
					   .user = l,
				   });
}

static struct http_request *start_upload(struct lane *l)
{
	struct courier *c = l->post->courier;
	bool is_log = l == &l->post->log;
	CLEANUP(freep) char *url = courier_url(c, is_log ? LOG_PATH : STATUS_PATH);

	if (!url)
		return NULL;
	return http_start(c->http, &(struct http_call){
					   .url = url,
					   .headers = {"Content-Type: application/json",
						       is_log ? "Content-Encoding: gzip" : NULL,
						       is_log && l->header[0] ? l->header : NULL},
					   .post = true,
					   .body = l->body,
					   .body_len = l->len,
					   .max = HTTP_SMALL_MAX,
					   .timeout_s = TIMEOUT_S,
					   .done = on_posted,
					   .user = l,
				   });
}

static void start(struct lane *l)
{
	if (l->request || !l->full)
		return;
	l->request = l == &l->post->renew ? start_renew(l) : start_upload(l);
	if (!l->request)
		again(l, -1);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *user)
{
	(void)s;
	(void)usec;
	start(user);
	return 0;
}

void post_status(struct post *p, uint64_t id, const void *body, size_t len)
{
	struct lane *l = &p->status;
	char *copy = mem_dup(body, len);

	if (!copy)
		return;
	if (l->request) {
		free(l->next_body);
		l->next_body = copy;
		l->next_len = len;
		l->next_id = id;
		l->next_full = true;
		return;
	}
	free(l->body);
	l->body = copy;
	l->len = len;
	l->id = id;
	/* While it is waited for a busy controller, waiting goes on; only the words are newer. */
	if (!l->full || l->backoff.failures == 0) {
		l->full = true;
		start(l);
	}
}

/* Caller frees; NULL when out of memory. */
static char *gzip(const void *body, size_t len, size_t *ret_len)
{
	z_stream z = {0};
	char *out = NULL;
	size_t bound;

	if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		return NULL;
	bound = deflateBound(&z, len);
	out = mem_calloc(bound, 1);
	z.next_in = (Bytef *)(uintptr_t)body;
	z.avail_in = (uInt)len;
	z.next_out = (Bytef *)out;
	z.avail_out = (uInt)bound;
	if (out && deflate(&z, Z_FINISH) == Z_STREAM_END)
		*ret_len = z.total_out;
	else
		free(TAKE_PTR(out));
	(void)deflateEnd(&z);
	return out;
}

void post_log(struct post *p, uint64_t id, uint64_t dropped, const void *body, size_t len)
{
	struct lane *l = &p->log;
	size_t packed_len = 0;
	char *packed = l->full ? NULL : gzip(body, len, &packed_len);

	if (!packed) {
		char name[24];

		(void)snprintf(name, sizeof(name), "%" PRIu64, id);
		courier_failed(p->courier, "log", name, 0, "busy");
		return;
	}
	l->body = packed;
	l->len = packed_len;
	l->id = id;
	l->full = true;
	(void)snprintf(l->header, sizeof(l->header), "Bailiwick-Dropped: %" PRIu64, dropped);
	start(l);
}

static int read_renewal(struct post *p, const void *body, size_t len, struct err *err)
{
	struct json_object o;
	const char *csr, *proof;
	json_t *json = NULL;
	int r = json_parse_strict(body, len, "renewal", &json, err);

	if (r < 0)
		return r;
	json_object_begin(&o, json, "renewal", NULL, err);
	csr = json_take_string(&o, "csr", HTTP_SMALL_MAX);
	proof = json_take_string(&o, "proof", HTTP_SMALL_MAX);
	r = json_finish(&o);
	if (r >= 0) {
		free(p->renew.body);
		free(p->proof);
		p->renew.body = mem_strdup(csr);
		p->renew.len = strlen(csr);
		p->proof = base64_encode(proof, strlen(proof));
		r = p->renew.body && p->proof ? 0 : err_set(err, ENOMEM, "out of memory");
	}
	json_decref(json);
	return r;
}

void post_renew(struct post *p, const void *body, size_t len)
{
	struct err err = {{0}};

	http_cancel(TAKE_PTR(p->renew.request));
	if (read_renewal(p, body, len, &err) < 0) {
		courier_failed(p->courier, "renew", "", 0, err.text);
		return;
	}
	p->renew.full = true;
	start(&p->renew);
}

static void lane_stop(struct lane *l)
{
	http_cancel(TAKE_PTR(l->request));
	free(TAKE_PTR(l->next_body));
	l->next_full = false;
	empty(l);
}

void post_stop(struct post *p)
{
	lane_stop(&p->status);
	lane_stop(&p->log);
	lane_stop(&p->renew);
	free(TAKE_PTR(p->proof));
}

void post_resume(struct post *p)
{
	start(&p->status);
	start(&p->log);
}

static int lane_init(struct post *p, struct lane *l, const char *what)
{
	int r;

	l->post = p;
	l->what = what;
	r = sd_event_add_time_relative(p->courier->event, &l->timer, CLOCK_MONOTONIC, 0,
				       TIMER_ACCURACY_US, on_timer, l);
	return r < 0 ? r : sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
}

int post_new(struct courier *c, struct post **ret, struct err *err)
{
	struct post *p = mem_calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_set(err, ENOMEM, "out of memory");
	p->courier = c;
	r = lane_init(p, &p->status, "status");
	if (r >= 0)
		r = lane_init(p, &p->log, "log");
	if (r >= 0)
		r = lane_init(p, &p->renew, "renew");
	if (r < 0) {
		post_free(p);
		return err_set(err, -r, "event loop: %s", strerror(-r));
	}
	*ret = p;
	return 0;
}

void post_free(struct post *p)
{
	if (!p)
		return;
	post_stop(p);
	sd_event_source_disable_unref(p->status.timer);
	sd_event_source_disable_unref(p->log.timer);
	sd_event_source_disable_unref(p->renew.timer);
	free(p);
}
