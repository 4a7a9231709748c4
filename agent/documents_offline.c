/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * `bailiwick apply --offline ARCHIVE`: the same documents, carried by hand. All of them are
 * verified before anything changes; then they go the way of every document, and the request is
 * answered when they are in force or on probation. An operator who brings a revision that fell back
 * wants it tried again.
 */
#include "agent/documents_parts.h"

#include "agent/control.h"
#include "agent/heartbeat.h"
#include "base/base64.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/static_path.h"
#include "controller-client/view_decode.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARCHIVE_DOCUMENTS_MAX 4096
#define WHO_MAX               96
#define REASON_MAX            200

struct archived {
	struct static_name name;
	uint8_t *bytes;
	size_t len;
};

struct offline {
	struct request *request; /* NULL: the client left */
	struct archived *list;
	size_t count;
	struct document_source source;
	struct documents *documents;
	char who[WHO_MAX];
	json_t *cut;
	json_t *words; /* of the policy that it changed; NULL = none */
};

static void offline_free(struct offline *o)
{
	for (size_t i = 0; i < o->count; i++)
		free(o->list[i].bytes);
	free(o->list);
	json_decref(o->cut);
	json_decref(o->words);
	free(o);
}

/* --- reading the archive ------------------------------------------------------------------ */

static int take_document(const json_t *value, struct offline *o, struct err *err)
{
	const char *name = json_string_value(json_object_get(value, "name"));
	const json_t *data = json_object_get(value, "data");
	struct archived *a = &o->list[o->count];
	int r;

	if (!name || !json_is_string(data))
		return err_set(err, EINVAL, "documents: a name and data each");
	/* A tar of a directory has its folders and perhaps a README: they say nothing to us. */
	if (static_path_parse(name, &a->name) < 0)
		return 0;
	if (json_string_length(data) >= HEARTBEAT_LARGE_BYTES)
		heartbeat_extend(o->documents->agent);
	r = base64_decode(json_string_value(data), json_string_length(data), VIEW_DOCUMENT_MAX,
			  &a->bytes, &a->len);
	if (r < 0)
		return err_set(err, -r, "documents: %.100s: not base64, or larger than a document",
			       name);
	o->count++;
	return 0;
}

static int take_documents(const struct request *q, struct offline *o, struct err *err)
{
	const json_t *list = json_object_get(q->args, "documents");
	size_t n = json_array_size(list);
	int r = 0;

	if (n > ARCHIVE_DOCUMENTS_MAX)
		return err_set(err, E2BIG, "more than %d documents", ARCHIVE_DOCUMENTS_MAX);
	o->list = mem_calloc(n, sizeof(*o->list));
	if (!o->list)
		return err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < n && r >= 0; i++)
		r = take_document(json_array_get(list, i), o, err);
	return r;
}

static const struct archived *find_head(const struct offline *o, const char *node)
{
	for (size_t i = 0; i < o->count; i++) {
		if (o->list[i].name.kind == STATIC_HEAD && str_eq(o->list[i].name.node, node))
			return &o->list[i];
	}
	return NULL;
}

static const struct archived *find_manifest(const struct offline *o, uint64_t revision)
{
	for (size_t i = 0; i < o->count; i++) {
		if (o->list[i].name.kind == STATIC_MANIFEST && o->list[i].name.revision == revision)
			return &o->list[i];
	}
	return NULL;
}

static const struct archived *find_blob(const struct offline *o, const char *sha256)
{
	for (size_t i = 0; i < o->count; i++) {
		if (o->list[i].name.kind == STATIC_BLOB && str_eq(o->list[i].name.sha256, sha256))
			return &o->list[i];
	}
	return NULL;
}

/* --- verified before anything changes ----------------------------------------------------- */

/* What a check looks at, and what it would change if it changed anything. */
struct check {
	struct documents *d;
	const struct offline *o;
	struct known known;
	enum refusal why;
	struct head head;
	struct manifest manifest;
};

static int refused(struct check *c, int r, struct err *err)
{
	if (c->why == REFUSAL_NONE)
		return r;
	intake_trouble(&c->d->in, "archive", refusal_code(c->why), err->text, documents_now(c->d));
	return err_prefix(err, r, "refused (%s)", refusal_code(c->why));
}

static int check_blob(struct check *c, const struct blob_ref *ref, struct err *err)
{
	const struct archived *a = find_blob(c->o, ref->sha256);
	CLEANUP(freep) char *kept = NULL;
	size_t len = 0;

	if (a)
		return accept_blob(ref->sha256, ref->size, a->bytes, a->len, &c->why, err);
	if (document_store_blob_read(c->d->agent->document_store, ref->sha256, &kept, &len, NULL) >=
	    0)
		return 0;
	return err_set(err, ENOENT, "the archive lacks policy blob %s (%s)", ref->sha256,
		       ref->name);
}

static int check_policy(struct check *c, struct err *err)
{
	const struct archived *a = find_manifest(c->o, c->head.stable.revision);
	CLEANUP(freep) char *kept = NULL;
	bool expired;
	size_t len = 0;
	int r;

	if (!c->head.stable.revision)
		return 0;
	if (!a && document_store_manifest_read(c->d->agent->document_store, c->head.stable.sha256,
					       &kept, &len, NULL) < 0)
		return err_set(err, ENOENT, "the archive lacks manifest %" PRIu64,
			       c->head.stable.revision);
	r = accept_manifest(&c->known, &c->d->in.context, &c->head.stable,
			    a ? (const char *)a->bytes : kept, a ? a->len : len, &c->manifest,
			    &expired, &c->why, err);
	for (size_t i = 0; r >= 0 && i < c->manifest.policy_count; i++)
		r = check_blob(c, &c->manifest.policy[i], err);
	return r;
}

static int check_view(struct check *c, struct err *err)
{
	const struct archived *a = find_blob(c->o, c->head.view_sha256);
	CLEANUP(view_freep) struct view *v = NULL;

	if (!c->head.view_size || str_eq(c->d->view_digest, c->head.view_sha256))
		return 0;
	if (!a)
		return err_set(err, ENOENT, "the archive lacks this node's view, blob %s",
			       c->head.view_sha256);
	if (a->len >= HEARTBEAT_LARGE_BYTES)
		heartbeat_extend(c->d->agent);
	return accept_view(&c->d->in.context, &c->head, a->bytes, a->len, &v, &c->why, err);
}

/* 1: a newer head, whole; 0: the one we have. */
static int check_all(struct documents *d, const struct offline *o, const struct archived *head,
		     struct err *err)
{
	struct check c = {.d = d, .o = o, .known = d->in.known};
	int r, newer;

	d->in.context.now = documents_now(d);
	r = newer = accept_head(&c.known, &d->in.context, (const char *)head->bytes, head->len,
				&c.head, &c.why, err);
	if (r > 0)
		r = check_policy(&c, err);
	if (r >= 0 && newer > 0)
		r = check_view(&c, err);
	if (r < 0)
		r = refused(&c, r, err);
	else
		intake_trouble_end(&d->in, "archive");
	head_done(&c.head);
	manifest_done(&c.manifest);
	return r < 0 ? r : newer;
}

/* --- as a carrier ------------------------------------------------------------------------- */

static void want_manifest(void *user, uint64_t revision, size_t max)
{
	struct offline *o = user;
	const struct archived *a = find_manifest(o, revision);
	char name[24];

	(void)max;
	(void)snprintf(name, sizeof(name), "%" PRIu64, revision);
	if (a)
		documents_manifest(o->documents, revision, a->bytes, a->len);
	else
		documents_failed(o->documents, "manifest", name, "not in the archive");
}

static void want_blob(void *user, const char *sha256, uint64_t size)
{
	struct offline *o = user;
	const struct archived *a = find_blob(o, sha256);

	(void)size;
	if (a && a->len >= HEARTBEAT_LARGE_BYTES)
		heartbeat_extend(o->documents->agent);
	if (a)
		documents_blob(o->documents, sha256, a->bytes, a->len);
	else
		documents_failed(o->documents, "blob", sha256, "not in the archive");
}

const char *offline_who(const struct documents *d)
{
	return d->offline->who;
}

const char *offline_reason(const struct documents *d)
{
	const struct request *q = d->offline ? d->offline->request : NULL;

	return q ? request_string(q, "reason") : NULL;
}

void offline_cut(struct documents *d, const struct cut_list *cut)
{
	if (d->offline && cut->flows)
		(void)json_array_extend(d->offline->cut, cut->flows);
}

void offline_words(struct documents *d, json_t *words)
{
	if (!d->offline)
		return;
	json_decref(d->offline->words);
	d->offline->words = json_incref(words);
}

/* --- the answer --------------------------------------------------------------------------- */

static const struct trouble *trouble_of(const struct documents *d, const char *document)
{
	for (size_t i = 0; i < d->in.trouble_count; i++) {
		if (str_eq(d->in.troubles[i].document, document))
			return &d->in.troubles[i];
	}
	return NULL;
}

/* As `plan` has them; a new view or head changes no policy. */
static json_t *words_json(const struct offline *o)
{
	return o->words ? json_copy(o->words)
			: json_pack("{s:[],s:[],s:[],s:[]}", "adds", "removes", "changes", "reach");
}

static void answer(struct documents *d, struct request *q, const struct offline *o)
{
	const struct agent *a = d->agent;
	const struct edition *e = agent_edition(a);
	int64_t left = a->candidate_falls_back.s - wall_now().s;
	const struct trouble *t = trouble_of(d, "policy");
	struct err err = {{0}};
	json_t *result, *words;

	if (!t)
		t = trouble_of(d, "view");
	if (t) {
		(void)err_set(&err, EPERM, "refused (%s): %s", t->code, t->text);
		request_fail(q, EXIT_DENIED, &err, NULL);
		return;
	}
	result = json_pack("{s:I,s:s,s:I,s:I,s:O,s:o}", "revision", (json_int_t)e->revision,
			   "digest", e->digest, "head_sequence", (json_int_t)d->sequence,
			   "view_sequence", (json_int_t)(a->view ? a->view->sequence : 0), "cut",
			   o->cut, "falls_back_in",
			   a->candidate.policy ? json_integer(left > 0 ? left : 0) : json_null());
	words = words_json(o);
	(void)json_object_update(result, words);
	json_decref(words);
	request_reply(q, EXIT_OK, result);
}

void offline_settle(struct documents *d, bool ending)
{
	struct offline *o = d->offline;
	struct err err = {{0}};

	if (!o || (!ending && (d->activating || d->agent->job)))
		return;
	d->offline = NULL;
	if (o->request && ending) {
		(void)err_set(&err, ECANCELED, "the agent is ending");
		request_fail(o->request, EXIT_ERROR, &err, NULL);
	} else if (o->request) {
		answer(d, o->request, o);
	}
	offline_free(o);
}

/* --- the verb ----------------------------------------------------------------------------- */

static int check_request(struct documents *d, const struct request *q, struct err *err)
{
	const char *reason = request_string(q, "reason");

	if (reason && strlen(reason) > REASON_MAX)
		return err_set(err, EINVAL, "--reason TEXT: at most %d bytes", REASON_MAX);
	if (d->offline)
		return err_set(err, EBUSY, "another archive is being applied");
	return agent_refuse_while_changing(d->agent, err);
}

static struct offline *offline_new(struct documents *d, struct request *q, struct err *err)
{
	struct offline *o = mem_calloc(1, sizeof(*o));

	if (!o) {
		(void)err_set(err, ENOMEM, "out of memory");
		return NULL;
	}
	o->documents = d;
	o->request = q;
	o->cut = json_array();
	(void)snprintf(o->who, sizeof(o->who), "%s (archive)", q->who);
	o->source = (struct document_source){
		.name = "archive",
		.want_manifest = want_manifest,
		.want_blob = want_blob,
		.user = o,
	};
	if (take_documents(q, o, err) >= 0)
		return o;
	offline_free(o);
	return NULL;
}

static void offline_run(struct documents *d, struct offline *o, const struct archived *head)
{
	struct generation_record *e;
	struct err err = {{0}};

	d->offline = o;
	d->policy_retry.ns = 0;
	/* The archive answers at once; what comes after is the usual carrier's again. */
	intake_set_source(&d->in, &o->source, mono_now());
	if (documents_head_from(d, head->bytes, head->len, &err) >= 0) {
		e = generation_record_find(&d->records, d->in.head.stable.sha256);
		if (e && e->outcome == GENERATION_ROLLED_BACK && d->in.policy == PART_REFUSED) {
			e->outcome = GENERATION_STAGED;
			intake_policy_again(&d->in);
		}
		documents_advance(d);
	}
	intake_set_source(&d->in, d->source, mono_now());
}

static int offline_begin(struct documents *d, struct offline *o, const struct archived **ret_head,
			 struct err *err)
{
	*ret_head = find_head(o, d->agent->config.node);
	if (!*ret_head)
		return err_set(err, ENOENT, "the archive has no head of node %s",
			       d->agent->config.node);
	return check_all(d, o, *ret_head, err);
}

void documents_apply_offline(struct documents *d, struct request *q)
{
	const struct archived *head = NULL;
	struct offline *o;
	struct err err = {{0}};

	o = check_request(d, q, &err) < 0 ? NULL : offline_new(d, q, &err);
	if (!o) {
		request_fail(q, EXIT_ERROR, &err, NULL);
		return;
	}
	if (offline_begin(d, o, &head, &err) < 0) {
		request_fail(q, EXIT_DENIED, &err, NULL);
		offline_free(o);
		return;
	}
	offline_run(d, o, head);
}

void documents_offline_gone(struct documents *d, const struct request *q)
{
	if (d && d->offline && d->offline->request == q)
		d->offline->request = NULL;
}

void documents_end(struct documents *d)
{
	if (!d)
		return;
	d->ending = true;
	offline_settle(d, true);
}
