/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/json.h"
#include "base/mem.h"
#include "controller/exchange.h"

#include <errno.h>

/* core.h says which error is which. */
static const struct {
	int error;
	struct problem_kind kind;
} kinds[] = {
	{EINVAL, {400, "bad_request"}},   {EBADMSG, {400, "bad_request"}},
	{ERANGE, {400, "bad_request"}},   {EXDEV, {400, "bad_request"}},
	{ENOTSUP, {400, "bad_request"}},  {EPROTOTYPE, {400, "bad_request"}},
	{ENOENT, {404, "not_found"}},     {EEXIST, {409, "conflict"}},
	{EACCES, {403, "forbidden"}},     {EPERM, {403, "banned"}},
	{EKEYREVOKED, {403, "revoked"}},  {EKEYREJECTED, {401, "unauthorized"}},
	{ETIME, {401, "expired"}},        {EALREADY, {409, "used"}},
	{E2BIG, {413, "too_large"}},      {EFBIG, {413, "too_large"}},
	{EAGAIN, {429, "too_many"}},      {EBUSY, {503, "busy"}},
	{ENOSPC, {507, "full"}},          {EROFS, {503, "read_only"}},
	{ENOMEM, {503, "out_of_memory"}},
};

struct problem_kind problem_of_error(int r)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (kinds[i].error == -r)
			return kinds[i].kind;
	}
	return (struct problem_kind){503, "store"};
}

const char *problem_title(unsigned status)
{
	static const struct {
		unsigned status;
		const char *title;
	} titles[] = {
		{400, "Bad request"},
		{401, "Not authenticated"},
		{403, "Not allowed"},
		{404, "Not found"},
		{405, "Method not allowed"},
		{409, "Conflict"},
		{413, "Too large"},
		{415, "Wrong kind of content"},
		{416, "Range outside the content"},
		{421, "Not this server"},
		{429, "Too many"},
		{503, "Not now"},
		{507, "No room left"},
	};

	for (size_t i = 0; i < ARRAY_LEN(titles); i++) {
		if (titles[i].status == status)
			return titles[i].title;
	}
	return "Error";
}

/* A detail may quote what the client has sent, which need not be UTF-8. */
char *problem_text(unsigned status, const char *code, const char *detail)
{
	json_t *o = json_pack("{s:s, s:s, s:i, s:o, s:s}", "type", "about:blank", "title",
			      problem_title(status), "status", (int)status, "detail",
			      json_host_string(detail), "code", code);
	char *text = o == NULL ? NULL : json_text(o, NULL);

	json_decref(o);
	return text;
}
