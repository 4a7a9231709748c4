/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What this node tells its controller (FORMATS "Status"): on change, put together after 200 ms, and
 * every 5 min +-10 %. Holds the cut flows of changes that came by a head until they are delivered:
 * they are evidence.
 */
#pragma once

#include "agent/agent.h"

#define STATUS_REPORT_MAX (240U << 10) /* a controller takes 256 KiB */

struct status_report;

int status_report_new(struct agent *a, struct status_report **ret, struct err *err);
void status_report_free(struct status_report *s);
void status_report_tick(struct status_report *s);  /* once a second */
void status_report_touch(struct status_report *s); /* something it tells has changed */
void status_report_cut(struct status_report *s, const struct cut_list *cut);
void status_report_posted(struct status_report *s, bool ok);
