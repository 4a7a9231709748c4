/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/yaml_tree.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define CHUNK_SIZE      (64U << 10)
#define MESSAGE_MAX     512
#define QUOTE_SHOWN_MAX 64

/* ---- memory: everything of one tree goes at once ---- */

struct yaml_tree_chunk {
	struct yaml_tree_chunk *next;
	size_t used, size;
	alignas(max_align_t) char bytes[];
};

static void *tree_alloc(struct yaml_tree *t, size_t size)
{
	size_t need = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	struct yaml_tree_chunk *c = t->chunks;
	void *ret;

	if (c == NULL || c->size - c->used < need) {
		size_t room = need > CHUNK_SIZE ? need : CHUNK_SIZE;

		c = mem_calloc(1, sizeof(*c) + room);
		if (c == NULL)
			return NULL;
		c->size = room;
		c->next = t->chunks;
		t->chunks = c;
	}
	ret = c->bytes + c->used;
	c->used += need;
	return ret;
}

static char *tree_copy(struct yaml_tree *t, const void *bytes, size_t len)
{
	char *copy = tree_alloc(t, len + 1);

	if (copy != NULL && len > 0)
		memcpy(copy, bytes, len);
	return copy; /* chunks are zeroed: the NUL is there */
}

void yaml_tree_done(struct yaml_tree *t)
{
	struct yaml_tree_chunk *c = t->chunks;

	while (c != NULL) {
		struct yaml_tree_chunk *next = c->next;

		free(c);
		c = next;
	}
	*t = (struct yaml_tree){0};
}

/* ---- the builder's state ---- */

struct frame {
	struct yaml_tree_node *node;
	const char *key; /* of the value that comes next; NULL while a key is awaited */
	uint32_t key_line, key_column;
};

struct builder {
	struct yaml_tree *tree;
	const struct yaml_report *report;
	struct frame stack[YAML_TREE_DEPTH_MAX];
	size_t depth;
	bool stop; /* what follows cannot be read sensibly */
	bool document_done;
	int r; /* 0 or -ENOMEM */
};

__attribute__((format(printf, 5, 6))) static void complain(const struct yaml_report *report,
							   uint32_t line, uint32_t column,
							   const char *advice, const char *fmt, ...)
{
	char message[MESSAGE_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	report->error(report->user, line, column, message, advice);
}

static uint32_t line_of(const yaml_mark_t *m)
{
	return (uint32_t)m->line + 1;
}

static uint32_t column_of(const yaml_mark_t *m)
{
	return (uint32_t)m->column + 1;
}

/* ---- bytes: before libyaml sees them ---- */

/*
 * Length of the character at p, 0 when it may not stand in the text. libyaml takes a NUL for the
 * end of the text and names no line for bad UTF-8, so both are looked for here.
 */
static size_t character(const unsigned char *p, size_t left)
{
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

	if (len == 1)
		return p[0] >= 0x20 ? p[0] != 0x7f : p[0] == '\t' || p[0] == '\n' || p[0] == '\r';
	if (len > left || !text_utf8_ok((const char *)p, len))
		return 0;
	/* C1 controls steer terminals as the ASCII ones do. */
	return p[0] == 0xc2 && p[1] < 0xa0 ? 0 : len;
}

static bool bytes_ok(const char *text, size_t len, const struct yaml_report *report)
{
	const unsigned char *p = (const unsigned char *)text;
	uint32_t line = 1, column = 1;

	for (size_t i = 0, n; i < len; i += n) {
		n = character(p + i, len - i);
		if (n == 0 && (p[i] < 0x80 || p[i] == 0xc2)) {
			complain(report, line, column, "remove it", "control character \\x%02x",
				 p[i]);
			return false;
		}
		if (n == 0) {
			complain(report, line, column, "save the file as UTF-8",
				 "byte \\x%02x is not UTF-8", p[i]);
			return false;
		}
		column++;
		if (p[i] == '\n') {
			line++;
			column = 1;
		}
	}
	return true;
}

/* Decoded scalars again: escapes like "\0" and "\e" come in behind bytes_ok(). */
static bool scalar_clean(const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text;

	for (size_t i = 0, n; i < len; i += n) {
		n = character(p + i, len - i);
		if (n == 0 || p[i] < 0x20)
			return false;
	}
	return true;
}

const char *yaml_quote(char buf[YAML_QUOTE_MAX], const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t left = strnlen(text, YAML_TREE_SCALAR_MAX), at = 0;

	buf[at++] = '"';
	while (left > 0 && at < QUOTE_SHOWN_MAX) {
		size_t n = character(p, left);

		if (n > 0 && p[0] >= 0x20) {
			memcpy(buf + at, p, n);
			at += n;
		} else {
			n = 1;
			at += (size_t)snprintf(buf + at, YAML_QUOTE_MAX - at, "\\x%02x", p[0]);
		}
		p += n;
		left -= n;
	}
	(void)snprintf(buf + at, YAML_QUOTE_MAX - at, "%s\"", left > 0 ? "..." : "");
	return buf;
}

/* ---- events ---- */

static struct yaml_tree_node *node_new(struct builder *b, enum yaml_tree_kind kind,
				       const yaml_mark_t *mark)
{
	struct yaml_tree_node *n;

	if (b->tree->node_count >= YAML_TREE_NODES_MAX) {
		complain(b->report, line_of(mark), column_of(mark), "split the file",
			 "more than %d values in one file", YAML_TREE_NODES_MAX);
		b->stop = true;
		return NULL;
	}
	n = tree_alloc(b->tree, sizeof(*n));
	if (n == NULL) {
		b->r = -ENOMEM;
		return NULL;
	}
	b->tree->node_count++;
	n->kind = kind;
	n->line = line_of(mark);
	n->column = column_of(mark);
	return n;
}

/* Hangs a value into the list or map that is open, or makes it the root. */
static void attach(struct builder *b, struct yaml_tree_node *n)
{
	struct frame *f = b->depth > 0 ? &b->stack[b->depth - 1] : NULL;

	if (f == NULL) {
		b->tree->root = n;
		return;
	}
	if (f->node->kind == YAML_TREE_MAP) {
		n->key = f->key;
		n->key_line = f->key_line;
		n->key_column = f->key_column;
		f->key = NULL;
	}
	if (f->node->last != NULL)
		f->node->last->next = n;
	else
		f->node->child = n;
	f->node->last = n;
}

static bool key_awaited(const struct builder *b)
{
	const struct frame *f = b->depth > 0 ? &b->stack[b->depth - 1] : NULL;

	return f != NULL && f->node->kind == YAML_TREE_MAP && f->key == NULL;
}

static void on_key(struct builder *b, const yaml_event_t *e)
{
	struct frame *f = &b->stack[b->depth - 1];
	const char *text = (const char *)e->data.scalar.value;
	size_t len = e->data.scalar.length;

	f->key_line = line_of(&e->start_mark);
	f->key_column = column_of(&e->start_mark);
	if (len > YAML_TREE_SCALAR_MAX || !scalar_clean(text, len)) {
		complain(b->report, f->key_line, f->key_column, "write key: value",
			 "a key that is too long or holds control characters");
		b->stop = true;
		return;
	}
	f->key = tree_copy(b->tree, text, len);
	if (f->key == NULL)
		b->r = -ENOMEM;
}

static void check_scalar(struct builder *b, const yaml_event_t *e, struct yaml_tree_node *n)
{
	const char *text = (const char *)e->data.scalar.value;
	size_t len = e->data.scalar.length;

	if (len > YAML_TREE_SCALAR_MAX) {
		complain(b->report, n->line, n->column, "shorten it",
			 "a text of %zu bytes; the longest allowed has %d", len,
			 YAML_TREE_SCALAR_MAX);
		n->bad = true;
	} else if (!scalar_clean(text, len)) {
		complain(b->report, n->line, n->column, "write it on one line, without escapes",
			 "a text with a line break, NUL or other control character");
		n->bad = true;
	}
}

static void on_scalar(struct builder *b, const yaml_event_t *e)
{
	struct yaml_tree_node *n;

	if (key_awaited(b)) {
		on_key(b, e);
		return;
	}
	n = node_new(b, YAML_TREE_SCALAR, &e->start_mark);
	if (n == NULL)
		return;
	n->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	check_scalar(b, e, n);
	n->text = n->bad ? "" : tree_copy(b->tree, e->data.scalar.value, e->data.scalar.length);
	if (n->text == NULL)
		b->r = -ENOMEM;
	attach(b, n);
}

static void on_begin(struct builder *b, const yaml_event_t *e, enum yaml_tree_kind kind)
{
	uint32_t line = line_of(&e->start_mark), column = column_of(&e->start_mark);
	struct yaml_tree_node *n;

	if (key_awaited(b)) {
		complain(b->report, line, column, "write key: value",
			 "a list or map stands where a key is expected");
		b->stop = true;
		return;
	}
	if (b->depth == YAML_TREE_DEPTH_MAX) {
		complain(b->report, line, column, NULL, "nested deeper than %d levels",
			 YAML_TREE_DEPTH_MAX);
		b->stop = true;
		return;
	}
	n = node_new(b, kind, &e->start_mark);
	if (n == NULL)
		return;
	attach(b, n);
	b->stack[b->depth++] = (struct frame){.node = n};
}

static void on_alias(struct builder *b, const yaml_event_t *e)
{
	struct yaml_tree_node *n;

	complain(b->report, line_of(&e->start_mark), column_of(&e->start_mark),
		 "write the value out, or quote it if the * is meant",
		 "an alias; they are not allowed here");
	if (key_awaited(b)) {
		b->stop = true;
		return;
	}
	n = node_new(b, YAML_TREE_SCALAR, &e->start_mark);
	if (n == NULL)
		return;
	n->text = "";
	n->bad = true;
	attach(b, n);
}

static void refuse_anchor_and_tag(struct builder *b, const yaml_event_t *e,
				  const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (anchor != NULL)
		complain(b->report, line_of(&e->start_mark), column_of(&e->start_mark),
			 "remove it, or quote the value if the & is meant",
			 "an anchor; they are not allowed here");
	if (tag != NULL)
		complain(b->report, line_of(&e->start_mark), column_of(&e->start_mark),
			 "remove it, or quote the value if the ! is meant",
			 "a tag; they are not allowed here");
}

static void on_document(struct builder *b, const yaml_event_t *e)
{
	uint32_t line = line_of(&e->start_mark);

	if (b->document_done) {
		complain(b->report, line, column_of(&e->start_mark),
			 "put it into a file of its own", "a second document begins here");
		b->stop = true;
		return;
	}
	if (e->data.document_start.version_directive != NULL ||
	    e->data.document_start.tag_directives.start !=
		    e->data.document_start.tag_directives.end)
		complain(b->report, line, column_of(&e->start_mark), "remove the lines with %",
			 "a directive; they are not allowed here");
}

static void on_event(struct builder *b, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		on_document(b, e);
		break;
	case YAML_DOCUMENT_END_EVENT:
		b->document_done = true;
		break;
	case YAML_ALIAS_EVENT:
		on_alias(b, e);
		break;
	case YAML_SCALAR_EVENT:
		refuse_anchor_and_tag(b, e, e->data.scalar.anchor, e->data.scalar.tag);
		on_scalar(b, e);
		break;
	case YAML_SEQUENCE_START_EVENT:
		refuse_anchor_and_tag(b, e, e->data.sequence_start.anchor,
				      e->data.sequence_start.tag);
		on_begin(b, e, YAML_TREE_LIST);
		break;
	case YAML_MAPPING_START_EVENT:
		refuse_anchor_and_tag(b, e, e->data.mapping_start.anchor,
				      e->data.mapping_start.tag);
		on_begin(b, e, YAML_TREE_MAP);
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		b->depth--;
		break;
	case YAML_STREAM_END_EVENT:
		b->tree->complete = true;
		break;
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
		break;
	}
}

static void on_syntax_error(struct builder *b, const yaml_parser_t *parser)
{
	const yaml_mark_t *at =
		parser->error == YAML_READER_ERROR ? &parser->mark : &parser->problem_mark;
	const char *problem = parser->problem != NULL ? parser->problem : "cannot be read";

	if (parser->error == YAML_MEMORY_ERROR) {
		b->r = -ENOMEM;
		return;
	}
	if (parser->context != NULL && parser->context_mark.line != at->line)
		complain(b->report, line_of(at), column_of(at), NULL,
			 "not YAML: %s (%s that began in line %u)", problem, parser->context,
			 line_of(&parser->context_mark));
	else if (parser->context != NULL)
		complain(b->report, line_of(at), column_of(at), NULL, "not YAML: %s (%s)", problem,
			 parser->context);
	else
		complain(b->report, line_of(at), column_of(at), NULL, "not YAML: %s", problem);
}

static void read_events(struct builder *b, yaml_parser_t *parser)
{
	while (b->r == 0 && !b->stop && !b->tree->complete) {
		yaml_event_t e;

		if (!yaml_parser_parse(parser, &e)) {
			on_syntax_error(b, parser);
			return;
		}
		on_event(b, &e);
		yaml_event_delete(&e);
	}
}

int yaml_tree_parse(const char *text, size_t len, const struct yaml_report *report,
		    struct yaml_tree *ret_tree)
{
	struct builder b = {.tree = ret_tree, .report = report};
	yaml_parser_t parser;

	*ret_tree = (struct yaml_tree){0};
	if (!bytes_ok(text, len, report))
		return 0;
	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	/* Set, not guessed: a UTF-16 mark at the start would get other bytes past bytes_ok(). */
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	read_events(&b, &parser);
	yaml_parser_delete(&parser);
	return b.r;
}

/* ---- walking ---- */

static const struct yaml_tree_node *sound(const struct yaml_tree_node *n)
{
	while (n != NULL && n->bad)
		n = n->next;
	return n;
}

const struct yaml_tree_node *yaml_tree_first(const struct yaml_tree_node *parent)
{
	return parent != NULL ? sound(parent->child) : NULL;
}

const struct yaml_tree_node *yaml_tree_next(const struct yaml_tree_node *node)
{
	return sound(node->next);
}

const struct yaml_tree_node *yaml_tree_get(const struct yaml_tree_node *map, const char *key)
{
	const struct yaml_tree_node *n =
		map != NULL && map->kind == YAML_TREE_MAP ? yaml_tree_first(map) : NULL;

	while (n != NULL && !str_eq(n->key, key))
		n = yaml_tree_next(n);
	return n;
}
