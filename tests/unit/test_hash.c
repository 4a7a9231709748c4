/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/hash.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TEST(sha256_of_known_texts)
{
	char hex[SHA256_HEX_LEN];
	uint8_t digest[SHA256_LEN];

	CHECK_INT(sha256("", 0, digest), 0);
	hex_format(digest, sizeof(digest), hex);
	CHECK_STR(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	CHECK_INT(sha256("abc", 3, digest), 0);
	hex_format(digest, sizeof(digest), hex);
	CHECK_STR(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* Vectors of the reference implementation: key 00..0f, message 00..n-1. */
TEST(siphash_agrees_with_the_reference)
{
	static const uint64_t key[2] = {0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL};
	static const struct {
		size_t len;
		uint64_t hash;
	} cases[] = {
		{0, 0x726fdb47dd0e0e31ULL},  {1, 0x74f839c593dc67fdULL},
		{7, 0xab0200f58b01d137ULL},  {8, 0x93f5f5799a932462ULL},
		{15, 0xa129ca6149be45e5ULL}, {63, 0x958a324ceb064572ULL},
	};
	uint8_t message[64];

	for (size_t i = 0; i < sizeof(message); i++)
		message[i] = (uint8_t)i;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		CHECK_UINT(siphash(key, message, cases[i].len), cases[i].hash);
}

TEST(the_process_hash_is_stable_and_spreads)
{
	CHECK_UINT(hash_bytes("abc", 3), hash_bytes("abc", 3));
	CHECK(hash_bytes("abc", 3) != hash_bytes("abd", 3));
	CHECK(hash_bytes("a", 1) != hash_bytes("a\0", 2));
}

TEST(put_get_replace_delete)
{
	CLEANUP(map_freep) struct map *m = map_new(10, free);
	char *value;

	CHECK(m != NULL);
	CHECK(map_get_str(m, "a") == NULL);
	CHECK(!map_del_str(m, "a"));
	value = mem_strdup("one");
	CHECK_INT(map_put_str(m, "a", value), 0);
	CHECK(map_get_str(m, "a") == value);
	CHECK_INT(map_put_str(m, "a", value), 0);
	CHECK_STR(map_get_str(m, "a"), "one");
	value = mem_strdup("two");
	CHECK_INT(map_put_str(m, "a", value), 0);
	CHECK_UINT(map_count(m), 1);
	CHECK_STR(map_get_str(m, "a"), "two");
	CHECK(map_del_str(m, "a"));
	CHECK_UINT(map_count(m), 0);
	CHECK(map_get_str(m, "a") == NULL);
}

TEST(keys_are_bytes_with_a_length)
{
	CLEANUP(map_freep) struct map *m = map_new(10, NULL);
	int a, b, c;

	CHECK(m != NULL);
	CHECK_INT(map_put(m, "k\0x", 3, &a), 0);
	CHECK_INT(map_put(m, "k\0y", 3, &b), 0);
	CHECK_INT(map_put(m, NULL, 0, &c), 0);
	CHECK(map_get(m, "k\0x", 3) == &a);
	CHECK(map_get(m, "k\0y", 3) == &b);
	CHECK(map_get(m, "k", 1) == NULL);
	CHECK(map_get(m, "", 0) == &c);
}

TEST(the_maximum_is_kept)
{
	CLEANUP(map_freep) struct map *m = map_new(2, NULL);
	int v;

	CHECK(m != NULL);
	CHECK_INT(map_put_str(m, "a", &v), 0);
	CHECK_INT(map_put_str(m, "b", &v), 0);
	CHECK_INT(map_put_str(m, "c", &v), -E2BIG);
	CHECK_INT(map_put_str(m, "b", &v), 0);
	CHECK(map_del_str(m, "a"));
	CHECK_INT(map_put_str(m, "c", &v), 0);
}

#define MODEL 5000

/* Against an array, with deletions in between, so that chains of neighbours are moved about. */
TEST(many_entries_behave_like_a_plain_table)
{
	CLEANUP(map_freep) struct map *m = map_new(MODEL, NULL);
	static uint32_t present[MODEL];
	uint32_t state = 12345;
	size_t count = 0, seen = 0;
	struct map_iter it = {0};

	CHECK(m != NULL);
	for (int step = 0; step < 20 * MODEL; step++) {
		uint32_t key;

		state = state * 1664525 + 1013904223;
		key = (state >> 8) % MODEL;
		if ((state >> 30) == 0) {
			CHECK_INT(map_del(m, &key, sizeof(key)), present[key] != 0);
			count -= present[key] != 0;
			present[key] = 0;
		} else {
			CHECK_INT(map_put(m, &key, sizeof(key), &present[key]), 0);
			count += present[key] == 0;
			present[key] = 1;
		}
	}
	CHECK_UINT(map_count(m), count);
	for (uint32_t key = 0; key < MODEL; key++)
		CHECK(map_get(m, &key, sizeof(key)) == (present[key] ? &present[key] : NULL));
	while (map_next(m, &it)) {
		CHECK_UINT(it.key_len, sizeof(uint32_t));
		CHECK(it.value == &present[*(const uint32_t *)it.key]);
		seen++;
	}
	CHECK_UINT(seen, count);
}

static unsigned freed;

static void count_free(void *value)
{
	(void)value;
	freed++;
}

TEST(values_are_freed_once)
{
	struct map *m = map_new(10, count_free);
	int a, b;

	CHECK(m != NULL);
	freed = 0;
	CHECK_INT(map_put_str(m, "a", &a), 0);
	CHECK_INT(map_put_str(m, "b", &a), 0);
	CHECK_INT(map_put_str(m, "a", &b), 0);
	CHECK_UINT(freed, 1);
	map_clear(m);
	CHECK_UINT(freed, 3);
	CHECK_UINT(map_count(m), 0);
	CHECK_INT(map_put_str(m, "a", &a), 0);
	map_free(m);
	CHECK_UINT(freed, 4);
	map_free(NULL);
}

OOM_TEST(a_failed_put_changes_nothing)
{
	CLEANUP(map_freep) struct map *m = map_new(1000, NULL);
	size_t count = 0;
	char key[16];
	int r = 0;

	if (m == NULL)
		return -ENOMEM;
	for (int i = 0; i < 40 && r == 0; i++) {
		(void)snprintf(key, sizeof(key), "key-%d", i);
		r = map_put_str(m, key, key);
		count += r == 0;
	}
	CHECK_UINT(map_count(m), count);
	for (size_t i = 0; i < 40; i++) {
		(void)snprintf(key, sizeof(key), "key-%zu", i);
		CHECK((map_get_str(m, key) != NULL) == (i < count));
	}
	return r;
}

TEST(hex_is_read_whole_or_not_at_all)
{
	uint8_t bytes[3] = {7, 7, 7};

	CHECK(hex_parse("00ff1a", bytes, 3));
	CHECK_MEM(bytes, "\x00\xff\x1a", 3);
	CHECK(!hex_parse("00ff1", bytes, 3));
	CHECK(!hex_parse("00ff1a0", bytes, 3));
	CHECK(!hex_parse("00FF1a", bytes, 3));
	CHECK(!hex_parse("00ff1g", bytes, 3));
	CHECK(!hex_parse("", bytes, 3));
	CHECK_MEM(bytes, "\x00\xff\x1a", 3);
}
