/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Envelopes. The published P-256 and Ed25519 keys of the corpus's envelopes are trusted: what
 * verifies must be one of the payloads that were signed with them. A signature may be added to
 * whatever is an envelope, and the payload stays.
 */
#include "tests/fuzz/fuzz.h"

#include "base/mem.h"
#include "controller-client/dsse.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char hello_key[] = "-----BEGIN PUBLIC KEY-----\n"
				"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZ805D3eqNZywjCI19lInBJOp7YMr\n"
				"CrzAH3CVTAOQ0jgMeCvVTiaRJaRPRDOv8UMs6U4SvKc6pnrIDOoSYI3fdA==\n"
				"-----END PUBLIC KEY-----\n";
static const char statement_key[] = "-----BEGIN PUBLIC KEY-----\n"
				    "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
				    "-----END PUBLIC KEY-----\n";

/* Also signed with the second key; in the corpus. */
#define URL_SAFE_PAYLOAD "\xfb\xff\xbf\x3e\x3f"

static void must(bool condition)
{
	if (!condition)
		abort();
}

static const struct keyring *trusted(void)
{
	static struct keyring ring;
	struct public_key k = {0};

	if (ring.count > 0)
		return &ring;
	ring.threshold = 1;
	must(public_key_parse(hello_key, sizeof(hello_key) - 1, "k", &k, NULL) == 0);
	must(keyring_add(&ring, &k, NULL) == 0);
	must(public_key_parse(statement_key, sizeof(statement_key) - 1, "k", &k, NULL) == 0);
	must(keyring_add(&ring, &k, NULL) == 0);
	return &ring;
}

static void verify(const char *text, size_t len, const char *type, const char *payload)
{
	CLEANUP(freep) uint8_t *bytes = NULL;
	struct err err = {0};
	size_t bytes_len = 0;

	if (dsse_verify(text, len, type, "t", trusted(), &bytes, &bytes_len, &err) < 0) {
		must(bytes == NULL && err.text[0] != '\0');
		return;
	}
	must(bytes[bytes_len] == '\0');
	must(strcmp((char *)bytes, payload) == 0 || strcmp((char *)bytes, URL_SAFE_PAYLOAD) == 0);
}

static void add(const char *text, size_t len, const char *type)
{
	struct dsse_signature s = {.keyid = "fuzz", .bytes = {1, 2, 3}, .len = 3};
	CLEANUP(freep) uint8_t *before = NULL;
	CLEANUP(freep) uint8_t *after = NULL;
	CLEANUP(freep) char *more = NULL;
	size_t more_len = 0, before_len = 0, after_len = 0;

	if (dsse_open_unverified(text, len, type, &before, &before_len, NULL) < 0 ||
	    dsse_add(text, len, &s, &more, &more_len, NULL) < 0)
		return;
	must(strlen(more) == more_len);
	must(dsse_open_unverified(more, more_len, type, &after, &after_len, NULL) == 0);
	must(before_len == after_len && memcmp(before, after, after_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;

	verify(text, size, "http://example.com/HelloWorld", "hello world");
	verify(text, size, "application/vnd.in-toto+json",
	       "{\"_type\":\"https://in-toto.io/Statement/v1\"}");
	add(text, size, "http://example.com/HelloWorld");
	add(text, size, "application/vnd.in-toto+json");
	return 0;
}
