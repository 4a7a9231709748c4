/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller/route.h"

#include "base/mem.h"
#include "base/text.h"
#include "tests/unit/test.h"

#include <string.h>

#define DIGEST "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void check_found(const char *method, const char *path, enum route route, const char *arg)
{
	struct route_match m;

	CHECK_INT(route_find(method, path, false, &m), ROUTE_FOUND);
	CHECK_INT(m.route, route);
	CHECK_STR(m.arg, arg);
}

TEST(each_path_has_its_route)
{
	check_found("GET", "/v1/head", ROUTE_HEAD, "");
	check_found("HEAD", "/v1/head", ROUTE_HEAD, "");
	check_found("GET", "/v1/manifests/12", ROUTE_MANIFEST, "12");
	check_found("GET", "/v1/blobs/sha256/" DIGEST, ROUTE_BLOB, DIGEST);
	check_found("POST", "/v1/status", ROUTE_STATUS, "");
	check_found("POST", "/.well-known/est/simpleenroll", ROUTE_ENROLL, "");
	check_found("POST", "/.well-known/est/courier/simpleenroll", ROUTE_COURIER_ENROLL, "");
	check_found("GET", "/v1/operator/status", ROUTE_OP_STATUS, "");
	check_found("POST", "/v1/operator/nodes/pay-1/ban", ROUTE_OP_BAN, "pay-1");
	check_found("GET", "/v1/operator/evidence/7", ROUTE_OP_EVIDENCE, "7");
}

TEST(there_is_one_way_to_write_a_path)
{
	static const char *const wrong[] = {
		"/",
		"",
		"v1/head",
		"/v1/head/",
		"//v1/head",
		"/v1//head",
		"/v1/./head",
		"/v1/x/../head",
		"/v1/%68ead",
		"/V1/head",
		"/v1/manifests/",
		"/v1/manifests/12/",
		"/v1/manifests/1%32",
		"/v1/manifests/12/../13",
		"/v1/manifests/a b",
		"/v1/blobs/sha256/../../etc/passwd",
		"/v1/operator/nodes/a/b/ban",
		"/v1/operator/nodes/'; DROP TABLE nodes; --/ban",
		"https://host/v1/head",
		"/healthz",
		"/metrics",
		("/v1/manifests/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
	};
	struct route_match m;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		if (route_find("GET", wrong[i], false, &m) != ROUTE_UNKNOWN)
			test_fail(__FILE__, __LINE__, "'%s' has a route", wrong[i]);
	}
}

TEST(another_method_is_told_which_is_right)
{
	struct route_match m;

	CHECK_INT(route_find("POST", "/v1/head", false, &m), ROUTE_METHOD);
	CHECK_STR(route_allow(m.route), "GET, HEAD");
	CHECK_INT(route_find("DELETE", "/v1/status", false, &m), ROUTE_METHOD);
	CHECK_STR(route_allow(m.route), "POST");
	CHECK_INT(route_find("get", "/v1/head", false, &m), ROUTE_METHOD);
	CHECK_INT(route_find("HEAD", "/v1/status", false, &m), ROUTE_METHOD);
}

TEST(admin_paths_are_on_the_admin_listener_only)
{
	struct route_match m;

	CHECK_INT(route_find("GET", "/metrics", true, &m), ROUTE_FOUND);
	CHECK_INT(route_find("GET", "/metrics", false, &m), ROUTE_UNKNOWN);
	CHECK_INT(route_find("GET", "/v1/trust", true, &m), ROUTE_UNKNOWN);
	CHECK_INT(route_find("GET", "/v1/operator/status", true, &m), ROUTE_UNKNOWN);
}

TEST(every_operator_path_needs_an_operator_and_every_body_has_a_limit)
{
	for (size_t i = 0; i < ROUTE_COUNT; i++) {
		const struct route_info *info = route_info((enum route)i);

		CHECK(info->path != NULL && info->name != NULL);
		CHECK_INT(str_starts(info->path, "/v1/operator/"), info->need == ROUTE_OPERATOR);
		CHECK_INT(info->post, info->body_max > 0);
	}
}
