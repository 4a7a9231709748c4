/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One decision record as one line of at most SCREEN_COLUMNS. */
#pragma once

#include "base/buf.h"

#include <jansson.h>

void watch_render(const json_t *record, struct buf *b);
