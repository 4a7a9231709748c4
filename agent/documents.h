/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signed documents on their way into force: head, manifest, policy blobs, view. They come from a
 * courier, a directory or an archive, which are only carriers: everything is verified here
 * (controller-client/accept.h), and what fails changes nothing. A newer manifest goes through
 * commit-confirm; view, revocations, quarantines and grants act at once. What was accepted last is
 * kept in state_dir and is what the next start begins with, controller or not.
 */
#pragma once

#include "agent/agent.h"
#include "controller-client/accept.h"

#define DOCUMENTS_PROBATION_S 120 /* falls back in the kernel after */
#define DOCUMENTS_HOLD_S      5   /* gates must hold so long before it is confirmed */
#define DOCUMENTS_SPLAY_S     30
#define DOCUMENTS_STALE_END_S 3600 /* after the head's expiry, for rules with on_stale: end */

/* A carrier. Answers come by documents_manifest(), documents_blob() or documents_failed(), perhaps
 * before the call returns. */
struct document_source {
	const char *name; /* "courier", "directory", "archive" */
	bool splay;
	void (*want_manifest)(void *user, uint64_t revision, size_t max);
	void (*want_blob)(void *user, const char *sha256, uint64_t size);
	void (*taken)(void *user, uint64_t sequence); /* this head is in force */
	void *user;
};

/* Reads keys and what is known. NULL in *ret when the agent has no `trust` (plain directory). */
int documents_new(struct agent *a, struct documents **ret, struct err *err);
void documents_free(struct documents *d);
/* At start, before the first load: what the last head closes, what became of its policy. */
int documents_load(struct documents *d, struct err *err);
/* The directory, where that is the source; a courier comes by documents_set_source(). */
int documents_start(struct documents *d, struct err *err);
void documents_set_source(struct documents *d, const struct document_source *source);
void documents_tick(struct documents *d); /* once a second; d may be NULL */

/* From the carrier. Bytes are borrowed. */
void documents_head(struct documents *d, const void *text, size_t len);
void documents_manifest(struct documents *d, uint64_t revision, const void *text, size_t len);
void documents_blob(struct documents *d, const char *sha256, const void *bytes, size_t len);
void documents_failed(struct documents *d, const char *what, const char *name, const char *text);
/* The controller answered, or did not. */
void documents_contact(struct documents *d, bool ok, const char *text);

/* For compile_input, status, reports. */
struct wall documents_stale_end(const struct documents *d); /* 0 = none */
bool documents_stale(const struct documents *d);
bool documents_connected(const struct documents *d); /* the controller answered last time */
const struct known *documents_known(const struct documents *d);
uint64_t documents_head_sequence(const struct documents *d); /* in force */
/* Refusals and troubles of now, as report and `status` tell them: array of
 * {code, document, text}, new reference. */
json_t *documents_errors(const struct documents *d);
/* Fields `controller` and `documents` of status; d may be NULL. */
void documents_status(const struct documents *d, const struct config *c, json_t *status);
/* Refusals by code since the start; calls fn for each. */
void documents_refusals(const struct documents *d,
			void (*fn)(void *user, const char *code, uint64_t count), void *user);
/* Head's age in seconds since it was issued, -1 without one. */
int64_t documents_head_age(const struct documents *d);

/* The verb apply_offline: a signed archive, carried by an operator. */
struct request;
void documents_apply_offline(struct documents *d, struct request *q);
void documents_offline_gone(struct documents *d, const struct request *q);
/*
 * The agent ends: whoever waits is answered, and what is broken off is nobody's fault. Before the
 * waiters are told and the control socket goes. d may be NULL.
 */
void documents_end(struct documents *d);
