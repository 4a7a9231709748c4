/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/heads_cache.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX (SHA256_HEX_LEN + 12)

struct entry {
	char key[KEY_MAX];
	char *bytes;
	size_t len;
};

struct heads_cache {
	struct entry ring[HEADS_CACHE_ENTRIES];
	size_t first, count, bytes;
	struct map *by_key;
};

struct heads_cache *heads_cache_new(void)
{
	struct heads_cache *k = mem_calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->by_key = map_new(HEADS_CACHE_ENTRIES, NULL);
	if (!k->by_key) {
		free(k);
		return NULL;
	}
	return k;
}

static void drop_first(struct heads_cache *k)
{
	struct entry *e = &k->ring[k->first];

	if (map_get_str(k->by_key, e->key) == e)
		(void)map_del_str(k->by_key, e->key);
	k->bytes -= e->len;
	freep(&e->bytes);
	k->first = (k->first + 1) % HEADS_CACHE_ENTRIES;
	k->count--;
}

void heads_cache_free(struct heads_cache *k)
{
	if (!k)
		return;
	while (k->count > 0)
		drop_first(k);
	map_free(k->by_key);
	free(k);
}

static void make_key(char key[KEY_MAX], uint32_t node, const char *sha256)
{
	(void)snprintf(key, KEY_MAX, "%u %s", node, sha256);
}

void heads_cache_put(struct heads_cache *k, uint32_t node, const char *sha256, char *take,
		     size_t len)
{
	CLEANUP(freep) char *bytes = take;
	struct entry *e;

	if (len > HEADS_CACHE_BYTES)
		return;
	while (k->count > 0 &&
	       (k->count == HEADS_CACHE_ENTRIES || k->bytes + len > HEADS_CACHE_BYTES))
		drop_first(k);
	e = &k->ring[(k->first + k->count) % HEADS_CACHE_ENTRIES];
	make_key(e->key, node, sha256);
	if (map_put_str(k->by_key, e->key, e) < 0)
		return;
	e->bytes = TAKE_PTR(bytes);
	e->len = len;
	k->bytes += len;
	k->count++;
}

const char *heads_cache_get(const struct heads_cache *k, uint32_t node, const char *sha256,
			    size_t *ret_len)
{
	const struct entry *e;
	char key[KEY_MAX];

	make_key(key, node, sha256);
	e = map_get_str(k->by_key, key);
	if (!e)
		return NULL;
	*ret_len = e->len;
	return e->bytes;
}
