/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Header values and paths as a client may send them: results stay within their bounds. The first
 * byte says which, so that the corpus holds each kind.
 */
#include "tests/fuzz/fuzz.h"

#include "base/text.h"
#include "controller/http_text.h"
#include "controller/route.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_MAX  8192
#define WAIT_MAX  55
#define SIZE      1000
#define TOKEN_MAX 128

static void fuzz_range(const char *text)
{
	uint64_t first = 0, len = 0;

	if (http_range(text, SIZE, &first, &len) != HTTP_RANGE_PART)
		return;
	if (len == 0 || first >= SIZE || len > SIZE - first)
		abort();
}

static void fuzz_token(const char *text)
{
	char token[TOKEN_MAX];

	if (http_basic(text, token, sizeof(token)) == 0 && strchr(token, '.') == NULL)
		abort();
}

static void fuzz_listen(const char *text)
{
	char shown[LISTEN_TEXT_MAX], again[LISTEN_TEXT_MAX];
	struct sockaddr_storage a, b;
	socklen_t len;
	struct err err;

	if (listen_parse(text, &a, &len, &err) < 0)
		return;
	if (listen_parse(listen_format(shown, &a), &b, &len, &err) < 0 ||
	    !str_eq(listen_format(again, &b), shown))
		abort();
}

static void fuzz_path(const char *text)
{
	struct route_match m;

	if (route_find("GET", text, false, &m) != ROUTE_FOUND)
		return;
	if (strpbrk(m.arg, "/%\\ '\"") != NULL || strlen(text) > ROUTE_PATH_MAX)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[TEXT_MAX], host[HTTP_HOST_MAX];

	if (size == 0 || size > sizeof(text))
		return 0;
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	switch (data[0] % 7) {
	case 0:
		if (http_prefer_wait(text, WAIT_MAX) > WAIT_MAX)
			abort();
		break;
	case 1:
		(void)http_etag_matches(text, "\"977\"");
		break;
	case 2:
		fuzz_range(text);
		break;
	case 3:
		fuzz_token(text);
		break;
	case 4:
		if (http_host(text, host) == 0 && strpbrk(host, "[]/ @") != NULL)
			abort();
		break;
	case 5:
		fuzz_listen(text);
		break;
	case 6:
		fuzz_path(text);
		break;
	}
	return 0;
}
