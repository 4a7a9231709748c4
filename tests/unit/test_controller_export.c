/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The static export: whole at every moment, and what agents need is in it. */
#include "base/file.h"
#include "base/mem.h"
#include "controller-client/dsse.h"
#include "controller-client/manifest.h"
#include "controller-client/static_path.h"
#include "controller/core.h"
#include "tests/unit/core_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void export_to(struct core_fixture *f, const char *dir)
{
	json_decref(f->answer);
	f->answer = NULL;
	CHECK_OK(core_export(f->core, dir, &f->answer, &f->err), &f->err);
}

static int64_t answered(const struct core_fixture *f, const char *key)
{
	return json_integer_value(json_object_get(f->answer, key));
}

static char *read_text(const char *dir, const char *path, size_t *ret_len)
{
	struct err err = {{0}};
	char whole[1024];
	char *text;

	(void)snprintf(whole, sizeof(whole), "%s/%s", dir, path);
	CHECK_OK(file_read(AT_FDCWD, whole, 1 << 20, &text, ret_len, &err), &err);
	return text;
}

/* As an agent does: head, its manifest, its blobs, its view; every digest must be right. */
static void check_blob(const char *dir, const char *wanted)
{
	CLEANUP(freep) char *bytes = NULL;
	char path[STATIC_PATH_MAX], hex[SHA256_HEX_LEN];
	uint8_t digest[SHA256_LEN];
	size_t len;

	bytes = read_text(dir, static_path_blob(path, wanted), &len);
	CHECK_INT(sha256(bytes, len, digest), 0);
	hex_format(digest, sizeof(digest), hex);
	CHECK_STR(hex, wanted);
}

static void check_node(struct core_fixture *f, const char *dir, const char *node)
{
	CLEANUP(freep) char *text = NULL, *manifest_text = NULL;
	CLEANUP(freep) uint8_t *payload = NULL, *manifest_payload = NULL;
	struct keyring keys = {.count = 1, .threshold = 1};
	char path[STATIC_PATH_MAX];
	size_t len, payload_len;
	struct manifest m;
	struct head h;

	keys.keys[0] = f->core->key.public;
	text = read_text(dir, static_path_head(path, node), &len);
	CHECK_OK(dsse_verify(text, len, DSSE_TYPE_HEAD, "head", &keys, &payload, &payload_len,
			     &f->err),
		 &f->err);
	CHECK_OK(head_decode(payload, payload_len, &h, &f->err), &f->err);
	check_blob(dir, h.view_sha256);
	keys.keys[0] = f->key.public;
	manifest_text = read_text(dir, static_path_manifest(path, h.stable.revision), &len);
	CHECK_OK(dsse_verify(manifest_text, len, DSSE_TYPE_MANIFEST, "manifest", &keys,
			     &manifest_payload, &payload_len, &f->err),
		 &f->err);
	CHECK_OK(manifest_decode(manifest_payload, payload_len, &m, &f->err), &f->err);
	for (size_t i = 0; i < m.policy_count; i++)
		check_blob(dir, m.policy[i].sha256);
	manifest_done(&m);
	head_done(&h);
}

static void place_two(struct core_fixture *f)
{
	CHECK_OK(core_put(f, "prod/web", "n1", "10.0.0.1"), &f->err);
	CHECK_OK(core_put(f, "prod/api", "n2", "10.0.0.2"), &f->err);
}

static void export_dir(char dir[256])
{
	(void)snprintf(dir, 256, "%s/www", test_dir());
}

TEST(an_export_holds_all_that_nodes_need)
{
	struct core_fixture f;
	char dir[256];

	core_setup_published(&f);
	place_two(&f);
	export_dir(dir);
	export_to(&f, dir);
	CHECK_INT(answered(&f, "heads"), 2);
	check_node(&f, dir, "n1");
	check_node(&f, dir, "n2");
	core_teardown(&f);
}

TEST(the_same_export_again_writes_nothing)
{
	struct core_fixture f;
	char dir[256];

	core_setup_published(&f);
	place_two(&f);
	export_dir(dir);
	export_to(&f, dir);
	core_clock_add(60000);
	export_to(&f, dir);
	CHECK_INT(answered(&f, "written"), 0);
	CHECK_INT(answered(&f, "removed"), 0);
	/* One placement that concerns both: two heads and two views. */
	CHECK_OK(core_put(&f, "prod/web", "n1", "10.0.0.9"), &f.err);
	export_to(&f, dir);
	CHECK_INT(answered(&f, "written"), 4);
	core_teardown(&f);
}

TEST(numbers_that_were_exported_survive_a_kill)
{
	struct core_fixture f;
	uint64_t before;
	char dir[256];

	core_setup_published(&f);
	place_two(&f);
	export_dir(dir);
	export_to(&f, dir);
	before = core_sequence_of(&f, "n1");
	CHECK_INT(core_sql(&f, "SELECT count(*) FROM heads"), 2);
	core_reopen(&f, true);
	CHECK(core_sequence_of(&f, "n1") > before);
	core_teardown(&f);
}

TEST(the_last_three_revisions_and_what_live_heads_name_stay)
{
	char dir[256], path[1024], rel[STATIC_PATH_MAX], view[SHA256_HEX_LEN];
	struct core_fixture f;
	struct head h;
	int64_t now_ms = (int64_t)time(NULL) * 1000;

	core_setup(&f);
	core_clock_set(now_ms); /* files have the real one */
	CHECK_OK(core_publish_next(&f, 1, core_policy), &f.err);
	place_two(&f);
	export_dir(dir);
	export_to(&f, dir);
	core_head_of(&f, "n1", &h);
	memcpy(view, h.view_sha256, sizeof(view));
	head_done(&h);
	CHECK_OK(core_put(&f, "prod/api", "n2", "10.0.0.22"), &f.err);
	for (uint64_t revision = 2; revision <= 5; revision++)
		CHECK_OK(core_publish_next(&f, revision, core_policy), &f.err);
	core_clock_add(12 * 3600 * 1000LL);
	export_to(&f, dir);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, static_path_blob(rel, view));
	CHECK_INT(access(path, F_OK), 0);
	/* Long after any head that names them has ended. */
	core_clock_add(3 * 86400 * 1000LL);
	export_to(&f, dir);
	CHECK_INT(access(path, F_OK), -1);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, static_path_manifest(rel, 1));
	CHECK_INT(access(path, F_OK), -1);
	for (uint64_t revision = 3; revision <= 5; revision++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir,
			       static_path_manifest(rel, revision));
		CHECK_INT(access(path, F_OK), 0);
	}
	check_node(&f, dir, "n1");
	core_teardown(&f);
}

TEST(what_an_export_did_not_write_it_does_not_remove)
{
	char dir[256], path[512];
	struct core_fixture f;
	FILE *file;

	core_setup_published(&f);
	place_two(&f);
	export_dir(dir);
	export_to(&f, dir);
	(void)snprintf(path, sizeof(path), "%s/v1/heads/README", dir);
	file = fopen(path, "we");
	CHECK(file != NULL);
	(void)fclose(file);
	core_clock_set((int64_t)time(NULL) * 1000 + 3 * 86400 * 1000LL);
	export_to(&f, dir);
	CHECK_INT(access(path, F_OK), 0);
	core_teardown(&f);
}

TEST(a_banned_node_is_not_exported)
{
	char dir[256], path[512], rel[STATIC_PATH_MAX];
	struct core_fixture f;

	core_setup_published(&f);
	place_two(&f);
	CHECK_OK(core_node_ban(f.core, "n1", true, "op", &f.err), &f.err);
	export_dir(dir);
	export_to(&f, dir);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, static_path_head(rel, "n1"));
	CHECK_INT(access(path, F_OK), -1);
	check_node(&f, dir, "n2");
	core_teardown(&f);
}

TEST(an_export_needs_a_policy_and_an_absolute_path)
{
	struct core_fixture f;

	core_setup(&f);
	CHECK_INT(core_export(f.core, "/tmp/x", &f.answer, &f.err), -ENOENT);
	CHECK_OK(core_publish_next(&f, 1, core_policy), &f.err);
	json_decref(f.answer);
	f.answer = NULL;
	CHECK_INT(core_export(f.core, "relative", &f.answer, &f.err), -EINVAL);
	CHECK_INT(core_export(f.core, "/proc/nowhere", &f.answer, &f.err) < 0, 1);
	core_teardown(&f);
}

/* --- in steps ----------------------------------------------------------------------------------
 */

#define STEPS_MAX 1000

static void steps(struct core_fixture *f, struct exporting *e, size_t max)
{
	for (size_t i = 0; i < max; i++)
		CHECK_OK(core_export_step(e, 0, &f->err), &f->err);
}

static void finish(struct core_fixture *f, struct exporting *e)
{
	int r = 1;

	for (size_t i = 0; i < STEPS_MAX && r > 0; i++) {
		r = core_export_step(e, 0, &f->err);
		CHECK_OK(r, &f->err);
	}
	CHECK_INT(r, 0);
	core_export_free(e);
}

static struct exporting *begun(struct core_fixture *f, const char *dir)
{
	struct exporting *e;

	CHECK_OK(core_put(f, "web", "n1", "10.0.0.1"), &f->err);
	CHECK_OK(core_put(f, "api", "n2", "10.0.0.2"), &f->err);
	CHECK_OK(core_put(f, "db", "n4", "10.0.0.4"), &f->err);
	CHECK_OK(core_export_begin(f->core, dir, &e, &f->err), &f->err);
	return e;
}

static void check_all(struct core_fixture *f, const char *dir)
{
	check_node(f, dir, "n1");
	check_node(f, dir, "n2");
	check_node(f, dir, "n4");
}

static void decode_head(struct core_fixture *f, const char *dir, const char *node, struct head *ret)
{
	struct keyring keys = {.count = 1, .threshold = 1};
	CLEANUP(freep) uint8_t *payload = NULL;
	CLEANUP(freep) char *text = NULL;
	char path[STATIC_PATH_MAX];
	size_t len, payload_len;

	keys.keys[0] = f->core->key.public;
	text = read_text(dir, static_path_head(path, node), &len);
	CHECK_OK(dsse_verify(text, len, DSSE_TYPE_HEAD, "head", &keys, &payload, &payload_len,
			     &f->err),
		 &f->err);
	CHECK_OK(head_decode(payload, payload_len, ret, &f->err), &f->err);
}

TEST(a_quarantine_between_two_steps_is_in_force_at_once_and_in_the_export)
{
	char dir[300];
	struct core_fixture f;
	struct exporting *e;
	struct head h;

	core_setup_published(&f);
	(void)snprintf(dir, sizeof(dir), "%s/static", f.dir);
	e = begun(&f, dir);
	steps(&f, e, 3);
	json_decref(f.answer);
	f.answer = NULL;
	CHECK_OK(core_quarantine(f.core, "api", NULL, "test", "op", &f.answer, &f.err), &f.err);
	core_head_of(&f, "n2", &h);
	CHECK_UINT(h.overlay.quarantined_count, 1);
	head_done(&h);
	finish(&f, e);
	check_all(&f, dir);
	decode_head(&f, dir, "n2", &h);
	CHECK_UINT(h.overlay.quarantined_count, 1);
	head_done(&h);
	core_teardown(&f);
}

/* At every single step: no head may name a view that is not there. */
TEST(whatever_is_placed_between_two_steps_the_tree_is_whole)
{
	for (size_t at = 0; at < 14; at++) {
		char dir[300];
		struct core_fixture f;
		struct exporting *e;

		core_setup_published(&f);
		(void)snprintf(dir, sizeof(dir), "%s/static", f.dir);
		e = begun(&f, dir);
		steps(&f, e, at);
		CHECK_OK(core_put(&f, "api", "n2", "10.0.0.22"), &f.err);
		(void)core_sequence_of(&f, "n1");
		finish(&f, e);
		check_all(&f, dir);
		core_teardown(&f);
	}
}

TEST(another_policy_between_two_steps_begins_again)
{
	char dir[300];
	struct core_fixture f;
	struct exporting *e;
	struct head h;

	core_setup_published(&f);
	(void)snprintf(dir, sizeof(dir), "%s/static", f.dir);
	e = begun(&f, dir);
	steps(&f, e, 7);
	CHECK_OK(core_publish_next(&f, 2, core_policy), &f.err);
	finish(&f, e);
	check_all(&f, dir);
	decode_head(&f, dir, "n1", &h);
	CHECK_UINT(h.stable.revision, 2);
	head_done(&h);
	core_teardown(&f);
}
