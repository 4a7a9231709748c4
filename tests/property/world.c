/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From the model of a world to what compiler and oracle take: policy, host facts. */
#include "tests/property/property.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/zone.h"
#include "rules/verdict_match.h"

#define PAST_S                                                                                     \
	(2 * 3600) /* policies were written two hours ago, when none of their rules had ended */

/* Longer than a run takes. */
#define STALE_LATER_S 7200

static int parse_policy(const struct model *m, struct wall now, struct policy **ret,
			struct err *err)
{
	const struct policy_features features = {.attested = true};
	CLEANUP(policy_freep) struct policy *p = policy_new();
	CLEANUP(buf_done) struct buf text;
	char pos[POS_TEXT_MAX];
	int r;

	buf_init(&text, 1U << 20);
	model_text(m, now, &text);
	if (p == NULL || text.r < 0)
		return err_set(err, ENOMEM, "out of memory");
	r = policy_add_text(p, "drawn.yaml", text.data, text.len);
	if (r >= 0)
		r = policy_finish(p, &features, (struct wall){now.s - PAST_S});
	for (size_t i = 0; r < 0 && i < p->finding_count; i++) {
		if (p->findings[i].level == FINDING_ERROR)
			return err_set(err, EINVAL, "%s: %s\n%s",
				       pos_format(pos, p, &p->findings[i].pos),
				       p->findings[i].message, text.data);
	}
	if (r < 0)
		return err_set(err, -r, "policy: %s", strerror(-r));
	*ret = TAKE_PTR(p);
	return 0;
}

static unsigned capped_level(const struct cgroup *c)
{
	return c->level < CGROUP_LEVEL_MAX ? c->level : CGROUP_LEVEL_MAX;
}

/* --- host ------------------------------------------------------------------------------------ */

static const uint32_t uids[] = {4001, 4002, 4003};
#define UID_COUNT ARRAY_LEN(uids)

/* Whose processes in a cgroup are: whatever the uid, and by uid; -1 = nobody's. */
struct owners {
	int any, by_uid[UID_COUNT];
};

static bool is_below(const struct cgroup *c, const struct cgroup *ancestor)
{
	return c->level >= ancestor->level &&
	       c->ids[ancestor->level - 1] == ancestor->ids[ancestor->level - 1];
}

/* Deepest cgroup first, with a uid before without at one depth; a uid alone is no cgroup's fact. */
static int model_owner(const struct world *w, const struct compile_input *in, const struct stage *s,
		       const struct cgroup *c, uint32_t uid)
{
	int owner = -1;
	unsigned best = 0;

	for (size_t i = 0; i < w->workload_count; i++) {
		const struct model_workload *m = &w->workloads[i];
		unsigned rank;

		if (m->cgroup < 0 || !is_below(c, &s->cgroups[m->cgroup]) ||
		    (m->uid != 0 && m->uid != uid) ||
		    !identity_may_be_here(in, (uint32_t)m->identity))
			continue;
		rank = 2 * s->cgroups[m->cgroup].level + (m->uid != 0);
		if (rank > best) {
			best = rank;
			owner = m->identity;
		}
	}
	return owner;
}

static struct owners owners_of(const struct world *w, const struct compile_input *in,
			       const struct stage *s, const struct cgroup *c)
{
	struct owners o = {.any = model_owner(w, in, s, c, 0)};

	/* Two identities of which one is every uid's and one a uid's in one cgroup: policy refuses.
	 */
	for (size_t i = 0; i < UID_COUNT; i++)
		o.by_uid[i] = o.any >= 0 ? o.any : model_owner(w, in, s, c, uids[i]);
	return o;
}

static void add_workload(struct world *w, int identity, const struct cgroup *c, uint32_t uid)
{
	struct host_workload *h = &w->host_workloads[w->host.workload_count++];

	*h = (struct host_workload){
		.identity = (uint32_t)identity, .has_uid = uid != 0, .uid = uid};
	if (c != NULL) {
		h->level = (uint8_t)capped_level(c);
		h->cgroup_id = c->ids[h->level - 1];
	}
}

static void add_cgroup(struct world *w, const struct cgroup *c, const struct owners *o,
		       bool uid_alone)
{
	struct host_nobody n = {.level = (uint8_t)capped_level(c), .ask_listener = uid_alone};

	n.cgroup_id = c->ids[n.level - 1];
	if (o->any >= 0)
		add_workload(w, o->any, c, 0);
	for (size_t i = 0; i < UID_COUNT; i++) {
		if (o->by_uid[i] >= 0 && o->by_uid[i] != o->any) {
			add_workload(w, o->by_uid[i], c, uids[i]);
			n.ask_listener = true;
		}
	}
	if (o->any < 0)
		w->host_nobodies[w->host.nobody_count++] = n;
}

/*
 * What the agent would have found: a cgroup is entered when all below it have the same owners, so
 * that one element says it all; else it stays unknown, and those below it are entered one by one.
 */
static void build_owners(struct world *w, const struct stage *s)
{
	struct compile_input in;
	bool uid_alone = false;

	world_input(w, false, &in);
	for (size_t i = 0; i < w->workload_count; i++) {
		const struct model_workload *m = &w->workloads[i];

		if (m->cgroup < 0 && identity_is_placed_here(&in, (uint32_t)m->identity)) {
			add_workload(w, m->identity, NULL, m->uid);
			uid_alone = true;
		}
	}
	for (size_t i = 0; i < s->cgroup_count; i++) {
		struct owners o = owners_of(w, &in, s, &s->cgroups[i]);

		w->unknown[i] = false;
		for (size_t j = 0; j < s->cgroup_count; j++) {
			struct owners below = owners_of(w, &in, s, &s->cgroups[j]);

			if (is_below(&s->cgroups[j], &s->cgroups[i]) &&
			    memcmp(&below, &o, sizeof(o)) != 0)
				w->unknown[i] = true;
		}
		if (!w->unknown[i])
			add_cgroup(w, &s->cgroups[i], &o, uid_alone);
	}
}

static void build_host(struct world *w, const struct stage *s)
{
	w->host = (struct host){
		.addresses = w->own, .workloads = w->host_workloads, .nobodies = w->host_nobodies};
	for (size_t i = 0; i < place_count; i++) {
		if (places[i].host == HOST_HERE)
			w->own[w->host.address_count++] = places[i].addr;
	}
	build_owners(w, s);
	w->host_units[0] =
		(struct host_unit){(char *)(uintptr_t) "essential.service",
				   s->cgroups[s->actors[1].cgroup]
					   .ids[capped_level(&s->cgroups[s->actors[1].cgroup]) - 1],
				   (uint8_t)capped_level(&s->cgroups[s->actors[1].cgroup])};
	w->host.units = w->host_units;
	w->host.unit_count = 1;
}

int world_build(struct world *w, const struct stage *s, struct err *err)
{
	int r;

	world_done(w);
	r = parse_policy(&w->model, w->now, &w->policies[0], err);
	if (r >= 0 && w->has_candidate)
		r = parse_policy(&w->candidate, w->now, &w->policies[1], err);
	if (r < 0)
		return r;
	build_host(w, s);
	memset(w->unmeasured, 0, sizeof(w->unmeasured));
	for (size_t i = 0, n = 0; i < w->model.identity_count; i++)
		if (w->model.identities[i].unmeasured)
			w->unmeasured[n++] = identity_paths[i];
	return 0;
}

void world_done(struct world *w)
{
	policy_freep(&w->policies[0]);
	policy_freep(&w->policies[1]);
}

bool world_judged_by_candidate(const struct world *w)
{
	return w->has_candidate && w->candidate_on;
}

void world_input(const struct world *w, bool candidate, struct compile_input *ret)
{
	*ret = (struct compile_input){.policy = w->policies[candidate],
				      .also_cut = w->policies[!candidate],
				      .view = &w->view,
				      .essentials = &w->essentials,
				      .overlay = &w->overlay,
				      .addresses = w->host.addresses,
				      .address_count = w->host.address_count,
				      .now = w->now,
				      .clock_trusted = w->clock_trusted,
				      .unmeasured = w->unmeasured,
				      .local_time = zone_local_time()};
	if (w->stale != 0)
		ret->stale_end.s = w->now.s + (w->stale > 0 ? STALE_LATER_S : 0);
}
