/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What runs here: real executables of real processes. */
#include "agent/evidence.h"

#include "agent/exe_file.h"
#include "agent/workload.h"
#include "base/mem.h"
#include "tests/unit/cgroup_fixture.h"
#include "tests/unit/evidence_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fsverity.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- processes ------------------------------------------------------------------------------- */

TEST(an_executable_is_measured_once_by_its_own_bytes)
{
	BENCH(t);
	struct evidence_counters before, after;
	struct digest d = {0};
	pid_t first = evidence_run("a.service", evidence_program("approved")), second;

	/* Never on the path of the question. */
	CHECK(!evidence_of_process(t.e, first, &d));
	evidence_digest(&t, first, &d);
	CHECK(d.has_sha256);
	CHECK_STR(evidence_hex(d.sha256), t.digest);
	CHECK(!d.deleted);

	evidence_counters(t.e, &before);
	second = evidence_run("a.service", evidence_program("approved"));
	CHECK(evidence_of_process(t.e, second, &d));
	CHECK_STR(evidence_hex(d.sha256), t.digest);
	evidence_counters(t.e, &after);
	CHECK_UINT(after.hashed, before.hashed);
}

TEST(a_file_with_the_same_name_is_another_executable)
{
	BENCH(t);
	char other[SHA256_HEX_LEN];
	struct digest d = {0};
	pid_t old = evidence_run("a.service", evidence_program("approved")), new_;

	evidence_digest(&t, old, &d);
	evidence_make_program(evidence_program("upgrade"), "2");
	evidence_file_hex(evidence_program("upgrade"), other);
	{
		char from[256];

		(void)snprintf(from, sizeof(from), "%s", evidence_program("upgrade"));
		CHECK_INT(rename(from, evidence_program("approved")), 0);
	}
	new_ = evidence_run("a.service", evidence_program("approved"));
	evidence_digest(&t, new_, &d);
	CHECK_STR(evidence_hex(d.sha256), other);
	CHECK(!d.deleted);
	/* What runs is what it was, and its file is gone. */
	evidence_digest(&t, old, &d);
	CHECK_STR(evidence_hex(d.sha256), t.digest);
	CHECK(d.deleted);
}

TEST(a_file_with_two_names_is_deleted_when_its_own_is)
{
	BENCH(t);
	char from[256];
	struct digest d = {0};
	pid_t pid;

	(void)snprintf(from, sizeof(from), "%s", evidence_program("approved"));
	CHECK_INT(link(from, evidence_program("second-name")), 0);
	pid = evidence_run("a.service", from);
	evidence_digest(&t, pid, &d);
	CHECK(!d.deleted);
	CHECK_INT(unlink(from), 0);
	evidence_digest(&t, pid, &d);
	CHECK(d.deleted);
	CHECK_STR(evidence_hex(d.sha256), t.digest);
}

TEST(nothing_is_known_of_a_process_that_is_gone)
{
	BENCH(t);
	struct digest d = {0};
	pid_t pid = evidence_run("a.service", evidence_program("approved"));

	fixture_end(pid);
	CHECK(!evidence_of_process(t.e, pid, &d));
	CHECK(!evidence_of_process(t.e, 0, &d));
}

static bool never(const void *user)
{
	(void)user;
	return false;
}

static bool at_once(const void *user)
{
	(void)user;
	return true;
}

TEST(a_file_that_changes_or_is_too_large_has_no_digest)
{
	BENCH(t);
	pid_t pid = evidence_run("a.service", evidence_program("approved"));
	CLEANUP(closep) int proc_fd = proc_open(pid);
	CLEANUP(closep) int exe_fd = -1;
	struct exe_key key, wrong;
	struct digest d = {.deleted = true};
	bool deleted;

	CHECK(proc_fd >= 0);
	exe_fd = exe_open(proc_fd, &key, &deleted);
	CHECK(exe_fd >= 0);
	wrong = key;
	wrong.size++;
	CHECK_INT(exe_measure(exe_fd, &wrong, never, NULL, &d), -ESTALE);
	wrong.size = key.size - 1;
	CHECK_INT(exe_measure(exe_fd, &wrong, never, NULL, &d), -ESTALE);
	wrong = key;
	wrong.ctime_ns++;
	CHECK_INT(exe_measure(exe_fd, &wrong, never, NULL, &d), -ESTALE);
	wrong = key;
	wrong.size = EVIDENCE_FILE_MAX + 1;
	CHECK_INT(exe_measure(exe_fd, &wrong, never, NULL, &d), -EFBIG);
	CHECK_INT(exe_measure(exe_fd, &key, at_once, NULL, &d), -ECANCELED);
	CHECK(d.deleted); /* untouched */
	/* It was written a moment ago. */
	(void)usleep(50000);
	CHECK_INT(exe_measure(exe_fd, &key, never, NULL, &d), 0);
	CHECK_STR(evidence_hex(d.sha256), t.digest);
	/* A change of its attributes alone is a look again, not another answer. */
	CHECK_INT(chmod(evidence_program("approved"), 0700), 0);
	CHECK_INT(exe_measure(exe_fd, &key, never, NULL, &d), -ESTALE);
}

/* Skips before anything is there to be taken away. */
static void seal(const char *path)
{
	struct fsverity_enable_arg arg = {
		.version = 1, .hash_algorithm = FS_VERITY_HASH_ALG_SHA256, .block_size = 4096};
	int fd, r;

	evidence_make_program(path, "4");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	r = ioctl(fd, FS_IOC_ENABLE_VERITY, &arg) < 0 ? -errno : 0;
	(void)close(fd);
	if (r < 0)
		test_skip("fs-verity is not available on %s: %s", test_dir(), strerror(-r));
}

TEST(a_digest_of_fs_verity_is_the_kernels)
{
	struct digest d = {0};

	seal(evidence_program("sealed"));
	{
		BENCH(t);

		evidence_digest(&t, evidence_run("a.service", evidence_program("sealed")), &d);
		CHECK(d.has_sha256 && d.has_fsverity);
		CHECK(memcmp(d.sha256, d.fsverity, sizeof(d.sha256)) != 0);
	}
}

/* --- selectors ------------------------------------------------------------------------------- */

static bool claims(struct evidence_bench *t, const char *cgroup)
{
	struct workload_answer w = {0};

	CHECK_INT(workloads_resolve(t->b.agent.workloads, SLOT_A, fixture_id(cgroup), 0, &w), 0);
	return w.what == WORKLOAD_IDENTITY;
}

TEST(a_digest_selects_while_every_process_has_it)
{
	BENCH(t);
	char more[128];
	pid_t bad;

	(void)evidence_run("a.service", evidence_program("approved"));
	(void)snprintf(more, sizeof(more), ", exe_sha256: %s", t.digest);
	evidence_policy(&t, more, t.digest);
	/* Not known is not yet. */
	CHECK(!claims(&t, "a.service"));
	for (unsigned i = 0; !claims(&t, "a.service"); i++) {
		CHECK(i < TURNS_MAX);
		evidence_turn(&t);
	}
	evidence_make_program(evidence_program("other"), "3");
	bad = evidence_run("a.service", evidence_program("other"));
	CHECK(!claims(&t, "a.service"));
	{
		struct digest d;

		evidence_digest(&t, bad, &d);
	}
	CHECK(!claims(&t, "a.service"));
	fixture_end(bad);
	CHECK(claims(&t, "a.service"));
}

TEST(a_restart_knows_the_digests_before_the_loop_turns)
{
	BENCH(t);
	char more[128];

	(void)evidence_run("a.service", evidence_program("approved"));
	(void)snprintf(more, sizeof(more), ", exe_sha256: %s", t.digest);
	evidence_policy(&t, more, t.digest);
	CHECK(!claims(&t, "a.service"));
	evidence_settle(t.e, 10000);
	CHECK(claims(&t, "a.service"));
}

TEST(a_digest_of_fs_verity_selects_nothing_where_there_is_none)
{
	BENCH(t);
	char more[128];
	struct digest d;
	pid_t pid = evidence_run("a.service", evidence_program("approved"));

	/* What there is none of is not all zeros, either. */
	(void)snprintf(more, sizeof(more), ", fsverity: \"%064d\"", 0);
	evidence_policy(&t, more, t.digest);
	CHECK(!claims(&t, "a.service"));
	evidence_digest(&t, pid, &d);
	CHECK(!claims(&t, "a.service"));
}

OOM_TEST(evidence_without_memory_is_refused)
{
	struct agent agent = {0};
	struct evidence *e = NULL;
	struct err err = {{0}};
	int r;

	CHECK(sd_event_new(&agent.event) >= 0);
	r = evidence_open(&agent, &e, &err);
	if (r >= 0)
		evidence_free(e);
	sd_event_unref(agent.event);
	return r;
}

TEST(a_file_is_read_only_where_its_file_system_is_known)
{
	CLEANUP(closep) int proc_fd = proc_open(getpid()), exe_fd = -1;
	struct digest d = {0};
	struct exe_key key, other;
	bool deleted;

	exe_fd = exe_open(proc_fd, &key, &deleted);
	CHECK(exe_fd >= 0);
	CHECK_INT(exe_may_be_read(getpid(), &key), 0);
	other = key;
	other.mount = UINT64_MAX; /* by its device then */
	CHECK_INT(exe_may_be_read(getpid(), &other), 0);
	other.dev_major = UINT32_MAX;
	CHECK_INT(exe_may_be_read(getpid(), &other), -EOPNOTSUPP);
	/* A child measures the same, and is not waited for longer than it may take. */
	CHECK_INT(exe_measure_apart(exe_fd, &key, 60000, &d), 0);
	CHECK(d.has_sha256);
	CHECK_INT(exe_measure_apart(exe_fd, &key, 0, &d), -ETIMEDOUT);
}
