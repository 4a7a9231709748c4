/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/json.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct position {
	unsigned line, column;
};

/*
 * jansson allows 2048 levels, and so would whoever walks the tree. Counted before parsing, outside
 * strings; on malformed text the count may be off, but then the parser refuses it anyway.
 */
static bool nests_too_deep(const char *text, size_t len, struct position *ret)
{
	struct position at = {.line = 1, .column = 0};
	bool in_string = false;
	unsigned depth = 0;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		at.column++;
		if (c == '\n') {
			at.line++;
			at.column = 0;
		} else if (c == '\\' && in_string) {
			i++;
			at.column++;
		} else if (c == '"') {
			in_string = !in_string;
		} else if (!in_string && (c == '{' || c == '[')) {
			depth++;
		} else if (!in_string && (c == '}' || c == ']') && depth > 0) {
			depth--;
		}
		if (depth > JSON_NESTING_MAX) {
			*ret = at;
			return true;
		}
	}
	return false;
}

int json_parse_strict(const char *text, size_t len, const char *what, json_t **ret, struct err *err)
{
	struct position at = {0};
	char quoted[LOG_QUOTE_MAX];
	json_error_t e;
	json_t *value;

	if (nests_too_deep(text, len, &at))
		return err_set(err, EBADMSG, "%s:%u:%u: nested deeper than %d levels", what,
			       at.line, at.column, JSON_NESTING_MAX);
	value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
	/* jansson 2.14 leaves the text empty when an allocation failed, and the code at anything.
	 */
	if (value == NULL && e.text[0] == '\0')
		return err_set(err, ENOMEM, "%s: out of memory", what);
	if (value == NULL)
		return err_set(err, EBADMSG, "%s:%d:%d: %s", what, e.line > 0 ? e.line : 1,
			       e.column > 0 ? e.column : 1, log_quote(quoted, e.text));
	*ret = value;
	return 0;
}

int json_fail(struct json_object *o, const char *key, const char *fmt, ...)
{
	const char *dot = o->path[0] != '\0' && key != NULL ? "." : "";
	char text[ERR_TEXT_MAX];
	va_list ap;

	if (o->r != 0)
		return o->r;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	o->r = err_set(o->err, EBADMSG, "%s: %s%s%s%s%s", o->what, o->path, dot,
		       key != NULL ? key : "", o->path[0] != '\0' || key != NULL ? ": " : "", text);
	return o->r;
}

void json_object_begin(struct json_object *o, json_t *value, const char *what, const char *path,
		       struct err *err)
{
	*o = (struct json_object){.object = value, .what = what, .err = err};
	(void)snprintf(o->path, sizeof(o->path), "%s", path != NULL ? path : "");
	if (!json_is_object(value))
		(void)json_fail(o, NULL, "not an object; {...} would be right");
}

/* The member, noted as taken; NULL when absent or after an error. */
static json_t *take(struct json_object *o, const char *key)
{
	if (o->r != 0)
		return NULL;
	if (o->taken_count >= ARRAY_LEN(o->taken)) {
		(void)json_fail(o, key, "decoder asks for more than %zu members",
				ARRAY_LEN(o->taken));
		return NULL;
	}
	o->taken[o->taken_count++] = key;
	return json_object_get(o->object, key);
}

static json_t *take_required(struct json_object *o, const char *key, const char *type)
{
	json_t *value = take(o, key);

	if (value == NULL)
		(void)json_fail(o, key, "missing; %s would be right", type);
	return value;
}

static const char *checked_string(struct json_object *o, const char *key, json_t *value,
				  size_t max_len)
{
	if (value == NULL)
		return NULL;
	if (!json_is_string(value)) {
		(void)json_fail(o, key, "not a string");
		return NULL;
	}
	if (json_string_length(value) > max_len) {
		(void)json_fail(o, key, "longer than %zu bytes", max_len);
		return NULL;
	}
	return json_string_value(value);
}

static json_t *checked_array(struct json_object *o, const char *key, json_t *value, size_t max_len)
{
	if (value == NULL)
		return NULL;
	if (!json_is_array(value)) {
		(void)json_fail(o, key, "not an array; [...] would be right");
		return NULL;
	}
	if (json_array_size(value) > max_len) {
		(void)json_fail(o, key, "more than %zu entries", max_len);
		return NULL;
	}
	return value;
}

static json_t *checked_object(struct json_object *o, const char *key, json_t *value)
{
	if (value != NULL && !json_is_object(value)) {
		(void)json_fail(o, key, "not an object; {...} would be right");
		return NULL;
	}
	return value;
}

const char *json_take_string(struct json_object *o, const char *key, size_t max_len)
{
	return checked_string(o, key, take_required(o, key, "a string"), max_len);
}

int64_t json_take_int(struct json_object *o, const char *key, int64_t min, int64_t max)
{
	json_t *value = take_required(o, key, "a whole number");
	json_int_t number;

	if (value == NULL)
		return 0;
	if (!json_is_integer(value)) {
		(void)json_fail(o, key, "not a whole number");
		return 0;
	}
	number = json_integer_value(value);
	if (number < min || number > max) {
		(void)json_fail(o, key,
				"%" JSON_INTEGER_FORMAT " is out of range; %" PRId64 " to %" PRId64
				" would be right",
				number, min, max);
		return 0;
	}
	return number;
}

json_t *json_take_array(struct json_object *o, const char *key, size_t max_len)
{
	return checked_array(o, key, take_required(o, key, "an array"), max_len);
}

json_t *json_take_object(struct json_object *o, const char *key)
{
	return checked_object(o, key, take_required(o, key, "an object"));
}

const char *json_may_string(struct json_object *o, const char *key, size_t max_len)
{
	return checked_string(o, key, take(o, key), max_len);
}

json_t *json_may_array(struct json_object *o, const char *key, size_t max_len)
{
	return checked_array(o, key, take(o, key), max_len);
}

json_t *json_may_object(struct json_object *o, const char *key)
{
	return checked_object(o, key, take(o, key));
}

json_t *json_host_string(const char *text)
{
	char quoted[LOG_QUOTE_MAX];

	return json_string(text_utf8_ok(text, strlen(text)) ? text : log_quote(quoted, text));
}

static bool was_taken(const struct json_object *o, const char *key)
{
	for (size_t i = 0; i < o->taken_count; i++) {
		if (str_eq(o->taken[i], key))
			return true;
	}
	return false;
}

int json_finish(struct json_object *o)
{
	char quoted[LOG_QUOTE_MAX];
	const char *key, *near;
	json_t *value;

	if (o->r != 0)
		return o->r;
	json_object_foreach(o->object, key, value) {
		if (was_taken(o, key))
			continue;
		near = text_nearest(key, o->taken, o->taken_count);
		if (near != NULL)
			return json_fail(o, NULL, "unknown member '%s'; did you mean '%s'?",
					 log_quote(quoted, key), near);
		return json_fail(o, NULL, "unknown member '%s'", log_quote(quoted, key));
	}
	return 0;
}
