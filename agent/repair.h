/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Somebody else touched our table: it is read back and repaired in one transaction, with an alert.
 * An owned table refuses such changes; this is for kernels without persist, and for the seconds in
 * which no agent owns it (R37, UC-86).
 */
#pragma once

#include "agent/agent.h"

int repair_start(struct agent *a, struct err *err);
/* Once more, if the last repair failed and the table judges nobody. */
void repair_retry(struct agent *a);
void repair_stop(struct agent *a);
