/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A policy text as JSON: what a policy blob holds (FORMATS, "Policy": the same object as JSON). The
 * result says what the YAML says and in its order, is read by the same parser (JSON is YAML here),
 * and is the same bytes for the same input, so that its digest can be signed.
 *
 * Texts become strings. A number or truth value without quotes keeps its kind where JSON writes it
 * in the same letters: `user: 1000` is 1000, while `010` and `18:00` are strings, so that no reader
 * takes them for something else. Comments go. Pure; nothing is checked against the schema here.
 */
#pragma once

#include <stddef.h>

/*
 * text is one that policy_add_text() found no mistake in. *ret is the caller's, ends with a newline
 * and has a NUL behind it. -EBADMSG: not a mapping, or not readable as YAML; -E2BIG; -ENOMEM.
 */
int policy_json(const char *text, size_t len, char **ret, size_t *ret_len);
