/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tables that more than one screen has. */
#pragma once

#include "base/buf.h"
#include "cli/screen.h"

#include <jansson.h>

/* Nodes, how current each is, and a line that counts them. */
void nodes_table(const json_t *nodes, const struct screen *s, struct buf *b);
/* Flows that nodes have cut, by node. */
void cut_table(const json_t *cut, struct buf *b);
/* What was done, newest first. */
void audit_table(const json_t *audit, const struct screen *s, struct buf *b);
/* "2 s", "-" */
void put_age(struct table *t, const json_t *object, const char *path, const struct screen *s);
