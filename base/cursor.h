/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading position in bytes from outside, with a sticky error. Every get is bounds-checked; after
 * the first bad read all later ones do nothing and return zeros, so a decoder reads straight
 * through and checks c->r once. Multi-byte integers are big endian.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct cursor {
	const uint8_t *p;
	size_t left;
	int r; /* 0 or -EBADMSG */
};

void cursor_init(struct cursor *c, const void *bytes, size_t len);
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_be16(struct cursor *c);
uint32_t cursor_be32(struct cursor *c);
uint64_t cursor_be64(struct cursor *c);
/* Pointer to len bytes inside the input, or NULL (and the error is set). */
const uint8_t *cursor_bytes(struct cursor *c, size_t len);
void cursor_skip(struct cursor *c, size_t len);
