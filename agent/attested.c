/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/attested.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

static uint32_t microseconds(uint64_t us)
{
	return us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static const char *if_any(const char *text)
{
	return text && text[0] ? text : NULL;
}

static const char *appraisal_word(uint8_t evidence)
{
	switch (evidence) {
	case PEER_EVIDENCE_AFFIRMING:
		return "affirming";
	case PEER_EVIDENCE_WARNING:
		return "warning";
	case PEER_EVIDENCE_CONTRAINDICATED:
		return "contraindicated";
	default: /* from the wire: a word of a later version, or none */
		return NULL;
	}
}

static void take_answer(const struct peer_answer *a, struct attested_texts *texts,
			struct record_evidence *e)
{
	e->status = peer_status_name(a->status);
	e->spiffe_id = if_any(a->spiffe_id);
	e->unit = if_any(a->unit);
	e->container_id = if_any(a->container_id);
	e->pod_uid = if_any(a->pod_uid);
	e->appraisal = appraisal_word(a->evidence);
	e->match = a->match;
	if (a->has_sha256) {
		hex_format(a->sha256, sizeof(a->sha256), texts->sha256);
		e->sha256 = texts->sha256;
	}
	if (a->has_fsverity) {
		hex_format(a->fsverity, sizeof(a->fsverity), texts->fsverity);
		e->fsverity = texts->fsverity;
	}
}

void attested_evidence(const struct attest_record *r, const char *trust_domain,
		       struct attested_texts *texts, struct record_evidence *ret)
{
	struct record_evidence e = {
		.asked = if_any(r->asked),
		.check = if_any(r->check),
		.rtt_us = microseconds(r->rtt_us),
		.held_us = microseconds(r->held_us),
	};

	if (r->answer)
		take_answer(r->answer, texts, &e);
	/* Questions that are over keep the path alone, and that only of our own trust domain. */
	if (r->answer && !e.spiffe_id && r->identity[0]) {
		int n = snprintf(texts->id, sizeof(texts->id), "spiffe://%s/%s", trust_domain,
				 r->identity);

		e.spiffe_id = n > 0 && (size_t)n < sizeof(texts->id) ? texts->id : NULL;
	}
	*ret = e;
}

enum acceptance_check attested_check(const char *text, const char **ret_detail)
{
	*ret_detail = text;
	for (int c = 0; c < ACCEPT_CHECKS; c++) {
		const char *name = acceptance_name((enum acceptance_check)c);
		size_t len = strlen(name);

		if (!str_starts(text, name) || text[len] != ':')
			continue;
		*ret_detail = text + len + 1 + strspn(text + len + 1, " ");
		return (enum acceptance_check)c;
	}
	return ACCEPT_CHECKS;
}

bool attested_is_far(enum acceptance_check check)
{
	switch (check) {
	case ACCEPT_STATUS:
	case ACCEPT_TUPLE:
	case ACCEPT_CHECKS:
		return true;
	case ACCEPT_NODE:
	case ACCEPT_KEY:
	case ACCEPT_DOMAIN:
	case ACCEPT_PLACEMENT:
	case ACCEPT_POLICY:
	case ACCEPT_MEASURED:
		break;
	}
	return false;
}

const char *attested_identity(const struct attest_record *r)
{
	const char *detail;

	if (!r->answer || !r->identity[0])
		return NULL;
	if (r->reason == REASON_PERMITTED)
		return r->identity;
	switch (attested_check(r->check ? r->check : "", &detail)) {
	case ACCEPT_POLICY:
	case ACCEPT_MEASURED:
		return r->identity;
	case ACCEPT_NODE:
	case ACCEPT_KEY:
	case ACCEPT_STATUS:
	case ACCEPT_TUPLE:
	case ACCEPT_DOMAIN:
	case ACCEPT_PLACEMENT:
	case ACCEPT_CHECKS:
		break;
	}
	return NULL;
}
