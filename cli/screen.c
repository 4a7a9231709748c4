/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/screen.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FIELD_NAME_MAX  64
#define CONTAINER_SHOWN 12 /* as the runtimes themselves print ids */
#define STATE_WIDTH     6
#define NAME_WIDTH_MAX  24 /* longer names of checks have the line to themselves */
#define MINUTE_S        60
#define HOUR_S          3600
#define DAY_S           86400
#define MS_US           1000
#define S_US            1000000

const json_t *field(const json_t *object, const char *path)
{
	char name[FIELD_NAME_MAX];

	while (object != NULL) {
		size_t len = strcspn(path, ".");

		if (len >= sizeof(name))
			return NULL;
		memcpy(name, path, len);
		name[len] = '\0';
		object = json_object_get(object, name);
		if (path[len] == '\0')
			break;
		path += len + 1;
	}
	return json_is_null(object) ? NULL : object;
}

const char *field_text(const json_t *object, const char *path)
{
	return json_string_value(field(object, path));
}

const char *field_text_or(const json_t *object, const char *path, const char *otherwise)
{
	const char *text = field_text(object, path);

	return text != NULL && *text != '\0' ? text : otherwise;
}

int64_t field_int(const json_t *object, const char *path, int64_t otherwise)
{
	const json_t *value = field(object, path);
	double real;

	if (json_is_integer(value))
		return json_integer_value(value);
	if (!json_is_real(value))
		return otherwise;
	real = json_real_value(value);
	return real > -1e15 && real < 1e15 ? (int64_t)real : otherwise;
}

bool field_true(const json_t *object, const char *path)
{
	return json_is_true(field(object, path));
}

int64_t field_count(const json_t *object, const char *path)
{
	const json_t *value = field(object, path);

	if (json_is_array(value))
		return (int64_t)json_array_size(value);
	if (json_is_object(value))
		return (int64_t)json_object_size(value);
	if (json_is_string(value))
		return json_string_length(value) > 0;
	return json_is_true(value) ? 1 : field_int(object, path, 0);
}

bool field_seconds_until(const json_t *object, const char *path, struct wall now, int64_t *ret)
{
	const char *text = field_text(object, path);
	struct wall t;

	if (text == NULL || rfc3339_parse(text, &t) < 0)
		return false;
	*ret = t.s - now.s;
	return true;
}

const char *count_format(char buf[COUNT_TEXT_MAX], int64_t n)
{
	char digits[COUNT_TEXT_MAX];
	char *out = buf;
	const char *in = digits;
	size_t len;

	(void)snprintf(digits, sizeof(digits), "%" PRId64, n);
	if (*in == '-')
		*out++ = *in++;
	for (len = strlen(in); len > 0; len--) {
		*out++ = *in++;
		if (len % 3 == 1 && len > 1)
			*out++ = ',';
	}
	*out = '\0';
	return buf;
}

const char *age_format(char buf[AGE_TEXT_MAX], int64_t seconds)
{
	int64_t s = seconds > 0 ? seconds : 0;

	if (s < 2 * MINUTE_S)
		(void)snprintf(buf, AGE_TEXT_MAX, "%" PRId64 " s", s);
	else if (s < 2 * HOUR_S)
		(void)snprintf(buf, AGE_TEXT_MAX, "%" PRId64 " min", s / MINUTE_S);
	else if (s < DAY_S)
		(void)snprintf(buf, AGE_TEXT_MAX, "%" PRId64 " h", s / HOUR_S);
	else
		(void)snprintf(buf, AGE_TEXT_MAX, "%" PRId64 " d %02" PRId64 " h", s / DAY_S,
			       s % DAY_S / HOUR_S);
	return buf;
}

/* Rounded to the nearest tenth. */
const char *microseconds_format(char buf[MICROSECONDS_TEXT_MAX], int64_t us)
{
	int64_t unit = us < S_US - MS_US / 20 ? MS_US : S_US,
		tenths = (us + unit / 20) / (unit / 10);

	if (us < MS_US / 10)
		(void)snprintf(buf, MICROSECONDS_TEXT_MAX, "%" PRId64 " us", us > 0 ? us : 0);
	else
		(void)snprintf(buf, MICROSECONDS_TEXT_MAX, "%" PRId64 ".%" PRId64 " %s",
			       tenths / 10, tenths % 10, unit == MS_US ? "ms" : "s");
	return buf;
}

void put_count(struct buf *b, int64_t n, const char *noun)
{
	char text[COUNT_TEXT_MAX];

	buf_printf(b, "%s %s%s", count_format(text, n), noun, n == 1 ? "" : "s");
}

/* Bytes of the valid UTF-8 character at s that may be printed, 0 if it may not. */
static size_t printable(const char *s)
{
	unsigned char c = (unsigned char)*s;
	size_t len = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

	if (c < 0x20 || c == 0x7f || strnlen(s, len) < len || !text_utf8_ok(s, len))
		return 0;
	/* U+0080 to U+009F: control characters too; some terminals act on them. */
	if (c == 0xc2 && (unsigned char)s[1] < 0xa0)
		return 0;
	return len;
}

void put_clean(struct buf *b, const char *text)
{
	while (*text != '\0') {
		size_t len = printable(text);

		if (len > 0)
			buf_add(b, text, len);
		else
			buf_putc(b, '?');
		text += len > 0 ? len : 1;
	}
}

static const char *party_name(const json_t *party)
{
	const char *name = field_text(party, "name");

	return name != NULL ? name : field_text(party, "identity");
}

const char *party_format_with(char buf[PARTY_TEXT_MAX], const json_t *party, const char *separator)
{
	const char *name = party_name(party), *node = field_text(party, "node");
	const char *address = field_text(party, "address"), *type = field_text(party, "type");
	int64_t port = field_int(party, "port", 0);

	if (json_is_string(party))
		(void)snprintf(buf, PARTY_TEXT_MAX, "%s", json_string_value(party));
	else if (type != NULL && !str_eq(type, "identity") && (name != NULL || node != NULL))
		(void)snprintf(buf, PARTY_TEXT_MAX, "%s (%s)", name != NULL ? name : node, type);
	else if (name != NULL)
		(void)snprintf(buf, PARTY_TEXT_MAX, "%s%s%s", name, node != NULL ? separator : "",
			       node != NULL ? node : "");
	else if (address != NULL && port > 0)
		(void)snprintf(buf, PARTY_TEXT_MAX, strchr(address, ':') ? "[%s]:%d" : "%s:%d",
			       address, (int)port);
	else if (address != NULL || node != NULL)
		(void)snprintf(buf, PARTY_TEXT_MAX, "%s", address != NULL ? address : node);
	else
		(void)snprintf(buf, PARTY_TEXT_MAX, "-");
	return buf;
}

const char *party_format(char buf[PARTY_TEXT_MAX], const json_t *party)
{
	return party_format_with(buf, party, "@");
}

const char *endpoint_format(char buf[ENDPOINT_TEXT_MAX], const char *address, int64_t port)
{
	(void)snprintf(buf, ENDPOINT_TEXT_MAX, strchr(address, ':') ? "[%.64s]:%d" : "%.64s:%d",
		       address, (int)port);
	return buf;
}

const char *where_format(char buf[WHERE_TEXT_MAX], const json_t *process)
{
	const char *container = field_text_or(process, "container", NULL);

	if (container == NULL)
		return field_text_or(process, "unit", field_text(process, "cgroup"));
	(void)snprintf(buf, WHERE_TEXT_MAX, "%.*s (container)", CONTAINER_SHOWN, container);
	return buf;
}

/* ---- key-value lines ---- */

size_t width_of(const char *text, size_t len)
{
	size_t width = 0;

	for (size_t i = 0; i < len; i++)
		width += ((unsigned char)text[i] & 0xc0) != 0x80;
	return width;
}

size_t bytes_within(const char *text, size_t len, size_t width)
{
	size_t i = 0;

	while (i < len) {
		size_t next = i + 1;

		if (width-- == 0)
			break;
		while (next < len && ((unsigned char)text[next] & 0xc0) == 0x80)
			next++;
		i = next;
	}
	return i;
}

/* The length of what stays on one line: "[--for DURATION]", "--reason TEXT", "| why". */
static size_t command_part(const char *text)
{
	size_t len = 0;
	int depth = 0;

	for (; text[len] != '\0'; len++) {
		depth += (text[len] == '[') - (text[len] == ']');
		if (text[len] == ' ' && depth == 0 && strchr("[-|.", text[len + 1]) != NULL)
			break;
	}
	return len;
}

void put_command(struct buf *b, const char *text, size_t column, const char *between)
{
	size_t end = strcspn(between, "\n"), indent = strlen(between + end) - 1, len;

	for (const char *at = text; *at != '\0'; at += *at == ' ') {
		len = command_part(at);
		if (at != text && column + 1 + len + end > SCREEN_COLUMNS) {
			buf_puts(b, between);
			column = indent;
		} else if (at != text) {
			buf_putc(b, ' ');
			column++;
		}
		buf_add(b, at, len);
		column += len;
		at += len;
	}
}

/* Where a line of at most `width` ends: at the last space, or in the middle of a longer word. */
static size_t line_end(const char *text, size_t len, size_t width)
{
	size_t fits = bytes_within(text, len, width), at = fits;

	if (fits == len)
		return len;
	while (at > 0 && text[at] != ' ')
		at--;
	return at > 0 ? at : fits;
}

static void put_wrapped(struct buf *b, const char *text, unsigned indent, unsigned first)
{
	size_t left = strlen(text);
	size_t width = SCREEN_COLUMNS > first ? SCREEN_COLUMNS - first : 1;

	while (left > 0) {
		size_t len = line_end(text, left, width);

		buf_add(b, text, len);
		buf_putc(b, '\n');
		while (len < left && text[len] == ' ')
			len++;
		text += len;
		left -= len;
		width = SCREEN_COLUMNS - indent;
		if (left > 0)
			buf_printf(b, "%*s", (int)indent, "");
	}
}

void pairs_put(const struct pairs *p, const char *key, const char *fmt, ...)
{
	CLEANUP(buf_done) struct buf text = {0}, clean = {0};
	size_t key_width;
	va_list ap;

	buf_init(&text, SCREEN_TEXT_MAX);
	buf_init(&clean, SCREEN_TEXT_MAX);
	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	if (text.r < 0) {
		p->b->r = text.r;
		return;
	}
	if (text.len == 0)
		return;
	put_clean(&clean, text.data);
	key_width = width_of(key, strlen(key));
	put_clean(p->b, key);
	if (key_width + 1 > p->indent)
		buf_puts(p->b, "  ");
	else
		buf_printf(p->b, "%*s", (int)(p->indent - key_width), "");
	key_width = key_width + 1 > p->indent ? key_width + 2 : p->indent;
	if (clean.r < 0)
		p->b->r = clean.r;
	else
		put_wrapped(p->b, clean.data, p->indent, (unsigned)key_width);
}

static unsigned name_width(const json_t *checks)
{
	size_t widest = 0;

	for (size_t i = 0; i < json_array_size(checks); i++) {
		const char *name = field_text_or(json_array_get(checks, i), "name", "-");
		size_t width = width_of(name, strlen(name));

		if (width > widest && width <= NAME_WIDTH_MAX)
			widest = width;
	}
	return (unsigned)widest;
}

struct pairs checks_pairs(const json_t *checks, struct buf *b)
{
	return (struct pairs){b, STATE_WIDTH + name_width(checks) + 2};
}

void check_put(const struct pairs *p, const char *state, const json_t *check)
{
	CLEANUP(freep)
	char *key = mem_printf("%-*s%s", STATE_WIDTH, state, field_text_or(check, "name", "-"));

	pairs_put(p, key != NULL ? key : "-", "%s", field_text_or(check, "detail", "-"));
}
