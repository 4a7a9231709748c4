/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signed documents carried by hand: a tar (also gzipped) of the static layout, or such a directory
 * (controller-client/static_path.h). Nothing is verified here, the agent does that; but what is
 * read is only what a document can be: regular files with a document's name, each once, bounded.
 * A link, a device, a foreign file or a name with ".." refuses the whole archive.
 */
#pragma once

#include "base/err.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define ARCHIVE_ENTRIES_MAX  200000
#define ARCHIVE_TOTAL_MAX    (512U << 20) /* unpacked */
#define ARCHIVE_DOCUMENT_MAX (64U << 20)
/* What fits one request to the agent, as base64 with names around it. */
#define ARCHIVE_SENT_MAX       (46U << 20)
#define ARCHIVE_SENT_COUNT_MAX 4096

struct archive_document {
	char *name; /* "v1/heads/pay-1.dsse.json" */
	uint8_t *bytes;
	size_t len;
};

struct archive_documents {
	struct archive_document *items;
	size_t count, cap;
	uint64_t total;
};
void archive_documents_done(struct archive_documents *d);

/* -EBADMSG for what no archive of documents has in it; -E2BIG; -errno. */
int archive_documents_read(const char *path, struct archive_documents *ret, struct err *err);

/*
 * {documents: [{name, data}]} of what this node needs: its head, the manifests and the view that it
 * names and their blobs; a fleet's export would not fit. An archive that cannot be followed so far
 * goes whole, since it is the agent who says what is wrong with it. node may be NULL.
 */
int archive_request(const struct archive_documents *d, const char *node, json_t **ret,
		    struct err *err);
