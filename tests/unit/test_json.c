/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/json.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VIEW                                                                                       \
	"{\"node\": \"pay-1\", \"sequence\": 41, \"peers\": [{\"port\": 7}], \"x\": {\"a\": \"b\"}}"

static int parse(const char *text, json_t **ret, struct err *err)
{
	return json_parse_strict(text, strlen(text), "view.json", ret, err);
}

static bool accepts(const void *bytes, size_t len)
{
	json_t *value = NULL;

	if (json_parse_strict(bytes, len, "t", &value, NULL) < 0)
		return false;
	json_decref(value);
	return true;
}

TEST(every_truncation_is_refused)
{
	CHECK_TRUNCATIONS(VIEW, strlen(VIEW), accepts);
}

TEST(strictness)
{
	static const char *const wrong[] = {
		"",
		"  ",
		"null",
		"1",
		"\"x\"",
		"{} {}",
		"{}x",
		"{\"a\":1,\"a\":2}",
		"{'a':1}",
		"{\"a\":01}",
		"{\"a\":1,}",
		"[1,]",
		"{\"a\":NaN}",
		"\"\xff\"",
		"{\"a\":\"\xff\"}",
		"{\"a\":\"\\u0000\"}",
		"{\"a\":\"\xc0\x80\"}",
		"{\"a\":\"\\ud800\"}",
		"// x\n{}",
		"{\"a\":99999999999999999999}",
	};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct err err = {0};
		json_t *value = NULL;

		if (parse(wrong[i], &value, &err) != -EBADMSG)
			test_fail(__FILE__, __LINE__, "'%s' was accepted", wrong[i]);
		CHECK_INT(strncmp(err.text, "view.json:", 10), 0);
		CHECK(value == NULL);
	}
	CHECK(!accepts("{\"a\":\"x\0y\"}", 11));
	CHECK(!accepts("{}\0", 3));
}

TEST(errors_name_line_and_column)
{
	struct err err = {0};
	json_t *value = NULL;

	CHECK_INT(parse("{\n  \"a\": 1,\n  \"a\": 2\n}", &value, &err), -EBADMSG);
	CHECK_CONTAINS(err.text, "view.json:3:");
	CHECK_INT(parse("{\n  \"a\": tru\n}", &value, &err), -EBADMSG);
	CHECK_CONTAINS(err.text, "view.json:2:");
}

TEST(nesting_is_bounded)
{
	char text[2 * (JSON_NESTING_MAX + 1) + 1] = {0};
	struct err err = {0};
	json_t *value = NULL;

	memset(text, '[', JSON_NESTING_MAX);
	memset(text + JSON_NESTING_MAX, ']', JSON_NESTING_MAX);
	CHECK_OK(parse(text, &value, &err), &err);
	json_decref(value);
	memset(text, '[', JSON_NESTING_MAX + 1);
	memset(text + JSON_NESTING_MAX + 1, ']', JSON_NESTING_MAX + 1);
	CHECK_INT(parse(text, &value, &err), -EBADMSG);
	CHECK_STR(err.text, "view.json:1:17: nested deeper than 16 levels");
}

TEST(brackets_in_strings_do_not_nest)
{
	struct err err = {0};
	json_t *value = NULL;

	CHECK_OK(parse("[\"[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[[[[\\\\\", \"{{{{{{{{{{{{{{{{{{{{{{\"]",
		       &value, &err),
		 &err);
	json_decref(value);
}

TEST(hostile_text_in_errors_is_quoted)
{
	struct err err = {0};
	json_t *value = NULL;

	CHECK_INT(parse("{\"a\033[2J\": 1}", &value, &err), -EBADMSG);
	CHECK(strchr(err.text, '\033') == NULL);
}

/* One decoder that asks for every kind of member. */
static int decode(const char *text, struct err *err)
{
	struct json_object o, inner;
	json_t *root = NULL, *peers, *x;
	int r = parse(text, &root, err);

	if (r < 0)
		return r;
	json_object_begin(&o, root, "view.json", "", err);
	(void)json_take_string(&o, "node", 8);
	(void)json_take_int(&o, "sequence", 1, 100);
	peers = json_take_array(&o, "peers", 2);
	(void)json_may_string(&o, "comment", 4);
	(void)json_may_array(&o, "devices", 1);
	x = json_may_object(&o, "x");
	r = json_finish(&o);
	if (r == 0 && x != NULL) {
		json_object_begin(&inner, x, "view.json", "x", err);
		(void)json_take_string(&inner, "a", 8);
		r = json_finish(&inner);
	}
	if (r == 0 && json_array_size(peers) > 0) {
		json_object_begin(&inner, json_array_get(peers, 0), "view.json", "peers[0]", err);
		(void)json_take_int(&inner, "port", 1, 65535);
		r = json_finish(&inner);
	}
	json_decref(root);
	return r;
}

TEST(a_good_object_is_decoded)
{
	struct err err = {0};

	CHECK_OK(decode(VIEW, &err), &err);
	CHECK_OK(decode("{\"node\":\"n\",\"sequence\":1,\"peers\":[]}", &err), &err);
	CHECK_STR(err.text, "");
}

TEST(a_bad_object_is_explained)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{"[]", "view.json: not an object; {...} would be right"},
		{"{}", "view.json: node: missing; a string would be right"},
		{"{\"node\":1}", "view.json: node: not a string"},
		{"{\"node\":null}", "view.json: node: not a string"},
		{"{\"node\":\"123456789\"}", "view.json: node: longer than 8 bytes"},
		{"{\"node\":\"n\"}", "view.json: sequence: missing; a whole number would be right"},
		{"{\"node\":\"n\",\"sequence\":1.0}", "view.json: sequence: not a whole number"},
		{"{\"node\":\"n\",\"sequence\":0}",
		 "view.json: sequence: 0 is out of range; 1 to 100 would be right"},
		{"{\"node\":\"n\",\"sequence\":1,\"peers\":{}}",
		 "view.json: peers: not an array; [...] would be right"},
		{"{\"node\":\"n\",\"sequence\":1,\"peers\":[1,2,3]}",
		 "view.json: peers: more than 2 entries"},
		{"{\"node\":\"n\",\"sequence\":1,\"peers\":[],\"comment\":null}",
		 "view.json: comment: not a string"},
		{"{\"node\":\"n\",\"sequence\":1,\"peers\":[],\"x\":[]}",
		 "view.json: x: not an object; {...} would be right"},
		{"{\"node\":\"n\",\"sequence\":1,\"peers\":[],\"devcies\":[]}",
		 "view.json: unknown member 'devcies'; did you mean 'devices'?"},
		{"{\"node\":\"n\",\"sequence\":1,\"peers\":[],\"zzz\\n\":1}",
		 "view.json: unknown member 'zzz\\x0a'"},
		{"{\"node\":\"n\",\"sequence\":1,\"peers\":[],\"x\":{}}",
		 "view.json: x.a: missing; a string would be right"},
		{"{\"node\":\"n\",\"sequence\":1,\"peers\":[{\"port\":0}]}",
		 "view.json: peers[0].port: 0 is out of range; 1 to 65535 would be right"},
		{"{\"node\":\"n\",\"sequence\":1,\"peers\":[7]}",
		 "view.json: peers[0]: not an object; {...} would be right"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};

		CHECK_INT(decode(cases[i].text, &err), -EBADMSG);
		CHECK_STR(err.text, cases[i].error);
	}
}

TEST(only_the_first_error_is_told)
{
	struct json_object o;
	struct err err = {0};
	json_t *value = NULL;

	CHECK_OK(parse("{}", &value, &err), &err);
	json_object_begin(&o, value, "d", "p", &err);
	CHECK_INT(json_fail(&o, "a", "first %d", 1), -EBADMSG);
	CHECK_INT(json_fail(&o, "b", "second"), -EBADMSG);
	CHECK(json_take_string(&o, "c", 1) == NULL);
	CHECK_INT(json_finish(&o), -EBADMSG);
	CHECK_STR(err.text, "d: p.a: first 1");
	json_decref(value);
}

OOM_TEST(parsing_and_decoding)
{
	struct err err = {0};

	return decode(VIEW, &err);
}

/* A failed allocation must not yield a value or a text with something missing. */
OOM_TEST(parsed_and_written_whole_or_not_at_all)
{
	static const char text[] =
		"{\"address\":\"10.123.234.115\",\"long\":\"aaaaaaaaaaaaaaaaaaaaaaaa"
		"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\","
		"\"list\":[1,2,3,4,5,6,7,8,9,10,11,12]}";
	CLEANUP(json_decrefp) json_t *value = NULL;
	CLEANUP(freep) char *back = NULL;
	size_t len = 0;
	int r = json_parse_strict(text, strlen(text), "t", &value, NULL);

	if (r < 0)
		return r;
	back = json_text(value, &len);
	if (back == NULL)
		return -ENOMEM;
	CHECK_STR(back, text);
	CHECK_UINT(len, strlen(text));
	return 0;
}

TEST(values_are_bounded)
{
	size_t len = (size_t)JSON_VALUES_MAX * 2 + 2;
	CLEANUP(freep) char *text = mem_calloc(len, 1);
	json_t *value = NULL;
	struct err err = {0};

	CHECK(text != NULL);
	for (size_t i = 0; i < len; i++)
		text[i] = i % 2 == 0 ? '1' : ',';
	text[0] = '[';
	text[len - 1] = ']';
	CHECK_INT(json_parse_strict(text, len, "t", &value, &err), -EBADMSG);
	CHECK_CONTAINS(err.text, "more than 4194304 members and values");
	/* Commas in strings are none. */
	memset(text, ',', len);
	text[0] = text[len - 1] = '"';
	CHECK_INT(json_parse_strict(text, len, "t", &value, &err), -EBADMSG);
	CHECK_CONTAINS(err.text, "'[' or '{' expected");
	CHECK(value == NULL);
}

TEST(a_member_of_any_type_must_be_there)
{
	CLEANUP(json_decrefp) json_t *value = NULL;
	struct json_object o;
	struct err err = {0};

	CHECK_OK(parse("{\"until\": null, \"n\": 1}", &value, &err), &err);
	json_object_begin(&o, value, "t", "", &err);
	CHECK(json_is_null(json_take_value(&o, "until")));
	CHECK(json_is_integer(json_take_value(&o, "n")));
	CHECK_INT(json_finish(&o), 0);
	CHECK(json_take_value(&o, "missing") == NULL);
	CHECK_INT(o.r, -EBADMSG);
	CHECK_STR(err.text, "t: missing: missing; a value would be right");
}

static void check_host_string(const char *text, const char *expected)
{
	json_t *j = json_host_string(text);

	CHECK(j != NULL);
	CHECK_STR(json_string_value(j), expected);
	json_decref(j);
}

TEST(names_of_the_host_may_be_any_bytes)
{
	check_host_string("/usr/bin/caf\xc3\xa9", "/usr/bin/caf\xc3\xa9");
	check_host_string("/usr/bin/caf\xe9", "/usr/bin/caf\\xe9");
	check_host_string("", "");
}
