/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/key.h"

#include "base/file.h"
#include "base/mem.h"
#include "controller-client/key_spki.h"
#include "controller-client/pem.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define P256_RAW_LEN 64

const char *key_kind_name(enum key_kind kind)
{
	switch (kind) {
	case KEY_ED25519:
		return "ed25519";
	case KEY_P256:
		return "p256";
	}
	return "unknown";
}

/* ---- public keys ---- */

static int key_id(EVP_PKEY *pkey, struct public_key *ret, struct err *err)
{
	uint8_t spki[KEY_SPKI_MAX], digest[SHA256_LEN];
	size_t len = 0;
	int r = key_spki(pkey, &ret->kind, spki, &len);

	if (r == -ENOTSUP)
		return err_set(err, ENOTSUP,
			       "neither an Ed25519 nor a P-256 key; one of these "
			       "would be right");
	if (r < 0 || sha256(spki, len, digest) < 0)
		return err_set(err, ENOMEM, "out of memory");
	hex_format(digest, sizeof(digest), ret->id);
	return 0;
}

int public_key_from(EVP_PKEY *pkey, struct public_key *ret, struct err *err)
{
	struct public_key key = {0};
	int r = key_id(pkey, &key, err);

	if (r < 0)
		return r;
	if (EVP_PKEY_up_ref(pkey) != 1)
		return err_set(err, ENOMEM, "out of memory");
	key.pkey = pkey;
	*ret = key;
	return 0;
}

void public_key_done(struct public_key *k)
{
	EVP_PKEY_free(k->pkey);
	*k = (struct public_key){0};
}

/*
 * A threshold counts keys, and a key is its id, so one key must not have two: only the usual
 * encoding (named curve, uncompressed point, no parameters) is taken.
 */
static int public_key_from_der(const uint8_t *der, size_t len, const char *what,
			       struct public_key *ret, struct err *err)
{
	uint8_t spki[KEY_SPKI_MAX];
	const uint8_t *at = der;
	EVP_PKEY *pkey = d2i_PUBKEY(NULL, &at, (long)len);
	enum key_kind kind;
	size_t spki_len = 0;
	int r;

	if (pkey == NULL || at != der + len) {
		EVP_PKEY_free(pkey);
		ERR_clear_error();
		return err_set(err, EBADMSG, "%s: not a public key", what);
	}
	r = public_key_from(pkey, ret, err);
	EVP_PKEY_free(pkey);
	if (r < 0)
		return err_prefix(err, r, "%s", what);
	if (key_spki(ret->pkey, &kind, spki, &spki_len) == 0 && spki_len == len &&
	    memcmp(spki, der, len) == 0)
		return 0;
	public_key_done(ret);
	return err_set(err, EBADMSG,
		       "%s: the key is not in its usual encoding; what 'openssl pkey -pubin "
		       "-ec_conv_form uncompressed -ec_param_enc named_curve' prints would be "
		       "right",
		       what);
}

int public_key_parse(const char *pem, size_t len, const char *what, struct public_key *ret,
		     struct err *err)
{
	CLEANUP(freep) uint8_t *der = NULL;
	struct public_key key = {0};
	size_t der_len = 0;
	int r;

	if (len > KEY_FILE_MAX)
		return err_set(err, EBADMSG, "%s: larger than a key can be", what);
	r = pem_decode(pem, len, "PUBLIC KEY", what, &der, &der_len, err);
	if (r < 0)
		return r;
	r = public_key_from_der(der, der_len, what, &key, err);
	if (r < 0)
		return r;
	*ret = key;
	return 0;
}

int public_key_load(const char *path, struct public_key *ret, struct err *err)
{
	CLEANUP(freep) char *pem = NULL;
	size_t len = 0;
	int r = file_read(AT_FDCWD, path, KEY_FILE_MAX, &pem, &len, err);

	return r < 0 ? r : public_key_parse(pem, len, path, ret, err);
}

char *public_key_pem(const struct public_key *k)
{
	uint8_t spki[KEY_SPKI_MAX];
	enum key_kind kind;
	size_t len = 0;

	if (key_spki(k->pkey, &kind, spki, &len) < 0)
		return NULL;
	return pem_encode("PUBLIC KEY", spki, len);
}

/* ---- signatures ---- */

static const EVP_MD *key_digest(enum key_kind kind)
{
	return kind == KEY_P256 ? EVP_sha256() : NULL;
}

static bool verify(const struct public_key *k, const void *message, size_t len,
		   const uint8_t *signature, size_t signature_len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool good;

	good = ctx != NULL &&
	       EVP_DigestVerifyInit(ctx, NULL, key_digest(k->kind), NULL, k->pkey) == 1 &&
	       EVP_DigestVerify(ctx, signature, signature_len, message, len) == 1;
	EVP_MD_CTX_free(ctx);
	/* The queue is the thread's, and TLS on the same thread reads it. */
	ERR_clear_error();
	return good;
}

/* r and s as tokens give them (PKCS#11) and as DSSE's published vector has them -> DER. */
static bool raw_to_der(const uint8_t *raw, uint8_t *ret, size_t *ret_len)
{
	BIGNUM *r = BN_bin2bn(raw, P256_RAW_LEN / 2, NULL);
	BIGNUM *s = BN_bin2bn(raw + P256_RAW_LEN / 2, P256_RAW_LEN / 2, NULL);
	ECDSA_SIG *sig = ECDSA_SIG_new();
	int len;

	if (r == NULL || s == NULL || sig == NULL || ECDSA_SIG_set0(sig, r, s) != 1) {
		BN_free(r);
		BN_free(s);
		ECDSA_SIG_free(sig);
		return false;
	}
	len = i2d_ECDSA_SIG(sig, NULL);
	if (len > 0 && len <= KEY_SIGNATURE_MAX)
		*ret_len = (size_t)i2d_ECDSA_SIG(sig, &ret);
	ECDSA_SIG_free(sig);
	return len > 0 && len <= KEY_SIGNATURE_MAX;
}

bool public_key_verify(const struct public_key *k, const void *message, size_t len,
		       const uint8_t *signature, size_t signature_len)
{
	uint8_t der[KEY_SIGNATURE_MAX];
	size_t der_len = 0;

	if (k->pkey == NULL || signature_len == 0 || signature_len > KEY_SIGNATURE_MAX)
		return false;
	if (verify(k, message, len, signature, signature_len))
		return true;
	return k->kind == KEY_P256 && signature_len == P256_RAW_LEN &&
	       raw_to_der(signature, der, &der_len) && verify(k, message, len, der, der_len);
}

/* ---- private keys ---- */

void private_key_done(struct private_key *k)
{
	EVP_PKEY_free(k->pkey);
	public_key_done(&k->public);
	*k = (struct private_key){0};
}

/* Takes the key, also when it fails. */
static int private_key_take(EVP_PKEY *take, struct private_key *ret, struct err *err)
{
	struct private_key key = {.pkey = take};
	int r = public_key_from(take, &key.public, err);

	if (r < 0) {
		private_key_done(&key);
		return r;
	}
	*ret = key;
	return 0;
}

int private_key_generate(enum key_kind kind, struct private_key *ret, struct err *err)
{
	EVP_PKEY *pkey = kind == KEY_P256 ? EVP_EC_gen("prime256v1")
					  : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

	if (pkey == NULL) {
		ERR_clear_error();
		return err_set(err, EIO, "OpenSSL makes no %s key", key_kind_name(kind));
	}
	return private_key_take(pkey, ret, err);
}

/* PKCS#8 may carry a public key beside the private one; both must be one pair. */
static bool is_pair(EVP_PKEY *pkey)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);
	bool pair = ctx != NULL && EVP_PKEY_pairwise_check(ctx) == 1;

	EVP_PKEY_CTX_free(ctx);
	return pair;
}

static EVP_PKEY *pkey_from_pkcs8(const uint8_t *der, size_t len)
{
	const uint8_t *at = der;
	PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)len);
	EVP_PKEY *pkey = NULL;

	if (info != NULL && at == der + len)
		pkey = EVP_PKCS82PKEY(info);
	PKCS8_PRIV_KEY_INFO_free(info);
	if (pkey != NULL && !is_pair(pkey)) {
		EVP_PKEY_free(pkey);
		pkey = NULL;
	}
	ERR_clear_error();
	return pkey;
}

int private_key_parse(const char *pem, size_t len, const char *what, struct private_key *ret,
		      struct err *err)
{
	uint8_t *der = NULL;
	size_t der_len = 0;
	EVP_PKEY *pkey;
	int r;

	if (len > KEY_FILE_MAX)
		return err_set(err, EBADMSG, "%s: larger than a key can be", what);
	r = pem_decode(pem, len, "PRIVATE KEY", what, &der, &der_len, err);
	if (r < 0)
		return r;
	pkey = pkey_from_pkcs8(der, der_len);
	OPENSSL_cleanse(der, der_len);
	free(der);
	if (pkey == NULL)
		return err_set(err, EBADMSG,
			       "%s: not a private key in PKCS#8; what 'openssl pkey' prints "
			       "would be right",
			       what);
	r = private_key_take(pkey, ret, err);
	return r < 0 ? err_prefix(err, r, "%s", what) : 0;
}

int private_key_load(const char *path, struct private_key *ret, struct err *err)
{
	char *pem = NULL;
	size_t len = 0;
	int r = file_read_secret(AT_FDCWD, path, KEY_FILE_MAX, &pem, &len, err);

	if (r < 0)
		return r;
	r = private_key_parse(pem, len, path, ret, err);
	OPENSSL_cleanse(pem, len);
	free(pem);
	return r;
}

char *private_key_pem(const struct private_key *k)
{
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(k->pkey);
	uint8_t *der = NULL;
	char *pem = NULL;
	int len = 0;

	if (info != NULL)
		len = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
	PKCS8_PRIV_KEY_INFO_free(info);
	if (len > 0)
		pem = pem_encode("PRIVATE KEY", der, (size_t)len);
	OPENSSL_clear_free(der, len > 0 ? (size_t)len : 0);
	ERR_clear_error();
	return pem;
}

int private_key_sign(const struct private_key *k, const void *message, size_t len,
		     uint8_t *signature, size_t *ret_len, struct err *err)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t n = KEY_SIGNATURE_MAX;
	bool good;

	good = ctx != NULL &&
	       EVP_DigestSignInit(ctx, NULL, key_digest(k->public.kind), NULL, k->pkey) == 1 &&
	       EVP_DigestSign(ctx, signature, &n, message, len) == 1;
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	if (!good)
		return err_set(err, EIO, "OpenSSL does not sign with key %.16s...", k->public.id);
	*ret_len = n;
	return 0;
}
