/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Hashing and one hash table. Table keys are byte strings, copied; values are pointers, borrowed
 * unless a free function is given. Keys come from outside, so the hash is keyed (SipHash-2-4 with
 * a random key drawn at first use).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_LEN     32
#define SHA256_HEX_LEN 65 /* with the NUL */

/* SHA-256 by OpenSSL; -ENOMEM (and a digest of zeros) when the library fails. */
int sha256(const void *bytes, size_t len, uint8_t ret_digest[SHA256_LEN]);
void hex_format(const uint8_t *bytes, size_t len, char *ret_text /* 2 * len + 1 */);
/* Exactly 2 * len lower-case digits; false otherwise, and ret_bytes is as before. */
bool hex_parse(const char *text, uint8_t *ret_bytes, size_t len);

/* SipHash-2-4 under a given key, and under this process's random one. */
uint64_t siphash(const uint64_t key[2], const void *bytes, size_t len);
uint64_t hash_bytes(const void *bytes, size_t len);

struct map; /* opaque */

/* max bounds the number of entries; map_put fails with -E2BIG above it. */
struct map *map_new(size_t max, void (*free_value)(void *value));
void map_free(struct map *m);
void map_freep(struct map **m);
size_t map_count(const struct map *m);
/* Adds or replaces (the old value is freed). On failure the value stays the caller's. */
int map_put(struct map *m, const void *key, size_t key_len, void *value);
void *map_get(const struct map *m, const void *key, size_t key_len);
bool map_del(struct map *m, const void *key, size_t key_len);
void map_clear(struct map *m);

/* String keys. */
int map_put_str(struct map *m, const char *key, void *value);
void *map_get_str(const struct map *m, const char *key);
bool map_del_str(struct map *m, const char *key);

/* Iteration in insertion order not guaranteed; the table must not change meanwhile. */
struct map_iter {
	size_t slot;
	const void *key;
	size_t key_len;
	void *value;
};
bool map_next(const struct map *m, struct map_iter *it); /* start with a zeroed struct */
