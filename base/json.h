/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Strict JSON from outside, on jansson: duplicate keys, trailing data, NUL, bad UTF-8, nesting
 * above JSON_NESTING_MAX and more than JSON_VALUES_MAX values are errors with line and column.
 * Decoders then take members with json_take_*; json_finish() reports members nobody took, so
 * unknown keys are errors.
 */
#pragma once

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_NESTING_MAX 16
#define JSON_VALUES_MAX  (4U << 20) /* members and values; a view of 100000 peers has a third */

/*
 * *ret is a new reference. `what` names the document in errors ("view.json"). -EBADMSG, or -ENOMEM.
 */
int json_parse_strict(const char *text, size_t len, const char *what, json_t **ret,
		      struct err *err);

/*
 * As text on one line without spaces; caller frees. NULL when out of memory: json_dumps() would
 * return a text with characters missing. ret_len may be NULL.
 */
char *json_text(const json_t *value, size_t *ret_len);
/* The same with a line for each member and sorted keys: files that people look at. */
char *json_text_lines(const json_t *value, size_t *ret_len);

/*
 * A string of the host's own - a path, a cgroup's name - which may be any bytes: what is not UTF-8
 * comes as log_quote() writes it, because JSON cannot hold it and nobody must vanish from a list by
 * his name. NULL when out of memory.
 */
json_t *json_host_string(const char *text);

/* An object being decoded: remembers its path for errors ("peers[3]") and what was taken. */
struct json_object {
	json_t *object; /* borrowed */
	char path[128];
	const char *what; /* document */
	const char *taken[32];
	size_t taken_count;
	struct err *err;
	int r; /* sticky: 0 or -EBADMSG */
};

void json_object_begin(struct json_object *o, json_t *value, const char *what, const char *path,
		       struct err *err);
/* Required members; on error o->r is set and zero or NULL returned. Strings are borrowed. */
const char *json_take_string(struct json_object *o, const char *key, size_t max_len);
int64_t json_take_int(struct json_object *o, const char *key, int64_t min, int64_t max);
json_t *json_take_array(struct json_object *o, const char *key, size_t max_len);
json_t *json_take_object(struct json_object *o, const char *key);
/* Of any type, null included: the caller looks. */
json_t *json_take_value(struct json_object *o, const char *key);
/* Optional members: NULL or the default when absent. JSON null is not absence. */
const char *json_may_string(struct json_object *o, const char *key, size_t max_len);
json_t *json_may_array(struct json_object *o, const char *key, size_t max_len);
json_t *json_may_object(struct json_object *o, const char *key);
/* Unknown members are errors. Returns o->r. */
int json_finish(struct json_object *o);
/* Records an error at o's path (unless there is one already) and returns -EBADMSG. */
int json_fail(struct json_object *o, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
