/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The one DER encoding of a public key that a keyid is computed over. */
#pragma once

#include "controller-client/key.h"

#include <openssl/types.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_SPKI_MAX 96 /* Ed25519: 44; P-256: 91 */

/* RFC 8410 and RFC 5480 (named curve, uncompressed point). -ENOTSUP for other kinds, -ENOMEM. */
int key_spki(EVP_PKEY *pkey, enum key_kind *ret_kind, uint8_t *ret /* KEY_SPKI_MAX */,
	     size_t *ret_len);
