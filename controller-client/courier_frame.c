/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/courier_frame.h"

#include "base/cursor.h"
#include "base/json.h"
#include "base/mem.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define WHAT       "frame"
#define PREFIX_LEN 8
#define HEADER_MIN 2 /* {} */
#define TYPE_MAX   32

static void put_be32(struct buf *b, size_t value)
{
	const uint8_t bytes[] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16),
				 (uint8_t)(value >> 8), (uint8_t)value};

	buf_add(b, bytes, sizeof(bytes));
}

void courier_frame_write(struct buf *b, const json_t *header, const void *body, size_t len)
{
	size_t header_len = 0;
	CLEANUP(freep) char *text = json_text(header, &header_len);

	if (b->r != 0)
		return;
	if (text == NULL) {
		b->r = -ENOMEM;
		return;
	}
	/* Half a frame must not be left behind: whatever followed would be read as its rest. */
	if (header_len > COURIER_HEADER_MAX || len > COURIER_BODY_MAX ||
	    b->max - b->len < PREFIX_LEN + header_len + len) {
		b->r = -E2BIG;
		return;
	}
	put_be32(b, header_len);
	put_be32(b, len);
	buf_add(b, text, header_len);
	buf_add(b, body, len);
}

void courier_frame_done(struct courier_frame *f)
{
	json_decref(f->header);
	*f = (struct courier_frame){0};
}

static int read_header(const uint8_t *text, size_t len, json_t **ret, struct err *err)
{
	CLEANUP(json_decrefp) json_t *header = NULL;
	struct json_object o;
	const char *type;
	int r = json_parse_strict((const char *)text, len, WHAT, &header, err);

	if (r < 0)
		return r;
	json_object_begin(&o, header, WHAT, "", err);
	type = json_take_string(&o, "type", TYPE_MAX);
	if (type != NULL && type[0] == '\0')
		(void)json_fail(&o, "type", "empty");
	if (o.r < 0)
		return o.r;
	*ret = TAKE_PTR(header);
	return 0;
}

static int check_lengths(size_t header_len, size_t body_len, size_t body_max, struct err *err)
{
	if (header_len < HEADER_MIN)
		return err_set(err, EBADMSG, "%s: header of %zu bytes", WHAT, header_len);
	if (header_len > COURIER_HEADER_MAX)
		return err_set(err, E2BIG, "%s: header of %zu bytes; at most %u would be right",
			       WHAT, header_len, COURIER_HEADER_MAX);
	if (body_len > body_max)
		return err_set(err, E2BIG, "%s: body of %zu bytes; at most %zu would be right",
			       WHAT, body_len, body_max);
	return 0;
}

int courier_frame_read(const void *bytes, size_t len, size_t body_max, struct courier_frame *ret,
		       size_t *ret_used, size_t *ret_need, struct err *err)
{
	size_t header_len, body_len;
	const uint8_t *text;
	struct cursor c;
	json_t *header = NULL;
	int r;

	if (len < PREFIX_LEN) {
		*ret_need = PREFIX_LEN;
		return 0;
	}
	cursor_init(&c, bytes, len);
	header_len = cursor_be32(&c);
	body_len = cursor_be32(&c);
	r = check_lengths(header_len, body_len, body_max, err);
	if (r < 0)
		return r;
	if (c.left < header_len + body_len) {
		*ret_need = PREFIX_LEN + header_len + body_len;
		return 0;
	}
	text = cursor_bytes(&c, header_len);
	r = read_header(text, header_len, &header, err);
	if (r < 0)
		return r;
	*ret = (struct courier_frame){.header = header, .body = c.p, .len = body_len};
	*ret_used = PREFIX_LEN + header_len + body_len;
	return 1;
}
