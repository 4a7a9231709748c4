/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Documents on their way in: which head is the newest, what of it is missing, who is asked for it,
 * what was refused and why. Everything is verified here (controller-client/accept.h) before anybody
 * sees it; a refused document changes nothing but the list of troubles. A newer head may come at
 * any time and takes over what it has in common with the one before.
 *
 * Knows nothing of the agent: time comes in, finished policy texts and views go out.
 */
#pragma once

#include "agent/document_store.h"
#include "base/clock.h"
#include "base/err.h"
#include "controller-client/accept.h"
#include "rules/compile.h"
#include "rules/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct document_source;

#define INTAKE_ANSWER_S      120 /* a carrier that says nothing is asked again */
#define INTAKE_RETRY_FIRST_S 1
#define INTAKE_RETRY_MAX_S   60
#define INTAKE_TROUBLES_MAX  8

/* How far one half of a head has come. */
enum part {
	PART_NONE,    /* the head names none */
	PART_WANTED,  /* something is missing */
	PART_READY,   /* verified, to be activated */
	PART_TAKEN,   /* in force, or on probation */
	PART_REFUSED, /* never; troubles say why */
};

/* Something asked for. */
struct want {
	char sha256[SHA256_HEX_LEN];
	uint64_t size; /* blobs */
	bool here;
	bool asked;
	struct mono at; /* asked then, or not before */
	unsigned failures;
};

/* One trouble per document: a later success of the same document ends it. */
struct trouble {
	const char *document; /* "head", "manifest", "policy", "view", "archive", or a file */
	const char *code;
	char text[ERR_TEXT_MAX];
	struct wall when;
};

struct refusal_count {
	const char *code;
	uint64_t count;
};
#define REFUSAL_CODES_MAX 32

struct intake {
	struct accept_context context; /* `now` is set by each call */
	struct document_store *store;
	struct known known;
	bool unkept; /* the disk did not take what is known, or this head; tried again */
	char *unkept_head;
	size_t unkept_head_len;
	const struct document_source *source;

	/* The newest head that was accepted; its overlay has been handed over. */
	bool has_head;
	struct head head;
	struct mono head_at; /* when it came */

	enum part policy;
	struct want manifest_want;
	struct manifest manifest;
	char *manifest_text;
	size_t manifest_len;
	struct want *blob_wants; /* as many as manifest.policy_count */
	struct store_policy texts;

	enum part view;
	struct want view_want;
	struct view *view_decoded;
	char *view_text;
	size_t view_len;

	struct mono splay_until; /* nothing is asked of a carrier that splays before */
	bool stepping, again;

	struct trouble troubles[INTAKE_TROUBLES_MAX];
	size_t trouble_count;
	uint64_t trouble_changes; /* rises when one comes or goes */
	struct refusal_count refused[REFUSAL_CODES_MAX];
	size_t refused_count;
};

/* What is in force, to know what a head adds. */
struct intake_force {
	const char *manifest;  /* digest confirmed; NULL = none */
	const char *candidate; /* on probation; NULL = none */
	uint64_t manifest_revision, candidate_revision;
	const char *view; /* digest of the view in use; NULL = none */
};

/*
 * Borrows the context's keys and names, and the store. Reads what is known; where that is damaged,
 * what the stored documents prove is known. Fails for want of memory only.
 */
int intake_init(struct intake *in, const struct accept_context *context,
		struct document_store *store, struct err *err);
void intake_done(struct intake *in);

/*
 * A head. 1: newer; *ret_overlay is the caller's, and what is missing is asked for. 0: the one we
 * have. Negative: refused, and noted.
 */
int intake_head(struct intake *in, const char *text, size_t len, const struct intake_force *force,
		struct wall wall, struct mono mono, struct overlay *ret_overlay, struct err *err);
/*
 * The head of the last run, from disk: as intake_head(), but it may have expired. *ret_trusted:
 * verified under the keys of now. -ENOENT when there is none. One that is known of and is not there
 * may come once more.
 */
int intake_head_stored(struct intake *in, const struct intake_force *force, struct wall wall,
		       struct mono mono, struct overlay *ret_overlay, bool *ret_trusted,
		       struct err *err);
/* Whoever carries documents now: everything is asked for again. */
void intake_set_source(struct intake *in, const struct document_source *source, struct mono mono);

void intake_manifest(struct intake *in, uint64_t revision, const char *text, size_t len,
		     struct wall wall, struct mono mono);
void intake_blob(struct intake *in, const char *sha256, const void *bytes, size_t len,
		 struct wall wall, struct mono mono);
/* The carrier could not get it. */
void intake_failed(struct intake *in, const char *what, const char *name, const char *text,
		   struct wall wall, struct mono mono);
/* Asks for what is missing and due; finishes what is there. Now and then. */
void intake_step(struct intake *in, struct wall wall, struct mono mono);

/* Something is missing, and the carrier is not asked before its time. */
bool intake_in_splay(const struct intake *in, struct mono mono);
/* Waits for anything. */
bool intake_pending(const struct intake *in);
/* Both halves are in force or refused. */
bool intake_settled(const struct intake *in);

/* For the other half of this work, activation. */
void intake_view_again(struct intake *in, struct mono mono); /* it could not be used: once more */
void intake_policy_again(struct intake *in); /* it was taken or refused: from the beginning */
void intake_texts_drop(struct intake *in);   /* the policy has been taken */
void intake_policy_refuse(struct intake *in, const char *code, const char *text, struct wall wall);
void intake_trouble(struct intake *in, const char *document, const char *code, const char *text,
		    struct wall wall);
void intake_trouble_end(struct intake *in, const char *document);
/* Among the troubles, but nothing was refused. */
void intake_note(struct intake *in, const char *document, const char *code, const char *text,
		 struct wall wall);
/* A file of state that was damaged: an error, and a trouble until the agent ends. */
void intake_damaged(struct intake *in, const char *file, const char *text);
/* For intake_init(). cause NULL: there is no known.json. -ENOMEM. */
int intake_recover(struct intake *in, const char *cause);
/* Writes what is known, if it has changed or could not be written before. */
void intake_keep(struct intake *in);
