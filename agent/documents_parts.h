/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files agent/documents*.c share; everybody else includes agent/documents.h. */
#pragma once

#include "agent/documents.h"
#include "agent/intake.h"

#include <systemd/sd-event.h>

/* Denied packets a minute that a new policy may always have; above it three times those before. */
#define DOCUMENTS_DENIALS_FLOOR 30
#define DOCUMENTS_DENIALS_TIMES 3
/* The minute before is known in steps of so many seconds. */
#define DENIALS_STEP_S 10
#define DENIALS_STEPS  6
/* A view waits so long for the policy that came with it. */
#define DOCUMENTS_PAIR_S 10
/* What the kernel or the disk did not take is tried again after. */
#define DOCUMENTS_RETRY_S 10
/*
 * What fell back because its time was over is tried once more so much later. Long enough for what
 * was in its way to be gone, and for whoever it cut off to see that it was the policy.
 */
#define DOCUMENTS_SECOND_TRY_S 300
/* Starts that may find a policy neither confirmed nor on probation, before it is given up. */
#define DOCUMENTS_INTERRUPTED_MAX 2

/* A policy of ours on probation. */
struct probation {
	bool on, confirming;
	char digest[SHA256_HEX_LEN];
	uint64_t revision, serial;
	struct mono since;
	bool good; /* every gate holds, since: */
	struct mono good_since;
	char gate[256]; /* the one that did not hold when they were last looked at */
	bool had_contact;
	bool denied;             /* it broke conversations */
	uint64_t denials_before; /* in the minute before */
	uint64_t denials_at;     /* of the kernel's counter, when it began */
	uint64_t caused_at;      /* of telemetry's, of denials that it has brought */
};

/* A policy that fell back once, and is to be tried again. */
struct second_try {
	bool on;
	char digest[SHA256_HEX_LEN];
	struct mono at;
	bool contact; /* and not before the controller answers, whose silence is a gate */
};

/* The kernel's count of denied packets, as it was each DENIALS_STEP_S. */
struct denials {
	uint64_t counts[DENIALS_STEPS]; /* oldest first once it is full */
	size_t filled;
	unsigned seconds;
};

struct directory_source;
struct offline;

struct documents {
	struct agent *agent;
	struct keyring policy_keys, controller_keys;
	struct intake in;
	struct generation_records records;

	const struct document_source *source;
	struct directory_source *directory;
	struct offline *offline; /* `apply --offline` that waits for its answer */

	char view_digest[SHA256_HEX_LEN]; /* of the view in use */
	uint64_t sequence;                /* of the head in force */
	bool activating, advancing;
	char activating_digest[SHA256_HEX_LEN];
	uint64_t activating_revision;
	char pair_digest[SHA256_HEX_LEN]; /* the manifest that a view waits for, since: */
	struct mono pair_since;
	struct mono policy_retry;
	struct denials denials;
	struct probation probation;
	struct second_try second_try;
	json_t *revoked; /* {node: entries of the view left out}; NULL = none are known */
	struct wall policy_expires; /* of the manifest in force; 0 = no manifest */

	uint64_t troubles_told;
	bool connected, stale, ending;
	struct wall last_contact;
	struct mono last_contact_mono;
	char *contact_error;
};

/* max(wall clock, highest seen, release): a clock that was set back brings no document back. */
struct wall documents_now(const struct documents *d);
void documents_force(const struct documents *d, struct intake_force *ret);
void documents_records_keep(struct documents *d);
/* Whatever can be done now: ask, activate, tell that the head is in force. */
void documents_advance(struct documents *d);
/* Bytes of a head from a carrier of that name: 1, 0, or what intake_head() says. */
int documents_head_from(struct documents *d, const void *text, size_t len, struct err *err);
/* Something that is told to the controller has changed. */
void documents_report(const struct documents *d);
/* Flows that a head's change has cut: evidence for the report, and for `apply --offline`. */
void documents_cut(struct documents *d, const struct cut_list *cut);

/* --- documents_activate.c --- */
void documents_activate(struct documents *d);
void documents_expires_read(struct documents *d);

/* --- documents_probation.c --- */
void probation_begin(struct documents *d);
void probation_tick(struct documents *d);
/* Recorded as fallen back; pin: never to be tried again, or else for the second time only. */
void documents_rolled_back(struct documents *d, const char *digest, uint64_t revision,
			   const char *why, bool pin);
/* The policy that is wanted has fallen back before. */
void probation_refuse(struct documents *d, const struct generation_record *e, bool contact);
/* The second try, when it is due: the policy is wanted again. */
void probation_second_try(struct documents *d, struct mono now);
void documents_confirmed(struct documents *d, const char *digest);

/* --- documents_directory.c --- */
int directory_source_new(struct documents *d, struct directory_source **ret, struct err *err);
void directory_source_free(struct directory_source *s);
void directory_source_tick(struct directory_source *s);
const struct document_source *directory_source_of(struct directory_source *s);

/* --- documents_revoked.c --- */
/* At start, with the view that was kept. */
void revoked_load(struct documents *d);
/* Of this manifest, which is stored: from now on, and out of the view in use. */
int revoked_take(struct documents *d, const char *manifest, struct err *err);
/* Out of a view that is to be used. */
void revoked_strip(struct documents *d, struct view *v);

/* --- documents_offline.c --- */
/* "root (archive)" */
const char *offline_who(const struct documents *d);
/* Of whoever brought the archive that is being applied; NULL when there is none. */
const char *offline_reason(const struct documents *d);
/* Answers the waiting request if its head is in force, or cannot be any more. */
void offline_settle(struct documents *d, bool ending);
void offline_cut(struct documents *d, const struct cut_list *cut);
/* The change of policy in words (change_words.h), for the answer; may be NULL. */
void offline_words(struct documents *d, json_t *words);
