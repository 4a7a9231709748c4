/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Documents that a node is offered. Each attempt looks at `known` before and after: a refusal
 * changes nothing, says why, and leaves no document behind.
 */
#pragma once

#include "tests/unit/document_fixture.h"

struct attempt {
	int r;
	enum refusal why;
	struct err err;
};

void attempt_check(const struct attempt *a, const struct known *before, const struct known *after,
		   enum refusal why);
struct attempt attempt_head(struct document_fixture *f, const char *text, size_t len,
			    struct head *ret);
void attempt_head_refused(struct document_fixture *f, const char *envelope, enum refusal why);
void attempt_head_text_refused(struct document_fixture *f, char *take_text, enum refusal why);
void attempt_head_text_taken(struct document_fixture *f, char *take_text, int expected);
struct attempt attempt_manifest(struct document_fixture *f, const struct head_pointer *want,
				const char *envelope, struct manifest *ret, bool *expired);
void attempt_manifest_refused(struct document_fixture *f, const struct head_pointer *want,
			      const char *envelope, enum refusal why);
void attempt_manifest_text_refused(struct document_fixture *f, unsigned long revision,
				   char *take_text, enum refusal why);
bool attempt_manifest_text_taken(struct document_fixture *f, unsigned long revision,
				 char *take_text);
void attempt_manifest_taken(struct document_fixture *f, unsigned long revision,
			    unsigned long floor);
