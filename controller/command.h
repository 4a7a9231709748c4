/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The command `bailiwick-controller`: a table of verbs. `init`, `dev` and `serve` work on the data
 * directory; all others ask the running server through its operator API, so that there is one
 * writer of the database. Exit codes are those of FORMATS.
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "cli/args.h"
#include "cli/screen.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { EXIT_IS_OK = 0, EXIT_IS_ERROR = 1, EXIT_IS_USAGE = 2, EXIT_IS_DENIED = 3 };

#define DATA_DIR_DEFAULT "/var/lib/bailiwick-controller"

struct api;

struct console {
	const char *data_dir;
	const char *url, *cert, *key, *ca; /* NULL: as the data directory has them */
	bool json;
	FILE *out, *err;
	struct wall now;
};

struct command {
	const char *name;
	const char *words;
	const char *summary;
	const struct option_spec *options;
	size_t option_count;
	size_t words_min, words_max;
	int (*run)(struct console *c, const struct command *v, const struct args *a);
	/* The screen of a result. */
	void (*render)(const json_t *result, const struct screen *s, struct buf *b);
};

extern const struct command command_init, command_dev, command_serve, command_node, command_token,
	command_place, command_publish, command_quarantine, command_release, command_revoke,
	command_grant, command_status, command_audit, command_operator;

extern const struct command *const commands[];
const struct command *command_find(const char *name);

/* The whole command; returns its exit code. argv is reordered. */
int command_main(int argc, char **argv, FILE *out, FILE *err);

/* ---- what verbs use ---- */

/* "bailiwick-controller VERB: text" to stderr; EXIT_IS_ERROR. */
int command_fail(struct console *c, const struct command *v, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The same and the usage line; EXIT_IS_USAGE. */
int command_usage(struct console *c, const struct command *v, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/*
 * The error of a call of api.h; the exit code is what the controller's answer means: 3 when policy
 * or the operator's rights forbid it, 2 when the words were wrong, else 1. api may be NULL.
 */
int command_refused(struct console *c, const struct command *v, const struct api *api,
		    const struct err *err);
/* Prints as table or JSON. Steals the reference. */
int command_print(struct console *c, const struct command *v, json_t *take_result);
/* Asks the server and prints what it says. method "GET" or "POST"; steals body (may be NULL). */
int command_ask(struct console *c, const struct command *v, const char *method, const char *path,
		json_t *take_body);

/* Option i into body[key]; 0, or EXIT_IS_USAGE with the error printed. */
int command_text(struct console *c, const struct command *v, const struct args *a, size_t i,
		 json_t *body, const char *key, bool required);
int command_duration(struct console *c, const struct command *v, const struct args *a, size_t i,
		     json_t *body, const char *key, bool required);
