/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Blobs of signed policy: their names, their strictness, what signed policy must say. */
#include "controller-client/policy_blob.h"

#include "base/mem.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct policy_features features = {.attested = false};

TEST(a_blob_is_called_like_its_file)
{
	static const struct {
		const char *file, *blob;
	} cases[] = {
		{"payments.yaml", "payments.json"}, {"payments.yml", "payments.json"},
		{"payments.json", "payments.json"}, {"eu.payments.yaml", "eu.payments.json"},
		{"PAY_1-x", "PAY_1-x.json"},        {"a.yaml.yaml", "a.yaml.json"},
	};
	char name[MANIFEST_NAME_MAX];
	struct err err = {0};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CHECK_OK(policy_blob_name(cases[i].file, name, &err), &err);
		CHECK_STR(name, cases[i].blob);
	}
}

TEST(what_is_no_name_of_a_blob_is_refused)
{
	static const char *const names[] = {"",         ".yaml",     ".hidden.yaml",
					    "a b.yaml", "a/b.yaml",  "gr\xc3\xbc\xc3\x9f.yaml",
					    "..",       "x\x1b.yaml"};
	char name[MANIFEST_NAME_MAX], longest[MANIFEST_NAME_MAX + 8];
	struct err err = {0};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		CHECK_INT(policy_blob_name(names[i], name, &err), -EINVAL);
	/* With ".json" and the NUL behind it. */
	memset(longest, 'a', sizeof(longest));
	longest[MANIFEST_NAME_MAX - 6] = '\0';
	CHECK_OK(policy_blob_name(longest, name, &err), &err);
	CHECK_UINT(strlen(name), MANIFEST_NAME_MAX - 1);
	longest[MANIFEST_NAME_MAX - 6] = 'a';
	longest[MANIFEST_NAME_MAX - 5] = '\0';
	CHECK_INT(policy_blob_name(longest, name, &err), -EINVAL);
	CHECK_CONTAINS(err.text, "too long");
}

static int add(struct policy **ret, const char *text)
{
	const struct blob_ref ref = {.name = "p.json"};
	struct policy *p = policy_new();
	struct err err = {0};
	int r = policy_blob_add(p, &ref, text, strlen(text), &err);

	if (r == 0)
		(void)policy_finish(p, &features, (struct wall){.s = FIXTURE_NOW_S});
	*ret = p;
	return r;
}

TEST(a_blob_is_json_and_not_what_else_the_parser_reads)
{
	static const char *const texts[] = {
		"trust_domain: acme.example\n",
		"{\"trust_domain\": \"acme.example\",}",
		"{\"trust_domain\": acme.example}",
		"{\"trust_domain\": \"acme.example\"} # comment",
		"{\"trust_domain\": \"acme.example\", \"trust_domain\": \"evil.example\"}",
		"{\"trust_domain\": \"acme.example\"}{}",
		"",
	};
	CLEANUP(policy_freep) struct policy *good = NULL;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		CLEANUP(policy_freep) struct policy *p = NULL;

		CHECK_INT(add(&p, texts[i]), -EBADMSG);
		CHECK_UINT(p->file_count, 0);
	}
	CHECK_INT(add(&good, "{\"trust_domain\": \"acme.example\"}\n"), 0);
	CHECK_UINT(good->error_count, 0);
	CHECK_STR(good->files[0], "p.json");
}

TEST(signed_policy_must_list_the_nodes)
{
	CLEANUP(policy_freep) struct policy *without = NULL;
	CLEANUP(policy_freep) struct policy *with = NULL;
	struct err err = {0};

	CHECK_INT(add(&without, "{\"trust_domain\": \"acme.example\"}"), 0);
	CHECK_INT(policy_blob_check(without, "acme.example", &err), -EINVAL);
	CHECK_CONTAINS(err.text, "needs nodes:");
	CHECK_INT(add(&with, "{\"trust_domain\": \"acme.example\", \"nodes\": "
			     "[{\"pattern\": \"pay-*\", \"addresses\": [\"10.0.0.0/29\"]}]}"),
		  0);
	CHECK_UINT(with->error_count, 0);
	CHECK_OK(policy_blob_check(with, "acme.example", &err), &err);
	CHECK_OK(policy_blob_check(with, NULL, &err), &err);
	CHECK_INT(policy_blob_check(with, "evil.example", &err), -EINVAL);
	CHECK_CONTAINS(err.text, "acme.example, the manifest of evil.example");
}
