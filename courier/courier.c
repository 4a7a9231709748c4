/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "courier/courier.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/proof.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#define NODE_MAX         63
#define TRUST_DOMAIN_MAX 255
#define TEXT_MAX         300 /* of a sentence in a frame */

uint64_t courier_random(void)
{
	uint64_t n = 0;

	(void)RAND_bytes((unsigned char *)&n, sizeof(n));
	return n;
}

char *courier_url(const struct courier *c, const char *path)
{
	size_t len = strlen(c->url);

	while (len && c->url[len - 1] == '/')
		len--;
	return mem_printf("%.*s/%s", (int)len, c->url, path);
}

void courier_contact(struct courier *c, bool ok, const char *text)
{
	bool changed = !c->contact_told || ok != c->contact_ok ||
		       strncmp(text, c->contact_text, sizeof(c->contact_text) - 1) != 0;

	if (changed && ok)
		log_info("controller: in contact%s%s", text[0] ? ": " : "", text);
	else if (changed)
		log_warn("controller: %s", text);
	/* Each answer counts: the agent confirms a policy by it. Silence is told once. */
	if (!ok && !changed)
		return;
	c->contact_told = true;
	c->contact_ok = ok;
	(void)snprintf(c->contact_text, sizeof(c->contact_text), "%s", text);
	agent_side_send(c->agent,
			json_pack("{s:s,s:b,s:s#}", "type", "contact", "ok", ok, "text", text,
				  (int)strnlen(text, TEXT_MAX)),
			NULL, 0);
}

void courier_failed(struct courier *c, const char *what, const char *name, int status,
		    const char *text)
{
	agent_side_send(c->agent,
			json_pack("{s:s,s:s,s:s,s:i,s:s#}", "type", "failed", "what", what, "name",
				  name, "status", status, "text", text,
				  (int)strnlen(text, TEXT_MAX)),
			NULL, 0);
}

/* --- from the agent ----------------------------------------------------------------------- */

static int on_config(struct courier *c, struct json_object *o, const struct courier_frame *f)
{
	const char *url = json_take_string(o, "url", HTTP_URL_MAX / 2);
	const char *node = json_take_string(o, "node", NODE_MAX);
	uint64_t sequence;
	char audience[PROOF_AUDIENCE_MAX];

	(void)json_take_string(o, "trust_domain", TRUST_DOMAIN_MAX);
	sequence = (uint64_t)json_take_int(o, "sequence", 0, INT64_MAX);
	if (o->r >= 0 && proof_audience(url, audience) < 0)
		return json_fail(o, "url", "not https://HOST[:PORT]");
	if (o->r < 0)
		return o->r;
	free(c->url);
	free(c->node);
	c->url = mem_strdup(url);
	c->node = mem_strdup(node);
	if (!c->url || !c->node || http_set_ca(c->http, (const char *)f->body, f->len) < 0)
		return -ENOMEM;
	/* It may come again, when the node has another certificate: all begins anew. */
	(void)http_set_identity(c->http, NULL, NULL);
	log_info("agent: node %s, controller %s", c->node, c->url);
	poll_configure(c->poll, sequence);
	credential_start(c->credential);
	return 0;
}

static int on_want(struct courier *c, struct json_object *o)
{
	const char *what = json_take_string(o, "what", 16);

	if (o->r < 0)
		return o->r;
	if (str_eq(what, "manifest")) {
		uint64_t revision = (uint64_t)json_take_int(o, "revision", 1, INT64_MAX);
		uint64_t max = (uint64_t)json_take_int(o, "max", 1, COURIER_BODY_MAX);

		if (o->r >= 0)
			fetch_manifest(c->fetch, revision, max);
	} else if (str_eq(what, "blob")) {
		const char *sha256 = json_take_string(o, "sha256", 64);
		uint64_t size = (uint64_t)json_take_int(o, "size", 0, COURIER_BODY_MAX);

		if (o->r >= 0)
			fetch_blob(c->fetch, sha256, size);
	}
	return o->r;
}

static int on_upload(struct courier *c, struct json_object *o, const char *type,
		     const struct courier_frame *f)
{
	uint64_t id = (uint64_t)json_take_int(o, "id", 0, INT64_MAX);
	uint64_t dropped = 0;

	if (str_eq(type, "log"))
		dropped = (uint64_t)json_take_int(o, "dropped", 0, INT64_MAX);
	if (o->r < 0)
		return o->r;
	if (str_eq(type, "log"))
		post_log(c->post, id, dropped, f->body, f->len);
	else
		post_status(c->post, id, f->body, f->len);
	return 0;
}

static int on_taken(struct courier *c, struct json_object *o)
{
	uint64_t sequence = (uint64_t)json_take_int(o, "sequence", 0, INT64_MAX);

	if (o->r >= 0)
		poll_taken(c->poll, sequence);
	return o->r;
}

static int on_frame(void *user, const struct courier_frame *f, struct err *err)
{
	struct courier *c = user;
	struct json_object o;
	const char *type;

	json_object_begin(&o, f->header, "agent's frame", NULL, err);
	type = json_take_string(&o, "type", 16);
	if (o.r < 0)
		return o.r;
	if (str_eq(type, "config"))
		return on_config(c, &o, f);
	if (!c->url)
		return err_set(err, EBADMSG, "no config first");
	if (str_eq(type, "want"))
		return on_want(c, &o);
	if (str_eq(type, "taken"))
		return on_taken(c, &o);
	if (str_eq(type, "proof"))
		credential_proof(c->credential, f->body, f->len, json_may_string(&o, "error", 512));
	else if (str_eq(type, "renew"))
		post_renew(c->post, f->body, f->len);
	else if (str_eq(type, "status") || str_eq(type, "log"))
		return on_upload(c, &o, type, f);
	/* An agent of a later release may have more to say. */
	return o.r;
}

/* Without an agent nobody waits for anything, and what it asked for it will ask for again. */
static void on_closed(void *user)
{
	struct courier *c = user;

	credential_stop(c->credential);
	poll_stop(c->poll);
	fetch_stop(c->fetch);
	post_stop(c->post);
	(void)http_set_identity(c->http, NULL, NULL);
	free(TAKE_PTR(c->url));
	free(TAKE_PTR(c->node));
	c->contact_told = false;
}

/* --- life --------------------------------------------------------------------------------- */

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *user)
{
	(void)si;
	(void)user;
	return sd_event_exit(sd_event_source_get_event(s), 0);
}

static int start_loop(struct courier *c, struct err *err)
{
	sigset_t set;
	int r;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_set(err, errno, "signals: %s", strerror(errno));
	(void)signal(SIGPIPE, SIG_IGN);
	r = sd_event_new(&c->event);
	if (r >= 0)
		r = sd_event_add_signal(c->event, NULL, SIGTERM, on_signal, c);
	if (r >= 0)
		r = sd_event_add_signal(c->event, NULL, SIGINT, on_signal, c);
	if (r >= 0)
		r = sd_event_set_watchdog(c->event, true);
	return r < 0 ? err_set(err, -r, "event loop: %s", strerror(-r)) : 0;
}

static void start_cache(struct courier *c, const struct courier_arguments *args)
{
	struct err err = {{0}};

	if (args->cache_dir && args->cache_max &&
	    cache_open(args->cache_dir, args->cache_max, &c->cache, &err) < 0)
		log_warn("cache: %s; everything is fetched anew", err.text);
}

int courier_new(const struct courier_arguments *args, struct courier **ret, struct err *err)
{
	CLEANUP(courier_freep) struct courier *c = mem_calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_set(err, ENOMEM, "out of memory");
	r = start_loop(c, err);
	if (r >= 0)
		r = http_new(c->event, &c->http, err);
	if (r >= 0)
		start_cache(c, args);
	if (r >= 0)
		r = credential_new(c, &c->credential, err);
	if (r >= 0)
		r = poll_new(c, &c->poll, err);
	if (r >= 0)
		r = fetch_new(c, &c->fetch, err);
	if (r >= 0)
		r = post_new(c, &c->post, err);
	if (r >= 0)
		r = agent_side_new(c->event, args->socket,
				   &(struct agent_side_handler){
					   .frame = on_frame, .closed = on_closed, .user = c},
				   &c->agent, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

int courier_run(struct courier *c)
{
	(void)sd_notify(0, "READY=1");
	return sd_event_loop(c->event);
}

void courier_free(struct courier *c)
{
	if (!c)
		return;
	agent_side_free(c->agent);
	post_free(c->post);
	fetch_free(c->fetch);
	poll_free(c->poll);
	credential_free(c->credential);
	http_free(c->http);
	cache_free(c->cache);
	free(c->url);
	free(c->node);
	sd_event_unref(c->event);
	free(c);
}

void courier_freep(struct courier **c)
{
	courier_free(*c);
	*c = NULL;
}
