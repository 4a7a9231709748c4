/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/intake_fixture.h"

#include "base/mem.h"
#include "tests/unit/test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- a carrier that writes down what it is asked for ---------------------------------------- */

struct wall wall(void)
{
	return (struct wall){FIXTURE_NOW};
}

static void want_manifest(void *user, uint64_t revision, size_t max)
{
	struct carrier *c = user;

	CHECK(c->count < WANTS_MAX);
	CHECK_UINT(max, DSSE_ENVELOPE_MAX);
	(void)snprintf(c->wants[c->count++], sizeof(c->wants[0]), "manifest %" PRIu64, revision);
	if (c->in && c->manifest)
		intake_manifest(c->in, revision, c->manifest, strlen(c->manifest), wall(), c->now);
}

static void want_blob(void *user, const char *sha256, uint64_t size)
{
	struct carrier *c = user;
	const char *stock[] = {c->policy, c->view};
	char digest[SHA256_HEX_LEN];

	(void)size;
	CHECK(c->count < WANTS_MAX);
	(void)snprintf(c->wants[c->count++], sizeof(c->wants[0]), "blob %s", sha256);
	for (size_t i = 0; c->in && i < ARRAY_LEN(stock); i++) {
		if (!stock[i])
			continue;
		CHECK_INT(document_digest(stock[i], strlen(stock[i]), digest), 0);
		if (strcmp(digest, sha256) == 0)
			intake_blob(c->in, sha256, stock[i], strlen(stock[i]), wall(), c->now);
	}
}

/* --- a node --------------------------------------------------------------------------------- */

void node_open(struct node *n)
{
	struct err err = {{0}};

	CHECK_OK(document_store_open(test_dir(), true, &n->store, &err), &err);
	CHECK_OK(intake_init(&n->in, &n->keys.context, n->store, &err), &err);
	intake_set_source(&n->in, &n->carrier.source, n->now);
}

void node_close(struct node *n)
{
	intake_done(&n->in);
	document_store_free(TAKE_PTR(n->store));
}

void node_setup(struct node *n)
{
	memset(n, 0, sizeof(*n));
	document_fixture_setup(&n->keys);
	n->now.ns = 1000 * S;
	n->carrier.source = (struct document_source){.name = "test",
						     .want_manifest = want_manifest,
						     .want_blob = want_blob,
						     .user = &n->carrier};
	n->carrier.now = n->now;
	node_open(n);
}

void node_done(struct node *n)
{
	node_close(n);
	document_fixture_done(&n->keys);
	free(n->manifest);
	free(n->view);
}

/* The manifest of a revision, with one blob: POLICY_TEXT. */
void make_manifest_floor(struct node *n, unsigned long revision, unsigned long floor)
{
	char digest[SHA256_HEX_LEN], member[200];
	char *text = document_manifest_text(revision, floor);

	CHECK_INT(document_digest(POLICY_TEXT, strlen(POLICY_TEXT), digest), 0);
	(void)snprintf(member, sizeof(member), "\"sha256\": \"%s\", \"size\": %zu", digest,
		       strlen(POLICY_TEXT));
	text = document_replace(text,
				"\"sha256\": "
				"\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"
				"f\", \"size\": 1234",
				member);
	free(n->manifest);
	n->manifest = document_sign(DSSE_TYPE_MANIFEST, text, &n->keys.policy);
	free(text);
}

void make_manifest(struct node *n, unsigned long revision)
{
	make_manifest_floor(n, revision, 0);
}

void make_view(struct node *n, unsigned long sequence)
{
	free(n->view);
	n->view = mem_printf("{\"version\": 1, \"node\": \"pay-1\", \"sequence\": %lu, "
			     "\"placed\": [], \"peers\": [], \"nodes\": [], \"devices\": []}",
			     sequence);
	CHECK(n->view != NULL);
}

/* A head that names them, as text; caller frees. */
char *head_text(struct node *n, unsigned long sequence, unsigned long revision, bool urgent)
{
	char manifest[SHA256_HEX_LEN], view[SHA256_HEX_LEN];
	CLEANUP(freep) char *text = NULL;

	CHECK_INT(document_digest(n->manifest, strlen(n->manifest), manifest), 0);
	CHECK_INT(document_digest(n->view, strlen(n->view), view), 0);
	text = mem_printf(
		"{\"version\": 1, \"trust_domain\": \"acme.example\", \"node\": \"pay-1\","
		" \"sequence\": %lu, \"issued\": \"2027-01-15T00:00:00Z\","
		" \"expires\": \"2027-01-16T00:00:00Z\", \"urgent\": %s,"
		" \"stable\": {\"revision\": %lu, \"sha256\": \"%s\"}, \"candidate\": null,"
		" \"view\": {\"sha256\": \"%s\", \"size\": %zu, \"sequence\": %lu},"
		" \"quarantine\": [{\"identity\": \"prod/a\", \"reason\": \"r\"}],"
		" \"revoked\": [], \"grants\": []}",
		sequence, urgent ? "true" : "false", revision, manifest, view, strlen(n->view),
		sequence);
	CHECK(text != NULL);
	return document_sign(DSSE_TYPE_HEAD, text, &n->keys.controller);
}

/* Offers it; what it says of overlay is looked at and forgotten. */
int offer(struct node *n, unsigned long sequence, unsigned long revision, bool urgent)
{
	CLEANUP(freep) char *text = head_text(n, sequence, revision, urgent);
	struct overlay overlay = {0};
	struct err err = {{0}};
	int r = intake_head(&n->in, text, strlen(text), &n->force, wall(), n->now, &overlay, &err);

	CHECK_UINT(overlay.quarantined_count, r == 1 ? 1 : 0);
	overlay_done(&overlay);
	intake_step(&n->in, wall(), n->now);
	return r;
}

/* All that a node gets of one revision and view. */
void make_all(struct node *n, unsigned long number)
{
	make_manifest(n, number);
	make_view(n, number);
}

void give_manifest(struct node *n, unsigned long revision)
{
	intake_manifest(&n->in, revision, n->manifest, strlen(n->manifest), wall(), n->now);
}

void give_blob(struct node *n, const char *bytes)
{
	char digest[SHA256_HEX_LEN];

	CHECK_INT(document_digest(bytes, strlen(bytes), digest), 0);
	intake_blob(&n->in, digest, bytes, strlen(bytes), wall(), n->now);
}

const char *code_of(const struct node *n, const char *document)
{
	for (size_t i = 0; i < n->in.trouble_count; i++) {
		if (strcmp(n->in.troubles[i].document, document) == 0)
			return n->in.troubles[i].code;
	}
	return "";
}

/* --- restarts ------------------------------------------------------------------------------- */

int reload(struct node *n, bool *trusted)
{
	struct overlay overlay = {0};
	struct err err = {{0}};
	int r;

	node_close(n);
	node_open(n);
	n->carrier.count = 0;
	r = intake_head_stored(&n->in, &n->force, wall(), n->now, &overlay, trusted, &err);
	if (r >= 0)
		CHECK_UINT(overlay.quarantined_count, 1);
	overlay_done(&overlay);
	intake_step(&n->in, wall(), n->now);
	return r;
}
