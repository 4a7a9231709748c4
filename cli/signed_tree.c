/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/signed_tree.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/static_path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DIR_MODE  0755
#define FILE_MODE 0644
#define VERSION   "v1/"

static bool is_dir(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* DIR/v1 or DIR itself, whichever holds manifests; DIR/v1 where neither does (yet). */
static int find_base(const char *dir, char **ret, bool *ret_there)
{
	static const char *const below[] = {"/v1", ""};

	for (size_t i = 0; i < ARRAY_LEN(below); i++) {
		CLEANUP(freep) char *base = mem_printf("%s%s", dir, below[i]);
		CLEANUP(freep) char *manifests = mem_printf("%s%s/manifests", dir, below[i]);

		if (base == NULL || manifests == NULL)
			return -ENOMEM;
		*ret_there = is_dir(manifests);
		if (*ret_there) {
			*ret = TAKE_PTR(base);
			return 0;
		}
	}
	*ret = mem_printf("%s/v1", dir);
	return *ret != NULL ? 0 : -ENOMEM;
}

bool signed_tree_is(const char *dir)
{
	struct signed_tree t = {0};
	bool is = signed_tree_open(dir, &t, NULL) == 0 && t.count > 0;

	signed_tree_done(&t);
	return is;
}

void signed_tree_done(struct signed_tree *t)
{
	free(t->base);
	free(t->revisions);
	*t = (struct signed_tree){0};
}

static bool revision_of(const char *name, uint64_t *ret)
{
	char path[STATIC_PATH_MAX], canonical[STATIC_PATH_MAX];
	struct static_name parsed;
	int n = snprintf(path, sizeof(path), VERSION "manifests/%s", name);

	if (n < 0 || (size_t)n >= sizeof(path) || static_path_parse(path, &parsed) < 0 ||
	    parsed.kind != STATIC_MANIFEST)
		return false;
	*ret = parsed.revision;
	/* Other spellings of the name are no files of this tree. */
	return str_eq(static_path_manifest(canonical, parsed.revision), path);
}

static int revision_cmp(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int list_revisions(struct signed_tree *t, struct err *err)
{
	CLEANUP(freep) char *dir = mem_printf("%s/manifests", t->base);
	size_t cap = 0;
	struct dirent *e;
	int r = 0;
	DIR *d;

	d = dir != NULL ? opendir(dir) : NULL;
	if (d == NULL)
		return err_set(err, dir != NULL ? errno : ENOMEM, "%s: %s", dir ? dir : "tree",
			       strerror(dir != NULL ? errno : ENOMEM));
	while (r == 0 && (e = readdir(d)) != NULL) {
		uint64_t revision;

		if (!revision_of(e->d_name, &revision))
			continue;
		r = vec_grow(&t->revisions, &cap, t->count + 1, sizeof(*t->revisions),
			     SIGNED_REVISIONS_MAX);
		if (r == 0)
			t->revisions[t->count++] = revision;
	}
	(void)closedir(d);
	if (r < 0)
		return err_set(err, -r, "%s: %s", dir, strerror(-r));
	if (t->count > 1)
		qsort(t->revisions, t->count, sizeof(*t->revisions), revision_cmp);
	return 0;
}

int signed_tree_open(const char *dir, struct signed_tree *ret, struct err *err)
{
	struct signed_tree t = {0};
	bool there = false;
	int r = find_base(dir, &t.base, &there);

	if (r < 0)
		return err_set(err, -r, "%s: %s", dir, strerror(-r));
	if (there)
		r = list_revisions(&t, err);
	if (r < 0) {
		signed_tree_done(&t);
		return r;
	}
	*ret = t;
	return 0;
}

/* `path` is one of static_path.h: "v1/...". */
static char *below_base(const struct signed_tree *t, const char *path)
{
	return mem_printf("%s/%s", t->base, path + strlen(VERSION));
}

char *signed_tree_manifest_path(const struct signed_tree *t, uint64_t revision)
{
	char name[STATIC_PATH_MAX];

	return below_base(t, static_path_manifest(name, revision));
}

int signed_tree_envelope(const struct signed_tree *t, uint64_t revision, char **ret,
			 size_t *ret_len, struct err *err)
{
	CLEANUP(freep) char *path = signed_tree_manifest_path(t, revision);

	if (path == NULL)
		return err_set(err, ENOMEM, "out of memory");
	return file_read(AT_FDCWD, path, DSSE_ENVELOPE_MAX, ret, ret_len, err);
}

/* ---- one revision ---- */

void signed_policy_done(struct signed_policy *s)
{
	manifest_done(&s->manifest);
	free(s->path);
	*s = (struct signed_policy){0};
}

bool signed_tree_refused(int r)
{
	return r == -EBADMSG || r == -EKEYREJECTED || r == -EPROTOTYPE || r == -ENOTSUP ||
	       r == -E2BIG;
}

static int digest_of(const void *bytes, size_t len, char ret[SHA256_HEX_LEN], struct err *err)
{
	uint8_t digest[SHA256_LEN];

	if (sha256(bytes, len, digest) < 0)
		return err_set(err, ENOMEM, "out of memory");
	hex_format(digest, sizeof(digest), ret);
	return 0;
}

static int read_manifest(const struct signed_tree *t, uint64_t revision,
			 const struct keyring *trust, struct signed_policy *s, struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	CLEANUP(freep) uint8_t *payload = NULL;
	size_t len = 0, payload_len = 0;
	int r = signed_tree_envelope(t, revision, &text, &len, err);

	if (r == 0)
		r = digest_of(text, len, s->digest, err);
	if (r < 0)
		return r;
	if (trust != NULL)
		r = dsse_verify(text, len, DSSE_TYPE_MANIFEST, s->path, trust, &payload,
				&payload_len, err);
	else
		r = dsse_open_unverified(text, len, DSSE_TYPE_MANIFEST, &payload, &payload_len,
					 err);
	if (r == 0)
		r = manifest_decode(payload, payload_len, &s->manifest, err);
	if (r < 0)
		return trust == NULL || payload != NULL ? err_prefix(err, r, "%s", s->path) : r;
	if (s->manifest.revision != revision)
		return err_set(err, EBADMSG,
			       "%s: holds revision %llu; a file is named after what is in it",
			       s->path, (unsigned long long)s->manifest.revision);
	s->verified = trust != NULL;
	return 0;
}

/* Findings show "DIR@12/payments.json": the digest would tell nobody anything. */
static int read_blob(const struct signed_tree *t, const struct signed_policy *s,
		     const struct blob_ref *blob, struct policy_files *files, struct err *err)
{
	char name[STATIC_PATH_MAX], digest[SHA256_HEX_LEN];
	CLEANUP(freep) char *path = below_base(t, static_path_blob(name, blob->sha256));
	CLEANUP(freep) char *text = NULL;
	json_t *root;
	size_t len = 0;
	int r;

	if (path == NULL)
		return err_set(err, ENOMEM, "out of memory");
	r = file_read(AT_FDCWD, path, MANIFEST_BLOB_SIZE_MAX, &text, &len, err);
	if (r == 0)
		r = digest_of(text, len, digest, err);
	if (r < 0)
		return r;
	if (len != blob->size || !str_eq(digest, blob->sha256))
		return err_set(err, EBADMSG,
			       "%s: is not the %s that was signed (its digest is %.16s...); the "
			       "bytes that were signed would be right",
			       path, blob->name, digest);
	r = json_parse_strict(text, len, blob->name, &root, err);
	if (r < 0)
		return err_prefix(err, r, "%s", path);
	json_decref(root);
	return policy_files_add(files,
				mem_printf("%s@%llu/%s", t->base,
					   (unsigned long long)s->manifest.revision, blob->name),
				mem_strdup(blob->name), TAKE_PTR(text), len, err);
}

int signed_tree_read(const struct signed_tree *t, uint64_t revision, const struct keyring *trust,
		     struct policy_files *files, struct signed_policy *ret, struct err *err)
{
	CLEANUP(signed_policy_done) struct signed_policy s = {0};
	int r;

	if (revision == 0 && t->count > 0)
		revision = t->revisions[t->count - 1];
	if (revision == 0)
		return err_set(err, ENOENT, "%s: no manifest; bailiwick sign makes one", t->base);
	if (t->count == 0 ||
	    bsearch(&revision, t->revisions, t->count, sizeof(*t->revisions), revision_cmp) == NULL)
		return err_set(err, ENOENT, "%s: no revision %llu here; the newest is %llu",
			       t->base, (unsigned long long)revision,
			       t->count > 0 ? (unsigned long long)t->revisions[t->count - 1] : 0);
	s.path = signed_tree_manifest_path(t, revision);
	r = s.path != NULL ? read_manifest(t, revision, trust, &s, err)
			   : err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < s.manifest.policy_count; i++)
		r = read_blob(t, &s, &s.manifest.policy[i], files, err);
	if (r < 0)
		return r;
	*ret = s;
	s = (struct signed_policy){0};
	return 0;
}

/* ---- writing ---- */

static int make_parent(const char *path, struct err *err)
{
	CLEANUP(freep) char *dir = mem_strdup(path);
	char *slash = dir != NULL ? strrchr(dir, '/') : NULL;

	if (slash == NULL)
		return err_set(err, ENOMEM, "out of memory");
	*slash = '\0';
	return dir_make(dir, DIR_MODE, err);
}

static bool same_file(const char *path, const void *bytes, size_t len)
{
	CLEANUP(freep) char *text = NULL;
	size_t there;

	return file_read(AT_FDCWD, path, len, &text, &there, NULL) == 0 && there == len &&
	       memcmp(text, bytes, len) == 0;
}

static int write_file(const struct signed_tree *t, const char *name, const void *bytes, size_t len,
		      struct err *err)
{
	CLEANUP(freep) char *path = below_base(t, name);
	int r;

	if (path == NULL)
		return err_set(err, ENOMEM, "out of memory");
	if (same_file(path, bytes, len))
		return 0;
	r = make_parent(path, err);
	return r < 0 ? r : file_write_durable(AT_FDCWD, path, bytes, len, FILE_MODE, err);
}

int signed_tree_write_blob(const struct signed_tree *t, const char *sha256_hex, const void *bytes,
			   size_t len, struct err *err)
{
	char name[STATIC_PATH_MAX];

	return write_file(t, static_path_blob(name, sha256_hex), bytes, len, err);
}

int signed_tree_write_manifest(const struct signed_tree *t, uint64_t revision, const char *text,
			       size_t len, struct err *err)
{
	char name[STATIC_PATH_MAX];

	return write_file(t, static_path_manifest(name, revision), text, len, err);
}

/* ---- words of a command line ---- */

int signed_tree_word(const char *word, char **ret_dir, uint64_t *ret_revision, struct err *err)
{
	CLEANUP(freep) char *dir = mem_strdup(word);
	uint64_t revision = 0;
	struct stat st;
	char *at;

	if (dir == NULL)
		return err_set(err, ENOMEM, "out of memory");
	at = strrchr(dir, '@');
	/* A file or directory whose own name has an @ in it comes first. */
	if (at != NULL && stat(word, &st) < 0 &&
	    text_u64(at + 1, 1, DOCUMENT_NUMBER_MAX, &revision) == 0) {
		*at = '\0';
		if (!signed_tree_is(dir))
			return err_set(err, ENOENT,
				       "%s: %s is no signed tree; DIR@REVISION needs DIR/v1/"
				       "manifests",
				       word, dir);
	}
	*ret_dir = TAKE_PTR(dir);
	*ret_revision = revision;
	return 0;
}
