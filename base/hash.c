/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/hash.h"

#include "base/mem.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define MAP_SLOTS_FIRST 16

int sha256(const void *bytes, size_t len, uint8_t ret_digest[SHA256_LEN])
{
	if (EVP_Digest(bytes, len, ret_digest, NULL, EVP_sha256(), NULL) == 1)
		return 0;
	memset(ret_digest, 0, SHA256_LEN);
	return -ENOMEM;
}

void hex_format(const uint8_t *bytes, size_t len, char *ret_text)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		ret_text[2 * i] = hex[bytes[i] >> 4];
		ret_text[2 * i + 1] = hex[bytes[i] & 0xf];
	}
	ret_text[2 * len] = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_parse(const char *text, uint8_t *ret_bytes, size_t len)
{
	if (strlen(text) != 2 * len)
		return false;
	for (size_t i = 0; i < 2 * len; i++)
		if (hex_digit(text[i]) < 0)
			return false;
	for (size_t i = 0; i < len; i++)
		ret_bytes[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
	return true;
}

/* ---- SipHash-2-4 (Aumasson and Bernstein, 2012), 64-bit output ---- */

struct sip {
	uint64_t v0, v1, v2, v3;
};

static uint64_t rotl(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = rotl(s->v1, 13) ^ s->v0;
	s->v0 = rotl(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotl(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotl(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotl(s->v1, 17) ^ s->v2;
	s->v2 = rotl(s->v2, 32);
}

static void sip_block(struct sip *s, uint64_t block)
{
	s->v3 ^= block;
	sip_round(s);
	sip_round(s);
	s->v0 ^= block;
}

static uint64_t le64(const uint8_t *p, size_t len)
{
	uint64_t value = 0;

	for (size_t i = 0; i < len; i++)
		value |= (uint64_t)p[i] << (8 * i);
	return value;
}

uint64_t siphash(const uint64_t key[2], const void *bytes, size_t len)
{
	struct sip s = {
		.v0 = key[0] ^ 0x736f6d6570736575ULL,
		.v1 = key[1] ^ 0x646f72616e646f6dULL,
		.v2 = key[0] ^ 0x6c7967656e657261ULL,
		.v3 = key[1] ^ 0x7465646279746573ULL,
	};
	const uint8_t *p = bytes;
	size_t left = len;

	for (; left >= 8; p += 8, left -= 8)
		sip_block(&s, le64(p, 8));
	sip_block(&s, le64(p, left) | (uint64_t)len << 56);

	s.v2 ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t hash_bytes(const void *bytes, size_t len)
{
	static uint64_t key[2];
	static bool drawn;

	/* 16 bytes come whole once the pool is up (getrandom(2)); no daemon runs before that. */
	if (!drawn)
		drawn = getrandom(key, sizeof(key), 0) == (ssize_t)sizeof(key);
	return siphash(key, bytes, len);
}

/* ---- open addressing, linear probing; deletion moves the followers back, so no tombstones ---- */

struct slot {
	uint64_t hash;
	void *key; /* NULL: free slot; else a copy of its own */
	size_t key_len;
	void *value;
};

struct map {
	struct slot *slots;
	size_t slot_count; /* a power of two, at least 4/3 of count; 0 before the first entry */
	size_t count, max;
	void (*free_value)(void *value);
};

struct map *map_new(size_t max, void (*free_value)(void *value))
{
	struct map *m = mem_calloc(1, sizeof(*m));

	if (m == NULL)
		return NULL;
	m->max = max;
	m->free_value = free_value;
	return m;
}

static void slot_release(const struct map *m, struct slot *s)
{
	if (s->key == NULL)
		return;
	if (m->free_value != NULL)
		m->free_value(s->value);
	free(s->key);
	*s = (struct slot){0};
}

void map_clear(struct map *m)
{
	for (size_t i = 0; i < m->slot_count; i++)
		slot_release(m, &m->slots[i]);
	m->count = 0;
}

void map_free(struct map *m)
{
	if (m == NULL)
		return;
	map_clear(m);
	free(m->slots);
	free(m);
}

void map_freep(struct map **m)
{
	map_free(*m);
	*m = NULL;
}

size_t map_count(const struct map *m)
{
	return m->count;
}

/* The slot that holds the key, or the free one where it belongs. Needs a free slot somewhere. */
static struct slot *slot_find(const struct map *m, uint64_t hash, const void *key, size_t key_len)
{
	size_t i = hash & (m->slot_count - 1);

	for (;; i = (i + 1) & (m->slot_count - 1)) {
		struct slot *s = &m->slots[i];

		if (s->key == NULL)
			return s;
		if (s->hash == hash && s->key_len == key_len &&
		    (key_len == 0 || memcmp(s->key, key, key_len) == 0))
			return s;
	}
}

static int grow(struct map *m)
{
	size_t new_count = m->slot_count > 0 ? m->slot_count * 2 : MAP_SLOTS_FIRST;
	struct map bigger = {.slot_count = new_count};

	bigger.slots = mem_calloc(new_count, sizeof(*bigger.slots));
	if (bigger.slots == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < m->slot_count; i++) {
		struct slot *s = &m->slots[i];

		if (s->key != NULL)
			*slot_find(&bigger, s->hash, s->key, s->key_len) = *s;
	}
	free(m->slots);
	m->slots = bigger.slots;
	m->slot_count = new_count;
	return 0;
}

static void replace_value(struct map *m, struct slot *s, void *value)
{
	if (m->free_value != NULL && s->value != value)
		m->free_value(s->value);
	s->value = value;
}

int map_put(struct map *m, const void *key, size_t key_len, void *value)
{
	uint64_t hash = hash_bytes(key, key_len);
	struct slot *s = m->slot_count > 0 ? slot_find(m, hash, key, key_len) : NULL;
	void *copy;

	if (s != NULL && s->key != NULL) {
		replace_value(m, s, value);
		return 0;
	}
	if (m->count >= m->max)
		return -E2BIG;
	if (m->count >= m->slot_count / 4 * 3) {
		int r = grow(m);

		if (r < 0)
			return r;
	}
	copy = mem_calloc(key_len, 1);
	if (copy == NULL)
		return -ENOMEM;
	if (key_len > 0)
		memcpy(copy, key, key_len);
	s = slot_find(m, hash, key, key_len);
	*s = (struct slot){.hash = hash, .key = copy, .key_len = key_len, .value = value};
	m->count++;
	return 0;
}

void *map_get(const struct map *m, const void *key, size_t key_len)
{
	if (m->count == 0)
		return NULL;
	return slot_find(m, hash_bytes(key, key_len), key, key_len)->value;
}

bool map_del(struct map *m, const void *key, size_t key_len)
{
	size_t mask = m->slot_count - 1, hole, i;
	struct slot *s;

	if (m->count == 0)
		return false;
	s = slot_find(m, hash_bytes(key, key_len), key, key_len);
	if (s->key == NULL)
		return false;
	slot_release(m, s);
	m->count--;

	hole = (size_t)(s - m->slots);
	for (i = (hole + 1) & mask; m->slots[i].key != NULL; i = (i + 1) & mask) {
		size_t home = m->slots[i].hash & mask;

		/* An entry whose home lies behind the hole is still found from there. */
		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		m->slots[hole] = m->slots[i];
		m->slots[i] = (struct slot){0};
		hole = i;
	}
	return true;
}

int map_put_str(struct map *m, const char *key, void *value)
{
	return map_put(m, key, strlen(key), value);
}

void *map_get_str(const struct map *m, const char *key)
{
	return map_get(m, key, strlen(key));
}

bool map_del_str(struct map *m, const char *key)
{
	return map_del(m, key, strlen(key));
}

bool map_next(const struct map *m, struct map_iter *it)
{
	for (; it->slot < m->slot_count; it->slot++) {
		const struct slot *s = &m->slots[it->slot];

		if (s->key == NULL)
			continue;
		it->key = s->key;
		it->key_len = s->key_len;
		it->value = s->value;
		it->slot++;
		return true;
	}
	return false;
}
