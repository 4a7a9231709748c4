/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/reading.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_MAX 512

void reading_report(struct reading *rd, uint32_t line, uint32_t column, const char *message,
		    const char *advice)
{
	char text[MESSAGE_MAX];

	(void)snprintf(text, sizeof(text), "%s:%u:%u: %s%s%s", rd->file, line, column, message,
		       advice ? "; " : "", advice ? advice : "");
	rd->mistakes++;
	if (rd->report)
		rd->report(rd->user, text);
}

void reading_wrong(struct reading *rd, const struct yaml_tree_node *n, const char *advice,
		   const char *fmt, ...)
{
	char message[MESSAGE_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	reading_report(rd, n->line, n->column, message, advice);
}

const char *reading_scalar(struct reading *rd, const struct yaml_tree_node *n, const char *advice)
{
	if (n->kind == YAML_TREE_SCALAR)
		return n->text;
	reading_wrong(rd, n, advice, "one value is expected here");
	return NULL;
}

void reading_set(struct reading *rd, char **target, const char *text)
{
	char *copy = mem_strdup(text);

	if (!copy) {
		rd->r = -ENOMEM;
		return;
	}
	free(*target);
	*target = copy;
}

void reading_path(struct reading *rd, const struct yaml_tree_node *n, char **target)
{
	const char *text = reading_scalar(rd, n, "an absolute path");

	if (!text)
		return;
	if (text[0] != '/' || strlen(text) >= CONFIG_PATH_MAX) {
		reading_wrong(rd, n, "an absolute path", "this is not an absolute path");
		return;
	}
	reading_set(rd, target, text);
}

void reading_number(struct reading *rd, const struct yaml_tree_node *n, uint32_t min, uint32_t max,
		    uint32_t *ret)
{
	char advice[64];
	const char *text;

	(void)snprintf(advice, sizeof(advice), "a number from %u to %u", min, max);
	text = reading_scalar(rd, n, advice);
	if (text && text_u32(text, min, max, ret) < 0)
		reading_wrong(rd, n, advice, "this is not a number in range");
}

void reading_u16(struct reading *rd, const struct yaml_tree_node *n, uint32_t min, uint32_t max,
		 uint16_t *ret)
{
	uint32_t value = *ret;

	reading_number(rd, n, min, max, &value);
	*ret = (uint16_t)value;
}

void reading_bool(struct reading *rd, const struct yaml_tree_node *n, bool *ret)
{
	const char *text = reading_scalar(rd, n, "true or false");

	if (!text)
		return;
	if (str_eq(text, "true"))
		*ret = true;
	else if (str_eq(text, "false"))
		*ret = false;
	else
		reading_wrong(rd, n, "true or false", "this is neither true nor false");
}

int reading_word(struct reading *rd, const struct yaml_tree_node *n, const char *const *words,
		 const char *advice)
{
	const char *text = reading_scalar(rd, n, advice);

	for (int i = 0; text && words[i]; i++) {
		if (str_eq(text, words[i]))
			return i;
	}
	if (text)
		reading_wrong(rd, n, advice, "\"%.40s\" is not known here", text);
	return -1;
}

void reading_unknown_key(struct reading *rd, const struct yaml_tree_node *n,
			 const struct key_rule *rules, size_t count)
{
	const char *names[32];
	char advice[128];
	const char *near;
	size_t known = 0;

	for (size_t i = 0; i < count && known < ARRAY_LEN(names); i++)
		names[known++] = rules[i].key;
	near = text_nearest(n->key, names, known);
	if (near)
		(void)snprintf(advice, sizeof(advice), "did you mean \"%s\"?", near);
	else
		(void)snprintf(advice, sizeof(advice), "see bailiwick-agent.yaml(5)");
	{
		char message[MESSAGE_MAX], quoted[YAML_QUOTE_MAX];

		(void)snprintf(message, sizeof(message), "unknown key %s",
			       yaml_quote(quoted, n->key));
		reading_report(rd, n->key_line, n->key_column, message, advice);
	}
}

void reading_map(struct reading *rd, const struct yaml_tree_node *n, const struct key_rule *rules,
		 size_t count)
{
	const struct yaml_tree_node *child;

	if (n->kind != YAML_TREE_MAP) {
		reading_wrong(rd, n, "key: value pairs", "a group of keys is expected here");
		return;
	}
	for (child = yaml_tree_first(n); child; child = yaml_tree_next(child)) {
		const struct key_rule *found = NULL;

		for (size_t i = 0; i < count && !found; i++) {
			if (str_eq(rules[i].key, child->key))
				found = &rules[i];
		}
		if (found)
			found->take(rd, child);
		else
			reading_unknown_key(rd, child, rules, count);
	}
}

void reading_list(struct reading *rd, const struct yaml_tree_node *n, reading_take item)
{
	if (n->kind != YAML_TREE_LIST) {
		reading_wrong(rd, n, "[a, b, c]", "a list is expected here");
		return;
	}
	for (const struct yaml_tree_node *i = yaml_tree_first(n); i; i = yaml_tree_next(i))
		item(rd, i);
}
