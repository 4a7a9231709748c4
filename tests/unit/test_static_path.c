/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/static_path.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

TEST(what_is_written_is_parsed)
{
	char buf[STATIC_PATH_MAX], node[64];
	struct static_name n;

	CHECK_STR(static_path_head(buf, "pay-1"), "v1/heads/pay-1.dsse.json");
	CHECK_INT(static_path_parse(buf, &n), 0);
	CHECK_INT(n.kind, STATIC_HEAD);
	CHECK_STR(n.node, "pay-1");
	CHECK_STR(static_path_manifest(buf, 12), "v1/manifests/12");
	CHECK_INT(static_path_parse(buf, &n), 0);
	CHECK_INT(n.kind, STATIC_MANIFEST);
	CHECK_UINT(n.revision, 12);
	CHECK_STR(static_path_manifest(buf, INT64_MAX), "v1/manifests/9223372036854775807");
	CHECK_INT(static_path_parse(buf, &n), 0);
	CHECK_UINT(n.revision, INT64_MAX);
	CHECK_STR(static_path_blob(buf, HEX), "v1/blobs/sha256/" HEX);
	CHECK_INT(static_path_parse(buf, &n), 0);
	CHECK_INT(n.kind, STATIC_BLOB);
	CHECK_STR(n.sha256, HEX);

	memset(node, 'n', 63);
	node[63] = '\0';
	CHECK_INT(static_path_parse(static_path_head(buf, node), &n), 0);
	CHECK_STR(n.node, node);
}

TEST(prefixes_of_urls_and_archives)
{
	static const char *const good[] = {
		"v1/manifests/7",        "/v1/manifests/7",
		"./v1/manifests/7",      "manifests/7",
		"/manifests/7",          "./manifests/7",
		"manifests/7.dsse.json", "/v1/manifests/7.dsse.json",
	};
	struct static_name n;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		CHECK_INT(static_path_parse(good[i], &n), 0);
		CHECK_INT(n.kind, STATIC_MANIFEST);
		CHECK_UINT(n.revision, 7);
	}
	/* Dots are letters of a node's name; they climb nowhere, being no path component. */
	CHECK_INT(static_path_parse("heads/...dsse.json", &n), 0);
	CHECK_STR(n.node, "..");
}

TEST(path_tricks_are_refused)
{
	static const char *const wrong[] = {
		"",
		"/",
		".",
		"./",
		"..",
		"v1",
		"v1/",
		"v1/head",
		"v2/manifests/7",
		"//manifests/7",
		".//manifests/7",
		"././manifests/7",
		"/./manifests/7",
		"./../manifests/7",
		"../manifests/7",
		"v1/../manifests/7",
		"v1//manifests/7",
		"v1/v1/manifests/7",
		"v1/manifests//7",
		"v1/manifests/",
		"v1/manifests/0",
		"v1/manifests/07",
		"v1/manifests/+7",
		"v1/manifests/-7",
		"v1/manifests/ 7",
		"v1/manifests/7 ",
		"v1/manifests/7/",
		"v1/manifests/7.json",
		"v1/manifests/.dsse.json",
		"v1/manifests/7.dsse.json.dsse.json",
		"v1/manifests/9223372036854775808",
		"v1/manifests/99999999999999999999999999999999",
		"v1/manifests/7?x=1",
		"v1/manifests/7#x",
		"v1/manifests/%37",
		"V1/manifests/7",
		"v1/Manifests/7",
		"v1/heads/pay-1",
		"v1/heads/.dsse.json",
		"v1/heads/pay-1.dsse.jsonx",
		"v1/heads/../pay-1.dsse.json",
		"v1/heads/%2e%2e.dsse.json",
		"v1/heads/a/b.dsse.json",
		"v1/heads//etc/passwd.dsse.json",
		"v1/heads/a\\b.dsse.json",
		"v1/heads/a b.dsse.json",
		"v1/heads/p\xc3\xa4y.dsse.json",
		"v1/heads/"
		"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn.dsse.json",
		"v1/blobs/" HEX,
		"v1/blobs/sha256/",
		"v1/blobs/sha256//" HEX,
		"v1/blobs/sha256/" HEX "/",
		"v1/blobs/sha256/" HEX "0",
		"v1/blobs/sha256/../sha256/" HEX,
		"v1/blobs/sha512/" HEX,
		"v1/blobs/sha256/0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
		"v1/blobs/sha256/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdeg",
		"v1/blobs/sha256/0123456789abcdef",
	};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct static_name n = {.revision = 99}, before = n;

		if (static_path_parse(wrong[i], &n) != -EINVAL)
			test_fail(__FILE__, __LINE__, "%s is taken for a name", wrong[i]);
		CHECK_MEM(&n, &before, sizeof(n));
	}
}

TEST(every_truncation_of_a_name_is_another_or_none)
{
	static const char whole[] = "/v1/blobs/sha256/" HEX;
	struct static_name n;
	char cut[sizeof(whole)];

	for (size_t len = 0; len + 1 < sizeof(whole); len++) {
		memcpy(cut, whole, len);
		cut[len] = '\0';
		CHECK_INT(static_path_parse(cut, &n), -EINVAL);
	}
}

TEST(digests_in_lower_case_only)
{
	CHECK(sha256_hex_ok(HEX));
	CHECK(!sha256_hex_ok(""));
	CHECK(!sha256_hex_ok(HEX "0"));
	CHECK(!sha256_hex_ok("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"));
	CHECK(!sha256_hex_ok("0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF"));
	CHECK(!sha256_hex_ok("0x23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"));
}
