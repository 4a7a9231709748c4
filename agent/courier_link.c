/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/courier_link.h"

#include "agent/courier_conn.h"
#include "agent/documents.h"
#include "agent/heartbeat.h"
#include "agent/log_upload.h"
#include "agent/node_key.h"
#include "agent/status_report.h"
#include "base/base64.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/csr.h"
#include "controller-client/static_path.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHAT         "courier"
#define WANTS_MAX    512      /* blobs of a manifest, a view, the manifest */
#define WANT_LIFE_MS 900000LL /* then it is given up, and asked for again by whoever needs it */
#define BODY_MIN     DSSE_ENVELOPE_MAX
#define TEXT_LEN_MAX 512
#define CA_MAX       (64U << 10)
#define OUT_SOFT     (64U << 10) /* more than this waits here, where newer replaces older */

enum want_kind { WANT_MANIFEST, WANT_BLOB };

struct want {
	enum want_kind kind;
	uint64_t revision;
	char sha256[SHA256_HEX_LEN];
	uint64_t max; /* bytes */
	bool sent;
	struct mono since;
};

/* What waits for room: each at most once, the newest counts. */
struct outbox {
	bool config;
	uint64_t taken; /* 0: nothing to tell */
	bool proof;
	char *proof_text, *proof_error;
	char *renew;
	json_t *status;
	char *log;
	size_t log_len;
	uint64_t log_id, log_dropped;
};

struct courier_link {
	struct agent *agent;
	struct courier_conn *conn;
	struct document_source source;
	bool greeted;
	struct want wants[WANTS_MAX];
	size_t want_count;
	struct outbox out;
	uint64_t status_id; /* of the newest report that was sent */
	bool status_sent;   /* and is not answered */
	uint64_t log_sent;  /* id; 0: none is under way */
};

/* --- wants -------------------------------------------------------------------------------- */

static struct want *find_want(struct courier_link *l, enum want_kind kind, uint64_t revision,
			      const char *sha256)
{
	for (size_t i = 0; i < l->want_count; i++) {
		struct want *w = &l->wants[i];

		if (w->kind == kind &&
		    (kind == WANT_MANIFEST ? w->revision == revision : str_eq(w->sha256, sha256)))
			return w;
	}
	return NULL;
}

static void drop_want(struct courier_link *l, struct want *w)
{
	*w = l->wants[--l->want_count];
}

static const char *want_name(const struct want *w, char buf[SHA256_HEX_LEN])
{
	if (w->kind == WANT_MANIFEST)
		(void)snprintf(buf, SHA256_HEX_LEN, "%" PRIu64, w->revision);
	else
		(void)snprintf(buf, SHA256_HEX_LEN, "%s", w->sha256);
	return buf;
}

/* The want goes first: the answer may bring a new one for the same. */
static void fail_want(struct courier_link *l, struct want *w, const char *text)
{
	const char *what = w->kind == WANT_MANIFEST ? "manifest" : "blob";
	char name[SHA256_HEX_LEN];

	(void)want_name(w, name);
	drop_want(l, w);
	documents_failed(l->agent->documents, what, name, text);
}

static void pump(struct courier_link *l);

static void add_want(struct courier_link *l, const struct want *w)
{
	struct want *at = find_want(l, w->kind, w->revision, w->sha256);

	if (at) {
		at->max = w->max;
		return;
	}
	if (l->want_count == WANTS_MAX) {
		log_warn(WHAT ": more than %d documents wanted at once", WANTS_MAX);
		return;
	}
	at = &l->wants[l->want_count++];
	*at = *w;
	at->since = mono_now();
	pump(l);
}

static void want_manifest(void *user, uint64_t revision, size_t max)
{
	const struct want w = {.kind = WANT_MANIFEST, .revision = revision, .max = max};

	add_want(user, &w);
}

static void want_blob(void *user, const char *sha256, uint64_t size)
{
	struct want w = {.kind = WANT_BLOB, .max = size};

	if (!sha256_hex_ok(sha256) || size > COURIER_BODY_MAX)
		return;
	(void)snprintf(w.sha256, sizeof(w.sha256), "%s", sha256);
	add_want(user, &w);
}

static void taken(void *user, uint64_t sequence)
{
	struct courier_link *l = user;

	l->out.taken = sequence;
	pump(l);
}

/* --- to the courier ----------------------------------------------------------------------- */

static bool send_config(struct courier_link *l)
{
	const struct config *c = &l->agent->config;
	CLEANUP(freep) char *ca = NULL;
	struct err err = {{0}};
	size_t len = 0;
	json_t *header;

	/* Without `ca`: the host's own, which a controller behind a public name may use. */
	if (c->controller_ca && file_read(AT_FDCWD, c->controller_ca, CA_MAX, &ca, &len, &err) < 0)
		log_warn(WHAT ": %s; the controller cannot be reached without it", err.text);
	header = json_pack("{s:s,s:s,s:s,s:s,s:I}", "type", "config", "url", c->controller_url,
			   "node", c->node, "trust_domain", c->trust_domain ? c->trust_domain : "",
			   "sequence", (json_int_t)documents_head_sequence(l->agent->documents));
	return courier_conn_send(l->conn, header, ca, len);
}

static bool send_proof(struct courier_link *l)
{
	struct outbox *o = &l->out;
	json_t *header = json_pack("{s:s,s:s*}", "type", "proof", "error", o->proof_error);
	bool sent = courier_conn_send(l->conn, header, o->proof_text,
				      o->proof_text ? strlen(o->proof_text) : 0);

	o->proof = false;
	free(TAKE_PTR(o->proof_text));
	free(TAKE_PTR(o->proof_error));
	return sent;
}

static bool send_renew(struct courier_link *l)
{
	CLEANUP(freep) char *body = TAKE_PTR(l->out.renew);

	return courier_conn_send(l->conn, json_pack("{s:s}", "type", "renew"), body, strlen(body));
}

static bool send_status(struct courier_link *l)
{
	size_t len = 0;
	CLEANUP(freep) char *body = json_text(l->out.status, &len);
	json_t *header =
		json_pack("{s:s,s:I}", "type", "status", "id", (json_int_t)l->status_id + 1);

	json_decref(TAKE_PTR(l->out.status));
	if (!body) {
		json_decref(header);
		return true;
	}
	l->status_id++;
	l->status_sent = true;
	return courier_conn_send(l->conn, header, body, len);
}

static bool send_log(struct courier_link *l)
{
	CLEANUP(freep) char *body = TAKE_PTR(l->out.log);
	json_t *header = json_pack("{s:s,s:I,s:I}", "type", "log", "id", (json_int_t)l->out.log_id,
				   "dropped", (json_int_t)l->out.log_dropped);

	l->log_sent = l->out.log_id;
	return courier_conn_send(l->conn, header, body, l->out.log_len);
}

static bool send_want(struct courier_link *l, struct want *w)
{
	json_t *header;

	if (w->kind == WANT_MANIFEST)
		header = json_pack("{s:s,s:s,s:I,s:I}", "type", "want", "what", "manifest",
				   "revision", (json_int_t)w->revision, "max", (json_int_t)w->max);
	else
		header = json_pack("{s:s,s:s,s:s,s:I}", "type", "want", "what", "blob", "sha256",
				   w->sha256, "size", (json_int_t)w->max);
	w->sent = true;
	return courier_conn_send(l->conn, header, NULL, 0);
}

static bool send_taken(struct courier_link *l)
{
	json_t *header =
		json_pack("{s:s,s:I}", "type", "taken", "sequence", (json_int_t)l->out.taken);

	l->out.taken = 0;
	return courier_conn_send(l->conn, header, NULL, 0);
}

/* What is next to be said, most urgent first. false: nothing, or it could not be. */
static bool send_next(struct courier_link *l)
{
	struct outbox *o = &l->out;

	if (o->config) {
		o->config = false;
		return send_config(l);
	}
	if (o->proof)
		return send_proof(l);
	if (o->taken)
		return send_taken(l);
	for (size_t i = 0; i < l->want_count; i++) {
		if (!l->wants[i].sent)
			return send_want(l, &l->wants[i]);
	}
	if (o->renew)
		return send_renew(l);
	if (o->status)
		return send_status(l);
	return o->log ? send_log(l) : false;
}

static void pump(struct courier_link *l)
{
	while (l->greeted && courier_conn_waiting(l->conn) < OUT_SOFT && send_next(l))
		;
}

/* --- from the courier --------------------------------------------------------------------- */

/* What one frame says; strings are borrowed from it. */
struct word {
	struct json_object o;
	const struct courier_frame *f;
};

/* Text that ends up on screens and in logs. */
static const char *safe_text(const char *text, char buf[LOG_QUOTE_MAX])
{
	return log_quote(buf, text ? text : "");
}

static int on_hello(struct courier_link *l, struct word *w)
{
	int64_t version = json_take_int(&w->o, "version", 0, INT32_MAX);
	const char *release = json_take_string(&w->o, "release", TEXT_LEN_MAX);
	char quoted[LOG_QUOTE_MAX];

	if (w->o.r < 0)
		return w->o.r;
	if (version != COURIER_VERSION)
		return json_fail(&w->o, "version", "%" PRId64 "; %d would be right", version,
				 COURIER_VERSION);
	log_info(WHAT ": connected, release %s", safe_text(release, quoted));
	l->greeted = true;
	l->out.config = true;
	pump(l);
	return 1;
}

static int on_head(struct courier_link *l, struct word *w)
{
	documents_head(l->agent->documents, w->f->body, w->f->len);
	return 1;
}

static int on_manifest(struct courier_link *l, struct word *w)
{
	uint64_t revision = (uint64_t)json_take_int(&w->o, "revision", 1, INT64_MAX);
	struct want *want = find_want(l, WANT_MANIFEST, revision, NULL);

	/* Of no use, and no offence: it may have been asked for and given up. */
	if (w->o.r < 0 || !want || w->f->len > want->max)
		return w->o.r < 0 ? w->o.r : 1;
	drop_want(l, want);
	documents_manifest(l->agent->documents, revision, w->f->body, w->f->len);
	return 0;
}

static int on_blob(struct courier_link *l, struct word *w)
{
	const char *sha256 = json_take_string(&w->o, "sha256", SHA256_HEX_LEN - 1);
	struct want *want = sha256 ? find_want(l, WANT_BLOB, 0, sha256) : NULL;

	if (w->o.r < 0 || !want || w->f->len > want->max)
		return w->o.r < 0 ? w->o.r : 1;
	drop_want(l, want);
	if (w->f->len >= HEARTBEAT_LARGE_BYTES)
		heartbeat_extend(l->agent);
	documents_blob(l->agent->documents, sha256, w->f->body, w->f->len);
	return 0;
}

static void status_done(struct courier_link *l, bool ok)
{
	if (l->status_sent && l->agent->report)
		status_report_posted(l->agent->report, ok);
	l->status_sent = false;
}

static void log_done(struct courier_link *l, bool ok)
{
	uint64_t id = l->log_sent;

	l->log_sent = 0;
	if (id && l->agent->log_upload)
		log_upload_posted(l->agent->log_upload, id, ok);
}

static void failed_upload(struct courier_link *l, const char *what, int64_t status,
			  const char *text)
{
	if (str_eq(what, "status"))
		status_done(l, false);
	if (str_eq(what, "log") && l->log_sent) {
		if (status == 413 && l->agent->log_upload)
			log_upload_too_large(l->agent->log_upload, l->log_sent);
		log_done(l, false);
	}
	if (str_eq(what, "renew") && l->agent->node_key)
		node_key_refused(l->agent->node_key, (int)status, text);
}

static int on_failed(struct courier_link *l, struct word *w)
{
	const char *what = json_take_string(&w->o, "what", 16);
	const char *name = json_take_string(&w->o, "name", SHA256_HEX_LEN - 1);
	int64_t status = json_take_int(&w->o, "status", 0, 999);
	const char *text = json_take_string(&w->o, "text", TEXT_LEN_MAX);
	char quoted[LOG_QUOTE_MAX];
	struct want *want = NULL;
	uint64_t revision = 0;

	if (w->o.r < 0)
		return w->o.r;
	if (str_eq(what, "manifest") && text_u64(name, 1, INT64_MAX, &revision) >= 0)
		want = find_want(l, WANT_MANIFEST, revision, NULL);
	else if (str_eq(what, "blob"))
		want = find_want(l, WANT_BLOB, 0, name);
	if (want)
		fail_want(l, want, safe_text(text, quoted));
	else
		failed_upload(l, what, status, safe_text(text, quoted));
	return 1;
}

static int on_contact(struct courier_link *l, struct word *w)
{
	bool ok = json_is_true(json_object_get(w->f->header, "ok"));
	const char *text = json_take_string(&w->o, "text", TEXT_LEN_MAX);
	char quoted[LOG_QUOTE_MAX];

	if (w->o.r < 0)
		return w->o.r;
	documents_contact(l->agent->documents, ok, safe_text(text, quoted));
	return 1;
}

static int on_csr(struct courier_link *l, struct word *w)
{
	struct outbox *o = &l->out;
	struct err err = {{0}};
	size_t len = 0;
	int r;

	free(TAKE_PTR(o->proof_text));
	free(TAKE_PTR(o->proof_error));
	if (!l->agent->node_key)
		r = err_set(&err, ENOENT, "this node has no certificate");
	else if (w->f->len > CSR_MAX)
		r = err_set(&err, E2BIG, "too long");
	else
		r = node_key_prove(l->agent->node_key, w->f->body, w->f->len, &o->proof_text, &len,
				   &err);
	if (r < 0)
		o->proof_error = mem_strdup(err.text);
	o->proof = true;
	pump(l);
	return 1;
}

static int on_renewed(struct courier_link *l, struct word *w)
{
	if (l->agent->node_key)
		node_key_renewed(l->agent->node_key, w->f->body, w->f->len);
	return 1;
}

static int on_posted(struct courier_link *l, struct word *w)
{
	const char *what = json_take_string(&w->o, "what", 16);
	uint64_t id = (uint64_t)json_take_int(&w->o, "id", 0, INT64_MAX);

	if (w->o.r < 0)
		return w->o.r;
	/* An older report may arrive late: what the newest one tells is still to be delivered. */
	if (str_eq(what, "status") && id == l->status_id)
		status_done(l, true);
	if (str_eq(what, "log") && id == l->log_sent)
		log_done(l, true);
	return 1;
}

static const struct {
	const char *type;
	int (*take)(struct courier_link *l, struct word *w);
} frames[] = {
	{"hello", on_hello}, {"head", on_head},       {"manifest", on_manifest},
	{"blob", on_blob},   {"failed", on_failed},   {"contact", on_contact},
	{"csr", on_csr},     {"renewed", on_renewed}, {"posted", on_posted},
};

static int on_frame(void *user, const struct courier_frame *f, struct err *err)
{
	struct courier_link *l = user;
	struct word w = {.f = f};
	const char *type;

	json_object_begin(&w.o, f->header, "frame", NULL, err);
	type = json_take_string(&w.o, "type", 16);
	if (w.o.r < 0)
		return w.o.r;
	if (l->greeted == str_eq(type, "hello"))
		return err_set(err, EBADMSG, l->greeted ? "a second hello" : "no hello first");
	for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
		if (str_eq(frames[i].type, type))
			return frames[i].take(l, &w);
	}
	return err_set(err, EBADMSG, "a frame of a type that is not known");
}

static size_t on_body_max(void *user)
{
	const struct courier_link *l = user;
	uint64_t max = BODY_MIN;

	for (size_t i = 0; i < l->want_count; i++) {
		if (l->wants[i].max > max)
			max = l->wants[i].max;
	}
	return max > COURIER_BODY_MAX ? COURIER_BODY_MAX : (size_t)max;
}

/* --- connection --------------------------------------------------------------------------- */

static void on_opened(void *user)
{
	((struct courier_link *)user)->greeted = false;
}

static void on_closed(void *user)
{
	struct courier_link *l = user;

	if (l->greeted)
		log_info(WHAT ": gone; nothing but news is missing");
	l->greeted = false;
	for (size_t i = 0; i < l->want_count; i++)
		l->wants[i].sent = false;
	l->out.proof = false;
	free(TAKE_PTR(l->out.renew));
	status_done(l, false);
	if (l->agent->report)
		status_report_touch(l->agent->report);
	log_done(l, false);
	if (l->agent->node_key)
		node_key_refused(l->agent->node_key, 0, "the courier is gone");
	documents_contact(l->agent->documents, false, "the courier is not running");
}

static void on_drained(void *user)
{
	pump(user);
}

int courier_link_new(struct agent *a, struct courier_link **ret, struct err *err)
{
	struct courier_link *l;
	int r;

	if (!a->documents || !a->config.controller_url)
		return err_set(err, EINVAL,
			       "source.controller without `trust`; the keys of policy and "
			       "controller would be right");
	l = mem_calloc(1, sizeof(*l));
	if (!l)
		return err_set(err, ENOMEM, "out of memory");
	l->agent = a;
	r = courier_conn_new(a->event, a->config.run_dir, a->config.courier_user,
			     &(struct courier_conn_handler){
				     .opened = on_opened,
				     .closed = on_closed,
				     .frame = on_frame,
				     .body_max = on_body_max,
				     .drained = on_drained,
				     .user = l,
			     },
			     &l->conn, err);
	if (r < 0) {
		courier_link_free(l);
		return r;
	}
	l->source = (struct document_source){
		.name = "courier",
		.splay = true,
		.want_manifest = want_manifest,
		.want_blob = want_blob,
		.taken = taken,
		.user = l,
	};
	documents_set_source(a->documents, &l->source);
	*ret = l;
	return 0;
}

void courier_link_free(struct courier_link *l)
{
	if (!l)
		return;
	courier_conn_free(l->conn);
	free(l->out.proof_text);
	free(l->out.proof_error);
	free(l->out.renew);
	free(l->out.log);
	json_decref(l->out.status);
	free(l);
}

bool courier_link_connected(const struct courier_link *l)
{
	return l->greeted && courier_conn_is_open(l->conn);
}

void courier_link_tick(struct courier_link *l)
{
	struct mono now = mono_now();

	for (size_t i = 0; i < l->want_count; i++) {
		if (mono_ms_since(l->wants[i].since, now) > WANT_LIFE_MS) {
			fail_want(l, &l->wants[i], "no answer from the courier");
			/* The list may be another one now. */
			return;
		}
	}
}

void courier_link_again(struct courier_link *l)
{
	if (!courier_link_connected(l))
		return;
	l->out.config = true;
	pump(l);
}

/* --- uploads ------------------------------------------------------------------------------ */

void courier_link_status(struct courier_link *l, json_t *report)
{
	json_decref(l->out.status);
	l->out.status = report;
	pump(l);
}

bool courier_link_log(struct courier_link *l, uint64_t id, const char *json, size_t len,
		      uint64_t dropped)
{
	if (!courier_link_connected(l) || l->out.log || l->log_sent)
		return false;
	l->out.log = mem_strndup(json, len);
	if (!l->out.log)
		return false;
	l->out.log_len = len;
	l->out.log_id = id;
	l->out.log_dropped = dropped;
	pump(l);
	return true;
}

bool courier_link_renew(struct courier_link *l, const uint8_t *csr, size_t len, const char *proof)
{
	CLEANUP(freep) char *text = base64_encode(csr, len);
	json_t *body = text ? json_pack("{s:s,s:s}", "csr", text, "proof", proof) : NULL;

	if (!courier_link_connected(l) || !body) {
		json_decref(body);
		return false;
	}
	free(l->out.renew);
	l->out.renew = json_text(body, &len);
	json_decref(body);
	if (!l->out.renew)
		return false;
	pump(l);
	return true;
}
