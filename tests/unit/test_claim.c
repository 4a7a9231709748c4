/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/claim.h"

#include "base/mem.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 2048

#define ID_A "5f2b6c0a4e7d1893c5b2a6f0e4d8c1b7a3f9e2d6c0b4a8f1e5d9c3b7a1f4e8d2"
#define ID_B "c0ffee00112233445566778899aabbccddeeff00112233445566778899aabbcc"
#define POD  "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"
#define POD_ "0b1c2d3e_4f50_6172_8394_a5b6c7d8e9f0"

#define POD_SLICE "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" POD_ ".slice"

static int user_of(void *user, const char *name, uint32_t *ret_uid)
{
	(void)user;
	if (strcmp(name, "alice") != 0)
		return -ENOENT;
	*ret_uid = 1000;
	return 0;
}

static int group_of(void *user, const char *name, uint32_t *ret_gid)
{
	(void)user;
	if (strcmp(name, "staff") != 0)
		return -ENOENT;
	*ret_gid = 50;
	return 0;
}

static const struct claim_names names = {.user = user_of, .group = group_of};

struct fixture {
	struct policy *policy;
	struct claims *claims;
	char problems[TEXT_MAX];
};

static void add_problem(void *user, const char *text)
{
	struct fixture *f = user;
	size_t len = strlen(f->problems);

	(void)snprintf(f->problems + len, sizeof(f->problems) - len, "%s\n", text);
}

/* Every identity of the policy is placed here. entries: lines of `workload:` for a, b, c. */
static void fixture_init(struct fixture *f, const char *const entries[], size_t count)
{
	struct view_placed placed[4] = {0};
	struct view view = {.node = (char[]){"n1"}, .placed = placed, .placed_count = count};
	char text[TEXT_MAX] = "trust_domain: t.example\nidentities:\n";
	struct err err = {0};

	*f = (struct fixture){0};
	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(text);

		(void)snprintf(text + len, sizeof(text) - len,
			       "  - name: %c\n    path: p/%c\n    workload: [%s]\n",
			       (char)('a' + i), (char)('a' + i), entries[i]);
		placed[i].identity = mem_printf("p/%c", (char)('a' + i));
		CHECK(placed[i].identity != NULL);
	}
	f->policy = policy_of(text);
	CHECK(f->policy != NULL);
	CHECK_UINT(f->policy->identity_count, count);
	CHECK_OK(claims_new(f->policy, &view, NULL, &names, add_problem, f, &f->claims, &err),
		 &err);
	for (size_t i = 0; i < count; i++)
		free(placed[i].identity);
}

static void fixture_done(struct fixture *f)
{
	claims_free(f->claims);
	policy_free(f->policy);
}

struct found {
	const struct fixture *f;
	char text[64];
};

static int note(void *user, uint32_t number, bool ingress_only)
{
	struct found *found = user;
	const struct claim *c = claims_at(found->f->claims, number);
	size_t len = strlen(found->text);

	(void)snprintf(found->text + len, sizeof(found->text) - len, "%s%s",
		       found->f->policy->identities[c->identity].name, ingress_only ? "!" : "");
	return 0;
}

/* Names of the identities anchored at a path; "!" behind those that are so for listeners only. */
static const char *anchored(struct found *found, const struct fixture *f, const char *path)
{
	struct claim_place place;

	*found = (struct found){.f = f};
	claim_place_init(&place, path);
	CHECK_INT(claims_anchored(f->claims, &place, note, found), 0);
	return found->text;
}

static bool open_below(const struct fixture *f, const char *path)
{
	struct claim_place place;

	claim_place_init(&place, path);
	return claims_open_below(f->claims, &place);
}

#define FIXTURE(f, ...)                                                                            \
	CLEANUP(fixture_done) struct fixture f;                                                    \
	fixture_init(&f, (const char *const[]){__VA_ARGS__},                                       \
		     sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

TEST(a_unit_is_anchored_at_its_cgroup_and_nowhere_else)
{
	struct found found;
	FIXTURE(f, "{unit: foo.service}");

	CHECK_STR(anchored(&found, &f, "system.slice/foo.service"), "a");
	CHECK_STR(anchored(&found, &f, "other.slice/foo.service"), "a");
	CHECK_STR(anchored(&found, &f, "system.slice/foo.service/child"), "");
	CHECK_STR(anchored(&found, &f, "system.slice/bar.service/foo.service"), "");
	CHECK_STR(anchored(&found, &f, "system.slice"), "");
	CHECK_STR(anchored(&found, &f, "elsewhere/foo.service"), "");
}

TEST(a_socket_unit_is_its_service_for_listeners_only)
{
	struct found found;
	FIXTURE(f, "{unit: foo.service}", "{unit: foo.socket}");

	CHECK_STR(anchored(&found, &f, "system.slice/foo.service"), "a");
	CHECK_STR(anchored(&found, &f, "system.slice/foo.socket"), "ba!");
	CHECK_STR(anchored(&found, &f, "system.slice/foo.socket/x"), "");
}

TEST(all_facts_of_an_entry_must_hold_and_the_deepest_anchors_it)
{
	struct found found;
	FIXTURE(f, "{unit: foo.service, slice: a.slice}", "{slice: b.slice, cgroup: b.slice/x/y}",
		"{unit: foo.service, cgroup: a.slice/foo.service/w}");

	CHECK_STR(anchored(&found, &f, "a.slice/foo.service"), "a");
	CHECK_STR(anchored(&found, &f, "b.slice/foo.service"), "");
	CHECK_STR(anchored(&found, &f, "a.slice/a-b.slice/foo.service"), "a");
	CHECK_STR(anchored(&found, &f, "b.slice"), "");
	CHECK_STR(anchored(&found, &f, "b.slice/x/y"), "b");
	CHECK_STR(anchored(&found, &f, "a.slice/foo.service/w"), "c");
	CHECK_STR(anchored(&found, &f, "a.slice/foo.service/w/deeper"), "");
}

TEST(a_cgroup_path_is_whole_components)
{
	struct found found;
	FIXTURE(f, "{cgroup: /jobs/one/}");

	CHECK_STR(anchored(&found, &f, "jobs/one"), "a");
	CHECK_STR(anchored(&found, &f, "jobs/one2"), "");
	CHECK_STR(anchored(&found, &f, "jobs"), "");
	CHECK(open_below(&f, "jobs"));
	CHECK(open_below(&f, ""));
	CHECK(!open_below(&f, "jobs/one"));
	CHECK(!open_below(&f, "job"));
}

TEST(a_slice_holds_its_nested_slices)
{
	struct found found;
	FIXTURE(f, "{slice: a-b.slice}", "{slice: '-.slice'}");

	CHECK_STR(anchored(&found, &f, "a.slice/a-b.slice"), "a");
	CHECK_STR(anchored(&found, &f, "a.slice/a-b.slice/a-b-c.slice"), "");
	CHECK_STR(anchored(&found, &f, "a-b.slice"), "");
	CHECK_STR(anchored(&found, &f, ""), "b");
	CHECK(open_below(&f, "a.slice"));
	CHECK(!open_below(&f, "a.slice/a-b.slice"));
	CHECK(!open_below(&f, "b.slice"));
}

TEST(wherever_a_unit_may_appear_is_open)
{
	FIXTURE(f, "{unit: foo.service}");

	CHECK(open_below(&f, ""));
	CHECK(open_below(&f, "system.slice"));
	CHECK(open_below(&f, "user.slice/user-1000.slice"));
	CHECK(!open_below(&f, "system.slice/bar.service"));
	CHECK(!open_below(&f, "user.slice/user-1000.slice/user@1000.service"));
	CHECK(!open_below(&f, "docker"));
}

TEST(unknown_users_and_groups_are_told_with_their_place)
{
	struct found found;
	FIXTURE(f, "{unit: foo.service, user: bob}, {unit: bar.service, user: alice}",
		"{unit: x.service, group: wheel}");

	CHECK_STR(anchored(&found, &f, "system.slice/foo.service"), "");
	CHECK_STR(anchored(&found, &f, "system.slice/bar.service"), "a");
	CHECK_CONTAINS(f.problems, "p.yaml:5:");
	CHECK_CONTAINS(f.problems, "identity 'a': this host has no user 'bob'");
	CHECK_CONTAINS(f.problems, "identity 'b': this host has no group 'wheel'");
}

static int count_claims(void *user, uint32_t number)
{
	unsigned *n = user;

	(void)number;
	(*n)++;
	return 0;
}

TEST(entries_without_a_path_are_kept_apart)
{
	unsigned n = 0;
	FIXTURE(f, "{user: alice}", "{exe: /usr/bin/x}", "{user: alice, group: staff}");

	CHECK(claims_have_uid_only(f.claims));
	CHECK(claims_have_pathless(f.claims));
	CHECK_INT(claims_of_uid(f.claims, 1000, count_claims, &n), 0);
	CHECK_UINT(n, 1);
	n = 0;
	CHECK_INT(claims_of_uid(f.claims, 1001, count_claims, &n), 0);
	CHECK_UINT(n, 0);
	CHECK_INT(claims_pathless(f.claims, count_claims, &n), 0);
	CHECK_UINT(n, 2);
	/* Whatever is started may be that executable; what is in a unit already is looked at again.
	 */
	CHECK(open_below(&f, "system.slice"));
	CHECK(!open_below(&f, "system.slice/foo.service"));
}

/* They are not unclaimed: taking a placement away must not set a workload free. By user only, they
 * claim nothing. */
TEST(identities_that_may_be_here_claim_without_being_placed)
{
	struct view_placed placed = {.identity = (char[]){"p/other"}};
	struct view view = {.node = (char[]){"n1"}, .placed = &placed, .placed_count = 1};
	CLEANUP(policy_freep)
	struct policy *p = policy_of("trust_domain: t.example\nidentities:\n"
				     "  - {name: a, path: p/a, workload: [{unit: foo.service}]}\n"
				     "  - {name: u, path: p/u, workload: [{user: root}]}\n");
	CLEANUP(claims_freep) struct claims *c = NULL;
	struct err err = {0};

	CHECK_OK(claims_new(p, &view, NULL, &names, NULL, NULL, &c, &err), &err);
	CHECK_UINT(claims_count(c), 1);
	CHECK(!claims_at(c, 0)->placed);
}

TEST(an_identity_that_policy_keeps_away_from_this_node_claims_nothing)
{
	struct view_placed placed[] = {{.identity = (char[]){"p/a"}},
				       {.identity = (char[]){"p/b"}},
				       {.identity = (char[]){"p/b"}}};
	struct view view = {
		.node = (char[]){"n1"}, .placed = placed, .placed_count = ARRAY_LEN(placed)};
	CLEANUP(policy_freep)
	struct policy *p = policy_of("trust_domain: t.example\nidentities:\n"
				     "  - {name: a, path: p/a, workload: [{unit: foo.service}],\n"
				     "     placement: {nodes: [m*]}}\n"
				     "  - {name: b, path: p/b, workload: [{unit: bar.service}],\n"
				     "     placement: {nodes: [n*]}}\n");
	CLEANUP(claims_freep) struct claims *c = NULL;
	struct err err = {0};

	CHECK_OK(claims_new(p, &view, NULL, &names, NULL, NULL, &c, &err), &err);
	CHECK_UINT(claims_count(c), 1);
	CHECK_UINT(claims_at(c, 0)->identity, 1);
}

TEST(units_of_essentials_are_found_with_their_sockets)
{
	struct essential entry = {.by = {(char[]){"ssh.service"}}, .by_count = 1};
	struct essentials essentials = {.entries = &entry, .count = 1};
	CLEANUP(claims_freep) struct claims *c = NULL;
	struct claim_place place;
	struct err err = {0};

	CHECK_OK(claims_new(NULL, NULL, &essentials, &names, NULL, NULL, &c, &err), &err);
	claim_place_init(&place, "system.slice/ssh.service");
	CHECK_STR(claims_essential_unit(c, &place), "ssh.service");
	claim_place_init(&place, "system.slice/ssh.socket");
	CHECK_STR(claims_essential_unit(c, &place), "ssh.service");
	claim_place_init(&place, "system.slice/ssh.service/child");
	CHECK(claims_essential_unit(c, &place) == NULL);
	claim_place_init(&place, "system.slice");
	CHECK(claims_look_below(c, &place));
	/* The unit may be new: its slice is not entered as nobody's. */
	CHECK(claims_open_below(c, &place));
	claim_place_init(&place, "system.slice/ssh.service");
	CHECK(!claims_open_below(c, &place));
}

OOM_TEST(claims_survive_failing_allocations)
{
	struct selector selectors[] = {
		{.kind = SELECTOR_UNIT, .value = (char[]){"foo.service"}},
		{.kind = SELECTOR_SLICE, .value = (char[]){"a-b.slice"}},
		{.kind = SELECTOR_CGROUP, .value = (char[]){"x/y"}},
		{.kind = SELECTOR_CONTAINER, .value = (char[]){ID_A}},
		{.kind = SELECTOR_POD, .value = (char[]){POD}},
	};
	struct workload_entry entry = {.selectors = selectors,
				       .selector_count = ARRAY_LEN(selectors)};
	struct identity identity = {.name = (char[]){"a"},
				    .path = (char[]){"p/a"},
				    .workload = &entry,
				    .workload_count = 1};
	const struct policy p = {.identities = &identity, .identity_count = 1};
	struct view_placed placed = {.identity = (char[]){"p/a"}};
	struct view view = {.node = (char[]){"n1"}, .placed = &placed, .placed_count = 1};
	struct claims *c = NULL;
	int r = claims_new(&p, &view, NULL, &names, NULL, NULL, &c, NULL);

	claims_free(c);
	return r;
}

TEST(containers_and_pods_are_anchored_where_their_runtime_puts_them)
{
	struct found found;

	FIXTURE(f, "{container: " ID_A "}", "{pod: " POD "}");
	CHECK_STR(anchored(&found, &f, "system.slice/docker-" ID_A ".scope"), "a");
	CHECK_STR(anchored(&found, &f, "machine.slice/libpod-" ID_A ".scope"), "a");
	/* What is below belongs to it, and is not anchored again. */
	CHECK_STR(anchored(&found, &f, "machine.slice/libpod-" ID_A ".scope/container"), "");
	CHECK_STR(anchored(&found, &f, "system.slice/web.service/libpod-payload-" ID_A), "a");
	CHECK_STR(anchored(&found, &f, POD_SLICE), "b");
	CHECK_STR(anchored(&found, &f, POD_SLICE "/cri-containerd-" ID_B ".scope"), "");
	CHECK_STR(anchored(&found, &f, POD_SLICE "/cri-containerd-" ID_A ".scope"), "a");
	CHECK_STR(anchored(&found, &f, "kubepods/pod" POD), "b");
	CHECK_STR(anchored(&found, &f, "kubepods/pod" POD "/" ID_A), "a");
	/* Names that others have made. */
	CHECK_STR(anchored(&found, &f, "system.slice/docker-" ID_B ".scope/docker-" ID_A ".scope"),
		  "");
	CHECK_STR(anchored(&found, &f, "system.slice/evil.service/docker-" ID_A ".scope"), "");
	CHECK_STR(anchored(&found, &f, "system.slice/docker-" ID_B ".scope/" POD_SLICE), "");
}

TEST(a_container_of_a_user_needs_the_users_name)
{
	static const char rootless[] = "user.slice/user-1000.slice/user@1000.service/user.slice/"
				       "libpod-" ID_A ".scope";
	struct found found;

	FIXTURE(f, "{container: " ID_A "}");
	CHECK_STR(anchored(&found, &f, rootless), "");
	FIXTURE(g, "{container: " ID_A ", user: alice}");
	CHECK_STR(anchored(&found, &g, rootless), "a");
	FIXTURE(h, "{container: " ID_A ", user: root}");
	CHECK_STR(anchored(&found, &h, rootless), "");
}

TEST(container_and_unit_of_one_entry_hold_together)
{
	struct found found;

	FIXTURE(f, "{unit: web.service, container: " ID_A "}",
		"{pod: " POD ", container: " ID_B "}", "{slice: batch.slice, container: " ID_A "}");
	CHECK_STR(anchored(&found, &f, "system.slice/web.service/libpod-payload-" ID_A), "a");
	CHECK_STR(anchored(&found, &f, "system.slice/web.service"), "");
	CHECK_STR(anchored(&found, &f, "system.slice/other.service/libpod-payload-" ID_A), "");
	CHECK_STR(anchored(&found, &f, POD_SLICE "/crio-" ID_B ".scope"), "b");
	CHECK_STR(anchored(&found, &f, POD_SLICE), "");
	CHECK_STR(anchored(&found, &f, "system.slice/crio-" ID_B ".scope"), "");
	CHECK_STR(anchored(&found, &f, "batch.slice/docker-" ID_A ".scope"), "c");
	CHECK_STR(anchored(&found, &f, "system.slice/docker-" ID_A ".scope"), "");
}

TEST(cgroups_that_may_hold_containers_are_not_entered_themselves)
{
	struct claim_place place;

	FIXTURE(f, "{container: " ID_A "}");
	CHECK(open_below(&f, ""));
	CHECK(open_below(&f, "machine.slice"));
	CHECK(open_below(&f, "docker"));
	CHECK(open_below(&f, POD_SLICE));
	CHECK(!open_below(&f, "system.slice/docker-" ID_A ".scope"));
	CHECK(!open_below(&f, "system.slice/web.service"));
	/* Podman may make one there: seen, although the unit is entered. */
	claim_place_init(&place, "system.slice/web.service");
	CHECK(claims_look_below(f.claims, &place));
	claim_place_init(&place, "system.slice/web.service/child");
	CHECK(!claims_look_below(f.claims, &place));
}

TEST(digests_are_conditions_on_processes)
{

	FIXTURE(f, "{unit: web.service, exe_sha256: " ID_A "}", "{fsverity: " ID_B "}",
		"{unit: x.service, exe_sha256: " ID_A ", fsverity: " ID_B "}");
	CHECK_UINT(claims_count(f.claims), 3);
	for (size_t i = 0; i < 3; i++)
		CHECK(claim_is_conditional(claims_at(f.claims, i)));
	CHECK(claims_at(f.claims, 0)->has_sha256 && !claims_at(f.claims, 0)->has_fsverity);
	CHECK_UINT(claims_at(f.claims, 0)->sha256[0], 0x5f);
	CHECK(claims_at(f.claims, 1)->has_fsverity && claims_at(f.claims, 1)->pathless);
	CHECK_UINT(claims_at(f.claims, 1)->fsverity[31], 0xcc);
	CHECK(claims_have_pathless(f.claims));
	CHECK_STR(f.problems, "");
}
