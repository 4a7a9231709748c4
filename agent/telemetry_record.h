/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One decision record (FORMATS, "Decision record") as a packed value: a thousand of them are kept,
 * and as JSON trees they would cost more than the rest of the agent. Pure.
 */
#pragma once

#include "base/addr.h"
#include "base/clock.h"
#include "rules/verdict.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum record_direction { RECORD_OUT, RECORD_IN, RECORD_FORWARD };
enum record_assurance {
	RECORD_NONE,
	RECORD_DEVICE,
	RECORD_MAPPED,
	RECORD_ATTESTED,
	RECORD_MEASURED,
};

#define RECORD_SERVICE_MAX 24
#define RECORD_STATUS_MAX  32
#define RECORD_MATCH_MAX   8    /* words */
#define RECORD_TEXT_MAX    4096 /* of one name or path; longer ones are left out */

struct record_end {
	const char *identity, *node, *cgroup; /* NULL = not known */
	struct addr address;
	uint16_t port;
	bool has_port, has_uid;
	uint32_t uid;
};

/*
 * What came of the question that was asked about the flow. It is what the far node says of its own
 * process, not what this node found.
 */
struct record_evidence {
	const char *asked;     /* node; NULL = nobody was asked */
	const char *status;    /* word of its answer; NULL = none came */
	const char *spiffe_id; /* that it named, whether that was accepted or not */
	const char *unit, *container_id, *pod_uid;
	const char *sha256, *fsverity; /* of the executable, hex; only where evidence was wanted */
	const char *appraisal;         /* of the executable: affirming, warning, contraindicated */
	const char *check;             /* that failed, and why, for people */
	uint32_t match;                /* PEER_MATCH_* */
	uint32_t rtt_us, held_us;      /* 0 = not measured */
};

struct record {
	unsigned refs;
	int64_t time_ms, last_ms; /* unix; of the first flow and of the last that it stands for */
	uint8_t decision;         /* enum decision */
	uint8_t reason;           /* enum reason */
	uint8_t direction;        /* enum record_direction */
	uint8_t assurance;        /* enum record_assurance */
	uint8_t l4proto;
	char service[RECORD_SERVICE_MAX];
	char status[RECORD_STATUS_MAX]; /* behind the reason and a colon; "" = none */
	uint32_t conduit;               /* 0 = none */
	uint32_t count;                 /* flows that it stands for */
	bool by_candidate; /* denied by the policy on probation, not by the one before */
	uint64_t view_sequence;
	const char *rule, *digest;
	struct record_end from, to;
	struct record_evidence evidence;
	char texts[]; /* what the pointers of a packed record point into */
};

/* A copy on the heap that owns its texts; NULL when out of memory. refs is 1. */
struct record *record_pack(const struct record *draft);
struct record *record_ref(struct record *r);
void record_unref(struct record *r);

/* The JSON object, with another time and count than the record's own. NULL: out of memory. */
json_t *record_json(const struct record *r, const char *node, int64_t time_ms, uint32_t count);
/* Its member `evidence`: empty where nobody was asked. */
json_t *record_evidence_json(const struct record_evidence *e);
/* The other way round, for records that other parts made; borrows from `json`. -EINVAL. */
int record_from_json(const json_t *json, struct record *ret_draft);

/*
 * How well the far end of a flow with this mark is known; c is the mark's conduit. What the mark
 * itself does not say was not achieved: a rule may ask for more than a flow has that runs on
 * another rule, or because nobody could vouch.
 */
enum record_assurance record_assurance_of(const struct conduit *c, uint32_t mark);
const char *record_assurance_name(enum record_assurance a);

/* Flows with one key are one record for a while: everything but the caller's port. */
uint64_t record_key(const struct record *r);

/* "tcp/8443", "icmp/echo", "icmp/3", "proto/47". */
void record_service(char buf[RECORD_SERVICE_MAX], uint8_t l4proto, uint16_t port_or_type);

/* Words of PEER_MATCH_* bits, at most RECORD_MATCH_MAX; bits without a word are left out. */
size_t record_match_words(uint32_t match, const char *ret_words[RECORD_MATCH_MAX]);

/* "10.77.0.11:51544", "[fd00::1]:443", or the address alone. */
#define RECORD_ADDRESS_MAX (ADDR_TEXT_MAX + 10)
const char *record_address(char buf[RECORD_ADDRESS_MAX], const struct record_end *e);
