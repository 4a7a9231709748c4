/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Prometheus text over HTTP/1.0, on RUN_DIR/metrics.sock (root and group bailiwick) and, where
 * agent.yaml says so, on a loopback address. Read only, a bounded number of short connections,
 * nothing here ever waits: a scraper that stalls costs one place in the table.
 */
#pragma once

#include "agent/agent.h"
#include "base/buf.h"

#define METRICS_CONNECTIONS_MAX 16
#define METRICS_REQUEST_MAX     4096
#define METRICS_TEXT_MAX        (256U << 10)
#define METRICS_STALL_MS        10000 /* then a connection gives way to a new one */

struct metrics;

int metrics_new(struct agent *a, struct metrics **ret, struct err *err);
void metrics_free(struct metrics *m);

/* The text alone. */
void metrics_text(struct agent *a, struct buf *b);
