/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Placements from files below the data directory. */
#include "controller/place_files.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/core.h"
#include "tests/unit/core_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void write_file(struct core_fixture *f, const char *name, const char *text)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/placements", f->dir);
	(void)mkdir(path, 0700);
	(void)snprintf(path, sizeof(path), "%s/placements/%s", f->dir, name);
	CHECK_OK(file_write_durable(AT_FDCWD, path, text, strlen(text), 0600, &f->err), &f->err);
	core_tick(f->core);
}

static void remove_file(struct core_fixture *f, const char *name)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/placements/%s", f->dir, name);
	CHECK_INT(unlink(path), 0);
	core_tick(f->core);
}

static const char web_and_api[] = "placements:\n"
				  "  - {identity: prod/web, node: n1, addresses: [10.0.0.1]}\n"
				  "  - {identity: prod/api, node: n2, addresses: [10.0.0.2]}\n";

TEST(placements_of_files_are_in_force_and_follow_them)
{
	struct core_fixture f;

	core_setup_published(&f);
	write_file(&f, "site.yaml", web_and_api);
	CHECK_STR(core_view_text(&f, "n1"), "web | api@n2");
	core_forget_woken(&f);
	core_tick(f.core);
	CHECK_UINT(f.woken_count, 0);
	write_file(&f, "more.json",
		   "{\"placements\": [{\"identity\": \"ops/log\", \"node\": \"n5\", "
		   "\"addresses\": [\"10.0.0.5\"]}]}");
	CHECK_STR(core_view_text(&f, "n1"), "web | log@n5 api@n2");
	write_file(&f, "site.yaml",
		   "placements:\n  - {identity: prod/web, node: n1, addresses: [10.0.0.1]}\n");
	CHECK_STR(core_view_text(&f, "n1"), "web | log@n5");
	remove_file(&f, "more.json");
	CHECK_STR(core_view_text(&f, "n1"), "web |");
	core_teardown(&f);
}

TEST(files_are_in_force_after_a_restart_and_a_kill)
{
	struct core_fixture f;

	core_setup_published(&f);
	write_file(&f, "site.yaml", web_and_api);
	core_reopen(&f, true);
	CHECK_STR(core_view_text(&f, "n1"), "web | api@n2");
	core_teardown(&f);
}

TEST(a_bad_file_changes_nothing_and_is_told_with_its_line)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"placements:\n  - {identity: prod/web, node: m1}\n",
		 "site.yaml:2:5: signed policy bounds 'prod/web' to nodes n*"},
		{"placements:\n  - {identity: prod/wob, node: n1}\n", "site.yaml:2:5: no identity"},
		{"placements:\n  - {identity: prod/web, node: n1, adresses: []}\n", "unknown key"},
		{"placements:\n  - {identity: prod/web, node: n1, addresses: [10.0.0]}\n",
		 "site.yaml:2:48: not an address"},
		{"placements:\n  - {identity: prod/web}\n", "'node' is missing"},
		{"placements:\n  - 7\n", "not an entry"},
		{"placement: []\n", "unknown key"},
		{"placements: 7\n", "no list"},
		{"[]\n", "not a map"},
		{"placements: [\n", "site.yaml:"},
		{"placements:\n  - &a {identity: prod/web, node: n1}\n  - *a\n", "site.yaml:2:"},
		{"placements:\n  - {identity: prod/web, node: n1}\n"
		 "  - {identity: prod/web, node: n1}\n",
		 "site.yaml:3:5: this identity is placed on this node already"},
		{"placements:\n  - {identity: ../web, node: n1}\n", "site.yaml:2:"},
	};
	struct core_fixture f;
	json_t *s, *files;

	core_setup_published(&f);
	write_file(&f, "site.yaml", web_and_api);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		write_file(&f, "site.yaml", cases[i].text);
		CHECK(f.core->files.failed);
		CHECK_CONTAINS(f.core->files.fault.text, cases[i].says);
		CHECK_STR(core_view_text(&f, "n1"), "web | api@n2");
	}
	s = core_fleet_status(f.core, &f.err);
	files = json_object_get(s, "files");
	CHECK(json_is_false(json_object_get(files, "ok")));
	CHECK(json_is_string(json_object_get(files, "error")));
	json_decref(s);
	write_file(&f, "site.yaml", "placements: []\n");
	CHECK(!f.core->files.failed);
	CHECK_STR(core_view_text(&f, "n1"), "|");
	core_teardown(&f);
}

TEST(links_and_other_files_are_not_read)
{
	char target[512], path[512];
	struct core_fixture f;

	core_setup_published(&f);
	write_file(&f, "notes.txt", "placements: 7\n");
	write_file(&f, ".hidden.yaml", "placements: 7\n");
	CHECK(!f.core->files.failed);
	(void)snprintf(target, sizeof(target), "%s/controller.key", f.dir);
	(void)snprintf(path, sizeof(path), "%s/placements/link.yaml", f.dir);
	CHECK_INT(symlink(target, path), 0);
	core_tick(f.core);
	CHECK_CONTAINS(f.core->files.fault.text, "link.yaml: not a regular file");
	core_teardown(&f);
}

TEST(a_file_waits_for_the_policy_that_lets_it)
{
	struct core_fixture f;

	core_setup(&f);
	write_file(&f, "site.yaml", web_and_api);
	CHECK(!f.core->files.failed);
	CHECK_OK(core_publish_next(&f, 1, core_policy), &f.err);
	core_tick(f.core);
	CHECK_STR(core_view_text(&f, "n1"), "web | api@n2");
	core_teardown(&f);
}

TEST(what_a_file_places_is_taken_out_there)
{
	CLEANUP(view_freep) struct view *v = NULL;
	struct core_fixture f;

	core_setup_published(&f);
	write_file(&f, "site.yaml", web_and_api);
	CHECK_INT(core_take(&f, "prod/web", "n1"), -EEXIST);
	CHECK_CONTAINS(f.err.text, "a file below");
	/* An operator may say other addresses for the same node; they win. */
	CHECK_OK(core_put(&f, "prod/web", "n1", "10.0.0.9"), &f.err);
	v = core_view_of(&f, "n2");
	CHECK_UINT(v->peer_count, 1);
	CHECK_UINT(v->peers[0].address_count, 1);
	CHECK_UINT(v->peers[0].addresses[0].bytes[3], 9);
	CHECK_OK(core_take(&f, "prod/web", "n1"), &f.err);
	CHECK_STR(core_view_text(&f, "n2"), "api | web@n1");
	core_teardown(&f);
}
