/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Verdicts in words, as `why` prints them and bailiwick-decisions(5) lists them: what a reason
 * means, why this flow was decided so, what to change in the policy. Pure text, in the agent and in
 * the command alike.
 */
#pragma once

#include "base/buf.h"
#include "rules/verdict.h"

/* "no rule allows it": follows a decision, one clause, no full stop. */
const char *reason_meaning(enum reason r);
/* The same of a decision, whose rule may say it better: a lease that nobody granted. */
const char *verdict_meaning(const struct verdict *v);
/* What somebody who wants the flow does about it; "" where nothing is to be done. */
const char *reason_advice(enum reason r);
/* -ENOENT for a word that is no reason. A status behind a colon (attest_refused:expired) is
 * ignored. */
int reason_parse(const char *text, enum reason *ret);

/* "no rule allows it (no_rule); mode selective; answer reject, so the caller fails at once" */
void verdict_because(const struct verdict *v, enum node_mode mode, struct buf *b);

/* What to change so that the flow is allowed; nothing for an allowed one. */
void verdict_to_allow(const struct policy *p, const struct verdict *v, struct buf *b);

/* "payments.yaml:31": a place as screens name it, without the column. */
const char *line_format(char buf[POS_TEXT_MAX], const struct policy *p, const struct pos *pos);

/* "unit settlement.service, user settlement": one entry of `workload:`. */
void workload_entry_text(const struct workload_entry *w, struct buf *b);
