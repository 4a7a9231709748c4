/* SPDX-License-Identifier: GPL-3.0-or-later */
/* plan, apply, confirm, rollback: how policy arrives from a directory (DESIGN section 6). */
#include "agent/verbs.h"

#include "agent/change_words.h"
#include "agent/documents.h"
#include "agent/loading.h"
#include "agent/store.h"
#include "agent/workload.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "rules/ruleset_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAN_TEXT_MAX (16U << 20)
#define CONFIRM_MIN_S 5
#define CONFIRM_MAX_S 86400
#define REASON_MAX    200

/* A policy on its way in, with what will be said about it. */
struct incoming {
	struct store_policy texts;
	struct edition edition;
	json_t *words, *warnings;
	int64_t confirm_within;
};

static void incoming_free(struct incoming *in)
{
	store_policy_done(&in->texts);
	edition_done(&in->edition);
	json_decref(in->words);
	json_decref(in->warnings);
	free(in);
}

static int take_file(const json_t *value, struct store_file *f, struct err *err)
{
	const char *name = json_string_value(json_object_get(value, "name"));
	const json_t *text = json_object_get(value, "text");

	if (!name || !json_is_string(text))
		return err_set(err, EINVAL, "files: a name and a text each");
	f->len = json_string_length(text);
	f->name = mem_strdup(name);
	f->text = mem_strndup(json_string_value(text), f->len);
	return f->name && f->text ? 0 : err_set(err, ENOMEM, "out of memory");
}

static int take_files(const struct request *q, struct store_policy *ret, struct err *err)
{
	const json_t *files = json_object_get(q->args, "files");
	size_t n = json_array_size(files);
	int r = 0;

	if (!n)
		return err_set(err, EINVAL, "no policy file; DIR/policy/*.yaml or DIR/*.yaml");
	if (n > STORE_FILES_MAX)
		return err_set(err, E2BIG, "more than %d policy files", STORE_FILES_MAX);
	ret->files = mem_calloc(n, sizeof(*ret->files));
	if (!ret->files)
		return err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < n && r >= 0; i++)
		r = take_file(json_array_get(files, i), &ret->files[ret->file_count++], err);
	return r;
}

/* Reads, checks; on errors the request is answered and NULL returned. */
static struct incoming *incoming_new(struct request *q)
{
	struct incoming *in = mem_calloc(1, sizeof(*in));
	struct agent *a = q->agent;
	struct err err = {{0}};
	json_t *errors = NULL;
	int r;

	if (!in) {
		(void)err_set(&err, ENOMEM, "out of memory");
		request_fail(q, EXIT_ERROR, &err, NULL);
		return NULL;
	}
	r = take_files(q, &in->texts, &err);
	if (r >= 0) {
		store_policy_digest(&in->texts);
		r = loading_policy(a, &in->texts, &in->edition.policy, &errors, &in->warnings,
				   &err);
	}
	if (r < 0) {
		request_fail(q, r == -EINVAL ? EXIT_DENIED : EXIT_ERROR, &err, errors);
		incoming_free(in);
		return NULL;
	}
	json_decref(errors);
	return in;
}

/* --- what would change -------------------------------------------------------------------- */

/* The candidate's slot is free here; it is only lent. */
static int plan_target(struct agent *a, const struct policy *policy, struct generation **ret_gen,
		       struct ruleset **ret, struct err *err)
{
	struct compile_input in;
	struct table_shape shape;
	const struct host *host;
	int r;

	r = workloads_set_policy(a->workloads, SLOT_B, policy, a->view, &a->config.essentials, err);
	if (r < 0)
		return r;
	agent_compile_input(a, policy, &in);
	r = compile_generation(&in, a->conduit_numbers, a->identity_numbers, ret_gen, err);
	host = r < 0 ? NULL : workloads_host(a->workloads, SLOT_B);
	agent_shape(a, &shape);
	if (host)
		r = ruleset_build(*ret_gen, NULL, host, NULL, &shape, ret, err);
	else if (r >= 0)
		r = err_set(err, ENOMEM, "out of memory");
	(void)workloads_set_policy(a->workloads, SLOT_B, NULL, NULL, NULL, NULL);
	return r;
}

static int plan_with_numbers(struct agent *a, struct incoming *in, bool text, struct err *err)
{
	CLEANUP(ruleset_freep) struct ruleset *target = NULL;
	CLEANUP(generation_freep) struct generation *gen = NULL;
	CLEANUP(plan_freep) struct plan *plan = NULL;
	CLEANUP(freep) uint32_t *rederive = NULL;
	CLEANUP(buf_done) struct buf b;
	size_t n = 0;
	int r;

	buf_init(&b, PLAN_TEXT_MAX);
	r = plan_target(a, in->edition.policy, &gen, &target, err);
	if (r < 0)
		return r;
	in->words = change_words(agent_edition(a), in->edition.policy, gen);
	if (!in->words)
		return err_set(err, ENOMEM, "out of memory");
	if (!text)
		return 0;
	r = generation_rederive(agent_edition(a)->gen, gen, &rederive, &n);
	if (r >= 0)
		r = plan_make(a->applied, target, rederive, n, &plan, err);
	if (r < 0)
		return r;
	plan_text(plan, target, &(struct ruleset_names){.confirmed = gen, .now_s = agent_now(a).s},
		  &b);
	if (b.r == 0)
		(void)json_object_set_new(in->words, "text", json_string(b.data ? b.data : ""));
	return 0;
}

/* Plans may be asked for by whoever may only read: they must not use numbers up. */
static int plan_words(struct agent *a, struct incoming *in, bool text, struct err *err)
{
	const struct numbers_mark conduits = numbers_mark(a->conduit_numbers);
	const struct numbers_mark identities = numbers_mark(a->identity_numbers);
	int r = plan_with_numbers(a, in, text, err);

	numbers_forget_since(a->conduit_numbers, &conduits);
	numbers_forget_since(a->identity_numbers, &identities);
	return r;
}

static int refuse_on_probation(const struct agent *a, struct err *err)
{
	if (!a->candidate.policy)
		return 0;
	return err_set(
		err, EBUSY,
		"revision %llu is on probation; bailiwick confirm or bailiwick rollback first",
		(unsigned long long)a->candidate.revision);
}

static void run_plan(struct request *q)
{
	struct incoming *in = incoming_new(q);
	struct err err = {{0}};
	int r;

	if (!in)
		return;
	r = refuse_on_probation(q->agent, &err);
	if (r >= 0)
		r = plan_words(q->agent, in, true, &err);
	if (r < 0) {
		request_fail(q, EXIT_ERROR, &err, NULL);
	} else {
		(void)json_object_set(in->words, "findings", in->warnings);
		(void)json_object_set_new(in->words, "digest", json_string(in->texts.digest));
		request_reply(q, EXIT_OK, TAKE_PTR(in->words));
	}
	incoming_free(in);
}

const struct verb verb_plan = {.name = "plan", .run = run_plan};

static void cut_add(json_t *o, const struct cut_list *cut)
{
	if (cut && cut->flows)
		(void)json_object_set(o, "cut", cut->flows);
	else
		(void)json_object_set_new(o, "cut", json_array());
}

/* --- apply -------------------------------------------------------------------------------- */

static void apply_reply(struct request *q, struct incoming *in, const struct cut_list *cut)
{
	struct agent *a = q->agent;
	json_t *o = TAKE_PTR(in->words);
	int64_t left = a->candidate_falls_back.s - wall_now().s;

	(void)json_object_set(o, "findings", in->warnings);
	(void)json_object_set_new(o, "revision", json_integer((json_int_t)in->texts.revision));
	(void)json_object_set_new(o, "digest", json_string(in->texts.digest));
	(void)json_object_set_new(o, "falls_back_in",
				  a->candidate.policy ? json_integer(left) : json_null());
	cut_add(o, cut);
	request_reply(q, EXIT_OK, o);
}

static void history_applied(struct agent *a, const struct incoming *in)
{
	char when[RFC3339_TEXT_MAX];
	struct err err = {{0}};
	json_t *entry = json_pack(
		"{s:I,s:s,s:s,s:s,s:s,s:s,s:I,s:I}", "revision", (json_int_t)in->texts.revision,
		"digest", in->texts.digest, "when", rfc3339_format(when, in->texts.when), "who",
		in->texts.who, "reason", in->texts.reason, "outcome",
		in->confirm_within ? "probation" : "applied", "gained",
		(json_int_t)json_array_size(json_object_get(in->words, "adds")), "lost",
		(json_int_t)json_array_size(json_object_get(in->words, "removes")));

	if (!entry || store_history_add(a->store, entry, &err) < 0)
		log_warn("history: %s", entry ? err.text : "out of memory");
	json_decref(entry);
}

static void applied(void *user, int r, const struct err *err, const struct cut_list *cut)
{
	struct request *q = user;
	struct incoming *in = q->data;

	if (r < 0) {
		request_fail(q, EXIT_ERROR, err, NULL);
	} else {
		history_applied(q->agent, in);
		store_policy_prune(q->agent->store, q->agent->confirmed.revision,
				   q->agent->candidate.revision);
		apply_reply(q, in, cut);
	}
	incoming_free(in);
}

static int check_within(int64_t seconds, struct err *err)
{
	if (seconds == 0 || (seconds >= CONFIRM_MIN_S && seconds <= CONFIRM_MAX_S))
		return 0;
	return err_set(err, EINVAL, "--confirm-within from %ds to %ds", CONFIRM_MIN_S,
		       CONFIRM_MAX_S);
}

/* A reason that does not fit would be cut in the middle of a character. */
static int check_reason(const struct request *q, struct err *err)
{
	const char *reason = request_string(q, "reason");

	if (reason && strlen(reason) > REASON_MAX)
		return err_set(err, EINVAL, "--reason TEXT: at most %d bytes", REASON_MAX);
	return 0;
}

/* Onto disk before into the kernel: a policy in force that a restart cannot find is worse. */
static int keep_texts(struct request *q, struct incoming *in, struct err *err)
{
	struct agent *a = q->agent;
	const char *reason = request_string(q, "reason");
	struct edition *e = &in->edition;

	in->texts.revision = a->last_revision + 1;
	in->texts.when = wall_now();
	(void)snprintf(in->texts.who, sizeof(in->texts.who), "%s", q->who);
	(void)snprintf(in->texts.reason, sizeof(in->texts.reason), "%s", reason ? reason : "");
	e->revision = in->texts.revision;
	e->when = in->texts.when;
	(void)snprintf(e->digest, sizeof(e->digest), "%s", in->texts.digest);
	(void)snprintf(e->who, sizeof(e->who), "%s", in->texts.who);
	(void)snprintf(e->reason, sizeof(e->reason), "%s", in->texts.reason);
	return store_policy_write(a->store, &in->texts, err);
}

/* The same texts again: nothing is sent, nothing gets a number. */
static bool already_applied(struct request *q, struct incoming *in)
{
	const struct edition *e = agent_edition(q->agent);

	if (!e->revision || strcmp(e->digest, in->texts.digest) != 0)
		return false;
	in->texts.revision = e->revision;
	apply_reply(q, in, NULL);
	incoming_free(in);
	return true;
}

/* With `trust` policy is what the policy keys have signed, whoever asks. */
static bool refused_unsigned(struct request *q)
{
	struct err err = {{0}};

	if (!q->agent->documents)
		return false;
	(void)err_set(&err, EPERM,
		      "policy on this node must be signed (trust: in agent.yaml); sign and publish "
		      "it, or bailiwick apply --offline ARCHIVE");
	request_fail(q, EXIT_DENIED, &err, NULL);
	return true;
}

static void run_apply(struct request *q)
{
	struct agent *a = q->agent;
	struct incoming *in = refused_unsigned(q) ? NULL : incoming_new(q);
	struct err err = {{0}};
	int r;

	if (!in)
		return;
	in->confirm_within = request_int(q, "confirm_within_s", 0);
	r = check_within(in->confirm_within, &err);
	if (r >= 0)
		r = check_reason(q, &err);
	if (r >= 0)
		r = agent_refuse_while_changing(a, &err);
	if (r >= 0)
		r = plan_words(a, in, request_bool(q, "text"), &err);
	if (r >= 0 && already_applied(q, in))
		return;
	if (r >= 0)
		r = keep_texts(q, in, &err);
	q->data = in;
	if (r >= 0) {
		a->last_revision = in->texts.revision;
		r = in->confirm_within ? agent_candidate_start(a, &in->edition, in->confirm_within,
							       applied, q, &err)
				       : agent_policy_replace(a, &in->edition, applied, q, &err);
	}
	if (r < 0) {
		request_fail(q, EXIT_ERROR, &err, NULL);
		incoming_free(in);
	}
}

const struct verb verb_apply = {.name = "apply", .changes = true, .run = run_apply};

/* --- confirm, rollback -------------------------------------------------------------------- */

static void settled(void *user, int r, const struct err *err, const struct cut_list *cut)
{
	struct request *q = user;
	json_t *o;

	if (r < 0) {
		request_fail(q, EXIT_ERROR, err, NULL);
		return;
	}
	o = json_pack("{s:o}", "generation", generation_json(q->agent));
	cut_add(o, cut);
	request_reply(q, EXIT_OK, o);
}

static void run_confirm(struct request *q)
{
	struct agent *a = q->agent;
	uint64_t revision = a->candidate.revision;
	char digest[65];
	struct err err = {{0}};

	(void)snprintf(digest, sizeof(digest), "%s", a->candidate.digest);
	if (agent_candidate_confirm(a, settled, q, &err) < 0) {
		request_fail(q, EXIT_DENIED, &err, NULL);
		return;
	}
	agent_history(a, revision, digest, "root", "", "confirmed");
}

const struct verb verb_confirm = {.name = "confirm", .changes = true, .run = run_confirm};

static void run_rollback(struct request *q)
{
	struct err err = {{0}};

	if (agent_candidate_rollback(q->agent, "rolled back by an operator", settled, q, &err) < 0)
		request_fail(q, EXIT_DENIED, &err, NULL);
}

const struct verb verb_rollback = {.name = "rollback", .changes = true, .run = run_rollback};
