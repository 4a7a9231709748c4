/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/peer_frame.h"

#include "base/cursor.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#define FAMILY_INET  4
#define FAMILY_INET6 6
#define ADDR_LEN     16
#define ADDR4_LEN    4
#define ADDR6_LEN    16

#define TLV_MUST_UNDERSTAND 0x8000U
#define TLV_HEADER_LEN      4

/* Types of a TLV; each body has its own set, the numbers are common (FORMATS). */
enum {
	TLV_ALT_DST = 1,
	TLV_SPIFFE_ID = 2,
	TLV_UNIT = 3,
	TLV_CONTAINER_ID = 4,
	TLV_POD_UID = 5,
	TLV_EXE_SHA256 = 6,
	TLV_FSVERITY = 7,
};

const char *peer_status_name(uint16_t status)
{
	static const char *const names[PEER_STATUS_COUNT] = {
		[PEER_OK] = "ok",
		[PEER_NO_SOCKET] = "no_socket",
		[PEER_WRONG_STATE] = "wrong_state",
		[PEER_ISN_MISMATCH] = "isn_mismatch",
		[PEER_NO_IDENTITY] = "no_identity",
		[PEER_NOT_MY_ADDRESS] = "not_my_address",
		[PEER_EGRESS_DENIED] = "egress_denied",
		[PEER_BUSY] = "busy",
		[PEER_REVISION_SKEW] = "revision_skew",
		[PEER_HOLDER_MISMATCH] = "holder_mismatch",
		[PEER_AMBIGUOUS] = "ambiguous",
		[PEER_INTERNAL] = "internal",
	};

	return status < PEER_STATUS_COUNT ? names[status] : "unknown";
}

/* --- reading ------------------------------------------------------------------------------ */

static void fail(struct cursor *c)
{
	c->r = -EBADMSG;
}

static void get_bytes(struct cursor *c, void *to, size_t len)
{
	const uint8_t *bytes = cursor_bytes(c, len);

	if (bytes)
		memcpy(to, bytes, len);
}

static uint8_t get_family(struct cursor *c)
{
	switch (cursor_u8(c)) {
	case FAMILY_INET:
		return AF_INET;
	case FAMILY_INET6:
		return AF_INET6;
	default:
		fail(c);
		return 0;
	}
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i])
			return false;
	}
	return true;
}

/*
 * 16 bytes whatever the family; the unused ones of IPv4 are zero, so that one address has one
 * form. ::ffff:a.b.c.d is no address of a packet (base/addr.h).
 */
static void get_addr(struct cursor *c, uint8_t family, struct addr *ret)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	const uint8_t *bytes = cursor_bytes(c, ADDR_LEN);

	*ret = (struct addr){.family = family};
	if (!bytes)
		return;
	if (family == AF_INET ? !is_zero(bytes + ADDR4_LEN, ADDR_LEN - ADDR4_LEN)
			      : memcmp(bytes, mapped, sizeof(mapped)) == 0)
		fail(c);
	memcpy(ret->bytes, bytes, family == AF_INET ? ADDR4_LEN : ADDR6_LEN);
}

/* A text of `len` bytes: valid UTF-8 without a NUL, so that it is the same text to everybody. */
static void get_text(struct cursor *c, size_t len, char *ret, size_t max)
{
	const uint8_t *bytes;

	if (len > max || len == 0) {
		fail(c);
		return;
	}
	bytes = cursor_bytes(c, len);
	if (!bytes)
		return;
	if (!text_utf8_ok((const char *)bytes, len) || memchr(bytes, '\0', len)) {
		fail(c);
		return;
	}
	memcpy(ret, bytes, len);
	ret[len] = '\0';
}

/* Two bytes of length; may be empty. */
static void get_short_text(struct cursor *c, char *ret, size_t max)
{
	size_t len = cursor_be16(c);

	ret[0] = '\0';
	if (c->r == 0 && len > 0)
		get_text(c, len, ret, max);
}

struct tlv {
	uint16_t type; /* without the high bit */
	bool must;
	struct cursor value;
};

/* False at the end and on errors. */
static bool get_tlv(struct cursor *c, struct tlv *ret)
{
	const uint8_t *bytes;
	uint16_t type, len;

	if (c->r < 0 || c->left == 0)
		return false;
	type = cursor_be16(c);
	len = cursor_be16(c);
	bytes = cursor_bytes(c, len);
	if (c->r < 0)
		return false;
	ret->type = type & (uint16_t)~TLV_MUST_UNDERSTAND;
	ret->must = (type & TLV_MUST_UNDERSTAND) != 0;
	cursor_init(&ret->value, bytes, len);
	return true;
}

/* What is not known may be skipped unless it must not; what is known has to fit exactly. */
static void end_tlv(struct cursor *c, const struct tlv *t, bool known)
{
	if (known ? t->value.r < 0 || t->value.left > 0 : t->must)
		fail(c);
}

int peer_header_decode(const uint8_t *bytes, size_t len, struct peer_header *ret)
{
	struct peer_header h;
	struct cursor c;
	uint16_t magic;

	if (len < PEER_HEADER_LEN)
		return -EAGAIN;
	cursor_init(&c, bytes, PEER_HEADER_LEN);
	magic = cursor_be16(&c);
	h.version = cursor_u8(&c);
	h.type = cursor_u8(&c);
	h.body_len = cursor_be32(&c);
	h.id = cursor_be64(&c);
	if (magic != PEER_MAGIC || h.version == 0 || h.body_len > PEER_BODY_MAX)
		return -EBADMSG;
	*ret = h;
	return 0;
}

/* TLVs of a body that knows none. */
static void skip_tlvs(struct cursor *c)
{
	struct tlv t;

	while (get_tlv(c, &t))
		end_tlv(c, &t, false);
}

int peer_hello_decode(const uint8_t *body, size_t len, struct peer_hello *ret)
{
	struct peer_hello h = {0};
	struct cursor c;

	cursor_init(&c, body, len);
	h.version_min = cursor_u8(&c);
	h.version_max = cursor_u8(&c);
	get_bytes(&c, h.boot_id, sizeof(h.boot_id));
	h.policy_revision = cursor_be64(&c);
	h.capabilities = cursor_be32(&c);
	h.in_flight_max = cursor_be32(&c);
	h.wall_ms = cursor_be64(&c);
	get_short_text(&c, h.node, sizeof(h.node) - 1);
	get_short_text(&c, h.release, sizeof(h.release) - 1);
	skip_tlvs(&c);
	if (c.r < 0)
		return c.r;
	if (h.version_min == 0 || h.version_max < h.version_min || !node_name_ok(h.node))
		return -EBADMSG;
	*ret = h;
	return 0;
}

static void get_alt_dst(struct tlv *t, struct peer_query *q)
{
	uint8_t family = get_family(&t->value);

	if (q->alt_dst_count == PEER_ALT_DST_MAX)
		fail(&t->value);
	else
		get_addr(&t->value, family, &q->alt_dst[q->alt_dst_count++]);
}

int peer_query_decode(const uint8_t *body, size_t len, struct peer_query *ret)
{
	struct peer_query q = {0};
	struct cursor c;
	struct tlv t;
	uint8_t family;

	cursor_init(&c, body, len);
	family = get_family(&c);
	q.l4proto = cursor_u8(&c);
	get_addr(&c, family, &q.src);
	q.sport = cursor_be16(&c);
	get_addr(&c, family, &q.dst);
	q.dport = cursor_be16(&c);
	q.isn = cursor_be32(&c);
	q.flags = cursor_be32(&c);
	q.budget_ms = cursor_be32(&c);
	q.policy_revision = cursor_be64(&c);
	while (get_tlv(&c, &t)) {
		if (t.type == TLV_ALT_DST)
			get_alt_dst(&t, &q);
		end_tlv(&c, &t, t.type == TLV_ALT_DST);
	}
	if (c.r < 0)
		return c.r;
	if (q.l4proto != IPPROTO_TCP && q.l4proto != IPPROTO_UDP)
		return -EBADMSG;
	*ret = q;
	return 0;
}

/* Each at most once: twice is two answers. */
static bool get_answer_tlv(struct tlv *t, struct peer_answer *a, uint32_t *seen)
{
	if (t->type >= TLV_SPIFFE_ID && t->type <= TLV_FSVERITY) {
		if (*seen & 1U << t->type)
			fail(&t->value);
		*seen |= 1U << t->type;
	}
	switch (t->type) {
	case TLV_SPIFFE_ID:
		get_text(&t->value, t->value.left, a->spiffe_id, PEER_SPIFFE_MAX);
		return true;
	case TLV_UNIT:
		get_text(&t->value, t->value.left, a->unit, PEER_TEXT_MAX);
		return true;
	case TLV_CONTAINER_ID:
		get_text(&t->value, t->value.left, a->container_id, PEER_TEXT_MAX);
		return true;
	case TLV_POD_UID:
		get_text(&t->value, t->value.left, a->pod_uid, PEER_TEXT_MAX);
		return true;
	case TLV_EXE_SHA256:
		a->has_sha256 = true;
		get_bytes(&t->value, a->sha256, sizeof(a->sha256));
		return true;
	case TLV_FSVERITY:
		a->has_fsverity = true;
		get_bytes(&t->value, a->fsverity, sizeof(a->fsverity));
		return true;
	default:
		return false;
	}
}

int peer_answer_decode(const uint8_t *body, size_t len, struct peer_answer *ret)
{
	struct cursor c;
	uint32_t seen = 0;
	struct tlv t;
	/* Texts are set apart by their first byte: the whole is 3 KiB, and comes for each flow. */
	struct peer_answer a;

	a.spiffe_id[0] = a.unit[0] = a.container_id[0] = a.pod_uid[0] = '\0';
	a.has_sha256 = a.has_fsverity = false;
	cursor_init(&c, body, len);
	a.status = cursor_be16(&c);
	a.match = cursor_be32(&c);
	a.uid = cursor_be32(&c);
	a.cgroup_id = cursor_be64(&c);
	a.cookie = cursor_be64(&c);
	a.evidence = cursor_u8(&c);
	a.evidence_age_ms = cursor_be32(&c);
	a.view_sequence = cursor_be64(&c);
	while (get_tlv(&c, &t))
		end_tlv(&c, &t, get_answer_tlv(&t, &a, &seen));
	if (c.r < 0)
		return c.r;
	*ret = a;
	return 0;
}

int peer_notice_decode(const uint8_t *body, size_t len, struct peer_notice *ret)
{
	struct peer_notice n = {0};
	struct cursor c;

	cursor_init(&c, body, len);
	n.code = cursor_be16(&c);
	get_short_text(&c, n.text, sizeof(n.text) - 1);
	skip_tlvs(&c);
	if (c.r < 0)
		return c.r;
	*ret = n;
	return 0;
}

/* --- writing ------------------------------------------------------------------------------ */

static void put_u8(struct buf *b, uint8_t v)
{
	buf_add(b, &v, sizeof(v));
}

static void put_be16(struct buf *b, uint16_t v)
{
	const uint8_t bytes[] = {(uint8_t)(v >> 8), (uint8_t)v};

	buf_add(b, bytes, sizeof(bytes));
}

static void put_be32(struct buf *b, uint32_t v)
{
	const uint8_t bytes[] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8),
				 (uint8_t)v};

	buf_add(b, bytes, sizeof(bytes));
}

static void put_be64(struct buf *b, uint64_t v)
{
	put_be32(b, (uint32_t)(v >> 32));
	put_be32(b, (uint32_t)v);
}

static void put_addr(struct buf *b, const struct addr *a)
{
	uint8_t bytes[ADDR_LEN] = {0};

	memcpy(bytes, a->bytes, addr_len(a));
	buf_add(b, bytes, sizeof(bytes));
}

static void put_family(struct buf *b, const struct addr *a)
{
	put_u8(b, a->family == AF_INET6 ? FAMILY_INET6 : FAMILY_INET);
}

static void put_short_text(struct buf *b, const char *text)
{
	size_t len = strlen(text);

	put_be16(b, (uint16_t)len);
	buf_add(b, text, len);
}

static void put_tlv(struct buf *b, uint16_t type, const void *value, size_t len)
{
	put_be16(b, type);
	put_be16(b, (uint16_t)len);
	buf_add(b, value, len);
}

static void put_text_tlv(struct buf *b, uint16_t type, const char *text)
{
	if (text[0])
		put_tlv(b, type, text, strlen(text));
}

/* Returns where the frame begins; the length is written by end_frame(). */
static size_t begin_frame(struct buf *b, enum peer_type type, uint64_t id)
{
	size_t at = b->len;

	put_be16(b, PEER_MAGIC);
	put_u8(b, PEER_VERSION);
	put_u8(b, (uint8_t)type);
	put_be32(b, 0);
	put_be64(b, id);
	return at;
}

static void end_frame(struct buf *b, size_t at)
{
	size_t len;

	if (b->r < 0)
		return;
	len = b->len - at - PEER_HEADER_LEN;
	if (len > PEER_BODY_MAX) {
		b->r = -E2BIG;
		return;
	}
	for (size_t i = 0; i < sizeof(uint32_t); i++)
		b->data[at + sizeof(uint32_t) + i] = (char)(uint8_t)(len >> (24 - 8 * i));
}

void peer_hello_encode(struct buf *b, const struct peer_hello *h)
{
	size_t at = begin_frame(b, PEER_HELLO, 0);

	put_u8(b, h->version_min);
	put_u8(b, h->version_max);
	buf_add(b, h->boot_id, sizeof(h->boot_id));
	put_be64(b, h->policy_revision);
	put_be32(b, h->capabilities);
	put_be32(b, h->in_flight_max);
	put_be64(b, h->wall_ms);
	put_short_text(b, h->node);
	put_short_text(b, h->release);
	end_frame(b, at);
}

void peer_query_encode(struct buf *b, uint64_t id, const struct peer_query *q)
{
	size_t at = begin_frame(b, PEER_QUERY, id);

	put_family(b, &q->src);
	put_u8(b, q->l4proto);
	put_addr(b, &q->src);
	put_be16(b, q->sport);
	put_addr(b, &q->dst);
	put_be16(b, q->dport);
	put_be32(b, q->isn);
	put_be32(b, q->flags);
	put_be32(b, q->budget_ms);
	put_be64(b, q->policy_revision);
	for (uint8_t i = 0; i < q->alt_dst_count; i++) {
		put_be16(b, TLV_ALT_DST);
		put_be16(b, 1 + ADDR_LEN);
		put_family(b, &q->alt_dst[i]);
		put_addr(b, &q->alt_dst[i]);
	}
	end_frame(b, at);
}

void peer_answer_encode(struct buf *b, uint64_t id, const struct peer_answer *a)
{
	size_t at = begin_frame(b, PEER_ANSWER, id);

	put_be16(b, a->status);
	put_be32(b, a->match);
	put_be32(b, a->uid);
	put_be64(b, a->cgroup_id);
	put_be64(b, a->cookie);
	put_u8(b, a->evidence);
	put_be32(b, a->evidence_age_ms);
	put_be64(b, a->view_sequence);
	put_text_tlv(b, TLV_SPIFFE_ID, a->spiffe_id);
	put_text_tlv(b, TLV_UNIT, a->unit);
	put_text_tlv(b, TLV_CONTAINER_ID, a->container_id);
	put_text_tlv(b, TLV_POD_UID, a->pod_uid);
	if (a->has_sha256)
		put_tlv(b, TLV_EXE_SHA256, a->sha256, sizeof(a->sha256));
	if (a->has_fsverity)
		put_tlv(b, TLV_FSVERITY, a->fsverity, sizeof(a->fsverity));
	end_frame(b, at);
}

void peer_bare_encode(struct buf *b, enum peer_type type, uint64_t id)
{
	(void)begin_frame(b, type, id);
}

void peer_notice_encode(struct buf *b, enum peer_type type, uint64_t id,
			const struct peer_notice *n)
{
	size_t at = begin_frame(b, type, id);

	put_be16(b, n->code);
	put_short_text(b, n->text);
	end_frame(b, at);
}
