/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the controller's heads say beside what operators of this host say; and grants. */
#include "agent/overlay.h"

#include "agent/first_seen.h"
#include "agent/store.h"
#include "base/mem.h"
#include "rules/marks.h"
#include "tests/unit/compile_fixture.h"
#include "tests/unit/policy_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOUR 3600

static const char policy[] = TOP ID("a", "") ID("b", "")
	ID("c", "") "rules:\n" RULE("jit", "a", "b", "tcp/80", ", grantable: {max: 8h}")
		RULE("plain", "a", "c", "tcp/80", "");

struct answer {
	int calls, r;
};

static void answered(void *user, int r, const struct err *err, const struct cut_list *cut)
{
	struct answer *a = user;

	CHECK(err != NULL);
	CHECK(cut != NULL || r < 0);
	a->calls++;
	a->r = r;
}

/* A load is in progress, so that what is asked for waits and the kernel is not needed. */
struct world {
	struct agent a;
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

static int grant(struct world *w, const char *rule, const char *from, const char *to,
		 int64_t seconds)
{
	memset(&w->answer, 0, sizeof(w->answer));
	return overlay_grant_add(&w->a, rule, from, to, seconds, "root", "why", answered,
				 &w->answer, &w->err);
}

static struct overlay_grant one_grant(int64_t until)
{
	struct overlay_grant g = {.rule = mem_strdup("jit"),
				  .from = mem_strdup("prod/a"),
				  .to = mem_strdup("prod/b"),
				  .who = mem_strdup("ada")};

	g.until.s = until;
	return g;
}

/* A head with a quarantine, a revocation and a grant; any of them may be left out. */
static struct overlay head_of(const char *quarantine, const char *rule, int64_t until)
{
	struct overlay o = {.quarantined = mem_calloc(1, sizeof(*o.quarantined)),
			    .revoked = mem_calloc(1, sizeof(*o.revoked)),
			    .grants = mem_calloc(1, sizeof(*o.grants))};

	if (quarantine) {
		o.quarantined[o.quarantined_count].identity = mem_strdup(quarantine);
		o.quarantined[o.quarantined_count++].reason = mem_strdup("stolen");
	}
	if (rule) {
		o.revoked[0].kind = REVOKED_RULE;
		o.revoked[o.revoked_count++].name = mem_strdup(rule);
	}
	if (until)
		o.grants[o.grant_count++] = one_grant(until);
	return o;
}

static int set_head(struct world *w, struct overlay take)
{
	int r;

	memset(&w->answer, 0, sizeof(w->answer));
	r = overlay_set_head(&w->a, &take, answered, &w->answer, &w->err);
	CHECK(take.quarantined == NULL && take.revoked == NULL && take.grants == NULL);
	return r;
}

static size_t waiting(const struct world *w)
{
	size_t n = 0;

	for (const struct waiter *x = w->a.waiters; x; x = x->following)
		n++;
	return n;
}

/* --- grants of operators ------------------------------------------------------------------- */

TEST(a_grant_is_bound_by_the_rule_and_its_parties)
{
	CLEANUP(world_done) struct world w;

	world_init(&w);
	CHECK_INT(grant(&w, "jot", "a", "b", HOUR), -ENOENT);
	CHECK_CONTAINS(w.err.text, "did you mean \"jit\"?");
	CHECK_INT(grant(&w, "plain", "a", "c", HOUR), -EPERM);
	CHECK_STR(w.err.text, "rule \"plain\" is not grantable; its owner (o) can add grantable: "
			      "{max: 8h} to it in the policy");
	CHECK_INT(grant(&w, "jit", "a", "b", 8 * HOUR + 1), -EPERM);
	CHECK_STR(w.err.text, "rule \"jit\" can be granted for at most 8h");
	CHECK_INT(grant(&w, "jit", "a", "b", 0), -EPERM);
	CHECK_INT(grant(&w, "jit", "c", "b", HOUR), -EPERM);
	CHECK_STR(w.err.text, "c is not under from: of rule \"jit\"");
	CHECK_INT(grant(&w, "jit", "a", "c", HOUR), -EPERM);
	CHECK_STR(w.err.text, "c is not under to: of rule \"jit\"");
	CHECK_INT(grant(&w, "jit", "a", "z", HOUR), -ENOENT);
	CHECK_UINT(w.a.overlay.grant_count, 0);
	CHECK_INT(w.answer.calls, 0);
	CHECK_OK(grant(&w, "jit", "a", "prod/b", 8 * HOUR), &w.err);
	CHECK_UINT(w.a.overlay.grant_count, 1);
	CHECK_STR(w.a.overlay.grants[0].from, "prod/a");
	CHECK_STR(w.a.overlay.grants[0].to, "prod/b");
	CHECK(w.a.overlay.grants[0].until.s - w.a.overlay.grants[0].since.s == 8 * HOUR);
}

TEST(a_newer_grant_takes_the_place_of_the_older_one)
{
	CLEANUP(world_done) struct world w;
	struct overlay back;

	world_init(&w);
	CHECK_OK(grant(&w, "jit", "a", "b", HOUR), &w.err);
	CHECK_OK(grant(&w, "jit", "a", "b", 1), &w.err);
	CHECK_UINT(w.a.overlay.grant_count, 1);
	CHECK_OK(store_overlay_read(w.a.store, w.a.conduit_numbers, &back, &w.err), &w.err);
	CHECK_UINT(back.grant_count, 1);
	CHECK_STR(back.grants[0].who, "root");
	CHECK_STR(back.grants[0].reason, "why");
	CHECK_INT(back.grants[0].until.s, w.a.overlay.grants[0].until.s);
	CHECK_INT(back.grants[0].since.s, w.a.overlay.grants[0].since.s);
	overlay_done(&back);
}

TEST(ended_grants_are_dropped)
{
	CLEANUP(world_done) struct world w;
	struct overlay back;
	struct wall end;

	world_init(&w);
	CHECK_OK(grant(&w, "jit", "a", "b", HOUR), &w.err);
	end = w.a.overlay.grants[0].until;
	overlay_tick(&w.a, (struct wall){end.s - 1});
	CHECK_UINT(w.a.overlay.grant_count, 1);
	overlay_tick(&w.a, end);
	CHECK_UINT(w.a.overlay.grant_count, 0);
	CHECK_OK(store_overlay_read(w.a.store, w.a.conduit_numbers, &back, &w.err), &w.err);
	CHECK_UINT(back.grant_count, 0);
	overlay_done(&back);
}

/* --- heads --------------------------------------------------------------------------------- */

TEST(a_head_replaces_the_head_before_and_nothing_of_the_operators)
{
	CLEANUP(world_done) struct world w;
	struct overlay back;
	int64_t later = wall_now().s + HOUR;

	world_init(&w);
	CHECK_OK(overlay_quarantine(&w.a, "a", NULL, "local", NULL, NULL, &w.err), &w.err);
	CHECK_OK(grant(&w, "jit", "a", "b", HOUR), &w.err);
	CHECK_OK(set_head(&w, head_of("prod/b", "plain", later)), &w.err);
	CHECK_UINT(w.a.overlay.quarantined_count, 2);
	CHECK_UINT(w.a.overlay.revoked_count, 1);
	CHECK_UINT(w.a.overlay.grant_count, 2);
	CHECK(w.a.overlay.quarantined[1].from_head);
	CHECK(w.a.dirty & DIRTY_POLICY);
	CHECK_OK(store_overlay_read(w.a.store, w.a.conduit_numbers, &back, &w.err), &w.err);
	CHECK_UINT(back.quarantined_count, 1);
	CHECK_UINT(back.revoked_count, 0);
	CHECK_UINT(back.grant_count, 1);
	overlay_done(&back);
	CHECK_OK(set_head(&w, head_of("prod/c", NULL, 0)), &w.err);
	CHECK_UINT(w.a.overlay.quarantined_count, 2);
	CHECK_STR(w.a.overlay.quarantined[0].identity, "prod/a");
	CHECK_STR(w.a.overlay.quarantined[1].identity, "prod/c");
	CHECK_UINT(w.a.overlay.revoked_count, 0);
	CHECK_UINT(w.a.overlay.grant_count, 1);
	CHECK(!w.a.overlay.grants[0].from_head);
}

TEST(a_head_that_says_the_same_changes_nothing)
{
	CLEANUP(world_done) struct world w;
	int64_t later = wall_now().s + HOUR;

	world_init(&w);
	CHECK_OK(set_head(&w, head_of("prod/b", "plain", later)), &w.err);
	agent_waiters_cancel(&w.a);
	w.a.dirty = 0;
	/* Neither a job nor anything to do. */
	agent_job_free(TAKE_PTR(w.a.job));
	w.a.workloads = (struct workloads *)&w;
	CHECK_OK(set_head(&w, head_of("prod/b", "plain", later)), &w.err);
	CHECK_INT(w.answer.calls, 1);
	CHECK_INT(w.answer.r, 0);
	CHECK_UINT(w.a.dirty, 0);
	CHECK_UINT(waiting(&w), 0);
}

TEST(at_start_the_stored_head_waits_for_the_first_load)
{
	CLEANUP(world_done) struct world w;

	world_init(&w);
	agent_job_free(TAKE_PTR(w.a.job));
	CHECK_OK(set_head(&w, head_of("prod/b", NULL, 0)), &w.err);
	CHECK_INT(w.answer.calls, 1);
	CHECK_UINT(waiting(&w), 0);
	CHECK_UINT(w.a.overlay.quarantined_count, 1);
	CHECK(w.a.dirty & DIRTY_POLICY);
}

TEST(the_same_head_while_a_load_is_on_its_way_waits_for_it)
{
	CLEANUP(world_done) struct world w;

	world_init(&w);
	CHECK_OK(set_head(&w, head_of("prod/b", NULL, 0)), &w.err);
	CHECK_OK(set_head(&w, head_of("prod/b", NULL, 0)), &w.err);
	CHECK_INT(w.answer.calls, 0);
	CHECK_UINT(waiting(&w), 2);
}

TEST(ended_entries_of_a_head_do_not_come_and_go)
{
	CLEANUP(world_done) struct world w;
	struct overlay head = head_of(NULL, "plain", wall_now().s - 1);

	world_init(&w);
	head.revoked[0].until.s = wall_now().s - 1;
	CHECK_OK(set_head(&w, head), &w.err);
	CHECK_UINT(w.a.overlay.grant_count, 0);
	CHECK_UINT(w.a.overlay.revoked_count, 0);
}

TEST(what_the_controller_holds_is_not_released_here)
{
	CLEANUP(world_done) struct world w;

	world_init(&w);
	CHECK_OK(set_head(&w, head_of("prod/b", NULL, 0)), &w.err);
	CHECK_INT(overlay_release(&w.a, "identity", "b", answered, &w.answer, &w.err), -EPERM);
	CHECK_STR(w.err.text, "prod/b is held by the controller, not by this host; there: "
			      "bailiwick-controller release prod/b --reason TEXT");
	/* An operator's own may be added and taken back; the controller's stays. */
	CHECK_OK(overlay_quarantine(&w.a, "b", NULL, "mine", NULL, NULL, &w.err), &w.err);
	CHECK_UINT(w.a.overlay.quarantined_count, 2);
	CHECK_OK(overlay_release(&w.a, "identity", "b", NULL, NULL, &w.err), &w.err);
	CHECK_UINT(w.a.overlay.quarantined_count, 1);
	CHECK(overlay_is_held_by_head(&w.a, "identity", "b"));
	CHECK(!overlay_is_held_by_head(&w.a, "identity", "a"));
}

/* Policy may name it tomorrow. */
TEST(unknown_names_of_a_head_are_kept)
{
	CLEANUP(world_done) struct world w;

	world_init(&w);
	CHECK_OK(set_head(&w, head_of("prod/z", "later", 0)), &w.err);
	CHECK_UINT(w.a.overlay.quarantined_count, 1);
	CHECK_UINT(w.a.overlay.revoked_count, 1);
}

/* --- first seen ---------------------------------------------------------------------------- */

TEST(a_restart_does_not_begin_the_time_of_a_grant_again)
{
	CLEANUP(world_done) struct world w;
	struct overlay_grant a = one_grant(1000000), b = one_grant(1000000), c = one_grant(1000001);

	world_init(&w);
	CHECK_OK(first_seen_fill(w.a.store, &a, 1, (struct wall){500}, &w.err), &w.err);
	CHECK_INT(a.since.s, 500);
	CHECK_OK(first_seen_fill(w.a.store, &b, 1, (struct wall){900}, &w.err), &w.err);
	CHECK_INT(b.since.s, 500);
	CHECK_OK(first_seen_fill(w.a.store, &c, 1, (struct wall){900}, &w.err), &w.err);
	CHECK_INT(c.since.s, 900);
	/* One that left the head for a while. */
	b.since.s = 0;
	CHECK_OK(first_seen_fill(w.a.store, &b, 1, (struct wall){950}, &w.err), &w.err);
	CHECK_INT(b.since.s, 500);
	overlay_grant_done(&a);
	overlay_grant_done(&b);
	overlay_grant_done(&c);
}

TEST(ended_grants_are_forgotten_on_disk)
{
	CLEANUP(world_done) struct world w;
	CLEANUP(freep) char *text = NULL;
	struct overlay_grant a = one_grant(1000), b = one_grant(2000);

	world_init(&w);
	CHECK_OK(first_seen_fill(w.a.store, &a, 1, (struct wall){500}, &w.err), &w.err);
	CHECK_OK(first_seen_fill(w.a.store, &b, 1, (struct wall){1500}, &w.err), &w.err);
	CHECK_OK(store_text_read(w.a.store, "grants-seen.json", 4096, &text, &w.err), &w.err);
	CHECK(strstr(text, "2000") != NULL);
	CHECK(strstr(text, "1000") == NULL);
	overlay_grant_done(&a);
	overlay_grant_done(&b);
}

TEST(a_damaged_list_of_grants_is_told_and_begun_again)
{
	CLEANUP(world_done) struct world w;
	struct overlay_grant a = one_grant(1000);

	world_init(&w);
	CHECK_OK(store_text_write(w.a.store, "grants-seen.json", "{", 1, &w.err), &w.err);
	CHECK(first_seen_fill(w.a.store, &a, 1, (struct wall){500}, &w.err) < 0);
	CHECK_CONTAINS(w.err.text, "grants-seen.json");
	CHECK_INT(a.since.s, 500);
	a.since.s = 0;
	CHECK_OK(first_seen_fill(w.a.store, &a, 1, (struct wall){700}, &w.err), &w.err);
	CHECK_INT(a.since.s, 500);
	overlay_grant_done(&a);
}

OOM_TEST(first_seen)
{
	static struct store *s;
	static unsigned round;
	struct overlay_grant a = {.rule = (char *)(uintptr_t) "jit",
				  .from = (char *)(uintptr_t) "a",
				  .to = (char *)(uintptr_t) "b"};
	int r;

	if (!s) {
		CLEANUP(freep) char *state = NULL;
		CLEANUP(freep) char *run = NULL;
		struct err err;

		mem_fail_after(0);
		state = mem_printf("%s/state", test_dir());
		run = mem_printf("%s/run", test_dir());
		CHECK_OK(store_open(state, run, &s, &err), &err);
		mem_fail_after(1);
	}
	/* Another one each time, so that there is something to write, and when the last has ended.
	 */
	a.until.s = 1000000 + ++round;
	r = first_seen_fill(s, &a, 1, (struct wall){a.until.s - 1}, NULL);
	CHECK(a.since.s != 0);
	return r == -EBADMSG ? -ENOMEM : r;
}
