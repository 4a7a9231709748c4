/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A node that takes documents, on a disk of its own (test_dir()), and a carrier that writes down
 * what it is asked for. Whatever should not fail fails the test.
 */
#pragma once

#include "agent/documents.h"
#include "agent/intake.h"
#include "base/mem.h"
#include "tests/unit/document_fixture.h"

#define POLICY_TEXT "{\"trust_domain\": \"acme.example\"}"
#define WANTS_MAX   64
#define S           1000000000LL

struct carrier {
	struct document_source source;
	struct intake *in; /* answers at once when this is set */
	char wants[WANTS_MAX][96];
	size_t count;
	const char *manifest, *policy, *view; /* its stock; NULL = it has none */
	struct mono now;
};

struct node {
	struct document_fixture keys;
	struct document_store *store;
	struct intake in;
	struct carrier carrier;
	struct intake_force force;
	struct mono now;
	char *manifest, *view; /* as the newest head names them */
};

struct wall wall(void); /* FIXTURE_NOW */

void node_open(struct node *n); /* as a start, with what is on disk */
void node_close(struct node *n);
void node_setup(struct node *n);
void node_done(struct node *n);
#define NODE(name) CLEANUP(node_done) struct node name

/* The manifest of a revision, with one blob: POLICY_TEXT. */
void make_manifest_floor(struct node *n, unsigned long revision, unsigned long floor);
void make_manifest(struct node *n, unsigned long revision);
void make_view(struct node *n, unsigned long sequence);
/* All that a node gets of one revision and view. */
void make_all(struct node *n, unsigned long number);
/* A head that names them, as text; caller frees. */
char *head_text(struct node *n, unsigned long sequence, unsigned long revision, bool urgent);
/* Offers it; what it says of overlay is looked at and forgotten. */
int offer(struct node *n, unsigned long sequence, unsigned long revision, bool urgent);
void give_manifest(struct node *n, unsigned long revision);
void give_blob(struct node *n, const char *bytes);

/* Of the trouble with a document; "" when there is none. */
const char *code_of(const struct node *n, const char *document);
/* The next start: what intake_head_stored() says. */
int reload(struct node *n, bool *trusted);
