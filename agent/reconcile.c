/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From intention to kernel: compile what is dirty, compare with what was applied, send the
 * difference. One job at a time; a large one is sent in several transactions between which the
 * loop runs, so that a revocation never waits for a load.
 */
#include "agent/agent.h"

#include "agent/adoption.h"
#include "agent/attest.h"
#include "agent/heartbeat.h"
#include "agent/held.h"
#include "agent/status_report.h"
#include "agent/workload.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Of the clock that generations are compiled by: timeouts of leases are counted from here. */
static int64_t unix_ms(const struct agent *a)
{
	int64_t least = agent_now(a).s;
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec < least ? least * 1000 : ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* --- names of elements -------------------------------------------------------------------- */

/* The conduit of a number in the generations on their way in, else in those in force. */
static const struct conduit *job_conduit(const struct agent *a, uint32_t number,
					 const struct generation **ret_gen)
{
	const struct generation *gens[] = {a->job ? a->job->confirmed : NULL,
					   a->job ? a->job->candidate : NULL};

	for (size_t i = 0; i < ARRAY_LEN(gens); i++) {
		const struct conduit *c = gens[i] ? generation_find(gens[i], number) : NULL;

		if (c) {
			*ret_gen = gens[i];
			return c;
		}
	}
	return agent_conduit(a, number, ret_gen);
}

static bool label_number(void *user, uint32_t number, char comment[128], struct number_key *ret_key)
{
	struct agent *a = user;
	const struct generation *gen = NULL;
	const struct conduit *c = job_conduit(a, number, &gen);

	if (!c)
		return false;
	(void)conduit_comment(comment, gen, c);
	return numbers_key(a->conduit_numbers, number, ret_key) == 0;
}

static struct nft_labels *labels_of(struct agent *a)
{
	a->labels.label = label_number;
	a->labels.user = a;
	return &a->labels;
}

/* --- waiters ------------------------------------------------------------------------------ */

static int waiter_add(struct agent *a, reconciled call, void *user, bool next)
{
	struct waiter *w;

	if (!call)
		return 0;
	w = mem_calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	*w = (struct waiter){.call = call, .user = user, .next = next, .following = a->waiters};
	a->waiters = w;
	return 0;
}

/* Takes those whose work is done out of the list; those that asked during the job stay. */
static struct waiter *waiters_due(struct agent *a)
{
	struct waiter *due = NULL, **due_end = &due, **at = &a->waiters;

	while (*at) {
		struct waiter *w = *at;

		if (w->next) {
			w->next = false;
			at = &w->following;
			continue;
		}
		*at = w->following;
		w->following = NULL;
		*due_end = w;
		due_end = &w->following;
	}
	return due;
}

/*
 * The list is divided before anybody is called: a callback may begin the next reconciliation, and
 * that one answers those that stayed. Newest first, always: after a refusal each puts back what it
 * found, the oldest one last.
 */
static void waiters_call(struct agent *a, int r, const struct err *err, const struct cut_list *cut)
{
	struct waiter *w = waiters_due(a), *following;

	for (; w; w = following) {
		following = w->following;
		w->call(w->user, r, err, cut);
		free(w);
	}
}

void agent_waiters_cancel(struct agent *a)
{
	struct err err = {{0}};
	int r = err_set(&err, ECANCELED, "the agent is ending");

	for (struct waiter *w = a->waiters; w; w = w->following)
		w->next = false;
	waiters_call(a, r, &err, NULL);
}

/* --- one job ------------------------------------------------------------------------------ */

void agent_job_free(struct job *j)
{
	if (!j)
		return;
	sd_event_source_disable_unref(j->next_step);
	nft_apply_free(j->apply);
	plan_free(j->plan);
	ruleset_free(j->target);
	generation_free(j->confirmed);
	generation_free(j->candidate);
	cut_list_done(&j->cut);
	free(j);
}

/* "payments.yaml:31:5" of the rule behind a conduit; essentials are in agent.yaml. */
static const char *rule_place(const struct agent *a, const struct generation *gen,
			      const struct conduit *c, char buf[POS_TEXT_MAX])
{
	bool candidate = gen == a->candidate.gen || (a->job && gen == a->job->candidate);
	const struct policy *p = candidate ? a->candidate.policy : a->confirmed.policy;

	if (c->rule == RULE_NONE || !p || c->rule >= p->rule_count)
		return "agent.yaml";
	return pos_format(buf, p, &p->rules[c->rule].pos);
}

/* What the kernel refused, in words of policy: whose element it was, and where that is written. */
static int fault_explain(struct agent *a, const struct nft_fault *fault, int r, struct err *err)
{
	char comment[CONDUIT_COMMENT_MAX], place[POS_TEXT_MAX];
	const struct generation *gen = NULL;
	const struct conduit *c;

	c = fault && fault->number ? job_conduit(a, fault->number, &gen) : NULL;
	if (c)
		return err_prefix(err, r, "%s: kernel refused %s of \"%s\"",
				  rule_place(a, gen, c, place), fault->object,
				  conduit_comment(comment, gen, c));
	if (fault && fault->object[0])
		return err_prefix(err, r, "kernel refused %s", fault->object);
	return r;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static bool listed_early(const struct cut_list *cut, const uint8_t *record)
{
	for (size_t i = 0; i < cut->early_count; i++) {
		if (memcmp(&cut->early[i], record, sizeof(cut->early[i])) == 0)
			return true;
	}
	return false;
}

/* Numbers whose live element goes for good: their flows are the evidence of a cut. */
static int job_collect_cut(struct agent *a, struct job *j)
{
	CLEANUP(freep) uint32_t *numbers = NULL;
	size_t n = 0, cap = 0;

	for (size_t i = 0; i < j->plan->op_count && j->plan->ops[i].phase == PLAN_CUT; i++) {
		const struct plan_op *op = &j->plan->ops[i];

		if (op->ref.kind != SET_LIVE || op->action != PLAN_DEL ||
		    listed_early(&j->cut, op->record))
			continue;
		if (vec_grow(&numbers, &cap, n + 1, sizeof(*numbers), CONDUITS_MAX) < 0)
			return -ENOMEM;
		memcpy(&numbers[n++], op->record, sizeof(uint32_t));
	}
	if (!n || !a->enforcing)
		return 0;
	qsort(numbers, n, sizeof(*numbers), by_number);
	return agent_flows_of(a, numbers, n, &j->cut);
}

/* Whose it is now: while the job ran, revisions may have been confirmed or rolled back. */
static struct edition *edition_of(struct agent *a, uint64_t serial)
{
	if (serial == a->confirmed.serial)
		return &a->confirmed;
	return a->candidate.policy && serial == a->candidate.serial ? &a->candidate : NULL;
}

/* Flows may run whose far end nobody has vouched for, and must now. */
static bool begins_to_ask(const struct generation *old, const struct generation *new_)
{
	CLEANUP(freep) uint32_t *numbers = NULL;
	size_t count = 0;

	return generation_begins_to_ask(old, new_, &numbers, &count) < 0 || count > 0;
}

static void adopt(struct job *j, struct edition *e, struct generation **take)
{
	if (!e || !*take)
		return;
	j->asks_more |= begins_to_ask(e->gen, *take);
	generation_free(e->gen);
	e->gen = TAKE_PTR(*take);
}

static void adopt_generations(struct agent *a, struct job *j)
{
	/* A policy that is to be replaced lends its generation until the new one has its own. */
	adopt(j, a->replacing ? &a->confirmed : edition_of(a, j->confirmed_serial), &j->confirmed);
	adopt(j, edition_of(a, j->candidate_serial), &j->candidate);
}

static void next_change_update(struct agent *a)
{
	const struct generation *gens[] = {a->confirmed.gen, a->candidate.gen};

	a->next_change.s = 0;
	for (size_t i = 0; i < ARRAY_LEN(gens); i++) {
		int64_t t = gens[i] ? gens[i]->next_change.s : 0;

		if (t && (!a->next_change.s || t < a->next_change.s))
			a->next_change.s = t;
	}
}

static void set_drift(struct agent *a, const struct err *err)
{
	freep(&a->drift);
	a->drift = mem_strdup(err->text);
}

static void job_done(struct agent *a, struct job *j, struct err *err)
{
	adopt_generations(a, j);
	a->view_enforced = j->view_sequence;
	a->shape = j->target->shape;
	ruleset_free(a->applied);
	a->applied = TAKE_PTR(j->target);
	if (j->input.chains)
		a->chains_unsure = false;
	freep(&a->drift);
	next_change_update(a);
	if (a->report)
		status_report_touch(a->report);
	if (j->owners_changed && a->enforcing && adoption_of_owners(a, &j->cut, err) < 0)
		log_warn("flows of changed owners: %s", err->text);
	if (j->asks_more)
		attest_flows_again(a->attest);
}

/* Some of its transactions may be in the kernel: what is there is read back. */
static void job_refused(struct agent *a, struct job *j, const struct err *err)
{
	struct err dump_err = {{0}};

	log_error("ruleset not applied, the last one stays: %s", err->text);
	set_drift(a, err);
	a->refused |= j->dirty;
	if (!j->apply || nft_apply_done_ops(j->apply) == 0)
		return;
	a->applied_unsure = true;
	if (agent_dump(a, &dump_err) < 0)
		log_error("the table is read back with the next change: %s", dump_err.text);
}

/* Plans above this leave enough behind to give memory back. */
#define TRIM_OPS 1000

static void job_end(struct agent *a, int r, struct err *err)
{
	struct job *j = a->job;
	bool large;

	if (r == 0)
		job_done(a, j, err);
	else
		job_refused(a, j, err);
	a->job = NULL;
	large = j->plan->op_count > TRIM_OPS;
	waiters_call(a, r, err, &j->cut);
	agent_job_free(j);
	/* The old generation and the plan are gone: their pages go back, on a small box they count.
	 */
	if (large)
		(void)malloc_trim(0);
	if (a->dirty)
		agent_touch(a, a->dirty);
}

static int on_next_step(sd_event_source *s, void *user)
{
	struct agent *a = user;
	struct err err = {{0}};
	int r;

	(void)s;
	r = nft_apply_step(a->job->apply, &err);
	if (r == 1)
		return 0;
	if (r < 0)
		r = fault_explain(a, nft_apply_fault(a->job->apply), r, &err);
	job_end(a, r, &err);
	return 0;
}

/* First transaction at once; what does not fit goes on from the loop. */
static int job_run(struct agent *a, bool block, struct err *err)
{
	struct job *j = a->job;
	int r;

	r = nft_apply_begin(a->nft, &j->input, &j->apply, err);
	if (r < 0) {
		job_end(a, r, err);
		return r;
	}
	do {
		r = nft_apply_step(j->apply, err);
	} while (r == 1 && block);
	if (r == 1) {
		r = sd_event_add_defer(a->event, &j->next_step, on_next_step, a);
		if (r >= 0)
			r = sd_event_source_set_enabled(j->next_step, SD_EVENT_ON);
		if (r >= 0) {
			(void)sd_event_source_set_priority(j->next_step, SD_EVENT_PRIORITY_IDLE);
			return 0;
		}
		(void)err_set(err, -r, "event loop: %s", strerror(-r));
	} else if (r < 0) {
		r = fault_explain(a, nft_apply_fault(j->apply), r, err);
	}
	job_end(a, r, err);
	return r;
}

/* --- building ----------------------------------------------------------------------------- */

static int job_generations(struct agent *a, struct job *j, struct err *err)
{
	j->view_sequence = a->view_enforced;
	if (!(a->dirty & DIRTY_POLICY))
		return 0;
	j->view_sequence = a->view ? a->view->sequence : 0;
	j->confirmed_serial = a->confirmed.serial;
	j->candidate_serial = a->candidate.serial;
	return agent_compile(a, &j->confirmed, &j->candidate, err);
}

static int job_target(struct agent *a, struct job *j, struct err *err)
{
	const struct generation *confirmed = j->confirmed ? j->confirmed : a->confirmed.gen;
	const struct generation *candidate = j->candidate ? j->candidate : a->candidate.gen;
	const struct host *host = workloads_take_host(a->workloads, SLOT_A), *other = NULL;
	struct table_shape shape;

	if (a->doubling) {
		candidate = confirmed;
		other = host;
	} else if (a->candidate.policy) {
		other = workloads_take_host(a->workloads, SLOT_B);
	} else {
		candidate = NULL;
	}
	if (!host || (candidate && !other))
		return err_set(err, ENOMEM, "out of memory");
	agent_shape(a, &shape);
	return ruleset_build(confirmed, candidate, host, other, &shape, &j->target, err);
}

static bool is_live(const struct ruleset *r, uint32_t number)
{
	const struct set_items *live = ruleset_find(r, (struct set_ref){.kind = SET_LIVE});

	return live && set_items_find(live, &number);
}

/*
 * Numbers that wait to be classified again stay in the set until no conntrack entry carries them
 * (agent_sweep()), or until they are live again.
 */
static int keep_rederive(const struct agent *a, struct job *j, const uint32_t *more, size_t n,
			 struct err *err)
{
	const struct set_ref ref = {.kind = SET_REDERIVE};
	const struct set_items *old = a->applied ? ruleset_find(a->applied, ref) : NULL;
	struct set_items *s = NULL;
	int r = 0;

	if (n || (old && old->count))
		s = ruleset_set(j->target, ref);
	for (size_t i = 0; s && old && i < old->count && r >= 0; i++) {
		uint32_t number;

		memcpy(&number, old->bytes + i * sizeof(number), sizeof(number));
		if (!is_live(j->target, number))
			r = set_items_add(s, &number);
	}
	for (size_t i = 0; s && i < n && r >= 0; i++) {
		if (!is_live(j->target, more[i]))
			r = set_items_add(s, &more[i]);
	}
	if (r < 0)
		return err_set(err, -r, "out of memory");
	return s ? ruleset_sort(j->target, err) : 0;
}

/* A cgroup or uid has another owner now: its sockets' flows must be looked at again. */
static bool owner_changes(const struct plan *p)
{
	for (size_t i = 0; i < p->op_count; i++) {
		uint8_t kind = p->ops[i].ref.kind;

		if (p->ops[i].action == PLAN_DEL &&
		    (kind == SET_WHO_UID || kind == SET_WHO_CGROUP || kind == SET_WHO_CGROUP_UID))
			return true;
	}
	return false;
}

/* The mark of unclaimed flows changes with the mode: those that may go on get the new one. */
static int add_unclaimed(const struct agent *a, const struct job *j, uint32_t **numbers, size_t *n)
{
	uint32_t old = a->applied ? a->applied->shape.unclaimed_mark : 0;
	size_t cap = *n;
	int r;

	if (!old || old == j->target->shape.unclaimed_mark)
		return 0;
	r = vec_grow(numbers, &cap, *n + 1, sizeof(**numbers), CONDUITS_MAX);
	if (r < 0)
		return r;
	(*numbers)[(*n)++] = old;
	qsort(*numbers, *n, sizeof(**numbers), by_number);
	return 0;
}

static int job_plan(struct agent *a, struct job *j, struct err *err)
{
	CLEANUP(freep) uint32_t *rederive = NULL;
	size_t n = 0;
	int r = 0;

	if (j->confirmed && a->confirmed.gen)
		r = generation_rederive(a->confirmed.gen, j->confirmed, &rederive, &n);
	if (r >= 0)
		r = add_unclaimed(a, j, &rederive, &n);
	if (r < 0)
		return err_set(err, -r, "out of memory");
	r = keep_rederive(a, j, rederive, n, err);
	if (r >= 0)
		r = plan_make(a->applied, j->target, rederive, n, &j->plan, err);
	if (r >= 0)
		j->owners_changed = a->applied && owner_changes(j->plan);
	return r;
}

/* Between steps that a large view makes long. */
static void step_over(struct agent *a)
{
	if (a->view && a->view->peer_count >= HEARTBEAT_LARGE_PEERS)
		heartbeat_extend(a);
}

static int job_make(struct agent *a, struct job **ret, struct err *err)
{
	struct job *j = mem_calloc(1, sizeof(*j));
	int r;

	if (!j)
		return err_set(err, ENOMEM, "out of memory");
	j->cut = a->cut_early;
	memset(&a->cut_early, 0, sizeof(a->cut_early));
	step_over(a);
	r = job_generations(a, j, err);
	step_over(a);
	if (r >= 0)
		r = job_target(a, j, err);
	step_over(a);
	if (r >= 0)
		r = job_plan(a, j, err);
	step_over(a);
	if (r < 0) {
		agent_job_free(j);
		return r;
	}
	j->input = (struct nft_apply_input){
		.plan = j->plan,
		.old = a->applied,
		.new_ = j->target,
		.labels = labels_of(a),
		.now_ms = unix_ms(a),
		.chains = a->chains_unsure,
		.quiet = !a->enforcing,
	};
	j->dirty = a->dirty;
	*ret = j;
	return 0;
}

static int reconcile(struct agent *a, bool block, struct err *err)
{
	struct job *j = NULL;
	int r = a->applied_unsure ? agent_dump(a, err) : 0;

	a->dirty |= a->refused;
	a->refused = 0;
	if (!held_over(a, err)) {
		a->refused = a->dirty;
		a->dirty = 0;
		waiters_call(a, -EAGAIN, err, NULL);
		return -EAGAIN;
	}
	if (r >= 0)
		r = job_make(a, &j, err);
	if (r < 0)
		a->refused = a->dirty;
	a->dirty = 0;
	if (r < 0 || !j) {
		log_error("nothing changed: %s", err->text);
		set_drift(a, err);
		waiters_call(a, r, err, NULL);
		return r;
	}
	a->job = j;
	if (plan_is_empty(j->plan) && !j->input.chains) {
		job_end(a, 0, err);
		return 0;
	}
	r = job_collect_cut(a, j);
	if (r < 0)
		log_warn("flows that this change cuts cannot be listed");
	return job_run(a, block, err);
}

static int on_reconcile(sd_event_source *s, void *user)
{
	struct agent *a = user;
	struct err err = {{0}};

	(void)s;
	if (!a->job && a->dirty)
		(void)reconcile(a, false, &err);
	return 0;
}

int agent_reconcile_init(struct agent *a)
{
	int r = sd_event_add_defer(a->event, &a->reconcile_source, on_reconcile, a);

	return r < 0 ? r : sd_event_source_set_enabled(a->reconcile_source, SD_EVENT_OFF);
}

void agent_touch(struct agent *a, unsigned dirty)
{
	a->dirty |= dirty;
	if (a->reconcile_source)
		(void)sd_event_source_set_enabled(a->reconcile_source, SD_EVENT_ONESHOT);
}

int agent_reconcile(struct agent *a, unsigned dirty, reconciled call, void *user, struct err *err)
{
	int r = waiter_add(a, call, user, a->job != NULL);

	if (r < 0) {
		agent_touch(a, dirty);
		call(user, err_set(err, ENOMEM, "out of memory"), err, NULL);
		return 0;
	}
	a->dirty |= dirty;
	if (a->job)
		return 0;
	/* Failures reach the caller through its waiter; the return value is for those without one.
	 */
	r = reconcile(a, false, err);
	return call ? 0 : r;
}

static void job_finish(struct agent *a, struct err *err)
{
	while (a->job) {
		int r = nft_apply_step(a->job->apply, err);

		if (r < 0)
			r = fault_explain(a, nft_apply_fault(a->job->apply), r, err);
		if (r != 1)
			job_end(a, r, err);
	}
}

int agent_reconcile_now(struct agent *a, unsigned dirty, struct err *err)
{
	struct err later = {{0}};
	int r;

	a->dirty |= dirty;
	job_finish(a, err);
	r = a->dirty ? reconcile(a, true, err) : 0;
	/* Whoever waited may have begun another one. */
	job_finish(a, &later);
	return r;
}

/* --- what the kernel holds ---------------------------------------------------------------- */

static void dump_label(void *user, uint32_t number, const char *comment,
		       const struct number_key *key)
{
	struct agent *a = user;

	(void)comment;
	if (key)
		(void)numbers_put(a->conduit_numbers, key, number);
}

#define DUMP_TRIES 5

int agent_dump(struct agent *a, struct err *err)
{
	struct nft_dump_input in = {.now_ms = unix_ms(a), .label = dump_label, .user = a};
	struct ruleset *read = NULL;
	int r = -EAGAIN;

	for (int i = 0; i < DUMP_TRIES && r == -EAGAIN; i++)
		r = nft_dump(a->nft, &in, &read, err);
	if (r < 0)
		return r;
	ruleset_free(a->applied);
	a->applied = read;
	a->applied_unsure = false;
	/* A dump says which elements there are, not how the chains read. */
	a->chains_unsure = true;
	return 0;
}
