/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/intake.h"

#include "base/file.h"
#include "base/mem.h"
#include "tests/unit/intake_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* --- the usual way -------------------------------------------------------------------------- */

TEST(intake_asks_for_what_a_head_names_and_is_ready_with_all_of_it)
{
	NODE(n);

	node_setup(&n);
	make_all(&n, 3);
	CHECK_INT(offer(&n, 3, 3, false), 1);
	CHECK_UINT(n.carrier.count, 2);
	CHECK_CONTAINS(n.carrier.wants[0], "blob ");
	CHECK_STR(n.carrier.wants[1], "manifest 3");
	give_manifest(&n, 3);
	CHECK_UINT(n.carrier.count, 3);
	CHECK_INT(n.in.policy, PART_WANTED);
	give_blob(&n, POLICY_TEXT);
	CHECK_INT(n.in.policy, PART_READY);
	CHECK_UINT(n.in.texts.file_count, 1);
	CHECK_STR(n.in.texts.files[0].text, POLICY_TEXT);
	CHECK_INT(n.in.view, PART_WANTED);
	give_blob(&n, n.view);
	CHECK_INT(n.in.view, PART_READY);
	CHECK_UINT(n.in.view_decoded->sequence, 3);
	CHECK(!intake_settled(&n.in));
	CHECK_UINT(n.in.known.highest_revision, 3);
	CHECK_UINT(n.in.known.view_sequence, 3);
	/* Nothing is asked twice. */
	intake_step(&n.in, wall(), n.now);
	CHECK_UINT(n.carrier.count, 3);
}

TEST(intake_takes_answers_that_come_before_the_question_returns)
{
	NODE(n);

	node_setup(&n);
	make_all(&n, 3);
	n.carrier.in = &n.in;
	n.carrier.manifest = n.manifest;
	n.carrier.policy = POLICY_TEXT;
	n.carrier.view = n.view;
	CHECK_INT(offer(&n, 3, 3, false), 1);
	CHECK_INT(n.in.policy, PART_READY);
	CHECK_INT(n.in.view, PART_READY);
}

TEST(intake_lets_a_newer_head_take_over_in_the_middle)
{
	CLEANUP(freep) char *old = NULL;
	NODE(n);

	node_setup(&n);
	make_all(&n, 3);
	CHECK_INT(offer(&n, 3, 3, false), 1);
	old = TAKE_PTR(n.manifest);
	make_all(&n, 4);
	CHECK_INT(offer(&n, 4, 4, false), 1);
	CHECK_STR(n.carrier.wants[n.carrier.count - 1], "manifest 4");
	/* The late answer is of no use and does no harm. */
	intake_manifest(&n.in, 3, old, strlen(old), wall(), n.now);
	CHECK_UINT(n.in.trouble_count, 0);
	CHECK(!n.in.manifest_want.here);
	give_manifest(&n, 4);
	give_blob(&n, POLICY_TEXT);
	CHECK_INT(n.in.policy, PART_READY);
	CHECK_UINT(n.in.manifest.revision, 4);
}

TEST(intake_keeps_what_a_newer_head_names_again)
{
	NODE(n);
	size_t before;

	node_setup(&n);
	make_all(&n, 3);
	CHECK_INT(offer(&n, 3, 3, false), 1);
	give_manifest(&n, 3);
	before = n.carrier.count;
	make_view(&n, 4);
	CHECK_INT(offer(&n, 4, 3, false), 1);
	/* Only the view is new; the blob on its way is still waited for. */
	CHECK_UINT(n.carrier.count, before + 1);
	give_blob(&n, POLICY_TEXT);
	CHECK_INT(n.in.policy, PART_READY);
}

TEST(intake_asks_for_nothing_that_is_in_force)
{
	char manifest[SHA256_HEX_LEN], view[SHA256_HEX_LEN];
	NODE(n);

	node_setup(&n);
	make_all(&n, 3);
	CHECK_INT(document_digest(n.manifest, strlen(n.manifest), manifest), 0);
	CHECK_INT(document_digest(n.view, strlen(n.view), view), 0);
	n.force = (struct intake_force){.manifest = manifest, .manifest_revision = 3, .view = view};
	CHECK_INT(offer(&n, 3, 3, false), 1);
	CHECK_UINT(n.carrier.count, 0);
	CHECK(intake_settled(&n.in));
	/* Under another revision's number it is a lie of the head. */
	CHECK_INT(offer(&n, 4, 5, false), 1);
	CHECK_INT(n.in.policy, PART_REFUSED);
	CHECK_STR(code_of(&n, "manifest"), "mix_and_match");
	CHECK_INT(offer(&n, 5, 3, false), 1);
	CHECK_INT(n.in.policy, PART_TAKEN);
	CHECK_STR(code_of(&n, "manifest"), "");
}

/* --- when it is asked ----------------------------------------------------------------------- */

TEST(intake_waits_its_turn_unless_it_is_urgent)
{
	NODE(n);
	int64_t waited;

	node_setup(&n);
	n.carrier.source.splay = true;
	n.force.manifest = "of an earlier one";
	make_all(&n, 3);
	CHECK_INT(offer(&n, 3, 3, false), 1);
	waited = n.in.splay_until.ns - n.now.ns;
	CHECK(waited >= 0 && waited < DOCUMENTS_SPLAY_S * S);
	CHECK_UINT(n.carrier.count, 0);
	/* A head that follows does not begin the wait again. */
	n.now.ns += waited / 2;
	make_view(&n, 4);
	CHECK_INT(offer(&n, 4, 3, false), 1);
	CHECK(n.in.splay_until.ns <= 1000 * S + waited);
	make_view(&n, 5);
	CHECK_INT(offer(&n, 5, 3, true), 1);
	CHECK_UINT(n.carrier.count, 2);
}

TEST(intake_does_not_wait_with_nothing_in_force)
{
	NODE(n);

	node_setup(&n);
	n.carrier.source.splay = true;
	make_all(&n, 3);
	CHECK_INT(offer(&n, 3, 3, false), 1);
	CHECK_UINT(n.carrier.count, 2);
	/* Nor does what follows while that is on its way. */
	make_view(&n, 4);
	CHECK_INT(offer(&n, 4, 3, false), 1);
	CHECK_UINT(n.carrier.count, 3);
}

TEST(intake_asks_a_failing_carrier_again_and_again_more_slowly)
{
	NODE(n);
	size_t asked = 0;

	node_setup(&n);
	make_all(&n, 3);
	CHECK_INT(offer(&n, 3, 3, false), 1);
	for (int s = 0; s < 600; s++) {
		n.now.ns += S;
		intake_step(&n.in, wall(), n.now);
		for (; asked < n.carrier.count; asked++) {
			if (strcmp(n.carrier.wants[asked], "manifest 3") == 0)
				intake_failed(&n.in, "manifest", "3", "no answer", wall(), n.now);
		}
	}
	CHECK_STR(code_of(&n, "manifest"), "unavailable");
	/* 1, 2, 4 ... 60 s: about fifteen times in ten minutes; the silent blob each two minutes.
	 */
	CHECK(n.carrier.count > 12 && n.carrier.count < 30);
	/* Another carrier is asked at once. */
	asked = n.carrier.count;
	intake_set_source(&n.in, &n.carrier.source, n.now);
	intake_step(&n.in, wall(), n.now);
	CHECK_UINT(n.carrier.count, asked + 2);
}

TEST(intake_ends_a_trouble_when_the_document_comes)
{
	NODE(n);

	node_setup(&n);
	make_all(&n, 3);
	CHECK_INT(offer(&n, 3, 3, false), 1);
	intake_failed(&n.in, "manifest", "3", "no answer", wall(), n.now);
	CHECK_UINT(n.in.trouble_count, 1);
	n.now.ns += 2 * S;
	intake_step(&n.in, wall(), n.now);
	give_manifest(&n, 3);
	CHECK_UINT(n.in.trouble_count, 0);
}

/* --- refusals ------------------------------------------------------------------------------- */

TEST(intake_refuses_bytes_that_are_not_what_was_named)
{
	CLEANUP(freep) char *other = NULL;
	NODE(n);
	size_t before;

	node_setup(&n);
	make_all(&n, 4);
	other = TAKE_PTR(n.manifest);
	make_manifest(&n, 3);
	CHECK_INT(offer(&n, 3, 3, false), 1);
	before = n.carrier.count;
	intake_manifest(&n.in, 3, other, strlen(other), wall(), n.now);
	CHECK_STR(code_of(&n, "manifest"), "mix_and_match");
	CHECK_INT(n.in.policy, PART_WANTED);
	CHECK_UINT(n.in.known.highest_revision, 0);
	/* The carrier's mistake: asked again, a little later. */
	intake_step(&n.in, wall(), n.now);
	CHECK_UINT(n.carrier.count, before);
	n.now.ns += 2 * S;
	intake_step(&n.in, wall(), n.now);
	CHECK_UINT(n.carrier.count, before + 1);
	give_manifest(&n, 3);
	CHECK(n.in.manifest_want.here);
}

TEST(intake_does_not_ask_again_for_what_can_never_be_taken)
{
	CLEANUP(freep) char *text = NULL;
	NODE(n);
	size_t before;

	node_setup(&n);
	make_all(&n, 3);
	text = document_manifest_text(3, 0);
	free(n.manifest);
	n.manifest = document_sign(DSSE_TYPE_MANIFEST, text, &n.keys.controller);
	CHECK_INT(offer(&n, 3, 3, false), 1);
	before = n.carrier.count;
	give_manifest(&n, 3);
	CHECK_STR(code_of(&n, "manifest"), "signature");
	CHECK_INT(n.in.policy, PART_REFUSED);
	n.now.ns += 1000 * S;
	give_blob(&n, n.view);
	intake_step(&n.in, wall(), n.now);
	CHECK_UINT(n.carrier.count, before);
}

TEST(intake_refuses_a_view_that_is_older_or_another_nodes)
{
	NODE(n);

	node_setup(&n);
	make_all(&n, 3);
	CHECK_INT(offer(&n, 3, 3, false), 1);
	give_blob(&n, n.view);
	CHECK_INT(n.in.view, PART_READY);
	free(n.view);
	n.view = mem_strdup("{\"version\": 1, \"node\": \"api-1\", \"sequence\": 4, "
			    "\"placed\": [], \"peers\": [], \"nodes\": [], \"devices\": []}");
	CHECK_INT(offer(&n, 4, 3, false), 1);
	give_blob(&n, n.view);
	CHECK_STR(code_of(&n, "view"), "wrong_node");
	CHECK_INT(n.in.view, PART_REFUSED);
	make_view(&n, 2);
	CHECK_INT(offer(&n, 5, 3, false), 1);
	give_blob(&n, n.view);
	CHECK_STR(code_of(&n, "view"), "rollback");
	/* The head said another sequence than its view. */
	make_view(&n, 7);
	CHECK_INT(offer(&n, 6, 3, false), 1);
	give_blob(&n, n.view);
	CHECK_STR(code_of(&n, "view"), "mix_and_match");
}

TEST(intake_refuses_heads_and_counts_them)
{
	struct overlay overlay = {0};
	struct err err = {{0}};
	NODE(n);

	node_setup(&n);
	make_all(&n, 3);
	CHECK_INT(offer(&n, 3, 3, false), 1);
	for (int i = 0; i < 3; i++)
		CHECK(intake_head(&n.in, "{}", 2, &n.force, wall(), n.now, &overlay, &err) < 0);
	CHECK_UINT(n.in.trouble_count, 1);
	CHECK_STR(code_of(&n, "head"), "malformed");
	CHECK_UINT(n.in.refused[0].count, 3);
	CHECK_INT(offer(&n, 2, 3, false), -ESTALE);
	CHECK_STR(code_of(&n, "head"), "rollback");
	CHECK_INT(offer(&n, 3, 3, false), 0);
	CHECK_STR(code_of(&n, "head"), "");
}

/* --- restarts ------------------------------------------------------------------------------- */

TEST(intake_goes_on_after_a_restart_with_what_it_had)
{
	bool trusted = false;
	NODE(n);

	node_setup(&n);
	CHECK_INT(reload(&n, &trusted), -ENOENT);
	make_all(&n, 3);
	CHECK_INT(offer(&n, 3, 3, false), 1);
	give_manifest(&n, 3);
	give_blob(&n, POLICY_TEXT);
	CHECK_INT(reload(&n, &trusted), 0);
	CHECK(trusted);
	CHECK_INT(n.in.policy, PART_READY);
	CHECK_UINT(n.carrier.count, 1); /* the view: views are kept by the agent, not here */
	CHECK_INT(offer(&n, 2, 3, false), -ESTALE);
}

TEST(intake_forgets_what_other_keys_signed)
{
	bool trusted = true;
	NODE(n);

	node_setup(&n);
	make_all(&n, 3);
	CHECK_INT(offer(&n, 3, 3, false), 1);
	node_close(&n);
	document_fixture_new_keys(&n.keys);
	n.keys.context.policy = &n.keys.policy_ring;
	n.keys.context.controller = &n.keys.controller_ring;
	node_open(&n);
	CHECK_INT(reload(&n, &trusted), 0);
	CHECK(!trusted);
	CHECK(!n.in.has_head);
	CHECK_UINT(n.in.known.head_sequence, 0);
	/* A smaller number under the new keys is a new beginning. */
	make_all(&n, 1);
	CHECK_INT(offer(&n, 1, 1, false), 1);
}

static char *stored_head(void)
{
	char *path = mem_printf("%s/documents/head.dsse.json", test_dir());

	CHECK(path != NULL);
	return path;
}

TEST(intake_takes_a_head_again_that_the_disk_did_not_take)
{
	CLEANUP(freep) char *path = stored_head();
	bool trusted = false;
	NODE(n);

	node_setup(&n);
	make_all(&n, 1);
	CHECK_INT(offer(&n, 1, 1, false), 1);
	/* A full disk would do the same, of the one file and not of the other. */
	CHECK_INT(remove(path), 0);
	CHECK_INT(mkdir(path, 0700), 0);
	CHECK_INT(offer(&n, 2, 1, false), 1);
	CHECK_INT(offer(&n, 2, 1, false), 0);
	CHECK_INT(remove(path), 0);
	CHECK_INT(reload(&n, &trusted), -ENOENT);
	CHECK_INT(offer(&n, 1, 1, false), 1);
	CHECK_INT(offer(&n, 2, 1, false), 1);
	/* And this one is there. */
	CHECK_INT(reload(&n, &trusted), 0);
	CHECK_INT(offer(&n, 2, 1, false), 0);
}

TEST(intake_keeps_a_head_once_the_disk_takes_it)
{
	CLEANUP(freep) char *path = stored_head();
	bool trusted = false;
	NODE(n);

	node_setup(&n);
	make_all(&n, 1);
	CHECK_INT(mkdir(path, 0700), 0);
	CHECK_INT(offer(&n, 2, 1, false), 1);
	CHECK_INT(remove(path), 0);
	intake_step(&n.in, wall(), n.now);
	CHECK_INT(reload(&n, &trusted), 0);
	CHECK_INT(offer(&n, 2, 1, false), 0);
	CHECK_INT(offer(&n, 1, 1, false), -ESTALE);
}

TEST(intake_takes_a_head_again_that_was_lost)
{
	CLEANUP(freep) char *path = stored_head();
	CLEANUP(freep) char *older = NULL;
	struct err err = {{0}};
	bool trusted = false;
	size_t len = 0;
	NODE(n);

	node_setup(&n);
	make_all(&n, 1);
	CHECK_INT(offer(&n, 4, 1, false), 1);
	CHECK_OK(document_store_head_read(n.store, &older, &len, &err), &err);
	CHECK_INT(offer(&n, 5, 1, false), 1);
	CHECK_INT(remove(path), 0);
	CHECK_INT(reload(&n, &trusted), -ENOENT);
	CHECK_INT(offer(&n, 4, 1, false), 0);
	CHECK_INT(offer(&n, 5, 1, false), 1);
	/* An older one in its place: what it closes stays closed, and the newer one is taken. */
	CHECK_OK(document_store_head_write(n.store, older, len, &err), &err);
	CHECK_INT(reload(&n, &trusted), 0);
	CHECK_INT(offer(&n, 3, 1, false), -ESTALE);
	CHECK_INT(offer(&n, 5, 1, false), 1);
}

TEST(intake_under_another_name_begins_anew)
{
	bool trusted = false;
	NODE(n);

	node_setup(&n);
	make_all(&n, 1);
	CHECK_INT(offer(&n, 9, 1, false), 1);
	n.keys.context.node = "pay-2";
	CHECK_INT(reload(&n, &trusted), -ENOENT);
	CHECK_UINT(n.in.known.head_sequence, 0);
	CHECK_UINT(n.in.known.view_sequence, 0);
	CHECK_UINT(n.in.known.rollback_floor, 0);
	CHECK_INT(offer(&n, 9, 1, false), -EXDEV);
}

/* --- on disk -------------------------------------------------------------------------------- */

TEST(document_store_notices_damage)
{
	CLEANUP(freep) char *text = NULL, *path = NULL;
	char digest[SHA256_HEX_LEN];
	struct err err = {{0}};
	NODE(n);
	size_t len;

	node_setup(&n);
	CHECK_INT(document_digest("abc", 3, digest), 0);
	CHECK_OK(document_store_blob_write(n.store, digest, "abc", 3, &err), &err);
	CHECK_OK(document_store_blob_read(n.store, digest, &text, &len, &err), &err);
	CHECK_UINT(len, 3);
	path = mem_printf("%s/documents/blobs/%s", test_dir(), digest);
	CHECK_OK(file_write_durable(AT_FDCWD, path, "abd", 3, 0600, &err), &err);
	freep(&text);
	CHECK_INT(document_store_blob_read(n.store, digest, &text, &len, &err), -EBADMSG);
	CHECK_INT(document_store_blob_read(n.store, "../known.json", &text, &len, &err), -EINVAL);
}

TEST(document_store_keeps_records_of_generations)
{
	struct generation_records written = {0}, read = {0};
	struct generation_record *e;
	char digest[SHA256_HEX_LEN];
	struct err err = {{0}};
	NODE(n);

	node_setup(&n);
	for (unsigned i = 0; i < GENERATIONS_RECORDED_MAX + 3; i++) {
		CHECK_INT(document_digest(&i, sizeof(i), digest), 0);
		e = generation_record_add(&written, digest);
		e->revision = i;
		e->outcome = GENERATION_CONFIRMED;
	}
	(void)snprintf(e->why, sizeof(e->why), "spike");
	e->outcome = GENERATION_ROLLED_BACK;
	CHECK_OK(document_store_records_write(n.store, &written, &err), &err);
	CHECK_OK(document_store_records_read(n.store, &read, &err), &err);
	CHECK_UINT(read.count, GENERATIONS_RECORDED_MAX);
	CHECK_UINT(read.list[0].revision, 3);
	e = generation_record_find(&read, digest);
	CHECK(e && e->outcome == GENERATION_ROLLED_BACK);
	CHECK_STR(e->why, "spike");
}

TEST(document_store_keeps_what_is_named_and_no_more)
{
	char manifest[SHA256_HEX_LEN], blob[SHA256_HEX_LEN], other[SHA256_HEX_LEN];
	const char *keep[] = {manifest};
	struct store_policy policy = {0};
	CLEANUP(freep) char *text = NULL;
	struct err err = {{0}};
	NODE(n);
	size_t len;

	node_setup(&n);
	make_all(&n, 3);
	CHECK_INT(offer(&n, 3, 3, false), 1);
	give_manifest(&n, 3);
	give_blob(&n, POLICY_TEXT);
	CHECK_INT(document_digest(n.manifest, strlen(n.manifest), manifest), 0);
	CHECK_INT(document_digest(POLICY_TEXT, strlen(POLICY_TEXT), blob), 0);
	CHECK_INT(document_digest("x", 1, other), 0);
	CHECK_OK(document_store_blob_write(n.store, other, "x", 1, &err), &err);
	document_store_prune(n.store, keep, 1);
	CHECK_INT(document_store_blob_read(n.store, other, &text, &len, &err), -ENOENT);
	CHECK_OK(document_store_policy(n.store, manifest, &policy, &err), &err);
	CHECK_UINT(policy.revision, 3);
	CHECK_STR(policy.digest, manifest);
	CHECK_STR(policy.files[0].text, POLICY_TEXT);
	store_policy_done(&policy);
}

/* --- want of memory ------------------------------------------------------------------------- */

/* A node of its own each time, that gets everything at once when it asks. */
static void begin_anew(struct node *n)
{
	struct err err = {{0}};

	CHECK_OK(tree_remove(AT_FDCWD, test_dir(), &err), &err);
	CHECK_INT(mkdir(test_dir(), 0700), 0);
	node_setup(n);
	make_all(n, 3);
	n->carrier.in = &n->in;
	n->carrier.manifest = n->manifest;
	n->carrier.policy = POLICY_TEXT;
	n->carrier.view = n->view;
}

/* A quarantine that came is acted on, however little memory there is for the rest. */
static int take_head(struct node *n, const char *text)
{
	struct overlay overlay = {0};
	struct err err = {{0}};
	int r = intake_head(&n->in, text, strlen(text), &n->force, wall(), n->now, &overlay, &err);

	CHECK_UINT(overlay.quarantined_count, r == 1 ? 1 : 0);
	overlay_done(&overlay);
	intake_step(&n->in, wall(), n->now);
	return r;
}

/*
 * Making the node takes memory, too: failures are counted from the head on. Whatever failed is
 * asked for again and nothing is refused for good, for the documents were sound.
 */
OOM_TEST(intake_out_of_memory_gets_everything_later)
{
	static size_t nth;
	CLEANUP(freep) char *text = NULL;
	bool failed;
	NODE(n);
	int r;

	mem_fail_after(0);
	begin_anew(&n);
	text = head_text(&n, 3, 3, false);
	mem_fail_after(++nth);
	r = take_head(&n, text);
	failed = mem_has_failed();
	if (!failed)
		mem_fail_after(0);
	CHECK(r == 1 || (failed && r == -ENOMEM));
	for (unsigned i = 0; i < 3; i++) {
		n.now.ns += (INTAKE_ANSWER_S + 1) * S;
		n.carrier.now = n.now;
		r = take_head(&n, text);
	}
	CHECK_INT(r, 0);
	CHECK_INT(n.in.policy, PART_READY);
	CHECK_INT(n.in.view, PART_READY);
	CHECK_STR(n.in.texts.files[0].text, POLICY_TEXT);
	CHECK_UINT(n.in.trouble_count, 0);
	return failed ? -ENOMEM : 0;
}
