/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table of conduits, as `conduits` and `check --explain` print it. */
#pragma once

#include "base/buf.h"
#include "base/clock.h"

#include <jansson.h>

void conduits_table(const json_t *conduits, unsigned margin, struct wall now, struct buf *b);
