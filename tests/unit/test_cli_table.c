/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/screen.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

static const struct column two[] = {
	{"NAME", COLUMN_LEFT, CUT_END, 6},
	{"COUNT", COLUMN_RIGHT, CUT_END, 0},
};

static char *print(const struct column *columns, size_t count, const char *const *cells, size_t n)
{
	struct buf b;
	struct table t;

	buf_init(&b, SCREEN_TEXT_MAX);
	table_init(&t, columns, count);
	for (size_t i = 0; i < n; i++)
		table_cell(&t, cells[i]);
	table_print(&t, 0, &b);
	table_done(&t);
	CHECK_INT(b.r, 0);
	return buf_take(&b);
}

TEST(columns_are_aligned_and_nothing_trails)
{
	static const char *const cells[] = {"a", "1", "longer", "10000"};
	CLEANUP(freep) char *text = print(two, ARRAY_LEN(two), cells, ARRAY_LEN(cells));

	CHECK_STR(text, "NAME   COUNT\n"
			"a          1\n"
			"longer 10000\n");
}

TEST(a_table_without_rows_prints_nothing)
{
	CLEANUP(freep) char *text = print(two, ARRAY_LEN(two), NULL, 0);

	CHECK_STR(text, "");
}

TEST(an_empty_cell_is_a_dash)
{
	static const char *const cells[] = {NULL, ""};
	CLEANUP(freep) char *text = print(two, ARRAY_LEN(two), cells, ARRAY_LEN(cells));

	CHECK_CONTAINS(text, "\n-        -\n");
}

static const struct column cut[] = {
	{"END", COLUMN_LEFT, CUT_END, 6},
	{"BEGIN", COLUMN_LEFT, CUT_BEGIN, 6},
};

TEST(long_cells_are_cut_to_100_columns_at_the_named_end)
{
	char end[101] = "first", begin[101];
	const char *const cells[] = {end, begin};
	CLEANUP(freep) char *text = NULL;
	char *row;

	memset(end + 5, 'x', sizeof(end) - 6);
	memset(begin, 'y', sizeof(begin) - 6);
	memcpy(begin + sizeof(begin) - 6, "final", 6);
	text = print(cut, ARRAY_LEN(cut), cells, ARRAY_LEN(cells));
	row = strchr(text, '\n') + 1;
	CHECK_UINT(width_of(row, strlen(row) - 1), SCREEN_COLUMNS);
	CHECK_CONTAINS(row, "firstx");
	CHECK_CONTAINS(row, "x\xe2\x80\xa6 \xe2\x80\xa6y");
	CHECK_CONTAINS(row, "yfinal\n");
}

/* A cut in the middle of a character would be no UTF-8 any more. */
TEST(a_cut_never_splits_a_character)
{
	char name[301] = "";
	const char *const cells[] = {name, "1"};
	CLEANUP(freep) char *text = NULL;

	for (size_t i = 0; i < 300; i += 2)
		memcpy(name + i, "\xc3\xbc", 3);
	text = print(two, ARRAY_LEN(two), cells, ARRAY_LEN(cells));
	CHECK_CONTAINS(text, "\xc3\xbc\xe2\x80\xa6 ");
	CHECK(strstr(text, "?") == NULL);
}

TEST(control_characters_never_reach_the_terminal)
{
	static const struct {
		const char *in, *out;
	} cases[] = {{"a\033[31mb", "a?[31mb"},
		     {"a\nb\tc\r", "a?b?c?"},
		     {"\x7f", "?"},
		     {"\xc2\x9b", "??"},
		     {"\xff\xfe", "??"},
		     {"\xc3", "?"},
		     {"\xc3\xbc", "\xc3\xbc"},
		     {"\xf0\x9f\x94\x92", "\xf0\x9f\x94\x92"}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(buf_done) struct buf b = {0};

		buf_init(&b, SCREEN_TEXT_MAX);
		put_clean(&b, cases[i].in);
		CHECK_STR(b.data, cases[i].out);
	}
}

TEST(counts_have_separators)
{
	char text[COUNT_TEXT_MAX];

	CHECK_STR(count_format(text, 0), "0");
	CHECK_STR(count_format(text, 999), "999");
	CHECK_STR(count_format(text, 1000), "1,000");
	CHECK_STR(count_format(text, 48112), "48,112");
	CHECK_STR(count_format(text, -1234567), "-1,234,567");
	CHECK_STR(count_format(text, INT64_MIN), "-9,223,372,036,854,775,808");
}

TEST(ages_are_short)
{
	char text[AGE_TEXT_MAX];

	CHECK_STR(age_format(text, -5), "0 s");
	CHECK_STR(age_format(text, 119), "119 s");
	CHECK_STR(age_format(text, 120), "2 min");
	CHECK_STR(age_format(text, 7200), "2 h");
	CHECK_STR(age_format(text, 86399), "23 h");
	CHECK_STR(age_format(text, 3 * 86400 + 4 * 3600), "3 d 04 h");
}

static void check_party(const char *json, const char *expected)
{
	json_t *party = json_loads(json, JSON_DECODE_ANY, NULL);
	char text[PARTY_TEXT_MAX];

	CHECK_STR(party_format(text, party), expected);
	json_decref(party);
}

TEST(parties_are_named_by_what_is_known)
{
	check_party("{\"identity\":\"p/s\",\"name\":\"s\",\"node\":\"n\",\"type\":\"identity\"}",
		    "s@n");
	check_party("{\"identity\":\"p/s\",\"node\":null}", "p/s");
	check_party("{\"name\":\"world\",\"node\":null,\"type\":\"network\"}", "world (network)");
	check_party("{\"name\":null,\"node\":\"n\",\"type\":\"node\"}", "n (node)");
	check_party("{\"identity\":null,\"address\":\"fd00::1\",\"port\":53}", "[fd00::1]:53");
	check_party("{\"identity\":null,\"address\":\"10.0.0.1\",\"port\":0}", "10.0.0.1");
	check_party("\"s@n\"", "s@n");
	check_party("{}", "-");
	check_party("7", "-");
}

TEST(long_values_wrap_at_spaces_below_their_key)
{
	CLEANUP(buf_done) struct buf b = {0};
	const struct pairs p = {&b, 10};

	buf_init(&b, SCREEN_TEXT_MAX);
	pairs_put(&p, "key", "%s", "");
	CHECK_STR(b.data, "");
	pairs_put(&p, "key", "%089d %s", 0, "next");
	CHECK_CONTAINS(b.data, "key       000");
	CHECK_CONTAINS(b.data, "0\n          next\n");
	pairs_put(&p, "key", "%0200d", 0);
	CHECK_INT(b.r, 0);
}

OOM_TEST(a_table_survives_any_failed_allocation)
{
	CLEANUP(buf_done) struct buf b = {0};
	struct table t;

	buf_init(&b, SCREEN_TEXT_MAX);
	table_init(&t, two, ARRAY_LEN(two));
	for (int i = 0; i < 20; i++)
		table_cellf(&t, "cell %d", i);
	table_print(&t, 0, &b);
	table_done(&t);
	return b.r;
}
