/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Command lines: words and options in any order, `--name VALUE`, `--name=VALUE`, `-x VALUE`,
 * `-xVALUE`, and
 * `--` before words that begin with a dash. An error says what would be right. getopt(3) is not
 * used because it prints on its own and cannot suggest.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define ARGS_OPTIONS_MAX  20
#define ARGS_REPEATED_MAX 1024

struct option_spec {
	const char *name;  /* without dashes, or NULL */
	char letter;       /* or 0 */
	const char *value; /* what stands for the value in the usage line; NULL for a flag */
	const char *help;
	bool many; /* may be given several times: args_next() */
};

struct args {
	char **words; /* in the argv given, which is reordered */
	size_t word_count;
	const char *values[ARGS_OPTIONS_MAX]; /* by position in the specs; "" for a flag; or NULL */
	/* Options with `many`, in the order given; `values` holds the first. */
	struct {
		size_t option;
		const char *value;
	} repeated[ARGS_REPEATED_MAX];
	size_t repeated_count;
};

/* -EINVAL with what is wrong and what would be right. argv begins with the first word. */
int args_parse(struct args *a, const struct option_spec *specs, size_t count, int argc, char **argv,
	       struct err *err);

/* "usage: PROGRAM ...", on as many lines as it takes. */
void args_usage(FILE *f, const char *program, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Each value of an option with `many` in turn, NULL behind the last. *iter starts at 0. */
const char *args_next(const struct args *a, size_t option, size_t *iter);
