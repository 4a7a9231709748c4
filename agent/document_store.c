/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/document_store.h"

#include "agent/spare.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/dsse.h"
#include "controller-client/manifest.h"
#include "controller-client/static_path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MODE      0600
#define JSON_TEXT_MAX  (1U << 20)
#define PATH_TEXT_MAX  128
#define KNOWN_FILE     "known.json"
#define HEAD_FILE      "head.dsse.json"
#define RECORDS_FILE   "generations.json"
#define MANIFEST_DIR   "manifests"
#define BLOB_DIR       "blobs"
#define DOCUMENTS_DIR  "documents"
#define BLOBS_KEPT_MAX (DOCUMENT_STORE_KEEP_MAX * MANIFEST_BLOBS_MAX)

struct document_store {
	int fd; /* state_dir/documents; -1 when there is none */
	struct spare *spare;
};

int document_digest(const void *bytes, size_t len, char ret[SHA256_HEX_LEN])
{
	uint8_t digest[SHA256_LEN];
	int r = sha256(bytes, len, digest);

	hex_format(digest, sizeof(digest), ret);
	return r;
}

/* --- directory ---------------------------------------------------------------------------- */

static int make_dirs(int state_fd, const char *state_dir, struct err *err)
{
	static const char *const names[] = {DOCUMENTS_DIR, DOCUMENTS_DIR "/" MANIFEST_DIR,
					    DOCUMENTS_DIR "/" BLOB_DIR};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		int r = spare_directory(state_fd, names[i], err);

		if (r < 0)
			return err_prefix(err, r, "%s", state_dir);
	}
	/* A power cut must not take away a directory with what was durably written into it. */
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		CLEANUP(closep)
		int fd = openat(state_fd, i ? DOCUMENTS_DIR : ".",
				O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd < 0 || fsync(fd) < 0)
			return err_set(err, errno, "%s/%s: %s", state_dir, names[i],
				       strerror(errno));
	}
	return 0;
}

int document_store_open(const char *state_dir, bool make, struct document_store **ret,
			struct err *err)
{
	CLEANUP(document_store_freep) struct document_store *s = mem_calloc(1, sizeof(*s));
	CLEANUP(closep) int state_fd = -1;
	int r;

	if (!s)
		return err_set(err, ENOMEM, "out of memory");
	s->fd = -1;
	state_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (state_fd < 0)
		return err_set(err, errno, "%s: %s", state_dir, strerror(errno));
	r = make ? make_dirs(state_fd, state_dir, err) : 0;
	if (r < 0)
		return r;
	s->fd = openat(state_fd, DOCUMENTS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (s->fd < 0 && make)
		return err_set(err, errno, "%s/" DOCUMENTS_DIR ": %s", state_dir, strerror(errno));
	*ret = TAKE_PTR(s);
	return 0;
}

void document_store_set_spare(struct document_store *s, struct spare *spare)
{
	s->spare = spare;
}

void document_store_free(struct document_store *s)
{
	if (!s)
		return;
	closep(&s->fd);
	free(s);
}

void document_store_freep(struct document_store **s)
{
	document_store_free(*s);
	*s = NULL;
}

static int read_text(struct document_store *s, const char *name, size_t max, char **ret,
		     size_t *ret_len, struct err *err)
{
	char copy[PATH_TEXT_MAX];
	int r;

	(void)snprintf(copy, sizeof(copy), DOCUMENTS_DIR "/%s", name);
	if (s->fd >= 0)
		return spare_or_file(s->spare, copy, s->fd, name, max, ret, ret_len, err);
	r = spare_read(s->spare, copy, max, ret, ret_len);
	if (r == -ENOMEM)
		return err_set(err, ENOMEM, "%s: out of memory", name);
	return r < 0 ? err_set(err, ENOENT, "no signed documents are kept here") : 0;
}

static int write_text(struct document_store *s, const char *name, const void *text, size_t len,
		      struct err *err)
{
	char copy[PATH_TEXT_MAX];
	int r;

	(void)snprintf(copy, sizeof(copy), DOCUMENTS_DIR "/%s", name);
	r = spare_write(s->spare, copy, text, len, err);
	if (r < 0)
		return r;
	if (s->fd < 0)
		return err_set(err, ENOENT, "no signed documents are kept here");
	return file_write_durable(s->fd, name, text, len, FILE_MODE, err);
}

static int write_json(struct document_store *s, const char *name, const json_t *json,
		      struct err *err)
{
	size_t len = 0;
	CLEANUP(freep) char *text = json ? json_text_lines(json, &len) : NULL;

	if (!text)
		return err_set(err, ENOMEM, "out of memory");
	return write_text(s, name, text, len, err);
}

static int read_json(struct document_store *s, const char *name, json_t **ret, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	size_t len;
	int r = read_text(s, name, JSON_TEXT_MAX, &text, &len, err);

	return r < 0 ? r : json_parse_strict(text, len, name, ret, err);
}

/* --- what is known ------------------------------------------------------------------------ */

static uint64_t take_number(struct json_object *o, const char *key)
{
	return (uint64_t)json_take_int(o, key, 0, DOCUMENT_NUMBER_MAX);
}

static void take_digest(struct json_object *o, const char *key, char ret[SHA256_HEX_LEN])
{
	const char *text = json_take_string(o, key, SHA256_HEX_LEN - 1);

	/* Keys that nobody has would pass for keys that were replaced. */
	if (text && text[0] && !sha256_hex_ok(text) && !o->r)
		o->r = err_set(o->err, EBADMSG, "%s: %s: no digest", o->what, key);
	(void)snprintf(ret, SHA256_HEX_LEN, "%s", text ? text : "");
}

int document_store_known_read(struct document_store *s, struct known *ret, struct err *err)
{
	CLEANUP(json_decrefp) json_t *json = NULL;
	struct known k = {0};
	struct json_object o;
	int r = read_json(s, KNOWN_FILE, &json, err);

	memset(ret, 0, sizeof(*ret));
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	json_object_begin(&o, json, KNOWN_FILE, "", err);
	take_digest(&o, "policy_keys", k.policy_keys);
	take_digest(&o, "controller_keys", k.controller_keys);
	k.head_sequence = take_number(&o, "head_sequence");
	k.head_expires.s = json_take_int(&o, "head_expires", 0, INT64_MAX);
	k.highest_revision = take_number(&o, "highest_revision");
	k.rollback_floor = take_number(&o, "rollback_floor");
	k.view_sequence = take_number(&o, "view_sequence");
	r = json_finish(&o);
	if (r < 0)
		return r;
	*ret = k;
	return 1;
}

int document_store_known_write(struct document_store *s, const struct known *k, struct err *err)
{
	CLEANUP(json_decrefp)
	json_t *json = json_pack(
		"{s:s,s:s,s:I,s:I,s:I,s:I,s:I}", "policy_keys", k->policy_keys, "controller_keys",
		k->controller_keys, "head_sequence", (json_int_t)k->head_sequence, "head_expires",
		(json_int_t)k->head_expires.s, "highest_revision", (json_int_t)k->highest_revision,
		"rollback_floor", (json_int_t)k->rollback_floor, "view_sequence",
		(json_int_t)k->view_sequence);

	return write_json(s, KNOWN_FILE, json, err);
}

int document_store_head_read(struct document_store *s, char **ret, size_t *ret_len, struct err *err)
{
	return read_text(s, HEAD_FILE, DSSE_ENVELOPE_MAX, ret, ret_len, err);
}

int document_store_head_write(struct document_store *s, const char *text, size_t len,
			      struct err *err)
{
	return write_text(s, HEAD_FILE, text, len, err);
}

/* --- by digest ---------------------------------------------------------------------------- */

static int digest_path(char path[PATH_TEXT_MAX], const char *dir, const char *sha256,
		       struct err *err)
{
	if (!sha256_hex_ok(sha256))
		return err_set(err, EINVAL, "\"%.80s\" is no digest", sha256);
	(void)snprintf(path, PATH_TEXT_MAX, "%s/%s", dir, sha256);
	return 0;
}

static int read_digest(struct document_store *s, const char *dir, const char *sha256, size_t max,
		       char **ret, size_t *ret_len, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	char path[PATH_TEXT_MAX], found[SHA256_HEX_LEN];
	size_t len = 0;
	int r = digest_path(path, dir, sha256, err);

	if (r >= 0)
		r = read_text(s, path, max, &text, &len, err);
	if (r < 0)
		return r;
	r = document_digest(text, len, found);
	if (r < 0)
		return err_set(err, -r, "out of memory");
	if (!str_eq(found, sha256))
		return err_set(err, EBADMSG, "%s: the file is damaged", path);
	*ret = TAKE_PTR(text);
	*ret_len = len;
	return 0;
}

static int write_digest(struct document_store *s, const char *dir, const char *sha256,
			const char *text, size_t len, struct err *err)
{
	char path[PATH_TEXT_MAX];
	int r = digest_path(path, dir, sha256, err);

	return r < 0 ? r : write_text(s, path, text, len, err);
}

int document_store_manifest_read(struct document_store *s, const char *sha256, char **ret,
				 size_t *ret_len, struct err *err)
{
	return read_digest(s, MANIFEST_DIR, sha256, DSSE_ENVELOPE_MAX, ret, ret_len, err);
}

int document_store_manifest_write(struct document_store *s, const char *sha256, const char *text,
				  size_t len, struct err *err)
{
	return write_digest(s, MANIFEST_DIR, sha256, text, len, err);
}

void document_store_manifests(struct document_store *s,
			      void (*fn)(void *user, struct document_store *s, const char *sha256),
			      void *user)
{
	int fd = s->fd < 0 ? -1 : openat(s->fd, MANIFEST_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	if (!d) {
		closep(&fd);
		return;
	}
	while ((e = readdir(d))) {
		if (sha256_hex_ok(e->d_name))
			fn(user, s, e->d_name);
	}
	(void)closedir(d);
}

int document_store_blob_read(struct document_store *s, const char *sha256, char **ret,
			     size_t *ret_len, struct err *err)
{
	return read_digest(s, BLOB_DIR, sha256, MANIFEST_BLOB_SIZE_MAX, ret, ret_len, err);
}

int document_store_blob_write(struct document_store *s, const char *sha256, const char *bytes,
			      size_t len, struct err *err)
{
	return write_digest(s, BLOB_DIR, sha256, bytes, len, err);
}

/* --- records ------------------------------------------------------------------------------ */

static const char *const outcomes[] = {
	[GENERATION_STAGED] = "staged",
	[GENERATION_CONFIRMED] = "confirmed",
	[GENERATION_ROLLED_BACK] = "rolled_back",
};

struct generation_record *generation_record_find(struct generation_records *r, const char *digest)
{
	for (size_t i = 0; i < r->count; i++) {
		if (str_eq(r->list[i].digest, digest))
			return &r->list[i];
	}
	return NULL;
}

struct generation_record *generation_record_add(struct generation_records *r, const char *digest)
{
	struct generation_record *found = generation_record_find(r, digest);

	if (found)
		return found;
	if (r->count == GENERATIONS_RECORDED_MAX) {
		memmove(&r->list[0], &r->list[1], (r->count - 1) * sizeof(r->list[0]));
		r->count--;
	}
	found = &r->list[r->count++];
	memset(found, 0, sizeof(*found));
	(void)snprintf(found->digest, sizeof(found->digest), "%s", digest);
	return found;
}

bool generation_pinned(const struct generation_record *e)
{
	return e->outcome == GENERATION_ROLLED_BACK && e->failures >= GENERATION_FAILURES_MAX;
}

static int take_record(json_t *value, struct generation_record *ret, struct err *err)
{
	const char *outcome, *who, *reason, *why;
	struct json_object o;
	int r;

	json_object_begin(&o, value, RECORDS_FILE, "", err);
	take_digest(&o, "digest", ret->digest);
	ret->revision = take_number(&o, "revision");
	ret->when.s = json_take_int(&o, "when", 0, INT64_MAX);
	ret->interrupted = (unsigned)json_take_int(&o, "interrupted", 0, UINT16_MAX);
	/* Files of releases that pinned at once do not say it. */
	ret->failures = GENERATION_FAILURES_MAX;
	if (json_object_get(value, "failures"))
		ret->failures = (unsigned)json_take_int(&o, "failures", 0, GENERATION_FAILURES_MAX);
	who = json_take_string(&o, "who", sizeof(ret->who) - 1);
	reason = json_take_string(&o, "reason", sizeof(ret->reason) - 1);
	why = json_take_string(&o, "why", sizeof(ret->why) - 1);
	outcome = json_take_string(&o, "outcome", 16);
	r = json_finish(&o);
	if (r < 0)
		return r;
	(void)snprintf(ret->who, sizeof(ret->who), "%s", who);
	(void)snprintf(ret->reason, sizeof(ret->reason), "%s", reason);
	(void)snprintf(ret->why, sizeof(ret->why), "%s", why);
	for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
		if (!str_eq(outcomes[i], outcome))
			continue;
		ret->outcome = (enum generation_outcome)i;
		return 0;
	}
	return err_set(err, EBADMSG, RECORDS_FILE ": unknown outcome");
}

int document_store_records_read(struct document_store *s, struct generation_records *ret,
				struct err *err)
{
	CLEANUP(json_decrefp) json_t *json = NULL;
	struct json_object o;
	json_t *list;
	int r = read_json(s, RECORDS_FILE, &json, err);

	memset(ret, 0, sizeof(*ret));
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	json_object_begin(&o, json, RECORDS_FILE, "", err);
	list = json_take_array(&o, "generations", GENERATIONS_RECORDED_MAX);
	r = json_finish(&o);
	for (size_t i = 0; r >= 0 && i < json_array_size(list); i++) {
		r = take_record(json_array_get(list, i), &ret->list[i], err);
		ret->count = r < 0 ? ret->count : i + 1;
	}
	return r;
}

static json_t *record_json(const struct generation_record *e)
{
	return json_pack("{s:s,s:I,s:I,s:i,s:i,s:s,s:s,s:s,s:s}", "digest", e->digest, "revision",
			 (json_int_t)e->revision, "when", (json_int_t)e->when.s, "interrupted",
			 (int)e->interrupted, "failures", (int)e->failures, "who", e->who, "reason",
			 e->reason, "why", e->why, "outcome", outcomes[e->outcome]);
}

int document_store_records_write(struct document_store *s, const struct generation_records *records,
				 struct err *err)
{
	CLEANUP(json_decrefp) json_t *list = json_array();
	CLEANUP(json_decrefp) json_t *json = NULL;
	bool whole = list != NULL;

	for (size_t i = 0; i < records->count && whole; i++)
		whole = json_array_append_new(list, record_json(&records->list[i])) == 0;
	if (whole)
		json = json_pack("{s:O}", "generations", list);
	return write_json(s, RECORDS_FILE, json, err);
}

/* --- a policy ----------------------------------------------------------------------------- */

/* Signatures were looked at before it was written; only its own file's digest is, here. */
int document_store_manifest(struct document_store *s, const char *sha256, struct manifest *ret,
			    struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	CLEANUP(freep) uint8_t *payload = NULL;
	size_t len = 0, payload_len = 0;
	int r = document_store_manifest_read(s, sha256, &text, &len, err);

	if (r >= 0)
		r = dsse_open_unverified(text, len, DSSE_TYPE_MANIFEST, &payload, &payload_len,
					 err);
	return r < 0 ? r : manifest_decode(payload, payload_len, ret, err);
}

static int read_blobs(struct document_store *s, const struct manifest *m, struct store_policy *ret,
		      struct err *err)
{
	int r = 0;

	ret->files = mem_calloc(m->policy_count, sizeof(*ret->files));
	if (!ret->files)
		return err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < m->policy_count && r >= 0; i++) {
		struct store_file *f = &ret->files[ret->file_count++];

		r = document_store_blob_read(s, m->policy[i].sha256, &f->text, &f->len, err);
		f->name = mem_strdup(m->policy[i].name);
		if (r >= 0 && !f->name)
			r = err_set(err, ENOMEM, "out of memory");
	}
	return r;
}

int document_store_policy(struct document_store *s, const char *sha256, struct store_policy *ret,
			  struct err *err)
{
	struct generation_records records;
	const struct generation_record *record;
	struct store_policy p = {0};
	struct manifest m = {0};
	int r = document_store_manifest(s, sha256, &m, err);

	if (r < 0)
		return err_prefix(err, r, "manifest %.12s", sha256);
	r = read_blobs(s, &m, &p, err);
	if (r < 0) {
		store_policy_done(&p);
		r = err_prefix(err, r, "policy revision %" PRIu64, m.revision);
		manifest_done(&m);
		return r;
	}
	p.revision = m.revision;
	(void)snprintf(p.digest, sizeof(p.digest), "%s", sha256);
	/* Who and when are for people: without them the policy is the same. */
	record = document_store_records_read(s, &records, NULL) < 0
			 ? NULL
			 : generation_record_find(&records, sha256);
	if (record) {
		p.when = record->when;
		(void)snprintf(p.who, sizeof(p.who), "%s", record->who);
		(void)snprintf(p.reason, sizeof(p.reason), "%s", record->reason);
	}
	manifest_done(&m);
	*ret = p;
	return 0;
}

int document_store_expires(struct document_store *s, const char *sha256, struct wall *ret,
			   struct err *err)
{
	struct manifest m = {0};
	int r = document_store_manifest(s, sha256, &m, err);

	if (r >= 0)
		*ret = m.expires;
	manifest_done(&m);
	return r < 0 ? r : 0;
}

/* --- what is not needed any more ---------------------------------------------------------- */

struct kept {
	char (*names)[SHA256_HEX_LEN];
	size_t count;
};

static bool is_kept(const struct kept *k, const char *name)
{
	for (size_t i = 0; i < k->count; i++) {
		if (str_eq(k->names[i], name))
			return true;
	}
	return false;
}

static void prune_one(struct document_store *s, int fd, const char *dir, const char *name)
{
	char copy[PATH_TEXT_MAX + NAME_MAX];

	/* The copy first: one that is left would bring the file back. */
	(void)snprintf(copy, sizeof(copy), DOCUMENTS_DIR "/%s/%s", dir, name);
	spare_remove(s->spare, copy);
	(void)tree_remove(fd, name, NULL);
}

static void prune_dir(struct document_store *s, const char *dir, const struct kept *keep)
{
	int fd = openat(s->fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		closep(&fd);
		return;
	}
	while ((e = readdir(d))) {
		/* Names with a dot are of writes that a power cut ended. */
		if (!str_eq(e->d_name, ".") && !str_eq(e->d_name, "..") &&
		    !is_kept(keep, e->d_name))
			prune_one(s, dirfd(d), dir, e->d_name);
	}
	(void)closedir(d);
}

static int keep_blobs(struct document_store *s, const char *sha256, struct kept *k)
{
	struct manifest m = {0};
	int r = document_store_manifest(s, sha256, &m, NULL);

	/* Not there (yet): it has no blobs to lose. Unreadable: nothing is removed. */
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	for (size_t i = 0; i < m.policy_count && k->count < BLOBS_KEPT_MAX; i++)
		(void)snprintf(k->names[k->count++], SHA256_HEX_LEN, "%s", m.policy[i].sha256);
	manifest_done(&m);
	return 0;
}

void document_store_prune(struct document_store *s, const char *const *keep, size_t count)
{
	char manifest_names[DOCUMENT_STORE_KEEP_MAX][SHA256_HEX_LEN];
	struct kept manifests = {.names = manifest_names}, blobs = {0};
	int r = 0;

	if (s->fd < 0 || count > DOCUMENT_STORE_KEEP_MAX)
		return;
	blobs.names = mem_calloc(BLOBS_KEPT_MAX, sizeof(*blobs.names));
	if (!blobs.names)
		return;
	for (size_t i = 0; i < count && r >= 0; i++) {
		(void)snprintf(manifests.names[manifests.count++], SHA256_HEX_LEN, "%s", keep[i]);
		r = keep_blobs(s, keep[i], &blobs);
	}
	if (r >= 0) {
		prune_dir(s, MANIFEST_DIR, &manifests);
		prune_dir(s, BLOB_DIR, &blobs);
	}
	free(blobs.names);
}
