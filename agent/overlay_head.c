/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the controller's newest head says takes the place of what the one before said. The entries
 * of this host's operators are not touched. A head that says the same as the one before, which is
 * most of them, costs a comparison and nothing in the kernel.
 */
#include "agent/overlay.h"

#include "agent/first_seen.h"
#include "agent/store.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- what is still in force of it ---------------------------------------------------------- */

static void revoked_done(struct overlay_revoked *r)
{
	free(r->name);
	free(r->reason);
}

static void quarantine_done(struct overlay_quarantine *q)
{
	free(q->identity);
	free(q->keep);
	free(q->reason);
}

/* Ended entries would come and go: the heartbeat drops them, the next head brings them again. */
static void drop_ended(struct overlay *o, struct wall now)
{
	size_t kept = 0;

	for (size_t i = 0; i < o->revoked_count; i++) {
		if (o->revoked[i].until.s && o->revoked[i].until.s <= now.s)
			revoked_done(&o->revoked[i]);
		else
			o->revoked[kept++] = o->revoked[i];
	}
	o->revoked_count = kept;
	kept = 0;
	for (size_t i = 0; i < o->grant_count; i++) {
		if (o->grants[i].until.s <= now.s)
			overlay_grant_done(&o->grants[i]);
		else
			o->grants[kept++] = o->grants[i];
	}
	o->grant_count = kept;
}

static void mark_head(struct overlay *o)
{
	for (size_t i = 0; i < o->revoked_count; i++)
		o->revoked[i].from_head = true;
	for (size_t i = 0; i < o->quarantined_count; i++)
		o->quarantined[i].from_head = true;
	for (size_t i = 0; i < o->grant_count; i++) {
		o->grants[i].from_head = true;
		o->grants[i].since.s = 0;
	}
}

/* --- comparison ---------------------------------------------------------------------------- */

static bool same_revoked(const struct overlay_revoked *x, const struct overlay_revoked *y)
{
	return x->kind == y->kind && x->until.s == y->until.s && str_eq(x->name, y->name) &&
	       str_eq(x->reason, y->reason);
}

static bool same_quarantine(const struct overlay_quarantine *x, const struct overlay_quarantine *y)
{
	return str_eq(x->identity, y->identity) && str_eq(x->keep, y->keep) &&
	       str_eq(x->reason, y->reason);
}

static bool same_grant(const struct overlay_grant *x, const struct overlay_grant *y)
{
	return x->until.s == y->until.s && str_eq(x->rule, y->rule) && str_eq(x->from, y->from) &&
	       str_eq(x->to, y->to) && str_eq(x->who, y->who) && str_eq(x->reason, y->reason);
}

/* The head's entries among ours stand in the order of the head. */
static bool is_same(const struct overlay *ours, const struct overlay *head)
{
	size_t revoked = 0, quarantined = 0, grants = 0;

	for (size_t i = 0; i < ours->revoked_count; i++) {
		if (!ours->revoked[i].from_head)
			continue;
		if (revoked == head->revoked_count ||
		    !same_revoked(&ours->revoked[i], &head->revoked[revoked++]))
			return false;
	}
	for (size_t i = 0; i < ours->quarantined_count; i++) {
		if (!ours->quarantined[i].from_head)
			continue;
		if (quarantined == head->quarantined_count ||
		    !same_quarantine(&ours->quarantined[i], &head->quarantined[quarantined++]))
			return false;
	}
	for (size_t i = 0; i < ours->grant_count; i++) {
		if (!ours->grants[i].from_head)
			continue;
		if (grants == head->grant_count ||
		    !same_grant(&ours->grants[i], &head->grants[grants++]))
			return false;
	}
	return revoked == head->revoked_count && quarantined == head->quarantined_count &&
	       grants == head->grant_count;
}

/* --- taking its place ---------------------------------------------------------------------- */

/* Moves every entry of `head` behind those operators' ones of `ours` that stay. */
static void replace_revoked(struct overlay *ours, struct overlay *head, struct overlay_revoked *all)
{
	size_t n = 0;

	for (size_t i = 0; i < ours->revoked_count; i++) {
		if (ours->revoked[i].from_head)
			revoked_done(&ours->revoked[i]);
		else
			all[n++] = ours->revoked[i];
	}
	for (size_t i = 0; i < head->revoked_count; i++)
		all[n++] = head->revoked[i];
	free(ours->revoked);
	ours->revoked = all;
	ours->revoked_count = n;
	head->revoked_count = 0;
}

static void replace_quarantined(struct overlay *ours, struct overlay *head,
				struct overlay_quarantine *all)
{
	size_t n = 0;

	for (size_t i = 0; i < ours->quarantined_count; i++) {
		if (ours->quarantined[i].from_head)
			quarantine_done(&ours->quarantined[i]);
		else
			all[n++] = ours->quarantined[i];
	}
	for (size_t i = 0; i < head->quarantined_count; i++)
		all[n++] = head->quarantined[i];
	free(ours->quarantined);
	ours->quarantined = all;
	ours->quarantined_count = n;
	head->quarantined_count = 0;
}

static void replace_grants(struct overlay *ours, struct overlay *head, struct overlay_grant *all)
{
	size_t n = 0;

	for (size_t i = 0; i < ours->grant_count; i++) {
		if (ours->grants[i].from_head)
			overlay_grant_done(&ours->grants[i]);
		else
			all[n++] = ours->grants[i];
	}
	for (size_t i = 0; i < head->grant_count; i++)
		all[n++] = head->grants[i];
	free(ours->grants);
	ours->grants = all;
	ours->grant_count = n;
	head->grant_count = 0;
}

/* All or nothing: memory first. */
static int replace(struct overlay *ours, struct overlay *head, struct err *err)
{
	struct overlay_revoked *revoked =
		mem_calloc(ours->revoked_count + head->revoked_count, sizeof(*revoked));
	struct overlay_quarantine *quarantined =
		mem_calloc(ours->quarantined_count + head->quarantined_count, sizeof(*quarantined));
	struct overlay_grant *grants =
		mem_calloc(ours->grant_count + head->grant_count, sizeof(*grants));

	if (!revoked || !quarantined || !grants) {
		free(revoked);
		free(quarantined);
		free(grants);
		return err_set(err, ENOMEM, "out of memory");
	}
	replace_revoked(ours, head, revoked);
	replace_quarantined(ours, head, quarantined);
	replace_grants(ours, head, grants);
	return 0;
}

/* --- the whole ----------------------------------------------------------------------------- */

static void note_seen(struct agent *a, struct overlay *head, struct wall now)
{
	struct err err = {{0}};

	if (first_seen_fill(a->store, head->grants, head->grant_count, now, &err) < 0)
		log_error("grants of the controller may last longer after a restart: %s", err.text);
}

/* While the agent starts, the first load takes it along: nothing can be compiled before. */
static bool is_starting(const struct agent *a)
{
	return (a->starting || !a->workloads) && !a->job;
}

/* The intention is what it was; whoever asks waits for what is still on its way. */
static int nothing_new(struct agent *a, reconciled call, void *user, struct err *err)
{
	const struct cut_list none = {0};
	struct err nothing = {{0}};

	if (!is_starting(a) && (a->job || a->dirty || a->refused))
		return agent_reconcile(a, DIRTY_HOST, call, user, err);
	if (call)
		call(user, 0, &nothing, &none);
	return 0;
}

int overlay_set_head(struct agent *a, struct overlay *take, reconciled call, void *user,
		     struct err *err)
{
	const struct cut_list none = {0};
	CLEANUP(overlay_done) struct overlay head = *take;
	struct wall now = overlay_now(a);
	struct err nothing = {{0}};
	int r;

	memset(take, 0, sizeof(*take));
	drop_ended(&head, now);
	mark_head(&head);
	if (is_same(&a->overlay, &head) && !is_starting(a))
		return nothing_new(a, call, user, err);
	note_seen(a, &head, now);
	r = replace(&a->overlay, &head, err);
	if (r < 0)
		return r;
	if (!is_starting(a))
		return overlay_enforce(a, call, user, err);
	agent_touch(a, DIRTY_POLICY);
	if (call)
		call(user, 0, &nothing, &none);
	return 0;
}
