/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What runs under identities with reference values, and what that ends (UC-18). */
#include "agent/evidence.h"

#include "base/mem.h"
#include "base/text.h"
#include "tests/unit/cgroup_fixture.h"
#include "tests/unit/evidence_fixture.h"
#include "tests/unit/test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --- what runs under an identity -------------------------------------------------------------- */

static const char *unmeasured(const struct evidence_bench *t)
{
	const char *const *list = evidence_unmeasured(t->e);

	return list[0] == NULL ? "" : list[0];
}

/* Looks each turn until the answer is this. */
static void watch_until(struct evidence_bench *t, const char *expected)
{
	for (unsigned i = 0; !str_eq(unmeasured(t), expected); i++) {
		CHECK(i < TURNS_MAX);
		evidence_tick(t->e);
		evidence_turn(t);
	}
}

static void watch_for(struct evidence_bench *t, unsigned turns)
{
	for (unsigned i = 0; i < turns; i++) {
		evidence_tick(t->e);
		evidence_turn(t);
	}
}

/* Looks at what is old enough to be judged, and known. */
static void watch_well(struct evidence_bench *t, pid_t pid)
{
	struct digest d;

	evidence_digest(t, pid, &d);
	(void)usleep((EVIDENCE_SETTLE_MS + 100) * 1000);
	watch_for(t, 3);
}

static const char *problem(const struct evidence_bench *t)
{
	static char text[256];
	json_t *list = evidence_problems(t->e);
	const json_t *p = json_array_get(list, 0);

	text[0] = '\0';
	if (p != NULL)
		(void)snprintf(text, sizeof(text), "%s: %s (%s)",
			       json_string_value(json_object_get(p, "identity")),
			       json_string_value(json_object_get(p, "problem")),
			       json_is_true(json_object_get(p, "ends_measured")) ? "ends"
										 : "warns");
	json_decref(list);
	return text;
}

TEST(an_executable_that_is_not_approved_ends_what_is_measured)
{
	BENCH(t);
	pid_t good = evidence_run("a.service", evidence_program("approved")), bad;

	watch_well(&t, good);
	CHECK_STR(unmeasured(&t), "");
	CHECK_STR(problem(&t), "");
	CHECK_UINT(t.b.agent.dirty, 0);
	CHECK_UINT(evidence_alerts, 0);

	evidence_make_program(evidence_program("other"), "3");
	bad = evidence_run("a.service", evidence_program("other"));
	watch_until(&t, "p/a");
	CHECK_STR(problem(&t), "p/a: its executable is none of the approved ones (ends)");
	CHECK_UINT(t.b.agent.dirty, DIRTY_POLICY);
	/* One for the process, one for the identity, and never again. */
	CHECK_UINT(evidence_alerts, 2);
	watch_for(&t, 10);
	CHECK_UINT(evidence_alerts, 2);

	/* Over when everything is approved again. */
	t.b.agent.dirty = 0;
	fixture_end(bad);
	watch_until(&t, "");
	CHECK_STR(problem(&t), "");
	CHECK_UINT(t.b.agent.dirty, DIRTY_POLICY);
	CHECK_INT(kill(good, 0), 0);
}

TEST(many_processes_that_run_the_same_are_told_once)
{
	BENCH(t);
	struct digest d;
	pid_t last = 0;

	evidence_make_program(evidence_program("other"), "3");
	for (unsigned i = 0; i < 5; i++)
		last = evidence_run("a.service", evidence_program("other"));
	evidence_digest(&t, last, &d);
	(void)usleep((EVIDENCE_SETTLE_MS + 100) * 1000);
	watch_until(&t, "p/a");
	watch_for(&t, 3);
	CHECK_UINT(evidence_alerts, 2);
}

TEST(a_restart_knows_what_is_not_approved_before_anything_opens)
{
	BENCH(t);

	evidence_make_program(evidence_program("other"), "3");
	(void)evidence_run("a.service", evidence_program("other"));
	evidence_policy(&t, "", t.digest); /* walks what is there, as a start does */
	(void)usleep((EVIDENCE_SETTLE_MS + 100) * 1000);
	evidence_settle(t.e, 10000);
	CHECK_STR(unmeasured(&t), "p/a");
}

TEST(a_process_of_another_identity_is_measured_as_that_ones)
{
	BENCH(t);

	evidence_make_program(evidence_program("other"), "3");
	(void)evidence_run("a.service", evidence_program("approved"));
	watch_well(&t, evidence_run("c.service", evidence_program("other")));
	CHECK_STR(unmeasured(&t), "");
}

TEST(what_is_below_a_unit_belongs_to_it)
{
	BENCH(t);

	fixture_make("a.service/worker");
	evidence_make_program(evidence_program("other"), "3");
	(void)evidence_run("a.service/worker", evidence_program("other"));
	watch_until(&t, "p/a");
}

TEST(processes_that_no_look_comes_to_are_not_measured)
{
	BENCH(t);
	char path[256] = "a.service";
	size_t at = strlen(path);

	/* One deeper than is looked into; it has nobody in it, and might. */
	for (unsigned i = 0; i <= CGROUP_LEVEL_MAX; i++, at += 2)
		(void)snprintf(path + at, sizeof(path) - at, "/d");
	watch_well(&t, evidence_run("a.service", evidence_program("approved")));
	CHECK_STR(unmeasured(&t), "");
	fixture_make(path);
	watch_until(&t, "p/a");
	CHECK_STR(problem(&t),
		  "p/a: not all its processes can be looked at: too many, too deep, or "
		  "unreadable (ends)");
	/* One for the cgroup, one for the identity. */
	watch_for(&t, 3);
	CHECK_UINT(evidence_alerts, 2);
	fixture_drop(path);
	watch_until(&t, "");
}

TEST(a_process_that_has_just_begun_is_still_its_managers_executable)
{
	BENCH(t);
	unsigned looks = 0;
	pid_t pid;

	evidence_make_program(evidence_program("other"), "3");
	/* Known already, so that only its age keeps it from being judged. */
	pid = evidence_run("a.service", evidence_program("other"));
	watch_until(&t, "p/a");
	fixture_end(pid);
	watch_until(&t, "");
	(void)evidence_run("a.service", evidence_program("other"));
	evidence_tick(t.e);
	CHECK_STR(unmeasured(&t), "");
	/* The look that follows comes by itself. */
	for (; unmeasured(&t)[0] == '\0' && looks < TURNS_MAX; looks++)
		evidence_turn(&t);
	CHECK_STR(unmeasured(&t), "p/a");
}

/* In a.service there are only children that fork the next one and end. */
static int fork_for_ever(void *user)
{
	const char *procs = user;
	int fd;

	if (fork() != 0)
		return 0;
	fd = open(procs, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		_exit(1);
	for (;;) {
		(void)usleep(EVIDENCE_SETTLE_MS * 1000 / 5);
		if (fork() != 0)
			_exit(0);
	}
}

TEST(who_forks_again_and_again_is_not_young_for_ever)
{
	BENCH(t);
	char procs[512];

	(void)snprintf(procs, sizeof(procs), "%s/a.service/cgroup.procs", fixture_root());
	(void)fixture_process("c.service", FIXTURE_NO_UID, fork_for_ever, procs, NULL);
	watch_until(&t, "p/a");
	/* Told once, although it is another process each time. */
	watch_for(&t, 20);
	CHECK_UINT(evidence_alerts, 2);
}

TEST(an_upgrade_under_a_running_process_warns_or_ends_as_configured)
{
	BENCH(t);
	char from[256];

	watch_well(&t, evidence_run("a.service", evidence_program("approved")));
	evidence_make_program(evidence_program("upgrade"), "2");
	(void)snprintf(from, sizeof(from), "%s", evidence_program("upgrade"));
	CHECK_INT(rename(from, evidence_program("approved")), 0);
	for (unsigned i = 0; problem(&t)[0] == '\0'; i++) {
		CHECK(i < TURNS_MAX);
		watch_for(&t, 1);
	}
	CHECK_STR(problem(&t), "p/a: its executable was replaced on disk since it started (warns)");
	CHECK_STR(unmeasured(&t), "");
	t.b.agent.config.deleted_exe = DELETED_EXE_DENY;
	watch_until(&t, "p/a");
	CHECK_STR(problem(&t), "p/a: its executable was replaced on disk since it started (ends)");
	t.b.agent.config.deleted_exe = DELETED_EXE_WARN;
	watch_until(&t, "");
}

TEST(other_users_of_a_claimed_cgroup_are_not_the_identitys)
{
	BENCH(t);
	pid_t pid;

	evidence_policy(&t, ", user: 4711", t.digest);
	evidence_make_program(evidence_program("other"), "3");
	pid = evidence_run("a.service", evidence_program("other")); /* root's */
	watch_well(&t, pid);
	CHECK_STR(unmeasured(&t), "");
	evidence_policy(&t, ", user: 0", t.digest);
	watch_until(&t, "p/a");
	CHECK_INT(kill(pid, 0), 0);
}

TEST(a_policy_without_references_watches_nobody)
{
	BENCH(t);
	static const char plain[] = "trust_domain: acme.example\n"
				    "identities:\n"
				    "  - {name: a, path: p/a, workload: [{unit: a.service}]}\n";

	evidence_make_program(evidence_program("other"), "3");
	(void)evidence_run("a.service", evidence_program("other"));
	watch_until(&t, "p/a");
	vouch_bench_policy(&t.b, plain);
	watch_until(&t, "");
}
