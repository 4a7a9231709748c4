/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/store.h"

#include <string.h>

struct store_value store_int(int64_t number)
{
	return (struct store_value){.kind = STORE_INT, .number = number};
}

struct store_value store_text(const char *text)
{
	if (!text)
		return (struct store_value){.kind = STORE_NULL};
	return (struct store_value){.kind = STORE_TEXT, .bytes = text, .len = strlen(text)};
}

struct store_value store_blob(const void *bytes, size_t len)
{
	return (struct store_value){.kind = STORE_BLOB, .bytes = bytes, .len = len};
}

int64_t store_row_int(const struct store_row *row, int column)
{
	return row->number(row, column);
}

const char *store_row_text(const struct store_row *row, int column)
{
	size_t len;

	/* cppcheck-suppress returnDanglingLifetime ; the text is the row's */
	return row->text(row, column, &len);
}

const char *store_row_bytes(const struct store_row *row, int column, size_t *ret_len)
{
	return row->text(row, column, ret_len);
}

void store_close(struct store *s)
{
	if (s)
		s->ops->close(s);
}

int store_begin(struct store *s, struct err *err)
{
	return s->ops->begin(s, err);
}

int store_commit(struct store *s, struct err *err)
{
	return s->ops->commit(s, err);
}

void store_rollback(struct store *s)
{
	s->ops->rollback(s);
}

int store_run(struct store *s, enum store_query q, const struct store_value *values, size_t count,
	      store_row_fn *row, void *user, struct err *err)
{
	return s->ops->run(s, q, values, count, row, user, err);
}

int64_t store_last_id(struct store *s)
{
	return s->ops->last_id(s);
}
