/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The bytes here are published: another implementation may be written from them. */
#include "agent/peer_frame.h"
#include "base/mem.h"
#include "base/text.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define OUT_MAX 65536

/* --- vectors ------------------------------------------------------------------------------ */

static const uint8_t hello_bytes[] = {
	0x42, 0x57, 0x01, 0x01,                         /* magic, version, HELLO */
	0x00, 0x00, 0x00, 0x3a,                         /* body */
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* id */
	0x01, 0x01,                                     /* versions */
	0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, /* boot id */
	0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x2a, /* policy revision 42 */
	0x00, 0x00, 0x00, 0x00,                         /* capabilities */
	0x00, 0x00, 0x01, 0x00,                         /* 256 in flight */
	0x00, 0x00, 0x01, 0x9a, 0x00, 0x00, 0x00, 0x01, /* wall clock */
	0x00, 0x05, 'p',  'a',  'y',  '-',  '1',        /* node */
	0x00, 0x07, '0',  '.',  '4',  '.',  '0',  '-',  /* release */
	'1',
};

static const uint8_t query_bytes[] = {
	0x42, 0x57, 0x01, 0x02, 0x00, 0x00, 0x00, 0x4f, /* QUERY */
	0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, /* id */
	0x04, 0x06,                                     /* IPv4, TCP */
	10,   0,    0,    1,    0,    0,    0,    0,    /* source */
	0,    0,    0,    0,    0,    0,    0,    0,    /* */
	0x9c, 0x40,                                     /* port 40000 */
	10,   0,    0,    2,    0,    0,    0,    0,    /* destination */
	0,    0,    0,    0,    0,    0,    0,    0,    /* */
	0x20, 0xfb,                                     /* port 8443 */
	0xde, 0xad, 0xbe, 0xef,                         /* sequence number */
	0x00, 0x00, 0x00, 0x03,                         /* want_evidence, dnat_ok */
	0x00, 0x00, 0x02, 0xee,                         /* 750 ms */
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x2a, /* policy revision */
	0x00, 0x01, 0x00, 0x11,                         /* alt_dst */
	0x04, 192,  0,    2,    7,    0,    0,    0,    /* */
	0,    0,    0,    0,    0,    0,    0,    0,    /* */
	0,                                              /* */
};

static const uint8_t answer_bytes[] = {
	0x42, 0x57, 0x01, 0x03, 0x00, 0x00, 0x00, 0x71, /* ANSWER */
	0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, /* id */
	0x00, 0x00,                                     /* OK */
	0x00, 0x00, 0x00, 0x2b,                         /* TUPLE, SYN_SENT, CONNTRACK, HOLDER */
	0x00, 0x00, 0x03, 0xe8,                         /* uid 1000 */
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x95, /* cgroup 405 */
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x01, /* cookie */
	0x02,                                           /* affirming */
	0x00, 0x00, 0x05, 0xdc,                         /* 1500 ms old */
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x07, /* view sequence */
	0x00, 0x02, 0x00, 0x15,                         /* spiffe_id */
	's',  'p',  'i',  'f',  'f',  'e',  ':',  '/',  '/', 'a',  '.',  'b',  '/',  'p', 'a', 'y',
	'/',  'a',  'p',  'i',  '2',                                                 /* */
	0x00, 0x03, 0x00, 0x09,                                                      /* unit */
	'p',  '.',  's',  'e',  'r',  'v',  'i',  'c',  'e', 0x00, 0x06, 0x00, 0x20, /* sha256 */
	0,    1,    2,    3,    4,    5,    6,    7,    8,   9,    10,   11,   12,   13,  14,  15,
	16,   17,   18,   19,   20,   21,   22,   23,   24,  25,   26,   27,   28,   29,  30,  31,
};

static const uint8_t ping_bytes[] = {0x42, 0x57, 0x01, 0x04, 0x00, 0x00, 0x00, 0x00,
				     0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09};

static const uint8_t goaway_bytes[] = {
	0x42, 0x57, 0x01, 0x06, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 'b',  'y',  'e',
};

static void hello_of(struct peer_hello *h)
{
	*h = (struct peer_hello){.version_min = 1,
				 .version_max = 1,
				 .node = "pay-1",
				 .release = "0.4.0-1",
				 .policy_revision = 42,
				 .in_flight_max = 256,
				 .wall_ms = 0x19a00000001ULL};
	for (uint8_t i = 0; i < sizeof(h->boot_id); i++)
		h->boot_id[i] = i;
}

static void query_of(struct peer_query *q)
{
	*q = (struct peer_query){.l4proto = IPPROTO_TCP,
				 .sport = 40000,
				 .dport = 8443,
				 .isn = 0xdeadbeef,
				 .flags = PEER_WANT_EVIDENCE | PEER_DNAT_OK,
				 .budget_ms = 750,
				 .policy_revision = 42,
				 .alt_dst_count = 1};
	CHECK_INT(addr_parse("10.0.0.1", &q->src), 0);
	CHECK_INT(addr_parse("10.0.0.2", &q->dst), 0);
	CHECK_INT(addr_parse("192.0.2.7", &q->alt_dst[0]), 0);
}

static void answer_of(struct peer_answer *a)
{
	*a = (struct peer_answer){.status = PEER_OK,
				  .match = PEER_MATCH_TUPLE | PEER_MATCH_SYN_SENT |
					   PEER_MATCH_CONNTRACK | PEER_MATCH_HOLDER,
				  .uid = 1000,
				  .cgroup_id = 405,
				  .cookie = 0x1001,
				  .evidence = PEER_EVIDENCE_AFFIRMING,
				  .evidence_age_ms = 1500,
				  .view_sequence = 7,
				  .spiffe_id = "spiffe://a.b/pay/api2",
				  .unit = "p.service",
				  .has_sha256 = true};
	for (uint8_t i = 0; i < sizeof(a->sha256); i++)
		a->sha256[i] = i;
}

static void check_frame(const struct buf *b, const uint8_t *bytes, size_t len)
{
	struct peer_header h;

	CHECK_INT(b->r, 0);
	CHECK_UINT(b->len, len);
	CHECK_MEM(b->data, bytes, len);
	CHECK_INT(peer_header_decode(bytes, len, &h), 0);
	CHECK_UINT(h.body_len, len - PEER_HEADER_LEN);
}

TEST(hello_has_the_published_bytes)
{
	CLEANUP(buf_done) struct buf b;
	struct peer_hello h, back;

	hello_of(&h);
	buf_init(&b, OUT_MAX);
	peer_hello_encode(&b, &h);
	check_frame(&b, hello_bytes, sizeof(hello_bytes));
	CHECK_INT(peer_hello_decode(hello_bytes + PEER_HEADER_LEN,
				    sizeof(hello_bytes) - PEER_HEADER_LEN, &back),
		  0);
	CHECK_STR(back.node, "pay-1");
	CHECK_STR(back.release, "0.4.0-1");
	CHECK_UINT(back.policy_revision, 42);
	CHECK_UINT(back.in_flight_max, 256);
	CHECK_UINT(back.wall_ms, h.wall_ms);
	CHECK_MEM(back.boot_id, h.boot_id, sizeof(h.boot_id));
}

TEST(query_has_the_published_bytes)
{
	CLEANUP(buf_done) struct buf b;
	struct peer_query q, back;

	query_of(&q);
	buf_init(&b, OUT_MAX);
	peer_query_encode(&b, 0x0102030405060708ULL, &q);
	check_frame(&b, query_bytes, sizeof(query_bytes));
	CHECK_INT(peer_query_decode(query_bytes + PEER_HEADER_LEN,
				    sizeof(query_bytes) - PEER_HEADER_LEN, &back),
		  0);
	CHECK(addr_eq(&back.src, &q.src) && addr_eq(&back.dst, &q.dst));
	CHECK_UINT(back.sport, 40000);
	CHECK_UINT(back.dport, 8443);
	CHECK_UINT(back.isn, 0xdeadbeef);
	CHECK_UINT(back.flags, 3);
	CHECK_UINT(back.budget_ms, 750);
	CHECK_UINT(back.alt_dst_count, 1);
	CHECK(addr_eq(&back.alt_dst[0], &q.alt_dst[0]));
}

TEST(answer_has_the_published_bytes)
{
	CLEANUP(buf_done) struct buf b;
	struct peer_answer a, back;

	answer_of(&a);
	buf_init(&b, OUT_MAX);
	peer_answer_encode(&b, 0x0102030405060708ULL, &a);
	check_frame(&b, answer_bytes, sizeof(answer_bytes));
	CHECK_INT(peer_answer_decode(answer_bytes + PEER_HEADER_LEN,
				     sizeof(answer_bytes) - PEER_HEADER_LEN, &back),
		  0);
	CHECK_UINT(back.status, PEER_OK);
	CHECK_UINT(back.match, a.match);
	CHECK_UINT(back.uid, 1000);
	CHECK_UINT(back.cgroup_id, 405);
	CHECK_UINT(back.cookie, 0x1001);
	CHECK_UINT(back.evidence, PEER_EVIDENCE_AFFIRMING);
	CHECK_UINT(back.evidence_age_ms, 1500);
	CHECK_UINT(back.view_sequence, 7);
	CHECK_STR(back.spiffe_id, "spiffe://a.b/pay/api2");
	CHECK_STR(back.unit, "p.service");
	CHECK_STR(back.container_id, "");
	CHECK(back.has_sha256 && !back.has_fsverity);
	CHECK_MEM(back.sha256, a.sha256, sizeof(a.sha256));
}

TEST(ping_and_notices_have_the_published_bytes)
{
	CLEANUP(buf_done) struct buf b;
	struct peer_notice n = {.text = "bye"}, back;

	buf_init(&b, OUT_MAX);
	peer_bare_encode(&b, PEER_PING, 9);
	check_frame(&b, ping_bytes, sizeof(ping_bytes));
	b.len = 0;
	peer_notice_encode(&b, PEER_GOAWAY, 0, &n);
	check_frame(&b, goaway_bytes, sizeof(goaway_bytes));
	CHECK_INT(peer_notice_decode(goaway_bytes + PEER_HEADER_LEN,
				     sizeof(goaway_bytes) - PEER_HEADER_LEN, &back),
		  0);
	CHECK_STR(back.text, "bye");
	CHECK_UINT(back.code, 0);
}

/* --- what does not fit --------------------------------------------------------------------- */

static bool accepts_hello(const void *bytes, size_t len)
{
	struct peer_hello h;

	return peer_hello_decode(bytes, len, &h) == 0;
}
static bool accepts_query(const void *bytes, size_t len)
{
	struct peer_query q;

	return peer_query_decode(bytes, len, &q) == 0;
}
static bool accepts_query_fixed(const void *bytes, size_t len)
{
	return accepts_query(bytes, len);
}
static bool accepts_notice(const void *bytes, size_t len)
{
	struct peer_notice n;

	return peer_notice_decode(bytes, len, &n) == 0;
}

TEST(truncated_bodies_are_refused)
{
	const size_t h = PEER_HEADER_LEN;

	CHECK_TRUNCATIONS(hello_bytes + h, sizeof(hello_bytes) - h, accepts_hello);
	CHECK_TRUNCATIONS(goaway_bytes + h, sizeof(goaway_bytes) - h, accepts_notice);
	/* Without its one TLV. */
	CHECK_TRUNCATIONS(query_bytes + h, sizeof(query_bytes) - h - 21, accepts_query_fixed);
}

/* A body may end behind its fixed part and behind each TLV, and nowhere else. */
TEST(truncated_tlvs_are_refused)
{
	const uint8_t *query = query_bytes + PEER_HEADER_LEN;
	const uint8_t *answer = answer_bytes + PEER_HEADER_LEN;
	size_t query_len = sizeof(query_bytes) - PEER_HEADER_LEN;
	size_t answer_len = sizeof(answer_bytes) - PEER_HEADER_LEN;
	const size_t answer_ends[] = {39, 64, 77, answer_len};
	struct peer_answer a;
	size_t next = 0;

	for (size_t len = 0; len <= query_len; len++)
		CHECK_INT(accepts_query(query, len), len == query_len - 21 || len == query_len);
	for (size_t len = 0; len <= answer_len; len++) {
		bool whole = next < ARRAY_LEN(answer_ends) && len == answer_ends[next];

		next += whole;
		CHECK_INT(peer_answer_decode(answer, len, &a), whole ? 0 : -EBADMSG);
	}
	CHECK_UINT(next, ARRAY_LEN(answer_ends));
}

TEST(header_of_another_protocol_is_refused)
{
	uint8_t bytes[PEER_HEADER_LEN];
	struct peer_header h;

	memcpy(bytes, ping_bytes, sizeof(bytes));
	for (size_t len = 0; len < sizeof(bytes); len++)
		CHECK_INT(peer_header_decode(bytes, len, &h), -EAGAIN);
	CHECK_INT(peer_header_decode(bytes, sizeof(bytes), &h), 0);
	CHECK_UINT(h.type, PEER_PING);
	CHECK_UINT(h.id, 9);
	bytes[0] = 'G';
	CHECK_INT(peer_header_decode(bytes, sizeof(bytes), &h), -EBADMSG);
	bytes[0] = 0x42;
	bytes[2] = 0;
	CHECK_INT(peer_header_decode(bytes, sizeof(bytes), &h), -EBADMSG);
	bytes[2] = 1;
	bytes[6] = PEER_BODY_MAX >> 8;
	CHECK_INT(peer_header_decode(bytes, sizeof(bytes), &h), 0);
	bytes[7] = 1;
	CHECK_INT(peer_header_decode(bytes, sizeof(bytes), &h), -EBADMSG);
}

/* The answer of the vector with one TLV more. */
static int decode_with(uint16_t type, const void *value, uint16_t len, struct peer_answer *ret)
{
	uint8_t body[PEER_BODY_MAX];
	size_t at = sizeof(answer_bytes) - PEER_HEADER_LEN;

	memcpy(body, answer_bytes + PEER_HEADER_LEN, at);
	body[at++] = (uint8_t)(type >> 8);
	body[at++] = (uint8_t)type;
	body[at++] = (uint8_t)(len >> 8);
	body[at++] = (uint8_t)len;
	memcpy(body + at, value, len);
	return peer_answer_decode(body, at + len, ret);
}

TEST(unknown_tlvs_are_skipped_unless_they_must_be_understood)
{
	struct peer_answer a;

	CHECK_INT(decode_with(8, "ima", 3, &a), 0);
	CHECK_INT(decode_with(0x7fff, "", 0, &a), 0);
	CHECK_INT(decode_with(0x8008, "ima", 3, &a), -EBADMSG);
	/* A known one may say that it must be. */
	CHECK_INT(decode_with(0x8004, "abc", 3, &a), 0);
	CHECK_STR(a.container_id, "abc");
}

TEST(a_tlv_comes_once_and_has_its_length)
{
	static const uint8_t digest[PEER_DIGEST_LEN + 1] = {1};
	char text[PEER_TEXT_MAX + 2];
	struct peer_answer a;

	memset(text, 'x', sizeof(text));
	CHECK_INT(decode_with(2, "spiffe://a/b", 12, &a), -EBADMSG);
	CHECK_INT(decode_with(6, digest, PEER_DIGEST_LEN, &a), -EBADMSG);
	CHECK_INT(decode_with(7, digest, PEER_DIGEST_LEN, &a), 0);
	CHECK_INT(decode_with(7, digest, PEER_DIGEST_LEN - 1, &a), -EBADMSG);
	CHECK_INT(decode_with(7, digest, PEER_DIGEST_LEN + 1, &a), -EBADMSG);
	CHECK_INT(decode_with(5, text, PEER_TEXT_MAX, &a), 0);
	CHECK_INT(decode_with(5, text, PEER_TEXT_MAX + 1, &a), -EBADMSG);
	CHECK_INT(decode_with(5, "", 0, &a), -EBADMSG);
	CHECK_INT(decode_with(5, "a\0b", 3, &a), -EBADMSG);
	CHECK_INT(decode_with(5, "\xff", 1, &a), -EBADMSG);
}

/* body of the query vector with one byte changed */
static int query_with(size_t at, uint8_t value)
{
	uint8_t body[sizeof(query_bytes) - PEER_HEADER_LEN];
	struct peer_query q;

	memcpy(body, query_bytes + PEER_HEADER_LEN, sizeof(body));
	body[at] = value;
	return peer_query_decode(body, sizeof(body), &q);
}

TEST(an_address_has_one_form)
{
	CHECK_INT(query_with(0, 4), 0);
	CHECK_INT(query_with(0, 5), -EBADMSG);
	CHECK_INT(query_with(1, IPPROTO_UDP), 0);
	CHECK_INT(query_with(1, IPPROTO_SCTP), -EBADMSG);
	/* The unused bytes of IPv4. */
	CHECK_INT(query_with(2 + 4, 1), -EBADMSG);
	CHECK_INT(query_with(2 + 15, 1), -EBADMSG);
}

TEST(mapped_addresses_are_no_addresses)
{
	CLEANUP(buf_done) struct buf b;
	struct peer_query q, back;

	query_of(&q);
	q.alt_dst_count = 0;
	q.src = q.dst = (struct addr){.family = AF_INET6, .bytes = {0x20, 0x01, 0x0d, 0xb8}};
	buf_init(&b, OUT_MAX);
	peer_query_encode(&b, 1, &q);
	CHECK_INT(peer_query_decode((const uint8_t *)b.data + PEER_HEADER_LEN,
				    b.len - PEER_HEADER_LEN, &back),
		  0);
	CHECK(addr_eq(&back.src, &q.src));
	q.src = (struct addr){.family = AF_INET6, .bytes = {[10] = 0xff, 0xff, 10, 0, 0, 1}};
	b.len = 0;
	peer_query_encode(&b, 1, &q);
	CHECK_INT(peer_query_decode((const uint8_t *)b.data + PEER_HEADER_LEN,
				    b.len - PEER_HEADER_LEN, &back),
		  -EBADMSG);
}

TEST(a_query_has_at_most_eight_alternatives)
{
	CLEANUP(buf_done) struct buf b;
	struct peer_query q, back;

	query_of(&q);
	for (size_t i = 0; i < PEER_ALT_DST_MAX; i++)
		q.alt_dst[i] = q.dst;
	q.alt_dst_count = PEER_ALT_DST_MAX;
	buf_init(&b, OUT_MAX);
	peer_query_encode(&b, 1, &q);
	CHECK_INT(peer_query_decode((const uint8_t *)b.data + PEER_HEADER_LEN,
				    b.len - PEER_HEADER_LEN, &back),
		  0);
	CHECK_UINT(back.alt_dst_count, PEER_ALT_DST_MAX);
	buf_add(&b, query_bytes + sizeof(query_bytes) - 21, 21);
	CHECK_INT(peer_query_decode((const uint8_t *)b.data + PEER_HEADER_LEN,
				    b.len - PEER_HEADER_LEN, &back),
		  -EBADMSG);
}

TEST(hello_names_a_node_and_versions)
{
	CLEANUP(buf_done) struct buf b;
	struct peer_hello h, back;
	const struct {
		uint8_t min, max;
		const char *node;
		int r;
	} cases[] = {{1, 1, "pay-1", 0},        {1, 9, "pay-1", 0},      {0, 1, "pay-1", -EBADMSG},
		     {2, 1, "pay-1", -EBADMSG}, {1, 1, "", -EBADMSG},    {1, 1, "a/b", -EBADMSG},
		     {1, 1, "a b", -EBADMSG},   {1, 1, "\xff", -EBADMSG}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		hello_of(&h);
		h.version_min = cases[i].min;
		h.version_max = cases[i].max;
		(void)snprintf(h.node, sizeof(h.node), "%s", cases[i].node);
		buf_init(&b, OUT_MAX);
		peer_hello_encode(&b, &h);
		CHECK_INT(peer_hello_decode((const uint8_t *)b.data + PEER_HEADER_LEN,
					    b.len - PEER_HEADER_LEN, &back),
			  cases[i].r);
		buf_done(&b);
	}
	buf_init(&b, OUT_MAX);
}

TEST(the_longest_answer_fits_into_a_frame)
{
	CLEANUP(buf_done) struct buf b;
	struct peer_answer a, back;

	answer_of(&a);
	memset(a.spiffe_id, 's', PEER_SPIFFE_MAX);
	memset(a.unit, 'u', PEER_TEXT_MAX);
	memset(a.container_id, 'c', PEER_TEXT_MAX);
	memset(a.pod_uid, 'p', PEER_TEXT_MAX);
	a.has_fsverity = true;
	buf_init(&b, OUT_MAX);
	peer_answer_encode(&b, 1, &a);
	CHECK_INT(b.r, 0);
	CHECK(b.len - PEER_HEADER_LEN <= PEER_BODY_MAX);
	CHECK_INT(peer_answer_decode((const uint8_t *)b.data + PEER_HEADER_LEN,
				     b.len - PEER_HEADER_LEN, &back),
		  0);
	CHECK_UINT(strlen(back.spiffe_id), PEER_SPIFFE_MAX);
	CHECK_UINT(strlen(back.pod_uid), PEER_TEXT_MAX);
}

TEST(words_of_statuses)
{
	CHECK_STR(peer_status_name(PEER_OK), "ok");
	CHECK_STR(peer_status_name(PEER_NO_SOCKET), "no_socket");
	CHECK_STR(peer_status_name(PEER_INTERNAL), "internal");
	CHECK_STR(peer_status_name(PEER_STATUS_COUNT), "unknown");
	CHECK_STR(peer_status_name(UINT16_MAX), "unknown");
}

OOM_TEST(a_frame_without_memory_is_an_error)
{
	CLEANUP(buf_done) struct buf b;
	struct peer_answer a;

	answer_of(&a);
	buf_init(&b, OUT_MAX);
	peer_answer_encode(&b, 1, &a);
	return b.r;
}
