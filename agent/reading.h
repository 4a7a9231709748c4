/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Values of agent.yaml, one kind each: what is wrong is reported with its place and what would be
 * right, and reading goes on, so that one pass finds every mistake. A target keeps its value when
 * the text is wrong.
 */
#pragma once

#include "agent/config.h"
#include "rules/yaml_tree.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One reading of one file: where mistakes go. */
struct reading {
	struct config *c;
	const char *file;
	config_report report;
	void *user;
	size_t mistakes;
	int r; /* sticky resource error */
};

typedef void (*reading_take)(struct reading *rd, const struct yaml_tree_node *node);

struct key_rule {
	const char *key;
	reading_take take;
};

/* advice may be NULL. */
void reading_report(struct reading *rd, uint32_t line, uint32_t column, const char *message,
		    const char *advice);
void reading_wrong(struct reading *rd, const struct yaml_tree_node *n, const char *advice,
		   const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* The text, or NULL after a report. */
const char *reading_scalar(struct reading *rd, const struct yaml_tree_node *n, const char *advice);
void reading_set(struct reading *rd, char **target, const char *text);
void reading_path(struct reading *rd, const struct yaml_tree_node *n, char **target);
void reading_number(struct reading *rd, const struct yaml_tree_node *n, uint32_t min, uint32_t max,
		    uint32_t *ret);
void reading_u16(struct reading *rd, const struct yaml_tree_node *n, uint32_t min, uint32_t max,
		 uint16_t *ret);
void reading_bool(struct reading *rd, const struct yaml_tree_node *n, bool *ret);
/* Index of the node's word in words (NULL-terminated), or -1 after a report. */
int reading_word(struct reading *rd, const struct yaml_tree_node *n, const char *const *words,
		 const char *advice);
void reading_unknown_key(struct reading *rd, const struct yaml_tree_node *n,
			 const struct key_rule *rules, size_t count);
void reading_map(struct reading *rd, const struct yaml_tree_node *n, const struct key_rule *rules,
		 size_t count);
/* Calls item for each; a list is demanded. */
void reading_list(struct reading *rd, const struct yaml_tree_node *n, reading_take item);

/* `essentials:` (config_essentials.c). */
void config_take_essentials(struct reading *rd, const struct yaml_tree_node *n);
/* The way to the controller, once its URL is known; n is where the URL stands. */
void config_add_controller(struct reading *rd, const struct yaml_tree_node *n);

/* `source:`, `trust:` (config_source.c). */
void config_take_source(struct reading *rd, const struct yaml_tree_node *n);
void config_take_trust(struct reading *rd, const struct yaml_tree_node *n);
/* What only the whole file shows. */
void config_check_source(struct reading *rd, const struct yaml_tree_node *root);
/* They, and `svid:`, as config_parse() reads them. */
void config_format_source(const struct config *c, struct buf *b);
