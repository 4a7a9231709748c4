/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Decision records on their way to the controller: a bounded spool in memory, chunks of at most
 * 1 MiB, the oldest dropped and counted when it is full.
 */
#pragma once

#include "agent/agent.h"

#define LOG_SPOOL_MAX (2U << 20)

struct log_upload;

int log_upload_new(struct agent *a, struct log_upload **ret, struct err *err);
void log_upload_free(struct log_upload *u);
void log_upload_add(struct log_upload *u, const char *record, size_t len); /* one JSON line */
void log_upload_posted(struct log_upload *u, uint64_t id, bool ok);
/* Before log_upload_posted(u, id, false): the controller takes no chunk of this size (413). */
void log_upload_too_large(struct log_upload *u, uint64_t id);
void log_upload_tick(struct log_upload *u); /* once a second */
uint64_t log_upload_dropped(const struct log_upload *u);
