/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From the model of a world to what compiler and oracle take: policy, host facts. */
#include "tests/property/property.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/zone.h"

#define PAST_S                                                                                     \
	(2 * 3600) /* policies were written two hours ago, when none of their rules had ended */

static int parse_policy(const struct model *m, struct wall now, struct policy **ret,
			struct err *err)
{
	const struct policy_features features = {.attested = false};
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

static void build_workloads(struct world *w, const struct stage *s)
{
	w->host.workloads = w->host_workloads;
	w->host.workload_count = w->workload_count;
	for (size_t i = 0; i < w->workload_count; i++) {
		const struct model_workload *m = &w->workloads[i];
		struct host_workload *h = &w->host_workloads[i];

		*h = (struct host_workload){
			.identity = (uint32_t)m->identity, .has_uid = m->uid != 0, .uid = m->uid};
		if (m->cgroup >= 0) {
			h->level = (uint8_t)capped_level(&s->cgroups[m->cgroup]);
			h->cgroup_id = s->cgroups[m->cgroup].ids[h->level - 1];
		}
	}
}

/* Whether the cgroup is somebody's whatever the uid, and whether some uid would make it so. */
static void claims(const struct world *w, const struct cgroup *c, bool *ret_claimed,
		   bool *ret_by_uid)
{
	*ret_claimed = *ret_by_uid = false;
	for (size_t i = 0; i < w->host.workload_count; i++) {
		const struct host_workload *h = &w->host.workloads[i];

		if (h->cgroup_id != 0 && c->ids[h->level - 1] != h->cgroup_id)
			continue;
		if (h->has_uid)
			*ret_by_uid = true;
		else
			*ret_claimed = true;
	}
}

/* What the agent would have found out about cgroups of nobody. */
static void build_nobodies(struct world *w, const struct stage *s)
{
	w->host.nobodies = w->host_nobodies;
	w->host.nobody_count = 0;
	for (size_t i = 0; i < s->actor_count; i++) {
		const struct cgroup *c = &s->cgroups[s->actors[i].cgroup];
		struct host_nobody n = {.level = (uint8_t)capped_level(c)};
		bool claimed, known = false;

		n.cgroup_id = c->ids[n.level - 1];
		claims(w, c, &claimed, &n.ask_listener);
		for (size_t j = 0; j < w->host.nobody_count; j++)
			known |= w->host_nobodies[j].cgroup_id == n.cgroup_id;
		if (!claimed && !known)
			w->host_nobodies[w->host.nobody_count++] = n;
	}
}

static void build_host(struct world *w, const struct stage *s)
{
	w->host = (struct host){.addresses = w->own};
	for (size_t i = 0; i < place_count; i++) {
		if (places[i].host == HOST_HERE)
			w->own[w->host.address_count++] = places[i].addr;
	}
	build_workloads(w, s);
	build_nobodies(w, s);
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
				      .local_time = zone_local_time()};
}
