/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * publish: a signed tree to the controller, or everything that agents need out of it. In a
 * directory made by `dev`, which holds the policy key, a policy as people write it will do: it is
 * checked and signed by what `bailiwick sign` does.
 */
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/signed_tree.h"
#include "controller-client/dsse.h"
#include "controller-client/manifest.h"
#include "controller/api.h"
#include "controller/command.h"
#include "controller/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REVISION_TEXT_MAX 24
#define DEV_TREE          "signed"

enum { OPTION_TO };
static const struct option_spec options[] = {
	[OPTION_TO] = {.name = "to",
		       .value = "DIR",
		       .help = "write every document for every node there, for any web server"},
};

/* ---- uploading ---- */

static int check_digest(const char *text, size_t len, const struct blob_ref *ref, struct err *err)
{
	uint8_t digest[SHA256_LEN];
	char hex[SHA256_HEX_LEN];

	if (sha256(text, len, digest) < 0)
		return err_set(err, ENOMEM, "out of memory");
	hex_format(digest, sizeof(digest), hex);
	if (!str_eq(hex, ref->sha256))
		return err_set(err, EBADMSG,
			       "blob %.16s... (%s) was changed: its digest is %.16s... now",
			       ref->sha256, ref->name, hex);
	return 0;
}

static int upload_blob(struct api *api, const struct signed_tree *tree, const struct blob_ref *ref,
		       struct err *err)
{
	CLEANUP(freep) char *path = mem_printf("%s/blobs/sha256/%s", tree->base, ref->sha256);
	CLEANUP(freep) char *text = NULL;
	json_t *result;
	size_t len;
	int r;

	if (path == NULL)
		return err_set(err, ENOMEM, "out of memory");
	r = file_read(AT_FDCWD, path, MANIFEST_BLOB_SIZE_MAX, &text, &len, err);
	if (r < 0)
		return err_prefix(err, r, "blob %s", ref->name);
	r = check_digest(text, len, ref, err);
	if (r >= 0)
		r = api_send(api, "/v1/operator/blobs", text, len, API_CONTENT_BYTES, &result, err);
	if (r >= 0)
		json_decref(result);
	return r;
}

/* The signature is the server's to judge: here the manifest only says which blobs go along. */
static int read_manifest(const char *text, size_t len, struct manifest *ret, struct err *err)
{
	CLEANUP(freep) uint8_t *payload = NULL;
	size_t payload_len;
	int r = dsse_open_unverified(text, len, DSSE_TYPE_MANIFEST, &payload, &payload_len, err);

	return r < 0 ? r : manifest_decode(payload, payload_len, ret, err);
}

/* -EBADMSG when the document fails a check, be it here or there. */
static int upload_tree(struct api *api, const char *dir, json_t **ret, struct err *err)
{
	CLEANUP(signed_tree_done) struct signed_tree tree = {0};
	CLEANUP(manifest_done) struct manifest manifest = {0};
	CLEANUP(freep) char *text = NULL;
	size_t len;
	int r = signed_tree_open(dir, &tree, err);

	if (r < 0)
		return r;
	if (tree.count == 0)
		return err_set(err, ENOENT,
			       "%s: no manifest in it; a directory that 'bailiwick "
			       "sign' has written would be right",
			       dir);
	r = signed_tree_envelope(&tree, tree.revisions[tree.count - 1], &text, &len, err);
	if (r >= 0)
		r = read_manifest(text, len, &manifest, err);
	if (r < 0)
		return err_prefix(err, signed_tree_refused(r) ? -EBADMSG : r,
				  "%s, revision %" PRIu64, dir, tree.revisions[tree.count - 1]);
	for (size_t i = 0; r >= 0 && i < manifest.policy_count; i++)
		r = upload_blob(api, &tree, &manifest.policy[i], err);
	if (r < 0)
		return r;
	r = api_send(api, "/v1/operator/publish", text, len, API_CONTENT_JSON, ret, err);
	return r < 0 && api_status(api) == 400 ? -EBADMSG : r;
}

/* ---- policy as people write it ---- */

/* Above what is signed here and what the controller has got from elsewhere. */
static int next_revision(struct api *api, const char *dir, char ret[REVISION_TEXT_MAX],
			 struct err *err)
{
	CLEANUP(signed_tree_done) struct signed_tree tree = {0};
	json_t *status;
	int64_t revision;
	int r = api_get(api, "/v1/operator/status", &status, err);

	if (r < 0)
		return r;
	revision = field_int(status, "policy.revision", 0);
	json_decref(status);
	if (signed_tree_is(dir)) {
		r = signed_tree_open(dir, &tree, err);
		if (r < 0)
			return r;
		if (tree.count > 0 && tree.revisions[tree.count - 1] > (uint64_t)revision)
			revision = (int64_t)tree.revisions[tree.count - 1];
	}
	(void)snprintf(ret, REVISION_TEXT_MAX, "%" PRId64, revision + 1);
	return 0;
}

static int sign(struct console *c, const char *policy, const char *key, const char *revision,
		const char *tree)
{
	const char *words[] = {"bailiwick",  "sign",   policy,  "--key", key,
			       "--revision", revision, "--out", tree,    NULL};
	char *copies[ARRAY_LEN(words)] = {NULL}, *argv[ARRAY_LEN(words)];
	FILE *nowhere = fopen("/dev/null", "we");
	int r;

	if (nowhere == NULL)
		return CLI_FAILED;
	/* argv is reordered while it is read. */
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		argv[i] = copies[i] = words[i] == NULL ? NULL : mem_strdup(words[i]);
	r = cli_main((int)ARRAY_LEN(words) - 1, argv, nowhere, c->err);
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		free(copies[i]);
	(void)fclose(nowhere);
	return r;
}

static int publish_policy(struct console *c, const struct command *v, struct api *api,
			  const char *policy, json_t **ret, struct err *err)
{
	CLEANUP(freep) char *key = mem_printf("%s/" SETUP_POLICY_KEY, c->data_dir);
	CLEANUP(freep) char *tree = mem_printf("%s/" DEV_TREE, c->data_dir);
	char revision[REVISION_TEXT_MAX];
	int r;

	(void)v;
	if (key == NULL || tree == NULL)
		return err_set(err, ENOMEM, "out of memory");
	if (access(key, R_OK) < 0)
		return err_set(err, EINVAL,
			       "%s is no signed tree, and %s has no policy key to sign it with; "
			       "'bailiwick sign %s --key KEY' makes one",
			       policy, c->data_dir, policy);
	r = next_revision(api, tree, revision, err);
	if (r < 0)
		return r;
	r = sign(c, policy, key, revision, tree);
	if (r != CLI_OK)
		return err_set(err, r == CLI_DENIED ? EBADMSG : EIO,
			       "%s was not signed and nothing was published", policy);
	return upload_tree(api, tree, ret, err);
}

/* ---- the verb ---- */

static int export(struct api *api, const char *to, json_t **ret, struct err *err)
{
	CLEANUP(freep) char *here = NULL;
	CLEANUP(freep) char *path = NULL;
	json_t *body;
	int r;

	if (*to != '/') {
		here = realpath(".", NULL);
		path = here == NULL ? NULL : mem_printf("%s/%s", here, to);
	} else {
		path = mem_strdup(to);
	}
	body = path == NULL ? NULL : json_pack("{s:s}", "directory", path);
	if (body == NULL)
		return err_set(err, EINVAL, "--to %.200s: not a path", to);
	r = api_post(api, "/v1/operator/export", body, ret, err);
	json_decref(body);
	return r;
}

static void render_outside(const json_t *outside, struct buf *b)
{
	static const struct column columns[] = {
		{"IDENTITY", COLUMN_LEFT, CUT_BEGIN, 12},
		{"NODE", COLUMN_LEFT, CUT_END, 6},
		{"PLACED BY", COLUMN_LEFT, CUT_END, 0},
		{"WHY", COLUMN_LEFT, CUT_END, 20},
	};
	struct table t;
	json_t *place;
	size_t i;

	if (json_array_size(outside) == 0)
		return;
	buf_puts(b, "Outside the bounds of this policy, and left out of every view:\n");
	table_init(&t, columns, ARRAY_LEN(columns));
	json_array_foreach(outside, i, place) {
		table_cell(&t, field_text(place, "identity"));
		table_cell(&t, field_text(place, "node"));
		table_cell(&t, field_text(place, "source"));
		table_cell(&t, field_text(place, "why"));
	}
	table_print(&t, 2, b);
	table_done(&t);
}

static void render_export(const json_t *result, struct buf *b)
{
	put_clean(b, field_text_or(result, "dir", "-"));
	buf_printf(b, " holds revision %" PRId64 " for ", field_int(result, "revision", 0));
	put_count(b, field_int(result, "heads", 0), "node");
	buf_printf(b,
		   ": %" PRId64 " documents written, %" PRId64 " unchanged, %" PRId64 " removed.\n",
		   field_int(result, "written", 0), field_int(result, "unchanged", 0),
		   field_int(result, "removed", 0));
}

static void render_published(const json_t *result, struct buf *b)
{
	buf_printf(b, "Revision %" PRId64 "  %.8s  is %s; ", field_int(result, "revision", 0),
		   field_text_or(result, "sha256", "-"),
		   field_true(result, "unchanged") ? "what was published already" : "published");
	put_count(b, field_int(result, "nodes", 0), "node");
	buf_puts(b, field_int(result, "nodes", 0) == 1 ? " is told.\n" : " are told.\n");
	render_outside(field(result, "outside"), b);
}

static void render(const json_t *result, const struct screen *s, struct buf *b)
{
	(void)s;
	if (field(result, "dir") == NULL) {
		render_published(result, b);
		return;
	}
	if (field(result, "published") != NULL)
		render_published(field(result, "published"), b);
	render_export(result, b);
}

static int run(struct console *c, const struct command *v, const struct args *a)
{
	CLEANUP(api_freep) struct api *api = NULL;
	const char *to = a->values[OPTION_TO];
	struct err err = {{0}};
	json_t *result = NULL, *published;
	int r;

	if (a->word_count == 0 && to == NULL)
		return command_usage(c, v, "something is missing: %s", v->words);
	r = api_open(c, &api, &err);
	if (r >= 0 && a->word_count > 0) {
		if (signed_tree_is(a->words[0]))
			r = upload_tree(api, a->words[0], &result, &err);
		else
			r = publish_policy(c, v, api, a->words[0], &result, &err);
	}
	if (r >= 0 && to != NULL) {
		published = TAKE_PTR(result);
		r = export(api, to, &result, &err);
		if (r >= 0 && published != NULL)
			(void)json_object_set(result, "published", published);
		json_decref(published);
	}
	if (r < 0) {
		json_decref(result);
		if (r != -EBADMSG)
			return command_refused(c, v, api, &err);
		(void)command_fail(c, v, "%s", err.text);
		return EXIT_IS_DENIED;
	}
	return command_print(c, v, result);
}

const struct command command_publish = {
	.name = "publish",
	.words = "[SIGNED_TREE | POLICY] [--to DIR]",
	.summary = "give signed policy to the controller; or write everything for a web server",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_max = 1,
	.run = run,
	.render = render,
};
