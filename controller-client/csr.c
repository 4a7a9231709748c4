/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/csr.h"

#include "base/mem.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/x509.h>
#include <string.h>

static bool fill(X509_REQ *req, const struct private_key *key, const char *common_name)
{
	const EVP_MD *digest = key->public.kind == KEY_ED25519 ? NULL : EVP_sha256();
	X509_NAME *name = X509_NAME_new();
	bool ok = name != NULL;

	ok = ok && X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
					      (const unsigned char *)common_name, -1, -1, 0) == 1;
	ok = ok && X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1;
	ok = ok && X509_REQ_set_subject_name(req, name) == 1;
	ok = ok && X509_REQ_set_pubkey(req, key->pkey) == 1;
	ok = ok && X509_REQ_sign(req, key->pkey, digest) > 0;
	X509_NAME_free(name);
	return ok;
}

int csr_make(const struct private_key *key, const char *common_name, uint8_t **ret, size_t *ret_len,
	     struct err *err)
{
	X509_REQ *req = X509_REQ_new();
	unsigned char *der = NULL;
	uint8_t *copy = NULL;
	int len = -1;

	if (req != NULL && fill(req, key, common_name))
		len = i2d_X509_REQ(req, &der);
	X509_REQ_free(req);
	if (len > 0)
		copy = mem_calloc((size_t)len, 1);
	if (copy != NULL)
		memcpy(copy, der, (size_t)len);
	OPENSSL_free(der);
	ERR_clear_error();
	if (copy == NULL)
		return err_set(err, len > 0 ? ENOMEM : EIO,
			       "certificate request: cannot be made for this key");
	*ret = copy;
	*ret_len = (size_t)len;
	return 0;
}

static int check(X509_REQ *req, struct public_key *ret, struct err *err)
{
	EVP_PKEY *pkey = X509_REQ_get0_pubkey(req);
	struct public_key key = {0};
	int r;

	if (pkey == NULL)
		return err_set(err, EBADMSG, "the key cannot be read");
	/* The kind first: what a signature of another kind costs is the sender's choice. */
	r = public_key_from(pkey, &key, err);
	if (r >= 0 && key.kind != KEY_P256)
		r = err_set(err, ENOTSUP, "not a P-256 key; P-256 would be right");
	if (r >= 0 && X509_REQ_verify(req, pkey) != 1)
		r = err_set(err, EKEYREJECTED, "its signature is not by the key it is for");
	if (r < 0) {
		public_key_done(&key);
		return r;
	}
	*ret = key;
	return 0;
}

int csr_check(const uint8_t *der, size_t len, struct public_key *ret, struct err *err)
{
	const unsigned char *at = der;
	X509_REQ *req;
	int r;

	if (len > CSR_MAX)
		return err_set(err, E2BIG, "certificate request: longer than %u bytes", CSR_MAX);
	req = d2i_X509_REQ(NULL, &at, (long)len);
	if (req == NULL || at != der + len)
		r = err_set(err, EBADMSG, "not a PKCS#10 message");
	else
		r = check(req, ret, err);
	X509_REQ_free(req);
	ERR_clear_error();
	return r < 0 ? err_prefix(err, r, "certificate request") : 0;
}
