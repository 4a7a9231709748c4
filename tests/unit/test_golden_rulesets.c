/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From policy.yaml and view.json in tests/golden/rulesets/CASE to ruleset.nft beside them: the
 * whole way from text to the kernel's table, reviewed as text. With GOLDEN_UPDATE set (make golden)
 * the texts are written anew. Cgroup ids are made up: 1000 + the identity's index, depth 2.
 */
#include "rules/ruleset_text.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/zone.h"
#include "controller-client/view_decode.h"
#include "rules/marks.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RULESETS      "tests/golden/rulesets"
#define TEXT_MAX      (8U << 20)
#define CGROUP_FIRST  1000
#define CGROUP_NOBODY 5000
#define CGROUP_LEVEL  2

static char *read_case(const char *name, const char *file)
{
	CLEANUP(freep) char *path = mem_printf(RULESETS "/%s/%s", name, file);
	struct err err = {0};
	char *text = NULL;
	size_t len;

	CHECK_OK(file_read(AT_FDCWD, path, TEXT_MAX, &text, &len, &err), &err);
	return text;
}

/* Each identity placed here runs in one cgroup; one more cgroup belongs to nobody. */
static void make_host(const struct policy *p, const struct view *v, struct host *h)
{
	memset(h, 0, sizeof(*h));
	h->workloads = mem_calloc(v->placed_count, sizeof(*h->workloads));
	h->nobodies = mem_calloc(1, sizeof(*h->nobodies));
	CHECK(h->workloads && h->nobodies);
	for (size_t i = 0; i < v->placed_count; i++) {
		int identity = policy_find_identity(p, v->placed[i].identity);

		CHECK(identity >= 0);
		h->workloads[h->workload_count++] =
			(struct host_workload){.identity = (uint32_t)identity,
					       .cgroup_id = CGROUP_FIRST + (uint64_t)identity,
					       .level = CGROUP_LEVEL};
	}
	h->nobodies[h->nobody_count++] =
		(struct host_nobody){.cgroup_id = CGROUP_NOBODY, .level = CGROUP_LEVEL};
}

static void make_ruleset(const struct policy *p, const struct view *v, const struct host *h,
			 struct generation **ret_gen, struct ruleset **ret, struct err *err)
{
	CLEANUP(numbers_freep)
	struct numbers *conduits = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	CLEANUP(numbers_freep)
	struct numbers *identities = numbers_new(MARK_IDENTITY_MIN, MARK_IDENTITY_MAX);
	struct compile_input in = {.policy = p,
				   .view = v,
				   .now = {FIXTURE_NOW_S},
				   .clock_trusted = true,
				   .local_time = zone_local_time()};
	struct table_shape shape = {.queue = QUEUE_NATIVE,
				    .queue_first = 7100,
				    .nflog_group = 7100,
				    .unclaimed_mark = MARK_UNCLAIMED_MIN,
				    .unclaimed = UNCLAIMED_PASS,
				    .live_size = 65536};

	(void)snprintf(shape.table, sizeof(shape.table), "bailiwick");
	CHECK_OK(compile_generation(&in, conduits, identities, ret_gen, err), err);
	CHECK_OK(ruleset_build(*ret_gen, NULL, h, NULL, &shape, ret, err), err);
}

/* The chains are the same for every policy and have goldens of their own. */
static const char *elements_of(const struct buf *b)
{
	const char *first = strstr(b->data, "\nadd element");

	return first ? first + 1 : "";
}

static void compare(const char *name, const struct buf *b)
{
	CLEANUP(freep) char *path = mem_printf(RULESETS "/%s/ruleset.nft", name);
	CLEANUP(freep) char *expected = NULL;
	struct err err = {0};
	size_t len;

	if (getenv("GOLDEN_UPDATE") != NULL) {
		CHECK_OK(file_write_durable(AT_FDCWD, path, elements_of(b), strlen(elements_of(b)),
					    0644, &err),
			 &err);
		return;
	}
	CHECK_OK(file_read(AT_FDCWD, path, TEXT_MAX, &expected, &len, &err), &err);
	if (strcmp(expected, elements_of(b)) != 0)
		test_fail(__FILE__, __LINE__, "%s differs; make golden, then git diff", path);
}

static void check_case(const char *name)
{
	CLEANUP(freep) char *policy_text = read_case(name, "policy.yaml");
	CLEANUP(freep) char *view_text = read_case(name, "view.json");
	CLEANUP(policy_freep) struct policy *p = policy_sound(policy_text);
	CLEANUP(view_freep) struct view *v = NULL;
	CLEANUP(generation_freep) struct generation *gen = NULL;
	CLEANUP(ruleset_freep) struct ruleset *r = NULL;
	CLEANUP(buf_done) struct buf b = {0};
	struct ruleset_names names = {.now_s = FIXTURE_NOW_S};
	struct host h;
	struct err err = {0};

	CHECK_OK(view_decode(view_text, strlen(view_text), "host-1", 0, &v, &err), &err);
	make_host(p, v, &h);
	make_ruleset(p, v, &h, &gen, &r, &err);
	names.confirmed = gen;
	buf_init(&b, TEXT_MAX);
	CHECK_OK(ruleset_text(r, &names, &b, &err), &err);
	CHECK_INT(b.r, 0);
	compare(name, &b);
	host_done(&h);
}

static int is_case(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

TEST(policies_become_the_recorded_rulesets)
{
	struct dirent **list = NULL;
	int n = scandir(RULESETS, &list, is_case, alphasort);

	CHECK(n > 0);
	for (int i = 0; i < n; i++)
		check_case(list[i]->d_name);
	for (int i = 0; i < n; i++)
		free(list[i]);
	free(list);
}
