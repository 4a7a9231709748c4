/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/cgroup.h"

#include "base/mem.h"
#include "rules/host.h"
#include "tests/unit/cgroup_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define WAIT_US  1000000
#define STORM    500
#define STORM_NS 5000000000LL

/* --- mountinfo ------------------------------------------------------------------------------- */

TEST(the_mount_is_found_among_others)
{
	static const char text[] =
		"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
		"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
		"32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
		"41 31 0:38 / /sys/fs/cgroup/unified rw shared:4 master:1 - cgroup2 none rw\n";
	struct cgroup_mount m;

	CHECK_INT(cgroup_mount_parse(text, &m), 0);
	CHECK_STR(m.path, "/sys/fs/cgroup/unified");
	CHECK_UINT(m.level, 0);
}

TEST(a_mount_that_shows_the_real_root_is_preferred)
{
	static const char text[] = "40 31 0:38 /a/b /mnt/part rw - cgroup2 none rw\n"
				   "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 none rw\n"
				   "42 31 0:38 /c /mnt/other rw - cgroup2 none rw\n";
	struct cgroup_mount m;

	CHECK_INT(cgroup_mount_parse(text, &m), 0);
	CHECK_STR(m.path, "/sys/fs/cgroup");
}

TEST(levels_count_from_the_real_root)
{
	struct cgroup_mount m;

	CHECK_INT(cgroup_mount_parse("1 1 0:1 /a/b /mnt rw - cgroup2 none rw\n", &m), 0);
	CHECK_UINT(m.level, 2);
}

TEST(escaped_mount_points_are_read)
{
	struct cgroup_mount m;

	CHECK_INT(cgroup_mount_parse("1 1 0:1 / /mnt/a\\040b\\134c rw - cgroup2 none rw\n", &m), 0);
	CHECK_STR(m.path, "/mnt/a b\\c");
}

TEST(without_a_usable_mount_there_is_an_error)
{
	struct cgroup_mount m;

	CHECK_INT(cgroup_mount_parse("", &m), -ENOENT);
	CHECK_INT(cgroup_mount_parse("\n\n - \n1 1 - cgroup2\n", &m), -ENOENT);
	CHECK_INT(cgroup_mount_parse("1 1 0:1 / /cgroup2 rw - tmpfs cgroup2 rw\n", &m), -ENOENT);
	CHECK_INT(cgroup_mount_parse("1 1 0:1 /../.. /mnt rw - cgroup2 none rw\n", &m), -EXDEV);
}

/* --- a tree that follows real cgroups --------------------------------------------------------- */

struct follower {
	sd_event *event;
	struct cgroup_tree *tree;
	struct cgroup_handler handler;
	unsigned added, removed, settled, emptied, filled;
	char closed[64]; /* children of a cgroup of this name are not to be known */
};

static void on_added(void *user, struct cgroup *c)
{
	struct follower *f = user;

	(void)c;
	f->added++;
}

static void on_removed(void *user, struct cgroup *c)
{
	struct follower *f = user;

	(void)c;
	f->removed++;
}

static void on_populated(void *user, struct cgroup *c, bool populated)
{
	struct follower *f = user;

	(void)c;
	*(populated ? &f->filled : &f->emptied) += 1;
}

static bool on_descend(void *user, const struct cgroup *c)
{
	const struct follower *f = user;
	const char *name = strrchr(c->path, '/');

	return f->closed[0] == '\0' || name == NULL || strcmp(name + 1, f->closed) != 0;
}

static void on_settled(void *user)
{
	struct follower *f = user;

	f->settled++;
}

static void follow(struct follower *f, bool no_fanotify, const char *closed)
{
	struct cgroup_counters counters;
	struct err err = {0};

	*f = (struct follower){0};
	(void)snprintf(f->closed, sizeof(f->closed), "%s", closed);
	f->handler = (struct cgroup_handler){.data_size = 8,
					     .added = on_added,
					     .removed = on_removed,
					     .populated = on_populated,
					     .descend = on_descend,
					     .settled = on_settled,
					     .user = f};
	CHECK(sd_event_new(&f->event) >= 0);
	CHECK_OK(cgroup_tree_open(fixture_root(), no_fanotify, f->event, &f->handler, &f->tree,
				  &err),
		 &err);
	cgroup_tree_counters(f->tree, &counters);
	if (!no_fanotify && !counters.fanotify)
		test_skip("fanotify does not work on cgroups here");
	CHECK_INT(cgroup_tree_walk(f->tree), 0);
}

static void follower_done(struct follower *f)
{
	cgroup_tree_free(f->tree);
	sd_event_unref(f->event);
}

/* Runs the loop until nothing is waiting. */
static void settle(struct follower *f)
{
	while (sd_event_run(f->event, 0) > 0)
		;
}

static const struct cgroup *known(const struct follower *f, const char *name)
{
	return cgroup_tree_find(f->tree, fixture_id(name));
}

static void check_following(bool no_fanotify)
{
	CLEANUP(follower_done) struct follower f;
	const struct cgroup *c;
	uint64_t before;

	fixture_cgroups();
	fixture_make("old/nested");
	follow(&f, no_fanotify, "");
	CHECK(known(&f, "old/nested") != NULL);

	/* Nested creation, before the parent can have been watched. */
	fixture_make("a/b/c/d");
	settle(&f);
	c = known(&f, "a/b/c/d");
	CHECK(c != NULL);
	CHECK_STR(cgroup_below_root(f.tree, c), "a/b/c/d");
	CHECK_UINT(c->level, fixture_level("a/b/c/d"));
	CHECK(c->parent == known(&f, "a/b/c"));
	CHECK(f.settled > 0);

	/* Made again under the same name: another cgroup. */
	before = fixture_id("a/b/c/d");
	fixture_drop("a/b/c/d");
	fixture_make("a/b/c/d");
	settle(&f);
	CHECK(cgroup_tree_find(f.tree, before) == NULL);
	CHECK(known(&f, "a/b/c/d") != NULL);

	before = fixture_id("a");
	f.removed = 0;
	fixture_drop("a");
	settle(&f);
	CHECK(cgroup_tree_find(f.tree, before) == NULL);
	CHECK_UINT(f.removed, 4);
	CHECK(known(&f, "old/nested") != NULL);
}

TEST(inotify_follows_cgroups)
{
	check_following(true);
}

TEST(fanotify_follows_cgroups)
{
	check_following(false);
}

/* A thousand cgroups come and go: the cost of one must not grow with their number. */
TEST(a_restart_storm_is_followed)
{
	CLEANUP(follower_done) struct follower f;
	struct timespec from, to;
	char name[32];

	fixture_cgroups();
	fixture_make("system.slice");
	follow(&f, true, "");
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < STORM; i++) {
			(void)snprintf(name, sizeof(name), "system.slice/s%u.service", i);
			if (round > 0)
				fixture_drop(name);
			fixture_make(name);
		}
		settle(&f);
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	for (unsigned i = 0; i < STORM; i++) {
		(void)snprintf(name, sizeof(name), "system.slice/s%u.service", i);
		CHECK(known(&f, name) != NULL);
	}
	CHECK((to.tv_sec - from.tv_sec) * 1000000000LL + (to.tv_nsec - from.tv_nsec) < STORM_NS);
}

TEST(what_is_not_to_be_known_is_not_walked)
{
	CLEANUP(follower_done) struct follower f;

	fixture_cgroups();
	fixture_make("x/closed/below");
	follow(&f, true, "closed");
	CHECK(known(&f, "x/closed") != NULL);
	CHECK(known(&f, "x/closed/below") == NULL);
	fixture_make("x/closed/more");
	settle(&f);
	CHECK(known(&f, "x/closed/more") == NULL);

	/* When it opens, a walk finds it; when it closes again, a walk forgets it. */
	f.closed[0] = '\0';
	CHECK_INT(cgroup_tree_walk(f.tree), 0);
	CHECK(known(&f, "x/closed/below") != NULL);
	fixture_make("x/closed/third");
	settle(&f);
	CHECK(known(&f, "x/closed/third") != NULL);
	(void)snprintf(f.closed, sizeof(f.closed), "closed");
	CHECK_INT(cgroup_tree_walk(f.tree), 0);
	CHECK(known(&f, "x/closed/third") == NULL);
}

TEST(a_cgroup_is_located_by_its_id)
{
	CLEANUP(follower_done) struct follower f;
	struct cgroup_cover cover;
	uint64_t gone;

	fixture_cgroups();
	fixture_make("x/closed/below");
	follow(&f, true, "closed");
	/* Not known, and not to be known: its nearest known ancestor holds it. */
	CHECK_INT(cgroup_tree_locate(f.tree, fixture_id("x/closed/below"), &cover), 0);
	CHECK(cover.known == known(&f, "x/closed"));
	CHECK(!cover.outside);

	/* Known a moment before its event is read. */
	fixture_make("y/z");
	CHECK_INT(cgroup_tree_locate(f.tree, fixture_id("y/z"), &cover), 0);
	CHECK(cover.known != NULL && cover.known == known(&f, "y/z"));
	settle(&f);

	gone = fixture_id("y/z");
	fixture_drop("y/z");
	CHECK_INT(cgroup_tree_locate(f.tree, gone, &cover), -ESTALE);
	/* The same name is another cgroup. */
	fixture_make("y/z");
	CHECK_INT(cgroup_tree_locate(f.tree, gone, &cover), -ESTALE);
	CHECK_INT(cgroup_tree_locate(f.tree, fixture_id("y/z"), &cover), 0);
	CHECK_INT(cgroup_tree_locate(f.tree, UINT64_MAX - 5, &cover), -ESTALE);
}

TEST(a_cgroup_that_was_asked_about_before_is_gone_at_once)
{
	CLEANUP(follower_done) struct follower f;
	struct cgroup_cover cover;
	uint64_t id;

	fixture_cgroups();
	fixture_make("x/y");
	follow(&f, true, "");
	id = fixture_id("x/y");
	for (int i = 0; i < 3; i++) {
		CHECK_INT(cgroup_tree_locate(f.tree, id, &cover), 0);
		CHECK(cover.known != NULL && cover.known->id == id);
	}
	/* The loop has not turned; the name is another cgroup's by now. */
	fixture_drop("x/y");
	fixture_make("x/y");
	CHECK_INT(cgroup_tree_locate(f.tree, id, &cover), -ESTALE);
	id = fixture_id("x/y");
	for (int i = 0; i < 2; i++) {
		CHECK_INT(cgroup_tree_locate(f.tree, id, &cover), 0);
		CHECK(cover.known != NULL && cover.known->id == id);
	}
	fixture_drop("x");
	CHECK_INT(cgroup_tree_locate(f.tree, id, &cover), -ESTALE);
}

/* What holds it, whether it and they are known or above the root or not known at all. */
static void check_line(struct follower *f, const char *path)
{
	uint64_t id = fixture_id(path), line[CGROUP_LEVEL_MAX];
	char text[CGROUP_PATH_MAX], want[CGROUP_PATH_MAX];
	size_t level = 0;

	CHECK_INT(cgroup_path_of(f->tree, id, want, sizeof(want)), 0);
	CHECK_INT(cgroup_line_of(f->tree, id, text, sizeof(text), line, ARRAY_LEN(line)), 0);
	CHECK_STR(text, want);
	for (char *p = want; level < ARRAY_LEN(line); level++) {
		char end;

		p += strcspn(p, "/");
		end = *p;
		*p = '\0';
		CHECK_UINT(line[level], cgroup_id_of(f->tree, want));
		*p = end;
		if (end == '\0')
			break;
		p++;
	}
	CHECK_UINT(line[level], id);
	CHECK_UINT(line[level + 1], 0);
}

TEST(what_holds_a_cgroup_is_known_without_a_look)
{
	CLEANUP(follower_done) struct follower f;
	uint64_t id, line[CGROUP_LEVEL_MAX];
	char text[CGROUP_PATH_MAX];

	fixture_cgroups();
	fixture_make("x/closed/below");
	follow(&f, true, "closed");
	check_line(&f, "x");
	check_line(&f, "x/closed");
	check_line(&f, "x/closed/below");
	id = fixture_id("x/closed");
	fixture_drop("x");
	/* The loop has not turned: the tree does not know that it is gone. */
	CHECK_INT(cgroup_line_of(f.tree, id, text, sizeof(text), line, ARRAY_LEN(line)), 0);
	CHECK_INT(cgroup_line_of(f.tree, id + 100000, text, sizeof(text), line, ARRAY_LEN(line)),
		  -ESTALE);
}

TEST(what_lies_outside_of_the_root_is_covered_from_above)
{
	CLEANUP(follower_done) struct follower f = {0};
	struct cgroup_cover cover;
	char root[CGROUP_PATH_MAX];
	struct err err = {0};

	fixture_cgroups();
	fixture_make("mine/deep");
	fixture_make("other/x/y");
	(void)snprintf(root, sizeof(root), "%s/mine/deep", fixture_root());
	f.handler = (struct cgroup_handler){.data_size = 8,
					    .added = on_added,
					    .removed = on_removed,
					    .descend = on_descend,
					    .user = &f};
	CHECK(sd_event_new(&f.event) >= 0);
	CHECK_OK(cgroup_tree_open(root, true, f.event, &f.handler, &f.tree, &err), &err);
	CHECK_INT(cgroup_tree_walk(f.tree), 0);

	CHECK_INT(cgroup_tree_locate(f.tree, fixture_id("other/x/y"), &cover), 0);
	CHECK(cover.outside);
	CHECK_UINT(cover.outside_id, fixture_id("other"));
	CHECK_UINT(cover.outside_level, fixture_level("other"));
	/* An ancestor of our root: an element for it would be one for us too. */
	CHECK_INT(cgroup_tree_locate(f.tree, fixture_id("mine"), &cover), 0);
	CHECK(cover.outside);
	CHECK_UINT(cover.outside_id, 0);
	CHECK_INT(cgroup_tree_locate(f.tree, fixture_id("mine/deep"), &cover), 0);
	CHECK(cover.known == cgroup_tree_root(f.tree));
}

TEST(the_first_and_the_last_process_are_told)
{
	CLEANUP(follower_done) struct follower f;
	struct cgroup *c;
	pid_t pid;

	fixture_cgroups();
	fixture_make("a");
	follow(&f, true, "");
	c = cgroup_tree_find(f.tree, fixture_id("a"));
	CHECK(c != NULL);
	cgroup_watch_populated(f.tree, c);
	pid = fixture_process("a", FIXTURE_NO_UID, NULL, NULL, NULL);
	for (unsigned i = 0; i < 20 && f.filled == 0; i++)
		CHECK(sd_event_run(f.event, WAIT_US) >= 0);
	CHECK_UINT(f.filled, 1);
	fixture_end(pid);
	for (unsigned i = 0; i < 20 && f.emptied == 0; i++)
		CHECK(sd_event_run(f.event, WAIT_US) >= 0);
	CHECK_UINT(f.emptied, 1);
}

TEST(cgroups_below_a_users_cgroup_are_delegated)
{
	CLEANUP(follower_done) struct follower f;

	fixture_cgroups();
	fixture_make("user@1000.service/app/x");
	fixture_chown("user@1000.service", 1000);
	follow(&f, true, "");
	CHECK(!known(&f, "user@1000.service")->delegated);
	CHECK(known(&f, "user@1000.service/app")->delegated);
	CHECK(known(&f, "user@1000.service/app/x")->delegated);
}

/* The manager makes the cgroup, and gives it away when it starts the user's process. */
TEST(a_cgroup_that_is_given_to_a_user_is_delegated_from_then_on)
{
	CLEANUP(follower_done) struct follower f;

	fixture_cgroups();
	follow(&f, true, "");
	fixture_make("user@1000.service");
	settle(&f);
	CHECK(known(&f, "user@1000.service") != NULL);
	fixture_chown("user@1000.service", 1000);
	fixture_make("user@1000.service/app/x");
	settle(&f);
	CHECK(known(&f, "user@1000.service/app")->delegated);
	CHECK(known(&f, "user@1000.service/app/x")->delegated);
}

TEST(cgroups_deeper_than_a_key_can_be_are_covered_by_an_ancestor)
{
	CLEANUP(follower_done) struct follower f;
	struct cgroup_cover cover;
	char name[128] = "d";

	fixture_cgroups();
	while (fixture_level(name) < CGROUP_LEVEL_MAX + 3)
		(void)snprintf(name + strlen(name), sizeof(name) - strlen(name), "/d");
	fixture_make(name);
	follow(&f, true, "");
	CHECK_INT(cgroup_tree_locate(f.tree, fixture_id(name), &cover), 0);
	CHECK_UINT(cover.known->level, CGROUP_LEVEL_MAX);
}

TEST(a_root_that_is_none_is_refused_with_its_name)
{
	struct cgroup_handler handler = {.data_size = 1};
	struct cgroup_tree *tree = NULL;
	sd_event *event = NULL;
	struct err err = {0};

	fixture_cgroups();
	CHECK(sd_event_new(&event) >= 0);
	CHECK_INT(cgroup_tree_open("no/such/cgroup", true, event, &handler, &tree, &err), -ENOENT);
	CHECK_CONTAINS(err.text, "'no/such/cgroup'");
	CHECK_INT(cgroup_tree_open("a/../b", true, event, &handler, &tree, &err), -EINVAL);
	CHECK_CONTAINS(err.text, "'a/../b'");
	sd_event_unref(event);
}
