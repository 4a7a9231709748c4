/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/dsse.h"

#include "base/base64.h"
#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- published vectors: protocol.md and testvectors of github.com/secure-systems-lab/dsse ---- */

static const uint8_t key_a[] = {0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe,
				0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6,
				0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a};
static const uint8_t key_b[] = {0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a, 0x92, 0xb7, 0x0a,
				0xa7, 0x4d, 0x1b, 0x7e, 0xbc, 0x9c, 0x98, 0x2c, 0xcf, 0x2e, 0xc4,
				0x96, 0x8c, 0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4, 0x66, 0x0c};

static void add_raw(struct keyring *ring, const uint8_t raw[32])
{
	EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, raw, 32);
	struct public_key k = {0};
	struct err err = {0};

	CHECK(pkey != NULL);
	CHECK_OK(public_key_from(pkey, &k, &err), &err);
	EVP_PKEY_free(pkey);
	CHECK_OK(keyring_add(ring, &k, &err), &err);
}

#define IN_TOTO        "application/vnd.in-toto+json"
#define STATEMENT      "eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEifQ=="
#define STATEMENT_TEXT "{\"_type\":\"https://in-toto.io/Statement/v1\"}"
#define SIG_A                                                                                      \
	"2WAfaHm5jluo0w+0rk8uVkluELJYWjSmU9x7EUzx+AyteDGJ4/nqyJXfmAUVFIAoQafWm7AxBZNw5M9ixNHiCA=="
#define SIG_B                                                                                      \
	"c1+67/aT0yqEpwx8PsVY3MLHsj9D0CZ014/Fv/QlG59P+9CobUZ7xECJ/V3USG0Ob9CiE5LjReEZUzNF2l7eBw=="
#define ENVELOPE(payload, type, signatures)                                                        \
	"{\"payload\":\"" payload "\",\"payloadType\":\"" type "\",\"signatures\":[" signatures "]}"
#define SIGNED(keyid, sig) "{\"keyid\":\"" keyid "\",\"sig\":\"" sig "\"}"
#define UNNAMED(sig)       "{\"sig\":\"" sig "\"}"

static int verify(const char *text, const char *type, const struct keyring *ring, char *ret,
		  struct err *err)
{
	CLEANUP(freep) uint8_t *payload = NULL;
	size_t len = 0;
	int r = dsse_verify(text, strlen(text), type, "t", ring, &payload, &len, err);

	if (r == 0) {
		CHECK_INT(payload[len], 0);
		memcpy(ret, payload, len + 1);
	}
	return r;
}

TEST(published_vectors)
{
	static const struct {
		const char *text, *type, *payload;
		uint32_t keys, threshold;
		int r;
	} vectors[] = {
		/* single-signature */
		{ENVELOPE(STATEMENT, IN_TOTO, SIGNED("A", SIG_A)), IN_TOTO, STATEMENT_TEXT, 1, 1,
		 0},
		/* url-safe-base64 */
		{ENVELOPE("-_-_Pj8=", IN_TOTO,
			  SIGNED("A", "P-_KHICeR7tI6S_YyejJTRtrXhcQyQ2LYPaL8h90KjC9qN8HU_"
				      "svOQ6TuDOT1HIrsGW886DbWNWcCmX5twLrAw==")),
		 IN_TOTO, "\xfb\xff\xbf\x3e\x3f", 1, 1, 0},
		/* payload-type-swapped */
		{ENVELOPE(STATEMENT, "application/vnd.example.other+json", SIGNED("A", SIG_A)),
		 "application/vnd.example.other+json", NULL, 1, 1, -EKEYREJECTED},
		/* non-ascii-payload-type: the length is in bytes */
		{ENVELOPE(STATEMENT, "application/vnd.ex\xc3\xa4mple+json",
			  SIGNED("A", "xmSk/ug66ysT7ayhkCIjhAq42zgZXSsEWuzUaNL7w2eGAdF/NU6/"
				      "fRXPtmfN+5DNSAs5/i2lUnHjbbjPsu0tAw==")),
		 "application/vnd.ex\xc3\xa4mple+json", STATEMENT_TEXT, 1, 1, 0},
		/* empty-payload */
		{ENVELOPE("", IN_TOTO,
			  SIGNED("A", "gSggCAaTLTYyRH6FIDBem6meyIynsYy8RTHVzwx9tnTb7Bg/"
				      "1jMWnuVgI/gffqmbsC2VX5/jHfkkDqsj7CDbDg==")),
		 IN_TOTO, "", 1, 1, 0},
		/* empty-payload-type */
		{ENVELOPE(STATEMENT, "",
			  SIGNED("A", "iC3q/+3Rm0+lpAJRueDmDh15PnwCfxKmS0NAfKsbv+"
				      "zgulXQC/WM9trc+j1XEqlwDIg/vf/uNfebeD6sxInrDg==")),
		 IN_TOTO, NULL, 1, 1, -EPROTOTYPE},
		/* threshold-two-distinct-keys */
		{ENVELOPE(STATEMENT, IN_TOTO, SIGNED("A", SIG_A) "," SIGNED("B", SIG_B)), IN_TOTO,
		 STATEMENT_TEXT, 2, 2, 0},
		/* threshold-two-one-key-twice */
		{ENVELOPE(STATEMENT, IN_TOTO, SIGNED("A", SIG_A) "," SIGNED("A", SIG_A)), IN_TOTO,
		 NULL, 2, 2, -EKEYREJECTED},
		/* threshold-two-without-keyids */
		{ENVELOPE(STATEMENT, IN_TOTO, UNNAMED(SIG_A) "," UNNAMED(SIG_B)), IN_TOTO,
		 STATEMENT_TEXT, 2, 2, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		CLEANUP(keyring_done) struct keyring ring = {.threshold = vectors[i].threshold};
		struct err err = {0};
		char payload[64] = "";

		add_raw(&ring, key_a);
		if (vectors[i].keys > 1)
			add_raw(&ring, key_b);
		CHECK_INT(verify(vectors[i].text, vectors[i].type, &ring, payload, &err),
			  vectors[i].r);
		if (vectors[i].r == 0)
			CHECK_STR(payload, vectors[i].payload);
		else
			CHECK(err.text[0] != '\0');
	}
}

#define HELLO "http://example.com/HelloWorld"
#define HELLO_SIG                                                                                  \
	"A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="
#define HELLO_KEY                                                                                  \
	"-----BEGIN PUBLIC KEY-----\n"                                                             \
	"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZ805D3eqNZywjCI19lInBJOp7YMr\n"                       \
	"CrzAH3CVTAOQ0jgMeCvVTiaRJaRPRDOv8UMs6U4SvKc6pnrIDOoSYI3fdA==\n"                           \
	"-----END PUBLIC KEY-----\n"

/* ECDSA P-256, the signature being r and s in 32 bytes each. */
TEST(published_vector_with_p256)
{
	CLEANUP(keyring_done) struct keyring ring = {.threshold = 1};
	struct public_key k = {0};
	struct err err = {0};
	char payload[64] = "";

	CHECK_OK(public_key_parse(HELLO_KEY, sizeof(HELLO_KEY) - 1, "k", &k, &err), &err);
	CHECK_OK(keyring_add(&ring, &k, &err), &err);
	CHECK_OK(verify(ENVELOPE("aGVsbG8gd29ybGQ=", HELLO, UNNAMED(HELLO_SIG)), HELLO, &ring,
			payload, &err),
		 &err);
	CHECK_STR(payload, "hello world");
	CHECK_INT(verify(ENVELOPE("aGVsbG8gd29ybGU=", HELLO, UNNAMED(HELLO_SIG)), HELLO, &ring,
			 payload, &err),
		  -EKEYREJECTED);
}

TEST(what_is_signed_is_type_and_body_with_their_lengths)
{
	CLEANUP(buf_done) struct buf b;

	buf_init(&b, 100);
	dsse_pae(&b, HELLO, "hello world", 11);
	CHECK_STR(b.data, "DSSEv1 29 " HELLO " 11 hello world");
	buf_done(&b);
	dsse_pae(&b, "", "", 0);
	CHECK_STR(b.data, "DSSEv1 0  0 ");
}

/* ---- our own ---- */

struct fixture {
	struct private_key a, b, foreign;
	struct keyring ring; /* a and b */
};

static void setup(struct fixture *f, uint32_t threshold)
{
	struct private_key *keys[] = {&f->a, &f->b, &f->foreign};
	struct public_key k;
	struct err err = {0};

	*f = (struct fixture){.ring.threshold = threshold};
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		CHECK_OK(private_key_generate(i == 1 ? KEY_P256 : KEY_ED25519, keys[i], &err),
			 &err);
	CHECK_OK(public_key_from(f->a.pkey, &k, &err), &err);
	CHECK_OK(keyring_add(&f->ring, &k, &err), &err);
	CHECK_OK(public_key_from(f->b.pkey, &k, &err), &err);
	CHECK_OK(keyring_add(&f->ring, &k, &err), &err);
}

static void teardown(struct fixture *f)
{
	private_key_done(&f->a);
	private_key_done(&f->b);
	private_key_done(&f->foreign);
	keyring_done(&f->ring);
}

#define TYPE "application/vnd.example+json"
#define BODY "{\"a\": 1}"

static void sign(const struct private_key *key, struct dsse_signature *ret)
{
	CLEANUP(buf_done) struct buf pae;
	struct err err = {0};

	buf_init(&pae, 1024);
	dsse_pae(&pae, TYPE, BODY, strlen(BODY));
	CHECK_OK(private_key_sign(key, pae.data, pae.len, ret->bytes, &ret->len, &err), &err);
	memcpy(ret->keyid, key->public.id, sizeof(ret->keyid));
}

static char *make(const struct dsse_signature *signatures, size_t count)
{
	struct err err = {0};
	char *text = NULL;
	size_t len = 0;

	CHECK_OK(dsse_make(TYPE, BODY, strlen(BODY), signatures, count, &text, &len, &err), &err);
	CHECK_UINT(strlen(text), len);
	CHECK_INT(text[len - 1], '\n');
	return text;
}

TEST(signed_and_verified)
{
	CLEANUP(teardown) struct fixture f;
	CLEANUP(freep) char *text = NULL;
	struct err err = {0};
	char payload[64] = "";
	size_t len = 0;

	setup(&f, 1);
	CHECK_OK(dsse_sign(TYPE, BODY, strlen(BODY), &f.b, &text, &len, &err), &err);
	CHECK_CONTAINS(text, f.b.public.id);
	CHECK_OK(verify(text, TYPE, &f.ring, payload, &err), &err);
	CHECK_STR(payload, BODY);
}

TEST(duplicate_signatures_of_one_key_reach_no_threshold)
{
	CLEANUP(teardown) struct fixture f;
	CLEANUP(freep) char *twice = NULL;
	CLEANUP(freep) char *renamed = NULL;
	CLEANUP(freep) char *both = NULL;
	struct dsse_signature s[3] = {0};
	struct err err = {0};
	char payload[64] = "";

	setup(&f, 2);
	/* ECDSA signatures of the same bytes by the same key differ; the key is still one. */
	sign(&f.b, &s[0]);
	sign(&f.b, &s[1]);
	twice = make(s, 2);
	CHECK_INT(verify(twice, TYPE, &f.ring, payload, &err), -EKEYREJECTED);
	CHECK_STR(err.text, "t: signed by 1 of the 2 trusted keys; 2 of them would be right");
	/* Nor when it goes by the other's name, or by none. */
	memcpy(s[1].keyid, f.a.public.id, sizeof(s[1].keyid));
	memset(s[0].keyid, 0, sizeof(s[0].keyid));
	renamed = make(s, 2);
	CHECK_INT(verify(renamed, TYPE, &f.ring, payload, &err), -EKEYREJECTED);
	sign(&f.a, &s[2]);
	both = make(s, 3);
	CHECK_OK(verify(both, TYPE, &f.ring, payload, &err), &err);
}

TEST(a_foreign_signature_beside_ours_does_no_harm)
{
	CLEANUP(teardown) struct fixture f;
	CLEANUP(freep) char *beside = NULL;
	CLEANUP(freep) char *alone = NULL;
	struct dsse_signature s[2] = {0};
	struct err err = {0};
	char payload[64] = "";

	setup(&f, 1);
	sign(&f.foreign, &s[0]);
	sign(&f.a, &s[1]);
	beside = make(s, 2);
	CHECK_OK(verify(beside, TYPE, &f.ring, payload, &err), &err);
	alone = make(s, 1);
	CHECK_INT(verify(alone, TYPE, &f.ring, payload, &err), -EKEYREJECTED);
	CHECK_STR(err.text, "t: signed by 0 of the 2 trusted keys; 1 of them would be right");
}

TEST(a_signature_of_an_algorithm_to_come_does_no_harm)
{
	CLEANUP(teardown) struct fixture f;
	CLEANUP(json_decrefp) json_t *root = NULL;
	CLEANUP(freep) char *text = NULL;
	CLEANUP(freep) char *both = NULL;
	struct dsse_signature s = {0};
	char sig[3228 + 1], payload[64] = "";
	struct err err = {0};

	setup(&f, 1);
	sign(&f.a, &s);
	text = make(&s, 1);
	memset(sig, 'A', sizeof(sig) - 1);
	sig[sizeof(sig) - 1] = '\0';
	root = json_loads(text, 0, NULL);
	CHECK_INT(json_array_insert_new(json_object_get(root, "signatures"), 0,
					json_pack("{s:s}", "sig", sig)),
		  0);
	both = json_dumps(root, 0);
	CHECK_OK(verify(both, TYPE, &f.ring, payload, &err), &err);
}

TEST(no_keys_or_no_threshold_verify_nothing)
{
	CLEANUP(teardown) struct fixture f;
	CLEANUP(freep) char *text = NULL;
	CLEANUP(freep) char *unsigned_text = NULL;
	struct keyring none = {.threshold = 1}, zero = {0};
	struct dsse_signature s = {0};
	struct err err = {0};
	char payload[64] = "";

	setup(&f, 0);
	sign(&f.a, &s);
	text = make(&s, 1);
	unsigned_text = make(NULL, 0);
	CHECK_INT(verify(text, TYPE, &f.ring, payload, &err), -EKEYREJECTED);
	CHECK_INT(verify(text, TYPE, &none, payload, &err), -EKEYREJECTED);
	CHECK_INT(verify(text, TYPE, &zero, payload, &err), -EKEYREJECTED);
	CHECK_INT(verify(unsigned_text, TYPE, &zero, payload, &err), -EKEYREJECTED);
	f.ring.threshold = 1;
	CHECK_INT(verify(unsigned_text, TYPE, &f.ring, payload, &err), -EKEYREJECTED);
	f.ring.threshold = 3;
	CHECK_INT(verify(text, TYPE, &f.ring, payload, &err), -EKEYREJECTED);
}

TEST(wrong_type_is_refused_by_name)
{
	CLEANUP(teardown) struct fixture f;
	CLEANUP(freep) char *text = NULL;
	struct dsse_signature s = {0};
	struct err err = {0};
	char payload[64] = "";

	setup(&f, 1);
	sign(&f.a, &s);
	text = make(&s, 1);
	CHECK_INT(verify(text, DSSE_TYPE_HEAD, &f.ring, payload, &err), -EPROTOTYPE);
	CHECK_STR(err.text, "t: payload type '" TYPE "'; '" DSSE_TYPE_HEAD "' would be right");
}

TEST(malformed_envelopes)
{
	static const char *const wrong[] = {
		"",
		"{}",
		"[]",
		"{\"payload\":\"\",\"payloadType\":\"" TYPE "\"}",
		"{\"payload\":\"\",\"signatures\":[]}",
		"{\"payloadType\":\"" TYPE "\",\"signatures\":[]}",
		"{\"payload\":\"\",\"payload\":\"\",\"payloadType\":\"" TYPE
		"\",\"signatures\":[]}",
		ENVELOPE("*", TYPE, ""),
		ENVELOPE("Zm9", TYPE, ""),
		ENVELOPE("Zm9v\\n", TYPE, ""),
		ENVELOPE("+-+-", TYPE, ""),
		ENVELOPE("", TYPE "\\u0000", ""),
		ENVELOPE("", TYPE, "7"),
		ENVELOPE("", TYPE, "{}"),
		ENVELOPE("", TYPE, "{\"sig\":7}"),
		ENVELOPE("", TYPE, "{\"sig\":\"*\"}"),
		ENVELOPE("", TYPE, "{\"sig\":\"\",\"keyid\":7}"),
		ENVELOPE("", TYPE, "{\"sig\":\"\",\"keyid\":\"a\\u0000b\"}"),
		ENVELOPE("", TYPE, "") "x",
		ENVELOPE("", TYPE, "") "{}",
		ENVELOPE("", TYPE, "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"),
		"{\"payload\":7,\"payloadType\":\"" TYPE "\",\"signatures\":[]}",
		"{\"payload\":\"\",\"payloadType\":null,\"signatures\":[]}",
		"{\"payload\":\"\",\"payloadType\":\"" TYPE "\",\"signatures\":{}}",
	};
	CLEANUP(keyring_done) struct keyring ring = {.threshold = 1};
	char payload[64];

	add_raw(&ring, key_a);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct err err = {0};

		if (verify(wrong[i], TYPE, &ring, payload, &err) != -EBADMSG)
			test_fail(__FILE__, __LINE__, "%s: not malformed", wrong[i]);
		CHECK_CONTAINS(err.text, "t:");
	}
}

TEST(unknown_members_of_an_envelope_mean_nothing)
{
	CLEANUP(keyring_done) struct keyring ring = {.threshold = 1};
	struct err err = {0};
	char payload[64];

	add_raw(&ring, key_a);
	CHECK_OK(verify("{\"more\":{\"x\":1},\"payload\":\"" STATEMENT
			"\",\"payloadType\":\"" IN_TOTO "\",\"signatures\":[{\"sig\":\"" SIG_A
			"\",\"public-key\":\"A\"}]}",
			IN_TOTO, &ring, payload, &err),
		 &err);
}

/* CHECK_TRUNCATIONS takes no context. */
static struct fixture *truncated;

static bool accepts(const void *bytes, size_t len)
{
	CLEANUP(freep) uint8_t *payload = NULL;
	size_t payload_len = 0;

	return dsse_verify(bytes, len, TYPE, "t", &truncated->ring, &payload, &payload_len, NULL) ==
	       0;
}

TEST(truncated_at_every_byte)
{
	CLEANUP(teardown) struct fixture f;
	CLEANUP(freep) char *text = NULL;
	struct dsse_signature s = {0};

	setup(&f, 1);
	truncated = &f;
	sign(&f.a, &s);
	text = make(&s, 1);
	/* Without the newline, which may be missing. */
	CHECK_TRUNCATIONS(text, strlen(text) - 1, accepts);
}

/* Whatever bit flips, either it is refused or exactly the signed bytes come out. */
TEST(bit_flipped_at_every_byte)
{
	CLEANUP(teardown) struct fixture f;
	CLEANUP(freep) char *text = NULL;
	struct dsse_signature s = {0};
	size_t len, accepted = 0;

	setup(&f, 1);
	sign(&f.a, &s);
	text = make(&s, 1);
	len = strlen(text);
	for (size_t bit = 0; bit < len * 8; bit++) {
		CLEANUP(freep) uint8_t *payload = NULL;
		size_t payload_len = 0;
		struct err err = {0};

		text[bit / 8] ^= (char)(1 << bit % 8);
		if (dsse_verify(text, len, TYPE, "t", &f.ring, &payload, &payload_len, &err) == 0) {
			CHECK_UINT(payload_len, strlen(BODY));
			CHECK_MEM(payload, BODY, strlen(BODY));
			accepted++;
		} else {
			CHECK(payload == NULL && err.text[0] != '\0');
		}
		text[bit / 8] ^= (char)(1 << bit % 8);
	}
	/* The keyid and its name, and the white space at the end, are all that is not signed. */
	CHECK(accepted > 0);
	CHECK(accepted < (64 + 7) * 8);
}

TEST(oversize)
{
	CLEANUP(keyring_done) struct keyring ring = {.threshold = 1};
	CLEANUP(freep) char *text = mem_calloc(DSSE_ENVELOPE_MAX + 2, 1);
	char *out = NULL;
	size_t len = 0;
	struct err err = {0};
	char payload[64];

	CHECK(text != NULL);
	memset(text, ' ', DSSE_ENVELOPE_MAX + 1);
	CHECK_INT(verify(text, TYPE, &ring, payload, &err), -E2BIG);
	CHECK_STR(err.text, "t: larger than 1024 KiB");
	text[DSSE_ENVELOPE_MAX] = '\0';
	CHECK_INT(verify(text, TYPE, &ring, payload, &err), -EBADMSG);
	CHECK_INT(dsse_make(TYPE, text, DSSE_ENVELOPE_MAX, NULL, 0, &out, &len, &err), -E2BIG);
	CHECK(out == NULL);
}

TEST(too_many_signatures)
{
	CLEANUP(teardown) struct fixture f;
	CLEANUP(freep) char *text = NULL;
	struct dsse_signature many[DSSE_SIGNATURES_MAX + 1] = {0}, next = {0};
	struct err err = {0};
	char *out = NULL;
	size_t len = 0;
	char payload[64];

	setup(&f, 1);
	sign(&f.a, &next);
	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		sign(&f.foreign, &many[i]);
		(void)snprintf(many[i].keyid, sizeof(many[i].keyid), "%zu", i);
	}
	CHECK_INT(dsse_make(TYPE, BODY, strlen(BODY), many, ARRAY_LEN(many), &out, &len, &err),
		  -E2BIG);
	text = make(many, DSSE_SIGNATURES_MAX);
	CHECK_INT(verify(text, TYPE, &f.ring, payload, &err), -EKEYREJECTED);
	CHECK_INT(dsse_add(text, strlen(text), &next, &out, &len, &err), -E2BIG);
	CHECK(out == NULL);
}

/* Junk in front of a signature costs tries; with its keyid it needs one that is left. */
TEST(tries_are_bounded)
{
	CLEANUP(teardown) struct fixture f;
	CLEANUP(freep) char *few = NULL;
	CLEANUP(freep) char *many = NULL;
	struct dsse_signature s[DSSE_TRIES_MAX / 2 + 1] = {0};
	struct err err = {0};
	char payload[64] = "";

	setup(&f, 1);
	/* Two keys are tried for each. */
	for (size_t i = 0; i < ARRAY_LEN(s); i++) {
		sign(&f.foreign, &s[i]);
		(void)snprintf(s[i].keyid, sizeof(s[i].keyid), "%zu", i);
	}
	sign(&f.a, &s[ARRAY_LEN(s) - 2]);
	few = make(s, ARRAY_LEN(s) - 1);
	CHECK_OK(verify(few, TYPE, &f.ring, payload, &err), &err);
	sign(&f.foreign, &s[ARRAY_LEN(s) - 2]);
	(void)snprintf(s[ARRAY_LEN(s) - 2].keyid, SHA256_HEX_LEN, "more");
	sign(&f.a, &s[ARRAY_LEN(s) - 1]);
	many = make(s, ARRAY_LEN(s));
	CHECK_INT(verify(many, TYPE, &f.ring, payload, &err), -EKEYREJECTED);
}

TEST(another_signature_is_added_and_one_by_the_same_key_replaced)
{
	CLEANUP(teardown) struct fixture f;
	CLEANUP(freep) char *text = NULL;
	CLEANUP(freep) char *two = NULL;
	CLEANUP(freep) char *again = NULL;
	CLEANUP(json_decrefp) json_t *root = NULL;
	struct dsse_signature a = {0}, b = {0};
	struct err err = {0};
	char payload[64] = "";
	size_t len = 0;

	setup(&f, 2);
	sign(&f.a, &a);
	text = make(&a, 1);
	sign(&f.b, &b);
	CHECK_OK(dsse_add(text, strlen(text), &b, &two, &len, &err), &err);
	CHECK_UINT(strlen(two), len);
	CHECK_OK(verify(two, TYPE, &f.ring, payload, &err), &err);
	CHECK_STR(payload, BODY);
	sign(&f.b, &b);
	CHECK_OK(dsse_add(two, strlen(two), &b, &again, &len, &err), &err);
	CHECK_OK(verify(again, TYPE, &f.ring, payload, &err), &err);
	root = json_loads(again, 0, NULL);
	CHECK_UINT(json_array_size(json_object_get(root, "signatures")), 2);
	/* What was there is there still, value by value. */
	CHECK(strncmp(text, again, strlen(text) - strlen("]}\n")) == 0);
	freep(&again);
	CHECK_INT(dsse_add("{}", 2, &b, &again, &len, &err), -EBADMSG);
	CHECK(again == NULL);
}

TEST(opened_without_keys)
{
	CLEANUP(freep) uint8_t *payload = NULL;
	static const char text[] = ENVELOPE(STATEMENT, IN_TOTO, "");
	struct err err = {0};
	size_t len = 0;

	CHECK_OK(dsse_open_unverified(text, strlen(text), IN_TOTO, &payload, &len, &err), &err);
	CHECK_STR((char *)payload, STATEMENT_TEXT);
	freep(&payload);
	CHECK_INT(dsse_open_unverified(text, strlen(text), TYPE, &payload, &len, &err),
		  -EPROTOTYPE);
	CHECK(payload == NULL);
}

/* RFC 8032, section 7.1, TEST 1. */
#define ED25519_PRIVATE                                                                            \
	"-----BEGIN PRIVATE KEY-----\n"                                                            \
	"MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"                       \
	"-----END PRIVATE KEY-----\n"

OOM_TEST(dsse_when_memory_runs_out)
{
	CLEANUP(private_key_done) struct private_key k = {0};
	CLEANUP(freep) uint8_t *payload = NULL;
	CLEANUP(freep) char *text = NULL;
	CLEANUP(freep) char *two = NULL;
	struct dsse_signature b = {.len = 1};
	struct keyring ring = {.threshold = 1, .count = 1};
	size_t len = 0;
	int r = private_key_parse(ED25519_PRIVATE, sizeof(ED25519_PRIVATE) - 1, "k", &k, NULL);

	ring.keys[0] = k.public;
	if (r == 0)
		r = dsse_sign(TYPE, BODY, strlen(BODY), &k, &text, &len, NULL);
	if (r == 0)
		r = dsse_add(text, len, &b, &two, &len, NULL);
	if (r == 0)
		r = dsse_verify(two, len, TYPE, "t", &ring, &payload, &len, NULL);
	return r;
}
