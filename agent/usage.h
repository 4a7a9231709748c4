/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What each permission is really used for: packets, bytes and the time of the last one, per
 * conduit number, gathered from the kernel's element counters a few at a time (UC-16:
 * unused permissions are the ones to take away). Kept in state_dir by conduit name, so that
 * "unused for 30 days" survives reboots.
 */
#pragma once

#include "agent/agent.h"

struct usage;

/* Elements that a conduit may have: its number bare, vouched for, let through unvouched (R2). */
#define USAGE_ELEMENTS 3

struct usage_count {
	uint64_t packets, bytes;
};

/* Only conduits that were ever used have one. */
struct usage_entry {
	uint32_t number;
	uint32_t last_used;      /* wall seconds */
	uint64_t packets, bytes; /* since this agent began, across replaced elements */
	struct usage_count counters[USAGE_ELEMENTS]; /* of the kernel at the last look */
};

int usage_new(struct agent *a, struct usage **ret, struct err *err);
void usage_free(struct usage *u);
/* Looks at some conduits; called every second. */
void usage_tick(struct usage *u);
/* Looks at all of them now. */
int usage_refresh(struct usage *u, struct err *err);
/* NULL for a conduit that was never used as far as is known. */
const struct usage_entry *usage_find(const struct usage *u, uint32_t number);
int usage_save(struct usage *u, struct err *err);
