/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signed documents for tests: keys of both roles, a manifest and a head that are right, and ways
 * to sign what is not. Everything fails the test when it cannot be made.
 */
#pragma once

#include "controller-client/accept.h"

#include <stddef.h>

#define FIXTURE_NOW 1800000000LL /* 2027-01-15T08:00:00Z */

struct document_fixture {
	struct private_key policy, controller, foreign;
	struct keyring policy_ring, controller_ring;
	struct accept_context context; /* acme.example, pay-1, FIXTURE_NOW */
	struct known known;
};
void document_fixture_setup(struct document_fixture *f);
void document_fixture_done(struct document_fixture *f);
/* Fresh keys of both roles, known_match_keys() not yet called. */
void document_fixture_new_keys(struct document_fixture *f);

/*
 * JSON of a head or manifest that would be accepted, with %s-free text; edited by
 * document_replace(). Caller frees.
 */
char *document_head_text(unsigned long sequence);
char *document_manifest_text(unsigned long revision, unsigned long floor);
/* The first `from` becomes `to`; the test fails when it is not there. Frees text. */
char *document_replace(char *take_text, const char *from, const char *to);

/* Envelope; caller frees. */
char *document_sign(const char *type, const char *text, const struct private_key *key);
/* Pointer at a signed manifest. */
struct head_pointer document_pointer(uint64_t revision, const char *envelope);
