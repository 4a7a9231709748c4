/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tables of flows, as `flows`, `revoke`, `quarantine`, `release` and `mode` print them. */
#pragma once

#include "base/buf.h"

#include <jansson.h>

void flows_table(const json_t *flows, struct buf *b);
/* The table of result.cut and "3 flows cut", without a line end. */
void cut_render(const json_t *result, struct buf *b);
