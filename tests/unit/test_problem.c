/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/exchange.h"

#include "base/json.h"
#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

TEST(every_error_of_the_core_has_its_status_and_code)
{
	static const struct {
		int error;
		unsigned status;
		const char *code;
	} cases[] = {
		{-EINVAL, 400, "bad_request"},   {-ENOENT, 404, "not_found"},
		{-EEXIST, 409, "conflict"},      {-EACCES, 403, "forbidden"},
		{-EBUSY, 503, "busy"},           {-ENOSPC, 507, "full"},
		{-E2BIG, 413, "too_large"},      {-EALREADY, 409, "used"},
		{-EPERM, 403, "banned"},         {-EKEYREJECTED, 401, "unauthorized"},
		{-EROFS, 503, "read_only"},      {-EIO, 503, "store"},
		{-ENOMEM, 503, "out_of_memory"}, {-ETIME, 401, "expired"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct problem_kind kind = problem_of_error(cases[i].error);

		CHECK_UINT(kind.status, cases[i].status);
		CHECK_STR(kind.code, cases[i].code);
	}
}

TEST(a_problem_document_is_json_whatever_it_quotes)
{
	CLEANUP(freep) char *text = problem_text(400, "bad_request", "name \"x\" \x01\xff is odd");
	struct err err = {{0}};
	json_t *o;

	CHECK(text != NULL);
	CHECK_OK(json_parse_strict(text, strlen(text), "problem", &o, &err), &err);
	CHECK_INT(json_integer_value(json_object_get(o, "status")), 400);
	CHECK_STR(json_string_value(json_object_get(o, "code")), "bad_request");
	CHECK_STR(json_string_value(json_object_get(o, "title")), "Bad request");
	CHECK_CONTAINS(json_string_value(json_object_get(o, "detail")), "name");
	json_decref(o);
}
