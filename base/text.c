/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MINUTE_S       60LL
#define HOUR_S         3600LL
#define DAY_S          86400LL
#define DURATION_MAX_S (3650 * DAY_S)

bool str_eq(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return strcmp(a, b) == 0;
}

bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
	size_t len = strlen(s), suffix_len = strlen(suffix);

	return len >= suffix_len && strcmp(s + len - suffix_len, suffix) == 0;
}

/* The digits at the start of s; *ret_end is behind them. */
static int leading_u64(const char *s, uint64_t *ret, const char **ret_end)
{
	uint64_t value = 0;
	const char *p = s;

	if (*p < '0' || *p > '9' || (p[0] == '0' && p[1] >= '0' && p[1] <= '9'))
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		uint64_t digit = (uint64_t)(*p - '0');

		if (value > (UINT64_MAX - digit) / 10)
			return -ERANGE;
		value = value * 10 + digit;
	}
	*ret = value;
	*ret_end = p;
	return 0;
}

/* Whether the text is digits to its end: a number too long for 64 bits is out of range, "9x" is
 * none. */
static bool all_digits(const char *s)
{
	return s[strspn(s, "0123456789")] == '\0';
}

int text_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
	const char *end = NULL;
	uint64_t value = 0;
	int r;

	if (s == NULL || !all_digits(s))
		return -EINVAL;
	r = leading_u64(s, &value, &end);
	if (r < 0)
		return r;
	if (value < min || value > max)
		return -ERANGE;
	*ret = value;
	return 0;
}

int text_u32(const char *s, uint32_t min, uint32_t max, uint32_t *ret)
{
	uint64_t value;
	int r = text_u64(s, min, max, &value);

	if (r < 0)
		return r;
	*ret = (uint32_t)value;
	return 0;
}

int text_duration(const char *s, int64_t *ret_seconds)
{
	static const char units[] = "smhd";
	static const uint64_t seconds[] = {1, MINUTE_S, HOUR_S, DAY_S};
	const char *end = NULL, *unit;
	uint64_t value = 0, factor;
	int r;

	if (s == NULL)
		return -EINVAL;
	r = leading_u64(s, &value, &end);
	if (r < 0)
		return r;
	unit = *end != '\0' && end[1] == '\0' ? strchr(units, *end) : NULL;
	if (unit == NULL)
		return -EINVAL;
	factor = seconds[unit - units];
	if (value == 0 || value > (uint64_t)DURATION_MAX_S / factor)
		return -ERANGE;
	*ret_seconds = (int64_t)(value * factor);
	return 0;
}

const char *duration_format(char buf[DURATION_TEXT_MAX], int64_t seconds)
{
	int64_t value = seconds > 0 ? seconds : 0;
	const char *unit = "s";

	/* Each unit from twice its size on: "90s" says more than "1min". */
	if (value >= 2 * DAY_S) {
		value /= DAY_S;
		unit = "d";
	} else if (value >= 2 * HOUR_S) {
		value /= HOUR_S;
		unit = "h";
	} else if (value >= 2 * MINUTE_S) {
		value /= MINUTE_S;
		unit = "min";
	}
	(void)snprintf(buf, DURATION_TEXT_MAX, "%" PRId64 "%s", value, unit);
	return buf;
}

/*
 * Backtracks to the last star only: an earlier one can never help, whatever it swallowed the later
 * star can swallow too. So the time is bounded by the product of the lengths.
 */
bool text_glob(const char *pattern, const char *s)
{
	const char *star = NULL, *resume = NULL;

	while (*s != '\0') {
		if (*pattern == '*') {
			star = pattern++;
			resume = s;
		} else if (*pattern == *s) {
			pattern++;
			s++;
		} else if (star != NULL) {
			pattern = star + 1;
			s = ++resume;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

/* Length of the well-formed sequence at p (RFC 3629, section 4), 0 if there is none. */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

	if (len == 1)
		return p[0] != 0 ? 1 : 0;
	if (p[0] < 0xc2 || p[0] > 0xf4 || left < len)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	/* Overlong three- and four-byte forms, surrogates, above U+10FFFF. */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

bool text_utf8_ok(const char *s, size_t len)
{
	const uint8_t *p = (const uint8_t *)s;

	while (len > 0) {
		size_t n = utf8_sequence(p, len);

		if (n == 0)
			return false;
		p += n;
		len -= n;
	}
	return true;
}

static unsigned min_u(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Optimal string alignment: rows of the table for i - 2, i - 1 and i letters of a. */
unsigned text_distance(const char *a, const char *b, unsigned limit)
{
	unsigned rows[3][TEXT_DISTANCE_MAX + 1];
	size_t a_len = strnlen(a, TEXT_DISTANCE_MAX + 1), b_len = strnlen(b, TEXT_DISTANCE_MAX + 1);

	if (a_len > TEXT_DISTANCE_MAX || b_len > TEXT_DISTANCE_MAX)
		return limit + 1;
	for (size_t j = 0; j <= b_len; j++)
		rows[0][j] = (unsigned)j;

	for (size_t i = 1; i <= a_len; i++) {
		unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3],
			 *above2 = rows[(i + 1) % 3];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_len; j++) {
			unsigned replace = above[j - 1] + (a[i - 1] != b[j - 1]);

			row[j] = min_u(min_u(above[j], row[j - 1]) + 1, replace);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = min_u(row[j], above2[j - 2] + 1);
		}
	}
	return min_u(rows[a_len % 3][b_len], limit + 1);
}

const char *text_nearest(const char *word, const char *const *candidates, size_t count)
{
	unsigned best = strnlen(word, 4) < 4 ? 1 : 2;
	const char *nearest = NULL;

	for (size_t i = 0; i < count; i++) {
		unsigned distance = text_distance(word, candidates[i], best);

		/* Among equals the first wins. */
		if (distance > best || (distance == best && nearest != NULL))
			continue;
		best = distance;
		nearest = candidates[i];
	}
	return nearest;
}
