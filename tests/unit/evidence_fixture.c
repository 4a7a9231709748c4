/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/evidence_fixture.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "tests/unit/cgroup_fixture.h"
#include "tests/unit/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TURN_US 20000
#define EXE_MAX (64U << 20)

static const char policy_head[] =
	"trust_domain: acme.example\n"
	"defaults: {assurance: mapped}\n"
	"identities:\n"
	"  - {name: b, path: p/b, workload: [{unit: b.service}]}\n"
	"  - {name: c, path: p/c, workload: [{unit: c.service}]}\n"
	"  - {name: a, path: p/a, workload: [{unit: a.service%s}], reference: [%s]}\n"
	"rules:\n"
	"  - {name: a-b, from: [a], to: [b], services: [tcp/7000], purpose: p, owner: o}\n";

unsigned evidence_alerts;

static void count_alerts(enum log_level level, const char *line, void *user)
{
	(void)line;
	(void)user;
	evidence_alerts += level == LOG_LEVEL_ERROR || level == LOG_LEVEL_WARN;
}

/* --- executables ----------------------------------------------------------------------------- */

const char *evidence_program(const char *name)
{
	static char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", test_dir(), name);
	return path;
}

void evidence_file_hex(const char *path, char hex[SHA256_HEX_LEN])
{
	CLEANUP(freep) char *text = NULL;
	uint8_t digest[SHA256_LEN];
	struct err err = {{0}};
	size_t len = 0;

	CHECK_OK(file_read(AT_FDCWD, path, EXE_MAX, &text, &len, &err), &err);
	CHECK_INT(sha256(text, len, digest), 0);
	hex_format(digest, sizeof(digest), hex);
}

/* A copy of sleep(1) with something behind it, so that it is a program of its own. */
void evidence_make_program(const char *path, const char *suffix)
{
	CLEANUP(freep) char *text = NULL;
	CLEANUP(closep) int fd = -1;
	struct err err = {{0}};
	size_t len = 0;

	CHECK_OK(file_read(AT_FDCWD, "/bin/sleep", EXE_MAX, &text, &len, &err), &err);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	CHECK(fd >= 0);
	CHECK_INT(write(fd, text, len), (ssize_t)len);
	CHECK_INT(write(fd, suffix, strlen(suffix)), (ssize_t)strlen(suffix));
}

pid_t evidence_run(const char *cgroup, const char *path)
{
	return fixture_exec(cgroup, (const char *const[]){path, "1000", NULL});
}

/* --- bench ----------------------------------------------------------------------------------- */

void evidence_policy(struct evidence_bench *t, const char *more, const char *reference)
{
	(void)snprintf(t->policy, sizeof(t->policy), policy_head, more, reference);
	vouch_bench_policy(&t->b, t->policy);
}

void evidence_bench_init(struct evidence_bench *t)
{
	struct err err = {{0}};

	memset(t, 0, sizeof(*t));
	evidence_alerts = 0;
	log_set_hook(count_alerts, NULL);
	evidence_make_program(evidence_program("approved"), "1");
	evidence_file_hex(evidence_program("approved"), t->digest);
	(void)snprintf(t->policy, sizeof(t->policy), policy_head, "", t->digest);
	vouch_bench_init(&t->b, t->policy);
	CHECK_OK(owner_open(&t->owner, &err), &err);
	CHECK_OK(evidence_open(&t->b.agent, &t->e, &err), &err);
	t->b.agent.evidence = t->e;
	fixture_make("a.service");
	fixture_make("c.service");
}

void evidence_bench_done(struct evidence_bench *t)
{
	evidence_free(t->e);
	owner_free(t->owner);
	log_set_hook(NULL, NULL);
	vouch_bench_done(&t->b);
}

void evidence_turn(struct evidence_bench *t)
{
	CHECK(sd_event_run(t->b.agent.event, TURN_US) >= 0);
}

/* Asks until it is known. */
void evidence_digest(struct evidence_bench *t, pid_t pid, struct digest *ret)
{
	for (unsigned i = 0; !evidence_of_process(t->e, pid, ret); i++) {
		CHECK(i < TURNS_MAX);
		evidence_turn(t);
	}
}

const char *evidence_hex(const uint8_t bytes[PEER_DIGEST_LEN])
{
	static char text[SHA256_HEX_LEN];

	hex_format(bytes, PEER_DIGEST_LEN, text);
	return text;
}
