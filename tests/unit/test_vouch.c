/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Answers to peers, from real sockets of real processes. */
#include "agent/vouch.h"

#include "agent/conntrack.h"
#include "base/mem.h"
#include "rules/marks.h"
#include "tests/unit/cgroup_fixture.h"
#include "tests/unit/test.h"
#include "tests/unit/vouch_fixture.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define USER_A 4711
#define USER_C 4712

static const char policy[] =
	"trust_domain: acme.example\n"
	"defaults: {assurance: mapped}\n"
	"identities:\n"
	"  - {name: a, path: p/a, workload: [{unit: a.service}, {unit: both.service}]}\n"
	"  - {name: b, path: p/b, workload: [{unit: b.service}]}\n"
	"  - {name: c, path: p/c, workload: [{unit: c.service}, {cgroup: /both.service}]}\n"
	"  - {name: d, path: p/d, workload: [{unit: d.service}]}\n"
	"rules:\n"
	"  - {name: a-b, from: [a], to: [b], services: [tcp/7000, udp/7000],\n"
	"     purpose: p, owner: o}\n"
	"  - {name: b-a, from: [b], to: [a], services: [tcp/7001], purpose: p, owner: o}\n"
	"  - {name: c-b, from: [c], to: [b], services: [udp/7000], purpose: p, owner: o}\n";

struct asked {
	unsigned count;
	struct peer_answer answer;
};

static void on_answer(void *user, const struct peer_answer *answer)
{
	struct asked *a = user;

	a->count++;
	a->answer = *answer;
}

struct bench {
	struct vouch_bench b;
	struct vouch *vouch;
	struct asked last;
};

static void bench_init(struct bench *t)
{
	struct err err = {{0}};

	memset(t, 0, sizeof(*t));
	vouch_bench_init(&t->b, policy);
	CHECK_OK(vouch_open(&t->b.agent, &t->vouch, &err), &err);
	fixture_make("a.service");
	fixture_make("c.service");
}

static void bench_done(struct bench *t)
{
	vouch_free(t->vouch);
	vouch_bench_done(&t->b);
}

#define BENCH(t)                                                                                   \
	CLEANUP(bench_done) struct bench t;                                                        \
	bench_init(&t)

static struct peer_query query(uint8_t l4proto, const char *src, uint16_t sport, const char *dst,
			       uint16_t dport)
{
	struct peer_query q = {
		.l4proto = l4proto, .sport = sport, .dport = dport, .budget_ms = 500};

	CHECK_INT(addr_parse(src, &q.src), 0);
	CHECK_INT(addr_parse(dst, &q.dst), 0);
	return q;
}

/* "ok spiffe://... tuple syn_sent ..." */
static const char *answer_text(struct bench *t, const char *node, const struct peer_query *q)
{
	static const char *const bits[] = {"tuple",     "syn_sent", "isn",
					   "conntrack", "netns",    "holder"};
	static char text[PEER_SPIFFE_MAX + 128];
	size_t len;

	t->last = (struct asked){0};
	vouch_answer(t->vouch, node, q, on_answer, &t->last);
	CHECK_UINT(t->last.count, 1);
	(void)snprintf(text, sizeof(text), "%s %s", peer_status_name(t->last.answer.status),
		       t->last.answer.spiffe_id);
	for (size_t i = 0; i < ARRAY_LEN(bits); i++) {
		len = strlen(text);
		if ((t->last.answer.match & 1U << i) != 0)
			(void)snprintf(text + len, sizeof(text) - len, " %s", bits[i]);
	}
	return text;
}

static uint16_t knock(const char *cgroup, const char *to, uint16_t port)
{
	const struct client c = {.family = AF_INET, .type = SOCK_STREAM, .to = to, .to_port = port};

	return client_start(cgroup, USER_A, &c, NULL);
}

#define VOUCHED_A "ok spiffe://acme.example/p/a tuple syn_sent conntrack netns"

TEST(a_connection_being_opened_is_vouched_for)
{
	BENCH(t);
	struct peer_query q = query(IPPROTO_TCP, HERE_TEXT, 0, SILENT_TEXT, FAR_PORT);

	q.sport = knock("a.service", SILENT_TEXT, FAR_PORT);
	CHECK_STR(answer_text(&t, "b-1", &q), VOUCHED_A);
	CHECK_UINT(t.last.answer.view_sequence, 41);
	CHECK_STR(t.last.answer.unit, "a.service");
	CHECK_STR(vouch_last_refusal(t.vouch), "");
	/* More is told only to who asks for evidence. */
	CHECK_UINT(t.last.answer.uid, UINT32_MAX);
	CHECK_UINT(t.last.answer.cgroup_id, 0);
	CHECK_UINT(t.last.answer.cookie, 0);
	CHECK(!t.last.answer.has_sha256);
}

TEST(an_ipv6_socket_that_speaks_ipv4_is_vouched_for)
{
	BENCH(t);
	const struct client c = {
		.family = AF_INET6, .type = SOCK_STREAM, .to = SILENT_TEXT, .to_port = FAR_PORT};
	struct peer_query q = query(IPPROTO_TCP, HERE_TEXT, 0, SILENT_TEXT, FAR_PORT);

	q.sport = client_start("a.service", USER_A, &c, NULL);
	CHECK_STR(answer_text(&t, "b-1", &q), VOUCHED_A);
}

TEST(a_socket_that_is_bound_to_a_device_is_vouched_for)
{
	BENCH(t);
	const struct client tcp = {.family = AF_INET,
				   .type = SOCK_STREAM,
				   .device = "v0",
				   .to = SILENT_TEXT,
				   .to_port = FAR_PORT};
	const struct client udp = {.family = AF_INET,
				   .type = SOCK_DGRAM,
				   .device = "v0",
				   .to = FAR_TEXT,
				   .to_port = FAR_PORT};
	struct peer_query q = query(IPPROTO_TCP, HERE_TEXT, 0, SILENT_TEXT, FAR_PORT);

	q.sport = client_start("a.service", FIXTURE_NO_UID, &tcp, NULL);
	CHECK_STR(answer_text(&t, "b-1", &q), VOUCHED_A);
	q = query(IPPROTO_UDP, HERE_TEXT, 0, FAR_TEXT, FAR_PORT);
	q.sport = client_start("a.service", FIXTURE_NO_UID, &udp, NULL);
	CHECK_STR(answer_text(&t, "b-1", &q), "ok spiffe://acme.example/p/a tuple conntrack netns");
}

TEST(another_node_learns_nothing_about_traffic_that_is_not_its_own)
{
	BENCH(t);
	struct peer_query q = query(IPPROTO_TCP, HERE_TEXT, 0, SILENT_TEXT, FAR_PORT);

	q.sport = knock("a.service", SILENT_TEXT, FAR_PORT);
	/* The same words as for a tuple that nobody has, and for a node that does not exist. */
	CHECK_STR(answer_text(&t, "c-1", &q), "no_socket ");
	CHECK_CONTAINS(vouch_last_refusal(t.vouch), "no address of node 'c-1'");
	CHECK_STR(t.last.answer.unit, "");
	CHECK_STR(answer_text(&t, "nobody", &q), "no_socket ");
	CHECK_STR(answer_text(&t, "a-1", &q), "no_socket ");
	q.sport++;
	CHECK_STR(answer_text(&t, "c-1", &q), "no_socket ");
	CHECK_STR(answer_text(&t, "b-1", &q), "no_socket ");
}

TEST(a_node_that_leaves_the_view_is_answered_no_more)
{
	BENCH(t);
	struct peer_query q = query(IPPROTO_TCP, HERE_TEXT, 0, SILENT_TEXT, FAR_PORT);

	q.sport = knock("a.service", SILENT_TEXT, FAR_PORT);
	CHECK_STR(answer_text(&t, "b-1", &q), VOUCHED_A);
	/* As a revocation does it: in place, under the same number. */
	t.b.view.nodes[0] = t.b.view.nodes[1];
	t.b.view.node_count = 1;
	CHECK_STR(answer_text(&t, "b-1", &q), "no_socket ");
}

TEST(addresses_beyond_the_bounds_of_policy_are_nobodys)
{
	BENCH(t);
	struct peer_query q = query(IPPROTO_TCP, HERE_TEXT, 0, SILENT_TEXT, FAR_PORT);
	char bounded[2048];

	q.sport = knock("a.service", SILENT_TEXT, FAR_PORT);
	(void)snprintf(bounded, sizeof(bounded),
		       "%snodes:\n  - {pattern: \"a-*\", addresses: [10.9.0.0/30]}\n"
		       "  - {pattern: \"b-*\", addresses: [10.9.0.9]}\n",
		       policy);
	vouch_bench_policy(&t.b, bounded);
	CHECK_STR(answer_text(&t, "b-1", &q), "no_socket ");
	vouch_bench_policy(&t.b, policy);
	CHECK_STR(answer_text(&t, "b-1", &q), VOUCHED_A);
}

TEST(an_address_that_is_not_here_is_not_vouched_for)
{
	BENCH(t);
	struct peer_query q = query(IPPROTO_TCP, "10.9.0.3", 40000, SILENT_TEXT, FAR_PORT);

	CHECK_STR(answer_text(&t, "b-1", &q), "not_my_address ");
	q = query(IPPROTO_TCP, "127.0.0.1", 40000, SILENT_TEXT, FAR_PORT);
	CHECK_STR(answer_text(&t, "b-1", &q), "not_my_address ");
}

TEST(a_process_without_an_identity_has_no_name)
{
	BENCH(t);
	struct peer_query q = query(IPPROTO_TCP, HERE_TEXT, 0, SILENT_TEXT, FAR_PORT);

	fixture_make("other.service");
	q.sport = knock("other.service", SILENT_TEXT, FAR_PORT);
	CHECK_STR(answer_text(&t, "b-1", &q), "no_identity ");
	fixture_make("d.service");
	q.sport = knock("d.service", SILENT_TEXT, FAR_PORT);
	CHECK_STR(answer_text(&t, "b-1", &q), "no_identity ");
	CHECK_CONTAINS(vouch_last_refusal(t.vouch), "p/d is not placed");
	/* Whose cgroup two identities claim is nobody's. */
	fixture_make("both.service");
	q.sport = knock("both.service", SILENT_TEXT, FAR_PORT);
	CHECK_STR(answer_text(&t, "b-1", &q), "ambiguous ");
	CHECK_STR(t.last.answer.unit, "");
}

TEST(own_policy_closes_before_the_other_side_opens)
{
	BENCH(t);
	struct peer_query q = query(IPPROTO_TCP, HERE_TEXT, 0, SILENT_TEXT, 7002);

	q.sport = knock("a.service", SILENT_TEXT, 7002);
	CHECK_STR(answer_text(&t, "b-1", &q),
		  "egress_denied spiffe://acme.example/p/a tuple syn_sent conntrack netns");
	CHECK_CONTAINS(vouch_last_refusal(t.vouch), "tcp/7002");
	/* A node that only observes leaves it to the called one. */
	t.b.agent.mode = MODE_OBSERVE;
	CHECK_STR(answer_text(&t, "b-1", &q), VOUCHED_A);
	t.b.agent.mode = MODE_SELECTIVE;
	CHECK_CONTAINS(answer_text(&t, "b-1", &q), "egress_denied");
}

TEST(a_quarantined_identity_is_closed_even_where_it_is_only_observed)
{
	static const char observed[] =
		"trust_domain: acme.example\n"
		"defaults: {assurance: mapped}\n"
		"identities:\n"
		"  - {name: a, path: p/a, workload: [{unit: a.service}], mode: observe}\n"
		"  - {name: b, path: p/b, workload: [{unit: b.service}]}\n"
		"rules:\n"
		"  - {name: a-b, from: [a], to: [b], services: [tcp/7000], purpose: p, owner: o}\n";
	static char path[] = "p/a";
	struct overlay_quarantine quarantine = {.identity = path};
	BENCH(t);
	struct peer_query q = query(IPPROTO_TCP, HERE_TEXT, 0, SILENT_TEXT, 7002);

	vouch_bench_policy(&t.b, observed);
	q.sport = knock("a.service", SILENT_TEXT, 7002);
	CHECK_STR(answer_text(&t, "b-1", &q), VOUCHED_A);
	t.b.agent.overlay.quarantined = &quarantine;
	t.b.agent.overlay.quarantined_count = 1;
	vouch_bench_compile(&t.b);
	CHECK_CONTAINS(answer_text(&t, "b-1", &q), "egress_denied");
	q.dport = FAR_PORT;
	q.sport = knock("a.service", SILENT_TEXT, FAR_PORT);
	CHECK_CONTAINS(answer_text(&t, "b-1", &q), "egress_denied");
}

TEST(a_connection_that_stands_is_vouched_for_only_as_such)
{
	BENCH(t);
	const struct client c = {.family = AF_INET,
				 .type = SOCK_STREAM,
				 .to = FAR_TEXT,
				 .to_port = FAR_PORT,
				 .wait = true};
	struct peer_query q = query(IPPROTO_TCP, HERE_TEXT, 0, FAR_TEXT, FAR_PORT);

	q.sport = client_start("a.service", USER_A, &c, NULL);
	CHECK_STR(answer_text(&t, "b-1", &q), "wrong_state ");
	q.flags = PEER_ESTABLISHED;
	CHECK_STR(answer_text(&t, "b-1", &q), "ok spiffe://acme.example/p/a tuple conntrack netns");
	/* What is only being opened is told apart by its bit. */
	q = query(IPPROTO_TCP, HERE_TEXT, 0, SILENT_TEXT, FAR_PORT);
	q.flags = PEER_ESTABLISHED;
	q.sport = knock("a.service", SILENT_TEXT, FAR_PORT);
	CHECK_STR(answer_text(&t, "b-1", &q), VOUCHED_A);
	/* Connection tracking may be younger than the connection. */
	q = query(IPPROTO_TCP, HERE_TEXT, 0, FAR_TEXT, FAR_PORT);
	q.sport = client_start("a.service", USER_A, &c, NULL);
	run_tool((const char *const[]){"conntrack", "-F", NULL});
	q.flags = PEER_ESTABLISHED;
	CHECK_STR(answer_text(&t, "b-1", &q), "ok spiffe://acme.example/p/a tuple netns");
	q.flags = 0;
	CHECK_STR(answer_text(&t, "b-1", &q), "no_socket ");
}

TEST(a_listener_is_no_caller)
{
	BENCH(t);
	uint16_t port = fixture_listener("a.service", USER_A, AF_INET, 0);
	struct peer_query q = query(IPPROTO_TCP, HERE_TEXT, port, SILENT_TEXT, FAR_PORT);

	CHECK_STR(answer_text(&t, "b-1", &q), "no_socket ");
	q.flags = PEER_ESTABLISHED;
	CHECK_STR(answer_text(&t, "b-1", &q), "no_socket ");
}

TEST(a_socket_whose_packets_never_left_is_not_vouched_for)
{
	BENCH(t);
	struct peer_query q = query(IPPROTO_TCP, HERE_TEXT, 0, SILENT_TEXT, FAR_PORT);

	run_nft("add table inet stop\n"
		"add chain inet stop out { type filter hook output priority 10; }\n"
		"add rule inet stop out tcp dport 7000 drop\n");
	q.sport = knock("a.service", SILENT_TEXT, FAR_PORT);
	CHECK_STR(answer_text(&t, "b-1", &q), "no_socket ");
	CHECK_CONTAINS(vouch_last_refusal(t.vouch), "no packet of this flow");
	run_nft("delete table inet stop\n");
}

TEST(masquerading_and_redirection_here_are_undone)
{
	BENCH(t);
	struct peer_query q = query(IPPROTO_TCP, HERE_2_TEXT, 50000, SILENT_TEXT, FAR_PORT);

	/* A service address here stands for the far one, and the source leaves as another. */
	run_nft("add table ip n\n"
		"add chain ip n out { type nat hook output priority -100; }\n"
		"add rule ip n out ip daddr 10.96.0.1 tcp dport 443 dnat to 10.9.0.8:7000\n"
		"add chain ip n post { type nat hook postrouting priority 100; }\n"
		"add rule ip n post ip daddr 10.9.0.8 tcp dport 7000 snat to 10.9.0.2:50000\n");
	run_tool(
		(const char *const[]){"ip", "route", "replace", "10.96.0.0/16", "dev", "v0", NULL});
	(void)knock("a.service", "10.96.0.1", 443);
	CHECK_STR(answer_text(&t, "b-1", &q), VOUCHED_A);
	run_nft("delete table ip n\n");
}

/*
 * c's connection leaves under the ports of a socket of a's whose own SYN was dropped here: the
 * answer must be about who sent what the other side saw.
 */
TEST(a_masqueraded_connection_is_not_taken_for_the_socket_with_its_tuple)
{
	BENCH(t);
	const struct client of_a = {.family = AF_INET,
				    .type = SOCK_STREAM,
				    .from = HERE_2_TEXT,
				    .from_port = 50001,
				    .to = SILENT_TEXT,
				    .to_port = FAR_PORT};
	struct peer_query q = query(IPPROTO_TCP, HERE_2_TEXT, 50001, SILENT_TEXT, FAR_PORT);

	run_nft("add table ip n\n"
		"add chain ip n out { type filter hook output priority 10; }\n"
		"add rule ip n out ip saddr 10.9.0.2 tcp sport 50001 drop\n"
		"add chain ip n post { type nat hook postrouting priority 100; }\n"
		"add rule ip n post ip saddr 10.9.0.1 tcp dport 7000 snat to 10.9.0.2:50001\n");
	(void)client_start("a.service", USER_A, &of_a, NULL);
	CHECK_STR(answer_text(&t, "b-1", &q), "no_socket ");
	(void)knock("c.service", SILENT_TEXT, FAR_PORT);
	CHECK_STR(answer_text(&t, "b-1", &q),
		  "egress_denied spiffe://acme.example/p/c tuple syn_sent conntrack netns");
	run_nft("delete table ip n\n");
}

TEST(a_front_end_address_counts_when_it_is_the_asking_nodes)
{
	BENCH(t);
	/* The called node translated its front-end address to one that we have never seen. */
	struct peer_query q = query(IPPROTO_TCP, HERE_TEXT, 0, FAR_TEXT, FAR_PORT);

	q.sport = knock("a.service", SILENT_TEXT, FAR_PORT);
	CHECK_INT(addr_parse("10.9.0.7", &q.alt_dst[0]), 0);
	CHECK_INT(addr_parse(SILENT_TEXT, &q.alt_dst[1]), 0);
	q.alt_dst_count = 2;
	CHECK_STR(answer_text(&t, "b-1", &q), "no_socket ");
	q.flags = PEER_DNAT_OK;
	CHECK_STR(answer_text(&t, "b-1", &q), VOUCHED_A);
	q.alt_dst_count = 1;
	CHECK_STR(answer_text(&t, "b-1", &q), "no_socket ");
}

TEST(datagrams_are_vouched_for_by_their_sender)
{
	BENCH(t);
	const struct client connected = {
		.family = AF_INET, .type = SOCK_DGRAM, .to = FAR_TEXT, .to_port = FAR_PORT};
	const struct client sending = {.family = AF_INET,
				       .type = SOCK_DGRAM,
				       .to = FAR_TEXT,
				       .to_port = FAR_PORT,
				       .send = true};
	const struct client silent = {
		.family = AF_INET, .type = SOCK_DGRAM, .from = HERE_TEXT, .from_port = 45000};
	struct peer_query q = query(IPPROTO_UDP, HERE_TEXT, 0, FAR_TEXT, FAR_PORT);

	q.sport = client_start("a.service", USER_A, &connected, NULL);
	CHECK_STR(answer_text(&t, "b-1", &q), "ok spiffe://acme.example/p/a tuple conntrack netns");
	q.sport = client_start("a.service", USER_A, &sending, NULL);
	CHECK_STR(answer_text(&t, "b-1", &q), "ok spiffe://acme.example/p/a tuple conntrack netns");
	/* A datagram that somebody else sent under our address. */
	q.sport = client_start("a.service", USER_A, &silent, NULL);
	CHECK_STR(answer_text(&t, "b-1", &q), "no_socket ");
}

TEST(of_two_senders_from_one_port_neither_is_vouched_for_as_the_other)
{
	BENCH(t);
	const struct client of_c = {.family = AF_INET,
				    .type = SOCK_DGRAM,
				    .from = HERE_TEXT,
				    .from_port = 45001,
				    .to = FAR_TEXT,
				    .to_port = FAR_PORT,
				    .send = true};
	struct peer_query q = query(IPPROTO_UDP, HERE_TEXT, 45001, FAR_TEXT, FAR_PORT);
	struct ct_flow flow = {.l4proto = IPPROTO_UDP, .sport = 45001, .dport = FAR_PORT};
	const struct conduit *c = NULL;
	struct err err = {{0}};

	(void)client_start("c.service", USER_C, &of_c, NULL);
	CHECK_STR(answer_text(&t, "b-1", &q), "ok spiffe://acme.example/p/c tuple conntrack netns");
	/* The kernel marked the flow as the sender's; the socket table names the other one. */
	for (size_t i = 0; i < t.b.agent.confirmed.gen->conduit_count; i++) {
		const struct generation *g = t.b.agent.confirmed.gen;
		const char *from = g->parties[g->conduits[i].from].identity;

		if (from != NULL && strcmp(from, "p/a") == 0 &&
		    (g->conduits[i].flags & CONDUIT_OUT) != 0)
			c = &g->conduits[i];
	}
	CHECK(c != NULL);
	flow.src = q.src;
	flow.dst = q.dst;
	CHECK_OK(conntrack_set_mark(t.b.agent.conntrack, &flow, c->number, &err), &err);
	CHECK_STR(answer_text(&t, "b-1", &q), "ambiguous ");
	CHECK_OK(conntrack_set_mark(t.b.agent.conntrack, &flow, MARK_UNCLAIMED_MIN, &err), &err);
	CHECK_STR(answer_text(&t, "b-1", &q), "ambiguous ");
}

TEST(where_no_mark_tells_the_sender_everybody_at_the_port_counts)
{
	BENCH(t);
	const struct client of_c = {.family = AF_INET,
				    .type = SOCK_DGRAM,
				    .from = HERE_TEXT,
				    .from_port = 45002,
				    .to = FAR_TEXT,
				    .to_port = FAR_PORT,
				    .send = true};
	const struct client silent = {
		.family = AF_INET, .type = SOCK_DGRAM, .from = HERE_TEXT, .from_port = 45002};
	const struct client elsewhere = {
		.family = AF_INET, .type = SOCK_DGRAM, .from = HERE_2_TEXT, .from_port = 45002};
	struct peer_query q = query(IPPROTO_UDP, HERE_TEXT, 45002, FAR_TEXT, FAR_PORT);

	(void)client_start("c.service", USER_C, &of_c, NULL);
	CHECK_CONTAINS(answer_text(&t, "b-1", &q), "ok spiffe://acme.example/p/c");
	/* Of the same identity: no rivals. */
	fixture_make("c.service/worker");
	(void)client_start("c.service/worker", USER_A, &elsewhere, NULL);
	(void)client_start("c.service/worker", USER_A, &silent, NULL);
	CHECK_CONTAINS(answer_text(&t, "b-1", &q), "ok spiffe://acme.example/p/c");
	/* Whichever of the two the socket table would name. */
	fixture_make("other.service");
	(void)client_start("other.service", USER_A, &silent, NULL);
	CHECK_STR(answer_text(&t, "b-1", &q), "no_identity ");
	(void)client_start("c.service", USER_C, &silent, NULL);
	CHECK_STR(answer_text(&t, "b-1", &q), "ambiguous ");
	CHECK_CONTAINS(vouch_last_refusal(t.vouch), "another process");
}

/* Neither the address nor the peer that a socket is bound to binds what it sends. */
TEST(a_datagram_with_a_neighbours_address_is_not_vouched_for_as_the_neighbours)
{
	BENCH(t);
	const struct client owner = {
		.family = AF_INET, .type = SOCK_DGRAM, .from = HERE_TEXT, .from_port = 45003};
	const struct client thief = {.family = AF_INET,
				     .type = SOCK_DGRAM,
				     .from = HERE_2_TEXT,
				     .from_port = 45003,
				     .to = FAR_TEXT,
				     .to_port = FAR_PORT,
				     .send = true,
				     .source = HERE_TEXT};
	struct peer_query q = query(IPPROTO_UDP, HERE_TEXT, 45003, FAR_TEXT, FAR_PORT);

	(void)client_start("a.service", USER_A, &owner, NULL);
	fixture_make("other.service");
	(void)client_start("other.service", USER_C, &thief, NULL);
	CHECK_STR(answer_text(&t, "b-1", &q), "ambiguous ");
}

/* Its sender may have closed its socket before anybody asks. */
TEST(a_flow_without_the_mark_that_its_owner_would_have_is_anothers)
{
	BENCH(t);
	const struct client of_c = {.family = AF_INET,
				    .type = SOCK_DGRAM,
				    .from = HERE_TEXT,
				    .from_port = 45004,
				    .to = FAR_TEXT,
				    .to_port = FAR_PORT,
				    .send = true};
	struct peer_query q = query(IPPROTO_UDP, HERE_TEXT, 45004, FAR_TEXT, FAR_PORT);
	struct ct_flow flow = {.l4proto = IPPROTO_UDP,
			       .sport = 45004,
			       .dport = FAR_PORT,
			       .src = q.src,
			       .dst = q.dst};
	const struct generation *g = t.b.agent.confirmed.gen;
	struct err err = {{0}};

	(void)client_start("c.service", USER_C, &of_c, NULL);
	/* No table judges: nobody has a mark. */
	CHECK_CONTAINS(answer_text(&t, "b-1", &q), "ok spiffe://acme.example/p/c");
	t.b.agent.enforcing = true;
	CHECK_STR(answer_text(&t, "b-1", &q), "ambiguous ");
	CHECK_CONTAINS(vouch_last_refusal(t.vouch), "began this flow");
	for (size_t i = 0; i < g->conduit_count; i++) {
		const char *from = g->parties[g->conduits[i].from].identity;

		if (from != NULL && strcmp(from, "p/c") == 0 &&
		    (g->conduits[i].flags & CONDUIT_OUT) != 0)
			CHECK_OK(conntrack_set_mark(t.b.agent.conntrack, &flow,
						    g->conduits[i].number, &err),
				 &err);
	}
	CHECK_CONTAINS(answer_text(&t, "b-1", &q), "ok spiffe://acme.example/p/c");
	t.b.agent.enforcing = false;
}

TEST(who_listens_is_told_before_the_first_byte)
{
	BENCH(t);
	uint16_t port = fixture_listener("a.service", USER_A, AF_INET6, 7001);
	struct peer_query q = query(IPPROTO_TCP, FAR_TEXT, 33333, HERE_TEXT, port);

	q.flags = PEER_LISTENER;
	CHECK_STR(answer_text(&t, "b-1", &q), "ok spiffe://acme.example/p/a tuple netns");
	/* Only to whom it may be of use. */
	CHECK_STR(answer_text(&t, "c-1", &q), "no_socket ");
	q.dport = 7009;
	CHECK_STR(answer_text(&t, "b-1", &q), "no_socket ");
	/* A port that nobody over there may call, whoever listens: the same as if nobody did. */
	(void)fixture_listener("a.service", USER_A, AF_INET, 7009);
	CHECK_STR(answer_text(&t, "b-1", &q), "no_socket ");
	q.flags = PEER_LISTENER | PEER_ESTABLISHED;
	CHECK_STR(answer_text(&t, "b-1", &q), "no_socket ");
	fixture_make("nobody.service");
	(void)fixture_listener("nobody.service", USER_A, AF_INET, 7010);
	q.flags = PEER_LISTENER;
	q.dport = 7010;
	CHECK_STR(answer_text(&t, "b-1", &q), "no_socket ");
	/* Also where this host would let anybody do anything. */
	t.b.agent.mode = MODE_OBSERVE;
	q.dport = 7009;
	CHECK_STR(answer_text(&t, "b-1", &q), "no_socket ");
	t.b.agent.mode = MODE_ENFORCE;
	CHECK_INT(addr_parse("10.9.0.5", &q.dst), 0);
	CHECK_STR(answer_text(&t, "b-1", &q), "not_my_address ");
}

TEST(other_protocols_are_not_looked_for)
{
	BENCH(t);
	struct peer_query q = query(IPPROTO_SCTP, HERE_TEXT, 1, SILENT_TEXT, FAR_PORT);

	CHECK_STR(answer_text(&t, "b-1", &q), "no_socket ");
}

TEST(an_agent_that_knows_nothing_yet_is_busy)
{
	struct agent nothing = {0};
	struct asked asked = {0};
	struct vouch *v = NULL;
	struct err err = {{0}};
	struct peer_query q = query(IPPROTO_TCP, HERE_TEXT, 1, SILENT_TEXT, FAR_PORT);

	CHECK_OK(vouch_open(&nothing, &v, &err), &err);
	vouch_answer(v, "b-1", &q, on_answer, &asked);
	CHECK_UINT(asked.count, 1);
	CHECK_UINT(asked.answer.status, PEER_BUSY);
	vouch_free(v);
}

OOM_TEST(answers_without_memory_are_refused)
{
	struct agent agent = {0};
	struct vouch *v = NULL;
	struct err err = {{0}};
	int r = vouch_open(&agent, &v, &err);

	if (r >= 0)
		vouch_free(v);
	return r;
}
