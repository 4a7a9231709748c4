/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Quarantines, revocations, grants: in force from the commit on, in the next head of every node
 * they concern, which is told at once and fetches without splay. All names must be those of the
 * policy in force, and a grant stays within what signed policy marks grantable: the agent checks
 * the same again.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "controller/core_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DURATION_MAX_S (3650LL * 86400)

const char *action_kind_name(enum action_kind kind)
{
	switch (kind) {
	case ACTION_QUARANTINE:
		return "quarantine";
	case ACTION_REVOKE_RULE:
		return "revoke-rule";
	case ACTION_REVOKE_IDENTITY:
		return "revoke-identity";
	case ACTION_REVOKE_LABEL:
		return "revoke-label";
	case ACTION_GRANT:
		return "grant";
	}
	return "";
}

void action_done(struct action *a)
{
	free(a->target);
	free(a->keep);
	free(a->from);
	free(a->to);
	free(a->reason);
	free(a->who);
	*a = (struct action){0};
}

/* --- whom it concerns ------------------------------------------------------------------------- */

static int touch_path(struct core *c, const char *path)
{
	int index = policy_find_identity(c->policy, path);

	return index < 0 ? 0 : views_touch_identity(c->views, (uint32_t)index);
}

static int touch_label(struct core *c, const char *expression)
{
	const struct policy *p = c->policy;
	int r = 0;

	for (size_t i = 0; i < p->network_count; i++)
		if (expression_matches(expression, p->networks[i].labels,
				       p->networks[i].label_count)) {
			views_touch_all(c->views);
			return 0;
		}
	for (size_t i = 0; i < p->identity_count && r == 0; i++)
		if (expression_matches(expression, p->identities[i].labels,
				       p->identities[i].label_count))
			r = views_touch_identity(c->views, (uint32_t)i);
	return r;
}

static int touch(struct core *c, const struct action *a)
{
	int rule, r;

	if (!c->policy)
		return 0;
	switch (a->kind) {
	case ACTION_QUARANTINE:
	case ACTION_REVOKE_IDENTITY:
		return touch_path(c, a->target);
	case ACTION_REVOKE_RULE:
		rule = policy_find_rule(c->policy, a->target);
		return rule < 0 ? 0 : views_touch_rule(c->views, (uint32_t)rule);
	case ACTION_REVOKE_LABEL:
		return touch_label(c, a->target);
	case ACTION_GRANT:
		r = touch_path(c, a->from);
		return r < 0 ? r : touch_path(c, a->to);
	}
	return 0;
}

/* --- beginning -------------------------------------------------------------------------------- */

static char *copy(const char *text, int *r)
{
	char *s = text ? mem_strdup(text) : NULL;

	if (text && !s)
		*r = -ENOMEM;
	return s;
}

/* a->kind is set. Everything is copied: nothing of it goes when the policy goes. */
static int fill(struct action *a, const char *target, const char *reason, const char *who,
		struct err *err)
{
	int r = 0;

	a->target = copy(target, &r);
	a->reason = copy(reason, &r);
	a->who = copy(who ? who : "", &r);
	return r < 0 ? err_set(err, ENOMEM, "out of memory") : 0;
}

static void set_text(json_t *object, const char *key, const char *text)
{
	if (text)
		(void)json_object_set_new(object, key, json_string(text));
}

json_t *action_json(const struct action *a)
{
	json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:o,s:o}", "kind", action_kind_name(a->kind),
			      "target", a->target, "reason", a->reason, "who", a->who, "at",
			      time_json(a->at.s), "until", time_json(a->until.s));

	if (!o)
		return NULL;
	if (a->id > 0) /* the store gives it */
		(void)json_object_set_new(o, "action", json_integer(a->id));
	set_text(o, "keep", a->keep);
	set_text(o, "from", a->from);
	set_text(o, "to", a->to);
	return o;
}

static int write_action(struct core *c, struct action *a, struct err *err)
{
	json_t *detail = action_json(a);
	int r;

	r = core_write_begin(c, a->who, action_kind_name(a->kind), a->target, detail, err);
	json_decref(detail);
	if (r < 0)
		return r;
	r = store_order(c->store, STORE_ACTION_ADD, err, store_int(a->kind), store_text(a->target),
			store_text(a->keep), store_text(a->from), store_text(a->to),
			store_text(a->reason), store_text(a->who), store_int(a->at.s),
			store_int(a->until.s));
	a->id = store_last_id(c->store);
	return core_write_end(c, r, err);
}

static int answer(const struct action *a, size_t nodes, json_t **ret, struct err *err)
{
	json_t *o = action_json(a);

	if (!o)
		return err_set(err, ENOMEM, "out of memory");
	(void)json_object_set_new(o, "version", json_integer(1));
	(void)json_object_set_new(o, "nodes", json_integer((json_int_t)nodes));
	*ret = o;
	return 0;
}

/* What is written is the core's; *a is empty then. */
static int begin(struct core *c, struct action *a, int64_t seconds, json_t **ret, struct err *err)
{
	struct action *kept;
	int r;

	if (c->action_count >= CORE_ACTIONS_MAX)
		return err_set(err, ENOSPC,
			       "%d quarantines, revocations and grants are in force; releasing "
			       "some would be right",
			       CORE_ACTIONS_MAX);
	if (seconds < 0 || seconds > DURATION_MAX_S)
		return err_set(err, EINVAL, "for %" PRId64 " s; 1s to 3650d would be right",
			       seconds);
	a->at = core_now(c);
	a->until.s = seconds > 0 ? a->at.s + seconds : 0;
	r = vec_grow(&c->actions, &c->action_cap, c->action_count + 1, sizeof(*c->actions),
		     CORE_ACTIONS_MAX);
	if (r < 0)
		return err_set(err, ENOMEM, "out of memory");
	r = write_action(c, a, err);
	if (r < 0)
		return r;
	c->actions[c->action_count++] = *a;
	*a = (struct action){0};
	kept = &c->actions[c->action_count - 1];
	if (touch(c, kept) < 0)
		c->lost = true;
	return answer(kept, heads_changed(c, true), ret, err);
}

/* --- orders ---------------------------------------------------------------------------------- */

static bool in_force(const struct core *c, const struct action *wanted)
{
	for (size_t i = 0; i < c->action_count; i++) {
		const struct action *a = &c->actions[i];

		if (a->kind == wanted->kind && str_eq(a->target, wanted->target) &&
		    str_eq(a->from, wanted->from) && str_eq(a->to, wanted->to))
			return true;
	}
	return false;
}

static int check_reason(struct core *c, const char *reason, const char *who, struct err *err)
{
	int r = core_ready(c, err);

	if (r == 0)
		r = check_text("reason", reason, HEAD_TEXT_MAX, true, err);
	return r < 0 ? r : check_text("operator", who, CORE_WHO_MAX, false, err);
}

static int quarantine(struct core *c, struct action *a, const char *identity, const char *keep,
		      const char *reason, const char *who, struct err *err)
{
	int index = find_identity(c, identity, err), network = 0, r;

	if (index >= 0 && keep && keep[0] != '\0')
		network = find_network(c, keep, err);
	if (index < 0 || network < 0)
		return index < 0 ? index : network;
	r = fill(a, c->policy->identities[index].path, reason, who, err);
	if (r == 0 && keep && keep[0] != '\0')
		a->keep = copy(c->policy->networks[network].name, &r);
	if (r == 0 && in_force(c, a))
		r = err_set(err, EEXIST, "'%s' is in quarantine already", a->target);
	return r;
}

int core_quarantine(struct core *c, const char *identity, const char *keep, const char *reason,
		    const char *who, json_t **ret, struct err *err)
{
	CLEANUP(action_done) struct action a = {.kind = ACTION_QUARANTINE};
	int r;

	r = check_reason(c, reason, who, err);
	if (r == 0)
		r = check_text("identity", identity, REPORT_IDENTITY_MAX, true, err);
	if (r == 0)
		r = quarantine(c, &a, identity, keep, reason, who, err);
	return r < 0 ? r : begin(c, &a, 0, ret, err);
}

static int revoke_target(const struct core *c, const char *kind, const char *name, struct action *a,
			 const char **ret, struct err *err)
{
	int index;

	if (str_eq(kind, "rule")) {
		index = find_rule(c, name, err);
		a->kind = ACTION_REVOKE_RULE;
		*ret = index >= 0 ? c->policy->rules[index].name : NULL;
	} else if (str_eq(kind, "identity")) {
		index = find_identity(c, name, err);
		a->kind = ACTION_REVOKE_IDENTITY;
		*ret = index >= 0 ? c->policy->identities[index].path : NULL;
	} else if (str_eq(kind, "label")) {
		index = expression_check(name, err) ? 0 : -EINVAL;
		a->kind = ACTION_REVOKE_LABEL;
		*ret = name;
	} else {
		return err_set(err, EINVAL, "revoke what? rule, identity or label would be right");
	}
	return index < 0 ? index : 0;
}

int core_revoke(struct core *c, const char *kind, const char *name, int64_t seconds,
		const char *reason, const char *who, json_t **ret, struct err *err)
{
	CLEANUP(action_done) struct action a = {0};
	const char *target = NULL;
	int r;

	r = check_reason(c, reason, who, err);
	if (r == 0)
		r = check_text("name", name, HEAD_TEXT_MAX, true, err);
	if (r == 0)
		r = revoke_target(c, kind, name, &a, &target, err);
	if (r == 0)
		r = fill(&a, target, reason, who, err);
	if (r < 0)
		return r;
	if (in_force(c, &a))
		return err_set(err, EEXIST, "%s '%s' is revoked already", kind, a.target);
	return begin(c, &a, seconds, ret, err);
}

static bool is_party(const struct party_ref *parties, size_t count, int identity)
{
	for (size_t i = 0; i < count; i++)
		if (parties[i].kind == PARTY_IDENTITY && parties[i].index == (uint32_t)identity)
			return true;
	return false;
}

static int check_grant(const struct rule *u, int64_t seconds, struct err *err)
{
	char longest[DURATION_TEXT_MAX];

	if (!u->grantable)
		return err_set(err, EACCES, "signed policy does not mark rule '%s' grantable",
			       u->name);
	if (seconds < 1 || seconds > u->grant_max_s)
		return err_set(err, EACCES,
			       "rule '%s' may be granted for at most %s (signed policy)", u->name,
			       duration_format(longest, u->grant_max_s));
	return 0;
}

static int grant(struct core *c, struct action *a, const char *rule, const char *from,
		 const char *to, int64_t seconds, struct err *err)
{
	int index = find_rule(c, rule, err), from_index, to_index, r;
	const struct rule *u = index >= 0 ? &c->policy->rules[index] : NULL;

	if (!u)
		return index;
	from_index = find_identity(c, from, err);
	to_index = from_index >= 0 ? find_identity(c, to, err) : from_index;
	if (to_index < 0)
		return to_index;
	r = check_grant(u, seconds, err);
	if (r == 0 && !is_party(u->from_parties, u->from_party_count, from_index))
		r = err_set(err, EACCES, "'%s' is not among 'from' of rule '%s'", from, u->name);
	if (r == 0 && !is_party(u->to_parties, u->to_party_count, to_index))
		r = err_set(err, EACCES, "'%s' is not among 'to' of rule '%s'", to, u->name);
	if (r < 0)
		return r;
	a->from = copy(c->policy->identities[from_index].path, &r);
	a->to = copy(c->policy->identities[to_index].path, &r);
	return r < 0 ? err_set(err, ENOMEM, "out of memory") : index;
}

int core_grant(struct core *c, const char *rule, const char *from, const char *to, int64_t seconds,
	       const char *reason, const char *who, json_t **ret, struct err *err)
{
	CLEANUP(action_done) struct action a = {.kind = ACTION_GRANT};
	int r;

	r = check_reason(c, reason, who, err);
	if (r == 0)
		r = check_text("rule", rule, HEAD_TEXT_MAX, true, err);
	if (r == 0)
		r = check_text("from", from, REPORT_IDENTITY_MAX, true, err);
	if (r == 0)
		r = check_text("to", to, REPORT_IDENTITY_MAX, true, err);
	if (r == 0)
		r = grant(c, &a, rule, from, to, seconds, err);
	if (r >= 0)
		r = fill(&a, c->policy->rules[r].name, reason, who, err);
	if (r == 0 && in_force(c, &a))
		r = err_set(err, EEXIST, "rule '%s' is granted to '%s' already", a.target, a.from);
	return r < 0 ? r : begin(c, &a, seconds, ret, err);
}

/* --- ending ---------------------------------------------------------------------------------- */

static void forget(struct core *c, size_t i)
{
	action_done(&c->actions[i]);
	memmove(&c->actions[i], &c->actions[i + 1],
		(c->action_count - i - 1) * sizeof(*c->actions));
	c->action_count--;
}

/* What the name means: a quarantine, or revocations of that name. */
static bool is_meant(const struct action *a, const char *path, const char *name)
{
	switch (a->kind) {
	case ACTION_QUARANTINE:
	case ACTION_REVOKE_IDENTITY:
		return str_eq(a->target, path);
	case ACTION_REVOKE_RULE:
	case ACTION_REVOKE_LABEL:
		return str_eq(a->target, name);
	case ACTION_GRANT:
		return false;
	}
	return false;
}

static int end_in_store(struct core *c, const char *path, const char *name, const char *reason,
			const char *who, struct err *err)
{
	json_t *detail = json_pack("{s:s}", "reason", reason);
	int r;

	r = core_write_begin(c, who, "release", name, detail, err);
	json_decref(detail);
	if (r < 0)
		return r;
	for (size_t i = 0; i < c->action_count && r >= 0; i++)
		if (is_meant(&c->actions[i], path, name))
			r = store_order(c->store, STORE_ACTION_END, err,
					store_int(c->actions[i].id), store_int(core_now(c).s));
	return core_write_end(c, r, err);
}

int core_release(struct core *c, const char *identity, const char *reason, const char *who,
		 json_t **ret, struct err *err)
{
	size_t count = 0, nodes;
	const char *path = identity;
	json_t *ended;
	int index, r;

	r = check_reason(c, reason, who, err);
	if (r == 0)
		r = check_text("identity", identity, REPORT_IDENTITY_MAX, true, err);
	if (r < 0)
		return r;
	index = c->policy ? policy_find_identity(c->policy, identity) : -ENOENT;
	if (index >= 0)
		path = c->policy->identities[index].path;
	for (size_t i = 0; i < c->action_count; i++)
		count += is_meant(&c->actions[i], path, identity);
	if (count == 0)
		return err_set(err, ENOENT,
			       "nothing called '%s' is in quarantine or revoked; 'status' lists "
			       "what is",
			       identity);
	r = end_in_store(c, path, identity, reason, who, err);
	if (r < 0)
		return r;
	ended = json_array();
	for (size_t i = c->action_count; i-- > 0;) {
		if (!is_meant(&c->actions[i], path, identity))
			continue;
		if (touch(c, &c->actions[i]) < 0)
			c->lost = true;
		(void)json_array_append_new(ended, action_json(&c->actions[i]));
		forget(c, i);
	}
	nodes = heads_changed(c, true);
	*ret = json_pack("{s:i,s:o,s:I}", "version", 1, "released", ended, "nodes",
			 (json_int_t)nodes);
	return *ret ? 0 : err_set(err, ENOMEM, "out of memory");
}

/* The agents end them by themselves, by the same time; the heads follow. */
void actions_expire(struct core *c)
{
	struct err err = {{0}};
	int64_t now = core_now(c).s;

	for (size_t i = c->action_count; i-- > 0;) {
		struct action *a = &c->actions[i];
		int r;

		if (a->until.s == 0 || a->until.s > now)
			continue;
		r = core_write_begin(c, "controller", "end", a->target, NULL, &err);
		if (r == 0) {
			r = store_order(c->store, STORE_ACTION_END, &err, store_int(a->id),
					store_int(now));
			r = core_write_end(c, r, &err);
		}
		if (r < 0)
			return; /* tried again in a second */
		if (touch(c, a) < 0)
			c->lost = true;
		forget(c, i);
	}
	(void)heads_changed(c, false);
}
