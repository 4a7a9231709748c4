/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/accept_fixture.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <stdlib.h>
#include <string.h>

/* A refusal changes nothing, says why, and leaves no document behind. */
void attempt_check(const struct attempt *a, const struct known *before, const struct known *after,
		   enum refusal why)
{
	CHECK(a->r < 0);
	CHECK_STR(refusal_code(a->why), refusal_code(why));
	CHECK(a->err.text[0] != '\0');
	CHECK_MEM(after, before, sizeof(*after));
}

struct attempt attempt_head(struct document_fixture *f, const char *text, size_t len,
			    struct head *ret)
{
	struct attempt a = {.why = REFUSAL_MIX};

	a.r = accept_head(&f->known, &f->context, text, len, ret, &a.why, &a.err);
	return a;
}

void attempt_head_refused(struct document_fixture *f, const char *envelope, enum refusal why)
{
	struct known before = f->known;
	struct head h = {0};
	struct attempt a = attempt_head(f, envelope, strlen(envelope), &h);

	attempt_check(&a, &before, &f->known, why);
	CHECK(h.node == NULL && h.overlay.revoked == NULL);
}

/* Signs take_text as a head by the controller's key and expects a refusal. */
void attempt_head_text_refused(struct document_fixture *f, char *take_text, enum refusal why)
{
	CLEANUP(freep) char *text = take_text;
	CLEANUP(freep) char *envelope = document_sign(DSSE_TYPE_HEAD, text, &f->controller);

	attempt_head_refused(f, envelope, why);
}

void attempt_head_text_taken(struct document_fixture *f, char *take_text, int expected)
{
	CLEANUP(freep) char *text = take_text;
	CLEANUP(freep) char *envelope = document_sign(DSSE_TYPE_HEAD, text, &f->controller);
	CLEANUP(head_done) struct head h = {0};
	struct known before = f->known;
	struct attempt a = attempt_head(f, envelope, strlen(envelope), &h);

	CHECK_OK(a.r, &a.err);
	CHECK_INT(a.r, expected);
	CHECK_INT(a.why, REFUSAL_NONE);
	CHECK((h.node != NULL) == (expected == 1));
	if (expected == 0)
		CHECK_MEM(&f->known, &before, sizeof(before));
}

struct attempt attempt_manifest(struct document_fixture *f, const struct head_pointer *want,
				const char *envelope, struct manifest *ret, bool *expired)
{
	struct attempt a = {.why = REFUSAL_FREEZE};

	a.r = accept_manifest(&f->known, &f->context, want, envelope, strlen(envelope), ret,
			      expired, &a.why, &a.err);
	return a;
}

void attempt_manifest_refused(struct document_fixture *f, const struct head_pointer *want,
			      const char *envelope, enum refusal why)
{
	struct known before = f->known;
	struct manifest m = {0};
	bool expired = false;
	struct attempt a = attempt_manifest(f, want, envelope, &m, &expired);

	attempt_check(&a, &before, &f->known, why);
	CHECK(m.trust_domain == NULL && m.policy == NULL);
}

/* Signed by the policy key, named rightly by the head, and refused all the same. */
void attempt_manifest_text_refused(struct document_fixture *f, unsigned long revision,
				   char *take_text, enum refusal why)
{
	CLEANUP(freep) char *text = take_text;
	CLEANUP(freep) char *envelope = document_sign(DSSE_TYPE_MANIFEST, text, &f->policy);
	struct head_pointer want = document_pointer(revision, envelope);

	attempt_manifest_refused(f, &want, envelope, why);
}

bool attempt_manifest_text_taken(struct document_fixture *f, unsigned long revision,
				 char *take_text)
{
	CLEANUP(freep) char *text = take_text;
	CLEANUP(freep) char *envelope = document_sign(DSSE_TYPE_MANIFEST, text, &f->policy);
	struct head_pointer want = document_pointer(revision, envelope);
	CLEANUP(manifest_done) struct manifest m = {0};
	bool expired = false;
	struct attempt a = attempt_manifest(f, &want, envelope, &m, &expired);

	CHECK_OK(a.r, &a.err);
	CHECK_INT(a.why, REFUSAL_NONE);
	CHECK_UINT(m.revision, revision);
	return expired;
}

void attempt_manifest_taken(struct document_fixture *f, unsigned long revision, unsigned long floor)
{
	CHECK(!attempt_manifest_text_taken(f, revision, document_manifest_text(revision, floor)));
}
