/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Signers of files and the form of P-256 signatures; tokens and programs: tests/netns/authoring.sh
 */
#include "controller-client/signer.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller-client/signer_kind.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static char key_path[300], public_path[300];

/* A pair on disk. */
static void make_pair(enum key_kind kind, const char *name)
{
	CLEANUP(freep) char *pem = NULL;
	CLEANUP(freep) char *public_pem = NULL;
	struct private_key key = {0};
	struct err err = {0};

	CHECK_OK(private_key_generate(kind, &key, &err), &err);
	pem = private_key_pem(&key);
	public_pem = public_key_pem(&key.public);
	(void)snprintf(key_path, sizeof(key_path), "%s/%s", test_dir(), name);
	(void)snprintf(public_path, sizeof(public_path), "%s/%s.pub", test_dir(), name);
	CHECK_OK(file_write_durable(AT_FDCWD, key_path, pem, strlen(pem), 0600, &err), &err);
	CHECK_OK(file_write_durable(AT_FDCWD, public_path, public_pem, strlen(public_pem), 0644,
				    &err),
		 &err);
	private_key_done(&key);
}

TEST(a_file_signs_and_says_by_which_key)
{
	static const enum key_kind kinds[] = {KEY_ED25519, KEY_P256};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		CLEANUP(signer_freep) struct signer *s = NULL;
		struct signer_config c = {.key = key_path};
		struct dsse_signature signature = {0};
		struct err err = {0};

		make_pair(kinds[i], "key");
		CHECK_OK(signer_open(&c, &s, &err), &err);
		CHECK_INT(signer_public(s)->kind, kinds[i]);
		CHECK_OK(signer_sign(s, "message", 7, &signature, &err), &err);
		CHECK_STR(signature.keyid, signer_public(s)->id);
		CHECK(public_key_verify(signer_public(s), "message", 7, signature.bytes,
					signature.len));
		CHECK(!public_key_verify(signer_public(s), "massage", 7, signature.bytes,
					 signature.len));
	}
}

TEST(the_public_half_must_be_of_the_same_key)
{
	CLEANUP(signer_freep) struct signer *s = NULL;
	struct signer_config c = {.key = key_path, .public_key = public_path};
	struct err err = {0};

	make_pair(KEY_ED25519, "one");
	CHECK_OK(signer_open(&c, &s, &err), &err);
	make_pair(KEY_ED25519, "two");
	(void)snprintf(public_path, sizeof(public_path), "%s/one.pub", test_dir());
	signer_freep(&s);
	CHECK_INT(signer_open(&c, &s, &err), -EKEYREJECTED);
	CHECK_CONTAINS(err.text, "the two halves of one key would be right");
	CHECK(s == NULL);
}

/* A signer that lies: what it says is looked at before anybody sees it. */
static int sign_wrong(struct signer *s, const void *message, size_t len, uint8_t *signature,
		      size_t size, size_t *ret_len, struct err *err)
{
	(void)s;
	(void)message;
	(void)len;
	(void)err;
	memset(signature, 7, size);
	*ret_len = 64;
	return 0;
}

TEST(a_wrong_signature_is_never_handed_on)
{
	static const enum key_kind kinds[] = {KEY_ED25519, KEY_P256};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		CLEANUP(signer_freep) struct signer *s = NULL;
		const struct signer_config c = {.key = key_path};
		struct dsse_signature signature = {.len = 3};
		struct err err = {0};

		make_pair(kinds[i], "liar");
		CHECK_OK(signer_open(&c, &s, &err), &err);
		s->sign = sign_wrong;
		CHECK_INT(signer_sign(s, "message", 7, &signature, &err), -EKEYREJECTED);
		CHECK_CONTAINS(err.text, "nothing was written");
		CHECK_UINT(signature.len, 3);
	}
}

TEST(r_and_s_become_der_with_the_fewest_bytes)
{
	static const uint8_t high[64] = {[0] = 0x80, [31] = 1, [32] = 0xff, [63] = 2};
	static const uint8_t small[64] = {[31] = 5, [63] = 0x80};
	static const uint8_t small_der[] = {0x30, 0x07, 0x02, 0x01, 0x05, 0x02, 0x02, 0x00, 0x80};
	uint8_t der[KEY_SIGNATURE_MAX];
	size_t len = 0;

	CHECK_INT(signature_from_raw(high, sizeof(high), der, &len), 0);
	CHECK_UINT(len, 72);
	CHECK_UINT(der[4], 0);
	CHECK_UINT(der[5], 0x80);
	CHECK_INT(signature_from_raw(small, sizeof(small), der, &len), 0);
	CHECK_UINT(len, sizeof(small_der));
	CHECK_MEM(der, small_der, sizeof(small_der));
	CHECK_INT(signature_from_raw(high, 63, der, &len), -EBADMSG);
	CHECK_INT(signature_from_raw(high, 0, der, &len), -EBADMSG);
}

TEST(words_that_name_no_signer_are_refused)
{
	static const struct {
		const char *key, *part;
		int code;
	} cases[] = {
		{"/nonexistent/key", "No such file", -ENOENT},
		{"exec:relative", "not the absolute path", -EINVAL},
		{"exec:/nonexistent/program", "No such file", -ENOENT},
		{"exec:/bin/cat", "does not say which key it is", -EINVAL},
		{"pkcs11:no-such=thing?pin-value=1234", "would be right", -EINVAL},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(signer_freep) struct signer *s = NULL;
		const struct signer_config c = {.key = cases[i].key};
		struct err err = {0};

		CHECK_INT(signer_open(&c, &s, &err), cases[i].code);
		CHECK_CONTAINS(err.text, cases[i].part);
		CHECK(strstr(err.text, "1234") == NULL);
	}
}
