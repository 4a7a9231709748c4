/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Placements from files: DATA/placements/NAME.yaml or NAME.json,
 *
 *	placements:
 *	  - {identity: prod/payments/api, node: api-1, addresses: [10.0.0.9]}
 *
 * Read when they change (looked at once a second). All or nothing: with a mistake in any of them
 * the placements of the last good reading stay, and status says file, line and what is wrong. A
 * whole reading is applied in one transaction.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLACE_FILES_DIR   "placements"
#define PLACE_FILES_MAX   1024
#define PLACE_FILE_MAX    (16U << 20)
#define PLACE_ENTRIES_MAX 200000

struct core;

struct place_files {
	uint64_t seen; /* digest over names, sizes and times of the last look; 0: never */
	bool failed;
	struct err fault; /* what is wrong with them, where failed */
	uint64_t applied;
};

void place_files_tick(struct core *c);
