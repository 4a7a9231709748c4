/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What `why` says of a question that was asked about a connection: which check failed and on which
 * host, why nobody vouched, what to do, what to try next. Pure text from a record.
 */
#pragma once

#include "agent/telemetry_record.h"
#include "base/buf.h"

#include <jansson.h>

/* Whether the reason is one of a question: somebody was, or was to be, asked. */
bool why_is_question(enum reason reason);

/* {check, node, detail}: node is the host where it failed; null when no check did. */
json_t *why_failed(const struct record *r, const char *here);

/* "pay-1's agent does not vouch for it: no process there has this connection" */
void why_question_because(const struct record *r, struct buf *b);

/* What to do; nothing where the reason's own advice says it all. */
void why_question_advice(const struct record *r, struct buf *b);

/* The next command, "" for none. */
void why_question_next(const struct record *r, struct buf *b);
