/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A command as a whole, by its main(): its exit code, and what it said. */
#pragma once

#include <stddef.h>
#include <stdio.h>

struct command_said {
	char *out, *err; /* of the last run; NULL before the first */
};

/* At most 22 words behind the program's name. `said` loses what it held. */
int command_run(int (*main_of)(int argc, char **argv, FILE *out, FILE *err), const char *program,
		const char *const *words, size_t count, struct command_said *said);
