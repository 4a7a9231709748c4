/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The node of vouch_fixture.h with evidence: identity p/a is a.service, and one program of its own
 * is its only approved executable; p/c is c.service.
 */
#pragma once

#include "agent/evidence.h"
#include "base/hash.h"
#include "tests/unit/vouch_fixture.h"

#define USER_A    4711
#define TURNS_MAX 1000
#define BUDGET_MS 60000 /* no slow machine is too slow */

struct evidence_bench {
	struct vouch_bench b;
	struct evidence *e;
	struct owner *owner;
	char policy[4096];
	char digest[SHA256_HEX_LEN]; /* of the program "approved" */
};

#define BENCH(t)                                                                                   \
	CLEANUP(evidence_bench_done) struct evidence_bench t;                                      \
	evidence_bench_init(&t)
void evidence_bench_init(struct evidence_bench *t);
void evidence_bench_done(struct evidence_bench *t);
/* Further selectors of p/a (", user: x"), and its reference values. */
void evidence_policy(struct evidence_bench *t, const char *more, const char *reference);
/* One turn of the loop. */
void evidence_turn(struct evidence_bench *t);

extern unsigned evidence_alerts; /* lines of log that are warnings or errors */

/* A path in the test's folder; borrowed until the next call. */
const char *evidence_program(const char *name);
/* A copy of sleep(1) with something behind it, so that it is a program of its own. */
void evidence_make_program(const char *path, const char *suffix);
/* Runs it in a cgroup. */
pid_t evidence_run(const char *cgroup, const char *path);
void evidence_file_hex(const char *path, char hex[SHA256_HEX_LEN]);
const char *evidence_hex(const uint8_t bytes[PEER_DIGEST_LEN]); /* borrowed likewise */
/* Asks until it is known. */
void evidence_digest(struct evidence_bench *t, pid_t pid, struct digest *ret);
