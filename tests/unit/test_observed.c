/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Conversations seen: what is kept, what is folded, what survives a restart; and rules from them.
 */
#include "agent/observed.h"

#include "agent/suggest.h"
#include "base/mem.h"
#include "tests/unit/compile_fixture.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOW 1795305600

struct world {
	struct store *store;
	struct observed *o;
	struct policy *policy;
	struct view view;
	struct view_peer peers[3];
	struct addr addresses[3];
	bool vouches;
	struct err err;
};

static void open_observed(struct world *w)
{
	CHECK_OK(observed_new(w->store, NULL, "here", &w->o, &w->err), &w->err);
}

static void world_init(struct world *w)
{
	CLEANUP(freep) char *state = mem_printf("%s/state", test_dir());
	CLEANUP(freep) char *run = mem_printf("%s/run", test_dir());

	memset(w, 0, sizeof(*w));
	CHECK_OK(store_open(state, run, &w->store, &w->err), &w->err);
	open_observed(w);
}

static void world_done(struct world *w)
{
	observed_free(w->o);
	store_free(w->store);
	policy_free(w->policy);
}

/* --- records ------------------------------------------------------------------------------- */

/* A flow that this host opened and no rule permits. */
static struct record flow(const char *from, const char *to, const char *far, uint16_t sport,
			  uint16_t dport, uint8_t l4proto)
{
	struct record d = {.decision = DECISION_WOULD_DENY,
			   .reason = REASON_NO_RULE,
			   .direction = RECORD_OUT,
			   .l4proto = l4proto,
			   .count = 1};

	d.from = (struct record_end){
		.identity = from, .node = "here", .cgroup = "/x.service", .port = sport};
	d.from.has_port = d.to.has_port = true;
	d.from.address = fixture_addr("10.0.0.1");
	d.to = (struct record_end){.identity = to, .port = dport, .has_port = true};
	d.to.address = fixture_addr(far);
	record_service(d.service, l4proto, dport);
	return d;
}

/* The same from outside. */
static struct record call(const char *node, const char *far, const char *to, uint16_t dport)
{
	struct record d = flow(NULL, to, "10.0.0.1", 40000, dport, IPPROTO_TCP);

	d.direction = RECORD_IN;
	d.from = (struct record_end){.node = node, .port = 40000, .has_port = true};
	d.from.address = fixture_addr(far);
	d.to.node = "here";
	d.to.cgroup = "/y.service";
	return d;
}

static void note(struct world *w, struct record d)
{
	observed_note(w->o, &d, (struct wall){NOW});
}

static const struct observed_entry *only(const struct world *w)
{
	CHECK_UINT(observed_count(w->o), 1);
	return observed_at(w->o, 0);
}

/* --- what is kept -------------------------------------------------------------------------- */

TEST(flows_between_the_same_two_are_one_entry)
{
	CLEANUP(world_done) struct world w;

	world_init(&w);
	note(&w, flow("prod/a", "prod/b", "10.0.0.9", 40001, 443, IPPROTO_TCP));
	note(&w, flow("prod/a", "prod/b", "10.0.0.9", 40002, 443, IPPROTO_TCP));
	note(&w, flow("prod/a", "prod/b", "10.0.0.10", 40003, 443, IPPROTO_TCP));
	/* In observe mode a live flow is told of again and again. */
	note(&w, flow("prod/a", "prod/b", "10.0.0.9", 40001, 443, IPPROTO_TCP));
	CHECK_UINT(only(&w)->flows, 3);
	CHECK_UINT(only(&w)->peer_count, 2);
	CHECK_STR(only(&w)->service, "tcp/443");
	CHECK_UINT(observed_totals(w.o)->flows, 3);
}

TEST(what_a_rule_permits_or_refuses_on_purpose_is_no_entry)
{
	static const struct {
		enum decision decision;
		enum reason reason;
		uint64_t flows, permitted;
	} cases[] = {
		{DECISION_ALLOWED, REASON_PERMITTED, 1, 1},
		{DECISION_ALLOWED, REASON_ESSENTIAL, 1, 1},
		{DECISION_DENIED, REASON_NO_RULE, 0, 0},
		{DECISION_WOULD_DENY, REASON_QUARANTINED, 0, 0},
		{DECISION_WOULD_DENY, REASON_RECEIVER_CHANGED, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(world_done) struct world w;
		CLEANUP(freep) char *path = mem_printf("%s/state/observed.json", test_dir());
		CLEANUP(freep) char *copy = mem_printf("%s/run/spare/observed.json", test_dir());
		struct record d = flow("prod/a", "prod/b", "10.0.0.9", 40001, 443, IPPROTO_TCP);

		world_init(&w);
		d.decision = (uint8_t)cases[i].decision;
		d.reason = (uint8_t)cases[i].reason;
		note(&w, d);
		CHECK_UINT(observed_count(w.o), 0);
		CHECK_UINT(observed_totals(w.o)->flows, cases[i].flows);
		CHECK_UINT(observed_totals(w.o)->permitted, cases[i].permitted);
		/* The next case must not find them. */
		observed_free(TAKE_PTR(w.o));
		(void)unlink(path);
		(void)unlink(copy);
	}
}

TEST(the_answer_of_a_server_is_not_a_call_to_an_ephemeral_port)
{
	CLEANUP(world_done) struct world w;

	world_init(&w);
	note(&w, flow("prod/dns", "prod/b", "10.0.0.9", 53, 45000, IPPROTO_UDP));
	CHECK_STR(only(&w)->service, "udp/53");
	CHECK_STR(only(&w)->from.name, "prod/b");
	CHECK_STR(only(&w)->to.name, "prod/dns");
	CHECK(only(&w)->far_is_from);
}

TEST(ports_chosen_anew_each_time_are_folded)
{
	CLEANUP(world_done) struct world w;
	size_t folded = 0;

	world_init(&w);
	for (uint16_t port = 40000; port < 40100; port++)
		note(&w, flow("prod/a", "prod/b", "10.0.0.9", 1000, port, IPPROTO_TCP));
	CHECK_UINT(observed_count(w.o), 9);
	for (size_t i = 0; i < observed_count(w.o); i++)
		folded += strcmp(observed_at(w.o, i)->service, "tcp/high") == 0;
	CHECK_UINT(folded, 1);
}

TEST(many_addresses_become_networks_that_hold_them_all)
{
	CLEANUP(world_done) struct world w;
	struct addr a;
	char text[32];

	world_init(&w);
	for (unsigned i = 0; i < 4000; i++) {
		(void)snprintf(text, sizeof(text), "10.%u.%u.7", i / 256, i % 256);
		note(&w, flow("prod/a", NULL, text, (uint16_t)(30000 + i), 443, IPPROTO_TCP));
	}
	CHECK(only(&w)->peer_count <= OBSERVED_PEERS_MAX);
	for (unsigned i = 0; i < 4000; i += 37) {
		bool held = false;

		(void)snprintf(text, sizeof(text), "10.%u.%u.7", i / 256, i % 256);
		a = fixture_addr(text);
		for (size_t k = 0; k < only(&w)->peer_count; k++)
			held = held || prefix_contains(&only(&w)->peers[k], &a);
		CHECK(held);
	}
	a = fixture_addr("11.0.0.1");
	for (size_t k = 0; k < only(&w)->peer_count; k++)
		CHECK(!prefix_contains(&only(&w)->peers[k], &a));
}

TEST(rare_conversations_give_way_and_are_counted)
{
	CLEANUP(world_done) struct world w;
	char path[32];

	world_init(&w);
	for (unsigned n = 0; n < 3; n++)
		note(&w, flow("prod/often", "prod/b", "10.0.0.9", (uint16_t)(1000 + n), 443,
			      IPPROTO_TCP));
	for (unsigned i = 0; i < OBSERVED_MAX + 100; i++) {
		(void)snprintf(path, sizeof(path), "prod/n%u", i);
		note(&w, flow(path, "prod/b", "10.0.0.9", 1000, 443, IPPROTO_TCP));
	}
	CHECK_UINT(observed_count(w.o), OBSERVED_MAX);
	CHECK_UINT(observed_totals(w.o)->overflow, 101);
	CHECK_STR(observed_at(w.o, 0)->from.name, "prod/often");
}

TEST(an_end_that_nobody_knows_is_counted_and_no_entry)
{
	CLEANUP(world_done) struct world w;
	struct record d = flow(NULL, "prod/b", "10.0.0.9", 40001, 443, IPPROTO_TCP);

	world_init(&w);
	d.from.cgroup = NULL;
	note(&w, d);
	CHECK_UINT(observed_count(w.o), 0);
	CHECK_UINT(observed_totals(w.o)->unattributed, 1);
	/* A later packet of a flow that was known is the same flow. */
	note(&w, flow("prod/a", "prod/b", "10.0.0.9", 40002, 443, IPPROTO_TCP));
	d.from.port = 40002;
	note(&w, d);
	CHECK_UINT(observed_totals(w.o)->unattributed, 1);
	CHECK_UINT(observed_totals(w.o)->flows, 2);
}

TEST(a_restart_forgets_nothing)
{
	CLEANUP(world_done) struct world w;
	int64_t since;

	world_init(&w);
	since = observed_totals(w.o)->since;
	note(&w, flow("prod/a", NULL, "10.0.0.9", 40001, 443, IPPROTO_TCP));
	note(&w, call("n-1", "10.0.0.8", "prod/a", 80));
	observed_free(TAKE_PTR(w.o));
	open_observed(&w);
	CHECK_UINT(observed_count(w.o), 2);
	CHECK_STR(observed_at(w.o, 0)->from.name, "prod/a");
	CHECK_UINT(observed_at(w.o, 0)->to.kind, OBSERVED_ADDRESS);
	CHECK_UINT(observed_at(w.o, 0)->peer_count, 1);
	CHECK_INT(observed_at(w.o, 0)->first, NOW);
	CHECK_STR(observed_at(w.o, 1)->from.name, "n-1");
	CHECK(observed_at(w.o, 1)->far_is_from);
	CHECK_UINT(observed_totals(w.o)->flows, 2);
	CHECK_INT(observed_totals(w.o)->since, since);
	/* And what comes then goes into the same entries. */
	note(&w, flow("prod/a", NULL, "10.0.0.10", 40009, 443, IPPROTO_TCP));
	CHECK_UINT(observed_count(w.o), 2);
	CHECK_UINT(observed_at(w.o, 0)->flows, 2);
}

TEST(a_damaged_file_is_begun_again)
{
	CLEANUP(world_done) struct world w;

	world_init(&w);
	CHECK_OK(store_text_write(w.store, "observed.json", "{\"x\"", 4, &w.err), &w.err);
	observed_free(TAKE_PTR(w.o));
	open_observed(&w);
	CHECK_UINT(observed_count(w.o), 0);
}

/* --- proposals ----------------------------------------------------------------------------- */

static const char policy[] = TOP ID("a", "") ID("b", "") ID("c", "")
	ID("d", "") "networks:\n"
		    "  - {name: all, cidrs: [\"0.0.0.0/0\"]}\n"
		    "  - {name: dns, cidrs: [\"10.0.53.0/24\"]}\n"
		    "rules:\n" RULE("known", "a", "d", "tcp/22", "");
static const char without_networks[] = TOP ID("a", "") ID("b", "") ID("c", "") ID("d", "");

static void place_peer(struct world *w, size_t i, const char *path, const char *node,
		       const char *address)
{
	w->addresses[i] = fixture_addr(address);
	w->peers[i] = (struct view_peer){.identity = (char *)(uintptr_t)path,
					 .node = (char *)(uintptr_t)node,
					 .addresses = &w->addresses[i],
					 .address_count = 1};
	w->view.peers = w->peers;
	w->view.peer_count = i + 1;
}

static json_t *suggest(struct world *w, const char *text, int64_t since)
{
	json_t *j;

	if (!w->policy)
		w->policy = policy_sound(text);
	j = suggest_json(w->policy, &w->view, w->o, (struct wall){since}, w->vouches);
	CHECK(j != NULL);
	return j;
}

#define CHECK_LIST(j, path, text)                                                                  \
	do {                                                                                       \
		CLEANUP(freep) char *said_ = json_dumps(path, JSON_COMPACT);                       \
		CHECK_STR(said_, text);                                                            \
	} while (0)

static json_t *rule_at(json_t *j, size_t i, const char *key)
{
	return json_object_get(json_array_get(json_object_get(j, "rules"), i), key);
}

static size_t count_of(json_t *j, const char *key)
{
	return json_array_size(json_object_get(j, key));
}

TEST(two_identities_are_a_rule_with_all_their_services)
{
	CLEANUP(world_done) struct world w;
	json_t *j;

	world_init(&w);
	for (uint16_t i = 0; i < 5; i++)
		note(&w,
		     flow("prod/b", "prod/c", "10.0.0.9", (uint16_t)(100 + i), 80, IPPROTO_TCP));
	note(&w, flow("prod/a", "prod/b", "10.0.0.9", 1, 443, IPPROTO_TCP));
	note(&w, flow("prod/a", "prod/b", "10.0.0.9", 2, 8443, IPPROTO_TCP));
	/* A rule has it already. */
	note(&w, flow("prod/a", "prod/d", "10.0.0.9", 3, 22, IPPROTO_TCP));
	j = suggest(&w, policy, 0);
	CHECK_UINT(count_of(j, "rules"), 2);
	CHECK_LIST(j, rule_at(j, 0, "from"), "[\"b\"]");
	CHECK_INT(json_integer_value(rule_at(j, 0, "flows")), 5);
	CHECK_STR(json_string_value(rule_at(j, 1, "name")), "a-calls-b");
	CHECK_LIST(j, rule_at(j, 1, "services"), "[\"tcp/443\",\"tcp/8443\"]");
	CHECK_LIST(j, rule_at(j, 1, "peers"), "[\"10.0.0.9\"]");
	CHECK_STR(json_string_value(rule_at(j, 1, "first")), "2026-11-22T00:00:00Z");
	CHECK_INT(json_integer_value(json_object_get(json_object_get(j, "totals"), "permitted")),
		  1);
	json_decref(j);
	j = suggest(&w, policy, NOW + 1);
	CHECK_UINT(count_of(j, "rules"), 0);
	json_decref(j);
}

TEST(an_address_goes_to_the_narrowest_network_or_to_a_new_one)
{
	CLEANUP(world_done) struct world w;
	json_t *j;

	world_init(&w);
	note(&w, flow("prod/a", NULL, "10.0.53.9", 1, 53, IPPROTO_TCP));
	j = suggest(&w, policy, 0);
	CHECK_LIST(j, rule_at(j, 0, "to"), "[\"dns\"]");
	CHECK_UINT(count_of(j, "networks"), 0);
	json_decref(j);
	policy_free(TAKE_PTR(w.policy));
	j = suggest(&w, without_networks, 0);
	CHECK_LIST(j, rule_at(j, 0, "to"), "[\"a-tcp-53-servers\"]");
	CHECK_STR(json_string_value(rule_at(j, 0, "name")), "a-calls-tcp-53-servers");
	CHECK_LIST(j, json_object_get(j, "networks"),
		   "[{\"name\":\"a-tcp-53-servers\",\"cidrs\":[\"10.0.53.9/32\"]}]");
	json_decref(j);
}

TEST(a_caller_of_another_node_may_be_any_of_its_identities)
{
	CLEANUP(world_done) struct world w;
	json_t *j;

	world_init(&w);
	place_peer(&w, 0, "prod/b", "n-1", "10.0.0.8");
	place_peer(&w, 1, "prod/c", "n-1", "10.0.0.8");
	place_peer(&w, 2, "prod/d", "n-2", "10.0.0.7");
	note(&w, call("n-1", "10.0.0.8", "prod/a", 443));
	note(&w, call("n-2", "10.0.0.7", "prod/a", 80));
	note(&w, call("n-3", "10.0.0.6", "prod/a", 81));
	j = suggest(&w, without_networks, 0);
	CHECK_UINT(count_of(j, "rules"), 3);
	CHECK_LIST(j, rule_at(j, 0, "from"), "[\"b\",\"c\"]");
	CHECK(json_is_true(rule_at(j, 0, "doubtful")));
	CHECK_LIST(j, rule_at(j, 1, "from"), "[\"d\"]");
	CHECK(!json_is_true(rule_at(j, 1, "doubtful")));
	CHECK_LIST(j, rule_at(j, 2, "from"), "[\"a-tcp-81-callers\"]");
	CHECK_STR(json_string_value(rule_at(j, 2, "name")), "a-tcp-81-callers");
	json_decref(j);
}

TEST(what_no_rule_can_say_is_listed_apart)
{
	CLEANUP(world_done) struct world w;
	json_t *j;

	world_init(&w);
	note(&w, flow(NULL, "prod/b", "10.0.0.9", 1, 443, IPPROTO_TCP));
	note(&w, flow("prod/a", "prod/b", "10.0.0.9", 1, 0, IPPROTO_GRE));
	note(&w, flow("prod/gone", "prod/b", "10.0.0.9", 1, 443, IPPROTO_TCP));
	j = suggest(&w, policy, 0);
	CHECK_UINT(count_of(j, "rules"), 0);
	CHECK_UINT(count_of(j, "unclaimed"), 1);
	CHECK_UINT(count_of(j, "left"), 2);
	CHECK_INT(json_integer_value(json_object_get(json_object_get(j, "totals"), "left")), 3);
	json_decref(j);
}

/* Mapped must be asked for: where somebody can vouch, a proposal says attested. */
TEST(proposals_are_attested_where_somebody_could_vouch)
{
	struct view_node nodes[] = {{.node = (char *)(uintptr_t) "far", .has_attest = true}};
	CLEANUP(world_done) struct world w;
	json_t *j;

	world_init(&w);
	w.view.nodes = nodes;
	w.view.node_count = 1;
	place_peer(&w, 0, "prod/b", "far", "10.0.0.9");
	note(&w, flow("prod/a", "prod/b", "10.0.0.9", 1, 443, IPPROTO_TCP));
	j = suggest(&w, policy, 0);
	CHECK_STR(json_string_value(rule_at(j, 0, "assurance")), "mapped");
	json_decref(j);
	w.vouches = true;
	j = suggest(&w, policy, 0);
	CHECK_STR(json_string_value(rule_at(j, 0, "assurance")), "attested");
	json_decref(j);
	nodes[0].has_attest = false;
	j = suggest(&w, policy, 0);
	CHECK_STR(json_string_value(rule_at(j, 0, "assurance")), "mapped");
	json_decref(j);
	nodes[0].has_attest = true;
	note(&w, flow("prod/a", NULL, "10.0.53.7", 1, 443, IPPROTO_TCP));
	j = suggest(&w, policy, 0);
	CHECK_UINT(count_of(j, "rules"), 2);
	CHECK_STR(json_string_value(rule_at(j, 1, "assurance")), "mapped");
	json_decref(j);
	/* Not ours to free. */
	w.view.nodes = NULL;
	w.view.node_count = 0;
}

TEST(names_of_proposals_are_new)
{
	CLEANUP(world_done) struct world w;
	static const char taken[] =
		TOP ID("a", "") ID("b", "") "rules:\n" RULE("a-calls-b", "b", "a", "tcp/1", "");
	json_t *j;

	world_init(&w);
	note(&w, flow("prod/a", "prod/b", "10.0.0.9", 1, 443, IPPROTO_TCP));
	j = suggest(&w, taken, 0);
	CHECK_STR(json_string_value(rule_at(j, 0, "name")), "a-calls-b-2");
	json_decref(j);
}

/* --- want of memory ------------------------------------------------------------------------- */

/* What a proposal can hold: a rule between two, new networks, a process, what no rule can say. */
static void note_everything(struct world *w)
{
	note(w, flow("prod/a", "prod/b", "10.0.0.9", 1, 443, IPPROTO_TCP));
	note(w, flow("prod/a", "prod/b", "10.0.0.9", 2, 8443, IPPROTO_TCP));
	note(w, flow("prod/a", NULL, "192.0.2.1", 3, 443, IPPROTO_TCP));
	note(w, call("n-1", "10.0.0.8", "prod/a", 80));
	note(w, call(NULL, "192.0.2.2", "prod/a", 81));
	note(w, flow(NULL, "prod/b", "10.0.0.9", 4, 443, IPPROTO_TCP));
	note(w, flow("prod/gone", "prod/b", "10.0.0.9", 5, 443, IPPROTO_TCP));
}

/* Takes j; when watching began is another time in each run. */
static char *dumped_without_since(json_t *j)
{
	char *text;

	CHECK_INT(json_object_del(j, "since"), 0);
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	CHECK(text != NULL);
	return text;
}

/* Whole or not at all: half a network in a rule would be signed as if it were all. */
OOM_TEST(a_proposal_out_of_memory)
{
	static char *whole;
	static size_t nth;
	CLEANUP(world_done) struct world w;
	CLEANUP(freep) char *text = NULL;
	bool failed;
	json_t *j;

	mem_fail_after(0);
	world_init(&w);
	if (nth == 0)
		note_everything(&w);
	w.policy = policy_sound(without_networks);
	mem_fail_after(++nth);
	j = suggest_json(w.policy, &w.view, w.o, (struct wall){0}, false);
	failed = mem_has_failed();
	if (!failed)
		mem_fail_after(0);
	if (!whole) {
		json_t *all = suggest(&w, without_networks, 0);

		whole = dumped_without_since(all);
	}
	CHECK(j || failed);
	if (j) {
		text = dumped_without_since(TAKE_PTR(j));
		CHECK_STR(text, whole);
	}
	return failed ? -ENOMEM : 0;
}

OOM_TEST(what_was_observed_is_written_whole_or_not_at_all)
{
	static size_t nth;
	CLEANUP(world_done) struct world w;
	size_t count;
	bool failed;
	int r;

	mem_fail_after(0);
	world_init(&w);
	if (nth == 0)
		note_everything(&w);
	count = observed_count(w.o);
	mem_fail_after(++nth);
	r = observed_save(w.o, &w.err);
	failed = mem_has_failed();
	if (!failed)
		mem_fail_after(0);
	CHECK(r == 0 || (failed && r == -ENOMEM));
	observed_free(TAKE_PTR(w.o));
	open_observed(&w);
	CHECK_UINT(observed_count(w.o), count);
	CHECK_UINT(observed_at(w.o, 0)->peer_count, 1);
	return failed ? -ENOMEM : 0;
}
