/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Stable numbers for conduits and identities (R17). A number lives as long as conntrack: it is
 * never given to another key until a conntrack sweep found no entry that carries it. Keys are
 * 128-bit digests of the conduit's name, so that a registry of 100,000 conduits stays small.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NUMBER_KEY_LEN 16
#define NUMBERS_MAX    1000000

struct number_key {
	uint8_t bytes[NUMBER_KEY_LEN];
};

struct numbers; /* opaque */

struct numbers *numbers_new(uint32_t first, uint32_t last);
void numbers_free(struct numbers *n);
void numbers_freep(struct numbers **n);

/* SHA-256 of the text, cut to 128 bits. */
void number_key_of(const char *text, struct number_key *ret_key);

/* The key's number, given now if it has none. -ENOSPC when the range is exhausted; -ENOMEM. */
int numbers_get(struct numbers *n, const struct number_key *key, uint32_t *ret_number);
/* -ENOENT when the key has none. */
int numbers_find(const struct numbers *n, const struct number_key *key, uint32_t *ret_number);
/* The key of a number; -ENOENT. */
int numbers_key(struct numbers *n, uint32_t number, struct number_key *ret_key);
/* Enters a known pair (rebuilding from a file or from user data). -EEXIST on contradiction. */
int numbers_put(struct numbers *n, const struct number_key *key, uint32_t number);

/* A trial, such as a plan: numbers_forget_since() takes back what was given after the mark. */
struct numbers_mark {
	size_t count;
	uint64_t gap_next, gap_end;
};
struct numbers_mark numbers_mark(const struct numbers *n);
void numbers_forget_since(struct numbers *n, const struct numbers_mark *mark);

/*
 * Forgetting: numbers_keep() is called for each number still in use (by a generation or by a
 * conntrack entry) between numbers_sweep_begin() and numbers_sweep_end(), which frees the others.
 */
void numbers_sweep_begin(struct numbers *n);
void numbers_keep(struct numbers *n, uint32_t number);
size_t numbers_sweep_end(struct numbers *n);
size_t numbers_count(const struct numbers *n);

/* Text form, one "hex number" per line, for the file in run_dir. */
void numbers_format(const struct numbers *n, struct buf *b);
int numbers_parse(struct numbers *n, const char *text, size_t len, struct err *err);
