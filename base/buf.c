/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/buf.h"

#include "base/mem.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_CAP_FIRST 64

/* What an empty buffer points at, so that data is a string at all times; cap 0 means not owned. */
static char empty[1];

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){.data = empty, .max = max};
}

void buf_done(struct buf *b)
{
	if (b->cap > 0)
		free(b->data);
	*b = (struct buf){.data = empty, .max = b->max, .r = b->r};
}

/* Room for len more bytes and the NUL. */
static bool reserve(struct buf *b, size_t len)
{
	size_t cap = b->cap > 0 ? b->cap : BUF_CAP_FIRST;
	char *data;

	if (b->r != 0)
		return false;
	if (len > b->max - b->len || b->max == SIZE_MAX) {
		b->r = -E2BIG;
		return false;
	}
	if (b->cap > 0 && len < b->cap - b->len)
		return true;
	while (cap <= b->len + len)
		cap = cap > b->max / 2 ? b->max + 1 : cap * 2;

	data = mem_realloc(b->cap > 0 ? b->data : NULL, cap);
	if (data == NULL) {
		b->r = -ENOMEM;
		return false;
	}
	data[b->len] = '\0';
	b->data = data;
	b->cap = cap;
	return true;
}

void buf_add(struct buf *b, const void *bytes, size_t len)
{
	if (len == 0 || !reserve(b, len))
		return;
	memcpy(b->data + b->len, bytes, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void buf_puts(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_putc(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(b, fmt, ap);
	va_end(ap);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	int len;

	va_copy(again, ap);
	len = vsnprintf(NULL, 0, fmt, ap);
	if (len < 0 && b->r == 0)
		b->r = -E2BIG;
	if (len > 0 && reserve(b, (size_t)len)) {
		(void)vsnprintf(b->data + b->len, (size_t)len + 1, fmt, again);
		b->len += (size_t)len;
	}
	va_end(again);
}

char *buf_take(struct buf *b)
{
	char *text;

	if (b->r != 0)
		return NULL;
	text = b->cap > 0 ? b->data : mem_strdup("");
	if (text == NULL) {
		b->r = -ENOMEM;
		return NULL;
	}
	buf_init(b, b->max);
	return text;
}
