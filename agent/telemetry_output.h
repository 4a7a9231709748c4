/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where decision records go (`log: {decisions: ...}`): the journal, stdout, or a file that
 * logrotate may move away at any time. Never waits: a reader that does not keep up, or a full disk,
 * costs records, and the caller counts them.
 */
#pragma once

#include "agent/config.h"

#include <stddef.h>

struct output;

/* `file` for DECISIONS_FILE only. A file that cannot be opened now is tried again at each write. */
int output_new(enum decisions_log where, const char *file, struct output **ret, struct err *err);
void output_free(struct output *o);

/* One line without its newline. priority as in syslog(3). 0 or -errno: the record is lost. */
int output_line(struct output *o, int priority, const char *line, size_t len);
