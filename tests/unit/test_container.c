/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/container.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "tests/unit/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATHS_FILE "tests/unit/data/container_paths"
#define PATHS_MAX  65536
#define LINE_MAX_  2048

#define ID_A       "5f2b6c0a4e7d1893c5b2a6f0e4d8c1b7a3f9e2d6c0b4a8f1e5d9c3b7a1f4e8d2"
#define ID_B       "c0ffee00112233445566778899aabbccddeeff00112233445566778899aabbcc"
#define POD        "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"
#define POD_       "0b1c2d3e_4f50_6172_8394_a5b6c7d8e9f0"
#define POD_STATIC "8d3c1f0e9b7a6c5d4e3f2a1b0c9d8e7f"

/* $A, $B, $P, $U, $S. */
static void expand(const char *text, char ret[LINE_MAX_])
{
	size_t len = 0;

	for (; *text != '\0'; text++) {
		const char *word = NULL;
		char one[2] = {*text, '\0'};

		if (*text == '$' && text[1] != '\0') {
			static const char letters[] = "ABPUS";
			static const char *const words[] = {ID_A, ID_B, POD, POD_, POD_STATIC};
			const char *at = strchr(letters, text[1]);

			CHECK(at != NULL);
			word = words[at - letters];
			text++;
		}
		if (word == NULL)
			word = one;
		CHECK(len + strlen(word) < LINE_MAX_);
		memcpy(ret + len, word, strlen(word));
		len += strlen(word);
	}
	ret[len] = '\0';
}

static const char *said(const char *path)
{
	static char text[512];
	struct container_place p;
	size_t len;

	container_place_parse(path, &p);
	(void)snprintf(text, sizeof(text), "%s %s %s",
		       p.runtime == CONTAINER_NONE ? "-" : container_runtime_name(p.runtime),
		       p.id[0] != '\0' ? p.id : "-", p.pod_uid[0] != '\0' ? p.pod_uid : "-");
	len = strlen(text);
	if (p.rootless)
		(void)snprintf(text + len, sizeof(text) - len, " user %u", p.uid);
	CHECK((p.depth > 0) == (p.id[0] != '\0'));
	CHECK((p.pod_depth > 0) == (p.pod_uid[0] != '\0'));
	return text;
}

/* The first `depth` components. */
static void cut(const char *path, unsigned depth, char ret[LINE_MAX_])
{
	size_t len = 0;

	for (; path[len] != '\0'; len++)
		if (path[len] == '/' && --depth == 0)
			break;
	memcpy(ret, path, len);
	ret[len] = '\0';
}

/* A container begins at its depth, and there may be one in each cgroup above. */
static void check_anchor(const char *path)
{
	char at[LINE_MAX_];
	struct container_place p, cut_place;
	struct container_place above;

	container_place_parse(path, &p);
	if (p.depth == 0)
		return;
	cut(path, p.depth, at);
	container_place_parse(at, &cut_place);
	CHECK_STR(cut_place.id, p.id);
	CHECK_UINT(cut_place.depth, p.depth);
	CHECK(!container_may_be_below(at));
	if (p.depth == 1)
		return;
	cut(path, p.depth - 1U, at);
	container_place_parse(at, &above);
	CHECK_UINT(above.depth, 0);
	if (!container_may_be_below(at) && !container_may_be_in_unit(at))
		test_fail(__FILE__, __LINE__, "'%s' holds a container and may not", at);
}

TEST(each_path_of_the_corpus_is_read_from_its_root)
{
	CLEANUP(freep) char *text = NULL;
	struct err err = {{0}};
	char *next;
	unsigned count = 0;
	size_t len = 0;

	CHECK_OK(file_read(AT_FDCWD, PATHS_FILE, PATHS_MAX, &text, &len, &err), &err);
	for (char *line = text; *line != '\0'; line = next) {
		char path[LINE_MAX_], expected[LINE_MAX_];
		char *space;

		next = line + strcspn(line, "\n");
		if (*next == '\n')
			*next++ = '\0';
		if (*line == '\0' || *line == '#')
			continue;
		space = strchr(line, ' ');
		CHECK(space != NULL);
		*space++ = '\0';
		expand(line, path);
		expand(space + strspn(space, " "), expected);
		if (!str_eq(said(path), expected))
			test_fail(__FILE__, __LINE__, "%s: '%s', expected '%s'", path, said(path),
				  expected);
		check_anchor(path);
		count++;
	}
	CHECK(count > 80);
}

TEST(slashes_and_long_names_do_no_harm)
{
	char path[8192];

	CHECK_STR(said(""), "- - -");
	CHECK_STR(said("/"), "- - -");
	CHECK_STR(said("//docker//" ID_A "/"), "docker " ID_A " -");
	memset(path, 'a', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	CHECK_STR(said(path), "- - -");
	for (size_t i = 1; i + 1 < sizeof(path); i += 2)
		path[i] = '/';
	CHECK_STR(said(path), "- - -");
}

TEST(ids_and_uids_of_pods_are_checked)
{
	char uid[CONTAINER_POD_MAX] = "before";

	CHECK(container_id_ok(ID_A));
	CHECK(!container_id_ok("5f2b"));
	CHECK(!container_id_ok(ID_A "0"));
	CHECK(!container_id_ok("5F2B6c0a4e7d1893c5b2a6f0e4d8c1b7a3f9e2d6c0b4a8f1e5d9c3b7a1f4e8d2"));
	CHECK(container_pod_uid(POD_, strlen(POD_), uid));
	CHECK_STR(uid, POD);
	CHECK(container_pod_uid(POD, strlen(POD), uid));
	CHECK_STR(uid, POD);
	CHECK(container_pod_uid(POD_STATIC, strlen(POD_STATIC), uid));
	CHECK_STR(uid, POD_STATIC);
	CHECK(!container_pod_uid(POD, strlen(POD) - 1, uid));
	CHECK(!container_pod_uid("0b1c2d3e-4f50-6172-8394+a5b6c7d8e9f0", strlen(POD), uid));
	CHECK_STR(uid, POD_STATIC);
}

TEST(containers_are_looked_for_where_they_may_be_and_nowhere_else)
{
	static const char *const may[] = {
		"",
		"system.slice",
		"machine.slice/machine-x.slice",
		"docker",
		"libpod_parent",
		"default",
		"kubepods",
		"kubepods/burstable",
		"kubepods/pod" POD,
		"kubepods.slice/kubepods-pod" POD_ ".slice",
		"user.slice/user-1000.slice/user@1000.service",
		"user.slice/user-1000.slice/user@1000.service/app.slice",
	};
	static const char *const may_not[] = {
		"system.slice/web.service",
		"system.slice/web.service/child",
		"kubepods/burstable/x",
		"kubepods/pod" POD "/x",
		"docker/x",
		"lxc.payload.box",
		"user.slice/user-1000.slice/user@1001.service",
		"user.slice/user-1000.slice/session-3.scope",
	};

	for (size_t i = 0; i < ARRAY_LEN(may); i++)
		if (!container_may_be_below(may[i]))
			test_fail(__FILE__, __LINE__, "'%s' may hold containers", may[i]);
	for (size_t i = 0; i < ARRAY_LEN(may_not); i++)
		if (container_may_be_below(may_not[i]))
			test_fail(__FILE__, __LINE__, "'%s' holds no containers", may_not[i]);
	CHECK(container_may_be_in_unit("system.slice/web.service"));
	CHECK(container_may_be_in_unit(
		"user.slice/user-1.slice/user@1.service/app.slice/w.service"));
	CHECK(!container_may_be_in_unit("system.slice/web.scope"));
	CHECK(!container_may_be_in_unit("system.slice/web.service/child"));
	CHECK(!container_may_be_in_unit("system.slice"));
}
