/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/key_spki.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#define ED25519_LEN    32
#define P256_LEN       32 /* one coordinate */
#define GROUP_NAME_MAX 64

/* SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING } (RFC 8410, section 4) */
static const uint8_t ed25519_prefix[] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
					 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
/* SEQUENCE { SEQUENCE { id-ecPublicKey, secp256r1 }, BIT STRING { 04 X Y } } (RFC 5480) */
static const uint8_t p256_prefix[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
				      0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
				      0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};

static int ed25519_spki(EVP_PKEY *pkey, uint8_t *ret, size_t *ret_len)
{
	size_t len = ED25519_LEN;

	memcpy(ret, ed25519_prefix, sizeof(ed25519_prefix));
	if (EVP_PKEY_get_raw_public_key(pkey, ret + sizeof(ed25519_prefix), &len) != 1 ||
	    len != ED25519_LEN)
		return -ENOMEM;
	*ret_len = sizeof(ed25519_prefix) + ED25519_LEN;
	return 0;
}

static bool coordinate(EVP_PKEY *pkey, const char *name, uint8_t *ret)
{
	BIGNUM *n = NULL;
	bool good = EVP_PKEY_get_bn_param(pkey, name, &n) == 1 &&
		    BN_bn2binpad(n, ret, P256_LEN) == P256_LEN;

	BN_free(n);
	return good;
}

static int p256_spki(EVP_PKEY *pkey, uint8_t *ret, size_t *ret_len)
{
	memcpy(ret, p256_prefix, sizeof(p256_prefix));
	if (!coordinate(pkey, OSSL_PKEY_PARAM_EC_PUB_X, ret + sizeof(p256_prefix)) ||
	    !coordinate(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, ret + sizeof(p256_prefix) + P256_LEN))
		return -ENOMEM;
	*ret_len = sizeof(p256_prefix) + 2 * (size_t)P256_LEN;
	return 0;
}

static bool is_p256(EVP_PKEY *pkey)
{
	char group[GROUP_NAME_MAX] = "";
	size_t len = 0;

	return EVP_PKEY_is_a(pkey, "EC") == 1 &&
	       EVP_PKEY_get_group_name(pkey, group, sizeof(group), &len) == 1 &&
	       strcmp(group, "prime256v1") == 0;
}

int key_spki(EVP_PKEY *pkey, enum key_kind *ret_kind, uint8_t *ret, size_t *ret_len)
{
	int r = -ENOTSUP;

	if (EVP_PKEY_is_a(pkey, "ED25519") == 1) {
		*ret_kind = KEY_ED25519;
		r = ed25519_spki(pkey, ret, ret_len);
	} else if (is_p256(pkey)) {
		*ret_kind = KEY_P256;
		r = p256_spki(pkey, ret, ret_len);
	}
	ERR_clear_error();
	return r;
}
