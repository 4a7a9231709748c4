/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Growing byte buffer with a hard maximum and a sticky error: write straight through, look at
 * b->r once at the end. Always NUL-terminated while r is 0. After an error all calls do nothing.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	char *data;
	size_t len, cap, max;
	int r; /* 0, -ENOMEM or -E2BIG */
};

void buf_init(struct buf *b, size_t max);
void buf_done(struct buf *b); /* safe to use as CLEANUP(buf_done) */
void buf_add(struct buf *b, const void *bytes, size_t len);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* Takes the bytes (NUL-terminated) out of the buffer, which is empty afterwards; NULL on error. */
char *buf_take(struct buf *b);
