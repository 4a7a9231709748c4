/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/evidence_parts.h"
#include "base/hash.h"
#include "base/mem.h"
#include "tests/unit/test.h"

#include <stdlib.h>

static void cache_open(struct evidence *e)
{
	*e = (struct evidence){
		.cache = map_new(EVIDENCE_CACHE_MAX, free),
		.shares = map_new(EVIDENCE_CACHE_MAX, free),
	};
}

static void cache_done(struct evidence *e)
{
	map_free(e->cache);
	map_free(e->shares);
}

static struct exe_key file(uint64_t ino)
{
	return (struct exe_key){.ino = ino, .size = 1};
}

static void remember(struct evidence *e, uint64_t owner, uint64_t ino)
{
	struct measured m = {.owner = owner, .digest = {.has_sha256 = true}};
	struct exe_key key = file(ino);

	evidence_remember(e, &key, &m);
}

static bool knows(struct evidence *e, uint64_t owner, uint64_t ino)
{
	struct exe_key key = file(ino);

	return evidence_recall(e, owner, &key) != NULL;
}

TEST(who_runs_thousands_of_executables_pushes_out_its_own)
{
	CLEANUP(cache_done) struct evidence e;
	const uint64_t victim = evidence_owner("p/victim"), busy = evidence_owner("p/busy");

	cache_open(&e);
	CHECK(victim != busy);
	for (uint64_t i = 1; i <= 20; i++)
		remember(&e, victim, i);
	for (uint64_t i = 0; i < 3 * EVIDENCE_CACHE_MAX; i++)
		remember(&e, busy, 1000 + i);
	CHECK_UINT(map_count(e.cache), 20 + EVIDENCE_CACHE_SHARE);
	for (uint64_t i = 1; i <= 20; i++)
		CHECK(knows(&e, victim, i));
	/* The newest of the busy one are there, those before are not. */
	CHECK(knows(&e, busy, 1000 + 3 * EVIDENCE_CACHE_MAX - 1));
	CHECK(!knows(&e, busy, 1000));
}

TEST(what_was_used_last_stays_in_a_share)
{
	CLEANUP(cache_done) struct evidence e;

	cache_open(&e);
	for (uint64_t i = 1; i <= EVIDENCE_CACHE_SHARE; i++)
		remember(&e, 7, i);
	CHECK(knows(&e, 7, 1));
	remember(&e, 7, 9999);
	CHECK(knows(&e, 7, 1));
	CHECK(!knows(&e, 7, 2));
	CHECK_UINT(map_count(e.cache), EVIDENCE_CACHE_SHARE);
}

TEST(a_program_that_others_run_too_stays_with_them)
{
	CLEANUP(cache_done) struct evidence e;

	cache_open(&e);
	remember(&e, 7, 1);
	remember(&e, 7, 2);
	CHECK(knows(&e, 8, 1));
	for (uint64_t i = 0; i < EVIDENCE_CACHE_SHARE; i++)
		remember(&e, 7, 100 + i);
	CHECK(knows(&e, 8, 1));
	CHECK(!knows(&e, 7, 2));
}

TEST(many_owners_together_keep_to_the_size_of_the_cache)
{
	CLEANUP(cache_done) struct evidence e;
	uint64_t ino = 1;

	cache_open(&e);
	for (uint64_t owner = 1; owner <= 12; owner++)
		for (unsigned i = 0; i < EVIDENCE_CACHE_SHARE; i++)
			remember(&e, owner, ino++);
	CHECK_UINT(map_count(e.cache), EVIDENCE_CACHE_MAX);
	CHECK(knows(&e, 12, ino - 1));
	CHECK(!knows(&e, 1, 1));
	/* The same file again is one entry. */
	remember(&e, 12, ino - 1);
	CHECK_UINT(map_count(e.cache), EVIDENCE_CACHE_MAX);
}
