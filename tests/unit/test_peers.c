/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Questions and answers between two nodes: what comes of each question, and when. */
#include "base/mem.h"
#include "base/text.h"
#include "tests/unit/peers_fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUDGET 30000 /* ms: never the reason */

static struct peer *peer_of(struct world *w)
{
	return peers_node(w->a.peers, "api-1");
}

static void answered(struct world *w)
{
	size_t before = w->replies.count;

	(void)world_ask(w, "api-1", BUDGET);
	WORLD_UNTIL(w, w->replies.count > before);
	CHECK_STR(w->replies.last.detail, "");
	CHECK_INT(w->replies.last.outcome, PEER_ANSWERED);
}

/* A question that pay-1 has put and api-1 has not answered. */
static void ask_and_wait(struct world *w)
{
	w->b.answers = ANSWER_LATER;
	(void)world_ask(w, "api-1", BUDGET);
	WORLD_UNTIL(w, w->b.held_count == 1);
}

TEST(a_question_is_answered_by_the_node_that_was_asked)
{
	struct world w;

	world_make(&w);
	CHECK(world_ask(&w, "api-1", BUDGET) != 0);
	WORLD_UNTIL(&w, w.replies.count == 1);
	CHECK_INT(w.replies.last.outcome, PEER_ANSWERED);
	CHECK_UINT(w.replies.last.uid, w.b.query.isn);
	CHECK_STR(w.replies.last.svid_name, "api-1");
	CHECK_STR(w.b.asker, "pay-1");
	CHECK_UINT(w.b.query.dport, 8443);
	CHECK_UINT(peers_counters(w.a.peers)->answered, 1);
	CHECK_UINT(peers_counters(w.b.peers)->served, 1);
	world_done(&w);
}

TEST(many_questions_use_one_stream)
{
	struct world w;

	world_make(&w);
	for (int i = 0; i < 200; i++)
		(void)world_ask(&w, "api-1", BUDGET);
	WORLD_UNTIL(&w, w.replies.count == 200);
	CHECK_UINT(w.replies.by_outcome[PEER_ANSWERED], 200);
	CHECK_UINT(w.a.peers->asking.count, 1);
	CHECK_UINT(w.b.peers->serving.count, 1);
	CHECK_UINT(w.a.peers->asking.first->in_flight, 0);
	/* Nothing of them is left. */
	CHECK_UINT(w.a.peers->heap_count, 0);
	CHECK_UINT(w.a.peers->free_count, w.a.peers->question_slots);
	world_done(&w);
}

TEST(a_warm_stream_costs_one_write_for_a_burst)
{
	struct world w;

	world_make(&w);
	answered(&w);
	for (int i = 0; i < 100; i++)
		(void)world_ask(&w, "api-1", BUDGET);
	/* Not one is on its way before the burst is over. */
	CHECK(w.a.peers->asking.first->out.len > 100UL * PEER_HEADER_LEN);
	CHECK_UINT(w.a.peers->asking.first->sent, 0);
	WORLD_UNTIL(&w, w.replies.count == 101);
	CHECK_UINT(w.replies.by_outcome[PEER_ANSWERED], 101);
	world_done(&w);
}

TEST(no_answer_within_the_budget_is_a_time_out)
{
	struct world w;

	world_make(&w);
	answered(&w);
	w.b.answers = ANSWER_LATER;
	(void)world_ask(&w, "api-1", 30);
	WORLD_UNTIL(&w, w.replies.count == 2);
	CHECK_INT(w.replies.last.outcome, PEER_TIMED_OUT);
	CHECK(w.replies.last.has_svid);
	/* The answer that comes too late is nobody's. */
	WORLD_UNTIL(&w, w.b.held_count == 1);
	w.b.held_done(w.b.held[0], &(struct peer_answer){.status = PEER_OK});
	w.b.answers = ANSWER_AT_ONCE;
	answered(&w);
	CHECK_UINT(w.replies.count, 3);
	world_done(&w);
}

TEST(an_answer_may_take_its_time_and_others_do_not_wait_for_it)
{
	struct world w;

	world_make(&w);
	ask_and_wait(&w);
	w.b.answers = ANSWER_AT_ONCE;
	answered(&w);
	CHECK_UINT(w.replies.count, 1);
	w.b.held_done(w.b.held[0], &(struct peer_answer){.status = PEER_NO_SOCKET, .uid = 77});
	WORLD_UNTIL(&w, w.replies.count == 2);
	CHECK_UINT(w.replies.last.uid, 77);
	world_done(&w);
}

TEST(a_question_that_was_cancelled_is_not_heard_of_again)
{
	struct world w;
	uint64_t ticket;

	world_make(&w);
	w.b.answers = ANSWER_LATER;
	ticket = world_ask(&w, "api-1", BUDGET);
	WORLD_UNTIL(&w, w.b.held_count == 1);
	peers_cancel(w.a.peers, ticket);
	peers_cancel(w.a.peers, ticket);
	w.b.held_done(w.b.held[0], &(struct peer_answer){.status = PEER_OK});
	w.b.answers = ANSWER_AT_ONCE;
	answered(&w);
	CHECK_UINT(w.replies.count, 1);
	CHECK_UINT(w.a.peers->asking.first->in_flight, 0);
	world_done(&w);
}

TEST(a_question_that_waits_for_a_connection_can_be_cancelled)
{
	struct world w;

	world_make(&w);
	peers_cancel(w.a.peers, world_ask(&w, "api-1", BUDGET));
	answered(&w);
	CHECK_UINT(w.replies.count, 1);
	CHECK_UINT(w.b.asked, 1);
	world_done(&w);
}

TEST(a_node_that_is_not_there_is_unreachable)
{
	struct world w;

	world_make(&w);
	peers_free(w.b.peers);
	w.b.peers = NULL;
	(void)world_ask(&w, "api-1", BUDGET);
	WORLD_UNTIL(&w, w.replies.count == 1);
	CHECK_INT(w.replies.last.outcome, PEER_UNREACHABLE);
	CHECK_CONTAINS(w.replies.last.detail, "refused");
	CHECK(!w.replies.last.has_svid);
	world_done(&w);
}

TEST(a_node_without_an_endpoint_has_no_agent)
{
	struct world w;

	world_make(&w);
	end_sees(&w.a, "old-1", 0);
	peers_view_changed(w.a.peers);
	CHECK_UINT(world_ask(&w, "old-1", BUDGET), 0);
	CHECK_INT(w.replies.last.outcome, PEER_NO_AGENT);
	/* Nor has one that the view does not know, and it takes nobody's place in the table. */
	CHECK_UINT(world_ask(&w, "nobody-1", BUDGET), 0);
	CHECK_INT(w.replies.last.outcome, PEER_NO_AGENT);
	CHECK(map_get_str(w.a.peers->nodes, "nobody-1") == NULL);
	CHECK(map_get_str(w.a.peers->nodes, "old-1") != NULL);
	world_done(&w);
}

TEST(a_node_without_a_certificate_asks_nobody)
{
	struct world w;

	world_prepare(&w);
	CHECK_INT(unlink(w.a.cert_path), 0);
	end_sees(&w.a, "api-1", 1);
	world_open(&w, &w.a);
	CHECK_UINT(w.a.peers->listener_count, 0);
	(void)world_ask(&w, "api-1", BUDGET);
	CHECK_INT(w.replies.last.outcome, PEER_NO_SVID);
	CHECK_CONTAINS(w.replies.last.detail, "no valid certificate");
	/* It gets one, and listens. */
	end_certify(&w.a, "URI:spiffe://acme.example/bailiwick/node/pay-1", -300, 3600);
	end_look(&w.a);
	peers_tick(w.a.peers);
	CHECK_UINT(w.a.peers->listener_count, 1);
	world_done(&w);
}

TEST(a_node_whose_certificate_has_expired_asks_nobody)
{
	struct world w;

	world_prepare(&w);
	end_certify(&w.a, "URI:spiffe://acme.example/bailiwick/node/pay-1", -7200, -3600);
	end_sees(&w.a, "api-1", 1);
	world_open(&w, &w.a);
	(void)world_ask(&w, "api-1", BUDGET);
	CHECK_INT(w.replies.last.outcome, PEER_NO_SVID);
	world_done(&w);
}

TEST(the_breaker_opens_after_three_failures_and_one_attempt_probes)
{
	struct world w;
	uint16_t port;

	world_make(&w);
	port = w.b.port;
	w.a.peers->limits.break_ms = w.a.peers->limits.break_window_ms = 600000;
	peers_free(w.b.peers);
	w.b.peers = NULL;
	for (size_t i = 1; i <= PEERS_BREAK_FAILURES; i++) {
		(void)world_ask(&w, "api-1", BUDGET);
		WORLD_UNTIL(&w, w.replies.count == i);
	}
	CHECK(ask_broken(peer_of(&w), mono_now()));
	/* At once, and nothing is tried. */
	CHECK_UINT(world_ask(&w, "api-1", BUDGET), 0);
	CHECK_INT(w.replies.last.outcome, PEER_UNREACHABLE);
	CHECK_UINT(w.a.peers->asking.count, 0);
	/* Half open: one failure is enough to open it again. */
	peer_of(&w)->broken_until = mono_now();
	memset(peer_of(&w)->failed, 0, sizeof(peer_of(&w)->failed));
	(void)world_ask(&w, "api-1", BUDGET);
	WORLD_UNTIL(&w, w.replies.count == 5);
	CHECK(ask_broken(peer_of(&w), mono_now()));
	/* And one success closes it. */
	w.b.agent.config.attest_port = port;
	world_open(&w, &w.b);
	peer_of(&w)->broken_until = mono_now();
	answered(&w);
	CHECK_INT(peer_of(&w)->broken_until.ns, 0);
	world_done(&w);
}

TEST(failures_that_lie_far_apart_do_not_open_the_breaker)
{
	struct world w;

	world_make(&w);
	peers_free(w.b.peers);
	w.b.peers = NULL;
	for (size_t i = 1; i <= 2UL * PEERS_BREAK_FAILURES; i++) {
		(void)world_ask(&w, "api-1", BUDGET);
		WORLD_UNTIL(&w, w.replies.count == i);
		for (size_t k = 0; k < PEERS_BREAK_FAILURES; k++)
			peer_of(&w)->failed[k].ns -= PEERS_BREAK_WINDOW_S * 1000000000LL;
	}
	CHECK(!ask_broken(peer_of(&w), mono_now()));
	world_done(&w);
}

TEST(an_agent_that_hangs_counts_as_not_there)
{
	struct world w;

	world_make(&w);
	answered(&w);
	/* Its loop stands still: the connection stays, nothing comes. */
	CHECK(sd_event_source_set_enabled(w.b.peers->serving.first->io, SD_EVENT_OFF) >= 0);
	for (size_t i = 2; i <= 1 + PEERS_BREAK_FAILURES; i++) {
		(void)world_ask(&w, "api-1", 20);
		WORLD_UNTIL(&w, w.replies.count == i);
		CHECK_INT(w.replies.last.outcome, PEER_TIMED_OUT);
	}
	(void)world_ask(&w, "api-1", 20);
	CHECK_INT(w.replies.last.outcome, PEER_UNREACHABLE);
	CHECK_CONTAINS(w.replies.last.detail, "does not answer");
	world_done(&w);
}

TEST(slow_answers_alone_do_not_open_the_breaker)
{
	struct world w;

	world_make(&w);
	answered(&w);
	for (size_t i = 0; i < 2UL * PEERS_BREAK_FAILURES; i++) {
		size_t before = w.replies.count;

		w.b.answers = ANSWER_LATER;
		(void)world_ask(&w, "api-1", 60);
		WORLD_UNTIL(&w, w.b.held_count > i);
		w.b.answers = ANSWER_AT_ONCE;
		(void)world_ask(&w, "api-1", BUDGET);
		WORLD_UNTIL(&w, w.replies.count == before + 2);
	}
	CHECK_UINT(w.replies.by_outcome[PEER_TIMED_OUT], 2UL * PEERS_BREAK_FAILURES);
	CHECK(!ask_broken(peer_of(&w), mono_now()));
	world_done(&w);
}

TEST(more_questions_than_a_stream_takes_are_refused_at_once)
{
	struct world w;

	world_make(&w);
	answered(&w);
	w.b.answers = ANSWER_LATER;
	for (int i = 0; i < PEERS_IN_FLIGHT_MAX; i++)
		CHECK(world_ask(&w, "api-1", BUDGET) != 0);
	CHECK_UINT(world_ask(&w, "api-1", BUDGET), 0);
	CHECK_INT(w.replies.last.outcome, PEER_OVERLOADED);
	WORLD_UNTIL(&w, w.b.held_count == PEERS_IN_FLIGHT_MAX);
	w.b.held_done(w.b.held[--w.b.held_count], &(struct peer_answer){.status = PEER_OK});
	WORLD_UNTIL(&w, w.replies.by_outcome[PEER_ANSWERED] == 2);
	CHECK(world_ask(&w, "api-1", BUDGET) != 0);
	world_done(&w);
}

TEST(a_peer_that_says_busy_is_overloaded)
{
	struct world w;

	world_make(&w);
	w.b.answers = ANSWER_BUSY;
	(void)world_ask(&w, "api-1", BUDGET);
	WORLD_UNTIL(&w, w.replies.count == 1);
	CHECK_INT(w.replies.last.outcome, PEER_OVERLOADED);
	world_done(&w);
}

TEST(answers_of_one_peer_have_a_rate)
{
	struct world w;

	world_prepare(&w);
	end_sees(&w.b, "pay-1", 0);
	world_open(&w, &w.b);
	w.b.peers->limits.answers_per_s = 3;
	end_sees(&w.a, "api-1", w.b.port);
	world_open(&w, &w.a);
	for (int i = 0; i < 100; i++)
		(void)world_ask(&w, "api-1", BUDGET);
	WORLD_UNTIL(&w, w.replies.count == 100);
	CHECK(w.replies.by_outcome[PEER_ANSWERED] >= 3);
	CHECK(w.replies.by_outcome[PEER_OVERLOADED] > 50);
	CHECK_UINT(peers_counters(w.b.peers)->served_busy, w.replies.by_outcome[PEER_OVERLOADED]);
	world_done(&w);
}

TEST(a_server_that_restarts_is_asked_again)
{
	struct world w;
	uint16_t port;

	world_make(&w);
	answered(&w);
	port = w.b.port;
	ask_and_wait(&w);
	/* It ends with a question at hand, and is back before anybody looks. */
	peers_free(w.b.peers);
	CHECK_UINT(w.b.cancelled, 1);
	w.b.agent.config.attest_port = port;
	w.b.answers = ANSWER_AT_ONCE;
	world_open(&w, &w.b);
	WORLD_UNTIL(&w, w.replies.count == 2);
	CHECK_INT(w.replies.last.outcome, PEER_ANSWERED);
	world_done(&w);
}

TEST(a_question_that_breaks_twice_ends)
{
	struct world w;

	world_make(&w);
	answered(&w);
	ask_and_wait(&w);
	stream_close(w.b.peers->serving.first, NULL);
	WORLD_UNTIL(&w, w.b.held_count == 1 && w.b.asked == 3);
	CHECK_UINT(w.replies.count, 1);
	stream_close(w.b.peers->serving.first, NULL);
	WORLD_UNTIL(&w, w.replies.count == 2);
	CHECK_INT(w.replies.last.outcome, PEER_UNREACHABLE);
	world_done(&w);
}

/* Each of its streams costs two handshakes, and a HELLO is no answer. */
TEST(a_node_that_greets_and_hangs_up_counts_as_not_there)
{
	struct world w;

	world_make(&w);
	w.a.peers->limits.break_ms = w.a.peers->limits.break_window_ms = 600000;
	w.b.answers = ANSWER_LATER;
	for (size_t i = 1; i <= PEERS_BREAK_FAILURES; i++) {
		(void)world_ask(&w, "api-1", BUDGET);
		for (size_t asked = w.b.asked; w.replies.count < i;) {
			world_turn(&w);
			if (w.b.asked == asked)
				continue;
			asked = w.b.asked;
			WORLD_UNTIL(&w,
				    !w.a.peers->asking.first || w.a.peers->asking.first->greeted);
			if (w.b.peers->serving.first)
				stream_close(w.b.peers->serving.first, NULL);
		}
		CHECK_INT(w.replies.last.outcome, PEER_UNREACHABLE);
	}
	CHECK(ask_broken(peer_of(&w), mono_now()));
	world_done(&w);
}

TEST(goaway_ends_a_stream_without_loss)
{
	struct world w;
	struct stream *first;

	world_make(&w);
	answered(&w);
	first = w.a.peers->asking.first;
	ask_and_wait(&w);
	stream_drain(w.b.peers->serving.first, PEER_NOTICE_BYE, "test");
	WORLD_UNTIL(&w, first->draining);
	/* The next question takes another stream, the one at hand is answered on its own. */
	w.b.answers = ANSWER_AT_ONCE;
	answered(&w);
	CHECK_UINT(w.a.peers->asking.count, 2);
	w.b.held_done(w.b.held[0], &(struct peer_answer){.status = PEER_OK});
	WORLD_UNTIL(&w, w.replies.by_outcome[PEER_ANSWERED] == 3);
	WORLD_UNTIL(&w, w.a.peers->asking.count == 1 && w.b.peers->serving.count == 1);
	CHECK(!ask_broken(peer_of(&w), mono_now()));
	CHECK_UINT(peer_of(&w)->failed[0].ns, 0);
	world_done(&w);
}

TEST(the_end_of_an_agent_is_told)
{
	struct world w;

	world_make(&w);
	answered(&w);
	peers_free(w.b.peers);
	w.b.peers = NULL;
	WORLD_UNTIL(&w, w.a.peers->asking.count == 0);
	/* That is no failure. */
	CHECK_UINT(peer_of(&w)->failed[0].ns, 0);
	world_done(&w);
}

TEST(connecting_ahead_needs_no_question)
{
	struct world w;

	world_make(&w);
	peers_connect(w.a.peers, "api-1");
	WORLD_UNTIL(&w, w.a.peers->asking.open == 1 && w.a.peers->asking.first->greeted);
	CHECK_UINT(peers_counters(w.a.peers)->connected, 1);
	CHECK_UINT(peers_counters(w.a.peers)->known, 1);
	CHECK_UINT(w.b.asked, 0);
	world_done(&w);
}

TEST(who_was_asked_is_connected_to_after_a_restart)
{
	struct world w;

	world_make(&w);
	answered(&w);
	peers_free(w.a.peers);
	world_open(&w, &w.a);
	CHECK_UINT(w.a.peers->asking.count, 0);
	peers_tick(w.a.peers);
	WORLD_UNTIL(&w, w.a.peers->asking.open == 1);
	world_done(&w);
}

TEST(conduits_that_ask_are_connected_to_ahead)
{
	char there[] = "api-1", here[] = "pay-1";
	struct party parties[] = {{.type = PARTY_TYPE_NODE, .name = there, .node = there},
				  {.type = PARTY_TYPE_NODE, .name = here, .node = here}};
	struct conduit conduit = {.number = 1, .from = 0, .to = 1, .verdict = LIVE_ASK};
	struct generation gen = {
		.parties = parties, .party_count = 2, .conduits = &conduit, .conduit_count = 1};
	struct world w;

	world_make(&w);
	w.a.agent.confirmed.gen = &gen;
	w.a.agent.confirmed.serial = 1;
	peers_tick(w.a.peers);
	WORLD_UNTIL(&w, w.a.peers->asking.open == 1);
	w.a.agent.confirmed.gen = NULL;
	world_done(&w);
}

TEST(a_silent_stream_is_pinged_and_then_dead)
{
	struct world w;
	struct stream *s;

	world_make(&w);
	answered(&w);
	s = w.a.peers->asking.first;
	s->heard.ns -= PEERS_PING_S * 1000000000LL;
	peers_tick(w.a.peers);
	CHECK(s->pinged.ns != 0);
	WORLD_UNTIL(&w, s->pinged.ns == 0);
	CHECK(s->rtt_us > 0);
	s->heard.ns -= PEERS_DEAD_S * 1000000000LL;
	peers_tick(w.a.peers);
	CHECK_UINT(w.a.peers->asking.count, 0);
	WORLD_UNTIL(&w, w.b.peers->serving.count == 0);
	answered(&w);
	world_done(&w);
}

TEST(an_idle_stream_is_given_up_by_who_asks)
{
	struct world w;

	world_make(&w);
	answered(&w);
	w.a.peers->asking.first->used.ns -= PEERS_IDLE_S * 1000000000LL;
	peers_tick(w.a.peers);
	CHECK_UINT(w.a.peers->asking.count, 0);
	WORLD_UNTIL(&w, w.b.peers->serving.count == 0);
	CHECK_UINT(peer_of(&w)->failed[0].ns, 0);
	world_done(&w);
}

TEST(a_node_that_left_the_view_is_not_spoken_to)
{
	struct world w;

	world_make(&w);
	answered(&w);
	ask_and_wait(&w);
	/* The one that answers no longer knows who asks. */
	w.b.view.node_count = 0;
	peers_tick(w.b.peers);
	CHECK_UINT(w.b.peers->serving.count, 0);
	CHECK_UINT(w.b.cancelled, 1);
	WORLD_UNTIL(&w, w.replies.count == 2);
	CHECK_INT(w.replies.last.outcome, PEER_UNREACHABLE);
	w.b.view.node_count = 1;
	world_done(&w);
}

TEST(a_node_that_left_the_view_is_not_asked)
{
	struct world w;

	world_make(&w);
	answered(&w);
	ask_and_wait(&w);
	w.a.view.node_count = 0;
	peers_view_changed(w.a.peers);
	WORLD_UNTIL(&w, w.replies.count == 2);
	CHECK_INT(w.replies.last.outcome, PEER_UNREACHABLE);
	(void)world_ask(&w, "api-1", BUDGET);
	CHECK_INT(w.replies.last.outcome, PEER_NO_AGENT);
	w.a.view.node_count = 1;
	world_done(&w);
}

TEST(a_node_that_moved_is_asked_at_its_new_place)
{
	struct world w;
	struct stream *first;

	world_make(&w);
	answered(&w);
	first = w.a.peers->asking.first;
	peers_free(w.b.peers);
	w.b.agent.config.attest_port = 0;
	world_open(&w, &w.b);
	end_sees(&w.a, "api-1", w.b.port);
	peers_view_changed(w.a.peers);
	CHECK(w.a.peers->asking.first != first || first->draining);
	answered(&w);
	CHECK_UINT(w.a.peers->asking.first->port, w.b.port);
	world_done(&w);
}

TEST(a_key_that_policy_does_not_pin_ends_the_stream)
{
	char other[] = "0000000000000000000000000000000000000000000000000000000000000000";
	char own[SHA256_HEX_LEN], pattern[] = "api-*";
	char *pins[] = {other};
	struct node_bound bound = {.pattern = pattern, .spki = pins, .spki_count = 1};
	struct policy policy = {.nodes = &bound, .node_count = 1};
	struct world w;

	world_make(&w);
	answered(&w);
	(void)snprintf(own, sizeof(own), "%s", w.a.peers->asking.first->svid->key_id);
	w.a.agent.confirmed.policy = &policy;
	w.a.agent.confirmed.serial = 1;
	peers_tick(w.a.peers);
	CHECK_UINT(w.a.peers->asking.count, 0);
	(void)world_ask(&w, "api-1", BUDGET);
	WORLD_UNTIL(&w, w.replies.count == 2);
	CHECK_INT(w.replies.last.outcome, PEER_UNREACHABLE);
	CHECK_CONTAINS(w.replies.last.detail, "pin");
	pins[0] = own;
	w.a.agent.confirmed.serial = 2;
	peers_tick(w.a.peers);
	answered(&w);
	w.a.agent.confirmed.policy = NULL;
	world_done(&w);
}

TEST(status_tells_of_each_stream)
{
	struct world w;
	json_t *list, *o;

	world_make(&w);
	answered(&w);
	WORLD_UNTIL(&w, w.a.peers->asking.first->greeted);
	list = peers_status(w.a.peers);
	CHECK_UINT(json_array_size(list), 1);
	o = json_array_get(list, 0);
	CHECK_STR(json_string_value(json_object_get(o, "node")), "api-1");
	CHECK_STR(json_string_value(json_object_get(o, "state")), "connected");
	CHECK_STR(json_string_value(json_object_get(o, "direction")), "out");
	CHECK_STR(json_string_value(json_object_get(o, "address")), "127.0.0.1");
	CHECK_INT(json_integer_value(json_object_get(o, "port")), w.b.port);
	CHECK_STR(json_string_value(json_object_get(o, "spiffe_id")),
		  "spiffe://acme.example/bailiwick/node/api-1");
	CHECK(json_is_integer(json_object_get(o, "rtt_us")));
	CHECK(json_is_real(json_object_get(o, "skew_s")));
	CHECK(json_is_null(json_object_get(o, "error")));
	json_decref(list);
	list = peers_status(w.b.peers);
	CHECK_STR(json_string_value(json_object_get(json_array_get(list, 0), "direction")), "in");
	json_decref(list);
	world_done(&w);
}

TEST(a_port_that_is_taken_is_told_and_tried_again)
{
	struct world w;
	uint16_t port;

	world_make(&w);
	port = w.b.port;
	peers_free(w.a.peers);
	w.a.agent.config.attest_port = port;
	world_open(&w, &w.a);
	CHECK_CONTAINS(peers_listen_error(w.a.peers), "in use");
	/* Asking goes on. */
	answered(&w);
	peers_free(w.b.peers);
	w.b.peers = NULL;
	w.a.peers->listen_again.ns = 0;
	peers_tick(w.a.peers);
	CHECK(peers_listen_error(w.a.peers) == NULL);
	world_done(&w);
}

static size_t again_count;

static void ask_more(void *user, const struct peer_reply *reply)
{
	struct world *w = user;
	struct peer_query q = world_query(BUDGET);
	uint64_t ticket;

	(void)reply;
	if (++again_count < 50)
		peers_ask(w->a.peers, "api-1", &q, ask_more, w, &ticket);
}

TEST(who_hears_of_a_failure_may_ask_again_at_once)
{
	struct peer_query q = world_query(BUDGET);
	struct world w;
	uint64_t ticket;

	world_make(&w);
	peers_free(w.b.peers);
	w.b.peers = NULL;
	again_count = 0;
	peers_ask(w.a.peers, "api-1", &q, ask_more, &w, &ticket);
	WORLD_UNTIL(&w, again_count == 50);
	world_done(&w);
}

TEST(the_end_answers_every_question)
{
	struct world w;

	world_make(&w);
	w.b.answers = ANSWER_LATER;
	for (int i = 0; i < 20; i++)
		(void)world_ask(&w, "api-1", BUDGET);
	WORLD_UNTIL(&w, w.b.held_count == 20);
	(void)world_ask(&w, "api-1", BUDGET);
	peers_free(w.a.peers);
	w.a.peers = NULL;
	CHECK_UINT(w.replies.by_outcome[PEER_UNREACHABLE], 21);
	world_done(&w);
}

TEST(streams_are_bounded_and_the_one_idle_longest_goes)
{
	struct world w;

	world_make(&w);
	w.a.peers->limits.streams_max = 1;
	answered(&w);
	end_sees(&w.a, "api-2", w.b.port);
	peers_view_changed(w.a.peers);
	(void)world_ask(&w, "api-2", BUDGET);
	/* It is api-1 that is there: refused. But the first stream had to go for the attempt. */
	WORLD_UNTIL(&w, w.replies.count == 2);
	CHECK_INT(w.replies.last.outcome, PEER_UNREACHABLE);
	CHECK_CONTAINS(w.replies.last.detail, "another node than the one asked");
	CHECK_UINT(w.a.peers->asking.count, 0);
	answered(&w);
	/* One that is in use does not go. */
	w.b.answers = ANSWER_LATER;
	(void)world_ask(&w, "api-1", BUDGET);
	(void)world_ask(&w, "api-2", BUDGET);
	CHECK_INT(w.replies.last.outcome, PEER_UNREACHABLE);
	CHECK_CONTAINS(w.replies.last.detail, "too many streams");
	world_done(&w);
}

OOM_TEST(peers_open_without_memory)
{
	struct agent a = {0};
	struct peers *p = NULL;
	int r;

	if (sd_event_new(&a.event) < 0)
		return -ENOMEM;
	r = peers_open(&a, &p, NULL);
	peers_free(p);
	sd_event_unref(a.event);
	/* The view is looked at again in a second: no reason not to start. */
	return r == 0 && mem_has_failed() ? -ENOMEM : r;
}

/* Memory fails at one place after the other; no question is lost, none is answered twice. */
TEST(a_question_ends_once_however_short_memory_is)
{
	for (size_t n = 1; n < 80; n++) {
		struct world w;
		bool failed;

		world_make(&w);
		mem_fail_after(n);
		(void)world_ask(&w, "api-1", BUDGET);
		for (int i = 0; i < 60000 && w.replies.count == 0; i++)
			world_turn(&w);
		failed = mem_has_failed();
		mem_fail_after(0);
		CHECK_UINT(w.replies.count, 1);
		answered(&w);
		CHECK_UINT(w.replies.count, 2);
		world_done(&w);
		if (!failed)
			return;
	}
	test_fail(__FILE__, __LINE__, "memory does not cease to fail");
}

TEST(the_budget_that_is_told_is_what_is_left_of_it)
{
	struct world w;

	world_make(&w);
	(void)world_ask(&w, "api-1", BUDGET);
	WORLD_UNTIL(&w, w.replies.count == 1);
	CHECK(w.b.query.budget_ms < BUDGET && w.b.query.budget_ms > 0);
	world_done(&w);
}
