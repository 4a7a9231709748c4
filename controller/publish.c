/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signed policy comes in: blobs by digest first, then the manifest that names them. The controller
 * judges as an agent does (controller-client/accept.h, rules/policy.h), so that what agents would
 * refuse is refused here, with the reason, before any of them sees it.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/accept.h"
#include "controller-client/dsse.h"
#include "controller-client/static_path.h"
#include "controller/core_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define OUTSIDE_LISTED_MAX 100

static int digest_of(const void *bytes, size_t len, char ret[SHA256_HEX_LEN], struct err *err)
{
	uint8_t sha[SHA256_LEN];

	if (sha256(bytes, len, sha) < 0)
		return err_set(err, ENOMEM, "out of memory");
	hex_format(sha, sizeof(sha), ret);
	return 0;
}

/* --- blobs ----------------------------------------------------------------------------------- */

static int take_count(void *user, const struct store_row *row)
{
	*(int64_t *)user = store_row_int(row, 0);
	return 0;
}

int core_blob_put(struct core *c, const void *bytes, size_t len, char ret_sha256[SHA256_HEX_LEN],
		  struct err *err)
{
	char hex[SHA256_HEX_LEN];
	int64_t loose = 0;
	int r;

	r = core_ready(c, err);
	if (r < 0)
		return r;
	if (len == 0 || len > MANIFEST_BLOB_SIZE_MAX)
		return err_set(err, E2BIG, "a blob of %zu bytes; 1 to %u would be right", len,
			       MANIFEST_BLOB_SIZE_MAX);
	r = digest_of(bytes, len, hex, err);
	if (r == 0)
		r = store_run(c->store, STORE_BLOBS_LOOSE, NULL, 0, take_count, &loose, err);
	if (r >= 0 && loose >= BLOBS_LOOSE_MAX)
		r = err_set(err, ENOSPC,
			    "%d blobs wait for a manifest already; publish or try again tomorrow",
			    BLOBS_LOOSE_MAX);
	if (r < 0)
		return r;
	r = store_begin(c->store, err);
	if (r < 0)
		return r;
	r = store_order(c->store, STORE_BLOB_ADD, err, store_text(hex), store_blob(bytes, len),
			store_int(core_now(c).s));
	r = core_write_end(c, r, err);
	if (r == 0)
		memcpy(ret_sha256, hex, sizeof(hex));
	return r;
}

/* --- the manifest ----------------------------------------------------------------------------- */

static int verify(struct core *c, const char *text, size_t len, const char *sha256,
		  struct manifest *ret, struct err *err)
{
	const struct accept_context context = {.policy = &c->policy_keys,
					       .trust_domain = c->trust_domain,
					       .node = "",
					       .now = core_now(c)};
	CLEANUP(freep) uint8_t *payload = NULL;
	struct head_pointer want = {0};
	struct known known = {0};
	struct manifest seen = {0};
	enum refusal why;
	bool expired = false;
	size_t payload_len;
	int r;

	if (c->policy_keys.count == 0)
		return err_set(err, EACCES,
			       "no policy key is known here; 'bailiwick-controller init "
			       "--policy-key FILE' adds one");
	r = dsse_verify(text, len, DSSE_TYPE_MANIFEST, "manifest", &c->policy_keys, &payload,
			&payload_len, err);
	if (r == 0)
		r = manifest_decode(payload, payload_len, &seen, err);
	want.revision = seen.revision;
	manifest_done(&seen);
	if (r < 0)
		return r == -ENOMEM ? r : -EINVAL;
	memcpy(want.sha256, sha256, sizeof(want.sha256));
	/* The revision rules are those of this store, below. */
	r = accept_manifest(&known, &context, &want, text, len, ret, &expired, &why, err);
	if (r < 0)
		return r == -ENOMEM ? r : -EINVAL;
	if (!expired)
		return 0;
	manifest_done(ret);
	return err_set(err, EINVAL, "the manifest has expired; one signed anew would be right");
}

static int check_revision(const struct core *c, const struct manifest *m, struct err *err)
{
	if (m->revision <= c->manifest.revision)
		return err_set(err, EEXIST,
			       "revision %" PRIu64 " is not above %" PRIu64
			       ", which is published; %" PRIu64 " or more would be right",
			       m->revision, c->manifest.revision, c->manifest.revision + 1);
	if (m->rollback_floor < c->manifest.rollback_floor)
		return err_set(err, EEXIST,
			       "rollback_floor %" PRIu64 " is below %" PRIu64
			       ", which is published: it never falls",
			       m->rollback_floor, c->manifest.rollback_floor);
	return 0;
}

static int take_size(void *user, const struct store_row *row)
{
	*(int64_t *)user = store_row_int(row, 0);
	return 0;
}

static int check_blobs(struct core *c, const struct manifest *m, struct err *err)
{
	for (size_t i = 0; i < m->policy_count; i++) {
		int64_t size = -1;
		int r = store_ask(c->store, STORE_BLOB_SIZE, take_size, &size, err,
				  store_text(m->policy[i].sha256));

		if (r < 0)
			return r;
		if (size < 0)
			return err_set(err, ENOENT,
				       "blob '%s' (sha256 %s) was not uploaded; it comes before "
				       "the manifest",
				       m->policy[i].name, m->policy[i].sha256);
		/* Agents refuse to read more than the manifest says, or less. */
		if ((uint64_t)size != m->policy[i].size)
			return err_set(err, EINVAL,
				       "blob '%s' has %" PRId64
				       " bytes, the manifest says %" PRIu64,
				       m->policy[i].name, size, m->policy[i].size);
	}
	return 0;
}

static int check_policy(const struct core *c, const struct policy *p, struct err *err)
{
	if (!str_eq(p->trust_domain, c->trust_domain))
		return err_set(err, EINVAL,
			       "the policy is of trust domain '%s', this controller of '%s'",
			       p->trust_domain, c->trust_domain);
	if (p->node_count == 0)
		return err_set(err, EINVAL,
			       "the policy has no 'nodes'; signed policy names them with their "
			       "addresses, else the controller could place anybody anywhere");
	return 0;
}

static int store_manifest(struct core *c, const char *text, size_t len, const char *sha256,
			  const struct manifest *m, const char *who, struct err *err)
{
	json_t *detail = json_pack("{s:I,s:s,s:s}", "revision", (json_int_t)m->revision, "sha256",
				   sha256, "comment", m->comment ? m->comment : "");
	int r;

	r = core_write_begin(c, who, "publish", sha256, detail, err);
	json_decref(detail);
	if (r < 0)
		return r;
	r = store_order(c->store, STORE_MANIFEST_ADD, err, store_int((int64_t)m->revision),
			store_text(sha256), store_blob(text, len), store_int(core_now(c).s),
			store_text(who ? who : ""));
	for (size_t i = 0; i < m->policy_count && r >= 0; i++)
		r = store_order(c->store, STORE_MANIFEST_BLOB_ADD, err,
				store_int((int64_t)m->revision), store_text(m->policy[i].sha256),
				store_text(m->policy[i].name), store_int((int64_t)i));
	if (r >= 0)
		r = store_order(c->store, STORE_MANIFESTS_PRUNE, err, store_int(MANIFESTS_KEPT));
	if (r >= 0)
		r = store_run(c->store, STORE_MANIFEST_BLOBS_PRUNE, NULL, 0, NULL, NULL, err);
	return core_write_end(c, r, err);
}

/* Placements that this policy does not let be: named, so that nobody wonders. */
json_t *places_outside(struct core *c)
{
	const struct place_identity *id;
	json_t *list = json_array();

	for (uint32_t i = 0; (id = views_identity_at(c->views, i)) != NULL; i++) {
		for (size_t j = 0; j < id->place_count; j++) {
			struct err why = {{0}};
			int r = views_check_stored(c->views, id, &id->places[j], &why);

			if (r < 0 && r != -EEXIST && json_array_size(list) < OUTSIDE_LISTED_MAX)
				(void)json_array_append_new(
					list,
					json_pack("{s:s,s:s,s:s,s:s}", "identity", id->path, "node",
						  views_node_at(c->views, id->places[j].node)->name,
						  "source", place_source_name(id->places[j].source),
						  "why", why.text));
		}
	}
	return list;
}

static int answer(struct core *c, bool again, json_t **ret, struct err *err)
{
	*ret = json_pack("{s:i,s:I,s:s,s:b,s:I,s:o}", "version", 1, "revision",
			 (json_int_t)c->manifest.revision, "sha256", c->manifest_sha256,
			 "unchanged", (int)again, "nodes", (json_int_t)views_node_count(c->views),
			 "outside", places_outside(c));
	return *ret ? 0 : err_set(err, ENOMEM, "out of memory");
}

static int publish(struct core *c, const char *text, size_t len, const char *sha256,
		   struct manifest *m, const char *who, struct err *err)
{
	CLEANUP(policy_freep) struct policy *p = NULL;
	int r;

	r = check_revision(c, m, err);
	if (r == 0)
		r = check_blobs(c, m, err);
	if (r == 0)
		r = core_policy_build(c, m, core_now(c), &p, err);
	if (r == 0)
		r = check_policy(c, p, err);
	if (r == 0)
		r = store_manifest(c, text, len, sha256, m, who, err);
	if (r < 0)
		return r;
	if (core_policy_use(c, TAKE_PTR(p), m, sha256) < 0)
		c->lost = true;
	heads_all_changed(c);
	return 0;
}

int core_publish(struct core *c, const char *manifest, size_t len, const char *who, json_t **ret,
		 struct err *err)
{
	char sha256[SHA256_HEX_LEN];
	struct manifest m = {0};
	int r;

	r = core_ready(c, err);
	if (r == 0)
		r = digest_of(manifest, len, sha256, err);
	if (r < 0)
		return r;
	/* The same again is no mistake. */
	if (str_eq(sha256, c->manifest_sha256))
		return answer(c, true, ret, err);
	r = verify(c, manifest, len, sha256, &m, err);
	if (r < 0)
		return r;
	r = publish(c, manifest, len, sha256, &m, who, err);
	manifest_done(&m);
	return r < 0 ? r : answer(c, false, ret, err);
}
