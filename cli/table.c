/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/screen.h"

#include "base/mem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define GAP         1
#define WIDTH_FLOOR 5
#define ELLIPSIS    "\xe2\x80\xa6"

void table_init(struct table *t, const struct column *columns, size_t count)
{
	*t = (struct table){.columns = columns, .column_count = count};
}

void table_done(struct table *t)
{
	for (size_t i = 0; i < t->cell_count; i++)
		free(t->cells[i]);
	free(t->cells);
	*t = (struct table){0};
}

void table_cell(struct table *t, const char *text)
{
	CLEANUP(buf_done) struct buf clean = {0};

	if (t->r < 0)
		return;
	t->r = vec_grow(&t->cells, &t->cell_cap, t->cell_count + 1, sizeof(*t->cells),
			TABLE_CELLS_MAX);
	if (t->r < 0)
		return;
	buf_init(&clean, SCREEN_TEXT_MAX);
	put_clean(&clean, text != NULL && *text != '\0' ? text : "-");
	t->r = clean.r;
	if (t->r == 0)
		t->cells[t->cell_count++] = buf_take(&clean);
}

void table_cellf(struct table *t, const char *fmt, ...)
{
	CLEANUP(buf_done) struct buf text = {0};
	va_list ap;

	buf_init(&text, SCREEN_TEXT_MAX);
	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	if (text.r < 0)
		t->r = text.r;
	else
		table_cell(t, text.data);
}

void table_count(struct table *t, int64_t n)
{
	char text[COUNT_TEXT_MAX];

	table_cell(t, count_format(text, n));
}

static size_t text_width(const char *text)
{
	return width_of(text, strlen(text));
}

static void natural_widths(const struct table *t, size_t widths[TABLE_COLUMNS_MAX])
{
	for (size_t c = 0; c < t->column_count; c++)
		widths[c] = strlen(t->columns[c].title);
	for (size_t i = 0; i < t->cell_count; i++) {
		size_t c = i % t->column_count, width = text_width(t->cells[i]);

		if (width > widths[c])
			widths[c] = width;
	}
}

/* The widest of the columns that may give, or column_count. */
static size_t widest_column(const struct table *t, const size_t widths[TABLE_COLUMNS_MAX],
			    bool below_min)
{
	size_t widest = t->column_count;

	for (size_t c = 0; c < t->column_count; c++) {
		size_t min = t->columns[c].min;

		if (min > WIDTH_FLOOR && below_min)
			min = WIDTH_FLOOR;
		if (min > 0 && widths[c] > min &&
		    (widest == t->column_count || widths[c] > widths[widest]))
			widest = c;
	}
	return widest;
}

/*
 * The widest column gives first, so that a short name beside a long one stays whole; first down to
 * each column's minimum, then, when counts have grown huge, below it.
 */
static void shrink(const struct table *t, size_t room, size_t widths[TABLE_COLUMNS_MAX])
{
	size_t total = (t->column_count - 1) * GAP;
	bool below_min = false;

	for (size_t c = 0; c < t->column_count; c++)
		total += widths[c];
	while (total > room) {
		size_t widest = widest_column(t, widths, below_min);

		if (widest == t->column_count && below_min)
			return;
		if (widest == t->column_count) {
			below_min = true;
			continue;
		}
		widths[widest]--;
		total--;
	}
}

static void put_spaces(struct buf *b, size_t n)
{
	buf_printf(b, "%*s", (int)n, "");
}

static void put_cut(struct buf *b, const char *text, size_t width, uint8_t cut)
{
	size_t len = strlen(text), is = width_of(text, len);

	if (is <= width) {
		buf_puts(b, text);
	} else if (cut == CUT_BEGIN) {
		buf_puts(b, ELLIPSIS);
		buf_puts(b, text + bytes_within(text, len, is - width + 1));
	} else {
		buf_add(b, text, bytes_within(text, len, width - 1));
		buf_puts(b, ELLIPSIS);
	}
}

static void put_cell(struct buf *b, const struct column *column, const char *text, size_t width,
		     bool last)
{
	size_t is = text_width(text), pad = is < width ? width - is : 0;

	if (column->align == COLUMN_RIGHT)
		put_spaces(b, pad);
	put_cut(b, text, width, column->cut);
	if (column->align == COLUMN_LEFT && !last)
		put_spaces(b, pad);
	if (!last)
		put_spaces(b, GAP);
}

void table_print(struct table *t, unsigned margin, struct buf *b)
{
	size_t widths[TABLE_COLUMNS_MAX] = {0};

	if (t->r < 0 && b->r == 0)
		b->r = t->r;
	if (t->cell_count == 0 || b->r < 0)
		return;
	natural_widths(t, widths);
	shrink(t, SCREEN_COLUMNS - margin, widths);
	put_spaces(b, margin);
	for (size_t c = 0; c < t->column_count; c++)
		put_cell(b, &t->columns[c], t->columns[c].title, widths[c],
			 c + 1 == t->column_count);
	buf_putc(b, '\n');
	for (size_t i = 0; i < t->cell_count; i++) {
		size_t c = i % t->column_count;

		if (c == 0)
			put_spaces(b, margin);
		put_cell(b, &t->columns[c], t->cells[i], widths[c], c + 1 == t->column_count);
		if (c + 1 == t->column_count)
			buf_putc(b, '\n');
	}
}
