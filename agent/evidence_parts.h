/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Between agent/evidence*.c: evidence.c measures, evidence_watch.c judges what runs here. */
#pragma once

#include "agent/evidence.h"
#include "agent/exe_file.h"
#include "agent/worker.h"

struct watch;
struct ticket;

struct evidence {
	struct agent *agent;
	struct worker *hasher, *searcher;
	struct map *cache;      /* struct exe_key -> struct measured */
	struct map *hashing;    /* struct exe_key -> struct hash_work, its own */
	struct map *shares;     /* owner -> size_t: how many of the cache are its own */
	struct mono settled_by; /* at a start; else 0 */
	uint64_t uses;          /* of the cache so far: which digest was used last */
	uint32_t large_waiting; /* of them */
	struct ticket *tickets;
	size_t ticket_count;
	struct mono looked_outside; /* for a holder of a socket */
	bool looking_outside;
	sd_event_source *deadline;
	struct watch *watch;
	struct evidence_counters counters;
	char refusal[256];
};

enum known {
	KNOWN_NOT_YET, /* being measured */
	KNOWN_NOT,     /* cannot be measured: too large, unreadable */
	KNOWN,
};
/*
 * For whom a file is measured: each has a share of what is remembered and of what waits, so that
 * nobody who runs thousands of executables takes the others' digests away.
 */
#define EVIDENCE_OF_NOBODY 0 /* not known yet: claims that name a digest */
uint64_t evidence_owner(const char *identity_path);
/*
 * What the file behind this descriptor is, which the process runs; queued for measuring when that
 * is not known.
 */
enum known evidence_lookup(struct evidence *e, uint64_t owner, pid_t pid, int exe_fd,
			   const struct exe_key *key, struct digest *ret);

/* --- evidence_cache.c --- */

struct measured {
	struct digest digest;
	int error; /* 0, or why there is no digest */
	uint64_t owner, used;
};

/* NULL when it is not known. Whoever has fewer keeps it, where several use it. */
const struct measured *evidence_recall(struct evidence *e, uint64_t owner,
				       const struct exe_key *key);
/* Takes the place of the one of this owner that was used longest ago, when its share is spent. */
void evidence_remember(struct evidence *e, const struct exe_key *key, const struct measured *m);

int watch_new(struct evidence *e, struct watch **ret, struct err *err);
void watch_free(struct watch *w);
void watch_look(struct watch *w);
/* Not while the loop recovers from a long one; the next second's will. */
void watch_look_if_rested(struct watch *w);
/* In this many milliseconds at the latest. */
void watch_look_soon(struct watch *w, uint64_t ms);
