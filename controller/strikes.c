/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/strikes.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define NS_PER_S INT64_C(1000000000)

struct bucket {
	int64_t empty_ns; /* when it has leaked empty */
};

struct strikes {
	struct map *buckets; /* struct addr -> bucket */
	struct bucket shared;
	uint32_t burst;
	int64_t every_ns;
};

struct strikes *strikes_new(uint32_t burst, uint32_t every_s)
{
	struct strikes *s = mem_calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->buckets = map_new(STRIKES_KEYS_MAX, free);
	s->burst = burst;
	s->every_ns = every_s * NS_PER_S;
	if (s->buckets != NULL)
		return s;
	free(s);
	return NULL;
}

void strikes_free(struct strikes *s)
{
	if (s == NULL)
		return;
	map_free(s->buckets);
	free(s);
}

struct addr strikes_key(const struct addr *who)
{
	struct addr key = {.family = who->family};
	size_t len = who->family == AF_INET6 ? STRIKES_V6_PREFIX / 8 : addr_len(who);

	memcpy(key.bytes, who->bytes, len);
	return key;
}

static void forget_empty(struct strikes *s, struct mono now)
{
	struct addr gone[64];
	size_t count;

	do {
		struct map_iter it = {0};

		count = 0;
		while (count < ARRAY_LEN(gone) && map_next(s->buckets, &it)) {
			const struct bucket *b = it.value;

			if (b->empty_ns <= now.ns)
				memcpy(&gone[count++], it.key, sizeof(gone[0]));
		}
		for (size_t i = 0; i < count; i++)
			(void)map_del(s->buckets, &gone[i], sizeof(gone[i]));
	} while (count == ARRAY_LEN(gone));
}

static struct bucket *find(struct strikes *s, const struct addr *key)
{
	struct bucket *b = map_get(s->buckets, key, sizeof(*key));

	if (b != NULL || map_count(s->buckets) < STRIKES_KEYS_MAX)
		return b;
	return &s->shared;
}

uint32_t strikes_wait(struct strikes *s, const struct addr *who, struct mono now)
{
	struct addr key = strikes_key(who);
	const struct bucket *b = find(s, &key);
	int64_t full_ns = s->every_ns * s->burst, over;

	if (b == NULL)
		return 0;
	over = b->empty_ns - now.ns + s->every_ns - full_ns;
	return over <= 0 ? 0 : (uint32_t)((over + NS_PER_S - 1) / NS_PER_S);
}

void strikes_add(struct strikes *s, const struct addr *who, struct mono now)
{
	struct addr key = strikes_key(who);
	struct bucket *b;

	if (map_count(s->buckets) >= STRIKES_KEYS_MAX)
		forget_empty(s, now);
	b = find(s, &key);
	if (b == NULL) {
		b = mem_calloc(1, sizeof(*b));
		if (b != NULL && map_put(s->buckets, &key, sizeof(key), b) < 0) {
			free(b);
			b = NULL;
		}
		if (b == NULL)
			b = &s->shared;
	}
	if (b->empty_ns < now.ns)
		b->empty_ns = now.ns;
	b->empty_ns += s->every_ns;
}
