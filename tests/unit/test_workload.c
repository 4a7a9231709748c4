/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/workload.h"

#include "base/file.h"
#include "base/mem.h"
#include "tests/unit/cgroup_fixture.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TEXT_MAX    4096
#define TURN_US     20000
#define TURNS_MAX   500
#define ALICE       "4711"
#define ALICE_UID   4711
#define BOB_UID     4712
#define RESTARTS    300
#define RESTARTS_NS 10000000000LL

struct bench {
	sd_event *event;
	struct workloads *w;
	struct policy *policy;
	struct view view;
	struct view_placed placed[8];
	unsigned changes;
};

static void on_change(void *user)
{
	struct bench *b = user;

	b->changes++;
	CHECK(workloads_take_host(b->w, SLOT_A) != NULL);
}

/* Identities a, b, c... with these entries, all placed here. */
static void set_policy(struct bench *b, const char *const entries[], size_t count)
{
	char text[TEXT_MAX] = "trust_domain: t.example\nidentities:\n";
	static char node[] = "n1";
	struct policy *old = b->policy;
	struct err err = {0};

	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(text);

		(void)snprintf(text + len, sizeof(text) - len,
			       "  - name: %c\n    path: p/%c\n    workload: [%s]\n",
			       (char)('a' + i), (char)('a' + i), entries[i]);
		free(b->placed[i].identity);
		b->placed[i].identity = mem_printf("p/%c", (char)('a' + i));
		CHECK(b->placed[i].identity != NULL);
	}
	b->policy = policy_of(text);
	CHECK(b->policy != NULL && b->policy->identity_count == count);
	b->view = (struct view){.node = node, .placed = b->placed, .placed_count = count};
	CHECK_OK(workloads_set_policy(b->w, SLOT_A, b->policy, &b->view, NULL, &err), &err);
	policy_free(old);
}

static void bench_init(struct bench *b, const char *const entries[], size_t count)
{
	struct workloads_config config = {.cgroup_root = fixture_root()};
	struct err err = {0};

	*b = (struct bench){0};
	fixture_network();
	CHECK(sd_event_new(&b->event) >= 0);
	CHECK_OK(workloads_new(&config, b->event, on_change, b, &b->w, &err), &err);
	set_policy(b, entries, count);
}

static void bench_done(struct bench *b)
{
	workloads_free(b->w);
	policy_free(b->policy);
	for (size_t i = 0; i < ARRAY_LEN(b->placed); i++)
		free(b->placed[i].identity);
	sd_event_unref(b->event);
}

#define BENCH(b, ...)                                                                              \
	CLEANUP(bench_done) struct bench b;                                                        \
	bench_init(&b, (const char *const[]){__VA_ARGS__},                                         \
		   sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))
#define POLICY(b, ...)                                                                             \
	set_policy(&b, (const char *const[]){__VA_ARGS__},                                         \
		   sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

/* Events that are waiting, and the change they lead to. */
static void settle(struct bench *b)
{
	while (sd_event_run(b->event, TURN_US) > 0)
		;
}

/*
 * What the host says of one cgroup: "a", "a:4711" (by uid), "a!" (listeners only), "-" (nobody),
 * "-?" (nobody, ask for listeners); several in a row; "" when it has no element.
 */
static const char *said(struct bench *b, const char *name)
{
	static char text[256];
	const struct host *h = workloads_take_host(b->w, SLOT_A);
	uint64_t id = name != NULL ? fixture_id(name) : 0;
	size_t len = 0;

	CHECK(h != NULL);
	text[0] = '\0';
	for (size_t i = 0; i < h->workload_count; i++) {
		const struct host_workload *w = &h->workloads[i];

		if (w->cgroup_id != id)
			continue;
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s",
					b->policy->identities[w->identity].name,
					w->ingress_only ? "!" : "");
		if (w->has_uid)
			len += (size_t)snprintf(text + len, sizeof(text) - len, ":%u", w->uid);
		CHECK_UINT(w->level, name != NULL ? fixture_level(name) : 0);
	}
	for (size_t i = 0; i < h->nobody_count; i++)
		if (h->nobodies[i].cgroup_id == id)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "-%s",
						h->nobodies[i].ask_listener ? "?" : "");
	return text;
}

/* All problems, one a line. */
static const char *problems(struct bench *b)
{
	static char text[16384];
	size_t len = 0, count = workloads_problem_count(b->w, SLOT_A);

	text[0] = '\0';
	for (size_t i = 0; i < count; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\n",
					workloads_problem(b->w, SLOT_A, i));
	return text;
}

static struct workload_answer resolve(struct bench *b, const char *name, uint32_t uid)
{
	struct workload_answer a = {0};

	CHECK_INT(workloads_resolve(b->w, SLOT_A, fixture_id(name), uid, &a), 0);
	return a;
}

/* --- selectors x cgroups ---------------------------------------------------------------------- */

TEST(a_unit_is_its_identity_and_its_neighbour_is_nobody)
{
	fixture_cgroups();
	fixture_make("system.slice/foo.service/child");
	fixture_make("system.slice/bar.service");
	BENCH(b, "{unit: foo.service}");

	CHECK_STR(said(&b, "system.slice/foo.service"), "a");
	CHECK_STR(said(&b, "system.slice/bar.service"), "-");
	/* A unit may appear there at any time: not entered itself. */
	CHECK_STR(said(&b, "system.slice"), "");
	/* Covered by the unit. */
	CHECK_STR(said(&b, "system.slice/foo.service/child"), "");
}

TEST(a_delegated_child_is_not_the_unit_it_calls_itself)
{
	fixture_cgroups();
	fixture_make("system.slice/bar.service/foo.service");
	fixture_make("user.slice/user-1000.slice/user@1000.service/foo.service");
	BENCH(b, "{unit: foo.service}");

	CHECK_STR(said(&b, "system.slice/bar.service"), "-");
	CHECK_STR(said(&b, "user.slice/user-1000.slice/user@1000.service"), "-");
	CHECK_INT(resolve(&b, "system.slice/bar.service/foo.service", 0).what, WORKLOAD_NOBODY);
	CHECK_CONTAINS(problems(&b),
		       "identity 'a': no cgroup here is its workload (unit foo.service)");
}

TEST(a_slice_without_selectors_below_is_entered_itself)
{
	fixture_cgroups();
	fixture_make("jobs.slice/one.scope");
	BENCH(b, "{slice: jobs.slice}");

	CHECK_STR(said(&b, "jobs.slice"), "a");
	CHECK_STR(said(&b, "jobs.slice/one.scope"), "");
}

/* R24: otherwise a restarted unit would be its slice's identity until it is noticed. */
TEST(a_slice_with_selectors_below_is_entered_child_by_child)
{
	fixture_cgroups();
	fixture_make("jobs.slice/one.scope");
	fixture_make("jobs.slice/special.service");
	BENCH(b, "{slice: jobs.slice}", "{unit: special.service}");

	CHECK_STR(said(&b, "jobs.slice"), "");
	CHECK_STR(said(&b, "jobs.slice/one.scope"), "a");
	CHECK_STR(said(&b, "jobs.slice/special.service"), "b");
}

TEST(the_deepest_match_wins)
{
	fixture_cgroups();
	fixture_make("x/y/z");
	BENCH(b, "{cgroup: x}", "{cgroup: x/y}");

	CHECK_STR(said(&b, "x"), "");
	CHECK_STR(said(&b, "x/y"), "b");
	CHECK_INT(resolve(&b, "x/y/z", 0).identity, 1);
	CHECK_INT(resolve(&b, "x", 0).identity, 0);
	CHECK(!resolve(&b, "x", 0).enterable);
}

TEST(two_identities_at_one_depth_are_named_and_neither_gets_it)
{
	fixture_cgroups();
	fixture_make("system.slice/foo.service");
	BENCH(b, "{unit: foo.service}", "{cgroup: system.slice/foo.service}");

	CHECK_STR(said(&b, "system.slice/foo.service"), "");
	CHECK_INT(resolve(&b, "system.slice/foo.service", 0).what, WORKLOAD_AMBIGUOUS);
	CHECK(!resolve(&b, "system.slice/foo.service", 0).enterable);
	CHECK_CONTAINS(problems(&b),
		       "system.slice/foo.service: identities 'a' and 'b' both claim it");
}

TEST(users_of_one_cgroup_are_two_identities)
{
	fixture_cgroups();
	fixture_make("jobs");
	BENCH(b, "{cgroup: jobs, user: '" ALICE "'}", "{cgroup: jobs, user: '4712'}");

	/* And a listener's user has to be asked for (R20). */
	CHECK_STR(said(&b, "jobs"), "a:4711b:4712-?");
	CHECK_INT(resolve(&b, "jobs", ALICE_UID).identity, 0);
	CHECK_INT(resolve(&b, "jobs", BOB_UID).identity, 1);
	CHECK_INT(resolve(&b, "jobs", 0).what, WORKLOAD_NOBODY);
	CHECK(resolve(&b, "jobs", ALICE_UID).has_uid);
	CHECK(resolve(&b, "jobs", 0).ask_listener);
}

TEST(a_user_and_everybody_of_one_cgroup_are_an_ambiguity)
{
	fixture_cgroups();
	fixture_make("jobs");
	BENCH(b, "{cgroup: jobs}", "{cgroup: jobs, user: '" ALICE "'}");

	CHECK_STR(said(&b, "jobs"), "");
	CHECK_INT(resolve(&b, "jobs", BOB_UID).what, WORKLOAD_AMBIGUOUS);
}

TEST(a_user_alone_is_the_last_resort)
{
	fixture_cgroups();
	fixture_make("jobs");
	fixture_make("other");
	BENCH(b, "{user: '" ALICE "'}", "{cgroup: jobs}");

	CHECK_STR(said(&b, NULL), "a:4711");
	CHECK_STR(said(&b, "jobs"), "b");
	CHECK_STR(said(&b, "other"), "-?");
	CHECK_INT(resolve(&b, "jobs", ALICE_UID).identity, 1);
	CHECK_INT(resolve(&b, "other", ALICE_UID).identity, 0);
	CHECK_INT(resolve(&b, "other", BOB_UID).what, WORKLOAD_NOBODY);
}

TEST(a_socket_unit_is_its_service_for_listeners)
{
	fixture_cgroups();
	fixture_make("system.slice/foo.socket");
	BENCH(b, "{unit: foo.service, user: '" ALICE "'}");

	/* The manager made the listener, so neither user nor executable is the service's (R41). */
	CHECK_STR(said(&b, "system.slice/foo.socket"), "a!");
	CHECK(resolve(&b, "system.slice/foo.socket", 0).ingress_only);
}

/* R39: a process of that user may put itself there. */
TEST(below_a_delegated_cgroup_an_entry_must_name_the_user)
{
	fixture_cgroups();
	fixture_make("user.slice/job1");
	fixture_make("user.slice/job2");
	fixture_chown("user.slice", ALICE_UID);
	BENCH(b, "{cgroup: user.slice/job1}", "{cgroup: user.slice/job2, user: '" ALICE "'}");

	CHECK_STR(said(&b, "user.slice/job1"), "-");
	CHECK_STR(said(&b, "user.slice/job2"), "b:4711-?");
	CHECK_CONTAINS(problems(&b), "identity 'a' must name the user as well");
	CHECK_CONTAINS(problems(&b), "uid 4711");
}

/* --- processes ------------------------------------------------------------------------------- */

static const char *const sleeper[] = {"/bin/sleep", "1000", NULL};
static const char *const catcher[] = {"/usr/bin/tail", "-f", "/dev/null", NULL};

/* An entry for the program of `sleeper`, with these facts before it. */
static const char *sleep_entry(const char *facts)
{
	static char text[8192];
	CLEANUP(freep) char *real = realpath("/bin/sleep", NULL);

	CHECK(real != NULL);
	(void)snprintf(text, sizeof(text), "{%sexe: %s}", facts, real);
	return text;
}

TEST(an_executable_holds_only_while_all_processes_are_it)
{
	pid_t pid;

	fixture_cgroups();
	fixture_make("system.slice/foo.service");
	BENCH(b, sleep_entry("unit: foo.service, "));

	/* Without processes it is neither the identity nor nobody: the first packet is a question.
	 */
	CHECK_STR(said(&b, "system.slice/foo.service"), "");
	(void)fixture_exec("system.slice/foo.service", sleeper);
	CHECK_INT(resolve(&b, "system.slice/foo.service", 0).what, WORKLOAD_IDENTITY);
	CHECK_STR(said(&b, "system.slice/foo.service"), "a");

	pid = fixture_exec("system.slice/foo.service", catcher);
	CHECK_INT(workloads_refresh(b.w), 1);
	CHECK_STR(said(&b, "system.slice/foo.service"), "");
	CHECK_INT(resolve(&b, "system.slice/foo.service", 0).what, WORKLOAD_NOBODY);
	CHECK(!resolve(&b, "system.slice/foo.service", 0).enterable);
	CHECK_CONTAINS(problems(&b), "not all of its processes satisfy identity 'a'");

	fixture_end(pid);
	CHECK_INT(workloads_refresh(b.w), 1);
	CHECK_STR(said(&b, "system.slice/foo.service"), "a");
}

TEST(processes_below_count_as_well)
{
	fixture_cgroups();
	fixture_make("system.slice/foo.service/child");
	(void)fixture_exec("system.slice/foo.service", sleeper);
	(void)fixture_exec("system.slice/foo.service/child", catcher);
	BENCH(b, sleep_entry("unit: foo.service, "));

	CHECK_STR(said(&b, "system.slice/foo.service"), "");
}

TEST(the_last_process_takes_the_identity_with_it)
{
	pid_t pid;

	fixture_cgroups();
	fixture_make("system.slice/foo.service");
	pid = fixture_exec("system.slice/foo.service", sleeper);
	BENCH(b, sleep_entry("unit: foo.service, "));

	CHECK_STR(said(&b, "system.slice/foo.service"), "a");
	fixture_end(pid);
	for (unsigned i = 0; i < TURNS_MAX && said(&b, "system.slice/foo.service")[0] != '\0'; i++)
		CHECK(sd_event_run(b.event, TURN_US) >= 0);
	CHECK_STR(said(&b, "system.slice/foo.service"), "");
}

TEST(an_executable_alone_claims_the_cgroups_it_fills)
{
	fixture_cgroups();
	fixture_make("one");
	fixture_make("two");
	(void)fixture_exec("one", sleeper);
	(void)fixture_exec("two", catcher);
	BENCH(b, sleep_entry(""));

	CHECK_STR(said(&b, "one"), "a");
	/* New cgroups are given time to become what they will be. */
	CHECK_STR(said(&b, "two"), "");
	(void)usleep(1100000);
	CHECK_INT(workloads_refresh(b.w), 1);
	CHECK_STR(said(&b, "two"), "-");
	CHECK_STR(said(&b, "one"), "a");
}

TEST(a_copy_of_the_executable_is_not_it)
{
	char copy[4096];
	const char *const argv[] = {copy, "1000", NULL};
	CLEANUP(freep) char *bytes = NULL;
	struct err err = {0};
	size_t len = 0;

	fixture_cgroups();
	fixture_make("system.slice/foo.service");
	(void)snprintf(copy, sizeof(copy), "%s/sleep", test_dir());
	CHECK_OK(file_read(AT_FDCWD, "/bin/sleep", 1U << 24, &bytes, &len, &err), &err);
	CHECK_OK(file_write_durable(AT_FDCWD, copy, bytes, len, 0755, &err), &err);
	(void)fixture_exec("system.slice/foo.service", argv);
	BENCH(b, sleep_entry("unit: foo.service, "));
	CHECK_INT(resolve(&b, "system.slice/foo.service", 0).what, WORKLOAD_NOBODY);
}

static int become_group(void *user)
{
	gid_t gid = *(const gid_t *)user;

	return setgroups(0, NULL) == 0 && setresgid(gid, gid, gid) == 0 ? 0 : -errno;
}

TEST(a_group_is_that_of_all_processes)
{
	gid_t gid = 4700, other = 4701;
	int value = 0;

	fixture_cgroups();
	fixture_make("jobs");
	BENCH(b, "{cgroup: jobs, group: '4700'}");

	(void)fixture_process("jobs", FIXTURE_NO_UID, become_group, &gid, &value);
	CHECK_INT(value, 0);
	CHECK_INT(resolve(&b, "jobs", 0).what, WORKLOAD_IDENTITY);
	CHECK_STR(said(&b, "jobs"), "a");
	(void)fixture_process("jobs", FIXTURE_NO_UID, become_group, &other, &value);
	CHECK_INT(resolve(&b, "jobs", 0).what, WORKLOAD_NOBODY);
	CHECK_STR(said(&b, "jobs"), "");
}

/* --- change ---------------------------------------------------------------------------------- */

TEST(a_restarted_unit_is_resolved_before_its_event_is_read)
{
	struct workload_answer a;

	fixture_cgroups();
	fixture_make("system.slice/foo.service");
	BENCH(b, "{unit: foo.service}");
	settle(&b);
	CHECK_STR(said(&b, "system.slice/foo.service"), "a");

	fixture_drop("system.slice/foo.service");
	fixture_make("system.slice/foo.service");
	a = resolve(&b, "system.slice/foo.service", 0);
	CHECK_INT(a.what, WORKLOAD_IDENTITY);
	CHECK_INT(a.identity, 0);
	CHECK(a.enterable);
	CHECK(a.host_changed);
	CHECK_UINT(a.cgroup_id, fixture_id("system.slice/foo.service"));
	CHECK_UINT(a.level, fixture_level("system.slice/foo.service"));
	CHECK_STR(said(&b, "system.slice/foo.service"), "a");
	/* Known by now: the next packet of it leads to no other transaction. */
	CHECK(!resolve(&b, "system.slice/foo.service", 0).host_changed);
}

/* As status and reports read it, whenever they are asked. */
TEST(a_reader_of_the_host_takes_no_change_from_who_enforces_it)
{
	unsigned before;

	fixture_cgroups();
	fixture_make("system.slice");
	BENCH(b, "{unit: foo.service}");
	settle(&b);
	before = b.changes;
	fixture_make("system.slice/foo.service");
	CHECK(resolve(&b, "system.slice/foo.service", 0).host_changed);
	CHECK(workloads_host(b.w, SLOT_A) != NULL);
	(void)workloads_problem_count(b.w, SLOT_A);
	CHECK(resolve(&b, "system.slice/foo.service", 0).host_changed);
	settle(&b);
	CHECK_UINT(b.changes, before + 1);
	CHECK(!resolve(&b, "system.slice/foo.service", 0).host_changed);
}

TEST(events_lead_to_one_change_per_burst)
{
	unsigned before;
	char name[64];

	fixture_cgroups();
	fixture_make("system.slice");
	BENCH(b, "{unit: s7.service}");
	settle(&b);
	before = b.changes;
	for (unsigned i = 0; i < 50; i++) {
		(void)snprintf(name, sizeof(name), "system.slice/s%u.service", i);
		fixture_make(name);
	}
	settle(&b);
	CHECK_UINT(b.changes, before + 1);
	CHECK_STR(said(&b, "system.slice/s7.service"), "a");
	CHECK_STR(said(&b, "system.slice/s8.service"), "-");
	/* Nothing happened: nobody is woken up. */
	settle(&b);
	CHECK_UINT(b.changes, before + 1);
}

TEST(a_steady_stream_of_events_does_not_put_the_change_off)
{
	char name[64];

	fixture_cgroups();
	fixture_make("system.slice");
	BENCH(b, "{unit: s7.service}");
	settle(&b);
	b.changes = 0;
	for (unsigned i = 0; i < 200 && b.changes < 2; i++) {
		(void)snprintf(name, sizeof(name), "system.slice/s%u.service", i);
		fixture_make(name);
		CHECK(sd_event_run(b.event, 0) >= 0);
		(void)usleep(1000);
	}
	CHECK(b.changes >= 2);
}

TEST(a_storm_of_restarts_is_answered_one_by_one)
{
	struct timespec from, to;
	char name[64];

	fixture_cgroups();
	fixture_make("system.slice");
	BENCH(b, "{unit: s7.service}");
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (unsigned i = 0; i < RESTARTS * 2; i++) {
		(void)snprintf(name, sizeof(name), "system.slice/s%u.service", i % RESTARTS);
		if (i >= RESTARTS)
			fixture_drop(name);
		fixture_make(name);
		CHECK_INT(resolve(&b, name, 0).what,
			  i % RESTARTS == 7 ? WORKLOAD_IDENTITY : WORKLOAD_NOBODY);
	}
	settle(&b);
	clock_gettime(CLOCK_MONOTONIC, &to);
	CHECK((to.tv_sec - from.tv_sec) * 1000000000LL + (to.tv_nsec - from.tv_nsec) < RESTARTS_NS);
	CHECK_STR(said(&b, "system.slice/s7.service"), "a");
}

TEST(a_cgroup_that_is_gone_is_gone)
{
	struct workload_answer a;
	uint64_t id;

	fixture_cgroups();
	fixture_make("system.slice/foo.service");
	BENCH(b, "{unit: foo.service}");
	id = fixture_id("system.slice/foo.service");
	fixture_drop("system.slice/foo.service");
	CHECK_INT(workloads_resolve(b.w, SLOT_A, id, 0, &a), 0);
	CHECK_INT(a.what, WORKLOAD_GONE);
	CHECK_INT(workloads_resolve(b.w, SLOT_A, 0, 0, &a), 0);
	CHECK_INT(a.what, WORKLOAD_GONE);
	settle(&b);
	CHECK_UINT(workloads_take_host(b.w, SLOT_A)->workload_count, 0);
}

TEST(another_policy_is_another_host)
{
	const struct host *h;
	struct err err = {0};

	fixture_cgroups();
	fixture_make("system.slice/foo.service");
	fixture_make("x/y");
	BENCH(b, "{unit: foo.service}");
	CHECK_STR(said(&b, "system.slice/foo.service"), "a");
	CHECK_STR(said(&b, "x"), "-");

	/* The candidate's host beside the confirmed one's. */
	{
		struct policy *p =
			policy_of("trust_domain: t.example\nidentities:\n"
				  "  - {name: z, path: p/a, workload: [{cgroup: x/y}]}\n");

		CHECK_OK(workloads_set_policy(b.w, SLOT_B, p, &b.view, NULL, &err), &err);
		h = workloads_take_host(b.w, SLOT_B);
		CHECK_UINT(h->workload_count, 1);
		CHECK_UINT(h->workloads[0].cgroup_id, fixture_id("x/y"));
		CHECK_STR(said(&b, "system.slice/foo.service"), "a");
		CHECK_OK(workloads_set_policy(b.w, SLOT_B, NULL, NULL, NULL, &err), &err);
		policy_free(p);
	}
	POLICY(b, "{cgroup: x/y}", "{slice: system.slice}");
	CHECK_STR(said(&b, "x/y"), "a");
	CHECK_STR(said(&b, "x"), "");
	CHECK_STR(said(&b, "system.slice"), "b");
	CHECK_STR(said(&b, "system.slice/foo.service"), "");
}

TEST(what_is_outside_of_the_root_is_nobody)
{
	struct workloads_config config = {0};
	struct workload_answer a;
	struct bench b = {0};
	struct err err = {0};
	char root[8192];

	fixture_cgroups();
	fixture_network();
	fixture_make("mine/foo");
	fixture_make("other/deep");
	(void)snprintf(root, sizeof(root), "%s/mine", fixture_root());
	config.cgroup_root = root;
	CHECK(sd_event_new(&b.event) >= 0);
	CHECK_OK(workloads_new(&config, b.event, on_change, &b, &b.w, &err), &err);
	set_policy(&b, (const char *const[]){"{cgroup: foo}"}, 1);

	CHECK_STR(said(&b, "mine/foo"), "a");
	CHECK_STR(said(&b, "other"), "");
	a = resolve(&b, "other/deep", 0);
	CHECK_INT(a.what, WORKLOAD_NOBODY);
	CHECK(a.enterable && a.host_changed);
	CHECK_UINT(a.cgroup_id, fixture_id("other"));
	CHECK_STR(said(&b, "other"), "-");
	fixture_drop("other");
	CHECK_INT(workloads_refresh(b.w), 1);
	CHECK_UINT(workloads_take_host(b.w, SLOT_A)->nobody_count, 0);
	bench_done(&b);
}

/* --- listeners, addresses, names -------------------------------------------------------------- */

static const char *listeners(struct bench *b)
{
	static char text[512];
	const struct host *h = workloads_take_host(b->w, SLOT_A);
	size_t len = 0;

	CHECK(h != NULL);
	text[0] = '\0';
	for (size_t i = 0; i < h->listener_count; i++) {
		CHECK_INT(h->listeners[i].l4proto, IPPROTO_TCP);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s/%u ",
					b->policy->identities[h->listeners[i].identity].name,
					h->listeners[i].port);
	}
	return text;
}

TEST(listeners_of_identities_are_listed_while_they_live)
{
	fixture_cgroups();
	fixture_network();
	fixture_make("system.slice/foo.service/child");
	fixture_make("system.slice/bar.service");
	(void)fixture_listener("system.slice/foo.service/child", ALICE_UID, AF_INET, 4001);
	(void)fixture_listener("system.slice/bar.service", ALICE_UID, AF_INET, 4002);
	BENCH(b, "{unit: foo.service}");
	CHECK_STR(listeners(&b), "a/4001 ");

	(void)fixture_listener("system.slice/foo.service", ALICE_UID, AF_INET6, 4003);
	CHECK_INT(workloads_refresh(b.w), 1);
	CHECK_STR(listeners(&b), "a/4001 a/4003 ");
	CHECK_INT(workloads_refresh(b.w), 0);

	/* When the cgroup empties its listeners go without waiting for the next look (R21). */
	{
		char path[4400];
		FILE *f;

		(void)snprintf(path, sizeof(path), "%s/system.slice/foo.service/cgroup.kill",
			       fixture_root());
		f = fopen(path, "we");
		CHECK(f != NULL);
		CHECK(fputs("1", f) >= 0 && fclose(f) == 0);
	}
	for (unsigned i = 0; i < TURNS_MAX && listeners(&b)[0] != '\0'; i++)
		CHECK(sd_event_run(b.event, TURN_US) >= 0);
	CHECK_STR(listeners(&b), "");
}

TEST(a_port_with_two_owners_has_none)
{
	fixture_cgroups();
	fixture_network();
	fixture_make("a");
	fixture_make("b");
	BENCH(b, "{cgroup: a, user: '" ALICE "'}", "{cgroup: b}");
	(void)fixture_listener("a", ALICE_UID, AF_INET, 4011);
	(void)fixture_listener("a", BOB_UID, AF_INET, 4012);
	CHECK_INT(workloads_refresh(b.w), 1);
	CHECK_STR(listeners(&b), "a/4011 ");
}

TEST(own_addresses_are_followed)
{
	struct ifreq request = {.ifr_name = "lo:1"};
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(0x0a636301)}};
	CLEANUP(closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const struct host *h;
	struct addr want;
	bool found = false;
	size_t before;

	fixture_cgroups();
	BENCH(b, "{cgroup: a}");
	(void)close(fd);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	before = workloads_take_host(b.w, SLOT_A)->address_count;
	CHECK(before >= 1);
	memcpy(&request.ifr_addr, &address, sizeof(address));
	CHECK_INT(ioctl(fd, SIOCSIFADDR, &request), 0);
	settle(&b);
	h = workloads_take_host(b.w, SLOT_A);
	CHECK_INT(addr_parse("10.99.99.1", &want), 0);
	for (size_t i = 0; i < h->address_count; i++)
		found = found || addr_eq(&h->addresses[i], &want);
	CHECK(found);
	CHECK(b.changes > 0);
}

TEST(units_of_essentials_are_listed)
{
	struct essential entry = {.by = {(char[]){"ssh.service"}}, .by_count = 1};
	struct essentials essentials = {.entries = &entry, .count = 1};
	const struct host *h;
	struct err err = {0};

	fixture_cgroups();
	fixture_make("system.slice/ssh.service");
	fixture_make("system.slice/ssh.socket");
	fixture_make("system.slice/other.service");
	BENCH(b, "{cgroup: a}");
	CHECK_OK(workloads_set_policy(b.w, SLOT_A, b.policy, &b.view, &essentials, &err), &err);
	h = workloads_take_host(b.w, SLOT_A);
	CHECK_UINT(h->unit_count, 2);
	for (size_t i = 0; i < 2; i++)
		CHECK_STR(h->units[i].unit, "ssh.service");
	CHECK(h->units[0].cgroup_id == fixture_id("system.slice/ssh.service") ||
	      h->units[1].cgroup_id == fixture_id("system.slice/ssh.service"));
}

TEST(cgroups_have_names_for_people)
{
	char text[WORKLOAD_PATH_MAX], want[8192];
	uint64_t id;

	fixture_cgroups();
	fixture_make("system.slice/foo.service/child");
	BENCH(b, "{cgroup: a}");
	id = fixture_id("system.slice/foo.service/child");
	CHECK_INT(workloads_cgroup_unit(b.w, id, text, sizeof(text)), 0);
	CHECK_STR(text, "foo.service");
	CHECK_INT(workloads_cgroup_path(b.w, id, text, sizeof(text)), 0);
	(void)snprintf(want, sizeof(want), "%s/system.slice/foo.service/child",
		       fixture_root() + strlen(fixture_mount()));
	CHECK_STR(text, want);
	CHECK_UINT(workloads_cgroup_id(b.w, text), id);
	(void)snprintf(want, sizeof(want), "%s/system.slice", fixture_root());
	CHECK_UINT(workloads_cgroup_id(b.w, want), fixture_id("system.slice"));
	CHECK_UINT(workloads_cgroup_id(b.w, "/no/such"), 0);
	fixture_drop("system.slice");
	CHECK_INT(workloads_cgroup_path(b.w, id, text, sizeof(text)), -ENOENT);
}
