/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One PEM block (RFC 7468, strict form): nothing before it, nothing behind it, no headers inside.
 * OpenSSL's reader skips whatever stands around a block and takes the first of several, so two
 * people who look at the same key file could see two keys.
 */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* label: "PUBLIC KEY". `what` names the text in errors. Caller frees. -EBADMSG, -ENOMEM. */
int pem_decode(const char *pem, size_t len, const char *label, const char *what, uint8_t **ret,
	       size_t *ret_len, struct err *err);
/* Lines of 64; caller frees; NULL when out of memory. */
char *pem_encode(const char *label, const uint8_t *der, size_t len);
