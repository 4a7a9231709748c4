/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Names of documents, as URL paths and in the static export, which are the same: v1/head (long poll
 * only), v1/heads/NODE.dsse.json, v1/manifests/REVISION, v1/blobs/sha256/HEX. Parsing is strict:
 * no dots, no escapes, no second slash gets through.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATIC_PATH_MAX 160

/* buf has room for STATIC_PATH_MAX; returns buf. Without a leading slash. */
const char *static_path_head(char *buf, const char *node);
const char *static_path_manifest(char *buf, uint64_t revision);
const char *static_path_blob(char *buf, const char *sha256_hex);

enum static_kind { STATIC_HEAD, STATIC_MANIFEST, STATIC_BLOB };
struct static_name {
	enum static_kind kind;
	char node[64];
	uint64_t revision;
	char sha256[65];
};
/*
 * "v1/blobs/sha256/HEX", also without "v1/", with one leading "/" or "./" (archives). -EINVAL when
 * it is no document's name.
 */
int static_path_parse(const char *path, struct static_name *ret);
bool sha256_hex_ok(const char *text); /* 64 lower-case hex digits */
