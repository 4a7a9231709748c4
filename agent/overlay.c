/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/overlay.h"

#include "agent/store.h"
#include "agent/verbs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Three names and what stands between them. */
#define OVERLAY_GRANT_TEXT_MAX (3 * STORE_OVERLAY_TEXT_MAX + 16)

static const struct {
	const char *word;
	int kind;
} kinds[] = {
	{"rule", REVOKED_RULE},
	{"identity", REVOKED_IDENTITY},
	{"label", REVOKED_LABEL},
	{"conduit", REVOKED_CONDUIT},
};

static int kind_of(const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (str_eq(kinds[i].word, word))
			return kinds[i].kind;
	}
	return -ENOENT;
}

static const char *identity_path(const struct agent *a, const char *name)
{
	const struct policy *p = agent_edition(a)->policy;
	int i = policy_find_identity(p, name);

	return i < 0 ? NULL : p->identities[i].path;
}

static int unknown(const struct agent *a, bool rules, const char *name, struct err *err)
{
	const struct policy *p = agent_edition(a)->policy;
	const char *near = rules ? policy_nearest_rule(p, name) : policy_nearest_identity(p, name);

	return err_set(err, ENOENT, "no %s is called \"%s\"%s%s%s", rules ? "rule" : "identity",
		       name, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static int check_conduit(const struct agent *a, const char *name, struct err *err)
{
	const struct generation *gen;
	const struct conduit *c;
	uint32_t number;

	if (text_u32(name, 1, UINT32_MAX >> 4, &number) < 0)
		return err_set(err, EINVAL, "\"%s\" is no conduit number; see bailiwick conduits",
			       name);
	c = agent_conduit(a, number, &gen);
	if (!c)
		return err_set(err, ENOENT, "no conduit has number %s; see bailiwick conduits",
			       name);
	if (c->flags & CONDUIT_ESSENTIAL)
		return err_set(err, EPERM,
			       "conduit %s is essential and cannot be revoked; remove it "
			       "from essentials: in agent.yaml",
			       name);
	return 0;
}

/* The name as it is kept: identities by path. */
static int canonical(const struct agent *a, int kind, const char *name, const char **ret,
		     struct err *err)
{
	*ret = name;
	switch (kind) {
	case REVOKED_RULE:
		return policy_find_rule(agent_edition(a)->policy, name) < 0
			       ? unknown(a, true, name, err)
			       : 0;
	case REVOKED_IDENTITY:
		*ret = identity_path(a, name);
		return *ret ? 0 : unknown(a, false, name, err);
	case REVOKED_LABEL:
		return expression_check(name, err) ? 0 : -EINVAL;
	case REVOKED_CONDUIT:
		return check_conduit(a, name, err);
	}
	return err_set(err, EINVAL, "revoke rule, identity, label or conduit");
}

/* --- change ------------------------------------------------------------------------------- */

void agent_overlay_keep(struct agent *a)
{
	struct err err = {{0}};
	int r = store_overlay_write(a->store, a->conduit_numbers, &a->overlay, &err);

	if (r < 0 && !a->overlay_unkept)
		log_error("revocations in force would be lost at the next restart: %s", err.text);
	a->overlay_unkept = r < 0;
}

int overlay_enforce(struct agent *a, reconciled call, void *user, struct err *err)
{
	struct err cut_err = {{0}};

	if (agent_cut_now(a, &cut_err) < 0)
		log_warn("waits for the load in progress: %s", cut_err.text);
	return agent_reconcile(a, DIRTY_POLICY, call, user, err);
}

/*
 * Onto disk first, so that nothing that happens to this process undoes it; but a full disk must not
 * keep a compromised identity connected, so a failure there stops nothing: the heartbeat tries
 * again, and `status` says it meanwhile.
 */
static int overlay_apply(struct agent *a, reconciled call, void *user, struct err *err)
{
	agent_overlay_keep(a);
	return overlay_enforce(a, call, user, err);
}

/* What the next start would not read must not be written. */
static int check_room(size_t count, const char *text, struct err *err)
{
	if (count >= STORE_OVERLAY_MAX)
		return err_set(err, ENOSPC, "more than %d entries; release some first",
			       STORE_OVERLAY_MAX);
	if (strlen(text) > STORE_OVERLAY_TEXT_MAX)
		return err_set(err, EINVAL, "a name of more than %d bytes", STORE_OVERLAY_TEXT_MAX);
	return 0;
}

struct wall overlay_now(const struct agent *a)
{
	return agent_now(a);
}

/* The second has begun already; a revocation never ends before its time. */
static int64_t end_of(const struct agent *a, int64_t seconds)
{
	return seconds > 0 ? overlay_now(a).s + seconds + 1 : 0;
}

int overlay_revoke(struct agent *a, const char *kind_word, const char *name, int64_t seconds,
		   const char *reason, reconciled call, void *user, struct err *err)
{
	struct overlay *ov = &a->overlay;
	struct overlay_revoked *grown, entry = {0};
	const char *kept = name;
	int kind = kind_of(kind_word), r;

	r = canonical(a, kind, name, &kept, err);
	if (r >= 0)
		r = check_room(ov->revoked_count, kept, err);
	if (r < 0)
		return r;
	entry.kind = (unsigned)kind;
	entry.name = mem_strdup(kept);
	entry.reason = mem_strdup(reason);
	entry.until.s = end_of(a, seconds);
	grown = reallocarray(ov->revoked, ov->revoked_count + 1, sizeof(*grown));
	if (grown)
		ov->revoked = grown;
	if (!grown || !entry.name || !entry.reason) {
		free(entry.name);
		free(entry.reason);
		return err_set(err, ENOMEM, "out of memory");
	}
	grown[ov->revoked_count++] = entry;
	return overlay_apply(a, call, user, err);
}

static void revoked_remove(struct overlay *ov, size_t i)
{
	free(ov->revoked[i].name);
	free(ov->revoked[i].reason);
	memmove(&ov->revoked[i], &ov->revoked[i + 1],
		(ov->revoked_count - i - 1) * sizeof(*ov->revoked));
	ov->revoked_count--;
}

static void grant_remove(struct overlay *ov, size_t i)
{
	overlay_grant_done(&ov->grants[i]);
	memmove(&ov->grants[i], &ov->grants[i + 1],
		(ov->grant_count - i - 1) * sizeof(*ov->grants));
	ov->grant_count--;
}

void agent_overlay_drop(struct agent *a, size_t i)
{
	struct overlay *ov = &a->overlay;
	bool kept = !ov->revoked[i].from_head;

	log_info("revocation of \"%s\" has ended", ov->revoked[i].name);
	revoked_remove(ov, i);
	if (kept)
		agent_overlay_keep(a);
	agent_touch(a, DIRTY_POLICY);
}

/* The kernel has closed it already, agent or no agent. */
static void drop_grant(struct agent *a, size_t i)
{
	struct overlay *ov = &a->overlay;
	bool kept = !ov->grants[i].from_head;

	log_info("grant of \"%s\" for %s > %s has ended", ov->grants[i].rule, ov->grants[i].from,
		 ov->grants[i].to);
	grant_remove(ov, i);
	if (kept)
		agent_overlay_keep(a);
	agent_touch(a, DIRTY_POLICY);
}

void overlay_tick(struct agent *a, struct wall now)
{
	struct overlay *ov = &a->overlay;

	for (size_t i = ov->revoked_count; i-- > 0;) {
		if (ov->revoked[i].until.s && now.s >= ov->revoked[i].until.s)
			agent_overlay_drop(a, i);
	}
	for (size_t i = ov->grant_count; i-- > 0;) {
		if (now.s >= ov->grants[i].until.s)
			drop_grant(a, i);
	}
	if (a->overlay_unkept)
		agent_overlay_keep(a);
}

/* --- quarantine --------------------------------------------------------------------------- */

static int check_keep(const struct agent *a, const char *keep, struct err *err)
{
	if (!keep || policy_find_network(agent_edition(a)->policy, keep) >= 0)
		return 0;
	return err_set(err, ENOENT,
		       "no network is called \"%s\"; --keep names one of networks:", keep);
}

int overlay_quarantine(struct agent *a, const char *identity, const char *keep, const char *reason,
		       reconciled call, void *user, struct err *err)
{
	struct overlay *ov = &a->overlay;
	struct overlay_quarantine *grown, entry = {0};
	const char *path = identity_path(a, identity);
	int r = path ? check_keep(a, keep, err) : unknown(a, false, identity, err);

	if (r >= 0)
		r = check_room(ov->quarantined_count, path, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ov->quarantined_count; i++) {
		/* One of the controller's may end when nobody here wants it to. */
		if (!ov->quarantined[i].from_head && str_eq(ov->quarantined[i].identity, path))
			return err_set(err, EEXIST, "%s is quarantined already; release it first",
				       path);
	}
	entry.identity = mem_strdup(path);
	entry.reason = mem_strdup(reason);
	entry.keep = keep ? mem_strdup(keep) : NULL;
	grown = reallocarray(ov->quarantined, ov->quarantined_count + 1, sizeof(*grown));
	if (grown)
		ov->quarantined = grown;
	if (!grown || !entry.identity || !entry.reason || (keep && !entry.keep)) {
		free(entry.identity);
		free(entry.reason);
		free(entry.keep);
		return err_set(err, ENOMEM, "out of memory");
	}
	grown[ov->quarantined_count++] = entry;
	return overlay_apply(a, call, user, err);
}

static void quarantine_remove(struct overlay *ov, size_t i)
{
	free(ov->quarantined[i].identity);
	free(ov->quarantined[i].keep);
	free(ov->quarantined[i].reason);
	memmove(&ov->quarantined[i], &ov->quarantined[i + 1],
		(ov->quarantined_count - i - 1) * sizeof(*ov->quarantined));
	ov->quarantined_count--;
}

/* Revocations of one kind and name; and quarantines, where an identity is meant. */
static bool is_that(const struct overlay_revoked *r, int kind, const char *name)
{
	return r->kind == (unsigned)kind && str_eq(r->name, name);
}

/* An identity that left the policy meanwhile is known by its path alone. */
static const char *kept_name(const struct agent *a, int kind, const char *name)
{
	const char *path = kind == REVOKED_IDENTITY ? identity_path(a, name) : NULL;

	return path ? path : name;
}

bool overlay_is_held_by_head(const struct agent *a, const char *kind_word, const char *name)
{
	const struct overlay *ov = &a->overlay;
	int kind = kind_of(kind_word);
	const char *kept = kept_name(a, kind, name);

	for (size_t i = 0; i < ov->quarantined_count && kind == REVOKED_IDENTITY; i++) {
		if (ov->quarantined[i].from_head && str_eq(ov->quarantined[i].identity, kept))
			return true;
	}
	for (size_t i = 0; i < ov->revoked_count; i++) {
		if (ov->revoked[i].from_head && is_that(&ov->revoked[i], kind, kept))
			return true;
	}
	return false;
}

static bool release_own(struct overlay *ov, int kind, const char *name)
{
	bool found = false;

	for (size_t i = ov->quarantined_count; i-- > 0 && kind == REVOKED_IDENTITY;) {
		if (!ov->quarantined[i].from_head && str_eq(ov->quarantined[i].identity, name)) {
			quarantine_remove(ov, i);
			found = true;
		}
	}
	for (size_t i = ov->revoked_count; i-- > 0;) {
		if (!ov->revoked[i].from_head && is_that(&ov->revoked[i], kind, name)) {
			revoked_remove(ov, i);
			found = true;
		}
	}
	return found;
}

int overlay_release(struct agent *a, const char *kind_word, const char *name, reconciled call,
		    void *user, struct err *err)
{
	int kind = kind_of(kind_word);
	const char *kept;

	if (kind < 0)
		return err_set(err, EINVAL, "release rule, identity, label or conduit");
	kept = kept_name(a, kind, name);
	if (release_own(&a->overlay, kind, kept))
		return overlay_apply(a, call, user, err);
	if (overlay_is_held_by_head(a, kind_word, kept))
		return err_set(err, EPERM,
			       "%s is held by the controller, not by this host; there: "
			       "bailiwick-controller release %s --reason TEXT",
			       kept, kept);
	return err_set(err, ENOENT,
		       "%s is neither quarantined nor revoked; bailiwick status names "
		       "what is",
		       name);
}

/* --- for people --------------------------------------------------------------------------- */

static void overlay_add(json_t *list, const char *kind, const char *name, struct wall until,
			const char *reason, bool from_head)
{
	(void)json_array_append_new(list,
				    json_pack("{s:s,s:s,s:o,s:s?,s:s}", "kind", kind, "name", name,
					      "until", wall_json(until), "reason", reason, "by",
					      from_head ? "controller" : "host"));
}

static const char *kind_word_of(unsigned kind)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if ((unsigned)kinds[i].kind == kind)
			return kinds[i].word;
	}
	return "?";
}

json_t *overlay_json(const struct agent *a)
{
	const struct overlay *ov = &a->overlay;
	json_t *list = json_array();
	char name[OVERLAY_GRANT_TEXT_MAX];

	for (size_t i = 0; i < ov->quarantined_count; i++)
		overlay_add(list, "quarantine", ov->quarantined[i].identity, (struct wall){0},
			    ov->quarantined[i].reason, ov->quarantined[i].from_head);
	for (size_t i = 0; i < ov->revoked_count; i++)
		overlay_add(list, kind_word_of(ov->revoked[i].kind), ov->revoked[i].name,
			    ov->revoked[i].until, ov->revoked[i].reason, ov->revoked[i].from_head);
	for (size_t i = 0; i < ov->grant_count; i++) {
		const struct overlay_grant *g = &ov->grants[i];

		(void)snprintf(name, sizeof(name), "%s for %s > %s", g->rule, g->from, g->to);
		overlay_add(list, "grant", name, g->until, g->reason, g->from_head);
	}
	return list;
}

/* --- grants ------------------------------------------------------------------------------- */

static bool is_party(const struct party_ref *parties, size_t count, const struct policy *p,
		     const char *path)
{
	for (size_t i = 0; i < count; i++) {
		if (parties[i].kind == PARTY_IDENTITY &&
		    str_eq(p->identities[parties[i].index].path, path))
			return true;
	}
	return false;
}

static int check_grantable(const struct rule *rule, int64_t seconds, struct err *err)
{
	char max[DURATION_TEXT_MAX];

	if (!rule->grantable)
		return err_set(err, EPERM,
			       "rule \"%s\" is not grantable; its owner (%s) can add grantable: "
			       "{max: 8h} to it in the policy",
			       rule->name, rule->owner);
	if (seconds < 1 || seconds > rule->grant_max_s)
		return err_set(err, EPERM, "rule \"%s\" can be granted for at most %s", rule->name,
			       duration_format(max, rule->grant_max_s));
	return 0;
}

/* Both ends by path, and both foreseen by the rule. */
static int check_pair(const struct agent *a, const struct rule *rule, const char **from,
		      const char **to, struct err *err)
{
	const struct policy *p = agent_edition(a)->policy;
	const char *from_path = identity_path(a, *from), *to_path = identity_path(a, *to);

	if (!from_path || !to_path)
		return unknown(a, false, from_path ? *to : *from, err);
	if (!is_party(rule->from_parties, rule->from_party_count, p, from_path))
		return err_set(err, EPERM, "%s is not under from: of rule \"%s\"", *from,
			       rule->name);
	if (!is_party(rule->to_parties, rule->to_party_count, p, to_path))
		return err_set(err, EPERM, "%s is not under to: of rule \"%s\"", *to, rule->name);
	*from = from_path;
	*to = to_path;
	return 0;
}

static bool same_pair(const struct overlay_grant *x, const struct overlay_grant *y)
{
	return str_eq(x->rule, y->rule) && str_eq(x->from, y->from) && str_eq(x->to, y->to);
}

static int grant_put(struct overlay *ov, struct overlay_grant *take, struct err *err)
{
	struct overlay_grant *grown;

	for (size_t i = ov->grant_count; i-- > 0;) {
		if (!ov->grants[i].from_head && same_pair(&ov->grants[i], take)) {
			overlay_grant_done(&ov->grants[i]);
			ov->grants[i] = *take;
			return 0;
		}
	}
	grown = reallocarray(ov->grants, ov->grant_count + 1, sizeof(*grown));
	if (!grown) {
		overlay_grant_done(take);
		return err_set(err, ENOMEM, "out of memory");
	}
	ov->grants = grown;
	grown[ov->grant_count++] = *take;
	return 0;
}

int overlay_grant_add(struct agent *a, const char *rule, const char *from, const char *to,
		      int64_t seconds, const char *who, const char *reason, reconciled call,
		      void *user, struct err *err)
{
	const struct policy *p = agent_edition(a)->policy;
	struct overlay_grant entry = {.since = overlay_now(a)};
	int index = policy_find_rule(p, rule);
	int r = index < 0 ? unknown(a, true, rule, err) : 0;

	if (r >= 0)
		r = check_grantable(&p->rules[index], seconds, err);
	if (r >= 0)
		r = check_pair(a, &p->rules[index], &from, &to, err);
	if (r >= 0)
		r = check_room(a->overlay.grant_count, from, err);
	if (r >= 0)
		r = check_room(0, to, err);
	if (r < 0)
		return r;
	entry.rule = mem_strdup(rule);
	entry.from = mem_strdup(from);
	entry.to = mem_strdup(to);
	entry.who = mem_strdup(who);
	entry.reason = mem_strdup(reason);
	entry.until.s = entry.since.s + seconds;
	if (!entry.rule || !entry.from || !entry.to || !entry.who || !entry.reason) {
		overlay_grant_done(&entry);
		return err_set(err, ENOMEM, "out of memory");
	}
	r = grant_put(&a->overlay, &entry, err);
	return r < 0 ? r : overlay_apply(a, call, user, err);
}
