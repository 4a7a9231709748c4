/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/command.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/release.h"
#include "base/text.h"
#include "controller/api.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAM      "bailiwick-controller"
#define COMMANDS_MAX 32
#define REASON_MAX   1024

const struct command *const commands[] = {
	&command_dev,   &command_init,    &command_serve,      &command_node,     &command_token,
	&command_place, &command_publish, &command_quarantine, &command_release,  &command_revoke,
	&command_grant, &command_status,  &command_audit,      &command_operator, NULL,
};

enum {
	COMMON_DATA,
	COMMON_OUTPUT,
	COMMON_URL,
	COMMON_CERT,
	COMMON_KEY,
	COMMON_CA,
	COMMON_HELP,
	COMMON_COUNT
};
static const struct option_spec common_options[COMMON_COUNT] = {
	[COMMON_DATA] = {.name = "data",
			 .value = "DIR",
			 .help = "data directory; " DATA_DIR_DEFAULT},
	[COMMON_OUTPUT] = {.name = "output",
			   .letter = 'o',
			   .value = "FORM",
			   .help = "table or json"},
	[COMMON_URL] = {.name = "url", .value = "URL", .help = "a controller elsewhere"},
	[COMMON_CERT] = {.name = "cert", .value = "FILE", .help = "the operator's certificate"},
	[COMMON_KEY] = {.name = "key", .value = "FILE", .help = "and its key"},
	[COMMON_CA] = {.name = "ca", .value = "FILE", .help = "who vouches for the controller"},
	[COMMON_HELP] = {.name = "help", .letter = 'h', .help = "this text"},
};

const struct command *command_find(const char *name)
{
	for (const struct command *const *v = commands; *v != NULL; v++) {
		if (str_eq((*v)->name, name))
			return *v;
	}
	return NULL;
}

/* ---- texts ---- */

static void print_usage_line(FILE *f, const struct command *v)
{
	args_usage(f, PROGRAM, "%s%s%s [--data DIR] [-o table|json]", v->name,
		   *v->words != '\0' ? " " : "", v->words);
}

static void print_option(FILE *f, const struct option_spec *o)
{
	char text[64];
	const char letter[] = {'-', o->letter, '\0'};

	(void)snprintf(text, sizeof(text), "%s%s--%s%s%s", o->letter != '\0' ? letter : "",
		       o->letter != '\0' ? ", " : "", o->name, o->value != NULL ? " " : "",
		       o->value != NULL ? o->value : "");
	(void)fprintf(f, "  %-28s %s\n", text, o->help);
}

static int print_help(FILE *f, const struct command *v)
{
	print_usage_line(f, v);
	(void)fprintf(f, "%s\n\n", v->summary);
	for (size_t i = 0; i < v->option_count; i++)
		print_option(f, &v->options[i]);
	for (size_t i = 0; i < COMMON_COUNT; i++)
		print_option(f, &common_options[i]);
	return EXIT_IS_OK;
}

static void print_commands(FILE *f)
{
	(void)fputs("usage: " PROGRAM " VERB [--data DIR] [-o table|json] ...\n\n", f);
	for (const struct command *const *v = commands; *v != NULL; v++)
		(void)fprintf(f, "  %-12s %s\n", (*v)->name, (*v)->summary);
	(void)fputs("\n'" PROGRAM " VERB --help' tells more; so does " PROGRAM "(8).\n", f);
}

__attribute__((format(printf, 3, 0))) static void vfail(struct console *c, const struct command *v,
							const char *fmt, va_list ap)
{
	(void)fprintf(c->err, PROGRAM " %s: ", v->name);
	(void)vfprintf(c->err, fmt, ap);
	(void)fputc('\n', c->err);
}

int command_fail(struct console *c, const struct command *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfail(c, v, fmt, ap);
	va_end(ap);
	return EXIT_IS_ERROR;
}

int command_usage(struct console *c, const struct command *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfail(c, v, fmt, ap);
	va_end(ap);
	print_usage_line(c->err, v);
	return EXIT_IS_USAGE;
}

int command_refused(struct console *c, const struct command *v, const struct api *api,
		    const struct err *err)
{
	long status = api_status(api);

	(void)command_fail(c, v, "%s", err->text);
	if (status == 403)
		return EXIT_IS_DENIED;
	return status == 400 ? EXIT_IS_USAGE : EXIT_IS_ERROR;
}

/* ---- results ---- */

static int print_json(struct console *c, const json_t *result)
{
	if (json_dumpf(result, c->out, JSON_COMPACT) < 0 || fputc('\n', c->out) == EOF)
		return -EIO;
	return 0;
}

static int print_screen(struct console *c, const struct command *v, const json_t *result)
{
	CLEANUP(buf_done) struct buf b = {0};
	struct screen s = {.now = c->now};

	buf_init(&b, SCREEN_TEXT_MAX);
	v->render(result, &s, &b);
	if (b.r < 0)
		return b.r;
	return b.len > 0 && fwrite(b.data, 1, b.len, c->out) != b.len ? -EIO : 0;
}

int command_print(struct console *c, const struct command *v, json_t *take_result)
{
	int r = c->json ? print_json(c, take_result) : print_screen(c, v, take_result);

	json_decref(take_result);
	if (r >= 0 && fflush(c->out) == 0)
		return EXIT_IS_OK;
	return command_fail(c, v, "the result cannot be written: %s", strerror(r < 0 ? -r : errno));
}

int command_ask(struct console *c, const struct command *v, const char *method, const char *path,
		json_t *take_body)
{
	CLEANUP(api_freep) struct api *api = NULL;
	struct err err = {{0}};
	json_t *result = NULL;
	int r = api_open(c, &api, &err);

	if (r >= 0 && str_eq(method, "GET"))
		r = api_get(api, path, &result, &err);
	else if (r >= 0)
		r = api_post(api, path, take_body, &result, &err);
	json_decref(take_body);
	if (r < 0)
		return command_refused(c, v, api, &err);
	return command_print(c, v, result);
}

/* ---- options ---- */

int command_text(struct console *c, const struct command *v, const struct args *a, size_t i,
		 json_t *body, const char *key, bool required)
{
	const char *name = v->options[i].name, *value = a->values[i];

	if (value == NULL)
		return required ? command_usage(c, v, "--%s is missing; --%s %s would be right",
						name, name, v->options[i].value)
				: 0;
	if (strlen(value) > REASON_MAX || strpbrk(value, "\r\n") != NULL ||
	    json_object_set_new(body, key, json_string(value)) < 0)
		return command_usage(c, v,
				     "--%s: one line of at most %d bytes of UTF-8 would be "
				     "right",
				     name, REASON_MAX);
	return 0;
}

int command_duration(struct console *c, const struct command *v, const struct args *a, size_t i,
		     json_t *body, const char *key, bool required)
{
	const char *name = v->options[i].name, *value = a->values[i];
	char quoted[LOG_QUOTE_MAX];
	int64_t seconds;

	if (value == NULL)
		return required ? command_usage(c, v, "--%s is missing; --%s 8h would be right",
						name, name)
				: 0;
	if (text_duration(value, &seconds) < 0)
		return command_usage(c, v,
				     "--%s %s: not a duration; 90s, 10m, 8h or 30d would be "
				     "right",
				     name, log_quote(quoted, value));
	(void)json_object_set_new(body, key, json_integer(seconds));
	return 0;
}

/* ---- dispatch ---- */

static int unknown_command(struct console *c, const char *word)
{
	const char *names[COMMANDS_MAX], *near;
	char quoted[LOG_QUOTE_MAX];
	size_t count = 0;

	for (const struct command *const *v = commands; *v != NULL; v++)
		names[count++] = (*v)->name;
	near = text_nearest(word, names, count);
	if (near != NULL)
		(void)fprintf(c->err, PROGRAM ": no verb '%s'; did you mean '%s'?\n",
			      log_quote(quoted, word), near);
	else
		(void)fprintf(c->err, PROGRAM ": no verb '%s'; '" PROGRAM " --help' lists them\n",
			      log_quote(quoted, word));
	return EXIT_IS_USAGE;
}

static int take_common(struct console *c, const struct command *v, const char *const *values)
{
	const char *output = values[COMMON_OUTPUT];

	if (values[COMMON_DATA] != NULL)
		c->data_dir = values[COMMON_DATA];
	c->url = values[COMMON_URL];
	c->cert = values[COMMON_CERT];
	c->key = values[COMMON_KEY];
	c->ca = values[COMMON_CA];
	if (output != NULL && !str_eq(output, "table") && !str_eq(output, "json"))
		return command_usage(c, v, "-o: table or json would be right");
	c->json = str_eq(output, "json");
	return 0;
}

static int run_command(struct console *c, const struct command *v, int argc, char **argv)
{
	struct option_spec specs[ARGS_OPTIONS_MAX];
	CLEANUP(freep) struct args *a = mem_calloc(1, sizeof(*a));
	size_t count = v->option_count;
	char quoted[LOG_QUOTE_MAX];
	struct err err = {{0}};
	int r;

	if (a == NULL)
		return command_fail(c, v, "out of memory");
	if (count > 0)
		memcpy(specs, v->options, count * sizeof(*specs));
	memcpy(specs + count, common_options, sizeof(common_options));
	if (args_parse(a, specs, count + COMMON_COUNT, argc, argv, &err) < 0)
		return command_usage(c, v, "%s", err.text);
	if (a->values[count + COMMON_HELP] != NULL)
		return print_help(c->out, v);
	r = take_common(c, v, a->values + count);
	if (r != 0)
		return r;
	if (a->word_count < v->words_min)
		return command_usage(c, v, "something is missing: %s", v->words);
	if (a->word_count > v->words_max)
		return command_usage(c, v, "'%s' is one word too many",
				     log_quote(quoted, a->words[v->words_max]));
	return v->run(c, v, a);
}

int command_main(int argc, char **argv, FILE *out, FILE *err)
{
	struct console c = {
		.data_dir = DATA_DIR_DEFAULT, .out = out, .err = err, .now = wall_now()};
	const struct command *v;

	if (argc < 2 || str_eq(argv[1], "--help") || str_eq(argv[1], "-h")) {
		print_commands(argc < 2 ? err : out);
		return argc < 2 ? EXIT_IS_USAGE : EXIT_IS_OK;
	}
	if (str_eq(argv[1], "--version")) {
		(void)fputs(PROGRAM " " RELEASE "\n", out);
		return EXIT_IS_OK;
	}
	v = command_find(argv[1]);
	return v == NULL ? unknown_command(&c, argv[1]) : run_command(&c, v, argc - 2, argv + 2);
}
