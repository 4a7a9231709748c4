/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Ownership helpers and bounded growth. Allocation failure is returned as -ENOMEM or NULL; nothing
 * here ends the process: a security agent keeps its last good ruleset and stays up.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__typeof__(p) taken_ = (p);                                                        \
		(p) = NULL;                                                                        \
		taken_;                                                                            \
	})

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Cleanup functions: argument is the address of the variable. */
void freep(void *p);  /* void **: frees and forgets */
void closep(int *fd); /* closes unless negative */
int take_fd(int *fd); /* hands the descriptor over, leaves -1 */

/* malloc of n * size with overflow check, zeroed. n or size may be 0 (returns a unique pointer). */
void *mem_calloc(size_t n, size_t size);
/* realloc: the old block stays valid when NULL is returned. */
void *mem_realloc(void *p, size_t size);
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t len);
/* len bytes, whatever they are, and a NUL behind them. */
void *mem_dup(const void *bytes, size_t len);
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Makes room for at least `want` elements of `size` bytes in *items (a pointer to a pointer),
 * doubling. Fails with -ENOMEM, or -E2BIG above `max`. New room is zeroed.
 */
int vec_grow(void *items, size_t *cap, size_t want, size_t size, size_t max);

/*
 * Test hook: after mem_fail_after(n), the n-th allocation through this file fails (n counts from 1;
 * 0 switches it off). Used by check-oom to fail each allocation in turn.
 */
void mem_fail_after(size_t n);
/* Whether that allocation has come and failed. */
bool mem_has_failed(void);
