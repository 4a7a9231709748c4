/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Views written lately, by node and digest: a node that was told of a view fetches it right after,
 * also when another change came between. Bounded; the oldest go first, and what is not here is
 * written again.
 */
#pragma once

#include "base/hash.h"

#include <stddef.h>
#include <stdint.h>

#define HEADS_CACHE_BYTES   (64U << 20)
#define HEADS_CACHE_ENTRIES 4096

struct heads_cache;
struct heads_cache *heads_cache_new(void);
void heads_cache_free(struct heads_cache *k);
/* Takes the bytes, whatever happens. */
void heads_cache_put(struct heads_cache *k, uint32_t node, const char *sha256, char *take,
		     size_t len);
/* Borrowed until the next put. NULL: not here. */
const char *heads_cache_get(const struct heads_cache *k, uint32_t node, const char *sha256,
			    size_t *ret_len);
