/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * bailiwick-courier: carries bytes between the agent on this host and the controller, over TLS and
 * HTTP, so that the process with the capabilities never speaks either. It holds no secret but the
 * key it makes at its start, and no right but to talk: taken over, it can delay news and lie about
 * this node's status; it can forge nothing, because the agent verifies every document itself.
 *
 * Parts: agent_side (frames), http (libcurl), credential (its certificate), poll (the head), fetch
 * (manifests and blobs, with a cache), post (status, records, renewals). All on one sd-event loop.
 */
#pragma once

#include "base/err.h"
#include "courier/agent_side.h"
#include "courier/cache.h"
#include "courier/http.h"

#include <jansson.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

struct credential;
struct fetch;
struct poll;
struct post;

struct courier {
	sd_event *event;
	struct agent_side *agent;
	struct http *http;
	struct cache *cache; /* NULL: none */
	struct credential *credential;
	struct poll *poll;
	struct fetch *fetch;
	struct post *post;
	/* Of the agent's `config`; url NULL: it has not come. */
	char *url, *node;
	bool contact_told, contact_ok;
	char contact_text[HTTP_ERROR_MAX];
};

struct courier_arguments {
	const char *socket, *cache_dir;
	uint64_t cache_max;
};

int courier_new(const struct courier_arguments *args, struct courier **ret, struct err *err);
void courier_free(struct courier *c);
void courier_freep(struct courier **c);
int courier_run(struct courier *c);

/* --- for the parts ------------------------------------------------------------------------ */

/* URL of a path without its leading slash; caller frees, NULL when out of memory. */
char *courier_url(const struct courier *c, const char *path);
/* Tells the agent that the controller answered, or why not. */
void courier_contact(struct courier *c, bool ok, const char *text);
/* {"type":"failed",...}; texts are cut to what a frame may hold. */
void courier_failed(struct courier *c, const char *what, const char *name, int status,
		    const char *text);
uint64_t courier_random(void);

/* --- credential.c: a certificate for this process ------------------------------------------- */

int credential_new(struct courier *c, struct credential **ret, struct err *err);
void credential_free(struct credential *k);
void credential_start(struct credential *k); /* with each connection to the agent */
void credential_stop(struct credential *k);
void credential_proof(struct credential *k, const void *proof, size_t len, const char *error);
/* The controller did not know us (401, 403): another certificate, not at once. */
void credential_refused(struct credential *k);
/* It was good for an answer: the next refusal begins a new count. */
void credential_worked(struct credential *k);
bool credential_held(const struct credential *k);

/* --- poll.c: the head ------------------------------------------------------------------------ */

int poll_new(struct courier *c, struct poll **ret, struct err *err);
void poll_free(struct poll *p);
/* sequence: of the head that the agent has; 0 = none. */
void poll_configure(struct poll *p, uint64_t sequence);
void poll_start(struct poll *p); /* once it is known whether there is a certificate */
void poll_stop(struct poll *p);
void poll_resume(struct poll *p); /* there is a certificate now: whatever it waits for */
void poll_taken(struct poll *p, uint64_t sequence);

/* --- fetch.c: manifests and blobs --------------------------------------------------------------
 */

int fetch_new(struct courier *c, struct fetch **ret, struct err *err);
void fetch_free(struct fetch *f);
void fetch_manifest(struct fetch *f, uint64_t revision, uint64_t max);
void fetch_blob(struct fetch *f, const char *sha256, uint64_t size);
void fetch_stop(struct fetch *f);

/* --- post.c: what goes up ----------------------------------------------------------------------
 */

int post_new(struct courier *c, struct post **ret, struct err *err);
void post_free(struct post *p);
void post_status(struct post *p, uint64_t id, const void *body, size_t len);
void post_log(struct post *p, uint64_t id, uint64_t dropped, const void *body, size_t len);
void post_renew(struct post *p, const void *body, size_t len);
void post_stop(struct post *p);
void post_resume(struct post *p); /* there is a certificate now */
