/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/findings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VERBS_MAX  32
#define REASON_MAX 200

const struct verb *const verbs[] = {
	&verb_status,   &verb_check,   &verb_plan,    &verb_apply,      &verb_confirm,
	&verb_rollback, &verb_history, &verb_mode,    &verb_identities, &verb_conduits,
	&verb_flows,    &verb_watch,   &verb_why,     &verb_revoke,     &verb_quarantine,
	&verb_release,  &verb_grant,   &verb_suggest, &verb_doctor,     &verb_inventory,
	&verb_diff,     &verb_keygen,  &verb_sign,    &verb_enroll,     &verb_version,
	&verb_attest,
};
const size_t verb_count = ARRAY_LEN(verbs);

/* Verbs of FORMATS that belong to later releases: known, and refused as such. */
static const char *const later_verbs[] = {"support-bundle"};

enum { COMMON_RUN_DIR, COMMON_OUTPUT, COMMON_HELP, COMMON_COUNT };
static const struct option_spec common_options[COMMON_COUNT] = {
	[COMMON_RUN_DIR] = {.letter = 'C', .value = "RUN_DIR", .help = "the agent's run directory"},
	[COMMON_OUTPUT] = {.name = "output",
			   .letter = 'o',
			   .value = "table|json",
			   .help = "table for people, json for programs"},
	[COMMON_HELP] = {.name = "help", .letter = 'h', .help = "this text"},
};

const struct verb *verb_find(const char *name)
{
	for (size_t i = 0; i < verb_count; i++) {
		if (str_eq(verbs[i]->name, name))
			return verbs[i];
	}
	return NULL;
}

/* ---- texts about the command itself ---- */

static void print_usage_line(FILE *f, const struct verb *v)
{
	args_usage(f, "bailiwick", "[-C RUN_DIR] %s%s%s [-o table|json]", v->name,
		   *v->words != '\0' ? " " : "", v->words);
}

static void print_option(FILE *f, const struct option_spec *o)
{
	char text[64];
	const char *value = o->value != NULL ? o->value : "";
	const char letter[] = {o->letter, '\0'};

	(void)snprintf(text, sizeof(text), "%s%s%s%s%s%s%s", o->letter ? "-" : "", letter,
		       o->letter && o->name ? ", " : "", o->name ? "--" : "",
		       o->name ? o->name : "", o->value ? " " : "", value);
	(void)fprintf(f, "  %-28s %s\n", text, o->help);
}

static int print_verb_help(FILE *f, const struct verb *v)
{
	print_usage_line(f, v);
	(void)fprintf(f, "%s\n\n", v->summary);
	for (size_t i = 0; i < v->option_count; i++)
		print_option(f, &v->options[i]);
	for (size_t i = 0; i < COMMON_COUNT; i++)
		print_option(f, &common_options[i]);
	return CLI_OK;
}

static void print_verbs(FILE *f)
{
	(void)fputs("usage: bailiwick [-C RUN_DIR] VERB [-o table|json] ...\n\n", f);
	for (size_t i = 0; i < verb_count; i++)
		(void)fprintf(f, "  %-12s %s\n", verbs[i]->name, verbs[i]->summary);
	(void)fputs(
		"\n'bailiwick VERB --help' tells more; so does bailiwick(8). RUN_DIR is that of "
		"-C, else of\n$" RUN_DIR_VARIABLE ", else " RUN_DIR_DEFAULT ".\n",
		f);
}

/* ---- reporting ---- */

__attribute__((format(printf, 3, 0))) static void vfail(struct cli *c, const struct verb *v,
							const char *fmt, va_list ap)
{
	(void)fprintf(c->err, "bailiwick %s: ", v->name);
	(void)vfprintf(c->err, fmt, ap);
	(void)fputc('\n', c->err);
}

int cli_fail(struct cli *c, const struct verb *v, enum cli_exit code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfail(c, v, fmt, ap);
	va_end(ap);
	return (int)code;
}

int cli_usage(struct cli *c, const struct verb *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfail(c, v, fmt, ap);
	va_end(ap);
	print_usage_line(c->err, v);
	return CLI_USAGE;
}

/* A full disk or a closed pipe must not look like success. */
static int finish(struct cli *c, const struct verb *v, int code)
{
	if (fflush(c->out) == 0 && !ferror(c->out))
		return code;
	return cli_fail(c, v, CLI_FAILED, "output: %s", strerror(errno));
}

int cli_print(struct cli *c, const struct verb *v, const json_t *result, bool verbose, int code)
{
	const struct screen s = {.now = c->now, .verbose = verbose};
	CLEANUP(buf_done) struct buf b = {0};

	if (c->json) {
		if (json_dumpf(result, c->out, JSON_COMPACT) == 0)
			(void)fputc('\n', c->out);
		return finish(c, v, code);
	}
	buf_init(&b, SCREEN_TEXT_MAX);
	v->render(result, &s, &b);
	if (b.r < 0)
		return cli_fail(c, v, CLI_FAILED, "output: %s", strerror(-b.r));
	(void)fwrite(b.data, 1, b.len, c->out);
	return finish(c, v, code);
}

/* Findings of a refusal: to stderr as text; for programs, the object of `check` on stdout. */
static void print_findings(struct cli *c, const json_t *findings)
{
	CLEANUP(buf_done) struct buf b = {0};
	json_t *object;

	if (json_array_size(findings) == 0)
		return;
	object = json_pack("{s:i, s:b, s:O, s:[]}", "version", 1, "ok", 0, "errors", findings,
			   "warnings");
	if (object == NULL)
		return;
	buf_init(&b, SCREEN_TEXT_MAX);
	findings_render(object, &b);
	if (c->json) {
		(void)json_dumpf(object, c->out, JSON_COMPACT);
		(void)fputc('\n', c->out);
		(void)fflush(c->out);
	} else {
		(void)fwrite(b.data, 1, b.len, c->err);
	}
	json_decref(object);
}

int cli_call_as(struct cli *c, const struct verb *v, const char *request, json_t *take_args,
		struct reply *ret)
{
	CLEANUP(closep) int fd = -1;
	struct err err = {0};
	int r;

	r = client_connect(c->run_dir, &fd, &err);
	if (r == 0)
		r = client_exchange(fd, request, take_args, ret, &err);
	json_decref(take_args);
	if (r < 0)
		return cli_fail(c, v, CLI_FAILED, "%s", err.text);
	if (ret->ok)
		return CLI_OK;
	print_findings(c, ret->findings);
	r = cli_fail(c, v, (enum cli_exit)ret->exit, "%s", ret->error);
	reply_done(ret);
	return r;
}

int cli_call(struct cli *c, const struct verb *v, json_t *take_args, struct reply *ret)
{
	return cli_call_as(c, v, v->name, take_args, ret);
}

int cli_ask(struct cli *c, const struct verb *v, json_t *take_args, bool verbose)
{
	CLEANUP(reply_done) struct reply reply = {0};
	int code = cli_call(c, v, take_args, &reply);

	if (reply.result == NULL)
		return code;
	return cli_print(c, v, reply.result, verbose, reply.exit);
}

int cli_run_plain(struct cli *c, const struct verb *v, const struct args *a)
{
	(void)a;
	return cli_ask(c, v, NULL, false);
}

/* ---- options ---- */

int cli_take_text(struct cli *c, const struct verb *v, const struct args *a, size_t i, json_t *args,
		  const char *key)
{
	if (a->values[i] == NULL)
		return 0;
	if (json_object_set_new(args, key, json_string(a->values[i])) < 0)
		return cli_usage(c, v, "--%s: not valid UTF-8", v->options[i].name);
	return 0;
}

int cli_take_duration(struct cli *c, const struct verb *v, const struct args *a, size_t i,
		      json_t *args, const char *key)
{
	char quoted[LOG_QUOTE_MAX];
	int64_t seconds;

	if (a->values[i] == NULL)
		return 0;
	if (text_duration(a->values[i], &seconds) < 0)
		return cli_usage(c, v,
				 "--%s %s: not a duration; 90s, 10m, 8h or 30d would be right "
				 "(1s to 3650d)",
				 v->options[i].name, log_quote(quoted, a->values[i]));
	(void)json_object_set_new(args, key, json_integer(seconds));
	return 0;
}

int cli_take_reason(struct cli *c, const struct verb *v, const struct args *a, size_t i,
		    bool required, json_t *args)
{
	const char *reason = a->values[i];

	if (reason == NULL && required)
		return cli_usage(c, v,
				 "--reason is missing: say why, for history and whoever "
				 "reads it; --reason \"CHG-4711 contract ended\" would be right");
	if (reason == NULL)
		return 0;
	if (strlen(reason) > REASON_MAX || strpbrk(reason, "\r\n") != NULL)
		return cli_usage(c, v, "--reason: one line of at most %d bytes", REASON_MAX);
	return cli_take_text(c, v, a, i, args, "reason");
}

/* ---- dispatch ---- */

static int unknown_verb(struct cli *c, const char *word)
{
	const char *names[VERBS_MAX];
	char quoted[LOG_QUOTE_MAX];
	const char *near;

	for (size_t i = 0; i < ARRAY_LEN(later_verbs); i++) {
		if (str_eq(later_verbs[i], word)) {
			(void)fprintf(c->err, "bailiwick: '%s' is not in this release\n", word);
			return CLI_USAGE;
		}
	}
	for (size_t i = 0; i < verb_count; i++)
		names[i] = verbs[i]->name;
	near = text_nearest(word, names, verb_count);
	if (near != NULL)
		(void)fprintf(c->err, "bailiwick: no verb '%s'; did you mean '%s'?\n",
			      log_quote(quoted, word), near);
	else
		(void)fprintf(c->err, "bailiwick: no verb '%s'; 'bailiwick --help' lists them\n",
			      log_quote(quoted, word));
	return CLI_USAGE;
}

/* Position of the verb: the first word that is neither an option nor a common option's value. */
static int find_verb(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (argv[i][0] != '-' || argv[i][1] == '\0')
			return i;
		if (str_eq(argv[i], "-C") || str_eq(argv[i], "-o") || str_eq(argv[i], "--output"))
			i++;
	}
	return argc;
}

static int take_common(struct cli *c, const struct verb *v, const char *const *values)
{
	const char *output = values[COMMON_OUTPUT];

	if (values[COMMON_RUN_DIR] != NULL)
		c->run_dir = values[COMMON_RUN_DIR];
	if (output != NULL && !str_eq(output, "table") && !str_eq(output, "json"))
		return cli_usage(c, v, "-o %s: no such form; table or json would be right", output);
	c->json = str_eq(output, "json");
	return 0;
}

static int check_words(struct cli *c, const struct verb *v, const struct args *a)
{
	char quoted[LOG_QUOTE_MAX];

	if (a->word_count < v->words_min)
		return cli_usage(c, v, "something is missing: %s", v->words);
	if (a->word_count > v->words_max)
		return cli_usage(c, v, "'%s' is one word too many",
				 log_quote(quoted, a->words[v->words_max]));
	return 0;
}

static int run_verb(struct cli *c, const struct verb *v, int argc, char **argv)
{
	struct option_spec specs[ARGS_OPTIONS_MAX];
	size_t count = v->option_count;
	struct args a;
	struct err err = {0};
	int r;

	for (size_t i = 0; i < count; i++)
		specs[i] = v->options[i];
	memcpy(specs + count, common_options, sizeof(common_options));
	if (args_parse(&a, specs, count + COMMON_COUNT, argc, argv, &err) < 0)
		return cli_usage(c, v, "%s", err.text);
	if (a.values[count + COMMON_HELP] != NULL)
		return print_verb_help(c->out, v);
	r = take_common(c, v, a.values + count);
	if (r == 0)
		r = check_words(c, v, &a);
	return r != 0 ? r : v->run(c, v, &a);
}

int cli_main(int argc, char **argv, FILE *out, FILE *err)
{
	const char *from_environment = getenv(RUN_DIR_VARIABLE);
	struct cli c = {.run_dir = RUN_DIR_DEFAULT, .out = out, .err = err, .now = wall_now()};
	const struct verb *v;
	int at = find_verb(argc, argv);

	if (from_environment != NULL && *from_environment != '\0')
		c.run_dir = from_environment;
	if (at >= argc) {
		bool help = argc == 2 && (str_eq(argv[1], "--help") || str_eq(argv[1], "-h"));

		if (argc == 2 && str_eq(argv[1], "--version"))
			return run_verb(&c, &verb_version, 0, argv + argc);
		print_verbs(help ? out : err);
		return help ? CLI_OK : CLI_USAGE;
	}
	v = verb_find(argv[at]);
	if (v == NULL)
		return unknown_verb(&c, argv[at]);
	memmove(argv + at, argv + at + 1, (size_t)(argc - at - 1) * sizeof(*argv));
	return run_verb(&c, v, argc - 2, argv + 1);
}
