/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/args.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/screen.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define OPTION_NAME_MAX 64
#define USAGE_MAX       2048

struct parser {
	struct args *args;
	const struct option_spec *specs;
	size_t count;
	int argc, at;
	char **argv;
	struct err *err;
};

static int unknown_option(const struct parser *p, const char *name)
{
	const char *names[ARGS_OPTIONS_MAX];
	char quoted[LOG_QUOTE_MAX];
	const char *near;
	size_t count = 0;

	for (size_t i = 0; i < p->count; i++) {
		if (p->specs[i].name != NULL)
			names[count++] = p->specs[i].name;
	}
	near = text_nearest(name, names, count);
	if (near != NULL)
		return err_set(p->err, EINVAL, "no option --%s; did you mean --%s?",
			       log_quote(quoted, name), near);
	return err_set(p->err, EINVAL, "no option --%s here", log_quote(quoted, name));
}

static int take_repeated(struct parser *p, size_t i, const char *shown, const char *value)
{
	struct args *a = p->args;

	if (a->repeated_count == ARGS_REPEATED_MAX)
		return err_set(p->err, E2BIG, "%s: at most %d such options", shown,
			       ARGS_REPEATED_MAX);
	a->repeated[a->repeated_count].option = i;
	a->repeated[a->repeated_count++].value = value;
	return 0;
}

/* `inline_value` is what stood behind '=' or the letter, or NULL. */
static int take_option(struct parser *p, size_t i, const char *shown, const char *inline_value)
{
	const struct option_spec *spec = &p->specs[i];

	if (p->args->values[i] != NULL && !spec->many)
		return err_set(p->err, EINVAL, "%s is given twice; once is enough", shown);
	if (spec->value == NULL) {
		if (inline_value != NULL)
			return err_set(p->err, EINVAL, "%s takes no value", shown);
		p->args->values[i] = "";
		return 0;
	}
	if (inline_value == NULL && p->at < p->argc)
		inline_value = p->argv[p->at++];
	if (inline_value == NULL || *inline_value == '\0')
		return err_set(p->err, EINVAL, "%s needs a value: %s %s", shown, shown,
			       spec->value);
	if (p->args->values[i] == NULL)
		p->args->values[i] = inline_value;
	return spec->many ? take_repeated(p, i, shown, inline_value) : 0;
}

static int take_long(struct parser *p, const char *word)
{
	char name[OPTION_NAME_MAX], shown[OPTION_NAME_MAX + 3] = "--";
	size_t len = strcspn(word, "=");

	if (len >= sizeof(name))
		return unknown_option(p, word);
	memcpy(name, word, len);
	name[len] = '\0';
	memcpy(shown + 2, name, len + 1);
	for (size_t i = 0; i < p->count; i++) {
		if (p->specs[i].name != NULL && str_eq(p->specs[i].name, name))
			return take_option(p, i, shown, word[len] == '=' ? word + len + 1 : NULL);
	}
	return unknown_option(p, name);
}

static int take_letter(struct parser *p, const char *word)
{
	const char shown[] = {'-', *word, '\0'};
	char quoted[LOG_QUOTE_MAX];

	for (size_t i = 0; i < p->count; i++) {
		if (p->specs[i].letter == *word)
			return take_option(p, i, shown, word[1] != '\0' ? word + 1 : NULL);
	}
	return err_set(p->err, EINVAL, "no option %s here", log_quote(quoted, shown));
}

int args_parse(struct args *a, const struct option_spec *specs, size_t count, int argc, char **argv,
	       struct err *err)
{
	struct parser p = {
		.args = a, .specs = specs, .count = count, .argc = argc, .argv = argv, .err = err};
	int r = 0;

	*a = (struct args){.words = argv};
	while (r == 0 && p.at < argc) {
		char *word = argv[p.at++];

		if (str_eq(word, "--"))
			break;
		if (str_starts(word, "--"))
			r = take_long(&p, word + 2);
		else if (word[0] == '-' && word[1] != '\0')
			r = take_letter(&p, word + 1);
		else
			argv[a->word_count++] = word;
	}
	while (r == 0 && p.at < argc)
		argv[a->word_count++] = argv[p.at++];
	return r;
}

const char *args_next(const struct args *a, size_t option, size_t *iter)
{
	while (*iter < a->repeated_count) {
		size_t i = (*iter)++;

		if (a->repeated[i].option == option)
			return a->repeated[i].value;
	}
	return NULL;
}

void args_usage(FILE *f, const char *program, const char *fmt, ...)
{
	CLEANUP(buf_done) struct buf text = {0}, between = {0}, usage = {0};
	va_list ap;

	buf_init(&text, USAGE_MAX);
	buf_init(&between, USAGE_MAX);
	buf_init(&usage, USAGE_MAX);
	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	buf_printf(&usage, "usage: %s ", program);
	buf_printf(&between, "\n%*s", (int)usage.len, "");
	if (text.r == 0 && between.r == 0)
		put_command(&usage, text.data, usage.len, between.data);
	(void)fprintf(f, "%s\n", usage.r == 0 ? usage.data : program);
}
