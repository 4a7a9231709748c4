/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/key.h"

#include "base/file.h"
#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Published keys: RFC 8032, section 7.1, TEST 1; the example of DSSE's protocol.md. */
#define ED25519_PUBLIC                                                                             \
	"-----BEGIN PUBLIC KEY-----\n"                                                             \
	"MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"                           \
	"-----END PUBLIC KEY-----\n"
#define ED25519_ID "06e3fd8fda29bb60ab59557de61edb0aecdb231134be30e75b455f8e1b792fa9"
#define ED25519_PRIVATE                                                                            \
	"-----BEGIN PRIVATE KEY-----\n"                                                            \
	"MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"                       \
	"-----END PRIVATE KEY-----\n"
#define P256_PUBLIC                                                                                \
	"-----BEGIN PUBLIC KEY-----\n"                                                             \
	"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZ805D3eqNZywjCI19lInBJOp7YMr\n"                       \
	"CrzAH3CVTAOQ0jgMeCvVTiaRJaRPRDOv8UMs6U4SvKc6pnrIDOoSYI3fdA==\n"                           \
	"-----END PUBLIC KEY-----\n"
#define P256_ID "f793580060562d6ff075d814ea698c282fcc779b0cde64d79ffc6301df00d14b"
#define P256_PRIVATE                                                                               \
	"-----BEGIN PRIVATE KEY-----\n"                                                            \
	"MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg1z7EN/1jRuNhnF6/\n"                       \
	"3/8PaRaASVWtMqyaxJKw7eH2/7ehRANCAARnzTkPd6o1nLCMIjX2UicEk6ntgysK\n"                       \
	"vMAfcJVMA5DSOAx4K9VOJpElpE9EM6/xQyzpThK8pzqmesgM6hJgjd90\n"                               \
	"-----END PRIVATE KEY-----\n"

static int parse(const char *pem, struct public_key *ret, struct err *err)
{
	return public_key_parse(pem, strlen(pem), "a.pub", ret, err);
}

static int parse_private(const char *pem, struct private_key *ret, struct err *err)
{
	return private_key_parse(pem, strlen(pem), "a.key", ret, err);
}

TEST(keyids_of_published_keys)
{
	CLEANUP(public_key_done) struct public_key ed = {0}, p256 = {0};
	CLEANUP(freep) char *pem = NULL;
	struct err err = {0};

	CHECK_OK(parse(ED25519_PUBLIC, &ed, &err), &err);
	CHECK_INT(ed.kind, KEY_ED25519);
	CHECK_STR(ed.id, ED25519_ID);
	CHECK_OK(parse(P256_PUBLIC, &p256, &err), &err);
	CHECK_INT(p256.kind, KEY_P256);
	CHECK_STR(p256.id, P256_ID);
	pem = public_key_pem(&p256);
	CHECK_STR(pem, P256_PUBLIC);
	CHECK_STR(key_kind_name(KEY_P256), "p256");
}

TEST(only_one_public_key_in_its_usual_form)
{
	static const struct {
		const char *pem, *error;
		int r;
	} cases[] = {
		{"", "a.pub: not PEM; a block '-----BEGIN PUBLIC KEY-----' would be right",
		 -EBADMSG},
		{"ssh-ed25519 AAAA", "a.pub: not PEM", -EBADMSG},
		{ED25519_PRIVATE,
		 "a.pub: holds 'PRIVATE KEY'; exactly one block 'PUBLIC KEY' would be right",
		 -EBADMSG},
		{ED25519_PUBLIC ED25519_PUBLIC, "a.pub: more than one block", -EBADMSG},
		{"x\n" ED25519_PUBLIC, "a.pub: not PEM", -EBADMSG},
		{ED25519_PUBLIC "x", "exactly one block", -EBADMSG},
		{"-----BEGIN PUBLIC KEY-----\nMCow*\n-----END PUBLIC KEY-----\n", "not base64",
		 -EBADMSG},
		{"-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n",
		 "a.pub: not a public key", -EBADMSG},
		/* One byte behind the structure. */
		{"-----BEGIN PUBLIC KEY-----\n"
		 "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURoA\n"
		 "-----END PUBLIC KEY-----\n",
		 "a.pub: not a public key", -EBADMSG},
		/* The same point, compressed: the same key must not have two ids. */
		{"-----BEGIN PUBLIC KEY-----\n"
		 "MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgACZ805D3eqNZywjCI19lInBJOp7YMr\n"
		 "CrzAH3CVTAOQ0jg=\n"
		 "-----END PUBLIC KEY-----\n",
		 "not in its usual encoding", -EBADMSG},
		/* The same point, the curve spelt out. */
		{"-----BEGIN PUBLIC KEY-----\n"
		 "MIIBSzCCAQMGByqGSM49AgEwgfcCAQEwLAYHKoZIzj0BAQIhAP////8AAAABAAAA\n"
		 "AAAAAAAAAAAA////////////////MFsEIP////8AAAABAAAAAAAAAAAAAAAA////\n"
		 "///////////8BCBaxjXYqjqT57PrvVV2mIa8ZR0GsMxTsPY7zjw+J9JgSwMVAMSd\n"
		 "NgiG5wSTamZ44ROdJreBn36QBEEEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5\n"
		 "RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9QIhAP////8AAAAA\n"
		 "//////////+85vqtpxeehPO5ysL8YyVRAgEBA0IABGfNOQ93qjWcsIwiNfZSJwST\n"
		 "qe2DKwq8wB9wlUwDkNI4DHgr1U4mkSWkT0Qzr/FDLOlOErynOqZ6yAzqEmCN33Q=\n"
		 "-----END PUBLIC KEY-----\n",
		 "not in its usual encoding", -EBADMSG},
		/* Not on the curve. */
		{"-----BEGIN PUBLIC KEY-----\n"
		 "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZ805D3eqNZywjCI19lInBJOp7YMr\n"
		 "CrzAH3CVTAOQ0jgMeCvVTiaRJaRPRDOv8UMs6U4SvKc6pnrIDOoSYI3fdQ==\n"
		 "-----END PUBLIC KEY-----\n",
		 "a.pub: not a public key", -EBADMSG},
		/* P-384 */
		{"-----BEGIN PUBLIC KEY-----\n"
		 "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEtpAnivomOF8e8qhHANbdBpCIB4cx07li\n"
		 "lCnBRSmOtrMlddAPbqmwB+MhyhuOkdRpAALiJbqyf5rCKvi2IrwoHoLS81u/9YY3\n"
		 "2j/rvCNai8ZE6llLHmaygbzFaLZkexpu\n"
		 "-----END PUBLIC KEY-----\n",
		 "a.pub: neither an Ed25519 nor a P-256 key", -ENOTSUP},
		/* RSA */
		{"-----BEGIN PUBLIC KEY-----\n"
		 "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDxOqXpL1ToWA2aDErQJs1L+RBQ\n"
		 "dhpr6Gf8NamRGKJ5yX7KqHfFioYY22tg1hLVU7zpceFMTZBox5vaZNXP1EE+JeOl\n"
		 "O9T8pg4WHoemrCq7cDYFYosJQMYMXe57MhpZT8NIqhmvXGQUUUmwLzpkt66pX/Fs\n"
		 "T7uODiLCrguc80lE1wIDAQAB\n"
		 "-----END PUBLIC KEY-----\n",
		 "a.pub: neither an Ed25519 nor a P-256 key", -ENOTSUP},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct public_key k = {0};
		struct err err = {0};

		CHECK_INT(parse(cases[i].pem, &k, &err), cases[i].r);
		CHECK_CONTAINS(err.text, cases[i].error);
		CHECK(k.pkey == NULL && k.id[0] == '\0');
	}
}

static bool accepts_public(const void *bytes, size_t len)
{
	struct public_key k = {0};
	bool good = public_key_parse(bytes, len, "a.pub", &k, NULL) == 0;

	public_key_done(&k);
	return good;
}

TEST(every_truncation_of_a_public_key_is_refused)
{
	/* Without the last newline, which may be missing. */
	CHECK_TRUNCATIONS(P256_PUBLIC, sizeof(P256_PUBLIC) - 2, accepts_public);
}

TEST(private_keys_in_pkcs8)
{
	CLEANUP(private_key_done) struct private_key ed = {0}, p256 = {0};
	CLEANUP(freep) char *ed_pem = NULL;
	CLEANUP(freep) char *p256_pem = NULL;
	struct err err = {0};

	CHECK_OK(parse_private(ED25519_PRIVATE, &ed, &err), &err);
	CHECK_STR(ed.public.id, ED25519_ID);
	CHECK_OK(parse_private(P256_PRIVATE, &p256, &err), &err);
	CHECK_STR(p256.public.id, P256_ID);
	ed_pem = private_key_pem(&ed);
	CHECK_STR(ed_pem, ED25519_PRIVATE);
	p256_pem = private_key_pem(&p256);
	CHECK_STR(p256_pem, P256_PRIVATE);
}

TEST(private_keys_in_other_forms_are_refused_with_advice)
{
	static const struct {
		const char *pem, *error;
	} cases[] = {
		{ED25519_PUBLIC, "a.key: holds 'PUBLIC KEY'; exactly one block 'PRIVATE KEY'"},
		{"-----BEGIN EC PRIVATE KEY-----\n"
		 "MHcCAQEEINc+xDf9Y0bjYZxev9//D2kWgElVrTKsmsSSsO3h9v+3oAoGCCqGSM49\n"
		 "AwEHoUQDQgAEZ805D3eqNZywjCI19lInBJOp7YMrCrzAH3CVTAOQ0jgMeCvVTiaR\n"
		 "JaRPRDOv8UMs6U4SvKc6pnrIDOoSYI3fdA==\n"
		 "-----END EC PRIVATE KEY-----\n",
		 "a.key: holds 'EC PRIVATE KEY'"},
		{"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMCow\n"
		 "-----END ENCRYPTED PRIVATE KEY-----\n",
		 "a.key: holds 'ENCRYPTED PRIVATE KEY'"},
		{"-----BEGIN PRIVATE KEY-----\nMCow\n-----END PRIVATE KEY-----\n",
		 "a.key: not a private key in PKCS#8; what 'openssl pkey' prints would be right"},
		/* Another private key beside this public one. */
		{"-----BEGIN PRIVATE KEY-----\n"
		 "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg1z7EN/1jRuNhnF6/\n"
		 "3/8PaRaASVWtMqyaxJKw7eH2/7ahRANCAARnzTkPd6o1nLCMIjX2UicEk6ntgysK\n"
		 "vMAfcJVMA5DSOAx4K9VOJpElpE9EM6/xQyzpThK8pzqmesgM6hJgjd90\n"
		 "-----END PRIVATE KEY-----\n",
		 "a.key: not a private key"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct private_key k = {0};
		struct err err = {0};

		CHECK_INT(parse_private(cases[i].pem, &k, &err), -EBADMSG);
		CHECK_CONTAINS(err.text, cases[i].error);
		CHECK(k.pkey == NULL);
	}
}

static const char *in_dir(const char *name)
{
	static char path[PATH_MAX];

	CHECK(snprintf(path, sizeof(path), "%s/%s", test_dir(), name) < PATH_MAX);
	return path;
}

TEST(a_private_key_that_others_may_read_is_refused)
{
	static const mode_t wrong[] = {0604, 0640, 0610, 0602, 0644, 0601};
	const char *path = in_dir("policy.key");
	struct err err = {0};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct private_key k = {0};

		CHECK_OK(file_write_durable(AT_FDCWD, path, ED25519_PRIVATE,
					    sizeof(ED25519_PRIVATE) - 1, wrong[i], &err),
			 &err);
		CHECK_INT(private_key_load(path, &k, &err), -EACCES);
		CHECK_CONTAINS(err.text, "others may read it");
		CHECK_CONTAINS(err.text, "0600 would be right");
	}
	for (mode_t mode = 0400; mode <= 0600; mode += 0200) {
		CLEANUP(private_key_done) struct private_key k = {0};

		CHECK_OK(file_write_durable(AT_FDCWD, path, ED25519_PRIVATE,
					    sizeof(ED25519_PRIVATE) - 1, mode, &err),
			 &err);
		CHECK_OK(private_key_load(path, &k, &err), &err);
		CHECK_STR(k.public.id, ED25519_ID);
	}
}

TEST(key_files_are_bounded_and_named_in_errors)
{
	CLEANUP(freep) char *big = mem_calloc(KEY_FILE_MAX + 1, 1);
	const char *path = in_dir("a.pub");
	struct public_key k = {0};
	struct err err = {0};

	CHECK(big != NULL);
	memset(big, '\n', KEY_FILE_MAX + 1);
	CHECK_INT(public_key_parse(big, KEY_FILE_MAX + 1, "x", &k, &err), -EBADMSG);
	CHECK_OK(file_write_durable(AT_FDCWD, path, big, KEY_FILE_MAX + 1, 0644, &err), &err);
	CHECK_INT(public_key_load(path, &k, &err), -EFBIG);
	CHECK_CONTAINS(err.text, "a.pub");
	CHECK_INT(public_key_load(in_dir("missing"), &k, &err), -ENOENT);
	CHECK_OK(file_write_durable(AT_FDCWD, path, ED25519_PUBLIC, sizeof(ED25519_PUBLIC) - 1,
				    0644, &err),
		 &err);
	CHECK_OK(public_key_load(path, &k, &err), &err);
	public_key_done(&k);
}

/* RFC 8032, section 7.1, TEST 1: the empty message. */
TEST(ed25519_signature_of_the_standard)
{
	static const uint8_t expected[] = {
		0xe5, 0x56, 0x43, 0x00, 0xc3, 0x60, 0xac, 0x72, 0x90, 0x86, 0xe2, 0xcc, 0x80,
		0x6e, 0x82, 0x8a, 0x84, 0x87, 0x7f, 0x1e, 0xb8, 0xe5, 0xd9, 0x74, 0xd8, 0x73,
		0xe0, 0x65, 0x22, 0x49, 0x01, 0x55, 0x5f, 0xb8, 0x82, 0x15, 0x90, 0xa3, 0x3b,
		0xac, 0xc6, 0x1e, 0x39, 0x70, 0x1c, 0xf9, 0xb4, 0x6b, 0xd2, 0x5b, 0xf5, 0xf0,
		0x59, 0x5b, 0xbe, 0x24, 0x65, 0x51, 0x41, 0x43, 0x8e, 0x7a, 0x10, 0x0b};
	CLEANUP(private_key_done) struct private_key k = {0};
	uint8_t signature[KEY_SIGNATURE_MAX];
	struct err err = {0};
	size_t len = 0;

	CHECK_OK(parse_private(ED25519_PRIVATE, &k, &err), &err);
	CHECK_OK(private_key_sign(&k, "", 0, signature, &len, &err), &err);
	CHECK_UINT(len, sizeof(expected));
	CHECK_MEM(signature, expected, sizeof(expected));
	CHECK(public_key_verify(&k.public, "", 0, signature, len));
}

TEST(a_signature_holds_for_its_bytes_and_its_key_only)
{
	for (int kind = KEY_ED25519; kind <= KEY_P256; kind++) {
		CLEANUP(private_key_done) struct private_key k = {0}, other = {0};
		uint8_t signature[KEY_SIGNATURE_MAX + 1] = {0};
		struct err err = {0};
		size_t len = 0;

		CHECK_OK(private_key_generate((enum key_kind)kind, &k, &err), &err);
		CHECK_OK(private_key_generate((enum key_kind)kind, &other, &err), &err);
		CHECK(strcmp(k.public.id, other.public.id) != 0);
		CHECK_OK(private_key_sign(&k, "message", 7, signature, &len, &err), &err);
		CHECK(len <= KEY_SIGNATURE_MAX);
		CHECK(public_key_verify(&k.public, "message", 7, signature, len));
		CHECK(!public_key_verify(&other.public, "message", 7, signature, len));
		CHECK(!public_key_verify(&k.public, "massage", 7, signature, len));
		CHECK(!public_key_verify(&k.public, "messag", 6, signature, len));
		CHECK(!public_key_verify(&k.public, "message", 7, signature, len - 1));
		CHECK(!public_key_verify(&k.public, "message", 7, signature, len + 1));
		CHECK(!public_key_verify(&k.public, "message", 7, signature, 0));
		CHECK(!public_key_verify(&k.public, "message", 7, signature, sizeof(signature)));
		for (size_t i = 0; i < len; i++) {
			signature[i] ^= 0x10;
			CHECK(!public_key_verify(&k.public, "message", 7, signature, len));
			signature[i] ^= 0x10;
		}
	}
}

/* ---- keyrings ---- */

TEST(a_key_counts_once_in_a_keyring)
{
	CLEANUP(keyring_done) struct keyring r = {0};
	struct public_key k = {0};
	struct err err = {0};

	CHECK_OK(parse(ED25519_PUBLIC, &k, &err), &err);
	CHECK_OK(keyring_add(&r, &k, &err), &err);
	CHECK(k.pkey == NULL);
	CHECK_OK(parse(ED25519_PUBLIC, &k, &err), &err);
	CHECK_INT(keyring_add(&r, &k, &err), -EEXIST);
	CHECK_CONTAINS(err.text, ED25519_ID);
	CHECK(k.pkey == NULL);
	CHECK_UINT(r.count, 1);
}

TEST(a_keyring_is_bounded)
{
	CLEANUP(keyring_done) struct keyring r = {0};
	struct err err = {0};

	for (size_t i = 0; i <= KEYRING_MAX; i++) {
		struct private_key k = {0};

		CHECK_OK(private_key_generate(KEY_ED25519, &k, &err), &err);
		CHECK_INT(keyring_add(&r, &k.public, &err), i < KEYRING_MAX ? 0 : -E2BIG);
		private_key_done(&k);
	}
	CHECK_UINT(r.count, KEYRING_MAX);
}

TEST(a_keyring_is_known_by_its_keys_in_any_order)
{
	CLEANUP(keyring_done) struct keyring one = {0}, two = {0}, three = {0};
	char a[SHA256_HEX_LEN], b[SHA256_HEX_LEN], c[SHA256_HEX_LEN];
	struct public_key k = {0};
	struct err err = {0};

	CHECK_OK(parse(ED25519_PUBLIC, &k, &err), &err);
	CHECK_OK(keyring_add(&one, &k, &err), &err);
	CHECK_OK(parse(P256_PUBLIC, &k, &err), &err);
	CHECK_OK(keyring_add(&one, &k, &err), &err);
	CHECK_OK(parse(P256_PUBLIC, &k, &err), &err);
	CHECK_OK(keyring_add(&two, &k, &err), &err);
	CHECK_OK(parse(ED25519_PUBLIC, &k, &err), &err);
	CHECK_OK(keyring_add(&two, &k, &err), &err);
	CHECK_OK(parse(ED25519_PUBLIC, &k, &err), &err);
	CHECK_OK(keyring_add(&three, &k, &err), &err);
	CHECK_INT(keyring_digest(&one, a), 0);
	CHECK_INT(keyring_digest(&two, b), 0);
	CHECK_INT(keyring_digest(&three, c), 0);
	CHECK_STR(a, b);
	CHECK(strcmp(a, c) != 0);
}

OOM_TEST(key_when_memory_runs_out)
{
	CLEANUP(private_key_done) struct private_key k = {0};
	CLEANUP(public_key_done) struct public_key public = {0};
	CLEANUP(freep) char *pem = NULL;
	int r = parse_private(P256_PRIVATE, &k, NULL);

	if (r < 0)
		return r;
	pem = public_key_pem(&k.public);
	if (pem == NULL)
		return -ENOMEM;
	return parse(pem, &public, NULL);
}
