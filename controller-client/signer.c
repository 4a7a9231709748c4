/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/signer.h"

#include "base/mem.h"
#include "base/text.h"
#include "controller-client/signer_kind.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <stdlib.h>
#include <string.h>

#define RAW_P256_LEN  64
#define KEY_SHOWN_MAX 100

/* ---- a key in a file ---- */

static int sign_file(struct signer *s, const void *message, size_t len, uint8_t *signature,
		     size_t size, size_t *ret_len, struct err *err)
{
	(void)size; /* KEY_SIGNATURE_MAX, which every signature of private_key_sign() fits */
	return private_key_sign(s->state, message, len, signature, ret_len, err);
}

static void close_file(struct signer *s)
{
	if (s->state != NULL)
		private_key_done(s->state);
	free(s->state);
}

int signer_open_file(const struct signer_config *c, struct signer *s, struct err *err)
{
	struct private_key *key = mem_calloc(1, sizeof(*key));
	int r;

	if (key == NULL)
		return err_set(err, ENOMEM, "out of memory");
	r = private_key_load(c->key, key, err);
	if (r < 0) {
		free(key);
		return r;
	}
	s->state = key;
	s->sign = sign_file;
	s->close = close_file;
	return public_key_from(key->public.pkey, &s->public, err);
}

/* ---- any ---- */

void signer_free(struct signer *s)
{
	if (s == NULL)
		return;
	if (s->close != NULL)
		s->close(s);
	public_key_done(&s->public);
	free(s);
}

void signer_freep(struct signer **s)
{
	signer_free(*s);
	*s = NULL;
}

const struct public_key *signer_public(const struct signer *s)
{
	return &s->public;
}

/* The public key that was named must be the one that signs. */
static int take_public(const struct signer_config *c, struct signer *s, struct err *err)
{
	/* Behind the question mark of a URI there may be a PIN, which belongs into no message. */
	int shown = str_starts(c->key, "pkcs11:") ? (int)strcspn(c->key, "?") : KEY_SHOWN_MAX;
	struct public_key named = {0};
	int r;

	if (shown > KEY_SHOWN_MAX)
		shown = KEY_SHOWN_MAX;
	if (c->public_key == NULL && s->public.pkey == NULL)
		return err_set(err, EINVAL,
			       "%.*s does not say which key it is; its public key as a file "
			       "(--public FILE.pub) would be right",
			       shown, c->key);
	if (c->public_key == NULL)
		return 0;
	r = public_key_load(c->public_key, &named, err);
	if (r < 0)
		return r;
	if (s->public.pkey == NULL) {
		s->public = named;
		return 0;
	}
	if (!str_eq(named.id, s->public.id))
		r = err_set(err, EKEYREJECTED,
			    "%s is key %.16s, but %.*s signs as %.16s; the two halves of one key "
			    "would be right",
			    c->public_key, named.id, shown, c->key, s->public.id);
	public_key_done(&named);
	return r;
}

static int open_kind(const struct signer_config *c, struct signer *s, struct err *err)
{
	if (str_starts(c->key, "pkcs11:"))
		return signer_open_pkcs11(c, s, err);
	if (str_starts(c->key, "exec:"))
		return signer_open_program(c, s, err);
	return signer_open_file(c, s, err);
}

int signer_open(const struct signer_config *c, struct signer **ret, struct err *err)
{
	CLEANUP(signer_freep) struct signer *s = mem_calloc(1, sizeof(*s));
	int r;

	if (s == NULL)
		return err_set(err, ENOMEM, "out of memory");
	r = open_kind(c, s, err);
	if (r == 0)
		r = take_public(c, s, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

int signature_from_raw(const uint8_t *raw, size_t len, uint8_t *der, size_t *ret_len)
{
	unsigned char *at = der;
	BIGNUM *r, *s;
	ECDSA_SIG *sig;
	int n = -1;

	if (len != RAW_P256_LEN)
		return -EBADMSG;
	sig = ECDSA_SIG_new();
	r = BN_bin2bn(raw, RAW_P256_LEN / 2, NULL);
	s = BN_bin2bn(raw + RAW_P256_LEN / 2, RAW_P256_LEN / 2, NULL);
	if (sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1) {
		r = s = NULL; /* now the signature's */
		n = i2d_ECDSA_SIG(sig, NULL);
		n = n > 0 && n <= KEY_SIGNATURE_MAX ? i2d_ECDSA_SIG(sig, &at) : -1;
	}
	ECDSA_SIG_free(sig);
	BN_free(r);
	BN_free(s);
	if (n <= 0)
		return -ENOMEM;
	*ret_len = (size_t)n;
	return 0;
}

/*
 * Documents hold DER, which every verifier reads. Only what verifies is taken, so trying the other
 * form first is safe: a DER signature of 64 bytes, rare as it is, is none when read as r || s.
 */
static bool take_signature(const struct signer *s, const void *message, size_t len,
			   const uint8_t *raw, size_t raw_len, struct dsse_signature *ret)
{
	if (s->public.kind == KEY_P256 &&
	    signature_from_raw(raw, raw_len, ret->bytes, &ret->len) == 0 &&
	    public_key_verify(&s->public, message, len, ret->bytes, ret->len))
		return true;
	memcpy(ret->bytes, raw, raw_len);
	ret->len = raw_len;
	return public_key_verify(&s->public, message, len, ret->bytes, ret->len);
}

int signer_sign(struct signer *s, const void *message, size_t len, struct dsse_signature *ret,
		struct err *err)
{
	uint8_t raw[KEY_SIGNATURE_MAX];
	struct dsse_signature signature = {0};
	size_t raw_len = 0;
	int r = s->sign(s, message, len, raw, sizeof(raw), &raw_len, err);

	if (r < 0)
		return r;
	if (!take_signature(s, message, len, raw, raw_len, &signature))
		return err_set(err, EKEYREJECTED,
			       "the answer (%zu bytes) is no signature by %s key %.16s; nothing "
			       "was written",
			       raw_len, key_kind_name(s->public.kind), s->public.id);
	memcpy(signature.keyid, s->public.id, sizeof(signature.keyid));
	*ret = signature;
	return 0;
}
