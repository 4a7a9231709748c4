/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/args.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdint.h>

enum { FOR, FORCE, OUTPUT };
static const struct option_spec specs[] = {
	[FOR] = {.name = "for", .value = "DURATION"},
	[FORCE] = {.name = "force"},
	[OUTPUT] = {.name = "output", .letter = 'o', .value = "table|json"},
};

/* As main() has them: texts that nobody writes to. */
static int parse(struct args *ret, const char *const *argv, int argc, struct err *err)
{
	return args_parse(ret, specs, ARRAY_LEN(specs), argc, (char **)(uintptr_t)argv, err);
}

TEST(words_and_options_come_in_any_order)
{
	struct args a;
	struct err err = {0};
	const char *argv[] = {"one", "--for", "8h", "-ojson", "two", "--force", "--", "--three"};

	CHECK_OK(parse(&a, argv, ARRAY_LEN(argv), &err), &err);
	CHECK_UINT(a.word_count, 3);
	CHECK_STR(a.words[0], "one");
	CHECK_STR(a.words[1], "two");
	CHECK_STR(a.words[2], "--three");
	CHECK_STR(a.values[FOR], "8h");
	CHECK_STR(a.values[FORCE], "");
	CHECK_STR(a.values[OUTPUT], "json");
}

TEST(a_value_may_stand_behind_an_equals_sign)
{
	struct args a;
	struct err err = {0};
	const char *argv[] = {"--for=8h", "-"};

	CHECK_OK(parse(&a, argv, ARRAY_LEN(argv), &err), &err);
	CHECK_STR(a.values[FOR], "8h");
	CHECK_STR(a.words[0], "-");
	CHECK(a.values[FORCE] == NULL);
}

static void check_refused(const char *const *argv, int argc, const char *part)
{
	struct args a;
	struct err err = {0};

	CHECK_INT(parse(&a, argv, argc, &err), -EINVAL);
	CHECK_CONTAINS(err.text, part);
}
#define CHECK_REFUSED(part, ...)                                                                   \
	do {                                                                                       \
		const char *argv_[] = {__VA_ARGS__};                                               \
		check_refused(argv_, ARRAY_LEN(argv_), part);                                      \
	} while (0)

TEST(errors_say_what_would_be_right)
{
	CHECK_REFUSED("did you mean --force?", "--forse");
	CHECK_REFUSED("no option --zzz here", "--zzz");
	CHECK_REFUSED("--for needs a value: --for DURATION", "--for");
	CHECK_REFUSED("--for needs a value", "--for=");
	CHECK_REFUSED("--force takes no value", "--force=yes");
	CHECK_REFUSED("--for is given twice", "--for", "1h", "--for", "2h");
	CHECK_REFUSED("no option -x here", "-x");
	CHECK_REFUSED("no option --\\x1b", "--\033[31m");
	CHECK_REFUSED("no option --aaaa",
		      "--aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
}

TEST(an_option_may_be_given_several_times_where_it_says_so)
{
	static const struct option_spec many[] = {
		{.name = "node", .value = "NODE", .many = true},
		{.name = "comment", .value = "TEXT"},
		{.name = "requires", .value = "NAME", .many = true},
	};
	const char *argv[] = {"--node", "a", "--requires=x", "--comment", "c", "--node=b", "word"};
	struct args a;
	struct err err = {0};
	size_t iter = 0;

	CHECK_OK(args_parse(&a, many, ARRAY_LEN(many), ARRAY_LEN(argv), (char **)(uintptr_t)argv,
			    &err),
		 &err);
	CHECK_STR(args_next(&a, 0, &iter), "a");
	CHECK_STR(args_next(&a, 0, &iter), "b");
	CHECK(args_next(&a, 0, &iter) == NULL);
	iter = 0;
	CHECK_STR(args_next(&a, 2, &iter), "x");
	CHECK(args_next(&a, 2, &iter) == NULL);
	iter = 0;
	CHECK(args_next(&a, 1, &iter) == NULL);
	CHECK_STR(a.values[0], "a");
	CHECK_STR(a.words[0], "word");
}
