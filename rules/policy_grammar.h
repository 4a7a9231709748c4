/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Small grammars of the policy: names, paths, labels, selectors, patterns, times. Each *_fault()
 * returns NULL when the text is right, else what is wrong with it (constant text); that of a
 * selector says behind ADVISE what would be right.
 */
#pragma once

#include "base/clock.h"
#include "rules/policy.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LABEL_KEY_MAX   63
#define LABEL_VALUE_MAX 128

const char *name_fault(const char *name);
/* FORMATS: 1 to 255 bytes of [a-z0-9._-] (SPIFFE-ID, section 2.1). */
bool trust_domain_ok(const char *text);
const char *path_fault(const char *path, const char *trust_domain);
const char *label_key_fault(const char *key, size_t len);
const char *label_value_fault(const char *value, size_t len);
/* A well-known key that this one is probably meant to be, or NULL. */
const char *label_key_meant(const char *key);
const char *selector_fault(enum selector_kind kind, const char *value);
/* Node names with `*`. */
bool pattern_ok(const char *pattern);
/* Whether some text matches both patterns. */
bool patterns_overlap(const char *a, const char *b);
/* An address, a prefix, or plainly meant to be one. */
bool looks_like_address(const char *text);
int time_of_day_parse(const char *text, uint16_t *ret_minutes); /* "18:00" */
bool zone_name_ok(const char *zone);
/* RFC 3339 in UTC, or a date alone (its beginning). */
int date_parse(const char *text, struct wall *ret);
bool sha256_text_ok(const char *text); /* 64 hexadecimal digits */
