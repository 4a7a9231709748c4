/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Key files: what is accepted is one key with one id, and is written as the same. */
#include "tests/fuzz/fuzz.h"

#include "base/mem.h"
#include "controller-client/key.h"
#include "controller-client/static_path.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void public(const char *text, size_t len)
{
	CLEANUP(public_key_done) struct public_key k = {0}, back = {0};
	CLEANUP(freep) char *pem = NULL;
	struct err err = {0};

	if (public_key_parse(text, len, "k", &k, &err) < 0) {
		must(k.pkey == NULL && k.id[0] == '\0' && err.text[0] != '\0');
		return;
	}
	must(sha256_hex_ok(k.id));
	pem = public_key_pem(&k);
	must(pem != NULL && public_key_parse(pem, strlen(pem), "k", &back, NULL) == 0);
	must(strcmp(k.id, back.id) == 0 && k.kind == back.kind);
}

static void private(const char *text, size_t len)
{
	CLEANUP(private_key_done) struct private_key k = {0}, back = {0};
	CLEANUP(freep) char *pem = NULL;
	uint8_t signature[KEY_SIGNATURE_MAX];
	struct err err = {0};
	size_t signature_len = 0;

	if (private_key_parse(text, len, "k", &k, &err) < 0) {
		must(k.pkey == NULL && err.text[0] != '\0');
		return;
	}
	must(private_key_sign(&k, "m", 1, signature, &signature_len, NULL) == 0);
	must(public_key_verify(&k.public, "m", 1, signature, signature_len));
	pem = private_key_pem(&k);
	must(pem != NULL && private_key_parse(pem, strlen(pem), "k", &back, NULL) == 0);
	must(strcmp(k.public.id, back.public.id) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	public((const char *)data, size);
	private((const char *)data, size);
	return 0;
}
