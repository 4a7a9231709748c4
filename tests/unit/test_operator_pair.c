/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files of another operator: a key for nobody else, and nothing written over. */
#include "controller/operator_pair.h"

#include "base/base64.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/csr.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct pair {
	char top[64], dir[96], file[128];
	char *request;
	struct err err;
};

static void setup(struct pair *p)
{
	*p = (struct pair){.top = "/tmp/bailiwick-pair-XXXXXX"};
	CHECK(mkdtemp(p->top) != NULL);
	(void)snprintf(p->dir, sizeof(p->dir), "%s/alice", p->top);
}

static void teardown(struct pair *p)
{
	CHECK_OK(tree_remove(AT_FDCWD, p->top, &p->err), &p->err);
	free(p->request);
}

static const char *in(struct pair *p, const char *name)
{
	(void)snprintf(p->file, sizeof(p->file), "%s/%s", p->dir, name);
	return p->file;
}

static int mode_of(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? -errno : (int)(st.st_mode & 07777);
}

static void write_text(const char *path, const char *text)
{
	struct err err = {{0}};

	CHECK_OK(file_write_durable(AT_FDCWD, path, text, strlen(text), 0644, &err), &err);
}

/* The id of the key that a request is for. */
static void key_of(const char *request, char ret[SHA256_HEX_LEN])
{
	CLEANUP(freep) uint8_t *der = NULL;
	struct public_key key;
	struct err err = {{0}};
	size_t len;

	CHECK_INT(base64_decode(request, strlen(request), CSR_MAX, &der, &len), 0);
	CHECK_OK(csr_check(der, len, &key, &err), &err);
	memcpy(ret, key.id, SHA256_HEX_LEN);
	public_key_done(&key);
}

TEST(a_new_key_is_for_nobody_else_and_the_request_is_for_it)
{
	struct private_key key;
	char id[SHA256_HEX_LEN];
	struct pair p;

	setup(&p);
	CHECK_OK(operator_pair_make(p.dir, "alice", &p.request, &p.err), &p.err);
	CHECK_INT(mode_of(p.dir), 0700);
	CHECK_INT(mode_of(in(&p, "operator.key")), 0600);
	CHECK_OK(private_key_load(p.file, &key, &p.err), &p.err);
	key_of(p.request, id);
	CHECK_STR(id, key.public.id);
	private_key_done(&key);
	teardown(&p);
}

TEST(what_is_there_is_not_written_over)
{
	static const char *const names[] = {"operator.key", "operator.pem", "operator.csr",
					    "ca.pem"};
	struct pair p;

	setup(&p);
	CHECK_OK(dir_make(p.dir, 0700, &p.err), &p.err);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		CLEANUP(freep) char *text = NULL;
		size_t len;

		write_text(in(&p, names[i]), "mine\n");
		CHECK_INT(operator_pair_make(p.dir, "alice", &p.request, &p.err), -EEXIST);
		CHECK_CONTAINS(p.err.text, names[i]);
		if (i % 2 == 1)
			CHECK_INT(operator_pair_room(p.dir, &p.err), -EEXIST);
		CHECK_OK(file_read(AT_FDCWD, in(&p, names[i]), 64, &text, &len, &p.err), &p.err);
		CHECK_STR(text, "mine\n");
		CHECK_INT(unlink(p.file), 0);
	}
	/* The key of a request waits for its certificate there. */
	write_text(in(&p, "operator.key"), "mine\n");
	CHECK_OK(operator_pair_room(p.dir, &p.err), &p.err);
	teardown(&p);
}

TEST(a_refused_key_leaves_nothing_behind)
{
	struct pair p;

	setup(&p);
	CHECK_OK(operator_pair_make(p.dir, "alice", &p.request, &p.err), &p.err);
	operator_pair_undo(p.dir);
	CHECK_INT(mode_of(p.dir), -ENOENT);
	teardown(&p);
}

TEST(a_request_is_read_as_it_was_written_and_as_der)
{
	CLEANUP(freep) uint8_t *der = NULL;
	char *again = NULL;
	struct pair p;
	size_t len;

	setup(&p);
	CHECK_OK(operator_pair_make(p.dir, "alice", &p.request, &p.err), &p.err);
	CHECK_OK(operator_pair_write_request(p.dir, p.request, &p.err), &p.err);
	CHECK_OK(operator_pair_read_request(in(&p, "operator.csr"), &again, &p.err), &p.err);
	CHECK_STR(again, p.request);
	free(again);
	CHECK_INT(base64_decode(p.request, strlen(p.request), CSR_MAX, &der, &len), 0);
	CHECK_OK(file_write_durable(AT_FDCWD, p.file, der, len, 0644, &p.err), &p.err);
	CHECK_OK(operator_pair_read_request(p.file, &again, &p.err), &p.err);
	CHECK_STR(again, p.request);
	free(again);
	teardown(&p);
}

TEST(what_is_no_request_is_named)
{
	char *request = NULL;
	struct pair p;

	setup(&p);
	CHECK_OK(operator_pair_make(p.dir, "alice", &p.request, &p.err), &p.err);
	/* Above all not the key, which would go to the controller. */
	CHECK_INT(operator_pair_read_request(in(&p, "operator.key"), &request, &p.err), -EBADMSG);
	CHECK_CONTAINS(p.err.text, "operator.key: certificate request: not a PKCS#10 message");
	CHECK_INT(operator_pair_read_request(in(&p, "none"), &request, &p.err), -ENOENT);
	write_text(in(&p, "empty"), "");
	CHECK_INT(operator_pair_read_request(p.file, &request, &p.err), -EBADMSG);
	CHECK(request == NULL);
	teardown(&p);
}
