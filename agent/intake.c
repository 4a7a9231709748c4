/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/intake.h"

#include "agent/documents.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S  1000000000LL
#define NS_PER_MS 1000000LL

/* --- troubles ----------------------------------------------------------------------------- */

static void count_refusal(struct intake *in, const char *code)
{
	for (size_t i = 0; i < in->refused_count; i++) {
		if (str_eq(in->refused[i].code, code)) {
			in->refused[i].count++;
			return;
		}
	}
	if (in->refused_count < REFUSAL_CODES_MAX)
		in->refused[in->refused_count++] = (struct refusal_count){code, 1};
}

static struct trouble *find_trouble(struct intake *in, const char *document)
{
	for (size_t i = 0; i < in->trouble_count; i++) {
		if (str_eq(in->troubles[i].document, document))
			return &in->troubles[i];
	}
	return NULL;
}

void intake_trouble(struct intake *in, const char *document, const char *code, const char *text,
		    struct wall wall)
{
	const struct trouble *t = find_trouble(in, document);

	count_refusal(in, code);
	/* The same again is counted, not said again: a carrier may repeat it as often as it likes.
	 */
	if (!t || !str_eq(t->text, text) || !str_eq(t->code, code))
		log_warn("%s refused (%s), what is in force stays: %s", document, code, text);
	intake_note(in, document, code, text, wall);
}

void intake_note(struct intake *in, const char *document, const char *code, const char *text,
		 struct wall wall)
{
	struct trouble *t = find_trouble(in, document);

	if (!t && in->trouble_count == INTAKE_TROUBLES_MAX)
		return;
	if (!t)
		t = &in->troubles[in->trouble_count++];
	if (!str_eq(t->text, text) || t->code != code)
		in->trouble_changes++;
	t->document = document;
	t->code = code;
	t->when = wall;
	if (t->text != text)
		(void)snprintf(t->text, sizeof(t->text), "%s", text);
}

void intake_trouble_end(struct intake *in, const char *document)
{
	for (size_t i = 0; i < in->trouble_count; i++) {
		if (str_eq(in->troubles[i].document, document)) {
			in->troubles[i] = in->troubles[--in->trouble_count];
			in->trouble_changes++;
			return;
		}
	}
}

static void refuse(struct intake *in, const char *document, enum refusal why, const struct err *err,
		   struct wall wall)
{
	intake_trouble(in, document, refusal_code(why), err->text, wall);
}

/* --- what is known ------------------------------------------------------------------------ */

/*
 * The head itself before what is known of it: a start that knew of a head which is not there would
 * take the same one, which closes what it closes, for old.
 */
void intake_keep(struct intake *in)
{
	struct err err = {{0}};
	int r = 0;

	if (in->unkept_head)
		r = document_store_head_write(in->store, in->unkept_head, in->unkept_head_len,
					      &err);
	if (r >= 0) {
		freep(&in->unkept_head);
		r = document_store_known_write(in->store, &in->known, &err);
	}
	if (r < 0 && !in->unkept)
		log_error("the next start would know less of the controller: %s", err.text);
	in->unkept = r < 0;
}

static void set_known(struct intake *in, const struct known *k)
{
	if (memcmp(&in->known, k, sizeof(*k)) == 0)
		return;
	in->known = *k;
	intake_keep(in);
}

/* --- the two halves ----------------------------------------------------------------------- */

static void policy_forget(struct intake *in)
{
	manifest_done(&in->manifest);
	memset(&in->manifest, 0, sizeof(in->manifest));
	store_policy_done(&in->texts);
	freep(&in->blob_wants);
	freep(&in->manifest_text);
	memset(&in->manifest_want, 0, sizeof(in->manifest_want));
	intake_trouble_end(in, "manifest");
	intake_trouble_end(in, "policy");
}

static void view_forget(struct intake *in)
{
	view_free(TAKE_PTR(in->view_decoded));
	freep(&in->view_text);
	in->view_len = 0;
	memset(&in->view_want, 0, sizeof(in->view_want));
	intake_trouble_end(in, "view");
}

/* Whether it is in force or on probation already, and under which revision. */
static bool is_in_force(const struct intake_force *force, const char *sha256, uint64_t *ret)
{
	if (force->manifest && str_eq(force->manifest, sha256)) {
		*ret = force->manifest_revision;
		return true;
	}
	if (force->candidate && str_eq(force->candidate, sha256)) {
		*ret = force->candidate_revision;
		return true;
	}
	return false;
}

static void policy_target(struct intake *in, const struct head *h, const struct intake_force *force,
			  struct wall wall)
{
	const char *sha256 = h->stable.sha256;
	uint64_t revision = 0;
	struct err err = {{0}};

	/* What was fetched, or refused, for the head before is the same for this one. */
	if (h->stable.revision == in->head.stable.revision &&
	    str_eq(in->manifest_want.sha256, sha256))
		return;
	policy_forget(in);
	in->policy = PART_WANTED;
	(void)snprintf(in->manifest_want.sha256, SHA256_HEX_LEN, "%s", sha256);
	if (!is_in_force(force, sha256, &revision))
		return;
	in->policy = PART_TAKEN;
	if (revision == h->stable.revision)
		return;
	(void)err_set(&err, EBADMSG,
		      "the head calls it revision %" PRIu64 ", the manifest says %" PRIu64,
		      h->stable.revision, revision);
	refuse(in, "manifest", REFUSAL_MIX, &err, wall);
	in->policy = PART_REFUSED;
}

static void view_target(struct intake *in, const struct head *h, const struct intake_force *force)
{
	if (h->view_size && str_eq(in->view_want.sha256, h->view_sha256))
		return;
	view_forget(in);
	in->view = PART_NONE;
	if (!h->view_size)
		return;
	(void)snprintf(in->view_want.sha256, SHA256_HEX_LEN, "%s", h->view_sha256);
	in->view_want.size = h->view_size;
	in->view = force->view && str_eq(force->view, h->view_sha256) ? PART_TAKEN : PART_WANTED;
}

/* A node's place among the seconds of a splay: its own for each number, and always the same. */
static int64_t splay_ms(const char *node, uint64_t number)
{
	char text[NODE_NAME_MAX + 24];
	uint8_t digest[SHA256_LEN];
	uint64_t value = 0;

	(void)snprintf(text, sizeof(text), "%s@%" PRIu64, node, number);
	if (sha256(text, strlen(text), digest) < 0)
		return 0;
	for (size_t i = 0; i < sizeof(value); i++)
		value = value << 8 | digest[i];
	return (int64_t)(value % (DOCUMENTS_SPLAY_S * 1000));
}

/* waited: something of the head before is still missing. */
static void splay_begin(struct intake *in, const struct intake_force *force, bool waited,
			struct mono mono)
{
	uint64_t number = in->policy == PART_WANTED ? in->head.stable.revision : in->head.sequence;
	struct mono until = {
		.ns = mono.ns + splay_ms(in->context.node, number) * NS_PER_MS,
	};

	/* A node that has nothing yet protects nobody: it does not wait either. */
	if (in->head.urgent || (!force->manifest && !force->candidate))
		until = mono;
	/* A head that follows while one waits does not make it wait longer. */
	if (!waited || until.ns < in->splay_until.ns)
		in->splay_until = until;
}

static void head_use(struct intake *in, struct head *take, const struct intake_force *force,
		     struct wall wall, struct mono mono, struct overlay *ret_overlay)
{
	bool waited = in->policy == PART_WANTED || in->view == PART_WANTED;

	*ret_overlay = take->overlay;
	memset(&take->overlay, 0, sizeof(take->overlay));
	policy_target(in, take, force, wall);
	view_target(in, take, force);
	head_done(&in->head);
	in->head = *take;
	in->has_head = true;
	in->head_at = mono;
	splay_begin(in, force, waited, mono);
	memset(take, 0, sizeof(*take));
}

/* --- heads -------------------------------------------------------------------------------- */

int intake_init(struct intake *in, const struct accept_context *context,
		struct document_store *store, struct err *err)
{
	struct err cause = {{0}};
	int r;

	memset(in, 0, sizeof(*in));
	in->context = *context;
	in->store = store;
	r = document_store_known_read(store, &in->known, &cause);
	if (r > 0)
		r = known_match_keys(&in->known, context);
	else if (r != -ENOMEM)
		r = intake_recover(in, r < 0 ? cause.text : NULL);
	return r < 0 ? err_set(err, -r, "known.json: %s", strerror(-r)) : 0;
}

void intake_done(struct intake *in)
{
	policy_forget(in);
	view_forget(in);
	head_done(&in->head);
	free(in->unkept_head);
	memset(in, 0, sizeof(*in));
}

/* Kept with what is known of it. Without the memory for it a restart knows neither. */
static void head_keep(struct intake *in, const char *text, size_t len)
{
	freep(&in->unkept_head);
	in->unkept_head = mem_dup(text, len);
	in->unkept_head_len = len;
}

int intake_head(struct intake *in, const char *text, size_t len, const struct intake_force *force,
		struct wall wall, struct mono mono, struct overlay *ret_overlay, struct err *err)
{
	struct known k = in->known;
	enum refusal why = REFUSAL_NONE;
	struct head head = {0};
	int r;

	in->context.now = wall;
	r = accept_head(&k, &in->context, text, len, &head, &why, err);
	if (r < 0) {
		refuse(in, "head", why, err, wall);
		return r;
	}
	intake_trouble_end(in, "head");
	if (r == 0) {
		head_done(&head);
		intake_step(in, wall, mono);
		return 0;
	}
	head_keep(in, text, len);
	set_known(in, &k);
	head_use(in, &head, force, wall, mono, ret_overlay);
	return 1;
}

/*
 * Verified when it came. Under other keys than then it says nothing any more of policy and view;
 * the caller decides what becomes of its overlay.
 */
static int stored_decode(const struct intake *in, const char *text, size_t len, struct head *ret,
			 bool *ret_trusted, struct err *err)
{
	CLEANUP(freep) uint8_t *payload = NULL;
	size_t payload_len = 0;
	int r = dsse_verify(text, len, DSSE_TYPE_HEAD, "head", in->context.controller, &payload,
			    &payload_len, NULL);

	*ret_trusted = r >= 0;
	if (r < 0)
		r = dsse_open_unverified(text, len, DSSE_TYPE_HEAD, &payload, &payload_len, err);
	return r < 0 ? r : head_decode(payload, payload_len, ret, err);
}

/*
 * The newest head that is known of was lost with a disk, or it is another node's since this host
 * has another name: to refuse it as one that is here already would leave open what it closes.
 */
static void head_missing(struct intake *in, bool other_node)
{
	if (in->known.head_sequence)
		in->known.head_sequence--;
	if (other_node)
		in->known.head_sequence = in->known.view_sequence = 0;
}

int intake_head_stored(struct intake *in, const struct intake_force *force, struct wall wall,
		       struct mono mono, struct overlay *ret_overlay, bool *ret_trusted,
		       struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	struct head head = {0};
	struct known k = in->known;
	size_t len = 0;
	int r;

	r = document_store_head_read(in->store, &text, &len, err);
	if (r >= 0)
		r = stored_decode(in, text, len, &head, ret_trusted, err);
	if (r < 0) {
		head_missing(in, false);
		return r;
	}
	if (!str_eq(head.node, in->context.node)) {
		head_missing(in, true);
		head_done(&head);
		return err_set(err, ENOENT, "the stored head is another node's");
	}
	if (!*ret_trusted) {
		*ret_overlay = head.overlay;
		memset(&head.overlay, 0, sizeof(head.overlay));
		head_done(&head);
		return 0;
	}
	/* A power cut between the two files. */
	if (head.sequence > k.head_sequence) {
		k.head_sequence = head.sequence;
		k.head_expires = head.expires;
		k.view_sequence = head.view_sequence;
		set_known(in, &k);
	} else if (head.sequence < k.head_sequence) {
		head_missing(in, false);
	}
	head_use(in, &head, force, wall, mono, ret_overlay);
	return 0;
}

/* --- asking ------------------------------------------------------------------------------- */

static bool want_due(const struct intake *in, const struct want *w, struct mono mono)
{
	if (w->here || !in->source)
		return false;
	if (in->source->splay && mono.ns < in->splay_until.ns)
		return false;
	return w->asked ? mono.ns - w->at.ns >= INTAKE_ANSWER_S * NS_PER_S : mono.ns >= w->at.ns;
}

static void want_asked(struct want *w, struct mono mono)
{
	w->asked = true;
	w->at = mono;
}

static void want_failed(struct want *w, struct mono mono)
{
	int64_t delay = INTAKE_RETRY_FIRST_S;

	for (unsigned i = 0; i < w->failures && delay < INTAKE_RETRY_MAX_S; i++)
		delay *= 2;
	if (delay > INTAKE_RETRY_MAX_S)
		delay = INTAKE_RETRY_MAX_S;
	w->failures++;
	w->asked = false;
	w->at.ns = mono.ns + delay * NS_PER_S;
}

static void want_again(struct want *w, struct mono mono)
{
	w->asked = false;
	w->failures = 0;
	w->at = mono;
}

void intake_set_source(struct intake *in, const struct document_source *source, struct mono mono)
{
	in->source = source;
	want_again(&in->manifest_want, mono);
	want_again(&in->view_want, mono);
	for (size_t i = 0; in->blob_wants && i < in->manifest.policy_count; i++)
		want_again(&in->blob_wants[i], mono);
}

/* --- the manifest and its blobs ----------------------------------------------------------- */

static int blobs_begin(struct intake *in, struct err *err)
{
	const struct manifest *m = &in->manifest;

	in->blob_wants = mem_calloc(m->policy_count, sizeof(*in->blob_wants));
	in->texts.files = mem_calloc(m->policy_count, sizeof(*in->texts.files));
	if (!in->blob_wants || !in->texts.files)
		return err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < m->policy_count; i++) {
		struct store_file *f = &in->texts.files[in->texts.file_count++];

		in->blob_wants[i].size = m->policy[i].size;
		(void)snprintf(in->blob_wants[i].sha256, SHA256_HEX_LEN, "%s", m->policy[i].sha256);
		f->name = mem_strdup(m->policy[i].name);
		if (!f->name)
			return err_set(err, ENOMEM, "out of memory");
	}
	return 0;
}

/*
 * Bytes that have the digest which the head names, and are refused all the same, will be refused
 * whenever they come: nobody is asked again. Other bytes are the carrier's mistake.
 */
static void manifest_refused(struct intake *in, const char *text, size_t len, enum refusal why,
			     const struct err *err, struct wall wall, struct mono mono)
{
	char digest[SHA256_HEX_LEN];

	want_failed(&in->manifest_want, mono);
	if (why == REFUSAL_NONE)
		return;
	refuse(in, "manifest", why, err, wall);
	if (document_digest(text, len, digest) >= 0 && str_eq(digest, in->head.stable.sha256))
		in->policy = PART_REFUSED;
}

static int manifest_use(struct intake *in, struct manifest *take, const char *text, size_t len,
			struct err *err)
{
	policy_forget(in);
	(void)snprintf(in->manifest_want.sha256, SHA256_HEX_LEN, "%s", in->head.stable.sha256);
	in->manifest = *take;
	memset(take, 0, sizeof(*take));
	in->manifest_text = mem_strndup(text, len);
	in->manifest_len = len;
	return in->manifest_text ? blobs_begin(in, err) : err_set(err, ENOMEM, "out of memory");
}

static bool manifest_take(struct intake *in, const char *text, size_t len, struct wall wall,
			  struct mono mono)
{
	struct known k = in->known;
	enum refusal why = REFUSAL_NONE;
	struct manifest m = {0};
	struct err err = {{0}};
	bool expired = false;
	int r;

	in->context.now = wall;
	r = accept_manifest(&k, &in->context, &in->head.stable, text, len, &m, &expired, &why,
			    &err);
	if (r >= 0)
		r = manifest_use(in, &m, text, len, &err);
	if (r < 0) {
		manifest_refused(in, text, len, why, &err, wall, mono);
		return false;
	}
	in->manifest_want.here = true;
	set_known(in, &k);
	return true;
}

static bool blob_fill(struct intake *in, size_t i, const char *bytes, size_t len)
{
	struct store_file *f = &in->texts.files[i];

	f->text = mem_calloc(len + 1, 1);
	if (!f->text)
		return false;
	memcpy(f->text, bytes, len);
	f->len = len;
	in->blob_wants[i].here = true;
	return true;
}

/* From disk, where it may be since an earlier revision. */
static void blob_ask(struct intake *in, size_t i, struct mono mono)
{
	struct want *w = &in->blob_wants[i];
	CLEANUP(freep) char *bytes = NULL;
	size_t len = 0;

	if (w->here || w->asked)
		goto ask;
	if (document_store_blob_read(in->store, w->sha256, &bytes, &len, NULL) >= 0 &&
	    len == w->size && blob_fill(in, i, bytes, len))
		return;
ask:
	if (!want_due(in, w, mono))
		return;
	want_asked(w, mono);
	in->source->want_blob(in->source->user, w->sha256, w->size);
}

static void policy_step(struct intake *in, struct wall wall, struct mono mono)
{
	CLEANUP(freep) char *text = NULL;
	size_t len = 0;
	bool whole = true;

	if (in->policy != PART_WANTED)
		return;
	if (!in->manifest_want.here && !in->manifest_want.asked &&
	    document_store_manifest_read(in->store, in->head.stable.sha256, &text, &len, NULL) >= 0)
		(void)manifest_take(in, text, len, wall, mono);
	if (in->policy != PART_WANTED)
		return;
	if (!in->manifest_want.here) {
		if (!want_due(in, &in->manifest_want, mono))
			return;
		want_asked(&in->manifest_want, mono);
		in->source->want_manifest(in->source->user, in->head.stable.revision,
					  DSSE_ENVELOPE_MAX);
		return;
	}
	for (size_t i = 0; i < in->manifest.policy_count; i++)
		blob_ask(in, i, mono);
	for (size_t i = 0; in->blob_wants && i < in->manifest.policy_count; i++)
		whole = whole && in->blob_wants[i].here;
	if (whole && in->policy == PART_WANTED) {
		in->policy = PART_READY;
		intake_trouble_end(in, "policy");
	}
}

void intake_manifest(struct intake *in, uint64_t revision, const char *text, size_t len,
		     struct wall wall, struct mono mono)
{
	struct err err = {{0}};

	/* An answer to a question that a newer head has made idle. */
	if (!in->has_head || revision != in->head.stable.revision || in->policy != PART_WANTED ||
	    in->manifest_want.here)
		return;
	if (manifest_take(in, text, len, wall, mono)) {
		in->again = true;
		if (document_store_manifest_write(in->store, in->head.stable.sha256, text, len,
						  &err) < 0)
			log_warn("manifest revision %" PRIu64 " is not kept: %s", revision,
				 err.text);
	}
	if (!in->stepping)
		intake_step(in, wall, mono);
}

/* --- the view ----------------------------------------------------------------------------- */

static int view_take(struct intake *in, const char *bytes, size_t len, struct err *err,
		     enum refusal *ret_why)
{
	CLEANUP(view_freep) struct view *v = NULL;
	char *copy;
	int r;

	r = accept_view(&in->context, &in->head, bytes, len, &v, ret_why, err);
	if (r < 0)
		return r;
	copy = mem_calloc(len + 1, 1);
	if (!copy)
		return err_set(err, ENOMEM, "out of memory");
	memcpy(copy, bytes, len);
	in->view_text = copy;
	in->view_len = len;
	in->view_decoded = TAKE_PTR(v);
	in->view_want.here = true;
	in->view = PART_READY;
	return 0;
}

static void view_step(struct intake *in, struct mono mono)
{
	if (in->view != PART_WANTED || !want_due(in, &in->view_want, mono))
		return;
	want_asked(&in->view_want, mono);
	in->source->want_blob(in->source->user, in->view_want.sha256, in->view_want.size);
}

/* --- blobs of both ------------------------------------------------------------------------ */

static void blob_for_view(struct intake *in, const void *bytes, size_t len, struct wall wall,
			  struct mono mono)
{
	enum refusal why = REFUSAL_NONE;
	struct err err = {{0}};
	int r = view_take(in, bytes, len, &err, &why);

	if (r >= 0) {
		intake_trouble_end(in, "view");
		in->again = true;
		return;
	}
	want_failed(&in->view_want, mono);
	if (why == REFUSAL_NONE)
		return;
	refuse(in, "view", why, &err, wall);
	/* Other bytes are the carrier's mistake; the right ones will be refused again. */
	if (why != REFUSAL_DIGEST && why != REFUSAL_SIZE)
		in->view = PART_REFUSED;
}

static void blob_for_policy(struct intake *in, size_t i, const void *bytes, size_t len,
			    struct wall wall, struct mono mono)
{
	struct want *w = &in->blob_wants[i];
	enum refusal why = REFUSAL_NONE;
	struct err err = {{0}};

	if (accept_blob(w->sha256, w->size, bytes, len, &why, &err) < 0) {
		refuse(in, "policy", why, &err, wall);
		want_failed(w, mono);
		return;
	}
	if (!blob_fill(in, i, bytes, len)) {
		want_failed(w, mono);
		return;
	}
	if (document_store_blob_write(in->store, w->sha256, bytes, len, &err) < 0)
		log_warn("a policy blob is not kept: %s", err.text);
	in->again = true;
}

void intake_blob(struct intake *in, const char *sha256, const void *bytes, size_t len,
		 struct wall wall, struct mono mono)
{
	if (in->view == PART_WANTED && str_eq(in->view_want.sha256, sha256))
		blob_for_view(in, bytes, len, wall, mono);
	for (size_t i = 0;
	     in->policy == PART_WANTED && in->blob_wants && i < in->manifest.policy_count; i++) {
		if (!in->blob_wants[i].here && str_eq(in->blob_wants[i].sha256, sha256))
			blob_for_policy(in, i, bytes, len, wall, mono);
	}
	if (!in->stepping)
		intake_step(in, wall, mono);
}

/* --- all of it ---------------------------------------------------------------------------- */

void intake_failed(struct intake *in, const char *what, const char *name, const char *text,
		   struct wall wall, struct mono mono)
{
	struct err err = {{0}};
	uint64_t revision;

	(void)err_set(&err, EIO, "%s", text);
	if (str_eq(what, "manifest") && text_u64(name, 1, DOCUMENT_NUMBER_MAX, &revision) == 0 &&
	    in->policy == PART_WANTED && revision == in->head.stable.revision) {
		want_failed(&in->manifest_want, mono);
		intake_trouble(in, "manifest", "unavailable", err.text, wall);
	}
	if (!str_eq(what, "blob"))
		return;
	if (in->view == PART_WANTED && str_eq(in->view_want.sha256, name)) {
		want_failed(&in->view_want, mono);
		intake_trouble(in, "view", "unavailable", err.text, wall);
	}
	for (size_t i = 0;
	     in->policy == PART_WANTED && in->blob_wants && i < in->manifest.policy_count; i++) {
		if (in->blob_wants[i].here || !str_eq(in->blob_wants[i].sha256, name))
			continue;
		want_failed(&in->blob_wants[i], mono);
		intake_trouble(in, "policy", "unavailable", err.text, wall);
	}
}

/* Carriers may answer before they return: answers only note, and the loop looks again. */
void intake_step(struct intake *in, struct wall wall, struct mono mono)
{
	if (in->stepping || !in->has_head)
		return;
	in->stepping = true;
	do {
		in->again = false;
		view_step(in, mono);
		policy_step(in, wall, mono);
	} while (in->again);
	in->stepping = false;
	if (in->unkept)
		intake_keep(in);
}

bool intake_in_splay(const struct intake *in, struct mono mono)
{
	return in->source && in->source->splay && mono.ns < in->splay_until.ns &&
	       (in->policy == PART_WANTED || in->view == PART_WANTED);
}

bool intake_pending(const struct intake *in)
{
	return in->has_head && (in->policy == PART_WANTED || in->policy == PART_READY ||
				in->view == PART_WANTED || in->view == PART_READY);
}

bool intake_settled(const struct intake *in)
{
	return in->has_head && !intake_pending(in);
}

void intake_policy_refuse(struct intake *in, const char *code, const char *text, struct wall wall)
{
	intake_trouble(in, "policy", code, text, wall);
	in->policy = PART_REFUSED;
}

void intake_view_again(struct intake *in, struct mono mono)
{
	struct want want = in->view_want;

	view_forget(in);
	in->view_want = want;
	in->view_want.here = false;
	want_failed(&in->view_want, mono);
	in->view = PART_WANTED;
}

void intake_policy_again(struct intake *in)
{
	char sha256[SHA256_HEX_LEN];

	memcpy(sha256, in->manifest_want.sha256, sizeof(sha256));
	policy_forget(in);
	memcpy(in->manifest_want.sha256, sha256, sizeof(sha256));
	in->policy = PART_WANTED;
}

void intake_texts_drop(struct intake *in)
{
	store_policy_done(&in->texts);
	freep(&in->blob_wants);
	freep(&in->manifest_text);
}
