/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/overlay.h"

#include "agent/store.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static const char *nearest_of(const struct agent *a, bool rules, const char *name)
{
	const struct policy *p = agent_edition(a)->policy;
	size_t n = rules ? p->rule_count : p->identity_count;
	CLEANUP(freep) const char **names = mem_calloc(n, sizeof(*names));

	if (!names)
		return NULL;
	for (size_t i = 0; i < n; i++)
		names[i] = rules ? p->rules[i].name : p->identities[i].name;
	return text_nearest(name, names, n);
}

static int unknown(const struct agent *a, bool rules, const char *name, struct err *err)
{
	const char *near = nearest_of(a, rules, name);

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

/*
 * Onto disk first, so that nothing that happens to this process undoes it; but a full disk must not
 * keep a compromised identity connected, so a failure there stops nothing: the heartbeat tries
 * again, and `status` says it meanwhile.
 */
static int overlay_apply(struct agent *a, reconciled call, void *user, struct err *err)
{
	struct err cut_err = {{0}};

	agent_overlay_keep(a);
	if (agent_cut_now(a, &cut_err) < 0)
		log_warn("waits for the load in progress: %s", cut_err.text);
	return agent_reconcile(a, DIRTY_POLICY, call, user, err);
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

/* The second has begun already; a revocation never ends before its time. */
static int64_t end_of(int64_t seconds)
{
	return seconds > 0 ? wall_now().s + seconds + 1 : 0;
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
	entry.until.s = end_of(seconds);
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

void agent_overlay_drop(struct agent *a, size_t i)
{
	struct overlay *ov = &a->overlay;

	log_info("revocation of \"%s\" has ended", ov->revoked[i].name);
	revoked_remove(ov, i);
	agent_overlay_keep(a);
	agent_touch(a, DIRTY_POLICY);
}

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
		if (str_eq(ov->quarantined[i].identity, path))
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

int overlay_release(struct agent *a, const char *identity, reconciled call, void *user,
		    struct err *err)
{
	struct overlay *ov = &a->overlay;
	const char *path = identity_path(a, identity);
	bool found = false;

	/* An identity that left the policy meanwhile can still be released by its path. */
	if (!path)
		path = identity;
	for (size_t i = ov->quarantined_count; i-- > 0;) {
		if (str_eq(ov->quarantined[i].identity, path)) {
			quarantine_remove(ov, i);
			found = true;
		}
	}
	for (size_t i = ov->revoked_count; i-- > 0;) {
		if (ov->revoked[i].kind == REVOKED_IDENTITY && str_eq(ov->revoked[i].name, path)) {
			revoked_remove(ov, i);
			found = true;
		}
	}
	if (!found)
		return err_set(err, ENOENT, "%s is neither quarantined nor revoked", identity);
	return overlay_apply(a, call, user, err);
}
