/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Frames of peers. A stream is read frame by frame, each body by every decoder, whatever its type
 * says: what one accepts is written again and must read as the same.
 */
#include "tests/fuzz/fuzz.h"

#include "agent/peer_frame.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define OUT_MAX (2U * (PEER_HEADER_LEN + PEER_BODY_MAX))

static void must(bool condition)
{
	if (!condition)
		abort();
}

static const uint8_t *body_of(const struct buf *b, uint8_t type, size_t *ret_len)
{
	const uint8_t *bytes = (const uint8_t *)b->data;
	struct peer_header h;

	must(b->r == 0 && peer_header_decode(bytes, b->len, &h) == 0);
	must(h.type == type && h.version == PEER_VERSION && h.id == 7);
	must(h.body_len == b->len - PEER_HEADER_LEN);
	*ret_len = h.body_len;
	return bytes + PEER_HEADER_LEN;
}

static void hello(const uint8_t *body, size_t len)
{
	CLEANUP(buf_done) struct buf b = {0};
	struct peer_hello h, back;
	struct peer_header header;

	if (peer_hello_decode(body, len, &h) < 0)
		return;
	buf_init(&b, OUT_MAX);
	peer_hello_encode(&b, &h);
	must(b.r == 0 && peer_header_decode((const uint8_t *)b.data, b.len, &header) == 0);
	must(peer_hello_decode((const uint8_t *)b.data + PEER_HEADER_LEN, header.body_len, &back) ==
	     0);
	must(strcmp(back.node, h.node) == 0 && strcmp(back.release, h.release) == 0);
	must(memcmp(back.boot_id, h.boot_id, sizeof(h.boot_id)) == 0);
	must(back.wall_ms == h.wall_ms && back.in_flight_max == h.in_flight_max);
	must(back.policy_revision == h.policy_revision && back.capabilities == h.capabilities);
}

static void query(const uint8_t *body, size_t len)
{
	CLEANUP(buf_done) struct buf b = {0};
	struct peer_query q, back;

	if (peer_query_decode(body, len, &q) < 0)
		return;
	must(q.alt_dst_count <= PEER_ALT_DST_MAX && q.src.family == q.dst.family);
	buf_init(&b, OUT_MAX);
	peer_query_encode(&b, 7, &q);
	body = body_of(&b, PEER_QUERY, &len);
	must(peer_query_decode(body, len, &back) == 0);
	must(addr_eq(&q.src, &back.src) && addr_eq(&q.dst, &back.dst) && q.sport == back.sport &&
	     q.dport == back.dport && q.isn == back.isn && q.flags == back.flags &&
	     q.budget_ms == back.budget_ms && q.alt_dst_count == back.alt_dst_count);
	for (uint8_t i = 0; i < q.alt_dst_count; i++)
		must(addr_eq(&q.alt_dst[i], &back.alt_dst[i]));
}

static void answer(const uint8_t *body, size_t len)
{
	CLEANUP(buf_done) struct buf b = {0};
	struct peer_answer a, back;

	if (peer_answer_decode(body, len, &a) < 0)
		return;
	buf_init(&b, OUT_MAX);
	peer_answer_encode(&b, 7, &a);
	body = body_of(&b, PEER_ANSWER, &len);
	must(peer_answer_decode(body, len, &back) == 0);
	must(a.status == back.status && a.match == back.match && a.uid == back.uid &&
	     a.cgroup_id == back.cgroup_id && a.cookie == back.cookie);
	must(strcmp(a.spiffe_id, back.spiffe_id) == 0 && strcmp(a.unit, back.unit) == 0 &&
	     strcmp(a.container_id, back.container_id) == 0 &&
	     strcmp(a.pod_uid, back.pod_uid) == 0);
	must(a.has_sha256 == back.has_sha256 && a.has_fsverity == back.has_fsverity);
	must(!a.has_sha256 || memcmp(a.sha256, back.sha256, sizeof(a.sha256)) == 0);
	must(!a.has_fsverity || memcmp(a.fsverity, back.fsverity, sizeof(a.fsverity)) == 0);
	must(peer_status_name(a.status)[0] != '\0');
}

static void notice(const uint8_t *body, size_t len)
{
	CLEANUP(buf_done) struct buf b = {0};
	struct peer_notice n, back;

	if (peer_notice_decode(body, len, &n) < 0)
		return;
	buf_init(&b, OUT_MAX);
	peer_notice_encode(&b, PEER_ERROR, 7, &n);
	body = body_of(&b, PEER_ERROR, &len);
	must(peer_notice_decode(body, len, &back) == 0);
	must(n.code == back.code && strcmp(n.text, back.text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct peer_header h;

	while (peer_header_decode(data, size, &h) == 0) {
		const uint8_t *body = data + PEER_HEADER_LEN;

		must(h.body_len <= PEER_BODY_MAX && h.version != 0);
		if (size - PEER_HEADER_LEN < h.body_len)
			break;
		hello(body, h.body_len);
		query(body, h.body_len);
		answer(body, h.body_len);
		notice(body, h.body_len);
		data = body + h.body_len;
		size -= PEER_HEADER_LEN + h.body_len;
	}
	return 0;
}
