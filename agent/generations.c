/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Policies in force and on probation. The switch between them is one kernel element with a
 * timeout, candidate_on: adding it activates the candidate, its expiry is the fall-back also when
 * this process is dead, making it permanent is the confirmation (R15).
 */
#include "agent/agent.h"

#include "agent/attest.h"
#include "agent/documents.h"
#include "agent/evidence.h"
#include "agent/store.h"
#include "agent/telemetry.h"
#include "agent/workload.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/zone.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1000000000LL

void edition_done(struct edition *e)
{
	generation_free(e->gen);
	policy_free(e->policy);
	memset(e, 0, sizeof(*e));
}

const struct edition *agent_edition(const struct agent *a)
{
	return a->candidate.policy && a->candidate_on ? &a->candidate : &a->confirmed;
}

void agent_compile_input(const struct agent *a, const struct policy *policy,
			 struct compile_input *ret)
{
	*ret = (struct compile_input){
		.policy = policy,
		.view = a->view,
		.essentials = &a->config.essentials,
		.overlay = &a->overlay,
		.now = agent_now(a),
		.clock_trusted = a->clock_trusted,
		.local_time = zone_local_time(),
		.stale_end = documents_stale_end(a->documents),
		.unmeasured = evidence_unmeasured(a->evidence),
	};
	/* Own addresses are part of the host; each slot has the same ones. */
	{
		const struct host *host = workloads_host(a->workloads, SLOT_A);

		ret->addresses = host ? host->addresses : NULL;
		ret->address_count = host ? host->address_count : 0;
	}
}

int agent_compile(struct agent *a, struct generation **ret_confirmed,
		  struct generation **ret_candidate, struct err *err)
{
	CLEANUP(generation_freep) struct generation *confirmed = NULL;
	struct compile_input in;
	int r;

	agent_compile_input(a, a->confirmed.policy, &in);
	in.also_cut = a->candidate.policy;
	r = compile_generation(&in, a->conduit_numbers, a->identity_numbers, &confirmed, err);
	if (r < 0)
		return err_prefix(err, r, "policy revision %" PRIu64, a->confirmed.revision);
	if (a->candidate.policy) {
		agent_compile_input(a, a->candidate.policy, &in);
		in.also_cut = a->confirmed.policy;
		r = compile_generation(&in, a->conduit_numbers, a->identity_numbers, ret_candidate,
				       err);
		if (r < 0)
			return err_prefix(err, r, "policy revision %" PRIu64,
					  a->candidate.revision);
	}
	*ret_confirmed = TAKE_PTR(confirmed);
	return 0;
}

void agent_borders_of(struct agent *a, const struct edition *e)
{
	a->borders.revision = e->revision;
	(void)snprintf(a->borders.manifest, sizeof(a->borders.manifest), "%s",
		       e->of_manifest ? e->digest : "");
}

void agent_borders_recall(struct agent *a)
{
	struct compile_input in;
	struct err err = {{0}};

	if (a->departing.policy && a->applied) {
		agent_compile_input(a, a->confirmed.policy, &in);
		in.also_cut = a->departing.policy;
		if (compile_generation(&in, a->conduit_numbers, a->identity_numbers,
				       &a->confirmed.gen, &err) < 0)
			log_warn("flows that a change was moving may end: %s", err.text);
	}
	edition_done(&a->departing);
}

int agent_refuse_while_changing(const struct agent *a, struct err *err)
{
	if (a->candidate.policy)
		return err_set(err, EBUSY,
			       "revision %" PRIu64
			       " is on probation; bailiwick confirm or bailiwick rollback first",
			       a->candidate.revision);
	if (a->replacing || a->doubling)
		return err_set(err, EBUSY,
			       "revision %" PRIu64
			       " is just being put in force; the same again in a moment",
			       a->confirmed.revision);
	return 0;
}

/* --- probation ---------------------------------------------------------------------------- */

/* A change that needs several reconciliations, one after the other. */
struct passage {
	struct agent *agent;
	reconciled call;
	void *user;
	uint64_t revision, serial; /* that is being loaded */
	int64_t seconds;
	struct cut_list cut;
};

static void passage_end(struct passage *p, int r, const struct err *err)
{
	if (p->call)
		p->call(p->user, r, err, &p->cut);
	cut_list_done(&p->cut);
	free(p);
}

static struct passage *passage_new(struct agent *a, reconciled call, void *user)
{
	struct passage *p = mem_calloc(1, sizeof(*p));

	if (p)
		*p = (struct passage){.agent = a, .call = call, .user = user};
	return p;
}

static void passage_cut(struct passage *p, const struct cut_list *cut)
{
	if (!cut || !cut->flows)
		return;
	if (!p->cut.flows)
		p->cut.flows = json_array();
	(void)json_array_extend(p->cut.flows, cut->flows);
	p->cut.count += cut->count;
}

static void candidate_forget(struct agent *a)
{
	struct err err = {{0}};

	(void)workloads_set_policy(a->workloads, SLOT_B, NULL, NULL, NULL, &err);
	edition_done(&a->candidate);
	a->candidate_on = false;
	a->candidate_falls_back.s = 0;
}

/* It was rolled back before it was switched on; what took its place is loaded by itself. */
static bool was_given_up(const struct passage *p)
{
	return !p->agent->candidate.policy || p->agent->candidate.serial != p->serial;
}

static void candidate_loaded(void *user, int r, const struct err *load_err,
			     const struct cut_list *cut)
{
	struct passage *p = user;
	struct agent *a = p->agent;
	struct err err = {{0}};

	passage_cut(p, cut);
	if (was_given_up(p)) {
		if (!a->candidate.policy)
			candidate_forget(a); /* the generation that came with the load */
		r = err_set(&err, ECANCELED,
			    "revision %" PRIu64 " was rolled back while it was being loaded",
			    p->revision);
		passage_end(p, r, &err);
		return;
	}
	if (r < 0) {
		err = *load_err;
		candidate_forget(a);
		(void)agent_save(a, NULL);
		agent_touch(a, DIRTY_POLICY);
		passage_end(p, r, &err);
		return;
	}
	/* The flows that the candidate cuts are looked up before it judges them. */
	(void)agent_flows_lost(a, a->confirmed.gen, a->candidate.gen, &p->cut);
	a->candidate_falls_back.s = wall_now().s + p->seconds;
	r = agent_save(a, &err);
	if (r >= 0)
		r = nft_switch_set(a->nft, SET_CANDIDATE_ON, (uint64_t)p->seconds * 1000, &err);
	if (r < 0) {
		candidate_forget(a);
		(void)agent_save(a, NULL);
		agent_touch(a, DIRTY_POLICY);
	} else {
		a->candidate_on = true;
		a->candidate_ends.ns = mono_now().ns + p->seconds * NS_PER_S;
		log_info("policy revision %" PRIu64 " on probation for %" PRId64 " s",
			 a->candidate.revision, p->seconds);
		/* It may ask where nobody was asked while it was only loaded. */
		attest_flows_again(a->attest);
	}
	passage_end(p, r, &err);
}

/*
 * Killed while it is loaded, the next start must know what the numbers were made of. On the disk
 * the candidate itself is none before its switch is set.
 */
static void borders_keep(struct agent *a)
{
	struct edition loading = a->candidate;
	struct err err = {{0}};

	agent_borders_of(a, &loading);
	memset(&a->candidate, 0, sizeof(a->candidate));
	if (agent_save_state(a, &err) < 0)
		log_warn("%s", err.text);
	a->candidate = loading;
}

int agent_candidate_start(struct agent *a, struct edition *take, int64_t seconds, reconciled call,
			  void *user, struct err *err)
{
	struct passage *p;
	int r;

	r = agent_refuse_while_changing(a, err);
	if (r < 0)
		return r;
	r = workloads_set_policy(a->workloads, SLOT_B, take->policy, a->view, &a->config.essentials,
				 err);
	p = r < 0 ? NULL : passage_new(a, call, user);
	if (!p) {
		/* The caller keeps, and frees, what the slot has borrowed. */
		(void)workloads_set_policy(a->workloads, SLOT_B, NULL, NULL, NULL, NULL);
		return r < 0 ? r : err_set(err, ENOMEM, "out of memory");
	}
	p->seconds = seconds;
	p->revision = take->revision;
	p->serial = take->serial = ++a->last_serial;
	a->candidate = *take;
	memset(take, 0, sizeof(*take));
	borders_keep(a);
	return agent_reconcile(a, DIRTY_POLICY, candidate_loaded, p, err);
}

/* --- confirmation ------------------------------------------------------------------------- */

/*
 * The switch becomes permanent, so the candidate judges whatever happens next. Then slot A, which
 * nothing looks at, is filled with it ("doubling"), then the switch goes, then slot B is emptied.
 * A crash anywhere leaves the candidate in force; the next start finishes the work.
 */
static void confirm_cleaned(void *user, int r, const struct err *err, const struct cut_list *cut)
{
	struct passage *p = user;

	struct agent *a = p->agent;
	struct err save_err = {{0}};

	passage_cut(p, cut);
	if (r == 0) {
		log_info("policy revision %" PRIu64 " in force", a->confirmed.revision);
		memset(&a->borders, 0, sizeof(a->borders));
		if (agent_save_state(a, &save_err) < 0)
			log_warn("%s", save_err.text);
	}
	passage_end(p, r, err);
}

static void confirm_doubled(void *user, int r, const struct err *double_err,
			    const struct cut_list *cut)
{
	struct passage *p = user;
	struct agent *a = p->agent;
	struct err err = *double_err;

	a->finishing = false;
	passage_cut(p, cut);
	if (r >= 0)
		r = nft_switch_clear(a->nft, SET_CANDIDATE_ON, &err);
	if (r >= 0) {
		a->doubling = false;
		r = agent_reconcile(a, DIRTY_POLICY, confirm_cleaned, p, &err);
	}
	if (r < 0)
		passage_end(p, r, &err);
}

int agent_confirm_finish(struct agent *a, reconciled call, void *user, struct err *err)
{
	struct passage *p = passage_new(a, call, user);

	a->doubling = true;
	if (!p)
		return err_set(err, ENOMEM, "out of memory");
	a->finishing = true;
	return agent_reconcile(a, DIRTY_POLICY, confirm_doubled, p, err);
}

void agent_confirm_retry(struct agent *a)
{
	struct err err = {{0}};

	if (a->doubling && !a->finishing && agent_confirm_finish(a, NULL, NULL, &err) < 0)
		log_error("confirmation not finished: %s", err.text);
}

static int gate_check(struct agent *a, struct err *err)
{
	bool on = false, ok = false;
	uint64_t left;
	int r;

	if (!a->candidate.policy)
		return err_set(err, ENOENT, "nothing is on probation");
	r = nft_switch_get(a->nft, SET_CANDIDATE_ON, &on, &left, err);
	if (r < 0)
		return r;
	if (!on)
		return err_set(err, ETIME,
			       "the time to confirm is over; the kernel has fallen back");
	if (a->drift)
		return err_set(err, EBUSY, "not confirmed: kernel differs from policy: %s",
			       a->drift);
	r = nft_check_chains(a->nft, &a->shape, &ok, err);
	if (r >= 0 && !ok)
		return err_set(err, EBUSY,
			       "not confirmed: the chains were changed by somebody else");
	return r;
}

/*
 * Onto disk first: a confirmation that the next start does not know would be none. If it cannot be
 * kept the candidate stays on probation, and the kernel falls back by itself. Killed in between,
 * the next start finds the switch on and no candidate, and finishes the work.
 */
static int confirm_keep(struct agent *a, struct edition *ret_before, struct err *err)
{
	struct edition before = a->confirmed;
	struct wall falls_back = a->candidate_falls_back;
	int r;

	a->confirmed = a->candidate;
	memset(&a->candidate, 0, sizeof(a->candidate));
	a->candidate_falls_back.s = 0;
	agent_borders_of(a, &before);
	r = agent_save(a, err);
	if (r >= 0)
		r = nft_switch_set(a->nft, SET_CANDIDATE_ON, 0, err);
	if (r >= 0) {
		a->candidate_on = false;
		*ret_before = before;
		return 0;
	}
	a->candidate = a->confirmed;
	a->confirmed = before;
	a->candidate_falls_back = falls_back;
	agent_borders_of(a, &a->candidate);
	(void)agent_save(a, NULL);
	return r;
}

int agent_candidate_confirm(struct agent *a, reconciled call, void *user, struct err *err)
{
	struct edition before = {0};
	int r;

	/* A load in progress was planned for the slots as they are: it ends before they change. */
	if (a->job)
		(void)agent_reconcile_now(a, 0, err);
	r = gate_check(a, err);

	if (r < 0)
		return r;
	r = workloads_set_policy(a->workloads, SLOT_A, a->candidate.policy, a->view,
				 &a->config.essentials, err);
	if (r >= 0)
		r = confirm_keep(a, &before, err);
	if (r < 0) {
		(void)workloads_set_policy(a->workloads, SLOT_A, a->confirmed.policy, a->view,
					   &a->config.essentials, NULL);
		return r;
	}
	/* The slots borrow their policy: both let go of it before it is freed. */
	(void)workloads_set_policy(a->workloads, SLOT_B, NULL, NULL, NULL, NULL);
	edition_done(&before);
	return agent_confirm_finish(a, call, user, err);
}

int agent_candidate_rollback(struct agent *a, const char *why, reconciled call, void *user,
			     struct err *err)
{
	struct passage *p;
	int r;

	if (!a->candidate.policy)
		return err_set(err, ENOENT, "nothing is on probation");
	p = passage_new(a, call, user);
	if (!p)
		return err_set(err, ENOMEM, "out of memory");
	(void)agent_flows_lost(a, a->candidate.gen, a->confirmed.gen, &p->cut);
	r = nft_switch_clear(a->nft, SET_CANDIDATE_ON, err);
	if (r < 0) {
		p->call = NULL;
		passage_end(p, r, err);
		return r;
	}
	log_warn("policy revision %" PRIu64 " rolled back: %s", a->candidate.revision, why);
	(void)snprintf(a->fell_back, sizeof(a->fell_back), "%s", why);
	agent_history(a, a->candidate.revision, a->candidate.digest, "bailiwickd", why,
		      "rolled_back");
	candidate_forget(a);
	attest_flows_again(a->attest);
	if (agent_save(a, err) < 0)
		log_warn("%s", err->text);
	return agent_reconcile(a, DIRTY_POLICY, confirm_cleaned, p, err);
}

/*
 * Called every second: the kernel may have fallen back by itself. It is asked, not the wall clock,
 * which somebody may have set back.
 */
void agent_candidate_tick(struct agent *a)
{
	struct err err = {{0}};
	uint64_t left = 0;
	bool on = true;

	if (!a->candidate_on)
		return;
	if (nft_switch_get(a->nft, SET_CANDIDATE_ON, &on, &left, &err) < 0 || on)
		return;
	if (agent_candidate_rollback(a, CANDIDATE_NOT_IN_TIME, NULL, NULL, &err) < 0)
		log_error("%s", err.text);
}

/* --- replacement without probation -------------------------------------------------------- */

struct replacement {
	struct agent *agent;
	struct edition before;
	reconciled call;
	void *user;
};

static void replaced(void *user, int r, const struct err *apply_err, const struct cut_list *cut)
{
	struct replacement *x = user;
	struct agent *a = x->agent;
	struct err err = *apply_err;

	a->replacing = false;
	if (r < 0) {
		/* The last good policy stays: what judges now was compiled from it. */
		struct edition refused = a->confirmed;

		x->before.gen = TAKE_PTR(refused.gen);
		a->confirmed = x->before;
		memset(&x->before, 0, sizeof(x->before));
		/* The slot borrows its policy: it lets go of it before it is freed. */
		(void)workloads_set_policy(a->workloads, SLOT_A, a->confirmed.policy, a->view,
					   &a->config.essentials, NULL);
		edition_done(&refused);
		agent_touch(a, DIRTY_POLICY);
	} else {
		log_info("policy revision %" PRIu64 " in force", a->confirmed.revision);
		r = agent_save(a, &err);
		if (r < 0)
			(void)err_prefix(&err, r, "in force, but lost at the next restart");
	}
	if (x->call)
		x->call(x->user, r, &err, cut);
	edition_done(&x->before);
	free(x);
}

int agent_policy_replace(struct agent *a, struct edition *take, reconciled call, void *user,
			 struct err *err)
{
	struct replacement *x;
	int r;

	r = agent_refuse_while_changing(a, err);
	if (r < 0)
		return r;
	r = workloads_set_policy(a->workloads, SLOT_A, take->policy, a->view, &a->config.essentials,
				 err);
	x = r < 0 ? NULL : mem_calloc(1, sizeof(*x));
	if (!x) {
		/* The caller keeps, and frees, what the slot has borrowed. */
		(void)workloads_set_policy(a->workloads, SLOT_A, a->confirmed.policy, a->view,
					   &a->config.essentials, NULL);
		return r < 0 ? r : err_set(err, ENOMEM, "out of memory");
	}
	*x = (struct replacement){.agent = a, .before = a->confirmed, .call = call, .user = user};
	take->serial = ++a->last_serial;
	a->confirmed = *take;
	a->confirmed.gen = TAKE_PTR(x->before.gen);
	memset(take, 0, sizeof(*take));
	a->replacing = true;
	return agent_reconcile(a, DIRTY_POLICY, replaced, x, err);
}
