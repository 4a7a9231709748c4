/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Digests by executable. Small enough that the one to go is found by looking at all: that happens
 * once for each file that is read.
 */
#include "agent/evidence_parts.h"
#include "base/hash.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint64_t evidence_owner(const char *identity_path)
{
	uint64_t owner = hash_bytes(identity_path, strlen(identity_path));

	return owner != EVIDENCE_OF_NOBODY ? owner : 1;
}

static size_t count_of(const struct evidence *e, uint64_t owner)
{
	const size_t *count = map_get(e->shares, &owner, sizeof(owner));

	return count ? *count : 0;
}

static int count_add(struct evidence *e, uint64_t owner)
{
	size_t *count = map_get(e->shares, &owner, sizeof(owner));
	int r = 0;

	if (!count) {
		count = mem_calloc(1, sizeof(*count));
		r = count ? map_put(e->shares, &owner, sizeof(owner), count) : -ENOMEM;
	}
	if (r < 0)
		free(count);
	else
		++*count;
	return r;
}

static void count_drop(struct evidence *e, uint64_t owner)
{
	size_t *count = map_get(e->shares, &owner, sizeof(owner));

	if (count && --*count == 0)
		(void)map_del(e->shares, &owner, sizeof(owner));
}

const struct measured *evidence_recall(struct evidence *e, uint64_t owner,
				       const struct exe_key *key)
{
	struct measured *m = map_get(e->cache, key, sizeof(*key));

	if (!m)
		return NULL;
	m->used = ++e->uses;
	/* A program that many run is not lost with the share of one who runs too many. */
	if (m->owner != owner && count_of(e, m->owner) > count_of(e, owner) &&
	    count_add(e, owner) == 0) {
		count_drop(e, m->owner);
		m->owner = owner;
	}
	return m;
}

/* The one that was used longest ago, of this owner or of all. */
static void forget_one(struct evidence *e, const uint64_t *owner)
{
	const struct measured *oldest = NULL;
	struct map_iter it = {0};
	struct exe_key key;

	while (map_next(e->cache, &it)) {
		const struct measured *m = it.value;

		if ((owner && m->owner != *owner) || (oldest && m->used >= oldest->used))
			continue;
		oldest = m;
		memcpy(&key, it.key, sizeof(key));
	}
	if (!oldest)
		return;
	count_drop(e, oldest->owner);
	(void)map_del(e->cache, &key, sizeof(key));
}

/* Measured again: a file that could not be read is tried again after a while. */
static void forget_this(struct evidence *e, const struct exe_key *key)
{
	const struct measured *m = map_get(e->cache, key, sizeof(*key));

	if (!m)
		return;
	count_drop(e, m->owner);
	(void)map_del(e->cache, key, sizeof(*key));
}

void evidence_remember(struct evidence *e, const struct exe_key *key, const struct measured *m)
{
	struct measured *kept;

	forget_this(e, key);
	if (count_of(e, m->owner) >= EVIDENCE_CACHE_SHARE)
		forget_one(e, &m->owner);
	else if (map_count(e->cache) >= EVIDENCE_CACHE_MAX)
		forget_one(e, NULL);
	kept = mem_calloc(1, sizeof(*kept));
	if (!kept || count_add(e, m->owner) < 0) {
		free(kept);
		return; /* measured again when asked again */
	}
	*kept = *m;
	kept->used = ++e->uses;
	if (map_put(e->cache, key, sizeof(*key), kept) == 0)
		return;
	count_drop(e, m->owner);
	free(kept);
}
