/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Compilers that are wrong: the ruleset is damaged in one of these ways before it goes into the
 * kernel, and the test must notice.
 */
#pragma once

#include "tests/property/property.h"

enum mutation {
	MUTATION_NONE,
	MUTATION_DROP_CLASSIFY, /* elements of classification maps are missing */
	MUTATION_SWAP_MARKS,    /* neighbours in a classification map have each other's conduit */
	MUTATION_WRONG_PORT,
	MUTATION_WRONG_FAMILY, /* nothing for IPv6 */
	MUTATION_DROP_LIVE,
	MUTATION_WRONG_VERDICT, /* confirmed and candidate exchanged, leases ignored */
	MUTATION_WRONG_OWNER,   /* processes have each other's identity */
	MUTATION_DROP_ENDS,
	MUTATION_DROP_UDP,
	MUTATION_TOO_MUCH,  /* one port more than permitted */
	MUTATION_NOT_ASKED, /* what asks accepts instead */
	MUTATION_UNVOUCHED, /* nothing is open for who was vouched for */
	MUTATION_COUNT,
};

extern const char *const mutation_names[MUTATION_COUNT];

int mutate(struct ruleset *r, unsigned mutation, struct rng *rng, struct err *err);
