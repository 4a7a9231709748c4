/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/log_upload.h"

#include "agent/courier_link.h"
#include "base/buf.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_MAX   (1U << 20) /* facts section 5: per POST; plain, so compressed too */
#define CHUNK_MIN   (32U << 10)
#define CHUNK_SOON  (256U << 10) /* so much is sent at once, less after WAIT_MS */
#define WAIT_MS     5000LL
#define RECORD_MAX  (64U << 10)
#define RECORDS_MAX 16384
#define GROW_AFTER  16 /* chunks that went well */

struct record {
	char *text;
	size_t len;
};

struct log_upload {
	struct agent *agent;
	struct record *ring; /* RECORDS_MAX places, made when the first record comes */
	size_t first, count, bytes;
	/* The first `flying` of them are on their way as chunk `id`; 0: none. */
	size_t flying;
	uint64_t id, next_id;
	uint64_t dropped;        /* for good */
	uint64_t flying_dropped; /* while on their way: delivered perhaps */
	size_t chunk_max;
	unsigned good;
	struct mono since; /* the oldest one that waits */
};

int log_upload_new(struct agent *a, struct log_upload **ret, struct err *err)
{
	struct log_upload *u = mem_calloc(1, sizeof(*u));

	if (!u)
		return err_set(err, ENOMEM, "out of memory");
	u->agent = a;
	u->chunk_max = CHUNK_MAX;
	*ret = u;
	return 0;
}

static struct record *at(const struct log_upload *u, size_t i)
{
	return &u->ring[(u->first + i) % RECORDS_MAX];
}

static void drop_first(struct log_upload *u)
{
	struct record *r = at(u, 0);

	u->bytes -= r->len;
	free(TAKE_PTR(r->text));
	u->first = (u->first + 1) % RECORDS_MAX;
	u->count--;
}

/* The oldest goes, and is counted. */
static void make_room(struct log_upload *u, size_t len)
{
	while (u->count && (u->count == RECORDS_MAX || u->bytes + len > LOG_SPOOL_MAX)) {
		drop_first(u);
		if (u->flying) {
			u->flying--;
			u->flying_dropped++;
		} else {
			u->dropped++;
		}
	}
}

void log_upload_free(struct log_upload *u)
{
	if (!u)
		return;
	while (u->count)
		drop_first(u);
	free(u->ring);
	free(u);
}

void log_upload_add(struct log_upload *u, const char *record, size_t len)
{
	char *copy = len <= RECORD_MAX ? mem_strndup(record, len) : NULL;

	if (!u->ring)
		u->ring = mem_calloc(RECORDS_MAX, sizeof(*u->ring));
	if (!copy || !u->ring) {
		free(copy);
		u->dropped++;
		return;
	}
	make_room(u, len);
	if (u->count == u->flying)
		u->since = mono_now();
	*at(u, u->count++) = (struct record){.text = copy, .len = len};
	u->bytes += len;
}

/* A JSON array of as many records as fit. */
static size_t write_chunk(const struct log_upload *u, struct buf *b)
{
	size_t n = 0;

	buf_putc(b, '[');
	for (; n < u->count; n++) {
		const struct record *r = at(u, n);

		if (n && b->len + r->len + 2 > u->chunk_max)
			break;
		if (n)
			buf_putc(b, ',');
		buf_add(b, r->text, r->len);
	}
	buf_putc(b, ']');
	return n;
}

void log_upload_tick(struct log_upload *u)
{
	CLEANUP(buf_done) struct buf b = {0};
	size_t n;

	if (u->id || !u->count || !u->agent->link || !courier_link_connected(u->agent->link))
		return;
	if (u->bytes < CHUNK_SOON && mono_ms_since(u->since, mono_now()) < WAIT_MS)
		return;
	buf_init(&b, CHUNK_MAX + RECORD_MAX);
	n = write_chunk(u, &b);
	if (b.r < 0 || !courier_link_log(u->agent->link, u->next_id + 1, b.data, b.len, u->dropped))
		return;
	u->id = ++u->next_id;
	u->flying = n;
}

void log_upload_posted(struct log_upload *u, uint64_t id, bool ok)
{
	if (!u->id || id != u->id)
		return;
	u->id = 0;
	if (!ok)
		u->dropped += u->flying_dropped;
	for (; ok && u->flying; u->flying--)
		drop_first(u);
	u->flying = 0;
	u->flying_dropped = 0;
	u->since = mono_now();
	if (ok && ++u->good >= GROW_AFTER) {
		u->good = 0;
		u->chunk_max = u->chunk_max * 2 > CHUNK_MAX ? CHUNK_MAX : u->chunk_max * 2;
	}
}

void log_upload_too_large(struct log_upload *u, uint64_t id)
{
	if (!u->id || id != u->id)
		return;
	u->good = 0;
	/* A record that is too large by itself would stop all others for ever. */
	if (u->flying == 1) {
		drop_first(u);
		u->flying = 0;
		u->dropped++;
	}
	u->chunk_max = u->chunk_max / 2 < CHUNK_MIN ? CHUNK_MIN : u->chunk_max / 2;
}

uint64_t log_upload_dropped(const struct log_upload *u)
{
	return u->dropped;
}
