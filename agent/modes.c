/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * observe, selective, enforce (DESIGN section 3, "Modes"), and what of them lives in the kernel:
 * observe is one element, the answer to unclaimed processes one chain. A mode with an end is kept
 * by the kernel too where falling back means letting pass: `observe --for` by the element's own
 * timeout, enforcement on trial by trial_on; so a trial that locks the operator out ends although
 * the agent is dead. A trial of `enforce` over `selective` ends in observe in the kernel, and in
 * selective as soon as an agent runs.
 */
#include "agent/agent.h"

#include "agent/adoption.h"
#include "base/log.h"
#include "base/mem.h"
#include "rules/marks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

static bool on_trial(const struct agent *a)
{
	return a->mode_until.s && a->mode > a->mode_before;
}

void agent_shape(const struct agent *a, struct table_shape *ret)
{
	*ret = a->shape;
	ret->unclaimed = a->mode == MODE_ENFORCE ? UNCLAIMED_DENY : UNCLAIMED_PASS;
	/* Another mark, so that flows which passed before enforcement are classified again. */
	ret->unclaimed_mark = MARK_UNCLAIMED_MIN + (a->mode == MODE_ENFORCE ? 1 : 0);
	ret->trial = on_trial(a);
}

static uint64_t ms_until(const struct agent *a, struct wall end)
{
	int64_t left = end.s - agent_now(a).s;

	return left > 0 ? (uint64_t)left * 1000 : 1;
}

/* Before the chains that ask for it: without it they only observe what was denied before. */
static int trial_begin(struct agent *a, struct err *err)
{
	return on_trial(a) ? nft_switch_set(a->nft, SET_TRIAL_ON, ms_until(a, a->mode_until), err)
			   : 0;
}

int agent_mode_apply(struct agent *a, struct err *err)
{
	int r;

	r = trial_begin(a, err);
	if (r < 0)
		return r;
	if (a->mode == MODE_OBSERVE && !a->mode_until.s)
		return nft_switch_set(a->nft, SET_OBSERVE_ON, 0, err);
	if (a->mode == MODE_OBSERVE)
		return nft_switch_set(a->nft, SET_OBSERVE_ON, ms_until(a, a->mode_until), err);
	r = nft_switch_clear(a->nft, SET_OBSERVE_ON, err);
	if (r >= 0 && !on_trial(a))
		r = nft_switch_clear(a->nft, SET_TRIAL_ON, err);
	return r;
}

/* Which of them: each mode has chains of its own, on trial or not. */
static int mode_of_chains(struct agent *a, enum node_mode *ret, bool *ret_trial, bool *ret_found,
			  struct err *err)
{
	static const enum node_mode modes[] = {MODE_SELECTIVE, MODE_ENFORCE};
	enum node_mode before = a->mode;
	int r = 0;

	*ret_found = false;
	for (size_t i = 0; i < 2 * ARRAY_LEN(modes) && r >= 0 && !*ret_found; i++) {
		struct table_shape shape;

		a->mode = modes[i / 2];
		agent_shape(a, &shape);
		shape.trial = i % 2 != 0;
		r = nft_check_chains(a->nft, &shape, ret_found, err);
		*ret = a->mode;
		*ret_trial = shape.trial;
	}
	a->mode = before;
	return r;
}

static struct wall wall_after(const struct agent *a, uint64_t left_ms)
{
	return (struct wall){.s = agent_now(a).s + (int64_t)(left_ms / 1000)};
}

int agent_mode_recover(struct agent *a, struct err *err)
{
	bool observe = false, trial_on = false, trial = false, found = false;
	uint64_t observe_left = 0, trial_left = 0;
	enum node_mode mode = MODE_OBSERVE;
	int r;

	if ((!a->state_problem && !a->held) || !a->applied || !a->enforcing)
		return 0;
	r = nft_switch_get(a->nft, SET_OBSERVE_ON, &observe, &observe_left, err);
	if (r >= 0)
		r = nft_switch_get(a->nft, SET_TRIAL_ON, &trial_on, &trial_left, err);
	if (r >= 0)
		r = mode_of_chains(a, &mode, &trial, &found, err);
	if (r < 0 || (!found && !observe))
		return r;
	if (observe) {
		a->mode = MODE_OBSERVE;
		a->mode_before = observe_left && found ? mode : MODE_OBSERVE;
		a->mode_until = observe_left ? wall_after(a, observe_left) : (struct wall){0};
		return 0;
	}
	a->mode = mode;
	/* A trial whose time is over has been observing since; it ends with the next second. */
	a->mode_until = trial ? wall_after(a, trial_left) : (struct wall){0};
	if (!trial)
		a->mode_before = mode;
	else if (a->mode_before >= mode)
		a->mode_before = MODE_OBSERVE;
	return 0;
}

struct mode_change {
	struct agent *agent;
	enum node_mode before, mode_before;
	struct wall until_before;
	reconciled call;
	void *user;
};

static void mode_undo(const struct mode_change *m)
{
	m->agent->mode = m->before;
	m->agent->mode_before = m->mode_before;
	m->agent->mode_until = m->until_before;
}

static void mode_changed(void *user, int r, const struct err *load_err, const struct cut_list *cut)
{
	struct mode_change *m = user;
	struct agent *a = m->agent;
	struct err err = *load_err, undo = {{0}};
	struct cut_list mine = {0};

	(void)cut;
	/* Flows older than the table get their marks while nothing is denied yet (R22). */
	if (r >= 0 && a->mode != MODE_OBSERVE)
		r = adoption_run(a, &mine, &err);
	if (r >= 0)
		r = agent_mode_apply(a, &err);
	if (r < 0) {
		mode_undo(m);
		agent_touch(a, DIRTY_SHAPE);
		/* Some of the switches may have been set already. */
		if (agent_mode_apply(a, &undo) < 0)
			log_error("mode %s: %s", mode_name(a->mode), undo.text);
	} else {
		log_info("mode %s", mode_name(a->mode));
		r = agent_save(a, &err);
		if (r < 0)
			(void)err_prefix(&err, r, "in force, but lost at the next restart");
	}
	if (m->call)
		m->call(m->user, r, &err, &mine);
	cut_list_done(&mine);
	free(m);
}

int agent_mode_set(struct agent *a, enum node_mode mode, int64_t seconds, bool force,
		   reconciled call, void *user, struct err *err)
{
	struct mode_change *m;
	int r;

	if (mode != MODE_OBSERVE && !force) {
		r = adoption_obstacles(a, err);
		if (r < 0)
			return r;
	}
	m = mem_calloc(1, sizeof(*m));
	if (!m)
		return err_set(err, ENOMEM, "out of memory");
	*m = (struct mode_change){.agent = a,
				  .before = a->mode,
				  .mode_before = a->mode_before,
				  .until_before = a->mode_until,
				  .call = call,
				  .user = user};
	if (!a->mode_until.s)
		a->mode_before = a->mode;
	a->mode = mode;
	a->mode_until.s = seconds > 0 ? agent_now(a).s + seconds : 0;
	if (!a->mode_until.s)
		a->mode_before = mode;
	r = trial_begin(a, err);
	if (r < 0) {
		mode_undo(m);
		free(m);
		return r;
	}
	return agent_reconcile(a, DIRTY_SHAPE, mode_changed, m, err);
}

void agent_mode_tick(struct agent *a, struct wall now)
{
	struct err err = {{0}};

	if (!a->mode_until.s || now.s < a->mode_until.s)
		return;
	log_info("mode %s ends, %s again", mode_name(a->mode), mode_name(a->mode_before));
	if (agent_mode_set(a, a->mode_before, 0, true, NULL, NULL, &err) < 0)
		log_error("mode: %s", err.text);
}
