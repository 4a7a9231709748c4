/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/command_fixture.h"

#include "tests/unit/test.h"

#include <stdint.h>
#include <stdlib.h>

#define WORDS_MAX 22

int command_run(int (*main_of)(int argc, char **argv, FILE *out, FILE *err), const char *program,
		const char *const *words, size_t count, struct command_said *said)
{
	const char *argv[1 + WORDS_MAX + 1] = {program};
	size_t out_len, err_len;
	FILE *out, *err;
	int r;

	CHECK(count <= WORDS_MAX);
	free(said->out);
	free(said->err);
	*said = (struct command_said){0};
	out = open_memstream(&said->out, &out_len);
	err = open_memstream(&said->err, &err_len);
	for (size_t i = 0; i < count; i++)
		argv[1 + i] = words[i];
	r = main_of((int)(1 + count), (char **)(uintptr_t)argv, out, err);
	(void)fclose(out);
	(void)fclose(err);
	return r;
}
