/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The command `bailiwick`: a table of verbs, one file each. A verb turns its words into a request,
 * the agent answers with the object of FORMATS, and the verb's renderer makes a screen of it; with
 * `-o json` the object is printed as it came. Nothing here touches the kernel: when the command
 * fails, traffic is as it was.
 */
#pragma once

#include "base/err.h"
#include "cli/args.h"
#include "cli/client.h"
#include "cli/screen.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#define RUN_DIR_DEFAULT  "/run/bailiwick"
#define RUN_DIR_VARIABLE "BAILIWICK_RUN_DIR"
#define SITE_DIR_DEFAULT "/etc/bailiwick/site"

/* FORMATS, "Command line". */
enum cli_exit {
	CLI_OK,
	CLI_FAILED,
	CLI_USAGE,
	CLI_DENIED,
	CLI_DRIFT,
	CLI_NOT_ENFORCING,
};

struct cli {
	const char *run_dir;
	bool json;
	FILE *out, *err;
	struct wall now;
};

struct verb {
	const char *name;
	const char *words;   /* behind the name in the usage line */
	const char *summary; /* for the list of verbs */
	const struct option_spec *options;
	size_t option_count;
	size_t words_min, words_max;
	int (*run)(struct cli *c, const struct verb *v, const struct args *a);
	/* The screen of a result; NULL for a verb that prints on its own. */
	void (*render)(const json_t *result, const struct screen *s, struct buf *b);
};

extern const struct verb verb_status, verb_check, verb_plan, verb_apply, verb_confirm,
	verb_rollback, verb_history, verb_mode, verb_identities, verb_conduits, verb_flows,
	verb_watch, verb_why, verb_revoke, verb_quarantine, verb_release, verb_doctor,
	verb_inventory, verb_enroll, verb_diff, verb_keygen, verb_sign, verb_version, verb_grant,
	verb_suggest, verb_attest;

extern const struct verb *const verbs[];
extern const size_t verb_count;
const struct verb *verb_find(const char *name);

/* The whole command; returns its exit code. argv is reordered. */
int cli_main(int argc, char **argv, FILE *out, FILE *err);

/* ---- what verbs use ---- */

/* "bailiwick VERB: text" to stderr; returns the exit code given. */
int cli_fail(struct cli *c, const struct verb *v, enum cli_exit code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* A wrong command line: the text and the usage line; CLI_USAGE. */
int cli_usage(struct cli *c, const struct verb *v, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Asks the agent and prints what it says. Takes `args` (may be NULL); returns the exit code. */
int cli_ask(struct cli *c, const struct verb *v, json_t *take_args, bool verbose);
/* Asks only; CLI_OK and *ret filled, or an exit code with the error printed. */
int cli_call(struct cli *c, const struct verb *v, json_t *take_args, struct reply *ret);
/* The same under another name than the verb's own. */
int cli_call_as(struct cli *c, const struct verb *v, const char *request, json_t *take_args,
		struct reply *ret);
/* Prints a result as table or JSON; returns `code`, or CLI_FAILED when it could not be written. */
int cli_print(struct cli *c, const struct verb *v, const json_t *result, bool verbose, int code);
/* run() of a verb without words and options of its own. */
int cli_run_plain(struct cli *c, const struct verb *v, const struct args *a);

/* Sets args[key] from option i when it is given. 0, or CLI_USAGE with the error printed. */
int cli_take_text(struct cli *c, const struct verb *v, const struct args *a, size_t i, json_t *args,
		  const char *key);
int cli_take_duration(struct cli *c, const struct verb *v, const struct args *a, size_t i,
		      json_t *args, const char *key);
/* The reason that change verbs must have: one line of text that says why. */
int cli_take_reason(struct cli *c, const struct verb *v, const struct args *a, size_t i,
		    bool required, json_t *args);
