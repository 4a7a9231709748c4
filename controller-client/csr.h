/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Certificate requests (PKCS#10) for EST. The name asked for is ignored by the controller. */
#pragma once

#include "base/err.h"
#include "controller-client/key.h"

#include <stddef.h>
#include <stdint.h>

#define CSR_MAX (16U << 10)

/* DER; caller frees. */
int csr_make(const struct private_key *key, const char *common_name, uint8_t **ret, size_t *ret_len,
	     struct err *err);
/*
 * Checks form and self-signature; only P-256 keys. Hands out the key asked to be certified.
 * -EBADMSG, -E2BIG, -ENOTSUP another kind of key, -EKEYREJECTED.
 */
int csr_check(const uint8_t *der, size_t len, struct public_key *ret, struct err *err);
