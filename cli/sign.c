/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * `sign PATH --key KEY`: policy becomes blobs and a manifest over them; or a further signature on
 * a manifest that somebody else made. Nothing is written before the policy is without errors, the
 * manifest reads as it was meant and the signature verifies.
 */
#include "cli/cli.h"

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/findings.h"
#include "cli/pin.h"
#include "cli/sign_blobs.h"
#include "cli/sign_manifest.h"
#include "cli/signed_tree.h"
#include "controller-client/signer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define OUT_DEFAULT "signed"
#define FILE_MODE   0644
#define DIR_MODE    0755

static const struct option_spec options[OPTION_COUNT] = {
	[OPTION_KEY] = {.name = "key",
			.letter = 'k',
			.value = "KEY",
			.help = "FILE, pkcs11:URI or exec:/absolute/program"},
	[OPTION_PUBLIC] = {.name = "public",
			   .value = "FILE.pub",
			   .help = "the key's public half, where KEY cannot tell it"},
	[OPTION_OUT] = {.name = "out",
			.value = "DIR",
			.help = "where documents go; PATH/" OUT_DEFAULT " unless said"},
	[OPTION_REVISION] = {.name = "revision",
			     .value = "N",
			     .help = "above all before; one more than the highest unless said"},
	[OPTION_FLOOR] = {.name = "floor",
			  .value = "N",
			  .help = "no agent goes back below; as before unless said"},
	[OPTION_EXPIRES] = {.name = "expires",
			    .value = "DURATION",
			    .help = "agents are stale afterwards; 365d unless said"},
	[OPTION_ISSUED] = {.name = "issued", .value = "RFC3339", .help = "now unless said"},
	[OPTION_COMMENT] = {.name = "comment", .value = "TEXT", .help = "what this change is"},
	[OPTION_REVOKE_NODE] = {.name = "revoke-node",
				.value = "NODE",
				.help = "takes no policy any more; later revisions keep it",
				.many = true},
	[OPTION_UNREVOKE_NODE] = {.name = "unrevoke-node",
				  .value = "NODE",
				  .help = "takes a revocation back",
				  .many = true},
	[OPTION_REQUIRES] = {.name = "requires",
			     .value = "NAME",
			     .help = "agents that cannot do NAME refuse it",
			     .many = true},
};

struct job {
	struct cli *c;
	const struct verb *v;
	const struct args *a;
	const char *path;
	struct sign_blobs blobs;
	struct signed_tree tree;
	struct manifest previous; /* of the tree; revision 0 where there is none */
	struct manifest manifest;
	struct signer *signer;
	char *envelope;
	size_t envelope_len;
	int lock;
	struct err err;
};

static void job_done(struct job *j)
{
	sign_blobs_done(&j->blobs);
	signed_tree_done(&j->tree);
	manifest_done(&j->previous);
	manifest_done(&j->manifest);
	signer_free(j->signer);
	free(j->envelope);
	closep(&j->lock);
}

/*
 * Two signings into one folder would take the same revision, two signatures on one file would lose
 * one of them. Released with the descriptor.
 */
static int lock(struct job *j, const char *dir)
{
	j->lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (j->lock < 0)
		return err_set(&j->err, errno, "%s: %s", dir, strerror(errno));
	if (flock(j->lock, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return err_set(&j->err, errno, "%s: %s", dir,
		       errno == EWOULDBLOCK ? "somebody else is signing here; try again later"
					    : strerror(errno));
}

static int open_signer(struct job *j)
{
	const struct signer_config config = {
		.key = j->a->values[OPTION_KEY],
		.public_key = j->a->values[OPTION_PUBLIC],
		.ask_pin = pin_ask,
	};

	return signer_open(&config, &j->signer, &j->err);
}

static int sign_payload(struct job *j, const void *payload, size_t len, struct dsse_signature *ret)
{
	CLEANUP(buf_done) struct buf pae = {0};

	buf_init(&pae, DSSE_ENVELOPE_MAX);
	dsse_pae(&pae, DSSE_TYPE_MANIFEST, payload, len);
	if (pae.r < 0)
		return err_set(&j->err, -pae.r, "%s", strerror(-pae.r));
	return signer_sign(j->signer, pae.data, pae.len, ret, &j->err);
}

/* ---- the manifest before ---- */

static bool signed_by_this_key(const struct job *j, const char *text, size_t len)
{
	struct keyring ring = {.threshold = 1};
	struct public_key key = {0};
	uint8_t *payload = NULL;
	size_t payload_len;
	bool verified = false;

	if (public_key_from(signer_public(j->signer)->pkey, &key, NULL) == 0 &&
	    keyring_add(&ring, &key, NULL) == 0)
		verified = dsse_verify(text, len, DSSE_TYPE_MANIFEST, "manifest", &ring, &payload,
				       &payload_len, NULL) == 0;
	free(payload);
	keyring_done(&ring);
	return verified;
}

static int read_previous(struct job *j)
{
	CLEANUP(freep) char *text = NULL;
	CLEANUP(freep) uint8_t *payload = NULL;
	size_t len = 0, payload_len = 0;
	uint64_t revision;
	int r;

	if (j->tree.count == 0)
		return 0;
	revision = j->tree.revisions[j->tree.count - 1];
	r = signed_tree_envelope(&j->tree, revision, &text, &len, &j->err);
	if (r == 0)
		r = dsse_open_unverified(text, len, DSSE_TYPE_MANIFEST, &payload, &payload_len,
					 &j->err);
	if (r == 0)
		r = manifest_decode(payload, payload_len, &j->previous, &j->err);
	if (r < 0)
		return err_prefix(&j->err, r, "revision %" PRIu64 " in %s", revision, j->tree.base);
	if (!signed_by_this_key(j, text, len))
		(void)fprintf(j->c->err,
			      "warning: revision %" PRIu64 " was not signed by this key; its floor "
			      "and revoked nodes are taken over all the same\n",
			      revision);
	return 0;
}

/* ---- the manifest ---- */

static int fill_manifest(struct job *j)
{
	const struct sign_terms terms = {
		.args = j->a,
		.blobs = &j->blobs,
		.tree = &j->tree,
		.previous = &j->previous,
		.now = j->c->now,
	};
	int r = sign_manifest(&terms, &j->manifest, &j->err);

	if (r == 0 && j->manifest.rollback_floor < j->previous.rollback_floor)
		(void)fprintf(j->c->err,
			      "warning: the floor falls from %" PRIu64 " to %" PRIu64
			      "; agents may "
			      "be led back below it again\n",
			      j->previous.rollback_floor, j->manifest.rollback_floor);
	return r;
}

static int make_envelope(struct job *j)
{
	CLEANUP(freep) char *payload = NULL;
	struct dsse_signature signature;
	struct manifest read_back = {0};
	size_t len;
	int r = manifest_encode(&j->manifest, &payload, &len, &j->err);

	/* What agents would refuse is refused here: a comment too long, too many nodes. */
	if (r == 0)
		r = manifest_decode((const uint8_t *)payload, len, &read_back, &j->err);
	manifest_done(&read_back);
	if (r == 0)
		r = sign_payload(j, payload, len, &signature);
	return r < 0 ? r
		     : dsse_make(DSSE_TYPE_MANIFEST, payload, len, &signature, 1, &j->envelope,
				 &j->envelope_len, &j->err);
}

/* ---- results ---- */

static json_t *blobs_json(const struct manifest *m)
{
	json_t *blobs = json_array();

	for (size_t i = 0; i < m->policy_count; i++)
		(void)json_array_append_new(blobs,
					    json_pack("{s:s, s:s, s:I}", "name", m->policy[i].name,
						      "sha256", m->policy[i].sha256, "size",
						      (json_int_t)m->policy[i].size));
	return blobs;
}

static json_t *names_json(char *const *names, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(list, json_string(names[i]));
	return list;
}

static json_t *result_json(struct job *j, const struct manifest *m, const char *file)
{
	char digest[SHA256_HEX_LEN], issued[RFC3339_TEXT_MAX], expires[RFC3339_TEXT_MAX];
	uint8_t bytes[SHA256_LEN];
	json_t *envelope = json_loadb(j->envelope, j->envelope_len, 0, NULL);
	json_t *result = NULL;

	if (envelope != NULL && sha256(j->envelope, j->envelope_len, bytes) == 0) {
		hex_format(bytes, sizeof(bytes), digest);
		result = json_pack(
			"{s:i, s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:I, s:o, s:o, s:o, s:s?}",
			"version", 1, "file", file, "digest", digest, "keyid",
			signer_public(j->signer)->id, "trust_domain", m->trust_domain, "revision",
			(json_int_t)m->revision, "rollback_floor", (json_int_t)m->rollback_floor,
			"issued", rfc3339_format(issued, m->issued), "expires",
			rfc3339_format(expires, m->expires), "signatures",
			(json_int_t)field_count(envelope, "signatures"), "policy", blobs_json(m),
			"requires", names_json(m->requires, m->requires_count), "revoked_nodes",
			names_json(m->revoked_nodes, m->revoked_node_count), "comment", m->comment);
	}
	json_decref(envelope);
	return result;
}

static void put_names(const struct pairs *p, const char *key, const json_t *names)
{
	CLEANUP(buf_done) struct buf b = {0};

	buf_init(&b, SCREEN_TEXT_MAX);
	buf_puts(&b, "");
	for (size_t i = 0; i < json_array_size(names); i++) {
		const json_t *item = json_array_get(names, i);
		const char *name =
			json_is_object(item) ? field_text(item, "name") : json_string_value(item);

		buf_printf(&b, "%s%s", i > 0 ? ", " : "", name != NULL ? name : "?");
	}
	if (b.r == 0)
		pairs_put(p, key, "%s", b.data);
}

static void render_sign(const json_t *result, const struct screen *s, struct buf *b)
{
	const struct pairs p = {.b = b, .indent = 12};
	int64_t signatures = field_int(result, "signatures", 0);

	(void)s;
	pairs_put(&p, "signed", "revision %" PRId64 " of %s, floor %" PRId64 ", valid until %s",
		  field_int(result, "revision", 0), field_text_or(result, "trust_domain", "?"),
		  field_int(result, "rollback_floor", 0), field_text_or(result, "expires", "?"));
	put_names(&p, "policy", field(result, "policy"));
	put_names(&p, "requires", field(result, "requires"));
	put_names(&p, "revoked", field(result, "revoked_nodes"));
	pairs_put(&p, "comment", "%s", field_text_or(result, "comment", ""));
	pairs_put(&p, "file", "%s", field_text_or(result, "file", "?"));
	pairs_put(&p, "digest", "%s", field_text_or(result, "digest", "?"));
	pairs_put(&p, "keyid", "%s", field_text_or(result, "keyid", "?"));
	if (signatures > 1)
		pairs_put(&p, "signatures", "%" PRId64, signatures);
}

static int print(struct job *j, const struct manifest *m, const char *file)
{
	json_t *result = result_json(j, m, file);
	int r = result != NULL ? cli_print(j->c, j->v, result, false, CLI_OK)
			       : cli_fail(j->c, j->v, CLI_FAILED, "out of memory");

	json_decref(result);
	return r;
}

static int fail(struct job *j)
{
	return cli_fail(j->c, j->v, CLI_FAILED, "%s", j->err.text);
}

/* Findings go where people look; with -o json the object of `check` is what there is to say. */
static int report(struct job *j, bool failed)
{
	json_t *result = findings_json(j->blobs.policy);
	CLEANUP(buf_done) struct buf b = {0};

	buf_init(&b, SCREEN_TEXT_MAX);
	if (result == NULL)
		return cli_fail(j->c, j->v, CLI_FAILED, "out of memory");
	if (failed && j->c->json) {
		(void)json_dumpf(result, j->c->out, JSON_COMPACT);
		(void)fputc('\n', j->c->out);
	} else if (failed || field_count(result, "warnings") > 0) {
		findings_render(result, &b);
		(void)fwrite(b.data, 1, b.len, j->c->err);
	}
	json_decref(result);
	return failed ? CLI_DENIED : CLI_OK;
}

/* ---- a further signature ---- */

/* A policy, as YAML or JSON, has no such member. */
static bool looks_like_envelope(const char *path)
{
	CLEANUP(freep) char *text = NULL;
	struct stat st;
	json_t *root;
	size_t len;
	bool is;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) ||
	    file_read(AT_FDCWD, path, DSSE_ENVELOPE_MAX, &text, &len, NULL) < 0)
		return false;
	root = json_loadb(text, len, 0, NULL);
	is = json_is_string(json_object_get(root, "payloadType"));
	json_decref(root);
	return is;
}

struct added {
	char *text; /* the envelope as it is */
	uint8_t *payload;
	size_t len, payload_len;
	struct manifest manifest;
};

static void added_done(struct added *a)
{
	free(a->text);
	free(a->payload);
	manifest_done(&a->manifest);
}

static int read_envelope(struct job *j, struct added *a)
{
	int r = file_read(AT_FDCWD, j->path, DSSE_ENVELOPE_MAX, &a->text, &a->len, &j->err);

	if (r < 0)
		return r;
	r = dsse_open_unverified(a->text, a->len, DSSE_TYPE_MANIFEST, &a->payload, &a->payload_len,
				 &j->err);
	if (r == 0)
		r = manifest_decode(a->payload, a->payload_len, &a->manifest, &j->err);
	return r < 0 ? err_prefix(&j->err, r, "%s", j->path) : 0;
}

static int add_signature(struct job *j, const struct added *a)
{
	struct dsse_signature signature;
	int r = open_signer(j);

	if (r == 0 && signed_by_this_key(j, a->text, a->len))
		r = err_set(&j->err, EEXIST,
			    "%s has a signature of this key already; a threshold counts keys, so "
			    "another key would be right",
			    j->path);
	if (r == 0)
		r = sign_payload(j, a->payload, a->payload_len, &signature);
	return r < 0 ? r
		     : dsse_add(a->text, a->len, &signature, &j->envelope, &j->envelope_len,
				&j->err);
}

/* DIR/v1 of DIR/v1/manifests/12; NULL for a manifest that lies elsewhere. */
static char *tree_around(const char *path)
{
	static const char folder[] = "/manifests/";
	const char *slash = strrchr(path, '/');
	size_t len = slash != NULL ? (size_t)(slash - path) + 1 : 0;

	if (len < sizeof(folder) ||
	    memcmp(path + len - strlen(folder), folder, strlen(folder)) != 0)
		return NULL;
	return mem_strndup(path, len - strlen(folder));
}

/*
 * Nobody should put his name under what he cannot read: where the blobs lie beside the manifest,
 * they must be those it names and hold a policy without errors.
 */
static int check_beside(struct job *j, uint64_t revision)
{
	CLEANUP(signed_policy_done) struct signed_policy s = {0};
	CLEANUP(signed_tree_done) struct signed_tree t = {0};
	CLEANUP(freep) char *dir = tree_around(j->path);
	int r;

	if (dir == NULL) {
		(void)fprintf(j->c->err,
			      "warning: %s lies in no signed tree, so its policy was not looked "
			      "at\n",
			      j->path);
		return CLI_OK;
	}
	r = signed_tree_open(dir, &t, &j->err);
	if (r == 0)
		r = signed_tree_read(&t, revision, NULL, &j->blobs.files, &s, &j->err);
	if (r == 0)
		r = policy_files_check(&j->blobs.files, POLICY_BY_PATH, j->c->now, &j->blobs.policy,
				       &j->err);
	if (j->blobs.policy != NULL && r == -EINVAL)
		return report(j, true);
	return r < 0 ? cli_fail(j->c, j->v, signed_tree_refused(r) ? CLI_DENIED : CLI_FAILED, "%s",
				j->err.text)
		     : CLI_OK;
}

static int write_added(struct job *j, const struct manifest *m, char **ret_file)
{
	const char *out = j->a->values[OPTION_OUT];
	int r;

	if (out == NULL) {
		*ret_file = mem_strdup(j->path);
		return file_write_durable(AT_FDCWD, j->path, j->envelope, j->envelope_len,
					  FILE_MODE, &j->err);
	}
	r = signed_tree_open(out, &j->tree, &j->err);
	if (r == 0)
		r = signed_tree_write_manifest(&j->tree, m->revision, j->envelope, j->envelope_len,
					       &j->err);
	*ret_file = r == 0 ? signed_tree_manifest_path(&j->tree, m->revision) : NULL;
	return r;
}

static int lock_for_adding(struct job *j)
{
	const char *out = j->a->values[OPTION_OUT], *slash = strrchr(j->path, '/');
	CLEANUP(freep) char *dir = NULL;
	int r;

	if (out != NULL) {
		r = dir_make(out, DIR_MODE, &j->err);
		return r < 0 ? r : lock(j, out);
	}
	if (slash == NULL)
		return lock(j, ".");
	dir = mem_strndup(j->path, slash == j->path ? 1 : (size_t)(slash - j->path));
	return dir != NULL ? lock(j, dir) : err_set(&j->err, ENOMEM, "out of memory");
}

static int run_add(struct job *j)
{
	CLEANUP(added_done) struct added a = {0};
	CLEANUP(freep) char *file = NULL;
	int r;

	for (size_t i = OPTION_REVISION; i < OPTION_COUNT; i++) {
		if (j->a->values[i] != NULL)
			return cli_usage(j->c, j->v,
					 "--%s: %s is a manifest already, and a signature changes "
					 "nothing in it",
					 options[i].name, j->path);
	}
	if (lock_for_adding(j) < 0 || read_envelope(j, &a) < 0)
		return fail(j);
	r = check_beside(j, a.manifest.revision);
	if (r != CLI_OK)
		return r;
	if (add_signature(j, &a) < 0 || write_added(j, &a.manifest, &file) < 0)
		return fail(j);
	return file != NULL ? print(j, &a.manifest, file)
			    : cli_fail(j->c, j->v, CLI_FAILED, "out of memory");
}

/* ---- a policy ---- */

static char *out_of(const struct job *j)
{
	const char *out = j->a->values[OPTION_OUT];
	const char *slash = strrchr(j->path, '/');
	struct stat st;

	if (out != NULL)
		return mem_strdup(out);
	if (stat(j->path, &st) == 0 && S_ISDIR(st.st_mode))
		return mem_printf("%s/" OUT_DEFAULT, j->path);
	return slash != NULL ? mem_printf("%.*s/" OUT_DEFAULT, (int)(slash - j->path), j->path)
			     : mem_strdup(OUT_DEFAULT);
}

/* Blobs first: a manifest whose blobs are not there yet must not be seen. */
static int write_all(struct job *j)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < j->blobs.json.count; i++)
		r = signed_tree_write_blob(&j->tree, j->blobs.refs[i].sha256,
					   j->blobs.json.entries[i].text,
					   j->blobs.json.entries[i].len, &j->err);
	return r < 0 ? r
		     : signed_tree_write_manifest(&j->tree, j->manifest.revision, j->envelope,
						  j->envelope_len, &j->err);
}

static int run_policy(struct job *j)
{
	CLEANUP(freep) char *out = out_of(j);
	CLEANUP(freep) char *file = NULL;
	int r = sign_blobs_read(&j->blobs, j->path, j->c->now, &j->err);

	if (j->blobs.policy != NULL) {
		bool failed = j->blobs.policy->error_count > 0;

		if (report(j, failed) != CLI_OK)
			return failed ? CLI_DENIED : CLI_FAILED;
	}
	if (r == -EINVAL && j->blobs.json.count == j->blobs.files.count && j->blobs.json.count > 0)
		return cli_fail(j->c, j->v, CLI_DENIED, "%s", j->err.text);
	if (r < 0)
		return fail(j);
	if (out == NULL)
		return cli_fail(j->c, j->v, CLI_FAILED, "out of memory");
	r = dir_make(out, DIR_MODE, &j->err);
	if (r == 0)
		r = lock(j, out);
	if (r == 0)
		r = signed_tree_open(out, &j->tree, &j->err);
	if (r == 0)
		r = open_signer(j);
	if (r == 0)
		r = read_previous(j);
	if (r == 0)
		r = fill_manifest(j);
	if (r == 0)
		r = make_envelope(j);
	if (r == 0)
		r = write_all(j);
	if (r < 0)
		return fail(j);
	file = signed_tree_manifest_path(&j->tree, j->manifest.revision);
	return file != NULL ? print(j, &j->manifest, file)
			    : cli_fail(j->c, j->v, CLI_FAILED, "out of memory");
}

static int run(struct cli *c, const struct verb *v, const struct args *a)
{
	CLEANUP(job_done) struct job j = {.c = c, .v = v, .a = a, .path = a->words[0], .lock = -1};

	if (a->values[OPTION_KEY] == NULL)
		return cli_usage(c, v,
				 "--key is missing: who signs; --key policy.key (bailiwick keygen "
				 "makes one) would be right");
	return looks_like_envelope(j.path) ? run_add(&j) : run_policy(&j);
}

const struct verb verb_sign = {
	.name = "sign",
	.words = "PATH --key KEY [--out DIR] [--revision N] [--floor N] [--expires DURATION] ...",
	.summary = "policy into signed documents; or one more signature on a manifest",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.words_min = 1,
	.words_max = 1,
	.run = run,
	.render = render_sign,
};
