/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/editions.h"

#include "agent/agent.h"
#include "agent/document_store.h"
#include "agent/held.h"
#include "agent/loading.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- what was in force ---------------------------------------------------------------------- */

#define PAST_MAX 64

/* A policy that was in force; `manifest` as in store_state. */
struct past_policy {
	uint64_t revision;
	char manifest[65];
};

/* Newest first, each once. */
struct past {
	struct past_policy list[PAST_MAX];
	size_t count;
};

static void past_add(struct past *p, uint64_t revision, const char *manifest)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->list[i].revision == revision && str_eq(p->list[i].manifest, manifest))
			return;
	if (p->count == PAST_MAX)
		return;
	p->list[p->count].revision = revision;
	(void)snprintf(p->list[p->count++].manifest, sizeof(p->list[0].manifest), "%s", manifest);
}

static uint64_t revision_of(const json_t *entry)
{
	json_int_t n = json_integer_value(json_object_get(entry, "revision"));

	return n > 0 ? (uint64_t)n : 0;
}

static bool has_outcome(const json_t *entry, const char *word)
{
	return str_eq(json_string_value(json_object_get(entry, "outcome")), word);
}

/* Its digest where the document store has that manifest, else "": it came by `apply`. */
static const char *manifest_of(struct agent *a, const json_t *entry)
{
	const char *digest = json_string_value(json_object_get(entry, "digest"));
	struct store_policy texts = {0};

	if (!digest || strlen(digest) != SHA256_HEX_LEN - 1 ||
	    document_store_policy(a->document_store, digest, &texts, NULL) < 0)
		return "";
	store_policy_done(&texts);
	return digest;
}

static void past_of_history(struct agent *a, const json_t *history, struct past *p)
{
	for (size_t i = json_array_size(history); i-- > 0 && p->count < PAST_MAX;) {
		const json_t *entry = json_array_get(history, i);

		if (revision_of(entry) &&
		    (has_outcome(entry, "applied") || has_outcome(entry, "confirmed")))
			past_add(p, revision_of(entry), manifest_of(a, entry));
	}
}

static void past_of_records(struct agent *a, struct past *p)
{
	struct generation_records records;

	if (document_store_records_read(a->document_store, &records, NULL) < 0)
		return;
	for (size_t i = records.count; i-- > 0;)
		if (records.list[i].outcome == GENERATION_CONFIRMED)
			past_add(p, records.list[i].revision, records.list[i].digest);
}

static void past_read(struct agent *a, const json_t *history, struct past *ret)
{
	uint64_t revisions[PAST_MAX];
	size_t n;

	memset(ret, 0, sizeof(*ret));
	past_of_history(a, history, ret);
	past_of_records(a, ret);
	if (ret->count)
		return;
	/* Without a history nobody knows which was in force; each was checked before it came here.
	 */
	n = store_policy_revisions(a->store, revisions, ARRAY_LEN(revisions));
	for (size_t i = 0; i < n; i++)
		past_add(ret, revisions[i], "");
}

/* --- state.json ----------------------------------------------------------------------------- */

static void take_mode(const json_t *entry, struct store_state *st)
{
	enum node_mode mode;

	if (mode_parse(json_string_value(json_object_get(entry, "outcome")), &mode) < 0)
		return;
	st->mode_before = st->mode;
	st->mode = mode;
}

/* What was on probation: the kernel's switch says what became of it. */
static void take_candidate(struct agent *a, const json_t *entry, struct store_state *st)
{
	bool mine = revision_of(entry) == st->candidate;

	if (has_outcome(entry, "probation")) {
		st->candidate = revision_of(entry);
		(void)snprintf(st->candidate_manifest, sizeof(st->candidate_manifest), "%s",
			       manifest_of(a, entry));
	} else if (has_outcome(entry, "applied") || (mine && (has_outcome(entry, "confirmed") ||
							      has_outcome(entry, "rolled_back")))) {
		st->candidate = 0;
		st->candidate_manifest[0] = '\0';
	}
}

static void rebuild(struct agent *a, const json_t *history, const struct past *p,
		    struct store_state *ret)
{
	uint64_t newest = 0;
	struct store_state st = {
		.known = true, .mode = a->config.mode, .mode_before = a->config.mode};

	for (size_t i = 0; i < json_array_size(history); i++) {
		const json_t *entry = json_array_get(history, i);

		take_mode(entry, &st);
		take_candidate(a, entry, &st);
		if (revision_of(entry) > st.last_revision)
			st.last_revision = revision_of(entry);
	}
	if (store_policy_revisions(a->store, &newest, 1) == 1 && newest > st.last_revision)
		st.last_revision = newest;
	if (p->count) {
		st.confirmed = p->list[0].revision;
		(void)snprintf(st.confirmed_manifest, sizeof(st.confirmed_manifest), "%s",
			       p->list[0].manifest);
	}
	if (st.candidate == st.confirmed)
		st.candidate = 0;
	st.wall_highest = store_last_write(a->store);
	*ret = st;
}

static bool state_of_copy(struct agent *a, struct store_state *ret, const char *cause)
{
	char text[ERR_TEXT_MAX];

	if (store_state_copy(a->store, ret, NULL) < 0)
		return false;
	(void)snprintf(
		text, sizeof(text),
		"state.json was damaged or lost (%.256s); its copy in run_dir takes its place",
		cause);
	agent_damaged(a, text);
	return true;
}

int state_load(struct agent *a, struct store_state *ret, struct err *err)
{
	CLEANUP(json_decrefp) json_t *history = NULL;
	struct err cause = {{0}};
	struct past past;
	int r = store_state_read(a->store, ret, &cause);

	if ((r >= 0 && ret->known) || r == -ENOMEM)
		return r < 0 ? err_set(err, ENOMEM, "out of memory") : 0;
	if (state_of_copy(a, ret, r < 0 ? cause.text : "it is not there")) {
		if (r < 0)
			store_state_aside(a->store);
		return 0;
	}
	history = store_history(a->store);
	if (!history)
		return err_set(err, ENOMEM, "out of memory");
	past_read(a, history, &past);
	/* A fresh agent: it has no state, and nothing that a state could be about. */
	if (r >= 0 && !past.count)
		return 0;
	rebuild(a, history, &past, ret);
	a->state_problem =
		r < 0 ? mem_printf("state.json was damaged and is kept as state.json.damaged (%s); "
				   "policy and mode are those of history and kernel",
				   cause.text)
		      : mem_printf("state.json was lost; policy and mode are those of history and "
				   "kernel");
	if (!a->state_problem)
		return err_set(err, ENOMEM, "out of memory");
	log_error("%s", a->state_problem);
	if (r < 0)
		store_state_aside(a->store);
	return 0;
}

/* --- policies ------------------------------------------------------------------------------- */

/* manifest: its digest where the policy is a signed document, else "". */
static int load_edition(struct agent *a, uint64_t revision, const char *manifest,
			struct edition *ret, struct err *err)
{
	struct store_policy texts = {0};
	int r;

	r = manifest[0] ? document_store_policy(a->document_store, manifest, &texts, err)
			: store_policy_read(a->store, revision, &texts, err);
	if (r < 0)
		return r;
	r = loading_policy(a, &texts, &ret->policy, NULL, NULL, err);
	if (r >= 0) {
		ret->revision = texts.revision;
		ret->of_manifest = manifest[0] != '\0';
		ret->serial = ++a->last_serial;
		ret->when = texts.when;
		(void)snprintf(ret->digest, sizeof(ret->digest), "%s", texts.digest);
		(void)snprintf(ret->who, sizeof(ret->who), "%s", texts.who);
		(void)snprintf(ret->reason, sizeof(ret->reason), "%s", texts.reason);
	}
	store_policy_done(&texts);
	return r < 0 ? err_prefix(err, r, "revision %" PRIu64, revision) : 0;
}

/*
 * A disk that lost what it had durably written: an older policy that was in force is better than an
 * agent that does not start, and the carrier brings the newest again.
 */
static int load_earlier(struct agent *a, const struct store_state *st, struct err *err)
{
	CLEANUP(json_decrefp) json_t *history = store_history(a->store);
	struct err earlier = {{0}};
	char text[ERR_TEXT_MAX];
	struct past past;

	if (!history)
		return err_set(err, ENOMEM, "out of memory");
	past_read(a, history, &past);
	for (size_t i = 0; i < past.count; i++) {
		const struct past_policy *p = &past.list[i];

		if ((p->revision == st->confirmed && str_eq(p->manifest, st->confirmed_manifest)) ||
		    load_edition(a, p->revision, p->manifest, &a->confirmed, &earlier) < 0)
			continue;
		(void)snprintf(text, sizeof(text), "%.300s; revision %" PRIu64 " is used instead",
			       err->text, p->revision);
		agent_damaged(a, text);
		return 0;
	}
	return -ENOENT;
}

static int load_confirmed(struct agent *a, const struct store_state *st, struct err *err)
{
	int r;

	if (!st->confirmed)
		return loading_empty_policy(a, &a->confirmed.policy, err);
	r = load_edition(a, st->confirmed, st->confirmed_manifest, &a->confirmed, err);
	if (r < 0 && r != -ENOMEM)
		r = load_earlier(a, st, err);
	if (r >= 0 || r == -ENOMEM)
		return r;
	agent_damaged(a, err->text);
	a->held |= HELD_POLICY;
	return loading_empty_policy(a, &a->confirmed.policy, err);
}

/* One that cannot be read is given up: the policy before it is whole. */
static int load_candidate(struct agent *a, const struct store_state *st, struct err *err)
{
	int r;

	if (!st->candidate)
		return 0;
	r = load_edition(a, st->candidate, st->candidate_manifest, &a->candidate, err);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		log_error("%s; the policy before it stays", err->text);
		agent_history(a, st->candidate, st->candidate_manifest, "bailiwickd", err->text,
			      "rolled_back");
		return 0;
	}
	a->candidate_falls_back = st->falls_back;
	return 0;
}

/* Only flows would be lost without it. */
static void load_borders(struct agent *a, const struct store_state *st)
{
	struct err err = {{0}};

	if (st->borders &&
	    load_edition(a, st->borders, st->borders_manifest, &a->departing, &err) < 0)
		log_info("what the last change took over from is not known: %s", err.text);
}

int editions_load(struct agent *a, const struct store_state *st, struct err *err)
{
	int r;

	a->last_revision = st->last_revision;
	r = load_confirmed(a, st, err);
	if (r >= 0)
		r = load_candidate(a, st, err);
	if (r >= 0)
		load_borders(a, st);
	return r;
}
