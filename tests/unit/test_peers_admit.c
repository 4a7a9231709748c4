/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What those cost who have not shown yet who they are, and what a node costs over all its streams.
 */
#include "base/mem.h"
#include "tests/unit/peers_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUDGET   30000
#define STRANGER "127.0.0.2" /* no node's; 127.0.0.1 is that of every node of the world */

static int connect_from(const char *from, uint16_t port)
{
	struct sockaddr_in at = {.sin_family = AF_INET},
			   to = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	CHECK_INT(inet_pton(AF_INET, from, &at.sin_addr), 1);
	CHECK_INT(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
	CHECK_INT(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static void answered(struct world *w)
{
	size_t before = w->replies.count;

	(void)world_ask(w, "api-1", BUDGET);
	WORLD_UNTIL(w, w->replies.count > before);
	CHECK_INT(w->replies.last.outcome, PEER_ANSWERED);
}

static X509 *certify(struct world *w, const char *node, EVP_PKEY *key)
{
	char san[128];
	struct cert_spec spec;

	(void)snprintf(san, sizeof(san), "URI:spiffe://acme.example/bailiwick/node/%s", node);
	spec = world_spec(san);
	return world_cert(w, &spec, key);
}

TEST(strangers_who_are_silent_keep_no_node_out)
{
	int fds[32];
	struct world w;

	world_make(&w);
	w.b.peers->limits.handshakes_max = 4;
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		char from[INET_ADDRSTRLEN];

		(void)snprintf(from, sizeof(from), "127.0.1.%zu", i + 1);
		fds[i] = connect_from(from, w.b.port);
	}
	answered(&w);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		(void)close(fds[i]);
	world_done(&w);
}

/* Nor do those who have an address of a node and say nothing. */
TEST(nodes_that_are_silent_keep_no_other_node_out)
{
	int fds[32];
	struct world w;

	world_make(&w);
	w.b.peers->limits.handshakes_max = 4;
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = connect_from("127.0.0.1", w.b.port);
	answered(&w);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		(void)close(fds[i]);
	world_done(&w);
}

TEST(a_connection_without_a_certificate_ends_nobodys_stream)
{
	struct world w;
	int fd;

	world_make(&w);
	w.b.peers->limits.streams_max = 1;
	answered(&w);
	fd = connect_from(STRANGER, w.b.port);
	WORLD_UNTIL(&w, w.b.peers->serving.handshakes == 1);
	CHECK_UINT(w.b.peers->serving.open, 1);
	CHECK(!w.b.peers->serving.last->draining && !w.b.peers->serving.first->draining);
	(void)close(fd);
	world_done(&w);
}

/* Shakes hands without a certificate, and hangs up; whether the far end took part. */
static bool shakes(struct world *w, const char *from)
{
	struct raw r;
	bool shaken;

	raw_make(&r, false, NULL, NULL, NULL);
	r.fd = connect_from(from, w->b.port);
	raw_start(&r);
	RAW_UNTIL(w, &r, r.shaken || r.ended);
	shaken = r.shaken;
	raw_done(&r);
	return shaken;
}

TEST(strangers_cost_few_handshakes)
{
	struct world w;
	unsigned shaken = 0;
	uint64_t before;

	world_make(&w);
	before = w.b.peers->counters.refused_streams;
	for (int i = 0; i < 100; i++)
		shaken += shakes(&w, STRANGER);
	/* So many at once, and some more in as many seconds as a slow machine needs for them. */
	CHECK(shaken >= 1);
	CHECK(shaken < 50);
	WORLD_UNTIL(&w, w.b.peers->counters.refused_streams == before + 100);
	/* That one has had its share, and others theirs. */
	CHECK(shakes(&w, "127.0.0.3"));
	answered(&w);
	world_done(&w);
}

TEST(strangers_together_cost_few_handshakes)
{
	struct world w;
	unsigned shaken = 0;
	struct mono began;

	world_make(&w);
	began = mono_now();
	for (unsigned i = 0; i < 240; i++) {
		char from[INET_ADDRSTRLEN];

		(void)snprintf(from, sizeof(from), "127.0.1.%u", i + 1);
		shaken += shakes(&w, from);
	}
	CHECK(shaken >= 1);
	CHECK(shaken <= PEERS_STRANGERS_BURST +
				PEERS_STRANGERS_PER_S *
					(unsigned)(mono_ms_since(began, mono_now()) / 1000 + 1));
	answered(&w);
	world_done(&w);
}

/* An address of a node is known, not who is there: it has a share, larger than a stranger's. */
TEST(an_address_of_a_node_has_a_share_of_its_own)
{
	struct world w;
	unsigned shaken = 0;

	world_make(&w);
	for (int i = 0; i < 100; i++)
		(void)shakes(&w, STRANGER);
	for (int i = 0; i < 20; i++)
		shaken += shakes(&w, "127.0.0.1");
	CHECK_UINT(shaken, 20);
	for (int i = 0; i < 100; i++)
		shaken += shakes(&w, "127.0.0.1");
	CHECK(shaken < 100);
	world_done(&w);
}

static void opens(struct world *w, struct raw *r, X509 *cert, EVP_PKEY *key, const char *node)
{
	raw_make(r, false, cert, key, NULL);
	raw_connect(r, w->b.port);
	raw_hello(r, node);
	RAW_UNTIL(w, r, r->in_len > 0 || r->ended);
}

/* Who has shown who he is pays himself: others at his address (a router's) do not. */
TEST(a_node_that_comes_often_costs_its_address_nothing)
{
	EVP_PKEY *key = fixture_key();
	const struct addr *at;
	struct world w;
	X509 *cert;

	world_make(&w);
	cert = certify(&w, "pay-1", key);
	for (int i = 0; i < PEERS_NODE_BURST; i++) {
		struct raw r;

		opens(&w, &r, cert, key, "pay-1");
		CHECK(!r.ended);
		raw_done(&r);
	}
	at = &w.b.view.nodes[0].attest_address;
	CHECK(admit_find(w.b.peers, at)->handshakes.full_ns <= mono_now().ns);
	/* Above what one node needs it is its address that pays. */
	for (int i = 0; i < PEERS_ADDRESS_BURST; i++) {
		struct raw r;

		opens(&w, &r, cert, key, "pay-1");
		raw_done(&r);
	}
	CHECK(admit_find(w.b.peers, at)->handshakes.full_ns > mono_now().ns);
	X509_free(cert);
	EVP_PKEY_free(key);
	world_done(&w);
}

static void count(struct raw *r, unsigned *ok, unsigned *all)
{
	uint8_t body[PEER_BODY_MAX];
	struct peer_header h;
	struct peer_answer a;

	while (raw_frame(r, &h, body)) {
		if (h.type != PEER_ANSWER)
			continue;
		CHECK_INT(peer_answer_decode(body, h.body_len, &a), 0);
		*ok += a.status == PEER_OK;
		++*all;
	}
}

/* More streams, and streams one after the other, are no way to more answers. */
TEST(answers_are_a_nodes_and_not_a_streams)
{
	EVP_PKEY *key = fixture_key();
	struct peer_query q = world_query(BUDGET);
	unsigned ok = 0;
	struct mono began;
	struct world w;
	X509 *cert;

	world_make(&w);
	w.b.peers->limits.answers_per_s = 3;
	cert = certify(&w, "pay-1", key);
	began = mono_now();
	for (int i = 0; i < 8; i++) {
		struct raw r;
		unsigned heard = 0;

		opens(&w, &r, cert, key, "pay-1");
		for (uint64_t id = 1; id <= 5; id++)
			peer_query_encode(&r.out, id, &q);
		while (heard < 5) {
			raw_step(&r);
			world_turn(&w);
			CHECK(!r.ended);
			count(&r, &ok, &heard);
		}
		raw_done(&r);
	}
	CHECK(ok >= 3);
	CHECK(ok <= 3 + 3 * (unsigned)(mono_ms_since(began, mono_now()) / 1000 + 1));
	X509_free(cert);
	EVP_PKEY_free(key);
	world_done(&w);
}
