/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/run_socket.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
	char dir[32];
	char *path;
};

static struct place place(void)
{
	struct place p = {.dir = "/tmp/bwt-socket-XXXXXX"};

	CHECK(mkdtemp(p.dir) != NULL);
	p.path = mem_printf("%s/a.sock", p.dir);
	CHECK(p.path != NULL);
	return p;
}

static void leave(struct place *p)
{
	(void)unlink(p->path);
	(void)rmdir(p->dir);
	free(p->path);
}

TEST(a_socket_goes_with_its_owner)
{
	struct run_socket s = {.fd = -1};
	struct place p = place();
	struct err err = {{0}};
	struct stat st;

	CHECK_OK(run_socket_open(p.dir, "a.sock", &s, &err), &err);
	CHECK_INT(lstat(p.path, &st), 0);
	CHECK(S_ISSOCK(st.st_mode));
	CHECK_UINT(st.st_mode & 0777, 0660);
	run_socket_done(&s);
	CHECK(lstat(p.path, &st) < 0);
	CHECK_INT(s.fd, -1);
	leave(&p);
}

TEST(the_socket_of_a_later_owner_stays)
{
	struct run_socket first = {.fd = -1}, second = {.fd = -1};
	struct place p = place();
	struct err err = {{0}};
	struct stat st;

	CHECK_OK(run_socket_open(p.dir, "a.sock", &first, &err), &err);
	CHECK_OK(run_socket_open(p.dir, "a.sock", &second, &err), &err);
	run_socket_done(&first);
	CHECK_INT(lstat(p.path, &st), 0);
	run_socket_done(&second);
	CHECK(lstat(p.path, &st) < 0);
	leave(&p);
}
