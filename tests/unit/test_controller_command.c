/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bailiwick-controller as a whole, without a server: usage, help, exit codes. */
#include "controller/command.h"

#include "base/mem.h"
#include "base/text.h"
#include "tests/unit/test.h"

#include <stdlib.h>
#include <string.h>

static char *out, *err_out;

static int command(const char *const *words, size_t count)
{
	const char *argv[24] = {"bailiwick-controller"};
	size_t out_len, err_len;
	FILE *o, *e;
	int r;

	free(out);
	free(err_out);
	out = err_out = NULL;
	o = open_memstream(&out, &out_len);
	e = open_memstream(&err_out, &err_len);
	for (size_t i = 0; i < count; i++)
		argv[1 + i] = words[i];
	r = command_main((int)(1 + count), (char **)(uintptr_t)argv, o, e);
	(void)fclose(o);
	(void)fclose(e);
	return r;
}
#define COMMAND(...)                                                                               \
	command(((const char *const[]){__VA_ARGS__}),                                              \
		ARRAY_LEN(((const char *const[]){__VA_ARGS__})))

TEST(controller_help_of_each_verb_fits_the_screen)
{
	for (const struct command *const *v = commands; *v != NULL; v++) {
		CHECK_INT(COMMAND((*v)->name, "--help"), EXIT_IS_OK);
		for (const char *line = out; *line != '\0'; line += strcspn(line, "\n") + 1) {
			if (strcspn(line, "\n") > SCREEN_COLUMNS)
				CHECK_STR(line, "a line that fits");
		}
	}
	CHECK_INT(COMMAND("grant", "--help"), EXIT_IS_OK);
	CHECK_CONTAINS(out, "usage: bailiwick-controller grant RULE --from IDENTITY --to IDENTITY "
			    "--for DURATION --reason TEXT\n"
			    "                            [--data DIR] [-o table|json]\n"
			    "open a rule");
	CHECK_INT(COMMAND("-h"), EXIT_IS_OK);
	CHECK_CONTAINS(out, "usage: bailiwick-controller VERB");
}

TEST(a_new_directory_needs_a_trust_domain)
{
	CLEANUP(freep) char *dir = mem_printf("%s/new", test_dir());

	CHECK_INT(COMMAND("init", "--data", dir, "--name", "ctl.acme.example"), EXIT_IS_USAGE);
	CHECK_STR(out, "");
	CHECK_CONTAINS(err_out, "--trust-domain acme.example would be right\nusage: ");
}

TEST(without_a_directory_the_error_says_what_makes_one)
{
	CLEANUP(freep) char *dir = mem_printf("%s/nowhere", test_dir());

	CHECK_INT(COMMAND("serve", "--data", dir), EXIT_IS_ERROR);
	CHECK_CONTAINS(err_out, "'bailiwick-controller init --data ");
	CHECK_INT(COMMAND("status", "--data", dir), EXIT_IS_ERROR);
	CHECK_CONTAINS(err_out, "'bailiwick-controller serve --data ");
}
