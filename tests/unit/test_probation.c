/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What becomes of a policy that fell back; the gates themselves:
 * tests/netns/fleet-commit-confirm.sh. */
#include "agent/documents_parts.h"

#include "base/mem.h"
#include "tests/unit/intake_fixture.h"
#include "tests/unit/test.h"

#include <stdlib.h>
#include <string.h>

#define SECOND_TRY_NS (DOCUMENTS_SECOND_TRY_S * S)

/* A node with policy revision 3 on probation. */
struct scene {
	struct node node;
	struct agent agent;
	struct documents documents;
	char digest[SHA256_HEX_LEN];
};

static void setup(struct scene *s)
{
	struct generation_record *e;

	memset(s, 0, sizeof(*s));
	node_setup(&s->node);
	make_all(&s->node, 3);
	CHECK_INT(offer(&s->node, 3, 3, false), 1);
	give_manifest(&s->node, 3);
	give_blob(&s->node, POLICY_TEXT);
	CHECK_INT(s->node.in.policy, PART_READY);
	s->documents.in = s->node.in;
	memset(&s->node.in, 0, sizeof(s->node.in));
	s->documents.in.policy = PART_TAKEN;
	s->documents.agent = &s->agent;
	s->agent.document_store = s->node.store;
	memcpy(s->digest, s->documents.in.manifest_want.sha256, sizeof(s->digest));
	e = generation_record_add(&s->documents.records, s->digest);
	e->revision = 3;
}

static void done(struct scene *s)
{
	s->node.in = s->documents.in;
	node_done(&s->node);
}

static void fall_back(struct scene *s, bool pin)
{
	documents_rolled_back(&s->documents, s->digest, 3, "a gate", pin);
	CHECK_INT(s->documents.in.policy, PART_REFUSED);
}

static bool tried(struct scene *s, int64_t later_ns)
{
	struct mono now = {.ns = mono_now().ns + later_ns};

	probation_second_try(&s->documents, now);
	return s->documents.in.policy == PART_WANTED;
}

static const struct generation_record *stored(struct scene *s, struct generation_records *r)
{
	struct err err = {{0}};

	CHECK_OK(document_store_records_read(s->node.store, r, &err), &err);
	CHECK(generation_record_find(r, s->digest) != NULL);
	return generation_record_find(r, s->digest);
}

TEST(probation_that_was_not_confirmed_in_time_is_tried_once_more)
{
	struct generation_records records;
	struct scene s;

	setup(&s);
	fall_back(&s, false);
	CHECK(!generation_pinned(stored(&s, &records)));
	CHECK_STR(s.documents.in.troubles[0].code, "rolled_back");
	CHECK_CONTAINS(s.documents.in.troubles[0].text, "a gate; it is tried once more");
	CHECK(!tried(&s, SECOND_TRY_NS - 10 * S));
	CHECK(tried(&s, SECOND_TRY_NS));
	s.documents.in.policy = PART_TAKEN;
	fall_back(&s, false);
	CHECK(generation_pinned(stored(&s, &records)));
	CHECK_STR(s.documents.in.troubles[0].text, "a gate");
	CHECK(!tried(&s, 10 * SECOND_TRY_NS));
	done(&s);
}

TEST(probation_is_tried_once_more_when_the_controller_answers)
{
	struct scene s;

	setup(&s);
	s.documents.probation.had_contact = true;
	fall_back(&s, false);
	s.documents.connected = true;
	CHECK(!tried(&s, SECOND_TRY_NS - 10 * S));
	s.documents.connected = false;
	CHECK(!tried(&s, SECOND_TRY_NS));
	s.documents.connected = true;
	CHECK(tried(&s, SECOND_TRY_NS));
	done(&s);
}

TEST(probation_that_broke_conversations_is_not_tried_again)
{
	struct generation_records records;
	struct scene s;

	setup(&s);
	fall_back(&s, true);
	CHECK(generation_pinned(stored(&s, &records)));
	CHECK(!tried(&s, 10 * SECOND_TRY_NS));
	done(&s);
}

TEST(probation_has_two_tries_again_after_it_was_confirmed)
{
	struct generation_records records;
	struct scene s;

	setup(&s);
	fall_back(&s, false);
	documents_confirmed(&s.documents, s.digest);
	CHECK_UINT(stored(&s, &records)->failures, 0);
	fall_back(&s, false);
	CHECK(!generation_pinned(stored(&s, &records)));
	done(&s);
}

TEST(probation_is_not_tried_again_when_another_policy_is_wanted)
{
	struct scene s;

	setup(&s);
	fall_back(&s, false);
	s.documents.in.manifest_want.sha256[0] ^= 1;
	CHECK(!tried(&s, SECOND_TRY_NS));
	done(&s);
}
