/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Base64 (RFC 4648). Encoding writes the standard alphabet with padding. Decoding is strict: one
 * alphabet per text (standard or URL-safe), padding whole or absent, no white space unless allowed
 * (EST bodies are wrapped, RFC 7030), no stray bits.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Caller frees; NUL-terminated; NULL when out of memory. */
char *base64_encode(const void *bytes, size_t len);
/*
 * At most max bytes of result (-E2BIG above). *ret is the caller's, with a NUL after it. -EBADMSG
 * for anything else that is wrong, -ENOMEM.
 */
int base64_decode(const char *text, size_t len, size_t max, uint8_t **ret, size_t *ret_len);
/* The same, white space (space, tab, CR, LF) between characters is skipped. */
int base64_decode_wrapped(const char *text, size_t len, size_t max, uint8_t **ret, size_t *ret_len);
