/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Screens of bailiwick-controller, from a result in tests/golden/controller-screens/NAME.json to
 * NAME.txt beside it. With GOLDEN_UPDATE set (make golden) the texts are written anew.
 */
#include "controller/command.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "tests/unit/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define SCREENS     "tests/golden/controller-screens"
#define FIXTURE_MAX (1U << 20)

static int is_fixture(const struct dirent *e)
{
	return str_ends(e->d_name, ".json");
}

static void check_width(const char *name, const char *text)
{
	while (*text != '\0') {
		size_t len = strcspn(text, "\n");

		if (width_of(text, len) > SCREEN_COLUMNS)
			test_fail(__FILE__, __LINE__, "%s: %zu columns: %.*s", name,
				  width_of(text, len), (int)len, text);
		if (len > 0 && text[len - 1] == ' ')
			test_fail(__FILE__, __LINE__, "%s: space at the end: '%.*s'", name,
				  (int)len, text);
		text += len + (text[len] == '\n');
	}
}

static void compare(const char *name, const struct buf *b)
{
	CLEANUP(freep) char *path = mem_printf(SCREENS "/%.*s.txt", (int)strlen(name) - 5, name);
	CLEANUP(freep) char *expected = NULL;
	struct err err = {0};
	size_t len;

	if (getenv("GOLDEN_UPDATE") != NULL) {
		CHECK_OK(file_write_durable(AT_FDCWD, path, b->data, b->len, 0644, &err), &err);
		return;
	}
	CHECK_OK(file_read(AT_FDCWD, path, FIXTURE_MAX, &expected, &len, &err), &err);
	test_check_str(__FILE__, __LINE__, path, b->data, expected);
}

static void check_fixture(const char *name)
{
	CLEANUP(freep) char *path = mem_printf(SCREENS "/%s", name);
	CLEANUP(freep) char *text = NULL;
	CLEANUP(buf_done) struct buf b = {0};
	const struct command *command;
	struct screen s = {0};
	struct err err = {0};
	json_t *fixture;
	size_t len;

	CHECK_OK(file_read(AT_FDCWD, path, FIXTURE_MAX, &text, &len, &err), &err);
	CHECK_OK(json_parse_strict(text, len, name, &fixture, &err), &err);
	command = command_find(field_text_or(fixture, "verb", ""));
	CHECK(command != NULL);
	CHECK_OK(rfc3339_parse(field_text_or(fixture, "now", ""), &s.now), NULL);
	buf_init(&b, SCREEN_TEXT_MAX);
	command->render(field(fixture, "result"), &s, &b);
	json_decref(fixture);
	CHECK_INT(b.r, 0);
	check_width(name, b.data);
	compare(name, &b);
}

TEST(every_screen_is_as_recorded_and_narrow)
{
	struct dirent **names;
	int count = scandir(SCREENS, &names, is_fixture, alphasort);

	CHECK(count > 0);
	for (int i = 0; i < count; i++) {
		check_fixture(names[i]->d_name);
		free(names[i]);
	}
	free(names);
}
