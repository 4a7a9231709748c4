/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The policy parser: whatever comes, findings are texts with places, the two readings of a file
 * agree, and a policy without errors keeps the promises that the compiler relies on.
 */
#include "tests/fuzz/fuzz.h"

#include "base/mem.h"
#include "base/text.h"
#include "rules/policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void check_findings(const struct policy *p, size_t lines)
{
	size_t errors = 0;

	for (size_t i = 0; i < p->finding_count; i++) {
		const struct finding *f = &p->findings[i];

		must(f->message != NULL && f->message[0] != '\0');
		must(text_utf8_ok(f->message, strlen(f->message)));
		must(f->pos.line <= lines + 1);
		/* libcyaml never refuses what the event pass let through. */
		must(!str_starts(f->message, "cannot be read"));
		errors += f->level == FINDING_ERROR;
	}
	must(errors <= p->error_count);
	must((errors > 0) == (p->error_count > 0));
}

static void check_parties(const struct policy *p, const struct party_ref *refs, size_t count)
{
	must(count > 0 || p->warning_count > 0);
	for (size_t i = 0; i < count; i++)
		must(refs[i].index <
		     (refs[i].kind == PARTY_NETWORK ? p->network_count : p->identity_count));
}

static void check_rule(const struct policy *p, uint32_t i)
{
	const struct rule *r = &p->rules[i];
	struct rule_iter it;
	uint32_t other;
	bool met = false;

	must(r->assurance != ASSURANCE_DEFAULT && r->service_count > 0);
	must(r->owner[0] != '\0' && r->purpose[0] != '\0');
	must(policy_find_rule(p, r->name) == (int)i);
	check_parties(p, r->from_parties, r->from_party_count);
	check_parties(p, r->to_parties, r->to_party_count);
	if (r->from_party_count == 0)
		return;
	policy_rules_from(p, r->from_parties[0], &it);
	while (policy_next_rule(p, &it, &other))
		met |= other == i;
	must(met);
}

static void check_sound(const struct policy *p)
{
	must(p->trust_domain != NULL);
	for (size_t i = 0; i < p->identity_count; i++) {
		must(policy_find_identity(p, p->identities[i].name) == (int)i);
		must(policy_find_identity(p, p->identities[i].path) == (int)i);
		must(p->identities[i].workload_count > 0);
	}
	for (uint32_t i = 0; i < p->rule_count; i++)
		check_rule(p, i);
}

static void judge(const char *text, size_t len, bool attested)
{
	struct policy_features features = {.attested = attested};
	CLEANUP(policy_freep) struct policy *p = policy_new();
	size_t lines = 1;
	int r;

	must(p != NULL);
	/* Lines as YAML counts them: \r, NEL and the two Unicode separators end one, too. */
	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n' || text[i] == '\r' || (text[i] & 0x80) != 0;
	must(policy_add_text(p, "input", text, len) == 0);
	r = policy_finish(p, &features, (struct wall){.s = 1795305600});
	must(r == (p->error_count > 0 ? -EINVAL : 0));
	check_findings(p, lines);
	if (r == 0)
		check_sound(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	judge((const char *)data, size, false);
	judge((const char *)data, size, true);
	return 0;
}
