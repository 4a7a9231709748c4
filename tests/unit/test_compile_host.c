/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From generations and a host to elements: whose, ends, essentials, answers, and large policies. */
#include "rules/compile.h"

#include "base/buf.h"
#include "base/mem.h"
#include "rules/marks.h"
#include "tests/unit/compile_fixture.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static const char text[] = TOP ID("a", "") ID("b", "")
	ID("elsewhere", "") "rules:\n" RULE("x", "a", "b", "tcp/80, udp/53", "")
		RULE("y", "b", "a", "tcp/81", "");

static void world(struct compiled *f)
{
	compiled_init(f, text);
	compiled_place(f, "prod/a", NULL);
	compiled_place(f, "prod/b", NULL);
	compiled_peer(f, "prod/b", "b-1", "10.0.0.9", NULL);
	host_done(&f->host);
}

static struct host_workload *workload(struct compiled *f, const char *name)
{
	struct host *h = &f->host;

	h->workloads = mem_realloc(h->workloads, (h->workload_count + 1) * sizeof(*h->workloads));
	CHECK(h->workloads != NULL);
	h->workloads[h->workload_count] =
		(struct host_workload){.identity = (uint32_t)policy_find_identity(f->policy, name)};
	return &h->workloads[h->workload_count++];
}

static void nobody(struct compiled *f, uint64_t cgroup, bool ask)
{
	struct host *h = &f->host;

	h->nobodies = mem_realloc(h->nobodies, (h->nobody_count + 1) * sizeof(*h->nobodies));
	CHECK(h->nobodies != NULL);
	h->nobodies[h->nobody_count++] =
		(struct host_nobody){.cgroup_id = cgroup, .level = 3, .ask_listener = ask};
}

static void listener(struct compiled *f, const char *name, uint8_t l4proto, uint16_t port)
{
	struct host *h = &f->host;

	h->listeners = mem_realloc(h->listeners, (h->listener_count + 1) * sizeof(*h->listeners));
	CHECK(h->listeners != NULL);
	h->listeners[h->listener_count++] =
		(struct host_listener){.identity = (uint32_t)policy_find_identity(f->policy, name),
				       .l4proto = l4proto,
				       .port = port};
}

static uint32_t value_of(const struct compiled *f, enum set_kind kind, uint8_t level,
			 const struct key *key)
{
	const struct set_items *s =
		ruleset_find(f->r, (struct set_ref){.kind = (uint8_t)kind, .level = level});
	const uint8_t *record = s ? set_items_find(s, key->bytes) : NULL;
	uint32_t value = 0;

	if (record)
		memcpy(&value, record + set_value_offset(kind), sizeof(value));
	return value;
}

static uint32_t who_cgroup(const struct compiled *f, uint8_t level, uint64_t cgroup)
{
	struct key k;

	key_init(&k);
	key_cgroup(&k, cgroup);
	return value_of(f, SET_WHO_CGROUP, level, &k);
}

/* --- whose ----------------------------------------------------------------------------------- */

TEST(each_kind_of_workload_has_its_own_set)
{
	CLEANUP(compiled_done) struct compiled f;
	struct host_workload *w;
	struct key k;

	world(&f);
	w = workload(&f, "a");
	w->cgroup_id = 7;
	w->level = 3;
	w = workload(&f, "a");
	w->has_uid = true;
	w->uid = 1000;
	w = workload(&f, "b");
	w->cgroup_id = 8;
	w->level = 5;
	w->has_uid = true;
	w->uid = 1001;
	nobody(&f, 9, false);
	nobody(&f, 8, true);
	compiled_run(&f);
	CHECK_UINT(who_cgroup(&f, 3, 7), compiled_mark(&f, "a"));
	CHECK_UINT(who_cgroup(&f, 3, 9), MARK_IDENTITY_UNCLAIMED);
	CHECK_UINT(who_cgroup(&f, 3, 8), MARK_IDENTITY_ASK);
	key_init(&k);
	key_u32(&k, 1000);
	CHECK_UINT(value_of(&f, SET_WHO_UID, 0, &k), compiled_mark(&f, "a"));
	key_init(&k);
	key_cgroup(&k, 8);
	key_u32(&k, 1001);
	CHECK_UINT(value_of(&f, SET_WHO_CGROUP_UID, 5, &k), compiled_mark(&f, "b"));
	CHECK_UINT(f.r->shape.levels, 1U << 2 | 1U << 4);
}

TEST(an_identity_that_is_not_placed_here_is_not_unclaimed)
{
	CLEANUP(compiled_done) struct compiled f;
	struct host_workload *w;

	world(&f);
	w = workload(&f, "elsewhere");
	w->cgroup_id = 7;
	w->level = 3;
	compiled_run(&f);
	CHECK_UINT(who_cgroup(&f, 3, 7), MARK_IDENTITY_MISPLACED);
	CHECK_UINT(compiled_count(&f, SET_ENDS), 0);
}

TEST(an_identity_comes_before_nobody)
{
	CLEANUP(compiled_done) struct compiled f;
	struct host_workload *w;

	world(&f);
	nobody(&f, 7, false);
	w = workload(&f, "b");
	w->cgroup_id = 7;
	w->level = 3;
	compiled_run(&f);
	CHECK_UINT(who_cgroup(&f, 3, 7), compiled_mark(&f, "b"));
}

TEST(two_identities_of_one_process_are_named)
{
	static const struct {
		bool uid;
		uint64_t cgroup;
		const char *error;
	} cases[] = {
		{false, 7,
		 "processes of cgroup 7 are both 'a' and 'b'; a user or a deeper cgroup would tell "
		 "them apart"},
		{true, 7,
		 "processes of cgroup 7 are both 'a' and 'b'; a user or a deeper cgroup would tell "
		 "them apart"},
		{true, 0, "uid 1000 is both 'a' and 'b'"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(compiled_done) struct compiled f;

		world(&f);
		for (int j = 0; j < 2; j++) {
			struct host_workload *w = workload(&f, j == 0 ? "b" : "a");

			w->cgroup_id = cases[i].cgroup;
			w->level = 3;
			w->has_uid = cases[i].uid;
			w->uid = 1000;
		}
		CHECK_INT(compiled_try(&f), -EEXIST);
		CHECK_STR(f.err.text, cases[i].error);
	}
}

TEST(a_cgroup_without_a_depth_is_refused)
{
	CLEANUP(compiled_done) struct compiled f;

	world(&f);
	workload(&f, "a")->cgroup_id = 7;
	CHECK_INT(compiled_try(&f), -EINVAL);
	CHECK_STR(f.err.text, "cgroup 7 has depth 0; 1 to 16 would be right");
}

/* --- ends ------------------------------------------------------------------------------------ */

TEST(a_restart_changes_ends_and_no_conduit)
{
	CLEANUP(compiled_done) struct compiled f;
	CLEANUP(ruleset_freep) struct ruleset *old = NULL;
	CLEANUP(plan_freep) struct plan *p = NULL;
	struct host_workload *w;

	world(&f);
	w = workload(&f, "a");
	w->cgroup_id = 7;
	w->level = 2;
	compiled_run(&f);
	old = TAKE_PTR(f.r);
	w->cgroup_id = 8;
	CHECK_OK(ruleset_build(f.g, NULL, &f.host, NULL, &f.shape, &f.r, &f.err), &f.err);
	CHECK_OK(plan_make(old, f.r, NULL, 0, &p, &f.err), &f.err);
	CHECK(!p->shape_changed);
	CHECK(p->op_count > 0);
	for (size_t i = 0; i < p->op_count; i++) {
		uint8_t kind = p->ops[i].ref.kind;

		CHECK(kind == SET_WHO_CGROUP || kind == SET_ENDS || kind == SET_LIVE_UDP);
		CHECK_UINT(p->ops[i].phase, kind == SET_WHO_CGROUP ? PLAN_CLASSIFY : PLAN_LAZY);
	}
}

TEST(time_wait_ends_are_listeners_of_loopback_conduits)
{
	CLEANUP(compiled_done) struct compiled f;
	struct service http = fixture_service("tcp/80");
	struct addr lo = fixture_addr("127.0.0.1");
	uint32_t number;
	struct key k;

	world(&f);
	listener(&f, "b", IPPROTO_TCP, 80);
	listener(&f, "b", IPPROTO_UDP, 53);
	listener(&f, "a", IPPROTO_TCP, 9000);
	listener(&f, "b", IPPROTO_TCP, 9000);
	listener(&f, "b", IPPROTO_TCP, 80);
	listener(&f, "elsewhere", IPPROTO_TCP, 81);
	compiled_run(&f);
	number = compiled_find(&f, false, compiled_mark(&f, "a"), &lo, &http, SLOT_A);
	key_init(&k);
	key_u32(&k, number);
	key_u8(&k, IPPROTO_TCP);
	key_port(&k, 80);
	CHECK(compiled_has(&f, SET_TW_ENDS, SLOT_A, 0, &k));
	CHECK_UINT(compiled_count(&f, SET_TW_ENDS), 1);
	/* two identities on one port cannot be told apart by it; one that is elsewhere still
	 * listens */
	CHECK_UINT(compiled_count(&f, SET_LISTENERS), 3);
}

TEST(the_mark_of_unclaimed_flows_is_live_in_every_mode)
{
	CLEANUP(compiled_done) struct compiled f;
	const struct set_items *s;
	struct key k;

	world(&f);
	nobody(&f, 9, false);
	compiled_run(&f);
	CHECK_UINT(compiled_live(&f, FIXTURE_UNCLAIMED), LIVE_ACCEPT);
	CHECK_UINT(compiled_live(&f, MARK_REFUSED), LIVE_REFUSED_REPLY);
	key_init(&k);
	key_u32(&k, FIXTURE_UNCLAIMED);
	key_cgroup(&k, 9);
	s = ruleset_find(f.r, (struct set_ref){.kind = SET_LIVE_UDP, .level = 3});
	CHECK(s && set_items_find(s, k.bytes));
	f.shape.unclaimed = UNCLAIMED_DENY;
	compiled_run(&f);
	/* Between themselves on loopback they always pass (R13); the chains see to it. */
	CHECK_UINT(compiled_live(&f, FIXTURE_UNCLAIMED), LIVE_ACCEPT);
	CHECK_UINT(compiled_live(&f, MARK_REFUSED), LIVE_REFUSED_REPLY);
}

/* Where nobody has an identity, closed ports are no question (R21). */
TEST(ports_are_asked_about_where_somebody_has_an_identity)
{
	static const char somebody[] =
		TOP ID("a", "") ID("b", "") "rules:\n" RULE("x", "a", "b", "tcp/80", "");
	CLEANUP(compiled_done) struct compiled f;

	compiled_init(&f, somebody);
	f.shape.queue = QUEUE_NATIVE;
	compiled_run(&f);
	CHECK(compiled_has_mark(&f, SET_PENDING, MARK_LISTENER_ASK));
	CHECK(!compiled_has_mark(&f, SET_PENDING, MARK_PORT_ASK));
	compiled_place(&f, "prod/a", NULL);
	compiled_run(&f);
	CHECK(compiled_has_mark(&f, SET_PENDING, MARK_PORT_ASK));
	f.shape.queue = QUEUE_NONE;
	compiled_run(&f);
	CHECK(!compiled_has_mark(&f, SET_PENDING, MARK_PORT_ASK));
}

TEST(answers_and_modes_are_known_by_identity_and_by_shut_conduit)
{
	static const char answers[] = TOP ID("a", ", deny_out: drop, mode: observe")
		ID("b", ", deny_in: reject") "rules:\n" RULE("x", "a", "b", "tcp/80",
							     ", expires: 2026-01-01T00:00:00Z")
			RULE("z", "a", "b", "tcp/82", "")
				RULE("y", "a", "b", "tcp/81", ", expires: 2027-01-01T00:00:00Z");
	CLEANUP(compiled_done) struct compiled f;

	compiled_init(&f, answers);
	compiled_place(&f, "prod/a", NULL);
	compiled_peer(&f, "prod/b", "b-1", "10.0.0.9", NULL);
	compiled_run(&f);
	CHECK(compiled_has_mark(&f, SET_OBSERVE_WHO, compiled_mark(&f, "a")));
	CHECK(compiled_has_mark(&f, SET_DENY_OUT_DROP, compiled_mark(&f, "a")));
	CHECK_UINT(f.g->conduit_count, 3);
	for (size_t i = 0; i < f.g->conduit_count; i++) {
		bool open = f.g->conduits[i].verdict == LIVE_ACCEPT;

		CHECK(compiled_has_mark(&f, SET_OBSERVE_WHO, f.g->conduits[i].number) == !open);
		CHECK(compiled_has_mark(&f, SET_DENY_OUT_DROP, f.g->conduits[i].number) == !open);
	}
	CHECK_UINT(compiled_count(&f, SET_DENY_IN_REJECT), 0);

	/* Containing an incident ends observe mode. */
	compiled_revoke(&f, REVOKED_IDENTITY, "prod/a");
	compiled_run(&f);
	CHECK_UINT(compiled_count(&f, SET_OBSERVE_WHO), 0);
}

/* --- essentials ------------------------------------------------------------------------------ */

TEST(essentials_are_cut_at_each_others_borders)
{
	CLEANUP(compiled_done) struct compiled f;
	struct service dns = fixture_service("udp/53"), ntp = fixture_service("udp/123");
	struct addr near = fixture_addr("10.0.0.53"), far = fixture_addr("8.8.8.8");
	uint32_t all, owned;
	struct key k;

	world(&f);
	compiled_essential(&f, ESSENTIAL_OUT, "0.0.0.0/0", "udp/50-60", "resolved.service");
	compiled_essential(&f, ESSENTIAL_OUT, "10.0.0.0/24", "udp/53", NULL);
	compiled_essential(&f, ESSENTIAL_IN, "10.9.0.0/24", "tcp/22", NULL);
	f.host.units = mem_calloc(1, sizeof(*f.host.units));
	f.host.units[0] = (struct host_unit){
		.unit = mem_strdup("resolved.service"), .cgroup_id = 55, .level = 3};
	f.host.unit_count = 1;
	compiled_run(&f);
	all = compiled_find_essential(&f, false, &near, &dns);
	owned = compiled_find_essential(&f, false, &far, &dns);
	CHECK(all != 0 && owned != 0 && all != owned);
	CHECK_UINT(compiled_find_essential(&f, false, &far, &ntp), 0);
	CHECK(compiled_has_mark(&f, SET_NODE_CONDUITS, all));
	CHECK(!compiled_has_mark(&f, SET_NODE_CONDUITS, owned));
	CHECK(compiled_has_mark(&f, SET_ESSENTIAL_OWNED, owned));
	CHECK(!compiled_has_mark(&f, SET_ESSENTIAL_OWNED, all));
	key_init(&k);
	key_u32(&k, owned);
	key_cgroup(&k, 55);
	CHECK(compiled_has(&f, SET_ESSENTIAL_ENDS, SLOT_A, 3, &k));
	CHECK_UINT(compiled_live(&f, owned), LIVE_ACCEPT);
	CHECK_UINT(compiled_live(&f, all), LIVE_ACCEPT);
}

TEST(essentials_of_the_kernel_have_ports_or_a_protocol)
{
	CLEANUP(compiled_done) struct compiled f;
	char comment[CONDUIT_COMMENT_MAX];
	struct key k;
	uint32_t esp;

	world(&f);
	compiled_essential(&f, ESSENTIAL_KERNEL, NULL, "udp/51820", NULL);
	f.essentials.entries[0].l4proto = IPPROTO_UDP;
	compiled_essential(&f, ESSENTIAL_KERNEL, NULL, "udp/51820", NULL);
	f.essentials.entries[1].l4proto = IPPROTO_ESP;
	compiled_run(&f);
	key_init(&k);
	key_u8(&k, IPPROTO_UDP);
	key_port(&k, 51820);
	CHECK(value_of(&f, SET_ESSENTIAL_KERNEL, 0, &k) != 0);
	key_init(&k);
	key_u8(&k, IPPROTO_ESP);
	esp = value_of(&f, SET_ESSENTIAL_PROTO, 0, &k);
	CHECK(esp != 0);
	CHECK(compiled_has_mark(&f, SET_NODE_CONDUITS, esp));
	CHECK_STR(conduit_comment(comment, f.g, generation_find(f.g, esp)),
		  "pay-1 > essential proto/50");
}

TEST(revocation_and_quarantine_never_touch_essentials)
{
	CLEANUP(compiled_done) struct compiled f;
	struct service dns = fixture_service("udp/53");
	struct addr near = fixture_addr("10.0.0.53");
	uint32_t number;
	char name[16];

	world(&f);
	compiled_essential(&f, ESSENTIAL_OUT, "10.0.0.0/24", "udp/53", NULL);
	compiled_run(&f);
	number = compiled_find_essential(&f, false, &near, &dns);
	(void)snprintf(name, sizeof(name), "%u", number);
	compiled_revoke(&f, REVOKED_CONDUIT, name);
	compiled_quarantine(&f, "prod/a", NULL);
	compiled_run(&f);
	CHECK_UINT(compiled_live(&f, number), LIVE_ACCEPT);
}

/* --- large ----------------------------------------------------------------------------------- */

#define LARGE_PEERS 100000

static double seconds(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static size_t ruleset_bytes(const struct ruleset *r)
{
	size_t bytes = 0;

	for (size_t i = 0; i < r->set_count; i++)
		bytes += r->sets[i].cap * set_stride(r->sets[i].ref.kind) /
			 (r->sets[i].users ? *r->sets[i].users : 1);
	return bytes;
}

static void fill_peers(struct compiled *f, unsigned count)
{
	struct view *v = f->view;

	v->peers = mem_calloc(count, sizeof(*v->peers));
	CHECK(v->peers != NULL);
	for (unsigned i = 0; i < count; i++) {
		struct view_peer *p = &v->peers[v->peer_count++];

		p->identity = mem_strdup("prod/b");
		p->node = mem_printf("node-%u", i);
		p->addresses = mem_calloc(1, sizeof(*p->addresses));
		p->address_count = 1;
		p->addresses[0] = (struct addr){
			.family = AF_INET,
			.bytes = {10, (uint8_t)(1 + (i >> 16)), (uint8_t)(i >> 8), (uint8_t)i}};
	}
}

/* LARGE_PEERS conduits: bytes of each. */
static size_t large(struct compiled *f, const char *policy, unsigned peers)
{
	double start, compiled, built;
	struct host_workload *w;
	size_t bytes;

	compiled_init(f, policy);
	host_done(&f->host);
	compiled_place(f, "prod/a", NULL);
	fill_peers(f, peers);
	w = workload(f, "a");
	w->cgroup_id = 7;
	w->level = 2;
	start = seconds();
	CHECK_OK(compile_generation(&f->in, f->numbers, f->identities, &f->g, &f->err), &f->err);
	compiled = seconds();
	CHECK_OK(ruleset_build(f->g, NULL, &f->host, NULL, &f->shape, &f->r, &f->err), &f->err);
	built = seconds();
	CHECK_UINT(f->g->conduit_count, LARGE_PEERS);
	CHECK_UINT(compiled_count(f, SET_LIVE), LARGE_PEERS + 2);
	CHECK(f->r->shape.live_size >= LARGE_PEERS);
	bytes = f->g->conduit_cap * sizeof(*f->g->conduits) +
		f->g->party_cap * sizeof(*f->g->parties) + f->g->link_cap * sizeof(*f->g->links) +
		ruleset_bytes(f->g->classify) + ruleset_bytes(f->r);
	printf("# %d conduits: compiled in %.0f ms, built in %.0f ms, %zu bytes each\n",
	       LARGE_PEERS, (compiled - start) * 1e3, (built - compiled) * 1e3,
	       bytes / LARGE_PEERS);
	return bytes / LARGE_PEERS;
}

TEST(a_hundred_thousand_conduits_stay_small)
{
	CLEANUP(compiled_done) struct compiled f;

	CHECK(large(&f, TOP ID("a", "") ID("b", "") "rules:\n" RULE("x", "a", "b", "tcp/80", ""),
		    LARGE_PEERS) < 110);
}

/* Half of them are nodes that ask, half the identities that go on. */
TEST(a_hundred_thousand_that_ask_stay_small)
{
	CLEANUP(compiled_done) struct compiled f;

	CHECK(large(&f,
		    TOP ID("a", "") ID("b", "") "rules:\n" RULE("x", "b", "a", "tcp/80",
								", assurance: attested"),
		    LARGE_PEERS / 2) < 110);
}
