/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Errors that a person reads.
 *
 * Functions return 0 (or a count) or -errno, and nothing else. Those whose failure a person must
 * understand take `struct err *err` last and fill it exactly once, where the cause is known;
 * callers may put context in front. The caller owns the struct (usually on its stack) and may pass
 * NULL when only the code matters. On success the text is left untouched.
 */
#pragma once

#define ERR_TEXT_MAX 512

struct err {
	char text[ERR_TEXT_MAX];
};

/* Sets the text and returns -code (code is a positive errno). Long texts are cut, never overrun. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the text already there and returns r unchanged (r is negative). */
int err_prefix(struct err *err, int r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
