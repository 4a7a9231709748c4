/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/cgroup_fixture.h"

#include "agent/cgroup.h"
#include "base/file.h"
#include "base/mem.h"
#include "tests/unit/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define REMOVE_TRIES   200
#define REMOVE_WAIT_US 5000

static struct {
	struct cgroup_mount mount;
	char root[PATH_MAX];
	int janitor; /* closing it starts the cleaning */
	bool network;
} fixture = {.janitor = -1};

static void path_of(char path[PATH_MAX], const char *name, const char *file)
{
	int n = snprintf(path, PATH_MAX, "%s%s%s%s%s", fixture.root, name[0] != '\0' ? "/" : "",
			 name, file[0] != '\0' ? "/" : "", file);

	CHECK(n > 0 && n < PATH_MAX);
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	closep(&fd);
	return ok;
}

/* --- removal: also runs in the janitor, so it must not use CHECK ------------------------------ */

/* cgroup.kill does not reach a process whose first thread has ended. */
static void kill_processes(const char *path)
{
	char name[PATH_MAX];
	int pid, n = snprintf(name, sizeof(name), "%s/cgroup.procs", path);
	FILE *f = n > 0 && (size_t)n < sizeof(name) ? fopen(name, "re") : NULL;

	while (f != NULL && fscanf(f, "%d", &pid) == 1)
		(void)kill(pid, SIGKILL);
	if (f != NULL)
		(void)fclose(f);
}

static void remove_below(const char *path)
{
	char child[PATH_MAX];
	const struct dirent *e;
	DIR *dir = opendir(path);

	kill_processes(path);
	while (dir != NULL && (e = readdir(dir)) != NULL) {
		int n;

		if (e->d_type != DT_DIR || strcmp(e->d_name, ".") == 0 ||
		    strcmp(e->d_name, "..") == 0)
			continue;
		n = snprintf(child, sizeof(child), "%s/%s", path, e->d_name);
		if (n < 0 || (size_t)n >= sizeof(child))
			continue;
		remove_below(child);
		(void)rmdir(child);
	}
	if (dir != NULL)
		(void)closedir(dir);
}

/* A killed process leaves its cgroup a moment later. */
static bool remove_tree(const char *path)
{
	char kill_path[PATH_MAX];
	int n = snprintf(kill_path, sizeof(kill_path), "%s/cgroup.kill", path);

	if (n < 0 || (size_t)n >= sizeof(kill_path))
		return false;
	(void)write_file(kill_path, "1");
	for (unsigned i = 0; i < REMOVE_TRIES; i++) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		remove_below(path);
		if (rmdir(path) == 0 || errno == ENOENT)
			return true;
		(void)usleep(REMOVE_WAIT_US);
	}
	return false;
}

static _Noreturn void run_janitor(int fd)
{
	char byte;

	(void)prctl(PR_SET_NAME, "fixture-janitor");
	(void)setsid();
	while (read(fd, &byte, 1) > 0)
		;
	(void)remove_tree(fixture.root);
	_exit(0);
}

static void start_janitor(void)
{
	int pipe_fds[2];
	pid_t pid;

	CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		/* Whoever counts this process's output must not wait for the janitor. */
		(void)close(pipe_fds[1]);
		(void)close(STDOUT_FILENO);
		(void)close(STDERR_FILENO);
		for (int fd = 3; fd < 64; fd++)
			if (fd != pipe_fds[0])
				(void)close(fd);
		run_janitor(pipe_fds[0]);
	}
	(void)close(pipe_fds[0]);
	fixture.janitor = pipe_fds[1];
}

/* --- cgroups --------------------------------------------------------------------------------- */

void fixture_cgroups(void)
{
	CLEANUP(freep) char *text = NULL;
	struct err err = {0};
	size_t len = 0;

	if (geteuid() != 0)
		test_skip("needs root to make cgroups");
	CHECK_OK(file_read(AT_FDCWD, "/proc/self/mountinfo", 4U << 20, &text, &len, &err), &err);
	if (cgroup_mount_parse(text, &fixture.mount) < 0)
		test_skip("no cgroup2 file system is mounted");
	(void)snprintf(fixture.root, sizeof(fixture.root), "%.3000s/bw-unit-%d", fixture.mount.path,
		       (int)getpid());
	if (fixture.janitor >= 0 && !remove_tree(fixture.root))
		test_fail(__FILE__, __LINE__, "cannot remove %s: %s", fixture.root,
			  strerror(errno));
	if (mkdir(fixture.root, 0755) < 0)
		test_skip("cannot make a cgroup: %s", strerror(errno));
	if (fixture.janitor < 0)
		start_janitor();
}

const char *fixture_root(void)
{
	return fixture.root;
}

const char *fixture_mount(void)
{
	return fixture.mount.path;
}

void fixture_make(const char *name)
{
	char path[PATH_MAX];

	path_of(path, name, "");
	for (char *p = path + strlen(fixture.root) + 1; *p != '\0'; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		CHECK(mkdir(path, 0755) == 0 || errno == EEXIST);
		*p = '/';
	}
	CHECK(mkdir(path, 0755) == 0 || errno == EEXIST);
}

void fixture_drop(const char *name)
{
	char path[PATH_MAX];

	path_of(path, name, "");
	CHECK(remove_tree(path));
}

void fixture_chown(const char *name, uint32_t uid)
{
	char path[PATH_MAX];

	path_of(path, name, "");
	CHECK(chown(path, uid, uid) == 0);
}

uint64_t fixture_id(const char *name)
{
	char path[PATH_MAX];
	struct stat st;

	path_of(path, name, "");
	CHECK(stat(path, &st) == 0);
	return st.st_ino;
}

unsigned fixture_level(const char *name)
{
	unsigned level = fixture.mount.level + 1U;

	for (const char *p = name; *p != '\0'; p++)
		if (p == name || *p == '/')
			level++;
	return level;
}

/* --- processes ------------------------------------------------------------------------------- */

static pid_t fork_into(const char *name, int *ret_ready)
{
	char path[PATH_MAX];
	int pipe_fds[2];
	pid_t pid;

	path_of(path, name, "cgroup.procs");
	CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0);
	(void)fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)close(pipe_fds[0]);
		closep(&fixture.janitor);
		(void)alarm(0);
		if (!write_file(path, "0"))
			_exit(1);
		*ret_ready = pipe_fds[1];
		return 0;
	}
	(void)close(pipe_fds[1]);
	*ret_ready = pipe_fds[0];
	return pid;
}

pid_t fixture_process(const char *name, uint32_t uid, int (*run)(void *user), void *user,
		      int *ret_value)
{
	int ready, value = 0;
	pid_t pid = fork_into(name, &ready);
	ssize_t n;

	if (pid == 0) {
		if (uid != FIXTURE_NO_UID && setresuid(uid, uid, uid) < 0)
			_exit(1);
		value = run != NULL ? run(user) : 0;
		if (write(ready, &value, sizeof(value)) != sizeof(value))
			_exit(1);
		for (;;)
			(void)pause();
	}
	n = read(ready, &value, sizeof(value));
	(void)close(ready);
	CHECK_INT(n, sizeof(value));
	if (ret_value != NULL)
		*ret_value = value;
	return pid;
}

pid_t fixture_exec(const char *name, const char *const argv[])
{
	int ready;
	pid_t pid = fork_into(name, &ready);
	char *copy[16];
	char byte;

	if (pid == 0) {
		size_t n = 0;

		for (; argv[n] != NULL && n + 1 < ARRAY_LEN(copy); n++)
			copy[n] = mem_strdup(argv[n]);
		copy[n] = NULL;
		(void)execv(copy[0], copy);
		_exit(1);
	}
	/* The pipe closes when the program has replaced the process. */
	CHECK_INT(read(ready, &byte, 1), 0);
	(void)close(ready);
	CHECK_INT(kill(pid, 0), 0);
	return pid;
}

void fixture_end(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	CHECK_INT(waitpid(pid, NULL, 0), pid);
}

/* --- network --------------------------------------------------------------------------------- */

void fixture_network(void)
{
	struct ifreq request = {.ifr_flags = IFF_UP};
	int fd;

	if (geteuid() != 0)
		test_skip("needs root to make a network namespace");
	if (fixture.network)
		return;
	if (unshare(CLONE_NEWNET) < 0)
		test_skip("cannot make a network namespace: %s", strerror(errno));
	memcpy(request.ifr_name, "lo", sizeof("lo"));
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	CHECK_INT(ioctl(fd, SIOCSIFFLAGS, &request), 0);
	(void)close(fd);
	fixture.network = true;
}

struct listening {
	int family;
	uint16_t port;
};

static int listen_here(void *user)
{
	const struct listening *l = user;
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(l->port)};
	struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(l->port)};
	int one = 1, fd = socket(l->family, SOCK_STREAM, 0);
	socklen_t len = sizeof(in6);

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (l->family == AF_INET6 ? bind(fd, (const struct sockaddr *)&in6, sizeof(in6)) < 0
				  : bind(fd, (const struct sockaddr *)&in4, sizeof(in4)) < 0)
		return -errno;
	if (listen(fd, 16) < 0 || getsockname(fd, (struct sockaddr *)&in6, &len) < 0)
		return -errno;
	return ntohs(in6.sin6_port);
}

uint16_t fixture_listener(const char *name, uint32_t uid, int family, uint16_t port)
{
	struct listening l = {.family = family, .port = port};
	int value = 0;

	(void)fixture_process(name, uid, listen_here, &l, &value);
	CHECK(value > 0);
	return (uint16_t)value;
}
