/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules/service.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <netinet/in.h>

TEST(service_grammar)
{
	static const struct {
		const char *text;
		uint8_t kind, l4proto, icmp_type;
		uint16_t first, last;
	} cases[] = {
		{"tcp/443", SERVICE_TCP, IPPROTO_TCP, 0, 443, 443},
		{"tcp/1", SERVICE_TCP, IPPROTO_TCP, 0, 1, 1},
		{"udp/65535", SERVICE_UDP, IPPROTO_UDP, 0, 65535, 65535},
		{"udp/5000-5010", SERVICE_UDP, IPPROTO_UDP, 0, 5000, 5010},
		{"tcp/any", SERVICE_TCP, IPPROTO_TCP, 0, 0, 65535},
		{"icmp/echo", SERVICE_ICMP_ECHO, IPPROTO_ICMP, 8, 0, 0},
		{"icmpv6/echo", SERVICE_ICMPV6_ECHO, IPPROTO_ICMPV6, 128, 0, 0},
	};
	char buf[SERVICE_TEXT_MAX];
	struct service s;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CHECK_INT(service_parse(cases[i].text, &s), 0);
		CHECK_UINT(s.kind, cases[i].kind);
		CHECK_UINT(s.first, cases[i].first);
		CHECK_UINT(s.last, cases[i].last);
		CHECK_UINT(service_l4proto(&s), cases[i].l4proto);
		CHECK_UINT(service_icmp_type(&s), cases[i].icmp_type);
		CHECK_STR(service_format(buf, &s), cases[i].text);
	}
}

TEST(service_refuses_what_is_none)
{
	static const char *const wrong[] = {
		"",          "tcp",          "tcp/",        "tcp/0",     "tcp/65536", "tcp/-1",
		"tcp/1-",    "tcp/-",        "tcp/2-1",     "tcp/1-1",   "tcp/01",    "tcp/ 1",
		"tcp/1 ",    "tcp/1-2-3",    "tcp/1,2",     "TCP/1",     "sctp/1",    "icmp/any",
		"icmp/8",    "icmpv6/",      "echo",        "tcp/echo",  "any",       "443",
		"tcp/any-1", "tcp/99999999", "tcp/1-70000", "tcp/0-100", "tcp/https", "udp/1\n",
	};
	struct service s = {.kind = 77};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		if (service_parse(wrong[i], &s) != -EINVAL)
			test_fail(__FILE__, __LINE__, "\"%s\" was accepted", wrong[i]);
	}
	CHECK_UINT(s.kind, 77);
}

static struct service parsed(const char *text)
{
	struct service s = {0};

	CHECK_INT(service_parse(text, &s), 0);
	return s;
}

TEST(service_relations)
{
	struct service any = parsed("tcp/any"), range = parsed("tcp/10-20"), one = parsed("tcp/20");
	struct service udp = parsed("udp/20"), echo = parsed("icmp/echo");
	struct service echo6 = parsed("icmpv6/echo");

	CHECK(service_is_any(&any) && !service_is_any(&range) && !service_is_any(&echo));
	CHECK(service_is_echo(&echo) && service_is_echo(&echo6) && !service_is_echo(&one));
	CHECK(service_covers(&any, &range) && service_covers(&range, &one));
	CHECK(!service_covers(&one, &range) && !service_covers(&range, &udp));
	CHECK(service_covers(&echo, &echo) && !service_covers(&echo, &echo6));
	CHECK(service_overlaps(&one, &range) && service_overlaps(&range, &any));
	CHECK(!service_overlaps(&one, &udp) && !service_overlaps(&echo, &any));
	CHECK_INT(service_cmp(&one, &one), 0);
	CHECK_INT(service_cmp(&any, &range), -1);
	CHECK_INT(service_cmp(&one, &range), 1);
	CHECK_INT(service_cmp(&one, &udp), -1);
}
