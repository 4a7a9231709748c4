/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/document_fixture.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <stdlib.h>
#include <string.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void make_key(enum key_kind kind, struct private_key *ret, struct keyring *ring)
{
	struct public_key public = {0};
	struct err err = {0};

	CHECK_OK(private_key_generate(kind, ret, &err), &err);
	if (ring == NULL)
		return;
	CHECK_OK(public_key_from(ret->pkey, &public, &err), &err);
	CHECK_OK(keyring_add(ring, &public, &err), &err);
	ring->threshold = 1;
}

void document_fixture_new_keys(struct document_fixture *f)
{
	keyring_done(&f->policy_ring);
	keyring_done(&f->controller_ring);
	private_key_done(&f->policy);
	private_key_done(&f->controller);
	private_key_done(&f->foreign);
	make_key(KEY_ED25519, &f->policy, &f->policy_ring);
	make_key(KEY_P256, &f->controller, &f->controller_ring);
	make_key(KEY_ED25519, &f->foreign, NULL);
}

void document_fixture_setup(struct document_fixture *f)
{
	memset(f, 0, sizeof(*f));
	document_fixture_new_keys(f);
	f->context = (struct accept_context){
		.policy = &f->policy_ring,
		.controller = &f->controller_ring,
		.trust_domain = "acme.example",
		.node = "pay-1",
		.now = {FIXTURE_NOW},
	};
	CHECK_INT(known_match_keys(&f->known, &f->context), 1);
}

void document_fixture_done(struct document_fixture *f)
{
	keyring_done(&f->policy_ring);
	keyring_done(&f->controller_ring);
	private_key_done(&f->policy);
	private_key_done(&f->controller);
	private_key_done(&f->foreign);
}

char *document_head_text(unsigned long sequence)
{
	char *text = mem_printf(
		"{\"version\": 1, \"trust_domain\": \"acme.example\", \"node\": \"pay-1\","
		" \"sequence\": %lu, \"issued\": \"2027-01-15T00:00:00Z\","
		" \"expires\": \"2027-01-16T00:00:00Z\", \"urgent\": false,\n"
		" \"stable\": {\"revision\": 12, \"sha256\": \"" HEX "\"},"
		" \"candidate\": {\"revision\": 13, \"sha256\": \"" HEX "\","
		" \"rollout\": {\"percent\": 5}},\n"
		" \"view\": {\"sha256\": \"" HEX "\", \"size\": 2048, \"sequence\": 41},\n"
		" \"quarantine\": [{\"identity\": \"prod/ci/builder\", \"keep\": \"forensics\","
		" \"reason\": \"strange\"}],\n"
		" \"revoked\": [{\"rule\": \"vendor-x\", \"reason\": \"contract ended\","
		" \"until\": null}],\n"
		" \"grants\": [{\"rule\": \"break-glass-db\", \"from\": \"ops/oncall\","
		" \"to\": \"prod/orders/db\", \"until\": \"2027-01-15T20:00:00Z\","
		" \"approver\": \"ann\"}]}",
		sequence);

	CHECK(text != NULL);
	return text;
}

char *document_manifest_text(unsigned long revision, unsigned long floor)
{
	char *text =
		mem_printf("{\"version\": 1, \"trust_domain\": \"acme.example\", \"revision\": %lu,"
			   " \"rollback_floor\": %lu, \"issued\": \"2027-01-01T00:00:00Z\","
			   " \"expires\": \"2027-07-01T00:00:00Z\", \"requires\": [\"mapped\"],\n"
			   " \"policy\": [{\"name\": \"payments.json\", \"sha256\": \"" HEX "\","
			   " \"size\": 1234}],\n"
			   " \"revoked_nodes\": [\"pay-9\"], \"comment\": \"January\"}",
			   revision, floor);

	CHECK(text != NULL);
	return text;
}

char *document_replace(char *take_text, const char *from, const char *to)
{
	const char *at = strstr(take_text, from);
	char *text;

	if (at == NULL)
		test_fail(__FILE__, __LINE__, "no %s in %s", from, take_text);
	text = mem_printf("%.*s%s%s", (int)(at - take_text), take_text, to, at + strlen(from));
	CHECK(text != NULL);
	free(take_text);
	return text;
}

char *document_sign(const char *type, const char *text, const struct private_key *key)
{
	struct err err = {0};
	char *envelope = NULL;
	size_t len = 0;

	CHECK_OK(dsse_sign(type, text, strlen(text), key, &envelope, &len, &err), &err);
	return envelope;
}

struct head_pointer document_pointer(uint64_t revision, const char *envelope)
{
	struct head_pointer p = {.revision = revision};
	uint8_t digest[SHA256_LEN];

	CHECK_INT(sha256(envelope, strlen(envelope), digest), 0);
	hex_format(digest, sizeof(digest), p.sha256);
	return p;
}
