/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/file.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path_buf[2][PATH_MAX];

/* test_dir()/name; two results live at a time. */
static const char *in_dir(const char *name)
{
	static unsigned turn;
	char *path = path_buf[turn++ % 2];

	CHECK(snprintf(path, PATH_MAX, "%s/%s", test_dir(), name) < PATH_MAX);
	return path;
}

static void put(const char *path, const char *text)
{
	struct err err = {0};

	CHECK_OK(file_write_durable(AT_FDCWD, path, text, strlen(text), 0600, &err), &err);
}

TEST(what_is_written_is_read_back)
{
	CLEANUP(freep) char *text = NULL;
	struct err err = {0};
	struct stat st;
	size_t len = 0;

	CHECK_OK(file_write_durable(AT_FDCWD, in_dir("a"), "x\0y", 3, 0644, &err), &err);
	CHECK_OK(file_read(AT_FDCWD, in_dir("a"), 3, &text, &len, &err), &err);
	CHECK_UINT(len, 3);
	CHECK_MEM(text, "x\0y", 4);
	CHECK_INT(stat(in_dir("a"), &st), 0);
	CHECK_INT(st.st_mode & 07777, 0644);
}

TEST(the_mode_is_exact_whatever_the_umask)
{
	struct err err = {0};
	mode_t old = umask(0777);
	struct stat st;
	int r;

	r = file_write_durable(AT_FDCWD, in_dir("a"), "", 0, 0640, &err);
	(void)umask(old);
	CHECK_OK(r, &err);
	CHECK_INT(stat(in_dir("a"), &st), 0);
	CHECK_INT(st.st_mode & 07777, 0640);
}

TEST(reading_is_bounded)
{
	CLEANUP(freep) char *big = mem_calloc(100001, 1);
	CLEANUP(freep) char *text = NULL;
	struct err err = {0};
	size_t len = 0;

	CHECK(big != NULL);
	memset(big, 'x', 100000);
	put(in_dir("big"), big);
	CHECK_INT(file_read(AT_FDCWD, in_dir("big"), 99999, &text, &len, &err), -EFBIG);
	CHECK_CONTAINS(err.text, "larger than 99999 bytes");
	CHECK(text == NULL);
	CHECK_OK(file_read(AT_FDCWD, in_dir("big"), 100000, &text, &len, &err), &err);
	CHECK_UINT(len, 100000);
	CHECK_INT(text[100000], '\0');
}

TEST(an_empty_file_is_an_empty_string)
{
	CLEANUP(freep) char *text = NULL;
	struct err err = {0};
	size_t len = 7;

	put(in_dir("e"), "");
	CHECK_OK(file_read(AT_FDCWD, in_dir("e"), 0, &text, &len, &err), &err);
	CHECK_UINT(len, 0);
	CHECK_STR(text, "");
}

TEST(proc_files_without_a_size_are_read)
{
	CLEANUP(freep) char *text = NULL;
	struct err err = {0};
	size_t len = 0;

	CHECK_OK(file_read(AT_FDCWD, "/proc/self/status", 65536, &text, &len, &err), &err);
	CHECK_CONTAINS(text, "Pid:");
}

TEST(what_is_no_file_is_refused)
{
	CLEANUP(freep) char *text = NULL;
	struct err err = {0};
	size_t len;

	CHECK_INT(file_read(AT_FDCWD, in_dir("missing"), 10, &text, &len, &err), -ENOENT);
	CHECK_CONTAINS(err.text, "missing': No such file or directory");
	CHECK_INT(file_read(AT_FDCWD, test_dir(), 10, &text, &len, &err), -EINVAL);
	CHECK_INT(mkfifo(in_dir("fifo"), 0600), 0);
	CHECK_INT(file_read(AT_FDCWD, in_dir("fifo"), 10, &text, &len, &err), -EINVAL);
	CHECK_CONTAINS(err.text, "not a regular file");
	CHECK_INT(file_read(AT_FDCWD, "/dev/zero", 10, &text, &len, &err), -EINVAL);
}

static unsigned entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned count = 0;

	CHECK(dir != NULL);
	while (readdir(dir) != NULL)
		count++;
	(void)closedir(dir);
	return count - 2;
}

TEST(replacing_leaves_no_litter_and_follows_no_link)
{
	CLEANUP(freep) char *text = NULL;
	struct err err = {0};
	struct stat st;
	size_t len;

	put(in_dir("target"), "old");
	CHECK_INT(symlink("target", in_dir("link")), 0);
	put(in_dir("link"), "new");
	CHECK_INT(lstat(in_dir("link"), &st), 0);
	CHECK(S_ISREG(st.st_mode));
	CHECK_OK(file_read(AT_FDCWD, in_dir("target"), 10, &text, &len, &err), &err);
	CHECK_STR(text, "old");
	CHECK_UINT(entries(test_dir()), 2);
}

TEST(a_failed_write_keeps_the_old_content)
{
	CLEANUP(freep) char *text = NULL;
	struct err err = {0};
	size_t len;

	CHECK_INT(file_write_durable(AT_FDCWD, in_dir("no/a"), "x", 1, 0600, &err), -ENOENT);
	CHECK_INT(mkdir(in_dir("d"), 0700), 0);
	put(in_dir("d/inner"), "x");
	/* A file cannot take the place of a directory. */
	CHECK(file_write_durable(AT_FDCWD, in_dir("d"), "x", 1, 0600, &err) < 0);
	CHECK_UINT(entries(test_dir()), 1);
	CHECK_OK(file_read(AT_FDCWD, in_dir("d/inner"), 10, &text, &len, &err), &err);
}

TEST(paths_are_relative_to_the_descriptor)
{
	CLEANUP(freep) char *text = NULL;
	CLEANUP(closep) int fd = open(test_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct err err = {0};
	size_t len;

	CHECK(fd >= 0);
	CHECK_OK(file_write_durable(fd, "a", "x", 1, 0600, &err), &err);
	CHECK_OK(file_read(fd, "a", 10, &text, &len, &err), &err);
	CHECK_STR(text, "x");
}

TEST(directories_are_made_with_their_parents)
{
	struct err err = {0};
	struct stat st;

	CHECK_OK(dir_make(in_dir("a/b/c"), 0750, &err), &err);
	CHECK_OK(dir_make(in_dir("a/b/c"), 0750, &err), &err);
	CHECK_INT(stat(in_dir("a/b"), &st), 0);
	CHECK_INT(st.st_mode & 07777, 0750);
	put(in_dir("f"), "");
	CHECK_INT(dir_make(in_dir("f"), 0750, &err), -ENOTDIR);
	CHECK(dir_make(in_dir("f/x"), 0750, &err) < 0);
}

TEST(a_tree_is_removed_and_links_are_not_followed)
{
	struct err err = {0};

	CHECK_OK(dir_make(in_dir("keep"), 0700, &err), &err);
	put(in_dir("keep/file"), "x");
	CHECK_OK(dir_make(in_dir("t/a/b"), 0700, &err), &err);
	put(in_dir("t/a/file"), "x");
	CHECK_INT(symlink("../../keep", in_dir("t/a/link")), 0);
	CHECK_OK(tree_remove(AT_FDCWD, in_dir("t"), &err), &err);
	CHECK_INT(access(in_dir("t"), F_OK), -1);
	CHECK_INT(access(in_dir("keep/file"), F_OK), 0);
	CHECK_OK(tree_remove(AT_FDCWD, in_dir("t"), &err), &err);
	CHECK_OK(tree_remove(AT_FDCWD, in_dir("keep/file"), &err), &err);
}

TEST(a_tree_too_deep_is_refused)
{
	char path[PATH_MAX] = "deep";
	struct err err = {0};
	size_t len = strlen(path);

	for (int i = 0; i < 70; i++) {
		memcpy(path + len, "/d", 3);
		len += 2;
	}
	CHECK_OK(dir_make(in_dir(path), 0700, &err), &err);
	CHECK_INT(tree_remove(AT_FDCWD, in_dir("deep"), &err), -ELOOP);
	CHECK_OK(tree_remove(AT_FDCWD, in_dir("deep/d/d/d/d/d/d/d/d/d/d"), &err), &err);
	CHECK_OK(tree_remove(AT_FDCWD, in_dir("deep"), &err), &err);
}

/* ---- path_trusted ---- */

TEST(a_path_of_ours_is_trusted)
{
	struct err err = {0};

	put(in_dir("policy"), "x");
	CHECK_OK(path_trusted(in_dir("policy"), geteuid(), &err), &err);
	CHECK_OK(path_trusted(test_dir(), geteuid(), &err), &err);
	CHECK_OK(path_trusted("/", 0, &err), &err);
	CHECK_INT(path_trusted(in_dir("missing"), geteuid(), &err), -ENOENT);
}

TEST(a_directory_that_others_may_write_is_not_trusted)
{
	struct err err = {0};

	CHECK_OK(dir_make(in_dir("d/sub"), 0755, &err), &err);
	put(in_dir("d/sub/policy"), "x");
	CHECK_INT(chmod(in_dir("d"), 0775), 0);
	CHECK_INT(path_trusted(in_dir("d/sub/policy"), geteuid(), &err), -EPERM);
	CHECK_CONTAINS(err.text, "/d' may be written by others (mode 0775); 'chmod go-w'");
	CHECK_INT(chmod(in_dir("d"), 0757), 0);
	CHECK_INT(path_trusted(in_dir("d/sub/policy"), geteuid(), &err), -EPERM);
	CHECK_INT(chmod(in_dir("d"), 0755), 0);
	CHECK_INT(chmod(in_dir("d/sub/policy"), 0666), 0);
	CHECK_INT(path_trusted(in_dir("d/sub/policy"), geteuid(), &err), -EPERM);
}

TEST(a_sticky_directory_is_accepted_above_but_not_itself)
{
	struct err err = {0};

	CHECK_OK(dir_make(in_dir("d/sub"), 0755, &err), &err);
	CHECK_INT(chmod(in_dir("d"), 01777), 0);
	CHECK_OK(path_trusted(in_dir("d/sub"), geteuid(), &err), &err);
	CHECK_INT(path_trusted(in_dir("d"), geteuid(), &err), -EPERM);
	CHECK_INT(path_trusted(in_dir("d/."), geteuid(), &err), -EPERM);
	CHECK_INT(path_trusted(in_dir("d/sub/.."), geteuid(), &err), -EPERM);
	CHECK_INT(path_trusted(in_dir("d//"), geteuid(), &err), -EPERM);
}

TEST(links_are_followed_and_every_step_is_checked)
{
	struct err err = {0};

	CHECK_OK(dir_make(in_dir("safe"), 0755, &err), &err);
	CHECK_OK(dir_make(in_dir("open/real"), 0755, &err), &err);
	put(in_dir("open/real/policy"), "x");
	CHECK_INT(symlink("../open/real", in_dir("safe/link")), 0);
	CHECK_OK(path_trusted(in_dir("safe/link/policy"), geteuid(), &err), &err);
	CHECK_INT(chmod(in_dir("open"), 0777), 0);
	CHECK_INT(path_trusted(in_dir("safe/link/policy"), geteuid(), &err), -EPERM);
	CHECK_CONTAINS(err.text, "/open'");
	CHECK_INT(symlink(in_dir("safe"), in_dir("open/back")), 0);
	/* The real path is fine, but somebody could turn the link elsewhere. */
	CHECK_INT(path_trusted(in_dir("open/back"), geteuid(), &err), -EPERM);
	CHECK_INT(symlink("loop", in_dir("loop")), 0);
	CHECK_INT(path_trusted(in_dir("loop"), geteuid(), &err), -ELOOP);
}

TEST(somebody_elses_file_is_not_trusted)
{
	struct err err = {0};

	if (geteuid() != 0)
		test_skip("needs root to give a file away");
	put(in_dir("policy"), "x");
	CHECK_INT(chown(in_dir("policy"), 4242, 0), 0);
	CHECK_INT(path_trusted(in_dir("policy"), 0, &err), -EPERM);
	CHECK_CONTAINS(err.text, "belongs to uid 4242; uid 0 would be right");
	CHECK_OK(path_trusted(in_dir("policy"), 4242, &err), &err);
}

TEST(relative_and_overlong_paths)
{
	CLEANUP(freep) char *longest = mem_calloc(2 * PATH_MAX, 1);
	struct err err = {0};
	char name[NAME_MAX + 3] = "/";

	CHECK(longest != NULL);
	memset(longest, '/', 2 * PATH_MAX - 1);
	CHECK_INT(path_trusted(longest, 0, &err), -ENAMETOOLONG);
	memset(name + 1, 'x', NAME_MAX + 1);
	CHECK_INT(path_trusted(name, 0, &err), -ENAMETOOLONG);
	CHECK_INT(path_trusted("does-not-exist", geteuid(), &err) < 0, 1);
}

OOM_TEST(reading_a_file)
{
	CLEANUP(freep) char *text = NULL;
	struct err err = {0};
	size_t len = 0;

	return file_read(AT_FDCWD, "/proc/self/status", 65536, &text, &len, &err);
}

OOM_TEST(writing_a_file)
{
	struct err err = {0};

	return file_write_durable(AT_FDCWD, in_dir("a"), "x", 1, 0600, &err);
}

OOM_TEST(making_directories)
{
	struct err err = {0};

	return dir_make(in_dir("a/b"), 0700, &err);
}

TEST(a_file_itself_is_read_and_not_what_a_link_points_at)
{
	CLEANUP(freep) char *text = NULL;
	struct err err = {{0}};
	size_t len = 0;

	CHECK_OK(file_write_durable(AT_FDCWD, in_dir("real"), "abc", 3, 0600, &err), &err);
	CHECK_INT(symlink("real", in_dir("link")), 0);
	CHECK_INT(mkfifo(in_dir("fifo"), 0600), 0);
	CHECK_OK(file_read_itself(AT_FDCWD, in_dir("real"), 3, &text, &len, &err), &err);
	CHECK_STR(text, "abc");
	freep(&text);
	CHECK_OK(file_read(AT_FDCWD, in_dir("link"), 3, &text, &len, &err), &err);
	freep(&text);
	CHECK_INT(file_read_itself(AT_FDCWD, in_dir("link"), 3, &text, &len, &err), -ELOOP);
	CHECK_INT(file_read_itself(AT_FDCWD, in_dir("fifo"), 3, &text, &len, &err), -EINVAL);
	CHECK_INT(file_read_itself(AT_FDCWD, in_dir("real"), 2, &text, &len, &err), -EFBIG);
}

TEST(a_secret_that_others_may_read_is_not_read)
{
	CLEANUP(freep) char *text = NULL;
	struct err err = {0};
	size_t len = 0;

	CHECK_OK(file_write_durable(AT_FDCWD, in_dir("key"), "x", 1, 0640, &err), &err);
	CHECK_INT(file_read_secret(AT_FDCWD, in_dir("key"), 9, &text, &len, &err), -EACCES);
	CHECK_CONTAINS(err.text, "others may read it (mode 0640), and it is a secret; 0600 would");
	CHECK(text == NULL);
	CHECK_OK(file_write_durable(AT_FDCWD, in_dir("key"), "x", 1, 0600, &err), &err);
	CHECK_OK(file_read_secret(AT_FDCWD, in_dir("key"), 9, &text, &len, &err), &err);
	CHECK_STR(text, "x");
}
