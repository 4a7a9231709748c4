/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/place.h"

#include "agent/process.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>

void place_init(struct cgroup *c, struct mono now)
{
	struct place *p = c->data;

	p->since = now;
}

void place_done(struct cgroup *c)
{
	struct place *p = c->data;

	for (size_t i = 0; i < ARRAY_LEN(p->slots); i++)
		free(p->slots[i].claims);
	*p = (struct place){0};
}

struct place_slot *place_slot(const struct cgroup *c, enum slot slot)
{
	struct place *p = c->data;

	return &p->slots[slot];
}

/* --- evaluation ------------------------------------------------------------------------------ */

struct gathering {
	const struct place_context *x;
	const struct cgroup *c;
	struct place_claim found[PLACE_CLAIMS_MAX];
	uint8_t count;
	bool too_many;
};

static int gather(void *user, uint32_t number, bool ingress_only)
{
	struct gathering *g = user;
	const struct claim *claim = claims_at(g->x->claims, number);

	for (size_t i = 0; i < g->count; i++)
		if (g->found[i].claim == number)
			return 0;
	if (g->count == PLACE_CLAIMS_MAX) {
		g->too_many = true;
		return 0;
	}
	g->found[g->count++] = (struct place_claim){
		.claim = number,
		.ingress_only = ingress_only,
		.delegated = g->c->delegated && !claim->has_uid && !ingress_only,
	};
	return 0;
}

static int gather_pathless(void *user, uint32_t number)
{
	return gather(user, number, false);
}

/* Conditions of a socket unit's cgroup are its service's: the listener was made by the manager. */
static bool depends_on_processes(const struct claim *claim, const struct place_claim *pc)
{
	return claim_is_conditional(claim) && !pc->ingress_only && !pc->delegated;
}

static enum process_answer check_processes(const struct place_context *x, const struct cgroup *c,
					   const struct claim *claim)
{
	struct process_condition condition = {
		.exe = claim->exe,
		.deleted_exe_ok = x->deleted_exe_ok,
		.has_gid = claim->has_gid,
		.gid = claim->gid,
		.sha256 = claim->has_sha256 ? claim->sha256 : NULL,
		.fsverity = claim->has_fsverity ? claim->fsverity : NULL,
		.digest = x->digest,
		.digest_user = x->digest_user,
	};

	return process_check(cgroup_mount_fd(x->tree), c->path, &condition);
}

/*
 * A claim that does not hold yet keeps the cgroup out of the sets: a service's first process is its
 * manager's executable for a moment, and must not be entered as nobody. A claim without a path
 * would keep every cgroup of the host out, so there the waiting ends when the cgroup has settled.
 */
static bool is_pending(const struct claim *claim, enum process_answer answer, bool settled)
{
	if (answer == PROCESSES_SATISFY)
		return false;
	return !claim->pathless || answer == PROCESSES_NONE || !settled;
}

static void check_conditions(const struct place_context *x, const struct cgroup *c,
			     struct place_slot *s, struct mono now)
{
	const struct place *place = c->data;
	bool settled = mono_ms_since(place->since, now) >= PLACE_SETTLE_MS;

	s->pending = false;
	s->conditional = false;
	for (size_t i = 0; i < s->count; i++) {
		struct place_claim *pc = &s->claims[i];
		const struct claim *claim = claims_at(x->claims, pc->claim);
		enum process_answer answer;

		if (!depends_on_processes(claim, pc)) {
			pc->holds = !pc->delegated;
			continue;
		}
		answer = check_processes(x, c, claim);
		pc->holds = answer == PROCESSES_SATISFY;
		s->conditional = true;
		s->pending = s->pending || is_pending(claim, answer, settled);
	}
}

static bool by_uid(const struct place_context *x, const struct place_claim *pc)
{
	return claims_at(x->claims, pc->claim)->has_uid && !pc->ingress_only;
}

static bool conflict(const struct place_context *x, const struct place_claim *a,
		     const struct place_claim *b)
{
	const struct claim *ca = claims_at(x->claims, a->claim);
	const struct claim *cb = claims_at(x->claims, b->claim);

	if (!a->holds || !b->holds || ca->identity == cb->identity)
		return false;
	return !by_uid(x, a) || !by_uid(x, b) || ca->uid == cb->uid;
}

/* Where both claim, an identity that is placed here comes before one that could be. */
static void yield_to_placed(const struct place_context *x, struct place_slot *s)
{
	for (size_t i = 0; i < s->count; i++) {
		if (claims_at(x->claims, s->claims[i].claim)->placed)
			continue;
		for (size_t k = 0; k < s->count && s->claims[i].holds; k++)
			if (claims_at(x->claims, s->claims[k].claim)->placed &&
			    conflict(x, &s->claims[i], &s->claims[k]))
				s->claims[i].holds = false;
	}
}

static bool has_conflict(const struct place_context *x, const struct place_slot *s)
{
	for (size_t i = 0; i < s->count; i++)
		for (size_t k = i + 1; k < s->count; k++)
			if (conflict(x, &s->claims[i], &s->claims[k]))
				return true;
	return false;
}

static void set_ambiguous(const struct place_context *x, struct cgroup *c, bool ambiguous)
{
	struct place_slot *s = place_slot(c, x->slot);

	if (s->ambiguous == ambiguous)
		return;
	s->ambiguous = ambiguous;
	for (const struct cgroup *a = c->parent; a != NULL; a = a->parent) {
		struct place_slot *above = place_slot(a, x->slot);

		if (ambiguous)
			above->blocked++;
		else if (above->blocked > 0)
			above->blocked--;
	}
}

int place_evaluate(const struct place_context *x, struct cgroup *c, struct mono now)
{
	struct gathering g = {.x = x, .c = c};
	struct place_slot *s = place_slot(c, x->slot);
	struct claim_place where;

	place_forget(x, c);
	claim_place_init(&where, cgroup_below_root(x->tree, c));
	s->open = claims_open_below(x->claims, &where);
	s->look_below = claims_look_below(x->claims, &where);
	s->essential_unit = claims_essential_unit(x->claims, &where);
	(void)claims_anchored(x->claims, &where, gather, &g);
	/* An open cgroup is never entered; what has no path is then found in its children. */
	if (!s->open)
		(void)claims_pathless(x->claims, gather_pathless, &g);
	if (g.count > 0) {
		s->claims = mem_calloc(g.count, sizeof(*s->claims));
		if (s->claims == NULL) {
			s->failed = true;
			return -ENOMEM;
		}
		for (size_t i = 0; i < g.count; i++)
			s->claims[i] = g.found[i];
		s->count = g.count;
	}
	s->failed = g.too_many;
	check_conditions(x, c, s, now);
	yield_to_placed(x, s);
	set_ambiguous(x, c, has_conflict(x, s));
	return 0;
}

void place_forget(const struct place_context *x, struct cgroup *c)
{
	struct place_slot *s = place_slot(c, x->slot);
	uint32_t blocked;

	set_ambiguous(x, c, false);
	free(s->claims);
	blocked = s->blocked;
	*s = (struct place_slot){.blocked = blocked};
}

bool place_recheck(const struct place_context *x, struct cgroup *c, struct mono now)
{
	struct place_slot *s = place_slot(c, x->slot);
	bool before[PLACE_CLAIMS_MAX] = {0}, pending, changed;

	if (!s->conditional)
		return false;
	pending = s->pending;
	for (size_t i = 0; i < s->count; i++)
		before[i] = s->claims[i].holds;
	check_conditions(x, c, s, now);
	yield_to_placed(x, s);
	set_ambiguous(x, c, has_conflict(x, s));
	changed = pending != s->pending;
	for (size_t i = 0; i < s->count; i++)
		changed = changed || before[i] != s->claims[i].holds;
	return changed;
}

/* --- questions ------------------------------------------------------------------------------- */

static bool anything_holds(const struct place_slot *s)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->claims[i].holds)
			return true;
	return false;
}

const struct cgroup *place_holder(const struct cgroup *c, enum slot slot)
{
	for (; c != NULL; c = c->parent) {
		const struct place_slot *s = place_slot(c, slot);

		if (anything_holds(s))
			return c;
	}
	return NULL;
}

bool place_enterable(const struct cgroup *c, enum slot slot)
{
	const struct place_slot *s = place_slot(c, slot);
	const struct cgroup *holder;

	if (c->level < 1 || c->level > CGROUP_LEVEL_MAX || s->open || s->blocked > 0)
		return false;
	/* Up to the claim that decides, or to the topmost cgroup that could, nothing may be
	 * undecided. */
	for (const struct cgroup *a = c; a != NULL; a = a->parent) {
		const struct place_slot *above = place_slot(a, slot);

		if (above->failed)
			return false;
		if (above->open)
			break;
		if (above->pending)
			return false;
		if (anything_holds(above))
			break;
	}
	holder = place_holder(c, slot);
	return holder == NULL || !place_slot(holder, slot)->ambiguous;
}

bool place_emits(const struct cgroup *c, enum slot slot)
{
	if (!place_enterable(c, slot))
		return false;
	return c->parent == NULL || anything_holds(place_slot(c, slot)) ||
	       !place_enterable(c->parent, slot);
}

struct uid_judging {
	const struct place_context *x;
	struct place_judgement j;
};

static int judge_claim(void *user, uint32_t number)
{
	struct uid_judging *u = user;
	uint32_t identity = claims_at(u->x->claims, number)->identity;

	if (u->j.owner == PLACE_IDENTITY && u->j.identity != identity) {
		u->j.owner = PLACE_AMBIGUOUS;
		return -EEXIST; /* ends the search */
	}
	u->j.owner = PLACE_IDENTITY;
	u->j.identity = identity;
	return 0;
}

/* The uid alone: the last resort, after every cgroup. */
static struct place_judgement judge_by_uid(const struct place_context *x, uint32_t uid)
{
	struct uid_judging u = {.x = x};

	(void)claims_of_uid(x->claims, uid, judge_claim, &u);
	u.j.has_uid = u.j.owner == PLACE_IDENTITY;
	u.j.ask_listener = claims_have_uid_only(x->claims);
	return u.j;
}

struct place_judgement place_judge(const struct place_context *x, const struct cgroup *c,
				   uint32_t uid)
{
	const struct cgroup *holder = c != NULL ? place_holder(c, x->slot) : NULL;
	struct place_judgement j = {0};
	const struct place_slot *s;
	bool any_by_uid = false;

	if (holder == NULL)
		return judge_by_uid(x, uid);
	s = place_slot(holder, x->slot);
	if (s->ambiguous || s->failed) {
		j.owner = PLACE_AMBIGUOUS;
		return j;
	}
	for (size_t i = 0; i < s->count; i++) {
		const struct place_claim *pc = &s->claims[i];
		const struct claim *claim = claims_at(x->claims, pc->claim);

		if (!pc->holds)
			continue;
		any_by_uid = any_by_uid || by_uid(x, pc);
		if (by_uid(x, pc) && claim->uid != uid)
			continue;
		/* A claim without uid says more than one with it: the whole cgroup is this
		 * identity's. */
		j.has_uid = by_uid(x, pc) && (j.owner == PLACE_NOBODY || j.has_uid);
		j.ingress_only = pc->ingress_only && (j.owner == PLACE_NOBODY || j.ingress_only);
		j.owner = PLACE_IDENTITY;
		j.identity = claim->identity;
	}
	if (j.owner == PLACE_IDENTITY) {
		j.ask_listener = j.has_uid;
		return j;
	}
	/* The cgroup is claimed for other users: what is left is nobody's, or its uid's own. */
	j = judge_by_uid(x, uid);
	j.ask_listener = any_by_uid || j.ask_listener;
	return j;
}
