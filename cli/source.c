/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/source.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void source_done(struct source *s)
{
	signed_tree_done(&s->tree);
	signed_policy_done(&s->signed_policy);
	*s = (struct source){0};
}

bool source_is_signed(const char *word)
{
	CLEANUP(freep) char *dir = NULL;
	uint64_t revision;

	return signed_tree_word(word, &dir, &revision, NULL) == 0 && signed_tree_is(dir);
}

int source_read(struct source *s, const char *word, const struct keyring *trust,
		struct policy_files *files, struct err *err)
{
	CLEANUP(signed_tree_done) struct signed_tree tree = {0};
	CLEANUP(freep) char *dir = NULL;
	uint64_t revision = 0;
	int r = signed_tree_word(word, &dir, &revision, err);

	if (r < 0)
		return r;
	r = signed_tree_open(dir, &tree, err);
	if (r < 0)
		return r;
	if (revision == 0 && tree.count == 0)
		return policy_files_read(files, dir, true, err);
	signed_tree_done(&s->tree);
	s->tree = tree;
	tree = (struct signed_tree){0};
	s->is_signed = true;
	return signed_tree_read(&s->tree, revision, trust, files, &s->signed_policy, err);
}

int source_trust(const struct args *a, size_t option_trust, size_t option_threshold,
		 struct keyring *ret, bool *ret_given, struct err *err)
{
	const char *threshold = a->values[option_threshold], *path;
	int r = 0;

	ret->threshold = 1;
	*ret_given = a->values[option_trust] != NULL;
	for (size_t iter = 0; r == 0 && (path = args_next(a, option_trust, &iter)) != NULL;) {
		struct public_key key = {0};

		r = public_key_load(path, &key, err);
		if (r == 0)
			r = keyring_add(ret, &key, err);
		public_key_done(&key);
		if (r == -EEXIST)
			(void)err_set(err, EEXIST, "--trust %s: the same key twice; each once",
				      path);
	}
	if (r < 0 || threshold == NULL)
		return r;
	if (text_u32(threshold, 1, KEYRING_MAX, &ret->threshold) < 0 || ret->threshold > ret->count)
		return err_set(err, EINVAL,
			       "--threshold %s: there are %zu keys under --trust; 1 to as many "
			       "would be right",
			       threshold, ret->count);
	return 0;
}

json_t *source_signed_json(const struct source *s)
{
	const struct manifest *m = &s->signed_policy.manifest;
	char issued[RFC3339_TEXT_MAX], expires[RFC3339_TEXT_MAX];
	json_t *revoked = json_array();

	for (size_t i = 0; i < m->revoked_node_count; i++)
		(void)json_array_append_new(revoked, json_string(m->revoked_nodes[i]));
	return json_pack("{s:s, s:I, s:s, s:b, s:s, s:I, s:s, s:s, s:o, s:s?}", "file",
			 s->signed_policy.path, "revision", (json_int_t)m->revision, "digest",
			 s->signed_policy.digest, "verified", s->signed_policy.verified,
			 "trust_domain", m->trust_domain, "rollback_floor",
			 (json_int_t)m->rollback_floor, "issued", rfc3339_format(issued, m->issued),
			 "expires", rfc3339_format(expires, m->expires), "revoked_nodes", revoked,
			 "comment", m->comment);
}
