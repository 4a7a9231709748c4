/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/static_path.h"

#include "base/text.h"
#include "rules/view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define VERSION   "v1/"
#define HEADS     "heads/"
#define MANIFESTS "manifests/"
#define BLOBS     "blobs/sha256/"
#define SUFFIX    ".dsse.json"
#define HEX_LEN   64

const char *static_path_head(char *buf, const char *node)
{
	(void)snprintf(buf, STATIC_PATH_MAX, VERSION HEADS "%s" SUFFIX, node);
	return buf;
}

const char *static_path_manifest(char *buf, uint64_t revision)
{
	(void)snprintf(buf, STATIC_PATH_MAX, VERSION MANIFESTS "%" PRIu64, revision);
	return buf;
}

const char *static_path_blob(char *buf, const char *sha256_hex)
{
	(void)snprintf(buf, STATIC_PATH_MAX, VERSION BLOBS "%s", sha256_hex);
	return buf;
}

bool sha256_hex_ok(const char *text)
{
	return strnlen(text, HEX_LEN + 1) == HEX_LEN && strspn(text, "0123456789abcdef") == HEX_LEN;
}

/* Without SUFFIX, or whole where it has none and that is allowed. */
static bool stem(const char *name, bool may_lack, char *buf, size_t size)
{
	size_t len = strlen(name);

	if (str_ends(name, SUFFIX))
		len -= strlen(SUFFIX);
	else if (!may_lack)
		return false;
	if (len == 0 || len >= size)
		return false;
	memcpy(buf, name, len);
	buf[len] = '\0';
	return true;
}

static int parse_head(const char *name, struct static_name *ret)
{
	ret->kind = STATIC_HEAD;
	return stem(name, false, ret->node, sizeof(ret->node)) && node_name_ok(ret->node) ? 0
											  : -EINVAL;
}

static int parse_manifest(const char *name, struct static_name *ret)
{
	char digits[24];

	ret->kind = STATIC_MANIFEST;
	if (!stem(name, true, digits, sizeof(digits)))
		return -EINVAL;
	return text_u64(digits, 1, INT64_MAX, &ret->revision) < 0 ? -EINVAL : 0;
}

static int parse_blob(const char *name, struct static_name *ret)
{
	ret->kind = STATIC_BLOB;
	if (!sha256_hex_ok(name))
		return -EINVAL;
	memcpy(ret->sha256, name, HEX_LEN + 1);
	return 0;
}

int static_path_parse(const char *path, struct static_name *ret)
{
	struct static_name name = {0};
	int r = -EINVAL;

	if (str_starts(path, "./"))
		path += 2;
	else if (path[0] == '/')
		path++;
	if (str_starts(path, VERSION))
		path += strlen(VERSION);
	if (str_starts(path, HEADS))
		r = parse_head(path + strlen(HEADS), &name);
	else if (str_starts(path, MANIFESTS))
		r = parse_manifest(path + strlen(MANIFESTS), &name);
	else if (str_starts(path, BLOBS))
		r = parse_blob(path + strlen(BLOBS), &name);
	if (r == 0)
		*ret = name;
	return r;
}
