/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/sign_blobs.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/policy_blob.h"
#include "rules/policy_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void sign_blobs_done(struct sign_blobs *b)
{
	policy_files_done(&b->files);
	policy_files_done(&b->json);
	policy_free(b->policy);
	free(b->refs);
	*b = (struct sign_blobs){0};
}

static int blob_of(struct sign_blobs *b, size_t i, struct err *err)
{
	const struct policy_file *f = &b->files.entries[i];
	struct blob_ref *ref = &b->refs[i];
	uint8_t digest[SHA256_LEN];
	char *text;
	size_t len;
	int r = policy_blob_name(f->name, ref->name, err);

	if (r < 0)
		return err_prefix(err, r, "%s", f->path);
	r = policy_json(f->text, f->len, &text, &len);
	if (r < 0)
		return err_set(err, -r, "%s: %s", f->path, strerror(-r));
	r = policy_files_add(&b->json, mem_strdup(f->path), mem_strdup(ref->name), text, len, err);
	if (r < 0)
		return r;
	if (len > MANIFEST_BLOB_SIZE_MAX)
		return err_set(err, E2BIG, "%s: %zu bytes as JSON; at most %u, so split it",
			       f->path, len, MANIFEST_BLOB_SIZE_MAX);
	if (sha256(text, len, digest) < 0)
		return err_set(err, ENOMEM, "out of memory");
	hex_format(digest, sizeof(digest), ref->sha256);
	ref->size = len;
	return 0;
}

static int names_differ(const struct sign_blobs *b, struct err *err)
{
	for (size_t i = 0; i < b->files.count; i++) {
		for (size_t j = 0; j < i; j++) {
			if (str_eq(b->refs[i].name, b->refs[j].name))
				return err_set(err, EEXIST,
					       "%s and %s would both be signed as %s; another "
					       "name for one of them would be right",
					       b->files.entries[j].path, b->files.entries[i].path,
					       b->refs[i].name);
		}
	}
	return 0;
}

static size_t total_of(const struct policy *p)
{
	return p->identity_count + p->rule_count + p->network_count + p->node_count +
	       p->separation_count + p->list_count + p->warning_count;
}

/* What will be read is not the files but the blobs: they must say the same, here and not later. */
static int read_again(const struct sign_blobs *b, struct wall now, struct err *err)
{
	static const struct policy_features features = {.attested = true};
	CLEANUP(policy_freep) struct policy *p = policy_new();
	int r = 0;

	if (p == NULL)
		return err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < b->json.count; i++)
		r = policy_blob_add(p, &b->refs[i], b->json.entries[i].text, b->json.entries[i].len,
				    err);
	if (r < 0)
		return r;
	r = policy_finish(p, &features, now);
	if (r < 0 || total_of(p) != total_of(b->policy))
		return err_set(err, EBADMSG,
			       "as JSON the policy would say something else; this is a mistake of "
			       "this release, please report it");
	return policy_blob_check(p, NULL, err);
}

int sign_blobs_read(struct sign_blobs *b, const char *path, struct wall now, struct err *err)
{
	int r = policy_files_read(&b->files, path, true, err);

	if (r == 0)
		r = policy_files_check(&b->files, POLICY_BY_PATH, now, &b->policy, err);
	if (r < 0)
		return r;
	if (b->files.count > MANIFEST_BLOBS_MAX)
		return err_set(err, E2BIG,
			       "%s: %zu files; a manifest names at most %d, so join some", path,
			       b->files.count, MANIFEST_BLOBS_MAX);
	b->refs = mem_calloc(b->files.count, sizeof(*b->refs));
	if (b->refs == NULL)
		return err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < b->files.count; i++)
		r = blob_of(b, i, err);
	if (r == 0)
		r = names_differ(b, err);
	return r < 0 ? r : read_again(b, now, err);
}
