/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/mem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VEC_CAP_FIRST 8

/* The only state here: the test hook counts allocations down. */
static size_t fail_countdown;
static bool fail_happened;

void mem_fail_after(size_t n)
{
	fail_countdown = n;
	fail_happened = false;
}

bool mem_has_failed(void)
{
	return fail_happened;
}

static bool must_fail(void)
{
	if (fail_countdown == 0)
		return false;
	fail_countdown--;
	if (fail_countdown == 0)
		fail_happened = true;
	return fail_countdown == 0;
}

void freep(void *p)
{
	void *block;

	/* The argument is the address of a pointer of any type: copied as bytes, not through void
	 * **. */
	memcpy(&block, p, sizeof(block));
	free(block);
	block = NULL;
	memcpy(p, &block, sizeof(block));
}

void closep(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
	errno = saved;
}

int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

void *mem_calloc(size_t n, size_t size)
{
	if (must_fail())
		return NULL;
	/* calloc(0) may return NULL, which callers would take for failure. */
	if (n == 0 || size == 0)
		return calloc(1, 1);
	if (n > SIZE_MAX / size)
		return NULL;
	return calloc(n, size);
}

void *mem_realloc(void *p, size_t size)
{
	if (must_fail())
		return NULL;
	return realloc(p, size > 0 ? size : 1);
}

char *mem_strdup(const char *s)
{
	return mem_strndup(s, strlen(s));
}

char *mem_strndup(const char *s, size_t len)
{
	char *copy;

	len = strnlen(s, len);
	copy = mem_calloc(len + 1, 1);
	if (copy != NULL)
		memcpy(copy, s, len);
	return copy;
}

void *mem_dup(const void *bytes, size_t len)
{
	char *copy = len < SIZE_MAX ? mem_calloc(len + 1, 1) : NULL;

	if (copy != NULL && len > 0)
		memcpy(copy, bytes, len);
	return copy;
}

char *mem_printf(const char *fmt, ...)
{
	va_list ap;
	char *text;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (len < 0)
		return NULL;

	text = mem_calloc((size_t)len + 1, 1);
	if (text == NULL)
		return NULL;
	va_start(ap, fmt);
	(void)vsnprintf(text, (size_t)len + 1, fmt, ap);
	va_end(ap);
	return text;
}

int vec_grow(void *items, size_t *cap, size_t want, size_t size, size_t max)
{
	size_t new_cap = *cap > 0 ? *cap : VEC_CAP_FIRST;
	void *block;

	if (want > max)
		return -E2BIG;
	if (want <= *cap)
		return 0;
	while (new_cap < want)
		new_cap = new_cap > max / 2 ? max : new_cap * 2;
	if (new_cap > max)
		new_cap = max;
	if (size > 0 && new_cap > SIZE_MAX / size)
		return -ENOMEM;

	memcpy(&block, items, sizeof(block));
	block = mem_realloc(block, new_cap * size);
	if (block == NULL)
		return -ENOMEM;
	memset((char *)block + *cap * size, 0, (new_cap - *cap) * size);
	memcpy(items, &block, sizeof(block));
	*cap = new_cap;
	return 0;
}
