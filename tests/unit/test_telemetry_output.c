/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/telemetry_output.h"

#include "base/file.h"
#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void check_file(const char *path, const char *content)
{
	CLEANUP(freep) char *text = NULL;
	struct err err = {{0}};
	size_t len;

	CHECK_OK(file_read(AT_FDCWD, path, 4096, &text, &len, &err), &err);
	CHECK_STR(text, content);
}

TEST(lines_are_appended)
{
	CLEANUP(freep) char *path = mem_printf("%s/decisions.log", test_dir());
	struct output *o = NULL;
	struct stat st;

	CHECK_INT(output_new(DECISIONS_FILE, path, &o, NULL), 0);
	CHECK_INT(output_line(o, 4, "one", 3), 0);
	CHECK_INT(output_line(o, 4, "two", 3), 0);
	check_file(path, "one\ntwo\n");
	CHECK_INT(stat(path, &st), 0);
	CHECK_INT(st.st_mode & 07777, 0640);
	output_free(o);
}

TEST(a_rotated_file_is_opened_anew)
{
	CLEANUP(freep) char *path = mem_printf("%s/decisions.log", test_dir());
	CLEANUP(freep) char *old = mem_printf("%s.1", path);
	struct output *o = NULL;

	CHECK_INT(output_new(DECISIONS_FILE, path, &o, NULL), 0);
	CHECK_INT(output_line(o, 4, "one", 3), 0);
	CHECK_INT(rename(path, old), 0);
	CHECK_INT(output_line(o, 4, "two", 3), 0);
	check_file(old, "one\n");
	check_file(path, "two\n");
	CHECK_INT(unlink(path), 0);
	CHECK_INT(output_line(o, 4, "three", 5), 0);
	check_file(path, "three\n");
	output_free(o);
}

TEST(a_file_that_cannot_be_opened_costs_the_line_only)
{
	CLEANUP(freep) char *dir = mem_printf("%s/logs", test_dir());
	CLEANUP(freep) char *path = mem_printf("%s/decisions.log", dir);
	struct output *o = NULL;

	CHECK_INT(output_new(DECISIONS_FILE, path, &o, NULL), 0);
	CHECK_INT(output_line(o, 4, "lost", 4), -ENOENT);
	CHECK_INT(mkdir(dir, 0755), 0);
	CHECK_INT(output_line(o, 4, "kept", 4), 0);
	check_file(path, "kept\n");
	output_free(o);
}

TEST(a_link_is_not_followed)
{
	CLEANUP(freep) char *path = mem_printf("%s/decisions.log", test_dir());
	CLEANUP(freep) char *target = mem_printf("%s/elsewhere", test_dir());
	struct output *o = NULL;

	CHECK_INT(symlink(target, path), 0);
	CHECK_INT(output_new(DECISIONS_FILE, path, &o, NULL), 0);
	CHECK_INT(output_line(o, 4, "one", 3), -ELOOP);
	CHECK_INT(access(target, F_OK), -1);
	output_free(o);
}

TEST(a_full_disk_is_an_error_and_no_wait)
{
	struct output *o = NULL;

	CHECK_INT(output_new(DECISIONS_FILE, "/dev/full", &o, NULL), 0);
	CHECK_INT(output_line(o, 4, "one", 3), -ENOSPC);
	output_free(o);
}

/* A pipe nobody reads must not stop the agent. */
TEST(a_fifo_without_reader_is_an_error_and_no_wait)
{
	CLEANUP(freep) char *path = mem_printf("%s/fifo", test_dir());
	struct output *o = NULL;

	CHECK_INT(mkfifo(path, 0600), 0);
	CHECK_INT(output_new(DECISIONS_FILE, path, &o, NULL), 0);
	CHECK_INT(output_line(o, 4, "one", 3), -ENXIO);
	output_free(o);
}

OOM_TEST(an_output_needs_memory)
{
	struct output *o = NULL;
	struct err err = {{0}};
	int r = output_new(DECISIONS_FILE, "/nonexistent/decisions.log", &o, &err);

	if (r == 0)
		output_free(o);
	return r;
}
