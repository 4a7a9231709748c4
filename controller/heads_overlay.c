/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which quarantines, revocations and grants stand in a node's head: those that touch what the node
 * knows. A quarantine or a revoked identity: placed there or opposite somebody placed there. A
 * rule: one of its ends is placed there. A label: somebody the node knows has it, or a network. A
 * grant: one of its ends is placed there. What a node does not know it cannot talk to; the day it
 * learns of it (a placement), its head is made again with the entry.
 */
#include "base/mem.h"
#include "base/text.h"
#include "controller/core_parts.h"

#include <errno.h>
#include <stdlib.h>

static bool knows_label(const struct core *c, const char *expression)
{
	const struct policy *p = c->policy;

	for (size_t i = 0; i < p->network_count; i++)
		if (expression_matches(expression, p->networks[i].labels,
				       p->networks[i].label_count))
			return true;
	for (size_t i = 0; i < p->identity_count; i++)
		if (views_knows(c->views, (uint32_t)i) &&
		    expression_matches(expression, p->identities[i].labels,
				       p->identities[i].label_count))
			return true;
	return false;
}

static bool knows_identity(const struct core *c, const char *path)
{
	int index = policy_find_identity(c->policy, path);

	return index >= 0 && views_knows(c->views, (uint32_t)index);
}

static bool hosts_identity(const struct core *c, uint32_t node, const char *path)
{
	int index = policy_find_identity(c->policy, path);

	return index >= 0 && views_hosts(c->views, node, (uint32_t)index);
}

static bool concerns(const struct core *c, uint32_t node, const struct action *a)
{
	int rule;

	switch (a->kind) {
	case ACTION_QUARANTINE:
	case ACTION_REVOKE_IDENTITY:
		return knows_identity(c, a->target);
	case ACTION_REVOKE_RULE:
		rule = policy_find_rule(c->policy, a->target);
		return rule >= 0 && views_rule_here(c->views, node, (uint32_t)rule);
	case ACTION_REVOKE_LABEL:
		return knows_label(c, a->target);
	case ACTION_GRANT:
		return hosts_identity(c, node, a->from) || hosts_identity(c, node, a->to);
	}
	return false;
}

static char *copy(const char *text, int *r)
{
	char *s = text ? mem_strdup(text) : NULL;

	if (text && !s)
		*r = -ENOMEM;
	return s;
}

static int add_quarantine(struct overlay *o, size_t *cap, const struct action *a)
{
	struct overlay_quarantine *q;
	int r = vec_grow(&o->quarantined, cap, o->quarantined_count + 1, sizeof(*o->quarantined),
			 HEAD_ENTRIES_MAX);

	if (r < 0)
		return r;
	q = &o->quarantined[o->quarantined_count++];
	q->identity = copy(a->target, &r);
	q->keep = copy(a->keep, &r);
	q->reason = copy(a->reason, &r);
	q->from_head = true;
	return r;
}

static int add_revoked(struct overlay *o, size_t *cap, const struct action *a)
{
	struct overlay_revoked *v;
	int r = vec_grow(&o->revoked, cap, o->revoked_count + 1, sizeof(*o->revoked),
			 HEAD_ENTRIES_MAX);

	if (r < 0)
		return r;
	v = &o->revoked[o->revoked_count++];
	v->kind = a->kind == ACTION_REVOKE_RULE       ? REVOKED_RULE
		  : a->kind == ACTION_REVOKE_IDENTITY ? REVOKED_IDENTITY
						      : REVOKED_LABEL;
	v->name = copy(a->target, &r);
	v->reason = copy(a->reason, &r);
	v->until = a->until;
	v->from_head = true;
	return r;
}

static int add_grant(struct overlay *o, size_t *cap, const struct action *a)
{
	struct overlay_grant *g;
	int r = vec_grow(&o->grants, cap, o->grant_count + 1, sizeof(*o->grants), HEAD_ENTRIES_MAX);

	if (r < 0)
		return r;
	g = &o->grants[o->grant_count++];
	g->rule = copy(a->target, &r);
	g->from = copy(a->from, &r);
	g->to = copy(a->to, &r);
	g->who = copy(a->who, &r);
	g->until = a->until;
	g->from_head = true;
	return r;
}

int head_overlay(struct core *c, uint32_t node, struct overlay *ret)
{
	size_t quarantined = 0, revoked = 0, grants = 0;
	struct overlay o = {0};
	int r = 0;

	for (size_t i = 0; i < c->action_count && r == 0; i++) {
		const struct action *a = &c->actions[i];

		if (!concerns(c, node, a))
			continue;
		if (a->kind == ACTION_QUARANTINE)
			r = add_quarantine(&o, &quarantined, a);
		else if (a->kind == ACTION_GRANT)
			r = add_grant(&o, &grants, a);
		else
			r = add_revoked(&o, &revoked, a);
	}
	if (r < 0) {
		overlay_done(&o);
		return r;
	}
	*ret = o;
	return 0;
}
