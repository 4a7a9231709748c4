/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Policy into blobs, and a signed tree read back; the verb itself: tests/netns/authoring.sh. */
#include "cli/sign_blobs.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/signed_tree.h"
#include "cli/source.h"
#include "controller-client/dsse.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const struct wall now = {.s = FIXTURE_NOW_S};

static const char policy_text[] =
	"trust_domain: acme.example\n"
	"defaults: {assurance: mapped}\n"
	"identities:\n"
	"  - {name: a, path: p/a, workload: [{unit: a.service}]}\n"
	"  - {name: b, path: p/b, workload: [{unit: b.service}], serves: [tcp/80]}\n"
	"nodes: [{pattern: 'n*', addresses: [10.0.0.0/24]}]\n"
	"rules:\n"
	"  - {name: r, from: [a], to: [b], services: [tcp/80], purpose: t, owner: o}\n";

/* Good for a few calls. */
static const char *path_of(const char *name)
{
	static char paths[4][300];
	static unsigned next;
	char *path = paths[next++ % ARRAY_LEN(paths)];

	(void)snprintf(path, sizeof(paths[0]), "%s/%s", test_dir(), name);
	return path;
}

static void put(const char *name, const char *text)
{
	struct err err = {0};

	CHECK_OK(file_write_durable(AT_FDCWD, path_of(name), text, strlen(text), 0644, &err), &err);
}

TEST(each_file_is_a_blob_with_its_digest)
{
	CLEANUP(sign_blobs_done) struct sign_blobs b = {0};
	char hex[SHA256_HEX_LEN];
	uint8_t digest[SHA256_LEN];
	struct err err = {0};

	CHECK_INT(mkdir(path_of("site"), 0700), 0);
	CHECK_INT(mkdir(path_of("site/eu"), 0700), 0);
	put("site/main.yaml", policy_text);
	put("site/eu/more.yaml", "trust_domain: acme.example\n");
	put("site/eu/notes.txt", "no policy");
	put("site/.hidden.yaml", "no policy either");
	CHECK_OK(sign_blobs_read(&b, path_of("site"), now, &err), &err);
	CHECK_UINT(b.files.count, 2);
	CHECK_STR(b.refs[0].name, "eu.more.json");
	CHECK_STR(b.refs[1].name, "main.json");
	for (size_t i = 0; i < 2; i++) {
		CHECK_UINT(b.refs[i].size, b.json.entries[i].len);
		CHECK_INT(sha256(b.json.entries[i].text, b.json.entries[i].len, digest), 0);
		hex_format(digest, sizeof(digest), hex);
		CHECK_STR(b.refs[i].sha256, hex);
	}
}

TEST(files_that_would_be_called_alike_are_refused)
{
	CLEANUP(sign_blobs_done) struct sign_blobs b = {0};
	struct err err = {0};

	CHECK_INT(mkdir(path_of("same"), 0700), 0);
	CHECK_INT(mkdir(path_of("same/eu"), 0700), 0);
	put("same/eu.more.yaml", "trust_domain: acme.example\n");
	put("same/eu/more.yaml", "trust_domain: acme.example\n");
	CHECK_INT(sign_blobs_read(&b, path_of("same"), now, &err), -EEXIST);
	CHECK_CONTAINS(err.text, "would both be called eu.more.yaml");
}

TEST(directories_nested_too_deep_are_refused)
{
	CLEANUP(sign_blobs_done) struct sign_blobs b = {0};
	char name[200] = "deep";
	struct err err = {0};

	for (size_t i = 0; i < POLICY_DIRS_MAX + 2; i++) {
		CHECK_INT(mkdir(path_of(name), 0700), 0);
		(void)snprintf(name + strlen(name), sizeof(name) - strlen(name), "/d");
	}
	CHECK_INT(sign_blobs_read(&b, path_of("deep"), now, &err), -E2BIG);
	CHECK_CONTAINS(err.text, "nested deeper than 8");
}

/* A tree of one revision, not signed by anybody in particular. */
static void make_tree(const char *name)
{
	CLEANUP(freep) char *dir = mem_strdup(path_of(name));
	CLEANUP(sign_blobs_done) struct sign_blobs b = {0};
	CLEANUP(freep) char *payload = NULL;
	CLEANUP(freep) char *envelope = NULL;
	static const struct dsse_signature signature = {.keyid = "k", .bytes = {1}, .len = 1};
	struct signed_tree t = {0};
	struct manifest m = {.revision = 3, .issued = now, .expires = {FIXTURE_NOW_S + 60}};
	char domain[] = "acme.example";
	struct err err = {0};
	size_t len;

	put("p.yaml", policy_text);
	CHECK_OK(sign_blobs_read(&b, path_of("p.yaml"), now, &err), &err);
	m.trust_domain = domain;
	m.policy = b.refs;
	m.policy_count = 1;
	CHECK_OK(manifest_encode(&m, &payload, &len, &err), &err);
	CHECK_OK(dsse_make(DSSE_TYPE_MANIFEST, payload, len, &signature, 1, &envelope, &len, &err),
		 &err);
	CHECK_OK(signed_tree_open(dir, &t, &err), &err);
	CHECK_UINT(t.count, 0);
	CHECK_OK(signed_tree_write_blob(&t, b.refs[0].sha256, b.json.entries[0].text,
					b.json.entries[0].len, &err),
		 &err);
	CHECK_OK(signed_tree_write_manifest(&t, 3, envelope, len, &err), &err);
	signed_tree_done(&t);
}

TEST(a_signed_tree_is_read_back_as_written)
{
	CLEANUP(signed_policy_done) struct signed_policy s = {0};
	CLEANUP(policy_files_done) struct policy_files files = {0};
	CLEANUP(signed_tree_done) struct signed_tree t = {0};
	CLEANUP(policy_freep) struct policy *p = NULL;
	struct err err = {0};

	CHECK(!signed_tree_is(path_of("tree")));
	make_tree("tree");
	put("tree/v1/manifests/note", "not a revision");
	put("tree/v1/manifests/03", "nor this");
	CHECK(signed_tree_is(path_of("tree")));
	CHECK(signed_tree_is(path_of("tree/v1")));
	CHECK_OK(signed_tree_open(path_of("tree"), &t, &err), &err);
	CHECK_UINT(t.count, 1);
	CHECK_UINT(t.revisions[0], 3);
	CHECK_OK(signed_tree_read(&t, 0, NULL, &files, &s, &err), &err);
	CHECK(!s.verified);
	CHECK_UINT(s.manifest.revision, 3);
	CHECK_UINT(files.count, 1);
	CHECK_STR(files.entries[0].name, "p.json");
	CHECK_OK(policy_files_check(&files, POLICY_BY_NAME, now, &p, &err), &err);
	CHECK_UINT(p->rule_count, 1);
	CHECK_INT(signed_tree_read(&t, 2, NULL, &files, &s, &err), -ENOENT);
}

TEST(no_keys_verify_nothing)
{
	CLEANUP(signed_policy_done) struct signed_policy s = {0};
	CLEANUP(policy_files_done) struct policy_files files = {0};
	CLEANUP(signed_tree_done) struct signed_tree t = {0};
	const struct keyring none = {.threshold = 0};
	struct err err = {0};

	make_tree("unsigned");
	CHECK_OK(signed_tree_open(path_of("unsigned"), &t, &err), &err);
	CHECK_INT(signed_tree_read(&t, 0, &none, &files, &s, &err), -EKEYREJECTED);
	CHECK_UINT(files.count, 0);
}

TEST(a_word_may_name_a_revision)
{
	CLEANUP(freep) char *dir = NULL;
	CLEANUP(freep) char *word = NULL;
	struct err err = {0};
	uint64_t revision;

	make_tree("words");
	word = mem_printf("%s@3", path_of("words"));
	CHECK_OK(signed_tree_word(word, &dir, &revision, &err), &err);
	CHECK_STR(dir, path_of("words"));
	CHECK_UINT(revision, 3);
	freep(&dir);
	freep(&word);
	/* What is there under the whole name comes first. */
	put("file@3", "x");
	word = mem_strdup(path_of("file@3"));
	CHECK_OK(signed_tree_word(word, &dir, &revision, &err), &err);
	CHECK_STR(dir, word);
	CHECK_UINT(revision, 0);
	freep(&dir);
	freep(&word);
	word = mem_printf("%s@3", test_dir());
	CHECK_INT(signed_tree_word(word, &dir, &revision, &err), -ENOENT);
	CHECK_CONTAINS(err.text, "is no signed tree");
}

static int read_all(const char *policy, const char *tree)
{
	CLEANUP(sign_blobs_done) struct sign_blobs b = {0};
	CLEANUP(policy_files_done) struct policy_files files = {0};
	CLEANUP(source_done) struct source s = {0};
	struct err err = {0};
	int r = sign_blobs_read(&b, policy, now, &err);

	if (r == 0)
		r = source_read(&s, tree, NULL, &files, &err);
	return r;
}

OOM_TEST(blobs_and_trees_without_memory)
{
	static char policy[300], tree[300];
	int r;

	if (policy[0] == '\0') {
		mem_fail_after(0);
		make_tree("oom");
		(void)snprintf(tree, sizeof(tree), "%s", path_of("oom"));
		(void)snprintf(policy, sizeof(policy), "%s", path_of("p.yaml"));
		mem_fail_after(1);
	}
	r = read_all(policy, tree);
	/* base/json.h: jansson takes some failed allocations for a bad token. */
	return r == -EBADMSG && mem_has_failed() ? -ENOMEM : r;
}
