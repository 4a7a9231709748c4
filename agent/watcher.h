/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Watches the source directory: a new view.json is applied within a second of its change; edits of
 * policy files only show as pending (they are applied by `bailiwick apply`).
 */
#pragma once

#include "agent/agent.h"

/* NULL in *ret where documents are signed (agent/documents.h watches those). */
int watcher_new(struct agent *a, struct watcher **ret, struct err *err);
void watcher_free(struct watcher *w);
/* Called every second: starts watching a directory that was not there before. */
void watcher_tick(struct watcher *w);
/* The directory's policy differs from what was applied; looked up lazily, cached by events. */
bool watcher_pending(struct watcher *w);
