/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Heads: what is accepted is within the limits, can be written, and reads back as the same. */
#include "tests/fuzz/fuzz.h"

#include "base/mem.h"
#include "controller-client/head.h"
#include "controller-client/static_path.h"
#include "controller-client/view_decode.h"
#include "rules/policy_grammar.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void check_overlay(const struct overlay *o)
{
	must(o->quarantined_count <= HEAD_ENTRIES_MAX && o->revoked_count <= HEAD_ENTRIES_MAX &&
	     o->grant_count <= HEAD_ENTRIES_MAX);
	for (size_t i = 0; i < o->quarantined_count; i++) {
		const struct overlay_quarantine *q = &o->quarantined[i];

		must(path_fault(q->identity, "") == NULL && q->reason != NULL && q->from_head);
		must(q->keep == NULL || name_fault(q->keep) == NULL);
	}
	for (size_t i = 0; i < o->revoked_count; i++) {
		must(o->revoked[i].name[0] != '\0' && o->revoked[i].reason != NULL);
		must(o->revoked[i].kind != REVOKED_CONDUIT && o->revoked[i].from_head);
	}
	for (size_t i = 0; i < o->grant_count; i++) {
		const struct overlay_grant *g = &o->grants[i];

		must(name_fault(g->rule) == NULL && g->who != NULL && g->from_head);
		must(path_fault(g->from, "") == NULL && path_fault(g->to, "") == NULL);
	}
}

static void check(const struct head *h)
{
	must(h->sequence >= 1 && h->sequence <= INT64_MAX && h->expires.s > h->issued.s);
	must(node_name_ok(h->node) && h->trust_domain[0] != '\0');
	must(h->stable.revision >= 1 && sha256_hex_ok(h->stable.sha256));
	must(h->candidate.revision == 0 || sha256_hex_ok(h->candidate.sha256));
	must(sha256_hex_ok(h->view_sha256));
	must(h->view_size >= 1 && h->view_size <= VIEW_DOCUMENT_MAX);
	check_overlay(&h->overlay);
}

static void write_and_read(const struct head *h)
{
	CLEANUP(head_done) struct head back = {0};
	CLEANUP(freep) char *first = NULL;
	CLEANUP(freep) char *second = NULL;
	size_t first_len = 0, second_len = 0;

	/* Written without spaces it is not longer than it was. */
	must(head_encode(h, &first, &first_len, NULL) == 0);
	must(head_decode((const uint8_t *)first, first_len, &back, NULL) == 0);
	must(head_encode(&back, &second, &second_len, NULL) == 0);
	must(first_len == second_len && memcmp(first, second, first_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(head_done) struct head h = {0};
	struct err err = {0};

	if (head_decode(data, size, &h, &err) < 0) {
		must(h.node == NULL && h.overlay.revoked == NULL && err.text[0] != '\0');
		return 0;
	}
	check(&h);
	write_and_read(&h);
	return 0;
}
