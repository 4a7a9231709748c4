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

struct usage_entry {
	uint32_t number;
	uint32_t last_used;                      /* wall seconds; 0 = never seen */
	uint32_t since;                          /* wall seconds: watched since then */
	uint64_t packets, bytes;                 /* of the ledger and the counter together */
	uint64_t counter_packets, counter_bytes; /* at the last look */
};

int usage_new(struct agent *a, struct usage **ret, struct err *err);
void usage_free(struct usage *u);
/* Looks at some conduits; called every second. */
void usage_tick(struct usage *u);
/* Looks at all of them now. */
int usage_refresh(struct usage *u, struct err *err);
/* NULL for a number never seen. */
const struct usage_entry *usage_find(const struct usage *u, uint32_t number);
int usage_save(struct usage *u, struct err *err);
