/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bailiwick-controller as a whole, without a server: usage, help, exit codes. */
#include "controller/command.h"

#include "base/mem.h"
#include "base/text.h"
#include "tests/unit/command_fixture.h"
#include "tests/unit/test.h"

#include <string.h>

static struct command_said said;

#define COMMAND(...)                                                                               \
	command_run(command_main, "bailiwick-controller", ((const char *const[]){__VA_ARGS__}),    \
		    ARRAY_LEN(((const char *const[]){__VA_ARGS__})), &said)

TEST(controller_help_of_each_verb_fits_the_screen)
{
	for (const struct command *const *v = commands; *v != NULL; v++) {
		CHECK_INT(COMMAND((*v)->name, "--help"), EXIT_IS_OK);
		for (const char *line = said.out; *line != '\0'; line += strcspn(line, "\n") + 1) {
			if (strcspn(line, "\n") > SCREEN_COLUMNS)
				CHECK_STR(line, "a line that fits");
		}
	}
	CHECK_INT(COMMAND("grant", "--help"), EXIT_IS_OK);
	CHECK_CONTAINS(said.out,
		       "usage: bailiwick-controller grant RULE --from IDENTITY --to IDENTITY "
		       "--for DURATION --reason TEXT\n"
		       "                            [--data DIR] [-o table|json]\n"
		       "open a rule");
	CHECK_INT(COMMAND("-h"), EXIT_IS_OK);
	CHECK_CONTAINS(said.out, "usage: bailiwick-controller VERB");
}

TEST(a_new_directory_needs_a_trust_domain)
{
	CLEANUP(freep) char *dir = mem_printf("%s/new", test_dir());

	CHECK_INT(COMMAND("init", "--data", dir, "--name", "ctl.acme.example"), EXIT_IS_USAGE);
	CHECK_STR(said.out, "");
	CHECK_CONTAINS(said.err, "--trust-domain acme.example would be right\nusage: ");
}

TEST(without_a_directory_the_error_says_what_makes_one)
{
	CLEANUP(freep) char *dir = mem_printf("%s/nowhere", test_dir());

	CHECK_INT(COMMAND("serve", "--data", dir), EXIT_IS_ERROR);
	CHECK_CONTAINS(said.err, "'bailiwick-controller init --data ");
	CHECK_INT(COMMAND("status", "--data", dir), EXIT_IS_ERROR);
	CHECK_CONTAINS(said.err, "'bailiwick-controller serve --data ");
}
