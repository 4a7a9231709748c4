/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/archive.h"

#include "base/base64.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/dsse.h"
#include "controller-client/head.h"
#include "controller-client/manifest.h"
#include "controller-client/static_path.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BLOCK_SIZE     65536
#define REFUSED_ADVICE "; a tar of v1/heads, v1/manifests and v1/blobs/sha256 would be right"

void archive_documents_done(struct archive_documents *d)
{
	for (size_t i = 0; i < d->count; i++) {
		free(d->items[i].name);
		free(d->items[i].bytes);
	}
	free(d->items);
	*d = (struct archive_documents){0};
}

/* One name per document, however it was written in the archive. */
static const char *canonical(char buf[STATIC_PATH_MAX], const struct static_name *n)
{
	switch (n->kind) {
	case STATIC_HEAD:
		return static_path_head(buf, n->node);
	case STATIC_MANIFEST:
		return static_path_manifest(buf, n->revision);
	case STATIC_BLOB:
		return static_path_blob(buf, n->sha256);
	}
	return "";
}

struct reader {
	struct archive_documents *docs;
	struct map *seen; /* canonical names */
	const char *path; /* of the archive or directory, for errors */
	struct err *err;
};

/* The document's name, or the refusal of what is none. */
static int check_name(const struct reader *r, const char *name, char ret[STATIC_PATH_MAX])
{
	char quoted[LOG_QUOTE_MAX];
	struct static_name parsed;

	if (name == NULL || static_path_parse(name, &parsed) < 0)
		return err_set(r->err, EBADMSG, "%s: '%s' is no document's name" REFUSED_ADVICE,
			       r->path, log_quote(quoted, name != NULL ? name : "(not readable)"));
	(void)canonical(ret, &parsed);
	if (map_get_str(r->seen, ret) != NULL)
		return err_set(r->err, EBADMSG, "%s: %s is in it twice; once would be right",
			       r->path, ret);
	return 0;
}

static int keep(const struct reader *r, const char *name, uint8_t *take_bytes, size_t len)
{
	struct archive_documents *d = r->docs;
	char *copy = mem_strdup(name);
	int e = copy != NULL ? vec_grow(&d->items, &d->cap, d->count + 1, sizeof(*d->items),
					ARCHIVE_ENTRIES_MAX)
			     : -ENOMEM;

	if (e == 0 && d->total + len > ARCHIVE_TOTAL_MAX)
		e = -E2BIG;
	if (e == 0)
		e = map_put_str(r->seen, name, copy);
	if (e < 0) {
		free(copy);
		free(take_bytes);
		return e == -E2BIG ? err_set(r->err, E2BIG,
					     "%s: more than %u MiB or %d documents; an export for "
					     "this node alone would be right",
					     r->path, ARCHIVE_TOTAL_MAX >> 20, ARCHIVE_ENTRIES_MAX)
				   : err_set(r->err, -e, "%s: %s", r->path, strerror(-e));
	}
	d->items[d->count++] =
		(struct archive_document){.name = copy, .bytes = take_bytes, .len = len};
	d->total += len;
	return 0;
}

/* ---- tar ---- */

static int tar_error(const struct reader *r, struct archive *a)
{
	const char *text = archive_error_string(a);

	return err_set(r->err, EBADMSG, "%s: not a tar that can be read: %s" REFUSED_ADVICE,
		       r->path, text != NULL ? text : "damaged");
}

static int tar_data(const struct reader *r, struct archive *a, const char *name)
{
	size_t max = ARCHIVE_TOTAL_MAX - r->docs->total;
	struct buf b;
	char *block = mem_calloc(1, BLOCK_SIZE);
	la_ssize_t n = block != NULL ? 1 : 0;
	size_t len;
	int e = block != NULL ? 0 : -ENOMEM;

	/* One byte more than may be, so that what is too long is seen to be. */
	buf_init(&b, (max < ARCHIVE_DOCUMENT_MAX ? max : ARCHIVE_DOCUMENT_MAX) + 1);
	buf_puts(&b, "");
	while (e == 0 && b.r == 0 && n > 0) {
		n = archive_read_data(a, block, BLOCK_SIZE);
		if (n > 0)
			buf_add(&b, block, (size_t)n);
	}
	free(block);
	if (e == 0 && n < 0)
		e = tar_error(r, a);
	else if (e == 0 && b.r == -E2BIG)
		e = err_set(r->err, E2BIG,
			    "%s: %s is larger than any document, or all together are; at most %u "
			    "MiB would be right",
			    r->path, name, ARCHIVE_DOCUMENT_MAX >> 20);
	else if (e == 0 && b.r < 0)
		e = b.r;
	if (e == -ENOMEM)
		(void)err_set(r->err, ENOMEM, "out of memory");
	len = b.len;
	if (e == 0)
		e = keep(r, name, (uint8_t *)buf_take(&b), len);
	buf_done(&b);
	return e;
}

static int tar_entry(const struct reader *r, struct archive *a, struct archive_entry *entry)
{
	char name[STATIC_PATH_MAX], quoted[LOG_QUOTE_MAX];
	const char *path = archive_entry_pathname(entry);
	int e;

	if (archive_entry_filetype(entry) == AE_IFDIR)
		return 0;
	if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) != NULL)
		return err_set(r->err, EBADMSG,
			       "%s: '%s' is a link or a special file; regular files only would be "
			       "right",
			       r->path, log_quote(quoted, path != NULL ? path : "?"));
	e = check_name(r, path, name);
	return e < 0 ? e : tar_data(r, a, name);
}

static int tar_entries(const struct reader *r, struct archive *a)
{
	int e = 0;

	for (size_t i = 0; e == 0; i++) {
		struct archive_entry *entry;
		int next = archive_read_next_header(a, &entry);

		if (next == ARCHIVE_EOF)
			return 0;
		if (next != ARCHIVE_OK)
			return tar_error(r, a);
		if (i >= ARCHIVE_ENTRIES_MAX)
			return err_set(r->err, E2BIG, "%s: more than %d entries", r->path,
				       ARCHIVE_ENTRIES_MAX);
		e = tar_entry(r, a, entry);
	}
	return e;
}

/* tar and gzip, nothing else: every other format of the library stays out of reach. */
static int read_tar(const struct reader *r, int fd)
{
	struct archive *a = archive_read_new();
	int e;

	if (a == NULL)
		return err_set(r->err, ENOMEM, "out of memory");
	if (archive_read_support_format_tar(a) != ARCHIVE_OK ||
	    archive_read_support_filter_gzip(a) != ARCHIVE_OK ||
	    archive_read_open_fd(a, fd, BLOCK_SIZE) != ARCHIVE_OK)
		e = tar_error(r, a);
	else
		e = tar_entries(r, a);
	(void)archive_read_free(a);
	return e;
}

/* ---- directory ---- */

static int visible(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static int directory_file(const struct reader *r, const char *dir, const char *folder,
			  const char *file)
{
	CLEANUP(freep) char *path = mem_printf("%s/%s", dir, file);
	CLEANUP(freep) char *shown = mem_printf("%s/%s", folder, file);
	char name[STATIC_PATH_MAX], *text = NULL;
	struct stat st;
	size_t len = 0;
	int e;

	if (path == NULL || shown == NULL)
		return err_set(r->err, ENOMEM, "out of memory");
	if (lstat(path, &st) < 0)
		return err_set(r->err, errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(r->err, EBADMSG,
			       "%s: a link or a special file; regular files only would be right",
			       path);
	e = check_name(r, shown, name);
	if (e == 0)
		e = file_read(AT_FDCWD, path, ARCHIVE_DOCUMENT_MAX, &text, &len, r->err);
	return e < 0 ? e : keep(r, name, (uint8_t *)text, len);
}

static int directory_folder(const struct reader *r, const char *base, const char *folder)
{
	CLEANUP(freep) char *dir = mem_printf("%s/%s", base, folder);
	struct dirent **names = NULL;
	int count, e = 0;

	if (dir == NULL)
		return err_set(r->err, ENOMEM, "out of memory");
	count = scandir(dir, &names, visible, alphasort);
	if (count < 0)
		return errno == ENOENT ? 0 : err_set(r->err, errno, "%s: %s", dir, strerror(errno));
	for (int i = 0; i < count; i++) {
		if (e == 0)
			e = directory_file(r, dir, folder, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	return e;
}

static int read_directory(const struct reader *r)
{
	static const char *const folders[] = {"heads", "manifests", "blobs/sha256"};
	CLEANUP(freep) char *base = mem_printf("%s/v1", r->path);
	struct stat st;
	int e = 0;

	if (base == NULL)
		return err_set(r->err, ENOMEM, "out of memory");
	if (stat(base, &st) < 0)
		base[strlen(r->path)] = '\0';
	for (size_t i = 0; e == 0 && i < ARRAY_LEN(folders); i++)
		e = directory_folder(r, base, folders[i]);
	return e;
}

/* ---- both ---- */

int archive_documents_read(const char *path, struct archive_documents *ret, struct err *err)
{
	CLEANUP(archive_documents_done) struct archive_documents docs = {0};
	CLEANUP(map_freep) struct map *seen = map_new(ARCHIVE_ENTRIES_MAX, NULL);
	/* Not blocking: a FIFO would hang until somebody writes to it. */
	CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	const struct reader r = {.docs = &docs, .seen = seen, .path = path, .err = err};
	struct stat st;
	int e;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "%s: %s", path, strerror(errno));
	if (seen == NULL)
		return err_set(err, ENOMEM, "out of memory");
	if (S_ISDIR(st.st_mode))
		e = read_directory(&r);
	else if (S_ISREG(st.st_mode))
		e = read_tar(&r, fd);
	else
		e = err_set(err, EINVAL, "%s: neither a file nor a directory", path);
	if (e == 0 && docs.count == 0)
		e = err_set(err, EBADMSG, "%s: no documents in it" REFUSED_ADVICE, path);
	if (e < 0)
		return e;
	*ret = docs;
	docs = (struct archive_documents){0};
	return 0;
}

/* ---- what one node needs ---- */

static const struct archive_document *find(const struct archive_documents *d, const char *name)
{
	for (size_t i = 0; i < d->count; i++) {
		if (str_eq(d->items[i].name, name))
			return &d->items[i];
	}
	return NULL;
}

struct selection {
	const struct archive_documents *docs;
	bool *wanted;
};

static const struct archive_document *want(struct selection *s, const char *name)
{
	const struct archive_document *doc = find(s->docs, name);

	if (doc != NULL)
		s->wanted[doc - s->docs->items] = true;
	return doc;
}

/* Payload of an envelope whose signature is the agent's business. */
static int open_document(const struct archive_document *doc, const char *type, uint8_t **ret,
			 size_t *ret_len)
{
	if (doc == NULL)
		return -ENOENT;
	return dsse_open_unverified((const char *)doc->bytes, doc->len, type, ret, ret_len, NULL);
}

static int want_manifest(struct selection *s, const struct head_pointer *p)
{
	CLEANUP(manifest_done) struct manifest m = {0};
	CLEANUP(freep) uint8_t *payload = NULL;
	char name[STATIC_PATH_MAX];
	size_t len = 0;
	int r;

	if (p->revision == 0)
		return 0;
	r = open_document(want(s, static_path_manifest(name, p->revision)), DSSE_TYPE_MANIFEST,
			  &payload, &len);
	if (r == 0)
		r = manifest_decode(payload, len, &m, NULL);
	for (size_t i = 0; r == 0 && i < m.policy_count; i++)
		(void)want(s, static_path_blob(name, m.policy[i].sha256));
	return r;
}

/* -ENOMEM, or another error: something on the way is missing or unreadable. */
static int select_for(struct selection *s, const char *node)
{
	CLEANUP(head_done) struct head h = {0};
	CLEANUP(freep) uint8_t *payload = NULL;
	char name[STATIC_PATH_MAX];
	size_t len = 0;
	int r = open_document(want(s, static_path_head(name, node)), DSSE_TYPE_HEAD, &payload,
			      &len);

	if (r == 0)
		r = head_decode(payload, len, &h, NULL);
	if (r < 0)
		return r;
	(void)want(s, static_path_blob(name, h.view_sha256));
	r = want_manifest(s, &h.stable);
	return r < 0 ? r : want_manifest(s, &h.candidate);
}

static int add_document(json_t *list, const struct archive_document *doc)
{
	CLEANUP(freep) char *data = base64_encode(doc->bytes, doc->len);

	if (data == NULL)
		return -ENOMEM;
	return json_array_append_new(list,
				     json_pack("{s:s, s:s}", "name", doc->name, "data", data)) < 0
		       ? -ENOMEM
		       : 0;
}

int archive_request(const struct archive_documents *d, const char *node, json_t **ret,
		    struct err *err)
{
	CLEANUP(freep) bool *wanted = mem_calloc(d->count, sizeof(*wanted));
	struct selection s = {.docs = d, .wanted = wanted};
	json_t *list = json_array();
	uint64_t total = 0;
	size_t count = 0;
	bool all = false;
	int r = wanted != NULL && list != NULL ? 0 : -ENOMEM;

	if (r == 0) {
		r = node != NULL ? select_for(&s, node) : -ENOENT;
		all = r < 0;
		r = r == -ENOMEM ? r : 0;
	}
	for (size_t i = 0; r == 0 && i < d->count; i++) {
		if (!all && !wanted[i])
			continue;
		total += d->items[i].len;
		count++;
		r = total > ARCHIVE_SENT_MAX || count > ARCHIVE_SENT_COUNT_MAX
			    ? -E2BIG
			    : add_document(list, &d->items[i]);
	}
	*ret = r == 0 ? json_pack("{s:O}", "documents", list) : NULL;
	json_decref(list);
	if (r == -E2BIG)
		return err_set(err, E2BIG,
			       "more than %u MiB or %d documents for one node; an archive with its "
			       "own head, manifest and blobs alone would be right",
			       ARCHIVE_SENT_MAX >> 20, ARCHIVE_SENT_COUNT_MAX);
	return r == 0 && *ret != NULL ? 0 : err_set(err, ENOMEM, "out of memory");
}
