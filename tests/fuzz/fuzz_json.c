/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/fuzz/fuzz.h"

#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What was accepted must hold the promises of base/json.h. */
static void check_depth(json_t *value, unsigned depth)
{
	const char *key;
	json_t *member;
	size_t i;

	if (depth > JSON_NESTING_MAX)
		abort();
	json_array_foreach(value, i, member)
		check_depth(member, depth + (json_is_array(member) || json_is_object(member)));
	json_object_foreach(value, key, member) {
		if (strlen(key) > 1U << 20)
			abort();
		check_depth(member, depth + (json_is_array(member) || json_is_object(member)));
	}
}

static void decode(json_t *value)
{
	struct json_object o;
	struct err err = {0};

	json_object_begin(&o, value, "input", "at", &err);
	(void)json_take_string(&o, "node", 16);
	(void)json_take_int(&o, "sequence", -5, 1000);
	(void)json_take_array(&o, "peers", 3);
	(void)json_may_string(&o, "comment", 8);
	(void)json_may_object(&o, "ext");
	if ((json_finish(&o) != 0) != (err.text[0] != '\0'))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = {0};
	json_t *value = NULL;

	if (json_parse_strict((const char *)data, size, "input", &value, &err) < 0) {
		if (err.text[0] == '\0' || value != NULL)
			abort();
		return 0;
	}
	check_depth(value, 1);
	decode(value);
	json_decref(value);
	return 0;
}
