/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Every screen, from a reply in tests/golden/screens/NAME.json to NAME.txt beside it. With
 * GOLDEN_UPDATE set (make golden) the texts are written anew, to be reviewed as text.
 */
#include "cli/screen.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/watch.h"
#include "tests/unit/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define SCREENS     "tests/golden/screens"
#define FIXTURE_MAX (1U << 20)

static int is_fixture(const struct dirent *e)
{
	return str_ends(e->d_name, ".json");
}

static void render(const char *name, json_t *fixture, struct buf *b)
{
	const char *verb_name = field_text_or(fixture, "verb", "");
	const struct verb *verb = verb_find(verb_name);
	const json_t *records = field(fixture, "records");
	struct screen s = {.verbose = field_true(fixture, "verbose")};

	if (verb == NULL)
		test_fail(__FILE__, __LINE__, "%s: no verb '%s'", name, verb_name);
	CHECK_OK(rfc3339_parse(field_text_or(fixture, "now", ""), &s.now), NULL);
	for (size_t i = 0; i < json_array_size(records); i++)
		watch_render(json_array_get(records, i), b);
	if (records == NULL)
		verb->render(field(fixture, "result"), &s, b);
	CHECK_INT(b->r, 0);
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
	char path[512];
	CLEANUP(freep) char *expected = NULL;
	struct err err = {0};
	size_t len;

	(void)snprintf(path, sizeof(path), SCREENS "/%.*s.txt", (int)strlen(name) - 5, name);
	if (getenv("GOLDEN_UPDATE") != NULL) {
		CHECK_OK(file_write_durable(AT_FDCWD, path, b->data, b->len, 0644, &err), &err);
		return;
	}
	CHECK_OK(file_read(AT_FDCWD, path, FIXTURE_MAX, &expected, &len, &err), &err);
	test_check_str(__FILE__, __LINE__, path, b->data, expected);
}

static void check_fixture(const char *name, bool width_only)
{
	char path[512];
	CLEANUP(freep) char *text = NULL;
	CLEANUP(buf_done) struct buf b = {0};
	struct err err = {0};
	json_t *fixture;
	size_t len;

	(void)snprintf(path, sizeof(path), SCREENS "/%s", name);
	CHECK_OK(file_read(AT_FDCWD, path, FIXTURE_MAX, &text, &len, &err), &err);
	CHECK_OK(json_parse_strict(text, len, name, &fixture, &err), &err);
	buf_init(&b, SCREEN_TEXT_MAX);
	render(name, fixture, &b);
	json_decref(fixture);
	/* Findings are for editors and grep: one a line, however long. */
	if (width_only && str_eq(name, "check.json"))
		return;
	if (width_only)
		check_width(name, b.data);
	else
		compare(name, &b);
}

static void each_fixture(bool width_only)
{
	struct dirent **names;
	int count = scandir(SCREENS, &names, is_fixture, alphasort);

	CHECK(count > 0);
	for (int i = 0; i < count; i++) {
		check_fixture(names[i]->d_name, width_only);
		free(names[i]);
	}
	free(names);
}

TEST(every_screen_is_as_recorded)
{
	each_fixture(false);
}

TEST(no_screen_is_wider_than_100_columns_or_ends_lines_with_spaces)
{
	each_fixture(true);
}

TEST(every_verb_that_renders_has_a_golden)
{
	for (size_t i = 0; i < verb_count; i++) {
		char path[512];
		CLEANUP(freep) char *text = NULL;
		struct err err = {0};
		size_t len;

		(void)snprintf(path, sizeof(path), SCREENS "/%s.json", verbs[i]->name);
		if (str_eq(verbs[i]->name, "apply") || str_eq(verbs[i]->name, "why"))
			continue; /* several, each named after its case */
		CHECK_OK(file_read(AT_FDCWD, path, FIXTURE_MAX, &text, &len, &err), &err);
	}
}

/* An agent of another release may leave out or change what a screen shows; it must not crash. */
TEST(an_empty_or_foreign_reply_still_renders)
{
	static const char *const replies[] = {
		"{}",
		"{\"conduits\":[{}],\"flows\":[{}],\"identities\":[{}],\"checks\":[{}],"
		"\"listeners\":[{}],\"changes\":[{}],\"adds\":[{}],\"reach\":[{}],\"errors\":[{}],"
		"\"cut\":[{}],\"zones\":[{}],\"problems\":[1],\"known_by\":[1],\"nearest\":{}}",
		"{\"conduits\":\"x\",\"flows\":7,\"identities\":{},\"checks\":null,"
		"\"listeners\":1.5,"
		"\"changes\":true,\"adds\":\"\",\"reach\":{},\"errors\":3,\"cut\":{},\"zones\":[7],"
		"\"problems\":{},\"known_by\":\"\",\"nearest\":[],\"features\":[],\"node\":7}"};
	const struct screen s = {.now = {1800000000}, .verbose = true};

	for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
		json_t *reply = json_loads(replies[i], 0, NULL);

		CHECK(reply != NULL);
		for (size_t v = 0; v < verb_count; v++) {
			CLEANUP(buf_done) struct buf b = {0};

			buf_init(&b, SCREEN_TEXT_MAX);
			if (verbs[v]->render != NULL)
				verbs[v]->render(reply, &s, &b);
			CHECK_INT(b.r, 0);
			check_width(verbs[v]->name, b.data);
		}
		json_decref(reply);
	}
}
