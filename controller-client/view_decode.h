/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The node view from JSON (FORMATS "view.json"). Strict: an unknown member, a view for another
 * node, a falling sequence, a device (not available yet), a double entry or an address that is no
 * host's refuse the whole document, and the caller keeps the view it has.
 */
#pragma once

#include "base/err.h"
#include "rules/view.h"

#include <stddef.h>
#include <stdint.h>

#define VIEW_DOCUMENT_MAX (64U << 20)

/*
 * expected_node may be NULL or "" where any node's view is welcome (offline questions). A sequence
 * below min_sequence is refused. 0, -EBADMSG, -ESTALE (sequence), -EXDEV (another node), -E2BIG,
 * -ENOMEM.
 */
int view_decode(const char *text, size_t len, const char *expected_node, uint64_t min_sequence,
		struct view **ret, struct err *err);
