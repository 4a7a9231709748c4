/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Frames between agent and courier, and names of documents. A stream is read frame by frame as it
 * would come in; each frame is written again and must read as the same. Inputs that begin with
 * '/' or 'v' are names: what parses is printed and parses as the same.
 */
#include "tests/fuzz/fuzz.h"

#include "base/mem.h"
#include "controller-client/courier_frame.h"
#include "controller-client/static_path.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX 4096

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void write_and_read(const struct courier_frame *f)
{
	CLEANUP(courier_frame_done) struct courier_frame back = {0};
	CLEANUP(buf_done) struct buf b;
	size_t used = 0, need = 0;

	buf_init(&b, 1U << 20);
	courier_frame_write(&b, f->header, f->body, f->len);
	/* Numbers with a fraction may be written longer than they came. */
	if (b.r == -E2BIG)
		return;
	must(b.r == 0);
	must(courier_frame_read(b.data, b.len, BODY_MAX, &back, &used, &need, NULL) == 1);
	must(used == b.len && json_equal(back.header, f->header));
	must(back.len == f->len && memcmp(back.body, f->body, f->len) == 0);
}

static void frames(const uint8_t *data, size_t size)
{
	for (;;) {
		CLEANUP(courier_frame_done) struct courier_frame f = {0};
		size_t used = 0, need = 0;
		struct err err = {0};
		int r = courier_frame_read(data, size, BODY_MAX, &f, &used, &need, &err);

		if (r <= 0) {
			must(f.header == NULL && used == 0);
			must(r < 0 ? err.text[0] != '\0' : need > size);
			return;
		}
		must(used <= size && f.len <= BODY_MAX && f.body + f.len == data + used);
		must(json_string_length(json_object_get(f.header, "type")) > 0);
		write_and_read(&f);
		data += used;
		size -= used;
	}
}

static void name(const uint8_t *data, size_t size)
{
	CLEANUP(freep) char *path = mem_strndup((const char *)data, size);
	struct static_name n = {0}, back = {0};
	char buf[STATIC_PATH_MAX];
	const char *printed = buf;

	must(path != NULL);
	if (static_path_parse(path, &n) < 0)
		return;
	switch (n.kind) {
	case STATIC_HEAD:
		printed = static_path_head(buf, n.node);
		break;
	case STATIC_MANIFEST:
		printed = static_path_manifest(buf, n.revision);
		break;
	case STATIC_BLOB:
		printed = static_path_blob(buf, n.sha256);
		break;
	}
	must(static_path_parse(printed, &back) == 0 && memcmp(&n, &back, sizeof(n)) == 0);
	must(strstr(printed, "/../") == NULL && strchr(printed, '%') == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 0 && (data[0] == '/' || data[0] == 'v'))
		name(data, size);
	else
		frames(data, size);
	return 0;
}
