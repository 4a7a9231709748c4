/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Parsing of small texts with explicit bounds, names, suggestions. Nothing here allocates. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool str_eq(const char *a, const char *b); /* NULL equals NULL only */
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);

/* Whole string must be a decimal number without sign, spaces or leading zeros: -EINVAL, -ERANGE. */
int text_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret);
int text_u32(const char *s, uint32_t min, uint32_t max, uint32_t *ret);

/* FORMATS: DURATION `90s`, `10m`, `8h`, `30d` to seconds, 1 s to 3650 days. */
int text_duration(const char *s, int64_t *ret_seconds);
#define DURATION_TEXT_MAX 24
/* Short form for screens, rounded down: "90s", "41min", "36h", "180d". */
const char *duration_format(char buf[DURATION_TEXT_MAX], int64_t seconds);

/* Shell-like pattern with `*` only, whole string. */
bool text_glob(const char *pattern, const char *s);

/* Valid UTF-8 (RFC 3629: no overlong forms, no surrogates), no NUL inside len. */
bool text_utf8_ok(const char *s, size_t len);

#define TEXT_DISTANCE_MAX 64 /* longer words are as far from everything as can be */
/* Edits (insert, delete, replace, swap of neighbours) between a and b, at most `limit` + 1. */
unsigned text_distance(const char *a, const char *b, unsigned limit);

/*
 * The candidate nearest to `word` within two edits (one for words shorter than four letters), or
 * NULL. Used for "did you mean".
 */
const char *text_nearest(const char *word, const char *const *candidates, size_t count);
