/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Processes that would rather not be seen: one whose first thread has ended, so that /proc/PID has
 * neither executable nor descriptors (proc(5)), one in a cgroup whose name begins with a dot, and
 * one whose file becomes another within one tick.
 */
#include "agent/evidence.h"
#include "agent/exe_file.h"
#include "agent/process.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "tests/unit/cgroup_fixture.h"
#include "tests/unit/evidence_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *stay(void *user)
{
	(void)user;
	for (;;)
		(void)pause();
	return NULL;
}

/* Whoever waits for the end of the test waits for the end of its pipes. */
static void close_but(int a, int b)
{
	for (int fd = 0; fd < 1024; fd++)
		if (fd != a && fd != b)
			(void)close(fd);
}

/* A child of the caller's cgroup, of which only the second thread lives; `kept` is its. 0, or -1.
 */
static int hide(int kept)
{
	int pipes[2], r;
	char byte;
	pid_t child;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return -1;
	child = fork();
	if (child == 0) {
		pthread_t thread;

		close_but(pipes[1], kept);
		if (pthread_create(&thread, NULL, stay, NULL) != 0)
			_exit(1);
		(void)!write(pipes[1], "x", 1);
		(void)close(pipes[1]);
		(void)syscall(SYS_exit, 0);
	}
	(void)close(pipes[1]);
	r = child > 0 && read(pipes[0], &byte, 1) == 1 ? 0 : -1;
	(void)close(pipes[0]);
	return r;
}

static int hide_one(void *user)
{
	(void)user;
	return hide(-1) == 0 ? 1 : -1;
}

static void hidden_process(const char *cgroup)
{
	int done = -1;
	pid_t parent = fixture_process(cgroup, FIXTURE_NO_UID, hide_one, NULL, &done);

	CHECK_INT(done, 1);
	fixture_end(parent);
}

static const char *unmeasured(const struct evidence_bench *t)
{
	const char *const *list = evidence_unmeasured(t->e);

	return list[0] == NULL ? "" : list[0];
}

static void watch_until_unmeasured(struct evidence_bench *t)
{
	for (unsigned i = 0; !str_eq(unmeasured(t), "p/a"); i++) {
		CHECK(i < 200);
		evidence_tick(t->e);
		evidence_turn(t);
	}
}

/* --- what runs under an identity -------------------------------------------------------------- */

TEST(a_process_whose_first_thread_has_ended_is_measured)
{
	BENCH(t);

	hidden_process("a.service");
	watch_until_unmeasured(&t);
}

TEST(a_process_in_a_cgroup_with_a_dot_is_measured)
{
	BENCH(t);

	fixture_make("a.service/.dot");
	evidence_make_program(evidence_program("other"), "3");
	(void)evidence_run("a.service/.dot", evidence_program("other"));
	watch_until_unmeasured(&t);
}

static enum process_answer check_exe(const char *cgroup, const char *exe)
{
	const struct process_condition condition = {.exe = exe};
	CLEANUP(closep) int fd = open(fixture_root(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	CHECK(fd >= 0);
	return process_check(fd, cgroup, &condition);
}

TEST(a_process_whose_first_thread_has_ended_is_not_what_its_cgroup_is)
{
	char exe[256];

	fixture_cgroups();
	fixture_make("d.service");
	(void)snprintf(exe, sizeof(exe), "%s", evidence_program("approved"));
	evidence_make_program(exe, "1");
	(void)evidence_run("d.service", exe);
	for (unsigned i = 0; check_exe("d.service", exe) != PROCESSES_SATISFY; i++) {
		CHECK(i < 1000);
		(void)usleep(1000);
	}
	hidden_process("d.service");
	CHECK_INT(check_exe("d.service", exe), PROCESSES_DIFFER);
}

TEST(a_process_whose_first_thread_has_ended_is_what_it_runs)
{
	char exe[256];
	ssize_t n = readlink("/proc/thread-self/exe", exe, sizeof(exe) - 1);

	CHECK(n > 0);
	exe[n] = '\0';
	fixture_cgroups();
	fixture_make("d.service");
	hidden_process("d.service");
	CHECK_INT(check_exe("d.service", exe), PROCESSES_SATISFY);
}

TEST(a_process_in_a_cgroup_with_a_dot_counts_for_its_unit)
{
	char exe[256];

	fixture_cgroups();
	fixture_make("d.service/.dot");
	(void)snprintf(exe, sizeof(exe), "%s", evidence_program("approved"));
	evidence_make_program(exe, "1");
	(void)evidence_run("d.service", exe);
	for (unsigned i = 0; check_exe("d.service", exe) != PROCESSES_SATISFY; i++) {
		CHECK(i < 1000);
		(void)usleep(1000);
	}
	evidence_make_program(evidence_program("other"), "3");
	(void)evidence_run("d.service/.dot", evidence_program("other"));
	CHECK_INT(check_exe("d.service", exe), PROCESSES_DIFFER);
}

/* --- files that change at once --------------------------------------------------------------- */

static bool never(const void *user)
{
	(void)user;
	return false;
}

static int measure(const char *path)
{
	CLEANUP(closep) int file = open(path, O_PATH | O_CLOEXEC);
	struct statx st;
	struct exe_key key = {0};
	struct digest d;

	CHECK(file >= 0);
	CHECK(statx(file, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &st) == 0);
	key = (struct exe_key){.dev_major = st.stx_dev_major,
			       .dev_minor = st.stx_dev_minor,
			       .mtime_ns = st.stx_mtime.tv_nsec,
			       .ctime_ns = st.stx_ctime.tv_nsec,
			       .ino = st.stx_ino,
			       .size = st.stx_size,
			       .mount = st.stx_mnt_id,
			       .mtime_s = st.stx_mtime.tv_sec,
			       .ctime_s = st.stx_ctime.tv_sec};
	return exe_measure(file, &key, never, NULL, &d);
}

/* Another write within the same tick would leave the same times. */
TEST(what_was_written_this_moment_is_not_remembered)
{
	const char *path = evidence_program("fresh");
	int r = 0;

	for (unsigned i = 0; i < 1000 && r != -EAGAIN; i++) {
		CLEANUP(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

		CHECK(fd >= 0);
		CHECK_INT(write(fd, "x", 1), 1);
		r = measure(path);
	}
	CHECK_INT(r, -EAGAIN);
	for (unsigned i = 0; i < 1000 && r == -EAGAIN; i++) {
		(void)usleep(10000);
		r = measure(path);
	}
	CHECK_INT(r, 0);
}

/* --- who holds a socket ---------------------------------------------------------------------- */

static const struct client to_silent = {
	.family = AF_INET, .type = SOCK_STREAM, .to = SILENT_TEXT, .to_port = FAR_PORT};

/* The approved program, which was handed the socket, and one that hides. */
static int hold_twice(void *user)
{
	int port, fd = client_socket(&to_silent, &port);

	if (fd < 0 || fcntl(fd, F_SETFD, 0) < 0 || hide(fd) < 0)
		return -1;
	if (fork() == 0) {
		(void)execl(user, user, "1000", (char *)NULL);
		_exit(1);
	}
	(void)close(fd);
	return port;
}

struct outcome {
	unsigned count;
	enum peer_status status;
};

static void on_outcome(void *user, enum peer_status status, const struct digest *d)
{
	struct outcome *o = user;

	(void)d;
	o->count++;
	o->status = status;
}

static enum peer_status ask(struct evidence_bench *t, uint16_t port)
{
	struct socket_tuple tuple = {
		.l4proto = IPPROTO_TCP, .local_port = port, .remote_port = FAR_PORT};
	struct outcome o = {0};
	struct socket_info s;

	CHECK_INT(addr_parse(HERE_TEXT, &tuple.local), 0);
	CHECK_INT(addr_parse(SILENT_TEXT, &tuple.remote), 0);
	CHECK_INT(owner_find(t->owner, &tuple, &s), 0);
	evidence_of_socket(t->e, &s, BUDGET_MS, on_outcome, &o);
	for (unsigned i = 0; o.count == 0; i++) {
		CHECK(i < TURNS_MAX);
		evidence_turn(t);
	}
	return o.status;
}

TEST(a_process_whose_first_thread_has_ended_holds_what_it_holds)
{
	BENCH(t);
	char path[256];
	int port = -1;
	pid_t parent;

	(void)snprintf(path, sizeof(path), "%s", evidence_program("approved"));
	parent = fixture_process("a.service", FIXTURE_NO_UID, hold_twice, path, &port);
	CHECK(port > 0);
	fixture_end(parent);
	/* Long enough for the other child to have become the approved program. */
	(void)usleep(300000);
	CHECK_INT(ask(&t, (uint16_t)port), PEER_HOLDER_MISMATCH);
	CHECK_CONTAINS(evidence_last_refusal(t.e), "different executables");
}
