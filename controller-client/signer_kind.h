/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Between signer.c and the kinds of signers: what each must offer. */
#pragma once

#include "controller-client/signer.h"

struct signer {
	struct public_key public;
	/* Raw bytes as they come; signer_sign() checks them. *ret_len is at most `size`. */
	int (*sign)(struct signer *s, const void *message, size_t len, uint8_t *signature,
		    size_t size, size_t *ret_len, struct err *err);
	void (*close)(struct signer *s); /* frees what is in `state` */
	void *state;
};

/* Each fills sign, close and state; `public` when it knows the key (pkey stays NULL otherwise). */
int signer_open_file(const struct signer_config *c, struct signer *s, struct err *err);
int signer_open_pkcs11(const struct signer_config *c, struct signer *s, struct err *err);
int signer_open_program(const struct signer_config *c, struct signer *s, struct err *err);

/* r || s, as PKCS#11 gives it, to the DER of ECDSA-Sig-Value. der has room for KEY_SIGNATURE_MAX.
 */
int signature_from_raw(const uint8_t *raw, size_t len, uint8_t *der, size_t *ret_len);
