/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/confine.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_OK, CHILD_NOT_CONFINED, CHILD_MAY_TRACE, CHILD_MAY_LISTEN, CHILD_IS_DEAF };

/* What a daemon may still do after it, and what not. */
static int confined_child(void)
{
	static const int more[] = {SCMP_SYS(listen)};
	struct err err = {{0}};

	if (confine(more, ARRAY_LEN(more), &err) < 0)
		return CHILD_NOT_CONFINED;
	if (unshare(CLONE_NEWNET) == 0 || errno != EPERM ||
	    ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 || errno != EPERM)
		return CHILD_MAY_TRACE;
	if (listen(-1, 1) == 0 || errno != EPERM)
		return CHILD_MAY_LISTEN;
	return getppid() > 0 ? CHILD_OK : CHILD_IS_DEAF;
}

static int executing_child(void)
{
	char name[] = "true";
	char *const argv[] = {name, NULL};
	struct err err = {{0}};

	if (confine(NULL, 0, &err) < 0)
		return CHILD_NOT_CONFINED;
	(void)execv("/bin/true", argv);
	return CHILD_OK;
}

static int status_of(int (*child)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(child());
	CHECK(pid > 0);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	return status;
}

/* valgrind does not know the system call, so nothing can be confined under it. */
static void need_seccomp(void)
{
	uint32_t action = SECCOMP_RET_KILL_PROCESS;

	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0 && errno == ENOSYS)
		test_skip("no seccomp() here: valgrind does not pass it on");
}

TEST(a_confined_process_gets_eperm_for_what_it_never_does)
{
	int status;

	need_seccomp();
	status = status_of(confined_child);
	CHECK(WIFEXITED(status));
	CHECK_INT(WEXITSTATUS(status), CHILD_OK);
}

TEST(a_confined_process_ends_when_it_executes_a_program)
{
	int status;

	need_seccomp();
	status = status_of(executing_child);
	CHECK(WIFSIGNALED(status));
	CHECK_INT(WTERMSIG(status), SIGSYS);
}
