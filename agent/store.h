/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What survives the agent. In state_dir: the last three applied policies, which of them is in
 * force, mode, revocations, the last good view, the history. In run_dir (gone with the boot):
 * conduit numbers, and copies of what is in state_dir (spare.h). Every write is durable
 * replacement; a full or read-only disk is reported and the kernel keeps what it has.
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "rules/compile.h"
#include "rules/verdict.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define STORE_GENERATIONS_KEPT 3
#define STORE_FILES_MAX        256
#define STORE_HISTORY_MAX      1000

struct spare;
struct store;

struct store_file {
	char *name, *text;
	size_t len;
};

/* An applied policy as it was given. */
struct store_policy {
	uint64_t revision;
	char digest[65];
	char who[64];
	char reason[256];
	struct wall when;
	struct store_file *files;
	size_t file_count;
};
void store_policy_done(struct store_policy *p);
/* SHA-256 over names and texts in order of names; sorts the files. "" when OpenSSL fails. */
void store_policy_digest(struct store_policy *p);

/* What must be known before anything is loaded. Defaults where the file is missing. */
struct store_state {
	bool known;                    /* false: a fresh agent */
	uint64_t confirmed, candidate; /* revisions; 0 = none */
	/* Digests of their manifests (document_store.h); "" where policy came by `apply`. */
	char confirmed_manifest[65], candidate_manifest[65];
	struct wall falls_back;
	/* The policy whose borders numbers in the kernel may have beside those of `confirmed`. */
	uint64_t borders;
	char borders_manifest[65];
	uint64_t last_revision;
	enum node_mode mode, mode_before;
	struct wall mode_until;
	uint64_t view_sequence;
	struct wall wall_highest;
};

int store_open(const char *state_dir, const char *run_dir, struct store **ret, struct err *err);
void store_free(struct store *s);

/* Copies of what is in state_dir; the store's. */
struct spare *store_spare(struct store *s);
/* At a start, before anything is read: damaged and lost files from their copies. */
int store_mend(struct store *s, void (*told)(void *user, const char *text), void *user,
	       struct err *err);

int store_state_read(struct store *s, struct store_state *ret, struct err *err);
/* The copy in run_dir; -ENOENT when there is none. */
int store_state_copy(struct store *s, struct store_state *ret, struct err *err);
int store_state_write(struct store *s, const struct store_state *state, struct err *err);

int store_policy_write(struct store *s, const struct store_policy *p, struct err *err);
int store_policy_read(struct store *s, uint64_t revision, struct store_policy *ret,
		      struct err *err);
/* Removes all but these and the newest STORE_GENERATIONS_KEPT. */
void store_policy_prune(struct store *s, uint64_t keep_a, uint64_t keep_b);

/* Revisions on disk, largest first; at most max of them. */
size_t store_policy_revisions(struct store *s, uint64_t *revisions, size_t max);

/* For diagnosis; the next one that is damaged takes its place. */
#define STORE_STATE_DAMAGED "state.json.damaged"
void store_state_aside(struct store *s);
/* When a file of this store was last written, 0 when none ever was. */
struct wall store_last_write(struct store *s);

/* JSON documents of the agent's own in state_dir; -ENOENT when there is none. */
int store_json_read(struct store *s, const char *name, json_t **ret, struct err *err);
int store_text_read(struct store *s, const char *name, size_t max, char **ret_text,
		    struct err *err);
int store_text_write(struct store *s, const char *name, const char *text, size_t len,
		     struct err *err);
int store_json_write(struct store *s, const char *name, const json_t *value, struct err *err);

/*
 * Revocations and quarantines: they outlive restarts and reboots. A conduit is revoked by its
 * number, and numbers do not: the number's key is kept beside it, and names the number that the
 * conduit has or will have in this boot. store_overlay.c
 */
#define STORE_OVERLAY_MAX      10000 /* entries of a kind */
#define STORE_OVERLAY_TEXT_MAX 2048
int store_overlay_read(struct store *s, struct numbers *conduits, struct overlay *ret,
		       struct err *err);
void store_overlay_aside(struct store *s);
int store_overlay_write(struct store *s, struct numbers *conduits, const struct overlay *o,
			struct err *err);

int store_view_write(struct store *s, const char *text, size_t len, struct err *err);
int store_view_read(struct store *s, char **ret_text, size_t *ret_len, struct err *err);

/* One JSON object per line, newest last; old lines are dropped above STORE_HISTORY_MAX. */
int store_history_add(struct store *s, const json_t *entry, struct err *err);
json_t *store_history(struct store *s); /* array, new reference; NULL when out of memory */

/* Numbers of this boot and network namespace: 0 with found=false when the file is of another. */
int store_numbers_read(struct store *s, struct numbers *conduits, struct numbers *identities,
		       bool *ret_found, struct err *err);
int store_numbers_write(struct store *s, const struct numbers *conduits,
			const struct numbers *identities, struct err *err);

/* What the last failed write said, NULL when all is well (`status` shows it). */
const char *store_problem(const struct store *s);
