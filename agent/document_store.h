/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signed documents on disk, in state_dir/documents: the newest head, what is known (sequences,
 * revisions), manifests and policy blobs by digest, and a record of each generation. What is here
 * was verified before it was written, and state_dir is root's alone.
 *
 * Every write is a durable replacement, and the state that names a manifest (store.h) is written
 * when the manifest, its blobs and its record have been read back from disk. So whatever a power
 * cut leaves names only what is whole. A full disk is reported; enforcement goes on with what is in
 * the kernel.
 */
#pragma once

#include "agent/store.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "controller-client/accept.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GENERATIONS_RECORDED_MAX 16

enum generation_outcome {
	GENERATION_STAGED,      /* on its way in, or on probation */
	GENERATION_CONFIRMED,   /* was or is in force */
	GENERATION_ROLLED_BACK, /* fell back: tried again once, unless it is pinned */
};

struct manifest;

/* What became of a manifest. */
struct generation_record {
	char digest[SHA256_HEX_LEN];
	uint64_t revision;
	char who[64];
	char reason[256];
	struct wall when;
	enum generation_outcome outcome;
	char why[256];        /* it was rolled back */
	unsigned interrupted; /* times that a start found it neither confirmed nor on probation */
	unsigned failures;    /* times that it fell back; of what is pinned at once, the most */
};
#define GENERATION_FAILURES_MAX 2
/* Never tried again by itself. */
bool generation_pinned(const struct generation_record *e);

struct generation_records {
	struct generation_record list[GENERATIONS_RECORDED_MAX]; /* oldest first */
	size_t count;
};
struct generation_record *generation_record_find(struct generation_records *r, const char *digest);
/* Found or new (then staged); the oldest goes when there are too many. */
struct generation_record *generation_record_add(struct generation_records *r, const char *digest);

struct document_store;
struct spare;

/* With `make` what is missing is made; else everything is -ENOENT then. */
int document_store_open(const char *state_dir, bool make, struct document_store **ret,
			struct err *err);
/* Copies of everything, borrowed; NULL = none. */
void document_store_set_spare(struct document_store *s, struct spare *spare);
void document_store_free(struct document_store *s);
void document_store_freep(struct document_store **s);

/* 1, or 0 and zeroed when there is none. */
int document_store_known_read(struct document_store *s, struct known *ret, struct err *err);
int document_store_known_write(struct document_store *s, const struct known *k, struct err *err);

int document_store_head_read(struct document_store *s, char **ret, size_t *ret_len,
			     struct err *err);
int document_store_head_write(struct document_store *s, const char *text, size_t len,
			      struct err *err);

/* By digest, which is looked at again: -EBADMSG when the bytes are not those. */
int document_store_manifest_read(struct document_store *s, const char *sha256, char **ret,
				 size_t *ret_len, struct err *err);
int document_store_manifest_write(struct document_store *s, const char *sha256, const char *text,
				  size_t len, struct err *err);
/* Each that is named by a digest, damaged or not; fn reads it. */
void document_store_manifests(struct document_store *s,
			      void (*fn)(void *user, struct document_store *s, const char *sha256),
			      void *user);
int document_store_blob_read(struct document_store *s, const char *sha256, char **ret,
			     size_t *ret_len, struct err *err);
int document_store_blob_write(struct document_store *s, const char *sha256, const char *bytes,
			      size_t len, struct err *err);

int document_store_records_read(struct document_store *s, struct generation_records *ret,
				struct err *err);
int document_store_records_write(struct document_store *s, const struct generation_records *r,
				 struct err *err);

/* The policy of a manifest: its blobs as texts, digest and revision of the manifest. */
int document_store_policy(struct document_store *s, const char *sha256, struct store_policy *ret,
			  struct err *err);

/* A stored manifest; manifest_done() it. */
int document_store_manifest(struct document_store *s, const char *sha256, struct manifest *ret,
			    struct err *err);
/* When a manifest expires; -ENOENT when it is not here. */
int document_store_expires(struct document_store *s, const char *sha256, struct wall *ret,
			   struct err *err);

/* Removes manifests but these, and blobs that none of them names. */
#define DOCUMENT_STORE_KEEP_MAX (GENERATIONS_RECORDED_MAX + 4)
void document_store_prune(struct document_store *s, const char *const *keep, size_t count);

/* SHA-256 as hex; -ENOMEM. */
int document_digest(const void *bytes, size_t len, char ret[SHA256_HEX_LEN]);
