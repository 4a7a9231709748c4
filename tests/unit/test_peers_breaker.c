/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How soon a node that was not reached is asked again, and what it takes to be believed. */
#include "base/mem.h"
#include "tests/unit/peers_fixture.h"

#include <errno.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUDGET   30000
#define FOR_EVER 600000

static struct peer *peer_of(struct world *w)
{
	return map_get_str(w->a.peers->nodes, "api-1");
}

static void breaks(struct world *w)
{
	w->a.peers->limits.break_ms = w->a.peers->limits.break_window_ms = FOR_EVER;
	for (size_t i = 0; i < PEERS_BREAK_FAILURES; i++) {
		size_t before = w->replies.count;

		(void)world_ask(w, "api-1", BUDGET);
		WORLD_UNTIL(w, w->replies.count > before);
		CHECK_INT(w->replies.last.outcome, PEER_UNREACHABLE);
	}
	CHECK(ask_broken(peer_of(w), mono_now()));
	/* What is due is due now. */
	peer_of(w)->reconnect_at.ns = 0;
}

static void breaks_without_agent(struct world *w)
{
	world_make(w);
	peers_free(TAKE_PTR(w->b.peers));
	breaks(w);
}

static void is_back(struct world *w)
{
	w->b.agent.config.attest_port = w->b.port;
	world_open(w, &w->b);
}

static struct cert_spec spec_of(const char *node)
{
	static char san[128];

	(void)snprintf(san, sizeof(san), "URI:spiffe://acme.example/bailiwick/node/%s", node);
	return world_spec(san);
}

struct hand {
	struct raw r;
	EVP_PKEY *key;
	X509 *cert;
};

static void hand_make(struct world *w, struct hand *h, bool server)
{
	struct cert_spec spec = spec_of("api-1");

	h->key = fixture_key();
	h->cert = world_cert(w, &spec, h->key);
	raw_make(&h->r, server, h->cert, h->key, NULL);
}

static void hand_done(struct hand *h)
{
	raw_done(&h->r);
	X509_free(h->cert);
	EVP_PKEY_free(h->key);
}

/* api-1's agent asks pay-1 something, or is about to. */
static void greets_pay(struct world *w, struct hand *h)
{
	hand_make(w, h, false);
	raw_connect(&h->r, w->a.port);
	raw_hello(&h->r, "api-1");
	RAW_UNTIL(w, &h->r, w->a.peers->serving.first && w->a.peers->serving.first->greeted);
}

TEST(an_agent_that_is_back_is_found_while_the_breaker_is_open)
{
	struct world w;

	breaks_without_agent(&w);
	is_back(&w);
	peer_of(&w)->reconnect_at = mono_now();
	peers_tick(w.a.peers);
	/* No connection waits for the attempt. */
	CHECK_UINT(world_ask(&w, "api-1", BUDGET), 0);
	CHECK_INT(w.replies.last.outcome, PEER_UNREACHABLE);
	WORLD_UNTIL(&w, !ask_broken(peer_of(&w), mono_now()));
	(void)world_ask(&w, "api-1", BUDGET);
	WORLD_UNTIL(&w, w.replies.last.outcome == PEER_ANSWERED);
	world_done(&w);
}

TEST(attempts_go_on_and_are_near_while_connections_want_them)
{
	struct world w;

	breaks_without_agent(&w);
	for (int i = 0; i < 12; i++) {
		int64_t wait;

		(void)world_ask(&w, "api-1", BUDGET);
		peer_of(&w)->reconnect_at = mono_now();
		peers_tick(w.a.peers);
		WORLD_UNTIL(&w, w.a.peers->asking.count == 0);
		CHECK(peer_of(&w)->reconnect_at.ns != 0);
		wait = mono_ms_since(mono_now(), peer_of(&w)->reconnect_at);
		CHECK(wait <= PEERS_BACKOFF_WANTED);
		CHECK(ask_broken(peer_of(&w), mono_now()));
	}
	world_done(&w);
}

TEST(an_agent_that_asks_here_is_tried_at_once)
{
	struct world w;
	struct hand h;

	breaks_without_agent(&w);
	end_sees(&w.a, "api-1", w.b.port);
	is_back(&w);
	peer_of(&w)->tried_at.ns = 0;
	greets_pay(&w, &h);
	WORLD_UNTIL(&w, !ask_broken(peer_of(&w), mono_now()));
	(void)world_ask(&w, "api-1", BUDGET);
	WORLD_UNTIL(&w, w.replies.last.outcome == PEER_ANSWERED);
	hand_done(&h);
	world_done(&w);
}

/* It may come and go as often as it likes: it is tried once in a while, and asked when it answers.
 */
TEST(an_agent_that_comes_and_goes_is_tried_once_in_a_while)
{
	struct world w;
	struct hand server;
	struct mono began;
	int tried = 0;

	world_make(&w);
	peers_free(TAKE_PTR(w.b.peers));
	hand_make(&w, &server, true);
	end_sees(&w.a, "api-1", raw_listen(&server.r));
	peers_view_changed(w.a.peers);
	close(server.r.listener);
	server.r.listener = -1;
	breaks(&w);
	peer_of(&w)->tried_at.ns = 0;
	began = mono_now();
	for (int i = 0; i < 20; i++) {
		struct mono before = peer_of(&w)->tried_at;
		struct hand h;

		greets_pay(&w, &h);
		tried += peer_of(&w)->tried_at.ns != before.ns;
		hand_done(&h);
		WORLD_UNTIL(&w, w.a.peers->serving.count == 0);
		/* Until the next tick only. */
		peer_of(&w)->reconnect_at.ns = 0;
	}
	CHECK(tried >= 1);
	CHECK(tried <= 1 + mono_ms_since(began, mono_now()) / PEERS_PROBE_APART_MS);
	CHECK(ask_broken(peer_of(&w), mono_now()));
	hand_done(&server);
	world_done(&w);
}

/* A HELLO is none; what answers a PING may be asked, and one that then does not answer waits. */
TEST(a_greeting_closes_no_breaker_but_a_pong_does)
{
	uint8_t body[PEER_BODY_MAX];
	struct peer_header head = {0};
	struct world w;
	struct hand h;
	unsigned backoff;

	world_make(&w);
	peers_free(TAKE_PTR(w.b.peers));
	breaks(&w);
	hand_make(&w, &h, true);
	peer_of(&w)->port = raw_listen(&h.r);
	backoff = peer_of(&w)->backoff;
	peer_of(&w)->reconnect_at = mono_now();
	w.a.view.nodes[0].attest_port = peer_of(&w)->port;
	peers_tick(w.a.peers);
	raw_hello(&h.r, "api-1");
	while (head.type != PEER_PING) {
		RAW_UNTIL(&w, &h.r, raw_frame(&h.r, &head, body));
		CHECK(head.type == PEER_HELLO || head.type == PEER_PING);
	}
	CHECK(ask_broken(peer_of(&w), mono_now()));
	peer_bare_encode(&h.r.out, PEER_PONG, head.id);
	RAW_UNTIL(&w, &h.r, !ask_broken(peer_of(&w), mono_now()));
	CHECK_UINT(peer_of(&w)->backoff, backoff);
	hand_done(&h);
	world_done(&w);
}

/* GOAWAY is no failure; who says it to everything would have a handshake for each question. */
TEST(a_node_that_ends_each_stream_is_connected_to_seldom)
{
	const struct peer_notice bye = {.code = PEER_NOTICE_BYE, .text = "no"};
	struct world w;
	struct hand h;
	struct mono began = mono_now();
	unsigned streams = 0;

	world_make(&w);
	peers_free(TAKE_PTR(w.b.peers));
	hand_make(&w, &h, true);
	end_sees(&w.a, "api-1", raw_listen(&h.r));
	peers_view_changed(w.a.peers);
	for (size_t i = 1; i <= 60; i++) {
		bool opened = false;

		(void)world_ask(&w, "api-1", 100);
		while (w.replies.count < i || w.a.peers->asking.count) {
			raw_step(&h.r);
			if (h.r.shaken && !opened) {
				opened = true;
				streams++;
				h.r.out.len = h.r.sent = 0;
				raw_hello(&h.r, "api-1");
				peer_notice_encode(&h.r.out, PEER_GOAWAY, 0, &bye);
			}
			if (h.r.ended)
				raw_close(&h.r);
			world_turn(&w);
		}
		raw_close(&h.r);
		h.r.shaken = h.r.ended = false;
	}
	CHECK(streams >= 1);
	CHECK(streams <= 20 + 4 * (unsigned)(mono_ms_since(began, mono_now()) / 1000));
	CHECK(w.replies.by_outcome[PEER_UNREACHABLE] > 0);
	hand_done(&h);
	world_done(&w);
}
