/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Proxies: whom they are for, and that nobody is told their passwords. */
#include "base/mem.h"
#include "courier/proxy.h"
#include "tests/unit/test.h"

#include <string.h>

#define SECRET "s3cr3t"

TEST(name_and_password_stand_apart_from_the_url)
{
	struct proxy *p = proxy_parse("http://me:" SECRET "%21@proxy.example:3128", NULL);

	CHECK_STR(p->url, "http://proxy.example:3128");
	CHECK_STR(p->where, "proxy.example:3128");
	CHECK_STR(p->user, "me");
	CHECK_STR(p->password, SECRET "!");
	proxy_free(p);
	p = proxy_parse("[fd77::1]:3128", NULL);
	CHECK_STR(p->url, "http://[fd77::1]:3128");
	CHECK(p->user == NULL);
	proxy_free(p);
}

TEST(no_message_has_a_password)
{
	static const char *const urls[] = {
		"http://me:" SECRET "@proxy.example:3128", "gopher://me:" SECRET "@proxy.example",
		"http://me:" SECRET "@proxy.example:port", "http://me:" SECRET "@",
		"http://me:" SECRET " @proxy.example",
	};
	static const long codes[] = {0, 200, 407, 502};
	char text[400];

	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		struct proxy *p = proxy_parse(urls[i], NULL);

		CHECK((p->url != NULL) == (i == 0));
		CHECK(strstr(p->where, SECRET) == NULL);
		for (size_t j = 0; j < ARRAY_LEN(codes); j++) {
			proxy_explain(p, codes[j], "reset", text, sizeof(text));
			CHECK(strstr(text, SECRET) == NULL);
			CHECK(strstr(text, "proxy") != NULL);
		}
		proxy_free(p);
	}
}

TEST(exceptions_are_names_addresses_and_prefixes)
{
	static const char list[] = "localhost, .acme.example,10.77.0.0/24 fd77::1,other.example";
	static const struct {
		const char *host;
		bool excepted;
	} cases[] = {
		{"localhost", true},    {"ctl.acme.example", true}, {"CTL.Acme.Example", true},
		{"acme.example", true}, {"notacme.example", false}, {"acme.example.org", false},
		{"10.77.0.31", true},   {"10.77.1.31", false},      {"fd77::1", true},
		{"[fd77::1]", true},    {"fd77::2", false},         {"", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		CHECK_INT(proxy_is_exception(list, cases[i].host), cases[i].excepted);
	CHECK(proxy_is_exception("*", "anything.example"));
	CHECK(!proxy_is_exception(NULL, "anything.example"));
	CHECK(!proxy_is_exception(" ,, ", "anything.example"));
}
