/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Manifests: what is accepted is within the limits, can be written, and reads back as the same.
 */
#include "tests/fuzz/fuzz.h"

#include "base/mem.h"
#include "controller-client/manifest.h"
#include "controller-client/static_path.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void check(const struct manifest *m)
{
	must(m->revision >= 1 && m->revision <= INT64_MAX && m->rollback_floor <= m->revision);
	must(m->expires.s > m->issued.s && m->trust_domain[0] != '\0');
	must(m->policy_count >= 1 && m->policy_count <= MANIFEST_BLOBS_MAX);
	for (size_t i = 0; i < m->policy_count; i++) {
		const struct blob_ref *blob = &m->policy[i];

		must(blob->size >= 1 && blob->size <= MANIFEST_BLOB_SIZE_MAX);
		must(sha256_hex_ok(blob->sha256));
		must(blob->name[0] != '\0' && blob->name[0] != '.');
		must(strchr(blob->name, '/') == NULL && strlen(blob->name) < MANIFEST_NAME_MAX);
	}
	for (size_t i = 0; i < m->revoked_node_count; i++)
		must(node_name_ok(m->revoked_nodes[i]));
	must(m->requires_count <= MANIFEST_REQUIRES_MAX);
}

static void write_and_read(const struct manifest *m)
{
	CLEANUP(manifest_done) struct manifest back = {0};
	CLEANUP(freep) char *first = NULL;
	CLEANUP(freep) char *second = NULL;
	size_t first_len = 0, second_len = 0;

	/* Written without spaces it is not longer than it was. */
	must(manifest_encode(m, &first, &first_len, NULL) == 0);
	must(manifest_decode((const uint8_t *)first, first_len, &back, NULL) == 0);
	must(manifest_encode(&back, &second, &second_len, NULL) == 0);
	must(first_len == second_len && memcmp(first, second, first_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(manifest_done) struct manifest m = {0};
	struct err err = {0};

	if (manifest_decode(data, size, &m, &err) < 0) {
		must(m.trust_domain == NULL && m.policy == NULL && err.text[0] != '\0');
		return 0;
	}
	check(&m);
	write_and_read(&m);
	return 0;
}
