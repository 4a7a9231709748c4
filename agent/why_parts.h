/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of `why` share: verb_why.c asks, why_ends.c says who the ends are, why_answer.c
 * puts the answer together. Nobody else includes it.
 */
#pragma once

#include "agent/attested.h"
#include "agent/telemetry_record.h"
#include "agent/why_end.h"

#include <jansson.h>

#define ANSWER_TEXT_MAX 8192

struct why {
	struct agent *agent;
	const struct edition *edition;
	struct compile_input in;
	const struct host *host;
	struct why_end from, to;
	struct service service;
	char service_text[RECORD_SERVICE_MAX];
	struct verdict v;
	bool recorded; /* v's decision and reason are those of a record */
	bool allowed_now;
	struct attested_texts texts;
	/*
	 * What was recorded, or of a question by names the newest connection between them that
	 * somebody was asked about; its reason is that of the evidence alone then.
	 */
	struct record record; /* last: what it is made of ends in an array without a size */
};

/* Given, or that of the place the mapping names first; NULL when neither says. */
const struct addr *why_address(const struct why *y, const struct why_end *e);

/* --- why_ends.c --- */
/* Asked for by name, or this one for a process; else NULL. */
const char *why_node(const struct why *y, const struct why_end *e);
bool why_placed_here(const struct view *v, const char *path);
/* The node of an end; path: of its identity, or NULL. NULL when this node does not know. */
const char *why_where(const struct why *y, const struct why_end *e, const char *path);
/* The identity to show, -1 for none: a caller behind an address is its node (R19). */
int why_shown(const struct why *y, const struct why_end *e);
json_t *why_end_json(const struct why *y, const struct why_end *e);
/* Appends how the end is known, in one sentence. */
void why_known(const struct why *y, const struct why_end *e, json_t *list);

/* --- why_answer.c --- */
/* The whole object; NULL when out of memory. */
json_t *why_answer(const struct why *y);
