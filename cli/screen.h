/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What renderers are made of: aligned tables, key-value lines, counts and times as people read
 * them. Everything is pure: JSON and a time in, text into a bounded buffer, so that goldens can
 * test each screen without an agent. Nothing is wider than SCREEN_COLUMNS. Text from outside
 * (names, paths of executables, reasons) is cleaned of control characters first: a file name must
 * not steer somebody's terminal.
 */
#pragma once

#include "base/buf.h"
#include "base/clock.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCREEN_COLUMNS  100
#define SCREEN_TEXT_MAX (512U << 20)

/* What a renderer may know beside the reply. */
struct screen {
	struct wall now;
	bool verbose;
};

/* ---- members of a reply: absent, null and of another kind are all "not there" ---- */

/* path is dotted: "generation.candidate". NULL when absent or null. */
const json_t *field(const json_t *object, const char *path);
const char *field_text(const json_t *object, const char *path);
const char *field_text_or(const json_t *object, const char *path, const char *otherwise);
int64_t field_int(const json_t *object, const char *path, int64_t otherwise);
bool field_true(const json_t *object, const char *path);
/* An array's length, an integer's value, 1 for true and for a text; 0 otherwise. */
int64_t field_count(const json_t *object, const char *path);
/* Seconds until an RFC 3339 time, from now; false when there is no such time. */
bool field_seconds_until(const json_t *object, const char *path, struct wall now, int64_t *ret);

/* ---- small texts ---- */

#define COUNT_TEXT_MAX 32
const char *count_format(char buf[COUNT_TEXT_MAX], int64_t n); /* "48,112" */
#define AGE_TEXT_MAX 32
const char *age_format(char buf[AGE_TEXT_MAX], int64_t seconds); /* "2 s", "41 min", "3 d 04 h" */
#define MICROSECONDS_TEXT_MAX 32
/* "0.3 ms", "41 us", "1.2 s" */
const char *microseconds_format(char buf[MICROSECONDS_TEXT_MAX], int64_t us);
/* "1 conduit", "5 conduits": noun gets an s unless n is 1. */
void put_count(struct buf *b, int64_t n, const char *noun);
/* Text with control characters and bytes that are not UTF-8 as '?'. */
void put_clean(struct buf *b, const char *text);
/*
 * A command, or a usage line, of which `column` columns stand there already: broken before options,
 * as long as these are narrower than the screen. `between` ends a line and begins the next one.
 */
void put_command(struct buf *b, const char *text, size_t column, const char *between);

/* Characters in len bytes of UTF-8: what a terminal shows of names in one script. */
size_t width_of(const char *text, size_t len);
/* Bytes of the longest beginning of text that is at most `width` characters wide. */
size_t bytes_within(const char *text, size_t len, size_t width);

#define PARTY_TEXT_MAX 512
/* "settlement@pay-1", "pay-1 (node)", "world (network)"; a plain text as it is; "-" for nothing. */
const char *party_format(char buf[PARTY_TEXT_MAX], const json_t *party);
/* The same with another separator between name and node: " at ". */
const char *party_format_with(char buf[PARTY_TEXT_MAX], const json_t *party, const char *separator);

#define ENDPOINT_TEXT_MAX 128
/* "10.77.0.21:7113", "[fd00::1]:7113" */
const char *endpoint_format(char buf[ENDPOINT_TEXT_MAX], const char *address, int64_t port);

#define WHERE_TEXT_MAX 4200
/* Where a process runs: its container, unit, or process group; NULL where none is told. */
const char *where_format(char buf[WHERE_TEXT_MAX], const json_t *process);

/* ---- key-value lines ---- */

struct pairs {
	struct buf *b;
	unsigned indent; /* column at which values begin */
};
/* Wrapped at spaces; continuation lines begin at the indent. An empty value prints nothing. */
void pairs_put(const struct pairs *p, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- checks: what was looked at, how it came out, what was found ---- */

/* For an array of checks with `name` and `detail`: details begin in one column. */
struct pairs checks_pairs(const json_t *checks, struct buf *b);
/* state: a word of at most five letters. */
void check_put(const struct pairs *p, const char *state, const json_t *check);

/* ---- tables ---- */

enum column_align { COLUMN_LEFT, COLUMN_RIGHT };
enum column_cut { CUT_END, CUT_BEGIN }; /* which end "…" replaces; paths tell more by their end */

struct column {
	const char *title;
	uint8_t align; /* enum column_align */
	uint8_t cut;   /* enum column_cut */
	uint8_t min;   /* not narrower than this while others can give; 0: never cut */
};

#define TABLE_COLUMNS_MAX 12
#define TABLE_CELLS_MAX   16000000

struct table {
	const struct column *columns;
	size_t column_count;
	char **cells; /* row by row */
	size_t cell_count, cell_cap;
	int r; /* sticky: 0, -ENOMEM or -E2BIG */
};

void table_init(struct table *t, const struct column *columns, size_t count);
void table_done(struct table *t);
/* The next cell; NULL and "" are "-". */
void table_cell(struct table *t, const char *text);
void table_cellf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void table_count(struct table *t, int64_t n);
/* Heading and rows, each line behind `margin` spaces. Nothing for a table without rows. */
void table_print(struct table *t, unsigned margin, struct buf *b);
