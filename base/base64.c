/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/base64.h"

#include "base/mem.h"

#include <errno.h>

#define PADDING 64 /* its place behind the digits */

struct decoder {
	uint8_t *out;
	size_t len, max;
	uint32_t bits;
	unsigned held, padding; /* digits of the quantum at hand; '=' seen */
	bool standard, url;     /* which alphabet's own digits were seen */
	int r;
};

char *base64_encode(const void *bytes, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				     "0123456789+/=";
	const uint8_t *in = bytes;
	char *text, *out;

	if (len > SIZE_MAX / 4 * 3 - 3)
		return NULL;
	text = out = mem_calloc((len + 2) / 3 * 4 + 1, 1);
	if (text == NULL)
		return NULL;
	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t bits = (uint32_t)in[i] << 16;

		bits |= left > 1 ? (uint32_t)in[i + 1] << 8 : 0;
		bits |= left > 2 ? in[i + 2] : 0;
		*out++ = digits[bits >> 18];
		*out++ = digits[bits >> 12 & 0x3f];
		*out++ = digits[left > 1 ? bits >> 6 & 0x3f : PADDING];
		*out++ = digits[left > 2 ? bits & 0x3f : PADDING];
	}
	return text;
}

/* Value of a digit of either alphabet, -1 when it is none. */
static int digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	return c == '/' || c == '_' ? 63 : -1;
}

/* The first count bytes of 24 bits. */
static void emit(struct decoder *d, uint32_t bits, size_t count)
{
	if (count > d->max - d->len) {
		d->r = -E2BIG;
		return;
	}
	for (size_t i = 0; i < count; i++)
		d->out[d->len++] = (uint8_t)(bits >> (16 - 8 * i));
}

static void take(struct decoder *d, char c)
{
	int value = digit(c);

	if (c == '=' && d->padding < 2) {
		d->padding++;
		return;
	}
	if (value < 0 || d->padding > 0) {
		d->r = -EBADMSG;
		return;
	}
	d->standard |= c == '+' || c == '/';
	d->url |= c == '-' || c == '_';
	d->bits = d->bits << 6 | (uint32_t)value;
	if (++d->held < 4)
		return;
	emit(d, d->bits, 3);
	d->held = 0;
	d->bits = 0;
}

/*
 * Two texts for the same bytes would be two names for one document, so bits behind the last byte
 * must be zero (RFC 4648, section 3.5).
 */
static void finish(struct decoder *d)
{
	if (d->r < 0)
		return;
	if ((d->standard && d->url) || d->held == 1 ||
	    (d->padding > 0 && d->held + d->padding != 4) ||
	    (d->held == 2 && (d->bits & 0xf) != 0) || (d->held == 3 && (d->bits & 0x3) != 0)) {
		d->r = -EBADMSG;
		return;
	}
	if (d->held == 2)
		emit(d, d->bits << 12, 1);
	else if (d->held == 3)
		emit(d, d->bits << 6, 2);
}

static int decode(const char *text, size_t len, size_t max, bool wrapped, uint8_t **ret,
		  size_t *ret_len)
{
	size_t room = len / 4 * 3 + 2;
	struct decoder d = {.max = max < room ? max : room};
	CLEANUP(freep) uint8_t *out = mem_calloc(d.max + 1, 1);

	if (out == NULL)
		return -ENOMEM;
	d.out = out;
	for (size_t i = 0; i < len && d.r == 0; i++) {
		char c = text[i];

		if (wrapped && (c == ' ' || c == '\t' || c == '\r' || c == '\n'))
			continue;
		take(&d, c);
	}
	finish(&d);
	if (d.r < 0)
		return d.r;
	out[d.len] = '\0';
	*ret = TAKE_PTR(out);
	*ret_len = d.len;
	return 0;
}

int base64_decode(const char *text, size_t len, size_t max, uint8_t **ret, size_t *ret_len)
{
	return decode(text, len, max, false, ret, ret_len);
}

int base64_decode_wrapped(const char *text, size_t len, size_t max, uint8_t **ret, size_t *ret_len)
{
	return decode(text, len, max, true, ret, ret_len);
}
