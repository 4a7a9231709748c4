/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From a question that was decided (agent/attest.h) to what a record and `why` say of it. Pure.
 *
 * A record names as the caller only whom this node would believe: the far agent's certificate, the
 * flow, the trust domain and the placement were found to be right, whatever policy or measuring
 * said afterwards. What a far agent claimed beyond that is evidence, and no more.
 */
#pragma once

#include "agent/acceptance.h"
#include "agent/attest.h"
#include "agent/telemetry_record.h"
#include "base/hash.h"

#define ATTESTED_ID_MAX 600 /* trust domain and path of an identity of the policy */

struct attested_texts {
	char sha256[SHA256_HEX_LEN], fsverity[SHA256_HEX_LEN];
	char id[ATTESTED_ID_MAX];
};

/* Texts are borrowed from the question and from `texts`. The trust domain is this node's. */
void attested_evidence(const struct attest_record *r, const char *trust_domain,
		       struct attested_texts *texts, struct record_evidence *ret);

/* The identity that the far end was found to have, by path; NULL when there is none. */
const char *attested_identity(const struct attest_record *r);

/*
 * Which check failed, by the text of a question: "policy: no rule lets ..." -> ACCEPT_POLICY, and
 * the text behind. ACCEPT_CHECKS, with the whole text, where no answer could be checked.
 */
enum acceptance_check attested_check(const char *text, const char **ret_detail);

/* Whether what this check looks at was found on the far host, not on this one. */
bool attested_is_far(enum acceptance_check check);
