/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/spare.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX 4096

struct disks {
	int state, run;
	struct spare *spare;
	size_t told;
	char last[ERR_TEXT_MAX];
};

static int open_dir(const char *name)
{
	CLEANUP(freep) char *path = mem_printf("%s/%s", test_dir(), name);

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -1;
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void disks_open(struct disks *d)
{
	struct err err = {{0}};

	*d = (struct disks){.state = open_dir("state"), .run = open_dir("run")};
	CHECK(d->state >= 0);
	CHECK(d->run >= 0);
	CHECK_OK(spare_open(d->run, d->state, &d->spare, &err), &err);
}

static void disks_close(struct disks *d)
{
	spare_free(d->spare);
	closep(&d->state);
	closep(&d->run);
}

static void told(void *user, const char *text)
{
	struct disks *d = user;

	d->told++;
	(void)snprintf(d->last, sizeof(d->last), "%s", text);
}

static void put(int fd, const char *name, const char *text)
{
	CHECK_INT(file_write_durable(fd, name, text, strlen(text), 0600, NULL), 0);
}

static void check_file(int fd, const char *name, const char *want)
{
	CLEANUP(freep) char *text = NULL;
	size_t len = 0;

	CHECK_INT(file_read(fd, name, MAX, &text, &len, NULL), 0);
	CHECK_STR(text, want);
}

static void check_copy(struct disks *d, const char *name, const char *want)
{
	CLEANUP(freep) char *text = NULL;
	size_t len = 0;
	int r = spare_read(d->spare, name, MAX, &text, &len);

	CHECK_INT(r, want ? 0 : -ENOENT);
	if (want)
		CHECK_STR(text, want);
}

TEST(a_damaged_file_is_written_anew_from_its_copy_and_kept_aside)
{
	struct disks d;

	disks_open(&d);
	CHECK_OK(spare_write(d.spare, "view.json", "good", 4, NULL), NULL);
	put(d.state, "view.json", "bad");
	CHECK_OK(spare_mend(d.spare, d.state, told, &d, NULL), NULL);
	check_file(d.state, "view.json", "good");
	check_file(d.state, "view.json.damaged", "bad");
	CHECK_INT(d.told, 1);
	CHECK(strstr(d.last, "view.json was damaged or lost"));
	CHECK_OK(spare_mend(d.spare, d.state, told, &d, NULL), NULL);
	CHECK_INT(d.told, 1);
	disks_close(&d);
}

TEST(a_directory_in_the_place_of_a_file_is_put_aside)
{
	struct disks d;

	disks_open(&d);
	CHECK_OK(spare_write(d.spare, "view.json", "good", 4, NULL), NULL);
	CHECK_INT(mkdirat(d.state, "view.json", 0700), 0);
	CHECK_INT(mkdirat(d.state, "view.json/x", 0700), 0);
	CHECK_OK(spare_mend(d.spare, d.state, told, &d, NULL), NULL);
	check_file(d.state, "view.json", "good");
	CHECK_INT(d.told, 1);
	/* And again, although there is something aside already. */
	CHECK_INT(unlinkat(d.state, "view.json", 0), 0);
	CHECK_INT(mkdirat(d.state, "view.json", 0700), 0);
	CHECK_INT(mkdirat(d.state, "view.json/y", 0700), 0);
	CHECK_OK(spare_mend(d.spare, d.state, told, &d, NULL), NULL);
	check_file(d.state, "view.json", "good");
	disks_close(&d);
}

TEST(a_copy_that_is_damaged_itself_mends_nothing)
{
	struct disks d;

	disks_open(&d);
	CHECK_OK(spare_write(d.spare, "view.json", "good", 4, NULL), NULL);
	put(d.state, "view.json", "good");
	put(d.run, "spare/view.json", "bad");
	check_copy(&d, "view.json", NULL);
	CHECK_OK(spare_mend(d.spare, d.state, told, &d, NULL), NULL);
	check_file(d.state, "view.json", "good");
	CHECK_INT(d.told, 0);
	disks_close(&d);
}

TEST(what_is_closed_has_a_copy_that_outlives_a_reboot)
{
	struct disks d;

	disks_open(&d);
	CHECK_OK(spare_write(d.spare, "overlay.json", "closed", 6, NULL), NULL);
	CHECK_OK(spare_write(d.spare, "view.json", "view", 4, NULL), NULL);
	CHECK_INT(tree_remove(d.run, "spare", NULL), 0);
	disks_close(&d);
	disks_open(&d);
	check_copy(&d, "overlay.json", "closed");
	check_copy(&d, "view.json", NULL);
	CHECK_OK(spare_mend(d.spare, d.state, told, &d, NULL), NULL);
	check_file(d.state, "overlay.json", "closed");
	CHECK_INT(d.told, 1);
	/* The copy of this boot is there again, too. */
	CHECK_INT(tree_remove(d.state, "spare", NULL), 0);
	check_copy(&d, "overlay.json", "closed");
	disks_close(&d);
}

static void places_open(struct disks *d, int run, int state)
{
	spare_free(d->spare);
	d->spare = NULL;
	CHECK_INT(spare_open(run, state, &d->spare, NULL), 0);
}

/* An agent that is killed has written one of the two, or a disk has taken one of the two only. */
TEST(of_two_copies_an_older_one_undoes_nothing_after_a_reboot)
{
	struct disks d;

	disks_open(&d);
	CHECK_OK(spare_write(d.spare, "overlay.json", "open", 4, NULL), NULL);
	put(d.state, "overlay.json", "open");
	places_open(&d, d.run, -1);
	CHECK_OK(spare_write(d.spare, "overlay.json", "closed", 6, NULL), NULL);
	places_open(&d, d.run, d.state);
	CHECK_OK(spare_mend(d.spare, d.state, told, &d, NULL), NULL);
	check_file(d.state, "overlay.json", "closed");
	CHECK_INT(tree_remove(d.run, "spare", NULL), 0);
	places_open(&d, d.run, d.state);
	CHECK_OK(spare_mend(d.spare, d.state, told, &d, NULL), NULL);
	check_file(d.state, "overlay.json", "closed");
	CHECK_INT(d.told, 1);
	disks_close(&d);
}

TEST(a_file_without_a_copy_gets_one_when_it_is_read)
{
	CLEANUP(freep) char *text = NULL;
	struct err err = {{0}};
	struct disks d;
	size_t len = 0;

	disks_open(&d);
	put(d.state, "known", "good");
	CHECK_OK(
		spare_or_file(d.spare, "documents/known", d.state, "known", MAX, &text, &len, &err),
		&err);
	CHECK_STR(text, "good");
	check_copy(&d, "documents/known", "good");
	spare_remove(d.spare, "documents/known");
	check_copy(&d, "documents/known", NULL);
	disks_close(&d);
}

TEST(a_copy_that_cannot_be_written_is_not_an_older_one)
{
	struct disks d;

	disks_open(&d);
	CHECK_OK(spare_write(d.spare, "overlay.json", "old", 3, NULL), NULL);
	/* More than a copy may have. */
	CHECK_OK(spare_write(d.spare, "overlay.json", "new", ((size_t)128 << 20) + 1, NULL), NULL);
	check_copy(&d, "overlay.json", NULL);
	disks_close(&d);
}

/* What would be the beginning of its name may be the directory that it is in. */
TEST(a_path_that_is_too_long_for_another_name_stays_where_it_is)
{
	char path[400] = "";
	size_t len;

	(void)snprintf(path, sizeof(path), "%s/", test_dir());
	for (len = strlen(path); len < 168; len++)
		path[len] = 'd';
	CHECK_INT(mkdir(path, 0700), 0);
	(void)snprintf(path + len, sizeof(path) - len, "/file");
	put(AT_FDCWD, path, "good");
	spare_aside(AT_FDCWD, path);
	check_file(AT_FDCWD, path, "good");
}

/* A copy's name is flat: one that came back as another file's would be written over that. */
TEST(a_name_that_would_come_back_as_another_gets_no_copy)
{
	char longest[200];
	struct disks d;

	disks_open(&d);
	memset(longest, 'n', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	CHECK_OK(spare_write(d.spare, "policy/7/..%..%view.json", "bad", 3, NULL), NULL);
	CHECK_OK(spare_write(d.spare, longest, "bad", 3, NULL), NULL);
	check_copy(&d, "policy/7/..%..%view.json", NULL);
	check_copy(&d, longest, NULL);
	CHECK_OK(spare_mend(d.spare, d.state, told, &d, NULL), NULL);
	CHECK_INT(d.told, 0);
	disks_close(&d);
}

TEST(a_directory_that_is_lost_is_made_for_its_files)
{
	struct disks d;

	disks_open(&d);
	CHECK_OK(spare_write(d.spare, "policy/7/a.yaml", "a", 1, NULL), NULL);
	CHECK_OK(spare_write(d.spare, "policy/70/a.yaml", "b", 1, NULL), NULL);
	put(d.state, "policy", "no directory");
	CHECK_OK(spare_mend(d.spare, d.state, told, &d, NULL), NULL);
	check_file(d.state, "policy/7/a.yaml", "a");
	check_file(d.state, "policy.damaged", "no directory");
	spare_remove_below(d.spare, "policy/7");
	check_copy(&d, "policy/7/a.yaml", NULL);
	check_copy(&d, "policy/70/a.yaml", "b");
	disks_close(&d);
}

TEST(without_a_place_there_are_no_copies)
{
	struct disks d;

	disks_open(&d);
	spare_free(d.spare);
	CHECK_INT(spare_open(-1, -1, &d.spare, NULL), 0);
	CHECK_OK(spare_write(d.spare, "view.json", "good", 4, NULL), NULL);
	check_copy(&d, "view.json", NULL);
	CHECK_OK(spare_mend(d.spare, d.state, told, &d, NULL), NULL);
	CHECK_OK(spare_write(NULL, "view.json", "good", 4, NULL), NULL);
	spare_remove(NULL, "view.json");
	CHECK_INT(d.told, 0);
	disks_close(&d);
}

OOM_TEST(no_copy_is_left_out_for_want_of_memory)
{
	static int run = -1, state = -1;
	struct spare *s = NULL;
	int r;

	if (run < 0) {
		mem_fail_after(0);
		run = open_dir("run");
		state = open_dir("state");
		mem_fail_after(1);
	}
	r = spare_open(run, state, &s, NULL);
	if (r >= 0) {
		r = spare_write(s, "view.json", "good", 4, NULL);
		spare_free(s);
	}
	return r;
}
