/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/cursor.h"

#include <errno.h>

void cursor_init(struct cursor *c, const void *bytes, size_t len)
{
	*c = (struct cursor){.p = bytes, .left = len};
}

const uint8_t *cursor_bytes(struct cursor *c, size_t len)
{
	const uint8_t *p = c->p;

	if (c->r != 0)
		return NULL;
	if (len > c->left) {
		c->r = -EBADMSG;
		return NULL;
	}
	if (len > 0)
		c->p += len;
	c->left -= len;
	return p;
}

static uint64_t get_be(struct cursor *c, size_t len)
{
	const uint8_t *p = cursor_bytes(c, len);
	uint64_t value = 0;

	for (size_t i = 0; p != NULL && i < len; i++)
		value = value << 8 | p[i];
	return value;
}

uint8_t cursor_u8(struct cursor *c)
{
	return (uint8_t)get_be(c, sizeof(uint8_t));
}

uint16_t cursor_be16(struct cursor *c)
{
	return (uint16_t)get_be(c, sizeof(uint16_t));
}

uint32_t cursor_be32(struct cursor *c)
{
	return (uint32_t)get_be(c, sizeof(uint32_t));
}

uint64_t cursor_be64(struct cursor *c)
{
	return get_be(c, sizeof(uint64_t));
}

void cursor_skip(struct cursor *c, size_t len)
{
	(void)cursor_bytes(c, len);
}
