/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A policy as JSON: whatever comes is refused or turned into text; a policy without errors turns
 * into strict JSON that says the same, and into itself once more.
 */
#include "tests/fuzz/fuzz.h"

#include "base/json.h"
#include "base/mem.h"
#include "rules/policy.h"
#include "rules/policy_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void must(bool condition)
{
	if (!condition)
		abort();
}

static struct policy *read_policy(const char *text, size_t len)
{
	static const struct policy_features features = {.attested = false};
	struct policy *p = policy_new();
	int r;

	must(p != NULL && policy_add_text(p, "input", text, len) == 0);
	r = policy_finish(p, &features, (struct wall){.s = 1795305600});
	must(r == 0 || r == -EINVAL);
	return p;
}

static void same(const struct policy *p, const struct policy *q)
{
	must(q->error_count == 0 && q->warning_count == p->warning_count);
	must(q->identity_count == p->identity_count && q->rule_count == p->rule_count);
	must(q->network_count == p->network_count && q->node_count == p->node_count);
	must(q->separation_count == p->separation_count && q->list_count == p->list_count);
	must(strcmp(q->trust_domain, p->trust_domain) == 0);
	for (size_t i = 0; i < p->rule_count; i++) {
		must(strcmp(q->rules[i].name, p->rules[i].name) == 0);
		must(strcmp(q->rules[i].purpose, p->rules[i].purpose) == 0);
		must(q->rules[i].expires.s == p->rules[i].expires.s);
		must(q->rules[i].service_count == p->rules[i].service_count);
	}
	for (size_t i = 0; i < p->identity_count; i++)
		must(strcmp(q->identities[i].path, p->identities[i].path) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(policy_freep) struct policy *p = read_policy((const char *)data, size);
	CLEANUP(policy_freep) struct policy *q = NULL;
	CLEANUP(freep) char *json = NULL;
	CLEANUP(freep) char *again = NULL;
	size_t len = 0, again_len = 0;
	json_t *root = NULL;
	int r = policy_json((const char *)data, size, &json, &len);

	must(r == 0 || (r == -EBADMSG && p->error_count > 0));
	if (p->error_count > 0)
		return 0;
	must(json_parse_strict(json, len, "json", &root, NULL) == 0);
	json_decref(root);
	q = read_policy(json, len);
	same(p, q);
	must(policy_json(json, len, &again, &again_len) == 0);
	must(again_len == len && memcmp(again, json, len) == 0);
	return 0;
}
