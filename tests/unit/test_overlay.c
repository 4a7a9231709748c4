/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names as they are kept, refusals, and that whoever asks is answered exactly once. */
#include "agent/overlay.h"

#include "agent/store.h"
#include "base/mem.h"
#include "rules/marks.h"
#include "tests/unit/compile_fixture.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

static const char policy[] =
	TOP ID("a", "") ID("b", "") "networks:\n  - {name: forensics, cidrs: [10.9.0.0/24]}\n"
				    "rules:\n" AB("a-calls-b", "");

struct answer {
	int calls, r;
};

static void answered(void *user, int r, const struct err *err, const struct cut_list *cut)
{
	struct answer *a = user;

	(void)err;
	(void)cut;
	a->calls++;
	a->r = r;
}

/* A load is in progress, so that what is asked for waits and the kernel is not needed. */
struct world {
	struct agent a;
	struct job *job;
	struct answer answer;
	struct err err;
};

static void world_init(struct world *w)
{
	CLEANUP(freep) char *state = mem_printf("%s/state", test_dir());
	CLEANUP(freep) char *run = mem_printf("%s/run", test_dir());

	memset(w, 0, sizeof(*w));
	CHECK_OK(store_open(state, run, &w->a.store, &w->err), &w->err);
	w->a.conduit_numbers = numbers_new(MARK_CONDUIT_MIN, MARK_CONDUIT_MAX);
	w->a.confirmed.policy = policy_sound(policy);
	w->a.job = mem_calloc(1, sizeof(*w->a.job));
	CHECK(w->a.conduit_numbers && w->a.job);
}

static void world_done(struct world *w)
{
	agent_waiters_cancel(&w->a);
	agent_job_free(w->a.job);
	edition_done(&w->a.confirmed);
	overlay_done(&w->a.overlay);
	numbers_free(w->a.conduit_numbers);
	store_free(w->a.store);
}

static int ask_revoke(struct world *w, const char *kind, const char *name)
{
	memset(&w->answer, 0, sizeof(w->answer));
	return overlay_revoke(&w->a, kind, name, 0, "why", answered, &w->answer, &w->err);
}

static int quarantine(struct world *w, const char *name, const char *keep)
{
	memset(&w->answer, 0, sizeof(w->answer));
	return overlay_quarantine(&w->a, name, keep, "why", answered, &w->answer, &w->err);
}

TEST(revoked_identities_are_kept_by_path)
{
	CLEANUP(world_done) struct world w;

	world_init(&w);
	CHECK_OK(ask_revoke(&w, "identity", "a"), &w.err);
	CHECK_UINT(w.a.overlay.revoked_count, 1);
	CHECK_STR(w.a.overlay.revoked[0].name, "prod/a");
	CHECK_OK(ask_revoke(&w, "identity", "prod/b"), &w.err);
	CHECK_STR(w.a.overlay.revoked[1].name, "prod/b");
	CHECK_OK(ask_revoke(&w, "rule", "a-calls-b"), &w.err);
	CHECK_STR(w.a.overlay.revoked[2].name, "a-calls-b");
}

TEST(what_nothing_is_called_is_not_revoked)
{
	CLEANUP(world_done) struct world w;

	world_init(&w);
	CHECK_INT(ask_revoke(&w, "rule", "a-calls-c"), -ENOENT);
	CHECK_CONTAINS(w.err.text, "did you mean \"a-calls-b\"?");
	CHECK_INT(ask_revoke(&w, "identity", "prod/z"), -ENOENT);
	CHECK_INT(ask_revoke(&w, "label", "="), -EINVAL);
	CHECK_INT(ask_revoke(&w, "conduit", "x"), -EINVAL);
	CHECK_INT(ask_revoke(&w, "conduit", "77"), -ENOENT);
	CHECK_INT(ask_revoke(&w, "everything", "a"), -EINVAL);
	CHECK_UINT(w.a.overlay.revoked_count, 0);
	CHECK(w.a.waiters == NULL);
	CHECK_INT(w.answer.calls, 0);
}

TEST(a_quarantine_is_kept_by_path_and_released_by_name)
{
	CLEANUP(world_done) struct world w;

	world_init(&w);
	CHECK_INT(quarantine(&w, "a", "nowhere"), -ENOENT);
	CHECK_CONTAINS(w.err.text, "--keep");
	CHECK_OK(quarantine(&w, "a", "forensics"), &w.err);
	CHECK_STR(w.a.overlay.quarantined[0].identity, "prod/a");
	CHECK_STR(w.a.overlay.quarantined[0].keep, "forensics");
	CHECK_INT(quarantine(&w, "prod/a", NULL), -EEXIST);
	CHECK_OK(ask_revoke(&w, "identity", "prod/a"), &w.err);
	CHECK_OK(overlay_release(&w.a, "identity", "a", answered, &w.answer, &w.err), &w.err);
	CHECK_UINT(w.a.overlay.quarantined_count, 0);
	CHECK_UINT(w.a.overlay.revoked_count, 0);
	CHECK_INT(overlay_release(&w.a, "identity", "a", answered, &w.answer, &w.err), -ENOENT);
}

/* Each by its kind: a rule and a label may have the same name. */
TEST(a_revocation_is_released_by_its_kind_and_name)
{
	CLEANUP(world_done) struct world w;

	world_init(&w);
	CHECK_OK(ask_revoke(&w, "rule", "a-calls-b"), &w.err);
	CHECK_OK(ask_revoke(&w, "rule", "a-calls-b"), &w.err);
	CHECK_OK(ask_revoke(&w, "label", "vendor=x"), &w.err);
	CHECK_INT(overlay_release(&w.a, "label", "vendor=y", answered, &w.answer, &w.err), -ENOENT);
	CHECK_INT(overlay_release(&w.a, "identity", "a-calls-b", answered, &w.answer, &w.err),
		  -ENOENT);
	CHECK_INT(overlay_release(&w.a, "network", "x", answered, &w.answer, &w.err), -EINVAL);
	CHECK_UINT(w.a.overlay.revoked_count, 3);
	CHECK_OK(overlay_release(&w.a, "rule", "a-calls-b", answered, &w.answer, &w.err), &w.err);
	CHECK_UINT(w.a.overlay.revoked_count, 1);
	CHECK_STR(w.a.overlay.revoked[0].name, "vendor=x");
	CHECK_OK(overlay_release(&w.a, "label", "vendor=x", answered, &w.answer, &w.err), &w.err);
	CHECK_UINT(w.a.overlay.revoked_count, 0);
}

/* The controller's order ends there, not here. */
TEST(what_the_controller_revoked_is_not_released_here)
{
	CLEANUP(world_done) struct world w;

	world_init(&w);
	CHECK_OK(ask_revoke(&w, "rule", "a-calls-b"), &w.err);
	w.a.overlay.revoked[0].from_head = true;
	CHECK_INT(overlay_release(&w.a, "rule", "a-calls-b", answered, &w.answer, &w.err), -EPERM);
	CHECK_CONTAINS(w.err.text, "bailiwick-controller release a-calls-b");
	CHECK_UINT(w.a.overlay.revoked_count, 1);
}

/* It left the policy meanwhile: its path still names it. */
TEST(an_identity_that_is_gone_can_be_released)
{
	CLEANUP(world_done) struct world w;

	world_init(&w);
	CHECK_OK(quarantine(&w, "b", NULL), &w.err);
	edition_done(&w.a.confirmed);
	w.a.confirmed.policy = policy_sound(TOP ID("a", ""));
	CHECK_INT(overlay_release(&w.a, "identity", "b", answered, &w.answer, &w.err), -ENOENT);
	CHECK_OK(overlay_release(&w.a, "identity", "prod/b", answered, &w.answer, &w.err), &w.err);
}

TEST(a_revocation_is_on_disk_before_it_is_answered)
{
	CLEANUP(world_done) struct world w;
	struct overlay back;

	world_init(&w);
	CHECK_OK(ask_revoke(&w, "identity", "a"), &w.err);
	CHECK_INT(w.answer.calls, 0);
	CHECK_OK(store_overlay_read(w.a.store, w.a.conduit_numbers, &back, &w.err), &w.err);
	CHECK_UINT(back.revoked_count, 1);
	overlay_done(&back);
	CHECK(!w.a.overlay_unkept);
}

TEST(an_agent_that_ends_answers_once)
{
	CLEANUP(world_done) struct world w;

	world_init(&w);
	CHECK_OK(ask_revoke(&w, "identity", "a"), &w.err);
	agent_waiters_cancel(&w.a);
	agent_waiters_cancel(&w.a);
	CHECK_INT(w.answer.calls, 1);
	CHECK_INT(w.answer.r, -ECANCELED);
}
