/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Blobs on disk by their SHA-256: what came once need not come again, also after a restart. Nothing
 * in it is trusted: a file whose bytes are not those of its name is removed. What was used longest
 * ago goes first when it is full. A cache that does not work is none; the courier works without.
 */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define CACHE_MAX_DEFAULT (256U << 20)

struct cache;

/* The directory must be there. */
int cache_open(const char *dir, uint64_t max_bytes, struct cache **ret, struct err *err);
void cache_free(struct cache *c);
/* Caller frees. -ENOENT when it is not there, or not of this size. */
int cache_get(struct cache *c, const char *sha256, uint64_t size, char **ret, size_t *ret_len);
void cache_put(struct cache *c, const char *sha256, const void *bytes, size_t len);
