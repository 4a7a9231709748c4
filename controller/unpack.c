/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/unpack.h"

#include "base/mem.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

#define FIRST_SIZE  (64U << 10)
#define WINDOW_GZIP (15 + 16) /* a gzip header and nothing else */

/* Room doubles as bytes come out, so that a small bomb costs little memory. */
static int inflate_all(z_stream *z, size_t max, char **text, struct err *err)
{
	size_t size = 0;

	for (;;) {
		char *larger;
		int r;

		if (z->avail_out == 0) {
			size_t room = size == 0 ? FIRST_SIZE : size;

			if (size >= max)
				return err_set(err, E2BIG,
					       "more than %zu bytes come out of it; smaller "
					       "pieces would be right",
					       max);
			if (room > max - size)
				room = max - size;
			larger = mem_realloc(*text, size + room + 1);
			if (larger == NULL)
				return err_set(err, ENOMEM, "out of memory");
			*text = larger;
			z->next_out = (unsigned char *)larger + size;
			z->avail_out = (uInt)room;
			size += room;
		}
		r = inflate(z, Z_NO_FLUSH);
		if (r == Z_STREAM_END)
			return 0;
		if (r == Z_MEM_ERROR)
			return err_set(err, ENOMEM, "out of memory");
		if (r != Z_OK || (z->avail_in == 0 && z->avail_out > 0))
			return err_set(err, EBADMSG, "the body is no whole gzip");
	}
}

int gzip_unpack(const void *bytes, size_t len, size_t max, char **ret, size_t *ret_len,
		struct err *err)
{
	CLEANUP(freep) char *text = NULL;
	z_stream z = {.next_in = (z_const Bytef *)(uintptr_t)bytes, .avail_in = (uInt)len};
	int r;

	if (len > UINT_MAX || max >= UINT_MAX)
		return err_set(err, E2BIG, "the body is too large");
	if (inflateInit2(&z, WINDOW_GZIP) != Z_OK)
		return err_set(err, ENOMEM, "out of memory");
	r = inflate_all(&z, max, &text, err);
	if (r == 0 && z.avail_in > 0)
		r = err_set(err, EBADMSG, "the body goes on behind the end of its gzip");
	(void)inflateEnd(&z);
	if (r < 0)
		return r;
	text[z.total_out] = '\0';
	*ret_len = z.total_out;
	*ret = TAKE_PTR(text);
	return 0;
}
