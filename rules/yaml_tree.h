/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * First reading of a YAML text: libyaml's events become a tree in which every key and value knows
 * its line and column, and whatever makes YAML dangerous is refused with its position: bytes that
 * are not UTF-8, control characters, aliases, anchors, tags, directives, a second document, keys
 * that are not words, depth, length. YAML is a superset of JSON here, so JSON is read as well.
 *
 * The tree owns copies of all texts. Pure; the caller's report function collects what is wrong.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define YAML_TREE_DEPTH_MAX  16
#define YAML_TREE_NODES_MAX  4000000
#define YAML_TREE_SCALAR_MAX 4096

/* Called once per mistake. Lines and columns count from 1; advice may be NULL. */
struct yaml_report {
	void (*error)(void *user, uint32_t line, uint32_t column, const char *message,
		      const char *advice);
	void *user;
};

enum yaml_tree_kind { YAML_TREE_SCALAR, YAML_TREE_LIST, YAML_TREE_MAP };

struct yaml_tree_node {
	enum yaml_tree_kind kind;
	bool plain;   /* a scalar without quotes */
	bool bad;     /* reported; later readings do not see it */
	bool damaged; /* bad itself, or something below is, or something required is missing */
	uint32_t line, column;
	uint32_t key_line, key_column;
	const char *key;  /* in a map; NULL otherwise */
	const char *text; /* of a scalar, NUL-terminated, without NUL inside */
	struct yaml_tree_node *child, *last, *next;
};

struct yaml_tree_chunk;

struct yaml_tree {
	struct yaml_tree_node *root; /* NULL: nothing in the text, or not readable as YAML */
	bool complete;               /* the text was read to its end */
	struct yaml_tree_chunk *chunks;
	size_t node_count;
};

/* 0 (also with mistakes, which are reported), -ENOMEM. *ret_tree is the caller's in any case. */
int yaml_tree_parse(const char *text, size_t len, const struct yaml_report *report,
		    struct yaml_tree *ret_tree);
void yaml_tree_done(struct yaml_tree *t);

/* Children that are not bad. */
const struct yaml_tree_node *yaml_tree_first(const struct yaml_tree_node *parent);
const struct yaml_tree_node *yaml_tree_next(const struct yaml_tree_node *node);
const struct yaml_tree_node *yaml_tree_get(const struct yaml_tree_node *map, const char *key);

#define YAML_QUOTE_MAX 96
/* Text from a file as it may stand in a message: cut, control characters as \xNN, in quotes. */
const char *yaml_quote(char buf[YAML_QUOTE_MAX], const char *text);
