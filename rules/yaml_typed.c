/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/yaml_typed.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_MAX 512
#define ADVICE_MAX  512
#define KEYS_MAX    32 /* of one mapping: a bit each */
#define PRINTED_MAX (256U << 20)

struct checker {
	const struct yaml_report *report;
	size_t mistakes;
	bool partial; /* a syntax error cut the text: what is missing may only not have been read */
};

/* ---- comparing the tree with the schema ---- */

__attribute__((format(printf, 5, 6))) static void complain(struct checker *c, uint32_t line,
							   uint32_t column, const char *advice,
							   const char *fmt, ...)
{
	char message[MESSAGE_MAX];
	va_list ap;

	c->mistakes++;
	va_start(ap, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	c->report->error(c->report->user, line, column, message, advice);
}

static void refuse(struct checker *c, struct yaml_tree_node *n, const char *advice,
		   const char *message)
{
	char key[YAML_QUOTE_MAX];

	n->bad = true;
	n->damaged = true;
	if (n->key != NULL)
		complain(c, n->line, n->column, advice, "%s %s", yaml_quote(key, n->key), message);
	else
		complain(c, n->line, n->column, advice, "this entry %s", message);
}

/* What libyaml hands over for `key:`, `key: ~` and, in JSON, `null`. */
static bool is_null(const struct yaml_tree_node *n)
{
	return n->plain && (n->text[0] == '\0' || str_eq(n->text, "~") || str_eq(n->text, "null"));
}

static bool check_filled(struct checker *c, struct yaml_tree_node *n)
{
	if (n->kind != YAML_TREE_SCALAR)
		return true;
	if (n->text[0] != '\0' && !is_null(n))
		return true;
	refuse(c, n, "write a value, or leave the key out", "is empty");
	return false;
}

static void check_word(struct checker *c, struct yaml_tree_node *n)
{
	if (n->kind == YAML_TREE_SCALAR)
		(void)check_filled(c, n);
	else
		refuse(c, n, "write one word or text", "must be a single value");
}

/* "mapped, attested or measured" */
static void list_words(char *buf, size_t size, const cyaml_schema_value_t *schema)
{
	size_t at = 0;

	for (uint32_t i = 0; i < schema->enumeration.count && at < size; i++) {
		const char *join = i == 0 ? "" : i + 1 == schema->enumeration.count ? " or " : ", ";
		int n = snprintf(buf + at, size - at, "%s%s", join,
				 schema->enumeration.strings[i].str);

		at += n > 0 ? (size_t)n : 0;
	}
}

static void check_enum(struct checker *c, struct yaml_tree_node *n,
		       const cyaml_schema_value_t *schema)
{
	char words[ADVICE_MAX - 32], advice[ADVICE_MAX], quoted[YAML_QUOTE_MAX], message[128];

	check_word(c, n);
	if (n->bad)
		return;
	for (uint32_t i = 0; i < schema->enumeration.count; i++) {
		if (str_eq(n->text, schema->enumeration.strings[i].str))
			return;
	}
	list_words(words, sizeof(words), schema);
	(void)snprintf(advice, sizeof(advice), "write %s", words);
	(void)snprintf(message, sizeof(message), "cannot be %s", yaml_quote(quoted, n->text));
	refuse(c, n, advice, message);
}

static void check_value(struct checker *c, struct yaml_tree_node *n,
			const cyaml_schema_value_t *schema);

static void check_list(struct checker *c, struct yaml_tree_node *n,
		       const cyaml_schema_value_t *schema)
{
	char advice[ADVICE_MAX], quoted[YAML_QUOTE_MAX];
	size_t count = 0;

	if (n->kind != YAML_TREE_LIST) {
		(void)snprintf(advice, sizeof(advice), "write [%s]",
			       n->kind == YAML_TREE_SCALAR && !is_null(n)
				       ? yaml_quote(quoted, n->text)
				       : "...");
		refuse(c, n, advice, "must be a list");
		return;
	}
	for (struct yaml_tree_node *e = n->child; e != NULL; e = e->next) {
		if (!e->bad)
			check_value(c, e, schema->sequence.entry);
		n->damaged |= e->bad || e->damaged;
		count += !e->bad;
	}
	if (count > schema->sequence.max) {
		(void)snprintf(advice, sizeof(advice), "at most %u are allowed",
			       schema->sequence.max);
		refuse(c, n, advice, "has too many entries");
	}
}

static int find_field(const cyaml_schema_field_t *fields, const char *key)
{
	for (int i = 0; fields[i].key != NULL && i < KEYS_MAX; i++) {
		if (str_eq(fields[i].key, key))
			return i;
	}
	return -ENOENT;
}

static void refuse_unknown(struct checker *c, struct yaml_tree_node *n,
			   const cyaml_schema_field_t *fields)
{
	const char *known[KEYS_MAX];
	char advice[ADVICE_MAX], quoted[YAML_QUOTE_MAX];
	const char *near;
	size_t count = 0, at;

	for (; fields[count].key != NULL && count < KEYS_MAX; count++)
		known[count] = fields[count].key;
	near = text_nearest(n->key, known, count);
	at = (size_t)snprintf(advice, sizeof(advice),
			      near != NULL ? "did you mean \"%s\"?" : "known here: %s",
			      near != NULL ? near : known[0]);
	for (size_t i = 1; near == NULL && i < count && at < sizeof(advice); i++)
		at += (size_t)snprintf(advice + at, sizeof(advice) - at, ", %s", known[i]);
	n->bad = true;
	complain(c, n->key_line, n->key_column, advice, "unknown key %s",
		 yaml_quote(quoted, n->key));
}

static void refuse_double(struct checker *c, struct yaml_tree_node *n, uint32_t first_line)
{
	char advice[ADVICE_MAX], quoted[YAML_QUOTE_MAX];

	n->bad = true;
	(void)snprintf(advice, sizeof(advice), "keep one (the first is in line %u)", first_line);
	complain(c, n->key_line, n->key_column, advice, "%s is written twice",
		 yaml_quote(quoted, n->key));
}

static void report_missing(struct checker *c, struct yaml_tree_node *map, const char *key)
{
	const struct yaml_tree_node *name = yaml_tree_get(map, "name");
	char advice[ADVICE_MAX], quoted[YAML_QUOTE_MAX];

	map->damaged = true;
	(void)snprintf(advice, sizeof(advice), "add %s:", key);
	if (name != NULL && name->kind == YAML_TREE_SCALAR)
		complain(c, map->line, map->column, advice, "%s has no %s",
			 yaml_quote(quoted, name->text), key);
	else
		complain(c, map->line, map->column, advice, "%s is missing", key);
}

/* A required list must say something, too. */
static void check_required(struct checker *c, struct yaml_tree_node *map,
			   const cyaml_schema_field_t *fields, uint32_t present)
{
	for (int i = 0; fields[i].key != NULL && i < KEYS_MAX && !c->partial; i++) {
		const struct yaml_tree_node *n;

		if (fields[i].value.flags & CYAML_FLAG_OPTIONAL)
			continue;
		if (!(present & 1U << i)) {
			report_missing(c, map, fields[i].key);
			continue;
		}
		n = yaml_tree_get(map, fields[i].key);
		if (n != NULL && n->kind == YAML_TREE_LIST && n->child == NULL) {
			map->damaged = true;
			complain(c, n->line, n->column, "name at least one", "%s is empty",
				 fields[i].key);
		}
	}
}

static void check_map(struct checker *c, struct yaml_tree_node *map,
		      const cyaml_schema_field_t *fields)
{
	uint32_t first_line[KEYS_MAX] = {0}, present = 0;

	if (map->kind != YAML_TREE_MAP) {
		refuse(c, map, "write {key: value, ...}", "must be a mapping");
		return;
	}
	for (struct yaml_tree_node *n = map->child; n != NULL; n = n->next) {
		int i = find_field(fields, n->key);

		if (i < 0) {
			refuse_unknown(c, n, fields);
		} else if (present & 1U << i) {
			refuse_double(c, n, first_line[i]);
		} else {
			present |= 1U << i;
			first_line[i] = n->key_line;
			if (!n->bad)
				check_value(c, n, &fields[i].value);
		}
		map->damaged |= n->bad || n->damaged;
	}
	check_required(c, map, fields, present);
}

/* The depth of recursion is that of the schema. */
static void check_value(struct checker *c, struct yaml_tree_node *n,
			const cyaml_schema_value_t *schema)
{
	if (schema->type == CYAML_STRING)
		check_word(c, n);
	else if (schema->type == CYAML_ENUM)
		check_enum(c, n, schema);
	else if (schema->type == CYAML_SEQUENCE)
		check_list(c, n, schema);
	else if (schema->type == CYAML_MAPPING)
		check_map(c, n, schema->mapping.fields);
}

/* ---- printing what is sound ---- */

static void print_text(struct buf *b, const char *text)
{
	buf_putc(b, '"');
	for (size_t n; *text != '\0'; text += n) {
		n = strcspn(text, "\"\\");
		if (n == 0) {
			buf_putc(b, '\\');
			n = 1;
		}
		buf_add(b, text, n);
	}
	buf_putc(b, '"');
}

static void print_value(struct buf *b, const struct yaml_tree_node *n,
			const cyaml_schema_value_t *schema);

static void print_list(struct buf *b, const struct yaml_tree_node *list,
		       const cyaml_schema_value_t *schema)
{
	const struct yaml_tree_node *n = yaml_tree_first(list);

	buf_putc(b, '[');
	while (n != NULL) {
		print_value(b, n, schema->sequence.entry);
		n = yaml_tree_next(n);
		if (n != NULL)
			buf_puts(b, ",\n");
	}
	buf_putc(b, ']');
}

static void print_map(struct buf *b, const struct yaml_tree_node *map,
		      const cyaml_schema_field_t *fields)
{
	const char *comma = "";

	buf_putc(b, '{');
	for (; fields->key != NULL; fields++) {
		const struct yaml_tree_node *n = yaml_tree_get(map, fields->key);

		if (n == NULL && (fields->value.flags & CYAML_FLAG_OPTIONAL))
			continue;
		buf_printf(b, "%s\"%s\": ", comma, fields->key);
		comma = ",\n";
		print_value(b, n, &fields->value);
	}
	buf_putc(b, '}');
}

/* n is NULL for what is required and missing. */
static void print_value(struct buf *b, const struct yaml_tree_node *n,
			const cyaml_schema_value_t *schema)
{
	if (schema->type == CYAML_SEQUENCE)
		print_list(b, n, schema);
	else if (schema->type == CYAML_MAPPING)
		print_map(b, n, schema->mapping.fields);
	else
		print_text(b, n != NULL && n->kind == YAML_TREE_SCALAR ? n->text : "");
}

/* ---- loading ---- */

/* libcyaml's allocator: realloc and free in one. */
static void *cyaml_memory(void *user, void *block, size_t size)
{
	(void)user;
	if (size == 0) {
		free(block);
		return NULL;
	}
	return block != NULL ? mem_realloc(block, size) : mem_calloc(1, size);
}

static const cyaml_config_t cyaml_settings = {
	.log_fn = NULL,
	.mem_fn = cyaml_memory,
	.flags = CYAML_CFG_NO_ALIAS,
};

static int load(struct checker *c, struct yaml_tree *t, const cyaml_schema_value_t *schema,
		void **ret_data)
{
	CLEANUP(buf_done) struct buf b;
	cyaml_data_t *data = NULL;
	cyaml_err_t e;

	buf_init(&b, PRINTED_MAX);
	print_value(&b, t->root, schema);
	if (b.r < 0)
		return b.r;
	e = cyaml_load_data((const uint8_t *)b.data, b.len, &cyaml_settings, schema, &data, NULL);
	if (e == CYAML_ERR_OOM || e == CYAML_ERR_LIBYAML_PARSER_INIT)
		return -ENOMEM;
	if (e != CYAML_OK)
		complain(c, t->root->line, t->root->column, NULL, "cannot be read: %s",
			 cyaml_strerror(e));
	else
		*ret_data = data;
	return 0;
}

int yaml_typed_load(const char *text, size_t len, const cyaml_schema_value_t *schema,
		    const struct yaml_report *report, struct yaml_tree *ret_tree, void **ret_data)
{
	struct checker c = {.report = report};
	int r;

	*ret_data = NULL;
	r = yaml_tree_parse(text, len, report, ret_tree);
	if (r < 0 || ret_tree->root == NULL)
		return r;
	c.partial = !ret_tree->complete;
	check_value(&c, ret_tree->root, schema);
	if (c.partial || ret_tree->root->bad || c.mistakes > YAML_TYPED_MISTAKES_MAX)
		return 0;
	return load(&c, ret_tree, schema, ret_data);
}

void yaml_typed_free(const cyaml_schema_value_t *schema, void *data)
{
	if (data != NULL)
		(void)cyaml_free(&cyaml_settings, schema, data, 0);
}
