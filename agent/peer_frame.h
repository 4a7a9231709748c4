/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Frames of the peer protocol, version 1: what two agents say to each other on a mutually
 * authenticated TLS 1.3 stream (FORMATS "Peer protocol"; numbers are those on the wire, big
 * endian). Pure codec; every byte comes from outside.
 *
 * A frame: u16 magic, u8 version, u8 type, u32 body length (<= PEER_BODY_MAX), u64 request id,
 * body. A body is a fixed part, then TLVs (u16 type, u16 length; the high bit of the type means
 * "must be understood"). Unknown optional TLVs are skipped. Anything else that does not fit exactly
 * is -EBADMSG, and the caller closes the stream.
 */
#pragma once

#include "base/addr.h"
#include "base/buf.h"
#include "rules/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEER_ALPN        "bailiwick-attest/1"
#define PEER_MAGIC       0x4257
#define PEER_VERSION     1
#define PEER_HEADER_LEN  16
#define PEER_BODY_MAX    8192
#define PEER_ALT_DST_MAX 8
#define PEER_SPIFFE_MAX  2048
#define PEER_TEXT_MAX    256 /* unit, container id, pod uid, release: without a NUL */
#define PEER_DIGEST_LEN  32
#define PEER_BOOT_ID_LEN 16

enum peer_type {
	PEER_HELLO = 1,
	PEER_QUERY = 2,
	PEER_ANSWER = 3,
	PEER_PING = 4,
	PEER_PONG = 5,
	PEER_GOAWAY = 6,
	PEER_ERROR = 7,
};

/* Flags of a query. */
#define PEER_WANT_EVIDENCE 1U
#define PEER_DNAT_OK       2U
#define PEER_LISTENER      4U /* who listens at the destination (`callee: attested`) */
#define PEER_ESTABLISHED   8U /* at adoption, and when a bare SYN met a live entry */

/* Match bits of an answer: what was found to hold. */
#define PEER_MATCH_TUPLE     1U
#define PEER_MATCH_SYN_SENT  2U
#define PEER_MATCH_ISN       4U
#define PEER_MATCH_CONNTRACK 8U
#define PEER_MATCH_NETNS     16U
#define PEER_MATCH_HOLDER    32U

enum peer_status {
	PEER_OK,
	PEER_NO_SOCKET,
	PEER_WRONG_STATE,
	PEER_ISN_MISMATCH,
	PEER_NO_IDENTITY,
	PEER_NOT_MY_ADDRESS,
	PEER_EGRESS_DENIED,
	PEER_BUSY,
	PEER_REVISION_SKEW,
	PEER_HOLDER_MISMATCH,
	PEER_AMBIGUOUS,
	PEER_INTERNAL,
	PEER_STATUS_COUNT,
};
/* "ok", "no_socket", ...: the word in attest_refused:<status>; "unknown" for others. */
const char *peer_status_name(uint16_t status);

/* Appraisal of evidence, words of AR4SI (draft-ietf-rats-ar4si). */
enum peer_evidence {
	PEER_EVIDENCE_NONE = 0,
	PEER_EVIDENCE_AFFIRMING = 2,
	PEER_EVIDENCE_WARNING = 32, /* the executable was replaced on disk since it started */
	PEER_EVIDENCE_CONTRAINDICATED = 96,
};

struct peer_header {
	uint8_t version, type;
	uint32_t body_len;
	uint64_t id;
};

struct peer_hello {
	uint8_t version_min, version_max;
	uint8_t boot_id[PEER_BOOT_ID_LEN];
	char node[NODE_NAME_MAX]; /* must equal that of the SVID */
	char release[PEER_TEXT_MAX + 1];
	uint64_t policy_revision;
	uint32_t capabilities; /* none defined in version 1 */
	uint32_t in_flight_max;
	uint64_t wall_ms; /* clock skew is a metric and a warning, never a refusal */
};

struct peer_query {
	uint8_t l4proto; /* IPPROTO_TCP, IPPROTO_UDP */
	struct addr src, dst;
	uint16_t sport, dport;
	uint32_t isn; /* of the held SYN; 0 for datagrams and listeners */
	uint32_t flags;
	uint32_t budget_ms;
	uint64_t policy_revision;
	struct addr alt_dst[PEER_ALT_DST_MAX];
	uint8_t alt_dst_count;
};

struct peer_answer {
	uint16_t status; /* enum peer_status, or unknown: then a refusal */
	uint32_t match;
	uint32_t uid;               /* UINT32_MAX: not told */
	uint64_t cgroup_id, cookie; /* 0: not told */
	uint8_t evidence;           /* enum peer_evidence, or unknown: then none */
	uint32_t evidence_age_ms;
	uint64_t view_sequence;              /* mapping that the answer rests on */
	char spiffe_id[PEER_SPIFFE_MAX + 1]; /* "" = none */
	char unit[PEER_TEXT_MAX + 1], container_id[PEER_TEXT_MAX + 1], pod_uid[PEER_TEXT_MAX + 1];
	bool has_sha256, has_fsverity;
	uint8_t sha256[PEER_DIGEST_LEN], fsverity[PEER_DIGEST_LEN];
};

/* GOAWAY (no further queries on this stream) and ERROR: why. */
struct peer_notice {
	uint16_t code;
	char text[PEER_TEXT_MAX + 1];
};

/* -EAGAIN: fewer than PEER_HEADER_LEN bytes. -EBADMSG: magic, version 0, length. */
int peer_header_decode(const uint8_t *bytes, size_t len, struct peer_header *ret);
/* A body of the length that the header gave. 0 or -EBADMSG; ret is written on success only. */
int peer_hello_decode(const uint8_t *body, size_t len, struct peer_hello *ret);
int peer_query_decode(const uint8_t *body, size_t len, struct peer_query *ret);
int peer_answer_decode(const uint8_t *body, size_t len, struct peer_answer *ret);
int peer_notice_decode(const uint8_t *body, size_t len, struct peer_notice *ret);

/* Whole frames, appended to b (whose failure is its own, base/buf.h). */
void peer_hello_encode(struct buf *b, const struct peer_hello *h);
void peer_query_encode(struct buf *b, uint64_t id, const struct peer_query *q);
void peer_answer_encode(struct buf *b, uint64_t id, const struct peer_answer *a);
/* PING and PONG: no body. */
void peer_bare_encode(struct buf *b, enum peer_type type, uint64_t id);
void peer_notice_encode(struct buf *b, enum peer_type type, uint64_t id,
			const struct peer_notice *n);
