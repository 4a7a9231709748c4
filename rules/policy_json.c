/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/policy_json.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "rules/yaml_tree.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define JSON_TEXT_MAX (256U << 20)
#define INTEGER_MAX   999999999999999 /* exact in every reader, doubles included */
/*
 * Entries of what stands at the top keep the line that they have in the YAML: what a node says of
 * "payments.json:31" is line 31 of the file that somebody wrote.
 */
#define LINES_DEPTH 2

/* ---- scalars ---- */

/*
 * Bytes of a character that the YAML reader would not give back as it stands, although it may come
 * out of an escape there: line separators end a line, U+FEFF and the noncharacters are refused raw.
 * All are three bytes of UTF-8, below U+10000: one \u each, which both readers know. Characters
 * above never take the way of surrogate pairs, which libyaml does not join.
 */
static const char *escape_of(const char *p)
{
	static const struct {
		char bytes[4], escape[8];
	} escapes[] = {
		{"\"", "\\\""},
		{"\\", "\\\\"},
		{"\xe2\x80\xa8", "\\u2028"},
		{"\xe2\x80\xa9", "\\u2029"},
		{"\xef\xbb\xbf", "\\ufeff"},
		{"\xef\xbf\xbe", "\\ufffe"},
		{"\xef\xbf\xbf", "\\uffff"},
	};

	for (size_t i = 0; i < ARRAY_LEN(escapes); i++) {
		if (str_starts(p, escapes[i].bytes))
			return escapes[i].escape;
	}
	return NULL;
}

static size_t character_len(const char *p)
{
	unsigned char c = (unsigned char)*p;

	return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

static void put_string(struct buf *b, const char *text)
{
	buf_putc(b, '"');
	for (size_t len; *text != '\0'; text += len) {
		const char *escape = escape_of(text);

		len = character_len(text);
		if (escape != NULL)
			buf_puts(b, escape);
		else
			buf_add(b, text, len);
	}
	buf_putc(b, '"');
}

/* Plain scalars that mean the same to a reader of JSON, letter for letter. */
static bool same_in_json(const struct yaml_tree_node *n)
{
	uint64_t value;

	if (!n->plain)
		return false;
	return str_eq(n->text, "true") || str_eq(n->text, "false") || str_eq(n->text, "null") ||
	       text_u64(n->text, 0, INTEGER_MAX, &value) == 0;
}

static void put_scalar(struct buf *b, const struct yaml_tree_node *n)
{
	if (same_in_json(n))
		buf_puts(b, n->text);
	else if (n->plain && (n->text[0] == '\0' || str_eq(n->text, "~")))
		buf_puts(b, "null");
	else
		put_string(b, n->text);
}

/* ---- lists and maps: the depth of recursion is YAML_TREE_DEPTH_MAX ---- */

struct writer {
	struct buf *b;
	uint32_t line; /* that is being written, the first is 1 */
};

/* To the line of the YAML; whatever stands before it did so there, too. */
static void put_lines(struct writer *w, uint32_t line, unsigned depth)
{
	while (w->line < line && w->b->r == 0) {
		buf_putc(w->b, '\n');
		w->line++;
	}
	buf_printf(w->b, "%*s", (int)depth + 1, "");
}

static void put_node(struct writer *w, const struct yaml_tree_node *n, unsigned depth)
{
	bool map = n->kind == YAML_TREE_MAP;
	struct buf *b = w->b;
	const char *comma = "";

	if (n->kind == YAML_TREE_SCALAR) {
		put_scalar(b, n);
		return;
	}
	buf_putc(b, map ? '{' : '[');
	for (const struct yaml_tree_node *e = n->child; e != NULL; e = e->next) {
		uint32_t line = map ? e->key_line : e->line;

		buf_puts(b, comma);
		if (depth < LINES_DEPTH && w->line < line)
			put_lines(w, line, depth);
		else if (*comma != '\0')
			buf_putc(b, ' ');
		comma = ",";
		if (map) {
			put_string(b, e->key);
			buf_puts(b, ": ");
		}
		put_node(w, e, depth + 1);
	}
	buf_putc(b, map ? '}' : ']');
}

static void count_error(void *user, uint32_t line, uint32_t column, const char *message,
			const char *advice)
{
	(void)line;
	(void)column;
	(void)message;
	(void)advice;
	(*(size_t *)user)++;
}

int policy_json(const char *text, size_t len, char **ret, size_t *ret_len)
{
	size_t mistakes = 0;
	const struct yaml_report report = {.error = count_error, .user = &mistakes};
	CLEANUP(yaml_tree_done) struct yaml_tree tree = {0};
	CLEANUP(buf_done) struct buf b = {0};
	struct writer w = {.b = &b, .line = 1};
	size_t json_len;
	char *json;
	int r;

	buf_init(&b, JSON_TEXT_MAX);
	r = yaml_tree_parse(text, len, &report, &tree);
	if (r < 0)
		return r;
	if (mistakes > 0 || !tree.complete || tree.root == NULL || tree.root->kind != YAML_TREE_MAP)
		return -EBADMSG;
	put_node(&w, tree.root, 0);
	buf_putc(&b, '\n');
	if (b.r < 0)
		return b.r;
	json_len = b.len;
	json = buf_take(&b);
	if (json == NULL)
		return -ENOMEM;
	*ret = json;
	*ret_len = json_len;
	return 0;
}
