/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/host_build.h"

#include "agent/process.h"
#include "base/mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A host being filled; sticky error. */
struct builder {
	const struct place_context *x;
	struct host host;
	struct problem_list problems;
	size_t workload_cap, nobody_cap, listener_cap, unit_cap;
	int r;
};

/* --- problems -------------------------------------------------------------------------------- */

void problem_add(struct problem_list *l, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX];
	char *copy;
	va_list ap;

	if (l->count >= HOST_PROBLEMS_MAX) {
		l->more++;
		return;
	}
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	copy = mem_strdup(text);
	if (copy == NULL ||
	    vec_grow(&l->texts, &l->cap, l->count + 1, sizeof(*l->texts), HOST_PROBLEMS_MAX) < 0) {
		free(copy);
		l->more++;
		return;
	}
	l->texts[l->count++] = copy;
}

void problem_list_done(struct problem_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->texts[i]);
	free(l->texts);
	*l = (struct problem_list){0};
}

static const char *name_of(const struct builder *b, uint32_t identity)
{
	return b->x->policy->identities[identity].name;
}

static void tell_ambiguous(struct builder *b, const struct cgroup *c, const struct place_slot *s)
{
	const char *first = NULL, *second = NULL;

	for (size_t i = 0; i < s->count; i++) {
		const char *name;

		if (!s->claims[i].holds)
			continue;
		name = name_of(b, claims_at(b->x->claims, s->claims[i].claim)->identity);
		if (first == NULL)
			first = name;
		else if (second == NULL && strcmp(first, name) != 0)
			second = name;
	}
	problem_add(&b->problems,
		    "cgroup /%s: identities '%s' and '%s' both claim it, so neither gets it; "
		    "selectors that differ would be right",
		    c->path, first != NULL ? first : "?", second != NULL ? second : "?");
}

static void tell_claim(struct builder *b, const struct cgroup *c, const struct place_claim *pc)
{
	const struct claim *claim = claims_at(b->x->claims, pc->claim);

	if (pc->delegated)
		problem_add(&b->problems,
			    "cgroup /%s: uid %u can put any process of its own there, so identity "
			    "'%s' must name the user as well",
			    c->path, c->parent != NULL ? c->parent->owner : c->owner,
			    name_of(b, claim->identity));
	else if (!pc->holds && !claim->pathless && claim_is_conditional(claim) &&
		 process_any(cgroup_mount_fd(b->x->tree), c->path))
		problem_add(&b->problems,
			    "cgroup /%s: not all of its processes satisfy identity '%s' (%s%s%s)",
			    c->path, name_of(b, claim->identity), claim->exe != NULL ? "exe " : "",
			    claim->exe != NULL ? claim->exe : "", claim->has_gid ? " group" : "");
}

static void tell_problems(struct builder *b, const struct cgroup *c)
{
	const struct place_slot *s = place_slot(c, b->x->slot);
	bool held = false;

	if (s->ambiguous)
		tell_ambiguous(b, c, s);
	if (s->failed)
		problem_add(&b->problems, "cgroup /%s: more claims than can be told apart",
			    c->path);
	for (size_t i = 0; i < s->count; i++) {
		claims_at(b->x->claims, s->claims[i].claim)->seen = true;
		held = held || s->claims[i].holds;
		tell_claim(b, c, &s->claims[i]);
	}
	if (held && s->open && process_any(cgroup_mount_fd(b->x->tree), c->path))
		problem_add(&b->problems,
			    "cgroup /%s: has processes of its own and cgroups below it that other "
			    "selectors name; a cgroup of their own would be right for them",
			    c->path);
}

/* --- elements -------------------------------------------------------------------------------- */

static void add_workload(struct builder *b, const struct host_workload *w)
{
	/* Two entries of one identity may say the same. */
	for (size_t i = b->host.workload_count; i > 0; i--) {
		const struct host_workload *o = &b->host.workloads[i - 1];

		if (o->cgroup_id != w->cgroup_id)
			break;
		if (o->identity == w->identity && o->has_uid == w->has_uid && o->uid == w->uid)
			return;
	}
	if (b->r == 0)
		b->r = vec_grow(&b->host.workloads, &b->workload_cap, b->host.workload_count + 1,
				sizeof(*w), HOST_ENTRIES_MAX);
	if (b->r == 0)
		b->host.workloads[b->host.workload_count++] = *w;
}

static void add_nobody(struct builder *b, uint64_t id, uint8_t level, bool ask_listener)
{
	if (b->r == 0)
		b->r = vec_grow(&b->host.nobodies, &b->nobody_cap, b->host.nobody_count + 1,
				sizeof(*b->host.nobodies), HOST_ENTRIES_MAX);
	if (b->r == 0)
		b->host.nobodies[b->host.nobody_count++] = (struct host_nobody){
			.cgroup_id = id, .level = level, .ask_listener = ask_listener};
}

static void add_unit(struct builder *b, const struct cgroup *c, const char *unit)
{
	char *copy;

	if (b->r == 0)
		b->r = vec_grow(&b->host.units, &b->unit_cap, b->host.unit_count + 1,
				sizeof(*b->host.units), HOST_ENTRIES_MAX);
	if (b->r < 0)
		return;
	copy = mem_strdup(unit);
	if (copy == NULL) {
		b->r = -ENOMEM;
		return;
	}
	b->host.units[b->host.unit_count++] =
		(struct host_unit){.unit = copy, .cgroup_id = c->id, .level = c->level};
}

/* The claims that hold at `holder`, as elements of c, which is holder or lies below it. */
static void add_claims(struct builder *b, const struct cgroup *c, const struct cgroup *holder)
{
	const struct place_slot *s = place_slot(holder, b->x->slot);
	bool whole = false, ingress_only = true;
	uint32_t identity = 0;

	for (size_t i = 0; i < s->count; i++) {
		const struct claim *claim = claims_at(b->x->claims, s->claims[i].claim);

		if (!s->claims[i].holds || (claim->has_uid && !s->claims[i].ingress_only))
			continue;
		whole = true;
		identity = claim->identity;
		ingress_only = ingress_only && s->claims[i].ingress_only;
	}
	if (whole) {
		add_workload(b, &(struct host_workload){.identity = identity,
							.cgroup_id = c->id,
							.level = c->level,
							.ingress_only = ingress_only});
		return;
	}
	for (size_t i = 0; i < s->count; i++) {
		const struct claim *claim = claims_at(b->x->claims, s->claims[i].claim);

		if (s->claims[i].holds)
			add_workload(b, &(struct host_workload){.identity = claim->identity,
								.cgroup_id = c->id,
								.level = c->level,
								.has_uid = true,
								.uid = claim->uid});
	}
	/* Other users here are nobody; and a listener's user must be asked for (R20). */
	add_nobody(b, c->id, c->level, true);
}

static void add_cgroup(struct builder *b, const struct cgroup *c)
{
	const struct place_slot *s = place_slot(c, b->x->slot);
	const struct cgroup *holder;

	tell_problems(b, c);
	if (s->essential_unit != NULL && c->level >= 1 && c->level <= CGROUP_LEVEL_MAX)
		add_unit(b, c, s->essential_unit);
	if (place_emits(c, b->x->slot)) {
		holder = place_holder(c, b->x->slot);
		if (holder != NULL)
			add_claims(b, c, holder);
		else
			add_nobody(b, c->id, c->level, claims_have_uid_only(b->x->claims));
	}
	for (const struct cgroup *child = c->children; child != NULL; child = child->next)
		add_cgroup(b, child);
}

/* --- what has no cgroup ---------------------------------------------------------------------- */

static void add_uid_only(struct builder *b)
{
	for (size_t i = 0; i < claims_count(b->x->claims); i++) {
		const struct claim *claim = claims_at(b->x->claims, i);
		struct place_judgement j;

		if (!claim->pathless || !claim->has_uid || claim_is_conditional(claim))
			continue;
		j = place_judge(b->x, NULL, claim->uid);
		if (j.owner == PLACE_IDENTITY)
			add_workload(b, &(struct host_workload){.identity = claim->identity,
								.has_uid = true,
								.uid = claim->uid});
		else
			problem_add(&b->problems,
				    "identity '%s': another one claims uid %u as well, so neither "
				    "gets it",
				    name_of(b, claim->identity), claim->uid);
	}
}

static void add_outside(struct builder *b, const struct host_input *in)
{
	for (size_t i = 0; i < in->outside_count; i++)
		add_nobody(b, in->outside[i].id, in->outside[i].level,
			   claims_have_uid_only(b->x->claims));
}

/* An identity of which no entry is anywhere; it may come, but an operator wants to know. */
static void tell_missing(struct builder *b)
{
	struct claims *claims = b->x->claims;
	size_t count = claims_count(claims), next;

	for (size_t i = 0; i < count; i = next) {
		uint32_t identity = claims_at(claims, i)->identity;
		bool seen = false;
		char text[CLAIM_TEXT_MAX];

		for (next = i; next < count && claims_at(claims, next)->identity == identity;
		     next++)
			seen = seen || claims_at(claims, next)->seen ||
			       (claims_at(claims, next)->pathless &&
				!claim_is_conditional(claims_at(claims, next)));
		if (!seen && claims_at(claims, i)->placed)
			problem_add(&b->problems,
				    "identity '%s': no cgroup here is its workload (%s)",
				    name_of(b, identity), claim_format(text, claims_at(claims, i)));
	}
}

/* --- listeners ------------------------------------------------------------------------------- */

/*
 * Whose the port is, if all its listeners agree. The fallback has no address in its key: where two
 * addresses of one port belong to two identities, or to one and to nobody, it must not guess.
 */
static bool port_owner(struct builder *b, const struct known_listener *l, size_t count,
		       uint32_t *ret_identity)
{
	uint32_t identity = 0;

	for (size_t i = 0; i < count; i++) {
		const struct cgroup *c = cgroup_tree_find(b->x->tree, l[i].cgroup_id);
		struct place_judgement j = place_judge(b->x, c, l[i].uid);

		if (j.owner != PLACE_IDENTITY || (i > 0 && j.identity != identity))
			return false;
		identity = j.identity;
	}
	*ret_identity = identity;
	return true;
}

static void add_listeners(struct builder *b, const struct host_input *in)
{
	size_t next;

	for (size_t i = 0; i < in->listener_count && b->r == 0; i = next) {
		const struct known_listener *l = &in->listeners[i];
		uint32_t identity;

		for (next = i + 1; next < in->listener_count; next++)
			if (in->listeners[next].port != l->port)
				break;
		if (!port_owner(b, l, next - i, &identity))
			continue;
		b->r = vec_grow(&b->host.listeners, &b->listener_cap, b->host.listener_count + 1,
				sizeof(*b->host.listeners), HOST_ENTRIES_MAX);
		if (b->r == 0)
			b->host.listeners[b->host.listener_count++] = (struct host_listener){
				.identity = identity, .l4proto = IPPROTO_TCP, .port = l->port};
	}
}

static void add_addresses(struct builder *b, const struct host_input *in)
{
	if (b->r < 0)
		return;
	b->host.addresses = mem_calloc(in->address_count, sizeof(*b->host.addresses));
	if (b->host.addresses == NULL) {
		b->r = -ENOMEM;
		return;
	}
	if (in->address_count > 0)
		memcpy(b->host.addresses, in->addresses,
		       in->address_count * sizeof(*b->host.addresses));
	b->host.address_count = in->address_count;
}

int host_build(const struct place_context *x, const struct host_input *in, struct host *ret_host,
	       struct problem_list *ret_problems)
{
	struct builder b = {.x = x};
	const struct cgroup *root = cgroup_tree_root(x->tree);

	for (size_t i = 0; i < claims_count(x->claims); i++)
		claims_at(x->claims, i)->seen = false;
	if (root != NULL)
		add_cgroup(&b, root);
	add_uid_only(&b);
	add_outside(&b, in);
	add_listeners(&b, in);
	add_addresses(&b, in);
	tell_missing(&b);
	if (b.r < 0) {
		host_done(&b.host);
		problem_list_done(&b.problems);
		return b.r;
	}
	host_done(ret_host);
	problem_list_done(ret_problems);
	*ret_host = b.host;
	*ret_problems = b.problems;
	return 0;
}
