/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/json.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct position {
	unsigned line, column;
};

enum shape { SHAPE_FINE, SHAPE_DEEP, SHAPE_MANY };

/*
 * jansson allows 2048 levels, and so would whoever walks the tree; and "{},{},{}" takes eighty
 * times its own size in memory. So levels and values are counted before parsing, outside strings;
 * on malformed text the counts may be off, but then the parser refuses it anyway.
 */
static enum shape look(const char *text, size_t len, struct position *ret)
{
	struct position at = {.line = 1, .column = 0};
	unsigned depth = 0, values = 0;
	bool in_string = false;

	for (size_t i = 0; i < len && depth <= JSON_NESTING_MAX && values <= JSON_VALUES_MAX; i++) {
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
			values++;
		} else if (!in_string && (c == '}' || c == ']') && depth > 0) {
			depth--;
		} else if (!in_string && (c == ',' || c == ':')) {
			values++;
		}
	}
	*ret = at;
	if (depth > JSON_NESTING_MAX)
		return SHAPE_DEEP;
	return values > JSON_VALUES_MAX ? SHAPE_MANY : SHAPE_FINE;
}

static int check_shape(const char *text, size_t len, const char *what, struct err *err)
{
	struct position at = {0};

	switch (look(text, len, &at)) {
	case SHAPE_FINE:
		return 0;
	case SHAPE_DEEP:
		return err_set(err, EBADMSG, "%s:%u:%u: nested deeper than %d levels", what,
			       at.line, at.column, JSON_NESTING_MAX);
	case SHAPE_MANY:
		break;
	}
	return err_set(err, EBADMSG, "%s:%u:%u: more than %u members and values", what, at.line,
		       at.column, JSON_VALUES_MAX);
}

/*
 * When an allocation fails inside its scanner or its writer, jansson 2.14 goes on and leaves
 * characters out: "10.0.0.15" may become "10.0.0.1", and a string without its closing quote is
 * read past its end. So its allocations are watched: after the first that fails all of them fail,
 * which ends the scanner before it copies, and whatever came about is thrown away. (Its hooks are
 * global, and so must this be.)
 */
static _Thread_local struct {
	bool on, failed;
} watch;

static void *watched_malloc(size_t size)
{
	void *p = watch.failed ? NULL : mem_realloc(NULL, size);

	watch.failed |= watch.on && p == NULL;
	return p;
}

static void watch_begin(void)
{
	json_set_alloc_funcs(watched_malloc, free);
	watch.on = true;
	watch.failed = false;
}

/* Whether an allocation failed since watch_begin(). */
static bool watch_end(void)
{
	bool failed = watch.failed;

	watch.on = false;
	watch.failed = false;
	return failed;
}

int json_parse_strict(const char *text, size_t len, const char *what, json_t **ret, struct err *err)
{
	char quoted[LOG_QUOTE_MAX];
	json_error_t e;
	json_t *value;
	int r;

	r = check_shape(text, len, what, err);
	if (r < 0)
		return r;
	watch_begin();
	value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
	if (watch_end()) {
		json_decref(value);
		return err_set(err, ENOMEM, "%s: out of memory", what);
	}
	if (value == NULL)
		return err_set(err, EBADMSG, "%s:%d:%d: %s", what, e.line > 0 ? e.line : 1,
			       e.column > 0 ? e.column : 1, log_quote(quoted, e.text));
	*ret = value;
	return 0;
}

static char *text_of(const json_t *value, size_t flags, size_t *ret_len)
{
	char *text;

	watch_begin();
	text = json_dumps(value, flags | JSON_ENCODE_ANY);
	if (watch_end()) {
		free(text);
		return NULL;
	}
	if (text != NULL && ret_len != NULL)
		*ret_len = strlen(text);
	return text;
}

char *json_text(const json_t *value, size_t *ret_len)
{
	return text_of(value, JSON_COMPACT, ret_len);
}

char *json_text_lines(const json_t *value, size_t *ret_len)
{
	return text_of(value, JSON_INDENT(1) | JSON_SORT_KEYS, ret_len);
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

json_t *json_take_value(struct json_object *o, const char *key)
{
	return take_required(o, key, "a value");
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
