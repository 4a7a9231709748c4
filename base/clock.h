/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Time as values. Monotonic and wall time are different structs so that they cannot be mixed.
 * Logic takes time as an argument; only main loops read clocks.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct mono {
	int64_t ns; /* CLOCK_MONOTONIC */
};
struct wall {
	int64_t s; /* seconds since 1970-01-01T00:00:00Z */
};
struct computed {
	int64_t ns; /* CLOCK_THREAD_CPUTIME_ID: what this thread has had of a processor */
};

struct mono mono_now(void);
struct mono boottime_now(void); /* CLOCK_BOOTTIME: runs during suspend */
struct wall wall_now(void);
struct computed computed_now(void);
int64_t mono_ms_since(struct mono then, struct mono now);

#define RFC3339_TEXT_MAX 32
/* RFC 3339, UTC only ("Z"), seconds; -EINVAL otherwise. Years 1970 to 9999. */
int rfc3339_parse(const char *text, struct wall *ret);
const char *rfc3339_format(char buf[RFC3339_TEXT_MAX], struct wall t);
/* With milliseconds, for decision records. */
const char *rfc3339_format_ms(char buf[RFC3339_TEXT_MAX], int64_t unix_ms);
