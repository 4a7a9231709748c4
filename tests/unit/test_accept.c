/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "controller-client/accept.h"

#include "base/mem.h"
#include "tests/unit/accept_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is right ---- */

TEST(a_newer_head_is_taken_and_remembered)
{
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	attempt_head_text_taken(&f, document_head_text(977), 1);
	CHECK_UINT(f.known.head_sequence, 977);
	CHECK_INT(f.known.head_expires.s, 1800057600);
	CHECK_UINT(f.known.view_sequence, 41);
	CHECK_UINT(f.known.highest_revision, 0);
	attempt_head_text_taken(&f, document_head_text(978), 1);
	attempt_head_text_taken(&f, document_head_text(5000), 1);
	CHECK_UINT(f.known.head_sequence, 5000);
}

TEST(the_same_sequence_is_no_change)
{
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	attempt_head_text_taken(&f, document_head_text(977), 1);
	attempt_head_text_taken(&f, document_head_text(977), 0);
}

/* Whoever holds the controller's key cannot tell one node two truths under one number. */
TEST(the_same_sequence_with_other_content_is_no_change)
{
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	attempt_head_text_taken(&f, document_head_text(977), 1);
	attempt_head_text_taken(
		&f, document_replace(document_head_text(977), "2027-01-16T", "2027-06-16T"), 0);
	attempt_head_text_taken(
		&f,
		document_replace(document_head_text(977), "\"sequence\": 41", "\"sequence\": 40"),
		0);
	attempt_head_text_taken(
		&f,
		document_replace(document_head_text(977), "\"urgent\": false", "\"urgent\": true"),
		0);
	CHECK_INT(f.known.head_expires.s, 1800057600);
}

TEST(a_manifest_named_by_the_head_is_taken_and_remembered)
{
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	attempt_manifest_taken(&f, 12, 9);
	CHECK_UINT(f.known.highest_revision, 12);
	CHECK_UINT(f.known.rollback_floor, 9);
	CHECK_UINT(f.known.head_sequence, 0);
	attempt_manifest_taken(&f, 12, 9);
	attempt_manifest_taken(&f, 13, 10);
	CHECK_UINT(f.known.highest_revision, 13);
	CHECK_UINT(f.known.rollback_floor, 10);
}

TEST(an_expired_manifest_is_taken_and_told)
{
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	CHECK(attempt_manifest_text_taken(&f, 12,
					  document_replace(document_manifest_text(12, 9),
							   "2027-07-01T00:00:00Z",
							   "2027-01-15T08:00:00Z")));
	CHECK(!attempt_manifest_text_taken(&f, 13,
					   document_replace(document_manifest_text(13, 9),
							    "2027-07-01T00:00:00Z",
							    "2027-01-15T08:00:01Z")));
}

TEST(without_a_trust_domain_of_its_own_a_node_takes_any)
{
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	f.context.trust_domain = NULL;
	attempt_head_text_taken(
		&f, document_replace(document_head_text(1), "acme.example", "other.example"), 1);
}

/* ---- the attacks ---- */

TEST(rollback_of_the_head)
{
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	attempt_head_text_taken(&f, document_head_text(977), 1);
	attempt_head_text_refused(&f, document_head_text(976), REFUSAL_ROLLBACK);
	attempt_head_text_refused(&f, document_head_text(1), REFUSAL_ROLLBACK);
	/* Old and expired: what the attacker did counts, not what time did. */
	f.context.now.s += 10LL * 86400;
	attempt_head_text_refused(&f, document_head_text(976), REFUSAL_ROLLBACK);
}

TEST(rollback_of_the_view_under_a_newer_head)
{
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	attempt_head_text_taken(&f, document_head_text(977), 1);
	attempt_head_text_refused(
		&f,
		document_replace(document_head_text(978), "\"sequence\": 41", "\"sequence\": 40"),
		REFUSAL_ROLLBACK);
	attempt_head_text_taken(&f, document_head_text(978), 1);
}

TEST(rollback_of_the_manifest_below_the_floor)
{
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	attempt_manifest_taken(&f, 12, 9);
	attempt_manifest_text_refused(&f, 8, document_manifest_text(8, 0), REFUSAL_ROLLBACK);
	attempt_manifest_text_refused(&f, 1, document_manifest_text(1, 0), REFUSAL_ROLLBACK);
	/* Between floor and newest the way back is open: that is what the floor is for. */
	attempt_manifest_taken(&f, 9, 0);
	attempt_manifest_taken(&f, 11, 11);
	CHECK_UINT(f.known.highest_revision, 12);
	CHECK_UINT(f.known.rollback_floor, 9);
	attempt_manifest_text_refused(&f, 8, document_manifest_text(8, 0), REFUSAL_ROLLBACK);
}

TEST(a_newer_manifest_may_lower_the_floor_and_an_older_may_not)
{
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	attempt_manifest_taken(&f, 12, 12);
	attempt_manifest_text_refused(&f, 11, document_manifest_text(11, 0), REFUSAL_ROLLBACK);
	/* Another manifest with the number of the newest: its floor is not heard. */
	attempt_manifest_taken(&f, 12, 0);
	CHECK_UINT(f.known.rollback_floor, 12);
	attempt_manifest_taken(&f, 13, 11);
	attempt_manifest_taken(&f, 11, 0);
}

TEST(freeze_by_an_expired_head)
{
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	attempt_head_text_taken(&f, document_head_text(977), 1);
	f.context.now.s = 1800057600; /* its last second is over */
	attempt_head_text_refused(&f, document_head_text(977), REFUSAL_FREEZE);
	attempt_head_text_refused(&f, document_head_text(978), REFUSAL_FREEZE);
	CHECK_INT(f.known.head_expires.s, 1800057600);
	f.context.now.s--;
	attempt_head_text_taken(&f, document_head_text(977), 0);
	attempt_head_text_taken(&f, document_head_text(978), 1);
}

TEST(a_fresh_node_takes_no_expired_head)
{
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	f.context.now.s += 86400;
	attempt_head_text_refused(&f, document_head_text(977), REFUSAL_FREEZE);
	CHECK_INT(f.known.head_expires.s, 0);
}

TEST(mix_and_match_of_manifests)
{
	CLEANUP(document_fixture_done) struct document_fixture f;
	CLEANUP(freep) char *old_text = document_manifest_text(12, 9);
	CLEANUP(freep) char *new_text = document_manifest_text(13, 9);
	CLEANUP(freep) char *old = NULL;
	CLEANUP(freep) char *new = NULL;
	struct head_pointer want;

	document_fixture_setup(&f);
	old = document_sign(DSSE_TYPE_MANIFEST, old_text, &f.policy);
	new = document_sign(DSSE_TYPE_MANIFEST, new_text, &f.policy);
	/* Another manifest, rightly signed, than the head names. */
	want = document_pointer(13, new);
	attempt_manifest_refused(&f, &want, old, REFUSAL_MIX);
	/* The digest fits and the number does not. */
	want = document_pointer(14, new);
	attempt_manifest_refused(&f, &want, new, REFUSAL_MIX);
	want = document_pointer(0, new);
	attempt_manifest_refused(&f, &want, new, REFUSAL_MIX);
	memset(want.sha256, 0, sizeof(want.sha256));
	attempt_manifest_refused(&f, &want, new, REFUSAL_MIX);
}

TEST(the_same_manifest_in_another_envelope_is_not_the_one_named)
{
	CLEANUP(document_fixture_done) struct document_fixture f;
	CLEANUP(freep) char *text = document_manifest_text(12, 9);
	CLEANUP(freep) char *envelope = NULL;
	struct head_pointer want;

	document_fixture_setup(&f);
	envelope = document_sign(DSSE_TYPE_MANIFEST, text, &f.policy);
	want = document_pointer(12, envelope);
	envelope[strlen(envelope) - 1] = ' ';
	attempt_manifest_refused(&f, &want, envelope, REFUSAL_MIX);
}

TEST(fast_forward_is_undone_by_new_keys)
{
	CLEANUP(document_fixture_done) struct document_fixture f;
	unsigned long top = INT64_MAX;

	document_fixture_setup(&f);
	/* A thief of both keys pushes the counters to their end. */
	attempt_head_text_taken(&f,
				document_replace(document_head_text(top), "\"sequence\": 41",
						 "\"sequence\": 9223372036854775807"),
				1);
	attempt_manifest_taken(&f, top, top);
	attempt_head_text_refused(&f, document_head_text(978), REFUSAL_ROLLBACK);
	attempt_manifest_text_refused(&f, 13, document_manifest_text(13, 9), REFUSAL_ROLLBACK);

	document_fixture_new_keys(&f);
	CHECK_INT(known_match_keys(&f.known, &f.context), 1);
	CHECK_UINT(f.known.head_sequence, 0);
	CHECK_UINT(f.known.view_sequence, 0);
	CHECK_UINT(f.known.highest_revision, 0);
	CHECK_UINT(f.known.rollback_floor, 0);
	/* The mapping is as old as it was. */
	CHECK_INT(f.known.head_expires.s, 1800057600);
	CHECK_INT(known_match_keys(&f.known, &f.context), 0);
	attempt_head_text_taken(&f, document_head_text(978), 1);
	attempt_manifest_taken(&f, 13, 9);
}

TEST(new_keys_of_one_role_leave_the_other_role_alone)
{
	CLEANUP(document_fixture_done) struct document_fixture f, other;

	document_fixture_setup(&f);
	document_fixture_setup(&other);
	attempt_head_text_taken(&f, document_head_text(977), 1);
	attempt_manifest_taken(&f, 12, 9);
	f.context.controller = &other.controller_ring;
	CHECK_INT(known_match_keys(&f.known, &f.context), 1);
	CHECK_UINT(f.known.head_sequence, 0);
	CHECK_UINT(f.known.highest_revision, 12);
	CHECK_UINT(f.known.rollback_floor, 9);
	f.context.controller = &f.controller_ring;
	CHECK_INT(known_match_keys(&f.known, &f.context), 1);
	attempt_head_text_taken(&f, document_head_text(977), 1);
	f.context.policy = &other.policy_ring;
	CHECK_INT(known_match_keys(&f.known, &f.context), 1);
	CHECK_UINT(f.known.head_sequence, 977);
	CHECK_UINT(f.known.highest_revision, 0);
}

TEST(the_first_keys_ever_drop_nothing)
{
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	f.known = (struct known){.head_sequence = 7, .highest_revision = 3, .rollback_floor = 2};
	CHECK_INT(known_match_keys(&f.known, &f.context), 1);
	CHECK_UINT(f.known.head_sequence, 7);
	CHECK_UINT(f.known.highest_revision, 3);
	CHECK_UINT(f.known.rollback_floor, 2);
}

TEST(a_head_from_before_the_keys_changed)
{
	CLEANUP(document_fixture_done) struct document_fixture f;
	CLEANUP(freep) char *text = document_head_text(977);
	CLEANUP(freep) char *old = NULL;

	document_fixture_setup(&f);
	old = document_sign(DSSE_TYPE_HEAD, text, &f.controller);
	document_fixture_new_keys(&f);
	CHECK_INT(known_match_keys(&f.known, &f.context), 1);
	/* The sequence is forgotten, so the signature alone must keep it out. */
	attempt_head_refused(&f, old, REFUSAL_SIGNATURE);
}

TEST(the_highest_numbers_are_numbers_like_others)
{
	CLEANUP(document_fixture_done) struct document_fixture f;
	unsigned long top = INT64_MAX;

	document_fixture_setup(&f);
	attempt_head_text_taken(&f, document_head_text(top - 1), 1);
	attempt_head_text_taken(&f, document_head_text(top), 1);
	attempt_head_text_taken(&f, document_head_text(top), 0);
	attempt_head_text_refused(&f, document_head_text(top - 1), REFUSAL_ROLLBACK);
	attempt_head_text_refused(&f, document_head_text(top + 1), REFUSAL_MALFORMED);
	attempt_head_text_refused(&f, document_head_text((unsigned long)-1), REFUSAL_MALFORMED);
	attempt_manifest_taken(&f, top, 1);
	attempt_manifest_taken(&f, 1, 0);
	attempt_manifest_text_refused(&f, top + 1, document_manifest_text(top + 1, 1),
				      REFUSAL_MALFORMED);
}

TEST(wrong_payload_type)
{
	CLEANUP(document_fixture_done) struct document_fixture f;
	CLEANUP(freep) char *head = document_head_text(977);
	CLEANUP(freep) char *manifest = document_manifest_text(12, 9);
	CLEANUP(freep) char *as_manifest = NULL;
	CLEANUP(freep) char *as_head = NULL;
	struct head_pointer want;

	document_fixture_setup(&f);
	/* Rightly signed by the right key, as another kind of document. */
	as_manifest = document_sign(DSSE_TYPE_MANIFEST, head, &f.controller);
	attempt_head_refused(&f, as_manifest, REFUSAL_TYPE);
	as_head = document_sign(DSSE_TYPE_HEAD, manifest, &f.policy);
	want = document_pointer(12, as_head);
	attempt_manifest_refused(&f, &want, as_head, REFUSAL_TYPE);
	/* Renamed afterwards: the type is signed too. */
	as_manifest = document_replace(as_manifest, DSSE_TYPE_MANIFEST, DSSE_TYPE_HEAD);
	attempt_head_refused(&f, as_manifest, REFUSAL_SIGNATURE);
	/* A manifest's text under a head's type by the controller's key. */
	freep(&as_head);
	as_head = document_sign(DSSE_TYPE_HEAD, manifest, &f.controller);
	attempt_head_refused(&f, as_head, REFUSAL_MALFORMED);
}

TEST(swapped_roles)
{
	CLEANUP(document_fixture_done) struct document_fixture f;
	CLEANUP(freep) char *head = document_head_text(977);
	CLEANUP(freep) char *manifest = document_manifest_text(12, 9);
	CLEANUP(freep) char *by_policy = NULL;
	CLEANUP(freep) char *by_controller = NULL;
	struct head_pointer want;

	document_fixture_setup(&f);
	by_policy = document_sign(DSSE_TYPE_HEAD, head, &f.policy);
	attempt_head_refused(&f, by_policy, REFUSAL_SIGNATURE);
	by_controller = document_sign(DSSE_TYPE_MANIFEST, manifest, &f.controller);
	want = document_pointer(12, by_controller);
	attempt_manifest_refused(&f, &want, by_controller, REFUSAL_SIGNATURE);
}

TEST(foreign_keys)
{
	CLEANUP(document_fixture_done) struct document_fixture f;
	CLEANUP(freep) char *head = document_head_text(977);
	CLEANUP(freep) char *manifest = document_manifest_text(12, 9);
	CLEANUP(freep) char *head_envelope = NULL;
	CLEANUP(freep) char *manifest_envelope = NULL;
	struct head_pointer want;

	document_fixture_setup(&f);
	head_envelope = document_sign(DSSE_TYPE_HEAD, head, &f.foreign);
	attempt_head_refused(&f, head_envelope, REFUSAL_SIGNATURE);
	/* Under the trusted key's name. */
	head_envelope =
		document_replace(head_envelope, f.foreign.public.id, f.controller.public.id);
	attempt_head_refused(&f, head_envelope, REFUSAL_SIGNATURE);
	manifest_envelope = document_sign(DSSE_TYPE_MANIFEST, manifest, &f.foreign);
	want = document_pointer(12, manifest_envelope);
	attempt_manifest_refused(&f, &want, manifest_envelope, REFUSAL_SIGNATURE);
}

TEST(duplicate_signature_of_one_key)
{
	CLEANUP(document_fixture_done) struct document_fixture f, second;
	CLEANUP(freep) char *text = document_manifest_text(12, 9);
	struct dsse_signature s[2] = {0};
	CLEANUP(buf_done) struct buf pae;
	struct public_key k = {0};
	struct err err = {0};

	document_fixture_setup(&f);
	document_fixture_setup(&second);
	CHECK_OK(public_key_from(second.controller.pkey, &k, &err), &err);
	CHECK_OK(keyring_add(&f.policy_ring, &k, &err), &err);
	f.policy_ring.threshold = 2;
	buf_init(&pae, 4096);
	dsse_pae(&pae, DSSE_TYPE_MANIFEST, text, strlen(text));
	for (int both = 0; both < 2; both++) {
		CLEANUP(freep) char *envelope = NULL;
		struct head_pointer want;
		size_t len = 0;

		for (size_t i = 0; i < 2; i++) {
			const struct private_key *key =
				i == 1 && both ? &second.controller : &f.policy;

			CHECK_OK(private_key_sign(key, pae.data, pae.len, s[i].bytes, &s[i].len,
						  &err),
				 &err);
			memcpy(s[i].keyid, key->public.id, sizeof(s[i].keyid));
		}
		CHECK_OK(dsse_make(DSSE_TYPE_MANIFEST, text, strlen(text), s, 2, &envelope, &len,
				   &err),
			 &err);
		want = document_pointer(12, envelope);
		if (!both) {
			attempt_manifest_refused(&f, &want, envelope, REFUSAL_SIGNATURE);
		} else {
			CLEANUP(manifest_done) struct manifest m = {0};
			bool expired = false;
			struct attempt a = attempt_manifest(&f, &want, envelope, &m, &expired);

			CHECK_OK(a.r, &a.err);
		}
	}
}

TEST(a_node_without_keys_takes_nothing)
{
	CLEANUP(document_fixture_done) struct document_fixture f;
	CLEANUP(freep) char *text = document_head_text(977);
	CLEANUP(freep) char *envelope = NULL;

	document_fixture_setup(&f);
	envelope = document_sign(DSSE_TYPE_HEAD, text, &f.controller);
	f.context.controller = NULL;
	f.context.policy = NULL;
	attempt_head_refused(&f, envelope, REFUSAL_SIGNATURE);
	CHECK_INT(known_match_keys(&f.known, &f.context), 1);
}

TEST(swapped_node)
{
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	attempt_head_text_refused(&f, document_replace(document_head_text(977), "pay-1", "pay-2"),
				  REFUSAL_NODE);
	attempt_head_text_refused(&f, document_replace(document_head_text(977), "pay-1", "Pay-1"),
				  REFUSAL_NODE);
	attempt_head_text_refused(&f, document_replace(document_head_text(977), "pay-1", "pay-11"),
				  REFUSAL_NODE);
}

TEST(swapped_trust_domain)
{
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	attempt_head_text_refused(
		&f, document_replace(document_head_text(977), "acme.example", "acme.example.org"),
		REFUSAL_TRUST_DOMAIN);
	attempt_manifest_text_refused(
		&f, 12, document_replace(document_manifest_text(12, 9), "acme.example", "acme"),
		REFUSAL_TRUST_DOMAIN);
}

TEST(a_manifest_that_revokes_this_node)
{
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	attempt_manifest_text_refused(&f, 12,
				      document_replace(document_manifest_text(12, 9), "\"pay-9\"",
						       "\"pay-9\", \"pay-1\""),
				      REFUSAL_REVOKED_NODE);
	/* An old one that does is a rollback first: it is not even to be believed. */
	attempt_manifest_taken(&f, 12, 9);
	attempt_manifest_text_refused(
		&f, 8, document_replace(document_manifest_text(8, 0), "\"pay-9\"", "\"pay-1\""),
		REFUSAL_ROLLBACK);
}

TEST(unknown_requires)
{
	CLEANUP(document_fixture_done) struct document_fixture f;

	document_fixture_setup(&f);
	attempt_manifest_text_refused(
		&f, 12,
		document_replace(document_manifest_text(12, 9), "[\"mapped\"]", "[\"measured\"]"),
		REFUSAL_REQUIRES);
	attempt_head_text_refused(&f,
				  document_replace(document_head_text(977), "\"version\": 1",
						   "\"version\": 1, \"requires\": [\"rings\"]"),
				  REFUSAL_REQUIRES);
	attempt_head_text_refused(
		&f, document_replace(document_head_text(977), "\"version\": 1", "\"version\": 2"),
		REFUSAL_MALFORMED);
}

TEST(oversize)
{
	CLEANUP(document_fixture_done) struct document_fixture f;
	CLEANUP(freep) char *spaces = mem_calloc(DSSE_ENVELOPE_MAX + 2, 1);
	CLEANUP(freep) char *pad = mem_calloc(MANIFEST_MAX + 2, 1);
	struct head_pointer want;

	CHECK(spaces != NULL && pad != NULL);
	memset(spaces, ' ', DSSE_ENVELOPE_MAX + 1);
	memset(pad, ' ', MANIFEST_MAX);
	document_fixture_setup(&f);
	attempt_head_refused(&f, spaces, REFUSAL_SIZE);
	want = document_pointer(12, spaces);
	attempt_manifest_refused(&f, &want, spaces, REFUSAL_SIZE);
	/* The envelope is small enough, what is in it is not. */
	pad[0] = ',';
	attempt_head_text_refused(&f, document_replace(document_head_text(977), ",", pad),
				  REFUSAL_SIZE);
	attempt_manifest_text_refused(
		&f, 12, document_replace(document_manifest_text(12, 9), ",", pad), REFUSAL_SIZE);
}

/* ---- blobs, views ---- */

TEST(a_blob_is_its_digest_and_its_size)
{
	static const char blob[] = "{\"a\": 1}";
	struct head_pointer p = document_pointer(1, blob);
	enum refusal why = REFUSAL_MIX;
	struct err err = {0};

	CHECK_OK(accept_blob(p.sha256, 8, blob, 8, &why, &err), &err);
	CHECK_INT(why, REFUSAL_NONE);
	CHECK_INT(accept_blob(p.sha256, 7, blob, 8, &why, &err), -E2BIG);
	CHECK_INT(why, REFUSAL_SIZE);
	CHECK_INT(accept_blob(p.sha256, 9, blob, 8, &why, &err), -EBADMSG);
	CHECK_INT(why, REFUSAL_DIGEST);
	CHECK_INT(accept_blob(p.sha256, 8, "{\"a\": 2}", 8, &why, &err), -EBADMSG);
	CHECK_INT(why, REFUSAL_DIGEST);
	CHECK_INT(accept_blob(p.sha256, 8, blob, 7, &why, &err), -EBADMSG);
	CHECK_INT(why, REFUSAL_DIGEST);
	CHECK_INT(accept_blob("", 8, blob, 8, &why, &err), -EBADMSG);
	CHECK_INT(why, REFUSAL_DIGEST);
}

static int try_view(const struct document_fixture *f, const char *text, uint64_t sequence,
		    enum refusal *why, struct err *err)
{
	CLEANUP(view_freep) struct view *v = NULL;
	struct head_pointer p = document_pointer(1, text);
	struct head h = {.view_size = strlen(text), .view_sequence = sequence};
	int r;

	memcpy(h.view_sha256, p.sha256, sizeof(h.view_sha256));
	r = accept_view(&f->context, &h, text, strlen(text), &v, why, err);
	CHECK((v != NULL) == (r == 0));
	return r;
}

#define VIEW(node, sequence)                                                                       \
	"{\"version\": 1, \"node\": \"" node "\", \"sequence\": " sequence                         \
	", \"placed\": [], \"peers\": [], \"nodes\": []}"

TEST(a_view_is_for_this_node_and_of_the_sequence_the_head_names)
{
	CLEANUP(document_fixture_done) struct document_fixture f;
	enum refusal why = REFUSAL_MIX;
	struct err err = {0};

	document_fixture_setup(&f);
	CHECK_OK(try_view(&f, VIEW("pay-1", "41"), 41, &why, &err), &err);
	CHECK_INT(why, REFUSAL_NONE);
	CHECK(try_view(&f, VIEW("pay-2", "41"), 41, &why, &err) < 0);
	CHECK_INT(why, REFUSAL_NODE);
	CHECK(try_view(&f, VIEW("pay-1", "40"), 41, &why, &err) < 0);
	CHECK_INT(why, REFUSAL_ROLLBACK);
	CHECK(try_view(&f, VIEW("pay-1", "42"), 41, &why, &err) < 0);
	CHECK_INT(why, REFUSAL_MIX);
	CHECK(try_view(&f, "{}", 41, &why, &err) < 0);
	CHECK_INT(why, REFUSAL_MALFORMED);
}

TEST(every_refusal_has_a_code_of_its_own)
{
	for (int a = REFUSAL_NONE; a <= REFUSAL_REVOKED_NODE; a++) {
		for (int b = a + 1; b <= REFUSAL_REVOKED_NODE; b++)
			CHECK(strcmp(refusal_code((enum refusal)a),
				     refusal_code((enum refusal)b)) != 0);
	}
	CHECK_STR(refusal_code(REFUSAL_MIX), "mix_and_match");
}

/* ---- memory ---- */

/* Made once, before allocations fail. */
static struct document_fixture oom;
static char *oom_head, *oom_manifest;

static void oom_setup(void)
{
	CLEANUP(freep) char *head = NULL;
	CLEANUP(freep) char *manifest = NULL;

	if (oom_manifest != NULL)
		return;
	mem_fail_after(0);
	document_fixture_setup(&oom);
	head = document_head_text(977);
	manifest = document_manifest_text(12, 9);
	oom_head = document_sign(DSSE_TYPE_HEAD, head, &oom.controller);
	oom_manifest = document_sign(DSSE_TYPE_MANIFEST, manifest, &oom.policy);
	mem_fail_after(1);
}

static int oom_accept(enum refusal *why)
{
	struct head_pointer want = document_pointer(12, oom_manifest);
	CLEANUP(manifest_done) struct manifest m = {0};
	CLEANUP(head_done) struct head h = {0};
	bool expired;
	int r = accept_head(&oom.known, &oom.context, oom_head, strlen(oom_head), &h, why, NULL);

	if (r < 0)
		return r;
	return accept_manifest(&oom.known, &oom.context, &want, oom_manifest, strlen(oom_manifest),
			       &m, &expired, why, NULL);
}

OOM_TEST(no_refusal_when_memory_runs_out)
{
	enum refusal why = REFUSAL_MIX;
	struct known fresh;
	int r;

	oom_setup();
	fresh = oom.known;
	r = oom_accept(&why);
	oom.known = fresh;
	return r < 0 && why != REFUSAL_NONE ? -EIO : r;
}
