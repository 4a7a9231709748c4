/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/http_text.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

TEST(prefer_gives_the_wait_and_bounds_it)
{
	static const struct {
		const char *header;
		uint32_t wait;
	} cases[] = {
		{"wait=55", 55},
		{"wait=10", 10},
		{"WAIT = 7", 7},
		{"respond-async, wait=20", 20},
		{"wait=\"30\"", 30},
		{"wait=5; foo=bar", 5},
		{"wait=600", 55},
		{"wait=007", 7},
		{"wait=18446744073709551616", 0},
		{"wait=99999999999999999999999999", 0},
		{"wait=-1", 0},
		{"wait=", 0},
		{"wait", 0},
		{"waiting=5", 0},
		{"wait=5x", 0},
		{"handling=lenient", 0},
		{"", 0},
	};

	CHECK_UINT(http_prefer_wait(NULL, 55), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		CHECK_UINT(http_prefer_wait(cases[i].header, 55), cases[i].wait);
}

TEST(entity_tags_are_compared_weakly_and_as_lists)
{
	CHECK(http_etag_matches("\"977\"", "\"977\""));
	CHECK(http_etag_matches("W/\"977\"", "\"977\""));
	CHECK(http_etag_matches("\"1\", W/\"2\" ,\"977\"", "\"977\""));
	CHECK(http_etag_matches("*", "\"977\""));
	CHECK(http_etag_matches("\"a,b\", \"977\"", "\"977\""));
	CHECK(!http_etag_matches("\"97\"", "\"977\""));
	CHECK(!http_etag_matches("\"9777\"", "\"977\""));
	CHECK(!http_etag_matches("977", "\"977\""));
	CHECK(!http_etag_matches("\"977", "\"977\""));
	CHECK(!http_etag_matches("\"1\" \"977\"", "\"977\""));
	CHECK(!http_etag_matches("", "\"977\""));
	CHECK(!http_etag_matches(NULL, "\"977\""));
}

static void check_part(const char *header, uint64_t first, uint64_t len)
{
	uint64_t got_first = 0, got_len = 0;

	CHECK_INT(http_range(header, 1000, &got_first, &got_len), HTTP_RANGE_PART);
	CHECK_UINT(got_first, first);
	CHECK_UINT(got_len, len);
}

TEST(one_range_of_bytes_is_understood)
{
	check_part("bytes=0-0", 0, 1);
	check_part("bytes=0-999", 0, 1000);
	check_part("bytes=500-", 500, 500);
	check_part("bytes=500-5000", 500, 500);
	check_part("bytes=-1", 999, 1);
	check_part("bytes=-5000", 0, 1000);
	check_part("Bytes=10-19", 10, 10);
}

TEST(other_ranges_are_ignored_or_outside)
{
	static const char *const ignored[] = {
		"bytes=",    "bytes=a-b", "bytes=5-4", "bytes=0-1,5-6",
		"lines=1-2", "bytes=1",   "bytes=--1", "bytes=0-99999999999999999999999",
	};
	uint64_t first = 0, len = 0;

	for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
		CHECK_INT(http_range(ignored[i], 1000, &first, &len), HTTP_RANGE_NONE);
	CHECK_INT(http_range(NULL, 1000, &first, &len), HTTP_RANGE_NONE);
	CHECK_INT(http_range("bytes=1000-", 1000, &first, &len), HTTP_RANGE_OUTSIDE);
	CHECK_INT(http_range("bytes=-0", 1000, &first, &len), HTTP_RANGE_OUTSIDE);
	CHECK_INT(http_range("bytes=0-", 0, &first, &len), HTTP_RANGE_OUTSIDE);
	CHECK_INT(http_range("bytes=-5", 0, &first, &len), HTTP_RANGE_OUTSIDE);
}

TEST(basic_credentials_become_a_token)
{
	char token[64];

	/* tok_ab12cd:SECRET */
	CHECK_INT(http_basic("Basic dG9rX2FiMTJjZDpTRUNSRVQ=", token, sizeof(token)), 0);
	CHECK_STR(token, "tok_ab12cd.SECRET");
	CHECK_INT(http_basic("basic  dG9rX2FiMTJjZDpTRUNSRVQ=", token, sizeof(token)), 0);
}

TEST(other_credentials_are_refused)
{
	static const char *const wrong[] = {
		"Bearer dG9rX2FiMTJjZDpTRUNSRVQ=",
		"Basic",
		"Basic ",
		"Basic !!!!",
		"Basic dG9r",             /* no colon */
		"Basic OnNlY3JldA==",     /* no user */
		"Basic dXNlcjo=",         /* no password */
		"Basic dQBzOnNlY3JldA==", /* NUL inside */
		"Basic dXMgZXI6c2VjcmV0", /* space inside */
		/* longer than the room */
		("Basic YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhOmFhYWFhYWFhYWFhYWFhYWFhYWFh"
		 "YWFhYWFhYWFhYWFh"),
	};
	char token[64];

	CHECK_INT(http_basic(NULL, token, sizeof(token)), -EINVAL);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		CHECK_INT(http_basic(wrong[i], token, sizeof(token)), -EINVAL);
}

TEST(host_is_taken_without_port_and_brackets)
{
	char host[HTTP_HOST_MAX], long_name[HTTP_HOST_MAX + 2];

	CHECK_INT(http_host("CTL.acme.example:8443", host), 0);
	CHECK_STR(host, "ctl.acme.example");
	CHECK_INT(http_host("[fd00::1]:8443", host), 0);
	CHECK_STR(host, "fd00::1");
	CHECK_INT(http_host("10.0.0.1", host), 0);
	CHECK_STR(host, "10.0.0.1");
	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	CHECK_INT(http_host(long_name, host), -EINVAL);
	CHECK_INT(http_host("", host), -EINVAL);
	CHECK_INT(http_host(":8443", host), -EINVAL);
	CHECK_INT(http_host("a b", host), -EINVAL);
	CHECK_INT(http_host("ctl\x01", host), -EINVAL);
	CHECK_INT(http_host("[::1]x", host), -EINVAL);
	CHECK_INT(http_host(NULL, host), -EINVAL);
}

TEST(media_types_are_compared_without_parameters)
{
	CHECK(http_type_is("application/pkcs10", "application/pkcs10"));
	CHECK(http_type_is("Application/PKCS10; charset=x", "application/pkcs10"));
	CHECK(!http_type_is("application/pkcs10x", "application/pkcs10"));
	CHECK(!http_type_is("text/plain", "application/pkcs10"));
	CHECK(!http_type_is(NULL, "application/pkcs10"));
}

static void check_listen(const char *text)
{
	char shown[LISTEN_TEXT_MAX];
	struct sockaddr_storage a;
	struct err err = {{0}};
	socklen_t len;

	CHECK_OK(listen_parse(text, &a, &len, &err), &err);
	CHECK_STR(listen_format(shown, &a), text);
}

TEST(addresses_to_listen_on_are_numbers_with_a_port)
{
	static const char *const wrong[] = {
		"localhost:8443", "127.0.0.1",  "::1:8443", "[::1]",         "127.0.0.1:65536",
		":8443",          "127.0.0.1:", "",         "[127.0.0.1:80", "127.0.0.1:-1",
	};
	struct sockaddr_storage a;
	struct err err = {{0}};
	socklen_t len;

	check_listen("127.0.0.1:8443");
	check_listen("0.0.0.0:0");
	check_listen("[::]:8443");
	check_listen("[fd00::5]:443");
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		CHECK_INT(listen_parse(wrong[i], &a, &len, &err), -EINVAL);
	CHECK_CONTAINS(err.text, "would be right");
}
