/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Ends with a good certificate that do not behave, and crowds. */
#include "base/mem.h"
#include "tests/unit/peers_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUDGET 30000

struct hand {
	struct world w;
	struct raw r;
	EVP_PKEY *key;
	X509 *cert;
};

static void certify(struct hand *h, const char *node)
{
	char san[128];
	struct cert_spec spec;

	(void)snprintf(san, sizeof(san), "URI:spiffe://acme.example/bailiwick/node/%s", node);
	spec = world_spec(san);
	h->key = fixture_key();
	h->cert = world_cert(&h->w, &spec, h->key);
}

/* pay-1, which asks api-1, by hand. */
static void asking_make(struct hand *h)
{
	world_make(&h->w);
	certify(h, "pay-1");
	raw_make(&h->r, false, h->cert, h->key, NULL);
	raw_connect(&h->r, h->w.b.port);
}

/* api-1, which pay-1 asks, by hand. */
static void answering_make(struct hand *h)
{
	world_make(&h->w);
	certify(h, "api-1");
	raw_make(&h->r, true, h->cert, h->key, NULL);
	end_sees(&h->w.a, "api-1", raw_listen(&h->r));
	peers_view_changed(h->w.a.peers);
}

static void hand_done(struct hand *h)
{
	raw_done(&h->r);
	X509_free(h->cert);
	EVP_PKEY_free(h->key);
	world_done(&h->w);
}

static uint16_t complaint(struct hand *h)
{
	uint8_t body[PEER_BODY_MAX];
	struct peer_notice n = {.code = UINT16_MAX};
	struct peer_header header;

	RAW_UNTIL(&h->w, &h->r, h->r.ended);
	while (raw_frame(&h->r, &header, body)) {
		if (header.type == PEER_ERROR)
			CHECK_INT(peer_notice_decode(body, header.body_len, &n), 0);
	}
	CHECK_UINT(h->w.b.peers->serving.count, 0);
	return n.code;
}

static void add_query(struct raw *r, uint64_t id)
{
	struct peer_query q = world_query(BUDGET);

	peer_query_encode(&r->out, id, &q);
}

/* --- frames ------------------------------------------------------------------------------- */

TEST(garbage_in_place_of_hello_ends_the_stream)
{
	struct hand h;

	asking_make(&h);
	buf_puts(&h.r.out, "GET / HTTP/1.1\r\nHost: api-1\r\n\r\n");
	CHECK_UINT(complaint(&h), PEER_NOTICE_PROTOCOL);
	hand_done(&h);
}

TEST(garbage_after_hello_ends_the_stream)
{
	struct hand h;

	asking_make(&h);
	raw_hello(&h.r, "pay-1");
	add_query(&h.r, 1);
	buf_puts(&h.r.out, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
	CHECK_UINT(complaint(&h), PEER_NOTICE_PROTOCOL);
	CHECK_UINT(h.w.b.asked, 1);
	hand_done(&h);
}

TEST(a_query_before_hello_is_not_heard)
{
	struct hand h;

	asking_make(&h);
	add_query(&h.r, 1);
	raw_hello(&h.r, "pay-1");
	CHECK_UINT(complaint(&h), PEER_NOTICE_PROTOCOL);
	CHECK_UINT(h.w.b.asked, 0);
	hand_done(&h);
}

TEST(a_second_hello_ends_the_stream)
{
	struct hand h;

	asking_make(&h);
	raw_hello(&h.r, "pay-1");
	raw_hello(&h.r, "pay-1");
	CHECK_UINT(complaint(&h), PEER_NOTICE_PROTOCOL);
	hand_done(&h);
}

TEST(hello_must_name_the_node_of_the_certificate)
{
	struct hand h;

	asking_make(&h);
	raw_hello(&h.r, "pay-2");
	CHECK_UINT(complaint(&h), PEER_NOTICE_NODE);
	hand_done(&h);
}

TEST(a_version_that_is_to_come_is_refused_by_name)
{
	struct peer_hello hello = {.version_min = 2, .version_max = 3, .node = "pay-1"};
	struct hand h;

	asking_make(&h);
	peer_hello_encode(&h.r.out, &hello);
	CHECK_UINT(complaint(&h), PEER_NOTICE_VERSION);
	hand_done(&h);
}

TEST(a_later_version_that_speaks_this_one_too_is_welcome)
{
	struct peer_hello hello = {.version_min = 1, .version_max = 3, .node = "pay-1"};
	uint8_t body[PEER_BODY_MAX];
	struct peer_header header;
	struct hand h;

	asking_make(&h);
	peer_hello_encode(&h.r.out, &hello);
	add_query(&h.r, 99);
	RAW_UNTIL(&h.w, &h.r, raw_frame(&h.r, &header, body));
	RAW_UNTIL(&h.w, &h.r, raw_frame(&h.r, &header, body));
	CHECK_UINT(header.type, PEER_ANSWER);
	CHECK_UINT(header.id, 99);
	hand_done(&h);
}

TEST(a_frame_that_is_too_long_ends_the_stream_before_it_is_read)
{
	uint8_t header[PEER_HEADER_LEN] = {0x42, 0x57, 1, PEER_QUERY, 0, 0, 0x20, 1};
	struct hand h;

	asking_make(&h);
	raw_hello(&h.r, "pay-1");
	buf_add(&h.r.out, header, sizeof(header));
	CHECK_UINT(complaint(&h), PEER_NOTICE_PROTOCOL);
	hand_done(&h);
}

TEST(a_frame_of_an_unknown_type_ends_the_stream)
{
	uint8_t header[PEER_HEADER_LEN] = {0x42, 0x57, 1, 77};
	struct hand h;

	asking_make(&h);
	raw_hello(&h.r, "pay-1");
	buf_add(&h.r.out, header, sizeof(header));
	CHECK_UINT(complaint(&h), PEER_NOTICE_PROTOCOL);
	hand_done(&h);
}

TEST(who_asks_may_not_answer)
{
	struct peer_answer answer = {.status = PEER_OK};
	struct hand h;

	asking_make(&h);
	raw_hello(&h.r, "pay-1");
	peer_answer_encode(&h.r.out, 1, &answer);
	CHECK_UINT(complaint(&h), PEER_NOTICE_PROTOCOL);
	hand_done(&h);
}

TEST(frames_may_come_byte_by_byte)
{
	struct peer_header header;
	uint8_t body[PEER_BODY_MAX];
	CLEANUP(buf_done) struct buf all;
	struct hand h;

	asking_make(&h);
	raw_hello(&h.r, "pay-1");
	add_query(&h.r, 5);
	add_query(&h.r, 6);
	all = h.r.out;
	buf_init(&h.r.out, 1U << 20);
	RAW_UNTIL(&h.w, &h.r, h.r.shaken);
	for (size_t i = 0; i < all.len; i++) {
		buf_add(&h.r.out, all.data + i, 1);
		RAW_UNTIL(&h.w, &h.r, h.r.sent == h.r.out.len);
		CHECK(!h.r.ended);
	}
	RAW_UNTIL(&h.w, &h.r, raw_frame(&h.r, &header, body));
	CHECK_UINT(header.type, PEER_HELLO);
	RAW_UNTIL(&h.w, &h.r, raw_frame(&h.r, &header, body));
	CHECK_UINT(header.id, 5);
	RAW_UNTIL(&h.w, &h.r, raw_frame(&h.r, &header, body));
	CHECK_UINT(header.id, 6);
	/* Nothing of the frames is kept. */
	CHECK(h.w.b.peers->serving.first->in == NULL);
	hand_done(&h);
}

TEST(a_ping_is_answered)
{
	struct peer_header header;
	uint8_t body[PEER_BODY_MAX];
	struct hand h;

	asking_make(&h);
	raw_hello(&h.r, "pay-1");
	peer_bare_encode(&h.r.out, PEER_PING, 42);
	RAW_UNTIL(&h.w, &h.r, raw_frame(&h.r, &header, body));
	RAW_UNTIL(&h.w, &h.r, raw_frame(&h.r, &header, body));
	CHECK_UINT(header.type, PEER_PONG);
	CHECK_UINT(header.id, 42);
	hand_done(&h);
}

/* --- answers ------------------------------------------------------------------------------ */

/* The question's number, once it has come. */
static uint64_t question(struct hand *h)
{
	struct peer_header header;
	uint8_t body[PEER_BODY_MAX];

	do
		RAW_UNTIL(&h->w, &h->r, raw_frame(&h->r, &header, body));
	while (header.type != PEER_QUERY);
	return header.id;
}

TEST(an_answer_to_no_question_is_nobodys)
{
	struct peer_answer answer = {.status = PEER_OK, .uid = 1};
	struct hand h;
	uint64_t id;

	answering_make(&h);
	(void)world_ask(&h.w, "api-1", BUDGET);
	raw_hello(&h.r, "api-1");
	id = question(&h);
	peer_answer_encode(&h.r.out, id + 1, &answer);
	peer_answer_encode(&h.r.out, id + (1ULL << 32), &answer);
	peer_answer_encode(&h.r.out, 0, &answer);
	peer_answer_encode(&h.r.out, UINT64_MAX, &answer);
	answer.uid = 2;
	peer_answer_encode(&h.r.out, id, &answer);
	answer.uid = 3;
	peer_answer_encode(&h.r.out, id, &answer);
	RAW_UNTIL(&h.w, &h.r, h.w.replies.count == 1);
	CHECK_UINT(h.w.replies.last.uid, 2);
	world_for(&h.w, 20);
	CHECK_UINT(h.w.replies.count, 1);
	hand_done(&h);
}

TEST(an_answer_before_hello_is_not_heard)
{
	struct peer_answer answer = {.status = PEER_OK};
	struct hand h;

	answering_make(&h);
	(void)world_ask(&h.w, "api-1", BUDGET);
	peer_answer_encode(&h.r.out, question(&h), &answer);
	RAW_UNTIL(&h.w, &h.r, h.r.ended);
	CHECK_UINT(h.w.replies.by_outcome[PEER_ANSWERED], 0);
	hand_done(&h);
}

TEST(a_server_that_hangs_up_before_hello_is_unreachable)
{
	struct hand h;

	answering_make(&h);
	(void)world_ask(&h.w, "api-1", BUDGET);
	for (int i = 0; h.w.replies.count == 0; i++) {
		CHECK(i < 60000);
		raw_step(&h.r);
		world_turn(&h.w);
		if (h.r.shaken || h.r.ended)
			raw_close(&h.r);
		h.r.shaken = false;
	}
	CHECK_INT(h.w.replies.last.outcome, PEER_UNREACHABLE);
	hand_done(&h);
}

TEST(a_server_that_never_finishes_its_handshake_costs_a_bounded_time)
{
	struct hand h;

	answering_make(&h);
	h.w.a.peers->limits.connect_ms = 50;
	(void)world_ask(&h.w, "api-1", BUDGET);
	WORLD_UNTIL(&h.w, h.w.replies.count == 1);
	CHECK_INT(h.w.replies.last.outcome, PEER_UNREACHABLE);
	CHECK_CONTAINS(h.w.replies.last.detail, "took too long");
	CHECK_UINT(h.w.a.peers->asking.count, 0);
	hand_done(&h);
}

TEST(the_budget_counts_while_a_connection_is_made)
{
	struct hand h;

	answering_make(&h);
	(void)world_ask(&h.w, "api-1", 30);
	WORLD_UNTIL(&h.w, h.w.replies.count == 1);
	CHECK_INT(h.w.replies.last.outcome, PEER_TIMED_OUT);
	hand_done(&h);
}

TEST(who_says_that_it_takes_fewer_gets_fewer)
{
	struct peer_hello hello = {
		.version_min = 1, .version_max = 1, .node = "api-1", .in_flight_max = 4};
	struct hand h;

	answering_make(&h);
	peers_connect(h.w.a.peers, "api-1");
	peer_hello_encode(&h.r.out, &hello);
	RAW_UNTIL(&h.w, &h.r, h.w.a.peers->asking.open && h.w.a.peers->asking.first->greeted);
	for (int i = 0; i < 4; i++)
		CHECK(world_ask(&h.w, "api-1", BUDGET) != 0);
	CHECK_UINT(world_ask(&h.w, "api-1", BUDGET), 0);
	CHECK_INT(h.w.replies.last.outcome, PEER_OVERLOADED);
	hand_done(&h);
}

/* --- crowds ------------------------------------------------------------------------------- */

static int plain_connect(uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	CHECK_INT(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

TEST(handshakes_of_one_address_are_few)
{
	int fds[64];
	struct world w;

	world_make(&w);
	w.b.peers->limits.handshakes_per_address = 4;
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = plain_connect(w.b.port);
	WORLD_UNTIL(&w, w.b.peers->counters.refused_streams == ARRAY_LEN(fds) - 4);
	CHECK_UINT(w.b.peers->serving.handshakes, 4);
	/* When they have gone there is room for who means it. */
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		(void)close(fds[i]);
	WORLD_UNTIL(&w, w.b.peers->serving.handshakes == 0);
	(void)world_ask(&w, "api-1", BUDGET);
	WORLD_UNTIL(&w, w.replies.by_outcome[PEER_ANSWERED] == 1);
	world_done(&w);
}

TEST(handshakes_are_few_in_all_and_the_others_wait)
{
	int fds[32];
	struct world w;

	world_make(&w);
	w.b.peers->limits.handshakes_max = 4;
	/* In the middle of it: who says nothing makes room. */
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = plain_connect(w.b.port);
		CHECK_INT(send(fds[i], "\x16", 1, MSG_NOSIGNAL), 1);
	}
	WORLD_UNTIL(&w, w.b.peers->accept_paused);
	CHECK_UINT(w.b.peers->serving.handshakes, 4);
	(void)world_ask(&w, "api-1", BUDGET);
	world_for(&w, 20);
	CHECK_UINT(w.replies.count, 0);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		(void)close(fds[i]);
	WORLD_UNTIL(&w, w.replies.by_outcome[PEER_ANSWERED] == 1);
	world_done(&w);
}

TEST(a_handshake_that_is_not_finished_ends_by_itself)
{
	struct world w;
	int fd;

	world_make(&w);
	w.b.peers->limits.handshake_ms = 30;
	fd = plain_connect(w.b.port);
	WORLD_UNTIL(&w, w.b.peers->serving.handshakes == 1);
	WORLD_UNTIL(&w, w.b.peers->serving.count == 0);
	(void)close(fd);
	world_done(&w);
}

/* Writes what is to be written as far as it goes, and reads nothing. */
static void write_only(struct raw *r)
{
	size_t n = 0;

	while (r->sent < r->out.len &&
	       SSL_write_ex(r->ssl, r->out.data + r->sent, r->out.len - r->sent, &n) == 1)
		r->sent += n;
}

static size_t count_answers(struct raw *r)
{
	static uint8_t body[PEER_BODY_MAX];
	struct peer_header header;
	size_t count = 0;

	while (raw_frame(r, &header, body))
		count += header.type == PEER_ANSWER;
	return count;
}

TEST(a_peer_that_does_not_read_is_not_read_from)
{
	size_t asked = 0, heard = 0;
	struct hand h;
	struct stream *s;

	asking_make(&h);
	raw_hello(&h.r, "pay-1");
	RAW_UNTIL(&h.w, &h.r, h.w.b.peers->serving.open == 1);
	s = h.w.b.peers->serving.first;
	/* It writes and writes, and never reads an answer. */
	for (int i = 0; i < 4000 && !s->paused; i++) {
		if (h.r.sent == h.r.out.len) {
			h.r.out.len = h.r.sent = 0;
			for (int k = 0; k < 100; k++)
				add_query(&h.r, ++asked);
		}
		write_only(&h.r);
		for (int k = 0; k < 5; k++)
			world_turn(&h.w);
	}
	CHECK(s->paused);
	CHECK(s->out.len - s->sent <= PEERS_OUT_MAX);
	/* When it reads, nothing is missing. */
	for (int i = 0; heard < asked && i < 60000; i++) {
		raw_step(&h.r);
		heard += count_answers(&h.r);
		world_turn(&h.w);
	}
	CHECK_UINT(heard, asked);
	CHECK(!s->paused);
	hand_done(&h);
}

TEST(streams_of_others_are_bounded)
{
	struct world w;
	struct hand many[4];

	world_make(&w);
	w.b.peers->limits.streams_max = 2;
	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		struct cert_spec spec =
			world_spec("URI:spiffe://acme.example/bailiwick/node/pay-1");

		many[i].key = fixture_key();
		many[i].cert = world_cert(&w, &spec, many[i].key);
		raw_make(&many[i].r, false, many[i].cert, many[i].key, NULL);
		raw_connect(&many[i].r, w.b.port);
		raw_hello(&many[i].r, "pay-1");
		RAW_UNTIL(&w, &many[i].r, many[i].r.in_len > 0);
		CHECK(w.b.peers->serving.count <= 2);
	}
	CHECK_UINT(w.b.peers->serving.count, 2);
	/* The first has gone, with a word. */
	RAW_UNTIL(&w, &many[0].r, many[0].r.ended);
	CHECK(!many[3].r.ended);
	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		raw_done(&many[i].r);
		X509_free(many[i].cert);
		EVP_PKEY_free(many[i].key);
	}
	world_done(&w);
}

/* Room for others is made by ending streams: one node must not end everybody else's. */
TEST(a_node_has_few_streams)
{
	struct hand first;
	struct raw more[PEERS_STREAMS_A_NODE + 2];

	asking_make(&first);
	raw_hello(&first.r, "pay-1");
	RAW_UNTIL(&first.w, &first.r, first.r.in_len > 0);
	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		raw_make(&more[i], false, first.cert, first.key, NULL);
		raw_connect(&more[i], first.w.b.port);
		raw_hello(&more[i], "pay-1");
		RAW_UNTIL(&first.w, &more[i], more[i].in_len > 0);
		CHECK(first.w.b.peers->serving.count <= PEERS_STREAMS_A_NODE);
	}
	CHECK_UINT(first.w.b.peers->serving.count, PEERS_STREAMS_A_NODE);
	RAW_UNTIL(&first.w, &first.r, first.r.ended);
	CHECK(!more[ARRAY_LEN(more) - 1].ended);
	for (size_t i = 0; i < ARRAY_LEN(more); i++)
		raw_done(&more[i]);
	hand_done(&first);
}

TEST(a_flood_of_pings_is_no_conversation)
{
	struct hand h;

	asking_make(&h);
	h.w.b.peers->limits.frames_per_s = 1000;
	raw_hello(&h.r, "pay-1");
	for (int i = 0; i < 5000; i++)
		peer_bare_encode(&h.r.out, PEER_PING, 1);
	for (int i = 0; i < 60000 && h.w.b.peers->counters.refused_streams == 0; i++) {
		write_only(&h.r);
		if (h.r.sent == h.r.out.len)
			h.r.sent = 0;
		raw_step(&h.r);
		h.r.in_len = 0;
		world_turn(&h.w);
	}
	CHECK_UINT(h.w.b.peers->serving.count, 0);
	hand_done(&h);
}

TEST(no_descriptors_left_is_no_reason_to_turn_in_circles)
{
	struct rlimit all, few;
	struct world w;
	int fd;

	world_make(&w);
	CHECK_INT(getrlimit(RLIMIT_NOFILE, &all), 0);
	fd = plain_connect(w.b.port);
	few = all;
	few.rlim_cur = (rlim_t)fd + 1;
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &few), 0);
	WORLD_UNTIL(&w, w.b.peers->accept_paused);
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &all), 0);
	peers_tick(w.b.peers);
	CHECK(!w.b.peers->accept_paused);
	(void)close(fd);
	(void)world_ask(&w, "api-1", BUDGET);
	WORLD_UNTIL(&w, w.replies.by_outcome[PEER_ANSWERED] == 1);
	world_done(&w);
}

/* --- one peer keeps the loop to itself ---------------------------------------------------------
 */

#define FLOOD_RECORDS 6000

/* Our end of the stream, once it speaks. */
static struct stream *greeted(struct hand *h)
{
	uint8_t body[PEER_BODY_MAX];
	struct peer_header header;

	raw_hello(&h->r, "pay-1");
	RAW_UNTIL(&h->w, &h->r, raw_frame(&h->r, &header, body));
	WORLD_UNTIL(&h->w, h->w.b.peers->serving.first->greeted);
	return h->w.b.peers->serving.first;
}

/* Nobody else is heard while one stream is read: a turn of the loop must end. */
TEST(a_turn_of_the_loop_reads_so_much_of_a_stream_and_no_more)
{
	CLEANUP(buf_done) struct buf ping = {0};
	unsigned sent = 0, turns = 0;
	struct stream *s;
	struct hand h;
	size_t n;

	asking_make(&h);
	s = greeted(&h);
	buf_init(&ping, 64);
	peer_bare_encode(&ping, PEER_PING, 1);
	/* Each frame in a record of its own, as much as the kernel takes. */
	while (sent < FLOOD_RECORDS && SSL_write_ex(h.r.ssl, ping.data, ping.len, &n) == 1)
		sent++;
	CHECK(sent > 1000);
	s->frames = 0;
	h.w.b.peers->limits.frames_per_s = UINT32_MAX;
	for (uint32_t before = 0; before < sent && turns < FLOOD_RECORDS; turns++) {
		uint32_t now;

		s->frames_s = s->heard.ns / 1000000000; /* the count goes on */
		world_turn(&h.w);
		now = s->frames;
		CHECK(now <= before + 64 || now < before);
		before = now < before ? before : now;
		if (h.r.in_len == sizeof(h.r.in))
			h.r.in_len = 0;
		raw_step(&h.r);
	}
	hand_done(&h);
}

/* RFC 8446, 4.6.3: keys may be changed without end, and OpenSSL reads on until there is data. */
TEST(keys_that_change_without_end_end_the_stream)
{
	unsigned sent = 0;
	struct stream *s;
	struct hand h;

	asking_make(&h);
	s = greeted(&h);
	while (sent < FLOOD_RECORDS && SSL_key_update(h.r.ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 &&
	       SSL_do_handshake(h.r.ssl) == 1)
		sent++;
	CHECK_UINT(sent, FLOOD_RECORDS);
	s->tls_messages = 0;
	while (h.w.b.peers->serving.count == 1) {
		uint32_t before = s->tls_messages;

		CHECK(sd_event_prepare(h.w.event) >= 0);
		if (sd_event_wait(h.w.event, 1000) > 0)
			CHECK(sd_event_dispatch(h.w.event) >= 0);
		/* OpenSSL goes on with what it has read ahead. */
		CHECK(s->tls_messages - before < 2000);
	}
	WORLD_UNTIL(&h.w, h.w.b.peers->serving.count == 0);
	hand_done(&h);
}
