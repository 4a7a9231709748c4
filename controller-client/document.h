/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Members that manifest and head have in common, on base/json.h. Each takes its member and, when
 * it is wrong, sets o->r (-EBADMSG, -EPROTONOSUPPORT, -ENOTSUP, -ENOMEM) and the error's text.
 * Copies are the caller's; NULL after an error.
 */
#pragma once

#include "base/clock.h"
#include "base/json.h"
#include "controller-client/manifest.h"

#include <stddef.h>

#define DOCUMENT_PATH_MAX 48 /* "quarantine[4095]" */

/*
 * version, and `requires` (a list, or NULL): looked at before anything else, because a newer
 * document may have members that this release does not know, and is refused by what it says it
 * requires.
 */
void document_take_version(struct json_object *o, json_t *requires);
char *document_copy(struct json_object *o, const char *text);
char *document_take_trust_domain(struct json_object *o);
char *document_take_node(struct json_object *o);
/* issued, expires: expires is later. */
void document_take_validity(struct json_object *o, struct wall *ret_issued,
			    struct wall *ret_expires);
struct wall document_take_time(struct json_object *o, const char *key);
void document_take_sha256(struct json_object *o, const char *key, char ret[SHA256_HEX_LEN]);
uint64_t document_take_number(struct json_object *o, const char *key, uint64_t min, uint64_t max);
/* Free text, at most max bytes, without control characters. */
char *document_take_text(struct json_object *o, const char *key, size_t max);

/* A nested object: its error is told already, the outer one must only know of it. */
void document_finish_inner(struct json_object *inner, struct json_object *outer);
/* List of objects: fill(o, user, i) for each. `items` were allocated by the caller. */
void document_each(struct json_object *o, const char *key, json_t *list,
		   void (*fill)(struct json_object *item, void *user, size_t i), void *user);
/* Zeroed array for the list's members; NULL and o->r when out of memory. */
void *document_array(struct json_object *o, const json_t *list, size_t size);

/* Encoding: steals value (NULL is an error), *r becomes -ENOMEM. */
void document_set(json_t *object, const char *key, json_t *value, int *r);
json_t *document_time(struct wall t);
/* Text of the object, which is released. */
int document_dump(json_t *take, const char *what, size_t max, char **ret, size_t *ret_len,
		  struct err *err);
