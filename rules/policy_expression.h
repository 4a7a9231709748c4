/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Label expressions in parts, for who resolves them with an index instead of trying each identity;
 * see expression_check() and expression_matches() in rules/policy.h. Nothing is copied.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define EXPRESSION_TERMS_MAX 16

struct expression_term {
	const char *key, *values; /* values: "a|b"; NULL when all were taken */
	size_t key_len, values_len;
};

/* *at begins as the text and is NULL at the end. */
bool expression_next_term(const char **at, struct expression_term *ret);
bool expression_next_value(struct expression_term *term, const char **ret, size_t *ret_len);
