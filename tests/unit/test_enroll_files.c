/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/enroll_files.h"

#include "base/file.h"
#include "base/mem.h"
#include "tests/unit/svid_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define URL "https://controller.example:8443"

/* A host that has a pair already and enrols again. */
struct scene {
	struct enroll_files files;
	struct enrol_result result;
	char *key_new, *key_pem;
};

static char *path_of(const char *name)
{
	char *path = mem_printf("%s/%s", test_dir(), name);

	CHECK(path != NULL);
	return path;
}

static void put(const char *path, const char *text)
{
	struct err err = {{0}};

	CHECK_OK(file_write_durable(AT_FDCWD, path, text, strlen(text), 0600, &err), &err);
}

static void holds(const char *path, const char *text)
{
	CLEANUP(freep) char *found = NULL;
	struct err err = {{0}};
	size_t len = 0;

	CHECK_OK(file_read(AT_FDCWD, path, 65536, &found, &len, &err), &err);
	CHECK_STR(found, text);
}

static void setup(struct scene *s)
{
	EVP_PKEY *pkey = fixture_key();
	struct err err = {{0}};

	memset(s, 0, sizeof(*s));
	s->files = (struct enroll_files){
		.config = path_of("agent.yaml"),
		.state_dir = path_of("."),
		.key = path_of("svid.key"),
		.cert = path_of("svid.pem"),
		.bundle = path_of("bundle.pem"),
		.ca = path_of("ca.pem"),
	};
	fixture_private(pkey, &s->result.key);
	EVP_PKEY_free(pkey);
	s->result.cert_pem = mem_strdup("new certificate");
	s->result.bundle_pem = mem_strdup("roots");
	s->result.ca_pem = mem_strdup("ca");
	s->key_pem = private_key_pem(&s->result.key);
	s->key_new = path_of("svid.key.new");
	CHECK(s->key_pem && s->result.cert_pem && s->result.bundle_pem && s->result.ca_pem);
	put(s->files.key, "old key");
	put(s->files.cert, "old certificate");
	CHECK_OK(enroll_files_prepare(&s->files, &err), &err);
}

static void done(struct scene *s)
{
	enroll_files_done(&s->files);
	enrol_result_done(&s->result);
	free(s->key_new);
	free(s->key_pem);
}

/* What cannot be replaced, as when the disk or the power ends there. */
static void block(const char *path)
{
	CLEANUP(freep) char *inside = mem_printf("%s/x", path);

	CHECK(inside != NULL);
	CHECK_INT(remove(path), 0);
	CHECK_INT(mkdir(path, 0700), 0);
	put(inside, "");
}

TEST(enrolment_replaces_key_and_certificate)
{
	struct scene s;
	struct stat st;
	struct err err = {{0}};

	setup(&s);
	CHECK_OK(enroll_files_write(&s.files, &s.result, URL, &err), &err);
	holds(s.files.key, s.key_pem);
	holds(s.files.cert, "new certificate");
	CHECK_INT(stat(s.files.key, &st), 0);
	CHECK_UINT(st.st_mode & 0777, 0600);
	CHECK_INT(access(s.key_new, F_OK), -1);
	done(&s);
}

/* The agent uses the old pair, and forgets KEY.new, which fits nothing. */
TEST(enrolment_broken_off_before_the_certificate_leaves_the_old_pair)
{
	struct scene s;
	struct err err = {{0}};

	setup(&s);
	block(s.files.cert);
	CHECK(enroll_files_write(&s.files, &s.result, URL, &err) < 0);
	holds(s.files.key, "old key");
	done(&s);
}

/* The agent moves KEY.new into place: tests/unit/test_node_key.c. */
TEST(enrolment_broken_off_after_the_certificate_has_its_key_beside_it)
{
	struct scene s;
	struct stat st;
	struct err err = {{0}};

	setup(&s);
	block(s.files.key);
	CHECK(enroll_files_write(&s.files, &s.result, URL, &err) < 0);
	holds(s.files.cert, "new certificate");
	holds(s.key_new, s.key_pem);
	CHECK_INT(stat(s.key_new, &st), 0);
	CHECK_UINT(st.st_mode & 0777, 0600);
	done(&s);
}
