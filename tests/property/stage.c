/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Namespaces come from run.sh; cgroups are made here and removed at the end; actors are forked
 * processes. The identity of a socket is that of socket() time (R41), so an actor only makes
 * sockets and hands them over: nothing else must run in its cgroup.
 */
#include "tests/property/property.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"

struct place places[] = {
	{HOST_HERE, "127.0.0.1", {0}}, {HOST_HERE, "::1", {0}},       {HOST_HERE, "10.77.0.1", {0}},
	{HOST_HERE, "10.77.0.2", {0}}, {HOST_HERE, "10.78.0.1", {0}}, {HOST_HERE, "10.78.0.2", {0}},
	{HOST_HERE, "fd77::1", {0}},   {HOST_HERE, "fd78::1", {0}},   {HOST_B, "10.77.0.9", {0}},
	{HOST_B, "10.77.0.10", {0}},   {HOST_B, "10.77.0.11", {0}},   {HOST_B, "10.77.0.12", {0}},
	{HOST_B, "fd77::9", {0}},      {HOST_B, "fd77::a", {0}},      {HOST_B, "fd77::b", {0}},
	{HOST_C, "10.78.0.9", {0}},    {HOST_C, "10.78.0.10", {0}},   {HOST_C, "10.78.0.11", {0}},
	{HOST_C, "fd78::9", {0}},      {HOST_C, "fd78::a", {0}},      {HOST_C, "fd78::b", {0}},
};
const size_t place_count = ARRAY_LEN(places);

void places_init(void)
{
	for (size_t i = 0; i < place_count; i++)
		(void)addr_parse(places[i].text, &places[i].addr);
}

/* Depths 1 to 18; the kernel knows the last by its ancestor at level 16. */
static const char *const cgroup_paths[] = {
	"",         "/a",         "/a/x",
	"/a/x/1/2", "/a/y",       "/b",
	"/b/z/w",   "/c/d/e/f/g", "/v/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17",
};

static const struct {
	unsigned cgroup;
	uint32_t uid;
} cast[] = {
	{1, 4001}, {2, 4001}, {2, 4002}, {3, 4001}, {4, 4002},
	{5, 4001}, {6, 4002}, {7, 4001}, {8, 4002}, {0, 4003},
};

/* --- cgroups --------------------------------------------------------------------------------- */

static int cgroup_mount(char mount[CGROUP_PATH_MAX])
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[1024];
	int r = -ENOENT;

	while (f != NULL && r < 0 && fgets(line, sizeof(line), f) != NULL) {
		char root[256];

		if (strstr(line, " - cgroup2 ") == NULL ||
		    sscanf(line, "%*s %*s %*s %255s %200s", root, mount) != 2)
			continue;
		r = 0;
	}
	if (f != NULL)
		(void)fclose(f);
	return r;
}

/* Makes each directory of the path below `root` and notes its id. */
static int cgroup_make(struct cgroup *c, const char *root, const char *path, struct err *err)
{
	struct stat st;

	(void)snprintf(c->path, sizeof(c->path), "%s", root);
	for (const char *rest = path;;) {
		size_t len = strcspn(rest + (*rest == '/'), "/") + (*rest == '/'), used;

		if (mkdir(c->path, 0755) < 0 && errno != EEXIST)
			return err_set(err, errno, "%s: %s", c->path, strerror(errno));
		if (stat(c->path, &st) < 0)
			return err_set(err, errno, "%s: %s", c->path, strerror(errno));
		c->ids[c->level++] = st.st_ino;
		if (*rest == '\0')
			return 0;
		used = strlen(c->path);
		(void)snprintf(c->path + used, sizeof(c->path) - used, "%.*s", (int)len, rest);
		rest += len;
	}
}

static void cgroup_remove(const struct stage *s, const struct cgroup *c)
{
	char path[CGROUP_PATH_MAX];
	char *slash;

	(void)snprintf(path, sizeof(path), "%s", c->path);
	while (str_starts(path, s->root) && (slash = strrchr(path, '/')) != NULL) {
		(void)rmdir(path);
		*slash = '\0';
	}
}

static int cgroups_open(struct stage *s, const char *name, struct err *err)
{
	char mount[CGROUP_PATH_MAX];
	int r = cgroup_mount(mount);

	if (r < 0)
		return err_set(err, -r, "cgroup2 is not mounted");
	if (snprintf(s->root, sizeof(s->root), "%.200s/%s", mount, name) >= (int)sizeof(s->root))
		return err_set(err, ENAMETOOLONG, "%s", mount);
	for (size_t i = 0; i < ARRAY_LEN(cgroup_paths); i++) {
		r = cgroup_make(&s->cgroups[i], s->root, cgroup_paths[i], err);
		s->cgroup_count++;
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- actors ---------------------------------------------------------------------------------- */

struct wish {
	int family, type, protocol;
};

static int send_fd(int channel, int fd, int error)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = &error, .iov_len = sizeof(error)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *h;

		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &fd, sizeof(fd));
	}
	return sendmsg(channel, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int receive_fd(int channel)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	int error = 0, fd = -1;
	struct iovec iov = {.iov_base = &error, .iov_len = sizeof(error)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};
	struct cmsghdr *h;

	if (recvmsg(channel, &m, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(error))
		return -EPIPE;
	if (error != 0)
		return -error;
	h = CMSG_FIRSTHDR(&m);
	if (h == NULL || h->cmsg_type != SCM_RIGHTS)
		return -EPROTO;
	memcpy(&fd, CMSG_DATA(h), sizeof(fd));
	return fd;
}

int actor_socket(const struct actor *a, int family, int type, int protocol)
{
	struct wish w = {family, type, protocol};

	if (send(a->channel, &w, sizeof(w), MSG_NOSIGNAL) != (ssize_t)sizeof(w))
		return -EPIPE;
	return receive_fd(a->channel);
}

_Noreturn static void actor_main(int channel)
{
	struct wish w;

	while (recv(channel, &w, sizeof(w), 0) == (ssize_t)sizeof(w)) {
		int fd = socket(w.family, w.type | SOCK_CLOEXEC | SOCK_NONBLOCK, w.protocol);

		if (send_fd(channel, fd, fd < 0 ? errno : 0) < 0)
			break;
		if (fd >= 0)
			(void)close(fd);
	}
	_exit(0);
}

static int join_cgroup(const char *path)
{
	char file[CGROUP_PATH_MAX + 16];
	CLEANUP(closep) int fd = -1;

	if (snprintf(file, sizeof(file), "%s/cgroup.procs", path) >= (int)sizeof(file))
		return -ENAMETOOLONG;
	fd = open(file, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		return -errno;
	return 0;
}

static int join_netns(const char *path)
{
	CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		return -errno;
	return 0;
}

static int become(const struct actor *a, const char *cgroup, const char *netns)
{
	int r = netns == NULL ? 0 : join_netns(netns);

	if (r >= 0 && cgroup != NULL)
		r = join_cgroup(cgroup);
	if (r >= 0 && a->uid != 0 &&
	    (setresgid(a->uid, a->uid, a->uid) < 0 || setresuid(a->uid, a->uid, a->uid) < 0))
		r = -errno;
	/* Changing the uid clears it, so it comes last. */
	if (r >= 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		r = -errno;
	return r;
}

static int actor_open(struct actor *a, const char *cgroup, const char *netns, struct err *err)
{
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, errno, "socketpair: %s", strerror(errno));
	a->pid = fork();
	if (a->pid == 0) {
		(void)close(pair[0]);
		r = become(a, cgroup, netns);
		if (send_fd(pair[1], -1, -r) < 0 || r < 0)
			_exit(1);
		actor_main(pair[1]);
	}
	(void)close(pair[1]);
	a->channel = pair[0];
	if (a->pid < 0 || recv(a->channel, &r, sizeof(r), 0) != (ssize_t)sizeof(r) || r != 0)
		return err_set(err, EIO, "an actor could not get into %s",
			       cgroup != NULL ? cgroup : netns);
	return 0;
}

static int actors_open(struct stage *s, const char *const netns[HOST_COUNT], struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(cast) && r >= 0; i++) {
		struct actor *a = &s->actors[i];

		*a = (struct actor){.cgroup = cast[i].cgroup, .uid = cast[i].uid, .channel = -1};
		s->actor_count++;
		r = actor_open(a, s->cgroups[a->cgroup].path, NULL, err);
	}
	for (int h = HOST_HERE; h < HOST_COUNT && r >= 0; h++) {
		s->others[h] = (struct actor){.host = (enum host_name)h, .channel = -1};
		r = actor_open(&s->others[h], NULL, h == HOST_HERE ? NULL : netns[h], err);
	}
	return r;
}

static void actor_close(struct actor *a)
{
	if (a->pid <= 0)
		return;
	closep(&a->channel);
	/* Closing is not enough: later actors have inherited the other end. */
	(void)kill(a->pid, SIGKILL);
	(void)waitpid(a->pid, NULL, 0);
	a->pid = 0;
}

/* --- stage ----------------------------------------------------------------------------------- */

int stage_open(struct stage *s, const struct stage_names *names, struct err *err)
{
	const char *const netns[HOST_COUNT] = {names->here, names->b, names->c};
	int r;

	memset(s, 0, sizeof(*s));
	places_init();
	r = join_netns(names->here);
	if (r < 0)
		return err_set(err, -r, "network namespace %s: %s", names->here, strerror(-r));
	r = cgroups_open(s, names->cgroup, err);
	if (r >= 0)
		r = actors_open(s, netns, err);
	return r;
}

void stage_close(struct stage *s)
{
	for (size_t i = 0; i < s->actor_count; i++)
		actor_close(&s->actors[i]);
	for (int h = 0; h < HOST_COUNT; h++)
		actor_close(&s->others[h]);
	/* The kernel lets go of a cgroup a moment after its last process. */
	for (int tries = 0; tries < 100 && access(s->root, F_OK) == 0; tries++) {
		for (size_t i = s->cgroup_count; i-- > 0;)
			cgroup_remove(s, &s->cgroups[i]);
		(void)usleep(10000);
	}
}
